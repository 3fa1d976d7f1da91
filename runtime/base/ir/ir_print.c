/* IR to text: names are given first, in the order in which they will appear. */
#include <stdlib.h>
#include <string.h>

#include "runtime/base/ir/ir_internal.h"
#include "runtime/base/ir/ir_nest.h"

/* ---- naming
 * --------------------------------------------------------------------------------------- */

/* The text of every value of one function. Names are lent by the values, or owned when made here.
 */
typedef struct naming {
    rlx_ir_map texts; /* value -> const char * */
    char **owned;
    size_t nowned, cap;
    const char **used; /* open-addressed set of the names given, cap_used slots */
    size_t nused, cap_used;
    int next_number;
    bool canonical;
    bool oom;
} naming;

static void naming_deinit(naming *g)
{
    for (size_t i = 0; i < g->nowned; i++)
        free(g->owned[i]);
    free(g->owned);
    free(g->used);
    rlx_ir_map_deinit(&g->texts);
}

static char *own(naming *g, char *s)
{
    if (g->nowned == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 64;
        char **list = realloc(g->owned, cap * sizeof(*list));
        if (!list) {
            free(s);
            s = NULL;
        } else {
            g->owned = list;
            g->cap = cap;
        }
    }
    if (!s)
        g->oom = true;
    else
        g->owned[g->nowned++] = s;
    return s;
}

/* Where the string is in the set, or the free slot for it. */
static const char **find_used(const naming *g, const char *s)
{
    uint64_t h = 1469598103934665603u;
    for (const char *c = s; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    size_t i = (size_t)(h ^ (h >> 32)) & (g->cap_used - 1);
    while (g->used[i] && strcmp(g->used[i], s) != 0)
        i = (i + 1) & (g->cap_used - 1);
    return &g->used[i];
}

static bool grow_used(naming *g)
{
    naming big = {.cap_used = g->cap_used ? g->cap_used * 2 : 64};
    big.used = calloc(big.cap_used, sizeof(*big.used));
    if (!big.used) {
        g->oom = true;
        return false;
    }
    for (size_t i = 0; i < g->cap_used; i++)
        if (g->used[i])
            *find_used(&big, g->used[i]) = g->used[i];
    free(g->used);
    g->used = big.used;
    g->cap_used = big.cap_used;
    return true;
}

/* False when the name was given before. */
static bool use(naming *g, const char *s)
{
    if (g->nused * 2 >= g->cap_used && !grow_used(g))
        return true;
    const char **slot = find_used(g, s);
    if (*slot)
        return false;
    *slot = s;
    g->nused++;
    return true;
}

static char *format_name(const char *base, int number)
{
    rlx_text t = {0};
    if (base)
        rlx_text_putf(&t, "%s.%d", base, number);
    else
        rlx_text_putf(&t, "%d", number);
    return rlx_text_take(&t);
}

static void name_value(naming *g, const rlx_ir_value *v)
{
    const char *text = v->name;
    if (!text || g->canonical || !rlx_ir_is_value_name(text)) {
        text = own(g, format_name(NULL, g->next_number++));
    } else if (!use(g, text)) {
        for (int i = 1;; i++) {
            text = own(g, format_name(v->name, i));
            if (!text || use(g, text))
                break;
        }
    }
    intptr_t *at = rlx_ir_map_at(&g->texts, v);
    if (at)
        *at = (intptr_t)text;
    g->oom = g->oom || !at || !text;
}

static void name_block(naming *g, const rlx_ir_block *b)
{
    for (int i = 0; i < b->nargs; i++)
        name_value(g, b->args[i]);
    for (const rlx_ir_node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nout; i++)
            name_value(g, n->out[i]);
        for (int i = 0; i < n->nblock; i++)
            name_block(g, n->blocks[i]);
    }
}

/* ---- printing
 * --------------------------------------------------------------------------------------- */

