/* Flows in two parts, layers on the CPU before layers on a Vulkan device, by the public way of flows: what an executable is given, what
 * each part puts out, and steps that are cancelled in one of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/compile.h"
#include "runtime/executable.h"
#include "tests/vulkan/layers.h"

enum { TOKENS = 5, TAPS = 3 };

static float x[TOKENS][HIDDEN], taps[HIDDEN][TAPS];

static void fill_x(void)
{
    for (int t = 0; t < TOKENS; t++)
        layers_fill(x[t], 1, t);
}

static rlx_tensor tensor_of(const char *name, int64_t tokens)
{
    return (rlx_tensor){.name = name,
                        .format = RLX_F32,
                        .rank = 2,
                        .dim = {tokens, HIDDEN},
                        .data = x,
                        .bytes = sizeof x[0] * (size_t)tokens};
}

static void expect_near(const float *got, const float *want)
{
    for (int i = 0; i < TOKENS * HIDDEN; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) < 1e-5f, "element %d: %.9g, on the CPU %.9g", i,
                      (double)got[i], (double)want[i]);
}

/* ---- inputs */

START_TEST(inputs_go_to_the_part_that_takes_them)
{
    rlx_tensor y, given[] = {tensor_of("x", TOKENS), tensor_of("cut:0", TOKENS)};
    float want[TOKENS][HIDDEN];
    fill_x();
    rlx_session *s = layers_make_session(&cpu, 1);
    EXPECT_OK(rlx_executable_run(cpu.e, s, given, 1));
    EXPECT_OK(rlx_session_output(s, "y", &y));
    memcpy(want, y.data, sizeof want);
    rlx_session_destroy(s);
    s = layers_make_session(&gpu, 1);
    ck_assert_ptr_nonnull(gpu.e->front);
    EXPECT_OK(rlx_executable_run(gpu.e, s, given, 1));
    EXPECT_OK(rlx_session_output(s, "y", &y));
    ck_assert_int_eq(y.dim[0], TOKENS);
    expect_near(y.data, want[0]);
    ck_assert_int_eq(rlx_session_past(s, 0), TOKENS);
    EXPECT_ERROR(rlx_executable_run(gpu.e, s, given, 2), RLX_INVALID_ARGUMENT,
                 "takes no input \"cut:0\"");
    given[1].name = "z";
    EXPECT_ERROR(rlx_executable_run(gpu.e, s, given, 2), RLX_INVALID_ARGUMENT,
                 "takes no input \"z\"");
    EXPECT_ERROR(rlx_executable_run(gpu.e, s, given, 0), RLX_NOT_FOUND, "\"x\" is not given");
    rlx_session_destroy(s);
}
END_TEST

START_TEST(ladders_are_of_both_parts)
{
    const rlx_ladder ladder = {.symbol = "TOKENS", .n = 2, .upper = {2, 8}};
    const rlx_tensor given = tensor_of("x", TOKENS);
    rlx_executables *e;
    rlx_flow *f;
    rlx_tensor y;
    layers_make_flow(NULL, &f);
    EXPECT_OK(rlx_executables_create(gpu.cx, f, gpu.w, &(rlx_execution){0}, &ladder, 1, NULL, &e));
    rlx_session *s = layers_make_session(&gpu, 1);
    fill_x();
    EXPECT_OK(rlx_executables_run(e, s, &given, 1));
    EXPECT_OK(rlx_session_output(s, "y", &y));
    ck_assert_int_eq(y.dim[0], TOKENS);
    rlx_session_destroy(s);
    rlx_executables_destroy(e);
    rlx_flow_destroy(f);
}
END_TEST

/* ---- texts, code for later */

