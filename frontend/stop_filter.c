#include "frontend/stop_filter.h"

#include <string.h>

/* Emits the first `n` bytes that wait, and drops `drop` of them. */
static bool release(rlx_stop_filter *f, size_t n, size_t drop)
{
    bool on = !n || f->emit(f->user, f->held.data, n);
    memmove(f->held.data, f->held.data + drop, f->held.len - drop + 1);
    f->held.len -= drop;
    f->closed |= !on;
    return on;
}

/* Where the first stop string begins. */
static const char *find_stop(const rlx_stop_filter *f)
{
    const char *first = NULL;
    for (int i = 0; i < f->nstops; i++) {
        const char *hit = memmem(f->held.data, f->held.len, f->stops[i], strlen(f->stops[i]));
        if (hit && (!first || hit < first))
            first = hit;
    }
    return first;
}

/* How many bytes at the end may become a stop string. */
static size_t find_beginning(const rlx_stop_filter *f)
{
    size_t most = 0;
    for (int i = 0; i < f->nstops; i++) {
        size_t n = strlen(f->stops[i]) - 1;
        n = n < f->held.len ? n : f->held.len;
        while (n > most && memcmp(f->held.data + f->held.len - n, f->stops[i], n) != 0)
            n--;
        most = n > most ? n : most;
    }
    return most;
}

bool rlx_stop_filter_put(void *filter, const char *utf8, size_t bytes)
{
    rlx_stop_filter *f = filter;
    if (!f->nstops)
        return f->emit(f->user, utf8, bytes);
    rlx_text_put_bytes(&f->held, utf8, bytes);
    if (f->held.oom)
        return false;
    const char *stop = find_stop(f);
    if (stop) {
        release(f, (size_t)(stop - f->held.data), f->held.len);
        f->closed = f->found = true;
        return false;
    }
    size_t out = f->held.len - find_beginning(f);
    return release(f, out, out);
}

bool rlx_stop_filter_end(rlx_stop_filter *f)
{
    return f->closed || !f->held.len || release(f, f->held.len, f->held.len);
}

void rlx_stop_filter_deinit(rlx_stop_filter *f)
{
    rlx_text_deinit(&f->held);
}
