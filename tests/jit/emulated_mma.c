#include "tests/jit/emulated.h"

#include <stdint.h>
#include <string.h>

#include "tests/jit/subject.h"

/* The PTX ISA's tables of who has what ("Matrix Fragments for mma.m16n8k16 with integer types", "for
 * mma.m16n8k32"), element by element, by its own names: groupID, threadID_in_group, i. */

enum { WARP = 32, ROWS = 16, COLUMNS = 8, MOST_K = 32 };

typedef struct fragments {
    int8_t a[MOST_K / 2], b[MOST_K / 4]; /* of one thread */
} fragments;

static void fill(int k, const fragments *all, int8_t a[ROWS][MOST_K], int8_t b[MOST_K][COLUMNS])
{
    for (int lane = 0; lane < WARP; lane++) {
        const int group = lane >> 2, in_group = lane % 4;
        for (int i = 0; i < k / 2; i++) {
            const bool upper = k == 32 ? i < 4 || (i >= 8 && i < 12) : i < 4;
            const int column = in_group * 4 + (i & 3) + (i < 8 ? 0 : 16);
            a[upper ? group : group + 8][column] = all[lane].a[i];
        }
        for (int i = 0; i < k / 4; i++)
            b[in_group * 4 + (i & 3) + (i < 4 ? 0 : 16)][group] = all[lane].b[i];
    }
}

/* args: k/8 words of a, k/16 of b, four sums. */
static void mma(int k, void *result, const void *const *args)
{
    fragments own = {0}, all[WARP];
    int8_t a[ROWS][MOST_K], b[MOST_K][COLUMNS];
    for (int i = 0; i < k / 8; i++)
        memcpy(&own.a[4 * i], args[i], 4);
    for (int i = 0; i < k / 16; i++)
        memcpy(&own.b[4 * i], args[k / 8 + i], 4);
    const int lane = subject_gather(&own, sizeof own, all);
    fill(k, all, a, b);
    for (int i = 0; i < 4; i++) {
        const int row = (lane >> 2) + (i < 2 ? 0 : 8), column = lane % 4 * 2 + (i & 1);
        int32_t sum;
        memcpy(&sum, args[k / 8 + k / 16 + i], sizeof sum);
        for (int j = 0; j < k; j++)
            sum += a[row][j] * b[j][column];
        ((int32_t *)result)[i] = sum;
    }
}

static void mma_k16(void *result, const void *const *args)
{
    mma(16, result, args);
}

static void mma_k32(void *result, const void *const *args)
{
    mma(32, result, args);
}

static const rlx_emulated_instruction instructions[] = {
    {"llvm.nvvm.mma.m16n8k16.row.col.s8", mma_k16},
    {"llvm.nvvm.mma.m16n8k32.row.col.s8", mma_k32},
    {"llvm.nvvm.mma.m16n8k16.row.col.f32.f32", emulated_mma_f16},
    {"llvm.nvvm.mma.m16n8k16.row.col.bf16", emulated_mma_bf16},
};

const rlx_jit_emulation emulated_gpu = {.instruction = instructions,
                                        .n = sizeof instructions / sizeof *instructions};

rlx_jit_target emulated_gpu_target(int invocations)
{
    rlx_jit_target t = host_subgroup_target(invocations, WARP);
    t.emulation = &emulated_gpu;
    return t;
}
