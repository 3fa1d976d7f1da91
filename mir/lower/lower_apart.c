/* mir/lower/lower_apart.c: contraction and attention regions that end in what tiles cannot store
 *
 *   %y = region %x, %w {root="contract"} (..) {      %0 = region %x, %w {root="contract"} (..) {
 *     %c = contract %a, %b                             %c = contract %a, %b
 *     %d = concat %c, %c {axis=1}             ->       yield %c
 *     yield %d                                       }
 *   }                                                %y = region %x, %w, %0 {root="map"} (.., %c) {
 *                                                      %d = concat %c, %c {axis=1}
 *                                                      yield %d
 *                                                    }
 *
 * A region for each root, and one for each result, which are lowered like any other. Fusion cuts
 * where it knows that tiles end (passes/fuse_regions.c); this is what makes every graph compile. */
#include "mir/lower/lower.h"

bool lower_is_root(const rlx_ir_node *n)
{
    return rlx_mir_is_contract(n) || rlx_mir_is_attention(n);
}

/* A region being made in front of the old one: `scratch` of an old value is the new one. */
typedef struct apart {
    region_cx *r;
    rlx_ir_builder inner;
    rlx_ir_node *node;
    bool reduces; /* something in it folds rows */
} apart;

static void forget(const rlx_ir_block *b)
{
    for (int i = 0; i < b->nargs; i++)
        b->args[i]->scratch = NULL;
    for (const rlx_ir_node *n = b->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            n->out[i]->scratch = NULL;
}

/* Copies what makes `v`, unless it is there. */
static void bring(apart *a, rlx_ir_value *v)
{
    rlx_ir_node *n = v->def;
    if (v->scratch || !n)
        return;
    for (int i = 0; i < n->nin; i++)
        bring(a, n->in[i]);
    a->reduces = a->reduces || n->op == RLX_MIR_REDUCE;
    rlx_ir_clone_node(&a->inner, n);
}

/* A region of the old one's operands and `extra`, in front of it, with its arguments. */
static rlx_status begin(apart *a, const char *root, int nextra, rlx_ir_value *const *extra,
                        rlx_ir_value *result)
{
    const rlx_ir_node *old = a->r->node;
    rlx_ir_builder outer;
    rlx_ir_builder_init(&outer, a->r->mir);
    outer.block = old->parent;
    outer.before = (rlx_ir_node *)old;
    outer.place = old->place;
    rlx_ir_value **in = RLX_NEW_ARRAY(a->r->arena, rlx_ir_value *, old->nin + nextra + 1);
    if (!in)
        return RLX_OOM();
    for (int i = 0; i < old->nin + nextra; i++)
        in[i] = i < old->nin ? old->in[i] : extra[i - old->nin];
    const rlx_attr attr = rlx_attr_text(RLX_ATTR_ROOT, root);
    a->node = rlx_ir_build_node(&outer, RLX_MIR_REGION, old->nin + nextra, in, 1, &attr, 1,
                                &result->type);
    RLX_TRY(rlx_ir_builder_finish(&outer));
    forget(old->blocks[0]);
    rlx_ir_builder_init(&a->inner, a->r->mir);
    a->inner.block = a->node->blocks[0];
    for (int i = 0; i < old->nin; i++) {
        rlx_ir_value *arg = old->blocks[0]->args[i];
        arg->scratch = rlx_ir_build_block_arg(&a->inner, a->inner.block, arg->name, arg->type);
    }
    return RLX_OK;
}

static rlx_status end(apart *a, rlx_ir_value *result)
{
    bring(a, result);
    rlx_ir_value *y = result->scratch;
    rlx_ir_build_yield(&a->inner, 1, &y);
    return rlx_ir_builder_finish(&a->inner);
}

/* A root on its own. */
static rlx_status lower_root(region_cx *r, rlx_ir_node *n, rlx_ir_value **result)
{
    apart a = {.r = r};
    const char *root = rlx_mir_is_attention(n) ? "attention" : "contract";
    RLX_TRY(begin(&a, root, 0, NULL, n->out[0]));
    RLX_TRY(end(&a, n->out[0]));
    *result = a.node->out[0];
    return lower_region(r->tape, r->options, a.node);
}

/* Result i, of the roots' results. */
static rlx_status lower_result(region_cx *r, int i, int nroots, rlx_ir_value *const *roots,
                               rlx_ir_node *const *nodes)
{
    apart a = {.r = r};
    rlx_ir_value *result = r->node->blocks[0]->last->in[i];
    RLX_TRY(begin(&a, "map", nroots, roots, result));
    for (int k = 0; k < nroots; k++)
        nodes[k]->out[0]->scratch =
            rlx_ir_build_block_arg(&a.inner, a.inner.block, NULL, nodes[k]->out[0]->type);
    RLX_TRY(end(&a, result));
    a.node->out[0]->scratch = r->result[i];
    const rlx_attr root = rlx_attr_text(RLX_ATTR_ROOT, "reduce");
    if (a.reduces)
        RLX_TRY(rlx_ir_attr_set(r->mir, a.node, root));
    return lower_region(r->tape, r->options, a.node);
}

rlx_status lower_apart(region_cx *r)
{
    const rlx_ir_block *body = r->node->blocks[0];
    int n = 0, most = 0;
    for (const rlx_ir_node *d = body->first; d; d = d->next)
        most += lower_is_root(d);
    rlx_ir_value **roots = RLX_NEW_ARRAY(r->arena, rlx_ir_value *, most + 1);
    rlx_ir_node **nodes = RLX_NEW_ARRAY(r->arena, rlx_ir_node *, most + 1);
    if (!roots || !nodes)
        return RLX_OOM();
    for (rlx_ir_node *d = body->first; d; d = d->next)
        if (lower_is_root(d)) {
            nodes[n] = d;
            RLX_TRY(lower_root(r, d, &roots[n++]));
        }
    for (int i = 0; i < r->node->nout; i++)
        RLX_TRY(lower_result(r, i, n, roots, nodes));
    return RLX_OK;
}
