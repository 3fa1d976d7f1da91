/* tests/suites/onnx/conv.c: convolutions and pools, of any number of spatial axes. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/old.h"

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

/* What the windows take: the end of the places is padded, or cut off. */
static rlx_mir_windows taken(const windows *w)
{
    rlx_mir_windows t = {.n = w->n};
    for (int i = 0; i < w->n; i++) {
        t.size[i] = w->size[i];
        t.step[i] = w->step[i];
        t.dilation[i] = w->dilation[i];
        t.low[i] = w->low[i];
        t.high[i] = (w->out[i] - 1) * w->step[i] + reach(w, i) - w->low[i] - w->in[i];
    }
    return t;
}

/* [N, C, O.., K..] */
static val window_of(onnx *x, val a, const windows *w, val fill)
{
    const rlx_mir_windows t = taken(w);
    return rlx_mir_windows_of(IR, a, &t, fill);
}

/* ---- convolutions
 * ------------------------------------------------------------------------------------ */

static val convolve(onnx *x, val a, val k, int bias, const windows *w)
{
    const rlx_mir_windows t = taken(w);
    val b = bias >= 0 && ox_has(x, bias) ? ox_in(x, bias) : NULL;
    return rlx_mir_conv(IR, a, k, b, ox_int(x, "group", 1), &t);
}

static void do_conv(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1);
    windows w;
    if (!k || !read_windows(x, a, k->type.dim + 2, &w))
        return;
    ox_out(x, 0, convolve(x, a, k, 2, &w));
}

/* An input with its zero point taken off, in f; a zero point per row of w. */
static val centered(onnx *x, int i, int zero, rlx_format f)
{
    val a = rlx_mir_cast(IR, ox_in(x, i), f);
    if (!a || !ox_has(x, zero))
        return a;
    val z = rlx_mir_cast(IR, ox_in(x, zero), f);
    int64_t dims[RLX_MAX_RANK] = {ox_elems(z), 1, 1, 1, 1};
    return SUB(a, ox_elems(z) == 1 ? rlx_mir_reshape(IR, z, 0, NULL)
                                   : rlx_mir_reshape(IR, z, a->type.rank, dims));
}

static val integer_conv(onnx *x, int a_in, int a_zero, int k_in, int k_zero, int bias, windows *w)
{
    val a = centered(x, a_in, a_zero, RLX_I32), k = centered(x, k_in, k_zero, RLX_I32);
    if (!k || !read_windows(x, a, k->type.dim + 2, w))
        return NULL;
    return convolve(x, a, k, bias, w);
}

static void do_conv_integer(onnx *x)
{
    windows w;
    ox_out(x, 0, integer_conv(x, 0, 2, 1, 3, -1, &w));
}

