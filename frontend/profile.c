/* frontend/profile.c: settings in a file: *.rlx.toml to options, by the table of profile_keys.def.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/ladder.h"
#include "frontend/toml.h"

/* ---- the table ------------------------------------------------------------------------------- */

typedef enum rule_kind {
    RULE_DEVICE,
    RULE_INTEGER,
    RULE_CHOICE,
    RULE_FORMAT,
    RULE_FLAG,
    RULE_SWITCH,
    RULE_ONLY,
    RULE_TARGET,
    RULE_PRESET
} rule_kind;

typedef struct rule {
    rule_kind kind;
    int64_t least, most;        /* INTEGER; SWITCH: the value, in `most` */
    const char *const *choices; /* CHOICE, FORMAT, ONLY (the value and why); NULL-ended */
} rule;

typedef enum owner { OWNER_none, OWNER_context, OWNER_model, OWNER_tuning, OWNER_run } owner;

typedef struct key_info {
    const char *name;
    owner owner;
    size_t offset, bytes; /* of the field in its options */
    rule rule;
    const char *fallback, *meaning;
} key_info;

/* What owners are, by the names of the table. */
typedef rlx_tuning rlx_tuning_options;
typedef rlx_execution rlx_run_options;
typedef struct rlx_none_options {
    int none;
} rlx_none_options;

