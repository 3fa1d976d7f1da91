/* lir/ops/alloc.c: a team buffer
 *   out  the written buffer type; contents undefined until stored
 *   C1  it is a team buffer.      C2  its dims are constants. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_alloc_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", t->kind == RLX_TYPE_BUFFER && t->space == RLX_SPACE_TEAM,
                   "%s is not a team buffer", rlx_lir_type_text(m, t));
    for (int i = 0; i < t->rank; i++)
        RLX_IR_REQUIRE(m, n, "C2", rlx_dim_is_const(t->dim[i]),
                       "%s: a team buffer's dims are constants", rlx_lir_type_text(m, t));
    return RLX_OK;
}
