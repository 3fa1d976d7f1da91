/* A GGUF file that a test writes: metadata first, then tensors without data. */
#ifndef RLX_TESTS_GGUF_FILE_H
#define RLX_TESTS_GGUF_FILE_H

#include "runtime/base/text.h"
#include "runtime/gguf.h"

typedef struct gguf_file {
    rlx_text body;
    uint64_t keys;
} gguf_file;

void gguf_put_number(rlx_text *t, uint64_t v, size_t bytes);
void gguf_put_text(rlx_text *t, const char *s, size_t bytes);
/* A key and its type; the value follows. */
void gguf_key(gguf_file *f, const char *key, rlx_gguf_type type);
void gguf_int(gguf_file *f, const char *key, uint32_t v);
void gguf_bool(gguf_file *f, const char *key, bool v);
void gguf_real(gguf_file *f, const char *key, float v);
void gguf_string(gguf_file *f, const char *key, const char *v);
/* The head of an array whose `n` elements follow. */
void gguf_array(gguf_file *f, const char *key, rlx_gguf_type elem, uint64_t n);
void gguf_strings(gguf_file *f, const char *key, const char *const *v, uint64_t n);
void gguf_ints(gguf_file *f, const char *key, const int32_t *v, uint64_t n);
void gguf_reals(gguf_file *f, const char *key, const float *v, uint64_t n);
/* The file's bytes; the text is the caller's. */
void gguf_bytes(const gguf_file *f, rlx_text *out);
/* Opens what was written, through a file that is gone afterwards, and frees it. */
rlx_gguf *gguf_open(gguf_file *f);

#endif
