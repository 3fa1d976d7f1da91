#include "jit/llvm_team.h"

/* dot_rows by a matrix unit.
 *
 * Its two operands of codes go to the exchange, rows of K side by side, a few bytes longer than K so
 * that the rows of a fragment lie in different banks: straight from memory where nothing else reads
 * them (activations by copies of 16 bytes, blocks decoded four codes at a time). Then each subgroup
 * multiplies fragments, one group of K at a time:
 *
 *   for groups h { words of a, words of b -> sums; acc = fma(sa * sb, sum, acc); minima }
 *
 * A tile of the shape of a kernel's sums lies as the unit leaves them: element `part` of an
 * invocation is where matrix_element says, in all ops. */

enum {
    ROW_PAD = 16,
    PER_SCALE = 32,
    HALF = 16,
    WORD = 4,
    CHUNK = 16,
    MOST_SUMS = 8,
    MOST_WORDS = 16
};

#define MATRIX_UNIT(NAME, m, n, lanes, k, sums, a, b, ...)                     \
    _Static_assert((k) == PER_SCALE, #NAME ": a group is one multiplication"); \
    _Static_assert((sums) <= MOST_SUMS && (k) / HALF * (a) <= MOST_WORDS &&    \
                       (k) / HALF * (b) <= MOST_WORDS,                         \
                   #NAME ": a fragment has more than a side");
#include "jit/matrix_units.def"
#undef MATRIX_UNIT

/* What sums begin with: as bits of an f32 it is 1.5 * 2^23, to which a sum below 2^22 adds its own
 * value. So a subtraction makes an f32 of it, for which GPUs have more units than for a conversion. */
enum { FROM = 0x4B400000 };
static const double from_value = 0x1.8p+23;

/* ---- which fragments are whose ---- */

/* The team's subgroups, and the unit's fragments. */
static bool split_tile(const rlx_emit *e, int64_t rows, int64_t columns, rlx_matrix_split *out)
{
    const rlx_matrix_unit *u = e->matrix;
    return rlx_matrix_split_tile(e->target->team / u->lanes, u->m, u->n, rows, columns, out);
}

static bool is_product(const rlx_ir_node *n)
{
    return n->op == RLX_LIR_DOT_ROWS || n->op == RLX_LIR_CONTRACT_ROWS;
}

/* How many products a block has; of which types, where there is room for them; by which unit. */
static int find_products(rlx_emit *e, const rlx_ir_block *block, const rlx_ir_type **out)
{
    int found = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (is_product(n)) {
            e->matrix = n->op == RLX_LIR_DOT_ROWS ? e->target->matrix : e->target->float_matrix;
            if (out)
                out[found] = &n->out[0]->type;
            found++;
        }
        for (int i = 0; i < n->nblock; i++)
            found += find_products(e, n->blocks[i], out ? out + found : NULL);
    }
    return found;
}

rlx_status rlx_emit_matrix_begin(rlx_emit *e)
{
    e->nfragments = find_products(e, e->kernel->body, NULL);
    if (!e->matrix)
        e->nfragments = 0; /* the products say so */
    if (!e->nfragments)
        return RLX_OK;
    e->fragments = RLX_NEW_ARRAY(e->arena, const rlx_ir_type *, e->nfragments);
    if (!e->fragments)
        return RLX_OOM();
    find_products(e, e->kernel->body, e->fragments);
    return RLX_OK;
}

/* Index along an axis of what an invocation has: of its first, and `i` further ones. */
static LLVMValueRef along(rlx_emit *e, const rlx_matrix_axis *x, int i)
{
    LLVMValueRef lane =
        LLVMBuildAnd(e->b, e->thread, rlx_emit_int(e->i32, e->matrix->lanes - 1), "");
    if (x->div > 1)
        lane = LLVMBuildUDiv(e->b, lane, rlx_emit_int(e->i32, x->div), "");
    if (x->div * x->mod < e->matrix->lanes)
        lane = LLVMBuildURem(e->b, lane, rlx_emit_int(e->i32, x->mod), "");
    lane = rlx_emit_mul(e->b, lane, rlx_emit_int(e->i32, x->by));
    return rlx_emit_add(e->b, lane, rlx_emit_int(e->i32, rlx_matrix_offset(x, i)));
}

/* Where the subgroup's fragment [m, n] begins. */
static void fragment(rlx_emit *e, const rlx_matrix_split *s, int64_t m, int64_t n,
                     LLVMValueRef *row, LLVMValueRef *column)
{
    const rlx_matrix_unit *u = e->matrix;
    LLVMValueRef own = LLVMBuildUDiv(e->b, e->thread, rlx_emit_int(e->i32, u->lanes), "");
    LLVMValueRef across = rlx_emit_int(e->i32, s->across);
    *row = rlx_emit_int(e->i32, 0);
    if (s->across < e->target->team / u->lanes)
        *row = LLVMBuildUDiv(e->b, own, across, "");
    *row = rlx_emit_mul(e->b, *row, rlx_emit_int(e->i32, s->m * u->m));
    *row = rlx_emit_add(e->b, *row, rlx_emit_int(e->i32, m * u->m));
    *column = rlx_emit_int(e->i32, 0);
    if (s->across > 1)
        *column = LLVMBuildURem(e->b, own, across, "");
    *column = rlx_emit_mul(e->b, *column, rlx_emit_int(e->i32, s->n * u->n));
    *column = rlx_emit_add(e->b, *column, rlx_emit_int(e->i32, n * u->n));
}

bool rlx_emit_matrix_fragments(rlx_emit *e, const rlx_ir_type *tile, rlx_emit_fragments *out)
{
    rlx_matrix_split s;
    if (!split_tile(e, tile->dim[0], tile->dim[1], &s))
        return false;
    out->down = s.m;
    out->across = s.n;
    fragment(e, &s, 0, 0, &out->row, &out->column);
    return true;
}

LLVMValueRef rlx_emit_matrix_along(rlx_emit *e, const rlx_matrix_axis *x, int i)
{
    return along(e, x, i);
}

bool rlx_emit_matrix_tile(const rlx_emit *e, const rlx_ir_type *tile)
{
    for (int i = 0; i < e->nfragments; i++)
        if (rlx_ir_shape_equal(e->fragments[i], tile))
            return true;
    return false;
}

LLVMValueRef rlx_emit_matrix_element(rlx_emit *e, const rlx_ir_type *tile, int part)
{
    const rlx_matrix_unit *u = e->matrix;
    rlx_matrix_split s;
    LLVMValueRef row, column;
    if (!rlx_emit_matrix_tile(e, tile) || !split_tile(e, tile->dim[0], tile->dim[1], &s))
        return NULL; /* no fragments: dot_rows says so */
    const int64_t of = part / u->sums;
    fragment(e, &s, of / s.n, of % s.n, &row, &column);
    row = rlx_emit_add(e->b, row, along(e, &u->row, part % u->sums));
    column = rlx_emit_add(e->b, column, along(e, &u->column, part % u->sums));
    row = rlx_emit_mul(e->b, row, rlx_emit_int(e->i32, tile->dim[1]));
    return rlx_emit_add(e->b, row, column);
}

/* ---- operands ---- */

typedef struct operands {
    int64_t base[7], stride[7]; /* in the exchange: bytes, and elements of a row */
    int64_t bytes;
} operands;

static bool is_codes(int operand)
{
    return operand == 1 || operand == 3;
}

static operands operands_of(const rlx_emit *e, const rlx_ir_node *n)
{
    operands o = {0};
    for (int i = 1; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        o.base[i] = o.bytes;
        o.stride[i] = t->dim[1] + (is_codes(i) ? ROW_PAD : 0);
        o.bytes += is_codes(i) ? t->dim[0] * o.stride[i] : rlx_emit_team_tile_bytes(e, t);
    }
    return o;
}

int64_t rlx_emit_matrix_bytes(const rlx_emit *e, const rlx_ir_node *n)
{
    if (n->op == RLX_LIR_CONTRACT_ROWS)
        return rlx_emit_matrix_float_bytes(n);
    return operands_of(e, n).bytes;
}

static bool has_effect(const rlx_emit *e, const rlx_ir_node *n)
{
    return (rlx_ir_info(e->kernel->module, n)->traits & RLX_EFFECT) || n->nblock;
}

/* Whether an operand is rows of K. */
static bool is_rows(const rlx_ir_node *n, int operand)
{
    return n->op == RLX_LIR_DOT_ROWS ? is_codes(operand) : is_product(n) && operand > 0;
}

/* Whether v is used by products alone, as rows, of the same block, before anything is stored. */
static bool goes_to_products(const rlx_emit *e, const rlx_ir_node *load)
{
    int uses = 0;
    for (const rlx_ir_node *n = load->next; n && !has_effect(e, n); n = n->next)
        for (int i = 0; i < n->nin; i++)
            uses += is_rows(n, i) && n->in[i] == load->out[0];
    return uses && uses == rlx_ir_count_uses(load->parent, load->out[0]);
}

static bool has_limit(const rlx_ir_node *n, int axis)
{
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    for (int i = 0; limits && i < limits->n; i++)
        if (limits->ints[i] == axis)
            return true;
    return false;
}

static int element_bytes(const rlx_ir_type *t)
{
    return (int)rlx_format_get(t->format)->block_bytes;
}

bool rlx_emit_matrix_defers(const rlx_emit *e, const rlx_ir_node *load)
{
    const rlx_ir_type *tile = &load->out[0]->type, *buffer = &load->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(load, RLX_ATTR_AXES);
    const int last = buffer->rank - 1, chunk = CHUNK / element_bytes(tile);
    if (!e->matrix || tile->rank != 2 || buffer->space != RLX_SPACE_GLOBAL ||
        axes->ints[1] != last || has_limit(load, 1) || !goes_to_products(e, load))
        return false;
    if (rlx_format_get(buffer->format)->kind == RLX_KIND_BLOCK)
        return rlx_lir_part_of(load) == RLX_LIR_CODES;
    return buffer->format == tile->format && rlx_dim_is_const(buffer->dim[last]) &&
           buffer->dim[last] % chunk == 0 && tile->dim[1] % chunk == 0 &&
           rlx_lir_divisor(load->in[1 + last]) % chunk == 0;
}

/* Rows as they lie in memory, 16 bytes at a time. */
static void put_memory(rlx_emit *e, const rlx_ir_node *load, LLVMValueRef to, int64_t stride)
{
    const rlx_ir_type *tile = &load->out[0]->type;
    rlx_emit_access a;
    rlx_emit_access_init(e, load, tile, &a);
    const int64_t size = element_bytes(tile);
    rlx_emit_deal d = {
        .rows = tile->dim[0], .per_row = tile->dim[1] * size / CHUNK, .room = a.room[0]};
    for (int i = 0; i < rlx_emit_deal_count(e, &d); i++) {
        LLVMValueRef row, chunk, live;
        rlx_emit_deal_at(e, &d, i, &row, &chunk, &live);
        chunk = rlx_emit_mul(e->b, chunk, rlx_emit_int(e->i32, CHUNK));
        LLVMValueRef at = rlx_emit_mul(e->b, row, rlx_emit_int(e->i32, stride));
        at = LLVMBuildZExt(e->b, rlx_emit_add(e->b, at, chunk), e->i64, "");
        LLVMValueRef there =
            live ? LLVMBuildSelect(e->b, live, row, rlx_emit_int(e->i32, 0), "") : row;
        there = rlx_emit_mul(e->b, LLVMBuildZExt(e->b, there, e->i64, ""), a.stride[0]);
        there = rlx_emit_mul(e->b, there, rlx_emit_int(e->i64, size));
        there = rlx_emit_add(e->b, there, LLVMBuildZExt(e->b, chunk, e->i64, ""));
        e->engine->copy(e, rlx_emit_offset(e, e->i8, to, at),
                        rlx_emit_offset(e, e->i8, a.base, there), live);
    }
}

void rlx_emit_matrix_put_rows(rlx_emit *e, const rlx_ir_value *rows, LLVMValueRef to,
                              int64_t stride)
{
    const rlx_ir_node *load = rows->def;
    if (!load || load->op != RLX_LIR_LOAD || !rlx_emit_matrix_defers(e, load))
        rlx_emit_team_put(e, rows, to, stride / element_bytes(&rows->type));
    else if (rlx_format_get(load->in[0]->type.format)->kind == RLX_KIND_BLOCK)
        rlx_emit_team_put_codes(e, load, to, stride);
    else
        put_memory(e, load, to, stride);
}

static void put_operands(rlx_emit *e, const rlx_ir_node *n, const operands *o)
{
    for (int i = 1; i < n->nin; i++) {
        LLVMValueRef to = rlx_emit_offset(e, e->i8, e->exchange, rlx_emit_int(e->i64, o->base[i]));
        if (is_codes(i))
            rlx_emit_matrix_put_rows(e, n->in[i], to, o->stride[i]);
        else
            rlx_emit_team_put(e, n->in[i], to, o->stride[i]);
    }
    e->engine->copies_end(e);
}

/* ---- products ---- */

typedef struct matrix {
    const rlx_ir_node *node;
    const rlx_matrix_unit *unit;
    operands at;
    rlx_matrix_split s;
    int64_t k;            /* elements of a group */
    struct side *columns; /* room for those of a subgroup */
} matrix;

/* What a fragment wants of one operand for a group: words of codes, and for each of its sums the
 * scale and the minimum, or sum, of the row or column that it is in. */
typedef struct side {
    LLVMValueRef word[MOST_WORDS], scale[MOST_SUMS], least[MOST_SUMS];
} side;

static LLVMValueRef get(rlx_emit *e, const matrix *x, int operand, LLVMTypeRef type,
                        LLVMValueRef row, LLVMValueRef column)
{
    const bool codes = is_codes(operand);
    LLVMValueRef at =
        rlx_emit_mul(e->b, row, rlx_emit_int(e->i32, x->at.stride[operand] * (codes ? 1 : WORD)));
    column = rlx_emit_mul(e->b, column, rlx_emit_int(e->i32, codes ? 1 : WORD));
    at = rlx_emit_add(e->b, at, column);
    at = rlx_emit_add(e->b, at, rlx_emit_int(e->i32, x->at.base[operand]));
    LLVMValueRef p = LLVMBuildGEP2(e->b, e->i8, e->exchange, &at, 1, "");
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, p, "");
    LLVMSetAlignment(v, WORD);
    return v;
}

