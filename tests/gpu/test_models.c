/* Whole models through the device code of GPUs, on drivers that stand for theirs (fake_driver.h): a prompt, then a token at a time, sequences
 * that step together, keys and values in several formats, weights in every kind of blocks, layers on the CPU in front, sequences over several
 * pages with and without a window, saved and restored elsewhere. The bits are the CPU's; and code that was made without the device is found by it. */
#include <string.h>
#include <unistd.h>

#include "runtime/device_gpu_impl.h"
#include "tests/gpu/world.h"
#include "tests/vulkan/layers.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define STORIES RLX_SHARED_DIR "/data/models/llama/stories260K/stories260Ktok512.gguf"

enum { MODEL_POSITIONS = 64, MOST_VOCAB = 1024 };

static fake_driver *drivers[RLX_GPU_KINDS];
static const char *const devices[RLX_GPU_KINDS] = {"cuda:1", "hip:1"};

static void expect_silence(const fake_driver *v)
{
    ck_assert_msg(!v->said()[0], "the driver says: %s", v->said());
    ck_assert_int_eq(v->live(), 0);
    ck_assert(!v->is_current());
}

/* ---- logits */

enum { PROMPT_TOKENS = 5, BATCH = 6, ROWS = PROMPT_TOKENS + 1 + BATCH };

/* How a model is made and where. */
typedef struct way {
    const char *path, *layers; /* on the device; NULL: all */
    rlx_precision precision;
    rlx_format keys, values;
} way;

/* A prompt, a token, then tokens of three sequences together. */
static void step(rlx_model *m, rlx_session *s, int64_t vocab, float *out)
{
    static const int32_t ids[ROWS] = {1, 300, 301, 7, 50, 9, 1, 42, 2, 7, 9, 5};
    static const int32_t seqs[BATCH] = {1, 0, 2, 1, 1, 2}, every[BATCH] = {0, 1, 2, 3, 4, 5};
    const int32_t *together = ids + PROMPT_TOKENS + 1;
    const rlx_model_batch batch = {
        .tokens = BATCH, .ids = together, .seq = seqs, .rows = BATCH, .row_index = every};
    EXPECT_OK(rlx_model_step(m, s, 0, ids, PROMPT_TOKENS, PROMPT_TOKENS, out));
    out += PROMPT_TOKENS * vocab;
    EXPECT_OK(rlx_model_step(m, s, 0, ids + PROMPT_TOKENS, 1, 1, out));
    EXPECT_OK(rlx_model_step_batch(m, s, &batch, out + vocab));
}

static void make_logits(rlx_context *cx, const way *w, float *out)
{
    const rlx_model_options options = {.max_positions = MODEL_POSITIONS,
                                       .prefill = 8,
                                       .precision = w->precision,
                                       .kv_key_format = w->keys,
                                       .kv_value_format = w->values};
    const rlx_session_options sessions = {.max_positions = MODEL_POSITIONS, .max_sequences = 3};
    rlx_model_info info;
    rlx_model *m;
    rlx_session *s;
    EXPECT_OK(rlx_model_load(cx, w->path, &options, &m));
    rlx_model_get_info(m, &info);
    ck_assert_int_le(info.vocab, MOST_VOCAB);
    EXPECT_OK(rlx_session_create(cx, &sessions, &s));
    step(m, s, info.vocab, out);
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
}

static void check_logits(rlx_gpu_kind k, const way *w)
{
    static float want[ROWS * MOST_VOCAB], got[ROWS * MOST_VOCAB];
    fake_driver *v = drivers[k];
    const rlx_context_options on_gpu = {
        .device = devices[k], .device_layers = w->layers, .no_cache = true};
    rlx_context *cx;
    v->plan(NULL);
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    make_logits(cx, w, want);
    EXPECT_OK(world_open(&on_gpu, &cx));
    make_logits(cx, w, got);
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert_int_gt(v->launches(), 0);
    world_forget_code();
    expect_silence(v);
}

