/* runtime/session_bind.c: a session's memory, and tapes with addresses in it.
 *
 * All addresses but the arena's stay for the session's life: states are reserved at their largest,
 * a binding's step block is made for the bucket's upper bounds. The arena is one for all
 * executables and grows to the largest; when it moves, a binding's addresses are computed anew at
 * its next step.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/load_elf.h"
#include "runtime/session.h"

enum { ALIGN = 64, CACHE_LINE_PAIR = 128, HUGE = 2 << 20 };

static const char *const live_names[] = {"TOKENS", "ROWS", "SEQS", "SLOTS"};

/* ---- memory -----------------------------------------------------------------------------------
 */

/* Zero pages that exist once they are touched. */
static rlx_status map_zeros(size_t bytes, void **out)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return RLX_FAIL(RLX_OUT_OF_MEMORY, "reserving %zu bytes: %s", bytes, strerror(errno));
    *out = p;
    return RLX_OK;
}

static void unmap(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}

/* Huge pages behind the first `plain` bytes, a number of huge pages: reading keys and values of a long
 * context, or rows of a prompt, waits for address translation else. */
static rlx_status map_huge(size_t bytes, size_t plain, void **out)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes <= plain || bytes < HUGE)
        return map_zeros(bytes, out);
    void *all;
    RLX_TRY(map_zeros(bytes + HUGE, &all));
    const size_t before = -(uintptr_t)all & (HUGE - 1), mapped = (bytes + page - 1) & ~(page - 1);
    char *p = (char *)all + before;
    unmap(before ? all : NULL, before);
    unmap(p + mapped, HUGE - before);
    (void)madvise(p + plain, mapped - plain, MADV_HUGEPAGE); /* where there are none: so be it */
    *out = p;
    return RLX_OK;
}

/* A state that grows begins where a huge page might, so that a short context touches no more than it
 * uses, and a longer one less than 2 MiB more. */
static rlx_status map_growing(size_t bytes, void **out)
{
    return map_huge(bytes, HUGE, out);
}

static rlx_status grow_arena(rlx_session *s, const rlx_executable *e)
{
    const rlx_program *p = e->program;
    const size_t bytes = (size_t)p->arena_bytes;
    if (e->device)
        return rlx_session_grow_device_arena(s, p);
    if (s->arena && bytes <= s->arena_bytes)
        return RLX_OK;
    void *arena;
    RLX_TRY(map_huge(bytes, 0, &arena));
    unmap(s->arena, s->arena_bytes);
    s->arena = arena;
    s->arena_bytes = bytes;
    s->arena_generation++;
    s->last = NULL; /* its outputs are gone */
    return RLX_OK;
}

/* Panels are read as often as rows: from an eighth of a huge page on they have whole ones. */
static rlx_status grow_scratch(rlx_session *s, const rlx_executable *e)
{
    const size_t line = CACHE_LINE_PAIR, members = (size_t)rlx_team_size(s->team);
    const size_t stride = ((size_t)e->team_bytes + line - 1) & ~(line - 1);
    if (stride <= s->scratch_stride || e->device)
        return RLX_OK;
    size_t bytes = stride * members;
    if (stride >= HUGE / 8)
        bytes = (bytes + HUGE - 1) & ~(size_t)(HUGE - 1);
    void *scratch;
    RLX_TRY(map_huge(bytes, 0, &scratch));
    unmap(s->scratch, s->scratch_bytes);
    s->scratch = scratch;
    s->scratch_bytes = bytes;
    s->scratch_stride = stride;
    return RLX_OK;
}

/* ---- states -----------------------------------------------------------------------------------
 */

static const char *symbol_name(const rlx_program *p, rlx_dim d)
{
    if (rlx_dim_is_const(d))
        return NULL;
    rlx_dim_node n = rlx_dim_get(p->dims, d);
    return n.op == RLX_DIM_SYMBOL ? rlx_dim_symbol_name(p->dims, (int)n.a) : NULL;
}

static bool is_symbol(const rlx_program *p, rlx_dim d, rlx_live live)
{
    const char *name = symbol_name(p, d);
    return name && strcmp(name, live_names[live]) == 0;
}

