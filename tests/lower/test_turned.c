/* tests/lower/test_turned.c: a few rows of codes that lie turned in team memory: what the schedule
 * counts of it is what the kernel takes, and operations are counted as often as they are done. (The
 * same bits: test_panel.c; the kernel's text: tests/golden/mir/lower_turned.rlx.) */
#include "jit/kernel_info.h"
#include "tests/lower/cpu_target.h"
#include "tests/mir/world.h"

typedef struct turned_case {
    const char *format[2]; /* of the weights of one result; the second NULL: one contraction */
    int64_t k, n, tokens;
    int64_t head; /* columns of a head whose halves change places; 0: no heads */
} turned_case;

static const turned_case cases[] = {
    {{"q8_0"}, 512, 64, 16, 0},          {{"q4_k"}, 2048, 24, 5, 0},
    {{"q4_k", "q4_k"}, 1024, 64, 16, 0}, {{"q4_k", "q6_k"}, 768, 40, 7, 0},
    {{"q2_k", "q8_0"}, 768, 40, 40, 0},  {{"q5_1"}, 256, 96, 3, 24},
    {{"q6_k", "q4_1"}, 512, 64, 9, 8},
};
enum { CASES = sizeof cases / sizeof *cases };

static void put_module(const turned_case *c, rlx_text *t)
{
    const long long k = (long long)c->k, n = (long long)c->n, head = (long long)c->head;
    const int count = c->format[1] ? 2 : 1;
    rlx_text_putf(t, "mir module @m {\n  func @main(%%x: f32[T,%lld] input \"x\"", k);
    for (int i = 0; i < count; i++)
        rlx_text_putf(t, ", %%w%d: %s[%lld,%lld] weight \"w%d\"", i, c->format[i], n, k, i);
    rlx_text_putf(t,
                  ") -> (f32[T,%lld]) {\n    %%c, %%s, %%s32, %%s16 = quantize %%x : "
                  "(i8[T,%lld], f32[T,%lld], f32[T,%lld], f32[T,%lld])\n",
                  n, k, k / 32, k / 32, k / 16);
    for (int i = 0; i < count; i++)
        rlx_text_putf(t, "    %%y%d = contract_q %%c, %%s, %%s%d, %%w%d {lanes=8} : f32[T,%lld]\n",
                      i, rlx_format_group(rlx_format_parse(c->format[i], strlen(c->format[i]))), i,
                      n);
    rlx_text_putf(t, "    %%y = map %%y0, %%y%d {fn=mul} : f32[T,%lld]\n", count - 1, n);
    if (!head) {
        rlx_text_put(t, "    return %y\n  }\n}\n");
        return;
    }
    rlx_text_putf(t, "    %%h = reshape %%y : f32[T,%lld,%lld]\n", n / head, head);
    for (int i = 0; i < 2; i++)
        rlx_text_putf(t,
                      "    %%h%d = slice %%h {axis=2, start=%lld, size=%lld} : f32[T,%lld,%lld]\n",
                      i, i * head / 2, head / 2, n / head, head / 2);
    rlx_text_putf(t,
                  "    %%z = concat %%h1, %%h0 {axis=2} : f32[T,%lld,%lld]\n"
                  "    %%r = reshape %%z : f32[T,%lld]\n    return %%r\n  }\n}\n",
                  n / head, head, n);
}

typedef struct lowered {
    rlx_ir_module *module;
    const rlx_ir_func *kernel; /* of the contraction */
    bool turned;
} lowered;

static lowered lower(const world *w, int64_t tokens, int64_t team_bytes)
{
    const rlx_lir_target target = cpu_target_of(512 << 10, team_bytes);
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    rlx_ir_module *mir;
    lowered l = {0};
    upper[rlx_dim_symbol_index(w->dims, "T")] = tokens;
    assert_ok(rlx_ir_module_clone(w->module, &mir));
    assert_ok(rlx_mir_optimize(mir));
    assert_ok(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &l.module));
    rlx_ir_module_destroy(mir);
    for (const rlx_ir_func *f = l.module->first; f; f = f->next)
        if (f->is_kernel && strstr(f->name, "contract"))
            l.kernel = f;
    ck_assert_ptr_nonnull(l.kernel);
    l.turned = strstr(rlx_ir_func_attr(l.kernel, RLX_ATTR_SCHEDULE)->text, "turned");
    return l;
}

/* With just what it takes it is turned, with less it is not. */
START_TEST(what_is_counted_is_what_is_taken)
{
    enum { MUCH = 16 << 20 };
    const turned_case *c = &cases[_i];
    rlx_text t = {0};
    world w;
    put_module(c, &t);
    world_open(&w, t.data);
    lowered l = lower(&w, c->tokens, MUCH);
    const int64_t bytes = rlx_jit_team_bytes(l.kernel);
    ck_assert(l.turned);
    rlx_ir_module_destroy(l.module);
    for (int less = 0; less < 2; less++) {
        l = lower(&w, c->tokens, bytes - less);
        ck_assert_msg(l.turned == !less, "%s: %lld bytes of the %lld that it takes",
                      l.turned ? "turned" : "not turned", (long long)bytes - less,
                      (long long)bytes);
        rlx_ir_module_destroy(l.module);
    }
    world_close(&w);
    rlx_text_deinit(&t);
}
END_TEST

/* Eleven steps, of which ten fit into the first-level cache: they go by six and five, and a run
 * counts as six. */
START_TEST(steps_are_counted_once)
{
    const turned_case c = {{"q8_0"}, 11 * 256, 64, 6, 0};
    const int64_t flops = 2 * c.tokens * c.n * c.k;
    rlx_lir_cost cost;
    rlx_text t = {0};
    world w;
    put_module(&c, &t);
    world_open(&w, t.data);
    w.symbols[rlx_dim_symbol_index(w.dims, "T")] = c.tokens;
    lowered l = lower(&w, c.tokens, 256 << 10);
    ck_assert(l.turned);
    assert_ok(rlx_lir_count_cost(l.kernel, w.symbols, 1000, &cost));
    ck_assert_int_ge(cost.flops, flops);
    ck_assert_int_le(cost.flops, flops + flops / 8);
    rlx_ir_module_destroy(l.module);
    world_close(&w);
    rlx_text_deinit(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turned");
    TCase *c = tcase_create("turned");
    tcase_add_loop_test(c, what_is_counted_is_what_is_taken, 0, CASES);
    tcase_add_test(c, steps_are_counted_once);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + 1);
}
