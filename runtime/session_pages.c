/* runtime/session_pages.c: which page holds which positions of which sequence.
 *
 *   table[seq, pos / 256] -> page    one table for each window that a program's states have:
 *   slots   0 ........ first ........... slots(past)
 *           given back | in use          | not yet
 *
 * Pages of a window are a ring: what lies behind the window of the next position, and further than
 * SLACK before it, is given back after each step and taken again for new positions. A page that
 * several sequences lead to is full, or somebody's copy of it is made before he writes. Who takes a
 * page that was in use finds zeros.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

/* Positions that stay behind a window, so that a sequence can always go back by that many once. */
enum { SLACK = RLX_PAGE_POSITIONS };

/* ---- taking and giving back -------------------------------------------------------------------
 */

/* The next pool that these pages are of, after `i`; -1 begins. NULL: no more. */
static const rlx_pool *next_pool(const rlx_session *s, const rlx_pages *p, int *i)
{
    while (++*i < s->npools) {
        const rlx_pool *pool = s->pools[*i];
        if (pool->axis == RLX_POOL_PAGES && p == &s->pages[pool->pages])
            return pool;
    }
    return NULL;
}

static int32_t take_page(rlx_session *s, rlx_pages *p)
{
    int32_t page = p->nspare ? p->spare[--p->nspare] : (int32_t)p->count++;
    const rlx_pool *pool;
    if (page >= p->touched)
        p->touched = page + 1;
    else
        for (int i = -1; (pool = next_pool(s, p, &i));)
            rlx_session_clear_unit(s, pool, page);
    p->refs[page] = 1;
    return page;
}

static void give_back(rlx_pages *p, int32_t page)
{
    if (--p->refs[page] == 0)
        p->spare[p->nspare++] = page;
}

static int32_t *slots_of(const rlx_session *s, const rlx_pages *p, int seq)
{
    return p->table + seq * s->max_slots;
}

/* Slots from .. to - 1 of a sequence lead nowhere. */
static void release(const rlx_session *s, rlx_pages *p, int seq, int64_t from, int64_t to)
{
    int32_t *slots = slots_of(s, p, seq);
    for (int64_t i = from; i < to; i++) {
        give_back(p, slots[i]);
        slots[i] = 0;
    }
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t rlx_session_first_needed(const rlx_pages *p, int64_t past)
{
    return p->window ? larger(past + 1 - p->window, 0) / RLX_PAGE_POSITIONS : 0;
}

static int64_t first_kept(const rlx_pages *p, int64_t past)
{
    return rlx_session_first_needed(p, larger(past - SLACK, 0));
}

/* ---- with steps -------------------------------------------------------------------------------
 */

/* The slot that a sequence is about to write to is not its own. */
static bool must_copy(const rlx_session *s, const rlx_pages *p, int seq)
{
    int64_t past = s->past[seq];
    if (past == s->next[seq] || past % RLX_PAGE_POSITIONS == 0)
        return false;
    return p->refs[slots_of(s, p, seq)[past / RLX_PAGE_POSITIONS]] > 1;
}

int64_t rlx_session_count_pages(const rlx_session *s, const rlx_pages *p)
{
    int64_t more = -p->nspare;
    for (int q = 0; q < s->reach; q++)
        more += rlx_session_slots(s->next[q]) - rlx_session_slots(s->past[q]) + must_copy(s, p, q);
    return p->count + larger(more, 0);
}

static void copy_page(rlx_session *s, rlx_pages *p, int32_t *slot)
{
    int32_t from = *slot, to = take_page(s, p);
    const rlx_pool *pool;
    for (int i = -1; (pool = next_pool(s, p, &i));)
        rlx_session_copy_unit(s, pool, from, to);
    give_back(p, from);
    *slot = to;
}

void rlx_session_allot_pages(rlx_session *s)
{
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        for (int q = 0; q < s->reach; q++) {
            int32_t *slots = slots_of(s, p, q);
            if (must_copy(s, p, q))
                copy_page(s, p, &slots[s->past[q] / RLX_PAGE_POSITIONS]);
            int64_t end = rlx_session_slots(s->next[q]);
            for (int64_t i = rlx_session_slots(s->past[q]); i < end; i++)
                slots[i] = take_page(s, p);
        }
}

void rlx_session_retract_pages(rlx_session *s)
{
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        for (int q = 0; q < s->reach; q++)
            release(s, p, q, rlx_session_slots(s->past[q]), rlx_session_slots(s->next[q]));
}

void rlx_session_slide_pages(rlx_session *s)
{
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        for (int q = 0; p->window && q < s->reach; q++) {
            int64_t first = larger(p->first[q], first_kept(p, s->past[q]));
            release(s, p, q, p->first[q], first);
            p->first[q] = first;
        }
}

/* ---- windows ----------------------------------------------------------------------------------
 */

static void free_pages(rlx_pages *p)
{
    free(p->table);
    free(p->first);
    free(p->refs);
    free(p->spare);
}

void rlx_session_free_pages(rlx_session *s)
{
    for (int i = 0; i < s->nwindows; i++)
        free_pages(&s->pages[i]);
}

/* Every sequence has pages for what it holds already: zeros, as states begin. */
static void catch_up(rlx_session *s, rlx_pages *p)
{
    for (int q = 0; q < s->max_sequences; q++) {
        p->first[q] = first_kept(p, s->past[q]);
        for (int64_t i = p->first[q]; i < rlx_session_slots(s->past[q]); i++)
            slots_of(s, p, q)[i] = take_page(s, p);
    }
}

rlx_status rlx_session_find_pages(rlx_session *s, int64_t window, int *out)
{
    for (*out = 0; *out < s->nwindows; ++*out)
        if (s->pages[*out].window == window)
            return RLX_OK;
    if (s->nwindows == RLX_MAX_WINDOWS)
        return RLX_FAIL(RLX_UNSUPPORTED, "a window of %lld positions: a session has at most %d",
                        (long long)window, RLX_MAX_WINDOWS);
    rlx_pages p = {.window = window,
                   .table = calloc((size_t)s->max_pages, sizeof(*p.table)),
                   .first = calloc((size_t)s->max_sequences, sizeof(*p.first)),
                   .refs = calloc((size_t)s->max_pages, sizeof(*p.refs)),
                   .spare = calloc((size_t)s->max_pages, sizeof(*p.spare))};
    if (!p.table || !p.first || !p.refs || !p.spare) {
        free_pages(&p);
        return RLX_OOM();
    }
    s->pages[s->nwindows] = p;
    catch_up(s, &s->pages[s->nwindows++]);
    return RLX_OK;
}

/* ---- sequences --------------------------------------------------------------------------------
 */

rlx_status rlx_session_check_sequence(const rlx_session *s, int seq)
{
    if (seq >= 0 && seq < s->max_sequences)
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "sequence %d, the session has %d", seq, s->max_sequences);
}

