/* tests/lower/test_recur.c: recurrences over tokens of several sequences: the evaluator of MIR and
 * the interpreter of LIR give the same bits, and a token's are the same whatever the steps that it
 * and its predecessors came in. (Recurrences over one axis: test_operators.c.) */
#include "tests/lower/emit_spirv.h"
#include "tests/lower/tape_runner.h"
#include "tests/mir/world.h"

/* x and y of the tokens go in; y and the pools come out. */
#define TOKENS_MAIN(args, results, body)                                                      \
    "mir module @m {\n  func @main(" args ", %pos: i32[T] input \"pos\", %seq: i32[T] input " \
    "\"seq\") -> (" results ") {\n" body "  }\n}\n"

static const struct {
    const char *name, *text, *schedule;
    int64_t width, out; /* elements of x and of y, of a token */
} cases[] = {
    {"a convolution's window",
     TOKENS_MAIN("%x: f32[T,21] input \"x\", %s: f32[SEQS,3,21] state \"s\", %w: f32[21,4] weight "
                 "\"w\"",
                 "f32[T,21]",
                 "%y, %n = recur_tokens %x, %s, %w, %pos, %seq {counts=[1,1], parallel=1, "
                 "has=[1,1,0], kind=\"columns\"} : (f32[T,21], f32[SEQS,3,21]) (%a: f32, %b: "
                 "f32[3], %c: f32[21,4]) {\n"
                 "%0 = reshape %a : f32[1]\n"
                 "%1 = concat %b, %0 {axis=0} : f32[4]\n"
                 "%2 = slice %c {axis=0, start=2, size=1} : f32[1,4]\n"
                 "%3 = reshape %2 : f32[4]\n"
                 "%4 = map %1, %3 {fn=mul} : f32[4]\n"
                 "%5 = reduce %4 {fn=add, axis=0, lanes=1} : f32\n"
                 "%6 = slice %1 {axis=0, start=1, size=3} : f32[3]\n"
                 "yield %5, %6\n}\n"
                 "return %y\n"),
     "columns", 21, 21},
    {"a state of rows, and one that counts",
     TOKENS_MAIN("%x: f32[T,2,18] input \"x\", %s: f32[SEQS,2,18] state \"s\", %r: i64[SEQS,2] "
                 "state \"r\"",
                 "f32[T,2,18]",
                 "%y, %n, %m = recur_tokens %x, %s, %r, %pos, %seq {counts=[1,2], parallel=1, "
                 "has=[1,1,1], kind=\"rows\"} : (f32[T,2,18], f32[SEQS,2,18], i64[SEQS,2]) (%a: "
                 "f32[18], %b: f32[18], %c: i64) {\n"
                 "%0 = map %a, %b {fn=mul} : f32[18]\n"
                 "%1 = reduce %0 {fn=add, axis=0, lanes=16} : f32\n"
                 "%2 = cast %c : f32\n"
                 "%3 = map %1, %2 {fn=add} : f32\n"
                 "%4 = const {value=0.5} : f32\n"
                 "%5 = map %b, %4, %a {fn=fma} : f32[18]\n"
                 "%6 = map %5, %3 {fn=add} : f32[18]\n"
                 "%7 = const {value=1} : i64\n"
                 "%8 = map %c, %7 {fn=add} : i64\n"
                 "yield %6, %5, %8\n}\n"
                 "return %y\n"),
     "rows", 36, 36},
};
enum { NCASES = sizeof cases / sizeof *cases, TOKENS = 9, SEQS = 3 };

static const int32_t seq[TOKENS] = {2, 0, 0, 2, 1, 0, 2, 2, 1};
static const int32_t pos[TOKENS] = {0, 0, 1, 1, 0, 2, 2, 3, 1};

static const rlx_lir_target targets[] = {
    {.unit = RLX_UNIT_CPU,
     .vector_f32 = 8,
     .vector_regs = 16,
     .team = 1,
     .threads = 2,
     .l1_bytes = 32768,
     .l2_bytes = 1 << 20,
     .team_bytes = 1 << 20},
    {.unit = RLX_UNIT_GPU,
     .vector_f32 = 1,
     .vector_regs = 1,
     .team = 64,
     .threads = 8,
     .l1_bytes = 32768,
     .l2_bytes = 1 << 20,
     .team_bytes = 32768},
};

