/* tests/suites/onnx/conv.c: convolutions and pools, of any number of spatial axes. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/onnx.h"

enum { MAX_SPATIAL = 3 };

/* Windows over [N, C, S..]. */
typedef struct windows {
    int n;
    int64_t size[MAX_SPATIAL], step[MAX_SPATIAL], dilation[MAX_SPATIAL], low[MAX_SPATIAL],
        high[MAX_SPATIAL], in[MAX_SPATIAL], out[MAX_SPATIAL];
} windows;

static int64_t reach(const windows *w, int i)
{
    return (w->size[i] - 1) * w->dilation[i] + 1;
}

static void read_axis(onnx *x, windows *w, int i, const char *how)
{
    int64_t need;
    if (strncmp(how, "SAME", 4) == 0) {
        w->out[i] = (w->in[i] + w->step[i] - 1) / w->step[i];
        need = (w->out[i] - 1) * w->step[i] + reach(w, i) - w->in[i];
        need = need > 0 ? need : 0;
        w->low[i] = how[5] == 'U' ? need / 2 : need - need / 2;
        w->high[i] = need - w->low[i];
        return;
    }
    int64_t room = w->in[i] + w->low[i] + w->high[i] - reach(w, i);
    bool up = ox_int(x, "ceil_mode", 0);
    w->out[i] = (up ? (room + w->step[i] - 1) / w->step[i] : room / w->step[i]) + 1;
    if (up && (w->out[i] - 1) * w->step[i] >= w->in[i] + w->low[i])
        w->out[i]--; /* a window that begins behind all that is there */
}

static bool read_windows(onnx *x, val a, const int64_t *kernel, windows *w)
{
    int64_t list[ONNX_MAX_INTS];
    *w = (windows){.n = a ? a->type.rank - 2 : 0};
    if (!a || w->n < 1 || w->n > MAX_SPATIAL) {
        ox_refuse(x, "windows over %d axes", w->n);
        return false;
    }
    const bool given = ox_list(x, "kernel_shape", list) > 0;
    for (int i = 0; i < w->n; i++) {
        w->in[i] = a->type.dim[2 + i];
        w->size[i] = kernel ? kernel[i] : given ? list[i] : w->in[i];
        w->step[i] = w->dilation[i] = 1;
    }
    if (ox_list(x, "strides", list) > 0)
        memcpy(w->step, list, sizeof *list * (size_t)w->n);
    if (ox_list(x, "dilations", list) > 0)
        memcpy(w->dilation, list, sizeof *list * (size_t)w->n);
    if (ox_list(x, "pads", list) > 0) {
        memcpy(w->low, list, sizeof *list * (size_t)w->n);
        memcpy(w->high, list + w->n, sizeof *list * (size_t)w->n);
    }
    for (int i = 0; i < w->n; i++)
        read_axis(x, w, i, ox_text(x, "auto_pad", "NOTSET"));
    return true;
}

/* [N, C, S..] to [N, C, O.., K..]: padded to what the windows take, or cut to it. */
static val window_of(onnx *x, val a, const windows *w, val fill)
{
    int64_t perm[RLX_MAX_RANK] = {0, 1};
    for (int i = 0; i < w->n; i++) {
        int axis = 2 + 2 * i;
        int64_t length = (w->out[i] - 1) * w->step[i] + reach(w, i);
        a = rlx_mir_pad(x->b, a, axis, w->low[i], length - w->low[i] - w->in[i], fill);
        a = a ? rlx_mir_build_window(x->b, a, axis, w->size[i], w->step[i], w->dilation[i]) : NULL;
        perm[2 + i] = axis;
        perm[2 + w->n + i] = axis + 1;
    }
    return rlx_mir_transpose(x->b, a, perm);
}

/* ---- convolutions
 * ------------------------------------------------------------------------------------ */

