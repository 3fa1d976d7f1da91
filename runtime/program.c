/* runtime/program.c: entry bytes.
 *
 *   header    184 bytes: magic, version, total bytes, features, key, arena, names, counts, plan, source
 *   sections  fixed-size records, in the order of rlx_program_section; strings and code last
 *   checksum  32 bytes over all before
 *
 * Everything is little-endian and at a place that the header's counts determine, so equal programs
 * give equal bytes and a reader has one size to check. Records refer to strings by their offset; a
 * dim is a constant (>= 0) or -1 - i for record i of the dims, which refer to earlier ones.
 */
#include "runtime/program.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/base/arena.h"
#include "runtime/program_check.h"

enum {
    VERSION = 5,
    HEADER_BYTES = 184,
    CHECKSUM_BYTES = sizeof(rlx_hash),
    MAX_DIMS = 4096,
    MAX_DIM_SIZE = 256 /* nodes of an expression written out */
};
#define MAX_UPPER ((int64_t)1 << 40)
static const char magic[8] = {'r', 'l', 'x', 'e', 'n', 't', 'r', 'y'};

/* Header fields: byte offsets. */
enum {
    AT_VERSION = 8,
    AT_CODE_KIND = 12,
    AT_TOTAL = 16,
    AT_FEATURES = 24,
    AT_KEY = 32,
    AT_ARENA = 64,
    AT_NAME = 72,
    AT_TARGET = 76,
    AT_PROVENANCE = 80,
    AT_PREIMAGE = 84,
    AT_COUNTS = 88, /* of every section, 8 bytes each, in order */
    AT_PLAN = AT_COUNTS + 8 * RLX_SECTION_COUNT,
    AT_SOURCE = AT_PLAN + 8
};

static const size_t record_bytes[RLX_SECTION_COUNT] = {
    [RLX_SECTION_SYMBOLS] = 16, [RLX_SECTION_DIMS] = 24,  [RLX_SECTION_KERNELS] = 224,
    [RLX_SECTION_FUNCS] = 32,   [RLX_SECTION_BOUND] = 72, [RLX_SECTION_OUTPUTS] = 72,
    [RLX_SECTION_OPS] = 48,     [RLX_SECTION_ARGS] = 16,  [RLX_SECTION_STRINGS] = 1,
    [RLX_SECTION_CODE] = 1};

/* ---- encoding ------------------------------------------------------------------------------- */

typedef struct writer {
    const rlx_program *p;
    rlx_text sections[RLX_SECTION_COUNT];
    rlx_dim dims[MAX_DIMS]; /* record i of the dims was made from dims[i] */
    int ndims;
} writer;

static void put32(rlx_text *t, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    rlx_text_put_bytes(t, b, sizeof(b));
}

static void put64(rlx_text *t, int64_t v)
{
    put32(t, (uint32_t)v);
    put32(t, (uint32_t)((uint64_t)v >> 32));
}

/* Adds a string; returns its offset. */
static uint32_t put_string(writer *w, const char *s)
{
    rlx_text *t = &w->sections[RLX_SECTION_STRINGS];
    uint32_t offset = (uint32_t)t->len;
    rlx_text_put_bytes(t, s ? s : "", s ? strlen(s) + 1 : 1);
    return offset;
}

/* How a record spells a dim: the value of a constant or the number of the record that holds it. */
static rlx_status put_dim(writer *w, rlx_dim d, int64_t *spelled)
{
    *spelled = d;
    if (rlx_dim_is_const(d))
        return RLX_OK;
    if (d == RLX_DIM_INVALID)
        return RLX_FAIL(RLX_INTERNAL, "program '%s' has an invalid extent", w->p->name);
    for (int i = 0; i < w->ndims; i++) {
        if (w->dims[i] == d) {
            *spelled = -1 - i;
            return RLX_OK;
        }
    }
    rlx_dim_node n = rlx_dim_get(w->p->dims, d);
    if (n.op != RLX_DIM_SYMBOL) {
        RLX_TRY(put_dim(w, n.a, &n.a));
        RLX_TRY(put_dim(w, n.b, &n.b));
    }
    if (w->ndims == MAX_DIMS)
        return RLX_FAIL(RLX_UNSUPPORTED, "program '%s' has more than %d different extents",
                        w->p->name, MAX_DIMS);
    rlx_text *t = &w->sections[RLX_SECTION_DIMS];
    put32(t, n.op);
    put32(t, 0);
    put64(t, n.a);
    put64(t, n.b);
    w->dims[w->ndims] = d;
    *spelled = -1 - w->ndims++;
    return RLX_OK;
}

