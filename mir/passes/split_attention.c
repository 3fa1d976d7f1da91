/* mir/passes/split_attention.c: attention over tensors, for targets that have no kernel for it
 *
 *   %y = dense_attention %q, %k, %v {..}   ->   %s = contract %q, %k; .. exp ..; %y = contract %p, %v
 *
 * Other bits than the op's: all keys have one maximum. The target's unit alone decides, no shape. */
#include "mir/mir.h"

static rlx_status split(rlx_pass_cx *cx, rlx_ir_node *n)
{
    rlx_mir_dense_attention a = {.q = n->in[0],
                                 .k = n->in[1],
                                 .v = n->in[2],
                                 .scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1),
                                 .softcap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0)};
    for (int i = 0; i < RLX_MIR_DENSE_OPTIONS; i++) {
        const int at = rlx_mir_dense_option(n, (rlx_mir_dense_options)i);
        a.option[i] = at < 0 ? NULL : n->in[at];
    }
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, cx->module);
    b.block = n->parent;
    b.before = n;
    b.place = n->place;
    rlx_ir_value *y = rlx_mir_attend(&b, &a, NULL);
    RLX_TRY(rlx_ir_builder_finish(&b));
    y->name = n->out[0]->name;
    rlx_ir_replace_uses(n->parent, n->out[0], y);
    rlx_ir_node_remove(n);
    cx->changed = true;
    return RLX_OK;
}

static rlx_status run(rlx_pass_cx *cx)
{
    const rlx_lir_target *target = cx->options;
    for (rlx_ir_func *f = cx->module->first; f && target->unit == RLX_UNIT_GPU; f = f->next)
        for (rlx_ir_node *n = f->body->first, *next; n; n = next) {
            next = n->next;
            if (n->op == RLX_MIR_DENSE_ATTENTION)
                RLX_TRY(split(cx, n));
        }
    return RLX_OK;
}

rlx_status rlx_mir_split_attention(rlx_ir_module *m, const rlx_lir_target *target)
{
    const rlx_pass pass = {"split_attention", run};
    return rlx_ir_run_passes(m, &pass, 1, &(rlx_pass_options){.options = target});
}
