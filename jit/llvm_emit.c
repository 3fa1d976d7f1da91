#include "jit/llvm_emit.h"

#include "jit/kernel_info.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- the map from LIR values to tiles ---- */

static rlx_status new_slot(rlx_emit *e, const rlx_ir_value *v, int parts, rlx_emit_tile **out)
{
    rlx_emit_tile *t = RLX_NEW(e->arena, rlx_emit_tile);
    LLVMValueRef *part = RLX_NEW_ARRAY(e->arena, LLVMValueRef, parts);
    if (!t || !part)
        return RLX_OOM();
    *t = (rlx_emit_tile){.value = v, .n = parts, .part = part};
    intptr_t *slot = rlx_ir_map_at(&e->tiles, v);
    if (!slot)
        return RLX_OOM();
    assert(!*slot);
    *slot = (intptr_t)t;
    *out = t;
    return RLX_OK;
}

const rlx_emit_tile *rlx_emit_get(const rlx_emit *e, const rlx_ir_value *v)
{
    const rlx_emit_tile *t = rlx_emit_find(e, v);
    assert(t && "the verifier lets no value be used before its definition");
    return t;
}

const rlx_emit_tile *rlx_emit_find(const rlx_emit *e, const rlx_ir_value *v)
{
    return (const rlx_emit_tile *)rlx_ir_map_get(&e->tiles, v, 0);
}

LLVMValueRef rlx_emit_scalar(const rlx_emit *e, const rlx_ir_value *v)
{
    const rlx_emit_tile *t = rlx_emit_get(e, v);
    assert(t->n == 1 && v->type.rank == 0);
    return t->part[0];
}

rlx_status rlx_emit_define(rlx_emit *e, const rlx_ir_value *v, rlx_emit_tile **out)
{
    return new_slot(e, v, e->engine->parts(e, &v->type), out);
}

rlx_status rlx_emit_define_buffer(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef base)
{
    rlx_emit_tile *t;
    RLX_TRY(new_slot(e, v, 1, &t));
    t->buffer = RLX_NEW(e->arena, rlx_emit_buffer);
    if (!t->buffer)
        return RLX_OOM();
    t->buffer->type = &v->type;
    t->buffer->base = base;
    LLVMValueRef stride = rlx_emit_int(e->i64, 1);
    for (int i = v->type.rank - 1; i >= 0; i--) {
        t->buffer->stride[i] = stride;
        if (i > 0)
            stride = rlx_emit_mul(e->entry, stride, rlx_emit_dim(e, v->type.dim[i]));
    }
    return RLX_OK;
}

rlx_status rlx_emit_define_view(rlx_emit *e, const rlx_ir_value *v, const rlx_emit_buffer *buffer,
                                rlx_emit_tile **out)
{
    RLX_TRY(new_slot(e, v, 1, out));
    (*out)->buffer = RLX_NEW(e->arena, rlx_emit_buffer);
    if (!(*out)->buffer)
        return RLX_OOM();
    *(*out)->buffer = *buffer;
    return RLX_OK;
}

rlx_status rlx_emit_unsupported(const rlx_emit *e, const rlx_ir_node *n, const char *fmt, ...)
{
    char why[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    const rlx_ir_module *m = e->kernel->module;
    return RLX_FAIL(RLX_UNSUPPORTED, "%s cannot emit `%s` in kernel @%s%s%s: %s", e->engine->name,
                    rlx_ir_info(m, n)->mnemonic, e->kernel->name, n->place ? " at " : "",
                    n->place ? n->place : "", why);
}

/* ---- types and small values ---- */

int64_t rlx_emit_elems(const rlx_ir_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

LLVMTypeRef rlx_emit_value_type(const rlx_emit *e, rlx_format f)
{
    switch (f) {
    case RLX_F32:
        return e->f32;
    case RLX_F64:
        return e->f64;
    case RLX_F16:
        return e->f16;
    case RLX_BOOL:
        return e->i1;
    case RLX_I8:
    case RLX_U8:
        return e->i8;
    case RLX_I16:
    case RLX_U16:
    case RLX_BF16: /* its bits: there is no arithmetic on it */
        return e->i16;
    case RLX_I32:
    case RLX_U32:
        return e->i32;
    case RLX_I64:
    case RLX_U64:
        return e->i64;
    default:
        return NULL;
    }
}

LLVMTypeRef rlx_emit_memory_type(const rlx_emit *e, rlx_format f)
{
    return f == RLX_BOOL ? e->i8 : rlx_emit_value_type(e, f);
}

LLVMValueRef rlx_emit_int(LLVMTypeRef t, int64_t v)
{
    return LLVMConstInt(t, (unsigned long long)v, true);
}

static bool is_int(LLVMValueRef v, int64_t n)
{
    return LLVMIsAConstantInt(v) && LLVMConstIntGetSExtValue(v) == n;
}

LLVMValueRef rlx_emit_mul(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y)
{
    if (is_int(x, 1) || is_int(y, 0))
        return y;
    return is_int(y, 1) || is_int(x, 0) ? x : LLVMBuildMul(b, x, y, "");
}

LLVMValueRef rlx_emit_add(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y)
{
    if (is_int(x, 0))
        return y;
    return is_int(y, 0) ? x : LLVMBuildAdd(b, x, y, "");
}

LLVMValueRef rlx_emit_splat(const rlx_emit *e, LLVMValueRef scalar, LLVMTypeRef type)
{
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind)
        return scalar;
    LLVMTypeRef mask = LLVMVectorType(e->i32, LLVMGetVectorSize(type));
    LLVMValueRef v =
        LLVMBuildInsertElement(e->b, LLVMGetPoison(type), scalar, rlx_emit_int(e->i32, 0), "");
    return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(type), LLVMConstNull(mask), "");
}

