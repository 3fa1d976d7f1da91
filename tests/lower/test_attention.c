/* tests/lower/test_attention.c: attention of steps of one token and of many, over small pages: random heads, formats,
 * masks and sequences, in any order within the step. MIR's evaluator, LIR's and machine code give the same bits,
 * whether a step goes token by token or by blocks; infinities in values that a query does not see do not reach it. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lir/schedule/schedule.h"
#include "mir/mir.h"
#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum { CASES = 36, CODE_EVERY = 7, SEQS = 3, SLOTS = 4, PAGES = SEQS * SLOTS };

typedef struct world {
    bool one; /* a single sequence: its run is all of a block */
    int64_t tokens, heads, ratio, width, positions;
    int32_t length[SEQS]; /* positions that a sequence has after the step */
    engines e;
} world;

static int64_t pick(world *w, int64_t n) /* below n */
{
    return (int64_t)engines_pick(&w->e, (uint64_t)n);
}

/* ---- modules ---- */

static const char *const formats[] = {"f32", "f16", "bf16", "i8"};

static void put_mask(world *w, rlx_text *t)
{
    const int64_t span = 1 + pick(w, 3 * w->positions);
    switch (pick(w, 5)) {
    case 0:
        rlx_text_putf(t, ", window=%lld", (long long)span);
        break;
    case 1:
        rlx_text_putf(t, ", chunk=%lld", (long long)span);
        break;
    case 2:
        rlx_text_putf(t, ", block=%d", 4 << pick(w, 2));
        break;
    default:
        break;
    }
    if (pick(w, 4) == 0)
        rlx_text_put(t, ", softcap=1.5");
}

static void make_text(world *w)
{
    const char *k = formats[pick(w, w->width % 32 == 0 ? 4 : 3)],
               *v = formats[pick(w, w->width % 32 == 0 ? 4 : 3)];
    const long long g = w->heads, d = w->width, p = w->positions, h = w->heads * w->ratio;
    const bool ks = strcmp(k, "i8") == 0, vs = strcmp(v, "i8") == 0, sinks = pick(w, 4) == 0;
    rlx_text *t = &w->e.text;
    rlx_text_putf(t, "mir module @m {\n  func @main(%%q: f32[T,%lld,%lld] input \"q\", ", h, d);
    rlx_text_putf(
        t, "%%k: %s[PAGES,%lld,%lld,%lld] state \"k\", %%v: %s[PAGES,%lld,%lld,%lld] state \"v\", ",
        k, g, d, p, v, g, p, d);
    rlx_text_put(t, "%pos: i32[T] input \"pos\", %seq: i32[T] input \"seq\", %table: "
                    "i32[SEQS,SLOTS] input \"table\"");
    if (ks)
        rlx_text_putf(t, ", %%ks: f16[PAGES,%lld,%lld,%lld] state \"ks\"", g, d / 32, p);
    if (vs)
        rlx_text_putf(t, ", %%vs: f16[PAGES,%lld,%lld,%lld] state \"vs\"", g, p, d / 32);
    if (sinks)
        rlx_text_putf(t, ", %%sinks: f32[%lld] weight \"sinks\"", h);
    rlx_text_putf(t,
                  ") -> (f32[T,%lld,%lld]) {\n    %%o = attention %%q, %%k, %%v, %%pos, %%seq, "
                  "%%table%s%s%s {scale=0.3",
                  h, d, ks ? ", %ks" : "", vs ? ", %vs" : "", sinks ? ", %sinks" : "");
    put_mask(w, t);
    rlx_text_putf(t, "%s} : f32[T,%lld,%lld]\n    return %%o\n  }\n}\n", sinks ? ", sinks=1" : "",
                  h, d);
    ck_assert(!t->oom);
}

/* ---- tensors ---- */

static int64_t elements(const rlx_eval_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

/* Tokens of several sequences: runs of neighbours, or any order. */
static void place_tokens(world *w)
{
    int32_t *pos = engines_find(&w->e, 0, "pos")->data, *seq = engines_find(&w->e, 0, "seq")->data,
            *table = engines_find(&w->e, 0, "table")->data;
    const int64_t room = SLOTS * w->positions - w->tokens;
    for (int s = 0; s < SEQS; s++)
        w->length[s] = (int32_t)pick(w, room);
    for (int64_t t = 0, s = 0; t < w->tokens; t++) {
        if (!w->one && pick(w, 9) == 0)
            s = pick(w, SEQS);
        seq[t] = (int32_t)s;
        pos[t] = w->length[s]++;
    }
    for (int64_t i = w->tokens - 1; i > 0 && w->e.seed % 4 == 0; i--) {
        const int64_t j = pick(w, i + 1);
        const int32_t p = pos[i], s = seq[i];
        pos[i] = pos[j];
        pos[j] = p;
        seq[i] = seq[j];
        seq[j] = s;
    }
    for (int32_t i = 0; i < PAGES; i++)
        table[i] = PAGES - 1 - i;
}

/* What lies behind a sequence's end was another's: of floats also what is none. Positions of x are its
 * axis `axis`, of [PAGES,heads,..,..]. */
static void spoil(world *w, const char *name, int axis)
{
    rlx_eval_tensor *x = engines_find(&w->e, 0, name);
    if (!x || !rlx_format_is_float(x->format))
        return;
    const int64_t rows = x->dim[2], columns = x->dim[3], page = w->heads * rows * columns;
    for (int s = 0; s < SEQS; s++) {
        const int64_t slot = w->length[s] / w->positions, first = w->length[s] % w->positions;
        if (slot == SLOTS)
            continue;
        const int64_t at = (PAGES - 1 - (s * SLOTS + slot)) * page;
        for (int64_t i = 0; i < page; i++) {
            const int64_t j = axis == 2 ? i / columns % rows : i % columns;
            if (j >= first)
                rlx_format_store(x->format, x->data, at + i, j % 2 ? INFINITY : NAN);
        }
    }
}

static void make_tensors(world *w, const rlx_ir_module *m)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, "main");
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        rlx_eval_tensor *x = &w->e.tensor[w->e.n++];
        *x = (rlx_eval_tensor){.name = f->arg_info[i].symbol, .format = t->format, .rank = t->rank};
        for (int d = 0; d < t->rank; d++)
            x->dim[d] = rlx_dim_eval(m->dims, t->dim[d], w->e.symbols);
        x->data = malloc(rlx_format_bytes(t->format, elements(x)) + 1);
        for (int64_t e = 0; e < elements(x); e++)
            rlx_format_store(t->format, x->data, e,
                             t->format == RLX_I8 ? (double)pick(w, 255) - 127
                                                 : (double)pick(w, 20001) / 5e3 - 2);
    }
    place_tokens(w);
    spoil(w, "k", 3);
    spoil(w, "ks", 3);
    spoil(w, "v", 2);
    spoil(w, "vs", 2);
}

