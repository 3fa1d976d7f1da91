/* mir/passes/fuse_graph.c: a function's body as fuse_regions sees it. */
#include <string.h>

#include "mir/passes/fuse.h"

bool rlx_mir_fuse_is_view(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    return rlx_ir_info(g->module, n->ir)->traits & RLX_VIEW;
}

/* ---- groups ------------------------------------------------------------------------------------
 */

rlx_status rlx_mir_fuse_group_add(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *node, const char *root,
                                  int *group)
{
    rlx_mir_fuse_group *made = &g->groups[g->ngroups];
    made->root = root;
    made->root_op = node->ir->op;
    made->nodes = RLX_NEW_ARRAY(g->arena, int, g->nnodes);
    if (!made->nodes)
        return RLX_OOM();
    made->prologue = node->prologue;
    *group = g->ngroups++;
    rlx_mir_fuse_group_set(g, node, *group);
    return RLX_OK;
}

void rlx_mir_fuse_group_set(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *node, int group)
{
    if (node->group >= 0) {
        rlx_mir_fuse_group *old = &g->groups[node->group];
        int kept = 0;
        for (int i = 0; i < old->nnodes; i++)
            if (old->nodes[i] != node->index)
                old->nodes[kept++] = old->nodes[i];
        old->nnodes = kept;
    }
    node->group = group;
    if (group < 0)
        return;
    rlx_mir_fuse_group *now = &g->groups[group];
    int at = now->nnodes++;
    for (; at > 0 && now->nodes[at - 1] > node->index; at--)
        now->nodes[at] = now->nodes[at - 1];
    now->nodes[at] = node->index;
}

/* Puts what `n` depends on upon the stack, unless it was there before. */
static int push_deps(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int depth)
{
    for (int i = 0; i < n->ndeps; i++)
        if (!g->seen[n->deps[i]]) {
            g->seen[n->deps[i]] = true;
            g->stack[depth++] = n->deps[i];
        }
    return depth;
}

bool rlx_mir_fuse_reaches(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *node, int group)
{
    memset(g->seen, 0, sizeof(bool) * (size_t)g->nnodes);
    int depth = 0;
    g->seen[node->index] = true;
    g->stack[depth++] = node->index;
    while (depth > 0) {
        const rlx_mir_fuse_node *n = &g->nodes[g->stack[--depth]];
        if (n->group == group)
            return true;
        if (n->group < 0) {
            depth = push_deps(g, n, depth);
            continue;
        }
        const rlx_mir_fuse_group *all = &g->groups[n->group];
        for (int i = 0; i < all->nnodes; i++) {
            g->seen[all->nodes[i]] = true;
            depth = push_deps(g, &g->nodes[all->nodes[i]], depth);
        }
    }
    return false;
}

/* ---- prologues ----------------------------------------------------------------------------------
 * A row normalisation, backwards from the contract's `a`:
 *
 *        x ----------------------+
 *        |                       |           x is the cut: where the way to the reduce and the way
 *   maps, reduce, maps, broadcast |          around it part. All below it is the prologue.
 *        +---------- maps -------+--> a
 */

/* Values reached backwards from one, through what a prologue may hold. */
typedef struct reach {
    const rlx_mir_fuse_graph *g;
    const rlx_ir_node *stop;         /* not entered: the reduce; or NULL */
    const struct reach *cut1, *cut2; /* values in both are not entered; or NULL */
    bool *node;                      /* nodes entered */
    int nvalues;
    const rlx_ir_value **values; /* everything touched */
} reach;

static bool touched(const reach *r, const rlx_ir_value *v)
{
    for (int i = 0; i < r->nvalues; i++)
        if (r->values[i] == v)
            return true;
    return false;
}

