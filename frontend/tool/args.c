#include "frontend/tool/args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages */

static void complain(const char *fmt, va_list args)
{
    fputs("rlx: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

int usage_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    complain(fmt, args);
    va_end(args);
    return EXIT_USAGE;
}

int failure(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    complain(fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

int report(rlx_status s)
{
    if (!s)
        return EXIT_OK;
    char *text = rlx_status_text(s);
    for (char *c = text; c && *c; c++) /* names come from files: none shall steer the terminal */
        if (iscntrl((unsigned char)*c) && *c != '\n')
            *c = '?';
    fprintf(stderr, "rlx: %s\n", text ? text : rlx_status_message(s));
    free(text);
    rlx_status_free(s);
    return EXIT_FAILED;
}

int report_usage(const char *command, rlx_status s)
{
    if (rlx_status_code(s) != RLX_INVALID_ARGUMENT)
        return report(s);
    const int code = usage_error("%s: %s", command, rlx_status_message(s));
    rlx_status_free(s);
    return code;
}

void draw_progress(int64_t done, int64_t total, const char *fmt, ...)
{
    enum { BAR = 30, MOST = 80 };
    char bar[BAR + 1], what[MOST];
    const int filled = total > 0 && done < total ? (int)(done * BAR / total) : BAR;
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    for (char *c = what; *c; c++) /* names come from files: none shall steer the terminal */
        *c = iscntrl((unsigned char)*c) ? '?' : *c;
    memset(bar, ' ', BAR);
    memset(bar, '#', (size_t)filled);
    bar[BAR] = 0;
    fprintf(stderr, "\r\033[K[%s] %3d%% %s", bar, total > 0 ? (int)(done * 100 / total) : 100,
            what);
    fflush(stderr);
}

void end_progress(void)
{
    fputs("\r\033[K", stderr);
}

int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_OK;
    fprintf(stderr, "rlx: writing to stdout: %s\n", strerror(errno));
    return EXIT_FAILED;
}

void write_json_text(FILE *to, const char *text)
{
    putc('"', to);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            putc('\\', to);
        if (*c < ' ')
            fprintf(to, "\\u%04x", *c);
        else
            putc(*c, to);
    }
    putc('"', to);
}

void put_json_text(const char *text)
{
    write_json_text(stdout, text);
}

/* Edit distance, or `limit` when it is that or more. */
static size_t distance(const char *a, const char *b, size_t limit)
{
    enum { LONGEST = 63 };
    size_t n = strlen(a), m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return limit;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[m] < limit ? row[m] : limit;
}

const char *nearest_word(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t least = strlen(word + strspn(word, "-")) / 2 + 2; /* farther is another word */
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, candidates[i], least);
        if (d < least) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}

/* ---- help */

