/* mir/mir_compose_fold.c: folds and scans over any axes, and what is made of them. */
#include "mir/mir_compose.h"

unsigned rlx_mir_last_axes(const rlx_ir_value *x, int from)
{
    return x ? (1u << x->type.rank) - (1u << from) : 0;
}

/* What sums and products of elements of that format are made in. */
static rlx_format wide_format(rlx_map_fn fn, rlx_format f)
{
    const bool rounds = fn == RLX_FN_ADD || fn == RLX_FN_MUL;
    return rounds && (f == RLX_F16 || f == RLX_BF16) ? RLX_F32 : f;
}

rlx_ir_value *rlx_mir_fold(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, unsigned axes,
                           bool keep)
{
    if (!x || axes == 0)
        return x;
    const rlx_format format = x->type.format;
    x = rlx_mir_cast(b, x, wide_format(fn, format));
    if (!x)
        return NULL;
    int64_t perm[RLX_MAX_RANK] = {0};
    rlx_dim kept[RLX_MAX_RANK];
    const int rank = x->type.rank;
    int n = 0, left = 0;
    for (int i = 0; i < rank; i++) {
        if (!(axes >> i & 1))
            perm[n++] = i;
        if (keep || !(axes >> i & 1))
            kept[left++] = axes >> i & 1 ? 1 : x->type.dim[i];
    }
    const int outer = n;
    for (int i = 0; i < rank; i++)
        if (axes >> i & 1)
            perm[n++] = i;
    x = rlx_mir_transpose(b, x, perm);
    for (int i = outer; i < rank; i++) /* one after another, so that no index is divided */
        x = rlx_mir_build_fold(b, fn, x);
    return rlx_mir_cast(b, rlx_mir_reshape(b, x, left, kept), format);
}

rlx_ir_value *rlx_mir_fold_rows(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, int axis)
{
    if (!x || axis != x->type.rank - 1 || x->type.format != RLX_F32)
        return rlx_mir_fold(b, fn, x, 1u << axis, true);
    return rlx_mir_insert(b, rlx_mir_build_reduce(b, fn, x), axis);
}

rlx_ir_value *rlx_mir_mean(rlx_ir_builder *b, rlx_ir_value *x, unsigned axes)
{
    if (!x || !axes)
        return x;
    const rlx_format format = x->type.format;
    x = rlx_mir_cast(b, x, wide_format(RLX_FN_ADD, format));
    rlx_ir_value *sum = rlx_mir_fold(b, RLX_FN_ADD, x, axes, true);
    if (!sum)
        return NULL;
    rlx_dim n = 1;
    for (int i = 0; i < x->type.rank; i++)
        if (axes >> i & 1)
            n = rlx_dim_make(b->module->dims, RLX_DIM_MUL, n, x->type.dim[i]);
    if (n == RLX_DIM_INVALID) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                        "a mean over axes whose extents have no product that is "
                                        "linear in symbols"));
        return NULL;
    }
    rlx_ir_value *mean = rlx_mir_map2(b, RLX_FN_DIV, sum, rlx_mir_extent(b, n, x->type.format));
    return rlx_mir_cast(b, mean, format);
}

rlx_ir_value *rlx_mir_softmax(rlx_ir_builder *b, rlx_ir_value *x, int axis)
{
    rlx_ir_value *largest = rlx_mir_fold_rows(b, RLX_FN_MAX, x, axis);
    rlx_ir_value *e = rlx_mir_map1(b, RLX_FN_EXP, rlx_mir_map2(b, RLX_FN_SUB, x, largest));
    return rlx_mir_map2(b, RLX_FN_DIV, e, rlx_mir_fold_rows(b, RLX_FN_ADD, e, axis));
}

rlx_ir_value *rlx_mir_log_softmax(rlx_ir_builder *b, rlx_ir_value *x, int axis)
{
    rlx_ir_value *largest = rlx_mir_fold_rows(b, RLX_FN_MAX, x, axis);
    rlx_ir_value *d = rlx_mir_map2(b, RLX_FN_SUB, x, largest);
    rlx_ir_value *sum = rlx_mir_fold_rows(b, RLX_FN_ADD, rlx_mir_map1(b, RLX_FN_EXP, d), axis);
    return rlx_mir_map2(b, RLX_FN_SUB, d, rlx_mir_map1(b, RLX_FN_LOG, sum));
}

/* x [..,M,K], y [..,N,K] -> [..,M,N] of any numbers: [..,M,1,K] times [..,1,N,K]. */
static rlx_ir_value *products(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *y)
{
    x = rlx_mir_insert(b, x, x->type.rank - 1);
    y = rlx_mir_insert(b, y, y->type.rank - 2);
    rlx_ir_value *z = rlx_mir_map2(b, RLX_FN_MUL, x, y);
    return z ? rlx_mir_fold(b, RLX_FN_ADD, z, 1u << (z->type.rank - 1), false) : NULL;
}

