#include "jit/llvm_cpu.h"

/* Loads from block formats on the CPU: 16 elements at a time, which share their scale (see
 * runtime/base/block_layouts.def, whose table this file follows and nothing else).
 *
 *   bytes -> nibbles, bits above them -> i32 -> f32 -> * scale -> + minimum
 *
 * Where a group lies in its block is known when the code is made if the index along the row is
 * known to be a multiple of enough; what is not known is computed. Groups beyond a limit read a
 * block of zeros instead. */

/* Index along the innermost axis. */
typedef struct position {
    LLVMValueRef index; /* i64, not negative */
    int64_t divisor;    /* see rlx_lir_divisor */
    int64_t plus;       /* constant part */
} position;

typedef struct blocks {
    const rlx_block_layout *layout;
    const rlx_format_info *info;
    LLVMValueRef base;                      /* of the row at the indices, as bytes */
    LLVMValueRef stride[RLX_MAX_TILE_RANK]; /* bytes, along the tile's axes but the last */
    LLVMValueRef room[RLX_MAX_TILE_RANK];   /* limit - index; NULL: no limit */
    position at;
    rlx_lir_part part;
    int unit;  /* elements of the row per element of the tile: more than 1 for scales and minima */
    int piece; /* elements of the tile that are made at once */
} blocks;

/* A group of 16 elements. */
typedef struct group {
    LLVMValueRef block; /* address of its block */
    LLVMValueRef next;  /* of the next row's, whose scales are made with it; NULL: one row */
    LLVMValueRef first; /* i64: its first element in the block */
    position at;
} group;

static LLVMValueRef over(rlx_emit *e, LLVMValueRef v, int64_t by)
{
    return LLVMBuildUDiv(e->b, v, rlx_emit_int(e->i64, by), "");
}

static LLVMValueRef times(rlx_emit *e, LLVMValueRef v, int64_t by)
{
    return rlx_emit_mul(e->b, v, rlx_emit_int(e->i64, by));
}

/* Quotient of an index by a divisor of it. Of a product it is a product, whose address LLVM counts
 * up from step to step, where it would shift and multiply. */
static LLVMValueRef exact_quotient(rlx_emit *e, LLVMValueRef index, int64_t by)
{
    LLVMValueRef x = index;
    int64_t factor = 1;
    while (factor % by != 0 && LLVMIsAInstruction(x) && LLVMGetInstructionOpcode(x) == LLVMMul &&
           LLVMIsAConstantInt(LLVMGetOperand(x, 1))) {
        factor *= LLVMConstIntGetSExtValue(LLVMGetOperand(x, 1));
        x = LLVMGetOperand(x, 0);
    }
    return factor % by == 0 ? times(e, x, factor / by) : over(e, index, by);
}

/* Quotient and rest by a power of two. */
static LLVMValueRef quotient(rlx_emit *e, position p, int64_t by)
{
    if (p.divisor % by == 0)
        return rlx_emit_add(e->b, exact_quotient(e, p.index, by),
                            rlx_emit_int(e->i64, p.plus / by));
    LLVMValueRef v = rlx_emit_add(e->b, p.index, rlx_emit_int(e->i64, p.plus));
    return LLVMBuildUDiv(e->b, v, rlx_emit_int(e->i64, by), "");
}

static LLVMValueRef rest(rlx_emit *e, position p, int64_t by)
{
    if (p.divisor % by == 0)
        return rlx_emit_int(e->i64, p.plus % by);
    LLVMValueRef v = rlx_emit_add(e->b, p.index, rlx_emit_int(e->i64, p.plus));
    return LLVMBuildURem(e->b, v, rlx_emit_int(e->i64, by), "");
}

/* `type` at `offset` (i64) + `at` bytes behind a block's first. */
static LLVMValueRef load_bytes(rlx_emit *e, LLVMValueRef block, LLVMValueRef offset, int at,
                               LLVMTypeRef type)
{
    LLVMValueRef where = rlx_emit_add(e->b, offset, rlx_emit_int(e->i64, at));
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, rlx_emit_offset(e, e->i8, block, where), "");
    LLVMSetAlignment(v, 1);
    return v;
}

static LLVMTypeRef bytes_type(const rlx_emit *e)
{
    return LLVMVectorType(e->i8, RLX_BLOCK_GROUP);
}

static LLVMValueRef byte_splat(rlx_emit *e, int64_t v)
{
    return rlx_emit_splat(e, rlx_emit_int(e->i8, v), bytes_type(e));
}

/* Bits `mask` of every byte, after a shift by `shift` (i64). */
static LLVMValueRef bits_of(rlx_emit *e, LLVMValueRef bytes, LLVMValueRef shift, int64_t mask)
{
    LLVMValueRef by = rlx_emit_splat(e, LLVMBuildTrunc(e->b, shift, e->i8, ""), bytes_type(e));
    return LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, bytes, by, ""), byte_splat(e, mask), "");
}

static LLVMValueRef low_bits(rlx_emit *e, const rlx_block_layout *l, const group *g)
{
    if (l->span == 0)
        return load_bytes(e, g->block, g->first, l->low, bytes_type(e));
    LLVMValueRef chunk = over(e, g->first, 2 * l->span);
    LLVMValueRef at = rlx_emit_add(e->b, times(e, chunk, l->span), rest(e, g->at, l->span));
    LLVMValueRef half = over(e, rest(e, g->at, 2 * l->span), l->span);
    LLVMValueRef bytes = load_bytes(e, g->block, at, l->low, bytes_type(e));
    return bits_of(e, bytes, times(e, half, 4), 15);
}

