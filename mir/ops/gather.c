/* mir/ops/gather.c: rows by index
 *   in   x T[V,H];  ids i32[T]                     out  y T[T,H], y[t] = x[ids[t]]
 *   C1   x has rank 2, ids rank 1.
 *   C2   ids are i32.
 *   Evaluating: 0 <= ids[t] < V. */
#include <string.h>

#include "mir/ops/ops.h"

rlx_status rlx_mir_gather_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type, *ids = &n->in[1]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->rank == 2 && ids->rank == 1, "ranks %d and %d", x->rank,
                   ids->rank);
    results[0] = rlx_ir_tensor(x->format, 2, (rlx_dim[]){ids->dim[0], x->dim[1]});
    return RLX_OK;
}

rlx_status rlx_mir_gather_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_format f = n->in[1]->type.format;
    RLX_IR_REQUIRE(m, n, "C2", f == RLX_I32, "indices are %s, not i32", rlx_format_get(f)->name);
    return RLX_OK;
}

rlx_status rlx_mir_gather_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]), *ids = rlx_mir_tensor(n->in[1]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    const int32_t *id = ids->data;
    size_t row = rlx_format_bytes(x->format, x->dim[1]);
    for (int64_t t = 0; t < ids->dim[0]; t++) {
        if (id[t] < 0 || id[t] >= x->dim[0])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "gather: index %d at %lld, of %lld rows", id[t],
                            (long long)t, (long long)x->dim[0]);
        memcpy((char *)y->data + (size_t)t * row, (const char *)x->data + (size_t)id[t] * row, row);
    }
    return RLX_OK;
}
