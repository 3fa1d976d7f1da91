/* frontend/model_step.c: tokens of one or many sequences through a model's buckets. */
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"
#include "frontend/model.h"

/* ---- checks --------------------------------------------------------------------------------- */

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
            RLX_TRY(rlx_session_check_sequence(s, b->seq[i]));
        if (before < 0)
            RLX_TRY_NOTE(rlx_model_check_room(m, s, b->seq[i], count), "sequence %d", b->seq[i]);
    }
    return RLX_OK;
}

/* ---- order ---------------------------------------------------------------------------------- */

/* Keys that a sequence holds were rotated for its length; those of some models serve no longer one.
 */
static rlx_status check_turn(const rlx_model *m, const rlx_session *s, const rlx_model_batch *b,
                             int64_t length)
{
    const int64_t turn = m->config.rope ? rlx_rope_turn(m->config.rope) : 0;
    if (!turn || length <= turn || m->length > turn)
        return RLX_OK;
    for (int64_t i = 0; i < b->tokens; i++) {
        const int64_t past = rlx_session_past(s, b->seq[i]);
        if (past > 0 && past <= turn)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "the model rotates sequences of more than %lld positions in another "
                            "way, and sequence %d holds %lld: compute it anew, or load the model "
                            "for the length that it will have",
                            (long long)turn, b->seq[i], (long long)past);
    }
    return RLX_OK;
}

/* A batch in the order in which it is run: what is prefilled, then what is decoded. */
typedef struct order {
    int64_t prefilled;  /* tokens before the first that is decoded */
    int32_t *ids, *seq; /* [tokens] */
    int32_t *places;    /* where tokens are rotated to */
    int64_t *out;       /* row of the caller's memory; -1: not wanted */
    int32_t *given;     /* places in the caller's order */
    int32_t *rows;      /* a chunk's rows */
    float *cos, *sin;   /* a chunk's [T, D/2]; NULL when nothing rotates */
    size_t half;        /* D/2 */
} order;

static void order_deinit(order *o)
{
    free(o->ids);
    free(o->seq);
    free(o->places);
    free(o->out);
    free(o->given);
    free(o->rows);
    free(o->cos);
    free(o->sin);
}

static rlx_status order_init(order *o, const rlx_model *m, int64_t tokens)
{
    const rlx_ladder *batch = &m->plan.batch;
    size_t n = (size_t)tokens, chunk = tokens < m->prefill ? n : (size_t)m->prefill;
    if (batch->n && (int64_t)chunk < batch->upper[batch->n - 1])
        chunk = (size_t)batch->upper[batch->n - 1];
    *o = (order){.ids = malloc(n * sizeof *o->ids),
                 .seq = malloc(n * sizeof *o->seq),
                 .places = malloc(n * sizeof *o->places),
                 .out = malloc(n * sizeof *o->out),
                 .given = malloc(n * sizeof *o->given),
                 .rows = malloc(chunk * sizeof *o->rows)};
    bool made = o->ids && o->seq && o->places && o->out && o->given && o->rows;
    if (m->config.rope) {
        o->half = (size_t)(rlx_rope_dim(m->config.rope) / 2);
        o->cos = malloc(chunk * o->half * sizeof *o->cos);
        o->sin = malloc(chunk * o->half * sizeof *o->sin);
        made = made && o->cos && o->sin;
    }
    if (made)
        return RLX_OK;
    order_deinit(o);
    return RLX_OOM();
}

