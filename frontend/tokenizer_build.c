/* frontend/tokenizer_build.c: what every reader of a tokenizer file does: tokens and merges into
 * the tables, added tokens, pre-tokenizer steps, what each token decodes to. */
#include <stdio.h>
#include <string.h>

#include "frontend/tokenizer_impl.h"

rlx_status rlx_tokenizer_create(rlx_tokenizer **out)
{
    rlx_arena *arena = rlx_arena_create();
    rlx_tokenizer *t = arena ? RLX_NEW(arena, rlx_tokenizer) : NULL;
    *out = t;
    if (!t) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    t->arena = arena;
    t->unknown = -1;
    return RLX_OK;
}

rlx_status rlx_tokenizer_set_token(rlx_tokenizer *t, int32_t id, const char *text, size_t bytes)
{
    rlx_token *k = &t->tokens[id];
    char *copy = rlx_arena_alloc(t->arena, bytes + 1); /* a text may hold a NUL */
    if (!copy)
        return RLX_OOM();
    memcpy(copy, text, bytes);
    k->text = copy;
    k->text_bytes = (uint32_t)bytes;
    rlx_tokenizer_index(t, id);
    return RLX_OK;
}

bool rlx_tokenizer_find_sides(const rlx_tokenizer *t, const char *merge, size_t bytes,
                              int32_t *left, int32_t *right)
{
    const char *end = merge + bytes;
    for (const char *b = merge; (b = memchr(b, ' ', (size_t)(end - b))); b++) {
        *left = rlx_tokenizer_lookup(t, merge, (size_t)(b - merge));
        *right = rlx_tokenizer_lookup(t, b + 1, (size_t)(end - b - 1));
        if (*left >= 0 && *right >= 0)
            return true;
    }
    return false;
}

rlx_status rlx_tokenizer_add_merge(rlx_tokenizer *t, int32_t left, int32_t right, int32_t rank,
                                   rlx_text *joined)
{
    rlx_text_clear(joined);
    rlx_text_put_bytes(joined, t->tokens[left].text, t->tokens[left].text_bytes);
    rlx_text_put_bytes(joined, t->tokens[right].text, t->tokens[right].text_bytes);
    if (joined->oom)
        return RLX_OOM();
    int32_t id = rlx_tokenizer_lookup(t, joined->data, joined->len);
    if (id < 0)
        return RLX_FAIL(RLX_INVALID_FILE, "merge %d makes \"%s\", which is not in the vocabulary",
                        rank, joined->data);
    rlx_tokenizer_put_merge(t, left, right, rank, id);
    return RLX_OK;
}

rlx_status rlx_tokenizer_add_added(rlx_tokenizer *t, rlx_added_set *set, const rlx_added_token *a)
{
    rlx_added_token *copy = rlx_arena_copy(t->arena, a, sizeof *a);
    char *text = rlx_arena_copy(t->arena, a->text, a->bytes);
    if (!copy || !text)
        return RLX_OOM();
    copy->text = text;
    rlx_added_token **at = &set->by_byte[(unsigned char)text[0]];
    while (*at && (*at)->bytes >= a->bytes)
        at = &(*at)->next;
    copy->next = *at;
    *at = copy;
    return RLX_OK;
}

rlx_status rlx_tokenizer_add_split(rlx_tokenizer *t, rlx_split_step **out)
{
    if (t->nsplit == RLX_MAX_STEPS)
        return RLX_FAIL(RLX_UNSUPPORTED, "more than %d pre-tokenizer steps", RLX_MAX_STEPS);
    *out = &t->split[t->nsplit++];
    return RLX_OK;
}

rlx_status rlx_tokenizer_add_split_regex(rlx_tokenizer *t, const char *pattern)
{
    rlx_split_step *s = NULL;
    RLX_TRY(rlx_tokenizer_add_split(t, &s));
    s->kind = RLX_SPLIT_REGEX;
    return rlx_tokenizer_compile_regex(pattern, &s->regex);
}

void rlx_tokenizer_find_byte_ids(rlx_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        t->byte_id[b] = rlx_tokenizer_find(t, name);
    }
}

/* ---- what tokens decode to */

/* Byte-level: the alphabet's characters to bytes; a text with any other character stands for
 * itself. */
static bool from_alphabet(const rlx_token *k, rlx_text *out)
{
    uint32_t c;
    rlx_text_clear(out);
    for (size_t i = 0, n; i < k->text_bytes; i += n) {
        n = rlx_utf8_read(k->text + i, k->text_bytes - i, &c);
        int byte = n ? rlx_byte_alphabet_get(c) : -1;
        if (byte < 0)
            return false;
        rlx_text_put_bytes(out, &(char){(char)byte}, 1);
    }
    return true;
}

/* "<0x41>" */
static bool is_byte_name(const rlx_token *k, unsigned *byte)
{
    int end = 0;
    return k->text_bytes == 6 && k->text[0] == '<' &&
           sscanf(k->text, "<0x%2X>%n", byte, &end) == 1 && end == 6;
}

static rlx_status decode_token(rlx_tokenizer *t, rlx_token *k, rlx_text *out)
{
    unsigned byte;
    const char *space = t->decode_space;
    size_t mark = space ? strlen(space) : 0;
    rlx_text_clear(out);
    if (t->decode_bytes) {
        if (!from_alphabet(k, out)) {
            rlx_text_clear(out);
            rlx_text_put_bytes(out, k->text, k->text_bytes);
        }
    } else if (t->decode_fallback && is_byte_name(k, &byte)) {
        rlx_text_put_bytes(out, &(char){(char)byte}, 1);
    } else {
        for (size_t i = 0; i < k->text_bytes;) {
            bool hit = mark && k->text_bytes - i >= mark && !memcmp(k->text + i, space, mark);
            rlx_text_put_bytes(out, hit ? " " : k->text + i, 1);
            i += hit ? mark : 1;
        }
    }
    k->bytes = rlx_arena_copy(t->arena, out->len ? out->data : "", out->len + !out->len);
    k->nbytes = (uint32_t)out->len;
    return out->oom || !k->bytes ? RLX_OOM() : RLX_OK;
}

/* Does a text hold a mark behind anything but marks? */
static bool has_inner_mark(const char *text, size_t bytes, const char *mark, size_t n)
{
    const char *end = text + bytes, *p = text;
    for (const char *hit; (hit = memmem(p, (size_t)(end - p), mark, n)); p = hit + n)
        if (hit != p)
            return true;
    return false;
}

/* Unknown characters are fused across words unless the mark parts them: it must be a token. */
static void find_word_mark(rlx_tokenizer *t)
{
    const char *mark = t->decode_space;
    size_t n = mark ? strlen(mark) : 0;
    if (!n || rlx_tokenizer_find(t, mark) < 0)
        return;
    for (int64_t i = 0; i < t->ntokens; i++)
        if (t->tokens[i].text &&
            has_inner_mark(t->tokens[i].text, t->tokens[i].text_bytes, mark, n))
            return;
    t->word_mark = mark;
}

rlx_status rlx_tokenizer_finish(rlx_tokenizer *t)
{
    rlx_text bytes = {0};
    rlx_status st = RLX_OK;
    for (int64_t i = 0; i < t->ntokens && !st; i++)
        if (t->tokens[i].text)
            st = decode_token(t, &t->tokens[i], &bytes);
    rlx_text_deinit(&bytes);
    find_word_mark(t);
    return st;
}
