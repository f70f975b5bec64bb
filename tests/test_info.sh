#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# oriel info, as its users call it. Run in the root of the tree.
# usage: test_info.sh ORIEL
set -u
oriel=$1
files=tests/golden/checkpoints
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

ok() { # ok NAME COMMAND...
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $name: $*"
        cat "$tmp/out" "$tmp/err"
    fi
}
run() { # run CODE ARGUMENTS...
    code=$1
    shift
    "$oriel" info "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    ok "oriel info $* ends with $got" [ $got = "$code" ]
}
says() { ok "says '$1'" grep -qF -e "$1" "$tmp/err"; }
prints() { ok "prints '$1'" grep -qF -e "$1" "$tmp/out"; }
# shellcheck disable=SC2016
silent() { ok "prints '$1'" sh -c '! grep -qF -e "$1" "$2"' - "$1" "$tmp/out"; }

run 0 $files/wrapped.pth
prints 'torch zip'
prints 'SwinIR (runs)'
prints 'x2, embed 4, depths 2, heads 2, window 2, mlp 2, pixelshuffledirect, 3 channels'
prints 'dictionary    params_ema'
prints 'others        params'
prints 'parameters    796'
sum=$(sha256sum $files/wrapped.pth 2>/dev/null | cut -d' ' -f1)
[ -z "$sum" ] || prints "$sum"
silent 'conv_first.weight'
run 0 --no-sha256 --tensors -k params $files/wrapped.pth
prints 'dictionary    params'
prints 'conv_first.weight  f32 (4, 3, 3, 3)'
silent sha256
run 0 $files/args.pth
prints 'unknown, keys look like w'
run 0 --json -t $files/module.pth
prints '"architecture":"SwinIR"'
prints '"key":"","other_keys":""'
prints '"runnable":true'
prints '{"name":"conv_first.weight","dtype":"f32","shape":[4,3,3,3]}'
ok 'one line' [ "$(wc -l <"$tmp/out")" = 1 ]
run 0 $files/zip_rare.pth
says 'tensor complex is left out'

run 1 $files/list.pth $files/args.pth
says "$files/list.pth: no dictionary"
prints "$files/args.pth"
run 3 $files/list.pth
run 3 $files/absent.pth
says 'absent.pth'
run 3 --json $files/torchscript.pt
prints '"error":"torch zip: a TorchScript program'
run 3 --key net $files/wrapped.pth
says 'there are: params, params_ema'
run 2
run 2 --sha256 --no-sha256 $files/args.pth
run 2 --frobnicate
run 0 --help
prints '--no-sha256'

"$oriel" info - <$files/args.pth >"$tmp/out" 2>"$tmp/err" # redirected
ok 'standard input' [ $? = 0 ]
cat $files/args.pth | "$oriel" info - >"$tmp/out" 2>"$tmp/err"
ok 'a pipe' [ $? = 0 ]
prints 'parameters    6'

# A name that would clear a terminal
n='{"a\u001b[2Jb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
printf '%b%sx' "\\0$(printf %o ${#n})\\0\\0\\0\\0\\0\\0\\0" "$n" >"$tmp/escape.safetensors"
if "$oriel" info -t "$tmp/escape.safetensors" >"$tmp/out" 2>"$tmp/err"; then
    prints 'a?[2Jb'
    # shellcheck disable=SC2016
    ok 'no control characters' sh -c '! grep -q "$(printf "\\033")" "$1"' - "$tmp/out"
else # a build without JSON says so
    says 'ORIEL_JSON=OFF'
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
