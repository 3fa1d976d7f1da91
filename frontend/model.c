#include "frontend/model.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/clock.h"

/* ---- handles */

rlx_status rlx_model_check_options(const rlx_model_options *o)
{
    if (o->prefill < 0 || o->max_positions < 0 || o->length < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "a prefill bucket of %lld tokens, %lld positions, length %lld",
                        (long long)o->prefill, (long long)o->max_positions, (long long)o->length);
    if (o->prefill > RLX_MODEL_TOKENS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "a prefill bucket of %lld tokens: a step has at most %d",
                        (long long)o->prefill, RLX_MODEL_TOKENS);
    return RLX_OK;
}

/* What of the options does not fit the files. *tokens: of their text; 0 when there is none. */
static rlx_status check_model(const rlx_model *m, const rlx_model_options *o, int64_t *tokens)
{
    if (o->max_positions > m->config.max_positions && !o->any_length)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld positions: the model was made for %lld",
                        (long long)o->max_positions, (long long)m->config.max_positions);
    const int64_t most = o->max_positions ? o->max_positions : m->config.max_positions;
    int32_t *ids;
    *tokens = 0;
    if (!o->text)
        return RLX_OK;
    RLX_TRY_NOTE(rlx_model_encode(m, o->text, true, &ids, tokens), "reading the prompt");
    free(ids);
    if (*tokens > most)
        return RLX_FAIL(
            RLX_EXHAUSTED,
            "the context is full: the prompt has %lld tokens, and there are %lld positions",
            (long long)*tokens, (long long)most);
    return RLX_OK;
}

/* The options, for buckets that are compiled later; the probes' names are copied. */
static rlx_status keep_options(rlx_model *m, const rlx_model_options *o)
{
    m->probes = calloc((size_t)o->nprobes + 1, sizeof *m->probes);
    if (!m->probes)
        return RLX_OOM();
    for (; m->nprobes < o->nprobes; m->nprobes++)
        if (!(m->probes[m->nprobes] = strdup(o->probes[m->nprobes])))
            return RLX_OOM();
    m->options = *o;
    m->options.probes = (const char *const *)m->probes;
    m->options.text = NULL;    /* the caller's, as */
    m->options.ladders = NULL; /* these; the plan has what they say */
    m->options.nladders = 0;
    return RLX_OK;
}

static rlx_status find_width(rlx_model *m)
{
    const rlx_program *p = rlx_executable_program(rlx_lazy_peek(&m->lazy[0]));
    for (uint32_t i = 0; i < p->noutputs; i++)
        if (!strcmp(p->outputs[i].name, m->config.output)) {
            m->width = p->outputs[i].dim[p->outputs[i].rank - 1];
            return RLX_OK;
        }
    return RLX_FAIL(RLX_INTERNAL, "the flow has no output \"%s\"", m->config.output);
}

typedef struct bucket_job {
    rlx_model *model;
    int bucket;
    rlx_status status;
} bucket_job;

static void *compile_bucket(void *arg)
{
    bucket_job *j = arg;
    rlx_executable *exe;
    j->status = rlx_model_get_executable(j->model, j->bucket, &exe);
    return NULL;
}

/* The bucket that decodes and, side by side, the one that `tokens` tokens go through first. */
static rlx_status compile_first(rlx_model *m, int64_t tokens)
{
    int64_t n;
    const int first = tokens ? rlx_model_choose_bucket(m, tokens == 1, tokens, &n) : 0;
    bucket_job decode = {.model = m}, other = {.model = m, .bucket = first};
    double start = rlx_seconds();
    pthread_t thread;
    const bool threaded = first && !pthread_create(&thread, NULL, compile_bucket, &other);
    compile_bucket(&decode);
    if (threaded)
        pthread_join(thread, NULL);
    else if (first)
        compile_bucket(&other);
    m->compile_seconds = rlx_seconds() - start;
    m->loaded = 1 | UINT64_C(1) << first;
    if (!decode.status)
        return other.status;
    rlx_status_free(other.status);
    return decode.status;
}

static rlx_status load(rlx_context *cx, const char *path, const rlx_model_source *source,
                       const rlx_model_options *o, rlx_model *m)
{
    double start = rlx_seconds();
    int64_t tokens;
    m->cx = cx;
    RLX_TRY(rlx_model_check_options(o));
    RLX_TRY(rlx_model_make_plan(o, &m->plan));
    m->path = strdup(path);
    if (!m->path)
        return RLX_OOM();
    m->source = source;
    RLX_TRY(rlx_model_read_files(cx, m));
    m->source = NULL; /* the caller's */
    RLX_TRY(check_model(m, o, &tokens));
    m->precision = o->precision;
    RLX_TRY(keep_options(m, o));
    m->prefill = m->plan.prefill.n ? m->plan.prefill.upper[m->plan.prefill.n - 1] : 1;
    m->max_positions = o->max_positions ? o->max_positions : m->config.max_positions;
    m->length = o->length;
    m->load_seconds = rlx_seconds() - start;
    RLX_TRY(compile_first(m, tokens));
    return find_width(m);
}

