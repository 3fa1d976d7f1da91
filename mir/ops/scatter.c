/* mir/ops/scatter.c: rows to places by index
 *   in   x T[V,..];  ids i32 or i64 [T];  u T[T,..]
 *   out  x, changed: for t ascending y[ids[t]] = u[t], or with fn y[ids[t]] = fn(y[ids[t]], u[t]);
 *        ids outside of 0..V-1 are left out
 *   C1   x has an axis, ids one, u those of ids and then x's behind the first.
 *   C2   ids are i32 or i64; x and u have one format.
 *   C3   fn, if there, is add, mul, min or max, and the format has it. */
#include <string.h>

#include "mir/ops/ops.h"

rlx_status rlx_mir_scatter_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type, *ids = &n->in[1]->type, *u = &n->in[2]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->rank >= 1 && ids->rank == 1 && u->rank == x->rank,
                   "ranks %d, %d and %d", x->rank, ids->rank, u->rank);
    RLX_IR_REQUIRE(m, n, "C1", u->dim[0] == ids->dim[0], "%s rows for %s indices",
                   RLX_MIR_DIM(m, u->dim[0]), RLX_MIR_DIM(m, ids->dim[0]));
    for (int i = 1; i < x->rank; i++)
        RLX_IR_REQUIRE(m, n, "C1", u->dim[i] == x->dim[i], "axis %d is %s, not %s", i,
                       RLX_MIR_DIM(m, u->dim[i]), RLX_MIR_DIM(m, x->dim[i]));
    results[0] = *x;
    return RLX_OK;
}

rlx_status rlx_mir_scatter_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_format f = n->in[1]->type.format, x = n->in[0]->type.format;
    RLX_IR_REQUIRE(m, n, "C2", f == RLX_I32 || f == RLX_I64, "indices are %s, not i32 or i64",
                   rlx_format_get(f)->name);
    RLX_IR_REQUIRE(m, n, "C2", n->in[2]->type.format == x, "puts %s into %s",
                   rlx_format_get(n->in[2]->type.format)->name, rlx_format_get(x)->name);
    if (rlx_ir_attr(n, RLX_ATTR_FN)) {
        rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
        RLX_IR_REQUIRE(m, n, "C3", rlx_mir_is_fold(fn, x) && x != RLX_BOOL, "fn is none of %s",
                       rlx_format_get(x)->name);
    }
    return RLX_OK;
}

rlx_status rlx_mir_scatter_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]), *ids = rlx_mir_tensor(n->in[1]);
    const rlx_eval_tensor *u = rlx_mir_tensor(n->in[2]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    memcpy(y->data, x->data, rlx_format_bytes(x->format, rlx_mir_elems(x)));
    int64_t row = 1;
    for (int i = 1; i < x->rank; i++)
        row *= x->dim[i];
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    for (int64_t t = 0; t < ids->dim[0]; t++) {
        int64_t id = rlx_mir_load(ids->format, ids->data, t).i;
        for (int64_t i = 0; id >= 0 && id < x->dim[0] && i < row; i++) {
            rlx_scalar v = rlx_mir_load(u->format, u->data, t * row + i);
            if (fn != RLX_FN_COUNT) {
                rlx_scalar pair[2] = {rlx_mir_load(y->format, y->data, id * row + i), v};
                v = rlx_map_fn_eval((rlx_map_fn)fn, y->format, pair);
            }
            rlx_mir_store(y->format, y->data, id * row + i, v);
        }
    }
    return RLX_OK;
}
