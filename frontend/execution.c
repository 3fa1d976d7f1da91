/* frontend/execution.c: what a flow runs as, to options for compiling it. */
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"

static const char *const phases[] = {"prefill", "decode", "encode", "infer"};
enum { NPHASES = sizeof phases / sizeof *phases, DEFAULT_SEQ = 128 };

/* As ladders of profiles: products of two fit. */
static bool is_extent(int64_t n)
{
    return n >= 0 && n <= INT32_MAX;
}

/* With its defaults filled in. */
static rlx_status complete(const rlx_execution *given, rlx_execution *e)
{
    *e = *given;
    if ((unsigned)e->phase >= NPHASES || !is_extent(e->batch) || !is_extent(e->seq) ||
        !is_extent(e->past))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "an execution of phase %d, batch %lld, seq %lld, past %lld", (int)e->phase,
                        (long long)e->batch, (long long)e->seq, (long long)e->past);
    e->batch = e->batch ? e->batch : 1;
    if (!e->seq)
        e->seq = e->phase == RLX_RUN_DECODE ? 1 : DEFAULT_SEQ;
    return RLX_OK;
}

/* What bounds a symbol; 0: nothing. */
static int64_t find_bound(const rlx_execution *e, const char *symbol, const rlx_bucket *more,
                          int nmore)
{
    const rlx_bucket known[] = {{"BATCH", e->batch}, {"SEQ", e->seq},
                                {"PAST", e->past},   {"TOKENS", e->batch * e->seq},
                                {"ROWS", e->batch},  {"SEQS", e->batch}};
    for (int i = 0; i < nmore; i++)
        if (!strcmp(more[i].symbol, symbol))
            return more[i].upper;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].symbol, symbol))
            return known[i].upper;
    return 0;
}

bool rlx_flow_selects_rows(const rlx_flow *f)
{
    for (int i = 0; i < f->nstages; i++)
        if (f->stages[i].kind == RLX_STAGE_SELECT_ROWS)
            return true;
    return false;
}

static rlx_status bound(const rlx_execution *e, const char *symbol, const rlx_bucket *more,
                        int nmore, rlx_execution_options *out)
{
    const int64_t upper = find_bound(e, symbol, more, nmore);
    if (upper < 1)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "symbol %s: nothing says how large it may be",
                        symbol);
    if (out->options.nbuckets == RLX_EXECUTION_BUCKETS)
        return RLX_FAIL(RLX_EXHAUSTED, "more than %d symbols", RLX_EXECUTION_BUCKETS);
    out->buckets[out->options.nbuckets++] = (rlx_bucket){symbol, upper};
    return RLX_OK;
}

rlx_status rlx_execution_resolve(const rlx_execution *given, const rlx_flow *f,
                                 const rlx_bucket *more, int nmore, rlx_execution_options *out)
{
    rlx_execution e;
    bool rows = false;
    *out = (rlx_execution_options){0};
    RLX_TRY(rlx_flow_check(f));
    RLX_TRY(complete(given, &e));
    out->options.phase = e.phase == RLX_RUN_DECODE ? RLX_DECODE : RLX_PREFILL;
    out->options.buckets = out->buckets;
    for (int i = 0; i < f->nsymbols; i++) {
        RLX_TRY_NOTE(bound(&e, f->symbols[i], more, nmore, out), "running %s", f->name);
        rows |= !strcmp(f->symbols[i], "ROWS");
    }
    return rlx_flow_selects_rows(f) && !rows ? bound(&e, "ROWS", more, nmore, out) : RLX_OK;
}

rlx_status rlx_execution_describe(const rlx_execution *given, char **text)
{
    rlx_execution e;
    rlx_text out = {0};
    *text = NULL;
    RLX_TRY(complete(given, &e));
    rlx_text_putf(&out, "%s batch=%lld seq=%lld past=%lld", phases[e.phase], (long long)e.batch,
                  (long long)e.seq, (long long)e.past);
    *text = rlx_text_take(&out);
    return *text ? RLX_OK : RLX_OOM();
}
