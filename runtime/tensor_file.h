/* runtime/tensor_file.h: what the readers of weight files share: the mapping, an arena for what is
 * read of it, the tensors and their places.
 *
 *   rlx_tensor_file_open --maps, and has the reader fill--> tensors with offsets
 *   rlx_tensor_file_sort    names once; tensors by their place, for the format's rules
 *   rlx_tensor_file_place   offsets become addresses
 */
#ifndef RLX_RUNTIME_TENSOR_FILE_H
#define RLX_RUNTIME_TENSOR_FILE_H

#include "runtime/base/arena.h"
#include "runtime/gguf.h"

/* A tensor with its place in the file. */
typedef struct rlx_file_tensor {
    rlx_tensor tensor;
    const char *type; /* of its elements, in the file's words: "BF16", "iq2_xxs"; static */
    uint64_t offset;  /* from the file's begin, bytes */
    uint32_t align;   /* that kernels need, bytes */
} rlx_file_tensor;

typedef struct rlx_tensor_file {
    rlx_arena *arena; /* this, names, strings, and data that is not aligned in the file */
    const char *path; /* as it was given */
    const uint8_t *map;
    size_t bytes;
    rlx_file_tensor *tensors; /* in the file's order */
    int n;
    rlx_gguf_value *values; /* metadata; that of safetensors files is all strings */
    int nvalues;
} rlx_tensor_file;

/* Maps `path` and has `read` fill in the tensors. Errors name the path. */
rlx_status rlx_tensor_file_open(const char *path, rlx_status (*read)(rlx_tensor_file *f),
                                rlx_tensor_file **out);
void rlx_tensor_file_close(rlx_tensor_file *f); /* accepts NULL */

/* *by_place: the tensors by offset, then end. A name that is there twice is an error that begins
 * with `rule`. */
rlx_status rlx_tensor_file_sort(const rlx_tensor_file *f, const char *rule,
                                const rlx_file_tensor ***by_place);
/* Sets every tensor's data, once all offsets are known to lie in the file. Files need not align
 * their data; kernels load whole elements: what is not aligned is copied. */
rlx_status rlx_tensor_file_place(rlx_tensor_file *f);

/* The files of a set, in the order that they were added. */
const rlx_tensor_file *const *rlx_weights_files(const rlx_weights *w, int *n);

#endif
