/* mir/passes/fuse_emit.c: groups of nodes to regions, in an order that respects what each needs. */
#include <string.h>

#include "mir/passes/fuse.h"

/* A growing list of pointers in the scratch arena. */
typedef struct list {
    int n, cap;
    void **items;
} list;

/* What a group takes from outside, holds, and gives to outside. */
typedef struct border {
    list in, out; /* values */
    list body;    /* rlx_ir_node, copies included, each after what it uses */
    list deps;    /* the rlx_mir_fuse_group that run before */
    bool wanted, done;
} border;

typedef struct emitter {
    rlx_mir_fuse_graph *g;
    border *borders; /* by group */
    list wanted;     /* the groups to emit, as rlx_mir_fuse_group; grows while borders are found */
    rlx_ir_builder outer, inner;
    bool oom;
} emitter;

static bool holds(const list *l, const void *item)
{
    for (int i = 0; i < l->n; i++)
        if (l->items[i] == item)
            return true;
    return false;
}

static void add_once(emitter *e, list *l, void *item)
{
    if (holds(l, item))
        return;
    if (l->n == l->cap) {
        int cap = l->cap ? l->cap * 2 : 8;
        void **items = RLX_NEW_ARRAY(e->g->arena, void *, cap);
        if (!items) {
            e->oom = true;
            return;
        }
        if (l->n)
            memcpy(items, l->items, sizeof *items * (size_t)l->n);
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = item;
}

/* ---- borders -----------------------------------------------------------------------------------
 */

/* Whether `group` computes `d` itself, from a copy of its own. */
static bool is_copied(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *d, int group)
{
    const rlx_mir_fuse_group *all = &g->groups[group];
    if (!all->root)
        return false;
    return d->leaf || d->group < 0 || (all->prologue && all->prologue[d->index]);
}

static void want(emitter *e, int group)
{
    if (!e->borders[group].wanted)
        add_once(e, &e->wanted, &e->g->groups[group]);
    e->borders[group].wanted = true;
}

/* Notes what group `group` needs to have operand `v`. */
static void need(emitter *e, int group, rlx_ir_value *v)
{
    rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    border *b = &e->borders[group];
    if (d && d->group == group)
        return;
    if (d && is_copied(e->g, d, group)) {
        if (holds(&b->body, d->ir))
            return;
        for (int i = 0; i < d->ir->nin; i++)
            need(e, group, d->ir->in[i]);
        add_once(e, &b->body, d->ir);
        return;
    }
    add_once(e, &b->in, v);
    if (!d)
        return;
    add_once(e, &b->deps, &e->g->groups[d->group]);
    add_once(e, &e->borders[d->group].out, v);
    want(e, d->group);
}

static void find_border(emitter *e, int group)
{
    rlx_mir_fuse_graph *g = e->g;
    border *b = &e->borders[group];
    for (int k = 0; k < g->groups[group].nnodes; k++) {
        rlx_mir_fuse_node *n = &g->nodes[g->groups[group].nodes[k]];
        for (int i = 0; i < n->ir->nin; i++)
            need(e, group, n->ir->in[i]);
        add_once(e, &b->body, n->ir);
        for (int i = 0; n->opaque && i < n->ndeps; i++) /* effects keep their order */
            if (g->nodes[n->deps[i]].opaque)
                add_once(e, &b->deps, &g->groups[g->nodes[n->deps[i]].group]);
    }
}

/* Effects, and from there whatever their groups need. A group whose values every user copies (a
 * norm that is only used in front of contracts and in their epilogues) is not wanted. */
static void find_borders(emitter *e)
{
    for (int i = 0; i < e->g->nnodes; i++)
        if (e->g->nodes[i].opaque || rlx_mir_has_updates(e->g->nodes[i].ir))
            want(e, e->g->nodes[i].group);
    for (int i = 0; i < e->wanted.n; i++)
        find_border(e, (int)((rlx_mir_fuse_group *)e->wanted.items[i] - e->g->groups));
}

/* Results in program order; a pool that is updated is always one, for the effect's sake. */
static void sort_results(emitter *e, int group)
{
    const rlx_mir_fuse_group *all = &e->g->groups[group];
    border *b = &e->borders[group];
    list sorted = {0};
    for (int i = 0; i < all->nnodes; i++) {
        const rlx_ir_node *ir = e->g->nodes[all->nodes[i]].ir;
        for (int k = 0; k < ir->nout; k++)
            if (rlx_mir_updated_operand(ir, k) >= 0 || holds(&b->out, ir->out[k]))
                add_once(e, &sorted, ir->out[k]);
    }
    b->out = sorted;
}

/* ---- regions ------------------------------------------------------------------------------------
 */

/* The longest path that the places of all roots of a group have in common; NULL: none. */
static const char *find_place(const rlx_mir_fuse_graph *g, int group)
{
    const rlx_mir_fuse_group *all = &g->groups[group];
    const char *place = NULL;
    size_t len = 0;
    for (int i = 0; i < all->nnodes; i++) {
        const rlx_ir_node *n = g->nodes[all->nodes[i]].ir;
        if (n->op != all->root_op || !n->place)
            continue;
        if (!place) {
            place = n->place;
            len = strlen(place);
            continue;
        }
        size_t same = 0;
        while (same < len && place[same] == n->place[same])
            same++;
        bool whole = same == len && (n->place[same] == 0 || n->place[same] == '.');
        for (len = same; !whole && len > 0 && place[len] != '.'; len--)
            ;
    }
    return place && len ? rlx_arena_strndup(g->arena, place, len) : NULL;
}

static rlx_ir_value *outer_value(const rlx_ir_value *v)
{
    return v->scratch ? v->scratch : (rlx_ir_value *)v;
}

/* Fills a region's block: arguments, body, yield. */
static void fill_region(emitter *e, const border *b, rlx_ir_node *region)
{
    rlx_ir_builder_init(&e->inner, e->g->module);
    e->inner.block = region->blocks[0];
    for (int i = 0; i < b->in.n; i++) {
        rlx_ir_value *v = b->in.items[i];
        v->scratch = rlx_ir_build_block_arg(&e->inner, e->inner.block, v->name, v->type);
    }
    for (int i = 0; i < b->body.n; i++)
        rlx_ir_clone_node(&e->inner, b->body.items[i]);
    rlx_ir_value **yields = RLX_NEW_ARRAY(e->g->arena, rlx_ir_value *, b->out.n + 1);
    if (!yields) {
        e->oom = true;
        return;
    }
    for (int i = 0; i < b->out.n; i++)
        yields[i] = ((rlx_ir_value *)b->out.items[i])->scratch;
    rlx_ir_build_yield(&e->inner, b->out.n, yields);
}

/* What values stand for outside is hidden while a region is filled: its operands are arguments
 * there, and nodes that it copies may be computed by other regions too. */
typedef struct hidden {
    int n;
    rlx_ir_value **values;
    void **scratch;
} hidden;

static rlx_status hide(emitter *e, const border *b, hidden *h)
{
    int most = b->in.n;
    for (int i = 0; i < b->body.n; i++)
        most += ((rlx_ir_node *)b->body.items[i])->nout;
    *h = (hidden){0, RLX_NEW_ARRAY(e->g->arena, rlx_ir_value *, most + 1),
                  RLX_NEW_ARRAY(e->g->arena, void *, most + 1)};
    if (!h->values || !h->scratch)
        return RLX_OOM();
    for (int i = 0; i < b->in.n; i++)
        h->values[h->n++] = b->in.items[i];
    for (int i = 0; i < b->body.n; i++) {
        const rlx_ir_node *n = b->body.items[i];
        for (int k = 0; k < n->nout; k++)
            h->values[h->n++] = n->out[k];
    }
    for (int i = 0; i < h->n; i++) {
        h->scratch[i] = h->values[i]->scratch;
        h->values[i]->scratch = NULL;
    }
    return RLX_OK;
}

static void unhide(const hidden *h)
{
    for (int i = 0; i < h->n; i++)
        h->values[i]->scratch = h->scratch[i];
}

static rlx_status emit_region(emitter *e, int group)
{
    rlx_mir_fuse_graph *g = e->g;
    border *b = &e->borders[group];
    rlx_ir_value **in = RLX_NEW_ARRAY(g->arena, rlx_ir_value *, b->in.n + 1);
    rlx_ir_type *types = RLX_NEW_ARRAY(g->arena, rlx_ir_type, b->out.n + 1);
    if (!in || !types)
        return RLX_OOM();
    for (int i = 0; i < b->in.n; i++)
        in[i] = outer_value(b->in.items[i]);
    for (int i = 0; i < b->out.n; i++)
        types[i] = ((rlx_ir_value *)b->out.items[i])->type;
    e->outer.place = find_place(g, group);
    rlx_ir_node *region = rlx_ir_build_node(
        &e->outer, RLX_MIR_REGION, b->in.n, in, 1,
        (rlx_attr[]){rlx_attr_text(RLX_ATTR_ROOT, g->groups[group].root)}, b->out.n, types);
    if (!region)
        return rlx_ir_builder_finish(&e->outer);
    hidden h;
    RLX_TRY(hide(e, b, &h));
    fill_region(e, b, region);
    unhide(&h);
    RLX_TRY(rlx_ir_builder_finish(&e->inner));
    for (int i = 0; i < b->out.n; i++) {
        rlx_ir_value *v = b->out.items[i];
        region->out[i]->name = v->name;
        v->scratch = region->out[i];
    }
    return RLX_OK;
}

static rlx_status emit_group(emitter *e, int group)
{
    if (e->g->groups[group].root)
        return emit_region(e, group);
    rlx_ir_clone_node(&e->outer, e->borders[group].body.items[0]);
    return rlx_ir_builder_finish(&e->outer);
}

/* ---- order ----------------------------------------------------------------------------------- */

static bool is_ready(const emitter *e, int group)
{
    const list *deps = &e->borders[group].deps;
    for (int i = 0; i < deps->n; i++)
        if (!e->borders[(rlx_mir_fuse_group *)deps->items[i] - e->g->groups].done)
            return false;
    return true;
}

/* Among the groups that can run, the one whose root stood first. */
static int next_group(const emitter *e)
{
    int best = -1;
    for (int i = 0; i < e->g->ngroups; i++) {
        if (!e->borders[i].wanted || e->borders[i].done || !is_ready(e, i))
            continue;
        if (best < 0 || e->g->groups[i].nodes[0] < e->g->groups[best].nodes[0])
            best = i;
    }
    return best;
}

static rlx_status emit_all(emitter *e)
{
    for (int i = 0; i < e->wanted.n; i++) {
        int group = next_group(e);
        if (group < 0)
            return RLX_FAIL(RLX_INTERNAL, "regions of @%s wait for one another", e->g->func->name);
        RLX_TRY(emit_group(e, group));
        e->borders[group].done = true;
    }
    return RLX_OK;
}

rlx_status rlx_mir_fuse_emit(rlx_mir_fuse_graph *g)
{
    emitter e = {.g = g, .borders = RLX_NEW_ARRAY(g->arena, border, g->ngroups)};
    if (!e.borders)
        return RLX_OOM();
    find_borders(&e);
    for (int i = 0; i < g->ngroups; i++)
        sort_results(&e, i);
    rlx_ir_clear_scratch(g->func->body); /* from here on: what an old value became */
    rlx_ir_builder_init(&e.outer, g->module);
    e.outer.block = g->func->body;
    e.outer.before = g->nodes[0].ir;
    rlx_status st = e.oom ? RLX_OOM() : emit_all(&e);
    if (!st && e.oom)
        st = RLX_OOM();
    rlx_ir_clear_scratch(g->func->body);
    for (int i = 0; !st && i < g->nnodes; i++)
        rlx_ir_node_remove(g->nodes[i].ir);
    return st;
}
