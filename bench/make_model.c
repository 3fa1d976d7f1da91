/* bench/make_model.c: models of real size with random weights, for measuring speed.
 *
 *   make_model [--layers N] SHAPE FORMAT PATH
 *
 * PATH ending in .gguf becomes a GGUF file, formats mixed as llama.cpp's quantiser mixes them
 * (iq4_xs and mxfp4: every matrix but the head) and a vocabulary of single bytes and placeholders.
 * Any other PATH becomes a directory with config.json and model.safetensors (f32, f16, bf16), and
 * no tokenizer. Norms are 1, the head is tied to the embedding. All tensors are windows into one
 * pool of random numbers for each format. Other formats: `rlx quantize` of an f16 one. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/gguf_writer.h"
#include "bench/random_weights.h"

typedef enum extent { NONE, HIDDEN, QUERIES, KEYS, HEAD, FFN, VOCAB, PAIRS, EXTENTS } extent;

typedef struct model_shape {
    const char *name, *arch, *class_name, *splitter; /* GGUF's names of family and tokenizer */
    int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, positions;
    double theta, eps;
    double rope_factor; /* of Llama 3's scaling, which GGUF files keep as a tensor; 0: none */
    bool head_norms;
} model_shape;

static const model_shape shapes[] = {
    {"llama-3.2-1b", "llama", "LlamaForCausalLM", "llama-bpe", 2048, 16, 32, 8, 64, 8192, 128256,
     131072, 500000, 1e-5, 32, false},
    {"llama-3.1-8b", "llama", "LlamaForCausalLM", "llama-bpe", 4096, 32, 32, 8, 128, 14336, 128256,
     131072, 500000, 1e-5, 8, false},
    {"qwen3-0.6b", "qwen3", "Qwen3ForCausalLM", "qwen2", 1024, 28, 16, 8, 128, 3072, 151936, 40960,
     1000000, 1e-6, 0, true},
    {"tiny", "llama", "LlamaForCausalLM", "llama-bpe", 256, 2, 4, 2, 64, 512, 512, 8192, 500000,
     1e-5, 32, false},
};

/* `more`: of tensors that a mix keeps better; `head`: of an embedding that is the head too. */
typedef struct model_format {
    const char *name;
    rlx_format most, more, head;
    uint32_t gguf_file_type;
} model_format;

static const model_format formats[] = {
    {"f32", RLX_F32, RLX_F32, RLX_F32, 0},
    {"f16", RLX_F16, RLX_F16, RLX_F16, 1},
    {"bf16", RLX_BF16, RLX_BF16, RLX_BF16, 32},
    {"q8_0", RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, 7},
    {"q4_0", RLX_Q4_0, RLX_Q4_0, RLX_Q6_K, 2},
    {"q4_k_m", RLX_Q4_K, RLX_Q6_K, RLX_Q6_K, 15},
    {"q5_k_m", RLX_Q5_K, RLX_Q6_K, RLX_Q6_K, 17},
    {"q6_k", RLX_Q6_K, RLX_Q6_K, RLX_Q6_K, 18},
    {"iq4_xs", RLX_IQ4_XS, RLX_IQ4_XS, RLX_Q6_K, 30},
    {"mxfp4", RLX_MXFP4, RLX_MXFP4, RLX_Q8_0, 38},
};

typedef enum part_kind {
    EMBEDDING,
    MATRIX,
    BETTER /* in half of the layers */,
    NORM,
    HEAD_NORM,
    ROPE
} part_kind;

