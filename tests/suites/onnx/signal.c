/* tests/suites/onnx/signal.c: Fourier transforms, windows, filter banks. */
#include <math.h>

#include "tests/suites/onnx/onnx.h"

#define TURN 6.283185307179586

/* The real or imaginary parts of [.., 1 or 2], f64, as bins that cancel are held against 0; NULL:
 * there are none. */
static val part(onnx *x, val a, int i)
{
    if (ox_dim(a, -1) <= i)
        return NULL;
    int64_t dims[ONNX_MAX_RANK];
    ox_dims(a, dims);
    val v = rlx_build_slice(x->b, a, -1, i, 1, 1);
    v = rlx_build_reshape(x->b, v, rlx_value_rank(a) - 1, dims);
    return rlx_build_cast(x->b, v, RLX_F64);
}

static val joined(onnx *x, val re, val im)
{
    val both[] = {rlx_build_insert(x->b, re, -1), rlx_build_insert(x->b, im, -1)};
    return rlx_build_concat(x->b, 2, both, -1);
}

/* Along the last axis: all bins, or the first half and the middle one. */
static val transform(onnx *x, val re, val im, bool inverse, bool half, val *yim)
{
    const int64_t bins = ox_dim(re, -1) / 2 + 1;
    if (half && !im)
        return rlx_build_rfft(x->b, re, yim);
    val yre = rlx_build_fft(x->b, re, im, inverse, yim);
    *yim = half ? rlx_build_slice(x->b, *yim, -1, 0, bins, 1) : *yim;
    return half ? rlx_build_slice(x->b, yre, -1, 0, bins, 1) : yre;
}

static val part_to(onnx *x, val a, int i, int axis, int64_t size)
{
    val v = part(x, a, i);
    v = v ? rlx_build_move(x->b, v, axis, -1) : NULL;
    return v ? rlx_build_pad(x->b, v, -1, 0, size - ox_dim(v, -1), 0) : NULL;
}

OPERATOR(DFT)
{
    val a = ox_in(x, 0), yim;
    int64_t axis[ONNX_MAX_INTS] = {ox_int(x, "axis", x->opset < 20 ? 1 : -2)};
    ox_ints(x, 2, axis);
    const int at = ox_axis(a, axis[0]);
    const bool back = ox_int(x, "inverse", 0), half = ox_int(x, "onesided", 0);
    const int64_t have = ox_dim(a, at);
    const int64_t N = (int64_t)ox_number(x, 1, (double)(back && half ? 2 * (have - 1) : have));
    const int64_t take = back && half ? N / 2 + 1 : N;
    val re = part_to(x, a, 0, at, take), im = part_to(x, a, 1, at, take), y;
    if (back && half) {
        y = rlx_build_irfft(x->b, re, im ? im : MUL(re, LIKE(re, 0)), N);
        y = rlx_build_insert(x->b, rlx_build_move(x->b, y, -1, at), -1);
    } else {
        val yre = transform(x, re, im, back, half, &yim);
        y = rlx_build_move(x->b, joined(x, yre, yim), -2, at);
    }
    ox_out(x, 0, rlx_build_cast(x->b, y, rlx_value_format(a)));
}

OPERATOR(STFT)
{
    val a = ox_in(x, 0), yim, yre;
    const int64_t step = (int64_t)ox_number(x, 1, 1);
    const int64_t N = ox_has(x, 2) ? x->in[2].elems : (int64_t)ox_number(x, 3, 1);
    const bool half = ox_int(x, "onesided", 1);
    val frames[2] = {part(x, a, 0), part(x, a, 1)};
    val window = ox_has(x, 2) ? rlx_build_cast(x->b, ox_in(x, 2), RLX_F64) : NULL;
    if (half && !frames[1]) {
        const rlx_stft_spec spec = {.n_fft = N, .hop = step};
        yre = rlx_build_stft(x->b, &spec, frames[0], window, &yim);
        yre = rlx_build_move(x->b, yre, -1, -2);
        yim = rlx_build_move(x->b, yim, -1, -2);
    } else {
        for (int i = 0; i < 2 && frames[i]; i++) {
            frames[i] = rlx_build_window(x->b, frames[i], 1, N, step, 1);
            frames[i] = window ? MUL(frames[i], window) : frames[i];
        }
        yre = transform(x, frames[0], frames[1], false, half, &yim);
    }
    ox_out(x, 0, rlx_build_cast(x->b, joined(x, yre, yim), rlx_value_format(a)));
}

/* a - b cos(2 pi n / N) + c cos(4 pi n / N) */
static void cosine_window(onnx *x, double a, double b, double c)
{
    int64_t size = (int64_t)ox_number(x, 0, 0);
    int64_t N = ox_int(x, "periodic", 1) ? size : size - 1;
    val n = rlx_build_iota(x->b, RLX_F32, size);
    val once = MAP1(COS, MUL(n, LIKE(n, TURN / (double)N)));
    val twice = MAP1(COS, MUL(n, LIKE(n, 2 * TURN / (double)N)));
    val y = SUB(LIKE(n, a), MUL(LIKE(n, b), once));
    ox_out(x, 0, ADD(y, MUL(LIKE(n, c), twice)));
}

OPERATOR(HannWindow)
{
    cosine_window(x, 0.5, 0.5, 0);
}

OPERATOR(HammingWindow)
{
    cosine_window(x, 25 / 46.0, 21 / 46.0, 0);
}

