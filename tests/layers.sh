#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Who may include whom (ARCHITECTURE.md). Prints every include that goes against an arrow.
# usage: layers.sh [ROOT]     the tree to check; without it: plant violations in a copy first, each
#                             must be found, then check this tree
set -u
here=$(cd "$(dirname "$0")/.." && pwd)

# folder | what its "..." includes may start with | which <oriel/...> | which outside libraries
matrix() {
    cat <<'M'
include   |-                        |core attn kv vision video models |-
core      |core                     |core                          |cuda cublas cudnn
attn2d3d  |core attn2d3d            |core attn kv                  |cuda
vision    |core vision              |core vision                   |png.h stb/ zlib.h jpeglib.h cuda
video     |core video               |core vision video             |libav libsw
models    |core attn2d3d models     |core attn kv models           |cjson/ zlib.h
tools     |tools                    |*                             |-
samples   |-                        |*                             |-
bench     |core attn2d3d vision video models bench |*              |cuda cublas libav libsw
tests     |*                        |*                             |*
M
}
outside='png.h stb/ zlib.h jpeglib.h libav libsw cjson/ cuda cudnn cublas openssl/'

sources() { find "$1" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null; }

check() { # check ROOT: prints violations, fails if there is one
    (
        cd "$1" || exit 2
        matrix | while IFS='|' read -r dir own face libs; do
            dir=$(echo $dir)
            [ -d "$dir" ] || continue
            sources "$dir" | while read -r f; do
                # shellcheck disable=SC2016
                awk -v f="$f" -v own=" $own " -v face=" $face " -v libs=" $libs " -v outside="$outside" '
                function bad(why) { printf "%s:%d: %s: %s\n", f, FNR, $0, why }
                function listed(list, s,   n, a, i) {
                    if (list ~ / \* /) return 1
                    n = split(list, a, " ")
                    for (i = 1; i <= n; i++) if (index(s, a[i]) == 1) return 1
                    return 0
                }
                /^[ \t]*#[ \t]*include[ \t]*"/ {
                    s = $0; sub(/^[^"]*"/, "", s); sub(/".*/, "", s)
                    if (s ~ /\.\.\//) bad("includes are written from the root")
                    else if (s ~ /^oriel\//) bad("public headers are included with <>")
                    else if (s !~ /\//) { if (own ~ /^ *- *$/) bad("only <oriel/...> here") }
                    else { d = s; sub(/\/.*/, "", d)
                           if (own !~ / \* / && own !~ (" " d " ")) bad("no arrow to " d) }
                }
                /^[ \t]*#[ \t]*include[ \t]*</ {
                    s = $0; sub(/^[^<]*</, "", s); sub(/>.*/, "", s)
                    if (s ~ /^oriel\//) {
                        h = s; sub(/^oriel\//, "", h); sub(/\.h$/, "", h)
                        if (f == "include/oriel/oriel.h") next
                        if (face !~ / \* / && face !~ (" " h " ")) bad("does not know <" s ">")
                    } else if (listed(outside, s) && !listed(libs, s)) bad("this library belongs to another folder")
                }' "$f"
            done
        done
    ) >"$tmp/found"
    cat "$tmp/found"
    [ ! -s "$tmp/found" ]
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
[ $# = 1 ] && { check "$1"; exit; }

# The check of the check: a clean tree passes; each violation, planted alone, is found.
wrong=0 planted=0
tree="$tmp/tree"
plant() { # plant FILE INCLUDE
    rm -rf "$tree" && mkdir -p "$tree/$(dirname "$1")" && printf '%s\n' "$2" >"$tree/$1"
    planted=$((planted + 1))
}
finds() { plant "$@"; check "$tree" >/dev/null && { echo "layers.sh misses: $1: $2"; wrong=1; }; }
passes() { plant "$@"; check "$tree" || { echo "layers.sh refuses: $1: $2"; wrong=1; }; }
passes core/a.c '#include "core/internal.h"'
passes models/image/a.c '#include "attn2d3d/window.h"'
passes tools/a.c '#include <oriel/oriel.h>'
passes tools/a.c '#include "tool.h"'
passes vision/a.c '#include <png.h>'
passes tests/a.c '#include "models/layers.h"'
finds core/a.c '#include "vision/image.h"'
finds core/a.c '#  include  "models/model.h"'
finds core/cpu/a.c '#include <oriel/vision.h>'
finds attn2d3d/a.c '#include "models/layers.h"'
finds attn2d3d/cuda/a.cu '#include "vision/image.h"'
passes attn2d3d/cuda/a.cuh '#include <cuda_fp16.h>'
finds attn2d3d/cuda/a.cuh '#include <cudnn.h>'
finds models/image/a.cu '#include <cuda_runtime.h>'
finds tools/a.c '#include <cuda_runtime_api.h>'
finds vision/a.c '#include "models/model.h"'
finds vision/a.h '#include <oriel/models.h>'
finds models/image/a.c '#include "vision/image.h"'
finds models/a.c '#include <oriel/oriel.h>'
finds models/a.c '#include <png.h>'
finds tools/a.c '#include "core/internal.h"'
finds tools/a.c '#include "../core/internal.h"'
finds samples/a.c '#include "core/internal.h"'
finds samples/a.c '#include "shared.h"'
finds include/oriel/core.h '#include "core/internal.h"'
finds include/oriel/core.h '#include <oriel/oriel.h>'
finds core/a.c '#include "oriel/core.h"'

bad=0
check "$here" || bad=1
files=$(for d in $(matrix | cut -d'|' -f1); do sources "$here/$d"; done | wc -l)
[ "$files" -gt 0 ] || { echo 'no file was looked at'; bad=1; }
echo "$files files; $planted planted trees"
[ $wrong$bad = 00 ]
