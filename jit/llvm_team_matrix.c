#include "jit/llvm_team.h"

#include <llvm-c/DebugInfo.h>

#include "lir/lir_team.h"

/* dot_rows by a matrix unit.
 *
 * Its operands go to the exchange, codes as rows of K side by side, a few bytes longer than K so
 * that the rows of a fragment lie in different banks: straight from memory where nothing else reads
 * them (rows of codes by copies of 16 bytes, blocks decoded four codes at a time). What lies in team
 * memory, stages of a ring and scales beside them, is read there. Then each subgroup multiplies
 * fragments, one group of K at a time:
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
    MOST_SUMS = 8,
    MOST_WORDS = 16,
    MATRICES = 4, /* at once, each of */
    EIGHT = 8,    /* rows */
    HALF_BYTES = 2
};

#define MATRIX_UNIT(NAME, m, n, lanes, k, sums, a, b, apart, ...)              \
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
static bool split_tile(const rlx_emit *e, int64_t rows, int64_t columns, rlx_lir_split *out)
{
    const rlx_matrix_unit *u = e->matrix;
    if (e->by_rows)
        *out = (rlx_lir_split){1, rows / (e->target->team / u->lanes * u->m), columns / u->n};
    return e->by_rows ||
           rlx_lir_split_tile(e->target->team / u->lanes, u->m, u->n, rows, columns, out);
}

static bool is_product(const rlx_ir_node *n)
{
    return n->op == RLX_LIR_DOT_ROWS || n->op == RLX_LIR_CONTRACT_ROWS;
}

/* One of them by columns decides for all of the kernel. */
static const rlx_matrix_unit *unit_of(const rlx_emit *e, const rlx_ir_node *product)
{
    const rlx_llvm_target *t = e->target;
    if (product->op == RLX_LIR_DOT_ROWS)
        return t->matrix;
    const bool columns = rlx_ir_attr_int(product, RLX_ATTR_AXIS, 1) == 0;
    return columns || e->matrix == t->column_matrix ? t->column_matrix : t->float_matrix;
}

/* How many products a block has; of which types, where there is room for them; by which unit. */
static int find_products(rlx_emit *e, const rlx_ir_block *block, const rlx_ir_type **out)
{
    int found = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (is_product(n)) {
            e->matrix = unit_of(e, n);
            if (out)
                out[found] = &n->out[0]->type;
            found++;
        }
        for (int i = 0; i < n->nblock; i++)
            found += find_products(e, n->blocks[i], out ? out + found : NULL);
    }
    return found;
}

static bool reduces_sums(const rlx_emit *e, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_REDUCE && rlx_emit_matrix_tile(e, &n->in[0]->type))
            return true;
        for (int i = 0; i < n->nblock; i++)
            if (reduces_sums(e, n->blocks[i]))
                return true;
    }
    return false;
}

/* Where rows of sums are combined, subgroups have whole ones if they can. */
static bool goes_by_rows(const rlx_emit *e)
{
    const rlx_matrix_unit *u = e->matrix;
    const int64_t rows = e->fragments[0]->dim[0];
    for (int i = 0; i < e->nfragments; i++)
        if (e->fragments[i]->dim[0] != rows || e->fragments[i]->dim[1] % u->n)
            return false;
    return u == e->target->column_matrix && rows % (e->target->team / u->lanes * u->m) == 0 &&
           reduces_sums(e, e->kernel->body);
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
    e->by_rows = goes_by_rows(e);
    return RLX_OK;
}

/* Where an invocation's first lies along an axis. */
static LLVMValueRef first_along(rlx_emit *e, const rlx_matrix_axis *x)
{
    LLVMValueRef lane =
        LLVMBuildAnd(e->b, e->thread, rlx_emit_int(e->i32, e->matrix->lanes - 1), "");
    if (x->div > 1)
        lane = LLVMBuildUDiv(e->b, lane, rlx_emit_int(e->i32, x->div), "");
    if (x->div * x->mod < e->matrix->lanes)
        lane = LLVMBuildURem(e->b, lane, rlx_emit_int(e->i32, x->mod), "");
    return rlx_emit_mul(e->b, lane, rlx_emit_int(e->i32, x->by));
}

/* The same of the i-th that it has. */
static LLVMValueRef along(rlx_emit *e, const rlx_matrix_axis *x, int i)
{
    return rlx_emit_add(e->b, first_along(e, x), rlx_emit_int(e->i32, rlx_matrix_offset(x, i)));
}

