#include "jit/llvm_cpu.h"

#include <stdio.h>

/* Loads and stores of the CPU engine, row by row.
 *
 * Nothing outside of a limit is touched, without a branch:
 *   - a row that is outside reads a block of zeros, and writes a piece of the stack, instead;
 *   - the end of a contiguous row is masked where the machine masks elements of that size;
 *   - else elements go one by one, each to its own place or to the zeros (the stack). */

enum { LINE = 64 /* bytes, of caches */ };

typedef struct row {
    LLVMValueRef address; /* of its element 0 */
    LLVMValueRef live;    /* i1: inside every limit of the leading axes; NULL: always */
    LLVMValueRef room;    /* i64: elements inside the last axis's limit; NULL: all */
    int lanes;
} row;

static row find_row(rlx_emit *e, const rlx_emit_access *a, int index)
{
    int rank = a->tile->rank;
    row r = {.address = a->base, .lanes = rank ? (int)a->tile->dim[rank - 1] : 1};
    if (rank)
        r.room = a->room[rank - 1];
    for (int i = rank - 2; i >= 0; i--) {
        LLVMValueRef j = rlx_emit_int(e->i64, index % a->tile->dim[i]);
        index /= (int)a->tile->dim[i];
        r.address = rlx_emit_offset(e, a->elem, r.address, rlx_emit_mul(e->b, j, a->stride[i]));
        if (a->room[i]) {
            LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, j, a->room[i], "");
            r.live = r.live ? LLVMBuildAnd(e->b, r.live, in, "") : in;
        }
    }
    if (r.room && r.live) { /* a dead row is one without room */
        r.room = LLVMBuildSelect(e->b, r.live, r.room, rlx_emit_int(e->i64, 0), "");
        r.live = NULL;
    }
    return r;
}

static unsigned elem_bytes(const rlx_emit_access *a)
{
    return (unsigned)rlx_format_get(a->buffer->type->format)->block_bytes;
}

LLVMValueRef rlx_emit_zeros(rlx_emit *e, int64_t bytes)
{
    unsigned n = 64;
    while (n < bytes)
        n *= 2;
    char name[32];
    snprintf(name, sizeof name, "zeros%u", n);
    LLVMValueRef g = LLVMGetNamedGlobal(e->module, name);
    if (!g) {
        LLVMTypeRef type = LLVMArrayType2(e->i8, n);
        g = LLVMAddGlobal(e->module, type, name);
        LLVMSetInitializer(g, LLVMConstNull(type));
        LLVMSetGlobalConstant(g, true);
        LLVMSetLinkage(g, LLVMPrivateLinkage);
        LLVMSetAlignment(g, 64);
    }
    return g;
}

/* Stack memory of at least `bytes` that nobody reads. */
static LLVMValueRef sink(rlx_emit *e, int64_t bytes)
{
    LLVMTypeRef type = LLVMArrayType2(e->i8, (uint64_t)bytes);
    if (!e->sink || LLVMGetArrayLength2(LLVMGetAllocatedType(e->sink)) < (uint64_t)bytes) {
        e->sink = LLVMBuildAlloca(e->entry, type, "sink");
        LLVMSetAlignment(e->sink, 16);
    }
    return e->sink;
}

/* `p` while the condition holds (NULL: always), else `other`. */
static LLVMValueRef if_live(rlx_emit *e, LLVMValueRef live, LLVMValueRef p, LLVMValueRef other)
{
    return live ? LLVMBuildSelect(e->b, live, p, other, "") : p;
}

/* Lanes below `room`, as a mask. */
static LLVMValueRef lane_mask(rlx_emit *e, const row *r)
{
    LLVMValueRef n = rlx_emit_int(e->i64, r->lanes), zero = rlx_emit_int(e->i64, 0);
    LLVMValueRef count =
        LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, r->room, n, ""), r->room, n, "");
    count =
        LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, count, zero, ""), count, zero, "");
    count = LLVMBuildTrunc(e->b, count, e->i32, "");
    LLVMValueRef iota = LLVMGetUndef(LLVMVectorType(e->i32, (unsigned)r->lanes));
    for (int i = 0; i < r->lanes; i++) /* folds to a constant */
        iota = LLVMBuildInsertElement(e->b, iota, rlx_emit_int(e->i32, i), rlx_emit_int(e->i32, i),
                                      "");
    return LLVMBuildICmp(e->b, LLVMIntSLT, iota, rlx_emit_splat(e, count, LLVMTypeOf(iota)), "");
}

