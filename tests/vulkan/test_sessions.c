/* Sessions on a Vulkan device: a flow of two layers with attention, held against the CPU; sequences that fork, go back and
 * are saved, batches, held against the bits of a session that only ever went forward; what a device refuses. Under the
 * validation layer, which must be silent. Twice: with memory that the host sees, and with memory that is filled by copies, as
 * on a card. */
#include <math.h>
#include <pthread.h>
#include <spirv/unified1/spirv.h>
#include <string.h>
#include <unistd.h>

#include "frontend/flow.h"
#include "runtime/cache.h"
#include "runtime/device_vulkan_impl.h"
#include "runtime/executable.h"
#include "tests/vulkan/layers.h"

#define SAVED "test_vulkan_sessions.rlx"

START_TEST(steps_are_the_cpus)
{
    float want[HIDDEN], got[HIDDEN];
    layers_reference(&cpu, 1, want);
    layers_reference(&gpu, 1, got);
    for (int i = 0; i < HIDDEN; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) < 1e-5f, "element %d: %.9g, on the CPU %.9g", i,
                      (double)got[i], (double)want[i]);
}
END_TEST

START_TEST(sequences_fork_go_back_and_outlive_sessions)
{
    float got[HIDDEN], want[2][HIDDEN];
    rlx_session *s = layers_make_session(&gpu, 3), *other = layers_make_session(&gpu, 2);
    for (int i = 0; i < 2; i++)
        layers_reference(&gpu, i + 1, want[i]);
    layers_say(s, gpu.e, 1, 0, 0, PROMPT, got);
    EXPECT_OK(rlx_session_fork(s, 1, 0));
    EXPECT_OK(rlx_session_write(s, 1, "layers", SAVED));
    for (int i = 0; i < 2; i++) {
        layers_say(s, gpu.e, i, i + 1, PROMPT, PROMPT + 1,
                   got); /* the first of them copies the page */
        EXPECT_BITS(got, want[i]);
    }
    EXPECT_OK(rlx_session_rewind(s, 1, PROMPT));
    layers_say(s, gpu.e, 1, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want[0]);
    EXPECT_OK(rlx_session_prepare(other, gpu.e));
    EXPECT_OK(rlx_session_read(other, 1, "layers", SAVED));
    layers_say(other, gpu.e, 1, 2, PROMPT, PROMPT + 1, got);
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
    rlx_session *s = layers_make_session(&gpu, 3);
    int64_t n = 0;
    for (int q = 0; q < 3; q++)
        n = layers_put(n, q, q, 0, lengths[q]);
    EXPECT_OK(layers_step(s, gpu.e, n, &y));
    memcpy(got, y, sizeof got);
    rlx_session_destroy(s);
    n = 0;
    for (int q = 0; q < 3; q++) {
        s = layers_make_session(&gpu, 1);
        layers_say(s, gpu.e, 0, q, 0, lengths[q], want);
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
        layers_fill(x, w->which, t);
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
        alone[i].s = layers_make_session(&gpu, 1);
        beside[i].s = layers_make_session(&gpu, 1);
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
    layers_say(s, gpu.e, 0, 0, 0, 3, out);
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
    layers_put(0, 0, 0, 0, 1);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_UNSUPPORTED, "takes no times of kernels");
    d->tick = tick;
    rlx_session_destroy(s);
}
END_TEST

/* Teams of nobody, as an entry that somebody made could have them. */
static void refuse_no_team(void)
{
    enum { HEADER = 5 };
    rlx_text entry = {0};
    rlx_program *p;
    rlx_executable *e;
    EXPECT_OK(rlx_program_encode(rlx_executable_program(gpu.e), &entry));
    EXPECT_OK(rlx_program_decode(entry.data, entry.len, &p));
    static uint32_t words[1 << 18];
    rlx_program_kernel *k = (rlx_program_kernel *)(uintptr_t)&p->kernels[0];
    ck_assert_uint_le(k->code_bytes, sizeof words);
    memcpy(words, k->code, k->code_bytes);
    size_t i = HEADER;
    while ((words[i] & SpvOpCodeMask) != SpvOpExecutionMode ||
           words[i + 2] != SpvExecutionModeLocalSize)
        i += words[i] >> SpvWordCountShift;
    words[i + 4] = 0;
    k->code = (const uint8_t *)words;
    EXPECT_ERROR(rlx_executable_create_on(gpu.cx->gpu, p, gpu.w, &e), RLX_UNSUPPORTED, " by 0 by ");
    rlx_text_deinit(&entry);
}

