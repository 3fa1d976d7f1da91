#include "jit/spirv_emit.h"

#include <assert.h>

/* Loads and stores, one element at a time: each invocation addresses its own, and branches around
 * elements that are not its own to touch, so that nothing outside is ever addressed. Elements of
 * block formats are decoded as they are loaded (spirv_blocks.c).
 *
 * To global memory a team is one thread: a barrier is put on both sides of a store, and stays where
 * another invocation's access to any buffer may meet it (spirv_barriers.c).
 *
 * Elements narrower than what the device stores lie in words: they are shifted out of theirs, and
 * put into it by two atomic instructions, since another invocation may own the rest of it. */

static rlx_spirv_id both(rlx_spirv_emit *e, rlx_spirv_id a, rlx_spirv_id b)
{
    return a ? rlx_spirv_op(&e->m, SpvOpLogicalAnd, e->bool_, a, b) : b;
}

/* ---- where ---- */

static bool is_blocks(const rlx_ir_type *t)
{
    return rlx_format_get(t->format)->kind == RLX_KIND_BLOCK;
}

/* How far apart neighbours along an axis are: elements; bytes of blocks. 0: one. */
static rlx_spirv_id stride_of(rlx_spirv_emit *e, const rlx_spirv_buffer *buffer, int axis)
{
    const rlx_format_info *info = rlx_format_get(buffer->type->format);
    int64_t elems = 1;
    if (info->block_elems == 1)
        return buffer->stride[axis];
    for (int i = axis + 1; i < buffer->type->rank; i++) {
        if (!rlx_dim_is_const(buffer->type->dim[i])) { /* the innermost axis has whole blocks */
            rlx_spirv_id blocks = rlx_spirv_op(&e->m, SpvOpUDiv, e->u32, buffer->stride[axis],
                                               rlx_spirv_u32(e, info->block_elems));
            return rlx_spirv_mul(e, blocks, rlx_spirv_u32(e, info->block_bytes));
        }
        elems *= buffer->type->dim[i];
    }
    return rlx_spirv_u32(e, elems / info->block_elems * info->block_bytes);
}

static rlx_spirv_id times(rlx_spirv_emit *e, rlx_spirv_id index, rlx_spirv_id stride)
{
    return stride ? rlx_spirv_mul(e, index, stride) : index;
}

static rlx_spirv_id low_word(rlx_spirv_emit *e, rlx_spirv_id v)
{
    return rlx_spirv_op(&e->m, SpvOpUConvert, e->u32, v);
}

/* The place along the innermost axis: whole blocks of it go to the base. */
static void split_blocks(rlx_spirv_emit *e, const rlx_ir_value *index, rlx_spirv_access *a)
{
    const rlx_format_info *info = rlx_format_get(a->buffer->type->format);
    rlx_spirv_id at = low_word(e, rlx_spirv_scalar(e, index));
    uint32_t unit = (uint32_t)info->block_elems;
    if (a->part == RLX_LIR_SCALE || a->part == RLX_LIR_MIN)
        unit /= (uint32_t)rlx_format_group(a->buffer->type->format);
    if (rlx_lir_divisor(index) % unit != 0) {
        a->inner = at;
        return;
    }
    rlx_spirv_id blocks = at;
    if (unit > 1)
        blocks = rlx_spirv_op(&e->m, SpvOpShiftRightLogical, e->u32, at,
                              rlx_spirv_u32(e, __builtin_ctz(unit)));
    rlx_spirv_id bytes = rlx_spirv_mul(e, blocks, rlx_spirv_u32(e, info->block_bytes));
    a->base = a->base ? rlx_spirv_add(e, a->base, bytes) : bytes;
}

/* limit - index, as u32: 0 when nothing is inside; capped, which a tile's extent does not reach. */
static rlx_spirv_id room_of(rlx_spirv_emit *e, rlx_spirv_id limit, rlx_spirv_id index)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id zero = rlx_spirv_const_i64(m, 0), most = rlx_spirv_const_i64(m, INT32_MAX);
    rlx_spirv_id room = rlx_spirv_op(m, SpvOpISub, e->i64, limit, index);
    rlx_spirv_id more = rlx_spirv_op(m, SpvOpSLessThan, e->bool_, most, room);
    room = rlx_spirv_op(m, SpvOpSelect, e->i64, more, most, room);
    rlx_spirv_id less = rlx_spirv_op(m, SpvOpSLessThan, e->bool_, room, zero);
    return low_word(e, rlx_spirv_op(m, SpvOpSelect, e->i64, less, zero, room));
}

