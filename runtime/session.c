/* runtime/session.c: sequences and steps.
 *
 *   plan    where every sequence will be, live symbols, inputs: all checks, nothing changed
 *   write   inputs, positions and page tables into the step block
 *   run     the flat tape on the team
 *   commit  pasts and pages
 */
#include "runtime/session.h"

#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

#include "runtime/base/clock.h"

enum { DEFAULT_POSITIONS = 4096, MAX_SEQUENCES = 1 << 16, MAX_TABLE = 1 << 28 };

/* ---- birth and death --------------------------------------------------------------------------
 */

static rlx_status create(rlx_session *s, rlx_team *team, const rlx_session_options *o)
{
    s->team = team;
    s->pending = -1;
    s->max_positions = o && o->max_positions ? o->max_positions : DEFAULT_POSITIONS;
    s->max_sequences = o && o->max_sequences ? o->max_sequences : 1;
    s->time_kernels = o && o->time_kernels;
    if (s->max_positions < 1 || s->max_positions > INT32_MAX)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a session of %lld positions",
                        (long long)s->max_positions);
    if (s->max_sequences < 1 || s->max_sequences > MAX_SEQUENCES)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a session of %d sequences: expected 1 to %d",
                        s->max_sequences, MAX_SEQUENCES);
    s->max_slots = rlx_session_slots(s->max_positions);
    s->max_pages = s->max_slots * s->max_sequences;
    if (s->max_pages > MAX_TABLE)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a session of %lld pages: at most %d",
                        (long long)s->max_pages, MAX_TABLE);
    s->past = calloc((size_t)s->max_sequences, sizeof(*s->past));
    s->next = calloc((size_t)s->max_sequences, sizeof(*s->next));
    s->stale = calloc((size_t)s->max_sequences, sizeof(*s->stale));
    return s->past && s->next && s->stale ? RLX_OK : RLX_OOM();
}

rlx_status rlx_session_create_on(rlx_team *team, const rlx_session_options *o, rlx_session **out)
{
    return rlx_session_create_device(NULL, team, o, out);
}

rlx_status rlx_session_create_device(rlx_device *d, rlx_team *team, const rlx_session_options *o,
                                     rlx_session **out)
{
    rlx_session *s = calloc(1, sizeof(*s));
    if (!s)
        return RLX_OOM();
    s->device = d;
    rlx_status st = create(s, team, o);
    if (st) {
        rlx_session_destroy(s);
        return st;
    }
    *out = s;
    return RLX_OK;
}

void rlx_session_destroy(rlx_session *s)
{
    if (!s)
        return;
    rlx_session_unbind_all(s);
    rlx_session_free_pages(s);
    free(s->past);
    free(s->next);
    free(s->stale);
    free(s);
}

int64_t rlx_session_past(const rlx_session *s, int seq)
{
    return seq >= 0 && seq < s->max_sequences ? s->past[seq] : 0;
}

void rlx_session_get_stats(const rlx_session *s, rlx_session_stats *out)
{
    *out = s->stats;
}

int64_t rlx_session_max_positions(const rlx_session *s)
{
    return s->max_positions;
}

void rlx_session_reset(rlx_session *s)
{
    rlx_session_drop_sequences(s);
    s->last = NULL;
    s->pending = -1;
    atomic_store(&s->cancel, false);
    rlx_status_free(rlx_session_clear_fixed(s)); /* where it fails they are stale */
}

void rlx_session_set_pending(rlx_session *s, int32_t token)
{
    s->pending = token;
    s->pending_past = s->past[0];
}

int32_t rlx_session_pending(const rlx_session *s)
{
    return s->past[0] == s->pending_past ? s->pending : -1;
}

int64_t rlx_session_first_ns(const rlx_session *s)
{
    return s->first_ns;
}

void rlx_session_cancel(rlx_session *s)
{
    atomic_store(&s->cancel, true);
}

/* ---- plan -------------------------------------------------------------------------------------
 */

/* A step while it is being made. */
typedef struct plan {
    rlx_session *s;
    const rlx_executable *e;
    const rlx_program *p;
    const rlx_step *step;
    rlx_binding *b;
    int64_t live[RLX_LIVE_COUNT];
    bool has_past;           /* some part has */
    bool may_stop;           /* every part may */
    const struct plan *with; /* the step's other part; NULL: it is one */
    bool is_back;            /* what the other part puts out it takes */
} plan;

