/* tests/frontend/test_compile.c: the compile driver: a flow to an executable, what its key depends
 * on, what is refused; and runs of it by named tensors. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/context.h"
#include "tests/leaks.h"

enum { HIDDEN = 20, OUT = 7, BUCKET = 6 };

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

static void refused(rlx_status st, rlx_code code, const char *word)
{
    ck_assert_ptr_nonnull(st);
    ck_assert_msg(rlx_status_code(st) == code && strstr(rlx_status_message(st), word),
                  "code %d: \"%s\" does not say %s", rlx_status_code(st), rlx_status_message(st),
                  word);
    rlx_status_free(st);
}

/* ---- a flow: layers of x + norm(x), then a linear map */

typedef struct fixture {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    uint16_t half[OUT * HIDDEN]; /* the same map in bf16 */
    float norm[HIDDEN], head[OUT * HIDDEN];
} fixture;

static void layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "norm.{}", 1e-5);
    rlx_flow_residual_add(f);
}

static rlx_flow *make_flow(const char *name, int64_t layers)
{
    rlx_flow *f;
    must(rlx_flow_create(name, &f));
    rlx_flow_input(f, "x", RLX_F32, 2, (const int64_t[]){rlx_flow_symbol(f, "TOKENS"), HIDDEN});
    rlx_flow_repeat_layers(f, layers, layer, NULL);
    rlx_flow_probe_point(f, "top");
    rlx_flow_linear(f, "head", NULL);
    rlx_flow_output(f, "y");
    return f;
}

static float pattern(int64_t i)
{
    return (float)((i * 37) % 19 - 9) / 8; /* exact in bf16 */
}

static void open_fixture(fixture *t, const char *device, rlx_format format, int64_t layers)
{
    must(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &t->cx));
    must(rlx_weights_create(&t->w));
    for (int i = 0; i < HIDDEN; i++)
        t->norm[i] = 1 + pattern(i) / 16;
    for (int i = 0; i < OUT * HIDDEN; i++) {
        t->head[i] = pattern(i);
        t->half[i] = rlx_f32_to_bf16(t->head[i]);
    }
    for (int64_t l = 0; l < layers; l++) {
        char name[32];
        snprintf(name, sizeof name, "norm.%lld", (long long)l);
        must(rlx_weights_add(t->w, &(rlx_tensor){.name = name,
                                                 .format = RLX_F32,
                                                 .rank = 1,
                                                 .dim = {HIDDEN},
                                                 .data = t->norm,
                                                 .bytes = sizeof t->norm}));
    }
    bool f32 = format == RLX_F32;
    must(rlx_weights_add(t->w, &(rlx_tensor){.name = "head",
                                             .format = format,
                                             .rank = 2,
                                             .dim = {OUT, HIDDEN},
                                             .data = f32 ? (const void *)t->head : t->half,
                                             .bytes = f32 ? sizeof t->head : sizeof t->half}));
    t->flow = make_flow("norms", layers);
}

static void close_fixture(fixture *t)
{
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
}

static rlx_status compile(const fixture *t, const rlx_flow *f, int64_t upper, const char *probe,
                          rlx_compile_stats *stats, rlx_executable **exe)
{
    rlx_bucket bucket = {"TOKENS", upper};
    rlx_compile_options o = {
        .buckets = &bucket, .nbuckets = 1, .probes = &probe, .nprobes = probe != NULL};
    return rlx_flow_compile(t->cx, f, t->w, &o, stats, exe);
}

/* ---- keys */

static rlx_hash key_of(const char *device, rlx_format format, int64_t layers, int64_t upper,
                       const char *name, const char *probe)
{
    fixture t;
    rlx_executable *exe;
    open_fixture(&t, device, format, layers);
    rlx_flow *f = make_flow(name, layers);
    must(compile(&t, f, upper, probe, NULL, &exe));
    rlx_hash key = rlx_executable_program(exe)->key;
    rlx_executable_destroy(exe);
    rlx_flow_destroy(f);
    close_fixture(&t);
    return key;
}

