/* runtime/base/chunk_dot.h: sums of products of f16 or bf16 by matrix units of GPUs, whose makers do
 * not say how they add up. What the evaluators of all levels compute in their place, and what units are held
 * to within a tolerance:
 *
 *   for chunks of `width` elements, ascending: sum = sum + the products of the chunk, added up exactly and
 *   rounded once, to nearest even; behind the last element come zeros
 *
 * docs/decisions/2026-11-30-matrix-units.md. */
#ifndef RLX_BASE_CHUNK_DOT_H
#define RLX_BASE_CHUNK_DOT_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/format.h"

enum { RLX_CHUNK_LEAST = 4, RLX_CHUNK_MOST = 16 };

/* Whether there are chunks of that width: 4, 8 or 16 elements. */
static inline bool rlx_chunk_is_width(int64_t width)
{
    return width == RLX_CHUNK_LEAST || width == 2 * RLX_CHUNK_LEAST || width == RLX_CHUNK_MOST;
}

/* sum + the products of k elements of `a` and of `b`, both of format f: f16 or bf16. */
float rlx_chunk_dot(rlx_format f, const uint16_t *a, const uint16_t *b, int64_t k, int64_t width,
                    float sum);

#endif
