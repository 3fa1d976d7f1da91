/* rlx_quantize: a model that the test writes, in every mix: formats by role and layer, metadata,
 * values; importance; what is refused. */
#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "frontend/quantize.h"
#include "tests/runtime/suite.h"

enum { LAYERS = 8, ROWS = 4, K = 512, SHORT = 96, MOST = 4 * LAYERS + 8 };

typedef struct model {
    rlx_gguf_head head;
    rlx_tensor tensors[MOST];
    char names[MOST][40];
    int n;
    char dir[32], in[64], out[64], other[64];
} model;

static float *add(model *m, const char *name, int rank, int64_t k)
{
    rlx_tensor *t = &m->tensors[m->n];
    int64_t elems = rank == 1 ? k : ROWS * k;
    float *x = malloc((size_t)elems * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < elems; i++)
        x[i] = 0.1f * sinf((float)(i * i % 1013 + m->n));
    snprintf(m->names[m->n], sizeof m->names[0], "%s", name);
    *t = (rlx_tensor){m->names[m->n],           RLX_F32, rank, {rank == 1 ? k : ROWS, k}, x,
                      (size_t)elems * sizeof *x};
    m->n++;
    return x;
}

static rlx_status lend(void *user, int i, const void **data)
{
    *data = ((const model *)user)->tensors[i].data;
    return RLX_OK;
}

static void write_model(model *m)
{
    EXPECT_OK(rlx_gguf_write(m->in, &m->head, m->tensors, m->n, lend, m));
}

/* 8 layers, a matrix with short rows, no output of its own; 4 queries share a key. */
static void open_model(model *m)
{
    char name[40];
    *m = (model){.dir = "/tmp/rlx-quantize-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(m->dir));
    snprintf(m->in, sizeof m->in, "%s/in.gguf", m->dir);
    snprintf(m->out, sizeof m->out, "%s/out.gguf", m->dir);
    snprintf(m->other, sizeof m->other, "%s/other.gguf", m->dir);
    rlx_gguf_put_text(&m->head, "general.architecture", "llama");
    rlx_gguf_put_int(&m->head, "llama.block_count", RLX_GGUF_U32, LAYERS);
    rlx_gguf_put_int(&m->head, "llama.attention.head_count", RLX_GGUF_U32, 8);
    rlx_gguf_put_int(&m->head, "llama.attention.head_count_kv", RLX_GGUF_U16, 2);
    rlx_gguf_put_real(&m->head, "llama.rope.freq_base", 500000);
    rlx_gguf_put_int(&m->head, "general.file_type", RLX_GGUF_U32, 0);
    rlx_gguf_put_array(&m->head, "tokenizer.ggml.tokens", RLX_GGUF_STRING, 2);
    rlx_gguf_put_element_text(&m->head, "a", 1);
    rlx_gguf_put_element_text(&m->head, "bc", 2);
    rlx_gguf_put_array(&m->head, "tokenizer.ggml.token_type", RLX_GGUF_I32, 2);
    rlx_gguf_put_element_int(&m->head, RLX_GGUF_I32, 3);
    rlx_gguf_put_element_int(&m->head, RLX_GGUF_I32, -1);
    add(m, "token_embd.weight", 2, K);
    add(m, "output_norm.weight", 1, K);
    for (int l = 0; l < LAYERS; l++) {
        static const char *const parts[] = {"attn_v", "ffn_down", "ffn_up"};
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, parts[i]);
            add(m, name, 2, K);
        }
    }
    add(m, "blk.0.attn_q.weight", 2, SHORT);
    add(m, "blk.0.ffn_gate_inp.weight", 2, K);
    write_model(m);
}

static void close_model(model *m)
{
    for (int i = 0; i < m->n; i++)
        free((void *)m->tensors[i].data);
    rlx_gguf_head_deinit(&m->head);
    unlink(m->in);
    unlink(m->out);
    unlink(m->other);
    ck_assert_int_eq(rmdir(m->dir), 0); /* nothing else is left */
}

static const rlx_tensor *find(const rlx_gguf *f, const char *name)
{
    for (int i = 0; i < rlx_gguf_count(f); i++)
        if (!strcmp(rlx_gguf_at(f, i)->name, name))
            return rlx_gguf_at(f, i);
    ck_abort_msg("no tensor %s", name);
}

static rlx_gguf *quantize(model *m, const rlx_quantize_options *o)
{
    rlx_gguf *f;
    EXPECT_OK(rlx_quantize(m->in, m->out, o));
    EXPECT_OK(rlx_gguf_open(m->out, &f));
    ck_assert_int_eq(rlx_gguf_count(f), m->n);
    return f;
}

