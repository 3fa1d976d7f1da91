/* tests/lower/test_dense_attention.c: attention over tensors in one kernel: random heads, extents about the chunk's,
 * biases and masks of every kind, operands through views. MIR's evaluator, LIR's and machine code give the same bits,
 * however wide the machine and high the blocks. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lir/schedule/schedule.h"
#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum { CASES = 28, CODE_EVERY = 9 };

typedef struct world {
    int64_t batch, queries, keys, heads, ratio, d, width;
    bool fixed; /* S and K are constants */
    bool large; /* blocks of several parts */
    engines e;
} world;

static int64_t pick(world *w, int64_t n) /* below n */
{
    return (int64_t)engines_pick(&w->e, (uint64_t)n);
}

/* ---- modules ---- */

/* How q, k and v come: as they are, heads in front of rows, columns of something wider, or computed. */
static void put_operands(world *w, rlx_text *args, rlx_text *body, const char *s, const char *k)
{
    const long long n = w->heads * w->ratio, g = w->heads, d = w->d, e = w->width;
    rlx_text_putf(args, "%%qa: f32[B,%s,%lld] input \"q\"", s, n * d);
    rlx_text_putf(body, "    %%q = reshape %%qa : f32[B,%s,%lld,%lld]\n", s, n, d);
    switch (pick(w, 3)) {
    case 0:
        rlx_text_putf(args, ", %%k: f32[B,%s,%lld,%lld] input \"k\"", k, g, d);
        break;
    case 1:
        rlx_text_putf(args, ", %%ka: f32[B,%lld,%s,%lld] input \"k\"", g, k, d);
        rlx_text_putf(body, "    %%k = transpose %%ka {perm=[0,2,1,3]} : f32[B,%s,%lld,%lld]\n", k,
                      g, d);
        break;
    default:
        rlx_text_putf(args, ", %%ka: f16[B,%s,%lld,%lld] input \"k\"", k, g, d);
        rlx_text_putf(body, "    %%k = cast %%ka : f32[B,%s,%lld,%lld]\n", k, g, d);
    }
    if (pick(w, 2)) {
        rlx_text_putf(args, ", %%va: f32[B,%s,%lld] input \"v\"", k, g * e + 3);
        rlx_text_putf(body,
                      "    %%vb = slice %%va {axis=2, start=2, size=%lld} : f32[B,%s,%lld]\n"
                      "    %%v = reshape %%vb : f32[B,%s,%lld,%lld]\n",
                      g * e, k, g * e, k, g, e);
    } else {
        rlx_text_putf(args, ", %%va: f32[B,%s,%lld,%lld] input \"v\"", k, g, e);
        rlx_text_putf(body, "    %%v = map %%va, %%va {fn=add} : f32[B,%s,%lld,%lld]\n", k, g, e);
    }
}

static const char *put_bias(world *w, rlx_text *args, rlx_text *body, const char *s, const char *k)
{
    const long long n = w->heads * w->ratio;
    switch (pick(w, 4)) {
    case 0: /* of heads and keys */
        rlx_text_putf(args, ", %%ba: f16[1,%lld,1,%s] input \"bias\"", n, k);
        rlx_text_putf(body,
                      "    %%bb = cast %%ba : f32[1,%lld,1,%s]\n"
                      "    %%bc = reshape %%bb : f32[%lld,%s]\n"
                      "    %%b = broadcast %%bc {axes=[1,3]} : f32[B,%lld,%s,%s]\n",
                      n, k, n, k, n, s, k);
        return ", %b";
    case 1: /* of everything, in another order */
        rlx_text_putf(args, ", %%ba: f32[%s,%s,%lld] input \"bias\"", s, k, n);
        rlx_text_putf(body,
                      "    %%bb = transpose %%ba {perm=[2,0,1]} : f32[%lld,%s,%s]\n"
                      "    %%b = broadcast %%bb {axes=[1,2,3]} : f32[B,%lld,%s,%s]\n",
                      n, s, k, n, s, k);
        return ", %b";
    default:
        return "";
    }
}

