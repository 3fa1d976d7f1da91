/* mir/mir_compose.c: shapes, elementwise functions, indices; folds are in mir_compose_fold.c. */
#include "mir/mir_compose.h"

#include <math.h>
#include <string.h>

rlx_ir_value *rlx_mir_like(rlx_ir_builder *b, const rlx_ir_value *x, double value)
{
    return x ? rlx_mir_build_const(b, x->type.format, value) : NULL;
}

rlx_ir_value *rlx_mir_extent(rlx_ir_builder *b, rlx_dim extent, rlx_format f)
{
    if (rlx_dim_is_const(extent))
        return rlx_mir_build_const(b, f, (double)extent);
    rlx_ir_value *one = rlx_mir_build_const(b, RLX_I64, 1); /* floats stop counting */
    rlx_ir_value *ones = rlx_mir_build_broadcast(b, one, 1, &extent, NULL);
    return rlx_mir_cast(b, rlx_mir_build_fold(b, RLX_FN_ADD, ones), f);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static bool is_shape(const rlx_ir_value *x, int rank, const rlx_dim *dims)
{
    for (int i = 0; i < rank && x->type.rank == rank; i++)
        if (x->type.dim[i] != dims[i])
            return false;
    return x->type.rank == rank;
}

rlx_ir_value *rlx_mir_reshape(rlx_ir_builder *b, rlx_ir_value *x, int rank, const rlx_dim *dims)
{
    return !x || is_shape(x, rank, dims) ? x : rlx_mir_build_reshape(b, x, rank, dims);
}

rlx_ir_value *rlx_mir_expand(rlx_ir_builder *b, rlx_ir_value *x, int rank, const rlx_dim *dims)
{
    if (!x || is_shape(x, rank, dims))
        return x;
    rlx_dim kept[RLX_MAX_RANK];
    int64_t axes[RLX_MAX_RANK];
    int n = 0, lead = rank - x->type.rank;
    for (int i = 0; i < x->type.rank; i++) {
        const rlx_dim d = x->type.dim[i];
        if (lead < 0 || (d != dims[lead + i] && d != 1)) {
            rlx_text text = {0};
            const rlx_ir_type to = rlx_ir_tensor(x->type.format, rank, dims);
            rlx_ir_type_print(b->module->dims, &x->type, &text);
            rlx_text_put(&text, " does not broadcast to ");
            rlx_ir_type_print(b->module->dims, &to, &text);
            rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s",
                                            text.data ? text.data : "shapes do not broadcast"));
            rlx_text_deinit(&text);
            return NULL;
        }
        if (d == dims[lead + i]) {
            kept[n] = d;
            axes[n++] = lead + i;
        }
    }
    return rlx_mir_build_broadcast(b, rlx_mir_reshape(b, x, n, kept), rank, dims, axes);
}

rlx_ir_value *rlx_mir_transpose(rlx_ir_builder *b, rlx_ir_value *x, const int64_t *perm)
{
    bool moves = false;
    for (int i = 0; x && i < x->type.rank; i++)
        moves |= perm[i] != i;
    return moves ? rlx_mir_build_transpose(b, x, perm) : x;
}

rlx_ir_value *rlx_mir_move(rlx_ir_builder *b, rlx_ir_value *x, int from, int to)
{
    if (!x || from == to)
        return x;
    int64_t perm[RLX_MAX_RANK] = {0};
    int n = 0;
    for (int i = 0; i < x->type.rank; i++)
        if (i != from)
            perm[n++] = i;
    for (int i = n; i > to; i--)
        perm[i] = perm[i - 1];
    perm[to] = from;
    return rlx_mir_transpose(b, x, perm);
}

/* Whether an axis more has room; notes the error otherwise. */
static bool has_room(rlx_ir_builder *b, const rlx_ir_value *x)
{
    if (x->type.rank < RLX_MAX_RANK)
        return true;
    rlx_ir_builder_fail(
        b, RLX_FAIL(RLX_INVALID_ARGUMENT, "an axis more than the %d that there are", RLX_MAX_RANK));
    return false;
}

rlx_ir_value *rlx_mir_insert(rlx_ir_builder *b, rlx_ir_value *x, int axis)
{
    rlx_dim dims[RLX_MAX_RANK];
    if (!x || !has_room(b, x))
        return NULL;
    for (int i = 0; i <= x->type.rank; i++)
        dims[i] = i == axis ? 1 : x->type.dim[i > axis ? i - 1 : i];
    return rlx_mir_reshape(b, x, x->type.rank + 1, dims);
}

