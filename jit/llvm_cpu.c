#include "jit/llvm_cpu.h"

#include <assert.h>
#include <string.h>

/* The CPU engine: a team is one thread; a part is a row, that is the last axis of a tile as one
 * vector of exactly its length (a scalar when the length is 1). LLVM splits vectors that the
 * machine has not, so one walk serves AVX2 and AVX-512.
 *
 *   void @kernel(ptr buffers, ptr symbols, i64 team, i64 teams, ptr memory)    rlx_kernel_fn
 */

static int row_count(const rlx_emit *e, const rlx_ir_type *tile)
{
    (void)e;
    int64_t n = 1;
    for (int i = 0; i + 1 < tile->rank; i++)
        n *= tile->dim[i];
    return (int)n;
}

static int row_lanes(const rlx_ir_type *tile)
{
    return tile->rank ? (int)tile->dim[tile->rank - 1] : 1;
}

static LLVMTypeRef row_type(const rlx_emit *e, const rlx_ir_type *tile)
{
    LLVMTypeRef elem = rlx_emit_value_type(e, tile->format);
    int n = row_lanes(tile);
    return n == 1 ? elem : LLVMVectorType(elem, (unsigned)n);
}

/* ---- the function ---- */

static void add_attribute(const rlx_emit *e, const char *key, const char *value)
{
    LLVMAttributeRef a = LLVMCreateStringAttribute(e->cx, key, (unsigned)strlen(key), value,
                                                   (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

void rlx_emit_cpu_attributes(const rlx_emit *e)
{
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->cx, nounwind, 0));
    add_attribute(e, "target-cpu", e->target->cpu);
    add_attribute(e, "target-features", e->target->features);
    if (e->target->avx512) {
        add_attribute(e, "prefer-vector-width", "512");
        add_attribute(e, "min-legal-vector-width", "512");
    }
}

rlx_status rlx_emit_begin_host(rlx_emit *e)
{
    LLVMTypeRef params[] = {e->ptr, e->ptr, e->i64, e->i64, e->ptr};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params, 5, false);
    e->fn = LLVMAddFunction(e->module, e->kernel->name, type);
    rlx_emit_cpu_attributes(e);
    LLVMPositionBuilderAtEnd(e->entry, rlx_emit_new_block(e, "entry"));
    LLVMValueRef buffers = LLVMGetParam(e->fn, 0);
    e->symbols = LLVMGetParam(e->fn, 1);
    e->team_index = LLVMGetParam(e->fn, 2);
    e->teams = LLVMGetParam(e->fn, 3);
    e->memory = LLVMGetParam(e->fn, 4);
    const rlx_ir_block *body = e->kernel->body;
    for (int i = 0; i < body->nargs; i++) {
        LLVMValueRef at = rlx_emit_int(e->i64, i);
        LLVMValueRef p = LLVMBuildGEP2(e->entry, e->ptr, buffers, &at, 1, "");
        const char *name = body->args[i]->name;
        LLVMValueRef base = LLVMBuildLoad2(e->entry, e->ptr, p, name ? name : "");
        RLX_TRY(rlx_emit_define_buffer(e, body->args[i], base));
    }
    return RLX_OK;
}

static void barrier(rlx_emit *e)
{
    (void)e; /* a team is one thread */
}

/* ---- grid ---- */

/* Bound number `team` of the instances: total * team / teams. */
static LLVMValueRef part_bound(const rlx_emit *e, LLVMValueRef total, LLVMValueRef team)
{
    return LLVMBuildUDiv(e->b, LLVMBuildMul(e->b, total, team, ""), e->teams, "");
}

static rlx_status emit_grid(rlx_emit *e, const rlx_ir_node *n)
{
    LLVMValueRef total = rlx_emit_int(e->i64, 1);
    for (int i = 0; i < n->nin; i++)
        total = rlx_emit_mul(e->b, total, rlx_emit_scalar(e, n->in[i]));
    LLVMValueRef one = rlx_emit_int(e->i64, 1);
    LLVMValueRef lo = part_bound(e, total, e->team_index);
    LLVMValueRef hi = part_bound(e, total, LLVMBuildAdd(e->b, e->team_index, one, ""));
    rlx_emit_loop loop;
    rlx_emit_loop_begin(e, lo, hi, one, &loop);
    RLX_TRY(rlx_emit_grid_indices(e, n, loop.index));
    RLX_TRY(rlx_emit_block(e, n->blocks[0]));
    rlx_emit_loop_end(e, &loop);
    return RLX_OK;
}

