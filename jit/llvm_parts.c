#include "jit/llvm_parts.h"

#include <stdio.h>
#include <string.h>

#include "jit/llvm_emit.h"
#include "runtime/base/hash.h"
#include "runtime/base/ir/ir_nest.h"

/* ---- which loops ---- */

typedef struct contents {
    int packs, products;
    bool other; /* what needs the kernel around it */
} contents;

static bool is_product(const rlx_ir_node *n)
{
    return n->op == RLX_LIR_DOT_PANEL || n->op == RLX_LIR_OUTER || n->op == RLX_LIR_OUTER_BF16;
}

static void look(const rlx_ir_block *block, contents *c)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        c->packs += n->op == RLX_LIR_PACK;
        c->products += is_product(n);
        c->other |= n->op == RLX_LIR_EXTENT || n->op == RLX_LIR_ALLOC || n->op == RLX_LIR_GRID;
        for (int i = 0; i < n->nblock; i++)
            look(n->blocks[i], c);
    }
}

/* The loop's body is one loop and nothing else. */
static bool is_perfect(const rlx_ir_node *loop)
{
    const rlx_ir_node *first = loop->blocks[0]->first;
    return first->op == RLX_LIR_FOR && first->next == loop->blocks[0]->last;
}

/* In its body, or in a loop there that carries the product's sums. */
static bool holds_product(const rlx_ir_node *loop)
{
    for (const rlx_ir_node *n = loop->blocks[0]->first; n; n = n->next)
        if (is_product(n) || (n->op == RLX_LIR_FOR && n->nout && holds_product(n)))
            return true;
    return false;
}

/* Loops around one product, as far out as there is nothing beside them; or all of a nest that packs. */
static bool is_nest(const rlx_ir_node *loop)
{
    contents c = {0};
    look(loop->blocks[0], &c);
    if (c.other || (c.packs && c.products))
        return false;
    if (c.packs)
        return true;
    while (is_perfect(loop))
        loop = loop->blocks[0]->first;
    return c.products == 1 && holds_product(loop);
}

static bool reduces(const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_REDUCE)
            return true;
        for (int i = 0; i < n->nblock; i++)
            if (reduces(n->blocks[i]))
                return true;
    }
    return false;
}

bool rlx_emit_may_cut(const rlx_ir_func *kernel)
{
    return !reduces(kernel->body);
}

/* ---- what a loop takes from around it ---- */

enum { MAX_LIVE = 48, MAX_ARGS = MAX_LIVE * 2 };

typedef struct live {
    int n;
    const rlx_emit_tile *value[MAX_LIVE];
    bool fits;
} live;

static void note_operand(const rlx_emit *e, const rlx_ir_value *v, live *l)
{
    const rlx_emit_tile *t = rlx_emit_find(e, v);
    if (!t)
        return;
    for (int i = 0; i < l->n; i++)
        if (l->value[i] == t)
            return;
    l->fits &= l->n < MAX_LIVE && (t->buffer || (v->type.rank == 0 && t->part[0]));
    if (l->fits)
        l->value[l->n++] = t;
}

static void note_operands(const rlx_emit *e, const rlx_ir_node *n, live *l)
{
    for (int i = 0; i < n->nin; i++)
        note_operand(e, n->in[i], l);
    for (int i = 0; i < n->nblock; i++)
        for (const rlx_ir_node *k = n->blocks[i]->first; k; k = k->next)
            note_operands(e, k, l);
}

/* All but the loop's upper bound, which is an argument whatever it is. */
static live live_in(const rlx_emit *e, const rlx_ir_node *loop)
{
    live l = {.fits = true};
    note_operand(e, loop->in[0], &l);
    for (const rlx_ir_node *n = loop->blocks[0]->first; n; n = n->next)
        note_operands(e, n, &l);
    return l;
}

bool rlx_emit_is_part(const rlx_emit *e, const rlx_ir_node *loop)
{
    if (!e->parts || e->parts->names.n == RLX_LLVM_MAX_PARTS || loop->nout || !is_nest(loop))
        return false;
    return live_in(e, loop).fits;
}

/* ---- arguments ---- */

typedef struct args {
    int n;
    LLVMValueRef value[MAX_ARGS]; /* in the kernel */
    LLVMTypeRef type[MAX_ARGS];
} args;

static void add(args *a, LLVMValueRef v)
{
    a->type[a->n] = LLVMTypeOf(v);
    a->value[a->n++] = v;
}