/* x's windows [N, C, O.., K..] with w [M, C/G, K..]: [N, M, O..], in `f`. */
static val convolve(onnx *x, val a, val w, int64_t groups, int n)
{
    if (!a || !w)
        return NULL;
    int64_t N = ox_dim(a, 0), C = ox_dim(a, 1), M = ox_dim(w, 0), dims[RLX_MAX_RANK];
    if (n > 2) { /* one axis for all places and one for all taps: ranks end at 8 */
        a = rlx_mir_flatten(x->b, rlx_mir_flatten(x->b, a, 2 + n, 2 + 2 * n), 2, 2 + n);
        w = rlx_mir_flatten(x->b, w, 2, 2 + n);
        n = 1;
    }
    if (!a || !w)
        return NULL;
    /* [N, G, 1, C/G, O.., K..] and [1, G, M/G, C/G, 1.., K..] */
    int rank = 4 + 2 * n;
    int64_t left[RLX_MAX_RANK] = {N, groups, 1, C / groups};
    int64_t right[RLX_MAX_RANK] = {1, groups, M / groups, C / groups};
    for (int i = 0; i < n; i++) {
        left[4 + i] = a->type.dim[2 + i];
        right[4 + i] = 1;
        left[4 + n + i] = right[4 + n + i] = w->type.dim[2 + i];
    }
    val y = MUL(rlx_mir_reshape(x->b, a, rank, left), rlx_mir_reshape(x->b, w, rank, right));
    y = rlx_mir_fold(x->b, RLX_FN_ADD, y, rlx_mir_last_axes(y, 4 + n) | 8u, false);
    dims[0] = N;
    dims[1] = M;
    memcpy(dims + 2, left + 4, sizeof *dims * (size_t)n);
    return rlx_mir_reshape(x->b, y, 2 + n, dims);
}

/* [N, M, places] as [N, M, O..] with a bias per channel. */
static val with_bias(onnx *x, val y, const windows *w, int bias)
{
    int64_t dims[RLX_MAX_RANK] = {ox_dim(y, 0), ox_dim(y, 1)}, one[RLX_MAX_RANK] = {1, dims[1]};
    for (int i = 0; i < w->n; i++) {
        dims[2 + i] = w->out[i];
        one[2 + i] = 1;
    }
    y = rlx_mir_reshape(x->b, y, 2 + w->n, dims);
    return bias >= 0 && ox_has(x, bias)
               ? ADD(y, rlx_mir_reshape(x->b, ox_in(x, bias), 2 + w->n, one))
               : y;
}

static void do_conv(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1);
    windows w;
    if (!k || !read_windows(x, a, k->type.dim + 2, &w))
        return;
    val y = convolve(x, window_of(x, a, &w, LIKE(a, 0)), k, ox_int(x, "group", 1), w.n);
    ox_out(x, 0, with_bias(x, y, &w, 2));
}

/* An input with its zero point taken off, in f; a zero point per row of w. */
static val centered(onnx *x, int i, int zero, rlx_format f)
{
    val a = rlx_mir_cast(x->b, ox_in(x, i), f);
    if (!a || !ox_has(x, zero))
        return a;
    val z = rlx_mir_cast(x->b, ox_in(x, zero), f);
    int64_t dims[RLX_MAX_RANK] = {ox_elems(z), 1, 1, 1, 1};
    return SUB(a, ox_elems(z) == 1 ? rlx_mir_reshape(x->b, z, 0, NULL)
                                   : rlx_mir_reshape(x->b, z, a->type.rank, dims));
}

static val integer_conv(onnx *x, int a_in, int a_zero, int k_in, int k_zero, windows *w)
{
    val a = centered(x, a_in, a_zero, RLX_I32), k = centered(x, k_in, k_zero, RLX_I32);
    if (!k || !read_windows(x, a, k->type.dim + 2, w))
        return NULL;
    return convolve(x, window_of(x, a, w, LIKE(a, 0)), k, ox_int(x, "group", 1), w->n);
}

