/* Compiling whole programs: the tape as data, equal bytes from any number of threads, and the entry
 * run by the runtime; and every way in which compiling fails. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "jit/kernel_info.h"
#include "jit/module.h"
#include "jit/shared.h"
#include "runtime/cpu.h"
#include "runtime/runtime.h"
#include "tests/jit/subject.h"
#include "tests/leaks.h"
#include "tests/runtime/suite.h"

enum { WIDTH = 24, LAYERS = 3, UPPER = 64 };

static const char *const output_names[] = {"y", "n"};
static const int64_t upper[RLX_MAX_SYMBOLS] = {UPPER};

static rlx_jit_options options_of(int threads)
{
    return (rlx_jit_options){.threads = threads,
                             .entry = "main",
                             .output_names = output_names,
                             .upper = upper,
                             .provenance = "test_compile"};
}

static void parse_program(subject *s, bool plan)
{
    static const char path[] = RLX_SOURCE_DIR "/tests/jit/program.rlx";
    char *text;
    size_t bytes;
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(s, path, text));
    free(text);
    rlx_lir_plan_options options = {.upper = upper};
    rlx_pass_options pass_options = {.options = &options};
    if (plan)
        EXPECT_OK(rlx_ir_run_passes(s->module, &rlx_lir_pass_plan_memory, 1, &pass_options));
}

static void compile_program(rlx_text *entry, int threads, rlx_jit_stats *stats)
{
    subject s;
    rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_jit_options o = options_of(threads);
    parse_program(&s, true);
    EXPECT_OK(rlx_jit_compile(s.module, &t, &o, entry, stats));
    subject_destroy(&s);
}

/* ---- the tape ---- */

START_TEST(tape)
{
    rlx_text entry = {0};
    rlx_jit_stats stats;
    rlx_program *p;
    compile_program(&entry, 2, &stats);
    ck_assert_int_eq(stats.kernels, 3); /* @unused is not reached */
    ck_assert(stats.seconds > 0 && stats.cpu_seconds > 0 && stats.code_bytes > 0);
    EXPECT_OK(rlx_program_decode(entry.data, entry.len, &p));
    ck_assert_int_eq(p->nkernels, 3);
    ck_assert_int_eq(p->nfuncs, 2);
    ck_assert_str_eq(p->funcs[0].name, "layer"); /* callees first, the entry last */
    ck_assert_str_eq(p->funcs[1].name, "main");
    ck_assert_int_eq(p->funcs[0].nparams, 2);
    ck_assert_int_eq(p->funcs[0].nout, 1);
    ck_assert_int_eq(p->nbound, 3); /* layers.{}.w, x, layers.0.w */
    ck_assert_int_eq(p->noutputs, 2);
    ck_assert_int_eq(p->outputs[0].offset % 64, 0);
    ck_assert_int_ge(p->outputs[0].offset, p->funcs[1].frame_bytes);
    ck_assert_int_ge(p->arena_bytes, p->outputs[1].offset + UPPER * 8);
    ck_assert_str_eq(p->target, "x86-64-v3");
    ck_assert_int_eq(p->code_kind, RLX_CODE_X86_64_ELF);

    const rlx_program_op *layer = &p->ops[p->funcs[0].first_op];
    ck_assert_int_ne(layer[0].phase, layer[1].phase);
    ck_assert_int_eq(p->args[layer[0].first_arg].kind, RLX_ARG_PARAM);
    ck_assert_int_eq(p->args[layer[0].first_arg + 1].kind, RLX_ARG_SYMBOL);
    ck_assert_int_eq(p->args[layer[0].first_arg + 2].kind, RLX_ARG_FRAME);
    ck_assert_int_eq(p->args[layer[1].first_arg + 2].index, 1); /* OUT after the VALUE */

    const rlx_program_op *op = &p->ops[p->funcs[1].first_op];
    ck_assert_int_eq(p->funcs[1].nops, 4);
    ck_assert_int_eq(op[0].phase, op[1].phase);
    ck_assert_int_ne(op[1].phase, op[2].phase);
    ck_assert_int_ne(op[2].phase, op[3].phase);
    ck_assert_int_eq(op[2].kind, RLX_OP_CALL);
    ck_assert_int_eq(op[2].nargs, 3);
    ck_assert_int_eq(op[2].nout, 1);
    ck_assert_int_eq(op[2].first, 1);
    ck_assert_int_eq(op[2].count, LAYERS);
    ck_assert_int_ge(op[2].frame, 0);
    rlx_program_destroy(p);
    rlx_text_deinit(&entry);
}
END_TEST

