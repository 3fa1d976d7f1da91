/* lir/ops/return.c: ends a kernel or tape function
 *   C1  it has no operands: results are written to buffers. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_return_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", n->nin == 0, "returns %d values; results go to OUT buffers", n->nin);
    return RLX_OK;
}
