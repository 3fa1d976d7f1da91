/* frontend/jinja/filter.c: the table of filters, by filters.def; those of numbers and of any value.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/jinja/filter.h"

rlx_jinja_value rlx_jinja_filter_default(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    bool absent =
        a[0].kind == RLX_JINJA_UNDEFINED || (rlx_jinja_truth(a[2]) && !rlx_jinja_truth(a[0]));
    if (!absent)
        return a[0];
    return rlx_jinja_given(a[1]) ? a[1] : rlx_jinja_literal(x, "");
}

rlx_jinja_value rlx_jinja_filter_attr(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    if (a[0].kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, a[0]);
    if (!rlx_jinja_need_string(x, a[1], "attribute name"))
        return rlx_jinja_none();
    rlx_jinja_value found = rlx_jinja_static_attr(x, a[0], a[1]);
    return rlx_jinja_given(found) ? found : rlx_jinja_undefined_of(x, a[0], a[1]);
}

static rlx_jinja_value refuse(rlx_jinja_run *x, const char *name)
{
    return rlx_jinja_fail(x, RLX_UNSUPPORTED, "the filter '%s' is not offered", name);
}

rlx_jinja_value rlx_jinja_filter_pprint(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)a;
    (void)args;
    return refuse(x, "pprint");
}

rlx_jinja_value rlx_jinja_filter_random(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)a;
    (void)args;
    return refuse(x, "random");
}

rlx_jinja_value rlx_jinja_filter_urlize(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)a;
    (void)args;
    return refuse(x, "urlize");
}

rlx_jinja_value rlx_jinja_filter_wordwrap(rlx_jinja_run *x, rlx_jinja_value *a,
                                          const rlx_jinja_args *args)
{
    (void)a;
    (void)args;
    return refuse(x, "wordwrap");
}

/* ---- numbers */

rlx_jinja_value rlx_jinja_filter_abs(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    if (a[0].kind == RLX_JINJA_FLOAT)
        return rlx_jinja_float(fabs(a[0].f));
    if (rlx_jinja_is_int(a[0]))
        return rlx_jinja_unary(x, rlx_jinja_number(a[0]) < 0 ? RLX_JINJA_NEG : RLX_JINJA_POS, a[0]);
    return rlx_jinja_type_error(x, "bad operand type for abs(): '%s'", rlx_jinja_type_name(a[0]));
}

static rlx_jinja_value truncated(rlx_jinja_run *x, double d)
{
    int64_t i;
    if (isnan(d) || isinf(d))
        return rlx_jinja_type_error(x, "cannot convert float %s to integer",
                                    isnan(d) ? "NaN" : "infinity");
    if (!rlx_jinja_double_to_int(d, &i))
        return rlx_jinja_fail(x, RLX_UNSUPPORTED, "an integer beyond 64 bits");
    return rlx_jinja_int(i);
}

rlx_jinja_value rlx_jinja_filter_int(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    int64_t base, i;
    double d;
    (void)args;
    if (!rlx_jinja_need_int(x, a[2], 10, &base))
        return rlx_jinja_none();
    if (a[0].kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, a[0]);
    if (rlx_jinja_is_int(a[0]) && rlx_jinja_as_int(x, a[0], &i))
        return rlx_jinja_int(i);
    if (a[0].kind == RLX_JINJA_FLOAT && !isnan(a[0].f))
        return truncated(x, a[0].f);
    rlx_jinja_value absent = rlx_jinja_given(a[1]) ? a[1] : rlx_jinja_int(0);
    if (a[0].kind != RLX_JINJA_STRING || !rlx_jinja_walk(x, a[0].s->len))
        return absent;
    if ((base == 0 || (base >= 2 && base <= 36)) && rlx_jinja_parse_int(a[0], (int)base, &i))
        return rlx_jinja_int(i);
    bool finite = rlx_jinja_parse_float(x, a[0], &d) && isfinite(d);
    return finite ? truncated(x, d) : absent;
}

rlx_jinja_value rlx_jinja_filter_float(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    double d;
    (void)args;
    if (a[0].kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, a[0]);
    if (rlx_jinja_is_number(a[0]))
        return rlx_jinja_float(rlx_jinja_number(a[0]));
    if (a[0].kind == RLX_JINJA_STRING && rlx_jinja_parse_float(x, a[0], &d))
        return rlx_jinja_float(d);
    return rlx_jinja_given(a[1]) ? a[1] : rlx_jinja_float(0);
}

/* Half to even, in decimal. */
static double round_float(double v, int64_t digits)
{
    char text[400];
    if (!isfinite(v) || digits > 22 || v == 0)
        return v;
    if (digits < 0) {
        double by = pow(10, (double)-digits);
        return isinf(by) ? copysign(0, v) : nearbyint(v / by) * by;
    }
    snprintf(text, sizeof text, "%.*f", (int)digits, v);
    return strtod(text, NULL);
}

static rlx_jinja_value round_int(rlx_jinja_run *x, int64_t v, int64_t digits)
{
    int64_t by = 1;
    for (; digits < 0 && by <= INT64_MAX / 10; digits++)
        by *= 10;
    if (digits < 0)
        return rlx_jinja_int(0);
    int64_t rest = v % by, down = v - rest, half = by / 2;
    int64_t size = rest < 0 ? -rest : rest;
    bool away = size > half || (size == half && by > 1 && (down / by) % 2 != 0);
    return away ? rlx_jinja_binary(x, RLX_JINJA_ADD, rlx_jinja_int(down),
                                   rlx_jinja_int(v < 0 ? -by : by))
                : rlx_jinja_int(down);
}

