/* frontend/text/decode.c: ids to bytes, streamed as whole characters. */
#include <string.h>

#include "frontend/text/table.h"
#include "frontend/text/unicode.h"

/* ---- tokens */

int64_t rlx_tokenizer_count(const rlx_tokenizer *t)
{
    return t->ntokens;
}

static const rlx_token *get_token(const rlx_tokenizer *t, int32_t id)
{
    bool there = id >= 0 && id < t->ntokens && (t->tokens[id].flags & RLX_TOKEN_PRESENT);
    return there ? &t->tokens[id] : NULL;
}

const char *rlx_tokenizer_bytes(const rlx_tokenizer *t, int32_t id, size_t *len)
{
    const rlx_token *k = get_token(t, id);
    *len = k ? k->bytes.bytes : 0;
    return k ? rlx_table_text(t, k->bytes) : NULL;
}

const char *rlx_tokenizer_text(const rlx_tokenizer *t, int32_t id, size_t *len)
{
    const rlx_token *k = get_token(t, id);
    *len = k ? k->text.bytes : 0;
    return k ? rlx_table_text(t, k->text) : NULL;
}

bool rlx_tokenizer_is_special(const rlx_tokenizer *t, int32_t id)
{
    const rlx_token *k = get_token(t, id);
    return k && (k->flags & RLX_TOKEN_SPECIAL);
}

int32_t rlx_tokenizer_find(const rlx_tokenizer *t, const char *text)
{
    return rlx_table_find_text(t, text, strlen(text));
}

/* ---- streaming */

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void rlx_token_stream_init(rlx_token_stream *s, const rlx_tokenizer *t, bool opens_text)
{
    *s = (rlx_token_stream){.tokenizer = t, .started = !opens_text, .last = -1};
}

/* Could these n > 0 bytes be the beginning, and no more, of a character? */
static bool is_prefix(const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t len = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80; /* of the second byte */
    unsigned high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    return n < len && (n < 2 || (s[1] >= low && s[1] <= high)) && (n < 3 || (s[2] & 0xc0) == 0x80);
}

/* Emits the whole characters among the bytes; keeps what may still become one, unless `last`. */
static bool drain(rlx_token_stream *s, const char *p, size_t n, bool last, rlx_token_emit *emit,
                  void *user)
{
    size_t from = 0, at = 0;
    while (at < n) {
        size_t len = rlx_utf8_read(p + at, n - at, NULL);
        if (len) {
            at += len;
            continue;
        }
        if (at > from && !emit(user, p + from, at - from))
            return false;
        from = at;
        if (!last && is_prefix(p + at, n - at))
            break;
        if (!emit(user, replacement, sizeof replacement - 1))
            return false;
        /* One replacement for the longest part that could have begun a character. */
        size_t bad = 1;
        while (at + bad < n && is_prefix(p + at, bad + 1))
            bad++;
        from = at += bad;
    }
    if (at > from && !emit(user, p + from, at - from))
        return false;
    s->held = n - at;
    memmove(s->hold, p + at, s->held);
    return true;
}

static bool put(rlx_token_stream *s, const char *bytes, size_t n, rlx_token_emit *emit, void *user)
{
    while (s->held && n) { /* finish the character that waits, byte by byte */
        char head[sizeof s->hold];
        memcpy(head, s->hold, s->held);
        head[s->held] = *bytes++;
        n--;
        if (!drain(s, head, s->held + 1, false, emit, user))
            return false;
    }
    return !n || drain(s, bytes, n, false, emit, user);
}

/* The bytes of a token. The space that stands for a word's end waits: it is none at the text's. */
static bool put_token(rlx_token_stream *s, const rlx_token *k, const char *bytes, size_t n,
                      rlx_token_emit *emit, void *user)
{
    rlx_span end = s->tokenizer->settings->decode_end;
    const char *text = rlx_table_text(s->tokenizer, k->text);
    bool ends =
        end.bytes && n && bytes[n - 1] == ' ' && k->text.bytes >= end.bytes &&
        !memcmp(text + k->text.bytes - end.bytes, rlx_table_text(s->tokenizer, end), end.bytes);
    if (!put(s, bytes, ends ? n - 1 : n, emit, user))
        return false;
    if (!ends || s->held)
        return !ends || put(s, " ", 1, emit, user);
    s->hold[s->held++] = ' ';
    return true;
}

/* The text's first token, without what only tokens inside a text have in front. */
static bool put_first(rlx_token_stream *s, const rlx_token *k, rlx_token_emit *emit, void *user)
{
    const rlx_text_settings *set = s->tokenizer->settings;
    const char *bytes = rlx_table_text(s->tokenizer, k->bytes);
    const char *text = rlx_table_text(s->tokenizer, k->text);
    size_t n = k->bytes.bytes;
    rlx_span prefix = set->prefix;
    switch ((rlx_decode_first)set->decode_first) {
    case RLX_FIRST_SAME:
        break;
    case RLX_FIRST_STRIP:
        for (uint32_t i = 0; i < set->decode_strip && n && *bytes == ' '; i++, bytes++)
            n--;
        break;
    case RLX_FIRST_NO_SPACE: /* but those that its text has itself: an added token's */
        for (; n && !memchr(text, ' ', k->text.bytes); bytes++, n--)
            if (*bytes != ' ' && !put(s, bytes, 1, emit, user))
                return false;
        break;
    case RLX_FIRST_WORDPIECE:
        if (prefix.bytes && k->text.bytes >= prefix.bytes &&
            !memcmp(text, rlx_table_text(s->tokenizer, prefix), prefix.bytes)) {
            bytes = text;
            n = k->text.bytes;
        } else if (n && *bytes == ' ') {
            bytes++;
            n--;
        }
        break;
    }
    return put_token(s, k, bytes, n, emit, user);
}

static bool push(rlx_token_stream *s, int32_t id, rlx_token_emit *emit, void *user)
{
    const rlx_token *k = get_token(s->tokenizer, id);
    bool special = k && (k->flags & RLX_TOKEN_SPECIAL);
    bool again = s->tokenizer->settings->decode_collapse && id == s->last;
    if (!special || !k->bytes.bytes) /* what decodes to nothing parts two that are the same */
        s->last = id;
    if (!k || special || again)
        return true;
    if (!s->started) {
        s->started = true;
        return put_first(s, k, emit, user);
    }
    return put_token(s, k, rlx_table_text(s->tokenizer, k->bytes), k->bytes.bytes, emit, user);
}

bool rlx_token_stream_push(rlx_token_stream *s, int32_t id, rlx_token_emit *emit, void *user)
{
    bool on = push(s, id, emit, user);
    if (!on)
        s->held = 0;
    return on;
}

bool rlx_token_stream_end(rlx_token_stream *s, rlx_token_emit *emit, void *user)
{
    char rest[sizeof s->hold];
    size_t n = s->held;
    n -= n && s->hold[n - 1] == ' '; /* of a word that ends the text */
    memcpy(rest, s->hold, n);
    return drain(s, rest, n, true, emit, user);
}