void rlx_spirv_access_init(rlx_spirv_emit *e, const rlx_ir_node *n, const rlx_ir_type *tile,
                           rlx_spirv_access *a)
{
    const rlx_spirv_buffer *buffer = rlx_spirv_get(e, n->in[0])->buffer;
    int first = n->op == RLX_LIR_STORE ? 2 : 1, rank = buffer->type->rank;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    *a = (rlx_spirv_access){.node = n,
                            .buffer = buffer,
                            .tile = tile,
                            .part = rlx_lir_part_of(n),
                            .blocks = is_blocks(buffer->type)};
    for (int i = 0; i < rank - a->blocks; i++) {
        rlx_spirv_id index = low_word(e, rlx_spirv_scalar(e, n->in[first + i]));
        index = times(e, index, stride_of(e, buffer, i));
        a->base = a->base ? rlx_spirv_add(e, a->base, index) : index;
    }
    if (a->blocks)
        split_blocks(e, n->in[first + rank - 1], a);
    if (!a->base)
        a->base = rlx_spirv_u32(e, 0);
    for (int i = 0; i < tile->rank; i++)
        a->stride[i] = stride_of(e, buffer, (int)axes->ints[i]);
    for (int i = 0; limits && i < limits->n; i++) {
        int axis = (int)limits->ints[i];
        a->room[axis] = room_of(e, rlx_spirv_scalar(e, n->in[first + rank + i]),
                                rlx_spirv_scalar(e, n->in[first + axes->ints[axis]]));
    }
}

/* Whether the element may be touched; 0: always. `live` is what is known of it so far. */
rlx_spirv_id rlx_spirv_inside(rlx_spirv_emit *e, const rlx_spirv_access *a,
                              const rlx_spirv_place *p, rlx_spirv_id live)
{
    for (int i = 0; i < a->tile->rank; i++)
        if (a->room[i])
            live = both(e, live,
                        rlx_spirv_op(&e->m, SpvOpULessThan, e->bool_, rlx_spirv_number(e, p->at[i]),
                                     a->room[i]));
    return live;
}

/* The element's number in the buffer; of blocks: the byte of its row. */
static rlx_spirv_id index_of(rlx_spirv_emit *e, const rlx_spirv_access *a, const rlx_spirv_place *p)
{
    rlx_spirv_id index = a->base;
    for (int i = 0; i < a->tile->rank - a->blocks; i++)
        index = rlx_spirv_add(e, index, times(e, rlx_spirv_number(e, p->at[i]), a->stride[i]));
    return index;
}

static rlx_spirv_id pointer_to(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id index)
{
    if (b->type->space != RLX_SPACE_GLOBAL)
        return rlx_spirv_op(&e->m, SpvOpAccessChain, b->pointer, b->variable, index);
    if (b->far) /* indices have signs */
        index = rlx_spirv_op(&e->m, SpvOpUConvert, e->i64, index);
    return rlx_spirv_op(&e->m, SpvOpAccessChain, b->pointer, b->variable, rlx_spirv_u32(e, 0),
                        index);
}

/* How a buffer is accessed, as operands; how many. */
static int access_words(const rlx_spirv_emit *e, const rlx_spirv_buffer *b, uint32_t *words)
{
    const bool met = e->m.vulkan_memory && b->met;
    words[0] = (b->far ? SpvMemoryAccessAlignedMask : 0) |
               (met ? SpvMemoryAccessNonPrivatePointerMask : 0);
    words[1] = (uint32_t)b->unit_bytes;
    return b->far ? 2 : met;
}

/* What a pointer from pointer_to leads to. */
static rlx_spirv_id load_from(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id type,
                              rlx_spirv_id pointer)
{
    uint32_t words[3] = {pointer};
    const int n = 1 + access_words(e, b, words + 1);
    return rlx_spirv_put_result(&e->m, SpvOpLoad, type, 0, n, words);
}

static void store_to(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id pointer,
                     rlx_spirv_id x)
{
    uint32_t words[4] = {pointer, x};
    const int n = 2 + access_words(e, b, words + 2);
    rlx_spirv_put(&e->m, RLX_SPIRV_BODY, SpvOpStore, n, words);
}

/* ---- narrow elements in words ---- */

/* Of element (or byte) `index`: its word, or what else the buffer is an array of, and the bit that it begins at. */
static rlx_spirv_id word_of(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id index,
                            int bytes, rlx_spirv_id *bit)
{
    rlx_spirv_module *m = &e->m;
    uint32_t per = (uint32_t)(b->unit_bytes / bytes);
    rlx_spirv_id in = rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, index, rlx_spirv_u32(e, per - 1));
    *bit = rlx_spirv_mul(e, in, rlx_spirv_u32(e, 8 * bytes));
    return pointer_to(e, b,
                      rlx_spirv_op(m, SpvOpShiftRightLogical, e->u32, index,
                                   rlx_spirv_u32(e, __builtin_ctz(per))));
}

