/* tests/suites/onnx/image.c: resizing and sampling. */
#include <math.h>
#include <string.h>

#include "runtime/base/format.h"
#include "tests/suites/onnx/onnx.h"

/* ---- interpolation ---------------------------------------------------------------------------- */

/* Weights of linear and cubic interpolation at the distance d. */
static val hat(onnx *x, val d)
{
    return MAX(SUB(LIKE(d, 1), ABS(d)), LIKE(d, 0));
}

/* ((p m + q) m + r) m + s */
static val polynomial(onnx *x, val m, double p, double q, double r, double s)
{
    val y = ADD(MUL(m, LIKE(m, p)), LIKE(m, q));
    return ADD(MUL(ADD(MUL(y, m), LIKE(m, r)), m), LIKE(m, s));
}

static val cubic(onnx *x, val d, double a)
{
    val m = ABS(d), far = polynomial(x, m, a, -5 * a, 8 * a, -4 * a);
    far = PICK(LT(m, LIKE(m, 2)), far, LIKE(m, 0));
    return PICK(LE(m, LIKE(m, 1)), polynomial(x, m, a + 2, -(a + 3), 0, 1), far);
}

/* Whether places lie on an axis of n elements; the nearest that do, as indices. */
static val is_inside(onnx *x, val at, int64_t n)
{
    return AND(LE(LIKE(at, 0), at), LE(at, LIKE(at, (double)(n - 1))));
}

static val held(onnx *x, val at, int64_t n)
{
    return rlx_build_cast(x->b, rlx_build_clamp(x->b, at, 0, (double)(n - 1)), RLX_I64);
}

/* ---- resize ----------------------------------------------------------------------------------- */

/* Element o of an axis lies at (o + shift) * times / per + offset. */
typedef struct axis_spec {
    int64_t in, out;
    double scale, roi_start, roi_end;
    double shift, times, per, offset;
} axis_spec;

static bool is_text(onnx *x, const char *name, const char *absent, const char *value)
{
    return strcmp(ox_text(x, name, absent), value) == 0;
}

static bool is_mode(onnx *x, const char *mode)
{
    return is_text(x, "coordinate_transformation_mode", "half_pixel", mode);
}

static void read_origin(onnx *x, axis_spec *s)
{
    const double width = s->scale * (double)s->in, last = (double)(s->in - 1);
    const bool one = s->out == 1;
    s->shift = s->offset = 0;
    s->times = 1;
    s->per = s->scale;
    if (is_mode(x, "align_corners")) {
        s->times = one ? 0 : last;
        s->per = one ? 1 : width - 1;
    } else if (is_mode(x, "tf_crop_and_resize")) {
        const double span = (s->roi_end - s->roi_start) * last;
        s->times = one ? 1 : span;
        s->per = one ? 1 : width - 1;
        s->offset = s->roi_start * last + (one ? span / 2 : 0);
    } else if (is_mode(x, "pytorch_half_pixel") && one) {
        s->per = 1;
        s->offset = -0.5;
    } else if (!is_mode(x, "asymmetric")) {
        s->shift = 0.5;
        s->offset = -0.5;
        if (is_mode(x, "half_pixel_symmetric"))
            s->offset += (double)s->in / 2 * (1 - (double)s->out / width);
        else if (!is_mode(x, "half_pixel") && !is_mode(x, "pytorch_half_pixel"))
            ox_refuse(x, "coordinates by \"%s\"",
                      ox_text(x, "coordinate_transformation_mode", "half_pixel"));
    }
}

/* f64 [out] */
static val positions(onnx *x, const axis_spec *s)
{
    val o = rlx_build_iota(x->b, RLX_F64, s->out);
    o = MUL(ADD(o, LIKE(o, s->shift)), LIKE(o, s->times));
    return ADD(DIV(o, LIKE(o, s->per)), LIKE(o, s->offset));
}

