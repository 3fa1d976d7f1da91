#include "jit/spirv_emit.h"

#include <stdio.h>
#include <string.h>

/* Elements of block formats: the words of jit/block_decode.h as SPIR-V. Tables are private arrays
 * with initial values. */

typedef struct row {
    rlx_spirv_emit *e;
    const rlx_spirv_access *access;
    rlx_spirv_id base; /* its byte in the buffer, u32 */
} row;

static rlx_spirv_id id_of(rlx_decode_value v)
{
    return (rlx_spirv_id)v;
}

static rlx_decode_value constant(void *user, uint32_t v)
{
    return rlx_spirv_u32(((row *)user)->e, v);
}

static rlx_decode_value constant_f32(void *user, float v)
{
    return rlx_spirv_const_f32(&((row *)user)->e->m, v);
}

static const SpvOp plain[] = {[RLX_DECODE_ADD] = SpvOpIAdd,
                              [RLX_DECODE_SUB] = SpvOpISub,
                              [RLX_DECODE_MUL] = SpvOpIMul,
                              [RLX_DECODE_AND] = SpvOpBitwiseAnd,
                              [RLX_DECODE_OR] = SpvOpBitwiseOr,
                              [RLX_DECODE_XOR] = SpvOpBitwiseXor,
                              [RLX_DECODE_SHL] = SpvOpShiftLeftLogical,
                              [RLX_DECODE_SHR] = SpvOpShiftRightLogical};

static rlx_spirv_id signed_byte(rlx_spirv_emit *e, rlx_spirv_id x)
{
    rlx_spirv_id shift = rlx_spirv_u32(e, 24);
    x = rlx_spirv_op(&e->m, SpvOpShiftLeftLogical, e->u32, x, shift);
    return rlx_spirv_op(&e->m, SpvOpShiftRightArithmetic, e->u32, x, shift);
}

static rlx_decode_value op(void *user, rlx_decode_op o, rlx_decode_value a, rlx_decode_value b)
{
    const row *r = user;
    rlx_spirv_emit *e = r->e;
    rlx_spirv_module *m = &e->m;
    const rlx_ir_node *n = r->access->node;
    rlx_spirv_id in[2] = {id_of(a), id_of(b)}, out = 0;
    switch (o) {
    case RLX_DECODE_BELOW:
        return rlx_spirv_op(m, SpvOpULessThan, e->bool_, in[0], in[1]);
    case RLX_DECODE_EQUAL:
        return rlx_spirv_op(m, SpvOpIEqual, e->bool_, in[0], in[1]);
    case RLX_DECODE_SIGNED_BYTE:
        return signed_byte(e, in[0]);
    case RLX_DECODE_FMUL:
        rlx_status_free(rlx_spirv_map(e, n, RLX_FN_MUL, RLX_F32, in, &out));
        return out;
    case RLX_DECODE_FADD:
        rlx_status_free(rlx_spirv_map(e, n, RLX_FN_ADD, RLX_F32, in, &out));
        return out;
    case RLX_DECODE_FNEG:
        return rlx_spirv_op(m, SpvOpFNegate, e->f32, in[0]);
    case RLX_DECODE_TO_FLOAT:
        return rlx_spirv_op(m, SpvOpConvertSToF, e->f32, in[0]);
    case RLX_DECODE_AS_FLOAT:
        return rlx_spirv_op(m, SpvOpBitcast, e->f32, in[0]);
    case RLX_DECODE_HALF:
        return rlx_spirv_cast(e, RLX_F16, RLX_F32, in[0]);
    default:
        return rlx_spirv_op(m, plain[o], e->u32, in[0], in[1]);
    }
}

static rlx_decode_value choose(void *user, bool floats, rlx_decode_value cond, rlx_decode_value a,
                               rlx_decode_value b)
{
    rlx_spirv_emit *e = ((row *)user)->e;
    return rlx_spirv_op(&e->m, SpvOpSelect, floats ? e->f32 : e->u32, id_of(cond), id_of(a),
                        id_of(b));
}

