/* lir/ops/cast.c: the same numbers in another format
 *   in   x of any format      out  the shape, in the written format
 *   C1  the result is a tile of x's shape.      C2  not to bool (a comparison says what is true).
 */
#include "lir/ops/ops.h"

rlx_status rlx_lir_cast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_shape_equal(t, &n->in[0]->type), "casts %s to %s",
                   rlx_lir_type_text(m, &n->in[0]->type), rlx_lir_type_text(m, t));
    RLX_IR_REQUIRE(m, n, "C2", t->format != RLX_BOOL || n->in[0]->type.format == RLX_BOOL,
                   "casts %s to bool", rlx_format_get(n->in[0]->type.format)->name);
    return RLX_OK;
}