/* The bits above the nibble, in their place. */
static LLVMValueRef high_bits(rlx_emit *e, const rlx_block_layout *l, const group *g)
{
    LLVMValueRef bits;
    if (l->high_bits == 32) {
        LLVMValueRef word = load_bytes(e, g->block, over(e, g->first, 8), l->high, e->i16);
        LLVMTypeRef mask = LLVMVectorType(e->i1, RLX_BLOCK_GROUP);
        bits = LLVMBuildZExt(e->b, LLVMBuildBitCast(e->b, word, mask, ""), bytes_type(e), "");
    } else {
        int64_t elems = 32 * 8 / l->high_bits;
        LLVMValueRef at = times(e, over(e, g->first, elems), 32);
        LLVMValueRef plane = over(e, rest(e, g->at, elems), 32);
        at = rlx_emit_add(e->b, at, rest(e, g->at, 32));
        bits = bits_of(e, load_bytes(e, g->block, at, l->high, bytes_type(e)),
                       times(e, plane, l->high_bits), (1 << l->high_bits) - 1);
    }
    return LLVMBuildShl(e->b, bits, byte_splat(e, 4), "");
}

/* ---- scales ---- */

static LLVMValueRef load_f16(rlx_emit *e, LLVMValueRef block, int at)
{
    LLVMValueRef h = load_bytes(e, block, rlx_emit_int(e->i64, 0), at, e->f16);
    return LLVMBuildFPExt(e->b, h, e->f32, "");
}

static LLVMValueRef and_bits(rlx_emit *e, LLVMValueRef v, int64_t mask)
{
    return LLVMBuildAnd(e->b, v, rlx_emit_int(e->i8, mask), "");
}

/* Four bits of `low` and, above them, the upper two of `top`. */
static LLVMValueRef join(rlx_emit *e, LLVMValueRef low, LLVMValueRef top)
{
    LLVMValueRef six = rlx_emit_int(e->i8, 6), four = rlx_emit_int(e->i8, 4);
    top = LLVMBuildShl(e->b, LLVMBuildLShr(e->b, top, six, ""), four, "");
    return LLVMBuildOr(e->b, low, top, "");
}

/* The six-bit scale and minimum of a group: K4. */
static void load_k4(rlx_emit *e, const rlx_block_layout *l, const group *g, LLVMValueRef *scale,
                    LLVMValueRef *min)
{
    LLVMValueRef pair = over(e, g->first, 32),
                 i = LLVMBuildURem(e->b, pair, rlx_emit_int(e->i64, 4), "");
    LLVMValueRef upper = LLVMBuildICmp(e->b, LLVMIntUGE, pair, rlx_emit_int(e->i64, 4), "");
    LLVMValueRef s = load_bytes(e, g->block, i, l->scales, e->i8);
    LLVMValueRef m = load_bytes(e, g->block, i, l->scales + 4, e->i8);
    LLVMValueRef both = load_bytes(e, g->block, i, l->scales + 8, e->i8);
    LLVMValueRef four = rlx_emit_int(e->i8, 4);
    *scale =
        LLVMBuildSelect(e->b, upper, join(e, and_bits(e, both, 15), s), and_bits(e, s, 63), "");
    *min = LLVMBuildSelect(e->b, upper, join(e, LLVMBuildLShr(e->b, both, four, ""), m),
                           and_bits(e, m, 63), "");
}

/* What the group's integers are multiplied by; *add: what is added then, or NULL. */
static LLVMValueRef load_scale(rlx_emit *e, const rlx_block_layout *l, const group *g,
                               LLVMValueRef *add)
{
    if (rlx_emit_has_field_scales(l))
        return rlx_emit_field_scale(e, l, g->block, g->first, add);
    LLVMValueRef d = load_f16(e, g->block, l->d), s, t;
    *add = l->m >= 0 ? load_f16(e, g->block, l->m) : NULL;
    if (l->scale == RLX_BLOCK_SCALE_S8) {
        s = load_bytes(e, g->block, over(e, g->first, RLX_BLOCK_GROUP), l->scales, e->i8);
        return LLVMBuildFMul(e->b, d, LLVMBuildSIToFP(e->b, s, e->f32, ""), "");
    }
    if (l->scale == RLX_BLOCK_SCALE_PLAIN)
        return d;
    load_k4(e, l, g, &s, &t);
    t = LLVMBuildFMul(e->b, *add, LLVMBuildUIToFP(e->b, t, e->f32, ""), "");
    *add = LLVMBuildFNeg(e->b, t, "");
    return LLVMBuildFMul(e->b, d, LLVMBuildUIToFP(e->b, s, e->f32, ""), "");
}

static LLVMValueRef load_codes(rlx_emit *e, const rlx_block_layout *l, const group *g)
{
    if (rlx_emit_has_field_codes(l))
        return rlx_emit_field_codes(e, l, g->block, g->first);
    LLVMValueRef q = low_bits(e, l, g);
    return l->high >= 0 ? LLVMBuildOr(e->b, q, high_bits(e, l, g), "") : q;
}

