/* tests/hir/test_recurrence.c: what recurrences refuse, a case for each constraint, and that they
 * print what they parse. What they compute is held to torch (tests/torch/test_recurrence.c). */
#include <math.h>

#include "hir/hir.h"
#include "tests/base/suite.h"
#include "tests/hir/env.h"

#define MODULE(args, body) \
    "hir module @t {\n  func @f(" args ") -> (f32) {\n    " body "\n    return %z\n  }\n}\n"
#define ZERO "\n    %z = const {value=0} : f32"
/* Cells: H is 4. */
#define GRU(...) GRU_(__VA_ARGS__)
#define GRU_(x, w, u, more, op)                 \
    MODULE("%x: " x ", %w: " w ", %u: " u more, \
           "%y, %h = gru %x, %w, %u" op " : (f32[B,S,4], f32[B,4])" ZERO)
#define GRU_ARGS "f32[B,S,3]", "f32[12,3]", "f32[12,4]"
#define LSTM(...) LSTM_(__VA_ARGS__)
#define LSTM_(w, u, more, op)                        \
    MODULE("%x: f32[B,S,3], %w: " w ", %u: " u more, \
           "%y, %h, %c = lstm %x, %w, %u" op " : (f32[B,S,4], f32[B,4], f32[B,4])" ZERO)
#define CONV(...) CONV_(__VA_ARGS__)
#define CONV_(x, w, more, y, op) \
    MODULE("%x: " x ", %w: " w more, "%y, %n = short_conv %x, %w" op " : " y ZERO)
#define CONV_Y "(f32[B,S,5], f32[B,3,5])"
#define CONV_T "(f32[T,5], f32[SEQS,3,5])"
#define PLACES ", %p: i32[T] input \"pos\", %q: i32[T] input \"seq\""
#define DELTA(...) DELTA_(__VA_ARGS__)
#define DELTA_(q, v, g, more, op)                                                    \
    MODULE("%q: " q ", %k: f32[B,S,2,6], %v: " v ", %g: " g ", %b: f32[B,S,4]" more, \
           "%o, %s = delta_rule %q, %k, %v, %g, %b" op " : (f32[B,S,4,5], f32[B,4,6,5])" ZERO)
#define DELTA_ARGS "f32[B,S,2,6]", "f32[B,S,4,5]", "f32[B,S,4]"
#define DELTA_POOLS(...) DELTA_POOLS_(__VA_ARGS__)
#define DELTA_POOLS_(chunk, keys, values, decays)                                         \
    MODULE("%q: f32[T,2,6], %k: f32[T,2,6], %v: f32[T,4,5], %g: f32[T,4], %b: f32[T,4], " \
           "%s: f32[SEQS,4,6,5] state \"s\", %e: " keys ", %f: " values ", %h: " decays   \
           ", %i: i32[T] input \"pos\", %j: i32[T] input \"seq\"",                        \
           "%o, %n = delta_rule %q, %k, %v, %g, %b, %s, %e, %f, %h, %i, %j {scale=0.5, "  \
           "kind=\"repeat\", counts=[4,2], chunk=" chunk "} : (f32[T,4,5], f32[SEQS,4,6,5])" ZERO)
#define MAMBA(...) MAMBA_(__VA_ARGS__)
#define MAMBA_(x, dt, a, b, more, op)                                          \
    MODULE("%x: " x ", %d: " dt ", %a: " a ", %b: " b ", %c: f32[B,S,8]" more, \
           "%y, %s = selective_scan %x, %d, %a, %b, %c" op " : (f32[B,S,7], f32[B,7,8])" ZERO)
#define MAMBA_ARGS "f32[B,S,7]", "f32[B,S,7]", "f32[7,8]", "f32[B,S,8]"
#define POOLS(states)                                                                             \
    MODULE(                                                                                       \
        "%x: f32[T,4], " states PLACES,                                                           \
        "%y, %m, %n = recur_tokens %x, %s, %t, %p, %q {kind=\"rows\", counts=[1,2], parallel=0, " \
        "has=[0,0,0]} : (f32[T,4], f32[SEQS,4], f32[SEQS,4]) (%a: f32[4], %b: f32[4], %c: "       \
        "f32[4]) {\n      %1 = map %a, %b {fn=add} : f32[4]\n      yield %c, %1, %b\n    }" ZERO)