static int sequence_of(const plan *n, int64_t token)
{
    return n->step->seq ? n->step->seq[token] : 0;
}

static rlx_status outgrown(const plan *n, int q)
{
    int64_t more = 0;
    for (int64_t t = 0; t < n->step->tokens; t++)
        more += sequence_of(n, t) == q;
    return RLX_FAIL(RLX_EXHAUSTED,
                    "sequence %d holds %lld positions and would get %lld more, of at most %lld", q,
                    (long long)n->s->past[q], (long long)more, (long long)n->s->max_positions);
}

/* The program's states have gone through all that the sequence holds. */
static rlx_status check_states(const plan *n, int q)
{
    for (uint32_t i = 0; i < n->e->nstates; i++) {
        const rlx_pool *pool = n->b->states[i];
        if (pool->axis == RLX_POOL_SEQS && pool->seen[q] != n->s->past[q])
            return RLX_FAIL(
                RLX_INVALID_ARGUMENT,
                "sequence %d holds %lld positions, of which state '%s' of program '%s' has "
                "seen %lld: the others came by programs without it",
                q, (long long)n->s->past[q], pool->name, n->p->name, (long long)pool->seen[q]);
    }
    return RLX_OK;
}

/* Fills s->next and the live SEQS and SLOTS. */
static rlx_status plan_sequences(plan *n)
{
    rlx_session *s = n->s;
    memcpy(s->next, s->past, sizeof(*s->past) * (size_t)s->max_sequences);
    s->reach = 0;
    if (!n->has_past)
        return RLX_OK;
    if (n->step->tokens < 1)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a step of %lld tokens", (long long)n->step->tokens);
    int64_t seqs = 0, slots = 0;
    for (int64_t t = 0; t < n->step->tokens; t++) {
        int q = sequence_of(n, t);
        if (q < 0 || q >= s->max_sequences)
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "token %lld is of sequence %d, the session has %d", (long long)t, q,
                            s->max_sequences);
        if (s->next[q] == s->max_positions)
            return outgrown(n, q);
        if (s->next[q] == s->past[q]) /* its first of the step */
            RLX_TRY(check_states(n, q));
        int64_t reach = rlx_session_slots(++s->next[q]);
        seqs = q + 1 > seqs ? q + 1 : seqs;
        slots = reach > slots ? reach : slots;
    }
    s->reach = (int)seqs;
    n->live[RLX_LIVE_SEQS] = seqs;
    n->live[RLX_LIVE_SLOTS] = slots;
    return RLX_OK;
}

static rlx_status set_symbol(const plan *n, int symbol, int64_t value, rlx_code too_large)
{
    if (value < 0 || value > n->p->upper[symbol])
        return RLX_FAIL(value < 0 ? RLX_INVALID_ARGUMENT : too_large,
                        "%s is %lld, program '%s' is compiled for up to %lld",
                        rlx_dim_symbol_name(n->p->dims, symbol), (long long)value, n->p->name,
                        (long long)n->p->upper[symbol]);
    n->b->symbols[symbol] = value;
    return RLX_OK;
}

static bool is_live(const plan *n, int symbol)
{
    for (int i = 0; i < RLX_LIVE_COUNT; i++)
        if (n->b->live_symbol[i] == symbol)
            return true;
    for (int i = 0; i < RLX_MAX_WINDOWS; i++)
        if (n->b->pages_symbol[i] == symbol)
            return true;
    return false;
}

static rlx_status plan_live_symbols(const plan *n)
{
    for (int i = 0; i < RLX_LIVE_COUNT; i++)
        if (n->b->live_symbol[i] >= 0)
            RLX_TRY(set_symbol(n, n->b->live_symbol[i], n->live[i],
                               i == RLX_LIVE_SLOTS ? RLX_EXHAUSTED : RLX_INVALID_ARGUMENT));
    for (int i = 0; i < RLX_MAX_WINDOWS; i++)
        if (n->b->pages_symbol[i] >= 0)
            RLX_TRY(set_symbol(n, n->b->pages_symbol[i],
                               rlx_session_count_pages(n->s, &n->s->pages[i]), RLX_EXHAUSTED));
    return RLX_OK;
}

