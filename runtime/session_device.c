/* runtime/session_device.c: a session's memory on a device, and tapes recorded over it.
 *
 *   frames   arena without outputs: kept there        step     symbols, launches' teams, inputs: the host writes them
 *   outputs  small ones: the host sees them           states   kept there, in full from the beginning
 *   large    the others: taken when they are asked for
 *
 * An entry's outputs lie behind its frame in the arena (program.h): what is there goes to memory of its own. A step is one submission;
 * a small output is there when it is done, and of a large one nothing crosses over that nobody reads.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

enum { ALIGN = 64, SMALL_BYTES = 4096 };

static size_t align_up(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static rlx_status check_range(const rlx_session *s, rlx_format f, size_t bytes, const char *what)
{
    RLX_TRY_NOTE(rlx_device_check_reach(s->device, f, bytes), "%s", what);
    return RLX_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

rlx_status rlx_session_make_device_pool(rlx_session *s, rlx_pool *pool)
{
    rlx_device *d = s->device;
    RLX_TRY(check_range(s, pool->format, pool->bytes, "it"));
    RLX_TRY(d->fn->create_memory(d, pool->bytes, RLX_MEMORY_KEPT, &pool->memory));
    rlx_status st = d->fn->clear(d, pool->memory, 0, pool->bytes);
    if (st) {
        d->fn->destroy_memory(d, pool->memory);
        pool->memory = NULL;
    }
    return st;
}

static size_t teams_bytes(const rlx_program *p)
{
    return align_up(sizeof(rlx_device_teams) * p->nkernels);
}

rlx_status rlx_session_check_room(rlx_session *s, const rlx_program *p, int64_t states)
{
    const int64_t frames = p->funcs[p->nfuncs - 1].frame_bytes,
                  large = (int64_t)rlx_session_sum_outputs(p, true);
    rlx_device_needs needs = {.states = states};
    needs.arena += frames > (int64_t)s->frame_bytes ? frames : 0;
    needs.arena += large > (int64_t)s->large_bytes ? large : 0;
    return rlx_device_check_room(s->device, &needs);
}

rlx_status rlx_session_make_step_block(rlx_session *s, const rlx_program *p, rlx_binding *b)
{
    rlx_device *d = s->device;
    size_t bytes = align_up(sizeof(b->symbols)) + teams_bytes(p);
    for (uint32_t i = 0; i < p->nbound; i++)
        bytes += p->bound[i].kind == RLX_BIND_INPUT ? align_up(b->inputs[i].capacity + 1) : 0;
    RLX_TRY(check_range(s, RLX_I32, bytes, "the step block"));
    RLX_TRY(d->fn->create_memory(d, bytes, RLX_MEMORY_GIVEN, &b->step));
    char *at = (char *)d->fn->map(b->step) + align_up(sizeof(b->symbols)) + teams_bytes(p);
    for (uint32_t i = 0; i < p->nbound; i++) {
        if (p->bound[i].kind != RLX_BIND_INPUT)
            continue;
        b->inputs[i].data = at;
        at += align_up(b->inputs[i].capacity + 1);
    }
    return RLX_OK;
}

static size_t frame_bytes(const rlx_program *p)
{
    return (size_t)p->funcs[p->nfuncs - 1].frame_bytes;
}

/* Where an output lies: one kind after another. What has no bytes may lie anywhere. */
static size_t place_output(const rlx_program *p, int64_t offset, bool *is_large)
{
    size_t at[2] = {0, 0};
    for (uint32_t i = 0; i < p->noutputs; i++) {
        const size_t bytes = align_up(rlx_session_upper_bytes(p, &p->outputs[i]));
        *is_large = bytes > SMALL_BYTES;
        if (bytes && p->outputs[i].offset == offset)
            return at[*is_large];
        at[*is_large] += bytes;
    }
    *is_large = false;
    return 0;
}

size_t rlx_session_sum_outputs(const rlx_program *p, bool large)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < p->noutputs; i++) {
        const size_t bytes = align_up(rlx_session_upper_bytes(p, &p->outputs[i]));
        sum += (bytes > SMALL_BYTES) == large ? bytes : 0;
    }
    return sum;
}

