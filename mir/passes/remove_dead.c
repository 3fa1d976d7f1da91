/* mir/passes/remove_dead.c: what nobody uses goes
 *
 *   %1 = map %x, %x {fn=mul} : ..      (no uses)      ->      (nothing)
 *
 * Pure nodes, and regions that hold nothing but pure nodes. */
#include "mir/mir.h"

static rlx_status run(rlx_pass_cx *cx)
{
    if (rlx_ir_remove_dead(cx->module) > 0)
        cx->changed = true;
    return RLX_OK;
}

const rlx_pass rlx_mir_pass_remove_dead = {"remove_dead", run};
