/* Pages under sequences that slide, fork, go back and begin anew: whatever they share and wherever
 * it lies, what each recalls is what it was given. */
#include "tests/runtime/session_world.h"

/* ---- windows -------------------------------------------------------------------------------- */

START_TEST(windows_are_rings)
{
    world *w = make_world(NEAR, 2);
    for (int i = 0; i < POSITIONS - 512; i++) {
        grow(w, 0, 1);
        ck_assert_int_le(pages_of(w, WINDOW)->count, WINDOW_PAGES);
    }
    grow(w, 0, 512); /* a step's own tokens come on top */
    ck_assert_int_le(pages_of(w, WINDOW)->count, WINDOW_PAGES + 2);
    ck_assert_int_eq(rlx_session_past(w->s, 0), POSITIONS);
    int32_t id = 0;
    EXPECT_ERROR(try_step(w, NULL, 1, &id), RLX_EXHAUSTED, "of at most 4096");
    free_world(w);
}
END_TEST

START_TEST(windows_beside_all_positions)
{
    world *w = make_world(BOTH, 2);
    for (int i = 0; i < 20; i++) {
        grow(w, 1, 150);
        grow(w, 4, 1 + i);
    }
    ck_assert_int_eq(pages_of(w, 0)->count, (3000 + 255) / 256 + 1);
    ck_assert_int_le(pages_of(w, WINDOW)->count, WINDOW_PAGES + 1 + 1);
    free_world(w);
}
END_TEST

/* The arithmetic at every length: what the next token reads is there, and no more than promised. */
START_TEST(windows_at_every_length)
{
    world *w = make_world(NEAR, 1);
    const rlx_pages *p = NULL;
    for (int64_t past = 1; past <= 1500; past++) {
        grow(w, 0, 1);
        p = p ? p : pages_of(w, WINDOW);
        int64_t lowest = past + 1 - WINDOW - 256 < 0 ? 0 : past + 1 - WINDOW - 256;
        ck_assert_int_eq(p->first[0], lowest / 256);
    }
    free_world(w);
}
END_TEST

/* ---- forks ---------------------------------------------------------------------------------- */

START_TEST(forks_share_full_pages)
{
    world *w = make_world(FULL, 2);
    grow(w, 0, 600);
    const rlx_pages *p = pages_of(w, 0);
    ck_assert_int_eq(p->count, 3);
    for (int q = 1; q < SEQUENCES; q++)
        fork_world(w, 0, q);
    ck_assert_int_eq(p->count, 3); /* nothing is copied yet */
    for (int q = SEQUENCES - 1; q >= 0; q--)
        grow(w, q, 1); /* the last one to write has the page for itself */
    ck_assert_int_eq(p->count, 2 + SEQUENCES);
    for (int q = 0; q < SEQUENCES; q++)
        grow(w, q, 300);
    ck_assert_int_eq(p->count, 2 + 2 * SEQUENCES);
    fork_world(w, 2, 3); /* in place of what 3 held */
    ck_assert_int_eq(p->nspare, 2);
    grow(w, 3, 200);
    grow(w, 2, 5);
    free_world(w);
}
END_TEST

START_TEST(forks_at_a_page_end_copy_nothing)
{
    world *w = make_world(BOTH, 2);
    grow(w, 0, 512);
    fork_world(w, 0, 1);
    grow(w, 1, 1);
    ck_assert_int_eq(pages_of(w, 0)->count, 3);
    grow(w, 0, 1);
    ck_assert_int_eq(pages_of(w, 0)->count, 4);
    fork_world(w, 5, 0); /* of an empty one: 0 begins anew */
    ck_assert_int_eq(rlx_session_past(w->s, 0), 0);
    grow(w, 0, 40);
    free_world(w);
}
END_TEST

/* ---- going back ----------------------------------------------------------------------------- */

START_TEST(rewinds)
{
    world *w = make_world(FULL, 2);
    grow(w, 0, 1000);
    rewind_world(w, 0, 1000);
    rewind_world(w, 0, 999);
    grow(w, 0, 30);
    rewind_world(w, 0, 512);
    ck_assert_int_eq(pages_of(w, 0)->nspare, 3);
    grow(w, 0, 1);
    rewind_world(w, 0, 511);
    grow(w, 0, 100);
    fork_world(w, 0, 1);
    rewind_world(w, 1, 200); /* into a full page that is shared */
    grow(w, 1, 300);
    grow(w, 0, 1);
    rewind_world(w, 0, 0); /* 1 keeps what it shared with it */
    ck_assert_int_eq(pages_of(w, 0)->count - pages_of(w, 0)->nspare, 2);
    grow(w, 1, 10);
    grow(w, 0, 700);
    free_world(w);
}
END_TEST

