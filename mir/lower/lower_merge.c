/* mir/lower/lower_merge.c: rows of a batch as rows of one product
 *
 *   %c = contract %x, %w : f32[32,128,N]          %c = contract %x, %w : f32[4096,N]
 *   %h = reshape %c : f32[32,128,12,32]     ->    %h = reshape %c : f32[4096,12,32]
 *
 * A matrix that all rows share makes one panel for all of them, and tiles of rows do not end with
 * each sequence. A region goes over in place, the memory behind it being the same, where each value
 * has either all axes of the rows, in front, or none of them. Where one of them goes its own way (a
 * transposition, something added to each position) the region stays as it is. */
#include "mir/lower/lower.h"

typedef struct merging {
    rlx_ir_module *m;
    const rlx_ir_type *rows; /* of a value whose first axes are the rows */
    int axes;                /* that become one */
    rlx_dim merged;
} merging;

/* What a value is (rlx_ir_value.scratch); scalars are neither. */
static char with_rows, without_rows;

static bool has_rows(const merging *g, const rlx_ir_type *t)
{
    if (t->rank < g->axes)
        return false;
    for (int i = 0; i < g->axes; i++)
        if (t->dim[i] != g->rows->dim[i])
            return false;
    return true;
}

static bool demand(const merging *g, rlx_ir_value *v, char *what)
{
    if (v->type.rank == 0)
        return true;
    if ((v->scratch && v->scratch != what) || (what == &with_rows && !has_rows(g, &v->type)))
        return false;
    v->scratch = what;
    return true;
}

static bool demand_all(const merging *g, const rlx_ir_node *n, char *what)
{
    for (int i = 0; i < n->nin; i++)
        if (!demand(g, n->in[i], what))
            return false;
    return true;
}

/* Whether entries of a list that name axes keep the rows in front: all of them, or none at all. */
static bool keeps_axes(const merging *g, const rlx_attr *list, bool *rows)
{
    *rows = list->n >= g->axes && list->ints[0] == 0;
    for (int i = 0; i < list->n; i++) {
        const bool row = *rows && i < g->axes;
        if (row ? list->ints[i] != i : list->ints[i] < g->axes)
            return false;
    }
    return true;
}

/* What a node whose result has rows demands of its operands. */
static bool demand_operands(const merging *g, const rlx_ir_node *n)
{
    bool rows;
    switch ((rlx_mir_op)n->op) {
    case RLX_MIR_CONTRACT:
        return demand(g, n->in[0], &with_rows) && demand(g, n->in[1], &without_rows);
    case RLX_MIR_CONTRACT_Q:
        return demand(g, n->in[0], &with_rows) && demand(g, n->in[1], &with_rows) &&
               demand(g, n->in[2], &with_rows) && demand(g, n->in[3], &without_rows);
    case RLX_MIR_MAP:
    case RLX_MIR_CAST:
    case RLX_MIR_RESHAPE:
        return demand_all(g, n, &with_rows);
    case RLX_MIR_REDUCE:
    case RLX_MIR_SLICE:
    case RLX_MIR_CONCAT:
        return rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0) >= g->axes && demand_all(g, n, &with_rows);
    case RLX_MIR_TRANSPOSE:
        return keeps_axes(g, rlx_ir_attr(n, RLX_ATTR_PERM), &rows) && rows &&
               demand_all(g, n, &with_rows);
    case RLX_MIR_BROADCAST:
        return keeps_axes(g, rlx_ir_attr(n, RLX_ATTR_AXES), &rows) &&
               demand_all(g, n, rows ? &with_rows : &without_rows);
    default:
        return false;
    }
}

static bool mark(const merging *g, const rlx_ir_block *body)
{
    for (const rlx_ir_node *n = body->last; n; n = n->prev) {
        const bool rows = n->op == RLX_MIR_YIELD || (n->nout && n->out[0]->scratch == &with_rows);
        if (!rows && rlx_mir_is_contract(n))
            return false;
        if (n->op == RLX_MIR_YIELD ? !demand_all(g, n, &with_rows)
            : rows                 ? n->nout > 1 || !demand_operands(g, n)
                                   : !demand_all(g, n, &without_rows))
            return false;
    }
    return true;
}

