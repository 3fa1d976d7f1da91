/* hir/ops/rope.c
 *   in   x f32[T,N*D];  cos, sin f32[T,D/2]            out  f32[T,N*D]
 *   Pair i < D/2 of a head is its elements i and i + D/2; interleaved: 2i and 2i + 1. With the
 * table's entry i: (a, b) -> (a cos - b sin, b cos + a sin). C1  heads N > 0 and head_dim D > 0, D
 * even. C2  x is f32[T,N*D]. C3  cos and sin are f32[T,D/2]. C4  interleaved is 0 or 1.
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_rope_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    const int64_t head_dim = rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0);
    RLX_IR_REQUIRE(m, n, "C1", heads > 0 && head_dim > 0 && head_dim % 2 == 0,
                   "heads=%lld, head_dim=%lld", (long long)heads, (long long)head_dim);
    RLX_HIR_REQUIRE_TYPE(
        m, n, "C2", rlx_hir_is(n->in[0], RLX_F32, 2) && n->in[0]->type.dim[1] == heads * head_dim,
        0, "x is f32[T,N*D]");
    const rlx_dim dims[] = {n->in[0]->type.dim[0], head_dim / 2};
    const rlx_ir_type table = rlx_ir_tensor(RLX_F32, 2, dims);
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", rlx_ir_type_equal(&n->in[1]->type, &table), 1,
                         "cos is f32[T,D/2]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", rlx_ir_type_equal(&n->in[2]->type, &table), 2,
                         "sin is f32[T,D/2]");
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
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    const int64_t half = rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0) / 2;
    const bool interleaved = rlx_ir_attr_int(n, RLX_ATTR_INTERLEAVED, 0);
    const int64_t step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
    const float *x = in[0]->data, *cosine = in[1]->data, *sine = in[2]->data;
    float *y = out[0].data;
    for (int64_t t = 0; t < in[0]->dim[0]; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < half; i++) {
                const int64_t at = (t * heads + h) * 2 * half + i * step;
                const double c = cosine[t * half + i], s = sine[t * half + i];
                const double a = x[at], b = x[at + other];
                y[at] = (float)(a * c - b * s);
                y[at + other] = (float)(b * c + a * s);
            }
    return RLX_OK;
}

/* The first or second element of every pair, [T,N,D/2], from [T,N,2,D/2]; interleaved [T,N,D/2,1],
 * from [T,N,D/2,2]: the axis of 1 stays, so that what follows keeps the elements' distance. */
static rlx_ir_value *side_of(rlx_ir_builder *b, rlx_ir_value *pairs, int64_t side, bool interleaved,
                             const rlx_dim *dims)
{
    rlx_ir_value *x = rlx_mir_build_slice(b, pairs, interleaved ? 3 : 2, side, 1);
    return interleaved ? x : rlx_mir_build_reshape(b, x, 3, dims);
}

void rlx_hir_rope_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const rlx_dim tokens = n->in[0]->type.dim[0];
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    const int64_t half = rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0) / 2;
    const bool interleaved = rlx_ir_attr_int(n, RLX_ATTR_INTERLEAVED, 0);
    const rlx_dim pair_dims[] = {tokens, heads, interleaved ? half : 2, interleaved ? 2 : half};
    const rlx_dim side_dims[] = {tokens, heads, half, 1};
    const int64_t axes[] = {0, 2};
    const int rank = interleaved ? 4 : 3;

    rlx_ir_value *pairs = rlx_mir_build_reshape(b, in[0], 4, pair_dims);
    rlx_ir_value *lo = side_of(b, pairs, 0, interleaved, side_dims);
    rlx_ir_value *hi = side_of(b, pairs, 1, interleaved, side_dims);
    rlx_ir_value *c = rlx_mir_build_broadcast(b, in[1], rank, side_dims, axes);
    rlx_ir_value *s = rlx_mir_build_broadcast(b, in[2], rank, side_dims, axes);
    rlx_ir_value *lo_c = rlx_mir_build_map2(b, RLX_FN_MUL, lo, c);
    rlx_ir_value *hi_s = rlx_mir_build_map2(b, RLX_FN_MUL, hi, s);
    rlx_ir_value *hi_c = rlx_mir_build_map2(b, RLX_FN_MUL, hi, c);
    rlx_ir_value *lo_s = rlx_mir_build_map2(b, RLX_FN_MUL, lo, s);
    rlx_ir_value *turned[2];
    turned[0] = rlx_mir_build_map2(b, RLX_FN_SUB, lo_c, hi_s);
    turned[1] = rlx_mir_build_map2(b, RLX_FN_ADD, hi_c, lo_s);
    rlx_ir_value *y = rlx_mir_build_concat(b, 2, turned, interleaved ? 3 : 2);
    out[0] = rlx_mir_build_reshape(b, y, 2, n->out[0]->type.dim);
}
