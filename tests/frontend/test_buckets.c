/* tests/frontend/test_buckets.c: buckets: what runs takes the least that holds it, at its own length:
 * the bits, and the work, of code that was compiled for that length. */
#include <ftw.h>
#include <pthread.h>
#include <unistd.h>

#include "frontend/compilation.h"
#include "frontend/model.h"
#include "lir/lir.h"
#include "tests/base/suite.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
enum { MOST = 160 };

static const rlx_ladder ladders[] = {{"seq", 3, {1, 16, 128}}, {"BATCH", 2, {2, 4}}};

static char shared[] = "/tmp/rlx-buckets-XXXXXX"; /* code of all cases but one */

static rlx_context *make_context(const char *device, const char *folder)
{
    rlx_context *cx;
    const rlx_context_options o = {
        .device = device, .threads = 1, .cache.folder = folder, .no_cache = !folder};
    assert_ok(rlx_context_create(&o, &cx));
    return cx;
}

static rlx_model *load(rlx_context *cx, const rlx_model_options *o)
{
    rlx_model *m;
    assert_ok(rlx_model_load(cx, BUNDLED, o, &m));
    return m;
}

static int32_t token(int64_t i)
{
    return (int32_t)((i * 7919 + i * i % 61) % 500);
}

/* Executables. */
static int64_t count_made(const rlx_context *cx)
{
    rlx_context_stats s;
    rlx_context_get_stats(cx, &s);
    return s.compiled + s.loaded;
}

/* Logits of `rows` last of n tokens. */
static void step(rlx_context *cx, rlx_model *m, int64_t n, int64_t rows, float *out)
{
    int32_t ids[MOST];
    rlx_session *s;
    for (int64_t i = 0; i < n; i++)
        ids[i] = token(i);
    assert_ok(rlx_session_create(cx, &(rlx_session_options){.max_positions = 256}, &s));
    assert_ok(rlx_model_step(m, s, 0, ids, n, rows, out));
    rlx_session_destroy(s);
}

static float *new_logits(const rlx_model *m, int64_t rows)
{
    return malloc(sizeof(float) * (size_t)(rows * m->width));
}

#define EXPECT_ROWS(a, b, rows, m) \
    ck_assert_mem_eq((a), (b), sizeof(float) * (size_t)((rows) * (m)->width))

/* ---- which bucket ---------------------------------------------------------------------------- */

static const struct {
    rlx_precision precision;
    bool decoded;
    int64_t left, n, tokens; /* what runs, and in which bucket */
    const char *name;
} choices[] = {
    {RLX_EXACT, false, 1, 1, 1, "decode"},
    {RLX_EXACT, false, 2, 2, 16, "prefill"},
    {RLX_EXACT, false, 15, 15, 16, "prefill"},
    {RLX_EXACT, false, 16, 16, 16, "prefill"},
    {RLX_EXACT, false, 17, 17, 128, "prefill"},
    {RLX_EXACT, false, 127, 127, 128, "prefill"},
    {RLX_EXACT, false, 128, 128, 128, "prefill"},
    {RLX_EXACT, false, 1000, 128, 128, "prefill"},
    {RLX_FAST, true, 1, 1, 1, "decode"},
    {RLX_FAST, false, 1, 1, 16, "prefill"},
    {RLX_FAST, true, 2, 2, 2, "decode of several"},
    {RLX_FAST, true, 3, 3, 4, "decode of several"},
    {RLX_FAST, true, 9, 4, 4, "decode of several"},
    {RLX_FAST, false, 9, 9, 16, "prefill"},
};
enum { NCHOICES = sizeof choices / sizeof *choices };

START_TEST(takes_the_least_that_holds)
{
    const rlx_model_options o = {
        .ladders = ladders, .nladders = 2, .precision = choices[_i].precision};
    rlx_model m = {.precision = o.precision};
    rlx_model_bucket b;
    int64_t n;
    assert_ok(rlx_model_make_plan(&o, &m.plan));
    const int bucket = rlx_model_choose_bucket(&m, choices[_i].decoded, choices[_i].left, &n);
    ck_assert_int_lt(bucket, rlx_model_bucket_count(&m.plan));
    rlx_model_get_bucket(&o, &m.plan, bucket, &b);
    ck_assert_int_eq(n, choices[_i].n);
    ck_assert_int_eq(b.bucket[0].upper, choices[_i].tokens);
    ck_assert_str_eq(b.name, choices[_i].name);
}
END_TEST

