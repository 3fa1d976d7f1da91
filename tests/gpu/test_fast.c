/* Products of codes, bf16 and f16 in fast mode on a fake driver (fake_driver.h) whose device is one with a matrix unit: its mma.sync,
 * wgmma or MFMA is emulated (tests/jit/emulated_mma.c, emulated_mma_floats.c, emulated_wgmma.c, emulated_amd.c). Of codes the results
 * are the CPU's to the bit; of the others within what a unit may round, the same in every bucket. */
#include <math.h>
#include <string.h>

#include "frontend/context.h"
#include "tests/gpu/world.h"
#include "tests/jit/emulated.h"
#include "tests/runtime/suite.h"

enum { TOKENS = 6, DEEP = 64, WIDE = 48, SCALE_BYTES = 2, GROUP = 32 };

static uint8_t codes[WIDE * DEEP / GROUP][SCALE_BYTES + GROUP];

static float x[TOKENS][DEEP], scale = 0.07f; /* of its elements */

/* x w^T of a prompt in fast mode, in a bucket of so many tokens. What it is made of, as LIR. */
static char *multiply(rlx_context *cx, const rlx_tensor *weight, int64_t tokens,
                      float out[TOKENS][WIDE])
{
    static const int32_t sequence[TOKENS];
    const rlx_bucket bucket = {"TOKENS", tokens};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1, .precision = RLX_FAST};
    const rlx_step_input in = {"x", x, sizeof x};
    const rlx_step step = {.tokens = TOKENS, .seq = sequence, .inputs = &in, .ninputs = 1};
    rlx_flow *f;
    rlx_weights *w;
    rlx_executable *e;
    rlx_session *s;
    rlx_tensor y;
    char *lir;
    for (int i = 0; i < TOKENS * DEEP; i++)
        x[i / DEEP][i % DEEP] = (float)(i * 37 % 101 - 50) * scale;
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add(w, weight));
    EXPECT_OK(rlx_flow_create("products", &f));
    rlx_flow_input(f, "x", RLX_F32, 2, (int64_t[]){rlx_flow_symbol(f, "TOKENS"), DEEP});
    rlx_flow_linear(f, "w", NULL);
    rlx_flow_output(f, "y");
    EXPECT_OK(rlx_flow_compile(cx, f, w, &o, NULL, &e));
    EXPECT_OK(rlx_flow_inspect(cx, f, w, &o, "lir", &lir));
    EXPECT_OK(rlx_session_create(cx, NULL, &s));
    EXPECT_OK(rlx_session_step(s, e, &step));
    EXPECT_OK(rlx_session_output(s, "y", &y));
    memcpy(out, y.data, sizeof(float[TOKENS][WIDE]));
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_flow_destroy(f);
    rlx_weights_destroy(w);
    return lir;
}

static char *multiply_codes(rlx_context *cx, float out[TOKENS][WIDE])
{
    for (int i = 0; i < WIDE * DEEP / GROUP; i++)
        for (int j = 0; j < SCALE_BYTES + GROUP; j++)
            codes[i][j] = (uint8_t)(j == 0 ? i : j == 1 ? 0x2c : 89 * i + 31 * j);
    return multiply(cx,
                    &(rlx_tensor){.name = "w",
                                  .format = RLX_Q8_0,
                                  .rank = 2,
                                  .dim = {WIDE, DEEP},
                                  .data = codes,
                                  .bytes = sizeof codes},
                    32, out);
}

/* A device with a matrix unit: of that capability, in teams of so many. */
static fake_driver *open_gpu(int major, int team, rlx_context **cx)
{
    fake_driver *v = world_open_driver(RLX_GPU_CUDA);
    v->major = major;
    v->minor = 0;
    v->team = team;
    EXPECT_OK(world_open(&(rlx_context_options){.device = "cuda", .no_cache = true}, cx));
    (*cx)->target.team = team;
    return v;
}

static fake_driver *open_cdna3(rlx_context **cx)
{
    fake_driver *v = world_open_driver(RLX_GPU_HIP);
    v->arch = "gfx942";
    EXPECT_OK(world_open(&(rlx_context_options){.device = "hip:1", .no_cache = true}, cx));
    return v;
}

