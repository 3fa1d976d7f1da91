/* frontend/profile.c: settings in a file: *.rlx.toml to options, by the table of profile_keys.def.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/context.h"
#include "frontend/toml.h"

/* ---- the table ------------------------------------------------------------------------------- */

typedef enum rule_kind { RULE_DEVICE, RULE_INTEGER, RULE_CHOICE, RULE_FORMAT } rule_kind;

typedef struct rule {
    rule_kind kind;
    int64_t least, most;        /* INTEGER */
    const char *const *choices; /* CHOICE, FORMAT; NULL-ended */
} rule;

typedef enum owner { OWNER_context, OWNER_model } owner;

typedef struct key_info {
    const char *name;
    owner owner;
    size_t offset, bytes; /* of the field in its options */
    rule rule;
} key_info;

#define DEVICE              \
    {                       \
        .kind = RULE_DEVICE \
    }
#define INTEGER(low, high)                                   \
    {                                                        \
        .kind = RULE_INTEGER, .least = (low), .most = (high) \
    }
#define CHOICE(...)                                           \
    {                                                         \
        .kind = RULE_CHOICE, .choices = (const char *const[]) \
        {                                                     \
            __VA_ARGS__, NULL                                 \
        }                                                     \
    }
#define FORMAT(...)                                           \
    {                                                         \
        .kind = RULE_FORMAT, .choices = (const char *const[]) \
        {                                                     \
            __VA_ARGS__, NULL                                 \
        }                                                     \
    }
