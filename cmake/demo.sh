#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the preset release, upscales a photograph with the default model, says where the result is.
set -eu
cd "$(dirname "$0")/.."
jobs=$(nproc 2>/dev/null || echo 2)
mkdir -p build demo
cmake --preset release >build/configure.log 2>&1 || {
    cat build/configure.log
    exit 1
}
cmake --build --preset release -j "$jobs"
oriel=build/release/tools/oriel
in=samples/pictures/elephant-small.png out=demo/elephant-x4.png
echo "$oriel upscale $in -o $out"
"$oriel" upscale "$in" -o "$out" --force --verbose
echo
echo "The photograph:  $PWD/$in (330 x 240)"
echo "Four times that: $PWD/$out (1320 x 960)"
