/* lir/ops/grid.c: independent instances, one per index vector
 *   C1  1 to 3 extents.                 C2  extents are i64 scalars.
 *   C3  the block's arguments are one i64 scalar per extent, and it yields nothing. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_grid_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", n->nin <= RLX_LIR_MAX_GRID, "%d extents, more than %d", n->nin,
                   RLX_LIR_MAX_GRID);
    for (int i = 0; i < n->nin; i++)
        RLX_TRY(rlx_lir_require_index(m, n, "C2", i));
    const rlx_ir_block *body = n->blocks[0];
    if (!body->last)
        return RLX_OK;
    RLX_TRY(rlx_lir_require_types(m, n, "C3", "block arguments", body->nargs, body->args, n->nin,
                                  n->in));
    RLX_IR_REQUIRE(m, n, "C3", body->last->nin == 0, "the block yields %d values", body->last->nin);
    return RLX_OK;
}
