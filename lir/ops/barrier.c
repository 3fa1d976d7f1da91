/* lir/ops/barrier.c: makes the team's writes to team buffers visible to the whole team
 *   It has no constraints of its own: control is uniform over a team, so a barrier may stand in any
 *   block of once or grid. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_barrier_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n;
    return RLX_OK;
}

rlx_status rlx_lir_barrier_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)i;
    rlx_lir_pass_barrier(e);
    return RLX_OK;
}
