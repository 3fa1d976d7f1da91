#include "jit/jit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "jit/kernel_info.h"
#include "jit/module.h"
#include "jit/shared.h"
#include "jit/tape.h"
#include "runtime/cpu.h"

/* Kernels are compiled by threads that take the next one, longest first, so that the last to finish
 * is a short one. Each thread has its own LLVM context and target machine. Kernels that another
 * program wants at the same time are compiled by one of the two (shared.h). SPIR-V takes no LLVM and so
 * little time that it is made alone. */

typedef struct job {
    const rlx_ir_func *kernel;
    int64_t cost;
    uint32_t index; /* of the kernel in the program */
    bool elsewhere; /* another program's thread is compiling it */
    bool copied;    /* from another program */
    rlx_text code;
} job;

typedef struct pool {
    const rlx_llvm_module *module; /* NULL for SPIR-V */
    const rlx_jit_target *target;
    rlx_text common; /* all that code depends on beside its kernel */
    job *jobs;
    uint32_t njobs;
    atomic_uint next;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows */
    rlx_status status;    /* the first error */
    double cpu_seconds;
} pool;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* LLVM ends the process when it gets no memory, so it is begun only where there is room: for its
 * library and its threads' heaps (64 MB of addresses each), then for a kernel. */
enum { ROOM_TO_OPEN = 224 << 20, ROOM_FOR_KERNEL = 64 << 20 };

static rlx_status check_room(size_t bytes)
{
    void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return RLX_FAIL(RLX_OUT_OF_MEMORY, "out of memory: compiling wants %zu MB to be free",
                        bytes >> 20);
    munmap(room, bytes);
    return RLX_OK;
}

static rlx_status make_key(const pool *p, const rlx_ir_func *kernel, rlx_hash *out)
{
    static const rlx_hash none; /* what a fingerprint is when memory is short */
    const rlx_hash text = rlx_ir_func_fingerprint(kernel);
    rlx_hasher h;
    if (memcmp(&text, &none, sizeof text) == 0)
        return RLX_OOM();
    rlx_hasher_init(&h);
    rlx_hasher_add(&h, p->common.data, p->common.len);
    rlx_hasher_add(&h, &text, sizeof text);
    rlx_hasher_add(&h, kernel->name, strlen(kernel->name));
    *out = rlx_hasher_finish(&h);
    return RLX_OK;
}

static rlx_status emit_job(pool *p, rlx_llvm *worker, job *j)
{
    RLX_TRY(check_room(ROOM_FOR_KERNEL));
    return rlx_jit_adopt_status(p->module->emit(worker, j->kernel, RLX_LLVM_CODE, &j->code));
}

