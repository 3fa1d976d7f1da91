#!/bin/sh
# unlisted.sh CONFORMANCE FIXTURES FAMILY...: fails when a folder of fixtures that is none of those families' has a case that passes:
# it is to be listed in CMakeLists.txt, for the CPU and for devices.
conformance=$1 fixtures=$2
shift 2
[ -d "$fixtures" ] || { echo "skipped: $fixtures is not there"; exit 0; }
code=0 folders=0
for dir in "$fixtures"/*/; do
    name=$(basename "$dir")
    case " $* " in *" $name "*) continue ;; esac
    folders=$((folders + 1))
    passed=$("$conformance" fixtures "$dir" --decode-from 2 --least 0 | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
    [ "$passed" = 0 ] || { echo "$name: $passed cases pass, but no test runs them"; code=1; }
done
echo "$folders folders"
exit $code