static void merge_type(const merging *g, rlx_ir_value *v)
{
    rlx_ir_type *t = &v->type;
    if (v->scratch != &with_rows)
        return;
    t->rank -= g->axes - 1;
    t->dim[0] = g->merged;
    for (int i = 1; i < t->rank; i++)
        t->dim[i] = t->dim[i + g->axes - 1];
}

/* A list of axes without all of the rows' but the first. */
static rlx_status merge_list(const merging *g, rlx_ir_node *n, rlx_attr_key key)
{
    const rlx_attr *list = rlx_ir_attr(n, key);
    int64_t ints[RLX_MAX_RANK];
    int count = 0;
    for (int i = 0; i < list->n; i++)
        if (list->ints[i] == 0 || list->ints[i] >= g->axes)
            ints[count++] = list->ints[i] ? list->ints[i] - (g->axes - 1) : 0;
    return rlx_ir_attr_set(g->m, n, rlx_attr_ints(key, count, ints));
}

static rlx_status merge_node(const merging *g, rlx_ir_node *n)
{
    if (!n->nout || n->out[0]->scratch != &with_rows)
        return RLX_OK;
    const int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0) - (g->axes - 1);
    switch ((rlx_mir_op)n->op) {
    case RLX_MIR_REDUCE:
    case RLX_MIR_SLICE:
    case RLX_MIR_CONCAT:
        return rlx_ir_attr_set(g->m, n, rlx_attr_int(RLX_ATTR_AXIS, axis));
    case RLX_MIR_TRANSPOSE:
        return merge_list(g, n, RLX_ATTR_PERM);
    case RLX_MIR_BROADCAST:
        return merge_list(g, n, RLX_ATTR_AXES);
    default:
        return RLX_OK;
    }
}

static void forget(const rlx_ir_block *body)
{
    for (int i = 0; i < body->nargs; i++)
        body->args[i]->scratch = NULL;
    for (const rlx_ir_node *n = body->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            n->out[i]->scratch = NULL;
}

/* How many rows there are; 0: that is no extent. */
static rlx_dim count_rows(const merging *g, int *longer)
{
    rlx_dim all = 1;
    *longer = 0;
    for (int i = 0; i < g->axes && all != RLX_DIM_INVALID; i++) {
        const rlx_dim d = g->rows->dim[i];
        *longer += d != 1;
        all = rlx_dim_make(g->m->dims, RLX_DIM_MUL, all, d);
    }
    return all == RLX_DIM_INVALID ? 0 : all;
}

static const rlx_ir_node *first_contract(const rlx_ir_block *body)
{
    const rlx_ir_node *n = body->first;
    while (n && !rlx_mir_is_contract(n))
        n = n->next;
    return n;
}

rlx_status lower_merge_rows(region_cx *r)
{
    rlx_ir_block *body = r->node->blocks[0];
    const rlx_ir_node *c = first_contract(body);
    if (r->options->target->unit != RLX_UNIT_CPU || !c || rlx_mir_contract_ids(c) ||
        rlx_mir_contract_weight(c)->type.rank != 2)
        return RLX_OK;
    const rlx_ir_type rows = c->out[0]->type;
    const bool codes = c->op == RLX_MIR_CONTRACT_Q; /* which are multiplied in two axes only */
    int longer;
    merging g = {.m = r->mir, .rows = &rows, .axes = rows.rank - 1};
    g.merged = g.axes > 1 ? count_rows(&g, &longer) : 0;
    if (!g.merged || (!codes && (longer < 2 || rlx_ir_attr_int(c, RLX_ATTR_LANES, 0) != 1)))
        return RLX_OK;
    forget(body);
    if (mark(&g, body)) {
        for (rlx_ir_node *n = body->first; n; n = n->next)
            RLX_TRY(merge_node(&g, n));
        for (int i = 0; i < body->nargs; i++)
            merge_type(&g, body->args[i]);
        for (rlx_ir_node *n = body->first; n; n = n->next)
            for (int i = 0; i < n->nout; i++)
                merge_type(&g, n->out[i]);
    }
    forget(body);
    return RLX_OK;
}
