/* frontend/jinja/call.c: arguments to parameters; macros; the global functions. */
#include <stdio.h>
#include <time.h>

#include "frontend/jinja/impl.h"

enum { MOST_PARAMETERS = 8 };

/* ---- filters, tests, methods, functions */

typedef struct parameter {
    const char *name;
    size_t len;
    bool optional;
} parameter;

static int list_parameters(const char *text, parameter out[MOST_PARAMETERS])
{
    int n = 0;
    for (const char *p = text; *p && n < MOST_PARAMETERS;) {
        size_t len = strcspn(p, " ");
        bool optional = p[len - 1] == '?';
        out[n++] = (parameter){p, len - optional, optional};
        p += len + (p[len] == ' ');
    }
    return n;
}

static int find_parameter(const parameter *all, int n, const rlx_jinja_string *name)
{
    for (int i = 0; i < n; i++)
        if (all[i].len == name->len && !memcmp(all[i].name, name->data, name->len))
            return i;
    return -1;
}

static void bind_named(rlx_jinja_run *x, const rlx_jinja_callable *c, const parameter *all, int n,
                       rlx_jinja_value *a, const rlx_jinja_args *args)
{
    for (int i = 0; i < args->nnamed; i++) {
        const rlx_jinja_string *name = args->names[i];
        int at = find_parameter(all, n, name);
        if (at < 0)
            rlx_jinja_type_error(x, "%s() got an unexpected keyword argument '%.*s'", c->name,
                                 (int)name->len, name->data);
        else if (rlx_jinja_given(a[at]))
            rlx_jinja_type_error(x, "%s() got multiple values for argument '%.*s'", c->name,
                                 (int)name->len, name->data);
        else
            a[at] = args->named[i];
    }
}

const rlx_jinja_callable *rlx_jinja_find(const rlx_jinja_callable *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].name, name))
            return &list[i];
    return NULL;
}

rlx_jinja_value rlx_jinja_call_with(rlx_jinja_run *x, const rlx_jinja_callable *c,
                                    rlx_jinja_value *first, const rlx_jinja_args *args)
{
    parameter all[MOST_PARAMETERS];
    rlx_jinja_value a[MOST_PARAMETERS + 1] = {0};
    int has_first = first != NULL, n = 0;
    if (first)
        a[0] = *first;
    if (*c->params == '*')
        return c->call(x, a, args);
    n = list_parameters(c->params, all);
    if (args->npos > n)
        return rlx_jinja_type_error(x, "%s() takes at most %d argument%s (%d given)", c->name, n,
                                    n == 1 ? "" : "s", args->npos);
    for (int i = 0; i < args->npos; i++)
        a[has_first + i] = args->pos[i];
    bind_named(x, c, all, n, a + has_first, args);
    for (int i = 0; i < n; i++)
        if (!all[i].optional && !rlx_jinja_given(a[has_first + i]))
            return rlx_jinja_type_error(x, "%s() missing required argument '%.*s'", c->name,
                                        (int)all[i].len, all[i].name);
    return x->error ? rlx_jinja_none() : c->call(x, a, args);
}

/* ---- macros */

