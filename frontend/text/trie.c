/* frontend/text/trie.c: a tree of texts that grows. */
#include <stdlib.h>

#include "frontend/text/trie.h"

enum { MAX_NODES = 1 << 24 }; /* a node's number and a byte share 32 bits */

rlx_status rlx_trie_init(rlx_trie_builder *b)
{
    *b = (rlx_trie_builder){.mask = 63, .nnodes = 1, .cap_nodes = 64};
    b->edges = calloc(b->mask + 1, sizeof *b->edges);
    b->values = malloc(b->cap_nodes * sizeof *b->values);
    if (!b->edges || !b->values)
        return RLX_OOM();
    b->values[0] = -1;
    return RLX_OK;
}

void rlx_trie_deinit(rlx_trie_builder *b)
{
    free(b->edges);
    free(b->values);
    *b = (rlx_trie_builder){0};
}

rlx_trie rlx_trie_view(const rlx_trie_builder *b)
{
    return (rlx_trie){b->edges, b->mask, b->nnodes, b->values};
}

static void put_edge(rlx_trie_edge *edges, uint32_t mask, rlx_trie_edge e)
{
    uint32_t i = rlx_trie_hash(e.key) & mask;
    while (edges[i].child)
        i = (i + 1) & mask;
    edges[i] = e;
}

static rlx_status grow_edges(rlx_trie_builder *b)
{
    uint32_t mask = b->mask * 2 + 1;
    rlx_trie_edge *edges = calloc((size_t)mask + 1, sizeof *edges);
    if (!edges)
        return RLX_OOM();
    for (uint32_t i = 0; i <= b->mask; i++)
        if (b->edges[i].child)
            put_edge(edges, mask, b->edges[i]);
    free(b->edges);
    b->edges = edges;
    b->mask = mask;
    return RLX_OK;
}

static rlx_status add_node(rlx_trie_builder *b, uint32_t parent, unsigned char byte, uint32_t *out)
{
    if (b->nnodes == MAX_NODES)
        return RLX_FAIL(RLX_UNSUPPORTED, "a vocabulary of more than %d prefixes", MAX_NODES);
    if (b->nnodes == b->cap_nodes) {
        int32_t *values = realloc(b->values, (size_t)b->cap_nodes * 2 * sizeof *values);
        if (!values)
            return RLX_OOM();
        b->values = values;
        b->cap_nodes *= 2;
    }
    if (++b->nedges > b->mask / 4 * 3)
        RLX_TRY(grow_edges(b));
    *out = b->nnodes++;
    b->values[*out] = -1;
    put_edge(b->edges, b->mask, (rlx_trie_edge){parent << 8 | byte, *out});
    return RLX_OK;
}

rlx_status rlx_trie_add(rlx_trie_builder *b, const char *text, size_t bytes, int32_t value,
                        int32_t *before)
{
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        rlx_trie t = rlx_trie_view(b);
        uint32_t next = rlx_trie_step(&t, node, (unsigned char)text[i]);
        if (!next)
            RLX_TRY(add_node(b, node, (unsigned char)text[i], &next));
        node = next;
    }
    *before = b->values[node];
    if (*before < 0)
        b->values[node] = value;
    return RLX_OK;
}
