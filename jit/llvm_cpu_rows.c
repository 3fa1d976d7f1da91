#include "jit/llvm_cpu.h"
#include "runtime/base/bf16_dot.h"

/* Operands that are read from memory where they are used.
 *
 * A panel has more elements than there are registers, and an activation is wanted in every lane: so
 * who multiplies panels reads them from where they lie, element by element; and dot reads its
 * activations register by register. A load whose tile goes nowhere else emits nothing but its
 * address. Where that cannot be (a tile that was computed, or
 * memory that is stored to in between) the tile is put on the stack first. */

enum { MAX_STACK = 64 << 10, MAX_ZEROS = 16 << 10 };

/* ---- which loads ---- */

static bool is_outer(const rlx_ir_node *n)
{
    return n->op == RLX_LIR_OUTER || n->op == RLX_LIR_OUTER_BF16;
}

/* By AMX's tiles, which begin with the sums that lie in memory. */
static bool is_bf16_tile(const rlx_ir_node *n)
{
    return n->op == RLX_LIR_OUTER_BF16 && rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0) == RLX_BF16_TILE;
}

/* Who reads operand i from memory; *limited: also when its rows have a limit. */
static bool reads_memory(const rlx_ir_node *n, int i, bool *limited)
{
    bool panel = n->op == RLX_LIR_DOT_PANEL;
    *limited = i == 1 || (panel && (i == 2 || i == 5));
    return ((panel || is_outer(n)) && i > 0) || (n->op == RLX_LIR_DOT && i == 1) ||
           (is_bf16_tile(n) && i == 0);
}

/* Pairs are read as they lie: there is no decoding one's way to them. */
static bool reads_as_is(const rlx_ir_node *n, const rlx_ir_node *load)
{
    return n->op != RLX_LIR_OUTER_BF16 || load->in[0]->type.format == load->out[0]->type.format;
}

static bool has_limit(const rlx_ir_node *load, int axis)
{
    const rlx_attr *limits = rlx_ir_attr(load, RLX_ATTR_LIMITS);
    for (int i = 0; limits && i < limits->n; i++)
        if (limits->ints[i] == axis)
            return true;
    return false;
}

/* A store to the buffer, or to any of global memory when it lies there. */
static bool stores_to(const rlx_ir_node *n, const rlx_ir_value *buffer)
{
    bool global = buffer->type.space == RLX_SPACE_GLOBAL;
    if (n->op == RLX_LIR_STORE &&
        (n->in[0] == buffer || (global && n->in[0]->type.space == RLX_SPACE_GLOBAL)))
        return true;
    for (int b = 0; b < n->nblock; b++)
        for (const rlx_ir_node *k = n->blocks[b]->first; k; k = k->next)
            if (stores_to(k, buffer))
                return true;
    return false;
}

/* Nothing is stored to the buffer between the load and `use`, wherever in loops it stands. */
static bool stays(const rlx_ir_node *load, const rlx_ir_node *use)
{
    const rlx_ir_node *last = use;
    while (last->parent != load->parent) {
        last = last->parent->parent;
        if (!last)
            return false;
    }
    for (const rlx_ir_node *n = load->next; n != last; n = n->next)
        if (stores_to(n, load->in[0]))
            return false;
    return last == use || !stores_to(last, load->in[0]);
}

static bool uses_suit(const rlx_ir_node *load, const rlx_ir_block *block)
{
    const rlx_ir_value *v = load->out[0];
    bool rows_end = has_limit(load, 0), limited;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        for (int i = 0; i < n->nin; i++) {
            if (n->in[i] != v)
                continue;
            if (!reads_memory(n, i, &limited) || (rows_end && !limited) || !reads_as_is(n, load) ||
                !stays(load, n))
                return false;
        }
        for (int b = 0; b < n->nblock; b++)
            if (!uses_suit(load, n->blocks[b]))
                return false;
    }
    return true;
}

