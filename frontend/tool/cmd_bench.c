/* frontend/tool/cmd_bench.c: how fast a model runs, and what of this machine that is.
 *
 *   for threads { for depth { for row (pp, tg by batch) { for repetition { ceilings; steps } } } }
 *
 * Ceilings are measured in turns with the steps, on as many threads: what else runs on the machine
 * touches both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"
#include "frontend/tool/bench.h"

enum { MAX_REPEATS = 1000, MAX_RUNS = 32, MAX_TOKENS = 1 << 20, MAX_BATCH = 1 << 12 };

/* "1,2,4" of the command line. */
typedef struct number_list {
    int64_t at[MAX_RUNS];
    int n;
} number_list;

typedef struct bench_options {
    run_where where;
    int64_t repeats, prefill;
    bool kernels;
    rlx_model_options model; /* what a profile and --precision say */
    const char *prompt, *tokens, *depth, *batch, *threads, *output; /* as given */
    number_list prompts, runs, depths, batches, teams;
    const bench_printer *printer;
} bench_options;

typedef struct bench {
    const bench_options *o;
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    rlx_model_info info;
    bench_subject subject;
    byte_span *spans; /* the model's weights */
    size_t nspans;
    const ceiling_unit *units[CEILING_MAX_UNITS];
    size_t nunits;
    bool has_ceilings; /* the host's, of what runs on it: other devices' are not measured */
    float *logits;
    int32_t *ids, *seq, *rows;
    rlx_kernel_time *times; /* of a row's kernels, its repetitions summed */
    int ntimes;
    bool no_memory; /* some of them are not there */
} bench;

static int64_t largest(const number_list *l)
{
    int64_t most = 0;
    for (int i = 0; i < l->n; i++)
        most = l->at[i] > most ? l->at[i] : most;
    return most;
}

/* ---- one repetition */

/* Sequence `q` holds `depth` tokens: it goes back there, or is filled anew where it holds fewer or
 * a layer has forgotten too much. */
static rlx_status hold(bench *b, int q, int64_t depth)
{
    rlx_session *s = b->session;
    rlx_status st = rlx_session_rewind(s, q, rlx_session_past(s, q) < depth ? 0 : depth);
    rlx_code code = rlx_status_code(st);
    if (code == RLX_EXHAUSTED || code == RLX_UNSUPPORTED) {
        rlx_status_free(st);
        st = rlx_session_rewind(s, q, 0);
    }
    if (st || rlx_session_past(s, q) == depth)
        return st;
    return rlx_model_step(b->model, s, q, b->ids, depth, 0, NULL);
}

static rlx_status rewind_to(bench *b, const bench_row *row)
{
    rlx_status st = NULL;
    for (int q = 0; q < row->batch && !st; q++)
        st = hold(b, q, row->depth);
    return st;
}

static rlx_status run_row(bench *b, const bench_row *row)
{
    rlx_status st = NULL;
    if (row->prompt)
        return rlx_model_step(b->model, b->session, 0, b->ids, row->prompt, 1, b->logits);
    for (int64_t i = 0; i < row->tokens && !st; i++) {
        rlx_model_batch batch = {.tokens = row->batch,
                                 .ids = b->ids + i,
                                 .seq = b->seq,
                                 .rows = row->batch,
                                 .row_index = b->rows};
        st = rlx_model_step_batch(b->model, b->session, &batch, b->logits);
    }
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
    double squares = 0;
    qsort(rates, (size_t)n, sizeof *rates, by_value);
    for (int i = 0; i < n; i++)
        row->mean += rates[i] / n;
    for (int i = 0; i < n; i++)
        squares += (rates[i] - row->mean) * (rates[i] - row->mean);
    row->median = (rates[(n - 1) / 2] + rates[n / 2]) / 2;
    row->stddev = n > 1 ? sqrt(squares / (n - 1)) : 0;
    row->best = rates[n - 1];
}

