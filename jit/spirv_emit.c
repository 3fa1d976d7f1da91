#include "jit/spirv_emit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "jit/spirv_barriers.h"
#include "lir/lir_team.h"

/* ---- the map from LIR values to tiles ---- */

static rlx_status new_slot(rlx_spirv_emit *e, const rlx_ir_value *v, int parts,
                           rlx_spirv_tile **out)
{
    rlx_spirv_tile *t = RLX_NEW(e->arena, rlx_spirv_tile);
    rlx_spirv_id *part = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, parts);
    if (!t || !part)
        return RLX_OOM();
    *t = (rlx_spirv_tile){.value = v, .n = parts, .part = part};
    intptr_t *slot = rlx_ir_map_at(&e->tiles, v);
    if (!slot)
        return RLX_OOM();
    assert(!*slot);
    *slot = (intptr_t)t;
    *out = t;
    return RLX_OK;
}

const rlx_spirv_tile *rlx_spirv_get(const rlx_spirv_emit *e, const rlx_ir_value *v)
{
    const rlx_spirv_tile *t = (const rlx_spirv_tile *)rlx_ir_map_get(&e->tiles, v, 0);
    assert(t && "the verifier lets no value be used before its definition");
    return t;
}

rlx_spirv_id rlx_spirv_scalar(const rlx_spirv_emit *e, const rlx_ir_value *v)
{
    const rlx_spirv_tile *t = rlx_spirv_get(e, v);
    assert(t->n == 1 && v->type.rank == 0);
    return t->part[0];
}

