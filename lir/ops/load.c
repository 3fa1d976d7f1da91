/* lir/ops/load.c: a tile from a buffer
 *   in   buffer; one i64 index per buffer axis; one i64 limit per entry of limits
 *   out  the written tile: element j is buffer[index + j along axes], decoded; 0 beyond limits
 *   C1..C5  as lir/ops/access.c has them.
 *   C6  the tile's format is the buffer's, or f32 or f64 when the buffer holds floats, or f32 when
 *       it holds blocks.
 *   C7  blocks: the tile's last axis runs along the innermost buffer axis and has a multiple of 16
 *       elements, and the index along it is a multiple of 16 by its making: constants, multiples,
 *       sums, and what a for counts from and by such numbers.
 *   C8..  with part: lir/ops/part.c, in place of C6 and C7. */
#include <string.h>

#include "lir/ops/access.h"

static rlx_status verify_blocks(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *buffer = &n->in[0]->type, *tile = &n->out[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    RLX_IR_REQUIRE(m, n, "C7",
                   tile->rank > 0 && axes->ints[tile->rank - 1] == buffer->rank - 1 &&
                       tile->dim[tile->rank - 1] % RLX_BLOCK_GROUP == 0,
                   "the tile's last axis takes no runs of %d elements from the blocks",
                   RLX_BLOCK_GROUP);
    int64_t divisor = rlx_lir_divisor(n->in[buffer->rank]);
    RLX_IR_REQUIRE(m, n, "C7", divisor % RLX_BLOCK_GROUP == 0,
                   "the index into blocks is known to be a multiple of %lld, not of %d",
                   (long long)divisor, RLX_BLOCK_GROUP);
    return RLX_OK;
}

rlx_status rlx_lir_load_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_lir_verify_access(m, n, &n->out[0]->type, 1));
    if (rlx_ir_attr(n, RLX_ATTR_PART))
        return rlx_lir_verify_part(m, n);
    rlx_format from = n->in[0]->type.format, to = n->out[0]->type.format;
    bool blocks = rlx_format_get(from)->kind == RLX_KIND_BLOCK;
    bool floats = rlx_format_is_float(from) && (to == RLX_F32 || to == RLX_F64);
    RLX_IR_REQUIRE(m, n, "C6", from == to || floats || (blocks && to == RLX_F32),
                   "%s does not decode to %s", rlx_format_get(from)->name,
                   rlx_format_get(to)->name);
    return blocks ? verify_blocks(m, n) : RLX_OK;
}

rlx_status rlx_lir_load_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_memory *b = i->memory;
    const rlx_lir_tile *r = i->out[0];
    rlx_lir_span s;
    if (i->part)
        return rlx_lir_load_part_eval(e, i);
    RLX_TRY(rlx_lir_access_span(e, i, r, &s));
    if (!s.whole)
        memset(r->data, 0, r->bytes); /* zero in every format */
    size_t bytes = rlx_format_bytes(r->format, 1);
    for (int64_t x = 0; x < s.count[0]; x++) {
        for (int64_t y = 0; y < s.count[1] && s.count[2] > 0; y++) {
            int64_t first = s.first + x * s.stride[0] + y * s.stride[1];
            if (b->shadow)
                RLX_TRY(rlx_lir_shadow_load(e, i, first, s.stride[2], s.count[2]));
            uint8_t *to = (uint8_t *)r->data + (size_t)((x * s.dim[1] + y) * s.dim[2]) * bytes;
            if (b->block_elems > 1)
                rlx_format_decode(b->format, b->data, first, s.count[2], (float *)to);
            else
                rlx_lir_convert(to, r->format, 1, b->data + (size_t)first * b->elem_bytes,
                                b->format, s.stride[2], s.count[2]);
        }
    }
    return RLX_OK;
}
