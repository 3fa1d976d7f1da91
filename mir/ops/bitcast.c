/* mir/ops/bitcast.c: the same bits as another format
 *   in   x, any shape                              out  the same shape in the written format
 *   C1   shapes are equal.
 *   C2   neither is bool or of blocks, and elements are as long. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_bitcast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_shape_equal(x, y), "changes the shape");
    bool numbers = (rlx_format_is_float(x->format) || rlx_format_is_int(x->format)) &&
                   (rlx_format_is_float(y->format) || rlx_format_is_int(y->format));
    RLX_IR_REQUIRE(
        m, n, "C2", numbers && rlx_format_bytes(x->format, 1) == rlx_format_bytes(y->format, 1),
        "from %s to %s", rlx_format_get(x->format)->name, rlx_format_get(y->format)->name);
    return RLX_OK;
}

rlx_status rlx_mir_bitcast_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    return rlx_mir_frame_alias(f, n->out[0], rlx_mir_tensor(n->in[0]));
}
