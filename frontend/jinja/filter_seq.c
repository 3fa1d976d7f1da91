/* frontend/jinja/filter_seq.c: filters of sequences. What Jinja gives as a generator is computed at
 * once here, and is used up by iterating there as here. */
#include "frontend/jinja/filter.h"

static rlx_jinja_value generator(rlx_jinja_run *x, rlx_jinja_list *items)
{
    return rlx_jinja_iterator_value(x, items, "generator");
}

static rlx_jinja_value list_value(rlx_jinja_list *l)
{
    return rlx_jinja_list_value(l, RLX_JINJA_LIST);
}

/* ---- attributes by path: "a.0.b" */

static bool is_index(rlx_jinja_value part)
{
    for (size_t i = 0; i < part.s->len; i++)
        if (part.s->data[i] < '0' || part.s->data[i] > '9')
            return false;
    return part.s->len > 0;
}

static rlx_jinja_value get_step(rlx_jinja_run *x, rlx_jinja_value item, rlx_jinja_value part,
                                rlx_jinja_value absent)
{
    int64_t i;
    if (part.kind == RLX_JINJA_STRING && is_index(part) && rlx_jinja_parse_int(part, 10, &i))
        part = rlx_jinja_int(i);
    item = rlx_jinja_item(x, item, part);
    bool fill = item.kind == RLX_JINJA_UNDEFINED && rlx_jinja_given(absent) &&
                absent.kind != RLX_JINJA_NONE;
    return fill ? absent : item;
}

/* The attribute of `item` (MISSING, None: itself); `absent` for each step that gives none. */
static rlx_jinja_value get(rlx_jinja_run *x, rlx_jinja_value item, rlx_jinja_value attribute,
                           rlx_jinja_value absent)
{
    if (attribute.kind != RLX_JINJA_STRING)
        return attribute.kind == RLX_JINJA_MISSING || attribute.kind == RLX_JINJA_NONE
                   ? item
                   : get_step(x, item, attribute, absent);
    for (size_t from = 0, to; from <= attribute.s->len && rlx_jinja_step(x, 1); from = to + 1) {
        const char *dot = rlx_jinja_find_bytes(x, attribute.s, from, attribute.s->len,
                                               rlx_jinja_literal(x, ".").s);
        to = dot ? (size_t)(dot - attribute.s->data) : attribute.s->len;
        item = get_step(x, item, rlx_jinja_part(x, attribute, from, to), absent);
    }
    return item;
}

static rlx_jinja_value folded(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value case_sensitive)
{
    return v.kind == RLX_JINJA_STRING && !rlx_jinja_truth(case_sensitive)
               ? rlx_jinja_cased(x, v, RLX_JINJA_LOWER)
               : v;
}

static rlx_jinja_list *keys_of(rlx_jinja_run *x, const rlx_jinja_list *items,
                               rlx_jinja_value attribute, rlx_jinja_value absent,
                               rlx_jinja_value case_sensitive)
{
    rlx_jinja_list *keys = rlx_jinja_list_new(x);
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, keys,
                       folded(x, get(x, items->items[i], attribute, absent), case_sensitive));
    return keys;
}

/* Of "a,b": keys that are lists. */
static rlx_jinja_list *many_keys_of(rlx_jinja_run *x, const rlx_jinja_list *items,
                                    rlx_jinja_value attribute, rlx_jinja_value case_sensitive)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    rlx_jinja_list *keys = rlx_jinja_list_new(x);
    const rlx_jinja_string *comma = rlx_jinja_literal(x, ",").s;
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++) {
        rlx_jinja_list *parts = rlx_jinja_list_new(x);
        for (size_t from = 0, to; from <= attribute.s->len && rlx_jinja_step(x, 1); from = to + 1) {
            const char *at = rlx_jinja_find_bytes(x, attribute.s, from, attribute.s->len, comma);
            to = at ? (size_t)(at - attribute.s->data) : attribute.s->len;
            rlx_jinja_value v =
                get(x, items->items[i], rlx_jinja_part(x, attribute, from, to), none);
            rlx_jinja_push(x, parts, folded(x, v, case_sensitive));
        }
        rlx_jinja_push(x, keys, list_value(parts));
    }
    return keys;
}

/* ---- order */