static rlx_spirv_id load_narrow(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id index,
                                int bytes)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id bit, at = word_of(e, b, index, bytes, &bit);
    rlx_spirv_id word = load_from(e, b, rlx_spirv_type_int(m, 8 * b->unit_bytes), at);
    if (b->unit_bytes < 4)
        word = rlx_spirv_op(m, SpvOpUConvert, e->u32, word);
    word = rlx_spirv_op(m, SpvOpShiftRightLogical, e->u32, word, bit);
    return rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, word, rlx_spirv_u32(e, (1 << 8 * bytes) - 1));
}

static void store_narrow(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id index,
                         int bytes, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id ones = rlx_spirv_u32(e, (1 << 8 * bytes) - 1), bit;
    rlx_spirv_id at = word_of(e, b, index, bytes, &bit);
    const SpvScope all = m->vulkan_memory ? SpvScopeQueueFamily : SpvScopeDevice;
    rlx_spirv_id scope = rlx_spirv_u32(e, all), relaxed = rlx_spirv_u32(e, 0);
    x = rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, x, ones);
    x = rlx_spirv_op(m, SpvOpShiftLeftLogical, e->u32, x, bit);
    rlx_spirv_id others = rlx_spirv_op(m, SpvOpShiftLeftLogical, e->u32, ones, bit);
    others = rlx_spirv_op(m, SpvOpNot, e->u32, others);
    rlx_spirv_op(m, SpvOpAtomicAnd, e->u32, at, scope, relaxed, others);
    rlx_spirv_op(m, SpvOpAtomicOr, e->u32, at, scope, relaxed, x);
    m->met = false;
}

/* ---- one element ---- */

/* `bytes` that are one of what the buffer is an array of, or lie in one. */
static rlx_spirv_id load_piece(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id at,
                               int bytes)
{
    rlx_spirv_module *m = &e->m;
    if (bytes > 1) /* their number */
        at = rlx_spirv_op(m, SpvOpShiftRightLogical, e->u32, at,
                          rlx_spirv_u32(e, __builtin_ctz((unsigned)bytes)));
    if (b->unit_bytes > bytes)
        return load_narrow(e, b, at, bytes);
    rlx_spirv_id type = rlx_spirv_type_int(m, 8 * bytes);
    rlx_spirv_id x = load_from(e, b, type, pointer_to(e, b, at));
    return bytes < 4 ? rlx_spirv_op(m, SpvOpUConvert, e->u32, x) : x;
}

rlx_spirv_id rlx_spirv_load_bytes(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id at,
                                  int bytes, int align)
{
    rlx_spirv_module *m = &e->m;
    int piece = align < b->unit_bytes ? align : b->unit_bytes;
    piece = bytes < piece ? bytes : piece;
    rlx_spirv_id word = 0;
    for (int i = 0; i < bytes; i += piece) {
        rlx_spirv_id where = i ? rlx_spirv_add(e, at, rlx_spirv_u32(e, i)) : at;
        rlx_spirv_id x = load_piece(e, b, where, piece);
        if (i)
            x = rlx_spirv_op(m, SpvOpShiftLeftLogical, e->u32, x, rlx_spirv_u32(e, 8 * i));
        word = word ? rlx_spirv_op(m, SpvOpBitwiseOr, e->u32, word, x) : x;
    }
    return word;
}

/* As registers hold the buffer's format. */
static rlx_spirv_id load_element(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id index)
{
    rlx_format f = b->type->format;
    int bytes = rlx_format_get(f)->block_bytes;
    bool global = b->type->space == RLX_SPACE_GLOBAL;
    if (global && b->unit_bytes != bytes)
        return rlx_spirv_from_bits(e, f, load_narrow(e, b, index, bytes));
    rlx_spirv_id type = global ? rlx_spirv_storage_type(e, f) : rlx_spirv_team_type(e, f);
    rlx_spirv_id x = load_from(e, b, type, pointer_to(e, b, index));
    if (global)
        return rlx_spirv_from_storage(e, f, x);
    return f == RLX_BOOL ? rlx_spirv_op(&e->m, SpvOpINotEqual, e->bool_, x, rlx_spirv_u32(e, 0))
                         : x;
}

static void store_element(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id index,
                          rlx_spirv_id x)
{
    rlx_format f = b->type->format;
    int bytes = rlx_format_get(f)->block_bytes;
    bool global = b->type->space == RLX_SPACE_GLOBAL;
    if (f == RLX_BOOL)
        x = rlx_spirv_op(&e->m, SpvOpSelect, e->u32, x, rlx_spirv_u32(e, 1), rlx_spirv_u32(e, 0));
    if (global && b->unit_bytes != bytes) {
        store_narrow(e, b, index, bytes, x);
        return;
    }
    if (global)
        x = rlx_spirv_to_storage(e, f, x);
    store_to(e, b, pointer_to(e, b, index), x);
}

