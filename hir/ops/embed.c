/* hir/ops/embed.c
 *   in   ids i32[..];  w [V,H], float or blocks         out  f32[..,H]: row ids[..] of w
 *   C1  ids is i32, of less than the most axes.
 *   C2  w is a tensor of rank 2, of a float or block format.
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_embed_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int rank = n->in[0]->type.rank;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[0], RLX_I32, rank) && rank < RLX_MAX_RANK, 0,
                         "ids are i32[..]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2", rlx_hir_is_weight(n->in[1], 2), 1,
                         "w is a float or block [V,H]");
    return RLX_OK;
}

rlx_status rlx_hir_embed_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_embed_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].format = RLX_F32;
    results[0].dim[results[0].rank++] = n->in[1]->type.dim[1];
    return RLX_OK;
}

rlx_status rlx_hir_embed_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                              rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int32_t *ids = in[0]->data;
    const int64_t vocab = in[1]->dim[0], hidden = in[1]->dim[1];
    float *y = out[0].data;
    for (int64_t t = 0; t < rlx_hir_eval_elems(in[0]); t++) {
        if (ids[t] < 0 || ids[t] >= vocab)
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "embed: id %d of token %lld is not in 0..%lld at %s", ids[t],
                            (long long)t, (long long)vocab - 1, n->place ? n->place : "?");
        for (int64_t h = 0; h < hidden; h++)
            y[t * hidden + h] = (float)rlx_hir_load(in[1], ids[t] * hidden + h);
    }
    return RLX_OK;
}

/* The rows are gathered as stored and cast afterwards: T rows, not V. */
void rlx_hir_embed_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    (void)n;
    out[0] = rlx_mir_build_cast(b, rlx_mir_build_gather(b, in[1], in[0]), RLX_F32);
}
