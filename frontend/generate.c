/* frontend/generate.c: prompt in, text out: the loop around rlx_model_step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/compile.h"
#include "frontend/model.h"

/* ---- choosing a token */

static int32_t argmax(const float *logits, int64_t n)
{
    int64_t best = 0; /* of equals the first */
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), in [0,
 * 1). */
static double next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* From softmax(logits / temperature), by the inverse of its cumulative sum. */
static int32_t sample(const float *logits, int64_t n, double temperature, uint64_t *random)
{
    double max = logits[argmax(logits, n)], sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp((logits[i] - max) / temperature);
    double left = next_random(random) * sum;
    int32_t last = argmax(logits, n); /* rounding may leave a little over */
    for (int64_t i = 0; i < n; i++) {
        left -= exp((logits[i] - max) / temperature);
        if (left < 0)
            return (int32_t)i;
    }
    return last;
}

/* ---- the loop */

typedef struct generation {
    rlx_model *model;
    rlx_session *session;
    const rlx_generate_options *options;
    rlx_token_emit *emit;
    void *user;
    rlx_token_stream stream;
    float *logits; /* of the last token */
    uint64_t random;
    rlx_generate_stats stats;
} generation;

static bool ends_text(const rlx_model *m, int32_t id)
{
    for (int i = 0; i < m->config.neos; i++)
        if (id == m->config.eos[i])
            return true;
    return false;
}

/* The prompt's ids; a text that would begin with nothing begins with bos. */
static rlx_status encode_prompt(const generation *g, int32_t **ids, int64_t *n)
{
    const rlx_model *m = g->model;
    const char *prompt = g->options->prompt ? g->options->prompt : "";
    bool opens = rlx_session_past(g->session, 0) == 0;
    RLX_TRY_NOTE(rlx_model_encode(m, prompt, opens, ids, n), "reading the prompt");
    if (*n)
        return RLX_OK;
    if (!opens || m->config.bos < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "the prompt is empty and the model has no token to begin with");
    *ids = malloc(sizeof **ids);
    if (!*ids)
        return RLX_OOM();
    (*ids)[0] = m->config.bos;
    *n = 1;
    return RLX_OK;
}

static rlx_status prefill(generation *g)
{
    int32_t *ids;
    int64_t n;
    RLX_TRY(encode_prompt(g, &ids, &n));
    bool has_text = rlx_session_past(g->session, 0) > 0;
    for (int64_t i = 0; i < n; i++)
        has_text |= !rlx_tokenizer_is_special(g->model->tokenizer, ids[i]);
    rlx_token_stream_init(&g->stream, g->model->tokenizer, !has_text);
    double start = rlx_seconds();
    rlx_status st = rlx_model_step(g->model, g->session, 0, ids, n, 1, g->logits);
    g->stats.prefill_seconds = rlx_seconds() - start;
    g->stats.prompt_tokens = n;
    free(ids);
    return st;
}

static rlx_status decode(generation *g)
{
    const rlx_generate_options *o = g->options;
    const rlx_model *m = g->model;
    for (;;) {
        int32_t id = o->temperature > 0
                         ? sample(g->logits, m->config.vocab, o->temperature, &g->random)
                         : argmax(g->logits, m->config.vocab);
        if (!o->ignore_eos && ends_text(m, id))
            return RLX_OK;
        g->stats.new_tokens++;
        if (!rlx_token_stream_push(&g->stream, id, g->emit, g->user) ||
            g->stats.new_tokens == o->count)
            return RLX_OK;
        rlx_status full = rlx_model_check_room(m, g->session, 0, 1);
        if (full && !o->count) { /* asked to go on until here */
            rlx_status_free(full);
            return RLX_OK;
        }
        RLX_TRY(full);
        double start = rlx_seconds();
        RLX_TRY(rlx_model_step(g->model, g->session, 0, &id, 1, 1, g->logits));
        g->stats.decode_seconds += rlx_seconds() - start;
    }
}

rlx_status rlx_model_generate(rlx_model *m, rlx_session *s, const rlx_generate_options *options,
                              rlx_token_emit *emit, void *user, rlx_generate_stats *stats)
{
    if (options->count < 0 || !(options->temperature >= 0))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld tokens at temperature %g",
                        (long long)options->count, options->temperature);
    if (strcmp(m->config.output, "logits"))
        return RLX_FAIL(RLX_UNSUPPORTED, "generating text: the model gives %s, not logits",
                        m->config.output);
    generation g = {
        .model = m,
        .session = s,
        .options = options,
        .emit = emit,
        .user = user,
        .random = options->seed,
        .logits = malloc((size_t)m->config.vocab * sizeof(float)),
    };
    rlx_status st = g.logits ? prefill(&g) : RLX_OOM();
    if (!st) {
        st = decode(&g);
        rlx_token_stream_end(&g.stream, emit, user);
    }
    free(g.logits);
    if (stats)
        *stats = g.stats;
    return st;
}
