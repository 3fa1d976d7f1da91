/* hir/ops/rope.c
 *   in   x f32[T,N*D];  cos, sin f32[T,R/2]            out  f32[T,N*D]
 *   Pair i < R/2 of a head is its elements i and i + R/2; interleaved: 2i and 2i + 1. With the
 *   table's entry i: (a, b) -> (a cos - b sin, b cos + a sin). Elements from R on pass.
 *   C1  heads N > 0 and head_dim D > 0.
 *   C2  x is f32[T,N*D].
 *   C3  cos and sin are f32[T,R/2], with 0 < R <= D.
 *   C4  interleaved is 0 or 1.
 */
#include "hir/ops/ops.h"

#include <string.h>

rlx_status rlx_hir_rope_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    const int64_t head_dim = rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0);
    RLX_IR_REQUIRE(m, n, "C1", heads > 0 && head_dim > 0, "heads=%lld, head_dim=%lld",
                   (long long)heads, (long long)head_dim);
    RLX_HIR_REQUIRE_TYPE(
        m, n, "C2", rlx_hir_is(n->in[0], RLX_F32, 2) && n->in[0]->type.dim[1] == heads * head_dim,
        0, "x is f32[T,N*D]");
    const rlx_ir_type *table = &n->in[1]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C3",
                         rlx_hir_is(n->in[1], RLX_F32, 2) &&
                             table->dim[0] == n->in[0]->type.dim[0] && table->dim[1] > 0 &&
                             2 * table->dim[1] <= head_dim,
                         1, "cos is f32[T,R/2], R at most D");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", rlx_ir_type_equal(&n->in[2]->type, table), 2,
                         "sin has the type of cos");
    const int64_t interleaved = rlx_ir_attr_int(n, RLX_ATTR_INTERLEAVED, 0);
    RLX_IR_REQUIRE(m, n, "C4", interleaved == 0 || interleaved == 1, "interleaved=%lld",
                   (long long)interleaved);
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
    const int64_t head_dim = rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0);
    const int64_t half = in[1]->dim[1], elems = rlx_hir_eval_elems(in[0]);
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    const bool interleaved = rlx_ir_attr_int(n, RLX_ATTR_INTERLEAVED, 0);
    const int64_t step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
    const float *x = in[0]->data, *cosine = in[1]->data, *sine = in[2]->data;
    float *y = out[0].data;
    memcpy(y, x, sizeof *y * (size_t)elems);
    for (int64_t head = 0; head < elems / head_dim; head++)
        for (int64_t i = 0; i < half; i++) {
            const int64_t at = head * head_dim + i * step, entry = head / heads * half + i;
            const double c = cosine[entry], s = sine[entry], a = x[at], b = x[at + other];
            y[at] = (float)(a * c - b * s);
            y[at + other] = (float)(b * c + a * s);
        }
    return RLX_OK;
}

/* The first or second element of every pair, [T,N,R/2], from [T,N,2,R/2]; interleaved [T,N,R/2,1],
 * from [T,N,R/2,2]: the axis of 1 stays, so that what follows keeps the elements' distance. */
static rlx_ir_value *side_of(rlx_ir_builder *b, rlx_ir_value *pairs, int64_t side, bool interleaved,
                             const rlx_dim *dims)
{
    rlx_ir_value *x = rlx_mir_build_slice(b, pairs, interleaved ? 3 : 2, side, 1);
    return interleaved ? x : rlx_mir_build_reshape(b, x, 3, dims);
}

/* Heads of R elements, all of which turn: x [T,N*R] or [T,N,R] to [T,N,2,R/2], or interleaved
 * [T,N,R/2,2]. */
static rlx_ir_value *turn(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *const *table,
                          rlx_dim tokens, int64_t heads, int64_t half, bool interleaved)
{
    const rlx_dim pair_dims[] = {tokens, heads, interleaved ? half : 2, interleaved ? 2 : half};
    const rlx_dim side_dims[] = {tokens, heads, half, 1};
    const int64_t axes[] = {0, 2};
    const int rank = interleaved ? 4 : 3;

    rlx_ir_value *pairs = rlx_mir_build_reshape(b, x, 4, pair_dims);
    rlx_ir_value *lo = side_of(b, pairs, 0, interleaved, side_dims);
    rlx_ir_value *hi = side_of(b, pairs, 1, interleaved, side_dims);
    rlx_ir_value *c = rlx_mir_build_broadcast(b, table[0], rank, side_dims, axes);
    rlx_ir_value *s = rlx_mir_build_broadcast(b, table[1], rank, side_dims, axes);
    rlx_ir_value *lo_c = rlx_mir_build_map2(b, RLX_FN_MUL, lo, c);
    rlx_ir_value *hi_s = rlx_mir_build_map2(b, RLX_FN_MUL, hi, s);
    rlx_ir_value *hi_c = rlx_mir_build_map2(b, RLX_FN_MUL, hi, c);
    rlx_ir_value *lo_s = rlx_mir_build_map2(b, RLX_FN_MUL, lo, s);
    rlx_ir_value *turned[2];
    turned[0] = rlx_mir_build_map2(b, RLX_FN_SUB, lo_c, hi_s);
    turned[1] = rlx_mir_build_map2(b, RLX_FN_ADD, hi_c, lo_s);
    return rlx_mir_build_concat(b, 2, turned, interleaved ? 3 : 2);
}

/* The first R elements of every head turn, and the others follow them. */
static rlx_ir_value *turn_part(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *const *table,
                               const rlx_dim *head_dims, int64_t half, bool interleaved)
{
    const rlx_dim part_dims[] = {head_dims[0], head_dims[1], 2 * half};
    rlx_ir_value *whole = rlx_mir_build_reshape(b, x, 3, head_dims), *parts[2];
    rlx_ir_value *part = rlx_mir_build_slice(b, whole, 2, 0, 2 * half);
    parts[1] = rlx_mir_build_slice(b, whole, 2, 2 * half, head_dims[2] - 2 * half);
    part = turn(b, part, table, head_dims[0], head_dims[1], half, interleaved);
    parts[0] = rlx_mir_build_reshape(b, part, 3, part_dims);
    return rlx_mir_build_concat(b, 2, parts, 2);
}

void rlx_hir_rope_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const rlx_dim head_dims[] = {n->in[0]->type.dim[0], rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0),
                                 rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0)};
    const int64_t half = n->in[1]->type.dim[1];
    const bool interleaved = rlx_ir_attr_int(n, RLX_ATTR_INTERLEAVED, 0);
    rlx_ir_value *y = 2 * half < head_dims[2]
                          ? turn_part(b, in[0], in + 1, head_dims, half, interleaved)
                          : turn(b, in[0], in + 1, head_dims[0], head_dims[1], half, interleaved);
    out[0] = rlx_mir_build_reshape(b, y, 2, n->out[0]->type.dim);
}
