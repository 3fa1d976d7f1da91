/* tests/flow/test_delta_chunks.c: the gated delta rule by chunks in sessions: a token's result has
 * the same bits in whatever steps, beside whatever others and in whichever bucket its sequence came,
 * on every engine; it is the rule's step by step, computed here in f64; forks and files of sequences
 * within a chunk hold to it. Programs of other forms do not go on with a sequence. */
#include <math.h>
#include <unistd.h>

#include "frontend/context.h"
#include "frontend/flow.h"
#include "tests/base/suite.h"

enum { HEADS = 4, GROUPS = 2, TOKENS = 72, SEQS = 4, FEW = 4, MOST = 24 };
enum { Q, K, V, G, BETA, INPUTS };

static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};
enum { NDEVICES = sizeof devices / sizeof *devices };
static const char *const names[INPUTS] = {"gdn.q", "gdn.k", "gdn.v", "gdn.g", "gdn.beta"};

typedef struct shape {
    int d, e, chunk;
    bool tile;
} shape;
/* Tiles that fit and tiles that do not. */
static const shape shapes[] = {{24, 16, 16, false}, {5, 6, 16, true}, {8, 12, 32, false}};
enum { NSHAPES = sizeof shapes / sizeof *shapes };

/* Runs of three sequences, some within chunks, some across them. */
static const struct {
    int seq, n;
} runs[] = {{2, 10}, {0, 13}, {2, 1}, {2, 1}, {1, 2}, {0, 1}, {2, 24}, {0, 4}, {1, 1}, {2, 15}};
static int32_t seq[TOKENS];

typedef struct world {
    shape s;
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *many, *few;
    float *x[INPUTS];
} world;

static int width_of(const shape *s, int input)
{
    return input <= K ? GROUPS * s->d : input == V ? HEADS * s->e : HEADS;
}

static void fill_inputs(world *t)
{
    int at = 0;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        for (int k = 0; k < runs[i].n; k++)
            seq[at++] = runs[i].seq;
    ck_assert_int_eq(at, TOKENS);
    for (int i = 0; i < INPUTS; i++) {
        const int n = TOKENS * width_of(&t->s, i);
        t->x[i] = malloc(sizeof(float) * (size_t)n);
        for (int k = 0; k < n; k++) {
            const float v = sinf(0.9f * (float)k + 1.3f * (float)i);
            t->x[i][k] = i == G ? -0.3f * fabsf(v) : i == BETA ? 0.5f + 0.5f * v : v;
        }
    }
    t->x[G][5 * HEADS] = -INFINITY; /* all is forgotten */
    t->x[G][40 * HEADS + 1] = 0;
}

static rlx_status compile(world *t, int64_t tokens, rlx_executable **e)
{
    const rlx_bucket buckets[] = {{"TOKENS", tokens}, {"SEQS", SEQS}};
    const rlx_compile_options options = {.buckets = buckets, .nbuckets = 2};
    return rlx_flow_compile(t->cx, t->flow, t->w, &options, NULL, e);
}

static void record(world *t)
{
    const shape *s = &t->s;
    const int64_t n = rlx_flow_symbol(t->flow, "TOKENS");
    const int64_t qk[] = {n, GROUPS, s->d}, v[] = {n, HEADS, s->e};
    for (int i = 0; i < INPUTS; i++) {
        rlx_flow_input(t->flow, names[i], RLX_F32, i <= V ? 3 : 2, i <= K ? qk : v);
        rlx_flow_bind_stream(t->flow, names[i], names[i]);
    }
    rlx_flow_gdn_scan(
        t->flow,
        &(rlx_gdn_spec){.norm_eps = 1e-6, .tile = s->tile, .state = "memory", .chunk = s->chunk});
    rlx_flow_output(t->flow, "y");
}

static void open_world(world *t, const char *device, const shape *s)
{
    *t = (world){.s = *s};
    fill_inputs(t);
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &t->cx));
    assert_ok(rlx_weights_create(&t->w));
    assert_ok(rlx_flow_create("delta_chunks", &t->flow));
    record(t);
}

