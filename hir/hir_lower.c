/* hir/hir_lower.c: HIR to MIR, one function per function.
 *
 *   %2 = rms_norm %x, %w {eps=1e-05}      -->   %3 = map %x, %x {fn=mul} ... %9 = map %7, %8
 * {fn=mul}
 *
 * Arguments, roles, symbols and places carry over; each op's file says what it becomes. Nothing is
 * decided here but the order: that of the HIR.
 */
#include "hir/hir.h"
#include "hir/ops/ops.h"

typedef void lower_fn(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                      rlx_ir_value **out);

static lower_fn *const lower_op[RLX_HIR_OP_COUNT] = {
#define HIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    [RLX_HIR_##NAME] = rlx_hir_##mnemonic##_lower,
#define TENSOR_OP(NAME, mnemonic, inputs, traits, attrs, infer, meaning) \
    [RLX_HIR_##NAME] = rlx_hir_tensor_lower,
#include "hir/hir_ops.def"
#undef HIR_OP
};

/* `scratch` of every HIR value is its MIR value while its function is lowered. */
static rlx_status lower_node(rlx_ir_builder *b, rlx_arena *scratch, const rlx_ir_node *n)
{
    rlx_ir_value **in = RLX_NEW_ARRAY(scratch, rlx_ir_value *, n->nin + 1);
    rlx_ir_value **out = RLX_NEW_ARRAY(scratch, rlx_ir_value *, n->nout + 1);
    if (!in || !out)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        in[i] = n->in[i]->scratch;
    b->place = n->place;
    lower_op[n->op](b, n, in, out);
    for (int i = 0; i < n->nout; i++)
        n->out[i]->scratch = out[i];
    return rlx_ir_builder_finish(b);
}

static rlx_status lower_func(rlx_ir_module *to, rlx_arena *scratch, const rlx_ir_func *f)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, to);
    rlx_ir_func *g = rlx_ir_build_func(&b, f->name, f->nresults, f->results);
    for (int i = 0; g && i < f->body->nargs; i++) {
        rlx_ir_value *arg = f->body->args[i];
        arg->scratch = rlx_ir_build_arg(&b, g, f->arg_info[i].role, f->arg_info[i].symbol,
                                        arg->name, arg->type);
    }
    RLX_TRY(rlx_ir_builder_finish(&b));
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        RLX_TRY(lower_node(&b, scratch, n));
    return RLX_OK;
}

rlx_status rlx_hir_lower(const rlx_ir_module *m, rlx_ir_module **out)
{
    *out = NULL;
    rlx_ir_module *to = NULL;
    rlx_arena *scratch = rlx_arena_create();
    rlx_status st =
        scratch ? rlx_ir_module_create(&rlx_mir_level, m->dims, m->name, &to) : RLX_OOM();
    for (const rlx_ir_func *f = m->first; f && !st; f = f->next)
        st = rlx_status_note(lower_func(to, scratch, f), __FILE__, __LINE__, "lowering @%s of %s",
                             f->name, m->name);
    if (!st)
        st = rlx_status_note(rlx_ir_verify(to), __FILE__, __LINE__, "what %s lowers to", m->name);
    rlx_hir_clear_scratch(m);
    rlx_arena_destroy(scratch);
    if (st)
        rlx_ir_module_destroy(to);
    else
        *out = to;
    return st;
}
