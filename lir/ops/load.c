/* lir/ops/load.c: a tile from a buffer
 *   in   buffer; one i64 index per buffer axis; one i64 limit per entry of limits
 *   out  the written tile: element j is buffer[index + j along axes], decoded; 0 beyond limits
 *   C1..C5  as lir/ops/access.c has them.
 *   C6  the tile's format is the buffer's, or f32 or f64 when the buffer holds floats. */
#include "lir/ops/access.h"

rlx_status rlx_lir_load_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_lir_verify_access(m, n, &n->out[0]->type, 1));
    rlx_format from = n->in[0]->type.format, to = n->out[0]->type.format;
    RLX_IR_REQUIRE(
        m, n, "C6", from == to || ((to == RLX_F32 || to == RLX_F64) && rlx_format_is_float(from)),
        "%s does not decode to %s", rlx_format_get(from)->name, rlx_format_get(to)->name);
    return RLX_OK;
}
