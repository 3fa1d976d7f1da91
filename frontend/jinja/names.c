/* frontend/jinja/names.c: which names a frame starts without.
 *
 * A frame is the template, a loop's body, a macro, a block or anything else with a scope of its
 * own. A name that a frame sets before it reads it, and that no frame around knows, is a variable
 * of that frame: until it is set it is undefined, also when the caller gave a value of that name.
 * A name that is set in some branches of an `if` only keeps the value from outside in the others.
 */
#include <stdlib.h>

#include "frontend/jinja/impl.h"

enum { DEEPEST = 2000 };

typedef struct symbol {
    rlx_jinja_string *name;
    bool stored, without;
} symbol;

typedef struct frame {
    struct frame *parent;
    symbol *at;
    int n, cap;
} frame;

typedef struct finder {
    rlx_jinja_parser *p;
    int depth;
} finder;

static symbol *find_own(const frame *f, const rlx_jinja_string *name)
{
    for (int i = 0; i < f->n; i++)
        if (f->at[i].name == name)
            return &f->at[i];
    return NULL;
}

static bool is_known(const frame *f, const rlx_jinja_string *name)
{
    for (; f; f = f->parent)
        if (find_own(f, name))
            return true;
    return false;
}

static symbol *add(finder *s, frame *f, rlx_jinja_string *name)
{
    if (f->n == f->cap) {
        int cap = f->cap ? 2 * f->cap : 8;
        symbol *grown = rlx_jinja_parse_alloc(s->p, (size_t)cap * sizeof *grown);
        if (!grown)
            return NULL;
        if (f->n)
            memcpy(grown, f->at, (size_t)f->n * sizeof *grown);
        f->at = grown;
        f->cap = cap;
    }
    f->at[f->n] = (symbol){.name = name};
    return &f->at[f->n++];
}

static void load(finder *s, frame *f, rlx_jinja_string *name)
{
    if (!is_known(f, name))
        add(s, f, name);
}

static void store(finder *s, frame *f, rlx_jinja_string *name)
{
    symbol *own = find_own(f, name);
    bool around = f->parent && is_known(f->parent, name);
    if (!own && (own = add(s, f, name)))
        own->without = !around;
    if (own)
        own->stored = true;
}

static void declare(finder *s, frame *f, rlx_jinja_string *name)
{
    symbol *own = find_own(f, name);
    if (!own)
        own = add(s, f, name);
    if (own)
        own->stored = true;
}

static frame copy(finder *s, const frame *f)
{
    frame c = {.parent = f->parent};
    for (int i = 0; i < f->n; i++) {
        symbol *own = add(s, &c, f->at[i].name);
        if (own)
            *own = f->at[i];
    }
    return c;
}

/* ---- one frame */

static void visit(finder *s, frame *f, const rlx_jinja_node *n);

static void visit_all(finder *s, frame *f, const rlx_jinja_nodes *nodes)
{
    for (int i = 0; i < nodes->n; i++)
        visit(s, f, nodes->at[i]);
}

static void visit_target(finder *s, frame *f, const rlx_jinja_node *n, bool parameter)
{
    if (n->kind == RLX_JINJA_NS_REF)
        load(s, f, n->name);
    else if (n->kind == RLX_JINJA_NAME && parameter)
        declare(s, f, n->name);
    else if (n->kind == RLX_JINJA_NAME)
        store(s, f, n->name);
    for (int i = 0; n->kind == RLX_JINJA_TUPLE_OF && i < n->items.n; i++)
        visit_target(s, f, n->items.at[i], parameter);
}

/* Takes over what a branch knows. */
static void merge(finder *s, frame *f, const frame *branch)
{
    for (int i = 0; i < branch->n; i++) {
        symbol *own = find_own(f, branch->at[i].name);
        if (!own)
            own = add(s, f, branch->at[i].name);
        if (own)
            *own = branch->at[i];
    }
}

/* The branches of an `if` with one test: its body, an `elif` that is an `if` itself, and `else`. */
static void visit_if(finder *s, frame *f, const rlx_jinja_node *n, int test)
{
    visit(s, f, n->items.at[test]);
    frame branch[3] = {copy(s, f), copy(s, f), copy(s, f)}, before = copy(s, f);
    visit_all(s, &branch[0], &n->bodies[test].nodes);
    for (int i = test + 1; test == 0 && i < n->items.n; i++)
        visit_if(s, &branch[1], n, i);
    if (test == 0)
        visit_all(s, &branch[2], &n->orelse.nodes);
    for (int i = 0; i < 3; i++)
        merge(s, f, &branch[i]);
    for (int i = 0; i < f->n; i++) {
        const symbol *old = find_own(&before, f->at[i].name);
        int stores = 0;
        for (int k = 0; k < 3; k++) {
            const symbol *in = find_own(&branch[k], f->at[i].name);
            stores += in && in->stored;
        }
        if (stores && stores < 3 && !(old && old->stored))
            f->at[i].without = false;
    }
}