bool rlx_emit_defers(const rlx_ir_node *load)
{
    const rlx_ir_type *tile = &load->out[0]->type, *buffer = &load->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(load, RLX_ATTR_AXES);
    const rlx_format_info *info = rlx_format_get(buffer->format);
    const int last = tile->rank - 1;
    if (last < 1 || last > 2 || info->kind == RLX_KIND_BLOCK || info->kind == RLX_KIND_BOOL ||
        axes->ints[last] != buffer->rank - 1 || has_limit(load, last))
        return false;
    if (last == 2 && rlx_ir_attr(load, RLX_ATTR_LIMITS)) /* groups of rows are whole */
        return false;
    if (has_limit(load, 0) && tile->dim[1] * info->block_bytes > MAX_ZEROS)
        return false;
    return uses_suit(load, load->parent);
}

/* ---- reading ---- */

static void from_access(const rlx_emit_access *a, rlx_emit_rows *out)
{
    out->from = a->buffer->type->format;
    out->elem = a->elem;
    out->base = a->base;
    const int row = a->tile->rank - 2;
    out->stride = a->stride[row];
    out->group = row ? a->stride[0] : NULL;
    out->room = a->room[row];
}

/* Addresses of rows that have a limit: those beyond are zeros elsewhere. */
static rlx_status point_rows(rlx_emit *e, rlx_emit_rows *x)
{
    x->row = RLX_NEW_ARRAY(e->arena, LLVMValueRef, x->rows);
    if (!x->row)
        return RLX_OOM();
    for (int r = 0; r < x->rows; r++) {
        LLVMValueRef index = rlx_emit_int(e->i64, r);
        LLVMValueRef p = rlx_emit_offset(e, x->elem, x->base, rlx_emit_mul(e->b, index, x->stride));
        LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, index, x->room, "");
        x->row[r] = LLVMBuildSelect(e->b, in, p, rlx_emit_zeros(e, x->bytes), "");
    }
    return RLX_OK;
}

static rlx_status to_stack(rlx_emit *e, const rlx_emit_tile *t, rlx_emit_rows *out)
{
    const rlx_ir_type *type = &t->value->type;
    int64_t columns = type->dim[type->rank - 1];
    out->from = type->format;
    out->elem = rlx_emit_memory_type(e, type->format);
    out->stride = rlx_emit_int(e->i64, columns);
    if (type->rank == 3)
        out->group = rlx_emit_int(e->i64, type->dim[1] * columns);
    if (rlx_emit_elems(type) * rlx_format_get(type->format)->block_bytes > MAX_STACK)
        return rlx_emit_unsupported(e, out->node, "a computed operand of %lld elements",
                                    (long long)rlx_emit_elems(type));
    LLVMTypeRef array = LLVMArrayType2(out->elem, (uint64_t)rlx_emit_elems(type));
    out->base = LLVMBuildAlloca(e->entry, array, "rows");
    LLVMSetAlignment(out->base, 64);
    for (int p = 0; p < t->n; p++) {
        LLVMValueRef at =
            rlx_emit_offset(e, out->elem, out->base, rlx_emit_int(e->i64, p * columns));
        LLVMValueRef x = rlx_emit_to_memory(e, type->format, t->part[p]);
        LLVMSetAlignment(LLVMBuildStore(e->b, x, at), 1);
    }
    return RLX_OK;
}

static void set_rows(const rlx_ir_node *n, int i, rlx_emit_rows *out)
{
    const rlx_ir_type *type = &n->in[i]->type;
    *out = (rlx_emit_rows){.node = n, .to = type->format, .rows = (int)type->dim[type->rank - 2]};
}

static rlx_status find_rows(rlx_emit *e, const rlx_ir_node *n, int i, rlx_emit_rows *out)
{
    const rlx_emit_tile *t = rlx_emit_get(e, n->in[i]);
    const rlx_ir_type *type = &n->in[i]->type;
    set_rows(n, i, out);
    if (t->access)
        from_access(t->access, out);
    else
        RLX_TRY(to_stack(e, t, out));
    out->bytes = type->dim[type->rank - 1] * rlx_format_get(out->from)->block_bytes;
    return RLX_OK;
}

