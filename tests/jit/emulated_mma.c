#include "tests/jit/emulated.h"

#include <check.h>
#include <stdint.h>
#include <string.h>

#include "tests/jit/emulated_tensor.h"
#include "tests/jit/emulated_wgmma.h"
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

/* ---- ldmatrix: "Warp-level matrix load instruction: ldmatrix" */

enum { MATRICES = 4, MATRIX_ROWS = 8, ROW_BYTES = 16, BANKS = 32, BANK_BYTES = 4 };

/* The rows of one matrix are read together: no two of them may lie in one bank. */
static void check_banks(uint8_t *const *rows)
{
    bool taken[BANKS] = {false};
    for (int r = 0; r < MATRIX_ROWS; r++) {
        ck_assert_msg((uintptr_t)rows[r] % ROW_BYTES == 0, "ldmatrix: row %d is not aligned", r);
        for (int b = 0; b < ROW_BYTES / BANK_BYTES; b++) {
            bool *bank = &taken[((uintptr_t)rows[r] / BANK_BYTES + (uintptr_t)b) % BANKS];
            ck_assert_msg(!*bank, "ldmatrix: row %d lies in a bank of another", r);
            *bank = true;
        }
    }
}

static void ldmatrix(int n, void *result, const void *const *args)
{
    uint8_t *rows[WARP];
    const int lane = subject_gather(args[0], sizeof *rows, rows);
    for (int i = 0; i < n; i++) {
        check_banks(rows + i * MATRIX_ROWS);
        memcpy((uint8_t *)result + 4 * i, rows[i * MATRIX_ROWS + (lane >> 2)] + lane % 4 * 4, 4);
    }
}

static void ldmatrix_x1(void *result, const void *const *args)
{
    ldmatrix(1, result, args);
}

static void ldmatrix_x2(void *result, const void *const *args)
{
    ldmatrix(2, result, args);
}

static void ldmatrix_x4(void *result, const void *const *args)
{
    ldmatrix(MATRICES, result, args);
}

/* .trans: of column i / 4 elements 2 * (i % 4) and the next. */
static void ldmatrix_turned(int n, void *result, const void *const *args)
{
    uint8_t *rows[WARP];
    const int lane = subject_gather(args[0], sizeof *rows, rows);
    for (int i = 0; i < n; i++) {
        check_banks(rows + i * MATRIX_ROWS);
        for (int j = 0; j < 2; j++)
            memcpy((uint8_t *)result + 4 * i + 2 * j,
                   rows[i * MATRIX_ROWS + lane % 4 * 2 + j] + 2 * (lane >> 2), 2);
    }
}

static void ldmatrix_x2_turned(void *result, const void *const *args)
{
    ldmatrix_turned(2, result, args);
}

static void ldmatrix_x4_turned(void *result, const void *const *args)
{
    ldmatrix_turned(MATRICES, result, args);
}

/* ---- cp.async: what is copied is there when its group was waited for, and not before */

enum { MOST_COPIES = 256, INVOCATIONS = 512, GARBAGE = 0x5a };

typedef struct copy {
    uint8_t *to;
    const uint8_t *from;
    int bytes, group;
} copy;

static _Thread_local struct {
    int n, group;
    copy list[MOST_COPIES];
} copies[INVOCATIONS];

static void cp_async(const void *const *args, int bytes)
{
    copy c = {.bytes = bytes};
    const int i = subject_invocation();
    ck_assert_int_lt(copies[i].n, MOST_COPIES);
    memcpy(&c.to, args[0], sizeof c.to);
    memcpy(&c.from, args[1], sizeof c.from);
    ck_assert_msg((uintptr_t)c.to % ROW_BYTES == 0 && (uintptr_t)c.from % ROW_BYTES == 0,
                  "cp.async: an address is not aligned");
    c.group = copies[i].group;
    memset(c.to, GARBAGE, ROW_BYTES);
    copies[i].list[copies[i].n++] = c;
}

static void cp_async_16(void *result, const void *const *args)
{
    (void)result;
    cp_async(args, ROW_BYTES);
}

static void cp_async_16s(void *result, const void *const *args)
{
    int32_t bytes;
    (void)result;
    memcpy(&bytes, args[2], sizeof bytes);
    cp_async(args, bytes);
}

static void cp_commit(void *result, const void *const *args)
{
    (void)result;
    (void)args;
    copies[subject_invocation()].group++;
}

static void cp_wait(void *result, const void *const *args)
{
    const int i = subject_invocation();
    int32_t pending;
    int left = 0;
    (void)result;
    memcpy(&pending, args[0], sizeof pending);
    for (int j = 0; j < copies[i].n; j++) {
        const copy *c = &copies[i].list[j];
        if (c->group >= copies[i].group - pending) {
            copies[i].list[left++] = *c;
            continue;
        }
        emulated_wgmma_hide();
        memset(c->to, 0, ROW_BYTES);
        memcpy(c->to, c->from, (size_t)c->bytes);
    }
    copies[i].n = left;
}

static const rlx_emulated_instruction instructions[] = {
    {"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x1.b16", ldmatrix_x1},
    {"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.b16", ldmatrix_x2},
    {"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16", ldmatrix_x4},
    {"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.trans.b16", ldmatrix_x2_turned},
    {"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.trans.b16", ldmatrix_x4_turned},
    {"llvm.nvvm.cp.async.cg.shared.global.16", cp_async_16},
    {"llvm.nvvm.cp.async.cg.shared.global.16.s", cp_async_16s},
    {"llvm.nvvm.cp.async.commit.group", cp_commit},
    {"llvm.nvvm.cp.async.wait.group", cp_wait},
    {"llvm.nvvm.mma.m16n8k16.row.col.s8", mma_k16},
    {"llvm.nvvm.mma.m16n8k32.row.col.s8", mma_k32},
    {"llvm.nvvm.mma.m16n8k16.row.col.f32.f32", emulated_mma_f16},
    {"llvm.nvvm.mma.m16n8k16.row.col.bf16", emulated_mma_bf16},
    {"fence.proxy.async", emulated_fence_proxy},
    {"wgmma.mma_async", emulated_wgmma},
    {"wgmma.wait_group", emulated_wgmma_wait},
    {"wgmma.mma_async.halves", emulated_wgmma_halves},
    {"mbarrier.init", emulated_mbarrier_init},
    {"mbarrier.expect_tx", emulated_mbarrier_expect},
    {"mbarrier.arrive", emulated_mbarrier_arrive},
    {"mbarrier.try_wait", emulated_mbarrier_wait},
    {"cp.async.bulk.tensor", emulated_copy_box},
};

const rlx_jit_emulation emulated_gpu = {.instruction = instructions,
                                        .n = sizeof instructions / sizeof *instructions};

rlx_jit_target emulated_hopper_target(int invocations)
{
    return (rlx_jit_target){.kind = RLX_JIT_NVPTX,
                            .processor = "sm_90a",
                            .team = invocations,
                            .subgroup = WARP,
                            .emulation = &emulated_gpu};
}

rlx_jit_target emulated_gpu_target(int invocations)
{
    rlx_jit_target t = host_subgroup_target(invocations, WARP);
    t.emulation = &emulated_gpu;
    return t;
}