static rlx_status plan_symbols(const plan *n)
{
    uint32_t given = n->b->idle_symbols;
    RLX_TRY(plan_live_symbols(n));
    for (int i = 0; i < n->step->nsymbols; i++) {
        const rlx_step_symbol *sym = &n->step->symbols[i];
        int symbol = rlx_dim_symbol_index(n->p->dims, sym->name);
        if (symbol < 0 || is_live(n, symbol))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "program '%s' %s symbol %s", n->p->name,
                            symbol < 0 ? "has no" : "has from the session its", sym->name);
        RLX_TRY(set_symbol(n, symbol, sym->value, RLX_INVALID_ARGUMENT));
        given |= 1u << symbol;
    }
    for (int i = 0; i < rlx_dim_symbol_count(n->p->dims); i++)
        if (!is_live(n, i) && !(given >> i & 1))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "symbol %s of program '%s' has no live value",
                            rlx_dim_symbol_name(n->p->dims, i), n->p->name);
    return RLX_OK;
}

static size_t live_bytes(const plan *n, const rlx_program_tensor *t)
{
    int64_t elems = 1;
    for (int d = 0; d < t->rank; d++)
        elems *= rlx_dim_eval(n->p->dims, t->dim[d], n->b->symbols);
    return rlx_format_bytes(t->format, elems);
}

/* Of a step's back: what its front, which is on the CPU, puts out, where it will be. */
static bool find_carried(const plan *n, const char *name, rlx_step_input *out)
{
    for (uint32_t i = 0; n->is_back && i < n->with->p->noutputs; i++) {
        const rlx_program_tensor *t = &n->with->p->outputs[i];
        if (strcmp(t->name, name) != 0)
            continue;
        *out = (rlx_step_input){name, n->s->arena + t->offset, live_bytes(n->with, t)};
        return true;
    }
    return false;
}

static bool find_given(const plan *n, const char *name, rlx_step_input *out)
{
    if (find_carried(n, name, out))
        return true;
    for (int i = 0; i < n->step->ninputs; i++)
        if (strcmp(n->step->inputs[i].name, name) == 0) {
            *out = n->step->inputs[i];
            return true;
        }
    return false;
}

static const rlx_binding_input *find_input(const plan *n, const char *name)
{
    for (uint32_t k = 0; k < n->b->ninputs; k++)
        if (n->b->inputs[k].data && strcmp(n->b->inputs[k].tensor->name, name) == 0)
            return &n->b->inputs[k];
    return NULL;
}

/* Every given input must be one that the program, or the step's other part, takes. */
static rlx_status check_given(const plan *n)
{
    for (int i = 0; i < n->step->ninputs; i++) {
        const char *name = n->step->inputs[i].name;
        const rlx_binding_input *in = find_input(n, name);
        if (!in && n->with)
            in = find_input(n->with, name);
        if (!in)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "program '%s' takes no input '%s'", n->p->name,
                            name);
        if (in->fill != RLX_FILL_GIVEN)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "input '%s' is the session's to fill", name);
    }
    return RLX_OK;
}

static rlx_status plan_inputs(const plan *n)
{
    RLX_TRY(check_given(n));
    for (uint32_t k = 0; k < n->b->ninputs; k++) {
        const rlx_binding_input *in = &n->b->inputs[k];
        if (!in->data)
            continue;
        size_t bytes = live_bytes(n, in->tensor);
        if (bytes > in->capacity)
            return RLX_FAIL(RLX_INTERNAL, "input '%s' has %zu bytes, its bucket %zu",
                            in->tensor->name, bytes, in->capacity);
        if (in->fill != RLX_FILL_GIVEN)
            continue;
        rlx_step_input given;
        if (!find_given(n, in->tensor->name, &given))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "input '%s' (%zu bytes) is not given",
                            in->tensor->name, bytes);
        if (given.bytes != bytes || (bytes && !given.data))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "input '%s' takes %zu bytes, given %zu%s",
                            in->tensor->name, bytes, given.bytes, given.data ? "" : " at NULL");
    }
    for (int64_t r = 0; n->step->row_index && r < n->step->rows; r++)
        if (n->step->row_index[r] < 0 || n->step->row_index[r] >= n->step->tokens)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "row %lld is token %d of %lld", (long long)r,
                            n->step->row_index[r], (long long)n->step->tokens);
    if (!n->step->row_index && n->step->rows > n->step->tokens)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld rows of %lld tokens", (long long)n->step->rows,
                        (long long)n->step->tokens);
    return RLX_OK;
}

/* ---- write ------------------------------------------------------------------------------------
 */