START_TEST(keys)
{
    rlx_hash k = key_of("cpu", RLX_F32, 2, BUCKET, "norms", NULL);
    const rlx_hash same[] = {key_of("cpu", RLX_F32, 2, BUCKET, "norms", NULL),
                             key_of("cpu", RLX_F32, 2, BUCKET, "another name", NULL)};
    const rlx_hash other[] = {
        key_of("cpu", RLX_F32, 3, BUCKET, "norms", NULL),
        key_of("cpu", RLX_F32, 2, BUCKET + 1, "norms", NULL),
        key_of("cpu", RLX_BF16, 2, BUCKET, "norms", NULL),
        key_of("cpu", RLX_F32, 2, BUCKET, "norms", "top"),
        key_of("cpu:x86-64-v3", RLX_F32, 2, BUCKET, "norms", NULL),
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        ck_assert_msg(!memcmp(&k, &same[i], sizeof k), "key %zu should be the same", i);
    uint64_t v3;
    must(rlx_cpu_parse("x86-64-v3", true, &v3));
    size_t n = sizeof other / sizeof *other;
    n -= rlx_cpu_host()->features == v3; /* nothing to mask */
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&k, &other[i], sizeof k), "key %zu should differ", i);
}
END_TEST

/* ---- depth costs nothing */

START_TEST(layers_compile_once)
{
    rlx_compile_stats few, many;
    fixture a, b;
    rlx_executable *exe;
    open_fixture(&a, "cpu", RLX_F32, 4);
    open_fixture(&b, "cpu", RLX_F32, 64);
    must(compile(&a, a.flow, BUCKET, NULL, &few, &exe));
    rlx_executable_destroy(exe);
    must(compile(&b, b.flow, BUCKET, NULL, &many, &exe));
    rlx_executable_destroy(exe);
    ck_assert_int_gt(few.kernels, 0);
    ck_assert_int_eq(few.kernels, many.kernels);
    ck_assert_int_eq(few.functions, many.functions);
    ck_assert_int_eq(few.code_bytes, many.code_bytes);
    ck_assert_int_ge(few.arena_bytes, few.arena_lower_bound);
    ck_assert_int_eq(many.token_weight_bytes, (64 * HIDDEN + OUT * HIDDEN) * 4);
    ck_assert_int_eq(many.token_operations + many.row_operations, 2 * OUT * HIDDEN);
    close_fixture(&a);
    close_fixture(&b);
}
END_TEST

/* ---- runs */

static void expect_row(const float *x, const float *y, int layers)
{
    double v[HIDDEN];
    for (int i = 0; i < HIDDEN; i++)
        v[i] = x[i];
    for (int l = 0; l < layers; l++) {
        double sum = 0;
        for (int i = 0; i < HIDDEN; i++)
            sum += v[i] * v[i];
        double scale = 1 / sqrt(sum / HIDDEN + 1e-5);
        for (int i = 0; i < HIDDEN; i++)
            v[i] += v[i] * scale * (1 + pattern(i) / 16);
    }
    for (int o = 0; o < OUT; o++) {
        double want = 0;
        for (int i = 0; i < HIDDEN; i++)
            want += v[i] * pattern(o * HIDDEN + i);
        ck_assert_msg(fabs(y[o] - want) < 1e-4, "output %d is %.8g, not %.8g", o, y[o], want);
    }
}

static rlx_tensor input_x(const float *x, int64_t tokens)
{
    return (rlx_tensor){.name = "x",
                        .format = RLX_F32,
                        .rank = 2,
                        .dim = {tokens, HIDDEN},
                        .data = x,
                        .bytes = (size_t)tokens * HIDDEN * sizeof *x};
}

static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};
static const rlx_format formats[] = {RLX_F32, RLX_BF16};
enum { NDEVICES = sizeof devices / sizeof *devices };

START_TEST(runs_at_every_live_extent)
{
    fixture t;
    rlx_executable *exe;
    rlx_session *session;
    float x[BUCKET * HIDDEN];
    for (int i = 0; i < BUCKET * HIDDEN; i++)
        x[i] = pattern(3 * i + 1);
    open_fixture(&t, devices[_i % NDEVICES], formats[_i / NDEVICES], 3);
    must(compile(&t, t.flow, BUCKET, "top", NULL, &exe));
    must(rlx_session_create(t.cx, NULL, &session));
    for (int64_t tokens = 1; tokens <= BUCKET; tokens++) {
        rlx_tensor in = input_x(x, tokens), y, top;
        must(rlx_executable_run(exe, session, &in, 1));
        must(rlx_session_output(session, "y", &y));
        must(rlx_session_output(session, "probe:top", &top));
        ck_assert_int_eq(y.dim[0], tokens);
        ck_assert_int_eq(y.dim[1], OUT);
        ck_assert_int_eq(top.dim[1], HIDDEN);
        for (int64_t i = 0; i < tokens; i++)
            expect_row(x + i * HIDDEN, (const float *)y.data + i * OUT, 3);
    }
    rlx_session_destroy(session);
    rlx_executable_destroy(exe);
    close_fixture(&t);
}
END_TEST

