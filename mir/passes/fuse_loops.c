/* mir/passes/fuse_loops.c: regions that go by single elements
 *
 *   %p = pad %x, %zero {..}                       %s = region %x, %w {root="loops"} (..) {
 *   %c = window %p {..}                   ->          .. all of it ..
 *   %m = map %c, %w {fn=mul}                          yield %s
 *   %s = reduce %m {fn=add, lanes=1}              }
 *
 * Around each node that tiles do not compute: a fold in one partial sum or of other functions than
 * add and max, a scan, a scatter, a pad, a gather of more than rows. A fold takes along what is
 * made for it alone and what follows element by element; nothing repeats its result, or it would be
 * folded again and again. What is neither (a softmax's division by a broadcast sum) begins a region
 * of its own. */
#include "mir/passes/fuse.h"

static bool is_tile_reduce(const rlx_ir_node *n)
{
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    return n->in[0]->type.format == RLX_F32 && rlx_ir_attr_int(n, RLX_ATTR_LANES, 1) > 1 &&
           (fn == RLX_FN_ADD || fn == RLX_FN_MAX);
}

static bool is_tile_gather(const rlx_ir_node *n)
{
    return n->in[0]->type.rank == 2 && n->in[1]->type.rank >= 1 && n->in[1]->type.format == RLX_I32;
}

static bool is_fold(const rlx_ir_node *n)
{
    return (n->op == RLX_MIR_REDUCE && !is_tile_reduce(n)) || n->op == RLX_MIR_SCAN ||
           n->op == RLX_MIR_SCATTER;
}

/* Other seeds of groups than folds. */
static bool is_seed(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_PAD || n->op == RLX_MIR_BITCAST ||
           (n->op == RLX_MIR_GATHER && !is_tile_gather(n));
}

/* Partial sums that a group's folds of folds have, all in all: what each of them takes is made as often. */
static int64_t count_partials(const rlx_mir_fuse_graph *g, int group)
{
    const rlx_mir_fuse_group *all = &g->groups[group];
    int64_t lanes = 1;
    for (int i = 0; i < all->nnodes; i++) {
        const rlx_ir_node *n = g->nodes[all->nodes[i]].ir;
        if (n->op == RLX_MIR_REDUCE)
            lanes *= rlx_ir_attr_int(n, RLX_ATTR_LANES, 1);
    }
    return lanes;
}

/* Computed element by element from elements. */
static bool takes_sources(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    enum { MOST_PARTS = 32 };
    switch (n->ir->op) {
    case RLX_MIR_MAP:
    case RLX_MIR_CAST:
    case RLX_MIR_BITCAST:
    case RLX_MIR_PAD:
    case RLX_MIR_GATHER:
        return true;
    case RLX_MIR_CONCAT: /* of extents that are known: an index tells the part; each is written out for each partial sum */
        return n->ir->nin * count_partials(g, group) <= MOST_PARTS &&
               rlx_dim_is_const(n->ir->out[0]->type.dim[rlx_ir_attr_int(n->ir, RLX_ATTR_AXIS, 0)]);
    default:
        return rlx_mir_fuse_is_view(g, n);
    }
}

/* In which every element of the fold goes into one element: nothing folds twice. */
static bool takes_epilogue(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group)
{
    enum { MOST_PARTIALS = 16 };
    const rlx_mir_fuse_node *x = n->ir->nin ? rlx_mir_fuse_def(n->ir->in[0]) : NULL;
    switch (n->ir->op) {
    case RLX_MIR_REDUCE: /* of what nobody else needs */
        return !is_tile_reduce(n->ir) && x && x->group == group && x->nusers == 1 &&
               count_partials(g, group) * rlx_ir_attr_int(n->ir, RLX_ATTR_LANES, 1) <=
                   MOST_PARTIALS;
    case RLX_MIR_MAP:
    case RLX_MIR_CAST:
    case RLX_MIR_BITCAST:
    case RLX_MIR_RESHAPE:
    case RLX_MIR_TRANSPOSE:
        return true;
    default:
        return false;
    }
}

static rlx_status fuse_around(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *root)
{
    int group, op = root->ir->op;
    RLX_TRY(rlx_mir_fuse_group_add(g, root, "loops", &group));
    rlx_mir_fuse_grow_backwards(g, group, takes_sources);
    if (op == RLX_MIR_SCAN || op == RLX_MIR_SCATTER)
        return RLX_OK; /* alone behind what it takes */
    rlx_mir_fuse_grow_forwards(g, group, op == RLX_MIR_REDUCE ? takes_epilogue : takes_sources);
    rlx_mir_fuse_grow_backwards(g, group, takes_sources);
    return RLX_OK;
}

rlx_status rlx_mir_fuse_loops(rlx_mir_fuse_graph *g)
{
    for (int i = 0; i < g->nnodes; i++)
        if (rlx_mir_fuse_is_free(&g->nodes[i]) && is_fold(g->nodes[i].ir))
            RLX_TRY(fuse_around(g, &g->nodes[i]));
    for (int i = g->nnodes - 1; i >= 0; i--)
        if (rlx_mir_fuse_is_free(&g->nodes[i]) && is_seed(g->nodes[i].ir))
            RLX_TRY(fuse_around(g, &g->nodes[i]));
    return RLX_OK;
}