typedef struct printer {
    const rlx_ir_module *m;
    naming names;
    unsigned flags;
    rlx_ir_map *callees; /* canonical text: func -> const rlx_hash *, or 0 while it is being made */
    rlx_ir_outer_fn *outer; /* a nest: of values from around it; or NULL */
    void *user;
    rlx_text *out;
} printer;

static const rlx_hash *fingerprint(const rlx_ir_func *f, rlx_ir_map *callees);

static void put_value(const printer *p, const rlx_ir_value *v)
{
    const char *text = v ? (const char *)rlx_ir_map_get(&p->names.texts, v, 0) : NULL;
    rlx_text_put(p->out, "%");
    rlx_text_put(p->out, text ? text : "?");
}

static void put_values(const printer *p, int n, rlx_ir_value *const *values)
{
    for (int i = 0; i < n; i++) {
        rlx_text_put(p->out, i ? ", " : "");
        put_value(p, values[i]);
    }
}

/* "f32", or "(f32, i64)" for several. */
static void put_types(const printer *p, int n, rlx_ir_value *const *values)
{
    rlx_text_put(p->out, n > 1 ? "(" : "");
    for (int i = 0; i < n; i++) {
        rlx_text_put(p->out, i ? ", " : "");
        rlx_ir_type_print(p->m->dims, &values[i]->type, p->out);
    }
    rlx_text_put(p->out, n > 1 ? ")" : "");
}

static void put_attr(const printer *p, const rlx_attr *a)
{
    const rlx_ir_func *callee = NULL;
    if ((p->flags & RLX_PRINT_CANONICAL) && rlx_attr_kind_of(a->key) == RLX_ATTR_KIND_SYM)
        callee = rlx_ir_func_find(p->m, a->text);
    const rlx_hash *hash = callee ? fingerprint(callee, p->callees) : NULL;
    if (!hash) { /* not canonical, not in this module, or recursion, which levels refuse */
        rlx_attr_print(p->m->dims, a, p->out);
        return;
    }
    char hex[65];
    rlx_hash_hex(*hash, hex);
    rlx_text_putf(p->out, "%s=@%s", rlx_attr_name(a->key), hex);
}

static void put_attrs(const printer *p, int n, const rlx_attr *attrs)
{
    if (n == 0)
        return;
    rlx_text_put(p->out, " {");
    for (int i = 0; i < n; i++) {
        rlx_text_put(p->out, i ? ", " : "");
        put_attr(p, &attrs[i]);
    }
    rlx_text_put(p->out, "}");
}

static void put_block_args(const printer *p, const rlx_ir_block *b)
{
    if (b->nargs == 0)
        return;
    rlx_text_put(p->out, " (");
    for (int i = 0; i < b->nargs; i++) {
        rlx_text_put(p->out, i ? ", " : "");
        put_value(p, b->args[i]);
        rlx_text_put(p->out, ": ");
        rlx_ir_type_print(p->m->dims, &b->args[i]->type, p->out);
    }
    rlx_text_put(p->out, ")");
}

static void put_operands(const printer *p, const rlx_ir_node *n)
{
    for (int i = 0; i < n->nin; i++) {
        rlx_text_put(p->out, i ? ", " : " ");
        if (p->outer && n->in[i] && !rlx_ir_map_get(&p->names.texts, n->in[i], 0))
            p->outer(p->user, n, i, p->out);
        else
            put_value(p, n->in[i]);
    }
}

/* Results, mnemonic, operands, attributes and types: a node's line up to its blocks. */
static void put_head(const printer *p, const rlx_ir_node *n)
{
    put_values(p, n->nout, n->out);
    rlx_text_put(p->out, n->nout ? " = " : "");
    rlx_text_put(p->out, rlx_ir_info(p->m, n)->mnemonic);
    put_operands(p, n);
    put_attrs(p, n->nattr, n->attr);
    if (n->nout) {
        rlx_text_put(p->out, " : ");
        put_types(p, n->nout, n->out);
    }
}