int64_t rlx_spirv_elems(const rlx_ir_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

int rlx_spirv_parts(const rlx_spirv_emit *e, const rlx_ir_type *tile)
{
    return tile->rank ? (int)((rlx_spirv_elems(tile) + e->team - 1) / e->team) : 1;
}

rlx_status rlx_spirv_define(rlx_spirv_emit *e, const rlx_ir_value *v, rlx_spirv_tile **out)
{
    return new_slot(e, v, rlx_spirv_parts(e, &v->type), out);
}

rlx_status rlx_spirv_unsupported(const rlx_spirv_emit *e, const rlx_ir_node *n, const char *fmt,
                                 ...)
{
    char why[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    return RLX_FAIL(RLX_UNSUPPORTED, "the SPIR-V emitter cannot emit `%s` in kernel @%s%s%s: %s",
                    rlx_ir_info(e->kernel->module, n)->mnemonic, e->kernel->name,
                    n->place ? " at " : "", n->place ? n->place : "", why);
}

/* ---- dims: in the entry block ---- */

static rlx_spirv_id load_symbol(rlx_spirv_emit *e, int index)
{
    if (e->symbol[index])
        return e->symbol[index];
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id pointer = rlx_spirv_type_pointer(m, SpvStorageClassStorageBuffer, e->i64);
    rlx_spirv_id at =
        rlx_spirv_op(m, SpvOpAccessChain, pointer, e->symbols, rlx_spirv_const_u32(m, 0),
                     rlx_spirv_const_u32(m, (uint32_t)index));
    e->symbol[index] = rlx_spirv_op(m, SpvOpLoad, e->i64, at);
    rlx_spirv_name(m, e->symbol[index], rlx_dim_symbol_name(e->kernel->module->dims, index));
    return e->symbol[index];
}

static rlx_spirv_id pick(rlx_spirv_emit *e, SpvOp op, rlx_spirv_id x, rlx_spirv_id y)
{
    rlx_spirv_id c = rlx_spirv_op(&e->m, op, e->bool_, x, y);
    return rlx_spirv_op(&e->m, SpvOpSelect, e->i64, c, x, y);
}

/* i64. Symbols are extents, so every dim is nonnegative and division may be unsigned. */
static rlx_spirv_id emit_dim(rlx_spirv_emit *e, rlx_dim d)
{
    rlx_spirv_module *m = &e->m;
    if (rlx_dim_is_const(d))
        return rlx_spirv_const_i64(m, d);
    rlx_dim_node n = rlx_dim_get(e->kernel->module->dims, d);
    if (n.op == RLX_DIM_SYMBOL)
        return load_symbol(e, (int)n.a);
    rlx_spirv_id x = emit_dim(e, n.a), y = emit_dim(e, n.b);
    switch (n.op) {
    case RLX_DIM_ADD:
        return rlx_spirv_op(m, SpvOpIAdd, e->i64, x, y);
    case RLX_DIM_MUL:
        return rlx_spirv_op(m, SpvOpIMul, e->i64, x, y);
    case RLX_DIM_FLOORDIV:
        return rlx_spirv_op(m, SpvOpUDiv, e->i64, x, y);
    case RLX_DIM_CEILDIV:
        x = rlx_spirv_op(m, SpvOpIAdd, e->i64, x, rlx_spirv_const_i64(m, n.b - 1));
        return rlx_spirv_op(m, SpvOpUDiv, e->i64, x, y);
    case RLX_DIM_MOD:
        return rlx_spirv_op(m, SpvOpUMod, e->i64, x, y);
    case RLX_DIM_MIN:
        return pick(e, SpvOpSLessThan, x, y);
    case RLX_DIM_MAX:
        return pick(e, SpvOpSGreaterThan, x, y);
    case RLX_DIM_SYMBOL:
        break;
    }
    return 0;
}

static rlx_spirv_id entry_dim(rlx_spirv_emit *e, rlx_dim d)
{
    e->m.into = RLX_SPIRV_ENTRY;
    rlx_spirv_id v = emit_dim(e, d);
    e->m.into = RLX_SPIRV_BODY;
    return v;
}

rlx_status rlx_spirv_define_buffer(rlx_spirv_emit *e, const rlx_ir_value *v,
                                   const rlx_spirv_buffer *how)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_tile *t;
    RLX_TRY(new_slot(e, v, 1, &t));
    rlx_spirv_buffer *b = t->buffer = RLX_NEW(e->arena, rlx_spirv_buffer);
    if (!b)
        return RLX_OOM();
    *b = *how;
    b->type = &v->type;
    m->into = RLX_SPIRV_ENTRY;
    for (int i = v->type.rank - 2; i >= 0; i--) {
        rlx_dim d = v->type.dim[i + 1];
        rlx_spirv_id extent = rlx_dim_is_const(d)
                                  ? rlx_spirv_const_u32(m, (uint32_t)d)
                                  : rlx_spirv_op(m, SpvOpUConvert, e->u32, emit_dim(e, d));
        b->stride[i] = b->stride[i + 1]
                           ? rlx_spirv_op(m, SpvOpIMul, e->u32, b->stride[i + 1], extent)
                           : extent;
    }
    m->into = RLX_SPIRV_BODY;
    return RLX_OK;
}

/* ---- structure ---- */

static rlx_status emit_block(rlx_spirv_emit *e, const rlx_ir_block *block);

void rlx_spirv_loop_begin(rlx_spirv_emit *e, rlx_spirv_id lo, rlx_spirv_id hi, rlx_spirv_loop *l)
{
    rlx_spirv_module *m = &e->m;
    *l = (rlx_spirv_loop){.header = rlx_spirv_new_id(m),
                          .body = rlx_spirv_new_id(m),
                          .latch = rlx_spirv_new_id(m),
                          .exit = rlx_spirv_new_id(m),
                          .before = m->block,
                          .next = rlx_spirv_new_id(m),
                          .hi = hi};
    rlx_spirv_branch(m, l->header);
    rlx_spirv_label(m, l->header);
    l->index = rlx_spirv_op(m, SpvOpPhi, e->i64, lo, l->before, l->next, l->latch);
}

void rlx_spirv_loop_enter(rlx_spirv_emit *e, const rlx_spirv_loop *l)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id more = rlx_spirv_op(m, SpvOpSLessThan, e->bool_, l->index, l->hi);
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpLoopMerge, l->exit, l->latch, SpvLoopControlMaskNone);
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpBranchConditional, more, l->body, l->exit);
    rlx_spirv_label(m, l->body);
}

void rlx_spirv_loop_end(rlx_spirv_emit *e, const rlx_spirv_loop *l, rlx_spirv_id step)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_branch(m, l->latch);
    rlx_spirv_label(m, l->latch);
    rlx_spirv_put_result(m, SpvOpIAdd, e->i64, l->next, RLX_SPIRV_WORDS(l->index, step));
    rlx_spirv_branch(m, l->header);
    rlx_spirv_label(m, l->exit);
}

enum { PHI_WORDS = 7, PHI_NEXT = 5 }; /* of a phi with two edges; where the second value stands */

size_t rlx_spirv_carry(rlx_spirv_emit *e, const rlx_spirv_loop *l, rlx_spirv_id type, int n,
                       const rlx_spirv_id *first, rlx_spirv_id *out)
{
    const size_t at = e->m.section[RLX_SPIRV_BODY].len;
    for (int p = 0; p < n; p++)
        out[p] = rlx_spirv_op(&e->m, SpvOpPhi, type, first[p], l->before, 0, l->latch);
    return at;
}