rlx_ir_value *rlx_mir_flatten(rlx_ir_builder *b, rlx_ir_value *x, int from, int to)
{
    rlx_dim dims[RLX_MAX_RANK], n = 1;
    int rank = 0;
    if (!x || (from == to && !has_room(b, x)))
        return NULL;
    for (int i = 0; i < from; i++)
        dims[rank++] = x->type.dim[i];
    for (int i = from; i < to; i++)
        n = rlx_dim_make(b->module->dims, RLX_DIM_MUL, n, x->type.dim[i]);
    dims[rank++] = n;
    for (int i = to; i < x->type.rank; i++)
        dims[rank++] = x->type.dim[i];
    if (n == RLX_DIM_INVALID) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                        "axes %d to %d as one: their extents have no product that "
                                        "is linear in symbols",
                                        from, to - 1));
        return NULL;
    }
    return rlx_mir_reshape(b, x, rank, dims);
}

rlx_ir_value *rlx_mir_slice(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t start,
                            int64_t size, int64_t step)
{
    if (!x || (start == 0 && step == 1 && size == x->type.dim[axis]))
        return x;
    return step == 1 ? rlx_mir_build_slice(b, x, axis, start, size)
                     : rlx_mir_build_slice_step(b, x, axis, start, size, step);
}

rlx_ir_value *rlx_mir_pad(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t low, int64_t high,
                          rlx_ir_value *fill)
{
    if (!x || !fill)
        return NULL;
    if (low < -INT32_MAX || high < -INT32_MAX)
        return rlx_mir_build_pad(b, x, fill, axis, low, high); /* pad C2 refuses it */
    const int64_t cut_low = low < 0 ? -low : 0, cut_high = high < 0 ? -high : 0;
    if (cut_low || cut_high)
        x = rlx_mir_slice(b, x, axis, cut_low, x->type.dim[axis] - cut_low - cut_high, 1);
    low = low < 0 ? 0 : low;
    high = high < 0 ? 0 : high;
    return low || high ? rlx_mir_build_pad(b, x, fill, axis, low, high) : x;
}

rlx_ir_value *rlx_mir_iota(rlx_ir_builder *b, rlx_format f, int rank, const rlx_dim *dims, int axis)
{
    const int64_t at = axis;
    rlx_ir_value *i = rlx_format_is_int(f)
                          ? rlx_mir_build_iota(b, f, dims[axis])
                          : rlx_mir_cast(b, rlx_mir_build_iota(b, RLX_I64, dims[axis]), f);
    return rank == 1 || !i ? i : rlx_mir_build_broadcast(b, i, rank, dims, &at);
}

/* ---- elementwise ----------------------------------------------------------------------------- */

/* The shape that operands broadcast to. */
static int common_shape(int n, rlx_ir_value *const *x, rlx_dim *dims)
{
    int rank = 0;
    for (int i = 0; i < n; i++)
        rank = x[i]->type.rank > rank ? x[i]->type.rank : rank;
    for (int axis = 0; axis < rank; axis++)
        dims[axis] = 1;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < x[i]->type.rank; k++) {
            const int axis = rank - x[i]->type.rank + k;
            if (dims[axis] == 1)
                dims[axis] = x[i]->type.dim[k];
        }
    return rank;
}

rlx_ir_value *rlx_mir_map(rlx_ir_builder *b, rlx_map_fn fn, int n, rlx_ir_value *const *x)
{
    rlx_dim dims[RLX_MAX_RANK];
    rlx_ir_value *v[3];
    for (int i = 0; i < n; i++)
        if (!x[i])
            return NULL;
    const int rank = common_shape(n, x, dims);
    for (int i = 0; i < n; i++) /* numbers mix with tensors as they are */
        v[i] = x[i]->type.rank == 0 ? x[i] : rlx_mir_expand(b, x[i], rank, dims);
    const rlx_attr attr = rlx_attr_int(RLX_ATTR_FN, fn);
    return rlx_ir_build(b, RLX_MIR_MAP, n, v, 1, &attr, NULL);
}

rlx_ir_value *rlx_mir_map1(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    return rlx_mir_map(b, fn, 1, &x);
}

