/* hir/ops/rope.c
 *   in   x f32[L..,N*D];  cos, sin f32[M..,R/2], M.. the last of L..        out  f32[L..,N*D]
 *   Pair i < R/2 of a head is its elements i and i + R/2; interleaved: 2i and 2i + 1. With the
 *   table's entry i: (a, b) -> (a cos - b sin, b cos + a sin). Elements from R on pass. Tables
 *   repeat along the axes of L.. that they do not have.
 *   each: the tables are [M..,R], and each element of a pair takes the entry of its own place:
 *   (a, b) -> (a cos_a - b sin_a, b cos_b + a sin_b).
 *   C1  heads N > 0 and head_dim D > 0.
 *   C2  x is f32[L..,N*D] of rank 2 to 5.
 *   C3  cos and sin are f32[M..,R/2] (each: R), with 0 < R <= D, R even.
 *   C4  interleaved and each are 0 or 1.
 */
#include "hir/ops/ops.h"

#include <string.h>

typedef struct turning {
    int64_t heads, head_dim, half; /* half: R/2 */
    bool interleaved, each;
    int lead; /* axes of L.. */
} turning;

static turning get_turning(const rlx_ir_node *n)
{
    turning t = {.heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0),
                 .head_dim = rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0),
                 .interleaved = rlx_ir_attr_int(n, RLX_ATTR_INTERLEAVED, 0),
                 .each = rlx_ir_attr_int(n, RLX_ATTR_EACH, 0),
                 .lead = n->in[0]->type.rank - 1};
    const rlx_ir_type *table = &n->in[1]->type;
    t.half = table->rank ? table->dim[table->rank - 1] : 0;
    if (t.each)
        t.half = t.half % 2 ? -1 : t.half / 2;
    return t;
}

static bool is_table(const rlx_ir_node *n, const turning *t)
{
    const rlx_ir_type *x = &n->in[0]->type, *table = &n->in[1]->type;
    const int skip = x->rank - table->rank;
    if (!rlx_hir_is(n->in[1], RLX_F32, table->rank) || table->rank < 1 || skip < 0 ||
        t->half <= 0 || 2 * t->half > t->head_dim)
        return false;
    for (int i = 0; i < table->rank - 1; i++)
        if (table->dim[i] != x->dim[skip + i])
            return false;
    return true;
}

rlx_status rlx_hir_rope_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const rlx_attr_key flags[] = {RLX_ATTR_INTERLEAVED, RLX_ATTR_EACH};
    const turning t = get_turning(n);
    RLX_IR_REQUIRE(m, n, "C1", t.heads > 0 && t.head_dim > 0, "heads=%lld, head_dim=%lld",
                   (long long)t.heads, (long long)t.head_dim);
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         t.lead >= 1 && t.lead <= 4 && rlx_hir_is(n->in[0], RLX_F32, t.lead + 1) &&
                             rlx_hir_last_dim(n->in[0]) == t.heads * t.head_dim,
                         0, "x is f32[L..,N*D] of rank 2 to 5");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", is_table(n, &t), 1,
                         t.each ? "cos is f32[M..,R], R even and at most D"
                                : "cos is f32[M..,R/2], R at most D");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", rlx_ir_type_equal(&n->in[2]->type, &n->in[1]->type), 2,
                         "sin has the type of cos");
    for (int i = 0; i < 2; i++) {
        const int64_t flag = rlx_ir_attr_int(n, flags[i], 0);
        RLX_IR_REQUIRE(m, n, "C4", flag == 0 || flag == 1, "%s=%lld", rlx_attr_name(flags[i]),
                       (long long)flag);
    }
    return RLX_OK;
}

rlx_status rlx_hir_rope_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_rope_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_rope_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const turning t = get_turning(n);
    const int64_t step = t.interleaved ? 2 : 1, other = t.interleaved ? 1 : t.half;
    const int64_t elems = rlx_hir_eval_elems(in[0]), width = t.each ? 2 * t.half : t.half;
    const int64_t rows = rlx_hir_eval_elems(in[1]) / width;
    const float *x = in[0]->data, *cosine = in[1]->data, *sine = in[2]->data;
    float *y = out[0].data;
    memcpy(y, x, sizeof *y * (size_t)elems);
    for (int64_t head = 0; head < elems / t.head_dim; head++)
        for (int64_t i = 0; i < t.half; i++) {
            const int64_t at = head * t.head_dim + i * step, row = head / t.heads % rows * width;
            const int64_t first = row + (t.each ? i * step : i);
            const int64_t second = t.each ? first + other : first;
            const double a = x[at], b = x[at + other];
            y[at] = (float)(a * cosine[first] - b * sine[first]);
            y[at + other] = (float)(b * cosine[second] + a * sine[second]);
        }
    return RLX_OK;
}

/* The first or second element of every pair, [L..,N,R/2], from [L..,N,2,R/2]; interleaved
 * [L..,N,R/2,1], from [L..,N,R/2,2]: the axis of 1 stays, so that what follows keeps the elements'
 * distance. Of a table for each element alike, without N. */
