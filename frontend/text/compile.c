/* frontend/text/compile.c: a description to a table: indices, tries, what tokens decode to, and
 * where each part lies. */
#include <stdlib.h>
#include <string.h>

#include "frontend/text/description.h"
#include "frontend/text/normalize.h"

/* U+2581, which stands for a space. */
#define MARK "\xe2\x96\x81"

typedef struct compiler {
    rlx_description *d;
    int32_t *key_slots, *merge_slots;
    uint32_t nkeys, nmerge_slots;
    rlx_trie_builder model, raw, normalized;
} compiler;

static bool is_model_token(const rlx_token *k)
{
    return (k->flags & RLX_TOKEN_PRESENT) && (k->flags & RLX_TOKEN_MODEL);
}

/* ---- what tokens decode to */

/* "<0x41>" */
static bool read_byte_name(const char *text, size_t n, char *byte)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    if (n != 6 || memcmp(text, "<0x", 3) || text[5] != '>')
        return false;
    unsigned value = 0;
    for (int i = 3; i < 5; i++) {
        const char *p = memchr(digits, text[i], 22);
        if (!p)
            return false;
        value = value * 16 + (unsigned)(p - digits < 16 ? p - digits : p - digits - 6);
    }
    *byte = (char)value;
    return true;
}

static void replace(const char *s, size_t n, const char *a, size_t na, const char *b, size_t nb,
                    rlx_text *out)
{
    for (size_t i = 0; i < n;) {
        bool hit = na && n - i >= na && !memcmp(s + i, a, na);
        rlx_text_put_bytes(out, hit ? b : s + i, hit ? nb : 1);
        i += hit ? na : 1;
    }
}

/* The joins that a tokenizer of words gets wrong, in this order. */
static void clean_up(const char *s, size_t n, rlx_text *out)
{
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    rlx_text now = {0}, next = {0};
    rlx_text_put_bytes(&now, s, n);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        rlx_text_clear(&next);
        replace(now.data, now.len, pairs[i][0], strlen(pairs[i][0]), pairs[i][1],
                strlen(pairs[i][1]), &next);
        rlx_text t = now;
        now = next;
        next = t;
    }
    rlx_text_put_bytes(out, now.data, now.len);
    out->oom |= now.oom || next.oom;
    rlx_text_deinit(&now);
    rlx_text_deinit(&next);
}

static bool begins_with(const char *s, size_t n, const char *with, size_t m)
{
    return m && n >= m && !memcmp(s, with, m);
}

static void strip(const rlx_decode_step *k, const char *what, const char *s, size_t n,
                  rlx_text *out)
{
    size_t m = k->a.bytes;
    for (uint32_t i = 0; i < k->n && begins_with(s, n, what, m); i++) {
        s += m;
        n -= m;
    }
    for (uint32_t i = 0; i < k->m && n >= m && begins_with(s + n - m, m, what, m); i++)
        n -= m;
    rlx_text_put_bytes(out, s, n);
}

/* One step of one token. */
static void decode(const rlx_description *d, const rlx_decode_step *k, const char *s, size_t n,
                   rlx_text *out)
{
    const char *a = rlx_description_get(d, k->a), *b = rlx_description_get(d, k->b);
    char byte;
    switch ((rlx_decode_kind)k->kind) {
    case RLX_DECODE_BYTES:
        if (!rlx_byte_alphabet_read(s, n, out))
            rlx_text_put_bytes(out, s, n); /* a text with any other character: itself */
        break;
    case RLX_DECODE_REPLACE:
        replace(s, n, a, k->a.bytes, b, k->b.bytes, out);
        break;
    case RLX_DECODE_FALLBACK:
        if (read_byte_name(s, n, &byte))
            rlx_text_put_bytes(out, &byte, 1);
        else
            rlx_text_put_bytes(out, s, n);
        break;
    case RLX_DECODE_STRIP:
        strip(k, a, s, n, out);
        break;
    case RLX_DECODE_WORDPIECE:
        if (begins_with(s, n, a, k->a.bytes)) {
            rlx_text_put_bytes(out, s + k->a.bytes, n - k->a.bytes);
        } else {
            rlx_text_put(out, " ");
            rlx_text_put_bytes(out, s, n);
        }
        break;
    case RLX_DECODE_CLEANUP:
        clean_up(s, n, out);
        break;
    case RLX_DECODE_SPACE:
        rlx_text_put(out, " ");
        rlx_text_put_bytes(out, s, n);
        break;
    }
}

