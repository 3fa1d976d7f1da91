/* frontend/text/normalize.c: the normalizer's steps, each on the whole of a part. */
#include <string.h>

#include "frontend/text/normalize.h"
#include "frontend/text/unicode.h"

rlx_status rlx_normalizer_init(rlx_tokenizer *t)
{
    for (uint32_t i = 0; i < t->settings->nnormal; i++) {
        const rlx_text_step *s = &t->settings->normal[i];
        if (s->kind == RLX_NORMAL_REPLACE_REGEX)
            RLX_TRY(rlx_regex_compile(rlx_table_text(t, s->a), &t->normal_regex[i]));
    }
    return RLX_OK;
}

void rlx_normalizer_deinit(rlx_tokenizer *t)
{
    for (int i = 0; i < RLX_MAX_STEPS; i++)
        pcre2_code_free(t->normal_regex[i]);
}

/* ---- steps: `text` to *out, which is empty */

static void replace(const rlx_tokenizer *t, const rlx_text_step *s, const char *text, size_t bytes,
                    rlx_text *out)
{
    const char *what = rlx_table_text(t, s->a), *with = rlx_table_text(t, s->b);
    const char *end = text + bytes;
    for (const char *hit;
         s->a.bytes && (hit = memmem(text, (size_t)(end - text), what, s->a.bytes));
         text = hit + s->a.bytes) {
        rlx_text_put_bytes(out, text, (size_t)(hit - text));
        rlx_text_put_bytes(out, with, s->b.bytes);
    }
    rlx_text_put_bytes(out, text, (size_t)(end - text));
}

static rlx_status replace_regex(const rlx_tokenizer *t, uint32_t step, const char *text,
                                size_t bytes, rlx_text *out)
{
    const rlx_text_step *s = &t->settings->normal[step];
    rlx_regex_scratch scratch = {0};
    rlx_regex_walk w = {0};
    rlx_status st = RLX_OK;
    size_t done = 0;
    for (bool found; bytes;) { /* the reference finds nothing in nothing */
        st = rlx_regex_next(t->normal_regex[step], &scratch, text, bytes, &w, &found);
        if (st || !found)
            break;
        rlx_text_put_bytes(out, text + done, w.from - done);
        rlx_text_put_bytes(out, rlx_table_text(t, s->b), s->b.bytes);
        done = w.to;
    }
    rlx_text_put_bytes(out, text + done, bytes - done);
    rlx_regex_scratch_deinit(&scratch);
    return st;
}

static void lowercase(const char *text, size_t bytes, rlx_text *out)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        uint32_t c;
        n = rlx_utf8_read(text + i, bytes - i, &c);
        if (c >= 0x80)
            rlx_char_put_lower(out, c);
        else
            rlx_text_put_bytes(out, &(char){(char)(c >= 'A' && c <= 'Z' ? c + 32 : c)}, 1);
    }
}

static void strip(uint32_t flags, const char *text, size_t bytes, rlx_text *out)
{
    uint32_t c;
    for (size_t n; (flags & RLX_AT_LEFT) && bytes; text += n, bytes -= n) {
        n = rlx_utf8_read(text, bytes, &c);
        if (!rlx_char_is(c, RLX_CHAR_SPACE))
            break;
    }
    while ((flags & RLX_AT_RIGHT) && bytes) {
        size_t at = rlx_utf8_before(text, bytes);
        rlx_utf8_read(text + at, bytes - at, &c);
        if (!rlx_char_is(c, RLX_CHAR_SPACE))
            break;
        bytes = at;
    }
    rlx_text_put_bytes(out, text, bytes);
}

static void drop(rlx_char_class k, const char *text, size_t bytes, rlx_text *out)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        uint32_t c;
        n = rlx_utf8_read(text + i, bytes - i, &c);
        if (c < 0x80 || !rlx_char_is(c, k))
            rlx_text_put_bytes(out, text + i, n);
    }
}

static void nmt(const char *text, size_t bytes, rlx_text *out)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        uint32_t c;
        n = rlx_utf8_read(text + i, bytes - i, &c);
        if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
            c == 0x9f)
            continue;
        bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                     (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xfeff || c == 0xfffd;
        rlx_text_put_bytes(out, space ? " " : text + i, space ? 1 : n);
    }
}