/* "PAGES" or "PAGES_4096", with `word` PAGES: which window it is of. */
static bool parse_window(const char *name, const char *word, int64_t *window)
{
    size_t n = strlen(word);
    *window = 0;
    if (!name || strncmp(name, word, n) != 0)
        return false;
    if (!name[n])
        return true;
    if (name[n] != '_' || name[n + 1] < '1' || name[n + 1] > '9')
        return false;
    for (name += n + 1; *name >= '0' && *name <= '9' && *window <= INT32_MAX; name++)
        *window = *window * 10 + (*name - '0');
    return !*name && *window <= INT32_MAX;
}

static bool is_pages(const rlx_program *p, rlx_dim d, int64_t *window)
{
    return parse_window(symbol_name(p, d), "PAGES", window);
}

/* What the state's first axis is, and how much of it the session allows. */
static rlx_status describe_axis(rlx_session *s, const rlx_program *p, const rlx_state_use *use,
                                rlx_pool *out)
{
    const rlx_program_tensor *t = use->tensor;
    int64_t window;
    if (t->rank && is_pages(p, t->dim[0], &window)) {
        out->axis = RLX_POOL_PAGES;
        out->dim[0] = s->max_pages;
        return rlx_session_find_pages(s, window, &out->pages);
    }
    if (t->rank && is_symbol(p, t->dim[0], RLX_LIVE_SEQS)) {
        out->axis = RLX_POOL_SEQS;
        out->dim[0] = s->max_sequences;
    }
    return RLX_OK;
}

/* The pool that a state of the program wants; without memory. */
static rlx_status describe_pool(rlx_session *s, const rlx_program *p, const rlx_state_use *use,
                                rlx_pool *out)
{
    const rlx_program_tensor *t = use->tensor;
    *out = (rlx_pool){.format = t->format, .rank = t->rank};
    memcpy(out->dim, t->dim, sizeof(out->dim));
    RLX_TRY(describe_axis(s, p, use, out));
    int64_t elems = 1, bytes;
    for (int d = 0; d < t->rank; d++) {
        if (out->dim[d] < 0)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "state '%s' grows by another symbol than PAGES or SEQS", use->name);
        if (__builtin_mul_overflow(elems, out->dim[d], &elems))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "state '%s' is too large", use->name);
    }
    const rlx_format_info *info = rlx_format_get(t->format);
    if (elems % info->block_elems ||
        __builtin_mul_overflow(elems / info->block_elems, info->block_bytes, &bytes))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "state '%s' is too large", use->name);
    out->bytes = (size_t)bytes;
    out->unit = out->axis == RLX_POOL_FIXED ? out->bytes : out->bytes / (size_t)out->dim[0];
    return RLX_OK;
}

static rlx_status reserve_pool(rlx_session *s, rlx_pool *pool)
{
    void *data;
    if (pool->is_there)
        return rlx_session_make_device_pool(s, pool);
    RLX_TRY(pool->axis == RLX_POOL_PAGES ? map_growing(pool->bytes, &data)
                                         : map_zeros(pool->bytes, &data));
    pool->data = data;
    return RLX_OK;
}

static void free_pool(rlx_session *s, rlx_pool *pool)
{
    unmap(pool->data, pool->bytes);
    if (pool->memory)
        s->device->fn->destroy_memory(s->device, pool->memory);
    free(pool->seen);
    free(pool->name);
    free(pool);
}

static rlx_status make_pool(rlx_session *s, const char *name, const rlx_pool *want, rlx_pool **out)
{
    rlx_pool **pools = realloc(s->pools, sizeof(rlx_pool *) * (size_t)(s->npools + 1));
    if (!pools)
        return RLX_OOM();
    s->pools = pools;
    rlx_pool *pool = malloc(sizeof(*pool));
    if (!pool)
        return RLX_OOM();
    *pool = *want;
    pool->name = strdup(name);
    pool->seen = calloc((size_t)s->max_sequences, sizeof *pool->seen);
    rlx_status st = pool->name && pool->seen ? reserve_pool(s, pool) : RLX_OOM();
    if (st) {
        free_pool(s, pool);
        return rlx_status_note(st, __FILE__, __LINE__, "making state '%s'", name);
    }
    s->pools[s->npools++] = *out = pool;
    return RLX_OK;
}

