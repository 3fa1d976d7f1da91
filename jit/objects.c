#include "jit/objects.h"

#include <stdlib.h>
#include <string.h>

#include "jit/module.h"
#include "jit/parts.h"

_Static_assert(RLX_JIT_MAX_OBJECTS == 1 + RLX_LLVM_MAX_PARTS, "a kernel and its parts");

static rlx_status begin_object(rlx_jit_objects *o, const char *name, rlx_text **code)
{
    rlx_jit_object *next = &o->object[o->n++];
    next->name = strdup(name);
    *code = &next->code;
    return next->name ? RLX_OK : RLX_OOM();
}

static rlx_status emit_all(const rlx_llvm_module *m, rlx_llvm *worker, const rlx_jit_target *t,
                           const rlx_ir_func *kernel, rlx_jit_objects *out)
{
    rlx_llvm_parts parts = {0};
    rlx_text *code;
    RLX_TRY(begin_object(out, kernel->name, &code));
    RLX_TRY(rlx_jit_worker_emit(m, worker, t, kernel, RLX_LLVM_CODE, &parts, code));
    for (int i = 0; i < parts.n; i++) {
        RLX_TRY(begin_object(out, parts.name[i].text, &code));
        RLX_TRY(rlx_jit_emit_part(m, worker, kernel, RLX_LLVM_CODE, i, &parts.name[i], code));
    }
    return RLX_OK;
}

rlx_status rlx_jit_emit_objects(const rlx_ir_func *kernel, const rlx_jit_target *t,
                                rlx_jit_objects *out)
{
    const rlx_llvm_module *m;
    rlx_llvm *worker;
    *out = (rlx_jit_objects){0};
    if (t->kind == RLX_JIT_SPIRV)
        return RLX_FAIL(RLX_UNSUPPORTED, "kernel @%s as objects: SPIR-V has none", kernel->name);
    RLX_TRY(rlx_jit_check_budget(kernel, t->kind));
    RLX_TRY(rlx_jit_module_open(&m));
    RLX_TRY(rlx_jit_worker_create(m, t, &worker));
    rlx_status st = emit_all(m, worker, t, kernel, out);
    m->destroy(worker);
    if (st)
        rlx_jit_objects_deinit(out);
    return st;
}

void rlx_jit_objects_deinit(rlx_jit_objects *o)
{
    for (int i = 0; i < o->n; i++) {
        free(o->object[i].name);
        rlx_text_deinit(&o->object[i].code);
    }
    o->n = 0;
}
