/* frontend/text/wordpiece.c: the longest token that begins a word, then the longest that continues
 * it, and so on; a word that has no such way is unknown as a whole. */
#include "frontend/text/encode.h"
#include "frontend/text/unicode.h"

/* The longest token from `node` on: its id, and the bytes that it takes; -1: there is none. */
static int32_t find_longest(const rlx_trie *t, uint32_t node, const char *p, size_t n, size_t *used)
{
    int32_t id = -1;
    for (size_t i = 0; i < n && (node = rlx_trie_step(t, node, (unsigned char)p[i])); i++) {
        if (t->values[node] < 0)
            continue;
        id = t->values[node];
        *used = i + 1;
    }
    return id;
}

static bool is_too_long(const char *p, size_t n, uint32_t most)
{
    uint32_t chars = 0;
    for (size_t i = 0; i < n && chars <= most; i++)
        chars += ((unsigned char)p[i] & 0xc0) != 0x80;
    return chars > most;
}

static rlx_status push_unknown(rlx_encoding *e)
{
    int32_t id = e->tokenizer->settings->unknown;
    return id >= 0 ? rlx_encoding_push(e, id) : RLX_OK;
}

rlx_status rlx_encoding_wordpiece(rlx_encoding *e, const char *piece, size_t bytes)
{
    const rlx_tokenizer *t = e->tokenizer;
    int64_t before = e->nids;
    if (is_too_long(piece, bytes, t->settings->max_chars))
        return push_unknown(e);
    for (size_t at = 0, used = 0; at < bytes; at += used) {
        bool known = t->model.nnodes > 1 && (!at || t->whole_prefix);
        int32_t id =
            known ? find_longest(&t->model, at ? t->continued : 0, piece + at, bytes - at, &used)
                  : -1;
        if (id < 0) {
            e->nids = before;
            return push_unknown(e);
        }
        RLX_TRY(rlx_encoding_push(e, id));
    }
    return RLX_OK;
}