static void do_conv_integer(onnx *x)
{
    windows w;
    val y = integer_conv(x, 0, 2, 1, 3, &w);
    ox_out(x, 0, y ? with_bias(x, y, &w, -1) : NULL);
}

static void do_qlinear_conv(onnx *x)
{
    windows w;
    val y = integer_conv(x, 0, 2, 3, 5, &w);
    if (!y)
        return;
    y = with_bias(x, y, &w, 8);
    int64_t dims[RLX_MAX_RANK] = {1, 1, 1, 1, 1};
    val ws = ox_in(x, 4), s = rlx_mir_reshape(x->b, ox_in(x, 1), 0, NULL);
    dims[1] = ox_elems(ws);
    ws = dims[1] == 1 ? rlx_mir_reshape(x->b, ws, 0, NULL)
                      : rlx_mir_reshape(x->b, ws, 2 + w.n, dims);
    s = DIV(MUL(s, ws), rlx_mir_reshape(x->b, ox_in(x, 6), 0, NULL));
    y = rlx_mir_map1(x->b, RLX_FN_ROUND, MUL(rlx_mir_cast(x->b, y, RLX_F32), s));
    val zero = ox_in(x, 7);
    if (zero)
        y = ADD(y, rlx_mir_cast(x->b, rlx_mir_reshape(x->b, zero, 0, NULL), RLX_F32));
    ox_out(x, 0, zero ? rlx_mir_saturate(x->b, y, zero->type.format) : NULL);
}

/* How much a transposed convolution cuts off, from the output's shape if that is given. */
static void read_transposed(onnx *x, windows *w)
{
    int64_t more[ONNX_MAX_INTS] = {0}, shape[ONNX_MAX_INTS];
    const bool shaped = ox_list(x, "output_shape", shape) > 0;
    const char *how = ox_text(x, "auto_pad", "NOTSET");
    ox_list(x, "output_padding", more);
    for (int i = 0; i < w->n; i++) {
        int64_t whole = w->step[i] * (w->in[i] - 1) + more[i] + reach(w, i);
        bool same = strncmp(how, "SAME", 4) == 0;
        if (shaped || same) {
            w->out[i] = shaped ? shape[i] : w->in[i] * w->step[i];
            int64_t total = whole > w->out[i] ? whole - w->out[i] : 0;
            w->low[i] = strcmp(how, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
            w->high[i] = total - w->low[i];
        }
        w->out[i] = whole - w->low[i] - w->high[i];
    }
}

/* A convolution of x with zeros between its elements and the kernel turned around. */
static void do_conv_transpose(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1);
    windows w;
    if (!k || !read_windows(x, a, k->type.dim + 2, &w))
        return;
    read_transposed(x, &w);
    int64_t groups = ox_int(x, "group", 1), C = ox_dim(k, 0), M = ox_dim(k, 1), dims[RLX_MAX_RANK];
    for (int i = 0; i < w.n && a && k; i++) {
        int axis = 2 + i;
        k = rlx_mir_slice(x->b, k, axis, w.size[i] - 1, w.size[i], -1);
        a = rlx_mir_pad(x->b, rlx_mir_insert(x->b, a, axis + 1), axis + 1, 0, w.step[i] - 1,
                        LIKE(a, 0));
        w.in[i] = (w.in[i] - 1) * w.step[i] + 1;
        a = rlx_mir_slice(x->b, rlx_mir_flatten(x->b, a, axis, axis + 2), axis, 0, w.in[i], 1);
        w.low[i] = reach(&w, i) - 1 - w.low[i];
        w.step[i] = 1;
    }
    /* [C, M/G, K..] to [M, C/G, K..] */
    if (!k)
        return;
    memcpy(dims, k->type.dim, sizeof dims);
    for (int i = w.n + 2; i > 1; i--)
        dims[i] = k->type.dim[i - 1];
    dims[0] = groups;
    dims[1] = C / groups;
    dims[2] = M;
    k = rlx_mir_move(x->b, rlx_mir_reshape(x->b, k, 3 + w.n, dims), 1, 2);
    k = rlx_mir_flatten(x->b, k, 0, 2);
    val y = convolve(x, window_of(x, a, &w, LIKE(a, 0)), k, groups, w.n);
    ox_out(x, 0, with_bias(x, y, &w, 2));
}

