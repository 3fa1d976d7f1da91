/* lir/ops/const.c: one value in every element
 *   out  the written tile type
 *   C1  the result is a tile.      C2  float formats have value, integers and bool ivalue, not
 * both. C3  ivalue fits the format. */
#include "lir/lir_eval.h"

static bool fits(int64_t v, rlx_format f)
{
    const rlx_format_info *info = rlx_format_get(f);
    if (info->kind == RLX_KIND_BOOL)
        return v == 0 || v == 1;
    if (info->block_bytes == 8)
        return true;
    int bits = info->block_bytes * 8;
    if (info->kind == RLX_KIND_UINT)
        return v >= 0 && v < (int64_t)1 << bits;
    return v >= -((int64_t)1 << (bits - 1)) && v < (int64_t)1 << (bits - 1);
}

rlx_status rlx_lir_const_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    bool is_float = rlx_format_is_float(t->format);
    const rlx_attr *value = rlx_ir_attr(n, RLX_ATTR_VALUE);
    const rlx_attr *ivalue = rlx_ir_attr(n, RLX_ATTR_IVALUE);
    RLX_IR_REQUIRE(m, n, "C2", is_float ? value && !ivalue : ivalue && !value,
                   "a %s constant has %s and nothing else", rlx_format_get(t->format)->name,
                   is_float ? "value" : "ivalue");
    RLX_IR_REQUIRE(m, n, "C3", is_float || fits(ivalue->i, t->format), "%lld does not fit %s",
                   (long long)ivalue->i, rlx_format_get(t->format)->name);
    return RLX_OK;
}

rlx_status rlx_lir_const_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    const rlx_lir_tile *r = i->out[0];
    rlx_scalar v = {.i = rlx_ir_attr_int(i->node, RLX_ATTR_IVALUE, 0)};
    if (rlx_format_is_float(r->format))
        v.f = rlx_ir_attr_float(i->node, RLX_ATTR_VALUE, 0);
    for (int32_t k = 0; k < r->elems; k++)
        rlx_lir_scalar_store(r->format, r->data, k, v);
    return RLX_OK;
}
