/* Sessions on a Vulkan device: a flow of two layers with attention, held against the CPU; sequences that fork, go back and
 * are saved, batches, held against the bits of a session that only ever went forward; what a device refuses. Under the
 * validation layer, which must be silent. Twice: with memory that the host sees, and with memory that is filled by copies, as
 * on a card. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "frontend/context.h"
#include "runtime/device_vulkan_impl.h"
#include "tests/runtime/suite.h"
#include "tests/vulkan/environment.h"

#define SAVED "test_vulkan_sessions.rlx"

enum { HIDDEN = 8, HEADS = 2, DIM = 4, BUCKET = 512, POSITIONS = 1024, PROMPT = 260 };

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_executable *e;
} world;

static world cpu, gpu;
static float weights[8][HIDDEN * HEADS * DIM];
static bool validated;

/* ---- the flow */

static void add_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_attention_spec a = {.q_key = "q.{}",
                            .k_key = "k.{}",
                            .v_key = "v.{}",
                            .heads = HEADS,
                            .kv_heads = HEADS,
                            .head_dim = DIM,
                            .no_rope = true};
    rlx_flow_residual_save(f);
    rlx_flow_self_attention(f, &a);
    rlx_flow_linear(f, "o.{}", NULL);
    rlx_flow_residual_add(f);
}

static rlx_status compile(rlx_context *cx, const rlx_weights *w, rlx_executable **out)
{
    rlx_flow *f;
    rlx_bucket bucket = {"TOKENS", BUCKET};
    rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    EXPECT_OK(rlx_flow_create("layers", &f));
    int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), HIDDEN};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(f, 2, add_layer, NULL);
    rlx_flow_output(f, "y");
    rlx_status st = rlx_flow_compile(cx, f, w, &o, NULL, out);
    rlx_flow_destroy(f);
    return st;
}

static void open_weights(rlx_weights **w)
{
    static const char *const names[] = {"q.0", "k.0", "v.0", "o.0", "q.1", "k.1", "v.1", "o.1"};
    EXPECT_OK(rlx_weights_create(w));
    for (int i = 0; i < 8; i++) {
        const bool out = names[i][0] == 'o';
        for (int k = 0; k < HIDDEN * HEADS * DIM; k++)
            weights[i][k] = sinf(0.37f * (float)(k + 64 * i)) * 0.3f;
        EXPECT_OK(rlx_weights_add(
            *w, &(rlx_tensor){.name = names[i],
                              .format = RLX_F32,
                              .rank = 2,
                              .dim = {out ? HIDDEN : HEADS * DIM, out ? HEADS * DIM : HIDDEN},
                              .data = weights[i],
                              .bytes = sizeof weights[i]}));
    }
}

static rlx_session *make_session(const world *w, int sequences)
{
    rlx_session *s;
    EXPECT_OK(rlx_session_create(
        w->cx, &(rlx_session_options){.max_positions = POSITIONS, .max_sequences = sequences}, &s));
    return s;
}

/* ---- worlds */

static rlx_status open_device(bool hides, rlx_context *cx)
{
    rlx_vulkan_options o = {.validate = true, .hides = hides};
    rlx_device_destroy(cx->gpu); /* again, under the layer */
    cx->gpu = NULL;
    rlx_status st = rlx_vulkan_open(&o, &cx->gpu);
    validated = !st;
    if (rlx_status_code(st) != RLX_NOT_FOUND) /* the layer is a package of its own */
        return st;
    rlx_status_free(st);
    o.validate = false;
    return rlx_vulkan_open(&o, &cx->gpu);
}

static void open_gpu(bool hides)
{
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.device = "vulkan"}, &gpu.cx));
    EXPECT_OK(open_device(hides, gpu.cx));
    open_weights(&gpu.w);
    EXPECT_OK(compile(gpu.cx, gpu.w, &gpu.e));
}

static void close_gpu(void)
{
    const char *text;
    const int n = rlx_vulkan_device_messages(rlx_vulkan_device_of(gpu.cx->gpu), &text);
    ck_assert_msg(n == 0, "the validation layer says:\n%s", text);
    rlx_executable_destroy(gpu.e);
    ck_assert_int_eq(gpu.cx->gpu->used_bytes, 0);
    rlx_context_destroy(gpu.cx);
    rlx_weights_destroy(gpu.w);
}

