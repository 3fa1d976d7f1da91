/* rlx cache: looks after compiled code that is kept. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"

typedef struct caching {
    run_where where;
    const char *words[2]; /* the action, and what it is about */
    const char *max_size, *key;
    bool recompile, json, is_unsigned;
    rlx_cache *cache;
    int64_t count, bytes, bad, unsure;
    int code;
} caching;

/* ---- actions on every entry */

/* Names come from files: none shall steer the terminal. */
static void put_plain(char *text)
{
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c) && *c != '\n')
            *c = '?';
    fputs(text, stdout);
}

/* A damaged entry is listed, too. */
static bool list_entry(void *user, const rlx_cache_entry *e)
{
    caching *c = user;
    char *text = NULL;
    rlx_status st = rlx_cache_describe(c->cache, e, c->json ? "json" : "line", &text);
    c->count++;
    c->bytes += e->bytes + e->driver_bytes;
    if (st)
        c->code = report(st);
    else
        put_plain(text);
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
    c->bytes += e->bytes + e->driver_bytes;
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
        put_plain(text);
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
    if (!code) /* what drivers made of entries of the system's folder, or of what is gone */
        code = report(rlx_cache_trim(c->cache, 0, NULL));
    if (!code)
        fprintf(stderr, "%lld entries removed, %.1f MB\n", (long long)c->count,
                (double)c->bytes / 1e6);
    return code;
}

static int unseal(caching *c)
{
    return report(rlx_cache_seal(c->cache, false));
}

/* ---- carried elsewhere */

static int count_done(int code, const caching *c, const char *what)
{
    if (!code)
        fprintf(stderr, "%lld entries %s\n", (long long)c->count, what);
    return code;
}

/* What is damaged is left out, each with a warning; the rest is good, and the exit code says that it is not all. */
static int export_all(caching *c)
{
    rlx_cache_stats stats;
    rlx_status st = rlx_cache_export(c->cache, c->words[1], c->key, &c->count);
    int code = count_done(report(st), c, c->key ? "written, signed" : "written");
    rlx_cache_get_stats(c->cache, &stats);
    if (!code && stats.damaged)
        code = failure("cache export: %lld damaged entr%s left out", (long long)stats.damaged,
                       stats.damaged == 1 ? "y is" : "ies are");
    return code;
}

static int import_all(caching *c)
{
    if (!c->key == !c->is_unsigned)
        return usage_error(
            "cache import: entries are code: --key FILE.pub names whose, or --unsigned trusts the "
            "file as it is");
    rlx_status st = rlx_cache_import(c->cache, c->words[1], c->key, &c->count);
    return count_done(report(st), c, "taken");
}

static int sign_all(caching *c)
{
    if (!c->key)
        return usage_error("cache sign: --key FILE is the secret key");
    rlx_status st = rlx_cache_sign(c->cache, c->key, &c->count);
    return count_done(report(st), c, "signed");
}

static int make_keys(caching *c)
{
    int code = report(rlx_cache_make_keys(c->words[1]));
    if (!code)
        fprintf(stderr, "%s is secret; %s.pub is for whoever shall trust what it signs\n",
                c->words[1], c->words[1]);
    return code;
}

/* ---- what is missing */

static bool explain_bucket(void *user, const rlx_warm_step *s)
{
    caching *c = user;
    c->bad += !s->there;
    printf("%s of %lld tokens, %s: %s", s->bucket, (long long)s->tokens, s->target,
           s->there ? "there\n" : s->why);
    return true;
}

static int explain(caching *c)
{
    rlx_context *cx = NULL;
    rlx_model_options how = {.precision = RLX_FAST};
    const rlx_warm_options o = {.dry_run = true, .progress = explain_bucket, .user = c};
    c->where.model = c->words[1];
    int code = read_model_options(&c->where, &how);
    if (code >= 0)
        return code;
    code = open_context(&c->where, &cx);
    if (!code)
        code = report(rlx_model_warm(cx, c->where.model, &how, &o));
    rlx_context_destroy(cx);
    rlx_profile_destroy(c->where.profile);
    return code ? code : c->bad ? EXIT_FAILED : EXIT_OK;
}

