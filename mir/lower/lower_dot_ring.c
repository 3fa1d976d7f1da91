/* mir/lower/lower_dot_ring.c: rows of codes by way of team memory, ahead of their products.
 *
 *   barrier; { copy of step 0 -> stage 0; commit } .. as many as stages but one
 *   for steps {
 *     wait; barrier            the step's stage is there, and nobody reads the one before any more
 *     copy of a later step -> the stage before; commit
 *     products of the stage }
 *
 * Where a target has no such copies its schedules have no stages. */
#include "mir/lower/lower_dot.h"

static int64_t steps_of(const dots *d)
{
    return d->g->k / d->g->s.k;
}

/* Memory that the kernel has made for stages. */
typedef struct stage_memory {
    rlx_ir_value *memory;
    struct stage_memory *next;
} stage_memory;

static bool is_taken(const dot_ring *r, const rlx_ir_value *memory)
{
    for (int i = 0; i < r->n; i++)
        if (r->of[i].memory == memory)
            return true;
    return false;
}

/* Memory of a kind: what an earlier group left, or new. */
static rlx_status take_memory(kernel_cx *k, const dot_ring *r, rlx_format f, const int64_t *dims,
                              rlx_ir_value **out)
{
    const rlx_ir_type want = rlx_ir_buffer(RLX_SPACE_TEAM, f, 3, dims);
    stage_memory *s = k->stages;
    while (s && (is_taken(r, s->memory) || !rlx_ir_type_equal(&s->memory->type, &want)))
        s = s->next;
    if (!s) {
        s = RLX_NEW(k->arena, stage_memory);
        if (!s)
            return RLX_OOM();
        *s = (stage_memory){rlx_lir_build_alloc(&k->top, f, 3, dims), k->stages};
        if (!s->memory)
            return rlx_ir_builder_finish(&k->top);
        k->stages = s;
    }
    *out = s->memory;
    return RLX_OK;
}

/* Rows of x in global memory, a value for every `by` elements of K, unless they are there. */
static rlx_status add_kind(kernel_cx *k, const dots *d, const rlx_ir_value *x, int64_t by,
                           dot_ring *r)
{
    const int64_t dims[3] = {d->g->s.stages, d->g->s.m, d->g->s.k / by};
    if (!bound(x) || bound(x)->kind != BIND_BUFFER ||
        bound(x)->lir->type.space != RLX_SPACE_GLOBAL || dot_ring_has(r, x) ||
        r->n == DOT_RING_KINDS)
        return RLX_OK;
    rlx_ir_value *memory = NULL;
    RLX_TRY(take_memory(k, r, x->type.format, dims, &memory));
    r->of[r->n].from = x;
    r->of[r->n].by = by;
    r->of[r->n++].memory = memory;
    return RLX_OK;
}

static void index_stage(kernel_cx *k, const dots *d, rlx_ir_value *step, rlx_ir_value **index)
{
    index[0] = rlx_lir_build_map2(k->b, RLX_FN_MOD, step, k_const(k, d->g->s.stages));
    index[1] = index[2] = k_const(k, 0);
}

static const int64_t axes[2] = {1, 2};

/* A step's rows to its stage: by themselves where they are copied as they lie. */
static rlx_status copy_step(kernel_cx *k, const dots *d, const dot_ring *r, rlx_ir_value *step)
{
    rlx_ir_value *index[3];
    index_stage(k, d, step, index);
    for (int i = 0; i < r->n; i++) {
        const span s = {.step = step, .by = r->of[i].by, .width = d->g->s.k / r->of[i].by};
        rlx_ir_value *x, *memory = r->of[i].memory;
        RLX_TRY(dot_load_rows(k, d, r->of[i].from, s, &x));
        const rlx_ir_node *load = x->def;
        if (load->op == RLX_LIR_LOAD && load->in[0]->type.space == RLX_SPACE_GLOBAL &&
            load->in[0]->type.format == memory->type.format)
            rlx_lir_build_store_async(k->b, memory, x, index, axes);
        else
            rlx_lir_build_store(k->b, memory, x, index, axes, NULL);
    }
    return rlx_ir_builder_finish(k->b);
}

bool dot_ring_has(const dot_ring *r, const rlx_ir_value *x)
{
    for (int i = 0; i < r->n; i++)
        if (r->of[i].from == x)
            return true;
    return false;
}

rlx_status dot_ring_begin(kernel_cx *k, const dots *d, dot_ring *r)
{
    *r = (dot_ring){0};
    if (!d->g->s.stages)
        return RLX_OK;
    for (int i = 0; i < d->g->ncontracts; i++) {
        const rlx_ir_node *n = d->g->contract[i];
        const rlx_format f = n->in[3]->type.format;
        RLX_TRY(add_kind(k, d, n->in[0], 1, r));
        RLX_TRY(add_kind(k, d, n->in[1], RLX_MIR_QUANT, r));
        if (rlx_format_has_min(f))
            RLX_TRY(add_kind(k, d, n->in[2], rlx_format_group(f), r));
    }
    if (!r->n)
        return RLX_OK;
    rlx_lir_build_barrier(k->b); /* what was there before is read to its end */
    for (int64_t step = 0; step + 1 < d->g->s.stages; step++) {
        RLX_TRY(copy_step(k, d, r, k_const(k, step)));
        rlx_lir_build_commit(k->b);
    }
    return rlx_ir_builder_finish(k->b);
}

rlx_status dot_ring_step(kernel_cx *k, const dots *d, const dot_ring *r, rlx_ir_value *step)
{
    rlx_lir_scope more;
    if (!r->n)
        return RLX_OK;
    rlx_lir_build_wait(k->b, d->g->s.stages - 2);
    rlx_lir_build_barrier(k->b);
    step = rlx_lir_build_map2(k->b, RLX_FN_ADD, step, k_const(k, d->g->s.stages - 1));
    rlx_lir_begin_if(k->b, rlx_lir_build_map2(k->b, RLX_FN_LT, step, k_const(k, steps_of(d))),
                     &more);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(copy_step(k, d, r, step));
    rlx_lir_end_if(k->b, &more);
    rlx_lir_build_commit(k->b);
    return rlx_ir_builder_finish(k->b);
}

rlx_status dot_ring_load(kernel_cx *k, const dots *d, const dot_ring *r, const rlx_ir_value *x,
                         rlx_ir_value *step, rlx_ir_value **out)
{
    int i = 0;
    rlx_ir_value *index[3];
    while (r->of[i].from != x)
        i++;
    const rlx_ir_type *t = &r->of[i].memory->type;
    const int64_t dims[2] = {t->dim[1], t->dim[2]};
    index_stage(k, d, step, index);
    *out = rlx_lir_build_load(k->b, r->of[i].memory, t->format, 2, dims, index, axes, NULL);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}