static void expect_plan(const rlx_model_options *o, int prefills, int64_t last, int batches)
{
    rlx_model_plan p;
    assert_ok(rlx_model_make_plan(o, &p));
    ck_assert_int_eq(p.prefill.n, prefills);
    ck_assert_int_eq(p.prefill.upper[prefills - 1], last);
    ck_assert_int_eq(p.batch.n, batches);
}

START_TEST(plans)
{
    rlx_model_plan p;
    expect_plan(&(rlx_model_options){0}, 1, 128, 0);
    expect_plan(&(rlx_model_options){.precision = RLX_FAST}, 1, 512, 1);
    expect_plan(&(rlx_model_options){.prefill = 24}, 1, 24, 0);
    assert_ok(rlx_model_make_plan(&(rlx_model_options){.prefill = 1}, &p));
    ck_assert_int_eq(rlx_model_bucket_count(&p), 1); /* the one that decodes */
    rlx_model_options o = {.ladders = ladders, .nladders = 2};
    expect_plan(&o, 2, 128, 0); /* an exact model decodes several as it does anything */
    o.prefill = 24;
    expect_plan(&o, 2, 24, 0);
    o.prefill = 300;
    expect_plan(&o, 3, 300, 0);
    const rlx_ladder one[] = {{"BATCH", 1, {1}}, {"SEQ", 1, {1}}};
    expect_plan(&(rlx_model_options){.precision = RLX_FAST, .ladders = one, .nladders = 2}, 1, 1,
                0);
    rlx_ladder sixteen = {"SEQ", 16, {0}}, large = {"SEQ", 1, {(1 << 20) + 1}};
    for (int i = 0; i < 16; i++)
        sixteen.upper[i] = i + 2;
    o = (rlx_model_options){.ladders = &sixteen, .nladders = 1, .prefill = 4};
    assert_error(rlx_model_make_plan(&o, &p), RLX_INVALID_ARGUMENT,
                 "has 16 buckets beside that of 1: at most 15");
    sixteen.upper[0] = 1;
    expect_plan(&o, 2, 4, 0);
    o = (rlx_model_options){.ladders = &large, .nladders = 1};
    assert_error(rlx_model_make_plan(&o, &p), RLX_INVALID_ARGUMENT, "has 1048577: a step has at");
    assert_error(rlx_model_check_options(&(rlx_model_options){.prefill = (1 << 20) + 1}),
                 RLX_INVALID_ARGUMENT, "1048577 tokens: a step has at most 1048576");
    const rlx_ladder other = {"FRAMES", 1, {8}}, down = {"SEQ", 2, {16, 8}};
    assert_error(rlx_model_make_plan(&(rlx_model_options){.ladders = &other, .nladders = 1}, &p),
                 RLX_INVALID_ARGUMENT, "has buckets of SEQ and BATCH, not of FRAMES");
    assert_error(rlx_model_make_plan(&(rlx_model_options){.ladders = &down, .nladders = 1}, &p),
                 RLX_INVALID_ARGUMENT, "the ladder of SEQ: 8 after 16 does not ascend");
}
END_TEST

/* ---- bits ------------------------------------------------------------------------------------ */

static const int64_t lengths[] = {2, 16, 17, 127, 150};
enum { NLENGTHS = sizeof lengths / sizeof *lengths };

