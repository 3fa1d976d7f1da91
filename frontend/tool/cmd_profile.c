/* frontend/tool/cmd_profile.c: profiles: what they say, whether they are right, how two differ. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/tool/args.h"

typedef struct profiles {
    const char *word[3]; /* what to do, and with what */
    const char *file, *preset;
    bool json;
} profiles;

/* ---- show -------------------------------------------------------------------------------------
 */

static void put_setting(const rlx_profile_setting *s, bool json, bool first)
{
    if (!json) {
        printf("%-30s %-16s %s\n", s->key, *s->value ? s->value : "-", s->origin);
        return;
    }
    fputs(first ? "  " : ",\n  ", stdout);
    put_json_text(s->key);
    fputs(": {\"value\": ", stdout);
    put_json_text(s->value);
    fputs(", \"origin\": ", stdout);
    put_json_text(s->origin);
    fputs("}", stdout);
}

/* A profile by --preset, --profile, or from beside MODEL; NULL: there is none. */
static rlx_status load(const profiles *p, const char *model, rlx_profile **out)
{
    char *beside = NULL;
    rlx_status st = NULL;
    *out = NULL;
    if (p->preset)
        return rlx_profile_preset(p->preset, out);
    if (!p->file && model)
        st = rlx_profile_find(model, &beside);
    const char *path = p->file ? p->file : beside;
    if (!st && path)
        st = rlx_profile_load(path, out);
    free(beside);
    return st;
}

static int show(const profiles *p)
{
    rlx_profile *profile;
    rlx_profile_setting s;
    if (p->word[2])
        return usage_error("profile show: \"%s\" is one argument too many", p->word[2]);
    if (p->preset && (p->file || p->word[1]))
        return usage_error("profile show: --preset stands alone, without %s",
                           p->file ? "--profile" : "MODEL");
    if (p->word[1] &&
        access(p->word[1], F_OK)) /* nothing beside it, either; a model need not load */
        return failure("profile show: there is no file or directory '%s'", p->word[1]);
    int code = report(load(p, p->word[1], &profile));
    if (code)
        return code;
    const int n = rlx_profile_count(profile);
    fputs(p->json ? "{\n" : "", stdout);
    for (int i = 0; i < n; i++) {
        rlx_profile_at(profile, i, &s);
        put_setting(&s, p->json, i == 0);
    }
    fputs(p->json ? "\n}\n" : "", stdout);
    rlx_profile_destroy(profile);
    return EXIT_OK;
}

/* ---- check ------------------------------------------------------------------------------------
 */

static int check(const profiles *p)
{
    rlx_profile *profile;
    if (!p->word[1])
        return usage_error("profile check: no FILE given; see rlx profile --help");
    if (p->word[2])
        return usage_error("profile check: \"%s\" is one argument too many", p->word[2]);
    int code = report(rlx_profile_load(p->word[1], &profile));
    if (!code && p->json)
        puts("{\"ok\": true}");
    rlx_profile_destroy(profile);
    return code;
}

/* ---- diff -------------------------------------------------------------------------------------
 */

/* What a profile has of a key; its fallback when it is a bucket that the profile has not. */
static void find(const rlx_profile *p, const char *key, rlx_profile_setting *out)
{
    for (int i = 0; i < rlx_profile_count(p); i++) {
        rlx_profile_at(p, i, out);
        if (!strcmp(out->key, key))
            return;
    }
    *out = (rlx_profile_setting){.origin = "default"};
}

/* The keys of `of`, from `first` on, whose values differ; how many. */
static int put_different(const profiles *p, const rlx_profile *of, int first, const rlx_profile *a,
                         const rlx_profile *b, int n)
{
    rlx_profile_setting key, x, y;
    for (int i = first; i < rlx_profile_count(of); i++) {
        rlx_profile_at(of, i, &key);
        find(a, key.key, &x);
        find(b, key.key, &y);
        if (!strcmp(x.value, y.value) || (of == b && *x.value))
            continue;
        if (!p->json) {
            printf("%s: %s (%s) -> %s (%s)\n", key.key, *x.value ? x.value : "-", x.origin,
                   *y.value ? y.value : "-", y.origin);
        } else {
            fputs(n ? ",\n  " : "  ", stdout);
            put_json_text(key.key);
            fputs(": [", stdout);
            put_json_text(x.value);
            fputs(", ", stdout);
            put_json_text(y.value);
            fputs("]", stdout);
        }
        n++;
    }
    return n;
}

static int diff(const profiles *p)
{
    rlx_profile *a = NULL, *b = NULL;
    if (!p->word[2])
        return usage_error("profile diff: takes two FILEs; see rlx profile --help");
    int code = report(rlx_profile_load(p->word[1], &a));
    if (!code)
        code = report(rlx_profile_load(p->word[2], &b));
    if (!code) {
        fputs(p->json ? "{\n" : "", stdout);
        const int n = put_different(p, a, 0, a, b, 0);
        put_different(p, b, rlx_profile_count(NULL), a, b, n); /* buckets of the second alone */
        fputs(p->json ? "\n}\n" : "", stdout);
    }
    rlx_profile_destroy(a);
    rlx_profile_destroy(b);
    return code;
}

int command_profile(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const profiles *p);
    } what[] = {{"show", show}, {"check", check}, {"diff", diff}};
    const char *names[] = {"show", "check", "diff"};
    profiles p = {0};
    const option_spec options[] = {
        {"profile", NULL, OPTION_TEXT, "FILE", "show: this one, and not what lies beside the model",
         &p.file},
        {"preset", NULL, OPTION_TEXT, "NAME", "show: a preset alone", &p.preset},
        {"json", NULL, OPTION_FLAG, NULL, "for programs", &p.json},
    };
    const command_spec spec = {
        "profile",
        "show [MODEL]: every key with its value and where that comes from (FAMILY.rlx.toml beside "
        "MODEL); check FILE; diff FILE FILE",
        "show|check|diff A B",
        p.word,
        options,
        sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    for (size_t i = 0; i < sizeof what / sizeof *what; i++)
        if (!strcmp(what[i].name, p.word[0])) {
            code = what[i].run(&p);
            return code ? code : finish_output();
        }
    const char *near = nearest_word(p.word[0], names, 3);
    return usage_error("profile: no \"%s\"%s%s%s: show, check or diff", p.word[0],
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}
