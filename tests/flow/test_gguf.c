/* GGUF files as models: what their metadata becomes, and what is refused by name. */
#include <check.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/families.h"
#include "runtime/gguf.h"
#include "tests/base/suite.h"

/* A file that is being written. */
typedef struct file {
    uint8_t data[8192];
    size_t n;
    int keys;
} file;

static void put(file *f, const void *p, size_t n)
{
    ck_assert_uint_le(f->n + n, sizeof f->data);
    memcpy(f->data + f->n, p, n);
    f->n += n;
}

static void put_number(file *f, uint64_t v, size_t n)
{
    put(f, &v, n);
}

static void put_string(file *f, const char *s)
{
    put_number(f, strlen(s), 8);
    put(f, s, strlen(s));
}

static void put_int(file *f, const char *key, uint32_t v)
{
    put_string(f, key);
    put_number(f, RLX_GGUF_U32, 4);
    put_number(f, v, 4);
    f->keys++;
}

static void put_text(file *f, const char *key, const char *v)
{
    put_string(f, key);
    put_number(f, RLX_GGUF_STRING, 4);
    put_string(f, v);
    f->keys++;
}

static void put_real(file *f, const char *key, float v)
{
    put_string(f, key);
    put_number(f, RLX_GGUF_F32, 4);
    put(f, &v, 4);
    f->keys++;
}

/* Magic and counts first; `keys` is filled in by finish. */
static void begin(file *f, const char *arch)
{
    *f = (file){.n = 0};
    put(f, "GGUF", 4);
    put_number(f, 3, 4);
    put_number(f, 1, 8);
    put_number(f, 0, 8);
    put_text(f, "general.architecture", arch);
}

static void put_sizes(file *f)
{
    put_int(f, "llama.embedding_length", 64);
    put_int(f, "llama.feed_forward_length", 96);
    put_int(f, "llama.block_count", 2);
    put_int(f, "llama.attention.head_count", 4);
    put_real(f, "llama.attention.layer_norm_rms_epsilon", 0.5f);
}

/* Adds the one tensor and reads the config that comes of it all. */
static rlx_status finish(file *f, const char *tensor, rlx_weights *w, cJSON **config)
{
    memcpy(f->data + 16, &(uint64_t){(uint64_t)f->keys}, 8);
    put_string(f, tensor);
    put_number(f, 2, 4);
    put_number(f, 32, 8);
    put_number(f, 3, 8);
    put_number(f, 8, 4);
    put_number(f, 0, 8);
    size_t data = (f->n + 31) / 32 * 32;
    memset(f->data + f->n, 0, sizeof f->data - f->n);
    f->n = data + 102;
    char path[] = "/tmp/rlx-gguf-XXXXXX";
    int fd = mkstemp(path);
    ck_assert(fd >= 0 && write(fd, f->data, f->n) == (ssize_t)f->n);
    close(fd);
    rlx_gguf *g;
    assert_ok(rlx_gguf_open(path, &g));
    unlink(path);
    rlx_status st = rlx_family_read_gguf(&g, 1, config);
    if (st || !w)
        rlx_gguf_close(g);
    else
        assert_ok(rlx_family_add_gguf(w, *config, g));
    return st;
}

static double number(const cJSON *c, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(c, key);
    ck_assert_msg(cJSON_IsNumber(v), "no number %s", key);
    return v->valuedouble;
}

START_TEST(becomes_a_config)
{
    file f;
    cJSON *c = NULL;
    rlx_weights *w;
    assert_ok(rlx_weights_create(&w));
    begin(&f, "llama");
    put_sizes(&f);
    put_int(&f, "llama.attention.key_length", 16);
    put_int(&f, "llama.rope.dimension_count", 16);
    put_real(&f, "llama.rope.scale_linear", 2);
    put_int(&f, "tokenizer.ggml.bos_token_id", 7);
    put_text(&f, "general.name", "anything");
    assert_ok(finish(&f, "blk.11.attn_q.weight", w, &c));
    ck_assert_double_eq(number(c, "hidden_size"), 64);
    ck_assert_double_eq(number(c, "num_hidden_layers"), 2);
    ck_assert_double_eq(number(c, "head_dim"), 16);
    ck_assert_double_eq(number(c, "rms_norm_eps"), 0.5);
    ck_assert_double_eq(number(c, "bos_token_id"), 7);
    ck_assert_double_eq(number(cJSON_GetObjectItem(c, "rope_scaling"), "factor"), 2);
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(c, RLX_CONFIG_INTERLEAVED)));
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(c, "tie_word_embeddings")));
    const rlx_tensor *t = rlx_weights_find(w, "model.layers.11.self_attn.q_proj.weight");
    ck_assert(t && t->format == RLX_Q8_0 && t->dim[0] == 3 && t->dim[1] == 32);
    cJSON_Delete(c);
    rlx_weights_destroy(w);
}
END_TEST

