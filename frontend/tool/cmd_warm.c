/* rlx warm: a model's code into the cache, before anybody waits for it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "frontend/tool/args.h"

typedef struct warming {
    run_where where;
    text_list targets;
    bool dry_run, seal, pack, json;
    bool watched; /* somebody sees the bar */
    int missing, compiled, there;
} warming;

static void print_json(const warming *w, const rlx_warm_step *s)
{
    printf("{\"model\": ");
    put_json_text(w->where.model);
    printf(", \"target\": ");
    put_json_text(s->target);
    printf(", \"bucket\": \"%s\", \"tokens\": %lld, \"there\": %s, \"seconds\": %.6f", s->bucket,
           (long long)s->tokens, s->there ? "true" : "false", s->seconds);
    if (w->dry_run && !s->there) {
        printf(", \"why\": ");
        put_json_text(s->why);
    }
    printf("}\n");
}

static bool hear(void *user, const rlx_warm_step *s)
{
    warming *w = user;
    w->there += s->there;
    w->missing += !s->there && w->dry_run;
    w->compiled += !s->there && !w->dry_run;
    if (w->json)
        print_json(w, s);
    else if (w->dry_run && !s->there)
        printf("%s: %s, %s of %lld tokens is missing: %s", w->where.model, s->target, s->bucket,
               (long long)s->tokens, s->why);
    if (w->watched && !w->dry_run)
        draw_progress(s->done, s->total, "%d/%d %s: %s, %lld tokens", s->done, s->total,
                      w->where.model, s->target, (long long)s->tokens);
    return true;
}

static int warm_in(warming *w, rlx_context *cx, const rlx_model_options *how)
{
    const rlx_warm_options o = {.targets = w->targets.item,
                                .ntargets = w->targets.n,
                                .dry_run = w->dry_run,
                                .progress = hear,
                                .user = w};
    rlx_status st = rlx_model_warm(cx, w->where.model, how, &o);
    if (w->watched)
        end_progress();
    return report_usage("warm", st);
}

/* A model with the profile that lies beside it. `seal`: it is the last one. */
static int warm_one(warming *w, const char *model, bool seal)
{
    rlx_context *cx = NULL;
    rlx_model_options how = {.precision = RLX_FAST};
    w->where.model = model;
    int code = read_model_options(&w->where, &how);
    if (code >= 0)
        return code;
    code = open_context(&w->where, &cx);
    if (!code)
        code = warm_in(w, cx, &how);
    if (!code && seal)
        code = report(rlx_cache_seal(rlx_context_cache(cx), true));
    rlx_context_destroy(cx);
    rlx_profile_destroy(w->where.profile);
    w->where.profile = NULL;
    return code;
}

static int warm_all(warming *w, const char *const *models)
{
    int code = EXIT_OK;
    for (; !code && *models; models++)
        code = warm_one(w, *models, w->seal && !models[1]);
    if (!code && !w->json)
        fprintf(stderr, "%d bucket%s compiled, %d there%s, %d missing%s\n", w->compiled,
                w->compiled == 1 ? "" : "s", w->there, w->dry_run ? "" : " before", w->missing,
                w->seal ? "; the cache is sealed" : "");
    if (!code && w->pack) /* docs/decisions/2026-11-29-weight-packs.md */
        fprintf(stderr, "nothing to pack: every kernel of this build reads weights as their file "
                        "has them\n");
    if (!code)
        code = finish_output();
    return code ? code : w->missing ? EXIT_FAILED : EXIT_OK;
}

int command_warm(int argc, char **argv)
{
    warming w = {.where = {.command = "warm"}, .watched = isatty(STDERR_FILENO)};
    const char *models[MAX_LIST] = {NULL};
    const option_spec options[] = {
        {"target", NULL, OPTION_LIST, "NAME",
         "a machine that need not be here: x86-64-v3, znver4, sapphirerapids, neoverse-v2, "
         "cuda:sm_80, cuda:sm_80,step=kernel, hip:gfx942, vulkan:nvidia, vulkan:base,-int8, "
         "vulkan:nvidia,matrix=16x16x32, "
         "... "
         "(this one; may be given "
         "often)",
         &w.targets},
        OPTION_PRECISION(w.where, "fast"),
        OPTION_CACHE_KEYS(w.where),
        OPTION_CACHE_VALUES(w.where),
        OPTION_PROFILE(w.where),
        OPTION_CACHE_DIR(w.where),
        {"jobs", "j", OPTION_INT, "N", "threads that compile (all cores that the process may use)",
         &w.where.threads},
        {"dry-run", NULL, OPTION_FLAG, NULL,
         "compile nothing; list what is missing, and why; exit code 1 when something is",
         &w.dry_run},
        {"seal", NULL, OPTION_FLAG, NULL,
         "the set is complete then: a run that would have to compile fails", &w.seal},
        {"pack", NULL, OPTION_FLAG, NULL,
         "also makes weight packs for kernels that want other layouts than the file's: none of "
         "this "
         "build does",
         &w.pack},
        {"json", NULL, OPTION_FLAG, NULL, "a JSON object per bucket", &w.json},
    };
    const command_spec spec = {.name = "warm",
                               .about = "compiles all that running a model needs into the cache",
                               .positional = "MODEL...",
                               .target = models,
                               .options = options,
                               .noptions = sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    if (w.dry_run && w.seal)
        return usage_error("warm: --dry-run and --seal: one of them");
    return warm_all(&w, models);
}
