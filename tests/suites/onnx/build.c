/* tests/suites/onnx/build.c: tensor expressions of MIR primitives, with numpy's broadcasting. A
 * NULL operand comes from an earlier error and is passed on. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/onnx.h"

int ox_axis(val v, int64_t axis)
{
    return (int)(axis < 0 && v ? axis + v->type.rank : axis);
}

int64_t ox_dim(val v, int axis)
{
    return v ? v->type.dim[ox_axis(v, axis)] : 1;
}

int64_t ox_elems(val v)
{
    int64_t n = 1;
    for (int i = 0; v && i < v->type.rank; i++)
        n *= v->type.dim[i];
    return n;
}

val ox_num(onnx *x, rlx_format f, double v)
{
    return rlx_mir_build_const(x->b, f, v);
}

val ox_like(onnx *x, val like, double v)
{
    return like ? ox_num(x, like->type.format, v) : NULL;
}

/* ---- shapes -------------------------------------------------------------------------------------
 */

static bool is_shape(val a, int rank, const int64_t *dims)
{
    for (int i = 0; i < rank && a->type.rank == rank; i++)
        if (a->type.dim[i] != dims[i])
            return false;
    return a->type.rank == rank;
}

val ox_reshape(onnx *x, val a, int rank, const int64_t *dims)
{
    if (!a || is_shape(a, rank, dims))
        return a;
    return rlx_mir_build_reshape(x->b, a, rank, dims);
}

val ox_expand(onnx *x, val a, int rank, const int64_t *dims)
{
    if (!a || is_shape(a, rank, dims))
        return a;
    int64_t kept[RLX_MAX_RANK], axes[RLX_MAX_RANK];
    int n = 0, lead = rank - a->type.rank;
    for (int i = 0; i < a->type.rank; i++) {
        int64_t d = a->type.dim[i];
        if (lead + i < 0 || (d != dims[lead + i] && d != 1)) {
            ox_refuse(x, "a shape that does not broadcast");
            return NULL;
        }
        if (d == dims[lead + i]) {
            kept[n] = d;
            axes[n++] = lead + i;
        }
    }
    return rlx_mir_build_broadcast(x->b, ox_reshape(x, a, n, kept), rank, dims, axes);
}

val ox_transpose(onnx *x, val a, const int64_t *perm)
{
    return a ? rlx_mir_build_transpose(x->b, a, perm) : NULL;
}

val ox_move(onnx *x, val a, int from, int to)
{
    if (!a || from == to)
        return a;
    int64_t perm[RLX_MAX_RANK] = {0};
    int n = 0;
    for (int i = 0; i < a->type.rank; i++)
        if (i != from)
            perm[n++] = i;
    for (int i = n; i > to; i--)
        perm[i] = perm[i - 1];
    perm[to] = from;
    return ox_transpose(x, a, perm);
}

val ox_insert(onnx *x, val a, int axis)
{
    if (!a)
        return NULL;
    int64_t dims[RLX_MAX_RANK + 1];
    for (int i = 0; i <= a->type.rank; i++)
        dims[i] = i == axis ? 1 : a->type.dim[i > axis ? i - 1 : i];
    return ox_reshape(x, a, a->type.rank + 1, dims);
}

val ox_flatten(onnx *x, val a, int from, int to)
{
    if (!a)
        return NULL;
    int64_t dims[RLX_MAX_RANK + 1], n = 1;
    int rank = 0;
    for (int i = 0; i < from; i++)
        dims[rank++] = a->type.dim[i];
    for (int i = from; i < to; i++)
        n *= a->type.dim[i];
    dims[rank++] = n;
    for (int i = to; i < a->type.rank; i++)
        dims[rank++] = a->type.dim[i];
    return ox_reshape(x, a, rank, dims);
}

val ox_slice(onnx *x, val a, int axis, int64_t start, int64_t size, int64_t step)
{
    if (!a || (start == 0 && step == 1 && size == a->type.dim[axis]))
        return a;
    return step == 1 ? rlx_mir_build_slice(x->b, a, axis, start, size)
                     : rlx_mir_build_slice_step(x->b, a, axis, start, size, step);
}

val ox_pad(onnx *x, val a, int axis, int64_t low, int64_t high, val fill)
{
    if (!a)
        return NULL;
    int64_t cut = low < 0 ? -low : 0;
    int64_t size = a->type.dim[axis] - cut + (high < 0 ? high : 0);
    a = ox_slice(x, a, axis, cut, size, 1);
    low = low < 0 ? 0 : low;
    high = high < 0 ? 0 : high;
    return low || high ? rlx_mir_build_pad(x->b, a, fill, axis, low, high) : a;
}

val ox_iota(onnx *x, rlx_format f, int rank, const int64_t *dims, int axis)
{
    val i = rlx_mir_build_iota(x->b, RLX_I64, dims[axis]);
    int64_t at = axis;
    i = ox_cast(x, i, f);
    return rank == 1 || !i ? i : rlx_mir_build_broadcast(x->b, i, rank, dims, &at);
}

