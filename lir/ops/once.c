/* lir/ops/once.c: what a resident team does once, before its instances
 *   C1  the block has no arguments and yields nothing. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_once_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_block *body = n->blocks[0];
    RLX_IR_REQUIRE(m, n, "C1", body->nargs == 0 && body->last->nin == 0,
                   "the block has %d arguments and yields %d values", body->nargs, body->last->nin);
    return RLX_OK;
}

rlx_status rlx_lir_once_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    e->instance = RLX_LIR_BY_ONCE;
    rlx_lir_pass_barrier(e);
    RLX_TRY(rlx_lir_eval_code(e, i->code[0]));
    return rlx_lir_check_arrived(e, i);
}