static void compile_world(world *t)
{
    assert_ok(compile(t, TOKENS, &t->many));
    assert_ok(compile(t, FEW, &t->few));
}

static void close_world(world *t)
{
    rlx_executable_destroy(t->many);
    rlx_executable_destroy(t->few);
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
    for (int i = 0; i < INPUTS; i++)
        free(t->x[i]);
}

static rlx_session *open_session(const world *t)
{
    rlx_session *s;
    assert_ok(rlx_session_create(t->cx, &(rlx_session_options){.max_sequences = SEQS}, &s));
    return s;
}

/* Tokens at .. at + n - 1 of sequences `of`, with inputs of the same places. */
static rlx_status try_step(const world *t, rlx_session *s, int at, int n, const int32_t *of)
{
    rlx_step_input in[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        const size_t width = (size_t)width_of(&t->s, i);
        in[i] = (rlx_step_input){names[i], t->x[i] + (size_t)at * width,
                                 sizeof(float) * (size_t)n * width};
    }
    return rlx_session_step(s, n <= FEW ? t->few : t->many,
                            &(rlx_step){.tokens = n, .seq = of, .inputs = in, .ninputs = INPUTS});
}

/* y [n, HEADS*E] */
static void step(const world *t, rlx_session *s, int at, int n, const int32_t *of, float *y)
{
    rlx_tensor out;
    assert_ok(try_step(t, s, at, n, of));
    assert_ok(rlx_session_output(s, "y", &out));
    ck_assert_uint_eq(out.bytes, sizeof(float) * (size_t)(n * HEADS * t->s.e));
    memcpy(y, out.data, out.bytes);
}

/* All tokens, `most` at a time. */
static void run(const world *t, rlx_session *s, int most, float *y)
{
    for (int at = 0; at < TOKENS; at += most)
        step(t, s, at, TOKENS - at < most ? TOKENS - at : most, seq + at, y + at * HEADS * t->s.e);
}

/* ---- the rule in f64 ---------------------------------------------------------------------------
 */

/* x over its length, in u. */
static void unit(const float *x, int n, double *u)
{
    double sum = 1e-6;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    for (int i = 0; i < n; i++)
        u[i] = x[i] / sqrt(sum);
}

/* Head h of token t; its state is updated. */
static void rule(const world *w, int t, int h, double (*state)[MOST], double *o)
{
    const shape *s = &w->s;
    const int group = s->tile ? h % GROUPS : h / (HEADS / GROUPS);
    const double decay = exp(w->x[G][t * HEADS + h]), beta = w->x[BETA][t * HEADS + h];
    double q[MOST], k[MOST];
    unit(w->x[Q] + (t * GROUPS + group) * s->d, s->d, q);
    unit(w->x[K] + (t * GROUPS + group) * s->d, s->d, k);
    for (int e = 0; e < s->e; e++) {
        double seen = 0;
        o[e] = 0;
        for (int d = 0; d < s->d; d++) {
            state[d][e] *= decay;
            seen += state[d][e] * k[d];
        }
        for (int d = 0; d < s->d; d++) {
            state[d][e] += k[d] * beta * (w->x[V][(t * HEADS + h) * s->e + e] - seen);
            o[e] += state[d][e] * q[d] / sqrt(s->d);
        }
    }
}

static void compare_with_rule(const world *w, const float *y)
{
    static double state[SEQS][HEADS][MOST][MOST];
    memset(state, 0, sizeof state);
    for (int t = 0; t < TOKENS; t++)
        for (int h = 0; h < HEADS; h++) {
            double o[MOST];
            rule(w, t, h, state[seq[t]][h], o);
            for (int e = 0; e < w->s.e; e++) {
                const float got = y[(t * HEADS + h) * w->s.e + e];
                ck_assert_msg(fabs(got - o[e]) < 3e-6, "token %d, head %d: %g, not %g", t, h, got,
                              o[e]);
            }
        }
}

