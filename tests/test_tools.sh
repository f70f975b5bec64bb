#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command, as its users call it: messages, exit codes, files.
# usage: test_tools.sh ORIEL MAKE_TINY_MODEL PICTURE_TOOL MAN_PAGE
set -u
oriel=$1 make_model=$2 picture=$3 man_page=$4
. "$(dirname "$0")/tools.sh"

"$make_model" x2.safetensors 2 && "$make_model" x4.safetensors 4 &&
    "$make_model" dn.safetensors 1 3 && "$make_model" grey-dn.safetensors 1 1 || exit 1
printf '\000\000broken' >broken.safetensors
model=--model=./x2.safetensors

# ---- the commands and their options
run 2
says 'usage: oriel COMMAND'
run 0 help
prints 'oriel upscale'
run 0 --version
ok 'version' grep -qE '^oriel [0-9]+\.[0-9]+\.[0-9]+$' out
CUDA_VISIBLE_DEVICES='' run 0 version
prints ', cpu '
ok 'why there is no GPU' grep -qE '^gpu: none \((device: this liboriel was built without|cuda: no)' out
run 2 upscal
says "is 'upscale' meant?"
run 2 zzz
says "no command 'zzz'"
run 2 upscale a.png -o b.png --thread=2 --scal 3
says 'is --threads meant?'
run 2 upscale a.png -o b.png --zebra
ok 'nothing is near' [ "$(head -n 1 err)" = 'oriel upscale: no option --zebra' ]
run 2 upscale a.png -o b.png --threads 0
says '--threads is from 1 to 1024, not 0'
run 2 upscale a.png -o b.png --threads two
says "--threads takes a whole number, not 'two'"
run 2 upscale a.png -o b.png --scale nan
says '--scale takes a number'
run 2 upscale a.png -o b.png --alpha pink
says "--alpha is one of auto|model|resize|drop, not 'pink'"
run 2 upscale a.png -o b.png --recursive=1
says '--recursive takes no value'
run 2 upscale a.png -o b.png --tile
says '--tile needs a value'
run 2 upscale a.png -o b.png -rz
says 'no option -z'
run 2 upscale a.png -o b.png --shard 3/2
says '--shard is I/N'
run 2 upscale a.png -o b.png --overlap 8
says '--tile is missing'
run 2 upscale a.png
says '-o OUT'
run 2 upscale
says 'nothing given'
run 2 compare a.png
says 'more is needed: A B'
run 2 compare a.png b.png c.png
says "'c.png' is one too many"

# ---- help and the man page name the same options
sed 's/\\-/-/g' "$man_page" >page
: >known
for command in $("$oriel" help | sed -n 's/^  oriel \([a-z]*\) .*/\1/p' | grep -v help); do
    "$oriel" help "$command" >help.txt
    "$oriel" "$command" --help >help2.txt
    ok "help $command" cmp -s help.txt help2.txt
    ok "the man page has oriel $command" grep -qE "^\\.S[HS] .*oriel $command" page
    sed -n 's/^  \(-.,\|   \) --\([a-z0-9-]*\).*/\2/p' help.txt >>known
    ok "$command has options" grep -q help known
done
"$oriel" bench attn --help >help.txt # a kind of bench with options of its own
sed -n 's/^  \(-.,\|   \) --\([a-z0-9-]*\).*/\2/p' help.txt >>known
for option in $(sort -u known); do
    ok "the man page has --$option" grep -qE "^\\.B.*--$option\\b" page
done
for option in $(sed -n 's/^\.BR\{0,1\} -.*--\([a-z0-9-]*\).*/\1/p; s/^\.BR\{0,1\} --\([a-z0-9-]*\).*/\1/p' page | sort -u); do
    ok "--$option of the man page exists" grep -qxF -e "$option" known
done