static void print_help(const command_spec *c)
{
    printf("rlx %s%s%s [options]\n  %s\n\noptions:\n", c->name, c->positional ? " " : "",
           c->positional ? c->positional : "", c->about);
    for (size_t i = 0; i <= c->noptions; i++) {
        static const option_spec help = {"help", "h", OPTION_FLAG, NULL, "this text", NULL};
        const option_spec *o = i < c->noptions ? &c->options[i] : &help;
        char left[64];
        snprintf(left, sizeof left, "%s%s%s--%s%s%s", o->brief ? "-" : "  ",
                 o->brief ? o->brief : "", o->brief ? ", " : "  ", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

/* ---- parsing */

static const option_spec *find_long(const command_spec *c, const char *name, size_t len)
{
    for (size_t i = 0; i < c->noptions; i++)
        if (strlen(c->options[i].name) == len && !strncmp(c->options[i].name, name, len))
            return &c->options[i];
    return NULL;
}

static const option_spec *find_brief(const command_spec *c, const char *brief, size_t len)
{
    for (size_t i = 0; i < c->noptions; i++) {
        const char *b = c->options[i].brief;
        if (b && strlen(b) == len && !strncmp(b, brief, len))
            return &c->options[i];
    }
    return NULL;
}

/* "-ctk", "-ctk=V", or a letter with its value behind it ("-n64"): the longer spelling first. */
static const option_spec *find_short(const command_spec *c, const char *word, const char **value)
{
    size_t len = strcspn(word, "=");
    const option_spec *o = find_brief(c, word, len);
    if (o) {
        *value = word[len] ? word + len + 1 : NULL;
        return o;
    }
    o = len ? find_brief(c, word, 1) : NULL;
    *value = len > 1 ? word + 1 : NULL;
    bool number =
        o && (o->kind == OPTION_INT || o->kind == OPTION_ANY_INT || o->kind == OPTION_REAL);
    return number && *value && !strchr("-.0123456789", **value) ? NULL : o;
}

static int unknown_option(const command_spec *c, const char *arg, size_t len)
{
    enum { MOST = 64 };
    char names[2 * MOST + 1][32], word[64];
    const char *lent[2 * MOST + 1];
    size_t n = 0, limit = c->noptions < MOST ? c->noptions : MOST;
    for (size_t i = 0; i < limit; i++) {
        const option_spec *o = &c->options[i];
        snprintf(names[n++], sizeof *names, "--%s", o->name);
        if (o->brief && o->brief[1])
            snprintf(names[n++], sizeof *names, "-%s", o->brief);
    }
    snprintf(names[n++], sizeof *names, "--help");
    for (size_t i = 0; i < n; i++)
        lent[i] = names[i];
    snprintf(word, sizeof word, "%.*s", (int)len, arg);
    const char *near = nearest_word(word, lent, n);
    if (near)
        return usage_error("%s: no option %s; did you mean %s?", c->name, word, near);
    return usage_error("%s: no option %s; see rlx %s --help", c->name, word, c->name);
}

/* Stores a value; -1, or the exit code of a complaint. */
static int store(const command_spec *c, const option_spec *o, const char *value)
{
    char *end;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return -1;
    case OPTION_TEXT:
        *(const char **)o->target = value;
        return -1;
    case OPTION_LIST: {
        text_list *l = o->target;
        if (l->n == MAX_LIST)
            return usage_error("%s: more than %d times --%s", c->name, MAX_LIST, o->name);
        for (int i = 0; i < l->n; i++)
            if (!strcmp(l->item[i], value))
                return usage_error("%s: --%s %s is there twice", c->name, o->name, value);
        l->item[l->n++] = value;
        return -1;
    }
    case OPTION_INT:
    case OPTION_ANY_INT: {
        errno = 0;
        long long i = strtoll(value, &end, 10);
        if (end == value || *end)
            return usage_error("%s: --%s takes a whole number, not \"%s\"", c->name, o->name,
                               value);
        if (errno || (i < 0 && o->kind == OPTION_INT))
            return usage_error("%s: --%s %s is out of range: %s to %lld", c->name, o->name, value,
                               o->kind == OPTION_INT ? "0" : "-9223372036854775808",
                               (long long)INT64_MAX);
        *(int64_t *)o->target = i;
        return -1;
    }
    case OPTION_REAL: {
        double d = strtod(value, &end);
        if (end == value || *end || !isfinite(d) || d < 0)
            return usage_error("%s: --%s takes a number that is not negative, not \"%s\"", c->name,
                               o->name, value);
        *(double *)o->target = d;
        return -1;
    }
    }
    return -1;
}

/* The place of the next positional; NULL: all have theirs. */
static const char **next_positional(const command_spec *c)
{
    if (!c->positional)
        return NULL;
    const char **at = c->target;
    for (const char *word = c->positional; *at; at++) {
        const char *next = strchr(word, ' ');
        if (!next && (!strstr(word, "...") || at - c->target >= MAX_LIST - 1))
            return NULL;
        word = next ? next + 1 : word;
    }
    return at;
}

/* One argument that begins with '-', and its value. */
static int parse_option(const command_spec *c, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *value = NULL;
    const option_spec *o;
    if (arg[1] == '-') {
        size_t len = strcspn(arg + 2, "=");
        value = arg[2 + len] ? arg + 3 + len : NULL;
        o = find_long(c, arg + 2, len);
        if (!o)
            return unknown_option(c, arg, 2 + len);
    } else {
        o = find_short(c, arg + 1, &value);
        if (!o)
            return unknown_option(c, arg, strlen(arg));
    }
    if (o->kind == OPTION_FLAG && value)
        return usage_error("%s: --%s takes no value", c->name, o->name);
    if (o->kind != OPTION_FLAG && !value) {
        if (*i + 1 >= argc)
            return usage_error("%s: --%s needs a value: %s", c->name, o->name, o->value);
        value = argv[++*i];
    }
    return store(c, o, value);
}

int args_parse(const command_spec *c, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            print_help(c);
            return finish_output();
        }
        if (arg[0] == '-' && arg[1]) {
            int code = parse_option(c, argc, argv, &i);
            if (code >= 0)
                return code;
        } else if (!next_positional(c)) {
            return usage_error("%s: \"%s\" is one argument too many; see rlx %s --help", c->name,
                               arg, c->name);
        } else {
            *next_positional(c) = arg;
        }
    }
    if (c->positional && (!*c->target || !**c->target))
        return usage_error("%s: no %.*s given; see rlx %s --help", c->name,
                           (int)strcspn(c->positional, " ."), c->positional, c->name);
    return -1;
}

