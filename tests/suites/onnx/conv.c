/* tests/suites/onnx/conv.c: convolutions and pools, of any number of spatial axes. */
#include <string.h>

#include "tests/suites/onnx/onnx.h"

enum { MAX_SPATIAL = 3 };

/* Windows over [N, C, S..]; `out` as many as there are. */
typedef struct windows {
    int n;
    int64_t size[MAX_SPATIAL], in[MAX_SPATIAL], out[MAX_SPATIAL];
    rlx_window_spec at;
} windows;

static int64_t reach(const windows *w, int i)
{
    return (w->size[i] - 1) * w->at.dilation[i] + 1;
}

static void read_axis(onnx *x, windows *w, int i)
{
    const char *how = ox_text(x, "auto_pad", "NOTSET");
    const int64_t step = w->at.stride[i];
    if (strncmp(how, "SAME", 4) == 0) {
        w->out[i] = (w->in[i] + step - 1) / step;
        const int64_t more = (w->out[i] - 1) * step + reach(w, i) - w->in[i];
        const int64_t need = more > 0 ? more : 0;
        w->at.low[i] = how[5] == 'U' ? need / 2 : need - need / 2;
        w->at.high[i] = need - w->at.low[i];
        return;
    }
    const int64_t room = w->in[i] + w->at.low[i] + w->at.high[i] - reach(w, i);
    w->out[i] = (w->at.ceil ? (room + step - 1) / step : room / step) + 1;
    if (w->at.ceil && (w->out[i] - 1) * step >= w->in[i] + w->at.low[i])
        w->out[i]--; /* a window that begins behind all that is there */
}

static bool read_windows(onnx *x, int n, const int64_t *in, const int64_t *kernel, windows *w)
{
    int64_t list[ONNX_MAX_INTS];
    const size_t bytes = sizeof *list * (size_t)(n > 0 && n <= MAX_SPATIAL ? n : 0);
    *w = (windows){.n = n, .at = {.groups = ox_int(x, "group", 1)}};
    w->at.ceil = ox_int(x, "ceil_mode", 0);
    if (!bytes) {
        ox_refuse(x, "windows over %d axes", n);
        return false;
    }
    const bool given = ox_list(x, "kernel_shape", list) > 0;
    for (int i = 0; i < n; i++) {
        w->in[i] = in[i];
        w->size[i] = kernel ? kernel[i] : given ? list[i] : in[i];
        w->at.stride[i] = w->at.dilation[i] = 1;
    }
    if (ox_list(x, "strides", list) > 0)
        memcpy(w->at.stride, list, bytes);
    if (ox_list(x, "dilations", list) > 0)
        memcpy(w->at.dilation, list, bytes);
    if (ox_list(x, "pads", list) > 0) {
        memcpy(w->at.low, list, bytes);
        memcpy(w->at.high, list + n, bytes);
    }
    for (int i = 0; i < n; i++)
        read_axis(x, w, i);
    return true;
}

/* Over the axes behind the first two; `kernel` (NULL: the attribute) is one of [M, C, K..]. */
static bool windows_of(onnx *x, val a, val kernel, windows *w)
{
    int64_t in[ONNX_MAX_RANK], size[ONNX_MAX_RANK];
    ox_dims(a, in);
    ox_dims(kernel, size);
    return read_windows(x, rlx_value_rank(a) - 2, in + 2, kernel ? size + 2 : NULL, w);
}

/* ---- convolutions ----------------------------------------------------------------------------- */

OPERATOR(Conv)
{
    val a = ox_in(x, 0), k = ox_weight(x, 1);
    windows w;
    if (windows_of(x, a, k, &w))
        ox_out(x, 0, rlx_build_conv(x->b, a, k, ox_weight(x, 2), &w.at));
}

/* An input with its zero point taken off, as i32; a zero point per row of weights. */
static val centered(onnx *x, int i, int zero)
{
    val a = rlx_build_cast(x->b, ox_in(x, i), RLX_I32);
    if (!ox_has(x, zero))
        return a;
    val z = rlx_build_cast(x->b, ox_in(x, zero), RLX_I32);
    const int64_t dims[ONNX_MAX_RANK] = {ox_elems(z), 1, 1, 1, 1, 1, 1, 1};
    return SUB(a, rlx_build_reshape(x->b, z, ox_elems(z) == 1 ? 0 : rlx_value_rank(a), dims));
}

static val integer_conv(onnx *x, int a_in, int a_zero, int k_in, int k_zero, val bias)
{
    val a = centered(x, a_in, a_zero), k = centered(x, k_in, k_zero);
    windows w;
    return windows_of(x, a, k, &w) ? rlx_build_conv(x->b, a, k, bias, &w.at) : NULL;
}

EXPRESSION(ConvInteger, integer_conv(x, 0, 2, 1, 3, NULL))

