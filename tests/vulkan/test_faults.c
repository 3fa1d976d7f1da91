/* Calls of a Vulkan driver that fail, by a layer of our own (fault_layer.h): every one in turn, in each of what a device is used for. A status
 * names the call and the result, nothing is left behind, sequences hold what they held, and the next try goes further; the validation layer
 * behind it must be silent. Memory is filled by copies, as on a card. */
#include <string.h>
#include <unistd.h>

#include "runtime/cache.h"
#include "runtime/device_vulkan_impl.h"
#include "runtime/device_weights.h"
#include "tests/vulkan/trials.h"

#define SAVED "test_vulkan_faults.rlx"

static void fault(const char *call, int64_t passes, int64_t fails, VkResult result)
{
    faults->plan(&(fault_plan){.call = call, .passes = passes, .fails = fails, .result = result});
}

static void cancel(void *session)
{
    rlx_session_cancel(session);
}

/* Fails at the first call and at ever later ones, until nothing asks for so many. */
static void fail_all(const char *call, VkResult result, rlx_code code, const char *part)
{
    int failed = 0;
    for (bool through = false; !through; failed += !through) {
        fault(call, failed ? 1 << 2 * (failed - 1) : 0, FAULT_FOREVER, result);
        rlx_vulkan_device_of(gpu.cx->gpu)->lost = false; /* by the one before */
        rlx_status st = layers_use();
        through = !st;
        if (st)
            EXPECT_ERROR(st, code, part);
    }
    ck_assert_int_gt(failed, 0);
}

START_TEST(driver_failures_are_statuses)
{
    const int64_t used = gpu.cx->gpu->used_bytes, live = faults->live();
    fail_all("vkAllocateMemory", VK_ERROR_OUT_OF_DEVICE_MEMORY, RLX_OUT_OF_MEMORY,
             "vkAllocateMemory: out of device memory");
    fail_all("vkCreateDescriptorPool", VK_ERROR_OUT_OF_HOST_MEMORY, RLX_OUT_OF_MEMORY,
             "vkCreateDescriptorPool: out of host memory");
    fail_all("vkCreateComputePipelines", VK_ERROR_INVALID_SHADER_NV, RLX_INTERNAL,
             "vkCreateComputePipelines: Vulkan result -1000012000");
    fail_all("vkQueueSubmit", VK_ERROR_DEVICE_LOST, RLX_IO, "vkQueueSubmit: device lost");
    faults->plan(NULL);
    ck_assert_int_eq(gpu.cx->gpu->used_bytes, used); /* nothing is left behind */
    ck_assert_int_eq(faults->live(), live);
    EXPECT_OK(layers_use());
}
END_TEST

static void fail_submit(int64_t passes)
{
    fault("vkQueueSubmit", passes, 1, VK_ERROR_OUT_OF_DEVICE_MEMORY);
}

/* ---- states of one row for each sequence */

enum { CHANNELS = 4, TAPS = 3 };

static rlx_status compile_rows(const rlx_weights *w, rlx_executable **out)
{
    rlx_flow *f;
    const rlx_bucket bucket = {"TOKENS", 8};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    EXPECT_OK(rlx_flow_create("rows", &f));
    int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), CHANNELS};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_short_conv(f, "w", NULL, "conv");
    rlx_flow_output(f, "y");
    rlx_status st = rlx_flow_compile(gpu.cx, f, w, &o, NULL, out);
    rlx_flow_destroy(f);
    return st;
}

static rlx_status step_rows(rlx_session *s, rlx_executable *e, int seq, float *out)
{
    static const float x[CHANNELS] = {1, 2, 3, 4};
    const int32_t seqs[] = {seq};
    const rlx_step_input in = {"x", x, sizeof x};
    rlx_tensor y;
    RLX_TRY(
        rlx_session_step(s, e, &(rlx_step){.tokens = 1, .seq = seqs, .inputs = &in, .ninputs = 1}));
    RLX_TRY(rlx_session_output(s, "y", &y));
    memcpy(out, y.data, sizeof x);
    return RLX_OK;
}

