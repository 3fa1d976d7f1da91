/* runtime/weights.c: named tensors, from mapped files or the caller's memory. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/arena.h"
#include "runtime/map_file.h"
#include "runtime/safetensors.h"

typedef struct entry {
    rlx_tensor tensor;
    const rlx_tensor_file *file;  /* NULL: the caller's memory */
    const rlx_file_tensor *place; /* in it */
    int source;                   /* of which this is another name or a part; -1: none */
    size_t skipped;               /* bytes from the place to a part */
} entry;

struct rlx_weights {
    const rlx_weights *base; /* where names are looked up that it has not; borrowed; or NULL */
    rlx_arena *arena;        /* entries and names: stay where they are as more come */
    entry **entries;
    int count, cap;
    int32_t *slots; /* open-addressed by name: entry index + 1, or 0; 2 * cap of them */
    rlx_tensor_file **files;
    int nfiles;
};

/* ---- the table --------------------------------------------------------------------------------
 */

static uint64_t name_hash(const char *s)
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h ^ (h >> 31);
}

/* The slot of the entry of that name, or the empty one where it belongs. */
static int32_t *find_slot(const rlx_weights *w, const char *name)
{
    uint64_t mask = (uint64_t)w->cap * 2 - 1;
    for (uint64_t i = name_hash(name) & mask;; i = (i + 1) & mask) {
        int32_t *slot = &w->slots[i];
        if (*slot == 0 || strcmp(w->entries[*slot - 1]->tensor.name, name) == 0)
            return slot;
    }
}

static void fill_slots(rlx_weights *w)
{
    memset(w->slots, 0, sizeof(*w->slots) * (size_t)w->cap * 2);
    for (int i = 0; i < w->count; i++)
        *find_slot(w, w->entries[i]->tensor.name) = i + 1;
}

static rlx_status grow(rlx_weights *w)
{
    int cap = w->cap ? w->cap * 2 : 64;
    entry **entries = realloc(w->entries, sizeof(*entries) * (size_t)cap);
    if (!entries)
        return RLX_OOM();
    w->entries = entries;
    int32_t *slots = realloc(w->slots, sizeof(*slots) * (size_t)cap * 2);
    if (!slots)
        return RLX_OOM();
    w->slots = slots;
    w->cap = cap;
    fill_slots(w);
    return RLX_OK;
}

/* Copies *from and the name. */
static rlx_status add_entry(rlx_weights *w, const entry *from)
{
    const char *name = from->tensor.name;
    if (rlx_weights_find(w, name))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "there is already a weight '%s'", name);
    if (w->count == w->cap)
        RLX_TRY(grow(w));
    entry *e = RLX_NEW(w->arena, entry);
    if (!e)
        return RLX_OOM();
    *e = *from;
    e->tensor.name = rlx_arena_strdup(w->arena, name);
    if (!e->tensor.name)
        return RLX_OOM();
    w->entries[w->count++] = e;
    *find_slot(w, name) = w->count;
    return RLX_OK;
}

rlx_status rlx_weights_create(rlx_weights **out)
{
    rlx_weights *w = calloc(1, sizeof(*w));
    if (w)
        w->arena = rlx_arena_create();
    if (!w || !w->arena || !(*out = w)) {
        free(w);
        return RLX_OOM();
    }
    return RLX_OK;
}

rlx_status rlx_weights_create_over(const rlx_weights *base, rlx_weights **out)
{
    RLX_TRY(rlx_weights_create(out));
    (*out)->base = base;
    return RLX_OK;
}

const rlx_weights *rlx_weights_base(const rlx_weights *w)
{
    return w->base;
}

void rlx_weights_destroy(rlx_weights *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->nfiles; i++)
        rlx_tensor_file_close(w->files[i]);
    free(w->files);
    free(w->entries);
    free(w->slots);
    rlx_arena_destroy(w->arena);
    free(w);
}

/* -1: none */
static int find_index(const rlx_weights *w, const char *name)
{
    return (w->cap ? *find_slot(w, name) : 0) - 1;
}

const rlx_tensor *rlx_weights_find(const rlx_weights *w, const char *name)
{
    const int i = find_index(w, name);
    if (i >= 0)
        return &w->entries[i]->tensor;
    return w->base ? rlx_weights_find(w->base, name) : NULL;
}

int rlx_weights_count(const rlx_weights *w)
{
    return w->count;
}

const rlx_tensor *rlx_weights_at(const rlx_weights *w, int i)
{
    return &w->entries[i]->tensor;
}

