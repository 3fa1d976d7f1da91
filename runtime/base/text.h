/* runtime/base/text.h: a growing string, and small helpers on text. */
#ifndef RLX_BASE_TEXT_H
#define RLX_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

/* A growing string or byte buffer. `{0}` is empty. After a failed allocation `oom` stays set and
 * appends do nothing, so that writers check once, at the end. `data` is always NUL-terminated
 * (or NULL when nothing was ever appended). */
typedef struct rlx_text {
    char *data;
    size_t len, cap; /* bytes */
    bool oom;
} rlx_text;

void rlx_text_deinit(rlx_text *t);
void rlx_text_clear(rlx_text *t); /* keeps the memory */
void rlx_text_put(rlx_text *t, const char *s);
void rlx_text_put_bytes(rlx_text *t, const void *p, size_t n);
void rlx_text_putf(rlx_text *t, const char *fmt, ...) RLX_PRINTF(2, 3);
void rlx_text_put_double(rlx_text *t, double v); /* shortest text that reads back the same */
/* Reads a number at *s ("1e-05", "nan", "-inf"; always with a point, whatever the locale) and
 * advances it. False, with *s unmoved, when there is none. */
bool rlx_text_parse_double(const char **s, double *out);
/* Hands the string over (never NULL unless out of memory); the text is empty afterwards. */
char *rlx_text_take(rlx_text *t);

/* Length of the UTF-8 character at s (of at most n > 0 bytes), or 0 when there is none. */
size_t rlx_text_utf8(const char *s, size_t n);
/* The candidate nearest to `word` by edit distance, or NULL: for "did you mean". */
const char *rlx_text_nearest(const char *word, const char *const *candidates, size_t n);

/* Reads a whole file into a heap buffer with a NUL after it. Errors name the path. */
rlx_status rlx_file_read(const char *path, char **data, size_t *bytes);

#endif