static LLVMValueRef load_min(rlx_emit *e, const rlx_block_layout *l, const group *g)
{
    LLVMValueRef add;
    load_scale(e, l, g, &add);
    return LLVMBuildFNeg(e->b, add, "");
}

static LLVMValueRef decode_group(rlx_emit *e, const rlx_block_layout *l, const group *g)
{
    LLVMTypeRef floats = LLVMVectorType(e->f32, RLX_BLOCK_GROUP);
    LLVMValueRef q = load_codes(e, l, g), add, scale = load_scale(e, l, g, &add);
    q = rlx_emit_take_bias(e, l, q);
    q = LLVMBuildSExt(e->b, q, LLVMVectorType(e->i32, RLX_BLOCK_GROUP), "");
    LLVMValueRef x = LLVMBuildSIToFP(e->b, q, floats, "");
    x = LLVMBuildFMul(e->b, x, rlx_emit_splat(e, scale, floats), "");
    return add ? LLVMBuildFAdd(e->b, x, rlx_emit_splat(e, add, floats), "") : x;
}

/* ---- many groups at once ---- */

/* The i16 at byte `at` of eight blocks in a row. Of the 16 bytes that begin 2i before it in block i
 * the i-th i16 is its own: eight loads, seven of them blended with the first as they come. */
static LLVMValueRef load_eight(rlx_emit *e, const blocks *b, const group *g, int at)
{
    enum { MANY = 8 };
    LLVMTypeRef type = rlx_emit_vector(e->i16, MANY);
    LLVMValueRef v = NULL, mask[MANY];
    for (int i = 0; i < MANY; i++) {
        LLVMValueRef from = rlx_emit_int(e->i64, (int64_t)i * (b->info->block_bytes - 2));
        LLVMValueRef x = load_bytes(e, g->block, from, at, type);
        for (int l = 0; l < MANY; l++)
            mask[l] = rlx_emit_int(e->i32, l == i ? MANY + l : l);
        v = v ? LLVMBuildShuffleVector(e->b, v, x, LLVMConstVector(mask, MANY), "") : x;
    }
    return v;
}

/* The f16 at byte `at` of `n` blocks in a row, as f32. */
static LLVMValueRef load_halves(rlx_emit *e, const blocks *b, const group *g, int at, int n)
{
    LLVMValueRef v = LLVMGetPoison(rlx_emit_vector(e->i16, n));
    if (n == 8)
        v = load_eight(e, b, g, at);
    for (int i = 0; i < n && n != 8; i++) {
        LLVMValueRef block = rlx_emit_int(e->i64, (int64_t)i * b->info->block_bytes);
        LLVMValueRef h = load_bytes(e, g->block, block, at, e->i16);
        v = LLVMBuildInsertElement(e->b, v, h, rlx_emit_int(e->i32, i), "");
    }
    v = LLVMBuildBitCast(e->b, v, rlx_emit_vector(e->f16, n), "");
    return LLVMBuildFPExt(e->b, v, rlx_emit_vector(e->f32, n), "");
}

static LLVMValueRef long_bits(rlx_emit *e, LLVMValueRef v, uint64_t mask)
{
    return LLVMBuildAnd(e->b, v, LLVMConstInt(e->i64, mask, false), "");
}

/* The eight six-bit scales (minima) of a block: K4. Both are worked out together, four of each to a
 * long: what the load of the others finds done. */
static LLVMValueRef load_sixes(rlx_emit *e, const rlx_block_layout *l, const group *g, bool min)
{
    enum { SIXES = 8 };
    LLVMValueRef zero = rlx_emit_int(e->i64, 0), mask[SIXES];
    LLVMValueRef own = load_bytes(e, g->block, zero, l->scales, e->i64);
    LLVMValueRef both = load_bytes(e, g->block, zero, l->scales + 8, e->i32);
    both = LLVMBuildZExt(e->b, both, e->i64, "");
    LLVMValueRef high = LLVMBuildShl(e->b, both, rlx_emit_int(e->i64, 28), "");
    high = long_bits(e, LLVMBuildOr(e->b, both, high, ""), 0x0f0f0f0f0f0f0f0f);
    LLVMValueRef top = LLVMBuildLShr(e->b, own, rlx_emit_int(e->i64, 2), "");
    high = LLVMBuildOr(e->b, high, long_bits(e, top, 0x3030303030303030), "");
    LLVMTypeRef bytes = rlx_emit_vector(e->i8, SIXES);
    LLVMValueRef low = LLVMBuildBitCast(e->b, long_bits(e, own, 0x3f3f3f3f3f3f3f3f), bytes, "");
    high = LLVMBuildBitCast(e->b, high, bytes, "");
    for (int i = 0; i < SIXES; i++)
        mask[i] = rlx_emit_int(e->i32, i % 4 + (i < 4 ? 0 : SIXES) + (min ? 4 : 0));
    LLVMValueRef all = LLVMBuildShuffleVector(e->b, low, high, LLVMConstVector(mask, SIXES), "");
    all = LLVMBuildZExt(e->b, all, rlx_emit_vector(e->i32, SIXES), "");
    return LLVMBuildSIToFP(e->b, all, rlx_emit_vector(e->f32, SIXES), "");
}

