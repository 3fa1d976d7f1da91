/* mir/passes/fold_views.c: views and casts that do nothing, or that follow one another
 *
 *   %1 = reshape %x : f32[T,4,2]
 *   %2 = reshape %1 : f32[T,8]      ->   %2 = reshape %x : f32[T,8], or %x if that is its type
 *
 * The same for transpose, broadcast, slice (along one axis) and cast (when the inner one loses
 * nothing); a concat goes without its empty operands, and one of one operand is that operand. */
#include <string.h>

#include "mir/mir.h"

/* ---- one node and the one before it -------------------------------------------------------------
 */

/* Whether every value of format `from` is one of `to`. */
static bool holds_all(rlx_format from, rlx_format to)
{
    if (from == to)
        return true;
    const rlx_format_info *a = rlx_format_get(from), *b = rlx_format_get(to);
    if (a->kind == RLX_KIND_BLOCK || b->kind == RLX_KIND_BLOCK)
        return false;
    if (to == RLX_F64)
        return from != RLX_I64;
    if (to == RLX_F32)
        return a->block_bytes <= 2; /* f16, bf16, and integers of up to 16 bits */
    return to == RLX_I64 && a->kind != RLX_KIND_FLOAT;
}

static bool is_identity_perm(const rlx_attr *perm)
{
    for (int i = 0; i < perm->n; i++)
        if (perm->ints[i] != i)
            return false;
    return true;
}

/* Whether a slice takes elements that lie beside one another, in their order. */
static bool is_plain_slice(const rlx_ir_node *n)
{
    return rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) == 1;
}

/* Whether the node's result is its operand. */
static bool is_identity(const rlx_ir_node *n)
{
    switch (n->op) {
    case RLX_MIR_TRANSPOSE:
        return is_identity_perm(rlx_ir_attr(n, RLX_ATTR_PERM));
    case RLX_MIR_RESHAPE:
    case RLX_MIR_BROADCAST:
    case RLX_MIR_CAST:
        return rlx_ir_type_equal(&n->in[0]->type, &n->out[0]->type);
    case RLX_MIR_SLICE:
        return is_plain_slice(n) && rlx_ir_type_equal(&n->in[0]->type, &n->out[0]->type);
    case RLX_MIR_CONCAT:
        return n->nin == 1;
    default:
        return false;
    }
}

/* perm or axes of a node after its producer's: result[i] = over[under[i]]. */
static rlx_status compose(rlx_ir_module *m, rlx_ir_node *n, rlx_attr_key key, const rlx_attr *over,
                          const rlx_attr *under)
{
    int64_t ints[RLX_MAX_RANK];
    for (int i = 0; i < under->n; i++)
        ints[i] = over->ints[under->ints[i]];
    return rlx_ir_attr_set(m, n, rlx_attr_ints(key, under->n, ints));
}

/* Makes `n` read its producer's operand, if the two are one view. */
static rlx_status merge(rlx_ir_module *m, rlx_ir_node *n, bool *merged)
{
    const rlx_ir_node *p = n->in[0]->def;
    *merged = false;
    if (!p || p->op != n->op)
        return RLX_OK;
    switch (n->op) {
    case RLX_MIR_RESHAPE: /* unless that takes two steps to see: extents of several symbols */
        if (!rlx_ir_same_elems(m->dims, &p->in[0]->type, &n->out[0]->type))
            return RLX_OK;
        break;
    case RLX_MIR_CAST:
        if (!holds_all(p->in[0]->type.format, p->out[0]->type.format))
            return RLX_OK;
        break;
    case RLX_MIR_TRANSPOSE: /* axis i of n is axis perm[i] of p, which is axis perm_p[perm[i]] */
        RLX_TRY(compose(m, n, RLX_ATTR_PERM, rlx_ir_attr(p, RLX_ATTR_PERM),
                        rlx_ir_attr(n, RLX_ATTR_PERM)));
        break;
    case RLX_MIR_BROADCAST: /* axis i of p's input is axis axes_p[i] of p, axes[axes_p[i]] of n */
        RLX_TRY(compose(m, n, RLX_ATTR_AXES, rlx_ir_attr(n, RLX_ATTR_AXES),
                        rlx_ir_attr(p, RLX_ATTR_AXES)));
        break;
    case RLX_MIR_SLICE: {
        if (rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0) != rlx_ir_attr_int(p, RLX_ATTR_AXIS, 0) ||
            !is_plain_slice(n) || !is_plain_slice(p))
            return RLX_OK;
        int64_t start =
            rlx_ir_attr_int(n, RLX_ATTR_START, 0) + rlx_ir_attr_int(p, RLX_ATTR_START, 0);
        RLX_TRY(rlx_ir_attr_set(m, n, rlx_attr_int(RLX_ATTR_START, start)));
        break;
    }
    default:
        return RLX_OK;
    }
    n->in[0] = p->in[0];
    *merged = true;
    return RLX_OK;
}

/* Leaves out the operands of a concat that have no elements, but not the last one of all. */
static bool drop_empty(rlx_ir_node *n)
{
    const int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0), all = n->nin;
    int kept = 0;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i]->type.dim[axis] != 0 || (!kept && i == n->nin - 1))
            n->in[kept++] = n->in[i];
    n->nin = kept;
    return kept < all;
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* In order, so that a node's producer is folded before it, and one merge per node is enough. */
static rlx_status fold_node(void *user, rlx_ir_node *n)
{
    rlx_pass_cx *cx = user;
    bool merged = false;
    if (n->nin > 0 && n->nout == 1)
        RLX_TRY(merge(cx->module, n, &merged));
    if (n->op == RLX_MIR_CONCAT)
        merged |= drop_empty(n);
    cx->changed = cx->changed || merged;
    if (!is_identity(n))
        return RLX_OK;
    rlx_ir_replace_uses(n->parent, n->out[0], n->in[0]);
    rlx_ir_node_remove(n);
    cx->changed = true;
    return RLX_OK;
}

static rlx_status run(rlx_pass_cx *cx)
{
    for (rlx_ir_func *f = cx->module->first; f; f = f->next)
        RLX_TRY(rlx_ir_walk(f->body, fold_node, cx));
    return RLX_OK;
}

const rlx_pass rlx_mir_pass_fold_views = {"fold_views", run};
