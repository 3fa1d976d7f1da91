/* frontend/tokenizer_split.c: normalizer and pre-tokenizer: text to the pieces that BPE sees. */
#include <stdlib.h>
#include <string.h>

#include "frontend/tokenizer_impl.h"

/* Of the ByteLevel pre-tokenizer with use_regex (GPT-2's). */
const char rlx_tokenizer_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- characters */

size_t rlx_utf8_read(const char *p, size_t n, uint32_t *codepoint)
{
    const unsigned char *s = (const unsigned char *)p;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;
    if (!len || len > n)
        return 0;
    uint32_t c = len == 1 ? s[0] : s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    if (codepoint)
        *codepoint = c;
    return len;
}

bool rlx_codepoint_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

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

/* ---- normalizer */

static void replace(const char *text, size_t bytes, const char *what, const char *with,
                    rlx_text *out)
{
    size_t n = strlen(what), from = 0;
    for (size_t i = 0; n && i + n <= bytes;) {
        if (memcmp(text + i, what, n)) {
            i++;
            continue;
        }
        rlx_text_put_bytes(out, text + from, i - from);
        rlx_text_put(out, with);
        i += n;
        from = i;
    }
    rlx_text_put_bytes(out, text + from, bytes - from);
}

static void squeeze(const char *text, size_t bytes, rlx_text *out)
{
    while (bytes && text[bytes - 1] == ' ')
        bytes--;
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' || (out->len && text[i - 1] != ' '))
            rlx_text_put_bytes(out, text + i, 1);
}

void rlx_tokenizer_normalize(const rlx_tokenizer *t, const char *text, size_t bytes, rlx_text *out)
{
    rlx_text_clear(out);
    rlx_text_put_bytes(out, text, bytes);
    for (int i = 0; i < t->nnormal; i++) {
        const rlx_normal_step *s = &t->normal[i];
        rlx_text next = {0};
        if (s->kind == RLX_NORMAL_PREPEND) {
            if (out->len)
                rlx_text_put(&next, s->text);
            rlx_text_put_bytes(&next, out->data, out->len);
        } else if (s->kind == RLX_NORMAL_SQUEEZE) {
            squeeze(out->data, out->len, &next);
        } else {
            replace(out->data, out->len, s->pattern, s->text, &next);
        }
        next.oom |= out->oom;
        rlx_text_deinit(out);
        *out = next;
    }
}

/* ---- pre-tokenizer: each step hands its pieces to the next; the last one's are encoded */

rlx_status rlx_tokenizer_compile_regex(const char *pattern, pcre2_code **out)
{
    int error;
    PCRE2_SIZE offset;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error,
                         &offset, NULL);
    if (!*out) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(error, message, sizeof message);
        return RLX_FAIL(RLX_UNSUPPORTED, "regular expression \"%s\": %s at %zu", pattern,
                        (const char *)message, (size_t)offset);
    }
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT, matching interprets */
    return RLX_OK;
}

static rlx_status split_from(rlx_encoding *e, int step, const char *text, size_t bytes);

static rlx_status next_piece(rlx_encoding *e, int step, const char *text, size_t bytes)
{
    if (!bytes)
        return RLX_OK;
    rlx_status st = split_from(e, step + 1, text, bytes);
    e->at_start = false;
    return st;
}

static rlx_status split_regex(rlx_encoding *e, int step, const char *text, size_t bytes)
{
    const rlx_split_step *s = &e->tokenizer->split[step];
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (!match)
        return RLX_OOM();
    bool gaps = s->kind == RLX_SPLIT_REGEX || !s->keep_matches;
    bool matches = s->kind == RLX_SPLIT_REGEX || s->keep_matches;
    rlx_status st = RLX_OK;
    size_t from = 0, at = 0;
    while (!st && at <= bytes) {
        int found =
            pcre2_match(s->regex, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0) {
            st =
                RLX_FAIL(RLX_EXHAUSTED,
                         "the tokenizer's pattern gave up at byte %zu (PCRE2 error %d)", at, found);
            break;
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
        if (span[1] == span[0]) { /* an empty match splits nothing */
            at = span[1] + 1;
            while (at < bytes && ((unsigned char)text[at] & 0xc0) == 0x80)
                at++;
            continue;
        }
        if (gaps)
            st = next_piece(e, step, text + from, span[0] - from);
        if (!st && matches)
            st = next_piece(e, step, text + span[0], span[1] - span[0]);
        from = at = span[1];
    }
    if (!st && gaps)
        st = next_piece(e, step, text + from, bytes - from);
    pcre2_match_data_free(match);
    return st;
}

static rlx_status split_prefix(rlx_encoding *e, int step, const char *text, size_t bytes)
{
    if (*text == ' ')
        return next_piece(e, step, text, bytes);
    rlx_text t = {0};
    rlx_text_put(&t, " ");
    rlx_text_put_bytes(&t, text, bytes);
    rlx_status st = t.oom ? RLX_OOM() : next_piece(e, step, t.data, t.len);
    rlx_text_deinit(&t);
    return st;
}

static rlx_status split_bytes(rlx_encoding *e, int step, const char *text, size_t bytes)
{
    rlx_text_clear(&e->mapped);
    rlx_byte_alphabet_put(&e->mapped, text, bytes);
    if (e->mapped.oom)
        return RLX_OOM();
    return next_piece(e, step, e->mapped.data, e->mapped.len);
}

static rlx_status split_space(rlx_encoding *e, int step, const char *text, size_t bytes)
{
    const rlx_split_step *s = &e->tokenizer->split[step];
    size_t mark = strlen(s->text);
    rlx_text t = {0}, u = {0};
    replace(text, bytes, " ", s->text, &t);
    if (t.data && s->add_prefix && (!s->prefix_once || e->at_start) &&
        strncmp(t.data, s->text, mark)) {
        rlx_text_put(&u, s->text);
        rlx_text_put_bytes(&u, t.data, t.len);
    } else {
        rlx_text_put_bytes(&u, t.data, t.len);
    }
    rlx_status st = t.oom || u.oom ? RLX_OOM() : RLX_OK;
    for (size_t from = 0; !st && from < u.len;) {
        const char *end =
            s->split ? memmem(u.data + from + 1, u.len - from - 1, s->text, mark) : NULL;
        size_t to = end ? (size_t)(end - u.data) : u.len;
        st = next_piece(e, step, u.data + from, to - from);
        from = to;
    }
    rlx_text_deinit(&t);
    rlx_text_deinit(&u);
    return st;
}

static rlx_status split_from(rlx_encoding *e, int step, const char *text, size_t bytes)
{
    if (step == e->tokenizer->nsplit)
        return rlx_encoding_push_piece(e, text, bytes);
    switch (e->tokenizer->split[step].kind) {
    case RLX_SPLIT_REGEX:
    case RLX_SPLIT_REGEX_DROP:
        return split_regex(e, step, text, bytes);
    case RLX_SPLIT_PREFIX:
        return split_prefix(e, step, text, bytes);
    case RLX_SPLIT_BYTES:
        return split_bytes(e, step, text, bytes);
    case RLX_SPLIT_SPACE:
        return split_space(e, step, text, bytes);
    }
    return RLX_FAIL(RLX_INTERNAL, "unknown pre-tokenizer step");
}

rlx_status rlx_encoding_split(rlx_encoding *e, const char *text, size_t bytes)
{
    return next_piece(e, -1, text, bytes);
}
