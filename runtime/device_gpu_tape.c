/* runtime/device_gpu_tape.c: a program's launches on a GPU as one graph.
 *
 *   what the host wrote --> device     phase 0: launches, beside each other     phase 1 ...
 *
 * A graph is captured from a stream when an executable first steps in a session. Launches of one phase go by several streams, which part
 * behind the phase before and meet again. Nothing in it depends on a step, so that a step is one call. A timed tape is no graph: its
 * launches follow one another in every run, with an event behind each. Where a program has its steps in one launch, that is what a tape
 * runs instead (device_gpu_step.c).
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/device_gpu_impl.h"

enum { MAX_LANES = 4 }; /* launches of a phase side by side: projections of a token, experts */

typedef struct launch {
    const rlx_gpu_kernel *kernel;
    uint32_t phase;
    void **arguments; /* into the tape's */
} launch;

struct rlx_device_tape {
    rlx_gpu_stream stream;
    rlx_gpu_exec exec;  /* NULL: in one launch, or timed */
    rlx_gpu_step *step; /* in one launch; else NULL */
    launch *launches;
    uint32_t nlaunches;
    rlx_gpu_address *addresses; /* of all launches' arguments, one launch after another */
    size_t naddresses;
    rlx_gpu_tensor *maps; /* of buffers of launches that want some */
    size_t nmaps;
    void **arguments; /* where each of them is; NULL behind each launch's last */
    size_t narguments;
    const rlx_device_memory **given; /* that the host writes: copied before the launches */
    uint32_t ngiven;
    rlx_gpu_event *events; /* timed: nlaunches + 1 */
    float *milliseconds;   /* of each launch, when it was last run */
};

/* ---- arguments ------------------------------------------------------------------------------- */

static void add_given(rlx_device_tape *t, const rlx_device_memory *m)
{
    if (m->use != RLX_MEMORY_GIVEN)
        return;
    for (uint32_t i = 0; i < t->ngiven; i++)
        if (t->given[i] == m)
            return;
    t->given[t->ngiven++] = m;
}

static rlx_status put_argument(rlx_device_tape *t, const rlx_device_range *r, size_t *next)
{
    const rlx_device_memory *m = r->memory;
    if (r->offset > m->bytes || (r->bytes && r->bytes > m->bytes - r->offset))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%zu bytes from %zu of a memory that has %zu",
                        r->bytes, r->offset, m->bytes);
    t->addresses[*next] = m->at + r->offset;
    add_given(t, m);
    ++*next;
    return RLX_OK;
}

static rlx_status put_map(rlx_gpu *g, rlx_device_tape *t, const rlx_program_map *m,
                          const rlx_device_range *r)
{
    rlx_gpu_tensor *map = &t->maps[t->nmaps++];
    const size_t bytes = r->bytes ? r->bytes : r->memory->bytes - r->offset;
    t->arguments[t->narguments++] = map;
    return rlx_gpu_encode_map(g, m, r->memory->at + r->offset, bytes, map);
}

/* A kernel's buffers, then the symbols, then what buffers have of maps. */
static rlx_status put_launch(rlx_gpu *g, rlx_device_tape *t, const rlx_device_recording *r,
                             uint32_t i)
{
    const rlx_device_launch *l = &r->launches[i];
    const rlx_gpu_kernel *k = &r->kernels->each[l->kernel];
    const size_t first = t->naddresses;
    t->launches[i] = (launch){k, l->phase, t->arguments + t->narguments};
    for (uint32_t b = 0; b < k->nbuffers; b++)
        RLX_TRY_NOTE(put_argument(t, &l->buffers[b], &t->naddresses), "argument %u", b);
    RLX_TRY_NOTE(put_argument(t, &r->symbols, &t->naddresses), "the symbols");
    for (size_t a = first; a < t->naddresses; a++)
        t->arguments[t->narguments++] = &t->addresses[a];
    for (uint32_t m = 0; m < k->nmaps; m++)
        RLX_TRY_NOTE(put_map(g, t, &k->maps[m], &l->buffers[k->maps[m].buffer]),
                     "a tensor map of argument %u", k->maps[m].buffer);
    t->narguments++;
    return RLX_OK;
}