START_TEST(threads_do_not_matter)
{
    rlx_text first = {0};
    compile_program(&first, 1, NULL);
    for (int threads = 0; threads <= 5; threads += threads ? 2 : 3) {
        rlx_text again = {0};
        compile_program(&again, threads, NULL);
        ck_assert_uint_eq(first.len, again.len);
        ck_assert_mem_eq(first.data, again.data, first.len);
        rlx_text_deinit(&again);
    }
    rlx_text_deinit(&first);
}
END_TEST

/* ---- programs that are compiled at the same time ---- */

static void *wait_for_it(void *key)
{
    rlx_text code = {0};
    const bool copied = rlx_jit_shared_claim(key, true, &code) == RLX_JIT_COPY && code.len == 4;
    rlx_text_deinit(&code);
    return copied ? key : NULL;
}

START_TEST(kernels_are_shared)
{
    rlx_hash key = rlx_hash_bytes("key", 3), other = rlx_hash_bytes("other", 5);
    rlx_text code = {0}, copy = {0};
    pthread_t thread;
    void *copied;
    rlx_text_put(&code, "code");
    rlx_jit_sharer first, second;
    rlx_jit_shared_enter(&first);
    ck_assert_int_eq(rlx_jit_shared_claim(&key, false, &copy), RLX_JIT_MINE);
    ck_assert_int_eq(rlx_jit_shared_claim(&other, false, &copy), RLX_JIT_MINE);
    ck_assert_int_eq(rlx_jit_shared_claim(&key, false, &copy), RLX_JIT_BUSY);
    rlx_jit_shared_give(&key, NULL); /* it failed: the next one's turn */
    ck_assert_int_eq(rlx_jit_shared_claim(&key, false, &copy), RLX_JIT_MINE);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, &key), 0);
    rlx_jit_shared_give(&key, &code);
    ck_assert_int_eq(pthread_join(thread, &copied), 0);
    ck_assert_ptr_nonnull(copied);
    ck_assert_int_eq(rlx_jit_shared_claim(&key, false, &copy), RLX_JIT_COPY);
    ck_assert_str_eq(copy.data, "code");
    rlx_jit_shared_give(&other, NULL);
    rlx_jit_shared_enter(&second);
    ck_assert_int_eq(rlx_jit_shared_claim(&key, false, &copy), RLX_JIT_COPY);
    ck_assert_int_eq(rlx_jit_shared_claim(&other, false, &copy), RLX_JIT_MINE);
    rlx_jit_shared_give(&other, &code);
    rlx_jit_shared_leave(&first); /* who came later does not keep what was there */
    ck_assert_int_eq(rlx_jit_shared_claim(&key, false, &copy), RLX_JIT_MINE);
    rlx_jit_shared_give(&key, NULL);
    ck_assert_int_eq(rlx_jit_shared_claim(&other, false, &copy), RLX_JIT_COPY);
    rlx_jit_shared_leave(&second); /* nobody compiles: nothing is kept */
    rlx_jit_shared_enter(&first);
    ck_assert_int_eq(rlx_jit_shared_claim(&other, false, &copy), RLX_JIT_MINE);
    rlx_jit_shared_give(&other, NULL);
    rlx_jit_shared_leave(&first);
    rlx_text_deinit(&code);
    rlx_text_deinit(&copy);
}
END_TEST

/* A program of one kernel, whose text is the same whichever symbol comes first. */
static void parse_ordered(subject *s, const char *first, const char *second)
{
    char text[1024];
    snprintf(text, sizeof text,
             "lir module @m {\n kernel @symbols(%%x: global f32[%s,%s]) {\n  return\n }\n"
             " kernel @k(%%x: global f32[ROWS,COLUMNS]) {\n"
             "  %%rows = extent {extent=ROWS} : i64\n  grid %%rows (%%r: i64) {\n"
             "   %%zero = const {ivalue=0} : i64\n   %%v = const {value=1} : f32\n"
             "   store %%x, %%v, %%r, %%zero {axes=[]}\n   yield\n  }\n  return\n }\n"
             " func @main(%%x: global f32[ROWS,COLUMNS] out) {\n"
             "  launch %%x {callee=@k, phase=0}\n  return\n }\n}\n",
             first, second);
    EXPECT_OK(subject_parse(s, "ordered", text));
}