/* What columns of sums have more of the invocation's 32. */
static LLVMValueRef between_warps(rlx_emit *e)
{
    enum { WARP = 32 };
    const rlx_matrix_unit *u = e->matrix;
    LLVMValueRef lane = LLVMBuildAnd(e->b, e->thread, rlx_emit_int(e->i32, u->lanes - 1), "");
    if (!u->apart)
        return rlx_emit_int(e->i32, 0);
    lane = LLVMBuildUDiv(e->b, lane, rlx_emit_int(e->i32, WARP), "");
    return rlx_emit_mul(e->b, lane, rlx_emit_int(e->i32, u->apart));
}

/* Where the subgroup's fragments begin. */
static void first_fragment(rlx_emit *e, const rlx_lir_split *s, LLVMValueRef *row,
                           LLVMValueRef *column)
{
    const rlx_matrix_unit *u = e->matrix;
    LLVMValueRef own = LLVMBuildUDiv(e->b, e->thread, rlx_emit_int(e->i32, u->lanes), "");
    LLVMValueRef across = rlx_emit_int(e->i32, s->across);
    *row = *column = rlx_emit_int(e->i32, 0);
    if (s->across < e->target->team / u->lanes)
        *row = LLVMBuildUDiv(e->b, own, across, "");
    *row = rlx_emit_mul(e->b, *row, rlx_emit_int(e->i32, s->m * u->m));
    if (s->across > 1)
        *column = LLVMBuildURem(e->b, own, across, "");
    *column = rlx_emit_mul(e->b, *column, rlx_emit_int(e->i32, s->n * u->n));
}

bool rlx_emit_matrix_fragments(rlx_emit *e, const rlx_ir_type *tile, rlx_emit_fragments *out)
{
    rlx_lir_split s;
    if (!split_tile(e, tile->dim[0], tile->dim[1], &s))
        return false;
    out->down = s.m;
    out->across = s.n;
    first_fragment(e, &s, &out->row, &out->column);
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
    rlx_lir_split s;
    LLVMValueRef row, column;
    if (rlx_emit_is_rows(e, tile))
        return rlx_emit_rows_element(e, part);
    if (!rlx_emit_matrix_tile(e, tile) || !split_tile(e, tile->dim[0], tile->dim[1], &s))
        return NULL; /* no fragments: dot_rows says so */
    const int64_t of = part / u->sums;
    first_fragment(e, &s, &row, &column);
    row = rlx_emit_add(e->b, row, rlx_emit_int(e->i32, of / s.n * u->m));
    row = rlx_emit_add(e->b, row, along(e, &u->row, part % u->sums));
    column = rlx_emit_add(e->b, column, rlx_emit_int(e->i32, of % s.n * u->n));
    column = rlx_emit_add(e->b, column, along(e, &u->column, part % u->sums));
    column = rlx_emit_add(e->b, column, between_warps(e));
    row = rlx_emit_mul(e->b, row, rlx_emit_int(e->i32, tile->dim[1]));
    return rlx_emit_add(e->b, row, column);
}

/* ---- operands ---- */

enum { OPERANDS = 7 };
typedef struct operands {
    int64_t base[OPERANDS], stride[OPERANDS]; /* in the exchange: bytes, and elements of a row */
    int64_t bytes;
    rlx_emit_rows rows[OPERANDS]; /* where each lies now */
} operands;

static bool is_codes(int operand)
{
    return operand == 1 || operand == 3;
}

/* The load of an operand that dot_rows reads in memory's place; NULL: it is a tile. */
static const rlx_ir_node *deferred(const rlx_emit *e, const rlx_ir_value *operand)
{
    const rlx_ir_node *load = operand->def;
    return load && load->op == RLX_LIR_LOAD && rlx_emit_matrix_defers(e, load) ? load : NULL;
}

const rlx_ir_node *rlx_emit_matrix_kept(const rlx_emit *e, const rlx_ir_value *operand)
{
    const rlx_ir_node *load = deferred(e, operand);
    return load && load->in[0]->type.space == RLX_SPACE_TEAM ? load : NULL;
}

