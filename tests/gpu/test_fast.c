/* Products of codes in fast mode on a fake driver (fake_driver.h) whose device is one with a matrix unit: its mma.sync is emulated
 * (tests/jit/emulated_mma.c), and the results are the CPU's to the bit. */
#include <string.h>

#include "frontend/context.h"
#include "tests/gpu/world.h"
#include "tests/runtime/suite.h"

enum { TOKENS = 6, DEEP = 64, WIDE = 48, SCALE_BYTES = 2, GROUP = 32 };

static uint8_t codes[WIDE * DEEP / GROUP][SCALE_BYTES + GROUP];

/* x w^T, w in Q8_0: of a prompt in fast mode. What it is made of, as LIR. */
static char *multiply_codes(rlx_context *cx, float out[TOKENS][WIDE])
{
    static float x[TOKENS][DEEP];
    static const int32_t sequence[TOKENS];
    const rlx_bucket bucket = {"TOKENS", 32};
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
        x[i / DEEP][i % DEEP] = (float)(i * 37 % 101 - 50) * 0.07f;
    for (int i = 0; i < WIDE * DEEP / GROUP; i++)
        for (int j = 0; j < SCALE_BYTES + GROUP; j++)
            codes[i][j] = (uint8_t)(j == 0 ? i : j == 1 ? 0x2c : 89 * i + 31 * j);
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add(w, &(rlx_tensor){.name = "w",
                                               .format = RLX_Q8_0,
                                               .rank = 2,
                                               .dim = {WIDE, DEEP},
                                               .data = codes,
                                               .bytes = sizeof codes}));
    EXPECT_OK(rlx_flow_create("codes", &f));
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

/* Where there is a matrix unit, products of codes go by it, and are the CPU's. */
START_TEST(fast_prompts_go_by_the_matrix_unit)
{
    static float want[TOKENS][WIDE], got[TOKENS][WIDE];
    fake_driver *v = world_open_driver(RLX_GPU_CUDA);
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    free(multiply_codes(cx, want));
    rlx_context_destroy(cx);
    v->major = 8;
    v->minor = 0;
    EXPECT_OK(world_open(&(rlx_context_options){.device = "cuda", .no_cache = true}, &cx));
    char *lir = multiply_codes(cx, got);
    ck_assert_ptr_nonnull(strstr(lir, "dot_rows"));
    ck_assert_mem_eq(got, want, sizeof want);
    free(lir);
    rlx_context_destroy(cx);
    world_forget_code();
    ck_assert_msg(!v->said()[0], "the driver says: %s", v->said());
    ck_assert_int_eq(v->live(), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu fast");
    SUITE_TEST(s, "fast_prompts_go_by_the_matrix_unit", fast_prompts_go_by_the_matrix_unit);
    return suite_run(s, 1);
}
