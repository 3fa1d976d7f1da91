/* mir/mir_eval.c: the meaning of a module: runs it on tensors, one op after another.
 *
 *   rlx_mir_eval -> run_func: binds arguments -> rlx_mir_eval_block: each node's _eval (mir/ops)
 *                        ^                                              |
 *                        +------------- rlx_mir_eval_call <- call ------+
 *
 * Every value's tensor hangs at its `scratch` while its function runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mir/ops/ops.h"

static rlx_status (*const evals[RLX_MIR_OP_COUNT])(rlx_mir_frame *, const rlx_ir_node *) = {
#define MIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    [RLX_MIR_##NAME] = rlx_mir_##mnemonic##_eval,
#include "mir/mir_ops.def"
#undef MIR_OP
};

/* ---- tensors --------------------------------------------------------------------------------- */

int64_t rlx_mir_elems(const rlx_eval_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

void rlx_mir_strides(const rlx_eval_tensor *t, int64_t *stride)
{
    int64_t s = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        stride[i] = s;
        s *= t->dim[i];
    }
}

rlx_scalar rlx_mir_load(rlx_format f, const void *p, int64_t index)
{
    switch (f) {
    case RLX_I8:
        return (rlx_scalar){.i = ((const int8_t *)p)[index]};
    case RLX_I16:
        return (rlx_scalar){.i = ((const int16_t *)p)[index]};
    case RLX_I32:
        return (rlx_scalar){.i = ((const int32_t *)p)[index]};
    case RLX_I64:
        return (rlx_scalar){.i = ((const int64_t *)p)[index]};
    case RLX_U64:
        return (rlx_scalar){.i = (int64_t)((const uint64_t *)p)[index]};
    case RLX_U8:
    case RLX_U16:
    case RLX_U32:
        return (rlx_scalar){.i = (int64_t)rlx_format_load(f, p, index)};
    case RLX_BOOL:
        return (rlx_scalar){.i = ((const uint8_t *)p)[index]};
    default:
        return (rlx_scalar){.f = rlx_format_load(f, p, index)};
    }
}

void rlx_mir_store(rlx_format f, void *p, int64_t index, rlx_scalar v)
{
    switch (f) {
    case RLX_I8:
        ((int8_t *)p)[index] = (int8_t)v.i;
        break;
    case RLX_I16:
        ((int16_t *)p)[index] = (int16_t)v.i;
        break;
    case RLX_I32:
        ((int32_t *)p)[index] = (int32_t)v.i;
        break;
    case RLX_I64:
        ((int64_t *)p)[index] = v.i;
        break;
    case RLX_U8:
        ((uint8_t *)p)[index] = (uint8_t)v.i;
        break;
    case RLX_U16:
        ((uint16_t *)p)[index] = (uint16_t)v.i;
        break;
    case RLX_U32:
        ((uint32_t *)p)[index] = (uint32_t)v.i;
        break;
    case RLX_U64:
        ((uint64_t *)p)[index] = (uint64_t)v.i;
        break;
    case RLX_BOOL:
        ((uint8_t *)p)[index] = v.i != 0;
        break;
    default:
        rlx_format_store(f, p, index, v.f);
    }
}