size_t rlx_spirv_carry_on(rlx_spirv_emit *e, size_t at, int n, const rlx_spirv_id *next)
{
    rlx_text *text = &e->m.section[RLX_SPIRV_BODY];
    for (int p = 0; p < n && !text->oom; p++, at += PHI_WORDS * sizeof(uint32_t))
        memcpy(text->data + at + PHI_NEXT * sizeof(uint32_t), &next[p], sizeof(uint32_t));
    return at;
}

static rlx_status carry(rlx_spirv_emit *e, const rlx_ir_node *n, const rlx_spirv_loop *l)
{
    const rlx_ir_block *body = n->blocks[0];
    for (int i = 1; i < body->nargs; i++) {
        const rlx_spirv_tile *init = rlx_spirv_get(e, n->in[1 + i]);
        rlx_spirv_id type = rlx_spirv_value_type(e, body->args[i]->type.format);
        rlx_spirv_tile *t;
        RLX_TRY(rlx_spirv_define(e, body->args[i], &t));
        rlx_spirv_carry(e, l, type, t->n, init->part, t->part);
    }
    return RLX_OK;
}

static void fill_carried(rlx_spirv_emit *e, const rlx_ir_node *n, size_t phis)
{
    const rlx_ir_block *body = n->blocks[0];
    for (int i = 1; i < body->nargs; i++) {
        const rlx_spirv_tile *next = rlx_spirv_get(e, body->last->in[i - 1]);
        phis = rlx_spirv_carry_on(e, phis, next->n, next->part);
    }
}

static rlx_status emit_for(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_block *body = n->blocks[0];
    rlx_spirv_loop l;
    rlx_spirv_tile *t;
    rlx_spirv_loop_begin(e, rlx_spirv_scalar(e, n->in[0]), rlx_spirv_scalar(e, n->in[1]), &l);
    RLX_TRY(rlx_spirv_define(e, body->args[0], &t));
    t->part[0] = l.index;
    size_t phis = e->m.section[RLX_SPIRV_BODY].len;
    RLX_TRY(carry(e, n, &l));
    rlx_spirv_loop_enter(e, &l);
    RLX_TRY(emit_block(e, body));
    fill_carried(e, n, phis);
    rlx_spirv_loop_end(e, &l, rlx_spirv_const_i64(&e->m, rlx_ir_attr_int(n, RLX_ATTR_STEP, 1)));
    for (int i = 0; i < n->nout; i++) {
        const rlx_spirv_tile *last = rlx_spirv_get(e, body->args[1 + i]);
        RLX_TRY(rlx_spirv_define(e, n->out[i], &t));
        memcpy(t->part, last->part, sizeof *t->part * (size_t)t->n);
    }
    return RLX_OK;
}

static rlx_status emit_if(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id arm[2] = {rlx_spirv_new_id(m), rlx_spirv_new_id(m)}, join = rlx_spirv_new_id(m);
    rlx_spirv_id from[2];
    rlx_spirv_select_branch(m, rlx_spirv_scalar(e, n->in[0]), arm[0], arm[1], join);
    for (int i = 0; i < 2; i++) {
        rlx_spirv_label(m, arm[i]);
        RLX_TRY(emit_block(e, n->blocks[i]));
        from[i] = m->block;
        rlx_spirv_branch(m, join);
    }
    rlx_spirv_label(m, join);
    for (int i = 0; i < n->nout; i++) {
        const rlx_spirv_tile *a = rlx_spirv_get(e, n->blocks[0]->last->in[i]);
        const rlx_spirv_tile *b = rlx_spirv_get(e, n->blocks[1]->last->in[i]);
        rlx_spirv_id type = rlx_spirv_value_type(e, n->out[i]->type.format);
        rlx_spirv_tile *t;
        RLX_TRY(rlx_spirv_define(e, n->out[i], &t));
        for (int p = 0; p < t->n; p++)
            t->part[p] = rlx_spirv_op(m, SpvOpPhi, type, a->part[p], from[0], b->part[p], from[1]);
    }
    return RLX_OK;
}

