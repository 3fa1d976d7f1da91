/* The memory plan and its checker: random tapes, and plans that were broken on purpose. */
#include "tests/lir/kernel.h"

/* Kernels that read their first n arguments and write the last: @k0, @k1, @k2; @inout reads and
 * writes. */
static const char kernels[] =
    "kernel @k0(%y: global f32[64]) {\n  %n = const {ivalue=1} : i64\n  grid %n (%g: i64) {\n"
    "    %c = const {value=1} : f32\n    store %y, %c, %g\n    yield\n  }\n  return\n}\n"
    "kernel @k1(%a: global f32[64], %y: global f32[64]) {\n  %n = const {ivalue=1} : i64\n"
    "  grid %n (%g: i64) {\n    %c = load %a, %g : f32\n    store %y, %c, %g\n    yield\n  }\n"
    "  return\n}\n"
    "kernel @k2(%a: global f32[64], %b: global f32[64], %y: global f32[64]) {\n"
    "  %n = const {ivalue=1} : i64\n  grid %n (%g: i64) {\n    %c = load %a, %g : f32\n"
    "    %d = load %b, %g : f32\n    %e = map %c, %d {fn=add} : f32\n    store %y, %e, %g\n"
    "    yield\n  }\n  return\n}\n"
    "kernel @inout(%y: global f32[64]) {\n  %n = const {ivalue=1} : i64\n  grid %n (%g: i64) {\n"
    "    %c = load %y, %g : f32\n    store %y, %c, %g\n    yield\n  }\n  return\n}\n";

static const int64_t upper[RLX_MAX_SYMBOLS] = {8};

static void parse_tape(const char *functions, test_module *t)
{
    rlx_text text = {0};
    rlx_text_put(&text, kernels);
    rlx_text_put(&text, functions);
    assert_ok(test_parse(text.data, t));
    rlx_text_deinit(&text);
}

static void plan(test_module *t)
{
    rlx_lir_plan_options plan_options = {.upper = upper};
    rlx_pass_options options = {.options = &plan_options};
    assert_ok(rlx_ir_run_passes(t->m, &rlx_lir_pass_plan_memory, 1, &options));
}

static rlx_status check(test_module *t, rlx_lir_plan_report *report)
{
    rlx_lir_plan_report ignored;
    return rlx_lir_check_plan(t->m, "main", upper, report ? report : &ignored);
}

/* The temp, call or launch number `index` of its kind in function `f`. */
static rlx_ir_node *node_at(test_module *t, const char *f, rlx_lir_op op, int index)
{
    for (rlx_ir_node *n = rlx_ir_func_find(t->m, f)->body->first; n; n = n->next) {
        if (n->op == (int)op && index-- == 0)
            return n;
    }
    ck_abort_msg("no such node");
    return NULL;
}

static void set(test_module *t, rlx_ir_node *n, rlx_attr_key key, int64_t value)
{
    assert_ok(rlx_ir_attr_set(t->m, n, rlx_attr_int(key, value)));
}

/* ---- broken plans
 * --------------------------------------------------------------------------------- */

static const char chain[] = "func @main(%x: global f32[64], %y: global f32[64] out) {\n"
                            "  %a = temp : global f32[64]\n  %b = temp : global f32[64]\n"
                            "  %c = temp : global f32[64]\n"
                            "  launch %x, %a {callee=@k1, phase=0}\n"
                            "  launch %a, %b {callee=@k1, phase=1}\n"
                            "  launch %b, %a, %c {callee=@k2, phase=2}\n"
                            "  launch %c, %y {callee=@k1, phase=3}\n  return\n}\n";

START_TEST(a_chain_is_planned_tightly)
{
    test_module t;
    rlx_lir_plan_report report;
    parse_tape(chain, &t);
    plan(&t);
    assert_ok(check(&t, &report));
    ck_assert_int_eq(report.arena_bytes, 3 * 256);
    ck_assert_int_eq(report.lower_bound, 3 * 256);
    ck_assert_int_eq(rlx_lir_frame_bytes(t.m->last), 3 * 256);
    test_destroy(&t);
}
END_TEST

START_TEST(planning_again_changes_nothing)
{
    test_module t;
    parse_tape(chain, &t);
    plan(&t);
    rlx_lir_plan_options o = {.upper = upper};
    rlx_pass_cx cx = {.module = t.m, .scratch = rlx_arena_create(), .options = &o};
    assert_ok(rlx_lir_pass_plan_memory.run(&cx));
    ck_assert(!cx.changed);
    rlx_arena_destroy(cx.scratch);
    test_destroy(&t);
}
END_TEST

