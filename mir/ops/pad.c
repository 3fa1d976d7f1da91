/* mir/ops/pad.c: one axis made longer at its ends
 *   in   x T[..L..];  fill T, rank 0               out  T[..low+L+high..]
 *   C1   axis is one of x's.
 *   C2   low and high are 0 to 2^31 - 1.
 *   C3   fill is a scalar of x's format. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_pad_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, -1);
    int64_t low = rlx_ir_attr_int(n, RLX_ATTR_LOW, 0), high = rlx_ir_attr_int(n, RLX_ATTR_HIGH, 0);
    RLX_IR_REQUIRE(m, n, "C1", axis >= 0 && axis < x->rank, "axis %lld of rank %d", (long long)axis,
                   x->rank);
    RLX_IR_REQUIRE(m, n, "C2", low >= 0 && high >= 0 && low <= INT32_MAX && high <= INT32_MAX,
                   "low %lld, high %lld", (long long)low, (long long)high);
    results[0] = *x;
    results[0].dim[axis] = rlx_dim_make(m->dims, RLX_DIM_ADD, x->dim[axis], low + high);
    return RLX_OK;
}

rlx_status rlx_mir_pad_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *fill = &n->in[1]->type;
    RLX_IR_REQUIRE(m, n, "C3", fill->rank == 0 && fill->format == x->format,
                   "fills %s with %s of rank %d", rlx_format_get(x->format)->name,
                   rlx_format_get(fill->format)->name, fill->rank);
    return RLX_OK;
}

rlx_status rlx_mir_pad_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    rlx_scalar fill = rlx_mir_load(x->format, rlx_mir_tensor(n->in[1])->data, 0);
    for (int64_t i = 0; i < rlx_mir_elems(y); i++)
        rlx_mir_store(y->format, y->data, i, fill);
    rlx_mir_copy c = {.rank = x->rank, .bytes = rlx_format_bytes(x->format, 1)};
    rlx_mir_strides(y, c.to_stride);
    rlx_mir_strides(x, c.from_stride);
    for (int i = 0; i < x->rank; i++)
        c.extent[i] = x->dim[i];
    int64_t first = rlx_ir_attr_int(n, RLX_ATTR_LOW, 0) * c.to_stride[axis];
    rlx_mir_copy_run(&c, (char *)y->data + (size_t)first * c.bytes, x->data);
    return RLX_OK;
}