static void do_qlinear_conv(onnx *x)
{
    windows w;
    val y = integer_conv(x, 0, 2, 3, 5, 8, &w);
    if (!y)
        return;
    int64_t dims[RLX_MAX_RANK] = {1, 1, 1, 1, 1};
    val ws = ox_in(x, 4), s = rlx_mir_reshape(IR, ox_in(x, 1), 0, NULL);
    dims[1] = ox_elems(ws);
    ws = dims[1] == 1 ? rlx_mir_reshape(IR, ws, 0, NULL) : rlx_mir_reshape(IR, ws, 2 + w.n, dims);
    s = DIV(MUL(s, ws), rlx_mir_reshape(IR, ox_in(x, 6), 0, NULL));
    y = rlx_mir_map1(IR, RLX_FN_ROUND, MUL(rlx_mir_cast(IR, y, RLX_F32), s));
    val zero = ox_in(x, 7);
    if (zero)
        y = ADD(y, rlx_mir_cast(IR, rlx_mir_reshape(IR, zero, 0, NULL), RLX_F32));
    ox_out(x, 0, zero ? rlx_mir_saturate(IR, y, zero->type.format) : NULL);
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

static void do_conv_transpose(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1), bias = ox_has(x, 2) ? ox_in(x, 2) : NULL;
    int64_t more[ONNX_MAX_INTS] = {0};
    windows w;
    if (!k || !read_windows(x, a, k->type.dim + 2, &w))
        return;
    read_transposed(x, &w);
    ox_list(x, "output_padding", more);
    rlx_mir_windows t = taken(&w);
    memcpy(t.high, w.high, sizeof t.high);
    ox_out(x, 0, rlx_mir_conv_transpose(IR, a, k, bias, ox_int(x, "group", 1), &t, more));
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
    at[0] = rlx_mir_iota(IR, RLX_I64, rank, dims, 0);
    at[1] = rlx_mir_iota(IR, RLX_I64, rank, dims, 1);
    for (int i = 0; i < n; i++) {
        val p = rlx_mir_iota(IR, RLX_I64, rank, dims, 2 + i),
            k = rlx_mir_iota(IR, RLX_I64, rank, dims, 2 + n + i);
        val t = SUB(ADD(p, LIKE(p, (double)w.low[i])), MUL(k, LIKE(k, (double)w.dilation[i])));
        val step = LIKE(p, (double)w.step[i]), q = DIV(t, step);
        val fits = AND(EQ(rlx_mir_map2(IR, RLX_FN_MOD, t, step), LIKE(t, 0)),
                       AND(LE(LIKE(t, 0), q), LT(q, LIKE(q, (double)w.out[i]))));
        ok = ok ? AND(ok, fits) : fits;
        at[2 + i] = k;
        at[2 + n + i] = rlx_mir_clamp(IR, q, 0, (double)(w.out[i] - 1));
    }
    val v = rlx_mir_at(IR, rlx_mir_reshape(IR, a, rank, shape), at);
    v = PICK(ok, v, LIKE(v, 0));
    ox_out(x, 0, rlx_mir_fold(IR, RLX_FN_ADD, v, rlx_mir_last_axes(v, 2 + n), false));
}

/* ---- pools
 * ------------------------------------------------------------------------------------------- */

static unsigned taps_of(const windows *w)
{
    return (1u << (2 + 2 * w->n)) - (1u << (2 + w->n));
}

/* Padding that counts is part of the input; what a last window reaches over its end never counts.
 */
static void do_average_pool(onnx *x)
{
    val a = ox_in(x, 0);
    windows w;
    if (!read_windows(x, a, NULL, &w))
        return;
    for (int i = 0; i < w.n && ox_int(x, "count_include_pad", 0); i++) {
        a = rlx_mir_pad(IR, a, 2 + i, w.low[i], w.high[i], LIKE(a, 0));
        w.in[i] += w.low[i] + w.high[i];
        w.low[i] = w.high[i] = 0;
    }
    const rlx_mir_windows t = taken(&w);
    ox_out(x, 0, rlx_mir_mean_pool(IR, a, &t, false));
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
        val at = rlx_mir_iota(IR, RLX_I64, rank, a->type.dim, order[i]);
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
    val pieces = window_of(x, a, &w, rlx_mir_least(IR, a));
    val y = rlx_mir_fold(IR, RLX_FN_MAX, pieces, taps_of(&w), false);
    ox_out(x, 0, y);
    if (x->nout < 2 || !y)
        return;
    val none = rlx_mir_build_const(IR, RLX_I64, (double)ox_elems(a));
    val places = window_of(x, places_of(x, a), &w, none);
    int64_t dims[RLX_MAX_RANK];
    memcpy(dims, y->type.dim, sizeof dims);
    for (int i = 0; i < w.n; i++)
        dims[2 + w.n + i] = 1;
    val hit = EQ(pieces, rlx_mir_reshape(IR, y, 2 + 2 * w.n, dims));
    ox_out(x, 1, rlx_mir_fold(IR, RLX_FN_MIN, PICK(hit, places, none), taps_of(&w), false));
}

