/* lir/ops/extent.c: the live value of a dim expression
 *   out  i64 scalar
 *   C1  extent is there. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_extent_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    (void)n;
    results[0] = rlx_ir_tile(RLX_I64, 0, NULL);
    return RLX_OK;
}

rlx_status rlx_lir_extent_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_attr(n, RLX_ATTR_EXTENT), "has no extent");
    return RLX_OK;
}

rlx_status rlx_lir_extent_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    rlx_dim dim = rlx_ir_attr_int(i->node, RLX_ATTR_EXTENT, 0);
    *(int64_t *)i->out[0]->data = rlx_dim_eval(e->kernel->module->dims, dim, e->symbols);
    return RLX_OK;
}
