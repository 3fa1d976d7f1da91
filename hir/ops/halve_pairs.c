/* hir/ops/halve_pairs.c
 *   in   x f32[T,N*D]                                  out  f32[T,N*D]
 *   In each of the N parts, elements 2i and 2i + 1 go to i and i + D/2: heads whose rotary pairs
 *   are neighbours, in the order of those whose pairs are D/2 apart.
 *   C1  x is f32[T,H] with a constant H.
 *   C2  heads N is > 0, and 2 N divides H.
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_halve_pairs_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         rlx_hir_is(n->in[0], RLX_F32, 2) && rlx_hir_last_dim(n->in[0]) > 0, 0,
                         "x is f32[T,H] with a constant H");
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    RLX_IR_REQUIRE(m, n, "C2", heads > 0 && rlx_hir_last_dim(n->in[0]) % (2 * heads) == 0,
                   "heads=%lld of %lld features", (long long)heads,
                   (long long)rlx_hir_last_dim(n->in[0]));
    return RLX_OK;
}

rlx_status rlx_hir_halve_pairs_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_halve_pairs_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_halve_pairs_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                    rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int64_t head_dim = in[0]->dim[1] / rlx_ir_attr_int(n, RLX_ATTR_HEADS, 1);
    const int64_t elems = rlx_hir_eval_elems(in[0]);
    const float *x = in[0]->data;
    float *y = out[0].data;
    for (int64_t i = 0; i < elems; i++) {
        const int64_t d = i % head_dim;
        y[i - d + d / 2 + d % 2 * (head_dim / 2)] = x[i];
    }
    return RLX_OK;
}

/* The axis of 1 stays to the end: what follows keeps the elements' distance. */
void rlx_hir_halve_pairs_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                               rlx_ir_value **out)
{
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 1);
    const rlx_ir_type *x = &n->in[0]->type;
    const rlx_dim dims[] = {x->dim[0], heads, x->dim[1] / heads / 2, 2};
    rlx_ir_value *pairs = rlx_mir_build_reshape(b, in[0], 4, dims), *halves[2];
    for (int64_t i = 0; i < 2; i++)
        halves[i] = rlx_mir_build_slice(b, pairs, 3, i, 1);
    out[0] = rlx_mir_build_concat(b, 2, halves, 2);
    out[0] = rlx_mir_build_reshape(b, out[0], 2, x->dim);
}