static bool enters(const reach *r, const rlx_ir_value *v)
{
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    if (!d || d->leaf || d->ir == r->stop)
        return false;
    if (r->cut1 && touched(r->cut1, v) && touched(r->cut2, v))
        return false;
    return d->ir->op == RLX_MIR_MAP || d->ir->op == RLX_MIR_CAST ||
           d->ir->op == RLX_MIR_BROADCAST || d->ir->op == RLX_MIR_REDUCE;
}

static void reach_from(reach *r, const rlx_ir_value *v)
{
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    if (touched(r, v) || (d && d->leaf)) /* leaves come along everywhere and mean nothing */
        return;
    r->values[r->nvalues++] = v;
    if (!enters(r, v))
        return;
    r->node[d->index] = true;
    for (int i = 0; i < d->ir->nin; i++)
        reach_from(r, d->ir->in[i]);
}

static bool reach_init(reach *r, const rlx_mir_fuse_graph *g)
{
    int values = g->nnodes + g->func->body->nargs;
    for (int i = 0; i < g->nnodes; i++)
        values += g->nodes[i].ir->nout;
    r->g = g;
    r->node = RLX_NEW_ARRAY(g->arena, bool, g->nnodes);
    r->values = RLX_NEW_ARRAY(g->arena, const rlx_ir_value *, values);
    return r->node && r->values;
}

/* The last reduce among the nodes entered. */
static const rlx_ir_node *last_reduce(const reach *r)
{
    for (int i = r->g->nnodes - 1; i >= 0; i--)
        if (r->node[i] && r->g->nodes[i].ir->op == RLX_MIR_REDUCE)
            return r->g->nodes[i].ir;
    return NULL;
}

/* Rows are folded by add or max of floats (lower_rows.c): a minimum's are written by loops of their own. */
static bool folds_rows(const reach *r)
{
    for (int i = 0; i < r->g->nnodes; i++) {
        const rlx_ir_node *n = r->g->nodes[i].ir;
        if (!r->node[i] || n->op != RLX_MIR_REDUCE)
            continue;
        const int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
        if (!rlx_format_is_float(n->in[0]->type.format) || (fn != RLX_FN_ADD && fn != RLX_FN_MAX))
            return false;
    }
    return true;
}

/* What is made of a row's reduce goes back to that row: its axes stay the first ones. */
static bool stays_in_rows(const reach *tail, const rlx_ir_node *reduce)
{
    const rlx_mir_fuse_graph *g = tail->g;
    bool *of_row = RLX_NEW_ARRAY(g->arena, bool, g->nnodes);
    for (int i = 0; of_row && i < g->nnodes; i++) {
        const rlx_ir_node *n = g->nodes[i].ir;
        for (int k = 0; tail->node[i] && k < n->nin; k++) {
            const rlx_mir_fuse_node *d = rlx_mir_fuse_def(n->in[k]);
            of_row[i] |= n->in[k] == reduce->out[0] || (d && of_row[d->index]);
        }
        if (!of_row[i] || n->op != RLX_MIR_BROADCAST)
            continue;
        const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
        for (int axis = 0; axis < axes->n; axis++)
            if (axes->ints[axis] != axis)
                return false;
    }
    return of_row != NULL;
}

/* Whether `a` of a contract is a row normalisation; marks (by index) the nodes that make it. */
static bool find_prologue(const rlx_mir_fuse_graph *g, const rlx_ir_value *a, bool *mark)
{
    reach all = {0}, around = {0}, before = {0}, tail = {0}, head = {0};
    if (!reach_init(&all, g) || !reach_init(&around, g) || !reach_init(&before, g) ||
        !reach_init(&tail, g) || !reach_init(&head, g))
        return false; /* without memory nothing fuses; building the regions will say so */
    reach_from(&all, a);
    const rlx_ir_node *reduce = last_reduce(&all);
    if (!reduce || !rlx_ir_shape_equal(&reduce->in[0]->type, &a->type) || !folds_rows(&all))
        return false;
    around.stop = reduce;
    reach_from(&around, a);
    reach_from(&before, reduce->in[0]);
    bool cut = false;
    for (int i = 0; i < around.nvalues; i++)
        cut = cut || touched(&before, around.values[i]);
    if (!cut)
        return false;
    tail.stop = reduce;
    tail.cut1 = head.cut1 = &around;
    tail.cut2 = head.cut2 = &before;
    reach_from(&tail, a);
    reach_from(&head, reduce->in[0]);
    if (!stays_in_rows(&tail, reduce))
        return false;
    if (last_reduce(&tail) || last_reduce(&head))
        return false; /* normalised twice: the lowering of a prologue makes one pass over a row */
    for (int i = 0; i < g->nnodes; i++)
        mark[i] = tail.node[i] || head.node[i] || g->nodes[i].ir == reduce;
    return true;
}

