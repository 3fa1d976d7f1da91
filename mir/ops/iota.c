/* mir/ops/iota.c: 0, 1, 2, ..
 *   in   none                                      out  the written integer type of rank 1
 *   C1   the result has rank 1.
 *   C2   integers. */
#include "mir/ops/ops.h"

rlx_status rlx_mir_iota_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", t->kind == RLX_TYPE_TENSOR && t->rank == 1, "is not of rank 1");
    RLX_IR_REQUIRE(m, n, "C2", rlx_format_is_int(t->format), "of %s",
                   rlx_format_get(t->format)->name);
    return RLX_OK;
}

rlx_status rlx_mir_iota_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    for (int64_t i = 0; i < y->dim[0]; i++)
        rlx_mir_store(y->format, y->data, i, (rlx_scalar){.i = i});
    return RLX_OK;
}
