/* bench/gguf_writer.h: a GGUF file, version 3: metadata, then tensors, then their data in the same
 * order.
 *
 *   gguf_begin -> gguf_put_* -> gguf_put_tensor for each -> gguf_write_head -> gguf_write_data for
 * each -> gguf_end */
#ifndef RLX_BENCH_GGUF_WRITER_H
#define RLX_BENCH_GGUF_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct gguf_part {
    char *data; /* of a memory stream */
    size_t bytes;
    FILE *f;
    uint64_t count;
} gguf_part;

typedef struct gguf_writer {
    FILE *file;
    gguf_part metadata, tensors;
    uint64_t data_bytes;
} gguf_writer;

enum { GGUF_I32 = 5, GGUF_STRING = 8 }; /* types of arrays' elements */

bool gguf_begin(gguf_writer *w, const char *path); /* errno says why not */
void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v);
void gguf_put_f32(gguf_writer *w, const char *key, float v);
void gguf_put_text(gguf_writer *w, const char *key, const char *v);
/* `n` elements follow, by gguf_put_item_*. */
void gguf_put_array(gguf_writer *w, const char *key, uint32_t type, uint64_t n);
void gguf_put_item_i32(gguf_writer *w, int32_t v);
void gguf_put_item_text(gguf_writer *w, const char *v);
/* dim: row-major, innermost last. */
void gguf_put_tensor(gguf_writer *w, const char *name, uint32_t type, int rank, const int64_t *dim,
                     size_t bytes);
void gguf_write_head(gguf_writer *w);
/* A piece of the tensor's data; `last`: what follows belongs to the next one. */
void gguf_write_data(gguf_writer *w, const void *data, size_t bytes, bool last);
bool gguf_end(gguf_writer *w); /* false: something was not written, errno says why */

#endif
