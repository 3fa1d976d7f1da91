/* tests/gpu/fake_objects.c: what the fake drivers were told to do, what they have, and running it. */
#include "tests/gpu/fake_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the plan, and what was counted ---------------------------------------------------------- */

static const char *const names[RLX_GPU_NCALLS] = {
#define GPU_CALL(name, cuda, hip, parameters) #name,
#define GPU_CUDA(name, cuda, parameters) #name,
#define GPU_HIP(name, hip, parameters) #name,
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
};
static const char *const makers_names[RLX_GPU_NCALLS] = {
#ifdef FAKE_HIP
#define GPU_CALL(name, cuda, hip, parameters) #hip,
#define GPU_CUDA(name, cuda, parameters) NULL,
#define GPU_HIP(name, hip, parameters) #hip,
#else
#define GPU_CALL(name, cuda, hip, parameters) #cuda,
#define GPU_CUDA(name, cuda, parameters) #cuda,
#define GPU_HIP(name, hip, parameters) NULL,
#endif
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
};

struct fake_state fake_state;
static pthread_mutex_t lock;

void fake_say(const char *fmt, ...)
{
    const size_t n = strlen(fake_state.said);
    va_list args;
    va_start(args, fmt);
    vsnprintf(fake_state.said + n, sizeof fake_state.said - n - 1, fmt, args);
    va_end(args);
    strcat(fake_state.said, "\n");
}

/* Calls whose failure nobody can do anything about: what gives back, and what makes a device current for that. */
static bool gives_back(const char *name)
{
    return !strncmp(name, "destroy", 7) || !strncmp(name, "release", 7) ||
           !strncmp(name, "un", 2) || !strcmp(name, "push_context") ||
           !strcmp(name, "get_current") || !strcmp(name, "set_current");
}

/* What goes to a device, and so fails once it has ended: not what only asks about devices. */
static bool goes_to_device(rlx_gpu_call call)
{
    return (call >= RLX_GPU_CALL_get_room && call <= RLX_GPU_CALL_run_graph) ||
           call == RLX_GPU_CALL_launch_together;
}

static bool is_planned(const fake_plan *p, const char *name)
{
    return p->call ? !strcmp(p->call, name) : !gives_back(name);
}

/* The result that a call has by the plan; 0: it goes on. */
static rlx_gpu_result planned(rlx_gpu_call call)
{
    fake_plan *p = &fake_state.plan;
    fake_state.counts[call]++;
    bool hit = is_planned(p, names[call]) && p->passes-- <= 0 && p->fails-- > 0;
    if (hit && p->meanwhile) {
        p->meanwhile(p->user);
        hit = false;
    }
    if (hit) {
        fake_state.failed++;
        fake_state.last = call;
        fake_state.dead = p->ends ? p->result : fake_state.dead;
        return p->result;
    }
    return goes_to_device(call) ? fake_state.dead : 0;
}

void fake_lock(void)
{
    pthread_mutex_lock(&lock);
}

rlx_gpu_result fake_begin(rlx_gpu_call call)
{
    fake_lock();
    return planned(call);
}

rlx_gpu_result fake_end(rlx_gpu_result r)
{
    pthread_mutex_unlock(&lock);
    return r;
}

/* ---- what there is --------------------------------------------------------------------------- */

static const char *const fake_kinds[] = {"memory",   "mapped memory", "stream", "event", "module",
                                         "function", "graph",         "exec",   "linker"};

fake_object *fake_objects;
struct fake_context fake_contexts[FAKE_DEVICES] = {{0, 0}, {1, 0}};

__thread struct fake_context *fake_stack[MAX_DEPTH];
__thread int fake_depth, fake_current; /* NVIDIA's, AMD's */

int fake_current_device(void)
{
    if (!IS_CUDA)
        return fake_current;
    return fake_depth && fake_stack[fake_depth - 1]->retained ? fake_stack[fake_depth - 1]->device
                                                              : -1;
}

fake_object *fake_make(fake_kind kind, size_t bytes)
{
    fake_object *o = calloc(1, sizeof *o);
    if (!o || fake_current_device() < 0) {
        fake_say("a %s is made where no device is current", fake_kinds[kind]);
        free(o);
        return NULL;
    }
    *o = (fake_object){
        .next = fake_objects, .kind = kind, .device = fake_current_device(), .bytes = bytes};
    o->last = &o->first;
    fake_objects = o;
    fake_state.live++;
    return o;
}

