/* lir/lir_eval_prepare.c: a kernel's text resolved into instructions over places in memory.
 *
 * Constants, iotas and extents are evaluated here, once: no instance changes them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lir/lir_eval.h"

typedef rlx_status eval_fn(rlx_lir_eval *e, const rlx_lir_instr *i);

static eval_fn *const eval_table[RLX_LIR_OP_COUNT] = {
#define LIR_PLAIN_OP(...)
#define LIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    [RLX_LIR_##NAME] = rlx_lir_##mnemonic##_eval,
#include "lir/lir_ops.def"
#undef LIR_OP
};

/* From SSA values to their places: open addressing, twice as many slots as values. */
typedef struct place {
    const rlx_ir_value *value;
    void *at; /* rlx_lir_tile or rlx_lir_memory, as the value's type says */
} place;

typedef struct prepare {
    rlx_lir_eval *e;
    place *places;
    size_t mask;
    int nvalues, nallocs, ngrids;
} prepare;

static place *find(const prepare *p, const rlx_ir_value *v)
{
    size_t i = ((uintptr_t)v >> 4) * 0x9e3779b97f4a7c15u >> 20;
    for (;; i++) {
        place *at = &p->places[i & p->mask];
        if (!at->value || at->value == v)
            return at;
    }
}

static void count_values(prepare *p, const rlx_ir_block *block)
{
    p->nvalues += block->nargs;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        p->nvalues += n->nout;
        p->nallocs += n->op == RLX_LIR_ALLOC;
        p->ngrids += n->op == RLX_LIR_GRID;
        for (int i = 0; i < n->nblock; i++)
            count_values(p, n->blocks[i]);
    }
}

/* ---- values -------------------------------------------------------------------------------------
 */

static rlx_lir_tile *add_tile(prepare *p, const rlx_ir_value *v)
{
    rlx_lir_tile *t = RLX_NEW(p->e->arena, rlx_lir_tile);
    if (!t)
        return NULL;
    t->format = v->type.format;
    t->rank = v->type.rank;
    t->elems = 1;
    for (int i = 0; i < t->rank; i++) {
        t->dim[i] = (int32_t)v->type.dim[i];
        t->elems *= t->dim[i];
    }
    t->bytes = rlx_format_bytes(t->format, t->elems);
    t->data = rlx_arena_alloc(p->e->arena, t->bytes);
    if (!t->data)
        return NULL;
    *find(p, v) = (place){v, t};
    return t;
}

static rlx_status add_memory(prepare *p, rlx_lir_memory *b, const rlx_ir_value *v)
{
    const rlx_ir_type *t = &v->type;
    *b = (rlx_lir_memory){.value = v, .format = t->format, .space = t->space, .rank = t->rank};
    const rlx_format_info *info = rlx_format_get(t->format);
    b->block_elems = info->block_elems;
    b->elem_bytes = (size_t)info->block_bytes;
    int64_t elems = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        b->extent[i] = rlx_dim_eval(p->e->kernel->module->dims, t->dim[i], p->e->symbols);
        b->stride[i] = elems;
        elems *= b->extent[i];
    }
    b->bytes = rlx_format_bytes(t->format, elems);
    *find(p, v) = (place){v, b};
    return RLX_OK;
}

static rlx_lir_tile *tile_of(const prepare *p, const rlx_ir_value *v)
{
    return v->type.kind == RLX_TYPE_TILE ? find(p, v)->at : NULL;
}

static bool resolve(prepare *p, int n, rlx_ir_value *const *values, rlx_lir_tile ***out)
{
    *out = RLX_NEW_ARRAY(p->e->arena, rlx_lir_tile *, n);
    for (int i = 0; *out && i < n; i++)
        (*out)[i] = tile_of(p, values[i]);
    return *out || n == 0;
}

/* ---- instructions -------------------------------------------------------------------------------
 */