enum { PLACE_COLUMN = 76 };

static void put_place(const printer *p, const char *place, size_t line_start)
{
    if (!place || (p->flags & RLX_PRINT_NO_PLACES))
        return;
    size_t width = p->out->len - line_start;
    int pad = width + 2 < PLACE_COLUMN ? (int)(PLACE_COLUMN - width) : 2;
    rlx_text_putf(p->out, "%*s// %s", pad, "", place);
}

static void indent(const printer *p, int depth)
{
    for (int i = 0; i < depth; i++)
        rlx_text_put(p->out, "  ");
}

static void put_node(const printer *p, const rlx_ir_node *n, int depth);

static void put_nodes(const printer *p, const rlx_ir_block *b, int depth)
{
    for (const rlx_ir_node *n = b->first; n; n = n->next)
        put_node(p, n, depth);
}

static void put_node(const printer *p, const rlx_ir_node *n, int depth)
{
    size_t start = p->out->len;
    indent(p, depth);
    put_head(p, n);
    for (int i = 0; i < n->nblock; i++) {
        if (i)
            indent(p, depth);
        rlx_text_put(p->out, i ? "}" : "");
        put_block_args(p, n->blocks[i]);
        rlx_text_put(p->out, " {");
        if (i == 0)
            put_place(p, n->place, start);
        rlx_text_put(p->out, "\n");
        put_nodes(p, n->blocks[i], depth + 1);
    }
    if (n->nblock) {
        indent(p, depth);
        rlx_text_put(p->out, "}");
    } else {
        put_place(p, n->place, start);
    }
    rlx_text_put(p->out, "\n");
}

static void put_role(const printer *p, rlx_ir_arg_info info)
{
    static const char *const words[] = {[RLX_ROLE_VALUE] = "",
                                        [RLX_ROLE_WEIGHT] = " weight ",
                                        [RLX_ROLE_INPUT] = " input ",
                                        [RLX_ROLE_STATE] = " state ",
                                        [RLX_ROLE_OUT] = " out"};
    rlx_text_put(p->out, words[info.role]);
    if (info.symbol)
        rlx_ir_put_quoted(info.symbol, p->out);
}

enum { WRAP_COLUMN = 72 };

/* Between the parts of a function's head: a new line when this one is long. */
static void put_break(const printer *p, const char *separator, int depth, size_t *line_start)
{
    rlx_text_put(p->out, separator);
    if (p->out->len - *line_start < WRAP_COLUMN) {
        rlx_text_put(p->out, " ");
        return;
    }
    rlx_text_put(p->out, "\n");
    *line_start = p->out->len;
    indent(p, depth);
}

static void put_func(const printer *p, const rlx_ir_func *f, int depth)
{
    bool canonical = p->flags & RLX_PRINT_CANONICAL;
    size_t start = p->out->len;
    indent(p, depth);
    rlx_text_putf(p->out, "%s @%s(", f->is_kernel ? "kernel" : "func", canonical ? "" : f->name);
    for (int i = 0; i < f->body->nargs; i++) {
        if (i)
            put_break(p, ",", depth + 2, &start);
        put_value(p, f->body->args[i]);
        rlx_text_put(p->out, ": ");
        rlx_ir_type_print(p->m->dims, &f->body->args[i]->type, p->out);
        put_role(p, f->arg_info[i]);
    }
    rlx_text_put(p->out, ")");
    if (f->nresults)
        put_break(p, "", depth + 2, &start);
    for (int i = 0; i < f->nresults; i++) {
        rlx_text_put(p->out, i ? ", " : "-> (");
        rlx_ir_type_print(p->m->dims, &f->results[i], p->out);
    }
    rlx_text_put(p->out, f->nresults ? ")" : "");
    put_attrs(p, f->nattr, f->attr);
    rlx_text_put(p->out, " {\n");
    put_nodes(p, f->body, depth + 1);
    indent(p, depth);
    rlx_text_put(p->out, "}\n");
}

