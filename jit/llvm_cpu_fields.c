#include "jit/llvm_cpu.h"

#include <stdio.h>
#include <string.h>

/* Codes and scales of blocks that are more than nibbles: planes of one or two bits, digits to the
 * base 3, values of tables, entries of grids; scales out of fields, and of other floats than f16;
 * and 32 codes at once, of nibbles too.
 * Of 16 elements that share a scale, as block_layouts.def has them and format_block.c decodes them:
 * `first` is their first one's place in the block, whose address is `block`. */

enum { GROUP = RLX_BLOCK_GROUP };

/* ---- integers ---- */

static LLVMValueRef int64_of(const rlx_emit *e, int64_t v)
{
    return rlx_emit_int(e->i64, v);
}

static LLVMValueRef over(rlx_emit *e, LLVMValueRef v, int64_t by)
{
    return LLVMBuildUDiv(e->b, v, int64_of(e, by), "");
}

static LLVMValueRef rest(rlx_emit *e, LLVMValueRef v, int64_t by)
{
    return LLVMBuildURem(e->b, v, int64_of(e, by), "");
}

static LLVMValueRef times(rlx_emit *e, LLVMValueRef v, int64_t by)
{
    return rlx_emit_mul(e->b, v, int64_of(e, by));
}

static LLVMValueRef plus(rlx_emit *e, LLVMValueRef v, int64_t more)
{
    return rlx_emit_add(e->b, v, int64_of(e, more));
}

/* A whole number of v's type, which may be a vector. */
static LLVMValueRef like(rlx_emit *e, LLVMValueRef v, int64_t n)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    bool vector = LLVMGetTypeKind(type) == LLVMVectorTypeKind;
    return rlx_emit_splat(e, rlx_emit_int(vector ? LLVMGetElementType(type) : type, n), type);
}

static LLVMValueRef and_of(rlx_emit *e, LLVMValueRef v, int64_t mask)
{
    return LLVMBuildAnd(e->b, v, like(e, v, mask), "");
}

static LLVMValueRef shifted(rlx_emit *e, LLVMValueRef v, int by)
{
    return by ? LLVMBuildLShr(e->b, v, like(e, v, by), "") : v;
}

/* `type` at byte `offset` (i64) of the block. */
static LLVMValueRef load_at(rlx_emit *e, LLVMValueRef block, LLVMValueRef offset, LLVMTypeRef type)
{
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, rlx_emit_offset(e, e->i8, block, offset), "");
    LLVMSetAlignment(v, 1);
    return v;
}

/* Bytes 0..n-1 of it, as the function `value` has them. */
static LLVMValueRef byte_vector(const rlx_emit *e, int n, int (*value)(int i, int by), int by)
{
    LLVMValueRef v[GROUP];
    for (int i = 0; i < n; i++)
        v[i] = rlx_emit_int(e->i8, value(i, by));
    return LLVMConstVector(v, (unsigned)n);
}

static LLVMTypeRef bytes_type(const rlx_emit *e)
{
    return rlx_emit_vector(e->i8, GROUP);
}

static LLVMValueRef byte_splat(rlx_emit *e, int64_t v)
{
    return rlx_emit_splat(e, rlx_emit_int(e->i8, v), bytes_type(e));
}

/* Byte `from(i, by)` of x in byte i. */
static LLVMValueRef spread(rlx_emit *e, LLVMValueRef x, int (*from)(int i, int by), int by)
{
    LLVMValueRef mask[GROUP];
    for (int i = 0; i < GROUP; i++)
        mask[i] = rlx_emit_int(e->i32, from(i, by));
    return LLVMBuildShuffleVector(e->b, x, LLVMGetPoison(LLVMTypeOf(x)),
                                  LLVMConstVector(mask, GROUP), "");
}

/* A table in the kernel's own memory, made once. */
static LLVMValueRef table(rlx_emit *e, const char *name, const int8_t *bytes, unsigned n)
{
    LLVMValueRef g = LLVMGetNamedGlobal(e->module, name);
    if (!g) {
        LLVMValueRef data = LLVMConstStringInContext2(e->cx, (const char *)bytes, n, true);
        g = LLVMAddGlobal(e->module, LLVMTypeOf(data), name);
        LLVMSetInitializer(g, data);
        LLVMSetGlobalConstant(g, true);
        LLVMSetLinkage(g, LLVMPrivateLinkage);
        LLVMSetAlignment(g, GROUP);
    }
    return g;
}

/* ---- fields ---- */

/* Number `i` (i64) of a role, as i64. */
static LLVMValueRef load_field(rlx_emit *e, rlx_format f, rlx_block_role role, LLVMValueRef block,
                               LLVMValueRef i)
{
    const rlx_block_field *l = rlx_format_field(f, role);
    LLVMValueRef q = over(e, i, l->per), r = rest(e, i, l->per);
    LLVMTypeRef type = LLVMIntTypeInContext(e->cx, 8 * (unsigned)l->word);
    LLVMValueRef word = load_at(e, block, plus(e, times(e, q, l->next), l->at), type);
    LLVMValueRef by = rlx_emit_add(e->b, times(e, r, l->step), times(e, q, l->lift));
    word = LLVMBuildZExt(e->b, word, e->i64, "");
    word = LLVMBuildLShr(e->b, word, plus(e, by, l->shift), "");
    return and_of(e, word, (1 << l->bits) - 1);
}

