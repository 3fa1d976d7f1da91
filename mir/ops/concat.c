/* mir/ops/concat.c: tensors one after another along an axis
 *   in   one or more                               out  their union; the extents along axis add up
 *   C1   axis is one of theirs.
 *   C2   formats, ranks and all other extents agree. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_concat_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    rlx_ir_type y = n->in[0]->type;
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, -1);
    RLX_IR_REQUIRE(m, n, "C1", axis >= 0 && axis < y.rank, "axis %lld of rank %d", (long long)axis,
                   y.rank);
    for (int i = 1; i < n->nin; i++) {
        rlx_ir_type x = n->in[i]->type;
        rlx_dim extent = x.rank == y.rank ? x.dim[axis] : 0;
        x.dim[axis] = y.dim[axis];
        RLX_IR_REQUIRE(m, n, "C2", rlx_ir_type_equal(&x, &y), "operand %d does not fit", i);
        y.dim[axis] = rlx_dim_make(m->dims, RLX_DIM_ADD, y.dim[axis], extent);
    }
    results[0] = y;
    return RLX_OK;
}

rlx_status rlx_mir_concat_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n; /* C1 and C2 are checked where the type is inferred */
    return RLX_OK;
}

rlx_status rlx_mir_concat_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    rlx_mir_copy c = {.rank = y->rank, .bytes = rlx_format_bytes(y->format, 1)};
    rlx_mir_strides(y, c.to_stride);
    int64_t first = 0;
    for (int i = 0; i < n->nin; i++) {
        const rlx_eval_tensor *x = rlx_mir_tensor(n->in[i]);
        rlx_mir_strides(x, c.from_stride);
        for (int d = 0; d < x->rank; d++)
            c.extent[d] = x->dim[d];
        rlx_mir_copy_run(&c, (char *)y->data + (size_t)(first * c.to_stride[axis]) * c.bytes,
                         x->data);
        first += x->dim[axis];
    }
    return RLX_OK;
}
