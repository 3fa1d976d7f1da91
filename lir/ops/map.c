/* lir/ops/map.c: a scalar function on every element
 *   in   tiles of one shape, or scalars that stand for every element      out  the shape; the
 *        operands' format, or bool for comparisons
 *   C1  as many operands as the function takes.      C2  shapes are equal or rank 0.
 *   C3  operands have one format; select's first is bool.
 *   C4  the function is defined on the format. */
#include <math.h>

#include "lir/lir_eval.h"
#include "runtime/base/ir/exp_poly.h"

static rlx_map_fn fn_of(const rlx_ir_node *n)
{
    return (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
}

/* The operand whose format is that of the arithmetic. */
static const rlx_ir_type *main_operand(const rlx_ir_node *n)
{
    return &n->in[fn_of(n) == RLX_FN_SELECT ? 1 : 0]->type;
}

static rlx_status check_arity(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_map_fn fn = fn_of(n);
    RLX_IR_REQUIRE(m, n, "C1", fn < RLX_FN_COUNT, "has no fn");
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    RLX_IR_REQUIRE(m, n, "C1", n->nin == info->arity, "%s takes %d operands, not %d", info->name,
                   info->arity, n->nin);
    return RLX_OK;
}

rlx_status rlx_lir_map_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(check_arity(m, n));
    const rlx_ir_type *shape = &n->in[0]->type;
    for (int i = 1; i < n->nin && shape->rank == 0; i++)
        shape = &n->in[i]->type;
    results[0] = *shape;
    results[0].format = rlx_map_fn_get(fn_of(n))->to_bool ? RLX_BOOL : main_operand(n)->format;
    return RLX_OK;
}

rlx_status rlx_lir_map_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(check_arity(m, n));
    rlx_map_fn fn = fn_of(n);
    const rlx_ir_type *r = &n->out[0]->type;
    for (int i = 0; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        RLX_IR_REQUIRE(
            m, n, "C2", t->kind == RLX_TYPE_TILE && (t->rank == 0 || rlx_ir_shape_equal(t, r)),
            "operand %d is %s, the result %s", i, rlx_lir_type_text(m, t), rlx_lir_type_text(m, r));
        rlx_format want = fn == RLX_FN_SELECT && i == 0 ? RLX_BOOL : main_operand(n)->format;
        RLX_IR_REQUIRE(m, n, "C3", t->format == want, "operand %d is %s, expected %s", i,
                       rlx_format_get(t->format)->name, rlx_format_get(want)->name);
    }
    RLX_IR_REQUIRE(m, n, "C4", rlx_map_fn_takes(fn, main_operand(n)->format),
                   "%s is not defined on %s", rlx_map_fn_get(fn)->name,
                   rlx_format_get(main_operand(n)->format)->name);
    return RLX_OK;
}

/* ---- running ----------------------------------------------------------------------------------
 * The meaning is rlx_map_fn_eval. What kernels are full of has loops over whole tiles, which give
 * the same; a test compares them for every function. */

/* Operands of one map, as many elements each as the result. */
typedef struct operands {
    void *r;
    const void *x, *y, *z;
    int32_t n;
} operands;

#define EACH(T, R, expr)                                                    \
    {                                                                       \
        R *restrict r = o->r;                                               \
        const T *restrict x = o->x, *restrict y = o->y, *restrict z = o->z; \
        (void)x, (void)y, (void)z;                                          \
        for (int32_t k = 0; k < o->n; k++)                                  \
            r[k] = (expr);                                                  \
        return true;                                                        \
    }

/* Select: x is the condition. */
#define CHOOSE(T)                                       \
    {                                                   \
        T *restrict r = o->r;                           \
        const uint8_t *restrict x = o->x;               \
        const T *restrict y = o->y, *restrict z = o->z; \
        for (int32_t k = 0; k < o->n; k++)              \
            r[k] = x[k] ? y[k] : z[k];                  \
        return true;                                    \
    }

static inline __attribute__((always_inline)) bool loops_f32(rlx_map_fn fn, const operands *o)
{
    switch (fn) {
    case RLX_FN_ADD:
        EACH(float, float, x[k] + y[k])
    case RLX_FN_SUB:
        EACH(float, float, x[k] - y[k])
    case RLX_FN_MUL:
        EACH(float, float, x[k] * y[k])
    case RLX_FN_DIV:
        EACH(float, float, x[k] / y[k])
    case RLX_FN_MIN:
        EACH(float, float, x[k] < y[k] ? x[k] : y[k])
    case RLX_FN_MAX:
        EACH(float, float, x[k] > y[k] ? x[k] : y[k])
    case RLX_FN_FMA:
        EACH(float, float, __builtin_fmaf(x[k], y[k], z[k]))
    case RLX_FN_NEG:
        EACH(float, float, -x[k])
    case RLX_FN_ABS:
        EACH(float, float, fabsf(x[k]))
    case RLX_FN_SQRT:
        EACH(float, float, sqrtf(x[k]))
    case RLX_FN_RSQRT:
        EACH(float, float, 1.0f / sqrtf(x[k]))
    case RLX_FN_EXP:
        EACH(float, float, rlx_exp_f32(x[k]))
    case RLX_FN_ROUND:
        EACH(float, float, rintf(x[k]))
    case RLX_FN_LT:
        EACH(float, uint8_t, x[k] < y[k])
    case RLX_FN_LE:
        EACH(float, uint8_t, x[k] <= y[k])
    case RLX_FN_EQ:
        EACH(float, uint8_t, x[k] == y[k])
    case RLX_FN_SELECT:
        CHOOSE(float)
    default:
        return false;
    }
}

