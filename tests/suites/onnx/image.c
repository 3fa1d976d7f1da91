/* tests/suites/onnx/image.c: resizing and sampling. Positions are computed in f64 by the graph
 * itself. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/old.h"

/* ---- resize
 * -------------------------------------------------------------------------------------- */

typedef struct axis_spec {
    int64_t in, out;
    double scale, roi_start, roi_end;
} axis_spec;

/* Where element o of the result lies in the input. */
static void read_origin(onnx *x, const axis_spec *s, rlx_mir_resize *r)
{
    const char *mode = ox_text(x, "coordinate_transformation_mode", "half_pixel");
    const double width = s->scale * (double)s->in, last = (double)(s->in - 1);
    const bool one = s->out == 1;
    r->times = r->per = 1;
    if (strcmp(mode, "align_corners") == 0) {
        r->times = one ? 0 : last;
        r->per = one ? 1 : width - 1;
    } else if (strcmp(mode, "asymmetric") == 0) {
        r->per = s->scale;
    } else if (strcmp(mode, "tf_crop_and_resize") == 0) {
        const double span = (s->roi_end - s->roi_start) * last;
        r->times = one ? 1 : span;
        r->per = one ? 1 : width - 1;
        r->offset = s->roi_start * last + (one ? span / 2 : 0);
    } else if (strcmp(mode, "pytorch_half_pixel") == 0 && one) {
        r->offset = -0.5;
    } else {
        r->shift = 0.5;
        r->per = s->scale;
        r->offset = -0.5;
        if (strcmp(mode, "half_pixel_symmetric") == 0)
            r->offset += (double)s->in / 2 * (1 - (double)s->out / width);
        else if (strcmp(mode, "half_pixel") && strcmp(mode, "pytorch_half_pixel"))
            ox_refuse(x, "coordinates by \"%s\"", mode);
    }
}

static rlx_mir_resize read_resize(onnx *x, const axis_spec *s)
{
    static const char *const names[] = {[RLX_MIR_FLOOR] = "floor",
                                        [RLX_MIR_CEIL] = "ceil",
                                        [RLX_MIR_HALF_DOWN] = "round_prefer_floor",
                                        [RLX_MIR_HALF_UP] = "round_prefer_ceil"};
    const char *mode = ox_text(x, "mode", "nearest");
    const char *how = ox_text(x, "nearest_mode", names[RLX_MIR_HALF_DOWN]);
    rlx_mir_resize r = {.out = s->out,
                        .filter = mode[0] == 'n'   ? RLX_MIR_NEAREST
                                  : mode[0] == 'c' ? RLX_MIR_CUBIC
                                                   : RLX_MIR_LINEAR,
                        .rounding = RLX_MIR_HALF_DOWN,
                        .cubic_a = ox_float(x, "cubic_coeff_a", -0.75),
                        .shrink = ox_int(x, "antialias", 0) && s->scale < 1 ? s->scale : 1,
                        .only_inside = ox_int(x, "exclude_outside", 0)};
    for (int i = RLX_MIR_FLOOR; i <= RLX_MIR_HALF_UP; i++)
        if (strcmp(how, names[i]) == 0)
            r.rounding = (rlx_mir_rounding)i;
    read_origin(x, s, &r);
    return r;
}

