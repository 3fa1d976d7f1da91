/* lir/lir_eval_check.c: who touched what: conflicts between instances, and within a team without a
 * barrier between.
 *
 * Global buffers that the kernel stores to, and whatever shares memory with them, have a shadow:
 * per unit (the smallest element of those buffers) the instance that wrote it and the one that read
 * it, or RLX_LIR_BY_MANY. A unit that one instance writes and another touches is a conflict,
 * whatever the order in which they happened to run. Team buffers have a shadow per element: who
 * wrote it in this team, and the barrier epochs of its last store and load; of an async store the
 * group, which is on its way until a barrier after the wait for it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "lir/lir_eval.h"

/* ---- making -------------------------------------------------------------------------------------
 */

/* Large shadows are mostly untouched (a KV pool of which a step writes a few rows): calloc leaves
 * them to the kernel's zero pages. */
static uint32_t *zeroed(int64_t units)
{
    return calloc((size_t)(units ? units : 1), sizeof(uint32_t));
}

/* One shadow for buffer `first` and every later one that shares memory with the group. */
static rlx_status share_shadow(rlx_lir_eval *e, int first)
{
    rlx_lir_memory *all = e->memories;
    uint8_t *lo = all[first].data, *hi = lo + all[first].bytes;
    size_t unit = all[first].elem_bytes;
    bool loaded = false, grew = true;
    rlx_lir_shadow *s = RLX_NEW(e->arena, rlx_lir_shadow);
    if (!s)
        return RLX_OOM();
    all[first].shadow = s;
    while (grew) { /* a newcomer may touch buffers that were passed over */
        grew = false;
        for (int i = 0; i < e->kernel->body->nargs; i++) {
            rlx_lir_memory *b = &all[i];
            if (b->shadow || b->data >= hi || lo >= b->data + b->bytes)
                continue;
            if (b->block_elems > 1)
                return RLX_FAIL(RLX_INVALID_ARGUMENT,
                                "kernel @%s stores to memory that it loads %s blocks from",
                                e->kernel->name, rlx_format_get(b->format)->name);
            b->shadow = s;
            lo = b->data < lo ? b->data : lo;
            hi = b->data + b->bytes > hi ? b->data + b->bytes : hi;
            grew = true;
        }
    }
    for (int i = 0; i < e->kernel->body->nargs; i++) {
        if (all[i].shadow != s)
            continue;
        unit = all[i].elem_bytes < unit ? all[i].elem_bytes : unit;
        loaded = loaded || all[i].loaded;
    }
    for (int i = 0; i < e->kernel->body->nargs; i++) {
        if (all[i].shadow != s)
            continue;
        all[i].first_unit = (all[i].data - lo) / (int64_t)unit;
        all[i].scale = (int)(all[i].elem_bytes / unit);
    }
    s->units = (hi - lo + (int64_t)unit - 1) / (int64_t)unit;
    s->writer = zeroed(s->units);
    s->reader = loaded ? zeroed(s->units) : NULL;
    return s->writer && (s->reader || !loaded) ? RLX_OK : RLX_OOM();
}

static rlx_status create_team_shadow(rlx_lir_eval *e, rlx_lir_memory *b)
{
    rlx_lir_shadow *s = b->shadow = RLX_NEW(e->arena, rlx_lir_shadow);
    if (!s)
        return RLX_OOM();
    s->units = (int64_t)(b->bytes / b->elem_bytes);
    s->writer = zeroed(s->units);
    s->write_epoch = zeroed(s->units);
    s->read_epoch = zeroed(s->units);
    s->group = zeroed(s->units);
    return s->writer && s->write_epoch && s->read_epoch && s->group ? RLX_OK : RLX_OOM();
}

rlx_status rlx_lir_shadow_create(rlx_lir_eval *e)
{
    for (int i = 0; i < e->nmemories; i++) {
        rlx_lir_memory *b = &e->memories[i];
        if (b->space == RLX_SPACE_TEAM)
            RLX_TRY(create_team_shadow(e, b));
        else if (b->stored && !b->shadow)
            RLX_TRY(share_shadow(e, i));
    }
    return RLX_OK;
}

