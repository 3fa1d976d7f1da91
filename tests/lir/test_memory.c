/* Passes, plan and interpreter when memory runs out at the k-th allocation: a status, no crash. */
#include "tests/lir/kernel.h"

/* The linker sends every allocation of this program and the library here (--wrap). */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long allowed = -1; /* allocations before all fail; negative: no limit */

static bool refuse(void)
{
    if (allowed > 0)
        allowed--;
    else
        return allowed == 0;
    return false;
}

void *__wrap_malloc(size_t n)
{
    return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refuse() ? NULL : __real_realloc(p, n);
}

static const char text[] =
    "kernel @k(%x: global f32[TOKENS,16], %y: global f32[TOKENS,16]) {\n"
    "  %n = extent {extent=TOKENS} : i64\n  %s = alloc : team f32[16]\n"
    "  once {\n    %z1 = const {ivalue=0} : i64\n    %c = const {value=1} : f32<16>\n"
    "    store %s, %c, %z1 {axes=[0]}\n    yield\n  }\n"
    "  grid %n (%t: i64) {\n    %z = const {ivalue=0} : i64\n"
    "    %i = const {ivalue=1} : i64\n    %w = load %s, %z {axes=[0]} : f32<16>\n"
    "    %a = load %x, %t, %z {axes=[1]} : f32<16>\n"
    "    %e = for %z, %i, %a {step=1} : f32<16> (%k: i64, %p: f32<16>) {\n"
    "      %q = map %p {fn=exp} : f32<16>\n      yield %q\n    }\n"
    "    %r = map %e, %w {fn=add} : f32<16>\n    %m = reduce %r {fn=max} : f32\n"
    "    %d = map %r, %m {fn=div} : f32<16>\n    store %y, %d, %t, %z {axes=[1]}\n"
    "    yield\n  }\n  return\n}\n"
    "func @layer(%v: global f32[TOKENS,16], %o: global f32[TOKENS,16] out) {\n"
    "  %t = temp : global f32[TOKENS,16]\n  launch %v, %t {callee=@k, phase=0}\n"
    "  launch %t, %o {callee=@k, phase=1}\n  return\n}\n"
    "func @main(%x: global f32[TOKENS,16], %y: global f32[TOKENS,16] out) {\n"
    "  %a = temp : global f32[TOKENS,16]\n  %b = temp : global f32[TOKENS,16]\n"
    "  call %x, %a, %b {callee=@layer, first=0, count=3}\n"
    "  launch %a, %y {callee=@k, phase=0}\n  return\n}\n";

static float x[4][16], y[4][16];

static rlx_status run(rlx_ir_module *m, rlx_text *out)
{
    static const int64_t upper[RLX_MAX_SYMBOLS] = {4};
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    rlx_lir_plan_options plan = {.upper = upper};
    rlx_pass_options options = {.options = &plan, .compare = rlx_lir_compare};
    rlx_pass passes[] = {rlx_lir_pass_expand_math, rlx_lir_pass_plan_memory};
    rlx_lir_eval_options eval = {.teams = 2, .seed = 1};
    RLX_TRY(rlx_ir_run_passes(m, passes, 2, &options));
    RLX_TRY(rlx_lir_print_plan(m, "main", upper, out));
    return rlx_lir_eval_kernel(m->first, b, 2, upper, &eval);
}

START_TEST(short_memory_is_reported_at_every_point)
{
    setenv("RLX_CHECK", "eval", 1);
    for (long k = 0;; k++) {
        test_module t;
        rlx_text out = {0};
        assert_ok(test_parse(text, &t));
        allowed = k;
        rlx_status st = run(t.m, &out);
        bool enough = allowed > 0, told = st || out.oom;
        allowed = -1;
        rlx_code code = rlx_status_code(st);
        ck_assert_msg(!st || code == RLX_OUT_OF_MEMORY, "allocation %ld: %s", k,
                      rlx_code_name(code));
        rlx_status_free(st);
        rlx_text_deinit(&out);
        test_destroy(&t);
        if (enough && !told) {
            ck_assert_int_gt(k, 50);
            break;
        }
        ck_assert_int_lt(k, 100000);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lir memory");
    TCase *c = tcase_create("memory");
    tcase_add_test(c, short_memory_is_reported_at_every_point);
    suite_add_tcase(s, c);
    return run_suite(s, 1);
}
