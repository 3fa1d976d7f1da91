/* frontend/text/unigram.c: the way through a piece whose tokens' scores sum to the most. A
 * character that no token is alone costs `unknown_score`; neighbours of such are one unknown token.
 * Of equal ways the first found stays, as in the implementations that vocabularies come from. */
#include <string.h>

#include "frontend/text/encode.h"
#include "frontend/text/unicode.h"

typedef struct rlx_unigram_node { /* the best way that ends here */
    double score;
    int32_t from; /* -1: none */
    int32_t id;   /* of its last token */
} rlx_unigram_node;

static void offer(rlx_unigram_node *to, double score, int32_t from, int32_t id)
{
    if (to->from < 0 || score > to->score)
        *to = (rlx_unigram_node){score, from, id};
}

static void find_ways(const rlx_tokenizer *t, rlx_unigram_node *nodes, const char *p, size_t n)
{
    const rlx_text_settings *s = t->settings;
    bool any = t->model.nnodes > 1;
    for (size_t i = 0, len; i < n; i += len) {
        double so_far = nodes[i].score;
        bool single = false;
        uint32_t node = 0;
        len = rlx_utf8_read(p + i, n - i, NULL);
        for (size_t j = i; any && j < n; j++) {
            node = rlx_trie_step(&t->model, node, (unsigned char)p[j]);
            if (!node)
                break;
            int32_t id = t->model.values[node];
            if (id < 0)
                continue;
            offer(&nodes[j + 1], t->tokens[id].score + so_far, (int32_t)i, id);
            single |= j + 1 == i + len;
        }
        if (!single)
            offer(&nodes[i + len], s->unknown_score + so_far, (int32_t)i, -1);
    }
}

static rlx_status push_unknown(rlx_encoding *e, const char *p, size_t n)
{
    bool spelled;
    RLX_TRY(rlx_encoding_push_bytes(e, p, n, &spelled));
    if (spelled || e->tokenizer->settings->unknown < 0)
        return RLX_OK;
    return rlx_encoding_push(e, e->tokenizer->settings->unknown);
}

/* Turns the chain from the end around: `from` then says where a node's successor is. */
static void turn(rlx_unigram_node *nodes, size_t n)
{
    int32_t at = (int32_t)n, next = -1, id = -1;
    for (;;) {
        rlx_unigram_node here = nodes[at];
        nodes[at].from = next;
        nodes[at].id = id;
        if (at == 0)
            return;
        next = at;
        id = here.id;
        at = here.from;
    }
}

rlx_status rlx_encoding_unigram(rlx_encoding *e, const char *piece, size_t bytes)
{
    const rlx_text_settings *s = e->tokenizer->settings;
    RLX_ENCODING_GROW(e->nodes, e->cap_nodes, (int64_t)bytes + 1);
    for (size_t i = 0; i <= bytes; i++)
        e->nodes[i] = (rlx_unigram_node){.from = -1};
    find_ways(e->tokenizer, e->nodes, piece, bytes);
    turn(e->nodes, bytes);
    int32_t unknown_from = -1;
    for (int32_t at = 0; at >= 0; at = e->nodes[at].from) {
        int32_t id = e->nodes[at].id;
        bool ends = e->nodes[at].from < 0;
        bool unknown = !ends && (id < 0 || id == s->unknown);
        if (unknown_from >= 0 && !(unknown && s->fuse_unknown)) {
            RLX_TRY(push_unknown(e, piece + unknown_from, (size_t)(at - unknown_from)));
            unknown_from = -1;
        }
        if (unknown && unknown_from < 0)
            unknown_from = at;
        if (!unknown && !ends)
            RLX_TRY(rlx_encoding_push(e, id));
    }
    return RLX_OK;
}