LLVMValueRef rlx_emit_intrinsic(rlx_emit *e, const char *name, LLVMTypeRef type, LLVMValueRef *args,
                                int n)
{
    return rlx_emit_intrinsic_of(e, name, &type, type ? 1 : 0, args, n);
}

LLVMValueRef rlx_emit_intrinsic_of(rlx_emit *e, const char *name, LLVMTypeRef *overload,
                                   int noverload, LLVMValueRef *args, int n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, overload, (size_t)noverload), v;
    LLVMTypeRef type = LLVMGlobalGetValueType(fn);
    if (rlx_emit_emulated(e, name, LLVMGetReturnType(type), args, n, &v))
        return v;
    return LLVMBuildCall2(e->b, type, fn, args, (unsigned)n, "");
}

/* ---- dims ---- */

static LLVMValueRef load_symbol(rlx_emit *e, int index)
{
    if (!e->symbol[index]) {
        LLVMValueRef at = rlx_emit_int(e->i64, index);
        LLVMValueRef p = LLVMBuildGEP2(e->entry, e->i64, e->symbols, &at, 1, "");
        e->symbol[index] = LLVMBuildLoad2(e->entry, e->i64, p,
                                          rlx_dim_symbol_name(e->kernel->module->dims, index));
    }
    return e->symbol[index];
}

static LLVMValueRef pick(LLVMBuilderRef b, LLVMIntPredicate p, LLVMValueRef x, LLVMValueRef y)
{
    return LLVMBuildSelect(b, LLVMBuildICmp(b, p, x, y, ""), x, y, "");
}

/* Symbols are extents, so every dim is nonnegative and division may be unsigned. */
LLVMValueRef rlx_emit_dim(rlx_emit *e, rlx_dim d)
{
    if (rlx_dim_is_const(d))
        return rlx_emit_int(e->i64, d);
    LLVMBuilderRef b = e->entry;
    rlx_dim_node n = rlx_dim_get(e->kernel->module->dims, d);
    if (n.op == RLX_DIM_SYMBOL)
        return load_symbol(e, (int)n.a);
    LLVMValueRef x = rlx_emit_dim(e, n.a), y = rlx_emit_dim(e, n.b);
    switch (n.op) {
    case RLX_DIM_ADD:
        return LLVMBuildAdd(b, x, y, "");
    case RLX_DIM_MUL:
        return LLVMBuildMul(b, x, y, "");
    case RLX_DIM_FLOORDIV:
        return LLVMBuildUDiv(b, x, y, "");
    case RLX_DIM_CEILDIV:
        x = LLVMBuildAdd(b, x, LLVMBuildSub(b, y, rlx_emit_int(e->i64, 1), ""), "");
        return LLVMBuildUDiv(b, x, y, "");
    case RLX_DIM_MOD:
        return LLVMBuildURem(b, x, y, "");
    case RLX_DIM_MIN:
        return pick(b, LLVMIntSLT, x, y);
    case RLX_DIM_MAX:
        return pick(b, LLVMIntSGT, x, y);
    case RLX_DIM_SYMBOL:
        break;
    }
    return NULL;
}