START_TEST(teams_fit_the_device)
{
    rlx_vulkan_info *info = &rlx_vulkan_device_of(gpu.cx->gpu)->info;
    const rlx_vulkan_info has = *info;
    info->max_team = has.is_cpu ? 31 : 127;
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "by 1 by 1;");
    *info = has;
    info->team_bytes = 3;
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "bytes of a team's memory");
    *info = has;
    refuse_no_team();
}
END_TEST

/* Kernels with matrices ask for subgroups of a size; of those a team may have no more than the device says. */
START_TEST(teams_are_so_many_subgroups)
{
    rlx_vulkan_info info = {.features = RLX_VULKAN_ALL, .subgroup = 8, .matrix = {8, 8, 8}};
    for (int off = -1; off <= 1; off++) {
        rlx_jit_target t;
        info.max_subgroups = RLX_JIT_DEFAULT_TEAM / info.subgroup + off;
        rlx_vulkan_target(&info, &t);
        ck_assert_int_eq(t.features >> RLX_VULKAN_MATRIX & 1, off >= 0);
    }
}
END_TEST

START_TEST(what_is_too_large_says_so)
{
    rlx_device *d = gpu.cx->gpu;
    const int64_t has = d->memory_bytes, used = d->used_bytes;
    const float *out;
    d->memory_bytes = used + 1000;
    faults->plan(&(fault_plan){.call = "vkAllocateMemory", /* which nobody comes to */
                               .fails = FAULT_FOREVER,
                               .result = VK_ERROR_OUT_OF_HOST_MEMORY});
    EXPECT_ERROR(layers_use(), RLX_OUT_OF_MEMORY, "MiB are missing");
    EXPECT_ERROR(layers_use(), RLX_OUT_OF_MEMORY, "(weights 0.0, states at least 0.0, arena ");
    faults->plan(NULL);
    rlx_session *s = layers_make_session(&gpu, 3); /* whose weights are there */
    d->memory_bytes = used + (300 << 10);
    layers_put(0, 0, 0, 0, 3);
    EXPECT_ERROR(layers_step(s, gpu.e, 3, &out), RLX_OUT_OF_MEMORY,
                 "(weights 0.0, states 0.4, arena ");
    ck_assert_int_eq(d->used_bytes, used);
    d->memory_bytes = has;
    layers_put(0, 0, 0, 0, 3);
    EXPECT_OK(layers_step(s, gpu.e, 3, &out));
    rlx_session_destroy(s);
    const size_t range = d->max_range;
    d->max_range = 200;
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "weight 'q.0'");
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "256 bytes; kernels on ");
    d->max_range = 10000;
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "reach 10000 of one at most");
    d->max_range = range;
    d->max_units = 50;
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "64 elements; kernels on ");
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "count 50 of one at most");
    d->max_units = UINT32_MAX;
    rlx_vulkan_info *info = &rlx_vulkan_device_of(d)->info;
    const int64_t most = info->max_buffer_bytes;
    info->max_buffer_bytes = 128; /* code that was made for more: all of a weight must be bound */
    EXPECT_ERROR(layers_use(), RLX_UNSUPPORTED, "binds at most 128");
    info->max_buffer_bytes = most;
}
END_TEST