/* Of each length, against code that was compiled for it alone. Three buckets serve all. */
START_TEST(any_length_has_the_bits_of_its_own_code)
{
    rlx_context *cx = make_context("cpu", shared);
    int64_t before;
    rlx_model *m = load(cx, &(rlx_model_options){.ladders = ladders, .nladders = 1});
    float *got = new_logits(m, MOST), *want = new_logits(m, MOST);
    for (int i = 0; i < NLENGTHS; i++) {
        const int64_t n = lengths[i];
        rlx_model *exact = load(cx, &(rlx_model_options){.prefill = n});
        step(cx, exact, n, n, want);
        before = count_made(cx);
        step(cx, m, n, n, got);
        ck_assert_int_eq(count_made(cx) - before, i == 0 || n == 17);
        EXPECT_ROWS(got, want, n, m);
        rlx_model_destroy(exact);
    }
    rlx_model_info info;
    rlx_model_get_info(m, &info);
    ck_assert_int_eq(info.seq.n, 3);
    ck_assert_int_eq(info.seq.upper[2], info.prefill);
    rlx_model_destroy(m);
    free(got);
    free(want);
    rlx_context_destroy(cx);
}
END_TEST

/* In a fast model: sequences that decode together, in twos, fours and the one that is left. */
START_TEST(any_batch_has_the_bits_of_one)
{
    enum { SEQS = 7 };
    rlx_context *cx = make_context("cpu", shared);
    rlx_model *m =
        load(cx, &(rlx_model_options){.ladders = ladders, .nladders = 2, .precision = RLX_FAST});
    float *got = new_logits(m, SEQS), *want = new_logits(m, 1);
    int32_t ids[SEQS], seq[SEQS], rows[SEQS];
    for (int32_t q = 0; q < SEQS; q++)
        ids[q] = token(q), seq[q] = rows[q] = q;
    for (int64_t n = 1; n <= SEQS; n++) {
        rlx_session *s;
        assert_ok(rlx_session_create(
            cx, &(rlx_session_options){.max_positions = 64, .max_sequences = SEQS}, &s));
        const rlx_model_batch b = {
            .tokens = n, .ids = ids, .seq = seq, .rows = n, .row_index = rows};
        assert_ok(rlx_model_step_batch(m, s, &b, got));
        rlx_session_destroy(s);
        for (int64_t q = 0; q < n; q++) {
            assert_ok(rlx_session_create(
                cx, &(rlx_session_options){.max_positions = 64, .max_sequences = 1}, &s));
            assert_ok(rlx_model_step(m, s, 0, &ids[q], 1, 1, want));
            rlx_session_destroy(s);
            EXPECT_ROWS(got + q * m->width, want, 1, m);
        }
    }
    ck_assert_int_eq(count_made(cx), 3); /* of one, two and four */
    rlx_model_destroy(m);
    free(got);
    free(want);
    rlx_context_destroy(cx);
}
END_TEST

/* ---- work ------------------------------------------------------------------------------------ */

typedef struct work {
    rlx_lir_cost cost; /* loops whose bounds are data run once */
    int64_t flops;     /* without those loops */
} work;

/* What the flow's tape does for n tokens when it was compiled for `upper`, by the text of its kernels: loops and grids with
 * the extents that are live, tiles counted whole. */
static work count(rlx_context *cx, const rlx_model *m, int64_t upper, int64_t n)
{
    const rlx_bucket buckets[] = {{"TOKENS", upper}, {"ROWS", upper}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = 2};
    rlx_compilation c;
    rlx_lir_cost known;
    work w;
    int64_t live[RLX_MAX_SYMBOLS];
    assert_ok(rlx_compilation_run(&c, cx, m->flow, m->weights, &o, RLX_LEVEL_LIR));
    for (int i = 0; i < rlx_dim_symbol_count(c.dims); i++) {
        const char *name = rlx_dim_symbol_name(c.dims, i);
        live[i] = !strcmp(name, "TOKENS") || !strcmp(name, "ROWS") ? n : 1;
    }
    assert_ok(rlx_lir_count_cost(rlx_ir_func_find(c.lir, RLX_ENTRY), live, 1, &w.cost));
    assert_ok(rlx_lir_count_cost(rlx_ir_func_find(c.lir, RLX_ENTRY), live, 0, &known));
    w.flops = known.flops;
    rlx_compilation_deinit(&c);
    return w;
}

/* Attention by blocks of tokens counts a run for every token that a block may have: blocks that are live have fewer than
 * twice the tokens. */