# ---- the model
"$picture" make a.png 20 16 3 8
run 3 upscale a.png -o b.png --model ./none.safetensors
run 3 upscale a.png -o b.png --model none
says "no model 'none'"
run 3 upscale a.png -o b.png --model ./broken.safetensors
says broken.safetensors
run 3 upscale a.png -o b.png --model ./dn.safetensors
says "'oriel restore' is what runs it"
run 3 restore a.png -o b.png $model
says "'oriel upscale' is what runs it"
run 2 restore a.png -o b.png
says '--model FILE'
none b.png .
mkdir models
cp x2.safetensors models/swinir-light-x2.safetensors
ORIEL_MODELS=$tmp/models run 0 upscale a.png -o default.png -s 2
ORIEL_MODELS=$tmp/models run 0 upscale a.png -o named.png --model swinir-light-x2
ok 'default model' cmp -s default.png named.png
built=$oriel oriel=$tmp/away # above the built one lie the default models, x4 among them
cp "$built" "$oriel"
ORIEL_MODELS=$tmp/models run 0 upscale a.png -o twice.png -v
oriel=$built
says '2 passes'
ok 'x2 twice is x4' [ "$(size twice.png)" = '80 x 64 x 3, 8 bits' ]

# ---- the device and the precision
for device in gpu cuda: cuda:x cuda:-1 cuda:0x CUDA; do
    run 2 upscale a.png -o b.png $model --device $device
    says "--device is cpu, cuda or cuda:N, not '$device'"
done
for device in cuda cuda:7; do # whatever the machine has, none of it is to be seen
    CUDA_VISIBLE_DEVICES='' run 3 upscale a.png -o b.png $model --device $device
    ok 'why there is no GPU' grep -qE '^oriel: (device: this liboriel was built without CUDA|cuda: no NVIDIA driver is loaded|cuda: no GPU is visible)' err
done
run 2 upscale a.png -o b.png $model --precision f64
says "--precision is one of auto|f32|bf16|f16, not 'f64'"
run 3 upscale a.png -o b.png $model --precision f16
says f16
none b.png .
run 0 upscale a.png -o b.png $model --device cpu --precision f32
run 0 upscale a.png -o b2.png $model --precision auto
ok 'auto is f32 on CPUs' cmp -s b.png b2.png
if "$oriel" upscale a.png -o b16.png $model --precision bf16 2>err; then
    ok 'bf16 is not f32' sh -c '! cmp -s b.png b16.png'
    near b.png b16.png 1
else
    says bf16
fi
rm b*.png

# ---- what a picture becomes
run 0 upscale a.png -o a2.png $model
ok 'silent' [ ! -s err ] && ok 'silent' [ ! -s out ]
ok 'x2' [ "$(size a2.png)" = '40 x 32 x 3, 8 bits' ]
run 0 upscale a.png -o a15.png $model -s 1.5
ok 'x1.5' [ "$(size a15.png)" = '30 x 24 x 3, 8 bits' ]
run 0 upscale a.png -o a3.png $model --scale=3
ok 'x3' [ "$(size a3.png)" = '60 x 48 x 3, 8 bits' ]
near a2.png a15.png 1
run 0 upscale a.png -o a3b.png $model --scale=3 --dry-run
prints '-> 60 x 48, 3 channels of 8 bits, 2 passes'
run 0 upscale a.png -o a4.png -m./x4.safetensors
ok 'x4' [ "$(size a4.png)" = '80 x 64 x 3, 8 bits' ]
"$picture" make m16.png 24 17 4 16 metadata
meta=$("$picture" show m16.png | sed 's/.*bits, //')
ok 'the sample has a profile' expr "$meta" : 'icc 2[0-9]* .*, exif 14 ' >/dev/null
run 0 upscale m16.png -o m16x2.png $model
ok 'the profile is no trouble' [ ! -s err ]
shows m16x2.png "48 x 34 x 4, 16 bits, $meta"
run 0 upscale m16.png -o m8.png $model --depth 8 --drop-metadata --alpha drop
ok 'depth 8, no alpha' [ "$("$picture" show m8.png | sed 's/ [0-9a-f]\{8\}//g')" = '48 x 34 x 3, 8 bits, icc 0, exif 0' ]
run 0 upscale m16.png -o m16to8.png $model --depth 8
run 0 compare m16to8.png m16x2.png
ok 'the same in 16 bits, and finer' awk '{ exit !($2 > 55 && $2 < 100) }' out
"$picture" make g.png 15 13 1 8 metadata
run 0 upscale g.png -o g2.png $model --depth 16
ok 'grey stays grey' [ "$(size g2.png)" = '30 x 26 x 1, 16 bits' ]
"$picture" make grgb.png 15 13 3 8 equal
run 0 upscale grgb.png -o grgb2.png $model
near g2.png grgb2.png 0.5
"$picture" make ga.png 15 13 2 8
run 0 upscale ga.png -o ga2.png $model
ok 'grey and alpha' [ "$(size ga2.png)" = '30 x 26 x 2, 8 bits' ]
"$picture" make ca.png 24 20 4 8 constant-alpha
run 0 upscale ca.png -o ca2.png $model
ok 'constant alpha stays' [ "$("$picture" alpha ca2.png)" = '128 128' ]
run 0 upscale ca.png -o ca16.png $model --depth 16
ok 'and widens exactly' [ "$("$picture" alpha ca16.png)" = '32896 32896' ]
run 0 upscale ca.png -o cam.png $model --alpha model
ok 'alpha model runs the model' [ "$("$picture" alpha cam.png)" != '128 128' ]
"$picture" split cam.png cam-alpha.png
"$picture" split ca.png ca-alpha.png
run 0 upscale ca-alpha.png -o ca-alpha2.png $model
run 0 compare cam-alpha.png ca-alpha2.png
prints 'psnr inf dB'
run 0 restore a.png -o r.png -m ./dn.safetensors
ok 'restore keeps the size' [ "$(size r.png)" = '20 x 16 x 3, 8 bits' ]
run 0 restore g.png -o rg.png -m ./grey-dn.safetensors
ok 'a network for grey' [ "$(size rg.png)" = '15 x 13 x 1, 8 bits' ]
run 1 restore a.png -o rc.png -m ./grey-dn.safetensors
says 'the picture has colours'

