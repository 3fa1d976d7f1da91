#include "frontend/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/base/status.h"

rlx_status rlx_sampling_check(const rlx_sampling *s)
{
    const struct {
        const char *name;
        bool holds;
        double value;
    } rules[] = {
        {"temperature", s->temperature >= 0 && isfinite(s->temperature), s->temperature},
        {"top_k", s->top_k >= 0, (double)s->top_k},
        {"top_p", s->top_p >= 0 && s->top_p <= 1, s->top_p},
        {"min_p", s->min_p >= 0 && s->min_p <= 1, s->min_p},
        {"repeat_penalty", s->repeat_penalty >= 0 && isfinite(s->repeat_penalty),
         s->repeat_penalty},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].holds)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "sampling: %s %g is out of range", rules[i].name,
                            rules[i].value);
    return RLX_OK;
}

rlx_status rlx_sampler_init(rlx_sampler *s, const rlx_sampling *how, uint64_t seed, int64_t vocab)
{
    RLX_TRY(rlx_sampling_check(how));
    *s = (rlx_sampler){.how = *how, .random = seed, .vocab = vocab};
    s->heap = malloc((size_t)vocab * sizeof *s->heap);
    return s->heap ? RLX_OK : RLX_OOM();
}

void rlx_sampler_deinit(rlx_sampler *s)
{
    free(s->heap);
}

/* ---- candidates */