/* ---- values that move between lanes ---- */

static LLVMValueRef lane(const rlx_emit *e, LLVMValueRef row, int64_t i)
{
    if (LLVMGetTypeKind(LLVMTypeOf(row)) != LLVMVectorTypeKind)
        return row;
    return LLVMBuildExtractElement(e->b, row, rlx_emit_int(e->i32, i), "");
}

/* Lanes of x and y (which may be NULL) by index; -1: any value. */
static rlx_status shuffle(const rlx_emit *e, LLVMValueRef x, LLVMValueRef y, const int *index,
                          int n, LLVMValueRef *out)
{
    LLVMValueRef *mask = RLX_NEW_ARRAY(e->arena, LLVMValueRef, n);
    if (!mask)
        return RLX_OOM();
    for (int i = 0; i < n; i++)
        mask[i] = index[i] < 0 ? LLVMGetPoison(e->i32) : rlx_emit_int(e->i32, index[i]);
    *out = LLVMBuildShuffleVector(e->b, x, y ? y : LLVMGetPoison(LLVMTypeOf(x)),
                                  LLVMConstVector(mask, (unsigned)n), "");
    return RLX_OK;
}

static rlx_status emit_iota(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    const rlx_ir_type *type = &n->out[0]->type;
    LLVMTypeRef elem = rlx_emit_value_type(e, type->format);
    int lanes = row_lanes(type);
    LLVMValueRef *c = RLX_NEW_ARRAY(e->arena, LLVMValueRef, lanes);
    if (!c)
        return RLX_OOM();
    for (int i = 0; i < lanes; i++)
        c[i] = rlx_emit_int(elem, i);
    for (int p = 0; p < out->n; p++)
        out->part[p] = lanes == 1 ? c[0] : LLVMConstVector(c, (unsigned)lanes);
    return RLX_OK;
}

/* Row number of tile position (at[0], .., at[rank-2]). */
static int row_at(const rlx_ir_type *tile, const int64_t *at)
{
    int64_t r = 0;
    for (int i = 0; i + 1 < tile->rank; i++)
        r = r * tile->dim[i] + at[i];
    return (int)r;
}

static void row_position(const rlx_ir_type *tile, int row, int64_t *at)
{
    for (int i = tile->rank - 2; i >= 0; i--) {
        at[i] = row % tile->dim[i];
        row /= (int)tile->dim[i];
    }
}

static rlx_status emit_broadcast(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    const rlx_ir_type *from = &n->in[0]->type, *to = &n->out[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    bool keeps_rows = from->rank && axes->ints[from->rank - 1] == to->rank - 1;
    for (int p = 0; p < out->n; p++) {
        int64_t to_at[RLX_MAX_TILE_RANK] = {0}, at[RLX_MAX_TILE_RANK] = {0};
        row_position(to, p, to_at);
        for (int i = 0; i < from->rank; i++)
            at[i] = to_at[axes->ints[i]];
        LLVMValueRef row = in->part[row_at(from, at)];
        out->part[p] = row;
        if (!keeps_rows)
            out->part[p] = rlx_emit_splat(e, lane(e, row, from->rank ? at[from->rank - 1] : 0),
                                          row_type(e, to));
    }
    return RLX_OK;
}

static rlx_status emit_contract(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]);
    const rlx_emit_tile *in[2] = {rlx_emit_get(e, n->in[1]), rlx_emit_get(e, n->in[2])};
    const rlx_ir_type *type = &n->out[0]->type;
    int rows[2] = {(int)type->dim[0], (int)type->dim[1]}, lanes = (int)type->dim[2];
    int steps = (int)(n->in[1]->type.dim[1] / lanes);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    memcpy(out->part, acc->part, sizeof *out->part * (size_t)out->n);
    LLVMValueRef *x = RLX_NEW_ARRAY(e->arena, LLVMValueRef, rows[0] + rows[1]);
    int *index = RLX_NEW_ARRAY(e->arena, int, lanes);
    if (!x || !index)
        return RLX_OOM();
    for (int j = 0; j < steps; j++) {
        for (int i = 0; i < lanes; i++)
            index[i] = j * lanes + i;
        for (int r = 0; r < rows[0] + rows[1]; r++) {
            x[r] = r < rows[0] ? in[0]->part[r] : in[1]->part[r - rows[0]];
            if (lanes == 1)
                x[r] = lane(e, x[r], j);
            else if (steps > 1)
                RLX_TRY(shuffle(e, x[r], NULL, index, lanes, &x[r]));
        }
        for (int p = 0; p < out->n; p++) {
            LLVMValueRef args[3] = {x[p / rows[1]], x[rows[0] + p % rows[1]], out->part[p]};
            out->part[p] = rlx_emit_intrinsic(e, "llvm.fma", LLVMTypeOf(args[2]), args, 3);
        }
    }
    return RLX_OK;
}

