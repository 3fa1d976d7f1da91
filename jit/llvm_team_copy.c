#include "jit/llvm_team.h"

/* Copies of global to team memory, 16 bytes at a time, that pass no registers: async stores, and what dot_rows
 * takes out of memory.
 *
 * A ring is a team buffer [stages, rows, bytes of K] that async stores fill and dot_rows alone reads, stage by
 * stage. Where copies run by themselves its rows are swizzled (rlx_matrix_swizzle), so that the same 16 bytes of
 * eight rows lie in all banks: no room is left between rows, as the exchange has it. */

enum { CHUNK = RLX_MATRIX_CHUNK, RING_RANK = 3, HALF = 2, EIGHT = 8 /* rows: swizzles repeat */ };

static int64_t bytes_of(rlx_format f, int64_t n)
{
    return (int64_t)rlx_format_bytes(f, n);
}

static bool is_zero(const rlx_ir_value *v)
{
    return v->def && v->def->op == RLX_LIR_CONST &&
           rlx_ir_attr_int(v->def, RLX_ATTR_IVALUE, 1) == 0;
}

bool rlx_emit_copies_async(const rlx_emit *e)
{
    return e->target->copies;
}

bool rlx_emit_has_limit(const rlx_ir_node *n, int axis)
{
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    for (int i = 0; limits && i < limits->n; i++)
        if (limits->ints[i] == axis)
            return true;
    return false;
}

/* Whether rows of the tile lie in whole chunks of the buffer. */
static bool has_chunks(const rlx_ir_node *access, const rlx_ir_type *tile)
{
    const rlx_ir_type *buffer = &access->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(access, RLX_ATTR_AXES);
    const int last = buffer->rank - 1, first = access->op == RLX_LIR_STORE ? 2 : 1;
    const int64_t bytes = rlx_format_get(buffer->format)->block_bytes;
    return tile->rank == 2 && axes->ints[1] == last && !rlx_emit_has_limit(access, 1) &&
           buffer->format == tile->format && rlx_dim_is_const(buffer->dim[last]) &&
           buffer->dim[last] * bytes % CHUNK == 0 && tile->dim[1] * bytes % CHUNK == 0 &&
           rlx_lir_divisor(access->in[first + last]) * bytes % CHUNK == 0;
}

bool rlx_emit_copies_rows(const rlx_ir_node *load)
{
    return rlx_format_get(load->in[0]->type.format)->kind != RLX_KIND_BLOCK &&
           load->in[0]->type.space == RLX_SPACE_GLOBAL && has_chunks(load, &load->out[0]->type);
}

bool rlx_emit_is_copy(const rlx_emit *e, const rlx_ir_node *store)
{
    return rlx_ir_attr(store, RLX_ATTR_ASYNC) && rlx_emit_copies_async(e) &&
           rlx_emit_copies_rows(store->in[1]->def) && has_chunks(store, &store->in[1]->type);
}

bool rlx_emit_is_copied(const rlx_emit *e, const rlx_ir_node *load)
{
    for (const rlx_ir_node *n = load->next; n; n = n->next)
        if (n->op == RLX_LIR_STORE && n->in[1] == load->out[0])
            return rlx_emit_is_copy(e, n);
    return false;
}

/* ---- rings ---- */

/* Whether a load or store takes one stage from its begin to its end. */
static bool takes_stage(const rlx_ir_node *n, const rlx_ir_type *tile)
{
    const rlx_ir_type *buffer = &n->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const int first = n->op == RLX_LIR_STORE ? 2 : 1;
    return tile->rank == 2 && axes->ints[0] == 1 && axes->ints[1] == 2 &&
           !rlx_ir_attr(n, RLX_ATTR_LIMITS) && tile->dim[0] == buffer->dim[1] &&
           tile->dim[1] == buffer->dim[2] && is_zero(n->in[first + 1]) && is_zero(n->in[first + 2]);
}