static const struct part {
    const char *gguf, *hf; /* "%d" is the layer; hf NULL: config.json says it */
    part_kind kind;
    extent rows, columns;
} parts[] = {
    {"token_embd.weight", "model.embed_tokens.weight", EMBEDDING, VOCAB, HIDDEN},
    {"output_norm.weight", "model.norm.weight", NORM, NONE, HIDDEN},
    {"rope_freqs.weight", NULL, ROPE, NONE, PAIRS},
    {"blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NORM, NONE, HIDDEN},
    {"blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", MATRIX, QUERIES, HIDDEN},
    {"blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", MATRIX, KEYS, HIDDEN},
    {"blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", BETTER, KEYS, HIDDEN},
    {"blk.%d.attn_q_norm.weight", "model.layers.%d.self_attn.q_norm.weight", HEAD_NORM, NONE, HEAD},
    {"blk.%d.attn_k_norm.weight", "model.layers.%d.self_attn.k_norm.weight", HEAD_NORM, NONE, HEAD},
    {"blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", MATRIX, HIDDEN,
     QUERIES},
    {"blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", NORM, NONE,
     HIDDEN},
    {"blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", MATRIX, FFN, HIDDEN},
    {"blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", MATRIX, FFN, HIDDEN},
    {"blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", BETTER, HIDDEN, FFN},
};

enum { NSHAPES = sizeof shapes / sizeof *shapes, NFORMATS = sizeof formats / sizeof *formats };
enum { NPARTS = sizeof parts / sizeof *parts, IN_LAYER = 3 /* the first part of a layer */ };
enum { POOL_BYTES = 32 << 20, MAX_LAYERS = 1000 };

typedef struct maker {
    model_shape shape;
    const model_format *format;
    const char *path;
    bool gguf;
    size_t pool_bytes; /* of every pool, at most a block less */
    uint8_t *pools[RLX_FORMAT_COUNT];
    float *exact; /* of vectors, in the format of norms: ones, and rotary factors behind them */
    rlx_tensor *tensors;
    char (*names)[96];
    int n;
} maker;

/* ---- tensors */

static int64_t extent_of(const model_shape *s, extent e)
{
    const int64_t sizes[EXTENTS] = {[HIDDEN] = s->hidden,
                                    [QUERIES] = s->heads * s->head_dim,
                                    [KEYS] = s->kv_heads * s->head_dim,
                                    [HEAD] = s->head_dim,
                                    [FFN] = s->ffn,
                                    [VOCAB] = s->vocab,
                                    [PAIRS] = s->head_dim / 2};
    return sizes[e];
}

/* The layers whose attn_v and ffn_down a mix keeps better: both ends, and every third between. */
static bool keeps_better(int layer, int layers)
{
    int eighth = layers / 8;
    return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

static rlx_format format_of(const maker *m, part_kind kind, int layer)
{
    const model_format *f = m->format;
    switch (kind) {
    case EMBEDDING:
        return f->head;
    case MATRIX:
        return f->most;
    case BETTER:
        return keeps_better(layer, (int)m->shape.layers) ? f->more : f->most;
    default:
        return m->gguf ? RLX_F32 : f->most; /* GGUF files keep vectors in f32 */
    }
}

static void add(maker *m, const struct part *p, int layer)
{
    const model_shape *s = &m->shape;
    rlx_tensor *t = &m->tensors[m->n];
    const weight_format *f = weight_format_get(format_of(m, p->kind, layer));
    int64_t rows = extent_of(s, p->rows), columns = extent_of(s, p->columns);
    if ((p->kind == HEAD_NORM && !s->head_norms) ||
        (p->kind == ROPE && (!m->gguf || !s->rope_factor)))
        return;
    snprintf(m->names[m->n], sizeof *m->names, m->gguf ? p->gguf : p->hf, layer);
    *t = (rlx_tensor){.name = m->names[m->n++], .format = f->format, .rank = rows ? 2 : 1};
    t->dim[0] = rows ? rows : columns;
    t->dim[1] = columns;
    t->bytes = (size_t)((rows ? rows : 1) * columns / f->block_elems) * f->block_bytes;
    if (!rows)
        t->data = m->exact + (p->kind == ROPE ? s->hidden : 0);
}

static void add_all(maker *m)
{
    for (int i = 0; i < IN_LAYER; i++)
        add(m, &parts[i], 0);
    for (int layer = 0; layer < m->shape.layers; layer++)
        for (int i = IN_LAYER; i < NPARTS; i++)
            add(m, &parts[i], layer);
}

/* Llama 3's divisors of frequencies: 1 for short waves, `factor` for long ones, and between. */
static float rope_divisor(const model_shape *s, int64_t pair)
{
    const double trained = 8192, low = 1, high = 4;
    double wave = 2 * acos(-1) * pow(s->theta, 2.0 * (double)pair / (double)s->head_dim);
    if (wave < trained / high)
        return 1;
    if (wave > trained / low)
        return (float)s->rope_factor;
    double smooth = (trained / wave - low) / (high - low);
    return (float)(1 / ((1 - smooth) / s->rope_factor + smooth));
}

static bool make_vectors(maker *m)
{
    const model_shape *s = &m->shape;
    m->exact = malloc((size_t)(s->hidden + s->head_dim) * sizeof *m->exact);
    if (!m->exact)
        return false;
    rlx_format f = format_of(m, NORM, 0);
    for (int64_t i = 0; i < s->hidden; i++)
        put_value(f, 1, (char *)m->exact + (size_t)i * weight_format_get(f)->block_bytes);
    for (int64_t i = 0; i < s->head_dim / 2; i++)
        m->exact[s->hidden + i] = rope_divisor(s, i);
    return true;
}

/* A pool of whole blocks; NULL: out of memory. */
static const uint8_t *pool_of(maker *m, const weight_format *f, size_t *bytes)
{
    uint8_t **pool = &m->pools[f->format];
    *bytes = m->pool_bytes / f->block_bytes * f->block_bytes;
    if (!*pool && (*pool = malloc(*bytes)))
        fill_random(f, *pool, *bytes);
    return *pool;
}

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "make_model: %s: %s\n", what, why);
    return 1;
}