START_TEST(refuses)
{
    fixture t;
    rlx_executable *exe;
    rlx_session *session;
    float x[(BUCKET + 1) * HIDDEN] = {0};
    open_fixture(&t, "cpu", RLX_F32, 1);

    rlx_bucket unknown[] = {{"TOKENS", 2}, {"TOKEN", 2}};
    rlx_compile_options o = {.buckets = unknown, .nbuckets = 2};
    refused(rlx_flow_compile(t.cx, t.flow, t.w, &o, NULL, &exe), RLX_INVALID_ARGUMENT, "TOKEN");
    refused(rlx_flow_compile(t.cx, t.flow, t.w, NULL, NULL, &exe), RLX_INVALID_ARGUMENT, "TOKENS");
    refused(compile(&t, t.flow, 0, NULL, NULL, &exe), RLX_INVALID_ARGUMENT, "TOKENS");
    refused(compile(&t, t.flow, 2, "tap", NULL, &exe), RLX_NOT_FOUND, "tap");

    must(compile(&t, t.flow, BUCKET, NULL, NULL, &exe));
    must(rlx_session_create(t.cx, NULL, &session));
    rlx_tensor in = input_x(x, 2), two[2] = {in, in};
    refused(rlx_executable_run(exe, session, NULL, 0), RLX_NOT_FOUND, "\"x\"");
    two[1].name = "z";
    refused(rlx_executable_run(exe, session, two, 2), RLX_INVALID_ARGUMENT, "\"z\"");
    in.format = RLX_I32;
    refused(rlx_executable_run(exe, session, &in, 1), RLX_INVALID_ARGUMENT, "i32");
    in = input_x(x, 2);
    in.dim[1] = HIDDEN - 1;
    refused(rlx_executable_run(exe, session, &in, 1), RLX_INVALID_ARGUMENT, "19");
    in = input_x(x, 2);
    in.bytes /= 2;
    refused(rlx_executable_run(exe, session, &in, 1), RLX_INVALID_ARGUMENT, "its shape's");
    in = input_x(x, 2);
    in.data = NULL;
    refused(rlx_executable_run(exe, session, &in, 1), RLX_INVALID_ARGUMENT, "at NULL");
    in = input_x(x, BUCKET + 1);
    refused(rlx_executable_run(exe, session, &in, 1), RLX_INVALID_ARGUMENT, "TOKENS");
    rlx_tensor y;
    refused(rlx_session_output(session, "y", &y), RLX_NOT_FOUND, "y");
    in = input_x(x, 1);
    must(rlx_executable_run(exe, session, &in, 1)); /* errors left the session as it was */
    rlx_session_destroy(session);
    rlx_executable_destroy(exe);
    close_fixture(&t);
}
END_TEST

static void keep_message(void *user, rlx_log_level level, const char *message)
{
    if (level == RLX_LOG_WARNING)
        snprintf(user, 256, "%s", message);
}

