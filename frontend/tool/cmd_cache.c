/* rlx cache: looks after compiled code that is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"

typedef struct caching {
    run_where where;
    const char *words[2]; /* the action, and what it is about */
    const char *max_size;
    bool recompile, json;
    rlx_cache *cache;
    int64_t count, bytes, bad, unsure;
    int code;
} caching;

/* ---- actions on every entry */

/* A damaged entry is listed, too. */
static bool list_entry(void *user, const rlx_cache_entry *e)
{
    caching *c = user;
    char *text = NULL;
    rlx_status st = rlx_cache_describe(c->cache, e, c->json ? "json" : "line", &text);
    c->count++;
    c->bytes += e->bytes;
    if (st)
        c->code = report(st);
    else
        fputs(text, stdout);
    free(text);
    return true;
}

static bool verify_entry(void *user, const rlx_cache_entry *e)
{
    caching *c = user;
    rlx_status st = rlx_cache_verify(c->cache, e, c->recompile);
    const bool unsure = rlx_status_code(st) == RLX_UNSUPPORTED;
    c->count++;
    c->bad += st && !unsure;
    c->unsure += unsure;
    if (c->json)
        printf("{\"key\": \"%s\", \"ok\": %s, \"why\": ", e->key,
               st ? unsure ? "null" : "false" : "true");
    if (c->json)
        put_json_text(st ? rlx_status_message(st) : "");
    if (c->json)
        printf("}\n");
    if (st && !c->json)
        printf("%.16s %s: %s\n", e->key, unsure ? "not compiled anew" : "BAD",
               rlx_status_message(st));
    rlx_status_free(st);
    return true;
}

static bool remove_entry(void *user, const rlx_cache_entry *e)
{
    caching *c = user;
    if (e->system)
        return false;
    c->code = report(rlx_cache_remove(c->cache, e));
    c->count += !c->code;
    c->bytes += e->bytes;
    return !c->code;
}

/* Keys may be shortened; ambiguous ones are shown all. */
static bool show_entry(void *user, const rlx_cache_entry *e)
{
    caching *c = user;
    char *text = NULL;
    if (strncmp(e->key, c->words[1], strlen(c->words[1])) != 0)
        return true;
    c->count++;
    c->code = report(rlx_cache_describe(c->cache, e, c->json ? "json" : "text", &text));
    if (text)
        fputs(text, stdout);
    free(text);
    return !c->code;
}

/* ---- the actions */

static int each(caching *c, rlx_cache_visit *fn)
{
    int code = report(rlx_cache_each(c->cache, fn, c));
    return code ? code : c->code;
}

static int list(caching *c)
{
    int code = each(c, list_entry);
    const char *folder = rlx_cache_folder(c->cache);
    if (!c->json)
        fprintf(stderr, "%lld entries, %.1f MB in %s%s\n", (long long)c->count,
                (double)c->bytes / 1e6, folder ? folder : "no folder",
                rlx_cache_is_sealed(c->cache) ? ", sealed" : "");
    return code;
}

static int show(caching *c)
{
    int code = each(c, show_entry);
    if (!code && !c->count)
        return failure("cache: no entry %s", c->words[1]);
    return code;
}

static int verify(caching *c)
{
    int code = each(c, verify_entry);
    if (!c->json)
        fprintf(stderr, "%lld entries: %lld as they should be, %lld not compiled anew, %lld bad\n",
                (long long)c->count, (long long)(c->count - c->bad - c->unsure),
                (long long)c->unsure, (long long)c->bad);
    return code ? code : c->bad ? EXIT_FAILED : EXIT_OK;
}

/* "500M", "2G", "0": bytes, or -1. */
static int64_t read_size(const char *text)
{
    char *end;
    const double n = strtod(text, &end);
    static const char units[] = "kMGT";
    double bytes = n;
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        bytes *= 1000;
    end += unit != NULL;
    return end == text || *end || !(bytes >= 0 && bytes < 9e18) ? -1 : (int64_t)bytes;
}

static int collect(caching *c)
{
    int64_t removed;
    if (!c->max_size)
        return usage_error("cache gc: --max-size SIZE says how much may stay (500M, 2G)");
    const int64_t most = read_size(c->max_size);
    if (most < 0)
        return usage_error("cache gc: --max-size \"%s\" is no size: 500M, 2G", c->max_size);
    int code = report(rlx_cache_trim(c->cache, most, &removed));
    if (!code)
        fprintf(stderr, "%lld entries removed\n", (long long)removed);
    return code;
}

static int clear(caching *c)
{
    int code = report(rlx_cache_seal(c->cache, false));
    if (!code)
        code = each(c, remove_entry);
    if (!code)
        fprintf(stderr, "%lld entries removed, %.1f MB\n", (long long)c->count,
                (double)c->bytes / 1e6);
    return code;
}

static int unseal(caching *c)
{
    return report(rlx_cache_seal(c->cache, false));
}

static const struct action {
    const char *name;
    int (*run)(caching *c);
    bool takes_word, must_have_folder;
} actions[] = {
    {"ls", list, false, false},   {"show", show, true, false},   {"verify", verify, false, false},
    {"gc", collect, false, true}, {"clear", clear, false, true}, {"unseal", unseal, false, true},
};
enum { NACTIONS = sizeof actions / sizeof *actions };

static int run(caching *c, const struct action *a)
{
    if (a->takes_word && !c->words[1])
        return usage_error("cache %s: of which entry? its KEY, as rlx cache ls prints it", a->name);
    if (!a->takes_word && c->words[1])
        return usage_error("cache %s: \"%s\" is one argument too many", a->name, c->words[1]);
    rlx_status st = rlx_cache_open(&(rlx_cache_options){.folder = c->where.cache_dir}, &c->cache);
    if (st)
        return report(st);
    int code = a->must_have_folder && !rlx_cache_folder(c->cache)
                   ? failure("cache %s: there is no cache folder", a->name)
                   : a->run(c);
    rlx_cache_close(c->cache);
    return code ? code : finish_output();
}

int command_cache(int argc, char **argv)
{
    caching c = {.where = {.command = "cache"}};
    const option_spec options[] = {
        OPTION_CACHE_DIR(c.where),
        {"recompile", NULL, OPTION_FLAG, NULL,
         "verify: also compile every entry anew and compare the bytes", &c.recompile},
        {"max-size", NULL, OPTION_TEXT, "SIZE", "gc: what may stay (500M, 2G)", &c.max_size},
        {"json", NULL, OPTION_FLAG, NULL, "ls, show, verify: a JSON object per entry", &c.json},
    };
    const command_spec spec = {
        .name = "cache",
        .about = "ls, show KEY, verify, gc, clear, unseal: compiled code that is kept\n"
                 "  (why a model's code is not there: rlx warm MODEL --dry-run)",
        .positional = "ACTION KEY",
        .target = c.words,
        .options = options,
        .noptions = sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    const char *names[NACTIONS];
    for (int i = 0; i < NACTIONS; i++) {
        names[i] = actions[i].name;
        if (!strcmp(c.words[0], actions[i].name))
            return run(&c, &actions[i]);
    }
    const char *near = nearest_word(c.words[0], names, NACTIONS);
    return usage_error("cache: no action %s%s%s%s; there are ls, show, verify, gc, clear, unseal",
                       c.words[0], near ? "; did you mean " : "", near ? near : "",
                       near ? "?" : "");
}
