#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command on clips. What needs FFmpeg runs where the library has it and ffmpeg, ffprobe are there.
# usage: test_video_tool.sh ORIEL MAKE_TINY_MODEL PICTURE_TOOL WITH_FFMPEG [short]     short: the pipeline's threads, no more
set -u
oriel=$1 make_model=$2 picture=$3 with_ffmpeg=$4 how=${5:-}
. "$(dirname "$0")/tools.sh"

"$make_model" x2.safetensors 2 && "$make_model" dn.safetensors 1 3 &&
    "$make_model" grey-dn.safetensors 1 1 || exit 1
model=--model=./x2.safetensors

# Frames of 20 x 16 RGB pixels, each a cut of one large picture: as PPM files, and as raw bytes.
"$picture" make big.ppm 200 100 3 8
tail -c 60000 big.ppm >big.raw
mkdir ppm
cut_frame() { # cut_frame FROM: 960 bytes of the large picture from there on
    tail -c +$((1 + 611 * $1)) big.raw | head -c 960
}
n=1
for from in 1 2 2 2 3 4 4 5 6 7; do # three are the same as the one before
    { printf 'P6\n20 16\n255\n'; cut_frame $from; } >ppm/f$n.ppm # f10 comes last
    cut_frame $from >>in.rgb
    n=$((n + 1))
done
bytes() { wc -c <"$1" | tr -d ' '; }
raw=--raw=20x16:rgb24:25

# ---- the pictures of a clip are what the same pictures become
run 0 upscale ppm -o up $model --format pnm
for n in 1 2 3 4 5 6 7 8 9 10; do tail -c 3840 up/f$n.pnm; done >up.rgb
run 0 upscale $raw in.rgb -o out.rgb --format raw --pix-fmt rgb24 $model
says 'in.rgb: 3 of 10 frames are the same as the one before'
alike() { # alike A B: but for single samples that differ by one: halves that fell to another side
    [ "$(bytes "$1")" = "$(bytes "$2")" ] && cmp -l "$1" "$2" | awk '
        function value(octal) { return int(octal / 100) * 64 + int(octal / 10) % 10 * 8 + octal % 10 }
        { d = value($2) - value($3); bad += d > 1 || d < -1 } END { exit bad || NR > 20 }'
}
ok 'frames are as pictures' alike up.rgb out.rgb
none '*.part*' .
"$oriel" upscale $raw - -o - --format raw --pix-fmt rgb24 $model <in.rgb >piped.rgb 2>err
ok 'a pipe' cmp -s out.rgb piped.rgb
cat in.rgb | "$oriel" upscale $raw - -o - --format raw --pix-fmt rgb24 $model -t 1 2>err | cat >piped.rgb
ok 'a pipe to a pipe' cmp -s out.rgb piped.rgb
run 0 upscale $raw in.rgb -o lanes.rgb --format raw --pix-fmt rgb24 $model --lanes 3 -v
ok 'lanes compute the same frames' cmp -s out.rgb lanes.rgb
ok 'and each some of them' [ "$(grep -c 'compute .* s busy' err)" = 3 ]
mkdir both
cp ppm/f1.ppm ppm/f2.ppm ppm/f3.ppm both
for n in a b f2a; do run 0 upscale ppm -o both/$n.y4m --fps 24 $model; done
run 0 upscale both -o both1 $model
run 0 upscale both -o both2 $model --lanes 2
ok 'clips and pictures by lanes' diff -r both1 both2
run 0 upscale $raw in.rgb -o 'seq/%03d.png' $model
ok 'a clip to pictures' [ "$(count seq)" = 10 ]
run 0 upscale 'ppm/f*.ppm' -o 'again/p%d.ppm' $model
says '3 of 10 frames'
ok 'a glob to pictures' alike again/p10.ppm up/f10.pnm
run 0 compare seq/010.png again/p10.ppm
prints 'psnr inf'
run 0 restore ppm -o clip.y4m --fps 23.976 -m ./dn.safetensors
ok 'a folder to y4m' [ "$(head -n 1 clip.y4m | tr ' ' '\n' | grep -cE '^(YUV4MPEG2|W20|H16|F24000:1001)$')" = 4 ]
run 0 upscale ppm/f1.ppm ppm/f10.ppm ppm/f2.ppm -o three.y4m --fps 30000/1001 $model
run 0 upscale three.y4m -o 'three/%d.png' $model
ok 'three' [ "$(cd three && echo *)" = '1.png 2.png 3.png' ]
run 0 upscale ppm/f1.ppm ppm/f2.ppm ppm/f10.ppm -o sorted.y4m --fps 30000/1001 $model
ok 'numbers by their value' cmp -s three.y4m sorted.y4m