enum { NARROW, WIDE, ROWS_FIRST, COLUMNS_FIRST, NEIGHBOURS, NEIGHBOURS_KERNELS = 3 + 3 + 1 + 1 };

typedef struct neighbour {
    int which;
    rlx_text entry;
    rlx_jit_stats stats;
} neighbour;

static void *compile_neighbour(void *user)
{
    static const int64_t uppers[RLX_MAX_SYMBOLS] = {UPPER, UPPER};
    neighbour *n = user;
    subject s;
    rlx_jit_target t = cpu_named(n->which == WIDE ? "x86-64-v4" : "x86-64-v3");
    rlx_jit_options o = options_of(2);
    o.upper = uppers;
    if (n->which == ROWS_FIRST)
        parse_ordered(&s, "ROWS", "COLUMNS");
    else if (n->which == COLUMNS_FIRST)
        parse_ordered(&s, "COLUMNS", "ROWS");
    else
        parse_program(&s, true);
    EXPECT_OK(rlx_jit_compile(s.module, &t, &o, &n->entry, &n->stats));
    subject_destroy(&s);
    return NULL;
}

/* Two of each: every kernel is compiled once and copied once, since this test keeps them all. */
START_TEST(neighbours_do_not_matter)
{
    neighbour alone[NEIGHBOURS] = {{0}}, beside[2 * NEIGHBOURS] = {{0}};
    pthread_t thread[2 * NEIGHBOURS];
    rlx_jit_sharer keeps;
    int copied = 0;
    for (int i = 0; i < NEIGHBOURS; i++) {
        alone[i].which = i;
        compile_neighbour(&alone[i]);
        ck_assert_int_eq(alone[i].stats.copied, 0);
    }
    rlx_jit_shared_enter(&keeps);
    for (int i = 0; i < 2 * NEIGHBOURS; i++) {
        beside[i].which = i % NEIGHBOURS;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, compile_neighbour, &beside[i]), 0);
    }
    for (int i = 0; i < 2 * NEIGHBOURS; i++) /* all, since they write to this stack */
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 2 * NEIGHBOURS; i++) {
        const rlx_text *want = &alone[i % NEIGHBOURS].entry;
        ck_assert_uint_eq(beside[i].entry.len, want->len);
        ck_assert_mem_eq(beside[i].entry.data, want->data, want->len);
        copied += beside[i].stats.copied;
        rlx_text_deinit(&beside[i].entry);
    }
    rlx_jit_shared_leave(&keeps);
    ck_assert_int_eq(copied, NEIGHBOURS_KERNELS);
    for (int i = 0; i < NEIGHBOURS; i++)
        rlx_text_deinit(&alone[i].entry);
}
END_TEST

/* With a step in one launch or without, kernels are the same. */
START_TEST(steps_share_kernels)
{
    static const struct {
        const char *name;
        bool shared;
    } gpus[] = {{"cuda:sm_80", true},
                {"cuda:sm_90a", false}}; /* whose step has another matrix unit */
    rlx_jit_sharer keeps;
    rlx_jit_target t;
    const rlx_jit_options o = options_of(1);
    EXPECT_OK(rlx_jit_target_named(gpus[_i].name, &t));
    rlx_jit_shared_enter(&keeps);
    for (int step = RLX_JIT_STEP_GRAPH; step <= RLX_JIT_STEP_KERNEL; step++) {
        subject s;
        rlx_text entry = {0};
        rlx_jit_stats stats;
        parse_program(&s, true);
        t.step = (rlx_jit_step)step;
        EXPECT_OK(rlx_jit_compile(s.module, &t, &o, &entry, &stats));
        ck_assert_int_eq(stats.step, step == RLX_JIT_STEP_KERNEL);
        ck_assert_int_eq(stats.copied, step == RLX_JIT_STEP_KERNEL && gpus[_i].shared ? 3 : 0);
        rlx_text_deinit(&entry);
        subject_destroy(&s);
    }
    rlx_jit_shared_leave(&keeps);
}
END_TEST

/* ---- running it ---- */

static float weight_at(int layer, int i)
{
    return 0.5f + 0.01f * (float)(layer * WIDTH + i);
}

static float expected(float x, int column)
{
    float e = x * weight_at(0, column), h = e;
    for (int l = 1; l <= LAYERS; l++) {
        float t = h * weight_at(l, column); /* apart: two kernels round twice */
        h = t + h;
    }
    return h + e;
}

