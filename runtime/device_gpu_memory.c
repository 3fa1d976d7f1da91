/* runtime/device_gpu_memory.c: memory of GPUs, and copies between it and the host's. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/device_gpu_impl.h"

/* ---- making ---------------------------------------------------------------------------------- */

static bool is_on_device(const rlx_device_memory *m)
{
    return m->use != RLX_MEMORY_TAKEN;
}

static rlx_status allocate(rlx_gpu *g, rlx_device_memory *m)
{
    rlx_status st = rlx_gpu_result_of(g, g->driver->call.allocate(&m->at, m->bytes),
                                      RLX_GPU_CALL_allocate, __FILE__, __LINE__);
    if (st) {
        m->at = 0;
        return rlx_status_note(st, __FILE__, __LINE__, "%zu bytes on %s", m->bytes, g->info.name);
    }
    g->base.used_bytes += (int64_t)m->bytes;
    return RLX_OK;
}

/* The host's own pages, which the driver pins: they are there, too, when the device is lost, until the driver lets go of them. */
static rlx_status make_mapped(rlx_gpu *g, rlx_device_memory *m)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (m->bytes + page - 1) / page * page;
    void *data = aligned_alloc(page, bytes);
    if (!data)
        return RLX_OOM();
    rlx_status st = rlx_gpu_result_of(g, g->driver->call.map_host(data, bytes, RLX_GPU_MAP_DEVICE),
                                      RLX_GPU_CALL_map_host, __FILE__, __LINE__);
    if (st)
        free(data);
    else
        m->data = data;
    return st;
}

static rlx_status make_memory(rlx_gpu *g, rlx_device_memory *m)
{
    if (m->use != RLX_MEMORY_KEPT)
        RLX_TRY(make_mapped(g, m));
    if (is_on_device(m))
        return allocate(g, m);
    GPU_TRY(g, get_mapped, &m->at, m->data, 0);
    return RLX_OK;
}

/* What the driver has of a memory; false: it holds the host's pages still. A lost device's own memory goes with its reset; pages of the
 * host are taken back from it all the same, until a reset was made, and not only tried: it might write to them. */
static bool give_back(rlx_gpu *g, const rlx_device_memory *m)
{
    rlx_gpu_scope s;
    bool done = !m->data;
    rlx_status st = rlx_gpu_make_current(g, &s);
    const bool entered = !st;
    rlx_status_free(st);
    if (g->resets < g->driver->gates[g->index].done) {
        done = true; /* nothing is the driver's any more */
    } else if (entered) {
        if (m->at && is_on_device(m) && !g->lost)
            GPU_DROP(g, release, m->at);
        if (m->data)
            done = !g->driver->call.unmap_host(m->data);
    }
    if (entered)
        rlx_gpu_leave(g, &s);
    return done;
}

static void free_memory(rlx_device_memory *m)
{
    free(m->data);
    free(m);
}

static void keep_memory(rlx_gpu *g, rlx_device_memory *m)
{
    pthread_mutex_lock(&g->lock);
    m->next = g->kept;
    g->kept = m;
    pthread_mutex_unlock(&g->lock);
}

void rlx_gpu_free_kept(rlx_gpu *g)
{
    for (rlx_device_memory *m = g->kept, *next; m; m = next) {
        next = m->next;
        free_memory(m);
    }
    g->kept = NULL;
}

void rlx_gpu_destroy_memory(rlx_device *d, rlx_device_memory *m)
{
    if (!m)
        return;
    if (m->at && is_on_device(m))
        d->used_bytes -= (int64_t)m->bytes;
    if (give_back(rlx_gpu_of(d), m))
        free_memory(m);
    else
        keep_memory(rlx_gpu_of(d), m);
}

