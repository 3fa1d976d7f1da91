/* frontend/executables.c: a flow's executables for ladders of lengths.
 *
 *   ladders, execution --every combination--> buckets: a bound for each symbol of the flow
 *   inputs' shapes     --least that holds--->  bucket --compiled when it is first needed--> run
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "frontend/flow.h"
#include "frontend/ladder.h"

enum { MAX_BUCKETS = 256, MAX_FREE = RLX_MAX_SYMBOLS };

typedef struct bucket {
    rlx_execution_options how; /* points into itself: never moved */
    rlx_lazy lazy;
} bucket;

struct rlx_executables {
    rlx_context *cx;
    const rlx_flow *flow;
    const rlx_weights *weights;
    bucket *buckets;
    int n;
};

/* ---- making ---------------------------------------------------------------------------------- */

static bool is_execution(const rlx_ladder *l)
{
    return !strcasecmp(l->symbol, "SEQ") || !strcasecmp(l->symbol, "BATCH");
}

/* The flow's own spelling of a ladder's symbol; NULL: it has none. */
static const char *find_symbol(const rlx_flow *f, const char *symbol)
{
    for (int i = 0; i < f->nsymbols; i++)
        if (!strcasecmp(f->symbols[i], symbol))
            return f->symbols[i];
    return !strcasecmp(symbol, "ROWS") && rlx_flow_selects_rows(f) ? "ROWS" : NULL;
}

/* Whether some bound of the flow follows from the ladder. */
static rlx_status check_used(const rlx_flow *f, const rlx_ladder *l)
{
    const char *const seq[] = {"SEQ", "TOKENS"}, *const batch[] = {"BATCH", "TOKENS", "ROWS",
                                                                   "SEQS"};
    const bool is_seq = !strcasecmp(l->symbol, "SEQ");
    bool used = !is_execution(l) && find_symbol(f, l->symbol);
    for (int i = 0; i < 2 && is_seq; i++)
        used |= find_symbol(f, seq[i]) != NULL;
    for (int i = 0; i < 4 && is_execution(l) && !is_seq; i++)
        used |= find_symbol(f, batch[i]) != NULL;
    if (used)
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "the ladder of %s: the flow has no such symbol",
                    l->symbol);
}

/* Combination `number` of the ladders, the last one counting fastest, to options. */
static rlx_status resolve(const rlx_flow *f, const rlx_execution *e, const rlx_ladder *ladders,
                          int nladders, const rlx_compile_options *o, int number, bucket *out)
{
    rlx_execution at = *e;
    rlx_bucket more[2 * MAX_FREE];
    int n = 0;
    for (int i = nladders - 1; i >= 0; number /= ladders[i--].n) {
        const int64_t upper = ladders[i].upper[number % ladders[i].n];
        if (!strcasecmp(ladders[i].symbol, "SEQ"))
            at.seq = upper;
        else if (!strcasecmp(ladders[i].symbol, "BATCH"))
            at.batch = upper;
        if (find_symbol(f, ladders[i].symbol))
            more[n++] = (rlx_bucket){find_symbol(f, ladders[i].symbol), upper};
    }
    for (int i = 0; i < o->nbuckets && i < MAX_FREE; i++)
        more[n++] = o->buckets[i];
    RLX_TRY(rlx_execution_resolve(&at, f, more, n, &out->how));
    rlx_compile_options all = *o;
    all.phase = out->how.options.phase;
    all.buckets = out->how.buckets;
    all.nbuckets = out->how.options.nbuckets;
    out->how.options = all;
    return RLX_OK;
}

static rlx_status check(const rlx_flow *f, const rlx_ladder *ladders, int nladders, int *count)
{
    *count = 1;
    RLX_TRY(rlx_flow_check(f));
    RLX_TRY(rlx_ladder_check(ladders, nladders));
    if (nladders > MAX_FREE)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%d ladders: at most %d", nladders, MAX_FREE);
    for (int i = 0; i < nladders; i++) {
        RLX_TRY(check_used(f, &ladders[i]));
        *count *= ladders[i].n;
        if (*count > MAX_BUCKETS)
            return RLX_FAIL(RLX_EXHAUSTED, "the ladders make more than %d buckets", MAX_BUCKETS);
    }
    return RLX_OK;
}

static rlx_status make(rlx_executables *x, const rlx_execution *e, const rlx_ladder *ladders,
                       int nladders, const rlx_compile_options *o)
{
    int count;
    RLX_TRY(check(x->flow, ladders, nladders, &count));
    x->buckets = calloc((size_t)count, sizeof *x->buckets);
    if (!x->buckets)
        return RLX_OOM();
    for (; x->n < count; x->n++) {
        rlx_lazy_init(&x->buckets[x->n].lazy);
        RLX_TRY(resolve(x->flow, e, ladders, nladders, o, x->n, &x->buckets[x->n]));
    }
    return RLX_OK;
}