/* The same value for all sums that lie in one row, or column. */
static void get_scales(rlx_emit *e, const matrix *x, int operand, const rlx_matrix_axis *axis,
                       LLVMValueRef first, LLVMValueRef group, LLVMValueRef *out)
{
    for (int i = 0; i < x->unit->sums; i++) {
        int same = 0;
        while (rlx_matrix_offset(axis, same) != rlx_matrix_offset(axis, i))
            same++;
        if (same < i)
            out[i] = out[same];
        else
            out[i] =
                get(e, x, operand, e->f32, rlx_emit_add(e->b, first, along(e, axis, i)), group);
    }
}

/* Of rows, or columns, from `first`: operand 1 or 3, its scales after it, and number `least`. */
static void get_side(rlx_emit *e, const matrix *x, int operand, LLVMValueRef first, LLVMValueRef h,
                     side *out)
{
    const rlx_matrix_unit *u = x->unit;
    const bool a = operand == 1;
    const rlx_matrix_axis *where = a ? &u->a_row : &u->b_column, *k = a ? &u->a_k : &u->b_k;
    const int words = (int)(x->k / HALF) * (a ? u->a_words : u->b_words);
    LLVMValueRef begin = rlx_emit_mul(e->b, h, rlx_emit_int(e->i32, x->k)), scale = h;
    if (a && x->k < PER_SCALE)
        scale = LLVMBuildUDiv(e->b, begin, rlx_emit_int(e->i32, PER_SCALE), "");
    for (int w = 0; w < words; w++) {
        LLVMValueRef byte = rlx_emit_add(e->b, along(e, k, w), begin);
        out->word[w] =
            get(e, x, operand, e->i32, rlx_emit_add(e->b, first, along(e, where, w)), byte);
    }
    const rlx_matrix_axis *sums = a ? &u->row : &u->column;
    get_scales(e, x, operand + 1, sums, first, scale, out->scale);
    if (x->node->nin == 7)
        get_scales(e, x, a ? 5 : 6, sums, first, h, out->least);
}

