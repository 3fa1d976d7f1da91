/* runtime/executable.c: entry bytes to something that sessions can run.
 *
 *   decode   program.c: checks everything
 *   enable   this CPU, or the device, has the features
 *   load     load_elf.c, or the device: code of all kernels
 *   flatten  walk the tape once, calls and repetitions included; every buffer gets its place
 *   bind     weights by name, format and shape; on a device they are uploaded then
 */
#include "runtime/executable.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/arena.h"
#include "runtime/load_elf.h"
#include "runtime/session.h"

enum { NO_LAYER = -1 };

/* ---- places by name ---------------------------------------------------------------------------
 */

/* Bound tensors already resolved, by tensor and layer. */
typedef struct resolved {
    uint32_t bound;
    int64_t layer;
    rlx_place place;
} resolved;

typedef struct flattener {
    rlx_executable *e;
    rlx_arena *scratch;
    bool barrier; /* the next launch begins a phase */
    uint32_t launches_cap, places_cap, states_cap;
    resolved *table; /* open-addressed; `cap` slots, used ones have a place that is not the arena */
    size_t count, cap;
    rlx_text missing, wrong; /* names, one a line */
    int nmissing, nwrong;
} flattener;

static resolved *find_resolved(const flattener *f, uint32_t bound, int64_t layer)
{
    uint64_t h = (bound * 0x9e3779b97f4a7c15u) ^ ((uint64_t)(layer + 1) * 0xbf58476d1ce4e5b9u);
    for (size_t i = (h ^ h >> 29) & (f->cap - 1);; i = (i + 1) & (f->cap - 1)) {
        resolved *r = &f->table[i];
        if (r->place.kind == RLX_PLACE_ARENA || (r->bound == bound && r->layer == layer))
            return r;
    }
}

static rlx_status reserve_resolved(flattener *f)
{
    if (f->count * 2 < f->cap)
        return RLX_OK;
    resolved *old = f->table;
    size_t n = f->cap;
    f->cap = n ? n * 2 : 256;
    f->table = RLX_NEW_ARRAY(f->scratch, resolved, f->cap);
    if (!f->table)
        return RLX_OOM();
    for (size_t i = 0; i < n; i++)
        if (old[i].place.kind != RLX_PLACE_ARENA)
            *find_resolved(f, old[i].bound, old[i].layer) = old[i];
    return RLX_OK;
}

/* The tensor's name with the layer index in place of {}. */
static const char *instance_name(rlx_arena *arena, const char *name, int64_t layer)
{
    const char *hole = strstr(name, "{}");
    if (!hole)
        return rlx_arena_strdup(arena, name);
    return rlx_arena_printf(arena, "%.*s%lld%s", (int)(hole - name), name, (long long)layer,
                            hole + 2);
}

static void put_shape(rlx_text *out, rlx_format format, int rank, const int64_t *dim)
{
    rlx_text_put(out, format == RLX_FORMAT_NONE ? "a foreign dtype" : rlx_format_get(format)->name);
    rlx_text_put(out, "[");
    for (int d = 0; d < rank; d++)
        rlx_text_putf(out, "%s%lld", d ? "," : "", (long long)dim[d]);
    rlx_text_put(out, "]");
}

static void bind_weight(flattener *f, const rlx_program_tensor *want, const char *name,
                        rlx_place *place)
{
    const rlx_tensor *have = f->e->weights ? rlx_weights_find(f->e->weights, name) : NULL;
    place->kind = RLX_PLACE_ABSENT;
    if (!have) {
        f->nmissing++;
        rlx_text_putf(&f->missing, "\n    %s", name);
    } else if (have->format != want->format || have->rank != want->rank ||
               memcmp(have->dim, want->dim, sizeof(want->dim[0]) * (size_t)want->rank) != 0) {
        f->nwrong++;
        rlx_text_putf(&f->wrong, "\n    %s is ", name);
        put_shape(&f->wrong, have->format, have->rank, have->dim);
        rlx_text_put(&f->wrong, ", the program takes ");
        put_shape(&f->wrong, want->format, want->rank, want->dim);
    } else {
        *place = (rlx_place){.kind = RLX_PLACE_WEIGHT, .weight = have};
    }
}