rlx_status rlx_gpu_create_memory(rlx_device *d, size_t bytes, rlx_memory_use use,
                                 rlx_device_memory **out)
{
    rlx_gpu *g = rlx_gpu_of(d);
    rlx_gpu_scope s;
    RLX_TRY(rlx_gpu_enter(g, &s));
    rlx_device_memory *m = calloc(1, sizeof *m);
    rlx_status st = m ? RLX_OK : RLX_OOM();
    if (!st) {
        *m = (rlx_device_memory){.use = use, .bytes = bytes ? bytes : 1};
        st = make_memory(g, m);
    }
    rlx_gpu_leave(g, &s);
    if (st)
        rlx_gpu_destroy_memory(d, m);
    else
        *out = m;
    return st;
}

void *rlx_gpu_map(const rlx_device_memory *m)
{
    return m->data;
}

/* ---- copying --------------------------------------------------------------------------------- */

/* One of four: `in` to the device, from it to `out`, within it from `from`, or zeros. */
typedef struct transfer {
    rlx_gpu_address at, from;
    const void *in;
    void *out;
    size_t bytes;
} transfer;

static rlx_status put_transfer(rlx_gpu *g, const transfer *t)
{
    if (t->in)
        GPU_TRY(g, copy_to, t->at, t->in, t->bytes, g->copies);
    else if (t->out)
        GPU_TRY(g, copy_from, t->out, t->at, t->bytes, g->copies);
    else if (t->from)
        GPU_TRY(g, copy_within, t->at, t->from, t->bytes, g->copies);
    else
        GPU_TRY(g, fill, t->at, 0, t->bytes, g->copies);
    return rlx_gpu_wait(g, g->copies);
}

static rlx_status run_transfer(rlx_device *d, const transfer *t, const char *what)
{
    rlx_gpu *g = rlx_gpu_of(d);
    rlx_gpu_scope s;
    rlx_status st = rlx_gpu_enter(g, &s);
    if (!st) {
        pthread_mutex_lock(&g->lock);
        st = t->bytes ? put_transfer(g, t) : RLX_OK;
        pthread_mutex_unlock(&g->lock);
        rlx_gpu_leave(g, &s);
    }
    return rlx_status_note(st, __FILE__, __LINE__, "copying %s %s", what, g->info.name);
}

rlx_status rlx_gpu_write(rlx_device *d, rlx_device_memory *m, size_t at, const void *data,
                         size_t bytes)
{
    const transfer t = {.at = m->at + at, .in = data, .bytes = bytes};
    if (!m->data)
        return run_transfer(d, &t, "to");
    RLX_TRY(rlx_gpu_check_lost(rlx_gpu_of(d)));
    if (bytes)
        memcpy((char *)m->data + at, data, bytes);
    return RLX_OK;
}

rlx_status rlx_gpu_read(rlx_device *d, const rlx_device_memory *m, size_t at, void *data,
                        size_t bytes)
{
    const transfer t = {.at = m->at + at, .out = data, .bytes = bytes};
    if (!m->data)
        return run_transfer(d, &t, "from");
    RLX_TRY(rlx_gpu_check_lost(rlx_gpu_of(d)));
    if (bytes)
        memcpy(data, (const char *)m->data + at, bytes);
    return RLX_OK;
}

rlx_status rlx_gpu_clear(rlx_device *d, rlx_device_memory *m, size_t at, size_t bytes)
{
    const transfer t = {.at = m->at + at, .bytes = bytes};
    if (!m->data)
        return run_transfer(d, &t, "within");
    RLX_TRY(rlx_gpu_check_lost(rlx_gpu_of(d)));
    memset((char *)m->data + at, 0, bytes);
    return RLX_OK;
}

rlx_status rlx_gpu_copy(rlx_device *d, rlx_device_memory *m, size_t from, size_t to, size_t bytes)
{
    const transfer t = {.at = m->at + to, .from = m->at + from, .bytes = bytes};
    if (!m->data)
        return run_transfer(d, &t, "within");
    RLX_TRY(rlx_gpu_check_lost(rlx_gpu_of(d)));
    memcpy((char *)m->data + to, (const char *)m->data + from, bytes);
    return RLX_OK;
}