static const key_info keys[] = {
#define PROFILE_KEY(key, options, field, rule, meaning)              \
    {key, OWNER_##options, offsetof(rlx_##options##_options, field), \
     sizeof(((rlx_##options##_options *)0)->field), rule},
#include "frontend/profile_keys.def"
#undef PROFILE_KEY
};
enum { NKEYS = sizeof keys / sizeof *keys };

/* ---- profiles -------------------------------------------------------------------------------- */

typedef struct setting {
    bool set;
    int64_t integer;
    char *text; /* DEVICE; heap */
} setting;

struct rlx_profile {
    const char *path; /* while it is read */
    setting setting[NKEYS];
};

void rlx_profile_destroy(rlx_profile *p)
{
    for (int i = 0; p && i < NKEYS; i++)
        free(p->setting[i].text);
    free(p);
}

/* A status about line `line` of the file. */
#define BAD(p, line, fmt, ...) \
    RLX_FAIL(RLX_INVALID_FILE, "%s:%d: " fmt, (p)->path, (line), __VA_ARGS__)

static const char *leaf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* The key of that name in another table, or else the nearest by spelling. */
static const char *nearest_key(const char *path)
{
    const char *names[NKEYS];
    for (int i = 0; i < NKEYS; i++) {
        names[i] = keys[i].name;
        if (!strcmp(leaf(names[i]), leaf(path)))
            return names[i];
    }
    return rlx_text_nearest(path, names, NKEYS);
}

static rlx_status unknown_key(const rlx_profile *p, const rlx_toml_entry *e)
{
    const char *near = nearest_key(e->path);
    if (near)
        return BAD(p, e->line, "no key %s; did you mean %s?", e->path, near);
    rlx_text all = {0};
    for (int i = 0; i < NKEYS; i++)
        rlx_text_putf(&all, "%s%s", i ? ", " : "", keys[i].name);
    rlx_status st = BAD(p, e->line, "no key %s; there are %s", e->path, all.data ? all.data : "");
    rlx_text_deinit(&all);
    return st;
}

/* A table is known when a key lies in it. */
static rlx_status check_table(const rlx_profile *p, const rlx_toml_entry *e)
{
    char tables[NKEYS][32];
    const char *names[NKEYS];
    const size_t n = strlen(e->path);
    for (int i = 0; i < NKEYS; i++) {
        if (!strncmp(keys[i].name, e->path, n) && keys[i].name[n] == '.')
            return RLX_OK;
        snprintf(tables[i], sizeof tables[i], "%.*s", (int)strcspn(keys[i].name, "."),
                 keys[i].name);
        names[i] = tables[i];
    }
    const char *near = rlx_text_nearest(e->path, names, NKEYS);
    return BAD(p, e->line, "no table [%s]%s%s%s", e->path, near ? "; did you mean [" : "",
               near ? near : "", near ? "]?" : "");
}

static rlx_status wrong_value(const rlx_profile *p, const rlx_toml_entry *e, const char *takes)
{
    const char *quote = e->kind == RLX_TOML_TEXT ? "\"" : "";
    return BAD(p, e->line, "%s takes %s, not %s%s%s", e->path, takes, quote, e->text, quote);
}

static rlx_status set_device(const rlx_profile *p, const rlx_toml_entry *e, setting *s)
{
    rlx_runner runner;
    rlx_jit_target target;
    if (e->kind != RLX_TOML_TEXT)
        return wrong_value(p, e, "the name of a device");
    rlx_status st = rlx_context_parse_device(e->text, &runner, &target);
    if (st) {
        rlx_status here = BAD(p, e->line, "%s: %s", e->path, rlx_status_message(st));
        rlx_status_free(st);
        return here;
    }
    s->text = strdup(e->text);
    return s->text ? RLX_OK : RLX_OOM();
}

static rlx_status set_integer(const rlx_profile *p, const rlx_toml_entry *e, const rule *r,
                              setting *s)
{
    char takes[96];
    s->integer = e->integer;
    if (e->kind == RLX_TOML_INT && e->integer >= r->least && e->integer <= r->most)
        return RLX_OK;
    snprintf(takes, sizeof takes, "a whole number from %lld to %lld", (long long)r->least,
             (long long)r->most);
    return wrong_value(p, e, takes);
}

static rlx_status set_choice(const rlx_profile *p, const rlx_toml_entry *e, const rule *r,
                             setting *s)
{
    rlx_text takes = {0};
    size_t n = 0;
    for (; r->choices[n]; n++) {
        if (e->kind == RLX_TOML_TEXT && !strcmp(e->text, r->choices[n])) {
            rlx_text_deinit(&takes);
            s->integer = (int64_t)n;
            return RLX_OK;
        }
        rlx_text_putf(&takes, "%s\"%s\"", n ? " or " : "", r->choices[n]);
    }
    rlx_status st = takes.oom ? RLX_OOM() : wrong_value(p, e, takes.data);
    rlx_text_deinit(&takes);
    return st;
}

static rlx_status set(void *user, const rlx_toml_entry *e)
{
    rlx_profile *p = user;
    int i = 0;
    if (e->kind == RLX_TOML_TABLE)
        return check_table(p, e);
    while (i < NKEYS && strcmp(keys[i].name, e->path))
        i++;
    if (i == NKEYS)
        return unknown_key(p, e);
    p->setting[i].set = true;
    switch (keys[i].rule.kind) {
    case RULE_DEVICE:
        return set_device(p, e, &p->setting[i]);
    case RULE_INTEGER:
        return set_integer(p, e, &keys[i].rule, &p->setting[i]);
    case RULE_CHOICE:
        return set_choice(p, e, &keys[i].rule, &p->setting[i]);
    case RULE_FORMAT:
        RLX_TRY(set_choice(p, e, &keys[i].rule, &p->setting[i]));
        p->setting[i].integer = (int64_t)rlx_format_parse(e->text, strlen(e->text));
    }
    return RLX_OK;
}

rlx_status rlx_profile_load(const char *path, rlx_profile **out)
{
    char *text;
    size_t bytes;
    *out = NULL;
    RLX_TRY_NOTE(rlx_file_read(path, &text, &bytes), "reading a profile");
    rlx_profile *p = calloc(1, sizeof *p);
    if (p)
        p->path = path;
    rlx_status st = p ? rlx_toml_read(path, text, bytes, set, p) : RLX_OOM();
    free(text);
    if (st) {
        rlx_profile_destroy(p);
        return st;
    }
    p->path = NULL;
    *out = p;
    return RLX_OK;
}

/* ---- to options ------------------------------------------------------------------------------ */

static void apply(const rlx_profile *p, owner to, void *options)
{
    for (int i = 0; i < NKEYS; i++) {
        const setting *s = &p->setting[i];
        char *field = (char *)options + keys[i].offset;
        const int narrow = (int)s->integer;
        if (keys[i].owner != to || !s->set)
            continue;
        if (s->text)
            memcpy(field, &s->text, sizeof s->text);
        else if (keys[i].bytes == sizeof narrow) /* an int, or an enum */
            memcpy(field, &narrow, sizeof narrow);
        else
            memcpy(field, &s->integer, sizeof s->integer);
    }
}

void rlx_profile_apply_context(const rlx_profile *p, rlx_context_options *options)
{
    apply(p, OWNER_context, options);
}

void rlx_profile_apply_model(const rlx_profile *p, rlx_model_options *options)
{
    apply(p, OWNER_model, options);
}