bool rlx_emit_matrix_is_copied(const rlx_emit *e, const rlx_ir_value *operand)
{
    const rlx_ir_node *load = deferred(e, operand);
    return load && load->in[0]->type.space == RLX_SPACE_GLOBAL &&
           rlx_format_get(load->in[0]->type.format)->kind != RLX_KIND_BLOCK;
}

static operands operands_of(const rlx_emit *e, const rlx_ir_node *n)
{
    operands o = {0};
    for (int i = 1; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        if (rlx_emit_matrix_kept(e, n->in[i]))
            continue;
        o.base[i] = o.bytes;
        o.stride[i] = t->dim[1] + (is_codes(i) ? ROW_PAD : 0);
        o.bytes += is_codes(i) ? t->dim[0] * o.stride[i] : rlx_emit_team_tile_bytes(e, t);
    }
    return o;
}

int64_t rlx_emit_matrix_bytes(const rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_matrix_unit *u = e->target->matrix;
    if (n->op == RLX_LIR_CONTRACT_ROWS)
        return rlx_emit_matrix_float_bytes(e, n);
    return u && !u->a_words ? rlx_emit_wgmma_bytes(e, n) : operands_of(e, n).bytes;
}

static bool has_effect(const rlx_emit *e, const rlx_ir_node *n)
{
    return (rlx_ir_info(e->kernel->module, n)->traits & RLX_EFFECT) || n->nblock;
}

/* Whether an operand is rows of K. */
static bool is_rows(const rlx_ir_node *product, int operand)
{
    return product->op == RLX_LIR_CONTRACT_ROWS || is_codes(operand);
}

bool rlx_emit_matrix_uses(const rlx_emit *e, const rlx_ir_node *load, bool rows)
{
    int uses = 0;
    for (const rlx_ir_node *n = load->next; n && !has_effect(e, n); n = n->next)
        for (int i = 1; i < n->nin && is_product(n); i++)
            uses += is_rows(n, i) == rows && n->in[i] == load->out[0];
    return uses && uses == rlx_ir_count_uses(load->parent, load->out[0]);
}

bool rlx_emit_dot_uses(const rlx_emit *e, const rlx_ir_node *load)
{
    int uses = 0;
    for (const rlx_ir_node *n = load->next; n && !has_effect(e, n); n = n->next)
        for (int i = 1; i < n->nin && n->op == RLX_LIR_DOT; i++)
            uses += is_codes(i) && n->in[i] == load->out[0];
    return uses && uses == rlx_ir_count_uses(load->parent, load->out[0]);
}

/* Rows of whole pieces of 16 bytes, so far apart that the same piece of eight rows lies in all banks. */
static bool lies_apart(const rlx_ir_node *load)
{
    const rlx_ir_type *tile = &load->out[0]->type, *buffer = &load->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(load, RLX_ATTR_AXES);
    const int64_t last = buffer->rank - 1, bytes = sizeof(uint16_t);
    return buffer->format == tile->format && last > 0 && axes->ints[0] == last - 1 &&
           axes->ints[1] == last && !rlx_ir_attr(load, RLX_ATTR_LIMITS) &&
           buffer->dim[last] * bytes / RLX_MATRIX_CHUNK % 2 == 1 &&
           buffer->dim[last] * bytes % RLX_MATRIX_CHUNK == 0 &&
           rlx_lir_divisor(load->in[1 + last]) * bytes % RLX_MATRIX_CHUNK == 0;
}

/* Stages of rings; scales and what else is f32, whose rows are in one piece. */
static bool stays(const rlx_emit *e, const rlx_ir_node *load)
{
    const rlx_ir_type *tile = &load->out[0]->type, *buffer = &load->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(load, RLX_ATTR_AXES);
    const bool halves = tile->format == RLX_F16 || tile->format == RLX_BF16;
    if (halves && !rlx_matrix_reads_memory(e->matrix))
        return rlx_emit_matrix_uses(e, load, true) && lies_apart(load);
    if (tile->format != RLX_F32)
        return rlx_emit_is_ring(e, load->in[0]);
    return rlx_emit_copies_async(e) && buffer->format == RLX_F32 && buffer->rank > 1 &&
           axes->ints[0] == buffer->rank - 2 && axes->ints[1] == buffer->rank - 1 &&
           !rlx_ir_attr(load, RLX_ATTR_LIMITS) && rlx_emit_matrix_uses(e, load, false);
}

