#include "jit/llvm_cpu.h"

#include <string.h>

/* Products of codes by groups. */

enum { LANES = 8, TOGETHER = 4, SCALED = 32 /* elements per scale of activations */ };

int rlx_emit_register_lanes(const rlx_emit *e)
{
    if (e->target->kind == RLX_JIT_AARCH64)
        return 4;
    return e->target->avx512 ? 16 : 8;
}

LLVMTypeRef rlx_emit_vector(LLVMTypeRef elem, int64_t n)
{
    return LLVMVectorType(elem, (unsigned)n);
}

rlx_status rlx_emit_pick(rlx_emit *e, LLVMValueRef x, int64_t first, int64_t step, int64_t n,
                         LLVMValueRef *out)
{
    LLVMValueRef *mask = RLX_NEW_ARRAY(e->arena, LLVMValueRef, n);
    if (!mask)
        return RLX_OOM();
    for (int64_t i = 0; i < n; i++)
        mask[i] = rlx_emit_int(e->i32, first + i * step);
    *out = LLVMBuildShuffleVector(e->b, x, LLVMGetPoison(LLVMTypeOf(x)),
                                  LLVMConstVector(mask, (unsigned)n), "");
    return RLX_OK;
}

LLVMValueRef rlx_emit_as_vector(rlx_emit *e, LLVMValueRef row)
{
    LLVMTypeRef type = LLVMTypeOf(row);
    if (LLVMGetTypeKind(type) == LLVMVectorTypeKind)
        return row;
    return LLVMBuildBitCast(e->b, row, rlx_emit_vector(type, 1), "");
}

/* v with x's elements from `at` on. LLVM inserts whole vectors only into such as it can cut evenly.
 */
static LLVMValueRef insert_at(rlx_emit *e, LLVMValueRef v, LLVMValueRef x, unsigned at, bool whole)
{
    if (whole) {
        LLVMTypeRef overload[] = {LLVMTypeOf(v), LLVMTypeOf(x)};
        unsigned id = LLVMLookupIntrinsicID("llvm.vector.insert", 18);
        LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, overload, 2);
        LLVMValueRef args[] = {v, x, rlx_emit_int(e->i64, at)};
        return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, 3, "");
    }
    for (unsigned i = 0; i < LLVMGetVectorSize(LLVMTypeOf(x)); i++) {
        LLVMValueRef one = LLVMBuildExtractElement(e->b, x, rlx_emit_int(e->i32, i), "");
        v = LLVMBuildInsertElement(e->b, v, one, rlx_emit_int(e->i32, at + i), "");
    }
    return v;
}

LLVMValueRef rlx_emit_join(rlx_emit *e, LLVMValueRef *x, int n)
{
    if (n == 1)
        return x[0];
    unsigned total = 0, at = 0, least = LLVMGetVectorSize(LLVMTypeOf(x[n - 1]));
    for (int i = 0; i < n; i++)
        total += LLVMGetVectorSize(LLVMTypeOf(x[i]));
    LLVMTypeRef elem = LLVMGetElementType(LLVMTypeOf(x[0]));
    bool whole = (total & (total - 1)) == 0 || (elem == e->f32 && least >= 8);
    LLVMValueRef v = LLVMGetPoison(rlx_emit_vector(elem, total));
    for (int i = 0; i < n; i++) {
        v = insert_at(e, v, x[i], at, whole);
        at += LLVMGetVectorSize(LLVMTypeOf(x[i]));
    }
    return v;
}

LLVMValueRef rlx_emit_fma(rlx_emit *e, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z)
{
    LLVMValueRef args[] = {x, y, z};
    return rlx_emit_intrinsic(e, "llvm.fma", LLVMTypeOf(z), args, 3);
}

void rlx_emit_keep_order(rlx_emit *e)
{
    LLVMBuildFence(e->b, LLVMAtomicOrderingAcquireRelease, true, "");
}

/* ---- dot ----
 *
 * A register holds the products of whole groups, or half a group's. Registers are folded, two into
 * one inside every 16 bytes, where shuffles are cheap, until each 32 bits are (part of) one group's
 * sum: eight groups are one vector then, which is scaled and added to the lanes as it is. Integers
 * are exact, so they stay in 16 bits as long as they fit. */

enum { MAX_VECTORS = 8, CHUNK = 16 /* bytes */, MOST_PAIRS = 2 };

