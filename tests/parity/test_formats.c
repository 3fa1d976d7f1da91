/* tests/parity/test_formats.c: GGUF models whose matrices are in each format, the same bits by
 * every engine and way; and a deep model mixed as llama.cpp's quantiser mixes formats, which is two
 * layer functions. What the formats mean is held against published numbers elsewhere (gguf
 * fixtures, goldens, tests/base). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/gguf_writer.h"
#include "tests/parity/parity.h"
#include "tests/tool/process.h"

enum { H = 256, HEADS = 4, KV_HEADS = 2, D = 64, FFN = 512, V = 48, S = 7 };

/* Where a block of random bits needs a number that keeps values small: f16 at `scales`. */
typedef struct stored {
    const char *name;
    uint32_t type; /* in GGUF files */
    int elems, bytes;
    int scales[2]; /* byte offsets in a block; -1: none */
} stored;

enum { Q4_K = 8, Q6_K = 10 };
static const stored formats[] = {
    {"f32", 0, 1, 4, {-1, -1}},        {"f16", 1, 1, 2, {-1, -1}},
    {"bf16", 30, 1, 2, {-1, -1}},      {"q4_0", 2, 32, 18, {0, -1}},
    {"q4_1", 3, 32, 20, {0, 2}},       {"q5_0", 6, 32, 22, {0, -1}},
    {"q5_1", 7, 32, 24, {0, 2}},       {"q8_0", 8, 32, 34, {0, -1}},
    {"q4_k", 12, 256, 144, {0, 2}},    {"q5_k", 13, 256, 176, {0, 2}},
    {"q6_k", 14, 256, 210, {208, -1}},
};
enum { FORMATS = sizeof formats / sizeof *formats };

static const struct {
    const char *name; /* "%d": the layer */
    int rows, columns;
    bool better; /* kept better by a mix in some layers */
} parts[] = {
    {"token_embd.weight", V, H, false},
    {"output_norm.weight", 0, H, false},
    {"blk.%d.attn_norm.weight", 0, H, false},
    {"blk.%d.attn_q.weight", HEADS *D, H, false},
    {"blk.%d.attn_k.weight", KV_HEADS *D, H, false},
    {"blk.%d.attn_v.weight", KV_HEADS *D, H, true},
    {"blk.%d.attn_output.weight", H, HEADS *D, false},
    {"blk.%d.ffn_norm.weight", 0, H, false},
    {"blk.%d.ffn_gate.weight", FFN, H, false},
    {"blk.%d.ffn_up.weight", FFN, H, false},
    {"blk.%d.ffn_down.weight", H, FFN, true},
};
enum { PARTS = sizeof parts / sizeof *parts, IN_LAYER = 2 };

/* ---- a file --------------------------------------------------------------------------------- */

typedef struct model {
    char path[32];
    int layers;
    const stored *most, *more;
    gguf_writer w;
    uint64_t random;
} model;

/* Both ends, and every third layer between. */
static bool keeps_better(int layer, int layers)
{
    const int eighth = layers / 8;
    return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

static const stored *format_of(const model *m, int part, int layer)
{
    if (!parts[part].rows && m->most->elems > 1)
        return &formats[0]; /* vectors of quantised files */
    return parts[part].better && keeps_better(layer, m->layers) ? m->more : m->most;
}

static uint32_t next(model *m)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->random >> 32);
}

/* A number within about +-0.1, a norm's near 1. */
static void put_number(model *m, const stored *f, bool norm, uint8_t *to)
{
    const float v = (float)(int32_t)next(m) * 0x1p-31f * 0.1f + (norm ? 1 : 0);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    const _Float16 half = (_Float16)v;
    const uint16_t upper = (uint16_t)(bits >> 16);
    if (f->bytes == 4)
        memcpy(to, &v, 4);
    else if (f->type == 1)
        memcpy(to, &half, 2);
    else
        memcpy(to, &upper, 2);
}

static void fill(model *m, const stored *f, bool norm, uint8_t *to, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += (size_t)f->bytes) {
        if (f->elems == 1) {
            put_number(m, f, norm, to + at);
            continue;
        }
        for (int i = 0; i < f->bytes; i++)
            to[at + (size_t)i] = (uint8_t)next(m);
        for (int i = 0; i < 2; i++)
            if (f->scales[i] >= 0) /* 2^-10 to 2^-9 in a half */
                memcpy(to + at + f->scales[i], &(uint16_t){(uint16_t)(0x1400 + next(m) % 1024)}, 2);
    }
}

static size_t bytes_of(const stored *f, int part)
{
    const int rows = parts[part].rows ? parts[part].rows : 1;
    return (size_t)rows * (size_t)(parts[part].columns / f->elems) * (size_t)f->bytes;
}

/* Calls `each` for every tensor, in the file's order. */
static void for_tensors(model *m, void (*each)(model *m, int part, int layer))
{
    for (int i = 0; i < IN_LAYER; i++)
        each(m, i, 0);
    for (int layer = 0; layer < m->layers; layer++)
        for (int i = IN_LAYER; i < PARTS; i++)
            each(m, i, layer);
}

