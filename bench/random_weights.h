/* bench/random_weights.h: random weights in every format that models are stored in here.
 *
 * Values are uniform within about +-0.035 (a standard deviation of 0.02, as models are
 * initialised), so that activations stay of the size that trained models have. Block formats have
 * scales that vary by block, and no value that a quantiser could not have written. */
#ifndef RLX_BENCH_RANDOM_WEIGHTS_H
#define RLX_BENCH_RANDOM_WEIGHTS_H

#include "frontend/rlx.h"

typedef struct weight_format {
    rlx_format format;
    const char *name, *hf_name; /* as config.json calls it; NULL: in GGUF files only */
    uint32_t gguf_type;
    int block_elems;
    size_t block_bytes;
    void (*fill)(uint64_t *random, uint8_t *block);
} weight_format;

const weight_format *weight_format_get(rlx_format f); /* NULL: none here */

/* `bytes` (whole blocks) of random weights. */
void fill_random(const weight_format *f, uint8_t *to, size_t bytes);
/* A value that must be exact, as a norm's 1: f32, f16 or bf16. */
void put_value(rlx_format f, float v, void *to);
uint64_t next_random(uint64_t *state);

#endif
