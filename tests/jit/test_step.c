/* Steps in one launch (jit/llvm_step.c): lists of launches by several teams beside each other, with the bits of the same launches one by
 * one; what becomes of it when a meeting is missing; PTX, assembled by ptxas where that is on PATH. */
#include <stdio.h>
#include <string.h>

#include "jit/step.h"
#include "runtime/load_elf.h"
#include "tests/jit/matrix_kernels.h"
#include "tests/jit/ptxas.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

enum { TEAM = 8, ROWS = 11, WIDE = 16, BUFFERS = 5, MAX_LAUNCHES = 16, MAX_ARGS = 3, KERNELS = 3 };

/* Rows from elsewhere, so that a team needs others'; a sum through team memory. */
static const char text[] =
    "lir module @m {\n"
    " kernel @more(%x: global f32[ROWS,16], %y: global f32[ROWS,16]) {\n"
    "  %rows = extent {extent=ROWS} : i64\n"
    "  grid %rows (%t: i64) {\n"
    "   %z = const {ivalue=0} : i64\n   %one = const {value=1.25} : f32\n"
    "   %v = load %x, %t, %z {axes=[1]} : f32<16>\n   %w = map %v, %one {fn=mul} : f32<16>\n"
    "   store %y, %w, %t, %z {axes=[1]}\n   yield\n  }\n  return\n }\n"
    " kernel @turn(%x: global f32[ROWS,16], %y: global f32[ROWS,16]) {\n"
    "  %rows = extent {extent=ROWS} : i64\n"
    "  grid %rows (%t: i64) {\n"
    "   %z = const {ivalue=0} : i64\n   %one = const {ivalue=1} : i64\n"
    "   %last = map %rows, %one {fn=sub} : i64\n   %r = map %last, %t {fn=sub} : i64\n"
    "   %v = load %x, %r, %z {axes=[1]} : f32<16>\n   %s = reduce %v {fn=add} : f32\n"
    "   %w = map %v, %s {fn=add} : f32<16>\n"
    "   store %y, %w, %t, %z {axes=[1]}\n   yield\n  }\n  return\n }\n"
    " kernel @join(%x: global f32[ROWS,16], %u: global f32[ROWS,16], %y: global f32[ROWS,16]) {\n"
    "  %rows = extent {extent=ROWS} : i64\n"
    "  grid %rows (%t: i64) {\n"
    "   %z = const {ivalue=0} : i64\n   %one = const {ivalue=1} : i64\n"
    "   %last = map %rows, %one {fn=sub} : i64\n   %r = map %last, %t {fn=sub} : i64\n"
    "   %v = load %x, %r, %z {axes=[1]} : f32<16>\n   %w = load %u, %t, %z {axes=[1]} : f32<16>\n"
    "   %s = map %v, %w {fn=add} : f32<16>\n"
    "   store %y, %s, %t, %z {axes=[1]}\n   yield\n  }\n  return\n }\n}\n";

typedef struct launch {
    int kernel, buffers[MAX_ARGS];
    bool meets;
} launch;

/* The last of a phase reads what others of it wrote in the phases before, alone. */
static const launch list[] = {{0, {0, 1}, false},    {1, {0, 2}, false},   {1, {1, 3}, true},
                              {2, {2, 1, 4}, false}, {2, {3, 4, 0}, true}, {1, {0, 1}, true},
                              {0, {4, 2}, false},    {2, {1, 2, 3}, true}};
enum { NLAUNCHES = sizeof list / sizeof *list };

typedef struct table {
    rlx_step_head head;
    rlx_step_launch launches[MAX_LAUNCHES];
    void *addresses[MAX_LAUNCHES][MAX_ARGS];
} table;

static subject s;
static const rlx_ir_func *kernels[KERNELS];
static float data[BUFFERS][ROWS][WIDE];

static void fill(void)
{
    for (int b = 0; b < BUFFERS; b++)
        for (int i = 0; i < ROWS * WIDE; i++)
            data[b][i / WIDE][i % WIDE] = (float)((b * 131 + i * 37) % 97 - 48) * 0.25f;
}