static int element_bytes(const rlx_ir_type *t)
{
    return (int)rlx_format_get(t->format)->block_bytes;
}

bool rlx_emit_matrix_defers(const rlx_emit *e, const rlx_ir_node *load)
{
    const rlx_ir_type *tile = &load->out[0]->type, *buffer = &load->in[0]->type;
    const rlx_attr *axes = rlx_ir_attr(load, RLX_ATTR_AXES);
    if (!e->matrix || tile->rank != 2)
        return false;
    if (buffer->space == RLX_SPACE_TEAM)
        return stays(e, load);
    if (axes->ints[1] != buffer->rank - 1 || rlx_emit_has_limit(load, 1) ||
        !rlx_emit_matrix_uses(e, load, true))
        return false;
    if (rlx_format_get(buffer->format)->kind == RLX_KIND_BLOCK)
        return rlx_lir_part_of(load) == RLX_LIR_CODES;
    return rlx_emit_copies_rows(load);
}

static void put_operand(rlx_emit *e, const rlx_ir_value *v, rlx_emit_rows *rows, int64_t stride,
                        bool *copies)
{
    const rlx_ir_node *load = deferred(e, v);
    LLVMValueRef to = rlx_emit_offset(e, e->i8, rows->at, rlx_emit_int(e->i64, rows->plus));
    if (rlx_emit_matrix_kept(e, v)) {
        *rows = rlx_emit_rows_of(e, load, &v->type);
    } else if (!load) {
        rlx_emit_team_put(e, v, to, stride);
    } else if (rlx_format_get(load->in[0]->type.format)->kind == RLX_KIND_BLOCK) {
        rlx_emit_team_put_codes(e, load, to, stride);
    } else {
        rlx_emit_copy_rows(e, load, rows);
        *copies = true;
    }
}

void rlx_emit_matrix_put_rows(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef to, int64_t stride)
{
    bool copies; /* whether or not: the caller ends them */
    rlx_emit_rows rows = {.at = to, .stride = stride};
    put_operand(e, v, &rows, stride / element_bytes(&v->type), &copies);
}

/* Of f16 and bf16, as swizzled rows of so many bytes. */
static LLVMValueRef by_swizzled_rows(rlx_emit *e, LLVMValueRef i, LLVMValueRef j, int64_t bytes)
{
    LLVMValueRef two = rlx_emit_int(e->i32, HALF_BYTES);
    j = LLVMBuildUDiv(e->b, rlx_emit_swizzle(e, bytes, i, rlx_emit_mul(e->b, j, two)), two, "");
    return rlx_emit_add(e->b, rlx_emit_mul(e->b, i, rlx_emit_int(e->i32, bytes / HALF_BYTES)), j);
}

static LLVMValueRef by_panels(rlx_emit *e, LLVMValueRef i, LLVMValueRef j, int64_t rows)
{
    LLVMValueRef width = rlx_emit_int(e->i32, RLX_EMIT_PANEL / HALF_BYTES);
    LLVMValueRef panel = LLVMBuildUDiv(e->b, j, width, "");
    LLVMValueRef in = by_swizzled_rows(e, i, LLVMBuildURem(e->b, j, width, ""), RLX_EMIT_PANEL);
    LLVMValueRef apart = rlx_emit_int(e->i32, rows * (RLX_EMIT_PANEL / HALF_BYTES));
    return rlx_emit_add(e->b, rlx_emit_mul(e->b, panel, apart), in);
}

void rlx_emit_matrix_put_panels(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef to, int64_t stride)
{
    const bool wide = stride == RLX_EMIT_PANEL;
    const rlx_emit_rows rows = {
        .at = to, .stride = stride, .panel = wide ? v->type.dim[0] * stride : 0, .swizzled = true};
    const rlx_ir_node *load = deferred(e, v);
    if (load)
        rlx_emit_copy_rows(e, load, &rows);
    else if (wide)
        rlx_emit_team_put_by(e, v, to, by_panels, v->type.dim[0]);
    else
        rlx_emit_team_put_by(e, v, to, by_swizzled_rows, stride);
}

