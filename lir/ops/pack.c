/* lir/ops/pack.c: rows turned into columns, `width` elements of a row staying together
 *   in   x T<NxK>      out  T<K/width x N*width>
 *   C1  x has rank 2.      C2  width is positive and divides K. */
#include <string.h>

#include "lir/lir_eval.h"

static rlx_status check(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    RLX_IR_REQUIRE(m, n, "C1", x->kind == RLX_TYPE_TILE && x->rank == 2, "operand 0 is %s",
                   rlx_lir_type_text(m, x));
    RLX_IR_REQUIRE(m, n, "C2", width > 0 && x->dim[1] % width == 0,
                   "a row of %lld is not cut by %lld", (long long)x->dim[1], (long long)width);
    return RLX_OK;
}

rlx_status rlx_lir_pack_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(check(m, n));
    int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1);
    results[0] = n->in[0]->type;
    results[0].dim[0] = n->in[0]->type.dim[1] / width;
    results[0].dim[1] = n->in[0]->type.dim[0] * width;
    return RLX_OK;
}

rlx_status rlx_lir_pack_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    return check(m, n);
}

rlx_status rlx_lir_pack_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    const rlx_lir_tile *x = i->in[0], *r = i->out[0];
    int32_t rows = x->dim[0], steps = r->dim[0];
    size_t run = x->bytes / (size_t)rows / (size_t)steps; /* bytes that stay together */
    for (int32_t n = 0; n < rows; n++)
        for (int32_t k = 0; k < steps; k++)
            memcpy((uint8_t *)r->data + ((size_t)k * (size_t)rows + (size_t)n) * run,
                   (const uint8_t *)x->data + ((size_t)n * (size_t)steps + (size_t)k) * run, run);
    return RLX_OK;
}