/* Tensors that nobody uses are let be, told or refused; those that others were made of are used. */
START_TEST(unused_weights)
{
    static const float extra[4];
    static const char *const endings[] = {".extra", NULL};
    const rlx_bucket bucket = {"TOKENS", 2};
    char message[256] = "";
    fixture t;
    rlx_executable *exe;
    open_fixture(&t, "ref:mir", RLX_F32, 1);
    rlx_context_destroy(t.cx);
    must(rlx_context_create(
        &(rlx_context_options){.device = "ref:mir", .log = keep_message, .log_user = message},
        &t.cx));
    must(rlx_weights_add(t.w, &(rlx_tensor){"an.extra", RLX_F32, 1, {4}, extra, sizeof extra}));
    must(rlx_weights_alias(t.w, "another.name", "an.extra"));
    for (rlx_unused unused = RLX_UNUSED_IGNORE; unused <= RLX_UNUSED_REFUSE; unused++) {
        rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1, .unused = unused};
        message[0] = 0;
        rlx_status st = rlx_flow_compile(t.cx, t.flow, t.w, &o, NULL, &exe);
        if (unused == RLX_UNUSED_REFUSE)
            refused(st, RLX_INVALID_FILE, "does not use 1 tensor: an.extra");
        else
            must(st);
        ck_assert_int_eq(strstr(message, "does not use 1 tensor: an.extra") != NULL,
                         unused == RLX_UNUSED_WARN);
        rlx_executable_destroy(exe);
        o.may_unused = endings;
        must(rlx_flow_compile(t.cx, t.flow, t.w, &o, NULL, &exe));
        rlx_executable_destroy(exe);
    }
    close_fixture(&t);
}
END_TEST

/* "cpu" and "cpu:native" are made of what pays; who asks for what does not gets it. */
static void native_is_the_default(void)
{
    const uint64_t pairs = 1ull << RLX_CPU_AVX512BF16;
    rlx_device_choice usual, native, forced;
    must(rlx_context_parse_device("cpu", &usual));
    must(rlx_context_parse_device("cpu:native", &native));
    ck_assert_uint_eq(usual.target.features, rlx_cpu_host()->native);
    ck_assert_uint_eq(native.target.features, usual.target.features);
    ck_assert_uint_eq(native.target.slow_features, usual.target.slow_features);
    ck_assert_uint_eq(usual.target.features | usual.target.slow_features, rlx_cpu_host()->features);
    if (!(rlx_cpu_host()->features & pairs))
        return;
    must(rlx_context_parse_device("cpu:native,+avx512bf16", &forced));
    ck_assert(forced.target.features & pairs);
    must(rlx_context_parse_device("cpu:native,-avx512bf16", &forced));
    ck_assert(!((forced.target.features | forced.target.slow_features) & pairs));
}

START_TEST(contexts)
{
    static const char *const vulkans[][2] = {
        {"vulcan", "\"vulkan\""},           {"vulkan:", "expected a number"},
        {"vulkan:-1", "expected a number"}, {"vulkan:0x", "expected a number"},
        {"vulkan:0,int8", ",-FEATURE"},     {"vulkan,-int9", "did you mean \"int8\""}};
    rlx_context *cx;
    refused(rlx_context_create(&(rlx_context_options){.device = "ref:mri"}, &cx),
            RLX_INVALID_ARGUMENT, "ref:mir");
    refused(rlx_context_create(&(rlx_context_options){.device = "cpu:x86-64-v9"}, &cx),
            RLX_INVALID_ARGUMENT, "x86-64-v");
    refused(rlx_context_create(&(rlx_context_options){.threads = -1}, &cx), RLX_INVALID_ARGUMENT,
            "-1");
    must(rlx_context_create(&(rlx_context_options){.device = "cpu:x86-64-v3", .threads = 3}, &cx));
    ck_assert_str_eq(rlx_context_device(cx), "cpu:x86-64-v3");
    ck_assert_int_eq(rlx_context_threads(cx), 3);
    rlx_context_destroy(cx);
    native_is_the_default();
    __lsan_disable();
    ck_assert_int_ge(rlx_device_count(), 3); /* and what Vulkan has here */
    __lsan_enable();
    for (size_t i = 0; i < sizeof vulkans / sizeof *vulkans; i++)
        refused(rlx_context_create(&(rlx_context_options){.device = vulkans[i][0]}, &cx),
                RLX_INVALID_ARGUMENT, vulkans[i][1]);
}
END_TEST

/* "vulkan" without a number: no software where there is something else, nothing that cannot be used. */
START_TEST(vulkan_devices_are_chosen)
{
    const rlx_vulkan_info software = {.is_cpu = true}, old = {.why_not = "has Vulkan 1.1"},
                          card = {0};
    ck_assert_int_eq(rlx_vulkan_choose((rlx_vulkan_info[]){software, old, card, card}, 4), 2);
    ck_assert_int_eq(rlx_vulkan_choose((rlx_vulkan_info[]){old, software, software}, 3), 1);
    ck_assert_int_eq(rlx_vulkan_choose((rlx_vulkan_info[]){card, software}, 2), 0);
    ck_assert_int_eq(rlx_vulkan_choose((rlx_vulkan_info[]){old}, 1), 0);
    ck_assert_int_eq(rlx_vulkan_choose(NULL, 0), 0);
}
END_TEST