static void check_step(rlx_session *session, rlx_executable *exe, int64_t tokens)
{
    static float x[UPPER][WIDTH];
    for (int64_t t = 0; t < tokens; t++)
        for (int i = 0; i < WIDTH; i++)
            x[t][i] = (float)(t - 3) * 0.25f + (float)i;
    rlx_step_input input = {.name = "x", .data = x, .bytes = sizeof x[0] * (size_t)tokens};
    rlx_step step = {.tokens = tokens, .inputs = &input, .ninputs = 1};
    rlx_tensor y;
    EXPECT_OK(rlx_session_step(session, exe, &step));
    EXPECT_OK(rlx_session_output(session, "y", &y));
    ck_assert_int_eq(y.dim[0], tokens);
    const float *got = y.data;
    for (int64_t t = 0; t < tokens; t++)
        for (int i = 0; i < WIDTH; i++)
            ck_assert_msg(got[t * WIDTH + i] == expected(x[t][i], i), "token %d, %d: %g, not %g",
                          (int)t, i, (double)got[t * WIDTH + i], (double)expected(x[t][i], i));
}

START_TEST(runs)
{
    static float w[LAYERS + 1][WIDTH];
    rlx_text entry = {0};
    rlx_weights *weights;
    rlx_executable *exe;
    rlx_team *team;
    rlx_session *session;
    compile_program(&entry, 0, NULL);
    EXPECT_OK(rlx_weights_create(&weights));
    for (int l = 0; l <= LAYERS; l++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%d.w", l);
        for (int i = 0; i < WIDTH; i++)
            w[l][i] = weight_at(l, i);
        rlx_tensor t = {.name = name,
                        .format = RLX_F32,
                        .rank = 1,
                        .dim = {WIDTH},
                        .data = w[l],
                        .bytes = sizeof w[l]};
        EXPECT_OK(rlx_weights_add(weights, &t));
    }
    EXPECT_OK(rlx_executable_create(entry.data, entry.len, weights, &exe));
    EXPECT_OK(rlx_team_create(3, &team));
    EXPECT_OK(rlx_session_create_on(team, &(rlx_session_options){0}, &session));
    check_step(session, exe, 1);
    check_step(session, exe, 17);
    check_step(session, exe, UPPER);
    rlx_session_destroy(session);
    rlx_team_destroy(team);
    rlx_executable_destroy(exe);
    rlx_weights_destroy(weights);
    rlx_text_deinit(&entry);
}
END_TEST

/* ---- what fails ---- */

START_TEST(bad_modules)
{
    subject s;
    rlx_text entry = {0};
    rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_jit_options o = options_of(1);
    parse_program(&s, false);
    EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_INVALID_IR, "not planned");
    subject_destroy(&s);

    parse_program(&s, true);
    o.entry = "elsewhere";
    EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_NOT_FOUND, "@elsewhere");
    o.entry = "layer";
    EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_INVALID_IR,
                 "takes an operand");
    o.entry = "scale"; /* a kernel */
    EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_NOT_FOUND, "@scale");
    o.entry = "main";
    t.team = 32;
    EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_UNSUPPORTED, "one thread");
    subject_destroy(&s);
    rlx_text_deinit(&entry);
}
END_TEST

/* More axes than a tensor has that users hand over. */
START_TEST(seven_axes)
{
    static const char wide[] =
        "lir module @m {\n func @main(%x: global f32[2,1,1,1,1,1,1] out) {\n  return\n }\n}\n";
    subject s;
    rlx_text entry = {0};
    rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_jit_options o = options_of(1);
    EXPECT_OK(subject_parse(&s, "wide", wide));
    EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_UNSUPPORTED,
                 "\"y\" has rank 7, and tensors of programs 6 at most");
    subject_destroy(&s);
    rlx_text_deinit(&entry);
}
END_TEST

