/* frontend/jinja/arith.c: operators with Python's meaning. Integers have 64 bits; what does not fit
 * is an error. */
#include <math.h>

#include "frontend/jinja/impl.h"

static const char *const symbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()", "+", "-"};

static rlx_jinja_value overflow(rlx_jinja_run *x)
{
    return rlx_jinja_fail(x, RLX_UNSUPPORTED, "an integer beyond 64 bits");
}

static rlx_jinja_value unsupported(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a,
                                   rlx_jinja_value b)
{
    if (a.kind == RLX_JINJA_UNDEFINED || b.kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, a.kind == RLX_JINJA_UNDEFINED ? a : b);
    bool sequence =
        a.kind == RLX_JINJA_STRING || a.kind == RLX_JINJA_LIST || a.kind == RLX_JINJA_TUPLE;
    if (op == RLX_JINJA_ADD && sequence)
        return rlx_jinja_type_error(x, "can only concatenate %s (not \"%s\") to %s",
                                    rlx_jinja_type_name(a), rlx_jinja_type_name(b),
                                    rlx_jinja_type_name(a));
    return rlx_jinja_type_error(x, "unsupported operand type(s) for %s: '%s' and '%s'", symbols[op],
                                rlx_jinja_type_name(a), rlx_jinja_type_name(b));
}

/* ---- numbers */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static double floor_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0 && (m < 0) != (b < 0))
        return m + b;
    return m != 0 ? m : copysign(0, b);
}

static double float_floor_div(double a, double b)
{
    double m = floor_mod(a, b), q = (a - m) / b;
    double f = floor(q);
    return q == 0 ? copysign(0, a / b) : q - f > 0.5 ? f + 1 : f;
}

static rlx_jinja_value int_pow(rlx_jinja_run *x, int64_t a, int64_t b)
{
    if (b < 0)
        return a == 0 ? rlx_jinja_type_error(x, "0.0 cannot be raised to a negative power")
                      : rlx_jinja_float(pow((double)a, (double)b));
    int64_t r = 1;
    for (; b > 0; b >>= 1) {
        if ((b & 1) && __builtin_mul_overflow(r, a, &r))
            return overflow(x);
        if (b > 1 && __builtin_mul_overflow(a, a, &a))
            return overflow(x);
    }
    return rlx_jinja_int(r);
}

static rlx_jinja_value int_op(rlx_jinja_run *x, rlx_jinja_op op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool over = false;
    if (b == 0 && (op == RLX_JINJA_DIV || op == RLX_JINJA_FLOORDIV || op == RLX_JINJA_MOD))
        return rlx_jinja_type_error(x, op == RLX_JINJA_DIV ? "division by zero"
                                                           : "integer division or modulo by zero");
    switch (op) {
    case RLX_JINJA_ADD:
        over = __builtin_add_overflow(a, b, &r);
        break;
    case RLX_JINJA_SUB:
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case RLX_JINJA_MUL:
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case RLX_JINJA_DIV:
        return rlx_jinja_float((double)((long double)a / (long double)b));
    case RLX_JINJA_FLOORDIV:
        over = a == INT64_MIN && b == -1;
        r = over ? 0 : floor_div(a, b);
        break;
    case RLX_JINJA_MOD:
        r = b == -1 ? 0 : a - floor_div(a, b) * b;
        break;
    default:
        return int_pow(x, a, b);
    }
    return over ? overflow(x) : rlx_jinja_int(r);
}