int64_t rlx_weights_bytes(const rlx_weights *w)
{
    int64_t bytes = 0;
    for (int i = 0; i < w->count; i++)
        if (w->entries[i]->source < 0)
            bytes += (int64_t)w->entries[i]->tensor.bytes;
    return bytes;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

rlx_status rlx_weights_add(rlx_weights *w, const rlx_tensor *t)
{
    if (!t->name || !t->name[0])
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a weight without a name");
    if (t->format <= RLX_FORMAT_NONE || t->format >= RLX_FORMAT_COUNT || t->rank < 0 ||
        t->rank > RLX_PROGRAM_MAX_RANK)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "weight '%s' has format %d, rank %d", t->name,
                        (int)t->format, t->rank);
    const rlx_format_info *info = rlx_format_get(t->format);
    int64_t elems = 1;
    for (int d = 0; d < t->rank; d++)
        if (t->dim[d] < 0 || __builtin_mul_overflow(elems, t->dim[d], &elems))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "weight '%s' has an extent of %lld", t->name,
                            (long long)t->dim[d]);
    int64_t bytes;
    if (elems % info->block_elems ||
        __builtin_mul_overflow(elems / info->block_elems, info->block_bytes, &bytes) ||
        (size_t)bytes != t->bytes || (bytes && !t->data))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "weight '%s' has %lld elements of %s in %zu bytes",
                        t->name, (long long)elems, info->name, t->bytes);
    if (info->block_elems == 1 && (uintptr_t)t->data % (size_t)info->block_bytes)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "weight '%s' is not aligned to its elements",
                        t->name);
    return add_entry(w, &(entry){.tensor = *t, .source = -1});
}

rlx_status rlx_weights_add_copy(rlx_weights *w, const rlx_tensor *t)
{
    rlx_tensor copy = *t;
    if (t->bytes && t->data) {
        copy.data = rlx_arena_copy(w->arena, t->data, t->bytes);
        if (!copy.data)
            return RLX_OOM();
    }
    return rlx_weights_add(w, &copy);
}

rlx_status rlx_weights_alias(rlx_weights *w, const char *name, const char *existing)
{
    const rlx_tensor *t = rlx_weights_find(w, existing);
    if (!t)
        return RLX_FAIL(RLX_NOT_FOUND, "weight '%s', of which '%s' is to be another name", existing,
                        name);
    entry alias = *(const entry *)t;
    alias.tensor.name = name;
    alias.source = find_index(w, existing);
    return add_entry(w, &alias);
}

rlx_status rlx_weights_add_rows(rlx_weights *w, const char *name, const char *existing,
                                int64_t first, int64_t rows)
{
    const int source = find_index(w, existing);
    if (source < 0)
        return RLX_FAIL(RLX_NOT_FOUND, "weight '%s', of which '%s' is to be a part", existing,
                        name);
    entry part = *w->entries[source];
    rlx_tensor *t = &part.tensor;
    if (t->rank < 1 || first < 0 || rows < 0 || first > t->dim[0] || rows > t->dim[0] - first)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "weight '%s': rows %lld to %lld of '%s', which has %lld", name,
                        (long long)first, (long long)first + rows, existing,
                        (long long)(t->rank ? t->dim[0] : 1));
    if (t->rank == 1 && t->format != RLX_FORMAT_NONE && rlx_format_get(t->format)->block_elems > 1)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "weight '%s': elements of the blocks of '%s'", name,
                        existing);
    const size_t row = t->dim[0] ? t->bytes / (size_t)t->dim[0] : 0;
    t->name = name;
    t->data = (const char *)t->data + row * (size_t)first;
    t->bytes = row * (size_t)rows;
    t->dim[0] = rows;
    part.source = source;
    part.skipped += row * (size_t)first;
    return add_entry(w, &part);
}

/* ---- files ------------------------------------------------------------------------------------
 */

/* Takes the file over; tensor i under names[i], or under its own (NULL). */
static rlx_status add_file(rlx_weights *w, rlx_tensor_file *f, const char *const *names)
{
    rlx_tensor_file **files = realloc(w->files, sizeof(*files) * (size_t)(w->nfiles + 1));
    if (!files) {
        rlx_tensor_file_close(f);
        return RLX_OOM();
    }
    w->files = files;
    w->files[w->nfiles++] = f;
    for (int i = 0; i < f->n; i++) {
        const rlx_file_tensor *t = &f->tensors[i];
        entry e = {.tensor = t->tensor, .file = f, .place = t, .source = -1};
        e.tensor.name = names ? names[i] : t->tensor.name;
        RLX_TRY(add_entry(w, &e));
    }
    return RLX_OK;
}

static rlx_status add_path(rlx_weights *w, const char *path)
{
    rlx_tensor_file *f;
    RLX_TRY(rlx_safetensors_open(path, &f));
    RLX_TRY_NOTE(add_file(w, f, NULL), "adding '%s'", path);
    return RLX_OK;
}

/* The path of a shard beside its index. Index files are data from elsewhere: they name neighbours,
 * never paths. */