/* ---- contexts */

static void log_to_stderr(void *user, rlx_log_level level, const char *message)
{
    (void)user;
    if (level <= RLX_LOG_WARNING || getenv("RLX_VERBOSE"))
        fprintf(stderr, "rlx: %s\n", message);
}

const char *precision_name(rlx_precision p)
{
    return p == RLX_FAST ? "fast" : "exact";
}

int read_precision(const run_where *w, rlx_precision *out)
{
    if (!w->precision)
        return -1;
    for (int p = RLX_EXACT; p <= RLX_FAST; p++)
        if (!strcmp(w->precision, precision_name((rlx_precision)p))) {
            *out = (rlx_precision)p;
            return -1;
        }
    return usage_error("%s: no precision \"%s\": exact or fast", w->command, w->precision);
}

/* Formats of kept keys and values. */
static const struct {
    const char *name;
    rlx_format format;
} kept[] = {{"f32", RLX_F32}, {"f16", RLX_F16}, {"bf16", RLX_BF16}, {"q8_0", RLX_Q8_0}};
enum { KEPT = sizeof kept / sizeof *kept };

const char *cache_type_name(rlx_format f, rlx_precision p)
{
    const rlx_format is = f ? f : p == RLX_FAST ? RLX_F16 : RLX_F32;
    for (int i = 0; i < KEPT; i++)
        if (kept[i].format == is)
            return kept[i].name;
    return "";
}

/* Format `name` into *out, which keeps its value without it. As args_parse. */
static int read_cache_type(const char *command, const char *option, const char *name,
                           rlx_format *out)
{
    const char *names[KEPT];
    for (int i = 0; i < KEPT; i++) {
        names[i] = kept[i].name;
        if (name && !strcmp(name, names[i])) {
            *out = kept[i].format;
            return -1;
        }
    }
    if (!name)
        return -1;
    const char *near = nearest_word(name, names, KEPT);
    return usage_error("%s: --%s is f32, f16, bf16 or q8_0 and not \"%s\"%s%s%s", command, option,
                       name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* What --profile names, or else what lies beside the model. */
static rlx_status load_profile(run_where *w)
{
    char *beside = NULL;
    rlx_status st = RLX_OK;
    if (!w->profile_path && w->model)
        st = rlx_profile_find(w->model, &beside);
    const char *path = w->profile_path ? w->profile_path : beside;
    if (!st && path)
        st = rlx_profile_load(path, &w->profile);
    if (!st && beside)
        fprintf(stderr, "rlx: profile %s\n", beside);
    free(beside);
    return st;
}

int read_model_options(run_where *w, rlx_model_options *o)
{
    rlx_status st = load_profile(w);
    if (st)
        return report(st);
    if (w->profile)
        rlx_profile_apply_model(w->profile, o);
    int code = read_precision(w, &o->precision);
    if (code < 0)
        code = read_cache_type(w->command, "cache-type-k", w->type_k, &o->kv_key_format);
    if (code < 0)
        code = read_cache_type(w->command, "cache-type-v", w->type_v, &o->kv_value_format);
    if (code >= 0) {
        rlx_profile_destroy(w->profile);
        w->profile = NULL;
    }
    return code;
}

bool has_own_memory(const char *device)
{
    static const char *const names[] = {"vulkan", "cuda", "hip"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(device, names[i], strlen(names[i])))
            return true;
    return false;
}

int open_context(const run_where *w, rlx_context **out)
{
    const int most = 1 << 20; /* an int holds it, and the library refuses it */
    rlx_context_options o = {.log = log_to_stderr};
    if (w->profile)
        rlx_profile_apply_context(w->profile, &o);
    if (w->device)
        o.device = w->device;
    o.device_layers = w->layers;
    if (w->no_cache && w->cache_dir)
        return usage_error("%s: --no-cache and --cache-dir: one of them", w->command);
    o.cache.folder = w->cache_dir;
    o.no_cache = w->no_cache;
    o.no_compile = w->no_compile;
    if (w->threads)
        o.threads = w->threads < most ? (int)w->threads : most;
    return report_usage(w->command, rlx_context_create(&o, out));
}
