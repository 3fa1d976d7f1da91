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
 *   G6  a tensor has at most 6 axes, a known type, and whole blocks along the innermost axis.
 *   G7  offsets are multiples of the alignment; tensors lie inside the data and do not overlap.
 */
#include "runtime/gguf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/base/arena.h"
#include "runtime/map_file.h"

#define BAD(...) RLX_FAIL(RLX_INVALID_FILE, __VA_ARGS__)

enum { MIN_KEY_BYTES = 13, MIN_TENSOR_BYTES = 24, DEFAULT_ALIGNMENT = 32 };

struct rlx_gguf {
    rlx_arena *arena; /* this, names, strings, and data that is not aligned in the file */
    void *map;
    size_t bytes;
    rlx_gguf_value *values;
    int nvalues;
    rlx_tensor *tensors;
    int n;
};

typedef struct file_type {
    uint32_t id;
    const char *name;
    int32_t block_elems, block_bytes;
    rlx_format format;
} file_type;

static const file_type file_types[] = {
#define TYPE(id, name, elems, bytes, format) {id, name, elems, bytes, RLX_##format},
#include "runtime/gguf_types.def"
#undef TYPE
};

/* A tensor's place in the data. */
typedef struct range {
    uint64_t begin, end;
    const char *name;
} range;

/* ---- bytes ------------------------------------------------------------------------------------
 */

typedef struct cursor {
    rlx_gguf *file;
    size_t at;
} cursor;

/* The next `n` bytes, or G2 naming `what` they are of. */
static rlx_status take(cursor *c, uint64_t n, const char *what, const uint8_t **out)
{
    size_t left = c->file->bytes - c->at;
    if (n > left)
        return BAD("G2: byte %zu: %s has %llu bytes, the file %zu more", c->at, what,
                   (unsigned long long)n, left);
    *out = (const uint8_t *)c->file->map + c->at;
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
    array->items = (const uint8_t *)c->file->map + c->at;
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

/* Sorted by key when it returns. */
static rlx_status take_values(cursor *c, uint64_t n)
{
    rlx_gguf *f = c->file;
    if (n > (f->bytes - c->at) / MIN_KEY_BYTES)
        return BAD("G2: byte %zu: %llu keys do not fit the file", c->at, (unsigned long long)n);
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

const rlx_gguf_value *rlx_gguf_find(const rlx_gguf *f, const char *key)
{
    rlx_gguf_value wanted = {.key = key};
    return bsearch(&wanted, f->values, (size_t)f->nvalues, sizeof wanted, by_key);
}

int rlx_gguf_value_count(const rlx_gguf *f)
{
    return f->nvalues;
}

const rlx_gguf_value *rlx_gguf_value_at(const rlx_gguf *f, int i)
{
    return &f->values[i];
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
static rlx_status check_general(const rlx_gguf *f, uint64_t *alignment)
{
    const rlx_gguf_value *name = rlx_gguf_find(f, "general.architecture");
    const rlx_gguf_value *align = rlx_gguf_find(f, "general.alignment");
    if (name && name->type != RLX_GGUF_STRING)
        return BAD("G5: general.architecture is no string");
    *alignment = align ? align->u : DEFAULT_ALIGNMENT;
    if (align && (align->type != RLX_GGUF_U32 || align->u == 0 || align->u & (align->u - 1)))
        return BAD("G5: general.alignment is no u32 that is a power of two");
    return RLX_OK;
}

static rlx_status take_shape(cursor *c, rlx_tensor *t, const char *name, uint64_t *elems)
{
    uint64_t rank = 0;
    RLX_TRY(take_number(c, 4, name, &rank));
    if (rank > RLX_PROGRAM_MAX_RANK)
        return BAD("G6: byte %zu: tensor '%s' has %llu axes, more than %d", c->at - 4, name,
                   (unsigned long long)rank, RLX_PROGRAM_MAX_RANK);
    t->rank = (int)rank;
    *elems = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        uint64_t extent = 0;
        RLX_TRY(take_number(c, 8, name, &extent));
        if (extent > INT64_MAX || __builtin_mul_overflow(*elems, extent, elems))
            return BAD("G6: byte %zu: tensor '%s' has an extent of %lld", c->at - 8, name,
                       (long long)extent);
        t->dim[i] = (int64_t)extent;
    }
    return RLX_OK;
}

static rlx_status take_tensor(cursor *c, rlx_tensor *t, range *r, uint64_t *align)
{
    uint64_t elems = 0, id = 0, bytes = 0;
    RLX_TRY(take_name(c, "a tensor's name", &t->name));
    RLX_TRY(take_shape(c, t, t->name, &elems));
    RLX_TRY(take_number(c, 4, t->name, &id));
    RLX_TRY(take_number(c, 8, t->name, &r->begin));
    const file_type *type = NULL;
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].id == id)
            type = &file_types[i];
    if (!type)
        return BAD("G6: tensor '%s' has the unknown type %llu", t->name, (unsigned long long)id);
    int64_t last = t->rank ? t->dim[t->rank - 1] : 1;
    if (last % type->block_elems)
        return BAD("G6: tensor '%s' has rows of %lld elements, no whole blocks of %s", t->name,
                   (long long)last, type->name);
    if (__builtin_mul_overflow(elems / (uint64_t)type->block_elems, (uint64_t)type->block_bytes,
                               &bytes) ||
        __builtin_add_overflow(r->begin, bytes, &r->end))
        return BAD("G7: tensor '%s' at offset %llu is too large", t->name,
                   (unsigned long long)r->begin);
    *align = type->block_elems == 1 ? (uint64_t)type->block_bytes : 1;
    r->name = t->name;
    t->format = type->format;
    t->bytes = (size_t)bytes;
    return RLX_OK;
}

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