static LLVMValueRef by_pieces(rlx_emit *e, LLVMValueRef i, LLVMValueRef j, int64_t apart)
{
    LLVMValueRef piece = rlx_emit_int(e->i32, RLX_MATRIX_CHUNK);
    LLVMValueRef at = LLVMBuildUDiv(e->b, j, piece, "");
    at = rlx_emit_mul(e->b, at, rlx_emit_int(e->i32, apart));
    at = rlx_emit_add(e->b, at, rlx_emit_mul(e->b, i, piece));
    return rlx_emit_add(e->b, at, LLVMBuildURem(e->b, j, piece, ""));
}

rlx_status rlx_emit_matrix_put_pieces(rlx_emit *e, const rlx_ir_node *n, const rlx_ir_value *codes,
                                      LLVMValueRef to, int64_t apart)
{
    const rlx_ir_node *load = deferred(e, codes);
    const rlx_emit_rows rows = {.at = to, .stride = RLX_MATRIX_CHUNK, .apart = apart};
    if (!load)
        rlx_emit_team_put_by(e, codes, to, by_pieces, apart);
    else if (rlx_format_get(load->in[0]->type.format)->kind == RLX_KIND_BLOCK)
        return rlx_emit_unsupported(e, n, "rows of tokens out of blocks");
    else
        rlx_emit_copy_rows(e, load, &rows);
    return RLX_OK;
}

static void put_operands(rlx_emit *e, const rlx_ir_node *n, operands *o)
{
    bool copies = false;
    for (int i = 1; i < n->nin; i++) {
        o->rows[i] = (rlx_emit_rows){.at = e->exchange,
                                     .plus = o->base[i],
                                     .stride = o->stride[i] * (is_codes(i) ? 1 : WORD)};
        put_operand(e, n->in[i], &o->rows[i], o->stride[i], &copies);
    }
    if (copies)
        e->engine->copies_end(e);
}

/* ---- products ---- */

typedef struct matrix {
    const rlx_ir_node *node;
    const rlx_matrix_unit *unit;
    operands at;
    rlx_lir_split s;
    int64_t k;            /* elements of a group */
    struct side *columns; /* room for those of a subgroup */
} matrix;

/* What a fragment wants of one operand for a group: words of codes, and for each of its sums the
 * scale and the minimum, or sum, of the row or column that it is in. */
typedef struct side {
    LLVMValueRef word[MOST_WORDS], scale[MOST_SUMS], least[MOST_SUMS];
} side;

/* A byte of a row of an operand: `row`, `byte` and, what changes from group to group, `begin` are i32; so
 * many further rows and bytes. Apart, so that addresses of a group are few numbers and offsets. */
typedef struct spot {
    LLVMValueRef row, byte, begin;
    int64_t rows_on, bytes_on;
} spot;

static LLVMValueRef address(rlx_emit *e, const rlx_emit_rows *rows, const spot *s)
{
    const int64_t constant = rows->plus + s->rows_on * rows->stride;
    LLVMValueRef p = rows->at, begin = s->begin;
    LLVMValueRef at = rlx_emit_mul(e->b, s->row, rlx_emit_int(e->i32, rows->stride));
    if (rows->swizzled) {
        LLVMValueRef row = rlx_emit_add(e->b, s->row, rlx_emit_int(e->i32, s->rows_on % EIGHT));
        begin = rlx_emit_add(e->b, rlx_emit_add(e->b, begin, s->byte),
                             rlx_emit_int(e->i32, s->bytes_on));
        begin = rlx_emit_swizzle(e, rows->stride, row, begin);
    } else {
        at = rlx_emit_add(e->b, at, s->byte);
    }
    p = rlx_emit_offset(e, e->i8, p, at);
    p = rlx_emit_offset(e, e->i8, p, begin);
    return rlx_emit_offset(e, e->i8, p,
                           rlx_emit_int(e->i64, constant + (rows->swizzled ? 0 : s->bytes_on)));
}

static LLVMValueRef get(rlx_emit *e, const matrix *x, int operand, LLVMTypeRef type, const spot *s)
{
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, address(e, &x->at.rows[operand], s), "");
    LLVMSetAlignment(v, WORD);
    return v;
}

/* Of sums i in rows, or columns, from so many behind `first`, element `group` of that row; the same value
 * for all that lie in one. */
