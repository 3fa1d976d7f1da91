#include "jit/llvm_team.h"

#include "jit/block_decode.h"

/* Elements of block formats, one per invocation: the words of jit/block_decode.h as LLVM's. */

static rlx_decode_value from(LLVMValueRef v)
{
    return (rlx_decode_value)v;
}

static LLVMValueRef to(rlx_decode_value v)
{
    return (LLVMValueRef)v;
}

/* Where decoding happens: `p` is the address that bytes are counted from. */
typedef struct row {
    rlx_emit *e;
    LLVMValueRef p;
} row;

static rlx_decode_value constant(void *user, uint32_t v)
{
    return from(rlx_emit_int(((row *)user)->e->i32, v));
}

static rlx_decode_value constant_f32(void *user, float v)
{
    return from(LLVMConstReal(((row *)user)->e->f32, (double)v));
}

static LLVMValueRef signed_byte(rlx_emit *e, LLVMValueRef x)
{
    return LLVMBuildSExt(e->b, LLVMBuildTrunc(e->b, x, e->i8, ""), e->i32, "");
}

static rlx_decode_value op(void *user, rlx_decode_op o, rlx_decode_value a, rlx_decode_value b)
{
    static const LLVMOpcode plain[] = {
        [RLX_DECODE_ADD] = LLVMAdd,   [RLX_DECODE_SUB] = LLVMSub,  [RLX_DECODE_MUL] = LLVMMul,
        [RLX_DECODE_AND] = LLVMAnd,   [RLX_DECODE_OR] = LLVMOr,    [RLX_DECODE_XOR] = LLVMXor,
        [RLX_DECODE_SHL] = LLVMShl,   [RLX_DECODE_SHR] = LLVMLShr, [RLX_DECODE_FMUL] = LLVMFMul,
        [RLX_DECODE_FADD] = LLVMFAdd,
    };
    rlx_emit *e = ((row *)user)->e;
    LLVMTypeRef i16 = LLVMInt16TypeInContext(e->cx);
    LLVMValueRef x = to(a);
    switch (o) {
    case RLX_DECODE_BELOW:
        return from(LLVMBuildICmp(e->b, LLVMIntULT, x, to(b), ""));
    case RLX_DECODE_EQUAL:
        return from(LLVMBuildICmp(e->b, LLVMIntEQ, x, to(b), ""));
    case RLX_DECODE_SIGNED_BYTE:
        return from(signed_byte(e, x));
    case RLX_DECODE_FNEG:
        return from(LLVMBuildFNeg(e->b, x, ""));
    case RLX_DECODE_TO_FLOAT:
        return from(LLVMBuildSIToFP(e->b, x, e->f32, ""));
    case RLX_DECODE_AS_FLOAT:
        return from(LLVMBuildBitCast(e->b, x, e->f32, ""));
    case RLX_DECODE_HALF:
        x = LLVMBuildBitCast(e->b, LLVMBuildTrunc(e->b, x, i16, ""), e->f16, "");
        return from(LLVMBuildFPExt(e->b, x, e->f32, ""));
    default:
        return from(LLVMBuildBinOp(e->b, plain[o], x, to(b), ""));
    }
}

static rlx_decode_value choose(void *user, bool floats, rlx_decode_value cond, rlx_decode_value a,
                               rlx_decode_value b)
{
    (void)floats;
    return from(LLVMBuildSelect(((row *)user)->e->b, to(cond), to(a), to(b), ""));
}

static rlx_decode_value load(void *user, rlx_decode_value at, int bytes, int align)
{
    const row *r = user;
    rlx_emit *e = r->e;
    LLVMTypeRef type = LLVMIntTypeInContext(e->cx, 8 * (unsigned)bytes);
    LLVMValueRef offset = LLVMBuildZExt(e->b, to(at), e->i64, "");
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, rlx_emit_offset(e, e->i8, r->p, offset), "");
    LLVMSetAlignment(v, (unsigned)(align < bytes ? align : bytes));
    return from(LLVMBuildZExt(e->b, v, e->i32, ""));
}

