#include "jit/llvm_team.h"

#include <assert.h>
#include <string.h>

#include "lir/lir_team.h"

/* Tiles spread over a team of invocations, the same for every GPU.
 *
 * Element e of a tile (row-major) lies in part e / team of invocation e mod team, but in tiles of the
 * shape of sums by a matrix unit, which lie as it leaves them (llvm_team_matrix.c); scalars (rank 0)
 * are in every invocation. So maps are local, and loads and stores too: each invocation addresses
 * its own elements. Where an invocation needs others' elements (broadcast, reduce, contract) the
 * tile goes through team memory:  write own elements, barrier, read what is needed, barrier. Parts
 * beyond the tile's end hold anything; they are written to the padding of the exchange and never
 * stored.
 *
 * To global memory a team is one thread, as the LIR says: a barrier stands on both sides of a
 * store. */

int rlx_emit_team_parts(const rlx_emit *e, const rlx_ir_type *tile)
{
    int64_t n = rlx_emit_elems(tile), team = e->target->team;
    if (rlx_emit_is_rows(e, tile))
        return rlx_emit_rows_parts(e);
    return tile->rank ? (int)((n + team - 1) / team) : 1;
}

LLVMTypeRef rlx_emit_team_part_type(const rlx_emit *e, const rlx_ir_type *tile)
{
    return rlx_emit_value_type(e, tile->format);
}

static void barrier(rlx_emit *e)
{
    e->engine->barrier(e);
}

/* ---- which element is whose ---- */

static bool always_valid(const rlx_emit *e, const rlx_ir_type *tile, int part)
{
    return (int64_t)(part + 1) * e->target->team <= rlx_emit_elems(tile);
}

/* v + plus, where v is below `below`; 0: it may be anything. */
typedef struct number {
    LLVMValueRef v;
    int64_t plus, below;
} number;

static LLVMValueRef value_of(rlx_emit *e, number n)
{
    return rlx_emit_add(e->b, n.v, rlx_emit_int(e->i32, n.plus));
}

/* The number of this invocation's element in a part; *valid: i1, NULL when it always is one. */
static number element(rlx_emit *e, const rlx_ir_type *tile, int part, LLVMValueRef *valid)
{
    const int64_t team = e->target->team;
    LLVMValueRef of_unit = rlx_emit_matrix_element(e, tile, part);
    *valid = NULL;
    if (of_unit)
        return (number){of_unit, 0, 0};
    number n = {e->thread, part * team, team};
    if (e->engine->knows_thread)
        n = (number){value_of(e, n), 0, 0};
    if (!always_valid(e, tile, part))
        *valid = LLVMBuildICmp(e->b, LLVMIntULT, value_of(e, n),
                               rlx_emit_int(e->i32, rlx_emit_elems(tile)), "");
    return n;
}

/* The same with some element of the tile for parts beyond its end. */
static number some_element(rlx_emit *e, const rlx_ir_type *tile, int part)
{
    LLVMValueRef valid;
    const number n = element(e, tile, part, &valid);
    if (!valid)
        return n;
    LLVMValueRef v = LLVMBuildSelect(e->b, valid, value_of(e, n), rlx_emit_int(e->i32, 0), "");
    return (number){v, 0, 0};
}

/* n / by and n % by. What is the same for several parts is the same value, or has a constant more. */
static void divide(rlx_emit *e, number n, int64_t by, number *over, number *rest)
{
    LLVMValueRef extent = rlx_emit_int(e->i32, by);
    const int64_t within = n.plus % by;
    if (n.below && within + n.below <= by) {
        *over = (number){rlx_emit_int(e->i32, 0), n.plus / by, 1};
        *rest = (number){n.v, within, n.below};
        return;
    }
    if (within)
        n = (number){value_of(e, n), 0, 0};
    *over = (number){LLVMBuildUDiv(e->b, n.v, extent, ""), n.plus / by,
                     n.below ? (n.below + by - 1) / by : 0};
    *rest = (number){LLVMBuildURem(e->b, n.v, extent, ""), 0, by};
}

