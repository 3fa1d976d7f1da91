/* Sessions whose steps are one launch each (runtime/device_gpu_step.c), on a driver that stands for NVIDIA's: the bits of graphs; what the
 * driver is asked for; meetings that are missing; devices that are lost, or hold no team. Teams run beside each other, in turns. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "runtime/device_gpu_impl.h"
#include "tests/gpu/world.h"
#include "tests/vulkan/layers.h"

enum { KERNEL_FAILED = 719, OUT_OF_MEMORY = 2 };

static fake_driver *driver;

static void open_gpu(const char *device)
{
    EXPECT_OK(world_open(&(rlx_context_options){.device = device, .no_cache = true}, &gpu.cx));
    layers_make_weights(&gpu.w);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
}

static void expect_silence(void)
{
    driver->plan(NULL);
    ck_assert_msg(!driver->said()[0], "the driver says: %s", driver->said());
    ck_assert(!driver->is_current());
}

static void close_gpu(void)
{
    layers_close_gpu();
    world_forget_code();
    expect_silence();
    ck_assert_int_eq(driver->live(), 0);
}

/* It leaves `gpu` open for those that follow. */
START_TEST(steps_have_the_bits_of_graphs)
{
    float want[TALK][HIDDEN], got[TALK][HIDDEN];
    open_gpu("cuda:1");
    ck_assert_uint_eq(rlx_executable_program(gpu.e)->nparts, 0);
    layers_talk(&gpu, want);
    ck_assert_int_gt(driver->count("run_graph"), 0);
    close_gpu();
    open_gpu("cuda:1,step=auto"); /* its launches are small */
    ck_assert_str_eq(rlx_context_device(gpu.cx), "cuda:1,step=auto");
    ck_assert_uint_eq(rlx_executable_program(gpu.e)->nparts, 1);
    driver->plan(NULL);
    layers_talk(&gpu, got);
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert_int_eq(driver->count("run_graph") + driver->count("launch"), 0);
    ck_assert_int_eq(driver->count("launch_together"), driver->launches());
    expect_silence();
}
END_TEST

/* Times are of kernels one by one. */
START_TEST(times_are_taken_one_by_one)
{
    float want[HIDDEN], got[HIDDEN];
    rlx_session *s;
    s = layers_make_session(&gpu, 1);
    layers_say(s, gpu.e, 0, 0, 0, 3, want);
    rlx_session_destroy(s);
    EXPECT_OK(rlx_session_create(
        gpu.cx, &(rlx_session_options){.max_positions = POSITIONS, .time_kernels = true}, &s));
    driver->plan(NULL);
    layers_say(s, gpu.e, 0, 0, 0, 3, got);
    EXPECT_BITS(got, want);
    ck_assert_int_eq(driver->count("launch_together"), 0);
    ck_assert_int_gt(driver->count("launch"), 5);
    rlx_session_destroy(s);
    expect_silence();
}
END_TEST

/* ---- meetings */

static int64_t missing, meetings; /* the one that is left out, from 1; how many there are */

static void run_without(void *user, const fake_kernel_launch *l)
{
    rlx_step_head *head = l->addresses[0];
    rlx_step_launch *launches = (rlx_step_launch *)(void *)(head + 1), kept[256];
    ck_assert_int_le(head->nlaunches, 256);
    memcpy(kept, launches, sizeof *kept * (size_t)head->nlaunches);
    for (int64_t i = 0; i < head->nlaunches; i++) {
        const int64_t m = launches[i].meeting;
        meetings = m > meetings ? m : meetings;
        launches[i].meeting = m == missing ? 0 : m - (m > missing);
    }
    world_run(user, l);
    memcpy(launches, kept, sizeof *kept * (size_t)head->nlaunches);
}

/* So many that attention is dealt otherwise than what comes before it. */
static void say_first(float *out)
{
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_say(s, gpu.e, 0, 0, 0, 20, out);
    rlx_session_destroy(s);
}

/* Down or up, a team reads what is not there yet. */
START_TEST(a_missing_meeting_gives_other_bits)
{
    float want[HIDDEN], got[HIDDEN];
    say_first(want);
    driver->run = run_without;
    meetings = 1;
    for (missing = 1; missing <= meetings; missing++) {
        bool missed = false;
        for (world_order = LOADED_DOWN; !missed && world_order <= LOADED_UP; world_order++) {
            say_first(got);
            missed |= memcmp(got, want, sizeof got) != 0;
        }
        ck_assert_msg(missed, "meeting %d of %d is not missed", (int)missing, (int)meetings);
    }
    world_order = LOADED_DOWN;
    missing = 1000;
    say_first(got);
    EXPECT_BITS(got, want);
    driver->run = world_run;
    expect_silence();
}
END_TEST

/* ---- what may fail */

