#include "jit/llvm_cpu.h"

#include <stdlib.h>
#include <string.h>

/* Products of bytes: four to an i32 lane, exact.
 *
 *   VNNI      vpdpbusd: unsigned codes by signed activations, added to 32 bits
 *   else      vpmaddubsw: pairs added in 16 bits, as many as fit; then vpmaddwd by ones
 *   AArch64   sdot; or smull, pairs added in 16 bits, where they fit, and those in 32
 *   lanes that fill no register: widened, multiplied, added
 *
 * Signed codes on x86: |code| by the activation with the code's sign; -128 becomes 128, which fits.
 * Codes that are wanted once and are no -128: with the activation's sign, by |activation|.
 * Rows of codes by one row, or by rows that are turned: the code plus the largest there is, and so many
 * sums of activations less (llvm_cpu_dot.c).
 * Panels by VNNI, or of codes so small that sums of two fit 16 bits: the code by the activation plus 128,
 * and 128 times the sum of codes less.
 * On AArch64 unsigned codes, of 7 bits at most, are signed ones. */

enum { TOGETHER = 4 };

/* The largest of the values that the bits of blocks stand for, turned or not; 128 where those are
 * bytes, or what they were loaded from is not known. */
static int most_of(const rlx_ir_node *load)
{
    enum { VALUES = 16, BYTE = 128 };
    if (load && load->op == RLX_LIR_TURN)
        load = load->in[0]->def;
    if (!load || load->op != RLX_LIR_LOAD ||
        rlx_format_get(load->in[0]->type.format)->kind != RLX_KIND_BLOCK)
        return BYTE;
    const rlx_block_layout *l = rlx_format_block(load->in[0]->type.format);
    const int8_t *values = rlx_block_values(l->codes);
    int most = 0;
    if (!values)
        return BYTE;
    for (int i = 0; i < (l->codes == RLX_BLOCK_CODES_PM1 ? 2 : VALUES); i++)
        most = abs(values[i]) > most ? abs(values[i]) : most;
    return most;
}

rlx_emit_codes rlx_emit_codes_of(const rlx_ir_node *n)
{
    const int bits = (int)rlx_ir_attr_int(n, RLX_ATTR_BITS, 0);
    if (n->in[3]->type.format == RLX_U8)
        return (rlx_emit_codes){.bits = bits, .most = (1 << bits) - 1};
    return (rlx_emit_codes){.most = bits ? 1 << (bits - 1) : most_of(n->in[3]->def)};
}

static bool is_neon(const rlx_emit *e)
{
    return e->target->kind == RLX_JIT_AARCH64;
}

/* Up to the bytes' 255, or as long as sums of two fit 16 bits. */
int rlx_emit_raised_by(const rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_codes c = rlx_emit_codes_of(n), raised = {8, 2 * c.most};
    if (is_neon(e) || c.bits)
        return 0;
    return e->target->vnni || rlx_emit_most_pairs(raised, false) > 0 ? c.most : 0;
}

/* Four products go into 32 bits at once. */
static bool adds_fours(const rlx_emit *e, int lanes)
{
    if (is_neon(e))
        return lanes == 4;
    if (e->target->avx512)
        return e->target->vnni;
    return e->target->vnni && lanes <= 8;
}

/* A register's worth: 128, 256 or 512 bits. */
static bool fills(const rlx_emit *e, int lanes)
{
    return lanes == 4 || (lanes == 8 && !is_neon(e)) || (lanes == 16 && e->target->avx512);
}

int rlx_emit_most_pairs(rlx_emit_codes c, bool raised)
{
    return INT16_MAX / (2 * (raised ? 255 : 127) * c.most);
}

static LLVMValueRef call(rlx_emit *e, const char *name, LLVMValueRef *args, int n)
{
    return rlx_emit_intrinsic(e, name, NULL, args, n);
}

static LLVMValueRef cast_to(rlx_emit *e, LLVMValueRef x, LLVMTypeRef elem, int64_t n)
{
    return LLVMBuildBitCast(e->b, x, rlx_emit_vector(elem, n), "");
}

static const char *by_lanes(int lanes, const char *xmm, const char *ymm, const char *zmm)
{
    return lanes == 4 ? xmm : lanes == 8 ? ymm : zmm;
}

