/* mir/ops/reshape.c: the same elements, in row-major order, as another shape (a view)
 *   in   x                                         out  the written shape
 *   C1   formats agree.
 *   C2   as many elements: after equal leading and trailing extents, the rest has one product. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_reshape_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->format == y->format, "changes the format");
    RLX_IR_REQUIRE(m, n, "C2", rlx_ir_same_elems(m->dims, x, y), "changes the number of elements");
    return RLX_OK;
}

rlx_status rlx_mir_reshape_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    return rlx_mir_frame_alias(f, n->out[0], rlx_mir_tensor(n->in[0]));
}
