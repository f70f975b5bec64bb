#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command on a clip, stopped at random moments. After SIGINT and SIGTERM what there is plays and has the frames that were
# said to be written; after these and SIGKILL --resume makes the whole of it, the same as without the stop.
# usage: test_video_stop.sh ORIEL MAKE_TINY_MODEL PICTURE_TOOL CLIP [ROUNDS [SEED]]
set -u
oriel=$1 make_model=$2 picture=$3 clip=$4 rounds=${5:-6} seed=${6:-1}
command -v ffprobe >/dev/null && command -v ffmpeg >/dev/null || { echo 'skipped: no ffmpeg, no ffprobe'; exit 77; }
. "$(dirname "$0")/tools.sh"

"$make_model" x2.safetensors 2 || exit 1
now() { date +%s.%N; }
upscale() { # upscale OUT ARGUMENTS...: in the background
    to=$1
    shift
    "$oriel" upscale "$clip" -o "$to" --model=./x2.safetensors --progress json "$@" </dev/null 2>err &
    pid=$!
}
stamps() { ffprobe -v error -select_streams v:0 -show_entries frame=pts_time -of csv=p=0 "$1" | sed 's/,.*//' | grep .; }
frames() { stamps "$1" | wc -l | tr -d ' '; }
pixels() { ffmpeg -v error -i "$1" -map 0:v -f framemd5 - | grep -v '^#' | sed 's/.*, //'; }
plays() { ffmpeg -v error -xerror -i "$1" -map 0 -f null - 2>said && [ ! -s said ]; }
said() { # the last number of frames in the JSON lines, but for a line that was cut
    sed -n 's/^{"event":"frame",.*"frames":\([0-9]*\),.*}$/\1/p' err | tail -n 1 | grep . || echo 0
}

# Without a stop: what is due, and how long it takes.
stamps "$clip" >due
[ -s due ] || exit 1
for kind in mp4 mkv; do
    begun=$(now)
    upscale "whole.$kind" $([ $kind = mkv ] && echo --ffv1 || echo --preset=ultrafast)
    wait "$pid"
    ok "the whole $kind" [ $? = 0 ]
    eval "seconds_$kind=\$(awk -v a=$begun -v b=$(now) 'BEGIN { print b - a }')"
done
stamps whole.mp4 >due.mp4
ok 'times stay' cmp -s due due.mp4
stamps whole.mkv >due.mkv # in milliseconds, as Matroska has them
pixels whole.mkv >pixels.due

i=0 stopped=0 killed=0
while [ $i -lt "$rounds" ]; do
    i=$((i + 1))
    kind=mp4 seconds=$seconds_mp4 how=--preset=ultrafast
    [ $((i % 2)) = 0 ] && kind=mkv seconds=$seconds_mkv how=--ffv1
    case $((i % 3)) in 0) signal=KILL ;; 1) signal=INT ;; *) signal=TERM ;; esac
    wait=$(awk -v seed="$seed" -v i=$i -v s="$seconds" 'BEGIN { srand(1000 * seed + i); rand(); print rand() * s }')
    rm -f out.*
    upscale out.$kind $how
    sleep "$wait"
    kill -$signal $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    n=$(said) about="round $i of seed $seed ($kind, $signal after $wait s, $n frames)"
    if [ $code = 0 ]; then
        ok "$about: was done" [ ! -e out.part.$kind ]
    elif [ $signal = KILL ]; then
        killed=$((killed + 1))
    else
        stopped=$((stopped + 1))
        ok "$about: ends with $code" [ $code = $([ $signal = INT ] && echo 130 || echo 143) ]
        ok "$about: no whole clip" [ ! -e out.$kind ]
        if [ -e out.part.$kind ]; then
            has=$(frames out.part.$kind)
            ok "$about: plays" plays out.part.$kind
            ok "$about: has $has" [ "$has" -ge "$n" ]
        else
            ok "$about: nothing is there, nothing was said" [ "$n" = 0 ]
        fi
    fi
    [ $code = 0 ] && continue
    upscale out.$kind $how --resume
    wait $pid
    ok "$about: goes on" [ $? = 0 ]
    stamps out.$kind >got
    ok "$about: all times, once" cmp -s due.$kind got
    if [ $kind = mkv ]; then
        pixels out.mkv >pixels.got
        ok "$about: the same frames" cmp -s pixels.due pixels.got
    fi
    ok "$about: nothing is left" [ -z "$(ls | grep part)" ]
done
echo "$stopped stopped, $killed killed, $((rounds - stopped - killed)) were done before; $passed passed, $failed failed"
[ $failed = 0 ]