static LLVMValueRef load_bytes_as_f32(rlx_emit *e, const blocks *b, const group *g)
{
    LLVMValueRef s = load_bytes(e, g->block, over(e, g->first, b->unit), b->layout->scales,
                                rlx_emit_vector(e->i8, b->piece));
    s = LLVMBuildSExt(e->b, s, rlx_emit_vector(e->i32, b->piece), "");
    return LLVMBuildSIToFP(e->b, s, rlx_emit_vector(e->f32, b->piece), "");
}

/* The f16 factor of a block times so many numbers. */
static LLVMValueRef scaled(rlx_emit *e, const group *g, int factor, LLVMValueRef x)
{
    LLVMValueRef d = rlx_emit_splat(e, load_f16(e, g->block, factor), LLVMTypeOf(x));
    return LLVMBuildFMul(e->b, d, x, "");
}

/* The two f16 of each of the group's blocks, times `first` and `second`, in turns: f32<8> a block. */
static LLVMValueRef two_factors(rlx_emit *e, const rlx_block_layout *l, const group *g,
                                double first, double second)
{
    enum { TURNS = 4, MOST = 2 };
    const int rows = g->next ? 2 : 1, n = 2 * TURNS * rows;
    LLVMValueRef by[MOST * 2 * TURNS], two[MOST], all;
    for (int i = 0; i < n; i++)
        by[i] = LLVMConstReal(e->f32, i % 2 ? second : first);
    for (int i = 0; i < rows; i++) {
        two[i] = load_bytes(e, i ? g->next : g->block, rlx_emit_int(e->i64, 0), l->d, e->i32);
        two[i] = rlx_emit_splat(e, two[i], rlx_emit_vector(e->i32, TURNS));
    }
    all = rlx_emit_join(e, two, rows);
    all = LLVMBuildBitCast(e->b, all, rlx_emit_vector(e->f16, n), "");
    all = LLVMBuildFPExt(e->b, all, rlx_emit_vector(e->f32, n), "");
    return LLVMBuildFMul(e->b, all, LLVMConstVector(by, (unsigned)n), "");
}

/* Six-bit scales (minima) by the first (second) of a block's two f16: K4. Powers of two that one
 * has too much the other lacks, and both f16 are converted at once, what the load of the others
 * finds done. */
static LLVMValueRef scaled_sixes(rlx_emit *e, const rlx_block_layout *l, const group *g, bool min)
{
    enum { SIXES = 8, MOST = 2 };
    const bool spreads = e->target->kind == RLX_JIT_CPU;
    const int rows = g->next ? 2 : 1, n = SIXES * rows;
    const LLVMValueRef block[MOST] = {g->block, g->next};
    LLVMTypeRef type = rlx_emit_vector(e->f32, n);
    LLVMValueRef two = two_factors(e, l, g, spreads ? 0.25 : 1, spreads ? 0.0625 : 1);
    LLVMValueRef mask[MOST * SIXES], x;
    x = spreads ? LLVMBuildSIToFP(e->b, rlx_emit_spread_sixes(e, l, block, rows, min), type, "")
                : load_sixes(e, l, g, min);
    for (int i = 0; i < n; i++)
        mask[i] = rlx_emit_int(e->i32, i / 2 * 2 + min);
    two = LLVMBuildShuffleVector(e->b, two, LLVMGetPoison(type), LLVMConstVector(mask, (unsigned)n),
                                 "");
    return LLVMBuildFMul(e->b, two, x, "");
}

/* Powers of two of eight blocks in a row. */
static LLVMValueRef load_powers(rlx_emit *e, const blocks *b, const group *g)
{
    LLVMValueRef x = load_eight(e, b, g, b->layout->d), low;
    low = rlx_emit_splat(e, rlx_emit_int(e->i16, 0xff), LLVMTypeOf(x));
    x = LLVMBuildAnd(e->b, x, low, "");
    return rlx_emit_from_e8m0(e, LLVMBuildZExt(e->b, x, rlx_emit_vector(e->i32, 8), ""));
}

/* The present piece's first group of its block. */
static int first_group(const blocks *b, const group *g)
{
    return (int)(LLVMConstIntGetSExtValue(g->first) / b->unit);
}

/* Scales of a piece of groups: of one block, or of blocks of one group each. */
static LLVMValueRef load_scales(rlx_emit *e, const blocks *b, const group *g)
{
    const rlx_block_layout *l = b->layout;
    if (rlx_emit_has_eight_scales(l))
        return rlx_emit_eight_scales(e, l, g->block, first_group(b, g));
    if (l->factor == RLX_BLOCK_FACTOR_E8M0)
        return load_powers(e, b, g);
    if (l->scale == RLX_BLOCK_SCALE_PLAIN)
        return load_halves(e, b, g, l->d, b->piece);
    if (l->scale == RLX_BLOCK_SCALE_K4)
        return scaled_sixes(e, l, g, false);
    return scaled(e, g, l->d, load_bytes_as_f32(e, b, g));
}

static LLVMValueRef load_mins(rlx_emit *e, const blocks *b, const group *g)
{
    const rlx_block_layout *l = b->layout;
    if (rlx_emit_has_eight_scales(l))
        return rlx_emit_eight_mins(e, l, g->block, first_group(b, g));
    if (l->scale == RLX_BLOCK_SCALE_K4)
        return scaled_sixes(e, l, g, true);
    return LLVMBuildFNeg(e->b, load_halves(e, b, g, l->m, b->piece), "");
}

