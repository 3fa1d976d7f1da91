/* rlx perplexity: how well a model foresees a text, and how far its probabilities are from others
 * (other formats, other kernels).
 *
 * A text is cut into chunks; the tokens of each one's second half are foreseen from all of the
 * chunk before them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/tool/args.h"
#include "frontend/tool/logits_file.h"

enum { MOST_ROWS = 128, USUAL_CONTEXT = 512, MOST_CONTEXT = 1 << 20 };

/* Of one number per token. */
typedef struct series {
    double *at;
    int64_t n;
} series;

typedef struct perplexity {
    run_where where;
    const char *file, *kl, *save;
    int64_t context, most_chunks; /* context 0: not said */
    bool json, watched;

    rlx_model_options how;
    rlx_context *cx;
    rlx_model *model;
    rlx_model_info info;
    rlx_session *session;
    logits_file base, saved;
    int32_t *ids;    /* [chunks, context] */
    int32_t bos;     /* what a chunk begins with in place of its first token; -1: its first token */
    int64_t closing; /* tokens that the tokenizer puts behind a text */
    int64_t chunks;
    float *rows;   /* [MOST_ROWS + 1, vocab] */
    float *base_p; /* [vocab] logs of the base's probabilities */

    series nll, base_nll, kl_divergence,
        differences; /* of the token that came; the last of its probability */
    int64_t same;    /* the likeliest token is the base's */
} perplexity;

/* ---- numbers */

static double mean(const series *s)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum += s->at[i];
    return s->n ? sum / (double)s->n : 0;
}

/* The standard error of a mean. */
static double uncertainty(const series *s)
{
    const double m = mean(s);
    double squares = 0;
    for (int64_t i = 0; i < s->n; i++)
        squares += (s->at[i] - m) * (s->at[i] - m);
    return s->n > 1 ? sqrt(squares / (double)s->n / (double)(s->n - 1)) : 0;
}