OPERATOR(QLinearConv)
{
    val y = integer_conv(x, 0, 2, 3, 5, ox_has(x, 8) ? ox_in(x, 8) : NULL);
    val scale = DIV(ox_in(x, 6), MUL(ox_in(x, 1), ox_in(x, 4))), zero = ox_in(x, 7);
    const rlx_quantize_spec spec = {.format = rlx_value_format(zero), .axis = 1};
    scale = rlx_build_reshape(x->b, scale, ox_elems(scale) > 1, (int64_t[]){ox_elems(scale)});
    zero = rlx_build_reshape(x->b, zero, 0, NULL);
    ox_out(x, 0, rlx_build_quantize(x->b, &spec, y, scale, zero));
}

/* How much a transposed convolution cuts off, from the output's shape if that is given. */
static void read_transposed(onnx *x, windows *w)
{
    int64_t shape[ONNX_MAX_INTS], more[ONNX_MAX_INTS] = {0};
    const bool shaped = ox_list(x, "output_shape", shape) > 0;
    const char *how = ox_text(x, "auto_pad", "NOTSET");
    ox_list(x, "output_padding", more);
    for (int i = 0; i < w->n; i++) {
        const int64_t whole = w->at.stride[i] * (w->in[i] - 1) + more[i] + reach(w, i);
        w->at.more[i] = more[i];
        if (!shaped && strncmp(how, "SAME", 4) != 0)
            continue;
        const int64_t out = shaped ? shape[i] : w->in[i] * w->at.stride[i];
        const int64_t total = whole > out ? whole - out : 0;
        w->at.low[i] = strcmp(how, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        w->at.high[i] = total - w->at.low[i];
    }
}

OPERATOR(ConvTranspose)
{
    val a = ox_in(x, 0), k = ox_weight(x, 1);
    windows w;
    if (!windows_of(x, a, k, &w))
        return;
    read_transposed(x, &w);
    ox_out(x, 0, rlx_build_conv_transpose(x->b, a, k, ox_weight(x, 2), &w.at));
}

/* Blocks [N, C * K.., L] summed where they lie in the image: by a transposed convolution of each
 * channel, whose kernel k is 1 at place k. */
OPERATOR(Col2Im)
{
    int64_t image[ONNX_MAX_INTS], block[ONNX_MAX_INTS], taps = 1, dims[5], kernel[7];
    const int n = ox_ints(x, 1, image);
    val a = ox_in(x, 0);
    windows w;
    ox_ints(x, 2, block);
    if (!read_windows(x, n, image, block, &w))
        return;
    for (int i = 0; i < n; i++) {
        const int64_t least = (w.out[i] - 1) * w.at.stride[i] + reach(&w, i);
        w.at.more[i] = image[i] + w.at.low[i] + w.at.high[i] - least;
        taps *= block[i];
        dims[2 + i] = w.out[i];
        kernel[3 + i] = block[i];
    }
    dims[0] = ox_dim(a, 0);
    dims[1] = ox_dim(a, 1);
    kernel[0] = w.at.groups = dims[1] / taps;
    kernel[1] = taps;
    kernel[2] = 1;
    val k = rlx_build_one_hot(x->b, rlx_build_iota(x->b, RLX_I32, taps), taps, RLX_F32);
    k = rlx_build_reshape(x->b, k, 2 + n, kernel + 1);
    k = rlx_build_flatten(x->b, rlx_build_expand(x->b, k, 3 + n, kernel), 0, 1);
    a = rlx_build_reshape(x->b, a, 2 + n, dims);
    ox_out(x, 0, rlx_build_conv_transpose(x->b, a, k, NULL, &w.at));
}

/* Depthwise over time, with the last K-1 elements as state. */
OPERATOR(CausalConvWithState)
{
    val state = ox_has(x, 3) ? rlx_build_move(x->b, ox_in(x, 3), 1, 2) : NULL;
    val y = rlx_build_move(x->b, ox_in(x, 0), 1, 2); /* [N, L, C] */
    y = rlx_build_short_conv(x->b, y, ox_weight(x, 1), ox_weight(x, 2), state, &state);
    if (ox_text(x, "activation", "none")[0] == 's')
        y = rlx_build_activation(x->b, RLX_ACT_SILU, 0, 0, y);
    ox_out(x, 0, rlx_build_move(x->b, y, 1, 2));
    ox_out(x, 1, rlx_build_move(x->b, state, 1, 2));
}

/* ---- pools ------------------------------------------------------------------------------------ */

OPERATOR(AveragePool)
{
    val a = ox_in(x, 0);
    windows w;
    if (!windows_of(x, a, NULL, &w))
        return;
    w.at.count_padding = ox_int(x, "count_include_pad", 0);
    ox_out(x, 0, rlx_build_mean_pool(x->b, a, w.size, &w.at));
}

/* Places in a plane, in row-major order, as if its first axis were the fastest. */
static val columns_first(onnx *x, val at, const windows *w)
{
    int64_t rest = 1, scale = 1;
    val y = LIKE(at, 0);
    for (int i = 1; i < w->n; i++)
        rest *= w->in[i];
    for (int i = 0; i < w->n; i++) {
        val own = MAP2(MOD, DIV(at, LIKE(at, (double)rest)), LIKE(at, (double)w->in[i]));
        y = ADD(y, MUL(own, LIKE(at, (double)scale)));
        scale *= w->in[i];
        rest /= i + 1 < w->n && w->in[i + 1] ? w->in[i + 1] : 1;
    }
    return y;
}

/* Places in the planes of [N, C, ..] as places in the whole input. */
static val whole_places(onnx *x, val at, const windows *w, int64_t channels)
{
    int64_t plane = 1;
    for (int i = 0; i < w->n; i++)
        plane *= w->in[i];
    at = ox_int(x, "storage_order", 0) ? columns_first(x, at, w) : at;
    val row = MUL(ox_iota(x, RLX_I64, at, 0), LIKE(at, (double)channels));
    row = ADD(row, ox_iota(x, RLX_I64, at, 1));
    return ADD(at, MUL(row, LIKE(at, (double)plane)));
}

OPERATOR(MaxPool)
{
    val a = ox_in(x, 0), at;
    windows w;
    if (!windows_of(x, a, NULL, &w))
        return;
    const rlx_format f = rlx_value_format(a);
    a = rlx_build_cast(x->b, a, RLX_F32); /* u8 and i8 as they are */
    if (x->nout < 2) {
        ox_out(x, 0, rlx_build_cast(x->b, rlx_build_max_pool(x->b, a, w.size, &w.at), f));
        return;
    }
    val y = rlx_build_max_pool_places(x->b, a, w.size, &w.at, &at);
    ox_out(x, 0, rlx_build_cast(x->b, y, f));
    ox_out(x, 1, whole_places(x, at, &w, ox_dim(a, 1)));
}

static val power(onnx *x, val a, double p)
{
    return rlx_build_pow(x->b, a, LIKE(a, p));
}

/* Sums over windows are a convolution of each channel with ones. */
OPERATOR(LpPool)
{
    val a = ox_in(x, 0);
    const double p = (double)ox_int(x, "p", 2);
    windows w;
    if (!windows_of(x, a, NULL, &w))
        return;
    const int64_t ones[] = {ox_dim(a, 1), 1, w.size[0], w.size[1], w.size[2]};
    for (int i = 0; i < w.n; i++) {
        const int64_t high = (w.out[i] - 1) * w.at.stride[i] + reach(&w, i) - w.at.low[i] - w.in[i];
        w.at.high[i] = high > 0 ? high : 0;
    }
    w.at.groups = ones[0];
    val k = rlx_build_expand(x->b, rlx_build_constant(x->b, 1), 2 + w.n, ones);
    val sum = rlx_build_conv(x->b, power(x, ABS(a), p), k, NULL, &w.at);
    ox_out(x, 0, power(x, sum, 1 / p));
}

UNARY(GlobalAveragePool, ox_mean(x, a, ox_axes(a, 2)))

OPERATOR(GlobalLpPool)
{
    val a = ox_in(x, 0);
    const double p = (double)ox_int(x, "p", 2);
    val sum = ox_fold(x, RLX_MAP_ADD, power(x, ABS(a), p), ox_axes(a, 2), true);
    ox_out(x, 0, power(x, sum, 1 / p));
}

UNARY(GlobalMaxPool, ox_fold(x, RLX_MAP_MAX, a, ox_axes(a, 2), true))

/* Elements go back to where they were the largest; a larger shape than that follows is padded. */
OPERATOR(MaxUnpool)
{
    val a = ox_in(x, 0), at = ox_in(x, 1);
    windows w;
    int64_t dims[ONNX_MAX_RANK], shape[ONNX_MAX_INTS];
    if (!windows_of(x, a, NULL, &w))
        return;
    const int64_t all[] = {ox_elems(a)};
    ox_dims(a, dims);
    for (int i = 0; i < w.n; i++)
        dims[2 + i] = (w.in[i] - 1) * w.at.stride[i] - w.at.low[i] - w.at.high[i] + w.size[i];
    val y = rlx_build_expand(x->b, LIKE(a, 0), 2 + w.n, dims);
    y = rlx_build_scatter(x->b, rlx_build_reshape(x->b, y, 1, (int64_t[]){ox_elems(y)}),
                          rlx_build_reshape(x->b, at, 1, all), rlx_build_reshape(x->b, a, 1, all));
    y = rlx_build_reshape(x->b, y, 2 + w.n, dims);
    for (int i = 0; i < ox_ints(x, 2, shape); i++)
        y = rlx_build_pad(x->b, y, i, 0, shape[i] - dims[i], 0);
    ox_out(x, 0, y);
}