/* ---- building -----------------------------------------------------------------------------------
 */

/* Whether a transposed view of memory, other views of it not in between, has its last axis or, if
 * `columns`, the one before as that memory's last: along which tiles are loaded. */
static bool keeps_last(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, bool columns)
{
    const int64_t *perm = rlx_ir_attr(n->ir, RLX_ATTR_PERM)->ints;
    const int last = n->ir->out[0]->type.rank - 1;
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(n->ir->in[0]);
    if (d && d->ir->op == RLX_MIR_RESHAPE)
        d = rlx_mir_fuse_def(d->ir->in[0]);
    return !(d && rlx_mir_fuse_is_view(g, d)) &&
           (perm[last] == last || (columns && perm[last - 1] == last));
}

/* Whether a node is a cast that is made where it is used: what it gives is in no memory. */
static bool is_decoded(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    while (n && (n->ir->op == RLX_MIR_CAST || rlx_mir_fuse_is_view(g, n)))
        n = rlx_mir_fuse_def(n->ir->in[0]);
    return !n;
}

/* Whether tiles [m,k] of a view are tiles of what it views: then a contract reads through it. A
 * reshape of memory is that memory; of a scalar there is no tile. Panels read through transposed views, too, and of the second
 * operand by columns. */
static bool is_walked(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *view, bool panels,
                      bool columns)
{
    if (view->ir->op == RLX_MIR_TRANSPOSE)
        return panels && keeps_last(g, view, columns);
    for (const rlx_mir_fuse_node *n = view; n && rlx_mir_fuse_is_view(g, n);
         n = rlx_mir_fuse_def(n->ir->in[0])) {
        const rlx_mir_fuse_node *below = rlx_mir_fuse_def(n->ir->in[0]);
        const bool plain =
            (n->ir->op == RLX_MIR_BROADCAST && n->ir->in[0]->type.rank > 0) ||
            (n->ir->op == RLX_MIR_SLICE && rlx_ir_attr_int(n->ir, RLX_ATTR_STEP, 1) == 1);
        const bool memory = n->ir->op == RLX_MIR_RESHAPE &&
                            !(below && (rlx_mir_fuse_is_view(g, below) || is_decoded(g, below)));
        if (!plain && !memory)
            return false;
    }
    return true;
}

/* Whether a value is made of indices or a constant alone, by views and casts. */
static bool is_made(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    while (n && (n->ir->op == RLX_MIR_CAST || rlx_mir_fuse_is_view(g, n)))
        n = rlx_mir_fuse_def(n->ir->in[0]);
    return n && (n->ir->op == RLX_MIR_IOTA || n->ir->op == RLX_MIR_CONST);
}

static bool may_be_leaf(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    return n->ir->op == RLX_MIR_CONST || n->ir->op == RLX_MIR_IOTA || n->ir->op == RLX_MIR_CAST ||
           rlx_mir_fuse_is_view(g, n);
}

