/* mir/ops/reduce.c: sum or maximum along the last axis
 *   in   x T[..,K]                                 out  y T[..]
 *   Element k goes to partial k mod lanes, ascending k in each; partials are combined by halves:
 *   l with l + lanes/2, then l + lanes/4 ... Partials start at 0, or at the format's least value.
 *   C1   fn is add or max.
 *   C2   axis is the last one, and there is one.
 *   C3   lanes is a power of two, at most 64.
 *   C4   numbers, not bools. */
#include <math.h>

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
    RLX_IR_REQUIRE(m, n, "C1", fn == RLX_FN_ADD || fn == RLX_FN_MAX, "fn is neither add nor max");
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0);
    RLX_IR_REQUIRE(m, n, "C3", rlx_mir_is_power_of_two(lanes) && lanes <= RLX_MIR_MAX_LANES,
                   "lanes=%lld is not a power of two up to %d", (long long)lanes,
                   RLX_MIR_MAX_LANES);
    rlx_format f = n->in[0]->type.format;
    RLX_IR_REQUIRE(m, n, "C4", rlx_format_is_float(f) || rlx_format_is_int(f), "of %s",
                   rlx_format_get(f)->name);
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

/* What a maximum starts from: less than or equal to everything the format holds. */
static rlx_scalar least(rlx_format f)
{
    if (rlx_format_is_float(f))
        return (rlx_scalar){.f = -INFINITY};
    if (rlx_format_get(f)->kind == RLX_KIND_UINT)
        return (rlx_scalar){.i = 0};
    int bits = 8 * (int)rlx_format_bytes(f, 1);
    return (rlx_scalar){.i = INT64_MIN >> (64 - bits)};
}

static rlx_scalar reduce_row(rlx_map_fn fn, const rlx_eval_tensor *x, int64_t first, int64_t k,
                             int64_t lanes)
{
    rlx_scalar p[RLX_MIR_MAX_LANES];
    for (int64_t l = 0; l < lanes; l++) {
        if (fn == RLX_FN_MAX)
            p[l] = least(x->format);
        else if (rlx_format_is_float(x->format))
            p[l].f = 0;
        else
            p[l].i = 0;
    }
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
