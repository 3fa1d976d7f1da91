/* rlx run: a prompt in, text out. Text alone goes to stdout. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/tool/args.h"

enum { EXIT_INTERRUPTED = 130, MOST_POSITIONS = 32768 };

/* What the command line says; absent numbers are negative. */
typedef struct run_options {
    run_where where;
    const char *prompt, *file;
    int64_t tokens, context, seed;
    double temperature, top_p, min_p, repeat_penalty;
    int64_t top_k, repeat_last_n;
    text_list stops;
    bool ignore_eos, no_prompt;
} run_options;

enum { ABSENT = -2 }; /* -1 means something to whole numbers that may be negative */

/* ---- Ctrl-C: the first ends the text, the second the program */

static volatile sig_atomic_t interrupted;
static rlx_session *volatile interruptible; /* NULL: nothing runs that could be ended */

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
    rlx_session *s = interruptible;
    if (s)
        rlx_session_cancel(s);
}

static void catch_signals(rlx_session *s)
{
    struct sigaction on_interrupt = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&on_interrupt.sa_mask);
    sigemptyset(&ignore.sa_mask);
    interruptible = s;
    sigaction(SIGINT, &on_interrupt, NULL);
    sigaction(SIGPIPE, &ignore, NULL); /* writing fails instead, and says so */
}

/* ---- the prompt */

/* *text is NULL when memory is short. */
static void read_stream(FILE *in, char **text, size_t *bytes)
{
    size_t cap = 1 << 16, n = 0;
    char *t = malloc(cap + 1), *more;
    while (t && (n += fread(t + n, 1, cap - n, in)) == cap) {
        more = realloc(t, 2 * cap + 1);
        if (!more)
            free(t);
        t = more;
        cap *= 2;
    }
    *text = t;
    *bytes = n;
    if (t)
        t[n] = 0;
}

/* The prompt of -f FILE, without the line's end that editors put behind it; the exit code of a
 * complaint, or -1. */
static int read_prompt(const char *file, char **text)
{
    const bool standard = !strcmp(file, "-");
    FILE *in = standard ? stdin : fopen(file, "rb");
    size_t bytes = 0;
    errno = in ? 0 : errno;
    if (in)
        read_stream(in, text, &bytes);
    const int bad = !in || ferror(in) ? (errno ? errno : EIO) : 0;
    if (in && !standard)
        fclose(in);
    if (bad)
        return failure("reading the prompt from %s: %s", file, strerror(bad));
    if (!*text)
        return failure("reading the prompt from %s: out of memory", file);
    if (strlen(*text) != bytes)
        return failure("reading the prompt from %s: byte %zu is NUL", file, strlen(*text));
    if (bytes && (*text)[bytes - 1] == '\n')
        (*text)[bytes - 1] = 0;
    return -1;
}

/* ---- text */

/* The prompt is printed when there is something to follow it: not before it has been accepted. */
typedef struct printer {
    const char *prompt; /* NULL: printed */
    int error;          /* errno of a write that failed */
} printer;

static void print_prompt(printer *p)
{
    if (p->prompt)
        fputs(p->prompt, stdout);
    p->prompt = NULL;
}

static bool print_piece(void *user, const char *utf8, size_t bytes)
{
    printer *p = user;
    errno = 0;
    print_prompt(p);
    if (fwrite(utf8, 1, bytes, stdout) != bytes || fflush(stdout) || ferror(stdout))
        p->error = errno ? errno : EIO;
    return !p->error && !interrupted;
}

/* ---- the summary */