cp x2.safetensors nan.safetensors # its last number, a bias, is none
printf '\377\377\377\177' |
    dd of=nan.safetensors bs=1 seek=$(($(wc -c <x2.safetensors) - 4)) conv=notrunc 2>/dev/null
for scale in 2 1.5; do # as samples to the device and back, and as floats
    run 1 upscale a.png -o nan.png -m ./nan.safetensors -s $scale
    says 'a.png: the network'
done
none nan.png .

# where alpha is 0 red is 255, elsewhere 64: the network must see a plain picture
"$picture" make ha.png 32 24 4 8 hard-alpha
run 0 upscale ha.png -o ha2.png $model --alpha resize
"$picture" make seen.png 32 24 3 8 hard-alpha # the same picture as if no pixel were hidden
ok 'alpha by bicubic' [ "$("$picture" alpha ha2.png)" = '0 255' ]
run 0 upscale ha.png -o flat.png $model --alpha drop
run 0 upscale seen.png -o seen2.png $model
ok 'hidden colours are replaced' cmp -s flat.png seen2.png

# ---- the same bytes for any number of threads, and by tiles the same size
"$picture" make big.png 90 70 3 8
run 0 upscale big.png -o t1.png $model -t 1
run 0 upscale big.png -o t2.png $model -t 2
ok 'threads' cmp -s t1.png t2.png
run 0 upscale big.png -o tile.png $model --tile 48
ok 'tiles' [ "$(size tile.png)" = '180 x 140 x 3, 8 bits' ]
ok 'tiles are not the whole' sh -c '! cmp -s tile.png t1.png'
run 0 compare t1.png tile.png
ok 'tiles are near' awk '{ exit !($2 > 40) }' out
run 1 upscale big.png -o no.png $model --tile 8
says 'less than two windows'
run 2 upscale big.png -o no.png $model --tile 64 --overlap 64
run 1 upscale big.png -o no.png $model --tile 64 --overlap 60
says 'at most 56'