START_TEST(scales_and_rotates_in_part)
{
    file f;
    cJSON *c = NULL;
    rlx_rope_spec spec;
    begin(&f, "llama");
    put_sizes(&f);
    put_int(&f, "llama.context_length", 4096);
    put_int(&f, "llama.rope.dimension_count", 6);
    put_text(&f, "llama.rope.scaling.type", "yarn");
    put_real(&f, "llama.rope.scaling.factor", 4);
    put_int(&f, "llama.rope.scaling.original_context_length", 1024);
    put_real(&f, "llama.rope.scaling.yarn_beta_slow", 0.5f);
    put_real(&f, "llama.rope.scaling.yarn_attn_factor", 0.5f);
    assert_ok(finish(&f, "w", NULL, &c));
    assert_ok(rlx_config_get_rope(c, 16, 4096, 10000, &spec));
    ck_assert_int_eq(spec.type, RLX_ROPE_YARN);
    ck_assert_int_eq(spec.dim, 6);
    ck_assert_double_eq(spec.factor, 4);
    ck_assert_double_eq(spec.original, 1024);
    ck_assert_double_eq(spec.beta_fast, 0); /* the default */
    ck_assert_double_eq(spec.beta_slow, 0.5);
    ck_assert_double_eq(spec.attention_factor, 0.5 * (0.1 * log(4) + 1));
    rlx_config_free_rope(&spec);
    cJSON_Delete(c);
}
END_TEST

/* A flag for each layer. */
static void put_flags(file *f, const char *key, int n, const uint8_t *flags)
{
    put_string(f, key);
    put_number(f, RLX_GGUF_ARRAY, 4);
    put_number(f, RLX_GGUF_BOOL, 4);
    put_number(f, (uint64_t)n, 8);
    put(f, flags, (size_t)n);
    f->keys++;
}

static const char *layer_type(const cJSON *c, int i)
{
    return cJSON_GetStringValue(
        cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(c, "layer_types"), i));
}

/* A llama whose layers slide is a mistral; others say which do. */
START_TEST(windows)
{
    file f;
    cJSON *c = NULL;
    begin(&f, "llama");
    put_sizes(&f);
    put_int(&f, "llama.attention.sliding_window", 5);
    assert_ok(finish(&f, "w", NULL, &c));
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(c, "model_type")), "mistral");
    ck_assert_double_eq(number(c, "sliding_window"), 5);
    cJSON_Delete(c);
    begin(&f, "qwen2");
    put_int(&f, "qwen2.block_count", 2);
    put_int(&f, "qwen2.attention.sliding_window", 7);
    put_flags(&f, "qwen2.attention.sliding_window_pattern", 2, (const uint8_t[]){0, 1});
    assert_ok(finish(&f, "w", NULL, &c));
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(c, "use_sliding_window")));
    ck_assert_str_eq(layer_type(c, 0), "full_attention");
    ck_assert_str_eq(layer_type(c, 1), "sliding_attention");
    cJSON_Delete(c);
    begin(&f, "llama");
    put_sizes(&f);
    put_int(&f, "llama.attention.sliding_window", 5);
    put_flags(&f, "llama.attention.sliding_window_pattern", 2, (const uint8_t[]){0, 1});
    c = NULL;
    assert_error(finish(&f, "w", NULL, &c), RLX_UNSUPPORTED, "layer 0 does not slide");
    begin(&f, "qwen2");
    put_int(&f, "qwen2.block_count", 3);
    put_int(&f, "qwen2.attention.sliding_window", 7);
    put_flags(&f, "qwen2.attention.sliding_window_pattern", 2, (const uint8_t[]){0, 1});
    assert_error(finish(&f, "w", NULL, &c), RLX_UNSUPPORTED, "no list of 3 bools");
    ck_assert_ptr_null(c);
}
END_TEST