static void do_lp_pool(onnx *x)
{
    val a = ox_in(x, 0);
    windows w;
    if (!read_windows(x, a, NULL, &w))
        return;
    double p = (double)ox_int(x, "p", 2);
    val v = rlx_mir_pow(IR, ABS(window_of(x, a, &w, LIKE(a, 0))), LIKE(a, p));
    ox_out(x, 0,
           rlx_mir_pow(IR, rlx_mir_fold(IR, RLX_FN_ADD, v, taps_of(&w), false), LIKE(a, 1 / p)));
}

static void do_global_average(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_mean(IR, a, rlx_mir_last_axes(a, 2)));
}

static void do_global_lp(onnx *x)
{
    val a = ox_in(x, 0);
    double p = (double)ox_int(x, "p", 2);
    val sum = rlx_mir_fold(IR, RLX_FN_ADD, rlx_mir_pow(IR, ABS(a), LIKE(a, p)),
                           rlx_mir_last_axes(a, 2), true);
    ox_out(x, 0, rlx_mir_pow(IR, sum, LIKE(a, 1 / p)));
}

static void do_global_max(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_fold(IR, RLX_FN_MAX, a, rlx_mir_last_axes(a, 2), true));
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
    val zeros = rlx_mir_expand(IR, LIKE(a, 0), 2 + w.n, dims);
    int rank = 2 + w.n;
    val y = rlx_mir_build_scatter(IR, RLX_FN_COUNT, rlx_mir_flatten(IR, zeros, 0, rank),
                                  rlx_mir_flatten(IR, ox_in(x, 1), 0, rank),
                                  rlx_mir_flatten(IR, a, 0, rank));
    y = rlx_mir_reshape(IR, y, rank, dims);
    for (int i = 0; i < ox_ints(x, 2, shape); i++)
        y = rlx_mir_pad(IR, y, i, 0, shape[i] - dims[i], LIKE(a, 0));
    ox_out(x, 0, y);
}

/* Depthwise over time, with the last K-1 elements as state. */
static void do_causal_conv(onnx *x)
{
    val a = ox_in(x, 0), k = ox_in(x, 1);
    if (!a || !k)
        return;
    int64_t C = ox_dim(a, 1), L = ox_dim(a, 2), K = ox_dim(k, 2);
    val all = ox_has(x, 3) ? rlx_mir_build_concat(IR, 2, (val[]){ox_in(x, 3), a}, 2)
                           : rlx_mir_pad(IR, a, 2, K - 1, 0, LIKE(a, 0));
    val pieces = all ? rlx_mir_build_window(IR, all, 2, K, 1, 1) : NULL;
    val y = MUL(pieces, rlx_mir_reshape(IR, k, 3, (int64_t[]){C, 1, K}));
    y = rlx_mir_fold(IR, RLX_FN_ADD, y, 8, false);
    if (ox_has(x, 2))
        y = ADD(y, rlx_mir_reshape(IR, ox_in(x, 2), 2, (int64_t[]){C, 1}));
    if (ox_text(x, "activation", "none")[0] == 's')
        y = MUL(y, rlx_mir_sigmoid(IR, y));
    ox_out(x, 0, y);
    ox_out(x, 1, rlx_mir_slice(IR, all, 2, L, K - 1, 1));
}

const onnx_op onnx_conv[] = {OP(AveragePool, do_average_pool),
                             OP(CausalConvWithState, do_causal_conv),
                             OP(Col2Im, do_col2im),
                             OP(Conv, do_conv),
                             OP(ConvInteger, do_conv_integer),
                             OP(ConvTranspose, do_conv_transpose),
                             OP(GlobalAveragePool, do_global_average),
                             OP(GlobalLpPool, do_global_lp),
                             OP(GlobalMaxPool, do_global_max),
                             OP(LpPool, do_lp_pool),
                             OP(MaxPool, do_max_pool),
                             OP(MaxUnpool, do_max_unpool),
                             OP(QLinearConv, do_qlinear_conv),
                             OP_END};
