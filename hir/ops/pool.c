/* hir/ops/pool.c: the largest element or the mean of windows
 *   in   x f32[N,C,S..]                                out  f32[N,C,O..]
 *   pool: windows of `sizes`; padding is never the largest, and counts in a mean only with
 *   count_pad. adaptive_pool: `sizes` parts of each axis, part o from floor(o*S/size) to
 *   ceil((o+1)*S/size).
 *   C1  x is f32[N,C,S..], C constant, one to three axes of places; adaptive_pool: S.. constant.
 *   C2  kind is "max" or "mean".
 *   C3  sizes is a list of positive numbers, one per axis of places.
 *   C4  strides, dilations and pads are as in conv; pads are less than a window reaches over.
 *   C5  a window fits.
 */
#include "hir/ops/places.h"

#include <math.h>
#include <string.h>

static bool is_max(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "max") == 0;
}

static const int64_t *sizes_of(const rlx_ir_node *n)
{
    return rlx_ir_attr(n, RLX_ATTR_SIZES)->ints;
}

static rlx_status verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_hir_require_places(m, n, "C1"));
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    RLX_IR_REQUIRE(m, n, "C2", is_max(n) || strcmp(kind, "mean") == 0, "kind \"%s\"", kind);
    const rlx_attr *sizes = rlx_ir_attr(n, RLX_ATTR_SIZES);
    const int places = n->in[0]->type.rank - 2;
    RLX_IR_REQUIRE(m, n, "C3", sizes && sizes->n == places, "%d sizes for %d axes of places",
                   sizes ? sizes->n : 0, places);
    for (int i = 0; i < places; i++)
        RLX_IR_REQUIRE(m, n, "C3", sizes->ints[i] > 0 && sizes->ints[i] <= INT32_MAX,
                       "a size of %lld", (long long)sizes->ints[i]);
    return RLX_OK;
}

rlx_status rlx_hir_pool_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_ir_type y;
    return rlx_hir_pool_infer(m, n, &y);
}

rlx_status rlx_hir_pool_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    rlx_mir_windows w;
    RLX_TRY(verify(m, n));
    RLX_TRY(rlx_hir_read_windows(m, n, "C4", &w));
    for (int i = 0; i < w.n; i++) {
        w.size[i] = sizes_of(n)[i];
        const int64_t reach = (w.size[i] - 1) * w.dilation[i] + 1;
        RLX_IR_REQUIRE(m, n, "C4", w.low[i] < reach && w.high[i] < reach,
                       "pads of %lld and %lld around windows of %lld", (long long)w.low[i],
                       (long long)w.high[i], (long long)reach);
    }
    return rlx_hir_count_windows(m, n, "C5", &w, &results[0]);
}

/* The largest or the mean of the places of a window that are in x. */
static float pool_window(const rlx_ir_node *n, const rlx_mir_windows *w, const float *x,
                         rlx_hir_cube extent, rlx_hir_cube o)
{
    const rlx_hir_cube taps = rlx_hir_cube_of(w->n, w->size, 1);
    double most = -INFINITY, sum = 0, count = 0;
    for (int64_t k = 0; k < rlx_hir_cube_elems(taps); k++) {
        const rlx_hir_cube tap = rlx_hir_cube_at(taps, k);
        rlx_hir_cube place = {{0, 0, 0}};
        for (int i = 0; i < w->n; i++)
            place.d[i] = o.d[i] * w->step[i] - w->low[i] + tap.d[i] * w->dilation[i];
        const int64_t at = rlx_hir_cube_index(extent, place);
        count += at >= 0 || rlx_ir_attr_int(n, RLX_ATTR_COUNT_PAD, 0);
        if (at < 0)
            continue;
        sum += x[at];
        most = x[at] > most ? x[at] : most;
    }
    return (float)(is_max(n) ? most : sum / count);
}

rlx_status rlx_hir_pool_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const rlx_mir_windows w = rlx_hir_get_windows(n, sizes_of(n));
    const rlx_hir_cube from = rlx_hir_cube_of(w.n, in[0]->dim + 2, 1);
    const rlx_hir_cube to = rlx_hir_cube_of(w.n, out[0].dim + 2, 1);
    const int64_t places = rlx_hir_cube_elems(to);
    for (int64_t i = 0; i < rlx_hir_eval_elems(&out[0]); i++) {
        const float *x = (const float *)in[0]->data + i / places * rlx_hir_cube_elems(from);
        ((float *)out[0].data)[i] = pool_window(n, &w, x, from, rlx_hir_cube_at(to, i % places));
    }
    return RLX_OK;
}

void rlx_hir_pool_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const rlx_mir_windows w = rlx_hir_get_windows(n, sizes_of(n));
    out[0] = is_max(n) ? rlx_mir_max_pool(b, in[0], &w)
                       : rlx_mir_mean_pool(b, in[0], &w, rlx_ir_attr_int(n, RLX_ATTR_COUNT_PAD, 0));
}

/* ---- parts of the whole -----------------------------------------------------------------------
 */

rlx_status rlx_hir_adaptive_pool_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_ir_type y;
    return rlx_hir_adaptive_pool_infer(m, n, &y);
}

rlx_status rlx_hir_adaptive_pool_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(verify(m, n));
    results[0] = n->in[0]->type;
    for (int i = 2; i < results[0].rank; i++) {
        RLX_HIR_REQUIRE_TYPE(m, n, "C1", results[0].dim[i] > 0, 0, "the places are constants > 0");
        results[0].dim[i] = sizes_of(n)[i - 2];
    }
    return RLX_OK;
}

rlx_status rlx_hir_adaptive_pool_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                      rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int axes = out[0].rank - 2;
    const rlx_hir_cube from = rlx_hir_cube_of(axes, in[0]->dim + 2, 1);
    const rlx_hir_cube to = rlx_hir_cube_of(axes, out[0].dim + 2, 1);
    const int64_t places = rlx_hir_cube_elems(to);
    for (int64_t i = 0; i < rlx_hir_eval_elems(&out[0]); i++) {
        const float *x = (const float *)in[0]->data + i / places * rlx_hir_cube_elems(from);
        const rlx_hir_cube o = rlx_hir_cube_at(to, i % places);
        rlx_mir_windows w = {.n = RLX_MIR_MAX_PLACES};
        for (int a = 0; a < RLX_MIR_MAX_PLACES; a++) {
            w.step[a] = w.dilation[a] = 1;
            const int64_t first = o.d[a] * from.d[a] / to.d[a];
            w.size[a] = ((o.d[a] + 1) * from.d[a] + to.d[a] - 1) / to.d[a] - first;
            w.low[a] = o.d[a] - first; /* so that window o begins at `first` */
        }
        ((float *)out[0].data)[i] = pool_window(n, &w, x, from, o);
    }
    return RLX_OK;
}

/* Axis by axis: parts of one axis have one size, whatever the other axes do. */
void rlx_hir_adaptive_pool_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                                 rlx_ir_value **out)
{
    out[0] = in[0];
    for (int axis = 2; axis < n->in[0]->type.rank; axis++)
        out[0] = rlx_mir_adaptive_pool(b, out[0], axis, sizes_of(n)[axis - 2], is_max(n));
}
