#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The pictures of doc/attention.md are what its program draws, pixel by pixel, and the page shows each.
# usage: pictures.sh ORIEL DRAW_WINDOWS
set -u
oriel=${1:?usage: pictures.sh ORIEL DRAW_WINDOWS} draw=${2:?usage: pictures.sh ORIEL DRAW_WINDOWS}
root=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
"$draw" "$tmp" || exit 1
n=0 bad=0
fail() { echo "failed: $*"; bad=$((bad + 1)); }
for new in "$tmp"/*.png; do
    name=$(basename "$new") old=$root/doc/pictures/attention/$(basename "$new")
    n=$((n + 1))
    "$oriel" compare "$old" "$new" | grep -q 'psnr inf' || fail "$name is not what draw_windows draws now"
    grep -q "pictures/attention/$name" "$root/doc/attention.md" || fail "doc/attention.md does not show $name"
done
[ "$n" = "$(ls "$root"/doc/pictures/attention/*.png | wc -l)" ] || fail "pictures that nothing draws"
echo "$n pictures, $bad failed"
[ "$bad" = 0 ] && [ "$n" -gt 0 ]