/* clang-format off */
#define TEXTS(...) (const char *const[]){__VA_ARGS__, NULL}
#define DEVICE {.kind = RULE_DEVICE}
#define INTEGER(low, high) {.kind = RULE_INTEGER, .least = (low), .most = (high)}
#define CHOICE(...) {.kind = RULE_CHOICE, .choices = TEXTS(__VA_ARGS__)}
#define FORMAT(...) {.kind = RULE_FORMAT, .choices = TEXTS(__VA_ARGS__)}
#define FLAG {.kind = RULE_FLAG}
#define SWITCH(value) {.kind = RULE_SWITCH, .most = (value)}
#define ONLY(value, why) {.kind = RULE_ONLY, .choices = TEXTS(value, why)}
#define TARGET {.kind = RULE_TARGET}
#define PRESET {.kind = RULE_PRESET}
static const key_info keys[] = {
#define PROFILE_KEY(key, options, field, rule, fallback, meaning) \
    {key, OWNER_##options, offsetof(rlx_##options##_options, field), \
     sizeof(((rlx_##options##_options *)0)->field), rule, fallback, meaning},
#include "frontend/profile_keys.def"
#undef PROFILE_KEY
};
#undef PRESET
/* clang-format on */
enum { NKEYS = sizeof keys / sizeof *keys, MAX_LADDERS = 16 };

static const struct {
    const char *name;
    rlx_execution_phase phase;
    int64_t seq;
    rlx_ladder ladder;
    const char *policy;
    bool skip;
} presets[] = {
#define LADDER(...)                                                      \
    {                                                                    \
        "SEQ", sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), \
        {                                                                \
            __VA_ARGS__                                                  \
        }                                                                \
    }
#define PRESET(name, phase, seq, ladder, policy, skip) {name, phase, seq, ladder, policy, skip},
#include "frontend/profile_presets.def"
#undef PRESET
#undef LADDER
};
enum { NPRESETS = sizeof presets / sizeof *presets };

/* ---- profiles -------------------------------------------------------------------------------- */

typedef struct setting {
    bool set;
    int64_t integer;
    char *text; /* as the file has it; heap */
    int line;
} setting;

struct rlx_profile {
    char *path;
    setting setting[NKEYS];
    rlx_ladder ladder[MAX_LADDERS];         /* symbols are heap, as the file has them */
    rlx_bucket bucket[MAX_LADDERS];         /* the largest of each */
    int ladder_line[MAX_LADDERS], nladders; /* line 0: the preset's */
    int preset;                             /* -1: none */
};

void rlx_profile_destroy(rlx_profile *p)
{
    if (!p)
        return;
    for (int i = 0; i < NKEYS; i++)
        free(p->setting[i].text);
    for (int i = 0; i < p->nladders; i++)
        free((char *)p->ladder[i].symbol);
    free(p->path);
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
    char tables[NKEYS + 1][32] = {"buckets"};
    const char *names[NKEYS + 1] = {tables[0]};
    const size_t n = strlen(e->path);
    if (!strcmp(e->path, "buckets"))
        return RLX_OK;
    for (int i = 0; i < NKEYS; i++) {
        const char *dot = strrchr(keys[i].name, '.');
        if (!strncmp(keys[i].name, e->path, n) && keys[i].name[n] == '.')
            return RLX_OK;
        snprintf(tables[i + 1], sizeof *tables, "%.*s", dot ? (int)(dot - keys[i].name) : 0,
                 keys[i].name);
        names[i + 1] = tables[i + 1];
    }
    const char *near = rlx_text_nearest(e->path, names, NKEYS + 1);
    return BAD(p, e->line, "no table [%s]%s%s%s", e->path, near ? "; did you mean [" : "",
               near ? near : "", near ? "]?" : "");
}

static rlx_status wrong_value(const rlx_profile *p, const rlx_toml_entry *e, const char *takes)
{
    const char *quote = e->kind == RLX_TOML_TEXT ? "\"" : "";
    return BAD(p, e->line, "%s takes %s, not %s%s%s", e->path, takes, quote, e->text, quote);
}

static rlx_status check_device(const rlx_profile *p, const rlx_toml_entry *e)
{
    rlx_device_choice choice;
    if (e->kind != RLX_TOML_TEXT)
        return wrong_value(p, e, "the name of a device");
    rlx_status st = rlx_context_parse_device(e->text, &choice);
    if (st) {
        rlx_status here = BAD(p, e->line, "%s: %s", e->path, rlx_status_message(st));
        rlx_status_free(st);
        return here;
    }
    return RLX_OK;
}

static rlx_status read_integer(const rlx_profile *p, const rlx_toml_entry *e, int64_t least,
                               int64_t most, int64_t *out)
{
    char takes[96];
    *out = e->integer;
    if (e->kind == RLX_TOML_INT && e->integer >= least && e->integer <= most)
        return RLX_OK;
    snprintf(takes, sizeof takes, "a whole number from %lld to %lld", (long long)least,
             (long long)most);
    return wrong_value(p, e, takes);
}

static rlx_status read_choice(const rlx_profile *p, const rlx_toml_entry *e,
                              const char *const *choices, int64_t *out)
{
    rlx_text takes = {0};
    size_t n = 0;
    for (; choices[n]; n++) {
        if (e->kind == RLX_TOML_TEXT && !strcmp(e->text, choices[n])) {
            rlx_text_deinit(&takes);
            *out = (int64_t)n;
            return RLX_OK;
        }
        rlx_text_putf(&takes, "%s\"%s\"", n ? " or " : "", choices[n]);
    }
    rlx_status st = takes.oom ? RLX_OOM() : wrong_value(p, e, takes.data);
    rlx_text_deinit(&takes);
    return st;
}

static rlx_status read_flag(const rlx_profile *p, const rlx_toml_entry *e, int64_t *out)
{
    *out = e->integer;
    return e->kind == RLX_TOML_BOOL ? RLX_OK : wrong_value(p, e, "true or false");
}

/* A key of other compilers: what it would choose is no choice here. */
static rlx_status check_only(const rlx_profile *p, const rlx_toml_entry *e, const rule *r)
{
    const bool flag = !strcmp(r->choices[0], "true") || !strcmp(r->choices[0], "false");
    if (!strcmp(e->text, r->choices[0]) && e->kind == (flag ? RLX_TOML_BOOL : RLX_TOML_TEXT))
        return RLX_OK;
    const char *quote = e->kind == RLX_TOML_TEXT ? "\"" : "", *own = flag ? "" : "\"";
    return BAD(p, e->line, "%s is always %s%s%s, not %s%s%s: %s", e->path, own, r->choices[0], own,
               quote, e->text, quote, r->choices[1]);
}

/* Code is made for the device; another target's name that some device has here says which. */
static rlx_status check_target(const rlx_profile *p, const rlx_toml_entry *e)
{
    static const char *const targets[] = {"auto", "cpu",  "metal", "mlx", "cuda",
                                          "rocm", "wgpu", "tpu",   NULL};
    static const char *const devices[] = {[4] = "cuda", [5] = "hip", [6] = "vulkan", [7] = NULL};
    int64_t which;
    RLX_TRY(read_choice(p, e, targets, &which));
    if (which > 1 && devices[which])
        return BAD(p, e->line,
                   "%s: code is made for the device: \"auto\", and device.name = \"%s\"", e->path,
                   devices[which]);
    if (which > 1)
        return BAD(p, e->line,
                   "%s: no code is made for \"%s\" by this library; \"auto\" or \"cpu\"", e->path,
                   e->text);
    return RLX_OK;
}

static rlx_status read_preset(rlx_profile *p, const rlx_toml_entry *e)
{
    const char *names[NPRESETS];
    for (int i = 0; i < NPRESETS; i++) {
        names[i] = presets[i].name;
        if (e->kind == RLX_TOML_TEXT && !strcmp(names[i], e->text)) {
            p->preset = i;
            return RLX_OK;
        }
    }
    const char *near = e->kind == RLX_TOML_TEXT ? rlx_text_nearest(e->text, names, NPRESETS) : NULL;
    return BAD(p, e->line, "no preset %s%s%s%s", e->text, near ? "; did you mean " : "",
               near ? near : "", near ? "?" : "");
}

static rlx_status read_value(rlx_profile *p, const rlx_toml_entry *e, const rule *r, int64_t *out)
{
    switch (r->kind) {
    case RULE_DEVICE:
        return check_device(p, e);
    case RULE_INTEGER:
        return read_integer(p, e, r->least, r->most, out);
    case RULE_CHOICE:
        return read_choice(p, e, r->choices, out);
    case RULE_FORMAT:
        RLX_TRY(read_choice(p, e, r->choices, out));
        *out = (int64_t)rlx_format_parse(e->text, strlen(e->text));
        return RLX_OK;
    case RULE_FLAG:
    case RULE_SWITCH:
        return read_flag(p, e, out);
    case RULE_ONLY:
        return check_only(p, e, r);
    case RULE_TARGET:
        return check_target(p, e);
    case RULE_PRESET:
        return read_preset(p, e);
    }
    return RLX_OK;
}

static rlx_status add_ladder(rlx_profile *p, const rlx_ladder *l, int line)
{
    const int i = p->nladders;
    if (i == MAX_LADDERS)
        return BAD(p, line, "more than %d ladders of buckets", MAX_LADDERS);
    char *symbol = strdup(l->symbol);
    if (!symbol)
        return RLX_OOM();
    p->ladder[i] = *l;
    p->ladder[i].symbol = symbol;
    p->bucket[i] = (rlx_bucket){symbol, l->upper[l->n - 1]};
    p->ladder_line[i] = line;
    p->nladders++;
    return RLX_OK;
}

/* [buckets] SYMBOL = [1, 16, N], or N alone */
static rlx_status set_ladder(rlx_profile *p, const rlx_toml_entry *e)
{
    rlx_ladder l = {.symbol = strchr(e->path, '.') + 1, .n = 1};
    if (strchr(l.symbol, '.'))
        return BAD(p, e->line, "%s: a symbol has no dots", e->path);
    if (e->kind != RLX_TOML_INTS) {
        RLX_TRY(read_integer(p, e, 1, INT32_MAX, &l.upper[0]));
    } else {
        l.n = e->nitems;
        if (l.n <= RLX_LADDER_RUNGS)
            memcpy(l.upper, e->items, sizeof *l.upper * (size_t)l.n);
    }
    rlx_status st = rlx_ladder_check(&l, 1);
    if (!st && rlx_ladder_find(p->ladder, p->nladders, l.symbol))
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "the ladder of %s is there twice", l.symbol);
    if (!st)
        return add_ladder(p, &l, e->line);
    rlx_status bad = BAD(p, e->line, "%s: %s", e->path, rlx_status_message(st));
    rlx_status_free(st);
    return bad;
}

/* What a preset has without a ladder in the file: up to execution.seq. */
static rlx_status add_preset_ladder(rlx_profile *p)
{
    if (p->preset < 0 || rlx_ladder_find(p->ladder, p->nladders, "SEQ"))
        return RLX_OK;
    rlx_execution e = {0};
    rlx_ladder l = presets[p->preset].ladder;
    rlx_profile_apply_execution(p, &e);
    rlx_ladder_end_at(&l, e.seq);
    return add_ladder(p, &l, 0);
}

static rlx_status set(void *user, const rlx_toml_entry *e)
{
    rlx_profile *p = user;
    int i = 0;
    if (e->kind == RLX_TOML_TABLE)
        return check_table(p, e);
    if (!strncmp(e->path, "buckets.", 8))
        return set_ladder(p, e);
    while (i < NKEYS && strcmp(keys[i].name, e->path))
        i++;
    if (i == NKEYS)
        return unknown_key(p, e);
    setting *s = &p->setting[i];
    RLX_TRY(read_value(p, e, &keys[i].rule, &s->integer));
    s->set = true;
    s->line = e->line;
    s->text = strdup(e->text);
    return s->text ? RLX_OK : RLX_OOM();
}

static rlx_status create(const char *path, rlx_profile **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return RLX_OOM();
    (*out)->preset = -1;
    (*out)->path = strdup(path);
    return (*out)->path ? RLX_OK : RLX_OOM();
}

rlx_status rlx_profile_load(const char *path, rlx_profile **out)
{
    char *text;
    size_t bytes;
    rlx_profile *p;
    *out = NULL;
    RLX_TRY_NOTE(rlx_file_read(path, &text, &bytes), "reading a profile");
    rlx_status st = create(path, &p);
    if (!st)
        st = rlx_toml_read(path, text, bytes, set, p);
    if (!st)
        st = add_preset_ladder(p);
    free(text);
    if (st) {
        rlx_profile_destroy(p);
        return st;
    }
    *out = p;
    return RLX_OK;
}

rlx_status rlx_profile_preset(const char *name, rlx_profile **out)
{
    rlx_profile *p;
    *out = NULL;
    rlx_status st = create("preset", &p);
    const rlx_toml_entry e = {
        .path = "preset", .kind = RLX_TOML_TEXT, .text = name ? name : "", .line = 1};
    if (!st)
        st = set(p, &e);
    if (!st)
        st = add_preset_ladder(p);
    if (st) {
        rlx_profile_destroy(p);
        return st;
    }
    *out = p;
    return RLX_OK;
}

/* ---- to options ------------------------------------------------------------------------------ */

static void apply(const rlx_profile *p, owner to, void *options)
{
    for (int i = 0; i < NKEYS; i++) {
        const setting *s = &p->setting[i];
        const rule_kind kind = keys[i].rule.kind;
        char *field = (char *)options + keys[i].offset;
        const int64_t value = kind == RULE_SWITCH ? keys[i].rule.most : s->integer;
        const int narrow = (int)value;
        const bool flag = value != 0;
        if (keys[i].owner != to || !s->set || (kind == RULE_SWITCH && !s->integer))
            continue;
        if (kind == RULE_DEVICE)
            memcpy(field, &s->text, sizeof s->text);
        else if (keys[i].bytes == sizeof flag)
            memcpy(field, &flag, sizeof flag);
        else if (keys[i].bytes == sizeof narrow) /* an int, or an enum */
            memcpy(field, &narrow, sizeof narrow);
        else
            memcpy(field, &value, sizeof value);
    }
}

void rlx_profile_apply_context(const rlx_profile *p, rlx_context_options *options)
{
    apply(p, OWNER_context, options);
}

/* Of the file: what a preset has is for flows of one's own, and stands behind them. */
static int count_own_ladders(const rlx_profile *p)
{
    int n = 0;
    while (n < p->nladders && p->ladder_line[n])
        n++;
    return n;
}

static bool is_set(const rlx_profile *p, const char *key)
{
    int i = 0;
    while (i < NKEYS - 1 && strcmp(keys[i].name, key))
        i++;
    return p->setting[i].set;
}

/* A preset's fusion, unless the file says which. */
static void apply_tuning(const rlx_profile *p, rlx_tuning *t)
{
    if (p->preset >= 0)
        t->fusion =
            strcmp(presets[p->preset].policy, "direct") ? RLX_FUSION_FULL : RLX_FUSION_BLOCKS;
    apply(p, OWNER_tuning, t);
    if (p->preset >= 0 && presets[p->preset].skip && !is_set(p, "fusion.skip"))
        t->fusion = RLX_FUSION_NONE;
}

void rlx_profile_apply_model(const rlx_profile *p, rlx_model_options *options)
{
    apply(p, OWNER_model, options);
    apply_tuning(p, &options->tuning);
    const int n = count_own_ladders(p);
    if (n) {
        options->ladders = p->ladder;
        options->nladders = n;
    }
}

void rlx_profile_apply_execution(const rlx_profile *p, rlx_execution *e)
{
    if (p->preset >= 0) {
        e->phase = presets[p->preset].phase;
        e->seq = presets[p->preset].seq;
    }
    apply(p, OWNER_run, e);
}

/* The keys that models have, too, by way of a model's options. */
void rlx_profile_apply_compile(const rlx_profile *p, rlx_compile_options *options)
{
    rlx_model_options m = {.precision = options->precision,
                           .kv_key_format = options->kv_key_format,
                           .kv_value_format = options->kv_value_format,
                           .tuning = options->tuning};
    rlx_profile_apply_model(p, &m);
    options->precision = m.precision;
    options->kv_key_format = m.kv_key_format;
    options->kv_value_format = m.kv_value_format;
    options->tuning = m.tuning;
}

const rlx_bucket *rlx_profile_buckets(const rlx_profile *p, int *n)
{
    *n = count_own_ladders(p);
    return p->bucket;
}

const rlx_ladder *rlx_profile_ladders(const rlx_profile *p, int *n)
{
    *n = p->nladders;
    return p->ladder;
}

/* ---- what is said ---------------------------------------------------------------------------- */

int rlx_profile_count(const rlx_profile *p)
{
    return NKEYS + (p ? p->nladders : 0);
}

/* What a preset says of a key; NULL: nothing. */
static const char *preset_value(const rlx_profile *p, const char *key, char text[32])
{
    static const char *const phases[] = {"prefill", "decode", "encode", "infer"};
    if (!p || p->preset < 0)
        return NULL;
    if (!strcmp(key, "execution.phase"))
        return phases[presets[p->preset].phase];
    if (!strcmp(key, "fusion.policy"))
        return presets[p->preset].policy;
    if (!strcmp(key, "fusion.skip"))
        return presets[p->preset].skip ? "true" : "false";
    if (strcmp(key, "execution.seq"))
        return NULL;
    snprintf(text, 32, "%lld", (long long)presets[p->preset].seq);
    return text;
}

static void put_ladder(const rlx_profile *p, int i, rlx_profile_setting *out)
{
    const rlx_ladder *l = &p->ladder[i];
    rlx_text value = {0};
    rlx_ladder_print(l, &value);
    snprintf(out->key, sizeof out->key, "buckets.%s", l->symbol);
    snprintf(out->value, sizeof out->value, l->n > 1 ? "[%s]" : "%s", value.data ? value.data : "");
    if (p->ladder_line[i])
        snprintf(out->origin, sizeof out->origin, "%s:%d", p->path, p->ladder_line[i]);
    else
        snprintf(out->origin, sizeof out->origin, "preset %s", presets[p->preset].name);
    out->meaning = "sizes that code is made for, as a symbol of a flow asks for them";
    rlx_text_deinit(&value);
}

void rlx_profile_at(const rlx_profile *p, int i, rlx_profile_setting *out)
{
    char number[32];
    *out = (rlx_profile_setting){.meaning = ""};
    if (i >= NKEYS) {
        put_ladder(p, i - NKEYS, out);
        return;
    }
    const setting *s = p ? &p->setting[i] : NULL;
    const char *preset = preset_value(p, keys[i].name, number);
    const char *value = keys[i].fallback;
    snprintf(out->origin, sizeof out->origin, "default");
    if (s && s->set) {
        value = s->text;
        snprintf(out->origin, sizeof out->origin, "%s:%d", p->path, s->line);
    } else if (preset) {
        value = preset;
        snprintf(out->origin, sizeof out->origin, "preset %s", presets[p->preset].name);
    }
    snprintf(out->key, sizeof out->key, "%s", keys[i].name);
    snprintf(out->value, sizeof out->value, "%s", value);
    out->meaning = keys[i].meaning;
}