START_TEST(exact_logits_are_the_cpus)
{
    check_logits((rlx_gpu_kind)_i, &(way){.path = BUNDLED});
}
END_TEST

START_TEST(kept_formats_give_the_cpus_bits)
{
    check_logits(RLX_GPU_CUDA, &(way){.path = BUNDLED, .keys = RLX_F16, .values = RLX_Q8_0});
    check_logits(RLX_GPU_HIP, &(way){.path = BUNDLED, .keys = RLX_Q8_0, .values = RLX_BF16});
}
END_TEST

START_TEST(layers_on_both_give_the_cpus_bits)
{
    check_logits(RLX_GPU_CUDA, &(way){.path = BUNDLED, .layers = "2"});
    check_logits(RLX_GPU_HIP, &(way){.path = BUNDLED, .layers = "5"});
}
END_TEST

static void check_blocks(rlx_gpu_kind k, const char *type, rlx_precision p)
{
    char path[] = "/tmp/rlx-gpu-XXXXXX.gguf";
    const int fd = mkstemps(path, (int)strlen(".gguf"));
    ck_assert_int_ge(fd, 0);
    close(fd);
    EXPECT_OK(rlx_quantize(BUNDLED, path, &(rlx_quantize_options){.type = type}));
    check_logits(k, &(way){.path = path, .precision = p, .keys = RLX_F32, .values = RLX_F32});
    remove(path);
}

/* Every kind of blocks: plain ones, super-blocks, tables. */
START_TEST(weights_in_blocks_give_the_cpus_bits)
{
    static const char *const types[] = {"Q8_0", "Q4_0", "Q4_K_M", "Q6_K", "IQ4_XS"};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        check_blocks(t % 2 ? RLX_GPU_HIP : RLX_GPU_CUDA, types[t], RLX_EXACT);
}
END_TEST

/* With a matrix unit prompts go by it, and have the CPU's order; of pages in halves, which are fast's own choice,
 * attention goes by it, too, and has an order of its own (test_fast.c). */
START_TEST(fast_logits_are_the_cpus)
{
    fake_driver *v = drivers[RLX_GPU_CUDA];
    v->major = 8;
    v->minor = 0;
    check_blocks(RLX_GPU_CUDA, "Q8_0", RLX_FAST);
    check_blocks(RLX_GPU_CUDA, "Q4_K_M", RLX_FAST);
    v->major = 7;
    v->minor = 5;
}
END_TEST

/* ---- text */

typedef struct collected {
    char text[1024];
    size_t n;
} collected;

static bool collect(void *user, const char *utf8, size_t bytes)
{
    collected *c = user;
    ck_assert_uint_lt(c->n + bytes, sizeof c->text);
    memcpy(c->text + c->n, utf8, bytes);
    c->n += bytes;
    return true;
}

/* What crossed over for each token of a greedy decode, but the first, which is the prompt's: its number. */
typedef struct crossing {
    rlx_context *cx;
    int64_t tokens, bytes;
} crossing;

static void count_token(void *user, int32_t id)
{
    crossing *c = user;
    if (c->cx->gpu && ++c->tokens > 1)
        ck_assert_int_eq(c->cx->gpu->taken_bytes - c->bytes, (int64_t)sizeof id);
    c->bytes = c->cx->gpu ? c->cx->gpu->taken_bytes : 0;
}

static void generate(rlx_context *cx, const char *path, rlx_precision p, int count, collected *out)
{
    const rlx_model_options options = {
        .max_positions = MODEL_POSITIONS, .any_length = true, .precision = p};
    const rlx_sampling greedy = {0};
    rlx_generate_stats stats;
    rlx_model *m;
    rlx_session *s;
    crossing c = {.cx = cx};
    *out = (collected){0};
    EXPECT_OK(rlx_model_load(cx, path, &options, &m));
    EXPECT_OK(rlx_session_create(cx, &(rlx_session_options){.max_positions = MODEL_POSITIONS}, &s));
    const rlx_generate_options o = {.prompt = "Once",
                                    .count = count,
                                    .sampling = &greedy,
                                    .on_token = count_token,
                                    .on_token_user = &c};
    EXPECT_OK(rlx_model_generate(m, s, &o, collect, out, &stats));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    world_forget_code();
}

