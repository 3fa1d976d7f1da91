/* runtime/safetensors_write.c: writing tensors, so that a regular file is there whole or not at
 * all.
 *
 * Tensors are laid out by falling element size, then by name: all are aligned, and equal contents
 * give equal files whatever the order they came in.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/safetensors.h"
#include "runtime/write_file.h"

enum { LENGTH_BYTES = 8 };

static const rlx_safetensors_dtype *dtype_of(rlx_format f)
{
    for (const rlx_safetensors_dtype *d = rlx_safetensors_dtypes; d->name; d++)
        if (d->format == f && f != RLX_FORMAT_NONE)
            return d;
    return NULL;
}

static int by_layout(const void *a, const void *b)
{
    const rlx_tensor *x = *(const rlx_tensor *const *)a, *y = *(const rlx_tensor *const *)b;
    int bits_x = dtype_of(x->format)->bits, bits_y = dtype_of(y->format)->bits;
    return bits_x != bits_y ? bits_y - bits_x : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const rlx_tensor *const *)a)->name, (*(const rlx_tensor *const *)b)->name);
}

static rlx_status check_text(const char *s)
{
    for (size_t n = strlen(s); n > 0;) {
        size_t len = rlx_text_utf8(s, n);
        if (len == 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "a name or value is not UTF-8: '%s'", s);
        s += len;
        n -= len;
    }
    return RLX_OK;
}

static rlx_status check_tensor(const rlx_tensor *t)
{
    if (!t->name || strcmp(t->name, "__metadata__") == 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a tensor named '%s'", t->name ? t->name : "(null)");
    RLX_TRY(check_text(t->name));
    const rlx_safetensors_dtype *dtype = dtype_of(t->format);
    if (!dtype)
        return RLX_FAIL(RLX_UNSUPPORTED, "the file format has no dtype for tensor '%s'", t->name);
    if (t->rank < 0 || t->rank > RLX_PROGRAM_MAX_RANK)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "tensor '%s' has rank %d", t->name, t->rank);
    int64_t bytes = dtype->bits / 8;
    for (int d = 0; d < t->rank; d++)
        if (t->dim[d] < 0 || __builtin_mul_overflow(bytes, t->dim[d], &bytes))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "tensor '%s' has an extent of %lld", t->name,
                            (long long)t->dim[d]);
    if ((size_t)bytes != t->bytes || (bytes && !t->data))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "tensor '%s' has %zu bytes, expected %lld", t->name,
                        t->bytes, (long long)bytes);
    return RLX_OK;
}

/* Sorted into the file's layout. */
static rlx_status sort_tensors(const rlx_tensor *tensors, int n, const rlx_tensor **sorted)
{
    for (int i = 0; i < n; i++) {
        RLX_TRY(check_tensor(&tensors[i]));
        sorted[i] = &tensors[i];
    }
    qsort(sorted, (size_t)n, sizeof(*sorted), by_name);
    for (int i = 1; i < n; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "tensor '%s' is there twice", sorted[i]->name);
    qsort(sorted, (size_t)n, sizeof(*sorted), by_layout);
    return RLX_OK;
}

static void put_quoted(rlx_text *out, const char *s)
{
    rlx_text_put(out, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            rlx_text_putf(out, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            rlx_text_putf(out, "\\u%04x", (unsigned char)*s);
        else
            rlx_text_put_bytes(out, s, 1);
    }
    rlx_text_put(out, "\"");
}

static rlx_status put_metadata(rlx_text *out, const char *const *metadata)
{
    rlx_text_put(out, "\"__metadata__\":{");
    for (int i = 0; metadata[i]; i += 2) {
        if (!metadata[i + 1])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "metadata '%s' has no value", metadata[i]);
        RLX_TRY(check_text(metadata[i]));
        RLX_TRY(check_text(metadata[i + 1]));
        if (i)
            rlx_text_put(out, ",");
        put_quoted(out, metadata[i]);
        rlx_text_put(out, ":");
        put_quoted(out, metadata[i + 1]);
    }
    rlx_text_put(out, "}");
    return RLX_OK;
}

/* Length and JSON, padded so that the data is aligned to 8. */
static rlx_status make_header(const rlx_tensor *const *tensors, int n, const char *const *metadata,
                              rlx_text *out)
{
    static const char length[LENGTH_BYTES];
    rlx_text_put_bytes(out, length, LENGTH_BYTES);
    rlx_text_put(out, "{");
    if (metadata)
        RLX_TRY(put_metadata(out, metadata));
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const rlx_tensor *t = tensors[i];
        if (i || metadata)
            rlx_text_put(out, ",");
        put_quoted(out, t->name);
        rlx_text_putf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_of(t->format)->name);
        for (int d = 0; d < t->rank; d++)
            rlx_text_putf(out, "%s%lld", d ? "," : "", (long long)t->dim[d]);
        rlx_text_putf(out, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
        at += t->bytes;
    }
    rlx_text_put(out, "}");
    while (out->len % LENGTH_BYTES && !out->oom)
        rlx_text_put(out, " ");
    if (out->oom)
        return RLX_OOM();
    for (int i = 0; i < LENGTH_BYTES; i++)
        out->data[i] = (char)((uint64_t)(out->len - LENGTH_BYTES) >> (8 * i));
    return RLX_OK;
}

/* ---- files ------------------------------------------------------------------------------------
 */

typedef struct contents {
    rlx_text header;
    const rlx_tensor **sorted;
    int n;
} contents;

static rlx_status write_contents(void *user, int fd)
{
    const contents *c = user;
    RLX_TRY(rlx_write_bytes(fd, c->header.data, c->header.len));
    for (int i = 0; i < c->n; i++)
        RLX_TRY(rlx_write_bytes(fd, c->sorted[i]->data, c->sorted[i]->bytes));
    return RLX_OK;
}

rlx_status rlx_safetensors_write(const char *path, const rlx_tensor *tensors, int n,
                                 const char *const *metadata)
{
    contents c = {.sorted = calloc((size_t)n + 1, sizeof(*c.sorted)), .n = n};
    if (!c.sorted)
        return RLX_OOM();
    rlx_status st = sort_tensors(tensors, n, c.sorted);
    if (!st)
        st = make_header(c.sorted, n, metadata, &c.header);
    if (!st)
        st = rlx_write_file(path, write_contents, &c);
    rlx_text_deinit(&c.header);
    free(c.sorted);
    return rlx_status_note(st, __FILE__, __LINE__, "writing '%s'", path);
}