rlx_status rlx_executables_create(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                                  const rlx_execution *e, const rlx_ladder *ladders, int nladders,
                                  const rlx_compile_options *o, rlx_executables **out)
{
    const rlx_compile_options none = {0};
    *out = NULL;
    rlx_executables *x = calloc(1, sizeof *x);
    if (!x)
        return RLX_OOM();
    *x = (rlx_executables){.cx = cx, .flow = f, .weights = w};
    rlx_status st = make(x, e, ladders, nladders, o ? o : &none);
    if (st) {
        rlx_executables_destroy(x);
        RLX_TRY_NOTE(st, "the buckets of %s", f->name);
    }
    *out = x;
    return RLX_OK;
}

void rlx_executables_destroy(rlx_executables *x)
{
    if (!x)
        return;
    for (int i = 0; i < x->n; i++)
        rlx_lazy_deinit(&x->buckets[i].lazy);
    free(x->buckets);
    free(x);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static rlx_status get(rlx_executables *x, bucket *b, rlx_executable **out)
{
    return rlx_lazy_get(&b->lazy, x->cx, x->flow, x->weights, &b->how.options, out);
}

rlx_status rlx_executables_compile(rlx_executables *x)
{
    rlx_executable *exe;
    for (int i = 0; i < x->n; i++)
        RLX_TRY(get(x, &x->buckets[i], &exe));
    return RLX_OK;
}

int rlx_executables_count(const rlx_executables *x)
{
    return x->n;
}

void rlx_executables_at(const rlx_executables *x, int i, rlx_executables_bucket *out)
{
    const bucket *b = &x->buckets[i];
    *out = (rlx_executables_bucket){.buckets = b->how.buckets,
                                    .nbuckets = b->how.options.nbuckets,
                                    .compiled = rlx_lazy_peek(&b->lazy) != NULL};
    if (out->compiled)
        out->stats = b->lazy.stats;
}

/* ---- running --------------------------------------------------------------------------------- */

static const rlx_stage *find_input(const rlx_flow *f, const char *name)
{
    for (int i = 0; i < f->nstages; i++)
        if (f->stages[i].kind == RLX_STAGE_INPUT && !strcmp(f->stages[i].name, name))
            return &f->stages[i];
    return NULL;
}

/* What inputs say of a symbol; -1: nothing. Whether they agree is for running them to check. */
static int64_t find_live(const rlx_flow *f, const rlx_tensor *inputs, int n, const char *symbol)
{
    for (int i = 0; i < n; i++) {
        const rlx_stage *s = find_input(f, inputs[i].name);
        if (!s && !strcmp(inputs[i].name, "rows") && !strcmp(symbol, "ROWS") && inputs[i].rank == 1)
            return inputs[i].dim[0];
        for (int d = 0; s && d < s->rank && d < inputs[i].rank; d++)
            if (s->dim[d] < 0 && !strcmp(f->symbols[-1 - s->dim[d]], symbol))
                return inputs[i].dim[d];
    }
    return -1;
}

static bool holds(const rlx_executables *x, const bucket *b, const rlx_tensor *inputs, int n,
                  double *size)
{
    *size = 1;
    for (int i = 0; i < b->how.options.nbuckets; i++) {
        const rlx_bucket *bound = &b->how.buckets[i];
        if (find_live(x->flow, inputs, n, bound->symbol) > bound->upper)
            return false;
        *size *= (double)bound->upper;
    }
    return true;
}

/* Names a symbol that no bucket holds; where each has one that does, the combination of them. */
static rlx_status outgrown(const rlx_executables *x, const rlx_tensor *inputs, int n)
{
    rlx_text all = {0};
    for (int i = 0; i < x->buckets[0].how.options.nbuckets; i++) {
        const char *symbol = x->buckets[0].how.buckets[i].symbol;
        const int64_t live = find_live(x->flow, inputs, n, symbol);
        int64_t most = 0;
        for (int k = 0; k < x->n; k++)
            if (x->buckets[k].how.buckets[i].upper > most)
                most = x->buckets[k].how.buckets[i].upper;
        if (live > most) {
            rlx_text_deinit(&all);
            return RLX_FAIL(RLX_EXHAUSTED, "%s is %lld, and the largest bucket of %s holds %lld",
                            symbol, (long long)live, x->flow->name, (long long)most);
        }
        if (live >= 0)
            rlx_text_putf(&all, "%s%s %lld", all.len ? ", " : "", symbol, (long long)live);
    }
    rlx_status st = RLX_FAIL(RLX_EXHAUSTED, "no bucket of %s holds %s", x->flow->name,
                             all.data ? all.data : "");
    rlx_text_deinit(&all);
    return st;
}

rlx_status rlx_executables_run(rlx_executables *x, rlx_session *s, const rlx_tensor *inputs,
                               int ninputs)
{
    bucket *least = NULL;
    double size, best = 0;
    for (int i = 0; i < x->n; i++)
        if (holds(x, &x->buckets[i], inputs, ninputs, &size) && (!least || size < best)) {
            least = &x->buckets[i];
            best = size;
        }
    if (!least)
        return outgrown(x, inputs, ninputs);
    rlx_executable *exe;
    RLX_TRY(get(x, least, &exe));
    return rlx_executable_run(exe, s, inputs, ninputs);
}
