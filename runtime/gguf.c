/* runtime/gguf.c: reading GGUF files, version 2 and 3, little-endian.
 *
 *   "GGUF" | u32 version | u64 tensors | u64 keys | keys | tensors' places | padding | data
 *   key:    string, u32 type, value            string: u64 bytes, bytes
 *   tensor: string, u32 axes, u64 extents (innermost first), u32 type, u64 offset in the data
 *
 *   G1  the magic is there and the version is 2 or 3.
 *   G2  counts and lengths lie inside the file.
 *   G3  types of values are known; bools are 0 or 1; arrays hold no arrays.
 *   G4  keys, and names of tensors, are there once, not empty and without NUL.
 *   G5  general.architecture is a string; general.alignment is a u32 and a power of two.
 *   G6  a tensor has a name of at most 64 bytes, at most 4 axes, a known type, and whole blocks
 * along the innermost axis. G7  offsets are multiples of the alignment; tensors lie inside the data
 * and do not overlap.
 *
 * Blocks of q2_0 have 64 elements in 18 bytes or 128 in 34: the file does not say which. They are
 * the longer ones, in all of its tensors, where one of these has no room for the others.
 */
#include "runtime/gguf.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/map_file.h"
#include "runtime/tensor_file.h"

#define BAD(...) RLX_FAIL(RLX_INVALID_FILE, __VA_ARGS__)

enum {
    MIN_KEY_BYTES = 13,
    MIN_TENSOR_BYTES = 24,
    DEFAULT_ALIGNMENT = 32,
    MAX_NAME_BYTES = 64,
    MAX_AXES = 4
};

struct rlx_gguf { /* nothing beyond what all readers have */
    rlx_tensor_file file;
};

static const struct {
    uint32_t id;
    rlx_format format;
} file_types[] = {
#define TYPE(id, format) {id, RLX_##format},
#include "runtime/gguf_types.def"
#undef TYPE
};

/* ---- bytes ------------------------------------------------------------------------------------
 */

typedef struct cursor {
    rlx_tensor_file *file;
    size_t at;
} cursor;

/* The next `n` bytes, or G2 naming `what` they are of. */
static rlx_status take(cursor *c, uint64_t n, const char *what, const uint8_t **out)
{
    size_t left = c->file->bytes - c->at;
    if (n > left)
        return BAD("G2: byte %zu: %s has %llu bytes, the file %zu more", c->at, what,
                   (unsigned long long)n, left);
    *out = c->file->map + c->at;
    c->at += (size_t)n;
    return RLX_OK;
}