/* Groups of row a of activations and row b of codes: `count` of them from `first` on. */
typedef struct groups {
    rlx_emit *e;
    const rlx_emit_tile *b;
    rlx_emit_rows a;
    LLVMValueRef row; /* of a */
    int part;         /* of b */
    rlx_emit_byte_sums bytes;
    int group; /* elements */
    int first, count;
    int at; /* the first element of the present vector */
    bool turned;
    bool two;           /* rows of b: this and the next one side by side */
    int raise;          /* codes are signed, and multiplied as that more, unsigned; 0: not */
    LLVMValueRef xs;    /* turned: then the sums of activations, f32, by group */
    LLVMValueRef less;  /* else where as many times those are, i32 */
    LLVMValueRef pairs; /* and activations by pairs of runs */
} groups;

/* Vectors that are no power of two long are better never made. */
rlx_status rlx_emit_bytes_at(rlx_emit *e, const rlx_emit_tile *t, int part, int at, int n,
                             LLVMValueRef *out)
{
    LLVMValueRef few[MAX_VECTORS];
    if (!t->piece)
        return rlx_emit_pick(e, t->part[part], at, 1, n, out);
    int each = (int)LLVMGetVectorSize(LLVMTypeOf(t->piece[0]));
    LLVMValueRef *first = &t->piece[part * t->npieces + at / each];
    if (each > n)
        return rlx_emit_pick(e, *first, at % each, 1, n, out);
    for (int i = 0; i < n / each; i++)
        few[i] = first[i];
    *out = rlx_emit_join(e, few, n / each);
    return RLX_OK;
}

static rlx_status take_code(void *user, int s, int i, LLVMValueRef *out)
{
    const groups *g = user;
    int n = TOGETHER * g->bytes.lanes;
    (void)i;
    RLX_TRY(rlx_emit_bytes_at(g->e, g->b, g->part, g->at + s * n, n, out));
    if (g->raise && !g->b->raised)
        *out = rlx_emit_raise(g->e, *out, g->raise);
    return RLX_OK;
}

static rlx_status take_activation(void *user, int s, int i, LLVMValueRef *out)
{
    const groups *g = user;
    int n = TOGETHER * g->bytes.lanes;
    (void)i;
    return rlx_emit_rows_load(g->e, &g->a, g->row, rlx_emit_int(g->e->i64, g->at + s * n), n, out);
}

/* Registers of products, all of them in elements of 32 bits or of 16: then of so many pairs. */
typedef struct folding {
    int n, pairs; /* 0: 32 bits */
    LLVMValueRef vec[MAX_VECTORS];
} folding;

static void widen(rlx_emit *e, folding *f, int lanes)
{
    for (int i = 0; i < f->n && f->pairs; i++)
        f->vec[i] = rlx_emit_halves(e, f->vec[i], lanes);
    f->pairs = 0;
}

/* In every 16 bytes: of pieces of so many bytes, of x and then of y, each even one plus the next.
 * Halves are blended, which more of a core's units do than shuffle. */
static LLVMValueRef fold_two(rlx_emit *e, LLVMValueRef x, LLVMValueRef y, int bytes)
{
    LLVMValueRef mask[2][64], half[2];
    int n = (int)LLVMGetVectorSize(LLVMTypeOf(x));
    bool is_16 = LLVMGetElementType(LLVMTypeOf(x)) == e->i16;
    int each = bytes / (is_16 ? 2 : 4), chunk = CHUNK / (is_16 ? 2 : 4);
    for (int i = 0; i < n; i++) {
        int in = i % chunk, from = in % (chunk / 2) / each * 2 * each + in % each;
        bool of_y = in >= chunk / 2, swap = of_y && 2 * each == chunk;
        from += i / chunk * chunk + (of_y ? n : 0);
        mask[swap][i] = rlx_emit_int(e->i32, from);
        mask[!swap][i] = rlx_emit_int(e->i32, from + each);
    }
    for (int i = 0; i < 2; i++)
        half[i] = LLVMBuildShuffleVector(e->b, x, y, LLVMConstVector(mask[i], (unsigned)n), "");
    return LLVMBuildAdd(e->b, half[0], half[1], "");
}

/* Each even 32 bits plus the next, of x and then of y in every 16 bytes: sums that fit 16 bits. */
static LLVMValueRef fold_short(rlx_emit *e, LLVMValueRef x, LLVMValueRef y, int lanes)
{
    LLVMValueRef both[] = {x, y};
    const char *name = lanes == LANES ? "llvm.x86.avx2.packssdw" : "llvm.x86.sse2.packssdw.128";
    return rlx_emit_halves(e, rlx_emit_intrinsic(e, name, NULL, both, 2), lanes);
}