rlx_status rlx_emit_rows_init(rlx_emit *e, const rlx_ir_node *n, int i, rlx_emit_rows *out)
{
    RLX_TRY(find_rows(e, n, i, out));
    return out->room ? point_rows(e, out) : RLX_OK;
}

bool rlx_emit_made_in(const rlx_ir_block *block, const rlx_ir_value *v)
{
    bool made = v->def && v->def->parent == block;
    for (int i = 0; i < block->nargs; i++)
        made |= v == block->args[i];
    return made;
}

bool rlx_emit_rows_before(rlx_emit *e, const rlx_ir_node *loop, const rlx_ir_node *n, int i,
                          rlx_emit_rows *out)
{
    const rlx_ir_block *body = loop->blocks[0];
    const rlx_ir_node *load = n->in[i]->def;
    if (!load || load->op != RLX_LIR_LOAD || load->parent != body || !rlx_emit_defers(load) ||
        rlx_ir_attr(load, RLX_ATTR_LIMITS) || stores_to(loop, load->in[0]))
        return false;
    for (int k = 0; k < load->nin; k++)
        if (rlx_emit_made_in(body, load->in[k]))
            return false;
    rlx_emit_access a;
    rlx_emit_access_init(e, load, &load->out[0]->type, &a);
    set_rows(n, i, out);
    from_access(&a, out);
    return true;
}

/* ---- rows that lie evenly ---- */

/* The rows of x to `to`, `apart` bytes from one another; 128 added to every byte, or not. */
static void copy_rows(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef to, int64_t apart,
                      bool raise)
{
    int64_t piece = 64; /* bytes */
    while (x->bytes % piece != 0)
        piece /= 2;
    LLVMTypeRef type = rlx_emit_vector(e->i8, piece);
    LLVMValueRef by = rlx_emit_splat(e, rlx_emit_int(e->i8, 0x80), type);
    rlx_emit_loop loop;
    rlx_emit_loop_begin(e, rlx_emit_int(e->i64, 0), rlx_emit_int(e->i64, x->bytes),
                        rlx_emit_int(e->i64, piece), &loop);
    for (int r = 0; r < x->rows; r++) {
        LLVMValueRef row = rlx_emit_rows_at(e, x, rlx_emit_int(e->i64, r), rlx_emit_int(e->i64, 0));
        LLVMValueRef from = rlx_emit_offset(e, e->i8, row, loop.index);
        LLVMValueRef v = LLVMBuildLoad2(e->b, type, from, "");
        LLVMValueRef at = rlx_emit_offset(e, e->i8, to, rlx_emit_int(e->i64, r * apart));
        LLVMSetAlignment(v, 1);
        v = raise ? LLVMBuildXor(e->b, v, by, "") : v;
        LLVMSetAlignment(LLVMBuildStore(e->b, v, rlx_emit_offset(e, e->i8, at, loop.index)), 1);
    }
    rlx_emit_loop_end(e, &loop);
}

/* Where some rows are beyond their limit all of them are copied to `to`. */
static rlx_status copy_if_short(rlx_emit *e, rlx_emit_rows *x, LLVMValueRef to, int64_t apart,
                                bool keep)
{
    LLVMBasicBlockRef copy = rlx_emit_new_block(e, "copy"), even = rlx_emit_new_block(e, "even");
    LLVMBasicBlockRef from[2] = {LLVMGetInsertBlock(e->b)};
    LLVMValueRef base[2] = {x->base, to}, rows = rlx_emit_int(e->i64, x->rows);
    int64_t size = rlx_format_get(x->from)->block_bytes;
    LLVMValueRef stride[2] = {x->stride, rlx_emit_int(e->i64, apart / size)};
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, x->room, rows, ""), even, copy);
    LLVMPositionBuilderAtEnd(e->b, copy);
    RLX_TRY(point_rows(e, x));
    copy_rows(e, x, to, apart, false);
    from[1] = LLVMGetInsertBlock(e->b);
    LLVMBuildBr(e->b, even);
    LLVMMoveBasicBlockAfter(even, from[1]);
    LLVMPositionBuilderAtEnd(e->b, even);
    x->base = LLVMBuildPhi(e->b, e->ptr, "");
    LLVMAddIncoming(x->base, base, from, 2);
    if (!keep) {
        x->stride = LLVMBuildPhi(e->b, e->i64, "");
        LLVMAddIncoming(x->stride, stride, from, 2);
    }
    x->row = NULL;
    return RLX_OK;
}

