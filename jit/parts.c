#include "jit/parts.h"

#include <stdlib.h>
#include <string.h>

#include "jit/module.h"

void rlx_jit_parts_init(rlx_jit_parts *p)
{
    pthread_mutex_init(&p->lock, NULL);
    p->first = NULL;
    p->end = &p->first;
}

void rlx_jit_parts_deinit(rlx_jit_parts *p)
{
    for (rlx_jit_part *part = p->first, *next; part; part = next) {
        next = part->next;
        rlx_text_deinit(&part->code);
        free(part);
    }
    pthread_mutex_destroy(&p->lock);
}

rlx_status rlx_jit_parts_claim(rlx_jit_parts *p, const rlx_llvm_part_name *name,
                               const rlx_ir_func *kernel, int index, rlx_jit_part **out)
{
    rlx_status st = RLX_OK;
    *out = NULL;
    pthread_mutex_lock(&p->lock);
    rlx_jit_part *part = p->first;
    while (part && strcmp(part->name.text, name->text) != 0)
        part = part->next;
    if (!part && (part = calloc(1, sizeof *part))) {
        *part = (rlx_jit_part){.name = *name, .kernel = kernel, .index = index};
        *p->end = *out = part;
        p->end = &part->next;
    }
    st = part ? RLX_OK : RLX_OOM();
    pthread_mutex_unlock(&p->lock);
    return st;
}

rlx_status rlx_jit_emit_part(const rlx_llvm_module *m, rlx_llvm *worker, const rlx_ir_func *kernel,
                             rlx_llvm_form form, int index, const rlx_llvm_part_name *name,
                             rlx_text *out)
{
    rlx_llvm_parts parts = {0};
    RLX_TRY(rlx_jit_adopt_status(m->emit(worker, kernel, form, &parts, index, out)));
    if (strcmp(parts.name[index].text, name->text) != 0)
        return RLX_FAIL(RLX_INTERNAL, "part %d of kernel @%s is %s, and was %s", index,
                        kernel->name, parts.name[index].text, name->text);
    return RLX_OK;
}

rlx_status rlx_jit_put_kernel(rlx_text *out, const rlx_llvm_parts *parts, const rlx_text *code)
{
    const uint64_t n = (uint64_t)parts->n; /* 8 bytes: code stays aligned */
    rlx_text_put_bytes(out, &n, sizeof n);
    rlx_text_put_bytes(out, parts->name, sizeof parts->name[0] * n);
    rlx_text_put_bytes(out, code->data, code->len);
    return out->oom ? RLX_OOM() : RLX_OK;
}

const uint8_t *rlx_jit_get_kernel(const rlx_text *kernel, rlx_llvm_parts *parts, size_t *bytes)
{
    uint64_t n;
    memcpy(&n, kernel->data, sizeof n);
    const size_t names = sizeof parts->name[0] * n, at = sizeof n + names;
    parts->n = (int)n;
    memcpy(parts->name, kernel->data + sizeof n, names);
    *bytes = kernel->len - at;
    return (const uint8_t *)kernel->data + at;
}
