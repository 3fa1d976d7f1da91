/* What the interpreter refuses: accesses outside, conflicts between instances, missing barriers. */
#include <string.h>

#include "lir/lir_team.h"
#include "tests/lir/kernel.h"

/* A kernel over %n instances with index %g. */
#define GRID(args, n, top, body)                                                                \
    "kernel @k(" args ") {\n  %n = const {ivalue=" n "} : i64\n  %z = const {ivalue=0} : i64\n" \
    "  %i1 = const {ivalue=1} : i64\n" top "  grid %n (%g: i64) {\n" body                       \
    "    yield\n  }\n  return\n}\n"

static void expect(const char *text, const rlx_lir_buffer *b, int n, const char *message)
{
    assert_error(test_kernel(text, b, n), RLX_INVALID_IR, message);
}

START_TEST(outside_the_live_shape)
{
    float x[8] = {0}, y[8];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    test_module t;
    assert_ok(test_parse(GRID("%x: global f32[TOKENS,2], %y: global f32[8]", "3", "",
                              "    %t = load %x, %g, %z {axes=[1]} : f32<2>\n"
                              "    store %y, %t, %z {axes=[0]}\n"),
                         &t));
    test_bind(&t, "TOKENS", 1); /* the memory holds four rows, one of them is live */
    assert_error(
        test_run(&t, b, 2, NULL), RLX_INVALID_IR,
        "kernel @k, team 0, instance (1): touches 1..1 of axis 0, which has 1 live elements: "
        "`%t = load %x, %g, %z {axes=[1]} : f32<2>`");
    test_destroy(&t);
}
END_TEST

START_TEST(a_limit_excuses_only_its_own_axis)
{
    float x[8] = {0}, y[8];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    expect(GRID("%x: global f32[4,2], %y: global f32[4]", "1", "",
                "    %four = const {ivalue=4} : i64\n"
                "    %t = load %x, %z, %i1, %four {axes=[0,1], limits=[0]} : f32<4x2>\n"),
           b, 2, "touches 1..2 of axis 1, which has 2 live elements");
    expect(GRID("%x: global f32[4,2], %y: global f32[4]", "1", "",
                "    %nine = const {ivalue=9} : i64\n"
                "    %t = load %x, %i1, %z, %nine {axes=[0,1], limits=[0]} : f32<4x2>\n"),
           b, 2, "touches 1..4 of axis 0, which has 4 live elements");
    expect(GRID("%x: global f32[4,2], %y: global f32[4]", "1", "",
                "    %m = const {ivalue=-1} : i64\n    %four = const {ivalue=4} : i64\n"
                "    %t = load %x, %m, %z, %four {axes=[0,1], limits=[0]} : f32<4x2>\n"),
           b, 2, "touches -1..2 of axis 0");
}
END_TEST

START_TEST(beyond_the_callers_bytes)
{
    float x[4], y[4] = {0};
    rlx_lir_buffer b[] = {{x, 3 * sizeof(float)}, BUFFER(y)};
    expect(GRID("%x: global f32[4], %y: global f32[4]", "1", "",
                "    %c = const {value=1} : f32<4>\n    store %x, %c, %z {axes=[0]}\n"),
           b, 2, "touches byte 16 of a buffer that has 12");
}
END_TEST

START_TEST(two_instances_store_one_element)
{
    float y[4];
    rlx_lir_buffer b[] = {BUFFER(y)};
    static const char text[] = GRID("%y: global f32[4]", "3", "",
                                    "    %c = const {value=1} : f32<2>\n"
                                    "    store %y, %c, %g {axes=[0]}\n");
    expect(text, b, 1, "instance (1): stores element [1], which instance (0) stores too");
    test_module t;
    assert_ok(test_parse(text, &t));
    for (uint64_t seed = 1; seed < 5; seed++) { /* in any order, on any number of teams */
        rlx_lir_eval_options o = {.teams = (int)seed, .seed = seed};
        assert_error(test_run(&t, b, 1, &o), RLX_INVALID_IR, "stores too");
    }
    test_destroy(&t);
}
END_TEST