/* Squares of errors of a tensor, by `weight` of its columns. */
static double error_of(const model *m, const rlx_gguf *f, const char *name, const float *weight)
{
    const rlx_tensor *t = find(f, name);
    double sum = 0;
    for (int i = 0; i < m->n; i++)
        for (int64_t e = 0; !strcmp(m->names[i], name) && e < ROWS * K; e++) {
            double diff =
                rlx_format_load(t->format, t->data, e) - ((const float *)m->tensors[i].data)[e];
            sum += diff * diff * (weight ? weight[e % K] : 1);
        }
    return sum;
}

/* ---- cases ---------------------------------------------------------------------------------- */

START_TEST(mixes_by_role_and_layer)
{
    static const struct {
        const char *type;
        rlx_format embedding, v[LAYERS], down[LAYERS], up, shorter;
    } cases[] = {{"Q4_K_M",
                  RLX_Q6_K,
                  {RLX_Q6_K, RLX_Q4_K, RLX_Q4_K, RLX_Q6_K, RLX_Q4_K, RLX_Q4_K, RLX_Q6_K, RLX_Q6_K},
                  {RLX_Q6_K, RLX_Q4_K, RLX_Q4_K, RLX_Q6_K, RLX_Q4_K, RLX_Q4_K, RLX_Q6_K, RLX_Q6_K},
                  RLX_Q4_K,
                  RLX_Q5_0},
                 {"q3_k_m",
                  RLX_Q6_K,
                  {RLX_Q5_K, RLX_Q5_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K},
                  {RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K, RLX_Q4_K},
                  RLX_Q3_K,
                  RLX_Q4_0},
                 {"IQ4_XS",
                  RLX_Q6_K,
                  {RLX_Q5_K, RLX_Q5_K, RLX_Q5_K, RLX_Q5_K, RLX_Q5_K, RLX_Q5_K, RLX_Q5_K, RLX_Q5_K},
                  {RLX_Q5_K, RLX_IQ4_XS, RLX_IQ4_XS, RLX_IQ4_XS, RLX_IQ4_XS, RLX_IQ4_XS, RLX_IQ4_XS,
                   RLX_IQ4_XS},
                  RLX_IQ4_XS,
                  RLX_IQ4_NL},
                 {"Q8_0",
                  RLX_Q8_0,
                  {RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0},
                  {RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0, RLX_Q8_0},
                  RLX_Q8_0,
                  RLX_Q8_0}};
    model m;
    open_model(&m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rlx_gguf *f = quantize(&m, &(rlx_quantize_options){.type = cases[i].type});
        char name[40];
        ck_assert_int_eq(find(f, "token_embd.weight")->format, cases[i].embedding);
        ck_assert_int_eq(find(f, "output_norm.weight")->format, RLX_F32);
        ck_assert_int_eq(find(f, "blk.0.ffn_gate_inp.weight")->format, RLX_F32);
        ck_assert_int_eq(find(f, "blk.0.attn_q.weight")->format, cases[i].shorter);
        for (int l = 0; l < LAYERS; l++) {
            snprintf(name, sizeof name, "blk.%d.attn_v.weight", l);
            ck_assert_int_eq(find(f, name)->format, cases[i].v[l]);
            snprintf(name, sizeof name, "blk.%d.ffn_down.weight", l);
            ck_assert_int_eq(find(f, name)->format, cases[i].down[l]);
            snprintf(name, sizeof name, "blk.%d.ffn_up.weight", l);
            ck_assert_int_eq(find(f, name)->format, cases[i].up);
        }
        rlx_gguf_close(f);
    }
    close_model(&m);
}
END_TEST

