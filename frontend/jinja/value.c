/* frontend/jinja/value.c: strings, lists and dicts in the arena of a rendering. */
#include "frontend/jinja/impl.h"

/* ---- memory */

void *rlx_jinja_alloc(rlx_jinja_run *x, size_t bytes)
{
    if (x->error)
        return NULL;
    if (bytes > x->bytes || rlx_arena_bytes(x->arena) > x->bytes - bytes) {
        rlx_jinja_fail(x, RLX_EXHAUSTED, "rendering takes more than %zu bytes of memory", x->bytes);
        return NULL;
    }
    void *m = rlx_jinja_step(x, (int64_t)(bytes / 64)) ? rlx_arena_alloc(x->arena, bytes) : NULL;
    if (!m && !x->error)
        x->error = RLX_OOM();
    return m;
}

/* Room for `want` elements of `size` bytes: `*cap` grows by doubling. False after an error. */
static bool grow(rlx_jinja_run *x, void **data, int64_t n, int64_t *cap, int64_t want, size_t size)
{
    if (want <= *cap)
        return true;
    int64_t more = *cap ? 2 * *cap : 4;
    if (more < want)
        more = want;
    void *grown = rlx_jinja_alloc(x, (size_t)more * size);
    if (!grown)
        return false;
    if (n)
        memcpy(grown, *data, (size_t)n * size);
    *data = grown;
    *cap = more;
    return true;
}

/* ---- strings */

void rlx_jinja_put(rlx_jinja_buffer *b, const char *data, size_t len)
{
    rlx_jinja_run *x = b->x;
    if (len > b->cap - b->len) {
        size_t cap = b->cap ? 2 * b->cap : 64;
        if (cap < b->len + len)
            cap = b->len + len;
        char *grown = rlx_jinja_alloc(x, cap);
        if (!grown)
            return;
        if (b->len)
            memcpy(grown, b->data, b->len);
        b->data = grown;
        b->cap = cap;
    }
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}

void rlx_jinja_puts(rlx_jinja_buffer *b, const char *text)
{
    rlx_jinja_put(b, text, strlen(text));
}

void rlx_jinja_put_char(rlx_jinja_buffer *b, uint32_t c)
{
    char utf8[4];
    rlx_jinja_put(b, utf8, rlx_jinja_encode(c, utf8));
}

void rlx_jinja_put_fill(rlx_jinja_buffer *b, uint32_t c, int64_t times)
{
    for (; times > 0 && rlx_jinja_step(b->x, 1); times--)
        rlx_jinja_put_char(b, c);
}

rlx_jinja_value rlx_jinja_text(rlx_jinja_run *x, const char *data, size_t len)
{
    static rlx_jinja_string empty = {"", 0, 0};
    rlx_jinja_string *s = len ? rlx_jinja_alloc(x, sizeof *s) : &empty;
    if (s && len)
        *s = (rlx_jinja_string){data, len, -1};
    return (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = s ? s : &empty};
}

rlx_jinja_value rlx_jinja_literal(rlx_jinja_run *x, const char *text)
{
    return rlx_jinja_text(x, text, strlen(text));
}

rlx_jinja_value rlx_jinja_taken(rlx_jinja_buffer *b)
{
    return rlx_jinja_text(b->x, b->data, b->len);
}

rlx_jinja_value rlx_jinja_part(rlx_jinja_run *x, rlx_jinja_value s, size_t from, size_t to)
{
    rlx_jinja_value part = rlx_jinja_text(x, s.s->data + from, to - from);
    part.markup = s.markup;
    return part;
}

const char *rlx_jinja_cstr(rlx_jinja_run *x, rlx_jinja_value s)
{
    char *copy = rlx_jinja_alloc(x, s.s->len + 1);
    if (copy)
        memcpy(copy, s.s->data, s.s->len);
    return copy ? copy : "";
}

void rlx_jinja_count(rlx_jinja_string *s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s->len; i++)
        n += ((unsigned char)s->data[i] & 0xc0) != 0x80;
    s->chars = n;
}

int64_t rlx_jinja_chars(rlx_jinja_run *x, rlx_jinja_string *s)
{
    if (s->chars < 0) {
        rlx_jinja_walk(x, s->len);
        rlx_jinja_count(s);
    }
    return s->chars;
}

size_t rlx_jinja_offset(rlx_jinja_run *x, rlx_jinja_string *s, int64_t chars)
{
    if (rlx_jinja_chars(x, s) == (int64_t)s->len)
        return (size_t)chars;
    const char *p = s->data, *end = p + s->len;
    for (; chars > 0 && p < end; chars--)
        rlx_jinja_next(&p);
    rlx_jinja_walk(x, (size_t)(p - s->data));
    return (size_t)(p - s->data);
}

bool rlx_jinja_equal_text(rlx_jinja_value s, const char *text)
{
    size_t len = strlen(text);
    return s.kind == RLX_JINJA_STRING && s.s->len == len && !memcmp(s.s->data, text, len);
}