/* ---- elementwise --------------------------------------------------------------------------------
 */

/* The shape that operands broadcast to. */
static int common_shape(int n, const val *in, int64_t *dims)
{
    int rank = 0;
    for (int i = 0; i < n; i++)
        rank = in[i]->type.rank > rank ? in[i]->type.rank : rank;
    for (int axis = 0; axis < rank; axis++)
        dims[axis] = 1;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < in[i]->type.rank; k++) {
            int axis = rank - in[i]->type.rank + k;
            if (dims[axis] == 1)
                dims[axis] = in[i]->type.dim[k];
        }
    return rank;
}

static val map_all(onnx *x, rlx_map_fn fn, int n, const val *in)
{
    int64_t dims[RLX_MAX_RANK];
    val v[3];
    for (int i = 0; i < n; i++)
        if (!in[i])
            return NULL;
    int rank = common_shape(n, in, dims);
    for (int i = 0; i < n; i++) /* scalars mix with tensors as they are */
        v[i] = in[i]->type.rank == 0 ? in[i] : ox_expand(x, in[i], rank, dims);
    return n == 1   ? rlx_mir_build_map1(x->b, fn, v[0])
           : n == 2 ? rlx_mir_build_map2(x->b, fn, v[0], v[1])
                    : rlx_mir_build_map3(x->b, fn, v[0], v[1], v[2]);
}

val ox_map1(onnx *x, rlx_map_fn fn, val a)
{
    return map_all(x, fn, 1, &a);
}

val ox_map2(onnx *x, rlx_map_fn fn, val a, val b)
{
    return map_all(x, fn, 2, (val[]){a, b});
}

val ox_pick(onnx *x, val c, val a, val b)
{
    return map_all(x, RLX_FN_SELECT, 3, (val[]){c, a, b});
}

val ox_cast(onnx *x, val a, rlx_format f)
{
    if (!a || a->type.format == f)
        return a;
    if (f == RLX_BOOL)
        return ox_not(x, EQ(a, LIKE(a, 0)));
    bool half = f == RLX_F16 || f == RLX_BF16;
    if (half && a->type.format != RLX_F32) /* 16-bit floats are made from f32 */
        a = ox_cast(x, a, RLX_F32);
    return rlx_mir_build_cast(x->b, a, f);
}

val ox_saturate(onnx *x, val a, rlx_format f)
{
    if (!a || !rlx_format_is_float(a->type.format) || !rlx_format_is_int(f))
        return ox_cast(x, a, f);
    int bits = 8 * (int)rlx_format_bytes(f, 1);
    bool is_unsigned = rlx_format_get(f)->kind == RLX_KIND_UINT;
    double span = ldexp(1, is_unsigned ? bits : bits - 1);
    /* the largest float below the span */
    double most = bits <= 16 ? span - 1 : (double)nextafterf((float)span, 0);
    a = PICK(EQ(a, a), a, LIKE(a, 0));
    return ox_cast(x, ox_clamp(x, a, is_unsigned ? 0 : -span, most), f);
}

val ox_not(onnx *x, val a)
{
    return ox_map2(x, RLX_FN_XOR, a, ox_num(x, RLX_BOOL, 1));
}

val ox_clamp(onnx *x, val a, double lo, double hi)
{
    return MIN(MAX(a, LIKE(a, lo)), LIKE(a, hi));
}

val ox_sigmoid(onnx *x, val a)
{
    return DIV(LIKE(a, 1), ADD(LIKE(a, 1), EXP(NEG(a))));
}

val ox_pow(onnx *x, val a, val b)
{
    if (!a || !b)
        return NULL;
    val whole = EQ(ox_map1(x, RLX_FN_ROUND, b), b);
    val half = MUL(b, LIKE(b, 0.5));
    val even = EQ(ox_map1(x, RLX_FN_ROUND, half), half);
    val y = EXP(MUL(b, LOG(ABS(a))));
    y = PICK(AND(LT(a, LIKE(a, 0)), ox_not(x, even)), NEG(y), y);
    y = PICK(ox_map2(x, RLX_FN_OR, whole, LE(LIKE(a, 0), a)), y, SQRT(LIKE(a, -1)));
    return PICK(EQ(b, LIKE(b, 0)), LIKE(a, 1), y);
}

/* ---- folds --------------------------------------------------------------------------------------
 */

unsigned ox_last_axes(val a, int from)
{
    return a ? (1u << a->type.rank) - (1u << from) : 0;
}

val ox_fold(onnx *x, rlx_map_fn fn, val a, unsigned axes, bool keep)
{
    if (!a || axes == 0)
        return a;
    int64_t perm[RLX_MAX_RANK] = {0}, kept[RLX_MAX_RANK];
    int rank = a->type.rank, n = 0, left = 0;
    for (int i = 0; i < rank; i++) {
        if (!(axes >> i & 1))
            perm[n++] = i;
        if (keep || !(axes >> i & 1))
            kept[left++] = axes >> i & 1 ? 1 : a->type.dim[i];
    }
    int outer = n;
    for (int i = 0; i < rank; i++)
        if (axes >> i & 1)
            perm[n++] = i;
    a = ox_transpose(x, a, perm);
    for (int i = outer; i < rank; i++) /* one after another, so that no index is divided */
        a = rlx_mir_build_fold(x->b, fn, a);
    return ox_reshape(x, a, left, kept);
}

