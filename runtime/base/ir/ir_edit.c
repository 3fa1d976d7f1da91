/* Changing a module in place, and copying. */
#include <stdlib.h>

#include "runtime/base/ir/ir_internal.h"

void rlx_ir_node_remove(rlx_ir_node *n)
{
    rlx_ir_block *b = n->parent;
    if (n->prev)
        n->prev->next = n->next;
    else
        b->first = n->next;
    if (n->next)
        n->next->prev = n->prev;
    else
        b->last = n->prev;
    n->parent = NULL;
    n->prev = n->next = NULL;
}

void rlx_ir_node_move_before(rlx_ir_node *n, rlx_ir_node *where)
{
    if (n == where)
        return;
    rlx_ir_node_remove(n);
    rlx_ir_node_link(n, where->parent, where);
}

void rlx_ir_replace_uses(rlx_ir_block *scope, const rlx_ir_value *from, rlx_ir_value *to)
{
    for (rlx_ir_node *n = scope->first; n; n = n->next) {
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] == from)
                n->in[i] = to;
        for (int i = 0; i < n->nblock; i++)
            rlx_ir_replace_uses(n->blocks[i], from, to);
    }
}

int rlx_ir_count_uses(const rlx_ir_block *scope, const rlx_ir_value *v)
{
    int uses = 0;
    for (const rlx_ir_node *n = scope->first; n; n = n->next) {
        for (int i = 0; i < n->nin; i++)
            uses += n->in[i] == v;
        for (int i = 0; i < n->nblock; i++)
            uses += rlx_ir_count_uses(n->blocks[i], v);
    }
    return uses;
}

rlx_status rlx_ir_walk(rlx_ir_block *block, rlx_status (*visit)(void *user, rlx_ir_node *n),
                       void *user)
{
    for (rlx_ir_node *n = block->first, *next; n; n = next) {
        next = n->next;
        RLX_TRY(visit(user, n));
        if (n->parent != block) /* removed, or moved elsewhere */
            continue;
        for (int i = 0; i < n->nblock; i++)
            RLX_TRY(rlx_ir_walk(n->blocks[i], visit, user));
        next = n->next; /* the visitor may have built after it */
    }
    return RLX_OK;
}

static void clear_values(int n, rlx_ir_value *const *values)
{
    for (int i = 0; i < n; i++)
        values[i]->scratch = NULL;
}

void rlx_ir_clear_scratch(rlx_ir_block *block)
{
    clear_values(block->nargs, block->args);
    for (rlx_ir_node *n = block->first; n; n = n->next) {
        clear_values(n->nout, n->out);
        for (int i = 0; i < n->nblock; i++)
            rlx_ir_clear_scratch(n->blocks[i]);
    }
}

/* ---- copies
 * -------------------------------------------------------------------------------------- */

/* Where the new values of old ones are noted: in a map, or in `scratch` when there is none. */
typedef struct cloner {
    rlx_ir_module *module; /* where copies are made */
    rlx_ir_map *map;
} cloner;

static rlx_ir_value *lookup(const cloner *c, rlx_ir_value *v)
{
    if (!v)
        return NULL;
    void *found = c->map ? (void *)rlx_ir_map_get(c->map, v, 0) : v->scratch;
    return found ? found : v;
}

static bool note(const cloner *c, rlx_ir_value *from, rlx_ir_value *to)
{
    if (!c->map) {
        from->scratch = to;
        return true;
    }
    intptr_t *at = rlx_ir_map_at(c->map, from);
    if (at)
        *at = (intptr_t)to;
    return at != NULL;
}

/* Names are shared inside a module and copied between two. */
static bool copy_name(const cloner *c, const rlx_ir_value *from, rlx_ir_value *to)
{
    to->name = from->name;
    if (from->name && c->map)
        to->name = rlx_arena_strdup(c->module->arena, from->name);
    return !from->name || to->name;
}

static bool clone_block(const cloner *c, const rlx_ir_block *from, rlx_ir_block *to);

static rlx_ir_node *clone(const cloner *c, const rlx_ir_node *n, rlx_ir_block *block,
                          rlx_ir_node *before)
{
    rlx_ir_node *copy = rlx_ir_node_make(c->module, block, n->op, n->nin, n->in, n->nattr, n->attr,
                                         n->nout, n->nblock);
    if (!copy)
        return NULL;
    for (int i = 0; i < n->nin; i++)
        copy->in[i] = lookup(c, n->in[i]);
    const rlx_ir_node *last = before ? before->prev : block->last;
    copy->place = rlx_ir_place_copy(c->module, n->place, last ? last->place : NULL);
    for (int i = 0; i < n->nblock; i++)
        if (!clone_block(c, n->blocks[i], copy->blocks[i]))
            return NULL;
    for (int i = 0; i < n->nout; i++) {
        copy->out[i]->type = n->out[i]->type;
        if (!copy_name(c, n->out[i], copy->out[i]) || !note(c, n->out[i], copy->out[i]))
            return NULL;
    }
    rlx_ir_node_link(copy, block, before);
    return copy;
}

static bool clone_block(const cloner *c, const rlx_ir_block *from, rlx_ir_block *to)
{
    for (int i = 0; i < from->nargs; i++) {
        rlx_ir_value *arg = from->args[i];
        rlx_ir_value *copy = rlx_ir_block_add_arg(c->module, to, arg->name, arg->type);
        if (!copy || !note(c, arg, copy))
            return false;
    }
    for (const rlx_ir_node *n = from->first; n; n = n->next)
        if (!clone(c, n, to, NULL))
            return false;
    return true;
}

