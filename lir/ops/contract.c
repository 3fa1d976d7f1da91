/* lir/ops/contract.c: sums of products, by lanes
 *   in   acc f32<MxNxL>; a f32<MxK>; b f32<NxK>      out  acc's type
 *   C1  ranks are 3, 2, 2 and formats f32.      C2  M and N agree.      C3  a and b share K.
 *   C4  K is a multiple of L. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_contract_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_contract_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *b = &n->in[2]->type;
    for (int i = 0; i < 3; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        RLX_IR_REQUIRE(m, n, "C1",
                       t->kind == RLX_TYPE_TILE && t->format == RLX_F32 &&
                           t->rank == (i == 0 ? 3 : 2),
                       "operand %d is %s", i, rlx_lir_type_text(m, t));
    }
    RLX_IR_REQUIRE(m, n, "C2", acc->dim[0] == a->dim[0] && acc->dim[1] == b->dim[0],
                   "%s from %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a),
                   rlx_lir_type_text(m, b));
    RLX_IR_REQUIRE(m, n, "C3", a->dim[1] == b->dim[1], "contracts %lld with %lld",
                   (long long)a->dim[1], (long long)b->dim[1]);
    RLX_IR_REQUIRE(m, n, "C4", a->dim[1] % acc->dim[2] == 0, "K %lld is no multiple of %lld lanes",
                   (long long)a->dim[1], (long long)acc->dim[2]);
    return RLX_OK;
}