START_TEST(two_grids_store_one_element)
{
    float y[4];
    rlx_lir_buffer b[] = {BUFFER(y)};
    expect(GRID("%y: global f32[4]", "1",
                "  grid %i1 (%h: i64) {\n    %d = const {value=1} : f32\n    store %y, %d, %z\n"
                "    yield\n  }\n",
                "    %c = const {value=1} : f32\n    store %y, %c, %z\n"),
           b, 1, "which instance (0) stores too");
}
END_TEST

START_TEST(an_instance_reads_what_another_stores)
{
    float y[5] = {0};
    rlx_lir_buffer b[] = {BUFFER(y)};
    /* y[g] = y[g + 1]: read before the other stores; and y[g + 1] = y[g]: after */
    expect(GRID("%y: global f32[5]", "3", "",
                "    %h = map %g, %i1 {fn=add} : i64\n    %t = load %y, %h : f32\n"
                "    store %y, %t, %g\n"),
           b, 1, "instance (1): stores element [1], which instance (0) reads");
    expect(GRID("%y: global f32[5]", "3", "",
                "    %h = map %g, %i1 {fn=add} : i64\n    %t = load %y, %g : f32\n"
                "    store %y, %t, %h\n"),
           b, 1, "instance (1): reads element [1], which instance (0) stores");
}
END_TEST

START_TEST(once_reads_what_an_instance_stores)
{
    float y[2] = {0};
    rlx_lir_buffer b[] = {BUFFER(y)};
    expect(GRID("%y: global f32[2]", "2",
                "  %s = alloc : team f32[1]\n"
                "  once {\n    %t = load %y, %z : f32\n    store %s, %t, %z\n    yield\n  }\n",
                "    %v = load %s, %z : f32\n    store %y, %v, %g\n"),
           b, 1, "stores element [0], which once reads");
}
END_TEST

START_TEST(buffers_that_share_memory)
{
    float y[6] = {1, 2, 3, 4, 5, 6};
    static const char text[] = GRID("%x: global f32[4], %y: global f32[4]", "4", "",
                                    "    %t = load %x, %g : f32\n    store %y, %t, %g\n");
    rlx_lir_buffer same[] = {{y, 16}, {y, 16}}, shifted[] = {{y, 16}, {y + 1, 16}};
    assert_ok(test_kernel(text, same, 2)); /* each instance reads only what it stores itself */
    expect(text, shifted, 2, "reads element [1], which instance (0) stores");
    /* formats of different size over the same bytes */
    rlx_lir_buffer bytes[] = {{y, 8}, {y, 16}};
    expect(
        GRID("%b: global i8[8], %y: global f32[4]", "2", "",
             "    %t = load %b, %g : i8\n    %c = const {value=0} : f32\n    store %y, %c, %g\n"),
        bytes, 2, "reads element [1], which instance (0) stores");
}
END_TEST

#define TEAM(body)                                                                                 \
    GRID("%y: global f32[4]", "2", "  %s = alloc : team f32[4]\n  %c2 = const {ivalue=2} : i64\n", \
         "    %a = const {value=1} : f32<4>\n    %b = const {value=2} : f32\n" body                \
         "    %r = load %s, %c2 : f32\n    store %y, %r, %g\n")

START_TEST(team_memory_needs_barriers)
{
    float y[4];
    rlx_lir_buffer b[] = {BUFFER(y)};
    expect(TEAM("    store %s, %a, %z {axes=[0]}\n"), b, 1,
           "reads element [2] of team memory, stored with no barrier since");
    assert_ok(test_kernel(TEAM("    store %s, %a, %z {axes=[0]}\n    barrier\n"), b, 1));
    ck_assert(y[0] == 1 && y[1] == 1);
    expect(TEAM("    store %s, %a, %z {axes=[0]}\n    store %s, %b, %c2\n    barrier\n"), b, 1,
           "stores element [2] of team memory, stored with no barrier since");
    expect(TEAM("    store %s, %a, %z {axes=[0]}\n    barrier\n    %l = load %s, %c2 : f32\n"
                "    store %s, %b, %c2\n    barrier\n"),
           b, 1, "stores element [2] of team memory, read with no barrier since");
    assert_ok(test_kernel(TEAM("    store %s, %a, %z {axes=[0]}\n    barrier\n"
                               "    %l = load %s, %c2 : f32\n    barrier\n    store %s, %b, %c2\n"
                               "    barrier\n"),
                          b, 1));
    ck_assert(y[0] == 2 && y[1] == 2);
}
END_TEST