/* Outputs that nobody could hold, one of them of more bytes than can be counted. */
START_TEST(large_outputs)
{
    static const char *const dims[] = {"TOKENS,70368744177664", "TOKENS,TOKENS,70368744177664"};
    for (int i = 0; i < 2; i++) {
        char text[128];
        subject s;
        rlx_text entry = {0};
        rlx_jit_target t = cpu_named("x86-64-v3");
        rlx_jit_options o = options_of(1);
        snprintf(text, sizeof text,
                 "lir module @m {\n func @main(%%x: global f32[%s] out) {\n  return\n }\n}\n",
                 dims[i]);
        EXPECT_OK(subject_parse(&s, "large", text));
        EXPECT_ERROR(rlx_jit_compile(s.module, &t, &o, &entry, NULL), RLX_UNSUPPORTED,
                     "the output \"y\" is too large for the bucket");
        subject_destroy(&s);
        rlx_text_deinit(&entry);
    }
}
END_TEST

/* A kernel that applies one op to a tile x of `format`, as text. */
static rlx_status compile_op(const char *format, const char *op, const rlx_jit_target *t)
{
    char text[1024];
    snprintf(
        text, sizeof text,
        "lir module @m {\n kernel @k(%%x: global %s[1024]) {\n  %%one = const {ivalue=1} : i64\n"
        "  grid %%one (%%g: i64) {\n   %%v = load %%x, %%g {axes=[0]} : %s<16>\n   %s\n   yield\n"
        "  }\n  return\n }\n}\n",
        format, format, op);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m;
    uint8_t *code = NULL;
    size_t bytes;
    EXPECT_OK(rlx_ir_parse(&rlx_lir_level, dims, "op", text, &m));
    EXPECT_OK(rlx_ir_verify(m));
    rlx_status st = rlx_jit_emit_kernel(m->first, t, &code, &bytes);
    free(code);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
    return st;
}

START_TEST(unsupported_ops)
{
    rlx_jit_target t = cpu_named("x86-64-v3");
    EXPECT_OK(compile_op("f32", "%w = map %v {fn=neg} : f32<16>", &t));
    EXPECT_ERROR(compile_op("f32", "%w = map %v {fn=exp} : f32<16>  // layers.3.mlp", &t),
                 RLX_UNSUPPORTED,
                 "cannot emit `map` in kernel @k at layers.3.mlp: exp was not expanded");
    EXPECT_ERROR(compile_op("f32", "%w = map %v {fn=rsqrt} : f32<16>", &t), RLX_UNSUPPORTED,
                 "rsqrt was not expanded");
    EXPECT_ERROR(compile_op("f16", "%w = map %v, %v, %v {fn=fma} : f16<16>", &t), RLX_UNSUPPORTED,
                 "fma on f16");
    EXPECT_ERROR(compile_op("f64", "%w = cast %v : f16<16>", &t), RLX_UNSUPPORTED, "f64 to f16");
    EXPECT_ERROR(compile_op("i64", "%w = cast %v : bf16<16>", &t), RLX_UNSUPPORTED, "i64 to bf16");
    EXPECT_ERROR(compile_op("f32",
                            "%w = const {value=0} : f32<1024x1024>\n %u = map %w, %w {fn=add} : "
                            "f32<1024x1024>",
                            &t),
                 RLX_UNSUPPORTED, "unrolls to");
}
END_TEST

START_TEST(bad_targets)
{
    rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_12"};
    EXPECT_ERROR(compile_op("f32", "", &t), RLX_UNSUPPORTED, "sm_12");
    t.processor = "sm_80";
    t.team = 64;
    EXPECT_OK(compile_op("f32", "", &t));
    EXPECT_ERROR(compile_op("f32",
                            "%w = const {value=0} : f32<200x128>\n %u = reduce %w {fn=add} : "
                            "f32<200>",
                            &t),
                 RLX_UNSUPPORTED, "of team memory");
    t = (rlx_jit_target){.kind = RLX_JIT_AARCH64, .processor = "neoverse-v9"};
    EXPECT_ERROR(compile_op("f32", "", &t), RLX_UNSUPPORTED, "neoverse-v9");
    t.processor = "generic";
    EXPECT_OK(compile_op("f32", "", &t));
    t.kind = RLX_JIT_SPIRV;
    rlx_status st = compile_op("f32", "%w = map %v {fn=exp} : f32<16>", &t);
    ck_assert_int_eq(rlx_status_code(st), RLX_UNSUPPORTED);
    rlx_status_free(st);
}
END_TEST