if [ "$how" = short ]; then
    echo "$passed passed, $failed failed"
    [ $failed = 0 ] && [ $passed -gt 20 ]
    exit
fi

# ---- y4m: size, planes, grey, depth, alpha
y4m() { # y4m TAGS BYTES FRAMES: frames of bytes of the large picture
    printf 'YUV4MPEG2 %s F25:1 Ip A1:1\n' "$1"
    for k in $(seq 1 "$3"); do
        printf 'FRAME\n'
        tail -c +$((1 + 97 * k)) big.raw | head -c "$2"
    done
}
head_of() { head -n 1 "$1"; }
y4m 'W15 H13 C420jpeg' 307 4 >odd.y4m
run 0 upscale odd.y4m -o odd2.y4m $model
ok 'odd sizes' expr "$(head_of odd2.y4m)" : 'YUV4MPEG2 W30 H26 F25:1 .*C420jpeg' >/dev/null
ok 'and nothing more' [ "$(bytes odd2.y4m)" = $((4 * (6 + 30 * 26 * 3 / 2) + $(head_of odd2.y4m | wc -c))) ]
run 0 upscale odd.y4m -o one.y4m $model -s 1
ok 'scale 1' expr "$(head_of one.y4m)" : 'YUV4MPEG2 W15 H13 ' >/dev/null
run 0 upscale odd.y4m -o p444.y4m $model --pix-fmt yuv444p10
ok 'other planes' expr "$(head_of p444.y4m)" : '.* C444p10' >/dev/null
run 0 upscale odd.y4m -o deep.y4m $model --depth 16
ok 'depth' expr "$(head_of deep.y4m)" : '.* C420p16' >/dev/null
y4m 'W12 H10 Cmono' 120 3 >grey.y4m
run 0 upscale grey.y4m -o grey2.y4m $model
ok 'grey stays grey' expr "$(head_of grey2.y4m)" : 'YUV4MPEG2 W24 H20 .*Cmono' >/dev/null
run 0 restore grey.y4m -o greydn.y4m -m ./grey-dn.safetensors
run 1 restore odd.y4m -o no.y4m -m ./grey-dn.safetensors
says 'the picture has colours'
run 0 upscale grey.y4m -o 'grey/%d.png' $model
ok 'grey pictures' [ "$(size grey/3.png)" = '24 x 20 x 1, 8 bits' ]
y4m 'W12 H10 C444alpha' 480 2 >alpha.y4m
run 0 upscale alpha.y4m -o 'alpha/%d.png' $model
ok 'alpha' [ "$(size alpha/2.png)" = '24 x 20 x 4, 8 bits' ]
run 0 upscale alpha.y4m -o 'opaque/%d.png' $model --alpha drop
ok 'no alpha' [ "$(size opaque/2.png)" = '24 x 20 x 3, 8 bits' ]
y4m 'W1 H1 C420jpeg' 3 2 >tiny.y4m
run 0 upscale tiny.y4m -o tiny2.y4m $model
ok 'one pixel' expr "$(head_of tiny2.y4m)" : 'YUV4MPEG2 W2 H2 ' >/dev/null
run 0 upscale odd.y4m -o some.y4m $model --from 0.04 --to 0:00.12
ok 'a part of it' [ $(($(bytes some.y4m) * 2 - $(head_of some.y4m | wc -c))) = "$(bytes odd2.y4m)" ]
run 0 upscale odd.y4m -o tiled.y4m $model --tile 16 -v
says 'compute'