/* `next` serves as the running position of each sequence, and is what it was afterwards. */
static void write_positions(const plan *n, int32_t *pos)
{
    rlx_session *s = n->s;
    for (int64_t t = n->step->tokens - 1; t >= 0; t--)
        pos[t] = (int32_t)--s->next[sequence_of(n, t)];
    for (int64_t t = 0; t < n->step->tokens; t++)
        s->next[sequence_of(n, t)]++;
}

static void write_table(const plan *n, const rlx_pages *p, int32_t *to)
{
    int64_t slots = n->live[RLX_LIVE_SLOTS];
    for (int64_t q = 0; q < n->live[RLX_LIVE_SEQS]; q++)
        memcpy(to + q * slots, p->table + q * n->s->max_slots, (size_t)slots * sizeof(*to));
}

static void write_input(const plan *n, const rlx_binding_input *in)
{
    int32_t *to = in->data;
    rlx_step_input given;
    switch (in->fill) {
    case RLX_FILL_GIVEN:
        if (find_given(n, in->tensor->name, &given) && given.bytes)
            memcpy(to, given.data, given.bytes);
        return;
    case RLX_FILL_POS:
        write_positions(n, to);
        return;
    case RLX_FILL_SEQ:
        for (int64_t t = 0; t < n->step->tokens; t++)
            to[t] = sequence_of(n, t);
        return;
    case RLX_FILL_TABLE:
        write_table(n, &n->s->pages[in->pages], to);
        return;
    case RLX_FILL_ROWS:
        for (int64_t r = 0; r < n->step->rows; r++)
            to[r] = n->step->row_index ? n->step->row_index[r] : (int32_t)r;
        return;
    }
}

/* ---- run --------------------------------------------------------------------------------------
 */

typedef struct job {
    const rlx_session *s;
    rlx_binding *b;
    const rlx_engine *engine;
    bool may_stop;
    _Atomic(rlx_status) error; /* the first one of an engine */
    _Atomic bool stopped;      /* somebody has left out a part: nobody need go on */
} job;

static bool is_stopped(job *j)
{
    if (!j->may_stop)
        return false;
    if (atomic_load_explicit(&j->stopped, memory_order_relaxed))
        return true;
    if (!atomic_load_explicit(&j->s->cancel, memory_order_relaxed))
        return false;
    atomic_store(&j->stopped, true);
    return true;
}

/* Answers one rlx_session_cancel. */
static rlx_status stop(rlx_session *s)
{
    atomic_store(&s->cancel, false);
    return RLX_FAIL(RLX_CANCELLED, "cancelled");
}

static void launch_engine(job *j, const rlx_binding_launch *l, int part, int parts)
{
    if (atomic_load(&j->error))
        return;
    rlx_status st =
        j->engine->launch(j->engine->user, l->kernel, l->buffers, j->b->symbols, part, parts);
    rlx_status none = NULL;
    if (st && !atomic_compare_exchange_strong(&j->error, &none, st))
        rlx_status_free(st);
}

/* One part of a launch. */
static void run_launch(job *j, const rlx_binding_launch *l, int part, int parts, void *memory)
{
    if (l->fn)
        l->fn(l->buffers, j->b->symbols, part, parts, memory);
    else
        launch_engine(j, l, part, parts);
}

static void time_launch(job *j, const rlx_binding_launch *l, int part, int parts, int member,
                        void *memory)
{
    const double start = rlx_seconds();
    run_launch(j, l, part, parts, memory);
    rlx_session_add_time(j->b, l->kernel, part, member, rlx_seconds() - start);
}

/* Where the member begins to read weights next. Told once: there may be several short phases before, and several
 * parts of one. */
static void tell_soon(const job *j, int phase, int member)
{
    enum { WINDOW = 64 << 10 }; /* that far ahead kernels tell themselves */
    const rlx_binding_soon *next = &j->b->soon[phase];
    rlx_soon *soon = rlx_team_soon(j->s->team, member);
    if (!next->n || next->from[0] == soon->of)
        return;
    *soon = (rlx_soon){.n = next->n, .of = next->from[0]};
    for (int i = 0; i < next->n; i++) {
        soon->range[i].from = next->from[i] + next->share[i] * member;
        soon->range[i].bytes = WINDOW;
    }
}

/* One part of a phase: that part of every grid of its launches. A launch of fewer pieces than the phase
 * has its last one where the phase goes on halving what is left, and nothing behind that. */
