/* frontend/tokenizer.c: a text to ids, through the parts in the neighbouring files; ids to text. */
#include <stdlib.h>
#include <string.h>

#include "frontend/tokenizer_impl.h"

void rlx_tokenizer_destroy(rlx_tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->nsplit; i++)
        pcre2_code_free(t->split[i].regex);
    rlx_arena *arena = t->arena; /* holds `t` too */
    rlx_arena_destroy(arena);
}

rlx_status rlx_tokenizer_load(const char *path, rlx_tokenizer **out)
{
    char *json;
    size_t bytes;
    RLX_TRY(rlx_file_read(path, &json, &bytes));
    rlx_status st = rlx_tokenizer_parse(json, path, out);
    free(json);
    return st;
}

/* ---- encoding */

typedef struct added_match {
    const rlx_added_token *token;
    size_t from, to; /* with the white space that the token takes */
} added_match;

/* The first added token at or after `at`, the longest of those that begin there. */
static bool find_added(const rlx_added_set *set, const char *text, size_t bytes, size_t at,
                       added_match *out)
{
    for (size_t i = at; i < bytes; i++) {
        const rlx_added_token *a = set->by_byte[(unsigned char)text[i]];
        while (a && (a->bytes > bytes - i || memcmp(text + i, a->text, a->bytes)))
            a = a->next;
        if (!a)
            continue;
        *out = (added_match){a, i, i + a->bytes};
        uint32_t c;
        for (size_t n; a->rstrip && out->to < bytes; out->to += n) {
            n = rlx_utf8_read(text + out->to, bytes - out->to, &c);
            if (!n || !rlx_codepoint_is_space(c))
                break;
        }
        while (a->lstrip && out->from > at) {
            size_t p = out->from - 1;
            while (p > at && ((unsigned char)text[p] & 0xc0) == 0x80)
                p--;
            if (!rlx_utf8_read(text + p, out->from - p, &c) || !rlx_codepoint_is_space(c))
                break;
            out->from = p;
        }
        return true;
    }
    return false;
}

/* Cuts the tokens of `set` out of the text and hands what lies between them to `rest`. */
static rlx_status cut_added(rlx_encoding *e, const rlx_added_set *set, const char *text,
                            size_t bytes,
                            rlx_status (*rest)(rlx_encoding *e, const char *text, size_t bytes))
{
    size_t at = 0;
    added_match m;
    while (find_added(set, text, bytes, at, &m)) {
        if (m.from > at)
            RLX_TRY(rest(e, text + at, m.from - at));
        RLX_TRY(rlx_encoding_push(e, m.token->id));
        e->at_start = false;
        at = m.to;
    }
    return at < bytes ? rest(e, text + at, bytes - at) : RLX_OK;
}

static rlx_status encode_raw(rlx_encoding *e, const char *text, size_t bytes)
{
    rlx_text normal = {0};
    rlx_tokenizer_normalize(e->tokenizer, text, bytes, &normal);
    rlx_status st = normal.oom ? RLX_OOM()
                               : cut_added(e, &e->tokenizer->normalized, normal.data, normal.len,
                                           rlx_encoding_split);
    rlx_text_deinit(&normal);
    return st;
}

static rlx_status push_all(rlx_encoding *e, const int32_t *ids, int n)
{
    for (int i = 0; i < n; i++)
        RLX_TRY(rlx_encoding_push(e, ids[i]));
    return RLX_OK;
}

static rlx_status encode(rlx_encoding *e, const char *text, size_t bytes, bool special)
{
    const rlx_tokenizer *t = e->tokenizer;
    if (special)
        RLX_TRY(push_all(e, t->prefix, t->nprefix));
    RLX_TRY(cut_added(e, &t->raw, text, bytes, encode_raw));
    return special ? push_all(e, t->suffix, t->nsuffix) : RLX_OK;
}

rlx_status rlx_tokenizer_encode(const rlx_tokenizer *t, const char *text, size_t bytes,
                                bool special, int32_t **ids, int64_t *n)
{
    *ids = NULL;
    *n = 0;
    for (size_t i = 0, len; i < bytes; i += len) {
        len = rlx_utf8_read(text + i, bytes - i, NULL);
        if (!len)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "the text is not UTF-8 at byte %zu", i);
    }
    rlx_encoding e = {.tokenizer = t, .at_start = true};
    rlx_status st = encode(&e, text, bytes, special);
    if (!st) {
        *ids = e.ids;
        *n = e.nids;
        e.ids = NULL;
    }
    rlx_encoding_deinit(&e);
    return st;
}

/* ---- tokens */

int64_t rlx_tokenizer_count(const rlx_tokenizer *t)
{
    return t->ntokens;
}

const char *rlx_tokenizer_bytes(const rlx_tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= t->ntokens || !t->tokens[id].text)
        return NULL;
    *len = t->tokens[id].nbytes;
    return t->tokens[id].bytes;
}

bool rlx_tokenizer_is_special(const rlx_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->ntokens && t->tokens[id].special;
}

int32_t rlx_tokenizer_find(const rlx_tokenizer *t, const char *text)
{
    return rlx_tokenizer_lookup(t, text, strlen(text));
}

/* ---- streaming */

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void rlx_token_stream_init(rlx_token_stream *s, const rlx_tokenizer *t, bool opens_text)
{
    *s = (rlx_token_stream){.tokenizer = t, .started = !opens_text};
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

static bool push(rlx_token_stream *s, int32_t id, rlx_token_emit *emit, void *user)
{
    size_t n;
    const char *bytes = rlx_tokenizer_bytes(s->tokenizer, id, &n);
    if (!bytes || rlx_tokenizer_is_special(s->tokenizer, id))
        return true;
    if (!s->started) {
        for (int i = 0; i < s->tokenizer->decode_strip && n && *bytes == ' '; i++, bytes++)
            n--;
        s->started = true;
    }
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
    memcpy(rest, s->hold, n);
    return drain(s, rest, n, true, emit, user);
}