static const char *put_seen(world *w, rlx_text *args, rlx_text *body, const char *s, const char *k)
{
    const long long n = w->heads * w->ratio;
    switch (pick(w, 4)) {
    case 0: /* of a batch's keys */
        rlx_text_putf(args, ", %%sa: i32[B,%s] input \"valid\"", k);
        rlx_text_putf(body,
                      "    %%zero = const {value=0} : i32\n"
                      "    %%sb = map %%sa, %%zero {fn=lt} : bool[B,%s]\n"
                      "    %%s = broadcast %%sb {axes=[0,3]} : bool[B,%lld,%s,%s]\n",
                      k, n, s, k);
        return ", %s";
    case 1: /* by place, and of a batch's keys */
        rlx_text_putf(args, ", %%sa: i32[B] input \"valid\"");
        rlx_text_putf(body,
                      "    %%si = iota : i32[%s]\n    %%sj = iota : i32[%s]\n"
                      "    %%sq = broadcast %%si {axes=[0]} : i32[%s,%s]\n"
                      "    %%sk = broadcast %%sj {axes=[1]} : i32[%s,%s]\n"
                      "    %%sl = map %%sk, %%sq {fn=le} : bool[%s,%s]\n"
                      "    %%sc = broadcast %%sl {axes=[2,3]} : bool[B,%lld,%s,%s]\n"
                      "    %%sm = broadcast %%sa {axes=[0]} : i32[B,%lld,%s,%s]\n"
                      "    %%sn = broadcast %%sj {axes=[3]} : i32[B,%lld,%s,%s]\n"
                      "    %%so = map %%sm, %%sn {fn=lt} : bool[B,%lld,%s,%s]\n"
                      "    %%s = map %%sc, %%so {fn=and} : bool[B,%lld,%s,%s]\n",
                      s, k, s, k, s, k, s, k, n, s, k, n, s, k, n, s, k, n, s, k, n, s, k);
        return ", %s";
    case 2: /* a tensor */
        rlx_text_putf(args, ", %%sa: bool[%s,%s] input \"valid\"", s, k);
        rlx_text_putf(body, "    %%s = broadcast %%sa {axes=[2,3]} : bool[B,%lld,%s,%s]\n", n, s,
                      k);
        return ", %s";
    default:
        return "";
    }
}

static void make_text(world *w)
{
    char s[24] = "S", k[24] = "K";
    const long long n = w->heads * w->ratio;
    const bool sinks = pick(w, 4) == 0;
    rlx_text args = {0}, body = {0};
    if (w->fixed) {
        snprintf(s, sizeof s, "%lld", (long long)w->queries);
        snprintf(k, sizeof k, "%lld", (long long)w->keys);
    }
    put_operands(w, &args, &body, s, k);
    const char *bias = put_bias(w, &args, &body, s, k), *seen = put_seen(w, &args, &body, s, k);
    if (sinks)
        rlx_text_putf(&args, ", %%h: f32[%lld] weight \"sinks\"", n);
    rlx_text_putf(&w->e.text,
                  "mir module @m {\n  func @main(%s) -> (f32[B,%s,%lld]) {\n%s"
                  "    %%o = dense_attention %%q, %%k, %%v%s%s%s {scale=0.4, counts=[%d,%d,%d]%s} "
                  ": f32[B,%s,%lld,%lld]\n    %%y = reshape %%o : f32[B,%s,%lld]\n"
                  "    return %%y\n  }\n}\n",
                  args.data, s, n * w->width, body.data, bias, seen, sinks ? ", %h" : "",
                  *bias != 0, *seen != 0, sinks, pick(w, 4) ? "" : ", softcap=1.5", s, n,
                  (long long)w->width, s, n * w->width);
    ck_assert(!args.oom && !body.oom && !w->e.text.oom);
    rlx_text_deinit(&args);
    rlx_text_deinit(&body);
}

