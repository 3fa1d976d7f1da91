#include "jit/llvm_emit.h"

#include <string.h>

/* Products of codes and of panels on the CPU. */

enum { LANES = 16, TOGETHER = 4 };

static LLVMTypeRef of(LLVMTypeRef elem, int64_t n)
{
    return LLVMVectorType(elem, (unsigned)n);
}

/* Elements first, first + step, .. of x, n of them. */
static rlx_status pick(rlx_emit *e, LLVMValueRef x, int64_t first, int64_t step, int64_t n,
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

/* A row as a vector, also when it has one element. */
static LLVMValueRef vector(rlx_emit *e, LLVMValueRef row)
{
    LLVMTypeRef type = LLVMTypeOf(row);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind
               ? row
               : LLVMBuildBitCast(e->b, row, of(type, 1), "");
}

/* Element i of a row in every lane of a vector of n. */
static LLVMValueRef spread(rlx_emit *e, LLVMValueRef row, int64_t i, int64_t n)
{
    LLVMValueRef x = LLVMBuildExtractElement(e->b, vector(e, row), rlx_emit_int(e->i32, i), "");
    return rlx_emit_splat(e, x, of(LLVMTypeOf(x), n));
}

static LLVMValueRef fma_of(rlx_emit *e, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z)
{
    LLVMValueRef args[] = {x, y, z};
    return rlx_emit_intrinsic(e, "llvm.fma", LLVMTypeOf(z), args, 3);
}

/* acc + x * y, of bytes in i32; `is_signed` is y's. */
static LLVMValueRef add_products(rlx_emit *e, LLVMValueRef acc, LLVMValueRef x, LLVMValueRef y,
                                 bool is_signed)
{
    LLVMTypeRef type = LLVMTypeOf(acc);
    x = LLVMBuildSExt(e->b, x, type, "");
    y = is_signed ? LLVMBuildSExt(e->b, y, type, "") : LLVMBuildZExt(e->b, y, type, "");
    return LLVMBuildAdd(e->b, acc, LLVMBuildMul(e->b, x, y, ""), "");
}

/* ---- dot ---- */

/* The 16 sums of 4 products that begin at element k. */
static rlx_status dot_sums(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, int64_t k, bool is_signed,
                           LLVMValueRef *out)
{
    *out = LLVMConstNull(of(e->i32, LANES));
    for (int c = 0; c < TOGETHER; c++) {
        LLVMValueRef x, y;
        RLX_TRY(pick(e, a, k + c, TOGETHER, LANES, &x));
        RLX_TRY(pick(e, b, k + c, TOGETHER, LANES, &y));
        *out = add_products(e, *out, x, y, is_signed);
    }
    return RLX_OK;
}

/* Each lane's own of the scales of groups of `group` elements, from element k. */
static rlx_status dot_scales(rlx_emit *e, LLVMValueRef row, int64_t k, int64_t group,
                             LLVMValueRef *out)
{
    LLVMValueRef mask[LANES];
    for (int l = 0; l < LANES; l++)
        mask[l] = rlx_emit_int(e->i32, (k + TOGETHER * l) / group);
    *out = LLVMBuildShuffleVector(e->b, row, LLVMGetPoison(LLVMTypeOf(row)),
                                  LLVMConstVector(mask, LANES), "");
    return RLX_OK;
}

rlx_status rlx_emit_cpu_dot(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in[5];
    for (int i = 0; i < 5; i++)
        in[i] = rlx_emit_get(e, n->in[i]);
    int64_t N = n->out[0]->type.dim[1], K = n->in[1]->type.dim[1];
    int64_t group = K / n->in[4]->type.dim[1];
    bool is_signed = n->in[3]->type.format == RLX_I8;
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef acc = in[0]->part[p], sum, sa, sb;
        int64_t row = p / N, column = p % N;
        for (int64_t k = 0; k < K; k += LANES * TOGETHER) {
            RLX_TRY(dot_sums(e, in[1]->part[row], in[3]->part[column], k, is_signed, &sum));
            RLX_TRY(dot_scales(e, in[2]->part[row], k, 32, &sa));
            RLX_TRY(dot_scales(e, in[4]->part[column], k, group, &sb));
            sum = LLVMBuildSIToFP(e->b, sum, LLVMTypeOf(acc), "");
            acc = fma_of(e, LLVMBuildFMul(e->b, sa, sb, ""), sum, acc);
        }
        out->part[p] = acc;
    }
    return RLX_OK;
}