START_TEST(a_device_may_hold_no_team)
{
    rlx_text entry = {0};
    rlx_program *p;
    rlx_executable *e;
    EXPECT_OK(rlx_program_encode(rlx_executable_program(gpu.e), &entry));
    EXPECT_OK(rlx_program_decode(entry.data, entry.len, &p));
    driver->resident = -1;
    EXPECT_ERROR(rlx_executable_create_on(gpu.cx->gpu, p, gpu.w, &e), RLX_UNSUPPORTED,
                 "takes more than Fake NVIDIA 1 has");
    driver->resident = 0;
    rlx_text_deinit(&entry);
    expect_silence();
}
END_TEST

/* A driver that then holds fewer says so; nothing is appended, and the device is there. */
START_TEST(fewer_teams_than_were_counted)
{
    const float *out;
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_put(0, 0, 0, 0, 3);
    driver->resident = 1;
    EXPECT_ERROR(layers_step(s, gpu.e, 3, &out), RLX_UNSUPPORTED,
                 "cuLaunchCooperativeKernel: more teams than the device holds at once");
    ck_assert_int_eq(rlx_session_past(s, 0), 0);
    driver->resident = 0;
    EXPECT_OK(layers_step(s, gpu.e, 3, &out));
    rlx_session_destroy(s);
    expect_silence();
}
END_TEST

/* Every call of a first step in turn: nothing is left behind, and the next try goes further. */
START_TEST(every_call_may_fail)
{
    const float *out;
    int n = 0;
    for (bool through = false; !through; n += !through) {
        const int64_t live = driver->live();
        rlx_session *s = layers_make_session(&gpu, 1);
        layers_put(0, 0, 0, 0, 3);
        driver->plan(&(fake_plan){.passes = n, .fails = 1, .result = OUT_OF_MEMORY});
        rlx_status st = layers_step(s, gpu.e, 3, &out);
        const char *last = driver->last();
        through = !last;
        ck_assert(!st == (through || !strcmp(last, "cuMemGetInfo_v2")));
        rlx_status_free(st);
        rlx_session_destroy(s);
        if (last && !strcmp(last, "cuStreamSynchronize")) { /* lost, for all it knows */
            rlx_gpu_of(gpu.cx->gpu)->lost = false;
            continue;
        }
        ck_assert_msg(!driver->said()[0], "when %s failed: %s", last, driver->said());
        ck_assert_msg(driver->live() == live, "when %s failed something was left", last);
    }
    ck_assert_int_ge(n, 10);
    expect_silence();
}
END_TEST

/* In the middle of a step, and then opened anew. */
START_TEST(a_lost_device_is_opened_anew)
{
    float want[HIDDEN], got[HIDDEN];
    const float *out;
    rlx_session *s = layers_make_session(&gpu, 1), *after;
    layers_say(s, gpu.e, 0, 0, 0, 3, want);
    driver->plan(&(fake_plan){.call = "wait", .fails = 1, .result = KERNEL_FAILED, .ends = true});
    layers_put(0, 0, 0, 3, 1);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "a kernel failed: device lost");
    ck_assert_int_eq(rlx_session_past(s, 0), 3);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_IO, "nothing runs on it any more");
    driver->plan(NULL);
    EXPECT_OK(rlx_context_reopen(gpu.cx));
    rlx_session_destroy(s);
    rlx_executable_destroy(gpu.e);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
    ck_assert_uint_eq(rlx_executable_program(gpu.e)->nparts, 1);
    after = layers_make_session(&gpu, 1);
    layers_say(after, gpu.e, 0, 0, 0, 3, got);
    EXPECT_BITS(got, want);
    rlx_session_destroy(after);
    layers_close_gpu();
    world_forget_code();
    expect_silence();
}
END_TEST

static pthread_t resetter;

static void *shut(void *user)
{
    rlx_gpu_gate_shut(user);
    rlx_gpu_gate_open(user);
    return NULL;
}

/* Comes while the calling thread is inside, and waits for it. */
static void start_resetter(void *user)
{
    rlx_gpu_gate *w = user;
    ck_assert_int_eq(pthread_create(&resetter, NULL, shut, w), 0);
    for (bool waits = false; !waits; usleep(100)) {
        pthread_mutex_lock(&w->lock);
        waits = w->shut;
        pthread_mutex_unlock(&w->lock);
    }
}

/* At every call of a first step in turn: who is inside does not come in again, which would wait for the reset, and that for him. */
START_TEST(a_reset_may_wait_at_any_call)
{
    rlx_gpu *g = rlx_gpu_of(gpu.cx->gpu);
    const float *out;
    for (int n = 0;; n++) {
        rlx_session *s = layers_make_session(&gpu, 1);
        layers_put(0, 0, 0, 0, 3);
        resetter = 0;
        driver->plan(&(fake_plan){.passes = n,
                                  .fails = 1,
                                  .meanwhile = start_resetter,
                                  .user = &g->driver->gates[g->index]});
        EXPECT_OK(layers_step(s, gpu.e, 3, &out));
        rlx_session_destroy(s);
        if (!resetter)
            break;
        pthread_join(resetter, NULL);
        ck_assert_int_le(n, 100);
    }
    expect_silence();
}
END_TEST

