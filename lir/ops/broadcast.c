/* lir/ops/broadcast.c: repeats a tile along new or unit axes
 *   in   x of rank r      out  the written tile: input axis i is result axis axes[i]
 *   C1  the result is a tile of x's format.      C2  axes ascend, one per input axis, below the
 * rank. C3  an input axis has the extent of its result axis. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_broadcast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    RLX_IR_REQUIRE(m, n, "C1", t->format == x->format, "from %s to %s",
                   rlx_format_get(x->format)->name, rlx_format_get(t->format)->name);
    RLX_TRY(rlx_lir_require_axes(m, n, "C2", x->rank, t->rank));
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    for (int i = 0; i < x->rank; i++)
        RLX_IR_REQUIRE(m, n, "C3", x->dim[i] == t->dim[axes->ints[i]],
                       "input axis %d has extent %lld, result axis %lld has %lld", i,
                       (long long)x->dim[i], (long long)axes->ints[i],
                       (long long)t->dim[axes->ints[i]]);
    return RLX_OK;
}