rlx_jinja_value rlx_jinja_filter_sort(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    (void)args;
    rlx_jinja_list *items = rlx_jinja_list_copy(x, rlx_jinja_iterate(x, a[0]));
    rlx_jinja_list *keys = a[3].kind == RLX_JINJA_STRING ? many_keys_of(x, items, a[3], a[2])
                                                         : keys_of(x, items, a[3], none, a[2]);
    rlx_jinja_sort(x, items, keys, rlx_jinja_truth(a[1]));
    return list_value(items);
}

rlx_jinja_value rlx_jinja_filter_dictsort(rlx_jinja_run *x, rlx_jinja_value *a,
                                          const rlx_jinja_args *args)
{
    (void)args;
    bool by_key = !rlx_jinja_given(a[2]) || rlx_jinja_equal_text(a[2], "key");
    if (!by_key && !rlx_jinja_equal_text(a[2], "value"))
        return rlx_jinja_type_error(x, "You can only sort by either \"key\" or \"value\"");
    if (a[0].kind != RLX_JINJA_DICT)
        return a[0].kind == RLX_JINJA_UNDEFINED
                   ? rlx_jinja_fail_undefined(x, a[0])
                   : rlx_jinja_type_error(x, "'%s' object has no attribute 'items'",
                                          rlx_jinja_type_name(a[0]));
    rlx_jinja_list *pairs = rlx_jinja_list_new(x), *keys = rlx_jinja_list_new(x);
    for (int64_t i = 0; i < a[0].d->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_entry *e = &a[0].d->entries[i];
        rlx_jinja_push(x, pairs, rlx_jinja_pair(x, e->key, e->value));
        rlx_jinja_push(x, keys, folded(x, by_key ? e->key : e->value, a[1]));
    }
    rlx_jinja_sort(x, pairs, keys, rlx_jinja_truth(a[3]));
    return list_value(pairs);
}

/* The item with the least or greatest key. */
static rlx_jinja_value extreme(rlx_jinja_run *x, const rlx_jinja_value *a, rlx_jinja_op op)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]),
                         *keys = keys_of(x, items, a[2], none, a[1]);
    int64_t best = 0;
    if (!items->n || keys->n != items->n)
        return rlx_jinja_undefined_hint(x, "No aggregated item, sequence was empty.");
    for (int64_t i = 1; i < items->n && rlx_jinja_step(x, 1); i++)
        if (rlx_jinja_order(x, op, keys->items[i], keys->items[best]))
            best = i;
    return items->items[best];
}

rlx_jinja_value rlx_jinja_filter_min(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return extreme(x, a, RLX_JINJA_LT);
}

rlx_jinja_value rlx_jinja_filter_max(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return extreme(x, a, RLX_JINJA_GT);
}

rlx_jinja_value rlx_jinja_filter_groupby(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    rlx_jinja_list *items = rlx_jinja_list_copy(x, rlx_jinja_iterate(x, a[0])),
                   *groups = rlx_jinja_list_new(x);
    rlx_jinja_list *keys = keys_of(x, items, a[1], a[2], a[3]);
    rlx_jinja_sort(x, items, keys, false);
    rlx_jinja_list *group = NULL;
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++) {
        if (!group || !rlx_jinja_equal(x, keys->items[i - 1], keys->items[i])) {
            group = rlx_jinja_list_new(x);
            rlx_jinja_value pair =
                rlx_jinja_pair(x, get(x, items->items[i], a[1], a[2]), list_value(group));
            pair.markup = true; /* its items have names, too: see rlx_jinja_static_attr */
            rlx_jinja_push(x, groups, pair);
        }
        rlx_jinja_push(x, group, items->items[i]);
    }
    return list_value(groups);
}

rlx_jinja_value rlx_jinja_filter_unique(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    (void)args;
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]),
                         *keys = keys_of(x, items, a[2], none, a[1]);
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    rlx_jinja_dict *seen = rlx_jinja_dict_new(x);
    for (int64_t i = 0; i < keys->n && rlx_jinja_step(x, 1); i++) {
        if (rlx_jinja_dict_get(x, seen, keys->items[i]))
            continue;
        rlx_jinja_dict_set(x, seen, keys->items[i], rlx_jinja_none());
        rlx_jinja_push(x, out, items->items[i]);
    }
    return generator(x, out);
}

/* ---- items */

rlx_jinja_value rlx_jinja_filter_list(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return list_value(rlx_jinja_list_copy(x, rlx_jinja_iterate(x, a[0])));
}