static bool only_stages(const rlx_emit *e, const rlx_ir_block *block, const rlx_ir_value *buffer)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        for (int i = 0; i < n->nblock; i++)
            if (!only_stages(e, n->blocks[i], buffer))
                return false;
        if (!n->nin || n->in[0] != buffer)
            continue;
        const bool fits = n->op == RLX_LIR_STORE
                              ? rlx_emit_is_copy(e, n) && takes_stage(n, &n->in[1]->type)
                              : n->op == RLX_LIR_LOAD && rlx_emit_matrix_uses(e, n, true) &&
                                    takes_stage(n, &n->out[0]->type);
        if (!fits)
            return false;
    }
    return true;
}

bool rlx_emit_is_ring(const rlx_emit *e, const rlx_ir_value *buffer)
{
    const rlx_ir_type *t = &buffer->type;
    const int64_t chunks = t->rank == RING_RANK ? bytes_of(t->format, t->dim[2]) / CHUNK : 0;
    if (!rlx_emit_copies_async(e) || t->space != RLX_SPACE_TEAM || t->rank != RING_RANK)
        return false;
    const rlx_matrix_unit *u = bytes_of(t->format, 1) == 1 ? e->target->matrix : e->matrix;
    const bool halves = bytes_of(t->format, 1) == HALF, reads = u && rlx_matrix_reads_memory(u);
    if ((bytes_of(t->format, 1) != 1 && !halves) || (halves && !reads))
        return false; /* by mma.sync products of floats read the exchange alone */
    if (reads && (chunks < 2 || chunks > EIGHT))
        return false; /* no layout of wgmma's */
    return chunks > 0 && (chunks & (chunks - 1)) == 0 && only_stages(e, e->kernel->body, buffer);
}

LLVMValueRef rlx_emit_swizzle(rlx_emit *e, int64_t row_bytes, LLVMValueRef row, LLVMValueRef byte)
{
    const rlx_matrix_swizzle s = rlx_matrix_swizzle_of((int)(row_bytes / CHUNK));
    LLVMValueRef with = LLVMBuildLShr(e->b, row, rlx_emit_int(e->i32, s.shift), "");
    with = LLVMBuildAnd(e->b, with, rlx_emit_int(e->i32, s.mask), "");
    with = rlx_emit_mul(e->b, with, rlx_emit_int(e->i32, CHUNK));
    return LLVMBuildXor(e->b, byte, with, "");
}

/* ---- rows that are dealt to invocations ---- */

int rlx_emit_deal_count(const rlx_emit *e, const rlx_emit_deal *d)
{
    const int64_t team = e->target->team;
    return (int)((d->rows * d->per_row + team - 1) / team);
}

/* A team that takes whole rows at a time, or a row in whole turns, divides once. */
static void deal(rlx_emit *e, const rlx_emit_deal *d, int i, LLVMValueRef *row, int64_t *on,
                 LLVMValueRef *piece)
{
    const int64_t team = e->target->team, all = d->rows * d->per_row;
    LLVMValueRef per = rlx_emit_int(e->i32, d->per_row), n = e->thread;
    if (d->per_row % team == 0) {
        const int64_t turns = d->per_row / team;
        *row = rlx_emit_int(e->i32, 0);
        *on = i / turns;
        *piece = rlx_emit_add(e->b, n, rlx_emit_int(e->i32, i % turns * team));
        return;
    }
    if (team % d->per_row == 0 && all % team == 0) {
        *piece = LLVMBuildURem(e->b, n, per, "");
        *row = LLVMBuildUDiv(e->b, n, per, "");
        *on = i * (team / d->per_row);
        return;
    }
    n = rlx_emit_add(e->b, n, rlx_emit_int(e->i32, i * team));
    if ((i + 1) * team > all) {
        LLVMValueRef last = rlx_emit_int(e->i32, all - 1);
        n = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntULT, n, last, ""), n, last, "");
    }
    *piece = LLVMBuildURem(e->b, n, per, "");
    *row = LLVMBuildUDiv(e->b, n, per, "");
    *on = 0;
}

void rlx_emit_deal_at(rlx_emit *e, const rlx_emit_deal *d, int i, LLVMValueRef *row, int64_t *on,
                      LLVMValueRef *piece, LLVMValueRef *live)
{
    deal(e, d, i, row, on, piece);
    *live = NULL;
    if (!d->room)
        return;
    LLVMValueRef at = LLVMBuildZExt(e->b, *row, e->i64, "");
    at = rlx_emit_add(e->b, at, rlx_emit_int(e->i64, *on));
    *live = LLVMBuildICmp(e->b, LLVMIntSLT, at, d->room, "");
}

