/* mir/lower/lower.c: a fused MIR module to a LIR module: a kernel (or more) per region, a tape
 * function per function, phases from what launches read and write; then expand_math, plan_memory
 * and the checks. */
#include <stdio.h>
#include <string.h>

#include "mir/lower/lower.h"

typedef struct tape_op {
    const rlx_ir_func *target; /* kernel or tape function */
    bool is_call;
    int64_t first, count, phase;
    int nbuffers;
    tape_buffer **buffers;
} tape_op;

typedef struct made_kernel {
    const rlx_ir_func *kernel;
    rlx_hash fingerprint;
} made_kernel;

struct tape_cx {
    rlx_arena *arena;
    rlx_ir_module *mir, *out;
    const char *func; /* name of the function being lowered */
    tape_buffer **buffers;
    int nbuffers, cap_buffers;
    tape_op *ops;
    int nops, cap_ops;
    int64_t phase;
    int kernels; /* begun so far in the module: for names */
    made_kernel *made;
    int nmade, cap_made;
};

/* ---- the tape's buffers ------------------------------------------------------------------------
 */

static void *grow(rlx_arena *arena, void *items, int n, int *cap, size_t size)
{
    if (n < *cap)
        return items;
    int more = *cap ? 2 * *cap : 16;
    char *p = rlx_arena_alloc(arena, size * (size_t)more);
    if (p && n)
        memcpy(p, items, size * (size_t)n);
    if (p)
        *cap = more;
    return p;
}

static tape_buffer *add_buffer(tape_cx *t, const rlx_ir_type *tensor)
{
    tape_buffer **all = grow(t->arena, t->buffers, t->nbuffers, &t->cap_buffers, sizeof *all);
    tape_buffer *b = RLX_NEW(t->arena, tape_buffer);
    if (!all || !b)
        return NULL;
    t->buffers = all;
    t->buffers[t->nbuffers++] = b;
    b->type = rlx_ir_buffer(RLX_SPACE_GLOBAL, tensor->format, tensor->rank, tensor->dim);
    return b;
}

tape_buffer *tape_temp(tape_cx *t, const rlx_ir_type *tensor)
{
    return add_buffer(t, tensor);
}

/* ---- rows that lie apart ---- */

/* Whether nothing but products by panels, of plain rows, reads what stands in `block`; *with_sign: by codes
 * that all have one. */
static bool goes_to_panels(const rlx_ir_block *block, const rlx_ir_value *v, bool *with_sign)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        for (int i = 0; i < n->nin; i++) {
            if (n->in[i] != v)
                continue;
            if (n->op == RLX_MIR_REGION &&
                goes_to_panels(n->blocks[0], n->blocks[0]->args[i], with_sign))
                continue;
            if (n->op != RLX_MIR_CONTRACT_Q || n->nin > 4 ||
                rlx_ir_attr_int(n, RLX_ATTR_LANES, 0) != 1)
                return false;
            *with_sign &= rlx_format_signed_codes(n->in[3]->type.format);
        }
    }
    return true;
}

/* Rows that panels read side by side would fall into few sets of the caches where they are a power of
 * two of bytes apart: they are a line more. Codes are raised where all products want them so. */
static void set_apart(const rlx_mir_lower_options *o, const rlx_ir_value *v)
{
    enum { LINE = 64, SETS = 1024 /* bytes */ };
    const int64_t bytes = rlx_format_get(v->type.format)->block_bytes;
    const int last = v->type.rank - 1;
    tape_buffer *b = v->scratch;
    bool with_sign = true;
    if (o->target->unit != RLX_UNIT_CPU || b->is_arg || last < 1 ||
        !rlx_dim_is_const(v->type.dim[last]) || !goes_to_panels(v->def->parent, v, &with_sign))
        return;
    const bool few_sets = v->type.dim[last] * bytes % SETS == 0;
    const bool raised = v->type.format == RLX_I8 && with_sign && o->target->raised_bytes;
    if (few_sets)
        b->type.dim[last] += LINE / bytes;
    if (raised)
        b->type.format = RLX_U8;
    b->apart = few_sets || raised;
}