/* ---- a GGUF file */

/* GPT-2's letter for a byte: printable ones stand for themselves, the others from U+0100 on. */
static void put_byte_token(gguf_writer *w, int byte, int *others)
{
    bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    int code = printable ? byte : 256 + (*others)++;
    char text[3] = {(char)code};
    if (code >= 128) {
        text[0] = (char)(0xc0 | code >> 6);
        text[1] = (char)(0x80 | (code & 63));
    }
    gguf_put_item_text(w, text);
}

static void put_tokenizer(gguf_writer *w, const model_shape *s)
{
    enum { BYTES = 256, NORMAL = 1, CONTROL = 3, UNUSED = 5 };
    int others = 0;
    char text[32];
    gguf_put_text(w, "tokenizer.ggml.model", "gpt2");
    gguf_put_text(w, "tokenizer.ggml.pre", s->splitter);
    gguf_put_array(w, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)s->vocab);
    for (int i = 0; i < BYTES; i++)
        put_byte_token(w, i, &others);
    gguf_put_item_text(w, "ab");
    for (int64_t i = BYTES + 1; i < s->vocab; i++) {
        snprintf(text, sizeof text, i + 2 < s->vocab ? "<|unused_%lld|>" : "<|end_%lld|>",
                 (long long)i);
        gguf_put_item_text(w, text);
    }
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)s->vocab);
    for (int64_t i = 0; i < s->vocab; i++)
        gguf_put_item_i32(w, i <= BYTES ? NORMAL : i + 2 < s->vocab ? UNUSED : CONTROL);
    gguf_put_array(w, "tokenizer.ggml.merges", GGUF_STRING, 1);
    gguf_put_item_text(w, "a b");
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)s->vocab - 2);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)s->vocab - 1);
}