/* ---- tests -------------------------------------------------------------------------------------
 */

static float first[TOKENS * HEADS * MOST], y[TOKENS * HEADS * MOST];

START_TEST(bits_do_not_depend_on_steps)
{
    static const int most[] = {1, 7, 40, TOKENS};
    const size_t bytes = sizeof(float) * (size_t)(TOKENS * HEADS * shapes[_i].e);
    for (int d = 0; d < NDEVICES; d++) {
        world t;
        open_world(&t, devices[d], &shapes[_i]);
        compile_world(&t);
        for (size_t c = 0; c < sizeof most / sizeof *most; c++) {
            rlx_session *s = open_session(&t);
            run(&t, s, most[c], d + c ? y : first);
            ck_assert_msg(d + c == 0 || !memcmp(first, y, bytes), "%s in steps of %d", devices[d],
                          most[c]);
            rlx_session_destroy(s);
        }
        if (d == 0)
            compare_with_rule(&t, first);
        close_world(&t);
    }
}
END_TEST

/* Tokens of one sequence. */
static void go_on(const world *t, rlx_session *s, int q, int at, int n, float *to)
{
    int32_t of[TOKENS];
    for (int i = 0; i < n; i++)
        of[i] = q;
    step(t, s, at, n, of, to);
}

static void check_same(const world *t, const float *want, const float *got, int n, const char *what)
{
    ck_assert_msg(!memcmp(want, got, sizeof(float) * (size_t)(n * HEADS * t->s.e)), "%s", what);
}

enum { INSIDE = 10, BEYOND = 16, ONE = 20, OTHER = 45 }; /* of chunks of 16 */

/* Both branches go over the chunk's end, by other tokens, in turns. */
START_TEST(forks_within_a_chunk_go_apart)
{
    static const int at[2] = {ONE, OTHER};
    static float want[2][BEYOND * HEADS * MOST];
    world t;
    open_world(&t, devices[_i], &shapes[0]);
    compile_world(&t);
    const int row = HEADS * t.s.e;
    rlx_session *s = open_session(&t), *whole = open_session(&t);
    for (int q = 0; q < 2; q++) {
        go_on(&t, whole, q, 0, INSIDE, y);
        go_on(&t, whole, q, at[q], BEYOND, want[q]);
    }
    go_on(&t, s, 3, 60, 5, y); /* what the fork drops */
    go_on(&t, s, 2, 0, INSIDE, y);
    assert_ok(rlx_session_fork(s, 2, 3));
    for (int from = 0; from < BEYOND; from += BEYOND / 4)
        for (int q = 0; q < 2; q++) {
            go_on(&t, s, 2 + q, at[q] + from, BEYOND / 4, y);
            check_same(&t, want[q] + from * row, y, BEYOND / 4, q ? "the fork" : "what was forked");
        }
    rlx_session_destroy(s);
    rlx_session_destroy(whole);
    close_world(&t);
}
END_TEST

START_TEST(what_was_saved_within_a_chunk_goes_on)
{
    char path[] = "/tmp/rlx_delta_XXXXXX";
    const int file = mkstemp(path);
    world t;
    ck_assert_int_ge(file, 0);
    close(file);
    open_world(&t, devices[_i], &shapes[0]);
    compile_world(&t);
    const int row = HEADS * t.s.e;
    rlx_session *s = open_session(&t), *other = open_session(&t);
    go_on(&t, s, 2, 0, INSIDE, first);
    assert_ok(rlx_session_write(s, 2, "delta", path));
    go_on(&t, s, 2, INSIDE, BEYOND, first);
    go_on(&t, other, 1, 50, 7, y);
    assert_ok(rlx_session_read(other, 1, "delta", path));
    go_on(&t, other, 1, INSIDE, FEW, y);
    go_on(&t, other, 1, INSIDE + FEW, BEYOND - FEW, y + FEW * row);
    check_same(&t, first, y, BEYOND, "what was restored");
    unlink(path);
    rlx_session_destroy(s);
    rlx_session_destroy(other);
    close_world(&t);
}
END_TEST