/* ---- lists */

rlx_jinja_list *rlx_jinja_list_new(rlx_jinja_run *x)
{
    rlx_jinja_list *l = rlx_jinja_alloc(x, sizeof *l);
    if (l)
        return l;
    x->no_list = (rlx_jinja_list){0};
    return &x->no_list;
}

rlx_jinja_value rlx_jinja_list_value(rlx_jinja_list *l, rlx_jinja_kind kind)
{
    return (rlx_jinja_value){.kind = kind, .l = l};
}

void rlx_jinja_push(rlx_jinja_run *x, rlx_jinja_list *l, rlx_jinja_value v)
{
    void *items = l->items;
    if (!grow(x, &items, l->n, &l->cap, l->n + 1, sizeof v))
        return;
    l->items = items;
    l->items[l->n++] = v;
}

rlx_jinja_list *rlx_jinja_list_copy(rlx_jinja_run *x, const rlx_jinja_list *l)
{
    rlx_jinja_list *copy = rlx_jinja_list_new(x);
    for (int64_t i = 0; i < l->n && rlx_jinja_step(x, 1); i++)
        rlx_jinja_push(x, copy, l->items[i]);
    return copy;
}

rlx_jinja_value rlx_jinja_pair(rlx_jinja_run *x, rlx_jinja_value a, rlx_jinja_value b)
{
    rlx_jinja_list *l = rlx_jinja_list_new(x);
    rlx_jinja_push(x, l, a);
    rlx_jinja_push(x, l, b);
    return rlx_jinja_list_value(l, RLX_JINJA_TUPLE);
}

/* ---- dicts: entries in order, and above a few of them a table of slots */

enum { FEW = 8 };

rlx_jinja_dict *rlx_jinja_dict_new(rlx_jinja_run *x)
{
    rlx_jinja_dict *d = rlx_jinja_alloc(x, sizeof *d);
    if (d)
        return d;
    x->no_dict = (rlx_jinja_dict){0};
    return &x->no_dict;
}

rlx_jinja_value rlx_jinja_dict_value(rlx_jinja_dict *d)
{
    return (rlx_jinja_value){.kind = RLX_JINJA_DICT, .d = d};
}

static bool is_key(rlx_jinja_run *x, const rlx_jinja_entry *e, uint64_t hash, rlx_jinja_value key)
{
    return e->hash == hash && rlx_jinja_equal(x, e->key, key);
}

/* The entry of `key`, or -1. */
static int64_t find(rlx_jinja_run *x, const rlx_jinja_dict *d, uint64_t hash, rlx_jinja_value key)
{
    if (!d->nslots) {
        for (int64_t i = 0; i < d->n; i++)
            if (is_key(x, &d->entries[i], hash, key))
                return i;
        return -1;
    }
    for (uint64_t i = hash;; i++) {
        int32_t slot = d->slots[i & (uint64_t)(d->nslots - 1)];
        if (!slot || !rlx_jinja_step(x, 1))
            return -1;
        if (is_key(x, &d->entries[slot - 1], hash, key))
            return slot - 1;
    }
}

static void put_slot(rlx_jinja_dict *d, int64_t entry)
{
    uint64_t i = d->entries[entry].hash, mask = (uint64_t)(d->nslots - 1);
    while (d->slots[i & mask])
        i++;
    d->slots[i & mask] = (int32_t)(entry + 1);
}

/* A table with room for twice the entries, or none. */
static void rebuild(rlx_jinja_run *x, rlx_jinja_dict *d)
{
    int64_t want = 16;
    while (want < 4 * d->n)
        want *= 2;
    d->nslots = 0;
    if (d->n <= FEW)
        return;
    d->slots = rlx_jinja_alloc(x, (size_t)want * sizeof *d->slots);
    if (!d->slots)
        return;
    d->nslots = want;
    for (int64_t i = 0; i < d->n; i++)
        put_slot(d, i);
}

rlx_jinja_value *rlx_jinja_dict_get(rlx_jinja_run *x, const rlx_jinja_dict *d, rlx_jinja_value key)
{
    int64_t i = find(x, d, rlx_jinja_hash(x, key), key);
    return i < 0 ? NULL : &d->entries[i].value;
}

rlx_jinja_value *rlx_jinja_dict_find(const rlx_jinja_dict *d, const char *key)
{
    for (int64_t i = 0; i < d->n; i++)
        if (rlx_jinja_equal_text(d->entries[i].key, key))
            return &d->entries[i].value;
    return NULL;
}

void rlx_jinja_dict_set(rlx_jinja_run *x, rlx_jinja_dict *d, rlx_jinja_value key, rlx_jinja_value v)
{
    uint64_t hash = rlx_jinja_hash(x, key);
    int64_t i = find(x, d, hash, key);
    if (i >= 0) {
        d->entries[i].value = v;
        return;
    }
    void *entries = d->entries;
    if (x->error || !grow(x, &entries, d->n, &d->cap, d->n + 1, sizeof *d->entries))
        return;
    d->entries = entries;
    d->entries[d->n++] = (rlx_jinja_entry){key, v, hash};
    if (d->n > FEW && 2 * d->n > d->nslots)
        rebuild(x, d);
    else if (d->nslots)
        put_slot(d, d->n - 1);
}

