/* mir/ops/const.c: a scalar
 *   in   none                                      out  rank 0, any unblocked format
 *   C1   the result is a tensor of rank 0.
 *   C2   the value is given, and the format holds it exactly (integers: whole and in range;
 *        bool: 0 or 1; floats are rounded, so any). */
#include <math.h>

#include "mir/ops/ops.h"

static bool holds(rlx_format f, double v)
{
    if (rlx_format_is_float(f))
        return true;
    char cell[16] = {0};
    if (v != floor(v) || fabs(v) > 9007199254740992.0) /* 2^53: beyond, a double skips integers */
        return false;
    rlx_mir_store(f, cell, 0, (rlx_scalar){.i = (int64_t)v});
    return rlx_mir_load(f, cell, 0).i == (int64_t)v;
}

rlx_status rlx_mir_const_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", t->kind == RLX_TYPE_TENSOR && t->rank == 0, "is not a scalar");
    const rlx_attr *value = rlx_ir_attr(n, RLX_ATTR_VALUE);
    RLX_IR_REQUIRE(m, n, "C2", value != NULL, "has no value");
    RLX_IR_REQUIRE(m, n, "C2", holds(t->format, value->f), "%g is no %s", value->f,
                   rlx_format_get(t->format)->name);
    return RLX_OK;
}

rlx_status rlx_mir_const_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    double v = rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0);
    rlx_mir_store(y->format, y->data, 0,
                  rlx_format_is_float(y->format) ? (rlx_scalar){.f = v}
                                                 : (rlx_scalar){.i = (int64_t)v});
    return RLX_OK;
}