static void put_metadata(gguf_writer *w, const maker *m)
{
    const model_shape *s = &m->shape;
    const struct {
        const char *suffix;
        int64_t value;
    } sizes[] = {{"block_count", s->layers},
                 {"context_length", s->positions},
                 {"embedding_length", s->hidden},
                 {"feed_forward_length", s->ffn},
                 {"vocab_size", s->vocab},
                 {"attention.head_count", s->heads},
                 {"attention.head_count_kv", s->kv_heads},
                 {"attention.key_length", s->head_dim},
                 {"attention.value_length", s->head_dim},
                 {"rope.dimension_count", s->head_dim}};
    char key[96];
    gguf_put_text(w, "general.architecture", s->arch);
    gguf_put_text(w, "general.name", s->name);
    gguf_put_u32(w, "general.file_type", m->format->gguf_file_type);
    gguf_put_u32(w, "general.quantization_version", 2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "%s.%s", s->arch, sizes[i].suffix);
        gguf_put_u32(w, key, (uint32_t)sizes[i].value);
    }
    snprintf(key, sizeof key, "%s.rope.freq_base", s->arch);
    gguf_put_f32(w, key, (float)s->theta);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", s->arch);
    gguf_put_f32(w, key, (float)s->eps);
    put_tokenizer(w, s);
}

/* The pool around and around, from a random block on. */
static bool write_random(gguf_writer *w, maker *m, const rlx_tensor *t, uint64_t *random)
{
    const weight_format *f = weight_format_get(t->format);
    size_t bytes, left = t->bytes;
    const uint8_t *pool = pool_of(m, f, &bytes);
    if (!pool)
        return false;
    size_t at = next_random(random) % (bytes / f->block_bytes) * f->block_bytes;
    for (size_t n; left; left -= n, at = 0) {
        n = bytes - at < left ? bytes - at : left;
        gguf_write_data(w, pool + at, n, n == left);
    }
    return true;
}

static int write_gguf(maker *m)
{
    gguf_writer w;
    uint64_t random = 88172645463325252u;
    bool memory = true;
    if (!gguf_begin(&w, m->path))
        return failed(m->path, strerror(errno));
    put_metadata(&w, m);
    for (int i = 0; i < m->n; i++) {
        const rlx_tensor *t = &m->tensors[i];
        gguf_put_tensor(&w, t->name, weight_format_get(t->format)->gguf_type, t->rank, t->dim,
                        t->bytes);
    }
    gguf_write_head(&w);
    for (int i = 0; i < m->n && memory; i++) {
        const rlx_tensor *t = &m->tensors[i];
        if (t->data)
            gguf_write_data(&w, t->data, t->bytes, true);
        else
            memory = write_random(&w, m, t, &random);
    }
    if (!gguf_end(&w))
        return failed(m->path, strerror(errno));
    return memory ? 0 : failed(m->path, "out of memory");
}

/* ---- a directory */

static int write_config(const maker *m)
{
    const model_shape *s = &m->shape;
    char path[4096], scaling[256] = "";
    snprintf(path, sizeof path, "%s/config.json", m->path);
    FILE *f = fopen(path, "w");
    if (!f)
        return failed(path, strerror(errno));
    if (s->rope_factor)
        snprintf(scaling, sizeof scaling,
                 " \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": %g,\n"
                 "  \"low_freq_factor\": 1, \"high_freq_factor\": 4,\n"
                 "  \"original_max_position_embeddings\": 8192},\n",
                 s->rope_factor);
    fprintf(f,
            "{\"architectures\": [\"%s\"], \"model_type\": \"%s\",\n"
            " \"vocab_size\": %lld, \"hidden_size\": %lld, \"intermediate_size\": %lld,\n"
            " \"num_hidden_layers\": %lld, \"num_attention_heads\": %lld,\n"
            " \"num_key_value_heads\": %lld, \"head_dim\": %lld, \"hidden_act\": \"silu\",\n"
            " \"max_position_embeddings\": %lld, \"rms_norm_eps\": %g,\n"
            " \"rope_theta\": %.1f,\n%s \"tie_word_embeddings\": true,\n"
            " \"torch_dtype\": \"%s\", \"bos_token_id\": %lld, \"eos_token_id\": %lld}\n",
            s->class_name, s->arch, (long long)s->vocab, (long long)s->hidden, (long long)s->ffn,
            (long long)s->layers, (long long)s->heads, (long long)s->kv_heads,
            (long long)s->head_dim, (long long)s->positions, s->eps, s->theta, scaling,
            weight_format_get(m->format->most)->hf_name, (long long)s->vocab - 2,
            (long long)s->vocab - 1);
    bool bad = ferror(f);
    return fclose(f) || bad ? failed(path, strerror(errno)) : 0;
}