/* Registers 4j.. to register j, whose 32 bits at place d of 4 are of register 4j + d. */
static void fold(rlx_emit *e, const groups *g, folding *f)
{
    int most = rlx_emit_most_pairs(g->bytes.codes, false), products = TOGETHER * g->bytes.steps;
    const bool is_x86 = e->target->kind == RLX_JIT_CPU;
    for (int bytes = 8; bytes >= 4; bytes /= 2, products *= 2) {
        const bool is_short = is_x86 && f->pairs == 0 && products <= 2 * most;
        if (2 * f->pairs > most)
            widen(e, f, g->bytes.lanes);
        LLVMValueRef none = LLVMGetPoison(LLVMTypeOf(f->vec[0]));
        for (int i = 0; i < f->n; i += 2) {
            LLVMValueRef x = f->vec[i], y = i + 1 < f->n ? f->vec[i + 1] : is_short ? x : none;
            f->vec[i / 2] =
                is_short ? fold_short(e, x, y, g->bytes.lanes) : fold_two(e, x, y, bytes);
        }
        f->n = (f->n + 1) / 2;
        f->pairs *= 2;
    }
}

/* Which 32 bits of two registers are sums of which groups, or half of them: mask[0], then mask[1].
 * Returns how many there are of a group. What stays in its place is the first's: a blend. */
static int find_sums(rlx_emit *e, const groups *g, const folding *f, int registers,
                     LLVMValueRef mask[2][LANES])
{
    int places[LANES] = {0}, lanes = g->bytes.lanes;
    for (int i = 0; i < 2 * LANES; i++)
        mask[i / LANES][i % LANES] = LLVMGetPoison(e->i32);
    for (int i = 0; i < f->n * lanes; i++) {
        int vec = i / lanes * 4 + i % 4, chunk = i % lanes / 4;
        int h = (vec * TOGETHER * lanes * g->bytes.steps + chunk * CHUNK) / g->group;
        if (vec >= registers || h >= g->count)
            continue;
        int at = places[h]++;
        if (at == 1 && i % lanes == h) {
            mask[1][h] = mask[0][h];
            at = 0;
        }
        mask[at][h] = rlx_emit_int(e->i32, i);
    }
    return places[0];
}

/* The sums of the groups, in order: i32<8>. Halves of them in 16 bits are added there if they fit.
 */
static LLVMValueRef in_order(rlx_emit *e, const groups *g, folding *f, int registers)
{
    LLVMValueRef mask[2][LANES], sum[2] = {NULL};
    const int n = find_sums(e, g, f, registers, mask), lanes = g->bytes.lanes;
    const bool in_16 = n == 2 && 2 * f->pairs <= rlx_emit_most_pairs(g->bytes.codes, false);
    if (!in_16)
        widen(e, f, lanes);
    LLVMTypeRef words = rlx_emit_vector(e->i32, lanes), halves = rlx_emit_vector(e->i16, 2 * LANES);
    for (int i = 0; i < f->n; i++)
        f->vec[i] = LLVMBuildBitCast(e->b, f->vec[i], words, "");
    LLVMValueRef y = f->n > 1 ? f->vec[1] : LLVMGetPoison(words);
    for (int i = 0; i < n; i++) {
        sum[i] = LLVMBuildShuffleVector(e->b, f->vec[0], y, LLVMConstVector(mask[i], LANES), "");
        if (f->pairs)
            sum[i] = LLVMBuildBitCast(e->b, sum[i], halves, "");
    }
    if (n == 2)
        sum[0] = LLVMBuildAdd(e->b, sum[0], sum[1], "");
    return f->pairs ? rlx_emit_halves(e, sum[0], LANES) : sum[0];
}

/* Lanes that take `n` bytes at once: as many as a register has, if those divide `n`. Of AVX-512's
 * registers half: blocks give no more at once, what joins those is done by one port of two, where
 * halves have three, and sums of eight groups fill one. */
static int lanes_for(const rlx_emit *e, int n)
{
    const int most = rlx_emit_register_lanes(e), lanes = most < LANES ? most : LANES;
    return n % (TOGETHER * lanes) == 0 ? lanes : lanes / 2;
}