static uint64_t read_number(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* A little-endian number of `n` bytes. */
static rlx_status take_number(cursor *c, int n, const char *what, uint64_t *out)
{
    const uint8_t *p = NULL;
    RLX_TRY(take(c, (uint64_t)n, what, &p));
    *out = read_number(p, n);
    return RLX_OK;
}

static rlx_status take_string(cursor *c, const char *what, const char **out)
{
    uint64_t n = 0;
    const uint8_t *p = NULL;
    RLX_TRY(take_number(c, 8, what, &n));
    RLX_TRY(take(c, n, what, &p));
    char *copy = rlx_arena_alloc(c->file->arena, (size_t)n + 1);
    if (!copy)
        return RLX_OOM();
    memcpy(copy, p, (size_t)n);
    *out = copy;
    return RLX_OK;
}

/* G4: a string that names something. */
static rlx_status take_name(cursor *c, const char *what, const char **out)
{
    size_t at = c->at;
    RLX_TRY(take_string(c, what, out));
    if (strlen(*out) == 0 || strlen(*out) != c->at - at - 8)
        return BAD("G4: byte %zu: %s is empty or has a NUL", at, what);
    return RLX_OK;
}

/* ---- metadata ---------------------------------------------------------------------------------
 */

static const int value_bytes[RLX_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

int rlx_gguf_type_bytes(rlx_gguf_type type)
{
    return value_bytes[type];
}

static rlx_status take_type(cursor *c, const char *key, rlx_gguf_type *out)
{
    uint64_t type = 0;
    RLX_TRY(take_number(c, 4, key, &type));
    if (type >= RLX_GGUF_TYPES)
        return BAD("G3: byte %zu: '%s' has the unknown type %llu", c->at - 4, key,
                   (unsigned long long)type);
    *out = (rlx_gguf_type)type;
    return RLX_OK;
}

static rlx_status check_bool(const cursor *c, const char *key, uint64_t v)
{
    return v <= 1
               ? RLX_OK
               : BAD("G3: byte %zu: '%s' is the bool %llu", c->at - 1, key, (unsigned long long)v);
}

static rlx_status take_array(cursor *c, rlx_gguf_value *array)
{
    rlx_gguf_type type = RLX_GGUF_U8;
    uint64_t n = 0, v = 0;
    const uint8_t *p = NULL;
    const char *key = array->key;
    RLX_TRY(take_type(c, key, &type));
    RLX_TRY(take_number(c, 8, key, &n));
    array->elem = type;
    array->count = n;
    array->items = c->file->map + c->at;
    if (type == RLX_GGUF_ARRAY)
        return RLX_FAIL(RLX_UNSUPPORTED, "G3: byte %zu: '%s' is an array of arrays", c->at, key);
    if (type != RLX_GGUF_STRING && type != RLX_GGUF_BOOL) {
        uint64_t bytes = 0;
        if (__builtin_mul_overflow(n, (uint64_t)value_bytes[type], &bytes))
            bytes = UINT64_MAX;
        return take(c, bytes, key, &p);
    }
    for (uint64_t i = 0; i < n; i++) {
        RLX_TRY(take_number(c, type == RLX_GGUF_STRING ? 8 : 1, key, &v));
        RLX_TRY(type == RLX_GGUF_STRING ? take(c, v, key, &p) : check_bool(c, key, v));
    }
    return RLX_OK;
}

/* `u`: the bytes of a number or bool of v->type. */
static void set_number(rlx_gguf_value *v, uint64_t u)
{
    int bits = 8 * value_bytes[v->type];
    switch (v->type) {
    case RLX_GGUF_F32: {
        uint32_t low = (uint32_t)u;
        float f;
        memcpy(&f, &low, sizeof f);
        v->f = f;
        break;
    }
    case RLX_GGUF_F64:
        memcpy(&v->f, &u, sizeof v->f);
        break;
    case RLX_GGUF_I8:
    case RLX_GGUF_I16:
    case RLX_GGUF_I32:
    case RLX_GGUF_I64:
        v->i = (int64_t)(u << (64 - bits)) >> (64 - bits); /* sign-extended */
        break;
    default:
        v->u = u;
    }
}

static rlx_status take_value(cursor *c, rlx_gguf_value *v)
{
    RLX_TRY(take_name(c, "a key", &v->key));
    RLX_TRY(take_type(c, v->key, &v->type));
    if (v->type == RLX_GGUF_STRING)
        return take_string(c, v->key, &v->text);
    if (v->type == RLX_GGUF_ARRAY)
        return take_array(c, v);
    uint64_t u = 0;
    RLX_TRY(take_number(c, value_bytes[v->type], v->key, &u));
    set_number(v, u);
    return v->type == RLX_GGUF_BOOL ? check_bool(c, v->key, u) : RLX_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const rlx_gguf_value *)a)->key, ((const rlx_gguf_value *)b)->key);
}

/* G2: `n` things of at least `bytes` each may follow. */
static rlx_status check_count(const cursor *c, uint64_t n, size_t bytes, const char *what)
{
    if (n > INT_MAX || n > (c->file->bytes - c->at) / bytes)
        return BAD("G2: byte %zu: %llu %s do not fit the file", c->at, (unsigned long long)n, what);
    return RLX_OK;
}

/* Sorted by key when it returns. */
static rlx_status take_values(cursor *c, uint64_t n)
{
    rlx_tensor_file *f = c->file;
    RLX_TRY(check_count(c, n, MIN_KEY_BYTES, "keys"));
    f->values = RLX_NEW_ARRAY(f->arena, rlx_gguf_value, n + 1);
    if (!f->values)
        return RLX_OOM();
    for (; f->nvalues < (int)n; f->nvalues++)
        RLX_TRY(take_value(c, &f->values[f->nvalues]));
    qsort(f->values, (size_t)n, sizeof *f->values, by_key);
    for (int i = 1; i < f->nvalues; i++)
        if (strcmp(f->values[i - 1].key, f->values[i].key) == 0)
            return BAD("G4: the key '%s' is there twice", f->values[i].key);
    return RLX_OK;
}

