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
 *
 * On a device a copy or a clear may fail: then the page is spare again and nothing leads to it. A row that a sequence
 * leaves behind and that could not be zeroed is stale: it is before the sequence is used again.
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

static void give_back(rlx_pages *p, int32_t page)
{
    if (--p->refs[page] == 0)
        p->spare[p->nspare++] = page;
}

static rlx_status take_page(rlx_session *s, rlx_pages *p, int32_t *out)
{
    const int32_t page = p->nspare ? p->spare[--p->nspare] : (int32_t)p->count++;
    const rlx_pool *pool;
    rlx_status st = RLX_OK;
    p->refs[page] = 1;
    if (page >= p->touched)
        p->touched = page + 1;
    else
        for (int i = -1; !st && (pool = next_pool(s, p, &i));)
            st = rlx_session_clear_unit(s, pool, page);
    if (st)
        give_back(p, page);
    else
        *out = page;
    return st;
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

/* Slots from .. to - 1 of a sequence lead to pages of its own, or all of them nowhere. */
static rlx_status take_pages(rlx_session *s, rlx_pages *p, int seq, int64_t from, int64_t to)
{
    int32_t *slots = slots_of(s, p, seq);
    rlx_status st = RLX_OK;
    for (int64_t i = from; i < to && !st; i++) {
        st = take_page(s, p, &slots[i]);
        if (st)
            release(s, p, seq, from, i);
    }
    return st;
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

/* ---- rows ------------------------------------------------------------------------------------- */

static void set_seen(rlx_session *s, int seq, int64_t positions)
{
    for (int i = 0; i < s->npools; i++)
        s->pools[i]->seen[seq] = positions;
}

static rlx_status clear_rows(rlx_session *s, int seq)
{
    rlx_status st = RLX_OK;
    for (int i = 0; i < s->npools && !st; i++)
        if (s->pools[i]->axis == RLX_POOL_SEQS)
            st = rlx_session_clear_unit(s, s->pools[i], seq);
    s->stale[seq] = st != NULL;
    return st;
}

static rlx_status copy_rows(rlx_session *s, int from, int to)
{
    rlx_status st = RLX_OK;
    for (int i = 0; i < s->npools && !st; i++)
        if (s->pools[i]->axis == RLX_POOL_SEQS)
            st = rlx_session_copy_unit(s, s->pools[i], from, to);
    s->stale[to] = st || s->stale[from];
    return st;
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

static rlx_status copy_page(rlx_session *s, rlx_pages *p, int32_t *slot)
{
    int32_t page;
    const rlx_pool *pool;
    RLX_TRY(take_page(s, p, &page));
    rlx_status st = RLX_OK;
    for (int i = -1; !st && (pool = next_pool(s, p, &i));)
        st = rlx_session_copy_unit(s, pool, *slot, page);
    give_back(p, st ? page : *slot);
    if (!st)
        *slot = page;
    return st;
}

static rlx_status allot(rlx_session *s, rlx_pages *p, int seq)
{
    const int64_t past = s->past[seq];
    if (must_copy(s, p, seq))
        RLX_TRY(copy_page(s, p, &slots_of(s, p, seq)[past / RLX_PAGE_POSITIONS]));
    return take_pages(s, p, seq, rlx_session_slots(past), rlx_session_slots(s->next[seq]));
}

/* Of the sequences below `n`. */
static void retract(rlx_session *s, rlx_pages *p, int n)
{
    for (int q = 0; q < n; q++)
        release(s, p, q, rlx_session_slots(s->past[q]), rlx_session_slots(s->next[q]));
}

static rlx_status freshen_states(rlx_session *s)
{
    if (s->stale_fixed)
        RLX_TRY(rlx_session_clear_fixed(s));
    for (int q = 0; q < s->reach; q++)
        if (s->stale[q])
            RLX_TRY(clear_rows(s, q));
    return RLX_OK;
}

rlx_status rlx_session_allot_pages(rlx_session *s)
{
    RLX_TRY(freshen_states(s));
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        for (int q = 0; q < s->reach; q++) {
            rlx_status st = allot(s, p, q);
            if (!st)
                continue;
            retract(s, p, q);
            while (p-- > s->pages)
                retract(s, p, s->reach);
            return st;
        }
    return RLX_OK;
}

void rlx_session_retract_pages(rlx_session *s)
{
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        retract(s, p, s->reach);
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
static rlx_status catch_up(rlx_session *s, rlx_pages *p)
{
    for (int q = 0; q < s->max_sequences; q++) {
        p->first[q] = first_kept(p, s->past[q]);
        RLX_TRY(take_pages(s, p, q, p->first[q], rlx_session_slots(s->past[q])));
    }
    return RLX_OK;
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
    return catch_up(s, &s->pages[s->nwindows++]);
}

/* ---- sequences --------------------------------------------------------------------------------
 */

rlx_status rlx_session_check_sequence(const rlx_session *s, int seq)
{
    if (seq >= 0 && seq < s->max_sequences)
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "sequence %d, the session has %d", seq, s->max_sequences);
}

void rlx_session_drop_sequence(rlx_session *s, int seq)
{
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++) {
        release(s, p, seq, p->first[seq], rlx_session_slots(s->past[seq]));
        p->first[seq] = 0;
    }
    rlx_status_free(clear_rows(s, seq)); /* where it fails they are stale */
    set_seen(s, seq, 0);
    s->past[seq] = 0;
    if (seq == 0)
        s->pending = -1;
}

void rlx_session_drop_stepped(rlx_session *s)
{
    for (int q = 0; q < s->reach; q++)
        if (s->next[q] != s->past[q])
            rlx_session_drop_sequence(s, q);
}

void rlx_session_drop_sequences(rlx_session *s)
{
    for (int q = 0; q < s->max_sequences; q++)
        rlx_session_drop_sequence(s, q);
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        p->count = p->nspare = 0; /* all of them are spare: begin anew with page 0 */
}

rlx_status rlx_session_begin_at(rlx_session *s, int seq, int64_t past, const int64_t *first)
{
    const int64_t end = rlx_session_slots(past);
    rlx_status st = RLX_OK;
    rlx_session_drop_sequence(s, seq);
    for (int i = 0; i < s->nwindows && !st; i++) {
        st = take_pages(s, &s->pages[i], seq, first[i], end);
        if (!st)
            s->pages[i].first[seq] = first[i];
        for (int k = i; st && k-- > 0; s->pages[k].first[seq] = 0)
            release(s, &s->pages[k], seq, first[k], end);
    }
    set_seen(s, seq, st ? 0 : past);
    s->past[seq] = st ? 0 : past;
    return st;
}

rlx_status rlx_session_fork(rlx_session *s, int from, int to)
{
    RLX_TRY(rlx_session_check_sequence(s, from));
    RLX_TRY(rlx_session_check_sequence(s, to));
    if (from == to)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "sequence %d cannot be forked into itself", from);
    rlx_session_drop_sequence(s, to);
    RLX_TRY_NOTE(copy_rows(s, from, to), "forking sequence %d into %d", from, to);
    int64_t end = rlx_session_slots(s->past[from]);
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++) {
        const int32_t *theirs = slots_of(s, p, from);
        int32_t *ours = slots_of(s, p, to);
        p->first[to] = p->first[from];
        for (int64_t i = p->first[to]; i < end; i++)
            p->refs[ours[i] = theirs[i]]++;
    }
    for (int i = 0; i < s->npools; i++)
        s->pools[i]->seen[to] = s->pools[i]->seen[from];
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
        rlx_session_drop_sequence(s, seq);
        return RLX_OK;
    }
    RLX_TRY(check_rewind(s, seq, positions));
    for (rlx_pages *p = s->pages; p < s->pages + s->nwindows; p++)
        release(s, p, seq, larger(p->first[seq], rlx_session_slots(positions)),
                rlx_session_slots(s->past[seq]));
    s->past[seq] = positions;
    return RLX_OK;
}
