/* tests/lower/test_attention.c: attention of steps of one token and of many, over small pages: random heads, formats,
 * masks and sequences, in any order within the step. MIR's evaluator, LIR's and machine code give the same bits,
 * whether a step goes token by token or by blocks; infinities in values that a query does not see do not reach it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lir/schedule/schedule.h"
#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/attention_world.h"

enum { CASES = 36, CODE_EVERY = 7 };

/* ---- buckets ---- */

/* On GPUs: on the interpreter, through the SPIR-V validator, and as a team of the host. */
static void check_gpu(attention_world *w, const rlx_ir_module *mir, const int64_t *upper,
                      const rlx_eval_tensor *want, bool code)
{
    const rlx_jit_target nvidia = {
        .kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = 32 << attention_pick(w, 3)};
    const rlx_jit_target own = w->e.code;
    rlx_lir_target target;
    rlx_ir_module *lir;
    engines_compare_gpu(&w->e, mir, upper, want, 1);
    if (!code)
        return;
    engines_must(rlx_jit_lir_target(&nvidia, &target), &w->e);
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir),
        &w->e);
    w->e.code = host_subgroup_target(nvidia.team, 8 << attention_pick(w, 3));
    engines_compare(&w->e, lir, want, 1, true);
    w->e.code = own;
    rlx_ir_module_destroy(lir);
}

static void check_bucket(attention_world *w, const rlx_ir_module *mir, const rlx_lir_target *target,
                         int64_t upper, const rlx_eval_tensor *want, bool code)
{
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_ir_module *lir;
    memcpy(symbols, w->e.symbols, sizeof symbols);
    symbols[rlx_dim_symbol_index(mir->dims, "T")] = upper;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = target, .upper = symbols}, &lir),
        &w->e);
    engines_compare(&w->e, lir, want, 1, false);
    if (code)
        engines_compare(&w->e, lir, want, 1, true);
    rlx_ir_module_destroy(lir);
    if (code || attention_pick(w, 4) == 0)
        check_gpu(w, mir, symbols, want, code);
}

static const int64_t widths[] = {2, 6, 8, 24, 32, 64, 80};

/* Heads of more groups of codes than a GPU's instance keeps sums of. */
static void make_wide_world(attention_world *w, int64_t width)
{
    rlx_jit_target own[2];
    cpu_targets(own);
    *w = (attention_world){
        .one = true, .tokens = 3, .heads = 1, .ratio = 2, .width = width, .positions = 16};
    w->e.seed = (uint64_t)width;
    w->e.code = own[0];
    do {
        rlx_text_clear(&w->e.text);
        attention_make_text(w);
    } while (!strstr(w->e.text.data, "%vs: f16"));
}

static void make_world(attention_world *w, int number)
{
    rlx_jit_target own[2];
    *w = (attention_world){.e.seed = (uint64_t)number * 977 + 11};
    w->e.code = own[(cpu_targets(own) - 1) * (number / CODE_EVERY % 2)];
    w->heads = 1 + attention_pick(w, 3);
    w->ratio = 1 + attention_pick(w, 5);
    w->width = widths[attention_pick(w, 7)];
    w->positions = 16 << attention_pick(w, 3);
    w->tokens = 1 + attention_pick(w, attention_pick(w, 2) ? 40 : 9);
    w->one = number % 4 == 0;
    if (w->one)
        w->tokens = 20 + attention_pick(w, 20);
    if (number % 8 == 3) { /* panels of keys come in several groups */
        w->positions = 128 << attention_pick(w, 2);
        w->heads = 1;
        w->width = widths[attention_pick(w, 5)];
    }
    attention_make_text(w);
}

static rlx_lir_target target_of(attention_world *w, bool wide)
{
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = wide ? 16 : 8,
                            .vector_regs = wide ? 32 : 16,
                            .team = 1,
                            .threads = 1 + (int)attention_pick(w, 4),
                            .l1_bytes = 32768,
                            .l2_bytes = 2048 << attention_pick(w, 9),
                            .team_bytes = 262144};
}