void rlx_lir_shadow_destroy(rlx_lir_eval *e)
{
    for (int i = 0; i < e->nmemories; i++) {
        rlx_lir_shadow *s = e->memories[i].shadow;
        if (!s)
            continue;
        free(s->writer);
        free(s->reader);
        free(s->write_epoch);
        free(s->read_epoch);
        free(s->group);
        *s = (rlx_lir_shadow){0}; /* buffers that share it find it empty */
    }
}

void rlx_lir_shadow_begin_team(rlx_lir_eval *e)
{
    for (int i = 0; i < e->nmemories; i++) {
        rlx_lir_memory *b = &e->memories[i];
        for (int64_t u = 0; b->shadow && b->space == RLX_SPACE_TEAM && u < b->shadow->units; u++)
            b->shadow->writer[u] = b->shadow->write_epoch[u] = b->shadow->read_epoch[u] =
                b->shadow->group[u] = 0;
    }
}

/* ---- reporting ----------------------------------------------------------------------------------
 */

/* "[2,17]": an element of a buffer, row-major, as indices. */
static const char *element_text(const rlx_lir_eval *e, const rlx_lir_memory *b, int64_t element)
{
    rlx_text text = {0};
    rlx_text_put(&text, "[");
    for (int i = 0; i < b->rank; i++) {
        rlx_text_putf(&text, "%s%" PRId64, i ? "," : "", element / b->stride[i] % b->extent[i]);
    }
    rlx_text_put(&text, "]");
    const char *copy = text.data ? rlx_arena_strdup(e->arena, text.data) : NULL;
    rlx_text_deinit(&text);
    return copy ? copy : "";
}

const char *rlx_lir_eval_instance_text(const rlx_lir_eval *e, uint32_t instance)
{
    if (instance == RLX_LIR_BY_ONCE)
        return "once";
    if (instance == (uint32_t)RLX_LIR_BY_MANY)
        return "several instances";
    for (int g = 0; g < e->ngrids; g++) {
        const rlx_lir_grid_range *r = &e->grids[g];
        if (instance < r->first || instance - r->first >= r->count)
            continue;
        int64_t rest = instance - r->first, index[RLX_LIR_MAX_GRID] = {0};
        for (int i = r->grid->nin - 1; i >= 0; i--) {
            index[i] = rest % r->extent[i];
            rest /= r->extent[i];
        }
        char *text = rlx_arena_printf(e->arena, "instance (%" PRId64, index[0]);
        for (int i = 1; i < r->grid->nin && text; i++)
            text = rlx_arena_printf(e->arena, "%s,%" PRId64, text, index[i]);
        text = text ? rlx_arena_printf(e->arena, "%s)%s", text, g ? " of a later grid" : "") : NULL;
        return text ? text : "an instance";
    }
    return "top level";
}

static rlx_status conflict(const rlx_lir_eval *e, const rlx_lir_instr *i, int64_t element,
                           const char *what, uint32_t other, const char *did)
{
    return RLX_LIR_EVAL_FAIL(e, i, "%s element %s, which %s %s", what,
                             element_text(e, i->memory, element),
                             rlx_lir_eval_instance_text(e, other), did);
}

/* ---- noting -------------------------------------------------------------------------------------
 */

/* Whether what an async store wrote to a unit is on its way. */
static rlx_status check_group(const rlx_lir_eval *e, const rlx_lir_instr *i, int64_t u,
                              const char *does)
{
    const uint32_t group = i->memory->shadow->group[u];
    if (group <= e->groups.seen)
        return RLX_OK;
    return RLX_LIR_EVAL_FAIL(e, i, "%s element %s of team memory, stored async and %s", does,
                             element_text(e, i->memory, u),
                             group > e->groups.arrived ? "not waited for"
                                                       : "waited for with no barrier since");
}

