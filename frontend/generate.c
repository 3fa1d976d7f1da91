/* frontend/generate.c: prompt in, text out: the loop around rlx_model_step.
 *
 *   prompt --encode--> ids --step--> logits --choose--> id --token stream--> --stop filter--> emit
 *                              ^-------------------------'
 */
#include <stdlib.h>
#include <string.h>

#include "frontend/model.h"
#include "frontend/sampler.h"
#include "frontend/stop_filter.h"
#include "runtime/base/clock.h"

typedef struct generation {
    rlx_model *model;
    rlx_session *session;
    const rlx_generate_options *options;
    rlx_token_stream stream;
    rlx_stop_filter filter;
    rlx_sampler sampler;
    float *logits;     /* of the last token */
    int32_t likeliest; /* what follows it, where a device says so; -1: the logits say it */
    int32_t *ids;      /* prompt and new tokens */
    int64_t nids, cap_ids;
    rlx_generate_stats stats;
} generation;

static bool ends_text(const rlx_model *m, int32_t id)
{
    for (int i = 0; i < m->config.neos; i++)
        if (id == m->config.eos[i])
            return true;
    return false;
}

static rlx_status push_id(generation *g, int32_t id)
{
    if (g->nids == g->cap_ids) {
        int64_t cap = g->cap_ids ? 2 * g->cap_ids : 256;
        int32_t *ids = realloc(g->ids, (size_t)cap * sizeof *ids);
        if (!ids)
            return RLX_OOM();
        g->ids = ids;
        g->cap_ids = cap;
    }
    g->ids[g->nids++] = id;
    return RLX_OK;
}

static rlx_status take_ids(generation *g)
{
    const rlx_generate_options *o = g->options;
    for (int64_t i = 0; i < o->nids; i++) {
        if (o->ids[i] < 0 || o->ids[i] >= g->model->config.vocab)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "id %d of a vocabulary of %lld", o->ids[i],
                            (long long)g->model->config.vocab);
        RLX_TRY(push_id(g, o->ids[i]));
    }
    return rlx_model_need_tokenizer(g->model);
}

/* What the last call left, then the prompt; a text that would begin with nothing begins with bos.
 */
static rlx_status encode_prompt(generation *g)
{
    const rlx_model *m = g->model;
    const char *prompt = g->options->prompt ? g->options->prompt : "";
    const int32_t pending = rlx_session_pending(g->session);
    const bool opens = rlx_session_past(g->session, 0) == 0;
    int32_t *ids;
    int64_t n;
    RLX_TRY_NOTE(rlx_model_encode(m, prompt, opens, &ids, &n), "reading the prompt");
    rlx_status st = pending >= 0 ? push_id(g, pending) : RLX_OK;
    for (int64_t i = 0; i < n && !st; i++)
        st = push_id(g, ids[i]);
    free(ids);
    if (st || g->nids)
        return st;
    if (!opens || m->config.bos < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "the prompt is empty and the model has no token to begin with");
    return push_id(g, m->config.bos);
}

static rlx_status prefill(generation *g)
{
    RLX_TRY(g->options->nids ? take_ids(g) : encode_prompt(g));
    bool has_text = rlx_session_past(g->session, 0) > 0;
    for (int64_t i = 0; i < g->nids; i++)
        has_text |= !rlx_tokenizer_is_special(g->model->tokenizer, g->ids[i]);
    rlx_token_stream_init(&g->stream, g->model->tokenizer, !has_text);
    const bool first = !rlx_session_first_ns(g->session);
    double start = rlx_seconds();
    rlx_status st = rlx_model_step(g->model, g->session, 0, g->ids, g->nids, 1, g->logits);
    g->stats.prefill_seconds = rlx_seconds() - start;
    if (first && !st) /* bench/start.c reads it */
        rlx_context_log(g->model->cx, RLX_LOG_INFO, "first kernel at %.6f s of the monotonic clock",
                        1e-9 * (double)rlx_session_first_ns(g->session));
    g->stats.prompt_tokens = g->nids;
    return st;
}

/* *id: the token that follows, or a negative number to end. */
static rlx_status choose(generation *g, int32_t *id)
{
    const rlx_generate_options *o = g->options;
    const int64_t vocab = g->model->config.vocab;
    if (g->likeliest >= 0) {
        *id = g->likeliest;
        return RLX_OK;
    }
    if (!o->choose) {
        *id = rlx_sampler_choose(&g->sampler, g->logits, g->ids, g->nids);
        return RLX_OK;
    }
    *id = o->choose(o->choose_user, g->logits, vocab);
    return *id < vocab
               ? RLX_OK
               : RLX_FAIL(RLX_INVALID_ARGUMENT, "`choose` gave token %d of a vocabulary of %lld",
                          *id, (long long)vocab);
}

