/* lir/ops/reduce.c: sums or largest elements along the last axis, by halves
 *   in   x T<..xN>, N a power of two      out  T<..>
 *   C1  x has an axis.      C2  its last extent is a power of two.      C3  fn is add or max.
 *   C4  not of bool. */
#include "lir/ops/ops.h"

rlx_status rlx_lir_reduce_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_IR_REQUIRE(m, n, "C1", n->in[0]->type.rank >= 1, "reduces a scalar");
    results[0] = n->in[0]->type;
    results[0].dim[--results[0].rank] = 0;
    return RLX_OK;
}

rlx_status rlx_lir_reduce_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->kind == RLX_TYPE_TILE && x->rank >= 1, "reduces %s",
                   rlx_lir_type_text(m, x));
    int64_t extent = x->dim[x->rank - 1];
    RLX_IR_REQUIRE(m, n, "C2", extent > 0 && (extent & (extent - 1)) == 0,
                   "the last extent %lld is not a power of two", (long long)extent);
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    RLX_IR_REQUIRE(m, n, "C3", fn == RLX_FN_ADD || fn == RLX_FN_MAX, "fn is neither add nor max");
    RLX_IR_REQUIRE(m, n, "C4", x->format != RLX_BOOL, "reduces bools");
    return RLX_OK;
}