static void check_same_text(rlx_gpu_kind k, const char *path, rlx_precision p, int count)
{
    collected want, got;
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    generate(cx, path, p, count, &want);
    EXPECT_OK(world_open(&(rlx_context_options){.device = devices[k], .no_cache = true}, &cx));
    generate(cx, path, p, count, &got);
    ck_assert_str_eq(got.text, want.text);
    ck_assert_uint_gt(got.n, (size_t)count);
    expect_silence(drivers[k]);
}

START_TEST(greedy_text_is_the_cpus)
{
    check_same_text(RLX_GPU_CUDA, BUNDLED, RLX_FAST, 6);
    if (access(STORIES, R_OK)) {
        printf("skipped: %s is not there\n", STORIES);
        return;
    }
    check_same_text(RLX_GPU_CUDA, STORIES, RLX_EXACT, 32);
    check_same_text(RLX_GPU_HIP, STORIES, RLX_FAST, 32);
}
END_TEST

/* ---- pages */

static void open_both(rlx_gpu_kind k)
{
    layers_make_weights(&cpu.w);
    layers_make_weights(&gpu.w);
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cpu.cx));
    EXPECT_OK(world_open(&(rlx_context_options){.device = devices[k], .no_cache = true}, &gpu.cx));
    EXPECT_OK(layers_compile(cpu.cx, cpu.w, &cpu.e));
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
}

static void close_both(rlx_gpu_kind k)
{
    rlx_executable_destroy(cpu.e);
    rlx_context_destroy(cpu.cx);
    rlx_weights_destroy(cpu.w);
    layers_close_gpu();
    world_forget_code();
    expect_silence(drivers[k]);
}

/* Two layers, whose prompt fills one page and begins another. */
static void check_pages(rlx_gpu_kind k, int64_t window)
{
    float want[2][HIDDEN], got[2][HIDDEN];
    const layers_world *worlds[] = {&cpu, &gpu};
    layers_window = window;
    open_both(k);
    for (int i = 0; i < 2; i++) {
        rlx_session *s = layers_make_session(worlds[i], 2);
        float(*out)[HIDDEN] = i ? got : want;
        layers_say(s, worlds[i]->e, 0, 0, 0, PROMPT, out[0]);
        EXPECT_OK(rlx_session_fork(s, 0, 1));
        layers_say(s, worlds[i]->e, 1, 1, PROMPT, PROMPT + 1, out[1]);
        rlx_session_destroy(s);
    }
    ck_assert_mem_eq(got, want, sizeof want);
    close_both(k);
    layers_window = 0;
}

START_TEST(pages_and_windows_give_the_cpus_bits)
{
    check_pages((rlx_gpu_kind)_i, 0);
    check_pages((rlx_gpu_kind)_i, 100);
}
END_TEST

/* A sequence that one device computed goes on elsewhere, and what is written of it is the same wherever it comes from. */
START_TEST(saved_sequences_go_on_elsewhere)
{
    char file[2][32] = {"/tmp/rlx-saved-XXXXXX", "/tmp/rlx-saved-XXXXXX"}, *data[2];
    float want[HIDDEN], got[HIDDEN];
    const layers_world *worlds[] = {&cpu, &gpu};
    rlx_session *s[2];
    size_t bytes[2];
    open_both((rlx_gpu_kind)_i);
    for (int i = 0; i < 2; i++) {
        close(mkstemp(file[i]));
        s[i] = layers_make_session(worlds[i], 2);
        layers_say(s[i], worlds[i]->e, 0, 0, 0, PROMPT, want);
        EXPECT_OK(rlx_session_save(s[i], 0, NULL, file[i]));
    }
    layers_say(s[0], cpu.e, 0, 1, PROMPT, PROMPT + 1, want);
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(rlx_session_restore(s[i], 1, NULL, file[!i]));
        layers_say(s[i], worlds[i]->e, 1, 1, PROMPT, PROMPT + 1, got);
        ck_assert_mem_eq(got, want, sizeof want);
        EXPECT_OK(rlx_file_read(file[i], &data[i], &bytes[i]));
        rlx_session_destroy(s[i]);
    }
    ck_assert_uint_eq(bytes[0], bytes[1]);
    ck_assert_mem_eq(data[0], data[1], bytes[0]);
    for (int i = 0; i < 2; i++) {
        free(data[i]);
        unlink(file[i]);
    }
    close_both((rlx_gpu_kind)_i);
}
END_TEST

