/* lir/ops/once.c: what a resident team does once, before its instances
 *   C1  the block has no arguments and yields nothing. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_once_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_block *body = n->blocks[0];
    if (!body->last)
        return RLX_OK;
    RLX_IR_REQUIRE(m, n, "C1", body->nargs == 0 && body->last->nin == 0,
                   "the block has %d arguments and yields %d values", body->nargs, body->last->nin);
    return RLX_OK;
}
