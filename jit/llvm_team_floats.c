#include "jit/llvm_team.h"

/* contract_rows by a matrix unit.
 *
 * As dot_rows (llvm_team_matrix.c), without scales: rows of both operands go to the exchange, but for rows
 * that lie in team memory so that they can be read there, and for sums of the kernel, rounded, where they lie in
 * a subgroup as the unit wants its first operand. Each subgroup multiplies its fragments, a chunk of K at a
 * time. Sums stay in the unit's registers.
 *
 *   for chunks { words of a, words of b -> sums }
 *
 * A second operand whose rows are K, axis=0, is turned while its words are loaded. */

enum { ROW_PAD = 16, WORD = 4, HALF = 2, MOST_WORDS = 8, EIGHT = 8, MATRICES = 4 };

#define MATRIX_FLOATS(NAME, k, a, b, ...)                             \
    _Static_assert((a) <= MOST_WORDS && (b) <= MOST_WORDS && (k) > 0, \
                   #NAME ": a fragment has more than an operand");
#include "jit/matrix_units.def"
#undef MATRIX_FLOATS

typedef struct words {
    LLVMValueRef of[MOST_WORDS];
} words;

/* One operand in team memory. */
typedef struct factor {
    const rlx_matrix_axis *row, *k; /* k counts elements */
    int words, fragment;            /* of a fragment: words, rows or columns */
    bool turned;                    /* its rows are K */
    bool matrices;                  /* words are loaded as matrices */
    int64_t stride;                 /* bytes */
    LLVMValueRef first; /* where this invocation's first word lies, or its row of a matrix */
} factor;

typedef struct floats {
    const rlx_ir_node *node;
    const rlx_matrix_unit *unit;
    rlx_format format;
    rlx_emit_fragments own;
    factor of[2];
    const rlx_emit_tile *sums; /* what the first operand is in registers; or NULL */
    words *rows;               /* room for those of a subgroup */
} floats;

static int64_t stride_of(const rlx_ir_value *operand)
{
    return operand->type.dim[1] * HALF + ROW_PAD;
}

/* ---- where operands lie ---- */

/* Whether the first operand is rounded sums, whose words the invocations have that want them. */
static bool is_in_registers(const rlx_emit *e, const rlx_ir_value *a)
{
    return e->by_rows && e->matrix->floats->paired && rlx_emit_matrix_tile(e, &a->type) &&
           !(a->def && a->def->op == RLX_LIR_LOAD);
}

static bool is_kept(const rlx_emit *e, const rlx_ir_value *v)
{
    return rlx_emit_matrix_kept(e, v) != NULL;
}

static int64_t exchanged(const rlx_emit *e, const rlx_ir_value *v, bool first)
{
    return is_kept(e, v) || (first && is_in_registers(e, v)) ? 0 : v->type.dim[0] * stride_of(v);
}

int64_t rlx_emit_matrix_float_bytes(const rlx_emit *e, const rlx_ir_node *n)
{
    if (e->matrix && !e->matrix->floats->a_words)
        return rlx_emit_wgmma_halves_bytes(e, n);
    return exchanged(e, n->in[1], true) + exchanged(e, n->in[2], false);
}

static LLVMValueRef after(rlx_emit *e, LLVMValueRef p, LLVMValueRef bytes)
{
    return rlx_emit_offset(e, e->i8, p, bytes);
}

static LLVMValueRef scaled(rlx_emit *e, LLVMValueRef v, int64_t by)
{
    return rlx_emit_mul(e->b, v, rlx_emit_int(e->i32, by));
}

/* rlx_matrix_offset of a number that is known when the kernel runs. */
static LLVMValueRef offset(rlx_emit *e, const rlx_matrix_axis *x, LLVMValueRef i)
{
    LLVMValueRef inner = rlx_emit_int(e->i32, x->inner);
    return rlx_emit_add(e->b, scaled(e, LLVMBuildURem(e->b, i, inner, ""), x->low),
                        scaled(e, LLVMBuildUDiv(e->b, i, inner, ""), x->high));
}

/* Whether each of a fragment's words is a matrix of eight rows of 16 bytes, or its transpose: four invocations to a row. */
static bool are_matrices(const rlx_emit *e, const factor *f)
{
    return e->target->copies && e->engine->load_matrices && f->row->div == WORD &&
           f->row->mod == EIGHT && f->row->by == 1 && f->k->div == 1 && f->k->mod == WORD &&
           f->k->by == HALF && f->words <= MATRICES && MATRICES % f->words == 0;
}

/* Of the matrices that a subgroup loads at once, an invocation's row: where the first word would be. */
static void row_of_matrix(rlx_emit *e, const factor *f, LLVMValueRef *row, LLVMValueRef *k)
{
    LLVMValueRef eight = rlx_emit_int(e->i32, EIGHT), all = rlx_emit_int(e->i32, f->words);
    LLVMValueRef which = LLVMBuildUDiv(e->b, e->thread, eight, "");
    which = LLVMBuildAnd(e->b, which, rlx_emit_int(e->i32, MATRICES - 1), "");
    LLVMValueRef own = LLVMBuildURem(e->b, e->thread, eight, "");
    LLVMValueRef word = LLVMBuildURem(e->b, which, all, "");
    *row = scaled(e, LLVMBuildUDiv(e->b, which, all, ""), f->fragment);
    *row = rlx_emit_add(e->b, *row, offset(e, f->row, word));
    *k = offset(e, f->k, word);
    if (f->turned)
        *k = rlx_emit_add(e->b, *k, own);
    else
        *row = rlx_emit_add(e->b, *row, own);
}

/* Bytes from row `row`, element k of K. */
static LLVMValueRef place(rlx_emit *e, const factor *f, LLVMValueRef row, LLVMValueRef k)
{
    return rlx_emit_add(e->b, scaled(e, row, f->turned ? HALF : f->stride),
                        scaled(e, k, f->turned ? f->stride : HALF));
}

static int64_t distance(const factor *f, int64_t rows, int64_t k)
{
    return f->turned ? k * f->stride + rows * HALF : rows * f->stride + k * HALF;
}

/* The operand to where it is read, from byte `base` of the exchange. */
static void put_factor(rlx_emit *e, const rlx_ir_node *n, int operand, const floats *x,
                       int64_t base, factor *f)
{
    const rlx_matrix_floats *u = x->unit->floats;
    const rlx_ir_value *v = n->in[1 + operand];
    *f = (factor){.row = operand ? &u->b_column : &u->a_row,
                  .k = operand ? &u->b_k : &u->a_k,
                  .words = operand ? u->b_words : u->a_words,
                  .fragment = operand ? x->unit->n : x->unit->m,
                  .turned = operand && rlx_ir_attr_int(n, RLX_ATTR_AXIS, 1) == 0,
                  .stride = stride_of(v)};
    LLVMValueRef at = NULL, row, k;
    if (is_kept(e, v)) {
        const rlx_emit_rows rows = rlx_emit_rows_of(e, v->def, &v->type);
        at = rows.at;
        f->stride = rows.stride;
    } else {
        at = after(e, e->exchange, rlx_emit_int(e->i64, base));
        rlx_emit_matrix_put_rows(e, v, at, f->stride);
    }
    f->matrices = are_matrices(e, f);
    if (f->matrices) {
        row_of_matrix(e, f, &row, &k);
    } else {
        row = rlx_emit_matrix_along(e, f->row, 0);
        k = rlx_emit_matrix_along(e, f->k, 0);
    }
    row = rlx_emit_add(e->b, row, operand ? x->own.column : x->own.row);
    f->first = after(e, at, LLVMBuildZExt(e->b, place(e, f, row, k), e->i64, ""));
}

/* ---- words ---- */

static LLVMValueRef load(rlx_emit *e, LLVMTypeRef type, LLVMValueRef p, int64_t at, unsigned align)
{
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, after(e, p, rlx_emit_int(e->i64, at)), "");
    LLVMSetAlignment(v, align);
    return v;
}

