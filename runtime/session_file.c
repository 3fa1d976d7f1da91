/* runtime/session_file.c: a sequence as a file.
 *
 *   rlx session 1\n
 *   model <who made it: any text, given by the caller>\n
 *   positions <past> in pages of 256\n
 *   states <n>\n
 *   state <first> <count> f32[PAGES_4096,2,64,256] kv.k.3\n      n times: pages of slots first ..
 *   state 0 1 f32[SEQS,192] conv.3\n                             or one row
 *   data <bytes>\n
 *   the pages and rows, in the order of the states
 *   BLAKE2b-256 of everything before
 *
 * A state's text is its type with the first axis by name: a file fits a session when all texts are
 * the same. Everything is checked before the session changes.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/map_file.h"
#include "runtime/session.h"
#include "runtime/write_file.h"

static const char magic[] = "rlx session 1\n";

/* ---- states as text ---------------------------------------------------------------------------
 */

static void put_type(const rlx_session *s, const rlx_pool *pool, rlx_text *out)
{
    rlx_text_putf(out, "%s[", rlx_format_get(pool->format)->name);
    if (pool->axis == RLX_POOL_SEQS)
        rlx_text_put(out, "SEQS");
    else if (s->pages[pool->pages].window)
        rlx_text_putf(out, "PAGES_%lld", (long long)s->pages[pool->pages].window);
    else
        rlx_text_put(out, "PAGES");
    for (int d = 1; d < pool->rank; d++)
        rlx_text_putf(out, ",%lld", (long long)pool->dim[d]);
    rlx_text_put(out, "]");
}

static int64_t first_of(const rlx_session *s, const rlx_pool *pool, int seq)
{
    return pool->axis == RLX_POOL_PAGES ? s->pages[pool->pages].first[seq] : 0;
}

static int64_t count_of(const rlx_session *s, const rlx_pool *pool, int seq)
{
    if (pool->axis == RLX_POOL_SEQS)
        return 1;
    return rlx_session_slots(s->past[seq]) - first_of(s, pool, seq);
}

/* The page or row that is number i of what a sequence has of a pool. */
static int64_t unit_of(const rlx_session *s, const rlx_pool *pool, int seq, int64_t i)
{
    if (pool->axis == RLX_POOL_SEQS)
        return seq;
    const rlx_pages *p = &s->pages[pool->pages];
    return p->table[seq * s->max_slots + p->first[seq] + i];
}

/* The next pool that belongs to sequences, after `i`; -1 begins. NULL: no more. */
static const rlx_pool *next_pool(const rlx_session *s, int *i)
{
    while (++*i < s->npools)
        if (s->pools[*i]->axis != RLX_POOL_FIXED)
            return s->pools[*i];
    return NULL;
}

/* ---- saving -----------------------------------------------------------------------------------
 */

typedef struct saving {
    const rlx_session *s;
    int seq;
    rlx_text header;
    rlx_hasher hasher;
} saving;

static rlx_status put_header(saving *v, const char *model)
{
    const rlx_session *s = v->s;
    const rlx_pool *pool;
    rlx_text states = {0};
    size_t bytes = 0;
    int n = 0;
    for (int i = -1; (pool = next_pool(s, &i)); n++) {
        int64_t count = count_of(s, pool, v->seq);
        rlx_text_putf(&states, "state %lld %lld ", (long long)first_of(s, pool, v->seq),
                      (long long)count);
        put_type(s, pool, &states);
        rlx_text_putf(&states, " %s\n", pool->name);
        bytes += (size_t)count * pool->unit;
    }
    rlx_text_putf(&v->header, "%smodel %s\npositions %lld in pages of %d\nstates %d\n", magic,
                  model, (long long)s->past[v->seq], RLX_PAGE_POSITIONS, n);
    rlx_text_put_bytes(&v->header, states.data, states.len);
    rlx_text_putf(&v->header, "data %zu\n", bytes);
    bool oom = states.oom || v->header.oom;
    rlx_text_deinit(&states);
    return oom ? RLX_OOM() : RLX_OK;
}

static rlx_status put(saving *v, int fd, const void *data, size_t n)
{
    rlx_hasher_add(&v->hasher, data, n);
    return rlx_write_bytes(fd, data, n);
}