static rlx_pool *find_pool(const rlx_session *s, const char *name)
{
    for (int i = 0; i < s->npools; i++)
        if (strcmp(s->pools[i]->name, name) == 0)
            return s->pools[i];
    return NULL;
}

static rlx_status find_state(rlx_session *s, const rlx_executable *e, const rlx_state_use *use,
                             rlx_pool **out)
{
    const rlx_program *p = e->program;
    rlx_pool want;
    RLX_TRY(describe_pool(s, p, use, &want));
    want.is_there = e->device != NULL;
    rlx_pool *have = find_pool(s, use->name);
    if (!have)
        return make_pool(s, use->name, &want, out);
    if (have->format != want.format || have->rank != want.rank || have->axis != want.axis ||
        have->pages != want.pages || memcmp(have->dim, want.dim, sizeof(want.dim)) != 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "state '%s' has another format or shape in this session than in "
                        "program '%s'",
                        use->name, p->name);
    if (have->is_there != want.is_there)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "state '%s' is on %s in this session, and program '%s' is loaded for %s",
                        use->name, rlx_session_where(s, have->is_there), p->name,
                        rlx_session_where(s, want.is_there));
    *out = have;
    return RLX_OK;
}

/* On a device, before any of it is taken. */
static rlx_status check_room(rlx_session *s, const rlx_executable *e)
{
    int64_t states = 0;
    for (uint32_t i = 0; i < e->nstates; i++) {
        rlx_pool pool = {0};
        RLX_TRY(describe_pool(s, e->program, &e->states[i], &pool));
        const bool is_there =
            !rlx_executable_is_first_of_name(e, i) || find_pool(s, e->states[i].name);
        states += is_there ? 0 : (int64_t)pool.bytes;
    }
    return rlx_session_check_room(s, e->program, states);
}

rlx_status rlx_session_clear_fixed(rlx_session *s)
{
    rlx_status st = RLX_OK;
    for (int i = 0; i < s->npools && !st; i++)
        if (s->pools[i]->axis == RLX_POOL_FIXED)
            st = rlx_session_clear_unit(s, s->pools[i], 0);
    s->stale_fixed = st != NULL;
    return st;
}

static char *unit_data(const rlx_pool *pool, int64_t unit)
{
    return pool->data + (size_t)unit * pool->unit;
}

rlx_status rlx_session_clear_unit(rlx_session *s, const rlx_pool *pool, int64_t unit)
{
    if (pool->memory)
        return s->device->fn->clear(s->device, pool->memory, (size_t)unit * pool->unit, pool->unit);
    memset(unit_data(pool, unit), 0, pool->unit);
    return RLX_OK;
}

rlx_status rlx_session_copy_unit(rlx_session *s, const rlx_pool *pool, int64_t from, int64_t to)
{
    if (pool->memory)
        RLX_TRY(s->device->fn->copy(s->device, pool->memory, (size_t)from * pool->unit,
                                    (size_t)to * pool->unit, pool->unit));
    else
        memcpy(unit_data(pool, to), unit_data(pool, from), pool->unit);
    s->stats.copied_bytes += (int64_t)pool->unit;
    return RLX_OK;
}

rlx_status rlx_session_write_unit(rlx_session *s, const rlx_pool *pool, int64_t unit,
                                  const void *data)
{
    if (pool->memory)
        return s->device->fn->write(s->device, pool->memory, (size_t)unit * pool->unit, data,
                                    pool->unit);
    memcpy(unit_data(pool, unit), data, pool->unit);
    return RLX_OK;
}

rlx_status rlx_session_read_unit(const rlx_session *s, const rlx_pool *pool, int64_t unit,
                                 void *data)
{
    if (pool->memory)
        return s->device->fn->read(s->device, pool->memory, (size_t)unit * pool->unit, data,
                                   pool->unit);
    memcpy(data, unit_data(pool, unit), pool->unit);
    return RLX_OK;
}

/* ---- bindings ---------------------------------------------------------------------------------
 */

static bool is_i32(const rlx_program *p, const rlx_program_tensor *t, int rank, rlx_live d0,
                   rlx_live d1)
{
    return t->format == RLX_I32 && t->rank == rank && is_symbol(p, t->dim[0], d0) &&
           (rank == 1 || is_symbol(p, t->dim[1], d1));
}

