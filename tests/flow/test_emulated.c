/* tests/flow/test_emulated.c: models, fast, on CPUs that this machine need not be: code
 * whose instructions are emulated, and the evaluator for the same CPU, give the same bits; and
 * those are within the bound of exact mode (docs/precision.md). What is lowered for a GPU's matrix unit, on
 * the evaluators. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "frontend/context.h"
#include "tests/base/suite.h"
#include "tests/jit/emulated.h"

enum { TOKENS = 21 };

#define BF16 "x86-64-v4+avx512vnni+avx512bf16"
#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define Q4_K_M RLX_SHARED_DIR "/fixtures/llama32/gguf-q4_km/model.gguf"

static const struct {
    const char *cpu, *model;
} cases[] = {{BF16, BUNDLED}, {BF16 "+amx-int8+amx-bf16", BUNDLED}, {BF16 "+amx-int8", Q4_K_M}};
enum { CASES = sizeof cases / sizeof *cases };

static const double bound = 0.25;

/* The logits of a prompt: f32[TOKENS, width], the caller's. */
static float *run_for(const rlx_jit_target *target, const char *device, const char *model,
                      rlx_precision precision, int64_t *width)
{
    rlx_context *cx;
    rlx_model *m;
    rlx_session *s;
    rlx_model_info info;
    int32_t ids[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        ids[i] = 1 + i * 37 % 90;
    /* one thread: there is one set of emulated tiles */
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 1}, &cx));
    cx->target = *target;
    assert_ok(rlx_model_load(cx, model, &(rlx_model_options){.precision = precision}, &m));
    assert_ok(rlx_session_create(cx, &(rlx_session_options){.max_positions = 32}, &s));
    rlx_model_get_info(m, &info);
    *width = info.width;
    float *out = malloc((size_t)(TOKENS * info.width) * sizeof *out);
    assert_ok(rlx_model_step(m, s, 0, ids, TOKENS, TOKENS, out));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    return out;
}

static float *run(const char *device, int number, rlx_precision precision, int64_t *width)
{
    const rlx_jit_target t = emulated_target(cases[number].cpu);
    return run_for(&t, device, cases[number].model, precision, width);
}

static void expect_same(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&want[i], &got[i], sizeof *got) == 0,
                      "%s: logit %lld is %.9g, not %.9g", what, (long long)i, (double)got[i],
                      (double)want[i]);
}

static void expect_near(const char *cpu, const float *fast, const float *exact, int64_t n)
{
    double squares = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        squares += (double)exact[i] * (double)exact[i];
        most = fmax(most, fabs((double)fast[i] - (double)exact[i]));
    }
    double rms = sqrt(squares / (double)n);
    printf("%s: largest difference %.4f of the logits' rms %.3f\n", cpu, most / rms, rms);
    ck_assert_msg(most > 0 && most <= bound * rms, "%s: %g of rms %g", cpu, most, rms);
}

START_TEST(code_has_the_evaluators_bits)
{
    int64_t width, again;
    const char *cpu = cases[_i].cpu;
    if (access(cases[_i].model, R_OK) != 0) {
        printf("skipped: %s is not there\n", cases[_i].model);
        return;
    }
    float *code = run("cpu", _i, RLX_FAST, &width);
    float *want = run("ref:mir", _i, RLX_FAST, &again);
    ck_assert_int_eq(again, width);
    expect_same(cpu, code, want, TOKENS * width);
    float *exact = run("ref:mir", _i, RLX_EXACT, &again);
    expect_near(cpu, code, exact, TOKENS * width);
    ck_assert(emulated_tiles_are_free());
    free(exact);
    free(want);
    free(code);
}
END_TEST

/* Products of bf16 as a GPU's matrix unit adds them up: what is lowered for it, on the interpreter, is
 * what MIR says. */
START_TEST(chunks_on_the_evaluators)
{
    const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_80"};
    int64_t width;
    float *mir = run_for(&t, "ref:mir", BUNDLED, RLX_FAST, &width);
    float *lir = run_for(&t, "ref:lir", BUNDLED, RLX_FAST, &width);
    float *exact = run_for(&t, "ref:mir", BUNDLED, RLX_EXACT, &width);
    expect_same("ref:lir", lir, mir, TOKENS * width);
    expect_near("sm_80", mir, exact, TOKENS * width);
    free(exact);
    free(lir);
    free(mir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("emulated");
    TCase *c = tcase_create("emulated");
    tcase_set_timeout(c, 100);
    tcase_add_loop_test(c, code_has_the_evaluators_bits, 0, CASES);
    suite_add_tcase(s, c);
    c = tcase_create("chunks");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, chunks_on_the_evaluators);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + 1);
}
