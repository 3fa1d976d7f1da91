/* frontend/jinja/eval.c: expressions; and the life of a template and of a rendering. */
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/jinja/impl.h"

enum { DEEPEST = 1000 };

/* ---- limits, errors */

rlx_jinja_value rlx_jinja_fail(rlx_jinja_run *x, rlx_code code, const char *fmt, ...)
{
    if (!x->error) {
        char message[512];
        va_list args;
        va_start(args, fmt);
        vsnprintf(message, sizeof message, fmt, args);
        va_end(args);
        x->error = RLX_FAIL(code, "%s:%d: %s", x->t->name, x->line, message);
    }
    return rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_type_error(rlx_jinja_run *x, const char *fmt, ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return rlx_jinja_fail(x, RLX_INVALID_ARGUMENT, "%s", message);
}

bool rlx_jinja_step(rlx_jinja_run *x, int64_t n)
{
    if (x->error)
        return false;
    x->steps -= n;
    if (x->steps < 0)
        rlx_jinja_fail(x, RLX_EXHAUSTED, "rendering takes too many steps");
    return !x->error;
}

bool rlx_jinja_deeper(rlx_jinja_run *x)
{
    if (x->error)
        return false;
    if (x->depth == DEEPEST) {
        rlx_jinja_fail(x, RLX_EXHAUSTED, "more than %d calls or values inside each other",
                       (int)DEEPEST);
        return false;
    }
    x->depth++;
    return true;
}

void rlx_jinja_shallower(rlx_jinja_run *x)
{
    x->depth--;
}

/* ---- operands */

static rlx_jinja_value eval_name(rlx_jinja_run *x, const rlx_jinja_scope *s,
                                 const rlx_jinja_node *n)
{
    rlx_jinja_value name = {.kind = RLX_JINJA_STRING, .s = n->name};
    rlx_jinja_value nothing = {.kind = RLX_JINJA_MISSING};
    for (; s; s = s->parent)
        for (int i = s->n - 1; i >= 0; i--)
            if (s->bindings[i].name == n->name)
                return rlx_jinja_given(s->bindings[i].value)
                           ? s->bindings[i].value
                           : rlx_jinja_undefined_of(x, nothing, name);
    const rlx_jinja_value *given = rlx_jinja_dict_get(x, x->context, name);
    if (given)
        return *given;
    const rlx_jinja_callable *global = rlx_jinja_find_global(n->name->data, n->name->len);
    if (global)
        return (rlx_jinja_value){.kind = RLX_JINJA_FUNCTION, .function = global};
    return rlx_jinja_undefined_of(x, nothing, name);
}

static rlx_jinja_value eval_list(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_list *l = rlx_jinja_list_new(x);
    for (int i = 0; i < n->items.n && !x->error; i++)
        rlx_jinja_push(x, l, rlx_jinja_eval(x, s, n->items.at[i]));
    return rlx_jinja_list_value(l,
                                n->kind == RLX_JINJA_TUPLE_OF ? RLX_JINJA_TUPLE : RLX_JINJA_LIST);
}

static rlx_jinja_value eval_dict(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_dict *d = rlx_jinja_dict_new(x);
    for (int i = 0; i + 1 < n->items.n && !x->error; i += 2) {
        rlx_jinja_value key = rlx_jinja_eval(x, s, n->items.at[i]);
        rlx_jinja_dict_set(x, d, key, rlx_jinja_eval(x, s, n->items.at[i + 1]));
    }
    return rlx_jinja_dict_value(d);
}

static rlx_jinja_value eval_part(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    return n ? rlx_jinja_eval(x, s, n) : (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
}

static rlx_jinja_value eval_item(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value v = rlx_jinja_eval(x, s, n->a);
    const rlx_jinja_node *key = n->b;
    if (key->kind != RLX_JINJA_SLICE)
        return rlx_jinja_item(x, v, rlx_jinja_eval(x, s, key));
    rlx_jinja_value from = eval_part(x, s, key->a), to = eval_part(x, s, key->b);
    return rlx_jinja_slice(x, v, from, to, eval_part(x, s, key->c));
}

/* ---- operators */

static rlx_jinja_value eval_compare(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value left = rlx_jinja_eval(x, s, n->a);
    for (int i = 0; i < n->items.n; i++) {
        rlx_jinja_value right = rlx_jinja_eval(x, s, n->items.at[i]);
        if (!rlx_jinja_compare(x, n->ops[i], left, right))
            return rlx_jinja_bool(false);
        left = right;
    }
    return rlx_jinja_bool(true);
}

static rlx_jinja_value eval_concat(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_buffer b = {.x = x};
    for (int i = 0; i < n->items.n; i++)
        rlx_jinja_put_str(&b, rlx_jinja_eval(x, s, n->items.at[i]));
    return rlx_jinja_taken(&b);
}

static rlx_jinja_value eval_if_else(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    if (rlx_jinja_truth(rlx_jinja_eval(x, s, n->a)))
        return rlx_jinja_eval(x, s, n->b);
    return n->c
               ? rlx_jinja_eval(x, s, n->c)
               : rlx_jinja_undefined_hint(x,
                                          "the inline if-expression evaluated to false and no else "
                                          "section was defined.");
}

/* ---- calls */

static void push_stars(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                       rlx_jinja_list *pos, rlx_jinja_dict *named)
{
    if (n->star) {
        rlx_jinja_list *more = rlx_jinja_iterate(x, rlx_jinja_eval(x, s, n->star));
        for (int64_t i = 0; i < more->n && rlx_jinja_step(x, 1); i++)
            rlx_jinja_push(x, pos, more->items[i]);
    }
    rlx_jinja_value more = n->double_star ? rlx_jinja_eval(x, s, n->double_star) : rlx_jinja_none();
    if (n->double_star && more.kind != RLX_JINJA_DICT)
        rlx_jinja_type_error(x, "argument after ** must be a mapping, not %s",
                             rlx_jinja_type_name(more));
    for (int64_t i = 0; more.kind == RLX_JINJA_DICT && i < more.d->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_entry *e = &more.d->entries[i];
        if (e->key.kind != RLX_JINJA_STRING)
            rlx_jinja_type_error(x, "keywords must be strings");
        else if (rlx_jinja_dict_get(x, named, e->key))
            rlx_jinja_type_error(x, "got multiple values for keyword argument '%.*s'",
                                 (int)e->key.s->len, e->key.s->data);
        rlx_jinja_dict_set(x, named, e->key, e->value);
    }
}

rlx_jinja_args rlx_jinja_eval_args(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                                   int extra)
{
    if (!n->items.n && !n->nnames && !n->star && !n->double_star && !extra)
        return (rlx_jinja_args){0};
    rlx_jinja_list *pos = rlx_jinja_list_new(x);
    rlx_jinja_dict *named = rlx_jinja_dict_new(x);
    for (int i = 0; i < n->items.n; i++)
        rlx_jinja_push(x, pos, rlx_jinja_eval(x, s, n->items.at[i]));
    for (int i = 0; i < n->nnames; i++) {
        rlx_jinja_value name = {.kind = RLX_JINJA_STRING, .s = n->names[i]};
        rlx_jinja_dict_set(x, named, name, rlx_jinja_eval(x, s, n->named.at[i]));
    }
    if (n->star || n->double_star)
        push_stars(x, s, n, pos, named);
    rlx_jinja_args args = {.pos = pos->items, .npos = (int)pos->n};
    size_t room = (size_t)(named->n + extra);
    args.names = rlx_jinja_alloc(x, room * sizeof *args.names);
    args.named = rlx_jinja_alloc(x, room * sizeof *args.named);
    if (!args.names || !args.named || x->error)
        return (rlx_jinja_args){0};
    for (int64_t i = 0; i < named->n; i++, args.nnamed++) {
        args.names[i] = named->entries[i].key.s;
        args.named[i] = named->entries[i].value;
    }
    return args;
}

static rlx_jinja_value eval_call(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value f = rlx_jinja_eval(x, s, n->a);
    rlx_jinja_args args = rlx_jinja_eval_args(x, s, n, 0);
    x->line = n->line;
    return x->error ? rlx_jinja_none() : rlx_jinja_call(x, f, &args);
}

static rlx_jinja_value eval_filter(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value v = n->a ? rlx_jinja_eval(x, s, n->a) : x->piped;
    rlx_jinja_args args = rlx_jinja_eval_args(x, s, n, 0);
    x->line = n->line;
    if (!n->callable)
        return rlx_jinja_fail(x, RLX_INVALID_FILE, "No filter named '%s'.", n->name->data);
    return x->error ? rlx_jinja_none() : rlx_jinja_call_with(x, n->callable, &v, &args);
}

static rlx_jinja_value eval_test(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value v = rlx_jinja_eval(x, s, n->a);
    rlx_jinja_args args = rlx_jinja_eval_args(x, s, n, 0);
    x->line = n->line;
    if (!n->callable)
        return rlx_jinja_fail(x, RLX_INVALID_FILE, "No test named '%s'.", n->name->data);
    return x->error ? rlx_jinja_none() : rlx_jinja_call_with(x, n->callable, &v, &args);
}

/* ---- expressions */

static rlx_jinja_value eval_node(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value a;
    switch (n->kind) {
    case RLX_JINJA_CONST:
        return n->value;
    case RLX_JINJA_NAME:
        return eval_name(x, s, n);
    case RLX_JINJA_ATTR:
        return rlx_jinja_attr(x, rlx_jinja_eval(x, s, n->a), n->value);
    case RLX_JINJA_ITEM:
        return eval_item(x, s, n);
    case RLX_JINJA_LIST_OF:
    case RLX_JINJA_TUPLE_OF:
        return eval_list(x, s, n);
    case RLX_JINJA_DICT_OF:
        return eval_dict(x, s, n);
    case RLX_JINJA_CALL:
        return eval_call(x, s, n);
    case RLX_JINJA_FILTER:
        return eval_filter(x, s, n);
    case RLX_JINJA_TEST:
        return eval_test(x, s, n);
    case RLX_JINJA_UNARY:
        return rlx_jinja_unary(x, n->op, rlx_jinja_eval(x, s, n->a));
    case RLX_JINJA_BINARY:
        a = rlx_jinja_eval(x, s, n->a);
        return rlx_jinja_binary(x, n->op, a, rlx_jinja_eval(x, s, n->b));
    case RLX_JINJA_COMPARE:
        return eval_compare(x, s, n);
    case RLX_JINJA_CONCAT:
        return eval_concat(x, s, n);
    case RLX_JINJA_AND:
        a = rlx_jinja_eval(x, s, n->a);
        return rlx_jinja_truth(a) ? rlx_jinja_eval(x, s, n->b) : a;
    case RLX_JINJA_OR:
        a = rlx_jinja_eval(x, s, n->a);
        return rlx_jinja_truth(a) ? a : rlx_jinja_eval(x, s, n->b);
    case RLX_JINJA_NOT:
        return rlx_jinja_bool(!rlx_jinja_truth(rlx_jinja_eval(x, s, n->a)));
    case RLX_JINJA_IF_ELSE:
        return eval_if_else(x, s, n);
    default:
        return rlx_jinja_fail(x, RLX_INTERNAL, "a statement in place of an expression");
    }
}

rlx_jinja_value rlx_jinja_eval(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    if (!rlx_jinja_step(x, 1) || !rlx_jinja_deeper(x))
        return rlx_jinja_none();
    x->line = n->line;
    rlx_jinja_value v = eval_node(x, s, n);
    rlx_jinja_shallower(x);
    return x->error ? rlx_jinja_none() : v;
}

/* ---- templates */

/* Numbers have a point in every locale: the thread is in C's while a template is read or rendered.
 */
static bool enter_c_locale(locale_t *c, locale_t *around)
{
    *c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (*c)
        *around = uselocale(*c);
    return *c != (locale_t)0;
}

static void leave_c_locale(locale_t c, locale_t around)
{
    uselocale(around);
    freelocale(c);
}

rlx_status rlx_jinja_parse(const char *name, const char *text, size_t bytes,
                           rlx_jinja_template **out)
{
    *out = NULL;
    rlx_arena *arena = rlx_arena_create();
    rlx_jinja_template *t = arena ? RLX_NEW(arena, rlx_jinja_template) : NULL;
    char *copy = t ? rlx_arena_strdup(arena, name) : NULL;
    locale_t c, around;
    if (!copy || !enter_c_locale(&c, &around)) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    rlx_jinja_parser p = {.arena = arena, .name = copy};
    *t = (rlx_jinja_template){.arena = arena, .name = copy};
    t->loop = rlx_jinja_intern(&p, "loop", 4);
    t->caller = rlx_jinja_intern(&p, "caller", 6);
    t->varargs = rlx_jinja_intern(&p, "varargs", 7);
    t->kwargs = rlx_jinja_intern(&p, "kwargs", 6);
    rlx_jinja_lex(&p, text, bytes);
    rlx_jinja_parse_template(&p, &t->root.nodes);
    if (!p.error)
        rlx_jinja_find_names(&p, t);
    leave_c_locale(c, around);
    if (p.error)
        rlx_arena_destroy(arena);
    else
        *out = t;
    return p.error;
}

void rlx_jinja_destroy(rlx_jinja_template *t)
{
    if (t)
        rlx_arena_destroy(t->arena);
}

/* ---- renderings */

static void take_names(rlx_jinja_run *x, const rlx_jinja_names *given)
{
    rlx_jinja_value v = rlx_jinja_read_json(x, given);
    if (given->name) {
        rlx_jinja_dict_set(x, x->context, rlx_jinja_literal(x, given->name), v);
        return;
    }
    if (!x->error && v.kind != RLX_JINJA_DICT)
        x->error = RLX_FAIL(RLX_INVALID_ARGUMENT, "names for %s: no JSON object", x->t->name);
    for (int64_t i = 0; !x->error && i < v.d->n; i++)
        rlx_jinja_dict_set(x, x->context, v.d->entries[i].key, v.d->entries[i].value);
}

static void render(rlx_jinja_run *x, const rlx_jinja_names *given, int n)
{
    x->context = rlx_jinja_dict_new(x);
    for (int i = 0; i < n && !x->error; i++)
        take_names(x, &given[i]);
    x->root = x->error ? NULL : rlx_jinja_scope_new(x, NULL, &x->t->root);
    rlx_jinja_exec(x, x->root, &x->t->root.nodes);
}

rlx_status rlx_jinja_render(const rlx_jinja_template *t, const rlx_jinja_names *given, int n,
                            int64_t now, const rlx_jinja_limits *limits, char **out,
                            size_t *out_bytes)
{
    rlx_jinja_buffer text = {0};
    rlx_jinja_limits most = limits ? *limits : (rlx_jinja_limits){0};
    rlx_jinja_run x = {.t = t,
                       .arena = rlx_arena_create(),
                       .line = 1,
                       .steps = most.steps ? most.steps : 50000000,
                       .bytes = most.bytes ? most.bytes : (size_t)256 << 20,
                       .output_bytes = most.output_bytes ? most.output_bytes : (size_t)32 << 20,
                       .now = now,
                       .out = &text};
    text.x = &x;
    *out = NULL;
    *out_bytes = 0;
    locale_t c, around;
    if (!x.arena || !enter_c_locale(&c, &around)) {
        rlx_arena_destroy(x.arena);
        return RLX_OOM();
    }
    render(&x, given, n);
    leave_c_locale(c, around);
    char *copy = x.error ? NULL : malloc(text.len + 1);
    if (!copy && !x.error)
        x.error = RLX_OOM();
    if (copy) {
        if (text.len)
            memcpy(copy, text.data, text.len);
        copy[text.len] = 0;
        *out = copy;
        *out_bytes = text.len;
    }
    rlx_arena_destroy(x.arena);
    return x.error;
}
