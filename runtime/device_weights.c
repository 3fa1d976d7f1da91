/* runtime/device_weights.c: weights on a device: every tensor once, however many executables bind it.
 *
 * Tensors that are not there yet are laid side by side into memories of CHUNK bytes, or of one tensor that is larger.
 * What is there goes with the last executable of the weights. A set that lies over another has its own tensors here
 * apart: what is below is shared by all that lie over it, and outlives them.
 */
#include "runtime/device_weights.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 << 20, ALIGN = 64 };

typedef struct placed {
    const void *data; /* of the tensor on the host; NULL: an empty slot */
    size_t bytes;
    rlx_device_range range;
} placed;

struct rlx_device_weights {
    rlx_device_weights *next;
    const rlx_weights *of;
    rlx_device_weights *base; /* of the set that `of` lies over; NULL: over none */
    int references;
    placed *slots; /* open-addressed */
    size_t nslots, count;
    rlx_device_memory **memories;
    size_t nmemories;
};

/* ---- what is there --------------------------------------------------------------------------- */

/* Parts of a tensor may begin where it does. */
static placed *find_slot(const rlx_device_weights *w, const void *data, size_t bytes)
{
    uint64_t h = ((uintptr_t)data ^ bytes) * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(h >> 20) & (w->nslots - 1);; i = (i + 1) & (w->nslots - 1)) {
        placed *p = &w->slots[i];
        if (!p->data || (p->data == data && p->bytes == bytes))
            return p;
    }
}

static rlx_status reserve_slots(rlx_device_weights *w, size_t more)
{
    size_t n = w->nslots ? w->nslots : 64;
    while (2 * (w->count + more) > n)
        n *= 2;
    if (n == w->nslots)
        return RLX_OK;
    const rlx_device_weights old = *w;
    placed *slots = calloc(n, sizeof *slots);
    if (!slots)
        return RLX_OOM();
    w->slots = slots;
    w->nslots = n;
    for (size_t i = 0; i < old.nslots; i++)
        if (old.slots[i].data)
            *find_slot(w, old.slots[i].data, old.slots[i].bytes) = old.slots[i];
    free(old.slots);
    return RLX_OK;
}

static size_t room_of(const rlx_tensor *t)
{
    return (t->bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* ---- uploading ------------------------------------------------------------------------------- */

rlx_status rlx_device_check_reach(const rlx_device *d, rlx_format f, size_t bytes)
{
    const rlx_format_info *info = rlx_format_get(f);
    const bool blocks = info->kind == RLX_KIND_BLOCK;
    const size_t units = bytes / (blocks ? 1 : (size_t)info->block_bytes);
    if (bytes > d->max_range)
        return RLX_FAIL(RLX_UNSUPPORTED, "%zu bytes; kernels on %s reach %zu of one at most", bytes,
                        d->name, d->max_range);
    if (units > d->max_units)
        return RLX_FAIL(RLX_UNSUPPORTED, "%zu %s; kernels on %s count %zu of one at most", units,
                        blocks ? "bytes of blocks" : "elements", d->name, d->max_units);
    return RLX_OK;
}

rlx_status rlx_device_check_room(rlx_device *d, const rlx_device_needs *n)
{
    const int64_t room = d->fn->room(d), needs = n->weights + n->states + n->arena;
    const double mib = 1 << 20;
    if (needs <= room)
        return RLX_OK;
    return RLX_FAIL(
        RLX_OUT_OF_MEMORY,
        "%.1f MiB are needed on %s (weights %.1f, states %s%.1f, arena %.1f), which has "
        "%.1f MiB, %.1f of them free: %.1f MiB are missing; with fewer layers there it "
        "would be less",
        (double)needs / mib, d->name, (double)n->weights / mib, n->least ? "at least " : "",
        (double)n->states / mib, (double)n->arena / mib, (double)d->memory_bytes / mib,
        (double)(room > 0 ? room : 0) / mib, (double)(needs - room) / mib);
}

static rlx_status add_memory(rlx_device *d, rlx_device_weights *w, size_t bytes)
{
    rlx_device_memory **memories =
        realloc(w->memories, sizeof(rlx_device_memory *) * (w->nmemories + 1));
    if (!memories)
        return RLX_OOM();
    w->memories = memories;
    RLX_TRY(d->fn->create_memory(d, bytes, RLX_MEMORY_KEPT, &memories[w->nmemories]));
    w->nmemories++;
    return RLX_OK;
}

/* The first of the tensors, so many as go into one memory. */
static size_t chunk_of(const rlx_tensor *const *tensors, size_t n, size_t *bytes)
{
    size_t k = 0;
    for (*bytes = 0; k < n && (!k || *bytes + room_of(tensors[k]) <= CHUNK); k++)
        *bytes += room_of(tensors[k]);
    return k;
}

static rlx_status upload_chunk(rlx_device *d, rlx_device_weights *w,
                               const rlx_tensor *const *tensors, size_t n, size_t bytes)
{
    RLX_TRY(add_memory(d, w, bytes));
    rlx_device_memory *m = w->memories[w->nmemories - 1];
    size_t at = 0;
    for (size_t i = 0; i < n; at += room_of(tensors[i++])) {
        const rlx_tensor *t = tensors[i];
        rlx_status st = d->fn->write(d, m, at, t->data, t->bytes);
        if (st && i == 0) /* nothing is in it: others of these weights may live on */
            d->fn->destroy_memory(d, w->memories[--w->nmemories]);
        RLX_TRY_NOTE(st, "weight '%s'", t->name);
        *find_slot(w, t->data, t->bytes) =
            (placed){t->data, t->bytes, {.memory = m, .offset = at, .bytes = room_of(t)}};
        w->count++;
    }
    return RLX_OK;
}

/* Those of the tensors that are not there yet, each once. */
static rlx_status list_new(const rlx_device *d, rlx_device_weights *w,
                           const rlx_tensor *const *tensors, size_t n, const rlx_tensor **out,
                           size_t *count)
{
    rlx_device_weights seen = {0}; /* the same table, of those that are listed */
    rlx_status st = reserve_slots(&seen, n);
    *count = 0;
    for (size_t i = 0; i < n && !st; i++) {
        const rlx_tensor *t = tensors[i];
        placed *slot = find_slot(&seen, t->data, t->bytes);
        if (!t->bytes || slot->data || find_slot(w, t->data, t->bytes)->data)
            continue;
        st = rlx_status_note(rlx_device_check_reach(d, t->format, room_of(t)), __FILE__, __LINE__,
                             "weight '%s'", t->name);
        *slot = (placed){.data = t->data, .bytes = t->bytes};
        seen.count++;
        out[(*count)++] = t;
    }
    free(seen.slots);
    return st;
}

/* Uploads those that are not there or, without `upload`, only counts their bytes. */
static rlx_status place_new(rlx_device *d, rlx_device_weights *w, const rlx_tensor *const *tensors,
                            size_t n, bool upload, int64_t *total)
{
    size_t fresh, bytes;
    RLX_TRY(reserve_slots(w, n));
    const rlx_tensor **list = calloc(n + 1, sizeof *list);
    if (!list)
        return RLX_OOM();
    rlx_status st = list_new(d, w, tensors, n, list, &fresh);
    for (size_t i = 0; i < fresh && !st; i++)
        *total += (int64_t)room_of(list[i]);
    for (size_t i = 0, k; upload && i < fresh && !st; i += k) {
        k = chunk_of(list + i, fresh - i, &bytes);
        st = upload_chunk(d, w, list + i, k, bytes);
    }
    free(list);
    return st;
}

/* ---- acquiring ------------------------------------------------------------------------------- */

static void drop(rlx_device *d, rlx_device_weights *w)
{
    rlx_device_weights **at = &d->weights;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    for (size_t i = 0; i < w->nmemories; i++)
        d->fn->destroy_memory(d, w->memories[i]);
    free(w->memories);
    free(w->slots);
    free(w);
}

/* Every reference to a set is one to what it lies over, too. */
static void release(rlx_device *d, rlx_device_weights *w)
{
    for (rlx_device_weights *base; w; w = base) {
        base = w->base;
        if (--w->references == 0)
            drop(d, w);
    }
}

/* The set's, with one reference more. */
static rlx_status refer(rlx_device *d, const rlx_weights *of, rlx_device_weights **out)
{
    rlx_device_weights *w = d->weights, *base = NULL;
    while (w && w->of != of)
        w = w->next;
    if (of && rlx_weights_base(of))
        RLX_TRY(refer(d, rlx_weights_base(of), &base));
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w) {
            release(d, base);
            return RLX_OOM();
        }
        *w = (rlx_device_weights){.next = d->weights, .of = of, .base = base};
        d->weights = w;
    }
    w->references++;
    *out = w;
    return RLX_OK;
}