/* Position of element n: at[i] along axis i, i32. */
static void position(rlx_emit *e, const rlx_ir_type *tile, number n, LLVMValueRef *at)
{
    for (int i = tile->rank - 1; i >= 0; i--) {
        number rest = n;
        if (i)
            divide(e, n, tile->dim[i], &n, &rest);
        at[i] = value_of(e, rest);
    }
}

void rlx_emit_team_place(rlx_emit *e, const rlx_ir_type *tile, int part, LLVMValueRef *at,
                         LLVMValueRef *valid)
{
    position(e, tile, element(e, tile, part, valid), at);
}

/* a * constant + b; a may be NULL. */
static LLVMValueRef linear(rlx_emit *e, LLVMValueRef a, int64_t factor, LLVMValueRef b)
{
    if (!a)
        return b;
    return rlx_emit_add(e->b, rlx_emit_mul(e->b, a, rlx_emit_int(e->i32, factor)), b);
}

/* ---- exchange ---- */

/* Elements of a row that a reduce combines. */
static int width_of(const rlx_ir_node *n)
{
    const rlx_ir_type *from = &n->in[0]->type;
    return (int)from->dim[from->rank - 1];
}

/* Bytes that a tile takes in the exchange, padding included. */
static int64_t exchange_bytes(const rlx_emit *e, const rlx_ir_type *t)
{
    int64_t n = (int64_t)rlx_emit_team_parts(e, t) * e->target->team;
    return ((int64_t)rlx_format_bytes(t->format, n) + 15) & ~(int64_t)15;
}

int64_t rlx_emit_team_tile_bytes(const rlx_emit *e, const rlx_ir_type *tile)
{
    return exchange_bytes(e, tile);
}

/* A tile of fragments does not lie in subgroups row by row, nor a column in parts as its tile does. */
static rlx_lir_way reduce_way(const rlx_emit *e, const rlx_ir_node *n)
{
    const bool fragments = rlx_emit_matrix_tile(e, &n->in[0]->type);
    const rlx_lir_way way = rlx_lir_reduce_way(n, fragments ? 0 : e->target->subgroup);
    return way == RLX_LIR_KEPT && rlx_emit_matrix_tile(e, &n->out[0]->type) ? RLX_LIR_EXCHANGED
                                                                            : way;
}

static int64_t block_exchange_bytes(const rlx_emit *e, const rlx_ir_block *block)
{
    int64_t most = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        int64_t bytes = 0;
        if ((n->op == RLX_LIR_REDUCE && !rlx_emit_reduces_rows(e, n) &&
             reduce_way(e, n) != RLX_LIR_KEPT) ||
            (n->op == RLX_LIR_BROADCAST && n->in[0]->type.rank && !rlx_emit_spreads_rows(e, n)))
            bytes = exchange_bytes(e, &n->in[0]->type);
        const bool products =
            n->op == RLX_LIR_CONTRACT || n->op == RLX_LIR_OUTER || n->op == RLX_LIR_DOT;
        for (int i = 1; i < n->nin && products; i++)
            bytes += exchange_bytes(e, &n->in[i]->type);
        if (n->op == RLX_LIR_DOT_ROWS || n->op == RLX_LIR_CONTRACT_ROWS)
            bytes = rlx_emit_matrix_bytes(e, n);
        for (int i = 0; i < n->nblock; i++) {
            int64_t nested = block_exchange_bytes(e, n->blocks[i]);
            bytes = nested > bytes ? nested : bytes;
        }
        most = bytes > most ? bytes : most;
    }
    return most;
}

rlx_status rlx_emit_team_begin(rlx_emit *e)
{
    RLX_TRY(rlx_emit_matrix_begin(e));
    int64_t bytes = block_exchange_bytes(e, e->kernel->body);
    if (bytes)
        e->exchange = e->engine->team_memory(e, (bytes + 63) & ~(int64_t)63);
    return RLX_OK;
}

static LLVMValueRef exchange_at(rlx_emit *e, int64_t base, rlx_format f, LLVMValueRef index)
{
    LLVMValueRef at = rlx_emit_int(e->i64, base);
    LLVMValueRef p = LLVMBuildGEP2(e->b, e->i8, e->exchange, &at, 1, "");
    return LLVMBuildGEP2(e->b, rlx_emit_memory_type(e, f), p, &index, 1, "");
}

