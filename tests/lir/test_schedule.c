/* How contractions are cut, where a cut decides how often weights are read. */
#include <check.h>

#include "lir/schedule/schedule.h"
#include "tests/base/suite.h"

static const rlx_lir_target avx2 = {.unit = RLX_UNIT_CPU,
                                    .vector_f32 = 8,
                                    .vector_regs = 16,
                                    .team = 1,
                                    .threads = 1,
                                    .l1_bytes = 32 << 10,
                                    .l2_bytes = 512 << 10,
                                    .team_bytes = 512 << 10};

static rlx_lir_schedule cut(int threads, rlx_lir_contract_shape shape)
{
    rlx_lir_target t = avx2;
    rlx_lir_schedule s;
    t.threads = threads;
    if (!shape.batch)
        shape.batch = 1;
    if (!shape.contracts)
        shape.contracts = 1;
    rlx_lir_schedule_contract(&t, &shape, &s);
    return s;
}

/* Up to three rows are one register tile; four would be two, the second of them two thirds dead. */
START_TEST(four_rows_read_weights_once)
{
    for (int64_t k = 16; k <= 4096; k *= 2) {
        const rlx_lir_schedule three = cut(
                                   1,
                                   (rlx_lir_contract_shape){.m = 3, .n = 256, .k = k, .lanes = 16}),
                               four = cut(1, (rlx_lir_contract_shape){
                                                 .m = 4, .n = 256, .k = k, .lanes = 16});
        ck_assert_int_eq(three.depth, 0);
        ck_assert_int_eq(three.m, 3);
        ck_assert_int_gt(four.depth, 0);
        ck_assert_int_eq(four.block_m, 4);
    }
}
END_TEST

/* Panels of the whole of K are worth it for eight blocks of rows, of each part that rows are split into for
 * threads. */
START_TEST(parts_of_rows_have_many_blocks)
{
    rlx_lir_contract_shape shape = {.m = 4096, .n = 384, .k = 384, .lanes = 1, .whole = true};
    ck_assert_int_ge(cut(1, shape).blocks, 8);
    ck_assert_int_eq(cut(8, shape).blocks, 0);
    shape.m = 8 * 4096;
    ck_assert_int_ge(cut(8, shape).blocks, 8);
}
END_TEST

/* Columns that an epilogue needs together may be more than panels have room for. */
START_TEST(units_beyond_the_panels_do_not_share_them)
{
    rlx_lir_contract_shape shape = {
        .m = 16384, .n = 1024, .k = 1024, .lanes = 1, .whole = true, .unit = 512};
    ck_assert_int_ge(cut(1, shape).blocks, 8);
    shape.unit = 1024;
    ck_assert_int_eq(cut(1, shape).blocks, 0);
}
END_TEST

/* Codes of many rows go by twice the columns, though sums have room for half the rows then; unless those are few. */
START_TEST(codes_of_many_rows_share_columns)
{
    const rlx_lir_contract_shape shape = {.m = 4096,
                                          .n = 1536,
                                          .k = 384,
                                          .batch = 1,
                                          .contracts = 1,
                                          .lanes = 1,
                                          .quantized = true,
                                          .whole = true};
    rlx_lir_target t = avx2;
    rlx_lir_schedule s;
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert_int_eq(s.block_n, 128);
    ck_assert_int_ge(s.block_m, 4 * 128);
    t.team_bytes = 128 << 10;
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert_int_eq(s.block_n, 64);
}
END_TEST

/* Of fewer rows, whose steps are over sooner, more are on their way, as far as there is room; none without copies. */
START_TEST(stages_last_as_long_as_a_copy)
{
    rlx_lir_target t = {.unit = RLX_UNIT_GPU,
                        .team = 128,
                        .l1_bytes = 164 << 10,
                        .team_bytes = 24 << 10,
                        .byte_matrix = {16, 8, 32, 32, false},
                        .copy_cycles = 800};
    rlx_lir_contract_shape shape = {
        .n = 2048, .k = 2048, .batch = 1, .contracts = 1, .lanes = 1, .quantized = true};
    static const int rows[] = {64, 32, 16}, stages[] = {2, 3, 4};
    rlx_lir_schedule s;
    for (int i = 0; i < 3; i++) {
        shape.m = rows[i];
        rlx_lir_schedule_contract(&t, &shape, &s);
        ck_assert_int_eq(s.m, rows[i]);
        ck_assert_int_eq(s.stages, stages[i]);
    }
    shape.unit = 256; /* whose columns wait in team memory */
    shape.m = 64;
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert_int_le(s.stages * s.m * (s.k + 16) + s.block_m * 256 * 4, t.team_bytes);
    shape = (rlx_lir_contract_shape){
        .m = 64, .n = 64, .k = 128, .batch = 1, .contracts = 1, .lanes = 1, .quantized = true};
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert_int_eq(s.stages, 0); /* one step */
    shape.k = 2048;
    shape.prologue = 1; /* rows that are made in team memory want no copies */
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert(s.prologue_once);
    ck_assert_int_eq(s.stages, 0);
    shape.prologue = 0;
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert_int_gt(s.stages, 0);
    t.copy_cycles = 0;
    rlx_lir_schedule_contract(&t, &shape, &s);
    ck_assert_int_eq(s.stages, 0);
}
END_TEST

/* Codes of a single row: as far as whole steps go, a team's memory, and that of a processor for several teams. */
START_TEST(single_rows_have_long_steps)
{
    enum { KIB = 1 << 10 };
    static const struct {
        int m, k, group, team_kib, unit_kib, step;
    } cases[] = {{1, 2048, 32, 24, 164, 1024}, {2, 2048, 32, 24, 164, 256},
                 {1, 1536, 32, 24, 164, 512},  {1, 576, 32, 24, 164, 256},
                 {1, 2048, 32, 12, 164, 512},  {1, 2048, 32, 8, 164, 256},
                 {1, 2048, 32, 32, 64, 512},   {1, 2048, 16, 32, 64, 256}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rlx_lir_target t = {.unit = RLX_UNIT_GPU,
                            .team = 128,
                            .l1_bytes = cases[i].unit_kib * KIB,
                            .team_bytes = cases[i].team_kib * KIB,
                            .copy_cycles = 800};
        const rlx_lir_contract_shape shape = {.m = cases[i].m,
                                              .n = 2048,
                                              .k = cases[i].k,
                                              .batch = 1,
                                              .contracts = 1,
                                              .lanes = 8,
                                              .group = cases[i].group,
                                              .quantized = true};
        rlx_lir_schedule s;
        rlx_lir_schedule_contract(&t, &shape, &s);
        ck_assert_int_eq(s.k, cases[i].step);
        ck_assert_int_eq(s.n, 16);
        t.copy_cycles = 0;
        rlx_lir_schedule_contract(&t, &shape, &s);
        ck_assert_int_eq(s.k, 256);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schedule");
    TCase *c = tcase_create("contractions");
    tcase_add_test(c, four_rows_read_weights_once);
    tcase_add_test(c, parts_of_rows_have_many_blocks);
    tcase_add_test(c, units_beyond_the_panels_do_not_share_them);
    tcase_add_test(c, codes_of_many_rows_share_columns);
    tcase_add_test(c, stages_last_as_long_as_a_copy);
    tcase_add_test(c, single_rows_have_long_steps);
    suite_add_tcase(s, c);
    return run_suite(s, 5);
}