static rlx_decode_value load(void *user, rlx_decode_value at, int bytes, int align)
{
    const row *r = user;
    return rlx_spirv_load_bytes(r->e, r->access->buffer, rlx_spirv_add(r->e, r->base, id_of(at)),
                                bytes, align);
}

/* ---- tables ---- */

/* A private array that holds the words; made once. */
static rlx_spirv_id array_of(rlx_spirv_emit *e, const char *name, const uint32_t *words, int n)
{
    rlx_spirv_module *m = &e->m;
    for (int i = 0; i < e->ntables; i++)
        if (strcmp(e->table[i].name, name) == 0)
            return e->table[i].variable;
    uint32_t *parts = RLX_NEW_ARRAY(e->arena, uint32_t, n);
    char *own = rlx_arena_printf(e->arena, "%s", name);
    if (!parts || !own || e->ntables == RLX_SPIRV_MAX_TABLES) {
        m->oom = true;
        return 0;
    }
    for (int i = 0; i < n; i++)
        parts[i] = rlx_spirv_u32(e, words[i]);
    rlx_spirv_id type =
        rlx_spirv_intern(m, SpvOpTypeArray, 0, RLX_SPIRV_WORDS(e->u32, rlx_spirv_u32(e, n)));
    rlx_spirv_id values = rlx_spirv_intern(m, SpvOpConstantComposite, type, n, parts);
    rlx_spirv_id v = rlx_spirv_variable_with(m, SpvStorageClassPrivate, type, values, name);
    e->table[e->ntables].name = own;
    e->table[e->ntables++].variable = v;
    return v;
}

/* By arrays of 256 words: lavapipe (Mesa 22.3) takes seconds for longer ones. */
static rlx_decode_value table(void *user, const char *name, const uint32_t *words, int n,
                              rlx_decode_value i)
{
    enum { MOST = 256 };
    rlx_spirv_emit *e = ((row *)user)->e;
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id pointer = rlx_spirv_type_pointer(m, SpvStorageClassPrivate, e->u32);
    rlx_spirv_id at = id_of(i), word = 0;
    if (n > MOST)
        at = rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, at, rlx_spirv_u32(e, MOST - 1));
    for (int first = 0; first < n; first += MOST) {
        char part[48];
        snprintf(part, sizeof part, "%s_%d", name, first);
        rlx_spirv_id array = array_of(e, part, words + first, n < MOST ? n : MOST);
        rlx_spirv_id x = rlx_spirv_op(m, SpvOpAccessChain, pointer, array, at);
        x = rlx_spirv_op(m, SpvOpLoad, e->u32, x);
        if (word) {
            rlx_spirv_id before =
                rlx_spirv_op(m, SpvOpULessThan, e->bool_, id_of(i), rlx_spirv_u32(e, first));
            x = rlx_spirv_op(m, SpvOpSelect, e->u32, before, word, x);
        }
        word = x;
    }
    return word;
}

static const rlx_decode_engine engine = {constant, constant_f32, op, choose, load, table};

rlx_spirv_id rlx_spirv_load_block_codes(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                        rlx_spirv_id base, rlx_decode_number along)
{
    row r = {e, a, base};
    const rlx_decoder d = {&engine, &r, a->buffer->type->format};
    return id_of(rlx_decode_codes(&d, along));
}

/* A code as registers hold the tile's format. */
rlx_spirv_id rlx_spirv_load_block(rlx_spirv_emit *e, const rlx_spirv_access *a, rlx_spirv_id base,
                                  rlx_decode_number along)
{
    row r = {e, a, base};
    const rlx_decoder d = {&engine, &r, a->buffer->type->format};
    switch (a->part) {
    case RLX_LIR_CODES:
        return id_of(rlx_decode_code(&d, along));
    case RLX_LIR_SCALE:
        return id_of(rlx_decode_scale(&d, along));
    case RLX_LIR_MIN:
        return id_of(rlx_decode_min(&d, along));
    default:
        return id_of(rlx_decode_element(&d, along));
    }
}
