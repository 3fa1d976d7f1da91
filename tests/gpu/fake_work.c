/* tests/gpu/fake_work.c: the fake drivers' streams, code and graphs. */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "tests/gpu/fake_impl.h"

/* ---- streams and events ---------------------------------------------------------------------- */

rlx_gpu_result fake_create_stream(rlx_gpu_stream *out, unsigned flags)
{
    BEGIN(create_stream);
    if (flags != RLX_GPU_STREAM_ALONE)
        return fake_end(WRONG("a stream with flags %u", flags));
    *out = fake_make(STREAM, 0);
    return fake_end(*out ? 0 : INVALID);
}

rlx_gpu_result fake_destroy_stream(rlx_gpu_stream s)
{
    BEGIN(destroy_stream);
    fake_object *o = fake_find(s, STREAM);
    if (o && o->first)
        fake_say("a stream is destroyed before its work is done");
    return fake_end(fake_destroy_of(s, STREAM));
}

rlx_gpu_result fake_wait(rlx_gpu_stream s)
{
    rlx_gpu_result r = fake_begin(RLX_GPU_CALL_wait); /* where it fails nothing of it runs */
    fake_object *o = fake_find(s, STREAM);
    if (!o || o->of)
        return fake_end(WRONG("waiting for no stream, or one that is captured"));
    for (const fake_op *p = o->first; !r && p; p = p->next)
        fake_run_op(p);
    fake_free_ops(o);
    return fake_end(r);
}

rlx_gpu_result fake_synchronize(void)
{
    BEGIN(synchronize);
    return fake_end(fake_current_device() < 0 ? WRONG("waiting for no device") : 0);
}

rlx_gpu_result fake_create_event(rlx_gpu_event *out, unsigned flags)
{
    BEGIN(create_event);
    fake_object *o = fake_make(EVENT, 0);
    if (o)
        o->flags = flags;
    *out = o;
    return fake_end(o && !(flags & ~RLX_GPU_EVENT_UNTIMED) ? 0 : INVALID);
}

rlx_gpu_result fake_destroy_event(rlx_gpu_event e)
{
    BEGIN(destroy_event);
    return fake_end(fake_destroy_of(e, EVENT));
}

rlx_gpu_result fake_record_event(rlx_gpu_event e, rlx_gpu_stream s)
{
    BEGIN(record_event);
    fake_object *event = fake_find(e, EVENT), *stream = fake_find(s, STREAM);
    if (!event || !stream)
        return fake_end(INVALID);
    event->of = stream->of;
    event->now = stream->now;
    return fake_end(stream->of ? 0 : fake_put(s, &(fake_op){.kind = RECORD, .with = event}));
}

/* Streams come to a capture so. */
rlx_gpu_result fake_wait_event(rlx_gpu_stream s, rlx_gpu_event e, unsigned flags)
{
    BEGIN(wait_event);
    fake_object *event = fake_find(e, EVENT), *stream = fake_find(s, STREAM);
    if (!event || !stream || flags || !event->of || (stream->of && stream->of != event->of))
        return fake_end(WRONG("a stream waits for an event of no capture, or another"));
    stream->of = event->of;
    fake_add_all(&stream->now, &event->now);
    return fake_end(0);
}

rlx_gpu_result fake_get_elapsed(float *ms, rlx_gpu_event from, rlx_gpu_event to)
{
    BEGIN(get_elapsed);
    const fake_object *a = fake_find(from, EVENT), *b = fake_find(to, EVENT);
    if (!a || !b || !a->time || !b->time || (a->flags | b->flags) & RLX_GPU_EVENT_UNTIMED)
        return fake_end(WRONG("a time between events that have none"));
    *ms = (float)(b->time - a->time);
    return fake_end(0);
}

/* ---- code ------------------------------------------------------------------------------------ */

static const char machine_code[8] = "CUBIN:\n";

typedef struct made {
    char magic[sizeof machine_code];
    uint64_t bytes;
} made;

/* How much there is of it: as the drivers tell, by what it says of itself. */
static size_t bytes_of(const char *image)
{
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)(const void *)image;
    if (!memcmp(image, ELFMAG, SELFMAG))
        return elf->e_shoff + (size_t)elf->e_shnum * elf->e_shentsize;
    return strlen(image);
}