static val resize_axis(onnx *x, val a, int axis, const axis_spec *s)
{
    const bool crops =
        strcmp(ox_text(x, "coordinate_transformation_mode", ""), "tf_crop_and_resize") == 0;
    if (s->in == s->out && s->scale == 1 && !crops)
        return a;
    const rlx_mir_resize r = read_resize(x, s);
    val y = rlx_mir_resize_axis(IR, a, axis, &r);
    if (!crops || !y)
        return y;
    val at = rlx_mir_resize_positions(IR, &r);
    val inside = AND(LE(LIKE(at, 0), at), LE(at, LIKE(at, (double)(s->in - 1))));
    int64_t dims[RLX_MAX_RANK];
    for (int i = 0; i < y->type.rank; i++)
        dims[i] = i == axis ? s->out : 1;
    return PICK(rlx_mir_reshape(IR, inside, y->type.rank, dims), y,
                LIKE(y, ox_float(x, "extrapolation_value", 0)));
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

static void resize(onnx *x, int roi, int scales, int sizes)
{
    val a = ox_in(x, 0);
    int64_t axes[ONNX_MAX_INTS];
    axis_spec s[RLX_MAX_RANK] = {0};
    int n = ox_list(x, "axes", axes);
    bool scaled = ox_has(x, scales) && x->in[scales].elems > 0;
    if (!a)
        return;
    if (n < 0) {
        n = a->type.rank;
        for (int i = 0; i < n; i++)
            axes[i] = i;
    }
    for (int i = 0; i < n; i++) {
        s[i].in = ox_dim(a, ox_axis(a, axes[i]));
        s[i].scale =
            scaled ? element(&x->in[scales], i) : element(&x->in[sizes], i) / (double)s[i].in;
        s[i].out = scaled ? (int64_t)floor(s[i].scale * (double)s[i].in)
                          : (int64_t)element(&x->in[sizes], i);
        s[i].roi_end = 1;
        if (roi >= 0 && ox_has(x, roi) && x->in[roi].elems == 2 * n) {
            s[i].roi_start = element(&x->in[roi], i);
            s[i].roi_end = element(&x->in[roi], n + i);
        }
    }
    if (!scaled)
        keep_aspect(x, s, n);
    for (int i = 0; i < n; i++)
        a = resize_axis(x, a, ox_axis(a, axes[i]), &s[i]);
    ox_out(x, 0, a);
}

static void do_resize(onnx *x)
{
    resize(x, 1, 2, 3);
}

/* Resize's forerunner: from the corner on, downwards. */
static void do_upsample(onnx *x)
{
    cJSON_AddStringToObject(x->attributes, "coordinate_transformation_mode", "asymmetric");
    cJSON_AddStringToObject(x->attributes, "nearest_mode", "floor");
    resize(x, -1, 1, 1);
}

/* ---- grids
 * ----------------------------------------------------------------------------------------- */

/* Positions -1 .. 1 (or between the centres of the outer elements) of n, f32. */
static val even_positions(onnx *x, int rank, const int64_t *dims, int axis, bool corners)
{
    double n = (double)dims[axis];
    val i = rlx_mir_iota(IR, RLX_F32, rank, dims, axis);
    if (corners)
        return n > 1 ? SUB(MUL(i, LIKE(i, 2 / (n - 1))), LIKE(i, 1)) : MUL(i, LIKE(i, 0));
    return SUB(MUL(ADD(i, LIKE(i, 0.5)), LIKE(i, 2 / n)), LIKE(i, 1));
}

static void do_affine_grid(onnx *x)
{
    int64_t size[ONNX_MAX_INTS], dims[RLX_MAX_RANK];
    int rank = ox_ints(x, 1, size), n = rank - 2;
    bool corners = ox_int(x, "align_corners", 0);
    val theta = ox_in(x, 0), parts[4];
    if (!theta || n < 2 || n > 3)
        return;
    for (int i = 0; i < n; i++)
        dims[i] = size[2 + i];
    for (int i = 0; i < n; i++) /* x is the last axis */
        parts[i] = rlx_mir_insert(IR, even_positions(x, n, dims, n - 1 - i, corners), n);
    parts[n] = rlx_mir_expand(IR, rlx_mir_build_const(IR, RLX_F32, 1), n + 1,
                              parts[0] ? parts[0]->type.dim : dims);
    val base = rlx_mir_build_concat(IR, n + 1, parts, n); /* [D.., n+1] */
    int64_t shape[RLX_MAX_RANK] = {size[0]};
    for (int i = 0; i < n; i++)
        shape[1 + i] = 1;
    shape[1 + n] = n;
    shape[2 + n] = n + 1;
    /* [N, 1.., n, n+1] times [D.., 1, n+1] */
    val y = MUL(rlx_mir_reshape(IR, theta, n + 3, shape), rlx_mir_insert(IR, base, n));
    ox_out(x, 0, rlx_mir_fold(IR, RLX_FN_ADD, y, 1u << (n + 2), false));
}

typedef struct sampler {
    val a; /* [N, C, D..] */
    int n; /* spatial axes */
    char padding;
    bool corners;
    int64_t dims[RLX_MAX_RANK]; /* [N, C, O..] */
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
    double d = (double)s->a->type.dim[2 + axis];
    if (s->padding == 'b')
        return rlx_mir_clamp(IR, at, 0, d - 1);
    if (s->padding == 'r')
        return reflect(x, at, s->corners ? 0 : -0.5, s->corners ? d - 1 : d - 0.5);
    return at;
}

/* The elements at whole positions (f32), 0 outside unless the padding says otherwise. */
static val pixels(onnx *x, const sampler *s, const val *where)
{
    val at[RLX_MAX_RANK], inside = NULL;
    at[0] = rlx_mir_iota(IR, RLX_I64, s->rank, s->dims, 0);
    at[1] = rlx_mir_iota(IR, RLX_I64, s->rank, s->dims, 1);
    for (int i = 0; i < s->n; i++) {
        double last = (double)s->a->type.dim[2 + i] - 1;
        val p = bounded(x, s, where[i], i);
        val in = AND(LE(LIKE(p, 0), p), LE(p, LIKE(p, last)));
        inside = inside ? AND(inside, in) : in;
        at[2 + i] = rlx_mir_cast(IR, rlx_mir_clamp(IR, p, 0, last), RLX_I64);
    }
    val v = rlx_mir_at(IR, s->a, at);
    return PICK(inside, v, LIKE(v, 0));
}

static val sample(onnx *x, const sampler *s, const val *at, char mode)
{
    val sum = NULL, where[3], base[3];
    int taps = mode == 'c' ? 4 : 2, all = 1;
    for (int i = 0; i < s->n; i++) {
        base[i] = mode == 'n' ? rlx_mir_map1(IR, RLX_FN_ROUND, at[i]) : FLOOR(at[i]);
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
            val d = SUB(at[i], where[i]),
                one = mode == 'c' ? rlx_mir_cubic(IR, d, -0.75) : rlx_mir_hat(IR, d);
            w = w ? MUL(w, one) : one;
        }
        val v = MUL(w, pixels(x, s, where));
        sum = sum ? ADD(sum, v) : v;
    }
    return sum;
}