static void get_scales(rlx_emit *e, const matrix *x, int operand, const rlx_matrix_axis *axis,
                       LLVMValueRef first, int64_t on, LLVMValueRef group, LLVMValueRef *out)
{
    spot s = {.row = rlx_emit_add(e->b, first, first_along(e, axis)),
              .byte = rlx_emit_int(e->i32, 0),
              .begin = rlx_emit_mul(e->b, group, rlx_emit_int(e->i32, WORD))};
    for (int i = 0; i < x->unit->sums; i++) {
        int same = 0;
        while (rlx_matrix_offset(axis, same) != rlx_matrix_offset(axis, i))
            same++;
        s.rows_on = on + rlx_matrix_offset(axis, i);
        out[i] = same < i ? out[same] : get(e, x, operand, e->f32, &s);
    }
}

/* ---- words of fragments ---- */

/* One operand's fragments: rows, or columns, and words of one. */
typedef struct pieces {
    int operand, words, apart; /* rows from one fragment to the next */
    const rlx_matrix_axis *row, *k;
} pieces;

static pieces pieces_of(const matrix *x, bool a)
{
    const rlx_matrix_unit *u = x->unit;
    const int per = (int)(x->k / HALF);
    return a ? (pieces){1, per * u->a_words, u->m, &u->a_row, &u->a_k}
             : (pieces){3, per * u->b_words, u->n, &u->b_column, &u->b_k};
}

/* Whether each of a fragment's words is a matrix of eight rows of 16 bytes, four invocations to a row. */
static bool are_matrices(const rlx_emit *e, const pieces *p)
{
    return e->target->copies && e->engine->load_matrices && p->row->div == WORD &&
           p->row->mod == EIGHT && p->row->by == 1 && p->k->div == 1 && p->k->mod == WORD &&
           p->k->by == WORD && p->words <= MATRICES;
}

/* rlx_matrix_offset of a number that is known when the kernel runs. */
static LLVMValueRef offset(rlx_emit *e, const rlx_matrix_axis *x, LLVMValueRef i)
{
    LLVMValueRef inner = rlx_emit_int(e->i32, x->inner);
    LLVMValueRef low = LLVMBuildURem(e->b, i, inner, ""), high = LLVMBuildUDiv(e->b, i, inner, "");
    return rlx_emit_add(e->b, rlx_emit_mul(e->b, low, rlx_emit_int(e->i32, x->low)),
                        rlx_emit_mul(e->b, high, rlx_emit_int(e->i32, x->high)));
}

/* Words of `n` fragments, the first of which begins at s, at once: together 1, 2 or 4. */
static void load_matrices(rlx_emit *e, const matrix *x, const pieces *p, int n, spot s, side *out)
{
    const int all = n * p->words;
    LLVMValueRef word[MATRICES], eight = rlx_emit_int(e->i32, EIGHT);
    LLVMValueRef words = rlx_emit_int(e->i32, p->words);
    LLVMValueRef which = LLVMBuildUDiv(e->b, e->thread, eight, "");
    which = LLVMBuildAnd(e->b, which, rlx_emit_int(e->i32, all - 1), "");
    LLVMValueRef piece = LLVMBuildUDiv(e->b, which, words, "");
    which = LLVMBuildURem(e->b, which, words, "");
    piece = rlx_emit_mul(e->b, piece, rlx_emit_int(e->i32, p->apart));
    s.row = rlx_emit_add(e->b, s.row, LLVMBuildURem(e->b, e->thread, eight, ""));
    s.row = rlx_emit_add(e->b, rlx_emit_add(e->b, s.row, piece), offset(e, p->row, which));
    s.byte = offset(e, p->k, which);
    e->engine->load_matrices(e, all, false, address(e, &x->at.rows[p->operand], &s), word);
    for (int i = 0; i < all; i++)
        out[i / p->words].word[i % p->words] = word[i];
}

static void load_words(rlx_emit *e, const matrix *x, const pieces *p, spot s, side *out)
{
    const int64_t on = s.rows_on;
    s.row = rlx_emit_add(e->b, s.row, first_along(e, p->row));
    s.byte = first_along(e, p->k);
    for (int w = 0; w < p->words; w++) {
        s.rows_on = on + rlx_matrix_offset(p->row, w);
        s.bytes_on = rlx_matrix_offset(p->k, w);
        out->word[w] = get(e, x, p->operand, e->i32, &s);
    }
}

