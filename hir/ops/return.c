/* hir/ops/return.c
 *   in   the function's results
 *   The IR's frame checks where it stands and its operands against the function's results.
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_return_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m, (void)n;
    return RLX_OK;
}

rlx_status rlx_hir_return_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m, (void)n, (void)results;
    return RLX_OK;
}

rlx_status rlx_hir_return_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)out;
    for (int i = 0; i < n->nin; i++)
        cx->results[i] = *in[i];
    return RLX_OK;
}

void rlx_hir_return_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out)
{
    (void)out;
    rlx_ir_build_return(b, n->nin, in);
}