/* Clean text, spaces around ideographs, no accents, lower case: each on the result of the last. */
static void clean(uint32_t flags, const char *text, size_t bytes, rlx_text *out)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        uint32_t c;
        n = rlx_utf8_read(text + i, bytes - i, &c);
        if ((flags & RLX_BERT_CLEAN) && (c <= 0x20 || c >= 0x7f)) {
            if (c == 0 || c == 0xfffd || rlx_char_is(c, RLX_CHAR_CONTROL))
                continue;
            if (rlx_char_is(c, RLX_CHAR_SPACE)) {
                rlx_text_put(out, " ");
                continue;
            }
        }
        bool cjk = (flags & RLX_BERT_CJK) && c >= 0x80 && rlx_char_is(c, RLX_CHAR_CJK);
        if (cjk)
            rlx_text_put(out, " ");
        rlx_text_put_bytes(out, text + i, n);
        if (cjk)
            rlx_text_put(out, " ");
    }
}

static void swap(rlx_text *a, rlx_text *b)
{
    rlx_text t = *a;
    *a = *b;
    *b = t;
    rlx_text_clear(b);
}

static void bert(uint32_t flags, const char *text, size_t bytes, rlx_text *out)
{
    rlx_text now = {0}, next = {0};
    clean(flags, text, bytes, &now);
    if ((flags & RLX_BERT_STRIP_MARKS) && rlx_ascii_run(now.data, now.len) < now.len) {
        rlx_unicode_normalize(RLX_NFD, now.data, now.len, &next);
        swap(&now, &next);
        drop(RLX_CHAR_NONSPACING, now.data, now.len, &next);
        swap(&now, &next);
    }
    if (flags & RLX_BERT_LOWERCASE)
        lowercase(now.data, now.len, out);
    else
        rlx_text_put_bytes(out, now.data, now.len);
    out->oom |= now.oom || next.oom;
    rlx_text_deinit(&now);
    rlx_text_deinit(&next);
}

static rlx_status take_step(const rlx_tokenizer *t, uint32_t i, const char *text, size_t bytes,
                            rlx_text *out)
{
    const rlx_text_step *s = &t->settings->normal[i];
    switch ((rlx_normal_kind)s->kind) {
    case RLX_NORMAL_PREPEND:
        if (bytes)
            rlx_text_put_bytes(out, rlx_table_text(t, s->a), s->a.bytes);
        rlx_text_put_bytes(out, text, bytes);
        break;
    case RLX_NORMAL_REPLACE:
        replace(t, s, text, bytes, out);
        break;
    case RLX_NORMAL_REPLACE_REGEX:
        return replace_regex(t, i, text, bytes, out);
    case RLX_NORMAL_FORM:
        rlx_unicode_normalize((rlx_normal_form)s->n, text, bytes, out);
        break;
    case RLX_NORMAL_LOWERCASE:
        lowercase(text, bytes, out);
        break;
    case RLX_NORMAL_STRIP:
        strip(s->flags, text, bytes, out);
        break;
    case RLX_NORMAL_STRIP_MARKS:
        drop(RLX_CHAR_MARK, text, bytes, out);
        break;
    case RLX_NORMAL_NMT:
        nmt(text, bytes, out);
        break;
    case RLX_NORMAL_BERT:
        bert(s->flags, text, bytes, out);
        break;
    case RLX_NORMAL_CHARSMAP:
        rlx_charsmap_put(rlx_table_text(t, t->settings->charsmap), t->settings->charsmap.bytes,
                         text, bytes, out);
        break;
    case RLX_NORMAL_SENTENCEPIECE:
        rlx_sentencepiece_put(t, s->flags, text, bytes, out);
        break;
    case RLX_NORMAL_BYTES:
        rlx_byte_alphabet_put(out, text, bytes);
        break;
    case RLX_NORMAL_NONE:
        return RLX_FAIL(RLX_INTERNAL, "a normalizer step without a kind");
    }
    return RLX_OK;
}

rlx_status rlx_tokenizer_normalize(const rlx_tokenizer *t, const char *text, size_t bytes,
                                   rlx_text *out)
{
    rlx_text next = {0};
    rlx_status st = RLX_OK;
    rlx_text_clear(out);
    if (!t->settings->nnormal)
        rlx_text_put_bytes(out, text, bytes);
    for (uint32_t i = 0; i < t->settings->nnormal && !st; i++) {
        const char *from = i ? (out->len ? out->data : "") : text;
        rlx_text_clear(&next);
        st = take_step(t, i, from, i ? out->len : bytes, &next);
        rlx_text last = *out;
        *out = next;
        next = last;
    }
    if (!st && (out->oom || next.oom))
        st = RLX_OOM();
    rlx_text_deinit(&next);
    return st;
}
