/* tests/parity/test_formats.c: GGUF models whose matrices are in each format, the same bits by
 * every engine and way; a deep model mixed as llama.cpp's quantiser mixes formats, which is two
 * layer functions; and a model of which every matrix is in another format of blocks, in exact and
 * in fast mode. With "vulkan": the same on such a device, near the CPU's. What the formats mean is
 * held against published numbers elsewhere (gguf fixtures, goldens, tests/base). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/gguf_writer.h"
#include "runtime/base/format.h"
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

enum { FLOATS = 3, Q4_K = 8, Q6_K = 10 };
static const stored formats[] = {
    {"f32", 0, 1, 4, {-1, -1}},        {"f16", 1, 1, 2, {-1, -1}},
    {"bf16", 30, 1, 2, {-1, -1}},      {"q4_0", 2, 32, 18, {0, -1}},
    {"q4_1", 3, 32, 20, {0, 2}},       {"q5_0", 6, 32, 22, {0, -1}},
    {"q5_1", 7, 32, 24, {0, 2}},       {"q8_0", 8, 32, 34, {0, -1}},
    {"q4_k", 12, 256, 144, {0, 2}},    {"q5_k", 13, 256, 176, {0, 2}},
    {"q6_k", 14, 256, 210, {208, -1}},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* Every format of blocks, by its number in GGUF files. */
static const struct {
    uint32_t type;
    rlx_format format;
} numbers[] = {
#define TYPE(id, format) {id, RLX_##format},
#include "runtime/gguf_types.def"
#undef TYPE
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };
static stored blocks[NUMBERS]; /* by list_blocks */
static rlx_format block_format[NUMBERS];
static int nblocks;

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
    const stored *most, *more; /* NULL: every matrix of a layer is in another format of `blocks` */
    gguf_writer w;
    uint64_t random;
} model;

