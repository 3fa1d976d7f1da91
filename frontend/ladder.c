#include "frontend/ladder.h"

#include <strings.h>

rlx_status rlx_ladder_check(const rlx_ladder *ladders, int n)
{
    for (int i = 0; i < n; i++) {
        const rlx_ladder *l = &ladders[i];
        if (!l->symbol || l->n < 1 || l->n > RLX_LADDER_RUNGS)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "the ladder of %s has %d buckets: 1 to %d",
                            l->symbol ? l->symbol : "no symbol", l->n, RLX_LADDER_RUNGS);
        if (l->upper[l->n - 1] > INT32_MAX)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "the ladder of %s: %lld is above %d", l->symbol,
                            (long long)l->upper[l->n - 1], INT32_MAX);
        for (int k = 0; k < l->n; k++)
            if (l->upper[k] <= (k ? l->upper[k - 1] : 0))
                return RLX_FAIL(RLX_INVALID_ARGUMENT,
                                "the ladder of %s: %lld after %lld does not ascend", l->symbol,
                                (long long)l->upper[k], (long long)(k ? l->upper[k - 1] : 0));
        if (rlx_ladder_find(ladders, i, l->symbol))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "the ladder of %s is there twice", l->symbol);
    }
    return RLX_OK;
}

const rlx_ladder *rlx_ladder_find(const rlx_ladder *ladders, int n, const char *symbol)
{
    for (int i = 0; i < n; i++)
        if (!strcasecmp(ladders[i].symbol, symbol))
            return &ladders[i];
    return NULL;
}

int rlx_ladder_choose(const rlx_ladder *l, int64_t value)
{
    int i = 0;
    while (i < l->n && l->upper[i] < value)
        i++;
    return i;
}

void rlx_ladder_print(const rlx_ladder *l, rlx_text *out)
{
    for (int i = 0; i < l->n; i++)
        rlx_text_putf(out, "%s%lld", i ? ", " : "", (long long)l->upper[i]);
}

void rlx_ladder_end_at(rlx_ladder *l, int64_t most)
{
    l->n = rlx_ladder_choose(l, most);
    if (l->n == RLX_LADDER_RUNGS)
        l->n--;
    l->upper[l->n++] = most;
}

/* ---- executables ------------------------------------------------------------------------------ */

void rlx_lazy_init(rlx_lazy *z)
{
    *z = (rlx_lazy){0};
    pthread_mutex_init(&z->lock, NULL);
}

void rlx_lazy_deinit(rlx_lazy *z)
{
    rlx_executable_destroy(atomic_load(&z->exe));
    pthread_mutex_destroy(&z->lock);
}

rlx_executable *rlx_lazy_peek(const rlx_lazy *z)
{
    return atomic_load(&z->exe);
}

rlx_status rlx_lazy_get(rlx_lazy *z, rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                        const rlx_compile_options *o, rlx_executable **out)
{
    rlx_status st = RLX_OK;
    *out = atomic_load(&z->exe);
    if (*out)
        return RLX_OK;
    pthread_mutex_lock(&z->lock);
    *out = atomic_load(&z->exe);
    if (!*out && !(st = rlx_flow_compile(cx, f, w, o, &z->stats, out)))
        atomic_store(&z->exe, *out);
    pthread_mutex_unlock(&z->lock);
    return st;
}