static LLVMValueRef masked_intrinsic(rlx_emit *e, const char *name, size_t len, LLVMTypeRef type,
                                     LLVMValueRef *args, unsigned n)
{
    LLVMTypeRef overload[2] = {type, e->ptr};
    LLVMValueRef fn =
        LLVMGetIntrinsicDeclaration(e->module, LLVMLookupIntrinsicID(name, len), overload, 2);
    return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, n, "");
}

static bool can_mask(const rlx_emit *e, const rlx_emit_access *a)
{
    return e->target->avx512 || (e->target->kind == RLX_JIT_CPU && elem_bytes(a) >= 4);
}

/* Element i of a row: its address, and whether it is inside. */
static LLVMValueRef element(rlx_emit *e, const rlx_emit_access *a, const row *r, int i,
                            LLVMValueRef *live)
{
    LLVMValueRef j = rlx_emit_int(e->i64, i);
    *live = r->room ? LLVMBuildICmp(e->b, LLVMIntSLT, j, r->room, "") : r->live;
    if (!a->tile->rank)
        return r->address;
    LLVMValueRef at = rlx_emit_mul(e->b, j, a->stride[a->tile->rank - 1]);
    return rlx_emit_offset(e, a->elem, r->address, at);
}

/* ---- load ---- */

static LLVMValueRef load_at(rlx_emit *e, const rlx_emit_access *a, LLVMTypeRef type, LLVMValueRef p)
{
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, p, "");
    LLVMSetAlignment(v, elem_bytes(a));
    return v;
}

static LLVMValueRef load_row(rlx_emit *e, const rlx_emit_access *a, const row *r)
{
    LLVMTypeRef type = LLVMVectorType(a->elem, (unsigned)r->lanes);
    LLVMValueRef live;
    if (r->lanes == 1) {
        LLVMValueRef p = element(e, a, r, 0, &live);
        return load_at(e, a, a->elem, live ? if_live(e, live, p, rlx_emit_zeros(e, 8)) : p);
    }
    int64_t bytes = (int64_t)r->lanes * elem_bytes(a);
    if (a->contiguous && !r->room) {
        LLVMValueRef p =
            r->live ? if_live(e, r->live, r->address, rlx_emit_zeros(e, bytes)) : r->address;
        return load_at(e, a, type, p);
    }
    if (a->contiguous && can_mask(e, a)) {
        LLVMValueRef args[] = {r->address, rlx_emit_int(e->i32, elem_bytes(a)), lane_mask(e, r),
                               LLVMConstNull(type)};
        return masked_intrinsic(e, "llvm.masked.load", 16, type, args, 4);
    }
    LLVMValueRef v = LLVMGetPoison(type);
    for (int i = 0; i < r->lanes; i++) {
        LLVMValueRef p = element(e, a, r, i, &live);
        p = live ? if_live(e, live, p, rlx_emit_zeros(e, 8)) : p;
        v = LLVMBuildInsertElement(e->b, v, load_at(e, a, a->elem, p), rlx_emit_int(e->i32, i), "");
    }
    return v;
}

rlx_status rlx_emit_cpu_load(rlx_emit *e, const rlx_ir_node *n)
{
    if (rlx_format_get(n->in[0]->type.format)->kind == RLX_KIND_BLOCK)
        return rlx_emit_cpu_load_blocks(e, n);
    rlx_emit_access a;
    rlx_emit_access_init(e, n, &n->out[0]->type, &a);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    if (rlx_emit_defers(n)) {
        out->access = rlx_arena_copy(e->arena, &a, sizeof a);
        return out->access ? RLX_OK : RLX_OOM();
    }
    rlx_format from = a.buffer->type->format, to = n->out[0]->type.format;
    for (int p = 0; p < out->n; p++) {
        row r = find_row(e, &a, p);
        LLVMValueRef x = rlx_emit_from_memory(e, from, load_row(e, &a, &r));
        RLX_TRY(rlx_emit_cast(e, n, from, to, x, &out->part[p]));
    }
    return RLX_OK;
}

/* ---- store ---- */

static void store_at(rlx_emit *e, const rlx_emit_access *a, LLVMValueRef x, LLVMValueRef p)
{
    LLVMSetAlignment(LLVMBuildStore(e->b, x, p), elem_bytes(a));
}

