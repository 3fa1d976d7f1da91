/* lir/ops/yield.c: ends a nested block
 *   C1  operands are tiles. (Which, the op around it says: for C4, if C3, once C1, grid C3.) */
#include "lir/ops/ops.h"

rlx_status rlx_lir_yield_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    for (int i = 0; i < n->nin; i++)
        RLX_TRY(rlx_lir_require_tile(m, n, "C1", &n->in[i]->type));
    return RLX_OK;
}
