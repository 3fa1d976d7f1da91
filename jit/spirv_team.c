#include "jit/spirv_emit.h"

#include "lir/lir_team.h"

/* Tiles spread over the invocations of a workgroup: the layout and the order of everything are
 * those of llvm_team.c.
 *
 * Element e of a tile (row-major) lies in part e / team of invocation e mod team; scalars (rank 0)
 * are in every invocation. Where an invocation needs others' elements (broadcast, reduce, contract)
 * the tile goes through the exchange, an array of words in workgroup memory: write own elements,
 * barrier, read what is needed, barrier. Parts beyond the tile's end hold anything; they are
 * written to the padding of the exchange and never stored.
 */

/* ---- which element is whose ---- */

/* The number of this invocation's element in a part; *valid: 0 when it always is one. */
static rlx_spirv_id element(rlx_spirv_emit *e, const rlx_ir_type *tile, int part,
                            rlx_spirv_id *valid)
{
    int64_t first = (int64_t)part * e->team, elems = rlx_spirv_elems(tile);
    rlx_spirv_id n = part ? rlx_spirv_add(e, e->thread, rlx_spirv_u32(e, first)) : e->thread;
    *valid = 0;
    if (first + e->team > elems)
        *valid = rlx_spirv_op(&e->m, SpvOpULessThan, e->bool_, n, rlx_spirv_u32(e, elems));
    return n;
}

/* The same with some element of the tile for parts beyond its end. */
rlx_spirv_id rlx_spirv_some_element(rlx_spirv_emit *e, const rlx_ir_type *tile, int part)
{
    rlx_spirv_id valid, n = element(e, tile, part, &valid);
    return valid ? rlx_spirv_op(&e->m, SpvOpSelect, e->u32, valid, n, rlx_spirv_u32(e, 0)) : n;
}

/* Where element n is. */
rlx_spirv_place rlx_spirv_place_of(rlx_spirv_emit *e, const rlx_ir_type *tile, rlx_spirv_id n)
{
    rlx_spirv_place p = {0};
    for (int i = tile->rank - 1; i >= 0; i--) {
        rlx_spirv_id extent = rlx_spirv_u32(e, tile->dim[i]);
        p.at[i] = (rlx_decode_number){.multiple = 1, .below = (uint32_t)tile->dim[i]};
        p.at[i].v = i ? rlx_spirv_op(&e->m, SpvOpUMod, e->u32, n, extent) : n;
        if (i)
            n = rlx_spirv_op(&e->m, SpvOpUDiv, e->u32, n, extent);
    }
    return p;
}

static rlx_spirv_id along(const rlx_spirv_place *p, int axis)
{
    return (rlx_spirv_id)p->at[axis].v;
}

rlx_spirv_place rlx_spirv_own_place(rlx_spirv_emit *e, const rlx_ir_type *tile, int part,
                                    rlx_spirv_id *valid)
{
    *valid = 0;
    if (tile->rank == 0)
        return (rlx_spirv_place){0};
    return rlx_spirv_place_of(e, tile, element(e, tile, part, valid));
}

/* ---- exchange ---- */

static int words_of(rlx_format f)
{
    return rlx_spirv_team_elem_bytes(f) / 4;
}

/* Words that a tile takes in the exchange, padding included. */
int64_t rlx_spirv_tile_words(const rlx_spirv_emit *e, const rlx_ir_type *t)
{
    return (int64_t)rlx_spirv_parts(e, t) * e->team * words_of(t->format);
}

int64_t rlx_spirv_exchange_words(const rlx_spirv_emit *e, const rlx_ir_block *block)
{
    int64_t most = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        int64_t words = 0;
        if ((n->op == RLX_LIR_REDUCE && rlx_lir_reduce_way(n, 0) != RLX_LIR_KEPT) ||
            (n->op == RLX_LIR_BROADCAST && n->in[0]->type.rank))
            words = rlx_spirv_tile_words(e, &n->in[0]->type);
        const bool products =
            n->op == RLX_LIR_CONTRACT || n->op == RLX_LIR_OUTER || n->op == RLX_LIR_DOT;
        for (int i = products; i < (products ? n->nin : n->op == RLX_LIR_PACK); i++)
            words += rlx_spirv_defers(n->in[i]->def) ? 0 : rlx_spirv_tile_words(e, &n->in[i]->type);
        if (n->op == RLX_LIR_DOT_ROWS)
            words = rlx_spirv_matrix_words(e, n);
        for (int i = 0; i < n->nblock; i++) {
            int64_t nested = rlx_spirv_exchange_words(e, n->blocks[i]);
            words = nested > words ? nested : words;
        }
        most = words > most ? words : most;
    }
    return most;
}