static void expect_live_blocks(rlx_context *cx, const rlx_model *m, int64_t upper, int64_t n)
{
    const work live = count(cx, m, upper, n), full = count(cx, m, upper, upper);
    ck_assert_int_gt(full.cost.flops, full.flops);
    ck_assert_int_lt((live.cost.flops - live.flops) * upper,
                     2 * n * (full.cost.flops - full.flops));
}

/* The same in a larger bucket, and as much as code for that length does: but for the last tile of rows, 3 to 12 high.
 * (From buckets of 32 tokens on attention is another kernel, whose blocks grow with the bucket, the more so the fewer
 * cores there are, and whose loops go by data.) */
START_TEST(padding_is_no_work)
{
    static const struct {
        int64_t n, bucket, larger;
    } counted[] = {{1, 16, 31},  {2, 16, 31},    {5, 16, 31},     {15, 16, 31},
                   {16, 16, 31}, {33, 256, 512}, {100, 256, 512}, {127, 256, 512}};
    enum { TILE = 12, BLOCKS = 32 };
    rlx_context *cx = make_context("cpu", shared);
    rlx_model *m = load(cx, NULL);
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        const int64_t n = counted[i].n, larger = counted[i].larger;
        const work own = count(cx, m, n, n), in = count(cx, m, counted[i].bucket, n),
                   more = count(cx, m, larger, n);
        const int64_t token = own.flops / n;
        ck_assert_int_eq(in.flops, more.flops);
        if (larger < BLOCKS)
            ck_assert_int_eq(in.cost.flops, more.cost.flops);
        else
            expect_live_blocks(cx, m, larger, n);
        ck_assert_int_eq(in.cost.bytes_written, more.cost.bytes_written);
        if (n > 8) /* a few rows are normalised where they are used */
            ck_assert_int_eq(in.cost.bytes_written, own.cost.bytes_written);
        ck_assert_msg(in.flops < own.flops + TILE * token,
                      "%lld tokens: %lld operations, by code of its own %lld", (long long)n,
                      (long long)in.flops, (long long)own.flops);
    }
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
}
END_TEST

/* The interpreter knows the live shape of every buffer and refuses what lies behind it: not one access of a run in a
 * larger bucket does. */
START_TEST(padding_is_not_touched)
{
    rlx_context *cx = make_context("cpu", shared), *ref = make_context("ref:lir", NULL);
    const rlx_model_options o = {.ladders = ladders, .nladders = 1};
    rlx_model *m = load(cx, &o), *slow = load(ref, &o);
    float *got = new_logits(m, 1), *want = new_logits(m, 1);
    step(cx, m, 17, 1, want);
    step(ref, slow, 17, 1, got);
    EXPECT_ROWS(got, want, 1, m);
    rlx_model_destroy(slow);
    rlx_model_destroy(m);
    free(got);
    free(want);
    rlx_context_destroy(ref);
    rlx_context_destroy(cx);
}
END_TEST

/* ---- when they are compiled ------------------------------------------------------------------ */

enum { THREADS = 4 };

typedef struct runner {
    pthread_t thread;
    rlx_context *cx;
    rlx_model *m;
    int64_t n;
    float *out;
    rlx_status status;
} runner;

/* Asserts nothing: it runs on threads. */
static void *run(void *user)
{
    runner *r = user;
    int32_t ids[MOST];
    rlx_session *s = NULL;
    for (int64_t i = 0; i < r->n; i++)
        ids[i] = token(i);
    r->status = rlx_session_create(r->cx, &(rlx_session_options){.max_positions = 256}, &s);
    if (!r->status)
        r->status = rlx_model_step(r->m, s, 0, ids, r->n, 1, r->out);
    rlx_session_destroy(s);
    return NULL;
}

