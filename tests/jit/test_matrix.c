/* dot_rows by matrix units: tiles as fragments leave them, operands out of memory in every way that
 * there is, groups of both sizes, minima, limits, rings that copies fill ahead. Run by host teams whose
 * mma.sync, ldmatrix (whose rows may not share a bank) and cp.async, wgmma, MFMA or WMMA are emulated, against the
 * interpreter; assembled by ptxas where that is on PATH, without spills.
 * `test_jit_matrix all`: more of them (ctest: jit_matrix_all). */
#include <stdlib.h>
#include <string.h>

#include "jit/code_object.h"
#include "jit/matrix_units.h"
#include "tests/jit/emulated.h"
#include "tests/jit/matrix_kernels.h"
#include "tests/jit/ptxas.h"
#include "tests/runtime/suite.h"

static const matrix_kernel shapes[] = {
    {16, 32, 64, 128, 40, "i8", false, false, 0},
    {32, 16, 128, 160, 23, "q8_0", false, true, 0},
    {16, 64, 128, 256, 64, "q4_0", true, false, 0},
    {16, 32, 128, 512, 33, "q6_k", false, false, 0},
    {32, 32, 128, 288, 64, "q5_1", false, false, 0},
    {16, 32, 128, 256, 40, "q2_k", false, false, 0},
    {16, 32, 64, 256, 40, "q3_k", false, false, 0},
    {16, 32, 128, 160, 40, "iq4_nl", false, false, 0},
    {16, 32, 128, 256, 40, "iq4_xs", false, false, 0},
    {16, 32, 64, 96, 40, "mxfp4", false, false, 0},
    {16, 32, 128, 256, 40, "iq3_s", false, false, 0},
    {32, 32, 128, 512, 40, "q8_0", false, false, 3},
    {16, 64, 128, 512, 40, "q4_k", false, false, 2},
    {32, 32, 64, 288, 40, "q8_0", true, false, 4},
    {16, 32, 32, 160, 40, "q4_0", false, false, 2},
    {16, 32, 128, 512, 33, "q2_k", false, false, 3},
    {16, 32, 128, 416, 40, "i8", false, false, 4},
};
enum { SIXTEENS = 6, SHAPES = sizeof shapes / sizeof *shapes };

/* By wgmma: 64 columns of a warpgroup, tokens by eights; one warpgroup, or two below or beside each
 * other. Codes come to team memory as above, so that most formats can wait for `all`. */
static const matrix_kernel hopper_shapes[] = {
    {8, 64, 64, 128, 40, "i8", false, false, 0},
    {16, 64, 128, 160, 83, "q8_0", false, true, 0},
    {32, 64, 128, 256, 64, "q4_0", true, false, 0},
    {64, 64, 128, 512, 33, "q6_k", false, false, 0},
    {24, 128, 128, 288, 150, "q5_1", false, false, 0},
    {8, 64, 32, 352, 40, "i8", false, false, 2}, /* more groups of copies than barriers */
    {24, 64, 128, 256, 40, "q2_k", false, false, 0},
    {16, 128, 64, 256, 70, "q3_k", false, false, 0},
    {16, 64, 128, 160, 40, "iq4_nl", false, false, 0},
    {48, 64, 128, 256, 64, "q4_k", false, false, 0},
    {24, 64, 128, 256, 40, "iq4_xs", false, false, 0},
    {16, 64, 64, 96, 40, "mxfp4", false, false, 0},
    {40, 64, 128, 256, 40, "iq3_s", false, false, 0},
    {16, 64, 128, 512, 40, "q8_0", false, false, 2},
};
static const int hopper_teams[] = {128, 256, 128, 256, 256, 128, 128,
                                   128, 128, 128, 128, 256, 128, 128};
enum { HOPPER_SHAPES = sizeof hopper_shapes / sizeof *hopper_shapes, HOPPER_FEW = 6 };
static bool all_shapes;

START_TEST(fragments)
{
    subject s;
    matrix_kernels_parse(&s, shapes, SHAPES);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        rlx_jit_target t = emulated_gpu_target(i % 2 ? 128 : 64);
        subject_check(&s, k, &t, 7 + (uint64_t)i);
    }
    subject_destroy(&s);
}
END_TEST