static double rate(int64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

static void print_sampling(const rlx_sampling *s, uint64_t seed)
{
    if (s->temperature == 0)
        fprintf(stderr, "sample   the likeliest token");
    else
        fprintf(stderr,
                "sample   temperature %g, top-k %" PRId64 ", top-p %g, min-p %g, seed %" PRIu64,
                s->temperature, s->top_k, s->top_p, s->min_p, seed);
    if (s->repeat_penalty > 0 && s->repeat_penalty != 1)
        fprintf(stderr, ", repeat penalty %g over %" PRId64 " tokens", s->repeat_penalty,
                s->repeat_last_n);
    fputc('\n', stderr);
}

/* Of `new_tokens` the first comes out of the prefill; the others cost a decode step each. */
static void print_summary(const rlx_context *cx, const rlx_model_info *info, int64_t positions,
                          const rlx_generate_stats *s)
{
    int64_t steps = s->new_tokens > 0 ? s->new_tokens - 1 : 0;
    fprintf(stderr, "model    %s, %lld layers, %.2f MB of weights\n", info->family,
            (long long)info->layers, (double)info->weight_bytes / 1e6);
    fprintf(stderr, "device   %s, %d thread%s, precision %s\n", rlx_context_device(cx),
            rlx_context_threads(cx), rlx_context_threads(cx) == 1 ? "" : "s",
            precision_name(info->precision));
    fprintf(stderr, "context  %lld positions of the model's %lld\n", (long long)positions,
            (long long)info->made_for);
    fprintf(stderr, "load     %.4f s\n", info->load_seconds);
    fprintf(stderr, "compile  %.4f s (%d kernels, %d layer function%s)\n", info->compile_seconds,
            info->kernels, info->layer_functions, info->layer_functions == 1 ? "" : "s");
    fprintf(stderr, "prefill  %lld tokens, %.1f tokens/s\n", (long long)s->prompt_tokens,
            rate(s->prompt_tokens, s->prefill_seconds));
    fprintf(stderr,
            "decode   %lld steps, %.1f tokens/s, %lld bytes of weights per token, %.2f GB/s\n",
            (long long)steps, rate(steps, s->decode_seconds), (long long)info->token_bytes,
            rate(steps, s->decode_seconds) * (double)info->token_bytes / 1e9);
}

/* ---- running */

/* What the model's files say, where the command line says nothing. */
static rlx_sampling choose_sampling(const run_options *o, const rlx_model *m)
{
    rlx_sampling s;
    rlx_model_get_sampling(m, &s);
    s.temperature = o->temperature >= 0 ? o->temperature : s.temperature;
    s.top_k = o->top_k >= 0 ? o->top_k : s.top_k;
    s.top_p = o->top_p >= 0 ? o->top_p : s.top_p;
    s.min_p = o->min_p >= 0 ? o->min_p : s.min_p;
    s.repeat_penalty = o->repeat_penalty >= 0 ? o->repeat_penalty : s.repeat_penalty;
    s.repeat_last_n = o->repeat_last_n > ABSENT ? o->repeat_last_n : s.repeat_last_n;
    return s;
}

static int64_t choose_positions(const run_options *o, int64_t model)
{
    if (o->context > 0)
        return o->context;
    return o->context == 0 || model < MOST_POSITIONS ? model : MOST_POSITIONS;
}

typedef struct runner {
    const run_options *options;
    rlx_model_options how;
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    rlx_model_info info;
    int64_t positions;
} runner;

static rlx_status open_model(runner *r)
{
    rlx_status st = rlx_model_load(r->cx, r->options->where.model, &r->how, &r->model);
    if (st)
        return st;
    rlx_model_get_info(r->model, &r->info);
    r->positions = choose_positions(r->options, r->info.max_positions);
    return rlx_session_create(r->cx, &(rlx_session_options){.max_positions = r->positions},
                              &r->session);
}

/* The exit code. */
static int generate(runner *r, const char *prompt)
{
    const run_options *o = r->options;
    const rlx_sampling sampling = choose_sampling(o, r->model);
    const rlx_generate_options g = {
        .prompt = prompt,
        .count = o->tokens > 0 ? o->tokens : 0,
        .sampling = &sampling,
        .seed = o->seed >= 0 ? (uint64_t)o->seed : (uint64_t)time(NULL),
        .ignore_eos = o->ignore_eos,
        .stops = o->stops.item,
        .nstops = o->stops.n,
    };
    rlx_generate_stats stats = {0};
    printer out = {.prompt = o->no_prompt ? NULL : prompt};
    catch_signals(r->session);
    rlx_status st = rlx_model_generate(r->model, r->session, &g, print_piece, &out, &stats);
    interruptible = NULL;
    if (rlx_status_code(st) == RLX_CANCELLED) {
        rlx_status_free(st);
        st = RLX_OK;
    }
    if (!st && !interrupted)
        print_prompt(&out);
    if (!out.prompt)
        putchar('\n');
    if (st) {
        fflush(stdout);
        return report(st);
    }
    if (!out.error && (fflush(stdout) || ferror(stdout)))
        out.error = errno ? errno : EIO;
    print_summary(r->cx, &r->info, r->positions, &stats);
    print_sampling(&sampling, g.seed);
    if (out.error)
        return failure("writing to stdout: %s", strerror(out.error));
    return interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

static int run(run_options *o, const char *prompt)
{
    runner r = {.options = o, .how = {.precision = RLX_FAST}};
    int code = read_model_options(&o->where, &r.how);
    if (code >= 0)
        return code;
    r.how.text = prompt;
    if (o->context > 0)
        r.how.max_positions = r.how.length = o->context;
    code = open_context(&o->where, &r.cx);
    if (!code)
        code = report(open_model(&r));
    if (!code)
        code = generate(&r, prompt);
    rlx_session_destroy(r.session);
    rlx_model_destroy(r.model);
    rlx_context_destroy(r.cx);
    return code;
}

/* The exit code of a complaint, or -1. */
static int check(const run_options *o)
{
    if (o->tokens == 0 || o->tokens < -1)
        return usage_error("run: --tokens %lld generates nothing; without it the text goes on "
                           "until it ends or the context is full",
                           (long long)o->tokens);
    if (o->prompt && o->file)
        return usage_error("run: --prompt and --file: one of them");
    if (o->top_p > 1 || o->min_p > 1)
        return usage_error("run: --%s %g is no share: at most 1", o->top_p > 1 ? "top-p" : "min-p",
                           o->top_p > 1 ? o->top_p : o->min_p);
    if (o->repeat_last_n < -1 && o->repeat_last_n != ABSENT)
        return usage_error("run: --repeat-last-n %lld: -1 (all), 0 (none) or a number of tokens",
                           (long long)o->repeat_last_n);
    for (int i = 0; i < o->stops.n; i++)
        if (!*o->stops.item[i])
            return usage_error("run: --stop needs a text");
    return -1;
}

int command_run(int argc, char **argv)
{
    run_options o = {.where.command = "run",
                     .tokens = -1,
                     .context = ABSENT,
                     .temperature = ABSENT,
                     .top_k = ABSENT,
                     .top_p = ABSENT,
                     .min_p = ABSENT,
                     .repeat_penalty = ABSENT,
                     .repeat_last_n = ABSENT};
#define OWN "(the model's own, else "
    const option_spec options[] = {
        OPTION_MODEL(o.where),
        {"prompt", "p", OPTION_TEXT, "TEXT", "the text to go on from (none)", &o.prompt},
        {"file", "f", OPTION_TEXT, "FILE", "the same from a file; - for stdin", &o.file},
        {"tokens", "n", OPTION_ANY_INT, "N",
         "new tokens at most; -1: until the text ends or the context is full (-1)", &o.tokens},
        {"ctx", "c", OPTION_INT, "N",
         "positions: prompt and new tokens; 0: the model's (the model's, at most 32768)",
         &o.context},
        {"temp", NULL, OPTION_REAL, "T", "temperature; 0 takes the likeliest token " OWN "0.8)",
         &o.temperature},
        {"top-k", NULL, OPTION_INT, "K", "only the K likeliest tokens; 0: all " OWN "40)",
         &o.top_k},
        {"top-p", NULL, OPTION_REAL, "P",
         "only the likeliest that have P of the probability; 1: all " OWN "0.95)", &o.top_p},
        {"min-p", NULL, OPTION_REAL, "P",
         "only those of at least P times the likeliest's; 0: all " OWN "0.05)", &o.min_p},
        {"repeat-penalty", NULL, OPTION_REAL, "R",
         "makes tokens that were there less likely; 1: not " OWN "1)", &o.repeat_penalty},
        {"repeat-last-n", NULL, OPTION_ANY_INT, "N",
         "how many of the last tokens count; -1: all " OWN "64)", &o.repeat_last_n},
        {"stop", NULL, OPTION_LIST, "TEXT", "end before this text (may be given often)", &o.stops},
        {"seed", "s", OPTION_ANY_INT, "S", "of the random choices; -1: another every time (0)",
         &o.seed},
        {"ignore-eos", NULL, OPTION_FLAG, NULL, "go on after the end of the text", &o.ignore_eos},
        {"no-display-prompt", NULL, OPTION_FLAG, NULL, "print the new text only", &o.no_prompt},
        OPTION_PRECISION(o.where, "fast"),
        OPTION_THREADS(o.where),
        OPTION_DEVICE(o.where),
        OPTION_PROFILE(o.where),
        OPTION_CACHE_KEYS(o.where),
        OPTION_CACHE_VALUES(o.where),
    };
    const command_spec spec = {"run",   "generates text: prompt and continuation to stdout",
                               "MODEL", &o.where.model,
                               options, sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code < 0)
        code = check(&o);
    char *text = NULL;
    if (code < 0 && o.file)
        code = read_prompt(o.file, &text);
    if (code < 0)
        code = run(&o, text ? text : o.prompt ? o.prompt : "");
    free(text);
    rlx_profile_destroy(o.where.profile);
    return code;
}