/* Writes a tile to the exchange from byte `base`. */
static void put_tile(rlx_emit *e, const rlx_ir_value *v, int64_t base)
{
    const rlx_emit_tile *t = rlx_emit_get(e, v);
    for (int p = 0; p < t->n; p++) {
        LLVMValueRef valid, n = value_of(e, element(e, &v->type, p, &valid));
        LLVMBuildStore(e->b, rlx_emit_to_memory(e, v->type.format, t->part[p]),
                       exchange_at(e, base, v->type.format, n));
    }
}

static void store_if(rlx_emit *e, LLVMValueRef x, LLVMValueRef p, LLVMValueRef live)
{
    if (!live) {
        LLVMBuildStore(e->b, x, p);
        return;
    }
    LLVMBasicBlockRef inside = rlx_emit_new_block(e, "inside"),
                      join = rlx_emit_new_block(e, "join");
    LLVMBuildCondBr(e->b, live, inside, join);
    LLVMPositionBuilderAtEnd(e->b, inside);
    LLVMBuildStore(e->b, x, p);
    LLVMBuildBr(e->b, join);
    LLVMPositionBuilderAtEnd(e->b, join);
}

void rlx_emit_team_put_by(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef to,
                          rlx_emit_index_fn *index_of, int64_t stride)
{
    const rlx_emit_tile *t = rlx_emit_get(e, v);
    for (int p = 0; p < t->n; p++) {
        LLVMValueRef at[RLX_MAX_TILE_RANK], valid;
        position(e, &v->type, element(e, &v->type, p, &valid), at);
        LLVMValueRef index = index_of(e, at[0], at[1], stride);
        store_if(e, rlx_emit_to_memory(e, v->type.format, t->part[p]),
                 LLVMBuildGEP2(e->b, rlx_emit_memory_type(e, v->type.format), to, &index, 1, ""),
                 valid);
    }
}

static LLVMValueRef by_rows(rlx_emit *e, LLVMValueRef i, LLVMValueRef j, int64_t stride)
{
    return linear(e, i, stride, j);
}

void rlx_emit_team_put(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef to, int64_t stride)
{
    rlx_emit_team_put_by(e, v, to, by_rows, stride);
}

static LLVMValueRef get_element(rlx_emit *e, int64_t base, rlx_format f, LLVMValueRef index)
{
    LLVMValueRef p = exchange_at(e, base, f, index);
    return rlx_emit_from_memory(e, f, LLVMBuildLoad2(e->b, rlx_emit_memory_type(e, f), p, ""));
}

/* ---- values ---- */

static rlx_status emit_iota(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    LLVMTypeRef elem = rlx_emit_value_type(e, type->format);
    for (int p = 0; p < out->n; p++) {
        out->part[p] = rlx_emit_int(elem, 0);
        if (type->rank) {
            LLVMValueRef at[RLX_MAX_TILE_RANK], valid;
            position(e, type, element(e, type, p, &valid), at);
            out->part[p] = LLVMBuildIntCast2(e->b, at[type->rank - 1], elem, false, "");
        }
    }
    return RLX_OK;
}

static rlx_status emit_broadcast(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *from = &n->in[0]->type, *to = &n->out[0]->type;
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    if (from->rank == 0) {
        for (int p = 0; p < out->n; p++)
            out->part[p] = rlx_emit_scalar(e, n->in[0]);
        return RLX_OK;
    }
    if (rlx_emit_spreads_rows(e, n)) {
        rlx_emit_spread_rows(e, n, out);
        return RLX_OK;
    }
    put_tile(e, n->in[0], 0);
    barrier(e);
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef at[RLX_MAX_TILE_RANK], index = NULL;
        position(e, to, some_element(e, to, p), at);
        for (int i = 0; i < from->rank; i++)
            index = linear(e, index, from->dim[i], at[axes->ints[i]]);
        out->part[p] = get_element(e, 0, from->format, index);
    }
    barrier(e);
    return RLX_OK;
}

/* ---- rows combined by halves: by whom is spirv_reduce.c's matter too ---- */

