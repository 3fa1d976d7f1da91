/* lir/ops/wait.c: until all groups of async stores but the latest have arrived
 *   C1  pending, if it is there, is 0 or more. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_wait_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int64_t pending = rlx_ir_attr_int(n, RLX_ATTR_PENDING, 0);
    RLX_IR_REQUIRE(m, n, "C1", pending >= 0, "%lld groups are left on their way",
                   (long long)pending);
    return RLX_OK;
}

rlx_status rlx_lir_wait_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const int64_t ended = e->groups.open - 1;
    const int64_t arrived = ended - rlx_ir_attr_int(i->node, RLX_ATTR_PENDING, 0);
    if (arrived > e->groups.arrived)
        e->groups.arrived = (uint32_t)arrived;
    return RLX_OK;
}