/* The same with the bits above it that another role has. */
static LLVMValueRef load_high_field(rlx_emit *e, rlx_format f, rlx_block_role role,
                                    rlx_block_role high, LLVMValueRef block, LLVMValueRef i)
{
    LLVMValueRef low = load_field(e, f, role, block, i);
    if (!rlx_format_field(f, high)->bits)
        return low;
    LLVMValueRef above = load_field(e, f, high, block, i);
    above = LLVMBuildShl(e->b, above, int64_of(e, rlx_format_field(f, role)->bits), "");
    return LLVMBuildOr(e->b, low, above, "");
}

/* ---- scales ---- */

static LLVMValueRef from_half(rlx_emit *e, LLVMValueRef bits)
{
    return LLVMBuildFPExt(e->b, LLVMBuildBitCast(e->b, bits, e->f16, ""), e->f32, "");
}

/* f32, as many as there are in v. */
static LLVMTypeRef floats_of(const rlx_emit *e, LLVMValueRef v)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    bool vector = LLVMGetTypeKind(type) == LLVMVectorTypeKind;
    return vector ? rlx_emit_vector(e->f32, LLVMGetVectorSize(type)) : e->f32;
}

static LLVMValueRef as_float(rlx_emit *e, LLVMValueRef bits)
{
    return LLVMBuildBitCast(e->b, bits, floats_of(e, bits), "");
}

/* Half of 2^(x-127). Below 2 it has no exponent, and what it would have is less than the bits that
 * it has: once or twice the least. One i32 or a vector of them, below 256. */
LLVMValueRef rlx_emit_from_e8m0(rlx_emit *e, LLVMValueRef x)
{
    const int least = 0x00200000, one = 0x00800000;
    LLVMValueRef low = LLVMBuildShl(e->b, x, like(e, x, 21), "");
    LLVMValueRef high = LLVMBuildShl(e->b, low, like(e, x, 2), "");
    LLVMValueRef args[] = {LLVMBuildAdd(e->b, low, like(e, x, least), ""),
                           LLVMBuildAdd(e->b, high, like(e, x, -one), "")};
    return as_float(e, rlx_emit_intrinsic(e, "llvm.smax", LLVMTypeOf(x), args, 2));
}

/* Half of a float of 4 and 3 bits; 0 for the one whose bits are all set. */
static LLVMValueRef from_e4m3(rlx_emit *e, LLVMValueRef x)
{
    enum { ALL = 0x7f, BIAS = 127 - 8 };
    LLVMValueRef zero = rlx_emit_int(e->i32, 0), mantissa = and_of(e, x, 7);
    LLVMValueRef exponent = and_of(e, shifted(e, x, 3), 15);
    LLVMValueRef normal = LLVMBuildAdd(e->b, exponent, rlx_emit_int(e->i32, BIAS), "");
    normal = LLVMBuildShl(e->b, normal, rlx_emit_int(e->i32, 23), "");
    LLVMValueRef below = LLVMBuildShl(e->b, mantissa, rlx_emit_int(e->i32, 20), "");
    normal = as_float(e, LLVMBuildOr(e->b, normal, below, ""));
    LLVMValueRef least = LLVMBuildSIToFP(e->b, mantissa, e->f32, "");
    least = LLVMBuildFMul(e->b, least, LLVMConstReal(e->f32, 0x1p-10), "");
    LLVMValueRef tiny = LLVMBuildICmp(e->b, LLVMIntEQ, exponent, zero, "");
    LLVMValueRef none = LLVMBuildICmp(e->b, LLVMIntEQ, x, rlx_emit_int(e->i32, ALL), "");
    LLVMValueRef v = LLVMBuildSelect(e->b, tiny, least, normal, "");
    return LLVMBuildSelect(e->b, none, LLVMConstReal(e->f32, 0), v, "");
}

/* An f16 of which four words have four bits each, the first the lowest. */
static LLVMValueRef from_top4(rlx_emit *e, LLVMValueRef words)
{
    LLVMValueRef half = rlx_emit_int(e->i64, 0);
    for (int i = 0; i < 4; i++)
        half = LLVMBuildOr(e->b, half, and_of(e, shifted(e, words, 12 + 12 * i), 15 << 4 * i), "");
    return from_half(e, LLVMBuildTrunc(e->b, half, e->i16, ""));
}

static LLVMValueRef load_factor(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                LLVMValueRef first)
{
    LLVMValueRef at = int64_of(e, l->d);
    switch (l->factor) {
    case RLX_BLOCK_FACTOR_F32:
        return load_at(e, block, at, e->f32);
    case RLX_BLOCK_FACTOR_E8M0:
        return rlx_emit_from_e8m0(e, LLVMBuildZExt(e->b, load_at(e, block, at, e->i8), e->i32, ""));
    case RLX_BLOCK_FACTOR_E4M3:
        at = rlx_emit_add(e->b, over(e, first, GROUP), at);
        return from_e4m3(e, LLVMBuildZExt(e->b, load_at(e, block, at, e->i8), e->i32, ""));
    case RLX_BLOCK_FACTOR_TOP4:
        return from_top4(e, load_at(e, block, at, e->i64));
    case RLX_BLOCK_FACTOR_F16:
        break;
    }
    return from_half(e, load_at(e, block, at, e->i16));
}