/* The integer sums of the groups: i32<8>, of which `count` have a meaning. */
static rlx_status sum_groups(groups *g, LLVMValueRef *out)
{
    rlx_emit *e = g->e;
    int n = g->count * g->group, registers;
    folding f = {0};
    g->bytes.lanes = lanes_for(e, n);
    rlx_emit_byte_steps(e, 1, &g->bytes);
    int each = TOGETHER * g->bytes.lanes;
    g->bytes.steps = g->group > each ? g->group / each : 1;
    each *= g->bytes.steps;
    for (g->at = g->first * g->group; f.n < n / each; f.n++, g->at += each) {
        f.vec[f.n] = rlx_emit_no_sum(e, &g->bytes);
        RLX_TRY(rlx_emit_sum_bytes(e, &g->bytes, &f.vec[f.n]));
    }
    f.pairs = g->bytes.in_16;
    registers = f.n;
    fold(e, g, &f);
    *out = in_order(e, g, &f, registers);
    return RLX_OK;
}

static LLVMValueRef twice(rlx_emit *e, LLVMValueRef x)
{
    LLVMValueRef both[] = {x, x};
    return rlx_emit_join(e, both, 2);
}

static rlx_status take_two_codes(void *user, int s, int i, LLVMValueRef *out)
{
    enum { PIECE = TOGETHER * LANES };
    const groups *g = user;
    *out = g->b->piece[(g->part + 2 * i) * g->b->npieces + g->at / PIECE + s];
    return RLX_OK;
}

static rlx_status take_activation_twice(void *user, int s, int i, LLVMValueRef *out)
{
    enum { PIECE = TOGETHER * LANES };
    const groups *g = user;
    LLVMValueRef x;
    (void)i;
    RLX_TRY(rlx_emit_rows_load(g->e, &g->a, g->row, rlx_emit_int(g->e->i64, g->at + s * PIECE),
                               PIECE, &x));
    *out = twice(g->e, x);
    return RLX_OK;
}

/* ---- codes with a sign, as unsigned ones ----
 *
 * Of one row of activations the sums of its groups are made once for all rows of codes: with them
 * magnitudes and signs are spared, two operations for every register. */

/* Elements of a group. */
static int width_of(const rlx_ir_node *n)
{
    return (int)(n->in[1]->type.dim[1] / n->in[4]->type.dim[1]);
}

/* By how much codes are raised that meet one row by itself; 0: they are not. */
static int raised_by(const rlx_emit *e, const rlx_ir_node *n)
{
    const bool one = n->in[1]->type.dim[0] == 1 && !rlx_ir_attr_int(n, RLX_ATTR_TURNED, 0);
    return one && n->in[1]->type.dim[1] % (LANES * SCALED) == 0 ? rlx_emit_raised_by(e, n) : 0;
}

static rlx_status take_one(void *user, int s, int i, LLVMValueRef *out)
{
    const groups *g = user;
    (void)s;
    (void)i;
    *out = rlx_emit_splat(g->e, rlx_emit_int(g->e->i8, 1),
                          rlx_emit_vector(g->e->i8, (int64_t)TOGETHER * g->bytes.lanes));
    return RLX_OK;
}

enum { RUN = 16, PAIR = 2 * RUN, APART = 4 /* groups */ };

/* Runs of eight groups as turn has them: of groups h and h + 4 the first ones, then the second. */
static rlx_status pair_activations(const groups *g, LLVMValueRef to)
{
    rlx_emit *e = g->e;
    for (int i = 0; i < LANES; i++) {
        LLVMValueRef run[2], x;
        const int at = i % APART * SCALED + i / APART * RUN;
        for (int k = 0; k < 2; k++)
            RLX_TRY(rlx_emit_rows_load(
                e, &g->a, g->row, rlx_emit_int(e->i64, at + k * APART * SCALED), RUN, &run[k]));
        x = rlx_emit_join(e, run, 2);
        LLVMValueRef p = rlx_emit_offset(e, e->i8, to, rlx_emit_int(e->i64, i * PAIR));
        LLVMSetAlignment(LLVMBuildStore(e->b, x, p), PAIR);
    }
    return RLX_OK;
}

/* `times` the sums of every group of `count` activations from `row` on; and those by pairs, unless
 * that is NULL. */
