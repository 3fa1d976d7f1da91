/* frontend/tool/run_text.c: generating a text, Ctrl-C, and what is told of it. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/tool/run.h"

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

bool run_interrupted(void)
{
    return interrupted;
}

/* ---- text */

/* The prompt is printed when there is something to follow it: not before it has been accepted. */
void run_begin_text(text_out *out)
{
    if (out->before)
        fputs(out->before, stdout);
    out->before = NULL;
}

static bool print_piece(void *user, const char *utf8, size_t bytes)
{
    text_out *out = user;
    errno = 0;
    if (out->kept && fwrite(utf8, 1, bytes, out->kept) != bytes)
        out->error = ENOMEM;
    if (!out->quiet) {
        run_begin_text(out);
        if (fwrite(utf8, 1, bytes, stdout) != bytes || fflush(stdout) || ferror(stdout))
            out->error = errno ? errno : EIO;
    }
    return !out->error && !interrupted;
}

void run_end_text(text_out *out)
{
    if (!out->before)
        putchar('\n');
    if (!out->error && (fflush(stdout) || ferror(stdout)))
        out->error = errno ? errno : EIO;
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

static void summarize(const runner *r)
{
    rlx_model_info now;
    const rlx_model_info *info = &now; /* with what was compiled on the way */
    const rlx_generate_stats *s = &r->total;
    const rlx_context *cx = r->cx;
    int64_t steps = r->steps;
    rlx_model_get_info(r->model, &now);
    fprintf(stderr, "model    %s, %lld layers, %.2f MB of weights\n", info->family,
            (long long)info->layers, (double)info->weight_bytes / 1e6);
    fprintf(stderr, "device   %s, %d thread%s, precision %s\n", rlx_context_device(cx),
            rlx_context_threads(cx), rlx_context_threads(cx) == 1 ? "" : "s",
            precision_name(info->precision));
    fprintf(stderr, "context  %lld positions of the model's %lld\n", (long long)r->positions,
            (long long)info->made_for);
    fprintf(stderr, "load     %.4f s\n", info->load_seconds);
    fprintf(stderr, "compile  %.4f s (%d kernels, %d layer function%s%s)\n", info->compile_seconds,
            info->kernels, info->layer_functions, info->layer_functions == 1 ? "" : "s",
            info->cached ? ", from the cache" : "");
    fprintf(stderr, "prefill  %lld tokens, %.1f tokens/s\n", (long long)s->prompt_tokens,
            rate(s->prompt_tokens, s->prefill_seconds));
    fprintf(stderr,
            "decode   %lld steps, %.1f tokens/s, %lld bytes of weights per token, %.2f GB/s\n",
            (long long)steps, rate(steps, s->decode_seconds), (long long)info->token_bytes,
            rate(steps, s->decode_seconds) * (double)info->token_bytes / 1e9);
    print_sampling(&r->sampling, r->seed);
}

/* Why the text ended. */
static const char *finish(const runner *r, const rlx_generate_stats *s)
{
    if (interrupted)
        return "interrupted";
    if (s->ended)
        return "stop";
    return r->options->tokens > 0 && s->new_tokens == r->options->tokens ? "length" : "context";
}

void run_print_json(const runner *r, const char *role, const char *text,
                    const rlx_generate_stats *s, int64_t cached)
{
    fputs(role ? "{\"role\": " : "{", stdout);
    if (role)
        put_json_text(role);
    fputs(role ? ", \"content\": " : "\"content\": ", stdout);
    put_json_text(text);
    printf(", \"finish\": \"%s\", \"prompt_tokens\": %" PRId64 ", \"cached_tokens\": %" PRId64
           ", \"new_tokens\": %" PRId64 ", \"prefill_seconds\": %.6f, \"decode_seconds\": %.6f}\n",
           finish(r, s), s->prompt_tokens + cached, cached, s->new_tokens, s->prefill_seconds,
           s->decode_seconds);
    fflush(stdout);
}

int run_finish(const runner *r, int error)
{
    if (!error && (fflush(stdout) || ferror(stdout)))
        error = errno ? errno : EIO;
    summarize(r);
    if (error)
        return failure("writing to stdout: %s", strerror(error));
    return interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

/* ---- generating */

/* What the model's files say, where the command line says nothing. */
void run_choose_sampling(runner *r)
{
    const run_options *o = r->options;
    rlx_sampling s;
    rlx_model_get_sampling(r->model, &s);
    s.temperature = o->temperature >= 0 ? o->temperature : s.temperature;
    s.top_k = o->top_k >= 0 ? o->top_k : s.top_k;
    s.top_p = o->top_p >= 0 ? o->top_p : s.top_p;
    s.min_p = o->min_p >= 0 ? o->min_p : s.min_p;
    s.repeat_penalty = o->repeat_penalty >= 0 ? o->repeat_penalty : s.repeat_penalty;
    s.repeat_last_n = o->repeat_last_n > ABSENT ? o->repeat_last_n : s.repeat_last_n;
    r->sampling = s;
    r->seed = o->seed >= 0 ? (uint64_t)o->seed : (uint64_t)time(NULL);
}

void run_fill(const runner *r, rlx_generate_options *g)
{
    const run_options *o = r->options;
    g->count = o->tokens > 0 ? o->tokens : 0;
    g->sampling = &r->sampling;
    g->seed = r->seed;
    g->ignore_eos = o->ignore_eos;
    g->stops = o->stops.item;
    g->nstops = o->stops.n;
}

rlx_status run_generate(runner *r, const rlx_generate_options *g, text_out *out,
                        rlx_generate_stats *stats)
{
    *stats = (rlx_generate_stats){0};
    catch_signals(r->session);
    rlx_status st = rlx_model_generate(r->model, r->session, g, print_piece, out, stats);
    interruptible = NULL;
    r->total.prompt_tokens += stats->prompt_tokens;
    r->total.new_tokens += stats->new_tokens;
    r->total.prefill_seconds += stats->prefill_seconds;
    r->total.decode_seconds += stats->decode_seconds;
    r->steps += stats->new_tokens > 0 ? stats->new_tokens - 1 : 0;
    if (rlx_status_code(st) == RLX_CANCELLED) {
        rlx_status_free(st);
        st = RLX_OK;
    }
    return st;
}