START_TEST(metadata_is_kept)
{
    model m;
    int64_t v;
    open_model(&m);
    rlx_gguf *f = quantize(&m, &(rlx_quantize_options){.type = "Q5_K_S"});
    ck_assert(rlx_gguf_int(rlx_gguf_find(f, "general.file_type"), &v) && v == 16);
    ck_assert(rlx_gguf_int(rlx_gguf_find(f, "general.quantization_version"), &v) && v == 2);
    ck_assert(rlx_gguf_int(rlx_gguf_find(f, "llama.attention.head_count_kv"), &v) && v == 2);
    ck_assert(rlx_gguf_find(f, "llama.attention.head_count_kv")->type == RLX_GGUF_U16);
    ck_assert(rlx_gguf_find(f, "llama.rope.freq_base")->f == 500000);
    ck_assert_str_eq(rlx_gguf_find(f, "general.architecture")->text, "llama");
    rlx_gguf_items it = rlx_gguf_walk(rlx_gguf_find(f, "tokenizer.ggml.tokens"));
    const char *text;
    size_t bytes;
    ck_assert(rlx_gguf_next_text(&it, &text, &bytes) && rlx_gguf_next_text(&it, &text, &bytes));
    ck_assert(bytes == 2 && !memcmp(text, "bc", 2) && !rlx_gguf_next_text(&it, &text, &bytes));
    it = rlx_gguf_walk(rlx_gguf_find(f, "tokenizer.ggml.token_type"));
    rlx_gguf_value item;
    ck_assert(rlx_gguf_next(&it, &item) && item.i == 3 && rlx_gguf_next(&it, &item) &&
              item.i == -1);
    rlx_gguf_close(f);
    close_model(&m);
}
END_TEST

/* Every type: within what its bits allow; again from what came out; with any number of threads. */
START_TEST(values_of_every_type)
{
    model m;
    open_model(&m);
    const double all = 0.01 / 2 * ROWS * K; /* the elements' own squares */
    for (int i = 0; i < rlx_quantize_type_count(); i++) {
        rlx_quantize_options o = {.type = rlx_quantize_type_name(i), .threads = 1 + i % 3};
        rlx_gguf *f = quantize(&m, &o);
        double error = error_of(&m, f, "blk.3.ffn_up.weight", NULL);
        const rlx_format_info *info = rlx_format_get(find(f, "blk.3.ffn_up.weight")->format);
        double bits = 8.0 * info->block_bytes / info->block_elems;
        bits = bits > 8 ? 8 : bits; /* of floats the exponent counts for nothing */
        ck_assert_msg(error <= all * 2.2 * pow(4, -bits / 1.15), "%s: error %g of %g", o.type,
                      error, all);
        rlx_gguf_close(f);
    }
    close_model(&m);
}
END_TEST

static void compare_files(const char *a, const char *b)
{
    char *x, *y;
    size_t n, k;
    EXPECT_OK(rlx_file_read(a, &x, &n));
    EXPECT_OK(rlx_file_read(b, &y, &k));
    ck_assert(n == k && memcmp(x, y, n) == 0);
    free(x);
    free(y);
}

START_TEST(same_bytes_on_any_threads)
{
    model m;
    open_model(&m);
    for (int threads = 2; threads <= 5; threads += 3) {
        EXPECT_OK(
            rlx_quantize(m.in, m.out, &(rlx_quantize_options){.type = "IQ3_M", .threads = 1}));
        EXPECT_OK(rlx_quantize(m.in, m.other,
                               &(rlx_quantize_options){.type = "IQ3_M", .threads = threads}));
        compare_files(m.out, m.other);
    }
    EXPECT_OK(rlx_quantize(m.in, m.out, &(rlx_quantize_options){.type = "Q8_0"}));
    EXPECT_OK(rlx_quantize(m.out, m.other, &(rlx_quantize_options){.type = "Q8_0"}));
    compare_files(m.out, m.other); /* what is of the type already is copied */
    EXPECT_OK(
        rlx_quantize(m.other, m.other, &(rlx_quantize_options){.type = "Q4_0"})); /* in place */
    close_model(&m);
}
END_TEST

/* ---- importance ---- */

static void put_i32(FILE *f, int32_t v)
{
    fwrite(&v, sizeof v, 1, f);
}

/* The older form, for one matrix: sums over 4 calls. */
static void write_binary(const char *path, const char *name, const float *weight, int n)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    put_i32(f, 1);
    put_i32(f, (int32_t)strlen(name));
    fputs(name, f);
    put_i32(f, 4);
    put_i32(f, n);
    for (int i = 0; i < n; i++)
        fwrite(&(float){4 * weight[i]}, sizeof(float), 1, f);
    fclose(f);
}

static void write_gguf(const char *path, const char *name, const float *weight)
{
    model part = {0};
    float count = 8, sums[K];
    char names[2][64];
    for (int i = 0; i < K; i++)
        sums[i] = 8 * weight[i];
    snprintf(names[0], sizeof names[0], "%s.in_sum2", name);
    snprintf(names[1], sizeof names[1], "%s.counts", name);
    part.tensors[0] = (rlx_tensor){names[0], RLX_F32, 2, {1, K}, sums, sizeof sums};
    part.tensors[1] = (rlx_tensor){names[1], RLX_F32, 2, {1, 1}, &count, sizeof count};
    rlx_gguf_put_text(&part.head, "general.type", "imatrix");
    EXPECT_OK(rlx_gguf_write(path, &part.head, part.tensors, 2, lend, &part));
    rlx_gguf_head_deinit(&part.head);
}