START_TEST(warpgroups)
{
    subject s;
    matrix_kernels_parse(&s, hopper_shapes, all_shapes ? HOPPER_SHAPES : HOPPER_FEW);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        rlx_jit_target t = emulated_hopper_target(hopper_teams[i]);
        subject_check(&s, k, &t, 7 + (uint64_t)i);
    }
    subject_destroy(&s);
}
END_TEST

/* Units of AMD's, whose fragments are as wide as high; teams of one and of two waves. A sample, of which one has groups of 16;
 * with `all` each shape goes by two of them. */
static const char *const processors[] = {"gfx90a", "gfx942", "gfx1100", "gfx1200"};
enum { PROCESSORS = sizeof processors / sizeof *processors };

START_TEST(fragments_of_amd)
{
    subject s;
    matrix_kernels_parse(&s, shapes, SHAPES);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        const bool sample = i == (PROCESSORS - _i) % PROCESSORS || i == SIXTEENS;
        if (all_shapes ? (i + _i) % 2 : !sample)
            continue;
        rlx_jit_target t = emulated_amd_target(processors[_i], 64);
        t.team = t.subgroup * (1 + (i + _i) % 2);
        subject_check(&s, k, &t, 7 + (uint64_t)i);
    }
    subject_destroy(&s);
}
END_TEST

/* Tiles as prompts have them. */
static const matrix_kernel prompts[] = {
    {64, 64, 128, 2048, 2048, "q4_k", false, false, 0},
    {16, 64, 128, 2048, 2048, "q6_k", false, false, 0},
    {32, 64, 128, 2048, 2048, "q8_0", false, false, 0},
    {64, 64, 128, 2048, 2048, "q4_k", false, false, 2},
    {32, 64, 128, 2048, 2048, "q8_0", false, false, 3},
    {64, 64, 128, 2048, 2048, "q4_k", false, false, 2},
};
enum { PROMPTS = sizeof prompts / sizeof *prompts };

START_TEST(assembled)
{
    static const char *const sms[] = {"sm_80", "sm_90", "sm_90a"};
    subject s;
    matrix_kernels_parse(&s, prompts, PROMPTS);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = sms[i % 3]};
        const matrix_kernel *of = &prompts[i];
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &ptx, &bytes));
        const int groups = of->k / matrix_kernel_group(of) * (of->m > 32 ? 2 : 1),
                  hopper = strcmp(t.processor, "sm_90a") == 0;
        ck_assert_int_eq(subject_count((char *)ptx, "\tmma.sync"),
                         hopper ? 0 : of->m / 16 * (of->n / 8) / 4);
        ck_assert_int_eq(subject_count((char *)ptx, "wgmma.mma_async"), hopper ? groups : 0);
        ck_assert_int_eq(subject_count((char *)ptx, "fence.proxy.async"),
                         !hopper      ? 0
                         : of->stages ? 3
                                      : 1); /* of barriers, rings, the exchange */
        ck_assert_int_gt(subject_count((char *)ptx, "cp.async.cg"), 0);
        ck_assert_int_eq(subject_count((char *)ptx, "cp.async.bulk.tensor.2d"),
                         hopper ? of->stages : 0);
        ck_assert_int_eq(subject_count((char *)ptx, "cvta.param"), hopper && of->stages);
        ck_assert_int_eq(subject_count((char *)ptx, ".local"), 0); /* nor is a map copied there */
        ck_assert_int_eq(subject_count((char *)ptx, "mbarrier.arrive"), hopper ? of->stages : 0);
        ck_assert_int_eq(subject_count((char *)ptx, "mbarrier.try_wait"), hopper && of->stages);
        ck_assert_int_eq(subject_count((char *)ptx, "ldmatrix") > 0, !hopper);
        ck_assert_int_eq(subject_count((char *)ptx, "cp.async.wait_all"), !of->stages);
        ck_assert_int_eq(subject_count((char *)ptx, "cp.async.wait_group"), of->stages > 0);
        ck_assert_int_eq(subject_count((char *)ptx, "cp.async.commit_group"), of->stages);
        if (have_ptxas())
            ck_assert_int_eq(ptxas_assemble(k->name, (char *)ptx, bytes, t.processor).spills, 0);
        free(ptx);
    }
    subject_destroy(&s);
}
END_TEST