static void measure_ceilings(const bench *b, bench_row *row)
{
    size_t bytes = 1;
    for (size_t i = 0; i < b->nspans; i++)
        bytes += b->spans[i].bytes;
    int passes = (int)(((size_t)128 << 20) / bytes) + 1; /* a trial takes some 10 ms at least */
    double read = ceiling_read(b->spans, b->nspans, row->threads, passes, 1);
    row->read_peak = read > row->read_peak ? read : row->read_peak;
    for (size_t i = 0; i < b->nunits; i++) {
        const ceiling_unit *u = b->units[i];
        double rate = ceiling_unit_rate(u, row->threads, 1);
        if (u->f32 && rate > row->f32_peak)
            row->f32_peak = rate;
        if (rate > row->peak) {
            row->peak = rate;
            row->peak_unit = u->name;
        }
    }
}

/* Keys and values that a token reads when `positions` are in its sequence, itself included. */
static double attended_bytes(const rlx_model_info *m, int64_t positions)
{
    int64_t window = positions < m->window ? positions : m->window;
    return (double)m->position_bytes * (double)positions +
           (double)m->window_position_bytes * (double)window;
}

/* Those in which one token of each of `batch` sequences runs: as many at once as the largest bucket
 * holds. */
static int64_t count_steps(const rlx_model_info *m, int64_t batch)
{
    const int64_t most = m->batch.n                 ? m->batch.upper[m->batch.n - 1]
                         : m->precision == RLX_FAST ? 1
                                                    : m->prefill;
    return (batch + most - 1) / most;
}

/* What a step of one chunk or of one token in each sequence reads, over all steps, per token. */
static void count_work(const bench *b, bench_row *row)
{
    const rlx_model_info *m = &b->info;
    int64_t length = row->prompt ? row->prompt : row->tokens;
    int64_t step = row->prompt ? m->prefill : 1;
    const double steps = row->prompt ? 1 : (double)count_steps(m, row->batch);
    double bytes = 0, rows = row->prompt ? 1 : (double)row->tokens;
    for (int64_t at = 0; at < length; at += step) {
        int64_t end = at + step < length ? at + step : length;
        bytes += steps * (double)m->token_bytes +
                 (double)row->batch * attended_bytes(m, row->depth + end);
    }
    row->bytes = bytes / (double)(length * row->batch);
    row->operations =
        (double)m->token_operations + (double)m->row_operations * rows / (double)length;
}

/* ---- kernels */

static int by_time(const void *a, const void *b)
{
    const bench_kernel *x = a, *y = b;
    const double left = x->seconds * x->launches, right = y->seconds * y->launches;
    return (left < right) - (left > right);
}

/* What the session has since it was cleared, to the row's sums. Kernels stand in the order in which
 * their programs ran first, so those that are known keep their places. */
static void add_kernels(bench *b)
{
    const int n = b->o->kernels ? rlx_session_kernel_count(b->session) : 0;
    if (n > b->ntimes) {
        rlx_kernel_time *more = realloc(b->times, (size_t)n * sizeof *more);
        b->no_memory |= !more;
        if (!more)
            return;
        memset(more + b->ntimes, 0, (size_t)(n - b->ntimes) * sizeof *more);
        b->times = more;
        b->ntimes = n;
    }
    for (int i = 0; i < n; i++) {
        rlx_kernel_time t;
        rlx_session_kernel_at(b->session, i, &t);
        t.launches += b->times[i].launches;
        t.seconds += b->times[i].seconds;
        t.bytes += b->times[i].bytes;
        t.operations += b->times[i].operations;
        b->times[i] = t;
    }
}

/* Those that ran in `repeats` repetitions that took `seconds` together. */
static void list_kernels(bench *b, bench_row *row, int repeats, double seconds)
{
    row->kernels = calloc((size_t)b->ntimes + 1, sizeof *row->kernels);
    b->no_memory |= !row->kernels;
    row->nkernels = 0;
    for (int i = 0; i < b->ntimes && row->kernels; i++) {
        const rlx_kernel_time t = b->times[i];
        if (!t.launches)
            continue;
        const double each = t.seconds / (double)t.launches;
        row->kernels[row->nkernels++] = (bench_kernel){.name = t.kernel,
                                                       .launches = (double)t.launches / repeats,
                                                       .seconds = each,
                                                       .share = t.seconds / seconds,
                                                       .bytes = t.bytes / t.seconds,
                                                       .operations = t.operations / t.seconds};
    }
    if (row->kernels)
        qsort(row->kernels, (size_t)row->nkernels, sizeof *row->kernels, by_time);
}

