/* bench/batches.c: a few rows at a time, as sequences that decode together have them: what the
 * matrices of a Llama-3.2-1B layer take, beside the larger of two floors.
 *
 *   batches [-t THREADS] [-r REPEATS] [FORMAT...]
 *
 * Layers of q, o, gate, up and down in one format, two or so many that they are twice what the
 * caches hold, activations quantized (fast), by the kernels that decode. The floors are measured
 * before every repetition: the weights' bytes over how fast the same memory is read, and the
 * products over what the unit that computes them can do: products of bytes for blocks, else of
 * f32. Times are of two layers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/options.h"
#include "bench/random_weights.h"
#include "frontend/rlx.h"
#include "frontend/tool/ceilings.h"

enum { HIDDEN = 2048, INNER = 8192, TIMED_LAYERS = 2, MOST_LAYERS = 32, MATRICES = 5, ROWS = 16 };

#define TRY(expr)                \
    do {                         \
        rlx_status st_ = (expr); \
        if (st_)                 \
            return st_;          \
    } while (0)

static const rlx_format formats[] = {RLX_F16,  RLX_BF16, RLX_Q8_0,   RLX_Q4_0, RLX_Q4_K,
                                     RLX_Q5_K, RLX_Q6_K, RLX_IQ4_XS, RLX_MXFP4};
static const int64_t row_counts[] = {1, 2, 4, 8, 16};
enum { FORMATS = sizeof formats / sizeof *formats, COUNTS = 5 };

static const struct {
    const char *name;
    int64_t n, k;
} matrices[MATRICES] = {{"q", HIDDEN, HIDDEN},
                        {"o", HIDDEN, HIDDEN},
                        {"gate", INNER, HIDDEN},
                        {"up", INNER, HIDDEN},
                        {"down", HIDDEN, INNER}};

typedef struct bench {
    bench_options o;
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *exe[2]; /* of one row, of several */
    rlx_session *session;
    int layers;
    byte_span span[MOST_LAYERS * MATRICES];
    double bytes;
} bench;

/* ---- the flow */

static rlx_value *linear(rlx_builder *b, rlx_value *x, const char *name)
{
    return rlx_build_linear(b, x, rlx_build_weight(b, name), NULL);
}

static rlx_value *layer(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    x = linear(b, linear(b, rlx_build_rms_norm_shifted(b, x, NULL, 1e-6, 0), "q.{}"), "o.{}");
    x = rlx_build_rms_norm_shifted(b, x, NULL, 1e-6, 0);
    rlx_value *gate = rlx_build_activation(b, RLX_ACT_SILU, 0, 0, linear(b, x, "gate.{}"));
    return linear(b, rlx_build_map2(b, RLX_MAP_MUL, gate, linear(b, x, "up.{}")), "down.{}");
}

static void add_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_custom(f, "layer", layer, NULL);
}

