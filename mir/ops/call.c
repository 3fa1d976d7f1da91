/* mir/ops/call.c: a function for layers first..first+count-1
 *   in   the callee's VALUE arguments, in order     out  the callee's results after the last layer
 *   Results of one layer are the leading VALUE arguments of the next; further ones stay.
 *   WEIGHT, INPUT and STATE arguments bind by symbol, "{}" being the layer.
 *   C1   first >= 0 and count >= 1.
 *   C2   (call_check) the callee exists.
 *   C3   (call_check) operands are the callee's VALUE arguments in number and type.
 *   C4   (call_check) results are the callee's in number and type.
 *   C5   (call_check) with count > 1 the leading VALUE arguments have the types of the results.
 *   C6   (call_check) no function calls itself, be it through others. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_call_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1",
                   rlx_ir_attr_int(n, RLX_ATTR_FIRST, -1) >= 0 &&
                       rlx_ir_attr_int(n, RLX_ATTR_COUNT, 0) >= 1,
                   "needs first >= 0 and count >= 1");
    return RLX_OK;
}

/* Whether `target` is reached from the calls of `f`. `depth` bounds the walk on modules that are
 * already cyclic elsewhere. */
static bool calls(const rlx_ir_module *m, const rlx_ir_func *f, const rlx_ir_func *target,
                  int depth)
{
    if (depth == 0)
        return false;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op != RLX_MIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(m, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        if (callee && (callee == target || calls(m, callee, target, depth - 1)))
            return true;
    }
    return false;
}

rlx_status rlx_mir_call_check(rlx_ir_module *m, const rlx_ir_func *caller, const rlx_ir_node *n)
{
    const char *name = rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "");
    const rlx_ir_func *callee = rlx_ir_func_find(m, name);
    RLX_IR_REQUIRE(m, n, "C2", callee != NULL, "no function @%s", name);
    bool repeats = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1) > 1;
    int value = 0;
    for (int i = 0; i < callee->body->nargs; i++) {
        if (callee->arg_info[i].role != RLX_ROLE_VALUE)
            continue;
        const rlx_ir_type *type = &callee->body->args[i]->type;
        RLX_IR_REQUIRE(m, n, "C3", value < n->nin && rlx_ir_type_equal(&n->in[value]->type, type),
                       "operand %d is not what @%s takes", value, name);
        RLX_IR_REQUIRE(m, n, "C5",
                       !repeats || value >= callee->nresults ||
                           rlx_ir_type_equal(&callee->results[value], type),
                       "@%s cannot repeat: result %d does not fit its argument", name, value);
        value++;
    }
    RLX_IR_REQUIRE(m, n, "C3", value == n->nin, "%d operands for the %d values of @%s", n->nin,
                   value, name);
    RLX_IR_REQUIRE(m, n, "C5", !repeats || callee->nresults <= value,
                   "@%s cannot repeat: more results than arguments", name);
    RLX_IR_REQUIRE(m, n, "C4", n->nout == callee->nresults, "%d results for the %d of @%s", n->nout,
                   callee->nresults, name);
    for (int i = 0; i < n->nout; i++)
        RLX_IR_REQUIRE(m, n, "C4", rlx_ir_type_equal(&n->out[i]->type, &callee->results[i]),
                       "result %d is not what @%s returns", i, name);
    int nfuncs = 0;
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        nfuncs++;
    RLX_IR_REQUIRE(m, n, "C6", callee != caller && !calls(m, callee, caller, nfuncs),
                   "@%s calls itself", caller->name);
    return RLX_OK;
}

rlx_status rlx_mir_call_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const char *name = rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "");
    const rlx_ir_func *callee = rlx_ir_func_find(f->module, name);
    if (!callee)
        return RLX_FAIL(RLX_INVALID_IR, "call of @%s, which is not there", name);
    rlx_eval_tensor **values = RLX_NEW_ARRAY(f->arena, rlx_eval_tensor *, n->nin + 1);
    rlx_eval_tensor **results = RLX_NEW_ARRAY(f->arena, rlx_eval_tensor *, n->nout + 1);
    if (!values || !results)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        values[i] = rlx_mir_tensor(n->in[i]);
    int64_t first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0);
    int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    for (int64_t layer = first; layer < first + count; layer++) {
        RLX_TRY_NOTE(rlx_mir_eval_call(f, callee, layer, values, results),
                     "evaluating @%s for layer %lld", name, (long long)layer);
        for (int i = 0; i < n->nout && i < n->nin; i++)
            values[i] = results[i];
    }
    for (int i = 0; i < n->nout; i++)
        n->out[i]->scratch = results[i];
    return RLX_OK;
}
