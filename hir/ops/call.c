/* hir/ops/call.c
 *   in   the callee's VALUE arguments, in order        out  the callee's results
 *   Runs the callee for layer index first, first + 1, ..., first + count - 1. What it returns
 *   becomes its first VALUE arguments of the next round; further ones stay. WEIGHT, INPUT and STATE
 *   arguments bind by name, with the layer index for "{}".
 *   C1  callee is a function that stands before the caller (so nothing calls itself, and text
 *       parses in one go).
 *   C2  the operands have the types of the callee's VALUE arguments.
 *   C3  the results have the types of the callee's results.
 *   C4  first >= 0 and count >= 1.
 *   C5  if count > 1, the results have the types of the first VALUE arguments.
 */
#include "hir/ops/ops.h"

#include <string.h>

static const rlx_ir_func *caller_of(const rlx_ir_node *n)
{
    return n->parent ? n->parent->func : NULL;
}

static const rlx_ir_func *find_callee(const rlx_ir_module *m, const rlx_ir_node *n)
{
    const char *name = rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "");
    for (const rlx_ir_func *f = m->first; f && f != caller_of(n); f = f->next)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

/* C2, C5: operand (or result) i against the callee's i-th VALUE argument. */
static rlx_status check_values(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_func *callee)
{
    const int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    char got[RLX_HIR_TYPE_CHARS], want[RLX_HIR_TYPE_CHARS];
    int i = 0;
    for (int a = 0; a < callee->body->nargs; a++) {
        if (callee->arg_info[a].role != RLX_ROLE_VALUE)
            continue;
        const rlx_ir_type *type = &callee->body->args[a]->type;
        rlx_hir_type_text(m, type, want);
        RLX_IR_REQUIRE(m, n, "C2", i < n->nin, "%d operands, @%s takes more", n->nin, callee->name);
        RLX_IR_REQUIRE(m, n, "C2", rlx_ir_type_equal(&n->in[i]->type, type),
                       "operand %d is %s, @%s takes %s", i,
                       rlx_hir_type_text(m, &n->in[i]->type, got), callee->name, want);
        if (count > 1 && i < callee->nresults)
            RLX_IR_REQUIRE(m, n, "C5", rlx_ir_type_equal(&callee->results[i], type),
                           "@%s returns %s, its next round takes %s", callee->name,
                           rlx_hir_type_text(m, &callee->results[i], got), want);
        i++;
    }
    RLX_IR_REQUIRE(m, n, "C2", i == n->nin, "%d operands, @%s takes %d", n->nin, callee->name, i);
    RLX_IR_REQUIRE(m, n, "C5", count == 1 || callee->nresults <= i,
                   "@%s returns %d values, its next round takes %d", callee->name, callee->nresults,
                   i);
    return RLX_OK;
}

/* Everything but C3, which compares with the results that infer makes. */
static rlx_status check(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_func **callee)
{
    *callee = find_callee(m, n);
    RLX_IR_REQUIRE(m, n, "C1", *callee, "no function @%s before the caller",
                   rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "?"));
    const int64_t first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, -1);
    const int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    RLX_IR_REQUIRE(m, n, "C4", first >= 0 && count >= 1, "first=%lld, count=%lld", (long long)first,
                   (long long)count);
    RLX_IR_REQUIRE(m, n, "C3", n->nout == (*callee)->nresults, "%d results, @%s has %d", n->nout,
                   (*callee)->name, (*callee)->nresults);
    return check_values(m, n, *callee);
}

rlx_status rlx_hir_call_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_func *callee;
    RLX_TRY(check(m, n, &callee));
    char got[RLX_HIR_TYPE_CHARS], want[RLX_HIR_TYPE_CHARS];
    for (int i = 0; i < n->nout; i++)
        RLX_IR_REQUIRE(m, n, "C3", rlx_ir_type_equal(&n->out[i]->type, &callee->results[i]),
                       "result %d is %s, @%s returns %s", i,
                       rlx_hir_type_text(m, &n->out[i]->type, got), callee->name,
                       rlx_hir_type_text(m, &callee->results[i], want));
    return RLX_OK;
}

rlx_status rlx_hir_call_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_func *callee;
    RLX_TRY(check(m, n, &callee));
    for (int i = 0; i < n->nout; i++)
        results[i] = callee->results[i];
    return RLX_OK;
}

rlx_status rlx_hir_call_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    const rlx_ir_func *callee = find_callee(cx->module, n);
    const int64_t first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0);
    const int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    rlx_eval_tensor *values = RLX_NEW_ARRAY(cx->arena, rlx_eval_tensor, n->nin + 1);
    if (!values)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        values[i] = *in[i];
    for (int64_t layer = first; layer < first + count; layer++) {
        RLX_TRY_NOTE(rlx_hir_eval_func(cx, callee, layer, values, cx->arena, out),
                     "evaluating @%s for layer %lld", callee->name, (long long)layer);
        for (int i = 0; i < n->nout && i < n->nin; i++)
            values[i] = out[i];
    }
    return RLX_OK;
}

void rlx_hir_call_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const rlx_attr attrs[] = {
        rlx_attr_text(RLX_ATTR_CALLEE, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "")),
        rlx_attr_int(RLX_ATTR_FIRST, rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0)),
        rlx_attr_int(RLX_ATTR_COUNT, rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1)),
    };
    const rlx_ir_func *callee = find_callee(n->parent->func->module, n);
    rlx_ir_node *call =
        rlx_ir_build_node(b, RLX_MIR_CALL, n->nin, in, 3, attrs, n->nout, callee->results);
    for (int i = 0; call && i < n->nout; i++)
        out[i] = call->out[i];
}
