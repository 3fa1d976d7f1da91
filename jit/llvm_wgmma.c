#include "jit/llvm_wgmma.h"

#include <string.h>

/* dot_rows by wgmma (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"; sm_90a alone).
 *
 *   m64nNk32: 64 columns (weights: A, from registers) x N rows (tokens: B, from team memory)
 *
 * Codes of both go to the exchange. A token's 16 bytes of K lie behind those of the token before it:
 * eight of them are a core matrix of the unit's layout without a swizzle, and the next 16 bytes of K
 * lie 16 bytes further than all tokens, so that neither copies nor the unit meet in a bank. Tokens in a ring
 * stay there: its swizzle is one of the unit's layouts, too. What was written to the exchange is shown to the
 * unit by fence.proxy.async, before the barrier; what is in a ring, behind the wait for it.
 *
 * A multiplication is one group of K of 64 columns and up to 32 tokens: more of them would be more
 * registers for sums, and the unit waits for what comes after it as it is. Sums leave it after each, as
 * a group's scale wants them, but while they are converted, scaled and added the next one runs:
 *
 *   begin 0;  for q { begin q + 1; wait for all but that; acc = fma(sa * sb, sums of q, acc) }
 *
 * Sums that are under way are registers that only the unit and the wait for them touch: ptxas would put
 * an end to the overlap otherwise, and say so. Groups of 16 are multiplications of 32, half of A zeros. */

enum {
    PER_SCALE = 32,
    PIECE = 16,
    OCTET = 8,
    WORD = 4,
    ROW_PAD = 16,
    WORDS = 4, /* of A that an invocation has */
    SUMS = 4,  /* of 64 columns and 8 tokens that it has: two columns, two tokens */
    FLYING = 2,
    MOST_TOKENS = 32, /* of a multiplication */
    MOST_SUMS = MOST_TOKENS / OCTET * SUMS,
    MOST_REGISTERS = MOST_SUMS + WORDS + 1
};

/* As bits of an f32 1.5 * 2^23, to which a sum below 2^22 adds its own value. */
enum { FROM = 0x4B400000 };
static const double from_value = 0x1.8p+23;

/* ---- where operands are ---- */

typedef struct places {
    int64_t base[7]; /* bytes in the exchange */
    bool kept[7];    /* it stays in team memory, where a ring or scales beside it are */
    int64_t apart;   /* of the pieces of K of a token */
    int64_t stride;  /* of rows of weights */
    int64_t bytes;
} places;

static bool is_codes(int operand)
{
    return operand == 1 || operand == 3;
}

static places places_of(const rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *a = &n->in[1]->type, *b = &n->in[3]->type;
    places p = {.apart = a->dim[0] * PIECE + PIECE, .stride = b->dim[1] + ROW_PAD};
    for (int i = 1; i < n->nin; i++) {
        p.base[i] = p.bytes;
        p.kept[i] = rlx_emit_matrix_kept(e, n->in[i]) != NULL;
        if (p.kept[i])
            continue;
        if (is_codes(i))
            p.bytes += i == 1 ? a->dim[1] / PIECE * p.apart : b->dim[0] * p.stride;
        else
            p.bytes += rlx_emit_team_tile_bytes(e, &n->in[i]->type);
    }
    return p;
}

int64_t rlx_emit_wgmma_bytes(const rlx_emit *e, const rlx_ir_node *n)
{
    return places_of(e, n).bytes;
}

static LLVMValueRef turned(rlx_emit *e, LLVMValueRef i, LLVMValueRef j, int64_t rows)
{
    return rlx_emit_add(e->b, rlx_emit_mul(e->b, j, rlx_emit_int(e->i32, rows)), i);
}

static rlx_status put_operands(rlx_emit *e, const rlx_ir_node *n, const places *at)
{
    bool copies = false;
    if (at->kept[3])
        return rlx_emit_unsupported(e, n, "weights in rings");
    for (int i = 1; i < n->nin; i++) {
        if (at->kept[i])
            continue;
        copies |= rlx_emit_matrix_is_copied(e, n->in[i]);
        LLVMValueRef to = rlx_emit_offset(e, e->i8, e->exchange, rlx_emit_int(e->i64, at->base[i]));
        if (i == 1)
            RLX_TRY(rlx_emit_matrix_put_pieces(e, n, n->in[i], to, at->apart));
        else if (i == 3)
            rlx_emit_matrix_put_rows(e, n->in[i], to, at->stride);
        else
            rlx_emit_team_put_by(e, n->in[i], to, turned, n->in[i]->type.dim[0]);
    }
    if (copies)
        e->engine->copies_end(e);
    return RLX_OK;
}