static void declare(model *m, int part, int layer)
{
    char name[64];
    const stored *f = format_of(m, part, layer);
    const int64_t matrix[] = {parts[part].rows, parts[part].columns};
    const int rank = parts[part].rows ? 2 : 1;
    snprintf(name, sizeof name, parts[part].name, layer);
    gguf_put_tensor(&m->w, name, f->type, rank, matrix + 2 - rank, bytes_of(f, part));
}

static void write_data(model *m, int part, int layer)
{
    const stored *f = format_of(m, part, layer);
    const size_t bytes = bytes_of(f, part);
    uint8_t *data = malloc(bytes);
    ck_assert_ptr_nonnull(data);
    fill(m, f, !parts[part].rows, data, bytes);
    gguf_write_data(&m->w, data, bytes, true);
    free(data);
}

static void write_model(model *m)
{
    strcpy(m->path, "/tmp/rlx-formats-XXXXXX.gguf");
    const int fd = mkstemps(m->path, 5);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert(gguf_begin(&m->w, m->path));
    gguf_put_text(&m->w, "general.architecture", "llama");
    gguf_put_u32(&m->w, "llama.block_count", (uint32_t)m->layers);
    gguf_put_u32(&m->w, "llama.context_length", 512);
    gguf_put_u32(&m->w, "llama.embedding_length", H);
    gguf_put_u32(&m->w, "llama.feed_forward_length", FFN);
    gguf_put_u32(&m->w, "llama.attention.head_count", HEADS);
    gguf_put_u32(&m->w, "llama.attention.head_count_kv", KV_HEADS);
    gguf_put_f32(&m->w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for_tensors(m, declare);
    gguf_write_head(&m->w);
    for_tensors(m, write_data);
    ck_assert(gguf_end(&m->w));
}

/* ---- every engine --------------------------------------------------------------------------- */

static const struct {
    const char *device, *threads, *decode_from;
} ways[] = {
    {"ref:mir", "1", NULL}, {"ref:lir", "2", "4"}, {"cpu:x86-64-v3", "2", NULL}, {"cpu", "1", "1"}};

static void same_bits_by_every_way(const model *m, const char *name)
{
    static int64_t ids[S] = {1, 40, 7, 7, 22, 0, 13};
    const rlx_tensor input = {"input_ids", RLX_I64, 2, {1, S}, ids, sizeof ids};
    char in[] = "/tmp/rlx-formats-XXXXXX";
    close(mkstemp(in));
    parity_must(rlx_safetensors_write(in, &input, 1, NULL));
    rlx_weights *first = NULL;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        rlx_weights *out = parity_eval(&(parity_way){.model = m->path,
                                                     .inputs = in,
                                                     .device = ways[i].device,
                                                     .threads = ways[i].threads,
                                                     .decode_from = ways[i].decode_from});
        const rlx_tensor *a = parity_need(first ? first : out, "logits");
        const rlx_tensor *b = parity_need(out, "logits");
        const float *x = b->data;
        ck_assert_uint_eq(b->bytes, S * V * sizeof *x);
        ck_assert_msg(!memcmp(a->data, b->data, b->bytes), "%s: %s has other bits", name,
                      ways[i].device);
        ck_assert_msg(x[3] == x[3] && x[3] != x[4], "%s: %g, %g", name, (double)x[3], (double)x[4]);
        if (first)
            rlx_weights_destroy(out);
        else
            first = out;
    }
    rlx_weights_destroy(first);
    unlink(in);
}

START_TEST(each_format)
{
    model m = {.layers = 2, .most = &formats[_i], .more = &formats[_i], .random = 7};
    write_model(&m);
    same_bits_by_every_way(&m, formats[_i].name);
    unlink(m.path);
}
END_TEST

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *s = text; (s = strstr(s, word)); s += strlen(word))
        n++;
    return n;
}

START_TEST(a_mix_is_two_layer_functions)
{
    static const char *const levels[] = {"hir", "mir", "lir"};
    model m = {.layers = 16, .most = &formats[Q4_K], .more = &formats[Q6_K], .random = 3};
    write_model(&m);
    for (int i = 0; i < 3; i++) {
        process p;
        RUN(&p, RLX_TOOL, "inspect", m.path, "--level", levels[i]);
        ck_assert_msg(p.code == 0, "%s", p.err);
        ck_assert_int_eq(count(p.out, "func @layer_"), 2);
        process_free(&p);
    }
    same_bits_by_every_way(&m, "q4_k_m");
    unlink(m.path);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parity_formats");
    TCase *c = tcase_create("parity_formats");
    tcase_set_timeout(c, 200);
    tcase_add_loop_test(c, each_format, 0, FORMATS);
    tcase_add_test(c, a_mix_is_two_layer_functions);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < FORMATS + 1;
    srunner_free(r);
    return bad;
}
