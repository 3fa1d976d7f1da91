/* mir/ops/return.c: ends a function
 *   in   the function's results, in order          out  none
 *   (That they are as declared is checked for every level.) */
#include "mir/ops/ops.h"

rlx_status rlx_mir_return_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n;
    return RLX_OK;
}

rlx_status rlx_mir_return_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    (void)f;
    (void)n; /* whoever runs the block reads its terminator's operands */
    return RLX_OK;
}
