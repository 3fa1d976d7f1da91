/* frontend/flow_cut.c: a flow's module in two, between two of its layers:
 *
 *   func @main(..) { %1 = embed ..  %2 = call %1 {callee=@layer_0, first=0, count=6}  .. }
 *
 * behind 4 of the layers gives
 *
 *   front  func @main(..) { %1 = embed ..  %2 = call %1 {.., first=0, count=2}  return %2 }      "cut:0"
 *   back   func @main(%a: f32[..] input "cut:0", ..) { %2 = call %a {.., first=2, count=4}  .. }
 *
 * What is live between the two is given by the front's outputs and taken by the back's inputs of the
 * same names. Inputs, weights and states are bound by name in both. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"

/* ---- where ---- */

int64_t rlx_flow_count_layers(const rlx_ir_module *hir)
{
    const rlx_ir_func *main = rlx_ir_func_find(hir, "main");
    int64_t layers = 0;
    for (const rlx_ir_node *n = main->body->first; n; n = n->next)
        if (n->op == RLX_HIR_CALL)
            layers += rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    return layers;
}

/* Splits a call behind its first `count` rounds; the second one goes on with what the first returns. */
static rlx_status split_call(rlx_ir_module *m, rlx_ir_node *call, int64_t count)
{
    const int64_t first = rlx_ir_attr_int(call, RLX_ATTR_FIRST, 0),
                  all = rlx_ir_attr_int(call, RLX_ATTR_COUNT, 1);
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    b.block = call->parent;
    b.before = call;
    b.place = call->place;
    const rlx_attr attrs[] = {*rlx_ir_attr(call, RLX_ATTR_CALLEE),
                              rlx_attr_int(RLX_ATTR_FIRST, first),
                              rlx_attr_int(RLX_ATTR_COUNT, count)};
    rlx_ir_node *before =
        rlx_ir_build_node(&b, RLX_HIR_CALL, call->nin, call->in, 3, attrs, call->nout, NULL);
    RLX_TRY(rlx_ir_builder_finish(&b));
    for (int i = 0; i < call->nout; i++)
        call->in[i] = before->out[i];
    RLX_TRY(rlx_ir_attr_set(m, call, rlx_attr_int(RLX_ATTR_FIRST, first + count)));
    return rlx_ir_attr_set(m, call, rlx_attr_int(RLX_ATTR_COUNT, all - count));
}

/* The first node of the back, whose layers are all but the first `before`. */
static rlx_status find_cut(rlx_ir_module *m, rlx_ir_func *main, int64_t before, rlx_ir_node **out)
{
    int64_t layers = 0;
    for (rlx_ir_node *n = main->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
        *out = n;
        if (before > layers && before < layers + count)
            return split_call(m, n, before - layers);
        if (before == layers)
            return RLX_OK;
        layers += count;
    }
    return RLX_FAIL(RLX_INTERNAL, "no layer %lld", (long long)before);
}

/* ---- what is live ---- */

typedef struct cut {
    rlx_ir_module *m;
    rlx_ir_func *main;
    rlx_ir_node *at, *ret; /* the first node of the back; the function's return */
    rlx_ir_value **live;
    int nlive;
} cut;

/* Constants are made where they are used. */
static bool is_made_again(const rlx_ir_node *n)
{
    return n->nin == 0 && n->nblock == 0;
}

static int uses_behind(const cut *c, const rlx_ir_value *v)
{
    int uses = 0;
    for (const rlx_ir_node *n = c->at; n != c->ret; n = n->next) {
        for (int i = 0; i < n->nin; i++)
            uses += n->in[i] == v;
        for (int i = 0; i < n->nblock; i++)
            uses += rlx_ir_count_uses(n->blocks[i], v);
    }
    return uses;
}

static rlx_status find_live(cut *c)
{
    int values = 1;
    for (const rlx_ir_node *n = c->main->body->first; n != c->at; n = n->next)
        values += n->nout;
    c->live = RLX_NEW_ARRAY(c->m->arena, rlx_ir_value *, values);
    if (!c->live)
        return RLX_OOM();
    for (rlx_ir_node *n = c->main->body->first; n != c->at; n = n->next)
        for (int i = 0; i < n->nout && !is_made_again(n); i++)
            if (uses_behind(c, n->out[i]))
                c->live[c->nlive++] = n->out[i];
    return RLX_OK;
}

static bool is_of_front(const cut *c, const rlx_ir_value *v)
{
    for (const rlx_ir_node *n = c->main->body->first; n != c->at; n = n->next)
        if (v->def == n)
            return true;
    return false;
}

/* ---- the two sides ---- */

/* Another return: `n` values, of the types that the function then has. */
static rlx_status set_return(cut *c, int n, rlx_ir_value *const *values)
{
    rlx_ir_builder b;
    rlx_ir_type *types = RLX_NEW_ARRAY(c->m->arena, rlx_ir_type, n + 1);
    if (!types)
        return RLX_OOM();
    for (int i = 0; i < n; i++)
        types[i] = values[i]->type;
    rlx_ir_builder_init(&b, c->m);
    b.block = c->main->body;
    rlx_ir_node_remove(c->ret);
    rlx_ir_func_set_results(&b, c->main, n, types);
    rlx_ir_build_return(&b, n, values);
    return rlx_ir_builder_finish(&b);
}

