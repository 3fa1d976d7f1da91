#include "jit/llvm_cpu.h"

#include <string.h>

#include "runtime/base/ir/exp_poly.h"

/* The steps of a polynomial, for a few registers side by side.
 *
 * A step waits for the one before. LLVM's scheduler, short of registers, finishes one vector's steps
 * before it begins the next one's, and keeps constants in registers and sums on the stack: then a
 * machine looks for what it might do meanwhile in a queue that is full of what waits. So every step
 * of four registers is tied together: the next step of one is behind this step of all. No
 * instruction is made. */

enum { TOGETHER = 4 };

/* A call that only gives values: LLVM takes assembly, even none, for what may do anything. */
static void does_nothing(const rlx_emit *e, LLVMValueRef call)
{
    static const char *const names[] = {"nounwind", "willreturn", "memory"}; /* memory(none) is 0 */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const unsigned kind = LLVMGetEnumAttributeKindForName(names[i], strlen(names[i]));
        LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                                 LLVMCreateEnumAttribute(e->cx, kind, 0));
    }
}

/* x[0] .. x[n-1], f32 of a register each, all of them behind the last. */
static void tie(rlx_emit *e, LLVMValueRef *x, int n)
{
    static const char *const same[2][TOGETHER + 1] = {
        {[2] = "=x,=x,0,1", [3] = "=x,=x,=x,0,1,2", [4] = "=x,=x,=x,=x,0,1,2,3"},
        {[2] = "=v,=v,0,1", [3] = "=v,=v,=v,0,1,2", [4] = "=v,=v,=v,=v,0,1,2,3"}};
    const char *registers = same[e->target->avx512 ? 1 : 0][n]; /* v: any of 32 */
    LLVMTypeRef type[TOGETHER];
    for (int i = 0; i < n; i++)
        type[i] = LLVMTypeOf(x[i]);
    LLVMTypeRef all = LLVMStructTypeInContext(e->cx, type, (unsigned)n, false);
    LLVMTypeRef fn = LLVMFunctionType(all, type, (unsigned)n, false);
    LLVMValueRef none = LLVMGetInlineAsm(fn, "", 0, registers, strlen(registers), false, false,
                                         LLVMInlineAsmDialectATT, false);
    LLVMValueRef tied = LLVMBuildCall2(e->b, fn, none, x, (unsigned)n, "");
    does_nothing(e, tied);
    for (int i = 0; i < n; i++)
        x[i] = LLVMBuildExtractValue(e->b, tied, (unsigned)i, "");
}

/* A part of whole registers, as these. */
static rlx_status cut(rlx_emit *e, LLVMValueRef part, int count, LLVMValueRef *x)
{
    const int lanes = rlx_emit_register_lanes(e);
    x[0] = part;
    for (int i = 0; i < count && count > 1; i++)
        RLX_TRY(rlx_emit_pick(e, part, (int64_t)i * lanes, 1, lanes, &x[i]));
    return RLX_OK;
}

rlx_status rlx_emit_cpu_step(rlx_emit *e, const rlx_ir_type *type, rlx_emit_tile *out)
{
    const int lanes = rlx_emit_register_lanes(e);
    const int64_t row = type->rank ? type->dim[type->rank - 1] : 1;
    const int each = (int)(row / lanes), count = each * out->n;
    const bool halves = e->target->avx512 && e->target->emulation; /* LLVM has no such registers */
    if (e->target->kind != RLX_JIT_CPU || halves || row % lanes != 0 || count < 2)
        return RLX_OK;
    LLVMValueRef *x = RLX_NEW_ARRAY(e->arena, LLVMValueRef, count);
    if (!x)
        return RLX_OOM();
    for (int p = 0; p < out->n; p++)
        RLX_TRY(cut(e, out->part[p], each, x + p * each));
    for (int i = 0; i + 1 < count; i += TOGETHER)
        tie(e, x + i, count - i < TOGETHER ? count - i : TOGETHER);
    for (int p = 0; p < out->n; p++)
        out->part[p] = rlx_emit_join(e, x + p * each, each);
    return RLX_OK;
}

/* ---- the end of e^x ---- */

/* What expand_math ends e^x with (runtime/base/ir/exp_poly.h), and AVX-512 has an instruction for:
 *
 *   select(le(LO, x), add(bitcast(p), shl(bitcast(t), 23)), bitcast(max(0, x)))
 *   ->  scalef(p, t - WHOLE) where LO <= x, else max(0, x)
 *
 * p * 2^n is a normal number, so it has the same bits. */

static const rlx_ir_node *map_of(const rlx_ir_value *v, rlx_map_fn fn)
{
    const rlx_ir_node *n = v->def;
    return n && n->op == RLX_LIR_MAP && rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT) == fn ? n
                                                                                            : NULL;
}