static val ceiling(onnx *x, val v)
{
    return NEG(FLOOR(NEG(v)));
}

static val nearest(onnx *x, val at)
{
    const char *how = ox_text(x, "nearest_mode", "round_prefer_floor");
    if (strcmp(how, "round_prefer_floor") == 0)
        return ceiling(x, SUB(at, LIKE(at, 0.5)));
    if (strcmp(how, "round_prefer_ceil") == 0)
        return FLOOR(ADD(at, LIKE(at, 0.5)));
    return how[0] == 'c' ? ceiling(x, at) : FLOOR(at);
}

/* The sum over taps of weight times element. */
static val interpolate(onnx *x, val a, int axis, const axis_spec *s, val at)
{
    const bool is_cubic = ox_text(x, "mode", "nearest")[0] == 'c';
    const double shrink = ox_int(x, "antialias", 0) && s->scale < 1 ? s->scale : 1;
    const double first = floor((is_cubic ? -2 : -1) / shrink) + 1;
    val tap = rlx_build_iota(x->b, RLX_F64, 2 - 2 * (int64_t)first); /* [out, taps] */
    at = rlx_build_insert(x->b, at, 1);
    tap = ADD(ADD(tap, LIKE(tap, first - 1)), ceiling(x, at));
    val d = MUL(SUB(tap, at), LIKE(at, shrink));
    val w = is_cubic ? cubic(x, d, ox_float(x, "cubic_coeff_a", -0.75)) : hat(x, d);
    if (ox_int(x, "exclude_outside", 0))
        w = PICK(is_inside(x, tap, s->in), w, LIKE(w, 0));
    w = rlx_build_cast(x->b, DIV(w, ox_fold(x, RLX_MAP_ADD, w, 2, true)), RLX_F32);
    val taken = rlx_build_take(x->b, rlx_build_move(x->b, a, axis, -1), held(x, tap, s->in), -1);
    val y = rlx_build_reduce(x->b, RLX_MAP_ADD, MUL(taken, w), 1, (int[]){-1}, false);
    return rlx_build_move(x->b, y, -1, axis);
}

