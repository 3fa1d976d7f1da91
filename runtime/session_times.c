/* runtime/session_times.c: how long kernels take.
 *
 * Each member of the team adds up its own times, in lines of its own; who runs the first part of a
 * launch counts it, which is one member within a phase.
 */
#include <string.h>

#include "runtime/session.h"

enum { LINE_TIMES = 128 / sizeof(double) };

rlx_status rlx_session_make_times(const rlx_session *s, const rlx_executable *e, rlx_binding *b)
{
    const rlx_program *p = e->program;
    const size_t members = (size_t)rlx_team_size(s->team);
    if (!s->time_kernels)
        return RLX_OK;
    rlx_kernel_times *t = &b->times;
    t->nkernels = p->nkernels;
    t->stride = (p->nkernels + LINE_TIMES - 1) / LINE_TIMES * LINE_TIMES;
    t->program = rlx_arena_strdup(b->arena, p->name);
    memcpy(t->upper, p->upper, sizeof t->upper);
    t->kernels = RLX_NEW_ARRAY(b->arena, rlx_kernel_time, p->nkernels + 1);
    t->seconds = RLX_NEW_ARRAY(b->arena, double, members * t->stride + LINE_TIMES);
    t->costs = RLX_NEW_ARRAY(b->arena, rlx_program_cost, p->nkernels + 1);
    if (!t->program || !t->kernels || !t->costs || !t->seconds)
        return RLX_OOM();
    for (uint32_t i = 0; i < p->nkernels; i++) {
        const rlx_program_kernel *k = &p->kernels[i];
        t->costs[i] = k->cost;
        t->kernels[i] =
            (rlx_kernel_time){.program = t->program, .kernel = rlx_arena_strdup(b->arena, k->name)};
        if (!t->kernels[i].kernel)
            return RLX_OOM();
    }
    return RLX_OK;
}

/* How far a symbol is from 1 to its upper bound. */
static double grown(const rlx_binding *b, uint32_t symbol)
{
    const int64_t upper = b->times.upper[symbol];
    return upper > 1 ? (double)(b->symbols[symbol] - 1) / (double)(upper - 1) : 1;
}

static double between(const int64_t *ends, double share)
{
    return (double)ends[0] + share * (double)(ends[1] - ends[0]);
}

void rlx_session_add_time(rlx_binding *b, uint32_t kernel, int part, int member, double seconds)
{
    rlx_kernel_times *t = &b->times;
    t->seconds[(size_t)member * t->stride + kernel] += seconds;
    if (part)
        return;
    const rlx_program_cost *c = &t->costs[kernel];
    rlx_kernel_time *k = &t->kernels[kernel];
    k->launches++;
    if (c->symbol != RLX_NO_SYMBOL && !b->symbols[c->symbol]) /* of nothing, so no work */
        return;
    const double share = c->symbol == RLX_NO_SYMBOL ? 1 : grown(b, c->symbol);
    k->bytes += between(c->bytes, share);
    k->operations += between(c->operations, share);
}

int rlx_session_kernel_count(const rlx_session *s)
{
    uint32_t n = 0;
    for (int i = 0; i < s->nbindings; i++)
        n += s->bindings[i]->times.nkernels;
    return (int)n;
}

void rlx_session_kernel_at(const rlx_session *s, int i, rlx_kernel_time *out)
{
    const int members = rlx_team_size(s->team);
    rlx_binding *const *b = s->bindings;
    uint32_t k = (uint32_t)i;
    for (; k >= (*b)->times.nkernels; b++)
        k -= (*b)->times.nkernels;
    const rlx_kernel_times *t = &(*b)->times;
    *out = t->kernels[k];
    for (int m = 0; m < members; m++)
        out->seconds += t->seconds[(size_t)m * t->stride + k] / members;
}

void rlx_session_clear_times(rlx_session *s)
{
    for (int i = 0; i < s->nbindings; i++) {
        rlx_kernel_times *t = &s->bindings[i]->times;
        if (!t->nkernels)
            continue;
        memset(t->seconds, 0, sizeof *t->seconds * t->stride * (size_t)rlx_team_size(s->team));
        for (uint32_t k = 0; k < t->nkernels; k++)
            t->kernels[k] =
                (rlx_kernel_time){.program = t->program, .kernel = t->kernels[k].kernel};
    }
}
