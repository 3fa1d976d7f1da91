/* frontend/quantize.c: a model's file in other formats: rows are decoded, encoded and written,
 * tensor after tensor. */
#include "frontend/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/quantize/encode.h"

enum {
    CHUNK_ELEMS = 1 << 18,
    QUANTIZATION_VERSION = 2
}; /* of a member of the team, between reports */

typedef struct job {
    const rlx_quantize_options *options;
    rlx_quantize_source source;
    rlx_tensor *results; /* the source's tensors as they will be */
    rlx_imatrix *imatrix;
    rlx_encoder *encoders[RLX_FORMAT_COUNT];
    rlx_team *team;
    float **rows;        /* of each member */
    uint8_t *bytes;      /* of the tensor that is being made */
    int64_t done, total; /* bytes of sources */
} job;

/* ---- rows ----------------------------------------------------------------------------------- */

/* Some rows of a tensor, shared by the team. */
typedef struct chunk {
    const rlx_tensor *from, *to;
    int heads;      /* whose rows change places; 0: none */
    int64_t rotary; /* the first so many of each */
    const rlx_encoder *encoder;
    const float *importance; /* of the columns; matrix after matrix */
    float **rows;
    uint8_t *bytes;
    int64_t first, end;  /* rows */
    _Atomic int64_t bad; /* a row whose numbers are not all finite; -1 */
} chunk;