/* G4, G7; sorts the ranges. */
static rlx_status check_ranges(range *r, int n, uint64_t alignment, uint64_t data_bytes)
{
    qsort(r, (size_t)n, sizeof *r, by_name);
    for (int i = 1; i < n; i++)
        if (strcmp(r[i - 1].name, r[i].name) == 0)
            return BAD("G4: tensor '%s' is there twice", r[i].name);
    qsort(r, (size_t)n, sizeof *r, by_place);
    uint64_t end = 0;
    for (int i = 0; i < n; i++) {
        if (r[i].begin % alignment)
            return BAD("G7: tensor '%s' begins at byte %llu of the data, no multiple of %llu",
                       r[i].name, (unsigned long long)r[i].begin, (unsigned long long)alignment);
        if (r[i].begin < end)
            return BAD("G7: tensors '%s' and '%s' overlap", r[i - 1].name, r[i].name);
        if (r[i].end > data_bytes)
            return BAD("G7: tensor '%s' ends at byte %llu of %llu of data", r[i].name,
                       (unsigned long long)r[i].end, (unsigned long long)data_bytes);
        end = r[i].end;
    }
    return RLX_OK;
}

static rlx_status take_tensors(cursor *c, uint64_t n)
{
    rlx_gguf *f = c->file;
    if (n > (f->bytes - c->at) / MIN_TENSOR_BYTES)
        return BAD("G2: byte %zu: %llu tensors do not fit the file", c->at, (unsigned long long)n);
    uint64_t alignment = 0;
    RLX_TRY(check_general(f, &alignment));
    f->tensors = RLX_NEW_ARRAY(f->arena, rlx_tensor, n + 1);
    range *ranges = RLX_NEW_ARRAY(f->arena, range, n + 1);
    uint64_t *begin = RLX_NEW_ARRAY(f->arena, uint64_t, n + 1);
    uint64_t *align = RLX_NEW_ARRAY(f->arena, uint64_t, n + 1);
    if (!f->tensors || !ranges || !begin || !align)
        return RLX_OOM();
    for (; f->n < (int)n; f->n++) {
        RLX_TRY(take_tensor(c, &f->tensors[f->n], &ranges[f->n], &align[f->n]));
        begin[f->n] = ranges[f->n].begin;
    }
    uint64_t data = (c->at + alignment - 1) & ~(alignment - 1);
    RLX_TRY(check_ranges(ranges, f->n, alignment, data < f->bytes ? f->bytes - data : 0));
    for (int i = 0; i < f->n;
         i++) { /* kernels load whole elements: what is not aligned is copied */
        rlx_tensor *t = &f->tensors[i];
        t->data = (const char *)f->map + (t->bytes ? data + begin[i] : 0);
        if ((data + begin[i]) % align[i])
            t->data = rlx_arena_copy(f->arena, t->data, t->bytes);
        if (!t->data)
            return RLX_OOM();
    }
    return RLX_OK;
}

int rlx_gguf_count(const rlx_gguf *f)
{
    return f->n;
}

const rlx_tensor *rlx_gguf_at(const rlx_gguf *f, int i)
{
    return &f->tensors[i];
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static rlx_status read_file(rlx_gguf *f, const char *path)
{
    RLX_TRY(rlx_map_file(path, &f->map, &f->bytes));
    cursor c = {f, 0};
    const uint8_t *magic = NULL;
    uint64_t version = 0, tensors = 0, keys = 0;
    RLX_TRY(take(&c, 4, "the magic", &magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return BAD("G1: the file does not begin with GGUF");
    RLX_TRY(take_number(&c, 4, "the version", &version));
    if (version == 0 || (version & 0xffff) == 0)
        return BAD("G1: version %llu%s", (unsigned long long)version,
                   version ? ": a big-endian file" : "");
    if (version != 2 && version != 3)
        return RLX_FAIL(RLX_UNSUPPORTED, "G1: version %llu (2 and 3 are supported)",
                        (unsigned long long)version);
    RLX_TRY(take_number(&c, 8, "the number of tensors", &tensors));
    RLX_TRY(take_number(&c, 8, "the number of keys", &keys));
    RLX_TRY(take_values(&c, keys));
    return take_tensors(&c, tensors);
}

rlx_status rlx_gguf_open(const char *path, rlx_gguf **out)
{
    rlx_arena *arena = rlx_arena_create();
    rlx_gguf *f = arena ? RLX_NEW(arena, rlx_gguf) : NULL;
    if (!f) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    f->arena = arena;
    rlx_status st = read_file(f, path);
    if (st) {
        rlx_gguf_close(f);
        return rlx_status_note(st, __FILE__, __LINE__, "reading '%s'", path);
    }
    *out = f;
    return RLX_OK;
}

void rlx_gguf_close(rlx_gguf *f)
{
    if (!f)
        return;
    if (f->map)
        munmap(f->map, f->bytes);
    rlx_arena_destroy(f->arena);
}
