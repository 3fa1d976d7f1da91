/* tests/gpu/fake_devices.c: the fake drivers' devices and memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/fake_impl.h"

/* ---- devices --------------------------------------------------------------------------------- */

rlx_gpu_result fake_init(unsigned flags)
{
    BEGIN(init);
    return fake_end(flags ? WRONG("init with flags %u", flags) : 0);
}

rlx_gpu_result fake_get_version(int *version)
{
    BEGIN(get_version);
    *version = rlx_fake_driver.version;
    return fake_end(0);
}

rlx_gpu_result fake_count_devices(int *n)
{
    BEGIN(count_devices);
    *n = rlx_fake_driver.devices;
    return fake_end(0);
}

static bool is_device(int d)
{
    return d >= 0 && d < rlx_fake_driver.devices;
}

rlx_gpu_result fake_get_device(rlx_gpu_handle *out, int index)
{
    BEGIN(get_device);
    *out = index;
    return fake_end(is_device(index) ? 0 : NO_DEVICE);
}

rlx_gpu_result fake_get_name(char *name, int bytes, rlx_gpu_handle d)
{
    BEGIN(get_name);
    snprintf(name, (size_t)bytes, "Fake %s %d", IS_CUDA ? "NVIDIA" : "AMD", d);
    return fake_end(is_device(d) ? 0 : NO_DEVICE);
}

rlx_gpu_result fake_get_memory(size_t *bytes, rlx_gpu_handle d)
{
    BEGIN(get_memory);
    *bytes = FAKE_MEMORY;
    return fake_end(is_device(d) ? 0 : NO_DEVICE);
}

rlx_gpu_result fake_get_attribute(int *out, rlx_gpu_attribute a, rlx_gpu_handle d)
{
    BEGIN(get_attribute);
    if (a == ATTRIBUTE_UNITS)
        *out = FAKE_UNITS;
    else if (a == ATTRIBUTE_TEAM_BYTES)
        *out = 48 << 10;
    else if (IS_CUDA && (a == 75 || a == 76))
        *out = a == 75 ? rlx_fake_driver.major : rlx_fake_driver.minor;
    else
        r = WRONG("attribute %d is asked for", a);
    return fake_end(is_device(d) ? r : NO_DEVICE);
}

rlx_gpu_result fake_get_room(size_t *room, size_t *all)
{
    BEGIN(get_room);
    *all = FAKE_MEMORY;
    *room = FAKE_MEMORY - fake_state.used;
    return fake_end(fake_current_device() < 0 ? WRONG("room of no device") : 0);
}

/* All of a device goes, but for what the host has; until then it may write to what is mapped. */
static void reset_device(int device)
{
    for (fake_object *o = fake_objects, *next; o; o = next) {
        next = o->next;
        if (o->device != device)
            continue;
        if (o->kind == MAPPED)
            memset(o->data, GARBAGE, o->bytes);
        fake_destroy(o);
    }
    fake_state.dead = 0;
}

#ifdef FAKE_HIP
rlx_gpu_result fake_get_current(int *index)
{
    BEGIN(get_current);
    *index = fake_current;
    return fake_end(0);
}

/* Back to the first is what leaving does, which does not fail. */
rlx_gpu_result fake_set_current(int index)
{
    if (!index) {
        fake_current = 0;
        return 0;
    }
    BEGIN(set_current);
    if (!is_device(index))
        return fake_end(NO_DEVICE);
    fake_current = index;
    return fake_end(0);
}

/* A device that has ended takes this call alone. */
rlx_gpu_result fake_reset_current(void)
{
    BEGIN(reset_current);
    reset_device(fake_current);
    return fake_end(0);
}

rlx_gpu_result fake_get_properties(rlx_gpu_properties *out, int index)
{
    BEGIN(get_properties);
    memset(out, 0, 1472); /* as much as that version writes */
    snprintf(out->bytes, 256, "gfx in a name");
    const char *first = index ? NULL : rlx_fake_driver.first_arch;
    snprintf(out->at.arch, sizeof out->at.arch, "%s:sramecc+:xnack-",
             first ? first : rlx_fake_driver.arch);
    return fake_end(is_device(index) ? 0 : NO_DEVICE);
}
#else
rlx_gpu_result fake_retain_context(rlx_gpu_context *out, rlx_gpu_handle d)
{
    BEGIN(retain_context);
    if (!is_device(d))
        return fake_end(NO_DEVICE);
    fake_contexts[d].retained++;
    fake_state.live++;
    *out = &fake_contexts[d];
    return fake_end(0);
}

rlx_gpu_result fake_release_context(rlx_gpu_handle d)
{
    fake_lock();
    if (!is_device(d) || !fake_contexts[d].retained)
        return fake_end(WRONG("a context is released that nobody has"));
    fake_contexts[d].retained--;
    fake_state.live--;
    return fake_end(0);
}

rlx_gpu_result fake_reset_context(rlx_gpu_handle d)
{
    BEGIN(reset_context);
    reset_device(d); /* who has it has it still */
    return fake_end(0);
}