/* Code that takes no addresses, on a device that has them: the first step is too late to say so. */
START_TEST(what_cannot_be_bound_is_said_at_creation)
{
    enum { FRAME = 4096 };
    static const struct {
        int64_t binds;
        const char *says;
    } all[] = {{1 << 10, "which takes no addresses: the arena has "},
               {200, "which takes no addresses: weight q.{} has 256 bytes, and "},
               {FRAME, "which takes no addresses: the arena has 4160 bytes, and "},
               {FRAME + 64, "which takes no addresses: what it puts out has 16384 bytes"}};
    rlx_vulkan_info *info = &rlx_vulkan_device_of(gpu.cx->gpu)->info;
    const int64_t most = info->max_buffer_bytes;
    const rlx_program *made = rlx_executable_program(gpu.e);
    rlx_text entry = {0};
    EXPECT_OK(rlx_program_encode(made, &entry));
    for (int i = 0; i < 4; i++) {
        rlx_program *p;
        rlx_executable *e;
        EXPECT_OK(rlx_program_decode(entry.data, entry.len, &p));
        p->features &= ~RLX_VULKAN_BIT(ADDRESS); /* as code of vulkan:base has it */
        if (i)
            p->funcs[p->nfuncs - 1].frame_bytes = i == 1 ? 64 : FRAME;
        info->max_buffer_bytes = all[i].binds;
        EXPECT_ERROR(rlx_executable_create_on(gpu.cx->gpu, p, gpu.w, &e), RLX_UNSUPPORTED,
                     all[i].says);
    }
    info->max_buffer_bytes = most;
    rlx_text_deinit(&entry);
}
END_TEST

/* Both parts of a step, and what they keep, are there or none. */
START_TEST(layers_are_where_they_are_wanted)
{
    float want[HIDDEN], got[HIDDEN];
    const float *out;
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_reference(&gpu, 1, want);
    layers_say(s, gpu.e, 0, 0, 0, PROMPT, got);
    ck_assert_ptr_nonnull(gpu.e->front);
    ck_assert_ptr_null(gpu.e->front->device);
    ck_assert_ptr_eq(gpu.e->device, gpu.cx->gpu);
    faults->plan(&(fault_plan){
        .call = "vkQueueSubmit", .fails = 1, .result = VK_ERROR_OUT_OF_DEVICE_MEMORY});
    layers_put(0, 0, 1, PROMPT, 1);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_OUT_OF_MEMORY, "out of device memory");
    faults->plan(NULL);
    ck_assert_int_eq(rlx_session_past(s, 0), PROMPT);
    layers_say(s, gpu.e, 0, 1, PROMPT, PROMPT + 1, got);
    EXPECT_BITS(got, want);
    rlx_session_cancel(s);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_CANCELLED, "cancelled");
    const float x[1][HIDDEN] = {0};
    const rlx_step_input unknown[] = {{"x", x, sizeof x}, {"z", x, sizeof x}};
    EXPECT_ERROR(
        rlx_session_step(s, gpu.e, &(rlx_step){.tokens = 1, .inputs = unknown, .ninputs = 2}),
        RLX_INVALID_ARGUMENT, "takes no input 'z'");
    rlx_session_destroy(s);
}
END_TEST

static rlx_status compile_for(const char *device, const char *layers, float *out)
{
    rlx_context *cx;
    rlx_weights *w;
    rlx_executable *e = NULL;
    rlx_session *s = NULL;
    const float *y = NULL;
    RLX_TRY(
        rlx_context_create(&(rlx_context_options){.device = device, .device_layers = layers}, &cx));
    layers_make_weights(&w);
    rlx_status st = layers_compile(cx, w, &e);
    if (!st)
        st = rlx_session_create(cx, NULL, &s);
    layers_put(0, 0, 0, 0, 3);
    if (!st)
        st = layers_step(s, e, 3, &y);
    if (!st)
        memcpy(out, y, sizeof(float[3 * HIDDEN]));
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
    return st;
}

START_TEST(any_number_of_layers)
{
    static const char *const numbers[] = {"0", "1", "2", "3", "99", "all"};
    float want[3 * HIDDEN], got[3 * HIDDEN];
    EXPECT_OK(compile_for("cpu", "all", want));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        EXPECT_OK(compile_for("vulkan", numbers[i], got));
        for (int k = 0; k < 3 * HIDDEN; k++)
            ck_assert_msg(fabsf(got[k] - want[k]) < (i ? 1e-5f : 1e-30f),
                          "%s layers, element %d: %.9g, on the CPU %.9g", numbers[i], k,
                          (double)got[k], (double)want[k]);
    }
    EXPECT_OK(compile_for("cpu", "0", got));
    EXPECT_ERROR(compile_for("cpu", "1", got), RLX_INVALID_ARGUMENT, "as vulkan, cuda and hip are");
    EXPECT_ERROR(compile_for("vulkan", "-1", got), RLX_INVALID_ARGUMENT, "from 0, or all");
    EXPECT_ERROR(compile_for("vulkan", "1x", got), RLX_INVALID_ARGUMENT, "\"1x\" layers");
    EXPECT_ERROR(compile_for("vulkan:99", "1", got), RLX_NOT_FOUND, "no Vulkan device 99");
}
END_TEST