/* ---- reduce ---- */

/* Rows being reduced together. Every vector holds `subs` rows' partial results of `width` lanes
 * each; `row` says whose they are (-1: nobody's). Combining by halves keeps the pairing of the op:
 * lane l with l + width/2. Packing two vectors into one costs two shuffles and one operation for
 * both. */
typedef struct reduction {
    rlx_emit *e;
    const rlx_ir_node *node;
    int count, subs, width;
    LLVMValueRef *vec;
    int *row; /* count * subs */
} reduction;

enum { LANE_BYTES = 16 }; /* shuffles inside 16 bytes are the cheap ones */

/* One step: halves of x (and y, when there are two) into one vector. */
static rlx_status halve(const reduction *r, int vec, bool pair, int chunk, LLVMValueRef *out,
                        int *order)
{
    rlx_emit *e = r->e;
    int lanes = r->subs * r->width, half = r->width / 2, n = 0, norder = 0;
    LLVMValueRef x = r->vec[vec], y = pair && vec + 1 < r->count ? r->vec[vec + 1] : NULL;
    int *lo = RLX_NEW_ARRAY(e->arena, int, 2 * lanes), *hi = lo ? lo + lanes : NULL;
    if (!lo)
        return RLX_OOM();
    for (int c = 0; c < lanes; c += chunk) {
        for (int s = 0; s < (pair ? 2 : 1); s++) {
            for (int sub = c / r->width; sub < (c + chunk) / r->width; sub++) {
                order[norder++] = s && !y ? -1 : r->row[(vec + s) * r->subs + sub];
                for (int i = 0; i < half; i++, n++) {
                    lo[n] = s && !y ? -1 : s * lanes + sub * r->width + i;
                    hi[n] = s && !y ? -1 : lo[n] + half;
                }
            }
        }
    }
    LLVMValueRef in[2];
    RLX_TRY(shuffle(e, x, y, lo, n, &in[0]));
    RLX_TRY(shuffle(e, x, y, hi, n, &in[1]));
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(r->node, RLX_ATTR_FN, RLX_FN_ADD);
    return rlx_emit_map(e, r->node, fn, r->node->out[0]->type.format, in, out);
}

static rlx_status reduce_step(reduction *r)
{
    bool pair = r->count > 1;
    int lanes = r->subs * r->width, count = pair ? (r->count + 1) / 2 : 1;
    int subs = pair ? r->subs * 2 : r->subs;
    int chunk = LANE_BYTES / rlx_format_get(r->node->out[0]->type.format)->block_bytes;
    if (chunk < r->width || chunk > lanes)
        chunk = lanes;
    LLVMValueRef *vec = RLX_NEW_ARRAY(r->e->arena, LLVMValueRef, count);
    int *row = RLX_NEW_ARRAY(r->e->arena, int, count *subs);
    if (!vec || !row)
        return RLX_OOM();
    for (int i = 0; i < count; i++)
        RLX_TRY(halve(r, pair ? 2 * i : i, pair, chunk, &vec[i], row + i * subs));
    r->count = count;
    r->subs = subs;
    r->width /= 2;
    r->vec = vec;
    r->row = row;
    return RLX_OK;
}

/* Where the result of a reduced row is. */
typedef struct place {
    LLVMValueRef vec;
    int lane;
} place;

static rlx_status reduce_rows(rlx_emit *e, const rlx_ir_node *n, const LLVMValueRef *rows,
                              int count, int width, place *out)
{
    reduction r = {.e = e, .node = n, .count = count, .subs = 1, .width = width};
    r.vec = RLX_NEW_ARRAY(e->arena, LLVMValueRef, count);
    r.row = RLX_NEW_ARRAY(e->arena, int, count);
    if (!r.vec || !r.row)
        return RLX_OOM();
    for (int i = 0; i < count; i++) {
        r.vec[i] = rows[i];
        r.row[i] = i;
    }
    while (r.width > 1)
        RLX_TRY(reduce_step(&r));
    for (int v = 0; v < r.count; v++)
        for (int s = 0; s < r.subs; s++)
            if (r.row[v * r.subs + s] >= 0)
                out[r.row[v * r.subs + s]] = (place){r.vec[v], s};
    return RLX_OK;
}