/* Blocks [N, C * K.., L] summed where they lie in the image. */
static void do_col2im(onnx *x)
{
    int64_t image[ONNX_MAX_INTS], block[ONNX_MAX_INTS], list[ONNX_MAX_INTS];
    int n = ox_ints(x, 1, image);
    ox_ints(x, 2, block);
    val a = ox_in(x, 0);
    windows w = {.n = n};
    int64_t taps = 1, shape[RLX_MAX_RANK], dims[RLX_MAX_RANK];
    if (!a || n > MAX_SPATIAL)
        return;
    for (int i = 0; i < n; i++) {
        w.step[i] = w.dilation[i] = 1;
        w.size[i] = block[i];
        w.in[i] = image[i];
        taps *= block[i];
    }
    if (ox_list(x, "strides", list) > 0)
        memcpy(w.step, list, sizeof *list * (size_t)n);
    if (ox_list(x, "dilations", list) > 0)
        memcpy(w.dilation, list, sizeof *list * (size_t)n);
    if (ox_list(x, "pads", list) > 0)
        for (int i = 0; i < n; i++) {
            w.low[i] = list[i];
            w.high[i] = list[n + i];
        }
    int rank = 2 + 2 * n; /* [N, C, P.., K..] of the image; [N, C, K.., O..] of the blocks */
    shape[0] = dims[0] = ox_dim(a, 0);
    shape[1] = dims[1] = ox_dim(a, 1) / taps;
    for (int i = 0; i < n; i++) {
        w.out[i] = (w.in[i] + w.low[i] + w.high[i] - reach(&w, i)) / w.step[i] + 1;
        shape[2 + i] = dims[2 + n + i] = w.size[i];
        shape[2 + n + i] = w.out[i];
        dims[2 + i] = w.in[i];
    }
    val at[RLX_MAX_RANK], ok = NULL;
    at[0] = rlx_mir_iota(x->b, RLX_I64, rank, dims, 0);
    at[1] = rlx_mir_iota(x->b, RLX_I64, rank, dims, 1);
    for (int i = 0; i < n; i++) {
        val p = rlx_mir_iota(x->b, RLX_I64, rank, dims, 2 + i),
            k = rlx_mir_iota(x->b, RLX_I64, rank, dims, 2 + n + i);
        val t = SUB(ADD(p, LIKE(p, (double)w.low[i])), MUL(k, LIKE(k, (double)w.dilation[i])));
        val step = LIKE(p, (double)w.step[i]), q = DIV(t, step);
        val fits = AND(EQ(rlx_mir_map2(x->b, RLX_FN_MOD, t, step), LIKE(t, 0)),
                       AND(LE(LIKE(t, 0), q), LT(q, LIKE(q, (double)w.out[i]))));
        ok = ok ? AND(ok, fits) : fits;
        at[2 + i] = k;
        at[2 + n + i] = rlx_mir_clamp(x->b, q, 0, (double)(w.out[i] - 1));
    }
    val v = rlx_mir_at(x->b, rlx_mir_reshape(x->b, a, rank, shape), at);
    v = PICK(ok, v, LIKE(v, 0));
    ox_out(x, 0, rlx_mir_fold(x->b, RLX_FN_ADD, v, rlx_mir_last_axes(v, 2 + n), false));
}

/* ---- pools
 * ------------------------------------------------------------------------------------------- */

static unsigned taps_of(const windows *w)
{
    return (1u << (2 + 2 * w->n)) - (1u << (2 + w->n));
}

