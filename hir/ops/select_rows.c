/* hir/ops/select_rows.c
 *   in   x f32[T,H];  rows i32[R]                      out  f32[R,H]: row rows[r] of x
 *   C1  x is f32 of rank 2.
 *   C2  rows is i32 of rank 1.
 */
#include "hir/ops/ops.h"

#include <string.h>

rlx_status rlx_hir_select_rows_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[0], RLX_F32, 2), 0, "x is f32[T,H]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2", rlx_hir_is(n->in[1], RLX_I32, 1), 1, "rows are i32[R]");
    return RLX_OK;
}

rlx_status rlx_hir_select_rows_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_select_rows_verify(m, n));
    const rlx_dim dims[] = {n->in[1]->type.dim[0], n->in[0]->type.dim[1]};
    results[0] = rlx_ir_tensor(RLX_F32, 2, dims);
    return RLX_OK;
}

rlx_status rlx_hir_select_rows_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                    rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const float *x = in[0]->data;
    const int32_t *rows = in[1]->data;
    const int64_t tokens = in[0]->dim[0], hidden = in[0]->dim[1];
    float *y = out[0].data;
    for (int64_t r = 0; r < in[1]->dim[0]; r++) {
        if (rows[r] < 0 || rows[r] >= tokens)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "select_rows: row %d is not in 0..%lld at %s",
                            rows[r], (long long)tokens - 1, n->place ? n->place : "?");
        memcpy(y + r * hidden, x + rows[r] * hidden, (size_t)hidden * sizeof(float));
    }
    return RLX_OK;
}

void rlx_hir_select_rows_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                               rlx_ir_value **out)
{
    (void)n;
    out[0] = rlx_mir_build_gather(b, in[0], in[1]);
}