rlx_ir_value *rlx_mir_map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_mir_map(b, fn, 2, (rlx_ir_value *[]){x, y});
}

rlx_ir_value *rlx_mir_pick(rlx_ir_builder *b, rlx_ir_value *c, rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_mir_map(b, RLX_FN_SELECT, 3, (rlx_ir_value *[]){c, x, y});
}

rlx_ir_value *rlx_mir_map_num(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, double y)
{
    rlx_ir_value *number = rlx_mir_like(b, x, y);
    return rlx_mir_map2(b, fn, x, number);
}

rlx_ir_value *rlx_mir_cast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f)
{
    if (!x || x->type.format == f)
        return x;
    if (f == RLX_BOOL)
        return rlx_mir_not(b, rlx_mir_map_num(b, RLX_FN_EQ, x, 0));
    if ((f == RLX_F16 || f == RLX_BF16) && x->type.format != RLX_F32)
        x = rlx_mir_cast(b, x, RLX_F32); /* 16-bit floats are made from f32 */
    return rlx_mir_build_cast(b, x, f);
}

/* The largest number of f64 or f32 below 2^n that is whole, for integers of so many bits. */
static double most_below(double span, int bits, bool is_f64)
{
    if (bits <= (is_f64 ? 32 : 16)) /* which the format holds */
        return span - 1;
    return is_f64 ? nextafter(span, 0) : (double)nextafterf((float)span, 0);
}

rlx_ir_value *rlx_mir_saturate(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f)
{
    if (!x || !rlx_format_is_float(x->type.format) || !rlx_format_is_int(f))
        return rlx_mir_cast(b, x, f);
    if (x->type.format != RLX_F64) /* which has the bounds */
        x = rlx_mir_cast(b, x, RLX_F32);
    const int bits = 8 * (int)rlx_format_bytes(f, 1);
    const bool is_unsigned = rlx_format_get(f)->kind == RLX_KIND_UINT;
    const double span = ldexp(1, is_unsigned ? bits : bits - 1);
    const double most = most_below(span, bits, x->type.format == RLX_F64);
    rlx_ir_value *is_number = rlx_mir_map2(b, RLX_FN_EQ, x, x);
    rlx_ir_value *zero = rlx_mir_like(b, x, 0);
    x = rlx_mir_pick(b, is_number, x, zero);
    return rlx_mir_cast(b, rlx_mir_clamp(b, x, is_unsigned ? 0 : -span, most), f);
}

rlx_ir_value *rlx_mir_not(rlx_ir_builder *b, rlx_ir_value *x)
{
    return rlx_mir_map_num(b, RLX_FN_XOR, x, 1);
}

rlx_ir_value *rlx_mir_clamp(rlx_ir_builder *b, rlx_ir_value *x, double low, double high)
{
    return rlx_mir_map_num(b, RLX_FN_MIN, rlx_mir_map_num(b, RLX_FN_MAX, x, low), high);
}

rlx_ir_value *rlx_mir_sigmoid(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_ir_value *one = rlx_mir_like(b, x, 1);
    rlx_ir_value *e = rlx_mir_map1(b, RLX_FN_EXP, rlx_mir_map1(b, RLX_FN_NEG, x));
    return rlx_mir_map2(b, RLX_FN_DIV, one, rlx_mir_map2(b, RLX_FN_ADD, one, e));
}

static rlx_ir_value *is_whole(rlx_ir_builder *b, rlx_ir_value *x)
{
    return rlx_mir_map2(b, RLX_FN_EQ, rlx_mir_map1(b, RLX_FN_ROUND, x), x);
}

