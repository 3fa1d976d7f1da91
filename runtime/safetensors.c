/* runtime/safetensors.c: reading weight files.
 *
 *   u64 header bytes | JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..} | data
 *
 *   S1  the header's length lies inside the file and is at most 100 MB.
 *   S2  the header is UTF-8 JSON that begins with {; its numbers are whole and below 2^53.
 *   S3  __metadata__ maps strings to strings.
 *   S4  a tensor has a known dtype, a shape and two offsets, each once; no name is there twice.
 *   S5  begin <= end, inside the data; shape and dtype give as many bytes as the offsets.
 *   S6  tensors fill the data without hole, overlap or rest; zeros that make the file's size a
 *       multiple of 8, as some writers put there, are no rest.
 */
#include "runtime/safetensors.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/map_file.h"

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000, PAD_BYTES = 8 };

const rlx_safetensors_dtype rlx_safetensors_dtypes[] = {
#define DTYPE(name, bits, format) {#name, bits, RLX_##format},
#include "runtime/safetensors_dtypes.def"
#undef DTYPE
    {NULL, 0, RLX_FORMAT_NONE}};

#define BAD(...) RLX_FAIL(RLX_INVALID_FILE, __VA_ARGS__)

/* A tensor of the header with its place in the data. */
typedef struct range {
    int64_t begin, end;
    const char *name;
} range;

/* ---- the header's bytes -----------------------------------------------------------------------
 */

static rlx_status scan_string(const char *s, size_t n, size_t *i)
{
    for ((*i)++; *i < n && s[*i] != '"';) {
        if ((unsigned char)s[*i] < 0x20)
            return BAD("S2: byte %zu: a control character in a string", *i + LENGTH_BYTES);
        if (n - *i >= 6 && memcmp(s + *i, "\\u0000", 6) == 0)
            return BAD("S2: byte %zu: a name with a NUL", *i + LENGTH_BYTES);
        size_t len = s[*i] == '\\' ? 2 : rlx_text_utf8(s + *i, n - *i);
        if (len == 0)
            return BAD("S2: byte %zu: not UTF-8", *i + LENGTH_BYTES);
        *i += len;
    }
    if (*i >= n)
        return BAD("S2: byte %zu: a string without an end", n + LENGTH_BYTES);
    (*i)++;
    return RLX_OK;
}

/* S2, what the JSON parser does not tell apart: it reads 1.0, 010 and 1e1, control characters and
 * bytes that are not UTF-8. */
static rlx_status scan(const char *s, size_t n)
{
    if (n == 0 || s[0] != '{')
        return BAD("S2: byte %d: the header does not begin with {", LENGTH_BYTES);
    for (size_t i = 0; i < n;) {
        if (s[i] == '"') {
            RLX_TRY(scan_string(s, n, &i));
        } else if (s[i] >= '0' && s[i] <= '9') {
            if (s[i] == '0' && i + 1 < n && s[i + 1] >= '0' && s[i + 1] <= '9')
                return BAD("S2: byte %zu: a number begins with 0", i + LENGTH_BYTES);
            while (i < n && s[i] >= '0' && s[i] <= '9')
                i++;
        } else if (s[i] != 0 && strchr("{}[]:, \t\n\r", s[i])) {
            i++;
        } else {
            return BAD("S2: byte %zu: expected objects, lists, strings and whole numbers",
                       i + LENGTH_BYTES);
        }
    }
    return RLX_OK;
}

static rlx_status parse(const char *s, size_t n, cJSON **out)
{
    RLX_TRY(scan(s, n));
    const char *end = NULL;
    *out = cJSON_ParseWithLengthOpts(s, n, &end, false);
    if (!*out)
        return BAD("S2: byte %td: not JSON, or nested too deep",
                   (end ? end - s : 0) + (ptrdiff_t)LENGTH_BYTES);
    for (size_t i = (size_t)(end - s); i < n; i++)
        if (!strchr(" \t\n\r", s[i]))
            return BAD("S2: byte %zu: text after the header's end", i + LENGTH_BYTES);
    if (!cJSON_IsObject(*out))
        return BAD("S2: the header is no object");
    return RLX_OK;
}

/* ---- tensors ----------------------------------------------------------------------------------
 */

static bool whole(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item) || item->valuedouble >= 9007199254740992.0)
        return false;
    *out = (int64_t)item->valuedouble;
    return true;
}