static void open_mapped(void)
{
    open_gpu(false);
}

static void open_hidden(void)
{
    open_gpu(true);
}

/* ---- sequences */

static float input[BUCKET][HIDDEN];
static int32_t sequences[BUCKET];

/* Appends `n` elements of a text to a sequence, as the last ones of a step that is being made. */
static int64_t put(int64_t at, int seq, int which, int64_t from, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        sequences[at + t] = seq;
        for (int i = 0; i < HIDDEN; i++)
            input[at + t][i] = sinf(0.11f * (float)((from + t) * (i + 1) + 37 * which));
    }
    return at + n;
}

static rlx_status step(rlx_session *s, rlx_executable *e, int64_t n, const float **out)
{
    rlx_tensor y = {0};
    const rlx_step_input in = {"x", input, sizeof input[0] * (size_t)n};
    const rlx_step what = {.tokens = n, .seq = sequences, .inputs = &in, .ninputs = 1};
    RLX_TRY(rlx_session_step(s, e, &what));
    RLX_TRY(rlx_session_output(s, "y", &y));
    *out = y.data;
    return RLX_OK;
}

/* Part of a text to a sequence; the output of its last token. */
static void say(rlx_session *s, rlx_executable *e, int seq, int which, int64_t from, int64_t to,
                float *out)
{
    const float *y;
    put(0, seq, which, from, to - from);
    EXPECT_OK(step(s, e, to - from, &y));
    memcpy(out, y + (to - from - 1) * HIDDEN, sizeof input[0]);
}

/* What a session that went only forward gives: PROMPT tokens of text 0, then one of another. */
static void reference(const world *w, int which, float *out)
{
    rlx_session *s = make_session(w, 1);
    say(s, w->e, 0, 0, 0, PROMPT, out);
    say(s, w->e, 0, which, PROMPT, PROMPT + 1, out);
    rlx_session_destroy(s);
}

#define EXPECT_BITS(a, b) ck_assert_mem_eq((a), (b), sizeof input[0])

START_TEST(steps_are_the_cpus)
{
    float want[HIDDEN], got[HIDDEN];
    reference(&cpu, 1, want);
    reference(&gpu, 1, got);
    for (int i = 0; i < HIDDEN; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) < 1e-5f, "element %d: %.9g, on the CPU %.9g", i,
                      (double)got[i], (double)want[i]);
}
END_TEST

START_TEST(sequences_fork_go_back_and_outlive_sessions)
{
    float got[HIDDEN], want[2][HIDDEN];
    rlx_session *s = make_session(&gpu, 3), *other = make_session(&gpu, 2);
    for (int i = 0; i < 2; i++)
        reference(&gpu, i + 1, want[i]);
    say(s, gpu.e, 1, 0, 0, PROMPT, got);
    EXPECT_OK(rlx_session_fork(s, 1, 0));
    EXPECT_OK(rlx_session_write(s, 1, "layers", SAVED));
    for (int i = 0; i < 2; i++) {
        say(s, gpu.e, i, i + 1, PROMPT, PROMPT + 1, got); /* the first of them copies the page */
        EXPECT_BITS(got, want[i]);
    }
    EXPECT_OK(rlx_session_rewind(s, 1, PROMPT));
    say(s, gpu.e, 1, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want[0]);
    EXPECT_OK(rlx_session_prepare(other, gpu.e));
    EXPECT_OK(rlx_session_read(other, 1, "layers", SAVED));
    say(other, gpu.e, 1, 2, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want[1]);
    rlx_session_destroy(other);
    rlx_session_destroy(s);
    remove(SAVED);
}
END_TEST