/* Who fills an input; the window of a table. */
static rlx_fill fill_of(const rlx_program *p, const rlx_program_tensor *t, int64_t *window)
{
    static const struct {
        const char *name;
        rlx_live dim;
        rlx_fill fill;
    } known[] = {{"pos", RLX_LIVE_TOKENS, RLX_FILL_POS},
                 {"seq", RLX_LIVE_TOKENS, RLX_FILL_SEQ},
                 {"rows", RLX_LIVE_ROWS, RLX_FILL_ROWS}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(t->name, known[i].name) == 0 && is_i32(p, t, 1, known[i].dim, known[i].dim))
            return known[i].fill;
    if (parse_window(t->name, "table", window) && is_i32(p, t, 2, RLX_LIVE_SEQS, RLX_LIVE_SLOTS))
        return RLX_FILL_TABLE;
    return RLX_FILL_GIVEN;
}

size_t rlx_session_upper_bytes(const rlx_program *p, const rlx_program_tensor *t)
{
    int64_t elems = 1;
    for (int d = 0; d < t->rank; d++) /* cannot overflow: P9 of program_check.c */
        elems *= rlx_dim_upper(p->dims, t->dim[d], p->upper);
    return rlx_format_bytes(t->format, elems);
}

static rlx_status make_step_block(const rlx_program *p, rlx_binding *b)
{
    for (uint32_t i = 0; i < p->nbound; i++) {
        if (p->bound[i].kind != RLX_BIND_INPUT)
            continue;
        char *data = rlx_arena_alloc(b->arena, b->inputs[i].capacity + ALIGN);
        if (!data)
            return RLX_OOM();
        b->inputs[i].data = data + (-(uintptr_t)data & (ALIGN - 1));
    }
    return RLX_OK;
}

/* Every input's place in the step block. */
static rlx_status make_inputs(rlx_session *s, rlx_binding *b, const rlx_executable *e)
{
    const rlx_program *p = e->program;
    b->ninputs = p->nbound;
    b->may_stop = true;
    b->inputs = RLX_NEW_ARRAY(b->arena, rlx_binding_input, p->nbound);
    if (!b->inputs)
        return RLX_OOM();
    for (uint32_t i = 0; i < p->nbound; i++) {
        const rlx_program_tensor *t = &p->bound[i];
        rlx_binding_input *in = &b->inputs[i];
        int64_t window;
        in->tensor = t;
        if (t->kind == RLX_BIND_STATE && t->rank && !rlx_dim_is_const(t->dim[0]))
            b->has_past = true;
        if (t->kind == RLX_BIND_STATE && (t->rank == 0 || !is_pages(p, t->dim[0], &window)))
            b->may_stop = false;
        if (t->kind != RLX_BIND_INPUT)
            continue;
        in->fill = fill_of(p, t, &window);
        if (in->fill == RLX_FILL_TABLE)
            RLX_TRY(rlx_session_find_pages(s, window, &in->pages));
        in->capacity = rlx_session_upper_bytes(p, t);
        if (in->fill != RLX_FILL_GIVEN && in->fill != RLX_FILL_ROWS)
            b->has_past = true;
    }
    return e->device ? rlx_session_make_step_block(s, p, b) : make_step_block(p, b);
}

static rlx_status make_outputs(rlx_binding *b, const rlx_program *p)
{
    b->noutputs = p->noutputs;
    b->outputs = RLX_NEW_ARRAY(b->arena, rlx_binding_output, p->noutputs);
    if (!b->outputs)
        return RLX_OOM();
    for (uint32_t i = 0; i < p->noutputs; i++) {
        const rlx_program_tensor *t = &p->outputs[i];
        rlx_binding_output *out = &b->outputs[i];
        out->offset = t->offset;
        out->tensor.name = rlx_arena_strdup(b->arena, t->name);
        out->tensor.format = t->format;
        out->tensor.rank = t->rank;
        if (!out->tensor.name)
            return RLX_OOM();
    }
    return RLX_OK;
}

/* Parts in which a member's share of a launch goes, for others to help it: the last of some 5 us. Every one calls the kernel anew, and
 * what that keeps in team memory for all of its instances (rows of codes, norms) is made once a part: of 4 KiB in 1 us. */