static val resize_axis(onnx *x, val a, int axis, axis_spec *s)
{
    const bool crops = is_mode(x, "tf_crop_and_resize");
    int64_t dims[ONNX_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    if (s->in == s->out && s->scale == 1 && !crops)
        return a;
    read_origin(x, s);
    val at = positions(x, s);
    val y = ox_text(x, "mode", "nearest")[0] == 'n'
                ? rlx_build_take(x->b, a, held(x, nearest(x, at), s->in), axis)
                : interpolate(x, a, axis, s, at);
    dims[axis] = s->out;
    val inside = rlx_build_reshape(x->b, is_inside(x, at, s->in), rlx_value_rank(y), dims);
    return crops ? PICK(inside, y, LIKE(y, ox_float(x, "extrapolation_value", 0))) : y;
}

/* Whether the op has it: in the last axes, to sizes that the scales agree with, with its own rules
 * for the nearest and for filters. */
static bool is_plain(onnx *x, val a, const axis_spec *of, rlx_resize *mode, rlx_resize_align *align)
{
    const char kind = ox_text(x, "mode", "nearest")[0];
    const bool wide = ox_int(x, "antialias", 0), corners = is_mode(x, "align_corners");
    const bool asymmetric = is_mode(x, "asymmetric"), centres = is_mode(x, "half_pixel");
    bool plain = rlx_value_rank(a) >= 3 && rlx_value_rank(a) <= 5 && rlx_value_format(a) == RLX_F32;
    for (int i = 0; i < rlx_value_rank(a); i++) {
        const double exact = (double)of[i].out / (double)of[i].in;
        plain = plain && fabs(of[i].scale - exact) < 1e-9 && (i > 1 || of[i].out == of[i].in) &&
                (!corners || of[i].out > 1);
    }
    *mode = kind == 'n' ? RLX_RESIZE_NEAREST : kind == 'l' ? RLX_RESIZE_LINEAR : RLX_RESIZE_CUBIC;
    *align = corners ? RLX_ALIGN_CORNERS : asymmetric ? RLX_ALIGN_ASYMMETRIC : RLX_ALIGN_HALF_PIXEL;
    if (kind == 'n')
        plain = plain && is_text(x, "nearest_mode", "", asymmetric ? "floor" : "round_prefer_ceil");
    if (kind == 'c')
        plain = plain && ox_float(x, "cubic_coeff_a", -0.75) == (wide ? -0.5 : -0.75);
    return plain && (corners || asymmetric || centres) && !(wide && corners) &&
           wide == ox_int(x, "exclude_outside", 0);
}

/* One scale for all axes, so that no result is larger (smaller) than asked for. */
static void keep_aspect(onnx *x, axis_spec *s, int n)
{
    const char *policy = ox_text(x, "keep_aspect_ratio_policy", "stretch");
    if (policy[0] == 's')
        return;
    double scale = s[0].scale;
    for (int i = 1; i < n; i++)
        if (policy[4] == 'l' ? s[i].scale < scale : s[i].scale > scale)
            scale = s[i].scale;
    for (int i = 0; i < n; i++) {
        s[i].scale = scale;
        s[i].out = (int64_t)floor(scale * (double)s[i].in + 0.5);
    }
}

static double element(const onnx_tensor *t, int i)
{
    return rlx_format_load(t->format, t->data, i);
}

/* `of` has the axes of a, one by one. */
static val resized(onnx *x, val a, axis_spec *of)
{
    int64_t sizes[ONNX_MAX_RANK];
    rlx_resize mode;
    rlx_resize_align align;
    const int rank = rlx_value_rank(a);
    for (int i = 2; i < rank; i++)
        sizes[i - 2] = of[i].out;
    if (is_plain(x, a, of, &mode, &align))
        return rlx_build_resize(x->b, a, mode, align, ox_int(x, "antialias", 0), sizes);
    for (int i = 0; i < rank; i++)
        a = resize_axis(x, a, i, &of[i]);
    return a;
}

static void resize(onnx *x, int roi, int scales, int sizes)
{
    val a = ox_in(x, 0);
    int64_t axes[ONNX_MAX_INTS];
    axis_spec s[ONNX_MAX_RANK] = {0}, of[ONNX_MAX_RANK] = {0};
    const bool scaled = ox_has(x, scales) && x->in[scales].elems > 0;
    int n = ox_list(x, "axes", axes);
    for (int i = 0; i < rlx_value_rank(a); i++) {
        of[i] = (axis_spec){.in = ox_dim(a, i), .out = ox_dim(a, i), .scale = 1, .roi_end = 1};
        axes[i] = n < 0 ? i : axes[i];
    }
    n = n < 0 ? rlx_value_rank(a) : n;
    for (int i = 0; i < n; i++) {
        s[i] = of[ox_axis(a, axes[i])];
        s[i].scale =
            scaled ? element(&x->in[scales], i) : element(&x->in[sizes], i) / (double)s[i].in;
        s[i].out = scaled ? (int64_t)floor(s[i].scale * (double)s[i].in)
                          : (int64_t)element(&x->in[sizes], i);
        if (roi >= 0 && ox_has(x, roi) && x->in[roi].elems == 2 * n) {
            s[i].roi_start = element(&x->in[roi], i);
            s[i].roi_end = element(&x->in[roi], n + i);
        }
    }
    if (!scaled)
        keep_aspect(x, s, n);
    for (int i = 0; i < n; i++)
        of[ox_axis(a, axes[i])] = s[i];
    ox_out(x, 0, resized(x, a, of));
}

OPERATOR(Resize)
{
    resize(x, 1, 2, 3);
}

/* Resize's forerunner: from the corner on, downwards. */
OPERATOR(Upsample)
{
    if (!cJSON_HasObjectItem(x->attributes, "nearest_mode")) {
        cJSON_AddStringToObject(x->attributes, "coordinate_transformation_mode", "asymmetric");
        cJSON_AddStringToObject(x->attributes, "nearest_mode", "floor");
    }
    resize(x, -1, 1, 1);
}

/* ---- grids --------------------------------------------------------------------------------------- */

/* Positions -1 .. 1 (or between the centres of the outer elements) of n, f32. */
static val even_positions(onnx *x, int64_t n, bool corners)
{
    val i = rlx_build_iota(x->b, RLX_F32, n);
    if (corners)
        return n > 1 ? SUB(MUL(i, LIKE(i, 2 / (double)(n - 1))), LIKE(i, 1)) : MUL(i, LIKE(i, 0));
    return SUB(MUL(ADD(i, LIKE(i, 0.5)), LIKE(i, 2 / (double)n)), LIKE(i, 1));
}

OPERATOR(AffineGrid)
{
    int64_t size[ONNX_MAX_INTS], dims[4] = {1, 1, 1, 1};
    const int n = ox_ints(x, 1, size) - 2;
    val theta = ox_in(x, 0), parts[4]; /* [N, n, n+1] */
    if (n < 2 || n > 3)
        return;
    memcpy(dims, size + 2, sizeof *dims * (size_t)n);
    for (int i = 0; i <= n; i++) { /* x is the last axis */
        int64_t along[4] = {1, 1, 1, 1};
        val p = rlx_build_constant(x->b, 1);
        if (i < n) {
            along[n - 1 - i] = dims[n - 1 - i];
            p = even_positions(x, dims[n - 1 - i], ox_int(x, "align_corners", 0));
            p = rlx_build_reshape(x->b, p, n + 1, along);
        }
        parts[i] = rlx_build_expand(x->b, p, n + 1, dims);
    }
    val base = rlx_build_concat(x->b, n + 1, parts, n); /* [D.., n+1] */
    base = rlx_build_reshape(x->b, base, 2, (int64_t[]){ox_elems(base) / (n + 1), n + 1});
    val y = rlx_build_matmul(x->b, base, rlx_build_move(x->b, theta, 1, 2));
    int64_t out[5] = {size[0]};
    memcpy(out + 1, dims, sizeof *dims * (size_t)n);
    out[1 + n] = n;
    ox_out(x, 0, rlx_build_reshape(x->b, y, n + 2, out));
}

typedef struct sampler {
    val a; /* [N, C, D..] */
    int n; /* spatial axes */
    char padding;
    bool corners;
    int64_t dims[ONNX_MAX_RANK]; /* [N, C, O..] */
    int rank;
} sampler;

/* Where positions outside of lo .. hi are thrown back to. */
static val reflect(onnx *x, val at, double lo, double hi)
{
    double span = hi - lo;
    val t = ABS(SUB(at, LIKE(at, lo)));
    t = SUB(t, MUL(FLOOR(DIV(t, LIKE(t, 2 * span))), LIKE(t, 2 * span)));
    return ADD(MIN(t, SUB(LIKE(t, 2 * span), t)), LIKE(t, lo));
}

static val bounded(onnx *x, const sampler *s, val at, int axis)
{
    const double d = (double)ox_dim(s->a, 2 + axis);
    if (s->padding == 'b')
        return rlx_build_clamp(x->b, at, 0, d - 1);
    if (s->padding == 'r')
        return reflect(x, at, s->corners ? 0 : -0.5, s->corners ? d - 1 : d - 0.5);
    return at;
}

/* Indices along an axis of a value of that rank. */
static val along(onnx *x, int64_t extent, int axis, int rank)
{
    int64_t dims[ONNX_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    dims[axis] = extent;
    return rlx_build_reshape(x->b, rlx_build_iota(x->b, RLX_I64, extent), rank, dims);
}

/* The elements at whole positions (f32), 0 outside unless the padding says otherwise. */
static val pixels(onnx *x, const sampler *s, const val *where)
{
    val at[ONNX_MAX_RANK], inside = NULL;
    for (int i = 0; i < 2; i++)
        at[i] = along(x, s->dims[i], i, s->rank);
    for (int i = 0; i < s->n; i++) {
        const int64_t d = ox_dim(s->a, 2 + i);
        val p = bounded(x, s, where[i], i), in = is_inside(x, p, d);
        inside = inside ? AND(inside, in) : in;
        at[2 + i] = held(x, p, d);
    }
    val v = ox_at(x, s->a, at);
    return PICK(inside, v, LIKE(v, 0));
}

static val sample(onnx *x, const sampler *s, const val *at, char mode)
{
    val sum = NULL, where[3], base[3];
    int taps = mode == 'c' ? 4 : 2, all = 1;
    for (int i = 0; i < s->n; i++) {
        base[i] = mode == 'n' ? MAP1(ROUND, at[i]) : FLOOR(at[i]);
        if (mode == 'c')
            base[i] = SUB(base[i], LIKE(at[i], 1));
        all *= taps;
    }
    if (mode == 'n')
        return pixels(x, s, base);
    for (int t = 0; t < all; t++) { /* every combination of taps */
        val w = NULL;
        for (int i = 0, rest = t; i < s->n; i++, rest /= taps) {
            where[i] = ADD(base[i], LIKE(at[i], rest % taps));
            val d = SUB(at[i], where[i]), one = mode == 'c' ? cubic(x, d, -0.75) : hat(x, d);
            w = w ? MUL(w, one) : one;
        }
        val v = MUL(w, pixels(x, s, where));
        sum = sum ? ADD(sum, v) : v;
    }
    return sum;
}

OPERATOR(GridSample)
{
    val grid = ox_in(x, 1), at[3];
    sampler s = {.a = ox_in(x, 0), .padding = ox_text(x, "padding_mode", "zeros")[0]};
    const char *mode = ox_text(x, "mode", "linear");
    const char kind = strstr(mode, "cubic") ? 'c' : mode[0] == 'n' ? 'n' : 'l';
    s.rank = rlx_value_rank(s.a);
    s.n = s.rank - 2;
    s.corners = ox_int(x, "align_corners", 0);
    if (s.n < 1 || s.n > 3)
        return;
    int64_t where[ONNX_MAX_RANK] = {ox_dim(grid, 0), 1}; /* [N, 1, O..] */
    s.dims[0] = ox_dim(s.a, 0);
    s.dims[1] = ox_dim(s.a, 1);
    for (int i = 0; i < s.n; i++)
        s.dims[2 + i] = where[2 + i] = ox_dim(grid, 1 + i);
    for (int i = 0; i < s.n; i++) { /* x, the first, is the last axis */
        const double d = (double)ox_dim(s.a, 2 + i);
        val g = rlx_build_slice(x->b, grid, -1, s.n - 1 - i, 1, 1);
        g = rlx_build_reshape(x->b, g, s.rank, where);
        if (s.corners)
            g = MUL(ADD(g, LIKE(g, 1)), LIKE(g, (d - 1) / 2));
        else
            g = MUL(SUB(MUL(ADD(g, LIKE(g, 1)), LIKE(g, d)), LIKE(g, 1)), LIKE(g, 0.5));
        at[i] = bounded(x, &s, kind == 'n' ? MAP1(ROUND, g) : g, i);
    }
    ox_out(x, 0, sample(x, &s, at, kind));
}

/* ---- regions of interest ------------------------------------------------------------------------- */

/* Positions along one axis: [R, bins, samples] of boxes lo..hi (each [R, 1, 1]), held where they may
 * be read. `alive`: not too far outside. */
static val roi_positions(onnx *x, val lo, val hi, int64_t bins, int64_t samples, bool aligned,
                         int64_t extent, val *alive)
{
    val size = aligned ? SUB(hi, lo) : MAX(SUB(hi, lo), LIKE(lo, 1));
    val bin = MUL(size, LIKE(size, 1 / (double)bins));
    val i = rlx_build_insert(x->b, rlx_build_iota(x->b, RLX_F32, bins), 1);
    val k = rlx_build_iota(x->b, RLX_F32, samples);
    val step = ADD(i, MUL(ADD(k, LIKE(k, 0.5)), LIKE(k, 1 / (double)samples)));
    val at = ADD(lo, MUL(step, bin));
    *alive = AND(LE(LIKE(at, -1), at), LE(at, LIKE(at, (double)extent)));
    return rlx_build_clamp(x->b, at, 0, (double)(extent - 1));
}

/* [R, bins, samples] as [R, 1, bins or 1, .., samples or 1, ..] for axis y or x. */
static val roi_axis(onnx *x, val v, bool horizontal)
{
    const int64_t R = ox_dim(v, 0), b = ox_dim(v, 1), s = ox_dim(v, 2);
    return rlx_build_reshape(
        x->b, v, 6, horizontal ? (int64_t[]){R, 1, 1, b, 1, s} : (int64_t[]){R, 1, b, 1, s, 1});
}

OPERATOR(RoiAlign)
{
    val a = ox_in(x, 0), rois = ox_in(x, 1), edge[4], alive[2], at[2], sum = NULL;
    const int64_t OH = ox_int(x, "output_height", 1), OW = ox_int(x, "output_width", 1);
    const int64_t S = ox_int(x, "sampling_ratio", 0), R = ox_dim(rois, 0);
    const bool aligned = is_mode(x, "half_pixel"), most = ox_text(x, "mode", "avg")[0] == 'm';
    if (S < 1) {
        ox_refuse(x, "as many samples as the boxes are large");
        return;
    }
    for (int i = 0; i < 4; i++) {
        edge[i] = rlx_build_insert(x->b, rlx_build_slice(x->b, rois, 1, i, 1, 1), 2);
        edge[i] = MUL(edge[i], LIKE(rois, ox_float(x, "spatial_scale", 1)));
        edge[i] = SUB(edge[i], LIKE(rois, aligned ? 0.5 : 0));
    }
    at[0] = roi_positions(x, edge[1], edge[3], OH, S, aligned, ox_dim(a, 2), &alive[0]);
    at[1] = roi_positions(x, edge[0], edge[2], OW, S, aligned, ox_dim(a, 3), &alive[1]);
    val batch = rlx_build_reshape(x->b, ox_in(x, 2), 6, (int64_t[]){R, 1, 1, 1, 1, 1});
    for (int t = 0; t < 4; t++) {
        val w = NULL, where[4] = {batch, along(x, ox_dim(a, 1), 1, 6)};
        for (int i = 0; i < 2; i++) {
            val base = ADD(FLOOR(at[i]), LIKE(at[i], t >> i & 1));
            val one = roi_axis(x, hat(x, SUB(at[i], base)), i);
            w = w ? MUL(w, one) : one;
            where[2 + i] = roi_axis(x, held(x, base, ox_dim(a, 2 + i)), i);
        }
        val v = MUL(w, ox_at(x, a, where)); /* [R, C, OH, OW, S, S] */
        sum = !sum ? v : most ? MAX(sum, v) : ADD(sum, v);
    }
    sum = PICK(AND(roi_axis(x, alive[0], false), roi_axis(x, alive[1], true)), sum, LIKE(sum, 0));
    val y = ox_fold(x, most ? RLX_MAP_MAX : RLX_MAP_ADD, sum, 48, false);
    ox_out(x, 0, most ? y : DIV(y, LIKE(y, (double)(S * S))));
}

/* ---- deformed windows ---------------------------------------------------------------------------- */

/* [N, groups K, OH, OW] as [N, C, OH, OW, K]: each group's for all its channels. */
static val for_channels(onnx *x, val v, int64_t groups, int64_t C)
{
    const int64_t N = ox_dim(v, 0), K = ox_dim(v, 1) / groups, OH = ox_dim(v, 2), OW = ox_dim(v, 3);
    v = rlx_build_reshape(x->b, v, 6, (int64_t[]){N, groups, 1, K, OH, OW});
    v = rlx_build_expand(x->b, v, 6, (int64_t[]){N, groups, C / groups, K, OH, OW});
    return rlx_build_move(x->b, rlx_build_flatten(x->b, v, 1, 2), 2, 4);
}

/* Where tap k of window o would read without an offset: [1, 1, OH, OW, K] of one axis. */
static val taps_of(onnx *x, const int64_t *dims, int axis, int64_t KW, int64_t step, int64_t low,
                   int64_t dilation)
{
    val tap = along(x, dims[4], 4, 5), o = along(x, dims[2 + axis], 2 + axis, 5);
    tap = axis ? MAP2(MOD, tap, LIKE(tap, (double)KW)) : DIV(tap, LIKE(tap, (double)KW));
    o = SUB(MUL(o, LIKE(o, (double)step)), LIKE(o, (double)low));
    return rlx_build_cast(x->b, ADD(o, MUL(tap, LIKE(tap, (double)dilation))), RLX_F32);
}

/* Taps of a 2-D convolution move by offsets [N, 2 K groups, OH, OW], read between elements. */
OPERATOR(DeformConv)
{
    val a = ox_in(x, 0), k = ox_weight(x, 1), off = ox_in(x, 2), at[2];
    int64_t pads[ONNX_MAX_INTS] = {0}, step[ONNX_MAX_INTS] = {1, 1}, dil[ONNX_MAX_INTS] = {1, 1};
    ox_list(x, "pads", pads);
    ox_list(x, "strides", step);
    ox_list(x, "dilations", dil);
    if (rlx_value_rank(a) != 4) {
        ox_refuse(x, "deformed windows of other than two axes");
        return;
    }
    const int64_t og = ox_int(x, "offset_group", 1), N = ox_dim(a, 0), C = ox_dim(a, 1);
    const int64_t KW = ox_dim(k, 3), K = ox_dim(k, 2) * KW, OH = ox_dim(off, 2),
                  OW = ox_dim(off, 3);
    sampler s = {.a = a, .n = 2, .padding = 'z', .rank = 5, .dims = {N, C, OH, OW, K}};
    off = rlx_build_reshape(x->b, off, 5, (int64_t[]){N, og * K, 2, OH, OW});
    for (int i = 0; i < 2; i++) {
        val o = rlx_build_reshape(x->b, rlx_build_slice(x->b, off, 2, i, 1, 1), 4,
                                  (int64_t[]){N, og * K, OH, OW});
        at[i] = ADD(taps_of(x, s.dims, i, KW, step[i], pads[i], dil[i]), for_channels(x, o, og, C));
    }
    val v = sample(x, &s, at, 'l'); /* [N, C, OH, OW, K] */
    if (ox_has(x, 4))
        v = MUL(v, for_channels(x, ox_in(x, 4), og, C));
    /* the taps lie one behind the other in the last axis: a convolution with a stride of K */
    v = rlx_build_reshape(x->b, v, 4, (int64_t[]){N, C, OH, OW * K});
    k = rlx_build_reshape(x->b, k, 4, (int64_t[]){ox_dim(k, 0), ox_dim(k, 1), 1, K});
    const rlx_window_spec spec = {.stride = {1, K}, .groups = ox_int(x, "group", 1)};
    ox_out(x, 0, rlx_build_conv(x->b, v, k, ox_weight(x, 3), &spec));
}