static rlx_map_fn fn_of(const rlx_ir_node *n)
{
    return (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
}

/* Elements first, first + apart, .. of the exchange, combined. */
static rlx_status reduce_run(rlx_emit *e, const rlx_ir_node *n, LLVMValueRef first, int count,
                             int apart, LLVMValueRef *out)
{
    rlx_format f = n->in[0]->type.format;
    LLVMValueRef *x = RLX_NEW_ARRAY(e->arena, LLVMValueRef, count);
    if (!x)
        return RLX_OOM();
    for (int i = 0; i < count; i++)
        x[i] = get_element(e, 0, f,
                           rlx_emit_add(e->b, first, rlx_emit_int(e->i32, (int64_t)i * apart)));
    for (count /= 2; count; count /= 2) {
        for (int i = 0; i < count; i++) {
            LLVMValueRef in[2] = {x[i], x[i + count]};
            RLX_TRY(rlx_emit_map(e, n, fn_of(n), f, in, &x[i]));
        }
    }
    *out = x[0];
    return RLX_OK;
}

LLVMValueRef rlx_emit_swap(rlx_emit *e, LLVMValueRef x, int apart)
{
    if (e->engine->swap)
        return e->engine->swap(e, x, apart);
    LLVMValueRef bit = rlx_emit_int(e->i32, apart);
    return e->engine->shuffle(e, x, LLVMBuildXor(e->b, e->thread, bit, ""));
}

/* `width` neighbours' x combined: of the first of them what the op says, of the others the same but
 * for zeros' signs and NaNs, where a maximum takes its operands in another order. */
static rlx_status combine_lanes(rlx_emit *e, const rlx_ir_node *n, int width, LLVMValueRef *x)
{
    for (width /= 2; width; width /= 2) {
        LLVMValueRef in[2] = {*x, rlx_emit_swap(e, *x, width)};
        RLX_TRY(rlx_emit_map(e, n, fn_of(n), n->in[0]->type.format, in, x));
    }
    return RLX_OK;
}

/* Rows that lie in one subgroup each. */
static rlx_status reduce_rows(rlx_emit *e, const rlx_ir_node *n, rlx_emit_tile *out)
{
    const rlx_ir_type *from = &n->in[0]->type, *to = &n->out[0]->type;
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    for (int p = 0; p < in->n; p++) {
        LLVMValueRef x = in->part[p], valid, at = value_of(e, element(e, from, p, &valid));
        RLX_TRY(combine_lanes(e, n, width_of(n), &x));
        LLVMBuildStore(e->b, x, exchange_at(e, 0, from->format, at));
    }
    barrier(e);
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef first = rlx_emit_int(e->i32, 0);
        if (to->rank)
            first = linear(e, value_of(e, some_element(e, to, p)), width_of(n), first);
        out->part[p] = get_element(e, 0, from->format, first);
    }
    barrier(e);
    return RLX_OK;
}

/* One row, longer than a subgroup, whose sum all invocations want. */
static rlx_status reduce_long_row(rlx_emit *e, const rlx_ir_node *n, LLVMValueRef *out)
{
    const int lanes = e->target->subgroup;
    put_tile(e, n->in[0], 0);
    barrier(e);
    LLVMValueRef lane = LLVMBuildAnd(e->b, e->thread, rlx_emit_int(e->i32, lanes - 1), "");
    RLX_TRY(reduce_run(e, n, lane, width_of(n) / lanes, lanes, out));
    barrier(e);
    RLX_TRY(combine_lanes(e, n, lanes, out));
    if (fn_of(n) == RLX_FN_MAX) /* scalars are the same everywhere */
        *out = e->engine->shuffle(e, *out,
                                  LLVMBuildAnd(e->b, e->thread, rlx_emit_int(e->i32, -lanes), ""));
    return RLX_OK;
}

static rlx_status exchange_rows(rlx_emit *e, const rlx_ir_node *n, rlx_emit_tile *out)
{
    const rlx_ir_type *to = &n->out[0]->type;
    put_tile(e, n->in[0], 0);
    barrier(e);
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef first = rlx_emit_int(e->i32, 0);
        if (to->rank)
            first = linear(e, value_of(e, some_element(e, to, p)), width_of(n), first);
        RLX_TRY(reduce_run(e, n, first, width_of(n), 1, &out->part[p]));
    }
    barrier(e);
    return RLX_OK;
}