static rlx_status check_metadata(const cJSON *metadata)
{
    if (!cJSON_IsObject(metadata))
        return BAD("S3: __metadata__ is no object");
    for (const cJSON *item = metadata->child; item; item = item->next)
        if (!cJSON_IsString(item))
            return BAD("S3: __metadata__.%s is no string", item->string);
    return RLX_OK;
}

/* Field `name` of a tensor; there must be one. */
static rlx_status get_field(const cJSON *tensor, const char *name, const cJSON **out)
{
    *out = NULL;
    for (const cJSON *item = tensor->child; item; item = item->next) {
        if (strcmp(item->string, name) != 0)
            continue;
        if (*out)
            return BAD("S4: tensor '%s' has %s twice", tensor->string, name);
        *out = item;
    }
    return *out ? RLX_OK : BAD("S4: tensor '%s' has no %s", tensor->string, name);
}

static rlx_status read_dtype(const cJSON *tensor, const rlx_safetensors_dtype **out)
{
    const cJSON *dtype;
    RLX_TRY(get_field(tensor, "dtype", &dtype));
    if (cJSON_IsString(dtype))
        for (*out = rlx_safetensors_dtypes; (*out)->name; (*out)++)
            if (strcmp((*out)->name, dtype->valuestring) == 0)
                return RLX_OK;
    return BAD("S4: tensor '%s' has the unknown dtype '%s'", tensor->string,
               cJSON_IsString(dtype) ? dtype->valuestring : "(no string)");
}

static rlx_status read_shape(const cJSON *tensor, rlx_tensor *t, int64_t *elems)
{
    const cJSON *shape;
    RLX_TRY(get_field(tensor, "shape", &shape));
    if (!cJSON_IsArray(shape))
        return BAD("S4: the shape of tensor '%s' is no list", t->name);
    *elems = 1;
    bool empty = false, fits = true;
    for (const cJSON *item = shape->child; item; item = item->next) {
        int64_t extent;
        if (!whole(item, &extent))
            return BAD("S4: the shape of tensor '%s' has something else than extents", t->name);
        if (t->rank == RLX_PROGRAM_MAX_RANK)
            return RLX_FAIL(RLX_UNSUPPORTED, "tensor '%s' has more than %d axes", t->name,
                            RLX_PROGRAM_MAX_RANK);
        t->dim[t->rank++] = extent;
        empty = empty || extent == 0;
        fits = fits && !__builtin_mul_overflow(*elems, extent, elems);
    }
    if (empty)
        *elems = 0;
    else if (!fits)
        return BAD("S5: the shape of tensor '%s' is too large", t->name);
    return RLX_OK;
}

static rlx_status read_range(const cJSON *tensor, int64_t data_bytes, range *r)
{
    const cJSON *offsets;
    RLX_TRY(get_field(tensor, "data_offsets", &offsets));
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !whole(offsets->child, &r->begin) || !whole(offsets->child->next, &r->end))
        return BAD("S4: data_offsets of tensor '%s' are not two offsets", r->name);
    if (r->begin > r->end || r->end > data_bytes)
        return BAD("S5: tensor '%s' is at bytes %lld to %lld of %lld of data", r->name,
                   (long long)r->begin, (long long)r->end, (long long)data_bytes);
    return RLX_OK;
}

static rlx_status read_tensor(rlx_safetensors *f, const cJSON *tensor, const char *data,
                              int64_t data_bytes, range *r)
{
    rlx_tensor *t = &f->tensors[f->n++];
    t->name = r->name = rlx_arena_strdup(f->arena, tensor->string);
    if (!t->name)
        return RLX_OOM();
    if (!cJSON_IsObject(tensor))
        return BAD("S4: tensor '%s' is no object", t->name);
    const rlx_safetensors_dtype *dtype = NULL;
    int64_t elems = 0, bits;
    RLX_TRY(read_dtype(tensor, &dtype));
    RLX_TRY(read_shape(tensor, t, &elems));
    RLX_TRY(read_range(tensor, data_bytes, r));
    if (__builtin_mul_overflow(elems, dtype->bits, &bits) || bits % 8 ||
        bits / 8 != r->end - r->begin)
        return BAD("S5: tensor '%s' has %lld elements of %s in %lld bytes", t->name,
                   (long long)elems, dtype->name, (long long)(r->end - r->begin));
    t->format = dtype->format;
    t->bytes = (size_t)(r->end - r->begin);
    t->data = data + r->begin;
    /* Files need not align their data. What is not aligned is copied: kernels load whole elements.
     */
    size_t align = dtype->bits >= 8 ? (size_t)dtype->bits / 8 : 1;
    if ((uintptr_t)t->data % align)
        t->data = rlx_arena_copy(f->arena, t->data, t->bytes);
    return t->data ? RLX_OK : RLX_OOM();
}

