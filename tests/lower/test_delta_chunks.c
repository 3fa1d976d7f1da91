/* tests/lower/test_delta_chunks.c: the gated delta rule by chunks: the evaluator of MIR and the
 * interpreter of LIR give the same bits, of outputs, states and pools, by the schedules of prompts,
 * of decoding and of GPUs, from pools that hold rubbish, whichever results are asked for. (Steps and sessions:
 * tests/flow/test_delta_chunks.c; torch: tests/torch/test_recurrence.c.) */
#include "tests/lower/tape_runner.h"
#include "tests/mir/world.h"

enum { TOKENS = 44, SEQS = 3, STEPS = 37, BATCH = 2 };

#define TOKENS_ARGS                                                                              \
    "mir module @m {\n  func @main(%q: f32[T,2,6] input \"q\", %k: f32[T,12] input \"k\", %v: "  \
    "f32[T,4,8] input \"v\", %g: f32[T,4] input \"g\", %b: f32[T,4] input \"b\", %s: "           \
    "f32[SEQS,4,6,8] state \"s\", %x: f32[SEQS,4,6,16] state \"x\", %u: f32[SEQS,4,16,8] state " \
    "\"u\", %d: f32[SEQS,4,17] state \"d\", %pos: i32[T] input \"pos\", %seq: i32[T] input "     \
    "\"seq\") "
#define TOKENS_STEPS                                                                           \
    "%0 = reshape %k : f32[T,2,6]\n"                                                           \
    "%y, %1, %2, %3, %4 = delta_chunks_tokens %q, %0, %v, %g, %b, %s, %x, %u, %d, %pos, %seq " \
    "{chunk=16, kind=\"tile\"} : (f32[T,4,8], f32[SEQS,4,6,8], f32[SEQS,4,6,16], "             \
    "f32[SEQS,4,16,8], f32[SEQS,4,17])\n"
#define BATCH_ARGS                                                                               \
    "mir module @m {\n  func @main(%q: f32[B,S,2,6] input \"q\", %k: f32[B,S,2,6] input \"k\", " \
    "%v: f32[B,S,4,8] input \"v\", %g: f32[B,S,4] input \"g\", %b: f32[B,S,4] input \"b\", %s: " \
    "f32[B,4,6,8] input \"s\") "
#define BATCH_STEPS                                                                              \
    "%y, %n = delta_chunks %q, %k, %v, %g, %b, %s {chunk=16, kind=\"repeat\"} : (f32[B,S,4,8], " \
    "f32[B,4,6,8])\n"

static const struct {
    bool tokens;
    const char *text;
} cases[] = {
    {true, TOKENS_ARGS "-> (f32[T,4,8]) {\n" TOKENS_STEPS "return %y\n  }\n}\n"},
    /* nobody asks for what the queries read */
    {true, TOKENS_ARGS "-> (f32[T,4]) {\n" TOKENS_STEPS
                       "%z = map %g {fn=neg} : f32[T,4]\nreturn %z\n  }\n}\n"},
    /* of the second nobody asks for the state */
    {false, BATCH_ARGS
     "-> (f32[B,S,4,8], f32[B,4,6,8], f32[B,S,4,8]) {\n" BATCH_STEPS
     "%z, %m = delta_chunks %k, %q, %v, %g, %b, %n {chunk=32, kind=\"repeat\"} : (f32[B,S,4,8], "
     "f32[B,4,6,8])\nreturn %y, %n, %z\n  }\n}\n"},
    {false, BATCH_ARGS "-> (f32[B,4,6,8]) {\n" BATCH_STEPS "return %n\n  }\n}\n"},
    {false, BATCH_ARGS "-> (f32[B,S,4,8]) {\n" BATCH_STEPS "return %y\n  }\n}\n"},
};
enum { NCASES = sizeof cases / sizeof *cases };

#define TARGET(kind, lanes, registers, invocations, memory)                               \
    {                                                                                     \
        .unit = kind, .vector_f32 = lanes, .vector_regs = registers, .team = invocations, \
        .threads = 2, .l1_bytes = 32768, .l2_bytes = 1 << 20, .team_bytes = memory        \
    }
static const rlx_lir_target targets[] = {TARGET(RLX_UNIT_CPU, 8, 16, 1, 1 << 20),
                                         TARGET(RLX_UNIT_CPU, 16, 32, 1, 1 << 20),
                                         TARGET(RLX_UNIT_GPU, 1, 1, 64, 8192)};
enum { NTARGETS = sizeof targets / sizeof *targets };

/* Runs of sequences, in one step. */
static const struct {
    int seq, n;
} runs[] = {{1, 9}, {0, 1}, {1, 23}, {2, 4}, {0, 5}, {1, 2}};

static void set_places(world *w)
{
    int32_t pos[TOKENS], seq[TOKENS], past[SEQS] = {0};
    int at = 0;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        for (int k = 0; k < runs[i].n; k++, at++) {
            seq[at] = runs[i].seq;
            pos[at] = past[seq[at]]++;
        }
    ck_assert_int_eq(at, TOKENS);
    world_ints(w, "pos", TOKENS, pos);
    world_ints(w, "seq", TOKENS, seq);
}

