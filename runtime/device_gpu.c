/* runtime/device_gpu.c: a GPU as device.h has it: opened, lost, opened anew.
 *
 * A device is used through its primary context (NVIDIA), or as the thread's current device (AMD): both are all the process's, so that other
 * libraries beside us see the same; every function here leaves the calling thread as it was. */
#include "runtime/device_gpu.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device_gpu_impl.h"

/* ---- who uses it ----------------------------------------------------------------------------- */

void rlx_gpu_gate_init(rlx_gpu_gate *w)
{
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
}

static rlx_gpu_gate *gate_of(const rlx_gpu *g)
{
    return &g->driver->gates[g->index];
}

static void come_in(rlx_gpu_gate *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->shut)
        pthread_cond_wait(&w->changed, &w->lock);
    w->inside++;
    pthread_mutex_unlock(&w->lock);
}

static void go_out(rlx_gpu_gate *w)
{
    pthread_mutex_lock(&w->lock);
    if (!--w->inside)
        pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void rlx_gpu_gate_shut(rlx_gpu_gate *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->shut)
        pthread_cond_wait(&w->changed, &w->lock);
    w->shut = true;
    while (w->inside)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void rlx_gpu_gate_open(rlx_gpu_gate *w)
{
    pthread_mutex_lock(&w->lock);
    w->shut = false;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* ---- whether it is there --------------------------------------------------------------------- */

bool rlx_gpu_is_lost(const rlx_device *d)
{
    const rlx_gpu *g = rlx_gpu_of(d);
    return g->lost || g->resets != gate_of(g)->begun;
}

rlx_status rlx_gpu_check_lost(const rlx_gpu *g)
{
    if (rlx_gpu_is_lost(&g->base))
        return RLX_FAIL(RLX_IO, "%s was lost: nothing runs on it any more", g->info.name);
    return RLX_OK;
}

rlx_status rlx_gpu_result_of(rlx_gpu *g, rlx_gpu_result r, rlx_gpu_call call, const char *file,
                             int line)
{
    if (rlx_gpu_loses(r))
        g->lost = true;
    return rlx_gpu_status(g->driver, r, call, file, line);
}

rlx_status rlx_gpu_wait(rlx_gpu *g, rlx_gpu_stream s)
{
    const rlx_gpu_result r = g->driver->call.wait(s);
    g->lost |= r != 0;
    if (r) /* what still runs writes to memory that its owner is about to free */
        GPU_DROP(g, synchronize);
    return rlx_gpu_status(g->driver, r, RLX_GPU_CALL_wait, __FILE__, __LINE__);
}

/* ---- the thread's device --------------------------------------------------------------------- */

static rlx_status set_current(rlx_gpu *g, rlx_gpu_scope *s)
{
    *s = (rlx_gpu_scope){0};
    if (g->driver->kind == RLX_GPU_CUDA) {
        GPU_TRY(g, push_context, g->context);
        return RLX_OK;
    }
    GPU_TRY(g, get_current, &s->before);
    GPU_TRY(g, set_current, g->index);
    return RLX_OK;
}

static void set_back(rlx_gpu *g, const rlx_gpu_scope *s)
{
    rlx_gpu_context ours;
    if (g->driver->kind == RLX_GPU_CUDA)
        GPU_DROP(g, pop_context, &ours);
    else
        GPU_DROP(g, set_current, s->before);
}

static rlx_status enter(rlx_gpu *g, bool lost_too, rlx_gpu_scope *s)
{
    come_in(gate_of(g));
    rlx_status st = lost_too ? RLX_OK : rlx_gpu_check_lost(g);
    if (!st)
        st = set_current(g, s);
    if (st)
        go_out(gate_of(g));
    return st;
}

rlx_status rlx_gpu_make_current(rlx_gpu *g, rlx_gpu_scope *s)
{
    return enter(g, true, s);
}

rlx_status rlx_gpu_enter(rlx_gpu *g, rlx_gpu_scope *s)
{
    return enter(g, false, s);
}

void rlx_gpu_leave(rlx_gpu *g, const rlx_gpu_scope *s)
{
    set_back(g, s);
    go_out(gate_of(g));
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What the driver says that others leave, where it does. */
static int64_t room(rlx_device *base)
{
    rlx_gpu *g = rlx_gpu_of(base);
    const int64_t ours = base->memory_bytes - base->used_bytes;
    rlx_gpu_scope s;
    size_t left = 0, all;
    rlx_status st = rlx_gpu_enter(g, &s);
    const bool entered = !st;
    if (entered) {
        st = rlx_gpu_result_of(g, g->driver->call.get_room(&left, &all), RLX_GPU_CALL_get_room,
                               __FILE__, __LINE__);
        rlx_gpu_leave(g, &s);
    }
    const bool known = !st;
    rlx_status_free(st);
    return known && (int64_t)left < ours ? (int64_t)left : ours;
}

static void destroy(rlx_device *base)
{
    rlx_gpu *g = rlx_gpu_of(base);
    rlx_gpu_scope s;
    rlx_status st = g->copies ? rlx_gpu_enter(g, &s) : RLX_OK;
    if (g->copies && !st) {
        GPU_DROP(g, destroy_stream, g->copies);
        rlx_gpu_leave(g, &s);
    }
    rlx_status_free(st);
    if (g->context) /* a reset keeps who has it */
        GPU_DROP(g, release_context, g->handle);
    rlx_gpu_free_kept(g);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&base->weights_lock);
    free(g);
}

static const rlx_device_functions functions = {
    .destroy = destroy,
    .is_lost = rlx_gpu_is_lost,
    .room = room,
    .create_memory = rlx_gpu_create_memory,
    .destroy_memory = rlx_gpu_destroy_memory,
    .map = rlx_gpu_map,
    .write = rlx_gpu_write,
    .read = rlx_gpu_read,
    .clear = rlx_gpu_clear,
    .copy = rlx_gpu_copy,
    .create_kernels = rlx_gpu_create_kernels,
    .destroy_kernels = rlx_gpu_destroy_kernels,
    .record = rlx_gpu_record,
    .destroy_tape = rlx_gpu_destroy_tape,
    .run = rlx_gpu_run,
    .time = rlx_gpu_time,
};

static rlx_status check_index(const rlx_gpu_driver *v, int index)
{
    int n;
    GPU_ASK(v, count_devices, &n);
    if (index < n && index < RLX_GPU_MAX_DEVICES)
        return RLX_OK;
    return RLX_FAIL(RLX_NOT_FOUND, "no device %d: the driver has %d", index, n);
}

static rlx_status call_reset(rlx_gpu *g)
{
    if (g->driver->kind == RLX_GPU_CUDA) {
        GPU_TRY(g, reset_context, g->handle);
        return RLX_OK;
    }
    rlx_gpu_scope s;
    RLX_TRY(set_current(g, &s));
    rlx_status st = rlx_gpu_result_of(g, g->driver->call.reset_current(),
                                      RLX_GPU_CALL_reset_current, __FILE__, __LINE__);
    set_back(g, &s);
    return st;
}

/* Ends all that this process has on the device: a driver takes nothing more before that, once a kernel has failed. The gate is shut. */
static rlx_status reset(rlx_gpu *g)
{
    rlx_gpu_gate *w = gate_of(g);
    const int begun = ++w->begun;
    RLX_TRY(call_reset(g));
    w->done = begun;
    return RLX_OK;
}

/* Several devices that were lost at once need one reset: whoever comes first makes it, and what he opened then is not lost again by
 * those who come later. One that failed is made once more, by whoever opens the device. */
static bool needs_reset(const rlx_gpu_gate *w, const rlx_device *lost)
{
    return (lost && rlx_gpu_of(lost)->resets == w->begun) || w->done != w->begun;
}

static rlx_status reset_once(rlx_gpu *g, const rlx_device *lost)
{
    rlx_gpu_gate *w = gate_of(g);
    rlx_status st = RLX_OK;
    if (needs_reset(w, lost)) {
        rlx_gpu_gate_shut(w);
        if (needs_reset(w, lost)) /* still */
            st = reset(g);
        rlx_gpu_gate_open(w);
    }
    g->resets = w->done;
    return st;
}

static rlx_status take_device(rlx_gpu *g, const rlx_device *lost)
{
    rlx_gpu_scope s;
    GPU_TRY(g, get_device, &g->handle, g->index);
    RLX_TRY(reset_once(g, lost));
    if (g->driver->kind == RLX_GPU_CUDA)
        GPU_TRY(g, retain_context, &g->context, g->handle);
    RLX_TRY(rlx_gpu_enter(g, &s));
    rlx_status st =
        rlx_gpu_result_of(g, g->driver->call.create_stream(&g->copies, RLX_GPU_STREAM_ALONE),
                          RLX_GPU_CALL_create_stream, __FILE__, __LINE__);
    rlx_gpu_leave(g, &s);
    return st;
}

static void fill_base(rlx_gpu *g, int64_t most)
{
    rlx_gpu_info *i = &g->info;
    if (most && most < i->memory_bytes)
        i->memory_bytes = most;
    g->base.name = i->name;
    g->base.memory_bytes = i->memory_bytes;
    g->base.max_range = g->base.max_units = SIZE_MAX;
    snprintf(g->code_name, sizeof g->code_name, "%s %s, capability %d.%d, %s, driver %d %s",
             rlx_gpu_kind_name(g->driver->kind), i->name, i->major, i->minor, i->arch, i->driver,
             g->driver->build);
}

static rlx_status open_device(rlx_gpu *g, const rlx_gpu_options *o)
{
    g->index = o->index;
    RLX_TRY(rlx_gpu_driver_open(o->kind, &g->driver));
    RLX_TRY(check_index(g->driver, o->index));
    RLX_TRY(rlx_gpu_describe(g->driver, o->index, &g->info));
    if (g->info.why_not[0])
        return RLX_FAIL(RLX_UNSUPPORTED, "%s %s", g->info.name, g->info.why_not);
    fill_base(g, o->memory);
    RLX_TRY_NOTE(take_device(g, o->lost), "opening %s", g->info.name);
    return RLX_OK;
}

rlx_status rlx_gpu_open(const rlx_gpu_options *options, rlx_device **out)
{
    rlx_gpu *g = calloc(1, sizeof *g);
    if (!g)
        return RLX_OOM();
    g->base.fn = &functions;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->base.weights_lock, NULL);
    rlx_status st = open_device(g, options);
    if (st) {
        destroy(&g->base);
        return st;
    }
    *out = &g->base;
    return RLX_OK;
}

const rlx_gpu_info *rlx_gpu_get_info(const rlx_device *d)
{
    return &rlx_gpu_of(d)->info;
}

bool rlx_gpu_is_same(const rlx_device *a, const rlx_device *b)
{
    return !strcmp(rlx_gpu_of(a)->code_name, rlx_gpu_of(b)->code_name);
}
