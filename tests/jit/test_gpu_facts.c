/* What bench/gpu_static tells of kernels: classes of instructions as LLVM's listings have them, and waves that run side by
 * side, by hand from AMD's ISA documents and CUDA's programming guide. */
#include "bench/gpu_facts.h"

#include "tests/runtime/suite.h"

static const struct {
    const char *line;
    bool amd;
    int kind; /* RLX_GPU_CLASSES: no instruction */
} lines[] = {
    {"\ts_barrier\n", true, RLX_GPU_BARRIERS},
    {"\ts_barrier_signal -1\n", true, RLX_GPU_OTHERS},
    {"\ts_barrier_wait -1\n", true, RLX_GPU_BARRIERS},
    {"\tds_swizzle_b32 v2, v1 offset:swizzle(SWAP,4)\n", true, RLX_GPU_OTHERS},
    {"\tds_bpermute_b32 v2, v0, v1\n", true, RLX_GPU_OTHERS},
    {"\tds_read_b128 v[0:3], v4\n", true, RLX_GPU_TEAM},
    {"\tds_store_b32 v0, v1\n", true, RLX_GPU_TEAM},
    {"\tglobal_load_dwordx4 v[0:3], v4, s[0:1]\n", true, RLX_GPU_LOADS},
    {"\tv_dot4_i32_iu8 v0, v1, v2, v0 neg_lo:[1,1,0]\n", true, RLX_GPU_DOTS},
    {"\tv_fma_f32 v0, v1, v2, v3\n", true, RLX_GPU_FLOATS},
    {"\tv_cvt_f32_f16_e32 v0, v1\n", true, RLX_GPU_OTHERS},
    {"0000000000001900 <k>:\n", true, RLX_GPU_CLASSES},
    {"\tcp.async.cg.shared.global [%r1], [%rd1], 16;\n", false, RLX_GPU_LOADS},
    {"\tcp.async.wait_all;\n", false, RLX_GPU_OTHERS},
    {"\tld.global.nc.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];\n", false, RLX_GPU_LOADS},
    {"\tld.shared.f32 %f1, [%r1];\n", false, RLX_GPU_TEAM},
    {"\tbar.sync 0;\n", false, RLX_GPU_BARRIERS},
    {"\tmma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32\n", false, RLX_GPU_MATRIX},
    {"\tfma.rn.f32 %f1, %f2, %f3, %f4;\n", false, RLX_GPU_FLOATS},
    {"\t@%p1 bra $L__BB0_2;\n", false, RLX_GPU_OTHERS},
    {"\tret;\n", false, RLX_GPU_OTHERS},
    {"\t.reg .b32 \t%r<9>;\n", false, RLX_GPU_CLASSES},
};

START_TEST(classes)
{
    rlx_gpu_counts c = {0};
    rlx_gpu_count_line(lines[_i].line, lines[_i].amd, &c);
    ck_assert_int_eq(c.all, lines[_i].kind < RLX_GPU_CLASSES);
    if (c.all)
        ck_assert_msg(c.of[lines[_i].kind] == 1, "%s", lines[_i].line);
}
END_TEST

static const struct {
    rlx_jit_kind kind;
    const char *processor;
    int registers, team_bytes, waves, most;
} occupied[] = {
    {RLX_JIT_AMDGPU, "gfx942", 0, 0, 32, 32},
    {RLX_JIT_AMDGPU, "gfx942", 128, 5632, 16, 32},
    {RLX_JIT_AMDGPU, "gfx942", 512, 0, 4, 32},
    {RLX_JIT_AMDGPU, "gfx942", 24, 48 << 10, 2, 32}, /* a team alone, on two of four SIMDs */
    {RLX_JIT_AMDGPU, "gfx1100", 256, 0, 8, 32},
    {RLX_JIT_AMDGPU, "gfx1100", 24, 30 << 10, 8, 32},
    {RLX_JIT_NVPTX, "sm_75", 32, 0, 32, 32},
    {RLX_JIT_NVPTX, "sm_75", 32, 32 << 10, 8, 32},
    {RLX_JIT_NVPTX, "sm_80", 32, 0, 64, 64},
    {RLX_JIT_NVPTX, "sm_80", 168, 0, 12, 64},
    {RLX_JIT_NVPTX, "sm_80", 32, 40 << 10, 16, 64},
    {RLX_JIT_NVPTX, "sm_90a", 32, 40 << 10, 20, 64},
};

START_TEST(waves)
{
    const rlx_gpu_processor *p;
    int most;
    EXPECT_OK(rlx_gpu_find(occupied[_i].kind, occupied[_i].processor, &p));
    ck_assert_int_eq(rlx_gpu_waves(p, occupied[_i].registers, occupied[_i].team_bytes, &most),
                     occupied[_i].waves);
    ck_assert_int_eq(most, occupied[_i].most);
}
END_TEST

int main(void)
{
    enum { LINES = sizeof lines / sizeof *lines, OCCUPIED = sizeof occupied / sizeof *occupied };
    Suite *s = suite_create("gpu facts");
    TCase *tc = tcase_create("facts");
    tcase_add_loop_test(tc, classes, 0, LINES);
    tcase_add_loop_test(tc, waves, 0, OCCUPIED);
    suite_add_tcase(s, tc);
    return suite_run(s, LINES + OCCUPIED);
}