static rlx_status sum_activations(rlx_emit *e, LLVMValueRef row, int64_t count, int width,
                                  int times, LLVMValueRef to, LLVMValueRef pairs)
{
    groups g = {.e = e, .group = width, .count = LANES, .row = rlx_emit_int(e->i64, 0)};
    g.bytes = (rlx_emit_byte_sums){.codes = {1, 1},
                                   .rows = 1,
                                   .columns = 1,
                                   .code = take_one,
                                   .activation = take_activation,
                                   .user = &g};
    rlx_emit_loop loop;
    LLVMValueRef sum;
    rlx_emit_loop_begin(e, rlx_emit_int(e->i64, 0), rlx_emit_int(e->i64, count),
                        rlx_emit_int(e->i64, (int64_t)LANES * width), &loop);
    g.a = (rlx_emit_rows){.from = RLX_I8,
                          .to = RLX_I8,
                          .elem = e->i8,
                          .base = rlx_emit_offset(e, e->i8, row, loop.index),
                          .stride = rlx_emit_int(e->i64, 0),
                          .rows = 1};
    RLX_TRY(sum_groups(&g, &sum));
    sum = LLVMBuildMul(e->b, sum, rlx_emit_splat(e, rlx_emit_int(e->i32, times), LLVMTypeOf(sum)),
                       "");
    LLVMValueRef at = LLVMBuildUDiv(e->b, loop.index, rlx_emit_int(e->i64, width), "");
    LLVMSetAlignment(LLVMBuildStore(e->b, sum, rlx_emit_offset(e, e->i32, to, at)), LANES * 4);
    if (pairs)
        RLX_TRY(pair_activations(&g, rlx_emit_offset(e, e->i8, pairs, loop.index)));
    rlx_emit_loop_end(e, &loop);
    return RLX_OK;
}

/* The row of activations is known before the loop, which reads eights of its groups. */
static bool has_row(const rlx_ir_node *loop, const rlx_ir_node *load)
{
    enum { MOST = 64 << 10 };
    if (!load || load->op != RLX_LIR_LOAD || load->parent != loop->blocks[0] || load->in[0]->def ||
        !rlx_emit_defers(load) || rlx_ir_attr(load, RLX_ATTR_LIMITS))
        return false;
    const rlx_ir_type *buffer = &load->in[0]->type;
    return !rlx_emit_made_in(loop->blocks[0], load->in[1]) && buffer->rank == 2 &&
           buffer->format == RLX_I8 && rlx_lir_divisor(load->in[2]) % (LANES * SCALED) == 0 &&
           rlx_dim_is_const(buffer->dim[1]) && buffer->dim[1] % (LANES * SCALED) == 0 &&
           buffer->dim[1] <= MOST;
}

/* Rows that the kernel writes itself could be others when it comes to them again. */
static bool is_written(const rlx_ir_block *block, const rlx_ir_value *buffer)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_STORE && n->in[0] == buffer)
            return true;
        for (int b = 0; b < n->nblock; b++)
            if (is_written(n->blocks[b], buffer))
                return true;
    }
    return false;
}

/* Sums of the row that the loop reads, unless they are of the one that it read last. */
rlx_status rlx_emit_cpu_sum_activations(rlx_emit *e, const rlx_ir_node *loop)
{
    const rlx_ir_node *n = loop->blocks[0]->first, *load;
    while (n && (n->op != RLX_LIR_DOT || !raised_by(e, n) || !has_row(loop, n->in[1]->def)))
        n = n->next;
    if (!n || is_written(e->kernel->body, n->in[1]->def->in[0]))
        return RLX_OK;
    load = n->in[1]->def;
    const rlx_emit_buffer *buffer = rlx_emit_get(e, load->in[0])->buffer;
    const int64_t count = load->in[0]->type.dim[1];
    const int width = width_of(n);
    LLVMTypeRef array = LLVMArrayType2(e->i32, (uint64_t)(count / width));
    LLVMValueRef sums = LLVMBuildAlloca(e->entry, array, "sums"), pairs = NULL,
                 last = LLVMBuildAlloca(e->entry, e->ptr, "last");
    array = LLVMArrayType2(e->i8, (uint64_t)count);
    if (width == SCALED) {
        pairs = LLVMBuildAlloca(e->entry, array, "pairs");
        LLVMSetAlignment(pairs, 64);
    }
    LLVMSetAlignment(sums, 64);
    LLVMBuildStore(e->entry, LLVMConstNull(e->ptr), last);
    LLVMValueRef at = rlx_emit_mul(e->b, rlx_emit_scalar(e, load->in[1]), buffer->stride[0]);
    LLVMValueRef row = rlx_emit_offset(e, e->i8, buffer->base, at);
    LLVMValueRef same =
        LLVMBuildICmp(e->b, LLVMIntEQ, LLVMBuildLoad2(e->b, e->ptr, last, ""), row, "");
    LLVMBasicBlockRef make = rlx_emit_new_block(e, "sum"), made = rlx_emit_new_block(e, "summed");
    LLVMBuildCondBr(e->b, same, made, make);
    LLVMPositionBuilderAtEnd(e->b, make);
    LLVMBuildStore(e->b, row, last);
    RLX_TRY(sum_activations(e, row, count, width, raised_by(e, n), sums, pairs));
    LLVMBuildBr(e->b, made);
    LLVMMoveBasicBlockAfter(made, LLVMGetInsertBlock(e->b));
    LLVMPositionBuilderAtEnd(e->b, made);
    e->summed = n;
    e->activation_sums = sums;
    e->activation_pairs = pairs;
    return RLX_OK;
}