static rlx_status put_launches(rlx_gpu *g, rlx_device_tape *t, const rlx_device_recording *r)
{
    size_t all = 0, maps = 0;
    for (uint32_t i = 0; i < r->nlaunches; i++) {
        const rlx_gpu_kernel *k = &r->kernels->each[r->launches[i].kernel];
        all += k->nbuffers + 1;
        maps += k->nmaps;
    }
    t->nlaunches = r->nlaunches;
    t->launches = calloc((size_t)r->nlaunches + 1, sizeof *t->launches);
    t->addresses = calloc(all + 1, sizeof *t->addresses);
    t->arguments = calloc(all + maps + r->nlaunches + 1, sizeof *t->arguments);
    t->given = calloc(all + 1, sizeof *t->given);
    t->maps = aligned_alloc(_Alignof(rlx_gpu_tensor), (maps + 1) * sizeof *t->maps);
    if (!t->launches || !t->addresses || !t->arguments || !t->given || !t->maps)
        return RLX_OOM();
    for (uint32_t i = 0; i < r->nlaunches; i++)
        RLX_TRY_NOTE(put_launch(g, t, r, i), "launch %u", i);
    return RLX_OK;
}

/* ---- launches -------------------------------------------------------------------------------- */

static rlx_status copy_given(rlx_gpu *g, const rlx_device_tape *t)
{
    for (uint32_t i = 0; i < t->ngiven; i++) {
        const rlx_device_memory *m = t->given[i];
        GPU_TRY(g, copy_to, m->at, m->data, m->bytes, t->stream);
    }
    return RLX_OK;
}

static rlx_status run_launch(rlx_gpu *g, const launch *l, rlx_gpu_stream s)
{
    const rlx_gpu_kernel *k = l->kernel;
    GPU_TRY(g, launch, k->function, k->teams, 1, 1, k->team, 1, 1, 0, s, l->arguments, NULL);
    return RLX_OK;
}

/* ---- capturing ------------------------------------------------------------------------------- */

/* Streams of a phase's launches, and where each of them is; number 0 is the tape's. They are of no use once a graph is made. */
typedef struct lanes {
    uint32_t n;
    rlx_gpu_stream stream[MAX_LANES];
    rlx_gpu_event event[MAX_LANES];
} lanes;

static uint32_t end_of_phase(const rlx_device_tape *t, uint32_t i)
{
    uint32_t end = i + 1;
    while (end < t->nlaunches && t->launches[end].phase == t->launches[i].phase)
        end++;
    return end;
}

static uint32_t count_lanes(const rlx_device_tape *t)
{
    uint32_t most = 1;
    for (uint32_t i = 0, end; i < t->nlaunches; i = end) {
        end = end_of_phase(t, i);
        most = end - i > most ? end - i : most;
    }
    return most < MAX_LANES ? most : MAX_LANES;
}

static rlx_status make_lanes(rlx_gpu *g, const rlx_device_tape *t, lanes *l)
{
    const uint32_t n = count_lanes(t);
    l->stream[0] = t->stream;
    for (l->n = 1; l->n < n; l->n++)
        GPU_TRY(g, create_stream, &l->stream[l->n], RLX_GPU_STREAM_ALONE);
    for (uint32_t i = 0; n > 1 && i < n; i++)
        GPU_TRY(g, create_event, &l->event[i], RLX_GPU_EVENT_UNTIMED);
    return RLX_OK;
}

static void free_lanes(rlx_gpu *g, const lanes *l)
{
    for (uint32_t i = 0; i < MAX_LANES; i++)
        if (l->event[i])
            GPU_DROP(g, destroy_event, l->event[i]);
    for (uint32_t i = 1; i < l->n; i++)
        GPU_DROP(g, destroy_stream, l->stream[i]);
}