static const rlx_gguf_value *find_value(const rlx_tensor_file *f, const char *key)
{
    rlx_gguf_value wanted = {.key = key};
    return bsearch(&wanted, f->values, (size_t)f->nvalues, sizeof wanted, by_key);
}

const rlx_gguf_value *rlx_gguf_find(const rlx_gguf *f, const char *key)
{
    return find_value(&f->file, key);
}

int rlx_gguf_value_count(const rlx_gguf *f)
{
    return f->file.nvalues;
}

const rlx_gguf_value *rlx_gguf_value_at(const rlx_gguf *f, int i)
{
    return &f->file.values[i];
}

bool rlx_gguf_int(const rlx_gguf_value *v, int64_t *out)
{
    switch (v->type) {
    case RLX_GGUF_U8:
    case RLX_GGUF_U16:
    case RLX_GGUF_U32:
    case RLX_GGUF_U64:
        *out = (int64_t)v->u;
        return v->u <= INT64_MAX;
    case RLX_GGUF_I8:
    case RLX_GGUF_I16:
    case RLX_GGUF_I32:
    case RLX_GGUF_I64:
        *out = v->i;
        return true;
    default:
        return false;
    }
}

bool rlx_gguf_real(const rlx_gguf_value *v, double *out)
{
    int64_t i;
    if (rlx_gguf_int(v, &i))
        *out = (double)i;
    else if (v->type == RLX_GGUF_F32 || v->type == RLX_GGUF_F64)
        *out = v->f;
    else
        return false;
    return true;
}

rlx_gguf_items rlx_gguf_walk(const rlx_gguf_value *array)
{
    return (rlx_gguf_items){.array = array, .at = array->items};
}

bool rlx_gguf_next(rlx_gguf_items *it, rlx_gguf_value *item)
{
    const rlx_gguf_value *a = it->array;
    if (it->i == a->count)
        return false;
    *item = (rlx_gguf_value){.key = a->key, .type = a->elem};
    set_number(item, read_number(it->at, value_bytes[a->elem]));
    it->at += value_bytes[a->elem];
    it->i++;
    return true;
}

bool rlx_gguf_next_text(rlx_gguf_items *it, const char **text, size_t *bytes)
{
    if (it->i == it->array->count)
        return false;
    *bytes = (size_t)read_number(it->at, 8);
    *text = (const char *)it->at + 8;
    it->at += 8 + *bytes;
    it->i++;
    return true;
}

/* ---- tensors ----------------------------------------------------------------------------------
 */

/* G5. */
static rlx_status check_general(const rlx_tensor_file *f, uint64_t *alignment)
{
    const rlx_gguf_value *name = find_value(f, "general.architecture");
    const rlx_gguf_value *align = find_value(f, "general.alignment");
    if (name && name->type != RLX_GGUF_STRING)
        return BAD("G5: the key 'general.architecture' is no string");
    *alignment = align ? align->u : DEFAULT_ALIGNMENT;
    if (align && (align->type != RLX_GGUF_U32 || align->u == 0 || align->u & (align->u - 1)))
        return BAD("G5: the key 'general.alignment' is no u32 that is a power of two");
    return RLX_OK;
}

/* G6: the axes, and how many elements they span. */
static rlx_status take_shape(cursor *c, rlx_tensor *t, uint64_t *elems)
{
    uint64_t rank = 0;
    RLX_TRY(take_number(c, 4, t->name, &rank));
    if (rank > MAX_AXES)
        return BAD("G6: byte %zu: tensor '%s' has %llu axes, more than %d", c->at - 4, t->name,
                   (unsigned long long)rank, MAX_AXES);
    t->rank = (int)rank;
    int64_t span = 1; /* without axes of 0: their product in any order is safe, too */
    bool empty = false;
    for (int i = t->rank - 1; i >= 0; i--) {
        uint64_t extent = 0;
        RLX_TRY(take_number(c, 8, t->name, &extent));
        if (extent > INT64_MAX || __builtin_mul_overflow(span, extent ? extent : 1, &span))
            return BAD("G6: byte %zu: tensor '%s' has an extent of %lld", c->at - 8, t->name,
                       (long long)extent);
        t->dim[i] = (int64_t)extent;
        empty = empty || extent == 0;
    }
    *elems = empty ? 0 : (uint64_t)span;
    return RLX_OK;
}

