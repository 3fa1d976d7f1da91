/* hir/ops/resize.c: places to other extents
 *   in   x f32[N,C,S..]                                out  f32[N,C,sizes..]
 *   Axis by axis. Element o lies at (o + 1/2) * S/size - 1/2 (half_pixel), at o * (S-1)/(size-1)
 *   (align_corners), or at o * S/size (asymmetric). mode nearest takes the element there, rounded
 *   down when asymmetric, else to the nearest, of two the higher; linear interpolates between two,
 *   cubic (a = -0.75) between four, the edge going on outside. antialias: a filter that shrinks is
 *   as much wider, cubic has a = -0.5, and taps outside have no weight.
 *   C1  x is f32[N,C,S..], C constant, one to three axes of places, which are constants > 0.
 *   C2  mode is "nearest", "linear" or "cubic"; align is "half_pixel", "align_corners" or
 *       "asymmetric".
 *   C3  sizes is a list of positive numbers, one per axis of places.
 *   C4  antialias is 0 or 1, and 0 for nearest and for align_corners.
 */
#include "hir/ops/places.h"

#include <math.h>
#include <string.h>

static const char *const modes[] = {
    [RLX_MIR_NEAREST] = "nearest", [RLX_MIR_LINEAR] = "linear", [RLX_MIR_CUBIC] = "cubic"};
static const char *const aligns[] = {"half_pixel", "align_corners", "asymmetric"};
enum { HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, NAMES = 3 };

static int find(const char *const *names, const char *name)
{
    int i = 0;
    while (i < NAMES && strcmp(names[i], name) != 0)
        i++;
    return i;
}

static int align_of(const rlx_ir_node *n)
{
    return find(aligns, rlx_ir_attr_text(n, RLX_ATTR_ALIGN, aligns[HALF_PIXEL]));
}

rlx_status rlx_hir_resize_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_hir_require_places(m, n, "C1"));
    const rlx_ir_type *x = &n->in[0]->type;
    const int mode = find(modes, rlx_ir_attr_text(n, RLX_ATTR_MODE, ""));
    RLX_IR_REQUIRE(m, n, "C2", mode < NAMES, "mode \"%s\"", rlx_ir_attr_text(n, RLX_ATTR_MODE, ""));
    RLX_IR_REQUIRE(m, n, "C2", align_of(n) < NAMES, "align \"%s\"",
                   rlx_ir_attr_text(n, RLX_ATTR_ALIGN, ""));
    const rlx_attr *sizes = rlx_ir_attr(n, RLX_ATTR_SIZES);
    RLX_IR_REQUIRE(m, n, "C3", sizes && sizes->n == x->rank - 2, "%d sizes for %d axes of places",
                   sizes ? sizes->n : 0, x->rank - 2);
    for (int i = 0; i < sizes->n; i++) {
        RLX_HIR_REQUIRE_TYPE(m, n, "C1", x->dim[2 + i] > 0, 0, "the places are constants > 0");
        RLX_IR_REQUIRE(m, n, "C3", sizes->ints[i] > 0 && sizes->ints[i] <= INT32_MAX,
                       "a size of %lld", (long long)sizes->ints[i]);
    }
    const int64_t antialias = rlx_ir_attr_int(n, RLX_ATTR_ANTIALIAS, 0);
    RLX_IR_REQUIRE(m, n, "C4",
                   antialias == 0 ||
                       (antialias == 1 && mode != RLX_MIR_NEAREST && align_of(n) != ALIGN_CORNERS),
                   "antialias=%lld with mode \"%s\", align \"%s\"", (long long)antialias,
                   modes[mode], aligns[align_of(n)]);
    return RLX_OK;
}

rlx_status rlx_hir_resize_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_resize_verify(m, n));
    results[0] = n->in[0]->type;
    for (int i = 2; i < results[0].rank; i++)
        results[0].dim[i] = rlx_ir_attr(n, RLX_ATTR_SIZES)->ints[i - 2];
    return RLX_OK;
}