/* A row of a tile from scattered lanes. */
static rlx_status collect(rlx_emit *e, const place *from, int n, LLVMTypeRef type,
                          LLVMValueRef *out)
{
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind) {
        *out = lane(e, from[0].vec, from[0].lane);
        return RLX_OK;
    }
    LLVMValueRef x = from[0].vec, y = NULL;
    bool two = LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMVectorTypeKind;
    int *index = RLX_NEW_ARRAY(e->arena, int, n);
    if (!index)
        return RLX_OOM();
    for (int i = 0; i < n && two; i++) {
        if (from[i].vec != x && !y)
            y = from[i].vec;
        two = from[i].vec == x || (from[i].vec == y && LLVMTypeOf(x) == LLVMTypeOf(y));
        index[i] = from[i].lane;
        if (two && from[i].vec != x)
            index[i] += (int)LLVMGetVectorSize(LLVMTypeOf(x));
    }
    if (two)
        return shuffle(e, x, y, index, n, out);
    *out = LLVMGetPoison(type);
    for (int i = 0; i < n; i++)
        *out = LLVMBuildInsertElement(e->b, *out, lane(e, from[i].vec, from[i].lane),
                                      rlx_emit_int(e->i32, i), "");
    return RLX_OK;
}

static rlx_status emit_reduce(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    const rlx_ir_type *type = &n->out[0]->type;
    int width = row_lanes(&n->in[0]->type);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    place *at = RLX_NEW_ARRAY(e->arena, place, in->n);
    if (!at)
        return RLX_OOM();
    int lanes = row_lanes(type), group = lanes < width ? width / lanes * lanes : width;
    for (int i = 0; i < in->n; i += group) {
        int count = in->n - i < group ? in->n - i : group;
        RLX_TRY(reduce_rows(e, n, in->part + i, count, width, at + i));
    }
    for (int p = 0; p < out->n; p++)
        RLX_TRY(collect(e, at + p * lanes, lanes, row_type(e, type), &out->part[p]));
    return RLX_OK;
}

static rlx_status emit_node(rlx_emit *e, const rlx_ir_node *n)
{
    switch (n->op) {
    case RLX_LIR_ONCE:
        return rlx_emit_block(e, n->blocks[0]);
    case RLX_LIR_GRID:
        return emit_grid(e, n);
    case RLX_LIR_IOTA:
        return emit_iota(e, n);
    case RLX_LIR_BROADCAST:
        return emit_broadcast(e, n);
    case RLX_LIR_REDUCE:
        return emit_reduce(e, n);
    case RLX_LIR_CONTRACT:
        return emit_contract(e, n);
    case RLX_LIR_DOT:
        return rlx_emit_cpu_dot(e, n);
    case RLX_LIR_DOT_PANEL:
        return rlx_emit_cpu_dot_panel(e, n);
    case RLX_LIR_OUTER:
        return rlx_emit_cpu_outer(e, n);
    case RLX_LIR_OUTER_BF16:
        return rlx_emit_cpu_outer_bf16(e, n);
    case RLX_LIR_TURN:
        return rlx_emit_cpu_turn(e, n);
    case RLX_LIR_PACK:
        return rlx_emit_cpu_pack(e, n);
    case RLX_LIR_LOAD:
        return rlx_emit_cpu_load(e, n);
    case RLX_LIR_STORE:
        return rlx_emit_cpu_store(e, n);
    case RLX_LIR_PREFETCH:
        return rlx_emit_cpu_prefetch(e, n);
    default:
        return rlx_emit_unsupported(e, n, "no emitter");
    }
}

const rlx_emit_engine rlx_emit_engine_cpu = {
    .name = "the CPU emitter",
    .parts = row_count,
    .part_type = row_type,
    .begin = rlx_emit_begin_host,
    .node = emit_node,
    .before_loop = rlx_emit_cpu_before_loop,
    .step = rlx_emit_cpu_step,
    .end_exp = rlx_emit_cpu_end_exp,
    .barrier = barrier,
    .team_memory = rlx_emit_next_team_memory,
    .end = rlx_emit_cpu_end,
};