static rlx_status decode_tokens(rlx_description *d)
{
    rlx_text now = {0}, next = {0};
    for (int64_t i = 0; i < d->ntokens; i++) {
        rlx_token *k = &d->tokens[i];
        if (!(k->flags & RLX_TOKEN_PRESENT))
            continue;
        const char *text = rlx_description_get(d, k->text);
        rlx_text_clear(&now);
        rlx_text_put_bytes(&now, text, k->text.bytes);
        for (uint32_t j = 0; j < d->settings.ndecode; j++) {
            rlx_text_clear(&next);
            decode(d, &d->settings.decode[j], now.len ? now.data : "", now.len, &next);
            rlx_text t = now;
            now = next;
            next = t;
        }
        bool same = now.len == k->text.bytes && (!now.len || !memcmp(now.data, text, now.len));
        k->bytes = same ? k->text : rlx_description_text(d, now.len ? now.data : "", now.len);
    }
    bool oom = now.oom || next.oom || d->strings.oom;
    rlx_text_deinit(&now);
    rlx_text_deinit(&next);
    return oom ? RLX_OOM() : RLX_OK;
}

/* ---- BPE */

/* When the byte alphabet is the last thing that happens to a piece, tokens are matched by the bytes
 * they stand for, and pieces need not be spelled in it. */
static void use_bytes(rlx_description *d)
{
    rlx_text_settings *s = &d->settings;
    s->bytes = s->model == RLX_MODEL_BPE && s->nsplit &&
               s->split[s->nsplit - 1].kind == RLX_SPLIT_BYTES && !s->prefix.bytes;
    if (s->bytes)
        s->nsplit--;
}

/* What the model matches; false: no piece can hold it. */
static bool read_key(rlx_description *d, rlx_token *k, rlx_text *scratch)
{
    if (!d->settings.bytes)
        return true;
    rlx_text_clear(scratch);
    if (!rlx_byte_alphabet_read(rlx_description_get(d, k->text), k->text.bytes, scratch))
        return false;
    bool same = scratch->len == k->bytes.bytes && scratch->data &&
                !memcmp(scratch->data, rlx_description_get(d, k->bytes), scratch->len);
    k->key = same ? k->bytes : rlx_description_text(d, scratch->data, scratch->len);
    return true;
}

static void put_slot(int32_t *slots, uint32_t mask, uint64_t hash, int32_t value)
{
    uint32_t i = (uint32_t)hash & mask;
    while (slots[i] >= 0)
        i = (i + 1) & mask;
    slots[i] = value;
}

static int32_t *make_slots(uint64_t least, uint32_t *n)
{
    *n = 16;
    while (*n < least)
        *n *= 2;
    int32_t *slots = malloc(*n * sizeof *slots);
    if (slots)
        memset(slots, 0xff, *n * sizeof *slots);
    return slots;
}

static rlx_status index_keys(compiler *c)
{
    rlx_description *d = c->d;
    rlx_text scratch = {0};
    c->key_slots = make_slots((uint64_t)d->ntokens * 2, &c->nkeys);
    if (!c->key_slots)
        return RLX_OOM();
    for (int64_t i = 0; i < d->ntokens; i++) {
        rlx_token *k = &d->tokens[i];
        if (!is_model_token(k) || !read_key(d, k, &scratch))
            continue;
        rlx_span key = d->settings.bytes ? k->key : k->text;
        put_slot(c->key_slots, c->nkeys - 1, rlx_text_hash(rlx_description_get(d, key), key.bytes),
                 (int32_t)i);
    }
    bool oom = scratch.oom || d->strings.oom;
    rlx_text_deinit(&scratch);
    return oom ? RLX_OOM() : RLX_OK;
}