static const char *const right[] = {
    POOLS("%s: f32[SEQS,4] state \"s\", %t: f32[SEQS,4] state \"t\""),
    GRU(GRU_ARGS, "", " {kind=\"after\", counts=[0,0,0]}"),
    GRU("f32[B,S,3]", "bf16[12,3]", "f16[12,4]", ", %b: f32[12], %h0: f32[B,4]",
        ", %b, %b, %h0 {step=-1, kind=\"before\", counts=[2,1,0]}"),
    LSTM("f32[16,3]", "f32[16,4]", ", %s: f32[B,4]", ", %s, %s {counts=[0,2,0,0]}"),
    LSTM("f32[16,3]", "f32[16,4]", ", %l: i32[B], %p: f32[12]", ", %l, %p {counts=[0,0,1,1]}"),
    GRU(GRU_ARGS, "", " {kind=\"after\", gate=\"relu\", cell=\"silu\", clip=2.5, counts=[0,0,0]}"),
    LSTM("f32[16,3]", "f32[16,4]", "",
         " {gate=\"relu\", cell=\"silu\", out=\"identity\", clip=2.5, counts=[0,0,0,0]}"),
    CONV("f32[B,S,5]", "f32[5,1,4]", "", CONV_Y, " {counts=[0,0,0]}"),
    CONV("f32[T,5]", "bf16[5,4]", ", %s: f32[SEQS,3,5] state \"s\"" PLACES, CONV_T,
         ", %s, %p, %q {counts=[0,1,2]}"),
    DELTA(DELTA_ARGS, ", %s0: f32[B,4,6,5]",
          ", %s0 {scale=0.5, kind=\"tile\", counts=[1,0], eps=1e-06}"),
    DELTA(DELTA_ARGS, "", " {scale=0.5, kind=\"repeat\", counts=[0,0], chunk=64}"),
    DELTA_POOLS("16", "f32[SEQS,4,6,16] state \"e\"", "f32[SEQS,4,16,5] state \"f\"",
                "f32[SEQS,4,17] state \"h\""),
    MAMBA(MAMBA_ARGS, ", %e: f32[7]", ", %e {counts=[1,0,0]}"),
    MODULE("%x: f32[S,4], %s: f32[4]",
           "%y, %n = recur %x, %s {extent=S, kind=\"rows\", counts=[1,1], parallel=0, has=[0,0]} : "
           "(f32[S,4], f32[4]) (%a: f32[4], %b: f32[4]) {\n      %1 = map %a, %b {fn=add} : "
           "f32[4]\n      yield %b, %1\n    }" ZERO),
};
enum { NRIGHT = sizeof right / sizeof *right };