/* How many elements of the tile are made at once; the fields before it are set. */
static int piece_of(const blocks *b, const rlx_ir_type *tile)
{
    int64_t n = tile->dim[tile->rank - 1], elems = b->info->block_elems;
    if (b->part == RLX_LIR_CODES)
        return n % 32 == 0 && rlx_emit_has_32_codes(b->layout, b->at.divisor) ? 32
                                                                              : RLX_BLOCK_GROUP;
    if (b->part == RLX_LIR_DECODED)
        return RLX_BLOCK_GROUP;
    bool sixes = b->layout->scale == RLX_BLOCK_SCALE_K4;
    if (rlx_emit_has_eight_scales(b->layout))
        return n % 8 == 0 && b->at.divisor % elems == 0 ? 8 : 1;
    if (!sixes && b->layout->scale != RLX_BLOCK_SCALE_S8 && elems > b->unit)
        return 1;
    if (elems > b->unit) { /* six-bit scales come by eight, and none by more than fill 256 bits */
        int most = (int)(elems / b->unit), least = sixes ? 8 : 4;
        most = most < 8 ? most : 8;
        while (most >= least && (n % most != 0 || b->at.divisor % (most * b->unit) != 0))
            most /= 2;
        return most >= least ? most : 1;
    }
    int piece = b->room[tile->rank - 1] ? 1 : 8;
    while (n % piece != 0)
        piece /= 2;
    return piece < 8 && b->layout->factor != RLX_BLOCK_FACTOR_F16 ? 1 : piece;
}

/* ---- rows ---- */

/* What the load wants of a group. */
static LLVMValueRef load_part(rlx_emit *e, const blocks *b, const group *g)
{
    LLVMValueRef add, q;
    switch (b->part) {
    case RLX_LIR_CODES:
        q = b->piece == 32 ? rlx_emit_32_codes(e, b->layout, g->block, g->first)
                           : load_codes(e, b->layout, g);
        return rlx_emit_take_bias(e, b->layout, q);
    case RLX_LIR_SCALE:
        return b->piece > 1 ? load_scales(e, b, g) : load_scale(e, b->layout, g, &add);
    case RLX_LIR_MIN:
        return b->piece > 1 ? load_mins(e, b, g) : load_min(e, b->layout, g);
    default:
        return decode_group(e, b->layout, g);
    }
}

static void blocks_init(rlx_emit *e, const rlx_ir_node *n, blocks *b)
{
    const rlx_emit_buffer *buffer = rlx_emit_get(e, n->in[0])->buffer;
    const rlx_ir_type *tile = &n->out[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    int rank = buffer->type->rank;
    *b = (blocks){.layout = rlx_format_block(buffer->type->format),
                  .info = rlx_format_get(buffer->type->format),
                  .part = rlx_lir_part_of(n)};
    bool groups = b->part == RLX_LIR_SCALE || b->part == RLX_LIR_MIN;
    b->unit = groups ? rlx_format_group(buffer->type->format) : 1;
    LLVMValueRef offset = rlx_emit_int(e->i64, 0), bytes[RLX_MAX_RANK];
    for (int i = 0; i + 1 < rank; i++) {
        bytes[i] = times(e, over(e, buffer->stride[i], b->info->block_elems), b->info->block_bytes);
        LLVMValueRef at = rlx_emit_mul(e->b, rlx_emit_scalar(e, n->in[1 + i]), bytes[i]);
        offset = rlx_emit_add(e->b, offset, at);
    }
    b->base = rlx_emit_offset(e, e->i8, buffer->base, offset);
    b->at = (position){.index = times(e, rlx_emit_scalar(e, n->in[rank]), b->unit),
                       .divisor = rlx_lir_divisor(n->in[rank]) * b->unit};
    for (int i = 0; i + 1 < tile->rank; i++)
        b->stride[i] = bytes[axes->ints[i]];
    for (int i = 0; limits && i < limits->n; i++) {
        int axis = (int)limits->ints[i];
        LLVMValueRef limit = rlx_emit_scalar(e, n->in[1 + rank + i]);
        LLVMValueRef index = rlx_emit_scalar(e, n->in[1 + axes->ints[axis]]);
        b->room[axis] = LLVMBuildSub(e->b, limit, index, "room");
    }
    b->piece = piece_of(b, tile);
}

/* Zero in the lanes of the piece at `at` that lie beyond `room` elements of the row. */
static LLVMValueRef clear_beyond(rlx_emit *e, LLVMValueRef x, int64_t at, LLVMValueRef room)
{
    if (LLVMGetTypeKind(LLVMTypeOf(x)) != LLVMVectorTypeKind)
        return x;
    enum { MOST = 32 };
    int n = (int)LLVMGetVectorSize(LLVMTypeOf(x));
    LLVMTypeRef longs = rlx_emit_vector(e->i64, n);
    LLVMValueRef lanes[MOST];
    for (int i = 0; i < n; i++)
        lanes[i] = rlx_emit_int(e->i64, at + i);
    LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, LLVMConstVector(lanes, (unsigned)n),
                                    rlx_emit_splat(e, room, longs), "");
    return LLVMBuildSelect(e->b, in, x, LLVMConstNull(LLVMTypeOf(x)), "");
}

/* Of a tile of rank 2. */
static LLVMValueRef row_at(rlx_emit *e, const blocks *b, int64_t row)
{
    LLVMValueRef by = rlx_emit_mul(e->b, rlx_emit_int(e->i64, row), b->stride[0]);
    return rlx_emit_offset(e, e->i8, b->base, by);
}