static rlx_status prepare_access(prepare *p, rlx_lir_instr *i)
{
    const rlx_ir_node *n = i->node;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    i->memory = find(p, n->in[0])->at;
    i->first_index = n->op == RLX_LIR_LOAD ? 1 : 2;
    for (int a = 0; a < RLX_LIR_MAX_TILE_RANK; a++) {
        i->axis[a] = axes && a < axes->n ? (int)axes->ints[a] : 0;
        i->limit[a] = -1;
    }
    for (int l = 0; limits && l < limits->n; l++)
        i->limit[limits->ints[l]] = i->first_index + i->memory->rank + l;
    i->part = n->op == RLX_LIR_LOAD ? (int)rlx_lir_part_of(n) : RLX_LIR_DECODED;
    if (rlx_ir_attr(n, RLX_ATTR_ASYNC))
        i->source = find(p, n->in[1]->def->in[0])->at;
    if (n->op == RLX_LIR_LOAD)
        i->memory->loaded = true;
    else
        i->memory->stored = true;
    return RLX_OK;
}

/* What no instance changes: evaluated when it is prepared. */
static bool is_fixed(const rlx_ir_node *n)
{
    return n && (n->op == RLX_LIR_CONST || n->op == RLX_LIR_IOTA || n->op == RLX_LIR_EXTENT);
}

static rlx_status prepare_map(prepare *p, rlx_lir_instr *i)
{
    for (int k = 0; k < i->nin; k++) {
        if (i->in[k]->rank > 0 || i->out[0]->rank == 0)
            continue;
        size_t bytes = rlx_format_bytes(i->in[k]->format, i->out[0]->elems);
        i->work[k] = rlx_arena_alloc(p->e->arena, bytes);
        if (!i->work[k])
            return RLX_OOM();
        i->fixed[k] = is_fixed(i->node->in[k]->def);
        if (i->fixed[k])
            rlx_lir_map_splat(i, k);
    }
    return RLX_OK;
}

/* Copying yields to arguments in order must not overwrite an argument that a later one still reads:
 * such a yield gets a place of its own in between. */
static rlx_status prepare_stage(prepare *p, rlx_lir_code *code)
{
    code->stage = RLX_NEW_ARRAY(p->e->arena, void *, code->nyields);
    if (!code->stage && code->nyields)
        return RLX_OOM();
    for (int y = 0; y < code->nyields; y++) {
        for (int a = 0; a < y; a++) {
            if (code->yields[y] == code->args[1 + a])
                code->stage[y] = rlx_arena_alloc(p->e->arena, code->yields[y]->bytes);
            if (code->yields[y] == code->args[1 + a] && !code->stage[y])
                return RLX_OOM();
        }
    }
    return RLX_OK;
}

static rlx_status prepare_code(prepare *p, const rlx_ir_block *block, rlx_lir_code **out);

static rlx_status prepare_blocks(prepare *p, rlx_lir_instr *i)
{
    for (int b = 0; b < i->node->nblock; b++) {
        const rlx_ir_block *block = i->node->blocks[b];
        for (int a = 0; a < block->nargs; a++) {
            if (!add_tile(p, block->args[a]))
                return RLX_OOM();
        }
        RLX_TRY(prepare_code(p, block, &i->code[b]));
    }
    if (i->node->op != RLX_LIR_FOR)
        return RLX_OK;
    for (int r = 0; r < i->nout; r++) /* a loop's results are its arguments after the last round */
        i->out[r]->data = i->code[0]->args[1 + r]->data;
    return prepare_stage(p, i->code[0]);
}