static rlx_decode_value table(void *user, const char *name, const uint32_t *words, int n,
                              rlx_decode_value i)
{
    rlx_emit *e = ((row *)user)->e;
    LLVMValueRef g = LLVMGetNamedGlobal(e->module, name);
    if (!g) {
        unsigned space = e->target->kind == RLX_JIT_CPU ? 0 : RLX_EMIT_SPACE_GLOBAL;
        LLVMValueRef *word = RLX_NEW_ARRAY(e->arena, LLVMValueRef, n);
        for (int w = 0; word && w < n; w++)
            word[w] = rlx_emit_int(e->i32, words[w]);
        LLVMTypeRef type = LLVMArrayType2(e->i32, (uint64_t)n);
        g = LLVMAddGlobalInAddressSpace(e->module, type, name, space);
        LLVMSetInitializer(g,
                           word ? LLVMConstArray2(e->i32, word, (uint64_t)n) : LLVMConstNull(type));
        LLVMSetGlobalConstant(g, true);
        LLVMSetLinkage(g, LLVMPrivateLinkage);
    }
    LLVMValueRef at = LLVMBuildZExt(e->b, to(i), e->i64, "");
    return from(LLVMBuildLoad2(e->b, e->i32, rlx_emit_offset(e, e->i32, g, at), ""));
}

static const rlx_decode_engine engine = {constant, constant_f32, op, choose, load, table};

/* ---- where ---- */

typedef struct blocks {
    const rlx_ir_type *tile;
    rlx_format format;
    rlx_lir_part part;
    LLVMValueRef base;  /* of the row, or of the block that the index begins */
    LLVMValueRef inner; /* the innermost index, i32; NULL: a block begins there */
    LLVMValueRef stride[RLX_MAX_TILE_RANK]; /* bytes, along the tile's axes but the last */
    LLVMValueRef room[RLX_MAX_TILE_RANK];   /* limit - index, i64; NULL: no limit */
} blocks;

static LLVMValueRef row_bytes(rlx_emit *e, const rlx_emit_buffer *buffer, int axis)
{
    const rlx_format_info *info = rlx_format_get(buffer->type->format);
    LLVMValueRef n = rlx_emit_int(e->i64, info->block_elems);
    n = LLVMBuildUDiv(e->b, buffer->stride[axis], n, "");
    return rlx_emit_mul(e->b, n, rlx_emit_int(e->i64, info->block_bytes));
}

static void blocks_init(rlx_emit *e, const rlx_ir_node *n, blocks *b)
{
    const rlx_emit_buffer *buffer = rlx_emit_get(e, n->in[0])->buffer;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    const rlx_format_info *info = rlx_format_get(buffer->type->format);
    int rank = buffer->type->rank;
    *b = (blocks){.tile = &n->out[0]->type,
                  .format = buffer->type->format,
                  .part = rlx_lir_part_of(n),
                  .base = buffer->base};
    for (int i = 0; i + 1 < rank; i++) {
        LLVMValueRef at = rlx_emit_scalar(e, n->in[1 + i]);
        at = rlx_emit_mul(e->b, at, row_bytes(e, buffer, i));
        b->base = rlx_emit_offset(e, e->i8, b->base, at);
    }
    bool groups = b->part == RLX_LIR_SCALE || b->part == RLX_LIR_MIN;
    int64_t unit = info->block_elems / (groups ? rlx_format_group(b->format) : 1);
    LLVMValueRef inner = rlx_emit_scalar(e, n->in[rank]);
    if (rlx_lir_divisor(n->in[rank]) % unit == 0) {
        inner = LLVMBuildUDiv(e->b, inner, rlx_emit_int(e->i64, unit), "");
        inner = rlx_emit_mul(e->b, inner, rlx_emit_int(e->i64, info->block_bytes));
        b->base = rlx_emit_offset(e, e->i8, b->base, inner);
    } else {
        b->inner = LLVMBuildTrunc(e->b, inner, e->i32, "");
    }
    for (int i = 0; i + 1 < b->tile->rank; i++)
        b->stride[i] = row_bytes(e, buffer, (int)axes->ints[i]);
    for (int i = 0; limits && i < limits->n; i++) {
        int axis = (int)limits->ints[i];
        b->room[axis] = LLVMBuildSub(e->b, rlx_emit_scalar(e, n->in[1 + rank + i]),
                                     rlx_emit_scalar(e, n->in[1 + axes->ints[axis]]), "room");
    }
}

