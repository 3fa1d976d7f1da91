#include "tests/jit/subject.h"

#include <check.h>
#include <elf.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jit/host_team.h"
#include "jit/kernel_info.h"
#include "jit/matrix_units.h"
#include "jit/objects.h"
#include "runtime/cpu.h"
#include "runtime/load_elf.h"
#include "tests/jit/emulated.h"
#include "tests/jit/emulated_tensor.h"
#include "tests/runtime/suite.h"

enum { CANARY_BYTES = 256, CANARY = 0xA5 };

/* ---- subjects ---- */

rlx_status subject_parse(subject *s, const char *name, const char *text)
{
    *s = (subject){.dims = rlx_dims_create()};
    RLX_TRY(rlx_ir_parse(&rlx_lir_level, s->dims, name, text, &s->module));
    RLX_TRY(rlx_ir_run_passes(s->module, &rlx_lir_pass_expand_math, 1, NULL));
    return rlx_ir_verify(s->module);
}

void subject_adopt(subject *s, rlx_dims *dims, rlx_ir_module *module)
{
    *s = (subject){.dims = dims, .module = module};
}

void subject_destroy(subject *s)
{
    rlx_ir_module_destroy(s->module);
    rlx_dims_destroy(s->dims);
    *s = (subject){0};
}

bool subject_bind(subject *s, const char *bindings)
{
    memset(s->symbols, 0, sizeof s->symbols);
    char name[64];
    long long value;
    int used;
    while (sscanf(bindings, " %63[A-Z_0-9]=%lld%n", name, &value, &used) == 2) {
        int i = rlx_dim_symbol_index(s->dims, name);
        if (i < 0)
            return false;
        s->symbols[i] = value;
        bindings += used;
    }
    return true;
}

/* ---- memory ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double random_float(uint64_t *state, bool odd)
{
    static const double special[] = {NAN,   INFINITY, -INFINITY, 0.0,     -0.0,
                                     1e-40, -1e-42,   65504,     1.1e-19, -1.05e-19};
    uint64_t r = next_random(state);
    if (odd && r % 4 == 0)
        return special[r / 4 % (sizeof special / sizeof *special)];
    double x = (double)(int64_t)(r >> 11) * 0x1p-53 * 8 - 4;
    return r % 8 == 1 ? rint(2 * x) / 2 : x; /* some that lie between integers */
}

/* Of codes: the ends of their range as often as all between. */
static double random_code(const char *name, rlx_format f, uint64_t *state)
{
    const bool of_weight = name[0] == 'c', raised = f == RLX_U8 && !of_weight;
    const int bits = of_weight && name[4] >= '1' && name[4] <= '8' ? name[4] - '0' : 8;
    int most = raised ? 255 : f == RLX_U8 ? (1 << bits) - 1 : bits < 8 ? 1 << (bits - 1) : 127;
    int least = raised ? 1 : f == RLX_U8 ? 0 : of_weight ? -(1 << (bits - 1)) : -127;
    uint64_t r = next_random(state);
    if (r % 2 == 0)
        return r % 8 < 4 ? most : least;
    return least + (double)(r / 2 % (uint64_t)(most - least + 1));
}

static bool is_code(const char *name)
{
    return strncmp(name, "code", 4) == 0 || strncmp(name, "act", 3) == 0;
}

static void fill(const rlx_ir_value *v, void *data, int64_t elems, uint64_t *state)
{
    const char *name = v->name ? v->name : "";
    rlx_format f = v->type.format;
    if (rlx_format_get(f)->kind == RLX_KIND_BLOCK) {
        rlx_format_make_blocks(f, data, elems, next_random(state));
        size_t bytes = rlx_format_bytes(f, elems);
        for (size_t i = 0; strncmp(name, "odd", 3) == 0 && i < bytes; i++)
            ((uint8_t *)data)[i] = (uint8_t)next_random(state);
        return;
    }
    for (int64_t i = 0; i < elems; i++) {
        double x;
        if (rlx_format_is_float(f))
            x = random_float(state, strncmp(name, "odd", 3) == 0);
        else if (f == RLX_BOOL)
            x = (double)(next_random(state) & 1);
        else if (is_code(name))
            x = random_code(name, f, state);
        else if (strncmp(name, "id", 2) == 0)
            x = (double)(next_random(state) % 3);
        else
            x = (double)(next_random(state) % 201) - (f == RLX_U8 ? 0 : 100);
        rlx_format_store(f, data, i, x);
    }
}