static rlx_status index_merges(compiler *c)
{
    const rlx_description *d = c->d;
    c->merge_slots = make_slots((uint64_t)d->nmerges * 3 / 2, &c->nmerge_slots);
    if (!c->merge_slots)
        return RLX_OOM();
    uint32_t mask = c->nmerge_slots - 1;
    for (int64_t i = d->nmerges - 1; i >= 0; i--) { /* of equal pairs the last counts */
        const rlx_merge *m = &d->merges[i];
        uint32_t at = (uint32_t)rlx_merge_hash(m->left, m->right) & mask;
        bool known = false;
        for (; c->merge_slots[at] >= 0 && !known; at = (at + 1) & mask) {
            const rlx_merge *o = &d->merges[c->merge_slots[at]];
            known = o->left == m->left && o->right == m->right;
        }
        if (!known)
            c->merge_slots[at] = (int32_t)i;
    }
    return RLX_OK;
}

/* Does a text hold a mark behind anything but marks? */
static bool has_inner_mark(const char *text, size_t bytes)
{
    const char *end = text + bytes, *p = text;
    for (const char *hit; (hit = memmem(p, (size_t)(end - p), MARK, 3)); p = hit + 3)
        if (hit != p)
            return true;
    return false;
}

/* Where nothing merges across the beginning of a word, words are merged one by one. Unknown
 * characters are fused across words unless the mark parts them: it must be a token. */
static void find_mark(rlx_description *d)
{
    int32_t id = rlx_description_find(d, MARK, 3);
    if (d->settings.bytes || d->settings.prefix.bytes || d->settings.suffix.bytes || id < 0 ||
        !is_model_token(&d->tokens[id]))
        return;
    for (int64_t i = 0; i < d->ntokens; i++)
        if (is_model_token(&d->tokens[i]) &&
            has_inner_mark(rlx_description_get(d, d->tokens[i].text), d->tokens[i].text.bytes))
            return;
    d->settings.mark = rlx_description_text(d, MARK, 3);
}

static void find_byte_ids(rlx_description *d)
{
    static const char digits[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; b++) {
        const char name[6] = {'<', '0', 'x', digits[b / 16], digits[b % 16], '>'};
        d->settings.byte_id[b] = rlx_description_find(d, name, sizeof name);
    }
}

/* ---- the other models */

static rlx_status index_pieces(compiler *c)
{
    const rlx_description *d = c->d;
    int32_t before;
    RLX_TRY(rlx_trie_init(&c->model));
    for (int64_t i = 0; i < d->ntokens; i++) {
        const rlx_token *k = &d->tokens[i];
        if (is_model_token(k) && k->text.bytes)
            RLX_TRY(rlx_trie_add(&c->model, rlx_description_get(d, k->text), k->text.bytes,
                                 (int32_t)i, &before));
    }
    return RLX_OK;
}

static bool has_sentencepiece(const rlx_text_settings *s)
{
    for (uint32_t i = 0; i < s->nnormal; i++)
        if (s->normal[i].kind == RLX_NORMAL_SENTENCEPIECE)
            return true;
    return false;
}

/* Those that match normalized text are normalized themselves; sentencepiece's normalizer leaves
 * its user-defined ones as they are. */
static rlx_status index_added(compiler *c)
{
    rlx_description *d = c->d;
    rlx_tokenizer t = {.settings = &d->settings, .strings = d->strings.data};
    rlx_text normal = {0};
    bool as_is = has_sentencepiece(&d->settings);
    int32_t before;
    rlx_status st;
    RLX_TRY_TO(done, rlx_trie_init(&c->raw));
    RLX_TRY_TO(done, rlx_trie_init(&c->normalized));
    RLX_TRY_TO(done, rlx_normalizer_init(&t));
    for (int64_t i = 0; i < d->nadded; i++) {
        const rlx_added_token *a = &d->added[i];
        const char *text = rlx_description_get(d, a->text);
        size_t n = a->text.bytes;
        if (!(a->flags & RLX_ADDED_NORMALIZED)) {
            RLX_TRY_TO(done, rlx_trie_add(&c->raw, text, n, (int32_t)i, &before));
            continue;
        }
        if (!as_is) {
            RLX_TRY_TO(done, rlx_tokenizer_normalize(&t, text, n, &normal));
            text = normal.data ? normal.data : "";
            n = normal.len;
        }
        if (n) /* an empty one would be everywhere */
            RLX_TRY_TO(done, rlx_trie_add(&c->normalized, text, n, (int32_t)i, &before));
    }
done:
    rlx_normalizer_deinit(&t);
    rlx_text_deinit(&normal);
    return st;
}