static rlx_status create(rlx_context *cx, const char *path, const rlx_model_source *source,
                         const rlx_model_options *options, rlx_model **out)
{
    rlx_model_options o = options ? *options : (rlx_model_options){0};
    *out = NULL;
    rlx_model *m = calloc(1, sizeof *m);
    if (!m)
        return RLX_OOM();
    for (int i = 0; i < RLX_MODEL_BUCKETS; i++)
        rlx_lazy_init(&m->lazy[i]);
    rlx_status st = load(cx, path, source, &o, m);
    if (st) {
        rlx_model_destroy(m);
        RLX_TRY_NOTE(st, "loading the model %s", path);
    }
    *out = m;
    return RLX_OK;
}

rlx_status rlx_model_load(rlx_context *cx, const char *path, const rlx_model_options *options,
                          rlx_model **out)
{
    return create(cx, path, NULL, options, out);
}

rlx_status rlx_model_load_from(rlx_context *cx, const rlx_model_source *source,
                               const rlx_model_options *options, rlx_model **out)
{
    return create(cx, "in memory", source, options, out);
}

void rlx_model_destroy(rlx_model *m)
{
    if (!m)
        return;
    for (int i = 0; i < RLX_MODEL_BUCKETS; i++)
        rlx_lazy_deinit(&m->lazy[i]);
    for (int i = 0; i < m->nprobes; i++)
        free(m->probes[i]);
    free(m->probes);
    rlx_model_deinit_files(m);
    free(m);
}

/* A ladder with the bucket of one token, which is always there. */
static rlx_ladder with_one(const char *symbol, const rlx_ladder *l)
{
    rlx_ladder out = {.symbol = symbol, .n = 1, .upper = {1}};
    for (int i = l->upper[0] == 1; i < l->n; i++)
        out.upper[out.n++] = l->upper[i];
    return out;
}

void rlx_model_get_info(const rlx_model *m, rlx_model_info *out)
{
    const rlx_compile_stats *decode = &m->lazy[0].stats;
    *out = (rlx_model_info){
        .family = m->config.family,
        .layers = m->config.layers,
        .hidden = m->config.hidden,
        .vocab = m->config.vocab,
        .max_positions = m->max_positions,
        .made_for = m->config.max_positions,
        .prefill = m->prefill,
        .seq = with_one("SEQ", &m->plan.prefill),
        .batch = m->plan.batch.n ? with_one("BATCH", &m->plan.batch) : m->plan.batch,
        .output = m->config.output,
        .width = m->width,
        .weight_bytes = rlx_weights_bytes(m->weights),
        .token_bytes = decode->token_weight_bytes,
        .token_operations = decode->token_operations,
        .row_operations = decode->row_operations,
        .position_bytes = decode->position_bytes,
        .window_position_bytes = decode->window_position_bytes,
        .window = decode->window,
        .load_seconds = m->load_seconds,
        .compile_seconds = m->compile_seconds,
        .cached = true,
        .layer_functions = decode->functions - 1,
        .precision = m->precision,
    };
    for (int i = 0; i < RLX_MODEL_BUCKETS; i++) {
        const rlx_compile_stats *stats = &m->lazy[i].stats;
        if (!rlx_lazy_peek(&m->lazy[i]))
            continue;
        out->cached &= stats->cached;
        out->kernels += stats->kernels;
        out->compile_seconds += m->loaded >> i & 1 ? 0 : stats->seconds;
    }
}

void rlx_model_get_sampling(const rlx_model *m, rlx_sampling *out)
{
    *out = m->sampling;
}

const rlx_weights *rlx_model_weights(const rlx_model *m)
{
    return m->weights;
}

/* ---- text */

rlx_status rlx_model_encode(const rlx_model *m, const char *text, bool special, int32_t **ids,
                            int64_t *n)
{
    RLX_TRY(rlx_model_need_tokenizer(m));
    return rlx_tokenizer_encode(m->tokenizer, text, strlen(text), special, ids, n);
}

rlx_status rlx_model_decode(const rlx_model *m, int32_t id, const char **bytes, size_t *len)
{
    RLX_TRY(rlx_model_need_tokenizer(m));
    *bytes = rlx_tokenizer_bytes(m->tokenizer, id, len);
    return *bytes ? RLX_OK : RLX_FAIL(RLX_INVALID_ARGUMENT, "the tokenizer has no token %d", id);
}
