#include "runtime/base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, FIRST_CHUNK = 4096, LARGEST_CHUNK = 1 << 20 };

typedef struct chunk {
    struct chunk *next;
    size_t used, cap; /* bytes after the header */
} chunk;

struct rlx_arena {
    chunk *head; /* the chunk that is being filled, then older ones */
    size_t next_cap;
    size_t bytes;
};

static size_t align_up(size_t n)
{
    return (n + (ALIGN - 1)) & ~(size_t)(ALIGN - 1);
}

static char *chunk_data(chunk *c)
{
    return (char *)c + align_up(sizeof(chunk));
}

rlx_arena *rlx_arena_create(void)
{
    rlx_arena *a = calloc(1, sizeof(*a));
    if (a)
        a->next_cap = FIRST_CHUNK;
    return a;
}

void rlx_arena_destroy(rlx_arena *a)
{
    if (!a)
        return;
    for (chunk *c = a->head; c;) {
        chunk *next = c->next;
        free(c);
        c = next;
    }
    free(a);
}

/* calloc, so that big chunks come from the system as zero pages and are never cleared twice. */
static chunk *add_chunk(rlx_arena *a, size_t bytes)
{
    size_t cap = bytes > a->next_cap ? bytes : a->next_cap;
    if (cap > SIZE_MAX - align_up(sizeof(chunk)))
        return NULL;
    chunk *c = calloc(1, align_up(sizeof(chunk)) + cap);
    if (!c)
        return NULL;
    c->cap = cap;
    c->next = a->head;
    a->head = c;
    if (a->next_cap < LARGEST_CHUNK)
        a->next_cap *= 2;
    return c;
}

void *rlx_arena_alloc(rlx_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGN)
        return NULL;
    size_t need = align_up(bytes ? bytes : 1);
    chunk *c = a->head;
    if (!c || c->cap - c->used < need) {
        c = add_chunk(a, need);
        if (!c)
            return NULL;
    }
    void *p = chunk_data(c) + c->used;
    c->used += need;
    a->bytes += bytes;
    return p;
}

char *rlx_arena_strndup(rlx_arena *a, const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = rlx_arena_alloc(a, len + 1);
    if (p)
        memcpy(p, s, len);
    return p;
}

char *rlx_arena_strdup(rlx_arena *a, const char *s)
{
    return rlx_arena_strndup(a, s, strlen(s));
}

char *rlx_arena_printf(rlx_arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n < 0 ? NULL : rlx_arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

void *rlx_arena_copy(rlx_arena *a, const void *p, size_t bytes)
{
    void *q = rlx_arena_alloc(a, bytes);
    if (q && bytes)
        memcpy(q, p, bytes);
    return q;
}

size_t rlx_arena_bytes(const rlx_arena *a)
{
    return a->bytes;
}