/* ---- structure ---- */

LLVMBasicBlockRef rlx_emit_new_block(const rlx_emit *e, const char *name)
{
    return LLVMAppendBasicBlockInContext(e->cx, e->fn, name);
}

void rlx_emit_loop_begin(rlx_emit *e, LLVMValueRef lo, LLVMValueRef hi, LLVMValueRef step,
                         rlx_emit_loop *loop)
{
    LLVMValueRef runs = LLVMBuildICmp(e->b, LLVMIntSLT, lo, hi, "");
    bool always = LLVMIsAConstantInt(runs) && LLVMConstIntGetZExtValue(runs);
    *loop = (rlx_emit_loop){.before = LLVMGetInsertBlock(e->b),
                            .body = rlx_emit_new_block(e, "loop"),
                            .exit = rlx_emit_new_block(e, "done"),
                            .hi = hi,
                            .step = step,
                            .guarded = !always};
    if (always)
        LLVMBuildBr(e->b, loop->body);
    else
        LLVMBuildCondBr(e->b, runs, loop->body, loop->exit);
    LLVMPositionBuilderAtEnd(e->b, loop->body);
    loop->index = LLVMBuildPhi(e->b, e->i64, "i");
    LLVMAddIncoming(loop->index, &lo, &loop->before, 1);
}

void rlx_emit_loop_end(rlx_emit *e, rlx_emit_loop *loop)
{
    LLVMValueRef next = LLVMBuildAdd(e->b, loop->index, loop->step, "");
    loop->latch = LLVMGetInsertBlock(e->b);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next, loop->hi, ""), loop->body,
                    loop->exit);
    LLVMAddIncoming(loop->index, &next, &loop->latch, 1);
    LLVMMoveBasicBlockAfter(loop->exit, loop->latch);
    LLVMPositionBuilderAtEnd(e->b, loop->exit);
}

/* Results of a loop: what the body yielded last, or the initial values when it never ran. */
static rlx_status emit_loop_results(rlx_emit *e, const rlx_ir_node *n, const rlx_emit_loop *loop)
{
    const rlx_ir_node *yield = n->blocks[0]->last;
    for (int i = 0; i < n->nout; i++) {
        const rlx_emit_tile *init = rlx_emit_get(e, n->in[2 + i]);
        const rlx_emit_tile *next = rlx_emit_get(e, yield->in[i]);
        rlx_emit_tile *out;
        RLX_TRY(rlx_emit_define(e, n->out[i], &out));
        for (int p = 0; p < out->n; p++) {
            out->part[p] = next->part[p];
            if (loop->guarded) {
                out->part[p] = LLVMBuildPhi(e->b, LLVMTypeOf(next->part[p]), "");
                LLVMAddIncoming(out->part[p], &init->part[p], (LLVMBasicBlockRef[]){loop->before},
                                1);
                LLVMAddIncoming(out->part[p], &next->part[p], (LLVMBasicBlockRef[]){loop->latch},
                                1);
            }
        }
    }
    return RLX_OK;
}

rlx_status rlx_emit_for(rlx_emit *e, const rlx_ir_node *n, LLVMValueRef hi)
{
    const rlx_ir_block *body = n->blocks[0];
    rlx_emit_loop loop;
    if (e->engine->before_loop)
        RLX_TRY(e->engine->before_loop(e, n));
    rlx_emit_loop_begin(e, rlx_emit_scalar(e, n->in[0]), hi,
                        rlx_emit_int(e->i64, rlx_ir_attr_int(n, RLX_ATTR_STEP, 1)), &loop);
    LLVMValueRef thread = e->thread;
    rlx_emit_tile *t;
    RLX_TRY(rlx_emit_define(e, body->args[0], &t));
    t->part[0] = loop.index;
    for (int i = 1; i < body->nargs; i++) {
        const rlx_emit_tile *init = rlx_emit_get(e, n->in[1 + i]);
        RLX_TRY(rlx_emit_define(e, body->args[i], &t));
        for (int p = 0; p < t->n; p++) {
            t->part[p] = LLVMBuildPhi(e->b, LLVMTypeOf(init->part[p]), "");
            LLVMAddIncoming(t->part[p], &init->part[p], &loop.before, 1);
        }
    }
    if (e->engine->loop)
        e->engine->loop(e);
    RLX_TRY(rlx_emit_block(e, body));
    rlx_emit_loop_end(e, &loop);
    if (e->by_rows)
        rlx_emit_keep_rolled(e, &loop);
    e->thread = thread;
    for (int i = 1; i < body->nargs; i++) {
        const rlx_emit_tile *arg = rlx_emit_get(e, body->args[i]);
        const rlx_emit_tile *next = rlx_emit_get(e, body->last->in[i - 1]);
        for (int p = 0; p < arg->n; p++)
            LLVMAddIncoming(arg->part[p], &next->part[p], &loop.latch, 1);
    }
    return emit_loop_results(e, n, &loop);
}

