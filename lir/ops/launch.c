/* lir/ops/launch.c: runs a kernel over buffers
 *   C1  callee is a kernel of the module.      C2  operands are its arguments, in order: of their
 *   format, with as many elements; which axes a kernel sees in them is its own affair.
 *   C3  phase is there, from 0. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_launch_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_func *k = rlx_lir_callee(m, n);
    RLX_IR_REQUIRE(m, n, "C1", k && k->is_kernel, "there is no kernel @%s",
                   rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
    RLX_IR_REQUIRE(m, n, "C2", n->nin == k->body->nargs,
                   "operands: %d values where %d are expected", n->nin, k->body->nargs);
    for (int i = 0; i < n->nin; i++) {
        const rlx_ir_type *got = &n->in[i]->type, *want = &k->body->args[i]->type;
        RLX_IR_REQUIRE(m, n, "C2",
                       got->kind == want->kind && got->space == want->space &&
                           got->format == want->format && rlx_ir_same_elems(m->dims, got, want),
                       "operands: value %d is %s, expected %s", i, rlx_lir_type_text(m, got),
                       rlx_lir_type_text(m, want));
    }
    RLX_IR_REQUIRE(m, n, "C3", rlx_ir_attr_int(n, RLX_ATTR_PHASE, -1) >= 0, "has no phase");
    return RLX_OK;
}