START_TEST(rewinds_inside_windows)
{
    world *w = make_world(BOTH, 1);
    for (int i = 0; i < 1400; i++) {
        grow(w, 0, 1);
        if (i % 97 == 0 && i > 256) {
            fork_world(w, 0, 1);
            rewind_world(w, 1, w->h[1].past - 256); /* always there */
            grow(w, 1, 3);
        }
    }
    /* The window of the next token at 700 begins at 401: page 1, which is gone. */
    EXPECT_ERROR(
        rlx_session_rewind(w->s, 0, 700), RLX_EXHAUSTED,
        "sequence 0 cannot go back from 1400 positions to 700: the next token would see the "
        "299 before it, and those before position 768 are gone");
    ck_assert_int_eq(rlx_session_past(w->s, 0), 1400);
    grow(w, 0, 1);
    rewind_world(w, 0, 0); /* that needs nothing */
    grow(w, 0, 500);
    rewind_world(w, 0, 1);
    grow(w, 0, 500);
    free_world(w);
}
END_TEST

/* ---- everything at once --------------------------------------------------------------------- */

START_TEST(any_moves)
{
    for (int threads = 1; threads <= 2; threads++) {
        world *w = make_world(BOTH, threads);
        for (int i = 0; i < 3000; i++)
            one_move(w);
        rlx_session_reset(w->s);
        memset(w->h, 0, sizeof(w->h));
        check_books(w);
        ck_assert_int_eq(pages_of(w, 0)->count, 0);
        for (int i = 0; i < 200; i++)
            one_move(w);
        free_world(w);
    }
}
END_TEST

/* ---- wrong ones ----------------------------------------------------------------------------- */

START_TEST(wrong_moves_change_nothing)
{
    world *w = make_world(BOTH, 1);
    grow(w, 0, 300);
    EXPECT_ERROR(rlx_session_fork(w->s, 0, SEQUENCES), RLX_INVALID_ARGUMENT,
                 "sequence 6, the session has 6");
    EXPECT_ERROR(rlx_session_fork(w->s, -1, 0), RLX_INVALID_ARGUMENT, "sequence -1");
    EXPECT_ERROR(rlx_session_fork(w->s, 0, 0), RLX_INVALID_ARGUMENT, "into itself");
    EXPECT_ERROR(rlx_session_rewind(w->s, 7, 0), RLX_INVALID_ARGUMENT, "sequence 7");
    EXPECT_ERROR(rlx_session_rewind(w->s, 0, 301), RLX_INVALID_ARGUMENT,
                 "cannot go back from 300 positions to 301");
    EXPECT_ERROR(rlx_session_rewind(w->s, 0, -1), RLX_INVALID_ARGUMENT, "to -1");
    int32_t seq[] = {0, SEQUENCES}, ids[2] = {0};
    EXPECT_ERROR(try_step(w, seq, 2, ids), RLX_INVALID_ARGUMENT, "sequence 6");
    check_books(w);
    grow(w, 0, 300);
    free_world(w);
}
END_TEST

/* A step that fails on its way gives its pages back; the copy of a shared page may stay. */
static rlx_status fail_step(void *user, void *(*bind)(void *cx, const char *name), void *cx,
                            const int64_t *symbols)
{
    (void)user, (void)bind, (void)cx, (void)symbols;
    return RLX_FAIL(RLX_IO, "as asked");
}

START_TEST(failed_steps_take_no_pages)
{
    world *w = make_world(BOTH, 1);
    rlx_text t = {0};
    rlx_executable *good = w->e, *bad;
    EXPECT_OK(rlx_program_encode(&w->b.p, &t));
    EXPECT_OK(
        rlx_executable_create_engine(t.data, t.len, NULL, &(rlx_engine){.step = fail_step}, &bad));
    grow(w, 0, 700);
    fork_world(w, 0, 1);
    int32_t seq[600] = {0}, ids[600] = {0};
    for (int i = 0; i < 600; i++)
        seq[i] = i % 3;
    for (int i = 0; i < 3; i++) {
        w->e = bad;
        EXPECT_ERROR(try_step(w, seq, 600, ids), RLX_IO, "as asked");
        w->e = good;
        check_books(w);
        ck_assert_int_le(pages_of(w, 0)->count, 3 + 2 + 3);
        for (int q = 0; q < 3; q++)
            ck_assert_int_eq(rlx_session_past(w->s, q), w->h[q].past);
        grow(w, i, 1);
    }
    rlx_executable_destroy(bad);
    rlx_text_deinit(&t);
    free_world(w);
}
END_TEST

/* PAGES of the bucket counts pages in use, wherever they are. */
START_TEST(buckets_bound_pages)
{
    world *w = make_world(FULL, 1);
    rlx_executable_destroy(w->e);
    w->b.p.upper[4] = 4;
    w->e = load(&w->b, NULL);
    grow(w, 0, 768);
    fork_world(w, 0, 1);
    grow(w, 1, 1);
    int32_t seq[] = {0}, id = 0;
    EXPECT_ERROR(try_step(w, seq, 1, &id), RLX_EXHAUSTED,
                 "PAGES is 5, program 'windows' is compiled");
    rewind_world(w, 1, 768);
    grow(w, 0, 256);
    fork_world(w, 0, 1);
    free_world(w);
}
END_TEST