static rlx_status shard_path(const char *index, const char *shard, rlx_text *out)
{
    if (!shard[0] || strchr(shard, '/') || strcmp(shard, ".") == 0 || strcmp(shard, "..") == 0)
        return RLX_FAIL(RLX_INVALID_FILE, "'%s' is no name of a file beside the index", shard);
    const char *slash = strrchr(index, '/');
    rlx_text_clear(out);
    rlx_text_put_bytes(out, index, slash ? (size_t)(slash - index) + 1 : 0);
    rlx_text_put(out, shard);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* One line of the weight map: its shard is opened when it is the first of it. `opened` holds the
 * shards' names, the file of opened[i] being w->files[first + i]. */
static rlx_status add_mapped(rlx_weights *w, const char *index, const cJSON *item, int first,
                             const char **opened)
{
    if (!cJSON_IsString(item))
        return RLX_FAIL(RLX_INVALID_FILE, "weight_map['%s'] is no string", item->string);
    int i = first;
    while (i < w->nfiles && strcmp(opened[i - first], item->valuestring) != 0)
        i++;
    if (i == w->nfiles) {
        rlx_text path = {0};
        rlx_status st = shard_path(index, item->valuestring, &path);
        opened[i - first] = item->valuestring;
        if (!st)
            st = add_path(w, path.data);
        rlx_text_deinit(&path);
        RLX_TRY(st);
    }
    const rlx_tensor *t = rlx_weights_find(w, item->string);
    if (!t || ((const entry *)t)->file != w->files[i])
        return RLX_FAIL(RLX_INVALID_FILE, "weight '%s' is not in %s", item->string,
                        item->valuestring);
    return RLX_OK;
}

static rlx_status add_map(rlx_weights *w, const char *index, const cJSON *root)
{
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(root, "weight_map");
    if (!cJSON_IsObject(map) || !map->child)
        return RLX_FAIL(RLX_INVALID_FILE, "no weight_map");
    const char **opened = calloc((size_t)cJSON_GetArraySize(map), sizeof(*opened));
    if (!opened)
        return RLX_OOM();
    rlx_status st = RLX_OK;
    int first = w->nfiles;
    for (const cJSON *item = map->child; item && !st; item = item->next)
        st = add_mapped(w, index, item, first, opened);
    free(opened);
    return st;
}

static rlx_status add_index(rlx_weights *w, const char *path)
{
    char *text;
    size_t bytes;
    RLX_TRY(rlx_file_read(path, &text, &bytes));
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, bytes + 1, &end, true);
    rlx_status st = root ? add_map(w, path, root)
                         : RLX_FAIL(RLX_INVALID_FILE, "not JSON from byte %td on",
                                    end ? end - text : (ptrdiff_t)0);
    cJSON_Delete(root);
    free(text);
    return rlx_status_note(st, __FILE__, __LINE__, "reading '%s'", path);
}

static void drop_after(rlx_weights *w, int count, int nfiles)
{
    while (w->nfiles > nfiles)
        rlx_tensor_file_close(w->files[--w->nfiles]);
    w->count = count;
    if (w->cap)
        fill_slots(w);
}

rlx_status rlx_weights_add_safetensors(rlx_weights *w, const char *path)
{
    static const char suffix[] = ".index.json";
    size_t n = strlen(path), k = sizeof(suffix) - 1;
    int count = w->count, nfiles = w->nfiles;
    bool index = n >= k && strcmp(path + n - k, suffix) == 0;
    rlx_status st = index ? add_index(w, path) : add_path(w, path);
    if (st)
        drop_after(w, count, nfiles);
    return st;
}

rlx_status rlx_weights_take_gguf(rlx_weights *w, rlx_gguf *f, const char *const *names)
{
    int count = w->count, nfiles = w->nfiles;
    rlx_status st = add_file(w, (rlx_tensor_file *)f, names);
    if (st)
        drop_after(w, count, nfiles);
    return st;
}

static rlx_status add_parts(rlx_weights *w, const char *path)
{
    rlx_gguf **parts;
    int n;
    rlx_status st = rlx_gguf_open_parts(path, &parts, &n);
    for (int i = 0; i < n && !st; i++) {
        rlx_gguf *taken = parts[i];
        parts[i] = NULL;
        st = add_file(w, (rlx_tensor_file *)taken, NULL);
    }
    rlx_gguf_close_parts(parts, n);
    return st;
}

rlx_status rlx_weights_add_gguf(rlx_weights *w, const char *path)
{
    int count = w->count, nfiles = w->nfiles;
    rlx_status st = add_parts(w, path);
    if (st)
        drop_after(w, count, nfiles);
    RLX_TRY_NOTE(st, "adding '%s'", path);
    return RLX_OK;
}

const rlx_tensor_file *const *rlx_weights_files(const rlx_weights *w, int *n)
{
    *n = w->nfiles;
    return (const rlx_tensor_file *const *)w->files;
}

rlx_status rlx_weights_check_files(const rlx_weights *w)
{
    for (int i = 0; i < w->nfiles; i++)
        RLX_TRY(rlx_map_check(w->files[i]->map, w->files[i]->path));
    return w->base ? rlx_weights_check_files(w->base) : RLX_OK;
}

void rlx_weights_get_origin(const rlx_weights *w, int i, rlx_tensor_origin *out)
{
    const entry *e = w->entries[i];
    *out = (rlx_tensor_origin){.offset = -1, .source = e->source};
    if (!e->file) {
        out->type = rlx_format_get(e->tensor.format)->name;
        return;
    }
    out->file = e->file->path;
    out->type = e->place->type;
    out->offset = (int64_t)(e->place->offset + e->skipped);
}