bool rlx_jinja_dict_remove(rlx_jinja_run *x, rlx_jinja_dict *d, rlx_jinja_value key,
                           rlx_jinja_value *out)
{
    int64_t i = find(x, d, rlx_jinja_hash(x, key), key);
    if (i < 0)
        return false;
    *out = d->entries[i].value;
    memmove(&d->entries[i], &d->entries[i + 1], (size_t)(d->n - i - 1) * sizeof *d->entries);
    d->n--;
    rebuild(x, d);
    return true;
}

/* ---- undefined */

rlx_jinja_value rlx_jinja_undefined_hint(rlx_jinja_run *x, const char *hint)
{
    rlx_jinja_undefined *u = rlx_jinja_alloc(x, sizeof *u);
    if (!u)
        return rlx_jinja_none();
    u->hint = hint;
    return (rlx_jinja_value){.kind = RLX_JINJA_UNDEFINED, .u = u};
}

rlx_jinja_value rlx_jinja_undefined_of(rlx_jinja_run *x, rlx_jinja_value object,
                                       rlx_jinja_value name)
{
    rlx_jinja_value v = rlx_jinja_undefined_hint(x, NULL);
    if (v.kind == RLX_JINJA_UNDEFINED) {
        v.u->object = object;
        v.u->name = name;
    }
    return v;
}

/* ---- iterating */

rlx_jinja_value rlx_jinja_iterator_value(rlx_jinja_run *x, rlx_jinja_list *items, const char *type)
{
    rlx_jinja_iterator *it = rlx_jinja_alloc(x, sizeof *it);
    if (!it)
        return rlx_jinja_none();
    *it = (rlx_jinja_iterator){items, 0, type};
    return (rlx_jinja_value){.kind = RLX_JINJA_ITERATOR, .it = it};
}

bool rlx_jinja_is_iterable(rlx_jinja_value v)
{
    switch (v.kind) {
    case RLX_JINJA_UNDEFINED:
    case RLX_JINJA_STRING:
    case RLX_JINJA_LIST:
    case RLX_JINJA_TUPLE:
    case RLX_JINJA_DICT:
    case RLX_JINJA_VIEW:
    case RLX_JINJA_RANGE:
    case RLX_JINJA_ITERATOR:
    case RLX_JINJA_LOOP:
        return true;
    default:
        return false;
    }
}

static void push_entries(rlx_jinja_run *x, rlx_jinja_list *out, const rlx_jinja_dict *d,
                         rlx_jinja_view_of of)
{
    for (int64_t i = 0; i < d->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_entry *e = &d->entries[i];
        rlx_jinja_push(x, out,
                       of == RLX_JINJA_KEYS     ? e->key
                       : of == RLX_JINJA_VALUES ? e->value
                                                : rlx_jinja_pair(x, e->key, e->value));
    }
}

rlx_jinja_list *rlx_jinja_iterate(rlx_jinja_run *x, rlx_jinja_value v)
{
    if (v.kind == RLX_JINJA_LIST || v.kind == RLX_JINJA_TUPLE)
        return v.l;
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    if (v.kind == RLX_JINJA_STRING) {
        const char *p = v.s->data, *end = p + v.s->len;
        while (p < end && rlx_jinja_step(x, 1)) {
            const char *c = p;
            rlx_jinja_next(&p);
            rlx_jinja_push(x, out, rlx_jinja_text(x, c, (size_t)(p - c)));
        }
    } else if (v.kind == RLX_JINJA_DICT) {
        push_entries(x, out, v.d, RLX_JINJA_KEYS);
    } else if (v.kind == RLX_JINJA_VIEW) {
        push_entries(x, out, v.view->dict, v.view->of);
    } else if (v.kind == RLX_JINJA_RANGE) {
        for (int64_t i = 0; i < v.range->n && rlx_jinja_step(x, 1); i++)
            rlx_jinja_push(x, out, rlx_jinja_int(v.range->start + i * v.range->step));
    } else if (v.kind == RLX_JINJA_ITERATOR) {
        for (; v.it->pos < v.it->items->n && rlx_jinja_step(x, 1); v.it->pos++)
            rlx_jinja_push(x, out, v.it->items->items[v.it->pos]);
    } else if (v.kind == RLX_JINJA_LOOP) {
        rlx_jinja_fail(x, RLX_UNSUPPORTED, "iterating over 'loop' is not offered");
    } else if (v.kind != RLX_JINJA_UNDEFINED) {
        rlx_jinja_type_error(x, "'%s' object is not iterable", rlx_jinja_type_name(v));
    }
    return out;
}
