/* Products of codes, bf16 and f16, attention's too, in fast mode on a fake driver (fake_driver.h) whose device is one with a matrix unit:
 * its mma.sync, wgmma or MFMA is emulated (tests/jit/emulated_mma.c, emulated_mma_floats.c, emulated_wgmma.c, emulated_amd.c). Of codes
 * the results are the CPU's to the bit, of attention the evaluator's; of the others within what a unit may round, the same in every bucket. */
#include <math.h>
#include <string.h>

#include "frontend/context.h"
#include "tests/gpu/world.h"
#include "tests/jit/emulated.h"
#include "tests/runtime/suite.h"

enum { TOKENS = 6, DEEP = 64, WIDE = 48, SCALE_BYTES = 2, GROUP = 32 };

static uint8_t codes[WIDE * DEEP / GROUP][SCALE_BYTES + GROUP];

static float x[TOKENS][DEEP], scale = 0.07f; /* of its elements */

/* x w^T of n rows in fast mode, in a bucket of so many tokens. What it is made of, as LIR. */
static char *multiply_rows(rlx_context *cx, const rlx_tensor *weight, float *rows, int n,
                           int64_t tokens, float *out)
{
    enum { MOST_ROWS = TOKENS };
    static const int32_t sequence[MOST_ROWS];
    const int64_t wide = weight->dim[0], deep = weight->dim[1];
    const rlx_bucket bucket = {"TOKENS", tokens};
    const rlx_compile_options o = {.buckets = &bucket,
                                   .nbuckets = 1,
                                   .precision = RLX_FAST,
                                   .phase = tokens == 1 ? RLX_DECODE : RLX_PREFILL};
    const rlx_step_input in = {"x", rows, sizeof(float) * (size_t)(n * deep)};
    const rlx_step step = {.tokens = n, .seq = sequence, .inputs = &in, .ninputs = 1};
    rlx_flow *f;
    rlx_weights *w;
    rlx_executable *e;
    rlx_session *s;
    rlx_tensor y;
    char *lir;
    ck_assert_int_le(n, MOST_ROWS);
    for (int i = 0; i < n * deep; i++)
        rows[i] = (float)(i * 37 % 101 - 50) * scale;
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add(w, weight));
    EXPECT_OK(rlx_flow_create("products", &f));
    rlx_flow_input(f, "x", RLX_F32, 2, (int64_t[]){rlx_flow_symbol(f, "TOKENS"), deep});
    rlx_flow_linear(f, "w", NULL);
    rlx_flow_output(f, "y");
    EXPECT_OK(rlx_flow_compile(cx, f, w, &o, NULL, &e));
    EXPECT_OK(rlx_flow_inspect(cx, f, w, &o, "lir", &lir));
    EXPECT_OK(rlx_session_create(cx, NULL, &s));
    EXPECT_OK(rlx_session_step(s, e, &step));
    EXPECT_OK(rlx_session_output(s, "y", &y));
    memcpy(out, y.data, sizeof(float) * (size_t)(n * wide));
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_flow_destroy(f);
    rlx_weights_destroy(w);
    return lir;
}