/* Of the mask: about a quarter is hidden, of one query or sequence all. */
static void make_valid(world *w, const rlx_ir_module *m)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, "main");
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        if (strcmp(f->arg_info[i].symbol, "valid") != 0)
            continue;
        rlx_eval_tensor *x = &w->e.tensor[w->e.n++];
        *x = (rlx_eval_tensor){.name = "valid", .format = t->format, .rank = t->rank};
        int64_t elems = 1, last = 1;
        for (int d = 0; d < t->rank; d++) {
            last = x->dim[d] = rlx_dim_eval(m->dims, t->dim[d], w->e.symbols);
            elems *= last;
        }
        x->data = malloc(rlx_format_bytes(t->format, elems) + 1);
        for (int64_t e = 0; e < elems; e++) {
            const int64_t v = t->rank == 1 ? pick(w, w->keys + 1) : pick(w, 4) && e >= last;
            rlx_format_store(t->format, x->data, e, (double)v);
        }
    }
}

static void make_world(world *w, int number)
{
    static const int64_t widths[] = {1, 5, 8, 24, 32, 40, 64, 80},
                         keys[] = {1, 9, 40, 255, 256, 300, 512};
    rlx_jit_target own[2];
    *w = (world){.e.seed = (uint64_t)number * 7919 + 5};
    w->e.code = own[(cpu_targets(own) - 1) * (number / CODE_EVERY % 2)];
    w->batch = 1 + pick(w, 2);
    w->heads = 1 + pick(w, 2);
    w->ratio = 1 + pick(w, 2);
    w->d = widths[pick(w, 8)];
    w->width = pick(w, 2) ? w->d : widths[pick(w, 8)];
    w->large = number % 2 == 0;
    w->queries = 1 + pick(w, w->large ? 170 : 31);
    w->keys = keys[pick(w, 7)];
    w->fixed = pick(w, 3) == 0;
    make_text(w);
}

/* Registers of 16, 8 or 4 numbers. */
static rlx_lir_target target_of(world *w, bool wide)
{
    rlx_lir_target t = engines_target(&w->e, wide);
    if (!wide && pick(w, 3) == 0) {
        t.vector_f32 = 4;
        t.vector_regs = 32;
    }
    return t;
}

static void check_bucket(world *w, const rlx_ir_module *mir, int64_t upper, bool wide,
                         const rlx_eval_tensor *want, bool code)
{
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_ir_module *lir;
    const rlx_lir_target target = target_of(w, wide);
    memcpy(symbols, w->e.symbols, sizeof symbols);
    if (!w->fixed)
        symbols[rlx_dim_symbol_index(mir->dims, "S")] = upper;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = symbols}, &lir),
        &w->e);
    engines_compare(&w->e, lir, want, 1, code);
    rlx_ir_module_destroy(lir);
}

/* On GPUs: on the interpreter, through the SPIR-V validator, and as a team of the host. */
static void check_gpu(world *w, const rlx_ir_module *mir, const rlx_eval_tensor *want, bool code)
{
    const rlx_jit_target nvidia = {
        .kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = 32 << pick(w, 3)};
    const rlx_jit_target own = w->e.code;
    rlx_lir_target target;
    rlx_ir_module *lir;
    engines_compare_gpu(&w->e, mir, w->e.symbols, want, 1);
    if (!code)
        return;
    engines_must(rlx_jit_lir_target(&nvidia, &target), &w->e);
    engines_must(rlx_mir_lower(
                     mir, &(rlx_mir_lower_options){.target = &target, .upper = w->e.symbols}, &lir),
                 &w->e);
    w->e.code = host_subgroup_target(nvidia.team, 8 << pick(w, 3));
    engines_compare(&w->e, lir, want, 1, true);
    w->e.code = own;
    rlx_ir_module_destroy(lir);
}