LLVMValueRef rlx_emit_dealt(rlx_emit *e, LLVMValueRef p, LLVMValueRef row, int64_t on,
                            LLVMValueRef stride)
{
    row = rlx_emit_mul(e->b, LLVMBuildZExt(e->b, row, e->i64, ""), stride);
    p = rlx_emit_offset(e, e->i8, p, row);
    return rlx_emit_offset(e, e->i8, p, rlx_emit_mul(e->b, stride, rlx_emit_int(e->i64, on)));
}

/* ---- copies ---- */

void rlx_emit_copy_rows(rlx_emit *e, const rlx_ir_node *load, const rlx_emit_rows *to)
{
    const rlx_ir_type *tile = &load->out[0]->type;
    const int64_t row_bytes = bytes_of(tile->format, tile->dim[1]);
    rlx_emit_access a;
    rlx_emit_access_init(e, load, tile, &a);
    LLVMValueRef apart =
        rlx_emit_mul(e->b, a.stride[0], rlx_emit_int(e->i64, bytes_of(tile->format, 1)));
    LLVMValueRef first = rlx_emit_offset(e, e->i8, to->at, rlx_emit_int(e->i64, to->plus));
    rlx_emit_deal d = {.rows = tile->dim[0], .per_row = row_bytes / CHUNK, .room = a.room[0]};
    for (int i = 0; i < rlx_emit_deal_count(e, &d); i++) {
        LLVMValueRef row, piece, live;
        int64_t on;
        rlx_emit_deal_at(e, &d, i, &row, &on, &piece, &live);
        LLVMValueRef byte = rlx_emit_mul(e->b, piece, rlx_emit_int(e->i32, CHUNK));
        LLVMValueRef from = rlx_emit_dealt(e, a.base, row, on, apart);
        if (live && !e->target->copies) /* what is not live is read, too */
            from = LLVMBuildSelect(e->b, live, from, a.base, "");
        from = LLVMBuildGEP2(e->b, e->i8, from, &byte, 1, "");
        LLVMValueRef at = rlx_emit_dealt(e, first, row, on, rlx_emit_int(e->i64, to->stride));
        if (to->panel) {
            LLVMValueRef wide = rlx_emit_int(e->i32, to->stride),
                         panel = LLVMBuildUDiv(e->b, byte, wide, "");
            panel = rlx_emit_mul(e->b, panel, rlx_emit_int(e->i32, to->panel));
            at = LLVMBuildGEP2(e->b, e->i8, at, &panel, 1, "");
            byte = LLVMBuildURem(e->b, byte, wide, "");
        }
        if (to->apart)
            byte = rlx_emit_mul(e->b, piece, rlx_emit_int(e->i32, to->apart));
        if (to->swizzled) {
            row = rlx_emit_add(e->b, row, rlx_emit_int(e->i32, on % EIGHT));
            byte = rlx_emit_swizzle(e, to->stride, row, byte);
        }
        at = LLVMBuildGEP2(e->b, e->i8, at, &byte, 1, "");
        e->engine->copy(e, at, from, live);
    }
}

rlx_emit_rows rlx_emit_rows_of(rlx_emit *e, const rlx_ir_node *access, const rlx_ir_type *tile)
{
    const rlx_ir_type *buffer = &access->in[0]->type;
    rlx_emit_access a;
    rlx_emit_access_init(e, access, tile, &a);
    return (rlx_emit_rows){.at = a.base,
                           .stride = bytes_of(buffer->format, buffer->dim[buffer->rank - 1]),
                           .swizzled = rlx_emit_is_ring(e, access->in[0])};
}

void rlx_emit_store_async(rlx_emit *e, const rlx_ir_node *store)
{
    const rlx_emit_rows to = rlx_emit_rows_of(e, store, &store->in[1]->type);
    const int map = rlx_emit_map_of(e, store);
    if (map >= 0)
        rlx_emit_copy_box(e, store->in[1]->def, &to, map);
    else
        rlx_emit_copy_rows(e, store->in[1]->def, &to);
}