static const struct {
    const char *text, *error;
} wrong[] = {
    {GRU("f32[S,3]", "f32[12,3]", "f32[12,4]", "", " {kind=\"after\", counts=[0,0,0]}"), "gru C1"},
    {GRU("f32[B,S,2]", "f32[12,3]", "f32[12,4]", "", " {kind=\"after\", counts=[0,0,0]}"),
     "gru C2"},
    {GRU("f32[B,S,3]", "f32[12,3]", "f32[12,5]", "", " {kind=\"after\", counts=[0,0,0]}"),
     "gru C3"},
    {GRU(GRU_ARGS, "", " {kind=\"after\", counts=[2,0,0]}"), "gru C4: 3 operands, counted 5"},
    {GRU(GRU_ARGS, "", " {kind=\"after\", counts=[1,0,0]}"),
     "gru C4: entry 0 of counts is 1, neither 0 nor 2"},
    {GRU(GRU_ARGS, ", %b: f32[16]", ", %b, %b {kind=\"after\", counts=[2,0,0]}"), "gru C5"},
    {GRU(GRU_ARGS, ", %h0: f32[S,4]", ", %h0 {kind=\"after\", counts=[0,1,0]}"), "gru C6"},
    {GRU(GRU_ARGS, "", " {kind=\"middle\", counts=[0,0,0]}"), "gru C9: kind \"middle\""},
    {GRU(GRU_ARGS, "", " {kind=\"after\", step=2, counts=[0,0,0]}"), "gru C7: step 2"},
    {GRU(GRU_ARGS, ", %l: f32[B]", ", %l {kind=\"after\", counts=[0,0,1]}"), "gru C8"},
    {LSTM("f32[16,2]", "f32[16,4]", "", " {counts=[0,0,0,0]}"), "lstm C2"},
    {LSTM("f32[16,3]", "f32[12,4]", "", " {counts=[0,0,0,0]}"), "lstm C3"},
    {LSTM("f32[16,3]", "f32[16,4]", ", %s: f32[B,4]", ", %s {counts=[0,1,0,0]}"), "lstm C4"},
    {LSTM("f32[16,3]", "f32[16,4]", ", %s: f32[B,5]", ", %s, %s {counts=[0,2,0,0]}"), "lstm C6"},
    {LSTM("f32[16,3]", "f32[16,4]", "", " {step=3, counts=[0,0,0,0]}"), "lstm C7: step 3"},
    {LSTM("f32[16,3]", "f32[16,4]", ", %l: i32[S]", ", %l {counts=[0,0,1,0]}"), "lstm C8"},
    {LSTM("f32[16,3]", "f32[16,4]", ", %p: f32[16]", ", %p {counts=[0,0,0,1]}"), "lstm C9"},
    {GRU(GRU_ARGS, "", " {kind=\"after\", gate=\"sigmoyd\", counts=[0,0,0]}"),
     "gru C10: there is no activation \"sigmoyd\""},
    {LSTM("f32[16,3]", "f32[16,4]", "", " {clip=-1, counts=[0,0,0,0]}"), "lstm C10: clip -1"},
    {CONV("f32[S,5]", "f32[5,4]", "", CONV_Y, " {counts=[0,0,0]}"), "short_conv C1"},
    {CONV("f32[B,S,5]", "f32[5,1]", "", CONV_Y, " {counts=[0,0,0]}"), "short_conv C2"},
    {CONV("f32[B,S,5]", "f32[5,2,4]", "", CONV_Y, " {counts=[0,0,0]}"), "short_conv C2"},
    {CONV("f32[T,5]", "f32[5,4]", PLACES, CONV_T, ", %p, %q {counts=[0,0,2]}"),
     "short_conv C3: tokens without a state"},
    {CONV("f32[B,S,5]", "f32[5,4]", ", %b: f32[4]", CONV_Y, ", %b {counts=[1,0,0]}"),
     "short_conv C4"},
    {CONV("f32[B,S,5]", "f32[5,4]", ", %s: f32[B,4,5]", CONV_Y, ", %s {counts=[0,1,0]}"),
     "short_conv C5"},
    {CONV("f32[T,5]", "f32[5,4]", ", %s: f32[SEQS,3,5]" PLACES, CONV_T,
          ", %s, %p, %q {counts=[0,1,2]}"),
     "short_conv C6: operand 2 is updated, and is no state of the session"},
    {CONV("f32[N,5]", "f32[5,4]", ", %s: f32[SEQS,3,5] state \"s\"" PLACES, CONV_T,
          ", %s, %p, %q {counts=[0,1,2]}"),
     "short_conv C6: pos and seq are i32[T]"},
    {DELTA(DELTA_ARGS, "", " {scale=1, kind=\"repeat\", counts=[1,0]}"), "delta_rule C1"},
    {DELTA("f32[B,S,12]", "f32[B,S,4,5]", "f32[B,S,4]", "",
           " {scale=1, kind=\"repeat\", counts=[0,0]}"),
     "delta_rule C2"},
    {DELTA("f32[B,S,2,7]", "f32[B,S,4,5]", "f32[B,S,4]", "",
           " {scale=1, kind=\"repeat\", counts=[0,0]}"),
     "delta_rule C3"},
    {DELTA("f32[B,S,2,6]", "f32[B,S,3,5]", "f32[B,S,4]", "",
           " {scale=1, kind=\"repeat\", counts=[0,0]}"),
     "delta_rule C4"},
    {DELTA("f32[B,S,2,6]", "f32[B,S,4,5]", "f32[B,S,2]", "",
           " {scale=1, kind=\"repeat\", counts=[0,0]}"),
     "delta_rule C5"},
    {DELTA(DELTA_ARGS, ", %s0: f32[B,4,5,6]", ", %s0 {scale=1, kind=\"repeat\", counts=[1,0]}"),
     "delta_rule C6"},
    {DELTA(DELTA_ARGS, "", " {kind=\"repeat\", counts=[0,0]}"), "delta_rule C8"},
    {DELTA(DELTA_ARGS, "", " {scale=1, kind=\"repeat\", counts=[0,0], chunk=48}"),
     "delta_rule C9: chunks of 48 steps"},
    {DELTA_POOLS("32", "f32[SEQS,4,6,16] state \"e\"", "f32[SEQS,4,32,5] state \"f\"",
                 "f32[SEQS,4,33] state \"h\""),
     "delta_rule C9: of a chunk are keys"},
    {DELTA_POOLS("16", "f32[SEQS,4,6,16] state \"e\"", "f32[SEQS,4,16,5] state \"f\"",
                 "f32[SEQS,4,16] state \"h\""),
     "delta_rule C9: of a chunk are keys"},
    {DELTA_POOLS("16", "f32[SEQS,4,6,16] state \"e\"", "f32[SEQS,4,16,5]",
                 "f32[SEQS,4,17] state \"h\""),
     "delta_rule C9: operand 7 is updated, and is no state of the session"},
    {MAMBA(MAMBA_ARGS, "", " {counts=[0,1,0]}"), "selective_scan C1"},
    {MAMBA("f32[B,S]", "f32[B,S,7]", "f32[7,8]", "f32[B,S,8]", "", " {counts=[0,0,0]}"),
     "selective_scan C2"},
    {MAMBA("f32[B,S,7]", "f32[B,S,6]", "f32[7,8]", "f32[B,S,8]", "", " {counts=[0,0,0]}"),
     "selective_scan C3"},
    {MAMBA("f32[B,S,7]", "f32[B,S,7]", "f32[8,7]", "f32[B,S,8]", "", " {counts=[0,0,0]}"),
     "selective_scan C4"},
    {MAMBA("f32[B,S,7]", "f32[B,S,7]", "f32[7,8]", "f32[B,S,9]", "", " {counts=[0,0,0]}"),
     "selective_scan C5"},
    {MAMBA(MAMBA_ARGS, ", %e: f32[8]", ", %e {counts=[1,0,0]}"), "selective_scan C6"},
    {MAMBA(MAMBA_ARGS, ", %h: f32[B,8,7]", ", %h {counts=[0,1,0]}"), "selective_scan C7"},
    {MODULE("%x: f32[S,4], %s: f32[4]",
            "%y, %n = recur %x, %s {extent=S, kind=\"rows\", counts=[1,1], parallel=0, "
            "has=[0,0]} : (f32[S,4], f32[4]) (%a: f32[4], %b: f32[4]) {\n      %1 = swiglu %a, %b "
            ": f32[4]\n      yield %b, %1\n    }" ZERO),
     "recur C8: a step holds swiglu"},
    {POOLS("%s: f32[SEQS,4], %t: f32[SEQS,4] state \"t\""),
     "recur_tokens C10: operand 1 is updated, and is no state of the session"},
    {POOLS("%s: f32[SEQS,4] state \"s\", %t: f32[SEQS,4]"),
     "recur_tokens C10: operand 2 is updated, and is no state of the session"},
};
enum { NWRONG = sizeof wrong / sizeof *wrong };

