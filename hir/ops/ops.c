#include "hir/ops/ops.h"

#include <stdio.h>

const char *rlx_hir_type_text(const rlx_ir_module *m, const rlx_ir_type *t,
                              char buf[RLX_HIR_TYPE_CHARS])
{
    rlx_text text = {0};
    rlx_ir_type_print(m->dims, t, &text);
    snprintf(buf, RLX_HIR_TYPE_CHARS, "%s", text.data ? text.data : "?");
    rlx_text_deinit(&text);
    return buf;
}

bool rlx_hir_is(const rlx_ir_value *v, rlx_format f, int rank)
{
    return v->type.kind == RLX_TYPE_TENSOR && v->type.format == f && v->type.rank == rank;
}

bool rlx_hir_is_weight(const rlx_ir_value *v, int rank)
{
    bool blocks = rlx_format_get(v->type.format)->kind == RLX_KIND_BLOCK;
    return v->type.kind == RLX_TYPE_TENSOR && v->type.rank == rank &&
           (rlx_format_is_float(v->type.format) || (blocks && rank == 2));
}

rlx_dim rlx_hir_last_dim(const rlx_ir_value *v)
{
    return v->type.dim[v->type.rank - 1];
}

void rlx_hir_clear_scratch(const rlx_ir_module *m)
{
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        rlx_ir_clear_scratch(f->body);
}

int64_t rlx_hir_eval_elems(const rlx_eval_tensor *t)
{
    int64_t elems = 1;
    for (int i = 0; i < t->rank; i++)
        elems *= t->dim[i];
    return elems;
}

rlx_status rlx_hir_eval_alloc(rlx_hir_eval_cx *cx, rlx_eval_tensor *t)
{
    t->data = rlx_arena_alloc(cx->arena, rlx_format_bytes(t->format, rlx_hir_eval_elems(t)));
    return t->data ? RLX_OK : RLX_OOM();
}