static rlx_status emit_reduce(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    if (rlx_emit_reduces_rows(e, n))
        return rlx_emit_reduce_rows(e, n, out);
    switch (reduce_way(e, n)) {
    case RLX_LIR_KEPT:
        memcpy(out->part, rlx_emit_get(e, n->in[0])->part, sizeof *out->part * (size_t)out->n);
        return RLX_OK;
    case RLX_LIR_SHUFFLED:
        return reduce_rows(e, n, out);
    case RLX_LIR_STRIDED:
        return reduce_long_row(e, n, &out->part[0]);
    case RLX_LIR_EXCHANGED:
        break;
    }
    return exchange_rows(e, n, out);
}

/* Sums that were put off would keep all that they are made of in registers. */
static void settle(rlx_emit *e, rlx_emit_tile *sums)
{
    for (int p = 0; p < sums->n && e->engine->settle; p++)
        sums->part[p] = e->engine->settle(e, sums->part[p]);
}

/* A sum of products out of the exchange: elements a, a + a_step, .. with b, b + b_step, .. */
typedef struct chain {
    LLVMValueRef a, b;
    int64_t a_step, b_step, base; /* base: of the second operand */
    int64_t count;
} chain;

static LLVMValueRef add_chain(rlx_emit *e, const chain *c, LLVMValueRef sum)
{
    for (int64_t j = 0; j < c->count; j++) {
        LLVMValueRef a = rlx_emit_add(e->b, c->a, rlx_emit_int(e->i32, j * c->a_step));
        LLVMValueRef b = rlx_emit_add(e->b, c->b, rlx_emit_int(e->i32, j * c->b_step));
        LLVMValueRef args[3] = {get_element(e, 0, RLX_F32, a), get_element(e, c->base, RLX_F32, b),
                                sum};
        sum = rlx_emit_intrinsic(e, "llvm.fma", e->f32, args, 3);
    }
    return sum;
}

/* contract: rows of both, lanes apart; outer: a row and a column. */
static rlx_status emit_products(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type, *in = &n->in[1]->type;
    const bool outer = n->op == RLX_LIR_OUTER;
    if (outer && in->rank != 2)
        return rlx_emit_unsupported(e, n, "packed rows");
    const int64_t k = in->dim[1], lanes = outer ? 1 : type->dim[2];
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    chain c = {.a_step = lanes,
               .b_step = outer ? type->dim[1] : lanes,
               .base = exchange_bytes(e, in),
               .count = k / lanes};
    put_tile(e, n->in[1], 0);
    put_tile(e, n->in[2], c.base);
    barrier(e);
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef at[RLX_MAX_TILE_RANK], lane = rlx_emit_int(e->i32, 0);
        position(e, type, some_element(e, type, p), at);
        lane = outer ? lane : at[2];
        c.a = linear(e, at[0], k, lane);
        c.b = outer ? at[1] : linear(e, at[1], k, lane);
        out->part[p] = add_chain(e, &c, acc->part[p]);
    }
    settle(e, out);
    barrier(e);
    return RLX_OK;
}

/* ---- products of codes ---- */

enum { DOT_LANES = 8, DOT_SCALE = 32, DOT_TOGETHER = 4 };

/* Codes that `dot` alone takes go to the exchange out of memory: four at a time out of blocks, 16 bytes of rows. */
static bool dot_defers(const rlx_emit *e, const rlx_ir_node *load)
{
    const rlx_ir_type *buffer = &load->in[0]->type;
    if (!rlx_emit_dot_uses(e, load))
        return false;
    if (rlx_format_get(buffer->format)->kind != RLX_KIND_BLOCK)
        return rlx_emit_copies_rows(load);
    return rlx_ir_attr(load, RLX_ATTR_AXES)->ints[1] == buffer->rank - 1 &&
           !rlx_emit_has_limit(load, 1);
}

