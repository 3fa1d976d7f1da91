/* tests/lower/test_halves.c: contractions of f16 and bf16 by a GPU's matrix unit, in a prompt's regions: MIR's evaluator, LIR's
 * and, of some, machine code whose mma.sync or wgmma is emulated give the same bits; PTX of all. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"
#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

static const rlx_jit_target sm_80 = {.kind = RLX_JIT_NVPTX, .processor = "sm_80"},
                            sm_90a = {.kind = RLX_JIT_NVPTX, .processor = "sm_90a"};

typedef struct lowered {
    engines e;
    rlx_dims *dims;
    rlx_ir_module *mir, *lir;
    int64_t upper[RLX_MAX_SYMBOLS];
    bool hopper; /* for sm_90a */
} lowered;

static const rlx_jit_target *target_of(const lowered *l)
{
    return l->hopper ? &sm_90a : &sm_80;
}

static void parse(lowered *l, int64_t rows, int64_t upper)
{
    ck_assert(!l->e.text.oom);
    l->dims = rlx_dims_create();
    engines_must(rlx_ir_parse(&rlx_mir_level, l->dims, "halves", l->e.text.data, &l->mir), &l->e);
    const int t = rlx_dim_symbol_index(l->dims, "T");
    l->e.symbols[t] = rows;
    l->upper[t] = upper;
}

static void lower(lowered *l, rlx_mir_precision precision)
{
    rlx_lir_target target;
    engines_must(rlx_jit_lir_target(target_of(l), &target), &l->e);
    engines_must(rlx_mir_choose_precision(l->mir, precision, &target), &l->e);
    engines_must(rlx_mir_optimize(l->mir), &l->e);
    const rlx_mir_lower_options o = {.target = &target, .upper = l->upper};
    engines_must(rlx_mir_lower(l->mir, &o, &l->lir), &l->e);
}

/* All kernels become PTX, which says where one takes too much. */
static void emit(lowered *l)
{
    for (const rlx_ir_func *f = l->lir->first; f; f = f->next) {
        uint8_t *text;
        size_t bytes;
        if (!f->is_kernel)
            continue;
        engines_must(rlx_jit_emit_kernel(f, target_of(l), &text, &bytes), &l->e);
        free(text);
    }
}

static void compare(lowered *l, const rlx_eval_tensor *want, int n, bool code)
{
    emit(l);
    engines_compare(&l->e, l->lir, want, n, false);
    l->e.code = l->hopper ? emulated_hopper_target(RLX_JIT_DEFAULT_TEAM)
                          : emulated_gpu_target(RLX_JIT_DEFAULT_TEAM);
    if (code)
        engines_compare(&l->e, l->lir, want, n, true);
}

static void deinit(lowered *l)
{
    rlx_ir_module_destroy(l->lir);
    rlx_ir_module_destroy(l->mir);
    rlx_dims_destroy(l->dims);
    engines_deinit(&l->e);
}

typedef struct shape {
    const char *format;
    int64_t rows, upper, k;
    int64_t head,
        heads[3];    /* columns of one, of so many in each weight; 0: there is no such weight */
    double scale;    /* of normalised rows */
    bool rows_alone; /* not normalised, one result of `head` columns */
} shape;

