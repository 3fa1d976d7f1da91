#include "runtime/tensor_file.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/map_file.h"

static rlx_status map_and_read(rlx_tensor_file *f, const char *path,
                               rlx_status (*read)(rlx_tensor_file *f))
{
    void *map;
    f->path = rlx_arena_strdup(f->arena, path);
    if (!f->path)
        return RLX_OOM();
    RLX_TRY(rlx_map_file(path, &map, &f->bytes));
    f->map = map;
    rlx_status st = read(f), lost = rlx_map_check(map, path);
    if (lost) { /* what was read is of no worth, an error in it neither */
        rlx_status_free(st);
        return lost;
    }
    return st;
}

rlx_status rlx_tensor_file_open(const char *path, rlx_status (*read)(rlx_tensor_file *f),
                                rlx_tensor_file **out)
{
    rlx_arena *arena = rlx_arena_create();
    rlx_tensor_file *f = arena ? RLX_NEW(arena, rlx_tensor_file) : NULL;
    *out = NULL;
    if (!f) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    f->arena = arena;
    rlx_status st = map_and_read(f, path, read);
    if (st) {
        rlx_tensor_file_close(f);
        return rlx_status_note(st, __FILE__, __LINE__, "reading '%s'", path);
    }
    *out = f;
    return RLX_OK;
}

void rlx_tensor_file_close(rlx_tensor_file *f)
{
    if (!f)
        return;
    rlx_unmap_file((void *)(uintptr_t)f->map, f->bytes);
    rlx_arena_destroy(f->arena);
}

static int by_name(const void *a, const void *b)
{
    const rlx_file_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->tensor.name, (*y)->tensor.name);
}

static int by_place(const void *a, const void *b)
{
    const rlx_file_tensor *x = *(const rlx_file_tensor *const *)a;
    const rlx_file_tensor *y = *(const rlx_file_tensor *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->tensor.bytes < y->tensor.bytes ? -1 : x->tensor.bytes > y->tensor.bytes;
}

rlx_status rlx_tensor_file_sort(const rlx_tensor_file *f, const char *rule,
                                const rlx_file_tensor ***out)
{
    const size_t n = (size_t)f->n;
    const rlx_file_tensor **t = RLX_NEW_ARRAY(f->arena, const rlx_file_tensor *, n + 1);
    if (!t)
        return RLX_OOM();
    for (size_t i = 0; i < n; i++)
        t[i] = &f->tensors[i];
    qsort(t, n, sizeof(*t), by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(t[i - 1]->tensor.name, t[i]->tensor.name) == 0)
            return RLX_FAIL(RLX_INVALID_FILE, "%s: tensor '%s' is there twice", rule,
                            t[i]->tensor.name);
    qsort(t, n, sizeof(*t), by_place);
    *out = t;
    return RLX_OK;
}

rlx_status rlx_tensor_file_place(rlx_tensor_file *f)
{
    for (int i = 0; i < f->n; i++) {
        rlx_file_tensor *t = &f->tensors[i];
        const uint8_t *at = f->map + (t->tensor.bytes ? t->offset : 0);
        t->tensor.data =
            (uintptr_t)at % t->align ? rlx_arena_copy(f->arena, at, t->tensor.bytes) : at;
        if (!t->tensor.data)
            return RLX_OOM();
    }
    return RLX_OK;
}
