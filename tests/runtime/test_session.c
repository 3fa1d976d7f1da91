/* Executables and sessions: programs of hand-written kernels, called, repeated, with states that
 * grow. */
#include <malloc.h>
#include <pthread.h>
#include <xmmintrin.h>

#include "tests/runtime/memory.h"

/* ---- repeated calls ------------------------------------------------------------------------- */

enum { WIDTH = 333, FIRST_LAYER = 3, MAX_LAYERS = 12 };

static int32_t layer_weights[MAX_LAYERS + FIRST_LAYER];

/* x -> layer(x, c) `layers` times, with weight "w.{layer}" of its own each -> y; also what the
 * frame's x is afterwards. */
static void build_stack(builder *b, int64_t layers)
{
    builder_init(b, "stack", uppers);
    rlx_dim tokens = dim_of(b, "TOKENS");
    uint32_t mix = add_kernel(b, "mix", RLX_OBJECT_MIX, 4, 0);
    uint32_t copy = add_kernel(b, "copy", RLX_OBJECT_COPY, 2, 0);
    rlx_program_arg x = add_bound(b, RLX_BIND_INPUT, "x", RLX_I32, 1, tokens, 0);
    rlx_program_arg c = add_bound(b, RLX_BIND_INPUT, "c", RLX_I32, 1, tokens, 0);
    rlx_program_arg w = add_bound(b, RLX_BIND_WEIGHT, "w.{}", RLX_I32, 1, 1, 0);
    add_func(b, "layer", 3, 1, 4096); /* x, c -> y, by way of a temporary */
    LAUNCH(b, mix, 0, at_param(0), at_param(1), w, at_frame(64));
    LAUNCH(b, copy, 1, at_frame(64), at_param(2));
    add_func(b, "main", 2, 2, 1 << 14);
    LAUNCH(b, copy, 0, x, at_frame(0));
    LAUNCH(b, copy, 0, c, at_frame(4096)); /* the same phase: no barrier between */
    rlx_program_arg args[] = {at_frame(0), at_frame(4096), at_param(0), at_frame(8192)};
    add_op(b,
           (rlx_program_op){.kind = RLX_OP_CALL,
                            .phase = 1,
                            .nout = 1,
                            .first = FIRST_LAYER,
                            .count = layers,
                            .frame = 3 * 4096},
           args, layers > 1 ? 4 : 3);
    LAUNCH(b, copy, 2, at_frame(0), at_param(1));
    b->p.arena_bytes = 1 << 14;
    add_output(b, "y", RLX_I32, 1, tokens);
    add_output(b, "x_after", RLX_I32, 1, tokens);
}

static rlx_weights *make_weights(int layers)
{
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    for (int i = 0; i < layers; i++) {
        char name[32];
        snprintf(name, sizeof(name), "w.%d", FIRST_LAYER + i);
        layer_weights[FIRST_LAYER + i] = 1000 * i + 17;
        rlx_tensor t = {name, RLX_I32, 1, {1}, &layer_weights[FIRST_LAYER + i], 4};
        EXPECT_OK(rlx_weights_add(w, &t));
    }
    return w;
}

static void stack_reference(const int32_t *x, const int32_t *c, int layers, int n, int32_t *y)
{
    int32_t now[WIDTH], then[WIDTH];
    memcpy(now, x, sizeof(now));
    for (int l = 0; l < layers; l++) {
        for (int i = 0; i < n; i++)
            then[i] = (int32_t)(2u * (uint32_t)now[(i * 7 + 3) % n] +
                                (uint32_t)layer_weights[FIRST_LAYER + l] + (uint32_t)c[i]);
        memcpy(now, then, sizeof(now));
    }
    memcpy(y, now, sizeof(now));
}

/* True when a step over n tokens gives what it should. Asserts nothing: it runs on threads, too. */
static bool stack_is_right(rlx_session *s, rlx_executable *e, int layers, int n)
{
    int32_t x[WIDTH] = {0}, c[WIDTH] = {0}, want[WIDTH] = {0};
    for (int i = 0; i < n; i++) {
        x[i] = i * 31 + layers;
        c[i] = 5 - i;
    }
    rlx_step_input inputs[] = {{"x", x, (size_t)n * 4}, {"c", c, (size_t)n * 4}};
    rlx_status st =
        rlx_session_step(s, e, &(rlx_step){.tokens = n, .inputs = inputs, .ninputs = 2});
    rlx_tensor y = {0}, after = {0};
    if (!st)
        st = rlx_session_output(s, "y", &y);
    if (!st)
        st = rlx_session_output(s, "x_after", &after);
    bool right = !st && y.rank == 1 && y.dim[0] == n && y.bytes == (size_t)n * 4;
    stack_reference(x, c, layers, n, want);
    right = right && memcmp(y.data, want, y.bytes) == 0 && memcmp(after.data, x, y.bytes) == 0;
    rlx_status_free(st);
    return right;
}

