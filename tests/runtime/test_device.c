/* What is the same for every device: how many teams a launch has. */
#include "runtime/device.h"
#include "tests/runtime/programs.h"

enum { MOST = 16 };

static uint32_t count(const builder *b, int64_t tokens, int64_t rows)
{
    const int64_t symbols[RLX_MAX_SYMBOLS] = {tokens, rows};
    return rlx_device_count_teams(&b->p, 0, symbols, MOST);
}

static void set_grid(builder *b, rlx_dim x, rlx_dim y, rlx_dim z)
{
    rlx_program_kernel *k = &b->kernels[0];
    k->grid[0] = x;
    k->grid[1] = y;
    k->grid[2] = z;
}

START_TEST(a_team_for_each_instance)
{
    static const int64_t upper[5] = {100, 100, 1, 1, 1};
    builder b;
    builder_init(&b, "grid", upper);
    const rlx_dim tokens = dim_of(&b, "TOKENS"), rows = dim_of(&b, "ROWS");
    set_grid(&b, tokens, 1, 1);
    ck_assert_uint_eq(count(&b, 1, 0), 1);
    ck_assert_uint_eq(count(&b, MOST - 1, 0), MOST - 1);
    ck_assert_uint_eq(count(&b, MOST, 0), MOST);
    ck_assert_uint_eq(count(&b, MOST + 1, 0), MOST); /* the device runs no more at once */
    ck_assert_uint_eq(count(&b, INT64_MAX, 0), MOST);
    set_grid(&b, tokens, rows, 3);
    ck_assert_uint_eq(count(&b, 1, 1), 3);
    ck_assert_uint_eq(count(&b, 2, 2), 12);
    ck_assert_uint_eq(count(&b, 2, 3), MOST);
    ck_assert_uint_eq(count(&b, INT64_MAX, INT64_MAX), MOST); /* nothing overflows */
    builder_deinit(&b);
}
END_TEST

/* A launch of nothing is one of a team that finds nothing to do. */
START_TEST(one_team_for_none)
{
    static const int64_t upper[5] = {100, 100, 1, 1, 1};
    builder b;
    builder_init(&b, "grid", upper);
    const rlx_dim tokens = dim_of(&b, "TOKENS"), rows = dim_of(&b, "ROWS");
    set_grid(&b, tokens, rows, 1);
    ck_assert_uint_eq(count(&b, 0, 0), 1);
    ck_assert_uint_eq(count(&b, 0, 9), 1);
    ck_assert_uint_eq(count(&b, 9, 0), 1);
    builder_deinit(&b);
}
END_TEST

/* Memory decides how many there are. */
START_TEST(all_teams_for_an_unknown_grid)
{
    static const int64_t upper[5] = {100, 100, 1, 1, 1};
    builder b;
    builder_init(&b, "grid", upper);
    set_grid(&b, RLX_GRID_UNKNOWN, 1, 1);
    ck_assert_uint_eq(count(&b, 0, 0), MOST);
    builder_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("runtime_device");
    SUITE_TEST(s, "instances", a_team_for_each_instance);
    SUITE_TEST(s, "none", one_team_for_none);
    SUITE_TEST(s, "unknown", all_teams_for_an_unknown_grid);
    return suite_run(s, 3);
}
