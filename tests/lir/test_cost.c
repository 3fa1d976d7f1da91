/* Counting what kernels and tapes move and compute; comparing modules by what their kernels do. */
#include "tests/lir/kernel.h"

static const char linear[] =
    "kernel @linear(%x: global f32[TOKENS,64], %w: global bf16[96,64], %y: global f32[TOKENS,96]) "
    "{\n"
    "  %n = const {ivalue=12} : i64\n  %t = extent {extent=TOKENS} : i64\n"
    "  grid %t, %n (%i: i64, %j: i64) {\n"
    "    %z = const {ivalue=0} : i64\n    %k = const {ivalue=64} : i64\n"
    "    %eight = const {ivalue=8} : i64\n    %col = map %j, %eight {fn=mul} : i64\n"
    "    %start = const {value=0} : f32<1x8x16>\n"
    "    %acc = for %z, %k, %start {step=32} : f32<1x8x16> (%o: i64, %c: f32<1x8x16>) {\n"
    "      %a = load %x, %i, %o {axes=[0,1]} : f32<1x32>\n"
    "      %b = load %w, %col, %o {axes=[0,1]} : f32<8x32>\n"
    "      %d = contract %c, %a, %b : f32<1x8x16>\n      yield %d\n    }\n"
    "    %s = reduce %acc {fn=add} : f32<1x8>\n    store %y, %s, %i, %col {axes=[0,1]}\n"
    "    yield\n  }\n  return\n}\n";

START_TEST(a_contraction_reads_its_weights_once)
{
    test_module t;
    rlx_lir_cost cost;
    assert_ok(test_parse(linear, &t));
    test_bind(&t, "TOKENS", 5);
    assert_ok(rlx_lir_count_cost(t.m->last, t.symbols, 1, &cost));
    ck_assert_int_eq(cost.bytes_read, 5 * 64 * 4 + 96 * 64 * 2);
    ck_assert_int_eq(cost.bytes_written, 5 * 96 * 4);
    ck_assert_int_eq(cost.flops, 5 * 12 * (2 * 8 * 64 + 8 * 15));
    test_destroy(&t);
}
END_TEST

START_TEST(tapes_count_calls_and_data_dependent_loops)
{
    static const char tape[] =
        "kernel @pages(%p: global i64[1], %x: global f32[PAGES,256], %y: global f32[TOKENS]) {\n"
        "  %t = extent {extent=TOKENS} : i64\n"
        "  grid %t (%i: i64) {\n    %z = const {ivalue=0} : i64\n    %n = load %p, %z : i64\n"
        "    %c = const {value=0} : f32\n"
        "    %m = for %z, %n, %c {step=1} : f32 (%k: i64, %v: f32) {\n"
        "      %a = load %x, %k, %z {axes=[1]} : f32<256>\n      %b = reduce %a {fn=max} : f32\n"
        "      %f = const {ivalue=1} : bool\n"
        "      %d = if %f : f32 {\n        %e = map %b {fn=exp} : f32\n        yield %e\n"
        "      } {\n        yield %b\n      }\n"
        "      yield %d\n    }\n"
        "    store %y, %m, %i\n    yield\n  }\n  return\n}\n"
        "func @layer(%p: global i64[1], %x: global f32[PAGES,256], %y: global f32[TOKENS] out) {\n"
        "  launch %p, %x, %y {callee=@pages, phase=0}\n  return\n}\n"
        "func @main(%p: global i64[1], %x: global f32[PAGES,256], %y: global f32[TOKENS] out) {\n"
        "  call %p, %x, %y {callee=@layer}\n  call %p, %x, %y {callee=@layer}\n  return\n}\n";
    test_module t;
    rlx_lir_cost cost;
    assert_ok(test_parse(tape, &t));
    test_bind(&t, "TOKENS", 2);
    test_bind(&t, "PAGES", 100);
    assert_ok(rlx_lir_count_cost(t.m->last, t.symbols, 7, &cost));
    ck_assert_int_eq(cost.bytes_read, 2 * (8 + 2 * 7 * 1024));
    ck_assert_int_eq(cost.bytes_written, 2 * 8);
    ck_assert_int_eq(cost.flops, 2 * 2 * 7 * (255 + 1));
    test_destroy(&t);
}
END_TEST

/* A loop from the grid's index, and one from the loop's: as at the first. */
START_TEST(bounds_by_indices)
{
    static const char text[] =
        "kernel @k(%x: global f32[TOKENS,8], %y: global f32[TOKENS]) {\n"
        "  %t = extent {extent=TOKENS} : i64\n  %five = const {ivalue=5} : i64\n"
        "  grid %t (%i: i64) {\n    %end = map %i, %five {fn=add} : i64\n"
        "    %z = const {ivalue=0} : i64\n    %c = const {value=0} : f32\n"
        "    %m = for %i, %end, %c {step=1} : f32 (%k: i64, %v: f32) {\n"
        "      %last = map %k, %five {fn=add} : i64\n"
        "      %s = for %k, %last, %v {step=2} : f32 (%l: i64, %w: f32) {\n"
        "        %a = load %x, %i, %z {axes=[1]} : f32<8>\n        %b = reduce %a {fn=add} : f32\n"
        "        %d = map %w, %b {fn=add} : f32\n        yield %d\n      }\n      yield %s\n    }\n"
        "    store %y, %m, %i\n    yield\n  }\n  return\n}\n";
    test_module t;
    rlx_lir_cost cost;
    assert_ok(test_parse(text, &t));
    test_bind(&t, "TOKENS", 4);
    assert_ok(rlx_lir_count_cost(t.m->last, t.symbols, 1000, &cost));
    ck_assert_int_eq(cost.flops, 4 * 5 * 3 * (7 + 1));
    test_destroy(&t);
}
END_TEST

/* Two modules of one kernel; `b` may have the function of the map that `a` has not. */
static rlx_status compare(const char *fn)
{
    static const char text[] =
        "kernel @k(%x: global f32[TOKENS], %i: global i32[TOKENS], %y: global f32[TOKENS]) {\n"
        "  %n = extent {extent=TOKENS} : i64\n  grid %n (%g: i64) {\n"
        "    %p = load %i, %g : i32\n    %q = cast %p : i64\n    %a = load %x, %q : f32\n"
        "    %b = map %a {fn=$} : f32\n    store %y, %b, %g\n    yield\n  }\n  return\n}\n";
    test_module t[2];
    const char *fns[] = {"neg", fn};
    for (int i = 0; i < 2; i++) {
        rlx_text one = {0};
        const char *at = strchr(text, '$');
        rlx_text_put_bytes(&one, text, (size_t)(at - text));
        rlx_text_putf(&one, "%s%s", fns[i], at + 1);
        assert_ok(test_parse(one.data, &t[i]));
        rlx_text_deinit(&one);
    }
    rlx_status st = rlx_lir_compare(NULL, t[0].m, t[1].m);
    test_destroy(&t[0]);
    test_destroy(&t[1]);
    return st;
}

START_TEST(a_changed_kernel_is_found)
{
    assert_ok(compare("neg"));
    assert_error(compare("abs"), RLX_INTERNAL, "comparing kernel @k");
    assert_error(compare("abs"), RLX_INTERNAL, "gives another byte");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lir cost");
    TCase *c = tcase_create("cost");
    tcase_add_test(c, a_contraction_reads_its_weights_once);
    tcase_add_test(c, bounds_by_indices);
    tcase_add_test(c, tapes_count_calls_and_data_dependent_loops);
    tcase_add_test(c, a_changed_kernel_is_found);
    suite_add_tcase(s, c);
    return run_suite(s, 3);
}
