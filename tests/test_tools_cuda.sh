#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command on a GPU: what it makes is what the CPU makes, within the precision asked for. Skipped, with the
# library's reason, where there is no GPU.
# usage: test_tools_cuda.sh ORIEL MAKE_TINY_MODEL PICTURE_TOOL PICTURES MODELS
set -u
oriel=$1 make_model=$2 picture=$3 pictures=$(cd "$4" && pwd) ORIEL_MODELS=$(cd "$5" && pwd)
export ORIEL_MODELS
. "$(dirname "$0")/tools.sh"

"$make_model" x2.safetensors 2 && "$make_model" grey-dn.safetensors 1 1 || exit 1
"$picture" make a.png 20 16 3 8
if ! "$oriel" upscale a.png -o a2.png --device cuda --model ./x2.safetensors 2>err; then
    if grep -qE 'built without CUDA|no NVIDIA driver is loaded|no GPU is visible' err; then
        cat err
        exit 77
    fi
    cat err
    exit 1
fi
gpu='--device cuda'
model=--model=./x2.safetensors
# psnr A B LEAST: dB of two pictures of 16 bits, or of the pictures of two folders
psnr() {
    "$oriel" compare "$1" "$2" >out 2>err
    ok "$1 and $2: $(tail -n 1 out), each over $3" awk -v t="$3" \
        '{ bad += $(NF - 5) != "inf" && !($(NF - 5) > t) } END { exit !NR || bad }' out
}
levels() { # levels A B MOST: the largest difference of a sample, of 255
    "$oriel" compare "$1" "$2" >out 2>err
    ok "$1 and $2: $(cat out), less than $3" awk -v t="$3" '{ exit !($NF < t) }' out
}

run 0 version
ok 'GPUs' grep -qE '^gpu: cuda .* 0, .*iB of .*iB free$' out

# ---- precisions
photo=$pictures/elephant-small.png
run 0 upscale "$photo" -o cpu.png --depth 16
run 0 upscale "$photo" -o f32.png --depth 16 $gpu --precision f32
run 0 upscale "$photo" -o bf16.png --depth 16 $gpu --precision bf16
run 0 upscale "$photo" -o f16.png --depth 16 $gpu --precision f16
run 0 upscale "$photo" -o auto.png --depth 16 $gpu -v
says 'on cuda '
psnr cpu.png f32.png 60
psnr cpu.png bf16.png 45
psnr cpu.png f16.png 45
ok 'auto is bf16' cmp -s auto.png bf16.png
ok 'f32 is not' sh -c '! cmp -s f32.png bf16.png'

# ---- sizes, depths, channels; lanes
mkdir in
cp "$pictures"/*.jpg in
for size in '1 1 3 8' '7 9 3 8' '64 64 3 8' '65 33 3 16' '40 30 1 8' '31 17 2 16' '33 40 4 8' '24 24 4 16'; do
    set -- $size
    "$picture" make "in/$1x$2x$3-$4.png" $size
done
run 0 upscale in -o on-cpu --depth 16 -s 2
run 0 upscale in -o on-gpu --depth 16 -s 2 $gpu --precision f32
psnr on-cpu on-gpu 60
for f in on-cpu/*; do
    ok "$f: the size" [ "$(size "$f")" = "$(size "on-gpu/$(basename "$f")")" ]
done
run 0 upscale in -o lane1 -s 2 $gpu --lanes 1
run 0 upscale in -o lane3 -s 2 $gpu --lanes 3 --progress json
ok 'JSON' json_lines err
ok 'lanes make the same files' diff -r lane1 lane3
run 0 upscale in -o three-cpu -s 3 $model
run 0 upscale in -o three-gpu -s 3 $model $gpu --precision f32
psnr three-cpu three-gpu 60
run 0 restore in/40x30x1-8.png -o grey-cpu.png -m ./grey-dn.safetensors
run 0 restore in/40x30x1-8.png -o grey-gpu.png -m ./grey-dn.safetensors $gpu --precision f32
psnr grey-cpu.png grey-gpu.png 55

# ---- tiles: less than a level from the whole
run 0 upscale "$photo" -o tile.png --depth 16 $gpu --precision f32 --tile 128
levels f32.png tile.png 1
run 1 upscale "$photo" -o no.png $gpu --precision f32 --gpu-memory 1
says 'no tile is small enough'
takes=$(sed -n "s/.*takes \([0-9]*\)\.[0-9] MiB of the GPU's memory.*/\1/p" err)
run 0 upscale "$photo" -o cut.png --depth 16 $gpu --precision f32 --gpu-memory $((takes / 2))
says 'cut into tiles of '
levels f32.png cut.png 1
run 1 upscale "$photo" -o no.png $gpu --memory 1
says 'where 1.0 MiB are allowed'
run 3 upscale a.png -o no.png $gpu:99
says 'the last GPU is number'

