/* bench/experts.c: a mixture of experts alone: tokens per second, and what shares of the machine's
 * ceilings that is, measured before every repetition.
 *
 *   experts [-t THREADS] [-r REPEATS] [FORMAT [TOKENS]]
 *
 * 32 experts of which a token goes to 4, as gate, up and down with 2048 features and 768 within: four
 * layers of them with one set of weights, a norm between, so that each chooses anew. Beside it what
 * a token reads and computes without a choice: eight dense blocks of four experts' size, one after
 * the other. One token is a decode step, more are a prompt; activations are quantized (fast). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/options.h"
#include "bench/random_weights.h"
#include "frontend/rlx.h"
#include "frontend/tool/ceilings.h"

enum { EXPERTS = 32, CHOSEN = 4, HIDDEN = 2048, INNER = 768, LAYERS = 4 };
enum { DENSE = EXPERTS / CHOSEN, RUN_SHARE = 8 };

#define TRY(expr)                \
    do {                         \
        rlx_status st_ = (expr); \
        if (st_)                 \
            return st_;          \
    } while (0)

static const struct {
    const char *name;
    rlx_format format;
} formats[] = {{"q4_k", RLX_Q4_K}, {"mxfp4", RLX_MXFP4}, {"bf16", RLX_BF16}};
static const int64_t token_counts[] = {1, 64, 512};
enum { FORMATS = sizeof formats / sizeof *formats, COUNTS = 3 };

/* The weights, and their bytes as blocks of EXPERTS matrices. */
typedef struct weights {
    rlx_weights *set;
    char *data[3]; /* gate, up, down */
    size_t bytes;  /* of each */
    float *router;
} weights;

static void *need(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p) {
        fprintf(stderr, "experts: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

/* ---- flows */

static rlx_value *moe(rlx_builder *b, rlx_value *x, void *user)
{
    const rlx_moe_weights w = {.router = rlx_build_weight(b, "router"),
                               .gate = rlx_build_weight(b, "gate"),
                               .up = rlx_build_weight(b, "up"),
                               .down = rlx_build_weight(b, "down")};
    const rlx_route_spec spec = {.count = CHOSEN, .normalize = true};
    (void)user;
    return rlx_build_moe(b, rlx_build_rms_norm_shifted(b, x, NULL, 1e-6, 0), &w, &spec);
}

static rlx_value *mlp(rlx_builder *b, rlx_value *x, void *user)
{
    x = rlx_build_rms_norm_shifted(b, x, NULL, 1e-6, 0);
    rlx_value *gate = rlx_build_linear(b, x, rlx_build_weight(b, "gate.{}"), NULL);
    rlx_value *up = rlx_build_linear(b, x, rlx_build_weight(b, "up.{}"), NULL);
    (void)user;
    rlx_value *act =
        rlx_build_map2(b, RLX_MAP_MUL, rlx_build_activation(b, RLX_ACT_SILU, 0, 0, gate), up);
    return rlx_build_linear(b, act, rlx_build_weight(b, "down.{}"), NULL);
}

static void moe_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_custom(f, "moe", moe, NULL);
}

static void mlp_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_custom(f, "mlp", mlp, NULL);
}