/* A launch joins the running phase unless it reads what the phase writes or writes what it touches.
 */
static void choose_phase(tape_cx *t, tape_op *op, const bool *written)
{
    bool conflict = op->is_call;
    for (int i = 0; i < op->nbuffers; i++)
        conflict |= op->buffers[i]->writes || (written[i] && op->buffers[i]->reads);
    if (t->nops > 0 && t->ops[t->nops - 1].is_call)
        conflict = true;
    if (conflict) {
        t->phase++;
        for (int i = 0; i < t->nbuffers; i++)
            t->buffers[i]->reads = t->buffers[i]->writes = 0;
    }
    for (int i = 0; i < op->nbuffers; i++)
        (*(written[i] ? &op->buffers[i]->writes : &op->buffers[i]->reads))++;
    op->phase = t->phase;
}

static rlx_status add_op(tape_cx *t, tape_op op, const bool *written)
{
    tape_op *all = grow(t->arena, t->ops, t->nops, &t->cap_ops, sizeof *all);
    if (!all)
        return RLX_OOM();
    t->ops = all;
    choose_phase(t, &op, written);
    t->ops[t->nops++] = op;
    return RLX_OK;
}

/* ---- kernels
 * -------------------------------------------------------------------------------------- */

/* One more argument: a buffer's elements in row-major order as `t`. */
static rlx_ir_value *add_argument(kernel_cx *k, const char *name, tape_buffer *buffer,
                                  const rlx_ir_type *t, bool written)
{
    tape_buffer **args = grow(k->arena, k->args, k->nargs, &k->cap_args, sizeof *args);
    bool *flags = RLX_NEW_ARRAY(k->arena, bool, k->nargs + 1);
    if (!args || !flags) {
        rlx_ir_builder_fail(k->b, RLX_OOM());
        return NULL;
    }
    if (k->nargs)
        memcpy(flags, k->written, sizeof(bool) * (size_t)k->nargs);
    k->args = args;
    k->written = flags;
    k->args[k->nargs] = buffer;
    k->written[k->nargs++] = written;
    rlx_ir_type as = *t; /* perhaps with its rows in fewer axes */
    if (buffer->apart) {
        as.format = buffer->type.format;
        as.dim[as.rank - 1] = buffer->type.dim[buffer->type.rank - 1];
    }
    return rlx_lir_build_buffer(k->b, k->kernel, name, as.format, as.rank, as.dim);
}

rlx_ir_value *kernel_extra(kernel_cx *k, const char *name, tape_buffer *buffer, bool written)
{
    return add_argument(k, name, buffer, &buffer->type, written);
}

/* The operand whose memory result i updates in place, or -1. */
static int aliased_operand(const rlx_ir_node *region, int i)
{
    const rlx_ir_value *v = region->blocks[0]->last->in[i];
    const int pool = v->def ? rlx_mir_updated_operand(v->def, (int)v->index) : -1;
    return pool < 0 || v->def->in[pool]->def ? -1 : (int)v->def->in[pool]->index;
}

/* A reshape of what lies in memory is that memory, in other axes: no index is taken apart. Pools
 * that the region writes stay as they are. */
static void bind_reshaped(region_cx *r, kernel_cx *k)
{
    char name[16];
    int made = 0;
    for (const rlx_ir_node *n = r->node->blocks[0]->first; n; n = n->next) {
        if (n->op != RLX_MIR_RESHAPE || n->in[0]->def || k->written[n->in[0]->index])
            continue;
        snprintf(name, sizeof name, "view%d", made++);
        tape_buffer *memory = r->operand[n->in[0]->index];
        k_bind(k, n->out[0], BIND_BUFFER, add_argument(k, name, memory, &n->out[0]->type, false));
    }
}