/* `unit` has room for one. */
static rlx_status put_units(saving *v, int fd, const rlx_pool *pool, char *unit)
{
    for (int64_t k = 0; k < count_of(v->s, pool, v->seq); k++) {
        RLX_TRY(rlx_session_read_unit(v->s, pool, unit_of(v->s, pool, v->seq, k), unit));
        RLX_TRY(put(v, fd, unit, pool->unit));
    }
    return RLX_OK;
}

static rlx_status write_contents(void *user, int fd)
{
    saving *v = user;
    const rlx_pool *pool;
    rlx_hasher_init(&v->hasher);
    RLX_TRY(put(v, fd, v->header.data, v->header.len));
    for (int i = -1; (pool = next_pool(v->s, &i));) {
        char *unit = malloc(pool->unit + 1);
        if (!unit)
            return RLX_OOM();
        rlx_status st = put_units(v, fd, pool, unit);
        free(unit);
        RLX_TRY(st);
    }
    rlx_hash h = rlx_hasher_finish(&v->hasher);
    return rlx_write_bytes(fd, h.bytes, sizeof(h.bytes));
}

/* Lines are lines. */
static rlx_status check_line(const char *text)
{
    return strchr(text, '\n')
               ? RLX_FAIL(RLX_INVALID_ARGUMENT, "a name of several lines: '%s'", text)
               : RLX_OK;
}

static rlx_status save(saving *v, const char *model, const char *path)
{
    const rlx_pool *pool;
    RLX_TRY(rlx_session_check_sequence(v->s, v->seq));
    if (v->s->stale[v->seq])
        return RLX_FAIL(RLX_IO, "what a sequence before it left could not be zeroed");
    RLX_TRY(check_line(model));
    for (int i = -1; (pool = next_pool(v->s, &i));)
        RLX_TRY(check_line(pool->name));
    RLX_TRY(put_header(v, model));
    return rlx_write_file(path, write_contents, v);
}

rlx_status rlx_session_write(const rlx_session *s, int seq, const char *model, const char *path)
{
    saving v = {.s = s, .seq = seq};
    rlx_status st = save(&v, model, path);
    rlx_text_deinit(&v.header);
    return rlx_status_note(st, __FILE__, __LINE__, "saving sequence %d to '%s'", seq, path);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* Text of the file: not ended by a NUL. */
typedef struct span {
    const char *p, *end;
} span;

/* What the file has of a pool of the session. */
typedef struct entry {
    bool there;
    int64_t first, count;
    const char *data;
} entry;

typedef struct reading {
    rlx_session *s;
    int seq;
    span rest; /* of the file, the checksum left out */
    int line;  /* the last one taken */
    int64_t past;
    entry *entries; /* by pool */
    int *order;     /* pools as the file has them: nstates */
    int64_t nstates;
} reading;

static int length(span t)
{
    return (int)(t.end - t.p < 200 ? t.end - t.p : 200);
}

static bool same_text(span t, const char *text, size_t n)
{
    return (size_t)(t.end - t.p) == n && memcmp(t.p, text, n) == 0;
}

static bool take_word(span *t, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0)
        return false;
    t->p += n;
    return true;
}

static bool take_number(span *t, int64_t *out)
{
    const char *begin = t->p;
    for (*out = 0; t->p < t->end && *t->p >= '0' && *t->p <= '9' && t->p - begin < 18; t->p++)
        *out = *out * 10 + (*t->p - '0');
    return t->p > begin;
}

/* What stands before the next space. */
static bool take_until_space(span *t, span *out)
{
    const char *space = memchr(t->p, ' ', (size_t)(t->end - t->p));
    if (!space)
        return false;
    *out = (span){t->p, space};
    t->p = space + 1;
    return true;
}

/* The next line; what it must begin with is taken from it. */
static rlx_status take_line(reading *r, const char *word, span *line)
{
    const char *end = memchr(r->rest.p, '\n', (size_t)(r->rest.end - r->rest.p));
    r->line++;
    *line = (span){r->rest.p, end ? end : r->rest.end};
    r->rest.p = end ? end + 1 : r->rest.end;
    if (end && take_word(line, word))
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_FILE, "line %d is not '%s..'", r->line, word);
}

static rlx_status bad_line(const reading *r)
{
    return RLX_FAIL(RLX_INVALID_FILE, "line %d is malformed", r->line);
}

