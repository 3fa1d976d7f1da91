/* Trained models on a Vulkan device: the CPU's text, by code that was made without the device, too. Long on a software
 * device, which takes seconds to compile a model's kernels: make check. */
#include <string.h>
#include <unistd.h>

#include "frontend/context.h"
#include "tests/runtime/suite.h"
#include "tests/vulkan/environment.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define STORIES RLX_SHARED_DIR "/data/models/llama/stories260K/stories260Ktok512.gguf"

enum { POSITIONS = 512 };

static rlx_context *cpu, *gpu;

static const rlx_model_options exact = {.max_positions = POSITIONS, .any_length = true};
static const rlx_model_options fast = {
    .max_positions = POSITIONS, .any_length = true, .precision = RLX_FAST};

typedef struct collected {
    char text[4096];
    size_t n;
} collected;

static const fault_layer *faults;

/* What crossed over for each token of a greedy decode: one submission, and the token. */
typedef struct crossing {
    int64_t tokens, submissions, bytes;
} crossing;

static void count_token(void *user, int32_t id)
{
    crossing *c = user;
    (void)id;
    c->tokens++;
    if (c->tokens > 2) { /* the first is of the prompt, the second's tape is recorded */
        ck_assert_int_eq(faults->count("vkQueueSubmit") - c->submissions, 1);
        ck_assert_int_eq(gpu->gpu->taken_bytes - c->bytes, (int64_t)sizeof id);
    }
    c->submissions = faults->count("vkQueueSubmit");
    c->bytes = gpu->gpu->taken_bytes;
}

static bool collect(void *user, const char *utf8, size_t bytes)
{
    collected *c = user;
    ck_assert_uint_lt(c->n + bytes, sizeof c->text);
    memcpy(c->text + c->n, utf8, bytes);
    c->n += bytes;
    return true;
}

static void generate(rlx_context *cx, rlx_model *m, int count, collected *out)
{
    rlx_session *s;
    EXPECT_OK(rlx_session_create(cx, &(rlx_session_options){.max_positions = POSITIONS}, &s));
    const rlx_sampling greedy = {0};
    crossing c = {0};
    rlx_generate_options o = {.prompt = "Once upon a time", .count = count};
    o.sampling = &greedy;
    if (cx == gpu) {
        o.on_token = count_token;
        o.on_token_user = &c;
    }
    rlx_generate_stats stats;
    *out = (collected){0};
    EXPECT_OK(rlx_model_generate(m, s, &o, collect, out, &stats));
    rlx_session_destroy(s);
}

/* On the device first: the files are mapped by one model at a time. */
static void check_same_text(const char *path, int count)
{
    collected want, got;
    rlx_model *m;
    EXPECT_OK(rlx_model_load(gpu, path, &exact, &m));
    generate(gpu, m, count, &got);
    rlx_model_destroy(m);
    EXPECT_OK(rlx_model_load(cpu, path, &exact, &m));
    generate(cpu, m, count, &want);
    rlx_model_destroy(m);
    ck_assert_str_eq(got.text, want.text);
    ck_assert_uint_gt(got.n, (size_t)count);
}

START_TEST(greedy_text_is_the_cpus)
{
    check_same_text(BUNDLED, 12);
}
END_TEST

START_TEST(greedy_text_of_a_gguf_is_the_cpus)
{
    if (access(STORIES, R_OK))
        printf("skipped: %s is not there\n", STORIES);
    else
        check_same_text(STORIES, 40);
}
END_TEST

/* Layers on the device, behind others on the CPU. */
static void check_layers(const char *path, const char *const *numbers, int n, int count)
{
    collected want, got;
    rlx_context *cx;
    rlx_model *m;
    EXPECT_OK(rlx_model_load(cpu, path, &exact, &m));
    generate(cpu, m, count, &want);
    rlx_model_destroy(m);
    for (int i = 0; i < n; i++) {
        EXPECT_OK(rlx_context_create(
            &(rlx_context_options){.device = "vulkan", .device_layers = numbers[i]}, &cx));
        EXPECT_OK(rlx_model_load(cx, path, &exact, &m));
        generate(cx, m, count, &got);
        rlx_model_destroy(m);
        rlx_context_destroy(cx);
        ck_assert_msg(!strcmp(got.text, want.text), "%s layers: %s", numbers[i], got.text);
    }
}