/* ---- one step ---- */

/* The activation with the sign of the code. */
static LLVMValueRef take_sign(rlx_emit *e, LLVMValueRef x, LLVMValueRef code, int lanes)
{
    LLVMValueRef args[] = {x, code};
    if (lanes == 4)
        return call(e, "llvm.x86.ssse3.psign.b.128", args, 2);
    if (lanes == 8)
        return call(e, "llvm.x86.avx2.psign.b", args, 2);
    LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(x));
    LLVMValueRef below = LLVMBuildICmp(e->b, LLVMIntSLT, code, zero, "");
    return LLVMBuildSelect(e->b, below, LLVMBuildSub(e->b, zero, x, ""), x, "");
}

static LLVMValueRef magnitude(rlx_emit *e, LLVMValueRef code)
{
    LLVMValueRef args[] = {code, rlx_emit_int(e->i1, 0)};
    return rlx_emit_intrinsic(e, "llvm.abs", LLVMTypeOf(code), args, 2);
}

/* Products of two: 16 bits. */
static LLVMValueRef add_pairs(rlx_emit *e, LLVMValueRef code, LLVMValueRef x, int lanes)
{
    LLVMValueRef args[] = {code, x};
    return call(e,
                by_lanes(lanes, "llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.avx2.pmadd.ub.sw",
                         "llvm.x86.avx512.pmaddubs.w.512"),
                args, 2);
}

/* Pairs of 16 bits: 32 bits. */
LLVMValueRef rlx_emit_halves(rlx_emit *e, LLVMValueRef x, int lanes)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef args[] = {x, rlx_emit_splat(e, rlx_emit_int(e->i16, 1), type)};
    return call(e,
                by_lanes(lanes, "llvm.x86.sse2.pmadd.wd", "llvm.x86.avx2.pmadd.wd",
                         "llvm.x86.avx512.pmaddw.d.512"),
                args, 2);
}

/* Bytes of x from `at` on times those of y: 16 bits. */
static LLVMValueRef multiply_eight(rlx_emit *e, LLVMValueRef x, LLVMValueRef y, int at)
{
    LLVMValueRef mask[8], args[2], none = LLVMGetPoison(LLVMTypeOf(x));
    for (int i = 0; i < 8; i++)
        mask[i] = rlx_emit_int(e->i32, at + i);
    args[0] = LLVMBuildShuffleVector(e->b, x, none, LLVMConstVector(mask, 8), "");
    args[1] = LLVMBuildShuffleVector(e->b, y, none, LLVMConstVector(mask, 8), "");
    return rlx_emit_intrinsic(e, "llvm.aarch64.neon.smull", rlx_emit_vector(e->i16, 8), args, 2);
}

/* 16 bits hold two products: of an activation, at least -127, with -128 at the most. */
static LLVMValueRef add_fours_neon(rlx_emit *e, LLVMValueRef sum, LLVMValueRef code, LLVMValueRef x)
{
    LLVMTypeRef type[] = {rlx_emit_vector(e->i32, 4), LLVMTypeOf(code)};
    LLVMValueRef dot[] = {sum, code, x}, pair[2];
    if (e->target->dotprod)
        return rlx_emit_intrinsic_of(e, "llvm.aarch64.neon.sdot", type, 2, dot, 3);
    for (int i = 0; i < 2; i++)
        pair[i] = multiply_eight(e, code, x, 8 * i);
    type[1] = LLVMTypeOf(pair[0]);
    pair[0] = rlx_emit_intrinsic(e, "llvm.aarch64.neon.addp", type[1], pair, 2);
    LLVMValueRef four = rlx_emit_intrinsic_of(e, "llvm.aarch64.neon.saddlp", type, 2, pair, 1);
    return LLVMBuildAdd(e->b, sum, four, "");
}

static LLVMValueRef add_fours(rlx_emit *e, LLVMValueRef sum, LLVMValueRef code, LLVMValueRef x,
                              int lanes)
{
    if (is_neon(e))
        return add_fours_neon(e, sum, code, x);
    LLVMValueRef args[] = {sum, cast_to(e, code, e->i32, lanes), cast_to(e, x, e->i32, lanes)};
    return call(e,
                by_lanes(lanes, "llvm.x86.avx512.vpdpbusd.128", "llvm.x86.avx512.vpdpbusd.256",
                         "llvm.x86.avx512.vpdpbusd.512"),
                args, 3);
}