/* What the family's reader says of a config names the file's own keys. */
START_TEST(errors_name_metadata)
{
    static const struct {
        const char *key;
        float value;
        const char *error;
    } cases[] = {
        {"llama.attention.head_count_kv", 3,
         "metadata llama.attention.head_count 4 is no multiple of "
         "llama.attention.head_count_kv 3"},
        {"llama.attention.key_length", 0, "metadata llama.attention.key_length is 0, out of range"},
        {"llama.context_length", 0, "metadata llama.context_length is 0, out of range"},
        {"llama.rope.freq_base", 1, "metadata llama.rope.freq_base is 1, not above 1"},
        {"llama.rope.scaling.factor", -2,
         "metadata llama.rope.scaling.factor is -2, not a positive number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f;
        cJSON *c = NULL;
        rlx_weights *w;
        rlx_flow *flow;
        rlx_model_config out;
        begin(&f, "llama");
        put_sizes(&f);
        if (cases[i].value == (float)(int)cases[i].value && cases[i].value >= 0 &&
            !strstr(cases[i].key, "freq_base"))
            put_int(&f, cases[i].key, (uint32_t)cases[i].value);
        else
            put_real(&f, cases[i].key, cases[i].value);
        assert_ok(rlx_weights_create(&w));
        assert_ok(finish(&f, "token_embd.weight", w, &c));
        assert_error(rlx_family_find("llama")->build(c, w, &flow, &out), RLX_INVALID_FILE,
                     cases[i].error);
        cJSON_Delete(c);
        rlx_weights_destroy(w);
    }
}
END_TEST

/* A name's place depends on the architecture: there ffn_up holds two matrices. */
START_TEST(phi3_names_its_own)
{
    file f;
    cJSON *c = NULL;
    rlx_weights *w;
    assert_ok(rlx_weights_create(&w));
    begin(&f, "phi3");
    put_int(&f, "phi3.attention.sliding_window", 0);
    assert_ok(finish(&f, "blk.3.ffn_up.weight", w, &c));
    ck_assert_ptr_nonnull(rlx_weights_find(w, "model.layers.3.mlp.gate_up_proj.weight"));
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(c, "sliding_window"));
    cJSON_Delete(c);
    rlx_weights_destroy(w);
}
END_TEST

START_TEST(refuses)
{
    static const struct {
        const char *arch, *key, *text; /* text NULL: the number 3 */
        rlx_code code;
        const char *error;
    } cases[] = {
        {"mamba", "general.name", "x", RLX_UNSUPPORTED, "general.architecture: \"mamba\""},
        {"llama", "llama.attention.sliding_window", "far", RLX_INVALID_FILE,
         "metadata llama.attention.sliding_window is no length"},
        {"llama", "llama.rope.scaling.type", "su", RLX_UNSUPPORTED, "\"su\""},
        {"phi3", "phi3.rope.scaling.attn_factor", NULL, RLX_UNSUPPORTED, "without tensors"},
        {"llama", "llama.expert_count", NULL, RLX_UNSUPPORTED, "metadata llama.expert_count"},
        {"llama", "llama.rope.scaling.type", "longrope", RLX_INVALID_FILE, "without tensors"},
        {"llama", "llama.rope.scaling.type", "yarn", RLX_INVALID_FILE, "without a factor"},
        {"llama", "llama.rope.scaling.type", "linear", RLX_INVALID_FILE, "without a factor"},
        {"llama", "llama.rope.dimension_count", NULL, RLX_INVALID_FILE,
         "dimension_count is no even number of a head's elements"},
        {"llama", "llama.attention.value_length", NULL, RLX_UNSUPPORTED, "is 3, and keys have 16"},
        {"llama", "llama.context_length", "long", RLX_INVALID_FILE,
         "metadata llama.context_length"},
        {"llama", "tokenizer.ggml.eos_token_id", "end", RLX_INVALID_FILE, "eos_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f;
        cJSON *c = NULL;
        begin(&f, cases[i].arch);
        put_sizes(&f);
        if (cases[i].text)
            put_text(&f, cases[i].key, cases[i].text);
        else
            put_int(&f, cases[i].key, 3);
        assert_error(finish(&f, "w", NULL, &c), cases[i].code, cases[i].error);
        ck_assert_ptr_null(c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gguf models");
    TCase *c = tcase_create("gguf models");
    tcase_add_test(c, becomes_a_config);
    tcase_add_test(c, scales_and_rotates_in_part);
    tcase_add_test(c, errors_name_metadata);
    tcase_add_test(c, phi3_names_its_own);
    tcase_add_test(c, windows);
    tcase_add_test(c, refuses);
    suite_add_tcase(s, c);
    return run_suite(s, 6);
}