/* Instances are dealt to teams one by one: team, team + teams, .. */
static rlx_status emit_grid(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id total = rlx_spirv_scalar(e, n->in[0]);
    for (int i = 1; i < n->nin; i++)
        total = rlx_spirv_op(m, SpvOpIMul, e->i64, total, rlx_spirv_scalar(e, n->in[i]));
    rlx_spirv_loop l;
    rlx_spirv_loop_begin(e, e->team_index, total, &l);
    rlx_spirv_loop_enter(e, &l);
    rlx_spirv_id index = l.index;
    for (int i = n->nin - 1; i >= 0; i--) {
        rlx_spirv_tile *t;
        rlx_spirv_id extent = rlx_spirv_scalar(e, n->in[i]);
        RLX_TRY(rlx_spirv_define(e, n->blocks[0]->args[i], &t));
        t->part[0] = i ? rlx_spirv_op(m, SpvOpUMod, e->i64, index, extent) : index;
        if (i)
            index = rlx_spirv_op(m, SpvOpUDiv, e->i64, index, extent);
    }
    RLX_TRY(emit_block(e, n->blocks[0]));
    rlx_spirv_barrier(m);
    rlx_spirv_loop_end(e, &l, e->teams);
    return RLX_OK;
}

static rlx_status emit_once(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    RLX_TRY(emit_block(e, n->blocks[0]));
    rlx_spirv_barrier(&e->m);
    return RLX_OK;
}

static rlx_status emit_alloc(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_module *m = &e->m;
    const rlx_ir_type *t = &n->out[0]->type;
    int64_t elems = rlx_spirv_elems(t);
    rlx_spirv_id elem = rlx_spirv_team_type(e, t->format);
    rlx_spirv_id type = rlx_spirv_intern(
        m, SpvOpTypeArray, 0, RLX_SPIRV_WORDS(elem, rlx_spirv_const_u32(m, (uint32_t)elems)));
    const char *name = n->out[0]->name ? n->out[0]->name : "team";
    rlx_spirv_id v = rlx_spirv_variable(m, SpvStorageClassWorkgroup, type, name);
    e->team_bytes += elems * rlx_spirv_team_elem_bytes(t->format);
    return rlx_spirv_define_buffer(
        e, n->out[0],
        &(rlx_spirv_buffer){.variable = v,
                            .met = true,
                            .pointer = rlx_spirv_type_pointer(m, SpvStorageClassWorkgroup, elem)});
}

/* ---- ops that work element by element ---- */

static rlx_status emit_map(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, 0);
    const rlx_spirv_tile *in[3];
    rlx_spirv_tile *out;
    assert(n->nin <= 3);
    for (int i = 0; i < n->nin; i++)
        in[i] = rlx_spirv_get(e, n->in[i]);
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        rlx_spirv_id x[3];
        for (int i = 0; i < n->nin; i++)
            x[i] = in[i]->part[n->in[i]->type.rank ? p : 0];
        RLX_TRY(rlx_spirv_map(e, n, fn, n->in[n->nin - 1]->type.format, x, &out->part[p]));
    }
    return RLX_OK;
}

static rlx_status emit_cast(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_spirv_tile *in = rlx_spirv_get(e, n->in[0]);
    rlx_format from = n->in[0]->type.format, to = n->out[0]->type.format;
    rlx_spirv_tile *out;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        if (n->op == RLX_LIR_BITCAST)
            out->part[p] = rlx_spirv_bitcast(e, from, to, in->part[p]);
        else
            out->part[p] = rlx_spirv_cast(e, from, to, in->part[p]);
    }
    return RLX_OK;
}

/* One value in every part. */
static rlx_status emit_uniform(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_spirv_id v)
{
    rlx_spirv_tile *out;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++)
        out->part[p] = v;
    return RLX_OK;
}

static rlx_status emit_op(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    switch (n->op) {
    case RLX_LIR_GRID:
        return emit_grid(e, n);
    case RLX_LIR_ONCE:
        return emit_once(e, n);
    case RLX_LIR_FOR:
        return emit_for(e, n);
    case RLX_LIR_IF:
        return emit_if(e, n);
    case RLX_LIR_ALLOC:
        return emit_alloc(e, n);
    case RLX_LIR_MAP:
        return emit_map(e, n);
    case RLX_LIR_CAST:
    case RLX_LIR_BITCAST:
        return emit_cast(e, n);
    case RLX_LIR_CONST:
        return emit_uniform(e, n, rlx_spirv_constant(e, n));
    case RLX_LIR_EXTENT:
        return emit_uniform(e, n, entry_dim(e, rlx_ir_attr_int(n, RLX_ATTR_EXTENT, 0)));
    case RLX_LIR_BARRIER:
        rlx_spirv_barrier(&e->m);
        return RLX_OK;
    case RLX_LIR_COMMIT:
    case RLX_LIR_WAIT:
        return RLX_OK; /* an async store has stored at once */
    default:
        return rlx_spirv_team_node(e, n);
    }
}

