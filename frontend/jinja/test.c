/* frontend/jinja/test.c: what "is" asks, by tests.def. */
#include <math.h>

#include "frontend/jinja/impl.h"

static rlx_jinja_value test_eq(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_equal(x, a[0], a[1]));
}

static rlx_jinja_value test_ne(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(!rlx_jinja_equal(x, a[0], a[1]));
}

static rlx_jinja_value test_lt(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_order(x, RLX_JINJA_LT, a[0], a[1]));
}

static rlx_jinja_value test_le(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_order(x, RLX_JINJA_LE, a[0], a[1]));
}

static rlx_jinja_value test_gt(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_order(x, RLX_JINJA_GT, a[0], a[1]));
}

static rlx_jinja_value test_ge(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_order(x, RLX_JINJA_GE, a[0], a[1]));
}

static rlx_jinja_value test_in(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_contains(x, a[1], a[0]));
}

/* The remainder of a[0] by `num`, as truth. */
static bool divides(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value num)
{
    return !rlx_jinja_truth(rlx_jinja_binary(x, RLX_JINJA_MOD, v, num)) && !x->error;
}

static rlx_jinja_value test_divisibleby(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(divides(x, a[0], a[1]));
}

static rlx_jinja_value test_even(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(divides(x, a[0], rlx_jinja_int(2)));
}

static rlx_jinja_value test_odd(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_bool(rlx_jinja_equal(
        x, rlx_jinja_binary(x, RLX_JINJA_MOD, a[0], rlx_jinja_int(2)), rlx_jinja_int(1)));
}

static rlx_jinja_value test_sameas(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)x;
    (void)args;
    return rlx_jinja_bool(rlx_jinja_is_same(a[0], a[1]));
}

/* Tests that look at the kind only. */
#define KIND_TEST(name, holds)                                               \
    static rlx_jinja_value test_##name(rlx_jinja_run *x, rlx_jinja_value *a, \
                                       const rlx_jinja_args *args)           \
    {                                                                        \
        const rlx_jinja_value v = a[0];                                      \
        (void)x;                                                             \
        (void)args;                                                          \
        return rlx_jinja_bool(holds);                                        \
    }
KIND_TEST(boolean, v.kind == RLX_JINJA_BOOL)
KIND_TEST(true, v.kind == RLX_JINJA_BOOL && v.b)
KIND_TEST(false, v.kind == RLX_JINJA_BOOL && !v.b)
KIND_TEST(defined, v.kind != RLX_JINJA_UNDEFINED)
KIND_TEST(undefined, v.kind == RLX_JINJA_UNDEFINED)
KIND_TEST(none, v.kind == RLX_JINJA_NONE)
KIND_TEST(integer, v.kind == RLX_JINJA_INT)
KIND_TEST(float, v.kind == RLX_JINJA_FLOAT)
KIND_TEST(number, rlx_jinja_is_number(v))
KIND_TEST(string, v.kind == RLX_JINJA_STRING)
KIND_TEST(mapping, v.kind == RLX_JINJA_DICT)
KIND_TEST(iterable, rlx_jinja_is_iterable(v))
KIND_TEST(sequence, rlx_jinja_has_length(v) && v.kind != RLX_JINJA_VIEW && v.kind != RLX_JINJA_LOOP)
KIND_TEST(escaped, v.kind == RLX_JINJA_STRING && v.markup)
KIND_TEST(callable, v.kind == RLX_JINJA_FUNCTION || v.kind == RLX_JINJA_METHOD ||
                        v.kind == RLX_JINJA_MACRO || v.kind == RLX_JINJA_LOOP ||
                        v.kind == RLX_JINJA_JOINER || v.kind == RLX_JINJA_UNDEFINED)
KIND_TEST(filter, v.kind == RLX_JINJA_STRING && rlx_jinja_find_filter(rlx_jinja_cstr(x, v)) != NULL)
KIND_TEST(test, v.kind == RLX_JINJA_STRING && rlx_jinja_find_test(rlx_jinja_cstr(x, v)) != NULL)

/* Whether str(value) has letters, all of one case. */
static rlx_jinja_value in_case(rlx_jinja_run *x, rlx_jinja_value v, bool upper)
{
    v = rlx_jinja_str(x, v);
    const char *p = v.s->data, *end = p + v.s->len;
    bool any = false;
    while (p < end && rlx_jinja_step(x, 1)) {
        uint32_t c = rlx_jinja_next(&p);
        if ((upper ? rlx_jinja_is_lower(c) : rlx_jinja_is_upper(c)) || rlx_jinja_is_title(c))
            return rlx_jinja_bool(false);
        any |= rlx_jinja_is_upper(c) || rlx_jinja_is_lower(c);
    }
    return rlx_jinja_bool(any);
}

static rlx_jinja_value test_upper(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return in_case(x, a[0], true);
}

static rlx_jinja_value test_lower(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return in_case(x, a[0], false);
}

static const rlx_jinja_callable tests[] = {
#define RLX_JINJA_TEST(name, params, function) {name, params, test_##function, RLX_JINJA_MISSING},
#include "frontend/jinja/tests.def"
#undef RLX_JINJA_TEST
};

const rlx_jinja_callable *rlx_jinja_find_test(const char *name)
{
    return rlx_jinja_find(tests, sizeof tests / sizeof *tests, name);
}

bool rlx_jinja_call_test(rlx_jinja_run *x, rlx_jinja_value name, rlx_jinja_value v,
                         const rlx_jinja_args *args)
{
    const char *text = name.kind == RLX_JINJA_STRING ? rlx_jinja_cstr(x, name) : "";
    const rlx_jinja_callable *test = rlx_jinja_find_test(text);
    if (!test) {
        rlx_jinja_fail(x, RLX_INVALID_FILE, "No test named '%s'.", text);
        return false;
    }
    return rlx_jinja_truth(rlx_jinja_call_with(x, test, &v, args));
}