static rlx_status emit_if(rlx_emit *e, const rlx_ir_node *n)
{
    LLVMBasicBlockRef arm[2] = {rlx_emit_new_block(e, "then"), rlx_emit_new_block(e, "else")};
    LLVMBasicBlockRef join = rlx_emit_new_block(e, "join"), from[2];
    LLVMBuildCondBr(e->b, rlx_emit_scalar(e, n->in[0]), arm[0], arm[1]);
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(e->b, arm[i]);
        RLX_TRY(rlx_emit_block(e, n->blocks[i]));
        from[i] = LLVMGetInsertBlock(e->b);
        LLVMBuildBr(e->b, join);
    }
    LLVMMoveBasicBlockAfter(join, from[1]);
    LLVMPositionBuilderAtEnd(e->b, join);
    for (int i = 0; i < n->nout; i++) {
        rlx_emit_tile *out;
        RLX_TRY(rlx_emit_define(e, n->out[i], &out));
        for (int p = 0; p < out->n; p++) {
            LLVMValueRef v[2];
            for (int k = 0; k < 2; k++)
                v[k] = rlx_emit_get(e, n->blocks[k]->last->in[i])->part[p];
            out->part[p] = LLVMBuildPhi(e->b, LLVMTypeOf(v[0]), "");
            LLVMAddIncoming(out->part[p], v, from, 2);
        }
    }
    return RLX_OK;
}

rlx_status rlx_emit_grid_indices(rlx_emit *e, const rlx_ir_node *grid, LLVMValueRef index)
{
    for (int i = grid->nin - 1; i >= 0; i--) {
        rlx_emit_tile *t;
        LLVMValueRef extent = rlx_emit_scalar(e, grid->in[i]);
        RLX_TRY(rlx_emit_define(e, grid->blocks[0]->args[i], &t));
        t->part[0] = i ? LLVMBuildURem(e->b, index, extent, "") : index;
        if (i)
            index = LLVMBuildUDiv(e->b, index, extent, "");
    }
    return RLX_OK;
}

/* ---- ops that work part by part ---- */

static rlx_status emit_map(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, 0);
    rlx_format f = n->in[n->nin - 1]->type.format;
    const rlx_ir_type *type = &n->out[0]->type;
    const rlx_emit_tile *in[3];
    LLVMValueRef splat[3] = {0};
    bool done = false;
    assert(n->nin <= 3);
    if (fn == RLX_FN_SELECT && e->engine->end_exp)
        RLX_TRY(e->engine->end_exp(e, n, &done));
    if (done)
        return RLX_OK;
    for (int i = 0; i < n->nin; i++) {
        in[i] = rlx_emit_get(e, n->in[i]);
        if (n->in[i]->type.rank == 0) {
            rlx_ir_type wide = *type;
            wide.format = n->in[i]->type.format;
            splat[i] = rlx_emit_splat(e, in[i]->part[0], e->engine->part_type(e, &wide));
        }
    }
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef x[3];
        for (int i = 0; i < n->nin; i++)
            x[i] = splat[i] ? splat[i] : in[i]->part[p];
        RLX_TRY(rlx_emit_map(e, n, fn, f, x, &out->part[p]));
    }
    const bool step = fn == RLX_FN_FMA && f == RLX_F32 && (splat[1] || splat[2]);
    return step && e->engine->step ? e->engine->step(e, type, out) : RLX_OK;
}

static rlx_status emit_cast(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++)
        RLX_TRY(rlx_emit_cast(e, n, n->in[0]->type.format, n->out[0]->type.format, in->part[p],
                              &out->part[p]));
    return RLX_OK;
}

static rlx_status emit_bitcast(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    LLVMTypeRef type = e->engine->part_type(e, &n->out[0]->type);
    for (int p = 0; p < out->n; p++)
        out->part[p] = LLVMBuildBitCast(e->b, in->part[p], type, "");
    return RLX_OK;
}

