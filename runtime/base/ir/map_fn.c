#include <assert.h>
#include <math.h>
#include <string.h>

#include "runtime/base/ir/exp_poly.h"
#include "runtime/base/ir/ir_internal.h"
#include "runtime/base/ir/math_steps.h"

enum { SAME = false, BOOL = true };

static const rlx_map_fn_info infos[RLX_FN_COUNT] = {
#define MAP_FN(NAME, text, arity, result, meaning) {text, arity, result},
#include "runtime/base/ir/map_fns.def"
#undef MAP_FN
};

const rlx_map_fn_info *rlx_map_fn_get(rlx_map_fn fn)
{
    assert((int)fn >= 0 && fn < RLX_FN_COUNT);
    return &infos[fn];
}

rlx_status rlx_map_fn_parse(const char *name, size_t len, rlx_map_fn *out)
{
    const char *names[RLX_FN_COUNT];
    for (int i = 0; i < RLX_FN_COUNT; i++) {
        names[i] = infos[i].name;
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
            *out = (rlx_map_fn)i;
            return RLX_OK;
        }
    }
    char word[32];
    size_t n = len < sizeof(word) - 1 ? len : sizeof(word) - 1;
    memcpy(word, name, n);
    word[n] = 0;
    const char *near = rlx_text_nearest(word, names, RLX_FN_COUNT);
    return RLX_FAIL(RLX_INVALID_IR, "unknown scalar function '%s'%s%s%s", word,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

float rlx_exp_f32(float x)
{
    static const float coefficient[RLX_EXP_DEGREE + 1] = RLX_EXP_COEFFICIENTS;
    const float c = x < RLX_EXP_HI ? x : RLX_EXP_HI;
    const float t = c * RLX_EXP_LOG2E + RLX_EXP_WHOLE, n = t - RLX_EXP_WHOLE;
    float r = fmaf(n, -RLX_EXP_LN2_HI, c);
    r = fmaf(n, -RLX_EXP_LN2_LO, r);
    float p = coefficient[RLX_EXP_DEGREE];
    for (int i = RLX_EXP_DEGREE - 1; i >= 0; i--)
        p = fmaf(p, r, coefficient[i]);
    uint32_t bits, power;
    memcpy(&bits, &p, sizeof(bits));
    memcpy(&power, &t, sizeof(power));
    bits += power << 23;
    float y;
    memcpy(&y, &bits, sizeof(y));
    return RLX_EXP_LO <= x ? y : 0 > x ? 0 : x;
}

/* ---- integers and bools
 * --------------------------------------------------------------------------- */

/* The low bits of `v` as an element of `f` holds them. */
static int64_t wrap(rlx_format f, int64_t v)
{
    switch (f) {
    case RLX_I8:
        return (int8_t)v;
    case RLX_I16:
        return (int16_t)v;
    case RLX_I32:
        return (int32_t)v;
    case RLX_U8:
        return (uint8_t)v;
    case RLX_U16:
        return (uint16_t)v;
    case RLX_U32:
        return (uint32_t)v;
    case RLX_BOOL:
        return v != 0;
    default:
        return v;
    }
}

/* Floor division and its remainder; both 0 for b = 0. */
static int64_t floor_div(int64_t a, int64_t b, int64_t *mod)
{
    *mod = 0;
    if (b == 0)
        return 0;
    if (b == -1)
        return (int64_t)(0 - (uint64_t)a);
    int64_t q = a / b, r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) {
        q--;
        r += b;
    }
    *mod = r;
    return q;
}

/* The same of unsigned integers, as their bits. */
static int64_t unsigned_div(int64_t a, int64_t b, int64_t *mod)
{
    *mod = b == 0 ? 0 : (int64_t)((uint64_t)a % (uint64_t)b);
    return b == 0 ? 0 : (int64_t)((uint64_t)a / (uint64_t)b);
}

