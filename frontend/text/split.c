/* frontend/text/split.c: the pre-tokenizer: normalized text to the pieces that the model sees. Each
 * step hands its pieces to the next; the last one's are encoded. */
#include <stdlib.h>
#include <string.h>

#include "frontend/text/encode.h"
#include "frontend/text/unicode.h"

static rlx_status split_from(rlx_encoding *e, uint32_t step, const char *text, size_t bytes,
                             bool opens);

/* ---- matches, and what lies between them, to pieces */

typedef struct splitter {
    rlx_encoding *e;
    const rlx_text_step *step;
    uint32_t index; /* of the step */
    const char *text;
    size_t bytes;
    bool opens;
    size_t done;     /* all before was handed on or held */
    size_t from, to; /* held: may grow by what follows */
    bool holds, after_match;
} splitter;

static rlx_status emit(splitter *s, size_t from, size_t to)
{
    if (from == to)
        return RLX_OK;
    return split_from(s->e, s->index + 1, s->text + from, to - from, s->opens && from == 0);
}

static rlx_status flush(splitter *s)
{
    bool held = s->holds;
    s->holds = false;
    return held ? emit(s, s->from, s->to) : RLX_OK;
}

/* Does a stretch belong to the one that is held? */
static bool joins(const splitter *s, bool match)
{
    switch ((rlx_split_behavior)s->step->behavior) {
    case RLX_SPLIT_MERGED_PREVIOUS:
        return match && !s->after_match;
    case RLX_SPLIT_MERGED_NEXT:
        return !match && s->after_match;
    case RLX_SPLIT_CONTIGUOUS:
        return match == s->after_match;
    case RLX_SPLIT_ISOLATED:
    case RLX_SPLIT_REMOVED:
        break;
    }
    return false;
}

static rlx_status put(splitter *s, size_t from, size_t to, bool match)
{
    match ^= s->step->invert != 0;
    if (s->step->behavior == RLX_SPLIT_ISOLATED)
        return emit(s, from, to);
    if (s->step->behavior == RLX_SPLIT_REMOVED)
        return match ? RLX_OK : emit(s, from, to);
    if (s->holds && joins(s, match)) {
        s->to = to;
    } else {
        RLX_TRY(flush(s));
        s->from = from;
        s->to = to;
        s->holds = true;
    }
    s->after_match = match;
    return RLX_OK;
}

static rlx_status put_match(splitter *s, size_t from, size_t to)
{
    if (s->done < from)
        RLX_TRY(put(s, s->done, from, false));
    s->done = to;
    return put(s, from, to, true);
}

static rlx_status finish(splitter *s)
{
    if (s->done < s->bytes)
        RLX_TRY(put(s, s->done, s->bytes, false));
    return flush(s);
}

/* ---- where matches come from */

static size_t char_bytes(const splitter *s, size_t at)
{
    return at < s->bytes ? rlx_utf8_read(s->text + at, s->bytes - at, NULL) : 1;
}

static rlx_status match_regex(splitter *s)
{
    const pcre2_code *regex = s->e->tokenizer->split_regex[s->index];
    rlx_regex_walk w = {0};
    for (bool found;;) {
        RLX_TRY(rlx_regex_next(regex, &s->e->regex, s->text, s->bytes, &w, &found));
        if (!found)
            return RLX_OK;
        RLX_TRY(put_match(s, w.from, w.to));
    }
}

static rlx_status match_literal(splitter *s)
{
    rlx_span a = s->step->a;
    const char *what = rlx_table_text(s->e->tokenizer, a);
    const char *at = s->text, *end = s->text + s->bytes;
    while ((at = memmem(at, (size_t)(end - at), what, a.bytes))) {
        RLX_TRY(put_match(s, (size_t)(at - s->text), (size_t)(at - s->text) + a.bytes));
        at += a.bytes;
    }
    return RLX_OK;
}

static rlx_status match_class(splitter *s)
{
    for (size_t i = 0, n; i < s->bytes; i += n) {
        uint32_t c;
        n = rlx_utf8_read(s->text + i, s->bytes - i, &c);
        if (rlx_char_is(c, (rlx_char_class)s->step->n))
            RLX_TRY(put_match(s, i, i + n));
    }
    return RLX_OK;
}

static rlx_status match_count(splitter *s)
{
    for (size_t i = 0, from = 0; i < s->bytes; from = i) {
        for (uint32_t k = 0; k < s->step->n && i < s->bytes; k++)
            i += char_bytes(s, i);
        RLX_TRY(put_match(s, from, i));
    }
    return RLX_OK;
}

