/* frontend/model_buckets.c: what a model is compiled for: ladders to buckets, and which of them a step takes. */
#include <stdlib.h>
#include <string.h>

#include "frontend/model.h"

/* ---- ladders --------------------------------------------------------------------------------- */

/* Without options. Tokens that decode together are few, and cheap beside the weights that they share. */
static const rlx_ladder usual_prefill = {"SEQ", 1, {128}}, usual_fast_prefill = {"SEQ", 1, {512}},
                        usual_batch = {"BATCH", 1, {16}};

/* 1 has a bucket of its own, of which there is but one. */
static rlx_status drop_one(rlx_ladder *l)
{
    if (l->n > 1 && l->upper[0] == 1)
        memmove(l->upper, l->upper + 1, sizeof *l->upper * (size_t)--l->n);
    if (l->n == RLX_LADDER_RUNGS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "the ladder of %s has %d buckets beside that of 1: at most %d", l->symbol,
                        l->n, RLX_LADDER_RUNGS - 1);
    if (l->upper[l->n - 1] > RLX_MODEL_TOKENS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "the ladder of %s has %lld: a step has at most %d",
                        l->symbol, (long long)l->upper[l->n - 1], RLX_MODEL_TOKENS);
    return RLX_OK;
}

static rlx_status check_symbols(const rlx_model_options *o)
{
    static const char *const known[] = {"SEQ", "BATCH"};
    RLX_TRY(rlx_ladder_check(o->ladders, o->nladders));
    for (int i = 0; i < o->nladders; i++)
        if (&o->ladders[i] != rlx_ladder_find(o->ladders, o->nladders, known[0]) &&
            &o->ladders[i] != rlx_ladder_find(o->ladders, o->nladders, known[1]))
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "a language model has buckets of SEQ and BATCH, not of %s",
                            o->ladders[i].symbol);
    return RLX_OK;
}

rlx_status rlx_model_make_plan(const rlx_model_options *o, rlx_model_plan *out)
{
    const bool fast = o->precision == RLX_FAST;
    RLX_TRY(check_symbols(o));
    const rlx_ladder *seq = rlx_ladder_find(o->ladders, o->nladders, "SEQ");
    const rlx_ladder *batch = rlx_ladder_find(o->ladders, o->nladders, "BATCH");
    *out = (rlx_model_plan){.prefill = seq ? *seq : fast ? usual_fast_prefill : usual_prefill};
    out->prefill.symbol = "SEQ"; /* what is given is lent */
    RLX_TRY(drop_one(&out->prefill));
    if (o->prefill) {
        rlx_ladder_end_at(&out->prefill, o->prefill);
        RLX_TRY(drop_one(&out->prefill));
    }
    if (!fast && out->prefill.upper[0] == 1) /* the bucket that decodes serves all */
        out->prefill.n = 0;
    if (!fast)
        return RLX_OK;
    out->batch = batch ? *batch : usual_batch;
    out->batch.symbol = "BATCH";
    RLX_TRY(drop_one(&out->batch));
    if (out->batch.upper[0] == 1) /* one by one */
        out->batch.n = 0;
    return RLX_OK;
}

/* ---- buckets --------------------------------------------------------------------------------- */

int rlx_model_bucket_count(const rlx_model_plan *p)
{
    return 1 + p->prefill.n + p->batch.n;
}

void rlx_model_get_bucket(const rlx_model_options *o, const rlx_model_plan *p, int i,
                          rlx_model_bucket *out)
{
    const bool prefill = i > 0 && i <= p->prefill.n;
    const int64_t tokens = i == 0    ? 1
                           : prefill ? p->prefill.upper[i - 1]
                                     : p->batch.upper[i - 1 - p->prefill.n];
    *out = (rlx_model_bucket){.name = i == 0    ? "decode"
                                      : prefill ? "prefill"
                                                : "decode of several",
                              .bucket = {{"TOKENS", tokens}, {"ROWS", tokens}},
                              .compile = {.nbuckets = 2,
                                          .probes = o->probes,
                                          .nprobes = o->nprobes,
                                          .precision = o->precision,
                                          .tuning = o->tuning,
                                          .phase = prefill ? RLX_PREFILL : RLX_DECODE,
                                          .kv_key_format = o->kv_key_format,
                                          .kv_value_format = o->kv_value_format}};
    out->compile.buckets = out->bucket;
}