# ---- folders and names
mkdir -p mixed/deep
cp ppm/f1.ppm mixed/a.ppm
cp odd.y4m mixed/a.y4m
cp odd.y4m mixed/deep/b.y4m
run 0 upscale -r mixed -o tree $model --report report.json
ok 'tree' [ "$(cd tree && find . -type f | sort | tr '\n' ' ')" = './a.png ./a.y4m ./deep/b.y4m ' ]
ok 'report' grep -qE '"input": "mixed/a.y4m".*"frames": 4, "same": 0' report.json
ok 'the same clip' cmp -s tree/a.y4m odd2.y4m
cp odd.y4m misnamed.png # what it is, its first bytes say
run 0 upscale misnamed.png -o misnamed.y4m $model
ok 'by content' cmp -s misnamed.y4m odd2.y4m
run 2 upscale odd.y4m -o odd2.y4m $model
says 'odd2.y4m exists'
run 0 upscale odd.y4m -o odd2.y4m $model -f
run 0 upscale odd.y4m -o odd2.y4m $model --skip-existing
run 2 upscale odd.y4m -o odd.y4m $model -f
says 'is an input too'
run 2 upscale odd.y4m -o x.png $model
says 'out/%06d.png'
run 2 upscale odd.y4m -o clip $model
run 2 upscale odd.y4m grey.y4m -o both.y4m $model
says 'go into a folder'
run 2 upscale ppm -o x.y4m $model
says '--fps'
run 2 upscale odd.y4m -o x.y4m --fps 24 $model
run 2 upscale ppm -o x.y4m --fps 0 $model
run 2 upscale ppm/f1.ppm -o x.png --crf 20 $model
says '--crf is of clips, and here is none'
run 2 upscale odd.y4m -o x.y4m --from 3 --to 2 $model
run 2 upscale odd.y4m -o x.y4m --from 1:xx $model
run 2 upscale odd.y4m -o x.y4m --format png $model
run 2 upscale 'none/*.png' -o x.y4m --fps 2 $model
says 'no file has such a name'
"$picture" make ppm/g.ppm 9 9 3 8
run 1 upscale ppm -o sizes.y4m --fps 24 $model
says 'ppm/g.ppm is 9 x 9, and ppm/f1.ppm is 20 x 16'
says '10 of 11 frames are in sizes.part.y4m; --resume goes on'
rm ppm/g.ppm sizes.part.y4m
run 1 upscale missing.mp4 -o x.y4m $model
says 'missing.mp4'
none 'x.*' .
run 1 upscale --raw=640x360:gray:25 big.raw -o x.y4m $model --memory 9 --dry-run
says 'where 9.0 MiB are allowed'
run 0 upscale odd.y4m -o x.y4m $model --dry-run
prints 'odd.y4m -> x.y4m: 15 x 13 yuv420p -> 30 x 26 yuv420p, rawvideo, 4 frames, 1 pass'
none 'x.*' .
if [ -w /dev/full ]; then
    "$oriel" upscale odd.y4m -o - $model >/dev/full 2>err
    ok 'a full pipe' [ $? = 1 ]
    says 'No space left'
fi
"$oriel" upscale odd.y4m -o - $model 2>err | head -c 10 >/dev/null
head -c 700 odd.y4m >cut.y4m # in the third frame
"$oriel" upscale cut.y4m -o cut2.y4m $model 2>err
ok 'a clip that is cut short' [ -s cut2.y4m ]
says damaged
run 1 upscale odd.y4m -o no/such/x.y4m $model

# ---- progress for programs
run 0 upscale $raw in.rgb -o json.rgb --format raw --pix-fmt rgb24 $model --progress json
ok 'JSON' json_lines err
ok 'frame events' grep -qE '^\{"event":"frame","input":"in.rgb","frames":10,"total":10,"percent":100.0,"fps":[0-9.]+,"eta_s":0.0\}' err
ok 'clip event' grep -qE '^\{"event":"clip","input":"in.rgb","output":"json.rgb","frames":10,"resumed":0,"same":3,' err

# ---- info
run 0 info odd.y4m
prints '15 x 13'
run 0 info --json odd.y4m x2.safetensors
ok 'JSON' json_lines out
prints '"pix_fmt":"yuv420p"'
run 0 version
prints 'video: '