START_TEST(inspects)
{
    static const char *const levels[][2] = {{"flow", "flow @norms"},
                                            {"hir", "hir module"},
                                            {"mir", "mir module"},
                                            {"lir", "lir module"},
                                            {"llvm", "define"},
                                            {"asm", "ret"},
                                            {"spirv", "OpLine"},
                                            {"fusion", "region"},
                                            {"memory", "arena"},
                                            {"ptx", ".entry"},
                                            {"amdgcn", "s_endpgm"},
                                            {"amdgcn@hip:gfx1100", "gfx1100"},
                                            {"lir@cuda:sm_90", "lir module"},
                                            {"llvm@hip:gfx90a", "amdgpu_kernel"}};
    fixture t;
    char *text;
    rlx_bucket bucket = {"TOKENS", BUCKET};
    rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    open_fixture(&t, "cpu", RLX_F32, 2);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        must(rlx_flow_inspect(t.cx, t.flow, t.w, &o, levels[i][0], &text));
        ck_assert_msg(strstr(text, levels[i][1]), "%s says no \"%s\"", levels[i][0], levels[i][1]);
        free(text);
    }
    refused(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "lirr", &text), RLX_INVALID_ARGUMENT, "lir");
    refused(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "amdgcn@cuda:sm_80", &text),
            RLX_INVALID_ARGUMENT, "as hip:gfx942 has");
    refused(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "asm@hip:gfx941", &text), RLX_INVALID_ARGUMENT,
            "did you mean \"gfx942\"");
    close_fixture(&t);
}
END_TEST

/* How many lines of a module have `mark`; the name in each must be in `text`, between head and tail. */
static int count_named(const char *module, const char *mark, const char *text, const char *head,
                       const char *tail)
{
    int n = 0;
    for (const char *at = module; (at = strstr(at, mark)); n++) {
        char name[256];
        at = strchr(at + strlen(mark), '"') + 1;
        snprintf(name, sizeof name, "%s%.*s%s", head, (int)strcspn(at, "\""), at, tail);
        ck_assert_msg(strstr(text, name), "\"%s\" is in SPIR-V alone", name);
    }
    return n;
}

/* Entry points are kernels of LIR; lines have places of the model, which MIR has. */
START_TEST(spirv_leads_back)
{
    fixture t;
    char *spirv, *mir, *lir;
    rlx_bucket bucket = {"TOKENS", BUCKET};
    rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    open_fixture(&t, "cpu", RLX_F32, 2);
    must(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "mir@vulkan:lavapipe", &mir));
    must(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "lir@vulkan:lavapipe", &lir));
    must(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "spirv@vulkan:lavapipe", &spirv));
    const int kernels = count_named(spirv, "OpEntryPoint", lir, "kernel @", "(");
    ck_assert_int_ge(kernels, 2);
    ck_assert_int_ge(count_named(spirv, "OpString", mir, "// ", "\n"), kernels);
    for (const char *at = spirv; (at = strstr(at, "OpLine %")); at++) {
        char place[32];
        snprintf(place, sizeof place, "%.*s = OpString", (int)strcspn(at + 7, " "), at + 7);
        ck_assert_msg(strstr(spirv, place), "no %s", place);
        ck_assert_int_ge(atoi(at + 7 + strcspn(at + 7, " ")), 1); /* the node in the kernel */
    }
    free(spirv);
    free(mir);
    free(lir);
    close_fixture(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compile");
    TCase *c = tcase_create("compile");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, keys);
    tcase_add_test(c, layers_compile_once);
    tcase_add_loop_test(c, runs_at_every_live_extent, 0, NDEVICES * 2);
    tcase_add_test(c, refuses);
    tcase_add_test(c, contexts);
    tcase_add_test(c, vulkan_devices_are_chosen);
    tcase_add_test(c, unused_weights);
    tcase_add_test(c, inspects);
    tcase_add_test(c, spirv_leads_back);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 14;
    srunner_free(r);
    return bad;
}