/* Moves the tensors that a set below has behind the others; how many there are of those. */
static size_t split_own(const rlx_device_weights *w, const rlx_tensor **tensors, size_t n)
{
    size_t own = 0;
    for (size_t i = 0; i < n; i++) {
        const rlx_tensor *t = tensors[i];
        if (w->base && rlx_weights_find(w->base->of, t->name) == t)
            continue;
        tensors[i] = tensors[own];
        tensors[own++] = t;
    }
    return own;
}

static rlx_status place_all(rlx_device *d, rlx_device_weights *w, const rlx_tensor **tensors,
                            size_t n, bool upload, int64_t *total)
{
    for (size_t own; w; w = w->base, tensors += own, n -= own) {
        own = split_own(w, tensors, n);
        RLX_TRY(place_new(d, w, tensors, own, upload, total));
    }
    return RLX_OK;
}

static rlx_status acquire(rlx_device *d, const rlx_weights *of, const rlx_tensor **tensors,
                          size_t n, const rlx_device_needs *more, rlx_device_weights **out)
{
    rlx_device_weights *w;
    rlx_device_needs needs = *more;
    int64_t total = 0;
    RLX_TRY(refer(d, of, &w));
    rlx_status st = place_all(d, w, tensors, n, false, &needs.weights);
    if (!st && needs.weights) /* else what it takes beside them may be some session's already */
        st = rlx_device_check_room(d, &needs);
    if (!st)
        st = place_all(d, w, tensors, n, true, &total);
    if (st)
        release(d, w);
    else
        *out = w;
    return st;
}

rlx_status rlx_device_weights_acquire(rlx_device *d, const rlx_weights *of,
                                      const rlx_tensor **tensors, size_t n,
                                      const rlx_device_needs *more, rlx_device_weights **out)
{
    pthread_mutex_lock(&d->weights_lock);
    rlx_status st = acquire(d, of, tensors, n, more, out);
    pthread_mutex_unlock(&d->weights_lock);
    return st;
}

void rlx_device_weights_release(rlx_device *d, rlx_device_weights *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&d->weights_lock);
    release(d, w);
    pthread_mutex_unlock(&d->weights_lock);
}

rlx_device_range rlx_device_weights_get(rlx_device *d, const rlx_device_weights *w,
                                        const rlx_tensor *t)
{
    const placed *p = NULL;
    pthread_mutex_lock(&d->weights_lock); /* another executable may be adding its own */
    for (; w && (!p || !p->data); w = w->base)
        p = find_slot(w, t->data, t->bytes);
    const rlx_device_range range = p->range;
    pthread_mutex_unlock(&d->weights_lock);
    return range;
}