static rlx_jinja_value float_op(rlx_jinja_run *x, rlx_jinja_op op, double a, double b)
{
    if (b == 0 && (op == RLX_JINJA_DIV || op == RLX_JINJA_FLOORDIV || op == RLX_JINJA_MOD))
        return rlx_jinja_type_error(x, "float division by zero");
    switch (op) {
    case RLX_JINJA_ADD:
        return rlx_jinja_float(a + b);
    case RLX_JINJA_SUB:
        return rlx_jinja_float(a - b);
    case RLX_JINJA_MUL:
        return rlx_jinja_float(a * b);
    case RLX_JINJA_DIV:
        return rlx_jinja_float(a / b);
    case RLX_JINJA_FLOORDIV:
        return rlx_jinja_float(float_floor_div(a, b));
    case RLX_JINJA_MOD:
        return rlx_jinja_float(floor_mod(a, b));
    default:
        if (a == 0 && b < 0)
            return rlx_jinja_type_error(x, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            return rlx_jinja_fail(x, RLX_UNSUPPORTED, "complex numbers are not offered");
        double r = pow(a, b);
        return isinf(r) && isfinite(a) && isfinite(b)
                   ? rlx_jinja_type_error(x, "(34, 'Numerical result out of range')")
                   : rlx_jinja_float(r);
    }
}

/* ---- sequences */

static rlx_jinja_value repeat(rlx_jinja_run *x, rlx_jinja_value v, int64_t times)
{
    times = times < 0 ? 0 : times;
    if (v.kind == RLX_JINJA_STRING) {
        rlx_jinja_buffer b = {.x = x};
        for (int64_t i = 0; v.s->len && i < times && rlx_jinja_step(x, 1); i++)
            rlx_jinja_put(&b, v.s->data, v.s->len);
        v.s = rlx_jinja_taken(&b).s;
        return v;
    }
    rlx_jinja_list *l = rlx_jinja_list_new(x);
    int64_t n = v.l->n;
    for (int64_t k = 0; n && k < times && rlx_jinja_step(x, 1); k++)
        for (int64_t i = 0; i < n && rlx_jinja_step(x, 1); i++)
            rlx_jinja_push(x, l, v.l->items[i]);
    return rlx_jinja_list_value(l, v.kind);
}

static rlx_jinja_value join_lists(rlx_jinja_run *x, rlx_jinja_value a, rlx_jinja_value b)
{
    rlx_jinja_list *l = rlx_jinja_list_copy(x, a.l);
    for (int64_t i = 0; i < b.l->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, l, b.l->items[i]);
    return rlx_jinja_list_value(l, a.kind);
}

/* Strings of which one is Markup: the other is escaped. */
static rlx_jinja_value join_strings(rlx_jinja_run *x, rlx_jinja_value a, rlx_jinja_value b)
{
    bool markup = a.markup || b.markup;
    a = markup ? rlx_jinja_escape(x, a) : a;
    b = markup ? rlx_jinja_escape(x, b) : b;
    rlx_jinja_buffer out = {.x = x};
    rlx_jinja_put(&out, a.s->data, a.s->len);
    rlx_jinja_put(&out, b.s->data, b.s->len);
    rlx_jinja_value v = rlx_jinja_taken(&out);
    v.markup = markup;
    return v;
}

static bool is_sequence(rlx_jinja_value v)
{
    return v.kind == RLX_JINJA_STRING || v.kind == RLX_JINJA_LIST || v.kind == RLX_JINJA_TUPLE;
}

rlx_jinja_value rlx_jinja_binary(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a,
                                 rlx_jinja_value b)
{
    int64_t i, k;
    if (rlx_jinja_is_int(a) && rlx_jinja_is_int(b) && rlx_jinja_as_int(x, a, &i) &&
        rlx_jinja_as_int(x, b, &k))
        return int_op(x, op, i, k);
    if (rlx_jinja_is_number(a) && rlx_jinja_is_number(b))
        return float_op(x, op, rlx_jinja_number(a), rlx_jinja_number(b));
    if (op == RLX_JINJA_MOD && a.kind == RLX_JINJA_STRING)
        return rlx_jinja_percent(x, a, b);
    if (op == RLX_JINJA_ADD && a.kind == b.kind && is_sequence(a))
        return a.kind == RLX_JINJA_STRING ? join_strings(x, a, b) : join_lists(x, a, b);
    if (op == RLX_JINJA_MUL && is_sequence(a) && rlx_jinja_is_int(b) && rlx_jinja_as_int(x, b, &k))
        return repeat(x, a, k);
    if (op == RLX_JINJA_MUL && is_sequence(b) && rlx_jinja_is_int(a) && rlx_jinja_as_int(x, a, &i))
        return repeat(x, b, i);
    return unsupported(x, op, a, b);
}

rlx_jinja_value rlx_jinja_unary(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value v)
{
    int64_t i;
    if (v.kind == RLX_JINJA_FLOAT)
        return rlx_jinja_float(op == RLX_JINJA_NEG ? -v.f : v.f);
    if (rlx_jinja_is_int(v) && rlx_jinja_as_int(x, v, &i))
        return op == RLX_JINJA_NEG ? int_op(x, RLX_JINJA_SUB, 0, i) : rlx_jinja_int(i);
    if (v.kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, v);
    return rlx_jinja_type_error(x, "bad operand type for unary %s: '%s'", symbols[op],
                                rlx_jinja_type_name(v));
}

bool rlx_jinja_double_to_int(double d, int64_t *out)
{
    if (!(d > -0x1p63 && d < 0x1p63))
        return false;
    *out = (int64_t)d;
    return true;
}
