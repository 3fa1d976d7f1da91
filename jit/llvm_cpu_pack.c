#include "jit/llvm_cpu.h"

/* Pack: rows turned into columns, in units of some elements.
 *
 * Units of 32 bits go by shuffles of two vectors each, in the two ways that a machine has in one
 * instruction: inside of 128 bits, four by four; then of whole 128 bits. Others go element by
 * element. */

enum { QUAD = 4, MAX_ROWS = 16, MAX_UNITS = 64 };

/* ---- by shuffles ---- */

/* Of vectors a and b, of so many quads each: elements index[0..3] of every quad, where 4 and more
 * are b's. */
static LLVMValueRef in_quads(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, const int index[QUAD])
{
    LLVMValueRef mask[MAX_UNITS];
    int n = (int)LLVMGetVectorSize(LLVMTypeOf(a));
    for (int i = 0; i < n; i++) {
        int from = index[i % QUAD], at = i / QUAD * QUAD + from % QUAD;
        mask[i] = rlx_emit_int(e->i32, from < QUAD ? at : n + at);
    }
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, (unsigned)n), "");
}

/* Four rows: in quad q of out[j] stand their elements 4q + j. */
static void turn_quads(rlx_emit *e, const LLVMValueRef *row, LLVMValueRef out[QUAD])
{
    static const int low[QUAD] = {0, 4, 1, 5}, high[QUAD] = {2, 6, 3, 7};
    static const int first[QUAD] = {0, 1, 4, 5}, second[QUAD] = {2, 3, 6, 7};
    LLVMValueRef l01 = in_quads(e, row[0], row[1], low), h01 = in_quads(e, row[0], row[1], high);
    LLVMValueRef l23 = in_quads(e, row[2], row[3], low), h23 = in_quads(e, row[2], row[3], high);
    out[0] = in_quads(e, l01, l23, first);
    out[1] = in_quads(e, l01, l23, second);
    out[2] = in_quads(e, h01, h23, first);
    out[3] = in_quads(e, h01, h23, second);
}

/* `n` elements of a from `at` on, then as many of b. */
static LLVMValueRef concat(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, int at, int n)
{
    LLVMValueRef mask[MAX_UNITS];
    int size = (int)LLVMGetVectorSize(LLVMTypeOf(a));
    for (int i = 0; i < 2 * n; i++)
        mask[i] = rlx_emit_int(e->i32, i < n ? at + i : size + at + i - n);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, 2 * (unsigned)n), "");
}

/* Quad q of so many vectors, a power of two of them. */
static rlx_status gather_quads(rlx_emit *e, LLVMValueRef *v, int n, int q, LLVMValueRef *out)
{
    int at = q * QUAD, size = QUAD;
    if (n == 1)
        return rlx_emit_pick(e, v[0], at, 1, QUAD, out);
    for (; n > 1; n /= 2, size *= 2, at = 0)
        for (int i = 0; i < n / 2; i++)
            v[i] = concat(e, v[2 * i], v[2 * i + 1], at, size);
    *out = v[0];
    return RLX_OK;
}

static rlx_status turn(rlx_emit *e, const LLVMValueRef *row, int rows, int units, LLVMValueRef *out)
{
    LLVMValueRef turned[MAX_ROWS / QUAD][QUAD], v[MAX_ROWS / QUAD];
    for (int g = 0; g < rows / QUAD; g++)
        turn_quads(e, row + g * QUAD, turned[g]);
    for (int i = 0; i < units; i++) {
        for (int g = 0; g < rows / QUAD; g++)
            v[g] = turned[g][i % QUAD];
        RLX_TRY(gather_quads(e, v, rows / QUAD, i / QUAD, &out[i]));
    }
    return RLX_OK;
}

/* ---- 16 rows of 8 or 16 units, in registers of four quads throughout ---- */

/* Of vectors a and b of four quads: quads `first` and first + 2 of a, then those of b. */
static LLVMValueRef every_other(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, int first)
{
    enum { SIZE = 4 * QUAD };
    LLVMValueRef mask[SIZE];
    for (int i = 0; i < SIZE; i++) {
        const int q = i / QUAD;
        mask[i] = rlx_emit_int(e->i32, q / 2 * SIZE + (q % 2 * 2 + first) * QUAD + i % QUAD);
    }
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, SIZE), "");
}

/* x, whose making LLVM does not look at: it would try to make one shuffle of all that lie behind each other, which takes a
 * third of the time of such a loop and finds nothing. No instruction is made. */
static LLVMValueRef fence(rlx_emit *e, LLVMValueRef x)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMTypeRef floats = rlx_emit_vector(LLVMFloatTypeInContext(e->cx), LLVMGetVectorSize(type));
    LLVMValueRef v = LLVMBuildBitCast(e->b, x, floats, "");
    v = rlx_emit_intrinsic(e, "llvm.arithmetic.fence", floats, &v, 1);
    return LLVMBuildBitCast(e->b, v, type, "");
}