/* ---- all of them ------------------------------------------------------------------------------
 */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const range *)a)->name, ((const range *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* S4, S6. */
static rlx_status check_ranges(const rlx_safetensors *f, range *ranges, int64_t data_bytes)
{
    qsort(ranges, (size_t)f->n, sizeof(range), by_name);
    for (int i = 1; i < f->n; i++)
        if (strcmp(ranges[i - 1].name, ranges[i].name) == 0)
            return BAD("S4: tensor '%s' is there twice", ranges[i].name);
    qsort(ranges, (size_t)f->n, sizeof(range), by_place);
    int64_t end = 0;
    for (int i = 0; i < f->n; i++) {
        if (ranges[i].begin != end)
            return BAD("S6: tensor '%s' begins at byte %lld of the data, expected %lld",
                       ranges[i].name, (long long)ranges[i].begin, (long long)end);
        end = ranges[i].end;
    }
    static const char zeros[PAD_BYTES];
    size_t rest = (size_t)(data_bytes - end);
    const char *tail = (const char *)f->map + f->map_bytes - rest;
    bool padding = rest < PAD_BYTES && f->map_bytes % PAD_BYTES == 0 && !memcmp(tail, zeros, rest);
    if (rest && !padding)
        return BAD("S6: tensors end at byte %lld of %lld of data", (long long)end,
                   (long long)data_bytes);
    return RLX_OK;
}

static rlx_status read_header(rlx_safetensors *f, const cJSON *header, size_t header_bytes)
{
    const char *data = (const char *)f->map + LENGTH_BYTES + header_bytes;
    int64_t data_bytes = (int64_t)(f->map_bytes - LENGTH_BYTES - header_bytes);
    int n = cJSON_GetArraySize(header), metadata = 0;
    range *ranges = RLX_NEW_ARRAY(f->arena, range, n);
    f->tensors = RLX_NEW_ARRAY(f->arena, rlx_tensor, n);
    if (!ranges || !f->tensors)
        return RLX_OOM();
    for (const cJSON *item = header->child; item; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0) {
            if (metadata++)
                return BAD("S3: __metadata__ is there twice");
            RLX_TRY(check_metadata(item));
        } else {
            RLX_TRY(read_tensor(f, item, data, data_bytes, &ranges[f->n]));
        }
    }
    return check_ranges(f, ranges, data_bytes);
}

static rlx_status read_file(rlx_safetensors *f, const char *path)
{
    RLX_TRY(rlx_map_file(path, &f->map, &f->map_bytes));
    if (f->map_bytes < LENGTH_BYTES)
        return BAD("S1: %zu bytes are too few for the header's length", f->map_bytes);
    const uint8_t *b = f->map;
    uint64_t header_bytes = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        header_bytes = header_bytes << 8 | b[i];
    if (header_bytes > f->map_bytes - LENGTH_BYTES || header_bytes > MAX_HEADER_BYTES)
        return BAD("S1: a header of %llu bytes in a file of %zu", (unsigned long long)header_bytes,
                   f->map_bytes);
    cJSON *header = NULL;
    rlx_status st = parse((const char *)b + LENGTH_BYTES, (size_t)header_bytes, &header);
    if (!st)
        st = read_header(f, header, (size_t)header_bytes);
    cJSON_Delete(header);
    return st;
}

rlx_status rlx_safetensors_open(const char *path, rlx_safetensors **out)
{
    rlx_arena *arena = rlx_arena_create();
    rlx_safetensors *f = arena ? RLX_NEW(arena, rlx_safetensors) : NULL;
    if (!f) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    f->arena = arena;
    rlx_status st = read_file(f, path);
    if (st) {
        rlx_safetensors_close(f);
        return rlx_status_note(st, __FILE__, __LINE__, "reading '%s'", path);
    }
    *out = f;
    return RLX_OK;
}

void rlx_safetensors_close(rlx_safetensors *f)
{
    if (!f)
        return;
    if (f->map)
        munmap(f->map, f->map_bytes);
    rlx_arena_destroy(f->arena);
}
