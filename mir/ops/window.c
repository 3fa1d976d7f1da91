/* mir/ops/window.c: overlapping pieces of one axis (a view)
 *   in   x T[..L..]
 *   out  T[..O,size..], [o,k] is x[o*step + k*dilation]
 *   O = (L - (size-1)*dilation - 1) / step + 1: the pieces that lie inside
 *   C1   axis is one of x's, and there is room for one more.
 *   C2   size, step and dilation (absent: 1) are 1 to 2^31 - 1.
 *   C3   L holds one piece at least: a symbolic one has been padded by so much. */
#include "mir/mir_image.h"
#include "mir/ops/ops.h"

static int64_t attr_of(const rlx_ir_node *n, rlx_attr_key key)
{
    return rlx_ir_attr_int(n, key, 1);
}

static bool is_reckoned(int64_t n)
{
    return n > 0 && n <= INT32_MAX;
}

/* Dims have no subtraction: what a piece reaches over comes off the constant that a pad has added.
 */
rlx_dim rlx_mir_window_pieces(rlx_dims *dims, rlx_dim L, int64_t reach, int64_t step)
{
    if (rlx_dim_is_const(L))
        return (L - reach) / step + 1;
    rlx_dim_node sum = rlx_dim_get(dims, L);
    int64_t more = step - reach;
    rlx_dim base = L;
    if (sum.op == RLX_DIM_ADD && rlx_dim_is_const(sum.b)) {
        base = sum.a;
        more += sum.b;
    }
    if (more < 0)
        return RLX_DIM_INVALID;
    return rlx_dim_make(dims, RLX_DIM_FLOORDIV, rlx_dim_make(dims, RLX_DIM_ADD, base, more), step);
}

rlx_status rlx_mir_window_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, -1),
            size = rlx_ir_attr_int(n, RLX_ATTR_SIZE, 0);
    int64_t step = attr_of(n, RLX_ATTR_STEP), dilation = attr_of(n, RLX_ATTR_DILATION);
    RLX_IR_REQUIRE(m, n, "C1", axis >= 0 && axis < x->rank && x->rank < RLX_MAX_RANK,
                   "axis %lld of rank %d", (long long)axis, x->rank);
    RLX_IR_REQUIRE(m, n, "C2", is_reckoned(size) && is_reckoned(step) && is_reckoned(dilation),
                   "size %lld, step %lld, dilation %lld", (long long)size, (long long)step,
                   (long long)dilation);
    const rlx_dim L = x->dim[axis];
    const int64_t reach = (size - 1) * dilation + 1;
    RLX_IR_REQUIRE(m, n, "C3", !rlx_dim_is_const(L) || L >= reach,
                   "a piece reaches over %lld of %lld elements", (long long)reach, (long long)L);
    rlx_ir_type y = *x;
    y.dim[axis] = rlx_mir_window_pieces(m->dims, L, reach, step);
    RLX_IR_REQUIRE(m, n, "C3", y.dim[axis] != RLX_DIM_INVALID,
                   "a piece reaches over %lld of %s elements", (long long)reach, RLX_MIR_DIM(m, L));
    for (int i = y.rank++; i > axis + 1; i--)
        y.dim[i] = y.dim[i - 1];
    y.dim[axis + 1] = size;
    results[0] = y;
    return RLX_OK;
}

rlx_status rlx_mir_window_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n; /* C1 to C3 are checked where the type is inferred */
    return RLX_OK;
}

rlx_status rlx_mir_window_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    int axis = (int)rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    int64_t stride[RLX_MAX_RANK];
    rlx_mir_copy c = {.rank = y->rank, .bytes = rlx_format_bytes(y->format, 1)};
    rlx_mir_strides(x, stride);
    rlx_mir_strides(y, c.to_stride);
    for (int i = 0; i < y->rank; i++) {
        c.extent[i] = y->dim[i];
        c.from_stride[i] = stride[i > axis ? i - 1 : i];
    }
    c.from_stride[axis] *= attr_of(n, RLX_ATTR_STEP);
    c.from_stride[axis + 1] = stride[axis] * attr_of(n, RLX_ATTR_DILATION);
    rlx_mir_copy_run(&c, y->data, x->data);
    return RLX_OK;
}
