/* runtime/gguf_write.c: the layout that runtime/gguf.c reads. */
#include "runtime/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/write_file.h"

enum { VERSION = 3, ALIGNMENT = 32 };

void rlx_gguf_head_deinit(rlx_gguf_head *h)
{
    rlx_text_deinit(&h->bytes);
}

/* ---- metadata ------------------------------------------------------------------------------- */

/* The `n` low bytes, the lowest first. */
static void put_number(rlx_text *t, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) {
        char byte = (char)(v >> 8 * i);
        rlx_text_put_bytes(t, &byte, 1);
    }
}

static void put_string(rlx_text *t, const char *s, size_t bytes)
{
    put_number(t, bytes, 8);
    rlx_text_put_bytes(t, s, bytes);
}

static void put_key(rlx_gguf_head *h, const char *key, rlx_gguf_type type)
{
    put_string(&h->bytes, key, strlen(key));
    put_number(&h->bytes, type, 4);
    h->keys++;
}

void rlx_gguf_put_element_int(rlx_gguf_head *h, rlx_gguf_type type, int64_t v)
{
    put_number(&h->bytes, (uint64_t)v, rlx_gguf_type_bytes(type));
}

void rlx_gguf_put_element_real(rlx_gguf_head *h, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_number(&h->bytes, bits, sizeof bits);
}

void rlx_gguf_put_element_text(rlx_gguf_head *h, const char *v, size_t bytes)
{
    put_string(&h->bytes, v, bytes);
}

void rlx_gguf_put_int(rlx_gguf_head *h, const char *key, rlx_gguf_type type, int64_t v)
{
    put_key(h, key, type);
    rlx_gguf_put_element_int(h, type, v);
}

void rlx_gguf_put_real(rlx_gguf_head *h, const char *key, float v)
{
    put_key(h, key, RLX_GGUF_F32);
    rlx_gguf_put_element_real(h, v);
}

void rlx_gguf_put_text(rlx_gguf_head *h, const char *key, const char *v)
{
    put_key(h, key, RLX_GGUF_STRING);
    put_string(&h->bytes, v, strlen(v));
}

void rlx_gguf_put_array(rlx_gguf_head *h, const char *key, rlx_gguf_type elem, uint64_t n)
{
    put_key(h, key, RLX_GGUF_ARRAY);
    put_number(&h->bytes, elem, 4);
    put_number(&h->bytes, n, 8);
}

static void put_items(rlx_gguf_head *h, const rlx_gguf_value *array)
{
    rlx_gguf_items it = rlx_gguf_walk(array);
    const char *text;
    size_t bytes = (size_t)array->count * (size_t)rlx_gguf_type_bytes(array->elem);
    if (array->elem != RLX_GGUF_STRING) {
        rlx_text_put_bytes(&h->bytes, array->items, bytes);
        return;
    }
    while (rlx_gguf_next_text(&it, &text, &bytes))
        put_string(&h->bytes, text, bytes);
}

void rlx_gguf_put_value(rlx_gguf_head *h, const rlx_gguf_value *v)
{
    switch (v->type) {
    case RLX_GGUF_STRING:
        rlx_gguf_put_text(h, v->key, v->text);
        break;
    case RLX_GGUF_ARRAY:
        rlx_gguf_put_array(h, v->key, v->elem, v->count);
        put_items(h, v);
        break;
    case RLX_GGUF_F32:
        rlx_gguf_put_real(h, v->key, (float)v->f);
        break;
    case RLX_GGUF_F64:
        put_key(h, v->key, v->type);
        rlx_text_put_bytes(&h->bytes, (const char *)&v->f, sizeof v->f);
        break;
    default:
        rlx_gguf_put_int(h, v->key, v->type, v->i);
    }
}

/* ---- tensors -------------------------------------------------------------------------------- */

static uint32_t type_id(rlx_format f)
{
    static const struct {
        uint32_t id;
        rlx_format format;
    } types[] = {
#define TYPE(id, format) {id, RLX_##format},
#include "runtime/gguf_types.def"
#undef TYPE
    };
    if (f == RLX_Q2_0_128) /* GGUF has one number for both */
        f = RLX_Q2_0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].format == f)
            return types[i].id;
    return UINT32_MAX;
}

static size_t padding(size_t n)
{
    return (ALIGNMENT - n % ALIGNMENT) % ALIGNMENT;
}

static rlx_status put_tensors(const rlx_tensor *tensors, int n, rlx_text *out)
{
    uint64_t offset = 0;
    for (int i = 0; i < n; i++) {
        const rlx_tensor *t = &tensors[i];
        uint32_t id = type_id(t->format);
        if (id == UINT32_MAX)
            return RLX_FAIL(RLX_UNSUPPORTED, "GGUF files have no type %s, which tensor '%s' is of",
                            rlx_format_get(t->format)->name, t->name);
        put_string(out, t->name, strlen(t->name));
        put_number(out, (uint64_t)t->rank, 4);
        for (int d = t->rank - 1; d >= 0; d--)
            put_number(out, (uint64_t)t->dim[d], 8);
        put_number(out, id, 4);
        put_number(out, offset, 8);
        offset += t->bytes + padding(t->bytes);
    }
    return RLX_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

typedef struct contents {
    rlx_text head;
    const rlx_tensor *tensors;
    int n;
    rlx_gguf_make_fn *make;
    void *user;
} contents;

static rlx_status write_contents(void *user, int fd)
{
    static const char zeros[ALIGNMENT];
    const contents *c = user;
    RLX_TRY(rlx_write_bytes(fd, c->head.data, c->head.len));
    RLX_TRY(rlx_write_bytes(fd, zeros, padding(c->head.len)));
    for (int i = 0; i < c->n; i++) {
        const void *data = NULL;
        RLX_TRY_NOTE(c->make(c->user, i, &data), "tensor '%s'", c->tensors[i].name);
        RLX_TRY(rlx_write_bytes(fd, data, c->tensors[i].bytes));
        RLX_TRY(rlx_write_bytes(fd, zeros, padding(c->tensors[i].bytes)));
    }
    return RLX_OK;
}

rlx_status rlx_gguf_write(const char *path, const rlx_gguf_head *head, const rlx_tensor *tensors,
                          int n, rlx_gguf_make_fn *make, void *user)
{
    contents c = {.tensors = tensors, .n = n, .make = make, .user = user};
    rlx_text_put(&c.head, "GGUF");
    put_number(&c.head, VERSION, 4);
    put_number(&c.head, (uint64_t)n, 8);
    put_number(&c.head, head->keys, 8);
    rlx_text_put_bytes(&c.head, head->bytes.data, head->bytes.len);
    rlx_status st = put_tensors(tensors, n, &c.head);
    if (!st && (c.head.oom || head->bytes.oom))
        st = RLX_OOM();
    if (!st)
        st = rlx_write_file(path, write_contents, &c);
    rlx_text_deinit(&c.head);
    return rlx_status_note(st, __FILE__, __LINE__, "writing '%s'", path);
}
