/* mir/passes/fuse_regions.c: primitives to regions
 *
 *   %q = contract %n, %wq                  %q, %k = region %x, %g, %wq, %wk {root="contract"} (..)
 * { %k = contract %n, %wk           ->       .. the row normalisation that makes %n from %x, %g ..
 *   with %n = norm of %x by %g               .. both contracts, and the maps on their results ..
 *                                            yield ..
 *                                          }
 *
 * Afterwards a function's body holds regions, calls and its return. Groups grow in this order, and
 * a node belongs to the first that takes it:
 *
 * "stored": views (windows, transposes) that a contract cannot read through, with the pads and
 * views that serve them alone; their root is map.
 *
 * "contract": contracts (or contract_qs) of one `a`; a row normalisation in front is copied in
 * (fuse_graph.c); then whatever follows elementwise, moves data within a row, or writes pages. What
 * needs more than the columns at hand (a row beside itself, a function of joined parts, a view
 * without columns) is cut off: the result is stored, and looked at from memory.
 *
 * "order": an order. "quantize": one, with the row normalisation in front. "attention": an attention and the views on
 * it. "recur": a recurrence, with views in front. "loops": what tiles do not compute
 * (fuse_loops.c).
 *
 * "reduce": sums and maxima of rows with the maps around them, and what follows within these rows
 * or writes them to pages.
 *
 * "map": a gather and the maps on it; maps, concats and page writes that are left.
 *
 * Views, casts of arguments and constants that no group took are copied into every region that uses
 * them. A node joins only if no path leads from its group through other nodes back into it. */
#include <string.h>

#include "mir/passes/fuse.h"

static bool is_map(const rlx_mir_fuse_node *n)
{
    return n->ir->op == RLX_MIR_MAP || n->ir->op == RLX_MIR_CAST;
}

static bool in_group(const rlx_ir_value *v, int group)
{
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    return d && d->group == group;
}

static bool used_outside(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    for (int i = 0; i < n->nusers; i++)
        if (g->nodes[n->users[i]].group != n->group)
            return true;
    return false;
}

static bool used_inside(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    for (int i = 0; i < n->nusers; i++)
        if (g->nodes[n->users[i]].group == group)
            return true;
    return false;
}

/* ---- growing forwards ------------------------------------------------------------------------ */

/* Whether an operand comes from the group, and nothing else that n needs waits for the group. */
static bool can_follow(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    bool follows = false;
    for (int i = 0; i < n->ndeps; i++) {
        const rlx_mir_fuse_node *d = &g->nodes[n->deps[i]];
        if (d->group == group)
            follows = true;
        else if (rlx_mir_fuse_reaches(g, d, group))
            return false;
    }
    return follows;
}

/* Whether the options let the node into the group. */
static bool may_join(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    return rlx_mir_fuse_may_join(g, g->nodes[g->groups[group].nodes[0]].ir, n->ir);
}

/* In program order, which puts a node after everything it uses. */
void rlx_mir_fuse_grow_forwards(rlx_mir_fuse_graph *g, int group, rlx_mir_fuse_takes *takes)
{
    for (int i = 0; i < g->nnodes; i++) {
        rlx_mir_fuse_node *n = &g->nodes[i];
        if (rlx_mir_fuse_is_free(n) && may_join(g, n, group) && takes(g, n, group) &&
            can_follow(g, n, group))
            rlx_mir_fuse_group_set(g, n, group);
    }
}

void rlx_mir_fuse_grow_backwards(rlx_mir_fuse_graph *g, int group, rlx_mir_fuse_takes *takes)
{
    for (int i = g->nnodes - 1; i >= 0; i--) {
        rlx_mir_fuse_node *n = &g->nodes[i];
        if (!rlx_mir_fuse_is_free(n) || !may_join(g, n, group) || !takes(g, n, group) ||
            !used_inside(g, n, group))
            continue;
        bool only = true;
        for (int k = 0; k < n->nusers; k++)
            only = only && g->nodes[n->users[k]].group == group;
        if (only)
            rlx_mir_fuse_group_set(g, n, group);
    }
}

/* ---- giving back what the users do better ---------------------------------------------------- */

static bool used_by_opaque(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    for (int i = 0; i < n->nusers; i++)
        if (g->nodes[n->users[i]].opaque)
            return true;
    return false;
}

/* As queries, whose heads are rows. */
static bool used_by_attention(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    for (int i = 0; i < n->nusers; i++)
        if (rlx_mir_is_attention(g->nodes[n->users[i]].ir))
            return true;
    return false;
}