/* Whether nothing but the largest logit is looked at. */
static bool is_greedy(const generation *g)
{
    return !g->options->choose && rlx_sampler_is_greedy(&g->sampler);
}

/* Appends the last token. *done: there is no room, and the text was to go on until there is none.
 */
static rlx_status append(generation *g, bool *done)
{
    rlx_status full = rlx_model_check_room(g->model, g->session, 0, 1);
    *done = full && !g->options->count;
    if (*done)
        rlx_status_free(full);
    if (full)
        return *done ? RLX_OK : full;
    double start = rlx_seconds();
    const int32_t *last = &g->ids[g->nids - 1];
    rlx_status st =
        is_greedy(g) ? rlx_model_step_greedy(g->model, g->session, *last, g->logits, &g->likeliest)
                     : rlx_model_step(g->model, g->session, 0, last, 1, 1, g->logits);
    if (rlx_status_code(st) == RLX_UNSUPPORTED && rlx_session_past(g->session, 0) == g->nids - 1) {
        /* beyond the length at which all keys are rotated in another way: anew, all being here */
        rlx_status_free(st);
        g->likeliest = -1;
        RLX_TRY(rlx_session_rewind(g->session, 0, 0));
        st = rlx_model_step(g->model, g->session, 0, g->ids, g->nids, 1, g->logits);
    }
    RLX_TRY(st);
    g->stats.decode_seconds += rlx_seconds() - start;
    return RLX_OK;
}

static rlx_status decode(generation *g)
{
    const rlx_generate_options *o = g->options;
    for (bool done = false; !done;) {
        int32_t id;
        RLX_TRY(choose(g, &id));
        g->stats.ended = id < 0 || (!o->ignore_eos && ends_text(g->model, id));
        if (g->stats.ended)
            return RLX_OK;
        RLX_TRY(push_id(g, id));
        rlx_session_set_pending(g->session, id);
        g->stats.new_tokens++;
        if (o->on_token)
            o->on_token(o->on_token_user, id);
        bool on = rlx_token_stream_push(&g->stream, id, rlx_stop_filter_put, &g->filter);
        if (g->filter.held.oom)
            return RLX_OOM();
        if (!on || g->stats.new_tokens == o->count)
            return RLX_OK;
        RLX_TRY(append(g, &done));
    }
    return RLX_OK;
}

/* ---- the call */

static rlx_status check_options(const rlx_model *m, const rlx_generate_options *o)
{
    if (o->count < 0 || o->nstops < 0 || o->nids < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld tokens, %d stop strings, %lld ids",
                        (long long)o->count, o->nstops, (long long)o->nids);
    for (int i = 0; i < o->nstops; i++)
        if (!o->stops[i] || !*o->stops[i])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "stop string %d is empty", i);
    if (strcmp(m->config.output, "logits"))
        return RLX_FAIL(RLX_UNSUPPORTED, "generating text: the model gives %s, not logits",
                        m->config.output);
    return RLX_OK;
}

static rlx_status run(generation *g)
{
    const rlx_generate_options *o = g->options;
    const rlx_model *m = g->model;
    RLX_TRY(rlx_sampler_init(&g->sampler, o->sampling ? o->sampling : &m->sampling, o->seed,
                             m->config.vocab));
    g->logits = malloc((size_t)m->config.vocab * sizeof(float));
    if (!g->logits)
        return RLX_OOM();
    RLX_TRY(prefill(g));
    rlx_status st = decode(g);
    if (rlx_token_stream_end(&g->stream, rlx_stop_filter_put, &g->filter))
        rlx_stop_filter_end(&g->filter);
    g->stats.ended |= g->filter.found;
    return st;
}

rlx_status rlx_model_generate(rlx_model *m, rlx_session *s, const rlx_generate_options *options,
                              rlx_token_emit *emit, void *user, rlx_generate_stats *stats)
{
    RLX_TRY(check_options(m, options));
    generation g = {
        .model = m,
        .session = s,
        .options = options,
        .likeliest = -1,
        .filter = {options->stops, options->nstops, emit, user, {0}, false, false},
    };
    rlx_status st = run(&g);
    rlx_stop_filter_deinit(&g.filter);
    rlx_sampler_deinit(&g.sampler);
    free(g.logits);
    free(g.ids);
    if (stats)
        *stats = g.stats;
    return st;
}
