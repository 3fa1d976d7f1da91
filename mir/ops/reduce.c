/* mir/ops/reduce.c: sum, product, minimum or maximum along the last axis
 *   in   x T[..,K]                                 out  y T[..]
 *   Element k goes to partial k mod lanes, ascending k in each; partials are combined by halves:
 *   l with l + lanes/2, then l + lanes/4 ... Partials start at what fn leaves alone.
 *   C1   fn is add, mul, min or max of numbers, and or or of bools.
 *   C2   axis is the last one, and there is one.
 *   C3   lanes is a power of two, at most 64. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_reduce_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, -1);
    RLX_IR_REQUIRE(m, n, "C2", x->rank >= 1 && axis == x->rank - 1,
                   "reduces axis %lld of rank %d, not the last", (long long)axis, x->rank);
    results[0] = rlx_ir_tensor(x->format, x->rank - 1, x->dim);
    return RLX_OK;
}

rlx_status rlx_mir_reduce_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    rlx_format f = n->in[0]->type.format;
    RLX_IR_REQUIRE(m, n, "C1", rlx_mir_is_fold((rlx_map_fn)fn, f), "fn is no reduction of %s",
                   rlx_format_get(f)->name);
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0);
    RLX_IR_REQUIRE(m, n, "C3", rlx_mir_is_power_of_two(lanes) && lanes <= RLX_MIR_MAX_LANES,
                   "lanes=%lld is not a power of two up to %d", (long long)lanes,
                   RLX_MIR_MAX_LANES);
    return RLX_OK;
}

RLX_MIR_WIDE static void add_f32(float *y, const float *x, int64_t rows, int64_t k, int64_t lanes)
{
    for (int64_t r = 0; r < rows; r++, x += k) {
        float p[RLX_MIR_MAX_LANES] = {0};
        int64_t whole = k - k % lanes;
        for (int64_t i = 0; i < whole; i += lanes)
            for (int64_t l = 0; l < lanes; l++)
                p[l] += x[i + l];
        for (int64_t i = whole; i < k; i++)
            p[i - whole] += x[i];
        y[r] = rlx_mir_halves_add(p, lanes);
    }
}

static rlx_scalar reduce_row(rlx_map_fn fn, const rlx_eval_tensor *x, int64_t first, int64_t k,
                             int64_t lanes)
{
    rlx_scalar p[RLX_MIR_MAX_LANES];
    for (int64_t l = 0; l < lanes; l++)
        p[l] = rlx_mir_fold_start(fn, x->format);
    for (int64_t i = 0; i < k; i++) {
        rlx_scalar pair[2] = {p[i % lanes], rlx_mir_load(x->format, x->data, first + i)};
        p[i % lanes] = rlx_map_fn_eval(fn, x->format, pair);
    }
    for (int64_t h = lanes / 2; h > 0; h /= 2)
        for (int64_t l = 0; l < h; l++)
            p[l] = rlx_map_fn_eval(fn, x->format, (rlx_scalar[]){p[l], p[l + h]});
    return p[0];
}

rlx_status rlx_mir_reduce_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0);
    int64_t rows = rlx_mir_elems(y), k = x->dim[x->rank - 1];
    if (x->format == RLX_F32 && fn == RLX_FN_ADD) {
        add_f32(y->data, x->data, rows, k, lanes);
        return RLX_OK;
    }
    for (int64_t r = 0; r < rows; r++)
        rlx_mir_store(y->format, y->data, r, reduce_row(fn, x, r * k, k, lanes));
    return RLX_OK;
}