/* `to` goes on behind what is in `from` by now. */
static rlx_status follow(rlx_gpu *g, const lanes *l, uint32_t from, uint32_t to)
{
    GPU_TRY(g, record_event, l->event[from], l->stream[from]);
    GPU_TRY(g, wait_event, l->stream[to], l->event[from], 0);
    return RLX_OK;
}

static rlx_status put_phase(rlx_gpu *g, const launch *first, uint32_t n, const lanes *l)
{
    const uint32_t wide = n < l->n ? n : l->n;
    for (uint32_t k = 1; k < wide; k++)
        RLX_TRY(follow(g, l, 0, k));
    for (uint32_t i = 0; i < n; i++)
        RLX_TRY(run_launch(g, &first[i], l->stream[i % wide]));
    for (uint32_t k = 1; k < wide; k++)
        RLX_TRY(follow(g, l, k, 0));
    return RLX_OK;
}

static rlx_status put_phases(rlx_gpu *g, const rlx_device_tape *t, const lanes *l)
{
    RLX_TRY(copy_given(g, t));
    for (uint32_t i = 0, end; i < t->nlaunches; i = end) {
        end = end_of_phase(t, i);
        RLX_TRY_NOTE(put_phase(g, &t->launches[i], end - i, l), "launches %u to %u", i, end - 1);
    }
    return RLX_OK;
}

/* What was begun is ended, whatever became of it. */
static rlx_status capture(rlx_gpu *g, const rlx_device_tape *t, const lanes *l, rlx_gpu_graph *out)
{
    GPU_TRY(g, begin_capture, t->stream, RLX_GPU_CAPTURE_RELAXED);
    rlx_status st = put_phases(g, t, l);
    rlx_status end = rlx_gpu_result_of(g, g->driver->call.end_capture(t->stream, out),
                                       RLX_GPU_CALL_end_capture, __FILE__, __LINE__);
    if (!st)
        return end;
    if (!end && *out)
        GPU_DROP(g, destroy_graph, *out);
    rlx_status_free(end);
    return st;
}

static rlx_status make_graph(rlx_gpu *g, rlx_device_tape *t, lanes *l)
{
    rlx_gpu_graph graph = NULL;
    RLX_TRY(make_lanes(g, t, l));
    RLX_TRY(capture(g, t, l, &graph));
    rlx_status st = rlx_gpu_result_of(g, g->driver->call.make_exec(&t->exec, graph, 0),
                                      RLX_GPU_CALL_make_exec, __FILE__, __LINE__);
    if (st)
        t->exec = NULL;
    GPU_DROP(g, destroy_graph, graph);
    return st;
}

static rlx_status make_events(rlx_gpu *g, rlx_device_tape *t)
{
    t->events = calloc((size_t)t->nlaunches + 1, sizeof *t->events);
    t->milliseconds = calloc((size_t)t->nlaunches + 1, sizeof *t->milliseconds);
    if (!t->events || !t->milliseconds)
        return RLX_OOM();
    for (uint32_t i = 0; i <= t->nlaunches; i++)
        GPU_TRY(g, create_event, &t->events[i], 0);
    return RLX_OK;
}

/* What of it is the driver's, but for a step's table. */
static rlx_status make_inside(rlx_gpu *g, const rlx_device_recording *r, rlx_device_tape *t)
{
    lanes l = {0};
    GPU_TRY(g, create_stream, &t->stream, RLX_GPU_STREAM_ALONE);
    if (r->timed)
        return make_events(g, t);
    if (t->step)
        return RLX_OK;
    rlx_status st = make_graph(g, t, &l);
    free_lanes(g, &l);
    return st;
}

static rlx_status make_tape(rlx_gpu *g, const rlx_device_recording *r, rlx_device_tape *t)
{
    rlx_gpu_scope s;
    RLX_TRY(put_launches(g, t, r));
    if (r->kernels->step && !r->timed)
        RLX_TRY(rlx_gpu_step_create(g, r, t->addresses, t->naddresses, &t->step));
    RLX_TRY(rlx_gpu_enter(g, &s));
    rlx_status st = make_inside(g, r, t);
    rlx_gpu_leave(g, &s);
    return st;
}