/* A whole number, i64, or a vector of i32, as f32. */
static LLVMValueRef number(rlx_emit *e, LLVMValueRef v)
{
    if (LLVMTypeOf(v) == e->i64)
        v = LLVMBuildTrunc(e->b, v, e->i32, "");
    return LLVMBuildSIToFP(e->b, v, floats_of(e, v), "");
}

bool rlx_emit_has_field_scales(const rlx_block_layout *l)
{
    return l->factor != RLX_BLOCK_FACTOR_F16 || l->scale == RLX_BLOCK_SCALE_BY16 ||
           l->scale == RLX_BLOCK_SCALE_BY32;
}

LLVMValueRef rlx_emit_field_scale(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                  LLVMValueRef first, LLVMValueRef *add)
{
    rlx_format f = l->format;
    const rlx_block_affine *by = rlx_format_affine(f);
    LLVMValueRef d = load_factor(e, l, block, first);
    *add = NULL;
    if (l->scale == RLX_BLOCK_SCALE_PLAIN)
        return d;
    LLVMValueRef i = over(e, first, rlx_format_group(f));
    LLVMValueRef s = load_high_field(e, f, RLX_BLOCK_SCALE, RLX_BLOCK_SCALE_HIGH, block, i);
    s = plus(e, times(e, s, by->a), by->b);
    if (l->m >= 0) {
        LLVMValueRef m = from_half(e, load_at(e, block, int64_of(e, l->m), e->i16));
        LLVMValueRef t = number(e, load_field(e, f, RLX_BLOCK_MIN, block, i));
        *add = LLVMBuildFNeg(e->b, LLVMBuildFMul(e->b, m, t, ""), "");
    }
    s = LLVMBuildFMul(e->b, d, number(e, s), "");
    return by->c == 1 ? s : LLVMBuildFMul(e->b, s, LLVMConstReal(e->f32, by->c), "");
}

/* ---- eight scales at once ---- */

enum { EIGHT = 8, HALF = EIGHT / 2, WORD = 4 /* bytes */ };

/* Where eight fields lie: four each in 16 bytes of the block, or all of them in a word. */
typedef struct eight_fields {
    bool word;
    int from[2];                        /* bytes of the block that are read */
    int at[EIGHT], n[EIGHT], by[EIGHT]; /* the bytes of each, how far they are shifted */
} eight_fields;

/* Numbers first..first+7 of a role; false where they lie too far apart. */
static bool find_eight(rlx_format f, rlx_block_role role, int first, eight_fields *x)
{
    const rlx_block_field *l = rlx_format_field(f, role);
    int block = rlx_format_get(f)->block_bytes, lo[2] = {block, block}, hi[2] = {0};
    for (int i = 0; i < EIGHT; i++) {
        int q = (first + i) / l->per, r = (first + i) % l->per, h = i / HALF;
        int bit = 8 * (l->at + q * l->next) + l->shift + r * l->step + q * l->lift;
        x->at[i] = bit / 8;
        x->by[i] = bit % 8;
        x->n[i] = (x->by[i] + l->bits + 7) / 8;
        lo[h] = x->at[i] < lo[h] ? x->at[i] : lo[h];
        hi[h] = x->at[i] + x->n[i] > hi[h] ? x->at[i] + x->n[i] : hi[h];
    }
    int least = lo[0] < lo[1] ? lo[0] : lo[1], most = hi[0] > hi[1] ? hi[0] : hi[1];
    x->word = most - least <= WORD;
    bool together = most - least <= GROUP;
    for (int h = 0; h < 2; h++) {
        int bytes = x->word ? WORD : GROUP;
        x->from[h] = together ? least : lo[h];
        x->from[h] = x->from[h] + bytes > block ? block - bytes : x->from[h];
    }
    return together || (hi[0] - lo[0] <= GROUP && hi[1] - lo[1] <= GROUP);
}

/* The bytes of each in 32 bits: i32<8>. */
static LLVMValueRef gather_eight(rlx_emit *e, LLVMValueRef block, const eight_fields *x)
{
    enum { BYTES = WORD * EIGHT };
    LLVMTypeRef bytes = rlx_emit_vector(e->i8, BYTES);
    LLVMValueRef half[2], at[BYTES];
    for (int h = 0; h < 2; h++)
        half[h] = load_at(e, block, int64_of(e, x->from[h]), bytes_type(e));
    for (int i = 0; i < BYTES; i++)
        at[i] = rlx_emit_int(e->i32, i);
    LLVMValueRef v = LLVMBuildShuffleVector(e->b, half[0], half[1], LLVMConstVector(at, BYTES), "");
    for (int i = 0; i < BYTES; i++) {
        int lane = i / WORD, h = lane / HALF;
        int from = h * GROUP + x->at[lane] - x->from[h] + i % WORD;
        at[i] = rlx_emit_int(e->i32, i % WORD < x->n[lane] ? from : BYTES);
    }
    v = LLVMBuildShuffleVector(e->b, v, LLVMConstNull(bytes), LLVMConstVector(at, BYTES), "");
    return LLVMBuildBitCast(e->b, v, rlx_emit_vector(e->i32, EIGHT), "");
}