/* Of equals the smaller id is likelier. */
static bool likelier(const rlx_candidate *a, const rlx_candidate *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

static void sink(rlx_candidate *heap, int64_t n, int64_t i)
{
    rlx_candidate c = heap[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && likelier(&heap[child + 1], &heap[child]))
            child++;
        if (!likelier(&heap[child], &c))
            break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* The i-th likeliest; those before it are taken first. */
static const rlx_candidate *nth(rlx_sampler *s, int64_t i)
{
    while (s->taken <= i) {
        int64_t last = s->count - 1 - s->taken++;
        rlx_candidate top = s->heap[0];
        s->heap[0] = s->heap[last];
        s->heap[last] = top;
        sink(s->heap, last, 0);
    }
    return &s->heap[s->count - 1 - i];
}

static void make_heap(rlx_sampler *s, int64_t count)
{
    s->count = count;
    s->taken = 0;
    for (int64_t i = count / 2; i-- > 0;)
        sink(s->heap, count, i);
}

/* The largest of x; NaNs do not count. */
static float largest(const float *x, int64_t n)
{
    enum { LANES = 8 };
    float lane[LANES];
    int64_t i = 0;
    for (int l = 0; l < LANES; l++)
        lane[l] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (int l = 1; l < LANES; l++)
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

/* Candidates that may be among the k likeliest: as many blocks of logits have one that is no smaller
 * than the k-th largest of the blocks' maxima. NaNs are none; false: there are too few blocks, or fewer
 * than k numbers. */
static bool fill_few(rlx_sampler *s, const float *logits, int64_t k)
{
    enum { BLOCK = 64 };
    const int64_t blocks = s->vocab / BLOCK;
    int64_t n = 0;
    if (blocks < 2 * k)
        return false;
    for (int64_t b = 0; b < blocks; b++)
        s->heap[b] = (rlx_candidate){largest(logits + b * BLOCK, BLOCK), (int32_t)b};
    make_heap(s, blocks);
    const float least = nth(s, k - 1)->logit;
    for (int64_t i = 0; i < s->vocab; i++)
        if (logits[i] >= least)
            s->heap[n++] = (rlx_candidate){logits[i], (int32_t)i};
    if (n < k)
        return false;
    make_heap(s, n);
    return true;
}

/* Whether tokens that were there are penalised. */
static bool penalises(const rlx_sampling *how)
{
    return how->repeat_penalty > 0 && how->repeat_penalty != 1 && how->repeat_last_n != 0;
}

/* `likelier` orders numbers: a NaN is as unlikely as can be. */
static float number(float logit)
{
    return isnan(logit) ? -INFINITY : logit;
}

static void fill_all(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast)
{
    const double penalty = s->how.repeat_penalty;
    int64_t n = s->how.repeat_last_n;
    for (int64_t i = 0; i < s->vocab; i++)
        s->heap[i] = (rlx_candidate){number(logits[i]), (int32_t)i};
    n = n < 0 || n > nlast ? nlast : n;
    for (int64_t i = nlast - n; penalises(&s->how) && i < nlast; i++) {
        double l = number(logits[last[i]]); /* once, however often a token was there */
        s->heap[last[i]].logit = (float)(l > 0 ? l / penalty : l * penalty);
    }
}

static void fill(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast)
{
    const int64_t k = s->how.top_k;
    if (k > 0 && k < s->vocab && !(penalises(&s->how) && nlast) && fill_few(s, logits, k))
        return;
    fill_all(s, logits, last, nlast);
    make_heap(s, s->vocab);
}

static int32_t likeliest(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast)
{
    if (!(penalises(&s->how) && nlast)) {
        const float best = largest(logits, s->vocab);
        for (int32_t id = 0; id < s->vocab; id++)
            if (logits[id] == best)
                return id;
        return 0; /* of nothing but NaNs */
    }
    fill_all(s, logits, last, nlast);
    const rlx_candidate *best = s->heap;
    for (int64_t i = 1; i < s->vocab; i++)
        if (likelier(&s->heap[i], best))
            best = &s->heap[i];
    return best->id;
}

bool rlx_sampler_is_greedy(const rlx_sampler *s)
{
    return s->how.temperature == 0 && !penalises(&s->how);
}

/* Not yet scaled to a sum of one. */
static double weight(rlx_sampler *s, const rlx_candidate *c, double temperature)
{
    return exp(((double)c->logit - nth(s, 0)->logit) / temperature);
}

static double sum_weights(rlx_sampler *s, int64_t left, double temperature)
{
    double sum = 0;
    (void)nth(s, 0);
    for (int64_t i = 0; i < left; i++)
        sum += left == s->vocab ? weight(s, &s->heap[i], temperature)
                                : weight(s, nth(s, i), temperature);
    return sum;
}

int64_t rlx_sampler_cut(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast)
{
    const rlx_sampling *o = &s->how;
    fill(s, logits, last, nlast);
    int64_t left = o->top_k && o->top_k < s->vocab ? o->top_k : s->vocab;
    if (o->top_p > 0 && o->top_p < 1) {
        double want = o->top_p * sum_weights(s, left, 1), sum = weight(s, nth(s, 0), 1);
        int64_t n = 1;
        while (n < left && sum < want)
            sum += weight(s, nth(s, n++), 1);
        left = n;
    }
    if (o->min_p > 0) {
        int64_t n = 1;
        while (n < left && weight(s, nth(s, n), 1) >= o->min_p)
            n++;
        left = n;
    }
    return left;
}

double rlx_sampler_probability(rlx_sampler *s, int64_t left, int64_t i, int32_t *id)
{
    const rlx_candidate *c = nth(s, i);
    *id = c->id;
    return weight(s, c, s->how.temperature) / sum_weights(s, left, s->how.temperature);
}

/* ---- choosing */

/* splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), in [0,
 * 1). */
static double next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* By the inverse of the cumulative sum, the likeliest first. */
int32_t rlx_sampler_choose(rlx_sampler *s, const float *logits, const int32_t *last, int64_t nlast)
{
    const double t = s->how.temperature;
    if (t == 0)
        return likeliest(s, logits, last, nlast);
    int64_t left = rlx_sampler_cut(s, logits, last, nlast);
    double rest = next_random(&s->random) * sum_weights(s, left, t);
    for (int64_t i = 0; i + 1 < left; i++) {
        rest -= weight(s, nth(s, i), t);
        if (rest < 0)
            return nth(s, i)->id;
    }
    return nth(s, left - 1)->id; /* rounding may leave a little over */
}