static int64_t divide(rlx_format f, int64_t a, int64_t b, int64_t *mod)
{
    return f == RLX_U64 ? unsigned_div(a, b, mod) : floor_div(a, b, mod);
}

static bool is_less(rlx_format f, int64_t a, int64_t b)
{
    return f == RLX_U64 ? (uint64_t)a < (uint64_t)b : a < b;
}

static int64_t shift_right(rlx_format f, int64_t a, int64_t by)
{
    int64_t bits = 8 * rlx_format_get(f)->block_bytes;
    if (by < 0 || by >= bits)
        return 0;
    return f == RLX_U64 ? (int64_t)((uint64_t)a >> by) : a >> by;
}

static int64_t shift_left(rlx_format f, int64_t a, int64_t by)
{
    int64_t bits = 8 * rlx_format_get(f)->block_bytes;
    return by < 0 || by >= bits ? 0 : (int64_t)((uint64_t)a << by);
}

static int64_t eval_int(rlx_map_fn fn, rlx_format f, const rlx_scalar *in)
{
    int64_t a = in[0].i, b = infos[fn].arity > 1 ? in[1].i : 0, mod;
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    switch (fn) {
    case RLX_FN_ADD:
        return (int64_t)(x + y);
    case RLX_FN_SUB:
        return (int64_t)(x - y);
    case RLX_FN_MUL:
        return (int64_t)(x * y);
    case RLX_FN_DIV:
        return divide(f, a, b, &mod);
    case RLX_FN_MOD:
        divide(f, a, b, &mod);
        return mod;
    case RLX_FN_MIN:
        return is_less(f, a, b) ? a : b;
    case RLX_FN_MAX:
        return is_less(f, b, a) ? a : b;
    case RLX_FN_FMA:
        return (int64_t)(x * y + (uint64_t)in[2].i);
    case RLX_FN_NEG:
        return (int64_t)(0 - x);
    case RLX_FN_ABS:
        return is_less(f, a, 0) ? (int64_t)(0 - x) : a;
    case RLX_FN_ROUND:
    case RLX_FN_FLOOR:
        return a;
    case RLX_FN_LT:
        return is_less(f, a, b);
    case RLX_FN_LE:
        return !is_less(f, b, a);
    case RLX_FN_EQ:
        return a == b;
    case RLX_FN_AND:
        return a & b;
    case RLX_FN_OR:
        return a | b;
    case RLX_FN_SHL:
        return shift_left(f, a, b);
    case RLX_FN_SHR:
        return shift_right(f, a, b);
    case RLX_FN_XOR:
        return a ^ b;
    case RLX_FN_SELECT:
        return a ? b : in[2].i;
    default:
        break;
    }
    assert(!"a function of integers");
    return 0;
}

/* ---- floats
 * ---------------------------------------------------------------------------------------- */

static double eval_f32(rlx_map_fn fn, float a, float b, float c)
{
    switch (fn) {
    case RLX_FN_ADD:
        return a + b;
    case RLX_FN_SUB:
        return a - b;
    case RLX_FN_MUL:
        return a * b;
    case RLX_FN_DIV:
        return a / b;
    case RLX_FN_FMA:
        return fmaf(a, b, c);
    case RLX_FN_SQRT:
        return sqrtf(a);
    case RLX_FN_RSQRT: {
        float root = sqrtf(a);
        return 1.0f / root;
    }
    case RLX_FN_EXP:
        return rlx_exp_f32(a);
    case RLX_FN_ROUND:
        return rintf(a);
    case RLX_FN_FLOOR:
        return floorf(a);
    default:
        assert(!"a function of floats");
        return 0;
    }
}

/* Rounded to the format. */
static double round_to(rlx_format f, double v)
{
    uint16_t half;
    if (f == RLX_F32)
        return (float)v;
    if (f == RLX_F64)
        return v;
    rlx_format_store(f, &half, 0, v);
    return rlx_format_load(f, &half, 0);
}

/* Exact in double, or rounded once to it: f64 itself, and 16-bit floats, which the caller rounds on
 * (double has more than twice their precision, so the second rounding is harmless). */
