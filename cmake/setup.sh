#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what building oriel needs and this machine lacks; touches nothing when nothing is missing.
# usage: setup.sh demo|check
set -u
cd "$(dirname "$0")/.." || exit 1
purpose=${1:-demo}
missing='' wanted=''

has() { command -v "$1" >/dev/null 2>&1; }
need() { missing="$missing $1"; echo "setup: missing: $1 ($2)"; }
want() { wanted="$wanted $1"; echo "setup: missing, not necessary: $1 ($2)"; }
header() { # header FILE: does the compiler find it?
    printf '#include <stddef.h>\n#include <stdio.h>\n#include <%s>\n' "$1" |
        ${CC:-cc} -E -x c - >/dev/null 2>&1
}

# Tools, then libraries. A compiler that is missing hides which headers are there: ask dpkg then.
package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
library() { if has "${CC:-cc}"; then header "$1"; else package "$2"; fi || need "$2" "$3"; }
has cmake || need cmake 'configures the build'
has ninja || need ninja-build 'runs the build'
has "${CC:-cc}" || need gcc 'compiles C'
has "${CC:-cc}" && ! header stdlib.h && need libc6-dev 'the C library to build against'
has "${CC:-cc}" || package libc6-dev || need libc6-dev 'the C library to build against'
has pkg-config || need pkg-config 'finds libcjson'
library png.h libpng-dev 'reads and writes PNG'
library zlib.h zlib1g-dev 'inflates PNG chunks and checkpoints'
library stb/stb_image.h libstb-dev 'reads JPEG, BMP and TGA'
library cjson/cJSON.h libcjson-dev 'reads safetensors headers'
for lib in avformat avcodec swscale; do # without them video is y4m and raw frames alone
    package lib$lib-dev || header lib$lib/$lib.h || want lib$lib-dev 'reads and writes video files'
done
if [ "$purpose" = check ]; then
    has "${CXX:-c++}" || need g++ 'checks that the public headers compile as C++'
    # Without these the tests that need them are skipped, and say so.
    has ffprobe || want ffmpeg 'what oriel writes is read by another program'
    has clang || want clang 'a second compiler; fuzzing'
    if has clang; then
        rt=$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a)
        [ -e "$rt" ] || [ -e "$(clang -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-x86_64.a" ] ||
            want libclang-rt-dev 'fuzzing'
    else
        want libclang-rt-dev 'fuzzing'
    fi
fi
[ -z "$missing$wanted" ] && exit 0

# Install: as root, or through sudo (which asks for the password only on a terminal).
if ! has apt-get; then
    how="this machine has no apt-get: install them (or what your system calls them) by hand"
    root=no
elif [ "$(id -u)" = 0 ]; then
    root=''
elif has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    root=sudo
else
    how="that takes root: run 'apt-get install$missing' as root, then this again"
    root=no
fi
apt() { DEBIAN_FRONTEND=noninteractive $root apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null; }
if [ "$root" = no ]; then
    [ -z "$missing" ] && { echo "setup: going on without$wanted"; exit 0; }
    echo "setup: cannot install$missing: $how" >&2
    exit 1
fi
echo "setup: installing with apt-get:$missing$wanted"
apt update || echo 'setup: apt-get update failed; trying with the package lists that are here' >&2
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    apt install -y --no-install-recommends $missing >/dev/null || {
        echo "setup: apt-get could not install$missing; its message is above" >&2
        exit 1
    }
fi
for p in $wanted; do
    apt install -y --no-install-recommends "$p" >/dev/null ||
        echo "setup: going on without $p; the tests that need it will be skipped"
done
exit 0
