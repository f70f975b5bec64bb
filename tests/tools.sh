#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the tests of the command share; read in by them. They have set $oriel and $picture.
tmp=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0 failed=0

ok() { # ok NAME COMMAND...
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $name: $*"
        tail -n 5 err
    fi
}
# run CODE ARGUMENTS...: the command must end with this code; its output is in out, its errors in err
run() {
    code=$1
    shift
    "$oriel" "$@" >out 2>err </dev/null
    got=$?
    ok "oriel $* ends with $got" [ $got = "$code" ]
}
says() { ok "says '$1'" grep -qF -e "$1" err; }        # on stderr
prints() { ok "prints '$1'" grep -qF -e "$1" out; }    # on stdout
shows() { ok "$1 is $("$picture" show "$1")" [ "$("$picture" show "$1")" = "$2" ]; }
size() { "$picture" show "$1" | sed 's/, icc.*//'; }
near() { # near A B TOLERANCE: the mean of two pictures, of 255
    ok "$1 and $2 have one mean" awk -v a="$("$picture" mean "$1")" -v b="$("$picture" mean "$2")" \
        -v t="$3" 'BEGIN { exit !(a > 1 && (a - b < t) && (b - a < t)) }'
}
none() { ok "no $1 in $2" [ -z "$(find "$2" -name "$1")" ]; }
count() { find "$1" -type f | wc -l; }

# flat JSON objects, one a line
string='"([^"\\]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*"'
value="($string|-?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?|true|false|null)"
json_lines() {
    [ -s "$1" ] && ! grep -vqE "^\\{$string:$value(,$string:$value)*\\}\$" "$1"
}
