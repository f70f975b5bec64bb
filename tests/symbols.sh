#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A shared library exports the functions of its list and nothing else, and each of them is declared in a
# public header of its own: liboriel.so, tests/symbols.txt; liboriel_video.so, tests/symbols_video.txt, video.h.
# usage: symbols.sh LIBRARY.SO [--write]     --write: make the list what the library exports
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
lib=${1:?usage: symbols.sh LIBRARY.SO [--write]}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C
case ${lib##*/} in
liboriel_video.*) list=symbols_video.txt headers=$root/include/oriel/video.h ;;
*) list=symbols.txt headers=$(ls "$root"/include/oriel/*.h | grep -v '/video\.h$') ;;
esac
nm -D --defined-only "$lib" | awk '{ print $3 }' | grep -vE '^(_init|_fini|__asan|__odr_asan|__tsan)' |
    sed 's/@.*//' | sort -u >"$tmp/exported"
[ -s "$tmp/exported" ] || { echo "$lib exports nothing"; exit 1; }
[ "${2:-}" = --write ] && { cp "$tmp/exported" "$root/tests/$list"; exit; }
bad=0
differ() { # differ TEXT: prints what comes on stdin under TEXT, and remembers it
    while read -r s; do echo "$1: $s"; done | tee "$tmp/said"
    [ -s "$tmp/said" ] && bad=1
}
differ2() { comm "$1" "$2" "$3" >"$tmp/list"; differ "$4" <"$tmp/list"; }
grep -v '^oriel_' "$tmp/exported" >"$tmp/foreign"; differ 'not of our name' <"$tmp/foreign"
differ2 -13 "$root/tests/$list" "$tmp/exported" "exported but not in tests/$list"
differ2 -23 "$root/tests/$list" "$tmp/exported" "in tests/$list but not exported"
# shellcheck disable=SC2086
sed 's:/\*.*\*/::' $headers | grep -oE '\boriel_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$tmp/declared"
differ2 -23 "$tmp/exported" "$tmp/declared" 'exported but in no public header'
# shellcheck disable=SC2086
awk '/^ORIEL_API/,/;/' $headers | grep -oE '\boriel_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$tmp/api"
differ2 -23 "$tmp/api" "$tmp/exported" 'declared but not exported'
echo "$(wc -l <"$tmp/exported") symbols"
[ $bad = 0 ]