/* ---- buckets ---- */

/* On GPUs: on the interpreter, through the SPIR-V validator, and as a team of the host. */
static void check_gpu(world *w, const rlx_ir_module *mir, const int64_t *upper,
                      const rlx_eval_tensor *want, bool code)
{
    const rlx_jit_target nvidia = {
        .kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = 32 << pick(w, 3)};
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
    w->e.code = host_subgroup_target(nvidia.team, 8 << pick(w, 3));
    engines_compare(&w->e, lir, want, 1, true);
    w->e.code = own;
    rlx_ir_module_destroy(lir);
}

static void check_bucket(world *w, const rlx_ir_module *mir, const rlx_lir_target *target,
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
    if (code || pick(w, 4) == 0)
        check_gpu(w, mir, symbols, want, code);
}

static const int64_t widths[] = {2, 6, 8, 24, 32, 64, 80};

/* Heads of more groups of codes than a GPU's instance keeps sums of. */
static void make_wide_world(world *w, int64_t width)
{
    rlx_jit_target own[2];
    cpu_targets(own);
    *w = (world){.one = true, .tokens = 3, .heads = 1, .ratio = 2, .width = width, .positions = 16};
    w->e.seed = (uint64_t)width;
    w->e.code = own[0];
    do {
        rlx_text_clear(&w->e.text);
        make_text(w);
    } while (!strstr(w->e.text.data, "%vs: f16"));
}

static void make_world(world *w, int number)
{
    rlx_jit_target own[2];
    *w = (world){.e.seed = (uint64_t)number * 977 + 11};
    w->e.code = own[(cpu_targets(own) - 1) * (number / CODE_EVERY % 2)];
    w->heads = 1 + pick(w, 3);
    w->ratio = 1 + pick(w, 5);
    w->width = widths[pick(w, 7)];
    w->positions = 16 << pick(w, 3);
    w->tokens = 1 + pick(w, pick(w, 2) ? 40 : 9);
    w->one = number % 4 == 0;
    if (w->one)
        w->tokens = 20 + pick(w, 20);
    if (number % 8 == 3) { /* panels of keys come in several groups */
        w->positions = 128 << pick(w, 2);
        w->heads = 1;
        w->width = widths[pick(w, 5)];
    }
    make_text(w);
}

static rlx_lir_target target_of(world *w, bool wide)
{
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = wide ? 16 : 8,
                            .vector_regs = wide ? 32 : 16,
                            .team = 1,
                            .threads = 1 + (int)pick(w, 4),
                            .l1_bytes = 32768,
                            .l2_bytes = 2048 << pick(w, 9),
                            .team_bytes = 262144};
}

/* The module, for tensors of which `want` is the result. */
static rlx_ir_module *open_module(world *w, rlx_dims *dims, rlx_eval_tensor *want)
{
    rlx_ir_module *mir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "attention", w->e.text.data, &mir), &w->e);
    const struct {
        const char *name;
        int64_t value;
    } symbols[] = {{"T", w->tokens}, {"PAGES", PAGES}, {"SEQS", SEQS}, {"SLOTS", SLOTS}};
    for (int i = 0; i < 4; i++)
        w->e.symbols[rlx_dim_symbol_index(dims, symbols[i].name)] = symbols[i].value;
    make_tensors(w, mir);
    engines_must(rlx_mir_optimize(mir), &w->e);
    rlx_eval_env env = {.find = engines_find, .user = &w->e, .symbols = w->e.symbols};
    engines_must(rlx_mir_eval(mir, "main", &env, want, 1), &w->e);
    return mir;
}

START_TEST(attention_is_the_same_everywhere)
{
    world w;
    make_world(&w, _i);
    const bool code = _i % CODE_EVERY == 0, wide = !code && pick(&w, 2);
    const rlx_lir_target target = target_of(&w, wide);
    rlx_dims *dims = rlx_dims_create();
    rlx_eval_tensor want;
    rlx_ir_module *mir = open_module(&w, dims, &want);
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
    world w;
    make_wide_world(&w, wide[_i]);
    rlx_dims *dims = rlx_dims_create();
    rlx_eval_tensor want;
    rlx_ir_module *mir = open_module(&w, dims, &want);
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
        world w;
        rlx_lir_attention_schedule s;
        make_world(&w, i);
        const rlx_lir_target t = target_of(&w, i % CODE_EVERY != 0 && pick(&w, 2));
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