/* Once to warm up, then the repetitions. */
static rlx_status measure(bench *b, bench_row *row)
{
    double rates[MAX_REPEATS], all = 0;
    int n = (int)b->o->repeats;
    int64_t tokens = row->batch * (row->prompt ? row->prompt : row->tokens);
    row->threads = rlx_context_threads(b->cx);
    row->peak_unit = "";
    count_work(b, row);
    if (b->times)
        memset(b->times, 0, (size_t)b->ntimes * sizeof *b->times);
    for (int i = -1; i < n; i++) {
        if (i >= 0 && b->has_ceilings)
            measure_ceilings(b, row);
        rlx_status st = rewind_to(b, row);
        rlx_session_clear_times(b->session); /* filling sequences is no part of the row */
        double start = ceiling_now();
        if (!st)
            st = run_row(b, row);
        if (st)
            return st;
        const double seconds = ceiling_now() - start;
        if (i < 0)
            continue;
        rates[i] = (double)tokens / seconds;
        all += seconds;
        add_kernels(b);
    }
    summarise(rates, n, row);
    if (b->o->kernels)
        list_kernels(b, row, n, all);
    return RLX_OK;
}

/* ---- one number of threads */

/* The model's bytes, each once however many names they have; and how many elements they are. */
static bool collect_weights(bench *b)
{
    const rlx_weights *w = rlx_model_weights(b->model);
    b->spans = calloc((size_t)rlx_weights_count(w) + 1, sizeof *b->spans);
    for (int i = 0; b->spans && i < rlx_weights_count(w); i++) {
        const rlx_tensor *t = rlx_weights_at(w, i);
        bool seen = false;
        for (size_t k = 0; k < b->nspans && !seen; k++)
            seen = b->spans[k].data == (const char *)t->data;
        if (seen)
            continue;
        int64_t elems = 1;
        for (int d = 0; d < t->rank; d++)
            elems *= t->dim[d];
        b->subject.parameters += elems;
        b->spans[b->nspans++] = (byte_span){t->data, t->bytes};
    }
    return b->spans != NULL;
}