typedef struct dot {
    int64_t base[5]; /* of the operands in the exchange, but the first */
    int64_t k, groups, size;
} dot;

static void put_dot_operand(rlx_emit *e, const rlx_ir_value *v, int64_t base, bool *copies)
{
    const rlx_ir_node *load = v->def;
    if (!load || load->op != RLX_LIR_LOAD || !dot_defers(e, load)) {
        put_tile(e, v, base);
        return;
    }
    const rlx_emit_rows rows = {.at = e->exchange, .plus = base, .stride = v->type.dim[1]};
    LLVMValueRef to = rlx_emit_offset(e, e->i8, rows.at, rlx_emit_int(e->i64, base));
    if (rlx_format_get(load->in[0]->type.format)->kind == RLX_KIND_BLOCK) {
        rlx_emit_team_put_codes(e, load, to, rows.stride);
    } else {
        rlx_emit_copy_rows(e, load, &rows);
        *copies = true;
    }
}

/* Four codes, those from number first + i on: multiples of four. Unsigned ones have at most seven bits. */
static LLVMValueRef codes_at(rlx_emit *e, const dot *d, int operand, LLVMValueRef first, int64_t i)
{
    LLVMValueRef at = rlx_emit_add(e->b, first, rlx_emit_int(e->i32, i));
    return LLVMBuildLoad2(e->b, e->i32, exchange_at(e, d->base[operand], RLX_I8, at), "");
}

/* The group's term added to acc; a and b are the codes' first, scales their own. */
static rlx_status add_group(rlx_emit *e, const rlx_ir_node *n, const dot *d, LLVMValueRef a,
                            LLVMValueRef b, LLVMValueRef sa, LLVMValueRef sb, LLVMValueRef *acc)
{
    LLVMValueRef sum = rlx_emit_int(e->i32, 0), scale;
    for (int64_t i = 0; i < d->size; i += DOT_TOGETHER)
        sum = e->engine->dot4(e, codes_at(e, d, 1, a, i), codes_at(e, d, 3, b, i), sum);
    LLVMValueRef scales[2] = {get_element(e, d->base[2], RLX_F32, sa),
                              get_element(e, d->base[4], RLX_F32, sb)};
    RLX_TRY(rlx_emit_map(e, n, RLX_FN_MUL, RLX_F32, scales, &scale));
    LLVMValueRef args[3] = {scale, LLVMBuildSIToFP(e->b, sum, e->f32, ""), *acc};
    *acc = rlx_emit_intrinsic(e, "llvm.fma", e->f32, args, 3);
    return RLX_OK;
}

/* Groups lane, lane + 8, .. for the sum at [m, n, lane]. */
static rlx_status add_groups(rlx_emit *e, const rlx_ir_node *n, const dot *d, LLVMValueRef *at,
                             LLVMValueRef *acc)
{
    for (int64_t first = 0; first < d->groups; first += DOT_LANES) {
        LLVMValueRef h = rlx_emit_add(e->b, at[2], rlx_emit_int(e->i32, first)), there = NULL;
        LLVMValueRef next = *acc, zero = rlx_emit_int(e->i32, 0);
        if (d->groups - first < DOT_LANES) {
            LLVMValueRef end = rlx_emit_int(e->i32, d->groups);
            there = LLVMBuildICmp(e->b, LLVMIntULT, h, end, "");
            h = LLVMBuildSelect(e->b, there, h, zero, "");
        }
        LLVMValueRef k = linear(e, h, d->size, zero);
        LLVMValueRef scale = LLVMBuildUDiv(e->b, k, rlx_emit_int(e->i32, DOT_SCALE), "");
        RLX_TRY(add_group(e, n, d, linear(e, at[0], d->k, k), linear(e, at[1], d->k, k),
                          linear(e, at[0], d->k / DOT_SCALE, scale), linear(e, at[1], d->groups, h),
                          &next));
        *acc = there ? LLVMBuildSelect(e->b, there, next, *acc, "") : next;
    }
    return RLX_OK;
}