/* Whether the codes of n go raised: sums of its row of activations are there. */
static bool is_raised(const rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_node *s = e->summed, *of = s ? s->in[1]->def : NULL, *load = n->in[1]->def;
    return s && s->parent == n->parent && has_row(n->parent->parent, load) &&
           load->in[0] == of->in[0] && load->in[1] == of->in[1] && raised_by(e, n) > 0 &&
           raised_by(e, n) == raised_by(e, s) && width_of(n) == width_of(s);
}

bool rlx_emit_multiplies_pairs(const rlx_emit *e, const rlx_ir_node *load)
{
    const rlx_ir_node *n = load->next;
    while (n && n->nblock == 0 && (n->op != RLX_LIR_DOT || n->in[3] != load->out[0]))
        n = n->next;
    return n && n->op == RLX_LIR_DOT && rlx_ir_count_uses(load->parent, load->out[0]) == 1 &&
           width_of(n) == SCALED && is_raised(e, n);
}

static void find_less(groups *g, const rlx_ir_node *n)
{
    rlx_emit *e = g->e;
    if (!is_raised(e, n))
        return;
    g->raise = raised_by(e, n);
    LLVMValueRef at = rlx_emit_scalar(e, n->in[1]->def->in[2]);
    LLVMValueRef group = LLVMBuildUDiv(e->b, at, rlx_emit_int(e->i64, g->group), "");
    g->less = rlx_emit_offset(e, e->i32, e->activation_sums, group);
    if (e->activation_pairs)
        g->pairs = rlx_emit_offset(e, e->i8, e->activation_pairs, at);
    g->bytes.codes = (rlx_emit_codes){8, 2 * g->raise};
}

/* Of rows that are turned sums came with them. Codes of two rows were raised as they were loaded, perhaps
 * for a product that is told another bound of them. */
static void find_row_sums(groups *g, const rlx_ir_node *n)
{
    if (!g->turned)
        return;
    g->raise = g->two ? g->b->raised : rlx_emit_raised_by(g->e, n);
    if (g->raise)
        g->bytes.codes = (rlx_emit_codes){8, 2 * g->raise};
}

static rlx_status take_paired_code(void *user, int s, int i, LLVMValueRef *out)
{
    const groups *g = user;
    (void)i;
    *out = g->b->piece[g->part * g->b->npieces + g->at + s * APART];
    *out = rlx_emit_raise(g->e, *out, g->raise);
    return RLX_OK;
}

static rlx_status take_paired_activation(void *user, int s, int i, LLVMValueRef *out)
{
    const groups *g = user;
    rlx_emit *e = g->e;
    (void)i;
    LLVMValueRef at = rlx_emit_int(e->i64, (int64_t)(g->at + s * APART) * PAIR);
    *out = LLVMBuildLoad2(e->b, rlx_emit_vector(e->i8, PAIR),
                          rlx_emit_offset(e, e->i8, g->pairs, at), "");
    LLVMSetAlignment(*out, PAIR);
    return RLX_OK;
}

/* Sums of eight groups that lie in pairs of runs: four registers, each with two groups. */
static rlx_status sum_paired(groups *g, LLVMValueRef *out)
{
    rlx_emit *e = g->e;
    folding f = {.n = APART};
    g->bytes.lanes = LANES;
    g->bytes.code = take_paired_code;
    g->bytes.activation = take_paired_activation;
    rlx_emit_byte_steps(e, SCALED / RUN, &g->bytes);
    for (int h = 0; h < APART; h++) {
        g->at = g->first + h;
        f.vec[h] = rlx_emit_no_sum(e, &g->bytes);
        RLX_TRY(rlx_emit_sum_bytes(e, &g->bytes, &f.vec[h]));
    }
    f.pairs = g->bytes.in_16;
    fold(e, g, &f);
    widen(e, &f, LANES);
    *out = f.vec[0];
    return RLX_OK;
}