START_TEST(others_have_none)
{
    rlx_context *cx;
    EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = "hip:1,step=kernel"}, &cx),
                 RLX_UNSUPPORTED, "steps in one launch are made for NVIDIA GPUs");
    EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = "cuda:1,step=fast"}, &cx),
                 RLX_INVALID_ARGUMENT, "expected step=graph, kernel or auto");
}
END_TEST

START_TEST(all_is_given_back)
{
    close_gpu();
}
END_TEST

/* ---- what drivers make of it: kept beside the kernels' */

static int64_t load_again(const rlx_text *entry)
{
    rlx_program *p;
    rlx_executable *e;
    driver->plan(NULL);
    EXPECT_OK(rlx_program_decode(entry->data, entry->len, &p));
    EXPECT_OK(rlx_executable_create_on(gpu.cx->gpu, p, gpu.w, &e));
    rlx_executable_destroy(e);
    return driver->count("finish_linking");
}

/* Nothing in a step is loaded by the way that no fence orders: what it reads others wrote. */
static void check_step(const rlx_flow *f, const rlx_compile_options *o, const char *level)
{
    char *ptx;
    EXPECT_OK(rlx_flow_inspect(gpu.cx, f, gpu.w, o, level, &ptx));
    const char *step = strstr(ptx, ".entry " RLX_PROGRAM_STEP "(");
    ck_assert_msg(step != NULL, "%s has no step", level);
    ck_assert_ptr_nonnull(strstr(step, "ld.acquire.gpu"));
    ck_assert_msg(!strstr(ptx, "ld.global.nc"), "%s loads what may be old", level);
    free(ptx);
}

/* What is inspected is what is compiled. */
static void check_ptx(void)
{
    const rlx_bucket bucket = {"TOKENS", BUCKET};
    rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    rlx_flow *f;
    char *ptx;
    layers_make_flow(NULL, &f);
    check_step(f, &o, "ptx");
    o.precision = RLX_FAST;
    check_step(f, &o, "ptx@cuda:sm_80,step=kernel");
    check_step(f, &o, "ptx@cuda:sm_90a,step=kernel");
    o.precision = RLX_EXACT;
    gpu.cx->target.step = RLX_JIT_STEP_GRAPH;
    EXPECT_OK(rlx_flow_inspect(gpu.cx, f, gpu.w, &o, "ptx", &ptx));
    ck_assert_ptr_null(strstr(ptx, RLX_PROGRAM_STEP));
    free(ptx);
    rlx_flow_destroy(f);
}

START_TEST(drivers_code_is_kept)
{
    char folder[] = "/tmp/rlx-steps-XXXXXX", command[64];
    rlx_text entry = {0};
    ck_assert_ptr_nonnull(mkdtemp(folder));
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "cuda:1,step=auto", .cache = {.folder = folder}},
        &gpu.cx));
    layers_make_weights(&gpu.w);
    driver->plan(NULL);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
    const rlx_program *p = rlx_executable_program(gpu.e);
    ck_assert_int_eq(driver->count("finish_linking"), p->nkernels + 1);
    EXPECT_OK(rlx_program_encode(p, &entry));
    ck_assert_int_eq(load_again(&entry), 0);
    rlx_text_deinit(&entry);
    check_ptx();
    close_gpu();
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Without "faults" but those. */
int main(int argc, char **argv)
{
    const bool failing = argc > 1 && !strcmp(argv[1], "faults");
    driver = world_open_driver(RLX_GPU_CUDA);
    Suite *s = suite_create(failing ? "gpu step: faults" : "gpu step");
    if (!failing) {
        SUITE_TEST(s, "others_have_none", others_have_none);
        SUITE_TEST(s, "drivers_code_is_kept", drivers_code_is_kept);
    }
    SUITE_TEST(s, "steps_have_the_bits_of_graphs", steps_have_the_bits_of_graphs); /* opens it */
    if (failing) {
        SUITE_TEST(s, "a_missing_meeting_gives_other_bits", a_missing_meeting_gives_other_bits);
        SUITE_TEST(s, "every_call_may_fail", every_call_may_fail);
        SUITE_TEST(s, "a_lost_device_is_opened_anew", a_lost_device_is_opened_anew); /* closes it */
    } else {
        SUITE_TEST(s, "times_are_taken_one_by_one", times_are_taken_one_by_one);
        SUITE_TEST(s, "a_device_may_hold_no_team", a_device_may_hold_no_team);
        SUITE_TEST(s, "fewer_teams_than_were_counted", fewer_teams_than_were_counted);
        SUITE_TEST(s, "a_reset_may_wait_at_any_call", a_reset_may_wait_at_any_call);
        SUITE_TEST(s, "all_is_given_back", all_is_given_back); /* closes it */
    }
    return suite_run(s, failing ? 4 : 8);
}