/* Marks operands of contracts, attention and orders that have to be stored. */
static void find_stored(rlx_mir_fuse_graph *g)
{
    for (int i = 0; i < g->nnodes; i++) {
        const rlx_ir_node *ir = g->nodes[i].ir;
        if (ir->op == RLX_MIR_ORDER && rlx_mir_fuse_def(ir->in[0]))
            rlx_mir_fuse_def(ir->in[0])->stored |= may_be_leaf(g, rlx_mir_fuse_def(ir->in[0]));
        if (ir->op == RLX_MIR_DENSE_ATTENTION)
            rlx_mir_fuse_mark_attention(g, ir);
        for (int k = 0; ir->op == RLX_MIR_CONTRACT && k < ir->nin; k++) {
            rlx_mir_fuse_node *d = rlx_mir_fuse_def(ir->in[k]);
            if (is_made(g, d)) {
                d->stored = true;
                continue;
            }
            while (d && d->ir->op == RLX_MIR_CAST) /* made where it is used */
                d = rlx_mir_fuse_def(d->ir->in[0]);
            const bool panels = rlx_ir_attr_int(ir, RLX_ATTR_LANES, 0) == 1;
            if (!d || !rlx_mir_fuse_is_view(g, d) || is_walked(g, d, panels, k == 1))
                continue;
            /* what is stored in more axes needs no index taken apart */
            const rlx_mir_fuse_node *below = rlx_mir_fuse_def(d->ir->in[0]);
            if (d->ir->op == RLX_MIR_RESHAPE && below && rlx_mir_fuse_is_view(g, below))
                d = rlx_mir_fuse_def(d->ir->in[0]);
            d->stored = true;
        }
    }
}

static bool is_leaf(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    if (n->stored || !may_be_leaf(g, n))
        return false;
    if (n->ir->op == RLX_MIR_CONST || n->ir->op == RLX_MIR_IOTA)
        return true;
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(n->ir->in[0]);
    return !d || d->leaf;
}

static void add_dep(rlx_mir_fuse_node *n, const rlx_ir_value *v)
{
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    if (d && !d->leaf)
        n->deps[n->ndeps++] = d->index;
}

/* What the nodes of a prologue take from outside of it becomes a dependency of the contract. */
static void add_prologue_deps(const rlx_mir_fuse_graph *g, rlx_mir_fuse_node *n)
{
    for (int i = 0; i < g->nnodes; i++) {
        if (!n->prologue[i])
            continue;
        const rlx_ir_node *p = g->nodes[i].ir;
        for (int k = 0; k < p->nin; k++) {
            const rlx_mir_fuse_node *d = rlx_mir_fuse_def(p->in[k]);
            if (d && !n->prologue[d->index])
                add_dep(n, p->in[k]);
        }
    }
}

/* Contracts of one `a` share the marks of its prologue, so that grouping them compares pointers.
 * Quantizing rows has one too. */
static rlx_status find_prologue_of(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *n)
{
    for (int i = 0; i < n->index; i++) {
        const rlx_mir_fuse_node *other = &g->nodes[i];
        if (other->ir->op == n->ir->op && other->ir->in[0] == n->ir->in[0]) {
            n->prologue = other->prologue;
            return RLX_OK;
        }
    }
    bool *mark = RLX_NEW_ARRAY(g->arena, bool, g->nnodes);
    if (!mark)
        return RLX_OOM();
    if (find_prologue(g, n->ir->in[0], mark))
        n->prologue = mark;
    return RLX_OK;
}

static rlx_status find_deps(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *n, int last_opaque)
{
    int most = n->ir->nin + 1;
    const bool may_have = g->how.fusion == RLX_MIR_FUSE_ALL;
    if (may_have && (n->ir->op == RLX_MIR_CONTRACT || n->ir->op == RLX_MIR_QUANTIZE)) {
        RLX_TRY(find_prologue_of(g, n));
        for (int i = 0; n->prologue && i < g->nnodes; i++)
            most += n->prologue[i] ? g->nodes[i].ir->nin : 0;
    }
    n->deps = RLX_NEW_ARRAY(g->arena, int, most);
    if (!n->deps)
        return RLX_OOM();
    for (int i = n->prologue ? 1 : 0; i < n->ir->nin; i++)
        add_dep(n, n->ir->in[i]);
    if (n->prologue)
        add_prologue_deps(g, n);
    if (n->opaque && last_opaque >= 0) /* calls have effects: they keep their order */
        n->deps[n->ndeps++] = last_opaque;
    return RLX_OK;
}