static int count_pieces(const rlx_program_kernel *k, int members)
{
    enum { SHORT = 64 << 10, TEAM = 64 };
    const int64_t least = k->team_bytes * TEAM > SHORT ? k->team_bytes * TEAM : SHORT;
    int n = 1;
    while (n < RLX_TEAM_PIECES && k->cost.bytes[0] / members >> n >= least)
        n++;
    return n;
}

/* Weights that the members read in equal shares, each of more than a window that it tells of; not what
 * a step reads some rows or matrices of. */
static void find_soon(const rlx_executable *e, const rlx_flat_launch *l, int members,
                      rlx_binding_soon *soon)
{
    enum { LEAST = 128 << 10 };
    const rlx_program_kernel *k = &e->program->kernels[l->kernel];
    for (uint32_t i = 0; i < k->nbuffers; i++) {
        const rlx_place *place = &e->places[l->first + i];
        if (soon->n == RLX_SOON || place->kind != RLX_PLACE_WEIGHT)
            continue;
        const int64_t all = (int64_t)place->weight->bytes, share = all / members;
        if (share < LEAST || k->cost.bytes[0] < all)
            continue;
        soon->from[soon->n] = place->weight->data;
        soon->share[soon->n++] = share;
    }
}

/* A phase tells of the next one that has weights. */
static void make_soon(rlx_binding *b, const rlx_executable *e, int members)
{
    for (uint32_t i = 0; i < e->nlaunches; i++)
        if (e->launches[i].phase > 0)
            find_soon(e, &e->launches[i], members, &b->soon[e->launches[i].phase - 1]);
    for (uint32_t p = e->nphases; p-- > 1;)
        if (!b->soon[p - 1].n)
            b->soon[p - 1] = b->soon[p];
}

static rlx_status make_launches(rlx_binding *b, const rlx_executable *e, int members)
{
    b->nlaunches = e->nlaunches;
    b->launches = RLX_NEW_ARRAY(b->arena, rlx_binding_launch, e->nlaunches);
    b->buffers = RLX_NEW_ARRAY(b->arena, void *, e->nplaces);
    b->phases = RLX_NEW_ARRAY(b->arena, uint32_t, e->nphases + 1);
    b->pieces = RLX_NEW_ARRAY(b->arena, uint8_t, e->nphases + 1);
    b->soon = RLX_NEW_ARRAY(b->arena, rlx_binding_soon, e->nphases + 1);
    b->nphases = e->nphases;
    if (!b->launches || !b->buffers || !b->phases || !b->pieces || !b->soon)
        return RLX_OOM();
    for (uint32_t i = 0; i < e->nlaunches; i++) {
        const rlx_flat_launch *from = &e->launches[i];
        rlx_binding_launch *l = &b->launches[i];
        const int pieces = count_pieces(&e->program->kernels[from->kernel], members);
        *l = (rlx_binding_launch){.buffers = b->buffers + from->first,
                                  .kernel = from->kernel,
                                  .parts = 1 << (pieces - 1)};
        b->phases[from->phase + 1] = i + 1;
        if (pieces > b->pieces[from->phase])
            b->pieces[from->phase] = (uint8_t)pieces;
        if (e->image) {
            void *function = rlx_elf_image_get(e->image, from->kernel);
            memcpy(&l->fn, &function,
                   sizeof(function)); /* data to function pointer, as POSIX has it */
        }
    }
    make_soon(b, e, members);
    return RLX_OK;
}

/* Which of the program's symbols count the session's pages. One that no state and no table has is
 * 0. */
static void find_pages_symbols(const rlx_session *s, rlx_binding *b, const rlx_program *p)
{
    int64_t window;
    for (int i = 0; i < RLX_MAX_WINDOWS; i++)
        b->pages_symbol[i] = -1;
    for (int i = 0; i < rlx_dim_symbol_count(p->dims); i++) {
        if (!parse_window(rlx_dim_symbol_name(p->dims, i), "PAGES", &window))
            continue;
        b->idle_symbols |= 1u << i;
        for (int k = 0; k < s->nwindows; k++)
            if (s->pages[k].window == window) {
                b->pages_symbol[k] = i;
                b->idle_symbols &= ~(1u << i);
            }
    }
}

