#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What rounding costs: PSNR on luma of the default models over a set, f32 on the CPU beside each device and precision.
# usage: psnr.sh ORIEL SET [CONFIG...]    SET: a folder with HR and LR_bicubic/X2, X4; CONFIG: cpu:bf16, cuda:f32, ...
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
oriel=${1:?usage: psnr.sh ORIEL SET [CONFIG...]} set=${2:?no set}
shift 2
[ $# -gt 0 ] || set -- cuda:f32 cuda:bf16 cuda:f16
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0

measure() { # measure SCALE CONFIG: PSNR of each picture, a line each; "mean" is the last
    out=$tmp/$1-$2
    "$oriel" upscale --device "${2%:*}" --precision "${2#*:}" --progress none -m "$root/models/weights/swinir-light-x$1.safetensors" \
        "$set/LR_bicubic/X$1" -o "$out" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; return 1; }
    "$oriel" compare --y --crop "$1" --mod-crop --match order --json "$set/HR" "$out" |
        sed 's/.*"psnr": *\([0-9.]*\).*/\1/'
}

for scale in 2 4; do
    measure $scale cpu:f32 >"$tmp/ref" || exit 1
    echo "x$scale cpu:f32 $(tr '\n' ' ' <"$tmp/ref")dB; the last is the mean"
    for config in "$@"; do
        measure $scale "$config" >"$tmp/have" || { bad=1; continue; }
        paste "$tmp/ref" "$tmp/have" | awk -v name="x$scale $config" '
            { printf "%s%+.5f", NR == 1 ? name " " : " ", $2 - $1; d = $2 > $1 ? $2 - $1 : $1 - $2; if (d > worst) worst = d }
            END { printf "; worst %.5f dB\n", worst; exit !(NR > 1 && worst < 0.01) }' || { echo "over 0.01 dB"; bad=1; }
    done
done
exit $bad
