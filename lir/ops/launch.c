/* lir/ops/launch.c: runs a kernel over buffers
 *   C1  callee is a kernel of the module.      C2  operands have its arguments' types, in order.
 *   C3  phase is there, from 0. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_launch_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_func *k = rlx_lir_callee(m, n);
    RLX_IR_REQUIRE(m, n, "C1", k && k->is_kernel, "there is no kernel @%s",
                   rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
    RLX_TRY(rlx_lir_require_types(m, n, "C2", "operands", n->nin, n->in, k->body->nargs,
                                  k->body->args));
    RLX_IR_REQUIRE(m, n, "C3", rlx_ir_attr_int(n, RLX_ATTR_PHASE, -1) >= 0, "has no phase");
    return RLX_OK;
}
