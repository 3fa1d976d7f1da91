/* tests/lower/test_attention_unit.c: attention over pages by a matrix unit: random heads, formats, masks and sequences, on teams of
 * one subgroup and of several. MIR's evaluator and LIR's give the same bits, and machine code whose unit, NVIDIA's or AMD's, is
 * emulated, in any bucket; where the pass chooses it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"
#include "tests/lower/attention_world.h"
#include "tests/runtime/suite.h"

enum { CASES = 12, WIDTH = 16 };

static const int64_t widths[] = {16, 32, 64, 80, 96, 128, 48, 160, 256};

static void make_world(attention_world *w, int number)
{
    *w = (attention_world){.chunks = WIDTH, .e.seed = (uint64_t)number * 977 + 11};
    w->heads = 1 + attention_pick(w, 2);
    w->ratio = 1 + attention_pick(w, 5);
    w->width = widths[number % 9];
    w->positions = 16 << attention_pick(w, 3);
    w->tokens = 1 + attention_pick(w, 20);
    w->one = number % 4 == 0;
    if (number == 7) { /* queries of a head are several tiles of a team */
        w->heads = 1;
        w->ratio = 17;
    }
    attention_make_text(w);
}

static rlx_ir_module *lower(attention_world *w, const rlx_ir_module *mir,
                            const rlx_jit_target *target, int64_t upper)
{
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_lir_target t;
    rlx_ir_module *lir;
    memcpy(symbols, w->e.symbols, sizeof symbols);
    symbols[rlx_dim_symbol_index(mir->dims, "T")] = upper;
    engines_must(rlx_jit_lir_target(target, &t), &w->e);
    engines_must(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &t, .upper = symbols}, &lir),
                 &w->e);
    return lir;
}

/* NVIDIA's in two of four cases, every other one where contractions go by wgmma. */
static rlx_jit_target target_of(attention_world *w, int number)
{
    static const char *const amd[] = {"gfx942", "gfx1100", "gfx1200"};
    enum { LANES = 32 };
    if (number % 2)
        return emulated_amd_target(amd[number / 2 % 3], 64 << attention_pick(w, 2));
    const bool hopper = number % 4 != 0;
    return (rlx_jit_target){.kind = RLX_JIT_NVPTX,
                            .processor = hopper ? "sm_90a" : "sm_80",
                            .team = LANES << (hopper ? 2 : attention_pick(w, 3)),
                            .subgroup = LANES,
                            .emulation = &emulated_gpu};
}

START_TEST(attention_by_units_is_the_same_everywhere)
{
    attention_world w;
    make_world(&w, _i);
    const rlx_jit_target target = target_of(&w, _i);
    rlx_dims *dims = rlx_dims_create();
    rlx_eval_tensor want;
    rlx_ir_module *mir = attention_open(&w, dims, &want);
    for (int large = 0; large < 2; large++) {
        rlx_ir_module *lir = lower(&w, mir, &target, large ? 40 : w.tokens);
        engines_compare(&w.e, lir, &want, 1, false);
        w.e.code = target;
        if (large == _i % 2)
            engines_compare(&w.e, lir, &want, 1, true);
        rlx_ir_module_destroy(lir);
    }
    free(want.data);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

/* ---- the pass ---- */

static const struct {
    rlx_jit_kind kind;
    const char *processor, *keys, *values;
    int width;
    rlx_mir_precision precision;
    bool goes;
} choices[] = {
    {RLX_JIT_NVPTX, "sm_80", "f16", "f16", 64, RLX_MIR_PREFILL, true},
    {RLX_JIT_NVPTX, "sm_90a", "bf16", "f16", 256, RLX_MIR_PREFILL, true},
    {RLX_JIT_AMDGPU, "gfx942", "bf16", "bf16", 128, RLX_MIR_PREFILL, true},
    {RLX_JIT_AMDGPU, "gfx1100", "f16", "f16", 80, RLX_MIR_PREFILL, true},
    {RLX_JIT_NVPTX, "sm_80", "f16", "f16", 64, RLX_MIR_DECODE, false},
    {RLX_JIT_NVPTX, "sm_80", "f16", "f16", 64, RLX_MIR_EXACT, false},
    {RLX_JIT_NVPTX, "sm_80", "f32", "f16", 64, RLX_MIR_PREFILL, false},
    {RLX_JIT_NVPTX, "sm_80", "f16", "f16", 72, RLX_MIR_PREFILL, false},
    {RLX_JIT_NVPTX, "sm_80", "f16", "f16", 576, RLX_MIR_PREFILL, false}, /* not in team memory */
    {RLX_JIT_NVPTX, "sm_75", "f16", "f16", 64, RLX_MIR_PREFILL, false},
    {RLX_JIT_AMDGPU, "gfx90a", "f16", "f16", 64, RLX_MIR_PREFILL, false},
};
enum { CHOICES = sizeof choices / sizeof *choices };

START_TEST(prompts_go_by_units)
{
    const rlx_jit_target target = {.kind = choices[_i].kind, .processor = choices[_i].processor};
    const int d = choices[_i].width;
    rlx_lir_target t;
    rlx_ir_module *mir;
    rlx_dims *dims = rlx_dims_create();
    rlx_text text = {0};
    rlx_text_putf(
        &text,
        "mir module @m {\n  func @main(%%q: f32[T,4,%d] input \"q\", %%k: "
        "%s[PAGES,2,%d,32] state \"k\", %%v: %s[PAGES,2,32,%d] state \"v\", %%pos: i32[T] "
        "input \"pos\", %%seq: i32[T] input \"seq\", %%table: i32[SEQS,SLOTS] input "
        "\"table\") -> (f32[T,4,%d]) {\n    %%o = attention %%q, %%k, %%v, %%pos, %%seq, "
        "%%table {scale=0.3} : f32[T,4,%d]\n    return %%o\n  }\n}\n",
        d, choices[_i].keys, d, choices[_i].values, d, d, d);
    ck_assert(!text.oom);
    EXPECT_OK(rlx_ir_parse(&rlx_mir_level, dims, "attention", text.data, &mir));
    EXPECT_OK(rlx_jit_lir_target(&target, &t));
    EXPECT_OK(rlx_mir_choose_precision(mir, choices[_i].precision, &t));
    rlx_text_clear(&text);
    rlx_ir_print(mir, 0, &text);
    ck_assert_msg((strstr(text.data, "width=16") != NULL) == choices[_i].goes, "%s", text.data);
    rlx_text_deinit(&text);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("attention by units");
    TCase *c = tcase_create("attention by units");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, attention_by_units_is_the_same_everywhere, 0, CASES);
    tcase_add_loop_test(c, prompts_go_by_units, 0, CHOICES);
    suite_add_tcase(s, c);
    return suite_run(s, CASES + CHOICES);
}
