/* frontend/jinja/method_is.c: methods that ask what characters a string has. */
#include "frontend/jinja/method.h"

/* Whether there are characters, and `is` holds for all. */
static rlx_jinja_value all(rlx_jinja_run *x, rlx_jinja_value s, bool (*is)(uint32_t c))
{
    const char *p = s.s->data, *end = p + s.s->len;
    while (p < end && rlx_jinja_step(x, 1))
        if (!is(rlx_jinja_next(&p)))
            return rlx_jinja_bool(false);
    return rlx_jinja_bool(s.s->len > 0);
}

static bool is_alnum(uint32_t c)
{
    return rlx_jinja_is_alpha(c) || rlx_jinja_is_decimal(c) || rlx_jinja_is_digit(c) ||
           rlx_jinja_is_numeric(c);
}

rlx_jinja_value rlx_jinja_str_isalnum(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return all(x, a[0], is_alnum);
}

rlx_jinja_value rlx_jinja_str_isalpha(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return all(x, a[0], rlx_jinja_is_alpha);
}

rlx_jinja_value rlx_jinja_str_isdecimal(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return all(x, a[0], rlx_jinja_is_decimal);
}

rlx_jinja_value rlx_jinja_str_isdigit(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return all(x, a[0], rlx_jinja_is_digit);
}

rlx_jinja_value rlx_jinja_str_isnumeric(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return all(x, a[0], rlx_jinja_is_numeric);
}

rlx_jinja_value rlx_jinja_str_isspace(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return all(x, a[0], rlx_jinja_is_space);
}

rlx_jinja_value rlx_jinja_str_isprintable(rlx_jinja_run *x, rlx_jinja_value *a,
                                          const rlx_jinja_args *args)
{
    (void)args;
    return a[0].s->len ? all(x, a[0], rlx_jinja_is_printable) : rlx_jinja_bool(true);
}

static bool is_ascii(uint32_t c)
{
    return c < 0x80;
}

rlx_jinja_value rlx_jinja_str_isascii(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return a[0].s->len ? all(x, a[0], is_ascii) : rlx_jinja_bool(true);
}

rlx_jinja_value rlx_jinja_str_isidentifier(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    const char *p = a[0].s->data;
    (void)args;
    if (!a[0].s->len || rlx_jinja_is_numeric(rlx_jinja_next(&p)))
        return rlx_jinja_bool(false);
    return all(x, a[0], rlx_jinja_is_word);
}

static rlx_jinja_value in_case(rlx_jinja_run *x, rlx_jinja_value *a, const char *test)
{
    const rlx_jinja_args none = {0};
    return rlx_jinja_bool(rlx_jinja_call_test(x, rlx_jinja_literal(x, test), a[0], &none));
}

rlx_jinja_value rlx_jinja_str_isupper(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return in_case(x, a, "upper");
}

rlx_jinja_value rlx_jinja_str_islower(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return in_case(x, a, "lower");
}

/* Capitals begin words, and only they do. */
rlx_jinja_value rlx_jinja_str_istitle(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    bool inside = false, any = false;
    (void)args;
    const char *p = a[0].s->data, *end = p + a[0].s->len;
    while (p < end && rlx_jinja_step(x, 1)) {
        uint32_t c = rlx_jinja_next(&p);
        bool capital = rlx_jinja_is_upper(c) || rlx_jinja_is_title(c),
             small = rlx_jinja_is_lower(c);
        if (capital == inside && (capital || small))
            return rlx_jinja_bool(false);
        inside = capital || small;
        any |= inside;
    }
    return rlx_jinja_bool(any);
}
