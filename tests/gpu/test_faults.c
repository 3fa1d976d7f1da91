/* Calls of a GPU's driver that fail, and devices that are lost: every call in turn, in each of what a device is used for. A status names the
 * call and the result, nothing is left behind, sequences hold what they held, and the next try goes further. */
#include <string.h>
#include <unistd.h>

#include "runtime/cache.h"
#include "runtime/device_gpu_impl.h"
#include "tests/gpu/world.h"
#include "tests/vulkan/trials.h"

#define SAVED "test_gpu_faults.rlx"

enum { SHORT = TRIAL_TOKENS, OUT_OF_MEMORY = 2, KERNEL_FAILED = 719 };

static rlx_gpu_kind kind; /* of what is tested now */
static fake_driver *driver;

static void open_gpu(void)
{
    EXPECT_OK(world_open(&(rlx_context_options){.device = kind == RLX_GPU_CUDA ? "cuda:1" : "hip:1",
                                                .no_cache = true},
                         &gpu.cx));
    layers_make_weights(&gpu.w);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
}

static void expect_silence(void)
{
    ck_assert_msg(!driver->said()[0], "the driver says: %s", driver->said());
    ck_assert(!driver->is_current());
}

/* ---- every call, one after another */

static rlx_status try_open(void *user)
{
    rlx_device *d;
    (void)user;
    RLX_TRY(rlx_gpu_open(&(rlx_gpu_options){.kind = kind, .index = 1}, &d));
    rlx_device_destroy(d);
    return RLX_OK;
}

static bool is_either(const char *name, const char *cuda, const char *hip)
{
    return !strcmp(name, kind == RLX_GPU_CUDA ? cuda : hip);
}

/* How many calls there were. What failed while work was waited for loses the device, which the test takes back. */
static int fail_each(rlx_status (*what)(void *user), void *user)
{
    int n = 0;
    for (bool through = false; !through; n += !through) {
        const int64_t live = driver->live(), used = gpu.cx->gpu->used_bytes;
        char says[96];
        driver->plan(&(fake_plan){.passes = n, .fails = 1, .result = OUT_OF_MEMORY});
        rlx_status st = what(user);
        const char *last = driver->last();
        through = !last;
        snprintf(says, sizeof says, "%s: out of memory", last ? last : "");
        if (last &&
            !is_either(last, "cuMemGetInfo_v2",
                       "hipMemGetInfo")) /* without it all of the memory is taken for free */
            EXPECT_ERROR(st, RLX_OUT_OF_MEMORY, says);
        else
            EXPECT_OK(st);
        if (last && is_either(last, "cuStreamSynchronize",
                              "hipStreamSynchronize")) { /* the device is lost, for all it knows */
            rlx_gpu_of(gpu.cx->gpu)->lost = false;
            continue;
        }
        ck_assert_msg(driver->live() == live, "when %s failed %lld objects were left", says,
                      (long long)(driver->live() - live));
        ck_assert_int_eq(gpu.cx->gpu->used_bytes, used);
        ck_assert_msg(!driver->said()[0], "when %s failed: %s", says, driver->said());
    }
    driver->plan(NULL);
    return n;
}

START_TEST(every_call_may_fail)
{
    trial t;
    float want[HIDDEN], got[HIDDEN];
    open_gpu();
    trial_init(&t, SHORT, SAVED);
    layers_say(t.s, gpu.e, 2, 1, SHORT, SHORT + 1, want);
    ck_assert_int_ge(fail_each(try_open, NULL), 7);
    ck_assert_int_ge(fail_each(trial_load, &t), 20);
    ck_assert_int_ge(fail_each(trial_session, &t), 20);
    t.timed = true;
    ck_assert_int_ge(fail_each(trial_session, &t), 20);
    ck_assert_int_ge(fail_each(trial_fork, &t), 5);
    ck_assert_int_ge(fail_each(trial_write, &t), 4);
    ck_assert_int_ge(fail_each(trial_read, &t), 4);
    layers_say(t.s, gpu.e, 2, 1, SHORT, SHORT + 1, got);
    EXPECT_BITS(got, want);
    trial_deinit(&t);
    layers_close_gpu();
    expect_silence();
}
END_TEST