/* wait: for whoever compiles it for another program. */
static rlx_status run_job(pool *p, rlx_llvm *worker, bool wait, job *j)
{
    rlx_hash key;
    if (p->target->kind == RLX_JIT_SPIRV)
        return rlx_jit_emit_spirv(j->kernel, p->target, &j->code);
    RLX_TRY(make_key(p, j->kernel, &key));
    const rlx_jit_claim claim = rlx_jit_shared_claim(&key, wait, &j->code);
    j->elsewhere = claim == RLX_JIT_BUSY;
    j->copied = claim == RLX_JIT_COPY;
    if (claim != RLX_JIT_MINE)
        return j->code.oom ? RLX_OOM() : RLX_OK;
    rlx_status st = emit_job(p, worker, j);
    rlx_jit_shared_give(&key, st ? NULL : &j->code);
    return st;
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

/* What others were at when its turn came, once there is nothing else to do. */
static rlx_status run_others(pool *p)
{
    rlx_llvm *worker = NULL;
    rlx_status st = RLX_OK;
    for (uint32_t i = 0; !st && i < p->njobs; i++) {
        if (p->jobs[i].elsewhere && !worker)
            st = rlx_jit_worker_create(p->module, p->target, &worker);
        if (p->jobs[i].elsewhere && !st)
            st = run_job(p, worker, true, &p->jobs[i]);
    }
    if (p->module)
        p->module->destroy(worker);
    return st;
}

static void *work(void *arg)
{
    pool *p = arg;
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    rlx_status st = run_jobs(p);
    pthread_mutex_lock(&p->lock);
    p->cpu_seconds += seconds(CLOCK_THREAD_CPUTIME_ID) - start;
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
    p->njobs = tape->program.nkernels;
    p->jobs = RLX_NEW_ARRAY(arena, job, p->njobs + 1);
    if (!p->jobs)
        return RLX_OOM();
    for (uint32_t i = 0; i < p->njobs; i++) {
        RLX_TRY(rlx_jit_check_budget(tape->kernels[i]));
        p->jobs[i] = (job){
            .kernel = tape->kernels[i], .cost = rlx_jit_kernel_cost(tape->kernels[i]), .index = i};
    }
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

/* Everything that emitters read of the target, and where kernels find live extents. */
static rlx_status describe_common(pool *p, const rlx_ir_module *m)
{
    RLX_TRY(rlx_jit_describe_code(p->target, &p->common));
    rlx_text_putf(&p->common, "; %d %d %p", p->target->kind, p->target->team,
                  (const void *)p->target->emulation);
    for (int i = 0; i < rlx_dim_symbol_count(m->dims); i++)
        rlx_text_putf(&p->common, "; %s", rlx_dim_symbol_name(m->dims, i));
    return p->common.oom ? RLX_OOM() : RLX_OK;
}

static rlx_code_kind code_kind(rlx_jit_kind kind)
{
    if (kind == RLX_JIT_NVPTX)
        return RLX_CODE_PTX;
    if (kind == RLX_JIT_SPIRV)
        return RLX_CODE_SPIRV;
    return kind == RLX_JIT_AARCH64 ? RLX_CODE_AARCH64_ELF : RLX_CODE_X86_64_ELF;
}

static rlx_status finish(rlx_jit_tape *tape, const rlx_jit_target *t, pool *p, rlx_text *entry,
                         rlx_jit_stats *stats)
{
    rlx_program *program = &tape->program;
    rlx_text target = {0};
    rlx_jit_target needed = *t;
    needed.features = program->features = rlx_jit_needed_features(t);
    program->code_kind = code_kind(t->kind);
    rlx_jit_describe(&needed, &target);
    program->target = target.data;
    for (uint32_t i = 0; i < p->njobs; i++) {
        rlx_program_kernel *k = &program->kernels[p->jobs[i].index];
        k->code = (const uint8_t *)p->jobs[i].code.data;
        k->code_bytes = p->jobs[i].code.len;
        stats->code_bytes += (int64_t)k->code_bytes;
        stats->copied += p->jobs[i].copied;
    }
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
    RLX_TRY(make_jobs(&tape, arena, p));
    stats->kernels = (int)p->njobs;
    if (!o->no_code && t->kind == RLX_JIT_SPIRV)
        RLX_TRY(run_pool(p, o->threads));
    else if (!o->no_code)
        RLX_TRY(run_llvm_pool(p, m, o->threads));
    return finish(&tape, t, p, entry, stats);
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
    double start = seconds(CLOCK_MONOTONIC);
    rlx_arena *arena = rlx_arena_create();
    if (!arena)
        return RLX_OOM();
    rlx_jit_target bounded = *t;
    bounded.upper = o->upper;
    pool p = {.target = &bounded};
    pthread_mutex_init(&p.lock, NULL);
    rlx_status st = compile(m, t, o, arena, &p, entry, stats);
    for (uint32_t i = 0; p.jobs && i < p.njobs; i++)
        rlx_text_deinit(&p.jobs[i].code);
    rlx_text_deinit(&p.common);
    pthread_mutex_destroy(&p.lock);
    rlx_arena_destroy(arena);
    stats->seconds = seconds(CLOCK_MONOTONIC) - start;
    stats->cpu_seconds = p.cpu_seconds;
    return st;
}