rlx_gpu_result fake_load_module(rlx_gpu_module *out, const void *image, unsigned n,
                                rlx_gpu_jit_option *options, void **values)
{
    BEGIN(load_module);
    const char *code = image;
    size_t bytes;
    if ((uintptr_t)image % 8)
        return fake_end(WRONG("a module that is not aligned"));
    if (n != (IS_CUDA ? 2 : 0) || (n && (options[0] != 5 || options[1] != 6)))
        return fake_end(WRONG("a module with %u options", n));
    if (!memcmp(code, machine_code, sizeof machine_code)) {
        bytes = ((const made *)image)->bytes;
        code += sizeof(made);
    } else {
        bytes = bytes_of(code);
    }
    if (memcmp(code, ELFMAG, SELFMAG) != 0 && !strstr(code, ".entry ")) {
        if (n)
            snprintf(values[0], (size_t)(uintptr_t)values[1], "fake log: no entry in the image");
        return fake_end(BAD_IMAGE);
    }
    fake_object *o = fake_make(MODULE, bytes);
    if (!o || !(o->data = malloc(bytes + 1)))
        return fake_end(INVALID);
    memcpy(o->data, code, bytes);
    o->data[bytes] = 0;
    o->image = IS_CUDA ? NULL : code;
    *out = o;
    return fake_end(0);
}

rlx_gpu_result fake_unload_module(rlx_gpu_module m)
{
    BEGIN(unload_module);
    const fake_object *module = fake_find(m, MODULE);
    if (module && module->image && memcmp(module->image, module->data, module->bytes) != 0)
        fake_say("a module's code object went before the module");
    for (fake_object *o = fake_objects, *next; o; o = next) {
        next = o->next;
        if (o->kind == FUNCTION && o->of == m && fake_is_pending(o))
            return fake_end(WRONG("a module is unloaded before its launches are done"));
        if (o->kind == FUNCTION && o->of == m)
            fake_destroy(o);
    }
    return fake_end(fake_destroy_of(m, MODULE));
}

/* What PTX says of an entry: its team and how many arguments it has. */
static bool read_entry(const char *ptx, const char *name, fake_object *f)
{
    char entry[160];
    snprintf(entry, sizeof entry, ".entry %s(", name);
    const char *at = strstr(ptx, entry), *close = at ? strchr(at + strlen(entry), ')') : NULL;
    const char *team = strstr(ptx, RLX_PROGRAM_TEAM);
    if (!close || !team)
        return false;
    f->team = atoi(team + strlen(RLX_PROGRAM_TEAM));
    for (f->nbuffers = -1; (at = strstr(at, ".param")) && at < close; at++)
        f->nbuffers++;
    return true;
}

/* What a code object's note says of its team, in MessagePack; host code, which stands for one, has none. */
static int read_note(const fake_object *module)
{
    static const char word[] = ".max_flat_workgroup_size";
    const uint8_t *at = memmem(module->data, module->bytes, word, sizeof word - 1);
    if (!at)
        return rlx_fake_driver.team;
    at += sizeof word - 1;
    return *at == 0xcd ? at[1] << 8 | at[2] : *at == 0xcc ? at[1] : *at;
}

rlx_gpu_result fake_get_function(rlx_gpu_function *out, rlx_gpu_module m, const char *name)
{
    BEGIN(get_function);
    fake_object *module = fake_find(m, MODULE), *f = module ? fake_make(FUNCTION, 0) : NULL;
    if (!f)
        return fake_end(INVALID);
    f->of = module;
    f->team = read_note(module);
    f->nbuffers = -1;
    snprintf(f->name, sizeof f->name, "%s", name);
    *out = f;
    if (memcmp(module->data, ELFMAG, SELFMAG) != 0 && !read_entry(module->data, name, f))
        return fake_end(NOT_FOUND);
    return fake_end(0);
}