/* Weights' products of the same normalised rows; the halves of each head change places. */
static void put_region(rlx_text *t, const shape *s)
{
    const long long k = s->k, head = s->head, half = head / 2;
    rlx_text_putf(t, "mir module @m {\n  func @main(%%x: f32[T,%lld] input \"x\"", k);
    for (int i = 0; i < 3 && s->heads[i]; i++)
        rlx_text_putf(t, ", %%w%d: %s[%lld,%lld] weight \"w%d\"", i, s->format,
                      (long long)s->heads[i] * head, k, i);
    rlx_text_put(t, ") -> (");
    for (int i = 0; i < 3 && s->heads[i]; i++)
        rlx_text_putf(t, "%sf32[T,%lld]", i ? ", " : "", (long long)s->heads[i] * head);
    rlx_text_putf(t,
                  ") {\n    %%sq = map %%x, %%x {fn=mul} : f32[T,%lld]\n"
                  "    %%sum = reduce %%sq {axis=1, fn=add, lanes=16} : f32[T]\n"
                  "    %%root = map %%sum {fn=rsqrt} : f32[T]\n"
                  "    %%by = const {value=%.17g} : f32\n"
                  "    %%scale = map %%root, %%by {fn=mul} : f32[T]\n"
                  "    %%wide = broadcast %%scale {axes=[0]} : f32[T,%lld]\n"
                  "    %%n = map %%x, %%wide {fn=mul} : f32[T,%lld]\n",
                  k, s->scale, k, k);
    for (int i = 0; i < 3 && s->heads[i]; i++) {
        const long long heads = s->heads[i];
        rlx_text_putf(t, "    %%f%d = cast %%w%d : f32[%lld,%lld]\n", i, i, heads * head, k);
        rlx_text_putf(t, "    %%c%d = contract %%n, %%f%d {lanes=16} : f32[T,%lld]\n", i, i,
                      heads * head);
        rlx_text_putf(t, "    %%h%d = reshape %%c%d : f32[T,%lld,%lld]\n", i, i, heads, head);
        for (int j = 0; j < 2; j++)
            rlx_text_putf(
                t,
                "    %%h%d_%d = slice %%h%d {axis=2, start=%lld, size=%lld} : f32[T,%lld,%lld]\n",
                i, j, i, j * half, half, heads, half);
        rlx_text_putf(t, "    %%z%d = concat %%h%d_1, %%h%d_0 {axis=2} : f32[T,%lld,%lld]\n", i, i,
                      i, heads, head);
        rlx_text_putf(t, "    %%y%d = reshape %%z%d : f32[T,%lld]\n", i, i, heads * head);
    }
    rlx_text_put(t, "    return ");
    for (int i = 0; i < 3 && s->heads[i]; i++)
        rlx_text_putf(t, "%s%%y%d", i ? ", " : "", i);
    rlx_text_put(t, "\n  }\n}\n");
}

static int weights_of(const shape *s)
{
    int n = 0;
    while (n < 3 && s->heads[n])
        n++;
    return n;
}

/* A product of rows with one weight, or the product of two's. */
static void put_rows(rlx_text *t, const shape *s)
{
    const long long k = s->k, n = s->head;
    const int weights = weights_of(s);
    rlx_text_putf(t, "mir module @m {\n  func @main(%%x: f32[T,%lld] input \"x\"", k);
    for (int i = 0; i < weights; i++)
        rlx_text_putf(t, ", %%w%d: %s[%lld,%lld] weight \"w%d\"", i, s->format, n, k, i);
    rlx_text_putf(t, ") -> (f32[T,%lld]) {\n", n);
    for (int i = 0; i < weights; i++)
        rlx_text_putf(t,
                      "    %%f%d = cast %%w%d : f32[%lld,%lld]\n"
                      "    %%c%d = contract %%x, %%f%d {lanes=16} : f32[T,%lld]\n",
                      i, i, n, k, i, i, n);
    if (weights > 1)
        rlx_text_putf(t, "    %%y = map %%c0, %%c1 {fn=mul} : f32[T,%lld]\n", n);
    rlx_text_putf(t, "    return %%%s\n  }\n}\n", weights > 1 ? "y" : "c0");
}

