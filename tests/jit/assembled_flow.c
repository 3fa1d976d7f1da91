#include "tests/jit/assembled_flow.h"

#include <stdio.h>
#include <stdlib.h>

#include "frontend/compile.h"
#include "frontend/context.h"
#include "tests/jit/ptxas.h"

static rlx_status assemble(const rlx_ir_func *k, const rlx_jit_target *t, int *spilling)
{
    uint8_t *ptx;
    size_t bytes;
    RLX_TRY(rlx_jit_emit_kernel(k, t, &ptx, &bytes));
    if (have_ptxas() && is_new_code(ptx, bytes)) {
        const ptxas_report r = ptxas_assemble(k->name, (char *)ptx, bytes, t->processor);
        if (r.spills)
            printf("@%s for %s takes %d registers and spills %d bytes\n", k->name, t->processor,
                   r.registers, r.spills);
        *spilling += r.spills > 0;
    }
    free(ptx);
    return RLX_OK;
}

static rlx_status assemble_all(const rlx_compilation *c, int *kernels, int *spilling)
{
    for (const rlx_ir_func *k = c->lir->first; k; k = k->next)
        if (k->is_kernel) {
            RLX_TRY(assemble(k, &c->target, spilling));
            ++*kernels;
        }
    return RLX_OK;
}

rlx_status assemble_flow(const rlx_flow *f, const rlx_weights *w,
                         const rlx_compile_options *options, const char *processor, int *kernels,
                         int *spilling)
{
    static const rlx_precision precisions[] = {RLX_EXACT, RLX_FAST};
    const rlx_jit_target target = {.kind = RLX_JIT_NVPTX, .processor = processor};
    rlx_context *cx;
    rlx_status st = rlx_context_create(&(rlx_context_options){.threads = 1, .no_cache = true}, &cx);
    for (int i = 0; i < 2 && !st; i++) {
        rlx_compile_options o = options ? *options : (rlx_compile_options){0};
        rlx_compilation c = {0};
        o.precision = precisions[i];
        st = rlx_compilation_run_for(&c, cx, &target, f, w, &o, RLX_LEVEL_LIR);
        if (!st)
            st = assemble_all(&c, kernels, spilling);
        rlx_compilation_deinit(&c);
    }
    rlx_context_destroy(cx);
    return st;
}