/* Exchanges a memory for a larger one; what was in it is lost. */
static rlx_status grow(rlx_session *s, rlx_device_memory **m, size_t *has, size_t bytes,
                       rlx_memory_use use)
{
    rlx_device *d = s->device;
    rlx_device_memory *larger;
    if (*m && bytes <= *has)
        return RLX_OK;
    RLX_TRY(d->fn->create_memory(d, bytes, use, &larger));
    d->fn->destroy_memory(d, *m);
    *m = larger;
    *has = bytes;
    s->arena_generation++;
    s->last = NULL; /* its outputs are gone */
    return RLX_OK;
}

static rlx_status grow_large(rlx_session *s, size_t bytes)
{
    if (!bytes || (s->large && bytes <= s->large_bytes))
        return RLX_OK;
    RLX_TRY(check_range(s, RLX_F32, bytes, "what it puts out"));
    char *taken = realloc(s->taken, bytes);
    if (!taken)
        return RLX_OOM();
    s->taken = taken;
    s->last = NULL;
    return grow(s, &s->large, &s->large_bytes, bytes, RLX_MEMORY_KEPT);
}

/* What has no bytes may lie at the end. */
size_t rlx_session_frames_bytes(const rlx_program *p)
{
    return frame_bytes(p) + ALIGN;
}

rlx_status rlx_session_grow_device_arena(rlx_session *s, const rlx_program *p)
{
    const size_t frames = rlx_session_frames_bytes(p),
                 outputs = rlx_session_sum_outputs(p, false) + ALIGN;
    RLX_TRY(check_range(s, RLX_F32, frames, "the arena"));
    RLX_TRY(grow(s, &s->frames, &s->frame_bytes, frames, RLX_MEMORY_KEPT));
    RLX_TRY(grow(s, &s->outputs, &s->output_bytes, outputs, RLX_MEMORY_TAKEN));
    return grow_large(s, rlx_session_sum_outputs(p, true));
}

void rlx_session_place_output(const rlx_session *s, const rlx_program *p, rlx_binding_output *out)
{
    bool is_large;
    out->at = place_output(p, out->offset, &is_large);
    const char *data = s->device->fn->map(is_large ? s->large : s->outputs);
    out->tensor.data = data ? data + out->at : NULL;
    out->is_taken = false;
}

rlx_status rlx_session_take_output(rlx_session *s, rlx_binding_output *out)
{
    if (out->is_taken)
        return RLX_OK;
    if (!out->tensor.data) {
        char *to = s->taken + out->at;
        RLX_TRY(s->device->fn->read(s->device, s->large, out->at, to, out->tensor.bytes));
        out->tensor.data = to;
    }
    out->is_taken = true;
    s->device->taken_bytes += (int64_t)out->tensor.bytes;
    return RLX_OK;
}

void rlx_session_free_binding(rlx_session *s, rlx_binding *b)
{
    if (!s->device)
        return;
    s->device->fn->destroy_tape(s->device, b->tape);
    s->device->fn->destroy_memory(s->device, b->step);
}

void rlx_session_free_device(rlx_session *s)
{
    if (!s->device)
        return;
    s->device->fn->destroy_memory(s->device, s->frames);
    s->device->fn->destroy_memory(s->device, s->outputs);
    s->device->fn->destroy_memory(s->device, s->large);
    free(s->taken);
}

/* ---- tapes ----------------------------------------------------------------------------------- */

static rlx_device_range arena_range(const rlx_session *s, const rlx_program *p, int64_t offset)
{
    bool is_large;
    if ((size_t)offset < frame_bytes(p))
        return (rlx_device_range){.memory = s->frames, .offset = (size_t)offset};
    const size_t at = place_output(p, offset, &is_large);
    return (rlx_device_range){.memory = is_large ? s->large : s->outputs, .offset = at};
}

