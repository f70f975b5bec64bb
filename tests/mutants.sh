#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The test of the tests: breaks the library in one place at a time, in a copy of the tree; the named
# test must fail each time. The list is tests/mutants.txt.
# usage: mutants.sh [PATTERN]     PATTERN: only the rows that match it (grep -E)
# Rows whose test ends in cuda need a GPU and nvcc, and are left out where there is none.
#   MUTANTS_CMAKE: more options for cmake, such as -DORIEL_PNG=OFF
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
jobs=$(nproc 2>/dev/null || echo 2)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
tree="$tmp/tree" build="$tmp/build"

mkdir "$tree"
(cd "$root" && { git ls-files --cached --others --exclude-standard 2>/dev/null | grep . || find . -type f ! -path './build*'; } |
    tar cf - --ignore-failed-read -T - 2>/dev/null) | tar xf - -C "$tree" || exit 1
grep -vE '^ *(#|$)' "$root/tests/mutants.txt" | grep -E -- "${1:-.}" >"$tmp/rows" || { echo 'no such mutant'; exit 1; }
cuda=OFF
if nvidia-smi -L 2>/dev/null | grep -q GPU; then
    cuda=ON
else
    left_out=$(grep -c '[-_]cuda *$' "$tmp/rows")
    grep -v '[-_]cuda *$' "$tmp/rows" >"$tmp/host" || { echo 'skipped: no GPU here'; exit 77; }
    mv "$tmp/host" "$tmp/rows"
    [ "$left_out" = 0 ] || echo "$left_out mutants of CUDA are left out: no GPU here"
fi

made() { # made TEST: builds what the test runs
    target=${1%-cuda}
    ninja -C "$build" -t query "$target" >/dev/null 2>&1 || target=all
    cmake --build "$build" -j "$jobs" --target "$target" >"$tmp/log" 2>&1
}
passes() { (cd "$build" && ORIEL_TEST_DATA="${ORIEL_TEST_DATA:-$root/../shared/data}" \
    timeout "$limit" ctest -R "^$1\$" --no-tests=error --output-on-failure) >"$tmp/log" 2>&1; }

# shellcheck disable=SC2086
cmake -S "$tree" -B "$build" -G Ninja -DORIEL_TESTS=ON -DORIEL_VARIANTS=OFF -DORIEL_CUDA="$cuda" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS_RELEASE=-O1 ${MUTANTS_CMAKE:-} >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cut -d'|' -f3 "$tmp/rows" | tr -d ' ' | sort -u >"$tmp/tests"
limit=600 slowest=0
while read -r test; do # unbroken, every named test passes: else its failing says nothing
    began=$(date +%s)
    made "$test" && passes "$test" || { tail -n 30 "$tmp/log"; echo "$test fails before anything is broken"; exit 1; }
    grep -q 'Skipped' "$tmp/log" && { echo "$test is skipped here: its mutants prove nothing"; exit 1; }
    took=$(($(date +%s) - began))
    [ $took -gt $slowest ] && slowest=$took
done <"$tmp/tests"
limit=$((10 + 3 * slowest)) # a test that a mutant makes wait for ever has failed

passed=0 failed=0
while IFS='|' read -r file edit test; do
    file=$(echo $file) test=$(echo $test)
    edit=$(echo "$edit" | sed 's/^ *//; s/ *$//; s/\\p/|/g')
    cp "$tree/$file" "$tmp/kept" || { failed=$((failed + 1)); continue; }
    sed -i "$edit" "$tree/$file"
    if cmp -s "$tree/$file" "$tmp/kept"; then
        said='STALE: the edit changes nothing'
    elif ! made "$test"; then
        said='DOES NOT COMPILE'
    elif passes "$test"; then
        said='SURVIVED'
    else
        said=dead
    fi
    # A copy that is newer than the broken object, so that ninja builds it again.
    cp "$tmp/kept" "$tree/$file" && touch "$tree/$file"
    if [ "$said" = dead ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    printf '%-60s %-14s %s\n' "$file: $edit" "$test" "$said"
done <"$tmp/rows"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
