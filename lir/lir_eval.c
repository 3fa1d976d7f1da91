/* lir/lir_eval.c: runs kernels on the host: the meaning of the language.
 *
 *   for every team: once blocks, then its contiguous part of every grid, instance by instance
 *
 * What the text promises is checked while it runs: accesses lie inside live shapes
 * (lir/ops/access.c), instances are independent, barriers stand where they must (lir_eval_check.c).
 */
#include "lir/lir_eval.h"

#include <inttypes.h>
#include <stdio.h>

rlx_status rlx_lir_eval_fail(const rlx_lir_eval *e, const rlx_lir_instr *i, const char *file,
                             int line, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *what = rlx_arena_alloc(e->arena, (size_t)len + 1);
    if (what)
        vsnprintf(what, (size_t)len + 1, fmt, again);
    va_end(again);
    rlx_text node = {0};
    rlx_ir_print_node(e->kernel->module, i->node, &node);
    rlx_status st = rlx_status_make(
        RLX_INVALID_IR, file, line, "kernel @%s, team %d, %s: %s: `%s`", e->kernel->name, e->team,
        rlx_lir_eval_instance_text(e, e->instance), what ? what : fmt, node.data ? node.data : "?");
    rlx_text_deinit(&node);
    return st;
}

rlx_status rlx_lir_eval_code(rlx_lir_eval *e, const rlx_lir_code *code)
{
    for (int k = 0; k < code->ninstrs; k++)
        RLX_TRY(code->instrs[k].eval(e, &code->instrs[k]));
    return RLX_OK;
}

/* Numbers the instances of every grid. Extents depend on nothing that a team does: top-level
 * integer maps are run for it. */
static rlx_status number_grids(rlx_lir_eval *e)
{
    uint64_t next = RLX_LIR_FIRST_INSTANCE;
    for (int k = 0; k < e->code->ninstrs; k++) {
        const rlx_lir_instr *i = &e->code->instrs[k];
        if (i->node->op == RLX_LIR_MAP)
            RLX_TRY(i->eval(e, i));
        if (i->node->op != RLX_LIR_GRID)
            continue;
        rlx_lir_grid_range *r = &e->grids[e->ngrids++];
        *r = (rlx_lir_grid_range){.grid = i, .first = (uint32_t)next, .count = 1};
        for (int a = 0; a < i->nin; a++) {
            int64_t extent = rlx_lir_index(i->in[a]);
            if (extent < 0)
                return RLX_LIR_EVAL_FAIL(e, i, "extent %d is %" PRId64, a, extent);
            r->extent[a] = extent;
            if (__builtin_mul_overflow(r->count, extent, &r->count) || r->count > INT32_MAX)
                return RLX_LIR_EVAL_FAIL(e, i, "more than %d instances", INT32_MAX);
        }
        next += (uint64_t)r->count;
        if (next >= (uint32_t)RLX_LIR_BY_MANY)
            return RLX_LIR_EVAL_FAIL(e, i, "more instances than can be numbered");
    }
    return RLX_OK;
}

static rlx_status run_team(rlx_lir_eval *e, int team)
{
    e->team = team;
    e->instance = RLX_LIR_BY_ONCE;
    rlx_lir_pass_barrier(e);
    rlx_lir_shadow_begin_team(e);
    return rlx_lir_eval_code(e, e->code);
}

static rlx_status run(rlx_lir_eval *e, const rlx_lir_buffer *buffers, int nbuffers)
{
    int teams = e->options->teams ? e->options->teams : 1, part = e->options->part;
    if (teams < 1 || part < 0 || part > teams)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "part %d of %d teams", part, teams);
    RLX_TRY(rlx_lir_registers_create(e));
    RLX_TRY(rlx_lir_eval_prepare(e, buffers, nbuffers));
    RLX_TRY(number_grids(e));
    RLX_TRY(rlx_lir_shadow_create(e));
    if (part)
        return run_team(e, part - 1);
    for (int t = 0; t < teams; t++)
        RLX_TRY(run_team(e, t));
    return RLX_OK;
}

rlx_status rlx_lir_eval_kernel(const rlx_ir_func *kernel, const rlx_lir_buffer *buffers,
                               int nbuffers, const int64_t *symbols,
                               const rlx_lir_eval_options *options)
{
    static const rlx_lir_eval_options defaults = {0};
    if (!kernel->is_kernel)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "@%s is a tape function, not a kernel", kernel->name);
    rlx_arena *arena = rlx_arena_create();
    if (!arena)
        return RLX_OOM();
    rlx_lir_eval e = {.arena = arena,
                      .kernel = kernel,
                      .symbols = symbols,
                      .options = options ? options : &defaults};
    e.random = e.options->seed;
    e.groups.open = 1;
#if defined(__x86_64__)
    e.has_fma = __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2");
#endif
    rlx_status st = run(&e, buffers, nbuffers);
    rlx_lir_shadow_destroy(&e);
    rlx_arena_destroy(arena);
    return st;
}
