#include "jit/tape.h"

#include <assert.h>
#include <string.h>

#include "jit/kernel_info.h"

typedef struct builder {
    const rlx_ir_module *module;
    const rlx_jit_options *options;
    rlx_arena *arena;
    rlx_program *program;
    const rlx_ir_func **kernels;
    const rlx_ir_func **funcs;  /* by index in the program */
    const rlx_ir_func **active; /* being visited, to see recursion */
    uint32_t nactive;
} builder;

static int64_t align64(int64_t n)
{
    return (n + RLX_LIR_ALIGN - 1) & ~(int64_t)(RLX_LIR_ALIGN - 1);
}

/* ---- sizes ---- */

/* Arrays are made at their largest before anything is known of what is reachable. */
static rlx_status allocate(builder *b)
{
    size_t nfuncs = 0, nkernels = 0, nops = 0, nargs = 0, nbound = 0, noutputs = 0;
    for (const rlx_ir_func *f = b->module->first; f; f = f->next) {
        nkernels += f->is_kernel;
        nfuncs += !f->is_kernel;
        nbound += (size_t)f->body->nargs;
        if (f->is_kernel)
            continue;
        for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
            nops++;
            nargs += (size_t)n->nin;
        }
        if (strcmp(f->name, b->options->entry) == 0)
            noutputs = (size_t)f->body->nargs;
    }
    rlx_program *p = b->program;
    p->kernels = RLX_NEW_ARRAY(b->arena, rlx_program_kernel, nkernels + 1);
    p->ops = RLX_NEW_ARRAY(b->arena, rlx_program_op, nops + 1);
    p->args = RLX_NEW_ARRAY(b->arena, rlx_program_arg, nargs + 1);
    p->funcs = RLX_NEW_ARRAY(b->arena, rlx_program_func, nfuncs + 1);
    p->bound = RLX_NEW_ARRAY(b->arena, rlx_program_tensor, nbound + 1);
    p->outputs = RLX_NEW_ARRAY(b->arena, rlx_program_tensor, noutputs + 1);
    b->kernels = RLX_NEW_ARRAY(b->arena, const rlx_ir_func *, nkernels + 1);
    b->funcs = RLX_NEW_ARRAY(b->arena, const rlx_ir_func *, nfuncs + 1);
    b->active = RLX_NEW_ARRAY(b->arena, const rlx_ir_func *, nfuncs + 1);
    if (!p->kernels || !p->ops || !p->args || !p->funcs || !p->bound || !p->outputs ||
        !b->kernels || !b->funcs || !b->active)
        return RLX_OOM();
    return RLX_OK;
}

/* ---- what an operand is ---- */

/* Inside of kernels shapes may have more axes than what users hand over. */
static rlx_status set_tensor(rlx_program_tensor *t, const char *name, const rlx_ir_type *type)
{
    if (type->rank > RLX_PROGRAM_MAX_RANK)
        return RLX_FAIL(RLX_UNSUPPORTED, "\"%s\" has rank %d, and tensors of programs %d at most",
                        name, type->rank, RLX_PROGRAM_MAX_RANK);
    t->name = name;
    t->format = type->format;
    t->rank = type->rank;
    memcpy(t->dim, type->dim, sizeof t->dim[0] * (size_t)type->rank);
    return RLX_OK;
}

static rlx_bind_kind bind_kind(rlx_role role)
{
    return role == RLX_ROLE_WEIGHT  ? RLX_BIND_WEIGHT
           : role == RLX_ROLE_INPUT ? RLX_BIND_INPUT
                                    : RLX_BIND_STATE;
}

static bool same_type(const rlx_program_tensor *a, const rlx_program_tensor *b)
{
    return a->kind == b->kind && a->format == b->format && a->rank == b->rank &&
           memcmp(a->dim, b->dim, sizeof a->dim) == 0;
}

/* The entry of `bound` for an argument; functions share what has one name. Weights and states of
 * layers may differ in type from one layer function to another: then each has an entry of its own.
 */
static rlx_status bind(builder *b, const rlx_ir_func *f, int arg, uint32_t *index)
{
    rlx_program *p = b->program;
    rlx_program_tensor t = {.kind = bind_kind(f->arg_info[arg].role)};
    RLX_TRY(set_tensor(&t, f->arg_info[arg].symbol, &f->body->args[arg]->type));
    for (uint32_t i = 0; i < p->nbound; i++) {
        const rlx_program_tensor *have = &p->bound[i];
        if (strcmp(have->name, t.name) != 0)
            continue;
        bool same = same_type(have, &t), of_layers = strstr(t.name, "{}") != NULL;
        if (!same && of_layers && have->kind == t.kind && t.kind != RLX_BIND_INPUT)
            continue;
        if (!same)
            return RLX_FAIL(RLX_INVALID_IR,
                            "@%s binds \"%s\" with another type than a function "
                            "before it",
                            f->name, t.name);
        *index = i;
        return RLX_OK;
    }
    *index = p->nbound;
    p->bound[p->nbound++] = t;
    return RLX_OK;
}