/* G6: the type of the elements, by its number in the file. */
static rlx_status take_format(cursor *c, rlx_tensor *t)
{
    uint64_t id = 0;
    RLX_TRY(take_number(c, 4, t->name, &id));
    t->format = RLX_FORMAT_NONE;
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].id == id)
            t->format = file_types[i].format;
    if (t->format == RLX_FORMAT_NONE)
        return BAD("G6: byte %zu: tensor '%s' has the unknown type %llu", c->at - 4, t->name,
                   (unsigned long long)id);
    const rlx_format_info *info = rlx_format_get(t->format);
    int64_t last = t->rank ? t->dim[t->rank - 1] : 1;
    if (last % info->block_elems)
        return BAD("G6: byte %zu: tensor '%s' has rows of %lld elements, no whole blocks of %s",
                   c->at - 4, t->name, (long long)last, info->name);
    return RLX_OK;
}

/* All but its data's address; the offset is the one in the data. */
static rlx_status take_tensor(cursor *c, rlx_file_tensor *t)
{
    uint64_t elems = 0, bytes = 0, end;
    const size_t at = c->at;
    RLX_TRY(take_name(c, "a tensor's name", &t->tensor.name));
    if (strlen(t->tensor.name) > MAX_NAME_BYTES)
        return BAD("G6: byte %zu: tensor '%.64s..' has a name of %zu bytes, more than %d", at,
                   t->tensor.name, strlen(t->tensor.name), MAX_NAME_BYTES);
    RLX_TRY(take_shape(c, &t->tensor, &elems));
    RLX_TRY(take_format(c, &t->tensor));
    RLX_TRY(take_number(c, 8, t->tensor.name, &t->offset));
    const rlx_format_info *type = rlx_format_get(t->tensor.format);
    if (__builtin_mul_overflow(elems / (uint64_t)type->block_elems, (uint64_t)type->block_bytes,
                               &bytes) ||
        __builtin_add_overflow(t->offset, bytes, &end))
        return BAD("G7: byte %zu: tensor '%s' at offset %llu is too large", c->at - 8,
                   t->tensor.name, (unsigned long long)t->offset);
    t->type = type->name;
    t->align = type->block_elems == 1 ? (uint32_t)type->block_bytes : 1;
    t->tensor.bytes = (size_t)bytes;
    return RLX_OK;
}

/* Whether the blocks of q2_0 are those of 128 elements. */
static bool has_long_q2_0(const rlx_file_tensor *const *by_place, int n, uint64_t alignment,
                          uint64_t data_bytes)
{
    const rlx_format_info *is = rlx_format_get(RLX_Q2_0), *longer = rlx_format_get(RLX_Q2_0_128);
    bool lacks_room = false;
    for (int i = 0; i < n; i++) {
        const rlx_tensor *t = &by_place[i]->tensor;
        if (t->format != RLX_Q2_0)
            continue;
        uint64_t pairs = t->bytes / (2 * (uint64_t)is->block_bytes);
        uint64_t less = pairs * (uint64_t)(2 * is->block_bytes - longer->block_bytes);
        bool fits =
            by_place[i]->offset + t->bytes <= (i + 1 < n ? by_place[i + 1]->offset : data_bytes);
        if (t->dim[t->rank - 1] % longer->block_elems || (fits && less >= alignment))
            return false; /* padding is shorter than the alignment */
        lacks_room |= !fits;
    }
    return lacks_room;
}

static void make_q2_0_long(rlx_tensor_file *f)
{
    const rlx_format_info *was = rlx_format_get(RLX_Q2_0), *is = rlx_format_get(RLX_Q2_0_128);
    for (int i = 0; i < f->n; i++) {
        rlx_tensor *t = &f->tensors[i].tensor;
        if (t->format != RLX_Q2_0)
            continue;
        int64_t elems = (int64_t)(t->bytes / (size_t)was->block_bytes) * was->block_elems;
        t->format = RLX_Q2_0_128;
        t->bytes = (size_t)(elems / is->block_elems) * (size_t)is->block_bytes;
        f->tensors[i].type = is->name;
    }
}