static rlx_status make_flow(bool dense, rlx_flow **out)
{
    TRY(rlx_flow_create(dense ? "dense" : "experts", out));
    const int64_t dims[2] = {rlx_flow_symbol(*out, "TOKENS"), HIDDEN};
    rlx_flow_input(*out, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(*out, dense ? DENSE : LAYERS, dense ? mlp_layer : moe_layer, NULL);
    rlx_flow_output(*out, "y");
    return RLX_OK;
}

/* ---- weights */

static rlx_status add(weights *w, const char *name, rlx_format f, int rank, const int64_t *dim,
                      const void *data, size_t bytes)
{
    rlx_tensor t = {.name = name, .format = f, .rank = rank, .data = data, .bytes = bytes};
    memcpy(t.dim, dim, sizeof *dim * (size_t)rank);
    return rlx_weights_add(w->set, &t);
}

/* Matrix `i` of gate, up and down: as experts, and a share of the same bytes for each dense block. */
static rlx_status add_matrix(weights *w, const weight_format *f, int i, bool dense)
{
    static const char *const names[] = {"gate", "up", "down"};
    const int64_t n = i < 2 ? INNER : HIDDEN, k = i < 2 ? HIDDEN : INNER;
    char name[16];
    if (!dense)
        return add(w, names[i], f->format, 3, (int64_t[]){EXPERTS, n, k}, w->data[i], w->bytes);
    const int64_t rows = i < 2 ? n * CHOSEN : n, columns = i < 2 ? k : k * CHOSEN;
    for (int d = 0; d < DENSE; d++) {
        snprintf(name, sizeof name, "%s.%d", names[i], d);
        TRY(add(w, name, f->format, 2, (int64_t[]){rows, columns},
                w->data[i] + (size_t)d * (w->bytes / DENSE), w->bytes / DENSE));
    }
    return RLX_OK;
}

static void fill(weights *w, const weight_format *f)
{
    uint64_t random = 7;
    w->bytes = (size_t)EXPERTS * INNER * HIDDEN / (size_t)f->block_elems * f->block_bytes;
    w->router = need(sizeof(float) * EXPERTS * HIDDEN);
    for (int i = 0; i < 3; i++) {
        w->data[i] = need(w->bytes);
        fill_random(f, (uint8_t *)w->data[i], w->bytes);
    }
    for (int i = 0; i < EXPERTS * HIDDEN; i++)
        w->router[i] = (float)(next_random(&random) >> 40) * 0x1p-23f - 1;
}

static rlx_status make_sets(weights *w, bool dense, const weight_format *f)
{
    TRY(rlx_weights_create(&w->set));
    for (int i = 0; i < 3; i++)
        TRY(add_matrix(w, f, i, dense));
    return dense ? RLX_OK
                 : add(w, "router", RLX_F32, 2, (int64_t[]){EXPERTS, HIDDEN}, w->router,
                       sizeof(float) * EXPERTS * HIDDEN);
}

/* ---- measuring */

typedef struct subject {
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *exe;
    rlx_session *session;
    int blocks; /* of four experts' work, per token */
} subject;

static rlx_status open_subject(rlx_context *cx, weights *w, bool dense, const weight_format *f,
                               int64_t tokens, subject *s)
{
    const rlx_bucket bucket = {"TOKENS", tokens};
    const rlx_compile_options o = {.buckets = &bucket,
                                   .nbuckets = 1,
                                   .precision = RLX_FAST,
                                   .phase = tokens == 1 ? RLX_DECODE : RLX_PREFILL};
    rlx_compile_stats stats;
    TRY(make_sets(w, dense, f));
    s->w = w->set;
    s->blocks = dense ? DENSE : LAYERS;
    TRY(make_flow(dense, &s->flow));
    TRY(rlx_flow_compile(cx, s->flow, s->w, &o, &stats, &s->exe));
    return rlx_session_create(cx, &(rlx_session_options){.max_positions = 1}, &s->session);
}

static void close_subject(subject *s)
{
    rlx_session_destroy(s->session);
    rlx_executable_destroy(s->exe);
    rlx_flow_destroy(s->flow);
    rlx_weights_destroy(s->w);
}

/* Seconds of one block, on new tokens in every run. */
static rlx_status time_block(const subject *s, float *x, int64_t tokens, uint64_t *random,
                             double *seconds)
{
    const int runs = tokens == 1 ? RUN_SHARE : 1;
    const rlx_tensor in = {.name = "x",
                           .format = RLX_F32,
                           .rank = 2,
                           .dim = {tokens, HIDDEN},
                           .data = x,
                           .bytes = sizeof(float) * (size_t)(tokens * HIDDEN)};
    *seconds = 0;
    for (int i = 0; i < runs; i++) {
        for (int64_t e = 0; e < tokens * HIDDEN; e++)
            x[e] = (float)(next_random(random) >> 40) * 0x1p-23f - 1;
        const double begin = ceiling_now();
        TRY(rlx_executable_run(s->exe, s->session, &in, 1));
        *seconds += ceiling_now() - begin;
    }
    *seconds /= runs * s->blocks;
    return RLX_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

typedef struct ceilings {
    double read, operations;
} ceilings;

static void measure_ceilings(const rlx_context *cx, const weights *w, int threads, ceilings *best)
{
    const byte_span spans[3] = {
        {w->data[0], w->bytes}, {w->data[1], w->bytes}, {w->data[2], w->bytes}};
    const ceiling_unit *units[CEILING_MAX_UNITS];
    const size_t n = ceiling_units(rlx_context_device(cx), units);
    const double read = ceiling_read(spans, 3, threads, 1, 1);
    best->read = read > best->read ? read : best->read;
    for (size_t i = 0; i < n; i++) {
        const double rate = ceiling_unit_rate(units[i], threads, 1);
        best->operations = rate > best->operations ? rate : best->operations;
    }
}

static void print_row(const char *name, int64_t tokens, double block_bytes, const double *seconds,
                      const ceilings *c)
{
    const double operations = 2.0 * 3 * CHOSEN * INNER * HIDDEN * (double)tokens;
    const double read = block_bytes / seconds[0], rate = operations / seconds[0];
    printf("| %s | %lld | %.3f | %.2f | %.0f%% of %.1f | %.1f | %.0f%% of %.0f | %.2f |\n", name,
           (long long)tokens, 1e3 * seconds[0], read / 1e9, 100 * read / c->read, c->read / 1e9,
           rate / 1e9, 100 * rate / c->operations, c->operations / 1e9, seconds[1] / seconds[0]);
    fflush(stdout);
}

static rlx_status measure(rlx_context *cx, weights *w, const char *name, const weight_format *f,
                          int64_t tokens, const bench_options *o)
{
    subject s[2] = {0};
    uint64_t random = 99;
    double seconds[2][BENCH_MAX_REPEATS], medians[2];
    ceilings best = {0};
    float *x = need(sizeof(float) * (size_t)(tokens * HIDDEN));
    rlx_status st = RLX_OK;
    for (int d = 0; d < 2 && !st; d++)
        st = open_subject(cx, w, d, f, tokens, &s[d]);
    for (int r = -1; r < o->repeats && !st; r++) { /* the first warms up */
        measure_ceilings(cx, w, o->threads, &best);
        for (int d = 0; d < 2 && !st; d++)
            st = time_block(&s[d], x, tokens, &random, &seconds[d][r < 0 ? 0 : r]);
    }
    for (int d = 0; d < 2; d++) {
        medians[d] = st ? 0 : median(seconds[d], o->repeats);
        close_subject(&s[d]);
    }
    const double all = 3.0 * (double)w->bytes;
    if (!st)
        print_row(name, tokens, tokens == 1 ? all / DENSE : all, medians, &best);
    free(x);
    return st;
}

static rlx_status measure_format(rlx_context *cx, int which, int64_t only, const bench_options *o)
{
    const weight_format *f = weight_format_get(formats[which].format);
    weights w = {0};
    rlx_status st = RLX_OK;
    fill(&w, f);
    for (int i = 0; i < COUNTS && !st; i++)
        if (!only || token_counts[i] == only)
            st = measure(cx, &w, formats[which].name, f, token_counts[i], o);
    for (int i = 0; i < 3; i++)
        free(w.data[i]);
    free(w.router);
    return st;
}

int main(int argc, char **argv)
{
    bench_options o;
    const int at =
        bench_read_options(argc, argv, "experts [-t THREADS] [-r REPEATS] [FORMAT [TOKENS]]", &o);
    if (!at)
        return 2;
    const char *format = at < argc ? argv[at] : NULL;
    const int64_t only = at + 1 < argc ? atoll(argv[at + 1]) : 0;
    rlx_context *cx = NULL;
    rlx_status st = rlx_context_create(&(rlx_context_options){.threads = o.threads}, &cx);
    printf(
        "| format | tokens | ms | GB/s | of read | GFLOP/s | of the best unit | dense / experts |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < FORMATS && !st; i++)
        if (!format || !strcmp(format, formats[i].name))
            st = measure_format(cx, i, only, &o);
    return bench_end("experts", st, cx);
}