/* How many arguments of a role stand before argument `arg`. */
static uint32_t count_role(const rlx_ir_func *f, rlx_role role, int arg)
{
    uint32_t n = 0;
    for (int i = 0; i < arg; i++)
        n += f->arg_info[i].role == role;
    return n;
}

static rlx_status add_arg(builder *b, const rlx_ir_func *f, const rlx_ir_value *v)
{
    rlx_program_arg a = {0};
    if (v->def) {
        a.kind = RLX_ARG_FRAME;
        a.offset = rlx_ir_attr_int(v->def, RLX_ATTR_OFFSET, -1);
        if (a.offset < 0)
            return RLX_FAIL(RLX_INVALID_IR,
                            "a temp of @%s has no offset: the module is not planned "
                            "(pass plan_memory)",
                            f->name);
    } else {
        int i = (int)v->index;
        switch (f->arg_info[i].role) {
        case RLX_ROLE_VALUE:
            a = (rlx_program_arg){.kind = RLX_ARG_PARAM, .index = count_role(f, RLX_ROLE_VALUE, i)};
            break;
        case RLX_ROLE_OUT: /* after all VALUEs */
            a.kind = RLX_ARG_PARAM;
            a.index =
                count_role(f, RLX_ROLE_VALUE, f->body->nargs) + count_role(f, RLX_ROLE_OUT, i);
            break;
        default:
            a.kind = RLX_ARG_SYMBOL;
            RLX_TRY(bind(b, f, i, &a.index));
        }
    }
    b->program->args[b->program->nargs++] = a;
    return RLX_OK;
}

/* ---- functions ---- */

static bool find(const rlx_ir_func *const *list, uint32_t n, const rlx_ir_func *f, uint32_t *index)
{
    for (*index = 0; *index < n; ++*index)
        if (list[*index] == f)
            return true;
    return false;
}

static const rlx_ir_func *callee(const builder *b, const rlx_ir_node *n)
{
    return rlx_ir_func_find(b->module, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
}

/* By the symbol that decides most about it. */
static rlx_status count_cost(const builder *b, const rlx_ir_func *k, rlx_program_cost *out)
{
    const int nsymbols = rlx_dim_symbol_count(b->module->dims);
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_lir_cost full, least;
    memcpy(symbols, b->options->upper, sizeof symbols);
    RLX_TRY(rlx_lir_count_cost(k, symbols, 1, &full));
    const int64_t bytes = full.bytes_read + full.bytes_written;
    *out = (rlx_program_cost){RLX_NO_SYMBOL, {bytes, bytes}, {full.flops, full.flops}};
    for (int s = 0; s < nsymbols; s++) {
        symbols[s] = 1;
        RLX_TRY(rlx_lir_count_cost(k, symbols, 1, &least));
        symbols[s] = b->options->upper[s];
        const int64_t moved = least.bytes_read + least.bytes_written;
        if (moved > bytes || least.flops > out->operations[0] || /* bounds may shrink elsewhere */
            (least.flops == out->operations[0] && moved >= out->bytes[0]))
            continue;
        out->symbol = (uint32_t)s;
        out->bytes[0] = moved;
        out->operations[0] = least.flops;
    }
    return RLX_OK;
}

static rlx_status add_kernel(builder *b, const rlx_ir_func *k, uint32_t *i)
{
    if (find(b->kernels, b->program->nkernels, k, i))
        return RLX_OK;
    b->program->nkernels++;
    b->kernels[*i] = k;
    b->program->kernels[*i] = (rlx_program_kernel){
        .name = k->name, .team_bytes = rlx_jit_team_bytes(k), .nbuffers = (uint32_t)k->body->nargs};
    RLX_TRY(rlx_jit_grid_extents(k, b->program->kernels[*i].grid));
    return count_cost(b, k, &b->program->kernels[*i].cost);
}

/* `phase` counts up whenever a barrier lies between this op and the one before. */
static rlx_status add_op(builder *b, const rlx_ir_func *f, const rlx_ir_node *n, uint32_t phase)
{
    rlx_program *p = b->program;
    const rlx_ir_func *target = callee(b, n);
    if (!target)
        return RLX_FAIL(RLX_INVALID_IR, "@%s: there is no function @%s", f->name,
                        rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
    rlx_program_op op = {.kind = n->op == RLX_LIR_CALL ? RLX_OP_CALL : RLX_OP_LAUNCH,
                         .phase = phase,
                         .first_arg = p->nargs,
                         .nargs = (uint32_t)n->nin,
                         .count = 1};
    if (n->op == RLX_LIR_CALL) {
        bool known = find(b->funcs, p->nfuncs, target, &op.target);
        assert(known && "callees are visited first");
        (void)known;
        op.nout = count_role(target, RLX_ROLE_OUT, target->body->nargs);
        op.first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0);
        op.count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
        op.frame = rlx_ir_attr_int(n, RLX_ATTR_OFFSET, -1);
        if (op.frame < 0)
            return RLX_FAIL(RLX_INVALID_IR,
                            "the call of @%s in @%s has no frame: the module is not "
                            "planned (pass plan_memory)",
                            target->name, f->name);
    } else {
        RLX_TRY(add_kernel(b, target, &op.target));
    }
    for (int i = 0; i < n->nin; i++)
        RLX_TRY(add_arg(b, f, n->in[i]));
    p->ops[p->nops++] = op;
    return RLX_OK;
}

static rlx_status add_func(builder *b, const rlx_ir_func *f)
{
    rlx_program *p = b->program;
    rlx_program_func out = {.name = f->name, .first_op = p->nops};
    out.nout = count_role(f, RLX_ROLE_OUT, f->body->nargs);
    out.nparams = count_role(f, RLX_ROLE_VALUE, f->body->nargs) + out.nout;
    uint32_t phase = 0;
    int64_t last = -1; /* the launch before this op: its phase; -1: a call, or nothing */
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op == RLX_LIR_TEMP || n->op == RLX_LIR_CALL) {
            int64_t frame_end =
                rlx_ir_attr_int(n, RLX_ATTR_OFFSET, 0) + rlx_ir_attr_int(n, RLX_ATTR_BYTES, 0);
            if (frame_end > out.frame_bytes)
                out.frame_bytes = frame_end;
        }
        if (n->op != RLX_LIR_LAUNCH && n->op != RLX_LIR_CALL)
            continue;
        int64_t now = n->op == RLX_LIR_LAUNCH ? rlx_ir_attr_int(n, RLX_ATTR_PHASE, 0) : -1;
        phase += now < 0 || now != last;
        last = now;
        RLX_TRY(add_op(b, f, n, phase));
    }
    out.frame_bytes = align64(out.frame_bytes);
    out.nops = p->nops - out.first_op;
    b->funcs[p->nfuncs] = f;
    p->funcs[p->nfuncs++] = out;
    return RLX_OK;
}

