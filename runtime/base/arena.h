/* runtime/base/arena.h: bump allocation; everything in an arena dies together.
 * One thread at a time. Memory is zeroed. NULL means out of memory. */
#ifndef RLX_BASE_ARENA_H
#define RLX_BASE_ARENA_H

#include <stddef.h>

#include "runtime/base/status.h"

typedef struct rlx_arena rlx_arena;

rlx_arena *rlx_arena_create(void);                 /* NULL when out of memory */
void rlx_arena_destroy(rlx_arena *a);              /* accepts NULL */
void *rlx_arena_alloc(rlx_arena *a, size_t bytes); /* zeroed, aligned to 16 */
char *rlx_arena_strdup(rlx_arena *a, const char *s);
char *rlx_arena_strndup(rlx_arena *a, const char *s, size_t n);
char *rlx_arena_printf(rlx_arena *a, const char *fmt, ...) RLX_PRINTF(2, 3);
void *rlx_arena_copy(rlx_arena *a, const void *p, size_t bytes);
size_t rlx_arena_bytes(const rlx_arena *a); /* handed out so far */

#define RLX_NEW(arena, type) ((type *)rlx_arena_alloc((arena), sizeof(type)))
#define RLX_NEW_ARRAY(arena, type, n) ((type *)rlx_arena_alloc((arena), sizeof(type) * (size_t)(n)))

#endif