START_TEST(team_memory_begins_undefined)
{
    float y[4];
    rlx_lir_buffer b[] = {BUFFER(y)};
    expect(TEAM(""), b, 1, "reads element [2] of team memory, which nobody stored");
    /* the first instance stores, the second relies on it */
    expect(
        TEAM("    %f = map %g, %z {fn=eq} : bool\n"
             "    if %f {\n      store %s, %a, %z {axes=[0]}\n      yield\n    } {\n      yield\n"
             "    }\n    barrier\n"),
        b, 1, "instance (1): reads element [2] of team memory, which only another instance stored");
}
END_TEST

/* Four steps of two elements of %x, each by way of a stage of %s. `first` stands before what reads the
 * step's stage, `last` behind it, `end` behind the loop. */
#define RING(first, last, end)                                                                 \
    "kernel @k(%x: global f32[8], %y: global f32[8]) {\n  %s = alloc : team f32[2,2]\n"        \
    "  %z = const {ivalue=0} : i64\n  %i1 = const {ivalue=1} : i64\n"                          \
    "  %i2 = const {ivalue=2} : i64\n  %i4 = const {ivalue=4} : i64\n  grid %i1 (%g: i64) {\n" \
    "    %a = load %x, %z {axes=[0]} : f32<2>\n"                                               \
    "    store %s, %a, %z, %z {axes=[1], async=1}\n    commit\n"                               \
    "    for %z, %i4 {step=1} (%i: i64) {\n" first                                             \
    "      %t = map %i, %i2 {fn=mod} : i64\n      %m = map %i, %i2 {fn=mul} : i64\n"           \
    "      %v = load %s, %t, %z {axes=[1]} : f32<2>\n      store %y, %v, %m {axes=[0]}\n" last \
    "      yield\n    }\n" end "    yield\n  }\n  return\n}\n"
#define WAIT "      wait {pending=0}\n"
#define BARRIER "      barrier\n"
/* A copy of the next step. */
#define AHEAD                                                                                     \
    "      %j = map %i, %i1 {fn=add} : i64\n      %more = map %j, %i4 {fn=lt} : bool\n"           \
    "      if %more {\n        %k = map %j, %i2 {fn=mul} : i64\n"                                 \
    "        %u = map %j, %i2 {fn=mod} : i64\n"                                                   \
    "        %b = load %x, %k {axes=[0]} : f32<2>\n"                                              \
    "        store %s, %b, %u, %z {axes=[1], async=1}\n        yield\n      } {\n        yield\n" \
    "      }\n      commit\n"
#define AGAIN "    store %s, %again, %z, %z {axes=[1], async=1}\n"

START_TEST(async_stores_run_ahead)
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)}, same[] = {BUFFER(x), BUFFER(x)};
    assert_ok(test_kernel(RING(WAIT BARRIER AHEAD, "", ""), b, 2));
    ck_assert_int_eq(memcmp(x, y, sizeof x), 0);
    assert_ok(test_kernel(RING(WAIT BARRIER, AHEAD, ""), b, 2));
    expect(RING(BARRIER AHEAD, "", ""), b, 2,
           "reads element [0,0] of team memory, stored async and not waited for");
    expect(RING("      wait {pending=1}\n" BARRIER AHEAD, "", ""), b, 2,
           "reads element [0,0] of team memory, stored async and not waited for");
    expect(RING(WAIT AHEAD, "", ""), b, 2,
           "reads element [0,0] of team memory, stored async and waited for with no barrier since");
    expect(RING(AHEAD WAIT BARRIER, "", ""), b, 2,
           "stores element [0,0] of team memory, read with no barrier since");
    expect(RING(WAIT BARRIER AHEAD, "", "    %again = load %x, %z {axes=[0]} : f32<2>\n" AGAIN), b,
           2, "ends with async stores that nothing waited for: `grid");
    expect(RING(WAIT BARRIER AHEAD, "",
                "    barrier\n    %again = load %x, %z {axes=[0]} : f32<2>\n" AGAIN
                "    barrier\n    %c = const {value=1} : f32<2>\n"
                "    store %s, %c, %z, %z {axes=[1]}\n"),
           b, 2, "stores element [0,0] of team memory, stored async and not waited for");
    expect(RING(WAIT BARRIER AHEAD, "", ""), same, 2,
           "copies async from memory that the kernel stores to");
}
END_TEST