/* One run along the last axis. */
static void copy_line(char *to, int64_t to_stride, const char *from, int64_t from_stride, int64_t n,
                      size_t bytes)
{
    if (to_stride == 1 && from_stride == 1) {
        memcpy(to, from, (size_t)n * bytes);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(to + (size_t)(i * to_stride) * bytes, from + (size_t)(i * from_stride) * bytes,
               bytes);
}

static void copy_axis(const rlx_mir_copy *c, int axis, char *to, const char *from)
{
    int64_t n = c->extent[axis], ts = c->to_stride[axis], fs = c->from_stride[axis];
    if (axis == c->rank - 1) {
        copy_line(to, ts, from, fs, n, c->bytes);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        copy_axis(c, axis + 1, to + (size_t)(i * ts) * c->bytes,
                  from + (size_t)(i * fs) * c->bytes);
}

void rlx_mir_copy_run(const rlx_mir_copy *c, void *to, const void *from)
{
    for (int i = 0; i < c->rank; i++)
        if (c->extent[i] == 0)
            return;
    if (c->rank == 0)
        memcpy(to, from, c->bytes);
    else
        copy_axis(c, 0, to, from);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static rlx_status live_shape(const rlx_mir_frame *f, const rlx_ir_type *type, rlx_eval_tensor *t)
{
    t->format = type->format;
    t->rank = type->rank;
    for (int i = 0; i < type->rank; i++) {
        t->dim[i] = rlx_dim_eval(f->module->dims, type->dim[i], f->env->symbols);
        if (t->dim[i] < 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "axis %d has live extent %lld", i,
                            (long long)t->dim[i]);
    }
    return RLX_OK;
}

/* Bytes of a tensor, checked against overflow. */
static rlx_status tensor_bytes(const rlx_eval_tensor *t, size_t *bytes)
{
    const rlx_format_info *info = rlx_format_get(t->format);
    size_t n = (size_t)info->block_bytes;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(n, (size_t)t->dim[i], &n))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "a tensor beyond the address space");
    *bytes = n / (size_t)info->block_elems;
    return RLX_OK;
}

rlx_status rlx_mir_frame_make(rlx_mir_frame *f, rlx_ir_value *v, rlx_eval_tensor **out)
{
    rlx_eval_tensor *t = RLX_NEW(f->arena, rlx_eval_tensor);
    if (!t)
        return RLX_OOM();
    size_t bytes = 0;
    RLX_TRY(live_shape(f, &v->type, t));
    RLX_TRY(tensor_bytes(t, &bytes));
    t->data = rlx_arena_alloc(f->arena, bytes + 1); /* never empty: data is not NULL */
    if (!t->data)
        return RLX_OOM();
    v->scratch = t;
    *out = t;
    return RLX_OK;
}

rlx_status rlx_mir_frame_alias(rlx_mir_frame *f, rlx_ir_value *v, const rlx_eval_tensor *t)
{
    rlx_eval_tensor *alias = RLX_NEW(f->arena, rlx_eval_tensor);
    if (!alias)
        return RLX_OOM();
    RLX_TRY(live_shape(f, &v->type, alias));
    alias->data = t->data;
    v->scratch = alias;
    return RLX_OK;
}

/* ---- running --------------------------------------------------------------------------------- */

static rlx_status note_node(rlx_status s, const rlx_mir_frame *f, const rlx_ir_node *n)
{
    const char *mnemonic = rlx_ir_info(f->module, n)->mnemonic;
    return n->place
               ? rlx_status_note(s, __FILE__, __LINE__, "evaluating %s at %s", mnemonic, n->place)
               : rlx_status_note(s, __FILE__, __LINE__, "evaluating %s", mnemonic);
}

rlx_status rlx_mir_eval_block(rlx_mir_frame *f, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        rlx_status s = evals[n->op](f, n);
        if (s)
            return note_node(s, f, n);
    }
    return RLX_OK;
}

/* `symbol` with "{}" replaced by the layer index. */
static const char *bind_symbol(const rlx_mir_frame *f, const char *symbol)
{
    const char *hole = strstr(symbol, "{}");
    if (!hole)
        return symbol;
    return rlx_arena_printf(f->arena, "%.*s%lld%s", (int)(hole - symbol), symbol,
                            (long long)f->layer, hole + 2);
}

/* Argument `i` of `func`, found in the environment and checked. */
static rlx_status bind_arg(rlx_mir_frame *f, const rlx_ir_func *func, int i)
{
    rlx_ir_value *arg = func->body->args[i];
    rlx_role role = func->arg_info[i].role;
    bool by_name = role == RLX_ROLE_VALUE;
    const char *symbol = by_name ? arg->name : bind_symbol(f, func->arg_info[i].symbol);
    if (!symbol)
        return by_name ? RLX_FAIL(RLX_INVALID_ARGUMENT, "argument %d of @%s has no name to bind by",
                                  i, func->name)
                       : RLX_OOM();
    rlx_eval_tensor *t = f->env->find(f->env->user, by_name ? RLX_ROLE_INPUT : role, symbol);
    if (!t)
        return RLX_FAIL(RLX_NOT_FOUND, "no tensor \"%s\" for @%s", symbol, func->name);
    rlx_eval_tensor want = {0};
    RLX_TRY_NOTE(live_shape(f, &arg->type, &want), "binding \"%s\" of @%s", symbol, func->name);
    if (t->format != want.format || t->rank != want.rank)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\" is %s of rank %d, @%s wants %s of rank %d",
                        symbol, rlx_format_get(t->format)->name, t->rank, func->name,
                        rlx_format_get(want.format)->name, want.rank);
    for (int d = 0; d < want.rank; d++)
        if (t->dim[d] != want.dim[d])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "axis %d of \"%s\" is %lld, @%s wants %lld", d,
                            symbol, (long long)t->dim[d], func->name, (long long)want.dim[d]);
    arg->scratch = t;
    return RLX_OK;
}