/* A world with states that hold rubbish, and all that the steps of a case read. */
static void open_case(world *w, int i)
{
    world_open(w, cases[i].text);
    world_symbol(w, "SEQS", SEQS);
    const rlx_ir_func *f = rlx_ir_func_find(w->module, "main");
    for (int a = 0; a < f->body->nargs; a++) {
        const rlx_ir_type *t = &f->body->args[a]->type;
        int64_t shape[RLX_MAX_RANK + 1];
        if (f->arg_info[a].role == RLX_ROLE_INPUT)
            continue;
        for (int d = 0; d < t->rank; d++)
            shape[d] = rlx_dim_eval(w->dims, t->dim[d], w->symbols);
        shape[t->rank] = -1;
        rlx_eval_tensor *x = world_random(w, f->arg_info[a].symbol, t->format, shape);
        for (int64_t k = 0; !rlx_format_is_float(t->format) && k < world_elems(x); k++)
            rlx_format_store(t->format, x->data, k, 77);
    }
}

/* The inputs of tokens at .. at + n - 1. */
static void set_tokens(world *w, int i, int at, int n)
{
    const rlx_ir_type *t = &rlx_ir_func_find(w->module, "main")->body->args[0]->type;
    const int64_t first = at * cases[i].width;
    world_symbol(w, "T", n);
    rlx_eval_tensor *x = t->rank == 3
                             ? world_tensor(w, "x", RLX_F32, SHAPE(n, t->dim[1], t->dim[2]))
                             : world_tensor(w, "x", RLX_F32, SHAPE(n, t->dim[1]));
    for (int64_t k = 0; k < n * cases[i].width; k++)
        ((float *)x->data)[k] = (float)((first + k) * 7919 % 6007) / 3000 - 1;
    world_ints(w, "pos", n, pos + at);
    world_ints(w, "seq", n, seq + at);
}

static rlx_ir_module *lower(world *w, int i, const rlx_lir_target *target, size_t *arena)
{
    int64_t upper[RLX_MAX_SYMBOLS] = {TOKENS, TOKENS, TOKENS};
    rlx_ir_module *mir, *lir;
    rlx_lir_plan_report report;
    assert_ok(rlx_ir_module_clone(w->module, &mir));
    assert_ok(rlx_mir_optimize(mir));
    assert_ok(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = target, .upper = upper}, &lir));
    assert_ok(rlx_lir_check_plan(lir, "main", upper, &report));
    if (target->unit == RLX_UNIT_GPU)
        assert_ok(emit_spirv(lir, target->team, 32 << 10));
    *arena = (size_t)report.arena_bytes;
    const rlx_attr *a = NULL;
    for (const rlx_ir_func *f = lir->first; f; f = f->next)
        a = f->is_kernel ? rlx_ir_func_attr(f, RLX_ATTR_SCHEDULE) : a;
    ck_assert_str_eq(a->text, cases[i].schedule);
    rlx_ir_module_destroy(mir);
    return lir;
}

/* All tokens in steps of `chunk`; y f32[TOKENS, out]. */
static void run_mir(world *w, int i, int chunk, float *y)
{
    for (int at = 0; at < TOKENS; at += chunk) {
        const int n = TOKENS - at < chunk ? TOKENS - at : chunk;
        rlx_eval_tensor got;
        set_tokens(w, i, at, n);
        assert_ok(rlx_mir_eval(w->module, "main", &w->env, &got, 1));
        memcpy(y + at * cases[i].out, got.data, sizeof(float) * (size_t)(n * cases[i].out));
        free(got.data);
    }
}

static void run_lir(world *w, int i, int chunk, const rlx_ir_module *lir, size_t bytes, float *y)
{
    tape_run r = {
        .module = lir, .env = &w->env, .arena_bytes = bytes, .options = {.teams = 3, .seed = 1}};
    r.arena = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    for (int at = 0; at < TOKENS; at += chunk) {
        const int n = TOKENS - at < chunk ? TOKENS - at : chunk;
        rlx_eval_tensor got = {.format = RLX_F32, .rank = 2, .dim = {n, cases[i].out}};
        const rlx_ir_type *t = &rlx_ir_func_find(w->module, "main")->results[0];
        got.rank = t->rank;
        for (int d = 1; d < t->rank; d++)
            got.dim[d] = t->dim[d];
        got.data = y + at * cases[i].out;
        set_tokens(w, i, at, n);
        assert_ok(tape_run_entry(&r, "main", &got, 1));
    }
    free(r.arena);
}