/* How many elements each window has: all that are inside, or inside of the padding too. */
static val window_counts(onnx *x, const windows *w, bool padding)
{
    windows c = *w;
    int64_t dims[RLX_MAX_RANK] = {1, 1};
    for (int i = 0; i < w->n; i++) {
        if (padding) {
            c.in[i] += w->low[i] + w->high[i];
            c.low[i] = 0;
        }
        dims[2 + i] = c.in[i];
    }
    val ones = rlx_mir_expand(x->b, rlx_mir_build_const(x->b, RLX_F32, 1), 2 + w->n, dims);
    return rlx_mir_fold(x->b, RLX_FN_ADD,
                        window_of(x, ones, &c, rlx_mir_build_const(x->b, RLX_F32, 0)), taps_of(w),
                        false);
}

static void do_average_pool(onnx *x)
{
    val a = ox_in(x, 0);
    windows w;
    if (!read_windows(x, a, NULL, &w))
        return;
    val sum = rlx_mir_fold(x->b, RLX_FN_ADD, window_of(x, a, &w, LIKE(a, 0)), taps_of(&w), false);
    ox_out(x, 0, DIV(sum, window_counts(x, &w, ox_int(x, "count_include_pad", 0))));
}

/* Less than everything that the format holds. */
static val least(onnx *x, rlx_format f)
{
    if (rlx_format_is_float(f))
        return rlx_mir_build_const(x->b, f, -INFINITY);
    return rlx_mir_build_const(x->b, f,
                               rlx_format_get(f)->kind == RLX_KIND_UINT
                                   ? 0
                                   : -ldexp(1, 8 * (int)rlx_format_bytes(f, 1) - 1));
}

/* The place of every element in the whole input; the last two axes swapped with storage_order. */
static val places_of(onnx *x, val a)
{
    int64_t scale = 1;
    val place = NULL;
    int order[RLX_MAX_RANK], rank = a->type.rank;
    for (int i = 0; i < rank; i++)
        order[i] = rank - 1 - i;
    for (int i = 0; ox_int(x, "storage_order", 0) && i < rank - 2; i++)
        order[i] = 2 + i;
    for (int i = 0; i < rank; i++) {
        val at = rlx_mir_iota(x->b, RLX_I64, rank, a->type.dim, order[i]);
        at = MUL(at, LIKE(at, (double)scale));
        place = place ? ADD(place, at) : at;
        scale *= a->type.dim[order[i]];
    }
    return place;
}

static void do_max_pool(onnx *x)
{
    val a = ox_in(x, 0);
    windows w;
    if (!read_windows(x, a, NULL, &w))
        return;
    val pieces = window_of(x, a, &w, least(x, a->type.format));
    val y = rlx_mir_fold(x->b, RLX_FN_MAX, pieces, taps_of(&w), false);
    ox_out(x, 0, y);
    if (x->nout < 2 || !y)
        return;
    val none = rlx_mir_build_const(x->b, RLX_I64, (double)ox_elems(a));
    val places = window_of(x, places_of(x, a), &w, none);
    int64_t dims[RLX_MAX_RANK];
    memcpy(dims, y->type.dim, sizeof dims);
    for (int i = 0; i < w.n; i++)
        dims[2 + w.n + i] = 1;
    val hit = EQ(pieces, rlx_mir_reshape(x->b, y, 2 + 2 * w.n, dims));
    ox_out(x, 1, rlx_mir_fold(x->b, RLX_FN_MIN, PICK(hit, places, none), taps_of(&w), false));
}

static void do_lp_pool(onnx *x)
{
    val a = ox_in(x, 0);
    windows w;
    if (!read_windows(x, a, NULL, &w))
        return;
    double p = (double)ox_int(x, "p", 2);
    val v = rlx_mir_pow(x->b, ABS(window_of(x, a, &w, LIKE(a, 0))), LIKE(a, p));
    ox_out(
        x, 0,
        rlx_mir_pow(x->b, rlx_mir_fold(x->b, RLX_FN_ADD, v, taps_of(&w), false), LIKE(a, 1 / p)));
}