# ---- lanes: the same files beside each other
mkdir lanes
for i in 1 2 3 4 5 6; do "$picture" make lanes/$i.png $((i * 20)) $((150 - i * 20)) 3 8; done
"$picture" make lanes/alpha.png 60 50 4 8
run 0 upscale lanes -o one $model --report one.json
run 0 upscale lanes -o three $model --lanes 3 -t 2 --report three.json --progress json
ok 'JSON' json_lines err
ok 'lanes make the same files' diff -r one three
ok 'the report is in order' [ "$(grep -o '"input": "[^"]*"' one.json)" = "$(grep -o '"input": "[^"]*"' three.json)" ]
run 0 upscale lanes -o four $model --lanes 2 -v
says ', 2 lanes'
run 0 upscale a.png -o b.png $model --lanes 4 -v
says ', 1 lane'
run 0 upscale lanes -o tiles1 $model --tile 48
run 0 upscale lanes -o tiles2 $model --tile 48 --lanes 2 -s 3
run 0 upscale lanes -o tiles2 $model --tile 48 --lanes 2 -f
ok 'lanes make the same tiles' diff -r tiles1 tiles2
run 2 upscale a.png -o b.png $model --lanes 0 -f
run 2 upscale a.png -o b.png $model --gpu-memory 100 -f
says '--gpu-memory is of --device cuda'
echo x >lanes/0.png
run 1 upscale lanes -o failed $model --lanes 2
says '7 done, 1 failed'
run 1 upscale lanes -o first $model --lanes 2 --fail-fast
ok 'not all' [ "$(find first -type f 2>/dev/null | wc -l)" -lt 7 ]

# ---- bench
run 0 bench upscale -m ./x2.safetensors --size 24x16,8x8 --runs 2 -t 1
prints '24 x 16   f32'
prints '8 x 8    f32'
prints 'upsampler'
run 0 bench upscale -m ./x2.safetensors --size 24x16 --runs 2 --json
ok 'JSON' json_lines out
run 2 bench upscale --size 24x16,
run 2 bench upscale --size 24
says "not '24'"
run 2 bench upscale --precision f32,f8
says "not 'f32,f8'"
run 2 bench downscale
run 2 bench upscale --device cuda -t 2
run 0 bench attn --extent 12x12 --window 3 --heads 2 --dim 16 --dtype f32 -t 1
prints 'TFLOP/s'
export ORIEL_ATTN=c
run 0 bench attn --extent 2x8x8 --block 8 --shift 3 --heads 2 --dim 16 --dtype f16 -t 1
unset ORIEL_ATTN
prints ' c  '
run 2 bench attn --window 3
run 2 bench attn --extent 8x8 --window 9
run 2 bench attn --extent 8x0
run 2 bench attn --extent 8x8x8x8
run 2 bench attn --extent 8 --window 3 --block 4
run 3 bench upscale -m ./nothing.safetensors

# ---- levels of PNG
for level in 1 6 9; do run 0 upscale big.png -o level$level.png $model --compression $level; done
ok 'the level counts' sh -c '! cmp -s level1.png level9.png'
ok '6 is the default' cmp -s level6.png t1.png
run 0 compare level1.png level9.png
prints 'psnr inf dB'
run 2 upscale big.png -o no.png $model --compression 0

# ---- memory
"$picture" make wide.png 500 400 3 8
run 1 upscale wide.png -o no.png $model --memory 24
says 'where 24.0 MiB are allowed'
tile=$(sed -n 's/.*--tile \([0-9]*\) takes.*/\1/p' err)
ok "a tile is named" [ -n "$tile" ]
run 0 upscale wide.png -o fits.png $model --memory 24 --tile "$tile" --dry-run
prints 'wide.png -> fits.png: 500 x 400 -> 1000 x 800, 3 channels of 8 bits'
none fits.png .
mkdir beside
for i in 1 2 3 4; do cp wide.png beside/$i.png; done # one fits, two at once do not: they wait
run 0 upscale beside -o waited $model --memory 60 --lanes 3
says '4 done'
run 0 upscale wide.png -o alone.png $model
ok 'those that waited' cmp -s waited/4.png alone.png
run 1 upscale beside -o waited $model --memory 24 --lanes 3 -f
says '0 done, 4 failed'