/* ---- instructions ---- */

typedef struct wgmma {
    const rlx_ir_node *node;
    const rlx_matrix_unit *unit;
    places at;
    rlx_emit_rows rows[7]; /* where those that are kept lie */
    rlx_emit_fragments of;
    int64_t groups, size; /* of K: how many, elements of one */
    int64_t octets,
        pieces; /* tokens of a multiplication; how many there are of a group and column */
    int sums;   /* of a multiplication, of an invocation */
    LLVMTypeRef registers; /* that many */
    LLVMValueRef tokens;   /* the matrix descriptor of the first ones at K's begin, i64 */
    LLVMValueRef word[WORDS], scale[2], least[2]; /* of the columns of all pieces */
    rlx_text multiply, multiply_operands, wait_operands;
} wgmma;

LLVMValueRef rlx_emit_assemble(rlx_emit *e, const char *name, LLVMTypeRef type, const char *text,
                               const char *operands, LLVMValueRef *args, int n, int told)
{
    LLVMValueRef call;
    LLVMTypeRef params[RLX_WGMMA_ARGUMENTS];
    if (rlx_emit_emulated(e, name, type, args, n, &call))
        return call;
    for (int i = told; i < n; i++)
        params[i - told] = LLVMTypeOf(args[i]);
    LLVMTypeRef of = LLVMFunctionType(type, params, (unsigned)(n - told), false);
    LLVMValueRef code = LLVMGetInlineAsm(of, text, strlen(text), operands, strlen(operands), true,
                                         false, LLVMInlineAsmDialectATT, false);
    call = LLVMBuildCall2(e->b, of, code, args + told, (unsigned)(n - told), "");
    rlx_emit_converge(e, call);
    return call;
}

void rlx_emit_show_to_unit(rlx_emit *e)
{
    rlx_emit_assemble(e, "fence.proxy.async", LLVMVoidTypeInContext(e->cx),
                      "fence.proxy.async.shared::cta;", "~{memory}", NULL, 0, 0);
}

void rlx_emit_put_registers(rlx_text *t, int first, int n)
{
    for (int i = 0; i < n; i++)
        rlx_text_putf(t, "%s$%d", i ? ", " : "{", first + i);
    rlx_text_put(t, "}");
}

/* Without what was in the sums: by a predicate that is false. */
static rlx_status write_texts(wgmma *x)
{
    rlx_text *t = &x->multiply;
    rlx_text_putf(t,
                  "{\n\t.reg .pred adds;\n\tsetp.ne.b32 adds, 0, 0;\n\t"
                  "wgmma.fence.sync.aligned;\n\t"
                  "wgmma.mma_async.sync.aligned.m64n%lldk32.s32.s8.s8 ",
                  (long long)x->octets * OCTET);
    rlx_emit_put_registers(t, 0, x->sums);
    rlx_text_put(t, ", ");
    rlx_emit_put_registers(t, x->sums, WORDS);
    rlx_text_putf(t, ", $%d, adds;\n\twgmma.commit_group.sync.aligned;\n\t}", x->sums + WORDS);
    for (int i = 0; i < x->sums; i++) {
        rlx_text_put(&x->multiply_operands, "=r,");
        rlx_text_put(&x->wait_operands, "=r,");
    }
    rlx_text_put(&x->multiply_operands, "r,r,r,r,l,~{memory}");
    for (int i = 0; i < x->sums; i++)
        rlx_text_putf(&x->wait_operands, "%d,", i);
    rlx_text_put(&x->wait_operands, "~{memory}");
    return t->oom || x->multiply_operands.oom || x->wait_operands.oom ? RLX_OOM() : RLX_OK;
}

static LLVMValueRef load(rlx_emit *e, LLVMTypeRef type, int64_t base, LLVMValueRef at, int align)
{
    at = rlx_emit_add(e->b, at, rlx_emit_int(e->i32, base));
    LLVMValueRef v =
        LLVMBuildLoad2(e->b, type, LLVMBuildGEP2(e->b, e->i8, e->exchange, &at, 1, ""), "");
    LLVMSetAlignment(v, (unsigned)align);
    return v;
}

LLVMValueRef rlx_emit_own_address(rlx_emit *e, LLVMValueRef p)
{
    LLVMValueRef at = LLVMBuildPtrToInt(e->b, p, e->i64, "");
    if (e->target->kind != RLX_JIT_CPU)
        return at;
    return LLVMBuildSub(e->b, at, LLVMBuildPtrToInt(e->b, e->memory, e->i64, ""), "");
}

