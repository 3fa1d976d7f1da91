#!/bin/sh
# What the library exports is what rlx.h declares, all of it in the version node.
#   exports.sh LIBRARY RLX_H VERSION
set -eu
library=$1 header=$2 version=$3
here=$(dirname "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

awk -f "$here/items.awk" "$header" | sed -n 's/^FUNCTION(".*[ *]\(rlx_[a-z0-9_]*\)(.*/\1/p' |
    sed "s/\$/@@RLX_$version/" | sort > "$dir/declared"
# the node itself is a symbol, too
nm -D --defined-only "$library" | awk '$2 != "A" {print $3}' | sort > "$dir/exported"
if ! diff "$dir/declared" "$dir/exported"; then
    echo "< declared in rlx.h, > exported by $library"
    exit 1
fi
[ "$(wc -l < "$dir/declared")" -ge 50 ]