void memory_create(memory *m, const subject *s, const rlx_ir_func *kernel, uint64_t seed)
{
    const rlx_ir_block *body = kernel->body;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_int_le(body->nargs, SUBJECT_MAX_BUFFERS);
    m->n = body->nargs;
    for (int i = 0; i < m->n; i++) {
        const rlx_ir_type *t = &body->args[i]->type;
        int64_t elems = 1;
        for (int k = 0; k < t->rank; k++)
            elems *= rlx_dim_eval(s->dims, t->dim[k], s->symbols);
        size_t bytes = rlx_format_bytes(t->format, elems);
        size_t total = (CANARY_BYTES + bytes + page - 1) / page * page;
        uint8_t *map =
            mmap(NULL, total + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert(map != MAP_FAILED);
        mprotect(map + total, page, PROT_NONE);
        memset(map, CANARY, total - bytes);
        m->buffer[i].map = map;
        m->buffer[i].map_bytes = total + page;
        m->buffer[i].data = map + total - bytes;
        m->buffer[i].bytes = bytes;
        fill(body->args[i], m->buffer[i].data, elems, &seed);
    }
}

void memory_destroy(memory *m)
{
    for (int i = 0; i < m->n; i++)
        munmap(m->buffer[i].map, m->buffer[i].map_bytes);
    m->n = 0;
}

bool memory_canaries_hold(const memory *m)
{
    for (int i = 0; i < m->n; i++)
        for (const uint8_t *p = m->buffer[i].map; p < m->buffer[i].data; p++)
            if (*p != CANARY)
                return false;
    return true;
}

static bool both_nan(rlx_format f, const uint8_t *a, const uint8_t *b, int64_t index)
{
    return rlx_format_is_float(f) && isnan(rlx_format_load(f, a, index)) &&
           isnan(rlx_format_load(f, b, index));
}

int memory_compare(const memory *a, const memory *b, const rlx_ir_func *kernel, size_t *at)
{
    for (int i = 0; i < a->n; i++) {
        rlx_format f = kernel->body->args[i]->type.format;
        size_t size = (size_t)rlx_format_get(f)->block_bytes;
        const uint8_t *x = a->buffer[i].data, *y = b->buffer[i].data;
        for (size_t k = 0; k < a->buffer[i].bytes; k += size) {
            if (memcmp(x + k, y + k, size) == 0 || both_nan(f, x, y, (int64_t)(k / size)))
                continue;
            *at = k / size;
            return i;
        }
    }
    return -1;
}

/* ---- code ---- */

static rlx_status load(const rlx_ir_func *kernel, const rlx_jit_target *t,
                       const rlx_elf_object *objects, int n, loaded *out)
{
    RLX_TRY(rlx_elf_image_create(objects, (size_t)n, &out->image));
    *(void **)&out->run = rlx_elf_image_get(out->image, 0);
    out->team_bytes = rlx_jit_team_bytes(kernel);
    out->invocations = t->team > 1 ? t->team : 1;
    out->subgroup = t->subgroup;
    out->parts = n - 1;
    out->nbuffers = kernel->body->nargs;
    out->nmaps = rlx_jit_copies_boxes(t) ? rlx_jit_maps(kernel, out->maps) : 0;
    return RLX_OK;
}

rlx_status loaded_create(const rlx_ir_func *kernel, const rlx_jit_target *t, loaded *out)
{
    rlx_jit_objects emitted;
    rlx_elf_object objects[RLX_JIT_MAX_OBJECTS];
    RLX_TRY(rlx_jit_emit_objects(kernel, t, &emitted));
    for (int i = 0; i < emitted.n; i++)
        objects[i] = (rlx_elf_object){.name = emitted.object[i].name,
                                      .data = (const uint8_t *)emitted.object[i].code.data,
                                      .bytes = emitted.object[i].code.len};
    rlx_status st = load(kernel, t, objects, emitted.n, out);
    rlx_jit_objects_deinit(&emitted);
    return st;
}

rlx_status loaded_create_uncut(const rlx_ir_func *kernel, const rlx_jit_target *t, loaded *out)
{
    uint8_t *code;
    size_t bytes;
    RLX_TRY(rlx_jit_emit_kernel(kernel, t, &code, &bytes));
    const rlx_elf_object object = {.name = kernel->name, .data = code, .bytes = bytes};
    rlx_status st = load(kernel, t, &object, 1, out);
    free(code);
    return st;
}

void loaded_destroy(loaded *l)
{
    rlx_elf_image_destroy(l->image);
}

/* A team's invocations are coroutines, which take turns in one thread. Their stacks are made once, whoever uses them, and a switch between
 * two is a few instructions of the processor that the code is for: most of what a team does here is waiting for each other. */
enum { STACK_BYTES = 256 << 10, HOST_TEAM_BYTES = 64 << 10, MAX_INVOCATIONS = 1024 };

/* What all of them run. */
typedef struct team_run {
    const loaded *code;
    void *const *buffers;
    const int64_t *symbols;
    int64_t team, teams;
} team_run;

typedef struct coroutine {
    rlx_host_invocation self; /* first: a barrier gets its address */
    void *here;               /* where it goes on */
    int barriers, meetings;
    bool done;
    uint32_t takes;
    int32_t offered[2]; /* to its subgroup: the next is put while others read the last one */
    const void *shown;
} coroutine;

static _Thread_local struct scheduler {
    coroutine each[MAX_INVOCATIONS];
    coroutine *running;
    void *here;
    const team_run *run;
} scheduler;

/* Leaves *from, with what calls keep, for `to`, which was left so. */
#ifndef __x86_64__
#error "what calls keep, and how a stack begins, is written down for x86-64 alone"
#endif
__attribute__((visibility("hidden"))) void subject_switch(void **from, void *to);
__asm__(".text\n"
        ".globl subject_switch\n" /* also where this file becomes several objects (LTO) */
        ".hidden subject_switch\n"
        ".type subject_switch, @function\n"
        "subject_switch:\n"
        "    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "    ret\n"
        ".size subject_switch, . - subject_switch\n");

/* Until it comes to a barrier, or its end. */
static void resume(coroutine *c)
{
    scheduler.running = c;
    subject_switch(&scheduler.here, c->here);
}

static void suspend(coroutine *c)
{
    subject_switch(&c->here, scheduler.here);
}

static void at_barrier(rlx_host_invocation *self)
{
    coroutine *c = (coroutine *)self;
    c->barriers++;
    suspend(c);
}

static int32_t take_from(rlx_host_invocation *self, int32_t x, int32_t from)
{
    coroutine *c = (coroutine *)self;
    const int lanes = scheduler.run->code->subgroup;
    ck_assert_msg(lanes > 0 && from >= 0 && from / lanes == self->thread / lanes,
                  "invocation %d takes from %d", self->thread, from);
    const uint32_t i = c->takes++ & 1;
    c->offered[i] = x;
    at_barrier(self);
    return scheduler.each[from].offered[i];
}

int subject_gather(const void *own, size_t bytes, void *all)
{
    coroutine *c = scheduler.running;
    const int lanes = scheduler.run->code->subgroup, lane = c->self.thread % lanes;
    ck_assert_int_gt(lanes, 0);
    c->shown = own;
    at_barrier(&c->self);
    for (int i = 0; i < lanes; i++)
        memcpy((uint8_t *)all + (size_t)i * bytes, c[i - lane].shown, bytes);
    at_barrier(&c->self);
    return lane;
}

void *subject_team_memory(void)
{
    return scheduler.running->self.team_memory;
}

int subject_invocation(void)
{
    return scheduler.running->self.thread;
}

int subject_invocations(void)
{
    return scheduler.run->code->invocations;
}

int subject_barriers(void)
{
    return scheduler.running->barriers - scheduler.running->meetings;
}

void subject_meet(void)
{
    scheduler.running->meetings++;
    at_barrier(&scheduler.running->self);
}

static void run_coroutine(void)
{
    coroutine *c = scheduler.running;
    const team_run *r = scheduler.run;
    r->code->run(r->buffers, r->symbols, r->team, r->teams, &c->self);
    c->done = true;
    suspend(c);
}

/* All invocations up to their next barrier, until all are done. */
static bool schedule(int n, char wrong[LOADED_WRONG])
{
    coroutine *c = scheduler.each;
    for (int round = 1; !c[0].done; round++) {
        for (int i = 0; i < n; i++)
            resume(&c[round & 1 ? i : n - 1 - i]);
        for (int i = 1; i < n; i++)
            if (c[i].done != c[0].done || c[i].barriers != c[0].barriers) {
                snprintf(wrong, LOADED_WRONG, "invocations 0 and %d part at barrier %d", i,
                         c[0].barriers);
                return false;
            }
    }
    return true;
}

/* Stacks of a thread's invocations, linked so that leak checkers, who may not see what is a thread's own, find them. */
typedef struct stacks {
    void *of[MAX_INVOCATIONS];
    struct stacks *next;
} stacks;
static _Atomic(stacks *) all_stacks;
static _Thread_local stacks *own_stacks;

static void *stack_of(int invocation)
{
    if (!own_stacks) {
        own_stacks = calloc(1, sizeof *own_stacks);
        ck_assert_ptr_nonnull(own_stacks);
        own_stacks->next = atomic_load(&all_stacks);
        while (!atomic_compare_exchange_weak(&all_stacks, &own_stacks->next, own_stacks))
            ;
    }
    void **stack = &own_stacks->of[invocation];
    *stack = *stack ? *stack : aligned_alloc(64, STACK_BYTES);
    ck_assert_ptr_nonnull(*stack);
    return *stack;
}

static void free_stacks(void)
{
    for (int i = 0; i < MAX_INVOCATIONS; i++) {
        free(own_stacks->of[i]);
        own_stacks->of[i] = NULL;
    }
}

/* As if it had been left where it begins. */
static void begin_coroutine(coroutine *c, void *stack)
{
    enum { KEPT = 6, WORDS = STACK_BYTES / sizeof(void *) };
    void **top = (void **)stack + WORDS - 1; /* as a call leaves it: 8 below a multiple of 16 */
    *--top = (void *)(uintptr_t)run_coroutine;
    for (int i = 0; i < KEPT; i++)
        *--top = NULL;
    c->here = top;
}

bool loaded_run_team(const loaded *l, void *const *buffers, const int64_t *symbols, int team,
                     int teams, const loaded_meeting *m, char wrong[LOADED_WRONG])
{
    static _Thread_local _Alignas(64) uint8_t shared[HOST_TEAM_BYTES];
    const team_run run = {l, buffers, symbols, team, teams};
    const int n = l->invocations;
    ck_assert_int_le(n, MAX_INVOCATIONS);
    memset(shared, 0xC3, sizeof shared);
    for (int i = 0; i < n; i++) {
        coroutine *c = &scheduler.each[i];
        begin_coroutine(c, stack_of(i));
        c->self = (rlx_host_invocation){.thread = i,
                                        .team_memory = shared,
                                        .barrier = at_barrier,
                                        .take = take_from,
                                        .arrive = m ? m->arrive : NULL,
                                        .look = m ? m->look : NULL};
        c->barriers = c->meetings = 0;
        c->takes = 0;
        c->done = false;
    }
    scheduler.run = &run;
    emulated_tensor_begin();
    const bool well = schedule(n, wrong);
    if (m) /* in a thread that ends */
        free_stacks();
    return well;
}

static void run_team(const loaded *l, void *const *buffers, const int64_t *symbols, int team,
                     int teams)
{
    size_t bytes = (size_t)l->team_bytes + 64; /* aligned_alloc wants a multiple, and not 0 */
    void *scratch = aligned_alloc(64, bytes);
    ck_assert_ptr_nonnull(scratch);
    memset(scratch, 0xC3, bytes);
    l->run(buffers, symbols, team, teams, scratch);
    free(scratch);
}

/* As a driver makes one of a buffer, all of whose rows are there. */
static emulated_map encode_map(const rlx_program_map *m, void *at)
{
    const uint32_t row = m->box_columns * m->bytes;
    return (emulated_map){.magic = EMULATED_MAP,
                          .at = at,
                          .rows = m->rows ? m->rows : INT32_MAX,
                          .columns = m->columns,
                          .stride = m->columns * m->bytes,
                          .bytes = m->bytes,
                          .box_rows = m->box_rows,
                          .box_columns = m->box_columns,
                          .swizzle = row == 128  ? 3
                                     : row == 64 ? 2
                                                 : 1};
}

void loaded_run_on(const loaded *l, void *const *given, const int64_t *symbols, int teams)
{
    char wrong[LOADED_WRONG];
    emulated_map maps[RLX_PROGRAM_MAPS];
    void *all[SUBJECT_MAX_BUFFERS + 1 + RLX_PROGRAM_MAPS], *const *buffers = l->nmaps ? all : given;
    for (int i = 0; i < l->nmaps; i++) {
        memcpy(all, given, sizeof *all * (size_t)l->nbuffers);
        all[l->nbuffers] = NULL;
        maps[i] = encode_map(&l->maps[i], given[l->maps[i].buffer]);
        all[l->nbuffers + 1 + i] = &maps[i];
    }
    for (int team = teams - 1; team >= 0; team--) {
        if (l->invocations > 1)
            ck_assert_msg(loaded_run_team(l, buffers, symbols, team, teams, NULL, wrong), "%s",
                          wrong);
        else
            run_team(l, buffers, symbols, team, teams);
    }
}

void loaded_run(const loaded *l, const memory *m, const int64_t *symbols, int teams)
{
    void *buffers[SUBJECT_MAX_BUFFERS];
    for (int i = 0; i < m->n; i++)
        buffers[i] = m->buffer[i].data;
    loaded_run_on(l, buffers, symbols, teams);
}

static void must(rlx_status st, const char *what, const rlx_ir_func *kernel)
{
    if (!st)
        return;
    static char text[4096];
    char *story = rlx_status_text(st);
    snprintf(text, sizeof text, "%s @%s: %s", what, kernel->name, story);
    free(story);
    rlx_status_free(st);
    ck_abort_msg("%s", text);
}

static void evaluate(const subject *s, const rlx_ir_func *kernel, memory *m)
{
    rlx_lir_buffer buffers[SUBJECT_MAX_BUFFERS];
    for (int i = 0; i < m->n; i++)
        buffers[i] = (rlx_lir_buffer){.data = m->buffer[i].data, .bytes = m->buffer[i].bytes};
    rlx_lir_eval_options options = {.teams = 2, .seed = 1};
    must(rlx_lir_eval_kernel(kernel, buffers, m->n, s->symbols, &options), "interpreting", kernel);
}

void subject_check(const subject *s, const rlx_ir_func *kernel, const rlx_jit_target *t,
                   uint64_t seed)
{
    memory want, got;
    loaded code = {0};
    memory_create(&want, s, kernel, seed);
    evaluate(s, kernel, &want);
    must(loaded_create(kernel, t, &code), "compiling", kernel);
    for (int teams = 1; teams <= 3; teams += 2) {
        memory_create(&got, s, kernel, seed);
        loaded_run(&code, &got, s->symbols, teams);
        size_t at = 0;
        int buffer = memory_compare(&want, &got, kernel, &at);
        if (buffer >= 0) {
            rlx_format f = kernel->body->args[buffer]->type.format;
            ck_abort_msg("@%s on %s, %d teams, seed %llu: buffer %%%s element %zu is %.9g, the "
                         "interpreter says %.9g",
                         kernel->name, target_name(t), teams, (unsigned long long)seed,
                         kernel->body->args[buffer]->name, at,
                         rlx_format_load(f, got.buffer[buffer].data, (int64_t)at),
                         rlx_format_load(f, want.buffer[buffer].data, (int64_t)at));
        }
        ck_assert_msg(memory_canaries_hold(&got), "@%s on %s wrote before a buffer", kernel->name,
                      target_name(t));
        memory_destroy(&got);
    }
    loaded_destroy(&code);
    memory_destroy(&want);
}

void subject_check_all(const subject *s, const rlx_jit_target *t, uint64_t seed)
{
    for (const rlx_ir_func *k = s->module->first; k; k = k->next)
        if (k->is_kernel)
            subject_check(s, k, t, seed);
}

void subject_assemble_aarch64(const subject *s)
{
    static const char *const processors[] = {"generic", "neoverse-v1"};
    for (const rlx_ir_func *k = s->module->first; k; k = k->next) {
        for (int i = 0; i < 2 && k->is_kernel; i++) {
            rlx_jit_target t = {.kind = RLX_JIT_AARCH64, .processor = processors[i]};
            uint8_t *code;
            size_t bytes;
            must(rlx_jit_emit_kernel(k, &t, &code, &bytes), "assembling for AArch64", k);
            ck_assert_msg(bytes > sizeof(Elf64_Ehdr) &&
                              ((const Elf64_Ehdr *)(void *)code)->e_machine == EM_AARCH64,
                          "@%s is no object for AArch64", k->name);
            free(code);
        }
    }
}

/* ---- targets ---- */

static const char *const levels[] = {"x86-64-v3", "x86-64-v4"};

int cpu_targets(rlx_jit_target out[2])
{
    int n = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t features = 0;
        rlx_status st = rlx_cpu_parse(levels[i], true, &features);
        if (!st)
            out[n++] = (rlx_jit_target){.kind = RLX_JIT_CPU, .features = features};
        rlx_status_free(st);
    }
    return n;
}

