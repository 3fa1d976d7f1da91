#!/bin/sh
# Holds a page to the tree: every file and folder that it names is there, and every identifier stands in the sources.
#   named.sh SOURCE_DIR PAGE LEAST FOLDER...    a file without a folder is in one of these
set -euf # names may be patterns: of files, and here of nothing
source=$1 page=$2 least=$3
shift 3
cd "$source"
checked=0 failed=0

is_looked_up() {
    case $1 in
    *' '* | *'>'* | -* | *=*) return 1 ;; # code and options
    esac
}

is_file() { # NAME FOLDER...
    name=$1
    shift
    for folder in . "$@"; do
        set +f
        # shellcheck disable=SC2086
        set -- $folder/$name
        set -f
        [ -e "$1" ] && return 0
    done
    return 1
}

is_there() {
    case $1 in
    */ | *.c | *.h | *.def | *.md) is_file "$@" ;;
    *)
        grep -rqwF -e "${1#_}" --include='*.[ch]' --include='*.def' jit lir mir runtime ||
            grep -rqE -e "(^|[ *])$1\\(" --include='*.h' tests # what a header there declares
        ;;
    esac
}

for words in $(grep -o '`[^`]*`' "$page" | tr -d '`' | tr ' ' '~' | sort -u); do
    words=$(printf '%s' "$words" | tr '~' ' ')
    is_looked_up "$words" || continue
    checked=$((checked + 1))
    is_there "$words" "$@" || { failed=$((failed + 1)); echo "$page: there is no $words"; }
done
printf '%d passed, %d failed, 0 skipped\n' $((checked - failed)) "$failed"
[ "$failed" -eq 0 ] && [ "$checked" -ge "$least" ]