/* Random floats for every other argument; decays are like those of models. */
static void open_case(world *w, int number)
{
    const bool tokens = cases[number].tokens;
    world_open(w, cases[number].text);
    if (tokens)
        world_symbol(w, "T", TOKENS);
    else
        world_symbol(w, "B", BATCH);
    world_symbol(w, tokens ? "SEQS" : "S", tokens ? SEQS : STEPS);
    const rlx_ir_func *f = rlx_ir_func_find(w->module, "main");
    for (int a = 0; a < f->body->nargs; a++) {
        const rlx_ir_type *t = &f->body->args[a]->type;
        int64_t shape[RLX_MAX_RANK + 1];
        if (t->format != RLX_F32)
            continue;
        for (int d = 0; d < t->rank; d++)
            shape[d] = rlx_dim_eval(w->dims, t->dim[d], w->symbols);
        shape[t->rank] = -1;
        rlx_eval_tensor *x = world_random(w, f->arg_info[a].symbol, RLX_F32, shape);
        for (int64_t k = 0; strcmp(f->arg_info[a].symbol, "g") == 0 && k < world_elems(x); k++)
            ((float *)x->data)[k] = 0.85f + 0.1f * ((float *)x->data)[k];
    }
    if (tokens)
        set_places(w);
}

static rlx_ir_module *lower(world *w, const rlx_lir_target *target, const char *schedule,
                            size_t *arena)
{
    const int64_t *upper = w->symbols;
    bool found = false;
    rlx_ir_module *mir, *lir;
    rlx_lir_plan_report report;
    assert_ok(rlx_ir_module_clone(w->module, &mir));
    assert_ok(rlx_mir_optimize(mir));
    assert_ok(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = target, .upper = upper}, &lir));
    assert_ok(rlx_lir_check_plan(lir, "main", upper, &report));
    *arena = (size_t)report.arena_bytes;
    for (const rlx_ir_func *f = lir->first; f; f = f->next) {
        const rlx_attr *a = f->is_kernel ? rlx_ir_func_attr(f, RLX_ATTR_SCHEDULE) : NULL;
        found |= a && strcmp(a->text, schedule) == 0;
    }
    ck_assert_msg(found, "no kernel's schedule is %s", schedule);
    rlx_ir_module_destroy(mir);
    return lir;
}

/* Outputs of the evaluator, or of the interpreter, which the caller frees. */
static int evaluate(world *w, rlx_eval_tensor *out)
{
    const int n = rlx_ir_func_find(w->module, "main")->nresults;
    assert_ok(rlx_mir_eval(w->module, "main", &w->env, out, n));
    return n;
}

static void interpret(world *w, const rlx_ir_module *lir, size_t bytes, const rlx_eval_tensor *like,
                      int n, rlx_eval_tensor *out)
{
    tape_run r = {
        .module = lir, .env = &w->env, .arena_bytes = bytes, .options = {.teams = 3, .seed = 1}};
    r.arena = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    for (int i = 0; i < n; i++) {
        out[i] = like[i];
        out[i].data = calloc(1, rlx_format_bytes(RLX_F32, world_elems(&like[i])));
    }
    assert_ok(tape_run_entry(&r, "main", out, n));
    free(r.arena);
}

static void check_same(const rlx_eval_tensor *a, const rlx_eval_tensor *b, const char *what)
{
    ck_assert_msg(!memcmp(a->data, b->data, rlx_format_bytes(RLX_F32, world_elems(a))),
                  "%s differs", what);
}

START_TEST(engines_agree)
{
    static const char *const schedules[NTARGETS] = {"steps 16 tile 6x8 state 2x8 panels",
                                                    "steps 16 tile 12x8 state 2x8 panels",
                                                    "steps 1 tile 2x8 state 2x8"};
    const int number = _i / NTARGETS;
    rlx_eval_tensor want[3], got[3];
    world first, w;
    size_t arena;
    open_case(&first, number);
    const int n = evaluate(&first, want);
    open_case(&w, number);
    rlx_ir_module *lir = lower(&w, &targets[_i % NTARGETS], schedules[_i % NTARGETS], &arena);
    interpret(&w, lir, arena, want, n, got);
    for (int i = 0; i < n; i++) {
        check_same(&want[i], &got[i], "an output");
        free(want[i].data);
        free(got[i].data);
    }
    for (int i = 0; i < w.ntensors; i++) {
        const rlx_eval_tensor *pool = world_find(&first, RLX_ROLE_STATE, w.tensors[i].name);
        if (cases[number].tokens && pool && strchr("sxud", w.tensors[i].name[0]))
            check_same(pool, &w.tensors[i], w.tensors[i].name);
    }
    rlx_ir_module_destroy(lir);
    world_close(&w);
    world_close(&first);
}
END_TEST

/* Rows of so many numbers are more than a team of 8 KiB keeps, whatever the chunk. */
START_TEST(deep_keys_are_refused)
{
    static const char text[] =
        "mir module @m {\n  func @main(%q: f32[B,S,1,1024] input \"q\", %v: f32[B,S,1,8] input "
        "\"v\", "
        "%g: f32[B,S,1] input \"g\", %s: f32[B,1,1024,8] input \"s\") -> (f32[B,S,1,8]) {\n"
        "%y, %n = delta_chunks %q, %q, %v, %g, %g, %s {chunk=64, kind=\"repeat\"} : "
        "(f32[B,S,1,8], f32[B,1,1024,8])\nreturn %y\n  }\n}\n";
    world w;
    rlx_ir_module *lir;
    world_open(&w, text);
    world_symbol(&w, "B", BATCH);
    world_symbol(&w, "S", STEPS);
    assert_ok(rlx_mir_optimize(w.module));
    rlx_status st = rlx_mir_lower(
        w.module, &(rlx_mir_lower_options){.target = &targets[2], .upper = w.symbols}, &lir);
    assert_error(
        st, RLX_UNSUPPORTED,
        "keys of 1024 by chunks of 64 steps takes 9488 bytes of a team's memory, which has "
        "8192");
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_delta_chunks");
    TCase *c = tcase_create("engines");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, engines_agree, 0, NCASES * NTARGETS);
    tcase_add_test(c, deep_keys_are_refused);
    suite_add_tcase(s, c);
    return run_suite(s, NCASES * NTARGETS + 1);
}
