#include "jit/jit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "jit/kernel_info.h"
#include "jit/matrix_units.h"
#include "jit/module.h"
#include "jit/parts.h"
#include "jit/shared.h"
#include "jit/step.h"
#include "jit/tape.h"
#include "runtime/base/clock.h"
#include "runtime/cpu.h"

/* Kernels are compiled by threads that take the next one, longest first, so that the last to finish
 * is a short one. Each thread has its own LLVM context and target machine. Kernels that another
 * program wants at the same time are compiled by one of the two (shared.h). Parts that kernels call are compiled by
 * whoever comes to the first such kernel, right behind it. A step of all kernels is a part that nobody calls, and is begun first. SPIR-V
 * takes no LLVM and so little time that it is made alone. */

typedef struct job {
    const rlx_ir_func *kernel; /* NULL: the step */
    int64_t cost;
    uint32_t index; /* of the kernel in the program */
    bool elsewhere; /* another program's thread is compiling it */
    bool copied;    /* from another program */
    rlx_text code;  /* rlx_jit_put_kernel */
} job;

typedef struct pool {
    const rlx_llvm_module *module; /* NULL for SPIR-V */
    const rlx_jit_target *target;
    rlx_text common; /* all that code depends on beside its kernel */
    const rlx_jit_tape *tape;
    job *jobs;
    uint32_t njobs;
    rlx_jit_parts parts;
    atomic_uint next;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows */
    rlx_status status;    /* the first error */
    double cpu_seconds;
} pool;

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* LLVM ends the process when it gets no memory, so it is begun only where there is room: for its
 * library and its threads' heaps (64 MB of addresses each), then for a kernel, and for each that a step keeps beside it
 * (0.2 to 0.4 MB of a small model's). */
enum { ROOM_TO_OPEN = 224 << 20, ROOM_FOR_KERNEL = 64 << 20, ROOM_IN_STEP = 1 << 20 };

static rlx_status check_room(size_t bytes)
{
    void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return RLX_FAIL(RLX_OUT_OF_MEMORY, "out of memory: compiling wants %zu MB to be free",
                        bytes >> 20);
    munmap(room, bytes);
    return RLX_OK;
}

static rlx_hash hash_key(const pool *p, const void *what, size_t bytes, const char *name)
{
    rlx_hasher h;
    rlx_hasher_init(&h);
    rlx_hasher_add(&h, p->common.data, p->common.len);
    rlx_hasher_add(&h, what, bytes);
    rlx_hasher_add(&h, name, strlen(name));
    return rlx_hasher_finish(&h);
}

static rlx_status make_key(const pool *p, const rlx_ir_func *kernel, rlx_hash *out)
{
    static const rlx_hash none; /* what a fingerprint is when memory is short */
    const rlx_hash text = rlx_ir_func_fingerprint(kernel);
    if (memcmp(&text, &none, sizeof text) == 0)
        return RLX_OOM();
    *out = hash_key(p, &text, sizeof text, kernel->name);
    return RLX_OK;
}

static rlx_status emit(pool *p, rlx_llvm *worker, const rlx_ir_func *kernel, rlx_llvm_parts *parts,
                       rlx_text *code)
{
    RLX_TRY(check_room(ROOM_FOR_KERNEL));
    return rlx_jit_worker_emit(p->module, worker, p->target, kernel, RLX_LLVM_CODE, parts, code);
}

static rlx_status emit_part(pool *p, rlx_llvm *worker, rlx_jit_part *part)
{
    RLX_TRY(check_room(ROOM_FOR_KERNEL));
    return rlx_jit_emit_part(p->module, worker, part->kernel, RLX_LLVM_CODE, part->index,
                             &part->name, &part->code);
}

static rlx_status emit_kernel(pool *p, rlx_llvm *worker, const rlx_ir_func *kernel, rlx_text *out)
{
    rlx_llvm_parts parts = {0};
    rlx_text code = {0};
    rlx_status st = p->target->kind == RLX_JIT_SPIRV ? rlx_jit_emit_spirv(kernel, p->target, &code)
                                                     : emit(p, worker, kernel, &parts, &code);
    if (!st)
        st = rlx_jit_put_kernel(out, &parts, &code);
    rlx_text_deinit(&code);
    return st;
}

/* wait, here and below: for whoever compiles it for another program. */
static rlx_status run_part(pool *p, rlx_llvm *worker, bool wait, rlx_jit_part *part)
{
    const rlx_hash key = hash_key(p, "part", 4, part->name.text);
    const rlx_jit_claim claim = rlx_jit_shared_claim(&key, wait, &part->code);
    part->elsewhere = claim == RLX_JIT_BUSY;
    if (claim != RLX_JIT_MINE)
        return part->code.oom ? RLX_OOM() : RLX_OK;
    rlx_status st = emit_part(p, worker, part);
    rlx_jit_shared_give(&key, st ? NULL : &part->code);
    return st;
}

/* What the kernel calls and nobody has begun. */
static rlx_status run_parts(pool *p, rlx_llvm *worker, bool wait, const job *j)
{
    rlx_llvm_parts parts;
    size_t bytes;
    rlx_jit_get_kernel(&j->code, &parts, &bytes);
    for (int i = 0; i < parts.n; i++) {
        rlx_jit_part *part;
        RLX_TRY(rlx_jit_parts_claim(&p->parts, &parts.name[i], j->kernel, i, &part));
        if (part)
            RLX_TRY(run_part(p, worker, wait, part));
    }
    return RLX_OK;
}

static rlx_status run_step(pool *p, rlx_llvm *worker)
{
    static const rlx_llvm_part_name name = {RLX_PROGRAM_STEP};
    rlx_jit_part *part;
    RLX_TRY(check_room(ROOM_FOR_KERNEL + (size_t)p->tape->program.nkernels * ROOM_IN_STEP));
    RLX_TRY(rlx_jit_parts_claim(&p->parts, &name, NULL, 0, &part));
    return rlx_jit_adopt_status(p->module->emit_step(
        worker, p->tape->kernels, (int)p->tape->program.nkernels, RLX_LLVM_CODE, &part->code));
}

static rlx_status run_job(pool *p, rlx_llvm *worker, bool wait, job *j)
{
    rlx_hash key;
    if (!j->kernel)
        return run_step(p, worker);
    if (p->target->kind == RLX_JIT_SPIRV)
        return emit_kernel(p, worker, j->kernel, &j->code);
    RLX_TRY(make_key(p, j->kernel, &key));
    const rlx_jit_claim claim = rlx_jit_shared_claim(&key, wait, &j->code);
    j->elsewhere = claim == RLX_JIT_BUSY;
    j->copied = claim == RLX_JIT_COPY;
    if (claim == RLX_JIT_BUSY)
        return RLX_OK;
    if (claim == RLX_JIT_MINE) {
        rlx_status st = emit_kernel(p, worker, j->kernel, &j->code);
        rlx_jit_shared_give(&key, st ? NULL : &j->code);
        RLX_TRY(st);
    }
    return j->code.oom ? RLX_OOM() : run_parts(p, worker, wait, j);
}

static rlx_status run_jobs(pool *p)
{
    rlx_llvm *worker = NULL;
    if (p->module)
        RLX_TRY(rlx_jit_worker_create(p->module, p->target, &worker));
    rlx_status st = RLX_OK;
    while (!st && !atomic_load(&p->failed)) {
        uint32_t i = atomic_fetch_add(&p->next, 1);
        if (i >= p->njobs)
            break;
        st = run_job(p, worker, false, &p->jobs[i]);
    }
    if (p->module)
        p->module->destroy(worker);
    return st;
}

static rlx_status wait_for_others(pool *p, rlx_llvm *worker)
{
    for (uint32_t i = 0; i < p->njobs; i++)
        if (p->jobs[i].elsewhere)
            RLX_TRY(run_job(p, worker, true, &p->jobs[i]));
    for (rlx_jit_part *part = p->parts.first; part; part = part->next)
        if (part->elsewhere)
            RLX_TRY(run_part(p, worker, true, part));
    return RLX_OK;
}

static bool is_elsewhere(const pool *p)
{
    bool any = false;
    for (uint32_t i = 0; i < p->njobs; i++)
        any |= p->jobs[i].elsewhere;
    for (const rlx_jit_part *part = p->parts.first; part; part = part->next)
        any |= part->elsewhere;
    return any;
}

/* What others were at when its turn came, once there is nothing else to do. */
static rlx_status run_others(pool *p)
{
    rlx_llvm *worker = NULL;
    if (!is_elsewhere(p))
        return RLX_OK;
    rlx_status st = rlx_jit_worker_create(p->module, p->target, &worker);
    if (!st)
        st = wait_for_others(p, worker);
    p->module->destroy(worker);
    return st;
}

static void *work(void *arg)
{
    pool *p = arg;
    double start = thread_seconds();
    rlx_status st = run_jobs(p);
    pthread_mutex_lock(&p->lock);
    p->cpu_seconds += thread_seconds() - start;
    if (st) {
        atomic_store(&p->failed, true);
        if (p->status)
            rlx_status_free(st);
        else
            p->status = st;
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int longest_first(const void *a, const void *b)
{
    const job *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost > y->cost ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static rlx_status make_jobs(const rlx_jit_tape *tape, rlx_arena *arena, pool *p)
{
    const uint32_t n = tape->program.nkernels;
    p->tape = tape;
    p->jobs = RLX_NEW_ARRAY(arena, job, n + 1);
    if (!p->jobs)
        return RLX_OOM();
    for (uint32_t i = 0; i < n; i++) {
        RLX_TRY(rlx_jit_check_budget(tape->kernels[i], p->target->kind));
        p->jobs[i] = (job){
            .kernel = tape->kernels[i], .cost = rlx_jit_kernel_cost(tape->kernels[i]), .index = i};
    }
    p->njobs = n;
    if (rlx_jit_step_is_wanted(&tape->program, p->target->step))
        p->jobs[p->njobs++] = (job){.cost = INT64_MAX, .index = n};
    qsort(p->jobs, p->njobs, sizeof *p->jobs, longest_first);
    return RLX_OK;
}

/* The calling thread works too; when no further threads can be had it works alone. */
static rlx_status run_pool(pool *p, int threads)
{
    if (threads <= 0)
        threads = rlx_cpu_host()->cores;
    if ((uint32_t)threads > p->njobs)
        threads = (int)p->njobs;
    pthread_t *thread = malloc(sizeof *thread * (size_t)(threads + 1));
    if (!thread)
        return RLX_OOM();
    int started = 0;
    while (started + 1 < threads && pthread_create(&thread[started], NULL, work, p) == 0)
        started++;
    work(p);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    return p->status ? p->status : run_others(p);
}

static void add_maps(rlx_jit_tape *tape)
{
    for (uint32_t i = 0; i < tape->program.nkernels; i++) {
        rlx_program_kernel *k = &tape->program.kernels[i];
        k->nmaps = (uint32_t)rlx_jit_maps(tape->kernels[i], k->maps);
    }
}

/* Everything that emitters of kernels read of the target, and where kernels find live extents. The step is nobody's but its
 * program's, unless kernels multiply by another unit for it. */
static rlx_status describe_common(pool *p, const rlx_ir_module *m)
{
    rlx_jit_target kernels = *p->target;
    kernels.step = RLX_JIT_STEP_GRAPH;
    if (rlx_jit_matrix_unit(&kernels) != rlx_jit_matrix_unit(p->target))
        kernels.step = p->target->step;
    RLX_TRY(rlx_jit_describe_code(&kernels, &p->common));
    rlx_text_putf(&p->common, "; %d %d %p", p->target->kind, p->target->team,
                  (const void *)p->target->emulation);
    for (int i = 0; i < rlx_dim_symbol_count(m->dims); i++)
        rlx_text_putf(&p->common, "; %s", rlx_dim_symbol_name(m->dims, i));
    return p->common.oom ? RLX_OOM() : RLX_OK;
}

static const rlx_code_kind code_kinds[] = {[RLX_JIT_CPU] = RLX_CODE_X86_64_ELF,
                                           [RLX_JIT_AARCH64] = RLX_CODE_AARCH64_ELF,
                                           [RLX_JIT_NVPTX] = RLX_CODE_PTX,
                                           [RLX_JIT_SPIRV] = RLX_CODE_SPIRV,
                                           [RLX_JIT_AMDGPU] = RLX_CODE_HSACO};

static int by_name(const void *a, const void *b)
{
    const rlx_program_kernel *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* In an order that no thread had a say in. */
static void collect_parts(const pool *p, rlx_program *program)
{
    rlx_program_kernel *parts = program->kernels + program->nkernels, *next = parts;
    for (const rlx_jit_part *part = p->parts.first; part; part = part->next)
        *next++ = (rlx_program_kernel){.name = part->name.text,
                                       .code = (const uint8_t *)part->code.data,
                                       .code_bytes = part->code.len,
                                       .cost.symbol = RLX_NO_SYMBOL};
    qsort(parts, program->nparts, sizeof *parts, by_name);
}

/* Kernels' code; behind them, the parts. */
static rlx_status collect_code(const pool *p, rlx_arena *arena, rlx_program *program,
                               rlx_jit_stats *stats)
{
    for (const rlx_jit_part *part = p->parts.first; part; part = part->next)
        program->nparts++;
    const uint32_t n = program->nkernels + program->nparts;
    rlx_program_kernel *all = RLX_NEW_ARRAY(arena, rlx_program_kernel, n + 1);
    if (!all)
        return RLX_OOM();
    memcpy(all, program->kernels, sizeof *all * program->nkernels);
    program->kernels = all;
    for (uint32_t i = 0; i < p->njobs; i++) {
        rlx_llvm_parts parts;
        rlx_program_kernel *k = &all[p->jobs[i].index];
        if (p->jobs[i].code.len)
            k->code = rlx_jit_get_kernel(&p->jobs[i].code, &parts, &k->code_bytes);
        stats->copied += p->jobs[i].copied;
    }
    collect_parts(p, program);
    for (uint32_t i = 0; i < n; i++)
        stats->code_bytes += (int64_t)all[i].code_bytes;
    return RLX_OK;
}

static rlx_status finish(rlx_jit_tape *tape, const rlx_jit_target *t, pool *p, rlx_arena *arena,
                         rlx_text *entry, rlx_jit_stats *stats)
{
    rlx_program *program = &tape->program;
    rlx_text target = {0};
    rlx_jit_target needed = *t;
    RLX_TRY(collect_code(p, arena, program, stats));
    needed.features = program->features = rlx_jit_needed_features(t);
    needed.step = RLX_JIT_STEP_GRAPH; /* of what runs it nothing */
    program->code_kind = code_kinds[t->kind];
    rlx_jit_describe(&needed, &target);
    program->target = target.data;
    rlx_status st = target.oom ? RLX_OOM() : rlx_program_encode(program, entry);
    rlx_text_deinit(&target);
    return st;
}

static rlx_status run_llvm_pool(pool *p, const rlx_ir_module *m, int threads)
{
    RLX_TRY(check_room(ROOM_TO_OPEN));
    RLX_TRY(rlx_jit_module_open(&p->module));
    RLX_TRY(describe_common(p, m));
    rlx_jit_sharer sharer;
    rlx_jit_shared_enter(&sharer);
    rlx_status st = run_pool(p, threads);
    rlx_jit_shared_leave(&sharer);
    return st;
}

static rlx_status compile(const rlx_ir_module *m, const rlx_jit_target *t, const rlx_jit_options *o,
                          rlx_arena *arena, pool *p, rlx_text *entry, rlx_jit_stats *stats)
{
    rlx_jit_tape tape;
    RLX_TRY(rlx_jit_tape_build(m, o, arena, &tape));
    if (rlx_jit_copies_boxes(t))
        add_maps(&tape);
    RLX_TRY(make_jobs(&tape, arena, p));
    stats->kernels = (int)tape.program.nkernels;
    stats->step = p->njobs > tape.program.nkernels;
    if (!o->no_code && t->kind == RLX_JIT_SPIRV)
        RLX_TRY(run_pool(p, o->threads));
    else if (!o->no_code)
        RLX_TRY(run_llvm_pool(p, m, o->threads));
    return finish(&tape, t, p, arena, entry, stats);
}

rlx_status rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                           const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats)
{
    if ((t->kind == RLX_JIT_CPU || t->kind == RLX_JIT_AARCH64) && t->team > 1)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "a CPU's team is one thread; teams of %d are for testing "
                        "kernels",
                        t->team);
    rlx_jit_stats ignored;
    stats = stats ? stats : &ignored;
    *stats = (rlx_jit_stats){0};
    double start = rlx_seconds();
    rlx_arena *arena = rlx_arena_create();
    if (!arena)
        return RLX_OOM();
    rlx_jit_target bounded = *t;
    bounded.upper = o->upper;
    pool p = {.target = &bounded};
    pthread_mutex_init(&p.lock, NULL);
    rlx_jit_parts_init(&p.parts);
    rlx_status st = compile(m, t, o, arena, &p, entry, stats);
    for (uint32_t i = 0; p.jobs && i < p.njobs; i++)
        rlx_text_deinit(&p.jobs[i].code);
    rlx_text_deinit(&p.common);
    rlx_jit_parts_deinit(&p.parts);
    pthread_mutex_destroy(&p.lock);
    rlx_arena_destroy(arena);
    stats->seconds = rlx_seconds() - start;
    stats->cpu_seconds = p.cpu_seconds;
    return st;
}