# ---- clips
alike() { # alike A B: but for few samples that differ by one: halves that fell to another side
    [ -s "$1" ] && [ "$(wc -c <"$1")" = "$(wc -c <"$2")" ] && cmp -l "$1" "$2" | awk '
        function value(octal) { return int(octal / 100) * 64 + int(octal / 10) % 10 * 8 + octal % 10 }
        { d = value($2) - value($3); bad += d > 1 || d < -1 } END { exit bad || NR > 200 }'
}
head -c $((40 * 30 * 3 * 9)) "$photo" >in.rgb # noise
raw='--raw 40x30:rgb24:25 --format raw --pix-fmt rgb24'
run 0 upscale in.rgb -o cpu.rgb $raw $model
run 0 upscale in.rgb -o gpu.rgb $raw $model $gpu --precision f32
ok 'frames' alike cpu.rgb gpu.rgb
run 0 upscale in.rgb -o lanes.rgb $raw $model $gpu --precision f32 --lanes 3
ok 'frames by lanes' cmp -s gpu.rgb lanes.rgb
run 0 upscale in.rgb -o in.y4m --raw 40x30:rgb24:25 --pix-fmt yuv444p $model
run 0 upscale in.y4m -o cpu.y4m $model
run 0 upscale in.y4m -o gpu.y4m $model $gpu --precision f32
ok 'y4m' alike cpu.y4m gpu.y4m

# ---- what fails, fails alone
cp x2.safetensors nan.safetensors # its last number, a bias, is none
printf '\377\377\377\177' |
    dd of=nan.safetensors bs=1 seek=$(($(wc -c <x2.safetensors) - 4)) conv=notrunc 2>/dev/null
for scale in 2 1.5; do
    run 1 upscale a.png -o nan.png -m ./nan.safetensors -s $scale $gpu
    says 'a.png: the network'
done
none nan.png .
echo x >in/bad.png
run 1 upscale in -o with-bad -s 2 $gpu
says '10 done, 1 failed'
rm in/bad.png

# ---- stopped: what is there is whole, and --skip-existing goes on
mkdir many
for i in $(seq 1 300); do ln "$photo" "many/$i.png"; done
"$picture" run "$oriel" upscale many -o stopped -s 2 $gpu 2>err &
tries=0
while [ ! -d stopped ] || [ "$(count stopped)" -lt 5 ]; do
    sleep 0.02
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || break
done
kill -INT $!
wait $!
ok 'exit code of Ctrl-C' [ $? = 130 ]
says ' not done'
none '*.tmp' stopped
written=$(count stopped)
ok "stopped after $written" [ "$written" -ge 5 ] && ok "stopped after $written" [ "$written" -lt 300 ]
for f in stopped/*; do
    [ "$(size "$f")" = '660 x 480 x 3, 8 bits' ] || ok "$f is whole" false
done
rm many/1??.png many/2*.png many/3*.png
run 0 upscale many -o stopped -s 2 $gpu --skip-existing
ok 'all there' [ "$(count stopped)" -ge "$(count many)" ]

echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 60 ]