/* Says where in the model the node stands, and that it is the n-th of the kernel's text. */
static void put_line(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_module *m = &e->m;
    e->node_number++;
    if (!n->place || (e->place_block == m->block && strcmp(e->place, n->place) == 0))
        return;
    if (!e->place || strcmp(e->place, n->place) != 0) {
        e->place_string = rlx_spirv_new_id(m);
        rlx_spirv_put_text(m, RLX_SPIRV_STRINGS, SpvOpString, 1, &e->place_string, n->place, 0,
                           NULL);
    }
    e->place = n->place;
    e->place_block = m->block;
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpLine, e->place_string, e->node_number, 0);
}

static rlx_status emit_block(rlx_spirv_emit *e, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_YIELD || n->op == RLX_LIR_RETURN)
            continue;
        put_line(e, n);
        RLX_TRY(emit_op(e, n));
        bool parts = n->op != RLX_LIR_ALLOC && n->op != RLX_LIR_CONST && !rlx_spirv_defers(n);
        for (int i = 0; i < n->nout && parts; i++) {
            const rlx_spirv_tile *t = rlx_spirv_get(e, n->out[i]);
            for (int p = 0; p < t->n; p++)
                rlx_spirv_name(&e->m, t->part[p], n->out[i]->name);
        }
    }
    return RLX_OK;
}

/* ---- the interface ---- */

static rlx_spirv_id builtin(rlx_spirv_emit *e, SpvBuiltIn which, const char *name)
{
    rlx_spirv_module *m = &e->m;
    const bool vector = which == SpvBuiltInWorkgroupId || which == SpvBuiltInNumWorkgroups;
    rlx_spirv_id type = vector ? rlx_spirv_type_vector(m, e->u32, 3) : e->u32;
    rlx_spirv_id v = rlx_spirv_variable(m, SpvStorageClassInput, type, name);
    rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, v, SpvDecorationBuiltIn,
                   (uint32_t)which);
    return v;
}

/* The x of a builtin vector, as i64, in the entry block. */
static rlx_spirv_id builtin_x(rlx_spirv_emit *e, rlx_spirv_id variable)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id v = rlx_spirv_op(m, SpvOpLoad, rlx_spirv_type_vector(m, e->u32, 3), variable);
    v = rlx_spirv_op(m, SpvOpCompositeExtract, e->u32, v, 0);
    return rlx_spirv_op(m, SpvOpUConvert, e->i64, v);
}

static void find_uses(const rlx_ir_block *block, const rlx_ir_value *buffer, bool *loaded,
                      bool *stored)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_LOAD && n->in[0] == buffer)
            *loaded = true;
        if (n->op == RLX_LIR_STORE && n->in[0] == buffer)
            *stored = true;
        for (int i = 0; i < n->nblock; i++)
            find_uses(n->blocks[i], buffer, loaded, stored);
    }
}

/* What a buffer of the format is an array of: the widest integer or float of the device that its
 * elements are made of; of codes that are read by fours, words or what comes nearest. */
static int unit_bytes(const rlx_spirv_emit *e, rlx_format f, bool fours)
{
    const rlx_format_info *info = rlx_format_get(f);
    int bytes = info->kind == RLX_KIND_BLOCK ? 1 : info->block_bytes;
    if (fours && (info->kind != RLX_KIND_BLOCK || info->block_bytes % 4 == 0))
        return 4;
    if (fours && info->block_bytes % 2 == 0)
        bytes = 2;
    bool stored = bytes >= 4 || rlx_spirv_has(e, bytes == 1 ? RLX_VULKAN_INT8 : RLX_VULKAN_INT16);
    return stored ? bytes : 4;
}

static rlx_spirv_id unit_type(rlx_spirv_emit *e, rlx_format f, int bytes)
{
    if (bytes == rlx_format_get(f)->block_bytes)
        return rlx_spirv_storage_type(e, f);
    return rlx_spirv_type_int(&e->m, 8 * bytes);
}

static rlx_spirv_id storage_buffer(rlx_spirv_emit *e, rlx_format f, int unit, int binding,
                                   const char *name)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id block = rlx_spirv_type_buffer(m, unit_type(e, f, unit), unit);
    rlx_spirv_id v = rlx_spirv_variable(m, SpvStorageClassStorageBuffer, block, name);
    rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, v, SpvDecorationDescriptorSet, 0);
    rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, v, SpvDecorationBinding,
                   (uint32_t)binding);
    return v;
}

