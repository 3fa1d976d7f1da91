#include "runtime/base/ir/ir_map.h"

#include <stdlib.h>

void rlx_ir_map_deinit(rlx_ir_map *m)
{
    free(m->keys);
    free(m->values);
    *m = (rlx_ir_map){0};
}

static size_t find(const rlx_ir_map *m, const void *key)
{
    uint64_t h = (uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 20) & (m->cap - 1);
    while (m->keys[i] && m->keys[i] != key)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static bool grow(rlx_ir_map *m)
{
    rlx_ir_map big = {.cap = m->cap ? m->cap * 2 : 64, .count = m->count};
    big.keys = calloc(big.cap, sizeof(*big.keys));
    big.values = calloc(big.cap, sizeof(*big.values));
    if (!big.keys || !big.values) {
        rlx_ir_map_deinit(&big);
        m->oom = true;
        return false;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->keys[i])
            continue;
        size_t j = find(&big, m->keys[i]);
        big.keys[j] = m->keys[i];
        big.values[j] = m->values[i];
    }
    rlx_ir_map_deinit(m);
    *m = big;
    return true;
}

intptr_t *rlx_ir_map_at(rlx_ir_map *m, const void *key)
{
    if (m->count * 2 >= m->cap && !grow(m))
        return NULL;
    size_t i = find(m, key);
    if (!m->keys[i]) {
        m->keys[i] = key;
        m->count++;
    }
    return &m->values[i];
}

intptr_t rlx_ir_map_get(const rlx_ir_map *m, const void *key, intptr_t absent)
{
    if (m->cap == 0)
        return absent;
    size_t i = find(m, key);
    return m->keys[i] ? m->values[i] : absent;
}
