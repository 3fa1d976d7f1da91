/* Cancelling: before a step, inside it, from another thread and from a signal handler. */
#include <pthread.h>
#include <signal.h>

#include "tests/runtime/memory.h"

/* An engine that plays a program's kernels with nothing, and cancels its own session now and then.
 */
typedef struct saboteur {
    rlx_session *s;
    _Atomic int launches; /* parts begun */
    int cancel_at;        /* -1: never */
} saboteur;

static rlx_status play(void *user, uint32_t kernel, void *const *buffers, const int64_t *symbols,
                       int64_t team, int64_t teams)
{
    (void)kernel, (void)buffers, (void)symbols, (void)team, (void)teams;
    saboteur *x = user;
    if (x->launches++ == x->cancel_at)
        rlx_session_cancel(x->s);
    return RLX_OK;
}

static rlx_executable *load_engine(builder *b, saboteur *x)
{
    rlx_engine engine = {.launch = play, .user = x};
    rlx_text t = {0};
    rlx_executable *e;
    for (uint32_t i = 0; i < b->p.nkernels; i++)
        b->kernels[i].code_bytes = 0;
    EXPECT_OK(rlx_program_encode(&b->p, &t));
    EXPECT_OK(rlx_executable_create_engine(t.data, t.len, NULL, &engine, &e));
    rlx_text_deinit(&t);
    return e;
}

static const int32_t ids[1000];

static rlx_status step(rlx_session *s, rlx_executable *e, int n)
{
    rlx_step_input in = {"ids", ids, (size_t)n * 4};
    return rlx_session_step(s, e, &(rlx_step){.tokens = n, .inputs = &in, .ninputs = 1});
}

START_TEST(before_a_step)
{
    builder b;
    build_memory(&b, uppers);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 1000, 2);
    mirror m = {0};
    step_memory(s, e, &m, NULL, 300);
    rlx_session_cancel(s);
    rlx_session_cancel(s); /* before a step they are one */
    rlx_tensor before, after;
    EXPECT_OK(rlx_session_output(s, "sums", &before));
    EXPECT_ERROR(step(s, e, 5), RLX_CANCELLED, "cancelled");
    ck_assert_int_eq(rlx_session_past(s, 0), 300);
    EXPECT_OK(rlx_session_output(s, "sums", &after)); /* nothing has run */
    ck_assert_ptr_eq(before.data, after.data);
    step_memory(s, e, &m, NULL, 300);
    rlx_session_cancel(s);
    EXPECT_ERROR(step(s, e, 600), RLX_EXHAUSTED, ""); /* a wrong step answers nothing */
    EXPECT_ERROR(step(s, e, 1), RLX_CANCELLED, "cancelled");
    rlx_session_cancel(s);
    rlx_session_reset(s); /* drops it */
    m = (mirror){0};
    step_memory(s, e, &m, NULL, 3);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

START_TEST(inside_a_step)
{
    for (int threads = 1; threads <= 3; threads++) {
        builder b;
        build_memory(&b, uppers); /* two phases */
        rlx_team *t = make_team(threads);
        rlx_session *s = make_session(t, 1000, 1);
        saboteur x = {.s = s};
        rlx_executable *e = load_engine(&b, &x);
        EXPECT_ERROR(step(s, e, 300), RLX_CANCELLED, "a step of program 'memory'");
        ck_assert_int_lt(x.launches, 2 * threads); /* the second phase was not run */
        ck_assert_int_eq(rlx_session_past(s, 0), 0);
        rlx_tensor out;
        EXPECT_ERROR(rlx_session_output(s, "sums", &out), RLX_NOT_FOUND, "has not stepped");
        EXPECT_OK(step(s, e, 300));
        /* Too late for this step: every part has begun. It is whole, and the next one ends. */
        x.launches = 0;
        x.cancel_at = 2 * threads - 1;
        EXPECT_OK(step(s, e, 3));
        ck_assert_int_eq(rlx_session_past(s, 0), 303);
        EXPECT_ERROR(step(s, e, 3), RLX_CANCELLED, "cancelled");
        ck_assert_int_eq(rlx_session_past(s, 0), 303);
        rlx_session_destroy(s);
        rlx_team_destroy(t);
        rlx_executable_destroy(e);
        builder_deinit(&b);
    }
}
END_TEST