/* All but meeting `without`, counted from 1. */
static void make_table(table *t, int teams, int without)
{
    int meeting = 0, met = 0;
    *t = (table){.head.nlaunches = NLAUNCHES};
    for (int i = 0; i < NLAUNCHES; i++) {
        const bool meets = list[i].meets && ++meeting != without;
        met += meets;
        t->launches[i] = (rlx_step_launch){.kernel = list[i].kernel,
                                           .meeting = meets ? met : 0,
                                           .turn = i * 5 % teams,
                                           .addresses = (int64_t)(intptr_t)t->addresses[i]};
        for (int a = 0; a < MAX_ARGS; a++)
            t->addresses[i][a] = data[list[i].buffers[a]];
    }
}

static void run_one_by_one(const rlx_jit_target *t)
{
    for (int i = 0; i < NLAUNCHES; i++) {
        loaded code = {0};
        void *buffers[MAX_ARGS];
        for (int a = 0; a < MAX_ARGS; a++)
            buffers[a] = data[list[i].buffers[a]];
        EXPECT_OK(loaded_create(kernels[list[i].kernel], t, &code));
        loaded_run_on(&code, buffers, s.symbols, 3);
        loaded_destroy(&code);
    }
}

static void load_step(const rlx_jit_target *t, loaded *out)
{
    uint8_t *code;
    size_t bytes;
    EXPECT_OK(rlx_jit_emit_step(kernels, KERNELS, t, &code, &bytes));
    const rlx_elf_object object = {RLX_PROGRAM_STEP, code, bytes};
    *out = (loaded){.invocations = t->team, .subgroup = t->subgroup};
    EXPECT_OK(rlx_elf_image_create(&object, 1, &out->image));
    *(void **)&out->run = rlx_elf_image_get(out->image, 0);
    free(code);
}

static void run_step(const loaded *code, table *t, int teams, loaded_order order)
{
    void *buffers[] = {t};
    fill();
    t->head.arrived = 0;
    loaded_run_together(code, buffers, s.symbols, teams, order);
}

START_TEST(lists_give_the_bits_of_launches)
{
    static float want[BUFFERS][ROWS][WIDE];
    const rlx_jit_target targets[] = {host_team_target(TEAM), host_subgroup_target(TEAM, 4)};
    static const int counts[] = {1, 2, 3, 6};
    for (size_t k = 0; k < sizeof targets / sizeof *targets; k++) {
        loaded code;
        table t;
        fill();
        run_one_by_one(&targets[k]);
        memcpy(want, data, sizeof want);
        load_step(&targets[k], &code);
        for (size_t i = 0; i < 3 * sizeof counts / sizeof *counts; i++) {
            make_table(&t, counts[i / 3], 0);
            run_step(&code, &t, counts[i / 3], (loaded_order)(i % 3));
            ck_assert_mem_eq(data, want, sizeof want);
            ck_assert_uint_eq(t.head.arrived, 4 * counts[i / 3]);
        }
        loaded_destroy(&code);
    }
}
END_TEST

/* Each is needed: in turns, who does not meet runs ahead. */
START_TEST(a_missing_meeting_is_seen)
{
    enum { TEAMS = 3, MEETINGS = 4 };
    static float want[BUFFERS][ROWS][WIDE];
    const rlx_jit_target target = host_team_target(TEAM);
    loaded code;
    table t;
    load_step(&target, &code);
    make_table(&t, TEAMS, 0);
    run_step(&code, &t, TEAMS, LOADED_DOWN);
    memcpy(want, data, sizeof want);
    for (int without = 1; without <= MEETINGS; without++) {
        make_table(&t, TEAMS, without);
        run_step(&code, &t, TEAMS, LOADED_DOWN);
        ck_assert_msg(memcmp(data, want, sizeof want) != 0, "meeting %d is not missed", without);
    }
    loaded_destroy(&code);
}
END_TEST