/* What the node says of axis i, of `in` elements. */
static rlx_mir_resize axis_of(const rlx_ir_node *n, int i, int64_t in)
{
    const int align = align_of(n);
    const int64_t out = rlx_ir_attr(n, RLX_ATTR_SIZES)->ints[i];
    const bool antialias = rlx_ir_attr_int(n, RLX_ATTR_ANTIALIAS, 0);
    rlx_mir_resize r = {.out = out,
                        .times = (double)in,
                        .per = (double)out,
                        .filter =
                            (rlx_mir_filter)find(modes, rlx_ir_attr_text(n, RLX_ATTR_MODE, "")),
                        .rounding = align == ASYMMETRIC ? RLX_MIR_FLOOR : RLX_MIR_HALF_UP,
                        .cubic_a = antialias ? -0.5 : -0.75,
                        .shrink = antialias && out < in ? (double)out / (double)in : 1,
                        .only_inside = antialias};
    if (align == HALF_PIXEL) {
        r.shift = 0.5;
        r.offset = -0.5;
    } else if (align == ALIGN_CORNERS) {
        r.times = out > 1 ? (double)(in - 1) : 0;
        r.per = out > 1 ? (double)(out - 1) : 1;
    }
    return r;
}

/* ---- loops ------------------------------------------------------------------------------------
 */

static double weight_at(const rlx_mir_resize *r, double d)
{
    const double m = fabs(d) * r->shrink, a = r->cubic_a;
    if (r->filter == RLX_MIR_LINEAR)
        return m < 1 ? 1 - m : 0;
    if (m <= 1)
        return ((a + 2) * m - (a + 3)) * m * m + 1;
    return m < 2 ? ((a * m - 5 * a) * m + 8 * a) * m - 4 * a : 0;
}

static int64_t hold(double at, int64_t extent)
{
    return at < 0 ? 0 : at > (double)(extent - 1) ? extent - 1 : (int64_t)at;
}

/* Element o of an axis whose elements lie `step` apart. */
static double sample(const rlx_mir_resize *r, const double *x, int64_t extent, int64_t step,
                     int64_t o)
{
    const double at = ((double)o + r->shift) * r->times / r->per + r->offset;
    if (r->filter == RLX_MIR_NEAREST) {
        const double near = r->rounding == RLX_MIR_FLOOR ? floor(at) : floor(at + 0.5);
        return x[hold(near, extent) * step];
    }
    const double wide = (r->filter == RLX_MIR_CUBIC ? 2 : 1) / r->shrink;
    double sum = 0, weights = 0;
    for (double tap = floor(at - wide); tap <= ceil(at + wide); tap++) {
        const bool inside = tap >= 0 && tap < (double)extent;
        const double w = inside || !r->only_inside ? weight_at(r, tap - at) : 0;
        sum += w * x[hold(tap, extent) * step];
        weights += w;
    }
    return sum / weights;
}

/* One axis: `outer` times [extent, step] to [out, step]. */
static void resize_axis(const rlx_mir_resize *r, const double *x, int64_t outer, int64_t extent,
                        int64_t step, double *y)
{
    for (int64_t i = 0; i < outer * r->out * step; i++) {
        const double *line = x + i / step / r->out * extent * step + i % step;
        y[i] = sample(r, line, extent, step, i / step % r->out);
    }
}

rlx_status rlx_hir_resize_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    rlx_eval_tensor now = *in[0];
    const int64_t elems = rlx_hir_eval_elems(&now);
    double *x = rlx_arena_alloc(cx->arena, sizeof *x * (size_t)(elems + 1));
    for (int64_t i = 0; x && i < elems; i++)
        x[i] = ((const float *)now.data)[i];
    for (int axis = 2; axis < now.rank && x; axis++) {
        const rlx_mir_resize r = axis_of(n, axis - 2, now.dim[axis]);
        const int64_t extent = now.dim[axis];
        int64_t outer = 1, step = 1;
        for (int i = 0; i < axis; i++)
            outer *= now.dim[i];
        for (int i = axis + 1; i < now.rank; i++)
            step *= now.dim[i];
        double *y = rlx_arena_alloc(cx->arena, sizeof *y * (size_t)(outer * r.out * step + 1));
        if (y)
            resize_axis(&r, x, outer, extent, step, y);
        now.dim[axis] = r.out;
        x = y;
    }
    if (!x)
        return RLX_OOM();
    for (int64_t i = 0; i < rlx_hir_eval_elems(&out[0]); i++)
        ((float *)out[0].data)[i] = (float)x[i];
    return RLX_OK;
}

void rlx_hir_resize_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out)
{
    out[0] = in[0];
    for (int axis = 2; axis < n->in[0]->type.rank; axis++) {
        const rlx_mir_resize r = axis_of(n, axis - 2, n->in[0]->type.dim[axis]);
        if (r.out != n->in[0]->type.dim[axis])
            out[0] = rlx_mir_resize_axis(b, out[0], axis, &r);
    }
}