/* Whether token i is the only one of its sequence. */
static bool is_alone(const rlx_model_batch *b, int64_t i)
{
    for (int64_t k = 0; k < b->tokens; k++)
        if (k != i && b->seq[k] == b->seq[i])
            return false;
    return true;
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

/* An exact model has one numerics: everything goes together, in the caller's order. */
static void put_in_order(const rlx_model *m, const rlx_session *s, const rlx_model_batch *b,
                         order *o)
{
    int64_t n = 0;
    find_places(s, b, o->given);
    for (int decoded = 0; decoded < 2; decoded++) {
        int64_t row = 0;
        for (int64_t i = 0; i < b->tokens; i++) {
            bool wanted = row < b->rows && b->row_index[row] == i;
            if ((m->precision == RLX_FAST && is_alone(b, i)) == (decoded == 1)) {
                o->ids[n] = b->ids[i];
                o->seq[n] = b->seq[i];
                o->places[n] = o->given[i];
                o->out[n++] = wanted ? row : -1;
            }
            row += wanted;
        }
        if (!decoded)
            o->prefilled = n;
    }
}

/* ---- running -------------------------------------------------------------------------------- */

/* What a device says is the likeliest token of the step's only row; -1: it says none. */
static rlx_status take_likeliest(const rlx_model *m, rlx_session *s, const rlx_executable *exe,
                                 int32_t *id)
{
    const rlx_program *p = rlx_executable_program(exe);
    rlx_tensor t;
    *id = -1;
    if (strcmp(p->outputs[p->noutputs - 1].name, RLX_FLOW_LIKELIEST) != 0)
        return RLX_OK;
    RLX_TRY(rlx_session_output(s, RLX_FLOW_LIKELIEST, &t));
    if (t.format == RLX_I32 && t.bytes == sizeof *id)
        memcpy(id, t.data, sizeof *id);
    if (*id < 0 || *id >= m->config.vocab) /* of NaN: whoever chooses sees them */
        *id = -1;
    return RLX_OK;
}

/* One step of an executable: tokens at .. at+n. With `likeliest` either that is set, or `out` is. */
static rlx_status run_chunk(rlx_model *m, rlx_session *s, rlx_executable *exe, const order *o,
                            int64_t at, int64_t n, int64_t length, float *out, int32_t *likeliest)
{
    rlx_step_input given[3] = {{"ids", o->ids + at, (size_t)n * sizeof *o->ids}};
    rlx_step step = {
        .tokens = n, .seq = o->seq + at, .row_index = o->rows, .inputs = given, .ninputs = 1};
    for (int64_t i = 0; i < n; i++)
        if (o->out[at + i] >= 0)
            o->rows[step.rows++] = (int32_t)i;
    if (o->half) {
        rlx_rope_tables_for_length(m->config.rope, length, o->places + at, n, o->cos, o->sin);
        size_t bytes = (size_t)n * o->half * sizeof(float);
        given[step.ninputs++] = (rlx_step_input){"rope_cos", o->cos, bytes};
        given[step.ninputs++] = (rlx_step_input){"rope_sin", o->sin, bytes};
    }
    RLX_TRY(rlx_session_step(s, exe, &step));
    if (likeliest)
        RLX_TRY(take_likeliest(m, s, exe, likeliest));
    if (!step.rows || (likeliest && *likeliest >= 0))
        return RLX_OK;
    rlx_tensor t;
    RLX_TRY(rlx_session_output(s, m->config.output, &t));
    for (int64_t r = 0; r < step.rows; r++)
        memcpy(out + o->out[at + o->rows[r]] * m->width, (const float *)t.data + r * m->width,
               (size_t)m->width * sizeof *out);
    return RLX_OK;
}

static rlx_status step_batch(rlx_model *m, rlx_session *s, const rlx_model_batch *b, float *out,
                             int32_t *likeliest)
{
    order o;
    RLX_TRY(check_batch(m, s, b));
    RLX_TRY(order_init(&o, m, b->tokens));
    put_in_order(m, s, b, &o);
    int64_t length = m->length;
    for (int64_t i = 0; i < b->tokens; i++)
        if (o.places[i] >= length)
            length = (int64_t)o.places[i] + 1;
    rlx_status st = check_turn(m, s, b, length);
    for (int64_t at = 0, n; at < b->tokens && !st; at += n) {
        bool decoded = at >= o.prefilled;
        rlx_executable *exe;
        const int64_t left = (decoded ? b->tokens : o.prefilled) - at;
        st = rlx_model_get_executable(m, rlx_model_choose_bucket(m, decoded, left, &n), &exe);
        if (!st)
            st = run_chunk(m, s, exe, &o, at, n, length, out, likeliest);
    }
    order_deinit(&o);
    return st;
}

rlx_status rlx_model_step_batch(rlx_model *m, rlx_session *s, const rlx_model_batch *b, float *out)
{
    return step_batch(m, s, b, out, NULL);
}

rlx_status rlx_model_step_greedy(rlx_model *m, rlx_session *s, int32_t id, float *out,
                                 int32_t *likeliest)
{
    static const int32_t first = 0;
    const rlx_model_batch b = {
        .tokens = 1, .ids = &id, .seq = &first, .rows = 1, .row_index = &first};
    return step_batch(m, s, &b, out, likeliest);
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
