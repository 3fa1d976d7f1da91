/* runtime/gguf.h: one .gguf file, mapped and checked: metadata with types, tensors in row-major
 * shapes.
 *
 *   rlx_gguf_open -> metadata by key; tensors by index -> rlx_weights_take_gguf takes the file over
 *   rlx_gguf_open_parts: the same for a model in several files
 */
#ifndef RLX_RUNTIME_GGUF_H
#define RLX_RUNTIME_GGUF_H

#include "runtime/runtime.h"

typedef struct rlx_gguf rlx_gguf;

/* The types of metadata, by their numbers in the file. */
typedef enum rlx_gguf_type {
    RLX_GGUF_U8,
    RLX_GGUF_I8,
    RLX_GGUF_U16,
    RLX_GGUF_I16,
    RLX_GGUF_U32,
    RLX_GGUF_I32,
    RLX_GGUF_F32,
    RLX_GGUF_BOOL,
    RLX_GGUF_STRING,
    RLX_GGUF_ARRAY,
    RLX_GGUF_U64,
    RLX_GGUF_I64,
    RLX_GGUF_F64,
    RLX_GGUF_TYPES
} rlx_gguf_type;
int rlx_gguf_type_bytes(rlx_gguf_type type); /* of a number or bool; 0 of the others */

typedef struct rlx_gguf_value {
    const char *key;
    rlx_gguf_type type;
    union {
        uint64_t u; /* U8 to U64 */
        int64_t i;  /* I8 to I64, BOOL */
        double f;   /* F32, F64 */
        const char *text;
        struct { /* ARRAY: walked with rlx_gguf_next */
            rlx_gguf_type elem;
            uint64_t count;
            const uint8_t *items;
        };
    };
} rlx_gguf_value;

/* Maps version 2 or 3 and checks all of it but the tensors' data: every count, offset and type.
 * RLX_INVALID_FILE names the file and the byte, key or tensor. */
rlx_status rlx_gguf_open(const char *path, rlx_gguf **out);
void rlx_gguf_close(rlx_gguf *f); /* accepts NULL */
/* RLX_IO when a guarded read (rlx_guard_files) found the file shorter than it was. */
rlx_status rlx_gguf_check(const rlx_gguf *f);
/* Opens a file and, when it is one part of several ("NAME-00002-of-00003.gguf"), the others beside
 * it: (*files)[0] holds the metadata. RLX_NOT_FOUND and RLX_INVALID_FILE name the part that is
 * missing, or not what the given one says of it. */
rlx_status rlx_gguf_open_parts(const char *path, rlx_gguf ***files, int *n);
void rlx_gguf_close_parts(rlx_gguf **files, int n); /* accepts NULL, and NULL among the files */

/* Metadata, lent. NULL: no such key. */
const rlx_gguf_value *rlx_gguf_find(const rlx_gguf *f, const char *key);
int rlx_gguf_value_count(const rlx_gguf *f);
const rlx_gguf_value *rlx_gguf_value_at(const rlx_gguf *f, int i);
/* A value's number, when it is a whole one of any width; false otherwise. */
bool rlx_gguf_int(const rlx_gguf_value *v, int64_t *out);
/* A value's number, whole or not. */
bool rlx_gguf_real(const rlx_gguf_value *v, double *out);

/* The elements of an array in their order, from the mapped file, checked when it was opened. */
typedef struct rlx_gguf_items {
    const rlx_gguf_value *array;
    uint64_t i;
    const uint8_t *at;
} rlx_gguf_items;
rlx_gguf_items rlx_gguf_walk(const rlx_gguf_value *array);
/* false: there are no more. *item is a number or bool with the array's key. */
bool rlx_gguf_next(rlx_gguf_items *it, rlx_gguf_value *item);
/* The same for an array of strings. Lent by the file, and not ended by a NUL. */
bool rlx_gguf_next_text(rlx_gguf_items *it, const char **text, size_t *bytes);

/* Tensors, lent, as the file names them, innermost extent last. */
int rlx_gguf_count(const rlx_gguf *f);
const rlx_tensor *rlx_gguf_at(const rlx_gguf *f, int i);

/* Adds all tensors, tensor i under names[i] (NULL: the file's own names), and takes the file over:
 * it is closed with the set, or at once after an error, which leaves the set as it was. */
rlx_status rlx_weights_take_gguf(rlx_weights *w, rlx_gguf *f, const char *const *names);

#endif