START_TEST(calls_alternate)
{
    for (int threads = 1; threads <= 4; threads++) {
        rlx_team *t = make_team(threads);
        rlx_session *s = make_session(t, 0, 0);
        for (int layers = 1; layers <= MAX_LAYERS; layers++) {
            builder b;
            build_stack(&b, layers);
            rlx_weights *w = make_weights(layers);
            rlx_executable *e = load(&b, w);
            builder_deinit(&b);
            ck_assert(stack_is_right(s, e, layers, WIDTH));
            ck_assert(stack_is_right(s, e, layers, 2));  /* fewer than the bucket */
            ck_assert_int_eq(rlx_session_past(s, 0), 0); /* keeps no past */
            rlx_executable_destroy(e);
            rlx_weights_destroy(w);
        }
        rlx_session_destroy(s);
        rlx_team_destroy(t);
    }
}
END_TEST

/* One executable, one team, two sessions on two threads. */
enum { RUNS = 30 };

typedef struct runner {
    rlx_team *team;
    rlx_executable *e;
    int layers, right;
} runner;

static void *run_often(void *user)
{
    runner *r = user;
    rlx_session *s;
    rlx_status st = rlx_session_create_on(r->team, NULL, &s);
    for (int i = 0; i < RUNS && !st; i++)
        r->right += stack_is_right(s, r->e, r->layers, 1 + i * 11);
    if (!st)
        rlx_session_destroy(s);
    rlx_status_free(st);
    return NULL;
}

/* Each launch once, whatever the team; other sessions have no times. */
START_TEST(kernels_are_timed)
{
    enum { LAYERS = 5, STEPS = 3 };
    for (int threads = 1; threads <= 3; threads++) {
        rlx_team *t = make_team(threads);
        rlx_session *s, *plain = make_session(t, 0, 0);
        builder b;
        rlx_kernel_time mix, copy;
        EXPECT_OK(rlx_session_create_on(t, &(rlx_session_options){.time_kernels = true}, &s));
        build_stack(&b, LAYERS);
        b.kernels[0].cost = (rlx_program_cost){
            (uint32_t)rlx_dim_symbol_index(b.p.dims, "TOKENS"), {1, uppers[0]}, {7, 7}};
        rlx_weights *w = make_weights(LAYERS);
        rlx_executable *e = load(&b, w);
        builder_deinit(&b);
        ck_assert_int_eq(rlx_session_kernel_count(s), 0);
        for (int i = 0; i < STEPS; i++)
            ck_assert(stack_is_right(s, e, LAYERS, WIDTH) && stack_is_right(plain, e, LAYERS, 2));
        ck_assert_int_eq(rlx_session_kernel_count(plain), 0);
        ck_assert_int_eq(rlx_session_kernel_count(s), 2);
        rlx_session_kernel_at(s, 0, &mix);
        rlx_session_kernel_at(s, 1, &copy);
        ck_assert_str_eq(mix.program, "stack");
        ck_assert_str_eq(mix.kernel, "mix");
        ck_assert_int_eq(mix.launches, STEPS * LAYERS);
        ck_assert_int_eq(copy.launches, STEPS * (LAYERS + 3));
        ck_assert(mix.seconds > 0 && copy.seconds > 0);
        ck_assert_double_eq_tol(mix.bytes, STEPS * LAYERS * WIDTH, 1e-6);
        ck_assert_double_eq_tol(mix.operations, STEPS * LAYERS * 7, 1e-6);
        ck_assert_double_eq_tol(copy.bytes, STEPS * (LAYERS + 3) * 102, 1e-6);
        ck_assert(
            stack_is_right(s, e, LAYERS, 0)); /* of nothing: no work, and not less than none */
        rlx_session_kernel_at(s, 0, &mix);
        ck_assert_int_eq(mix.launches, (STEPS + 1) * LAYERS);
        ck_assert_double_eq_tol(mix.bytes, STEPS * LAYERS * WIDTH, 1e-6);
        ck_assert_double_eq_tol(mix.operations, STEPS * LAYERS * 7, 1e-6);
        rlx_session_clear_times(s);
        rlx_session_kernel_at(s, 0, &mix);
        ck_assert(mix.launches == 0 && mix.seconds == 0 && mix.bytes == 0);
        ck_assert_str_eq(mix.kernel, "mix");
        rlx_session_destroy(s);
        rlx_session_destroy(plain);
        rlx_executable_destroy(e);
        rlx_weights_destroy(w);
        rlx_team_destroy(t);
    }
}
END_TEST

