/* frontend/text/unicode.c: characters. */
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "frontend/text/unicode.h"

/* ---- UTF-8 */

size_t rlx_utf8_read(const char *p, size_t n, uint32_t *codepoint)
{
    const size_t len = rlx_text_utf8(p, n);
    if (!len || !codepoint)
        return len;
    uint32_t c = (unsigned char)p[0] & (len == 1 ? 0x7fu : 0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++)
        c = c << 6 | ((unsigned char)p[i] & 0x3f);
    *codepoint = c;
    return len;
}

size_t rlx_utf8_before(const char *p, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)p[at] & 0xc0) == 0x80);
    return at;
}

size_t rlx_utf8_valid(const char *p, size_t n)
{
    size_t at = 0;
    for (size_t len; at < n; at += len) {
        len = rlx_ascii_run(p + at, n - at);
        if (!len)
            len = rlx_utf8_read(p + at, n - at, NULL);
        if (!len)
            break;
    }
    return at;
}

void rlx_utf8_put(rlx_text *out, uint32_t c)
{
    char s[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)s);
    rlx_text_put_bytes(out, s, (size_t)n);
}

size_t rlx_ascii_run(const char *p, size_t n)
{
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        if (w & 0x8080808080808080u)
            break;
    }
    while (i < n && (unsigned char)p[i] < 0x80)
        i++;
    return i;
}

/* ---- properties */

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static bool is_ascii_punctuation(uint32_t c)
{
    return (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
           (c >= 0x7b && c <= 0x7e);
}

static bool is_cjk(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* Alphabetic of no letter's category: letters in circles and squares. */
static bool is_alphabetic_symbol(uint32_t c)
{
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

/* Is the category one of first..last, in utf8proc's order? */
static bool category_in(uint32_t c, utf8proc_category_t first, utf8proc_category_t last)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= first && k <= last;
}

static bool is_word(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC ||
           c == 0x200c || c == 0x200d || is_alphabetic_symbol(c);
}

bool rlx_char_is(uint32_t c, rlx_char_class k)
{
    switch (k) {
    case RLX_CHAR_SPACE:
        return is_space(c);
    case RLX_CHAR_PUNCTUATION:
        return c < 0x80 ? is_ascii_punctuation(c)
                        : category_in(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
    case RLX_CHAR_NUMBER:
        return c < 0x80 ? c >= '0' && c <= '9'
                        : category_in(c, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
    case RLX_CHAR_CONTROL:
        return c != '\t' && c != '\n' && c != '\r' &&
               category_in(c, UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO);
    case RLX_CHAR_MARK:
        return category_in(c, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
    case RLX_CHAR_NONSPACING:
        return category_in(c, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_MN);
    case RLX_CHAR_CJK:
        return is_cjk(c);
    case RLX_CHAR_WORD:
        return is_word(c);
    }
    return false;
}

void rlx_char_put_lower(rlx_text *out, uint32_t c)
{
    if (c == 0x130) /* the only one whose lower case is longer */
        rlx_text_put(out, "i\xcc\x87");
    else
        rlx_utf8_put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* ---- normal forms */

/* A stretch that nothing outside composes with. */
static void normalize_stretch(rlx_normal_form form, const char *text, size_t bytes, rlx_text *out)
{
    bool compose = form == RLX_NFC || form == RLX_NFKC;
    int compat = form == RLX_NFKC || form == RLX_NFKD ? UTF8PROC_COMPAT : 0;
    utf8proc_option_t options = UTF8PROC_STABLE | (utf8proc_option_t)compat |
                                (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    const utf8proc_uint8_t *s = (const utf8proc_uint8_t *)text;
    utf8proc_int32_t few[64], *c = few;
    utf8proc_ssize_t n = utf8proc_decompose(s, (utf8proc_ssize_t)bytes, c, 64, options);
    if (n > 64) {
        c = malloc((size_t)n * sizeof *c);
        if (c)
            n = utf8proc_decompose(s, (utf8proc_ssize_t)bytes, c, n, options);
    }
    if (!c || n < 0) { /* the text is UTF-8: only memory can be short */
        out->oom = true;
    } else {
        n = utf8proc_normalize_utf32(c, n, options);
        for (utf8proc_ssize_t i = 0; i < n; i++)
            rlx_utf8_put(out, (uint32_t)c[i]);
    }
    if (c != few)
        free(c);
}

/* ASCII is the same in every form, and begins a stretch of its own. */
void rlx_unicode_normalize(rlx_normal_form form, const char *text, size_t bytes, rlx_text *out)
{
    for (size_t at = 0; at < bytes;) {
        size_t plain = rlx_ascii_run(text + at, bytes - at);
        size_t end = at + plain;
        if (end < bytes && plain)
            plain--;
        rlx_text_put_bytes(out, text + at, plain);
        at += plain;
        while (end < bytes && (unsigned char)text[end] >= 0x80)
            end++;
        if (at < end)
            normalize_stretch(form, text + at, end - at, out);
        at = end;
    }
}

size_t rlx_grapheme_read(const char *p, size_t n)
{
    uint32_t c, next;
    utf8proc_int32_t state = 0;
    size_t at = rlx_utf8_read(p, n, &c);
    for (size_t len; at < n; at += len, c = next) {
        len = rlx_utf8_read(p + at, n - at, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
    }
    return at;
}

/* ---- the byte alphabet */

/* Printable Latin-1 bytes stand for themselves; the other 68 (00-20, 7f-a0, ad) follow from U+0100
 * on. */
static uint32_t byte_to_codepoint(unsigned b)
{
    if (b <= 0x20)
        return 0x100 + b;
    if (b >= 0x7f && b <= 0xa0)
        return 0x121 + (b - 0x7f);
    return b == 0xad ? 0x143 : b;
}

int rlx_byte_alphabet_get(uint32_t c)
{
    if (c <= 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || c > 0x143)
        return -1;
    if (c < 0x100)
        return (int)c;
    return c <= 0x120 ? (int)(c - 0x100) : c < 0x143 ? (int)(c - 0x121 + 0x7f) : 0xad;
}

void rlx_byte_alphabet_put(rlx_text *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t c = byte_to_codepoint((unsigned char)bytes[i]);
        char utf8[2] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
        if (c < 0x80)
            utf8[0] = (char)c;
        rlx_text_put_bytes(out, utf8, c < 0x80 ? 1 : 2);
    }
}

/* How many of the bytes stand for themselves. */
static size_t count_plain(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n && text[i] > 0x20 && text[i] < 0x7f)
        i++;
    return i;
}

bool rlx_byte_alphabet_read(const char *text, size_t n, rlx_text *out)
{
    size_t before = out->len;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t c;
        len = count_plain(text + i, n - i);
        if (len) {
            rlx_text_put_bytes(out, text + i, len);
            continue;
        }
        len = rlx_utf8_read(text + i, n - i, &c);
        int byte = len ? rlx_byte_alphabet_get(c) : -1;
        if (byte < 0) {
            out->len = before;
            return false;
        }
        rlx_text_put_bytes(out, &(char){(char)byte}, 1);
    }
    return true;
}