rlx_ir_node *rlx_ir_clone_node(rlx_ir_builder *b, rlx_ir_node *n)
{
    if (b->status)
        return NULL;
    cloner c = {.module = b->module};
    rlx_ir_node *copy = clone(&c, n, b->block, b->before);
    if (!copy)
        rlx_ir_builder_fail(b, RLX_OOM());
    return copy;
}

static bool clone_func(const cloner *c, const rlx_ir_func *f)
{
    rlx_ir_func *copy = rlx_ir_func_make(c->module, f->name, f->nresults, f->results);
    if (!copy)
        return false;
    copy->is_kernel = f->is_kernel;
    copy->nattr = f->nattr;
    if (!rlx_attr_copy_all(c->module->arena, f->nattr, f->attr, &copy->attr))
        return false;
    for (int i = 0; i < f->body->nargs; i++) {
        rlx_ir_value *arg = f->body->args[i];
        if (!rlx_ir_func_add_arg(copy, f->arg_info[i].role, f->arg_info[i].symbol, arg->name,
                                 arg->type) ||
            !note(c, arg, copy->body->args[i]))
            return false;
    }
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        if (!clone(c, n, copy->body, NULL))
            return false;
    return true;
}

rlx_status rlx_ir_module_clone(const rlx_ir_module *m, rlx_ir_module **out)
{
    rlx_ir_map map = {0};
    rlx_ir_module *copy;
    *out = NULL;
    RLX_TRY(rlx_ir_module_create(m->level, m->dims, m->name, &copy));
    cloner c = {.module = copy, .map = &map};
    bool ok = true;
    for (const rlx_ir_func *f = m->first; f && ok; f = f->next)
        ok = clone_func(&c, f);
    rlx_ir_map_deinit(&map);
    if (!ok) {
        rlx_ir_module_destroy(copy);
        return RLX_OOM();
    }
    *out = copy;
    return RLX_OK;
}

/* ---- dead nodes
 * ---------------------------------------------------------------------------------- */

bool rlx_ir_is_pure(const rlx_ir_module *m, const rlx_ir_node *n)
{
    unsigned traits = rlx_ir_info(m, n)->traits;
    if (traits & (RLX_EFFECT | RLX_TERMINATOR))
        return false;
    if (n->nblock == 0 || (traits & RLX_PURE))
        return traits & RLX_PURE;
    for (int i = 0; i < n->nblock; i++)
        for (const rlx_ir_node *k = n->blocks[i]->first; k; k = k->next)
            if (!(rlx_ir_info(m, k)->traits & RLX_TERMINATOR) && !rlx_ir_is_pure(m, k))
                return false;
    return true;
}

/* Adds `by` to the count of every operand in a node and what it holds. */
static bool count_node(rlx_ir_map *uses, const rlx_ir_node *n, int by)
{
    for (int i = 0; i < n->nin; i++) {
        intptr_t *at = rlx_ir_map_at(uses, n->in[i]);
        if (!at)
            return false;
        *at += by;
    }
    for (int i = 0; i < n->nblock; i++)
        for (const rlx_ir_node *k = n->blocks[i]->first; k; k = k->next)
            if (!count_node(uses, k, by))
                return false;
    return true;
}

static bool is_live(const rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_map *uses)
{
    for (int i = 0; i < n->nout; i++)
        if (rlx_ir_map_get(uses, n->out[i], 0) > 0)
            return true;
    return !rlx_ir_is_pure(m, n);
}

bool *rlx_ir_find_live(const rlx_ir_module *m, const rlx_ir_block *block)
{
    size_t count = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next)
        count++;
    rlx_ir_map uses = {0};
    bool *live = calloc(count + 1, sizeof *live), counted = live != NULL;
    for (const rlx_ir_node *n = block->last; n && counted; n = n->prev) {
        live[--count] = is_live(m, n, &uses);
        counted = !live[count] || count_node(&uses, n, 1);
    }
    rlx_ir_map_deinit(&uses);
    if (counted)
        return live;
    free(live);
    return NULL;
}

/* Backwards: users come after what they use, so one pass reaches the fixed point. */
static int remove_dead_in(rlx_ir_module *m, rlx_ir_block *block, rlx_ir_map *uses)
{
    int removed = 0;
    for (rlx_ir_node *n = block->last, *prev; n; n = prev) {
        prev = n->prev;
        if (!is_live(m, n, uses)) {
            count_node(uses, n, -1);
            rlx_ir_node_remove(n);
            removed++;
            continue;
        }
        for (int i = 0; i < n->nblock; i++)
            removed += remove_dead_in(m, n->blocks[i], uses);
    }
    return removed;
}

int rlx_ir_remove_dead(rlx_ir_module *m)
{
    int removed = 0;
    for (rlx_ir_func *f = m->first; f; f = f->next) {
        rlx_ir_map uses = {0};
        bool counted = true;
        for (const rlx_ir_node *n = f->body->first; n && counted; n = n->next)
            counted = count_node(&uses, n, 1);
        if (counted) /* without memory to count, nothing is known to be dead */
            removed += remove_dead_in(m, f->body, &uses);
        rlx_ir_map_deinit(&uses);
    }
    return removed;
}