/* Words of n fragments from the i-th after row, or column, `first`: of the group that begins there. */
static void get_words(rlx_emit *e, const matrix *x, const pieces *p, LLVMValueRef first, int64_t i,
                      int64_t n, LLVMValueRef begin, side *out)
{
    const bool matrices = are_matrices(e, p);
    int64_t some = matrices ? MATRICES / p->words : 1;
    for (int64_t j = 0; j < n; j += some) {
        const spot s = {.row = first, .byte = NULL, .begin = begin, .rows_on = (i + j) * p->apart};
        while (some > n - j)
            some /= 2;
        if (matrices)
            load_matrices(e, x, p, (int)some, s, out + j);
        else
            load_words(e, x, p, s, out + j);
    }
}

/* The subgroup's fragments of rows from its i-th on, or of columns: words, scales, and minima or sums of
 * group h. */
static void get_sides(rlx_emit *e, const matrix *x, bool a, int64_t i, int64_t n, LLVMValueRef h,
                      side *out)
{
    const pieces p = pieces_of(x, a);
    const rlx_matrix_axis *sums = a ? &x->unit->row : &x->unit->column;
    LLVMValueRef begin = rlx_emit_mul(e->b, h, rlx_emit_int(e->i32, x->k)), scale = h, first[2];
    if (a && x->k < PER_SCALE)
        scale = LLVMBuildUDiv(e->b, begin, rlx_emit_int(e->i32, PER_SCALE), "");
    first_fragment(e, &x->s, &first[1], &first[0]);
    get_words(e, x, &p, first[a], i, n, begin, out);
    for (int64_t j = 0; j < n; j++) {
        const int64_t on = (i + j) * p.apart;
        get_scales(e, x, a ? 2 : 4, sums, first[a], on, scale, out[j].scale);
        if (x->node->nin == OPERANDS)
            get_scales(e, x, a ? 5 : 6, sums, first[a], on, h, out[j].least);
    }
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
        if (x->node->nin != OPERANDS)
            continue;
        LLVMValueRef less[3] = {LLVMBuildFNeg(e->b, a->least[i], ""), b->least[i], acc[i]};
        acc[i] = rlx_emit_intrinsic(e, "llvm.fma", e->f32, less, 3);
    }
}

static void add_group(rlx_emit *e, void *user, LLVMValueRef h, LLVMValueRef *acc)
{
    const matrix *x = user;
    get_sides(e, x, false, 0, x->s.n, h, x->columns);
    for (int64_t i = 0; i < x->s.m; i++) {
        side rows;
        get_sides(e, x, true, i, 1, h, &rows);
        for (int64_t j = 0; j < x->s.n; j++)
            add_fragment(e, x, &rows, &x->columns[j], acc + (i * x->s.n + j) * x->unit->sums);
    }
}

void rlx_emit_keep_rolled(rlx_emit *e, const rlx_emit_loop *loop)
{
    static const char off[] = "llvm.loop.unroll.disable", loops[] = "llvm.loop";
    LLVMMetadataRef disable = LLVMMDStringInContext2(e->cx, off, sizeof off - 1);
    LLVMMetadataRef self = LLVMTemporaryMDNode(e->cx, NULL, 0);
    LLVMMetadataRef list[2] = {self, LLVMMDNodeInContext2(e->cx, &disable, 1)};
    LLVMMetadataRef node = LLVMMDNodeInContext2(e->cx, list, 2);
    LLVMMetadataReplaceAllUsesWith(self, node);
    LLVMSetMetadata(LLVMGetBasicBlockTerminator(loop->latch),
                    LLVMGetMDKindIDInContext(e->cx, loops, sizeof loops - 1),
                    LLVMMetadataAsValue(e->cx, node));
}

rlx_status rlx_emit_matrix_steps(rlx_emit *e, const rlx_emit_tile *acc, int64_t count,
                                 rlx_emit_step_fn *step, void *user, bool rolled,
                                 rlx_emit_tile *out)
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
    if (rolled)
        rlx_emit_keep_rolled(e, &loop);
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
    if (!x.unit->a_words)
        return rlx_emit_wgmma_dot_rows(e, n);
    x.columns = RLX_NEW_ARRAY(e->arena, side, x.s.n);
    if (!x.columns)
        return RLX_OOM();
    x.at = operands_of(e, n);
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    put_operands(e, n, &x.at);
    e->engine->barrier(e);
    RLX_TRY(rlx_emit_matrix_steps(e, rlx_emit_get(e, n->in[0]), groups, add_group, &x, true, out));
    e->engine->barrier(e);
    return RLX_OK;
}
