/* frontend/quantize_imatrix.c: how much the columns of matrices matter: mean squares of what they
 * are multiplied with, over some text.
 *
 *   GGUF    general.type "imatrix": NAME.in_sum2 f32[E,K], sums of squares, NAME.counts f32[E,1]
 *   binary  i32 entries | for each: i32 bytes, name, i32 calls, i32 numbers, f32 numbers of sums
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/model_path.h"
#include "frontend/quantize.h"
#include "runtime/base/arena.h"

typedef struct entry {
    const char *name; /* of the matrix */
    float *values;
    int64_t n;
} entry;

struct rlx_imatrix {
    rlx_arena *arena;
    entry *entries;
    int n;
};

int rlx_imatrix_count(const rlx_imatrix *m)
{
    return m->n;
}

static rlx_status check(const entry *e)
{
    for (int64_t i = 0; i < e->n; i++)
        if (!(e->values[i] >= 0) || isinf(e->values[i]))
            return RLX_FAIL(RLX_INVALID_FILE, "entry '%s': number %lld is %g", e->name,
                            (long long)i, e->values[i]);
    return RLX_OK;
}

/* ---- GGUF ----------------------------------------------------------------------------------- */

static const char SUMS[] = ".in_sum2";
static const char COUNTS[] = ".counts";

static const rlx_tensor *find_tensor(const rlx_gguf *f, const char *stem, size_t bytes,
                                     const char *suffix)
{
    for (int i = 0; i < rlx_gguf_count(f); i++) {
        const char *name = rlx_gguf_at(f, i)->name;
        if (!strncmp(name, stem, bytes) && !strcmp(name + bytes, suffix))
            return rlx_gguf_at(f, i);
    }
    return NULL;
}

static rlx_status read_entry(rlx_imatrix *m, const rlx_gguf *f, const rlx_tensor *sums)
{
    size_t stem = strlen(sums->name) - strlen(SUMS);
    const rlx_tensor *counts = find_tensor(f, sums->name, stem, COUNTS);
    int64_t n = (int64_t)(sums->bytes / sizeof(float));
    if (!counts || sums->format != RLX_F32 || counts->format != RLX_F32 || counts->bytes == 0 ||
        sums->bytes % counts->bytes)
        return RLX_FAIL(RLX_INVALID_FILE, "tensor '%s' is not of f32 with a count for each matrix",
                        sums->name);
    int64_t columns = n / (int64_t)(counts->bytes / sizeof(float));
    char *name = rlx_arena_alloc(m->arena, stem + 1);
    entry *e = &m->entries[m->n++];
    *e = (entry){name, RLX_NEW_ARRAY(m->arena, float, n + 1), n};
    if (!name || !e->values)
        return RLX_OOM();
    memcpy(name, sums->name, stem);
    name[stem] = 0;
    for (int64_t i = 0; i < n; i++) {
        float count = ((const float *)counts->data)[i / columns];
        e->values[i] = count > 0 ? ((const float *)sums->data)[i] / count : 1;
    }
    return check(e);
}

static rlx_status read_gguf(rlx_imatrix *m, const rlx_gguf *f)
{
    m->entries = RLX_NEW_ARRAY(m->arena, entry, rlx_gguf_count(f) + 1);
    if (!m->entries)
        return RLX_OOM();
    for (int i = 0; i < rlx_gguf_count(f); i++)
        if (rlx_path_ends(rlx_gguf_at(f, i)->name, SUMS))
            RLX_TRY(read_entry(m, f, rlx_gguf_at(f, i)));
    return RLX_OK;
}

/* ---- the binary form ------------------------------------------------------------------------ */

typedef struct bytes {
    const char *at;
    size_t left, whole;
} bytes;

static rlx_status take(bytes *b, void *to, size_t n)
{
    if (n > b->left)
        return RLX_FAIL(RLX_INVALID_FILE, "byte %zu: it ends %zu bytes too early",
                        b->whole - b->left, n - b->left);
    memcpy(to, b->at, n);
    b->at += n;
    b->left -= n;
    return RLX_OK;
}