static double root_mean_square(const series *s)
{
    double squares = 0;
    for (int64_t i = 0; i < s->n; i++)
        squares += s->at[i] * s->at[i];
    return s->n ? sqrt(squares / (double)s->n) : 0;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of a series in order, between neighbours. */
static double quantile(const series *s, double share)
{
    const double place = share * (double)(s->n - 1);
    const int64_t i = (int64_t)place, next = i + 1 < s->n ? i + 1 : i;
    return s->at[i] + (place - (double)i) * (s->at[next] - s->at[i]);
}

static int64_t find_largest(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* The log of what the softmax of `logits` divides by. */
static double log_sum(const float *logits, int64_t n)
{
    const double largest = (double)logits[find_largest(logits, n)];
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    return largest + log(sum);
}

/* The sum of p log(p / q). What the base holds at its least is not counted. */
static double divergence(const float *base, const float *logits, double log_divisor, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (base[i] > -16)
            sum += exp((double)base[i]) * ((double)base[i] - ((double)logits[i] - log_divisor));
    return sum;
}

/* ---- one token */

/* The logits of a place, and the token that came there. */
static int score(perplexity *p, const float *logits, int32_t token)
{
    const int64_t n = p->info.width;
    const double log_divisor = log_sum(logits, n);
    const double nll = log_divisor - (double)logits[token];
    if (!isfinite(nll))
        return failure("perplexity: logits are not finite behind token %lld", (long long)p->nll.n);
    p->nll.at[p->nll.n++] = nll;
    if (p->save)
        return logits_file_put(&p->saved, logits);
    if (!p->kl)
        return EXIT_OK;
    int code = logits_file_get(&p->base, p->base_p);
    if (code)
        return code;
    p->base_nll.at[p->base_nll.n++] = -(double)p->base_p[token];
    p->differences.at[p->differences.n++] = exp(-nll) - exp((double)p->base_p[token]);
    const double kl = divergence(p->base_p, logits, log_divisor, n);
    if (!isfinite(kl))
        return failure("perplexity: the divergence from %s is not finite behind token %lld", p->kl,
                       (long long)p->kl_divergence.n);
    p->kl_divergence.at[p->kl_divergence.n++] = kl;
    p->same += find_largest(logits, n) == find_largest(p->base_p, n);
    return EXIT_OK;
}

/* ---- one chunk */

/* No step has one token alone: in fast mode that has the numerics of decoding. */
static int do_chunk(perplexity *p, int32_t *chunk)
{
    const int64_t first = logits_file_first((int32_t)p->context);
    const int64_t rows = logits_file_rows((int32_t)p->context);
    const int32_t kept = chunk[0];
    if (p->bos >= 0)
        chunk[0] = p->bos;
    rlx_session_reset(p->session);
    int code = EXIT_OK;
    if (rows > 1)
        code = report(rlx_model_step(p->model, p->session, 0, chunk, first, 0, NULL));
    for (int64_t at = 0, n; at < rows && !code; at += n) {
        n = rows - at > MOST_ROWS + 1 ? MOST_ROWS : rows - at;
        const int32_t *ids = chunk + first + at;
        const int64_t before = rows > 1 ? 0 : first;
        code =
            report(rlx_model_step(p->model, p->session, 0, ids - before, before + n, n, p->rows));
        for (int64_t i = 0; i < n && !code; i++)
            code = score(p, p->rows + i * p->info.width, ids[i + 1]);
    }
    chunk[0] = kept;
    return code;
}

static int do_chunks(perplexity *p)
{
    int code = EXIT_OK;
    for (int64_t c = 0; c < p->chunks && !code; c++) {
        code = do_chunk(p, p->ids + c * p->context);
        if (p->watched && !code)
            draw_progress(c + 1, p->chunks, "perplexity %.4f", exp(mean(&p->nll)));
    }
    if (p->watched)
        end_progress();
    return code;
}

/* ---- what is printed */

typedef struct line {
    const char *key, *about;
    double value, error; /* error < 0: none */
} line;

enum { MAX_LINES = 16 };

static int64_t list_lines(perplexity *p, line *lines)
{
    const double ppl = exp(mean(&p->nll)), base = exp(mean(&p->base_nll));
    int64_t n = 0;
    lines[n++] = (line){"perplexity", "perplexity", ppl, ppl * uncertainty(&p->nll)};
    if (!p->kl)
        return n;
    series *kl = &p->kl_divergence;
    const double kl_mean = mean(kl), kl_error = uncertainty(kl);
    const double same = (double)p->same / (double)p->nll.n;
    qsort(kl->at, (size_t)kl->n, sizeof *kl->at, by_value);
    lines[n++] = (line){"base_perplexity", "of the base", base, base * uncertainty(&p->base_nll)};
    lines[n++] = (line){"ratio", "ratio", ppl / base, -1};
    lines[n++] = (line){"kl_mean", "KL divergence, mean", kl_mean, kl_error};
    lines[n++] = (line){"kl_median", "  median", quantile(kl, 0.5), -1};
    lines[n++] = (line){"kl_90", "  90 %", quantile(kl, 0.9), -1};
    lines[n++] = (line){"kl_99", "  99 %", quantile(kl, 0.99), -1};
    lines[n++] = (line){"kl_999", "  99.9 %", quantile(kl, 0.999), -1};
    lines[n++] = (line){"kl_max", "  largest", kl->at[kl->n - 1], -1};
    lines[n++] = (line){"same_top", "likeliest token the same", same,
                        sqrt(same * (1 - same) / (double)p->nll.n)};
    lines[n++] = (line){"rms_difference", "probability of the token that came: difference, rms",
                        root_mean_square(&p->differences), -1};
    return n;
}

static int print_results(perplexity *p)
{
    line lines[MAX_LINES];
    const int64_t n = list_lines(p, lines);
    if (p->json) {
        printf("{\"model\": ");
        put_json_text(p->where.model);
        printf(", \"device\": \"%s\", \"precision\": \"%s\", \"context\": %lld, \"chunks\": %lld, "
               "\"tokens\": %lld",
               rlx_context_device(p->cx), precision_name(p->info.precision), (long long)p->context,
               (long long)p->chunks, (long long)p->nll.n);
        for (int64_t i = 0; i < n; i++) {
            printf(", \"%s\": %.9g", lines[i].key, lines[i].value);
            if (lines[i].error >= 0)
                printf(", \"%s_error\": %.3g", lines[i].key, lines[i].error);
        }
        printf("}\n");
        return finish_output();
    }
    for (int64_t i = 0; i < n; i++) {
        printf("%-52s %.6g", lines[i].about, lines[i].value);
        if (lines[i].error >= 0)
            printf(" +- %.2g", lines[i].error);
        putchar('\n');
    }
    printf("%-52s %lld, in %lld chunks of %lld\n", "tokens foreseen", (long long)p->nll.n,
           (long long)p->chunks, (long long)p->context);
    return finish_output();
}

/* ---- what goes in */

/* What the tokenizer puts in front of a text and behind it, seen at a short one. */
static int find_frame(perplexity *p, const rlx_tokenizer *t)
{
    int32_t *bare = NULL, *framed = NULL;
    int64_t nbare, n, front = 0;
    int code = report(rlx_tokenizer_encode(t, "a", 1, false, &bare, &nbare));
    if (!code)
        code = report(rlx_tokenizer_encode(t, "a", 1, true, &framed, &n));
    if (!code) {
        while (front + nbare < n && memcmp(framed + front, bare, (size_t)nbare * sizeof *bare) != 0)
            front++;
        p->bos = front ? framed[0] : -1;
        p->closing = n - nbare - front;
    }
    free(bare);
    free(framed);
    return code;
}

/* The text's tokens: whole chunks of them. */
static int cut_text(perplexity *p, const rlx_tokenizer *t)
{
    char *text;
    size_t bytes;
    int64_t n;
    int code = read_text("perplexity: reading", p->file, &text, &bytes);
    if (code >= 0)
        return code;
    code = report(rlx_tokenizer_encode(t, text, bytes, true, &p->ids, &n));
    free(text);
    if (code)
        return code;
    n -= p->closing;
    p->chunks = n / p->context;
    if (!p->chunks)
        return failure("perplexity: %s has %lld tokens; a chunk is %lld (-c)", p->file,
                       (long long)n, (long long)p->context);
    return EXIT_OK;
}

static int open_base(perplexity *p)
{
    int code = logits_file_open(&p->base, p->kl);
    if (code)
        return code;
    if (p->context && p->context != p->base.context)
        return usage_error("perplexity: -c %lld: chunks of %s have %d tokens",
                           (long long)p->context, p->kl, p->base.context);
    if (p->base.context > MOST_CONTEXT)
        return failure("%s: chunks of %d tokens: at most %d", p->kl, p->base.context, MOST_CONTEXT);
    p->context = p->base.context;
    p->chunks = p->base.chunks;
    const size_t bytes = (size_t)p->context * (size_t)p->chunks * sizeof *p->ids;
    p->ids = malloc(bytes);
    if (!p->ids)
        return failure("perplexity: out of memory");
    memcpy(p->ids, p->base.tokens, bytes);
    return EXIT_OK;
}

static int read_tokens(perplexity *p)
{
    const rlx_tokenizer_options how = {.no_cache = p->where.no_cache,
                                       .cache_folder = p->where.cache_dir};
    rlx_tokenizer *t;
    int code = report(rlx_tokenizer_load(p->where.model, &how, &t));
    if (code)
        return code;
    code = find_frame(p, t);
    if (!code)
        code = p->kl ? open_base(p) : cut_text(p, t);
    rlx_tokenizer_destroy(t);
    if (p->most_chunks && p->most_chunks < p->chunks)
        p->chunks = p->most_chunks;
    return code;
}

static int open_model(perplexity *p)
{
    p->how.max_positions = p->context;
    int code = report(rlx_model_load(p->cx, p->where.model, &p->how, &p->model));
    if (code)
        return code;
    rlx_model_get_info(p->model, &p->info);
    if (strcmp(p->info.output, "logits"))
        return failure("perplexity: %s gives %s, no logits", p->where.model, p->info.output);
    if (p->info.max_positions < p->context)
        return failure("perplexity: %s has %lld positions, and a chunk %lld", p->where.model,
                       (long long)p->info.max_positions, (long long)p->context);
    if (p->kl && p->base.vocab != p->info.width)
        return failure("perplexity: %s is over a vocabulary of %d, %s over one of %lld", p->kl,
                       p->base.vocab, p->where.model, (long long)p->info.width);
    return report(rlx_session_create(p->cx, &(rlx_session_options){.max_positions = p->context},
                                     &p->session));
}

static int make_room(perplexity *p)
{
    const size_t vocab = (size_t)p->info.width;
    const size_t n = (size_t)(p->chunks * logits_file_rows((int32_t)p->context));
    series *const all[] = {&p->nll, &p->base_nll, &p->kl_divergence, &p->differences};
    p->rows = malloc((MOST_ROWS + 1) * vocab * sizeof *p->rows);
    p->base_p = malloc(vocab * sizeof *p->base_p);
    bool there = p->rows && p->base_p;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        there = (all[i]->at = malloc(n * sizeof(double))) && there;
    for (int64_t i = 0; i < p->chunks * p->context; i++)
        if (p->ids[i] >= p->info.width)
            return failure("perplexity: token %lld of the text is %d, and %s gives %lld logits",
                           (long long)i, p->ids[i], p->where.model, (long long)p->info.width);
    return there ? EXIT_OK : failure("perplexity: out of memory");
}

static int run(perplexity *p)
{
    int code = read_tokens(p);
    if (!code)
        code = open_model(p);
    if (!code)
        code = make_room(p);
    if (!code && p->save)
        code = logits_file_create(&p->saved, p->save, (int32_t)p->context, (int32_t)p->info.width,
                                  (int32_t)p->chunks, p->ids);
    if (!code)
        code = do_chunks(p);
    const int closed = logits_file_close(&p->saved, !code);
    if (code || closed)
        return code ? code : closed;
    return print_results(p);
}

static void perplexity_deinit(perplexity *p)
{
    logits_file_close(&p->base, true);
    free(p->nll.at);
    free(p->base_nll.at);
    free(p->kl_divergence.at);
    free(p->differences.at);
    free(p->ids);
    free(p->rows);
    free(p->base_p);
    rlx_session_destroy(p->session);
    rlx_model_destroy(p->model);
    rlx_context_destroy(p->cx);
    rlx_profile_destroy(p->where.profile);
}

/* ---- the command */

static int check_options(const perplexity *p)
{
    if (p->kl && p->save)
        return usage_error("perplexity: --kl reads log probabilities, --save writes them: one of "
                           "them");
    if (p->kl && p->file)
        return usage_error("perplexity: %s holds the text's tokens: -f is one too many", p->kl);
    if (!p->kl && !p->file)
        return usage_error("perplexity: no text given: -f FILE, or --kl BASE");
    if (p->context && (p->context < 4 || p->context > MOST_CONTEXT))
        return usage_error("perplexity: -c is 4 to %d", MOST_CONTEXT);
    return -1;
}

int command_perplexity(int argc, char **argv)
{
    perplexity p = {.where.command = "perplexity", .how.precision = RLX_FAST};
    const option_spec options[] = {
        OPTION_MODEL(p.where),
        {"file", "f", OPTION_TEXT, "FILE", "the text; -: standard input", &p.file},
        {"ctx-size", "c", OPTION_INT, "N",
         "tokens of a chunk; those of its second half are foreseen (512; BASE's)", &p.context},
        {"chunks", NULL, OPTION_INT, "N", "this many chunks at most (all)", &p.most_chunks},
        {"save", NULL, OPTION_TEXT, "BASE",
         "keeps log probabilities in a file, as llama-perplexity --kl-divergence-base does",
         &p.save},
        {"kl", NULL, OPTION_TEXT, "BASE",
         "how far the model's probabilities are from those of such a file, for its text", &p.kl},
        {"json", NULL, OPTION_FLAG, NULL, "for programs", &p.json},
        OPTION_PRECISION(p.where, "fast"),
        OPTION_THREADS(p.where),
        OPTIONS_PLACE(p.where),
    };
    const command_spec spec = {.name = "perplexity",
                               .about = "how well a model foresees a text; how far its "
                                        "probabilities are from others",
                               .positional = "MODEL",
                               .target = &p.where.model,
                               .options = options,
                               .noptions = sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code < 0)
        code = check_options(&p);
    if (!p.context && !p.kl)
        p.context = USUAL_CONTEXT;
    if (code < 0)
        code = read_model_options(&p.where, &p.how);
    if (code >= 0)
        return code;
    p.watched = isatty(STDERR_FILENO) && !p.json;
    code = open_context(&p.where, &p.cx);
    if (!code)
        code = run(&p);
    perplexity_deinit(&p);
    return code;
}