START_TEST(casts_must_fit)
{
    float x[1] = {3e9f};
    int32_t y[1];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    static const char text[] = GRID("%x: global f32[1], %y: global i32[1]", "1", "",
                                    "    %t = load %x, %z : f32\n    %i = cast %t : i32\n"
                                    "    store %y, %i, %z\n");
    expect(text, b, 2, "element 0, 3e+09, does not fit i32: `%i = cast %t : i32`");
    x[0] = -2147483648.0f;
    assert_ok(test_kernel(text, b, 2));
    ck_assert_int_eq(y[0], INT32_MIN);
}
END_TEST

START_TEST(extents_are_counts)
{
    float y[1];
    rlx_lir_buffer b[] = {BUFFER(y)};
    expect("kernel @k(%y: global f32[1]) {\n  %a = const {ivalue=2} : i64\n"
           "  %n = map %a {fn=neg} : i64\n  grid %n (%g: i64) {\n    yield\n  }\n  return\n}\n",
           b, 1, "kernel @k, team 0, top level: extent 0 is -2: `grid %n");
}
END_TEST

START_TEST(buffers_are_counted)
{
    float x[1];
    rlx_lir_buffer b[] = {BUFFER(x)};
    assert_error(test_kernel(GRID("%x: global f32[1], %y: global i32[1]", "1", "", ""), b, 1),
                 RLX_INVALID_ARGUMENT, "kernel @k takes 2 buffers, not 1");
}
END_TEST

/* Rows that go each of the four ways, in parts that are full and not; sums whose bits hang on the pairs. */
static const char rows[] =
    GRID("%x: global f32[512], %y: global f32[24], %z0: global f32[3], %s: global f32[2], "
         "%k0: global f32[3]",
         "1", "",
         "    %a = load %x, %z {axes=[0]} : f32<512>\n"
         "    %sum = reduce %a {fn=add} : f32\n    %most = reduce %a {fn=max} : f32\n"
         "    store %s, %sum, %z\n    store %s, %most, %i1\n"
         "    %w = load %x, %z {axes=[0]} : f32<16>\n"
         "    %b = broadcast %w {axes=[1]} : f32<24x16>\n"
         "    %i = iota : i32<24x16>\n    %f = cast %i : f32<24x16>\n"
         "    %c = map %b, %f {fn=mul} : f32<24x16>\n"
         "    %r = reduce %c {fn=add} : f32<24>\n    store %y, %r, %z {axes=[0]}\n"
         "    %v = load %x, %z {axes=[0]} : f32<64>\n"
         "    %d = broadcast %v {axes=[1]} : f32<3x64>\n"
         "    %e = reduce %d {fn=max} : f32<3>\n    store %z0, %e, %z {axes=[0]}\n"
         "    %one = broadcast %e {axes=[0]} : f32<3x1>\n    %k = reduce %one {fn=add} : f32<3>\n"
         "    store %k0, %k, %z {axes=[0]}\n");