/* A row that could not be zeroed, or was half copied, is zeros before its sequence is used again. */
START_TEST(stale_rows_are_zeros_before_they_are_read)
{
    float taps[CHANNELS][TAPS], want[CHANNELS], later[CHANNELS], got[CHANNELS];
    rlx_weights *w;
    rlx_executable *e;
    for (int i = 0; i < CHANNELS * TAPS; i++)
        taps[i / TAPS][i % TAPS] = (float)(i + 1);
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add(w, &(rlx_tensor){.name = "w",
                                               .format = RLX_F32,
                                               .rank = 2,
                                               .dim = {CHANNELS, TAPS},
                                               .data = taps,
                                               .bytes = sizeof taps}));
    EXPECT_OK(compile_rows(w, &e));
    rlx_session *s = layers_make_session(&gpu, 2);
    EXPECT_OK(step_rows(s, e, 0, want)); /* from zeros */
    EXPECT_OK(step_rows(s, e, 0, later));
    ck_assert_mem_ne(want, later, sizeof want);
    EXPECT_OK(rlx_session_fork(s, 0, 1));
    fail_submit(0);
    EXPECT_OK(rlx_session_rewind(s, 1, 0)); /* what it held is still there .. */
    fail_submit(0);
    EXPECT_ERROR(step_rows(s, e, 1, got), RLX_OUT_OF_MEMORY, "out of device memory");
    ck_assert_int_eq(rlx_session_past(s, 1), 0);
    EXPECT_OK(step_rows(s, e, 1, got)); /* .. until now */
    ck_assert_mem_eq(got, want, sizeof want);
    fail_submit(1); /* the row is cleared, then copied to */
    EXPECT_ERROR(rlx_session_fork(s, 0, 1), RLX_OUT_OF_MEMORY, "out of device memory");
    ck_assert_int_eq(rlx_session_past(s, 1), 0);
    EXPECT_OK(step_rows(s, e, 1, got));
    ck_assert_mem_eq(got, want, sizeof want);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
}
END_TEST

/* A context whose device was lost goes on with another opening of it. */
START_TEST(lost_devices_are_opened_anew)
{
    rlx_context *cx;
    rlx_weights *w;
    rlx_executable *before = NULL, *e = NULL;
    rlx_session *s = NULL;
    const float *out;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.device = "vulkan"}, &cx));
    layers_make_weights(&w);
    EXPECT_OK(layers_compile(cx, w, &before));
    EXPECT_OK(rlx_session_create(cx, NULL, &s));
    EXPECT_OK(rlx_context_reopen(cx)); /* nothing is lost */
    layers_put(0, 0, 0, 0, 3);
    fault("vkWaitForFences", 0, 1, VK_ERROR_DEVICE_LOST);
    EXPECT_ERROR(layers_step(s, before, 3, &out), RLX_IO, "device lost");
    faults->plan(NULL);
    EXPECT_ERROR(layers_step(s, before, 3, &out), RLX_IO, "nothing runs on it any more");
    rlx_session_destroy(s);
    fault("vkCreateCommandPool", 0, 1, VK_ERROR_OUT_OF_HOST_MEMORY);
    EXPECT_ERROR(rlx_context_reopen(cx), RLX_OUT_OF_MEMORY, "opening vulkan:0 anew");
    faults->plan(NULL);
    rlx_vulkan_device *d = rlx_vulkan_device_of(cx->gpu);
    const uint64_t features = d->info.features;
    const char version = d->driver.name[0];
    d->info.features ^= RLX_VULKAN_BIT(F16); /* as if another one was in its place */
    EXPECT_ERROR(rlx_context_reopen(cx), RLX_NOT_FOUND, "opening vulkan:0 anew: it was ");
    d->info.features = features;
    d->driver.name[0] ^= 1;
    EXPECT_ERROR(rlx_context_reopen(cx), RLX_NOT_FOUND, "opening vulkan:0 anew: it was ");
    d->driver.name[0] = version;
    EXPECT_OK(rlx_context_reopen(cx));
    EXPECT_OK(layers_compile(cx, w, &e));
    EXPECT_OK(rlx_session_create(cx, NULL, &s));
    EXPECT_ERROR(layers_step(s, before, 3, &out), RLX_INVALID_ARGUMENT,
                 "as it was before it was lost, the session is on ");
    EXPECT_OK(layers_step(s, e, 3, &out));
    rlx_session_destroy(s);
    rlx_executable_destroy(before);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
}
END_TEST

