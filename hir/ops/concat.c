/* hir/ops/concat.c
 *   in   a f32[..,M];  b f32[..,N]                     out  f32[..,M+N]: a's features, then b's
 *   C1  a is f32 of rank 1 or more with a constant M > 0.
 *   C2  b has the type of a but for a constant N > 0.
 */
#include "hir/ops/ops.h"

#include <string.h>

rlx_status rlx_hir_concat_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int rank = n->in[0]->type.rank;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         rank > 0 && rlx_hir_is(n->in[0], RLX_F32, rank) &&
                             rlx_hir_last_dim(n->in[0]) > 0,
                         0, "a is f32[..,M] with a constant M");
    rlx_ir_type want = n->in[0]->type;
    if (n->in[1]->type.rank == rank)
        want.dim[rank - 1] = rlx_hir_last_dim(n->in[1]);
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         want.dim[rank - 1] > 0 && rlx_ir_type_equal(&n->in[1]->type, &want), 1,
                         "b is f32[..,N] with the leading extents of a and a constant N");
    return RLX_OK;
}

rlx_status rlx_hir_concat_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_concat_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] += rlx_hir_last_dim(n->in[1]);
    return RLX_OK;
}

rlx_status rlx_hir_concat_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)n;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int64_t a = in[0]->dim[in[0]->rank - 1], b = in[1]->dim[in[1]->rank - 1];
    const int64_t rows = rlx_hir_eval_elems(in[0]) / a;
    const float *from_a = in[0]->data, *from_b = in[1]->data;
    float *y = out[0].data;
    for (int64_t r = 0; r < rows; r++) {
        memcpy(y + r * (a + b), from_a + r * a, sizeof *y * (size_t)a);
        memcpy(y + r * (a + b) + a, from_b + r * b, sizeof *y * (size_t)b);
    }
    return RLX_OK;
}

void rlx_hir_concat_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out)
{
    rlx_ir_value *both[] = {in[0], in[1]};
    out[0] = rlx_mir_build_concat(b, 2, both, n->in[0]->type.rank - 1);
}
