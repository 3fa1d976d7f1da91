/* f32 into blocks: the error is no larger than that of the reference's own blocks; what a format
 * can hold exactly comes back exactly; nothing that goes in makes blocks that are not finite. */
#include <math.h>
#include <unistd.h>

#include "runtime/quantize/encode.h"
#include "runtime/runtime.h"
#include "tests/runtime/suite.h"

enum { FIRST = RLX_Q8_0, ELEMS = 2048 };

static rlx_encoder *encoders[RLX_FORMAT_COUNT]; /* made when they are needed, ended by main */

static bool is_block(rlx_format f)
{
    return rlx_format_get(f)->kind == RLX_KIND_BLOCK;
}

static void encode(rlx_format f, const float *x, const float *importance, int64_t n, float *back)
{
    uint8_t *blocks = malloc(rlx_format_bytes(f, n));
    ck_assert_ptr_nonnull(blocks);
    if (!encoders[f])
        EXPECT_OK(rlx_encoder_create(f, &encoders[f]));
    rlx_encoder_run(encoders[f], x, importance, n, blocks);
    rlx_format_decode(f, blocks, 0, n, back);
    free(blocks);
}

static double error_of(const float *x, const float *y, const float *w, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (w ? w[i] : 1) * ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum;
}

static int compared;

/* Columns that matter differently: what the reference made without knowing it is no better. */
static void no_worse_weighed(rlx_format f, const rlx_tensor *x, const rlx_tensor *y, float *back)
{
    const int64_t n = x->dim[0] * x->dim[1];
    float *w = malloc((size_t)n * sizeof *w);
    ck_assert_ptr_nonnull(w);
    for (int64_t i = 0; i < n; i++)
        w[i] = expf(2 * sinf((float)(i % x->dim[1]) * 12.9898f));
    encode(f, x->data, w, n, back);
    double ours = error_of(x->data, back, w, n), theirs = error_of(x->data, y->data, w, n);
    ck_assert_msg(ours <= theirs * (1 + 1e-6), "%s: squares of weighed errors make %g, not %g",
                  rlx_format_get(f)->name, ours, theirs);
    free(w);
}

START_TEST(no_worse_than_reference)
{
    rlx_format f = (rlx_format)_i;
    char path[4096], name[16];
    snprintf(name, sizeof name, "%s", rlx_format_get(f)->name);
    size_t len = strlen(name);
    if (name[0] == 'q' && name[len - 1] == 'k')
        name[len - 1] = 'K';
    snprintf(path, sizeof path, "%s/data/conformance/gguf-quant/dev/%s.safetensors", RLX_SHARED_DIR,
             name);
    if (!is_block(f) || access(path, R_OK))
        return;
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add_safetensors(w, path));
    const rlx_tensor *x = rlx_weights_find(w, "real.f32"), *y = rlx_weights_find(w, "real.dequant");
    ck_assert(x && y && x->bytes == y->bytes);
    int64_t n = x->dim[0] * x->dim[1];
    float *back = malloc(x->bytes);
    ck_assert_ptr_nonnull(back);
    encode(f, x->data, NULL, n, back);
    double ours = error_of(x->data, back, NULL, n), theirs = error_of(x->data, y->data, NULL, n);
    ck_assert_msg(ours <= theirs * (1 + 1e-6), "%s: squares of errors make %g, not %g", name, ours,
                  theirs);
    no_worse_weighed(f, x, y, back);
    compared++;
    free(back);
    rlx_weights_destroy(w);
}
END_TEST

START_TEST(reference_was_there)
{
    if (access(RLX_SHARED_DIR "/data/conformance/gguf-quant/dev", R_OK))
        printf("skipped: %s is not there\n", RLX_SHARED_DIR "/data/conformance/gguf-quant/dev");
    else
        ck_assert_int_ge(compared, 25);
}
END_TEST

/* Elements that weigh more are hit better, by what weighs less. */
START_TEST(importance_counts)
{
    rlx_format f = (rlx_format)_i;
    float x[ELEMS], w[ELEMS], plain[ELEMS], weighed[ELEMS];
    if (!is_block(f))
        return;
    for (int i = 0; i < ELEMS; i++) {
        x[i] = sinf((float)(i * i)) * 0.1f;
        w[i] = i % 3 ? 1 : 50;
    }
    encode(f, x, NULL, ELEMS, plain);
    encode(f, x, w, ELEMS, weighed);
    double a = error_of(x, weighed, w, ELEMS), b = error_of(x, plain, w, ELEMS);
    bool coarse = f == RLX_MXFP4; /* scales are powers of two */
    ck_assert_msg(a < b || (coarse && a == b), "%s: %g, and %g without", rlx_format_get(f)->name, a,
                  b);
}
END_TEST

/* Values a format can hold, in every unit the whole range: -1, 0 and 1, times one number. */
START_TEST(ternary_stays)
{
    static const rlx_format formats[] = {RLX_TQ1_0, RLX_TQ2_0, RLX_Q2_0, RLX_Q2_0_128, RLX_Q4_0,
                                         RLX_Q4_1,  RLX_Q8_0,  RLX_Q2_K, RLX_Q4_K};
    float x[ELEMS], back[ELEMS];
    for (int i = 0; i < ELEMS; i++)
        x[i] = 0.375f * (float)((i * 7 + i / 5) % 3 - 1);
    encode(formats[_i], x, NULL, ELEMS, back);
    for (int i = 0; i < ELEMS; i++)
        ck_assert_msg(fabsf(back[i] - x[i]) < 4e-4f, "%s: element %d is %g, not %g",
                      rlx_format_get(formats[_i])->name, i, back[i], x[i]);
}
END_TEST

/* Zeros, the very small, the very large, one of them alone. */
START_TEST(extremes_stay_finite)
{
    static const float scales[] = {0, 1e-38f, 1e-30f, 1e-8f, 1, 1e8f, 1e30f, 3e38f};
    enum { N = 256, COUNT = sizeof scales / sizeof *scales };
    rlx_format f = (rlx_format)_i;
    float x[N], back[N];
    if (!is_block(f))
        return;
    for (int k = 0; k < 2 * COUNT; k++) {
        for (int i = 0; i < N; i++)
            x[i] = scales[k / 2] * (k % 2 && i != 77 ? 0 : sinf((float)i));
        encode(f, x, NULL, N, back);
        for (int i = 0; i < N; i++)
            ck_assert_msg(isfinite(back[i]), "%s: %g became %g", rlx_format_get(f)->name, x[i],
                          back[i]);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("encode");
    TCase *tc = tcase_create("encode");
    tcase_add_loop_test(tc, no_worse_than_reference, FIRST, RLX_FORMAT_COUNT);
    tcase_add_test(tc, reference_was_there);
    tcase_add_loop_test(tc, importance_counts, FIRST, RLX_FORMAT_COUNT);
    tcase_add_loop_test(tc, ternary_stays, 0, 9);
    tcase_add_loop_test(tc, extremes_stay_finite, FIRST, RLX_FORMAT_COUNT);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(s, tc);
    int code = suite_run(s, 90);
    for (int f = 0; f < RLX_FORMAT_COUNT; f++)
        rlx_encoder_destroy(encoders[f]);
    return code;
}