/* A view at the group's border that repeats data, or whose source is a result anyway, costs memory
 * that the users can do without. */
static bool view_is_useless(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n)
{
    if (!rlx_mir_fuse_is_view(g, n) || n->nusers == 0 || used_inside(g, n, n->group))
        return false;
    if (used_by_opaque(g, n) || used_by_attention(g, n))
        return false; /* must be in memory in this very shape */
    const rlx_mir_fuse_node *source = rlx_mir_fuse_def(n->ir->in[0]);
    return n->ir->op == RLX_MIR_BROADCAST ||
           (source && source->group == n->group && used_outside(g, source));
}

static void return_views(rlx_mir_fuse_graph *g, int group)
{
    for (int i = g->groups[group].nnodes - 1; i >= 0; i--) {
        rlx_mir_fuse_node *n = &g->nodes[g->groups[group].nodes[i]];
        if (view_is_useless(g, n))
            rlx_mir_fuse_group_set(g, n, -1);
    }
}

/* Whether all that is made of a map in this group goes into reduces outside of it. */
static bool feeds_reduces(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n,
                          const bool *feeds)
{
    if (!is_map(n) || n->nusers == 0)
        return false;
    for (int i = 0; i < n->nusers; i++) {
        const rlx_mir_fuse_node *u = &g->nodes[n->users[i]];
        bool reduces = u->ir->op == RLX_MIR_REDUCE && u->group != n->group;
        if (!reduces && !(u->group == n->group && feeds[u->index]))
            return false;
    }
    return true;
}

/* Maps on results of the group that only feed a row reduction are the reduction's: x*x of a norm
 * need not be written beside x. They stay when the group would have to write something new for
 * them. */
static rlx_status return_maps(rlx_mir_fuse_graph *g, int group)
{
    bool *feeds = RLX_NEW_ARRAY(g->arena, bool, g->nnodes);
    if (!feeds)
        return RLX_OOM();
    rlx_mir_fuse_group *all = &g->groups[group];
    for (int i = all->nnodes - 1; i >= 0; i--)
        feeds[all->nodes[i]] = feeds_reduces(g, &g->nodes[all->nodes[i]], feeds);
    for (int i = 0; i < all->nnodes; i++) {
        const rlx_mir_fuse_node *n = &g->nodes[all->nodes[i]];
        for (int k = 0; feeds[n->index] && k < n->ndeps; k++) {
            const rlx_mir_fuse_node *d = &g->nodes[n->deps[k]];
            if (d->group == group && !feeds[d->index] && !used_outside(g, d))
                return RLX_OK;
        }
    }
    for (int i = all->nnodes - 1; i >= 0; i--)
        if (feeds[all->nodes[i]])
            rlx_mir_fuse_group_set(g, &g->nodes[all->nodes[i]], -1);
    return RLX_OK;
}

/* A row is stored by tiles of its last axis; a view of `rank` axes or more that divides that axis
 * has to be the users'. */
static void return_divided_rows(rlx_mir_fuse_graph *g, int group, int rank)
{
    for (int i = g->groups[group].nnodes - 1; i >= 0; i--) {
        rlx_mir_fuse_node *n = &g->nodes[g->groups[group].nodes[i]];
        if (n->ir->op != RLX_MIR_RESHAPE || used_inside(g, n, group) || used_by_opaque(g, n))
            continue;
        const rlx_ir_type *x = &n->ir->in[0]->type, *y = &n->ir->out[0]->type;
        if (x->rank > 0 && y->rank > x->rank && y->rank >= rank &&
            y->dim[y->rank - 1] != x->dim[x->rank - 1])
            rlx_mir_fuse_group_set(g, n, -1);
    }
}

/* ---- contract -------------------------------------------------------------------------------- */

/* Axes in front of the columns of a group's contract. */
static int row_axes(const rlx_mir_fuse_graph *g, int group)
{
    const rlx_ir_type *rows = &g->nodes[g->groups[group].nodes[0]].ir->out[0]->type;
    return rows->rank > 1 ? rows->rank - 1 : 1;
}

/* A broadcast whose new axes stand behind the rows: extents may be alike by chance. What it repeats is stored once,
 * so a new axis has one element. */
