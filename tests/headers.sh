#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone, and twice, in C17 and C++17, without a warning.
# usage: headers.sh CC [CXX]
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cc=${1:?usage: headers.sh CC [CXX]} cxx=${2:-}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
warn='-Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only'
passed=0 failed=0 skipped=0

c() { $cc -std=c17 -Wstrict-prototypes $warn -I "$root/include" -I "$tmp" -x c "$1"; }
cpp() { $cxx -std=c++17 $warn -I "$root/include" -I "$tmp" -x c++ "$1"; }
verdict() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $2"; fi; }

for h in "$root"/include/oriel/*.h; do
    name=oriel/$(basename "$h")
    printf '#include <%s>\n#include <%s>\nint used = 1;\n' "$name" "$name" >"$tmp/use"
    c "$tmp/use"; verdict $? "$name in C17"
    if [ -n "$cxx" ]; then cpp "$tmp/use"; verdict $? "$name in C++17"; else skipped=$((skipped + 1)); fi
done

# What must not compile: a header that needs another, and one that is not C++.
echo 'size_t needs_stddef(void);' >"$tmp/alone.h"
echo 'enum planted { A }; static inline enum planted f(void) { return 0; }' >"$tmp/only_c.h"
echo '#include "alone.h"' >"$tmp/use"
c "$tmp/use" 2>/dev/null; verdict $((! $?)) 'a header that does not stand alone is noticed'
echo '#include "only_c.h"' >"$tmp/use"
[ -n "$cxx" ] && { cpp "$tmp/use" 2>/dev/null; verdict $((! $?)) 'a header that is not C++ is noticed'; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 1 ]