/* A region as `precision` has it, lowered, emitted, and compared. */
static void run(lowered *l, const shape *s, rlx_mir_precision precision, bool code)
{
    rlx_eval_tensor want[3];
    const int n = s->rows_alone ? 1 : weights_of(s);
    if (s->rows_alone)
        put_rows(&l->e.text, s);
    else
        put_region(&l->e.text, s);
    parse(l, s->rows, s->upper);
    engines_make_tensors(&l->e, l->mir);
    lower(l, precision);
    const rlx_eval_env env = {.find = engines_find, .user = &l->e, .symbols = l->e.symbols};
    engines_must(rlx_mir_eval(l->mir, "main", &env, want, n), &l->e);
    compare(l, want, n, code);
    for (int i = 0; i < n; i++) {
        for (int64_t e = 0; e < want[i].dim[0] * want[i].dim[1]; e++)
            ck_assert(isfinite(((float *)want[i].data)[e]));
        free(want[i].data);
    }
}

static int count(const lowered *l, const char *what)
{
    rlx_text text = {0};
    int n = 0;
    rlx_ir_print(l->lir, 0, &text);
    for (const char *p = text.data; (p = strstr(p, what)) != NULL; p++)
        n++;
    rlx_text_deinit(&text);
    return n;
}

/* Wide heads of several weights: a kernel for all, where rows and sums of as many rows as there are
 * fit into a team's memory, else one for each. */
START_TEST(wide_heads_have_room)
{
    static const struct {
        shape of;
        int launches;
    } cases[] = {
        {{"bf16", 4, 4, 640, 256, {1, 1, 1}, 1, false}, 1},
        {{"bf16", 3, 8, 320, 256, {1, 1, 1}, 1, false}, 4},
        {{"q8_0", 4, 4, 640, 256, {1, 1, 1}, 1, false}, 4},
    };
    lowered l = {0};
    run(&l, &cases[_i].of, RLX_MIR_PREFILL, false);
    ck_assert_int_eq(count(&l, "    launch "), cases[_i].launches);
    deinit(&l);
}
END_TEST

/* Rows that each team normalises and rounds, in either format, before and behind where there are too many; of f16
 * beyond its range, where they are held. */
START_TEST(few_rows_are_normalised_by_each_team)
{
    static const struct {
        shape of;
        bool once;
    } cases[] = {
        {{"f16", 1, 1, 48, 24, {3, 1}, 1, false}, true},
        {{"bf16", 3, 8, 75, 24, {1, 2}, 1, false}, true},
        {{"f16", 8, 8, 200, 16, {2}, 4, false}, true},
        {{"bf16", 8, 8, 64, 96, {1, 1, 1}, 1, false}, true},
        {{"f16", 2, 9, 48, 24, {2}, 1, false}, false},
        {{"f16", 5, 7, 75, 24, {2, 1}, 1e6, false}, true},
        {{"bf16", 5, 7, 75, 24, {2, 1}, 1e6, false}, true},
        {{"f16", 5, 9, 75, 24, {2}, 1e6, false}, false},
    };
    const shape *s = &cases[_i].of;
    lowered l = {.e.seed = (uint64_t)_i};
    run(&l, s, RLX_MIR_PREFILL, _i % 4 == 1);
    ck_assert_int_eq(count(&l, " prologue once") > 0, cases[_i].once);
    ck_assert_int_ge(count(&l, " = contract_rows "), 1);
    deinit(&l);
}
END_TEST

/* Rows of both operands in stages, by wgmma: heads' sums and tiles that are stored at once; K in whole steps and not, rows that copies
 * do not take, one step. */
START_TEST(stages_by_wgmma)
{
    static const struct {
        shape of;
        int stages; /* 0: none */
    } cases[] = {
        {{"bf16", 9, 40, 136, 24, {2}, 1, false}, 3},
        {{"f16", 21, 90, 128, 72, {1}, 1, true}, 2},
        {{"bf16", 70, 70, 200, 70, {1}, 1, true}, 2},
        {{"bf16", 13, 16, 392, 70, {1, 1}, 1, true}, 2},
        {{"f16", 9, 40, 250, 40, {1}, 1, true}, 0},
        {{"f16", 9, 40, 32, 40, {1}, 1, true}, 0},
    };
    lowered l = {.hopper = true};
    char stages[16];
    run(&l, &cases[_i].of, RLX_MIR_PREFILL, true);
    snprintf(stages, sizeof stages, " stages %d", cases[_i].stages);
    ck_assert_int_eq(count(&l, stages) > 0, cases[_i].stages > 0);
    ck_assert_int_eq(count(&l, "async=1") > 0, cases[_i].stages > 0);
    ck_assert_int_ge(count(&l, " = contract_rows "), 1);
    deinit(&l);
}
END_TEST

