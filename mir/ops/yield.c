/* mir/ops/yield.c: ends a region
 *   in   the region's results, in order            out  none
 *   C1   stands in a region (that counts and types agree is the region's C3). */
#include "mir/ops/ops.h"

rlx_status rlx_mir_yield_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", n->parent && n->parent->parent, "outside of a region");
    return RLX_OK;
}

rlx_status rlx_mir_yield_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    (void)f;
    (void)n; /* whoever runs the block reads its terminator's operands */
    return RLX_OK;
}