static void drop_sequence(rlx_session *s, int seq)
{
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++) {
        release(s, p, seq, p->first[seq], rlx_session_slots(s->past[seq]));
        p->first[seq] = 0;
    }
    for (int i = 0; i < s->npools; i++) {
        rlx_pool *pool = s->pools[i];
        if (pool->axis == RLX_POOL_SEQS)
            rlx_session_clear_unit(s, pool, seq);
        pool->seen[seq] = 0;
    }
    s->past[seq] = 0;
    if (seq == 0)
        s->pending = -1;
}

void rlx_session_drop_stepped(rlx_session *s)
{
    for (int q = 0; q < s->reach; q++)
        if (s->next[q] != s->past[q])
            drop_sequence(s, q);
}

void rlx_session_drop_sequences(rlx_session *s)
{
    for (int q = 0; q < s->max_sequences; q++)
        if (s->past[q])
            drop_sequence(s, q);
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        p->count = p->nspare = 0; /* all of them are spare: begin anew with page 0 */
}

void rlx_session_begin_at(rlx_session *s, int seq, int64_t past, const int64_t *first)
{
    drop_sequence(s, seq);
    for (int i = 0; i < s->nwindows; i++) {
        rlx_pages *p = &s->pages[i];
        p->first[seq] = first[i];
        for (int64_t k = first[i]; k < rlx_session_slots(past); k++)
            slots_of(s, p, seq)[k] = take_page(s, p);
    }
    for (int i = 0; i < s->npools; i++)
        s->pools[i]->seen[seq] = past;
    s->past[seq] = past;
}

rlx_status rlx_session_fork(rlx_session *s, int from, int to)
{
    RLX_TRY(rlx_session_check_sequence(s, from));
    RLX_TRY(rlx_session_check_sequence(s, to));
    if (from == to)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "sequence %d cannot be forked into itself", from);
    drop_sequence(s, to);
    int64_t end = rlx_session_slots(s->past[from]);
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++) {
        const int32_t *theirs = slots_of(s, p, from);
        int32_t *ours = slots_of(s, p, to);
        p->first[to] = p->first[from];
        for (int64_t i = p->first[to]; i < end; i++)
            p->refs[ours[i] = theirs[i]]++;
    }
    for (int i = 0; i < s->npools; i++) {
        rlx_pool *pool = s->pools[i];
        if (pool->axis == RLX_POOL_SEQS)
            rlx_session_copy_unit(s, pool, from, to);
        pool->seen[to] = pool->seen[from];
    }
    s->past[to] = s->past[from];
    return RLX_OK;
}

/* Everything that continuing at `positions` will read is still there. */
static rlx_status check_rewind(const rlx_session *s, int seq, int64_t positions)
{
    for (int i = 0; i < s->npools; i++)
        if (s->pools[i]->axis == RLX_POOL_SEQS)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "sequence %d cannot go back from %lld positions to %lld: state '%s' "
                            "keeps no past",
                            seq, (long long)s->past[seq], (long long)positions, s->pools[i]->name);
    for (const rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        if (rlx_session_first_needed(p, positions) < p->first[seq])
            return RLX_FAIL(
                RLX_EXHAUSTED,
                "sequence %d cannot go back from %lld positions to %lld: the next token "
                "would see the %lld before it, and those before position %lld are gone",
                seq, (long long)s->past[seq], (long long)positions, (long long)p->window - 1,
                (long long)p->first[seq] * RLX_PAGE_POSITIONS);
    return RLX_OK;
}

rlx_status rlx_session_rewind(rlx_session *s, int seq, int64_t positions)
{
    RLX_TRY(rlx_session_check_sequence(s, seq));
    if (positions < 0 || positions > s->past[seq])
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "sequence %d cannot go back from %lld positions to %lld", seq,
                        (long long)s->past[seq], (long long)positions);
    if (positions == s->past[seq])
        return RLX_OK;
    if (positions == 0) {
        drop_sequence(s, seq);
        return RLX_OK;
    }
    RLX_TRY(check_rewind(s, seq, positions));
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        release(s, p, seq, larger(p->first[seq], rlx_session_slots(positions)),
                rlx_session_slots(s->past[seq]));
    s->past[seq] = positions;
    return RLX_OK;
}
