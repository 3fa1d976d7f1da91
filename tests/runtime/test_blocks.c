/* Block formats against the reference's values: bytes of real and random blocks, bit for bit. */
#include <math.h>
#include <unistd.h>

#include "runtime/runtime.h"
#include "tests/runtime/suite.h"

static const struct {
    rlx_format format;
    const char *file;
} cases[] = {{RLX_Q8_0, "q8_0"},     {RLX_Q4_0, "q4_0"},       {RLX_Q4_1, "q4_1"},
             {RLX_Q5_0, "q5_0"},     {RLX_Q5_1, "q5_1"},       {RLX_Q2_K, "q2_K"},
             {RLX_Q3_K, "q3_K"},     {RLX_Q4_K, "q4_K"},       {RLX_Q5_K, "q5_K"},
             {RLX_Q6_K, "q6_K"},     {RLX_Q1_0, "q1_0"},       {RLX_Q2_0, "q2_0"},
             {RLX_TQ1_0, "tq1_0"},   {RLX_TQ2_0, "tq2_0"},     {RLX_MXFP4, "mxfp4"},
             {RLX_NVFP4, "nvfp4"},   {RLX_IQ4_NL, "iq4_nl"},   {RLX_IQ4_XS, "iq4_xs"},
             {RLX_IQ3_S, "iq3_s"},   {RLX_IQ3_XXS, "iq3_xxs"}, {RLX_IQ2_S, "iq2_s"},
             {RLX_IQ2_XS, "iq2_xs"}, {RLX_IQ2_XXS, "iq2_xxs"}, {RLX_IQ1_M, "iq1_m"},
             {RLX_IQ1_S, "iq1_s"}};

enum { CASES = sizeof cases / sizeof *cases };

static bool same(float a, float b)
{
    return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b));
}

/* Each row as a whole, and in pieces that begin and end anywhere. */
static void check_rows(const rlx_weights *w, const char *set, rlx_format f)
{
    char name[32];
    snprintf(name, sizeof name, "%s.bytes", set);
    const rlx_tensor *bytes = rlx_weights_find(w, name);
    snprintf(name, sizeof name, "%s.dequant", set);
    const rlx_tensor *want = rlx_weights_find(w, name);
    ck_assert(bytes && want && bytes->dim[0] == want->dim[0] && want->dim[0] > 0);
    int64_t n = want->dim[1];
    ck_assert_uint_eq(rlx_format_bytes(f, n), (size_t)bytes->dim[1]);
    float *got = malloc(sizeof *got * (size_t)n);
    ck_assert_ptr_nonnull(got);
    for (int64_t r = 0; r < want->dim[0]; r++) {
        const uint8_t *row = (const uint8_t *)bytes->data + r * bytes->dim[1];
        const float *x = (const float *)want->data + r * n;
        rlx_format_decode(f, row, 0, n, got);
        for (int64_t i = 0; i < n; i++)
            ck_assert_msg(same(got[i], x[i]), "%s %s: row %d, element %d is %.9g, not %.9g",
                          rlx_format_get(f)->name, set, (int)r, (int)i, got[i], x[i]);
        int64_t first = r * 7 % n, count = (n - first + 1) / 2;
        rlx_format_decode(f, row, first, count, got);
        for (int64_t i = 0; i < count; i++)
            ck_assert(same(got[i], x[first + i]));
        ck_assert(same((float)rlx_format_load(f, row, first), x[first]));
    }
    free(got);
}

START_TEST(reference)
{
    static const char dir[] = RLX_SHARED_DIR "/data/conformance/gguf-quant/dev";
    char path[4096];
    if (access(dir, R_OK)) {
        printf("skipped: %s is not there\n", dir);
        return;
    }
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, cases[_i].file);
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add_safetensors(w, path));
    check_rows(w, "real", cases[_i].format);
    check_rows(w, "random", cases[_i].format);
    rlx_weights_destroy(w);
}
END_TEST

/* Blocks whose values are easily worked out: byte `at` counts, all others are zero; d is 2. */
START_TEST(by_hand)
{
    static const struct {
        rlx_format f;
        int d;          /* byte of d */
        int at[3];      /* further bytes, 0: none */
        uint8_t set[3]; /* their values */
        int element;
        float want;
    } blocks[] = {
        {RLX_Q8_0, 0, {2 + 31}, {0xfd}, 31, -6},             /* -3 * 2 */
        {RLX_Q4_0, 0, {2 + 5}, {0xf1}, 5, -14},              /* (1 - 8) * 2 */
        {RLX_Q4_0, 0, {2 + 5}, {0xf1}, 21, 14},              /* (15 - 8) * 2 */
        {RLX_Q4_1, 0, {3, 4}, {0x3c, 0x50}, 16, 11},         /* 5 * 2 + 1 */
        {RLX_Q5_0, 0, {2 + 2, 6 + 1}, {0x02, 0x30}, 17, 6},  /* (16 + 3 - 16) * 2 */
        {RLX_Q5_1, 0, {5, 8 + 9}, {0x02, 0x04}, 9, 40},      /* (16 + 4) * 2 */
        {RLX_Q4_K, 0, {4 + 2, 16 + 33}, {3, 0x05}, 65, 30},  /* 5 * (2 * 3) */
        {RLX_Q4_K, 0, {4 + 9, 16 + 66}, {3, 0x90}, 162, 54}, /* 9 * (2 * 3), scale 5's low bits */
        {RLX_Q5_K, 0, {4 + 1, 16 + 4, 48 + 4}, {2, 2, 0x10}, 36, 68}, /* (16 + 1) * (2 * 2) */
        {RLX_Q6_K, 208, {192 + 4, 128}, {0xff, 0x30}, 64, -32},       /* (48 - 32) * (2 * -1) */
        {RLX_Q8_1, 0, {4 + 30}, {0xfd}, 30, -6},                      /* -3 * 2 */
        {RLX_Q2_0, 0, {2 + 15}, {0x40}, 63, 0},                       /* (1 - 1) * 2 */
        {RLX_Q2_0, 0, {2 + 15}, {0x10}, 62, 0},
        {RLX_Q2_0_128, 0, {2 + 31}, {0xc0}, 127, 4}, /* (3 - 1) * 2 */
        {RLX_Q2_0_128, 0, {2 + 31}, {0xc0}, 126, -2},
        {RLX_Q8_K, 2, {4 + 255}, {0xfd}, 255, -6}, /* an f32 of 2: its upper half is 0x4000 */
        {RLX_NVFP4, 1, {4 + 8, 1}, {0x70, 0x40}, 24, 12}, /* 12 * (2 / 2), its byte is 0x40 */
    };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        uint8_t block[320] = {0}; /* the longest has 292 */
        block[blocks[i].d + 1] = 0x40;
        for (int k = 0; k < 3; k++)
            if (blocks[i].at[k])
                block[blocks[i].at[k]] = blocks[i].set[k];
        float x;
        rlx_format_decode(blocks[i].f, block, blocks[i].element, 1, &x);
        ck_assert_msg(x == blocks[i].want, "%s element %d: %g, not %g",
                      rlx_format_get(blocks[i].f)->name, blocks[i].element, x, blocks[i].want);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("block formats");
    SUITE_TEST(s, "by_hand", by_hand);
    TCase *tc = tcase_create("reference");
    tcase_add_loop_test(tc, reference, 0, CASES);
    suite_add_tcase(s, tc);
    return suite_run(s, 1 + CASES);
}