/* ---- refusals ----------------------------------------------------------------------------------
 */

static void check_refused(rlx_status st, const char *why)
{
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    char *story = rlx_status_text(st);
    ck_assert_msg(strstr(story, why) != NULL, "%s", story);
    free(story);
    rlx_status_free(st);
}

/* Step by step, by chunks, by other chunks: none goes on with what another has left. */
START_TEST(other_forms_do_not_go_on)
{
    static const int chunks[] = {0, 16, 32};
    static const char *const why[3][3] = {
        {NULL, "2 positions, of which state 'memory.chunk'",
         "2 positions, of which state 'memory.chunk'"},
        {"2 positions, of which state 'memory'", NULL, "another format or shape"},
        {"2 positions, of which state 'memory'", "another format or shape", NULL}};
    static const int32_t of[2] = {1, 1};
    world t[3];
    for (int i = 0; i < 3; i++) {
        shape form = shapes[0];
        form.chunk = chunks[i];
        open_world(&t[i], "cpu", &form);
        assert_ok(compile(&t[i], FEW, &t[i].few));
    }
    for (int i = 0; i < 9; i++) {
        const world *a = &t[i / 3], *b = &t[i % 3];
        rlx_session *s = open_session(a);
        if (a != b) {
            step(a, s, 0, 2, of, y);
            check_refused(try_step(b, s, 2, 2, of), why[i / 3][i % 3]);
            step(a, s, 2, 2, of, y);
        }
        rlx_session_destroy(s);
    }
    for (int i = 0; i < 3; i++)
        close_world(&t[i]);
}
END_TEST

/* That there are sequences with the state makes no difference to those without; these may begin anew. */
START_TEST(states_see_each_sequence)
{
    static const int32_t zero[2] = {0, 0}, one[2] = {1, 1}, two[2] = {2, 2};
    static const char why[] = "2 positions, of which state 'memory.chunk'";
    world plain, t;
    shape form = shapes[0];
    form.chunk = 0;
    open_world(&plain, "cpu", &form);
    open_world(&t, "cpu", &shapes[0]);
    assert_ok(compile(&plain, FEW, &plain.few));
    assert_ok(compile(&t, FEW, &t.few));
    rlx_session *s = open_session(&t);
    step(&t, s, 0, 2, zero, first);
    step(&plain, s, 0, 2, one, y);
    assert_ok(rlx_session_fork(s, 1, 2));
    check_refused(try_step(&t, s, 2, 2, one), why);
    check_refused(try_step(&t, s, 2, 2, two), why);
    assert_ok(rlx_session_fork(s, 0, 2));
    step(&t, s, 2, 2, two, y);
    assert_ok(rlx_session_rewind(s, 1, 0));
    step(&t, s, 0, 2, one, y);
    check_same(&t, first, y, 2, "what begins anew");
    rlx_session_destroy(s);
    close_world(&plain);
    close_world(&t);
}
END_TEST

START_TEST(other_chunks_are_refused)
{
    const shape odd = {8, 8, 24, false};
    world t;
    open_world(&t, "cpu", &odd);
    rlx_status st = compile(&t, TOKENS, &t.many);
    check_refused(st, "chunks of 24 steps; there are those of 16, 32 and 64");
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("delta_chunks");
    TCase *c = tcase_create("sessions");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, bits_do_not_depend_on_steps, 0, NSHAPES);
    tcase_add_loop_test(c, forks_within_a_chunk_go_apart, 0, NDEVICES);
    tcase_add_loop_test(c, what_was_saved_within_a_chunk_goes_on, 0, NDEVICES);
    tcase_add_test(c, other_forms_do_not_go_on);
    tcase_add_test(c, states_see_each_sequence);
    tcase_add_test(c, other_chunks_are_refused);
    suite_add_tcase(s, c);
    return run_suite(s, NSHAPES + 2 * NDEVICES + 3);
}
