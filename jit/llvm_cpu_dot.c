#include "jit/llvm_cpu.h"

#include <string.h>

/* Products of codes by lanes. */

enum { LANES = 16, TOGETHER = 4, SCALED = 32 /* elements per scale of activations */ };

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

/* ---- dot ---- */

/* One row of activations and one of codes. */
typedef struct pair {
    rlx_emit *e;
    LLVMValueRef a, b;
    int64_t at; /* the first element */
    int lanes;
} pair;

static rlx_status take_code(void *user, int s, int i, LLVMValueRef *out)
{
    const pair *p = user;
    (void)s;
    (void)i;
    return rlx_emit_pick(p->e, p->b, p->at, 1, TOGETHER * p->lanes, out);
}

static rlx_status take_activation(void *user, int s, int i, LLVMValueRef *out)
{
    const pair *p = user;
    (void)s;
    (void)i;
    return rlx_emit_pick(p->e, p->a, p->at, 1, TOGETHER * p->lanes, out);
}

/* The scales of the lanes from element k, of groups of `group`, out of memory: a broadcast of one
 * element is a plain load, where a shuffle across a register takes several operations. */
static LLVMValueRef scales_of(rlx_emit *e, LLVMValueRef scales, int64_t k, int64_t group, int lanes)
{
    LLVMValueRef mask[LANES];
    int64_t each = TOGETHER * lanes / group; /* scales in a register of lanes */
    LLVMValueRef at = rlx_emit_offset(e, e->f32, scales, rlx_emit_int(e->i64, k / group));
    LLVMValueRef v =
        LLVMBuildLoad2(e->b, each > 1 ? rlx_emit_vector(e->f32, each) : e->f32, at, "");
    LLVMSetAlignment(v, 4);
    if (each <= 1)
        return rlx_emit_splat(e, v, rlx_emit_vector(e->f32, lanes));
    for (int l = 0; l < lanes; l++)
        mask[l] = rlx_emit_int(e->i32, TOGETHER * l / group);
    return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)),
                                  LLVMConstVector(mask, (unsigned)lanes), "");
}

/* Puts a row on the stack. */
static LLVMValueRef to_stack(rlx_emit *e, LLVMValueRef row)
{
    LLVMValueRef p = LLVMBuildAlloca(e->entry, LLVMTypeOf(row), "scales");
    LLVMSetAlignment(p, 64);
    LLVMSetAlignment(LLVMBuildStore(e->b, row, p), 4);
    return p;
}

/* Every group's own of the scales of activations, one per 32 elements. */
static LLVMValueRef by_groups(rlx_emit *e, LLVMValueRef row, int64_t K, int64_t group,
                              LLVMValueRef *mask)
{
    if (group == SCALED)
        return row;
    for (int64_t h = 0; h < K / group; h++)
        mask[h] = rlx_emit_int(e->i32, h * group / SCALED);
    return LLVMBuildShuffleVector(e->b, row, LLVMGetPoison(LLVMTypeOf(row)),
                                  LLVMConstVector(mask, (unsigned)(K / group)), "");
}

/* A row of a with a row of b: acc, its 16 lanes in registers. */
static rlx_status dot_rows(rlx_emit *e, const rlx_ir_node *n, LLVMValueRef a, LLVMValueRef b,
                           LLVMValueRef scales, LLVMValueRef *acc)
{
    int64_t K = n->in[1]->type.dim[1], group = K / n->in[4]->type.dim[1];
    int lanes = rlx_emit_register_lanes(e), registers = LANES / lanes;
    LLVMValueRef part[LANES / 4], sum;
    for (int i = 0; i < registers; i++)
        RLX_TRY(rlx_emit_pick(e, *acc, i * lanes, 1, lanes, &part[i]));
    for (int64_t k = 0; k < K; k += TOGETHER * lanes) {
        pair p = {.e = e, .a = a, .b = b, .at = k, .lanes = lanes};
        rlx_emit_byte_sums bytes = {.codes = rlx_emit_codes_of(n),
                                    .lanes = lanes,
                                    .steps = 1,
                                    .rows = 1,
                                    .columns = 1,
                                    .code = take_code,
                                    .activation = take_activation,
                                    .user = &p};
        sum = rlx_emit_no_sum(e, &bytes);
        RLX_TRY(rlx_emit_sum_bytes(e, &bytes, &sum));
        LLVMValueRef *to = &part[k / (TOGETHER * lanes) % registers];
        sum = LLVMBuildSIToFP(e->b, sum, LLVMTypeOf(*to), "");
        *to = rlx_emit_fma(e, scales_of(e, scales, k, group, lanes), sum, *to);
    }
    *acc = rlx_emit_join(e, part, registers);
    return RLX_OK;
}

rlx_status rlx_emit_cpu_dot(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *in[5];
    for (int i = 0; i < 5; i++)
        in[i] = rlx_emit_get(e, n->in[i]);
    int64_t N = n->out[0]->type.dim[1], K = n->in[1]->type.dim[1];
    int64_t groups = n->in[4]->type.dim[1];
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    LLVMValueRef *mask = RLX_NEW_ARRAY(e->arena, LLVMValueRef, groups);
    if (!mask)
        return RLX_OOM();
    for (int p = 0; p < out->n; p++) {
        LLVMValueRef sa = by_groups(e, in[2]->part[p / N], K, K / groups, mask);
        LLVMValueRef scales = LLVMBuildFMul(e->b, sa, in[4]->part[p % N], "");
        out->part[p] = in[0]->part[p];
        scales = to_stack(e, scales);
        rlx_emit_keep_order(e);
        RLX_TRY(dot_rows(e, n, in[1]->part[p / N], in[3]->part[p % N], scales, &out->part[p]));
    }
    return RLX_OK;
}