static rlx_status bind_arguments(region_cx *r, kernel_cx *k)
{
    const rlx_ir_block *body = r->node->blocks[0];
    char name[16];
    k->result_arg = RLX_NEW_ARRAY(r->arena, int, r->node->nout);
    if (!k->result_arg)
        return RLX_OOM();
    for (int i = 0; i < r->node->nin; i++) {
        snprintf(name, sizeof name, "in%d", i);
        rlx_ir_value *arg = body->args[i];
        k_bind(k, arg, BIND_BUFFER, add_argument(k, name, r->operand[i], &arg->type, false));
    }
    for (int i = 0; i < r->node->nout; i++) {
        int alias = aliased_operand(r->node, i);
        k->result_arg[i] = alias >= 0 ? alias : k->nargs;
        if (alias >= 0) {
            k->written[alias] = true;
            continue;
        }
        snprintf(name, sizeof name, "out%d", i);
        add_argument(k, name, r->result[i], &body->last->in[i]->type, true);
    }
    bind_reshaped(r, k);
    return rlx_ir_builder_finish(k->b);
}

/* How the region's kernels compute in floating point, as text in the arena; NULL: out of memory. */
static const char *describe_numerics(const region_cx *r)
{
    for (const rlx_ir_node *n = r->node->blocks[0]->first; n; n = n->next) {
        int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0);
        int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
        if (width && n->op == RLX_MIR_ATTENTION)
            return rlx_arena_printf(r->arena, "%s and %s products by %lld, f32 sums",
                                    rlx_format_get(rlx_mir_attention_halves(n, true))->name,
                                    rlx_format_get(rlx_mir_attention_halves(n, false))->name,
                                    (long long)width);
        if (width)
            return rlx_arena_printf(r->arena, "%s products by %lld, f32 lanes %lld",
                                    rlx_format_get(n->in[0]->type.format)->name, (long long)width,
                                    (long long)lanes);
        if (n->op == RLX_MIR_CONTRACT_Q)
            return rlx_arena_printf(r->arena, "i8 products by groups of %d, f32 lanes %lld",
                                    rlx_format_group(n->in[3]->type.format), (long long)lanes);
        if (lanes)
            return rlx_arena_printf(r->arena, "f32 lanes %lld", (long long)lanes);
    }
    return "f32 lanes 16";
}

rlx_status kernel_begin(region_cx *r, kernel_cx *k, const char *what, const char *schedule)
{
    rlx_ir_builder *b = RLX_NEW(r->arena, rlx_ir_builder);
    if (!b)
        return RLX_OOM();
    rlx_ir_builder_init(b, r->out);
    b->place = r->node->place;
    *k = (kernel_cx){.options = r->options,
                     .arena = r->arena,
                     .dims = r->out->dims,
                     .b = b,
                     .region = r->node,
                     .place = r->node->place};
    for (const rlx_ir_node *n = r->node->blocks[0]->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            n->out[i]->scratch = NULL;
    char *name = rlx_arena_printf(r->arena, "k%d_%s", r->tape->kernels++, what);
    const char *numerics = describe_numerics(r);
    if (!name || !numerics)
        return RLX_OOM();
    rlx_attr attrs[3] = {rlx_attr_text(RLX_ATTR_SCHEDULE, schedule),
                         rlx_attr_text(RLX_ATTR_NUMERICS, numerics),
                         rlx_attr_int(RLX_ATTR_TEAM, r->options->target->team)};
    k->kernel = rlx_lir_build_kernel(b, name, 3, attrs);
    if (!k->kernel)
        return rlx_ir_builder_finish(b);
    k->top = *b;
    return bind_arguments(r, k);
}

rlx_ir_value *kernel_result(const kernel_cx *k, int i)
{
    return k->kernel->body->args[k->result_arg[i]];
}

static void note_structured(kernel_cx *k, const rlx_lir_scope *s)
{
    if (!k->top.before)
        k->top.before = s->node;
}

void k_begin_grid(kernel_cx *k, int n, rlx_ir_value *const *extents, rlx_lir_scope *s)
{
    rlx_lir_begin_grid(k->b, n, extents, s);
    note_structured(k, s);
}

void k_begin_once(kernel_cx *k, rlx_lir_scope *s)
{
    rlx_lir_begin_once(k->b, s);
    note_structured(k, s);
}

static void drop_unused_arguments(kernel_cx *k)
{
    rlx_ir_func *f = k->kernel;
    int n = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        if (rlx_ir_count_uses(f->body, f->body->args[i]) == 0)
            continue;
        f->body->args[n] = f->body->args[i];
        f->body->args[n]->index = (uint32_t)n;
        f->arg_info[n] = f->arg_info[i];
        k->args[n] = k->args[i];
        k->written[n] = k->written[i];
        n++;
    }
    f->body->nargs = n;
    k->nargs = n;
}