static void check_module(world *w, rlx_ir_module *mir, bool code)
{
    make_valid(w, mir);
    engines_make_tensors(&w->e, mir);
    rlx_eval_env env = {.find = engines_find, .user = &w->e, .symbols = w->e.symbols};
    rlx_eval_tensor want;
    engines_must(rlx_mir_eval(mir, "main", &env, &want, 1), &w->e);
    engines_must(rlx_mir_optimize(mir), &w->e);
    check_bucket(w, mir, w->queries, !code && pick(w, 2), &want, code);
    if (!code)
        check_bucket(w, mir, 200, false, &want, code);
    check_gpu(w, mir, &want, code);
    free(want.data);
}

START_TEST(dense_attention_is_the_same_everywhere)
{
    world w;
    make_world(&w, _i);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "attention", w.e.text.data, &mir), &w.e);
    w.e.symbols[rlx_dim_symbol_index(dims, "B")] = w.batch;
    if (!w.fixed) {
        w.e.symbols[rlx_dim_symbol_index(dims, "S")] = w.queries;
        w.e.symbols[rlx_dim_symbol_index(dims, "K")] = w.keys;
    }
    check_module(&w, mir, _i % CODE_EVERY == 0);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

/* What random modules do not have; S is the extent that may be small. */
static const struct {
    const char *args, *body, *inputs, *options;
    int64_t s;
} others[] = {
    {"f32[B,W,S,2,8]", "", "", ", %k, %v {counts=[0,0,0]", 5}, /* no dim is B times W */
    {"f32[floordiv(S,4),4,2,8]", "", "", ", %k, %v {counts=[0,0,0]", 9},
    {"f32[floordiv(S,4),4,2,8]", "", "", ", %k, %v {counts=[0,0,0]", 3}, /* no batch */
    /* tiles of rows and keys are none of what is reshaped */
    {"f32[B,7,2,8]",
     "    %c = map %b {fn=neg} : f32[49]\n    %d = reshape %c : f32[7,7]\n"
     "    %e = broadcast %d {axes=[2,3]} : f32[B,2,7,7]\n",
     ", %b: f32[49] input \"b\"", ", %k, %v, %e {counts=[1,0,0]", 7},
    {"f32[B,7,2,8]",
     "    %c = map %b {fn=neg} : f32[14,7]\n    %d = reshape %c : f32[2,7,7]\n"
     "    %e = broadcast %d {axes=[1,2,3]} : f32[B,2,7,7]\n",
     ", %b: f32[14,7] input \"b\"", ", %k, %v, %e {counts=[1,0,0]", 7},
    {"f32[B,7,2,8]",
     "    %c = map %b {fn=neg} : f32[7,7]\n    %d = reshape %c : f32[1,7,7]\n"
     "    %z = reshape %d : f32[7,1,7]\n    %f = reshape %z : f32[7,7]\n"
     "    %e = broadcast %f {axes=[2,3]} : f32[B,2,7,7]\n",
     ", %b: f32[7,7] input \"b\"", ", %k, %v, %e {counts=[1,0,0]", 7},
};
enum { OTHERS = sizeof others / sizeof *others };

START_TEST(other_shapes)
{
    const char *t = others[_i].args;
    world w = {.e.seed = (uint64_t)_i + 1, .fixed = true, .queries = others[_i].s};
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    rlx_text_putf(&w.e.text,
                  "mir module @m {\n  func @main(%%q: %s input \"q\", %%k: %s input \"k\", "
                  "%%v: %s input \"v\"%s) -> (%s) {\n%s    %%o = dense_attention %%q%s, "
                  "scale=0.4} : %s\n    return %%o\n  }\n}\n",
                  t, t, t, others[_i].inputs, t, others[_i].body, others[_i].options, t);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "other", w.e.text.data, &mir), &w.e);
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        w.e.symbols[i] = 2;
    const int live = rlx_dim_symbol_index(dims, "S"); /* not in all of them */
    if (live >= 0)
        w.e.symbols[live] = others[_i].s;
    check_module(&w, mir, false);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