/* Two neighbours of K, the first `at` bytes behind p. */
static LLVMValueRef load_pair(rlx_emit *e, const factor *f, LLVMValueRef p, int64_t at)
{
    if (!f->turned)
        return load(e, e->i32, p, at, WORD);
    LLVMTypeRef pair = LLVMVectorType(e->i16, 2);
    LLVMValueRef v = LLVMGetUndef(pair);
    for (int i = 0; i < 2; i++)
        v = LLVMBuildInsertElement(e->b, v, load(e, e->i16, p, at + i * f->stride, HALF),
                                   rlx_emit_int(e->i32, i), "");
    return LLVMBuildBitCast(e->b, v, e->i32, "");
}

/* How many fragments' words are loaded at once, of so many. */
static int64_t together(const factor *f, int64_t n)
{
    int64_t some = f->matrices ? MATRICES / f->words : 1;
    while (some > n)
        some /= 2;
    return some;
}

/* Words of `n` fragments, so many, from the first-th of the chunk whose first word is at p. */
static void get_words(rlx_emit *e, const factor *f, LLVMValueRef p, int64_t first, int64_t n,
                      words *out)
{
    LLVMValueRef word[MATRICES];
    first *= f->fragment;
    if (f->matrices)
        e->engine->load_matrices(e, (int)n * f->words, f->turned,
                                 after(e, p, rlx_emit_int(e->i64, distance(f, first, 0))), word);
    for (int i = 0; i < n * f->words; i++) {
        const int w = i % f->words;
        const int64_t row = first + i / f->words * f->fragment + rlx_matrix_offset(f->row, w);
        out[i / f->words].of[w] =
            f->matrices ? word[i]
                        : load_pair(e, f, p, distance(f, row, rlx_matrix_offset(f->k, w)));
    }
}