/* Numbers first..first+7 of a role: i32<8>. */
static LLVMValueRef load_eight(rlx_emit *e, rlx_format f, rlx_block_role role, LLVMValueRef block,
                               int first)
{
    eight_fields x;
    LLVMValueRef by[EIGHT], v;
    LLVMTypeRef type = rlx_emit_vector(e->i32, EIGHT);
    find_eight(f, role, first, &x);
    for (int i = 0; i < EIGHT; i++)
        by[i] = rlx_emit_int(e->i32, x.by[i] + (x.word ? 8 * (x.at[i] - x.from[0]) : 0));
    if (x.word)
        v = rlx_emit_splat(e, load_at(e, block, int64_of(e, x.from[0]), e->i32), type);
    else
        v = gather_eight(e, block, &x);
    v = LLVMBuildLShr(e->b, v, LLVMConstVector(by, EIGHT), "");
    return and_of(e, v, (1 << rlx_format_field(f, role)->bits) - 1);
}

bool rlx_emit_has_eight_scales(const rlx_block_layout *l)
{
    static const rlx_block_role roles[] = {RLX_BLOCK_SCALE, RLX_BLOCK_SCALE_HIGH, RLX_BLOCK_MIN};
    eight_fields x;
    if (l->scale != RLX_BLOCK_SCALE_BY16 && l->scale != RLX_BLOCK_SCALE_BY32)
        return false;
    int groups = rlx_format_get(l->format)->block_elems / rlx_format_group(l->format);
    for (int i = 0; i < (int)(sizeof roles / sizeof *roles); i++)
        for (int first = 0; first < groups && rlx_format_field(l->format, roles[i])->bits;
             first += EIGHT)
            if (!find_eight(l->format, roles[i], first, &x))
                return false;
    return groups % EIGHT == 0;
}

/* An f16 in eight lanes, as f32. */
static LLVMValueRef spread_half(rlx_emit *e, LLVMValueRef block, int at)
{
    LLVMValueRef x = load_at(e, block, int64_of(e, at), e->i16);
    x = rlx_emit_splat(e, x, rlx_emit_vector(e->i16, EIGHT));
    x = LLVMBuildBitCast(e->b, x, rlx_emit_vector(e->f16, EIGHT), "");
    return LLVMBuildFPExt(e->b, x, rlx_emit_vector(e->f32, EIGHT), "");
}

/* Six-bit scales times 4, or minima times 16, of a block or of two: K4. Two bytes each go into 32
 * bits: one with the low bits and, of the latter four, one with the upper two as its own upper two,
 * which products of bytes shift into their places: i32<8> or <16>. */
LLVMValueRef rlx_emit_spread_sixes(rlx_emit *e, const rlx_block_layout *l,
                                   const LLVMValueRef *block, int blocks, bool min)
{
    enum { SIXES = 8, BYTES = 4 * SIXES, MOST = 2 * BYTES };
    const int n = blocks * BYTES;
    LLVMTypeRef type = rlx_emit_vector(e->i8, n), words = rlx_emit_vector(e->i32, n / 4);
    LLVMValueRef twice[BYTES], from[MOST], keep[MOST], by[MOST], x[2];
    for (int i = 0; i < n; i++) {
        int h = i % BYTES / 4, own = l->scales + (i % 4 < 2 ? 0 : 4), both = l->scales + 8;
        bool of_min = i % 4 >= 2, low = i % 2 == 0, four = h < 4;
        int at = i / 16 * 16 + (four ? own + h : low ? both + h - 4 : own + h - 4);
        int mask = low ? (four ? 0x3f : of_min ? 0xf0 : 0x0f) : 0xc0;
        int times_low = of_min ? (four ? 16 : 1) : 4, times_top = of_min ? 4 : 1;
        twice[i % BYTES] = rlx_emit_int(e->i32, i % 16);
        from[i] = rlx_emit_int(e->i32, low || !four ? at : n);
        keep[i] = rlx_emit_int(e->i8, mask);
        by[i] = rlx_emit_int(e->i8, low ? times_low : times_top);
    }
    for (int i = 0; i < blocks; i++) {
        x[i] = load_at(e, block[i], int64_of(e, 0), bytes_type(e));
        x[i] = LLVMBuildShuffleVector(e->b, x[i], LLVMGetPoison(LLVMTypeOf(x[i])),
                                      LLVMConstVector(twice, BYTES), "");
    }
    LLVMValueRef all = rlx_emit_join(e, x, blocks);
    all = LLVMBuildShuffleVector(e->b, all, LLVMConstNull(type), LLVMConstVector(from, (unsigned)n),
                                 "");
    LLVMValueRef args[] = {LLVMBuildAnd(e->b, all, LLVMConstVector(keep, (unsigned)n), ""),
                           LLVMConstVector(by, (unsigned)n)};
    all = rlx_emit_intrinsic(
        e, blocks > 1 ? "llvm.x86.avx512.pmaddubs.w.512" : "llvm.x86.avx2.pmadd.ub.sw", NULL, args,
        2);
    all = LLVMBuildBitCast(e->b, all, words, "");
    if (min)
        return LLVMBuildLShr(e->b, all, rlx_emit_splat(e, rlx_emit_int(e->i32, 16), words), "");
    return LLVMBuildAnd(e->b, all, rlx_emit_splat(e, rlx_emit_int(e->i32, 0xffff), words), "");
}

