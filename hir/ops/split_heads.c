/* hir/ops/split_heads.c
 *   in   x f32[..,N*D]                                 out  f32[..,N,D]: the same elements
 *   C1  x is f32 of rank 1 to 5 with a constant last extent.
 *   C2  heads N is > 0 and divides it.
 */
#include "hir/ops/ops.h"

#include <string.h>

rlx_status rlx_hir_split_heads_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int rank = n->in[0]->type.rank;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         rank > 0 && rank < RLX_MAX_RANK && rlx_hir_is(n->in[0], RLX_F32, rank) &&
                             rlx_hir_last_dim(n->in[0]) > 0,
                         0, "x is f32[..,H] with a constant H");
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    RLX_IR_REQUIRE(m, n, "C2", heads > 0 && rlx_hir_last_dim(n->in[0]) % heads == 0,
                   "heads=%lld of %lld features", (long long)heads,
                   (long long)rlx_hir_last_dim(n->in[0]));
    return RLX_OK;
}

rlx_status rlx_hir_split_heads_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_split_heads_verify(m, n));
    const int64_t heads = rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0);
    rlx_ir_type y = n->in[0]->type;
    y.dim[y.rank] = y.dim[y.rank - 1] / heads;
    y.dim[y.rank++ - 1] = heads;
    results[0] = y;
    return RLX_OK;
}

rlx_status rlx_hir_split_heads_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                    rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)n;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    memcpy(out[0].data, in[0]->data, sizeof(float) * (size_t)rlx_hir_eval_elems(in[0]));
    return RLX_OK;
}

void rlx_hir_split_heads_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                               rlx_ir_value **out)
{
    out[0] = rlx_mir_build_reshape(b, in[0], n->out[0]->type.rank, n->out[0]->type.dim);
}