/* The same of so many rows as schedules for AMD have steps as long for; what follows the sums here, limits, a bias and
 * a residual at once, leaves no room for 64 rows (kernels as they are: tests/frontend/test_amd_codes.c). */
static const matrix_kernel amd_prompts[] = {
    {32, 64, 128, 2048, 2048, "q4_k", false, false, 0},
    {16, 64, 128, 2048, 2048, "q6_k", false, false, 0},
    {32, 64, 128, 2048, 2048, "q8_0", false, false, 0},
};
enum { AMD_PROMPTS = sizeof amd_prompts / sizeof *amd_prompts };

/* As code objects: matrix instructions as many as fragments want, and nothing in memory that a register
 * should hold (conditions of stores may go to lanes of one). */
START_TEST(assembled_for_amd)
{
    static const char *const mnemonics[] = {"v_mfma_i32_16x16x16", "v_mfma_i32_16x16x32",
                                            "v_wmma_i32_16x16x16", "v_wmma_i32_16x16x16"};
    subject s;
    matrix_kernels_parse(&s, amd_prompts, AMD_PROMPTS);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        const int p = (i + 1) % PROCESSORS;
        const rlx_jit_target t = {.kind = RLX_JIT_AMDGPU, .processor = processors[p]};
        const int waves = p < 2 ? 2 : 4,
                  halves = p == 1 || matrix_kernel_group(&amd_prompts[i]) == 16 ? 1 : 2;
        rlx_text text = {0};
        rlx_code_object o;
        uint8_t *code;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
        EXPECT_OK(rlx_code_object_read(code, bytes, &o));
        ck_assert_int_eq(o.vgpr_spills + o.scratch_bytes, 0);
        ck_assert_int_le(o.vgprs, 256); /* two waves of a SIMD, at least */
        EXPECT_OK(rlx_jit_print_kernel(k, &t, RLX_JIT_ASM, &text));
        ck_assert_int_eq(subject_count(text.data, mnemonics[p]),
                         amd_prompts[i].m / 16 * (amd_prompts[i].n / 16) / waves * halves);
        ck_assert_int_eq(subject_count(text.data, "accvgpr"), 0);
        rlx_text_deinit(&text);
        free(code);
    }
    subject_destroy(&s);
}
END_TEST

/* Without one of its instructions ptxas would say so. */
static void expect_changes(const rlx_ir_func *k, const char *ptx, const char *what)
{
    char *without = strdup(ptx), *at = strstr(without, what);
    ck_assert_ptr_nonnull(at);
    memset(at, ' ', strlen(what));
    ck_assert_msg(ptxas_changes_wgmma(k->name, without, strlen(without), "sm_90a"),
                  "ptxas says nothing without %s", what);
    free(without);
}

START_TEST(ptxas_sees_missing_waits)
{
    const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_90a"};
    subject s;
    uint8_t *ptx;
    size_t bytes;
    matrix_kernels_parse(&s, hopper_shapes, 1);
    EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &t, &ptx, &bytes));
    if (have_ptxas()) {
        expect_changes(s.module->first, (char *)ptx, "wgmma.wait_group.sync.aligned 1;");
        expect_changes(s.module->first, (char *)ptx, "wgmma.fence.sync.aligned;");
    }
    free(ptx);
    subject_destroy(&s);
}
END_TEST

/* Whatever the team, of which ptxas is told only where there is not room for the most registers that an invocation has. */
START_TEST(larger_teams_spill_nothing)
{
    subject s;
    matrix_kernels_parse(&s, prompts, 1);
    for (int team = 128; team <= 512; team *= 2) {
        const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = team};
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &t, &ptx, &bytes));
        ck_assert_int_eq(subject_count((char *)ptx, ".minnctapersm"), 0);
        ck_assert_int_eq(subject_count((char *)ptx, ".maxntid"), team > 256);
        if (have_ptxas())
            ck_assert_int_eq(
                ptxas_assemble(s.module->first->name, (char *)ptx, bytes, t.processor).spills, 0);
        free(ptx);
    }
    subject_destroy(&s);
}
END_TEST

/* What has no unit, tiles that are no fragments, and teams that a unit does not fit: they do not
 * decide whether there is one, which is numerics. */