/* A state that comes late finds zeros for what sequences hold already. */
START_TEST(late_states_begin_as_zeros)
{
    world *w = make_world(FULL, 1);
    builder b;
    build_windows(&b, BOTH);
    rlx_executable *both = load(&b, NULL), *full = w->e;
    grow(w, 0, 700);
    fork_world(w, 0, 3);
    w->e = both;
    int32_t seq[] = {0, 3}, ids[] = {5, 6};
    EXPECT_OK(try_step(w, seq, 2, ids));
    rlx_tensor near;
    EXPECT_OK(rlx_session_output(w->s, "near_sums", &near));
    ck_assert_int_eq(((const int64_t *)near.data)[0], 700 * 5);
    ck_assert_int_eq(((const int64_t *)near.data)[1], 700 * 6);
    check_books(w);
    w->e = full;
    rlx_executable_destroy(both);
    builder_deinit(&b);
    free_world(w);
}
END_TEST

/* ---- states of rows ------------------------------------------------------------------------- */

/* The row of the step's highest sequence counts its steps. */
static rlx_status count_rows(void *user, void *(*bind)(void *cx, const char *name), void *cx,
                             const int64_t *symbols)
{
    (void)user;
    int64_t *row = bind(cx, "row"), *y = bind(cx, "y");
    *y = ++row[symbols[2] - 1];
    return RLX_OK;
}

static int64_t count(rlx_session *s, rlx_executable *e, int32_t seq)
{
    rlx_tensor y;
    EXPECT_OK(rlx_session_step(s, e, &(rlx_step){.tokens = 1, .seq = &seq}));
    EXPECT_OK(rlx_session_output(s, "y", &y));
    return *(const int64_t *)y.data;
}

START_TEST(rows_follow_their_sequences)
{
    builder b;
    builder_init(&b, "rows", uppers);
    add_kernel(&b, "copy", RLX_OBJECT_COPY, 2, 0);
    b.kernels[0].code_bytes = 0;
    rlx_program_arg row = add_bound(&b, RLX_BIND_STATE, "row", RLX_I64, 1, dim_of(&b, "SEQS"), 0);
    add_func(&b, "main", 1, 1, 0);
    LAUNCH(&b, 0, 0, row, at_param(0));
    add_output(&b, "y", RLX_I64, 1, 1);
    rlx_text t = {0};
    rlx_executable *e;
    EXPECT_OK(rlx_program_encode(&b.p, &t));
    EXPECT_OK(
        rlx_executable_create_engine(t.data, t.len, NULL, &(rlx_engine){.step = count_rows}, &e));
    rlx_team *team = make_team(1);
    rlx_session *s = make_session(team, 0, 4);
    for (int i = 1; i <= 5; i++)
        ck_assert_int_eq(count(s, e, 1), i);
    ck_assert_int_eq(count(s, e, 2), 1);
    EXPECT_OK(rlx_session_fork(s, 1, 2));
    ck_assert_int_eq(rlx_session_past(s, 2), 5);
    ck_assert_int_eq(count(s, e, 2), 6);
    ck_assert_int_eq(count(s, e, 1), 6);
    EXPECT_OK(rlx_session_rewind(s, 1, 6)); /* where it is */
    EXPECT_ERROR(rlx_session_rewind(s, 1, 5), RLX_UNSUPPORTED, "state 'row' keeps no past");
    ck_assert_int_eq(count(s, e, 1), 7);
    EXPECT_OK(rlx_session_rewind(s, 1, 0));
    ck_assert_int_eq(count(s, e, 1), 1);
    rlx_session_destroy(s);
    rlx_team_destroy(team);
    rlx_executable_destroy(e);
    rlx_text_deinit(&t);
    builder_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session_pages");
    SUITE_TEST(s, "windows are rings", windows_are_rings);
    SUITE_TEST(s, "windows beside all positions", windows_beside_all_positions);
    SUITE_TEST(s, "windows at every length", windows_at_every_length);
    SUITE_TEST(s, "forks share full pages", forks_share_full_pages);
    SUITE_TEST(s, "forks at a page end copy nothing", forks_at_a_page_end_copy_nothing);
    SUITE_TEST(s, "rewinds", rewinds);
    SUITE_TEST(s, "rewinds inside windows", rewinds_inside_windows);
    SUITE_TEST(s, "any moves", any_moves);
    SUITE_TEST(s, "wrong moves change nothing", wrong_moves_change_nothing);
    SUITE_TEST(s, "failed steps take no pages", failed_steps_take_no_pages);
    SUITE_TEST(s, "buckets bound pages", buckets_bound_pages);
    SUITE_TEST(s, "late states begin as zeros", late_states_begin_as_zeros);
    SUITE_TEST(s, "rows follow their sequences", rows_follow_their_sequences);
    return suite_run(s, 13);
}
