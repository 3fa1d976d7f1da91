/* lir/ops/store.c: a tile to a buffer
 *   in   buffer; tile; one i64 index per buffer axis; one i64 limit per entry of limits
 *   C1..C5  as lir/ops/access.c has them.
 *   C6  the tile's format is the buffer's, or both are floats (rounding to nearest even).
 *   C7  async is 1: a team buffer; no limits; the tile is what a load of a global buffer of its format gave, in
 *       the same block, and nothing else uses. */
#include "lir/ops/access.h"

static rlx_status verify_async(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *to = &n->in[0]->type;
    const rlx_ir_node *load = n->in[1]->def;
    RLX_IR_REQUIRE(m, n, "C7", rlx_ir_attr_int(n, RLX_ATTR_ASYNC, 0) == 1,
                   "async is 1, or not there at all");
    RLX_IR_REQUIRE(m, n, "C7", to->space == RLX_SPACE_TEAM && !rlx_ir_attr(n, RLX_ATTR_LIMITS),
                   "an async store to %s", rlx_lir_type_text(m, to));
    RLX_IR_REQUIRE(m, n, "C7",
                   load && load->op == RLX_LIR_LOAD && load->parent == n->parent &&
                       load->in[0]->type.space == RLX_SPACE_GLOBAL,
                   "what is stored async is not loaded from a global buffer in the same block");
    RLX_IR_REQUIRE(m, n, "C7",
                   load->in[0]->type.format == to->format && n->in[1]->type.format == to->format,
                   "an async store changes the format");
    RLX_IR_REQUIRE(m, n, "C7", rlx_ir_count_uses(n->parent, n->in[1]) <= 1,
                   "what is stored async is used elsewhere, too");
    return RLX_OK;
}

rlx_status rlx_lir_store_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_lir_verify_access(m, n, &n->in[1]->type, 2));
    rlx_format from = n->in[1]->type.format, to = n->in[0]->type.format;
    RLX_IR_REQUIRE(m, n, "C6", from == to || (rlx_format_is_float(from) && rlx_format_is_float(to)),
                   "%s does not round to %s", rlx_format_get(from)->name, rlx_format_get(to)->name);
    return rlx_ir_attr(n, RLX_ATTR_ASYNC) ? verify_async(m, n) : RLX_OK;
}

rlx_status rlx_lir_store_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_memory *b = i->memory;
    const rlx_lir_tile *t = i->in[1];
    rlx_lir_span s;
    if (i->source && i->source->shadow)
        return RLX_LIR_EVAL_FAIL(e, i, "copies async from memory that the kernel stores to");
    RLX_TRY(rlx_lir_access_span(e, i, t, &s));
    size_t bytes = rlx_format_bytes(t->format, 1);
    for (int64_t x = 0; x < s.count[0]; x++) {
        for (int64_t y = 0; y < s.count[1] && s.count[2] > 0; y++) {
            int64_t first = s.first + x * s.stride[0] + y * s.stride[1];
            if (b->shadow)
                RLX_TRY(rlx_lir_shadow_store(e, i, first, s.stride[2], s.count[2]));
            rlx_lir_convert(b->data + (size_t)first * b->elem_bytes, b->format, s.stride[2],
                            (const uint8_t *)t->data +
                                (size_t)((x * s.dim[1] + y) * s.dim[2]) * bytes,
                            t->format, 1, s.count[2]);
        }
    }
    return RLX_OK;
}
