#include "frontend/model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/compile.h"

enum { DEFAULT_PREFILL = 128 };

/* ---- compiling the two buckets, side by side */

typedef struct bucket_job {
    rlx_context *cx;
    const rlx_model *model;
    const rlx_model_options *options;
    int64_t tokens;
    rlx_executable **exe;
    rlx_compile_stats *stats;
    rlx_status status;
} bucket_job;

static void fill_options(const rlx_model_options *o, rlx_bucket bucket[2], int64_t tokens,
                         rlx_compile_options *out)
{
    bucket[0] = (rlx_bucket){"TOKENS", tokens};
    bucket[1] = (rlx_bucket){"ROWS", tokens};
    *out = (rlx_compile_options){
        .buckets = bucket, .nbuckets = 2, .probes = o->probes, .nprobes = o->nprobes};
}

static void *compile_bucket(void *arg)
{
    bucket_job *j = arg;
    rlx_bucket bucket[2];
    rlx_compile_options o;
    fill_options(j->options, bucket, j->tokens, &o);
    j->status = rlx_flow_compile(j->cx, j->model->flow, j->model->weights, &o, j->stats, j->exe);
    return NULL;
}

static rlx_status compile_buckets(rlx_context *cx, rlx_model *m, const rlx_model_options *o)
{
    bucket_job prefill = {cx, m, o, m->prefill, &m->prefill_exe, &m->prefill_stats, RLX_OK};
    bucket_job decode = {cx, m, o, 1, &m->decode_exe, &m->decode_stats, RLX_OK};
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

/* ---- handles */

static rlx_status check_options(const rlx_model_options *o)
{
    if (o->prefill < 0 || o->max_positions < 0 || o->length < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "a prefill bucket of %lld tokens, %lld positions, length %lld",
                        (long long)o->prefill, (long long)o->max_positions, (long long)o->length);
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

static rlx_status load(rlx_context *cx, const char *path, const rlx_model_options *o, rlx_model *m)
{
    double start = rlx_seconds();
    RLX_TRY(check_options(o));
    m->path = strdup(path);
    if (!m->path)
        return RLX_OOM();
    RLX_TRY(rlx_model_read_files(m));
    m->prefill = o->prefill ? o->prefill : DEFAULT_PREFILL;
    m->max_positions = o->max_positions ? o->max_positions : m->config.max_positions;
    m->length = o->length;
    m->load_seconds = rlx_seconds() - start;
    RLX_TRY(compile_buckets(cx, m, o));
    return find_width(m);
}

rlx_status rlx_model_load(rlx_context *cx, const char *path, const rlx_model_options *options,
                          rlx_model **out)
{
    rlx_model_options none = {0};
    *out = NULL;
    rlx_model *m = calloc(1, sizeof *m);
    if (!m)
        return RLX_OOM();
    rlx_status st = load(cx, path, options ? options : &none, m);
    if (st) {
        rlx_model_destroy(m);
        RLX_TRY_NOTE(st, "loading the model %s", path);
    }
    *out = m;
    return RLX_OK;
}

void rlx_model_destroy(rlx_model *m)
{
    if (!m)
        return;
    rlx_executable_destroy(m->prefill_exe);
    rlx_executable_destroy(m->decode_exe);
    rlx_tokenizer_destroy(m->tokenizer);
    free(m->tokenizer_error);
    rlx_flow_destroy(m->flow);
    rlx_rope_destroy(m->config.rope);
    rlx_weights_destroy(m->weights);
    free(m->path);
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
        .kernels = m->decode_stats.kernels + m->prefill_stats.kernels,
        .layer_functions = m->decode_stats.functions - 1,
    };
}

const rlx_weights *rlx_model_weights(const rlx_model *m)
{
    return m->weights;
}

rlx_status rlx_model_inspect(rlx_context *cx, const char *path, const char *bucket,
                             const char *what, char **text)
{
    bool decode = !strcmp(bucket, "decode");
    *text = NULL;
    if (!decode && strcmp(bucket, "prefill"))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "no bucket \"%s\": decode, prefill", bucket);
    rlx_model m = {.path = strdup(path)};
    rlx_status st = m.path ? rlx_model_read_files(&m) : RLX_OOM();
    if (!st) {
        rlx_bucket buckets[2];
        rlx_compile_options o;
        fill_options(&(rlx_model_options){0}, buckets, decode ? 1 : DEFAULT_PREFILL, &o);
        st = rlx_flow_inspect(cx, m.flow, m.weights, &o, what, text);
    }
    rlx_tokenizer_destroy(m.tokenizer);
    free(m.tokenizer_error);
    rlx_flow_destroy(m.flow);
    rlx_rope_destroy(m.config.rope);
    rlx_weights_destroy(m.weights);
    free(m.path);
    RLX_TRY_NOTE(st, "inspecting the model %s", path);
    return RLX_OK;
}