/* Rows beyond what a range of any device is sure to reach. */
START_TEST(large_weights_are_reached)
{
    enum { ROWS = 40000, WIDTH = 1024, TOKENS = 4 };
    static const int32_t ids[TOKENS] = {0, 39999, 33000, 1};
    const size_t bytes = sizeof(float) * ROWS * WIDTH;
    const rlx_bucket bucket = {"TOKENS", TOKENS};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    float *rows = calloc(1, bytes);
    rlx_weights *w;
    rlx_flow *f;
    rlx_executable *e;
    rlx_tensor out;
    ck_assert_ptr_nonnull(rows);
    for (int i = 0; i < TOKENS; i++)
        for (int k = 0; k < WIDTH; k++)
            rows[(size_t)ids[i] * WIDTH + (size_t)k] = (float)(i * WIDTH + k);
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add(w, &(rlx_tensor){.name = "rows",
                                               .format = RLX_F32,
                                               .rank = 2,
                                               .dim = {ROWS, WIDTH},
                                               .data = rows,
                                               .bytes = bytes}));
    EXPECT_OK(rlx_flow_create("lookup", &f));
    int64_t dims[] = {rlx_flow_symbol(f, "TOKENS")};
    rlx_flow_input(f, "ids", RLX_I32, 1, dims);
    rlx_flow_embed(f, "rows");
    rlx_flow_output(f, "y");
    EXPECT_OK(rlx_flow_compile(gpu.cx, f, w, &o, NULL, &e));
    rlx_session *s = layers_make_session(&gpu, 1);
    const rlx_step_input in = {"ids", ids, sizeof ids};
    EXPECT_OK(rlx_session_step(s, e, &(rlx_step){.tokens = TOKENS, .inputs = &in, .ninputs = 1}));
    EXPECT_OK(rlx_session_output(s, "y", &out));
    for (int i = 0; i < TOKENS * WIDTH; i++)
        ck_assert_float_eq(((const float *)out.data)[i], (float)i);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_flow_destroy(f);
    rlx_weights_destroy(w);
    free(rows);
}
END_TEST

START_TEST(executables_are_of_their_device)
{
    rlx_session *s = layers_make_session(&cpu, 1);
    const float *out;
    layers_put(0, 0, 0, 0, 1);
    EXPECT_ERROR(layers_step(s, gpu.e, 1, &out), RLX_INVALID_ARGUMENT, "the session is on the CPU");
    rlx_session_destroy(s);
}
END_TEST

/* ---- what a step asks of the device */

static int64_t teams_of(const rlx_program *p, uint32_t kernel, const int64_t *symbols)
{
    int64_t n = 1;
    for (int a = 0; a < RLX_PROGRAM_GRID; a++)
        n *= rlx_dim_eval(p->dims, p->kernels[kernel].grid[a], symbols);
    return n;
}

/* Every launch says how many teams it has work for, and few tokens are work for few. */
START_TEST(grids_are_known)
{
    const rlx_program *p = rlx_executable_program(gpu.e);
    int64_t one[RLX_MAX_SYMBOLS], all[RLX_MAX_SYMBOLS];
    int grow = 0;
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++) {
        one[i] = 1;
        all[i] = p->upper[i] < BUCKET ? p->upper[i] : BUCKET;
    }
    for (uint32_t k = 0; k < p->nkernels; k++) {
        const int64_t least = teams_of(p, k, one), most = teams_of(p, k, all);
        ck_assert_int_ge(least, 1);
        ck_assert_int_lt(most, RLX_GRID_UNKNOWN);
        ck_assert_int_ge(most, least);
        grow += most > least;
    }
    ck_assert_int_ge(grow, 3);
}
END_TEST

/* One recording serves all steps of a bucket, whatever their lengths; each is one submission, and one more takes a large output from
 * memory that the host does not see. */