rlx_spirv_id rlx_spirv_exchange_at(rlx_spirv_emit *e, rlx_spirv_id index)
{
    rlx_spirv_id pointer = rlx_spirv_type_pointer(&e->m, SpvStorageClassWorkgroup, e->u32);
    if (e->m.vulkan_memory)
        return rlx_spirv_op(&e->m, SpvOpAccessChain, pointer, e->exchange, rlx_spirv_u32(e, 0),
                            index);
    return rlx_spirv_op(&e->m, SpvOpAccessChain, pointer, e->exchange, index);
}

void rlx_spirv_put_word(rlx_spirv_emit *e, rlx_spirv_id index, rlx_spirv_id word)
{
    rlx_spirv_id at = rlx_spirv_exchange_at(e, index);
    if (e->m.vulkan_memory)
        rlx_spirv_inst(&e->m, RLX_SPIRV_BODY, SpvOpStore, at, word,
                       SpvMemoryAccessNonPrivatePointerMask);
    else
        rlx_spirv_inst(&e->m, RLX_SPIRV_BODY, SpvOpStore, at, word);
}

rlx_spirv_id rlx_spirv_get_word(rlx_spirv_emit *e, rlx_spirv_id index)
{
    rlx_spirv_id at = rlx_spirv_exchange_at(e, index);
    if (e->m.vulkan_memory)
        return rlx_spirv_op(&e->m, SpvOpLoad, e->u32, at, SpvMemoryAccessNonPrivatePointerMask);
    return rlx_spirv_op(&e->m, SpvOpLoad, e->u32, at);
}

static void put_element(rlx_spirv_emit *e, int64_t base, rlx_format f, rlx_spirv_id index,
                        rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    if (words_of(f) == 2) {
        rlx_spirv_id pair = rlx_spirv_type_vector(m, e->u32, 2);
        x = rlx_spirv_op(m, SpvOpBitcast, pair, x);
        index =
            rlx_spirv_add(e, rlx_spirv_mul(e, index, rlx_spirv_u32(e, 2)), rlx_spirv_u32(e, base));
        rlx_spirv_put_word(e, index, rlx_spirv_op(m, SpvOpCompositeExtract, e->u32, x, 0));
        rlx_spirv_put_word(e, rlx_spirv_add(e, index, rlx_spirv_u32(e, 1)),
                           rlx_spirv_op(m, SpvOpCompositeExtract, e->u32, x, 1));
        return;
    }
    if (f == RLX_BOOL)
        x = rlx_spirv_op(m, SpvOpSelect, e->u32, x, rlx_spirv_u32(e, 1), rlx_spirv_u32(e, 0));
    else if (f == RLX_F32)
        x = rlx_spirv_op(m, SpvOpBitcast, e->u32, x);
    rlx_spirv_put_word(e, base ? rlx_spirv_add(e, index, rlx_spirv_u32(e, base)) : index, x);
}

rlx_spirv_id rlx_spirv_get_element(rlx_spirv_emit *e, int64_t base, rlx_format f,
                                   rlx_spirv_id index)
{
    rlx_spirv_module *m = &e->m;
    if (words_of(f) == 2) {
        rlx_spirv_id pair = rlx_spirv_type_vector(m, e->u32, 2);
        index =
            rlx_spirv_add(e, rlx_spirv_mul(e, index, rlx_spirv_u32(e, 2)), rlx_spirv_u32(e, base));
        rlx_spirv_id x =
            rlx_spirv_op(m, SpvOpCompositeConstruct, pair, rlx_spirv_get_word(e, index),
                         rlx_spirv_get_word(e, rlx_spirv_add(e, index, rlx_spirv_u32(e, 1))));
        return rlx_spirv_op(m, SpvOpBitcast, rlx_spirv_value_type(e, f), x);
    }
    rlx_spirv_id x =
        rlx_spirv_get_word(e, base ? rlx_spirv_add(e, index, rlx_spirv_u32(e, base)) : index);
    if (f == RLX_BOOL)
        return rlx_spirv_op(m, SpvOpINotEqual, e->bool_, x, rlx_spirv_u32(e, 0));
    return f == RLX_F32 ? rlx_spirv_op(m, SpvOpBitcast, e->f32, x) : x;
}

