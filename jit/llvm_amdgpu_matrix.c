#include "jit/llvm_team.h"

/* Products by AMD's matrix units: MFMA in waves of 64 (CDNA), WMMA in waves of 32 (RDNA).
 * Codes that have no sign have seven bits at the most, so that all go as signed ones. Of 16
 * elements an operand is a word, or a vector of words, or of f16, or of bf16 as 16-bit integers;
 * sums are a vector. */

enum { HALF = 16 };

/* `n` words, or sums, as one vector; one as it is. */
static LLVMValueRef join(rlx_emit *e, const LLVMValueRef *word, int n)
{
    if (n == 1)
        return word[0];
    LLVMValueRef v = LLVMGetUndef(LLVMVectorType(LLVMTypeOf(word[0]), (unsigned)n));
    for (int i = 0; i < n; i++)
        v = LLVMBuildInsertElement(e->b, v, word[i], rlx_emit_int(e->i32, i), "");
    return v;
}

static void split(rlx_emit *e, LLVMValueRef v, int n, LLVMValueRef *word)
{
    for (int i = 0; i < n; i++)
        word[i] = LLVMBuildExtractElement(e->b, v, rlx_emit_int(e->i32, i), "");
}

static LLVMValueRef call_mfma(rlx_emit *e, const char *name, LLVMValueRef a, LLVMValueRef b,
                              LLVMValueRef sum)
{
    LLVMValueRef no = rlx_emit_int(e->i32, 0); /* nothing is broadcast, nor permuted */
    LLVMValueRef args[6] = {a, b, sum, no, no, no};
    return rlx_emit_intrinsic(e, name, NULL, args, 6);
}

/* Words of 16 elements as 32 of which the second half, where there is none, is zeros. */
static LLVMValueRef two_words(rlx_emit *e, const LLVMValueRef *word, int n)
{
    LLVMValueRef pair[2] = {word[0], n > 1 ? word[1] : rlx_emit_int(e->i32, 0)};
    return LLVMBuildBitCast(e->b, join(e, pair, 2), e->i64, "");
}

static LLVMValueRef call_wmma(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum)
{
    LLVMValueRef yes = rlx_emit_int(e->i1, 1), no = rlx_emit_int(e->i1, 0);
    LLVMValueRef args[6] = {yes, a, yes, b, sum, no}; /* signed, signed; sums wrap */
    LLVMTypeRef types[2] = {LLVMTypeOf(sum), LLVMTypeOf(a)};
    return rlx_emit_intrinsic_of(e, "llvm.amdgcn.wmma.i32.16x16x16.iu8", types, 2, args, 6);
}

/* Sixteen elements. */
static LLVMValueRef multiply_half(rlx_emit *e, const LLVMValueRef *a, const LLVMValueRef *b,
                                  LLVMValueRef sum)
{
    const rlx_matrix_unit *u = e->target->matrix;
    LLVMValueRef x = join(e, a, u->a_words), y = join(e, b, u->b_words);
    return u->kind == RLX_MATRIX_MFMA_K16
               ? call_mfma(e, "llvm.amdgcn.mfma.i32.16x16x16i8", x, y, sum)
               : call_wmma(e, x, y, sum);
}

void rlx_emit_amd_multiply(rlx_emit *e, int k, const LLVMValueRef *a, const LLVMValueRef *b,
                           LLVMValueRef *sums)
{
    const rlx_matrix_unit *u = e->target->matrix;
    const int halves = k / HALF;
    LLVMValueRef sum = join(e, sums, u->sums);
    if (u->kind == RLX_MATRIX_MFMA_K32)
        sum = call_mfma(e, "llvm.amdgcn.mfma.i32.16x16x32.i8", two_words(e, a, halves),
                        two_words(e, b, halves), sum);
    for (int i = 0; i < halves && u->kind != RLX_MATRIX_MFMA_K32; i++)
        sum = multiply_half(e, a + i * u->a_words, b + i * u->b_words, sum);
    split(e, sum, u->sums, sums);
}

/* Words of two as one vector of f16, or of bf16's bits. */
static LLVMValueRef join_halves(rlx_emit *e, rlx_format f, const LLVMValueRef *word, int n)
{
    LLVMTypeRef type = f == RLX_F16 ? e->f16 : e->i16;
    return LLVMBuildBitCast(e->b, join(e, word, n), LLVMVectorType(type, 2 * (unsigned)n), "");
}

void rlx_emit_amd_multiply_floats(rlx_emit *e, rlx_format f, const LLVMValueRef *a,
                                  const LLVMValueRef *b, LLVMValueRef *sums)
{
    static const char *const names[2][2] = {
        {"llvm.amdgcn.wmma.f32.16x16x16.bf16", "llvm.amdgcn.wmma.f32.16x16x16.f16"},
        {"llvm.amdgcn.mfma.f32.16x16x16bf16.1k", "llvm.amdgcn.mfma.f32.16x16x16f16"}};
    const rlx_matrix_unit *u = e->target->float_matrix;
    const bool mfma = u->kind == RLX_MATRIX_MFMA_K32;
    const char *name = names[mfma][f == RLX_F16];
    LLVMValueRef args[3] = {join_halves(e, f, a, u->floats->a_words),
                            join_halves(e, f, b, u->floats->b_words), join(e, sums, u->sums)};
    LLVMTypeRef types[2] = {LLVMTypeOf(args[2]), LLVMTypeOf(args[0])};
    LLVMValueRef sum = mfma ? call_mfma(e, name, args[0], args[1], args[2])
                            : rlx_emit_intrinsic_of(e, name, types, 2, args, 3);
    split(e, sum, u->sums, sums);
}
