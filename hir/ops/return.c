/* hir/ops/return.c
 *   in   the function's results
 *   C1  it stands in a function's body. (The frame checks the operands against the results.)
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_return_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", !n->parent || !n->parent->parent, "inside a nested block");
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