rlx_jinja_value rlx_jinja_filter_length(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_int(rlx_jinja_length(x, a[0]));
}

rlx_jinja_value rlx_jinja_filter_first(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    if (a[0].kind == RLX_JINJA_ITERATOR && a[0].it->pos < a[0].it->items->n)
        return a[0].it->items->items[a[0].it->pos++];
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    return items->n ? items->items[0]
                    : rlx_jinja_undefined_hint(x, "No first item, sequence was empty.");
}

rlx_jinja_value rlx_jinja_filter_last(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    if (a[0].kind == RLX_JINJA_ITERATOR)
        return rlx_jinja_type_error(x, "'%s' object is not reversible", rlx_jinja_type_name(a[0]));
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    return items->n ? items->items[items->n - 1]
                    : rlx_jinja_undefined_hint(x, "No last item, sequence was empty.");
}

rlx_jinja_value rlx_jinja_filter_reverse(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    if (a[0].kind != RLX_JINJA_STRING && !rlx_jinja_is_iterable(a[0]))
        return rlx_jinja_type_error(x, "argument must be iterable");
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    rlx_jinja_buffer b = {.x = x};
    for (int64_t i = items->n - 1; i >= 0 && rlx_jinja_step(x, 1); i--) {
        if (a[0].kind == RLX_JINJA_STRING)
            rlx_jinja_put_str(&b, items->items[i]);
        else
            rlx_jinja_push(x, out, items->items[i]);
    }
    if (a[0].kind == RLX_JINJA_ITERATOR)
        return list_value(out);
    return a[0].kind == RLX_JINJA_STRING ? rlx_jinja_taken(&b)
                                         : rlx_jinja_iterator_value(x, out, "list_reverseiterator");
}

rlx_jinja_value rlx_jinja_filter_items(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    if (a[0].kind == RLX_JINJA_UNDEFINED)
        return generator(x, rlx_jinja_list_new(x));
    if (a[0].kind != RLX_JINJA_DICT)
        return rlx_jinja_type_error(x, "Can only get item pairs from a mapping.");
    rlx_jinja_view view = {a[0].d, RLX_JINJA_ITEMS};
    return generator(
        x, rlx_jinja_iterate(x, (rlx_jinja_value){.kind = RLX_JINJA_VIEW, .view = &view}));
}

rlx_jinja_value rlx_jinja_filter_join(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    (void)args;
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    rlx_jinja_list *parts = rlx_jinja_list_new(x);
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, parts, get(x, items->items[i], a[2], none));
    rlx_jinja_value separator =
        rlx_jinja_given(a[1]) ? rlx_jinja_str(x, a[1]) : rlx_jinja_literal(x, "");
    return rlx_jinja_join(x, separator, parts, true);
}

rlx_jinja_value rlx_jinja_filter_sum(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    (void)args;
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    rlx_jinja_value sum = rlx_jinja_given(a[2]) ? a[2] : rlx_jinja_int(0);
    if (sum.kind == RLX_JINJA_STRING)
        return rlx_jinja_type_error(x, "sum() can't sum strings [use ''.join(seq) instead]");
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++)
        sum = rlx_jinja_binary(x, RLX_JINJA_ADD, sum, get(x, items->items[i], a[1], none));
    return sum;
}

rlx_jinja_value rlx_jinja_filter_batch(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    int64_t width;
    (void)args;
    if (!rlx_jinja_as_int(x, a[1], &width))
        return rlx_jinja_none();
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    rlx_jinja_list *out = rlx_jinja_list_new(x), *row = rlx_jinja_list_new(x);
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++) {
        if (row->n == width) {
            rlx_jinja_push(x, out, list_value(row));
            row = rlx_jinja_list_new(x);
        }
        rlx_jinja_push(x, row, items->items[i]);
    }
    bool fill = rlx_jinja_given(a[2]) && a[2].kind != RLX_JINJA_NONE;
    while (row->n && fill && row->n < width && rlx_jinja_step(x, 1))
        rlx_jinja_push(x, row, a[2]);
    if (row->n)
        rlx_jinja_push(x, out, list_value(row));
    return generator(x, out);
}

