#include <stdio.h>

#include "frontend/tool/args.h"

/* The prompt is printed when there is something to follow it: not before it has been accepted. */
typedef struct printer {
    const char *prompt; /* NULL: printed */
} printer;

static void print_prompt(printer *p)
{
    if (p->prompt)
        fputs(p->prompt, stdout);
    p->prompt = NULL;
}

static bool print_piece(void *user, const char *utf8, size_t bytes)
{
    print_prompt(user);
    return fwrite(utf8, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

static double rate(int64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

/* Of `new_tokens` the first comes out of the prefill; the others cost a decode step each. */
static void print_summary(const rlx_context *cx, const rlx_model *m, const rlx_generate_stats *s)
{
    rlx_model_info info;
    rlx_model_get_info(m, &info);
    int64_t steps = s->new_tokens > 0 ? s->new_tokens - 1 : 0;
    fprintf(stderr, "model    %s, %lld layers, %.2f MB of weights\n", info.family,
            (long long)info.layers, (double)info.weight_bytes / 1e6);
    fprintf(stderr, "device   %s, %d thread%s, precision %s\n", rlx_context_device(cx),
            rlx_context_threads(cx), rlx_context_threads(cx) == 1 ? "" : "s",
            precision_name(info.precision));
    fprintf(stderr, "load     %.4f s\n", info.load_seconds);
    fprintf(stderr, "compile  %.4f s (%d kernels, %d layer function%s)\n", info.compile_seconds,
            info.kernels, info.layer_functions, info.layer_functions == 1 ? "" : "s");
    fprintf(stderr, "prefill  %lld tokens, %.1f tokens/s\n", (long long)s->prompt_tokens,
            rate(s->prompt_tokens, s->prefill_seconds));
    fprintf(stderr,
            "decode   %lld steps, %.1f tokens/s, %lld bytes of weights per token, %.2f GB/s\n",
            (long long)steps, rate(steps, s->decode_seconds), (long long)info.token_bytes,
            rate(steps, s->decode_seconds) * (double)info.token_bytes / 1e9);
}

static rlx_status generate(rlx_context *cx, const run_where *w, const rlx_model_options *mo,
                           const rlx_generate_options *o)
{
    rlx_model *model = NULL;
    rlx_session *session = NULL;
    rlx_generate_stats stats;
    rlx_model_info info;
    printer out = {.prompt = o->prompt};
    rlx_status st = rlx_model_load(cx, w->model, mo, &model);
    if (st)
        goto done;
    rlx_model_get_info(model, &info);
    st = rlx_session_create(cx, &(rlx_session_options){.max_positions = info.max_positions},
                            &session);
    if (st)
        goto done;
    st = rlx_model_generate(model, session, o, print_piece, &out, &stats);
    if (!st)
        print_prompt(&out);
    if (!out.prompt)
        putchar('\n');
    if (!st)
        print_summary(cx, model, &stats);
done:
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    return st;
}

int command_run(int argc, char **argv)
{
    run_where where = {0};
    int64_t seed = 0, tokens = -1;
    rlx_generate_options o = {.prompt = ""};
    const option_spec options[] = {
        OPTION_MODEL(where),
        {"prompt", "p", OPTION_TEXT, "TEXT", "the text to go on from", &o.prompt},
        {"tokens", "n", OPTION_ANY_INT, "N",
         "new tokens at most; -1: until the context is full (-1)", &tokens},
        {"temp", NULL, OPTION_REAL, "T", "temperature; 0 takes the likeliest token (0)",
         &o.temperature},
        {"seed", "s", OPTION_ANY_INT, "S", "of the random choices (0)", &seed},
        {"ignore-eos", NULL, OPTION_FLAG, NULL, "go on after the end of the text", &o.ignore_eos},
        OPTION_PRECISION(where, "exact"),
        OPTION_THREADS(where),
        OPTION_DEVICE(where),
        OPTION_PROFILE(where),
    };
    const command_spec spec = {"run",   "generates text: prompt and continuation to stdout",
                               "MODEL", &where.model,
                               options, sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    if (tokens == 0 || tokens < -1)
        return usage_error("run: --tokens %lld generates nothing; without it the text goes on "
                           "until it ends or the context is full",
                           (long long)tokens);
    o.count = tokens > 0 ? tokens : 0;
    o.seed = (uint64_t)seed;
    rlx_context *cx = NULL;
    rlx_model_options mo = {0};
    code = read_model_options(&where, &mo);
    if (code >= 0)
        return code;
    rlx_status st = open_context(&where, &cx);
    if (!st)
        st = generate(cx, &where, &mo, &o);
    rlx_context_destroy(cx);
    rlx_profile_destroy(where.profile);
    return st ? report(st) : finish_output();
}