/* LLVM's failures, by processors that rlx never asks for. Each must leave the worker usable. */
START_TEST(llvm_failures)
{
    static const struct {
        const char *cpu, *features, *message;
    } cases[] = {{"x86-64", "", "calls fmaf, which the loader does not offer"},
                 {"x86-64", "-sse", "SSE register return with SSE disabled"}, /* a diagnostic */
                 {"x86-64", "-64bit", "64-bit code requested"}};              /* fatal */
    const rlx_llvm_module *m;
    subject s;
    EXPECT_OK(rlx_jit_module_open(&m));
    EXPECT_OK(subject_parse(&s, "fma",
                            "lir module @m {\n kernel @k(%x: global f32[16]) {\n"
                            "  %one = const {ivalue=1} : i64\n  grid %one (%g: i64) {\n"
                            "   %v = load %x, %g {axes=[]} : f32\n"
                            "   %w = map %v, %v, %v {fn=fma} : f32\n"
                            "   store %x, %w, %g {axes=[]}\n   yield\n  }\n  return\n }\n}\n"));
    __lsan_disable();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rlx_llvm_target t = {
            .kind = RLX_JIT_CPU, .cpu = cases[i].cpu, .features = cases[i].features, .team = 1};
        rlx_llvm *worker;
        rlx_text out = {0};
        EXPECT_OK(m->create(&t, &worker));
        for (int k = 0; k < 3; k++)
            EXPECT_ERROR(
                m->emit(worker, s.module->first, RLX_LLVM_CODE, NULL, RLX_LLVM_KERNEL, &out),
                RLX_UNSUPPORTED, cases[i].message);
        EXPECT_OK(m->emit(worker, s.module->first, RLX_LLVM_IR, NULL, RLX_LLVM_KERNEL, &out));
        m->destroy(worker);
        rlx_text_deinit(&out);
    }
    __lsan_enable();
    subject_destroy(&s);
}
END_TEST

/* ---- text and targets ---- */

START_TEST(text)
{
    subject s;
    rlx_text out = {0};
    rlx_jit_target t = cpu_named("x86-64-v3");
    parse_program(&s, false);
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_LLVM, &out));
    ck_assert_ptr_nonnull(strstr(out.data, "define void @scale(ptr"));
    ck_assert_ptr_nonnull(strstr(out.data, "fmul <16 x float>"));
    rlx_text_clear(&out);
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
    ck_assert_ptr_nonnull(strstr(out.data, "vmulps"));
    ck_assert_ptr_null(strstr(out.data, "zmm"));
    EXPECT_OK(rlx_cpu_parse("x86-64-v4", false, &t.features));
    rlx_text_clear(&out);
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
    ck_assert_ptr_nonnull(strstr(out.data, "zmm"));
    rlx_text_deinit(&out);
    subject_destroy(&s);
}
END_TEST

/* The register that an instruction writes: what follows its last comma. */
static void destination_of(const char *line, size_t bytes, char out[8])
{
    const char *end = line + bytes, *at = end;
    while (at > line && at[-1] != ',')
        at--;
    snprintf(out, 8, "%.*s", (int)(end - at), at);
}

/* Exponentials of four registers go side by side: the steps of a polynomial, one multiply-add each,
 * do not write the register that the one in front wrote, for which they would wait. */
START_TEST(exponentials_go_side_by_side)
{
    static const char module[] =
        "lir module @m {\n  kernel @exp(%x: global f32[2,16], %y: global f32[2,16]) {\n"
        "    %one = const {ivalue=1} : i64\n    grid %one (%g: i64) {\n"
        "      %a = load %x, %g, %g {axes=[0,1]} : f32<2x16>\n"
        "      %b = map %a {fn=exp} : f32<2x16>\n      store %y, %b, %g, %g {axes=[0,1]}\n"
        "      yield\n    }\n    return\n  }\n}\n";
    rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_text out = {0};
    subject s;
    char before[8] = "", now[8];
    int steps = 0, waits = 0;
    EXPECT_OK(subject_parse(&s, "side by side", module));
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
    for (const char *at = out.data; (at = strstr(at, "\tvfmadd")); at++) {
        destination_of(at, strcspn(at, "\n"), now);
        waits += strcmp(before, now) == 0;
        steps++;
        memcpy(before, now, sizeof before);
    }
    ck_assert_int_eq(steps, 4 * 8);
    ck_assert_int_eq(waits, 0);
    rlx_text_deinit(&out);
    subject_destroy(&s);
}
END_TEST