/* ---- models that do not fit, devices that are lost */

/* The story says how much is missing; what does fit still runs, in the same context. */
static void check_larger(rlx_gpu_kind k, const char *device)
{
    rlx_model *m;
    EXPECT_OK(world_open(&(rlx_context_options){.device = device, .no_cache = true}, &gpu.cx));
    EXPECT_ERROR(rlx_model_load(gpu.cx, BUNDLED, NULL, &m), RLX_OUT_OF_MEMORY,
                 "MiB are needed on Fake ");
    EXPECT_ERROR(rlx_model_load(gpu.cx, BUNDLED, NULL, &m), RLX_OUT_OF_MEMORY,
                 "which has 4.0 MiB, 4.0 of them free: ");
    ck_assert_int_eq(gpu.cx->gpu->used_bytes, 0);
    ck_assert(!gpu.cx->gpu->fn->is_lost(gpu.cx->gpu));
    EXPECT_OK(layers_use());
    rlx_context_destroy(gpu.cx);
    world_forget_code();
    expect_silence(drivers[k]);
}

START_TEST(models_larger_than_memory)
{
    check_larger(RLX_GPU_CUDA, "cuda:1,memory=4M");
    check_larger(RLX_GPU_HIP, "hip:1,memory=4M");
}
END_TEST

static rlx_status try_to_generate(rlx_context *cx, rlx_model *m, collected *out)
{
    const rlx_sampling greedy = {0};
    const rlx_generate_options o = {.prompt = "Once", .count = 4, .sampling = &greedy};
    rlx_generate_stats stats;
    rlx_session *s;
    *out = (collected){0};
    RLX_TRY(rlx_session_create(cx, &(rlx_session_options){.max_positions = MODEL_POSITIONS}, &s));
    rlx_status st = rlx_model_generate(m, s, &o, collect, out, &stats);
    rlx_session_destroy(s);
    return st;
}

/* In the middle of a text. Opened anew the context loads the model again, and says the same. */
START_TEST(texts_on_a_lost_device)
{
    enum { KERNEL_FAILED = 719, STEPS = 2 };
    fake_driver *v = drivers[_i];
    const rlx_model_options options = {.max_positions = MODEL_POSITIONS};
    collected want, got;
    rlx_context *cx;
    rlx_model *m;
    EXPECT_OK(world_open(&(rlx_context_options){.device = devices[_i], .no_cache = true}, &cx));
    EXPECT_OK(rlx_model_load(cx, BUNDLED, &options, &m));
    EXPECT_OK(try_to_generate(cx, m, &want));
    v->plan(&(fake_plan){.call = "run_graph",
                         .passes = STEPS,
                         .fails = FAKE_FOREVER,
                         .result = KERNEL_FAILED,
                         .ends = true});
    EXPECT_ERROR(try_to_generate(cx, m, &got), RLX_IO, "a kernel failed: device lost");
    EXPECT_ERROR(try_to_generate(cx, m, &got), RLX_IO, "nothing runs on it any more");
    rlx_model_destroy(m);
    EXPECT_ERROR(rlx_model_load(cx, BUNDLED, &options, &m), RLX_IO, "nothing runs on it any more");
    v->plan(NULL);
    EXPECT_OK(rlx_context_reopen(cx));
    EXPECT_OK(rlx_model_load(cx, BUNDLED, &options, &m));
    EXPECT_OK(try_to_generate(cx, m, &got));
    ck_assert_str_eq(got.text, want.text);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    world_forget_code();
    expect_silence(v);
}
END_TEST