/* That of element `at` of the tile's row at `row`. */
static group group_at(rlx_emit *e, const blocks *b, LLVMValueRef row, int64_t at)
{
    position p = b->at;
    p.plus = at * b->unit;
    LLVMValueRef which = quotient(e, p, b->info->block_elems);
    return (group){.block = rlx_emit_offset(e, e->i8, row, times(e, which, b->info->block_bytes)),
                   .first = rest(e, p, b->info->block_elems),
                   .at = p};
}

/* The piece at element `at` of the tile's row at `row`; `live` and `room` may be NULL. */
static LLVMValueRef load_piece(rlx_emit *e, const blocks *b, LLVMValueRef row, int64_t at,
                               LLVMValueRef live, LLVMValueRef room)
{
    group g = group_at(e, b, row, at);
    LLVMValueRef reads = live;
    if (room) {
        LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, rlx_emit_int(e->i64, at), room, "");
        reads = live ? LLVMBuildAnd(e->b, live, in, "") : in;
    }
    if (reads) { /* of a dead row zeros, as many as the piece reads */
        const int64_t reach =
            (b->piece * b->unit + b->info->block_elems - 1) / b->info->block_elems;
        LLVMValueRef zeros = rlx_emit_zeros(e, reach * b->info->block_bytes);
        g.block = LLVMBuildSelect(e->b, reads, g.block, zeros, "");
    }
    LLVMValueRef x = load_part(e, b, &g);
    if (room)
        x = clear_beyond(e, x, at, room);
    return reads ? LLVMBuildSelect(e->b, reads, x, LLVMConstNull(LLVMTypeOf(x)), "") : x;
}

/* A row from its pieces. */
static LLVMValueRef join_pieces(rlx_emit *e, LLVMValueRef *x, int n)
{
    LLVMTypeRef part = LLVMTypeOf(x[0]);
    if (n == 1)
        return x[0];
    if (LLVMGetTypeKind(part) != LLVMVectorTypeKind) {
        LLVMValueRef v = LLVMGetPoison(LLVMVectorType(part, (unsigned)n));
        for (int i = 0; i < n; i++)
            v = LLVMBuildInsertElement(e->b, v, x[i], rlx_emit_int(e->i32, i), "");
        return v;
    }
    return rlx_emit_join(e, x, n);
}

/* Whether products alone take what is loaded: they read it piece by piece. */
static bool only_multiplied(const rlx_ir_value *loaded, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] == loaded && n->op != RLX_LIR_TURN && (n->op != RLX_LIR_DOT || i != 3))
                return false;
        for (int i = 0; i < n->nblock; i++)
            if (!only_multiplied(loaded, n->blocks[i]))
                return false;
    }
    return true;
}

/* The turn that takes all of what is loaded; or NULL. */
static const rlx_ir_node *find_turn(const rlx_ir_node *load)
{
    const rlx_ir_node *turn = load->next;
    while (turn && (turn->op != RLX_LIR_TURN || turn->in[0] != load->out[0]))
        turn = turn->next;
    return turn && rlx_ir_count_uses(load->parent, load->out[0]) == 1 ? turn : NULL;
}

/* Whether the load walks along one row, or along some that are turned: a loop's step of codes. */
static bool streams(const rlx_ir_node *n)
{
    const rlx_ir_type *tile = &n->out[0]->type;
    return rlx_lir_part_of(n) == RLX_LIR_CODES &&
           (rlx_emit_elems(tile) == tile->dim[tile->rank - 1] || find_turn(n)) &&
           n->parent->parent && n->parent->parent->op == RLX_LIR_FOR;
}

/* Rows of a window: a power of two, so many bytes or more of them. Sapphire Rapids reads 6 to 10 %
 * more by the longer one. */
static int64_t window_rows(const rlx_emit *e, int64_t row_bytes)
{
    const int64_t window = e->target->avx512 ? 64 << 10 : 16 << 10;
    int64_t rows = 1;
    while (rows * row_bytes < window)
        rows *= 2;
    return rows;
}

/* Parts of a window that a row's steps take turns in: a divisor of theirs. */
static int64_t window_parts(int64_t steps)
{
    enum { FEW = 16, MANY = 8 };
    int64_t parts = MANY;
    if (steps <= FEW)
        return steps;
    while (steps % parts != 0)
        parts /= 2;
    return parts;
}

/* Asks for the lines that the rows behind will be read from in a while, a step's worth (`elems`
 * elements) by the step; a row of weights is followed by the next one, and nothing is touched.
 *
 * Decoding takes so long that a core alone has too few lines on their way. And of lines one behind
 * the other a Zen 3 has fewer on their way than of lines in several pages: it reads 12 to 14 GB/s
 * of 144-byte steps when they are told one by one, 16 to 19 in turns out of eight places. So
 * rows are told by windows of a power of two: while one goes by, its steps tell the next one's out
 * of equal parts in turns, some eight of them. (32 parts: a third slower than one by one.) With
 * AVX-512 a step tells of what comes next, too: Sapphire Rapids reads another 2 to 6 % more, what no
 * window told of (a kernel's first rows) among it. Of rows that go together, the same step of the
 * rows behind them is next. */