/* Runs `func` in frame `f`; `values` (NULL for an entry: found by name) are its VALUE arguments. */
static rlx_status run_func(rlx_mir_frame *f, const rlx_ir_func *func,
                           rlx_eval_tensor *const *values)
{
    int value = 0;
    for (int i = 0; i < func->body->nargs; i++) {
        if (values && func->arg_info[i].role == RLX_ROLE_VALUE)
            func->body->args[i]->scratch = values[value++];
        else
            RLX_TRY(bind_arg(f, func, i));
    }
    return rlx_mir_eval_block(f, func->body);
}

rlx_status rlx_mir_eval_call(rlx_mir_frame *f, const rlx_ir_func *callee, int64_t layer,
                             rlx_eval_tensor *const *values, rlx_eval_tensor **results)
{
    rlx_mir_frame inner = {f->module, f->env, rlx_arena_create(), layer};
    if (!inner.arena)
        return RLX_OOM();
    rlx_status st = run_func(&inner, callee, values);
    for (int i = 0; !st && i < callee->nresults; i++) {
        const rlx_eval_tensor *from = rlx_mir_tensor(callee->body->last->in[i]);
        rlx_eval_tensor *to = rlx_arena_copy(f->arena, from, sizeof *from);
        size_t bytes = rlx_format_bytes(from->format, rlx_mir_elems(from));
        if (to)
            to->data = rlx_arena_alloc(f->arena, bytes + 1);
        if (!to || !to->data) {
            st = RLX_OOM();
            break;
        }
        memcpy(to->data, from->data, bytes);
        results[i] = to;
    }
    rlx_arena_destroy(inner.arena);
    return st;
}

/* A result in memory of its own. */
static rlx_status copy_out(const rlx_eval_tensor *from, rlx_eval_tensor *to)
{
    size_t bytes = rlx_format_bytes(from->format, rlx_mir_elems(from));
    *to = *from;
    to->name = NULL;
    to->data = malloc(bytes + 1);
    if (!to->data)
        return RLX_OOM();
    memcpy(to->data, from->data, bytes);
    return RLX_OK;
}

rlx_status rlx_mir_eval(const rlx_ir_module *m, const char *entry, const rlx_eval_env *env,
                        rlx_eval_tensor *out, int nout)
{
    memset(out, 0, sizeof *out * (size_t)nout);
    const rlx_ir_func *func = rlx_ir_func_find(m, entry);
    if (!func)
        return RLX_FAIL(RLX_NOT_FOUND, "no function @%s to evaluate", entry);
    if (nout != func->nresults)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "@%s has %d results, not %d", entry, func->nresults,
                        nout);
    rlx_mir_frame frame = {m, env, rlx_arena_create(), 0};
    if (!frame.arena)
        return RLX_OOM();
    rlx_status st = run_func(&frame, func, NULL);
    for (int i = 0; !st && i < nout; i++)
        st = copy_out(rlx_mir_tensor(func->body->last->in[i]), &out[i]);
    if (st)
        for (int i = 0; i < nout; i++) {
            free(out[i].data);
            out[i].data = NULL;
        }
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        rlx_ir_clear_scratch(f->body); /* no pointer to a dead frame stays behind */
    rlx_arena_destroy(frame.arena);
    return st ? rlx_status_note(st, __FILE__, __LINE__, "evaluating @%s", entry) : RLX_OK;
}
