/* tests/suites/onnx/signal.c: Fourier transforms, windows, filter banks. */
#include <math.h>

#include "tests/suites/onnx/old.h"

#define TURN 6.283185307179586

/* cos and sin of 2 pi k n / N, f64 [K, N]: the angle is reduced while it is whole. */
static void twiddles(onnx *x, int64_t K, int64_t N, val *cosine, val *sine)
{
    int64_t dims[2] = {K, N};
    val kn = MUL(rlx_mir_iota(IR, RLX_I64, 2, dims, 0), rlx_mir_iota(IR, RLX_I64, 2, dims, 1));
    kn = rlx_mir_map2(IR, RLX_FN_MOD, kn, LIKE(kn, (double)N));
    val angle =
        MUL(rlx_mir_cast(IR, kn, RLX_F64), rlx_mir_build_const(IR, RLX_F64, TURN / (double)N));
    *cosine = rlx_mir_map1(IR, RLX_FN_COS, angle);
    *sine = rlx_mir_map1(IR, RLX_FN_SIN, angle);
}

/* a [.., N] times one of them: [.., K] */
static val transform(onnx *x, val a, val table)
{
    val y = MUL(rlx_mir_insert(IR, a, a ? a->type.rank - 1 : 0), table);
    return rlx_mir_fold(IR, RLX_FN_ADD, y, y ? 1u << (y->type.rank - 1) : 0, false);
}

static val part(onnx *x, val a, int i)
{
    int last = a ? a->type.rank - 1 : 0;
    return a && ox_dim(a, last) > i
               ? rlx_mir_reshape(IR, rlx_mir_slice(IR, a, last, i, 1, 1), last, a->type.dim)
               : NULL;
}

static val joined(onnx *x, val re, val im)
{
    int last = re ? re->type.rank : 0;
    return re && im ? rlx_mir_build_concat(
                          IR, 2,
                          (val[]){rlx_mir_insert(IR, re, last), rlx_mir_insert(IR, im, last)}, last)
                    : NULL;
}

/* Along the last axis of re + i im (im may be NULL), K bins of N. In f64, as bins that cancel are
 * held against 0. */
static void fourier(onnx *x, val re, val im, int64_t K, int64_t N, bool back, val *yre, val *yim)
{
    val c, s;
    rlx_format f = re ? re->type.format : RLX_F32;
    twiddles(x, K, N, &c, &s);
    re = rlx_mir_cast(IR, re, RLX_F64);
    im = rlx_mir_cast(IR, im, RLX_F64);
    if (back)
        s = NEG(s);
    *yre = transform(x, re, c);
    *yim = NEG(transform(x, re, s));
    if (im) {
        *yre = ADD(*yre, transform(x, im, s));
        *yim = ADD(*yim, transform(x, im, c));
    }
    *yre = rlx_mir_cast(IR, *yre, f);
    *yim = rlx_mir_cast(IR, *yim, f);
}

/* The whole spectrum of a real signal from its first half: the rest are conjugates. */
static val mirrored(onnx *x, val a, int64_t N, bool negate)
{
    int last = a->type.rank - 1;
    int64_t have = a->type.dim[last], rest = N - have;
    if (rest <= 0)
        return rlx_mir_slice(IR, a, last, 0, N, 1);
    val back = rlx_mir_slice(IR, a, last, rest, rest, -1);
    return rlx_mir_build_concat(IR, 2, (val[]){a, negate ? NEG(back) : back}, last);
}

