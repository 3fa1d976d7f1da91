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
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000, PAD_BYTES = 8 };

const rlx_safetensors_dtype rlx_safetensors_dtypes[] = {
#define DTYPE(name, bits, format) {#name, bits, RLX_##format},
#include "runtime/safetensors_dtypes.def"
#undef DTYPE
    {NULL, 0, RLX_FORMAT_NONE}};

#define BAD(...) RLX_FAIL(RLX_INVALID_FILE, __VA_ARGS__)

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

static rlx_status read_metadata(rlx_tensor_file *f, const cJSON *metadata)
{
    if (!cJSON_IsObject(metadata))
        return BAD("S3: __metadata__ is no object");
    if (f->values)
        return BAD("S3: __metadata__ is there twice");
    f->values = RLX_NEW_ARRAY(f->arena, rlx_gguf_value, cJSON_GetArraySize(metadata) + 1);
    if (!f->values)
        return RLX_OOM();
    for (const cJSON *item = metadata->child; item; item = item->next) {
        rlx_gguf_value *v = &f->values[f->nvalues++];
        if (!cJSON_IsString(item))
            return BAD("S3: __metadata__.%s is no string", item->string);
        *v = (rlx_gguf_value){.key = rlx_arena_strdup(f->arena, item->string),
                              .type = RLX_GGUF_STRING,
                              .text = rlx_arena_strdup(f->arena, item->valuestring)};
        if (!v->key || !v->text)
            return RLX_OOM();
    }
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
        /* without axes of 0: their product in any order is safe, too */
        fits = fits && !__builtin_mul_overflow(*elems, extent ? extent : 1, elems);
    }
    if (!fits)
        return BAD("S5: the shape of tensor '%s' is too large", t->name);
    if (empty)
        *elems = 0;
    return RLX_OK;
}

/* Where the tensor's bytes are, from the file's begin, which is `begin` bytes before the data's. */
static rlx_status read_range(const cJSON *tensor, size_t begin, size_t data_bytes,
                             rlx_file_tensor *t)
{
    const cJSON *offsets;
    int64_t from, to;
    RLX_TRY(get_field(tensor, "data_offsets", &offsets));
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !whole(offsets->child, &from) || !whole(offsets->child->next, &to))
        return BAD("S4: data_offsets of tensor '%s' are not two offsets", t->tensor.name);
    if (from > to || (uint64_t)to > data_bytes)
        return BAD("S5: tensor '%s' is at bytes %lld to %lld of %zu of data", t->tensor.name,
                   (long long)from, (long long)to, data_bytes);
    t->offset = begin + (uint64_t)from;
    t->tensor.bytes = (size_t)(to - from);
    return RLX_OK;
}

static rlx_status read_tensor(rlx_tensor_file *f, const cJSON *tensor, size_t begin,
                              rlx_file_tensor *t)
{
    t->tensor.name = rlx_arena_strdup(f->arena, tensor->string);
    if (!t->tensor.name)
        return RLX_OOM();
    if (!cJSON_IsObject(tensor))
        return BAD("S4: tensor '%s' is no object", t->tensor.name);
    const rlx_safetensors_dtype *dtype = NULL;
    int64_t elems = 0, bits;
    RLX_TRY(read_dtype(tensor, &dtype));
    RLX_TRY(read_shape(tensor, &t->tensor, &elems));
    RLX_TRY(read_range(tensor, begin, f->bytes - begin, t));
    if (__builtin_mul_overflow(elems, dtype->bits, &bits) || bits % 8 ||
        (uint64_t)bits / 8 != t->tensor.bytes)
        return BAD("S5: tensor '%s' has %lld elements of %s in %zu bytes", t->tensor.name,
                   (long long)elems, dtype->name, t->tensor.bytes);
    t->tensor.format = dtype->format;
    t->type = dtype->name;
    t->align = dtype->bits >= 8 ? (uint32_t)dtype->bits / 8 : 1;
    return RLX_OK;
}

/* ---- all of them ------------------------------------------------------------------------------
 */

/* S4, S6; `begin`: of the data. */
static rlx_status check_ranges(const rlx_tensor_file *f, size_t begin)
{
    const rlx_file_tensor **t;
    RLX_TRY(rlx_tensor_file_sort(f, "S4", &t));
    uint64_t end = begin;
    for (int i = 0; i < f->n; i++) {
        if (t[i]->offset != end)
            return BAD("S6: tensor '%s' begins at byte %llu of the data, expected %llu",
                       t[i]->tensor.name, (unsigned long long)t[i]->offset - begin,
                       (unsigned long long)end - begin);
        end += t[i]->tensor.bytes;
    }
    static const char zeros[PAD_BYTES];
    size_t rest = f->bytes - (size_t)end;
    bool padding =
        rest < PAD_BYTES && f->bytes % PAD_BYTES == 0 && !memcmp(f->map + end, zeros, rest);
    if (rest && !padding)
        return BAD("S6: tensors end at byte %llu of %zu of data", (unsigned long long)end - begin,
                   f->bytes - begin);
    return RLX_OK;
}

static rlx_status read_header(rlx_tensor_file *f, const cJSON *header, size_t begin)
{
    f->tensors = RLX_NEW_ARRAY(f->arena, rlx_file_tensor, cJSON_GetArraySize(header) + 1);
    if (!f->tensors)
        return RLX_OOM();
    for (const cJSON *item = header->child; item; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0)
            RLX_TRY(read_metadata(f, item));
        else
            RLX_TRY(read_tensor(f, item, begin, &f->tensors[f->n++]));
    }
    RLX_TRY(check_ranges(f, begin));
    return rlx_tensor_file_place(f);
}

static rlx_status read_file(rlx_tensor_file *f)
{
    if (f->bytes < LENGTH_BYTES)
        return BAD("S1: byte 0: %zu bytes are too few for the header's length", f->bytes);
    uint64_t n = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | f->map[i];
    if (n > f->bytes - LENGTH_BYTES || n > MAX_HEADER_BYTES)
        return BAD("S1: byte 0: a header of %llu bytes in a file of %zu", (unsigned long long)n,
                   f->bytes);
    cJSON *header = NULL;
    rlx_status st = parse((const char *)f->map + LENGTH_BYTES, (size_t)n, &header);
    if (!st)
        st = read_header(f, header, LENGTH_BYTES + (size_t)n);
    cJSON_Delete(header);
    return st;
}

rlx_status rlx_safetensors_open(const char *path, rlx_tensor_file **out)
{
    return rlx_tensor_file_open(path, read_file, out);
}