# ---- stopped at any moment, and gone on with: the same bytes as in one go
for k in $(seq 1 100); do tail -c +$((7 * k)) big.raw | head -c 57600; done >long.rgb
raw=--raw=80x60:rgb24:25
run 0 upscale $raw long.rgb -o whole.rgb --format raw --pix-fmt rgb24 $model
long="upscale $raw long.rgb -o stop.rgb --format raw --pix-fmt rgb24 $model -t 1"
stopped=0
for signal in INT TERM INT; do
    : >err # what is waited for below is of this run
    # shellcheck disable=SC2086
    "$picture" run "$oriel" $long --resume --progress json 2>err &
    tries=0
    while ! grep -qE '"frames":[1-9]' err && kill -0 $! 2>/dev/null; do
        sleep 0.02
        tries=$((tries + 1))
        [ $tries -lt 500 ] || break
    done
    sleep 0.0$stopped
    kill -$signal $! 2>/dev/null
    wait $!
    code=$?
    [ $code = 0 ] && break # it was done before the signal came
    ok "exit code of SIG$signal" [ $code = $([ $signal = INT ] && echo 130 || echo 143) ]
    frames=$(sed -n 's/.*stopped: \([0-9]*\) of 400 frames are in stop.part.rgb; --resume goes on.*/\1/p' err)
    ok "the .part has $frames frames" [ "$(bytes stop.part.rgb)" = $((57600 * ${frames:-0})) ]
    ok 'and these are right' cmp -s -n $((57600 * ${frames:-0})) stop.part.rgb whole.rgb
    stopped=$((stopped + 1))
done
ok 'was stopped' [ $stopped -gt 0 ]
if [ -f stop.part.rgb ]; then
    # shellcheck disable=SC2086
    run 2 $long
    says 'stop.part.rgb is there, of a run that was stopped: --resume goes on from it, -f'
    # shellcheck disable=SC2086
    run 0 $long --resume
fi
ok 'without a seam' cmp -s stop.rgb whole.rgb
none '*.part*' .
# shellcheck disable=SC2086
run 0 $long --resume
says '1 skipped'
rm seq/00[5-9].png seq/010.png
run 0 upscale --raw=20x16:rgb24:25 in.rgb -o 'seq/%03d.png' $model --resume
run 0 compare seq/010.png again/p10.ppm
prints 'psnr inf'
mkfifo silent # an input that says nothing more
sleep 30 >silent & # holds it open
holder=$!
: >err
"$picture" run "$oriel" upscale - -o silent.y4m $model --progress json <silent 2>err &
waiting=$!
cat odd.y4m >silent
tries=0
while [ ! -s silent.part.y4m ] && [ $tries -lt 500 ]; do
    sleep 0.02
    tries=$((tries + 1))
done
sleep 0.1
kill -TERM $waiting
wait $waiting
ok 'a silent input is no reason to wait' [ $? = 143 ]
kill $holder
ok 'what came is kept' [ -s silent.part.y4m ]

# ---- FFmpeg
if [ "$with_ffmpeg" != 1 ]; then
    run 1 upscale missing.mp4 -o x.y4m $model
    cp big.raw x.mp4
    run 1 upscale x.mp4 -o x.y4m $model
    says 'libavformat-dev'
    run 0 version
    prints 'without FFmpeg'
