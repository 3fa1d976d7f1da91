/* Loads from block formats as machine code, against the interpreter (which is the scalar decode): on
 * CPUs, and as GPUs emit them, on the host and for NVIDIA (kernels: block_kernels.c). All with
 * RLX_SWEEP=1 (2 minutes). */
#include <stdlib.h>
#include <string.h>

#include "tests/jit/block_kernels.h"
#include "tests/runtime/suite.h"

START_TEST(against_interpreter)
{
    subject s;
    rlx_jit_target targets[2];
    int ntargets = cpu_targets(targets);
    ck_assert_int_ge(ntargets, 1);
    block_kernels_all(&s, block_formats[_i]);
    ck_assert(subject_bind(&s, "N=4"));
    for (int t = 0; t < (block_is_rare(block_formats[_i]) ? 1 : ntargets); t++)
        subject_check_all(&s, &targets[t], (uint64_t)(_i * 10 + t));
    subject_destroy(&s);
}
END_TEST

/* The GPUs' emitter: every element is an invocation's own. */
START_TEST(by_teams)
{
    subject s;
    rlx_jit_target team = host_team_target(_i % 2 ? 32 : 20);
    block_kernels_few(&s, block_formats[_i]);
    ck_assert(subject_bind(&s, "N=4"));
    subject_check_all(&s, &team, (uint64_t)(_i * 10 + 7));
    subject_destroy(&s);
}
END_TEST

START_TEST(for_nvidia)
{
    const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_80"};
    subject s;
    block_kernels_few(&s, block_formats[_i]);
    for (const rlx_ir_func *k = s.module->first; k; k = k->next) {
        uint8_t *code = NULL;
        size_t bytes = 0;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
        ck_assert_int_gt(bytes, 0);
        free(code);
    }
    subject_destroy(&s);
}
END_TEST

static void add_loop(Suite *s, const char *name, const TTest *test)
{
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 0);
    tcase_add_loop_test(tc, test, 0, BLOCK_FORMATS);
    suite_add_tcase(s, tc);
}

int main(void)
{
    Suite *s = suite_create("jit blocks");
    add_loop(s, "against_interpreter", against_interpreter);
    add_loop(s, "by_teams", by_teams);
    add_loop(s, "for_nvidia", for_nvidia);
    return suite_run(s, 3 * BLOCK_FORMATS);
}