static void store_row(rlx_emit *e, const rlx_emit_access *a, const row *r, LLVMValueRef x)
{
    LLVMValueRef live;
    if (r->lanes == 1) {
        LLVMValueRef p = element(e, a, r, 0, &live);
        store_at(e, a, x, live ? if_live(e, live, p, sink(e, 8)) : p);
        return;
    }
    int64_t bytes = (int64_t)r->lanes * elem_bytes(a);
    if (a->contiguous && !r->room) {
        LLVMValueRef p = r->live ? if_live(e, r->live, r->address, sink(e, bytes)) : r->address;
        store_at(e, a, x, p);
        return;
    }
    if (a->contiguous && can_mask(e, a)) {
        LLVMValueRef args[] = {x, r->address, rlx_emit_int(e->i32, elem_bytes(a)), lane_mask(e, r)};
        masked_intrinsic(e, "llvm.masked.store", 17, LLVMTypeOf(x), args, 4);
        return;
    }
    for (int i = 0; i < r->lanes; i++) {
        LLVMValueRef p = element(e, a, r, i, &live);
        LLVMValueRef v = LLVMBuildExtractElement(e->b, x, rlx_emit_int(e->i32, i), "");
        store_at(e, a, v, live ? if_live(e, live, p, sink(e, 8)) : p);
    }
}

/* Whether two rows that lie side by side are a register: they go by one store, as by one load. */
static bool stores_two(const rlx_emit *e, const rlx_emit_access *a, rlx_format from)
{
    const int last = a->tile->rank - 1;
    if (last < 1 || from != RLX_F32 || a->buffer->type->format != RLX_F32 || !a->contiguous)
        return false;
    for (int i = 0; i <= last; i++)
        if (a->room[i])
            return false;
    const int64_t lanes = a->tile->dim[last];
    return 2 * lanes == rlx_emit_register_lanes(e) && a->tile->dim[last - 1] % 2 == 0 &&
           LLVMIsAConstantInt(a->stride[last - 1]) &&
           LLVMConstIntGetSExtValue(a->stride[last - 1]) == lanes;
}

rlx_status rlx_emit_cpu_store(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_access a;
    const rlx_ir_type *type = &n->in[1]->type;
    rlx_emit_access_init(e, n, type, &a);
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[1]);
    if (in->stored)
        return RLX_OK;
    rlx_format to = a.buffer->type->format;
    const bool two = stores_two(e, &a, type->format);
    for (int p = 0; p < in->n; p++) {
        row r = find_row(e, &a, p);
        LLVMValueRef x;
        if (two) {
            store_at(e, &a, rlx_emit_join(e, in->part + p++, 2), r.address);
            continue;
        }
        RLX_TRY(rlx_emit_cast(e, n, type->format, to, in->part[p], &x));
        store_row(e, &a, &r, rlx_emit_to_memory(e, to, x));
    }
    return RLX_OK;
}

void rlx_emit_tell_lines(rlx_emit *e, LLVMValueRef from, int64_t bytes, int cache)
{
    enum { READ = 0, DATA = 1 };
    for (int64_t at = 0; at < bytes; at += LINE) {
        LLVMValueRef args[] = {rlx_emit_offset(e, e->i8, from, rlx_emit_int(e->i64, at)),
                               rlx_emit_int(e->i32, READ), rlx_emit_int(e->i32, cache),
                               rlx_emit_int(e->i32, DATA)};
        rlx_emit_intrinsic(e, "llvm.prefetch", e->ptr, args, 4);
    }
}

/* Of blocks: where the element's one begins. */
static LLVMValueRef block_address(rlx_emit *e, const rlx_ir_node *n, const rlx_format_info *f)
{
    const rlx_emit_buffer *b = rlx_emit_get(e, n->in[0])->buffer;
    LLVMValueRef at = rlx_emit_int(e->i64, 0);
    for (int i = 0; i < b->type->rank; i++)
        at = rlx_emit_add(e->b, at,
                          rlx_emit_mul(e->b, rlx_emit_scalar(e, n->in[1 + i]), b->stride[i]));
    at = LLVMBuildUDiv(e->b, at, rlx_emit_int(e->i64, f->block_elems), "");
    at = rlx_emit_mul(e->b, at, rlx_emit_int(e->i64, (int64_t)f->block_bytes));
    return rlx_emit_offset(e, e->i8, b->base, at);
}