static bool repeats_within_rows(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const rlx_attr *axes = rlx_ir_attr(n->ir, RLX_ATTR_AXES);
    const int leading = row_axes(g, group);
    for (int i = 0; i < axes->n && i < leading; i++)
        if (axes->ints[i] != i)
            return false;
    const rlx_ir_type *from = &n->ir->in[0]->type, *to = &n->ir->out[0]->type;
    for (int axis = 0, i = 0; axis < to->rank; axis++) {
        const bool old = i < axes->n && axes->ints[i] == axis;
        if (to->dim[axis] != (old ? from->dim[i] : 1))
            return false;
        i += old;
    }
    return axes->n >= leading;
}

/* Rows stay rows: the leading extents are those of the contract's result. */
static bool keeps_rows(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const rlx_ir_type *y = &n->ir->out[0]->type;
    const rlx_ir_type *rows = &g->nodes[g->groups[group].nodes[0]].ir->out[0]->type;
    const int leading = row_axes(g, group);
    return y->rank >= leading && memcmp(y->dim, rows->dim, sizeof(rlx_dim) * (size_t)leading) == 0;
}

/* Columns of rows with several axes in front: the users look at them where they lie. */
static bool cuts_rows(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const int rank = g->nodes[g->groups[group].nodes[0]].ir->out[0]->type.rank;
    return rank > 2 && n->ir->in[0]->type.rank == rank &&
           rlx_ir_attr_int(n->ir, RLX_ATTR_AXIS, 0) == rank - 1;
}

/* The columns of the contract that a value of the group comes from; 0: from none. */
static int64_t columns_of(const rlx_ir_value *v, int group)
{
    while (in_group(v, group)) {
        const rlx_ir_node *n = v->def;
        if (rlx_mir_is_contract(n))
            return n->out[0]->type.dim[n->out[0]->type.rank - 1];
        int i = 0;
        while (i < n->nin - 1 && !in_group(n->in[i], group))
            i++;
        v = n->in[i];
    }
    return 0;
}

/* Parts that make up a row, or the same piece of every head: not more than there are columns. */
static bool concat_fits_columns(const rlx_mir_fuse_node *n, int group)
{
    const rlx_ir_type *y = &n->ir->out[0]->type;
    int64_t whole = 1;
    for (int i = 0; i < n->ir->nin; i++)
        if (!in_group(n->ir->in[i], group))
            return false;
    for (int i = (int)rlx_ir_attr_int(n->ir, RLX_ATTR_AXIS, 0); i < y->rank; i++)
        whole = rlx_dim_is_const(y->dim[i]) ? whole * y->dim[i] : 0;
    return whole > 0 && columns_of(n->ir->in[0], group) % whole == 0;
}

/* The concat that an operand is, through reshapes and casts; NULL: none is. */
static const rlx_ir_node *find_joined(const rlx_mir_fuse_node *n, int group)
{
    for (int i = 0; i < n->ir->nin; i++) {
        const rlx_ir_value *v = n->ir->in[i];
        while (in_group(v, group) && (v->def->op == RLX_MIR_RESHAPE || v->def->op == RLX_MIR_CAST))
            v = v->def->in[0];
        if (in_group(v, group) && v->def->op == RLX_MIR_CONCAT)
            return v->def;
    }
    return NULL;
}

/* Whether an operand is joined of parts, which are stored one by one: no tile has it whole. */
static bool takes_joined(const rlx_mir_fuse_node *n, int group)
{
    return find_joined(n, group) != NULL;
}

/* The same of parts whose extents are symbols: a tile does not know which part it lies in. */
static bool takes_unknown_parts(const rlx_mir_fuse_node *n, int group)
{
    const rlx_ir_node *joined = find_joined(n, group);
    return joined &&
           !rlx_dim_is_const(joined->out[0]->type.dim[rlx_ir_attr_int(joined, RLX_ATTR_AXIS, 0)]);
}

static bool contract_takes(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const bool chosen = rlx_mir_contract_ids(g->nodes[g->groups[group].nodes[0]].ir) != NULL;
    if (chosen && !is_map(n) && n->ir->op != RLX_MIR_BROADCAST)
        return false; /* rows are stored one by one, by tiles of their columns */
    switch (n->ir->op) {
    case RLX_MIR_PAGE_WRITE:
        return in_group(n->ir->in[1], group);
    case RLX_MIR_CONCAT:
        return concat_fits_columns(n, group) && keeps_rows(g, n, group);
    case RLX_MIR_SLICE: /* elements that lie apart are no tile */
        return rlx_ir_attr_int(n->ir, RLX_ATTR_STEP, 1) == 1 && keeps_rows(g, n, group) &&
               !cuts_rows(g, n, group) && !takes_joined(n, group);
    case RLX_MIR_BROADCAST:
        return repeats_within_rows(g, n, group) && keeps_rows(g, n, group) &&
               !takes_joined(n, group);
    case RLX_MIR_MAP:
        return keeps_rows(g, n, group) && !takes_joined(n, group);
    case RLX_MIR_RESHAPE: /* columns stay an axis, be it of one */
        return keeps_rows(g, n, group) && n->ir->out[0]->type.rank > row_axes(g, group);
    case RLX_MIR_CAST:
        return keeps_rows(g, n, group);
    default:
        return false;
    }
}

