/* lir/ops/call.c: runs a tape function, once or for a run of layers
 *   in  its VALUE buffers, its OUT buffers, and when count > 1 a spare per OUT
 *   C1  callee is a tape function of the module.      C2  first is from 0 and count from 1.
 *   C3  operands have the types of the callee's VALUEs and OUTs, spares those of OUTs.
 *   C4  when count > 1, OUTs have the types of the leading VALUEs, which they become.
 *   C5  OUTs and spares are buffers of their own.      C6  offset and bytes come together, from 0;
 * offset is aligned. */
#include "lir/ops/ops.h"

/* Checks C3 and C4 for the callee's arguments of one role; *at is the next operand. */
static rlx_status verify_operands(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_func *f,
                                  rlx_role role, const char *what, int *at)
{
    for (int i = 0; i < f->body->nargs; i++) {
        if (f->arg_info[i].role != role)
            continue;
        RLX_IR_REQUIRE(m, n, "C3", *at < n->nin, "there is no operand for %s %d of @%s", what, i,
                       f->name);
        const rlx_ir_type *want = &f->body->args[i]->type, *got = &n->in[*at]->type;
        RLX_IR_REQUIRE(m, n, "C3", rlx_ir_type_equal(want, got),
                       "operand %d is %s, @%s's %s wants %s", *at, rlx_lir_type_text(m, got),
                       f->name, what, rlx_lir_type_text(m, want));
        ++*at;
    }
    return RLX_OK;
}

rlx_status rlx_lir_call_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_func *f = rlx_lir_callee(m, n);
    RLX_IR_REQUIRE(m, n, "C1", f && !f->is_kernel, "there is no function @%s",
                   rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
    int64_t first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0);
    int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    RLX_IR_REQUIRE(m, n, "C2", first >= 0 && count >= 1, "first %lld, count %lld", (long long)first,
                   (long long)count);
    int at = 0;
    RLX_TRY(verify_operands(m, n, f, RLX_ROLE_VALUE, "VALUE", &at));
    int nvalues = at;
    RLX_TRY(verify_operands(m, n, f, RLX_ROLE_OUT, "OUT", &at));
    int nouts = at - nvalues;
    if (count > 1)
        RLX_TRY(verify_operands(m, n, f, RLX_ROLE_OUT, "spare", &at));
    RLX_IR_REQUIRE(m, n, "C3", at == n->nin, "%d operands, expected %d", n->nin, at);
    for (int i = 0; count > 1 && i < nouts; i++)
        RLX_IR_REQUIRE(m, n, "C4",
                       i < nvalues && rlx_ir_type_equal(&n->in[i]->type, &n->in[nvalues + i]->type),
                       "OUT %d cannot become VALUE %d of the next call", i, i);
    for (int i = nvalues; i < n->nin; i++) {
        for (int j = 0; j < i; j++)
            RLX_IR_REQUIRE(m, n, "C5", n->in[i] != n->in[j], "operands %d and %d are one buffer", j,
                           i);
    }
    return rlx_lir_require_place(m, n, "C6");
}