/* From the first byte of so many of elements or blocks to the first of the last line that they may reach
 * into, and one: they begin wherever a multiple of their size does. */
static int64_t bytes_to_tell(const rlx_format_info *f, int64_t width)
{
    const int64_t size = (int64_t)f->block_bytes, even = size & -size;
    const int64_t bytes = (width + f->block_elems - 1) / f->block_elems * size;
    const int64_t late = even < LINE ? LINE - even : 0;
    return (late + bytes - 1) / LINE * LINE + 1;
}

/* Rounds of the next product's, among which what is told may be spread; 0: none follows, or AMX's tiles make it. */
static int64_t rounds_to_tell(const rlx_emit *e, const rlx_ir_node *n)
{
    enum { A_FEW = 4 /* steps, which go by before the next line is asked for */ };
    for (n = n->next; n && n->nblock == 0; n = n->next) {
        if (n->op == RLX_LIR_OUTER)
            return n->in[2]->type.dim[0] / A_FEW;
        if (n->op == RLX_LIR_DOT_PANEL)
            return e->target->tiles_bytes ? 0 : n->in[4]->type.dim[0];
    }
    return 0;
}

static int64_t lines_of(int64_t bytes)
{
    return (bytes + LINE - 1) / LINE;
}

/* A core has so many lines on their way: more at once would be waited for. They are told one by one while a
 * product goes by, if a long one follows. */
static bool waits_for_product(rlx_emit *e, const rlx_ir_node *n, LLVMValueRef from, int64_t bytes)
{
    const int64_t lines = lines_of(bytes);
    if (lines == 1 || lines > rounds_to_tell(e, n) || e->nahead == RLX_EMIT_MOST_AHEAD)
        return false;
    e->ahead[e->nahead].from = from;
    e->ahead[e->nahead++].bytes = bytes;
    return true;
}

int64_t rlx_emit_lines_ahead(const rlx_emit *e)
{
    int64_t most = 0;
    for (int i = 0; i < e->nahead; i++)
        most = lines_of(e->ahead[i].bytes) > most ? lines_of(e->ahead[i].bytes) : most;
    return most;
}

void rlx_emit_tell_ahead(rlx_emit *e, LLVMValueRef step, int64_t steps)
{
    for (int i = 0; i < e->nahead; i++) {
        const int64_t each = (e->ahead[i].bytes + steps - 1) / steps;
        LLVMValueRef at = rlx_emit_mul(e->b, step, rlx_emit_int(e->i64, each));
        rlx_emit_tell_lines(e, rlx_emit_offset(e, e->i8, e->ahead[i].from, at), each,
                            RLX_CACHE_SECOND);
    }
    e->nahead = 0;
}

/* At once: many by a loop. */
static void tell_now(rlx_emit *e, LLVMValueRef from, int64_t bytes)
{
    enum { FEW_LINES = 8 };
    rlx_emit_loop loop;
    if (lines_of(bytes) <= FEW_LINES) {
        rlx_emit_tell_lines(e, from, bytes, RLX_CACHE_SECOND);
        return;
    }
    rlx_emit_loop_begin(e, rlx_emit_int(e->i64, 0), rlx_emit_int(e->i64, lines_of(bytes)),
                        rlx_emit_int(e->i64, 1), &loop);
    LLVMValueRef at = rlx_emit_mul(e->b, loop.index, rlx_emit_int(e->i64, LINE));
    rlx_emit_tell_lines(e, rlx_emit_offset(e, e->i8, from, at), 1, RLX_CACHE_SECOND);
    rlx_emit_loop_end(e, &loop);
}

/* Into the second-level cache: what is told far ahead is more than the first one holds. */
rlx_status rlx_emit_cpu_prefetch(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type scalar = {.kind = RLX_TYPE_TILE, .format = n->in[0]->type.format};
    const rlx_format_info *f = rlx_format_get(scalar.format);
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1);
    int64_t bytes = width * (int64_t)f->block_bytes;
    rlx_emit_access a;
    if (f->kind == RLX_KIND_BLOCK) {
        a.base = block_address(e, n, f);
        bytes = bytes_to_tell(f, width);
    } else {
        rlx_emit_access_init(e, n, &scalar, &a);
    }
    if (!waits_for_product(e, n, a.base, bytes))
        tell_now(e, a.base, bytes);
    return RLX_OK;
}