/* What tiles of fragments do not reach. */
START_TEST(refused)
{
    static const struct {
        const char *arguments, *contract, *story;
    } cases[] = {
        {"%x: bf16[T,K] input \"x\", %w: bf16[5,K] weight \"w\"", "%x, %w",
         "products by chunks want K to be a constant"},
        {"%x: bf16[T,32] input \"x\", %w: bf16[3,5,32] weight \"w\", %i: i32[T] input \"i\"",
         "%x, %w, %i", "products by chunks are of one matrix, which no row chooses"},
    };
    lowered l = {0};
    rlx_lir_target target;
    rlx_text_putf(&l.e.text,
                  "mir module @m {\n  func @main(%s) -> (f32[T,5]) {\n    %%y = contract %s "
                  "{lanes=1, width=16} : f32[T,5]\n    return %%y\n  }\n}\n",
                  cases[_i].arguments, cases[_i].contract);
    parse(&l, 3, 3);
    engines_must(rlx_jit_lir_target(&sm_80, &target), &l.e);
    engines_must(rlx_mir_optimize(l.mir), &l.e);
    const rlx_mir_lower_options o = {.target = &target, .upper = l.upper};
    assert_error(rlx_mir_lower(l.mir, &o, &l.lir), RLX_UNSUPPORTED, cases[_i].story);
    deinit(&l);
}
END_TEST

/* Behind 17 elements come zeros: a sum that is below all floats, and negative, becomes +0. */
START_TEST(zeros_follow_the_last_element)
{
    enum { K = 17 };
    static const uint16_t tiny = 0x0080, negative = 0x8000; /* 2^-126, -0 */
    lowered l = {0};
    rlx_eval_tensor want;
    rlx_text_put(&l.e.text,
                 "mir module @m {\n  func @main(%x: bf16[T,17] input \"x\", %w: bf16[1,17] weight "
                 "\"w\") -> (f32[T,1]) {\n    %y = contract %x, %w {lanes=1, width=16} : f32[T,1]\n"
                 "    return %y\n  }\n}\n");
    parse(&l, 1, 1);
    engines_make_tensors(&l.e, l.mir);
    for (int i = 0; i < 2; i++) {
        uint16_t *v = l.e.tensor[i].data;
        memset(v, 0, K * sizeof *v);
        v[0] = tiny;
        for (int k = i ? K : 0; k < K; k++)
            v[k] |= negative;
    }
    const rlx_eval_env env = {.find = engines_find, .user = &l.e, .symbols = l.e.symbols};
    engines_must(rlx_mir_eval(l.mir, "main", &env, &want, 1), &l.e);
    lower(&l, RLX_MIR_EXACT);
    const float y = *(float *)want.data;
    ck_assert(y == 0 && !signbit(y));
    compare(&l, &want, 1, true);
    free(want.data);
    deinit(&l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("halves");
    TCase *c = tcase_create("regions");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, zeros_follow_the_last_element);
    tcase_add_loop_test(c, wide_heads_have_room, 0, 3);
    tcase_add_loop_test(c, refused, 0, 2);
    tcase_add_loop_test(c, few_rows_are_normalised_by_each_team, 0, 8);
    tcase_add_loop_test(c, stages_by_wgmma, 0, 6);
    suite_add_tcase(s, c);
    return run_suite(s, 20);
}