rlx_jinja_value rlx_jinja_macro_attr(rlx_jinja_run *x, const rlx_jinja_macro *m,
                                     rlx_jinja_value name)
{
    const rlx_jinja_node *n = m->node;
    if (rlx_jinja_equal_text(name, "name"))
        return m->name ? (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = m->name}
                       : rlx_jinja_none();
    if (rlx_jinja_equal_text(name, "caller"))
        return rlx_jinja_bool(n->uses_caller);
    if (rlx_jinja_equal_text(name, "catch_kwargs"))
        return rlx_jinja_bool(n->uses_kwargs);
    if (rlx_jinja_equal_text(name, "catch_varargs"))
        return rlx_jinja_bool(n->uses_varargs);
    if (!rlx_jinja_equal_text(name, "arguments"))
        return (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
    rlx_jinja_list *l = rlx_jinja_list_new(x);
    for (int i = 0; i < n->items.n; i++)
        rlx_jinja_push(x, l,
                       (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = n->items.at[i]->name});
    return rlx_jinja_list_value(l, RLX_JINJA_TUPLE);
}

static rlx_jinja_value not_provided(rlx_jinja_run *x, const rlx_jinja_string *name)
{
    const char *hint = rlx_arena_printf(x->arena, "parameter '%s' was not provided", name->data);
    return rlx_jinja_undefined_hint(x, hint ? hint : "a parameter was not provided");
}

/* The named arguments that are no parameters: `kwargs`, and `caller` apart. */
static rlx_jinja_dict *split_named(rlx_jinja_run *x, const rlx_jinja_macro *m,
                                   const rlx_jinja_args *args, rlx_jinja_value *caller)
{
    rlx_jinja_dict *rest = rlx_jinja_dict_new(x);
    for (int i = 0; i < args->nnamed; i++) {
        rlx_jinja_string *name = args->names[i];
        int at = 0;
        while (at < m->node->items.n &&
               (m->node->items.at[at]->name->len != name->len ||
                memcmp(m->node->items.at[at]->name->data, name->data, name->len)))
            at++;
        if (at >= args->npos && at < m->node->items.n)
            continue;
        rlx_jinja_value key = {.kind = RLX_JINJA_STRING, .s = name};
        if (m->node->uses_caller && rlx_jinja_equal_text(key, "caller"))
            *caller = args->named[i];
        else
            rlx_jinja_dict_set(x, rest, key, args->named[i]);
    }
    return rest;
}

static rlx_jinja_value named_argument(const rlx_jinja_args *args, const rlx_jinja_string *name)
{
    for (int i = 0; i < args->nnamed; i++)
        if (args->names[i]->len == name->len &&
            !memcmp(args->names[i]->data, name->data, name->len))
            return args->named[i];
    return (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
}

static void bind_parameters(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                            const rlx_jinja_args *args)
{
    int ndefaults = n->named.n, first = n->items.n - ndefaults;
    for (int i = 0; i < n->items.n && !x->error; i++) {
        rlx_jinja_string *name = n->items.at[i]->name;
        rlx_jinja_value v = i < args->npos ? args->pos[i] : named_argument(args, name);
        if (!rlx_jinja_given(v))
            v = i >= first ? rlx_jinja_eval(x, s, n->named.at[i - first]) : not_provided(x, name);
        rlx_jinja_bind(x, s, name, v);
    }
}

static void bind_special(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_macro *m,
                         const rlx_jinja_args *args)
{
    const rlx_jinja_node *n = m->node;
    rlx_jinja_value caller = {.kind = RLX_JINJA_MISSING};
    rlx_jinja_dict *rest = split_named(x, m, args, &caller);
    const char *name = m->name ? m->name->data : "None";
    if (rest->n && !n->uses_kwargs)
        rlx_jinja_type_error(x, "macro '%s' takes no keyword argument '%.*s'", name,
                             (int)rest->entries[0].key.s->len, rest->entries[0].key.s->data);
    if (args->npos > n->items.n && !n->uses_varargs)
        rlx_jinja_type_error(x, "macro '%s' takes not more than %d argument(s)", name, n->items.n);
    if (n->uses_caller)
        rlx_jinja_bind(x, s, x->t->caller,
                       rlx_jinja_given(caller) ? caller
                                               : rlx_jinja_undefined_hint(x, "No caller defined"));
    if (n->uses_kwargs)
        rlx_jinja_bind(x, s, x->t->kwargs, rlx_jinja_dict_value(rest));
    if (!n->uses_varargs)
        return;
    rlx_jinja_list *more = rlx_jinja_list_new(x);
    for (int i = n->items.n; i < args->npos; i++)
        rlx_jinja_push(x, more, args->pos[i]);
    rlx_jinja_bind(x, s, x->t->varargs, rlx_jinja_list_value(more, RLX_JINJA_TUPLE));
}

rlx_jinja_value rlx_jinja_call_macro(rlx_jinja_run *x, const rlx_jinja_macro *m,
                                     const rlx_jinja_args *args)
{
    rlx_jinja_scope *s = rlx_jinja_scope_new(x, m->scope, &m->node->body);
    if (!s)
        return rlx_jinja_none();
    bind_special(x, s, m, args);
    bind_parameters(x, s, m->node, args);
    rlx_jinja_flow around = x->flow;
    x->flow = RLX_JINJA_ON;
    rlx_jinja_value text = rlx_jinja_exec_text(x, s, &m->node->body.nodes);
    x->flow = around;
    return text;
}

rlx_jinja_value rlx_jinja_call(rlx_jinja_run *x, rlx_jinja_value f, const rlx_jinja_args *args)
{
    switch (f.kind) {
    case RLX_JINJA_FUNCTION:
        return rlx_jinja_call_with(x, f.function, NULL, args);
    case RLX_JINJA_METHOD:
        return rlx_jinja_call_with(x, f.bound->method, &f.bound->receiver, args);
    case RLX_JINJA_MACRO:
        return rlx_jinja_call_macro(x, f.macro, args);
    case RLX_JINJA_LOOP:
        return rlx_jinja_loop_call(x, f.loop, args);
    case RLX_JINJA_JOINER:
        return f.cycler->pos++ ? f.cycler->items->items[0] : rlx_jinja_literal(x, "");
    case RLX_JINJA_UNDEFINED:
        return rlx_jinja_fail_undefined(x, f);
    default:
        return rlx_jinja_type_error(x, "'%s' object is not callable", rlx_jinja_type_name(f));
    }
}

/* ---- global functions */

static rlx_jinja_value global_range(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    enum { LARGEST = 100000 };
    int64_t v[3] = {0, 0, 1};
    (void)args;
    for (int i = 0; i < 3 && rlx_jinja_given(a[i]); i++)
        if (!rlx_jinja_as_int(x, a[i], &v[i]))
            return rlx_jinja_none();
    rlx_jinja_range r = {rlx_jinja_given(a[1]) ? v[0] : 0, rlx_jinja_given(a[1]) ? v[1] : v[0],
                         v[2], 0};
    if (r.step == 0)
        return rlx_jinja_type_error(x, "range() arg 3 must not be zero");
    __int128 span = r.step > 0 ? (__int128)r.stop - r.start : (__int128)r.start - r.stop;
    __int128 step = r.step > 0 ? r.step : -(__int128)r.step;
    __int128 n = span > 0 ? (span - 1) / step + 1 : 0;
    if (n > LARGEST)
        return rlx_jinja_fail(x, RLX_EXHAUSTED, "a range of more than %d numbers", (int)LARGEST);
    rlx_jinja_range *out = rlx_jinja_alloc(x, sizeof *out);
    if (!out)
        return rlx_jinja_none();
    *out = r;
    out->n = (int64_t)n;
    return (rlx_jinja_value){.kind = RLX_JINJA_RANGE, .range = out};
}

/* A dict of pairs or of another dict, and of named arguments. */
rlx_jinja_dict *rlx_jinja_make_dict(rlx_jinja_run *x, const rlx_jinja_args *args)
{
    rlx_jinja_dict *d = rlx_jinja_dict_new(x);
    if (args->npos > 1)
        rlx_jinja_type_error(x, "dict expected at most 1 argument, got %d", args->npos);
    rlx_jinja_value from = args->npos ? args->pos[0] : rlx_jinja_none();
    for (int64_t i = 0; from.kind == RLX_JINJA_DICT && i < from.d->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_dict_set(x, d, from.d->entries[i].key, from.d->entries[i].value);
    const rlx_jinja_list *pairs =
        args->npos && from.kind != RLX_JINJA_DICT ? rlx_jinja_iterate(x, from) : NULL;
    for (int64_t i = 0; pairs && i < pairs->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_list *pair = rlx_jinja_iterate(x, pairs->items[i]);
        if (pair->n == 2)
            rlx_jinja_dict_set(x, d, pair->items[0], pair->items[1]);
        else
            rlx_jinja_type_error(x,
                                 "dictionary update sequence element #%lld has length %lld; 2 is "
                                 "required",
                                 (long long)i, (long long)pair->n);
    }
    for (int i = 0; i < args->nnamed; i++)
        rlx_jinja_dict_set(x, d, (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = args->names[i]},
                           args->named[i]);
    return d;
}

static rlx_jinja_value global_dict(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)a;
    return rlx_jinja_dict_value(rlx_jinja_make_dict(x, args));
}

static rlx_jinja_value global_namespace(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)a;
    return (rlx_jinja_value){.kind = RLX_JINJA_NAMESPACE, .d = rlx_jinja_make_dict(x, args)};
}

static rlx_jinja_value make_cycler(rlx_jinja_run *x, rlx_jinja_kind kind, rlx_jinja_list *items)
{
    rlx_jinja_cycler *c = rlx_jinja_alloc(x, sizeof *c);
    if (!c)
        return rlx_jinja_none();
    c->items = items;
    return (rlx_jinja_value){.kind = kind, .cycler = c};
}

static rlx_jinja_value global_cycler(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    rlx_jinja_list *items = rlx_jinja_list_new(x);
    (void)a;
    for (int i = 0; i < args->npos; i++)
        rlx_jinja_push(x, items, args->pos[i]);
    return items->n ? make_cycler(x, RLX_JINJA_CYCLER, items)
                    : rlx_jinja_type_error(x, "at least one item has to be provided");
}

static rlx_jinja_value global_joiner(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    rlx_jinja_list *items = rlx_jinja_list_new(x);
    (void)args;
    rlx_jinja_push(x, items, rlx_jinja_given(a[0]) ? a[0] : rlx_jinja_literal(x, ", "));
    return items->n ? make_cycler(x, RLX_JINJA_JOINER, items) : rlx_jinja_none();
}

static rlx_jinja_value global_raise_exception(rlx_jinja_run *x, rlx_jinja_value *a,
                                              const rlx_jinja_args *args)
{
    rlx_jinja_value text = rlx_jinja_str(x, a[0]);
    (void)args;
    return rlx_jinja_fail(x, RLX_INVALID_ARGUMENT, "%.*s",
                          (int)(text.s->len < 400 ? text.s->len : 400), text.s->data);
}

/* One conversion of strftime at a time: those of a time without a zone, and microseconds. */
static rlx_jinja_value global_strftime_now(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    struct timespec now = {.tv_sec = (time_t)x->now};
    struct tm local;
    char one[3] = "%", text[128];
    rlx_jinja_buffer b = {.x = x};
    (void)args;
    if (a[0].kind != RLX_JINJA_STRING)
        return rlx_jinja_type_error(x, "strftime_now() takes a string, not %s",
                                    rlx_jinja_type_name(a[0]));
    if (x->now < 0)
        clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    for (size_t i = 0; i < a[0].s->len && rlx_jinja_step(x, 1); i++) {
        char c = a[0].s->data[i];
        one[1] = i + 1 < a[0].s->len ? a[0].s->data[i + 1] : 0;
        bool modified = one[1] == '-' && i + 2 < a[0].s->len;
        if (c != '%' || !one[1]) {
            rlx_jinja_put(&b, &c, 1);
            continue;
        }
        i += 1 + modified;
        if (one[1] == 'f') {
            snprintf(text, sizeof text, "%06ld", now.tv_nsec / 1000);
            rlx_jinja_puts(&b, text);
        } else if (one[1] != 'z' && one[1] != 'Z') {
            char format[4] = {'%', one[1], modified ? a[0].s->data[i] : 0, 0};
            rlx_jinja_put(&b, text, strftime(text, sizeof text, format, &local));
        }
    }
    return rlx_jinja_taken(&b);
}

static rlx_jinja_value global_lipsum(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)a;
    (void)args;
    return rlx_jinja_fail(x, RLX_UNSUPPORTED,
                          "lipsum() is not offered: a prompt is no place for chance");
}

static const rlx_jinja_callable globals[] = {
    {"range", "start stop? step?", global_range, RLX_JINJA_MISSING},
    {"dict", "*", global_dict, RLX_JINJA_MISSING},
    {"namespace", "*", global_namespace, RLX_JINJA_MISSING},
    {"cycler", "*", global_cycler, RLX_JINJA_MISSING},
    {"joiner", "sep?", global_joiner, RLX_JINJA_MISSING},
    {"raise_exception", "message", global_raise_exception, RLX_JINJA_MISSING},
    {"strftime_now", "format", global_strftime_now, RLX_JINJA_MISSING},
    {"lipsum", "*", global_lipsum, RLX_JINJA_MISSING},
};

const rlx_jinja_callable *rlx_jinja_find_global(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].name) == len && !memcmp(globals[i].name, name, len))
            return &globals[i];
    return NULL;
}