static void prefetch(rlx_emit *e, const rlx_ir_node *n, const blocks *b, LLVMValueRef row,
                     int number, int64_t elems)
{
    enum { NEAR = 1536 };
    const rlx_emit_buffer *buffer = rlx_emit_get(e, n->in[0])->buffer;
    const int64_t together = n->out[0]->type.dim[0];
    const int rank = buffer->type->rank;
    if (rank < 2 || !LLVMIsAConstantInt(buffer->stride[rank - 2]))
        return;
    int64_t row_elems = LLVMConstIntGetSExtValue(buffer->stride[rank - 2]);
    int64_t row_bytes = row_elems / b->info->block_elems * b->info->block_bytes;
    int64_t bytes = elems / b->info->block_elems * b->info->block_bytes;
    int64_t rows = window_rows(e, row_bytes), parts = window_parts(row_elems / elems);
    int64_t each = row_elems / elems / parts; /* steps of a row in a part */
    LLVMValueRef place =
        rlx_emit_add(e->b, rlx_emit_scalar(e, n->in[rank - 1]), rlx_emit_int(e->i64, number));
    place = LLVMBuildURem(e->b, place, rlx_emit_int(e->i64, rows), "");
    LLVMValueRef back = times(e, place, row_bytes - each * bytes);
    LLVMValueRef from = LLVMBuildSub(e->b, rlx_emit_int(e->i64, rows * row_bytes), back, "");
    LLVMValueRef step = exact_quotient(e, b->at.index, elems), part = step;
    from = rlx_emit_offset(e, e->i8, row, from);
    if (each > 1) {
        part = LLVMBuildURem(e->b, step, rlx_emit_int(e->i64, parts), "");
        from = rlx_emit_offset(e, e->i8, from, times(e, over(e, step, parts), bytes));
    }
    from = rlx_emit_offset(e, e->i8, from, times(e, part, rows * each * bytes));
    rlx_emit_tell_lines(e, from, bytes, RLX_CACHE_SECOND);
    if (e->target->avx512) {
        LLVMValueRef block = quotient(e, b->at, b->info->block_elems);
        block = rlx_emit_offset(e, e->i8, row, times(e, block, b->info->block_bytes));
        const int64_t next = together > 1 ? together * row_bytes : NEAR;
        block = rlx_emit_offset(e, e->i8, block, rlx_emit_int(e->i64, next));
        rlx_emit_tell_lines(e, block, bytes, RLX_CACHE_FIRST);
    }
}

/* Whether many rows are turned into columns. */
static bool turns(const rlx_ir_node *n)
{
    enum { MANY = 8 };
    const rlx_ir_type *tile = &n->out[0]->type;
    if (tile->rank != 2 || tile->dim[0] < MANY)
        return false;
    for (const rlx_ir_node *use = n->next; use; use = use->next)
        if (use->op == RLX_LIR_PACK && use->in[0] == n->out[0])
            return true;
    return false;
}

/* Rows by a loop, through the stack: the text of one, where turning them costs more than that. */
static rlx_status load_by_loop(rlx_emit *e, const blocks *b, rlx_emit_tile *out, int pieces)
{
    LLVMTypeRef type = e->engine->part_type(e, &out->value->type);
    LLVMValueRef rows = LLVMBuildAlloca(e->entry, LLVMArrayType2(type, (uint64_t)out->n), "rows");
    LLVMValueRef zero = rlx_emit_int(e->i64, 0), one = rlx_emit_int(e->i64, 1), live = NULL;
    LLVMValueRef *x = RLX_NEW_ARRAY(e->arena, LLVMValueRef, pieces);
    if (!x)
        return RLX_OOM();
    rlx_emit_loop loop;
    rlx_emit_loop_begin(e, zero, rlx_emit_int(e->i64, out->n), one, &loop);
    if (b->room[0])
        live = LLVMBuildICmp(e->b, LLVMIntSLT, loop.index, b->room[0], "");
    LLVMValueRef at = rlx_emit_mul(e->b, loop.index, b->stride[0]);
    LLVMValueRef row = rlx_emit_offset(e, e->i8, b->base, at);
    for (int k = 0; k < pieces; k++)
        x[k] = load_piece(e, b, row, (int64_t)k * b->piece, live, b->room[1]);
    LLVMBuildStore(e->b, join_pieces(e, x, pieces), rlx_emit_offset(e, type, rows, loop.index));
    rlx_emit_loop_end(e, &loop);
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef from = rlx_emit_offset(e, type, rows, rlx_emit_int(e->i64, p));
        out->part[p] = LLVMBuildLoad2(e->b, type, from, "");
    }
    return RLX_OK;
}

/* Whether rows are loaded as turn pairs them, or dot: rows of whole blocks without a limit. */
static bool loads_pairs(const rlx_emit *e, const rlx_ir_node *n, const blocks *b)
{
    const rlx_ir_type *tile = &n->out[0]->type;
    for (int i = 0; i < tile->rank; i++)
        if (b->room[i])
            return false;
    return b->part == RLX_LIR_CODES && b->at.divisor % b->info->block_elems == 0 &&
           rlx_emit_has_code_pairs(b->layout) && (find_turn(n) || rlx_emit_multiplies_pairs(e, n));
}