OPERATOR(BlackmanWindow)
{
    cosine_window(x, 0.42, 0.5, 0.08);
}

/* Triangles between points that lie equally far apart in mel. */
OPERATOR(MelWeightMatrix)
{
    int64_t bands = (int64_t)ox_number(x, 0, 0), length = (int64_t)ox_number(x, 1, 0);
    double rate = ox_number(x, 2, 1), lo = ox_number(x, 3, 0), hi = ox_number(x, 4, 0);
    const int64_t bins = length / 2 + 1;
    double mel_lo = 2595 * log10(1 + lo / 700), mel_hi = 2595 * log10(1 + hi / 700);
    double apart = (mel_hi - mel_lo) / (double)(bands + 2);
    val bin = rlx_build_insert(x->b, rlx_build_iota(x->b, RLX_F32, bins), 1);
    val band = rlx_build_iota(x->b, RLX_F64, bands), edge[3];
    for (int i = 0; i < 3; i++) { /* 700 (10^(mel/2595) - 1) Hz, as a bin */
        val mel = ADD(MUL(ADD(band, LIKE(band, i)), LIKE(band, apart)), LIKE(band, mel_lo));
        val hz = SUB(EXP(MUL(mel, LIKE(mel, log(10) / 2595))), LIKE(mel, 1));
        val at = MUL(hz, LIKE(hz, 700.0 * (double)(length + 1) / rate));
        edge[i] = rlx_build_cast(x->b, FLOOR(at), RLX_F32);
    }
    val rise = SUB(edge[1], edge[0]), fall = SUB(edge[2], edge[1]), one = LIKE(bin, 1);
    val up = DIV(SUB(bin, edge[0]), MAX(rise, one)), down = DIV(SUB(edge[2], bin), MAX(fall, one));
    val y = PICK(AND(LE(edge[0], bin), LT(bin, edge[1])), up, LIKE(bin, 0));
    y = PICK(EQ(bin, edge[1]), one, y);
    ox_out(x, 0, PICK(AND(LT(edge[1], bin), LT(bin, edge[2])), down, y));
}

/* ---- n-grams ------------------------------------------------------------------------------------ */

/* How often pool[0..n) stands in each row of ids [N, C], its elements `apart` from one another:
 * [N]. */
static val count_gram(onnx *x, val ids, const int64_t *pool, int64_t n, int64_t apart)
{
    int64_t places = ox_dim(ids, 1) - (n - 1) * apart;
    val hit = NULL;
    if (places < 1)
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        val one =
            EQ(rlx_build_slice(x->b, ids, 1, i * apart, places, 1), LIKE(ids, (double)pool[i]));
        hit = hit ? AND(hit, one) : one;
    }
    return ox_fold(x, RLX_MAP_ADD, rlx_build_cast(x->b, hit, RLX_F32), 2, false);
}

/* Its count over all distances that are allowed; single elements have but one. */
static val count_skips(onnx *x, val ids, const int64_t *pool, int64_t n)
{
    int64_t most = n == 1 ? 0 : ox_int(x, "max_skip_count", 0);
    val sum =
        rlx_build_expand(x->b, rlx_build_number(x->b, RLX_F32, 0), 1, (int64_t[]){ox_dim(ids, 0)});
    for (int64_t skip = 0; skip <= most; skip++) {
        val c = count_gram(x, ids, pool, n, skip + 1);
        sum = c ? ADD(sum, c) : sum;
    }
    return sum;
}

OPERATOR(TfIdfVectorizer)
{
    int64_t pool[ONNX_MAX_INTS], starts[ONNX_MAX_INTS], places[ONNX_MAX_INTS];
    int npool = ox_list(x, "pool_int64s", pool), n = ox_list(x, "ngram_counts", starts);
    int nplaces = ox_list(x, "ngram_indexes", places);
    val ids = ox_in(x, 0), columns[ONNX_MAX_INTS] = {NULL};
    int64_t least = ox_int(x, "min_gram_length", 1), most = ox_int(x, "max_gram_length", 1),
            width = 0;
    if (npool < 1 || n < 1 || !ids || ox_text(x, "mode", "TF")[1] != 'F' ||
        cJSON_GetObjectItem(x->attributes, "weights")) {
        ox_refuse(x, "grams of texts, or with weights");
        return;
    }
    const bool one = rlx_value_rank(ids) == 1;
    ids = one ? rlx_build_insert(x->b, ids, 0) : ids;
    for (int i = 0; i < nplaces; i++)
        width = places[i] >= width ? places[i] + 1 : width;
    int k = 0;
    for (int64_t len = 1; len <= n; len++) {
        int64_t end = len < n ? starts[len] : npool;
        for (int64_t at = starts[len - 1]; at + len <= end && k < nplaces; at += len, k++)
            if (len >= least && len <= most)
                columns[places[k]] = rlx_build_insert(x->b, count_skips(x, ids, pool + at, len), 1);
    }
    for (int i = 0; i < width; i++)
        if (!columns[i])
            columns[i] = rlx_build_expand(x->b, rlx_build_number(x->b, RLX_F32, 0), 2,
                                          (int64_t[]){ox_dim(ids, 0), 1});
    val y = rlx_build_concat(x->b, (int)width, columns, 1);
    ox_out(x, 0, one ? rlx_build_reshape(x->b, y, 1, &width) : y);
}