/* The third meeting waits for as many as come to a fourth: nobody goes on, and it ends all the same. */
START_TEST(teams_that_wait_for_ever_are_told_of)
{
    enum { TEAMS = 3 };
    const rlx_jit_target target = host_team_target(TEAM);
    char wrong[LOADED_WRONG];
    loaded code;
    table t;
    void *buffers[] = {&t};
    load_step(&target, &code);
    for (int order = LOADED_DOWN; order <= LOADED_UP; order++) {
        make_table(&t, TEAMS, 0);
        t.launches[5].meeting++;
        ck_assert(
            !loaded_try_together(&code, buffers, s.symbols, TEAMS, (loaded_order)order, wrong));
        ck_assert_str_eq(wrong, "all teams wait");
    }
    loaded_destroy(&code);
}
END_TEST

/* As threads come, over and over: what turns hide. */
START_TEST(many_steps_as_threads_come)
{
    enum { TEAMS = 4, TIMES = 20 };
    static float want[BUFFERS][ROWS][WIDE];
    const rlx_jit_target target = host_team_target(TEAM);
    loaded code;
    table t;
    fill();
    run_one_by_one(&target);
    memcpy(want, data, sizeof want);
    load_step(&target, &code);
    make_table(&t, TEAMS, 0);
    for (int i = 0; i < TIMES; i++) {
        run_step(&code, &t, TEAMS, LOADED_AS_THEY_COME);
        ck_assert_mem_eq(data, want, sizeof want);
    }
    loaded_destroy(&code);
}
END_TEST

START_TEST(ptx_is_assembled)
{
    static const char *const processors[] = {"sm_75", "sm_80", "sm_90", "sm_90a"};
    for (size_t i = 0; i < sizeof processors / sizeof *processors; i++) {
        const rlx_jit_target t = {
            .kind = RLX_JIT_NVPTX, .processor = processors[i], .step = RLX_JIT_STEP_KERNEL};
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_step(kernels, KERNELS, &t, &ptx, &bytes));
        const char *code = (const char *)ptx;
        ck_assert_ptr_nonnull(strstr(code, ".visible .entry " RLX_PROGRAM_STEP "("));
        ck_assert_ptr_nonnull(strstr(code, "fence.acq_rel.gpu"));
        ck_assert_ptr_nonnull(strstr(code, "ld.acquire.gpu"));
        ck_assert_ptr_null(strstr(code, "ld.global.nc")); /* which no fence orders */
        if (have_ptxas())
            ck_assert_int_eq(ptxas_assemble(RLX_PROGRAM_STEP, code, bytes, t.processor).spills, 0);
        free(ptx);
    }
}
END_TEST

/* A kernel with a barrier is called where all invocations are: LLVM is told so, and moves no call to where some are. */
START_TEST(kernels_are_called_together)
{
    const rlx_jit_target t = {
        .kind = RLX_JIT_NVPTX, .processor = "sm_80", .step = RLX_JIT_STEP_KERNEL};
    rlx_text ir = {0};
    EXPECT_OK(rlx_jit_print_module(s.module, &t, RLX_JIT_LLVM, &ir));
    const char *turn = strstr(ir.data, "define internal void @turn(");
    ck_assert_ptr_nonnull(turn);
    const char *end = strchr(turn, '\n'), *group = strchr(turn, '#');
    ck_assert(group && group < end);
    char attributes[32];
    snprintf(attributes, sizeof attributes, "attributes #%d = { convergent", atoi(group + 1));
    ck_assert_ptr_nonnull(strstr(end, attributes));
    rlx_text_deinit(&ir);
}
END_TEST

