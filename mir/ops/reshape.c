/* mir/ops/reshape.c: the same elements, in row-major order, as another shape (a view)
 *   in   x                                         out  the written shape
 *   C1   formats agree.
 *   C2   as many elements: after equal leading and trailing extents, the rest has one product. */
#include "mir/ops/ops.h"

static rlx_status wrong_size(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_text text = {0};
    rlx_ir_type_print(m->dims, &n->in[0]->type, &text);
    rlx_text_put(&text, " to ");
    rlx_ir_type_print(m->dims, &n->out[0]->type, &text);
    rlx_status st =
        rlx_ir_violation(m, n, "C2", __FILE__, __LINE__, "changes the number of elements: %s",
                         text.data ? text.data : "?");
    rlx_text_deinit(&text);
    return st;
}

rlx_status rlx_mir_reshape_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->format == y->format, "changes the format");
    return rlx_ir_same_elems(m->dims, x, y) ? RLX_OK : wrong_size(m, n);
}

rlx_status rlx_mir_reshape_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    return rlx_mir_frame_alias(f, n->out[0], rlx_mir_tensor(n->in[0]));
}