/* *found: a kernel made before with the same text (fingerprints leave the name out), or `f` itself.
 */
static rlx_status reuse_kernel(tape_cx *t, rlx_ir_func *f, const rlx_ir_func **found)
{
    static const rlx_hash none; /* what a fingerprint is when memory is short */
    rlx_hash mine = rlx_ir_func_fingerprint(f);
    if (memcmp(&mine, &none, sizeof mine) == 0)
        return RLX_OOM();
    for (int i = 0; i < t->nmade; i++) {
        if (memcmp(&t->made[i].fingerprint, &mine, sizeof mine) != 0)
            continue;
        rlx_ir_func_remove(t->out, f);
        *found = t->made[i].kernel;
        return RLX_OK;
    }
    made_kernel *all = grow(t->arena, t->made, t->nmade, &t->cap_made, sizeof *all);
    if (!all)
        return RLX_OOM();
    t->made = all;
    t->made[t->nmade++] = (made_kernel){f, mine};
    *found = f;
    return RLX_OK;
}

rlx_status kernel_end(region_cx *r, kernel_cx *k)
{
    rlx_ir_build_return(k->b, 0, NULL);
    RLX_TRY(rlx_ir_builder_finish(k->b));
    RLX_TRY(rlx_ir_builder_finish(&k->top));
    drop_unused_arguments(k);
    tape_op op = {.nbuffers = k->nargs, .buffers = k->args};
    RLX_TRY(reuse_kernel(r->tape, k->kernel, &op.target));
    return add_op(r->tape, op, k->written);
}

void kernel_drop(region_cx *r, kernel_cx *k)
{
    rlx_status_free(rlx_ir_builder_finish(k->b));
    rlx_status_free(rlx_ir_builder_finish(&k->top));
    rlx_ir_func_remove(r->out, k->kernel);
    r->tape->kernels--;
}

/* ---- going back
 * -------------------------------------------------------------------------------- */

tape_mark tape_get_mark(const tape_cx *t)
{
    return (tape_mark){t->out->last, t->kernels, t->nmade, t->nops, t->nbuffers};
}

void tape_go_back(tape_cx *t, tape_mark mark)
{
    while (t->out->last != mark.last)
        rlx_ir_func_remove(t->out, t->out->last);
    t->kernels = mark.kernels;
    t->nmade = mark.nmade;
    t->nops = mark.nops;
    t->nbuffers = mark.nbuffers;
    t->phase++; /* who reads and writes what in this one is not known any more */
    for (int i = 0; i < t->nbuffers; i++)
        t->buffers[i]->reads = t->buffers[i]->writes = 0;
}

/* ---- functions
 * ----------------------------------------------------------------------------------- */

/* The tape's buffer of a value of the function's body. */
static tape_buffer *buffer_of(const rlx_ir_value *v)
{
    return v->scratch;
}

