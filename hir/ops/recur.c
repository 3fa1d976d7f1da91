/* hir/ops/recur.c: recurrences whose step is given, and are MIR's (mir/ops/recur.c)
 *
 * The ops have MIR's numbers, as have the tensor ops that a step is made of; so MIR's constraints
 * and loops are theirs, and lowering copies them. One constraint is HIR's own:
 *   C10  the states of recur_tokens, which it updates, are the session's. */
#include "hir/ops/steps.h"
#include "mir/ops/ops.h"

_Static_assert((int)RLX_HIR_RETURN == (int)RLX_MIR_RETURN &&
                   (int)RLX_HIR_YIELD == (int)RLX_MIR_YIELD &&
                   (int)RLX_HIR_RECUR == (int)RLX_MIR_RECUR &&
                   (int)RLX_HIR_RECUR_TOKENS == (int)RLX_MIR_RECUR_TOKENS,
               "recurrences have the same numbers at both levels");

/* Types are written. */
rlx_status rlx_hir_recur_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    for (int i = 0; i < n->nout; i++)
        results[i] = n->out[i]->type;
    return RLX_OK;
}

rlx_status rlx_hir_recur_tokens_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    return rlx_hir_recur_infer(m, n, results);
}

rlx_status rlx_hir_recur_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    return rlx_mir_recur_verify(m, n);
}

rlx_status rlx_hir_recur_tokens_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_mir_recur_tokens_verify(m, n));
    const int64_t *counts = rlx_ir_attr(n, RLX_ATTR_COUNTS)->ints;
    for (int64_t i = counts[0]; i < counts[0] + counts[1]; i++)
        RLX_TRY(rlx_hir_check_state(m, n, "C10", (int)i));
    return RLX_OK;
}

rlx_status rlx_hir_recur_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                              rlx_eval_tensor *out)
{
    rlx_mir_frame frame = {cx->module, cx->env, cx->arena, cx->layer};
    (void)in; /* they hang at the values' scratch */
    RLX_TRY(rlx_mir_recur_eval(&frame, n));
    for (int i = 0; i < n->nout; i++) {
        out[i] = *rlx_mir_tensor(n->out[i]);
        n->out[i]->scratch = &out[i];
    }
    return RLX_OK;
}

rlx_status rlx_hir_recur_tokens_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                     rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    return rlx_hir_recur_eval(cx, n, in, out);
}

void rlx_hir_recur_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    (void)in; /* what a value became hangs at its scratch, where cloning looks for it */
    const rlx_ir_node *copy = rlx_ir_clone_node(b, (rlx_ir_node *)n);
    for (int i = 0; i < n->nout; i++)
        out[i] = copy ? copy->out[i] : NULL;
}

void rlx_hir_recur_tokens_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                                rlx_ir_value **out)
{
    rlx_hir_recur_lower(b, n, in, out);
}

/* ---- the end of a step: there is nothing to do --------------------------------------------------
 */

rlx_status rlx_hir_yield_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    (void)n;
    (void)results;
    return RLX_OK;
}

rlx_status rlx_hir_yield_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n;
    return RLX_OK;
}

rlx_status rlx_hir_yield_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                              rlx_eval_tensor *out)
{
    (void)cx;
    (void)n;
    (void)in;
    (void)out;
    return RLX_OK;
}

void rlx_hir_yield_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    (void)b;
    (void)n;
    (void)in;
    (void)out;
}