static bool loops_f32_any(rlx_map_fn fn, const operands *o)
{
    return loops_f32(fn, o);
}

#if defined(__x86_64__)
/* The same text for a processor that has fma and rounding as instructions. */
__attribute__((target("avx2,fma"))) static bool loops_f32_fma(rlx_map_fn fn, const operands *o)
{
    return loops_f32(fn, o);
}
#else
#define loops_f32_fma loops_f32_any
#endif

/* Integers of C type T, wrapping as U does. */
#define INTEGER_LOOPS(name, T, U)                                          \
    static bool name(rlx_map_fn fn, const operands *o)                     \
    {                                                                      \
        switch (fn) {                                                      \
        case RLX_FN_ADD:                                                   \
            EACH(T, T, (T)((U)x[k] + (U)y[k]))                             \
        case RLX_FN_SUB:                                                   \
            EACH(T, T, (T)((U)x[k] - (U)y[k]))                             \
        case RLX_FN_MUL:                                                   \
            EACH(T, T, (T)((U)x[k] * (U)y[k]))                             \
        case RLX_FN_MIN:                                                   \
            EACH(T, T, x[k] < y[k] ? x[k] : y[k])                          \
        case RLX_FN_MAX:                                                   \
            EACH(T, T, x[k] > y[k] ? x[k] : y[k])                          \
        case RLX_FN_LT:                                                    \
            EACH(T, uint8_t, x[k] < y[k])                                  \
        case RLX_FN_LE:                                                    \
            EACH(T, uint8_t, x[k] <= y[k])                                 \
        case RLX_FN_EQ:                                                    \
            EACH(T, uint8_t, x[k] == y[k])                                 \
        case RLX_FN_AND:                                                   \
            EACH(T, T, x[k] & y[k])                                        \
        case RLX_FN_OR:                                                    \
            EACH(T, T, x[k] | y[k])                                        \
        case RLX_FN_SHL:                                                   \
            EACH(T, T, (U)y[k] < sizeof(T) * 8 ? (T)((U)x[k] << y[k]) : 0) \
        case RLX_FN_SELECT:                                                \
            CHOOSE(T)                                                      \
        default:                                                           \
            return false;                                                  \
        }                                                                  \
    }
INTEGER_LOOPS(loops_i32, int32_t, uint32_t)
INTEGER_LOOPS(loops_i64, int64_t, uint64_t)

static bool loops_bool(rlx_map_fn fn, const operands *o)
{
    switch (fn) {
    case RLX_FN_EQ:
        EACH(uint8_t, uint8_t, x[k] == y[k])
    case RLX_FN_AND:
        EACH(uint8_t, uint8_t, x[k] & y[k])
    case RLX_FN_OR:
        EACH(uint8_t, uint8_t, x[k] | y[k])
    case RLX_FN_SELECT:
        CHOOSE(uint8_t)
    default:
        return false;
    }
}

/* Multiply-adds that are rounded twice; other formats have none. */
static bool split_fma(rlx_format f, const operands *o)
{
    if (f == RLX_F32)
        EACH(float, float, rlx_lir_fma(true, x[k], y[k], z[k]))
    if (f != RLX_F64)
        return false;
    double *r = o->r;
    const double *x = o->x, *y = o->y, *z = o->z;
    for (int32_t k = 0; k < o->n; k++) {
        const double product = x[k] * y[k];
        r[k] = product + z[k];
    }
    return true;
}

static bool run_loops(const rlx_lir_eval *e, rlx_map_fn fn, rlx_format f, const operands *o)
{
    if (e->options->splits_fma && fn == RLX_FN_FMA)
        return split_fma(f, o);
    switch (f) {
    case RLX_F32:
        return e->has_fma ? loops_f32_fma(fn, o) : loops_f32_any(fn, o);
    case RLX_I32:
        return loops_i32(fn, o);
    case RLX_I64:
        return loops_i64(fn, o);
    case RLX_BOOL:
        return loops_bool(fn, o);
    default:
        return false;
    }
}

void rlx_lir_map_splat(const rlx_lir_instr *i, int k)
{
    const rlx_lir_tile *x = i->in[k];
    int32_t n = i->out[0]->elems;
    if (x->bytes == 4) {
        uint32_t *to = i->work[k], v = *(const uint32_t *)x->data;
        for (int32_t j = 0; j < n; j++)
            to[j] = v;
    } else {
        rlx_lir_convert(i->work[k], x->format, 1, x->data, x->format, 0, n);
    }
}

rlx_status rlx_lir_map_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    rlx_map_fn fn = (rlx_map_fn)i->fn;
    const rlx_lir_tile *r = i->out[0];
    const void *in[3] = {NULL, NULL, NULL};
    for (int k = 0; k < i->nin; k++) {
        in[k] = i->work[k] ? i->work[k] : i->in[k]->data;
        if (i->work[k] && !i->fixed[k])
            rlx_lir_map_splat(i, k);
    }
    rlx_format f = i->in[fn == RLX_FN_SELECT ? 1 : 0]->format;
    operands o = {r->data, in[0], in[1], in[2], r->elems};
    if (run_loops(e, fn, f, &o))
        return RLX_OK;
    for (int32_t k = 0; k < r->elems; k++) {
        rlx_scalar s[3];
        for (int j = 0; j < i->nin; j++)
            s[j] = rlx_lir_scalar_load(i->in[j]->format, in[j], k);
        rlx_lir_scalar_store(r->format, r->data, k, rlx_map_fn_eval(fn, f, s));
    }
    return RLX_OK;
}
