/* hir/ops/experts.c: rows times the matrices of their experts
 *   in   x f32[..,K];  w [E,N,K], a float format;  ids i32[..]       out  f32[..,N]: w[ids] x
 *   What a row costs is its own expert's product: nothing is computed for others.
 *   C1  x is f32[..,K] of rank 1 to 6.
 *   C2  w is a float tensor [E,N,K] with the K of x.
 *   C3  ids are i32, of x's shape without the last axis.
 *   Evaluating: 0 <= ids < E. Code reads some expert for an index that is not.
 */
#include <string.h>

#include "hir/ops/ops.h"

rlx_status rlx_hir_experts_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *w = &n->in[1]->type, *ids = &n->in[2]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         x->rank >= 1 && x->rank <= 6 && rlx_hir_is(n->in[0], RLX_F32, x->rank), 0,
                         "x is f32[..,K]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is_weight(n->in[1], 3) && w->dim[2] == rlx_hir_last_dim(n->in[0]),
                         1, "w is a float [E,N,K] with the K of x");
    bool fits = rlx_hir_is(n->in[2], RLX_I32, x->rank - 1);
    for (int i = 0; fits && i < x->rank - 1; i++)
        fits = ids->dim[i] == x->dim[i];
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", fits, 2, "ids are i32[..] with the leading extents of x");
    return RLX_OK;
}

rlx_status rlx_hir_experts_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_experts_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] = n->in[1]->type.dim[1];
    return RLX_OK;
}

rlx_status rlx_hir_experts_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)n;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int64_t experts = in[1]->dim[0], width = in[1]->dim[1], depth = in[1]->dim[2];
    const int64_t rows = rlx_hir_eval_elems(in[2]);
    const int32_t *ids = in[2]->data;
    const float *x = in[0]->data;
    float *y = out[0].data;
    for (int64_t r = 0; r < rows; r++) {
        if (ids[r] < 0 || ids[r] >= experts)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "experts: id %d of row %lld is not in 0..%lld",
                            ids[r], (long long)r, (long long)experts - 1);
        for (int64_t j = 0; j < width; j++) {
            double sum = 0;
            for (int64_t k = 0; k < depth; k++)
                sum += x[r * depth + k] *
                       rlx_hir_load(in[1], ((int64_t)ids[r] * width + j) * depth + k);
            y[r * width + j] = (float)sum;
        }
    }
    return RLX_OK;
}

void rlx_hir_experts_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                           rlx_ir_value **out)
{
    const int last = n->in[0]->type.rank - 1; /* [..,N,K] times [..,1,K] */
    rlx_ir_value *w = rlx_mir_cast(b, rlx_mir_build_gather(b, in[1], in[2]), RLX_F32);
    rlx_ir_value *x = rlx_mir_insert(b, in[0], last);
    out[0] =
        rlx_mir_fold(b, RLX_FN_ADD, rlx_mir_map2(b, RLX_FN_MUL, w, x), 1u << (last + 1), false);
}