static rlx_status make_flow(int layers, rlx_flow **out)
{
    TRY(rlx_flow_create("batches", out));
    const int64_t dims[2] = {rlx_flow_symbol(*out, "TOKENS"), HIDDEN};
    rlx_flow_input(*out, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(*out, layers, add_layer, NULL);
    rlx_flow_output(*out, "y");
    return RLX_OK;
}

/* ---- weights */

static rlx_status add_matrix(bench *b, const weight_format *f, int layer_index, int i)
{
    char name[16];
    const size_t bytes =
        (size_t)(matrices[i].n * matrices[i].k) / (size_t)f->block_elems * f->block_bytes;
    uint8_t *data = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    if (!data) {
        fprintf(stderr, "batches: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    fill_random(f, data, bytes);
    b->span[layer_index * MATRICES + i] = (byte_span){(const char *)data, bytes};
    b->bytes += (double)bytes;
    snprintf(name, sizeof name, "%s.%d", matrices[i].name, layer_index);
    const rlx_tensor t = {.name = name,
                          .format = f->format,
                          .rank = 2,
                          .dim = {matrices[i].n, matrices[i].k},
                          .data = data,
                          .bytes = bytes};
    return rlx_weights_add(b->w, &t);
}

/* Weights that a cache keeps from one repetition to the next are no weights of a model. */
static int count_layers(const weight_format *f)
{
    rlx_device_info cpu;
    const double elems = 2.0 * HIDDEN * HIDDEN + 3.0 * HIDDEN * INNER;
    const double layer = elems / (double)f->block_elems * (double)f->block_bytes;
    int layers = TIMED_LAYERS;
    rlx_device_get_info(0, &cpu);
    while (layers < MOST_LAYERS && layers * layer < 2.0 * (double)cpu.l3_bytes)
        layers++;
    return layers;
}

static rlx_status make_weights(bench *b, const weight_format *f)
{
    TRY(rlx_weights_create(&b->w));
    for (int l = 0; l < b->layers; l++)
        for (int i = 0; i < MATRICES; i++)
            TRY(add_matrix(b, f, l, i));
    return RLX_OK;
}

static rlx_status compile(bench *b, int64_t rows, rlx_executable **out)
{
    const rlx_bucket bucket = {"TOKENS", rows};
    const rlx_compile_options o = {
        .buckets = &bucket, .nbuckets = 1, .precision = RLX_FAST, .phase = RLX_DECODE};
    rlx_compile_stats stats;
    return rlx_flow_compile(b->cx, b->flow, b->w, &o, &stats, out);
}

static rlx_status open_bench(bench *b, const weight_format *f)
{
    b->layers = count_layers(f);
    TRY(make_weights(b, f));
    TRY(make_flow(b->layers, &b->flow));
    TRY(compile(b, 1, &b->exe[0]));
    TRY(compile(b, ROWS, &b->exe[1]));
    return rlx_session_create(b->cx, &(rlx_session_options){.max_positions = 1}, &b->session);
}

static void close_bench(bench *b)
{
    rlx_session_destroy(b->session);
    for (int i = 0; i < 2; i++)
        rlx_executable_destroy(b->exe[i]);
    rlx_flow_destroy(b->flow);
    rlx_weights_destroy(b->w);
    for (int i = 0; i < b->layers * MATRICES; i++)
        free((void *)(uintptr_t)b->span[i].data);
}

/* ---- measuring */

typedef struct ceilings {
    double read, f32, bytes;
} ceilings;

static void raise(double *best, double rate)
{
    if (rate > *best)
        *best = rate;
}

static void measure_ceilings(const bench *b, ceilings *best)
{
    const ceiling_unit *units[CEILING_MAX_UNITS];
    const size_t n = ceiling_units(rlx_context_device(b->cx), units);
    raise(&best->read, ceiling_read(b->span, (size_t)b->layers * MATRICES, b->o.threads, 1, 1));
    for (size_t i = 0; i < n; i++) {
        const double rate = ceiling_unit_rate(units[i], b->o.threads, 1);
        if (units[i]->f32)
            raise(&best->f32, rate);
        if (!strncmp(units[i]->name, "int8", 4))
            raise(&best->bytes, rate);
    }
}

static rlx_status time_rows(const bench *b, const float *x, int64_t rows, double *seconds)
{
    const rlx_tensor in = {.name = "x",
                           .format = RLX_F32,
                           .rank = 2,
                           .dim = {rows, HIDDEN},
                           .data = x,
                           .bytes = sizeof(float) * (size_t)(rows * HIDDEN)};
    const double begin = ceiling_now();
    TRY(rlx_executable_run(b->exe[rows > 1], b->session, &in, 1));
    *seconds = (ceiling_now() - begin) * TIMED_LAYERS / b->layers;
    return RLX_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const bench *b, const char *format, bool blocks, int64_t rows, double seconds,
                      const ceilings *c)
{
    const double elems = TIMED_LAYERS * (2.0 * HIDDEN * HIDDEN + 3.0 * HIDDEN * INNER);
    const double work = 2 * elems * (double)rows, peak = blocks ? c->bytes : c->f32;
    const double bytes = b->bytes * TIMED_LAYERS / b->layers;
    const double read = bytes / c->read, compute = work / peak;
    const double floor = read > compute ? read : compute;
    printf("| %s | %d | %lld | %.2f | %.1f | %.1f | %.2f of %.1f | %.2f of %.0f | %.2f |\n", format,
           b->o.threads, (long long)rows, 1e3 * seconds, bytes / seconds / 1e9,
           work / seconds / 1e9, 1e3 * read, c->read / 1e9, 1e3 * compute, peak / 1e9,
           seconds / floor);
    fflush(stdout);
}

static rlx_status measure(bench *b, const weight_format *f)
{
    static float x[ROWS * HIDDEN];
    double seconds[COUNTS][BENCH_MAX_REPEATS];
    uint64_t random = 99;
    ceilings best = {0};
    for (int i = 0; i < ROWS * HIDDEN; i++)
        x[i] = (float)(next_random(&random) >> 40) * 0x1p-23f - 1;
    for (int r = -1; r < b->o.repeats; r++) { /* the first warms up */
        measure_ceilings(b, &best);
        for (int i = 0; i < COUNTS; i++)
            TRY(time_rows(b, x, row_counts[i], &seconds[i][r < 0 ? 0 : r]));
    }
    for (int i = 0; i < COUNTS; i++) {
        qsort(seconds[i], (size_t)b->o.repeats, sizeof *seconds[i], by_value);
        print_row(b, f->name, f->block_elems > 1, row_counts[i], seconds[i][b->o.repeats / 2],
                  &best);
    }
    return RLX_OK;
}

static rlx_status measure_format(rlx_context *cx, const bench_options *o, const weight_format *f)
{
    bench b = {.o = *o, .cx = cx};
    rlx_status st = open_bench(&b, f);
    if (!st)
        st = measure(&b, f);
    close_bench(&b);
    return st;
}

static bool is_asked_for(const char *name, char **names, int n)
{
    bool asked = n == 0;
    for (int i = 0; i < n; i++)
        asked |= !strcmp(name, names[i]);
    return asked;
}

int main(int argc, char **argv)
{
    bench_options o;
    const int at =
        bench_read_options(argc, argv, "batches [-t THREADS] [-r REPEATS] [FORMAT...]", &o);
    if (!at)
        return 2;
    rlx_context *cx = NULL;
    rlx_status st = rlx_context_create(&(rlx_context_options){.threads = o.threads}, &cx);
    printf("| format | threads | rows | ms | GB/s | GFLOP/s | ms of reading, at GB/s | ms of "
           "products, "
           "at GFLOP/s | times the floor |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < FORMATS && !st; i++) {
        const weight_format *f = weight_format_get(formats[i]);
        if (f && is_asked_for(f->name, argv + at, argc - at))
            st = measure_format(cx, &o, f);
    }
    return bench_end("batches", st, cx);
}