static rlx_status visit(builder *b, const rlx_ir_func *f)
{
    uint32_t i;
    if (find(b->funcs, b->program->nfuncs, f, &i))
        return RLX_OK;
    if (find(b->active, b->nactive, f, &i))
        return RLX_FAIL(RLX_INVALID_IR, "@%s calls itself", f->name);
    b->active[b->nactive++] = f;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        const rlx_ir_func *target = n->op == RLX_LIR_CALL ? callee(b, n) : NULL;
        if (target)
            RLX_TRY(visit(b, target));
    }
    b->nactive--;
    return add_func(b, f);
}

static rlx_status place_outputs(builder *b, const rlx_ir_func *entry)
{
    rlx_program *p = b->program;
    int64_t offset = p->funcs[p->nfuncs - 1].frame_bytes;
    for (int i = 0; i < entry->body->nargs; i++) {
        if (entry->arg_info[i].role == RLX_ROLE_VALUE)
            return RLX_FAIL(RLX_INVALID_IR, "the entry @%s takes an operand", entry->name);
        if (entry->arg_info[i].role != RLX_ROLE_OUT)
            continue;
        const rlx_ir_type *type = &entry->body->args[i]->type;
        rlx_program_tensor *t = &p->outputs[p->noutputs];
        RLX_TRY(set_tensor(t, b->options->output_names[p->noutputs], type));
        int64_t bytes;
        if (!rlx_lir_upper_bytes(b->module->dims, type, b->options->upper, &bytes))
            return RLX_FAIL(RLX_UNSUPPORTED, "the output \"%s\" is too large for the bucket",
                            t->name);
        t->offset = offset;
        offset += align64(bytes);
        p->noutputs++;
    }
    p->arena_bytes = offset;
    return RLX_OK;
}

/* Inputs that decide nothing, of no elements perhaps, are given all the same, and bind symbols. */
static rlx_status bind_inputs(builder *b, const rlx_ir_func *entry)
{
    uint32_t index;
    for (int i = 0; i < entry->body->nargs; i++)
        if (entry->arg_info[i].role == RLX_ROLE_INPUT)
            RLX_TRY(bind(b, entry, i, &index));
    return RLX_OK;
}

rlx_status rlx_jit_tape_build(const rlx_ir_module *m, const rlx_jit_options *o, rlx_arena *arena,
                              rlx_jit_tape *out)
{
    *out = (rlx_jit_tape){0};
    builder b = {.module = m, .options = o, .arena = arena, .program = &out->program};
    RLX_TRY(allocate(&b));
    out->kernels = b.kernels;
    const rlx_ir_func *entry = rlx_ir_func_find(m, o->entry);
    if (!entry || entry->is_kernel)
        return RLX_FAIL(RLX_NOT_FOUND, "module @%s has no tape function @%s", m->name, o->entry);
    RLX_TRY(visit(&b, entry));
    RLX_TRY(bind_inputs(&b, entry));
    RLX_TRY(place_outputs(&b, entry));
    rlx_program *p = &out->program;
    p->plan_least = o->plan_least;
    p->name = m->name;
    p->key = o->key;
    p->provenance = o->provenance ? o->provenance : "";
    p->preimage = o->preimage ? o->preimage : "";
    p->source = o->source ? o->source : "";
    p->dims = m->dims;
    memcpy(p->upper, o->upper, sizeof o->upper[0] * (size_t)rlx_dim_symbol_count(m->dims));
    return RLX_OK;
}