START_TEST(a_step_is_one_submission)
{
    static const int64_t lengths[] = {1, 7, 1, 250, 3, 1};
    static const char *const never[] = {"vkAllocateDescriptorSets", "vkAllocateMemory",
                                        "vkMapMemory"};
    const int taken = rlx_vulkan_device_of(gpu.cx->gpu)->hides;
    float out[HIDDEN];
    rlx_session *s = layers_make_session(&gpu, 1);
    int64_t at = 2;
    layers_say(s, gpu.e, 0, 0, 0, at, out); /* what is made once is there */
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; at += lengths[i++]) {
        faults->plan(NULL);
        layers_say(s, gpu.e, 0, 0, at, at + lengths[i], out);
        ck_assert_int_eq(faults->count("vkQueueSubmit"), 1 + taken);
        ck_assert_int_eq(faults->count("vkBeginCommandBuffer"), taken);
        for (size_t k = 0; k < sizeof never / sizeof *never; k++)
            ck_assert_int_eq(faults->count(never[k]), 0);
    }
    rlx_session_destroy(s);
}
END_TEST

/* ---- outputs: what is not asked for stays on the device */

enum { SCORES = 2003 };

static void compile_scores(int64_t n, rlx_executable **out)
{
    rlx_flow *f;
    const rlx_bucket buckets[] = {{"TOKENS", 1}, {"ROWS", 1}};
    EXPECT_OK(rlx_flow_create("scores", &f));
    int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), n};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_select_rows(f);
    rlx_flow_output(f, "logits");
    EXPECT_OK(rlx_flow_compile(
        gpu.cx, f, NULL, &(rlx_compile_options){.buckets = buckets, .nbuckets = 2}, NULL, out));
    rlx_flow_destroy(f);
}

/* A step of n scores, of which the likeliest is asked, twice: four bytes cross over, and one submission is all. */
static int32_t ask_likeliest(rlx_session *s, rlx_executable *e, const float *x, int64_t n)
{
    const int64_t before = gpu.cx->gpu->taken_bytes;
    const int32_t row = 0;
    const rlx_step_input in = {"x", x, sizeof(float) * (size_t)n};
    rlx_tensor t;
    faults->plan(NULL);
    EXPECT_OK(rlx_session_step(
        s, e, &(rlx_step){.tokens = 1, .rows = 1, .row_index = &row, .inputs = &in, .ninputs = 1}));
    for (int i = 0; i < 2; i++)
        EXPECT_OK(rlx_session_output(s, RLX_FLOW_LIKELIEST, &t));
    ck_assert_int_eq(t.format, RLX_I32);
    ck_assert_int_eq(gpu.cx->gpu->taken_bytes - before, (int64_t)sizeof(int32_t));
    ck_assert_int_eq(faults->count("vkQueueSubmit"), 1);
    return *(const int32_t *)t.data;
}

static void ask_all(rlx_session *s, rlx_executable *e, int n)
{
    const int at[] = {0, 1, 39, 40, 777, 1960, n - 1}, nans[] = {0, 1, 776, 778, n - 1};
    float x[SCORES];
    rlx_tensor t;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        for (int k = 0; k < n; k++)
            x[k] = -10 + cosf(0.7f * (float)(k * (int)(i + 1)));
        x[at[i]] = x[n - 1] = -8.5f; /* of equals the first */
        ck_assert_int_eq(ask_likeliest(s, e, x, n), at[i]);
        for (int k = 0; k < 2; k++)
            EXPECT_OK(rlx_session_output(s, "logits", &t)); /* when they are asked for they come */
        ck_assert_uint_eq(t.bytes, sizeof *x * (size_t)n);
        ck_assert_mem_eq(t.data, x, t.bytes);
    }
    for (int k = 0; k < n; k++)
        x[k] = -INFINITY;
    ck_assert_int_eq(ask_likeliest(s, e, x, n), 0);
    x[n - 1] = -1;
    ck_assert_int_eq(ask_likeliest(s, e, x, n), n - 1);
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) { /* before, behind: the host looks */
        for (int k = 0; k < n; k++)
            x[k] = -1;
        x[2] = 10;
        x[777] = 5;
        x[nans[i]] = NAN;
        ck_assert_int_eq(ask_likeliest(s, e, x, n), -1);
    }
    for (int k = 0; k < n; k++)
        x[k] = NAN;
    ck_assert_int_eq(ask_likeliest(s, e, x, n), -1);
}