/* Of a buffer's strides the first is an argument: how many columns there are is the kernel's, the shape of a
 * panel is the part's. */
static bool is_argument(LLVMValueRef stride, int axis)
{
    return axis == 0 ? !LLVMIsAConstantInt(stride) || LLVMConstIntGetSExtValue(stride) != 1
                     : !LLVMIsConstant(stride);
}

static bool collect(const live *l, LLVMValueRef hi, args *a)
{
    add(a, hi);
    for (int i = 0; i < l->n; i++) {
        const rlx_emit_tile *t = l->value[i];
        if (a->n + 1 + RLX_MAX_RANK > MAX_ARGS)
            return false;
        if (!t->buffer) {
            if (!LLVMIsConstant(t->part[0]))
                add(a, t->part[0]);
            continue;
        }
        add(a, t->buffer->base);
        for (int k = 0; k < t->buffer->type->rank; k++)
            if (is_argument(t->buffer->stride[k], k))
                add(a, t->buffer->stride[k]);
    }
    return true;
}

/* The same values inside the part; `at`: its next parameter. */
static rlx_status define_live(rlx_emit *p, const rlx_emit_tile *t, unsigned *at)
{
    rlx_emit_tile *out;
    if (!t->buffer) {
        RLX_TRY(rlx_emit_define(p, t->value, &out));
        out->part[0] = LLVMIsConstant(t->part[0]) ? t->part[0] : LLVMGetParam(p->fn, (*at)++);
        return RLX_OK;
    }
    RLX_TRY(rlx_emit_define_view(p, t->value, t->buffer, &out));
    out->buffer->base = LLVMGetParam(p->fn, (*at)++);
    for (int k = 0; k < t->buffer->type->rank; k++)
        if (is_argument(t->buffer->stride[k], k))
            out->buffer->stride[k] = LLVMGetParam(p->fn, (*at)++);
    return RLX_OK;
}

/* ---- the function ---- */

static rlx_status emit_body(rlx_emit *p, const rlx_ir_node *loop, const live *l)
{
    LLVMPositionBuilderAtEnd(p->entry, rlx_emit_new_block(p, "entry"));
    LLVMBasicBlockRef body = rlx_emit_new_block(p, "body");
    LLVMPositionBuilderAtEnd(p->b, body);
    unsigned at = 1;
    for (int i = 0; i < l->n; i++)
        RLX_TRY(define_live(p, l->value[i], &at));
    RLX_TRY(rlx_emit_for(p, loop, LLVMGetParam(p->fn, 0)));
    LLVMBuildRetVoid(p->b);
    LLVMBuildBr(p->entry, body);
    return RLX_OK;
}

static rlx_status emit_function(const rlx_emit *e, LLVMModuleRef module, LLVMTypeRef type,
                                const rlx_ir_node *loop, const live *l, const char *name)
{
    rlx_emit p = *e;
    p.module = module;
    p.parts = NULL;
    p.sums_of = NULL;
    p.summed = NULL;
    p.tiles = (rlx_ir_map){0};
    p.sink = p.symbols = p.memory = p.team_index = p.teams = NULL;
    memset(p.symbol, 0, sizeof p.symbol);
    p.b = LLVMCreateBuilderInContext(p.cx);
    p.entry = LLVMCreateBuilderInContext(p.cx);
    p.fn = LLVMAddFunction(module, name, type);
    rlx_emit_cpu_attributes(&p);
    rlx_status st = emit_body(&p, loop, l);
    LLVMDisposeBuilder(p.entry);
    LLVMDisposeBuilder(p.b);
    rlx_ir_map_deinit(&p.tiles);
    return st;
}

/* ---- the name ---- */

typedef struct around {
    const rlx_emit *e;
    const rlx_ir_node *loop;
    const live *live;
} around;

/* A constant is what it is, but for the loop's upper bound; else its number among the arguments. */
static void put_outer(void *user, const rlx_ir_node *n, int operand, rlx_text *out)
{
    const around *a = user;
    const rlx_emit_tile *t = rlx_emit_find(a->e, n->in[operand]);
    int i = 0;
    while (i < a->live->n && a->live->value[i] != t)
        i++;
    if (n == a->loop && operand == 1) {
        rlx_text_put(out, "hi");
    } else if (!t->buffer && LLVMIsConstant(t->part[0])) {
        char *text = LLVMPrintValueToString(t->part[0]);
        rlx_text_put(out, text);
        LLVMDisposeMessage(text);
    } else {
        rlx_text_putf(out, "arg%d", i);
    }
}