int rlx_model_choose_bucket(const rlx_model *m, bool decoded, int64_t left, int64_t *n)
{
    const bool fast = m->precision == RLX_FAST;
    const rlx_ladder *l = decoded && fast ? &m->plan.batch : &m->plan.prefill;
    const int64_t most = l->n ? l->upper[l->n - 1] : 1;
    *n = left < most ? left : most;
    if (*n == 1 && (decoded || !fast))
        return 0;
    return 1 + (l == &m->plan.batch ? m->plan.prefill.n : 0) + rlx_ladder_choose(l, *n);
}

rlx_status rlx_model_get_executable(rlx_model *m, int bucket, rlx_executable **out)
{
    rlx_model_bucket b;
    rlx_model_get_bucket(&m->options, &m->plan, bucket, &b);
    RLX_TRY_NOTE(rlx_lazy_get(&m->lazy[bucket], m->cx, m->flow, m->weights, &b.compile, out),
                 "the bucket %s of %lld tokens", b.name, (long long)b.bucket[0].upper);
    return RLX_OK;
}

rlx_status rlx_model_compile(rlx_model *m)
{
    rlx_executable *exe;
    for (int i = 0; i < rlx_model_bucket_count(&m->plan); i++)
        RLX_TRY(rlx_model_get_executable(m, i, &exe));
    return RLX_OK;
}

/* ---- what is said of them -------------------------------------------------------------------- */

static void put_bucket(const rlx_model_bucket *b, rlx_text *out)
{
    const long long tokens = (long long)b->bucket[0].upper;
    rlx_text_putf(out, "%.*s", (int)strcspn(b->name, " "), b->name);
    if (tokens > 1 || b->compile.phase == RLX_PREFILL)
        rlx_text_putf(out, ":%lld", tokens);
    rlx_text_putf(out, "  %s, up to %lld token%s\n", b->name, tokens, tokens > 1 ? "s" : "");
}

/* "decode", "prefill" (the largest), "prefill:16", "decode:16" to a bucket. */
static rlx_status find_bucket(const rlx_model_options *o, const rlx_model_plan *p, const char *name,
                              rlx_model_bucket *out)
{
    const char *colon = strchr(name, ':');
    const size_t n = colon ? (size_t)(colon - name) : strlen(name);
    char *end = NULL;
    const int64_t tokens = colon ? strtoll(colon + 1, &end, 10) : 0;
    const bool plain = !colon || !*end;
    rlx_text all = {0};
    for (int i = rlx_model_bucket_count(p) - 1; i >= 0; i--) {
        rlx_model_get_bucket(o, p, i, out);
        const bool several = i > p->prefill.n;
        if (plain && strcspn(out->name, " ") == n && !strncmp(out->name, name, n) &&
            (colon ? out->bucket[0].upper == tokens : !several))
            return RLX_OK;
    }
    for (int i = 0; i < rlx_model_bucket_count(p); i++) {
        rlx_model_get_bucket(o, p, i, out);
        put_bucket(out, &all);
    }
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "no bucket \"%s\"; there are\n%s", name,
                             all.data ? all.data : "");
    rlx_text_deinit(&all);
    return st;
}

static rlx_status list_buckets(const rlx_model_options *o, const rlx_model_plan *p, char **text)
{
    rlx_text out = {0};
    rlx_model_bucket b;
    for (int i = 0; i < rlx_model_bucket_count(p); i++) {
        rlx_model_get_bucket(o, p, i, &b);
        put_bucket(&b, &out);
    }
    *text = rlx_text_take(&out);
    return *text ? RLX_OK : RLX_OOM();
}

rlx_status rlx_model_inspect(rlx_context *cx, const char *path, const rlx_model_options *options,
                             const char *bucket, const char *what, char **text)
{
    const rlx_model_options o = options ? *options : (rlx_model_options){0};
    rlx_model_plan plan;
    rlx_model_bucket b;
    *text = NULL;
    RLX_TRY(rlx_model_check_options(&o));
    RLX_TRY(rlx_model_make_plan(&o, &plan));
    if (!strcmp(what, "buckets"))
        return list_buckets(&o, &plan, text);
    RLX_TRY(find_bucket(&o, &plan, bucket, &b));
    rlx_model m = {.path = strdup(path)};
    rlx_status st = m.path ? rlx_model_read_files(cx, &m) : RLX_OOM();
    if (!st)
        st = rlx_flow_inspect(cx, m.flow, m.weights, &b.compile, what, text);
    rlx_model_deinit_files(&m);
    RLX_TRY_NOTE(st, "inspecting the model %s", path);
    return RLX_OK;
}
