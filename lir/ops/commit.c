/* lir/ops/commit.c: ends a group of async stores. It has no constraints of its own. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_commit_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n;
    return RLX_OK;
}

rlx_status rlx_lir_commit_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)i;
    e->groups.open++;
    return RLX_OK;
}