/* A count of things of `size` bytes that the file has room for. */
static rlx_status take_count(bytes *b, size_t size, size_t *out)
{
    int32_t n = 0;
    RLX_TRY(take(b, &n, sizeof n));
    if (n < 0 || (size_t)n > b->left / size)
        return RLX_FAIL(RLX_INVALID_FILE, "byte %zu: %d things do not fit the file",
                        b->whole - b->left - sizeof n, n);
    *out = (size_t)n;
    return RLX_OK;
}

static rlx_status read_binary_entry(rlx_imatrix *m, bytes *b)
{
    size_t length = 0, n = 0;
    int32_t calls = 0;
    RLX_TRY(take_count(b, 1, &length));
    char *name = rlx_arena_alloc(m->arena, length + 1);
    if (!name)
        return RLX_OOM();
    RLX_TRY(take(b, name, length));
    name[length] = 0;
    RLX_TRY(take(b, &calls, sizeof calls));
    RLX_TRY(take_count(b, sizeof(float), &n));
    entry *e = &m->entries[m->n++];
    *e = (entry){name, RLX_NEW_ARRAY(m->arena, float, n + 1), (int64_t)n};
    if (!e->values)
        return RLX_OOM();
    RLX_TRY(take(b, e->values, n * sizeof(float)));
    for (size_t i = 0; calls > 0 && i < n; i++)
        e->values[i] /= (float)calls;
    return check(e);
}

static rlx_status read_binary(rlx_imatrix *m, bytes *b)
{
    enum { LEAST = 12 }; /* bytes of an entry */
    size_t n = 0;
    RLX_TRY(take_count(b, LEAST, &n));
    m->entries = RLX_NEW_ARRAY(m->arena, entry, n + 1);
    if (!m->entries)
        return RLX_OOM();
    for (size_t i = 0; i < n; i++)
        RLX_TRY(read_binary_entry(m, b));
    return RLX_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static rlx_status read_file(rlx_imatrix *m, const char *path)
{
    char *data;
    size_t n = 0;
    rlx_status st;
    RLX_TRY(rlx_file_read(path, &data, &n));
    if (n >= 4 && !memcmp(data, "GGUF", 4)) {
        rlx_gguf *f;
        st = rlx_gguf_open(path, &f);
        if (!st) {
            st = read_gguf(m, f);
            rlx_gguf_close(f);
        }
    } else {
        bytes b = {data, n, n};
        st = read_binary(m, &b);
    }
    free(data);
    if (!st && m->n == 0)
        st = RLX_FAIL(RLX_INVALID_FILE, "it has no entry");
    return st;
}

rlx_status rlx_imatrix_load(const char *path, rlx_imatrix **out)
{
    rlx_arena *arena = rlx_arena_create();
    rlx_imatrix *m = arena ? RLX_NEW_ARRAY(arena, rlx_imatrix, 1) : NULL;
    if (!m) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    m->arena = arena;
    rlx_status st = read_file(m, path);
    if (st) {
        rlx_imatrix_destroy(m);
        RLX_TRY_NOTE(st, "reading importance from '%s'", path);
    }
    *out = m;
    return RLX_OK;
}

void rlx_imatrix_destroy(rlx_imatrix *m)
{
    if (m)
        rlx_arena_destroy(m->arena);
}

rlx_status rlx_imatrix_find(const rlx_imatrix *m, const rlx_tensor *t, const float **out)
{
    int64_t want = t->rank < 2 ? 0 : t->dim[t->rank - 1];
    for (int d = 0; d + 2 < t->rank; d++)
        want *= t->dim[d];
    *out = NULL;
    for (int i = 0; i < m->n; i++) {
        if (strcmp(m->entries[i].name, t->name))
            continue;
        if (m->entries[i].n != want)
            return RLX_FAIL(
                RLX_INVALID_FILE,
                "importance of '%s' has %lld numbers, and its matrices have %lld columns", t->name,
                (long long)m->entries[i].n, (long long)want);
        *out = m->entries[i].values;
    }
    return RLX_OK;
}
