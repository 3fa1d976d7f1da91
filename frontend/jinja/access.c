/* frontend/jinja/access.c: attributes, items and slices. "a.b" asks for an attribute first and for
 * an item then, "a['b']" the other way around; what neither has is undefined. */
#include "frontend/jinja/impl.h"

rlx_jinja_value rlx_jinja_fail_undefined(rlx_jinja_run *x, rlx_jinja_value v)
{
    const rlx_jinja_undefined *u = v.u;
    rlx_jinja_buffer b = {.x = x};
    if (u->hint) {
        rlx_jinja_puts(&b, u->hint);
    } else if (u->object.kind == RLX_JINJA_MISSING) {
        rlx_jinja_put_repr(&b, u->name);
        rlx_jinja_puts(&b, " is undefined");
    } else {
        bool attr = u->name.kind == RLX_JINJA_STRING;
        bool none = u->object.kind == RLX_JINJA_NONE;
        bool ours = u->object.kind == RLX_JINJA_NAMESPACE || u->object.kind == RLX_JINJA_CYCLER;
        bool runtime = u->object.kind == RLX_JINJA_LOOP || u->object.kind == RLX_JINJA_MACRO;
        rlx_jinja_puts(&b, attr ? "'" : "");
        rlx_jinja_puts(&b, ours ? "jinja2.utils." : runtime ? "jinja2.runtime." : "");
        rlx_jinja_puts(&b, none ? "None" : rlx_jinja_type_name(u->object));
        rlx_jinja_puts(&b, none ? "" : " object");
        rlx_jinja_puts(&b, attr ? "' has no attribute " : " has no element ");
        rlx_jinja_put_repr(&b, u->name);
    }
    return rlx_jinja_fail(x, RLX_INVALID_ARGUMENT, "%.*s", (int)(b.len < 400 ? b.len : 400),
                          b.data ? b.data : "");
}

/* ---- attributes */