static double eval_f64(rlx_map_fn fn, rlx_format f, double a, double b, double c)
{
    switch (fn) {
    case RLX_FN_ADD:
        return a + b;
    case RLX_FN_SUB:
        return a - b;
    case RLX_FN_MUL:
        return a * b;
    case RLX_FN_DIV:
        return a / b;
    case RLX_FN_FMA:
        return fma(a, b, c);
    case RLX_FN_SQRT:
        return sqrt(a);
    case RLX_FN_RSQRT: {
        double root = round_to(f, sqrt(a)); /* rounded on its own, as the meaning says */
        return 1 / root;
    }
    case RLX_FN_EXP:
        return rlx_exp_f32((float)a); /* f64 goes by steps */
    case RLX_FN_ROUND:
        return rint(a);
    case RLX_FN_FLOOR:
        return floor(a);
    default:
        assert(!"a function of floats");
        return 0;
    }
}

static rlx_scalar eval_float(rlx_map_fn fn, rlx_format f, const rlx_scalar *in)
{
    int arity = infos[fn].arity;
    double a = in[0].f, b = arity > 1 ? in[1].f : 0, c = arity > 2 ? in[2].f : 0;
    switch (fn) {
    case RLX_FN_MIN:
        return (rlx_scalar){.f = a < b ? a : b};
    case RLX_FN_MAX:
        return (rlx_scalar){.f = a > b ? a : b};
    case RLX_FN_NEG:
        return (rlx_scalar){.f = -a};
    case RLX_FN_ABS:
        return (rlx_scalar){.f = fabs(a)};
    case RLX_FN_LT:
        return (rlx_scalar){.i = a < b};
    case RLX_FN_LE:
        return (rlx_scalar){.i = a <= b};
    case RLX_FN_EQ:
        return (rlx_scalar){.i = a == b};
    case RLX_FN_SELECT:
        return (rlx_scalar){.f = in[0].i ? b : c};
    default:
        break;
    }
    if (rlx_math_is_stepped(fn, f))
        return rlx_math_eval(fn, f, in[0]);
    if (f == RLX_F32)
        return (rlx_scalar){.f = eval_f32(fn, (float)a, (float)b, (float)c)};
    return (rlx_scalar){.f = round_to(f, eval_f64(fn, f, a, b, c))};
}

bool rlx_map_fn_takes(rlx_map_fn fn, rlx_format f)
{
    if (f <= RLX_FORMAT_NONE || f >= RLX_FORMAT_COUNT)
        return false;
    bool is_float = rlx_format_is_float(f), is_int = rlx_format_is_int(f);
    switch (fn) {
    case RLX_FN_ATAN:
    case RLX_FN_TANH:
    case RLX_FN_ERF:
        return f == RLX_F32;
    case RLX_FN_LOG:
    case RLX_FN_SIN:
    case RLX_FN_COS:
        return f == RLX_F32 || f == RLX_F64;
    case RLX_FN_SQRT:
    case RLX_FN_RSQRT:
    case RLX_FN_EXP:
        return is_float;
    case RLX_FN_MOD:
    case RLX_FN_SHL:
    case RLX_FN_SHR:
        return is_int;
    case RLX_FN_AND:
    case RLX_FN_OR:
    case RLX_FN_XOR:
        return is_int || f == RLX_BOOL;
    case RLX_FN_EQ:
    case RLX_FN_SELECT:
        return is_float || is_int || f == RLX_BOOL;
    default:
        return is_float || is_int;
    }
}

rlx_scalar rlx_map_fn_eval(rlx_map_fn fn, rlx_format f, const rlx_scalar *in)
{
    assert(rlx_map_fn_takes(fn, f));
    if (rlx_format_is_float(f))
        return eval_float(fn, f, in);
    int64_t v = eval_int(fn, f, in);
    return (rlx_scalar){.i = infos[fn].to_bool ? v : wrap(f, v)};
}