START_TEST(attention_is_the_same_everywhere)
{
    attention_world w;
    make_world(&w, _i);
    const bool code = _i % CODE_EVERY == 0, wide = !code && attention_pick(&w, 2);
    const rlx_lir_target target = target_of(&w, wide);
    rlx_dims *dims = rlx_dims_create();
    rlx_eval_tensor want;
    rlx_ir_module *mir = attention_open(&w, dims, &want);
    /* blocks on CPUs, and token by token: machine code of the one or the other */
    check_bucket(&w, mir, &target, 40, &want, code && _i % 2 == 0);
    check_bucket(&w, mir, &target, w.tokens < 31 ? w.tokens : 31, &want, code && _i % 2);
    free(want.data);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

START_TEST(wide_heads_of_codes_are_shared)
{
    static const int64_t wide[] = {544, 576, 640};
    attention_world w;
    make_wide_world(&w, wide[_i]);
    rlx_dims *dims = rlx_dims_create();
    rlx_eval_tensor want;
    rlx_ir_module *mir = attention_open(&w, dims, &want);
    check_gpu(&w, mir, w.e.symbols, &want, _i == 1);
    free(want.data);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

/* Heads 64 wide over pages of 256, unless the shape says otherwise. */
static rlx_lir_attention_schedule schedule_on(int threads, int64_t l2_bytes,
                                              rlx_lir_attention_shape shape)
{
    const rlx_lir_target target = {.unit = RLX_UNIT_CPU,
                                   .vector_f32 = 8,
                                   .vector_regs = 16,
                                   .team = 1,
                                   .threads = threads,
                                   .l2_bytes = l2_bytes,
                                   .team_bytes = l2_bytes / 2};
    rlx_lir_attention_schedule s;
    shape.width = shape.width ? shape.width : 64;
    shape.positions = shape.positions ? shape.positions : 256;
    rlx_lir_schedule_attention(&target, &shape, &s);
    return s;
}

static rlx_lir_attention_schedule schedule_of(int threads, rlx_lir_attention_shape shape)
{
    return schedule_on(threads, 1 << 19, shape);
}

/* Tokens of sequences that decode together share nothing; those of a prompt do. */
START_TEST(blocks_are_of_prompts)
{
    const rlx_lir_attention_shape decode = {
        .heads = 4, .kv_heads = 8, .tokens = 32, .sequences = 32};
    rlx_lir_attention_shape prompt = decode;
    ck_assert_int_eq(schedule_of(2, decode).tokens, 0);
    prompt.sequences = 1;
    ck_assert_int_eq(schedule_of(2, prompt).tokens, 32);
}
END_TEST

/* As many rows as share the work, while all threads have blocks; then fewer, two register tiles at least. */
START_TEST(all_threads_have_blocks)
{
    const rlx_lir_attention_shape shape = {
        .heads = 4, .kv_heads = 2, .tokens = 512, .sequences = 1};
    ck_assert_int_eq(schedule_of(1, shape).tokens, 768 / 4);
    const int tokens = schedule_of(16, shape).tokens;
    ck_assert_int_ge(2 * ((512 + tokens - 1) / tokens), 3 * 16);
    ck_assert_int_eq(schedule_of(1000, shape).tokens, 2 * 6 / 4);
}
END_TEST

/* A step is often far shorter than its bucket: 64 tokens are still a block for every thread. */
START_TEST(short_steps_have_blocks)
{
    const rlx_lir_attention_shape shape = {
        .heads = 4, .kv_heads = 8, .tokens = 512, .sequences = 1};
    const int tokens = schedule_of(16, shape).tokens;
    ck_assert_int_ge(8 * ((64 + tokens - 1) / tokens), 16);
    ck_assert_int_gt(schedule_of(2, shape).tokens * 4, 512);
    const rlx_lir_attention_shape one = {
        .heads = 128, .kv_heads = 1, .width = 576, .tokens = 512, .sequences = 1};
    ck_assert_int_ge(schedule_of(16, one).tokens, 2);
}
END_TEST

/* Panels of a page and a part's rows are what a second-level cache holds; a block's memory is bounded. */
START_TEST(parts_fit_caches)
{
    rlx_lir_attention_shape shape = {.heads = 4, .kv_heads = 8, .tokens = 512, .sequences = 1};
    ck_assert_int_eq(schedule_on(1, 1 << 19, shape).part, 48);
    const int part = schedule_on(1, 1 << 18, shape).part, panels = 4 * 256 * 128;
    ck_assert_int_ge(part, 24);
    ck_assert_int_le(panels + part * 4 * (256 + 128), (1 << 18) * 3 / 4);
    shape.width = 128;
    ck_assert_int_eq(schedule_on(1, 1 << 19, shape).part, 48);
    ck_assert_int_eq(schedule_on(1, 1 << 19, shape).tokens * 4, 768);
    shape.width = 512;
    const int rows = schedule_on(1, 1 << 19, shape).tokens * 4;
    ck_assert_int_le(4 * (256 * 1024 + 48 * 256 + rows * 1024), 2 << 20);
    ck_assert_int_gt(rows, 192);
}
END_TEST

/* Random cases have runs of more than two parts whose last one is short, small pages and large ones. */
START_TEST(cases_have_short_parts)
{
    int parts = 0, large = 0;
    for (int i = 0; i < CASES; i++) {
        attention_world w;
        rlx_lir_attention_schedule s;
        make_world(&w, i);
        const rlx_lir_target t = target_of(&w, i % CODE_EVERY != 0 && attention_pick(&w, 2));
        rlx_lir_schedule_attention(&t,
                                   &(rlx_lir_attention_shape){.heads = w.ratio,
                                                              .width = w.width,
                                                              .positions = w.positions,
                                                              .kv_heads = w.heads,
                                                              .tokens = 40,
                                                              .sequences = SEQS},
                                   &s);
        const int64_t rows = w.ratio * (w.tokens < s.tokens ? w.tokens : s.tokens);
        parts += w.one && s.tokens && rows > 2 * s.part && rows % s.part != 0;
        large += s.tokens && w.positions >= 128;
        engines_deinit(&w.e);
    }
    ck_assert_int_gt(parts, 1);
    ck_assert_int_gt(large, 2);
}
END_TEST

/* A team's rows take what memory there is, but one at least; scores are written in whole lanes of a sum. */
START_TEST(tiles_of_pages_fit_a_teams_memory)
{
    for (int team = 8; team <= 1024; team *= 2)
        for (int64_t bytes = 8 << 10; bytes <= 32 << 10; bytes *= 2)
            for (int heads = 1; heads <= 12; heads++) {
                const rlx_lir_target target = {
                    .unit = RLX_UNIT_GPU, .team = team, .threads = 64, .team_bytes = bytes};
                const rlx_lir_attention_shape shape = {.heads = heads,
                                                       .width = 48 * heads,
                                                       .positions = 16 << heads % 5,
                                                       .kv_heads = 2,
                                                       .tokens = 1 + team % 100,
                                                       .sequences = 1};
                rlx_lir_attention_schedule s;
                rlx_lir_schedule_attention(&target, &shape, &s);
                ck_assert_int_eq(s.m, s.tokens * s.rows);
                ck_assert_int_eq(shape.heads % s.rows, 0);
                ck_assert_int_eq(shape.width % s.width, 0);
                ck_assert_int_eq(shape.width % s.keys, 0);
                ck_assert_int_eq(shape.positions % s.n, 0);
                ck_assert_int_eq(s.n % 16, 0);
                ck_assert_int_le(s.m, 8);
                ck_assert_int_le(4 * s.m * (shape.positions + shape.width + 8), bytes);
            }
}
END_TEST

/* What goes token by token has no register tile and no parts. */
START_TEST(tokens_have_no_parts)
{
    const rlx_lir_attention_shape shape = {
        .heads = 500, .kv_heads = 1, .tokens = 512, .sequences = 1};
    const rlx_lir_attention_schedule s = schedule_of(1, shape);
    rlx_text t = {0};
    ck_assert_int_eq(s.tokens, 0);
    ck_assert(s.part == 0 && s.m == 0 && s.n == 0);
    rlx_lir_schedule_attention_print(&s, &t);
    ck_assert_str_eq(t.data, "heads 4 keys 16 width 16");
    rlx_text_deinit(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("attention");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, attention_is_the_same_everywhere, 0, CASES);
    tcase_add_loop_test(c, wide_heads_of_codes_are_shared, 0, 3);
    tcase_add_test(c, blocks_are_of_prompts);
    tcase_add_test(c, all_threads_have_blocks);
    tcase_add_test(c, short_steps_have_blocks);
    tcase_add_test(c, parts_fit_caches);
    tcase_add_test(c, tiles_of_pages_fit_a_teams_memory);
    tcase_add_test(c, tokens_have_no_parts);
    tcase_add_test(c, cases_have_short_parts);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + 10);
}
