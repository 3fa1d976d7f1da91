/* lir/ops/turn.c: eight groups of bytes side by side, four elements of each
 *   in   x T<NxK> of bytes      out  x's type
 *   C1  x has rank 2 and elements of a byte.      C2  width is 16 or 32.
 *   C3  K is a multiple of eight groups of `width` elements. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_turn_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_turn_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    RLX_IR_REQUIRE(m, n, "C1", x->rank == 2 && (x->format == RLX_I8 || x->format == RLX_U8),
                   "operand 0 is %s", rlx_lir_type_text(m, x));
    RLX_IR_REQUIRE(m, n, "C2", width == 16 || width == 32, "groups of %lld", (long long)width);
    RLX_IR_REQUIRE(m, n, "C3", x->dim[1] % (RLX_LIR_TURN_GROUPS * width) == 0,
                   "eight groups of %lld do not cut a row of %lld", (long long)width,
                   (long long)x->dim[1]);
    return RLX_OK;
}

rlx_status rlx_lir_turn_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_tile *x = i->in[0], *r = i->out[0];
    const int width = (int)rlx_ir_attr_int(i->node, RLX_ATTR_WIDTH, 0);
    (void)e;
    for (int64_t row = 0; row < x->dim[0]; row++)
        for (int64_t k = 0; k < x->dim[1]; k++)
            ((uint8_t *)r->data)[row * x->dim[1] + rlx_lir_turned(k, width)] =
                ((const uint8_t *)x->data)[row * x->dim[1] + k];
    return RLX_OK;
}
