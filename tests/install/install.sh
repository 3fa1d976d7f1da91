#!/bin/sh
# The library as users get it: installed, moved elsewhere, and every example built against it and run: by pkg-config and
# by CMake, in C17 and in C++, with the same output.
#   install.sh BUILD_DIR SOURCE_DIR
set -eu
build=$1 source=$2
here=$source/tests/install
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset LD_LIBRARY_PATH CMAKE_PREFIX_PATH
model=$source/models/bundled

fail() { echo "$*"; exit 1; }

cmake --install "$build" --prefix "$dir/first" > /dev/null
mkdir "$dir/second"
mv "$dir/first" "$dir/second/moved"
prefix=$dir/second/moved
lib=$(dirname "$(find "$prefix" -name librlx.so)")
[ -n "$lib" ] || fail "there is no librlx.so in $prefix"
for path in "$source" "$dir/first"; do
    found=$(grep -rlF "$path" "$prefix" || true)
    [ -z "$found" ] || fail "what is installed knows $path: $found"
done
[ "$("$prefix/bin/rlx" --version)" = "rlx $(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --modversion rlx)" ] ||
    fail "the program, or pkg-config, tells another version"
[ -f "$prefix/share/doc/rlx/LICENSE" ] || fail "no licence"
examples=$prefix/share/doc/rlx/examples

# input_ids I64 [1,4], for eval_tensors
head='{"input_ids":{"dtype":"I64","shape":[1,4],"data_offsets":[0,32]}} '
{
    printf "\\$(printf %o ${#head})\\0\\0\\0\\0\\0\\0\\0%s" "$head"
    printf '\1\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\11\0\0\0\0\0\0\0'
} > "$dir/in.safetensors"

echo "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}" > "$dir/chat.jinja" # for chat

# run PROGRAM NAME OUT: an example with arguments that make it do its work
run()
{
    case $2 in
    run_model) set -- "$@" "$model" "Once upon a time" 12 ;;
    sessions) set -- "$@" "$model" "Once upon a time" ;;
    own_sampling) set -- "$@" "$model" "Once upon a time" 12 7 ;;
    chat) set -- "$@" "$model" "$dir/chat.jinja" ;;
    batch) set -- "$@" "$model" 8 "Once upon a time" "The" ;;
    eval_tensors) set -- "$@" "$model" "$dir/in.safetensors" "$dir/out.safetensors" model.layers.0 ;;
    contexts | hand_flow | custom_stage | layers | stages | tutorial) ;;
    *) fail "install.sh does not know how to run the example $2" ;;
    esac
    program=$1 name=$2 out=$3
    shift 3
    "$program" "$@" > "$out" 2> "$dir/err" || fail "$name: $(cat "$dir/err")"
    [ "$name" != eval_tensors ] || cat "$dir/out.safetensors" >> "$out"
    [ -s "$out" ] || fail "$name printed nothing"
}

export PKG_CONFIG_PATH="$lib/pkgconfig"
# shellcheck disable=SC2046
by_pkg_config() # SOURCE PROGRAM COMPILER...
{
    from=$1 to=$2
    shift 2
    "$@" -Wall -Werror $(pkg-config --cflags rlx) "$from" -x none -o "$to" $(pkg-config --libs rlx) -lm "-Wl,-rpath,$lib"
}

cmake -S "$here/consumer" -B "$dir/cmake" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DEXAMPLES="$examples" \
    > "$dir/log" 2>&1 && cmake --build "$dir/cmake" > "$dir/log" 2>&1 || fail "by CMake: $(cat "$dir/log")"
passed=0
for file in "$examples"/*.c; do
    name=$(basename "$file" .c)
    by_pkg_config "$file" "$dir/$name" cc -std=c17 -Wextra -Wpedantic
    by_pkg_config "$file" "$dir/${name}_cxx" g++ -std=c++20 -x c++
    run "$dir/$name" "$name" "$dir/want"
    for program in "$dir/${name}_cxx" "$dir/cmake/$name" "$dir/cmake/${name}_cxx"; do
        run "$program" "$name" "$dir/got"
        cmp "$dir/want" "$dir/got" || fail "$program does not do what $name does"
    done
    passed=$((passed + 4))
done
printf '%d passed, 0 failed, 0 skipped\n' "$passed"
[ "$passed" -ge 44 ]