static rlx_status put_tensors(writer *w, rlx_program_section s, const rlx_program_tensor *tensors,
                              uint32_t n)
{
    rlx_text *t = &w->sections[s];
    for (uint32_t i = 0; i < n; i++) {
        if (tensors[i].rank < 0 || tensors[i].rank > RLX_PROGRAM_MAX_RANK)
            return RLX_FAIL(RLX_INTERNAL, "'%s' has rank %d", tensors[i].name, tensors[i].rank);
        put32(t, put_string(w, tensors[i].name));
        put32(t, tensors[i].kind);
        put32(t, put_string(w, rlx_format_get(tensors[i].format)->name));
        put32(t, (uint32_t)tensors[i].rank);
        for (int d = 0; d < RLX_PROGRAM_MAX_RANK; d++) {
            int64_t spelled = 0;
            if (d < tensors[i].rank)
                RLX_TRY(put_dim(w, tensors[i].dim[d], &spelled));
            put64(t, spelled);
        }
        put64(t, tensors[i].offset);
    }
    return RLX_OK;
}

static void put_tape(writer *w)
{
    const rlx_program *p = w->p;
    for (uint32_t i = 0; i < p->nfuncs; i++) {
        const rlx_program_func *f = &p->funcs[i];
        rlx_text *t = &w->sections[RLX_SECTION_FUNCS];
        put32(t, put_string(w, f->name));
        const uint32_t words[] = {f->first_op, f->nops, f->nparams, f->nout, 0};
        for (int k = 0; k < 5; k++)
            put32(t, words[k]);
        put64(t, f->frame_bytes);
    }
    for (uint32_t i = 0; i < p->nops; i++) {
        const rlx_program_op *op = &p->ops[i];
        rlx_text *t = &w->sections[RLX_SECTION_OPS];
        const uint32_t words[] = {op->kind,      op->target, op->phase,
                                  op->first_arg, op->nargs,  op->nout};
        for (int k = 0; k < 6; k++)
            put32(t, words[k]);
        put64(t, op->first);
        put64(t, op->count);
        put64(t, op->frame);
    }
    for (uint32_t i = 0; i < p->nargs; i++) {
        rlx_text *t = &w->sections[RLX_SECTION_ARGS];
        put32(t, p->args[i].kind);
        put32(t, p->args[i].index);
        put64(t, p->args[i].offset);
    }
}

static void put_maps(rlx_text *t, const rlx_program_kernel *k)
{
    put64(t, k->nmaps);
    for (int i = 0; i < RLX_PROGRAM_MAPS; i++) {
        const rlx_program_map *m = &k->maps[i];
        put32(t, m->buffer);
        put32(t, m->bytes);
        put64(t, m->rows);
        put64(t, m->columns);
        put32(t, m->box_rows);
        put32(t, m->box_columns);
    }
}

/* A kernel's last word. */
enum { IS_PART = 1 };

static rlx_status put_kernels(writer *w)
{
    for (uint32_t i = 0; i < w->p->nkernels + w->p->nparts; i++) {
        const rlx_program_kernel *k = &w->p->kernels[i];
        rlx_text *t = &w->sections[RLX_SECTION_KERNELS];
        put32(t, put_string(w, k->name));
        put32(t, k->nbuffers);
        put64(t, k->team_bytes);
        put64(t, (int64_t)k->code_bytes);
        put32(t, k->cost.symbol);
        put32(t, i >= w->p->nkernels ? IS_PART : 0);
        for (int at = 0; at < 2; at++) {
            put64(t, k->cost.bytes[at]);
            put64(t, k->cost.operations[at]);
        }
        for (int axis = 0; axis < RLX_PROGRAM_GRID; axis++) {
            int64_t spelled;
            RLX_TRY(put_dim(w, k->grid[axis], &spelled));
            put64(t, spelled);
        }
        put_maps(t, k);
        rlx_text_put_bytes(&w->sections[RLX_SECTION_CODE], k->code, k->code_bytes);
    }
    return RLX_OK;
}