static void run_phase(void *user, int phase, int part, int parts, int member)
{
    job *j = user;
    if (is_stopped(j))
        return;
    tell_soon(j, phase, member);
    const int each = parts / rlx_team_size(j->s->team); /* parts that a share is of */
    void *memory = j->s->scratch ? j->s->scratch + j->s->scratch_stride * (size_t)member : NULL;
    /* Results must not hang on the rounding mode and flush-to-zero that the program happens to
     * have. */
    unsigned csr = _mm_getcsr();
    _mm_setcsr(0x1f80);
    for (uint32_t i = j->b->phases[phase]; i < j->b->phases[phase + 1]; i++) {
        const rlx_binding_launch *l = &j->b->launches[i];
        const int rest = each > l->parts ? 2 : 1;
        if (each > l->parts * rest || part % rest)
            continue;
        if (j->s->time_kernels)
            time_launch(j, l, part / rest, parts / rest, member, memory);
        else
            run_launch(j, l, part / rest, parts / rest, memory);
    }
    _mm_setcsr(csr);
}

/* For engines: what the tape names, by name. */
static void *find_address(void *cx, const char *name)
{
    const plan *n = cx;
    for (uint32_t i = 0; i < n->e->nstates; i++)
        if (strcmp(n->e->states[i].name, name) == 0)
            return n->b->states[i]->data;
    for (uint32_t i = 0; i < n->b->ninputs; i++)
        if (n->b->inputs[i].data && strcmp(n->b->inputs[i].tensor->name, name) == 0)
            return n->b->inputs[i].data;
    for (uint32_t i = 0; i < n->b->noutputs; i++)
        if (strcmp(n->b->outputs[i].tensor.name, name) == 0)
            return n->s->arena + n->b->outputs[i].offset;
    const rlx_tensor *w = n->e->weights ? rlx_weights_find(n->e->weights, name) : NULL;
    return w ? (void *)(uintptr_t)w->data : NULL;
}