/* Whether the group waits for itself by way of a node outside. */
static bool waits_for_itself(const rlx_mir_fuse_graph *g, int group)
{
    const rlx_mir_fuse_group *all = &g->groups[group];
    for (int i = 0; i < all->nnodes; i++) {
        const rlx_mir_fuse_node *n = &g->nodes[all->nodes[i]];
        for (int k = 0; k < n->ndeps; k++) {
            const rlx_mir_fuse_node *d = &g->nodes[n->deps[k]];
            if (d->group != group && rlx_mir_fuse_reaches(g, d, group))
                return true;
        }
    }
    return false;
}

/* Whether an operand is made from the group. */
static bool needs_group(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    for (int k = 0; k < n->ndeps; k++)
        if (rlx_mir_fuse_reaches(g, &g->nodes[n->deps[k]], group))
            return true;
    return false;
}

/* Whether contractions walk the same rows in the same order. Where rows choose, the order is by
 * matrix: of as many matrices. */
static bool share_rows(const rlx_ir_node *a, const rlx_ir_node *b)
{
    const rlx_ir_value *ids = rlx_mir_contract_ids(a);
    if (a->op != b->op || a->in[0] != b->in[0] || ids != rlx_mir_contract_ids(b))
        return false;
    return !ids ||
           (rlx_mir_contract_weight(a)->type.dim[0] == rlx_mir_contract_weight(b)->type.dim[0] &&
            rlx_ir_attr_int(a, RLX_ATTR_LANES, 16) == rlx_ir_attr_int(b, RLX_ATTR_LANES, 16));
}

static rlx_status fuse_contract(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    RLX_TRY(rlx_mir_fuse_group_add(g, root, "contract", &group));
    for (int i = root->index + 1; i < g->nnodes; i++) {
        rlx_mir_fuse_node *n = &g->nodes[i];
        if (!share_rows(root->ir, n->ir) || !rlx_mir_fuse_is_free(n) ||
            !rlx_mir_fuse_may_join(g, root->ir, n->ir) ||
            g->groups[group].nnodes == RLX_MIR_MOST_CONTRACTS)
            continue;
        if (needs_group(g, n, group))
            continue;
        rlx_mir_fuse_group_set(g, n, group);
        if (waits_for_itself(g, group))
            rlx_mir_fuse_group_set(g, n, -1);
    }
    rlx_mir_fuse_grow_forwards(g, group, contract_takes);
    return_views(g, group);
    RLX_TRY(return_maps(g, group));
    /* heads [T,N,D] are stored as they are */
    return_divided_rows(g, group, root->ir->out[0]->type.rank + 2);
    return RLX_OK;
}

/* ---- stored views of contracts
 * ------------------------------------------------------------------ */

/* No maps: an element of theirs may be in many windows. */
static bool stored_takes(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    (void)group;
    return n->ir->op == RLX_MIR_PAD || rlx_mir_fuse_is_view(g, n);
}

static rlx_status fuse_stored(rlx_mir_fuse_graph *g)
{
    for (int i = 0; i < g->nnodes; i++) {
        int group;
        if (!g->nodes[i].stored || !rlx_mir_fuse_is_free(&g->nodes[i]))
            continue;
        RLX_TRY(rlx_mir_fuse_group_add(g, &g->nodes[i], "map", &group));
        rlx_mir_fuse_grow_backwards(g, group, stored_takes);
    }
    return RLX_OK;
}

/* ---- quantize ---------------------------------------------------------------------------------
 */

static rlx_status fuse_quantize(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    return rlx_mir_fuse_group_add(g, root, "quantize", &group);
}

/* ---- attention ------------------------------------------------------------------------------- */

static bool attention_takes(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    (void)group;
    return rlx_mir_fuse_is_view(g, n);
}