rlx_jinja_value rlx_jinja_filter_slice(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    int64_t slices, at = 0;
    (void)args;
    if (!rlx_jinja_as_int(x, a[1], &slices))
        return rlx_jinja_none();
    if (slices == 0)
        return rlx_jinja_type_error(x, "integer division or modulo by zero");
    const rlx_jinja_list *items = rlx_jinja_iterate(x, a[0]);
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    bool fill = rlx_jinja_given(a[2]) && a[2].kind != RLX_JINJA_NONE;
    for (int64_t k = 0; k < slices && rlx_jinja_step(x, 1); k++) {
        int64_t n = items->n / slices + (k < items->n % slices);
        rlx_jinja_list *part = rlx_jinja_list_new(x);
        for (; n > 0 && rlx_jinja_step(x, 1); n--)
            rlx_jinja_push(x, part, items->items[at++]);
        if (fill && k >= items->n % slices)
            rlx_jinja_push(x, part, a[2]);
        rlx_jinja_push(x, out, list_value(part));
    }
    return generator(x, out);
}

/* ---- map, select */

static rlx_jinja_args behind(const rlx_jinja_args *args, int n)
{
    rlx_jinja_args rest = *args;
    if (n > rest.npos)
        n = rest.npos;
    if (n)
        rest.pos += n;
    rest.npos -= n;
    return rest;
}

/* "attribute" and "default" of map. */
static rlx_jinja_value map_attribute(rlx_jinja_run *x, const rlx_jinja_list *items,
                                     const rlx_jinja_args *args)
{
    rlx_jinja_value attribute = {.kind = RLX_JINJA_MISSING}, absent = attribute;
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    for (int i = 0; i < args->nnamed; i++) {
        rlx_jinja_value name = {.kind = RLX_JINJA_STRING, .s = args->names[i]};
        if (rlx_jinja_equal_text(name, "attribute"))
            attribute = args->named[i];
        else if (rlx_jinja_equal_text(name, "default"))
            absent = args->named[i];
        else
            return rlx_jinja_type_error(x, "Unexpected keyword argument '%.*s'", (int)name.s->len,
                                        name.s->data);
    }
    if (!rlx_jinja_given(attribute))
        return rlx_jinja_type_error(x, "map requires a filter argument");
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, out, get(x, items->items[i], attribute, absent));
    return generator(x, out);
}

rlx_jinja_value rlx_jinja_filter_map(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    const rlx_jinja_list *items = rlx_jinja_truth(a[0]) ? rlx_jinja_iterate(x, a[0]) : out;
    if (!args->npos)
        return map_attribute(x, items, args);
    rlx_jinja_args rest = behind(args, 1);
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, out, rlx_jinja_call_filter(x, args->pos[0], items->items[i], &rest));
    return generator(x, out);
}

/* The items whose value (of an attribute, where `by_attribute`) passes a test, or is true. */
static rlx_jinja_value choose(rlx_jinja_run *x, rlx_jinja_value in, const rlx_jinja_args *args,
                              bool by_attribute, bool want)
{
    const rlx_jinja_value none = {.kind = RLX_JINJA_MISSING};
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    const rlx_jinja_list *items = rlx_jinja_truth(in) ? rlx_jinja_iterate(x, in) : out;
    int at = by_attribute;
    if (items->n && args->npos < at)
        return rlx_jinja_type_error(x, "Missing parameter for attribute name");
    bool tests = args->npos > at;
    rlx_jinja_args rest = behind(args, tests ? at + 1 : at);
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++) {
        rlx_jinja_value v =
            by_attribute ? get(x, items->items[i], args->pos[0], none) : items->items[i];
        if ((tests ? rlx_jinja_call_test(x, args->pos[at], v, &rest) : rlx_jinja_truth(v)) == want)
            rlx_jinja_push(x, out, items->items[i]);
    }
    return generator(x, out);
}

rlx_jinja_value rlx_jinja_filter_select(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    return choose(x, a[0], args, false, true);
}

rlx_jinja_value rlx_jinja_filter_reject(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    return choose(x, a[0], args, false, false);
}

rlx_jinja_value rlx_jinja_filter_selectattr(rlx_jinja_run *x, rlx_jinja_value *a,
                                            const rlx_jinja_args *args)
{
    return choose(x, a[0], args, true, true);
}

rlx_jinja_value rlx_jinja_filter_rejectattr(rlx_jinja_run *x, rlx_jinja_value *a,
                                            const rlx_jinja_args *args)
{
    return choose(x, a[0], args, true, false);
}