static void read_row(const rlx_tensor *t, int64_t row, float *out)
{
    const int64_t n = t->dim[t->rank - 1];
    if (rlx_format_get(t->format)->kind == RLX_KIND_BLOCK) {
        rlx_format_decode(t->format, t->data, row * n, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)rlx_format_load(t->format, t->data, row * n + i);
}

static bool is_finite(const float *x, int64_t n)
{
    float sum = 0; /* of zeros, and of NaN where one is not */
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * 0;
    return sum == 0;
}

/* The row (of a vector: the element) of the source that becomes `row`: of a head's halves, elements
 * of which are rotated together, to pairs. */
static int64_t source_row(const chunk *c, int64_t row)
{
    if (!c->heads)
        return row;
    const int64_t size = c->to->dim[0] / c->heads, r = row % size;
    return r < c->rotary ? row - r + r % 2 * (c->rotary / 2) + r / 2 : row;
}

static void read_source(const chunk *c, int64_t row, float *out)
{
    if (!c->heads || c->from->rank > 1) {
        read_row(c->from, source_row(c, row), out);
        return;
    }
    for (int64_t i = 0; i < c->from->dim[0]; i++)
        out[i] = (float)rlx_format_load(c->from->format, c->from->data, source_row(c, i));
}

static void make_row(chunk *c, int64_t row, float *x)
{
    const rlx_tensor *t = c->to;
    const int64_t n = t->dim[t->rank - 1];
    uint8_t *to = c->bytes + (size_t)row * rlx_format_bytes(t->format, n);
    read_source(c, row, x);
    if (!is_finite(x, n)) {
        c->bad = row;
        return;
    }
    if (!c->encoder) {
        for (int64_t i = 0; i < n; i++)
            rlx_format_store(t->format, to, i, x[i]);
        return;
    }
    int64_t matrix = t->rank > 2 ? row / t->dim[t->rank - 2] : 0;
    rlx_encoder_run(c->encoder, x, c->importance ? c->importance + matrix * n : NULL, n, to);
}

static void make_part(void *user, int phase, int part, int parts, int member)
{
    chunk *c = user;
    int64_t n = c->end - c->first;
    (void)phase;
    for (int64_t i = c->first + n * part / parts; i < c->first + n * (part + 1) / parts; i++)
        make_row(c, i, c->rows[member]);
}

static rlx_status report(job *j, const char *tensor, int64_t bytes)
{
    j->done += bytes;
    const rlx_quantize_options *o = j->options;
    if (o->progress && !o->progress(o->user, j->done, j->total, tensor))
        return RLX_FAIL(RLX_CANCELLED, "it was cancelled");
    return RLX_OK;
}

static rlx_status make_rows(job *j, chunk *c)
{
    const int64_t n = c->to->dim[c->to->rank - 1];
    int64_t rows = 1, step = CHUNK_ELEMS / n + 1;
    step *= rlx_team_size(j->team);
    for (int d = 0; d + 1 < c->to->rank; d++)
        rows *= c->to->dim[d];
    for (c->first = 0; c->first < rows; c->first = c->end) {
        c->end = c->first + step < rows ? c->first + step : rows;
        rlx_team_run(j->team, 1, make_part, c);
        if (c->bad >= 0)
            return RLX_FAIL(RLX_INVALID_FILE, "row %lld has numbers that are not finite",
                            (long long)c->bad);
        int64_t bytes = (int64_t)c->from->bytes;
        RLX_TRY(report(j, c->to->name, bytes / rows * (c->end - c->first)));
    }
    return RLX_OK;
}

static rlx_status get_encoder(job *j, rlx_format f, const rlx_encoder **out)
{
    *out = NULL;
    if (rlx_format_get(f)->kind != RLX_KIND_BLOCK)
        return RLX_OK;
    if (!j->encoders[f])
        RLX_TRY(rlx_encoder_create(f, &j->encoders[f]));
    *out = j->encoders[f];
    return RLX_OK;
}

static rlx_status make_tensor(void *user, int i, const void **data)
{
    job *j = user;
    chunk c = {.from = &j->source.tensors[i],
               .to = &j->results[i],
               .rows = j->rows,
               .bytes = j->bytes,
               .heads = j->source.heads ? j->source.heads[i] : 0,
               .rotary = j->source.rotary,
               .bad = -1};
    *data = j->bytes;
    if ((c.from->format == c.to->format && !c.heads) || c.to->bytes == 0) {
        memcpy(j->bytes, c.from->data, c.to->bytes);
        RLX_TRY(report(j, c.to->name, (int64_t)c.from->bytes));
    } else {
        RLX_TRY(get_encoder(j, c.to->format, &c.encoder));
        if (j->imatrix)
            RLX_TRY(rlx_imatrix_find(j->imatrix, c.to, &c.importance));
        RLX_TRY(make_rows(j, &c));
    }
    return rlx_quantize_source_check(&j->source);
}

/* ---- the file ------------------------------------------------------------------------------- */

/* Rows that are no whole blocks have the tensor be something else than the type says. */
static void choose(const job *j, int mix, rlx_tensor *t)
{
    const rlx_quantize_options *o = j->options;
    rlx_format wanted;
    if (!t->rank)
        return;
    t->format = rlx_quantize_choose(mix, &j->source.model, t, &wanted);
    if (o->replaced && t->format != wanted)
        o->replaced(o->user, t->name, rlx_format_get(wanted)->name,
                    rlx_format_get(t->format)->name);
}

/* What every tensor will be, and memory for the largest and its longest row. */
static rlx_status plan(job *j, int mix)
{
    const rlx_quantize_source *s = &j->source;
    size_t most = 1;
    int64_t longest = 1;
    j->results = calloc((size_t)s->n + 1, sizeof *j->results);
    j->rows = calloc((size_t)rlx_team_size(j->team), sizeof *j->rows);
    if (!j->results || !j->rows)
        return RLX_OOM();
    for (int i = 0; i < s->n; i++) {
        rlx_tensor *t = &j->results[i];
        int64_t elems = 1;
        *t = s->tensors[i];
        for (int d = 0; d < t->rank; d++)
            elems *= t->dim[d];
        choose(j, mix, t);
        t->bytes = rlx_format_bytes(t->format, elems);
        most = t->bytes > most ? t->bytes : most;
        if (t->rank && elems && t->dim[t->rank - 1] > longest)
            longest = t->dim[t->rank - 1];
        j->total += (int64_t)s->tensors[i].bytes;
    }
    j->bytes = malloc(most);
    for (int i = 0; i < rlx_team_size(j->team); i++)
        if (!(j->rows[i] = malloc((size_t)longest * sizeof **j->rows)))
            return RLX_OOM();
    return j->bytes ? RLX_OK : RLX_OOM();
}

static rlx_status run(job *j, const char *out, int mix)
{
    const rlx_quantize_options *o = j->options;
    if (o->imatrix)
        RLX_TRY(rlx_imatrix_load(o->imatrix, &j->imatrix));
    j->source.model.weighed = j->imatrix != NULL;
    RLX_TRY(plan(j, mix));
    rlx_gguf_head *head = &j->source.head;
    rlx_gguf_put_int(head, "general.quantization_version", RLX_GGUF_U32, QUANTIZATION_VERSION);
    rlx_gguf_put_int(head, "general.file_type", RLX_GGUF_U32, rlx_quantize_mix_id(mix));
    if (o->imatrix)
        rlx_gguf_put_int(head, "quantize.imatrix.entries_count", RLX_GGUF_U32,
                         rlx_imatrix_count(j->imatrix));
    return rlx_gguf_write(out, head, j->results, j->source.n, make_tensor, j);
}

static void deinit(job *j)
{
    for (int i = 0; j->rows && i < rlx_team_size(j->team); i++)
        free(j->rows[i]);
    free(j->rows);
    free(j->bytes);
    free(j->results);
    for (int f = 0; f < RLX_FORMAT_COUNT; f++)
        rlx_encoder_destroy(j->encoders[f]);
    rlx_imatrix_destroy(j->imatrix);
    rlx_team_destroy(j->team);
    rlx_quantize_source_deinit(&j->source);
}

static rlx_status find_mix(const char *type, int *mix)
{
    *mix = type ? rlx_quantize_find_mix(type) : -1;
    if (*mix >= 0)
        return RLX_OK;
    const char *names[64];
    int n = 0;
    for (; n < rlx_quantize_type_count(); n++)
        names[n] = rlx_quantize_type_name(n);
    const char *near = type ? rlx_text_nearest(type, names, (size_t)n) : NULL;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "no type \"%s\"%s%s%s", type ? type : "",
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

rlx_status rlx_quantize(const char *in, const char *out, const rlx_quantize_options *options)
{
    job j = {.options = options};
    int mix;
    RLX_TRY(find_mix(options->type, &mix));
    RLX_TRY(rlx_team_create(options->threads, &j.team));
    rlx_status st = rlx_quantize_source_init(&j.source, in);
    if (!st)
        st = run(&j, out, mix);
    deinit(&j);
    return rlx_status_note(st, __FILE__, __LINE__, "quantizing '%s'", in);
}
