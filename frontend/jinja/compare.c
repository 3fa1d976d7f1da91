/* frontend/jinja/compare.c: truth, equality and order as Python has them. */
#include <math.h>

#include "frontend/jinja/impl.h"

const char *rlx_jinja_type_name(rlx_jinja_value v)
{
    static const char *const names[RLX_JINJA_KINDS] = {
        [RLX_JINJA_MISSING] = "NoneType",
        [RLX_JINJA_UNDEFINED] = "Undefined",
        [RLX_JINJA_NONE] = "NoneType",
        [RLX_JINJA_BOOL] = "bool",
        [RLX_JINJA_INT] = "int",
        [RLX_JINJA_FLOAT] = "float",
        [RLX_JINJA_STRING] = "str",
        [RLX_JINJA_LIST] = "list",
        [RLX_JINJA_TUPLE] = "tuple",
        [RLX_JINJA_DICT] = "dict",
        [RLX_JINJA_VIEW] = "dict_keys",
        [RLX_JINJA_RANGE] = "range",
        [RLX_JINJA_ITERATOR] = "generator",
        [RLX_JINJA_NAMESPACE] = "Namespace",
        [RLX_JINJA_MACRO] = "Macro",
        [RLX_JINJA_LOOP] = "LoopContext",
        [RLX_JINJA_CYCLER] = "Cycler",
        [RLX_JINJA_JOINER] = "Joiner",
        [RLX_JINJA_FUNCTION] = "function",
        [RLX_JINJA_METHOD] = "builtin_function_or_method",
    };
    if (v.kind == RLX_JINJA_VIEW)
        return v.view->of == RLX_JINJA_KEYS     ? "dict_keys"
               : v.view->of == RLX_JINJA_VALUES ? "dict_values"
                                                : "dict_items";
    return v.kind == RLX_JINJA_ITERATOR             ? v.it->type
           : v.kind == RLX_JINJA_STRING && v.markup ? "Markup"
                                                    : names[v.kind];
}

bool rlx_jinja_is_int(rlx_jinja_value v)
{
    return v.kind == RLX_JINJA_INT || v.kind == RLX_JINJA_BOOL;
}

bool rlx_jinja_is_number(rlx_jinja_value v)
{
    return rlx_jinja_is_int(v) || v.kind == RLX_JINJA_FLOAT;
}

static int64_t whole(rlx_jinja_value v)
{
    return v.kind == RLX_JINJA_BOOL ? v.b : v.i;
}

double rlx_jinja_number(rlx_jinja_value v)
{
    return v.kind == RLX_JINJA_FLOAT ? v.f : (double)whole(v);
}

bool rlx_jinja_as_int(rlx_jinja_run *x, rlx_jinja_value v, int64_t *out)
{
    *out = 0;
    if (rlx_jinja_is_int(v)) {
        *out = whole(v);
        return true;
    }
    if (v.kind == RLX_JINJA_UNDEFINED)
        rlx_jinja_fail_undefined(x, v);
    else
        rlx_jinja_type_error(x, "'%s' object cannot be interpreted as an integer",
                             rlx_jinja_type_name(v));
    return false;
}

bool rlx_jinja_has_length(rlx_jinja_value v)
{
    return v.kind == RLX_JINJA_UNDEFINED || v.kind == RLX_JINJA_STRING ||
           v.kind == RLX_JINJA_LIST || v.kind == RLX_JINJA_TUPLE || v.kind == RLX_JINJA_DICT ||
           v.kind == RLX_JINJA_VIEW || v.kind == RLX_JINJA_RANGE || v.kind == RLX_JINJA_LOOP;
}

int64_t rlx_jinja_length(rlx_jinja_run *x, rlx_jinja_value v)
{
    switch (v.kind) {
    case RLX_JINJA_UNDEFINED:
        return 0;
    case RLX_JINJA_STRING:
        return rlx_jinja_chars(x, v.s);
    case RLX_JINJA_LIST:
    case RLX_JINJA_TUPLE:
        return v.l->n;
    case RLX_JINJA_DICT:
        return v.d->n;
    case RLX_JINJA_VIEW:
        return v.view->dict->n;
    case RLX_JINJA_RANGE:
        return v.range->n;
    case RLX_JINJA_LOOP:
        return rlx_jinja_loop_length(x, v.loop);
    default:
        rlx_jinja_type_error(x, "object of type '%s' has no len()", rlx_jinja_type_name(v));
        return 0;
    }
}