static LLVMValueRef decode(rlx_emit *e, const blocks *b, const LLVMValueRef *at)
{
    int last = b->tile->rank - 1;
    row r = {e, b->base};
    const rlx_decoder d = {&engine, &r, b->format};
    rlx_decode_number along = {from(at[last]), 1, (uint32_t)b->tile->dim[last], 0};
    for (int i = 0; i < last; i++) {
        LLVMValueRef j = LLVMBuildZExt(e->b, at[i], e->i64, "");
        r.p = rlx_emit_offset(e, e->i8, r.p, rlx_emit_mul(e->b, j, b->stride[i]));
    }
    if (b->inner)
        along = (rlx_decode_number){from(rlx_emit_add(e->b, b->inner, at[last])), 1, 0, 0};
    switch (b->part) {
    case RLX_LIR_CODES:
        return LLVMBuildTrunc(e->b, to(rlx_decode_code(&d, along)), e->i8, "");
    case RLX_LIR_SCALE:
        return to(rlx_decode_scale(&d, along));
    case RLX_LIR_MIN:
        return to(rlx_decode_min(&d, along));
    default:
        return to(rlx_decode_element(&d, along));
    }
}

/* Zero where the element is not to be touched. */
static LLVMValueRef decode_if(rlx_emit *e, const blocks *b, const LLVMValueRef *at,
                              LLVMValueRef live)
{
    if (!live)
        return decode(e, b, at);
    LLVMBasicBlockRef block[2] = {LLVMGetInsertBlock(e->b), rlx_emit_new_block(e, "inside")};
    LLVMBasicBlockRef join = rlx_emit_new_block(e, "join");
    LLVMBuildCondBr(e->b, live, block[1], join);
    LLVMPositionBuilderAtEnd(e->b, block[1]);
    LLVMValueRef x = decode(e, b, at), v[2] = {LLVMConstNull(LLVMTypeOf(x)), x};
    LLVMBuildBr(e->b, join);
    LLVMPositionBuilderAtEnd(e->b, join);
    LLVMValueRef phi = LLVMBuildPhi(e->b, LLVMTypeOf(x), "");
    LLVMAddIncoming(phi, v, block, 2);
    return phi;
}

rlx_status rlx_emit_team_load_blocks(rlx_emit *e, const rlx_ir_node *n)
{
    blocks b;
    rlx_emit_tile *out;
    blocks_init(e, n, &b);
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef at[RLX_MAX_TILE_RANK], live;
        rlx_emit_team_place(e, b.tile, p, at, &live);
        for (int i = 0; i < b.tile->rank; i++) {
            if (!b.room[i])
                continue;
            LLVMValueRef j = LLVMBuildZExt(e->b, at[i], e->i64, "");
            LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, j, b.room[i], "");
            live = live ? LLVMBuildAnd(e->b, live, in, "") : in;
        }
        RLX_TRY(rlx_emit_cast(e, n, b.part == RLX_LIR_CODES ? b.tile->format : RLX_F32,
                              b.tile->format, decode_if(e, &b, at, live), &out->part[p]));
    }
    return RLX_OK;
}

void rlx_emit_team_put_codes(rlx_emit *e, const rlx_ir_node *load, LLVMValueRef memory,
                             int64_t stride)
{
    enum { FOUR = 4 };
    blocks b;
    blocks_init(e, load, &b);
    const rlx_emit_deal d = {
        .rows = b.tile->dim[0], .per_row = b.tile->dim[1] / FOUR, .room = b.room[0]};
    LLVMValueRef none = rlx_emit_int(e->i32, 0), four = rlx_emit_int(e->i32, FOUR);
    for (int i = 0; i < rlx_emit_deal_count(e, &d); i++) {
        LLVMValueRef n, first, live;
        int64_t on;
        rlx_emit_deal_at(e, &d, i, &n, &on, &first, &live);
        first = rlx_emit_mul(e->b, first, four);
        LLVMValueRef begin = rlx_emit_dealt(e, b.base, n, on, b.stride[0]);
        row r = {e, live ? LLVMBuildSelect(e->b, live, begin, b.base, "") : begin};
        const rlx_decoder decoder = {&engine, &r, b.format};
        rlx_decode_number along = {from(first), FOUR, (uint32_t)b.tile->dim[1], 0};
        if (b.inner)
            along = (rlx_decode_number){from(rlx_emit_add(e->b, b.inner, first)), FOUR, 0, 0};
        LLVMValueRef x = to(rlx_decode_codes(&decoder, along));
        if (live)
            x = LLVMBuildSelect(e->b, live, x, none, "");
        LLVMValueRef at = rlx_emit_dealt(e, memory, n, on, rlx_emit_int(e->i64, stride));
        at = LLVMBuildGEP2(e->b, e->i8, at, &first, 1, "");
        LLVMSetAlignment(LLVMBuildStore(e->b, x, at), FOUR);
    }
}