static rlx_status fill_binding(rlx_session *s, const rlx_executable *e, rlx_binding *b)
{
    const rlx_program *p = e->program;
    b->executable = e->id;
    for (int i = 0; i < RLX_LIVE_COUNT; i++)
        b->live_symbol[i] = rlx_dim_symbol_index(p->dims, live_names[i]);
    RLX_TRY(make_inputs(s, b, e));
    RLX_TRY(make_outputs(b, p));
    RLX_TRY(make_launches(b, e, rlx_team_size(s->team)));
    RLX_TRY(rlx_session_make_times(s, e, b));
    b->states = RLX_NEW_ARRAY(b->arena, rlx_pool *, e->nstates);
    if (!b->states)
        return RLX_OOM();
    if (e->device)
        RLX_TRY(check_room(s, e));
    for (uint32_t i = 0; i < e->nstates; i++)
        RLX_TRY(find_state(s, e, &e->states[i], &b->states[i]));
    find_pages_symbols(s, b, p);
    RLX_TRY(grow_scratch(s, e));
    return grow_arena(s, e);
}

static rlx_status make_binding(rlx_session *s, const rlx_executable *e, rlx_binding **out)
{
    rlx_binding **bindings =
        realloc(s->bindings, sizeof(rlx_binding *) * (size_t)(s->nbindings + 1));
    if (!bindings)
        return RLX_OOM();
    s->bindings = bindings;
    rlx_arena *arena = rlx_arena_create();
    rlx_binding *b = arena ? RLX_NEW(arena, rlx_binding) : NULL;
    if (b)
        b->arena = arena;
    rlx_status st = b ? fill_binding(s, e, b) : RLX_OOM();
    if (st) {
        if (b)
            rlx_session_free_binding(s, b);
        rlx_arena_destroy(arena);
        return rlx_status_note(st, __FILE__, __LINE__, "binding program '%s'", e->program->name);
    }
    s->bindings[s->nbindings++] = b;
    *out = b;
    return RLX_OK;
}

static void set_addresses(const rlx_session *s, const rlx_executable *e, rlx_binding *b)
{
    for (uint32_t i = 0; i < e->nplaces; i++) {
        const rlx_place *place = &e->places[i];
        void *address = NULL;
        switch (place->kind) {
        case RLX_PLACE_ARENA:
            address = s->arena + place->offset;
            break;
        case RLX_PLACE_INPUT:
            address = b->inputs[place->index].data;
            break;
        case RLX_PLACE_STATE:
            address = b->states[place->index]->data;
            break;
        case RLX_PLACE_WEIGHT:
            address = (void *)(uintptr_t)place->weight->data; /* kernels only read it */
            break;
        case RLX_PLACE_ABSENT:
            break;
        }
        b->buffers[i] = address;
    }
    b->arena_generation = s->arena_generation;
}

/* One that was opened anew has the name of what was lost. */
static const char *tell_lost(const rlx_device *d)
{
    return d && d->fn->is_lost(d) ? " as it was before it was lost" : "";
}

rlx_status rlx_session_bind(rlx_session *s, const rlx_executable *e, rlx_binding **out)
{
    rlx_binding *b = NULL;
    if (e->device && e->device != s->device)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "program '%s' is loaded for %s%s, the session is on %s%s", e->program->name,
                        e->device->name, tell_lost(e->device), rlx_session_where(s, true),
                        tell_lost(s->device));
    for (int i = 0; i < s->nbindings && !b; i++)
        if (s->bindings[i]->executable == e->id)
            b = s->bindings[i];
    if (!b)
        RLX_TRY(make_binding(s, e, &b));
    *out = b;
    if (b->arena_generation == s->arena_generation)
        return RLX_OK;
    if (e->device)
        return rlx_session_record(s, e, b);
    set_addresses(s, e, b);
    return RLX_OK;
}

void rlx_session_unbind_all(rlx_session *s)
{
    for (int i = 0; i < s->nbindings; i++) {
        rlx_session_free_binding(s, s->bindings[i]);
        rlx_arena_destroy(s->bindings[i]->arena);
    }
    free(s->bindings);
    for (int i = 0; i < s->npools; i++)
        free_pool(s, s->pools[i]);
    free(s->pools);
    unmap(s->arena, s->arena_bytes);
    unmap(s->scratch, s->scratch_bytes);
    rlx_session_free_device(s);
}
