#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tree in another way and runs its tests there: one test of the outer suite.
# usage: variant.sh NAME BUILD [CMAKE-OPTION...]    exit 77: this machine cannot
#   VARIANT_CTEST: options for ctest, by default to run all but what checks the tree itself
#   VARIANT_TARGET: what to build, by default all
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
name=$1 build=$2
shift 2
jobs=$(nproc 2>/dev/null || echo 2)
run=''
skip() { echo "skipped: $*"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
echo 'int main(void) { return 0; }' >"$tmp/t.c"

case $name in
clang | fuzz) command -v clang >/dev/null || skip 'no clang' ;;
esac
case $name in
asan) cc -fsanitize=address,undefined "$tmp/t.c" -o "$tmp/t" && "$tmp/t" || skip 'no AddressSanitizer' ;;
fuzz)
    echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return !p && n; }' >"$tmp/f.c"
    clang -fsanitize=fuzzer,address "$tmp/f.c" -o "$tmp/f" && "$tmp/f" -runs=1 2>/dev/null ||
        skip 'no libFuzzer'
    ;;
tsan)
    # Where addresses are randomised over more bits than it knows, ThreadSanitizer needs them fixed.
    cc -fsanitize=thread "$tmp/t.c" -o "$tmp/t" || skip 'no ThreadSanitizer'
    "$tmp/t" 2>/dev/null || { run="setarch -R"; $run "$tmp/t" 2>/dev/null; } ||
        skip 'ThreadSanitizer cannot run on this kernel'
    ;;
esac
# FFmpeg is not built for ThreadSanitizer, which does not see its counts of references.
export UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1
cmake -S "$root" -B "$build" -G Ninja -DORIEL_TESTS=ON -DORIEL_VARIANTS=OFF "$@" >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
# shellcheck disable=SC2086
cmake --build "$build" -j "$jobs" ${VARIANT_TARGET:+--target $VARIANT_TARGET} >"$tmp/log" 2>&1 || { tail -n 60 "$tmp/log"; exit 1; }
# shellcheck disable=SC2086
$run ctest --test-dir "$build" --output-on-failure --no-tests=error -j "$jobs" ${VARIANT_CTEST:--LE house}