/* What code inside knows of a buffer or a scalar from around. */
static void put_live(const rlx_emit_tile *t, rlx_text *out)
{
    const rlx_ir_type *type = &t->value->type;
    rlx_text_putf(out, "%s %d", rlx_format_get(type->format)->name, t->buffer ? type->rank : -1);
    for (int k = 0; t->buffer && k < type->rank; k++)
        if (is_argument(t->buffer->stride[k], k))
            rlx_text_put(out, " ?");
        else
            rlx_text_putf(out, " %lld", LLVMConstIntGetSExtValue(t->buffer->stride[k]));
    rlx_text_put(out, t->buffer && type->space == RLX_SPACE_TEAM ? " team\n" : "\n");
}

/* What indices of codes are divisible by is known of values from around, too, and decides how blocks
 * are read. */
static void put_divisors(const rlx_ir_node *n, rlx_text *out)
{
    const rlx_ir_type *x = n->op == RLX_LIR_LOAD ? &n->in[0]->type : NULL;
    if (x && rlx_format_get(x->format)->kind == RLX_KIND_BLOCK)
        rlx_text_putf(out, "by %lld\n", (long long)rlx_lir_divisor(n->in[x->rank]));
    for (int i = 0; i < n->nblock; i++)
        for (const rlx_ir_node *k = n->blocks[i]->first; k; k = k->next)
            put_divisors(k, out);
}

/* The same name is the same code: all is in it that the code is made from. */
static rlx_status make_name(const rlx_emit *e, const rlx_ir_node *loop, const live *l,
                            rlx_llvm_part_name *out)
{
    rlx_text t = {0};
    char hex[65];
    rlx_text_putf(&t, "%s %s\n", e->target->cpu, e->target->features);
    for (int i = 0; i < l->n; i++)
        put_live(l->value[i], &t);
    put_divisors(loop, &t);
    rlx_ir_print_nest(loop, put_outer, &(around){e, loop, l}, &t);
    if (!t.oom)
        rlx_hash_hex(rlx_hash_bytes(t.data, t.len), hex);
    rlx_status st = t.oom ? RLX_OOM() : RLX_OK;
    rlx_text_deinit(&t);
    if (!st)
        snprintf(out->text, sizeof out->text, "part_%.32s", hex);
    return st;
}

/* The part of that name: one that is there, or the next. */
static int keep(rlx_llvm_parts *names, const rlx_llvm_part_name *name)
{
    for (int i = 0; i < names->n; i++)
        if (strcmp(names->name[i].text, name->text) == 0)
            return i;
    names->name[names->n] = *name;
    return names->n++;
}

static rlx_status build(const rlx_emit *e, const rlx_ir_node *loop, const live *l, LLVMTypeRef type,
                        const char *name)
{
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("part", e->cx);
    LLVMSetTarget(module, LLVMGetTarget(e->module));
    LLVMSetDataLayout(module, LLVMGetDataLayoutStr(e->module));
    e->parts->module = module; /* the caller deinits */
    return emit_function(e, module, type, loop, l, name);
}

rlx_status rlx_emit_part(rlx_emit *e, const rlx_ir_node *loop)
{
    const live l = live_in(e, loop);
    args a = {0};
    rlx_llvm_part_name name;
    LLVMValueRef hi = rlx_emit_scalar(e, loop->in[1]);
    if (!collect(&l, hi, &a))
        return rlx_emit_for(e, loop, hi);
    RLX_TRY(make_name(e, loop, &l, &name));
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), a.type, (unsigned)a.n, false);
    if (keep(&e->parts->names, &name) == e->parts->wanted && !e->parts->module)
        RLX_TRY(build(e, loop, &l, type, name.text));
    LLVMValueRef fn = LLVMGetNamedFunction(e->module, name.text);
    if (!fn)
        fn = LLVMAddFunction(e->module, name.text, type);
    LLVMSetVisibility(fn, LLVMHiddenVisibility);
    LLVMBuildCall2(e->b, type, fn, a.value, (unsigned)a.n, "");
    return RLX_OK;
}

void rlx_emit_parts_deinit(rlx_emit_parts *p)
{
    if (p->module)
        LLVMDisposeModule(p->module);
    p->module = NULL;
    p->names.n = 0;
}