/* Of 40 rows of 50, and of a prime, which is filled up. */
START_TEST(the_likeliest_is_told)
{
    static const int of[] = {2000, SCORES};
    for (int i = 0; i < 2; i++) {
        rlx_executable *e;
        compile_scores(of[i], &e);
        rlx_session *s = layers_make_session(&gpu, 1);
        ask_all(s, e, of[i]);
        rlx_session_destroy(s);
        rlx_executable_destroy(e);
    }
}
END_TEST

/* ---- what the driver makes of kernels is kept */

static int64_t damaged; /* by the cache's warnings */

static void count_warning(void *user, const char *message)
{
    (void)user, (void)message;
    damaged++;
}

/* The kernels of gpu.e once more. How many of the driver's caches began with what was kept. */
static int64_t load_again(const rlx_text *entry)
{
    rlx_program *p;
    rlx_executable *e;
    float got[HIDDEN], want[HIDDEN];
    faults->keep_code(64);
    EXPECT_OK(rlx_program_decode(entry->data, entry->len, &p));
    EXPECT_OK(rlx_executable_create_on(gpu.cx->gpu, p, gpu.w, &e));
    rlx_session *s = layers_make_session(&gpu, 2);
    layers_say(s, e, 0, 0, 0, 3, got);
    layers_say(s, gpu.e, 1, 0, 0, 3, want);
    EXPECT_BITS(got, want);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    return faults->taken();
}

START_TEST(drivers_code_is_kept)
{
    char folder[] = "/tmp/rlx-drivers-XXXXXX", command[64];
    rlx_device *d = gpu.cx->gpu;
    const rlx_vulkan_driver driver = rlx_vulkan_device_of(d)->driver;
    const rlx_program *p = rlx_executable_program(gpu.e);
    rlx_text entry = {0};
    void *code;
    size_t n;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    EXPECT_OK(
        rlx_cache_open(&(rlx_cache_options){.folder = folder, .warn = count_warning}, &d->cache));
    EXPECT_OK(rlx_program_encode(p, &entry));
    ck_assert_int_eq(load_again(&entry), 0);
    ck_assert_int_eq(load_again(&entry), 1);
    code = rlx_cache_get_driver_code(d->cache, &p->key, driver.name, &n);
    ck_assert_ptr_nonnull(code);
    ((uint8_t *)code)[8] ^=
        1; /* the vendor, under a right checksum: it is not for the driver to see */
    rlx_cache_put_driver_code(d->cache, &p->key, driver.name, code, n);
    ck_assert_int_eq(load_again(&entry), 0);
    ck_assert_int_eq(damaged, 1);
    ck_assert_int_eq(load_again(&entry), 1); /* it was made anew */
    faults->plan(
        &(fault_plan){.call = "vkCreatePipelineCache", .fails = 1, .result = VK_ERROR_UNKNOWN});
    ck_assert_int_eq(load_again(&entry), 1); /* taken by the layer, then refused */
    ck_assert_int_eq(damaged, 2);
    rlx_vulkan_device_of(d)->driver.name[0] = 'V'; /* as after another driver was installed */
    ck_assert_int_eq(load_again(&entry), 0);
    ck_assert_int_eq(load_again(&entry), 1);
    ck_assert_int_eq(damaged, 2);
    rlx_vulkan_device_of(d)->driver = driver;
    faults->keep_code(0);
    free(code);
    rlx_cache_close(d->cache);
    d->cache = NULL;
    rlx_text_deinit(&entry);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* An output that stays on the device is counted; what a session has already is not wanted again by another bucket's code. */
START_TEST(what_is_needed_is_counted_once)
{
    rlx_device *d = gpu.cx->gpu;
    const int64_t has = d->memory_bytes;
    static float x[SCORES];
    float got[HIDDEN];
    rlx_executable *e;
    compile_scores(SCORES, &e);
    rlx_session *s = layers_make_session(&gpu, 1);
    const rlx_program *p = rlx_executable_program(e);
    const int32_t row = 0;
    const rlx_step_input in = {"x", x, sizeof x};
    const rlx_step step = {.tokens = 1, .rows = 1, .row_index = &row, .inputs = &in, .ninputs = 1};
    d->memory_bytes = d->used_bytes + p->funcs[p->nfuncs - 1].frame_bytes + 1000;
    EXPECT_ERROR(rlx_session_step(s, e, &step), RLX_OUT_OF_MEMORY, "MiB are missing");
    d->memory_bytes = has;
    EXPECT_OK(rlx_session_step(s, e, &step));
    rlx_executable_destroy(e);
    layers_say(s, gpu.e, 0, 0, 0, 3, got);
    d->memory_bytes = d->used_bytes + 1000;
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &e));
    layers_say(s, e, 0, 0, 3, 4, got);
    d->memory_bytes = has;
    rlx_executable_destroy(e);
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
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.device = "vulkan:0,memory=64M,memory=64M"},
                                 &cx));
    rlx_context_destroy(cx);
    EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = "vulkan:99"}, &cx),
                 RLX_NOT_FOUND, "no Vulkan device 99");
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "vulkan:0,memory=64M,-f16,range=8192"}, &cx));
    ck_assert_str_eq(rlx_context_device(cx), "vulkan:0,-f16,range=8192,memory=67108864");
    ck_assert_int_eq(cx->target.range_bytes, 8192);
    ck_assert_int_eq(cx->gpu->memory_bytes, 64 << 20);
    rlx_context_destroy(cx);
    static const char *const wrong[] = {"vulkan:0,range=8k",
                                        "vulkan:0,range=",
                                        "vulkan:0,memory=0",
                                        "vulkan:0,memory=-1",
                                        "vulkan:0,range=100",
                                        "vulkan:0,range=1000G",
                                        "vulkan:0,memory=64M,memory=8k"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = wrong[i]}, &cx),
                     RLX_INVALID_ARGUMENT, "bytes");
}
END_TEST

