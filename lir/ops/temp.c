/* lir/ops/temp.c: a global buffer of a tape function's frame
 *   out  the written buffer type
 *   C1  it is a global buffer, not of blocks: nothing stores them.
 *   C2  offset and bytes come together, from 0; offset is aligned.
 */
#include "lir/ops/ops.h"

rlx_status rlx_lir_temp_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", t->kind == RLX_TYPE_BUFFER && t->space == RLX_SPACE_GLOBAL,
                   "%s is not a global buffer", rlx_lir_type_text(m, t));
    RLX_IR_REQUIRE(m, n, "C1", rlx_format_get(t->format)->kind != RLX_KIND_BLOCK,
                   "%s: nothing stores blocks", rlx_lir_type_text(m, t));
    return rlx_lir_require_place(m, n, "C2");
}