/* Three sequences in one step, of different lengths. */
START_TEST(batches_are_what_each_is_alone)
{
    static const int64_t lengths[] = {5, 1, 9};
    float want[HIDDEN], got[15][HIDDEN];
    const float *y;
    rlx_session *s = make_session(&gpu, 3);
    int64_t n = 0;
    for (int q = 0; q < 3; q++)
        n = put(n, q, q, 0, lengths[q]);
    EXPECT_OK(step(s, gpu.e, n, &y));
    memcpy(got, y, sizeof got);
    rlx_session_destroy(s);
    n = 0;
    for (int q = 0; q < 3; q++) {
        s = make_session(&gpu, 1);
        say(s, gpu.e, 0, q, 0, lengths[q], want);
        EXPECT_BITS(got[(n += lengths[q]) - 1], want);
        rlx_session_destroy(s);
    }
}
END_TEST

START_TEST(kernels_are_timed)
{
    float out[HIDDEN];
    rlx_kernel_time t;
    rlx_session *s;
    EXPECT_OK(rlx_session_create(
        gpu.cx, &(rlx_session_options){.max_positions = POSITIONS, .time_kernels = true}, &s));
    say(s, gpu.e, 0, 0, 0, 3, out);
    double seconds = 0;
    ck_assert_int_gt(rlx_session_kernel_count(s), 2);
    for (int i = 0; i < rlx_session_kernel_count(s); i++) {
        rlx_session_kernel_at(s, i, &t);
        ck_assert_int_ge(t.launches, 1);
        seconds += t.seconds;
    }
    ck_assert(seconds > 0 && seconds < 60);
    rlx_session_destroy(s);
}
END_TEST

/* ---- what goes wrong: functions of the driver that fail, one at a time */

static rlx_vulkan_syms driver; /* as it is */
static int calls_left;         /* until the failure */

static VkResult VKAPI_PTR no_memory(VkDevice d, const VkMemoryAllocateInfo *i,
                                    const VkAllocationCallbacks *a, VkDeviceMemory *out)
{
    return calls_left-- > 0 ? driver.vkAllocateMemory(d, i, a, out) : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VkResult VKAPI_PTR no_pipeline(VkDevice d, VkPipelineCache c, uint32_t n,
                                      const VkComputePipelineCreateInfo *i,
                                      const VkAllocationCallbacks *a, VkPipeline *out)
{
    return calls_left-- > 0 ? driver.vkCreateComputePipelines(d, c, n, i, a, out)
                            : VK_ERROR_INVALID_SHADER_NV;
}

static VkResult VKAPI_PTR no_sets(VkDevice d, const VkDescriptorPoolCreateInfo *i,
                                  const VkAllocationCallbacks *a, VkDescriptorPool *out)
{
    return calls_left-- > 0 ? driver.vkCreateDescriptorPool(d, i, a, out)
                            : VK_ERROR_OUT_OF_HOST_MEMORY;
}

static VkResult VKAPI_PTR lost(VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f)
{
    return calls_left-- > 0 ? driver.vkQueueSubmit(q, n, i, f) : VK_ERROR_DEVICE_LOST;
}

/* From weights to a step. */
static rlx_status use(void)
{
    rlx_weights *w;
    rlx_executable *e = NULL;
    rlx_session *s = NULL;
    const float *out;
    open_weights(&w); /* others than those that are there: they are uploaded */
    rlx_status st = compile(gpu.cx, w, &e);
    if (!st)
        st = rlx_session_create(gpu.cx, NULL, &s);
    put(0, 0, 0, 0, 3);
    if (!st)
        st = step(s, e, 3, &out);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
    return st;
}

/* Fails at the first call and at ever later ones, until nothing asks for so many. */
static void fail_all(rlx_code code, const char *part)
{
    int failed = 0;
    for (bool through = false; !through; failed += !through) {
        calls_left = failed ? 1 << 2 * (failed - 1) : 0;
        rlx_status st = use();
        through = !st;
        if (st)
            EXPECT_ERROR(st, code, part);
    }
    ck_assert_int_gt(failed, 0);
}

START_TEST(driver_failures_are_statuses)
{
    rlx_vulkan_syms *vk = &rlx_vulkan_device_of(gpu.cx->gpu)->vk;
    const int64_t before = gpu.cx->gpu->used_bytes;
    driver = *vk;
    vk->vkAllocateMemory = no_memory;
    fail_all(RLX_OUT_OF_MEMORY, "out of device memory");
    *vk = driver;
    vk->vkCreateDescriptorPool = no_sets;
    fail_all(RLX_OUT_OF_MEMORY, "out of host memory");
    *vk = driver;
    vk->vkCreateComputePipelines = no_pipeline;
    fail_all(RLX_INTERNAL, "vkCreateComputePipelines");
    *vk = driver;
    vk->vkQueueSubmit = lost;
    fail_all(RLX_IO, "device lost");
    *vk = driver;
    ck_assert_int_eq(gpu.cx->gpu->used_bytes, before); /* nothing is left behind */
    EXPECT_OK(use());
}
END_TEST

START_TEST(what_is_too_large_says_so)
{
    rlx_device *d = gpu.cx->gpu;
    const int64_t has = d->memory_bytes;
    d->memory_bytes = d->used_bytes + 1000;
    EXPECT_ERROR(use(), RLX_OUT_OF_MEMORY, "MiB are missing");
    d->memory_bytes = has;
    const size_t range = d->max_range;
    d->max_range = 200;
    EXPECT_ERROR(use(), RLX_UNSUPPORTED, "weight 'q.0' has 256 bytes");
    d->max_range = 10000;
    EXPECT_ERROR(use(), RLX_UNSUPPORTED, "reach 10000 of one at most");
    d->max_range = range;
}
END_TEST

START_TEST(executables_are_of_their_device)
{
    rlx_session *s = make_session(&cpu, 1);
    const float *out;
    put(0, 0, 0, 0, 1);
    EXPECT_ERROR(step(s, gpu.e, 1, &out), RLX_INVALID_ARGUMENT, "the session is on the CPU");
    rlx_session_destroy(s);
}
END_TEST

/* Features that are not to be used are not. */
START_TEST(devices_by_name)
{
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.device = "vulkan:0,-dot,-f16"}, &cx));
    ck_assert_str_eq(rlx_context_device(cx), "vulkan:0,-f16,-dot");
    ck_assert(!(cx->target.features & (RLX_VULKAN_BIT(DOT) | RLX_VULKAN_BIT(F16))));
    rlx_context_destroy(cx);
    EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = "vulkan:99"}, &cx),
                 RLX_NOT_FOUND, "no Vulkan device 99");
}
END_TEST