static rlx_status emit_const(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    LLVMValueRef v = rlx_emit_constant(e, n, e->engine->part_type(e, &n->out[0]->type));
    for (int p = 0; p < out->n; p++)
        out->part[p] = v;
    return RLX_OK;
}

static rlx_status emit_extent(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    out->part[0] = rlx_emit_dim(e, rlx_ir_attr_int(n, RLX_ATTR_EXTENT, 0));
    return RLX_OK;
}

static rlx_status emit_alloc(rlx_emit *e, const rlx_ir_node *n)
{
    return rlx_emit_define_buffer(e, n->out[0], e->engine->team_memory(e, rlx_jit_alloc_bytes(n)));
}

/* Who does not copy async has stored at once. */
static void emit_copies(rlx_emit *e, const rlx_ir_node *n)
{
    if (!e->target->copies)
        return;
    if (n->op == RLX_LIR_COMMIT) {
        e->engine->commit(e);
        rlx_emit_tensors_commit(e);
    } else {
        const int pending = (int)rlx_ir_attr_int(n, RLX_ATTR_PENDING, 0);
        e->engine->wait(e, pending);
        rlx_emit_tensors_wait(e, pending);
    }
}

static rlx_status emit_node(rlx_emit *e, const rlx_ir_node *n)
{
    switch (n->op) {
    case RLX_LIR_FOR:
        return rlx_emit_is_part(e, n) ? rlx_emit_part(e, n)
                                      : rlx_emit_for(e, n, rlx_emit_scalar(e, n->in[1]));
    case RLX_LIR_IF:
        return emit_if(e, n);
    case RLX_LIR_MAP:
        return emit_map(e, n);
    case RLX_LIR_CAST:
        return emit_cast(e, n);
    case RLX_LIR_BITCAST:
        return emit_bitcast(e, n);
    case RLX_LIR_CONST:
        return emit_const(e, n);
    case RLX_LIR_EXTENT:
        return emit_extent(e, n);
    case RLX_LIR_ALLOC:
        return emit_alloc(e, n);
    case RLX_LIR_BARRIER:
        e->engine->barrier(e);
        return RLX_OK;
    case RLX_LIR_COMMIT:
    case RLX_LIR_WAIT:
        emit_copies(e, n);
        return RLX_OK;
    default:
        return e->engine->node(e, n);
    }
}

rlx_status rlx_emit_block(rlx_emit *e, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next)
        if (n->op != RLX_LIR_YIELD && n->op != RLX_LIR_RETURN)
            RLX_TRY(emit_node(e, n));
    return RLX_OK;
}

/* ---- addresses ---- */

LLVMValueRef rlx_emit_offset(const rlx_emit *e, LLVMTypeRef elem, LLVMValueRef p,
                             LLVMValueRef offset)
{
    return is_int(offset, 0) ? p : LLVMBuildGEP2(e->b, elem, p, &offset, 1, "");
}

void rlx_emit_access_init(rlx_emit *e, const rlx_ir_node *n, const rlx_ir_type *tile,
                          rlx_emit_access *out)
{
    const rlx_emit_buffer *buffer = rlx_emit_get(e, n->in[0])->buffer;
    int first = n->op == RLX_LIR_STORE ? 2 : 1, rank = buffer->type->rank;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    *out = (rlx_emit_access){
        .buffer = buffer, .tile = tile, .elem = rlx_emit_memory_type(e, buffer->type->format)};
    LLVMValueRef offset = rlx_emit_int(e->i64, 0);
    for (int i = 0; i < rank; i++) {
        LLVMValueRef at =
            rlx_emit_mul(e->b, rlx_emit_scalar(e, n->in[first + i]), buffer->stride[i]);
        offset = rlx_emit_add(e->b, offset, at);
    }
    out->base = rlx_emit_offset(e, out->elem, buffer->base, offset);
    for (int i = 0; i < tile->rank; i++)
        out->stride[i] = buffer->stride[axes->ints[i]];
    out->contiguous = tile->rank > 0 && axes->ints[tile->rank - 1] == rank - 1;
    for (int i = 0; limits && i < limits->n; i++) {
        int axis = (int)limits->ints[i];
        LLVMValueRef limit = rlx_emit_scalar(e, n->in[first + rank + i]);
        LLVMValueRef index = rlx_emit_scalar(e, n->in[first + axes->ints[axis]]);
        out->room[axis] = LLVMBuildSub(e->b, limit, index, "room");
    }
}