START_TEST(subgroups_of_every_width_give_the_same_bits)
{
    float x[512], y[2][24], m[2][3], s[2][2], k[2][3];
    test_module t;
    for (int i = 0; i < 512; i++)
        x[i] = (float)((i * 7919 % 1009) - 500) * 0.3f;
    assert_ok(test_parse(rows, &t));
    rlx_lir_buffer want[] = {BUFFER(x), BUFFER(y[0]), BUFFER(m[0]), BUFFER(s[0]), BUFFER(k[0])};
    assert_ok(test_run(&t, want, 5, NULL));
    for (int lanes = 8; lanes <= 64; lanes *= 2)
        for (int team = lanes; team <= 192; team += 2 * lanes) {
            const rlx_lir_eval_options o = {.team = team, .subgroup = lanes};
            rlx_lir_buffer got[] = {BUFFER(x), BUFFER(y[1]), BUFFER(m[1]), BUFFER(s[1]),
                                    BUFFER(k[1])};
            memset(y[1], 0, sizeof y[1]);
            assert_ok(test_run(&t, got, 5, &o));
            ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
            ck_assert_mem_eq(m[0], m[1], sizeof m[0]);
            ck_assert_mem_eq(s[0], s[1], sizeof s[0]);
            ck_assert_mem_eq(k[0], k[1], sizeof k[0]);
        }
    test_destroy(&t);
}
END_TEST

START_TEST(a_team_is_whole_subgroups)
{
    static const int wrong[][2] = {{64, 24}, {20, 8}, {0, 8}, {8, 16}, {64, -8}, {-1, 0}, {64, 1}};
    float x[512] = {0}, y[24], m[3], s[2], k[3];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y), BUFFER(m), BUFFER(s), BUFFER(k)};
    test_module t;
    assert_ok(test_parse(rows, &t));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const rlx_lir_eval_options o = {.team = wrong[i][0], .subgroup = wrong[i][1]};
        assert_error(test_run(&t, b, 5, &o), RLX_INVALID_ARGUMENT, "in a team of");
    }
    test_destroy(&t);
}
END_TEST

/* A row goes by shuffles only where it lies in one subgroup. */
START_TEST(ways_of_rows)
{
    static const struct {
        int rank, lanes;
        int64_t width;
        rlx_format format;
        rlx_lir_way way;
    } ways[] = {{2, 32, 1, RLX_F32, RLX_LIR_KEPT},       {2, 0, 1, RLX_F32, RLX_LIR_KEPT},
                {1, 32, 1, RLX_F32, RLX_LIR_EXCHANGED},  {2, 16, 16, RLX_F32, RLX_LIR_SHUFFLED},
                {2, 16, 32, RLX_F32, RLX_LIR_EXCHANGED}, {1, 16, 32, RLX_I32, RLX_LIR_STRIDED},
                {1, 16, 8, RLX_I32, RLX_LIR_SHUFFLED},   {1, 0, 32, RLX_F32, RLX_LIR_EXCHANGED},
                {2, 16, 16, RLX_F64, RLX_LIR_EXCHANGED}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        rlx_ir_value x = {.type = {.format = ways[i].format, .rank = ways[i].rank}}, *in = &x;
        const rlx_ir_node n = {.op = RLX_LIR_REDUCE, .nin = 1, .in = &in};
        x.type.dim[ways[i].rank - 1] = ways[i].width;
        ck_assert_int_eq(rlx_lir_reduce_way(&n, ways[i].lanes), ways[i].way);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lir eval checks");
    TCase *c = tcase_create("checks");
    tcase_add_test(c, outside_the_live_shape);
    tcase_add_test(c, a_limit_excuses_only_its_own_axis);
    tcase_add_test(c, beyond_the_callers_bytes);
    tcase_add_test(c, two_instances_store_one_element);
    tcase_add_test(c, two_grids_store_one_element);
    tcase_add_test(c, an_instance_reads_what_another_stores);
    tcase_add_test(c, once_reads_what_an_instance_stores);
    tcase_add_test(c, buffers_that_share_memory);
    tcase_add_test(c, team_memory_needs_barriers);
    tcase_add_test(c, team_memory_begins_undefined);
    tcase_add_test(c, async_stores_run_ahead);
    tcase_add_test(c, casts_must_fit);
    tcase_add_test(c, extents_are_counts);
    tcase_add_test(c, buffers_are_counted);
    tcase_add_test(c, subgroups_of_every_width_give_the_same_bits);
    tcase_add_test(c, a_team_is_whole_subgroups);
    tcase_add_test(c, ways_of_rows);
    suite_add_tcase(s, c);
    return run_suite(s, 17);
}