/* "Matrix Descriptor Format", in units of 16 bytes. */
enum { ADDRESS_BITS = 14, APART_AT = 16, OCTET_AT = 32, SWIZZLE_AT = 62 };

static LLVMValueRef address_of(rlx_emit *e, LLVMValueRef p)
{
    LLVMValueRef at = rlx_emit_own_address(e, p);
    at = LLVMBuildUDiv(e->b, at, rlx_emit_int(e->i64, PIECE), "");
    return LLVMBuildAnd(e->b, at, rlx_emit_int(e->i64, (1 << ADDRESS_BITS) - 1), "");
}

/* Address, from piece to piece of K, from eight rows to the next; no swizzle. */
static LLVMValueRef descriptor(rlx_emit *e, const wgmma *x)
{
    if (x->at.kept[1]) {
        const rlx_emit_rows *r = &x->rows[1];
        LLVMValueRef first = rlx_emit_mul(e->b, x->of.row, rlx_emit_int(e->i32, r->stride));
        return rlx_emit_wgmma_rows(e, LLVMBuildGEP2(e->b, e->i8, r->at, &first, 1, ""), r->stride);
    }
    LLVMValueRef at = rlx_emit_mul(e->b, x->of.row, rlx_emit_int(e->i32, PIECE));
    at = rlx_emit_add(e->b, at, rlx_emit_int(e->i32, x->at.base[1]));
    at = address_of(e, LLVMBuildGEP2(e->b, e->i8, e->exchange, &at, 1, ""));
    const int64_t strides = x->at.apart / PIECE << APART_AT | (int64_t)OCTET << OCTET_AT;
    return LLVMBuildOr(e->b, at, rlx_emit_int(e->i64, strides), "");
}

/* Swizzles of 128, 64 and 32 bytes are numbers 1, 2 and 3; from piece to piece says nothing there. */
LLVMValueRef rlx_emit_wgmma_rows(rlx_emit *e, LLVMValueRef p, int64_t row_bytes)
{
    enum { WIDEST = 128, TWO = 64 };
    const uint64_t swizzle = row_bytes == WIDEST ? 1 : row_bytes == TWO ? 2 : 3;
    const uint64_t form = (uint64_t)1 << APART_AT |
                          (uint64_t)(row_bytes * OCTET / PIECE) << OCTET_AT | swizzle << SWIZZLE_AT;
    return LLVMBuildOr(e->b, address_of(e, p), rlx_emit_int(e->i64, (int64_t)form), "");
}

/* ---- multiplications ---- */

typedef struct which {
    int64_t group;       /* of K */
    int64_t side, piece; /* fragments from the first column; pieces from the first token */
} which;

static which number(const wgmma *x, int64_t q)
{
    return (which){q / x->pieces / x->of.across, q / x->pieces % x->of.across, q % x->pieces};
}

/* A column: the i-th that this invocation has. */
static LLVMValueRef column(rlx_emit *e, const wgmma *x, const rlx_matrix_axis *axis, which q, int i)
{
    LLVMValueRef first = rlx_emit_int(e->i32, q.side * x->unit->n);
    first = rlx_emit_add(e->b, first, x->of.column);
    return rlx_emit_add(e->b, first, rlx_emit_matrix_along(e, axis, i));
}

/* Words of A: zeros for a half of K that is another group's. */
static void get_words(rlx_emit *e, wgmma *x, which q)
{
    const int64_t k = q.group * x->size, whole = k - k % PER_SCALE;
    for (int w = 0; w < WORDS; w++) {
        const bool other = rlx_matrix_offset(&x->unit->b_k, w) / x->size != (k - whole) / x->size;
        LLVMValueRef at = rlx_emit_mul(e->b, column(e, x, &x->unit->b_column, q, w),
                                       rlx_emit_int(e->i32, x->at.stride));
        at = rlx_emit_add(e->b, at, rlx_emit_matrix_along(e, &x->unit->b_k, w));
        x->word[w] =
            other ? rlx_emit_int(e->i32, 0) : load(e, e->i32, x->at.base[3] + whole, at, WORD);
    }
}