rlx_status rlx_emit_rows_init_even(rlx_emit *e, const rlx_ir_node *n, int i, bool keep,
                                   rlx_emit_rows *out)
{
    RLX_TRY(find_rows(e, n, i, out));
    if (!out->room)
        return RLX_OK;
    int64_t apart = out->bytes;
    if (keep) {
        bool fixed = LLVMIsAConstantInt(out->stride);
        int64_t size = rlx_format_get(out->from)->block_bytes;
        apart = fixed ? LLVMConstIntGetSExtValue(out->stride) * size : MAX_STACK;
    }
    if (out->rows * apart > MAX_STACK)
        return keep ? point_rows(e, out)
                    : rlx_emit_unsupported(e, n, "%d rows of %lld bytes", out->rows,
                                           (long long)apart);
    LLVMTypeRef type = LLVMArrayType2(e->i8, (uint64_t)(out->rows * apart));
    LLVMValueRef memory = LLVMBuildAlloca(e->entry, type, "even");
    LLVMSetAlignment(memory, 64);
    return copy_if_short(e, out, memory, apart, keep);
}

rlx_status rlx_emit_rows_raise(rlx_emit *e, rlx_emit_rows *x, bool *raised)
{
    *raised = x->from == RLX_I8 && x->rows * x->bytes <= MAX_STACK;
    if (!*raised)
        return RLX_OK;
    LLVMTypeRef type = LLVMArrayType2(e->i8, (uint64_t)(x->rows * x->bytes));
    LLVMValueRef memory = LLVMBuildAlloca(e->entry, type, "raised");
    LLVMSetAlignment(memory, 64);
    copy_rows(e, x, memory, x->bytes, true);
    *x = (rlx_emit_rows){.node = x->node,
                         .from = x->from,
                         .to = x->to,
                         .elem = x->elem,
                         .base = memory,
                         .stride = rlx_emit_int(e->i64, x->bytes),
                         .rows = x->rows,
                         .bytes = x->bytes};
    return RLX_OK;
}

LLVMValueRef rlx_emit_rows_at(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef r, LLVMValueRef c)
{
    if (x->row)
        return rlx_emit_offset(e, x->elem, x->row[LLVMConstIntGetZExtValue(r)], c);
    LLVMValueRef row = rlx_emit_offset(e, x->elem, x->base, rlx_emit_mul(e->b, r, x->stride));
    return rlx_emit_offset(e, x->elem, row, c);
}

rlx_status rlx_emit_rows_load(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef r, LLVMValueRef c,
                              int lanes, LLVMValueRef *out)
{
    LLVMTypeRef type = rlx_emit_vector(x->elem, lanes);
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, rlx_emit_rows_at(e, x, r, c), "");
    LLVMSetAlignment(v, (unsigned)rlx_format_get(x->from)->block_bytes);
    return rlx_emit_cast(e, x->node, x->from, x->to, rlx_emit_from_memory(e, x->from, v), out);
}

rlx_status rlx_emit_rows_spread(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef r, LLVMValueRef c,
                                int lanes, LLVMValueRef *out)
{
    LLVMValueRef v = LLVMBuildLoad2(e->b, x->elem, rlx_emit_rows_at(e, x, r, c), "");
    LLVMSetAlignment(v, (unsigned)rlx_format_get(x->from)->block_bytes);
    RLX_TRY(rlx_emit_cast(e, x->node, x->from, x->to, rlx_emit_from_memory(e, x->from, v), &v));
    *out = rlx_emit_splat(e, v, rlx_emit_vector(LLVMTypeOf(v), lanes));
    return RLX_OK;
}