/* A state that has no pages would be half new: such a step is whole or has not begun. */
START_TEST(never_half_a_state)
{
    builder b;
    build_memory(&b, uppers);
    add_bound(&b, RLX_BIND_STATE, "row", RLX_F32, 2, dim_of(&b, "SEQS"), 4);
    LAUNCH(&b, 0, 2, (rlx_program_arg){.kind = RLX_ARG_SYMBOL, .index = b.p.nbound - 1},
           at_param(0), at_param(0), at_param(0), at_param(0));
    rlx_team *t = make_team(2);
    rlx_session *s = make_session(t, 1000, 1);
    saboteur x = {.s = s};
    rlx_executable *e = load_engine(&b, &x);
    EXPECT_OK(step(s, e, 7)); /* cancelled in its first part */
    ck_assert_int_eq(x.launches, 3 * 2);
    EXPECT_ERROR(step(s, e, 7), RLX_CANCELLED, "cancelled");
    ck_assert_int_eq(x.launches, 3 * 2);
    ck_assert_int_eq(rlx_session_past(s, 0), 7);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

/* ---- from elsewhere ------------------------------------------------------------------------- */

static rlx_session *signalled;

static void on_signal(int number)
{
    (void)number;
    rlx_session_cancel(signalled);
}

/* However cancels and steps meet, a sequence holds what the steps said that it does. */
static bool step_under_fire(rlx_session *s, rlx_executable *e)
{
    int64_t past = rlx_session_past(s, 0);
    rlx_status st = step(s, e, 1);
    bool cancelled = rlx_status_code(st) == RLX_CANCELLED;
    ck_assert(!st || cancelled);
    rlx_status_free(st);
    ck_assert_int_eq(rlx_session_past(s, 0), past + !cancelled);
    return cancelled;
}

START_TEST(from_a_signal)
{
    builder b;
    build_memory(&b, uppers);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    signalled = make_session(t, 1000, 1);
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &action, &before);
    int cancelled = 0;
    for (int i = 0; i < 300; i++) {
        if (i % 3 == 0)
            raise(SIGUSR1);
        cancelled += step_under_fire(signalled, e);
    }
    sigaction(SIGUSR1, &before, NULL);
    ck_assert_int_eq(cancelled, 100);
    ck_assert_int_eq(rlx_session_past(signalled, 0), 200);
    rlx_session_destroy(signalled);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

typedef struct canceller {
    rlx_session *s;
    _Atomic bool done;
} canceller;

static void *cancel_often(void *user)
{
    canceller *c = user;
    while (!c->done)
        rlx_session_cancel(c->s);
    return NULL;
}

START_TEST(from_a_thread)
{
    builder b;
    build_memory(&b, uppers);
    rlx_executable *e = load(&b, NULL);
    rlx_team *t = make_team(2);
    canceller c = {.s = make_session(t, 0, 1)};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_often, &c), 0);
    int cancelled = 0, tries = 0;
    while (tries++ < 2000 || cancelled < 10) {
        cancelled += step_under_fire(c.s, e);
        if (rlx_session_past(c.s, 0) == 4096) /* the bucket's end */
            rlx_session_reset(c.s);
    }
    c.done = true;
    pthread_join(thread, NULL);
    rlx_session_reset(c.s);
    step_memory(c.s, e, &(mirror){0}, NULL, 500);
    rlx_session_destroy(c.s);
    rlx_team_destroy(t);
    rlx_executable_destroy(e);
    builder_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session_cancel");
    SUITE_TEST(s, "before a step", before_a_step);
    SUITE_TEST(s, "inside a step", inside_a_step);
    SUITE_TEST(s, "never half a state", never_half_a_state);
    SUITE_TEST(s, "from a signal", from_a_signal);
    SUITE_TEST(s, "from a thread", from_a_thread);
    return suite_run(s, 5);
}
