/* mir/ops/transpose.c: axes in another order (a view)
 *   in   x                                         out  y; axis i of y is axis perm[i] of x
 *   C1   perm is a permutation of the axes. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_transpose_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    const rlx_attr *perm = rlx_ir_attr(n, RLX_ATTR_PERM);
    int count = perm ? perm->n : 0;
    unsigned seen = 0;
    for (int i = 0; i < count && i < RLX_MAX_RANK; i++)
        if (perm->ints[i] >= 0 && perm->ints[i] < x->rank)
            seen |= 1u << perm->ints[i];
    RLX_IR_REQUIRE(m, n, "C1", count == x->rank && seen == (1u << x->rank) - 1,
                   "perm is no permutation of %d axes", x->rank);
    results[0] = *x;
    for (int i = 0; i < count; i++)
        results[0].dim[i] = x->dim[perm->ints[i]];
    return RLX_OK;
}

rlx_status rlx_mir_transpose_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n; /* C1 is checked where the type is inferred */
    return RLX_OK;
}

rlx_status rlx_mir_transpose_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    const rlx_attr *perm = rlx_ir_attr(n, RLX_ATTR_PERM);
    int64_t stride[RLX_MAX_RANK];
    rlx_mir_strides(x, stride);
    rlx_mir_copy c = {.rank = y->rank, .bytes = rlx_format_bytes(y->format, 1)};
    rlx_mir_strides(y, c.to_stride);
    for (int i = 0; i < y->rank; i++) {
        c.extent[i] = y->dim[i];
        c.from_stride[i] = stride[perm->ints[i]];
    }
    rlx_mir_copy_run(&c, y->data, x->data);
    return RLX_OK;
}