static rlx_status use_state(flattener *f, const rlx_program_tensor *t, const char *name,
                            rlx_place *place)
{
    rlx_executable *e = f->e;
    if (e->nstates == f->states_cap) {
        f->states_cap = f->states_cap ? f->states_cap * 2 : 64;
        rlx_state_use *states = RLX_NEW_ARRAY(e->arena, rlx_state_use, f->states_cap);
        if (!states)
            return RLX_OOM();
        if (e->nstates)
            memcpy(states, e->states, sizeof(*states) * e->nstates);
        e->states = states;
    }
    *place = (rlx_place){.kind = RLX_PLACE_STATE, .index = e->nstates};
    e->states[e->nstates++] = (rlx_state_use){name, t};
    return RLX_OK;
}

static rlx_status resolve(flattener *f, uint32_t bound, int64_t layer, rlx_place *place)
{
    const rlx_program_tensor *t = &f->e->program->bound[bound];
    if (t->kind == RLX_BIND_INPUT) {
        *place = (rlx_place){.kind = RLX_PLACE_INPUT, .index = bound};
        return RLX_OK;
    }
    if (!strstr(t->name, "{}"))
        layer = NO_LAYER;
    RLX_TRY(reserve_resolved(f));
    resolved *r = find_resolved(f, bound, layer);
    if (r->place.kind == RLX_PLACE_ARENA) {
        const char *name = instance_name(f->e->arena, t->name, layer);
        if (!name)
            return RLX_OOM();
        rlx_place made = {0};
        if (t->kind == RLX_BIND_STATE)
            RLX_TRY(use_state(f, t, name, &made));
        else
            bind_weight(f, t, name, &made);
        *r = (resolved){bound, layer, made};
        f->count++;
    }
    *place = r->place;
    return RLX_OK;
}

/* ---- the tape ---------------------------------------------------------------------------------
 */

/* One activation of a function. */
typedef struct activation {
    const rlx_program_func *func;
    int64_t base; /* of its frame */
    int64_t layer;
    const rlx_place *params;
} activation;

static rlx_status expand(flattener *f, const activation *a);

static rlx_status place_arg(flattener *f, const activation *a, uint32_t i, rlx_place *out)
{
    const rlx_program_arg *arg = &f->e->program->args[i];
    if (arg->kind == RLX_ARG_SYMBOL)
        return resolve(f, arg->index, a->layer, out);
    *out = arg->kind == RLX_ARG_PARAM
               ? a->params[arg->index]
               : (rlx_place){.kind = RLX_PLACE_ARENA, .offset = a->base + arg->offset};
    return RLX_OK;
}

/* Room for one more launch of `nargs` buffers. Arrays double, in an arena: at most twice the size.
 */
static rlx_status reserve_launch(flattener *f, uint32_t nargs)
{
    rlx_executable *e = f->e;
    if (e->nlaunches == f->launches_cap) {
        f->launches_cap = f->launches_cap ? f->launches_cap * 2 : 256;
        rlx_flat_launch *p = RLX_NEW_ARRAY(e->arena, rlx_flat_launch, f->launches_cap);
        if (!p)
            return RLX_OOM();
        if (e->nlaunches)
            memcpy(p, e->launches, sizeof(*p) * e->nlaunches);
        e->launches = p;
    }
    if (f->places_cap - e->nplaces < nargs) {
        f->places_cap = f->places_cap * 2 + nargs + 1024;
        rlx_place *p = RLX_NEW_ARRAY(e->arena, rlx_place, f->places_cap);
        if (!p)
            return RLX_OOM();
        if (e->nplaces)
            memcpy(p, e->places, sizeof(*p) * e->nplaces);
        e->places = p;
    }
    return RLX_OK;
}