static rlx_status read_top(reading *r, const char *model)
{
    span line;
    int64_t page;
    RLX_TRY(take_line(r, "rlx session 1", &line));
    if (line.p != line.end)
        return bad_line(r);
    RLX_TRY(take_line(r, "model ", &line));
    if (!same_text(line, model, strlen(model)))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "it was saved with model '%.*s', this one is '%s'",
                        length(line), line.p, model);
    RLX_TRY(take_line(r, "positions ", &line));
    if (!take_number(&line, &r->past) || !take_word(&line, " in pages of ") ||
        !take_number(&line, &page) || line.p != line.end)
        return bad_line(r);
    if (page != RLX_PAGE_POSITIONS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "its pages are of %lld positions, the session's of %d", (long long)page,
                        RLX_PAGE_POSITIONS);
    if (r->past > r->s->max_positions)
        return RLX_FAIL(RLX_EXHAUSTED, "it holds %lld positions, the session at most %lld",
                        (long long)r->past, (long long)r->s->max_positions);
    RLX_TRY(take_line(r, "states ", &line));
    return take_number(&line, &r->nstates) && line.p == line.end ? RLX_OK : bad_line(r);
}

static rlx_status check_type(const reading *r, const rlx_pool *pool, span type)
{
    rlx_text want = {0};
    put_type(r->s, pool, &want);
    rlx_status st = RLX_OK;
    if (want.oom)
        st = RLX_OOM();
    else if (!same_text(type, want.data, want.len))
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "state '%s' is %.*s in the file, %s in the session",
                      pool->name, length(type), type.p, want.data);
    rlx_text_deinit(&want);
    return st;
}

/* The units are those that a sequence of that length has; what its next token reads among them. */
static bool has_units(const reading *r, const rlx_pool *pool, const entry *e)
{
    if (pool->axis == RLX_POOL_SEQS)
        return e->first == 0 && e->count == 1;
    const rlx_pages *p = &r->s->pages[pool->pages];
    for (int i = 0; i < r->s->npools; i++) /* one table leads to all */
        if (r->entries[i].there && r->s->pools[i]->axis == RLX_POOL_PAGES &&
            r->s->pools[i]->pages == pool->pages && r->entries[i].first != e->first)
            return false;
    return e->first <= rlx_session_first_needed(p, r->past) &&
           e->first + e->count == rlx_session_slots(r->past);
}

static rlx_status read_state(reading *r, int64_t index)
{
    span line, type;
    entry e = {.there = true};
    RLX_TRY(take_line(r, "state ", &line));
    if (!take_number(&line, &e.first) || !take_word(&line, " ") || !take_number(&line, &e.count) ||
        !take_word(&line, " ") || !take_until_space(&line, &type))
        return bad_line(r);
    int i = -1;
    const rlx_pool *pool;
    while ((pool = next_pool(r->s, &i)))
        if (same_text(line, pool->name, strlen(pool->name)))
            break;
    if (!pool)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "it has a state '%.*s', the session has none",
                        length(line), line.p);
    RLX_TRY(check_type(r, pool, type));
    if (r->entries[i].there || !has_units(r, pool, &e))
        return RLX_FAIL(RLX_INVALID_FILE, "line %d: state '%s' has %lld pages from %lld on",
                        r->line, pool->name, (long long)e.count, (long long)e.first);
    r->entries[i] = e;
    r->order[index] = i;
    return RLX_OK;
}

/* The data is as long as the states say; each finds its own. */
static rlx_status read_data(reading *r)
{
    span line;
    int64_t bytes;
    RLX_TRY(take_line(r, "data ", &line));
    if (!take_number(&line, &bytes) || line.p != line.end)
        return bad_line(r);
    if (bytes != r->rest.end - r->rest.p)
        return RLX_FAIL(RLX_INVALID_FILE, "line %d tells of %lld bytes of data, there are %lld",
                        r->line, (long long)bytes, (long long)(r->rest.end - r->rest.p));
    const char *p = r->rest.p;
    for (int64_t k = 0; k < r->nstates; k++) {
        entry *e = &r->entries[r->order[k]];
        size_t unit = r->s->pools[r->order[k]]->unit, left = (size_t)(r->rest.end - p);
        if (unit && (size_t)e->count > left / unit)
            break;
        e->data = p;
        p += (size_t)e->count * unit;
    }
    if (p != r->rest.end)
        return RLX_FAIL(RLX_INVALID_FILE, "it has %lld bytes of data, its states have others",
                        (long long)bytes);
    return RLX_OK;
}

