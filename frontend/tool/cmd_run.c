/* rlx run: a prompt in, text out. Text alone goes to stdout. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/tool/run.h"

enum { MOST_POSITIONS = 32768 };

/* ---- the prompt */

/* The prompt of -f FILE, without the line's end that editors put behind it; the exit code of a
 * complaint, or -1. */
static int read_prompt(const char *file, char **text)
{
    size_t bytes;
    const int code = read_text("reading the prompt from", file, text, &bytes);
    if (code >= 0)
        return code;
    if (strlen(*text) != bytes)
        return failure("reading the prompt from %s: byte %zu is NUL", file, strlen(*text));
    if (bytes && (*text)[bytes - 1] == '\n')
        (*text)[bytes - 1] = 0;
    return -1;
}

/* ---- running */

static int64_t choose_positions(const run_options *o, int64_t model)
{
    if (o->context > 0)
        return o->context;
    return o->context == 0 || model < MOST_POSITIONS ? model : MOST_POSITIONS;
}

static rlx_status open_model(runner *r)
{
    const run_where *w = &r->options->where;
    rlx_status st = rlx_model_load(r->cx, w->model, &r->how, &r->model);
    if (st)
        return st;
    rlx_model_get_info(r->model, &r->info);
    r->positions = choose_positions(r->options, r->info.max_positions);
    run_choose_sampling(r);
    return rlx_session_create(r->cx, &(rlx_session_options){.max_positions = r->positions},
                              &r->session);
}

/* A text that is gone on from as it is. The exit code. */
static int run_plain(runner *r, const char *prompt)
{
    const run_options *o = r->options;
    rlx_generate_options g = {.prompt = prompt};
    rlx_generate_stats stats;
    text_out out = {.before = o->no_prompt ? NULL : prompt, .quiet = o->json};
    char *text = NULL;
    size_t bytes;
    run_fill(r, &g);
    if (o->json && !(out.kept = open_memstream(&text, &bytes)))
        return failure("run: out of memory");
    rlx_status st = run_generate(r, &g, &out, &stats);
    if (out.kept && fclose(out.kept))
        out.error = ENOMEM;
    if (o->json && !st && !out.error)
        run_print_json(r, NULL, text, &stats, 0);
    if (!o->json && !st && !run_interrupted())
        run_begin_text(&out);
    if (!o->json)
        run_end_text(&out);
    free(text);
    if (st) {
        fflush(stdout);
        return report(st);
    }
    return run_finish(r, out.error);
}

/* ---- conversations, where there is a template */

/* r->chat stays NULL when texts are to be gone on from as they are. The exit code of a complaint,
 * or 0. */
static int open_chat(runner *r)
{
    const run_options *o = r->options;
    if (o->no_chat)
        return EXIT_OK;
    rlx_status st = rlx_chat_load(o->where.model, &r->chat);
    if (!st && o->chat_template)
        st = rlx_chat_use(r->chat, o->chat_template);
    if (st)
        return report(st);
    if (rlx_chat_count(r->chat))
        return EXIT_OK;
    rlx_chat_destroy(r->chat);
    r->chat = NULL;
    if (o->chat || o->system)
        return failure(
            "run: --%s: %s comes without a chat template; --chat-template FILE gives one",
            o->chat ? "conversation" : "system", o->where.model);
    return EXIT_OK;
}

/* `prompt`: NULL when the command line has none. */
static int run(run_options *o, const char *prompt)
{
    runner r = {.options = o, .how = {.precision = RLX_FAST}};
    int code = read_model_options(&o->where, &r.how);
    if (code >= 0)
        return code;
    code = open_chat(&r);
    r.how.text = r.chat ? "" : prompt ? prompt : "";
    if (o->context > 0)
        r.how.max_positions = o->context;
    if (!code)
        code = open_context(&o->where, &r.cx);
    if (!code)
        code = report(open_model(&r));
    if (!code)
        code = r.chat ? run_chat(&r, prompt) : run_plain(&r, prompt ? prompt : "");
    rlx_session_destroy(r.session);
    rlx_model_destroy(r.model);
    rlx_chat_destroy(r.chat);
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
    if (o->no_chat && (o->chat || o->system || o->chat_template))
        return usage_error("run: --no-conversation and --%s: one of them", o->chat ? "conversation"
                                                                           : o->system
                                                                               ? "system"
                                                                               : "chat-template");
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
        {"conversation", "cnv", OPTION_FLAG, NULL,
         "go on with lines of stdin as messages (without -p where there is a chat template)",
         &o.chat},
        {"no-conversation", "no-cnv", OPTION_FLAG, NULL,
         "no chat template: go on from the text as it is", &o.no_chat},
        {"system", "sys", OPTION_TEXT, "TEXT", "the system's message (none)", &o.system},
        {"chat-template", NULL, OPTION_TEXT, "FILE",
         "a Jinja file in place of the model's own template", &o.chat_template},
        {"json", NULL, OPTION_FLAG, NULL, "one JSON object per text; lines of stdin are JSON, too",
         &o.json},
        OPTION_PRECISION(o.where, "fast"),
        OPTION_THREADS(o.where),
        OPTIONS_PLACE(o.where),
    };
    const command_spec spec = {
        "run",   "generates text: an answer where there is a chat template, else a continuation",
        "MODEL", &o.where.model,
        options, sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code < 0)
        code = check(&o);
    char *text = NULL;
    if (code < 0 && o.file)
        code = read_prompt(o.file, &text);
    if (code < 0)
        code = run(&o, text ? text : o.prompt);
    free(text);
    rlx_profile_destroy(o.where.profile);
    return code;
}