static void same_worlds(const world *a, const world *b, const char *what)
{
    for (int k = 0; k < a->ntensors; k++) {
        const rlx_eval_tensor *x = &a->tensors[k];
        const rlx_eval_tensor *y = world_find((void *)b, RLX_ROLE_STATE, x->name);
        if (strcmp(x->name, "s") == 0 || strcmp(x->name, "r") == 0)
            ck_assert_msg(!memcmp(x->data, y->data, rlx_format_bytes(x->format, world_elems(x))),
                          "%s: state %s differs", what, x->name);
    }
}

START_TEST(tokens_have_one_result)
{
    const int i = _i;
    const size_t bytes = sizeof(float) * (size_t)(TOKENS * cases[i].out);
    float *want = malloc(bytes), *got = malloc(bytes);
    static const int chunks[] = {1, 4, TOKENS};
    world first, w;
    open_case(&first, i);
    run_mir(&first, i, TOKENS, want);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        open_case(&w, i);
        run_mir(&w, i, chunks[c], got);
        ck_assert_mem_eq(want, got, bytes);
        same_worlds(&first, &w, "evaluator");
        world_close(&w);
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
            size_t arena;
            open_case(&w, i);
            rlx_ir_module *lir = lower(&w, i, &targets[t], &arena);
            memset(got, 0, bytes);
            run_lir(&w, i, chunks[c], lir, arena, got);
            ck_assert_mem_eq(want, got, bytes);
            same_worlds(&first, &w, "interpreter");
            rlx_ir_module_destroy(lir);
            world_close(&w);
        }
    }
    world_close(&first);
    free(want);
    free(got);
}
END_TEST

/* Team memory has room for what a step makes, or for what is made and the states, held: held they
 * would be by their size. */
START_TEST(states_that_do_not_fit_are_not_held)
{
    static const char text[] =
        "mir module @m {\n  func @main(%x: f32[T,32] input \"x\", %s: f32[128,32] input \"s\") -> "
        "(f32[T,32]) {\n"
        "%y, %n = recur %x, %s {extent=T, counts=[1,1], parallel=1, has=[1,1], kind=\"columns\"} : "
        "(f32[T,32], f32[128,32]) (%a: f32, %b: f32[128]) {\n"
        "%0 = map %b, %b {fn=mul} : f32[128]\n"
        "%1 = broadcast %0 {axes=[1]} : f32[2,128]\n"
        "%2 = reduce %1 {fn=add, axis=1, lanes=1} : f32[2]\n"
        "%3 = reduce %2 {fn=add, axis=0, lanes=1} : f32\n"
        "%4 = map %3, %a {fn=add} : f32\n"
        "yield %4, %b\n}\n"
        "return %y\n  }\n}\n";
    static const struct {
        int64_t team_bytes;
        bool held;
    } memory[] = {{16896, true}, {16384, false}};
    const rlx_lir_target target = {.unit = RLX_UNIT_CPU,
                                   .vector_f32 = 8,
                                   .vector_regs = 16,
                                   .team = 1,
                                   .threads = 1,
                                   .l1_bytes = 16384,
                                   .l2_bytes = 65536,
                                   .team_bytes = memory[_i].team_bytes};
    int64_t upper[RLX_MAX_SYMBOLS] = {TOKENS, TOKENS, TOKENS}, allocs = 0;
    world w;
    rlx_ir_module *mir, *lir;
    const rlx_attr *schedule = NULL;
    world_open(&w, text);
    assert_ok(rlx_ir_module_clone(w.module, &mir));
    assert_ok(rlx_mir_optimize(mir));
    assert_ok(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir));
    for (const rlx_ir_func *f = lir->first; f; f = f->next) {
        schedule = f->is_kernel ? rlx_ir_func_attr(f, RLX_ATTR_SCHEDULE) : schedule;
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            allocs += n->op == RLX_LIR_ALLOC;
    }
    ck_assert_str_eq(schedule->text, "columns");
    ck_assert_int_eq(allocs, memory[_i].held ? 3 : 2); /* the states, the squares, their two sums */
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recur");
    TCase *c = tcase_create("tokens");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, tokens_have_one_result, 0, NCASES);
    tcase_add_loop_test(c, states_that_do_not_fit_are_not_held, 0, 2);
    suite_add_tcase(s, c);
    return run_suite(s, NCASES + 2);
}