START_TEST(executables_are_shared)
{
    builder b;
    build_stack(&b, 5);
    rlx_weights *w = make_weights(5);
    rlx_team *team = make_team(2);
    rlx_executable *e = load(&b, w);
    runner r[2] = {{team, e, 5, 0}, {team, e, 5, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_often, &r[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(r[0].right, RUNS);
    ck_assert_int_eq(r[1].right, RUNS);
    rlx_executable_destroy(e);
    rlx_team_destroy(team);
    rlx_weights_destroy(w);
    builder_deinit(&b);
}
END_TEST

/* ---- weights -------------------------------------------------------------------------------- */

START_TEST(weights_are_checked)
{
    builder b;
    build_stack(&b, 6);
    rlx_executable *e;
    rlx_weights *w = make_weights(3);
    int64_t big[2] = {0};
    rlx_tensor wrong = {"w.7", RLX_I64, 1, {2}, big, 16};
    EXPECT_OK(rlx_weights_add(w, &wrong));
    rlx_status st = try_load(&b, w, &e);
    ck_assert_int_eq(rlx_status_code(st), RLX_NOT_FOUND);
    char *text = rlx_status_text(st);
    ck_assert_ptr_nonnull(strstr(text, "2 weights are missing:\n    w.6\n    w.8\n"));
    ck_assert_ptr_nonnull(strstr(text, "w.7 is i64[2], the program takes i32[1]"));
    free(text);
    rlx_status_free(st);
    EXPECT_ERROR(try_load(&b, NULL, &e), RLX_NOT_FOUND, "6 weights are missing");
    rlx_weights_destroy(w);
    builder_deinit(&b);

    build_stack(&b, 4);
    w = make_weights(3);
    int16_t half = 0;
    wrong = (rlx_tensor){"w.6", RLX_F16, 1, {1}, &half, 2};
    EXPECT_OK(rlx_weights_add(w, &wrong));
    EXPECT_ERROR(try_load(&b, w, &e), RLX_INVALID_ARGUMENT,
                 "w.6 is f16[1], the program takes i32[1]");
    rlx_weights_destroy(w);
    builder_deinit(&b);
}
END_TEST

START_TEST(code_is_checked)
{
    builder b;
    build_stack(&b, 1);
    rlx_weights *w = make_weights(1);
    rlx_executable *e;
    b.p.features = 1ull << 63;
    EXPECT_ERROR(try_load(&b, w, &e), RLX_UNSUPPORTED, "program 'stack' is compiled for x86-64");
    b.p.features = 0;
    b.p.code_kind = RLX_CODE_PTX;
    EXPECT_ERROR(try_load(&b, w, &e), RLX_UNSUPPORTED, "PTX");
    b.p.code_kind = RLX_CODE_HSACO;
    EXPECT_ERROR(try_load(&b, w, &e), RLX_UNSUPPORTED, "AMD GPUs");
    b.p.code_kind = RLX_CODE_AARCH64_ELF;
    EXPECT_ERROR(try_load(&b, w, &e), RLX_UNSUPPORTED, "is code for AArch64, not for this CPU");
    b.p.code_kind = RLX_CODE_X86_64_ELF;
    b.kernels[0].name = "max";
    EXPECT_ERROR(try_load(&b, w, &e), RLX_INVALID_FILE, "object of kernel max");
    b.kernels[0].name = "mix";
    EXPECT_ERROR(rlx_executable_create("no entry", 8, w, &e), RLX_INVALID_FILE, "8 bytes");
    rlx_executable_destroy(NULL);
    rlx_weights_destroy(w);
    builder_deinit(&b);
}
END_TEST

/* ---- sequences ------------------------------------------------------------------------------ */

START_TEST(sequences_grow_by_pages)
{
    builder b;
    build_memory(&b, uppers);
    rlx_executable *e = load(&b, NULL);
    for (int threads = 1; threads <= 3; threads++) {
        rlx_team *t = make_team(threads);
        rlx_session *s = make_session(t, 1500, 1);
        mirror m = {0};
        step_memory(s, e, &m, NULL, 5);
        for (int i = 0; i < 300; i++)
            step_memory(s, e, &m, NULL, 1);
        step_memory(s, e, &m, NULL, 512); /* over more than one page */
        step_memory(s, e, &m, NULL, 207); /* to the end of a page */
        ck_assert_int_eq(rlx_session_past(s, 0), 1024);
        step_memory(s, e, &m, NULL, 1);
        ck_assert_int_eq(rlx_session_past(s, 0), 1025);
        rlx_session_reset(s);
        ck_assert_int_eq(rlx_session_past(s, 0), 0);
        m = (mirror){0};
        step_memory(s, e, &m, NULL, 300);
        rlx_session_destroy(s);
        rlx_team_destroy(t);
    }
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

START_TEST(sequences_share_the_pool)
{
    builder b;
    build_memory(&b, uppers);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 1000, 5);
    mirror m = {0};
    int32_t seq[512];
    uint32_t x = 12345;
    for (int step = 0; step < 40; step++) { /* ragged, mixed, uneven */
        int n = step % 7 == 0 ? 90 : 1 + step % 5;
        for (int i = 0; i < n; i++) {
            x = x * 1664525 + 1013904223;
            int32_t q = (int32_t)(x >> 24) % 7;
            seq[i] = q == 5 ? 0 : q == 6 ? 2 : q;
        }
        step_memory(s, e, &m, seq, n);
    }
    int64_t total = 0;
    for (int q = 0; q < 5; q++) {
        ck_assert_int_eq(rlx_session_past(s, q), m.past[q]);
        total += m.past[q];
    }
    ck_assert_int_gt(total, 600);
    ck_assert_int_gt(m.past[0], 128);
    int32_t only_last[] = {4, 4};
    step_memory(s, e, &m, only_last, 2);
    ck_assert_int_eq(rlx_session_past(s, 99), 0);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

START_TEST(wrong_steps_change_nothing)
{
    builder b;
    int64_t upper[5] = {512, 200, 2, 2, 3};
    build_memory(&b, upper);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 600, 3);
    mirror m = {0};
    rlx_tensor out;
    EXPECT_ERROR(rlx_session_output(s, "sums", &out), RLX_NOT_FOUND, "has not stepped");
    step_memory(s, e, &m, NULL, 40);
    EXPECT_ERROR(rlx_session_output(s, "sum", &out), RLX_NOT_FOUND, "no output 'sum'");
    static const int32_t ids[600], two[512] = {0, 2};
    static int32_t ones[512];
    for (int i = 0; i < 512; i++)
        ones[i] = 1;
    rlx_step_input in[] = {{"ids", ids, 8}, {"ids", ids, 8}};
    int32_t rows[] = {1, 2};
#define WRONG(code, part, ...)                                     \
    do {                                                           \
        rlx_step step = {.tokens = 2, .inputs = in, .ninputs = 1}; \
        in[0] = (rlx_step_input){"ids", ids, 8};                   \
        __VA_ARGS__;                                               \
        if (in[0].bytes == 8)                                      \
            in[0].bytes = (size_t)step.tokens * 4;                 \
        EXPECT_ERROR(rlx_session_step(s, e, &step), code, part);   \
        ck_assert_int_eq(rlx_session_past(s, 0), 40);              \
        ck_assert_int_eq(rlx_session_past(s, 1), 0);               \
    } while (0)
    WRONG(RLX_INVALID_ARGUMENT, "a step of 0 tokens", step.tokens = 0);
    WRONG(RLX_INVALID_ARGUMENT, "a step of -1 tokens", step.tokens = -1);
    WRONG(RLX_INVALID_ARGUMENT, "TOKENS is 513, program 'memory' is compiled for up to 512",
          step.tokens = 513);
    WRONG(RLX_INVALID_ARGUMENT, "ROWS is 201", step.rows = 201);
    WRONG(RLX_INVALID_ARGUMENT, "3 rows of 2 tokens", step.rows = 3);
    WRONG(RLX_INVALID_ARGUMENT, "row 1 is token 2 of 2", step.rows = 2; step.row_index = rows);
    WRONG(RLX_INVALID_ARGUMENT, "sequence 3, the session has 3",
          step.seq = (const int32_t[]){0, 3});
    WRONG(RLX_INVALID_ARGUMENT, "sequence -1", step.seq = (const int32_t[]){0, -1});
    WRONG(RLX_INVALID_ARGUMENT, "SEQS is 3", step.seq = two);
    WRONG(RLX_EXHAUSTED, "SLOTS is 3, program 'memory' is compiled for up to 2", step.tokens = 512);
    WRONG(RLX_INVALID_ARGUMENT, "input 'ids' (8 bytes) is not given", step.ninputs = 0);
    WRONG(RLX_INVALID_ARGUMENT, "input 'ids' takes 8 bytes, given 12", in[0].bytes = 12);
    WRONG(RLX_INVALID_ARGUMENT, "given 8 at NULL", in[0].data = NULL);
    WRONG(RLX_INVALID_ARGUMENT, "takes no input 'idx'", in[1].name = "idx"; step.ninputs = 2);
    WRONG(RLX_INVALID_ARGUMENT, "input 'pos' is the session's", in[1].name = "pos";
          step.ninputs = 2);
    WRONG(RLX_INVALID_ARGUMENT, "has no symbol WIDTH",
          step.symbols = (&(rlx_step_symbol){"WIDTH", 1});
          step.nsymbols = 1);
    WRONG(RLX_INVALID_ARGUMENT, "from the session its symbol TOKENS",
          step.symbols = (&(rlx_step_symbol){"TOKENS", 1});
          step.nsymbols = 1);
    /* The context's end: both numbers are told, and the last position can be had. */
    step_memory(s, e, &m, NULL, 400);
    rlx_step_input many = {"ids", ids, 161 * 4};
    EXPECT_ERROR(rlx_session_step(s, e, &(rlx_step){.tokens = 161, .inputs = &many, .ninputs = 1}),
                 RLX_EXHAUSTED,
                 "sequence 0 holds 440 positions and would get 161 more, of at most 600");
    ck_assert_int_eq(rlx_session_past(s, 0), 440);
    /* PAGES: two are used, two more are wanted, the bucket has three. */
    step_memory(s, e, &m, ones, 2);
    rlx_step_input more = {"ids", ids, 300 * 4};
    EXPECT_ERROR(rlx_session_step(
                     s, e, &(rlx_step){.tokens = 300, .seq = ones, .inputs = &more, .ninputs = 1}),
                 RLX_EXHAUSTED, "PAGES is 4, program 'memory' is compiled for up to 3");
    step_memory(s, e, &m, NULL, 60);
    step_memory(s, e, &m, ones, 200);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

START_TEST(programs_share_states)
{
    /* Two buckets of one flow: what the one remembers the other recalls. */
    int64_t small[5] = {1, 1, 1, 16, 64};
    builder b, c, d;
    build_memory(&b, uppers);
    build_memory(&c, small);
    rlx_executable *prefill = load(&b, NULL), *decode = load(&c, NULL), *other, *third;
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 2000, 1);
    mirror m = {0};
    for (int round = 0; round < 3; round++) {
        step_memory(s, prefill, &m, NULL, 250);
        for (int i = 0; i < 20; i++)
            step_memory(s, decode, &m, NULL, 1);
    }
    /* A new executable may get the memory of one that is gone. */
    rlx_executable_destroy(decode);
    decode = load(&c, NULL);
    step_memory(s, decode, &m, NULL, 1);
    /* The same name with another shape is an error. */
    build_memory(&d, uppers);
    d.bound[0].dim[1] = 512;
    other = load(&d, NULL);
    rlx_step_input in = {"ids", "\0\0\0", 4};
    rlx_step step = {.tokens = 1, .inputs = &in, .ninputs = 1};
    EXPECT_ERROR(rlx_session_step(s, other, &step), RLX_INVALID_ARGUMENT,
                 "state 'kv' has another format or shape");
    d.bound[0].dim[0] = dim_of(&d, "ROWS");
    third = load(&d, NULL);
    EXPECT_ERROR(rlx_session_step(s, third, &step), RLX_UNSUPPORTED, "grows by another symbol");
    step_memory(s, prefill, &m, NULL, 9);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(prefill);
    rlx_executable_destroy(decode);
    rlx_executable_destroy(other);
    rlx_executable_destroy(third);
    builder_deinit(&b);
    builder_deinit(&c);
    builder_deinit(&d);
}
END_TEST

START_TEST(steps_allocate_nothing)
{
    builder b;
    build_memory(&b, uppers);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(1);
    rlx_session *s = make_session(t, 4000, 1);
    mirror m = {0};
    step_memory(s, e, &m, NULL, 3);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 600; i++)
        step_memory(s, e, &m, NULL, 1 + i % 5);
    struct mallinfo2 after = mallinfo2();
    ck_assert_uint_eq(after.uordblks, before.uordblks);
    ck_assert_uint_eq(after.hblkhd, before.hblkhd);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

/* ---- other states, team memory, floating point ---------------------------------------------- */

static void build_counter(builder *b, const char *state, int rank, rlx_dim d0)
{
    uint32_t count = add_kernel(b, "count", RLX_OBJECT_COUNT, 3, 256);
    rlx_program_arg n = add_bound(b, RLX_BIND_STATE, state, RLX_I64, rank, d0, 0);
    rlx_program_arg x = add_bound(b, RLX_BIND_INPUT, "x", RLX_F32, 1, 2, 0);
    add_func(b, "main", 1, 1, 0);
    LAUNCH(b, count, 0, n, at_param(0), x);
    add_output(b, "y", RLX_I64, 1, 4);
}

static const int64_t *run_counter(rlx_session *s, rlx_executable *e, int64_t tokens)
{
    static const float denormal[2] = {0x1p-70f, 0x1p-70f};
    rlx_step_input in = {"x", denormal, sizeof(denormal)};
    EXPECT_OK(rlx_session_step(s, e, &(rlx_step){.tokens = tokens, .inputs = &in, .ninputs = 1}));
    rlx_tensor y;
    EXPECT_OK(rlx_session_output(s, "y", &y));
    return y.data;
}

START_TEST(states_of_fixed_size)
{
    builder b, c;
    builder_init(&b, "counter", uppers);
    build_counter(&b, "n", 0, 0);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(3);
    rlx_session *s = make_session(t, 0, 4);
    for (int i = 1; i <= 5; i++)
        ck_assert_int_eq(run_counter(s, e, 0)[0], i);
    rlx_session_reset(s);
    ck_assert_int_eq(run_counter(s, e, 0)[0], 1);
    ck_assert_int_eq(rlx_session_past(s, 0), 0);

    builder_init(&c, "rows", uppers); /* one row for each sequence: the program keeps a past */
    build_counter(&c, "m", 1, dim_of(&c, "SEQS"));
    rlx_executable *f = load(&c, NULL);
    ck_assert_int_eq(run_counter(s, f, 3)[0], 1);
    ck_assert_int_eq(run_counter(s, f, 2)[0], 2);
    ck_assert_int_eq(rlx_session_past(s, 0), 5);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    rlx_executable_destroy(f);
    builder_deinit(&b);
    builder_deinit(&c);
}
END_TEST

START_TEST(what_kernels_find)
{
    builder b;
    builder_init(&b, "counter", uppers);
    build_counter(&b, "n", 0, 0);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 0, 0);
    unsigned csr = _mm_getcsr();
    _mm_setcsr(csr | 0x8040); /* the program flushes denormals; its models do not */
    const int64_t *y = run_counter(s, e, 0);
    ck_assert_uint_eq(_mm_getcsr() & 0x8040, 0x8040);
    _mm_setcsr(csr);
    ck_assert_int_eq(y[1], 0);           /* team memory is aligned to 64, */
    ck_assert_int_eq(y[2], 31 * 32 / 2); /* and there */
    float product = 0x1p-140f;
    uint32_t bits;
    memcpy(&bits, &product, 4);
    ck_assert_int_eq(y[3], bits);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

/* ---- symbols of one's own ------------------------------------------------------------------- */

START_TEST(own_symbols)
{
    builder b;
    builder_init(&b, "own", uppers);
    rlx_dim width = dim_of(&b, "WIDTH"), tokens = dim_of(&b, "TOKENS");
    b.p.upper[5] = 10;
    uint32_t copy = add_kernel(&b, "copy", RLX_OBJECT_COPY, 2, 0);
    rlx_program_arg x = add_bound(&b, RLX_BIND_INPUT, "x", RLX_I32, 2, tokens, width);
    rlx_program_arg pos = add_bound(&b, RLX_BIND_INPUT, "pos", RLX_I32, 1, width, 0);
    add_func(&b, "main", 2, 2, 0);
    LAUNCH(&b, copy, 0, x, at_param(0));
    LAUNCH(&b, copy, 0, pos, at_param(1));
    add_output(&b, "y", RLX_I32, 1, tokens);
    add_output(&b, "z", RLX_I32, 1, rlx_dim_make(b.p.dims, RLX_DIM_MUL, width, 2));
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 0, 0);
    int32_t data[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    /* "pos" of another shape than the session's is an input like any. */
    rlx_step_input in[] = {{"x", data, 3 * 4 * 4}, {"pos", data, 4 * 4}};
    rlx_step_symbol four = {"WIDTH", 4};
    rlx_step step = {.tokens = 3, .inputs = in, .ninputs = 2, .symbols = &four, .nsymbols = 1};
    EXPECT_OK(rlx_session_step(s, e, &step));
    rlx_tensor z;
    EXPECT_OK(rlx_session_output(s, "z", &z));
    ck_assert_int_eq(z.dim[0], 8);
    ck_assert_int_eq(((const int32_t *)z.data)[2], 3);
    step.nsymbols = 0;
    EXPECT_ERROR(rlx_session_step(s, e, &step), RLX_INVALID_ARGUMENT,
                 "symbol WIDTH of program 'own' has no live value");
    four.value = 11;
    step.nsymbols = 1;
    EXPECT_ERROR(rlx_session_step(s, e, &step), RLX_INVALID_ARGUMENT, "WIDTH is 11");
    four.value = -1;
    EXPECT_ERROR(rlx_session_step(s, e, &step), RLX_INVALID_ARGUMENT, "WIDTH is -1");
    four.value = 5;
    EXPECT_ERROR(rlx_session_step(s, e, &step), RLX_INVALID_ARGUMENT, "takes 60 bytes, given 48");
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

/* ---- engines -------------------------------------------------------------------------------- */

typedef struct fake {
    int destroyed, calls, fail_at;
} fake;

static void fake_destroy(void *user)
{
    ((fake *)user)->destroyed++;
}

/* Kernel 0 is mix, 1 copy. */
static rlx_status fake_launch(void *user, uint32_t kernel, void *const *buffers,
                              const int64_t *symbols, int64_t team, int64_t teams)
{
    fake *f = user;
    int64_t n = symbols[0];
    if (team == 0 && f->calls++ == f->fail_at)
        return RLX_FAIL(RLX_CANCELLED, "as asked");
    for (int64_t i = n * team / teams; i < n * (team + 1) / teams; i++) {
        const int32_t *x = buffers[0], *c = buffers[1], *w = buffers[kernel == 0 ? 2 : 0];
        int32_t *y = buffers[kernel == 0 ? 3 : 1];
        y[i] = kernel == 0
                   ? (int32_t)(2u * (uint32_t)x[(i * 7 + 3) % n] + (uint32_t)w[0] + (uint32_t)c[i])
                   : x[i];
    }
    return RLX_OK;
}

static rlx_executable *load_engine(builder *b, const rlx_weights *w, const rlx_engine *engine)
{
    for (uint32_t i = 0; i < b->p.nkernels; i++)
        b->kernels[i].code_bytes = 0; /* not loaded */
    rlx_text t = {0};
    EXPECT_OK(rlx_program_encode(&b->p, &t));
    rlx_executable *e;
    EXPECT_OK(rlx_executable_create_engine(t.data, t.len, w, engine, &e));
    rlx_text_deinit(&t);
    return e;
}

START_TEST(engines_launch)
{
    builder b;
    build_stack(&b, 4);
    rlx_weights *w = make_weights(4);
    fake f = {.fail_at = -1};
    rlx_engine engine = {.launch = fake_launch, .user = &f, .destroy = fake_destroy};
    rlx_executable *e = load_engine(&b, w, &engine);
    rlx_team *t = make_team(3);
    rlx_session *s = make_session(t, 0, 0);
    ck_assert(stack_is_right(s, e, 4, WIDTH));
    ck_assert_int_eq(f.calls, 2 + 4 * 2 + 1);
    f.calls = 0;
    f.fail_at = 5;
    int32_t x[4] = {0};
    rlx_step_input in[] = {{"x", x, 16}, {"c", x, 16}};
    EXPECT_ERROR(rlx_session_step(s, e, &(rlx_step){.tokens = 4, .inputs = in, .ninputs = 2}),
                 RLX_CANCELLED, "as asked");
    rlx_tensor y;
    EXPECT_ERROR(rlx_session_output(s, "y", &y), RLX_NOT_FOUND, "has not stepped");
    f.fail_at = -1;
    ck_assert(stack_is_right(s, e, 4, 10));
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    ck_assert_int_eq(f.destroyed, 1);
    rlx_weights_destroy(w);
    builder_deinit(&b);
}
END_TEST

/* Writes to the output what it finds under each name. */
static rlx_status fake_step(void *user, void *(*bind)(void *cx, const char *name), void *cx,
                            const int64_t *symbols)
{
    fake *f = user;
    const int32_t *x = bind(cx, "x"), *w = bind(cx, "w.3");
    int32_t *y = bind(cx, "y");
    ck_assert(x && w && y);
    ck_assert_ptr_null(bind(cx, "nothing"));
    ck_assert_ptr_null(bind(cx, "w.{}"));
    for (int64_t i = 0; i < symbols[0]; i++)
        y[i] = x[i] + w[0];
    f->calls++;
    return f->fail_at == f->calls ? RLX_FAIL(RLX_CANCELLED, "as asked") : RLX_OK;
}

START_TEST(engines_step)
{
    builder b;
    build_stack(&b, 1);
    rlx_weights *w = make_weights(1);
    fake f = {.fail_at = 2};
    rlx_engine engine = {.step = fake_step, .user = &f, .destroy = fake_destroy};
    rlx_executable *e = load_engine(&b, w, &engine);
    rlx_team *t = make_team(1);
    rlx_session *s = make_session(t, 0, 0);
    int32_t x[4] = {1, 2, 3, 4};
    rlx_step_input in[] = {{"x", x, 16}, {"c", x, 16}};
    rlx_step step = {.tokens = 4, .inputs = in, .ninputs = 2};
    EXPECT_OK(rlx_session_step(s, e, &step));
    rlx_tensor y;
    EXPECT_OK(rlx_session_output(s, "y", &y));
    ck_assert_int_eq(((const int32_t *)y.data)[3], 4 + layer_weights[3]);
    EXPECT_ERROR(rlx_session_step(s, e, &step), RLX_CANCELLED, "as asked");
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    ck_assert_int_eq(f.destroyed, 1);

    /* After an error the engine is still the caller's. */
    rlx_text bytes = {0};
    EXPECT_OK(rlx_program_encode(&b.p, &bytes));
    EXPECT_ERROR(rlx_executable_create_engine(bytes.data, bytes.len, NULL, &engine, &e),
                 RLX_NOT_FOUND, "1 weight is missing");
    engine.launch = fake_launch;
    EXPECT_ERROR(rlx_executable_create_engine(bytes.data, bytes.len, w, &engine, &e),
                 RLX_INVALID_ARGUMENT, "either launches or steps");
    ck_assert_int_eq(f.destroyed, 1);
    rlx_text_deinit(&bytes);
    rlx_weights_destroy(w);
    builder_deinit(&b);
}
END_TEST

START_TEST(session_options)
{
    rlx_team *t = make_team(1);
    rlx_session *s;
    EXPECT_ERROR(rlx_session_create_on(t, &(rlx_session_options){.max_positions = -1}, &s),
                 RLX_INVALID_ARGUMENT, "-1 positions");
    EXPECT_ERROR(rlx_session_create_on(t, &(rlx_session_options){.max_sequences = -1}, &s),
                 RLX_INVALID_ARGUMENT, "-1 sequences");
    EXPECT_ERROR(
        rlx_session_create_on(
            t, &(rlx_session_options){.max_positions = INT32_MAX, .max_sequences = 65536}, &s),
        RLX_INVALID_ARGUMENT, "pages");
    EXPECT_OK(rlx_session_create_on(t, NULL, &s));
    rlx_session_destroy(s);
    rlx_session_destroy(NULL);
    rlx_team_destroy(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session");
    SUITE_TEST(s, "calls alternate", calls_alternate);
    SUITE_TEST(s, "kernels are timed", kernels_are_timed);
    SUITE_TEST(s, "executables are shared", executables_are_shared);
    SUITE_TEST(s, "weights are checked", weights_are_checked);
    SUITE_TEST(s, "code is checked", code_is_checked);
    SUITE_TEST(s, "sequences grow by pages", sequences_grow_by_pages);
    SUITE_TEST(s, "sequences share the pool", sequences_share_the_pool);
    SUITE_TEST(s, "wrong steps change nothing", wrong_steps_change_nothing);
    SUITE_TEST(s, "programs share states", programs_share_states);
    SUITE_TEST(s, "steps allocate nothing", steps_allocate_nothing);
    SUITE_TEST(s, "states of fixed size", states_of_fixed_size);
    SUITE_TEST(s, "what kernels find", what_kernels_find);
    SUITE_TEST(s, "own symbols", own_symbols);
    SUITE_TEST(s, "engines launch", engines_launch);
    SUITE_TEST(s, "engines step", engines_step);
    SUITE_TEST(s, "session options", session_options);
    return suite_run(s, 16);
}