/* ---- running */

static TCase *make_case(const char *name, void (*open)(void))
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, 0);
    tcase_add_unchecked_fixture(c, open, close_gpu);
    tcase_add_test(c, steps_are_the_cpus);
    tcase_add_test(c, sequences_fork_go_back_and_outlive_sessions);
    tcase_add_test(c, batches_are_what_each_is_alone);
    return c;
}

static void add_tests(Suite *s)
{
    TCase *mapped = make_case("mapped", open_mapped), *hidden = make_case("hidden", open_hidden);
    tcase_add_test(mapped, kernels_are_timed);
    tcase_add_test(mapped, what_is_too_large_says_so);
    tcase_add_test(mapped, executables_are_of_their_device);
    tcase_add_test(mapped, devices_by_name);
    tcase_add_test(hidden, driver_failures_are_statuses);
    suite_add_tcase(s, mapped);
    suite_add_tcase(s, hidden);
}

enum { SKIPPED = 77 };

int main(void)
{
    rlx_context *cx;
    environment_prepare();
    rlx_status st = rlx_context_create(&(rlx_context_options){.device = "vulkan"}, &cx);
    if (rlx_status_code(st) == RLX_NOT_FOUND) {
        printf("skipped, no Vulkan device: %s\n", rlx_status_message(st));
        rlx_status_free(st);
        return SKIPPED;
    }
    EXPECT_OK(st);
    rlx_context_destroy(cx);
    EXPECT_OK(rlx_context_create(NULL, &cpu.cx));
    open_weights(&cpu.w);
    EXPECT_OK(compile(cpu.cx, cpu.w, &cpu.e));
    Suite *s = suite_create("vulkan_sessions");
    add_tests(s);
    const int code = suite_run(s, 11);
    printf("%s the validation layer\n", validated ? "under" : "without");
    rlx_executable_destroy(cpu.e);
    rlx_context_destroy(cpu.cx);
    rlx_weights_destroy(cpu.w);
    return code;
}