/* The outputs of one side: `names` and `values` have room for all. */
static int take_outputs(const cut *c, const rlx_flow_outputs *all, bool front, const char **names,
                        rlx_ir_value **values)
{
    int n = 0;
    for (int i = 0; i < all->n; i++)
        if (is_of_front(c, c->ret->in[i]) == front) {
            names[n] = all->name[i];
            values[n++] = c->ret->in[i];
        }
    return n;
}

static rlx_status keep_front(cut *c, int n, rlx_ir_value *const *values)
{
    RLX_TRY(set_return(c, n, values));
    for (rlx_ir_node *node = c->main->body->last->prev, *before; node; node = before) {
        const bool last = node == c->at;
        before = last ? NULL : node->prev;
        rlx_ir_node_remove(node);
    }
    return RLX_OK;
}

static rlx_status keep_back(cut *c, int n, rlx_ir_value *const *values,
                            const char *const *live_names)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, c->m);
    RLX_TRY(set_return(c, n, values));
    for (int i = 0; i < c->nlive; i++) {
        char name[24];
        snprintf(name, sizeof name, "cut_%d", i);
        rlx_ir_value *given =
            rlx_ir_build_arg(&b, c->main, RLX_ROLE_INPUT, live_names[i], name, c->live[i]->type);
        if (given)
            rlx_ir_replace_uses(c->main->body, c->live[i], given);
    }
    for (rlx_ir_node *node = c->main->body->first, *next; node != c->at; node = next) {
        next = node->next;
        if (!is_made_again(node))
            rlx_ir_node_remove(node);
    }
    return rlx_ir_builder_finish(&b);
}

static void remove_unused_args(rlx_ir_func *f)
{
    int n = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        rlx_ir_value *arg = f->body->args[i];
        if (!rlx_ir_count_uses(f->body, arg))
            continue;
        arg->index = (uint32_t)n;
        f->arg_info[n] = f->arg_info[i];
        f->body->args[n++] = arg;
    }
    f->body->nargs = n;
}

static void remove_unused_funcs(rlx_ir_module *m, const rlx_ir_func *main)
{
    for (rlx_ir_func *f = m->first, *next; f; f = next) {
        bool called = f == main;
        next = f->next;
        for (const rlx_ir_node *n = main->body->first; n && !called; n = n->next)
            called =
                n->op == RLX_HIR_CALL && !strcmp(rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""), f->name);
        if (!called)
            rlx_ir_func_remove(m, f);
    }
}

/* ---- names ---- */

static rlx_status set_names(rlx_flow_outputs *o, const char *const *names, int n)
{
    size_t bytes = sizeof(char *) * (size_t)n + 1;
    for (int i = 0; i < n; i++)
        bytes += strlen(names[i]) + 1;
    char **copy = malloc(bytes), *at = (char *)(copy + n);
    if (!copy)
        return RLX_OOM();
    for (int i = 0; i < n; i++) {
        copy[i] = at;
        at = stpcpy(at, names[i]) + 1;
    }
    free(o->name);
    o->name = copy;
    o->n = n;
    return RLX_OK;
}

/* ---- the whole ---- */

static rlx_status keep(cut *c, rlx_flow_outputs *outputs, bool front)
{
    const int most = c->nlive + outputs->n + 1;
    const char **names = RLX_NEW_ARRAY(c->m->arena, const char *, most);
    rlx_ir_value **values = RLX_NEW_ARRAY(c->m->arena, rlx_ir_value *, most);
    if (!names || !values)
        return RLX_OOM();
    for (int i = 0; i < c->nlive; i++) {
        values[i] = c->live[i];
        names[i] = rlx_arena_printf(c->m->arena, RLX_FLOW_CUT "%d", i);
        if (!names[i])
            return RLX_OOM();
    }
    const int lives = front ? c->nlive : 0;
    const int n = take_outputs(c, outputs, front, names + c->nlive, values + c->nlive);
    if (front)
        RLX_TRY(keep_front(c, lives + n, values));
    else
        RLX_TRY(keep_back(c, n, values + c->nlive, names));
    return set_names(outputs, names + (front ? 0 : c->nlive), lives + n);
}

/* Nothing is before the first layer but what it is given. */
static bool has_no_front(const cut *c)
{
    for (int i = 0; i < c->ret->nin; i++)
        if (is_of_front(c, c->ret->in[i]))
            return false;
    return c->nlive == 0;
}

rlx_status rlx_flow_cut(rlx_ir_module *hir, rlx_flow_outputs *outputs, int64_t behind, bool front,
                        bool *whole)
{
    cut c = {.m = hir, .main = rlx_ir_func_find(hir, "main")};
    RLX_TRY(find_cut(hir, c.main, rlx_flow_count_layers(hir) - behind, &c.at));
    c.ret = c.main->body->last;
    RLX_TRY(find_live(&c));
    *whole = has_no_front(&c);
    if (*whole)
        return RLX_OK;
    RLX_TRY(keep(&c, outputs, front));
    rlx_ir_remove_dead(hir);
    remove_unused_args(c.main);
    remove_unused_funcs(hir, c.main);
    return rlx_ir_verify(hir);
}