static rlx_status fuse_attention(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    RLX_TRY(rlx_mir_fuse_group_add(g, root, "attention", &group));
    rlx_mir_fuse_grow_backwards(g, group, rlx_mir_fuse_attention_masks);
    rlx_mir_fuse_grow_forwards(g, group, attention_takes);
    return_views(g, group);
    return RLX_OK;
}

/* ---- recur ----------------------------------------------------------------------------------- */

/* The steps are one kernel; what is made of views goes in, nothing else. */
static rlx_status fuse_recur(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    return rlx_mir_fuse_group_add(g, root, "recur", &group);
}

/* Alone, as recurrences. */
static rlx_status fuse_delta_chunks(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    return rlx_mir_fuse_group_add(g, root, "delta_chunks", &group);
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Alone: it comes back to elements again and again. */
static rlx_status fuse_order(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    return rlx_mir_fuse_group_add(g, root, "order", &group);
}

/* ---- reduce ---------------------------------------------------------------------------------- */

/* The shape that the group's first reduce takes: rows of one extent. */
static const rlx_ir_type *reduced_type(const rlx_mir_fuse_graph *g, int group)
{
    const rlx_mir_fuse_group *all = &g->groups[group];
    for (int i = 0; i < all->nnodes; i++) {
        const rlx_ir_node *n = g->nodes[all->nodes[i]].ir;
        if (n->op == RLX_MIR_REDUCE)
            return &n->in[0]->type;
    }
    return NULL;
}

/* Whether a value is such rows, or one scalar for each. */
static bool is_row_shape(const rlx_ir_type *t, const rlx_ir_type *rows)
{
    if (t->rank != rows->rank && t->rank != rows->rank - 1)
        return false;
    return memcmp(t->dim, rows->dim, sizeof(rlx_dim) * (size_t)t->rank) == 0;
}

static bool reduce_takes(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const rlx_ir_type *rows = reduced_type(g, group);
    switch (n->ir->op) {
    case RLX_MIR_REDUCE:
        return rlx_ir_shape_equal(&n->ir->in[0]->type, rows);
    case RLX_MIR_MAP:
    case RLX_MIR_CAST:
    case RLX_MIR_BROADCAST:
        return is_row_shape(&n->ir->out[0]->type, rows);
    case RLX_MIR_RESHAPE:
        return true;
    default:
        return false;
    }
}

/* Whether a value keeps the rows apart: what belongs to one is behind its leading extents. */
static bool is_within_rows(const rlx_ir_type *t, const rlx_ir_type *rows)
{
    const int leading = rows->rank - 1;
    return leading > 0 && t->rank >= leading &&
           memcmp(t->dim, rows->dim, sizeof(rlx_dim) * (size_t)leading) == 0;
}

enum { MOST_JOINED = 4 };

/* What is made of normalised rows, row by row: a head's rotation, its place in the pages. */
static bool reduce_is_followed(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const rlx_ir_type *rows = reduced_type(g, group);
    switch (n->ir->op) {
    case RLX_MIR_PAGE_WRITE:
        return in_group(n->ir->in[1], group);
    case RLX_MIR_CONCAT: /* each part is a loop that folds its rows again */
        if (n->ir->nin > MOST_JOINED)
            return false;
        for (int i = 0; i < n->ir->nin; i++)
            if (!in_group(n->ir->in[i], group))
                return false;
        return is_within_rows(&n->ir->out[0]->type, rows);
    case RLX_MIR_MAP:
    case RLX_MIR_CAST:
    case RLX_MIR_BROADCAST:
    case RLX_MIR_SLICE:
        return !takes_unknown_parts(n, group) &&
               (is_within_rows(&n->ir->out[0]->type, rows) || reduce_takes(g, n, group));
    default:
        return reduce_takes(g, n, group);
    }
}

static rlx_status fuse_reduce(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    RLX_TRY(rlx_mir_fuse_group_add(g, root, "reduce", &group));
    rlx_mir_fuse_grow_backwards(g, group, reduce_takes);
    rlx_mir_fuse_grow_forwards(g, group, reduce_is_followed);
    rlx_mir_fuse_grow_backwards(g, group, reduce_takes); /* what only the rest of the row needs */
    return_views(g, group);
    RLX_TRY(return_maps(g, group));
    return_divided_rows(g, group, 0);
    return RLX_OK;
}

/* ---- map ------------------------------------------------------------------------------------- */

static bool map_takes(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    const rlx_ir_node *root = g->nodes[g->groups[group].nodes[0]].ir;
    if (n->ir->op == RLX_MIR_RESHAPE)
        return true;
    return is_map(n) && rlx_ir_shape_equal(&n->ir->out[0]->type, &root->out[0]->type);
}

static rlx_status fuse_map(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group;
    RLX_TRY(rlx_mir_fuse_group_add(g, root, "map", &group));
    if ((!is_map(root) && root->ir->op != RLX_MIR_GATHER) || g->how.single_maps)
        return RLX_OK;
    rlx_mir_fuse_grow_forwards(g, group, map_takes);
    rlx_mir_fuse_grow_backwards(g, group, map_takes);
    return_views(g, group);
    return root->ir->op == RLX_MIR_GATHER ? return_maps(g, group) : RLX_OK;
}

/* What an opaque node takes must be in memory: leaves and views that no group took get one. */
static rlx_status make_operands(rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *opaque)
{
    for (int i = 0; i < opaque->ir->nin; i++) {
        rlx_mir_fuse_node *d = rlx_mir_fuse_def(opaque->ir->in[i]);
        int group;
        if (d && d->group < 0)
            RLX_TRY(rlx_mir_fuse_group_add(g, d, "map", &group));
    }
    return RLX_OK;
}

/* ---- the pass -------------------------------------------------------------------------------- */

static rlx_status fuse_each(rlx_mir_fuse_graph *g, int op,
                            rlx_status (*fuse)(rlx_mir_fuse_graph *, rlx_mir_fuse_node *))
{
    for (int i = 0; i < g->nnodes; i++)
        if (g->nodes[i].ir->op == op && rlx_mir_fuse_is_free(&g->nodes[i]))
            RLX_TRY(fuse(g, &g->nodes[i]));
    return RLX_OK;
}

static rlx_status fuse_func(rlx_mir_fuse_graph *g)
{
    RLX_TRY(fuse_stored(g));
    RLX_TRY(fuse_each(g, RLX_MIR_CONTRACT, fuse_contract));
    RLX_TRY(fuse_each(g, RLX_MIR_CONTRACT_Q, fuse_contract));
    RLX_TRY(fuse_each(g, RLX_MIR_QUANTIZE, fuse_quantize));
    RLX_TRY(fuse_each(g, RLX_MIR_ATTENTION, fuse_attention));
    RLX_TRY(fuse_each(g, RLX_MIR_DENSE_ATTENTION, fuse_attention));
    RLX_TRY(fuse_each(g, RLX_MIR_RECUR, fuse_recur));
    RLX_TRY(fuse_each(g, RLX_MIR_RECUR_TOKENS, fuse_recur));
    RLX_TRY(fuse_each(g, RLX_MIR_DELTA_CHUNKS, fuse_delta_chunks));
    RLX_TRY(fuse_each(g, RLX_MIR_DELTA_CHUNKS_TOKENS, fuse_delta_chunks));
    RLX_TRY(fuse_each(g, RLX_MIR_ORDER, fuse_order));
    RLX_TRY(rlx_mir_fuse_loops(g));
    RLX_TRY(fuse_each(g, RLX_MIR_GATHER, fuse_map));
    RLX_TRY(fuse_each(g, RLX_MIR_REDUCE, fuse_reduce));
    for (int i = 0; i < g->nnodes; i++)
        if (rlx_mir_fuse_is_free(&g->nodes[i]) && !rlx_mir_fuse_is_view(g, &g->nodes[i]))
            RLX_TRY(fuse_map(g, &g->nodes[i]));
    for (int i = 0; i < g->nnodes; i++)
        if (g->nodes[i].opaque)
            RLX_TRY(make_operands(g, &g->nodes[i]));
    return rlx_mir_fuse_emit(g);
}

static bool is_fused(const rlx_ir_func *f)
{
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        if (n->op != RLX_MIR_REGION && n->op != RLX_MIR_CALL && n->op != RLX_MIR_RETURN)
            return false;
    return true;
}

static rlx_status run(rlx_pass_cx *cx)
{
    for (rlx_ir_func *f = cx->module->first; f; f = f->next) {
        if (is_fused(f))
            continue;
        rlx_mir_fuse_graph g;
        RLX_TRY_NOTE(rlx_mir_fuse_graph_build(cx->module, f, cx->scratch, cx->options, &g),
                     "fusing @%s", f->name);
        RLX_TRY_NOTE(fuse_func(&g), "fusing @%s", f->name);
        cx->changed = true;
    }
    return RLX_OK;
}

const rlx_pass rlx_mir_pass_fuse_regions = {"fuse_regions", run};
