/* tests/runtime/session_world.h: a session whose sequences recall what they were given, and the
 * histories that they must recall, whatever pages they share and wherever these lie. */
#ifndef RLX_TESTS_RUNTIME_SESSION_WORLD_H
#define RLX_TESTS_RUNTIME_SESSION_WORLD_H

#include "runtime/session.h"
#include "tests/runtime/memory.h"

enum {
    WINDOW = 300,
    SEQUENCES = 6,
    POSITIONS = 4096,
    WINDOW_PAGES = 2 + 2 /* ceil(300 / 256) + 2 */
};

typedef enum kind { FULL = 1, NEAR = 2, BOTH = 3 } kind;

static inline void add_memory(builder *b, const char *state, const char *pages, const char *table,
                              const char *kernel, const char *object, const rlx_program_arg *in,
                              int param)
{
    uint32_t remember = add_kernel(b, "remember", RLX_OBJECT_REMEMBER, 5, 0);
    uint32_t recall = add_kernel(b, kernel, object, 6, 0);
    rlx_program_arg kv = add_bound(b, RLX_BIND_STATE, state, RLX_I32, 2, dim_of(b, pages), 256);
    rlx_program_arg slots =
        add_bound(b, RLX_BIND_INPUT, table, RLX_I32, 2, dim_of(b, "SEQS"), dim_of(b, "SLOTS"));
    LAUNCH(b, remember, 0, kv, in[0], in[1], in[2], slots);
    LAUNCH(b, recall, 1, kv, in[3], in[1], in[2], slots, at_param(param));
}

/* build_memory with pages of all positions, of the last 300, or one state of each. */
static inline void build_windows(builder *b, kind kinds)
{
    builder_init(b, "windows", (int64_t[]){2048, 2048, 8, 16, 96});
    rlx_dim tokens = dim_of(b, "TOKENS"), rows = dim_of(b, "ROWS");
    dim_of(b, "PAGES_300");
    b->p.upper[5] = 96;
    rlx_program_arg in[4] = {add_bound(b, RLX_BIND_INPUT, "ids", RLX_I32, 1, tokens, 0),
                             add_bound(b, RLX_BIND_INPUT, "pos", RLX_I32, 1, tokens, 0),
                             add_bound(b, RLX_BIND_INPUT, "seq", RLX_I32, 1, tokens, 0),
                             add_bound(b, RLX_BIND_INPUT, "rows", RLX_I32, 1, rows, 0)};
    add_func(b, "main", kinds == BOTH ? 2 : 1, kinds == BOTH ? 2 : 1, 0);
    if (kinds & FULL)
        add_memory(b, "kv", "PAGES", "table", "recall", RLX_OBJECT_RECALL, in, 0);
    if (kinds & NEAR)
        add_memory(b, "near", "PAGES_300", "table_300", "recall_near", RLX_OBJECT_RECALL_NEAR, in,
                   kinds == BOTH);
    if (kinds & FULL)
        add_output(b, "sums", RLX_I64, 1, rows);
    if (kinds & NEAR)
        add_output(b, "near_sums", RLX_I64, 1, rows);
}

/* ---- what the sequences were given ---------------------------------------------------------- */

typedef struct history {
    int64_t past, most; /* most: that it has held */
    int32_t id[POSITIONS];
} history;

typedef struct world {
    kind kinds;
    rlx_team *team;
    rlx_session *s;
    rlx_executable *e;
    builder b;
    history h[SEQUENCES];
    uint32_t random;
} world;

static inline world *make_world(kind kinds, int threads)
{
    world *w = calloc(1, sizeof(*w));
    w->kinds = kinds;
    w->random = 12345;
    build_windows(&w->b, kinds);
    w->e = load(&w->b, NULL);
    w->team = make_team(threads);
    w->s = make_session(w->team, POSITIONS, SEQUENCES);
    return w;
}

static inline void free_world(world *w)
{
    rlx_session_destroy(w->s);
    rlx_executable_destroy(w->e);
    rlx_team_destroy(w->team);
    builder_deinit(&w->b);
    free(w);
}

static inline uint32_t next(world *w, uint32_t below)
{
    w->random = w->random * 1664525 + 1013904223;
    return (w->random >> 8) % below;
}

static inline int64_t sum(const history *h, int64_t from, int64_t pos)
{
    int64_t total = 0;
    for (int64_t i = from < 0 ? 0 : from; i <= pos; i++)
        total += i * h->id[i];
    return total;
}

