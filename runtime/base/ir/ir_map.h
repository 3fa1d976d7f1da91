/* runtime/base/ir/ir_map.h: a map from pointers, for facts of IR values and nodes that must not touch `scratch`. */
#ifndef RLX_BASE_IR_MAP_H
#define RLX_BASE_IR_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeros are an empty one. */
typedef struct rlx_ir_map {
    const void **keys; /* NULL: free */
    intptr_t *values;
    size_t count, cap;
    bool oom; /* an insertion failed; finds go on working */
} rlx_ir_map;

void rlx_ir_map_deinit(rlx_ir_map *m);
/* Where the value of `key` lies, made 0 when new; NULL when out of memory. Valid until the next
 * call. */
intptr_t *rlx_ir_map_at(rlx_ir_map *m, const void *key);
/* The value of `key`, or `absent`. */
intptr_t rlx_ir_map_get(const rlx_ir_map *m, const void *key, intptr_t absent);

#endif
