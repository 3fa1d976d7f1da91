/* lir/ops/alloc.c: a team buffer
 *   out  the written buffer type; contents undefined until stored
 *   C1  it is a team buffer. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_alloc_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", t->kind == RLX_TYPE_BUFFER && t->space == RLX_SPACE_TEAM,
                   "%s is not a team buffer", rlx_lir_type_text(m, t));
    return RLX_OK;
}

/* Its memory is there from the start; what it holds is nobody's until stored (lir_eval_check.c). */
rlx_status rlx_lir_alloc_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    (void)i;
    return RLX_OK;
}
