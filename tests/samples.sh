#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs every sample on the sample pictures with the default models, and looks at what comes out.
# usage: samples.sh DIRECTORY-OF-THE-PROGRAMS [SCALES]    by default of both models: "2 4"
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:?usage: samples.sh DIRECTORY}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
check() { # check TEXT COMMAND...
    what=$1
    shift
    mv -f "$tmp/err" "$tmp/last" 2>/dev/null # what the check before this one said
    if "$@" >"$tmp/out" 2>"$tmp/err"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "failed: $what: $*"
        cat "$tmp/out" "$tmp/err"
    fi
}
code() { want=$1; shift; "$@"; [ $? = "$want" ]; }
# png FILE: its width and height, from the header
png() { [ "$(od -An -tx1 -N8 "$1" | tr -d ' \n')" = 89504e470d0a1a0a ] &&
    od -An -tu1 -j16 -N8 "$1" | awk '{ print $1*16777216+$2*65536+$3*256+$4, $5*16777216+$6*65536+$7*256+$8 }'; }
size() { s=$(png "$1"); echo "$s"; [ "$s" = "$2 $3" ]; }
sorted() { "$1" "$2" | tee "$tmp/table" | awk '/PSNR/ { n++; if ($3 <= last) exit 1; last = $3 } END { if (n != 4) exit 1 }'; }

middles() { "$1" | awk '{ print $2 $3, $8 $9 } END { if (NR != 4) exit 1 }' | tee "$tmp/table" | tr '\n' ';' |
    grep -qx '28,28 28.0,28.0;0,0 3.0,3.0;1,30 3.0,30.0;55,54 52.0,52.0;'; }

gecko=$root/samples/pictures/gecko.jpg
for x in ${2:-2 4}; do
    model=$root/models/weights/swinir-light-x$x.safetensors
    [ -e "$model" ] || continue
    check "sample 01, x$x" "$bin/01_upscale_image" "$gecko" "$model" "$tmp/x$x.png"
    check "its picture is $x times as large" size "$tmp/x$x.png" $((320 * x)) $((213 * x))
done
check 'the default model is there' test -e "$tmp/x4.png"
check '01 without arguments is misused' code 2 "$bin/01_upscale_image"
check '01 without its model fails' code 1 "$bin/01_upscale_image" "$gecko" "$tmp/none.safetensors" "$tmp/none.png"
check 'and says why' grep -q none.safetensors "$tmp/last"
check 'and writes nothing' test ! -e "$tmp/none.png"
check 'sample 02: each filter beats the one before' sorted "$bin/02_resize_and_compare" "$root/samples/pictures/elephant.jpg"
check '02 without a picture fails' code 1 "$bin/02_resize_and_compare" "$tmp/none.jpg"
check 'sample 03: windows, moved inside at the borders' middles "$bin/03_window_attention"
rolls() { "$bin/04_frame_sink" 20 >"$tmp/rolled" && tail -n 1 "$tmp/rolled" | grep -q 'seen: 0@32 1@33 34@34 .* 39@39 '; }
check 'sample 04: the sink stays, before the newest frames' rolls
# Two frames of 24 x 16, the bytes of a file as their samples: y4m needs no other library.
{
    printf 'YUV4MPEG2 W24 H16 F25:1 C420jpeg\nFRAME\n'
    head -c 576 "$gecko"
    printf 'FRAME\n'
    tail -c 576 "$gecko"
} >"$tmp/in.y4m"
clip() { "$bin/05_upscale_video" "$tmp/in.y4m" "$root/models/weights/swinir-light-x4.safetensors" "$tmp/out.y4m" |
    grep ': 2 frames of 96 x 64, '; }
check 'sample 05: a clip of two frames' clip
larger() { head -n 1 "$tmp/out.y4m" | grep -q 'W96 H64 F25:1' && [ "$(wc -c <"$tmp/out.y4m")" -gt 18432 ]; }
check 'which are larger' larger
check 'under its name alone' test ! -e "$tmp/out.part.y4m"
ran=' 01_upscale_image 02_resize_and_compare 03_window_attention 04_frame_sink 05_upscale_video '
for source in "$root"/samples/[0-9][0-9]_*.c; do # a new sample needs its lines above
    name=$(basename "$source" .c)
    check "$name is run by this test" test "${ran#* "$name" }" != "$ran"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