rlx_gpu_result fake_get_function_attribute(int *out, rlx_gpu_function_attribute a,
                                           rlx_gpu_function f)
{
    BEGIN(get_function_attribute);
    const fake_object *o = fake_find(f, FUNCTION);
    if (!o || a != RLX_GPU_FUNCTION_TEAM)
        return fake_end(INVALID);
    *out = rlx_fake_driver.most ? rlx_fake_driver.most : o->team;
    return fake_end(0);
}

static int resident_teams(void)
{
    const int n = rlx_fake_driver.resident;
    return n < 0 ? 0 : n ? n : FAKE_RESIDENT;
}

rlx_gpu_result fake_get_resident(int *teams, rlx_gpu_function f, int team, size_t bytes)
{
    BEGIN(get_resident);
    const fake_object *o = fake_find(f, FUNCTION);
    if (!o || team != o->team || bytes)
        return fake_end(WRONG("how many teams of %d and %zu bytes are resident", team, bytes));
    *teams = resident_teams();
    return fake_end(0);
}

static bool is_one(unsigned a, unsigned b, unsigned c, unsigned d)
{
    return a == 1 && b == 1 && c == 1 && d == 1;
}

/* The caller ends its arguments with NULL, which a real driver does not look for. */
static rlx_gpu_result put_launch(rlx_gpu_stream s, fake_op *p, void **arguments)
{
    for (; arguments[p->nbuffers + 1] && p->nbuffers < MAX_ARGUMENTS - 1; p->nbuffers++) {
        if (*(uint64_t *)arguments[p->nbuffers + 1] == EMULATED_MAP)
            break;
        p->addresses[p->nbuffers + 1] = *(void **)arguments[p->nbuffers + 1];
        if (!fake_find_memory(p->addresses[p->nbuffers + 1], 0))
            return INVALID;
    }
    for (void **map = arguments + p->nbuffers + 1; *map && p->nmaps < MAX_MAPS; map++)
        memcpy(&p->maps[p->nmaps++], *map, sizeof *p->maps);
    if (p->with->nbuffers >= 0 && p->with->nbuffers != p->nbuffers + p->nmaps)
        return WRONG("%s has %d buffers, launched with %d", p->with->name, p->with->nbuffers,
                     p->nbuffers + p->nmaps);
    return fake_put(s, p);
}

rlx_gpu_result fake_launch(rlx_gpu_function f, unsigned x, unsigned y, unsigned z, unsigned team_x,
                           unsigned team_y, unsigned team_z, unsigned team_bytes, rlx_gpu_stream s,
                           void **arguments, void **extra)
{
    BEGIN(launch);
    fake_op p = {.kind = LAUNCH, .with = fake_find(f, FUNCTION), .teams = x, .nbuffers = -1};
    if (!p.with || !x || x > FAKE_UNITS * FAKE_RESIDENT || !is_one(y, z, team_y, team_z) ||
        team_x != (unsigned)p.with->team || team_bytes || extra)
        return fake_end(WRONG("a launch of %u teams of %u", x, team_x));
    return fake_end(put_launch(s, &p, arguments));
}

#ifndef FAKE_HIP
/* As the header has it of two dimensions without interleaving: addresses and strides by 16 bytes, boxes of 256 elements along each axis at most, no
 * wider than what is swizzled. */
