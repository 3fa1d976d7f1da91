/* mir/ops/broadcast.c: repetition along new axes (a view)
 *   in   x                       out  the written shape; input axis i is its axis axes[i]
 *   C1   one entry of axes per input axis, ascending, within the result's rank.
 *   C2   extents agree along those axes.
 *   C3   formats agree. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_broadcast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    int count = axes ? axes->n : 0;
    RLX_IR_REQUIRE(m, n, "C1", count == x->rank, "%d axes for an input of rank %d", count, x->rank);
    for (int i = 0; i < count; i++) {
        int64_t axis = axes->ints[i];
        RLX_IR_REQUIRE(m, n, "C1",
                       axis < y->rank && axis >= 0 && (i == 0 || axis > axes->ints[i - 1]),
                       "axes do not ascend within rank %d", y->rank);
        RLX_IR_REQUIRE(m, n, "C2", x->dim[i] == y->dim[axis], "input axis %d of %s becomes %s", i,
                       RLX_MIR_DIM(m, x->dim[i]), RLX_MIR_DIM(m, y->dim[axis]));
    }
    RLX_IR_REQUIRE(m, n, "C3", x->format == y->format, "changes the format");
    return RLX_OK;
}

rlx_status rlx_mir_broadcast_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    int64_t stride[RLX_MAX_RANK];
    rlx_mir_strides(x, stride);
    rlx_mir_copy c = {.rank = y->rank, .bytes = rlx_format_bytes(y->format, 1)};
    rlx_mir_strides(y, c.to_stride);
    for (int i = 0; i < y->rank; i++)
        c.extent[i] = y->dim[i];
    for (int i = 0; i < x->rank; i++)
        c.from_stride[axes->ints[i]] = stride[i];
    rlx_mir_copy_run(&c, y->data, x->data);
    return RLX_OK;
}