static void turn_fenced(rlx_emit *e, const LLVMValueRef *row, LLVMValueRef out[QUAD])
{
    turn_quads(e, row, out);
    for (int i = 0; i < QUAD; i++)
        out[i] = fence(e, out[i]);
}

/* Two rows to a register: its quads are of the first, then of the other. */
static void turn_16x8(rlx_emit *e, const LLVMValueRef *row, LLVMValueRef *out)
{
    LLVMValueRef turned[2][QUAD], wide[QUAD];
    for (int g = 0; g < 2; g++, row += 2 * QUAD) {
        for (int i = 0; i < QUAD; i++)
            wide[i] = concat(e, row[i], row[QUAD + i], 0, 2 * QUAD);
        turn_fenced(e, wide, turned[g]);
    }
    for (int i = 0; i < 2 * QUAD; i++)
        out[i] = every_other(e, turned[0][i % QUAD], turned[1][i % QUAD], i / QUAD);
}

static void turn_16x16(rlx_emit *e, const LLVMValueRef *row, LLVMValueRef *out)
{
    LLVMValueRef turned[4][QUAD];
    for (int g = 0; g < 4; g++)
        turn_fenced(e, row + g * QUAD, turned[g]);
    for (int i = 0; i < 2 * QUAD; i++) {
        const int k = i % QUAD;
        LLVMValueRef a = every_other(e, turned[0][k], turned[1][k], i / QUAD);
        LLVMValueRef b = every_other(e, turned[2][k], turned[3][k], i / QUAD);
        out[i] = every_other(e, a, b, 0);
        out[2 * QUAD + i] = every_other(e, a, b, 1);
    }
}

static rlx_status pack_units(rlx_emit *e, const rlx_emit_tile *x, rlx_emit_tile *out, int rows,
                             int64_t width, LLVMTypeRef elem)
{
    LLVMValueRef row[MAX_ROWS];
    LLVMTypeRef unit = width == 1 ? elem : e->i32;
    for (int r = 0; r < rows; r++)
        row[r] = LLVMBuildBitCast(e->b, x->part[r], rlx_emit_vector(unit, out->n), "");
    const bool fours = e->target->avx512 && rows == MAX_ROWS;
    if (fours && out->n == 2 * QUAD)
        turn_16x8(e, row, out->part);
    else if (fours && out->n == 4 * QUAD)
        turn_16x16(e, row, out->part);
    else
        RLX_TRY(turn(e, row, rows, out->n, out->part));
    for (int i = 0; i < out->n; i++)
        out->part[i] =
            LLVMBuildBitCast(e->b, out->part[i], rlx_emit_vector(elem, rows * width), "");
    return RLX_OK;
}

/* ---- element by element ---- */

static LLVMValueRef element(rlx_emit *e, LLVMValueRef row, int64_t i)
{
    return LLVMBuildExtractElement(e->b, rlx_emit_as_vector(e, row), rlx_emit_int(e->i32, i), "");
}

static void pack_elements(rlx_emit *e, const rlx_emit_tile *x, rlx_emit_tile *out, int rows,
                          int64_t width, LLVMTypeRef type)
{
    for (int i = 0; i < out->n; i++) {
        if (rows * width == 1) {
            out->part[i] = element(e, x->part[0], i);
            continue;
        }
        out->part[i] = LLVMGetPoison(type);
        for (int64_t k = 0; k < rows * width; k++) {
            LLVMValueRef v = element(e, x->part[k / width], i * width + k % width);
            out->part[i] =
                LLVMBuildInsertElement(e->b, out->part[i], v, rlx_emit_int(e->i32, k), "");
        }
    }
}

/* One row in pieces. */
static rlx_status pack_row(rlx_emit *e, LLVMValueRef row, rlx_emit_tile *out, int64_t width)
{
    for (int i = 0; i < out->n; i++)
        RLX_TRY(rlx_emit_pick(e, row, i * width, 1, width, &out->part[i]));
    return RLX_OK;
}

rlx_status rlx_emit_cpu_pack(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *x = rlx_emit_get(e, n->in[0]);
    const rlx_ir_type *tile = &n->in[0]->type;
    int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1), rows = tile->dim[0];
    int64_t bytes = width * rlx_format_get(tile->format)->block_bytes;
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    bool quads = rows % QUAD == 0 && rows <= MAX_ROWS && (rows & (rows - 1)) == 0 &&
                 out->n % QUAD == 0 && out->n <= MAX_UNITS;
    if (rows == 1 && width > 1)
        return pack_row(e, x->part[0], out, width);
    if (bytes == 4 && quads)
        return pack_units(e, x, out, (int)rows, width, rlx_emit_value_type(e, tile->format));
    pack_elements(e, x, out, (int)rows, width, e->engine->part_type(e, &n->out[0]->type));
    return RLX_OK;
}