LLVMValueRef rlx_emit_eight_scales(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                   int first)
{
    rlx_format f = l->format;
    const rlx_block_affine *by = rlx_format_affine(f);
    LLVMValueRef s = load_eight(e, f, RLX_BLOCK_SCALE, block, first), d;
    if (rlx_format_field(f, RLX_BLOCK_SCALE_HIGH)->bits) {
        LLVMValueRef high = load_eight(e, f, RLX_BLOCK_SCALE_HIGH, block, first);
        high = LLVMBuildShl(e->b, high, like(e, s, rlx_format_field(f, RLX_BLOCK_SCALE)->bits), "");
        s = LLVMBuildOr(e->b, s, high, "");
    }
    if (by->a != 1)
        s = LLVMBuildMul(e->b, s, like(e, s, by->a), "");
    s = number(e, LLVMBuildAdd(e->b, s, like(e, s, by->b), ""));
    if (l->factor == RLX_BLOCK_FACTOR_F16)
        d = spread_half(e, block, l->d);
    else
        d = rlx_emit_splat(e, load_factor(e, l, block, NULL), LLVMTypeOf(s));
    s = LLVMBuildFMul(e->b, d, s, "");
    if (by->c == 1)
        return s;
    return LLVMBuildFMul(e->b, s, rlx_emit_splat(e, LLVMConstReal(e->f32, by->c), LLVMTypeOf(s)),
                         "");
}

LLVMValueRef rlx_emit_eight_mins(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                 int first)
{
    LLVMValueRef t = number(e, load_eight(e, l->format, RLX_BLOCK_MIN, block, first));
    return LLVMBuildFMul(e->b, spread_half(e, block, l->m), t, "");
}

/* ---- bits ---- */

static int byte_of_run(int i, int by) /* of 16 elements in planes of one byte: bits each */
{
    return i * by / 8;
}

static int shift_in_run(int i, int by)
{
    return i * by % 8;
}

static int byte_of_halves(int i, int by) /* in planes of eight bytes: two nibbles */
{
    return i % by;
}

static int shift_of_halves(int i, int by)
{
    return i / by * 4;
}

/* Planes of fewer than 16 bytes: those of the group are 2 * bits bytes of its own. */
static LLVMValueRef load_short_planes(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                      LLVMValueRef first)
{
    int bits = l->low_bits;
    LLVMValueRef at = plus(e, over(e, times(e, first, bits), 8), l->low);
    LLVMValueRef x = load_at(e, block, at, rlx_emit_vector(e->i8, 2 * bits)), by;
    if (l->span == 1) {
        x = spread(e, x, byte_of_run, bits);
        by = byte_vector(e, GROUP, shift_in_run, bits);
    } else {
        x = spread(e, x, byte_of_halves, l->span);
        by = byte_vector(e, GROUP, shift_of_halves, l->span);
    }
    return LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, x, by, ""), byte_splat(e, (1 << bits) - 1), "");
}

/* `bits` bits of each of 16 bytes, of plane `plane` (i64). */
static LLVMValueRef plane_bits(rlx_emit *e, LLVMValueRef bytes, LLVMValueRef plane, int bits)
{
    LLVMValueRef by = LLVMBuildTrunc(e->b, times(e, plane, bits), e->i8, "");
    bytes = LLVMBuildLShr(e->b, bytes, rlx_emit_splat(e, by, bytes_type(e)), "");
    return LLVMBuildAnd(e->b, bytes, byte_splat(e, (1 << bits) - 1), "");
}

/* Of a run of `span` bytes that holds 8 / bits planes of as many elements. */
static LLVMValueRef load_planes(rlx_emit *e, LLVMValueRef block, LLVMValueRef first, int low,
                                int span, int bits)
{
    int elems = span * 8 / bits;
    LLVMValueRef in = rest(e, first, elems);
    LLVMValueRef at = rlx_emit_add(e->b, times(e, over(e, first, elems), span), rest(e, in, span));
    LLVMValueRef bytes = load_at(e, block, plus(e, at, low), bytes_type(e));
    return plane_bits(e, bytes, over(e, in, span), bits);
}

