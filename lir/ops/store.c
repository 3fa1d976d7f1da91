/* lir/ops/store.c: a tile to a buffer
 *   in   buffer; tile; one i64 index per buffer axis; one i64 limit per entry of limits
 *   C1..C5  as lir/ops/access.c has them.
 *   C6  the tile's format is the buffer's, or both are floats (rounding to nearest even). */
#include "lir/ops/access.h"

rlx_status rlx_lir_store_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_lir_verify_access(m, n, &n->in[1]->type, 2));
    rlx_format from = n->in[1]->type.format, to = n->in[0]->type.format;
    RLX_IR_REQUIRE(m, n, "C6", from == to || (rlx_format_is_float(from) && rlx_format_is_float(to)),
                   "%s does not round to %s", rlx_format_get(from)->name, rlx_format_get(to)->name);
    return RLX_OK;
}