static const rlx_ir_value *bits_of(const rlx_ir_value *v)
{
    return v->def && v->def->op == RLX_LIR_BITCAST ? v->def->in[0] : NULL;
}

static bool is_number(const rlx_ir_value *v, double number)
{
    const rlx_ir_node *n = v->def;
    if (!n || n->op != RLX_LIR_CONST)
        return false;
    return rlx_format_is_float(v->type.format)
               ? rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0) == number
               : (double)rlx_ir_attr_int(n, RLX_ATTR_IVALUE, 0) == number;
}

typedef struct exp_end {
    const rlx_ir_value *x, *p, *t, *other; /* where x is below LO or a NaN */
} exp_end;

static bool ends_exp(const rlx_ir_node *n, exp_end *out)
{
    enum { SHIFT = 23 };
    const rlx_ir_node *within = map_of(n->in[0], RLX_FN_LE), *sum = map_of(n->in[1], RLX_FN_ADD);
    const rlx_ir_value *other = bits_of(n->in[2]);
    const rlx_ir_node *zero = other ? map_of(other, RLX_FN_MAX) : NULL;
    const rlx_ir_node *shift = sum ? map_of(sum->in[1], RLX_FN_SHL) : NULL;
    if (!within || !zero || !shift || !is_number(within->in[0], (float)RLX_EXP_LO) ||
        !is_number(zero->in[0], 0) || !is_number(shift->in[1], SHIFT))
        return false;
    *out = (exp_end){within->in[1], bits_of(sum->in[0]), bits_of(shift->in[0]), other};
    if (!out->p || !out->t || zero->in[1] != out->x)
        return false;
    const rlx_ir_node *last = map_of(out->p, RLX_FN_FMA), *whole = map_of(out->t, RLX_FN_ADD);
    const rlx_ir_node *by = whole ? map_of(whole->in[0], RLX_FN_MUL) : NULL;
    const rlx_ir_node *held = by ? map_of(by->in[0], RLX_FN_MIN) : NULL;
    return last && held && is_number(last->in[2], 1) && is_number(whole->in[1], RLX_EXP_WHOLE) &&
           is_number(by->in[1], (float)RLX_EXP_LOG2E) &&
           is_number(held->in[1], (float)RLX_EXP_HI) && held->in[0] == out->x;
}

/* Of a register: p * 2^(t - WHOLE), or else `other`. */
static LLVMValueRef scale(rlx_emit *e, LLVMValueRef x, LLVMValueRef p, LLVMValueRef t,
                          LLVMValueRef other)
{
    enum { CURRENT_ROUNDING = 4 };
    const LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef lo = rlx_emit_splat(e, LLVMConstReal(e->f32, RLX_EXP_LO), type);
    LLVMValueRef whole = rlx_emit_splat(e, LLVMConstReal(e->f32, RLX_EXP_WHOLE), type);
    LLVMValueRef mask =
        LLVMBuildBitCast(e->b, LLVMBuildFCmp(e->b, LLVMRealOGE, x, lo, ""), e->i16, "");
    LLVMValueRef args[] = {p, LLVMBuildFSub(e->b, t, whole, ""), other, mask,
                           rlx_emit_int(e->i32, CURRENT_ROUNDING)};
    return rlx_emit_intrinsic(e, "llvm.x86.avx512.mask.scalef.ps.512", NULL, args, 5);
}

rlx_status rlx_emit_cpu_end_exp(rlx_emit *e, const rlx_ir_node *n, bool *done)
{
    const int lanes = rlx_emit_register_lanes(e);
    const rlx_ir_type *type = &n->out[0]->type;
    const int64_t row = type->rank ? type->dim[type->rank - 1] : 1;
    exp_end end;
    *done = e->target->avx512 && !e->target->emulation && row % lanes == 0 && ends_exp(n, &end);
    if (!*done)
        return RLX_OK;
    const int each = (int)(row / lanes);
    const rlx_emit_tile *x = rlx_emit_get(e, end.x), *p = rlx_emit_get(e, end.p),
                        *t = rlx_emit_get(e, end.t), *other = rlx_emit_get(e, end.other);
    LLVMValueRef *in = RLX_NEW_ARRAY(e->arena, LLVMValueRef, 4 * each);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    if (!in)
        return RLX_OOM();
    for (int i = 0; i < out->n; i++) {
        RLX_TRY(cut(e, x->part[i], each, in));
        RLX_TRY(cut(e, p->part[i], each, in + each));
        RLX_TRY(cut(e, t->part[i], each, in + 2 * each));
        RLX_TRY(cut(e, other->part[i], each, in + 3 * each));
        for (int k = 0; k < each; k++)
            in[k] = scale(e, in[k], in[each + k], in[2 * each + k], in[3 * each + k]);
        out->part[i] =
            LLVMBuildBitCast(e->b, rlx_emit_join(e, in, each), e->engine->part_type(e, type), "");
    }
    return RLX_OK;
}