/* G4, G7; offsets are those in the data. */
static rlx_status check_ranges(rlx_tensor_file *f, uint64_t alignment, uint64_t data_bytes)
{
    const rlx_file_tensor **t;
    RLX_TRY(rlx_tensor_file_sort(f, "G4", &t));
    if (has_long_q2_0(t, f->n, alignment, data_bytes))
        make_q2_0_long(f);
    uint64_t end = 0;
    for (int i = 0; i < f->n; i++) {
        const char *name = t[i]->tensor.name;
        const uint64_t begin = t[i]->offset;
        if (begin % alignment)
            return BAD("G7: tensor '%s' begins at byte %llu of the data, no multiple of %llu", name,
                       (unsigned long long)begin, (unsigned long long)alignment);
        if (begin < end)
            return BAD("G7: tensors '%s' and '%s' overlap", t[i - 1]->tensor.name, name);
        end = begin + t[i]->tensor.bytes;
        if (end > data_bytes)
            return BAD("G7: tensor '%s' ends at byte %llu of %llu of data", name,
                       (unsigned long long)end, (unsigned long long)data_bytes);
    }
    return RLX_OK;
}

static rlx_status take_tensors(cursor *c, uint64_t n)
{
    rlx_tensor_file *f = c->file;
    uint64_t alignment = 0;
    RLX_TRY(check_count(c, n, MIN_TENSOR_BYTES, "tensors"));
    RLX_TRY(check_general(f, &alignment));
    f->tensors = RLX_NEW_ARRAY(f->arena, rlx_file_tensor, n + 1);
    if (!f->tensors)
        return RLX_OOM();
    for (; f->n < (int)n; f->n++)
        RLX_TRY(take_tensor(c, &f->tensors[f->n]));
    const uint64_t data = (c->at + alignment - 1) & ~(alignment - 1);
    RLX_TRY(check_ranges(f, alignment, data < f->bytes ? f->bytes - data : 0));
    for (int i = 0; i < f->n; i++)
        f->tensors[i].offset += data;
    return rlx_tensor_file_place(f);
}

int rlx_gguf_count(const rlx_gguf *f)
{
    return f->file.n;
}

const rlx_tensor *rlx_gguf_at(const rlx_gguf *f, int i)
{
    return &f->file.tensors[i].tensor;
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static rlx_status read_file(rlx_tensor_file *f)
{
    cursor c = {f, 0};
    const uint8_t *magic = NULL;
    uint64_t version = 0, tensors = 0, keys = 0;
    RLX_TRY(take(&c, 4, "the magic", &magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return BAD("G1: byte 0: the file does not begin with GGUF");
    RLX_TRY(take_number(&c, 4, "the version", &version));
    if (version == 0 || (version & 0xffff) == 0)
        return BAD("G1: byte 4: version %llu%s", (unsigned long long)version,
                   version ? ": a big-endian file" : "");
    if (version != 2 && version != 3)
        return RLX_FAIL(RLX_UNSUPPORTED, "G1: byte 4: version %llu (2 and 3 are supported)",
                        (unsigned long long)version);
    RLX_TRY(take_number(&c, 8, "the number of tensors", &tensors));
    RLX_TRY(take_number(&c, 8, "the number of keys", &keys));
    RLX_TRY(take_values(&c, keys));
    return take_tensors(&c, tensors);
}

rlx_status rlx_gguf_open(const char *path, rlx_gguf **out)
{
    rlx_tensor_file *f;
    rlx_status st = rlx_tensor_file_open(path, read_file, &f);
    *out = (rlx_gguf *)f;
    return st;
}

void rlx_gguf_close(rlx_gguf *f)
{
    rlx_tensor_file_close((rlx_tensor_file *)f);
}

rlx_status rlx_gguf_check(const rlx_gguf *f)
{
    const rlx_tensor_file *file = (const rlx_tensor_file *)f;
    return rlx_map_check(file->map, file->path);
}