static rlx_status add_launch(flattener *f, const activation *a, const rlx_program_op *op)
{
    rlx_executable *e = f->e;
    RLX_TRY(reserve_launch(f, op->nargs));
    if (f->barrier || e->nlaunches == 0)
        e->nphases++;
    f->barrier = false;
    e->launches[e->nlaunches++] =
        (rlx_flat_launch){.kernel = op->target, .first = e->nplaces, .phase = e->nphases - 1};
    for (uint32_t i = 0; i < op->nargs; i++)
        RLX_TRY(place_arg(f, a, op->first_arg + i, &e->places[e->nplaces++]));
    if (e->program->kernels[op->target].team_bytes > e->team_bytes)
        e->team_bytes = e->program->kernels[op->target].team_bytes;
    return RLX_OK;
}

/* A call, `count` times: what one writes is what the next reads, and the last one writes OUT. */
static rlx_status add_call(flattener *f, const activation *a, const rlx_program_op *op)
{
    const rlx_program_func *callee = &f->e->program->funcs[op->target];
    uint32_t nvalues = callee->nparams - callee->nout;
    rlx_place *given = RLX_NEW_ARRAY(f->scratch, rlx_place, op->nargs);
    rlx_place *params = RLX_NEW_ARRAY(f->scratch, rlx_place, callee->nparams);
    if (!given || !params)
        return RLX_OOM();
    for (uint32_t i = 0; i < op->nargs; i++)
        RLX_TRY(place_arg(f, a, op->first_arg + i, &given[i]));
    memcpy(params, given, sizeof(*params) * nvalues);
    for (int64_t n = 0; n < op->count; n++) {
        bool spare = (op->count - 1 - n) % 2;
        const rlx_place *to = given + nvalues + (spare ? callee->nout : 0);
        memcpy(params + nvalues, to, sizeof(*params) * callee->nout);
        activation inner = {callee, a->base + op->frame, op->first + n, params};
        f->barrier = true;
        RLX_TRY(expand(f, &inner));
        memcpy(params, to, sizeof(*params) * (callee->nout < nvalues ? callee->nout : nvalues));
    }
    f->barrier = true;
    return RLX_OK;
}

static rlx_status expand(flattener *f, const activation *a)
{
    const rlx_program_op *ops = f->e->program->ops + a->func->first_op;
    for (uint32_t i = 0; i < a->func->nops; i++) {
        if (ops[i].kind == RLX_OP_CALL) {
            RLX_TRY(add_call(f, a, &ops[i]));
            continue;
        }
        if (i > 0 && (ops[i - 1].kind == RLX_OP_CALL || ops[i - 1].phase != ops[i].phase))
            f->barrier = true;
        RLX_TRY(add_launch(f, a, &ops[i]));
    }
    return RLX_OK;
}

static rlx_status check_weights(flattener *f)
{
    if (f->missing.oom || f->wrong.oom)
        return RLX_OOM();
    if (!f->nmissing && !f->nwrong)
        return RLX_OK;
    rlx_text t = {0};
    if (f->nmissing)
        rlx_text_putf(&t, "%d weight%s missing:%s", f->nmissing, f->nmissing > 1 ? "s are" : " is",
                      f->missing.data);
    if (f->nwrong)
        rlx_text_putf(&t, "%s%d weight%s another format or shape:%s", f->nmissing ? "\n" : "",
                      f->nwrong, f->nwrong > 1 ? "s have" : " has", f->wrong.data);
    rlx_status st =
        t.oom ? RLX_OOM()
              : RLX_FAIL(f->nmissing ? RLX_NOT_FOUND : RLX_INVALID_ARGUMENT, "%s", t.data);
    rlx_text_deinit(&t);
    return st;
}