/* acc[0 ..] += a fragment's group. */
static void add_fragment(rlx_emit *e, const matrix *x, const side *a, const side *b,
                         LLVMValueRef *acc)
{
    LLVMValueRef sum[MOST_SUMS];
    for (int i = 0; i < x->unit->sums; i++)
        sum[i] = rlx_emit_int(e->i32, FROM);
    e->engine->multiply(e, (int)x->k, a->word, b->word, sum);
    for (int i = 0; i < x->unit->sums; i++) {
        LLVMValueRef v = LLVMBuildBitCast(e->b, sum[i], e->f32, "");
        v = LLVMBuildFSub(e->b, v, LLVMConstReal(e->f32, from_value), "");
        LLVMValueRef args[3] = {LLVMBuildFMul(e->b, a->scale[i], b->scale[i], ""), v, acc[i]};
        acc[i] = rlx_emit_intrinsic(e, "llvm.fma", e->f32, args, 3);
        if (x->node->nin != 7)
            continue;
        LLVMValueRef less[3] = {LLVMBuildFNeg(e->b, a->least[i], ""), b->least[i], acc[i]};
        acc[i] = rlx_emit_intrinsic(e, "llvm.fma", e->f32, less, 3);
    }
}

static void add_group(rlx_emit *e, void *user, LLVMValueRef h, LLVMValueRef *acc)
{
    const matrix *x = user;
    LLVMValueRef row, column;
    for (int64_t j = 0; j < x->s.n; j++) {
        fragment(e, &x->s, 0, j, &row, &column);
        get_side(e, x, 3, column, h, &x->columns[j]);
    }
    for (int64_t i = 0; i < x->s.m; i++) {
        side rows;
        fragment(e, &x->s, i, 0, &row, &column);
        get_side(e, x, 1, row, h, &rows);
        for (int64_t j = 0; j < x->s.n; j++)
            add_fragment(e, x, &rows, &x->columns[j], acc + (i * x->s.n + j) * x->unit->sums);
    }
}