/* Word w of fragment i of the first operand, chunk h, which the invocation has: two neighbours of a sum's row. */
static LLVMValueRef word_of_sums(rlx_emit *e, const floats *x, int64_t i, int64_t h, int w)
{
    const rlx_matrix_unit *u = x->unit;
    const int64_t across = x->node->in[1]->type.dim[1] / u->n;
    const int64_t k = h * u->floats->k + rlx_matrix_offset(&u->floats->a_k, w);
    int first = 0;
    while (rlx_matrix_offset(&u->row, first) != rlx_matrix_offset(&u->floats->a_row, w))
        first++;
    LLVMTypeRef half = x->format == RLX_F16 ? e->f16 : e->i16;
    LLVMValueRef v = LLVMGetUndef(LLVMVectorType(half, 2));
    for (int j = 0; j < 2; j++)
        v = LLVMBuildInsertElement(e->b, v,
                                   x->sums->part[(i * across + k / u->n) * u->sums + first + j],
                                   rlx_emit_int(e->i32, j), "");
    return LLVMBuildBitCast(e->b, v, e->i32, "");
}

/* ---- products ---- */

/* Chunk `at`, i64, which is number h where sums are multiplied. */
static void add_chunk(rlx_emit *e, const floats *x, LLVMValueRef at, int64_t h, LLVMValueRef *sums)
{
    const rlx_matrix_unit *u = x->unit;
    LLVMValueRef p[2] = {NULL, NULL};
    for (int i = x->sums ? 1 : 0; i < 2; i++) {
        LLVMValueRef chunk = rlx_emit_int(e->i64, distance(&x->of[i], 0, u->floats->k));
        p[i] = after(e, x->of[i].first, rlx_emit_mul(e->b, at, chunk));
    }
    for (int64_t i = 0; i < x->own.down; i++) {
        for (int w = 0; w < u->floats->a_words && x->sums; w++)
            x->rows[i].of[w] = word_of_sums(e, x, i, h, w);
        if (!x->sums)
            get_words(e, &x->of[0], p[0], i, 1, &x->rows[i]);
    }
    for (int64_t j = 0, n; j < x->own.across; j += n) {
        words columns[MATRICES];
        n = together(&x->of[1], x->own.across - j);
        get_words(e, &x->of[1], p[1], j, n, columns);
        for (int64_t c = 0; c < n; c++)
            for (int64_t i = 0; i < x->own.down; i++)
                e->engine->multiply_floats(e, x->format, x->rows[i].of, columns[c].of,
                                           sums + (i * x->own.across + j + c) * u->sums);
    }
}

static void add_step(rlx_emit *e, void *user, LLVMValueRef h, LLVMValueRef *sums)
{
    add_chunk(e, user, LLVMBuildZExt(e->b, h, e->i64, ""), 0, sums);
}

static rlx_status multiply(rlx_emit *e, floats *x, rlx_emit_tile *out)
{
    const rlx_emit_tile *acc = rlx_emit_get(e, x->node->in[0]);
    const int64_t chunks = x->node->in[1]->type.dim[1] / x->unit->floats->k;
    if (!x->sums)
        return rlx_emit_matrix_steps(e, acc, chunks, add_step, x, false, out);
    for (int p = 0; p < out->n; p++)
        out->part[p] = acc->part[p];
    for (int64_t h = 0; h < chunks; h++) /* registers have no index */
        add_chunk(e, x, rlx_emit_int(e->i64, h), h, out->part);
    return RLX_OK;
}

static rlx_status check(const rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_llvm_target *t = e->target;
    const rlx_matrix_unit *u = e->matrix == t->column_matrix ? t->column_matrix : t->float_matrix;
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
    floats x = {.node = n, .unit = e->matrix, .format = a->format};
    if (!rlx_emit_matrix_fragments(e, tile, &x.own))
        return rlx_emit_unsupported(e, n, "%lldx%lld are no fragments of %dx%d for %d subgroups",
                                    (long long)tile->dim[0], (long long)tile->dim[1], x.unit->m,
                                    x.unit->n, e->target->team / x.unit->lanes);
    if (!x.unit->floats->a_words)
        return rlx_emit_wgmma_contract_rows(e, n);
    x.rows = RLX_NEW_ARRAY(e->arena, words, x.own.down);
    if (!x.rows)
        return RLX_OOM();
    if (is_in_registers(e, n->in[1]))
        x.sums = rlx_emit_get(e, n->in[1]);
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int i = x.sums ? 1 : 0; i < 2; i++)
        put_factor(e, n, i, &x, i ? exchanged(e, n->in[1], true) : 0, &x.of[i]);
    e->engine->copies_end(e);
    e->engine->barrier(e);
    RLX_TRY(multiply(e, &x, out));
    e->engine->barrier(e);
    if (e->by_rows && e->engine->loop) /* what comes next makes its addresses itself */
        e->engine->loop(e);
    return RLX_OK;
}