/* Ids to feed, room for results. */
static bool make_inputs(bench *b)
{
    const bench_options *o = b->o;
    int64_t batch = largest(&o->batches),
            lengths[] = {largest(&o->prompts), largest(&o->runs), largest(&o->depths)};
    int64_t n = batch;
    for (int i = 0; i < 3; i++)
        n += lengths[i];
    b->logits = malloc((size_t)(batch * b->info.width) * sizeof *b->logits);
    b->ids = malloc((size_t)n * sizeof *b->ids);
    b->seq = malloc((size_t)batch * sizeof *b->seq);
    b->rows = malloc((size_t)batch * sizeof *b->rows);
    if (!b->logits || !b->ids || !b->seq || !b->rows)
        return false;
    for (int64_t i = 0; i < n; i++) /* spread over the vocabulary */
        b->ids[i] = (int32_t)((uint64_t)i * 7919 % (uint64_t)b->info.vocab);
    for (int32_t q = 0; q < batch; q++)
        b->seq[q] = b->rows[q] = q;
    return true;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* "CPU", or the name of the device: "vulkan:0,-int8" is number 0. */
static const char *hardware_of(const char *device)
{
    const size_t n = strcspn(device, ",");
    rlx_device_info info;
    for (int i = 0; has_own_memory(device) && i < rlx_device_count(); i++) {
        rlx_device_get_info(i, &info);
        if (strlen(info.name) == n && !strncmp(info.name, device, n))
            return info.description;
    }
    return "CPU";
}

static rlx_status open_model(bench *b)
{
    const bench_options *o = b->o;
    int64_t prompt = largest(&o->prompts), tokens = largest(&o->runs);
    int64_t most = largest(&o->depths) + (prompt > tokens ? prompt : tokens);
    rlx_model_options mo = o->model;
    if (o->prefill)
        mo.prefill = o->prefill;
    if (!mo.max_positions) {
        mo.max_positions = most;
        mo.any_length = true; /* what is measured need make no sense as text */
    }
    rlx_session_options so = {.max_positions = most,
                              .max_sequences = (int)largest(&o->batches),
                              .time_kernels = o->kernels};
    rlx_status st = rlx_model_load(b->cx, o->where.model, &mo, &b->model);
    if (st)
        return st;
    rlx_model_get_info(b->model, &b->info);
    b->subject = (bench_subject){.model = base_name(o->where.model),
                                 .family = b->info.family,
                                 .device = rlx_context_device(b->cx),
                                 .hardware = hardware_of(rlx_context_device(b->cx)),
                                 .precision = precision_name(b->info.precision),
                                 .type_k = cache_type_name(mo.kv_key_format, b->info.precision),
                                 .type_v = cache_type_name(mo.kv_value_format, b->info.precision),
                                 .weight_bytes = b->info.weight_bytes};
    b->has_ceilings = !has_own_memory(b->subject.device);
    b->nunits = b->has_ceilings ? ceiling_units(b->subject.device, b->units) : 0;
    return rlx_session_create(b->cx, &so, &b->session);
}

static void put_ladder(const char *name, const rlx_ladder *l)
{
    for (int i = 0; i < l->n; i++)
        fprintf(stderr, "%s%lld", i ? ", " : name, (long long)l->upper[i]);
}

static void describe(const bench *b)
{
    fprintf(stderr, "device   %s, mode %s, prefill %lld tokens at a time, %lld repetition%s\n",
            b->subject.device, b->subject.precision, (long long)b->info.prefill,
            (long long)b->o->repeats, b->o->repeats == 1 ? "" : "s");
    put_ladder("buckets  SEQ ", &b->info.seq);
    put_ladder("; BATCH ", &b->info.batch);
    fputc('\n', stderr);
}

static void bench_deinit(bench *b)
{
    free(b->spans);
    free(b->logits);
    free(b->ids);
    free(b->seq);
    free(b->rows);
    free(b->times);
    rlx_session_destroy(b->session);
    rlx_model_destroy(b->model);
    rlx_context_destroy(b->cx);
}

/* Measures a row and prints it. */
static rlx_status do_row(bench *b, bench_row row, bool *first)
{
    rlx_status st = measure(b, &row);
    if (st)
        return st;
    if (*first || (row.kernels && b->o->printer == bench_printer_find("md")))
        bench_print_head(b->o->printer);
    bench_print_row(b->o->printer, &b->subject, &row, *first);
    free(row.kernels);
    *first = false;
    return RLX_OK;
}

static rlx_status do_depth(bench *b, int64_t depth, bool *first)
{
    const bench_options *o = b->o;
    rlx_status st = NULL;
    for (int i = 0; i < o->prompts.n && !st; i++)
        if (o->prompts.at[i])
            st = do_row(b, (bench_row){.prompt = o->prompts.at[i], .batch = 1, .depth = depth},
                        first);
    for (int i = 0; i < o->runs.n; i++)
        for (int k = 0; k < o->batches.n && o->runs.at[i] && !st; k++)
            st = do_row(
                b, (bench_row){.tokens = o->runs.at[i], .batch = o->batches.at[k], .depth = depth},
                first);
    return st;
}

static int do_threads(const bench_options *o, int64_t threads, bool *first)
{
    bench b = {.o = o};
    run_where where = o->where;
    where.threads = threads;
    int code = open_context(&where, &b.cx);
    if (!code && !strncmp(rlx_context_device(b.cx), "ref", 3))
        code = usage_error(
            "bench: measures machine code: device cpu, cpu:FEATURES, vulkan, cuda or hip");
    if (code) {
        rlx_context_destroy(b.cx);
        return code;
    }
    rlx_status st = open_model(&b);
    bool memory = st || (collect_weights(&b) && make_inputs(&b));
    if (!st && *first && memory)
        describe(&b);
    for (int i = 0; i < o->depths.n && memory && !st; i++)
        st = do_depth(&b, o->depths.at[i], first);
    code = memory && !b.no_memory ? report(st) : failure("bench: out of memory");
    bench_deinit(&b);
    return code;
}

/* ---- the command */

/* Whole numbers between commas. -1, or the exit code of a complaint. */
static int parse_list(const char *option, const char *text, int64_t least, int64_t most,
                      number_list *out)
{
    out->n = 0;
    for (const char *p = text;; p++) {
        char *end;
        long long v = strtoll(p, &end, 10);
        if (end == p || (*end && *end != ',') || v < least || v > most || out->n == MAX_RUNS)
            return usage_error(
                "bench: --%s takes numbers from %lld to %lld like 1,2 and not \"%s\"", option,
                (long long)least, (long long)most, text);
        out->at[out->n++] = v;
        if (!*end)
            return -1;
        p = end;
    }
}

static int parse_lists(bench_options *o)
{
    const struct {
        const char *name, *text;
        int64_t least, most;
        number_list *out;
    } lists[] = {{"prompt", o->prompt, 0, MAX_TOKENS, &o->prompts},
                 {"tokens", o->tokens, 0, MAX_TOKENS, &o->runs},
                 {"depth", o->depth, 0, MAX_TOKENS, &o->depths},
                 {"batch", o->batch, 1, MAX_BATCH, &o->batches},
                 {"threads", o->threads, 1, CEILING_MAX_THREADS, &o->teams}};
    int code = -1;
    o->teams.n = 1; /* without --threads 0: as many as there are cores */
    for (size_t i = 0; i < sizeof lists / sizeof *lists && code < 0; i++)
        if (lists[i].text)
            code = parse_list(lists[i].name, lists[i].text, lists[i].least, lists[i].most,
                              lists[i].out);
    return code;
}

static int check_options(bench_options *o)
{
    static const char *const outputs[] = {"md", "json", "csv"};
    o->printer = bench_printer_find(o->output);
    if (!o->printer) {
        const char *near = nearest_word(o->output, outputs, 3);
        return usage_error("bench: --output is md, json or csv and not \"%s\"%s%s%s", o->output,
                           near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if (o->kernels && !strcmp(o->output, "csv"))
        return usage_error("bench: --kernels: csv has no place for them: md or json");
    if (o->repeats < 1 || o->repeats > MAX_REPEATS)
        return usage_error("bench: --repeats is 1 to %d", MAX_REPEATS);
    if (!largest(&o->prompts) && !largest(&o->runs))
        return usage_error("bench: -p 0 -n 0 leaves nothing to measure");
    return -1;
}

int command_bench(int argc, char **argv)
{
    bench_options o = {.where.command = "bench",
                       .prompt = "512",
                       .tokens = "128",
                       .depth = "0",
                       .batch = "1",
                       .repeats = 5,
                       .output = "md",
                       .model = {.precision = RLX_FAST}};
    const option_spec options[] = {
        OPTION_MODEL(o.where),
        {"prompt", "p", OPTION_TEXT, "N,..", "tokens of a prompt, 0 for none (512)", &o.prompt},
        {"tokens", "n", OPTION_TEXT, "N,..", "tokens to decode, 0 for none (128)", &o.tokens},
        {"depth", "d", OPTION_TEXT, "N,..", "tokens before either (0)", &o.depth},
        {"batch", "b", OPTION_TEXT, "N,..", "sequences that decode together (1)", &o.batch},
        {"threads", "t", OPTION_TEXT, "N,..", "numbers of threads (all cores)", &o.threads},
        {"repeats", "r", OPTION_INT, "N", "repetitions, after one to warm up (5)", &o.repeats},
        {"prefill", NULL, OPTION_INT, "N", "prompt tokens of one step (as run has it)", &o.prefill},
        {"kernels", NULL, OPTION_FLAG, NULL, "the same of every kernel of a row", &o.kernels},
        {"output", "o", OPTION_TEXT, "KIND", "md, json or csv (md)", &o.output},
        OPTION_PRECISION(o.where, "fast"),
        OPTIONS_PLACE(o.where),
    };
    const command_spec spec = {
        "bench", "tokens per second, and as shares of what was measured of the machine meanwhile",
        "MODEL", &o.where.model,
        options, sizeof options / sizeof *options};
    bool first = true;
    int code = args_parse(&spec, argc, argv);
    if (code < 0)
        code = parse_lists(&o);
    if (code < 0)
        code = check_options(&o);
    if (code < 0)
        code = read_model_options(&o.where, &o.model);
    if (code >= 0)
        return code;
    code = EXIT_OK;
    for (int i = 0; i < o.teams.n && code == EXIT_OK; i++)
        code = do_threads(&o, o.teams.at[i], &first);
    rlx_profile_destroy(o.where.profile);
    if (code != EXIT_OK)
        return code;
    bench_print_end(o.printer);
    return finish_output();
}