static LLVMValueRef take_less_off(const groups *g, LLVMValueRef sum)
{
    rlx_emit *e = g->e;
    LLVMValueRef at = rlx_emit_offset(e, e->i32, g->less, rlx_emit_int(e->i64, g->first));
    LLVMValueRef less = LLVMBuildLoad2(e->b, LLVMTypeOf(sum), at, "");
    LLVMSetAlignment(less, 4);
    return LLVMBuildSub(e->b, sum, less, "");
}

/* ---- groups that are turned ---- */

/* Where eight groups lie side by side: sums of their quads, group by group in the lanes. */
static rlx_status sum_turned(groups *g, LLVMValueRef *out)
{
    rlx_emit *e = g->e;
    const int width = g->group, whole = rlx_emit_register_lanes(e);
    const int lanes = whole < LANES ? LANES : whole, n = LANES * width;
    LLVMValueRef half[2], sum;
    g->bytes.lanes = lanes;
    rlx_emit_byte_steps(e, n / (TOGETHER * lanes), &g->bytes);
    g->bytes.steps = n / (TOGETHER * lanes);
    g->at = g->first * width;
    sum = rlx_emit_no_sum(e, &g->bytes);
    RLX_TRY(rlx_emit_sum_bytes(e, &g->bytes, &sum));
    if (g->bytes.in_16)
        sum = rlx_emit_halves(e, sum, lanes);
    for (int i = 0; i < 2 && lanes > LANES; i++)
        RLX_TRY(rlx_emit_pick(e, sum, i * LANES, 1, LANES, &half[i]));
    if (lanes > LANES)
        sum = LLVMBuildAdd(e->b, half[0], half[1], "");
    *out = sum;
    return RLX_OK;
}

/* Of pairs of rows of b, as many as are multiplied together: i32<16> each. A single one goes in two
 * chains: one would be as long as what a core has under way of the rows that follow. */
static rlx_status sum_pairs(groups *g, LLVMValueRef *out)
{
    rlx_emit *e = g->e;
    const int pairs = g->bytes.columns, steps = g->group / TOGETHER;
    LLVMValueRef sum[MOST_PAIRS];
    g->bytes.lanes = 2 * LANES;
    rlx_emit_byte_steps(e, steps, &g->bytes);
    const int chains = pairs == 1 && !g->bytes.in_16 ? 2 : 1;
    g->bytes.steps = steps / chains;
    g->at = g->first * g->group;
    for (int c = 0; c < chains; c++) {
        for (int i = 0; i < pairs; i++)
            sum[i] = rlx_emit_no_sum(e, &g->bytes);
        RLX_TRY(rlx_emit_sum_bytes(e, &g->bytes, sum));
        for (int i = 0; i < pairs; i++)
            out[i] = c ? LLVMBuildAdd(e->b, out[i], sum[i], "") : sum[i];
        g->at += g->bytes.steps * TOGETHER * LANES;
    }
    for (int i = 0; i < pairs && g->bytes.in_16; i++)
        out[i] = rlx_emit_halves(e, out[i], g->bytes.lanes);
    return RLX_OK;
}

/* The present groups' own of a row of scales, one for every `per` elements. */
static LLVMValueRef scales_of(const groups *g, LLVMValueRef row, int per)
{
    rlx_emit *e = g->e;
    LLVMValueRef mask[LANES];
    for (int h = 0; h < LANES; h++)
        mask[h] = h < g->count ? rlx_emit_int(e->i32, (g->first + h) * g->group / per)
                               : LLVMGetPoison(e->i32);
    row = rlx_emit_as_vector(e, row);
    return LLVMBuildShuffleVector(e->b, row, LLVMGetPoison(LLVMTypeOf(row)),
                                  LLVMConstVector(mask, LANES), "");
}

/* Lanes of the groups that are there, else of the sums before. */
static LLVMValueRef first_lanes(rlx_emit *e, LLVMValueRef sum, LLVMValueRef before, int count)
{
    LLVMValueRef mask[LANES];
    if (count == LANES)
        return sum;
    for (int i = 0; i < LANES; i++)
        mask[i] = rlx_emit_int(e->i32, i < count ? i : LANES + i);
    return LLVMBuildShuffleVector(e->b, sum, before, LLVMConstVector(mask, LANES), "");
}

/* Sums as f32, less what codes have more: integers below 2^24, exact. */
static LLVMValueRef to_float(const groups *g, LLVMValueRef sum)
{
    rlx_emit *e = g->e;
    LLVMTypeRef type = rlx_emit_vector(e->f32, LLVMGetVectorSize(LLVMTypeOf(sum)));
    sum = LLVMBuildSIToFP(e->b, sum, type, "");
    if (!g->xs)
        return sum;
    LLVMValueRef xs = scales_of(g, g->xs, g->group);
    if (LLVMTypeOf(xs) != type)
        xs = twice(e, xs);
    LLVMValueRef raise = rlx_emit_splat(e, LLVMConstReal(e->f32, -g->raise), type);
    return rlx_emit_fma(e, xs, raise, sum);
}