/* ---- code that was made without the device */

/* For the processor of a device that is somewhere else: loaded there, nothing is compiled. The driver is given the code itself, which nothing
 * here runs. */
static void check_warmed(rlx_gpu_kind k, const char *target, rlx_precision p)
{
    char folder[] = "/tmp/rlx-warmed-XXXXXX", command[64];
    const rlx_model_options options = {.max_positions = MODEL_POSITIONS, .precision = p};
    const int32_t ids[] = {1, 300, 7};
    static float out[MOST_VOCAB];
    fake_driver *v = drivers[k];
    rlx_context *cx;
    rlx_model *m;
    rlx_session *s;
    rlx_context_stats stats;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    const rlx_cache_options cache = {.folder = folder};
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.cache = cache}, &cx));
    EXPECT_OK(rlx_model_warm(cx, BUNDLED, &options,
                             &(rlx_warm_options){.targets = &target, .ntargets = 1}));
    rlx_context_destroy(cx);
    v->run = NULL;
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = devices[k], .cache = cache, .no_compile = true}, &cx));
    EXPECT_OK(rlx_model_load(cx, BUNDLED, &options, &m));
    EXPECT_OK(rlx_session_create(cx, &(rlx_session_options){.max_positions = MODEL_POSITIONS}, &s));
    v->plan(NULL);
    EXPECT_OK(rlx_model_step(m, s, 0, ids, 3, 1, out));
    EXPECT_OK(rlx_model_step(m, s, 0, ids, 1, 1, out));
    rlx_context_get_stats(cx, &stats);
    ck_assert_int_eq(stats.compiled, 0);
    ck_assert_int_ge(stats.loaded, 2);
    ck_assert_int_gt(v->launches(), 20);
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    v->run = world_run;
    expect_silence(v);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(warmed_code_is_found)
{
    drivers[RLX_GPU_CUDA]->major = 9;
    drivers[RLX_GPU_CUDA]->minor = 0;
    check_warmed(RLX_GPU_CUDA, "cuda:sm_90a", RLX_FAST);
    drivers[RLX_GPU_HIP]->arch = "gfx942";
    check_warmed(RLX_GPU_HIP, "hip:gfx942", RLX_EXACT);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu_models");
    for (int k = 0; k < RLX_GPU_KINDS; k++)
        drivers[k] = world_open_driver((rlx_gpu_kind)k);
    TCase *both = tcase_create("for both");
    tcase_add_loop_test(both, exact_logits_are_the_cpus, 0, RLX_GPU_KINDS);
    tcase_add_loop_test(both, pages_and_windows_give_the_cpus_bits, 0, RLX_GPU_KINDS);
    tcase_add_loop_test(both, saved_sequences_go_on_elsewhere, 0, RLX_GPU_KINDS);
    tcase_add_loop_test(both, texts_on_a_lost_device, 0, RLX_GPU_KINDS);
    suite_add_tcase(s, both);
    SUITE_TEST(s, "models_larger_than_memory", models_larger_than_memory);
    SUITE_TEST(s, "kept_formats_give_the_cpus_bits", kept_formats_give_the_cpus_bits);
    SUITE_TEST(s, "layers_on_both_give_the_cpus_bits", layers_on_both_give_the_cpus_bits);
    SUITE_TEST(s, "weights_in_blocks_give_the_cpus_bits", weights_in_blocks_give_the_cpus_bits);
    SUITE_TEST(s, "fast_logits_are_the_cpus", fast_logits_are_the_cpus);
    SUITE_TEST(s, "greedy_text_is_the_cpus", greedy_text_is_the_cpus);
    SUITE_TEST(s, "warmed_code_is_found", warmed_code_is_found); /* last: of other processors */
    return suite_run(s, 15);
}