static LLVMValueRef load_bits(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                              LLVMValueRef first)
{
    enum { HIGH_SPAN = 32 };
    if (l->low_bits == 8)
        return load_at(e, block, plus(e, first, l->low), bytes_type(e));
    if (l->span < GROUP)
        return load_short_planes(e, l, block, first);
    LLVMValueRef q = load_planes(e, block, first, l->low, l->span, l->low_bits);
    if (l->high < 0)
        return q;
    LLVMValueRef high = load_planes(e, block, first, l->high, HIGH_SPAN, l->high_bits);
    return LLVMBuildOr(e->b, q, LLVMBuildShl(e->b, high, byte_splat(e, l->low_bits), ""), "");
}

/* ---- digits to the base 3 ---- */

enum {
    TRIT_LAST = 240,
    TRIT_LAST_AT = 10
}; /* the last group's four bytes, in the 16 that end there */

static int last_trits(int i, int by)
{
    (void)by;
    return TRIT_LAST_AT + i % 4;
}

/* Where the bytes of group g begin, and what they are multiplied by, element by element. */
static int trit_byte(int g)
{
    return g < 10 ? g % 2 * 16 : g < 15 ? 32 : 48 - TRIT_LAST_AT;
}

static int trit_factor(int g, int i)
{
    static const int8_t power[] = {1, 3, 9, 27, 81};
    return power[g < 10 ? g / 2 : g < 15 ? g - 10 : i / 4];
}

static LLVMValueRef load_trits(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                               LLVMValueRef first)
{
    int8_t factors[GROUP * GROUP], at[GROUP];
    for (int i = 0; i < GROUP * GROUP; i++)
        factors[i] = (int8_t)trit_factor(i / GROUP, i % GROUP);
    for (int g = 0; g < GROUP; g++)
        at[g] = (int8_t)trit_byte(g);
    LLVMValueRef where = table(e, "trit_bytes", at, sizeof at);
    LLVMValueRef by = table(e, "trit_factors", factors, sizeof factors);
    where = LLVMBuildZExt(e->b, load_at(e, where, over(e, first, GROUP), e->i8), e->i64, "");
    LLVMValueRef x = load_at(e, block, plus(e, where, l->low), bytes_type(e));
    LLVMValueRef last = LLVMBuildICmp(e->b, LLVMIntEQ, first, int64_of(e, TRIT_LAST), "");
    x = LLVMBuildSelect(e->b, last, spread(e, x, last_trits, 0), x, "");
    x = LLVMBuildMul(e->b, x, load_at(e, by, first, bytes_type(e)), "");
    LLVMTypeRef words = rlx_emit_vector(e->i16, GROUP);
    x = LLVMBuildMul(e->b, LLVMBuildZExt(e->b, x, words, ""),
                     rlx_emit_splat(e, rlx_emit_int(e->i16, 3), words), "");
    x = LLVMBuildLShr(e->b, x, rlx_emit_splat(e, rlx_emit_int(e->i16, 8), words), "");
    return LLVMBuildTrunc(e->b, x, bytes_type(e), "");
}

/* ---- values of tables ---- */

/* Of 16 of them, on x86 of 32, too. */
static LLVMValueRef look_up(rlx_emit *e, const int8_t *values, LLVMValueRef q)
{
    LLVMValueRef v[4 * GROUP];
    unsigned n = LLVMGetVectorSize(LLVMTypeOf(q));
    for (unsigned i = 0; i < n; i++)
        v[i] = rlx_emit_int(e->i8, values[i % GROUP]);
    LLVMValueRef args[] = {LLVMConstVector(v, n), q};
    if (e->target->kind == RLX_JIT_AARCH64)
        return rlx_emit_intrinsic(e, "llvm.aarch64.neon.tbl1", LLVMTypeOf(q), args, 2);
    const char *name = n == GROUP       ? "llvm.x86.ssse3.pshuf.b.128"
                       : n == 2 * GROUP ? "llvm.x86.avx2.pshuf.b"
                                        : "llvm.x86.avx512.pshuf.b.512";
    return rlx_emit_intrinsic(e, name, NULL, args, 2);
}

LLVMValueRef rlx_emit_values(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef bits)
{
    const int8_t *values = rlx_block_values(l->codes);
    LLVMValueRef half[2];
    if (!values)
        return bits;
    if (e->target->kind != RLX_JIT_AARCH64)
        return look_up(e, values, bits);
    for (int h = 0; h < 2; h++) {
        LLVMValueRef at[GROUP];
        for (int i = 0; i < GROUP; i++)
            at[i] = rlx_emit_int(e->i32, h * GROUP + i);
        half[h] = LLVMBuildShuffleVector(e->b, bits, LLVMGetPoison(LLVMTypeOf(bits)),
                                         LLVMConstVector(at, GROUP), "");
        half[h] = look_up(e, values, half[h]);
    }
    return rlx_emit_join(e, half, 2);
}

/* Values that were just looked up in a table are looked up in a raised one. */
LLVMValueRef rlx_emit_raise(rlx_emit *e, LLVMValueRef codes, int by)
{
    LLVMTypeRef type = LLVMTypeOf(codes);
    LLVMValueRef more = rlx_emit_splat(e, rlx_emit_int(e->i8, by), type);
    size_t length;
    if (LLVMIsACallInst(codes) &&
        strstr(LLVMGetValueName2(LLVMGetCalledValue(codes), &length), ".pshuf.b") &&
        LLVMIsConstant(LLVMGetOperand(codes, 0))) {
        LLVMValueRef fn = LLVMGetCalledValue(codes);
        LLVMValueRef args[] = {LLVMConstAdd(LLVMGetOperand(codes, 0), more),
                               LLVMGetOperand(codes, 1)};
        return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, 2, "");
    }
    return LLVMBuildAdd(e->b, codes, more, "");
}

