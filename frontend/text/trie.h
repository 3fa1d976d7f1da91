/* frontend/text/trie.h: texts to ids by prefix: a tree whose edges lie in one hash table, flat for
 * mapping. Node 0 is the root; an edge is (node, byte) -> node. */
#ifndef RLX_FRONTEND_TEXT_TRIE_H
#define RLX_FRONTEND_TEXT_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

typedef struct rlx_trie_edge {
    uint32_t key;   /* node << 8 | byte */
    uint32_t child; /* 0: an empty slot */
} rlx_trie_edge;

typedef struct rlx_trie {
    const rlx_trie_edge *edges; /* mask + 1 of them, not all used */
    uint32_t mask, nnodes;
    const int32_t *values; /* [nnodes]; -1: no text ends here */
} rlx_trie;

static inline uint32_t rlx_trie_hash(uint32_t key)
{
    return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32);
}

/* The node behind an edge, or 0. */
static inline uint32_t rlx_trie_step(const rlx_trie *t, uint32_t node, unsigned char byte)
{
    uint32_t key = node << 8 | byte;
    for (uint32_t i = rlx_trie_hash(key) & t->mask;; i = (i + 1) & t->mask) {
        const rlx_trie_edge *e = &t->edges[i];
        if (e->key == key || !e->child)
            return e->child;
    }
}

/* A tree that grows. {0} is empty until init. */
typedef struct rlx_trie_builder {
    rlx_trie_edge *edges;
    int32_t *values;
    uint32_t mask, nedges, nnodes, cap_nodes;
} rlx_trie_builder;
rlx_status rlx_trie_init(rlx_trie_builder *b);
void rlx_trie_deinit(rlx_trie_builder *b);
/* The value that the text has had before, or -1: then it gets `value`. */
rlx_status rlx_trie_add(rlx_trie_builder *b, const char *text, size_t bytes, int32_t value,
                        int32_t *before);
rlx_trie rlx_trie_view(const rlx_trie_builder *b);

#endif