/* Products by matrix units in functions that a step calls: with rows of tokens from the step's memory. */
START_TEST(products_are_assembled)
{
    static const matrix_kernel products[] = {{64, 64, 128, 2048, 2048, "q4_k", false, false, 0},
                                             {32, 64, 128, 2048, 2048, "q8_0", false, false, 0},
                                             {16, 64, 128, 2048, 2048, "q6_k", false, false, 0}};
    static const char *const processors[] = {"sm_80", "sm_90a"};
    enum { PRODUCTS = sizeof products / sizeof *products };
    const rlx_ir_func *of[PRODUCTS];
    subject m;
    int n = 0;
    matrix_kernels_parse(&m, products, PRODUCTS);
    for (const rlx_ir_func *k = m.module->first; k; k = k->next)
        of[n++] = k;
    for (int i = 0; i < 2; i++) {
        const rlx_jit_target t = {
            .kind = RLX_JIT_NVPTX, .processor = processors[i], .step = RLX_JIT_STEP_KERNEL};
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_step(of, PRODUCTS, &t, &ptx, &bytes));
        const char *code = (const char *)ptx;
        ck_assert_ptr_nonnull(strstr(code, "\tmma.sync")); /* wgmma would be serialized by calls */
        if (have_ptxas())
            ck_assert_int_eq(ptxas_assemble(RLX_PROGRAM_STEP, code, bytes, t.processor).spills, 0);
        free(ptx);
    }
    subject_destroy(&m);
}
END_TEST

/* The register of the first multiplication's descriptor is made of an address, and no number. */
static void check_descriptor(const char *ptx)
{
    char number[48];
    const char *end = strstr(strstr(ptx, "wgmma.mma_async"), ", adds;"), *name = end;
    while (*name != ' ')
        name--;
    snprintf(number, sizeof number, "\tmov.u64 \t%.*s, ", (int)(end - name - 1), name + 1);
    ck_assert_msg(!strstr(ptx, number), "a descriptor is the same wherever team memory is");
}

/* Where a step is chosen after its kernels are, these have products by wgmma, whose tokens lie where their address is, as in a
 * kernel of its own. */
START_TEST(tokens_have_addresses)
{
    static const matrix_kernel prompt = {64, 64, 128, 2048, 2048, "q4_k", false, false, 0};
    const rlx_jit_target t = {
        .kind = RLX_JIT_NVPTX, .processor = "sm_90a", .step = RLX_JIT_STEP_AUTO};
    const rlx_ir_func *called[1];
    subject m;
    uint8_t *ptx;
    size_t bytes;
    matrix_kernels_parse(&m, &prompt, 1);
    called[0] = m.module->first;
    EXPECT_OK(rlx_jit_emit_step(called, 1, &t, &ptx, &bytes));
    ck_assert_ptr_nonnull(strstr((const char *)ptx, "wgmma.mma_async"));
    check_descriptor((const char *)ptx);
    free(ptx);
    subject_destroy(&m);
}
END_TEST

START_TEST(others_have_none)
{
    uint8_t *code;
    size_t bytes;
    rlx_jit_target t = {.kind = RLX_JIT_AMDGPU, .processor = "gfx942"};
    EXPECT_ERROR(rlx_jit_emit_step(kernels, KERNELS, &t, &code, &bytes), RLX_UNSUPPORTED,
                 "the AMDGPU emitter makes no step in one launch");
    EXPECT_ERROR(rlx_jit_target_named("hip:gfx942,step=kernel", &t), RLX_UNSUPPORTED,
                 "steps in one launch are made for NVIDIA GPUs");
    EXPECT_ERROR(rlx_jit_target_named("cuda:sm_80,step=both", &t), RLX_INVALID_ARGUMENT,
                 "expected step=graph, kernel or auto");
    EXPECT_OK(rlx_jit_target_named("hip:gfx942,step=graph", &t));
    ck_assert_int_eq(t.step, RLX_JIT_STEP_GRAPH);
    EXPECT_OK(rlx_jit_target_named("cuda:sm_90a,step=auto", &t));
    ck_assert_int_eq(t.step, RLX_JIT_STEP_AUTO);
    ck_assert_str_eq(t.processor, "sm_90a");
}
END_TEST

