#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What every file keeps to: at most 1,000 lines a file and 100 a C function, a licence line in each
# source, no path of somebody's machine, no TODO, nothing large.
# usage: files.sh [ROOT]     the tree to check; without it: violations planted in a copy, each of
#                            which must be found, then this tree
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
tables=' ' # files that may be longer, because they are tables

list() { # files that are in the repository, or would be
    git -C "$1" ls-files --cached --others --exclude-standard 2>/dev/null | sort -u | grep . ||
        (cd "$1" && find . -type f ! -path './build*' ! -path './.git/*' | sed 's:^\./::')
}

check() {
    list "$1" | while read -r f; do
        p="$1/$f"
        [ -f "$p" ] || continue
        case $f in
        *.png | *.jpg | *.safetensors | *.bin | *.npz | *.pth | */corpus/* | */golden/*)
            size=$(wc -c <"$p")
            limit=2500000
            case $f in *.safetensors) limit=16000000 ;; esac
            [ "$size" -gt $limit ] && echo "$f: $size bytes: too large for the repository"
            continue ;;
        esac
        n=$(wc -l <"$p")
        case "$tables" in *" $f "*) ;; *) [ "$n" -gt 1000 ] && echo "$f: $n lines, over 1000" ;; esac
        case $f in
        *.c | *.h | *.cu | *.cuh | *.sh | *.py | *.cmake | *CMakeLists.txt | Makefile | .ci/run)
            head -n 5 "$p" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f: no SPDX line" ;;
        esac
        case $f in
        *.c | *.h | *.cu | *.cuh)
            awk -v f="$f" '/^\{/ { start = FNR } /^}/ && start {
                if (FNR - start > 100) printf "%s:%d: a function of %d lines, over 100\n", f, start, FNR - start
                start = 0 }' "$p" ;;
        esac
        grep -nE '(^|[^A-Za-z0-9_.])/(home|root|work|Users)/[A-Za-z0-9]' "$p" | sed "s|^|$f: a path of one machine: |"
        case $f in tests/files.sh | CONTRIBUTING.md) ;; *)
            grep -nE '\b(TODO|FIXME|XXX)\b' "$p" | sed "s|^|$f: without an issue: |" ;;
        esac
    done >"$tmp/found"
    cat "$tmp/found"
    [ ! -s "$tmp/found" ]
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
[ $# = 1 ] && { check "$1"; exit; }

wrong=0
tree="$tmp/tree"
finds() { # finds NAME: the tree holds one file of that name, which must be refused
    check "$tree" >/dev/null && { echo "files.sh misses: $1"; wrong=1; }
    rm -rf "$tree" && mkdir -p "$tree"
}
spdx='/* SPDX-License-Identifier: Apache-2.0 */'
mkdir -p "$tree"
{ echo "$spdx"; echo 'int f(void)'; echo '{'; echo '    return 0;'; echo '}'; } >"$tree/a.c"
check "$tree" || { echo 'files.sh refuses a good file'; wrong=1; }
echo 'int x;' >"$tree/a.c"; finds 'no licence'
{ echo "$spdx"; yes 'int x;' | head -n 1000; } >"$tree/a.c"; finds 'a long file'
{ echo "$spdx"; echo 'void f(void)'; echo '{'; yes '    g();' | head -n 101; echo '}'; } >"$tree/a.c"; finds 'a long function'
{ echo "$spdx"; printf 'const char *p = "/%s/me/x";\n' home; } >"$tree/a.c"; finds 'a path'
{ echo "$spdx"; printf '/* %s: later */\n' TODO; } >"$tree/a.c"; finds 'a TODO'
head -c 2600000 /dev/zero >"$tree/a.png"; finds 'a large picture'

bad=0
check "$here" || bad=1
echo "$(list "$here" | wc -l) files"
[ "$(list "$here" | wc -l)" -gt 10 ] && [ $wrong$bad = 00 ]
