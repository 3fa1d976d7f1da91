/* frontend/blocks/build_arrange.c: elements of custom stages in other places: padding by what is there,
 * rolls, repeats; folds that are made of folds. Compositions of rlx_build_*. */
#include <math.h>

#include "frontend/blocks/build.h"

static rlx_value *num2(rlx_builder *b, rlx_map fn, rlx_value *x, double y)
{
    return rlx_build_map2(b, fn, x, rlx_build_number(b, RLX_I64, y));
}

/* The last of n numbers 0, 1, .., as a number. */
static rlx_value *last_of(rlx_builder *b, int64_t extent)
{
    return num2(b, RLX_MAP_SUB, rlx_build_size(b, RLX_I64, extent), 1);
}

/* Where the element at place `at` lies in an axis of that extent. */
static rlx_value *find_place(rlx_builder *b, rlx_pad pad, rlx_value *at, int64_t extent)
{
    rlx_value *last = last_of(b, extent), *none = rlx_build_number(b, RLX_I64, 0);
    if (pad == RLX_PAD_WRAP)
        return rlx_build_map2(b, RLX_MAP_MOD, at, rlx_build_size(b, RLX_I64, extent));
    if (pad == RLX_PAD_EDGE)
        return rlx_build_map2(b, RLX_MAP_MIN, rlx_build_map2(b, RLX_MAP_MAX, at, none), last);
    at = rlx_build_map2(b, RLX_MAP_MAX, at, rlx_build_map1(b, RLX_MAP_NEG, at));
    rlx_value *back = rlx_build_map2(b, RLX_MAP_SUB, num2(b, RLX_MAP_MUL, last, 2), at);
    return rlx_build_map2(b, RLX_MAP_MIN, at, back);
}

static bool can_pad(rlx_builder *b, rlx_pad pad, int64_t extent, int64_t low, int64_t high)
{
    rlx_status st = RLX_OK;
    if ((unsigned)pad > RLX_PAD_WRAP)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "pad_with: there is no kind %d", (int)pad);
    else if (low < 0 || high < 0 || low > INT32_MAX || high > INT32_MAX)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "pad_with: low %lld, high %lld: 0 to 2^31 - 1",
                      (long long)low, (long long)high);
    else if (extent == 0 ||
             (extent > 0 && pad == RLX_PAD_REFLECT && (low >= extent || high >= extent)))
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "pad_with: low %lld, high %lld of an extent of %lld",
                      (long long)low, (long long)high, (long long)extent);
    rlx_builder_note(b, st);
    return !st;
}

rlx_value *rlx_build_pad_with(rlx_builder *b, rlx_value *x, int axis, int64_t low, int64_t high,
                              rlx_pad pad)
{
    if (!rlx_builder_axis(b, "pad_with", x, &axis) ||
        !can_pad(b, pad, rlx_value_dim(x, axis), low, high))
        return NULL;
    const int64_t extent = rlx_value_extent(x, axis);
    const int64_t whole = rlx_build_extent(b, RLX_EXTENT_ADD, extent, low + high);
    rlx_value *at = num2(b, RLX_MAP_SUB, rlx_build_iota(b, RLX_I64, whole), (double)low);
    return rlx_build_take(b, x, find_place(b, pad, at, extent), axis);
}

/* Numbers are doubles: less than a constant extent, which is less than 2^53; else up to that. */
static bool reduce_roll(rlx_builder *b, int64_t extent, int64_t *by)
{
    const int64_t most = (int64_t)1 << 53;
    if (extent > 0)
        *by %= extent;
    if (*by >= -most && *by <= most)
        return true;
    rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                 "roll: by %lld, along a symbol's axis by 2^53 at most",
                                 (long long)*by));
    return false;
}

rlx_value *rlx_build_roll(rlx_builder *b, rlx_value *x, int axis, int64_t by)
{
    if (!rlx_builder_axis(b, "roll", x, &axis) || !reduce_roll(b, rlx_value_dim(x, axis), &by))
        return NULL;
    const int64_t extent = rlx_value_extent(x, axis);
    rlx_value *at = num2(b, RLX_MAP_SUB, rlx_build_iota(b, RLX_I64, extent), (double)by);
    return rlx_build_take(b, x, find_place(b, RLX_PAD_WRAP, at, extent), axis);
}

rlx_value *rlx_build_repeat(rlx_builder *b, rlx_value *x, int axis, int64_t times, bool each)
{
    const int rank = rlx_value_rank(x);
    int64_t dims[RLX_MAX_RANK];
    if (!rlx_builder_axis(b, "repeat", x, &axis))
        return NULL;
    if (times < 0 || rank >= RLX_MAX_RANK) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "repeat: %lld times, of rank %d",
                                     (long long)times, rank));
        return NULL;
    }
    const int at = each ? axis + 1 : axis; /* of the axis that repeats */
    x = rlx_build_insert(b, x, at);
    for (int i = 0; i <= rank; i++)
        dims[i] = i == at ? times : rlx_value_extent(x, i);
    return rlx_build_flatten(b, rlx_build_expand(b, x, rank + 1, dims), axis, axis + 1);
}

rlx_value *rlx_build_variance(rlx_builder *b, rlx_value *x, int n, const int *axes)
{
    rlx_value *d = rlx_build_map2(b, RLX_MAP_SUB, x, rlx_build_mean(b, x, n, axes));
    return rlx_build_mean(b, rlx_build_map2(b, RLX_MAP_MUL, d, d), n, axes);
}

/* Whether no element along the axes is a NaN; they stay, as 1. */
static rlx_value *has_numbers(rlx_builder *b, rlx_value *x, int n, const int *axes)
{
    return rlx_build_reduce(b, RLX_MAP_AND, rlx_build_map2(b, RLX_MAP_EQ, x, x), n, axes, true);
}

/* Where the largest is infinite, that is the sum, but for NaNs, which folds may lose. */
rlx_value *rlx_build_log_sum_exp(rlx_builder *b, rlx_value *x, int n, const int *axes)
{
    rlx_value *most = rlx_build_reduce(b, RLX_MAP_MAX, x, n, axes, true);
    rlx_value *d = rlx_build_map2(b, RLX_MAP_SUB, x, most);
    rlx_value *sum =
        rlx_build_reduce(b, RLX_MAP_ADD, rlx_build_map1(b, RLX_MAP_EXP, d), n, axes, true);
    rlx_value *y = rlx_build_map2(b, RLX_MAP_ADD, rlx_build_map1(b, RLX_MAP_LOG, sum), most);
    rlx_value *zero = rlx_build_number(b, rlx_value_format(x), 0);
    rlx_value *nan = rlx_build_number(b, rlx_value_format(x), NAN);
    d = rlx_build_map2(b, RLX_MAP_SUB, most, most);
    most = rlx_build_map3(b, RLX_MAP_SELECT, has_numbers(b, x, n, axes), most, nan);
    return rlx_build_map3(b, RLX_MAP_SELECT, rlx_build_map2(b, RLX_MAP_EQ, d, zero), y, most);
}