START_TEST(overlaps_are_found)
{
    test_module t;
    parse_tape(chain, &t);
    plan(&t);
    int64_t a = rlx_ir_attr_int(node_at(&t, "main", RLX_LIR_TEMP, 0), RLX_ATTR_OFFSET, -1);
    rlx_ir_node *b = node_at(&t, "main", RLX_LIR_TEMP, 1);
    int64_t old = rlx_ir_attr_int(b, RLX_ATTR_OFFSET, -1);
    set(&t, b, RLX_ATTR_OFFSET, a); /* used by one launch: one phase */
    assert_error(check(&t, NULL), RLX_INVALID_IR, "launch P3: `%b = temp");
    set(&t, b, RLX_ATTR_OFFSET, old);
    assert_ok(check(&t, NULL));
    /* partly: the last 64 bytes */
    set(&t, b, RLX_ATTR_OFFSET, a ? a - 192 : 192);
    assert_error(check(&t, NULL), RLX_INVALID_IR, "launch P3");
    test_destroy(&t);
}
END_TEST

START_TEST(overwritten_buffers_are_named)
{
    test_module t;
    parse_tape("func @main(%x: global f32[64], %y: global f32[64] out) {\n"
               "  %a = temp : global f32[64]\n  %b = temp : global f32[64]\n"
               "  launch %x, %a {callee=@k1, phase=0}\n  launch %x, %b {callee=@k1, phase=1}\n"
               "  launch %b, %y {callee=@k1, phase=2}\n  launch %a, %y {callee=@k1, phase=3}\n"
               "  return\n}\n",
               &t);
    plan(&t);
    assert_ok(check(&t, NULL));
    set(&t, node_at(&t, "main", RLX_LIR_TEMP, 0), RLX_ATTR_OFFSET, 0);
    set(&t, node_at(&t, "main", RLX_LIR_TEMP, 1), RLX_ATTR_OFFSET, 128);
    assert_error(
        check(&t, NULL), RLX_INVALID_IR,
        "launch P1: reads a buffer of which byte 128 was overwritten: `%a = temp {offset=0, "
        "bytes=256} : global f32[64]` by `%b = temp");
    test_destroy(&t);
}
END_TEST

START_TEST(a_buffer_is_written_in_parts)
{
    /* a is written, b, then a again and read: b must not lie on it between */
    test_module t;
    parse_tape("func @main(%x: global f32[64], %y: global f32[64] out) {\n"
               "  %a = temp : global f32[64]\n  %b = temp : global f32[64]\n"
               "  launch %x, %a {callee=@k1, phase=0}\n  launch %x, %b {callee=@k1, phase=1}\n"
               "  launch %x, %a {callee=@k1, phase=2}\n  launch %a, %y {callee=@k1, phase=3}\n"
               "  return\n}\n",
               &t);
    plan(&t);
    assert_ok(check(&t, NULL));
    int64_t a = rlx_ir_attr_int(node_at(&t, "main", RLX_LIR_TEMP, 0), RLX_ATTR_OFFSET, -1);
    set(&t, node_at(&t, "main", RLX_LIR_TEMP, 1), RLX_ATTR_OFFSET, a);
    assert_error(check(&t, NULL), RLX_INVALID_IR,
                 "launch P1: writes again a buffer of which byte 0");
    test_destroy(&t);
}
END_TEST

START_TEST(places_must_exist_and_fit)
{
    test_module t;
    parse_tape(chain, &t);
    assert_error(check(&t, NULL), RLX_INVALID_IR, "temp P5: has no place");
    plan(&t);
    rlx_ir_node *c = node_at(&t, "main", RLX_LIR_TEMP, 2);
    set(&t, c, RLX_ATTR_BYTES, 192);
    assert_error(check(&t, NULL), RLX_INVALID_IR, "temp P5: has 192 bytes, needs 256");
    assert_error(rlx_lir_check_plan(t.m, "nobody", upper, &(rlx_lir_plan_report){0}), RLX_NOT_FOUND,
                 "no tape function @nobody");
    test_destroy(&t);
}
END_TEST

static void expect_tape(const char *body, const char *message)
{
    test_module t;
    rlx_text text = {0};
    rlx_text_putf(&text,
                  "func @main(%%x: global f32[64], %%s: global f32[64] state \"s\", "
                  "%%y: global f32[64] out) {\n  %%a = temp : global f32[64]\n%s  return\n}\n",
                  body);
    parse_tape(text.data, &t);
    rlx_text_deinit(&text);
    plan(&t);
    if (message)
        assert_error(check(&t, NULL), RLX_INVALID_IR, message);
    else
        assert_ok(check(&t, NULL));
    test_destroy(&t);
}