LLVMValueRef rlx_emit_take_bias(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef bits)
{
    return l->bias ? LLVMBuildSub(e->b, bits, like(e, bits, l->bias), "") : bits;
}

/* ---- 32 codes at once ---- */

enum { MANY = 32 };

bool rlx_emit_has_32_codes(const rlx_block_layout *l, int64_t divisor)
{
    const bool words = l->high < 0 || l->high_bits == 32;
    if (l->low_bits != 4)
        return false;
    if (l->span >= MANY)
        return !words && divisor % rlx_format_get(l->format)->block_elems == 0;
    return words && (l->span == 8 || l->span == 16) && divisor % MANY == 0;
}

/* 16 in byte i where bit i of the word is set. */
static LLVMValueRef spread_word(rlx_emit *e, LLVMValueRef word)
{
    LLVMTypeRef type = rlx_emit_vector(e->i8, MANY);
    LLVMValueRef of[MANY], bit[MANY];
    for (int i = 0; i < MANY; i++) {
        of[i] = rlx_emit_int(e->i32, i / 16 * 16 + i / 8);
        bit[i] = rlx_emit_int(e->i8, 1 << i % 8);
    }
    word = LLVMBuildBitCast(e->b, rlx_emit_splat(e, word, rlx_emit_vector(e->i32, 8)), type, "");
    LLVMValueRef all =
        LLVMBuildShuffleVector(e->b, word, LLVMGetPoison(type), LLVMConstVector(of, MANY), "");
    LLVMValueRef bits = LLVMConstVector(bit, MANY);
    LLVMValueRef set = LLVMBuildICmp(e->b, LLVMIntEQ, LLVMBuildAnd(e->b, all, bits, ""), bits, "");
    return LLVMBuildSelect(e->b, set, like(e, all, 16), LLVMConstNull(type), "");
}

/* Bytes shifted by so many bits, to the left where those are less than 0: a shift by words takes
 * what the mask drops. */
static LLVMValueRef shift_bytes(rlx_emit *e, LLVMValueRef bytes, int by, int64_t mask)
{
    LLVMTypeRef type = LLVMTypeOf(bytes);
    LLVMValueRef x = LLVMBuildBitCast(e->b, bytes, rlx_emit_vector(e->i16, MANY / 2), "");
    x = by < 0 ? LLVMBuildShl(e->b, x, like(e, x, -by), "") : shifted(e, x, by);
    return and_of(e, LLVMBuildBitCast(e->b, x, type, ""), mask);
}

/* Nibbles of runs of 32 bytes or more, and of planes above them. */
static LLVMValueRef load_32_of_planes(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                      int first)
{
    LLVMTypeRef type = rlx_emit_vector(e->i8, MANY);
    const int in = first % (2 * l->span), at = first / (2 * l->span) * l->span + in % l->span;
    const int elems = MANY * 8 / l->high_bits, plane = first % elems / MANY;
    LLVMValueRef q = load_at(e, block, int64_of(e, l->low + at), type);
    LLVMValueRef high = load_at(e, block, int64_of(e, l->high + first / elems * MANY), type);
    q = shift_bytes(e, q, in / l->span * 4, 15);
    high = shift_bytes(e, high, plane * l->high_bits - 4, ((1 << l->high_bits) - 1) << 4);
    return LLVMBuildOr(e->b, q, high, "");
}

/* A load that repeats 16 bytes is a plain one, and a shift by words takes what the mask drops. */
LLVMValueRef rlx_emit_32_codes(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                               LLVMValueRef first)
{
    LLVMTypeRef type = rlx_emit_vector(e->i8, MANY), words = rlx_emit_vector(e->i32, 8);
    LLVMValueRef by[8], mask[MANY];
    if (l->span >= MANY)
        return load_32_of_planes(e, l, block, (int)LLVMConstIntGetSExtValue(first));
    LLVMValueRef half = load_at(e, block, plus(e, over(e, first, 2), l->low), bytes_type(e));
    for (int i = 0; i < MANY; i++) {
        mask[i] = rlx_emit_int(e->i32, i / (2 * l->span) * l->span + i % l->span);
        by[i / 4] = rlx_emit_int(e->i32, i / l->span % 2 * 4);
    }
    LLVMValueRef q = LLVMBuildShuffleVector(e->b, half, LLVMGetPoison(LLVMTypeOf(half)),
                                            LLVMConstVector(mask, MANY), "");
    q = LLVMBuildLShr(e->b, LLVMBuildBitCast(e->b, q, words, ""), LLVMConstVector(by, 8), "");
    q = and_of(e, LLVMBuildBitCast(e->b, q, type, ""), 15);
    if (l->high < 0)
        return rlx_emit_values(e, l, q);
    LLVMValueRef word = load_at(e, block, int64_of(e, l->high), e->i32);
    return LLVMBuildOr(e->b, q, spread_word(e, word), "");
}

