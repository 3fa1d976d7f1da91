/* frontend/tool/cmd_inspect.c: what a model's files hold; what the compiler makes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"

typedef struct inspection {
    run_where where;
    rlx_model_options options;
    const char *level, *bucket, *target;
    bool fusion, memory, json;
} inspection;

static rlx_status put(rlx_status st, char *text)
{
    if (st)
        return st;
    fputs(text, stdout);
    free(text);
    return RLX_OK;
}

static rlx_status list(const inspection *i)
{
    char *text;
    rlx_status st = rlx_model_describe(i->where.model, i->json, &text);
    return put(st, text);
}

static rlx_status show(const inspection *i, rlx_context *cx, const char *what)
{
    char level[128], *text;
    const bool named = i->target && strcmp(what, "buckets");
    snprintf(level, sizeof level, "%s%s%s", what, named ? "@" : "", named ? i->target : "");
    rlx_status st = rlx_model_inspect(cx, i->where.model, &i->options,
                                      i->bucket ? i->bucket : "decode", level, &text);
    return put(st, text);
}

static int compile(const inspection *i)
{
    rlx_context *cx;
    int code = open_context(&i->where, &cx);
    if (code)
        return code;
    rlx_status st = i->level ? show(i, cx, i->level) : NULL;
    if (!st && i->fusion)
        st = show(i, cx, "fusion");
    if (!st && i->memory)
        st = show(i, cx, "memory");
    rlx_context_destroy(cx);
    return report(st);
}

/* Is the word one of those that the option takes? As args_parse. */
static int check_word(const char *option, const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!word || !strcmp(word, words[i]))
            return -1;
    const char *near = nearest_word(word, words, n);
    if (near)
        return usage_error("inspect: no %s \"%s\"; did you mean %s?", option, word, near);
    return usage_error("inspect: no %s \"%s\"; see rlx inspect --help", option, word);
}

static bool compiles(const inspection *i)
{
    return i->level || i->fusion || i->memory;
}

/* The list is of the files alone. */
static int check_list(const inspection *i)
{
    const run_where *w = &i->where;
    const struct {
        const char *option, *given;
    } unused[] = {{"bucket", i->bucket},       {"precision", w->precision},
                  {"cache-type-k", w->type_k}, {"cache-type-v", w->type_v},
                  {"device", w->device},       {"profile", w->profile_path},
                  {"target", i->target}};
    for (size_t k = 0; k < sizeof unused / sizeof *unused; k++)
        if (unused[k].given)
            return usage_error("inspect: --%s is for --level, --fusion and --memory",
                               unused[k].option);
    return -1;
}

static int check(const inspection *i)
{
    static const char *const levels[] = {"flow",  "hir", "mir",    "lir",         "llvm",   "asm",
                                         "spirv", "ptx", "amdgcn", "composition", "buckets"};
    static const char *const buckets[] = {"decode", "prefill"};
    int code = check_word("level", i->level, levels, sizeof levels / sizeof *levels);
    if (code < 0 && !(i->bucket && strchr(i->bucket, ':'))) /* "prefill:16": the model knows */
        code = check_word("bucket", i->bucket, buckets, 2);
    if (code < 0 && i->target && i->where.device)
        return usage_error("inspect: --target and --device: one of them");
    if (code < 0 && i->json && compiles(i))
        return usage_error("inspect: --json is for the list of tensors and metadata");
    return code < 0 && !compiles(i) ? check_list(i) : code;
}

int command_inspect(int argc, char **argv)
{
    inspection i = {.where = {.command = "inspect", .no_cache = true}}; /* it runs nothing */
    const option_spec options[] = {
        OPTION_MODEL(i.where),
        {"json", NULL, OPTION_FLAG, NULL, "the list of tensors and metadata, for programs",
         &i.json},
        {"level", "l", OPTION_TEXT, "LEVEL",
         "flow, hir, mir, lir, llvm, asm, spirv, ptx, amdgcn (of a device of that kind; without "
         "one, of vulkan:base, cuda:sm_80, hip:gfx942), "
         "composition (which layers are alike) or buckets, in place of the list",
         &i.level},
        {"target", NULL, OPTION_TEXT, "NAME",
         "a machine that need not be here, in place of a device: znver4, cuda:sm_90a, hip:gfx1100, "
         "vulkan:amd, ...",
         &i.target},
        {"fusion", NULL, OPTION_FLAG, NULL, "what was fused, what was not, and why", &i.fusion},
        {"memory", NULL, OPTION_FLAG, NULL, "the arena's map, with its lower bound", &i.memory},
        {"bucket", "b", OPTION_TEXT, "NAME",
         "decode, prefill (the largest), prefill:N or decode:N (decode)", &i.bucket},
        OPTION_PRECISION(i.where, "exact"),
        OPTION_CACHE_KEYS(i.where),
        OPTION_CACHE_VALUES(i.where),
        OPTION_DEVICE(i.where),
        OPTION_LAYERS(i.where),
        OPTION_PROFILE(i.where),
    };
    const command_spec spec = {
        "inspect", "what a model's files hold, and what the compiler makes of it",
        "MODEL",   &i.where.model,
        options,   sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code < 0)
        code = check(&i);
    if (code < 0 && compiles(&i))
        code = read_model_options(&i.where, &i.options);
    if (code >= 0)
        return code;
    code = compiles(&i) ? compile(&i) : report(list(&i));
    rlx_profile_destroy(i.where.profile);
    return code ? code : finish_output();
}