/* NULL, and it is said: it is none, or of another device than the current one. */
fake_object *fake_find(const void *handle, fake_kind kind)
{
    for (fake_object *o = fake_objects; o; o = o->next)
        if (o == handle && o->kind == kind) {
            if (o->device != fake_current_device())
                fake_say("a %s of device %d where %d is current", fake_kinds[kind], o->device,
                         fake_current_device());
            return o->device == fake_current_device() ? o : NULL;
        }
    fake_say("%p is no %s", handle, fake_kinds[kind]);
    return NULL;
}

void fake_free_ops(fake_object *o)
{
    for (fake_op *p = o->first, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    o->first = NULL;
    o->last = &o->first;
}

static void check_canaries(const fake_object *o)
{
    for (int i = 0; i < CANARY_BYTES; i++)
        if ((uint8_t)o->data[-1 - i] != CANARY ||
            (uint8_t)o->data[o->bytes + (size_t)i] != CANARY) {
            fake_say("something was written outside of %zu bytes", o->bytes);
            return;
        }
}

void fake_destroy(fake_object *o)
{
    fake_object **at = &fake_objects;
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    if (o->kind == MEMORY) {
        check_canaries(o);
        fake_state.used -= o->bytes;
        free(o->data - CANARY_BYTES);
    } else if (o->kind == MODULE || o->kind == LINKER) {
        free(o->data);
    }
    fake_free_ops(o);
    free(o);
    fake_state.live--;
}

static bool is_within_memory(const fake_object *o, const char *at)
{
    return (o->kind == MEMORY || o->kind == MAPPED) && at >= o->data && at < o->data + o->bytes;
}

static bool uses(const fake_op *p, const fake_object *o)
{
    bool does = p->with == o || is_within_memory(o, p->at) || is_within_memory(o, p->other);
    for (int i = 0; p->kind == LAUNCH && i <= p->nbuffers; i++)
        does |= is_within_memory(o, p->addresses[i]);
    for (const fake_op *node = p->kind == RUN ? p->with->first : NULL; node; node = node->next)
        does |= uses(node, o);
    return does;
}

bool fake_is_pending(const fake_object *o)
{
    for (const fake_object *s = fake_objects; s; s = s->next)
        for (const fake_op *p = s->kind == STREAM ? s->first : NULL; p; p = p->next)
            if (uses(p, o))
                return true;
    return false;
}

rlx_gpu_result fake_destroy_of(void *handle, fake_kind kind)
{
    fake_object *o = fake_find(handle, kind);
    if (!o)
        return INVALID;
    if (fake_is_pending(o))
        return WRONG("a %s goes before work with it is done", fake_kinds[kind]);
    fake_destroy(o);
    return 0;
}

/* The memory that `bytes` from an address lie in. */
fake_object *fake_find_memory(const char *at, size_t bytes)
{
    for (fake_object *o = fake_objects; o; o = o->next)
        if ((o->kind == MEMORY || o->kind == MAPPED) && o->device == fake_current_device() &&
            at >= o->data && at <= o->data + o->bytes && bytes <= (size_t)(o->data + o->bytes - at))
            return o;
    fake_say("%zu bytes at %p are in no memory of device %d", bytes, (const void *)at,
             fake_current_device());
    return NULL;
}

fake_object *fake_find_at(const void *data, fake_kind kind)
{
    for (fake_object *o = fake_objects; o; o = o->next)
        if (o->kind == kind && o->data == data && o->device == fake_current_device())
            return o;
    fake_say("no %s at %p", fake_kinds[kind], data);
    return NULL;
}

/* ---- work ------------------------------------------------------------------------------------ */

static double clock_of_events;

static void run_launch(const fake_op *p)
{
    const fake_object *f = p->with;
    for (int i = 0; i <= p->nbuffers; i++)
        if (!fake_find_memory(p->addresses[i], 0))
            return;
    void *all[MAX_ARGUMENTS + MAX_MAPS];
    emulated_map maps[MAX_MAPS];
    memcpy(all, p->addresses, sizeof p->addresses);
    memcpy(maps, p->maps, sizeof maps);
    for (int i = 0; i < p->nmaps; i++)
        all[p->nbuffers + 1 + i] = &maps[i];
    fake_state.launches++;
    const fake_kernel_launch l = {f->of->data,       f->of->bytes, f->name,     p->teams,
                                  (unsigned)f->team, all,          p->nbuffers, p->together};
    if (rlx_fake_driver.run)
        rlx_fake_driver.run(rlx_fake_driver.user, &l);
}

void fake_run_op(const fake_op *p)
{
    if (p->kind == LAUNCH) {
        run_launch(p);
    } else if (p->kind == RUN) {
        fake_run_nodes(p->with);
    } else if (p->kind == RECORD) {
        p->with->time = ++clock_of_events;
    } else if (!fake_find_memory(p->at, p->bytes) ||
               (p->kind == COPY_WITHIN && !fake_find_memory(p->other, p->bytes))) {
        return;
    } else if (p->kind == FILL) {
        memset(p->at, p->byte, p->bytes);
    } else {
        memcpy(p->kind == COPY_FROM ? p->other : p->at, p->kind == COPY_FROM ? p->at : p->other,
               p->bytes);
    }
}

bool fake_has(const fake_set *s, int i)
{
    return s->word[i / 64] >> i % 64 & 1;
}

static void add(fake_set *s, int i)
{
    s->word[i / 64] |= (uint64_t)1 << i % 64;
}

void fake_add_all(fake_set *s, const fake_set *more)
{
    for (int i = 0; i < MAX_NODES / 64; i++)
        s->word[i] |= more->word[i];
}

static bool is_within(const fake_set *s, const fake_set *of)
{
    for (int i = 0; i < MAX_NODES / 64; i++)
        if (s->word[i] & ~of->word[i])
            return false;
    return true;
}

/* Of the nodes that may run the last one is next. */
void fake_run_nodes(const fake_object *graph)
{
    fake_set done = {{0}};
    for (int ran = 0; ran < graph->nnodes; ran++) {
        const fake_op *next = NULL;
        int at = 0, next_at = 0;
        for (const fake_op *p = graph->first; p; p = p->next, at++)
            if (!fake_has(&done, at) && is_within(&p->after, &done)) {
                next = p;
                next_at = at;
            }
        fake_run_op(next);
        add(&done, next_at);
    }
}

/* Puts a copy into a stream or, where that is captured, its graph. */
rlx_gpu_result fake_put(void *stream, const fake_op *what)
{
    fake_object *s = fake_find(stream, STREAM);
    fake_op *p = malloc(sizeof *p);
    if (!s || !p || (s->of && s->of->nnodes == MAX_NODES)) {
        free(p);
        return INVALID;
    }
    *p = *what;
    p->next = NULL;
    fake_object *to = s->of ? s->of : s;
    p->after = s->now;
    if (s->of) {
        s->now = (fake_set){{0}};
        add(&s->now, to->nnodes);
    }
    to->nnodes++;
    *to->last = p;
    to->last = &p->next;
    return 0;
}

/* ---- what is exported ------------------------------------------------------------------------ */

static void set_plan(const fake_plan *p)
{
    fake_state.plan = p ? *p : (fake_plan){0};
    fake_state.failed = fake_state.launches = fake_state.beside = 0;
    memset(fake_state.counts, 0, sizeof fake_state.counts);
}

static int64_t get_failed(void)
{
    return fake_state.failed;
}

static const char *get_last(void)
{
    return fake_state.failed ? makers_names[fake_state.last] : NULL;
}

static int64_t get_count(const char *call)
{
    for (int i = 0; i < RLX_GPU_NCALLS; i++)
        if (!strcmp(names[i], call))
            return fake_state.counts[i];
    return -1;
}

static int64_t get_live(void)
{
    return fake_state.live;
}

static const char *get_said(void)
{
    return fake_state.said;
}

static void hush(void)
{
    fake_state.said[0] = 0;
}

static bool get_current(void)
{
    return IS_CUDA ? fake_depth > 0 : fake_current != 0;
}

static int64_t get_launches(void)
{
    return fake_state.launches;
}

static int64_t get_beside(void)
{
    return fake_state.beside;
}

__attribute__((constructor)) static void begin_life(void)
{
    pthread_mutexattr_t again;
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &again);
    pthread_mutexattr_destroy(&again);
}

__attribute__((visibility("default")))
fake_driver rlx_fake_driver = {.version = IS_CUDA ? 12040 : 60140091,
                               .major = 7,
                               .minor = 5,
                               .devices = FAKE_DEVICES,
                               .arch = "gfx90a",
                               .team = IS_CUDA ? 32 : 64,
                               .plan = set_plan,
                               .failed = get_failed,
                               .last = get_last,
                               .count = get_count,
                               .live = get_live,
                               .said = get_said,
                               .hush = hush,
                               .is_current = get_current,
                               .launches = get_launches,
                               .beside = get_beside};