static rlx_status prepare_node(prepare *p, const rlx_ir_node *n, rlx_lir_instr *i)
{
    rlx_lir_eval *e = p->e;
    *i = (rlx_lir_instr){.eval = eval_table[n->op], .node = n, .nin = n->nin, .nout = n->nout};
    i->fn = (int)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    if (!resolve(p, n->nin, n->in, &i->in))
        return RLX_OOM();
    if (n->op == RLX_LIR_ALLOC) {
        i->memory = &e->memories[e->nmemories++];
        RLX_TRY(add_memory(p, i->memory, n->out[0]));
        i->memory->data = rlx_arena_alloc(e->arena, i->memory->bytes);
        return i->memory->data ? RLX_OK : RLX_OOM();
    }
    for (int r = 0; r < n->nout; r++) {
        if (!add_tile(p, n->out[r]))
            return RLX_OOM();
    }
    if (!resolve(p, n->nout, n->out, &i->out))
        return RLX_OOM();
    if (n->op == RLX_LIR_LOAD || n->op == RLX_LIR_STORE)
        RLX_TRY(prepare_access(p, i));
    if (n->op == RLX_LIR_MAP)
        RLX_TRY(prepare_map(p, i));
    if (n->op == RLX_LIR_REDUCE && !(i->work[0] = rlx_arena_alloc(e->arena, i->in[0]->bytes)))
        return RLX_OOM();
    if (n->op == RLX_LIR_BROADCAST) {
        const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
        for (int a = 0; axes && a < axes->n; a++)
            i->axis[a] = (int)axes->ints[a];
    }
    return prepare_blocks(p, i);
}

static rlx_status prepare_code(prepare *p, const rlx_ir_block *block, rlx_lir_code **out)
{
    rlx_arena *arena = p->e->arena;
    rlx_lir_code *code = *out = RLX_NEW(arena, rlx_lir_code);
    int count = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next)
        count++;
    if (!code || !(code->instrs = RLX_NEW_ARRAY(arena, rlx_lir_instr, count)))
        return RLX_OOM();
    code->nargs = block->nargs;
    if (block->parent && !resolve(p, block->nargs, block->args, &code->args))
        return RLX_OOM();
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        rlx_lir_instr *i = &code->instrs[code->ninstrs];
        if (n->op == RLX_LIR_YIELD || n->op == RLX_LIR_RETURN) {
            code->nyields = n->nin;
            return resolve(p, n->nin, n->in, &code->yields) ? RLX_OK : RLX_OOM();
        }
        if (!eval_table[n->op])
            return RLX_FAIL(RLX_INVALID_IR, "kernel @%s holds `%s`, which belongs to a tape",
                            p->e->kernel->name, rlx_ir_info(p->e->kernel->module, n)->mnemonic);
        RLX_TRY(prepare_node(p, n, i));
        if (is_fixed(n))
            RLX_TRY(i->eval(p->e, i));
        else
            code->ninstrs++;
    }
    return RLX_OK;
}

/* Buffers of the caller, bounded by what is live and what there is. */
static rlx_status add_arguments(prepare *p, const rlx_lir_buffer *buffers, int nbuffers)
{
    const rlx_ir_block *body = p->e->kernel->body;
    if (nbuffers != body->nargs)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "kernel @%s takes %d buffers, not %d",
                        p->e->kernel->name, body->nargs, nbuffers);
    for (int i = 0; i < nbuffers; i++) {
        rlx_lir_memory *b = &p->e->memories[p->e->nmemories++];
        if (body->args[i]->type.kind != RLX_TYPE_BUFFER)
            return RLX_FAIL(RLX_INVALID_IR, "argument %d of kernel @%s is no buffer", i,
                            p->e->kernel->name);
        RLX_TRY(add_memory(p, b, body->args[i]));
        b->data = buffers[i].data;
        if (buffers[i].bytes < b->bytes)
            b->bytes = buffers[i].bytes;
    }
    return RLX_OK;
}

rlx_status rlx_lir_eval_prepare(rlx_lir_eval *e, const rlx_lir_buffer *buffers, int nbuffers)
{
    prepare p = {.e = e};
    count_values(&p, e->kernel->body);
    size_t slots = 16;
    while (slots < (size_t)p.nvalues * 2)
        slots *= 2;
    p.mask = slots - 1;
    p.places = RLX_NEW_ARRAY(e->arena, place, slots);
    e->memories = RLX_NEW_ARRAY(e->arena, rlx_lir_memory, e->kernel->body->nargs + p.nallocs + 1);
    e->grids = RLX_NEW_ARRAY(e->arena, rlx_lir_grid_range, p.ngrids + 1);
    if (!p.places || !e->memories || !e->grids)
        return RLX_OOM();
    RLX_TRY(add_arguments(&p, buffers, nbuffers));
    return prepare_code(&p, e->kernel->body, &e->code);
}
