/* frontend/tool/ceilings.h: what the machine could do at most, measured here and now: how fast
 * bytes are read, and how fast registers multiply and add. Speeds are held against these. */
#ifndef RLX_TOOL_CEILINGS_H
#define RLX_TOOL_CEILINGS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct byte_span {
    const char *data;
    size_t bytes;
} byte_span;

enum { CEILING_MAX_THREADS = 256 };

/* Bytes per second of reading all spans `passes` times, every thread its own contiguous share; the
 * best of `trials`, with one more before them to warm up. 0 when threads cannot be started. */
double ceiling_read(const byte_span *spans, size_t nspans, int threads, int passes, int trials);

/* f32 operations per second (a fused multiply-add is two) of `threads`, out of registers, by
 * vectors of 512 bits (`wide`) or 256; the best of `trials`, each of some milliseconds. The machine
 * must have the instructions. 0 when threads cannot be started. */
double ceiling_fma(bool wide, int threads, int trials);

#endif