/* Whether the region has values without elements, which no tile is loaded from. */
static bool is_empty_anywhere(const rlx_ir_node *region)
{
    for (int i = 0; i < region->nin; i++)
        if (rlx_mir_is_empty(&region->in[i]->type))
            return true;
    for (const rlx_ir_node *n = region->blocks[0]->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            if (rlx_mir_is_empty(&n->out[i]->type))
                return true;
    return false;
}

/* Whether a result is something else than a root. */
static bool is_followed(const rlx_ir_node *region)
{
    const rlx_ir_node *yield = region->blocks[0]->last;
    for (int i = 0; i < yield->nin; i++)
        if (!yield->in[i]->def || !lower_is_root(yield->in[i]->def))
            return true;
    return false;
}

/* By tiles whole; or its roots on their own, where tiles cannot make what follows. */
static rlx_status lower_rooted(region_cx *r, rlx_status (*lower)(region_cx *))
{
    const tape_mark before = tape_get_mark(r->tape);
    rlx_status st = lower(r);
    if (rlx_status_code(st) != RLX_UNSUPPORTED || !is_followed(r->node))
        return st;
    rlx_status_free(st);
    tape_go_back(r->tape, before);
    return lower_apart(r);
}

rlx_status lower_region(tape_cx *t, const rlx_mir_lower_options *o, const rlx_ir_node *n)
{
    region_cx r = {
        .node = n, .options = o, .arena = t->arena, .mir = t->mir, .out = t->out, .tape = t};
    r.operand = RLX_NEW_ARRAY(t->arena, tape_buffer *, n->nin + 1);
    r.result = RLX_NEW_ARRAY(t->arena, tape_buffer *, n->nout + 1);
    if (!r.operand || !r.result)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        r.operand[i] = buffer_of(n->in[i]);
    for (int i = 0; i < n->nout; i++) {
        int alias = aliased_operand(n, i);
        if (alias >= 0)
            n->out[i]->scratch = r.operand[alias];
        else if (!n->out[i]->scratch) /* results of the function have their buffer already */
            n->out[i]->scratch = add_buffer(t, &n->out[i]->type);
        if (!n->out[i]->scratch)
            return RLX_OOM();
        r.result[i] = buffer_of(n->out[i]);
    }
    const char *root = rlx_ir_attr_text(n, RLX_ATTR_ROOT, "map");
    if (strcmp(root, "contract") == 0) {
        RLX_TRY(lower_merge_rows(&r));
        return lower_rooted(&r, lower_contract);
    }
    if (strcmp(root, "quantize") == 0) {
        for (int i = 0; i < n->nout; i++)
            set_apart(o, n->out[i]);
        return lower_quantize(&r);
    }
    if (strcmp(root, "attention") == 0)
        return lower_rooted(&r, lower_attention);
    if (strcmp(root, "recur") == 0)
        return lower_recur(&r);
    if (strcmp(root, "delta_chunks") == 0)
        return lower_delta_chunks(&r);
    if (strcmp(root, "loops") == 0 || is_empty_anywhere(n))
        return lower_loops(&r);
    if (strcmp(root, "order") == 0)
        return lower_order(&r);
    if (strcmp(root, "reduce") == 0 || strcmp(root, "map") == 0) {
        rlx_status st = lower_rows(&r);
        if (rlx_status_code(st) != RLX_UNSUPPORTED)
            return st;
        rlx_status_free(st); /* no tiles walk it */
        return lower_loops(&r);
    }
    return RLX_FAIL(RLX_UNSUPPORTED, "no lowering for a region around %s", root);
}

static rlx_status lower_call(tape_cx *t, const rlx_ir_node *n)
{
    const char *callee = rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "");
    tape_op op = {.target = rlx_ir_func_find(t->out, callee),
                  .is_call = true,
                  .first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0),
                  .count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1)};
    if (!op.target)
        return RLX_FAIL(RLX_INVALID_IR, "call of @%s, which does not stand before", callee);
    int most = n->nin + 2 * n->nout;
    op.buffers = RLX_NEW_ARRAY(t->arena, tape_buffer *, most + 1);
    bool *written = RLX_NEW_ARRAY(t->arena, bool, most + 1);
    if (!op.buffers || !written)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        op.buffers[op.nbuffers++] = buffer_of(n->in[i]);
    for (int spare = 0; spare < (op.count > 1 ? 2 : 1); spare++) {
        for (int i = 0; i < n->nout; i++) {
            tape_buffer *b = spare || !n->out[i]->scratch ? add_buffer(t, &n->out[i]->type)
                                                          : buffer_of(n->out[i]);
            if (!b)
                return RLX_OOM();
            if (!spare)
                n->out[i]->scratch = b;
            written[op.nbuffers] = true;
            op.buffers[op.nbuffers++] = b;
        }
    }
    return add_op(t, op, written);
}

