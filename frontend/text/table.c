/* frontend/text/table.c: a block of memory to a tokenizer in use. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "frontend/text/normalize.h"
#include "frontend/text/table.h"

/* ---- checksum */

/* Every step of a lane can be undone, so that no single change of the bytes goes unseen; fast
 * rather than safe against intent: who can write the file can write its checksum. */
static uint64_t mix(uint64_t lane, uint64_t word)
{
    lane = (lane ^ word) * 0x9e3779b97f4a7c15u;
    return lane << 29 | lane >> 35;
}

static uint64_t checksum(const void *p, size_t bytes)
{
    const char *s = p;
    uint64_t lane[8] = {1, 2, 3, 4, 5, 6, 7, 8}, w;
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64)
        for (int k = 0; k < 8; k++) {
            memcpy(&w, s + i + 8 * k, 8);
            lane[k] = mix(lane[k], w);
        }
    uint64_t sum = bytes;
    for (int k = 0; k < 8; k++)
        sum = mix(sum, lane[k]);
    for (; i < bytes; i++)
        sum = mix(sum, (unsigned char)s[i]);
    return sum;
}

enum { SUMMED_FROM = offsetof(rlx_table, checksum) + sizeof(uint64_t) };

void rlx_table_seal(void *block, size_t bytes)
{
    rlx_table *head = block;
    head->checksum = checksum((char *)block + SUMMED_FROM, bytes - SUMMED_FROM);
}

/* ---- indices */

uint64_t rlx_text_hash(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint64_t h = 0xcbf29ce484222325u ^ n, w;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    for (w = 0; n; n--)
        w = w << 8 | *s++;
    h = (h ^ w) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static bool span_is(const rlx_tokenizer *t, rlx_span s, const char *text, size_t bytes)
{
    return s.bytes == bytes && !memcmp(rlx_table_text(t, s), text, bytes);
}

int32_t rlx_table_find_text(const rlx_tokenizer *t, const char *text, size_t bytes)
{
    uint32_t i = (uint32_t)rlx_text_hash(text, bytes) & t->text_mask;
    for (int32_t id; (id = t->text_slots[i]) >= 0; i = (i + 1) & t->text_mask)
        if (span_is(t, t->tokens[id].text, text, bytes))
            return id;
    return -1;
}

int32_t rlx_table_find_key(const rlx_tokenizer *t, const char *key, size_t bytes)
{
    bool by_key = t->settings->bytes;
    uint32_t i = (uint32_t)rlx_text_hash(key, bytes) & t->key_mask;
    for (int32_t id; (id = t->key_slots[i]) >= 0; i = (i + 1) & t->key_mask) {
        const rlx_token *k = &t->tokens[id];
        if (span_is(t, by_key ? k->key : k->text, key, bytes))
            return id;
    }
    return -1;
}

/* ---- opening */

static rlx_status broken(const char *what)
{
    return RLX_FAIL(RLX_INVALID_FILE, "the compiled tokenizer %s", what);
}

static rlx_status check_head(const rlx_table *h, size_t bytes)
{
    static const rlx_table known = RLX_TABLE_HEAD;
    if (bytes < sizeof *h || memcmp(h->magic, known.magic, sizeof h->magic))
        return broken("is none");
    if (memcmp(h, &known, offsetof(rlx_table, bytes)) != 0)
        return broken("is of another version");
    if (h->bytes != bytes)
        return broken("is cut off");
    if (h->checksum != checksum((const char *)h + SUMMED_FROM, bytes - SUMMED_FROM))
        return broken("is damaged: its checksum differs");
    return RLX_OK;
}

/* A section of elements of `size`, inside the block. */
static bool read_section(const rlx_table *h, rlx_section s, size_t size, const void **out)
{
    *out = (const char *)h + s.at;
    return s.at <= h->bytes && s.at % 8 == 0 && s.count <= (h->bytes - s.at) / size;
}

static bool read_slots(const rlx_table *h, rlx_section s, const int32_t **slots, uint32_t *mask)
{
    const void *p = NULL;
    bool ok = read_section(h, s, sizeof **slots, &p) && !(s.count & (s.count - 1)) &&
              s.count <= UINT32_MAX;
    *slots = p;
    *mask = (uint32_t)(s.count - 1);
    return ok;
}

static bool read_trie(const rlx_table *h, const rlx_flat_trie *f, rlx_trie *t)
{
    const void *edges = NULL, *values = NULL;
    bool ok = read_section(h, f->edges, sizeof *t->edges, &edges) &&
              read_section(h, f->values, sizeof *t->values, &values) &&
              !(f->edges.count & (f->edges.count - 1));
    *t = (rlx_trie){edges, (uint32_t)(f->edges.count - 1), (uint32_t)f->values.count, values};
    return ok;
}

static bool read_added(const rlx_table *h, const rlx_flat_trie *f, rlx_added_set *s)
{
    if (!read_trie(h, f, &s->trie))
        return false;
    s->any = s->trie.nnodes > 1;
    for (int b = 0; b < 256 && s->any; b++)
        s->first[b] = rlx_trie_step(&s->trie, 0, (unsigned char)b) != 0;
    return true;
}

static bool read_sections(rlx_tokenizer *t)
{
    const rlx_table *h = t->head;
    const void *strings = NULL, *tokens = NULL, *merges = NULL, *added = NULL;
    bool ok = read_section(h, h->strings, 1, &strings) &&
              read_section(h, h->tokens, sizeof *t->tokens, &tokens) &&
              read_section(h, h->merges, sizeof *t->merges, &merges) &&
              read_section(h, h->added, sizeof *t->added, &added) &&
              read_slots(h, h->text_slots, &t->text_slots, &t->text_mask) &&
              read_slots(h, h->key_slots, &t->key_slots, &t->key_mask) &&
              read_slots(h, h->merge_slots, &t->merge_slots, &t->merge_mask) &&
              read_trie(h, &h->model, &t->model) && read_added(h, &h->raw, &t->raw) &&
              read_added(h, &h->normalized, &t->normalized);
    if (!ok)
        return false;
    t->settings = &h->settings;
    t->strings = strings;
    t->tokens = tokens;
    t->ntokens = (int64_t)h->tokens.count;
    t->merges = merges;
    t->added = added;
    return true;
}

/* What pieces start with, and where words go on. */
static void find_units(rlx_tokenizer *t)
{
    rlx_span p = t->settings->prefix;
    bool bpe = t->settings->model == RLX_MODEL_BPE;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        t->unit[b] = bpe && (b < 0x80 || t->settings->bytes) ? rlx_table_find_key(t, &c, 1) : -1;
    }
    t->whole_prefix = !bpe && t->model.nnodes > 1;
    for (uint32_t i = 0; i < p.bytes && t->whole_prefix; i++) {
        t->continued =
            rlx_trie_step(&t->model, t->continued, (unsigned char)rlx_table_text(t, p)[i]);
        t->whole_prefix = t->continued != 0;
    }
}

