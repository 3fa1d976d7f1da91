#include "jit/llvm_team.h"

/* contract_rows by a matrix unit.
 *
 * As dot_rows (llvm_team_matrix.c), without scales: rows of both operands go to the exchange, and each
 * subgroup multiplies its fragments, a chunk of K at a time. Sums stay in the unit's registers.
 *
 *   for chunks { words of a, words of b -> sums } */

enum { ROW_PAD = 16, WORD = 4, HALF = 2, MOST_WORDS = 8 };

#define MATRIX_FLOATS(NAME, k, a, b, ...)                             \
    _Static_assert((a) <= MOST_WORDS && (b) <= MOST_WORDS && (k) > 0, \
                   #NAME ": a fragment has more than an operand");
#include "jit/matrix_units.def"
#undef MATRIX_FLOATS

typedef struct words {
    LLVMValueRef of[MOST_WORDS];
} words;

typedef struct floats {
    const rlx_matrix_unit *unit;
    rlx_format format;
    rlx_emit_fragments own;
    int64_t stride;        /* bytes, of rows in the exchange */
    LLVMValueRef first[2]; /* of each operand: where this invocation's first word lies */
    words *columns;        /* room for those of a subgroup */
} floats;

static int64_t stride_of(const rlx_ir_node *n)
{
    return n->in[1]->type.dim[1] * HALF + ROW_PAD;
}

int64_t rlx_emit_matrix_float_bytes(const rlx_emit *e, const rlx_ir_node *n)
{
    if (e->matrix && !e->matrix->floats->a_words)
        return rlx_emit_wgmma_halves_bytes(e, n);
    return (n->in[1]->type.dim[0] + n->in[2]->type.dim[0]) * stride_of(n);
}

static LLVMValueRef after(rlx_emit *e, LLVMValueRef p, LLVMValueRef bytes)
{
    return rlx_emit_offset(e, e->i8, p, bytes);
}

/* Where this invocation's words of an operand begin, whose rows lie from byte `base` on. */
static LLVMValueRef first_word(rlx_emit *e, const floats *x, int operand, int64_t base)
{
    const rlx_matrix_floats *u = x->unit->floats;
    LLVMValueRef row = rlx_emit_matrix_along(e, operand ? &u->b_column : &u->a_row, 0);
    LLVMValueRef k = rlx_emit_matrix_along(e, operand ? &u->b_k : &u->a_k, 0);
    row = rlx_emit_add(e->b, row, operand ? x->own.column : x->own.row);
    LLVMValueRef at = rlx_emit_mul(e->b, row, rlx_emit_int(e->i32, x->stride));
    at = rlx_emit_add(e->b, at, rlx_emit_mul(e->b, k, rlx_emit_int(e->i32, HALF)));
    at = rlx_emit_add(e->b, at, rlx_emit_int(e->i32, base));
    return after(e, e->exchange, LLVMBuildZExt(e->b, at, e->i64, ""));
}

/* What fragment i of an operand wants of the chunk whose first word is at p. */
static void get_words(rlx_emit *e, const floats *x, int operand, LLVMValueRef p, int64_t i,
                      words *out)
{
    const rlx_matrix_floats *u = x->unit->floats;
    const rlx_matrix_axis *row = operand ? &u->b_column : &u->a_row;
    const rlx_matrix_axis *k = operand ? &u->b_k : &u->a_k;
    const int64_t first = i * (operand ? x->unit->n : x->unit->m);
    for (int w = 0; w < (operand ? u->b_words : u->a_words); w++) {
        const int64_t at =
            (first + rlx_matrix_offset(row, w)) * x->stride + rlx_matrix_offset(k, w) * HALF;
        out->of[w] = LLVMBuildLoad2(e->b, e->i32, after(e, p, rlx_emit_int(e->i64, at)), "");
        LLVMSetAlignment(out->of[w], WORD);
    }
}

static void add_chunk(rlx_emit *e, void *user, LLVMValueRef h, LLVMValueRef *sums)
{
    const floats *x = user;
    const rlx_matrix_unit *u = x->unit;
    LLVMValueRef at[2], chunk = rlx_emit_int(e->i64, u->floats->k * HALF);
    chunk = rlx_emit_mul(e->b, LLVMBuildZExt(e->b, h, e->i64, ""), chunk);
    for (int i = 0; i < 2; i++)
        at[i] = after(e, x->first[i], chunk);
    for (int64_t j = 0; j < x->own.across; j++)
        get_words(e, x, 1, at[1], j, &x->columns[j]);
    for (int64_t i = 0; i < x->own.down; i++) {
        words rows;
        get_words(e, x, 0, at[0], i, &rows);
        for (int64_t j = 0; j < x->own.across; j++)
            e->engine->multiply_floats(e, x->format, rows.of, x->columns[j].of,
                                       sums + (i * x->own.across + j) * u->sums);
    }
}

static rlx_status check(const rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_matrix_unit *u = e->target->float_matrix;
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    if (!u || !e->engine->multiply_floats || !e->engine->copy || !e->engine->copies_end)
        return rlx_emit_unsupported(e, n, "there is no matrix unit that multiplies f16 and bf16");
    if (u != e->matrix)
        return rlx_emit_unsupported(e, n, "products of codes in one kernel go by another unit");
    if (u->floats->k != width)
        return rlx_emit_unsupported(e, n, "width=%lld of a unit that adds up %d products at once",
                                    (long long)width, u->floats->k);
    return RLX_OK;
}

rlx_status rlx_emit_matrix_contract_rows(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *tile = &n->out[0]->type, *a = &n->in[1]->type;
    rlx_emit_tile *out;
    RLX_TRY(check(e, n));
    floats x = {.unit = e->matrix, .format = a->format, .stride = stride_of(n)};
    if (!rlx_emit_matrix_fragments(e, tile, &x.own))
        return rlx_emit_unsupported(e, n, "%lldx%lld are no fragments of %dx%d for %d subgroups",
                                    (long long)tile->dim[0], (long long)tile->dim[1], x.unit->m,
                                    x.unit->n, e->target->team / x.unit->lanes);
    if (!x.unit->floats->a_words)
        return rlx_emit_wgmma_contract_rows(e, n);
    x.columns = RLX_NEW_ARRAY(e->arena, words, x.own.across);
    if (!x.columns)
        return RLX_OOM();
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int i = 0; i < 2; i++) {
        const int64_t base = i ? a->dim[0] * x.stride : 0;
        x.first[i] = first_word(e, &x, i, base);
        rlx_emit_matrix_put_rows(e, n->in[1 + i], after(e, e->exchange, rlx_emit_int(e->i64, base)),
                                 x.stride);
    }
    e->engine->copies_end(e);
    e->engine->barrier(e);
    RLX_TRY(rlx_emit_matrix_steps(e, rlx_emit_get(e, n->in[0]), a->dim[1] / x.unit->floats->k,
                                  add_chunk, &x, false, out));
    e->engine->barrier(e);
    return RLX_OK;
}
