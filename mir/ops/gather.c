/* mir/ops/gather.c: rows by index
 *   in   x T[V,..];  ids i32 or i64 [T..]           out  y T[T..,..], y[t] = x[ids[t]]
 *   C1   x has an axis, and the result's rank is at most 8.
 *   C2   ids are i32 or i64.
 *   Evaluating: 0 <= ids[t] < V. Code holds an index inside, so that nothing else than
 *   x is read. Of no rows (V is 0) both give zeros. */
#include <string.h>

#include "mir/ops/ops.h"

rlx_status rlx_mir_gather_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type, *ids = &n->in[1]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->rank >= 1 && ids->rank + x->rank - 1 <= RLX_MAX_RANK,
                   "ranks %d and %d", x->rank, ids->rank);
    rlx_ir_type y = rlx_ir_tensor(x->format, ids->rank, ids->dim);
    for (int i = 1; i < x->rank; i++)
        y.dim[y.rank++] = x->dim[i];
    results[0] = y;
    return RLX_OK;
}

rlx_status rlx_mir_gather_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_format f = n->in[1]->type.format;
    RLX_IR_REQUIRE(m, n, "C2", f == RLX_I32 || f == RLX_I64, "indices are %s, not i32 or i64",
                   rlx_format_get(f)->name);
    return RLX_OK;
}

rlx_status rlx_mir_gather_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]), *ids = rlx_mir_tensor(n->in[1]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    int64_t elems = 1;
    for (int i = 1; i < x->rank; i++)
        elems *= x->dim[i];
    size_t row = rlx_format_bytes(x->format, elems);
    if (x->dim[0] == 0)
        memset(y->data, 0, row * (size_t)rlx_mir_elems(ids));
    for (int64_t t = 0; t < rlx_mir_elems(ids) && x->dim[0] > 0; t++) {
        int64_t id = rlx_mir_load(ids->format, ids->data, t).i;
        if (id < 0 || id >= x->dim[0])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "gather: index %lld at %lld, of %lld rows",
                            (long long)id, (long long)t, (long long)x->dim[0]);
        memcpy((char *)y->data + (size_t)t * row, (const char *)x->data + (size_t)id * row, row);
    }
    return RLX_OK;
}