START_TEST(importance_of_columns)
{
    static const char name[] = "blk.3.ffn_up.weight";
    model m;
    float weight[K];
    int64_t v;
    for (int i = 0; i < K; i++)
        weight[i] = i % 5 ? 1 : 30;
    open_model(&m);
    for (int form = 0; form < 2; form++) {
        if (form)
            write_gguf(m.other, name, weight);
        else
            write_binary(m.other, name, weight, K);
        rlx_gguf *f = quantize(&m, &(rlx_quantize_options){.type = "IQ3_XXS"});
        double without = error_of(&m, f, name, weight);
        rlx_gguf_close(f);
        f = quantize(&m, &(rlx_quantize_options){.type = "IQ3_XXS", .imatrix = m.other});
        double with = error_of(&m, f, name, weight);
        ck_assert_msg(with < 0.8 * without, "%g, and %g without", with, without);
        ck_assert(rlx_gguf_int(rlx_gguf_find(f, "quantize.imatrix.entries_count"), &v) && v == 1);
        rlx_gguf_close(f);
    }
    write_binary(m.other, name, weight, K - 1);
    EXPECT_ERROR(
        rlx_quantize(m.in, m.out, &(rlx_quantize_options){.type = "Q4_K_M", .imatrix = m.other}),
        RLX_INVALID_FILE, "has 511 numbers, and its matrices have 512 columns");
    ck_assert_int_eq(truncate(m.other, 100), 0);
    EXPECT_ERROR(
        rlx_quantize(m.in, m.out, &(rlx_quantize_options){.type = "Q4_K_M", .imatrix = m.other}),
        RLX_INVALID_FILE, "do not fit the file");
    close_model(&m);
}
END_TEST

/* ---- what is refused ---- */

static bool stop(void *user, int64_t done, int64_t total, const char *tensor)
{
    (void)tensor;
    ck_assert(done <= total);
    return --*(int *)user > 0;
}

static bool watch(void *user, int64_t done, int64_t total, const char *tensor)
{
    ck_assert_ptr_nonnull(tensor);
    *(double *)user = (double)done / (double)total;
    return true;
}

START_TEST(refused_whole)
{
    model m;
    int left = 5;
    double share = 0;
    open_model(&m);
    EXPECT_ERROR(rlx_quantize(m.in, m.out, &(rlx_quantize_options){.type = "Q4_K_N"}),
                 RLX_INVALID_ARGUMENT, "did you mean Q4_K_");
    EXPECT_ERROR(
        rlx_quantize(m.in, m.out,
                     &(rlx_quantize_options){.type = "Q4_0", .progress = stop, .user = &left}),
        RLX_CANCELLED, "");
    ck_assert_int_ne(access(m.out, F_OK), 0);
    EXPECT_OK(rlx_quantize(
        m.in, m.out, &(rlx_quantize_options){.type = "Q4_0", .progress = watch, .user = &share}));
    ck_assert_double_eq(share, 1);
    ((float *)m.tensors[5].data)[K + 3] = NAN;
    write_model(&m);
    EXPECT_ERROR(rlx_quantize(m.in, m.other, &(rlx_quantize_options){.type = "Q4_0"}),
                 RLX_INVALID_FILE, "row 1 has numbers that are not finite");
    ck_assert_int_ne(access(m.other, F_OK), 0);
    EXPECT_ERROR(rlx_quantize("/nowhere.gguf", m.out, &(rlx_quantize_options){.type = "Q4_0"}),
                 RLX_NOT_FOUND, "");
    close_model(&m);
}
END_TEST

/* Rows that are not there cost no memory, however long they would be. */
START_TEST(no_rows_of_any_length)
{
    model m;
    open_model(&m);
    free((void *)m.tensors[4].data);
    m.tensors[4].data = NULL;
    m.tensors[4].dim[0] = 0;
    m.tensors[4].dim[1] = INT64_C(1) << 52;
    m.tensors[4].bytes = 0;
    write_model(&m);
    rlx_gguf *f = quantize(&m, &(rlx_quantize_options){.type = "Q4_K_M"});
    ck_assert_uint_eq(find(f, m.names[4])->bytes, 0);
    rlx_gguf_close(f);
    close_model(&m);
}
END_TEST