static LLVMValueRef begin(rlx_emit *e, wgmma *x, which q)
{
    const int64_t whole = q.group * x->size / PER_SCALE, token = q.piece * x->octets * OCTET;
    const int64_t from = x->at.kept[1] ? whole * PER_SCALE + token * x->rows[1].stride
                                       : whole * (PER_SCALE / PIECE) * x->at.apart + token * PIECE;
    LLVMValueRef args[1 + WORDS + 1] = {rlx_emit_int(e->i32, x->octets * OCTET)};
    if (!q.piece)
        get_words(e, x, q);
    memcpy(&args[1], x->word, sizeof x->word);
    args[1 + WORDS] = LLVMBuildAdd(e->b, x->tokens, rlx_emit_int(e->i64, from / PIECE), "");
    return rlx_emit_assemble(e, "wgmma.mma_async", x->registers, x->multiply.data,
                             x->multiply_operands.data, args, 1 + WORDS + 1, 1);
}

/* Its sums, when all but the `flying` last multiplications are done. */
static void wait(rlx_emit *e, const wgmma *x, int flying, LLVMValueRef begun, LLVMValueRef *sum)
{
    static const char *const text[FLYING] = {"wgmma.wait_group.sync.aligned 0;",
                                             "wgmma.wait_group.sync.aligned 1;"};
    LLVMValueRef args[2 + MOST_SUMS] = {rlx_emit_int(e->i32, flying),
                                        rlx_emit_int(e->i32, x->sums)};
    for (int i = 0; i < x->sums; i++)
        args[2 + i] = LLVMBuildExtractValue(e->b, begun, (unsigned)i, "");
    LLVMValueRef all = rlx_emit_assemble(e, "wgmma.wait_group", x->registers, text[flying],
                                         x->wait_operands.data, args, 2 + x->sums, 2);
    for (int i = 0; i < x->sums; i++)
        sum[i] = LLVMBuildExtractValue(e->b, all, (unsigned)i, "");
}

static LLVMValueRef of_column(rlx_emit *e, const wgmma *x, int operand, which q, int i)
{
    LLVMValueRef at = column(e, x, &x->unit->column, q, i);
    const int64_t begin = q.group * x->node->in[operand]->type.dim[0] * WORD;
    return load(e, e->f32, x->at.base[operand] + begin,
                rlx_emit_mul(e->b, at, rlx_emit_int(e->i32, WORD)), WORD);
}

/* A value for each group of K side by side. */
static LLVMValueRef of_kept_tokens(rlx_emit *e, const rlx_emit_rows *r, LLVMValueRef token,
                                   int64_t group)
{
    LLVMValueRef both = LLVMGetUndef(LLVMVectorType(e->f32, 2));
    LLVMValueRef first = rlx_emit_mul(e->b, token, rlx_emit_int(e->i32, r->stride));
    LLVMValueRef at = LLVMBuildGEP2(e->b, e->i8, r->at, &first, 1, "");
    for (int i = 0; i < 2; i++) {
        LLVMValueRef p =
            rlx_emit_offset(e, e->i8, at, rlx_emit_int(e->i64, i * r->stride + group * WORD));
        LLVMValueRef v = LLVMBuildLoad2(e->b, e->f32, p, "");
        LLVMSetAlignment(v, WORD);
        both = LLVMBuildInsertElement(e->b, both, v, rlx_emit_int(e->i32, i), "");
    }
    return both;
}

/* Of the two tokens, neighbours, that it has of an octet. */
static LLVMValueRef of_tokens(rlx_emit *e, const wgmma *x, int operand, int64_t group,
                              int64_t octet)
{
    LLVMValueRef at = rlx_emit_matrix_along(e, &x->unit->row, 0);
    at = rlx_emit_add(e->b, at, x->of.row);
    at = rlx_emit_add(e->b, at, rlx_emit_int(e->i32, octet * OCTET));
    if (x->at.kept[operand])
        return of_kept_tokens(e, &x->rows[operand], at, group);
    const int64_t begin = group * x->node->in[operand]->type.dim[0] * WORD;
    return load(e, LLVMVectorType(e->f32, 2), x->at.base[operand] + begin,
                rlx_emit_mul(e->b, at, rlx_emit_int(e->i32, WORD)), 2 * WORD);
}

static void get_scales(rlx_emit *e, wgmma *x, which q)
{
    for (int i = 0; i < 2; i++) {
        x->scale[i] = of_column(e, x, 4, q, 2 * i);
        if (x->node->nin == 7)
            x->least[i] = LLVMBuildFNeg(e->b, of_column(e, x, 6, q, 2 * i), "");
    }
}

static LLVMValueRef value_of(rlx_emit *e, LLVMValueRef sum)
{
    sum = LLVMBuildAdd(e->b, sum, rlx_emit_int(e->i32, FROM), "");
    sum = LLVMBuildBitCast(e->b, sum, e->f32, "");
    return LLVMBuildFSub(e->b, sum, LLVMConstReal(e->f32, from_value), "");
}

