/* lir/ops/part.c: loads of codes, scales and minima from blocks
 *   in   buffer of blocks; indices and limits as in lir/ops/load.c, along the innermost axis in
 *        elements for codes, in groups (rlx_format_group) for scale and min
 *   out  codes: u8, or i8 (rlx_format_signed_codes); scale, min: f32
 *   C8  part is codes, scale or min; the buffer holds blocks, and for min its format has minima.
 *   C9  the tile has that format, and its last axis runs along the innermost buffer axis.
 *   C10 codes: the tile's last extent and the index along it are multiples of 32; scale, min: a
 * last axis without limit is no longer than the groups of a row. */
#include <string.h>

#include "lir/ops/access.h"

enum { CODE_RUN = 32 }; /* elements that codes are taken by */

rlx_lir_part rlx_lir_part_of(const rlx_ir_node *load)
{
    static const char *const names[] = {
        [RLX_LIR_CODES] = "codes", [RLX_LIR_SCALE] = "scale", [RLX_LIR_MIN] = "min"};
    const char *part = rlx_ir_attr_text(load, RLX_ATTR_PART, NULL);
    if (!part)
        return RLX_LIR_DECODED;
    for (int i = RLX_LIR_CODES; i <= RLX_LIR_MIN; i++)
        if (strcmp(part, names[i]) == 0)
            return (rlx_lir_part)i;
    return RLX_LIR_NO_PART;
}

rlx_format rlx_lir_part_format(rlx_format f, const char *part)
{
    if (strcmp(part, "codes") != 0 || rlx_format_get(f)->kind != RLX_KIND_BLOCK)
        return RLX_F32;
    return rlx_format_signed_codes(f) ? RLX_I8 : RLX_U8;
}

static bool has_limit(const rlx_ir_node *n, int axis)
{
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    for (int i = 0; limits && i < limits->n; i++)
        if (limits->ints[i] == axis)
            return true;
    return false;
}

rlx_status rlx_lir_verify_part(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *buffer = &n->in[0]->type, *tile = &n->out[0]->type;
    const char *name = rlx_ir_attr_text(n, RLX_ATTR_PART, ""), *format;
    rlx_lir_part part = rlx_lir_part_of(n);
    format = rlx_format_get(buffer->format)->name;
    RLX_IR_REQUIRE(m, n, "C8", part != RLX_LIR_NO_PART, "part \"%s\": codes, scale and min are",
                   name);
    RLX_IR_REQUIRE(m, n, "C8", rlx_format_get(buffer->format)->kind == RLX_KIND_BLOCK,
                   "%s is no format of blocks", format);
    RLX_IR_REQUIRE(m, n, "C8", part != RLX_LIR_MIN || rlx_format_has_min(buffer->format),
                   "%s has no minima", format);
    rlx_format want = rlx_lir_part_format(buffer->format, name);
    RLX_IR_REQUIRE(m, n, "C9", tile->format == want, "%s of %s is %s, not %s", name, format,
                   rlx_format_get(want)->name, rlx_format_get(tile->format)->name);
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    int last = tile->rank - 1;
    RLX_IR_REQUIRE(m, n, "C9", last >= 0 && axes->ints[last] == buffer->rank - 1,
                   "the tile's last axis does not run along the blocks");
    if (part == RLX_LIR_CODES) {
        int64_t divisor = rlx_lir_divisor(n->in[buffer->rank]);
        RLX_IR_REQUIRE(m, n, "C10", tile->dim[last] % CODE_RUN == 0 && divisor % CODE_RUN == 0,
                       "%lld codes from an index known to be a multiple of %lld: not by %d",
                       (long long)tile->dim[last], (long long)divisor, CODE_RUN);
        return RLX_OK;
    }
    int64_t groups = buffer->dim[buffer->rank - 1] / rlx_format_group(buffer->format);
    RLX_IR_REQUIRE(m, n, "C10", has_limit(n, last) || tile->dim[last] <= groups,
                   "a row has %lld groups, the tile %lld", (long long)groups,
                   (long long)tile->dim[last]);
    return RLX_OK;
}

/* The buffer as one of groups. */
static rlx_lir_memory by_groups(const rlx_lir_memory *b)
{
    rlx_lir_memory g = *b;
    int group = rlx_format_group(b->format);
    g.extent[b->rank - 1] /= group;
    for (int x = 0; x + 1 < b->rank; x++)
        g.stride[x] /= group;
    g.block_elems /= group;
    return g;
}

rlx_status rlx_lir_load_part_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_tile *r = i->out[0];
    rlx_format f = i->memory->format;
    rlx_lir_memory groups = by_groups(i->memory);
    rlx_lir_instr access = *i;
    if (i->part != RLX_LIR_CODES)
        access.memory = &groups;
    rlx_lir_span s;
    RLX_TRY(rlx_lir_access_span(e, &access, r, &s));
    memset(r->data, 0, r->bytes);
    size_t bytes = rlx_format_bytes(r->format, 1);
    for (int64_t x = 0; x < s.count[0]; x++) {
        for (int64_t y = 0; y < s.count[1] && s.count[2] > 0; y++) {
            int64_t first = s.first + x * s.stride[0] + y * s.stride[1];
            void *to = (uint8_t *)r->data + (size_t)((x * s.dim[1] + y) * s.dim[2]) * bytes;
            if (i->part == RLX_LIR_CODES)
                rlx_format_codes(f, i->memory->data, first, s.count[2], to);
            else if (i->part == RLX_LIR_SCALE)
                rlx_format_scales(f, i->memory->data, first, s.count[2], to);
            else
                rlx_format_mins(f, i->memory->data, first, s.count[2], to);
        }
    }
    return RLX_OK;
}