static void decorate(rlx_spirv_emit *e, rlx_spirv_id v, SpvDecoration d)
{
    rlx_spirv_inst(&e->m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, v, (uint32_t)d);
}

/* Arguments that may be larger than a range: by their numbers, ascending. */
typedef struct far_arguments {
    int index[RLX_SPIRV_MAX_ADDRESSES], n;
} far_arguments;

static rlx_status find_far(const rlx_spirv_emit *e, far_arguments *out)
{
    const rlx_ir_block *body = e->kernel->body;
    *out = (far_arguments){0};
    if (!rlx_spirv_has(e, RLX_VULKAN_ADDRESS) || !e->options.upper)
        return RLX_OK;
    for (int i = 0; i < body->nargs; i++) {
        int64_t bytes;
        if (rlx_lir_upper_bytes(e->kernel->module->dims, &body->args[i]->type, e->options.upper,
                                &bytes) &&
            bytes <= e->options.range_bytes)
            continue;
        if (out->n == RLX_SPIRV_MAX_ADDRESSES)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "kernel @%s has more than %d arguments that may be larger than %lld "
                            "bytes",
                            e->kernel->name, RLX_SPIRV_MAX_ADDRESSES,
                            (long long)e->options.range_bytes);
        out->index[out->n++] = i;
    }
    return RLX_OK;
}

/* Number `slot` of the push constants is where the argument lies. */
static rlx_status define_far(rlx_spirv_emit *e, const rlx_ir_value *v, int bytes, int slot,
                             bool coherent)
{
    rlx_spirv_module *m = &e->m;
    const rlx_spirv_id unit = unit_type(e, v->type.format, bytes);
    rlx_spirv_id block = coherent ? rlx_spirv_type_coherent_buffer(m, unit, bytes)
                                  : rlx_spirv_type_buffer(m, unit, bytes);
    rlx_spirv_id to = rlx_spirv_type_pointer(m, SpvStorageClassPhysicalStorageBuffer, block);
    rlx_spirv_id pointer = rlx_spirv_type_pointer(m, SpvStorageClassPushConstant, e->i64);
    m->into = RLX_SPIRV_ENTRY;
    rlx_spirv_id address =
        rlx_spirv_op(m, SpvOpAccessChain, pointer, e->addresses, rlx_spirv_u32(e, slot));
    address = rlx_spirv_op(m, SpvOpLoad, e->i64, address);
    address = rlx_spirv_op(m, SpvOpConvertUToPtr, to, address);
    m->into = RLX_SPIRV_BODY;
    rlx_spirv_name(m, address, v->name);
    return rlx_spirv_define_buffer(
        e, v,
        &(rlx_spirv_buffer){
            .variable = address,
            .pointer = rlx_spirv_type_pointer(m, SpvStorageClassPhysicalStorageBuffer, unit),
            .unit_bytes = bytes,
            .far = true,
            .met = coherent});
}

static rlx_status define_near(rlx_spirv_emit *e, const rlx_ir_value *v, int unit, int binding,
                              bool loaded, bool stored)
{
    const rlx_format f = v->type.format;
    rlx_spirv_id variable = storage_buffer(e, f, unit, binding, v->name);
    if (!stored)
        decorate(e, variable, SpvDecorationNonWritable);
    const bool met = loaded && stored;
    if (met && !e->m.vulkan_memory) /* what one invocation wrote another reads, after a barrier */
        decorate(e, variable, SpvDecorationCoherent);
    return rlx_spirv_define_buffer(
        e, v,
        &(rlx_spirv_buffer){.variable = variable,
                            .pointer = rlx_spirv_type_pointer(&e->m, SpvStorageClassStorageBuffer,
                                                              unit_type(e, f, unit)),
                            .unit_bytes = unit,
                            .met = met});
}

static rlx_status define_arguments(rlx_spirv_emit *e, const far_arguments *far)
{
    rlx_spirv_module *m = &e->m;
    const rlx_ir_block *body = e->kernel->body;
    int slot = 0;
    e->symbols = storage_buffer(e, RLX_I64, 8, body->nargs, "symbols");
    decorate(e, e->symbols, SpvDecorationNonWritable);
    if (far->n)
        e->addresses = rlx_spirv_variable(m, SpvStorageClassPushConstant,
                                          rlx_spirv_type_addresses(m, far->n), "addresses");
    for (int i = 0; i < body->nargs; i++) {
        bool loaded = false, stored = false;
        find_uses(body, body->args[i], &loaded, &stored);
        const int unit = unit_bytes(e, body->args[i]->type.format,
                                    !stored && rlx_spirv_reads_fours(body, body->args[i]));
        if (slot < far->n && far->index[slot] == i)
            RLX_TRY(define_far(e, body->args[i], unit, slot++, loaded && stored));
        else
            RLX_TRY(define_near(e, body->args[i], unit, i, loaded, stored));
    }
    return RLX_OK;
}