/* Backwards: what has an effect lives, and whatever a living node depends on. */
static void find_live(rlx_mir_fuse_graph *g)
{
    for (int i = g->nnodes - 1; i >= 0; i--) {
        rlx_mir_fuse_node *n = &g->nodes[i];
        n->live = n->live || n->opaque || rlx_mir_has_updates(n->ir);
        for (int k = 0; n->live && k < n->ndeps; k++)
            g->nodes[n->deps[k]].live = true;
    }
}

static rlx_status find_users(rlx_mir_fuse_graph *g)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < g->nnodes; i++) {
            rlx_mir_fuse_node *n = &g->nodes[i];
            for (int k = 0; n->live && k < n->ndeps; k++) {
                rlx_mir_fuse_node *d = &g->nodes[n->deps[k]];
                if (pass == 1)
                    d->users[d->nusers] = i;
                d->nusers++;
            }
        }
        for (int i = 0; pass == 0 && i < g->nnodes; i++) {
            rlx_mir_fuse_node *n = &g->nodes[i];
            n->users = RLX_NEW_ARRAY(g->arena, int, n->nusers + 1);
            if (!n->users)
                return RLX_OOM();
            n->nusers = 0;
        }
    }
    return RLX_OK;
}

bool rlx_mir_fuse_may_join(const rlx_mir_fuse_graph *g, const rlx_ir_node *a, const rlx_ir_node *b)
{
    if (g->how.fusion == RLX_MIR_FUSE_ALL)
        return true;
    return g->how.fusion == RLX_MIR_FUSE_PLACES && a->place && b->place &&
           !strcmp(a->place, b->place);
}

rlx_status rlx_mir_fuse_graph_build(rlx_ir_module *m, rlx_ir_func *f, rlx_arena *arena,
                                    const rlx_mir_optimize_options *how, rlx_mir_fuse_graph *g)
{
    *g = (rlx_mir_fuse_graph){.module = m, .func = f, .arena = arena};
    if (how)
        g->how = *how;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        g->nnodes++;
    g->nodes = RLX_NEW_ARRAY(arena, rlx_mir_fuse_node, g->nnodes);
    g->groups = RLX_NEW_ARRAY(arena, rlx_mir_fuse_group, g->nnodes);
    g->seen = RLX_NEW_ARRAY(arena, bool, g->nnodes);
    g->stack = RLX_NEW_ARRAY(arena, int, g->nnodes);
    if (!g->nodes || !g->groups || !g->seen || !g->stack)
        return RLX_OOM();
    rlx_ir_clear_scratch(f->body);
    int index = 0, last_opaque = -1;
    for (rlx_ir_node *ir = f->body->first; ir; ir = ir->next, index++) {
        rlx_mir_fuse_node *n = &g->nodes[index];
        *n = (rlx_mir_fuse_node){.ir = ir, .index = index, .group = -1};
        n->opaque = ir->op == RLX_MIR_RETURN || ir->op == RLX_MIR_CALL || ir->op == RLX_MIR_REGION;
        for (int i = 0; i < ir->nout; i++)
            ir->out[i]->scratch = n;
    }
    find_stored(g);
    for (int i = 0; i < g->nnodes; i++)
        g->nodes[i].leaf = is_leaf(g, &g->nodes[i]);
    for (int i = 0; i < g->nnodes; i++) {
        int group;
        RLX_TRY(find_deps(g, &g->nodes[i], last_opaque));
        if (!g->nodes[i].opaque)
            continue;
        last_opaque = i;
        RLX_TRY(rlx_mir_fuse_group_add(g, &g->nodes[i], NULL, &group));
    }
    find_live(g);
    return find_users(g);
}