/* ---- directories ---- */

enum { IDS = 12, VOCAB = 1024 };

/* Ids of a text and their logits. */
static void run_model(const char *path, const char *text, int32_t ids[IDS], float *logits)
{
    rlx_context *cx;
    rlx_model *loaded;
    rlx_session *s;
    int32_t *list;
    int64_t n;
    EXPECT_OK(rlx_context_create(NULL, &cx));
    EXPECT_OK(rlx_model_load(cx, path, NULL, &loaded));
    EXPECT_OK(rlx_session_create(cx, NULL, &s));
    EXPECT_OK(rlx_model_encode(loaded, text, true, &list, &n));
    ck_assert_int_ge(n, IDS);
    memcpy(ids, list, IDS * sizeof *ids);
    EXPECT_OK(rlx_model_step(loaded, s, 0, ids, IDS, IDS, logits));
    free(list);
    rlx_session_destroy(s);
    rlx_model_destroy(loaded);
    rlx_context_destroy(cx);
}

/* The bundled model as a file of f32: the same tokens; rows of q and k in another order, and so
 * sums over a head, are all that differs. */
START_TEST(directory_becomes_a_file)
{
    static const char text[] = "Once upon a time, there was a little girl who had a red ball. ";
    static float want[IDS * VOCAB], got[IDS * VOCAB];
    int32_t ids[2][IDS];
    model m;
    open_model(&m);
    EXPECT_OK(rlx_quantize(RLX_SOURCE_DIR "/models/bundled", m.out,
                           &(rlx_quantize_options){.type = "F32"}));
    run_model(RLX_SOURCE_DIR "/models/bundled", text, ids[0], want);
    run_model(m.out, text, ids[1], got);
    ck_assert_mem_eq(ids[0], ids[1], sizeof ids[0]);
    for (int i = 0; i < IDS * VOCAB; i++)
        ck_assert_msg(fabsf(want[i] - got[i]) < 1e-4f, "logit %d of token %d is %g, not %g",
                      i % VOCAB, i / VOCAB, got[i], want[i]);
    EXPECT_ERROR(rlx_quantize(m.dir, m.out, &(rlx_quantize_options){.type = "F32"}), RLX_NOT_FOUND,
                 "has no config.json");
    close_model(&m);
}
END_TEST

/* The tables of docs/formats.md are those of the code. */
START_TEST(documented)
{
    char *text, row[128];
    size_t bytes;
    int blocks = 0;
    EXPECT_OK(rlx_file_read(RLX_SOURCE_DIR "/docs/formats.md", &text, &bytes));
    for (int f = RLX_FORMAT_NONE + 1; f < RLX_FORMAT_COUNT; f++) {
        const rlx_format_info *info = rlx_format_get((rlx_format)f);
        if (info->kind != RLX_KIND_BLOCK)
            continue;
        snprintf(row, sizeof row, "| `%s` | %d | %d | %.3g | ", info->name, info->block_elems,
                 info->block_bytes, 8.0 * info->block_bytes / info->block_elems);
        ck_assert_msg(strstr(text, row) != NULL, "docs/formats.md has no \"%s\"", row);
        blocks++;
    }
    ck_assert_int_ge(blocks, 28);
    for (int i = 0; i < rlx_quantize_type_count(); i++) {
        snprintf(row, sizeof row, "| `%s` | ", rlx_quantize_type_name(i));
        const char *at = strstr(text, row), *end = at ? strchr(at, '\n') : NULL;
        ck_assert_msg(at && end, "docs/formats.md has no type %s", rlx_quantize_type_name(i));
        const char *about = strstr(at, rlx_quantize_type_about(i));
        ck_assert_msg(about && about < end, "docs/formats.md says something else of %s", row);
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quantize");
    SUITE_TEST(s, "mixes", mixes_by_role_and_layer);
    SUITE_TEST(s, "metadata", metadata_is_kept);
    SUITE_TEST(s, "values", values_of_every_type);
    SUITE_TEST(s, "threads", same_bytes_on_any_threads);
    SUITE_TEST(s, "importance", importance_of_columns);
    SUITE_TEST(s, "refused", refused_whole);
    SUITE_TEST(s, "no_rows", no_rows_of_any_length);
    SUITE_TEST(s, "directory", directory_becomes_a_file);
    SUITE_TEST(s, "documented", documented);
    return suite_run(s, 9);
}