# ---- folders, bad files, names
mkdir -p in/sub/deep
cp a.png in/one.png
cp a.png in/two.PNG
cp g.png in/sub/grey.png
cp ca.png in/sub/deep/alpha.png
"$picture" make in/one.ppm 9 9 3 8
head -c 200 m16.png >in/cut.png
echo '<html>' >in/web.jpg
echo notes >in/notes.txt
echo x >in/.hidden.png
echo x >in/Thumbs.db
echo x >in/desktop.ini
ln -s .. in/sub/loop
run 1 upscale in -o flat $model
says 'in/cut.png: '
says 'failed: in/web.jpg: '
says '3 done, 2 failed'
ok 'flat' [ "$(cd flat && find . -type f | sort | tr '\n' ' ')" = './one.png ./one.ppm.png ./two.png ' ]
ok 'both' [ "$(size flat/one.png) $(size flat/one.ppm.png)" = '40 x 32 x 3, 8 bits 18 x 18 x 3, 8 bits' ]
run 1 upscale -r in -o tree $model --report report.json
ok 'tree' [ "$(cd tree && find . -type f | sort | tr '\n' ' ')" = \
    './one.png ./one.ppm.png ./sub/deep/alpha.png ./sub/grey.png ./two.png ' ]
ok 'report' grep -q '"done": 5,' report.json
ok 'report names the failed' grep -qE '"input": "in/cut.png".*"state": "failed".*"error": "' report.json
rm in/cut.png in/web.jpg
cp tree/one.png before.png
run 2 upscale -r in -o tree $model
says '5 outputs exist'
rm tree/sub/grey.png
run 0 upscale -r in -o tree $model --skip-existing
says '1 done, 4 skipped'
ok 'made again' [ -f tree/sub/grey.png ]
echo x >tree/one.png
run 0 upscale -r in -o tree $model -f
ok 'replaced' cmp -s tree/one.png before.png
run 2 upscale -r in -o tree $model -f --skip-existing
run 0 upscale -r in -o in/out $model
run 0 upscale -r in -o in/out $model -f
says '5 done'
rm -r in/out
run 2 upscale in/one.png in -o both $model
says 'would both be written to both/'
run 2 upscale in -o in $model -f
says 'is an input too'
run 2 upscale a.png -o a.png $model -f
says 'is an input too'
run 2 upscale a.png g.png -o a2.png $model
says 'not a folder'
run 2 upscale a.png -o a.jpg $model
says 'ends in .png'
mkdir empty
run 2 upscale empty -o both $model
says 'no pictures or clips in empty'
run 2 upscale a.png missing.png -o -
run 1 upscale a.png missing.png -o list $model
says 'missing.png: No such file'
ok 'the other is done' [ -f list/a.png ]
run 1 upscale missing.png a.png g.png -o fast $model --fail-fast
ok 'not all' [ ! -f fast/g.png ]
for i in 1 2 3; do run 0 upscale -r in -o shards $model --shard $i/3; done
ok 'shards make the whole' [ "$(count shards)" = "$(count tree)" ]
ok 'shards are the same' diff -r shards tree

# ---- pipes
"$oriel" upscale - -o - $model <a.png >piped.png 2>err
ok 'a pipe' cmp -s piped.png a2.png
"$oriel" upscale - -o - $model --format pnm <a.png >piped.ppm 2>err
ok 'a pipe of PNM' [ "$(head -c 2 piped.ppm)" = P6 ]
run 0 compare piped.ppm a2.png
prints 'psnr inf dB'
if [ -w /dev/full ]; then
    "$oriel" upscale a.png -o - $model >/dev/full 2>err
    ok 'a full pipe' [ $? = 1 ]
    says 'No space left'
fi
: | "$oriel" upscale - -o x.png $model 2>err
ok 'an empty pipe' [ $? = 1 ]

# ---- a disk without room: no file may grow over a block
mkdir full
"$picture" make tiny.png 3 2 1 8
(trap '' XFSZ && ulimit -f 1 && exec "$oriel" upscale big.png tiny.png -o full $model 2>err)
ok 'no room' [ $? = 1 ]
says 'big.png'
ok 'nothing half written' [ "$(find full -type f)" = full/tiny.png ]