/* Options that some actions take and others do not. */
enum { RECOMPILE = 1, MAX_SIZE = 2, KEY = 4, UNSIGNED = 8, HOW = 16, JSON = 32, FOLDER = 64 };

static const struct action {
    const char *name;
    int (*run)(caching *c);
    const char *word; /* what it is about; NULL: nothing */
    bool must_have_folder;
    int options; /* that it takes */
} actions[] = {
    {"ls", list, NULL, false, FOLDER | JSON},
    {"show", show, "KEY, as rlx cache ls prints it", false, FOLDER | JSON},
    {"explain", explain, "MODEL", true, FOLDER | HOW},
    {"verify", verify, NULL, false, FOLDER | RECOMPILE | JSON},
    {"gc", collect, NULL, true, FOLDER | MAX_SIZE},
    {"clear", clear, NULL, true, FOLDER},
    {"unseal", unseal, NULL, true, FOLDER},
    {"export", export_all, "FILE", false, FOLDER | KEY},
    {"import", import_all, "FILE", true, FOLDER | KEY | UNSIGNED},
    {"sign", sign_all, NULL, true, FOLDER | KEY},
    {"keygen", make_keys, "FILE", false, 0},
};
enum { NACTIONS = sizeof actions / sizeof *actions };

/* An option that was given and that the action has no use for; NULL: none. */
static const char *useless_option(const caching *c, const struct action *a)
{
    const struct {
        const char *name;
        int option;
        bool given;
    } all[] = {{"recompile", RECOMPILE, c->recompile},
               {"max-size", MAX_SIZE, c->max_size != NULL},
               {"key", KEY, c->key != NULL},
               {"unsigned", UNSIGNED, c->is_unsigned},
               {"precision", HOW, c->where.precision != NULL},
               {"cache-type-k", HOW, c->where.type_k != NULL},
               {"cache-type-v", HOW, c->where.type_v != NULL},
               {"profile", HOW, c->where.profile_path != NULL},
               {"json", JSON, c->json},
               {"cache-dir", FOLDER, c->where.cache_dir != NULL}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given && !(a->options & all[i].option))
            return all[i].name;
    return NULL;
}

static void warn(void *user, const char *message)
{
    (void)user;
    fprintf(stderr, "rlx: %s\n", message);
}

static int run(caching *c, const struct action *a)
{
    if (a->word && !c->words[1])
        return usage_error("cache %s: no %s given", a->name, a->word);
    if (!a->word && c->words[1])
        return usage_error("cache %s: \"%s\" is one argument too many", a->name, c->words[1]);
    const char *useless = useless_option(c, a);
    if (useless)
        return usage_error("cache %s: --%s is of no use there", a->name, useless);
    if (a->run == make_keys)
        return make_keys(c); /* of no cache */
    const rlx_cache_options o = {.folder = c->where.cache_dir, .warn = warn};
    rlx_status st = rlx_cache_open(&o, &c->cache);
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
        {"key", NULL, OPTION_TEXT, "FILE",
         "export, sign: the secret key; import: the public key that is trusted", &c.key},
        {"unsigned", NULL, OPTION_FLAG, NULL, "import: trust the file as it is", &c.is_unsigned},
        OPTION_PRECISION(c.where, "explain: fast"),
        OPTION_CACHE_KEYS(c.where),
        OPTION_CACHE_VALUES(c.where),
        OPTION_PROFILE(c.where),
        {"json", NULL, OPTION_FLAG, NULL, "ls, show, verify: a JSON object per entry", &c.json},
    };
    const command_spec spec = {.name = "cache",
                               .about =
                                   "compiled code that is kept: ls, show KEY, explain MODEL (what "
                                   "of it is missing, and why), "
                                   "verify, gc,\n"
                                   "  clear, unseal; export FILE, import FILE, sign, keygen FILE",
                               .positional = "ACTION WORD",
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
    if (near)
        return usage_error("cache: no action %s; did you mean %s?", c.words[0], near);
    return usage_error("cache: no action %s; see rlx cache --help", c.words[0]);
}
