/* tests/parity/test_sources.c: models from memory, and weights under the names of other files: the
 * bits of the directory, but where rows of q and k lie in another order. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/parity/parity.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"

enum { TOKENS = 9, V = 1024, HEAD = 32, HIDDEN = 192, NAME = 128, MOST = 128 };
static const int32_t ids[TOKENS] = {0, 300, 301, 7, 500, 9, 11, 42, 900};
static const rlx_model_options options = {.prefill = 16, .max_positions = 16};

static rlx_context *cx;
static float want[TOKENS * V], got[TOKENS * V];
static char *config;

static void step(rlx_model *m, float *out)
{
    rlx_session *s;
    parity_must(rlx_session_create(cx, &(rlx_session_options){.max_positions = 16}, &s));
    parity_must(rlx_model_step(m, s, 0, ids, TOKENS, TOKENS, out));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
}

static void load_path(const char *path, float *out)
{
    rlx_model *m;
    parity_must(rlx_model_load(cx, path, &options, &m));
    step(m, out);
}

static void set_up(void)
{
    parity_must(rlx_context_create(&(rlx_context_options){.device = "ref:mir", .threads = 1}, &cx));
    config = calloc(1, 4096);
    FILE *f = fopen(BUNDLED "/config.json", "r");
    ck_assert(config && f && fread(config, 1, 4095, f) > 0);
    fclose(f);
    load_path(BUNDLED, want);
}

static void tear_down(void)
{
    free(config);
    rlx_context_destroy(cx);
}

/* What a set of weights computes under the bundled model's configuration. */
static void load_weights(rlx_weights *w, float *out)
{
    rlx_model *m;
    const rlx_model_source source = {.config = config, .weights = w};
    parity_must(rlx_model_load_from(cx, &source, &options, &m));
    step(m, out);
}

static void same(const char *what)
{
    for (int i = 0; i < TOKENS * V; i++)
        ck_assert_msg(!memcmp(&got[i], &want[i], sizeof *got), "%s: logit %d is %.9g, not %.9g",
                      what, i, (double)got[i], (double)want[i]);
}

static void near(const char *what)
{
    float most = 0;
    for (int i = 0; i < TOKENS * V; i++)
        most = fmaxf(most, fabsf(want[i]));
    for (int i = 0; i < TOKENS * V; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) <= 4e-6f * most, "%s: logit %d is %.9g, not %.9g",
                      what, i, (double)got[i], (double)want[i]);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Copies of the bundled tensors in memory, under other names. */
typedef struct copies {
    rlx_weights *w;
    void *data[MOST];
    int n;
} copies;

typedef bool rename_fn(const char *name, char out[NAME]); /* true: rows are for other pairs */

/* From a head's halves, elements of which are rotated together, to pairs; bf16 [heads*D, H]. */
static void to_pairs(const rlx_tensor *t, uint16_t *out)
{
    const uint16_t *in = t->data;
    for (int64_t row = 0; row < t->dim[0]; row++) {
        const int64_t r = row % HEAD, from = row - r + r % 2 * (HEAD / 2) + r / 2;
        memcpy(out + row * HIDDEN, in + from * HIDDEN, HIDDEN * sizeof *out);
    }
}

static void copy_all(copies *c, rename_fn *rename)
{
    rlx_weights *file = parity_open(BUNDLED "/model.safetensors");
    *c = (copies){.n = rlx_weights_count(file)};
    ck_assert_int_le(c->n, MOST);
    parity_must(rlx_weights_create(&c->w));
    for (int i = 0; i < c->n; i++) {
        rlx_tensor t = *rlx_weights_at(file, i);
        char name[NAME];
        c->data[i] = malloc(t.bytes);
        ck_assert_ptr_nonnull(c->data[i]);
        memcpy(c->data[i], t.data, t.bytes);
        if (rename(t.name, name))
            to_pairs(&t, c->data[i]);
        t.name = name;
        t.data = c->data[i];
        parity_must(rlx_weights_add(c->w, &t));
    }
    rlx_weights_destroy(file);
}

static void copies_free(copies *c)
{
    rlx_weights_destroy(c->w);
    for (int i = 0; i < c->n; i++)
        free(c->data[i]);
}

static bool keep(const char *name, char out[NAME])
{
    snprintf(out, NAME, "%s", name);
    return false;
}

static bool prefixed(const char *name, char out[NAME])
{
    snprintf(out, NAME, "transformer.%s", name);
    return false;
}

static bool bare(const char *name, char out[NAME])
{
    snprintf(out, NAME, "language_model.%s", name + strlen("model."));
    return false;
}

static bool as_meta(const char *name, char out[NAME])
{
    static const char *const parts[][2] = {
        {"input_layernorm", "attention_norm"}, {"post_attention_layernorm", "ffn_norm"},
        {"self_attn.q_proj", "attention.wq"},  {"self_attn.k_proj", "attention.wk"},
        {"self_attn.v_proj", "attention.wv"},  {"self_attn.o_proj", "attention.wo"},
        {"mlp.gate_proj", "feed_forward.w1"},  {"mlp.down_proj", "feed_forward.w2"},
        {"mlp.up_proj", "feed_forward.w3"}};
    int layer, n = 0;
    snprintf(out, NAME, "%s", strstr(name, "embed") ? "tok_embeddings.weight" : "norm.weight");
    if (sscanf(name, "model.layers.%d.%n", &layer, &n) < 1)
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strncmp(name + n, parts[i][0], strlen(parts[i][0])))
            snprintf(out, NAME, "layers.%d.%s.weight", layer, parts[i][1]);
    return strstr(out, "wq") || strstr(out, "wk");
}

