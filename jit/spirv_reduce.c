#include "jit/spirv_emit.h"

#include <string.h>

#include "lir/lir_team.h"

/* Rows combined by halves, l with l + n/2, then l + n/4, ..: the pairs are the op's, whoever holds
 * them, so the bits are the same for subgroups of any width and for none.
 *
 *   no subgroups       tile -> exchange; whoever owns a sum reads its row
 *   a row fits into one  each lane takes the other half's by shuffles; sums -> exchange; one read
 *   one row for all      tile -> exchange; every subgroup reads all of it, and goes on by shuffles
 */

static rlx_map_fn fn_of(const rlx_ir_node *n)
{
    return (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
}

static int width_of(const rlx_ir_node *n)
{
    const rlx_ir_type *from = &n->in[0]->type;
    return (int)from->dim[from->rank - 1];
}

/* x[0..width] combined to x[0]. */
static rlx_status halves(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_id *x, int width)
{
    for (width /= 2; width; width /= 2)
        for (int i = 0; i < width; i++) {
            const rlx_spirv_id in[2] = {x[i], x[i + width]};
            RLX_TRY(rlx_spirv_map(e, n, fn_of(n), n->in[0]->type.format, in, &x[i]));
        }
    return RLX_OK;
}

/* Elements first, first + apart, .. of the exchange, combined. */
static rlx_status reduce_run(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_id first, int count,
                             int apart, rlx_spirv_id *out)
{
    rlx_spirv_id *x = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, count);
    if (!x)
        return RLX_OOM();
    for (int i = 0; i < count; i++)
        x[i] = rlx_spirv_get_element(
            e, 0, n->in[0]->type.format,
            i ? rlx_spirv_add(e, first, rlx_spirv_u32(e, (int64_t)i * apart)) : first);
    RLX_TRY(halves(e, n, x, count));
    *out = x[0];
    return RLX_OK;
}

/* ---- subgroups ---- */

static bool by_subgroup(const rlx_spirv_emit *e, const rlx_ir_node *n)
{
    if (n->op != RLX_LIR_REDUCE)
        return false;
    const rlx_lir_way way = rlx_lir_reduce_way(n, e->subgroup);
    return way == RLX_LIR_SHUFFLED || way == RLX_LIR_STRIDED;
}

bool rlx_spirv_uses_subgroups(const rlx_spirv_emit *e, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (by_subgroup(e, n) || n->op == RLX_LIR_DOT_ROWS)
            return true;
        for (int i = 0; i < n->nblock; i++)
            if (rlx_spirv_uses_subgroups(e, n->blocks[i]))
                return true;
    }
    return false;
}

static rlx_spirv_id shuffle(rlx_spirv_emit *e, const rlx_ir_node *n, SpvOp op, rlx_spirv_id x,
                            int lane)
{
    rlx_spirv_capability(&e->m, SpvCapabilityGroupNonUniformShuffle);
    return rlx_spirv_op(&e->m, op, rlx_spirv_value_type(e, n->in[0]->type.format),
                        rlx_spirv_u32(e, SpvScopeSubgroup), x, rlx_spirv_u32(e, lane));
}

/* `width` neighbours' x combined: of the first of them what the op says, of the others the same but
 * for zeros' signs and NaNs, where a maximum takes its operands in another order. */
static rlx_status combine_lanes(rlx_spirv_emit *e, const rlx_ir_node *n, int width, rlx_spirv_id *x)
{
    for (width /= 2; width; width /= 2) {
        const rlx_spirv_id in[2] = {*x, shuffle(e, n, SpvOpGroupNonUniformShuffleXor, *x, width)};
        RLX_TRY(rlx_spirv_map(e, n, fn_of(n), n->in[0]->type.format, in, x));
    }
    return RLX_OK;
}

/* Rows that lie in one subgroup each. */
static rlx_status reduce_rows(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_tile *out)
{
    const rlx_spirv_tile *in = rlx_spirv_get(e, n->in[0]);
    const rlx_format f = n->in[0]->type.format;
    rlx_spirv_id *x = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, in->n);
    if (!x)
        return RLX_OOM();
    for (int p = 0; p < in->n; p++) {
        x[p] = in->part[p];
        RLX_TRY(combine_lanes(e, n, width_of(n), &x[p]));
    }
    rlx_spirv_put_parts(e, f, in->n, x, 0);
    rlx_spirv_barrier(&e->m);
    for (int p = 0; p < out->n; p++) {
        rlx_spirv_id first = rlx_spirv_u32(e, 0);
        if (out->value->type.rank)
            first = rlx_spirv_mul(e, rlx_spirv_some_element(e, &out->value->type, p),
                                  rlx_spirv_u32(e, width_of(n)));
        out->part[p] = rlx_spirv_get_element(e, 0, f, first);
    }
    rlx_spirv_barrier(&e->m);
    return RLX_OK;
}

/* One row, longer than a subgroup, whose sum all invocations want. */
static rlx_status reduce_long_row(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_id *out)
{
    rlx_spirv_put_tile(e, n->in[0], 0);
    rlx_spirv_barrier(&e->m);
    rlx_spirv_id lane =
        rlx_spirv_op(&e->m, SpvOpBitwiseAnd, e->u32, e->thread, rlx_spirv_u32(e, e->subgroup - 1));
    RLX_TRY(reduce_run(e, n, lane, width_of(n) / e->subgroup, e->subgroup, out));
    rlx_spirv_barrier(&e->m);
    RLX_TRY(combine_lanes(e, n, e->subgroup, out));
    if (fn_of(n) == RLX_FN_MAX) /* scalars are the same everywhere */
        *out = shuffle(e, n, SpvOpGroupNonUniformShuffle, *out, 0);
    return RLX_OK;
}

static rlx_status keep_rows(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_tile *out)
{
    const rlx_spirv_tile *in = rlx_spirv_get(e, n->in[0]);
    memcpy(out->part, in->part, sizeof *in->part * (size_t)in->n);
    return RLX_OK;
}

static rlx_status exchange_rows(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_tile *out)
{
    const rlx_ir_type *to = &n->out[0]->type;
    rlx_spirv_put_tile(e, n->in[0], 0);
    rlx_spirv_barrier(&e->m);
    for (int p = 0; p < out->n; p++) {
        rlx_spirv_id first = rlx_spirv_u32(e, 0);
        if (to->rank)
            first =
                rlx_spirv_mul(e, rlx_spirv_some_element(e, to, p), rlx_spirv_u32(e, width_of(n)));
        RLX_TRY(reduce_run(e, n, first, width_of(n), 1, &out->part[p]));
    }
    rlx_spirv_barrier(&e->m);
    return RLX_OK;
}

rlx_status rlx_spirv_reduce(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_tile *out;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    switch (rlx_lir_reduce_way(n, e->subgroup)) {
    case RLX_LIR_KEPT:
        return keep_rows(e, n, out);
    case RLX_LIR_SHUFFLED:
        return reduce_rows(e, n, out);
    case RLX_LIR_STRIDED:
        return reduce_long_row(e, n, &out->part[0]);
    case RLX_LIR_EXCHANGED:
        break;
    }
    return exchange_rows(e, n, out);
}