static rlx_status put_sections(writer *w)
{
    const rlx_program *p = w->p;
    int nsymbols = p->dims ? rlx_dim_symbol_count(p->dims) : 0;
    for (int i = 0; i < nsymbols; i++) {
        rlx_text *t = &w->sections[RLX_SECTION_SYMBOLS];
        put32(t, put_string(w, rlx_dim_symbol_name(p->dims, i)));
        put32(t, 0);
        put64(t, p->upper[i]);
    }
    RLX_TRY(put_tensors(w, RLX_SECTION_BOUND, p->bound, p->nbound));
    RLX_TRY(put_tensors(w, RLX_SECTION_OUTPUTS, p->outputs, p->noutputs));
    RLX_TRY(put_kernels(w));
    put_tape(w);
    return RLX_OK;
}

static void put_header(writer *w, rlx_text *out)
{
    const rlx_program *p = w->p;
    uint32_t names[] = {put_string(w, p->name), put_string(w, p->target),
                        put_string(w, p->provenance), put_string(w, p->preimage),
                        put_string(w, p->source)};
    size_t total = HEADER_BYTES + CHECKSUM_BYTES;
    for (int s = 0; s < RLX_SECTION_COUNT; s++)
        total += w->sections[s].len;
    rlx_text_put_bytes(out, magic, sizeof(magic));
    put32(out, VERSION);
    put32(out, p->code_kind);
    put64(out, (int64_t)total);
    put64(out, (int64_t)p->features);
    rlx_text_put_bytes(out, p->key.bytes, sizeof(p->key.bytes));
    put64(out, p->arena_bytes);
    for (int k = 0; k < 4; k++)
        put32(out, names[k]);
    for (int s = 0; s < RLX_SECTION_COUNT; s++)
        put64(out, (int64_t)(w->sections[s].len / record_bytes[s]));
    put64(out, p->plan_least);
    put64(out, names[4]);
}

static rlx_status encode(writer *w, rlx_text *out)
{
    size_t start = out->len;
    RLX_TRY(put_sections(w));
    put_header(w, out);
    for (int s = 0; s < RLX_SECTION_COUNT; s++) {
        if (w->sections[s].oom)
            return RLX_OOM();
        rlx_text_put_bytes(out, w->sections[s].data, w->sections[s].len);
    }
    if (w->sections[RLX_SECTION_STRINGS].len > UINT32_MAX)
        return RLX_FAIL(RLX_UNSUPPORTED, "program '%s' has more than 4 GiB of names", w->p->name);
    if (out->oom)
        return RLX_OOM();
    rlx_hash sum = rlx_hash_bytes(out->data + start, out->len - start);
    rlx_text_put_bytes(out, sum.bytes, sizeof(sum.bytes));
    if (out->oom)
        return RLX_OOM();
    /* What does not load is not written. */
    rlx_program *back;
    RLX_TRY(rlx_program_decode(out->data + start, out->len - start, &back));
    rlx_program_destroy(back);
    return RLX_OK;
}

rlx_status rlx_program_encode(const rlx_program *p, rlx_text *out)
{
    size_t start = out->len;
    writer *w = calloc(1, sizeof(*w));
    if (!w)
        return RLX_OOM();
    w->p = p;
    rlx_status st = encode(w, out);
    for (int s = 0; s < RLX_SECTION_COUNT; s++)
        rlx_text_deinit(&w->sections[s]);
    free(w);
    if (st && out->data) {
        out->len = start;
        out->data[start] = 0;
    }
    return rlx_status_note(st, __FILE__, __LINE__, "encoding program '%s'", p->name ? p->name : "");
}

/* ---- decoding ------------------------------------------------------------------------------- */

typedef struct decoded {
    rlx_program program;
    rlx_arena *arena; /* holds this too */
} decoded;

typedef struct reader {
    const uint8_t *bytes;
    size_t n;
    rlx_program_extent sections[RLX_SECTION_COUNT];
    rlx_program *p;
    const char *strings; /* the program's copies */
    const uint8_t *code;
    rlx_dim *dims; /* of the dims' records; scratch */
    int *dim_sizes;
} reader;