static rlx_status parse(const char *text, rlx_dims *dims, rlx_ir_module **m)
{
    rlx_status st = rlx_ir_parse(&rlx_hir_level, dims, "case", text, m);
    return st ? st : rlx_ir_verify(*m);
}

START_TEST(prints_what_it_parses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL, *again = NULL;
    rlx_text first = {0}, second = {0};
    assert_ok(parse(right[_i], dims, &m));
    rlx_ir_print(m, 0, &first);
    assert_ok(parse(first.data, dims, &again));
    rlx_ir_print(again, 0, &second);
    ck_assert_str_eq(first.data, second.data);
    rlx_text_deinit(&first);
    rlx_text_deinit(&second);
    rlx_ir_module_destroy(m);
    rlx_ir_module_destroy(again);
    rlx_dims_destroy(dims);
}
END_TEST

START_TEST(refuses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    rlx_status st = parse(wrong[_i].text, dims, &m);
    ck_assert_msg(st != NULL, "not refused: %s", wrong[_i].error);
    char *story = rlx_status_text(st);
    ck_assert_msg(strstr(story, wrong[_i].error) != NULL, "%s, not %s", story, wrong[_i].error);
    free(story);
    rlx_status_free(st);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

/* ---- the delta rule by chunks of a session's tokens --------------------------------------------
 */

enum { STEPS = 2, MOST_TOKENS = 18 };

/* Sequence 0 goes on over its chunk's end, 1 within it. */
static const struct {
    int n;
    int32_t pos[MOST_TOKENS], seq[MOST_TOKENS];
} steps[STEPS] = {
    {17,
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7},
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}},
    {10, {9, 10, 11, 12, 13, 14, 15, 16, 17, 8}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
};