static void visit_children(finder *s, frame *f, const rlx_jinja_node *n)
{
    const rlx_jinja_node *children[] = {n->a, n->b, n->c, n->star, n->double_star};
    for (int i = 0; i < 5; i++)
        if (children[i])
            visit(s, f, children[i]);
    visit_all(s, f, &n->items);
    visit_all(s, f, &n->named);
}

static void visit_statement(finder *s, frame *f, const rlx_jinja_node *n)
{
    switch (n->kind) {
    case RLX_JINJA_NAME:
    case RLX_JINJA_NS_REF:
        load(s, f, n->name);
        break;
    case RLX_JINJA_FOR:
    case RLX_JINJA_FILTER_BLOCK:
        visit(s, f, n->b);
        break;
    case RLX_JINJA_IF:
        visit_if(s, f, n, 0);
        break;
    case RLX_JINJA_SET:
        visit(s, f, n->b);
        visit_target(s, f, n->a, false);
        break;
    case RLX_JINJA_SET_BLOCK:
        visit_target(s, f, n->a, false);
        break;
    case RLX_JINJA_MACRO_DEF:
        store(s, f, n->name);
        break;
    case RLX_JINJA_CALL_BLOCK:
        visit(s, f, n->a);
        break;
    case RLX_JINJA_WITH:
        for (int i = 1; i < n->items.n; i += 2)
            visit(s, f, n->items.at[i]);
        break;
    case RLX_JINJA_BLOCK:
    case RLX_JINJA_SCOPE:
        break;
    default:
        visit_children(s, f, n);
    }
}

static void visit(finder *s, frame *f, const rlx_jinja_node *n)
{
    if (s->p->error)
        return;
    if (++s->depth > DEEPEST)
        rlx_jinja_parse_fail(s->p, RLX_EXHAUSTED, n->line, "nested too deep");
    else
        visit_statement(s, f, n);
    s->depth--;
}

/* ---- the frames inside */

static void find_inside(finder *s, frame *f, const rlx_jinja_nodes *nodes);

static void close_frame(finder *s, frame *f, rlx_jinja_body *body)
{
    visit_all(s, f, &body->nodes);
    body->without = rlx_jinja_parse_alloc(s->p, (size_t)(f->n + 1) * sizeof *body->without);
    for (int i = 0; i < f->n && body->without; i++)
        if (f->at[i].without)
            body->without[body->nwithout++] = f->at[i].name;
    if (body->without)
        find_inside(s, f, &body->nodes);
}

static void find_in_loop(finder *s, frame *f, rlx_jinja_node *n)
{
    frame body = {.parent = f}, orelse = {.parent = f};
    visit_target(s, &body, n->a, true);
    declare(s, &body, rlx_jinja_intern(s->p, "loop", 4));
    close_frame(s, &body, &n->body);
    close_frame(s, &orelse, &n->orelse);
}

static void find_in_macro(finder *s, frame *f, rlx_jinja_node *n)
{
    static const char *const special[] = {"caller", "varargs", "kwargs"};
    const bool uses[] = {n->uses_caller, n->uses_varargs, n->uses_kwargs};
    frame body = {.parent = f};
    for (int i = 0; i < 3; i++)
        if (uses[i])
            declare(s, &body, rlx_jinja_intern(s->p, special[i], strlen(special[i])));
    for (int i = 0; i < n->items.n; i++)
        declare(s, &body, n->items.at[i]->name);
    visit_all(s, &body, &n->named);
    close_frame(s, &body, &n->body);
}

static void find_in_statement(finder *s, frame *f, rlx_jinja_node *n)
{
    frame own = {.parent = n->kind == RLX_JINJA_BLOCK ? NULL : f};
    switch (n->kind) {
    case RLX_JINJA_IF:
        for (int i = 0; i < n->items.n; i++)
            find_inside(s, f, &n->bodies[i].nodes);
        find_inside(s, f, &n->orelse.nodes);
        break;
    case RLX_JINJA_FOR:
        find_in_loop(s, f, n);
        break;
    case RLX_JINJA_MACRO_DEF:
    case RLX_JINJA_CALL_BLOCK:
        find_in_macro(s, f, n);
        break;
    case RLX_JINJA_WITH:
        for (int i = 0; i < n->items.n; i += 2)
            visit_target(s, &own, n->items.at[i], true);
        close_frame(s, &own, &n->body);
        break;
    case RLX_JINJA_SET_BLOCK:
    case RLX_JINJA_FILTER_BLOCK:
    case RLX_JINJA_BLOCK:
    case RLX_JINJA_SCOPE:
        close_frame(s, &own, &n->body);
        break;
    default:
        break;
    }
}

static void find_inside(finder *s, frame *f, const rlx_jinja_nodes *nodes)
{
    for (int i = 0; i < nodes->n && !s->p->error; i++)
        find_in_statement(s, f, nodes->at[i]);
}

void rlx_jinja_find_names(rlx_jinja_parser *p, rlx_jinja_template *t)
{
    finder s = {.p = p};
    frame root = {0};
    close_frame(&s, &root, &t->root);
}
