#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/ir/ir_internal.h"

static const struct {
    const char *name;
    rlx_attr_kind kind;
} keys[] = {
#define ATTR(NAME, text, kind, meaning) {text, RLX_ATTR_KIND_##kind},
#include "runtime/base/ir/attrs.def"
#undef ATTR
};

const char *rlx_attr_name(rlx_attr_key key)
{
    assert((int)key >= 0 && key < RLX_ATTR_NONE);
    return keys[key].name;
}

rlx_attr_kind rlx_attr_kind_of(rlx_attr_key key)
{
    assert((int)key >= 0 && key < RLX_ATTR_NONE);
    return keys[key].kind;
}

rlx_attr_key rlx_attr_key_parse(const char *s, size_t len)
{
    for (int k = 0; k < RLX_ATTR_NONE; k++)
        if (strlen(keys[k].name) == len && memcmp(keys[k].name, s, len) == 0)
            return (rlx_attr_key)k;
    return RLX_ATTR_NONE;
}

const rlx_attr *rlx_attr_find(int n, const rlx_attr *attrs, rlx_attr_key key)
{
    for (int i = 0; i < n; i++)
        if (attrs[i].key == key)
            return &attrs[i];
    return NULL;
}

rlx_status rlx_attr_check(const rlx_attr *a)
{
    if ((int)a->key < 0 || a->key >= RLX_ATTR_NONE)
        return RLX_FAIL(RLX_INVALID_IR, "an attribute has no key");
    const char *name = keys[a->key].name;
    switch (keys[a->key].kind) {
    case RLX_ATTR_KIND_INTS:
        if (a->n < 0 || (a->n > 0 && !a->ints))
            return RLX_FAIL(RLX_INVALID_IR, "attribute %s has no list", name);
        break;
    case RLX_ATTR_KIND_FORMAT:
        if (a->i <= RLX_FORMAT_NONE || a->i >= RLX_FORMAT_COUNT)
            return RLX_FAIL(RLX_INVALID_IR, "attribute %s is no format", name);
        break;
    case RLX_ATTR_KIND_DIM:
        if (a->i == RLX_DIM_INVALID)
            return RLX_FAIL(RLX_INVALID_IR, "attribute %s is an invalid extent", name);
        break;
    case RLX_ATTR_KIND_TEXT:
        if (!a->text)
            return RLX_FAIL(RLX_INVALID_IR, "attribute %s has no text", name);
        break;
    case RLX_ATTR_KIND_SYM:
        if (!a->text || !rlx_ir_is_func_name(a->text))
            return RLX_FAIL(RLX_INVALID_IR, "attribute %s: '%s' is no name", name,
                            a->text ? a->text : "");
        break;
    case RLX_ATTR_KIND_FN:
        if (a->i < 0 || a->i >= RLX_FN_COUNT)
            return RLX_FAIL(RLX_INVALID_IR, "attribute %s is no scalar function", name);
        break;
    case RLX_ATTR_KIND_INT:
    case RLX_ATTR_KIND_FLOAT:
        break;
    }
    return RLX_OK;
}

static int by_key(const void *a, const void *b)
{
    return (int)((const rlx_attr *)a)->key - (int)((const rlx_attr *)b)->key;
}

bool rlx_attr_copy_all(rlx_arena *arena, int n, const rlx_attr *from, rlx_attr **to)
{
    *to = NULL;
    if (n == 0)
        return true;
    rlx_attr *out = rlx_arena_copy(arena, from, sizeof(*out) * (size_t)n);
    if (!out)
        return false;
    for (int i = 0; i < n; i++) {
        rlx_attr_kind kind = rlx_attr_kind_of(out[i].key);
        if (kind == RLX_ATTR_KIND_INTS) {
            out[i].ints = rlx_arena_copy(arena, from[i].ints, sizeof(int64_t) * (size_t)from[i].n);
            if (!out[i].ints)
                return false;
        } else if (kind == RLX_ATTR_KIND_TEXT || kind == RLX_ATTR_KIND_SYM) {
            out[i].text = rlx_arena_strdup(arena, from[i].text);
            if (!out[i].text)
                return false;
        }
    }
    qsort(out, (size_t)n, sizeof(*out), by_key);
    *to = out;
    return true;
}

void rlx_ir_put_quoted(const char *s, rlx_text *out)
{
    rlx_text_put(out, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            rlx_text_putf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            rlx_text_putf(out, "\\x%02x", c);
        else
            rlx_text_put_bytes(out, s, 1);
    }
    rlx_text_put(out, "\"");
}

void rlx_attr_print(const rlx_dims *t, const rlx_attr *a, rlx_text *out)
{
    rlx_text_putf(out, "%s=", rlx_attr_name(a->key));
    rlx_status wrong = rlx_attr_check(a);
    if (wrong) { /* what a verifier complains about must be printable */
        rlx_text_put(out, "?");
        rlx_status_free(wrong);
        return;
    }
    switch (rlx_attr_kind_of(a->key)) {
    case RLX_ATTR_KIND_INT:
        rlx_text_putf(out, "%lld", (long long)a->i);
        break;
    case RLX_ATTR_KIND_FLOAT:
        rlx_text_put_double(out, a->f);
        break;
    case RLX_ATTR_KIND_INTS:
        for (int i = 0; i < a->n; i++)
            rlx_text_putf(out, "%s%lld", i ? "," : "[", (long long)a->ints[i]);
        rlx_text_put(out, a->n ? "]" : "[]");
        break;
    case RLX_ATTR_KIND_FORMAT:
        rlx_text_put(out, rlx_format_get((rlx_format)a->i)->name);
        break;
    case RLX_ATTR_KIND_DIM:
        rlx_dim_print(t, a->i, out);
        break;
    case RLX_ATTR_KIND_TEXT:
        rlx_ir_put_quoted(a->text, out);
        break;
    case RLX_ATTR_KIND_SYM:
        rlx_text_putf(out, "@%s", a->text);
        break;
    case RLX_ATTR_KIND_FN:
        rlx_text_put(out, rlx_map_fn_get((rlx_map_fn)a->i)->name);
        break;
    }
}