/* ---- running */

static TCase *make_case(const char *name, void (*open)(void))
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, 0);
    tcase_add_unchecked_fixture(c, open, layers_close_gpu);
    tcase_add_test(c, steps_are_the_cpus);
    tcase_add_test(c, sequences_fork_go_back_and_outlive_sessions);
    tcase_add_test(c, batches_are_what_each_is_alone);
    tcase_add_test(c, a_step_is_one_submission);
    return c;
}

static void add_tests(Suite *s)
{
    TCase *mapped = make_case("mapped", layers_open_mapped),
          *hidden = make_case("hidden", layers_open_hidden), *ranges = tcase_create("ranges"),
          *parts = make_case("parts", layers_open_parts);
    tcase_add_test(parts, layers_are_where_they_are_wanted);
    tcase_add_unchecked_fixture(ranges, layers_open_ranges, layers_close_gpu);
    tcase_set_timeout(ranges, 0);
    tcase_add_test(ranges, steps_are_the_cpus);
    tcase_add_test(mapped, the_likeliest_is_told); /* of a flow without layers */
    tcase_add_test(hidden, the_likeliest_is_told);
    tcase_add_test(mapped, kernels_are_timed);
    tcase_add_test(mapped, what_is_too_large_says_so);
    tcase_add_test(mapped, what_cannot_be_bound_is_said_at_creation);
    tcase_add_test(mapped, what_is_needed_is_counted_once);
    tcase_add_test(mapped, executables_are_of_their_device);
    tcase_add_test(mapped, large_weights_are_reached);
    tcase_add_test(mapped, any_number_of_layers);
    tcase_add_test(mapped, devices_by_name);
    tcase_add_test(mapped, teams_fit_the_device);
    tcase_add_test(mapped, teams_are_so_many_subgroups);
    tcase_add_test(mapped, drivers_code_is_kept);
    tcase_add_test(mapped, grids_are_known);
    tcase_add_test(mapped, times_wrap_around);
    tcase_add_test(hidden, threads_share_the_device);
    tcase_add_test(hidden, any_bytes_are_cleared);
    suite_add_tcase(s, mapped);
    suite_add_tcase(s, hidden);
    suite_add_tcase(s, ranges);
    suite_add_tcase(s, parts);
}

int main(void)
{
    return layers_run("vulkan_sessions", add_tests, 22);
}
