/* lir/ops/bitcast.c: the same bits in another format
 *   in   x of any format but bool      out  the shape, in the written format
 *   C1  the result is a tile of x's shape.      C2  the formats have equal size and are not bool.
 */
#include <string.h>

#include "lir/lir_eval.h"

rlx_status rlx_lir_bitcast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_shape_equal(t, x), "casts %s to %s", rlx_lir_type_text(m, x),
                   rlx_lir_type_text(m, t));
    const rlx_format_info *from = rlx_format_get(x->format), *to = rlx_format_get(t->format);
    RLX_IR_REQUIRE(m, n, "C2",
                   from->block_bytes == to->block_bytes && from->kind != RLX_KIND_BOOL &&
                       to->kind != RLX_KIND_BOOL,
                   "%s and %s have no bits in common", from->name, to->name);
    return RLX_OK;
}

rlx_status rlx_lir_bitcast_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    memcpy(i->out[0]->data, i->in[0]->data, i->out[0]->bytes);
    return RLX_OK;
}