/* Lanes that fill no register. */
static rlx_status add_widened(rlx_emit *e, bool is_signed, int lanes, LLVMValueRef code,
                              LLVMValueRef x, LLVMValueRef *sum)
{
    LLVMTypeRef type = rlx_emit_vector(e->i32, lanes);
    for (int c = 0; c < TOGETHER; c++) {
        LLVMValueRef u, v;
        RLX_TRY(rlx_emit_pick(e, code, c, TOGETHER, lanes, &u));
        RLX_TRY(rlx_emit_pick(e, x, c, TOGETHER, lanes, &v));
        u = is_signed ? LLVMBuildSExt(e->b, u, type, "") : LLVMBuildZExt(e->b, u, type, "");
        v = LLVMBuildSExt(e->b, v, type, "");
        *sum = LLVMBuildAdd(e->b, *sum, LLVMBuildMul(e->b, u, v, ""), "");
    }
    return RLX_OK;
}

/* ---- many ---- */

void rlx_emit_byte_steps(const rlx_emit *e, int steps, rlx_emit_byte_sums *b)
{
    enum { FEW = 2, MANY = 4 };
    int most = rlx_emit_most_pairs(b->codes, b->raised);
    bool by_16 = fills(e, b->lanes) && !adds_fours(e, b->lanes);
    b->in_16 = by_16 && steps <= most;
    if (b->in_16 || !by_16)
        most = FEW;
    b->steps = 1;
    while (2 * b->steps <= most && 2 * b->steps <= MANY && 2 * b->steps <= steps)
        b->steps *= 2;
}

LLVMValueRef rlx_emit_no_sum(const rlx_emit *e, const rlx_emit_byte_sums *b)
{
    return LLVMConstNull(b->in_16 ? rlx_emit_vector(e->i16, 2 * b->lanes)
                                  : rlx_emit_vector(e->i32, b->lanes));
}

bool rlx_emit_wants_raised(const rlx_emit *e, rlx_emit_codes c, int lanes)
{
    return !c.bits && !is_neon(e) && fills(e, lanes) &&
           (adds_fours(e, lanes) || rlx_emit_most_pairs(c, true) > 0);
}

int rlx_emit_byte_columns(const rlx_emit *e, rlx_emit_codes c, bool raised, int rows)
{
    int registers = e->target->avx512 || is_neon(e) ? 32 : 16, besides = c.bits || raised ? 3 : 6;
    return 2 * rows + besides <= registers ? 2 : 1;
}

static rlx_status sum_widened(rlx_emit *e, const rlx_emit_byte_sums *b, LLVMValueRef *sums)
{
    for (int s = 0; s < b->steps; s++) {
        for (int i = 0; i < b->rows * b->columns; i++) {
            LLVMValueRef code, x;
            RLX_TRY(b->code(b->user, s, i % b->columns, &code));
            RLX_TRY(b->activation(b->user, s, i / b->columns, &x));
            RLX_TRY(add_widened(e, !b->codes.bits, b->lanes, code, x, &sums[i]));
        }
    }
    return RLX_OK;
}

enum { MAX_COLUMNS = 2 };

