/* mir/passes/fuse_attention.c: what attention over tensors takes along
 *
 * Its kernel reads queries, keys and values through views whose tiles are tiles of memory, and makes
 * masks and biases where it uses them, of maps, casts and views, if nobody else wants them. Other
 * views of theirs go to memory first. */
#include "mir/passes/fuse.h"

/* Whether indices of `to` give those of `from`, the same elements, by products and sums alone: each
 * axis of `from` is some axes of `to`. part: of each axis of `to` that of `from`, -1: of none. */
static bool find_parts(const rlx_ir_type *from, const rlx_ir_type *to, int *part)
{
    int t = 0;
    for (int f = 0; f < from->rank; f++) {
        if (t < to->rank && to->dim[t] == from->dim[f]) {
            part[t++] = f;
            continue;
        }
        int64_t product = 1;
        while (t < to->rank && rlx_dim_is_const(to->dim[t]) && rlx_dim_is_const(from->dim[f]) &&
               product * to->dim[t] <= from->dim[f]) {
            product *= to->dim[t];
            part[t++] = f;
        }
        if (product != from->dim[f])
            return false;
    }
    while (t < to->rank && to->dim[t] == 1)
        part[t++] = -1;
    return t == to->rank;
}

/* Whether the last `n` axes of a broadcast are its operand's. */
static bool keeps_axes(const rlx_ir_node *broadcast, int n)
{
    const rlx_attr *axes = rlx_ir_attr(broadcast, RLX_ATTR_AXES);
    const int from = broadcast->in[0]->type.rank, to = broadcast->out[0]->type.rank;
    for (int i = 1; i <= n; i++)
        if (from < n || axes->ints[from - i] != to - i)
            return false;
    return true;
}

static bool is_plain_slice(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_SLICE && rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) == 1;
}

/* Whether a reshape to [.., rows, heads, elements] leaves tiles what they are: an axis of 1 has no
 * index that it could keep. */
static bool keeps_tiles(const rlx_ir_node *reshape)
{
    const rlx_ir_type *to = &reshape->out[0]->type;
    int part[RLX_MAX_RANK];
    return to->rank >= 3 && to->dim[to->rank - 1] != 1 && to->dim[to->rank - 3] != 1 &&
           find_parts(&reshape->in[0]->type, to, part);
}

/* Whether tiles [rows, elements] of q, k or v are tiles of memory; a node that is no view is. */
static bool operand_is_walked(const rlx_mir_fuse_graph *g, const rlx_ir_value *v)
{
    enum { AXES = 3 }; /* rows, heads, elements */
    const rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    if (!d)
        return true;
    const rlx_ir_node *n = d->ir;
    if (n->op == RLX_MIR_CONST || n->op == RLX_MIR_IOTA)
        return false;
    if (n->op == RLX_MIR_CAST)
        return operand_is_walked(g, n->in[0]);
    if (!rlx_mir_fuse_is_view(g, d))
        return true;
    const bool plain = is_plain_slice(n) || (n->op == RLX_MIR_BROADCAST && keeps_axes(n, AXES)) ||
                       (n->op == RLX_MIR_RESHAPE && keeps_tiles(n));
    return plain && operand_is_walked(g, n->in[0]);
}

/* Axes of a mask's tiles in one of the values on the way to it; -1: it has none. */
typedef struct tile_axes {
    int s, k; /* queries, keys */
} tile_axes;

/* Whether nothing but axes of 1 is part of the same axis as a tile's. */
static bool is_alone(const rlx_ir_type *to, const int *part, const tile_axes *at, int axis)
{
    for (int t = 0; axis >= 0 && t < to->rank; t++)
        if (t != axis && part[t] == part[axis] && (to->dim[t] != 1 || t == at->s || t == at->k))
            return false;
    return true;
}

/* Whether tiles of a reshape are tiles of its operand, whose axes then are `at`. */
static bool walk_reshape(const rlx_ir_node *n, tile_axes *at)
{
    const rlx_ir_type *to = &n->out[0]->type;
    int part[RLX_MAX_RANK];
    if (!find_parts(&n->in[0]->type, to, part) || !is_alone(to, part, at, at->s) ||
        !is_alone(to, part, at, at->k))
        return false;
    at->s = at->s < 0 ? -1 : part[at->s];
    at->k = at->k < 0 ? -1 : part[at->k];
    return true;
}

static void walk_broadcast(const rlx_ir_node *n, tile_axes *at)
{
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    tile_axes before = {-1, -1};
    for (int i = 0; i < n->in[0]->type.rank; i++) {
        if (axes->ints[i] == at->s)
            before.s = i;
        if (axes->ints[i] == at->k)
            before.k = i;
    }
    *at = before;
}

/* Marks the views on the way to a bias or a mask of which no tiles can be made. */
static void mark_mask(const rlx_mir_fuse_graph *g, const rlx_ir_value *v, tile_axes at)
{
    rlx_mir_fuse_node *d = rlx_mir_fuse_def(v);
    if (!d)
        return;
    const rlx_ir_node *n = d->ir;
    const bool made = n->op == RLX_MIR_MAP || n->op == RLX_MIR_CAST || n->op == RLX_MIR_BROADCAST ||
                      is_plain_slice(n) || (n->op == RLX_MIR_RESHAPE && walk_reshape(n, &at));
    if (!made && rlx_mir_fuse_is_view(g, d))
        d->stored = true;
    if (n->op == RLX_MIR_BROADCAST)
        walk_broadcast(n, &at);
    for (int i = 0; made && i < n->nin; i++)
        mark_mask(g, n->in[i], n->in[i]->type.rank > 0 ? at : (tile_axes){-1, -1});
}

void rlx_mir_fuse_mark_attention(const rlx_mir_fuse_graph *g, const rlx_ir_node *n)
{
    for (int i = 0; i < 3; i++)
        if (!operand_is_walked(g, n->in[i]))
            rlx_mir_fuse_def(n->in[i])->stored = true;
    for (int i = 3; i < n->nin; i++)
        mark_mask(g, n->in[i], (tile_axes){n->in[i]->type.rank - 2, n->in[i]->type.rank - 1});
}

static bool makes(const rlx_ir_node *n, const rlx_ir_value *v)
{
    const rlx_ir_node *d = v->def;
    if (!d || d->op == RLX_MIR_CONST)
        return false;
    if (d == n)
        return true;
    for (int i = 0; i < d->nin; i++)
        if ((d->op == RLX_MIR_MAP || d->op == RLX_MIR_CAST || d->op == RLX_MIR_BROADCAST ||
             d->op == RLX_MIR_SLICE || d->op == RLX_MIR_RESHAPE) &&
            makes(n, d->in[i]))
            return true;
    return false;
}

bool rlx_mir_fuse_attention_masks(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n,
                                  int group)
{
    const rlx_mir_fuse_group *all = &g->groups[group];
    const rlx_ir_node *root = NULL;
    for (int i = 0; i < all->nnodes; i++)
        if (g->nodes[all->nodes[i]].ir->op == RLX_MIR_DENSE_ATTENTION)
            root = g->nodes[all->nodes[i]].ir;
    if (!root || n->stored ||
        (n->ir->op != RLX_MIR_MAP && n->ir->op != RLX_MIR_CAST && !rlx_mir_fuse_is_view(g, n)))
        return false;
    for (int i = 3; i < root->nin; i++)
        if (makes(n->ir, root->in[i]))
            return true;
    return false;
}