static rlx_status split_matches(rlx_encoding *e, uint32_t step, const char *text, size_t bytes,
                                bool opens, rlx_status (*match)(splitter *s))
{
    splitter s = {.e = e,
                  .step = &e->tokenizer->settings->split[step],
                  .index = step,
                  .text = text,
                  .bytes = bytes,
                  .opens = opens};
    RLX_TRY(match(&s));
    return finish(&s);
}

/* ---- steps that change the text */

static rlx_status split_prefix(rlx_encoding *e, uint32_t step, const char *text, size_t bytes,
                               bool opens)
{
    if (*text == ' ')
        return split_from(e, step + 1, text, bytes, opens);
    rlx_text t = {0};
    rlx_text_put(&t, " ");
    rlx_text_put_bytes(&t, text, bytes);
    rlx_status st = t.oom ? RLX_OOM() : split_from(e, step + 1, t.data, t.len, opens);
    rlx_text_deinit(&t);
    return st;
}

static rlx_status split_bytes(rlx_encoding *e, uint32_t step, const char *text, size_t bytes,
                              bool opens)
{
    rlx_text_clear(&e->mapped); /* one such step at most: readers see to it */
    rlx_byte_alphabet_put(&e->mapped, text, bytes);
    if (e->mapped.oom)
        return RLX_OOM();
    return split_from(e, step + 1, e->mapped.data, e->mapped.len, opens);
}

static void put_metaspace(const rlx_text_step *s, const char *mark, const char *text, size_t bytes,
                          bool opens, rlx_text *out)
{
    size_t n = s->a.bytes;
    bool marked = *text == ' ' || (bytes >= n && !memcmp(text, mark, n));
    if ((s->flags & RLX_METASPACE_PREFIX) && !marked &&
        (!(s->flags & RLX_METASPACE_FIRST) || opens))
        rlx_text_put_bytes(out, mark, n);
    for (size_t i = 0; i < bytes;) {
        const char *space = memchr(text + i, ' ', bytes - i);
        size_t to = space ? (size_t)(space - text) : bytes;
        rlx_text_put_bytes(out, text + i, to - i);
        if (space)
            rlx_text_put_bytes(out, mark, n);
        i = to + (space != NULL);
    }
}

static rlx_status split_metaspace(rlx_encoding *e, uint32_t step, const char *text, size_t bytes,
                                  bool opens)
{
    const rlx_text_step *s = &e->tokenizer->settings->split[step];
    const char *mark = rlx_table_text(e->tokenizer, s->a);
    rlx_text t = {0};
    put_metaspace(s, mark, text, bytes, opens, &t);
    rlx_status st = t.oom ? RLX_OOM() : RLX_OK;
    for (size_t from = 0, to; !st && from < t.len; from = to) {
        const char *end = s->flags & RLX_METASPACE_SPLIT
                              ? memmem(t.data + from + 1, t.len - from - 1, mark, s->a.bytes)
                              : NULL;
        to = end ? (size_t)(end - t.data) : t.len;
        st = split_from(e, step + 1, t.data + from, to - from, opens && from == 0);
    }
    rlx_text_deinit(&t);
    return st;
}

static rlx_status split_from(rlx_encoding *e, uint32_t step, const char *text, size_t bytes,
                             bool opens)
{
    if (step == e->tokenizer->settings->nsplit)
        return rlx_encoding_push_piece(e, text, bytes);
    switch ((rlx_split_kind)e->tokenizer->settings->split[step].kind) {
    case RLX_SPLIT_REGEX:
        return split_matches(e, step, text, bytes, opens, match_regex);
    case RLX_SPLIT_LITERAL:
        return split_matches(e, step, text, bytes, opens, match_literal);
    case RLX_SPLIT_CLASS:
        return split_matches(e, step, text, bytes, opens, match_class);
    case RLX_SPLIT_COUNT:
        return split_matches(e, step, text, bytes, opens, match_count);
    case RLX_SPLIT_PREFIX:
        return split_prefix(e, step, text, bytes, opens);
    case RLX_SPLIT_BYTES:
        return split_bytes(e, step, text, bytes, opens);
    case RLX_SPLIT_METASPACE:
        return split_metaspace(e, step, text, bytes, opens);
    case RLX_SPLIT_NONE:
        break;
    }
    return RLX_FAIL(RLX_INTERNAL, "a pre-tokenizer step without a kind");
}

rlx_status rlx_encoding_split(rlx_encoding *e, const char *text, size_t bytes, bool opens)
{
    return bytes ? split_from(e, 0, text, bytes, opens) : RLX_OK;
}
