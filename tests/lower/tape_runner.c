#include "tests/lower/tape_runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
    const rlx_ir_value *value;
    rlx_lir_buffer buffer;
} slot;

static size_t live_bytes(const tape_run *r, const rlx_ir_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= rlx_dim_eval(r->module->dims, t->dim[i], r->env->symbols);
    return rlx_format_bytes(t->format, n);
}

static rlx_lir_buffer find(const slot *slots, int n, const rlx_ir_value *v)
{
    for (int i = 0; i < n; i++)
        if (slots[i].value == v)
            return slots[i].buffer;
    return (rlx_lir_buffer){0};
}

static void substitute(const char *name, int64_t index, char *out, size_t n)
{
    const char *hole = strstr(name, "{}");
    if (hole)
        snprintf(out, n, "%.*s%lld%s", (int)(hole - name), name, (long long)index, hole + 2);
    else
        snprintf(out, n, "%s", name);
}

static rlx_status run_func(tape_run *r, const rlx_ir_func *f, const rlx_lir_buffer *params, size_t base,
                           int64_t layer);

static rlx_status run_call(tape_run *r, const rlx_ir_node *n, const rlx_lir_buffer *given, size_t base)
{
    const rlx_ir_func *callee =
        rlx_ir_func_find(r->module, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
    int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1), first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0);
    int nvalue = 0, nout = 0;
    for (int i = 0; i < callee->body->nargs; i++) {
        nvalue += callee->arg_info[i].role == RLX_ROLE_VALUE;
        nout += callee->arg_info[i].role == RLX_ROLE_OUT;
    }
    rlx_lir_buffer params[16];
    for (int64_t i = 0; i < count; i++) {
        bool to_out = (count - 1 - i) % 2 == 0;
        for (int v = 0; v < nvalue; v++) {
            bool carried = i > 0 && v < nout;
            params[v] = carried ? given[nvalue + v + (to_out ? nout : 0)] : given[v];
        }
        for (int o = 0; o < nout; o++)
            params[nvalue + o] = given[nvalue + o + (to_out ? 0 : nout)];
        size_t frame = base + (size_t)rlx_ir_attr_int(n, RLX_ATTR_OFFSET, 0);
        RLX_TRY(run_func(r, callee, params, frame, first + i));
    }
    return RLX_OK;
}

static rlx_status run_launch(tape_run *r, const rlx_ir_node *n, const rlx_lir_buffer *buffers)
{
    const rlx_ir_func *kernel =
        rlx_ir_func_find(r->module, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
    r->launches++;
    if (r->launch)
        return r->launch(r->user, kernel, buffers, n->nin);
    return rlx_lir_eval_kernel(kernel, buffers, n->nin, r->env->symbols, &r->options);
}

static rlx_status run_func(tape_run *r, const rlx_ir_func *f, const rlx_lir_buffer *params, size_t base,
                           int64_t layer)
{
    slot slots[256];
    int nslots = 0, param = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_value *v = f->body->args[i];
        rlx_role role = f->arg_info[i].role;
        slot *s = &slots[nslots++];
        s->value = v;
        if (role == RLX_ROLE_VALUE || role == RLX_ROLE_OUT) {
            s->buffer = params[param++];
            continue;
        }
        char name[256];
        substitute(f->arg_info[i].symbol, layer, name, sizeof name);
        rlx_eval_tensor *t = r->env->find(r->env->user, role, name);
        if (!t)
            return RLX_FAIL(RLX_NOT_FOUND, "no tensor %s", name);
        s->buffer = (rlx_lir_buffer){t->data, live_bytes(r, &v->type)};
    }
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        rlx_lir_buffer buffers[64];
        for (int i = 0; i < n->nin; i++)
            buffers[i] = find(slots, nslots, n->in[i]);
        if (n->op == RLX_LIR_TEMP) {
            size_t offset = base + (size_t)rlx_ir_attr_int(n, RLX_ATTR_OFFSET, -1);
            size_t bytes = live_bytes(r, &n->out[0]->type);
            if (offset + bytes > r->arena_bytes)
                return RLX_FAIL(RLX_INTERNAL, "a temp of @%s leaves the arena", f->name);
            slots[nslots++] = (slot){n->out[0], {r->arena + offset, bytes}};
        } else if (n->op == RLX_LIR_LAUNCH) {
            RLX_TRY(run_launch(r, n, buffers));
        } else if (n->op == RLX_LIR_CALL) {
            RLX_TRY(run_call(r, n, buffers, base));
        }
    }
    return RLX_OK;
}

rlx_status tape_run_entry(tape_run *r, const char *entry, rlx_eval_tensor *out, int nout)
{
    rlx_lir_buffer params[16];
    const rlx_ir_func *f = rlx_ir_func_find(r->module, entry);
    int o = 0;
    memset(r->arena, 0xff, r->arena_bytes); /* NaN in every float format */
    for (int i = 0; i < f->body->nargs; i++)
        if (f->arg_info[i].role == RLX_ROLE_OUT && o < nout) {
            params[o] = (rlx_lir_buffer){out[o].data, live_bytes(r, &f->body->args[i]->type)};
            o++;
        }
    return run_func(r, f, params, 0, 0);
}