static rlx_status flatten(rlx_executable *e)
{
    flattener f = {.e = e, .scratch = rlx_arena_create()};
    if (!f.scratch)
        return RLX_OOM();
    const rlx_program *p = e->program;
    activation entry = {.func = &p->funcs[p->nfuncs - 1], .layer = NO_LAYER};
    rlx_place *params = RLX_NEW_ARRAY(f.scratch, rlx_place, p->noutputs);
    rlx_status st = params ? RLX_OK : RLX_OOM();
    for (uint32_t i = 0; i < p->noutputs && !st; i++)
        params[i] = (rlx_place){.kind = RLX_PLACE_ARENA, .offset = p->outputs[i].offset};
    entry.params = params;
    if (!st)
        st = expand(&f, &entry);
    if (!st)
        st = check_weights(&f);
    rlx_text_deinit(&f.missing);
    rlx_text_deinit(&f.wrong);
    rlx_arena_destroy(f.scratch);
    return st;
}

/* ---- executables ------------------------------------------------------------------------------
 */

static const char *const code_names[] = {[RLX_CODE_X86_64_ELF] = "x86-64",
                                         [RLX_CODE_PTX] = "NVIDIA GPUs (PTX)",
                                         [RLX_CODE_SPIRV] = "Vulkan (SPIR-V)",
                                         [RLX_CODE_AARCH64_ELF] = "AArch64",
                                         [RLX_CODE_HSACO] = "AMD GPUs"};

static rlx_status load_code(rlx_executable *e)
{
    const rlx_program *p = e->program;
    if (p->code_kind != RLX_CODE_X86_64_ELF)
        return RLX_FAIL(RLX_UNSUPPORTED, "program '%s' is code for %s, not for this CPU", p->name,
                        code_names[p->code_kind]);
    RLX_TRY_NOTE(rlx_cpu_enable(p->features), "program '%s' is compiled for %s", p->name,
                 p->target);
    const uint32_t n = p->nkernels + p->nparts;
    rlx_elf_object *objects = RLX_NEW_ARRAY(e->arena, rlx_elf_object, n);
    if (!objects)
        return RLX_OOM();
    for (uint32_t i = 0; i < n; i++)
        objects[i] =
            (rlx_elf_object){p->kernels[i].name, p->kernels[i].code, p->kernels[i].code_bytes};
    return rlx_elf_image_create(objects, n, &e->image);
}

bool rlx_executable_is_first_of_name(const rlx_executable *e, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (!strcmp(e->states[k].name, e->states[i].name))
            return false;
    return true;
}

/* Beside the weights: the arena, and what one sequence takes of the states at least. */
static rlx_device_needs count_needs(const rlx_executable *e)
{
    const rlx_program *p = e->program;
    rlx_device_needs needs = {.arena = p->funcs[p->nfuncs - 1].frame_bytes +
                                       (int64_t)rlx_session_sum_outputs(p, true),
                              .least = true};
    for (uint32_t i = 0; i < e->nstates; i++) {
        const rlx_program_tensor *t = e->states[i].tensor;
        int64_t elems = 1;
        for (int d = 0; d < t->rank; d++) /* cannot overflow: P9 of program_check.c */
            elems *= rlx_dim_is_const(t->dim[d]) ? t->dim[d] : 1;
        needs.states +=
            rlx_executable_is_first_of_name(e, i) ? (int64_t)rlx_format_bytes(t->format, elems) : 0;
    }
    return needs;
}

/* The tensors that places name; some of them often. */
static rlx_status upload(rlx_executable *e)
{
    size_t n = 0;
    const rlx_tensor **tensors = calloc((size_t)e->nplaces + 1, sizeof *tensors);
    if (!tensors)
        return RLX_OOM();
    for (uint32_t i = 0; i < e->nplaces; i++)
        if (e->places[i].kind == RLX_PLACE_WEIGHT)
            tensors[n++] = e->places[i].weight;
    const rlx_device_needs more = count_needs(e);
    rlx_status st =
        rlx_device_weights_acquire(e->device, e->weights, tensors, n, &more, &e->uploaded);
    free(tensors);
    return st;
}