static rlx_status read_states(reading *r)
{
    const rlx_pool *pool;
    if (r->nstates > r->s->npools)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "it has %lld states, the session %d",
                        (long long)r->nstates, r->s->npools);
    for (int64_t k = 0; k < r->nstates; k++)
        RLX_TRY(read_state(r, k));
    for (int i = -1; (pool = next_pool(r->s, &i));)
        if (!r->entries[i].there)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "it has no state '%s', the session has one",
                            pool->name);
    return read_data(r);
}

/* ---- restoring --------------------------------------------------------------------------------
 */

static int64_t first_in_file(const reading *r, int pages)
{
    for (int i = 0; i < r->s->npools; i++)
        if (r->entries[i].there && r->s->pools[i]->axis == RLX_POOL_PAGES &&
            r->s->pools[i]->pages == pages)
            return r->entries[i].first;
    return rlx_session_first_needed(&r->s->pages[pages], r->past);
}

static rlx_status write_units(const reading *r)
{
    rlx_session *s = r->s;
    for (int i = 0; i < s->npools; i++) {
        const entry *e = &r->entries[i];
        for (int64_t k = 0; e->there && k < e->count; k++)
            RLX_TRY(rlx_session_write_unit(s, s->pools[i], unit_of(s, s->pools[i], r->seq, k),
                                           e->data + (size_t)k * s->pools[i]->unit));
    }
    return RLX_OK;
}

/* A device may fail half way: the sequence begins anew then. */
static rlx_status apply(const reading *r)
{
    rlx_session *s = r->s;
    int64_t first[RLX_MAX_WINDOWS];
    for (int i = 0; i < s->nwindows; i++)
        first[i] = first_in_file(r, i);
    RLX_TRY(rlx_session_begin_at(s, r->seq, r->past, first));
    rlx_status st = write_units(r);
    if (st)
        rlx_session_drop_sequence(s, r->seq);
    else
        s->stale[r->seq] = false;
    return st;
}

static rlx_status check_sum(const char *data, size_t bytes, span *contents)
{
    rlx_hash want, have;
    if (bytes < sizeof(magic) + sizeof(want.bytes) || memcmp(data, magic, strlen(magic)) != 0)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "it is no saved session: it has %zu bytes and does not "
                        "begin with 'rlx session 1'",
                        bytes);
    *contents = (span){data, data + bytes - sizeof(want.bytes)};
    memcpy(want.bytes, contents->end, sizeof(want.bytes));
    have = rlx_hash_bytes(data, bytes - sizeof(want.bytes));
    if (memcmp(want.bytes, have.bytes, sizeof(want.bytes)) != 0)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "it is damaged or cut short: the checksum of its %zu bytes is wrong",
                        bytes);
    return RLX_OK;
}

static rlx_status restore(rlx_session *s, int seq, const char *model, const char *data,
                          size_t bytes)
{
    reading r = {.s = s, .seq = seq};
    RLX_TRY(rlx_session_check_sequence(s, seq));
    RLX_TRY(check_sum(data, bytes, &r.rest));
    r.entries = calloc((size_t)s->npools + 1, sizeof(*r.entries));
    r.order = calloc((size_t)s->npools + 1, sizeof(*r.order));
    rlx_status st = r.entries && r.order ? read_top(&r, model) : RLX_OOM();
    if (!st)
        st = read_states(&r);
    if (!st)
        st = apply(&r);
    free(r.entries);
    free(r.order);
    return st;
}

rlx_status rlx_session_read(rlx_session *s, int seq, const char *model, const char *path)
{
    void *data;
    size_t bytes;
    rlx_status st = rlx_map_file(path, &data, &bytes);
    if (!st) {
        st = restore(s, seq, model, data, bytes);
        rlx_status lost = rlx_map_check(data, path);
        if (lost) {
            rlx_status_free(st);
            st = lost;
        }
        rlx_unmap_file(data, bytes);
    }
    return rlx_status_note(st, __FILE__, __LINE__, "restoring sequence %d from '%s'", seq, path);
}