START_TEST(from_memory)
{
    copies c;
    copy_all(&c, keep);
    load_weights(c.w, got);
    same("copies");
    load_weights(c.w, got); /* a set serves many models */
    same("copies again");
    copies_free(&c);
    rlx_weights *file = parity_open(BUNDLED "/model.safetensors");
    load_weights(file, got);
    same("a mapped file");
    rlx_weights_destroy(file);
}
END_TEST

START_TEST(other_names)
{
    static const struct {
        const char *what;
        rename_fn *rename;
    } cases[] = {{"transformer.", prefixed}, {"no model.", bare}, {"Meta's", as_meta}};
    copies c;
    copy_all(&c, cases[_i].rename);
    load_weights(c.w, got);
    (cases[_i].rename == as_meta ? near : same)(cases[_i].what);
    copies_free(&c);
}
END_TEST

/* A GGUF file's tensors under its names, and a hub's configuration. */
START_TEST(names_of_gguf)
{
    char path[] = "/tmp/rlx-sources-XXXXXX.gguf";
    const rlx_quantize_options o = {.type = "BF16", .threads = 1};
    rlx_weights *w;
    int fd = mkstemps(path, 5);
    ck_assert_int_ge(fd, 0);
    close(fd);
    parity_must(rlx_quantize(BUNDLED, path, &o));
    load_path(path, want);
    parity_must(rlx_weights_create(&w));
    parity_must(rlx_weights_add_gguf(w, path));
    load_weights(w, got);
    same("GGUF's");
    rlx_weights_destroy(w);
    unlink(path);
}
END_TEST

/* Meta's file as a directory, and as the GGUF file that it becomes: both have the same pairs. */
START_TEST(directory_of_metas)
{
    char dir[] = "/tmp/rlx-sources-XXXXXX", path[3][64];
    static const char *const files[3] = {"config.json", "model.safetensors", "out.gguf"};
    rlx_tensor tensors[MOST];
    copies c;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/%s", dir, files[i]);
    ck_assert_int_eq(symlink(BUNDLED "/config.json", path[0]), 0);
    copy_all(&c, as_meta);
    for (int i = 0; i < c.n; i++)
        tensors[i] = *rlx_weights_at(c.w, i);
    parity_must(rlx_safetensors_write(path[1], tensors, c.n, NULL));
    copies_free(&c);
    load_path(dir, got);
    near("a directory");
    parity_must(rlx_quantize(dir, path[2], &(rlx_quantize_options){.type = "BF16", .threads = 1}));
    load_path(path[2], want);
    same("its GGUF file");
    for (int i = 0; i < 3; i++)
        unlink(path[i]);
    rmdir(dir);
}
END_TEST

/* One table, both ways. */
START_TEST(names_go_both_ways)
{
    static const char *const hub = "model.layers.11.self_attn.q_proj.weight";
    static const char *const gguf = "blk.11.attn_q.weight";
    static const uint16_t zeros[HIDDEN];
    rlx_tensor t = {gguf, RLX_BF16, 1, {HIDDEN}, zeros, sizeof zeros};
    rlx_weights *w;
    parity_must(rlx_weights_create(&w));
    parity_must(rlx_weights_add(w, &t));
    parity_must(rlx_weights_add_names(w, "llama", RLX_NAMES_HUB));
    ck_assert(rlx_weights_find(w, hub) && rlx_weights_find(w, hub)->data == zeros);
    parity_must(rlx_weights_add_names(w, "llama", RLX_NAMES_GGUF)); /* it is there */
    ck_assert_int_eq(rlx_weights_count(w), 2);
    t.name = "model.layers.0.mlp.gate_up_proj.weight";
    parity_must(rlx_weights_add(w, &t));
    parity_must(rlx_weights_add_names(w, "llama", RLX_NAMES_GGUF));
    ck_assert_ptr_null(rlx_weights_find(w, "blk.0.ffn_up.weight"));
    parity_must(rlx_weights_add_names(w, "phi3", RLX_NAMES_GGUF));
    ck_assert_ptr_nonnull(rlx_weights_find(w, "blk.0.ffn_up.weight"));
    rlx_weights_destroy(w);
}
END_TEST

static void refused(const char *text, rlx_weights *w, rlx_code code, const char *word)
{
    rlx_model *m;
    const rlx_model_source source = {.config = text, .weights = w};
    rlx_status st = rlx_model_load_from(cx, &source, &options, &m);
    char *story = rlx_status_text(st);
    ck_assert_msg(rlx_status_code(st) == code && strstr(story, word) && !m, "%s does not say %s",
                  story, word);
    free(story);
    rlx_status_free(st);
}

START_TEST(refuses)
{
    rlx_weights *w;
    parity_must(rlx_weights_create(&w));
    refused("{", w, RLX_INVALID_FILE, "config: not JSON");
    refused(NULL, w, RLX_INVALID_ARGUMENT, "no config");
    refused(config, NULL, RLX_INVALID_ARGUMENT, "no weights");
    refused("{\"model_type\": \"lama\"}", w, RLX_UNSUPPORTED, "lama");
    refused(config, w, RLX_NOT_FOUND, "missing");
    rlx_weights_destroy(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sources");
    TCase *c = tcase_create("sources");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, from_memory);
    tcase_add_loop_test(c, other_names, 0, 3);
    tcase_add_test(c, names_of_gguf);
    tcase_add_test(c, directory_of_metas);
    tcase_add_test(c, names_go_both_ways);
    tcase_add_test(c, refuses);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 8;
    srunner_free(r);
    return bad;
}
