#include "jit/llvm_cpu.h"

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

/* Who reads operand i from memory; *limited: also when its rows have a limit. */
static bool reads_memory(const rlx_ir_node *n, int i, bool *limited)
{
    bool panel = n->op == RLX_LIR_DOT_PANEL;
    *limited = i == 1 || (panel && (i == 2 || i == 5));
    return ((panel || is_outer(n)) && i > 0) || (n->op == RLX_LIR_DOT && i == 1);
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
    if (tile->rank != 2 || info->kind == RLX_KIND_BLOCK || info->kind == RLX_KIND_BOOL ||
        axes->ints[1] != buffer->rank - 1 || has_limit(load, 1))
        return false;
    if (has_limit(load, 0) && tile->dim[1] * info->block_bytes > MAX_ZEROS)
        return false;
    return uses_suit(load, load->parent);
}

/* ---- reading ---- */

static rlx_status from_access(rlx_emit *e, const rlx_emit_access *a, rlx_emit_rows *out)
{
    out->from = a->buffer->type->format;
    out->elem = a->elem;
    out->base = a->base;
    out->stride = a->stride[0];
    if (!a->room[0])
        return RLX_OK;
    int rows = (int)a->tile->dim[0];
    int64_t bytes = a->tile->dim[1] * rlx_format_get(out->from)->block_bytes;
    out->row = RLX_NEW_ARRAY(e->arena, LLVMValueRef, rows);
    if (!out->row)
        return RLX_OOM();
    for (int r = 0; r < rows; r++) {
        LLVMValueRef index = rlx_emit_int(e->i64, r);
        LLVMValueRef p =
            rlx_emit_offset(e, a->elem, a->base, rlx_emit_mul(e->b, index, a->stride[0]));
        LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, index, a->room[0], "");
        out->row[r] = LLVMBuildSelect(e->b, in, p, rlx_emit_zeros(e, bytes), "");
    }
    return RLX_OK;
}

static rlx_status to_stack(rlx_emit *e, const rlx_emit_tile *t, rlx_emit_rows *out)
{
    const rlx_ir_type *type = &t->value->type;
    int64_t columns = type->dim[1];
    out->from = type->format;
    out->elem = rlx_emit_memory_type(e, type->format);
    out->stride = rlx_emit_int(e->i64, columns);
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

rlx_status rlx_emit_rows_init(rlx_emit *e, const rlx_ir_node *n, int i, rlx_emit_rows *out)
{
    const rlx_emit_tile *t = rlx_emit_get(e, n->in[i]);
    *out = (rlx_emit_rows){.node = n, .to = n->in[i]->type.format};
    return t->access ? from_access(e, t->access, out) : to_stack(e, t, out);
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
