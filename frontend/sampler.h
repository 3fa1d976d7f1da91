/* frontend/sampler.h: one token out of logits.
 *
 *   logits --penalty--> candidates --top-k, top-p, min-p--> those that are left --temperature--> id
 *
 * What is cut are always the least likely, so a cut is a number: how many of the likeliest are
 * left.
 */
#ifndef RLX_FRONTEND_SAMPLER_H
#define RLX_FRONTEND_SAMPLER_H

#include "frontend/rlx.h"

typedef struct rlx_candidate {
    float logit;
    int32_t id;
} rlx_candidate;

typedef struct rlx_sampler {
    rlx_sampling how;
    uint64_t random; /* state of the generator */
    int64_t vocab;
    rlx_candidate *heap; /* [vocab]; those that were taken, the likeliest first, stand at its end */
    int64_t count;       /* of candidates in it; top-k alone looks at few */
    int64_t taken;
} rlx_sampler;

/* RLX_INVALID_ARGUMENT names the field that is out of range. */
rlx_status rlx_sampling_check(const rlx_sampling *s);

rlx_status rlx_sampler_init(rlx_sampler *s, const rlx_sampling *how, uint64_t seed, int64_t vocab);
void rlx_sampler_deinit(rlx_sampler *s);
/* logits: f32[vocab]; last: the tokens so far, of which the penalty takes the end. */
int32_t rlx_sampler_choose(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast);
/* Whether it chooses the largest logit, the first of equals, whatever the tokens so far are. */
bool rlx_sampler_is_greedy(const rlx_sampler *s);
/* At a temperature above 0: how many candidates are left, and the probability that the i-th
 * likeliest of them is chosen. */
int64_t rlx_sampler_cut(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast);
double rlx_sampler_probability(rlx_sampler *s, int64_t left, int64_t i, int32_t *id);

#endif
