#include "jit/step.h"

#include <string.h>

#include "jit/matrix_units.h"
#include "jit/module.h"

static const char *const names[] = {
    [RLX_JIT_STEP_GRAPH] = "graph", [RLX_JIT_STEP_KERNEL] = "kernel", [RLX_JIT_STEP_AUTO] = "auto"};
enum { NNAMES = sizeof names / sizeof *names };

const char *rlx_jit_step_name(rlx_jit_step s)
{
    return names[s];
}

rlx_status rlx_jit_step_parse(rlx_jit_kind kind, const char *word, rlx_jit_step *out)
{
    static const char key[] = "step=";
    int i = 0;
    if (strncmp(word, key, sizeof key - 1) != 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\": expected step=graph, kernel or auto", word);
    while (i < NNAMES && strcmp(word + sizeof key - 1, names[i]) != 0)
        i++;
    if (i == NNAMES)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\": expected step=graph, kernel or auto", word);
    if (i != RLX_JIT_STEP_GRAPH && kind != RLX_JIT_NVPTX)
        return RLX_FAIL(RLX_UNSUPPORTED, "\"%s\": steps in one launch are made for NVIDIA GPUs",
                        word);
    *out = (rlx_jit_step)i;
    return RLX_OK;
}

/* ---- what a step is ---- */

static void count_func(const rlx_program *p, uint32_t func, double times, rlx_jit_step_numbers *out)
{
    const rlx_program_func *f = &p->funcs[func];
    for (uint32_t i = f->first_op; i < f->first_op + f->nops; i++) {
        const rlx_program_op *op = &p->ops[i];
        if (op->kind == RLX_OP_CALL) {
            count_func(p, op->target, times * (double)op->count, out);
            continue;
        }
        const rlx_program_cost *c = &p->kernels[op->target].cost;
        out->launches += (int64_t)times;
        out->bytes += times * (double)c->bytes[1];
        out->operations += times * (double)c->operations[1];
    }
}

void rlx_jit_step_count(const rlx_program *p, rlx_jit_step_numbers *out)
{
    *out = (rlx_jit_step_numbers){0};
    if (p->nfuncs)
        count_func(p, p->nfuncs - 1, 1, out);
}

/* What memory of 3 TB/s moves, and arithmetic of 30 TFLOP/s does, in the 2 microseconds between two launches of a graph. To be
 * measured: bench/results/PENDING.md. */
enum { BYTES = 6000000, OPERATIONS = 60000000 };

bool rlx_jit_step_is_wanted(const rlx_program *p, rlx_jit_step s)
{
    rlx_jit_step_numbers n;
    if (s != RLX_JIT_STEP_AUTO)
        return s == RLX_JIT_STEP_KERNEL;
    rlx_jit_step_count(p, &n);
    return n.bytes / BYTES + n.operations / OPERATIONS <= (double)n.launches;
}

void rlx_jit_step_settle(rlx_jit_target *t)
{
    if (t->step == RLX_JIT_STEP_AUTO && (rlx_jit_matrix_unit(t) || rlx_jit_float_unit(t)))
        t->step = RLX_JIT_STEP_GRAPH;
}

rlx_status rlx_jit_step_choose(const rlx_ir_module *m, const rlx_jit_options *o, rlx_jit_step *s)
{
    rlx_jit_tape tape;
    rlx_arena *arena = rlx_arena_create();
    if (!arena)
        return RLX_OOM();
    rlx_status st = rlx_jit_tape_build(m, o, arena, &tape);
    if (!st)
        *s = rlx_jit_step_is_wanted(&tape.program, *s) ? RLX_JIT_STEP_KERNEL : RLX_JIT_STEP_GRAPH;
    rlx_arena_destroy(arena);
    return st;
}

/* ---- code ---- */

rlx_status rlx_jit_emit_step(const rlx_ir_func *const *kernels, int n, const rlx_jit_target *t,
                             uint8_t **code, size_t *bytes)
{
    const rlx_llvm_module *m;
    rlx_llvm *worker = NULL;
    rlx_text out = {0};
    RLX_TRY(rlx_jit_module_open(&m));
    RLX_TRY(rlx_jit_worker_create(m, t, &worker));
    rlx_status st = rlx_jit_adopt_status(m->emit_step(worker, kernels, n, RLX_LLVM_CODE, &out));
    m->destroy(worker);
    if (st) {
        rlx_text_deinit(&out);
        return st;
    }
    *bytes = out.len;
    *code = (uint8_t *)rlx_text_take(&out);
    return RLX_OK;
}