START_TEST(each_part_has_its_code)
{
    const rlx_bucket bucket = {"TOKENS", TOKENS};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    rlx_flow *f;
    char *text;
    layers_make_flow(NULL, &f);
    EXPECT_OK(rlx_flow_inspect(gpu.cx, f, gpu.w, &o, "spirv", &text));
    ck_assert_ptr_eq(strstr(text, "// on the CPU\n// which runs no spirv\n// on vulkan:0"), text);
    ck_assert_ptr_nonnull(strstr(text, "OpEntryPoint"));
    free(text);
    rlx_flow_destroy(f);
}
END_TEST

/* What a context runs on one device, though it may run on two, is compiled for later. */
START_TEST(whole_flows_are_warmed)
{
    static const char *const numbers[] = {"0", "99", "1"};
    const rlx_bucket bucket = {"TOKENS", TOKENS};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    rlx_flow *f;
    bool there;
    layers_make_flow(NULL, &f);
    for (int i = 0; i < 3; i++) {
        rlx_context *cx;
        EXPECT_OK(rlx_context_create(
            &(rlx_context_options){.device = "vulkan", .device_layers = numbers[i]}, &cx));
        rlx_status st = rlx_flow_warm(cx, &cx->target, f, gpu.w, &o, true, &there, NULL);
        if (i < 2)
            EXPECT_OK(st);
        else
            EXPECT_ERROR(st, RLX_UNSUPPORTED, "on two devices");
        rlx_context_destroy(cx);
    }
    rlx_flow_destroy(f);
}
END_TEST

/* ---- a front that keeps a state and puts something out itself */

static void compile_conv(const layers_world *of, rlx_weights **w, rlx_executable **out)
{
    const rlx_bucket bucket = {"TOKENS", TOKENS};
    rlx_flow *f;
    for (int i = 0; i < HIDDEN * TAPS; i++)
        taps[i / TAPS][i % TAPS] = sinf((float)i);
    layers_make_weights(w);
    EXPECT_OK(rlx_weights_add(*w, &(rlx_tensor){.name = "taps",
                                                .format = RLX_F32,
                                                .rank = 2,
                                                .dim = {HIDDEN, TAPS},
                                                .data = taps,
                                                .bytes = sizeof taps}));
    layers_make_flow("taps", &f);
    EXPECT_OK(rlx_flow_compile(
        of->cx, f, *w, &(rlx_compile_options){.buckets = &bucket, .nbuckets = 1}, NULL, out));
    rlx_flow_destroy(f);
}

static void take(rlx_session *s, const char *name, float *out)
{
    rlx_tensor t;
    EXPECT_OK(rlx_session_output(s, name, &t));
    ck_assert_uint_eq(t.bytes, sizeof x);
    memcpy(out, t.data, sizeof x);
}

START_TEST(each_part_puts_out_its_own)
{
    const rlx_tensor given = tensor_of("x", TOKENS);
    const layers_world *const worlds[] = {&cpu, &gpu};
    float h[2][TOKENS * HIDDEN], y[2][TOKENS * HIDDEN];
    fill_x();
    for (int i = 0; i < 2; i++) {
        rlx_weights *w;
        rlx_executable *e;
        compile_conv(worlds[i], &w, &e);
        rlx_session *s = layers_make_session(worlds[i], 1);
        EXPECT_OK(rlx_executable_run(e, s, &given, 1));
        take(s, "h", h[i]);
        take(s, "y", y[i]);
        rlx_session_destroy(s);
        rlx_executable_destroy(e);
        rlx_weights_destroy(w);
    }
    ck_assert_mem_eq(h[1], h[0], sizeof h[0]); /* both are the CPU's */
    expect_near(y[1], y[0]);
}
END_TEST