/* Copies and clears of pages that fail: the call says so, and nothing is lost. */
START_TEST(failing_copies_lose_nothing)
{
    float got[HIDDEN], want[HIDDEN];
    const float *out;
    rlx_session *s = layers_make_session(&gpu, 3), *other = layers_make_session(&gpu, 2);
    layers_reference(&gpu, 1, want);
    layers_say(s, gpu.e, 1, 0, 0, PROMPT, got);
    EXPECT_OK(rlx_session_fork(s, 1, 0));
    /* keys and values of two layers: a page has as many copies */
    for (int pool = 0; pool < 4; pool++) {
        layers_put(0, 0, 1, PROMPT, 1);
        fail_submit(pool);
        EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_OUT_OF_MEMORY, "out of device memory");
        ck_assert_int_eq(rlx_session_past(s, 0), PROMPT);
    }
    layers_say(s, gpu.e, 0, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    EXPECT_OK(rlx_session_rewind(s, 0, 0)); /* its copied page is spare, and no zeros */
    layers_put(0, 2, 0, 0, 3);
    fail_submit(0);
    EXPECT_ERROR(layers_step(s, gpu.e, 3, &out), RLX_OUT_OF_MEMORY, "out of device memory");
    ck_assert_int_eq(rlx_session_past(s, 2), 0);
    layers_say(s, gpu.e, 2, 0, 0, PROMPT, got);
    layers_say(s, gpu.e, 2, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    EXPECT_OK(rlx_session_write(s, 1, "layers", SAVED));
    fail_submit(3);
    EXPECT_ERROR(rlx_session_write(s, 1, "layers", SAVED), RLX_OUT_OF_MEMORY,
                 "out of device memory");
    EXPECT_OK(rlx_session_prepare(other, gpu.e));
    for (int page = 0; page < 8; page += 3) {
        fail_submit(page);
        EXPECT_ERROR(rlx_session_read(other, 1, "layers", SAVED), RLX_OUT_OF_MEMORY, "restoring");
        ck_assert_int_eq(rlx_session_past(other, 1), 0);
    }
    EXPECT_OK(rlx_session_read(other, 1, "layers", SAVED));
    layers_say(other, gpu.e, 1, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    rlx_session_destroy(other);
    rlx_session_destroy(s);
    remove(SAVED);
}
END_TEST

/* ---- every call, one after another */

static rlx_status try_open(void *user)
{
    rlx_device *d = NULL;
    rlx_vulkan_options o = {.validate = validated, .said = &said};
    (void)user;
    RLX_TRY(rlx_vulkan_open(&o, &d));
    rlx_device_destroy(d);
    return RLX_OK;
}

/* Sequence 0 begins anew, on pages that others had. */
static rlx_status try_reuse(void *user)
{
    const trial *t = user;
    const float *out;
    EXPECT_OK(rlx_session_rewind(t->s, 0, 0));
    layers_put(0, 0, 2, 0, TRIAL_TOKENS);
    return layers_step(t->s, gpu.e, TRIAL_TOKENS, &out);
}

static int64_t warned; /* by the cache */

static void count_warning(void *user, const char *message)
{
    (void)user;
    (void)message;
    warned++;
}

/* Calls that nothing needs: what they are for is told, and goes on without. */
static bool is_needed(const char *call)
{
    return strcmp(call, "vkCreatePipelineCache") && strcmp(call, "vkGetPipelineCacheData");
}

/* What a status says when it failed. The loader asks for a device's extensions once more while one is made, and then that call is the one that failed. */
static const char *name_of(const char *call)
{
    return !call || !strcmp(call, "vkEnumerateDeviceExtensionProperties") ? "" : call;
}

/* Every call that can fail fails once, in turn; the status names it, nothing is left behind, and the next try goes further.
 * How many there were. */
static int fail_each(rlx_status (*what)(void *user), void *user)
{
    rlx_vulkan_device *d = rlx_vulkan_device_of(gpu.cx->gpu);
    int n = 0;
    for (bool through = false; !through; n += !through) {
        const int64_t live = faults->live(), used = gpu.cx->gpu->used_bytes;
        fault(NULL, n, 1, VK_ERROR_OUT_OF_HOST_MEMORY);
        rlx_status st = what(user);
        const char *last = faults->last();
        char says[64];
        through = !last;
        snprintf(says, sizeof says, "%s: out of host memory", name_of(last));
        if (last && is_needed(last))
            EXPECT_ERROR(st, RLX_OUT_OF_MEMORY, says);
        else
            EXPECT_OK(st);
        d->lost = false; /* by a wait */
        ck_assert_int_eq(faults->live(), live);
        ck_assert_int_eq(gpu.cx->gpu->used_bytes, used);
        ck_assert_msg(said.len == 0, "when %s failed: %s", says, said.data);
    }
    faults->plan(NULL);
    return n;
}

START_TEST(every_call_may_fail)
{
    char folder[] = "/tmp/rlx-faults-XXXXXX", command[64];
    rlx_device *d = gpu.cx->gpu;
    float want[HIDDEN], got[HIDDEN];
    trial t;
    layers_reference(&gpu, 1, want);
    trial_init(&t, PROMPT, SAVED);
    ck_assert_int_ge(fail_each(try_open, NULL), validated ? 13 : 10);
    ck_assert_ptr_nonnull(mkdtemp(folder)); /* of what the driver makes */
    EXPECT_OK(
        rlx_cache_open(&(rlx_cache_options){.folder = folder, .warn = count_warning}, &d->cache));
    ck_assert_int_ge(fail_each(trial_load, &t), 20);
    ck_assert_int_ge(warned, 2);
    faults->keep_code(64); /* the driver makes something, and is given it back */
    EXPECT_OK(trial_load(&t));
    ck_assert_int_ge(fail_each(trial_load, &t), 20);
    ck_assert_int_gt(faults->taken(), 0);
    faults->keep_code(0);
    rlx_cache_close(d->cache);
    d->cache = NULL;
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
    t.timed = true;
    ck_assert_int_ge(fail_each(trial_session, &t), 30);
    ck_assert_int_ge(fail_each(trial_fork, &t), 12);
    ck_assert_int_ge(fail_each(try_reuse, &t), 12);
    ck_assert_int_ge(fail_each(trial_write, &t), 12);
    ck_assert_int_ge(fail_each(trial_read, &t), 12);
    for (int q = 1; q < 3; q++) {
        layers_say(t.s, gpu.e, q, 1, PROMPT, PROMPT + 1, got);
        EXPECT_BITS(got, want);
    }
    trial_deinit(&t);
}
END_TEST

/* A device of which the driver does not say what it has is listed, with the reason why it cannot be opened. */
START_TEST(unknown_extensions_are_told)
{
    rlx_vulkan_info *all;
    int n;
    fault("vkEnumerateDeviceExtensionProperties", 0, FAULT_FOREVER, VK_ERROR_OUT_OF_HOST_MEMORY);
    EXPECT_OK(rlx_vulkan_list(&all, &n));
    faults->plan(NULL);
    ck_assert_int_ge(n, 1);
    for (int i = 0; i < n; i++)
        ck_assert_str_eq(all[i].why_not,
                         "vkEnumerateDeviceExtensionProperties: out of host memory");
    free(all);
}
END_TEST

/* A step that is cancelled while it runs appends nothing, and the cancel is answered. */
START_TEST(steps_are_cancelled)
{
    float got[HIDDEN], want[HIDDEN];
    const float *out;
    rlx_tensor y;
    rlx_session *other = layers_make_session(&gpu, 1);
    layers_say(other, gpu.e, 0, 0, 0, 3, got);
    layers_say(other, gpu.e, 0, 1, 3, 4, want);
    rlx_session_destroy(other);
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_say(s, gpu.e, 0, 0, 0, 3, got);
    faults->plan(
        &(fault_plan){.call = "vkQueueSubmit", .fails = 1, .meanwhile = cancel, .user = s});
    layers_put(0, 0, 2, 3, 9);
    EXPECT_ERROR(layers_step(s, gpu.e, 9, &out), RLX_CANCELLED, "cancelled");
    ck_assert_int_eq(rlx_session_past(s, 0), 3);
    EXPECT_ERROR(rlx_session_output(s, "y", &y), RLX_NOT_FOUND, "has not stepped");
    layers_say(s, gpu.e, 0, 1, 3, 4, got);
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
    fault("vkAllocateMemory", 0, 1, VK_ERROR_OUT_OF_DEVICE_MEMORY);
    rlx_status st = layers_use();
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
    const rlx_device_needs none = {0};
    rlx_device *d = gpu.cx->gpu;
    static const float values[2][16];
    const rlx_tensor a = {.name = "a", .data = values[0], .bytes = sizeof values[0]},
                     b = {.name = "b", .data = values[1], .bytes = sizeof values[1]};
    const rlx_tensor *list[] = {&a, &b};
    rlx_device_weights *w, *more;
    EXPECT_OK(rlx_device_weights_acquire(d, gpu.w, list, 1, &none, &w));
    const int64_t before = d->used_bytes;
    fail_submit(0);
    EXPECT_ERROR(rlx_device_weights_acquire(d, gpu.w, list, 2, &none, &more), RLX_OUT_OF_MEMORY,
                 "weight 'b'");
    ck_assert_int_eq(d->used_bytes, before);
    rlx_device_weights_release(d, w);
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
        rlx_session *s = layers_make_session(&gpu, 1);
        layers_say(s, gpu.e, 0, 0, 0, 3, got);
        fault("vkWaitForFences", 0, 1, waits[i].result);
        layers_put(0, 0, 1, 3, 1);
        EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), waits[i].code, waits[i].says);
        EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "nothing runs on it any more");
        EXPECT_ERROR(layers_use(), RLX_IO, "nothing runs on it any more");
        ck_assert_int_eq(rlx_session_past(s, 0), 3);
        rlx_session_destroy(s);
        d->lost = false; /* for the next test */
    }
}
END_TEST

