/* frontend/save.c: sequences to files and back, for the model that they are of. */
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"
#include "frontend/model.h"

enum { SAMPLES = 4, SAMPLE_BYTES = 256 };

static void add_text(rlx_hasher *h, const char *s)
{
    rlx_hasher_add(h, s, strlen(s) + 1);
}

/* A weight's name, type and some of its bytes, spread over it: two checkpoints of one shape differ
 * in them, and a large file is not read for it. */
static void add_weight(rlx_hasher *h, const rlx_tensor *t)
{
    add_text(h, t->name);
    add_text(h, rlx_format_get(t->format)->name);
    rlx_hasher_add(h, t->dim, sizeof t->dim[0] * (size_t)t->rank);
    size_t each = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
    for (size_t i = 0; i < SAMPLES; i++)
        rlx_hasher_add(h, (const char *)t->data + (t->bytes - each) / (SAMPLES - 1) * i, each);
}

/* How positions are rotated, as the tables of some. */
static rlx_status add_rope(rlx_hasher *h, const rlx_rope *rope)
{
    static const int32_t positions[] = {1, 77, 5003};
    if (!rope)
        return RLX_OK;
    size_t bytes = 3 * sizeof(float) * (size_t)(rlx_rope_dim(rope) / 2);
    float *tables = malloc(2 * bytes);
    if (!tables)
        return RLX_OOM();
    rlx_rope_tables(rope, positions, 3, tables, tables + bytes / sizeof(float));
    rlx_hasher_add(h, tables, 2 * bytes);
    free(tables);
    return RLX_OK;
}

/* "llama, exact, 6 layers of 192, 3f0c..": the precision, which decides what states hold, the flow,
 * the weights and the rotation, whatever the place that they were loaded from. */
static rlx_status describe_model(const rlx_model *m, rlx_text *out)
{
    rlx_hasher h;
    rlx_text flow = {0};
    rlx_hasher_init(&h);
    rlx_flow_print(m->flow, &flow);
    if (!flow.oom)
        add_text(&h, flow.data);
    bool oom = flow.oom;
    rlx_text_deinit(&flow);
    if (oom)
        return RLX_OOM();
    for (int i = 0; i < rlx_weights_count(m->weights); i++)
        add_weight(&h, rlx_weights_at(m->weights, i));
    RLX_TRY(add_rope(&h, m->config.rope));
    char hex[65];
    rlx_hash_hex(rlx_hasher_finish(&h), hex);
    rlx_text_putf(out, "%s, %s, %lld layers of %lld, %.16s", m->config.family,
                  m->precision == RLX_FAST ? "fast" : "exact", (long long)m->config.layers,
                  (long long)m->config.hidden, hex);
    return out->oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_session_save(rlx_session *s, int seq, const rlx_model *m, const char *path)
{
    rlx_text model = {0};
    rlx_status st = m ? describe_model(m, &model) : RLX_OK;
    if (!st)
        st = rlx_session_write(s, seq, m ? model.data : "", path);
    rlx_text_deinit(&model);
    return st;
}

rlx_status rlx_session_restore(rlx_session *s, int seq, const rlx_model *m, const char *path)
{
    rlx_text model = {0};
    rlx_status st = m ? describe_model(m, &model) : RLX_OK;
    if (!st && m)
        st = rlx_session_prepare(s, rlx_lazy_peek(&m->lazy[0]));
    if (!st)
        st = rlx_session_read(s, seq, m ? model.data : "", path);
    rlx_text_deinit(&model);
    return st;
}