/* Matrices begin at multiples of 16 bytes of the exchange, which drivers place no better than its type asks for: a vector of four words
 * behind its own does. */
static void define_exchange(rlx_spirv_emit *e)
{
    enum { BESIDE = 4 };
    rlx_spirv_module *m = &e->m;
    int64_t words = rlx_spirv_exchange_words(e, e->kernel->body);
    if (!words)
        return;
    rlx_spirv_id type = rlx_spirv_intern(
        m, SpvOpTypeArray, 0, RLX_SPIRV_WORDS(e->u32, rlx_spirv_const_u32(m, (uint32_t)words)));
    if (m->vulkan_memory) {
        type = rlx_spirv_intern(m, SpvOpTypeStruct, 0,
                                RLX_SPIRV_WORDS(type, rlx_spirv_type_vector(m, e->u32, BESIDE)));
        words += BESIDE;
    }
    e->exchange = rlx_spirv_variable(m, SpvStorageClassWorkgroup, type, "exchange");
    e->team_bytes += words * 4;
}

/* With subgroups an invocation's number is made of theirs: which of them has which number is not
 * said otherwise. */
enum { INVOCATION, GROUP, GROUPS, SUBGROUP_LANE, SUBGROUP_SIZE, BUILTINS };

static int define_builtins(rlx_spirv_emit *e, rlx_spirv_id *v)
{
    v[GROUP] = builtin(e, SpvBuiltInWorkgroupId, "group");
    v[GROUPS] = builtin(e, SpvBuiltInNumWorkgroups, "groups");
    if (!rlx_spirv_uses_subgroups(e, e->kernel->body)) {
        v[INVOCATION] = builtin(e, SpvBuiltInLocalInvocationIndex, "invocation");
        return SUBGROUP_LANE;
    }
    rlx_spirv_capability(&e->m, SpvCapabilityGroupNonUniform);
    v[INVOCATION] = builtin(e, SpvBuiltInSubgroupId, "subgroup");
    v[SUBGROUP_LANE] = builtin(e, SpvBuiltInSubgroupLocalInvocationId, "lane");
    v[SUBGROUP_SIZE] = builtin(e, SpvBuiltInSubgroupSize, "lanes");
    return BUILTINS;
}

static rlx_spirv_id load_thread(rlx_spirv_emit *e, const rlx_spirv_id *v, int n)
{
    rlx_spirv_id x = rlx_spirv_op(&e->m, SpvOpLoad, e->u32, v[INVOCATION]);
    if (n < BUILTINS)
        return x;
    e->own = x;
    x = rlx_spirv_mul(e, x, rlx_spirv_op(&e->m, SpvOpLoad, e->u32, v[SUBGROUP_SIZE]));
    return rlx_spirv_add(e, x, rlx_spirv_op(&e->m, SpvOpLoad, e->u32, v[SUBGROUP_LANE]));
}

/* The function opens in the entry section; the body continues its first block. */
static rlx_status begin(rlx_spirv_emit *e)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id void_ = rlx_spirv_type_void(m), function = rlx_spirv_new_id(m);
    rlx_spirv_id type = rlx_spirv_intern(m, SpvOpTypeFunction, 0, 1, &void_);
    rlx_spirv_id builtins[BUILTINS];
    const int nbuiltins = define_builtins(e, builtins);
    uint32_t entry[2] = {SpvExecutionModelGLCompute, function};
    far_arguments far;
    RLX_TRY(find_far(e, &far));
    rlx_spirv_memory_model(m, far.n > 0, rlx_spirv_uses_matrices(e->kernel->body));
    rlx_spirv_put_text(m, RLX_SPIRV_HEAD, SpvOpEntryPoint, 2, entry, e->kernel->name, nbuiltins,
                       builtins);
    rlx_spirv_inst(m, RLX_SPIRV_HEAD, SpvOpExecutionMode, function, SpvExecutionModeLocalSize,
                   (uint32_t)e->team, 1, 1);
    if (rlx_spirv_has(e, RLX_VULKAN_INF)) { /* masks are infinities */
        rlx_spirv_capability(m, SpvCapabilitySignedZeroInfNanPreserve);
        rlx_spirv_inst(m, RLX_SPIRV_HEAD, SpvOpExecutionMode, function,
                       SpvExecutionModeSignedZeroInfNanPreserve, 32);
    }
    m->into = RLX_SPIRV_ENTRY;
    rlx_spirv_put_result(m, SpvOpFunction, void_, function,
                         RLX_SPIRV_WORDS(SpvFunctionControlMaskNone, type));
    m->block = rlx_spirv_new_id(m);
    rlx_spirv_inst(m, RLX_SPIRV_ENTRY, SpvOpLabel, m->block);
    e->thread = load_thread(e, builtins, nbuiltins);
    e->team_index = builtin_x(e, builtins[GROUP]);
    e->teams = builtin_x(e, builtins[GROUPS]);
    m->into = RLX_SPIRV_BODY;
    RLX_TRY(define_arguments(e, &far));
    define_exchange(e);
    return RLX_OK;
}