static inline rlx_status try_step(world *w, const int32_t *seq, int n, const int32_t *ids)
{
    rlx_step_input in = {"ids", ids, (size_t)n * 4};
    return rlx_session_step(
        w->s, w->e, &(rlx_step){.tokens = n, .rows = n, .seq = seq, .inputs = &in, .ninputs = 1});
}

static inline void check_output(world *w, const char *name, const int32_t *seq, const int64_t *pos,
                                int n, int64_t window)
{
    rlx_tensor t;
    EXPECT_OK(rlx_session_output(w->s, name, &t));
    const int64_t *got = t.data;
    for (int i = 0; i < n; i += 1 + n / 16)
        ck_assert_int_eq(got[i], sum(&w->h[seq[i]], pos[i] - window + 1, pos[i]));
}

/* Every slot that is said to have a page has one, and every page knows how many lead to it. */
static inline void check_books(const world *w)
{
    for (int i = 0; i < w->s->nwindows; i++) {
        const rlx_pages *p = &w->s->pages[i];
        int32_t refs[SEQUENCES * POSITIONS / 256] = {0};
        for (int q = 0; q < SEQUENCES; q++)
            for (int64_t k = p->first[q]; k < rlx_session_slots(w->s->past[q]); k++)
                refs[p->table[q * w->s->max_slots + k]]++;
        ck_assert_mem_eq(refs, p->refs, sizeof(refs));
        int64_t used = 0;
        for (size_t k = 0; k < sizeof(refs) / sizeof(*refs); k++)
            used += refs[k] > 0;
        ck_assert_int_eq(used + p->nspare, p->count);
    }
}

static inline void step_world(world *w, const int32_t *seq, int n)
{
    static int32_t ids[2048];
    static int64_t pos[2048];
    for (int t = 0; t < n; t++) {
        history *h = &w->h[seq[t]];
        pos[t] = h->past;
        ids[t] = h->id[h->past++] = (int32_t)next(w, 1 << 20);
        h->most = h->past > h->most ? h->past : h->most;
    }
    EXPECT_OK(try_step(w, seq, n, ids));
    if (w->kinds & FULL)
        check_output(w, "sums", seq, pos, n, POSITIONS);
    if (w->kinds & NEAR)
        check_output(w, "near_sums", seq, pos, n, WINDOW);
    check_books(w);
}

static inline void grow(world *w, int q, int n)
{
    static int32_t seq[2048];
    for (int i = 0; i < n; i++)
        seq[i] = q;
    step_world(w, seq, n);
}

static inline void fork_world(world *w, int from, int to)
{
    EXPECT_OK(rlx_session_fork(w->s, from, to));
    w->h[to] = w->h[from];
    check_books(w);
}

static inline void rewind_world(world *w, int q, int64_t positions)
{
    EXPECT_OK(rlx_session_rewind(w->s, q, positions));
    w->h[q].past = positions;
    w->h[q].most = positions ? w->h[q].most : 0;
    ck_assert_int_eq(rlx_session_past(w->s, q), positions);
    check_books(w);
}

static inline const rlx_pages *pages_of(const world *w, int64_t window)
{
    for (int i = 0; i < w->s->nwindows; i++)
        if (w->s->pages[i].window == window)
            return &w->s->pages[i];
    ck_abort_msg("no pages of window %lld", (long long)window);
    return NULL;
}

static inline void one_move(world *w)
{
    int32_t seq[64];
    int q = (int)next(w, SEQUENCES), other = (q + 1 + (int)next(w, SEQUENCES - 1)) % SEQUENCES;
    switch (next(w, 8)) {
    case 0:
        fork_world(w, q, other);
        return;
    case 1: {
        int64_t to = w->h[q].most - next(w, 257);
        rewind_world(w, q, to < 0 ? 0 : to < w->h[q].past ? to : w->h[q].past);
        return;
    }
    case 2:
        if (w->h[q].past < POSITIONS - 700)
            grow(w, q, 1 + (int)next(w, 600));
        else
            rewind_world(w, q, 0);
        return;
    default: {
        int n = 1 + (int)next(w, 63);
        for (int i = 0; i < n; i++)
            seq[i] = (int32_t)next(w, SEQUENCES);
        for (int i = 0; i < SEQUENCES; i++)
            if (w->h[i].past > POSITIONS - 64)
                rewind_world(w, i, 0);
        step_world(w, seq, n);
    }
    }
}

#endif