val ox_mean(onnx *x, val a, unsigned axes)
{
    val sum = ox_fold(x, RLX_FN_ADD, a, axes, true);
    double n = (double)ox_elems(a) / (double)ox_elems(sum);
    return DIV(sum, LIKE(a, n));
}

/* A fold of one axis that stays, by rows of tiles where it is the last. */
static val fold_rows(onnx *x, rlx_map_fn fn, val a, int axis)
{
    if (!a || axis != a->type.rank - 1 || a->type.format != RLX_F32)
        return ox_fold(x, fn, a, 1u << axis, true);
    return ox_insert(x, rlx_mir_build_reduce(x->b, fn, a), axis);
}

val ox_softmax(onnx *x, val a, int axis)
{
    val e = EXP(SUB(a, fold_rows(x, RLX_FN_MAX, a, axis)));
    return DIV(e, fold_rows(x, RLX_FN_ADD, e, axis));
}

val ox_log_softmax(onnx *x, val a, int axis)
{
    val d = SUB(a, fold_rows(x, RLX_FN_MAX, a, axis));
    return SUB(d, LOG(fold_rows(x, RLX_FN_ADD, EXP(d), axis)));
}

val ox_matmul(onnx *x, val a, val b)
{
    if (!a || !b)
        return NULL;
    bool row = a->type.rank == 1, column = b->type.rank == 1;
    if (row)
        a = ox_insert(x, a, 0);
    b = column ? ox_insert(x, b, 0) : ox_move(x, b, b->type.rank - 2, b->type.rank - 1);
    if (!a || !b)
        return NULL;
    /* [..,M,1,K] times [..,1,N,K] */
    val y = MUL(ox_insert(x, a, a->type.rank - 1), ox_insert(x, b, b->type.rank - 2));
    if (!y)
        return NULL;
    y = ox_fold(x, RLX_FN_ADD, y, 1u << (y->type.rank - 1), false);
    if (column)
        y = ox_flatten(x, y, y ? y->type.rank - 2 : 0, y ? y->type.rank : 0);
    if (row && y && !column)
        y = ox_flatten(x, y, y->type.rank - 2, y->type.rank);
    return row && column ? ox_reshape(x, y, 0, NULL) : y;
}

/* ---- indices ------------------------------------------------------------------------------------
 */

val ox_take(onnx *x, val a, val ids, int axis)
{
    if (!a || !ids)
        return NULL;
    ids = ox_cast(x, ids, RLX_I64);
    ids = PICK(LT(ids, LIKE(ids, 0)), ADD(ids, LIKE(ids, (double)ox_dim(a, axis))), ids);
    val y = rlx_mir_build_gather(x->b, ox_move(x, a, axis, 0), ids);
    if (!y || !ids)
        return NULL;
    /* [ids.., before axis.., behind it..] to [before.., ids.., behind..] */
    int64_t perm[RLX_MAX_RANK] = {0};
    int n = 0, r = ids->type.rank;
    for (int i = 0; i < axis; i++)
        perm[n++] = r + i;
    for (int i = 0; i < r; i++)
        perm[n++] = i;
    for (int i = axis; i < a->type.rank - 1; i++)
        perm[n++] = r + i;
    return ox_transpose(x, y, perm);
}

val ox_place(onnx *x, val a, int n, const val *at)
{
    if (!a)
        return NULL;
    val place = at[0];
    for (int i = 1; i < n; i++)
        place = ADD(MUL(place, LIKE(at[i], (double)a->type.dim[i])), at[i]);
    return place;
}

val ox_at(onnx *x, val a, const val *at)
{
    int rank = a ? a->type.rank : 0;
    return rlx_mir_build_gather(x->b, ox_flatten(x, a, 0, rank), ox_place(x, a, rank, at));
}

val ox_ranks(onnx *x, val a, bool largest)
{
    if (!a)
        return NULL;
    int64_t dims[RLX_MAX_RANK];
    int last = a->type.rank; /* [.., i, j]: is j before i? */
    memcpy(dims, a->type.dim, sizeof dims);
    dims[last] = dims[last - 1];
    val i = ox_expand(x, ox_insert(x, a, last), last + 1, dims);
    val j = ox_expand(x, ox_insert(x, a, last - 1), last + 1, dims);
    val before = largest ? LT(i, j) : LT(j, i);
    val at_i = ox_iota(x, RLX_I64, last + 1, dims, last - 1);
    val at_j = ox_iota(x, RLX_I64, last + 1, dims, last);
    before = ox_map2(x, RLX_FN_OR, before, AND(EQ(i, j), LT(at_j, at_i)));
    return ox_fold(x, RLX_FN_ADD, ox_cast(x, before, RLX_I64), 1u << last, false);
}