/* Without the device being current nothing is begun. */
START_TEST(devices_that_cannot_be_entered)
{
    char data[8] = {0};
    const float *out;
    rlx_device_memory *m, *other;
    const int64_t live = driver->live(); /* of waits that failed before */
    open_gpu();
    rlx_device *d = gpu.cx->gpu;
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_put(0, 0, 0, 0, SHORT);
    EXPECT_OK(layers_step(s, gpu.e, SHORT, &out));
    EXPECT_OK(d->fn->create_memory(d, sizeof data, RLX_MEMORY_KEPT, &m));
    const bool cuda = kind == RLX_GPU_CUDA;
    const fake_plan p = {
        .call = cuda ? "push_context" : "set_current", .fails = 1, .result = OUT_OF_MEMORY};
    driver->plan(&p);
    EXPECT_ERROR(d->fn->create_memory(d, 8, RLX_MEMORY_KEPT, &other), RLX_OUT_OF_MEMORY,
                 cuda ? "cuCtxPushCurrent_v2" : "hipSetDevice");
    driver->plan(&p);
    EXPECT_ERROR(d->fn->write(d, m, 0, data, sizeof data), RLX_OUT_OF_MEMORY,
                 cuda ? "copying to Fake NVIDIA 1" : "copying to Fake AMD 1");
    driver->plan(&p);
    EXPECT_ERROR(layers_step(s, gpu.e, SHORT, &out), RLX_OUT_OF_MEMORY,
                 cuda ? "running kernels on Fake NVIDIA 1" : "running kernels on Fake AMD 1");
    ck_assert_int_eq(rlx_session_past(s, 0), SHORT);
    EXPECT_OK(layers_step(s, gpu.e, SHORT, &out));
    d->fn->destroy_memory(d, m);
    rlx_session_destroy(s);
    layers_close_gpu();
    expect_silence();
    ck_assert_int_eq(driver->live(), live);
}
END_TEST

/* ---- devices that are lost */

static void lose(const char *call)
{
    driver->plan(&(fake_plan){.call = call, .fails = 1, .result = KERNEL_FAILED, .ends = true});
}

/* Every call says so, and what was made on it goes; the context opens it anew, while the lost one is there. */
START_TEST(lost_devices_are_opened_anew)
{
    float want[HIDDEN], got[HIDDEN];
    const float *out;
    open_gpu();
    rlx_device *lost = gpu.cx->gpu;
    rlx_session *s = layers_make_session(&gpu, 1), *after;
    layers_say(s, gpu.e, 0, 0, 0, SHORT, want);
    EXPECT_OK(rlx_context_reopen(gpu.cx)); /* nothing is lost */
    ck_assert_ptr_eq(gpu.cx->gpu, lost);
    lose("wait");
    layers_put(0, 0, 0, SHORT, 1);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO,
                 kind == RLX_GPU_CUDA ? "cuStreamSynchronize: a kernel failed: device lost"
                                      : "hipStreamSynchronize: a kernel failed: device lost");
    ck_assert_int_eq(rlx_session_past(s, 0), SHORT);
    ck_assert(lost->fn->is_lost(lost));
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(rlx_session_write(s, 0, "layers", SAVED), RLX_IO, "nothing runs on it any more");
    EXPECT_ERROR(layers_use(), RLX_IO, "nothing runs on it any more");
    driver->plan(&(fake_plan){.call = "create_stream", .fails = 1, .result = OUT_OF_MEMORY});
    EXPECT_ERROR(rlx_context_reopen(gpu.cx), RLX_OUT_OF_MEMORY,
                 kind == RLX_GPU_CUDA ? "opening cuda:1 anew" : "opening hip:1 anew");
    driver->plan(NULL);
    EXPECT_OK(rlx_context_reopen(gpu.cx));
    ck_assert_ptr_ne(gpu.cx->gpu, lost);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "nothing runs on it any more");
    rlx_session_destroy(s);
    rlx_executable_destroy(gpu.e);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
    after = layers_make_session(&gpu, 1);
    layers_say(after, gpu.e, 0, 0, 0, SHORT, got);
    EXPECT_BITS(got, want);
    rlx_session_destroy(after);
    layers_close_gpu();
    expect_silence();
    ck_assert_int_eq(driver->live(), 0);
}
END_TEST

/* Another device in its place is not taken for it. */
START_TEST(another_device_is_not_the_same)
{
    open_gpu();
    lose("get_room");
    gpu.cx->gpu->fn->room(gpu.cx->gpu);
    driver->plan(NULL);
    driver->major = 8;
    driver->arch = "gfx942";
    EXPECT_ERROR(rlx_context_reopen(gpu.cx), RLX_NOT_FOUND, " anew: it was ");
    driver->major = 7;
    driver->arch = "gfx90a";
    EXPECT_OK(rlx_context_reopen(gpu.cx));
    layers_close_gpu();
    expect_silence();
}
END_TEST

