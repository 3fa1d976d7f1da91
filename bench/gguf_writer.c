#include "bench/gguf_writer.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, TYPE_U32 = 4, TYPE_F32 = 6, TYPE_ARRAY = 9 };

static void put(FILE *f, const void *v, size_t bytes)
{
    fwrite(v, 1, bytes, f);
}

static void put_text(FILE *f, const char *v)
{
    uint64_t n = strlen(v);
    put(f, &n, 8);
    put(f, v, n);
}

static void put_padding(FILE *f, uint64_t after)
{
    static const char zeros[ALIGNMENT];
    put(f, zeros, (ALIGNMENT - after % ALIGNMENT) % ALIGNMENT);
}

static bool open_part(gguf_part *p)
{
    p->f = open_memstream(&p->data, &p->bytes);
    return p->f != NULL;
}

bool gguf_begin(gguf_writer *w, const char *path)
{
    *w = (gguf_writer){0};
    if (open_part(&w->metadata) && open_part(&w->tensors))
        w->file = fopen(path, "wb");
    if (!w->file)
        gguf_end(w);
    return w->file != NULL;
}

static void put_key(gguf_writer *w, const char *key, uint32_t type)
{
    put_text(w->metadata.f, key);
    put(w->metadata.f, &type, 4);
    w->metadata.count++;
}

void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v)
{
    put_key(w, key, TYPE_U32);
    put(w->metadata.f, &v, 4);
}

void gguf_put_f32(gguf_writer *w, const char *key, float v)
{
    put_key(w, key, TYPE_F32);
    put(w->metadata.f, &v, 4);
}

void gguf_put_text(gguf_writer *w, const char *key, const char *v)
{
    put_key(w, key, GGUF_STRING);
    put_text(w->metadata.f, v);
}

void gguf_put_array(gguf_writer *w, const char *key, uint32_t type, uint64_t n)
{
    put_key(w, key, TYPE_ARRAY);
    put(w->metadata.f, &type, 4);
    put(w->metadata.f, &n, 8);
}

void gguf_put_item_i32(gguf_writer *w, int32_t v)
{
    put(w->metadata.f, &v, 4);
}

void gguf_put_item_text(gguf_writer *w, const char *v)
{
    put_text(w->metadata.f, v);
}

void gguf_put_tensor(gguf_writer *w, const char *name, uint32_t type, int rank, const int64_t *dim,
                     size_t bytes)
{
    uint32_t n = (uint32_t)rank;
    FILE *f = w->tensors.f;
    put_text(f, name);
    put(f, &n, 4);
    while (rank-- > 0)
        put(f, &dim[rank], 8);
    put(f, &type, 4);
    put(f, &w->data_bytes, 8);
    w->data_bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    w->tensors.count++;
}

void gguf_write_head(gguf_writer *w)
{
    static const uint32_t version = 3;
    fflush(w->metadata.f);
    fflush(w->tensors.f);
    put(w->file, "GGUF", 4);
    put(w->file, &version, 4);
    put(w->file, &w->tensors.count, 8);
    put(w->file, &w->metadata.count, 8);
    put(w->file, w->metadata.data, w->metadata.bytes);
    put(w->file, w->tensors.data, w->tensors.bytes);
    put_padding(w->file, 24 + w->metadata.bytes + w->tensors.bytes);
}

void gguf_write_data(gguf_writer *w, const void *data, size_t bytes, bool last)
{
    put(w->file, data, bytes);
    if (last)
        put_padding(w->file, (uint64_t)ftello(w->file)); /* the data begins aligned */
}

static bool close_part(gguf_part *p)
{
    bool good = p->f && !ferror(p->f);
    if (p->f)
        good = !fclose(p->f) && good;
    free(p->data);
    return good;
}

bool gguf_end(gguf_writer *w)
{
    bool good = close_part(&w->metadata);
    good = close_part(&w->tensors) && good;
    if (w->file) {
        good = !ferror(w->file) && good;
        good = !fclose(w->file) && good;
    }
    return good && w->file;
}
