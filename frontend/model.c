#include "frontend/model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/compile.h"

enum { DEFAULT_PREFILL = 128, DEFAULT_FAST_PREFILL = 512 };

/* ---- buckets */

bool rlx_model_get_bucket(const rlx_model_options *o, rlx_model_bucket which,
                          rlx_bucket_options *out)
{
    const bool fast = o->precision == RLX_FAST;
    const int64_t prefill = o->prefill ? o->prefill : fast ? DEFAULT_FAST_PREFILL : DEFAULT_PREFILL;
    const int64_t tokens[] = {[RLX_BUCKET_DECODE] = 1,
                              [RLX_BUCKET_PREFILL] = prefill,
                              [RLX_BUCKET_DECODE_BATCH] = RLX_DECODE_BATCH};
    static const char *const names[] = {[RLX_BUCKET_DECODE] = "decode",
                                        [RLX_BUCKET_PREFILL] = "prefill",
                                        [RLX_BUCKET_DECODE_BATCH] = "decode of several"};
    *out = (rlx_bucket_options){
        .name = names[which],
        .bucket = {{"TOKENS", tokens[which]}, {"ROWS", tokens[which]}},
        .compile = {.nbuckets = 2,
                    .probes = o->probes,
                    .nprobes = o->nprobes,
                    .precision = o->precision,
                    .tuning = o->tuning,
                    .phase = which == RLX_BUCKET_PREFILL ? RLX_PREFILL : RLX_DECODE,
                    .kv_key_format = o->kv_key_format,
                    .kv_value_format = o->kv_value_format}};
    out->compile.buckets = out->bucket;
    return which != RLX_BUCKET_DECODE_BATCH || fast;
}

typedef struct bucket_job {
    const rlx_model *model;
    rlx_model_bucket which;
    rlx_executable **exe;
    rlx_compile_stats *stats;
    rlx_status status;
} bucket_job;

static void *compile_bucket(void *arg)
{
    bucket_job *j = arg;
    rlx_bucket_options o;
    rlx_model_get_bucket(&j->model->options, j->which, &o);
    j->status = rlx_flow_compile(j->model->cx, j->model->flow, j->model->weights, &o.compile,
                                 j->stats, j->exe);
    return NULL;
}

/* Side by side. */
static rlx_status compile_buckets(rlx_model *m)
{
    bucket_job prefill = {m, RLX_BUCKET_PREFILL, &m->prefill_exe, &m->prefill_stats, RLX_OK};
    bucket_job decode = {m, RLX_BUCKET_DECODE, &m->decode_exe, &m->decode_stats, RLX_OK};
    double start = rlx_seconds();
    pthread_t thread;
    bool threaded = pthread_create(&thread, NULL, compile_bucket, &prefill) == 0;
    compile_bucket(&decode);
    if (threaded)
        pthread_join(thread, NULL);
    else
        compile_bucket(&prefill);
    m->compile_seconds = rlx_seconds() - start;
    if (!decode.status)
        return prefill.status;
    rlx_status_free(prefill.status);
    return decode.status;
}

rlx_status rlx_model_decode_batch(rlx_model *m, rlx_executable **out)
{
    pthread_mutex_lock(&m->lock);
    rlx_compile_stats stats;
    bucket_job job = {m, RLX_BUCKET_DECODE_BATCH, &m->batch_exe, &stats, RLX_OK};
    if (!m->batch_exe)
        compile_bucket(&job);
    *out = m->batch_exe;
    pthread_mutex_unlock(&m->lock);
    return job.status;
}

/* ---- handles */

static rlx_status check_options(const rlx_model_options *o)
{
    if (o->prefill < 0 || o->max_positions < 0 || o->length < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "a prefill bucket of %lld tokens, %lld positions, length %lld",
                        (long long)o->prefill, (long long)o->max_positions, (long long)o->length);
    return RLX_OK;
}

/* What of the options does not fit the files. */
static rlx_status check_model(const rlx_model *m, const rlx_model_options *o)
{
    if (o->max_positions > m->config.max_positions && !o->any_length)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld positions: the model was made for %lld",
                        (long long)o->max_positions, (long long)m->config.max_positions);
    const int64_t most = o->max_positions ? o->max_positions : m->config.max_positions;
    int32_t *ids;
    int64_t n;
    if (!o->text)
        return RLX_OK;
    RLX_TRY_NOTE(rlx_model_encode(m, o->text, true, &ids, &n), "reading the prompt");
    free(ids);
    if (n > most)
        return RLX_FAIL(
            RLX_EXHAUSTED,
            "the context is full: the prompt has %lld tokens, and there are %lld positions",
            (long long)n, (long long)most);
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
    m->options.text = NULL; /* the caller's */
    return RLX_OK;
}