void rlx_spirv_put_parts(rlx_spirv_emit *e, rlx_format f, int n, const rlx_spirv_id *part,
                         int64_t base)
{
    for (int p = 0; p < n; p++) {
        rlx_spirv_id index =
            p ? rlx_spirv_add(e, e->thread, rlx_spirv_u32(e, (int64_t)p * e->team)) : e->thread;
        put_element(e, base, f, index, part[p]);
    }
}

/* Writes a tile to the exchange from word `base`. */
void rlx_spirv_put_tile(rlx_spirv_emit *e, const rlx_ir_value *v, int64_t base)
{
    const rlx_spirv_tile *t = rlx_spirv_get(e, v);
    rlx_spirv_put_parts(e, v->type.format, t->n, t->part, base);
}

/* ---- values ---- */

static rlx_status emit_iota(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    rlx_spirv_tile *out;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        out->part[p] = rlx_spirv_zero(e, type->format);
        if (type->rank) {
            rlx_spirv_id valid, index = element(e, type, p, &valid);
            const rlx_spirv_place at = rlx_spirv_place_of(e, type, index);
            index = along(&at, type->rank - 1);
            out->part[p] = rlx_spirv_cast(e, RLX_I32, type->format, index);
        }
    }
    return RLX_OK;
}

static rlx_status emit_broadcast(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *from = &n->in[0]->type, *to = &n->out[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    rlx_spirv_tile *out;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    if (from->rank == 0) {
        for (int p = 0; p < out->n; p++)
            out->part[p] = rlx_spirv_scalar(e, n->in[0]);
        return RLX_OK;
    }
    rlx_spirv_put_tile(e, n->in[0], 0);
    rlx_spirv_barrier(&e->m);
    for (int p = 0; p < out->n; p++) {
        rlx_spirv_place at = rlx_spirv_place_of(e, to, rlx_spirv_some_element(e, to, p));
        rlx_spirv_id index = along(&at, axes->ints[0]);
        for (int i = 1; i < from->rank; i++)
            index = rlx_spirv_add(e, rlx_spirv_mul(e, index, rlx_spirv_u32(e, from->dim[i])),
                                  along(&at, axes->ints[i]));
        out->part[p] = rlx_spirv_get_element(e, 0, from->format, index);
    }
    rlx_spirv_barrier(&e->m);
    return RLX_OK;
}

rlx_status rlx_spirv_team_node(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    switch (n->op) {
    case RLX_LIR_IOTA:
        return emit_iota(e, n);
    case RLX_LIR_BROADCAST:
        return emit_broadcast(e, n);
    case RLX_LIR_REDUCE:
        return rlx_spirv_reduce(e, n);
    case RLX_LIR_CONTRACT:
        return rlx_spirv_contract(e, n);
    case RLX_LIR_DOT:
        return rlx_spirv_dot(e, n);
    case RLX_LIR_DOT_ROWS:
        return rlx_spirv_dot_rows(e, n);
    case RLX_LIR_OUTER:
        return rlx_spirv_outer(e, n);
    case RLX_LIR_PACK:
        return rlx_spirv_pack(e, n);
    case RLX_LIR_LOAD:
        return rlx_spirv_defers(n) ? RLX_OK : rlx_spirv_load(e, n);
    case RLX_LIR_STORE:
        return rlx_spirv_store(e, n);
    case RLX_LIR_PREFETCH:
        return RLX_OK;
    default:
        return rlx_spirv_unsupported(e, n, "no emitter");
    }
}