static rlx_device_range range_of(const rlx_session *s, const rlx_executable *e,
                                 const rlx_binding *b, const rlx_place *place)
{
    rlx_device_range r = {.memory = b->step}; /* for what has no bytes */
    switch (place->kind) {
    case RLX_PLACE_ARENA:
        r = arena_range(s, e->program, place->offset);
        break;
    case RLX_PLACE_INPUT: {
        const rlx_binding_input *in = &b->inputs[place->index];
        r.offset = (size_t)((char *)in->data - (char *)s->device->fn->map(b->step));
        r.bytes = align_up(in->capacity + 1);
        break;
    }
    case RLX_PLACE_STATE:
        r = (rlx_device_range){.memory = b->states[place->index]->memory};
        break;
    case RLX_PLACE_WEIGHT:
        if (place->weight->bytes)
            r = rlx_device_weights_get(s->device, e->uploaded, place->weight);
        break;
    case RLX_PLACE_ABSENT:
        break;
    }
    return r;
}

static void fill_launches(const rlx_session *s, const rlx_executable *e, const rlx_binding *b,
                          rlx_device_range *ranges, rlx_device_launch *launches)
{
    for (uint32_t i = 0; i < e->nplaces; i++)
        ranges[i] = range_of(s, e, b, &e->places[i]);
    for (uint32_t i = 0; i < e->nlaunches; i++) {
        const rlx_flat_launch *l = &e->launches[i];
        launches[i] = (rlx_device_launch){l->kernel, l->phase, ranges + l->first};
    }
}

rlx_status rlx_session_record(rlx_session *s, const rlx_executable *e, rlx_binding *b)
{
    rlx_device *d = s->device;
    rlx_arena *scratch = rlx_arena_create();
    if (!scratch)
        return RLX_OOM();
    rlx_device_range *ranges = RLX_NEW_ARRAY(scratch, rlx_device_range, e->nplaces + 1);
    rlx_device_launch *launches = RLX_NEW_ARRAY(scratch, rlx_device_launch, e->nlaunches + 1);
    rlx_device_recording r = {
        .kernels = e->kernels,
        .launches = launches,
        .nlaunches = e->nlaunches,
        .symbols = {b->step, 0, align_up(sizeof(b->symbols))},
        .teams = {b->step, align_up(sizeof(b->symbols)), teams_bytes(e->program)},
        .timed = s->time_kernels};
    d->fn->destroy_tape(d, b->tape);
    b->tape = NULL;
    rlx_status st = ranges && launches ? RLX_OK : RLX_OOM();
    if (!st) {
        fill_launches(s, e, b, ranges, launches);
        st = d->fn->record(d, &r, &b->tape);
    }
    rlx_arena_destroy(scratch);
    RLX_TRY_NOTE(st, "binding program '%s'", e->program->name);
    b->arena_generation = s->arena_generation;
    return RLX_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Times are the device's; the team's first member has them. */
static void add_times(const rlx_session *s, rlx_binding *b)
{
    for (uint32_t i = 0; i < b->nlaunches; i++)
        rlx_session_add_time(b, b->launches[i].kernel, 0, 0,
                             s->device->fn->time(s->device, b->tape, i) * rlx_team_size(s->team));
}

uint32_t rlx_device_count_teams(const rlx_program *p, uint32_t kernel, const int64_t *symbols,
                                int64_t most)
{
    int64_t teams = 1;
    for (int a = 0; a < RLX_PROGRAM_GRID && teams < most; a++) {
        const int64_t extent = rlx_dim_eval(p->dims, p->kernels[kernel].grid[a], symbols);
        teams *= extent < most ? extent : most;
    }
    teams = teams < most ? teams : most;
    return teams > 1 ? (uint32_t)teams : 1;
}

rlx_status rlx_session_run_device(rlx_session *s, const rlx_program *p, rlx_binding *b)
{
    char *step = s->device->fn->map(b->step);
    rlx_device_teams *teams = (rlx_device_teams *)(void *)(step + align_up(sizeof(b->symbols)));
    memcpy(step, b->symbols, sizeof(b->symbols));
    for (uint32_t i = 0; s->device->max_teams && i < p->nkernels; i++)
        teams[i] = (rlx_device_teams){
            rlx_device_count_teams(p, i, b->symbols, s->device->max_teams), 1, 1, 0};
    RLX_TRY(s->device->fn->run(s->device, b->tape));
    if (s->time_kernels)
        add_times(s, b);
    return RLX_OK;
}