rlx_jit_target host_team_target(int invocations)
{
    rlx_jit_target t = {.kind = RLX_JIT_CPU, .team = invocations};
    rlx_status_free(rlx_cpu_parse(levels[0], false, &t.features));
    return t;
}

rlx_jit_target host_subgroup_target(int invocations, int lanes)
{
    rlx_jit_target t = host_team_target(invocations);
    t.subgroup = lanes;
    return t;
}

const char *target_name(const rlx_jit_target *t)
{
    if (t->kind != RLX_JIT_CPU)
        return t->processor;
    if (t->team > 1)
        return t->subgroup ? "a host team with subgroups" : "a host team";
    return levels[t->features >> RLX_CPU_AVX512F & 1];
}

int subject_count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

/* ---- modules as texts, for all sorts of CPUs ---- */

static const char *const others[SUBJECT_CPUS] = {
    "x86-64-v4", "x86-64-v4+avx512vnni", "x86-64-v3+avxvnni", "x86-64-v4+avx512vnni+avx512bf16"};

rlx_jit_target cpu_named(const char *name)
{
    rlx_jit_target t = {.kind = RLX_JIT_CPU};
    EXPECT_OK(rlx_cpu_parse(name, false, &t.features));
    return t;
}

void subject_check_elsewhere(const subject *s, const char *const *cpus, int n, uint64_t seed)
{
    int i = 0;
    for (const rlx_ir_func *k = s->module->first; k; k = k->next, i++) {
        rlx_jit_target t = cpu_named(cpus[i % n]), emulated = emulated_target(cpus[i % n]);
        loaded code = {0};
        EXPECT_OK(loaded_create(k, &t, &code)); /* its relocations are such as the loader knows */
        loaded_destroy(&code);
        if (i / n % 2 == 0 || n == 1)
            subject_check(s, k, &emulated, seed);
    }
}

void subject_check_text(rlx_text *t, const char *bindings, uint64_t seed)
{
    subject s;
    rlx_jit_target targets[2];
    rlx_text_put(t, "}\n");
    ck_assert(!t->oom);
    EXPECT_OK(subject_parse(&s, "text", t->data));
    ck_assert(subject_bind(&s, bindings));
    for (int i = cpu_targets(targets) - 1; i >= 0; i--)
        subject_check_all(&s, &targets[i], seed);
    for (int i = 0; i < SUBJECT_CPUS; i++) { /* those that this machine has */
        rlx_jit_target other = cpu_named(others[i]);
        if ((other.features & ~rlx_cpu_host()->features) == 0)
            subject_check_all(&s, &other, seed);
    }
    subject_check_elsewhere(&s, others, SUBJECT_CPUS, seed);
    subject_assemble_aarch64(&s);
    subject_destroy(&s);
    rlx_text_deinit(t);
}