/* ---- steps */

rlx_status rlx_model_check_room(const rlx_model *m, const rlx_session *s, int seq, int64_t n)
{
    int64_t past = rlx_session_past(s, seq), room = rlx_session_max_positions(s);
    const char *whose = "session";
    if (m->max_positions < room) {
        room = m->max_positions;
        whose = "model";
    }
    if (n <= room - past)
        return RLX_OK;
    return RLX_FAIL(RLX_EXHAUSTED,
                    "the context is full: %lld tokens after %lld positions, and the %s holds %lld",
                    (long long)n, (long long)past, whose, (long long)room);
}

static rlx_status check_ids(const rlx_model *m, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->config.vocab)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "token %lld has id %d; the vocabulary has %lld",
                            (long long)i, ids[i], (long long)m->config.vocab);
    return RLX_OK;
}

/* Every sequence of a batch has room for its tokens. */
static rlx_status check_batch(const rlx_model *m, const rlx_session *s, const rlx_model_batch *b)
{
    if (b->tokens < 1 || b->rows < 0 || b->rows > b->tokens)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a step of %lld tokens with output for %lld",
                        (long long)b->tokens, (long long)b->rows);
    for (int64_t i = 0; i < b->rows; i++)
        if (b->row_index[i] < (i ? b->row_index[i - 1] + 1 : 0) || b->row_index[i] >= b->tokens)
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "row %lld is of token %d: not ascending below %lld", (long long)i,
                            b->row_index[i], (long long)b->tokens);
    RLX_TRY(check_ids(m, b->ids, b->tokens));
    for (int64_t i = 0; i < b->tokens; i++) {
        int64_t count = 0, before = i - 1;
        while (before >= 0 && b->seq[before] != b->seq[i])
            before--;
        for (int64_t k = i; before < 0 && k < b->tokens; k++)
            count += b->seq[k] == b->seq[i];
        if (before < 0)
            RLX_TRY_NOTE(rlx_model_check_room(m, s, b->seq[i], count), "sequence %d", b->seq[i]);
    }
    return RLX_OK;
}

/* Host memory of a step's inputs. */
typedef struct inputs {
    int32_t *places, *rows; /* where tokens are rotated to; a chunk's rows */
    float *cos, *sin;       /* a chunk's [T, D/2]; NULL when nothing rotates */
    size_t half;            /* D/2 */
} inputs;

static void inputs_deinit(inputs *in)
{
    free(in->places);
    free(in->rows);
    free(in->cos);
    free(in->sin);
}

static rlx_status inputs_init(inputs *in, const rlx_model *m, int64_t tokens)
{
    size_t chunk = (size_t)(tokens < m->prefill ? tokens : m->prefill);
    *in = (inputs){.places = malloc((size_t)tokens * sizeof *in->places),
                   .rows = malloc(chunk * sizeof *in->rows)};
    bool made = in->places && in->rows;
    if (m->config.rope) {
        in->half = (size_t)(rlx_rope_dim(m->config.rope) / 2);
        in->cos = malloc(chunk * in->half * sizeof *in->cos);
        in->sin = malloc(chunk * in->half * sizeof *in->sin);
        made = made && in->cos && in->sin;
    }
    if (made)
        return RLX_OK;
    inputs_deinit(in);
    return RLX_OOM();
}