START_TEST(what_is_read_was_written)
{
    expect_tape("  launch %a, %y {callee=@k1, phase=0}\n", "launch P2: reads `%a = temp");
    expect_tape("  launch %a {callee=@inout, phase=0}\n  launch %a, %y {callee=@k1, phase=1}\n",
                "launch P2: reads `%a = temp");
    expect_tape("  launch %y {callee=@inout, phase=0}\n",
                "launch P2: reads `argument 2 of @main`, which nothing has written");
    expect_tape("  launch %x, %a {callee=@k1, phase=0}\n",
                "plan P7: @main never writes its OUT argument 2");
    expect_tape("  launch %s {callee=@inout, phase=0}\n  launch %s, %y {callee=@k1, phase=1}\n",
                NULL);
}
END_TEST

START_TEST(launches_of_a_phase_are_independent)
{
    expect_tape("  launch %x, %a {callee=@k1, phase=0}\n  launch %a, %y {callee=@k1, phase=0}\n",
                "P2: reads `%a = temp");
    expect_tape("  launch %x, %a {callee=@k1, phase=0}\n  launch %a, %y {callee=@k1, phase=1}\n"
                "  launch %x, %a {callee=@k1, phase=1}\n",
                "launch P4: one launch writes `%a = temp");
    expect_tape(
        "  launch %s, %y {callee=@k1, phase=1}\n  launch %s {callee=@inout, phase=1}\n",
        "launch P4: one launch writes `argument 1 of @main`, another of the same phase reads");
    expect_tape("  launch %x, %y {callee=@k1, phase=1}\n  launch %x, %y {callee=@k1, phase=1}\n",
                NULL);
}
END_TEST

/* ---- calls
 * ---------------------------------------------------------------------------------------- */

static const char layers[] =
    "func @layer(%v: global f32[64], %o: global f32[64] out) {\n  %t = temp : global f32[64]\n"
    "  launch %v, %t {callee=@k1, phase=0}\n  launch %t, %v, %o {callee=@k2, phase=1}\n  "
    "return\n}\n"
    "func @main(%x: global f32[64], %y: global f32[64] out) {\n  %a = temp : global f32[64]\n"
    "  %b = temp : global f32[64]\n  %c = temp : global f32[64]\n"
    "  launch %x, %a {callee=@k1, phase=0}\n"
    "  call %a, %b, %c {callee=@layer, first=0, count=$}\n"
    "  launch %b, %y {callee=@k1, phase=1}\n  return\n}\n";

static void parse_layers(int count, test_module *t)
{
    rlx_text text = {0};
    for (const char *c = layers; *c; c++) {
        if (*c == '$')
            rlx_text_putf(&text, "%d", count);
        else
            rlx_text_put_bytes(&text, c, 1);
    }
    parse_tape(text.data, t);
    rlx_text_deinit(&text);
    plan(t);
}

START_TEST(calls_hold_their_frames)
{
    for (int count = 2; count < 9; count++) {
        test_module t;
        rlx_lir_plan_report report;
        parse_layers(count, &t);
        assert_ok(check(&t, &report));
        ck_assert_int_eq(report.arena_bytes, 4 * 256);
        ck_assert_int_eq(report.lower_bound, 4 * 256);
        rlx_ir_node *call = node_at(&t, "main", RLX_LIR_CALL, 0);
        int64_t old = rlx_ir_attr_int(call, RLX_ATTR_OFFSET, -1);
        for (int i = 0; i < 3; i++) { /* the callee's temp on an operand */
            rlx_ir_node *temp = node_at(&t, "main", RLX_LIR_TEMP, i);
            set(&t, call, RLX_ATTR_OFFSET, rlx_ir_attr_int(temp, RLX_ATTR_OFFSET, -1));
            assert_error(check(&t, NULL), RLX_INVALID_IR, "P");
        }
        set(&t, call, RLX_ATTR_OFFSET, old);
        assert_ok(check(&t, NULL));
        /* the three operands each on another */
        for (int i = 0; i < 3; i++) {
            rlx_ir_node *p = node_at(&t, "main", RLX_LIR_TEMP, i);
            rlx_ir_node *q = node_at(&t, "main", RLX_LIR_TEMP, (i + 1) % 3);
            int64_t was = rlx_ir_attr_int(p, RLX_ATTR_OFFSET, -1);
            set(&t, p, RLX_ATTR_OFFSET, rlx_ir_attr_int(q, RLX_ATTR_OFFSET, -1));
            assert_error(check(&t, NULL), RLX_INVALID_IR, "call P3");
            set(&t, p, RLX_ATTR_OFFSET, was);
        }
        set(&t, call, RLX_ATTR_BYTES, 0);
        assert_error(check(&t, NULL), RLX_INVALID_IR,
                     "temp P6: bytes 0..256 lie outside the frame");
        test_destroy(&t);
    }
}
END_TEST

/* ---- random tapes
 * --------------------------------------------------------------------------------- */

static uint64_t random_state;
static int pick(int n)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (int)((z ^ z >> 31) % (uint64_t)n);
}