static int write_directory(maker *m)
{
    char path[4096];
    size_t bytes;
    uint64_t random = 88172645463325252u;
    const weight_format *f = weight_format_get(m->format->most);
    if (mkdir(m->path, 0777) && errno != EEXIST)
        return failed(m->path, strerror(errno));
    const uint8_t *pool = pool_of(m, f, &bytes);
    if (!pool)
        return failed(m->path, "out of memory");
    for (int i = 0; i < m->n; i++) {
        rlx_tensor *t = &m->tensors[i];
        size_t places = (bytes - (t->data ? 0 : t->bytes)) / f->block_bytes + 1;
        if (!t->data)
            t->data = pool + next_random(&random) % places * f->block_bytes;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", m->path);
    rlx_status st = rlx_safetensors_write(path, m->tensors, m->n, NULL);
    int code = st ? failed(path, rlx_status_message(st)) : write_config(m);
    rlx_status_free(st);
    return code;
}

/* ---- */

static int make(maker *m)
{
    const weight_format *f = weight_format_get(m->format->most);
    size_t most = (size_t)(IN_LAYER + NPARTS * m->shape.layers);
    if (!m->gguf && !f->hf_name)
        return failed(m->format->name, "only in GGUF files: give a PATH that ends in .gguf");
    /* a directory's tensors are contiguous windows: the largest must fit */
    m->pool_bytes = m->gguf
                        ? POOL_BYTES
                        : (size_t)(m->shape.vocab * m->shape.hidden) * f->block_bytes + (1 << 16);
    m->tensors = calloc(most, sizeof *m->tensors);
    m->names = calloc(most, sizeof *m->names);
    int code;
    if (!m->tensors || !m->names || !make_vectors(m)) {
        code = failed(m->path, "out of memory");
    } else {
        add_all(m);
        code = m->gguf ? write_gguf(m) : write_directory(m);
    }
    for (int i = 0; i < RLX_FORMAT_COUNT; i++)
        free(m->pools[i]);
    free(m->exact);
    free(m->names);
    free(m->tensors);
    return code;
}

static int usage(void)
{
    fprintf(stderr, "usage: make_model [--layers N] SHAPE FORMAT PATH[.gguf]\n  SHAPE ");
    for (int i = 0; i < NSHAPES; i++)
        fprintf(stderr, " %s", shapes[i].name);
    fprintf(stderr, "\n  FORMAT");
    for (int i = 0; i < NFORMATS; i++)
        fprintf(stderr, " %s", formats[i].name);
    fputc('\n', stderr);
    return 2;
}

int main(int argc, char **argv)
{
    int shape = 0, format = 0;
    long layers = 0;
    if (argc > 2 && !strcmp(argv[1], "--layers")) {
        char *end;
        layers = strtol(argv[2], &end, 10);
        if (*end || layers < 1 || layers > MAX_LAYERS)
            return usage();
        argc -= 2;
        argv += 2;
    }
    while (argc == 4 && shape < NSHAPES && strcmp(argv[1], shapes[shape].name))
        shape++;
    while (argc == 4 && format < NFORMATS && strcmp(argv[2], formats[format].name))
        format++;
    if (argc != 4 || shape == NSHAPES || format == NFORMATS)
        return usage();
    size_t n = strlen(argv[3]);
    maker m = {.shape = shapes[shape],
               .format = &formats[format],
               .path = argv[3],
               .gguf = n > 5 && !strcmp(argv[3] + n - 5, ".gguf")};
    m.shape.layers = layers ? layers : m.shape.layers;
    return make(&m);
}