rlx_jinja_value rlx_jinja_static_attr(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value name)
{
    const char *text = name.s->data;
    size_t len = name.s->len;
    const rlx_jinja_callable *method = rlx_jinja_find_method(v, text, len);
    if (method) {
        rlx_jinja_bound *bound = rlx_jinja_alloc(x, sizeof *bound);
        if (!bound)
            return rlx_jinja_none();
        *bound = (rlx_jinja_bound){v, method};
        return (rlx_jinja_value){.kind = RLX_JINJA_METHOD, .bound = bound};
    }
    if (v.kind == RLX_JINJA_NAMESPACE) {
        const rlx_jinja_value *found = rlx_jinja_dict_get(x, v.d, name);
        return found ? *found : (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
    }
    if (v.kind == RLX_JINJA_LOOP)
        return rlx_jinja_loop_attr(x, v.loop, name);
    if (v.kind == RLX_JINJA_MACRO)
        return rlx_jinja_macro_attr(x, v.macro, name);
    if (v.kind == RLX_JINJA_CYCLER && rlx_jinja_equal_text(name, "current"))
        return v.cycler->items->items[v.cycler->pos];
    if (v.kind == RLX_JINJA_TUPLE && v.markup) /* of groupby: what Python calls a named tuple */
        for (int i = 0; i < 2; i++)
            if (rlx_jinja_equal_text(name, i ? "list" : "grouper"))
                return v.l->items[i];
    return (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
}

/* Item `i` of n; -1: there is none. */
static int64_t index_of(int64_t i, int64_t n)
{
    i += i < 0 ? n : 0;
    return i >= 0 && i < n ? i : -1;
}

static rlx_jinja_value sequence_item(rlx_jinja_run *x, rlx_jinja_value v, int64_t i)
{
    int64_t at = index_of(i, rlx_jinja_length(x, v));
    if (at < 0)
        return (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
    if (v.kind == RLX_JINJA_RANGE)
        return rlx_jinja_int(v.range->start + at * v.range->step);
    if (v.kind != RLX_JINJA_STRING)
        return v.l->items[at];
    size_t from = rlx_jinja_offset(x, v.s, at);
    const char *p = v.s->data + from;
    rlx_jinja_next(&p);
    return rlx_jinja_part(x, v, from, (size_t)(p - v.s->data));
}

/* MISSING when there is no such item. */
static rlx_jinja_value find_item(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value key)
{
    if (v.kind == RLX_JINJA_DICT) {
        bool hashable =
            key.kind != RLX_JINJA_LIST && key.kind != RLX_JINJA_DICT && key.kind != RLX_JINJA_VIEW;
        const rlx_jinja_value *found = hashable ? rlx_jinja_dict_get(x, v.d, key) : NULL;
        return found ? *found : (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
    }
    bool sequence = v.kind == RLX_JINJA_STRING || v.kind == RLX_JINJA_LIST ||
                    v.kind == RLX_JINJA_TUPLE || v.kind == RLX_JINJA_RANGE;
    int64_t i;
    if (sequence && rlx_jinja_is_int(key) && rlx_jinja_as_int(x, key, &i))
        return sequence_item(x, v, i);
    return (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
}

rlx_jinja_value rlx_jinja_attr(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value name)
{
    if (v.kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, v);
    rlx_jinja_value found = rlx_jinja_static_attr(x, v, name);
    if (!rlx_jinja_given(found))
        found = find_item(x, v, name);
    return rlx_jinja_given(found) ? found : rlx_jinja_undefined_of(x, v, name);
}

rlx_jinja_value rlx_jinja_item(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value key)
{
    if (v.kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, v);
    rlx_jinja_value found = find_item(x, v, key);
    if (!rlx_jinja_given(found) && key.kind == RLX_JINJA_STRING)
        found = rlx_jinja_static_attr(x, v, key);
    return rlx_jinja_given(found) ? found : rlx_jinja_undefined_of(x, v, key);
}

/* ---- slices */

/* One end of a slice of n items; `absent`: where it lies when it is left out. */
static bool slice_end(rlx_jinja_run *x, rlx_jinja_value v, int64_t n, int64_t low, int64_t high,
                      int64_t absent, int64_t *out)
{
    *out = absent;
    if (v.kind == RLX_JINJA_NONE || v.kind == RLX_JINJA_MISSING)
        return true;
    if (!rlx_jinja_is_int(v)) {
        if (v.kind == RLX_JINJA_UNDEFINED)
            rlx_jinja_fail_undefined(x, v);
        else
            rlx_jinja_type_error(
                x, "slice indices must be integers or None or have an __index__ method");
        return false;
    }
    rlx_jinja_as_int(x, v, out);
    *out += *out < 0 ? n : 0;
    *out = *out < low ? low : *out > high ? high : *out;
    return true;
}

static rlx_jinja_value slice_list(rlx_jinja_run *x, rlx_jinja_value v, int64_t from, int64_t step,
                                  int64_t count)
{
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    const rlx_jinja_list *in = v.kind == RLX_JINJA_RANGE ? rlx_jinja_iterate(x, v) : v.l;
    for (int64_t i = 0; i < count && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, out, in->items[from + i * step]);
    return rlx_jinja_list_value(out, v.kind == RLX_JINJA_TUPLE ? RLX_JINJA_TUPLE : RLX_JINJA_LIST);
}

static rlx_jinja_value slice_string(rlx_jinja_run *x, rlx_jinja_value v, int64_t from, int64_t step,
                                    int64_t count)
{
    if (step == 1) {
        size_t start = rlx_jinja_offset(x, v.s, from);
        return rlx_jinja_part(x, v, start, rlx_jinja_offset(x, v.s, from + count));
    }
    rlx_jinja_buffer b = {.x = x};
    const rlx_jinja_list *chars = rlx_jinja_iterate(x, v);
    for (int64_t i = 0; i < count && from + i * step < chars->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_put_str(&b, chars->items[from + i * step]);
    v.s = rlx_jinja_taken(&b).s;
    return v;
}

rlx_jinja_value rlx_jinja_slice(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value from,
                                rlx_jinja_value to, rlx_jinja_value step)
{
    if (v.kind == RLX_JINJA_UNDEFINED)
        return rlx_jinja_fail_undefined(x, v);
    bool sequence = v.kind == RLX_JINJA_STRING || v.kind == RLX_JINJA_LIST ||
                    v.kind == RLX_JINJA_TUPLE || v.kind == RLX_JINJA_RANGE;
    if (!sequence)
        return v.kind == RLX_JINJA_DICT
                   ? rlx_jinja_type_error(x, "unhashable type: 'slice'")
                   : rlx_jinja_type_error(x, "'%s' object is not subscriptable",
                                          rlx_jinja_type_name(v));
    int64_t n = rlx_jinja_length(x, v), by = 1, a, b;
    if (rlx_jinja_given(step) && step.kind != RLX_JINJA_NONE && !rlx_jinja_as_int(x, step, &by))
        return rlx_jinja_none();
    if (by == 0)
        return rlx_jinja_type_error(x, "slice step cannot be zero");
    bool back = by < 0;
    by = by > n + 1 ? n + 1 : by < -n - 1 ? -n - 1 : by; /* beyond that one item is left */
    if (!slice_end(x, from, n, back ? -1 : 0, back ? n - 1 : n, back ? n - 1 : 0, &a) ||
        !slice_end(x, to, n, back ? -1 : 0, back ? n - 1 : n, back ? -1 : n, &b))
        return rlx_jinja_none();
    int64_t span = back ? a - b : b - a, count = span > 0 ? (span - 1) / (back ? -by : by) + 1 : 0;
    return v.kind == RLX_JINJA_STRING ? slice_string(x, v, a, by, count)
                                      : slice_list(x, v, a, by, count);
}
