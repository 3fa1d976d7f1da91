/* runtime/gguf_write.h: GGUF files, version 3, atomically: metadata is put together in memory,
 * tensors' data is asked for when it is its turn. */
#ifndef RLX_RUNTIME_GGUF_WRITE_H
#define RLX_RUNTIME_GGUF_WRITE_H

#include "runtime/base/text.h"
#include "runtime/gguf.h"

/* `{0}` is empty. */
typedef struct rlx_gguf_head { /* declared in frontend/family.h, too */
    rlx_text bytes;
    uint64_t keys;
} rlx_gguf_head;

void rlx_gguf_head_deinit(rlx_gguf_head *h);
void rlx_gguf_put_int(rlx_gguf_head *h, const char *key, rlx_gguf_type type, int64_t v);
void rlx_gguf_put_real(rlx_gguf_head *h, const char *key, float v);
void rlx_gguf_put_text(rlx_gguf_head *h, const char *key, const char *v);
/* An array's head; `n` elements follow by the functions below. */
void rlx_gguf_put_array(rlx_gguf_head *h, const char *key, rlx_gguf_type elem, uint64_t n);
void rlx_gguf_put_element_int(rlx_gguf_head *h, rlx_gguf_type type, int64_t v);
void rlx_gguf_put_element_real(rlx_gguf_head *h, float v);
void rlx_gguf_put_element_text(rlx_gguf_head *h, const char *v, size_t bytes);
/* What another file has. */
void rlx_gguf_put_value(rlx_gguf_head *h, const rlx_gguf_value *v);

/* Writes a file that is there whole or not at all. Tensors lie in the order given; their `data` is
 * not looked at: `make` lends the bytes of tensor `i`, until the next call. */
typedef rlx_status rlx_gguf_make_fn(void *user, int i, const void **data);
rlx_status rlx_gguf_write(const char *path, const rlx_gguf_head *head, const rlx_tensor *tensors,
                          int n, rlx_gguf_make_fn *make, void *user);

#endif