static const char chunks_text[] =
    "hir module @t {\n  func @f(%q: f32[T,2,6] input \"q\", %k: f32[T,2,6] input \"k\", %v: "
    "f32[T,4,5] input \"v\", %g: f32[T,4] input \"g\", %b: f32[T,4] input \"b\", %s: "
    "f32[SEQS,4,6,5] state \"s\", %e: f32[SEQS,4,6,16] state \"e\", %f: f32[SEQS,4,16,5] state "
    "\"f\", %h: f32[SEQS,4,17] state \"h\", %i: i32[T] input \"pos\", %j: i32[T] input "
    "\"seq\") -> (f32[T,4,5]) {\n    %o, %n = delta_rule %q, %k, %v, %g, %b, %s, %e, %f, %h, %i, "
    "%j {scale=0.5, eps=1e-06, kind=\"tile\", counts=[4,2], chunk=16} : (f32[T,4,5], "
    "f32[SEQS,4,6,5])\n    return %o\n  }\n}\n";

/* Decays below 1 and rates above 0. */
static void make_absolute(test_env *e, const char *name, float sign)
{
    rlx_eval_tensor *t = env_get(e, name);
    for (int64_t i = 0; i < env_elems(t); i++)
        ((float *)t->data)[i] = sign * fabsf(((float *)t->data)[i]);
}

static void set_step(test_env *e, const rlx_ir_module *m, int step)
{
    static const struct {
        const char *name;
        int64_t heads, width;
    } inputs[] = {{"q", 2, 6}, {"k", 2, 6}, {"v", 4, 5}, {"g", 4, 0}, {"b", 4, 0}};
    const int64_t n = steps[step].n;
    env_set(e, "T", n);
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        env_add_random(e, inputs[i].name, RLX_F32, inputs[i].width ? 3 : 2,
                       (const int64_t[]){n, inputs[i].heads, inputs[i].width}, 1);
    env_add_ints(e, "pos", n, steps[step].pos);
    env_add_ints(e, "seq", n, steps[step].seq);
    make_absolute(e, "g", -1);
    make_absolute(e, "b", 1);
    env_bind(e, m, "f", 1); /* pools, once */
}

START_TEST(chunks_are_evaluated_as_lowered)
{
    test_env e, again;
    rlx_ir_module *hir, *mir;
    env_init(&e, 7);
    env_set(&e, "SEQS", 3);
    assert_ok(parse(chunks_text, e.dims, &hir));
    assert_ok(rlx_hir_lower(hir, &mir));
    assert_ok(rlx_ir_verify(mir));
    for (int step = 0; step < STEPS; step++) {
        rlx_eval_tensor y = {0}, z = {0};
        set_step(&e, hir, step);
        env_copy(&again, &e);
        assert_ok(rlx_hir_eval(hir, "f", &e.eval, &y, 1));
        assert_ok(rlx_mir_eval(mir, "f", &again.eval, &z, 1));
        ck_assert(env_distance(&y, &z) < 1e-6);
        for (int i = 0; i < e.n; i++)
            ck_assert_msg(env_distance(&e.tensor[i], &again.tensor[i]) < 1e-6, "%s",
                          e.tensor[i].name);
        free(y.data);
        free(z.data);
        env_deinit(&again);
    }
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    env_deinit(&e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hir_recurrence");
    TCase *c = tcase_create("constraints");
    tcase_add_loop_test(c, prints_what_it_parses, 0, NRIGHT);
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    tcase_add_test(c, chunks_are_evaluated_as_lowered);
    suite_add_tcase(s, c);
    return run_suite(s, NRIGHT + NWRONG + 1);
}