static void do_grid_sample(onnx *x)
{
    val grid = ox_in(x, 1), at[3];
    sampler s = {.a = ox_in(x, 0), .padding = ox_text(x, "padding_mode", "zeros")[0]};
    const char *mode = ox_text(x, "mode", "linear");
    char kind = strstr(mode, "cubic") ? 'c' : mode[0] == 'n' ? 'n' : 'l';
    if (!s.a || !grid || s.a->type.rank > 5)
        return;
    s.rank = s.a->type.rank;
    s.n = s.rank - 2;
    s.corners = ox_int(x, "align_corners", 0);
    s.dims[0] = s.a->type.dim[0];
    s.dims[1] = s.a->type.dim[1];
    for (int i = 0; i < s.n; i++)
        s.dims[2 + i] = grid->type.dim[1 + i];
    for (int i = 0; i < s.n; i++) { /* x, the first, is the last axis */
        double d = (double)s.a->type.dim[2 + i];
        val g = rlx_mir_slice(IR, grid, 1 + s.n, s.n - 1 - i, 1, 1);
        g = rlx_mir_insert(IR, rlx_mir_reshape(IR, g, 1 + s.n, grid->type.dim), 1);
        if (s.corners)
            g = MUL(ADD(g, LIKE(g, 1)), LIKE(g, (d - 1) / 2));
        else
            g = MUL(SUB(MUL(ADD(g, LIKE(g, 1)), LIKE(g, d)), LIKE(g, 1)), LIKE(g, 0.5));
        if (kind == 'n')
            g = rlx_mir_map1(IR, RLX_FN_ROUND, g);
        at[i] = rlx_mir_expand(IR, bounded(x, &s, g, i), s.rank, s.dims);
    }
    ox_out(x, 0, sample(x, &s, at, kind));
}

/* ---- regions of interest
 * ---------------------------------------------------------------------------- */

/* Positions along one axis: [R, bins, samples] of boxes lo..hi (each [R]), held where they may be
 * read. `alive`: not too far outside. */
