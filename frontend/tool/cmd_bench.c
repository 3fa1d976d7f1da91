/* frontend/tool/cmd_bench.c: how fast a model runs, and what of this machine that is.
 *
 *   for threads { for row (pp, tg) { for repetition { read ceiling; fma ceiling; steps } } }
 *
 * Ceilings are measured in turns with the steps, on as many threads: what else runs on the machine
 * touches both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/tool/args.h"
#include "frontend/tool/ceilings.h"

enum { MAX_REPEATS = 1000, MAX_RUNS = 32, MAX_TOKENS = 1 << 20 };

typedef struct bench_options {
    run_where where;
    int64_t prompt, tokens, depth, repeats, prefill;
    const char *threads, *output;
} bench_options;

/* One row of the table. */
typedef struct bench_row {
    char name[64];
    int threads;
    int64_t tokens;
    double median, stddev, best; /* tokens per second */
    double bytes, operations;    /* of weights read, of contracting with them; per token */
    double read_peak, fma_peak;  /* ceilings: bytes, operations per second */
} bench_row;

typedef struct bench {
    const bench_options *o;
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    rlx_model_info info;
    byte_span *spans; /* the model's weights */
    size_t nspans;
    bool wide; /* vectors of 512 bits in use */
    float *logits;
    int32_t *ids;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- one repetition */

/* A sequence of `depth` tokens. */
static rlx_status rewind_to(bench *b, int64_t depth)
{
    rlx_session_reset(b->session);
    return depth ? rlx_model_step(b->model, b->session, 0, b->ids, depth, 0, NULL) : RLX_OK;
}

static rlx_status run_prompt(bench *b)
{
    return rlx_model_step(b->model, b->session, 0, b->ids, b->o->prompt, 1, b->logits);
}

static rlx_status run_tokens(bench *b)
{
    rlx_status st = NULL;
    for (int64_t i = 0; i < b->o->tokens && !st; i++)
        st = rlx_model_step(b->model, b->session, 0, b->ids + i, 1, 1, b->logits);
    return st;
}

/* ---- one row */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(double *rates, int n, bench_row *row)
{
    double mean = 0, squares = 0;
    qsort(rates, (size_t)n, sizeof *rates, by_value);
    for (int i = 0; i < n; i++)
        mean += rates[i] / n;
    for (int i = 0; i < n; i++)
        squares += (rates[i] - mean) * (rates[i] - mean);
    row->median = (rates[(n - 1) / 2] + rates[n / 2]) / 2;
    row->stddev = n > 1 ? sqrt(squares / (n - 1)) : 0;
    row->best = rates[n - 1];
}

static void measure_ceilings(const bench *b, bench_row *row)
{
    size_t bytes = 1;
    for (size_t i = 0; i < b->nspans; i++)
        bytes += b->spans[i].bytes;
    int passes = (int)(((size_t)256 << 20) / bytes) + 1; /* a trial takes some 10 ms at least */
    double read = ceiling_read(b->spans, b->nspans, row->threads, passes, 1);
    double fma = ceiling_fma(b->wide, row->threads, 1);
    row->read_peak = read > row->read_peak ? read : row->read_peak;
    row->fma_peak = fma > row->fma_peak ? fma : row->fma_peak;
}

/* `run` once to warm up, then the repetitions. */
static rlx_status measure(bench *b, rlx_status (*run)(bench *b), bench_row *row)
{
    double rates[MAX_REPEATS];
    int n = (int)b->o->repeats;
    for (int i = -1; i < n; i++) {
        if (i >= 0)
            measure_ceilings(b, row);
        rlx_status st = rewind_to(b, b->o->depth);
        double start = now();
        if (!st)
            st = run(b);
        if (st)
            return st;
        if (i >= 0)
            rates[i] = (double)row->tokens / (now() - start);
    }
    summarise(rates, n, row);
    return RLX_OK;
}

static void name_row(const bench *b, const char *what, int64_t tokens, bench_row *row)
{
    int n = snprintf(row->name, sizeof row->name, "%s%lld", what, (long long)tokens);
    if (b->o->depth)
        snprintf(row->name + n, sizeof row->name - (size_t)n, " @ d%lld", (long long)b->o->depth);
    row->tokens = tokens;
    row->threads = rlx_context_threads(b->cx);
}

static rlx_status measure_prompt(bench *b, bench_row *row)
{
    double tokens = (double)b->o->prompt;
    int64_t chunks = (b->o->prompt + b->info.prefill - 1) / b->info.prefill;
    name_row(b, "pp", b->o->prompt, row);
    row->bytes = (double)b->info.token_bytes * (double)chunks / tokens;
    row->operations = (double)b->info.token_operations + (double)b->info.row_operations / tokens;
    return measure(b, run_prompt, row);
}

static rlx_status measure_tokens(bench *b, bench_row *row)
{
    name_row(b, "tg", b->o->tokens, row);
    row->bytes = (double)b->info.token_bytes;
    row->operations = (double)(b->info.token_operations + b->info.row_operations);
    return measure(b, run_tokens, row);
}

/* ---- one number of threads */

/* Everything below the model: its weights' bytes, ids to feed, room for a result. False: out of
 * memory. */
static bool make_data(bench *b)
{
    const rlx_weights *w = rlx_model_weights(b->model);
    int64_t longest = b->o->prompt > b->o->tokens ? b->o->prompt : b->o->tokens;
    longest = b->o->depth > longest ? b->o->depth : longest;
    b->spans = calloc((size_t)rlx_weights_count(w) + 1, sizeof *b->spans);
    b->logits = malloc((size_t)b->info.width * sizeof *b->logits);
    b->ids = malloc((size_t)(longest + 1) * sizeof *b->ids);
    if (!b->spans || !b->logits || !b->ids)
        return false;
    for (int i = 0; i < rlx_weights_count(w); i++) {
        const rlx_tensor *t = rlx_weights_at(w, i);
        bool seen = false; /* another name for the same bytes */
        for (size_t k = 0; k < b->nspans && !seen; k++)
            seen = b->spans[k].data == (const char *)t->data;
        if (!seen)
            b->spans[b->nspans++] = (byte_span){t->data, t->bytes};
    }
    for (int64_t i = 0; i <= longest; i++) /* spread over the vocabulary */
        b->ids[i] = (int32_t)((uint64_t)i * 7919 % (uint64_t)b->info.vocab);
    return true;
}

static rlx_status open_model(bench *b)
{
    const bench_options *o = b->o;
    int64_t most = o->depth + (o->prompt > o->tokens ? o->prompt : o->tokens);
    rlx_model_options mo = {.prefill = o->prefill, .max_positions = most};
    rlx_status st = rlx_model_load(b->cx, o->where.model, &mo, &b->model);
    if (st)
        return st;
    rlx_model_get_info(b->model, &b->info);
    b->wide = strstr(rlx_context_device(b->cx), "x86-64-v4") != NULL;
    return rlx_session_create(b->cx, &(rlx_session_options){.max_positions = most}, &b->session);
}

/* The exit code of a complaint, or EXIT_OK. */
static int measure_rows(bench *b, bench_row *rows, int *nrows)
{
    rlx_status st = open_model(b);
    if (st)
        return report(st);
    if (!make_data(b))
        return failure("bench: out of memory");
    if (b->o->prompt)
        st = measure_prompt(b, &rows[(*nrows)++]);
    if (b->o->tokens && !st)
        st = measure_tokens(b, &rows[(*nrows)++]);
    return report(st);
}

static void bench_deinit(bench *b)
{
    free(b->spans);
    free(b->logits);
    free(b->ids);
    rlx_session_destroy(b->session);
    rlx_model_destroy(b->model);
    rlx_context_destroy(b->cx);
}

/* ---- output */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static void print_head(const bench_options *o)
{
    if (!strcmp(o->output, "md"))
        printf("| test | threads | tokens/s | best | GB/s | of read | GFLOP/s | of FMA peak |\n"
               "|---|---|---|---|---|---|---|---|\n");
    else if (!strcmp(o->output, "csv"))
        printf("model,test,threads,tokens_per_second,stddev,best,bytes_per_second,"
               "read_bytes_per_second,operations_per_second,fma_operations_per_second\n");
    else
        printf("[");
}

static void print_row(const bench_options *o, const bench_row *r, bool first)
{
    double bytes = r->median * r->bytes, operations = r->median * r->operations;
    if (!strcmp(o->output, "md"))
        printf("| %s | %d | %.2f ± %.2f | %.2f | %.2f | %.1f%% of %.2f | %.1f | %.1f%% of %.0f |\n",
               r->name, r->threads, r->median, r->stddev, r->best, bytes / 1e9,
               percent(bytes, r->read_peak), r->read_peak / 1e9, operations / 1e9,
               percent(operations, r->fma_peak), r->fma_peak / 1e9);
    else if (!strcmp(o->output, "csv"))
        printf("%s,%s,%d,%.4f,%.4f,%.4f,%.0f,%.0f,%.0f,%.0f\n", base_name(o->where.model), r->name,
               r->threads, r->median, r->stddev, r->best, bytes, r->read_peak, operations,
               r->fma_peak);
    else
        printf("%s\n  {\"test\": \"%s\", \"threads\": %d, \"tokens_per_second\": %.4f, "
               "\"stddev\": %.4f, \"best\": %.4f, \"bytes_per_second\": %.0f, "
               "\"read_bytes_per_second\": %.0f, \"operations_per_second\": %.0f, "
               "\"fma_operations_per_second\": %.0f}",
               first ? "" : ",", r->name, r->threads, r->median, r->stddev, r->best, bytes,
               r->read_peak, operations, r->fma_peak);
    fflush(stdout);
}

static int bench_threads(const bench_options *o, int64_t threads, bool first)
{
    bench b = {.o = o};
    bench_row rows[2] = {0};
    int n = 0;
    run_where where = o->where;
    where.threads = threads;
    rlx_status st = open_context(&where, &b.cx);
    int code = st ? report(st) : measure_rows(&b, rows, &n);
    if (code == EXIT_OK && first) {
        fprintf(stderr, "device   %s, mode exact, prefill %lld tokens at a time, medians of %lld\n",
                rlx_context_device(b.cx), (long long)b.info.prefill, (long long)o->repeats);
        print_head(o);
    }
    for (int i = 0; i < n && code == EXIT_OK; i++)
        print_row(o, &rows[i], first && i == 0);
    bench_deinit(&b);
    return code;
}

/* ---- the command */

/* "1,2": numbers of threads, into out[0..*n). -1, or the exit code of a complaint. */
static int parse_threads(const char *text, int64_t *out, int *n)
{
    *n = 0;
    for (const char *p = text;; p++) {
        char *end;
        long long v = strtoll(p, &end, 10);
        if (end == p || (*end && *end != ',') || v < 1 || v > CEILING_MAX_THREADS || *n == MAX_RUNS)
            return usage_error("bench: --threads takes numbers of threads like 1,2 and not \"%s\"",
                               text);
        out[(*n)++] = v;
        if (!*end)
            return -1;
        p = end;
    }
}

static int check_options(const bench_options *o)
{
    static const char *const outputs[] = {"md", "json", "csv"};
    bool known = false;
    for (int i = 0; i < 3; i++)
        known |= !strcmp(o->output, outputs[i]);
    if (!known) {
        const char *near = nearest_word(o->output, outputs, 3);
        return usage_error("bench: --output is md, json or csv and not \"%s\"%s%s%s", o->output,
                           near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if (o->repeats < 1 || o->repeats > MAX_REPEATS)
        return usage_error("bench: --repeats is 1 to %d", MAX_REPEATS);
    if (o->prompt > MAX_TOKENS || o->tokens > MAX_TOKENS || o->depth > MAX_TOKENS)
        return usage_error("bench: at most %d tokens", MAX_TOKENS);
    if (!o->prompt && !o->tokens)
        return usage_error("bench: -p 0 -n 0 leaves nothing to measure");
    if (o->where.device && strncmp(o->where.device, "cpu", 3))
        return usage_error("bench: measures machine code: --device cpu or cpu:FEATURES");
    return -1;
}

int command_bench(int argc, char **argv)
{
    bench_options o = {.prompt = 512, .tokens = 128, .repeats = 5, .output = "md"};
    const option_spec options[] = {
        OPTION_MODEL(o.where),
        {"prompt", "p", OPTION_INT, "N", "tokens of a prompt, 0 for none (512)", &o.prompt},
        {"tokens", "n", OPTION_INT, "N", "tokens to decode, 0 for none (128)", &o.tokens},
        {"depth", "d", OPTION_INT, "N", "tokens before either (0)", &o.depth},
        {"repeats", "r", OPTION_INT, "N", "repetitions, after one to warm up (5)", &o.repeats},
        {"prefill", NULL, OPTION_INT, "N", "prompt tokens of one step (as run has it)", &o.prefill},
        {"threads", "t", OPTION_TEXT, "N,..", "numbers of threads (all cores)", &o.threads},
        {"output", "o", OPTION_TEXT, "KIND", "md, json or csv (md)", &o.output},
        OPTION_DEVICE(o.where),
    };
    const command_spec spec = {
        "bench", "tokens per second, and as shares of what was measured of the machine meanwhile",
        "MODEL", &o.where.model,
        options, sizeof options / sizeof *options};
    int64_t threads[MAX_RUNS] = {0}; /* 0: the context's default */
    int n = 1, code = args_parse(&spec, argc, argv);
    if (code < 0)
        code = check_options(&o);
    if (code < 0 && o.threads)
        code = parse_threads(o.threads, threads, &n);
    if (code >= 0)
        return code;
    code = EXIT_OK;
    for (int i = 0; i < n && code == EXIT_OK; i++)
        code = bench_threads(&o, threads[i], i == 0);
    if (code != EXIT_OK)
        return code;
    if (!strcmp(o.output, "json"))
        printf("\n]\n");
    return finish_output();
}