/* What another context of this process has on the device is gone with a reset, and says so. */
START_TEST(a_reset_is_everybodys)
{
    rlx_device *other;
    rlx_device_memory *m;
    char data[8] = {0};
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = kind, .index = 1}, &other));
    EXPECT_OK(other->fn->create_memory(other, sizeof data, RLX_MEMORY_KEPT, &m));
    open_gpu();
    lose("get_room");
    gpu.cx->gpu->fn->room(gpu.cx->gpu);
    driver->plan(NULL);
    EXPECT_OK(rlx_context_reopen(gpu.cx));
    EXPECT_ERROR(other->fn->write(other, m, 0, data, sizeof data), RLX_IO,
                 "nothing runs on it any more");
    other->fn->destroy_memory(other, m);
    EXPECT_OK(layers_use());
    /* That other one, opened anew, takes nothing from who did so before: nor does opening it once more. */
    for (int i = 0; i < 2; i++) {
        rlx_device *anew;
        EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = kind, .index = 1, .lost = other}, &anew));
        ck_assert(!gpu.cx->gpu->fn->is_lost(gpu.cx->gpu));
        ck_assert(!anew->fn->is_lost(anew));
        rlx_device_destroy(anew);
    }
    rlx_device_destroy(other);
    EXPECT_OK(layers_use());
    rlx_executable_destroy(gpu.e); /* of the lost one */
    gpu.e = NULL;
    layers_close_gpu();
    expect_silence();
    ck_assert_int_eq(driver->live(), 0);
}
END_TEST

/* What the host has of memory is freed once the driver does not hold it any more: on a lost device, too. */
START_TEST(pages_are_kept_while_they_are_held)
{
    const rlx_gpu_options o = {.kind = kind, .index = 1};
    rlx_device *d, *anew;
    rlx_device_memory *m;
    char data[8];
    EXPECT_OK(rlx_gpu_open(&o, &d));
    EXPECT_OK(d->fn->create_memory(d, sizeof data, RLX_MEMORY_TAKEN, &m));
    const int64_t live = driver->live();
    rlx_gpu_of(d)->lost = true; /* for all it knows: the driver answers */
    d->fn->destroy_memory(d, m);
    ck_assert_int_eq(driver->live(), live - 1);
    ck_assert_ptr_null(rlx_gpu_of(d)->kept);
    rlx_gpu_of(d)->lost = false;
    EXPECT_OK(d->fn->create_memory(d, sizeof data, RLX_MEMORY_TAKEN, &m));
    lose("get_room");
    d->fn->room(d);
    d->fn->destroy_memory(d, m);
    ck_assert_int_eq(driver->count("unmap_host"), 1);
    ck_assert_ptr_eq(rlx_gpu_of(d)->kept, m);
    driver->plan(NULL);
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = kind, .index = 1, .lost = d}, &anew));
    rlx_device_destroy(d);
    EXPECT_OK(anew->fn->create_memory(anew, sizeof data, RLX_MEMORY_KEPT, &m));
    driver->plan(&(fake_plan){.call = "wait", .fails = 1, .result = KERNEL_FAILED});
    EXPECT_ERROR(anew->fn->read(anew, m, 0, data, sizeof data), RLX_IO, "device lost");
    ck_assert_int_eq(driver->count("synchronize"), 1);
    anew->fn->destroy_memory(anew, m);
    driver->plan(NULL);
    rlx_device_destroy(anew);
    expect_silence();
}
END_TEST

static void cancel(void *session)
{
    rlx_session_cancel(session);
}

/* A step that is cancelled while it runs appends nothing, and the cancel is answered. */
START_TEST(steps_are_cancelled)
{
    const float *out;
    open_gpu();
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_put(0, 0, 0, 0, SHORT);
    EXPECT_OK(layers_step(s, gpu.e, SHORT, &out));
    driver->plan(&(fake_plan){.call = "run_graph", .fails = 1, .meanwhile = cancel, .user = s});
    layers_put(0, 0, 0, SHORT, 1);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_CANCELLED, "cancelled");
    ck_assert_int_eq(rlx_session_past(s, 0), SHORT);
    EXPECT_OK(layers_step(s, gpu.e, 1, &out));
    rlx_session_destroy(s);
    layers_close_gpu();
    driver->plan(NULL);
    expect_silence();
}
END_TEST

static int run_kind(rlx_gpu_kind k)
{
    kind = k;
    driver = world_open_driver(k);
    Suite *s = suite_create(k == RLX_GPU_CUDA ? "gpu_faults of cuda" : "gpu_faults of hip");
    SUITE_TEST(s, "every_call_may_fail", every_call_may_fail);
    SUITE_TEST(s, "devices_that_cannot_be_entered", devices_that_cannot_be_entered);
    SUITE_TEST(s, "lost_devices_are_opened_anew", lost_devices_are_opened_anew);
    SUITE_TEST(s, "another_device_is_not_the_same", another_device_is_not_the_same);
    SUITE_TEST(s, "a_reset_is_everybodys", a_reset_is_everybodys);
    SUITE_TEST(s, "pages_are_kept_while_they_are_held", pages_are_kept_while_they_are_held);
    SUITE_TEST(s, "steps_are_cancelled", steps_are_cancelled);
    const int code = suite_run(s, 7);
    world_forget_code();
    return code;
}

int main(void)
{
    int code = 0;
    for (int k = 0; k < RLX_GPU_KINDS; k++)
        code |= run_kind((rlx_gpu_kind)k);
    return code;
}