rlx_ir_value *rlx_mir_pow(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *y)
{
    rlx_ir_value *whole = is_whole(b, y);
    rlx_ir_value *odd = rlx_mir_not(b, is_whole(b, rlx_mir_map_num(b, RLX_FN_MUL, y, 0.5)));
    rlx_ir_value *negative = rlx_mir_map_num(b, RLX_FN_LT, x, 0);
    rlx_ir_value *log = rlx_mir_map1(b, RLX_FN_LOG, rlx_mir_map1(b, RLX_FN_ABS, x));
    rlx_ir_value *z = rlx_mir_map1(b, RLX_FN_EXP, rlx_mir_map2(b, RLX_FN_MUL, y, log));
    rlx_ir_value *turned = rlx_mir_map1(b, RLX_FN_NEG, z);
    z = rlx_mir_pick(b, rlx_mir_map2(b, RLX_FN_AND, negative, odd), turned, z);
    rlx_ir_value *is_real = rlx_mir_map2(b, RLX_FN_OR, whole, rlx_mir_not(b, negative));
    rlx_ir_value *none = rlx_mir_map1(b, RLX_FN_SQRT, rlx_mir_like(b, x, -1));
    z = rlx_mir_pick(b, is_real, z, none);
    rlx_ir_value *by_zero = rlx_mir_map_num(b, RLX_FN_EQ, y, 0);
    rlx_ir_value *one = rlx_mir_like(b, x, 1);
    return rlx_mir_pick(b, by_zero, one, z);
}

/* ---- indices --------------------------------------------------------------------------------- */

/* i64, a negative one counted from the end of the axis. */
static rlx_ir_value *from_front(rlx_ir_builder *b, rlx_ir_value *ids, rlx_dim extent)
{
    ids = rlx_mir_cast(b, ids, RLX_I64);
    rlx_ir_value *below = rlx_mir_map_num(b, RLX_FN_LT, ids, 0);
    rlx_ir_value *count = rlx_mir_extent(b, extent, RLX_I64);
    return rlx_mir_pick(b, below, rlx_mir_map2(b, RLX_FN_ADD, ids, count), ids);
}

rlx_ir_value *rlx_mir_take(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *ids, int axis)
{
    if (!x || !ids)
        return NULL;
    ids = from_front(b, ids, x->type.dim[axis]);
    rlx_ir_value *y = rlx_mir_build_gather(b, rlx_mir_move(b, x, axis, 0), ids);
    if (!y)
        return NULL;
    /* [ids.., before axis.., behind it..] to [before.., ids.., behind..] */
    int64_t perm[RLX_MAX_RANK] = {0};
    int n = 0;
    const int r = ids->type.rank;
    for (int i = 0; i < axis; i++)
        perm[n++] = r + i;
    for (int i = 0; i < r; i++)
        perm[n++] = i;
    for (int i = axis; i < x->type.rank - 1; i++)
        perm[n++] = r + i;
    return rlx_mir_transpose(b, y, perm);
}

rlx_ir_value *rlx_mir_take_along(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *ids, int axis)
{
    if (!x || !ids)
        return NULL;
    rlx_ir_value *at[RLX_MAX_RANK];
    ids = from_front(b, ids, x->type.dim[axis]);
    for (int i = 0; ids && i < x->type.rank; i++)
        at[i] = i == axis ? ids : rlx_mir_iota(b, RLX_I64, ids->type.rank, ids->type.dim, i);
    return ids ? rlx_mir_at(b, x, at) : NULL;
}

rlx_ir_value *rlx_mir_place(rlx_ir_builder *b, rlx_ir_value *x, int n, rlx_ir_value *const *at)
{
    if (!x)
        return NULL;
    rlx_ir_value *place = at[0];
    for (int i = 1; i < n && at[i]; i++) {
        rlx_ir_value *extent = rlx_mir_extent(b, x->type.dim[i], at[i]->type.format);
        place = rlx_mir_map2(b, RLX_FN_MUL, place, extent);
        place = rlx_mir_map2(b, RLX_FN_ADD, place, at[i]);
    }
    return place;
}

rlx_ir_value *rlx_mir_at(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *const *at)
{
    const int rank = x ? x->type.rank : 0;
    rlx_ir_value *flat = rlx_mir_flatten(b, x, 0, rank);
    return rlx_mir_build_gather(b, flat, rlx_mir_place(b, x, rank, at));
}

rlx_ir_value *rlx_mir_first(rlx_ir_builder *b, rlx_ir_value *x, int64_t count, bool largest,
                            rlx_ir_value **values)
{
    rlx_ir_value *at = rlx_mir_build_order(b, x, count, largest);
    if (values)
        *values = at ? rlx_mir_take_along(b, x, at, at->type.rank - 1) : NULL;
    return at;
}

/* The order of the order: where each index stands in it. */
rlx_ir_value *rlx_mir_ranks(rlx_ir_builder *b, rlx_ir_value *x, bool largest)
{
    return rlx_mir_build_order(b, rlx_mir_build_order(b, x, 0, largest), 0, false);
}
