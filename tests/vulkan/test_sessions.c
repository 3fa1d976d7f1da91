/* Sessions on a Vulkan device: a flow of two layers with attention, held against the CPU; sequences that fork, go back and
 * are saved, batches, held against the bits of a session that only ever went forward; what a device refuses. Under the
 * validation layer, which must be silent. Twice: with memory that the host sees, and with memory that is filled by copies, as
 * on a card. */
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "frontend/context.h"
#include "runtime/device_vulkan_impl.h"
#include "runtime/device_weights.h"
#include "tests/runtime/suite.h"
#include "tests/vulkan/environment.h"

#define SAVED "test_vulkan_sessions.rlx"

enum { HIDDEN = 8, HEADS = 2, DIM = 4, BUCKET = 512, POSITIONS = 1024, PROMPT = 260, TEXTS = 3 };

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_executable *e;
    bool known[TEXTS];
    float last[TEXTS][HIDDEN]; /* what reference() gave */
} world;

static world cpu, gpu;
static float weights[8][HIDDEN * HEADS * DIM];
static bool validated;
static rlx_text said; /* by the validation layer */

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
    rlx_vulkan_options o = {.validate = true, .hides = hides, .said = &said};
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

/* What is left behind is told while the device is destroyed. */
static void close_gpu(void)
{
    rlx_executable_destroy(gpu.e);
    ck_assert_int_eq(gpu.cx->gpu->used_bytes, 0);
    rlx_context_destroy(gpu.cx);
    rlx_weights_destroy(gpu.w);
    ck_assert_msg(said.len == 0, "the validation layer says:\n%s", said.data);
    rlx_text_deinit(&said);
    gpu = (world){0};
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

/* Element `at` of a text. */
static void fill(float *x, int which, int64_t at)
{
    for (int i = 0; i < HIDDEN; i++)
        x[i] = sinf(0.11f * (float)(at * (i + 1) + 37 * which));
}

/* Appends `n` elements of a text to a sequence, as the last ones of a step that is being made. */
static int64_t put(int64_t at, int seq, int which, int64_t from, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        sequences[at + t] = seq;
        fill(input[at + t], which, from + t);
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

/* What a session that went only forward gives: PROMPT tokens of text 0, then one of another. Once: it takes long. */
static void reference(world *w, int which, float *out)
{
    if (!w->known[which]) {
        rlx_session *s = make_session(w, 1);
        say(s, w->e, 0, 0, 0, PROMPT, out);
        say(s, w->e, 0, which, PROMPT, PROMPT + 1, w->last[which]);
        rlx_session_destroy(s);
    }
    w->known[which] = true;
    memcpy(out, w->last[which], sizeof w->last[which]);
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

/* A session in each of several threads: steps of all of them, tables and pages of each its own. */
typedef struct worker {
    pthread_t thread;
    rlx_session *s;
    int which; /* of the texts */
    float out[HIDDEN];
    rlx_status st;
} worker;

static void *work(void *user)
{
    enum { LENGTH = 12 };
    worker *w = user;
    for (int64_t t = 0; t < LENGTH && !w->st; t++) {
        float x[HIDDEN];
        rlx_tensor y;
        fill(x, w->which, t);
        const rlx_step_input in = {"x", x, sizeof x};
        w->st =
            rlx_session_step(w->s, gpu.e, &(rlx_step){.tokens = 1, .inputs = &in, .ninputs = 1});
        if (!w->st)
            w->st = rlx_session_output(w->s, "y", &y);
        if (!w->st)
            memcpy(w->out, y.data, sizeof w->out);
    }
    return NULL;
}

START_TEST(threads_share_the_device)
{
    enum { THREADS = 2 };
    worker alone[THREADS], beside[THREADS];
    for (int i = 0; i < THREADS; i++) {
        alone[i] = beside[i] = (worker){.which = i};
        alone[i].s = make_session(&gpu, 1);
        beside[i].s = make_session(&gpu, 1);
        work(&alone[i]);
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&beside[i].thread, NULL, work, &beside[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(beside[i].thread, NULL);
        EXPECT_OK(alone[i].st);
        EXPECT_OK(beside[i].st);
        EXPECT_BITS(beside[i].out, alone[i].out);
        rlx_session_destroy(alone[i].s);
        rlx_session_destroy(beside[i].s);
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

static VkResult VKAPI_PTR no_submit(VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f)
{
    return calls_left-- == 0 ? VK_ERROR_OUT_OF_DEVICE_MEMORY : driver.vkQueueSubmit(q, n, i, f);
}

static VkResult VKAPI_PTR full_once(VkDevice d, const VkMemoryAllocateInfo *i,
                                    const VkAllocationCallbacks *a, VkDeviceMemory *out)
{
    return calls_left-- == 0 ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                             : driver.vkAllocateMemory(d, i, a, out);
}

static rlx_session *stopped; /* by somebody, while its step runs */

static VkResult VKAPI_PTR cancelling(VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f)
{
    if (stopped)
        rlx_session_cancel(stopped);
    stopped = NULL;
    return driver.vkQueueSubmit(q, n, i, f);
}

static VkResult wait_result;

static VkResult VKAPI_PTR no_wait(VkDevice d, uint32_t n, const VkFence *f, VkBool32 all,
                                  uint64_t t)
{
    (void)d, (void)n, (void)f, (void)all, (void)t;
    return wait_result;
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

/* Copies and clears of pages that fail: the call says so, and nothing is lost. */
START_TEST(failing_copies_lose_nothing)
{
    rlx_vulkan_syms *vk = &rlx_vulkan_device_of(gpu.cx->gpu)->vk;
    float got[HIDDEN], want[HIDDEN];
    const float *out;
    rlx_session *s = make_session(&gpu, 3), *other = make_session(&gpu, 2);
    reference(&gpu, 1, want);
    say(s, gpu.e, 1, 0, 0, PROMPT, got);
    EXPECT_OK(rlx_session_fork(s, 1, 0));
    driver = *vk;
    vk->vkQueueSubmit = no_submit;
    for (int pool = 0; pool < 4;
         pool++) { /* keys and values of two layers: a page has as many copies */
        put(0, 0, 1, PROMPT, 1);
        calls_left = pool;
        EXPECT_ERROR(step(s, gpu.e, 1, &out), RLX_OUT_OF_MEMORY, "out of device memory");
        ck_assert_int_eq(rlx_session_past(s, 0), PROMPT);
    }
    say(s, gpu.e, 0, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    EXPECT_OK(rlx_session_rewind(s, 0, 0)); /* its copied page is spare, and no zeros */
    put(0, 2, 0, 0, 3);
    calls_left = 0;
    EXPECT_ERROR(step(s, gpu.e, 3, &out), RLX_OUT_OF_MEMORY, "out of device memory");
    ck_assert_int_eq(rlx_session_past(s, 2), 0);
    say(s, gpu.e, 2, 0, 0, PROMPT, got);
    say(s, gpu.e, 2, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    EXPECT_OK(rlx_session_write(s, 1, "layers", SAVED));
    calls_left = 3;
    EXPECT_ERROR(rlx_session_write(s, 1, "layers", SAVED), RLX_OUT_OF_MEMORY,
                 "out of device memory");
    EXPECT_OK(rlx_session_prepare(other, gpu.e));
    for (int page = 0; page < 8; page += 3) {
        calls_left = page;
        EXPECT_ERROR(rlx_session_read(other, 1, "layers", SAVED), RLX_OUT_OF_MEMORY, "restoring");
        ck_assert_int_eq(rlx_session_past(other, 1), 0);
    }
    EXPECT_OK(rlx_session_read(other, 1, "layers", SAVED));
    say(other, gpu.e, 1, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    *vk = driver;
    rlx_session_destroy(other);
    rlx_session_destroy(s);
    remove(SAVED);
}
END_TEST

/* A step that is cancelled while it runs appends nothing, and the cancel is answered. */
START_TEST(steps_are_cancelled)
{
    rlx_vulkan_syms *vk = &rlx_vulkan_device_of(gpu.cx->gpu)->vk;
    float got[HIDDEN], want[HIDDEN];
    const float *out;
    rlx_tensor y;
    rlx_session *other = make_session(&gpu, 1);
    say(other, gpu.e, 0, 0, 0, 3, got);
    say(other, gpu.e, 0, 1, 3, 4, want);
    rlx_session_destroy(other);
    rlx_session *s = make_session(&gpu, 1);
    say(s, gpu.e, 0, 0, 0, 3, got);
    driver = *vk;
    vk->vkQueueSubmit = cancelling;
    stopped = s;
    put(0, 0, 2, 3, 9);
    EXPECT_ERROR(step(s, gpu.e, 9, &out), RLX_CANCELLED, "cancelled");
    *vk = driver;
    ck_assert_int_eq(rlx_session_past(s, 0), 3);
    EXPECT_ERROR(rlx_session_output(s, "y", &y), RLX_NOT_FOUND, "has not stepped");
    say(s, gpu.e, 0, 1, 3, 4, got);
    EXPECT_BITS(got, want);
    rlx_session_destroy(s);
}
END_TEST

/* A type of memory that is full is not the end. */
START_TEST(full_memory_is_passed_over)
{
    rlx_vulkan_device *d = rlx_vulkan_device_of(gpu.cx->gpu);
    VkPhysicalDeviceMemoryProperties p;
    d->vk.vkGetPhysicalDeviceMemoryProperties(d->physical, &p);
    driver = d->vk;
    d->vk.vkAllocateMemory = full_once;
    calls_left = 0;
    rlx_status st = use();
    d->vk = driver;
    if (p.memoryTypeCount > 1)
        EXPECT_OK(st);
    else
        EXPECT_ERROR(st, RLX_OUT_OF_MEMORY, "out of device memory");
    p = (VkPhysicalDeviceMemoryProperties){
        .memoryHeapCount = 3,
        .memoryHeaps = {{(VkDeviceSize)8 << 30, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT},
                        {(VkDeviceSize)16 << 30, 0},
                        {(VkDeviceSize)256 << 20, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}}};
    ck_assert_int_eq(rlx_vulkan_memory_bytes(&p),
                     (int64_t)8 << 30); /* the last is a window on it */
}
END_TEST

/* Weights that could not be uploaded leave no memory, though others of theirs are there. */
START_TEST(failed_uploads_leave_nothing)
{
    rlx_device *d = gpu.cx->gpu;
    rlx_vulkan_syms *vk = &rlx_vulkan_device_of(d)->vk;
    static const float values[2][16];
    const rlx_tensor a = {.name = "a", .data = values[0], .bytes = sizeof values[0]},
                     b = {.name = "b", .data = values[1], .bytes = sizeof values[1]};
    const rlx_tensor *list[] = {&a, &b};
    rlx_device_weights *w, *more;
    EXPECT_OK(rlx_device_weights_acquire(d, gpu.w, list, 1, &w));
    const int64_t before = d->used_bytes;
    driver = *vk;
    vk->vkQueueSubmit = no_submit;
    calls_left = 0;
    EXPECT_ERROR(rlx_device_weights_acquire(d, gpu.w, list, 2, &more), RLX_OUT_OF_MEMORY,
                 "weight 'b'");
    ck_assert_int_eq(d->used_bytes, before);
    *vk = driver;
    rlx_device_weights_release(d, w);
}
END_TEST

/* Bytes that are no whole words. */
START_TEST(any_bytes_are_cleared)
{
    rlx_device *d = gpu.cx->gpu;
    rlx_device_memory *m;
    char data[18], want[18];
    EXPECT_OK(d->fn->create_memory(d, sizeof data, RLX_MEMORY_KEPT, &m));
    static const size_t parts[][2] = {{0, 18}, {0, 0}, {6, 12}, {12, 18}, {12, 17}, {4, 7}, {3, 5}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const size_t from = parts[i][0], to = parts[i][1];
        memset(want, 7, sizeof want);
        EXPECT_OK(d->fn->write(d, m, 0, want, sizeof want));
        EXPECT_OK(d->fn->clear(d, m, from, to - from));
        EXPECT_OK(d->fn->read(d, m, 0, data, sizeof data));
        memset(want + from, 0, to - from);
        ck_assert_mem_eq(data, want, sizeof want);
    }
    d->fn->destroy_memory(d, m);
}
END_TEST

START_TEST(times_wrap_around)
{
    rlx_vulkan_device *d = rlx_vulkan_device_of(gpu.cx->gpu);
    const rlx_vulkan_device of36 = {.stamp_mask = ((uint64_t)1 << 36) - 1};
    const double tick = d->tick;
    rlx_session *s;
    const float *out;
    ck_assert_uint_eq(rlx_vulkan_ticks(&of36, 0xfffffffff, 4), 5);
    ck_assert_uint_eq(rlx_vulkan_ticks(&of36, 0xa00000000f, 0x500000001f),
                      16); /* other bits are any */
    d->tick = 0;           /* as of a queue without timestamps */
    EXPECT_OK(rlx_session_create(
        gpu.cx, &(rlx_session_options){.max_positions = POSITIONS, .time_kernels = true}, &s));
    put(0, 0, 0, 0, 1);
    EXPECT_ERROR(step(s, gpu.e, 1, &out), RLX_UNSUPPORTED, "takes no times of kernels");
    d->tick = tick;
    rlx_session_destroy(s);
}
END_TEST

START_TEST(teams_fit_the_device)
{
    rlx_vulkan_info *info = &rlx_vulkan_device_of(gpu.cx->gpu)->info;
    const rlx_vulkan_info has = *info;
    info->max_team = has.is_cpu ? 31 : 127;
    EXPECT_ERROR(use(), RLX_UNSUPPORTED, "by 1 by 1;");
    *info = has;
    info->team_bytes = 3;
    EXPECT_ERROR(use(), RLX_UNSUPPORTED, "bytes of a team's memory");
    *info = has;
}
END_TEST

/* Nobody knows what a device does after a wait that failed: it gets nothing more. */
START_TEST(failed_waits_end_a_device)
{
    static const struct {
        VkResult result;
        rlx_code code;
        const char *says;
    } waits[] = {{VK_ERROR_OUT_OF_HOST_MEMORY, RLX_OUT_OF_MEMORY, "out of host memory"},
                 {VK_ERROR_DEVICE_LOST, RLX_IO, "device lost"}};
    rlx_vulkan_device *d = rlx_vulkan_device_of(gpu.cx->gpu);
    for (int i = 0; i < 2; i++) {
        float got[HIDDEN];
        const float *out;
        rlx_session *s = make_session(&gpu, 1);
        say(s, gpu.e, 0, 0, 0, 3, got);
        driver = d->vk;
        wait_result = waits[i].result;
        d->vk.vkWaitForFences = no_wait;
        put(0, 0, 1, 3, 1);
        EXPECT_ERROR(step(s, gpu.e, 1, &out), waits[i].code, waits[i].says);
        d->vk = driver;
        EXPECT_ERROR(step(s, gpu.e, 1, &out), RLX_IO, "nothing runs on it any more");
        EXPECT_ERROR(use(), RLX_IO, "nothing runs on it any more");
        ck_assert_int_eq(rlx_session_past(s, 0), 3);
        rlx_session_destroy(s);
        d->broken = false; /* for the next test */
    }
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
    tcase_add_test(mapped, teams_fit_the_device);
    tcase_add_test(mapped, steps_are_cancelled);
    tcase_add_test(mapped, times_wrap_around);
    tcase_add_test(hidden, driver_failures_are_statuses);
    tcase_add_test(hidden, threads_share_the_device);
    tcase_add_test(hidden, failing_copies_lose_nothing);
    tcase_add_test(hidden, failed_uploads_leave_nothing);
    tcase_add_test(hidden, full_memory_is_passed_over);
    tcase_add_test(hidden, any_bytes_are_cleared);
    tcase_add_test(hidden, failed_waits_end_a_device);
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
        printf("skipped: no Vulkan device: %s\n", rlx_status_message(st));
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
    const int code = suite_run(s, 20);
    printf("%s the validation layer\n", validated ? "under" : "without");
    rlx_executable_destroy(cpu.e);
    rlx_context_destroy(cpu.cx);
    rlx_weights_destroy(cpu.w);
    return code;
}