static void close_quietly(rlx_context *cx, fake_driver *v)
{
    rlx_context_destroy(cx);
    world_forget_code();
    ck_assert_msg(!v->said()[0], "the driver says: %s", v->said());
    ck_assert_int_eq(v->live(), 0);
}

/* Where there is a matrix unit, products of codes go by it, and are the CPU's: by mma.sync, and by wgmma. */
START_TEST(fast_prompts_go_by_the_matrix_unit)
{
    static const int majors[] = {8, 9}, teams[] = {32, 128};
    static float want[TOKENS][WIDE], got[TOKENS][WIDE];
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    free(multiply_codes(cx, want));
    rlx_context_destroy(cx);
    for (int i = 0; i < 2; i++) {
        fake_driver *v = open_gpu(majors[i], teams[i], &cx);
        char *lir = multiply_codes(cx, got);
        ck_assert_ptr_nonnull(strstr(lir, "dot_rows"));
        ck_assert_mem_eq(got, want, sizeof want);
        free(lir);
        close_quietly(cx, v);
    }
}
END_TEST

/* (1 + width) 2^-23 of the terms for each chunk of K, of rows rounded to the weight's format: of f16 within its range. */
static void check_halves(const rlx_tensor *w, float got[TOKENS][WIDE])
{
    enum { WIDTH = 16 };
    for (int t = 0; t < TOKENS; t++)
        for (int n = 0; n < WIDE; n++) {
            double want = 0, all = 0;
            for (int k = 0; k < DEEP; k++) {
                uint16_t rounded;
                rlx_format_store(w->format, &rounded, 0,
                                 w->format == RLX_F16 ? fmin(fmax(x[t][k], -65504), 65504)
                                                      : (double)x[t][k]);
                const double term = rlx_format_load(w->format, &rounded, 0) *
                                    rlx_format_load(w->format, w->data, n * DEEP + k);
                want += term;
                all += fabs(term);
            }
            const double most = DEEP / WIDTH * (1 + WIDTH) * 0x1p-23 * all;
            ck_assert_msg(fabs((double)got[t][n] - want) <= most, "%d,%d: %.9g for %.9g", t, n,
                          (double)got[t][n], want);
        }
}

/* Products of bf16 and f16 by mma.sync, whatever the bucket; f16 with rows beyond its range, too; also where codes go by wgmma; by
 * MFMA. */
START_TEST(fast_prompts_multiply_halves)
{
    static const rlx_format formats[] = {RLX_BF16, RLX_F16, RLX_F16, RLX_BF16, RLX_F16};
    static const int64_t buckets[] = {8, 32, 300};
    static uint16_t data[WIDE * DEEP];
    static float got[TOKENS][WIDE], first[TOKENS][WIDE];
    rlx_tensor w = {.name = "w",
                    .format = formats[_i],
                    .rank = 2,
                    .dim = {WIDE, DEEP},
                    .data = data,
                    .bytes = sizeof data};
    rlx_context *cx;
    for (int i = 0; i < WIDE * DEEP; i++)
        rlx_format_store(w.format, data, i, sin(i * 1.7));
    fake_driver *v = _i >= 3 ? open_cdna3(&cx) : _i ? open_gpu(9, 128, &cx) : open_gpu(8, 32, &cx);
    emulated_mma_rounds = EMULATED_CUT;
    scale = _i == 2 ? 5000 : 0.07f;
    for (int i = 0; i < 3; i++) {
        char *lir = multiply(cx, &w, buckets[i], got);
        ck_assert_ptr_nonnull(strstr(lir, "contract_rows"));
        check_halves(&w, got);
        if (i == 0)
            memcpy(first, got, sizeof got);
        ck_assert_mem_eq(got, first, sizeof got);
        free(lir);
    }
    emulated_mma_rounds = EMULATED_ONCE;
    const bool hopper =
        _i == 1 || _i == 2; /* whose weights come by boxes, that reach beyond their last row */
    ck_assert_int_eq(v->count("encode_map") > 0, hopper);
    close_quietly(cx, v);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu fast");
    SUITE_TEST(s, "fast_prompts_go_by_the_matrix_unit", fast_prompts_go_by_the_matrix_unit);
    TCase *c = tcase_create("halves");
    tcase_add_loop_test(c, fast_prompts_multiply_halves, 0, 5);
    suite_add_tcase(s, c);
    return suite_run(s, 6);
}