static rlx_status find_width(rlx_model *m)
{
    const rlx_program *p = rlx_executable_program(m->decode_exe);
    for (uint32_t i = 0; i < p->noutputs; i++)
        if (!strcmp(p->outputs[i].name, m->config.output)) {
            m->width = p->outputs[i].dim[p->outputs[i].rank - 1];
            return RLX_OK;
        }
    return RLX_FAIL(RLX_INTERNAL, "the flow has no output \"%s\"", m->config.output);
}

static rlx_status load(rlx_context *cx, const char *path, const rlx_model_source *source,
                       const rlx_model_options *o, rlx_model *m)
{
    double start = rlx_seconds();
    m->cx = cx;
    RLX_TRY(check_options(o));
    m->path = strdup(path);
    if (!m->path)
        return RLX_OOM();
    m->source = source;
    RLX_TRY(rlx_model_read_files(cx, m));
    m->source = NULL; /* the caller's */
    RLX_TRY(check_model(m, o));
    m->precision = o->precision;
    RLX_TRY(keep_options(m, o));
    rlx_bucket_options prefill;
    rlx_model_get_bucket(o, RLX_BUCKET_PREFILL, &prefill);
    m->prefill = prefill.bucket[0].upper;
    m->max_positions = o->max_positions ? o->max_positions : m->config.max_positions;
    m->length = o->length;
    m->load_seconds = rlx_seconds() - start;
    RLX_TRY(compile_buckets(m));
    return find_width(m);
}

static rlx_status create(rlx_context *cx, const char *path, const rlx_model_source *source,
                         const rlx_model_options *options, rlx_model **out)
{
    rlx_model_options none = {0};
    *out = NULL;
    rlx_model *m = calloc(1, sizeof *m);
    if (!m)
        return RLX_OOM();
    pthread_mutex_init(&m->lock, NULL);
    rlx_status st = load(cx, path, source, options ? options : &none, m);
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
    rlx_executable_destroy(m->prefill_exe);
    rlx_executable_destroy(m->decode_exe);
    rlx_executable_destroy(m->batch_exe);
    for (int i = 0; i < m->nprobes; i++)
        free(m->probes[i]);
    free(m->probes);
    pthread_mutex_destroy(&m->lock);
    rlx_model_deinit_files(m);
    free(m);
}

void rlx_model_get_info(const rlx_model *m, rlx_model_info *out)
{
    *out = (rlx_model_info){
        .family = m->config.family,
        .layers = m->config.layers,
        .hidden = m->config.hidden,
        .vocab = m->config.vocab,
        .max_positions = m->max_positions,
        .made_for = m->config.max_positions,
        .prefill = m->prefill,
        .output = m->config.output,
        .width = m->width,
        .weight_bytes = rlx_weights_bytes(m->weights),
        .token_bytes = m->decode_stats.token_weight_bytes,
        .token_operations = m->decode_stats.token_operations,
        .row_operations = m->decode_stats.row_operations,
        .position_bytes = m->decode_stats.position_bytes,
        .window_position_bytes = m->decode_stats.window_position_bytes,
        .window = m->decode_stats.window,
        .load_seconds = m->load_seconds,
        .compile_seconds = m->compile_seconds,
        .cached = m->decode_stats.cached && m->prefill_stats.cached,
        .kernels = m->decode_stats.kernels + m->prefill_stats.kernels,
        .layer_functions = m->decode_stats.functions - 1,
        .precision = m->precision,
    };
}

void rlx_model_get_sampling(const rlx_model *m, rlx_sampling *out)
{
    *out = m->sampling;
}

const rlx_weights *rlx_model_weights(const rlx_model *m)
{
    return m->weights;
}

rlx_status rlx_model_inspect(rlx_context *cx, const char *path, const rlx_model_options *options,
                             const char *bucket, const char *what, char **text)
{
    rlx_model_options o = options ? *options : (rlx_model_options){0};
    bool decode = !strcmp(bucket, "decode");
    *text = NULL;
    if (!decode && strcmp(bucket, "prefill"))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "no bucket \"%s\": decode, prefill", bucket);
    RLX_TRY(check_options(&o));
    rlx_model m = {.path = strdup(path)};
    rlx_status st = m.path ? rlx_model_read_files(cx, &m) : RLX_OOM();
    if (!st) {
        rlx_bucket_options c;
        rlx_model_get_bucket(&o, decode ? RLX_BUCKET_DECODE : RLX_BUCKET_PREFILL, &c);
        st = rlx_flow_inspect(cx, m.flow, m.weights, &c.compile, what, text);
    }
    rlx_model_deinit_files(&m);
    RLX_TRY_NOTE(st, "inspecting the model %s", path);
    return RLX_OK;
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
