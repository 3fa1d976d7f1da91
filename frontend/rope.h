/* frontend/rope.h: rotary position tables, made on the host for each step.
 *
 *   config (theta, scaling) --rlx_rope_create--> inverse frequencies --rlx_rope_tables--> cos, sin
 * f32[n,D/2]
 *
 * Every step of the arithmetic is rounded to f32 where the reference (transformers,
 * modeling_rope_utils.py and LlamaRotaryEmbedding) rounds it, so that angles at high positions
 * agree.
 */
#ifndef RLX_FRONTEND_ROPE_H
#define RLX_FRONTEND_ROPE_H

#include "frontend/rlx.h"
#include "runtime/base/status.h"

typedef struct rlx_rope rlx_rope;

/* RLX_INVALID_ARGUMENT says what is wrong with a parameter ("is -1, not above 1"); *key is its name
 * in configs ("rope_theta"). The factors that rlx_rope_spec.factors holds are not looked at. */
rlx_status rlx_rope_check(const rlx_rope_spec *spec, const char **key);
/* RLX_INVALID_ARGUMENT names a parameter that makes no sense. */
rlx_status rlx_rope_create(const rlx_rope_spec *spec, rlx_rope **out);
void rlx_rope_destroy(rlx_rope *r);      /* accepts NULL */
int64_t rlx_rope_dim(const rlx_rope *r); /* D */
/* What cosines and sines are multiplied by; the inverse frequency of pair i at short lengths. */
float rlx_rope_attention(const rlx_rope *r);
float rlx_rope_frequency(const rlx_rope *r, int64_t i);
/* The length up to which keys are rotated in one way, and beyond it all of them in another
 * (longrope); 0: there is none. */
int64_t rlx_rope_turn(const rlx_rope *r);

/* cos and sin (n rows of D/2) of angle f32(inv_freq) * f32(pos), times the attention factor.
 * Frequencies that depend on the length (dynamic, longrope) follow the largest of pos[], as in a
 * forward pass over these tokens. Any thread. */
void rlx_rope_tables(const rlx_rope *r, const int32_t *pos, int64_t n, float *cos, float *sin);
/* The same for a length that the caller knows: a prefill cut into chunks passes the whole's. */
void rlx_rope_tables_for_length(const rlx_rope *r, int64_t length, const int32_t *pos, int64_t n,
                                float *cos, float *sin);

#endif