/* Launches of functions that are called several times count as often. */
START_TEST(numbers_of_a_plan)
{
    rlx_program_kernel k[] = {{.cost = {RLX_NO_SYMBOL, {1000, 1000}, {10, 10}}},
                              {.cost = {RLX_NO_SYMBOL, {50000000, 50000000}, {10, 10}}}};
    rlx_program_op ops[] = {{.kind = RLX_OP_LAUNCH},
                            {.kind = RLX_OP_LAUNCH},
                            {.kind = RLX_OP_CALL, .target = 0, .count = 30},
                            {.kind = RLX_OP_LAUNCH, .target = 1}};
    rlx_program_func funcs[] = {{.first_op = 0, .nops = 2}, {.first_op = 2, .nops = 2}};
    const rlx_program p = {
        .kernels = k, .nkernels = 2, .ops = ops, .nops = 4, .funcs = funcs, .nfuncs = 2};
    rlx_jit_step_numbers n;
    rlx_jit_step_count(&p, &n);
    ck_assert_int_eq(n.launches, 61);
    ck_assert_double_eq(n.bytes, 60 * 1000 + 50000000);
    ck_assert(rlx_jit_step_is_wanted(&p, RLX_JIT_STEP_AUTO));
    ck_assert(!rlx_jit_step_is_wanted(&p, RLX_JIT_STEP_GRAPH));
    ops[2].count = 2;
    ck_assert(!rlx_jit_step_is_wanted(&p, RLX_JIT_STEP_AUTO));
    ck_assert(rlx_jit_step_is_wanted(&p, RLX_JIT_STEP_KERNEL));
}
END_TEST

/* Where prompts multiply by a unit, and only what nobody has said. */
START_TEST(prompts_by_units_are_launches)
{
    static const struct {
        const char *name;
        rlx_jit_step step;
    } targets[] = {{"cuda:sm_75,step=auto", RLX_JIT_STEP_AUTO},
                   {"cuda:sm_80,step=auto", RLX_JIT_STEP_GRAPH},
                   {"cuda:sm_90,step=auto", RLX_JIT_STEP_GRAPH},
                   {"cuda:sm_90a,step=auto", RLX_JIT_STEP_GRAPH},
                   {"cuda:sm_90a,step=kernel", RLX_JIT_STEP_KERNEL},
                   {"cuda:sm_90a", RLX_JIT_STEP_GRAPH}};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        rlx_jit_target t;
        EXPECT_OK(rlx_jit_target_named(targets[i].name, &t));
        rlx_jit_step_settle(&t);
        ck_assert_msg(t.step == targets[i].step, "%s: %s", targets[i].name,
                      rlx_jit_step_name(t.step));
    }
}
END_TEST

int main(void)
{
    EXPECT_OK(subject_parse(&s, "step", text));
    if (!subject_bind(&s, "ROWS=11"))
        return EXIT_FAILURE;
    int n = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next)
        kernels[n++] = k;
    Suite *suite = suite_create("jit step");
    SUITE_TEST(suite, "lists_give_the_bits_of_launches", lists_give_the_bits_of_launches);
    SUITE_TEST(suite, "a_missing_meeting_is_seen", a_missing_meeting_is_seen);
    SUITE_TEST(suite, "teams_that_wait_for_ever_are_told_of", teams_that_wait_for_ever_are_told_of);
    SUITE_TEST(suite, "many_steps_as_threads_come", many_steps_as_threads_come);
    SUITE_TEST(suite, "ptx_is_assembled", ptx_is_assembled);
    SUITE_TEST(suite, "kernels_are_called_together", kernels_are_called_together);
    SUITE_TEST(suite, "products_are_assembled", products_are_assembled);
    SUITE_TEST(suite, "tokens_have_addresses", tokens_have_addresses);
    SUITE_TEST(suite, "others_have_none", others_have_none);
    SUITE_TEST(suite, "numbers_of_a_plan", numbers_of_a_plan);
    SUITE_TEST(suite, "prompts_by_units_are_launches", prompts_by_units_are_launches);
    const int code = suite_run(suite, 11);
    subject_destroy(&s);
    return code;
}