/* ---- panels ---- */

typedef struct panel {
    const rlx_emit_tile *a, *sa, *b, *sb, *xs, *mins;
    int64_t columns, group; /* N, G */
    bool is_signed;
} panel;

/* Row m's sums over group h, one per column. */
static rlx_status group_sums(rlx_emit *e, const panel *p, int64_t m, int64_t h, LLVMValueRef *out)
{
    *out = LLVMConstNull(of(e->i32, p->columns));
    for (int64_t k = h * p->group; k < (h + 1) * p->group; k++) {
        LLVMValueRef y;
        RLX_TRY(pick(e, p->b->part[k / TOGETHER], k % TOGETHER, TOGETHER, p->columns, &y));
        *out = add_products(e, *out, spread(e, p->a->part[m], k, p->columns), y, p->is_signed);
    }
    return RLX_OK;
}

rlx_status rlx_emit_cpu_dot_panel(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in[7] = {NULL};
    for (int i = 0; i < n->nin; i++)
        in[i] = rlx_emit_get(e, n->in[i]);
    int64_t groups = n->in[4]->type.dim[0];
    panel p = {.a = in[1],
               .sa = in[2],
               .b = in[3],
               .sb = in[4],
               .xs = in[5],
               .mins = in[6],
               .columns = n->out[0]->type.dim[1],
               .group = n->in[1]->type.dim[1] / groups,
               .is_signed = n->in[3]->type.format == RLX_I8};
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int m = 0; m < out->n; m++) {
        LLVMValueRef acc = vector(e, in[0]->part[m]), sum;
        for (int64_t h = 0; h < groups; h++) {
            RLX_TRY(group_sums(e, &p, m, h, &sum));
            sum = LLVMBuildSIToFP(e->b, sum, LLVMTypeOf(acc), "");
            LLVMValueRef scale = spread(e, p.sa->part[m], h * p.group / 32, p.columns);
            scale = LLVMBuildFMul(e->b, scale, vector(e, p.sb->part[h]), "");
            acc = fma_of(e, scale, sum, acc);
            if (!p.mins)
                continue;
            LLVMValueRef x = LLVMBuildFNeg(e->b, spread(e, p.xs->part[m], h, p.columns), "");
            acc = fma_of(e, x, vector(e, p.mins->part[h]), acc);
        }
        out->part[m] = LLVMBuildBitCast(e->b, acc, LLVMTypeOf(in[0]->part[m]), "");
    }
    return RLX_OK;
}

rlx_status rlx_emit_cpu_outer(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]);
    const rlx_emit_tile *a = rlx_emit_get(e, n->in[1]), *b = rlx_emit_get(e, n->in[2]);
    int64_t N = n->out[0]->type.dim[1];
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int m = 0; m < out->n; m++) {
        LLVMValueRef sum = vector(e, acc->part[m]);
        for (int k = 0; k < b->n; k++)
            sum = fma_of(e, spread(e, a->part[m], k, N), vector(e, b->part[k]), sum);
        out->part[m] = LLVMBuildBitCast(e->b, sum, LLVMTypeOf(acc->part[m]), "");
    }
    return RLX_OK;
}

/* ---- pack ---- */

rlx_status rlx_emit_cpu_pack(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *x = rlx_emit_get(e, n->in[0]);
    int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1), rows = n->in[0]->type.dim[0];
    LLVMTypeRef type = e->engine->part_type(e, &n->out[0]->type);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    for (int i = 0; i < out->n; i++) {
        if (rows * width == 1) {
            out->part[i] =
                LLVMBuildExtractElement(e->b, vector(e, x->part[0]), rlx_emit_int(e->i32, i), "");
            continue;
        }
        out->part[i] = LLVMGetPoison(type);
        for (int64_t k = 0; k < rows * width; k++) {
            LLVMValueRef from = rlx_emit_int(e->i32, i * width + k % width);
            LLVMValueRef v = LLVMBuildExtractElement(e->b, vector(e, x->part[k / width]), from, "");
            out->part[i] =
                LLVMBuildInsertElement(e->b, out->part[i], v, rlx_emit_int(e->i32, k), "");
        }
    }
    return RLX_OK;
}