static val roi_positions(onnx *x, val lo, val hi, int64_t bins, int64_t samples, bool aligned,
                         int64_t extent, val *alive)
{
    int64_t dims[3] = {ox_dim(lo, 0), bins, samples}, one[3] = {dims[0], 1, 1};
    val size = SUB(hi, lo);
    if (!aligned)
        size = MAX(size, LIKE(size, 1));
    val bin = MUL(rlx_mir_reshape(IR, size, 3, one), LIKE(size, 1 / (double)bins));
    val i = rlx_mir_iota(IR, RLX_F32, 3, dims, 1), k = rlx_mir_iota(IR, RLX_F32, 3, dims, 2);
    val step = ADD(i, MUL(ADD(k, LIKE(k, 0.5)), LIKE(k, 1 / (double)samples)));
    val at = ADD(rlx_mir_reshape(IR, lo, 3, one), MUL(step, bin));
    *alive = AND(LE(LIKE(at, -1), at), LE(at, LIKE(at, (double)extent)));
    return rlx_mir_clamp(IR, at, 0, (double)(extent - 1));
}

/* [R, bins, samples] as [R, 1, bins or 1, .., samples or 1, ..] for axis y or x. */
static val roi_axis(onnx *x, val v, bool horizontal)
{
    int64_t R = ox_dim(v, 0), b = ox_dim(v, 1), s = ox_dim(v, 2);
    return horizontal ? rlx_mir_reshape(IR, v, 6, (int64_t[]){R, 1, 1, b, 1, s})
                      : rlx_mir_reshape(IR, v, 6, (int64_t[]){R, 1, b, 1, s, 1});
}

static void do_roi_align(onnx *x)
{
    val a = ox_in(x, 0), rois = ox_in(x, 1), batch = ox_in(x, 2), edge[4], alive[2];
    if (!a || !rois || !batch)
        return;
    int64_t OH = ox_int(x, "output_height", 1), OW = ox_int(x, "output_width", 1);
    int64_t S = ox_int(x, "sampling_ratio", 0), R = ox_dim(rois, 0);
    bool aligned =
        strcmp(ox_text(x, "coordinate_transformation_mode", "half_pixel"), "half_pixel") == 0;
    if (S < 1) {
        ox_refuse(x, "as many samples as the boxes are large");
        return;
    }
    for (int i = 0; i < 4; i++) {
        edge[i] = rlx_mir_reshape(IR, rlx_mir_slice(IR, rois, 1, i, 1, 1), 1, &R);
        edge[i] = MUL(edge[i], LIKE(rois, ox_float(x, "spatial_scale", 1)));
        edge[i] = SUB(edge[i], LIKE(rois, aligned ? 0.5 : 0));
    }
    int64_t dims[6] = {R, ox_dim(a, 1), OH, OW, S, S};
    val at[2];
    at[0] = roi_positions(x, edge[1], edge[3], OH, S, aligned, ox_dim(a, 2), &alive[0]);
    at[1] = roi_positions(x, edge[0], edge[2], OW, S, aligned, ox_dim(a, 3), &alive[1]);
    const bool most = ox_text(x, "mode", "avg")[0] == 'm';
    val sum = NULL;
    for (int t = 0; t < 4; t++) {
        val w = NULL, where[4];
        for (int i = 0; i < 2; i++) {
            val base = ADD(FLOOR(at[i]), LIKE(at[i], t >> i & 1));
            val one = rlx_mir_hat(IR, SUB(at[i], base));
            base = rlx_mir_clamp(IR, base, 0, (double)ox_dim(a, 2 + i) - 1);
            w = w ? MUL(w, roi_axis(x, one, i)) : roi_axis(x, one, i);
            where[2 + i] =
                rlx_mir_expand(IR, rlx_mir_cast(IR, roi_axis(x, base, i), RLX_I64), 6, dims);
        }
        val b =
            rlx_mir_reshape(IR, rlx_mir_cast(IR, batch, RLX_I64), 6, (int64_t[]){R, 1, 1, 1, 1, 1});
        where[0] = rlx_mir_expand(IR, b, 6, dims);
        where[1] = rlx_mir_iota(IR, RLX_I64, 6, dims, 1);
        val v = MUL(w, rlx_mir_at(IR, a, where));
        sum = !sum ? v : most ? MAX(sum, v) : ADD(sum, v);
    }
    sum = PICK(AND(roi_axis(x, alive[0], false), roi_axis(x, alive[1], true)), sum, LIKE(sum, 0));
    ox_out(x, 0,
           most ? rlx_mir_fold(IR, RLX_FN_MAX, sum, 48, false)
                : DIV(rlx_mir_fold(IR, RLX_FN_ADD, sum, 48, false), LIKE(sum, (double)(S * S))));
}

