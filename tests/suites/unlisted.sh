#!/bin/sh
# unlisted.sh CONFORMANCE FIXTURES LEAST FAMILY...: fails when a folder of fixtures that is none of those families' has a case that passes:
# it is to be listed in CMakeLists.txt, for the CPU and for devices. Those of models that nobody has built fail, which is told. Fails, too,
# where there are fewer than LEAST folders, or one is not counted.
conformance=$1 fixtures=$2 least=$3
shift 3
[ -d "$fixtures" ] || { echo "skipped: $fixtures is not there"; exit 0; }
code=0 folders=0 others=0 failed=0
for dir in "$fixtures"/*/; do
    [ -d "$dir" ] || continue
    folders=$((folders + 1))
    name=$(basename "$dir")
    case " $* " in *" $name "*) continue ;; esac
    others=$((others + 1))
    counts=$("$conformance" fixtures "$dir" --decode-from 2 --least 0 | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, .*/\1 \2/p')
    [ "${counts% *}" = 0 ] || { echo "$name: ${counts:-no} cases pass and fail, but no test runs them"; code=1; }
    [ -z "$counts" ] || failed=$((failed + ${counts#* }))
done
echo "$folders folders; $others of no listed family, of which $failed cases fail and none is to pass"
[ "$folders" -ge "$least" ] || { echo "$fixtures: expected at least $least folders"; code=1; }
exit $code
