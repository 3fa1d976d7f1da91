/* mir/ops/slice.c: indices of one axis at equal distances (a view)
 *   in   x                                         out  size elements from start along axis, step
 *                                                       (absent: 1) apart, backwards when it is < 0
 *   C1   axis is one of x's, and its extent is a constant.
 *   C2   0 <= size, step is not 0, and all indices lie inside of the extent. */
#include "mir/ops/ops.h"

static bool is_inside(int64_t extent, int64_t start, int64_t size, int64_t step)
{
    int64_t last;
    if (step == 0 || start < 0 || start > extent)
        return false;
    if (size == 0)
        return true;
    return start < extent && !__builtin_mul_overflow(size - 1, step, &last) &&
           !__builtin_add_overflow(last, start, &last) && last >= 0 && last < extent;
}

rlx_status rlx_mir_slice_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, -1);
    RLX_IR_REQUIRE(m, n, "C1", axis >= 0 && axis < x->rank && rlx_dim_is_const(x->dim[axis]),
                   "axis %lld is none of constant extent", (long long)axis);
    int64_t start = rlx_ir_attr_int(n, RLX_ATTR_START, -1);
    int64_t size = rlx_ir_attr_int(n, RLX_ATTR_SIZE, -1);
    int64_t step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    RLX_IR_REQUIRE(m, n, "C2", size >= 0 && is_inside(x->dim[axis], start, size, step),
                   "%lld from %lld by %lld of %lld", (long long)size, (long long)start,
                   (long long)step, (long long)x->dim[axis]);
    results[0] = *x;
    results[0].dim[axis] = size;
    return RLX_OK;
}

rlx_status rlx_mir_slice_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n; /* C1 and C2 are checked where the type is inferred */
    return RLX_OK;
}

rlx_status rlx_mir_slice_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    rlx_mir_copy c = {.rank = y->rank, .bytes = rlx_format_bytes(y->format, 1)};
    rlx_mir_strides(y, c.to_stride);
    rlx_mir_strides(x, c.from_stride);
    for (int i = 0; i < y->rank; i++)
        c.extent[i] = y->dim[i];
    int64_t first = rlx_ir_attr_int(n, RLX_ATTR_START, 0) * c.from_stride[axis];
    c.from_stride[axis] *= rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    rlx_mir_copy_run(&c, y->data, (const char *)x->data + (size_t)first * c.bytes);
    return RLX_OK;
}