START_TEST(lir_targets)
{
    rlx_lir_target out;
    rlx_jit_target t = cpu_named("x86-64-v3");
    EXPECT_OK(rlx_jit_lir_target(&t, &out));
    ck_assert_int_eq(out.vector_f32, 8);
    ck_assert_int_eq(out.vector_regs, 16);
    ck_assert_int_eq(out.team, 1);
    ck_assert_int_ge(out.threads, 1);
    EXPECT_OK(rlx_cpu_parse("x86-64-v4", false, &t.features));
    EXPECT_OK(rlx_jit_lir_target(&t, &out));
    ck_assert_int_eq(out.vector_f32, 16);
    ck_assert_int_eq(out.vector_regs, 32);
    t = (rlx_jit_target){.kind = RLX_JIT_AARCH64, .processor = "generic"};
    EXPECT_OK(rlx_jit_lir_target(&t, &out));
    ck_assert_int_eq(out.unit, RLX_UNIT_CPU);
    ck_assert_int_eq(out.vector_f32, 4);
    ck_assert_int_eq(out.vector_regs, 32);
    t = (rlx_jit_target){.kind = RLX_JIT_NVPTX, .processor = "sm_80"};
    EXPECT_OK(rlx_jit_lir_target(&t, &out));
    ck_assert_int_eq(out.unit, RLX_UNIT_GPU);
    ck_assert_int_eq(out.team, RLX_JIT_DEFAULT_TEAM);
    ck_assert_str_eq(rlx_jit_compiler(), "LLVM 19.1.7");
}
END_TEST

/* Grids of one kernel: of each axis the largest, at least one, and nobody knows what is computed. */
START_TEST(grid_extents)
{
    static const char grids[] =
        "lir module @m {\n kernel @k(%x: global f32[ROWS,9]) {\n"
        "  %zero = const {ivalue=0} : i64\n  %five = const {ivalue=5} : i64\n"
        "  %v = const {value=1} : f32\n  %rows = extent {extent=ROWS} : i64\n"
        "  %live = map %rows, %five {fn=add} : i64\n"
        "  grid %rows, %zero (%a: i64, %b: i64) {\n"
        "   store %x, %v, %a, %b {axes=[]}\n   yield\n  }\n"
        "  grid %five, %zero, %live (%c: i64, %d: i64, %e: i64) {\n"
        "   store %x, %v, %zero, %c {axes=[]}\n   yield\n  }\n  return\n }\n}\n";
    static const struct {
        const char *rows;
        int64_t want;
    } cases[] = {{"ROWS=0", 5}, {"ROWS=5", 5}, {"ROWS=7", 7}};
    subject s;
    rlx_dim grid[RLX_PROGRAM_GRID];
    EXPECT_OK(subject_parse(&s, "grids", grids));
    EXPECT_OK(rlx_jit_grid_extents(rlx_ir_func_find(s.module, "k"), grid));
    for (int i = 0; i < 3; i++) {
        ck_assert(subject_bind(&s, cases[i].rows));
        ck_assert_int_eq(rlx_dim_eval(s.dims, grid[0], s.symbols), cases[i].want);
        ck_assert_int_eq(rlx_dim_eval(s.dims, grid[1], s.symbols), 1);
        ck_assert_int_eq(rlx_dim_eval(s.dims, grid[2], s.symbols), RLX_GRID_UNKNOWN);
    }
    subject_destroy(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit compile");
    SUITE_TEST(s, "tape", tape);
    SUITE_TEST(s, "threads_do_not_matter", threads_do_not_matter);
    SUITE_TEST(s, "kernels_are_shared", kernels_are_shared);
    SUITE_TEST(s, "neighbours_do_not_matter", neighbours_do_not_matter);
    TCase *c = tcase_create("steps");
    tcase_add_loop_test(c, steps_share_kernels, 0, 2);
    suite_add_tcase(s, c);
    SUITE_TEST(s, "runs", runs);
    SUITE_TEST(s, "bad_modules", bad_modules);
    SUITE_TEST(s, "seven_axes", seven_axes);
    SUITE_TEST(s, "large_outputs", large_outputs);
    SUITE_TEST(s, "unsupported_ops", unsupported_ops);
    SUITE_TEST(s, "bad_targets", bad_targets);
    SUITE_TEST(s, "llvm_failures", llvm_failures);
    SUITE_TEST(s, "text", text);
    SUITE_TEST(s, "exponentials_go_side_by_side", exponentials_go_side_by_side);
    SUITE_TEST(s, "lir_targets", lir_targets);
    SUITE_TEST(s, "grid_extents", grid_extents);
    return suite_run(s, 17);
}