static void do_dft(onnx *x)
{
    val a = ox_in(x, 0), yre, yim;
    int64_t axis[ONNX_MAX_INTS] = {ox_int(x, "axis", x->opset < 20 ? 1 : -2)};
    ox_ints(x, 2, axis);
    if (!a)
        return;
    int last = a->type.rank - 2, at = ox_axis(a, axis[0]);
    bool back = ox_int(x, "inverse", 0), half = ox_int(x, "onesided", 0);
    val re = rlx_mir_move(IR, part(x, a, 0), at, last),
        im = rlx_mir_move(IR, part(x, a, 1), at, last);
    int64_t have = ox_dim(re, last), N = (int64_t)ox_number(x, 1, (double)have);
    if (back && half) {
        if (!ox_has(x, 1))
            N = 2 * (have - 1);
        re = mirrored(x, re, N, false);
        im = im ? mirrored(x, im, N, true) : NULL;
    } else {
        re = rlx_mir_pad(IR, re, last, 0, N - have, LIKE(a, 0));
        im = im ? rlx_mir_pad(IR, im, last, 0, N - have, LIKE(a, 0)) : NULL;
    }
    int64_t K = half && !back ? N / 2 + 1 : N;
    fourier(x, re, im, K, N, back, &yre, &yim);
    if (back) {
        yre = MUL(yre, LIKE(yre, 1 / (double)N));
        yim = MUL(yim, LIKE(yim, 1 / (double)N));
    }
    yre = rlx_mir_move(IR, yre, last, at);
    yim = rlx_mir_move(IR, yim, last, at);
    ox_out(x, 0, back && half ? rlx_mir_insert(IR, yre, a->type.rank - 1) : joined(x, yre, yim));
}

static void do_stft(onnx *x)
{
    val a = ox_in(x, 0), yre, yim;
    if (!a || a->type.rank != 3 || ox_dim(a, 2) != 1) {
        ox_refuse(x, "a signal that is not real");
        return;
    }
    int64_t step = (int64_t)ox_number(x, 1, 1);
    int64_t N = ox_has(x, 2) ? x->in[2].elems : (int64_t)ox_number(x, 3, 1);
    val frames = rlx_mir_build_window(IR, part(x, a, 0), 1, N, step, 1);
    if (ox_has(x, 2))
        frames = MUL(frames, ox_in(x, 2));
    int64_t K = ox_int(x, "onesided", 1) ? N / 2 + 1 : N;
    fourier(x, frames, NULL, K, N, false, &yre, &yim);
    ox_out(x, 0, joined(x, yre, yim));
}

/* a - b cos(2 pi n / N) + c cos(4 pi n / N) */
static void cosine_window(onnx *x, double a, double b, double c)
{
    int64_t size = (int64_t)ox_number(x, 0, 0);
    int64_t N = ox_int(x, "periodic", 1) ? size : size - 1;
    val n = rlx_mir_iota(IR, RLX_F32, 1, &size, 0);
    val once = rlx_mir_map1(IR, RLX_FN_COS, MUL(n, LIKE(n, TURN / (double)N)));
    val twice = rlx_mir_map1(IR, RLX_FN_COS, MUL(n, LIKE(n, 2 * TURN / (double)N)));
    val y = SUB(LIKE(n, a), MUL(LIKE(n, b), once));
    ox_out(x, 0, ADD(y, MUL(LIKE(n, c), twice)));
}

static void do_hann(onnx *x)
{
    cosine_window(x, 0.5, 0.5, 0);
}

static void do_hamming(onnx *x)
{
    cosine_window(x, 25 / 46.0, 21 / 46.0, 0);
}

static void do_blackman(onnx *x)
{
    cosine_window(x, 0.42, 0.5, 0.08);
}