# ---- progress for programs
run 0 upscale in -o json $model --progress json
ok 'JSON' json_lines err
ok 'file events' grep -q '^{"event":"file","input":"in/one.png","output":"json/one.png","done":0,"total":3,"percent":0.0,"eta_s":null}' err
ok 'done events' grep -qE '^\{"event":"done",.*"done":3,"total":3\}' err
ok 'end event' grep -q '^{"event":"end","done":3,"skipped":0,"failed":0,"stopped":0,' err
odd=$(printf 'q"\\\n\t\303\244\377.png')
cp a.png "$odd"
echo x >bad.png
run 1 upscale "$odd" bad.png -o odd $model --progress=json -v
ok 'odd names' json_lines err
ok 'escaped' grep -qF '"input":"q\"\\\u000a\u0009ä\ufffd.png"' err
ok 'failed event' grep -qE '"event":"failed","input":"bad.png".*"error":"' err
ok 'the odd file' [ -f "odd/$odd" ]

# ---- stopped: no half file, no temporary one, and --skip-existing goes on
mkdir many
"$picture" make many/0.png 96 96 3 8
for i in $(seq 1 150); do ln many/0.png many/$i.png; done
stop_with() { # stop_with SIGNAL FOLDER LANES
    "$picture" run "$oriel" upscale many -o "$2" $model -t 1 --lanes "$3" 2>err &
    tries=0
    while [ ! -d "$2" ] || [ "$(count "$2")" -lt 2 ]; do
        sleep 0.02
        tries=$((tries + 1))
        [ $tries -lt 1000 ] || break
    done
    kill -"$1" $!
    wait $!
}
stop_with INT stopped 1
ok 'exit code of Ctrl-C' [ $? = 130 ]
says ' not done'
none '*.tmp' stopped
written=$(count stopped)
ok "stopped after $written" [ "$written" -ge 2 ] && ok "stopped after $written" [ "$written" -lt 151 ]
for f in stopped/*; do
    [ "$(size "$f")" = '192 x 192 x 3, 8 bits' ] || ok "$f is whole" false
done
stop_with TERM stopped2 3
ok 'exit code of TERM' [ $? = 143 ]
none '*.tmp' stopped2
for f in stopped2/*; do
    [ "$(size "$f")" = '192 x 192 x 3, 8 bits' ] || ok "$f is whole" false
done
"$picture" run "$oriel" upscale wide.png -o half.png -s 4 $model -t 1 --progress json 2>err &
tries=0
while ! grep -q '"percent":[1-9]' err; do
    sleep 0.02
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || break
done
kill -INT $!
wait $!
ok 'stopped within a picture' [ $? = 130 ]
none '*half.png' .
none '.oriel*' .
rm many/1[0-9]*.png many/2*.png
run 0 upscale many -o stopped $model --skip-existing
ok 'all there' [ "$(count stopped)" -ge "$(count many)" ]

# ---- compare
run 0 compare a.png a.png
prints 'psnr inf dB  ssim 1.000000  max 0.00'
run 0 compare a.png a.png --json
ok 'JSON' json_lines out
prints '"psnr":null'
run 1 compare a.png a2.png
says 'a.png is 20 x 16, a2.png is 40 x 32'
run 0 compare a2.png a.png --mod-crop
run 1 compare a.png a2.png --mod-crop
run 1 compare a.png none.png
says 'none.png'
run 2 compare a.png in
run 0 compare --y --crop 4 t1.png tile.png
ok 'luma' grep -qE '^psnr [0-9]+\.[0-9]{4} dB  ssim 0\.[0-9]+  max [0-9.]+$' out
mkdir x y
cp t1.png x/a.png
cp t1.png x/b.png
cp t1.png y/a_x2.png
cp tile.png y/b_x2.png
run 1 compare x y
says 'y has no a'
run 0 compare x y --match order --json
ok 'JSON' json_lines out
ok 'two and the mean' [ "$(wc -l <out)" = 3 ]
prints '{"mean_of":2,"psnr":null,'
rm y/a_x2.png
run 2 compare x y --match order
says 'x has 2 pictures, y has 1'

echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 150 ]
