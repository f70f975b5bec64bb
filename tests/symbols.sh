#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The shared library exports the functions of tests/symbols.txt and nothing else, and each of them is
# declared in a public header.
# usage: symbols.sh LIBORIEL.SO [--write]     --write: make symbols.txt what the library exports
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
lib=${1:?usage: symbols.sh LIBORIEL.SO [--write]}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C
nm -D --defined-only "$lib" | awk '{ print $3 }' | grep -vE '^(_init|_fini|__asan|__odr_asan|__tsan)' |
    sed 's/@.*//' | sort -u >"$tmp/exported"
[ -s "$tmp/exported" ] || { echo "$lib exports nothing"; exit 1; }
[ "${2:-}" = --write ] && { cp "$tmp/exported" "$root/tests/symbols.txt"; exit; }
bad=0
differ() { # differ TEXT: prints what comes on stdin under TEXT, and remembers it
    while read -r s; do echo "$1: $s"; done | tee "$tmp/said"
    [ -s "$tmp/said" ] && bad=1
}
differ2() { comm "$1" "$2" "$3" >"$tmp/list"; differ "$4" <"$tmp/list"; }
grep -v '^oriel_' "$tmp/exported" >"$tmp/foreign"; differ 'not of our name' <"$tmp/foreign"
differ2 -13 "$root/tests/symbols.txt" "$tmp/exported" 'exported but not in tests/symbols.txt'
differ2 -23 "$root/tests/symbols.txt" "$tmp/exported" 'in tests/symbols.txt but not exported'
sed 's:/\*.*\*/::' "$root"/include/oriel/*.h | grep -oE '\boriel_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$tmp/declared"
differ2 -23 "$tmp/exported" "$tmp/declared" 'exported but in no public header'
awk '/^ORIEL_API/,/;/' "$root"/include/oriel/*.h | grep -oE '\boriel_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$tmp/api"
differ2 -23 "$tmp/api" "$tmp/exported" 'declared but not exported'
echo "$(wc -l <"$tmp/exported") symbols"
[ $bad = 0 ]