/* ---- deformed windows
 * -------------------------------------------------------------------------------- */

/* Taps of a 2-D convolution move by offsets [N, 2 K groups, OH, OW], read between elements. */
static void do_deform_conv(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1), off = ox_in(x, 2);
    int64_t pads[ONNX_MAX_INTS] = {0}, step[ONNX_MAX_INTS] = {1, 1}, dil[ONNX_MAX_INTS] = {1, 1};
    ox_list(x, "pads", pads);
    ox_list(x, "strides", step);
    ox_list(x, "dilations", dil);
    int64_t og = ox_int(x, "offset_group", 1), groups = ox_int(x, "group", 1);
    if (!a || !k || !off || a->type.rank != 4) {
        ox_refuse(x, "deformed windows of other than two axes");
        return;
    }
    int64_t N = ox_dim(a, 0), C = ox_dim(a, 1), KH = ox_dim(k, 2), KW = ox_dim(k, 3),
            M = ox_dim(k, 0);
    int64_t OH = ox_dim(off, 2), OW = ox_dim(off, 3);
    /* [N, C, OH, OW, KH KW] */
    sampler s = {.a = a, .n = 2, .padding = 'z', .rank = 5, .dims = {N, C, OH, OW, KH * KW}};
    off = rlx_mir_reshape(IR, off, 6, (int64_t[]){N, og, KH * KW, 2, OH, OW});
    val at[2], weight = NULL;
    for (int i = 0; i < 2; i++) {
        val o = rlx_mir_reshape(IR, rlx_mir_slice(IR, off, 3, i, 1, 1), 6,
                                (int64_t[]){N, og, 1, KH * KW, OH, OW});
        o = rlx_mir_expand(IR, o, 6, (int64_t[]){N, og, C / og, KH * KW, OH, OW});
        o = rlx_mir_move(IR, rlx_mir_flatten(IR, o, 1, 3), 2, 4);
        val tap = rlx_mir_iota(IR, RLX_I64, 5, s.dims, 4);
        tap = i ? rlx_mir_map2(IR, RLX_FN_MOD, tap, LIKE(tap, (double)KW))
                : DIV(tap, LIKE(tap, (double)KW));
        val p = MUL(rlx_mir_iota(IR, RLX_I64, 5, s.dims, 2 + i), LIKE(tap, (double)step[i]));
        p = ADD(p, MUL(tap, LIKE(tap, (double)dil[i])));
        at[i] = ADD(
            ADD(rlx_mir_cast(IR, p, RLX_F32), rlx_mir_build_const(IR, RLX_F32, (double)-pads[i])),
            o);
    }
    val v = sample(x, &s, at, 'l');
    if (ox_has(x, 4)) {
        weight = rlx_mir_reshape(IR, ox_in(x, 4), 6, (int64_t[]){N, og, 1, KH * KW, OH, OW});
        weight = rlx_mir_expand(IR, weight, 6, (int64_t[]){N, og, C / og, KH * KW, OH, OW});
        v = MUL(v, rlx_mir_move(IR, rlx_mir_flatten(IR, weight, 1, 3), 2, 4));
    }
    /* [N, G, 1, C/G, OH, OW, K] times [1, G, M/G, C/G, 1, 1, K] */
    v = rlx_mir_reshape(IR, v, 7, (int64_t[]){N, groups, 1, C / groups, OH, OW, KH * KW});
    k = rlx_mir_reshape(IR, k, 7, (int64_t[]){1, groups, M / groups, C / groups, 1, 1, KH * KW});
    val y = rlx_mir_fold(IR, RLX_FN_ADD, MUL(v, k), 1u << 3 | 1u << 6, false);
    y = rlx_mir_reshape(IR, y, 4, (int64_t[]){N, M, OH, OW});
    if (ox_has(x, 3))
        y = ADD(y, rlx_mir_reshape(IR, ox_in(x, 3), 4, (int64_t[]){1, M, 1, 1}));
    ox_out(x, 0, y);
}

const onnx_op onnx_image[] = {OP(AffineGrid, do_affine_grid),
                              OP(DeformConv, do_deform_conv),
                              OP(GridSample, do_grid_sample),
                              OP(Resize, do_resize),
                              OP(RoiAlign, do_roi_align),
                              OP(Upsample, do_upsample),
                              OP_END};
