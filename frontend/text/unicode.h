/* frontend/text/unicode.h: characters: UTF-8, properties (utf8proc's), the byte alphabet. */
#ifndef RLX_FRONTEND_TEXT_UNICODE_H
#define RLX_FRONTEND_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/text.h"

/* Bytes of the character at p (n > 0 left), or 0 when it is not UTF-8. *codepoint may be NULL. */
size_t rlx_utf8_read(const char *p, size_t n, uint32_t *codepoint);
/* Where the character before `at` (> 0) begins; the text is UTF-8. */
size_t rlx_utf8_before(const char *p, size_t at);
/* Bytes of the text that are whole characters from its first on: n when it is UTF-8. */
size_t rlx_utf8_valid(const char *p, size_t n);
void rlx_utf8_put(rlx_text *out, uint32_t codepoint);
/* Bytes until the first that is not ASCII, at most n. */
size_t rlx_ascii_run(const char *p, size_t n);

typedef enum rlx_char_class {
    RLX_CHAR_SPACE,       /* White_Space */
    RLX_CHAR_PUNCTUATION, /* categories P*, and what ASCII has beside letters and digits */
    RLX_CHAR_NUMBER,      /* N* */
    RLX_CHAR_CONTROL,     /* C* but Cn; not tab, line feed, carriage return */
    RLX_CHAR_MARK,        /* M* */
    RLX_CHAR_NONSPACING,  /* Mn */
    RLX_CHAR_CJK,         /* ideographs, as BERT has them */
    RLX_CHAR_WORD         /* \w: alphabetic, marks, digits, connectors, joiners */
} rlx_char_class;
bool rlx_char_is(uint32_t codepoint, rlx_char_class c);

/* Puts the lower-case form (of one character two, of I with a dot). */
void rlx_char_put_lower(rlx_text *out, uint32_t codepoint);

typedef enum rlx_normal_form { RLX_NFC, RLX_NFD, RLX_NFKC, RLX_NFKD } rlx_normal_form;
void rlx_unicode_normalize(rlx_normal_form form, const char *text, size_t bytes, rlx_text *out);
/* Bytes of the extended grapheme cluster at p (n > 0 left). */
size_t rlx_grapheme_read(const char *p, size_t n);

/* The byte alphabet: each byte as a printable character; and back (-1: not of the alphabet). */
void rlx_byte_alphabet_put(rlx_text *out, const char *bytes, size_t n);
int rlx_byte_alphabet_get(uint32_t codepoint);
/* A text in the alphabet to bytes; false, with *out as it was, when it is not. */
bool rlx_byte_alphabet_read(const char *text, size_t n, rlx_text *out);

#endif