/* The axes in front of the last two: those that both have, repeated as numpy does. -1: too many. */
static int leading_axes(const rlx_ir_value *x, const rlx_ir_value *y, rlx_dim *dims)
{
    const int nx = x->type.rank - 2, ny = y->type.rank - 2, n = nx > ny ? nx : ny;
    for (int i = 0; i < n; i++) {
        const rlx_dim dx = i < n - nx ? 1 : x->type.dim[i - (n - nx)];
        const rlx_dim dy = i < n - ny ? 1 : y->type.dim[i - (n - ny)];
        dims[i] = dx == 1 ? dy : dx;
    }
    return n;
}

static rlx_ir_value *with_leading(rlx_ir_builder *b, rlx_ir_value *x, int n, const rlx_dim *lead)
{
    rlx_dim dims[RLX_MAX_RANK];
    for (int i = 0; i < n; i++)
        dims[i] = lead[i];
    for (int i = 0; i < 2; i++)
        dims[n + i] = x->type.dim[x->type.rank - 2 + i];
    return rlx_mir_expand(b, x, n + 2, dims);
}

/* The same of f32. One matrix for all rows stays one. */
static rlx_ir_value *contraction(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *y)
{
    rlx_dim lead[RLX_MAX_RANK];
    const int n = leading_axes(x, y, lead);
    bool one = true;
    for (int i = 0; i < y->type.rank - 2; i++)
        one = one && y->type.dim[i] == 1;
    x = with_leading(b, x, n, lead);
    y = one ? rlx_mir_reshape(b, y, 2, y->type.dim + y->type.rank - 2)
            : with_leading(b, y, n, lead);
    return rlx_mir_build_contract_in_order(b, x, y);
}

rlx_ir_value *rlx_mir_matmul(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *y)
{
    if (!x || !y)
        return NULL;
    if (x->type.rank == 0 || y->type.rank == 0) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "a matrix product with a number"));
        return NULL;
    }
    const bool row = x->type.rank == 1, column = y->type.rank == 1;
    if (row)
        x = rlx_mir_insert(b, x, 0);
    y = column ? rlx_mir_insert(b, y, 0) : rlx_mir_move(b, y, y->type.rank - 2, y->type.rank - 1);
    if (!x || !y)
        return NULL;
    const bool f32 = x->type.format == RLX_F32 && y->type.format == RLX_F32 && !(row && column);
    rlx_ir_value *z = f32 ? contraction(b, x, y) : products(b, x, y);
    if (!z || (!row && !column))
        return z;
    rlx_dim dims[RLX_MAX_RANK]; /* without the axes that were put in */
    int rank = 0;
    for (int i = 0; i < z->type.rank; i++)
        if (!(row && i == z->type.rank - 2) && !(column && i == z->type.rank - 1))
            dims[rank++] = z->type.dim[i];
    return rlx_mir_reshape(b, z, rank, dims);
}

rlx_ir_value *rlx_mir_flip(rlx_ir_builder *b, rlx_ir_value *x, int axis)
{
    if (!x || x->type.dim[axis] == 0)
        return x;
    if (rlx_dim_is_const(x->type.dim[axis]))
        return rlx_mir_slice(b, x, axis, x->type.dim[axis] - 1, x->type.dim[axis], -1);
    rlx_ir_value *at = rlx_mir_build_iota(b, RLX_I64, x->type.dim[axis]);
    return rlx_mir_take(b, x, rlx_mir_map_num(b, RLX_FN_SUB, rlx_mir_map1(b, RLX_FN_NEG, at), 1),
                        axis);
}

/* One place further along the last axis, `start` in front: for exclusive scans. */
static rlx_ir_value *shift(rlx_ir_builder *b, rlx_ir_value *x, double start)
{
    if (!x)
        return NULL;
    const int last = x->type.rank - 1;
    rlx_ir_value *at = rlx_mir_build_iota(b, RLX_I64, x->type.dim[last]);
    rlx_ir_value *is_first = rlx_mir_map_num(b, RLX_FN_EQ, at, 0);
    rlx_ir_value *before = rlx_mir_map_num(b, RLX_FN_SUB, at, 1);
    before = rlx_mir_take(b, x, rlx_mir_map_num(b, RLX_FN_MAX, before, 0), last);
    rlx_ir_value *in_front = rlx_mir_like(b, x, start);
    return rlx_mir_pick(b, is_first, in_front, before);
}

rlx_ir_value *rlx_mir_scan(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, int axis,
                           bool exclusive, bool reverse)
{
    if (!x)
        return NULL;
    const int last = x->type.rank - 1;
    rlx_ir_value *y = rlx_mir_move(b, x, axis, last);
    if (reverse)
        y = rlx_mir_flip(b, y, last);
    y = rlx_mir_build_scan(b, fn, y);
    if (exclusive && fn != RLX_FN_ADD && fn != RLX_FN_MUL)
        rlx_ir_builder_fail(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "an exclusive scan is one of sums or products"));
    else if (exclusive)
        y = shift(b, y, fn == RLX_FN_MUL);
    if (reverse)
        y = rlx_mir_flip(b, y, last);
    return rlx_mir_move(b, y, last, axis);
}