static rlx_status make_arguments(tape_cx *t, const rlx_ir_func *f)
{
    for (int i = 0; i < f->body->nargs; i++) {
        rlx_ir_value *v = f->body->args[i];
        tape_buffer *b = add_buffer(t, &v->type);
        if (!b)
            return RLX_OOM();
        b->is_arg = true;
        b->role = f->arg_info[i].role;
        b->symbol = f->arg_info[i].symbol;
        b->name = v->name;
        v->scratch = b;
    }
    const rlx_ir_node *ret = f->body->last;
    for (int i = 0; i < ret->nin; i++) {
        tape_buffer *b = add_buffer(t, &ret->in[i]->type);
        if (!b)
            return RLX_OOM();
        b->is_arg = true;
        b->role = RLX_ROLE_OUT;
        b->name = rlx_arena_printf(t->arena, "result%d", i);
        ret->in[i]->scratch = b;
    }
    return RLX_OK;
}

/* The tape function, once all its kernels stand in the module. */
static rlx_status build_tape(tape_cx *t)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, t->out);
    rlx_ir_func *f = rlx_ir_build_func(&b, t->func, 0, NULL);
    for (int i = 0; i < t->nbuffers; i++) {
        tape_buffer *buf = t->buffers[i];
        if (buf->is_arg)
            buf->lir = rlx_ir_build_arg(&b, f, buf->role, buf->symbol, buf->name, buf->type);
    }
    for (int i = 0; i < t->nbuffers; i++) {
        tape_buffer *buf = t->buffers[i];
        if (!buf->is_arg)
            buf->lir = rlx_lir_build_temp(&b, buf->type.format, buf->type.rank, buf->type.dim);
    }
    for (int i = 0; i < t->nops; i++) {
        const tape_op *op = &t->ops[i];
        rlx_ir_value **values = RLX_NEW_ARRAY(t->arena, rlx_ir_value *, op->nbuffers + 1);
        if (!values) {
            rlx_ir_builder_fail(&b, RLX_OOM());
            break;
        }
        for (int j = 0; j < op->nbuffers; j++)
            values[j] = op->buffers[j]->lir;
        if (op->is_call)
            rlx_lir_build_call(&b, op->target, op->first, op->count, op->nbuffers, values);
        else
            rlx_lir_build_launch(&b, op->target, op->phase, op->nbuffers, values);
    }
    rlx_ir_build_return(&b, 0, NULL);
    return rlx_ir_builder_finish(&b);
}

static rlx_status lower_func(tape_cx *t, const rlx_mir_lower_options *o, const rlx_ir_func *f)
{
    t->func = f->name;
    t->nbuffers = t->nops = 0;
    t->phase = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            n->out[i]->scratch = NULL;
    RLX_TRY(make_arguments(t, f));
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op == RLX_MIR_REGION)
            RLX_TRY_NOTE(lower_region(t, o, n), "lowering a %s region at %s of @%s",
                         rlx_ir_attr_text(n, RLX_ATTR_ROOT, "map"),
                         n->place ? n->place : "an unnamed place", f->name);
        else if (n->op == RLX_MIR_CALL)
            RLX_TRY(lower_call(t, n));
        else if (n->op != RLX_MIR_RETURN)
            return RLX_FAIL(RLX_INVALID_IR, "%s stands outside of a region in @%s",
                            rlx_mir_level.ops[n->op].mnemonic, f->name);
    }
    return build_tape(t);
}

