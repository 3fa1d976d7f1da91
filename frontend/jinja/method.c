/* frontend/jinja/method.c: the table of methods, by methods.def; those of lists, dicts and what is
 * Jinja's own. */
#include <math.h>

#include "frontend/jinja/method.h"

/* ---- lists and tuples */

rlx_jinja_value rlx_jinja_list_append(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    rlx_jinja_push(x, a[0].l, a[1]);
    return rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_list_clear(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)x;
    (void)args;
    a[0].l->n = 0;
    return rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_list_extend(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    const rlx_jinja_list *more = rlx_jinja_iterate(x, a[1]);
    for (int64_t i = 0, n = more->n; i < n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, a[0].l, more->items[i]);
    return rlx_jinja_none();
}

static int64_t find_in(rlx_jinja_run *x, const rlx_jinja_list *l, rlx_jinja_value v, int64_t from,
                       int64_t to)
{
    for (int64_t i = from; i < to && i < l->n && rlx_jinja_step(x, 1); i++)
        if (rlx_jinja_is_same(l->items[i], v) || rlx_jinja_equal(x, l->items[i], v))
            return i;
    return -1;
}

static int64_t clamp(int64_t i, int64_t n)
{
    i += i < 0 ? n : 0;
    return i < 0 ? 0 : i > n ? n : i;
}

rlx_jinja_value rlx_jinja_list_index(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    int64_t from, to, n = a[0].l->n;
    (void)args;
    if (!rlx_jinja_need_int(x, a[2], 0, &from) || !rlx_jinja_need_int(x, a[3], n, &to))
        return rlx_jinja_none();
    int64_t at = find_in(x, a[0].l, a[1], clamp(from, n), clamp(to, n));
    if (at < 0)
        return rlx_jinja_type_error(x, "the value is not in the %s", rlx_jinja_type_name(a[0]));
    return rlx_jinja_int(at);
}

rlx_jinja_value rlx_jinja_list_count(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    int64_t n = 0;
    (void)args;
    for (int64_t i = 0; i < a[0].l->n && rlx_jinja_step(x, 1); i++)
        n += rlx_jinja_equal(x, a[0].l->items[i], a[1]);
    return rlx_jinja_int(n);
}

rlx_jinja_value rlx_jinja_list_insert(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    int64_t i;
    rlx_jinja_list *l = a[0].l;
    (void)args;
    if (!rlx_jinja_as_int(x, a[1], &i))
        return rlx_jinja_none();
    i = clamp(i, l->n);
    rlx_jinja_push(x, l, a[2]);
    if (x->error || !rlx_jinja_step(x, (l->n - i) / 16))
        return rlx_jinja_none();
    memmove(&l->items[i + 1], &l->items[i], (size_t)(l->n - 1 - i) * sizeof *l->items);
    l->items[i] = a[2];
    return rlx_jinja_none();
}

static rlx_jinja_value take_item(rlx_jinja_run *x, rlx_jinja_list *l, int64_t i)
{
    rlx_jinja_value v = l->items[i];
    rlx_jinja_step(x, (l->n - i) / 16);
    memmove(&l->items[i], &l->items[i + 1], (size_t)(l->n - i - 1) * sizeof *l->items);
    l->n--;
    return v;
}

rlx_jinja_value rlx_jinja_list_pop(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    int64_t i, n = a[0].l->n;
    (void)args;
    if (!rlx_jinja_need_int(x, a[1], -1, &i))
        return rlx_jinja_none();
    i += i < 0 ? n : 0;
    if (i < 0 || i >= n)
        return rlx_jinja_type_error(x, n ? "pop index out of range" : "pop from empty list");
    return take_item(x, a[0].l, i);
}

rlx_jinja_value rlx_jinja_list_remove(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    int64_t at = find_in(x, a[0].l, a[1], 0, a[0].l->n);
    if (at < 0)
        return rlx_jinja_type_error(x, "list.remove(x): x not in list");
    take_item(x, a[0].l, at);
    return rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_list_reverse(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    rlx_jinja_list *l = a[0].l;
    (void)args;
    for (int64_t i = 0, k = l->n - 1; i < k && rlx_jinja_step(x, 1); i++, k--) {
        rlx_jinja_value v = l->items[i];
        l->items[i] = l->items[k];
        l->items[k] = v;
    }
    return rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_list_sort(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    rlx_jinja_sort(x, a[0].l, rlx_jinja_list_copy(x, a[0].l), rlx_jinja_truth(a[1]));
    return rlx_jinja_none();
}

/* list.copy() */
rlx_jinja_value rlx_jinja_list_copied(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_list_value(rlx_jinja_list_copy(x, a[0].l), RLX_JINJA_LIST);
}

/* ---- dicts */

rlx_jinja_value rlx_jinja_dict_clear(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)x;
    (void)args;
    a[0].d->n = a[0].d->nslots = 0;
    return rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_dict_copied(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    rlx_jinja_dict *d = rlx_jinja_dict_new(x);
    (void)args;
    for (int64_t i = 0; i < a[0].d->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_dict_set(x, d, a[0].d->entries[i].key, a[0].d->entries[i].value);
    return rlx_jinja_dict_value(d);
}

rlx_jinja_value rlx_jinja_dict_lookup(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    const rlx_jinja_value *found = rlx_jinja_dict_get(x, a[0].d, a[1]);
    return found ? *found : rlx_jinja_given(a[2]) ? a[2] : rlx_jinja_none();
}

static rlx_jinja_value view(rlx_jinja_run *x, rlx_jinja_value d, rlx_jinja_view_of of)
{
    rlx_jinja_view *v = rlx_jinja_alloc(x, sizeof *v);
    if (!v)
        return rlx_jinja_none();
    *v = (rlx_jinja_view){d.d, of};
    return (rlx_jinja_value){.kind = RLX_JINJA_VIEW, .view = v};
}

rlx_jinja_value rlx_jinja_dict_items(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return view(x, a[0], RLX_JINJA_ITEMS);
}

rlx_jinja_value rlx_jinja_dict_keys(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return view(x, a[0], RLX_JINJA_KEYS);
}

rlx_jinja_value rlx_jinja_dict_values(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return view(x, a[0], RLX_JINJA_VALUES);
}

static rlx_jinja_value no_key(rlx_jinja_run *x, rlx_jinja_value key)
{
    rlx_jinja_value text = rlx_jinja_repr(x, key);
    return rlx_jinja_type_error(x, "no key %.*s", (int)(text.s->len < 200 ? text.s->len : 200),
                                text.s->data);
}

rlx_jinja_value rlx_jinja_dict_pop(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    rlx_jinja_value v;
    (void)args;
    if (rlx_jinja_dict_remove(x, a[0].d, a[1], &v))
        return v;
    return rlx_jinja_given(a[2]) ? a[2] : no_key(x, a[1]);
}

rlx_jinja_value rlx_jinja_dict_popitem(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    rlx_jinja_value v;
    (void)args;
    if (!a[0].d->n)
        return rlx_jinja_type_error(x, "popitem(): dictionary is empty");
    rlx_jinja_value key = a[0].d->entries[a[0].d->n - 1].key;
    return rlx_jinja_dict_remove(x, a[0].d, key, &v) ? rlx_jinja_pair(x, key, v) : rlx_jinja_none();
}

rlx_jinja_value rlx_jinja_dict_setdefault(rlx_jinja_run *x, rlx_jinja_value *a,
                                          const rlx_jinja_args *args)
{
    (void)args;
    const rlx_jinja_value *found = rlx_jinja_dict_get(x, a[0].d, a[1]);
    if (found)
        return *found;
    rlx_jinja_value v = rlx_jinja_given(a[2]) ? a[2] : rlx_jinja_none();
    rlx_jinja_dict_set(x, a[0].d, a[1], v);
    return v;
}

rlx_jinja_value rlx_jinja_dict_update(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    const rlx_jinja_dict *more = rlx_jinja_make_dict(x, args);
    for (int64_t i = 0; i < more->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_dict_set(x, a[0].d, more->entries[i].key, more->entries[i].value);
    return rlx_jinja_none();
}

/* ---- the rest */

rlx_jinja_value rlx_jinja_float_is_integer(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    (void)x;
    (void)args;
    return rlx_jinja_bool(a[0].f == floor(a[0].f) && !isinf(a[0].f));
}

rlx_jinja_value rlx_jinja_loop_cycle(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    if (!args->npos)
        return rlx_jinja_type_error(x, "no items for cycling given");
    return args->pos[a[0].loop->index0 % args->npos];
}

rlx_jinja_value rlx_jinja_loop_changed(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    rlx_jinja_list *l = rlx_jinja_list_new(x);
    for (int i = 0; i < args->npos; i++)
        rlx_jinja_push(x, l, args->pos[i]);
    rlx_jinja_value now = rlx_jinja_list_value(l, RLX_JINJA_TUPLE), *last = &a[0].loop->changed;
    bool changed = !rlx_jinja_given(*last) || !rlx_jinja_equal(x, *last, now);
    *last = now;
    return rlx_jinja_bool(changed);
}

rlx_jinja_value rlx_jinja_cycler_next(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    rlx_jinja_cycler *c = a[0].cycler;
    (void)x;
    (void)args;
    rlx_jinja_value v = c->items->items[c->pos];
    c->pos = (c->pos + 1) % c->items->n;
    return v;
}

rlx_jinja_value rlx_jinja_cycler_reset(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)x;
    (void)args;
    a[0].cycler->pos = 0;
    return rlx_jinja_none();
}

/* ---- the table */

static const rlx_jinja_callable methods[] = {
#define RLX_JINJA_METHOD(kind, name, params, function) \
    {name, params, rlx_jinja_##function, RLX_JINJA_##kind},
#include "frontend/jinja/methods.def"
#undef RLX_JINJA_METHOD
};

const rlx_jinja_callable *rlx_jinja_find_method(rlx_jinja_value receiver, const char *name,
                                                size_t len)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].kind == receiver.kind && strlen(methods[i].name) == len &&
            !memcmp(methods[i].name, name, len))
            return &methods[i];
    return NULL;
}