static rlx_status emit_dot(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]);
    dot d = {.k = n->in[1]->type.dim[1], .groups = n->in[4]->type.dim[1]};
    int64_t bytes = 0;
    rlx_emit_tile *out;
    if (rlx_ir_attr_int(n, RLX_ATTR_TURNED, 0))
        return rlx_emit_unsupported(e, n, "rows that are turned are for CPUs");
    if (!e->engine->dot4)
        return rlx_emit_unsupported(e, n, "no instruction multiplies four codes");
    d.size = d.k / d.groups;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    bool copies = false;
    for (int i = 1; i < n->nin; i++) {
        put_dot_operand(e, n->in[i], bytes, &copies);
        d.base[i] = bytes;
        bytes += exchange_bytes(e, &n->in[i]->type);
    }
    if (copies)
        e->engine->copies_end(e);
    barrier(e);
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef at[RLX_MAX_TILE_RANK];
        position(e, type, some_element(e, type, p), at);
        out->part[p] = acc->part[p];
        RLX_TRY(add_groups(e, n, &d, at, &out->part[p]));
    }
    settle(e, out);
    barrier(e);
    return RLX_OK;
}

/* ---- memory ---- */

static LLVMValueRef both(rlx_emit *e, LLVMValueRef x, LLVMValueRef y)
{
    return x ? LLVMBuildAnd(e->b, x, y, "") : y;
}

/* Address of this invocation's element in a part; *live: NULL when it is always inside. */
static LLVMValueRef address(rlx_emit *e, const rlx_emit_access *a, int part, LLVMValueRef *live)
{
    *live = NULL;
    if (a->tile->rank == 0)
        return a->base;
    LLVMValueRef at[RLX_MAX_TILE_RANK], p = a->base;
    position(e, a->tile, element(e, a->tile, part, live), at);
    for (int i = 0; i < a->tile->rank; i++) {
        LLVMValueRef j = LLVMBuildZExt(e->b, at[i], e->i64, "");
        p = rlx_emit_offset(e, a->elem, p, rlx_emit_mul(e->b, j, a->stride[i]));
        if (a->room[i])
            *live = both(e, *live, LLVMBuildICmp(e->b, LLVMIntSLT, j, a->room[i], ""));
    }
    return p;
}

static LLVMValueRef load_if(rlx_emit *e, const rlx_emit_access *a, LLVMValueRef p,
                            LLVMValueRef live)
{
    if (!live)
        return LLVMBuildLoad2(e->b, a->elem, p, "");
    LLVMBasicBlockRef from[2] = {LLVMGetInsertBlock(e->b), rlx_emit_new_block(e, "inside")};
    LLVMBasicBlockRef join = rlx_emit_new_block(e, "join");
    LLVMBuildCondBr(e->b, live, from[1], join);
    LLVMPositionBuilderAtEnd(e->b, from[1]);
    LLVMValueRef v[2] = {LLVMConstNull(a->elem), LLVMBuildLoad2(e->b, a->elem, p, "")};
    LLVMBuildBr(e->b, join);
    LLVMPositionBuilderAtEnd(e->b, join);
    LLVMValueRef phi = LLVMBuildPhi(e->b, a->elem, "");
    LLVMAddIncoming(phi, v, from, 2);
    return phi;
}

static rlx_status emit_load(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_format stored = n->in[0]->type.format;
    if (rlx_emit_matrix_defers(e, n) || rlx_emit_is_copied(e, n) || dot_defers(e, n))
        return RLX_OK;
    if (rlx_format_get(stored)->kind == RLX_KIND_BLOCK)
        return rlx_emit_team_load_blocks(e, n);
    rlx_emit_access a;
    rlx_emit_access_init(e, n, &n->out[0]->type, &a);
    rlx_format from = a.buffer->type->format, to = n->out[0]->type.format;
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef live, at = address(e, &a, p, &live);
        LLVMValueRef x = rlx_emit_from_memory(e, from, load_if(e, &a, at, live));
        RLX_TRY(rlx_emit_cast(e, n, from, to, x, &out->part[p]));
    }
    return RLX_OK;
}