static uint32_t get32(const uint8_t *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static int64_t get64(const uint8_t *b)
{
    return (int64_t)(get32(b) | (uint64_t)get32(b + 4) << 32);
}

static size_t at(const reader *r, rlx_program_section s, size_t i)
{
    return r->sections[s].start + i * record_bytes[s];
}

static size_t count(const reader *r, rlx_program_section s)
{
    return r->sections[s].count;
}

#define BAD_BYTE(byte, what, ...) \
    RLX_FAIL(RLX_INVALID_FILE, "byte %zu: " what, (size_t)(byte), __VA_ARGS__)

/* Checks magic, size and checksum, in this order; nothing else is looked at before. */
static rlx_status read_frame(const reader *r)
{
    if (r->n < HEADER_BYTES + CHECKSUM_BYTES)
        return RLX_FAIL(RLX_INVALID_FILE, "%zu bytes are too few for an entry", r->n);
    if (memcmp(r->bytes, magic, sizeof(magic)) != 0)
        return BAD_BYTE(0, "not an %.8s", magic);
    if (get64(r->bytes + AT_TOTAL) != (int64_t)r->n)
        return BAD_BYTE(AT_TOTAL, "an entry of %lld bytes, given %zu",
                        (long long)get64(r->bytes + AT_TOTAL), r->n);
    rlx_hash sum = rlx_hash_bytes(r->bytes, r->n - CHECKSUM_BYTES);
    if (memcmp(sum.bytes, r->bytes + r->n - CHECKSUM_BYTES, CHECKSUM_BYTES) != 0)
        return BAD_BYTE(r->n - CHECKSUM_BYTES, "the checksum of %zu bytes does not match", r->n);
    if (get32(r->bytes + AT_VERSION) != VERSION)
        return BAD_BYTE(AT_VERSION, "entry version %u, expected %d", get32(r->bytes + AT_VERSION),
                        VERSION);
    return RLX_OK;
}

static rlx_status read_counts(reader *r)
{
    size_t next = HEADER_BYTES, end = r->n - CHECKSUM_BYTES;
    for (int s = 0; s < RLX_SECTION_COUNT; s++) {
        size_t field = AT_COUNTS + 8 * (size_t)s;
        uint64_t n = (uint64_t)get64(r->bytes + field);
        if (n > (end - next) / record_bytes[s] || (record_bytes[s] > 1 && n > UINT32_MAX))
            return BAD_BYTE(field, "section %d has %llu records", s, (unsigned long long)n);
        r->sections[s] = (rlx_program_extent){next, (size_t)n, record_bytes[s]};
        next += (size_t)n * record_bytes[s];
    }
    if (next != end)
        return BAD_BYTE(next, "%zu bytes that no section has", end - next);
    if (count(r, RLX_SECTION_SYMBOLS) > RLX_MAX_SYMBOLS)
        return BAD_BYTE(AT_COUNTS, "%zu symbols", count(r, RLX_SECTION_SYMBOLS));
    if (count(r, RLX_SECTION_DIMS) > MAX_DIMS)
        return BAD_BYTE(AT_COUNTS + 8, "%zu extents", count(r, RLX_SECTION_DIMS));
    size_t strings = r->sections[RLX_SECTION_STRINGS].start;
    size_t n = count(r, RLX_SECTION_STRINGS);
    if (n == 0 || n > UINT32_MAX || r->bytes[strings + n - 1] != 0)
        return BAD_BYTE(strings, "%zu bytes of names without an end", n);
    return RLX_OK;
}

static rlx_status allocate(reader *r)
{
    rlx_arena *arena = rlx_arena_create();
    decoded *d = arena ? RLX_NEW(arena, decoded) : NULL;
    if (!d) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    d->arena = arena;
    rlx_program *p = r->p = &d->program;
    p->kernels = RLX_NEW_ARRAY(arena, rlx_program_kernel, count(r, RLX_SECTION_KERNELS));
    p->funcs = RLX_NEW_ARRAY(arena, rlx_program_func, count(r, RLX_SECTION_FUNCS));
    p->bound = RLX_NEW_ARRAY(arena, rlx_program_tensor, count(r, RLX_SECTION_BOUND));
    p->outputs = RLX_NEW_ARRAY(arena, rlx_program_tensor, count(r, RLX_SECTION_OUTPUTS));
    p->ops = RLX_NEW_ARRAY(arena, rlx_program_op, count(r, RLX_SECTION_OPS));
    p->args = RLX_NEW_ARRAY(arena, rlx_program_arg, count(r, RLX_SECTION_ARGS));
    p->dims = rlx_dims_create();
    r->strings = rlx_arena_copy(arena, r->bytes + at(r, RLX_SECTION_STRINGS, 0),
                                count(r, RLX_SECTION_STRINGS));
    r->code =
        rlx_arena_copy(arena, r->bytes + at(r, RLX_SECTION_CODE, 0), count(r, RLX_SECTION_CODE));
    r->dims = calloc(count(r, RLX_SECTION_DIMS) + 1, sizeof(*r->dims));
    r->dim_sizes = calloc(count(r, RLX_SECTION_DIMS) + 1, sizeof(*r->dim_sizes));
    if (!p->kernels || !p->funcs || !p->bound || !p->outputs || !p->ops || !p->args || !p->dims ||
        !r->strings || !r->code || !r->dims || !r->dim_sizes)
        return RLX_OOM();
    return RLX_OK;
}

static rlx_status read_string(const reader *r, size_t field, const char **out)
{
    uint32_t offset = get32(r->bytes + field);
    if (offset >= count(r, RLX_SECTION_STRINGS))
        return BAD_BYTE(field, "name at %u of %zu bytes of names", offset,
                        count(r, RLX_SECTION_STRINGS));
    *out = r->strings + offset;
    return RLX_OK;
}

static rlx_status read_symbols(reader *r)
{
    for (size_t i = 0; i < count(r, RLX_SECTION_SYMBOLS); i++) {
        size_t byte = at(r, RLX_SECTION_SYMBOLS, i);
        const char *name;
        RLX_TRY(read_string(r, byte, &name));
        if (!name[0] || rlx_dim_symbol_index(r->p->dims, name) >= 0)
            return BAD_BYTE(byte, "symbol '%s' is there twice or has no name", name);
        if (rlx_dim_symbol(r->p->dims, name) == RLX_DIM_INVALID)
            return RLX_OOM();
        r->p->upper[i] = get64(r->bytes + byte + 8);
        if (r->p->upper[i] < 0 || r->p->upper[i] > MAX_UPPER)
            return BAD_BYTE(byte + 8, "symbol '%s' goes up to %lld", name,
                            (long long)r->p->upper[i]);
    }
    return RLX_OK;
}

/* A constant, or what an earlier record (before `limit`) made. */
static bool get_dim(const reader *r, size_t field, size_t limit, rlx_dim *out, int *size)
{
    int64_t v = get64(r->bytes + field);
    if (v >= 0) {
        *out = v;
        *size = 1;
        return true;
    }
    uint64_t i = (uint64_t)(-1 - v);
    if (i >= limit)
        return false;
    *out = r->dims[i];
    *size = r->dim_sizes[i];
    return true;
}

static rlx_status read_dims(reader *r)
{
    for (size_t i = 0; i < count(r, RLX_SECTION_DIMS); i++) {
        size_t byte = at(r, RLX_SECTION_DIMS, i);
        uint32_t op = get32(r->bytes + byte);
        if (op == RLX_DIM_SYMBOL) {
            uint64_t symbol = (uint64_t)get64(r->bytes + byte + 8);
            if (symbol >= count(r, RLX_SECTION_SYMBOLS))
                return BAD_BYTE(byte, "extent of symbol %llu", (unsigned long long)symbol);
            r->dims[i] = rlx_dim_symbol(r->p->dims, rlx_dim_symbol_name(r->p->dims, (int)symbol));
            r->dim_sizes[i] = 1;
            continue;
        }
        rlx_dim a, b;
        int size_a, size_b;
        if (op > RLX_DIM_MAX || !get_dim(r, byte + 8, i, &a, &size_a) ||
            !get_dim(r, byte + 16, i, &b, &size_b) || size_a + size_b >= MAX_DIM_SIZE)
            return BAD_BYTE(byte, "extent %zu (operation %u)", i, op);
        r->dims[i] = rlx_dim_make(r->p->dims, (rlx_dim_op)op, a, b);
        r->dim_sizes[i] = size_a + size_b + 1;
        if (r->dims[i] == RLX_DIM_INVALID)
            return BAD_BYTE(byte, "extent %zu is no quasi-affine expression", i);
    }
    return RLX_OK;
}

static rlx_status read_tensor(const reader *r, size_t byte, rlx_program_tensor *t)
{
    const uint8_t *b = r->bytes + byte;
    RLX_TRY(read_string(r, byte, &t->name));
    uint32_t kind = get32(b + 4), rank = get32(b + 12);
    const char *format;
    RLX_TRY(read_string(r, byte + 8, &format));
    t->format = rlx_format_parse(format, strlen(format));
    if (!t->name[0] || kind > RLX_BIND_STATE || rank > RLX_PROGRAM_MAX_RANK || !t->format)
        return BAD_BYTE(byte, "tensor '%s' of kind %u, rank %u, format '%s'", t->name, kind, rank,
                        format);
    t->kind = (rlx_bind_kind)kind;
    t->rank = (int)rank;
    for (uint32_t d = 0; d < rank; d++) {
        int size;
        if (!get_dim(r, byte + 16 + 8 * d, count(r, RLX_SECTION_DIMS), &t->dim[d], &size))
            return BAD_BYTE(byte + 16 + 8 * d, "axis %u of tensor '%s'", d, t->name);
    }
    t->offset = get64(b + 64);
    return RLX_OK;
}

/* What stands behind them is nothing. */
static void read_maps(const uint8_t *at, rlx_program_kernel *k)
{
    enum { BYTES = 32 };
    const int64_t n = get64(at);
    k->nmaps = n < 0 || n > RLX_PROGRAM_MAPS ? UINT32_MAX : (uint32_t)n;
    at += 8;
    for (int i = 0; i < RLX_PROGRAM_MAPS; i++, at += BYTES)
        k->maps[i] = (rlx_program_map){.buffer = get32(at),
                                       .bytes = get32(at + 4),
                                       .rows = get64(at + 8),
                                       .columns = get64(at + 16),
                                       .box_rows = get32(at + 24),
                                       .box_columns = get32(at + 28)};
}

static rlx_status read_kernel(const reader *r, size_t byte, rlx_program_kernel *k)
{
    RLX_TRY(read_string(r, byte, &k->name));
    k->nbuffers = get32(r->bytes + byte + 4);
    k->team_bytes = get64(r->bytes + byte + 8);
    k->cost.symbol = get32(r->bytes + byte + 24);
    for (int end = 0; end < 2; end++) {
        k->cost.bytes[end] = get64(r->bytes + byte + 32 + 16 * (size_t)end);
        k->cost.operations[end] = get64(r->bytes + byte + 40 + 16 * (size_t)end);
    }
    for (size_t axis = 0; axis < RLX_PROGRAM_GRID; axis++) {
        int size;
        if (!get_dim(r, byte + 64 + 8 * axis, count(r, RLX_SECTION_DIMS), &k->grid[axis], &size))
            return BAD_BYTE(byte + 64 + 8 * axis, "axis %zu of kernel %s's grid", axis, k->name);
    }
    read_maps(r->bytes + byte + 64 + sizeof(int64_t) * RLX_PROGRAM_GRID, k);
    return RLX_OK;
}

static rlx_status read_kernels(reader *r)
{
    const uint8_t *code = r->code;
    size_t left = count(r, RLX_SECTION_CODE);
    for (size_t i = 0; i < count(r, RLX_SECTION_KERNELS); i++) {
        size_t byte = at(r, RLX_SECTION_KERNELS, i);
        rlx_program_kernel *k = &r->p->kernels[i];
        RLX_TRY(read_kernel(r, byte, k));
        const uint32_t part = get32(r->bytes + byte + 28);
        if (part > IS_PART || (r->p->nparts && !part))
            return BAD_BYTE(byte + 28, "%u where a kernel has 0, and a part behind all kernels 1",
                            part);
        r->p->nkernels += !part;
        r->p->nparts += part;
        uint64_t n = (uint64_t)get64(r->bytes + byte + 16);
        if (n > left)
            return BAD_BYTE(byte + 16, "kernel %s has %llu bytes of code, %zu are left", k->name,
                            (unsigned long long)n, left);
        k->code = code;
        k->code_bytes = (size_t)n;
        code += n;
        left -= (size_t)n;
    }
    if (left)
        return BAD_BYTE(at(r, RLX_SECTION_CODE, 0), "%zu bytes of code that no kernel has", left);
    return RLX_OK;
}

static rlx_status read_tape(reader *r)
{
    rlx_program *p = r->p;
    for (uint32_t i = 0; i < p->nfuncs; i++) {
        size_t byte = at(r, RLX_SECTION_FUNCS, i);
        const uint8_t *b = r->bytes + byte;
        rlx_program_func *f = &p->funcs[i];
        RLX_TRY(read_string(r, byte, &f->name));
        f->first_op = get32(b + 4);
        f->nops = get32(b + 8);
        f->nparams = get32(b + 12);
        f->nout = get32(b + 16);
        f->frame_bytes = get64(b + 24);
    }
    for (uint32_t i = 0; i < p->nops; i++) {
        const uint8_t *b = r->bytes + at(r, RLX_SECTION_OPS, i);
        p->ops[i] = (rlx_program_op){.kind = (rlx_op_kind)get32(b),
                                     .target = get32(b + 4),
                                     .phase = get32(b + 8),
                                     .first_arg = get32(b + 12),
                                     .nargs = get32(b + 16),
                                     .nout = get32(b + 20),
                                     .first = get64(b + 24),
                                     .count = get64(b + 32),
                                     .frame = get64(b + 40)};
    }
    for (uint32_t i = 0; i < p->nargs; i++) {
        const uint8_t *b = r->bytes + at(r, RLX_SECTION_ARGS, i);
        p->args[i] = (rlx_program_arg){(rlx_arg_kind)get32(b), get32(b + 4), get64(b + 8)};
    }
    return RLX_OK;
}

static rlx_status read_program(reader *r)
{
    rlx_program *p = r->p;
    RLX_TRY(read_string(r, AT_NAME, &p->name));
    RLX_TRY(read_string(r, AT_TARGET, &p->target));
    RLX_TRY(read_string(r, AT_PROVENANCE, &p->provenance));
    RLX_TRY(read_string(r, AT_PREIMAGE, &p->preimage));
    RLX_TRY(read_string(r, AT_SOURCE, &p->source));
    uint32_t kind = get32(r->bytes + AT_CODE_KIND);
    if (kind < RLX_CODE_X86_64_ELF || kind > RLX_CODE_HSACO)
        return BAD_BYTE(AT_CODE_KIND, "code of kind %u", kind);
    p->code_kind = (rlx_code_kind)kind;
    p->features = (uint64_t)get64(r->bytes + AT_FEATURES);
    memcpy(p->key.bytes, r->bytes + AT_KEY, sizeof(p->key.bytes));
    p->arena_bytes = get64(r->bytes + AT_ARENA);
    p->plan_least = get64(r->bytes + AT_PLAN);
    p->nfuncs = (uint32_t)count(r, RLX_SECTION_FUNCS);
    p->nbound = (uint32_t)count(r, RLX_SECTION_BOUND);
    p->noutputs = (uint32_t)count(r, RLX_SECTION_OUTPUTS);
    p->nops = (uint32_t)count(r, RLX_SECTION_OPS);
    p->nargs = (uint32_t)count(r, RLX_SECTION_ARGS);
    RLX_TRY(read_symbols(r));
    RLX_TRY(read_dims(r));
    RLX_TRY(read_kernels(r));
    for (uint32_t i = 0; i < p->nbound; i++)
        RLX_TRY(read_tensor(r, at(r, RLX_SECTION_BOUND, i), &p->bound[i]));
    for (uint32_t i = 0; i < p->noutputs; i++)
        RLX_TRY(read_tensor(r, at(r, RLX_SECTION_OUTPUTS, i), &p->outputs[i]));
    RLX_TRY(read_tape(r));
    return rlx_program_check(p, r->sections);
}

rlx_status rlx_program_decode(const void *bytes, size_t n, rlx_program **out)
{
    reader r = {.bytes = bytes, .n = n};
    RLX_TRY(read_frame(&r));
    RLX_TRY(read_counts(&r));
    rlx_status st = allocate(&r);
    if (!st)
        st = read_program(&r);
    free(r.dims);
    free(r.dim_sizes);
    if (st) {
        rlx_program_destroy(r.p);
        return st;
    }
    *out = r.p;
    return RLX_OK;
}

void rlx_program_destroy(rlx_program *p)
{
    if (!p)
        return;
    rlx_dims_destroy(p->dims);
    rlx_arena_destroy(((decoded *)p)->arena);
}