/* Step s: products in 16 bits added to pairs[i] (NULL: none yet), or in 32 bits to sums[i]. */
static rlx_status add_step(rlx_emit *e, const rlx_emit_byte_sums *b, int s, LLVMValueRef *sums,
                           LLVMValueRef *pairs)
{
    LLVMValueRef code[MAX_COLUMNS], size[MAX_COLUMNS], x;
    bool as_they_are = b->codes.bits || b->raised || is_neon(e);
    bool turn = !as_they_are && b->once && b->codes.most < 128;
    for (int v = 0; v < b->columns; v++) {
        RLX_TRY(b->code(b->user, s, v, &code[v]));
        size[v] = as_they_are ? code[v] : magnitude(e, code[v]);
    }
    for (int i = 0; i < b->rows * b->columns; i++) {
        int v = i % b->columns;
        if (v == 0)
            RLX_TRY(b->activation(b->user, s, i / b->columns, &x));
        LLVMValueRef y = as_they_are ? x : take_sign(e, x, code[v], b->lanes);
        if (turn) {
            size[v] = magnitude(e, x);
            y = take_sign(e, code[v], x, b->lanes);
        }
        if (adds_fours(e, b->lanes)) {
            sums[i] = b->raised ? add_fours(e, sums[i], y, size[v], b->lanes)
                                : add_fours(e, sums[i], size[v], y, b->lanes);
            continue;
        }
        LLVMValueRef two =
            b->raised ? add_pairs(e, y, size[v], b->lanes) : add_pairs(e, size[v], y, b->lanes);
        pairs[i] = pairs[i] && !LLVMIsNull(pairs[i]) ? LLVMBuildAdd(e->b, pairs[i], two, "") : two;
    }
    return RLX_OK;
}

enum { MAX_CODES = 4 };

/* Steps s.. < s + n, whose sums fit 16 bits, row by row: codes stay in registers, and no sums of 16
 * bits wait for the next step. */
static rlx_status add_steps_by_row(rlx_emit *e, const rlx_emit_byte_sums *b, int s, int n,
                                   LLVMValueRef *sums)
{
    LLVMValueRef code[MAX_CODES], size[MAX_CODES], x[MAX_CODES];
    const bool as_they_are = b->codes.bits || b->raised;
    for (int i = 0; i < n * b->columns; i++) {
        RLX_TRY(b->code(b->user, s + i / b->columns, i % b->columns, &code[i]));
        size[i] = as_they_are ? code[i] : magnitude(e, code[i]);
    }
    for (int m = 0; m < b->rows; m++) {
        for (int k = 0; k < n; k++)
            RLX_TRY(b->activation(b->user, s + k, m, &x[k]));
        for (int v = 0; v < b->columns; v++) {
            LLVMValueRef pairs = NULL, *sum = &sums[m * b->columns + v];
            for (int k = 0; k < n; k++) {
                int i = k * b->columns + v;
                LLVMValueRef y = as_they_are ? x[k] : take_sign(e, x[k], code[i], b->lanes);
                LLVMValueRef two = b->raised ? add_pairs(e, y, size[i], b->lanes)
                                             : add_pairs(e, size[i], y, b->lanes);
                pairs = pairs ? LLVMBuildAdd(e->b, pairs, two, "") : two;
            }
            LLVMValueRef four = rlx_emit_halves(e, pairs, b->lanes);
            *sum = LLVMIsNull(*sum) ? four : LLVMBuildAdd(e->b, *sum, four, "");
        }
    }
    return RLX_OK;
}

rlx_status rlx_emit_sum_bytes(rlx_emit *e, const rlx_emit_byte_sums *b, LLVMValueRef *sums)
{
    if (!fills(e, b->lanes))
        return sum_widened(e, b, sums);
    int most = rlx_emit_most_pairs(b->codes, b->raised), together = most ? most : 1;
    int n = b->rows * b->columns;
    bool by_16 = !is_neon(e) && !adds_fours(e, b->lanes) && !b->in_16;
    if (by_16 && together * b->columns <= MAX_CODES) {
        for (int s = 0; s < b->steps; s += together) {
            int left = b->steps - s;
            RLX_TRY(add_steps_by_row(e, b, s, left < together ? left : together, sums));
        }
        return RLX_OK;
    }
    LLVMValueRef *pairs = RLX_NEW_ARRAY(e->arena, LLVMValueRef, n);
    if (!pairs)
        return RLX_OOM();
    for (int s = 0; s < b->steps; s++) {
        RLX_TRY(add_step(e, b, s, sums, b->in_16 ? sums : pairs));
        bool full = !b->in_16 && ((s + 1) % together == 0 || s + 1 == b->steps);
        for (int i = 0; i < n && full && pairs[i]; i++) {
            LLVMValueRef four = rlx_emit_halves(e, pairs[i], b->lanes);
            sums[i] = LLVMIsNull(sums[i]) ? four : LLVMBuildAdd(e->b, sums[i], four, "");
            pairs[i] = NULL;
        }
    }
    return RLX_OK;
}