/* What a failed wait left running is waited for in another way: it may use memory that is about to be freed. */
START_TEST(devices_are_idle_before_memory_is_freed)
{
    fault("vkWaitForFences", 0, 1, VK_ERROR_OUT_OF_HOST_MEMORY);
    EXPECT_ERROR(layers_use(), RLX_OUT_OF_MEMORY, "vkWaitForFences: out of host memory");
    ck_assert_int_eq(faults->count("vkDeviceWaitIdle"), 1);
    rlx_vulkan_device_of(gpu.cx->gpu)->lost = false; /* for the next test */
}
END_TEST

/* Of memory that the host sees the driver is not asked: every call says all the same that the device is lost. */
START_TEST(lost_devices_say_so)
{
    rlx_device *d = gpu.cx->gpu;
    rlx_device_memory *m;
    float got[HIDDEN];
    char data[64] = {0};
    const float *out;
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_say(s, gpu.e, 0, 0, 0, 3, got);
    EXPECT_OK(d->fn->create_memory(d, sizeof data, RLX_MEMORY_KEPT, &m));
    layers_put(0, 0, 0, 3, 1);
    fault("vkQueueSubmit", 0, 1, VK_ERROR_DEVICE_LOST);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "vkQueueSubmit: device lost");
    ck_assert(d->fn->is_lost(d));
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(rlx_session_write(s, 0, "layers", SAVED), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(d->fn->write(d, m, 0, data, 4), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(d->fn->read(d, m, 0, data, 4), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(d->fn->clear(d, m, 0, 4), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(d->fn->copy(d, m, 0, 8, 4), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(layers_use(), RLX_IO, "nothing runs on it any more");
    rlx_vulkan_device_of(d)->lost = false;
    fault("vkGetQueryPoolResults", 0, 1, VK_ERROR_DEVICE_LOST);
    EXPECT_ERROR(trial_session(&(trial){.timed = true}), RLX_IO,
                 "vkGetQueryPoolResults: device lost");
    ck_assert(d->fn->is_lost(d));
    faults->plan(NULL);
    rlx_vulkan_device_of(d)->lost = false; /* for the next test */
    d->fn->destroy_memory(d, m);
    rlx_session_destroy(s);
}
END_TEST

static void add_tests(Suite *s)
{
    TCase *mapped = tcase_create("mapped");
    tcase_set_timeout(mapped, 0);
    tcase_add_unchecked_fixture(mapped, layers_open_mapped, layers_close_gpu);
    tcase_add_test(mapped, lost_devices_say_so);
    suite_add_tcase(s, mapped);
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 0);
    tcase_add_unchecked_fixture(c, layers_open_hidden, layers_close_gpu);
    tcase_add_test(c, driver_failures_are_statuses);
    tcase_add_test(c, failing_copies_lose_nothing);
    tcase_add_test(c, every_call_may_fail);
    tcase_add_test(c, unknown_extensions_are_told);
    tcase_add_test(c, stale_rows_are_zeros_before_they_are_read);
    tcase_add_test(c, lost_devices_are_opened_anew);
    tcase_add_test(c, steps_are_cancelled);
    tcase_add_test(c, full_memory_is_passed_over);
    tcase_add_test(c, failed_uploads_leave_nothing);
    tcase_add_test(c, failed_waits_end_a_device);
    tcase_add_test(c, devices_are_idle_before_memory_is_freed);
    suite_add_tcase(s, c);
}

int main(void)
{
    return layers_run("vulkan_faults", add_tests, 12);
}