rlx_status rlx_emit_matrix_steps(rlx_emit *e, const rlx_emit_tile *acc, int64_t count,
                                 rlx_emit_step_fn *step, void *user, rlx_emit_tile *out)
{
    LLVMValueRef *sum = RLX_NEW_ARRAY(e->arena, LLVMValueRef, out->n);
    rlx_emit_loop loop;
    if (!sum)
        return RLX_OOM();
    rlx_emit_loop_begin(e, rlx_emit_int(e->i64, 0), rlx_emit_int(e->i64, count),
                        rlx_emit_int(e->i64, 1), &loop);
    for (int p = 0; p < out->n; p++) {
        sum[p] = out->part[p] = LLVMBuildPhi(e->b, e->f32, "");
        LLVMAddIncoming(sum[p], &acc->part[p], &loop.before, 1);
    }
    step(e, user, LLVMBuildTrunc(e->b, loop.index, e->i32, ""), out->part);
    rlx_emit_loop_end(e, &loop);
    for (int p = 0; p < out->n; p++)
        LLVMAddIncoming(sum[p], &out->part[p], &loop.latch, 1);
    return RLX_OK;
}

rlx_status rlx_emit_matrix_dot_rows(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    const int64_t k = n->in[1]->type.dim[1], groups = n->in[4]->type.dim[1];
    matrix x = {.node = n, .unit = e->target->matrix, .k = k / groups};
    rlx_emit_tile *out;
    if (!x.unit)
        return rlx_emit_unsupported(e, n, "there is no matrix unit that multiplies bytes");
    if (x.unit != e->matrix)
        return rlx_emit_unsupported(e, n, "products of floats in one kernel go by another unit");
    if (!e->engine->multiply || !e->engine->copy || !e->engine->copies_end)
        return rlx_emit_unsupported(e, n, "products and copies of a matrix unit");
    if (!split_tile(e, type->dim[0], type->dim[1], &x.s))
        return rlx_emit_unsupported(e, n, "%lldx%lld are no fragments of %dx%d for %d subgroups",
                                    (long long)type->dim[0], (long long)type->dim[1], x.unit->m,
                                    x.unit->n, e->target->team / x.unit->lanes);
    x.columns = RLX_NEW_ARRAY(e->arena, side, x.s.n);
    if (!x.columns)
        return RLX_OOM();
    x.at = operands_of(e, n);
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    put_operands(e, n, &x.at);
    e->engine->barrier(e);
    RLX_TRY(rlx_emit_matrix_steps(e, rlx_emit_get(e, n->in[0]), groups, add_group, &x, out));
    e->engine->barrier(e);
    return RLX_OK;
}