rlx_gpu_result fake_push_context(rlx_gpu_context c)
{
    BEGIN(push_context);
    if (fake_depth == MAX_DEPTH || (c != &fake_contexts[0] && c != &fake_contexts[1]))
        return fake_end(WRONG("%p is no context, or one too many", c));
    fake_stack[fake_depth++] = c;
    return fake_end(0);
}

rlx_gpu_result fake_pop_context(rlx_gpu_context *out)
{
    fake_lock();
    if (!fake_depth)
        return fake_end(WRONG("no context to be popped"));
    *out = fake_stack[--fake_depth];
    return fake_end(0);
}
#endif

/* ---- memory ---------------------------------------------------------------------------------- */

rlx_gpu_result fake_allocate(rlx_gpu_address *out, size_t bytes)
{
    BEGIN(allocate);
    if (!bytes)
        return fake_end(WRONG("nothing is allocated"));
    if (bytes > FAKE_MEMORY - fake_state.used)
        return fake_end(NO_MEMORY);
    fake_object *o = fake_make(MEMORY, bytes);
    char *data = o ? aligned_alloc(256, (bytes + 2 * CANARY_BYTES + 255) / 256 * 256 + 256) : NULL;
    if (!data)
        return fake_end(INVALID);
    memset(data, CANARY, bytes + 2 * CANARY_BYTES);
    memset(data + CANARY_BYTES, GARBAGE, bytes);
    o->data = data + CANARY_BYTES;
    fake_state.used += bytes;
    *out = (uintptr_t)o->data;
    return fake_end(0);
}

rlx_gpu_result fake_release(rlx_gpu_address at)
{
    BEGIN(release);
    fake_object *o = fake_find_at((void *)(uintptr_t)at, MEMORY);
    if (!o)
        return fake_end(INVALID);
    if (fake_is_pending(o))
        return fake_end(WRONG("memory goes before work with it is done"));
    fake_destroy(o);
    return fake_end(0);
}

rlx_gpu_result fake_map_host(void *data, size_t bytes, unsigned flags)
{
    BEGIN(map_host);
    if ((uintptr_t)data % 4096 || bytes % 4096 || !bytes || flags != RLX_GPU_MAP_DEVICE)
        return fake_end(WRONG("%zu bytes at %p are mapped with flags %u", bytes, data, flags));
    fake_object *o = fake_make(MAPPED, bytes);
    if (o)
        o->data = data;
    return fake_end(o ? 0 : INVALID);
}

rlx_gpu_result fake_unmap_host(void *data)
{
    BEGIN(unmap_host);
    fake_object *o = fake_find_at(data, MAPPED);
    if (!o)
        return fake_end(INVALID);
    if (fake_is_pending(o))
        return fake_end(WRONG("mapped memory goes before work with it is done"));
    fake_destroy(o);
    return fake_end(0);
}

rlx_gpu_result fake_get_mapped(rlx_gpu_address *out, void *data, unsigned flags)
{
    BEGIN(get_mapped);
    if (flags || !fake_find_at(data, MAPPED))
        return fake_end(INVALID);
    *out = (uintptr_t)data;
    return fake_end(0);
}

static char *pointer_of(rlx_gpu_address at)
{
    return (char *)(uintptr_t)at;
}

static rlx_gpu_result put_checked(rlx_gpu_stream s, const fake_op *p)
{
    if (!p->bytes || !fake_find_memory(p->at, p->bytes) || (p->kind != FILL && !p->other) ||
        (p->kind == COPY_WITHIN && !fake_find_memory(p->other, p->bytes)))
        return WRONG("%zu bytes are copied", p->bytes);
    return fake_put(s, p);
}

rlx_gpu_result fake_copy_to(rlx_gpu_address to, const void *from, size_t bytes, rlx_gpu_stream s)
{
    BEGIN(copy_to);
    return fake_end(put_checked(s, &(fake_op){.kind = COPY_TO,
                                              .at = pointer_of(to),
                                              .other = (char *)(uintptr_t)from,
                                              .bytes = bytes}));
}

rlx_gpu_result fake_copy_from(void *to, rlx_gpu_address from, size_t bytes, rlx_gpu_stream s)
{
    BEGIN(copy_from);
    return fake_end(put_checked(
        s, &(fake_op){.kind = COPY_FROM, .at = pointer_of(from), .other = to, .bytes = bytes}));
}

rlx_gpu_result fake_copy_within(rlx_gpu_address to, rlx_gpu_address from, size_t bytes,
                                rlx_gpu_stream s)
{
    BEGIN(copy_within);
    return fake_end(put_checked(s, &(fake_op){.kind = COPY_WITHIN,
                                              .at = pointer_of(to),
                                              .other = pointer_of(from),
                                              .bytes = bytes}));
}

rlx_gpu_result fake_fill(rlx_gpu_address at, unsigned char byte, size_t n, rlx_gpu_stream s)
{
    BEGIN(fill);
    return fake_end(
        put_checked(s, &(fake_op){.kind = FILL, .at = pointer_of(at), .byte = byte, .bytes = n}));
}
