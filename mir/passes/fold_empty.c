/* mir/passes/fold_empty.c: contractions that multiply nothing, attention of nothing
 *
 *   %y = contract %x, %w : f32[T,4]      ->      %0 = const {value=0} : f32
 *     of %x f32[T,0], %w f32[4,0]                %y = broadcast %0 : f32[T,4]
 *
 * The same when the result has no elements. An extent that is a symbol is not empty here: kernels
 * take what it is at run time. Tiles of no elements there are none; what is left goes by loops. */
#include "mir/mir.h"

static rlx_status fold_node(void *user, rlx_ir_node *n)
{
    rlx_pass_cx *cx = user;
    if ((!rlx_mir_is_contract(n) && n->op != RLX_MIR_DENSE_ATTENTION) ||
        (!rlx_mir_is_empty(&n->in[0]->type) && !rlx_mir_is_empty(&n->in[1]->type) &&
         !rlx_mir_is_empty(&n->out[0]->type)))
        return RLX_OK;
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, cx->module);
    b.block = n->parent;
    b.before = n;
    b.place = n->place;
    const rlx_ir_type *t = &n->out[0]->type;
    rlx_ir_value *zero = rlx_mir_build_const(&b, t->format, 0);
    rlx_ir_value *y = rlx_mir_build_broadcast(&b, zero, t->rank, t->dim, NULL);
    RLX_TRY(rlx_ir_builder_finish(&b));
    y->name = n->out[0]->name;
    rlx_ir_replace_uses(n->parent, n->out[0], y);
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

const rlx_pass rlx_mir_pass_fold_empty = {"fold_empty", run};
