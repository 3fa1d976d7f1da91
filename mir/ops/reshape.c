/* mir/ops/reshape.c: the same elements, in row-major order, as another shape (a view)
 *   in   x                                         out  the written shape
 *   C1   formats agree.
 *   C2   as many elements: after equal leading and trailing extents, the rest has one product. */
#include "mir/ops/ops.h"

static bool is_empty(const rlx_ir_type *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] == 0)
            return true;
    return false;
}

/* Products are compared without the common ends: two symbols in one product have no expression. */
static bool same_elems(rlx_ir_module *m, const rlx_ir_type *x, const rlx_ir_type *y)
{
    if (is_empty(x) || is_empty(y))
        return is_empty(x) && is_empty(y);
    int first = 0, xe = x->rank, ye = y->rank;
    while (first < xe && first < ye && x->dim[first] == y->dim[first])
        first++;
    while (xe > first && ye > first && x->dim[xe - 1] == y->dim[ye - 1])
        xe--, ye--;
    rlx_ir_type xm = rlx_ir_tensor(x->format, xe - first, x->dim + first);
    rlx_ir_type ym = rlx_ir_tensor(y->format, ye - first, y->dim + first);
    rlx_dim a = rlx_ir_type_elems(m->dims, &xm), b = rlx_ir_type_elems(m->dims, &ym);
    return a == b && a != RLX_DIM_INVALID;
}

rlx_status rlx_mir_reshape_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->format == y->format, "changes the format");
    RLX_IR_REQUIRE(m, n, "C2", same_elems(m, x, y), "changes the number of elements");
    return RLX_OK;
}

rlx_status rlx_mir_reshape_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    return rlx_mir_frame_alias(f, n->out[0], rlx_mir_tensor(n->in[0]));
}
