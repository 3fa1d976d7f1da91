#include "tests/jit/emulated.h"

#include <check.h>
#include <stdint.h>
#include <string.h>

#include "jit/gpu_target.h"
#include "runtime/base/format.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

/* Who has what of A, B and D, as AMD's matrix instruction calculator prints it for CDNA2, CDNA3, RDNA3
 * and RDNA4 (--register-layout; the last two in waves of 32): A[i][k] is byte k % 4, or half k % 2, of
 * register `word` of a lane, B[k][j] likewise with j for i, D[i][j] a register. */

enum { SIDE = 16, MOST_LANES = 64, HALVES_K = 16, MOST_WORDS = 8, BYTES = 4, HALVES = 2 };

typedef struct place {
    int word, lane;
} place;

typedef struct unit {
    int k, words;
    place (*operand)(int i, int k);
    place (*sum)(int i, int j);
    bool repeated; /* the upper half of a wave has the same operands */
} unit;

static place mfma_k16(int i, int k)
{
    return (place){0, i + 16 * (k / 4)};
}

static place mfma_k32(int i, int k)
{
    return (place){k % 8 / 4, i + 16 * (k / 8)};
}

static place mfma_sum(int i, int j)
{
    return (place){i % 4, j + 16 * (i / 4)};
}

static place rdna3_operand(int i, int k)
{
    return (place){k / 4, i};
}

static place rdna3_sum(int i, int j)
{
    return (place){i / 2, j + 16 * (i % 2)};
}

static place rdna4_operand(int i, int k)
{
    return (place){k % 8 / 4, i + 16 * (k / 8)};
}

static place rdna4_sum(int i, int j)
{
    return (place){i % 8, j + 16 * (i / 8)};
}

/* Of f16 and bf16. */
static place mfma_halves(int i, int k)
{
    return (place){k % 4 / HALVES, i + 16 * (k / 4)};
}

static place rdna3_halves(int i, int k)
{
    return (place){k / HALVES, i};
}

static place rdna4_halves(int i, int k)
{
    return (place){k % 8 / HALVES, i + 16 * (k / 8)};
}

typedef struct operands {
    uint8_t a[MOST_WORDS * BYTES], b[MOST_WORDS * BYTES];
} operands;

static int value(uint8_t byte, bool is_signed)
{
    return is_signed ? (int8_t)byte : byte;
}

/* What all lanes have of both; which of them this is. */
static int gather(const unit *u, const void *a, const void *b, operands all[MOST_LANES])
{
    operands own = {0};
    memcpy(own.a, a, (size_t)(u->words * BYTES));
    memcpy(own.b, b, (size_t)(u->words * BYTES));
    const int lane = subject_gather(&own, sizeof own, all);
    for (int i = 0; u->repeated && i < SIDE; i++)
        ck_assert_mem_eq(&all[i], &all[i + SIDE], sizeof own);
    return lane;
}

static void multiply(const unit *u, void *result, const void *a, const void *b, const int32_t *c,
                     bool signed_a, bool signed_b)
{
    operands all[MOST_LANES];
    const int lane = gather(u, a, b, all);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            const place d = u->sum(i, j);
            if (d.lane != lane)
                continue;
            int32_t sum = c[d.word];
            for (int k = 0; k < u->k; k++) {
                const place x = u->operand(i, k), y = u->operand(j, k);
                sum += value(all[x.lane].a[x.word * BYTES + k % BYTES], signed_a) *
                       value(all[y.lane].b[y.word * BYTES + k % BYTES], signed_b);
            }
            memcpy((uint8_t *)result + sizeof sum * (size_t)d.word, &sum, sizeof sum);
        }
}

static void multiply_halves(const unit *u, rlx_format f, void *result, const void *const *args)
{
    operands all[MOST_LANES];
    const int lane = gather(u, args[0], args[1], all);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            const place d = u->sum(i, j);
            float a[HALVES_K], b[HALVES_K], sum;
            if (d.lane != lane)
                continue;
            for (int k = 0; k < HALVES_K; k++) {
                const place x = u->operand(i, k), y = u->operand(j, k);
                a[k] = (float)rlx_format_load(f, all[x.lane].a, x.word * HALVES + k % HALVES);
                b[k] = (float)rlx_format_load(f, all[y.lane].b, y.word * HALVES + k % HALVES);
            }
            memcpy(&sum, (const uint8_t *)args[2] + sizeof sum * (size_t)d.word, sizeof sum);
            sum = emulated_add_halves(sum, a, b);
            memcpy((uint8_t *)result + sizeof sum * (size_t)d.word, &sum, sizeof sum);
        }
}