/* A place along the innermost axis of blocks, from where their base is. */
static rlx_decode_number along_blocks(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                      const rlx_spirv_place *p)
{
    rlx_decode_number along = p->at[a->tile->rank - 1];
    if (a->inner) {
        along.v = along.v ? rlx_spirv_add(e, (rlx_spirv_id)along.v, a->inner) : a->inner;
        along.multiple = 1;
        along.below = 0;
    }
    return along;
}

rlx_spirv_id rlx_spirv_load_codes(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                  const rlx_spirv_place *p)
{
    rlx_spirv_id index = index_of(e, a, p);
    if (!a->blocks)
        return rlx_spirv_load_bytes(e, a->buffer, index, 4, 4);
    rlx_decode_number along = along_blocks(e, a, p);
    if (a->inner)
        along.multiple = 4;
    return rlx_spirv_load_block_codes(e, a, index, along);
}

/* What the load takes of a place, in its own format. */
static rlx_spirv_id load_place(rlx_spirv_emit *e, const rlx_spirv_access *a,
                               const rlx_spirv_place *p)
{
    rlx_spirv_id index = index_of(e, a, p);
    if (!a->blocks)
        return load_element(e, a->buffer, index);
    return rlx_spirv_load_block(e, a, index, along_blocks(e, a, p));
}

/* The format that load_place gives. */
static rlx_format loaded_format(const rlx_spirv_access *a)
{
    if (!a->blocks)
        return a->buffer->type->format;
    return a->part == RLX_LIR_CODES ? a->tile->format : RLX_F32;
}

rlx_spirv_id rlx_spirv_load_place(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                  const rlx_spirv_place *p, rlx_spirv_id live)
{
    rlx_spirv_module *m = &e->m;
    rlx_format f = loaded_format(a);
    live = rlx_spirv_inside(e, a, p, live);
    if (!live)
        return rlx_spirv_cast(e, f, a->tile->format, load_place(e, a, p));
    rlx_spirv_id before = m->block, in = rlx_spirv_new_id(m), join = rlx_spirv_new_id(m);
    rlx_spirv_select_branch(m, live, in, join, join);
    rlx_spirv_label(m, in);
    rlx_spirv_id x = load_place(e, a, p);
    rlx_spirv_branch(m, join);
    rlx_spirv_label(m, join);
    x = rlx_spirv_op(m, SpvOpPhi, rlx_spirv_value_type(e, f), rlx_spirv_zero(e, f), before, x, in);
    return rlx_spirv_cast(e, f, a->tile->format, x);
}

/* ---- tiles ---- */

rlx_status rlx_spirv_load(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_access a;
    rlx_spirv_tile *out;
    rlx_spirv_access_init(e, n, &n->out[0]->type, &a);
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        rlx_spirv_id valid;
        rlx_spirv_place at = rlx_spirv_own_place(e, a.tile, p, &valid);
        out->part[p] = rlx_spirv_load_place(e, &a, &at, valid);
    }
    return RLX_OK;
}

static void store_if(rlx_spirv_emit *e, const rlx_spirv_access *a, rlx_spirv_id index,
                     rlx_spirv_id live, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    if (!live) {
        store_element(e, a->buffer, index, x);
        return;
    }
    rlx_spirv_id in = rlx_spirv_new_id(m), join = rlx_spirv_new_id(m);
    rlx_spirv_select_branch(m, live, in, join, join);
    rlx_spirv_label(m, in);
    store_element(e, a->buffer, index, x);
    rlx_spirv_branch(m, join);
    rlx_spirv_label(m, join);
}

rlx_status rlx_spirv_store(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->in[1]->type;
    rlx_spirv_access a;
    rlx_spirv_access_init(e, n, type, &a);
    const rlx_spirv_tile *in = rlx_spirv_get(e, n->in[1]);
    bool global = a.buffer->type->space == RLX_SPACE_GLOBAL;
    if (global)
        rlx_spirv_barrier(&e->m);
    for (int p = 0; p < in->n; p++) {
        rlx_spirv_id live;
        rlx_spirv_place at = rlx_spirv_own_place(e, type, p, &live);
        if (type->rank == 0) /* one invocation is enough */
            live = rlx_spirv_op(&e->m, SpvOpIEqual, e->bool_, e->thread, rlx_spirv_u32(e, 0));
        live = rlx_spirv_inside(e, &a, &at, live);
        rlx_spirv_id index = index_of(e, &a, &at);
        store_if(e, &a, index, live,
                 rlx_spirv_cast(e, type->format, a.buffer->type->format, in->part[p]));
    }
    if (global)
        rlx_spirv_barrier(&e->m);
    return RLX_OK;
}