/* ---- the block */

static void place(rlx_text *out, rlx_section *s, const void *data, uint64_t count, size_t size)
{
    static const char zeros[8];
    rlx_text_put_bytes(out, zeros, (8 - out->len % 8) % 8);
    *s = (rlx_section){out->len, count};
    if (count)
        rlx_text_put_bytes(out, data, (size_t)count * size);
}

static void place_trie(rlx_text *out, rlx_flat_trie *f, const rlx_trie_builder *b)
{
    bool any = b->nnodes > 1;
    place(out, &f->edges, b->edges, any ? (uint64_t)b->mask + 1 : 0, sizeof *b->edges);
    place(out, &f->values, b->values, any ? b->nnodes : 0, sizeof *b->values);
}

static rlx_status lay_out(const compiler *c, void **block, size_t *bytes)
{
    const rlx_description *d = c->d;
    rlx_text out = {0};
    rlx_table head = RLX_TABLE_HEAD;
    head.settings = d->settings;
    memcpy(head.source, d->source, sizeof head.source);
    rlx_text_put_bytes(&out, &head, sizeof head);
    place(&out, &head.strings, d->strings.data, d->strings.len, 1);
    place(&out, &head.tokens, d->tokens, (uint64_t)d->ntokens, sizeof *d->tokens);
    place(&out, &head.text_slots, d->slots, (uint64_t)d->slot_mask + 1, sizeof *d->slots);
    place(&out, &head.key_slots, c->key_slots, c->nkeys, sizeof *c->key_slots);
    place(&out, &head.merges, d->merges, (uint64_t)d->nmerges, sizeof *d->merges);
    place(&out, &head.merge_slots, c->merge_slots, c->nmerge_slots, sizeof *c->merge_slots);
    place(&out, &head.added, d->added, (uint64_t)d->nadded, sizeof *d->added);
    place_trie(&out, &head.model, &c->model);
    place_trie(&out, &head.raw, &c->raw);
    place_trie(&out, &head.normalized, &c->normalized);
    head.bytes = out.len;
    if (out.oom) {
        rlx_text_deinit(&out);
        return RLX_OOM();
    }
    memcpy(out.data, &head, sizeof head);
    rlx_table_seal(out.data, out.len);
    *bytes = out.len;
    *block = rlx_text_take(&out);
    return RLX_OK;
}

static rlx_status make_indices(compiler *c)
{
    rlx_description *d = c->d;
    if (!d->ntokens)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "%s", "there is no vocabulary");
    RLX_TRY(decode_tokens(d));
    if (d->settings.byte_fallback)
        find_byte_ids(d);
    if (d->settings.model == RLX_MODEL_BPE) {
        use_bytes(d);
        find_mark(d);
        RLX_TRY(index_keys(c));
        RLX_TRY(index_merges(c));
    } else if (d->settings.model == RLX_MODEL_WORDS) {
        RLX_TRY(index_keys(c));
    } else {
        RLX_TRY(index_pieces(c));
    }
    return index_added(c);
}

rlx_status rlx_description_compile(rlx_description *d, void **block, size_t *bytes)
{
    compiler c = {.d = d};
    rlx_status st = make_indices(&c);
    if (!st)
        st = d->strings.oom ? RLX_OOM() : lay_out(&c, block, bytes);
    free(c.key_slots);
    free(c.merge_slots);
    rlx_trie_deinit(&c.model);
    rlx_trie_deinit(&c.raw);
    rlx_trie_deinit(&c.normalized);
    return st;
}
