/* bench/make_model.c: a model directory of real size with random weights, for measuring speed.
 *
 *   make_model SHAPE FORMAT DIR
 *
 * DIR gets config.json and model.safetensors, and no tokenizer. Weights are uniform within
 * +-0.035 (a standard deviation of 0.02, as models are initialised), norms are 1: activations stay
 * of the size that trained models have. All tensors are windows into one pool of random numbers, so
 * that making a model takes the memory of its largest tensor. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/rlx.h"

typedef struct model_shape {
    const char *name;
    int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab;
} model_shape;

static const model_shape shapes[] = {
    {"llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256},
    {"qwen3-0.6b", 1024, 28, 16, 8, 128, 3072, 151936}, /* its sizes, as a Llama */
    {"tiny", 64, 2, 4, 2, 16, 160, 320},
};
static const rlx_format formats[] = {RLX_F32, RLX_F16, RLX_BF16};
static const char *const format_names[] = {"f32", "f16", "bf16"};

enum { NSHAPES = sizeof shapes / sizeof *shapes, NFORMATS = sizeof formats / sizeof *formats };
enum { PER_LAYER = 9, SLACK = 1 << 16 };

/* ---- the pool */

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    return *state = x ^ x << 17;
}

static size_t put_value(float v, rlx_format f, void *to)
{
    if (f == RLX_F32) {
        memcpy(to, &v, 4);
        return 4;
    }
    if (f == RLX_F16) {
        _Float16 h = (_Float16)v;
        memcpy(to, &h, 2);
        return 2;
    }
    uint32_t bits;
    memcpy(&bits, &v, 4);
    uint16_t high = (uint16_t)(bits >> 16);
    memcpy(to, &high, 2);
    return 2;
}

static size_t element_bytes(rlx_format f)
{
    return f == RLX_F32 ? 4 : 2;
}

/* ---- tensors */

typedef struct tensor_list {
    rlx_format format;
    char *pool, *ones;
    int64_t pool_elems;
    uint64_t random;
    rlx_tensor *tensors;
    char (*names)[96];
    int n;
} tensor_list;

/* rows 0: a norm's vector. The name's "%lld" is the layer. */
static void add(tensor_list *l, const char *name, int64_t rows, int64_t columns)
{
    rlx_tensor *t = &l->tensors[l->n];
    int64_t elems = (rows ? rows : 1) * columns;
    int64_t at = (int64_t)(next_random(&l->random) % SLACK);
    snprintf(l->names[l->n], sizeof l->names[l->n], "%s", name);
    *t = (rlx_tensor){.name = l->names[l->n],
                      .format = l->format,
                      .rank = rows ? 2 : 1,
                      .dim = {rows ? rows : columns, columns},
                      .data = rows ? l->pool + (size_t)at * element_bytes(l->format) : l->ones,
                      .bytes = (size_t)elems * element_bytes(l->format)};
    l->n++;
}

static void add_in_layer(tensor_list *l, int64_t layer, const char *name, int64_t rows,
                         int64_t columns)
{
    char full[96];
    snprintf(full, sizeof full, "model.layers.%lld.%s.weight", (long long)layer, name);
    add(l, full, rows, columns);
}

static void add_all(tensor_list *l, const model_shape *s)
{
    int64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    add(l, "model.embed_tokens.weight", s->vocab, s->hidden);
    add(l, "model.norm.weight", 0, s->hidden);
    for (int64_t i = 0; i < s->layers; i++) {
        add_in_layer(l, i, "input_layernorm", 0, s->hidden);
        add_in_layer(l, i, "self_attn.q_proj", q, s->hidden);
        add_in_layer(l, i, "self_attn.k_proj", kv, s->hidden);
        add_in_layer(l, i, "self_attn.v_proj", kv, s->hidden);
        add_in_layer(l, i, "self_attn.o_proj", s->hidden, q);
        add_in_layer(l, i, "post_attention_layernorm", 0, s->hidden);
        add_in_layer(l, i, "mlp.gate_proj", s->ffn, s->hidden);
        add_in_layer(l, i, "mlp.up_proj", s->ffn, s->hidden);
        add_in_layer(l, i, "mlp.down_proj", s->hidden, s->ffn);
    }
}