static void print_func(const rlx_ir_func *f, unsigned flags, int depth, rlx_ir_map *callees,
                       rlx_text *out)
{
    printer p = {.m = f->module, .flags = flags, .callees = callees, .out = out};
    p.names.canonical = flags & RLX_PRINT_CANONICAL;
    name_block(&p.names, f->body);
    put_func(&p, f, depth);
    out->oom = out->oom || p.names.oom || p.names.texts.oom;
    naming_deinit(&p.names);
}

void rlx_ir_print(const rlx_ir_module *m, unsigned flags, rlx_text *out)
{
    rlx_text_putf(out, "%s module @%s {\n", m->level->name, m->name);
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        print_func(f, flags, 1, NULL, out);
    rlx_text_put(out, "}\n");
}

void rlx_ir_print_func(const rlx_ir_func *f, unsigned flags, rlx_text *out)
{
    print_func(f, flags, 0, NULL, out);
}

void rlx_ir_print_node(const rlx_ir_module *m, const rlx_ir_node *n, rlx_text *out)
{
    printer p = {.m = m, .out = out};
    if (n->parent) /* not linked yet, or removed: names are `?` */
        name_block(&p.names, n->parent->func->body);
    put_head(&p, n);
    if (n->nblock)
        rlx_text_put(out, " {...}");
    out->oom = out->oom || p.names.oom || p.names.texts.oom;
    naming_deinit(&p.names);
}

void rlx_ir_print_nest(const rlx_ir_node *n, rlx_ir_outer_fn *outer, void *user, rlx_text *out)
{
    printer p = {.m = n->parent->func->module,
                 .names.canonical = true,
                 .flags = RLX_PRINT_NO_PLACES,
                 .outer = outer,
                 .user = user,
                 .out = out};
    for (int i = 0; i < n->nout; i++)
        name_value(&p.names, n->out[i]);
    for (int i = 0; i < n->nblock; i++)
        name_block(&p.names, n->blocks[i]);
    put_node(&p, n, 0);
    out->oom = out->oom || p.names.oom || p.names.texts.oom;
    naming_deinit(&p.names);
}

/* ---- fingerprints
 * --------------------------------------------------------------------------------- */

/* Lent by the map's owner, who frees it; NULL while it is being made, and when memory is short (the
 * map then says so). */
static const rlx_hash *fingerprint(const rlx_ir_func *f, rlx_ir_map *callees)
{
    if (rlx_ir_map_get(callees, f, 1) == 0)
        return NULL;
    const rlx_hash *known = (const rlx_hash *)rlx_ir_map_get(callees, f, 0);
    if (known)
        return known;
    rlx_text t = {0};
    rlx_hash *hash = malloc(sizeof(*hash));
    if (hash && rlx_ir_map_at(callees, f))
        print_func(f, RLX_PRINT_CANONICAL | RLX_PRINT_NO_PLACES, 0, callees, &t);
    else
        t.oom = true;
    intptr_t *at = t.oom ? NULL : rlx_ir_map_at(callees, f);
    if (at) {
        *hash = rlx_hash_bytes(t.data, t.len);
        *at = (intptr_t)hash;
    } else {
        callees->oom = true;
        free(hash);
        hash = NULL;
    }
    rlx_text_deinit(&t);
    return hash;
}

rlx_hash rlx_ir_func_fingerprint(const rlx_ir_func *f)
{
    rlx_ir_map callees = {0};
    const rlx_hash *hash = fingerprint(f, &callees);
    rlx_hash result = {{0}};
    if (hash && !callees.oom)
        result = *hash;
    for (size_t i = 0; i < callees.cap; i++)
        free((void *)callees.values[i]);
    rlx_ir_map_deinit(&callees);
    return result;
}