elif command -v ffmpeg >tools.txt && command -v ffprobe >>tools.txt; then
    probe() { ffprobe -v error -of csv=p=0 -select_streams "$1" -show_entries "$2" "$3" | tr '\n' ' '; }
    ffmpeg -v error -f lavfi -i testsrc2=s=48x32:r=25:d=1 -f lavfi -i sine=440:d=1 -metadata title=Test \
        -c:v libx264 -pix_fmt yuv420p -color_range tv -colorspace bt709 -color_primaries bt709 \
        -color_trc bt709 -c:a aac clip.mp4 2>err || ffmpeg -v error -f lavfi -i testsrc2=s=48x32:r=25:d=1 \
        -f lavfi -i sine=440:d=1 -metadata title=Test -c:v mpeg4 -colorspace bt709 -c:a aac clip.mp4
    run 0 upscale clip.mp4 -o clip2.mp4 $model
    ok 'size' [ "$(probe v stream=width,height,pix_fmt clip2.mp4)" = '96,64,yuv420p ' ]
    ok 'frames' [ "$(probe v packet=pts clip2.mp4 | wc -w)" = 25 ]
    ok 'times' [ "$(probe v packet=pts_time clip2.mp4 | tr ' ' '\n' | sort -n | tail -n 1)" = 0.960000 ]
    ok 'audio' [ "$(probe a stream=codec_name clip2.mp4)" = 'aac ' ]
    ok 'audio is the same' [ "$(ffmpeg -v error -i clip.mp4 -map 0:a -c copy -f md5 -)" = \
        "$(ffmpeg -v error -i clip2.mp4 -map 0:a -c copy -f md5 -)" ]
    ok 'matrix' [ "$(probe v stream=color_space clip2.mp4)" = "$(probe v stream=color_space clip.mp4)" ]
    ok 'title' [ "$(ffprobe -v error -of csv=p=0 -show_entries format_tags=title clip2.mp4)" = Test ]
    run 0 upscale clip.mp4 -o quiet.mkv $model --no-audio --ffv1 --pix-fmt yuv444p
    ok 'no audio' [ -z "$(probe a stream=codec_name quiet.mkv)" ]
    ok 'ffv1' [ "$(probe v stream=codec_name,pix_fmt quiet.mkv)" = 'ffv1,yuv444p ' ]
    ffmpeg -v error -i clip.mp4 -f yuv4mpegpipe - | "$oriel" upscale - -o - $model 2>err >direct.y4m
    ffmpeg -v error -i clip.mp4 -c copy -f matroska - | "$oriel" upscale - -o - $model 2>err >mkv.y4m
    run 0 upscale clip.mp4 -o file.y4m $model
    body() { tail -n +2 "$1" | cksum; }
    ok 'FFmpeg by a pipe' [ "$(body mkv.y4m)" = "$(body file.y4m)" ]
    ok 'and by y4m' [ "$(bytes direct.y4m)" -gt 10000 ]
    run 0 upscale ppm -o ppm.mp4 --fps 24 $model
    ok 'pictures to a clip' [ "$(probe v stream=width,height,pix_fmt,r_frame_rate ppm.mp4)" = '40,32,yuv420p,24/1 ' ]
    run 0 upscale ppm -o ppm.mkv --fps 24 --ffv1 $model
    ffmpeg -v error -i ppm.mkv -f rawvideo -pix_fmt rgb24 - >ppm.rgb
    ok 'without loss' cmp -s ppm.rgb out.rgb
    mkdir clips && cp clip.mp4 clips/ && cp ppm/f1.ppm clips/clip.ppm
    ffmpeg -v error -i clip.mp4 -c:v wmv2 -an clips/old.wmv
    run 0 upscale clips -o clips2 $model
    ok 'a folder' [ "$(cd clips2 && echo *)" = 'clip.mp4 clip.png old.mkv' ]
    says 'clips are not written as .wmv'
    run 0 info clip.mp4
    prints 'audio         1'
    run 0 info --json clip.mp4
    ok 'JSON' json_lines out
    ffmpeg -v error -stream_loop 9 -i clip.mp4 -an -c copy long.mp4
    : >err
    "$picture" run "$oriel" upscale long.mp4 -o stop.mp4 $model --progress json -t 1 2>err &
    tries=0
    while ! grep -qE '"frames":[1-9][0-9]' err && [ $tries -lt 500 ]; do
        sleep 0.02
        tries=$((tries + 1))
    done
    kill -INT $!
    wait $!
    code=$?
    if [ $code != 0 ]; then # it is quick, but hardly that quick
        ok 'stopped' [ $code = 130 ]
        frames=$(sed -n 's/.*stopped: \([0-9]*\) of 250 frames are in stop.part.mp4.*/\1/p' err)
        ok "its $frames frames play" [ "$(ffprobe -v error -count_frames -of csv=p=0 -select_streams v \
            -show_entries stream=nb_read_frames stop.part.mp4)" = "$frames" ]
        run 0 upscale long.mp4 -o stop.mp4 $model --resume
    fi
    ok 'all of it' [ "$(ffprobe -v error -count_frames -of csv=p=0 -select_streams v \
        -show_entries stream=nb_read_frames stop.mp4)" = 250 ]
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 100 ]
