#include "jit/objects.h"

#include <stdlib.h>

#include "jit/module.h"
#include "jit/parts.h"

typedef struct printer {
    const rlx_llvm_module *module;
    rlx_llvm *worker;
    rlx_jit_kind kind;
    rlx_llvm_form form;
    rlx_jit_parts parts; /* printed so far */
} printer;

/* And those of its parts that no kernel before it had. */
static rlx_status print_kernel(printer *p, const rlx_ir_func *kernel, rlx_text *out)
{
    rlx_llvm_parts parts;
    RLX_TRY(rlx_jit_check_budget(kernel, p->kind));
    RLX_TRY(rlx_jit_adopt_status(
        p->module->emit(p->worker, kernel, p->form, &parts, RLX_LLVM_KERNEL, out)));
    for (int i = 0; i < parts.n; i++) {
        rlx_jit_part *part;
        RLX_TRY(rlx_jit_parts_claim(&p->parts, &parts.name[i], kernel, i, &part));
        if (part)
            RLX_TRY(rlx_jit_emit_part(p->module, p->worker, kernel, p->form, i, &part->name, out));
    }
    return RLX_OK;
}

static rlx_status print_all(printer *p, const rlx_ir_module *m, rlx_text *out)
{
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        if (f->is_kernel)
            RLX_TRY_NOTE(print_kernel(p, f, out), "printing kernel @%s", f->name);
    return RLX_OK;
}

/* Kernels are numbered as they lie in the module; a program's tape may number them otherwise. */
static rlx_status print_step(printer *p, const rlx_ir_module *m, rlx_text *out)
{
    int n = 0;
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        n += f->is_kernel;
    const rlx_ir_func **kernels = malloc(sizeof *kernels * (size_t)(n + 1));
    if (!kernels)
        return RLX_OOM();
    n = 0;
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        if (f->is_kernel)
            kernels[n++] = f;
    rlx_status st = rlx_jit_adopt_status(p->module->emit_step(p->worker, kernels, n, p->form, out));
    free(kernels);
    return st;
}

static rlx_status print_spirv(const rlx_ir_module *m, const rlx_jit_target *t, rlx_jit_text what,
                              rlx_text *out)
{
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        if (f->is_kernel)
            RLX_TRY_NOTE(rlx_jit_print_kernel(f, t, what, out), "printing kernel @%s", f->name);
    return RLX_OK;
}

static rlx_status open_printer(printer *p, const rlx_jit_target *t, rlx_jit_text what)
{
    *p = (printer){.kind = t->kind, .form = what == RLX_JIT_LLVM ? RLX_LLVM_IR : RLX_LLVM_ASM};
    RLX_TRY(rlx_jit_module_open(&p->module));
    RLX_TRY(rlx_jit_worker_create(p->module, t, &p->worker));
    rlx_jit_parts_init(&p->parts);
    return RLX_OK;
}

static void close_printer(printer *p)
{
    rlx_jit_parts_deinit(&p->parts);
    p->module->destroy(p->worker);
}

rlx_status rlx_jit_print_module(const rlx_ir_module *m, const rlx_jit_target *t, rlx_jit_text what,
                                rlx_text *out)
{
    printer p;
    if (t->kind == RLX_JIT_SPIRV)
        return print_spirv(m, t, what, out);
    RLX_TRY(open_printer(&p, t, what));
    rlx_status st = print_all(&p, m, out);
    if (!st && t->step == RLX_JIT_STEP_KERNEL)
        st = print_step(&p, m, out);
    close_printer(&p);
    return st;
}

rlx_status rlx_jit_print_objects(const rlx_ir_func *kernel, const rlx_jit_target *t,
                                 rlx_jit_text what, rlx_text *out)
{
    printer p;
    RLX_TRY(open_printer(&p, t, what));
    rlx_status st = print_kernel(&p, kernel, out);
    close_printer(&p);
    return st;
}