/* Of a prompt. */
static char *multiply(rlx_context *cx, const rlx_tensor *weight, int64_t tokens,
                      float out[TOKENS][WIDE])
{
    return multiply_rows(cx, weight, x[0], TOKENS, tokens, out[0]);
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

/* One row by weights in blocks, as a decode step has it. What it is made of, as LIR. */
enum { LONG = 2048, ROWS = 24, MOST_BYTES = 2 * ROWS * LONG };

static char *multiply_row(rlx_context *cx, rlx_format format, float out[ROWS])
{
    static uint8_t blocks[MOST_BYTES];
    static float row[LONG];
    const rlx_format_info *info = rlx_format_get(format);
    const size_t bytes = (size_t)rlx_format_bytes(format, (int64_t)ROWS * LONG);
    ck_assert_uint_le(bytes, sizeof blocks);
    for (size_t i = 0; i < bytes; i++) /* scales are below 1, the bytes of halves that say so */
        blocks[i] = (uint8_t)(i * 89 % 251 & (i % (size_t)info->block_bytes % 2 ? 0x3a : 0xff));
    return multiply_rows(cx,
                         &(rlx_tensor){.name = "w",
                                       .format = format,
                                       .rank = 2,
                                       .dim = {ROWS, LONG},
                                       .data = blocks,
                                       .bytes = bytes},
                         row, 1, 1, out);
}

/* Weights that stream by go by long steps, which no bit depends on. */
START_TEST(single_rows_go_by_long_steps)
{
    static const rlx_format formats[] = {RLX_Q8_0, RLX_Q4_K, RLX_Q6_K};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        float want[ROWS], got[ROWS];
        rlx_context *cx;
        EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
        free(multiply_row(cx, formats[i], want));
        rlx_context_destroy(cx);
        fake_driver *v = open_gpu(8, 128, &cx);
        char *lir = multiply_row(cx, formats[i], got);
        ck_assert_msg(strstr(lir, "m1n16k1024") != NULL, "%.2000s", lir);
        ck_assert_mem_eq(got, want, sizeof want);
        for (int n = 0; n < ROWS; n++)
            ck_assert(isfinite(got[n]) && got[n] != 0);
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

/* ---- attention */

/* A prompt of two pages; what comes later; rows, heads and their elements. */
enum { PROMPT = 260, LATER = 20, MODEL = 32, QUERIES = 4, KEYS = 2, HEAD = 32 };

static const struct {
    int major, team;
    rlx_format keys, values;
    int64_t window;
} attentions[] = {{8, 32, RLX_F16, RLX_F16, 0}, {9, 128, RLX_Q8_0, RLX_BF16, 100}};
enum { ATTENTIONS = sizeof attentions / sizeof *attentions };

static rlx_weights *attention_weights(void)
{
    static const char *const names[] = {"q.0", "k.0", "v.0"};
    static float data[3][QUERIES * HEAD * MODEL];
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    for (int i = 0; i < 3; i++) {
        const int64_t rows = (i ? KEYS : QUERIES) * HEAD;
        for (int64_t j = 0; j < rows * MODEL; j++)
            data[i][j] = (float)sin((double)(j * 7 + i) * 0.37) * 0.3f;
        EXPECT_OK(rlx_weights_add(w, &(rlx_tensor){.name = names[i],
                                                   .format = RLX_F32,
                                                   .rank = 2,
                                                   .dim = {rows, MODEL},
                                                   .data = data[i],
                                                   .bytes = sizeof(float[MODEL]) * (size_t)rows}));
    }
    return w;
}

static void add_attention(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    const int64_t *window = user;
    rlx_flow_self_attention(f, &(rlx_attention_spec){.q_key = "q.{}",
                                                     .k_key = "k.{}",
                                                     .v_key = "v.{}",
                                                     .heads = QUERIES,
                                                     .kv_heads = KEYS,
                                                     .head_dim = HEAD,
                                                     .window = *window,
                                                     .no_rope = true});
}

/* A prompt to sequence 0; more of it, and another sequence beside it, in one step. What it is made of, as LIR. */
static char *attend(rlx_context *cx, int which, float *out)
{
    static float in[PROMPT][MODEL];
    static int32_t sequence[PROMPT];
    const rlx_bucket bucket = {"TOKENS", 2 * PROMPT};
    const rlx_compile_options o = {.buckets = &bucket,
                                   .nbuckets = 1,
                                   .precision = RLX_FAST,
                                   .kv_key_format = attentions[which].keys,
                                   .kv_value_format = attentions[which].values};
    const rlx_session_options two = {.max_positions = 2 * PROMPT, .max_sequences = 2};
    int64_t window = attentions[which].window;
    rlx_weights *w = attention_weights();
    rlx_flow *f;
    rlx_executable *e;
    rlx_session *s;
    rlx_tensor y;
    char *lir;
    EXPECT_OK(rlx_flow_create("attention", &f));
    rlx_flow_input(f, "x", RLX_F32, 2, (int64_t[]){rlx_flow_symbol(f, "TOKENS"), MODEL});
    rlx_flow_repeat_layers(f, 1, add_attention, &window);
    rlx_flow_output(f, "y");
    EXPECT_OK(rlx_flow_compile(cx, f, w, &o, NULL, &e));
    EXPECT_OK(rlx_flow_inspect(cx, f, w, &o, "lir", &lir));
    EXPECT_OK(rlx_session_create(cx, &two, &s));
    for (int i = 0, n = PROMPT; i < 2; i++, n = LATER) {
        for (int j = 0; j < n * MODEL; j++)
            in[j / MODEL][j % MODEL] = (float)((j + i) * 37 % 101 - 50) * 0.07f;
        for (int t = 0; t < n; t++)
            sequence[t] = i && t >= LATER / 2;
        const rlx_step_input x_in = {"x", in, sizeof *in * (size_t)n};
        EXPECT_OK(rlx_session_step(
            s, e, &(rlx_step){.tokens = n, .seq = sequence, .inputs = &x_in, .ninputs = 1}));
        EXPECT_OK(rlx_session_output(s, "y", &y));
        memcpy(out, y.data, sizeof(float[QUERIES * HEAD]) * (size_t)n);
        out += n * QUERIES * HEAD;
    }
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_flow_destroy(f);
    rlx_weights_destroy(w);
    return lir;
}

/* Over pages of f16, bf16 and codes by the matrix unit, and what MIR's evaluator makes of the same program. */
START_TEST(fast_prompts_attend_by_the_matrix_unit)
{
    static float want[(PROMPT + LATER) * QUERIES * HEAD], got[(PROMPT + LATER) * QUERIES * HEAD];
    rlx_context *cx, *ref;
    fake_driver *v = open_gpu(attentions[_i].major, attentions[_i].team, &cx);
    EXPECT_OK(
        rlx_context_create(&(rlx_context_options){.device = "ref:mir", .no_cache = true}, &ref));
    ref->target = cx->target;
    char *lir = attend(cx, _i, got);
    ck_assert_ptr_nonnull(strstr(lir, "contract_rows"));
    ck_assert_ptr_nonnull(strstr(lir, "_halves__"));
    free(lir);
    free(attend(ref, _i, want));
    ck_assert_mem_eq(got, want, sizeof want);
    rlx_context_destroy(ref);
    close_quietly(cx, v);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu fast");
    SUITE_TEST(s, "fast_prompts_go_by_the_matrix_unit", fast_prompts_go_by_the_matrix_unit);
    SUITE_TEST(s, "single_rows_go_by_long_steps", single_rows_go_by_long_steps);
    TCase *c = tcase_create("halves");
    tcase_add_loop_test(c, fast_prompts_multiply_halves, 0, 5);
    tcase_add_loop_test(c, fast_prompts_attend_by_the_matrix_unit, 0, ATTENTIONS);
    suite_add_tcase(s, c);
    return suite_run(s, 7 + ATTENTIONS);
}