static rlx_status load(rlx_executable *e, const rlx_engine *engine)
{
    if (!e->arena)
        return RLX_OOM();
    if (!engine && !e->device)
        RLX_TRY(load_code(e));
    RLX_TRY_NOTE(flatten(e), "loading program '%s'", e->program->name);
    if (engine)
        e->engine = *engine;
    if (!e->device)
        return RLX_OK;
    RLX_TRY_NOTE(upload(e), "loading program '%s'", e->program->name);
    RLX_TRY_NOTE(e->device->fn->create_kernels(e->device, e->program, &e->kernels),
                 "loading program '%s'", e->program->name);
    return RLX_OK;
}

static rlx_status create(rlx_program *p, const rlx_weights *w, const rlx_engine *engine,
                         rlx_device *device, rlx_executable **out)
{
    static _Atomic uint64_t next_id;
    rlx_executable *e = calloc(1, sizeof(*e));
    if (!e) {
        rlx_program_destroy(p);
        return RLX_OOM();
    }
    e->id = atomic_fetch_add(&next_id, 1) + 1;
    e->weights = w;
    e->program = p;
    e->device = device;
    e->arena = rlx_arena_create();
    rlx_status st = load(e, engine);
    if (st)
        rlx_executable_destroy(e);
    else
        *out = e;
    return st;
}

rlx_status rlx_executable_create_program(rlx_program *p, const rlx_weights *w,
                                         const rlx_engine *engine, rlx_executable **out)
{
    return create(p, w, engine, NULL, out);
}

rlx_status rlx_executable_create_on(rlx_device *d, rlx_program *p, const rlx_weights *w,
                                    rlx_executable **out)
{
    return create(p, w, NULL, d, out);
}

rlx_status rlx_executable_create(const void *entry, size_t bytes, const rlx_weights *w,
                                 rlx_executable **out)
{
    rlx_program *p;
    RLX_TRY(rlx_program_decode(entry, bytes, &p));
    return rlx_executable_create_program(p, w, NULL, out);
}

rlx_status rlx_executable_create_engine(const void *entry, size_t bytes, const rlx_weights *w,
                                        const rlx_engine *engine, rlx_executable **out)
{
    rlx_program *p;
    if (!engine->launch == !engine->step)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "an engine either launches or steps");
    RLX_TRY(rlx_program_decode(entry, bytes, &p));
    return rlx_executable_create_program(p, w, engine, out);
}

void rlx_executable_destroy(rlx_executable *e)
{
    if (!e)
        return;
    if (e->engine.destroy)
        e->engine.destroy(e->engine.user);
    if (e->device) {
        e->device->fn->destroy_kernels(e->device, e->kernels);
        rlx_device_weights_release(e->device, e->uploaded);
    }
    rlx_executable_destroy(e->front);
    rlx_elf_image_destroy(e->image);
    rlx_program_destroy(e->program);
    rlx_weights_destroy(e->own_weights);
    rlx_arena_destroy(e->arena);
    free(e);
}

void rlx_executable_own_weights(rlx_executable *e, rlx_weights *w)
{
    e->own_weights = w;
}

void rlx_executable_put_front(rlx_executable *e, rlx_executable *front)
{
    e->front = front;
}

const rlx_executable *rlx_executable_front(const rlx_executable *e)
{
    return e->front;
}

rlx_status rlx_executable_tell_perf(const rlx_executable *e, rlx_perf *perf)
{
    const uint32_t n = e->image ? e->program->nkernels + e->program->nparts : 0;
    rlx_perf_code *codes = calloc(n + 1, sizeof *codes);
    if (!codes)
        return RLX_OOM();
    for (uint32_t i = 0; i < n; i++)
        codes[i] = (rlx_perf_code){e->program->kernels[i].name, rlx_elf_image_get(e->image, i),
                                   rlx_elf_image_function_bytes(e->image, i)};
    rlx_status st = rlx_perf_add(perf, codes, n);
    free(codes);
    return st;
}

const rlx_program *rlx_executable_program(const rlx_executable *e)
{
    return e->program;
}