rlx_jinja_value rlx_jinja_filter_round(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    int64_t digits, i;
    (void)args;
    bool common = !rlx_jinja_given(a[2]) || rlx_jinja_equal_text(a[2], "common");
    bool up = rlx_jinja_equal_text(a[2], "ceil");
    if (!common && !up && !rlx_jinja_equal_text(a[2], "floor"))
        return rlx_jinja_type_error(x, "method must be common, ceil or floor");
    if (!rlx_jinja_need_int(x, a[1], 0, &digits))
        return rlx_jinja_none();
    if (a[0].kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, a[0]);
    if (!rlx_jinja_is_number(a[0]))
        return rlx_jinja_type_error(x, "type %s doesn't define __round__ method",
                                    rlx_jinja_type_name(a[0]));
    if (common && rlx_jinja_is_int(a[0]) && rlx_jinja_as_int(x, a[0], &i))
        return digits >= 0 ? rlx_jinja_int(i) : round_int(x, i, digits);
    if (common)
        return rlx_jinja_float(round_float(a[0].f, digits));
    double by = pow(10, (double)digits), v = rlx_jinja_number(a[0]) * by;
    return rlx_jinja_float((up ? ceil(v) : floor(v)) / by);
}

rlx_jinja_value rlx_jinja_filter_filesizeformat(rlx_jinja_run *x, rlx_jinja_value *a,
                                                const rlx_jinja_args *args)
{
    static const char decimal[][4] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char binary[][4] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    rlx_jinja_value wrong[3] = {a[0], rlx_jinja_none()}, v = rlx_jinja_filter_float(x, wrong, args);
    double base = rlx_jinja_truth(a[1]) ? 1024 : 1000, unit = base * base;
    char text[400];
    int i = 0;
    if (v.kind != RLX_JINJA_FLOAT)
        return rlx_jinja_type_error(x, "could not convert %s to float", rlx_jinja_type_name(a[0]));
    if (v.f == 1)
        return rlx_jinja_literal(x, "1 Byte");
    if (v.f < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(v.f));
    } else {
        for (; i < 7 && v.f >= unit; i++)
            unit *= base;
        snprintf(text, sizeof text, "%.1f %s", base * v.f / unit,
                 rlx_jinja_truth(a[1]) ? binary[i] : decimal[i]);
    }
    rlx_jinja_buffer b = {.x = x};
    rlx_jinja_puts(&b, text);
    return rlx_jinja_taken(&b);
}

/* ---- JSON */

rlx_jinja_value rlx_jinja_filter_tojson(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    rlx_jinja_json_style style = {.ascii = rlx_jinja_truth(a[1]),
                                  .sort_keys = rlx_jinja_truth(a[4]),
                                  .pretty = rlx_jinja_given(a[2]) && a[2].kind != RLX_JINJA_NONE,
                                  .item = ", ",
                                  .key = ": "};
    rlx_jinja_buffer indent = {.x = x}, b = {.x = x};
    int64_t width = 0;
    (void)args;
    if (style.pretty && a[2].kind != RLX_JINJA_STRING && !rlx_jinja_as_int(x, a[2], &width))
        return rlx_jinja_none();
    if (style.pretty && a[2].kind == RLX_JINJA_STRING)
        rlx_jinja_put_str(&indent, a[2]);
    rlx_jinja_put_fill(&indent, ' ', width);
    style.indent = rlx_jinja_cstr(x, rlx_jinja_taken(&indent));
    if (style.pretty)
        style.item = ",";
    if (rlx_jinja_given(a[3]) && a[3].kind != RLX_JINJA_NONE) {
        const rlx_jinja_list *pair = rlx_jinja_iterate(x, a[3]);
        if (pair->n != 2 || pair->items[0].kind != RLX_JINJA_STRING ||
            pair->items[1].kind != RLX_JINJA_STRING)
            return rlx_jinja_type_error(x, "separators must be two strings");
        style.item = rlx_jinja_cstr(x, pair->items[0]);
        style.key = rlx_jinja_cstr(x, pair->items[1]);
    }
    rlx_jinja_put_json(&b, a[0], &style, 0);
    return rlx_jinja_taken(&b);
}

/* ---- the table */

static const rlx_jinja_callable filters[] = {
#define RLX_JINJA_FILTER(name, params, function) \
    {name, params, rlx_jinja_filter_##function, RLX_JINJA_MISSING},
#include "frontend/jinja/filters.def"
#undef RLX_JINJA_FILTER
};

const rlx_jinja_callable *rlx_jinja_find_filter(const char *name)
{
    return rlx_jinja_find(filters, sizeof filters / sizeof *filters, name);
}

rlx_jinja_value rlx_jinja_call_filter(rlx_jinja_run *x, rlx_jinja_value name, rlx_jinja_value v,
                                      const rlx_jinja_args *args)
{
    const char *text = name.kind == RLX_JINJA_STRING ? rlx_jinja_cstr(x, name) : "";
    const rlx_jinja_callable *filter = rlx_jinja_find_filter(text);
    return filter ? rlx_jinja_call_with(x, filter, &v, args)
                  : rlx_jinja_fail(x, RLX_INVALID_FILE, "No filter named '%s'.", text);
}