static rlx_lir_attention_schedule schedule_of(int64_t tokens, int64_t width)
{
    const rlx_lir_target target = {.unit = RLX_UNIT_CPU,
                                   .vector_f32 = 8,
                                   .vector_regs = 16,
                                   .team = 1,
                                   .threads = 2,
                                   .l2_bytes = 1 << 19,
                                   .team_bytes = 1 << 18};
    const rlx_lir_attention_shape shape = {
        .heads = 1, .width = width, .positions = 256, .kv_heads = 12, .tokens = tokens};
    rlx_lir_attention_schedule s;
    rlx_lir_schedule_dense_attention(&target, &shape, &s);
    return s;
}

/* Blocks are alike and whole register tiles; a single query is a tile of one row. */
START_TEST(blocks_hold_what_there_is)
{
    const rlx_lir_attention_schedule many = schedule_of(1370, 64), one = schedule_of(1, 64);
    ck_assert_int_eq(many.tokens % many.m, 0);
    ck_assert_int_eq((1370 + many.tokens - 1) / many.tokens, 2);
    ck_assert_int_lt(2 * many.tokens - 1370, 2 * many.m);
    ck_assert_int_eq(many.part % many.m, 0);
    ck_assert_int_eq(one.m, 1);
    ck_assert_int_eq(one.tokens, 1);
    ck_assert_int_eq(one.part, 1);
}
END_TEST

/* Wide heads have fewer rows: what a block takes is bounded, but for the panels of a chunk. */
START_TEST(wide_heads_have_low_blocks)
{
    ck_assert_int_eq(schedule_of(512, 128).tokens, 512);
    ck_assert_int_eq(schedule_of(512, 128).part, 48);
    const int64_t rows = schedule_of(2048, 512).tokens, least = schedule_of(2048, 4096).tokens;
    ck_assert_int_le(4 * (256 * 1024 + 48 * 256 + rows * 1024), 2 << 20);
    ck_assert_int_gt(rows, 192);
    ck_assert_int_le(least, 48);
    ck_assert_int_le(4 * schedule_of(2048, 4096).part * (8192 + 256), (1 << 19) * 3 / 4);
}
END_TEST

/* A team's tile takes what memory there is; columns are dealt to invocations alike. */
START_TEST(tiles_fit_a_teams_memory)
{
    for (int team = 16; team <= 1024; team *= 2)
        for (int64_t bytes = 8 << 10; bytes <= 32 << 10; bytes *= 2)
            for (int64_t d = 1; d <= 1024; d = 2 * d + d % 3) {
                const rlx_lir_target target = {
                    .unit = RLX_UNIT_GPU, .team = team, .threads = 64, .team_bytes = bytes};
                const rlx_lir_attention_shape shape = {.heads = 1,
                                                       .positions = 256,
                                                       .lanes = 16,
                                                       .d = d,
                                                       .e = d + 3,
                                                       .kv_heads = 8,
                                                       .tokens = 77};
                rlx_lir_attention_schedule s;
                rlx_lir_schedule_dense_attention(&target, &shape, &s);
                ck_assert_int_eq(s.tokens, s.m);
                ck_assert_int_eq(d % s.width, 0);
                ck_assert_int_le(s.share, 256);
                ck_assert_int_le(4 * (s.m * 256 + (int64_t)(s.m + s.n) * (s.width + 1)), bytes);
                ck_assert(team > 256 || s.n % team == 0 || s.n < team);
            }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dense_attention");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, dense_attention_is_the_same_everywhere, 0, CASES);
    tcase_add_loop_test(c, other_shapes, 0, OTHERS);
    tcase_add_test(c, blocks_hold_what_there_is);
    tcase_add_test(c, wide_heads_have_low_blocks);
    tcase_add_test(c, tiles_fit_a_teams_memory);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + OTHERS + 3);
}
