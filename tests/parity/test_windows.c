/* tests/parity/test_windows.c: the bundled weights under configs of families with windows and
 * without rotation, over more than two KV pages: the same bits by every way, and windows that hide
 * what they should. */
#include <check.h>
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

static const struct {
    const char *device, *threads, *decode_from;
} ways[] = {{"ref:mir", "1", "526"},
            {"cpu", "2", NULL},
            {"cpu", "1", "250"},
            {"cpu:x86-64-v3", "2", "510"}};

static rlx_weights *run_config(const char *config, int way)
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
                                                 .device = ways[way].device,
                                                 .threads = ways[way].threads,
                                                 .decode_from = ways[way].decode_from});
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

START_TEST(same_bits_by_every_way)
{
    rlx_weights *first = run_config(models[_i].config, 0);
    for (size_t way = 1; way < sizeof ways / sizeof *ways; way++) {
        rlx_weights *w = run_config(models[_i].config, (int)way);
        const float *a = logits_of(first), *b = logits_of(w);
        for (int64_t i = 0; i < S * V; i++)
            ck_assert_msg(!memcmp(a + i, b + i, sizeof *a), "%s: position %lld: %.9g, not %.9g",
                          ways[way].device, (long long)(i / V), (double)b[i], (double)a[i]);
        rlx_weights_destroy(w);
    }
    rlx_weights_destroy(first);
}
END_TEST

/* As long as the window holds all there is, it changes no bit; the next position it does. */
START_TEST(windows_begin_to_count)
{
    const bool nope = strstr(models[_i].config, "smollm3") != NULL;
    rlx_weights *full = run_config(nope ? "{" SMOLLM3 "\"sliding_window\": null}"
                                        : "{" MISTRAL "\"sliding_window\": null}",
                                   1);
    rlx_weights *w = run_config(models[_i].config, 1);
    const float *a = logits_of(full), *b = logits_of(w);
    const size_t row = V * sizeof(float);
    ck_assert_int_eq(memcmp(a, b, (size_t)models[_i].window * row), 0);
    ck_assert_int_ne(memcmp(a + models[_i].window * V, b + models[_i].window * V, row), 0);
    rlx_weights_destroy(full);
    rlx_weights_destroy(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parity_windows");
    TCase *c = tcase_create("parity_windows");
    tcase_set_timeout(c, 200);
    tcase_add_loop_test(c, same_bits_by_every_way, 0, MODELS);
    tcase_add_loop_test(c, windows_begin_to_count, 0, MODELS);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 2 * MODELS;
    srunner_free(r);
    return bad;
}