/* acc[0 ..] += the sums of an octet, scaled, and minima. */
static void add_octet(rlx_emit *e, const wgmma *x, which q, int64_t octet, const LLVMValueRef *sum,
                      LLVMValueRef *acc)
{
    const bool minima = x->node->nin == 7;
    LLVMValueRef sa = of_tokens(e, x, 2, q.group * x->size / PER_SCALE, octet);
    LLVMValueRef xs = minima ? of_tokens(e, x, 5, q.group, octet) : NULL;
    for (int i = 0; i < SUMS; i++) {
        LLVMValueRef token = rlx_emit_int(e->i32, i % 2);
        LLVMValueRef s = LLVMBuildExtractElement(e->b, sa, token, "");
        LLVMValueRef args[3] = {LLVMBuildFMul(e->b, s, x->scale[i / 2], ""), value_of(e, sum[i]),
                                acc[i]};
        acc[i] = rlx_emit_intrinsic(e, "llvm.fma", e->f32, args, 3);
        if (!minima)
            continue;
        LLVMValueRef less[3] = {LLVMBuildExtractElement(e->b, xs, token, ""), x->least[i / 2],
                                acc[i]};
        acc[i] = rlx_emit_intrinsic(e, "llvm.fma", e->f32, less, 3);
    }
}

static void add(rlx_emit *e, wgmma *x, which q, const LLVMValueRef *sum, LLVMValueRef *acc)
{
    if (!q.piece)
        get_scales(e, x, q);
    for (int64_t i = 0; i < x->octets; i++) {
        const int64_t octet = q.piece * x->octets + i;
        add_octet(e, x, q, octet, sum + i * SUMS, acc + (octet * x->of.across + q.side) * SUMS);
    }
}

static void multiply_all(rlx_emit *e, wgmma *x, LLVMValueRef *acc)
{
    const int64_t all = x->groups * x->of.across * x->pieces;
    LLVMValueRef begun[FLYING], sum[MOST_SUMS];
    begun[0] = begin(e, x, number(x, 0));
    for (int64_t q = 0; q < all; q++) {
        const bool more = q + 1 < all;
        if (more)
            begun[(q + 1) % FLYING] = begin(e, x, number(x, q + 1));
        wait(e, x, more, begun[q % FLYING], sum);
        add(e, x, number(x, q), sum, acc);
    }
}

static rlx_status init(rlx_emit *e, const rlx_ir_node *n, wgmma *x)
{
    LLVMTypeRef of[MOST_SUMS];
    *x = (wgmma){.node = n,
                 .unit = e->target->matrix,
                 .at = places_of(e, n),
                 .groups = n->in[4]->type.dim[1],
                 .octets = MOST_TOKENS / OCTET};
    if (!rlx_emit_matrix_fragments(e, &n->out[0]->type, &x->of))
        return rlx_emit_unsupported(e, n, "tiles that are no fragments");
    x->size = n->in[1]->type.dim[1] / x->groups;
    while (x->of.down % x->octets)
        x->octets--;
    x->pieces = x->of.down / x->octets;
    x->sums = (int)x->octets * SUMS;
    for (int i = 0; i < x->sums; i++)
        of[i] = e->i32;
    x->registers = LLVMStructTypeInContext(e->cx, of, (unsigned)x->sums, false);
    return write_texts(x);
}

static rlx_status multiply(rlx_emit *e, const rlx_ir_node *n, wgmma *x)
{
    rlx_emit_tile *out;
    RLX_TRY(init(e, n, x));
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    memcpy(out->part, rlx_emit_get(e, n->in[0])->part, sizeof *out->part * (size_t)out->n);
    RLX_TRY(put_operands(e, n, &x->at));
    for (int i = 1; i < n->nin; i++)
        if (x->at.kept[i])
            x->rows[i] = rlx_emit_rows_of(e, rlx_emit_matrix_kept(e, n->in[i]), &n->in[i]->type);
    rlx_emit_show_to_unit(e);
    e->engine->barrier(e);
    x->tokens = descriptor(e, x);
    multiply_all(e, x, out->part);
    e->engine->barrier(e);
    return RLX_OK;
}

rlx_status rlx_emit_wgmma_dot_rows(rlx_emit *e, const rlx_ir_node *n)
{
    wgmma x;
    rlx_status st = multiply(e, n, &x);
    rlx_text_deinit(&x.multiply);
    rlx_text_deinit(&x.multiply_operands);
    rlx_text_deinit(&x.wait_operands);
    return st;
}