/* A row of a with a row of b, whose scales are sa and sb. */
static rlx_status dot_rows(groups *g, int total, LLVMValueRef sa, LLVMValueRef sb,
                           LLVMValueRef *acc)
{
    rlx_emit *e = g->e;
    for (g->first = 0; g->first < total; g->first += LANES) {
        LLVMValueRef sum, scale;
        g->count = total - g->first < LANES ? total - g->first : LANES;
        RLX_TRY(g->turned      ? sum_turned(g, &sum)
                : g->b->paired ? sum_paired(g, &sum)
                               : sum_groups(g, &sum));
        sum = g->less ? take_less_off(g, sum) : sum;
        scale = LLVMBuildFMul(e->b, scales_of(g, sa, SCALED), scales_of(g, sb, g->group), "");
        sum = rlx_emit_fma(e, scale, to_float(g, sum), *acc);
        *acc = first_lanes(e, sum, *acc, g->count);
    }
    return RLX_OK;
}

/* A row of a with pairs of rows of b, each in the lanes of one register. */
static rlx_status dot_pairs(groups *g, int total, LLVMValueRef sa, LLVMValueRef *const sb,
                            LLVMValueRef *acc)
{
    rlx_emit *e = g->e;
    const int pairs = g->bytes.columns;
    LLVMValueRef to[MOST_PAIRS], sum[MOST_PAIRS];
    for (int i = 0; i < pairs; i++)
        to[i] = rlx_emit_join(e, acc + 2 * i, 2);
    g->count = LANES;
    for (g->first = 0; g->first < total; g->first += LANES) {
        RLX_TRY(sum_pairs(g, sum));
        LLVMValueRef a = twice(e, scales_of(g, sa, SCALED));
        for (int i = 0; i < pairs; i++) {
            LLVMValueRef b[] = {scales_of(g, sb[2 * i], g->group),
                                scales_of(g, sb[2 * i + 1], g->group)};
            LLVMValueRef scale = LLVMBuildFMul(e->b, a, rlx_emit_join(e, b, 2), "");
            to[i] = rlx_emit_fma(e, scale, to_float(g, sum[i]), to[i]);
        }
    }
    for (int i = 0; i < 2 * pairs; i++)
        RLX_TRY(rlx_emit_pick(e, to[i / 2], i % 2 * LANES, 1, LANES, &acc[i]));
    return RLX_OK;
}

rlx_status rlx_emit_cpu_dot(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]), *sa = rlx_emit_get(e, n->in[2]),
                        *sb = rlx_emit_get(e, n->in[4]);
    int64_t N = n->out[0]->type.dim[1], K = n->in[1]->type.dim[1];
    int total = (int)n->in[4]->type.dim[1];
    groups g = {.e = e, .b = rlx_emit_get(e, n->in[3]), .group = (int)(K / total)};
    g.turned = rlx_ir_attr_int(n, RLX_ATTR_TURNED, 0);
    g.two = g.b->two;
    g.bytes = (rlx_emit_byte_sums){.codes = rlx_emit_codes_of(n),
                                   .rows = 1,
                                   .columns = g.two && N % 4 == 0 ? MOST_PAIRS : 1,
                                   .once = !g.turned && n->out[0]->type.dim[0] == 1,
                                   .code = g.two ? take_two_codes : take_code,
                                   .activation = g.two ? take_activation_twice : take_activation,
                                   .user = &g};
    rlx_emit_tile *out;
    find_less(&g, n);
    find_row_sums(&g, n);
    RLX_TRY(rlx_emit_rows_init(e, n, 1, &g.a));
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++)
        out->part[p] = acc->part[p];
    for (int p = 0; p < out->n; p += g.two ? 2 * g.bytes.columns : 1) {
        g.row = rlx_emit_int(e->i64, p / N);
        g.part = (int)(p % N);
        g.xs = g.turned && g.raise ? rlx_emit_get(e, n->in[5])->part[p / N] : NULL;
        if (g.two)
            RLX_TRY(dot_pairs(&g, total, sa->part[p / N], sb->part + p % N, &out->part[p]));
        else
            RLX_TRY(dot_rows(&g, total, sa->part[p / N], sb->part[p % N], &out->part[p]));
    }
    return RLX_OK;
}
