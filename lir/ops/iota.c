/* lir/ops/iota.c: the index along the last axis
 *   out  the written tile type
 *   C1  the result is a tile.      C2  of integers, of rank 1 or more.
 *   C3  the last index fits the format. */
#include "lir/lir_eval.h"

rlx_status rlx_lir_iota_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    RLX_IR_REQUIRE(m, n, "C2", rlx_format_is_int(t->format) && t->rank >= 1,
                   "%s: an iota is a tile of integers with an axis", rlx_lir_type_text(m, t));
    const rlx_format_info *info = rlx_format_get(t->format);
    int bits = info->block_bytes * 8 - (info->kind == RLX_KIND_INT);
    RLX_IR_REQUIRE(m, n, "C3", bits >= 31 || t->dim[t->rank - 1] <= (int64_t)1 << bits,
                   "index %lld does not fit %s", (long long)t->dim[t->rank - 1] - 1, info->name);
    return RLX_OK;
}

rlx_status rlx_lir_iota_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    const rlx_lir_tile *r = i->out[0];
    for (int32_t k = 0; k < r->elems; k++)
        rlx_lir_scalar_store(r->format, r->data, k, (rlx_scalar){.i = k % r->dim[r->rank - 1]});
    return RLX_OK;
}
