/* lir/ops/prefetch.c: elements of a buffer will be read soon
 *   in   buffer; one i64 index per buffer axis
 *   C1  the first operand is a buffer.      C2  one i64 index per buffer axis.
 *   C3  width is positive; more than one element is of a buffer that has axes. */
#include "lir/ops/access.h"

rlx_status rlx_lir_prefetch_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *buffer = &n->in[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", buffer->kind == RLX_TYPE_BUFFER, "operand 0 is %s, not a buffer",
                   rlx_lir_type_text(m, buffer));
    RLX_IR_REQUIRE(m, n, "C2", n->nin == 1 + buffer->rank, "%d indices of %d axes", n->nin - 1,
                   buffer->rank);
    for (int i = 1; i < n->nin; i++)
        RLX_TRY(rlx_lir_require_index(m, n, "C2", i));
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1);
    RLX_IR_REQUIRE(m, n, "C3", width == 1 || (width > 1 && buffer->rank > 0), "%lld elements",
                   (long long)width);
    return RLX_OK;
}

rlx_status rlx_lir_prefetch_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    (void)i;
    return RLX_OK;
}