START_TEST(refused)
{
    static const matrix_kernel odd = {24, 32, 64, 64, 32, "q8_0", false, false, 0};
    const rlx_jit_target none[] = {{.kind = RLX_JIT_NVPTX, .processor = "sm_75"},
                                   host_team_target(32)};
    const rlx_jit_target hopper = {.kind = RLX_JIT_NVPTX, .processor = "sm_90a"};
    rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_80"}, half_group = hopper;
    rlx_lir_target lir;
    subject s;
    uint8_t *code;
    size_t bytes;
    half_group.team = 64; /* goes by mma.sync */
    matrix_kernels_parse(&s, shapes, 1);
    for (int i = 0; i < 2; i++)
        EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &none[i], &code, &bytes), RLX_UNSUPPORTED,
                     "there is no matrix unit that multiplies bytes");
    subject_destroy(&s);
    matrix_kernels_parse(&s, &hopper_shapes[1], 1);
    EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &half_group, &code, &bytes));
    ck_assert_int_gt(subject_count((char *)code, "\tmma.sync"), 0);
    free(code);
    subject_destroy(&s);
    matrix_kernels_parse(&s, &odd, 1);
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &hopper, &code, &bytes), RLX_UNSUPPORTED,
                 "24x32 are no fragments of 8x64 for 1 subgroups");
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                 "24x32 are no fragments of 16x8 for 4 subgroups");
    for (t.team = 48; t.team <= 96; t.team += 48) {
        EXPECT_ERROR(rlx_jit_lir_target(&t, &lir), RLX_UNSUPPORTED, "its matrix unit takes 32");
        EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                     "invocations for sm_80: its matrix unit takes 32");
    }
    t = (rlx_jit_target){.kind = RLX_JIT_AMDGPU, .processor = "gfx942", .team = 96};
    EXPECT_ERROR(rlx_jit_lir_target(&t, &lir), RLX_UNSUPPORTED, "its matrix unit takes 64");
    t.processor = "gfx1100";
    EXPECT_ERROR(rlx_jit_lir_target(&t, &lir), RLX_UNSUPPORTED, "its matrix unit takes 32");
    subject_destroy(&s);
}
END_TEST

/* A chunk of eight rows lies in eight different sixteenths of 128 bytes, which all banks are; nowhere lie two. */
START_TEST(swizzles)
{
    enum { ROWS = 64, EIGHT = 8, MOST = 64 };
    for (int chunks = 1; chunks <= MOST; chunks *= 2) {
        const rlx_matrix_swizzle s = rlx_matrix_swizzle_of(chunks);
        bool taken[ROWS * MOST] = {false};
        for (int first = 0; first < ROWS; first += EIGHT)
            for (int c = 0; c < chunks; c++) {
                unsigned places = 0;
                for (int row = first; row < first + EIGHT; row++) {
                    const int at = row * chunks + (c ^ (row >> s.shift & s.mask));
                    ck_assert(at >= row * chunks && at < (row + 1) * chunks && !taken[at]);
                    taken[at] = true;
                    places |= 1u << at % EIGHT;
                }
                ck_assert_uint_eq(places, 0xff);
            }
    }
}
END_TEST

int main(int argc, char **argv)
{
    all_shapes = argc > 1 && !strcmp(argv[1], "all");
    Suite *s = suite_create("jit matrix");
    SUITE_TEST(s, "fragments", fragments);
    SUITE_TEST(s, "warpgroups", warpgroups);
    TCase *amd = tcase_create("fragments_of_amd");
    tcase_set_timeout(amd, 0);
    tcase_add_loop_test(amd, fragments_of_amd, 0, PROCESSORS);
    suite_add_tcase(s, amd);
    SUITE_TEST(s, "assembled", assembled);
    SUITE_TEST(s, "assembled_for_amd", assembled_for_amd);
    SUITE_TEST(s, "ptxas_sees_missing_waits", ptxas_sees_missing_waits);
    SUITE_TEST(s, "larger_teams_spill_nothing", larger_teams_spill_nothing);
    SUITE_TEST(s, "refused", refused);
    SUITE_TEST(s, "swizzles", swizzles);
    return suite_run(s, 8 + PROCESSORS);
}
