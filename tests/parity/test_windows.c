/* tests/parity/test_windows.c: the bundled weights under configs of families with windows and
 * without rotation, over more than two KV pages: the same bits by every way, and windows that hide
 * what they should. With "vulkan": on such a device, near the CPU's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/parity/parity.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define SIZES                                                                            \
    "\"vocab_size\": 1024, \"hidden_size\": 192, \"intermediate_size\": 512, "           \
    "\"num_hidden_layers\": 6, \"num_attention_heads\": 6, \"num_key_value_heads\": 2, " \
    "\"head_dim\": 32, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": true, "
#define MISTRAL SIZES "\"model_type\": \"mistral\", \"architectures\": [\"MistralForCausalLM\"], "
#define SMOLLM3 SIZES "\"model_type\": \"smollm3\", \"architectures\": [\"SmolLM3ForCausalLM\"], "

enum { S = 530, V = 1024 };

static const struct {
    const char *config;
    int window; /* the first one's size: so many positions are as without it; 0: none */
} models[] = {
    {"{" MISTRAL "\"sliding_window\": 5}", 5},
    {"{" MISTRAL "\"sliding_window\": 256}", 256}, /* whole pages fall behind it */
    {"{" MISTRAL "\"sliding_window\": 300}", 300},
    {"{" SMOLLM3 "\"sliding_window\": 40, \"use_sliding_window\": true}", 40},
};
enum { MODELS = sizeof models / sizeof *models };

typedef struct way {
    const char *device, *threads, *decode_from;
} way;
static const way on_host[] = {{"cpu", "2", NULL},
                              {"ref:mir", "1", "526"},
                              {"cpu", "1", "250"},
                              {"cpu:x86-64-v3", "2", "510"}};
enum { HOST_WAYS = sizeof on_host / sizeof *on_host };

/* Of f32 arithmetic in another rounding: that of the goldens. */
static const double bound = 2e-4;

static rlx_weights *run_config(const char *config, const way *how)
{
    static int64_t ids[S];
    char dir[] = "/tmp/rlx-windows-XXXXXX", path[3][64];
    static const char *const files[3] = {"config.json", "model.safetensors", "inputs.safetensors"};
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/%s", dir, files[i]);
    for (int i = 0; i < S; i++)
        ids[i] = (i * 397 + i * i % 31) % V;
    FILE *f = fopen(path[0], "w");
    ck_assert_ptr_nonnull(f);
    fputs(config, f);
    fclose(f);
    ck_assert_int_eq(symlink(BUNDLED "/model.safetensors", path[1]), 0);
    const rlx_tensor input = {"input_ids", RLX_I64, 2, {1, S}, ids, sizeof ids};
    parity_must(rlx_safetensors_write(path[2], &input, 1, NULL));
    rlx_weights *out = parity_eval(&(parity_way){.model = dir,
                                                 .inputs = path[2],
                                                 .device = how->device,
                                                 .threads = how->threads,
                                                 .decode_from = how->decode_from});
    for (int i = 0; i < 3; i++)
        unlink(path[i]);
    rmdir(dir);
    return out;
}

static const float *logits_of(const rlx_weights *w)
{
    const rlx_tensor *t = parity_need(w, "logits");
    ck_assert_uint_eq(t->bytes, S * V * sizeof(float));
    return t->data;
}

static void expect_same(const rlx_weights *first, const rlx_weights *w, const char *device)
{
    const float *a = logits_of(first), *b = logits_of(w);
    for (int64_t i = 0; i < S * V; i++)
        ck_assert_msg(!memcmp(a + i, b + i, sizeof *a), "%s: position %lld: %.9g, not %.9g", device,
                      (long long)(i / V), (double)b[i], (double)a[i]);
}

START_TEST(same_bits_by_every_way)
{
    rlx_weights *first = run_config(models[_i].config, &on_host[0]);
    for (int i = 1; i < HOST_WAYS; i++) {
        rlx_weights *w = run_config(models[_i].config, &on_host[i]);
        expect_same(first, w, on_host[i].device);
        rlx_weights_destroy(w);
    }
    rlx_weights_destroy(first);
}
END_TEST

/* A window that whole pages fall behind, and layers without rotation between layers with one: tokens
 * one by one from the last page's middle on; of the first, the same bits in one piece. A software
 * device takes half a minute. */
START_TEST(devices_are_near_the_cpu)
{
    static const int which[] = {1, 3};
    const char *config = models[which[_i]].config;
    const way parts = {chosen_device, NULL, "520"}, whole = {.device = chosen_device};
    rlx_weights *want = run_config(config, &on_host[0]), *w = run_config(config, &parts);
    const double d = parity_distance(logits_of(w), logits_of(want), S * V);
    ck_assert_msg(d <= bound, "%s: off by %g", config, d);
    if (_i == 0) {
        rlx_weights *first = run_config(config, &whole);
        expect_same(first, w, chosen_device);
        rlx_weights_destroy(first);
    }
    rlx_weights_destroy(want);
    rlx_weights_destroy(w);
}
END_TEST

/* As long as the window holds all there is, it changes no bit; the next position it does. */
START_TEST(windows_begin_to_count)
{
    const bool nope = strstr(models[_i].config, "smollm3") != NULL;
    rlx_weights *full = run_config(nope ? "{" SMOLLM3 "\"sliding_window\": null}"
                                        : "{" MISTRAL "\"sliding_window\": null}",
                                   &on_host[0]);
    rlx_weights *w = run_config(models[_i].config, &on_host[0]);
    const float *a = logits_of(full), *b = logits_of(w);
    const size_t row = V * sizeof(float);
    ck_assert_int_eq(memcmp(a, b, (size_t)models[_i].window * row), 0);
    ck_assert_int_ne(memcmp(a + models[_i].window * V, b + models[_i].window * V, row), 0);
    rlx_weights_destroy(full);
    rlx_weights_destroy(w);
}
END_TEST

int main(int argc, char **argv)
{
    if (!chosen_begin(argc, argv))
        return CHOSEN_SKIPPED;
    Suite *s = suite_create("parity_windows");
    TCase *c = tcase_create("parity_windows");
    tcase_set_timeout(c, chosen_device ? 0 : 200); /* a software device computes for long */
    if (chosen_device) {
        tcase_add_loop_test(c, devices_are_near_the_cpu, 0, 2);
    } else {
        tcase_add_loop_test(c, same_bits_by_every_way, 0, MODELS);
        tcase_add_loop_test(c, windows_begin_to_count, 0, MODELS);
    }
    suite_add_tcase(s, c);
    return parity_run(s, chosen_device ? 2 : 2 * MODELS);
}
