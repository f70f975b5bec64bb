#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the preset dev and runs every test. The last lines are ctest's summary; its exit code is
# also left in build/check.status, and what it said in build/check.log, for .ci/run.
set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p build && rm -f build/check.status build/check.log
jobs=$(nproc 2>/dev/null || echo 2)

# A compiler that we have not met may warn about more: that stops our CI, not a user's check.
werror=OFF
[ -n "${CI:-}" ] && werror=ON
cmake --preset dev -DCMAKE_COMPILE_WARNING_AS_ERROR=$werror >build/configure.log 2>&1 || {
    cat build/configure.log
    exit 1
}
cmake --build --preset dev -j "$jobs" || exit 1
{
    ctest --preset dev -j "$jobs"
    echo $? >build/check.status
} 2>&1 | tee build/check.log
exit "$(cat build/check.status)"