static rlx_status compile_splits(rlx_tokenizer *t)
{
    for (uint32_t i = 0; i < t->settings->nsplit; i++) {
        const rlx_text_step *s = &t->settings->split[i];
        if (s->kind == RLX_SPLIT_REGEX)
            RLX_TRY(rlx_regex_compile(rlx_table_text(t, s->a), &t->split_regex[i]));
    }
    return RLX_OK;
}

static rlx_status open_table(rlx_tokenizer *t, size_t bytes)
{
    RLX_TRY(check_head(t->head, bytes));
    if (!read_sections(t))
        return broken("has a section outside of it");
    find_units(t);
    RLX_TRY(rlx_normalizer_init(t));
    return compile_splits(t);
}

static void free_block(const void *block, size_t bytes, bool mapped)
{
    if (mapped)
        munmap((void *)block, bytes);
    else
        free((void *)block);
}

void rlx_tokenizer_destroy(rlx_tokenizer *t)
{
    if (!t)
        return;
    rlx_normalizer_deinit(t);
    for (int i = 0; i < RLX_MAX_STEPS; i++)
        pcre2_code_free(t->split_regex[i]);
    free_block(t->head, t->bytes, t->mapped);
    free(t);
}

rlx_status rlx_table_open(void *block, size_t bytes, bool mapped, rlx_tokenizer **out)
{
    rlx_tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t) {
        free_block(block, bytes, mapped);
        return RLX_OOM();
    }
    t->head = block;
    t->bytes = bytes;
    t->mapped = mapped;
    rlx_status st = open_table(t, bytes);
    if (st)
        rlx_tokenizer_destroy(t);
    else
        *out = t;
    return st;
}