/* Triangles between points that lie equally far apart in mel. */
static void do_mel_weights(onnx *x)
{
    int64_t bands = (int64_t)ox_number(x, 0, 0), length = (int64_t)ox_number(x, 1, 0);
    double rate = ox_number(x, 2, 1), lo = ox_number(x, 3, 0), hi = ox_number(x, 4, 0);
    int64_t bins = length / 2 + 1, dims[2] = {bins, bands};
    double mel_lo = 2595 * log10(1 + lo / 700), mel_hi = 2595 * log10(1 + hi / 700);
    double apart = (mel_hi - mel_lo) / (double)(bands + 2);
    val bin = rlx_mir_iota(IR, RLX_F32, 2, dims, 0), band = rlx_mir_iota(IR, RLX_F64, 2, dims, 1),
        edge[3];
    for (int i = 0; i < 3; i++) { /* 700 (10^(mel/2595) - 1) Hz, as a bin */
        val mel = ADD(MUL(ADD(band, LIKE(band, i)), LIKE(band, apart)), LIKE(band, mel_lo));
        val hz = SUB(EXP(MUL(mel, LIKE(mel, log(10) / 2595))), LIKE(mel, 1));
        val at = MUL(hz, LIKE(hz, 700.0 * (double)(length + 1) / rate));
        edge[i] = rlx_mir_cast(IR, FLOOR(at), RLX_F32);
    }
    val rise = SUB(edge[1], edge[0]), fall = SUB(edge[2], edge[1]), one = LIKE(bin, 1);
    val up = DIV(SUB(bin, edge[0]), MAX(rise, one)), down = DIV(SUB(edge[2], bin), MAX(fall, one));
    val y = PICK(AND(LE(edge[0], bin), LT(bin, edge[1])), up, LIKE(bin, 0));
    y = PICK(EQ(bin, edge[1]), one, y);
    ox_out(x, 0, PICK(AND(LT(edge[1], bin), LT(bin, edge[2])), down, y));
}

/* ---- n-grams
 * ------------------------------------------------------------------------------------- */

/* How often pool[0..n) stands in each row of ids [N, C], its elements `apart` from one another:
 * [N]. */
static val count_gram(onnx *x, val ids, const int64_t *pool, int64_t n, int64_t apart)
{
    int64_t places = ox_dim(ids, 1) - (n - 1) * apart;
    val hit = NULL;
    if (places < 1)
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        val one = EQ(rlx_mir_slice(IR, ids, 1, i * apart, places, 1), LIKE(ids, (double)pool[i]));
        hit = hit ? AND(hit, one) : one;
    }
    return rlx_mir_fold(IR, RLX_FN_ADD, rlx_mir_cast(IR, hit, RLX_F32), 2, false);
}

/* Its count over all distances that are allowed; single elements have but one. */
static val count_skips(onnx *x, val ids, const int64_t *pool, int64_t n)
{
    int64_t most = n == 1 ? 0 : ox_int(x, "max_skip_count", 0);
    val sum =
        rlx_mir_expand(IR, rlx_mir_build_const(IR, RLX_F32, 0), 1, (int64_t[]){ox_dim(ids, 0)});
    for (int64_t skip = 0; skip <= most; skip++) {
        val c = count_gram(x, ids, pool, n, skip + 1);
        sum = c ? ADD(sum, c) : sum;
    }
    return sum;
}

static void do_tf_idf(onnx *x)
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
    const bool one = ids->type.rank == 1;
    ids = one ? rlx_mir_insert(IR, ids, 0) : ids;
    for (int i = 0; i < nplaces; i++)
        width = places[i] >= width ? places[i] + 1 : width;
    int k = 0;
    for (int64_t len = 1; len <= n; len++) {
        int64_t end = len < n ? starts[len] : npool;
        for (int64_t at = starts[len - 1]; at + len <= end && k < nplaces; at += len, k++)
            if (len >= least && len <= most)
                columns[places[k]] = rlx_mir_insert(IR, count_skips(x, ids, pool + at, len), 1);
    }
    for (int i = 0; i < width; i++)
        if (!columns[i])
            columns[i] = rlx_mir_expand(IR, rlx_mir_build_const(IR, RLX_F32, 0), 2,
                                        (int64_t[]){ox_dim(ids, 0), 1});
    val y = rlx_mir_build_concat(IR, (int)width, columns, 1);
    ox_out(x, 0, one ? rlx_mir_reshape(IR, y, 1, &width) : y);
}

const onnx_op onnx_signal[] = {OP_MAKES(BlackmanWindow, do_blackman),
                               OP(DFT, do_dft),
                               OP_MAKES(HammingWindow, do_hamming),
                               OP_MAKES(HannWindow, do_hann),
                               OP_MAKES(MelWeightMatrix, do_mel_weights),
                               OP(STFT, do_stft),
                               OP(TfIdfVectorizer, do_tf_idf),
                               OP_END};
