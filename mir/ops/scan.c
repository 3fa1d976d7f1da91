/* mir/ops/scan.c: running sums, products, minima and maxima along the last axis
 *   in   x T[..,K]
 *   out  y T[..,K]: y[0] = x[0], y[k] = fn(y[k-1], x[k])
 *   C1   fn is add, mul, min or max, and the format has it.
 *   C2   axis is the last one, and there is one. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_scan_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, -1);
    RLX_IR_REQUIRE(m, n, "C2", x->rank >= 1 && axis == x->rank - 1,
                   "scans axis %lld of rank %d, not the last", (long long)axis, x->rank);
    results[0] = *x;
    return RLX_OK;
}

rlx_status rlx_mir_scan_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    rlx_format f = n->in[0]->type.format;
    RLX_IR_REQUIRE(m, n, "C1", rlx_mir_is_fold(fn, f) && f != RLX_BOOL, "fn is none of %s",
                   rlx_format_get(f)->name);
    return RLX_OK;
}

rlx_status rlx_mir_scan_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    int64_t k = x->dim[x->rank - 1], count = rlx_mir_elems(x);
    rlx_scalar sum = {0};
    for (int64_t i = 0; i < count; i++) {
        rlx_scalar v = rlx_mir_load(x->format, x->data, i);
        sum = i % k == 0 ? v : rlx_map_fn_eval(fn, x->format, (rlx_scalar[]){sum, v});
        rlx_mir_store(y->format, y->data, i, sum);
    }
    return RLX_OK;
}