static rlx_status load_team(rlx_lir_eval *e, const rlx_lir_instr *i, int64_t first, int64_t stride,
                            int64_t n)
{
    rlx_lir_shadow *s = i->memory->shadow;
    for (int64_t k = 0, u = first; k < n; k++, u += stride) {
        uint32_t w = s->writer[u];
        if (w != RLX_LIR_BY_ONCE && w != e->instance)
            return RLX_LIR_EVAL_FAIL(e, i, "reads element %s of team memory, which %s",
                                     element_text(e, i->memory, u),
                                     w ? "only another instance stored" : "nobody stored");
        RLX_TRY(check_group(e, i, u, "reads"));
        if (s->write_epoch[u] == e->epoch)
            return RLX_LIR_EVAL_FAIL(e, i,
                                     "reads element %s of team memory, stored with no barrier "
                                     "since",
                                     element_text(e, i->memory, u));
        s->read_epoch[u] = e->epoch;
    }
    return RLX_OK;
}

static rlx_status store_team(rlx_lir_eval *e, const rlx_lir_instr *i, int64_t first, int64_t stride,
                             int64_t n)
{
    rlx_lir_shadow *s = i->memory->shadow;
    for (int64_t k = 0, u = first; k < n; k++, u += stride) {
        RLX_TRY(check_group(e, i, u, "stores"));
        if (s->write_epoch[u] == e->epoch || s->read_epoch[u] == e->epoch)
            return RLX_LIR_EVAL_FAIL(
                e, i, "stores element %s of team memory, %s with no barrier since",
                element_text(e, i->memory, u), s->write_epoch[u] == e->epoch ? "stored" : "read");
        s->writer[u] = e->instance;
        s->write_epoch[u] = e->epoch;
        s->group[u] = i->source ? e->groups.open : 0;
    }
    if (i->source)
        e->groups.last = e->groups.open;
    return RLX_OK;
}

void rlx_lir_pass_barrier(rlx_lir_eval *e)
{
    e->epoch++;
    e->groups.seen = e->groups.arrived;
}

rlx_status rlx_lir_check_arrived(const rlx_lir_eval *e, const rlx_lir_instr *i)
{
    if (e->groups.last <= e->groups.arrived)
        return RLX_OK;
    return RLX_LIR_EVAL_FAIL(e, i, "ends with async stores that nothing waited for");
}

rlx_status rlx_lir_shadow_load(rlx_lir_eval *e, const rlx_lir_instr *i, int64_t first,
                               int64_t stride, int64_t n)
{
    const rlx_lir_memory *b = i->memory;
    if (b->space == RLX_SPACE_TEAM)
        return load_team(e, i, first, stride, n);
    const rlx_lir_shadow *s = b->shadow;
    for (int64_t k = 0; k < n; k++) {
        int64_t element = first + k * stride, u = b->first_unit + element * b->scale;
        for (int j = 0; j < b->scale; j++) {
            if (s->writer[u + j] && s->writer[u + j] != e->instance)
                return conflict(e, i, element, "reads", s->writer[u + j], "stores");
            if (s->reader[u + j] != e->instance)
                s->reader[u + j] = s->reader[u + j] ? (uint32_t)RLX_LIR_BY_MANY : e->instance;
        }
    }
    return RLX_OK;
}

rlx_status rlx_lir_shadow_store(rlx_lir_eval *e, const rlx_lir_instr *i, int64_t first,
                                int64_t stride, int64_t n)
{
    const rlx_lir_memory *b = i->memory;
    if (b->space == RLX_SPACE_TEAM)
        return store_team(e, i, first, stride, n);
    const rlx_lir_shadow *s = b->shadow;
    for (int64_t k = 0; k < n; k++) {
        int64_t element = first + k * stride, u = b->first_unit + element * b->scale;
        for (int j = 0; j < b->scale; j++) {
            if (s->writer[u + j] && s->writer[u + j] != e->instance)
                return conflict(e, i, element, "stores", s->writer[u + j], "stores too");
            if (s->reader && s->reader[u + j] && s->reader[u + j] != e->instance)
                return conflict(e, i, element, "stores", s->reader[u + j], "reads");
            s->writer[u + j] = e->instance;
        }
    }
    return RLX_OK;
}