static void do_global_average(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_mean(x->b, a, rlx_mir_last_axes(a, 2)));
}

static void do_global_lp(onnx *x)
{
    val a = ox_in(x, 0);
    double p = (double)ox_int(x, "p", 2);
    val sum = rlx_mir_fold(x->b, RLX_FN_ADD, rlx_mir_pow(x->b, ABS(a), LIKE(a, p)),
                           rlx_mir_last_axes(a, 2), true);
    ox_out(x, 0, rlx_mir_pow(x->b, sum, LIKE(a, 1 / p)));
}

static void do_global_max(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_fold(x->b, RLX_FN_MAX, a, rlx_mir_last_axes(a, 2), true));
}

/* Elements go back to where they were the largest; a larger shape than that follows is padded. */
static void do_max_unpool(onnx *x)
{
    val a = ox_in(x, 0);
    windows w;
    int64_t dims[RLX_MAX_RANK], shape[ONNX_MAX_INTS];
    if (!read_windows(x, a, NULL, &w))
        return;
    memcpy(dims, a->type.dim, sizeof dims);
    for (int i = 0; i < w.n; i++)
        dims[2 + i] = (w.in[i] - 1) * w.step[i] - w.low[i] - w.high[i] + w.size[i];
    val zeros = rlx_mir_expand(x->b, LIKE(a, 0), 2 + w.n, dims);
    int rank = 2 + w.n;
    val y = rlx_mir_build_scatter(x->b, RLX_FN_COUNT, rlx_mir_flatten(x->b, zeros, 0, rank),
                                  rlx_mir_flatten(x->b, ox_in(x, 1), 0, rank),
                                  rlx_mir_flatten(x->b, a, 0, rank));
    y = rlx_mir_reshape(x->b, y, rank, dims);
    for (int i = 0; i < ox_ints(x, 2, shape); i++)
        y = rlx_mir_pad(x->b, y, i, 0, shape[i] - dims[i], LIKE(a, 0));
    ox_out(x, 0, y);
}

/* Depthwise over time, with the last K-1 elements as state. */
static void do_causal_conv(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1);
    if (!a || !k)
        return;
    int64_t C = ox_dim(a, 1), L = ox_dim(a, 2), K = ox_dim(k, 2);
    val all = ox_has(x, 3) ? rlx_mir_build_concat(x->b, 2, (val[]){ox_in(x, 3), a}, 2)
                           : rlx_mir_pad(x->b, a, 2, K - 1, 0, LIKE(a, 0));
    val pieces = all ? rlx_mir_build_window(x->b, all, 2, K, 1, 1) : NULL;
    val y = MUL(pieces, rlx_mir_reshape(x->b, k, 3, (int64_t[]){C, 1, K}));
    y = rlx_mir_fold(x->b, RLX_FN_ADD, y, 8, false);
    if (ox_has(x, 2))
        y = ADD(y, rlx_mir_reshape(x->b, ox_in(x, 2), 2, (int64_t[]){C, 1}));
    if (ox_text(x, "activation", "none")[0] == 's')
        y = MUL(y, rlx_mir_sigmoid(x->b, y));
    ox_out(x, 0, y);
    ox_out(x, 1, rlx_mir_slice(x->b, all, 2, L, K - 1, 1));
}

const onnx_op onnx_conv[] = {{"AveragePool", do_average_pool},
                             {"CausalConvWithState", do_causal_conv},
                             {"Col2Im", do_col2im},
                             {"Conv", do_conv},
                             {"ConvInteger", do_conv_integer},
                             {"ConvTranspose", do_conv_transpose},
                             {"GlobalAveragePool", do_global_average},
                             {"GlobalLpPool", do_global_lp},
                             {"GlobalMaxPool", do_global_max},
                             {"LpPool", do_lp_pool},
                             {"MaxPool", do_max_pool},
                             {"MaxUnpool", do_max_unpool},
                             {"QLinearConv", do_qlinear_conv},
                             {0}};