/* Both ends, and every third layer between. */
static bool keeps_better(int layer, int layers)
{
    const int eighth = layers / 8;
    return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

static void list_blocks(void)
{
    for (int i = 0; i < NUMBERS; i++) {
        const rlx_format_info *f = rlx_format_get(numbers[i].format);
        if (f->kind != RLX_KIND_BLOCK)
            continue;
        block_format[nblocks] = numbers[i].format;
        blocks[nblocks++] =
            (stored){f->name, numbers[i].type, f->block_elems, f->block_bytes, {-1, -1}};
    }
}

/* The next one, matrix after matrix. */
static const stored *another_format(int part, int layer)
{
    int before = 0, in_layer = 0;
    for (int i = IN_LAYER; i < PARTS; i++) {
        before += i < part && parts[i].rows;
        in_layer += parts[i].rows > 0;
    }
    return part < IN_LAYER ? &formats[Q6_K] : &blocks[(layer * in_layer + before) % nblocks];
}

static const stored *format_of(const model *m, int part, int layer)
{
    if (!m->most)
        return parts[part].rows ? another_format(part, layer) : &formats[0];
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
    if (f >= blocks && f < blocks + nblocks) {
        rlx_format_make_blocks(block_format[f - blocks], to,
                               (int64_t)(bytes / (size_t)f->bytes) * f->elems, next(m));
        return;
    }
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

static rlx_weights *run(const model *m, const char *device, const char *threads,
                        const char *decode_from, const char *precision)
{
    static int64_t ids[S] = {1, 40, 7, 7, 22, 0, 13};
    const rlx_tensor input = {"input_ids", RLX_I64, 2, {1, S}, ids, sizeof ids};
    char in[] = "/tmp/rlx-formats-XXXXXX";
    close(mkstemp(in));
    parity_must(rlx_safetensors_write(in, &input, 1, NULL));
    rlx_weights *out = parity_eval(&(parity_way){.model = m->path,
                                                 .inputs = in,
                                                 .device = device,
                                                 .threads = threads,
                                                 .decode_from = decode_from,
                                                 .precision = precision});
    unlink(in);
    return out;
}

static const float *logits_of(const rlx_weights *w)
{
    const rlx_tensor *t = parity_need(w, "logits");
    ck_assert_uint_eq(t->bytes, S * V * sizeof(float));
    return t->data;
}

static void expect_same(const rlx_weights *want, const rlx_weights *got, const char *what)
{
    const float *x = logits_of(want), *y = logits_of(got);
    for (int i = 0; i < S * V; i++)
        ck_assert_msg(!memcmp(x + i, y + i, sizeof *x),
                      "%s: logit %d of position %d is %.9g, not %.9g", what, i % V, i / V,
                      (double)y[i], (double)x[i]);
    ck_assert_msg(x[3] == x[3] && x[3] != x[4], "%s: %g, %g", what, (double)x[3], (double)x[4]);
}

/* The two ways that differ most, prefill and then decode. */
static void same_bits_as_evaluated(const model *m, const char *precision)
{
    rlx_weights *want = run(m, "ref:mir", NULL, "5", precision);
    rlx_weights *got = run(m, "cpu:x86-64-v3", NULL, "5", precision);
    expect_same(want, got, precision);
    rlx_weights_destroy(want);
    rlx_weights_destroy(got);
}

static void same_bits_by_every_way(const model *m, const char *name)
{
    rlx_weights *first = run(m, ways[0].device, ways[0].threads, ways[0].decode_from, NULL);
    for (size_t i = 1; i < sizeof ways / sizeof *ways; i++) {
        rlx_weights *out = run(m, ways[i].device, ways[i].threads, ways[i].decode_from, NULL);
        char what[64];
        snprintf(what, sizeof what, "%s on %s", name, ways[i].device);
        expect_same(first, out, what);
        rlx_weights_destroy(out);
    }
    rlx_weights_destroy(first);
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

/* As many layers as it takes. */
static void write_blocks(model *m)
{
    list_blocks();
    ck_assert_int_ge(nblocks, 27);
    for (int i = IN_LAYER; i < PARTS; i++)
        m->layers += parts[i].rows > 0;
    m->layers = (nblocks + m->layers - 1) / m->layers;
    write_model(m);
}

START_TEST(every_block_format)
{
    model m = {.random = 11};
    write_blocks(&m);
    same_bits_as_evaluated(&m, "exact");
    same_bits_as_evaluated(&m, "fast");
    unlink(m.path);
}
END_TEST

/* ---- devices -------------------------------------------------------------------------------- */

/* Off by at most so much of the root mean square of the CPU's. */
static void near_the_cpu(const model *m, const char *name, const char *decode_from,
                         const char *precision, double bound)
{
    rlx_weights *want = run(m, "cpu", NULL, decode_from, precision);
    rlx_weights *got = run(m, chosen_device, NULL, decode_from, precision);
    const float *x = logits_of(want);
    double squares = 0, d = parity_distance(x, logits_of(got), S * V);
    for (int i = 0; i < S * V; i++)
        squares += (double)x[i] * (double)x[i];
    const double rms = sqrt(squares / (S * V));
    printf("%s, %s: largest difference %.2g of the logits' rms %.3g\n", name, precision, d / rms,
           rms);
    ck_assert_msg(rms > 0 && d <= bound * rms, "%s, %s: off by %g of rms %g", name, precision, d,
                  rms);
    rlx_weights_destroy(want);
    rlx_weights_destroy(got);
}

START_TEST(devices_run_each_format)
{
    model m = {.layers = 2, .most = &formats[_i], .more = &formats[_i], .random = 7};
    write_model(&m);
    near_the_cpu(&m, formats[_i].name, "5", "exact", 1e-5);
    unlink(m.path);
}
END_TEST

/* Decoded to floats, and multiplied as codes, token by token: a software device compiles for more than a
 * second for each of these kernels, and for longer when they are a prompt's. */
START_TEST(devices_run_every_block_format)
{
    model m = {.random = 11};
    write_blocks(&m);
    near_the_cpu(&m, "every block format", "0", "exact", 1e-5);
    near_the_cpu(&m, "every block format", "0", "fast", 1e-3); /* codes may differ by one */
    unlink(m.path);
}
END_TEST

static void add_tests(TCase *c)
{
    if (chosen_device) {
        tcase_add_loop_test(c, devices_run_each_format, 0, FLOATS);
        tcase_add_test(c, devices_run_every_block_format);
        return;
    }
    tcase_add_loop_test(c, each_format, 0, FORMATS);
    tcase_add_test(c, a_mix_is_two_layer_functions);
    tcase_add_test(c, every_block_format);
}

int main(int argc, char **argv)
{
    if (!chosen_begin(argc, argv))
        return CHOSEN_SKIPPED;
    Suite *s = suite_create("parity_formats");
    TCase *c = tcase_create("parity_formats");
    tcase_set_timeout(c, chosen_device ? 0 : 200); /* a software device compiles for long */
    add_tests(c);
    suite_add_tcase(s, c);
    return parity_run(s, chosen_device ? FLOATS + 1 : FORMATS + 2);
}