/* What there is no other way for. */
static rlx_status check_needs(const rlx_spirv_emit *e)
{
    static const struct {
        rlx_vulkan_feature feature;
        SpvCapability capability;
        const char *what;
    } needs[] = {{RLX_VULKAN_INT64, SpvCapabilityInt64, "64-bit integers"},
                 {RLX_VULKAN_F64, SpvCapabilityFloat64, "64-bit floats"}};
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (!rlx_spirv_has(e, needs[i].feature) && rlx_spirv_needs(&e->m, needs[i].capability))
            return RLX_FAIL(
                RLX_UNSUPPORTED, "kernel @%s takes %s, which the Vulkan target has not (%s)",
                e->kernel->name, needs[i].what, rlx_vulkan_feature_name(needs[i].feature));
    if (e->team_bytes > e->options.team_bytes)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "kernel @%s takes %lld bytes of team memory, exchange included; SPIR-V "
                        "kernels may take %lld",
                        e->kernel->name, (long long)e->team_bytes,
                        (long long)e->options.team_bytes);
    return RLX_OK;
}

static rlx_status emit_module(rlx_spirv_emit *e, rlx_text *out)
{
    rlx_spirv_module *m = &e->m;
    e->bool_ = rlx_spirv_type_bool(m);
    e->u32 = rlx_spirv_type_int(m, 32);
    e->i64 = rlx_spirv_type_int(m, 64);
    e->f32 = rlx_spirv_type_float(m, 32);
    RLX_TRY(begin(e));
    RLX_TRY(emit_block(e, e->kernel->body));
    rlx_spirv_put(m, RLX_SPIRV_BODY, SpvOpReturn, 0, NULL);
    rlx_spirv_put(m, RLX_SPIRV_BODY, SpvOpFunctionEnd, 0, NULL);
    rlx_spirv_drop_barriers(m);
    RLX_TRY(check_needs(e));
    return rlx_spirv_module_write(m, RLX_SPIRV_VERSION, out);
}

/* Lanes that a team's subgroups have; 0: they are not to be used. */
static int subgroup_of(const rlx_spirv_options *o)
{
    return o->features & RLX_VULKAN_BIT(SUBGROUP) ? rlx_lir_lanes(o->team, o->subgroup) : 0;
}

rlx_status rlx_spirv_emit_kernel(const rlx_ir_func *kernel, const rlx_spirv_options *options,
                                 rlx_text *out)
{
    rlx_spirv_emit e = {.kernel = kernel,
                        .options = *options,
                        .team = options->team,
                        .subgroup = subgroup_of(options),
                        .arena = rlx_arena_create()};
    if (!e.arena)
        return RLX_OOM();
    bool known = true;
    rlx_spirv_module_init(&e.m);
    size_t start = out->len;
    rlx_status st = emit_module(&e, out);
    if (!st && e.m.vulkan_memory)
        st = rlx_spirv_knows_matrices(&known);
    rlx_spirv_module_deinit(&e.m);
    rlx_ir_map_deinit(&e.tiles);
    rlx_arena_destroy(e.arena);
    RLX_TRY(st);
    if (!known) /* a driver that has them validates what it is given */
        return RLX_OK;
    RLX_TRY_NOTE(rlx_spirv_validate((const uint32_t *)(const void *)(out->data + start),
                                    (out->len - start) / sizeof(uint32_t)),
                 "emitting kernel @%s", kernel->name);
    return RLX_OK;
}