/* Pairs of runs of `rows` rows: of groups g and g + 4 of every eight. */
static void load_pairs(rlx_emit *e, const blocks *b, const LLVMValueRef *row, int rows, int width,
                       int64_t elems, int raised, LLVMValueRef *out)
{
    enum { APART = 4, GROUPS = 2 * APART };
    LLVMValueRef which = quotient(e, b->at, b->info->block_elems), block[2];
    for (int r = 0; r < rows; r++)
        block[r] = rlx_emit_offset(e, e->i8, row[r], times(e, which, b->info->block_bytes));
    for (int at = 0; at < elems; at += GROUPS * width)
        for (int run = 0; run < width; run += RLX_BLOCK_GROUP)
            for (int g = 0; g < APART; g++) {
                const int first = at + g * width + run;
                *out = rlx_emit_code_pair(e, b->layout, block, rows, first, first + APART * width);
                *out = raised ? rlx_emit_raise(e, *out, raised) : *out;
                out++;
            }
}

/* Rows whose runs turn, or dot, pairs. */
static rlx_status load_paired(rlx_emit *e, const rlx_ir_node *n, const blocks *b,
                              rlx_emit_tile *out)
{
    enum { DOT_WIDTH = 32 };
    const rlx_ir_type *tile = &n->out[0]->type;
    const rlx_ir_node *turn = find_turn(n);
    const int width = turn ? (int)rlx_ir_attr_int(turn, RLX_ATTR_WIDTH, 0) : DOT_WIDTH;
    out->paired = true;
    out->two = turn && rlx_emit_turns_two(e, turn);
    out->raised = out->two ? rlx_emit_turn_raises(e, turn) : 0;
    out->npieces = (int)tile->dim[1] / (2 * RLX_BLOCK_GROUP);
    out->piece = RLX_NEW_ARRAY(e->arena, LLVMValueRef, out->npieces * out->n);
    if (!out->piece)
        return RLX_OOM();
    const int rows = out->two ? 2 : 1;
    for (int p = 0; p < out->n; p += rows) {
        LLVMValueRef row[2];
        for (int r = 0; r < rows; r++) {
            row[r] = row_at(e, b, p + r);
            if (streams(n))
                prefetch(e, n, b, row[r], p + r, tile->dim[1]);
        }
        load_pairs(e, b, row, rows, width, tile->dim[1], out->raised,
                   out->piece + p * out->npieces);
    }
    return RLX_OK;
}

/* Whether scales (minima) of two rows fill a register, where both take as many operations as one. */
static bool loads_two(const rlx_emit *e, const rlx_ir_node *n, const blocks *b)
{
    const rlx_ir_type *tile = &n->out[0]->type;
    return e->target->avx512 && b->layout->scale == RLX_BLOCK_SCALE_K4 && b->piece == 8 &&
           tile->rank == 2 && tile->dim[0] % 2 == 0 && !b->room[0] && !b->room[1];
}

/* Scales (minima) of rows, two by two. */
static rlx_status load_by_twos(rlx_emit *e, const blocks *b, rlx_emit_tile *out, int pieces)
{
    LLVMValueRef *x = RLX_NEW_ARRAY(e->arena, LLVMValueRef, 2 * pieces);
    if (!x)
        return RLX_OOM();
    for (int p = 0; p < out->n; p += 2) {
        for (int k = 0; k < pieces; k++) {
            const int64_t at = (int64_t)k * b->piece;
            group g = group_at(e, b, row_at(e, b, p), at);
            g.next = group_at(e, b, row_at(e, b, p + 1), at).block;
            LLVMValueRef two = load_part(e, b, &g);
            for (int i = 0; i < 2; i++)
                RLX_TRY(rlx_emit_pick(e, two, i * b->piece, 1, b->piece, &x[i * pieces + k]));
        }
        for (int i = 0; i < 2; i++)
            out->part[p + i] = join_pieces(e, x + i * pieces, pieces);
    }
    return RLX_OK;
}

rlx_status rlx_emit_cpu_load_blocks(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *tile = &n->out[0]->type;
    int last = tile->rank - 1;
    blocks b;
    blocks_init(e, n, &b);
    int pieces = (int)tile->dim[last] / b.piece;
    const bool joined = !only_multiplied(n->out[0], n->parent);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    if (turns(n))
        return load_by_loop(e, &b, out, pieces);
    if (loads_pairs(e, n, &b))
        return load_paired(e, n, &b, out);
    if (loads_two(e, n, &b))
        return load_by_twos(e, &b, out, pieces);
    out->npieces = pieces;
    out->piece = RLX_NEW_ARRAY(e->arena, LLVMValueRef, pieces * out->n);
    if (!out->piece)
        return RLX_OOM();
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef row = b.base, live = NULL, *x = out->piece + p * pieces;
        int64_t index = p;
        for (int i = last - 1; i >= 0; i--) {
            LLVMValueRef j = rlx_emit_int(e->i64, index % tile->dim[i]);
            index /= tile->dim[i];
            row = rlx_emit_offset(e, e->i8, row, rlx_emit_mul(e->b, j, b.stride[i]));
            if (b.room[i]) {
                LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, j, b.room[i], "");
                live = live ? LLVMBuildAnd(e->b, live, in, "") : in;
            }
        }
        if (streams(n))
            prefetch(e, n, &b, row, p, tile->dim[last]);
        for (int k = 0; k < pieces; k++)
            x[k] = load_piece(e, &b, row, (int64_t)k * b.piece, live, b.room[last]);
        out->part[p] = joined ? join_pieces(e, x, pieces) : NULL;
    }
    return RLX_OK;
}