enum { MAX_TEMPS = 24 };
typedef struct life {
    int first, last; /* phases */
} life;

/* Each temp is written once, in its own or the last temp's phase, from temps of earlier phases. */
static int random_tape(rlx_text *text, life *lives)
{
    int n = 2 + pick(MAX_TEMPS - 2), phase = 0;
    rlx_text_put(text, "func @main(%x: global f32[64], %y: global f32[64] out) {\n");
    for (int i = 0; i < n; i++)
        rlx_text_putf(text, "  %%t%d = temp : global f32[64]\n", i);
    for (int i = 0; i < n; i++) {
        phase += pick(3) > 0;
        int first = 0; /* temps 0..first-1 were written in earlier phases */
        while (first < i && lives[first].first < phase)
            first++;
        lives[i] = (life){phase, phase};
        int inputs = first ? pick(3) : 0;
        rlx_text_put(text, "  launch ");
        for (int k = 0; k < inputs; k++) {
            int from = pick(first);
            lives[from].last = phase;
            rlx_text_putf(text, "%%t%d, ", from);
        }
        rlx_text_putf(text, "%%t%d {callee=@k%d, phase=%d}\n", i, inputs, phase);
    }
    lives[n - 1].last = ++phase;
    rlx_text_putf(text, "  launch %%t%d, %%y {callee=@k1, phase=%d}\n  return\n}\n", n - 1, phase);
    return n;
}

/* Two temps live at once on the same bytes: what the checker must find, by definition. */
static bool really_overlaps(test_module *t, const life *lives, int n)
{
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < i; j++) {
            int64_t a = rlx_ir_attr_int(node_at(t, "main", RLX_LIR_TEMP, i), RLX_ATTR_OFFSET, 0);
            int64_t b = rlx_ir_attr_int(node_at(t, "main", RLX_LIR_TEMP, j), RLX_ATTR_OFFSET, 0);
            if (lives[i].first <= lives[j].last && lives[j].first <= lives[i].last && a < b + 256 &&
                b < a + 256)
                return true;
        }
    }
    return false;
}

START_TEST(random_tapes_are_planned_and_judged)
{
    int broken = 0, sound = 0;
    int64_t arena = 0, bound = 0;
    for (int round = 0; round < 300; round++) {
        random_state = (uint64_t)round * 1000003;
        rlx_text text = {0};
        life lives[MAX_TEMPS];
        int n = random_tape(&text, lives);
        test_module t;
        rlx_lir_plan_report report;
        parse_tape(text.data, &t);
        plan(&t);
        assert_ok(check(&t, &report));
        ck_assert(!really_overlaps(&t, lives, n));
        ck_assert_int_ge(report.arena_bytes, report.lower_bound);
        arena += report.arena_bytes;
        bound += report.lower_bound;
        int temps = (int)(report.arena_bytes / 64);
        for (int move = 0; move < 4; move++) { /* moves one temp somewhere else in the arena */
            rlx_ir_node *temp = node_at(&t, "main", RLX_LIR_TEMP, pick(n));
            int64_t old = rlx_ir_attr_int(temp, RLX_ATTR_OFFSET, 0);
            set(&t, temp, RLX_ATTR_OFFSET, pick(temps - 3) * 64);
            bool wrong = really_overlaps(&t, lives, n);
            rlx_status st = check(&t, NULL);
            ck_assert_msg(wrong == (st != NULL), "round %d: the checker says %s of\n%s", round,
                          st ? "wrong" : "right", text.data);
            rlx_status_free(st);
            broken += wrong;
            sound += !wrong;
            set(&t, temp, RLX_ATTR_OFFSET, old);
        }
        test_destroy(&t);
        rlx_text_deinit(&text);
    }
    ck_assert_int_ge(broken, 100);
    ck_assert_int_ge(sound, 100);
    ck_assert_msg((double)arena <= 1.02 * (double)bound, "%lld bytes planned, %lld needed",
                  (long long)arena, (long long)bound);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lir plan");
    TCase *c = tcase_create("plan");
    tcase_add_test(c, a_chain_is_planned_tightly);
    tcase_add_test(c, planning_again_changes_nothing);
    tcase_add_test(c, overlaps_are_found);
    tcase_add_test(c, overwritten_buffers_are_named);
    tcase_add_test(c, a_buffer_is_written_in_parts);
    tcase_add_test(c, places_must_exist_and_fit);
    tcase_add_test(c, what_is_read_was_written);
    tcase_add_test(c, launches_of_a_phase_are_independent);
    tcase_add_test(c, calls_hold_their_frames);
    tcase_add_test(c, random_tapes_are_planned_and_judged);
    suite_add_tcase(s, c);
    return run_suite(s, 10);
}