rlx_gpu_result fake_encode_map(rlx_gpu_tensor *out, rlx_gpu_map_type type, uint32_t rank, void *at,
                               const uint64_t *dims, const uint64_t *strides, const uint32_t *box,
                               const uint32_t *steps, rlx_gpu_map_form form,
                               rlx_gpu_map_swizzle swizzle, rlx_gpu_map_ahead ahead,
                               rlx_gpu_map_beyond beyond)
{
    BEGIN(encode_map);
    const uint32_t bytes = type == RLX_GPU_MAP_HALVES ? 2 : 1, row = box[0] * bytes;
    if ((uintptr_t)out % 128 || rank != 2 || type > RLX_GPU_MAP_HALVES || (uintptr_t)at % 16 ||
        !dims[0] || !dims[1] || dims[0] > UINT32_MAX || dims[1] > UINT32_MAX || strides[0] % 16 ||
        strides[0] < dims[0] * bytes || !box[0] || !box[1] || box[0] > 256 || box[1] > 256 ||
        row % 16 || steps[0] != 1 || steps[1] != 1 || form || ahead != 2 || beyond || swizzle < 1 ||
        swizzle > 3 || row > 16u << swizzle)
        return fake_end(WRONG("a tensor map of %u x %u out of %llu x %llu", box[1], box[0],
                              (unsigned long long)dims[1], (unsigned long long)dims[0]));
    if (!fake_find_memory(at, dims[1] * strides[0]))
        return fake_end(INVALID);
    const emulated_map map = {.magic = EMULATED_MAP,
                              .at = at,
                              .rows = (int64_t)dims[1],
                              .columns = (int64_t)dims[0],
                              .stride = (int64_t)strides[0],
                              .bytes = bytes,
                              .box_rows = box[1],
                              .box_columns = box[0],
                              .swizzle = (uint32_t)swizzle};
    memcpy(out, &map, sizeof map);
    return fake_end(0);
}

/* Not into a capture: what drivers of all versions take is a stream. */
rlx_gpu_result fake_launch_together(rlx_gpu_function f, unsigned x, unsigned y, unsigned z,
                                    unsigned team_x, unsigned team_y, unsigned team_z,
                                    unsigned team_bytes, rlx_gpu_stream s, void **arguments)
{
    BEGIN(launch_together);
    const fake_object *stream = fake_find(s, STREAM);
    fake_op p = {.kind = LAUNCH,
                 .with = fake_find(f, FUNCTION),
                 .teams = x,
                 .together = true,
                 .nbuffers = -1};
    if (!p.with || !stream || stream->of || !x || !is_one(y, z, team_y, team_z) ||
        team_x != (unsigned)p.with->team || team_bytes)
        return fake_end(WRONG("a launch of %u teams of %u together", x, team_x));
    if (x > (unsigned)(FAKE_UNITS * resident_teams()))
        return fake_end(TOO_MANY);
    return fake_end(put_launch(s, &p, arguments));
}

rlx_gpu_result fake_create_linker(unsigned n, rlx_gpu_jit_option *options, void **values,
                                  rlx_gpu_linker *out)
{
    BEGIN(create_linker);
    if (n != 2 || options[0] != 5 || options[1] != 6 || !values[0])
        return fake_end(WRONG("a linker with %u options", n));
    *out = fake_make(LINKER, 0);
    return fake_end(*out ? 0 : INVALID);
}

rlx_gpu_result fake_link(rlx_gpu_linker l, rlx_gpu_input kind, void *data, size_t bytes,
                         const char *name, unsigned n, rlx_gpu_jit_option *options, void **values)
{
    BEGIN(link);
    fake_object *o = fake_find(l, LINKER);
    if (!o || o->data || kind != 1 || !bytes || ((char *)data)[bytes - 1] || !name || n ||
        options || values)
        return fake_end(WRONG("%zu bytes are linked", bytes));
    const made head = {.magic = "CUBIN:\n", .bytes = bytes - 1};
    o->bytes = sizeof head + bytes - 1;
    o->data = malloc(o->bytes);
    if (!o->data)
        return fake_end(NO_MEMORY);
    memcpy(o->data, &head, sizeof head);
    memcpy(o->data + sizeof head, data, bytes - 1);
    return fake_end(0);
}

rlx_gpu_result fake_finish_linking(rlx_gpu_linker l, void **code, size_t *bytes)
{
    BEGIN(finish_linking);
    const fake_object *o = fake_find(l, LINKER);
    if (!o || !o->data)
        return fake_end(WRONG("nothing was linked"));
    *code = o->data;
    *bytes = o->bytes;
    return fake_end(0);
}

rlx_gpu_result fake_destroy_linker(rlx_gpu_linker l)
{
    BEGIN(destroy_linker);
    return fake_end(fake_destroy_of(l, LINKER));
}
#endif

/* ---- graphs ---------------------------------------------------------------------------------- */