bool rlx_jinja_truth(rlx_jinja_value v)
{
    switch (v.kind) {
    case RLX_JINJA_MISSING:
    case RLX_JINJA_NONE:
    case RLX_JINJA_UNDEFINED:
        return false;
    case RLX_JINJA_BOOL:
        return v.b;
    case RLX_JINJA_INT:
        return v.i != 0;
    case RLX_JINJA_FLOAT:
        return v.f != 0;
    case RLX_JINJA_STRING:
        return v.s->len > 0;
    default:
        return !rlx_jinja_has_length(v) || v.kind == RLX_JINJA_LOOP ||
               rlx_jinja_length(NULL, v) != 0;
    }
}

/* ---- equality */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

uint64_t rlx_jinja_hash(rlx_jinja_run *x, rlx_jinja_value v)
{
    uint64_t h = 14695981039346656037u;
    double f = v.kind == RLX_JINJA_FLOAT ? v.f : 0;
    switch (v.kind) {
    case RLX_JINJA_STRING:
        rlx_jinja_walk(x, v.s->len);
        for (size_t i = 0; i < v.s->len; i++)
            h = (h ^ (uint8_t)v.s->data[i]) * 1099511628211u;
        return mix(h);
    case RLX_JINJA_FLOAT:
        if (f == floor(f) && fabs(f) < 0x1p62)
            return mix((uint64_t)(int64_t)f);
        memcpy(&h, &f, sizeof h);
        return mix(h);
    case RLX_JINJA_BOOL:
    case RLX_JINJA_INT:
        return mix((uint64_t)whole(v));
    case RLX_JINJA_TUPLE:
        if (!rlx_jinja_deeper(x))
            return 0;
        for (int64_t i = 0; i < v.l->n && rlx_jinja_step(x, 1); i++)
            h = mix(h ^ rlx_jinja_hash(x, v.l->items[i]));
        rlx_jinja_shallower(x);
        return h;
    case RLX_JINJA_LIST:
    case RLX_JINJA_DICT:
    case RLX_JINJA_VIEW:
        rlx_jinja_type_error(x, "unhashable type: '%s'", rlx_jinja_type_name(v));
        return 0;
    case RLX_JINJA_NONE:
    case RLX_JINJA_UNDEFINED:
        return v.kind;
    default:
        return mix((uint64_t)(uintptr_t)v.l);
    }
}

static bool equal_numbers(rlx_jinja_value a, rlx_jinja_value b)
{
    if (a.kind != RLX_JINJA_FLOAT && b.kind != RLX_JINJA_FLOAT)
        return whole(a) == whole(b);
    long double x = a.kind == RLX_JINJA_FLOAT ? a.f : whole(a),
                y = b.kind == RLX_JINJA_FLOAT ? b.f : whole(b);
    return x == y;
}

static bool equal_lists(rlx_jinja_run *x, const rlx_jinja_list *a, const rlx_jinja_list *b)
{
    bool same = a->n == b->n;
    for (int64_t i = 0; same && i < a->n && i < b->n && rlx_jinja_step(x, 1); i++)
        same = rlx_jinja_is_same(a->items[i], b->items[i]) ||
               rlx_jinja_equal(x, a->items[i], b->items[i]);
    return same;
}

static bool equal_dicts(rlx_jinja_run *x, const rlx_jinja_dict *a, const rlx_jinja_dict *b)
{
    bool same = a->n == b->n;
    for (int64_t i = 0; same && i < a->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_value *v = rlx_jinja_dict_get(x, b, a->entries[i].key);
        same = v && (rlx_jinja_is_same(*v, a->entries[i].value) ||
                     rlx_jinja_equal(x, *v, a->entries[i].value));
    }
    return same;
}