START_TEST(layers_on_both_give_the_cpus_text)
{
    static const char *const few[] = {"0", "1", "6"};
    static const char *const every[] = {"0", "1", "2", "3", "4", "5", "6"};
    check_layers(BUNDLED, few, 3, 12);
    if (access(STORIES, R_OK))
        printf("skipped: %s is not there\n", STORIES);
    else
        check_layers(STORIES, every, 7, 24);
}
END_TEST

static void first_logits(const char *device, float *out, int64_t vocab)
{
    static const int32_t ids[] = {1, 7, 42, 3, 99};
    enum { N = sizeof ids / sizeof *ids };
    rlx_context *cx;
    rlx_model *m;
    rlx_session *s;
    rlx_model_info info;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.device = device}, &cx));
    EXPECT_OK(rlx_model_load(cx, BUNDLED, &exact, &m));
    rlx_model_get_info(m, &info);
    ck_assert_int_eq(info.vocab, vocab);
    EXPECT_OK(rlx_session_create(cx, &(rlx_session_options){.max_positions = POSITIONS}, &s));
    EXPECT_OK(rlx_model_step(m, s, 0, ids, N, 1, out));
    EXPECT_OK(rlx_model_step(m, s, 0, ids, 1, 1, out + vocab));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
}

/* Where a range is smaller than most arguments, these go by their addresses. */
START_TEST(ranges_change_no_bit)
{
    enum { VOCAB = 4096 };
    static float want[2 * VOCAB], got[2 * VOCAB];
    rlx_model_info info;
    rlx_model *m;
    EXPECT_OK(rlx_model_load(cpu, BUNDLED, &exact, &m));
    rlx_model_get_info(m, &info);
    rlx_model_destroy(m);
    ck_assert_int_le(info.vocab, VOCAB);
    first_logits("vulkan:0", want, info.vocab);
    first_logits("vulkan:0,range=4096", got, info.vocab);
    ck_assert_mem_eq(want, got, 2 * sizeof *want * (size_t)info.vocab);
}
END_TEST

/* Code that was made without the device. */
START_TEST(warmed_code_is_found)
{
    char folder[] = "/tmp/rlx-vulkan-XXXXXX", command[64];
    const char *const target = "vulkan:lavapipe";
    rlx_context *cx;
    rlx_model *m;
    collected text;
    rlx_model_info info;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    const rlx_cache_options cache = {.folder = folder};
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.cache = cache}, &cx));
    EXPECT_OK(
        rlx_model_warm(cx, BUNDLED, &fast, &(rlx_warm_options){.targets = &target, .ntargets = 1}));
    rlx_context_destroy(cx);
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "vulkan", .cache = cache, .no_compile = true}, &cx));
    EXPECT_OK(rlx_model_load(cx, BUNDLED, &fast, &m));
    rlx_model_get_info(m, &info);
    ck_assert_int_eq(info.precision, RLX_FAST);
    generate(cx, m, 2, &text);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

static bool is_lavapipe(void)
{
    rlx_device_info i;
    for (int d = 0; d < rlx_device_count(); d++) {
        rlx_device_get_info(d, &i);
        if (!strcmp(i.name, "vulkan:0"))
            return !strncmp(i.description, "llvmpipe", 8);
    }
    return false;
}

enum { SKIPPED = 77 };

int main(void)
{
    faults = environment_prepare_faults();
    rlx_status st = rlx_context_create(&(rlx_context_options){.device = "vulkan"}, &gpu);
    if (rlx_status_code(st) == RLX_NOT_FOUND) {
        printf("skipped: no Vulkan device: %s\n", rlx_status_message(st));
        rlx_status_free(st);
        return SKIPPED;
    }
    EXPECT_OK(st);
    EXPECT_OK(rlx_context_create(NULL, &cpu));
    Suite *s = suite_create("vulkan_models");
    SUITE_TEST(s, "greedy_text_is_the_cpus", greedy_text_is_the_cpus);
    SUITE_TEST(s, "greedy_text_of_a_gguf_is_the_cpus", greedy_text_of_a_gguf_is_the_cpus);
    SUITE_TEST(s, "ranges_change_no_bit", ranges_change_no_bit);
    SUITE_TEST(s, "layers_on_both_give_the_cpus_text", layers_on_both_give_the_cpus_text);
    if (is_lavapipe())
        SUITE_TEST(s, "warmed_code_is_found", warmed_code_is_found);
    else
        printf("skipped: the device is of another kind than vulkan:lavapipe\n");
    int code = suite_run(s, 2);
    rlx_context_destroy(gpu);
    rlx_context_destroy(cpu);
    return code;
}