/* Pages that no token reads any more go back, in both parts. */
START_TEST(windows_slide_in_both_parts)
{
    const layers_world *const worlds[] = {&cpu, &gpu};
    float y[2][HIDDEN];
    for (int i = 0; i < 2; i++) {
        rlx_executable *e;
        layers_window = 8;
        EXPECT_OK(layers_compile(worlds[i]->cx, worlds[i]->w, &e));
        layers_window = 0;
        rlx_session *s = layers_make_session(worlds[i], 1);
        for (int64_t at = 0; at < 3 * PROMPT; at += PROMPT)
            layers_say(s, e, 0, 1, at, at + PROMPT, y[i]);
        rlx_session_destroy(s);
        rlx_executable_destroy(e);
    }
    for (int k = 0; k < HIDDEN; k++)
        ck_assert_msg(fabsf(y[1][k] - y[0][k]) < 1e-5f, "element %d: %.9g, on the CPU %.9g", k,
                      (double)y[1][k], (double)y[0][k]);
}
END_TEST

static void cancel(void *session)
{
    rlx_session_cancel(session);
}

/* The front's state has gone on: its step is not taken back, and the next one answers. */
START_TEST(a_cancel_destroys_no_state)
{
    const rlx_tensor given = tensor_of("x", TOKENS);
    float got[TOKENS * HIDDEN], want[TOKENS * HIDDEN];
    rlx_weights *w;
    rlx_executable *e;
    fill_x();
    compile_conv(&gpu, &w, &e);
    rlx_session *s = layers_make_session(&gpu, 1);
    for (int i = 0; i < 3; i++)
        EXPECT_OK(rlx_executable_run(e, s, &given, 1));
    take(s, "y", want);
    rlx_session_destroy(s);
    s = layers_make_session(&gpu, 1);
    EXPECT_OK(rlx_executable_run(e, s, &given, 1));
    faults->plan(
        &(fault_plan){.call = "vkQueueSubmit", .fails = 1, .meanwhile = cancel, .user = s});
    EXPECT_OK(rlx_executable_run(e, s, &given, 1));
    ck_assert_int_eq(rlx_session_past(s, 0), 2 * TOKENS);
    EXPECT_ERROR(rlx_executable_run(e, s, &given, 1), RLX_CANCELLED, "cancelled");
    ck_assert_int_eq(rlx_session_past(s, 0), 2 * TOKENS);
    EXPECT_OK(rlx_executable_run(e, s, &given, 1));
    take(s, "y", got);
    ck_assert_mem_eq(got, want, sizeof want);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
}
END_TEST

/* While pages are copied, which is before the front runs, and in the back. */
START_TEST(parts_are_cancelled)
{
    float got[HIDDEN], want[HIDDEN];
    const float *out;
    rlx_session *s = layers_make_session(&gpu, 2);
    layers_reference(&gpu, 1, want);
    layers_say(s, gpu.e, 1, 0, 0, PROMPT, got);
    EXPECT_OK(rlx_session_fork(s, 1, 0));
    for (int i = 0; i < 2; i++) { /* copies, and then what remains is the back */
        faults->plan(
            &(fault_plan){.call = "vkQueueSubmit", .fails = 1, .meanwhile = cancel, .user = s});
        layers_put(0, 0, 1, PROMPT, 1);
        EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_CANCELLED, "cancelled");
        ck_assert_int_eq(rlx_session_past(s, 0), PROMPT);
    }
    faults->plan(NULL);
    layers_say(s, gpu.e, 0, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    rlx_session_destroy(s);
}
END_TEST

static void add_tests(Suite *s)
{
    TCase *c = tcase_create("parts");
    tcase_set_timeout(c, 0);
    tcase_add_unchecked_fixture(c, layers_open_parts, layers_close_gpu);
    tcase_add_test(c, inputs_go_to_the_part_that_takes_them);
    tcase_add_test(c, ladders_are_of_both_parts);
    tcase_add_test(c, each_part_has_its_code);
    tcase_add_test(c, whole_flows_are_warmed);
    tcase_add_test(c, each_part_puts_out_its_own);
    tcase_add_test(c, windows_slide_in_both_parts);
    tcase_add_test(c, a_cancel_destroys_no_state);
    tcase_add_test(c, parts_are_cancelled);
    suite_add_tcase(s, c);
}

int main(void)
{
    return layers_run("vulkan_parts", add_tests, 8);
}
