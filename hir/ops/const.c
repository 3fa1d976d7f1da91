/* hir/ops/const.c: a number
 *   in   none                                          out  f32, rank 0
 *   C1  the value is given and finite.
 */
#include "hir/ops/ops.h"

#include <math.h>

rlx_status rlx_hir_const_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_attr *value = rlx_ir_attr(n, RLX_ATTR_VALUE);
    RLX_IR_REQUIRE(m, n, "C1", value && isfinite((float)value->f), "the value is %s",
                   value ? "not finite in f32" : "missing");
    return RLX_OK;
}

rlx_status rlx_hir_const_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_const_verify(m, n));
    results[0] = rlx_ir_tensor(RLX_F32, 0, NULL);
    return RLX_OK;
}

rlx_status rlx_hir_const_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                              rlx_eval_tensor *out)
{
    (void)in;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    *(float *)out[0].data = (float)rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0);
    return RLX_OK;
}

void rlx_hir_const_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    (void)in;
    out[0] = rlx_mir_build_const(b, RLX_F32, rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0));
}
