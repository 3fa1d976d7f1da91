#!/bin/sh
# Holds docs/walk.md to what the program prints: every line of a listing must stand in the output of its level.
#   walk.sh RLX SOURCE_DIR
set -eu
rlx=$1 source=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

bare() { sed -e 's|[[:space:]]*// .*$||' -e 's/[[:space:]]*$//'; }

checked=0 failed=0
for level in flow hir mir lir llvm asm fusion; do
    flag="--level $level"
    [ "$level" = fusion ] && flag=--fusion
    # shellcheck disable=SC2086
    "$rlx" inspect "$source/models/bundled" --device cpu:x86-64-v3 $flag | bare > "$dir/$level"
    awk -v fence="\`\`\`$level" '$0 == fence {on = 1; next} /^```/ {on = 0} on' "$source/docs/walk.md" | bare > "$dir/listing"
    while IFS= read -r line; do
        checked=$((checked + 1))
        if ! grep -qxF -e "$line" "$dir/$level"; then
            failed=$((failed + 1))
            printf 'docs/walk.md: %s no longer prints: %s\n' "$level" "$line"
        fi
    done < "$dir/listing"
done
printf '%d passed, %d failed, 0 skipped\n' $((checked - failed)) "$failed"
[ "$failed" -eq 0 ] && [ "$checked" -ge 45 ]