rlx_gpu_result fake_begin_capture(rlx_gpu_stream s, rlx_gpu_capture mode)
{
    BEGIN(begin_capture);
    fake_object *stream = fake_find(s, STREAM);
    if (!stream || stream->of || stream->first || mode != RLX_GPU_CAPTURE_RELAXED)
        return fake_end(WRONG("a capture of mode %d", mode));
    stream->of = fake_make(GRAPH, 0);
    stream->now = (fake_set){{0}};
    return fake_end(stream->of ? 0 : INVALID);
}

/* Pairs of launches that may run beside each other. */
static int64_t count_pairs(const fake_object *graph)
{
    static fake_set before[MAX_NODES]; /* all that come before a node */
    bool launch[MAX_NODES];
    int64_t pairs = 0;
    int at = 0;
    for (const fake_op *p = graph->first; p; p = p->next, at++) {
        launch[at] = p->kind == LAUNCH;
        before[at] = p->after;
        for (int i = 0; i < at; i++)
            if (fake_has(&p->after, i))
                fake_add_all(&before[at], &before[i]);
        for (int i = 0; i < at && launch[at]; i++)
            pairs += launch[i] && !fake_has(&before[at], i);
    }
    return pairs;
}

/* Whether every other stream of the capture came back to this one. */
static bool is_joined(const fake_object *graph, const fake_set *now)
{
    fake_set used = *now;
    for (const fake_op *p = graph->first; p; p = p->next)
        fake_add_all(&used, &p->after);
    for (int i = 0; i < graph->nnodes; i++)
        if (!fake_has(&used, i))
            return false;
    return true;
}

/* It ends what was begun, whether it then fails or not. */
rlx_gpu_result fake_end_capture(rlx_gpu_stream s, rlx_gpu_graph *out)
{
    rlx_gpu_result r = fake_begin(RLX_GPU_CALL_end_capture);
    fake_object *stream = fake_find(s, STREAM), *graph = stream ? stream->of : NULL;
    if (!graph)
        return fake_end(r ? r : WRONG("no capture to be ended"));
    if (!r && !is_joined(graph, &stream->now) && !fake_state.failed)
        r = WRONG("a capture ends where streams have not come back to it");
    for (fake_object *o = fake_objects; o; o = o->next)
        if ((o->kind == STREAM || o->kind == EVENT) && o->of == graph) {
            o->of = NULL;
            o->now = (fake_set){{0}};
        }
    fake_state.beside += count_pairs(graph);
    if (r)
        fake_destroy(graph);
    *out = r ? NULL : graph;
    return fake_end(r);
}

rlx_gpu_result fake_make_exec(rlx_gpu_exec *out, rlx_gpu_graph g, unsigned long long flags)
{
    BEGIN(make_exec);
    const fake_object *graph = fake_find(g, GRAPH);
    fake_object *exec = graph && !flags ? fake_make(EXEC, 0) : NULL;
    if (!exec)
        return fake_end(INVALID);
    exec->nnodes = graph->nnodes;
    for (const fake_op *p = graph->first; p; p = p->next) {
        fake_op *copy = malloc(sizeof *copy);
        if (!copy)
            return fake_end(NO_MEMORY);
        *copy = *p;
        copy->next = NULL;
        *exec->last = copy;
        exec->last = &copy->next;
    }
    *out = exec;
    return fake_end(0);
}

rlx_gpu_result fake_destroy_graph(rlx_gpu_graph g)
{
    BEGIN(destroy_graph);
    return fake_end(fake_destroy_of(g, GRAPH));
}

rlx_gpu_result fake_destroy_exec(rlx_gpu_exec e)
{
    BEGIN(destroy_exec);
    return fake_end(fake_destroy_of(e, EXEC));
}

/* It runs when somebody waits for it. */
rlx_gpu_result fake_run_graph(rlx_gpu_exec e, rlx_gpu_stream s)
{
    BEGIN(run_graph);
    const fake_object *stream = fake_find(s, STREAM);
    fake_object *exec = fake_find(e, EXEC);
    if (!exec || !stream || stream->of || stream->first)
        return fake_end(WRONG("a graph runs in no stream, or behind other work"));
    return fake_end(fake_put(s, &(fake_op){.kind = RUN, .with = exec}));
}