int64_t rlx_emit_team_align(const rlx_emit *e, int64_t bytes)
{
    enum { ALIGN = 64, SWIZZLES = 1024 };
    const rlx_matrix_unit *u = e->matrix;
    int64_t align = ALIGN;
    while (u && rlx_matrix_reads_memory(u) && align < bytes && align < SWIZZLES)
        align *= 2;
    return align;
}

LLVMValueRef rlx_emit_next_team_memory(rlx_emit *e, int64_t bytes)
{
    const int64_t align = rlx_emit_team_align(e, bytes);
    e->team_bytes = (e->team_bytes + align - 1) / align * align;
    LLVMValueRef at = rlx_emit_int(e->i64, e->team_bytes);
    e->team_bytes += bytes;
    return LLVMBuildGEP2(e->entry, e->i8, e->memory, &at, 1, "team");
}

/* ---- a kernel ---- */

static void init_types(rlx_emit *e)
{
    e->i1 = LLVMInt1TypeInContext(e->cx);
    e->i8 = LLVMInt8TypeInContext(e->cx);
    e->i16 = LLVMInt16TypeInContext(e->cx);
    e->i32 = LLVMInt32TypeInContext(e->cx);
    e->i64 = LLVMInt64TypeInContext(e->cx);
    e->f16 = LLVMHalfTypeInContext(e->cx);
    e->f32 = LLVMFloatTypeInContext(e->cx);
    e->f64 = LLVMDoubleTypeInContext(e->cx);
    e->ptr = LLVMPointerTypeInContext(e->cx, 0);
}

static rlx_status emit_function(rlx_emit *e)
{
    RLX_TRY(e->engine->begin(e));
    LLVMBasicBlockRef body = rlx_emit_new_block(e, "body");
    LLVMPositionBuilderAtEnd(e->b, body);
    rlx_emit_tensors_begin(e);
    RLX_TRY(rlx_emit_block(e, e->kernel->body));
    if (e->engine->end)
        RLX_TRY(e->engine->end(e));
    LLVMBuildRetVoid(e->b);
    LLVMBuildBr(e->entry, body);
    return RLX_OK;
}

rlx_status rlx_emit_init(rlx_emit *e)
{
    e->arena = rlx_arena_create();
    if (!e->arena)
        return RLX_OOM();
    e->b = LLVMCreateBuilderInContext(e->cx);
    e->entry = LLVMCreateBuilderInContext(e->cx);
    init_types(e);
    return RLX_OK;
}

void rlx_emit_deinit(rlx_emit *e)
{
    LLVMDisposeBuilder(e->entry);
    LLVMDisposeBuilder(e->b);
    rlx_ir_map_deinit(&e->tiles);
    rlx_arena_destroy(e->arena);
}

rlx_status rlx_emit_kernel(const rlx_emit_engine *engine, const rlx_llvm_target *target,
                           const rlx_ir_func *kernel, LLVMContextRef cx, LLVMModuleRef module,
                           rlx_emit_parts *parts)
{
    rlx_emit e = {.engine = engine,
                  .target = target,
                  .kernel = kernel,
                  .parts = rlx_emit_may_cut(kernel) ? parts : NULL,
                  .cx = cx,
                  .module = module};
    RLX_TRY(rlx_emit_init(&e));
    rlx_status st = emit_function(&e);
    rlx_emit_deinit(&e);
    return st;
}

/* What is in it (barriers, matrix units, shuffles) a team's invocations come to together: so they call it. */
static void mark_convergent(const rlx_emit *e)
{
    static const char name[] = "convergent";
    const unsigned kind = LLVMGetEnumAttributeKindForName(name, sizeof name - 1);
    LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->cx, kind, 0));
}

rlx_status rlx_emit_called(const rlx_emit_engine *engine, const rlx_llvm_target *target,
                           const rlx_ir_func *kernel, LLVMContextRef cx, LLVMModuleRef module,
                           int64_t *step_team_bytes)
{
    rlx_emit e = {.engine = engine,
                  .target = target,
                  .kernel = kernel,
                  .step_team_bytes = step_team_bytes,
                  .cx = cx,
                  .module = module};
    RLX_TRY(rlx_emit_init(&e));
    rlx_status st = emit_function(&e);
    if (!st) {
        LLVMSetLinkage(e.fn, LLVMInternalLinkage);
        mark_convergent(&e);
        if (e.team_bytes > *step_team_bytes)
            *step_team_bytes = e.team_bytes;
    }
    rlx_emit_deinit(&e);
    return st;
}