rlx_status rlx_gpu_record(rlx_device *d, const rlx_device_recording *r, rlx_device_tape **out)
{
    rlx_device_tape *t = calloc(1, sizeof *t);
    rlx_status st = t ? make_tape(rlx_gpu_of(d), r, t) : RLX_OOM();
    if (st) {
        rlx_gpu_destroy_tape(d, t);
        return rlx_status_note(st, __FILE__, __LINE__, "recording for %s", d->name);
    }
    *out = t;
    return RLX_OK;
}

static void drop(rlx_gpu *g, const rlx_device_tape *t)
{
    if (t->exec)
        GPU_DROP(g, destroy_exec, t->exec);
    for (uint32_t i = 0; t->events && i <= t->nlaunches; i++)
        if (t->events[i])
            GPU_DROP(g, destroy_event, t->events[i]);
    if (t->stream)
        GPU_DROP(g, destroy_stream, t->stream);
}

/* On a lost device nothing is the driver's any more. */
void rlx_gpu_destroy_tape(rlx_device *d, rlx_device_tape *t)
{
    rlx_gpu_scope s;
    if (!t)
        return;
    rlx_status st = rlx_gpu_enter(rlx_gpu_of(d), &s);
    if (!st) {
        drop(rlx_gpu_of(d), t);
        rlx_gpu_leave(rlx_gpu_of(d), &s);
    }
    rlx_status_free(st);
    rlx_gpu_step_destroy(rlx_gpu_of(d), t->step);
    free(t->launches);
    free(t->addresses);
    free(t->arguments);
    free(t->maps);
    free(t->given);
    free(t->events);
    free(t->milliseconds);
    free(t);
}

/* ---- running --------------------------------------------------------------------------------- */

static rlx_status start_timed(rlx_gpu *g, rlx_device_tape *t)
{
    RLX_TRY(copy_given(g, t));
    GPU_TRY(g, record_event, t->events[0], t->stream);
    for (uint32_t i = 0; i < t->nlaunches; i++) {
        RLX_TRY_NOTE(run_launch(g, &t->launches[i], t->stream), "launch %u", i);
        GPU_TRY(g, record_event, t->events[i + 1], t->stream);
    }
    return RLX_OK;
}

static rlx_status read_times(rlx_gpu *g, rlx_device_tape *t)
{
    for (uint32_t i = 0; i < t->nlaunches; i++)
        GPU_TRY(g, get_elapsed, &t->milliseconds[i], t->events[i], t->events[i + 1]);
    return RLX_OK;
}

static rlx_status start_step(rlx_gpu *g, rlx_device_tape *t)
{
    RLX_TRY(copy_given(g, t));
    return rlx_gpu_step_start(g, t->step, t->stream);
}

/* What was begun before something failed uses memory that its owner is about to free. */
static rlx_status run_plain(rlx_gpu *g, rlx_device_tape *t)
{
    rlx_status st = t->step ? start_step(g, t) : start_timed(g, t);
    rlx_status end = rlx_gpu_wait(g, t->stream);
    if (st) {
        rlx_status_free(end);
        return st;
    }
    RLX_TRY(end);
    return t->step ? RLX_OK : read_times(g, t);
}

static rlx_status run_graph(rlx_gpu *g, const rlx_device_tape *t)
{
    GPU_TRY(g, run_graph, t->exec, t->stream);
    return rlx_gpu_wait(g, t->stream);
}

rlx_status rlx_gpu_run(rlx_device *d, rlx_device_tape *t)
{
    rlx_gpu *g = rlx_gpu_of(d);
    rlx_gpu_scope s;
    rlx_status st = rlx_gpu_enter(g, &s);
    if (!st) {
        st = t->exec ? run_graph(g, t) : run_plain(g, t);
        rlx_gpu_leave(g, &s);
    }
    RLX_TRY_NOTE(st, "running kernels on %s", d->name);
    return RLX_OK;
}

double rlx_gpu_time(rlx_device *d, const rlx_device_tape *t, uint32_t i)
{
    (void)d;
    return 1e-3 * (double)t->milliseconds[i];
}