/* args: a, b, c, cbsz, abid, blgp. */
static void mfma(const unit *u, void *result, const void *const *args)
{
    for (int i = 3; i < 6; i++)
        ck_assert_int_eq(*(const int32_t *)args[i], 0);
    multiply(u, result, args[0], args[1], args[2], true, true);
}

/* args: whether a is signed, a, whether b is signed, b, c, whether sums saturate. */
static void wmma(const unit *u, void *result, const void *const *args)
{
    ck_assert_int_eq(*(const uint8_t *)args[5], 0);
    multiply(u, result, args[1], args[3], args[4], *(const uint8_t *)args[0],
             *(const uint8_t *)args[2]);
}

static void cdna2(void *result, const void *const *args)
{
    static const unit u = {16, 1, mfma_k16, mfma_sum, false};
    mfma(&u, result, args);
}

static void cdna3(void *result, const void *const *args)
{
    static const unit u = {32, 2, mfma_k32, mfma_sum, false};
    mfma(&u, result, args);
}

static void rdna3(void *result, const void *const *args)
{
    static const unit u = {16, 4, rdna3_operand, rdna3_sum, true};
    wmma(&u, result, args);
}

static void rdna4(void *result, const void *const *args)
{
    static const unit u = {16, 2, rdna4_operand, rdna4_sum, false};
    wmma(&u, result, args);
}

static const unit cdna3_halves = {16, 2, mfma_halves, mfma_sum, false},
                  wmma_rdna3 = {16, 8, rdna3_halves, rdna3_sum, true},
                  wmma_rdna4 = {16, 4, rdna4_halves, rdna4_sum, false};

static void cdna3_f16(void *result, const void *const *args)
{
    multiply_halves(&cdna3_halves, RLX_F16, result, args);
}

static void cdna3_bf16(void *result, const void *const *args)
{
    multiply_halves(&cdna3_halves, RLX_BF16, result, args);
}

static void rdna3_f16(void *result, const void *const *args)
{
    multiply_halves(&wmma_rdna3, RLX_F16, result, args);
}

static void rdna3_bf16(void *result, const void *const *args)
{
    multiply_halves(&wmma_rdna3, RLX_BF16, result, args);
}

static void rdna4_f16(void *result, const void *const *args)
{
    multiply_halves(&wmma_rdna4, RLX_F16, result, args);
}

static void rdna4_bf16(void *result, const void *const *args)
{
    multiply_halves(&wmma_rdna4, RLX_BF16, result, args);
}

static const rlx_emulated_instruction
    of_cdna2[] = {{"llvm.amdgcn.mfma.i32.16x16x16i8", cdna2}},
    of_cdna3[] = {{"llvm.amdgcn.mfma.i32.16x16x32.i8", cdna3},
                  {"llvm.amdgcn.mfma.f32.16x16x16f16", cdna3_f16},
                  {"llvm.amdgcn.mfma.f32.16x16x16bf16.1k", cdna3_bf16}},
    of_rdna3[] = {{"llvm.amdgcn.wmma.i32.16x16x16.iu8", rdna3},
                  {"llvm.amdgcn.wmma.f32.16x16x16.f16", rdna3_f16},
                  {"llvm.amdgcn.wmma.f32.16x16x16.bf16", rdna3_bf16}},
    of_rdna4[] = {{"llvm.amdgcn.wmma.i32.16x16x16.iu8", rdna4},
                  {"llvm.amdgcn.wmma.f32.16x16x16.f16", rdna4_f16},
                  {"llvm.amdgcn.wmma.f32.16x16x16.bf16", rdna4_bf16}};

rlx_jit_target emulated_amd_target(const char *processor, int invocations)
{
    static const rlx_jit_emulation emulations[] = {[RLX_GPU_CDNA2] = {of_cdna2, 1},
                                                   [RLX_GPU_CDNA3] = {of_cdna3, 3},
                                                   [RLX_GPU_RDNA3] = {of_rdna3, 3},
                                                   [RLX_GPU_RDNA4] = {of_rdna4, 3}};
    const rlx_gpu_processor *p;
    EXPECT_OK(rlx_gpu_find(RLX_JIT_AMDGPU, processor, &p));
    return (rlx_jit_target){.kind = RLX_JIT_AMDGPU,
                            .processor = p->name,
                            .team = invocations,
                            .subgroup = p->lanes,
                            .emulation = &emulations[p->family]};
}