/* Whoever comes first compiles, and the others wait: each bucket once. */
START_TEST(threads_compile_each_once)
{
    runner r[THREADS];
    rlx_context *cx = make_context("cpu", shared);
    rlx_model *m = load(cx, &(rlx_model_options){.ladders = ladders, .nladders = 1});
    ck_assert_int_eq(count_made(cx), 1); /* no text was said: the one that decodes */
    for (int i = 0; i < THREADS; i++) {
        r[i] = (runner){.cx = cx, .m = m, .n = i % 2 ? 40 : 9, .out = new_logits(m, 1)};
        ck_assert_int_eq(pthread_create(&r[i].thread, NULL, run, &r[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(r[i].thread, NULL);
        assert_ok(r[i].status);
        EXPECT_ROWS(r[i].out, r[i % 2].out, 1, m);
    }
    ck_assert_int_eq(count_made(cx), 3);
    for (int i = 0; i < THREADS; i++)
        free(r[i].out);
    assert_ok(rlx_model_compile(m)); /* nothing is left */
    ck_assert_int_eq(count_made(cx), 3);
    rlx_model_destroy(m);
    m = load(cx, &(rlx_model_options){.ladders = ladders, .nladders = 1});
    ck_assert_int_eq(count_made(cx), 4);
    assert_ok(rlx_model_compile(m));
    ck_assert_int_eq(count_made(cx), 6);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
}
END_TEST

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

/* Two ladders share what they have in common; what is missing where nothing may be compiled is named, with the field that
 * differs from the nearest that is there. */
START_TEST(a_missing_bucket_is_named)
{
    char dir[] = "/tmp/rlx-buckets-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    rlx_context *cx = make_context("cpu", dir);
    const rlx_ladder other = {"SEQ", 3, {1, 16, 64}};
    rlx_model_options o = {.ladders = ladders, .nladders = 1};
    rlx_context_stats stats;
    assert_ok(rlx_model_warm(cx, BUNDLED, &o, NULL));
    rlx_model *m = load(cx, &(rlx_model_options){.ladders = &other, .nladders = 1});
    float *out = new_logits(m, 1);
    step(cx, m, 12, 1, out);
    rlx_context_get_stats(cx, &stats);
    ck_assert_int_eq(stats.compiled, 0);
    ck_assert_int_eq(stats.loaded, 2);
    assert_ok(rlx_cache_seal(rlx_context_cache(cx), true));
    int32_t ids[40] = {0};
    rlx_session *s;
    assert_ok(rlx_session_create(cx, NULL, &s));
    assert_ok(rlx_model_step(m, s, 0, ids, 16, 1, out));
    rlx_status st = rlx_model_step(m, s, 0, ids, 40, 1, out);
    char *text = rlx_status_text(st);
    static const char *const says[] = {"the bucket prefill of 64 tokens",
                                       "TOKENS 64, ROWS 64, exact", "the cache is sealed",
                                       "differs in 2 fields", "wanted TOKENS 64"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        ck_assert_msg(text && strstr(text, says[i]), "no \"%s\" in %s", says[i], text);
    free(text);
    rlx_status_free(st);
    ck_assert_int_eq(rlx_session_past(s, 0), 16);
    rlx_session_destroy(s);
    free(out);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

/* ---- flows of one's own ---------------------------------------------------------------------- */

enum { H = 24, OUT = 10 };

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *f;
    float norm[H], proj[OUT * H], x[8 * 40 * H];
} world;

/* x [BATCH,SEQ,H] or [TOKENS,H] -> norm, linear -> y */
static void make_world(world *t, int rank)
{
    t->cx = make_context("cpu", shared);
    assert_ok(rlx_weights_create(&t->w));
    for (int i = 0; i < H; i++)
        t->norm[i] = 1 + (float)(i % 3) / 4;
    for (int i = 0; i < OUT * H; i++)
        t->proj[i] = (float)(i * 37 % 19 - 9) / 8;
    for (int i = 0; i < 8 * 40 * H; i++)
        t->x[i] = (float)(i * 101 % 23 - 11) / 16;
    const rlx_tensor norm = {"norm", RLX_F32, 1, {H}, t->norm, sizeof t->norm};
    const rlx_tensor proj = {"proj", RLX_F32, 2, {OUT, H}, t->proj, sizeof t->proj};
    assert_ok(rlx_weights_add(t->w, &norm));
    assert_ok(rlx_weights_add(t->w, &proj));
    assert_ok(rlx_flow_create("encoder", &t->f));
    const int64_t tokens[] = {rlx_flow_symbol(t->f, rank == 2 ? "TOKENS" : "BATCH"),
                              rank == 2 ? H : rlx_flow_symbol(t->f, "SEQ"), H};
    rlx_flow_input(t->f, "x", RLX_F32, rank, tokens);
    rlx_flow_rms_norm(t->f, "norm", 1e-5);
    rlx_flow_linear(t->f, "proj", NULL);
    rlx_flow_output(t->f, "y");
}

static void free_world(world *t)
{
    rlx_flow_destroy(t->f);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
}

static rlx_tensor input(const world *t, int rank, int64_t batch, int64_t seq)
{
    rlx_tensor in = {.name = "x", .format = RLX_F32, .rank = rank, .data = t->x};
    if (rank == 2)
        in.dim[0] = batch * seq, in.dim[1] = H;
    else
        in.dim[0] = batch, in.dim[1] = seq, in.dim[2] = H;
    in.bytes = sizeof(float) * (size_t)(batch * seq * H);
    return in;
}

/* y by the ladders against y by code for these extents alone. */
static void expect_same(const world *t, rlx_executables *x, int rank, int64_t batch, int64_t seq)
{
    rlx_execution_options o;
    rlx_executable *e;
    rlx_session *a, *b;
    rlx_tensor got, want, in = input(t, rank, batch, seq);
    assert_ok(rlx_execution_resolve(
        &(rlx_execution){.phase = RLX_RUN_ENCODE, .batch = batch, .seq = seq}, t->f, NULL, 0, &o));
    assert_ok(rlx_flow_compile(t->cx, t->f, t->w, &o.options, NULL, &e));
    assert_ok(rlx_session_create(t->cx, NULL, &a));
    assert_ok(rlx_session_create(t->cx, NULL, &b));
    assert_ok(rlx_executables_run(x, a, &in, 1));
    assert_ok(rlx_executable_run(e, b, &in, 1));
    assert_ok(rlx_session_output(a, "y", &got));
    assert_ok(rlx_session_output(b, "y", &want));
    ck_assert_uint_eq(got.bytes, want.bytes);
    ck_assert_uint_eq(got.bytes, sizeof(float) * (size_t)(batch * seq * OUT));
    ck_assert_mem_eq(got.data, want.data, got.bytes);
    rlx_session_destroy(a);
    rlx_session_destroy(b);
    rlx_executable_destroy(e);
}

static int count_compiled(const rlx_executables *x)
{
    rlx_executables_bucket b;
    int n = 0;
    for (int i = 0; i < rlx_executables_count(x); i++) {
        rlx_executables_at(x, i, &b);
        ck_assert(!b.compiled || b.stats.kernels > 0);
        n += b.compiled;
    }
    return n;
}

START_TEST(flows_have_ladders)
{
    static const struct {
        int64_t batch, seq;
        int compiled; /* of the six, after it */
    } runs[] = {{1, 1, 1}, {1, 8, 1}, {1, 3, 1}, {2, 9, 2}, {4, 8, 3}, {1, 9, 4}, {1, 31, 5}};
    const rlx_ladder l[] = {{"batch", 2, {1, 4}}, {"Seq", 3, {8, 16, 40}}};
    world t;
    rlx_executables *x;
    rlx_executables_bucket b;
    make_world(&t, 3);
    const rlx_execution e = {.phase = RLX_RUN_ENCODE};
    assert_ok(rlx_executables_create(t.cx, t.f, t.w, &e, l, 2, NULL, &x));
    ck_assert_int_eq(rlx_executables_count(x), 6);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        expect_same(&t, x, 3, runs[i].batch, runs[i].seq);
        ck_assert_int_eq(count_compiled(x), runs[i].compiled);
    }
    rlx_executables_at(x, 5, &b);
    ck_assert_int_eq(b.nbuckets, 2);
    ck_assert_int_eq(b.buckets[0].upper, 4);
    ck_assert_int_eq(b.buckets[1].upper, 40);
    rlx_session *s;
    assert_ok(rlx_session_create(t.cx, NULL, &s));
    rlx_tensor in = input(&t, 3, 1, 41);
    assert_error(rlx_executables_run(x, s, &in, 1), RLX_EXHAUSTED,
                 "SEQ is 41, and the largest bucket of encoder holds 40");
    in = input(&t, 3, 5, 8);
    assert_error(rlx_executables_run(x, s, &in, 1), RLX_EXHAUSTED, "BATCH is 5");
    assert_ok(rlx_executables_compile(x));
    ck_assert_int_eq(count_compiled(x), 6);
    rlx_session_destroy(s);
    rlx_executables_destroy(x);
    free_world(&t);
}
END_TEST

/* TOKENS is batch * seq; a ladder of its own wins; without any there is one bucket. */
START_TEST(tokens_follow_from_seq)
{
    const rlx_ladder seq = {"SEQ", 2, {4, 20}}, tokens = {"TOKENS", 3, {1, 2, 30}};
    const rlx_ladder frames = {"FRAMES", 1, {4}}, twice[] = {{"SEQ", 1, {4}}, {"seq", 1, {8}}};
    const rlx_execution e = {.phase = RLX_RUN_ENCODE, .batch = 2, .seq = 6};
    rlx_executables_bucket b;
    rlx_executables *x;
    world t;
    make_world(&t, 2);
    assert_ok(rlx_executables_create(t.cx, t.f, t.w, &e, &seq, 1, NULL, &x));
    expect_same(&t, x, 2, 2, 9);
    rlx_executables_at(x, 1, &b);
    ck_assert_int_eq(b.buckets[0].upper, 40);
    ck_assert(b.compiled);
    rlx_executables_destroy(x);
    assert_ok(rlx_executables_create(t.cx, t.f, t.w, &e, &tokens, 1, NULL, &x));
    expect_same(&t, x, 2, 1, 2);
    rlx_executables_at(x, 1, &b);
    ck_assert(b.compiled && b.buckets[0].upper == 2);
    rlx_executables_destroy(x);
    assert_ok(rlx_executables_create(t.cx, t.f, t.w, &e, NULL, 0, NULL, &x));
    ck_assert_int_eq(rlx_executables_count(x), 1);
    expect_same(&t, x, 2, 2, 6);
    rlx_executables_destroy(x);
    assert_error(rlx_executables_create(t.cx, t.f, t.w, &e, &frames, 1, NULL, &x),
                 RLX_INVALID_ARGUMENT, "the ladder of FRAMES: the flow has no such symbol");
    const rlx_ladder rows = {"ROWS", 1, {4}}; /* nothing selects any */
    assert_error(rlx_executables_create(t.cx, t.f, t.w, &e, &rows, 1, NULL, &x),
                 RLX_INVALID_ARGUMENT, "the ladder of ROWS: the flow has no such symbol");
    assert_error(rlx_executables_create(t.cx, t.f, t.w, &e, twice, 2, NULL, &x),
                 RLX_INVALID_ARGUMENT, "the ladder of seq is there twice");
    ck_assert_ptr_null(x);
    free_world(&t);
}
END_TEST

int main(void)
{
    if (!mkdtemp(shared))
        return EXIT_FAILURE;
    Suite *s = suite_create("buckets");
    TCase *t = tcase_create("buckets");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, takes_the_least_that_holds, 0, NCHOICES);
    tcase_add_test(t, plans);
    tcase_add_test(t, any_length_has_the_bits_of_its_own_code);
    tcase_add_test(t, any_batch_has_the_bits_of_one);
    tcase_add_test(t, padding_is_no_work);
    tcase_add_test(t, padding_is_not_touched);
    tcase_add_test(t, threads_compile_each_once);
    tcase_add_test(t, a_missing_bucket_is_named);
    tcase_add_test(t, flows_have_ladders);
    tcase_add_test(t, tokens_follow_from_seq);
    suite_add_tcase(s, t);
    const int code = run_suite(s, NCHOICES + 9);
    nftw(shared, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}