/* A region that copies: gives a returned value memory of its own when it has other memory already.
 */
static rlx_status copy_returned(rlx_ir_module *m, rlx_ir_func *f, int i)
{
    rlx_ir_node *ret = f->body->last;
    rlx_ir_value *v = ret->in[i];
    rlx_ir_builder b, inner;
    rlx_ir_builder_init(&b, m);
    b.block = f->body;
    b.before = ret;
    rlx_attr root = rlx_attr_text(RLX_ATTR_ROOT, "map");
    rlx_ir_node *n = rlx_ir_build_node(&b, RLX_MIR_REGION, 1, &v, 1, &root, 1, &v->type);
    RLX_TRY(rlx_ir_builder_finish(&b));
    rlx_ir_builder_init(&inner, m);
    inner.block = n->blocks[0];
    rlx_ir_value *arg = rlx_ir_build_block_arg(&inner, n->blocks[0], NULL, v->type);
    rlx_ir_build_yield(&inner, 1, &arg);
    ret->in[i] = n->out[0];
    return rlx_ir_builder_finish(&inner);
}

static bool updates_in_place(const rlx_ir_value *v)
{
    return v->def->op == RLX_MIR_REGION && aliased_operand(v->def, (int)v->index) >= 0;
}

/* Arguments, pools and values returned twice are copied into the results. */
static rlx_status give_results_memory(rlx_ir_module *m, rlx_ir_func *f)
{
    rlx_ir_node *ret = f->body->last;
    for (int i = 0; i < ret->nin; i++) {
        bool copy = !ret->in[i]->def || updates_in_place(ret->in[i]);
        for (int j = 0; j < i; j++)
            copy |= ret->in[j] == ret->in[i];
        if (copy)
            RLX_TRY(copy_returned(m, f, i));
    }
    return RLX_OK;
}

static rlx_status finish(rlx_ir_module *out, const rlx_mir_lower_options *o, const char *entry)
{
    rlx_lir_plan_options plan = {.upper = o->upper};
    rlx_pass_options options = {
        .options = &plan, .compare = rlx_lir_compare, .user = (void *)o->upper};
    const rlx_pass passes[2] = {rlx_lir_pass_expand_math, rlx_lir_pass_plan_memory};
    RLX_TRY(rlx_ir_verify(out));
    RLX_TRY(rlx_ir_run_passes(out, passes, 2, &options));
    rlx_lir_plan_report report;
    return rlx_lir_check_plan(out, entry, o->upper, &report);
}

rlx_status rlx_mir_lower(const rlx_ir_module *m, const rlx_mir_lower_options *o,
                         rlx_ir_module **out)
{
    *out = NULL;
    rlx_ir_module *work = NULL, *result = NULL;
    rlx_status st = RLX_OK;
    tape_cx t = {.arena = rlx_arena_create()};
    if (!t.arena)
        return RLX_OOM();
    RLX_TRY_TO(done, rlx_ir_module_clone(m, &work)); /* scratch fields and copies are its own */
    RLX_TRY_TO(done, rlx_ir_module_create(&rlx_lir_level, m->dims, m->name, &result));
    t.mir = work;
    t.out = result;
    for (rlx_ir_func *f = work->first; f; f = f->next) {
        RLX_TRY_TO(done, give_results_memory(work, f));
        RLX_TRY_TO(done, lower_func(&t, o, f));
    }
    RLX_TRY_TO(done, finish(result, o, work->last->name));
    *out = result;
    result = NULL;
done:
    rlx_ir_module_destroy(work);
    rlx_ir_module_destroy(result);
    rlx_arena_destroy(t.arena);
    return st ? rlx_status_note(st, __FILE__, __LINE__, "lowering %s to lir", m->name) : RLX_OK;
}