/* ---- entries of grids ---- */

static LLVMValueRef grid_table(rlx_emit *e, rlx_format f, const rlx_block_grid *g)
{
    char name[32];
    snprintf(name, sizeof name, "grid_%s", rlx_format_get(f)->name);
    return table(e, name, g->values, (unsigned)(g->entries * g->run));
}

/* The values of the runs of 16 elements. */
static LLVMValueRef load_entries(rlx_emit *e, rlx_format f, LLVMValueRef block, LLVMValueRef first)
{
    rlx_block_grid g = rlx_format_grid(f);
    LLVMValueRef from = grid_table(e, f, &g);
    int runs = GROUP / g.run;
    LLVMTypeRef entry = g.run == 8 ? e->i64 : e->i32;
    LLVMValueRef v = LLVMGetPoison(rlx_emit_vector(entry, runs));
    for (int r = 0; r < runs; r++) {
        LLVMValueRef i = plus(e, over(e, first, g.run), r);
        i = load_high_field(e, f, RLX_BLOCK_INDEX, RLX_BLOCK_INDEX_HIGH, block, i);
        LLVMValueRef x = load_at(e, from, times(e, i, g.run), entry);
        v = LLVMBuildInsertElement(e->b, v, x, rlx_emit_int(e->i32, r), "");
    }
    return LLVMBuildBitCast(e->b, v, bytes_type(e), "");
}

/* Two numbers of 8 bits as a lane each of 16. */
static LLVMValueRef lanes_of(rlx_emit *e, LLVMValueRef low, LLVMValueRef high)
{
    high = LLVMBuildShl(e->b, high, int64_of(e, 8), "");
    LLVMValueRef both = LLVMBuildTrunc(e->b, LLVMBuildOr(e->b, low, high, ""), e->i16, "");
    return LLVMBuildBitCast(e->b, both, rlx_emit_vector(e->i1, GROUP), "");
}

/* The signs of 8 elements. */
static LLVMValueRef load_signs(rlx_emit *e, rlx_format f, LLVMValueRef block, LLVMValueRef eight)
{
    LLVMValueRef s = load_field(e, f, RLX_BLOCK_SIGNS, block, eight);
    if (rlx_format_field(f, RLX_BLOCK_SIGNS)->bits == 8)
        return s;
    LLVMValueRef odd = and_of(e, rlx_emit_intrinsic(e, "llvm.ctpop", e->i64, &s, 1), 1);
    return LLVMBuildOr(e->b, s, LLVMBuildShl(e->b, odd, int64_of(e, 7), ""), "");
}

/* All ones where the run's bit is set. */
static LLVMValueRef load_shift(rlx_emit *e, rlx_format f, LLVMValueRef block, LLVMValueRef run)
{
    return times(e, load_field(e, f, RLX_BLOCK_SHIFT, block, run), 0xff);
}

static LLVMValueRef load_grid(rlx_emit *e, rlx_format f, LLVMValueRef block, LLVMValueRef first)
{
    LLVMValueRef q = load_entries(e, f, block, first), low = over(e, first, 8);
    LLVMValueRef high = plus(e, low, 1), lanes;
    if (rlx_format_field(f, RLX_BLOCK_SIGNS)->bits) {
        lanes = lanes_of(e, load_signs(e, f, block, low), load_signs(e, f, block, high));
        return LLVMBuildSelect(e->b, lanes, LLVMBuildNeg(e->b, q, ""), q, "");
    }
    lanes = lanes_of(e, load_shift(e, f, block, low), load_shift(e, f, block, high));
    LLVMValueRef by = LLVMBuildSelect(e->b, lanes, byte_splat(e, -1), byte_splat(e, 1), "");
    return LLVMBuildAdd(e->b, q, by, "");
}

/* ---- codes ---- */

bool rlx_emit_has_field_codes(const rlx_block_layout *l)
{
    bool whole = l->low_bits == 8 || (l->low_bits == 4 && l->span >= GROUP);
    return l->codes != RLX_BLOCK_CODES_INT || !whole;
}

LLVMValueRef rlx_emit_field_codes(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                  LLVMValueRef first)
{
    LLVMValueRef q;
    switch (l->codes) {
    case RLX_BLOCK_CODES_GRID:
        return load_grid(e, l->format, block, first);
    case RLX_BLOCK_CODES_TRITS:
        return load_trits(e, l, block, first);
    case RLX_BLOCK_CODES_FP4:
    case RLX_BLOCK_CODES_NL4:
        return look_up(e, rlx_block_values(l->codes), load_bits(e, l, block, first));
    case RLX_BLOCK_CODES_PM1: /* 0 and 1 are -1 and 1 */
        q = load_bits(e, l, block, first);
        return LLVMBuildSub(e->b, LLVMBuildAdd(e->b, q, q, ""), byte_splat(e, 1), "");
    case RLX_BLOCK_CODES_INT:
        break;
    }
    return load_bits(e, l, block, first);
}