static bool make_pool(tensor_list *l, const model_shape *s)
{
    size_t size = element_bytes(l->format);
    l->pool_elems = s->vocab * s->hidden + SLACK;
    l->pool = malloc((size_t)l->pool_elems * size);
    l->ones = malloc((size_t)s->hidden * size);
    l->tensors = calloc((size_t)(2 + PER_LAYER * s->layers), sizeof *l->tensors);
    l->names = calloc((size_t)(2 + PER_LAYER * s->layers), sizeof *l->names);
    if (!l->pool || !l->ones || !l->tensors || !l->names)
        return false;
    for (int64_t i = 0; i < l->pool_elems; i++) {
        float unit = (float)(next_random(&l->random) >> 40) * 0x1p-23f - 1; /* [-1, 1) */
        put_value(0.035f * unit, l->format, l->pool + (size_t)i * size);
    }
    for (int64_t i = 0; i < s->hidden; i++)
        put_value(1, l->format, l->ones + (size_t)i * size);
    return true;
}

/* ---- files */

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "make_model: %s: %s\n", what, why);
    return 1;
}

static int write_config(const char *dir, const model_shape *s, const char *dtype)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    if (!f)
        return failed(path, strerror(errno));
    fprintf(f,
            "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\",\n"
            " \"vocab_size\": %lld, \"hidden_size\": %lld, \"intermediate_size\": %lld,\n"
            " \"num_hidden_layers\": %lld, \"num_attention_heads\": %lld,\n"
            " \"num_key_value_heads\": %lld, \"head_dim\": %lld, \"hidden_act\": \"silu\",\n"
            " \"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-05,\n"
            " \"rope_theta\": 500000.0, \"tie_word_embeddings\": true,\n"
            " \"torch_dtype\": \"%s\", \"bos_token_id\": 0, \"eos_token_id\": 1}\n",
            (long long)s->vocab, (long long)s->hidden, (long long)s->ffn, (long long)s->layers,
            (long long)s->heads, (long long)s->kv_heads, (long long)s->head_dim, dtype);
    bool bad = ferror(f);
    return fclose(f) || bad ? failed(path, strerror(errno)) : 0;
}

static int write_model(const model_shape *s, int format, const char *dir)
{
    static const char *const dtypes[] = {"float32", "float16", "bfloat16"};
    tensor_list l = {.format = formats[format], .random = 0x9e3779b97f4a7c15u};
    char path[4096];
    if (mkdir(dir, 0777) && errno != EEXIST)
        return failed(dir, strerror(errno));
    int code = write_config(dir, s, dtypes[format]);
    if (!code && !make_pool(&l, s))
        code = failed(dir, "out of memory");
    if (!code) {
        add_all(&l, s);
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        rlx_status st = rlx_safetensors_write(path, l.tensors, l.n, NULL);
        if (st)
            code = failed(path, rlx_status_message(st));
        rlx_status_free(st);
    }
    free(l.names);
    free(l.tensors);
    free(l.ones);
    free(l.pool);
    return code;
}

int main(int argc, char **argv)
{
    int shape = 0, format = 0;
    while (argc == 4 && shape < NSHAPES && strcmp(argv[1], shapes[shape].name))
        shape++;
    while (argc == 4 && format < NFORMATS && strcmp(argv[2], format_names[format]))
        format++;
    if (argc == 4 && shape < NSHAPES && format < NFORMATS)
        return write_model(&shapes[shape], format, argv[3]);
    fprintf(stderr, "usage: make_model SHAPE FORMAT DIR\n  SHAPE ");
    for (int i = 0; i < NSHAPES; i++)
        fprintf(stderr, " %s", shapes[i].name);
    fprintf(stderr, "\n  FORMAT");
    for (int i = 0; i < NFORMATS; i++)
        fprintf(stderr, " %s", format_names[i]);
    fputc('\n', stderr);
    return 2;
}
