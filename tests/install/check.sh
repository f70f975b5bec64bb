#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds and installs oriel, moves the installed tree, then builds a program against it with CMake and
# with pkg-config, and runs it: what an outside user does.
# usage: check.sh static|shared BUILD-DIRECTORY [BUILT]    BUILT: a build of that kind, to install instead of another
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kind=$1 build=${3:-$2/install-$1}
jobs=$(nproc 2>/dev/null || echo 2)
shared=OFF
[ "$kind" = shared ] && shared=ON
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
quiet() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; echo "failed: $*"; exit 1; }; }
has() { for f; do ls -d "$prefix"/$f >/dev/null 2>&1 || { echo "not installed: $f"; exit 1; }; done; }

if [ "$build" != "${3:-}" ]; then
    quiet cmake -S "$root" -B "$build" -G Ninja -DORIEL_TESTS=OFF -DBUILD_SHARED_LIBS=$shared -DORIEL_CUDA=OFF \
        -DCMAKE_INSTALL_LIBDIR=lib
    quiet cmake --build "$build" -j "$jobs"
fi
quiet cmake --install "$build" --prefix "$tmp/first"
prefix="$tmp/moved"
mv "$tmp/first" "$prefix"
(cd "$prefix" && find . ! -type d | sort)

# All of it is there, and nothing else under include.
has include/oriel/oriel.h bin/oriel share/man/man1/oriel.1 share/oriel/models/*.safetensors
[ "$(find "$prefix/include" ! -type d ! -path '*/include/oriel/*.h' | wc -l)" = 0 ]
was=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
grep -rIlE "$root|$build|$tmp|$was/(bin|include|lib|share)" "$prefix/lib/cmake" "$prefix/lib/pkgconfig" && { echo 'installed files name the build tree or where it would go'; exit 1; }
for lib in liboriel liboriel_video; do
    if [ "$kind" = shared ]; then
        has lib/$lib.so
        sh "$root/tests/symbols.sh" "$prefix/lib/$lib.so"
        soname=$(readelf -d "$prefix/lib/$lib.so" | sed -n 's/.*soname: \[\(.*\)\]/\1/p')
        echo "soname $soname"
        echo "$soname" | grep -qE "^$lib\.so\.[0-9]+\.[0-9]+\$"
        has "lib/$soname"
    else
        has lib/$lib.a
    fi
done

export LD_LIBRARY_PATH="$prefix/lib"

# The road of CMake.
quiet cmake -S "$here" -B "$tmp/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
quiet cmake --build "$tmp/consumer"
# Our warnings are ours: none may reach the user's command line.
grep -E '"command"' "$tmp/consumer/compile_commands.json" | grep -E -- '-W(all|extra|pedantic|shadow)|ffp-contract|_GNU_SOURCE' &&
    { echo 'flags leak into the consumer'; exit 1; }
"$tmp/consumer/consumer" "$prefix/share/oriel/models"
"$tmp/consumer/clip" "$tmp/clip.y4m"

# The road of pkg-config, as a user of that kind of library would type it.
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
[ "$(pkg-config --modversion oriel)" = "$("$tmp/consumer/consumer" --version)" ]
# shellcheck disable=SC2046
quiet cc -std=c17 "$here/consumer.c" $(pkg-config --cflags --libs oriel) -o "$tmp/by-pkg-config"
"$tmp/by-pkg-config" "$(pkg-config --variable=modeldir oriel)"
# shellcheck disable=SC2046
quiet cc -std=c17 "$here/consumer.c" $(pkg-config --cflags --static --libs oriel) -o "$tmp/by-pkg-config-static"
"$tmp/by-pkg-config-static" "$(pkg-config --variable=modeldir oriel)"
# shellcheck disable=SC2046
quiet cc -std=c17 "$here/clip.c" $(pkg-config --cflags --libs oriel_video) -o "$tmp/clip-by-pkg-config"
"$tmp/clip-by-pkg-config" "$tmp/clip.y4m"
echo "installed $kind libraries: used by CMake and by pkg-config"