static rlx_status emit_store(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_access a;
    const rlx_ir_type *type = &n->in[1]->type;
    if (rlx_emit_is_copy(e, n)) {
        rlx_emit_store_async(e, n);
        return RLX_OK;
    }
    rlx_emit_access_init(e, n, type, &a);
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[1]);
    rlx_format to = a.buffer->type->format;
    bool global = a.buffer->type->space == RLX_SPACE_GLOBAL;
    if (global)
        barrier(e);
    for (int p = 0; p < in->n; p++) {
        LLVMValueRef live, x, at = address(e, &a, p, &live);
        if (type->rank == 0) /* one invocation is enough */
            live = LLVMBuildICmp(e->b, LLVMIntEQ, e->thread, rlx_emit_int(e->i32, 0), "");
        RLX_TRY(rlx_emit_cast(e, n, type->format, to, in->part[p], &x));
        store_if(e, rlx_emit_to_memory(e, to, x), at, live);
    }
    if (global)
        barrier(e);
    return RLX_OK;
}

/* ---- copies ---- */

void rlx_emit_team_copy(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live)
{
    enum { WORDS = 4, ALIGN = 16 };
    LLVMTypeRef type = LLVMVectorType(e->i32, WORDS);
    LLVMValueRef x = LLVMBuildLoad2(e->b, type, from, "");
    LLVMSetAlignment(x, ALIGN);
    if (live)
        x = LLVMBuildSelect(e->b, live, x, LLVMConstNull(type), "");
    LLVMSetAlignment(LLVMBuildStore(e->b, x, to), ALIGN);
}

void rlx_emit_team_copies_end(rlx_emit *e)
{
    (void)e; /* they are there at once */
}

/* ---- structure ---- */

/* Instances are dealt to blocks one by one: block, block + blocks, .. */
static rlx_status emit_grid(rlx_emit *e, const rlx_ir_node *n)
{
    LLVMValueRef total = rlx_emit_int(e->i64, 1);
    for (int i = 0; i < n->nin; i++)
        total = rlx_emit_mul(e->b, total, rlx_emit_scalar(e, n->in[i]));
    rlx_emit_loop loop;
    rlx_emit_loop_begin(e, e->team_index, total, e->teams, &loop);
    LLVMValueRef thread = e->thread;
    if (e->engine->loop)
        e->engine->loop(e);
    RLX_TRY(rlx_emit_grid_indices(e, n, loop.index));
    RLX_TRY(rlx_emit_block(e, n->blocks[0]));
    barrier(e);
    rlx_emit_loop_end(e, &loop);
    e->thread = thread;
    return RLX_OK;
}

rlx_status rlx_emit_team_end(rlx_emit *e)
{
    if (e->team_bytes <= e->target->team_bytes)
        return RLX_OK;
    return RLX_FAIL(RLX_UNSUPPORTED,
                    "kernel @%s takes %lld bytes of team memory, exchange included; %s offers %lld",
                    e->kernel->name, (long long)e->team_bytes, e->target->cpu,
                    (long long)e->target->team_bytes);
}

rlx_status rlx_emit_team_node(rlx_emit *e, const rlx_ir_node *n)
{
    switch (n->op) {
    case RLX_LIR_ONCE:
        RLX_TRY(rlx_emit_block(e, n->blocks[0]));
        barrier(e);
        return RLX_OK;
    case RLX_LIR_GRID:
        return emit_grid(e, n);
    case RLX_LIR_IOTA:
        return emit_iota(e, n);
    case RLX_LIR_BROADCAST:
        return emit_broadcast(e, n);
    case RLX_LIR_REDUCE:
        return emit_reduce(e, n);
    case RLX_LIR_CONTRACT:
    case RLX_LIR_OUTER:
        return emit_products(e, n);
    case RLX_LIR_DOT:
        return emit_dot(e, n);
    case RLX_LIR_DOT_ROWS:
        return rlx_emit_matrix_dot_rows(e, n);
    case RLX_LIR_CONTRACT_ROWS:
        return rlx_emit_matrix_contract_rows(e, n);
    case RLX_LIR_LOAD:
        return emit_load(e, n);
    case RLX_LIR_STORE:
        return emit_store(e, n);
    case RLX_LIR_PREFETCH:
        return RLX_OK; /* other teams hide the latency */
    default:
        return rlx_emit_unsupported(e, n, "no emitter");
    }
}