static rlx_ir_value *side_of(rlx_ir_builder *b, rlx_ir_value *pairs, int64_t side, bool interleaved,
                             int rank, const rlx_dim *dims)
{
    rlx_ir_value *x = rlx_mir_build_slice(b, pairs, rank - (interleaved ? 1 : 2), side, 1);
    return interleaved ? x : rlx_mir_build_reshape(b, x, rank - 1, dims);
}

/* A table's entries for the elements of one side, repeated to the shape of a side. */
static rlx_ir_value *entries(rlx_ir_builder *b, rlx_ir_value *table, const rlx_ir_type *type,
                             const turning *t, int64_t side, int rank, const rlx_dim *dims)
{
    const int skip = t->lead - (type->rank - 1), own = type->rank - 1;
    int64_t axes[RLX_MAX_RANK];
    if (t->each) {
        rlx_dim cut[RLX_MAX_RANK];
        memcpy(cut, type->dim, sizeof cut);
        cut[own] = t->interleaved ? t->half : 2;
        cut[own + 1] = t->interleaved ? 2 : t->half;
        table = rlx_mir_build_reshape(b, table, own + 2, cut);
        cut[own] = t->half;
        table = side_of(b, table, side, t->interleaved, own + 2, cut);
    }
    for (int i = 0; i < own; i++)
        axes[i] = skip + i;
    axes[own] = t->lead + 1;
    axes[own + 1] = t->lead + 2; /* the axis of 1 of a table that was cut */
    return rlx_mir_build_broadcast(b, table, rank, dims, axes);
}

/* Heads of R elements, all of which turn: x [L..,N*R] or [L..,N,R] to [L..,N,2,R/2], or interleaved
 * [L..,N,R/2,2]. */
static rlx_ir_value *turn(rlx_ir_builder *b, rlx_ir_value *x, const rlx_ir_node *n,
                          rlx_ir_value *const *table, const turning *t)
{
    rlx_dim pair_dims[RLX_MAX_RANK], side_dims[RLX_MAX_RANK];
    memcpy(pair_dims, n->in[0]->type.dim, sizeof pair_dims);
    pair_dims[t->lead] = t->heads;
    memcpy(side_dims, pair_dims, sizeof side_dims);
    pair_dims[t->lead + 1] = t->interleaved ? t->half : 2;
    pair_dims[t->lead + 2] = t->interleaved ? 2 : t->half;
    side_dims[t->lead + 1] = t->half;
    side_dims[t->lead + 2] = 1;
    const int all = t->lead + 3, rank = t->interleaved ? all : all - 1;
    const rlx_ir_type *type = &n->in[1]->type;
    rlx_ir_value *pairs = rlx_mir_build_reshape(b, x, all, pair_dims), *c[2], *s[2], *turned[2];
    rlx_ir_value *lo = side_of(b, pairs, 0, t->interleaved, all, side_dims);
    rlx_ir_value *hi = side_of(b, pairs, 1, t->interleaved, all, side_dims);
    for (int side = 0; side < (t->each ? 2 : 1); side++) {
        c[side] = entries(b, table[0], type, t, side, rank, side_dims);
        s[side] = entries(b, table[1], type, t, side, rank, side_dims);
    }
    const int second = t->each ? 1 : 0;
    rlx_ir_value *lo_c = rlx_mir_build_map2(b, RLX_FN_MUL, lo, c[0]);
    rlx_ir_value *hi_s = rlx_mir_build_map2(b, RLX_FN_MUL, hi, s[0]);
    rlx_ir_value *hi_c = rlx_mir_build_map2(b, RLX_FN_MUL, hi, c[second]);
    rlx_ir_value *lo_s = rlx_mir_build_map2(b, RLX_FN_MUL, lo, s[second]);
    turned[0] = rlx_mir_build_map2(b, RLX_FN_SUB, lo_c, hi_s);
    turned[1] = rlx_mir_build_map2(b, RLX_FN_ADD, hi_c, lo_s);
    return rlx_mir_build_concat(b, 2, turned, t->lead + (t->interleaved ? 2 : 1));
}

/* The first R elements of every head turn, and the others follow them. */
static rlx_ir_value *turn_part(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                               const turning *t)
{
    rlx_dim dims[RLX_MAX_RANK];
    const int axis = t->lead + 1;
    memcpy(dims, n->in[0]->type.dim, sizeof dims);
    dims[t->lead] = t->heads;
    dims[axis] = t->head_dim;
    rlx_ir_value *whole = rlx_mir_build_reshape(b, in[0], axis + 1, dims), *parts[2];
    rlx_ir_value *part = rlx_mir_build_slice(b, whole, axis, 0, 2 * t->half);
    parts[1] = rlx_mir_build_slice(b, whole, axis, 2 * t->half, t->head_dim - 2 * t->half);
    part = turn(b, part, n, in + 1, t);
    dims[axis] = 2 * t->half;
    parts[0] = rlx_mir_build_reshape(b, part, axis + 1, dims);
    return rlx_mir_build_concat(b, 2, parts, axis);
}

void rlx_hir_rope_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const turning t = get_turning(n);
    rlx_ir_value *y =
        2 * t.half < t.head_dim ? turn_part(b, n, in, &t) : turn(b, in[0], n, in + 1, &t);
    out[0] = rlx_mir_build_reshape(b, y, n->out[0]->type.rank, n->out[0]->type.dim);
}
