#!/bin/sh
# Holds a page to the tree: every file and folder that it names is there, and every identifier stands in the sources.
#   named.sh SOURCE_DIR PAGE LEAST FOLDER...    a file without a folder is in one of these
set -eu
source=$1 page=$2 least=$3
shift 3
cd "$source"
checked=0 failed=0

is_there() {
    case $1 in
    *' '* | *'>'* | -* | *=*) return 0 ;; # code and options
    */ | *.c | *.h | *.def | *.md)
        for folder in . "$@"; do
            # shellcheck disable=SC2086
            set -- $folder/$name
            [ -e "$1" ] && return 0
        done
        return 1
        ;;
    esac
    grep -rqwF -e "${1#_}" --include='*.[ch]' --include='*.def' jit lir mir runtime tests
}

for name in $(grep -o '`[^`]*`' "$page" | tr -d '`' | tr ' ' '~' | sort -u); do
    checked=$((checked + 1))
    is_there "$(printf '%s' "$name" | tr '~' ' ')" "$@" || { failed=$((failed + 1)); echo "$page: there is no $name"; }
done
printf '%d passed, %d failed, 0 skipped\n' $((checked - failed)) "$failed"
[ "$failed" -eq 0 ] && [ "$checked" -ge "$least" ]