/* Where each token stands: as the caller says, or behind what its sequence holds. */
static void find_places(const rlx_session *s, const rlx_model_batch *b, int32_t *places)
{
    for (int64_t i = 0; i < b->tokens; i++) {
        int64_t before = i - 1;
        while (before >= 0 && b->seq[before] != b->seq[i])
            before--;
        places[i] = b->positions  ? b->positions[i]
                    : before >= 0 ? places[before] + 1
                                  : (int32_t)rlx_session_past(s, b->seq[i]);
    }
}

/* One step of the executable: tokens at .. at+n of the batch. *out moves behind what it gave. */
static rlx_status run_chunk(rlx_model *m, rlx_session *s, const rlx_model_batch *b, int64_t at,
                            int64_t n, int64_t length, inputs *in, float **out)
{
    rlx_step_input given[3] = {{"ids", b->ids + at, (size_t)n * sizeof *b->ids}};
    rlx_step step = {
        .tokens = n, .seq = b->seq + at, .row_index = in->rows, .inputs = given, .ninputs = 1};
    for (int64_t i = 0; i < b->rows; i++)
        if (b->row_index[i] >= at && b->row_index[i] < at + n)
            in->rows[step.rows++] = (int32_t)(b->row_index[i] - at);
    if (in->half) {
        rlx_rope_tables_for_length(m->config.rope, length, in->places + at, n, in->cos, in->sin);
        size_t bytes = (size_t)n * in->half * sizeof(float);
        given[step.ninputs++] = (rlx_step_input){"rope_cos", in->cos, bytes};
        given[step.ninputs++] = (rlx_step_input){"rope_sin", in->sin, bytes};
    }
    RLX_TRY(rlx_session_step(s, n == 1 ? m->decode_exe : m->prefill_exe, &step));
    if (!step.rows)
        return RLX_OK;
    rlx_tensor t;
    RLX_TRY(rlx_session_output(s, m->config.output, &t));
    memcpy(*out, t.data, (size_t)(step.rows * m->width) * sizeof **out);
    *out += step.rows * m->width;
    return RLX_OK;
}

rlx_status rlx_model_step_batch(rlx_model *m, rlx_session *s, const rlx_model_batch *b, float *out)
{
    inputs in;
    RLX_TRY(check_batch(m, s, b));
    RLX_TRY(inputs_init(&in, m, b->tokens));
    find_places(s, b, in.places);
    int64_t length = m->length;
    for (int64_t i = 0; i < b->tokens; i++)
        if (in.places[i] >= length)
            length = (int64_t)in.places[i] + 1;
    rlx_status st = RLX_OK;
    for (int64_t at = 0, n; at < b->tokens && !st; at += n) {
        n = b->tokens - at < m->prefill ? b->tokens - at : m->prefill;
        st = run_chunk(m, s, b, at, n, length, &in, &out);
    }
    inputs_deinit(&in);
    return st;
}

rlx_status rlx_model_step(rlx_model *m, rlx_session *s, int seq, const int32_t *ids, int64_t n,
                          int64_t rows, float *out)
{
    if (n < 1 || rows < 0 || rows > n)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a step of %lld tokens with output for %lld",
                        (long long)n, (long long)rows);
    int32_t *seqs = malloc((size_t)(n + rows) * sizeof *seqs), *index = seqs + n;
    if (!seqs)
        return RLX_OOM();
    for (int64_t i = 0; i < n; i++)
        seqs[i] = seq;
    for (int64_t i = 0; i < rows; i++)
        index[i] = (int32_t)(n - rows + i);
    rlx_model_batch b = {.tokens = n, .ids = ids, .seq = seqs, .rows = rows, .row_index = index};
    rlx_status st = rlx_model_step_batch(m, s, &b, out);
    free(seqs);
    return st;
}

rlx_status rlx_model_probe(rlx_model *m, rlx_session *s, const char *path, rlx_tensor *out)
{
    (void)m;
    rlx_text name = {0};
    rlx_text_putf(&name, "probe:%s", path);
    rlx_status st = name.oom ? RLX_OOM() : rlx_session_output(s, name.data, out);
    rlx_text_deinit(&name);
    return st;
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