static bool equal_ranges(const rlx_jinja_range *a, const rlx_jinja_range *b)
{
    return a->n == b->n &&
           (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

/* Of one kind. */
static bool equal_kind(rlx_jinja_run *x, rlx_jinja_value a, rlx_jinja_value b)
{
    switch (a.kind) {
    case RLX_JINJA_UNDEFINED:
    case RLX_JINJA_NONE:
        return true;
    case RLX_JINJA_STRING:
        return a.s->len == b.s->len && rlx_jinja_walk(x, a.s->len) &&
               !memcmp(a.s->data, b.s->data, a.s->len);
    case RLX_JINJA_LIST:
    case RLX_JINJA_TUPLE:
        return equal_lists(x, a.l, b.l);
    case RLX_JINJA_DICT:
        return equal_dicts(x, a.d, b.d);
    case RLX_JINJA_RANGE:
        return equal_ranges(a.range, b.range);
    case RLX_JINJA_METHOD:
        return a.bound->method == b.bound->method &&
               rlx_jinja_is_same(a.bound->receiver, b.bound->receiver);
    default:
        return a.l == b.l;
    }
}

bool rlx_jinja_equal(rlx_jinja_run *x, rlx_jinja_value a, rlx_jinja_value b)
{
    if (rlx_jinja_is_number(a) && rlx_jinja_is_number(b))
        return equal_numbers(a, b);
    if (a.kind != b.kind || !rlx_jinja_deeper(x))
        return false;
    bool same = equal_kind(x, a, b);
    rlx_jinja_shallower(x);
    return same;
}

bool rlx_jinja_is_same(rlx_jinja_value a, rlx_jinja_value b)
{
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case RLX_JINJA_MISSING:
    case RLX_JINJA_NONE:
        return true;
    case RLX_JINJA_BOOL:
        return a.b == b.b;
    case RLX_JINJA_INT: /* as CPython keeps one object of each small number */
        return a.i == b.i && a.i >= -5 && a.i <= 256;
    case RLX_JINJA_FLOAT:
        return false;
    case RLX_JINJA_STRING:
        return a.s == b.s;
    default:
        return a.l == b.l;
    }
}

/* ---- order */

static bool from_sign(rlx_jinja_op op, int sign)
{
    return op == RLX_JINJA_LT   ? sign < 0
           : op == RLX_JINJA_LE ? sign <= 0
           : op == RLX_JINJA_GT ? sign > 0
                                : sign >= 0;
}

static bool order_numbers(rlx_jinja_op op, rlx_jinja_value a, rlx_jinja_value b)
{
    long double x = a.kind == RLX_JINJA_FLOAT ? a.f : whole(a),
                y = b.kind == RLX_JINJA_FLOAT ? b.f : whole(b);
    return op == RLX_JINJA_LT   ? x < y
           : op == RLX_JINJA_LE ? x <= y
           : op == RLX_JINJA_GT ? x > y
                                : x >= y;
}

/* Code points compare as the bytes of UTF-8 do. */
static int sign_of_strings(const rlx_jinja_string *a, const rlx_jinja_string *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int sign = memcmp(a->data, b->data, n);
    return sign ? sign : (a->len > b->len) - (a->len < b->len);
}

static bool order_lists(rlx_jinja_run *x, rlx_jinja_op op, const rlx_jinja_list *a,
                        const rlx_jinja_list *b)
{
    int64_t i = 0;
    while (i < a->n && i < b->n && rlx_jinja_step(x, 1) &&
           rlx_jinja_equal(x, a->items[i], b->items[i]))
        i++;
    if (i < a->n && i < b->n)
        return rlx_jinja_order(x, op, a->items[i], b->items[i]);
    return from_sign(op, (a->n > b->n) - (a->n < b->n));
}

bool rlx_jinja_order(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a, rlx_jinja_value b)
{
    static const char *const signs[] = {"<", "<=", ">", ">="};
    if (rlx_jinja_is_number(a) && rlx_jinja_is_number(b))
        return order_numbers(op, a, b);
    if (a.kind == RLX_JINJA_STRING && b.kind == RLX_JINJA_STRING) {
        rlx_jinja_walk(x, a.s->len < b.s->len ? a.s->len : b.s->len);
        return from_sign(op, sign_of_strings(a.s, b.s));
    }
    if (a.kind == b.kind && (a.kind == RLX_JINJA_LIST || a.kind == RLX_JINJA_TUPLE) &&
        rlx_jinja_deeper(x)) {
        bool holds = order_lists(x, op, a.l, b.l);
        rlx_jinja_shallower(x);
        return holds;
    }
    if (a.kind == RLX_JINJA_UNDEFINED || b.kind == RLX_JINJA_UNDEFINED)
        rlx_jinja_fail_undefined(x, a.kind == RLX_JINJA_UNDEFINED ? a : b);
    else
        rlx_jinja_type_error(x, "'%s' not supported between instances of '%s' and '%s'",
                             signs[op - RLX_JINJA_LT], rlx_jinja_type_name(a),
                             rlx_jinja_type_name(b));
    return false;
}

static bool has_item(rlx_jinja_run *x, const rlx_jinja_list *l, rlx_jinja_value v)
{
    for (int64_t i = 0; i < l->n && rlx_jinja_step(x, 1); i++)
        if (rlx_jinja_is_same(l->items[i], v) || rlx_jinja_equal(x, l->items[i], v))
            return true;
    return false;
}

bool rlx_jinja_contains(rlx_jinja_run *x, rlx_jinja_value in, rlx_jinja_value v)
{
    if (in.kind == RLX_JINJA_STRING) {
        if (v.kind != RLX_JINJA_STRING) {
            rlx_jinja_type_error(x, "'in <string>' requires string as left operand, not %s",
                                 rlx_jinja_type_name(v));
            return false;
        }
        return rlx_jinja_find_bytes(x, in.s, 0, in.s->len, v.s) != NULL;
    }
    if (in.kind == RLX_JINJA_DICT || (in.kind == RLX_JINJA_VIEW && in.view->of == RLX_JINJA_KEYS))
        return rlx_jinja_dict_get(x, in.kind == RLX_JINJA_DICT ? in.d : in.view->dict, v) != NULL;
    if (in.kind == RLX_JINJA_RANGE && rlx_jinja_is_int(v)) {
        const rlx_jinja_range *r = in.range;
        __int128 from_start = (__int128)whole(v) - r->start, at = from_start / r->step;
        return at >= 0 && at < r->n && at * r->step == from_start;
    }
    if (!rlx_jinja_is_iterable(in)) {
        rlx_jinja_type_error(x, "argument of type '%s' is not iterable", rlx_jinja_type_name(in));
        return false;
    }
    return has_item(x, rlx_jinja_iterate(x, in), v);
}

bool rlx_jinja_compare(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a, rlx_jinja_value b)
{
    if (op == RLX_JINJA_EQ || op == RLX_JINJA_NE)
        return rlx_jinja_equal(x, a, b) == (op == RLX_JINJA_EQ);
    if (op == RLX_JINJA_IN || op == RLX_JINJA_NOT_IN)
        return rlx_jinja_contains(x, b, a) == (op == RLX_JINJA_IN);
    return rlx_jinja_order(x, op, a, b);
}

/* ---- sorting */

typedef struct sorting {
    rlx_jinja_value *items, *keys, *items2, *keys2;
    bool reverse;
} sorting;

/* Whether `b`, which stands behind `a`, goes before it. */
static bool goes_before(rlx_jinja_run *x, const sorting *s, rlx_jinja_value a, rlx_jinja_value b)
{
    return s->reverse ? rlx_jinja_order(x, RLX_JINJA_LT, a, b)
                      : rlx_jinja_order(x, RLX_JINJA_LT, b, a);
}

static void merge_halves(rlx_jinja_run *x, sorting *s, int64_t from, int64_t middle, int64_t to)
{
    int64_t a = from, b = middle;
    for (int64_t i = from; i < to; i++) {
        bool second = a == middle || (b < to && goes_before(x, s, s->keys[a], s->keys[b]));
        int64_t take = second ? b++ : a++;
        s->items2[i] = s->items[take];
        s->keys2[i] = s->keys[take];
    }
    memcpy(s->items + from, s->items2 + from, (size_t)(to - from) * sizeof(rlx_jinja_value));
    memcpy(s->keys + from, s->keys2 + from, (size_t)(to - from) * sizeof(rlx_jinja_value));
}

static void merge_sort(rlx_jinja_run *x, sorting *s, int64_t from, int64_t to)
{
    if (to - from < 2 || !rlx_jinja_step(x, to - from))
        return;
    int64_t middle = from + (to - from) / 2;
    merge_sort(x, s, from, middle);
    merge_sort(x, s, middle, to);
    merge_halves(x, s, from, middle, to);
}

void rlx_jinja_sort(rlx_jinja_run *x, rlx_jinja_list *items, rlx_jinja_list *keys, bool reverse)
{
    size_t bytes = (size_t)items->n * sizeof(rlx_jinja_value);
    if (x->error || keys->n != items->n || !items->n)
        return;
    sorting s = {items->items, keys->items, rlx_jinja_alloc(x, bytes), rlx_jinja_alloc(x, bytes),
                 reverse};
    if (s.items2 && s.keys2)
        merge_sort(x, &s, 0, items->n);
}