static rlx_status run(plan *n)
{
    const rlx_engine *engine = &n->e->engine;
    if (engine->step)
        return engine->step(engine->user, find_address, n, n->b->symbols);
    job j = {.s = n->s, .b = n->b, .engine = engine, .may_stop = n->may_stop};
    if (!n->s->first_ns)
        n->s->first_ns = rlx_nanoseconds();
    if (n->e->device) { /* which runs a step as one: what comes meanwhile is answered at its end */
        RLX_TRY(rlx_session_run_device(n->s, n->e->program, n->b));
        return n->may_stop && atomic_load(&n->s->cancel) ? stop(n->s) : RLX_OK;
    }
    rlx_team_run_pieces(n->s->team, (int)n->b->nphases, n->b->pieces, run_phase, &j);
    if (atomic_load(&j.error))
        return atomic_load(&j.error);
    return atomic_load(&j.stopped) ? stop(n->s) : RLX_OK;
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static void note_seen(const plan *n)
{
    const rlx_session *s = n->s;
    for (uint32_t i = 0; i < n->e->nstates; i++)
        for (int q = 0; q < s->reach; q++)
            if (s->next[q] != s->past[q])
                n->b->states[i]->seen[q] = s->next[q];
}

static void set_outputs(const plan *n)
{
    for (uint32_t i = 0; i < n->b->noutputs; i++) {
        const rlx_program_tensor *t = &n->p->outputs[i];
        rlx_tensor *out = &n->b->outputs[i].tensor;
        for (int d = 0; d < t->rank; d++)
            out->dim[d] = rlx_dim_eval(n->p->dims, t->dim[d], n->b->symbols);
        out->bytes = live_bytes(n, t);
        if (n->e->device)
            rlx_session_place_output(n->s, n->p, &n->b->outputs[i]);
        else
            out->data = n->s->arena + t->offset;
    }
}

static void commit(const plan *parts, int n)
{
    rlx_session *s = parts->s;
    if (parts->has_past) {
        if (s->next[0] != s->past[0])
            s->pending = -1;
        for (int i = 0; i < n; i++)
            note_seen(&parts[i]);
        memcpy(s->past, s->next, sizeof(*s->past) * (size_t)s->max_sequences);
        rlx_session_slide_pages(s);
    }
    for (int i = 0; i < n; i++)
        set_outputs(&parts[i]);
    s->last = parts[n - 1].b;
    s->last->front = n > 1 ? parts->b : NULL;
    s->stats.steps++;
    s->stats.tokens += parts->step->tokens;
}

static rlx_status run_part(plan *n)
{
    for (uint32_t i = 0; i < n->b->ninputs; i++)
        if (n->b->inputs[i].data)
            write_input(n, &n->b->inputs[i]);
    RLX_TRY(run(n));
    return n->e->weights ? rlx_weights_check_files(n->e->weights) : RLX_OK;
}

/* One program, or two of which the second takes what the first puts out. */
static rlx_status step_bound(plan *parts, int n)
{
    rlx_session *s = parts->s;
    bool lost = false; /* what a part keeps that cannot be taken back */
    for (int i = 0; i < n; i++) {
        RLX_TRY(plan_sequences(&parts[i]));
        RLX_TRY(plan_symbols(&parts[i]));
        RLX_TRY(plan_inputs(&parts[i]));
    }
    if (atomic_load(&s->cancel))
        return stop(s);
    s->last = NULL; /* the arena is written from here on */
    RLX_TRY(rlx_session_allot_pages(s));
    rlx_status st = RLX_OK;
    for (int i = 0; i < n && !st; i++) {
        lost = lost || !parts[i].b->may_stop;
        st = run_part(&parts[i]);
    }
    if (!st) {
        commit(parts, n);
        return RLX_OK;
    }
    rlx_session_retract_pages(s);
    if (!lost)
        return st;
    rlx_session_drop_stepped(s);
    return rlx_status_note(
        st, __FILE__, __LINE__,
        "layers that keep a state have lost it: the step's sequences begin anew");
}

/* The bindings of an executable's parts: two, where it has a front. Binding one may move another's arena. */
static rlx_status bind_parts(rlx_session *s, const rlx_executable *e, rlx_binding *out[2], int *n)
{
    uint64_t before;
    do {
        before = s->arena_generation;
        *n = 0;
        if (e->front)
            RLX_TRY(rlx_session_bind(s, e->front, &out[(*n)++]));
        RLX_TRY(rlx_session_bind(s, e, &out[(*n)++]));
    } while (s->arena_generation != before);
    return RLX_OK;
}

rlx_status rlx_session_step(rlx_session *s, rlx_executable *e, const rlx_step *step)
{
    plan parts[2];
    rlx_binding *b[2];
    int n;
    if (step->tokens < 0 || step->tokens > INT32_MAX || step->rows < 0 || step->rows > INT32_MAX)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a step of %lld tokens, %lld rows",
                        (long long)step->tokens, (long long)step->rows);
    RLX_TRY(bind_parts(s, e, b, &n));
    for (int i = 0; i < n; i++) {
        const rlx_executable *part = i + 1 < n ? e->front : e;
        parts[i] = (plan){.s = s,
                          .e = part,
                          .p = part->program,
                          .step = step,
                          .b = b[i],
                          .has_past = b[0]->has_past || b[n - 1]->has_past,
                          .may_stop = b[0]->may_stop && b[n - 1]->may_stop,
                          .with = n > 1 ? &parts[1 - i] : NULL,
                          .is_back = i > 0};
        parts[i].live[RLX_LIVE_TOKENS] = step->tokens;
        parts[i].live[RLX_LIVE_ROWS] = step->rows;
    }
    RLX_TRY_NOTE(step_bound(parts, n), "a step of program '%s'", e->program->name);
    return RLX_OK;
}

rlx_status rlx_session_prepare(rlx_session *s, const rlx_executable *e)
{
    rlx_binding *b[2];
    int n;
    return bind_parts(s, e, b, &n);
}

rlx_status rlx_session_output(rlx_session *s, const char *name, rlx_tensor *out)
{
    if (!s->last)
        return RLX_FAIL(RLX_NOT_FOUND, "output '%s': the session has not stepped", name);
    for (const rlx_binding *b = s->last; b; b = b->front)
        for (uint32_t i = 0; i < b->noutputs; i++)
            if (strcmp(b->outputs[i].tensor.name, name) == 0) {
                if (b->step) /* on the device */
                    RLX_TRY_NOTE(rlx_session_take_output(s, &b->outputs[i]), "output '%s'", name);
                *out = b->outputs[i].tensor;
                return RLX_OK;
            }
    return RLX_FAIL(RLX_NOT_FOUND, "the last step's program has no output '%s'", name);
}
