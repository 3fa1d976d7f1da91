/* mir/lower/lower_ring.c: rows of operands by way of team memory, ahead of their products by a matrix unit.
 *
 *   barrier; { copy of step 0 -> stage 0; commit } .. as many as stages but one
 *   for steps {
 *     wait; barrier            the step's stage is there, and nobody reads the one before any more
 *     copy of a later step -> the stage before; commit
 *     products of the stage }
 *
 * Where a target has no such copies its schedules have no stages. */
#include "mir/lower/lower_group.h"

static int64_t steps_of(const group *g)
{
    return g->k / g->s.k;
}

/* Memory that the kernel has made for stages. */
typedef struct stage_memory {
    rlx_ir_value *memory;
    struct stage_memory *next;
} stage_memory;

static bool is_taken(const ring *r, const rlx_ir_value *memory)
{
    for (int i = 0; i < r->n; i++)
        if (r->of[i].memory == memory)
            return true;
    return false;
}

/* Memory of a kind: what an earlier group left, or new. */
static rlx_status take_memory(kernel_cx *k, const ring *r, rlx_format f, const int64_t *dims,
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

static int find(const ring *r, const rlx_ir_value *x)
{
    int i = 0;
    while (i < r->n && r->of[i].from != x)
        i++;
    return i;
}

bool ring_has(const ring *r, const rlx_ir_value *x)
{
    return find(r, x) < r->n;
}

rlx_status ring_add(kernel_cx *k, const group *g, const rlx_ir_value *x, int64_t rows, int64_t by,
                    ring *r)
{
    const int64_t dims[3] = {g->s.stages, rows, g->s.k / by};
    if (!bound(x) || bound(x)->kind != BIND_BUFFER ||
        bound(x)->lir->type.space != RLX_SPACE_GLOBAL || ring_has(r, x) || r->n == RING_KINDS)
        return RLX_OK;
    rlx_ir_value *memory = NULL;
    RLX_TRY(take_memory(k, r, x->type.format, dims, &memory));
    r->of[r->n].from = x;
    r->of[r->n].by = by;
    r->of[r->n++].memory = memory;
    return RLX_OK;
}

static void index_stage(kernel_cx *k, const group *g, rlx_ir_value *step, rlx_ir_value **index)
{
    index[0] = rlx_lir_build_map2(k->b, RLX_FN_MOD, step, k_const(k, g->s.stages));
    index[1] = index[2] = k_const(k, 0);
}

static const int64_t axes[2] = {1, 2};

/* A step's rows to its stage: by themselves where they are copied as they lie. */
static rlx_status copy_step(kernel_cx *k, const group *g, const ring *r, rlx_ir_value *step)
{
    rlx_ir_value *index[3];
    index_stage(k, g, step, index);
    for (int i = 0; i < r->n; i++) {
        rlx_ir_value *x, *memory = r->of[i].memory;
        RLX_TRY(r->load(k, r, i, step, &x));
        const rlx_ir_node *load = x->def;
        if (load->op == RLX_LIR_LOAD && load->in[0]->type.space == RLX_SPACE_GLOBAL &&
            load->in[0]->type.format == memory->type.format)
            rlx_lir_build_store_async(k->b, memory, x, index, axes);
        else
            rlx_lir_build_store(k->b, memory, x, index, axes, NULL);
    }
    return rlx_ir_builder_finish(k->b);
}

rlx_status ring_begin(kernel_cx *k, const group *g, const ring *r)
{
    if (!r->n)
        return RLX_OK;
    rlx_lir_build_barrier(k->b); /* what was there before is read to its end */
    for (int64_t step = 0; step + 1 < g->s.stages; step++) {
        RLX_TRY(copy_step(k, g, r, k_const(k, step)));
        rlx_lir_build_commit(k->b);
    }
    return rlx_ir_builder_finish(k->b);
}

rlx_status ring_step(kernel_cx *k, const group *g, const ring *r, rlx_ir_value *step)
{
    rlx_lir_scope more;
    if (!r->n)
        return RLX_OK;
    rlx_lir_build_wait(k->b, g->s.stages - 2);
    rlx_lir_build_barrier(k->b);
    step = rlx_lir_build_map2(k->b, RLX_FN_ADD, step, k_const(k, g->s.stages - 1));
    rlx_lir_begin_if(k->b, rlx_lir_build_map2(k->b, RLX_FN_LT, step, k_const(k, steps_of(g))),
                     &more);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(copy_step(k, g, r, step));
    rlx_lir_end_if(k->b, &more);
    rlx_lir_build_commit(k->b);
    return rlx_ir_builder_finish(k->b);
}

rlx_status ring_load(kernel_cx *k, const group *g, const ring *r, const rlx_ir_value *x,
                     rlx_ir_value *step, rlx_ir_value **out)
{
    rlx_ir_value *index[3], *memory = r->of[find(r, x)].memory;
    const rlx_ir_type *t = &memory->type;
    const int64_t dims[2] = {t->dim[1], t->dim[2]};
    index_stage(k, g, step, index);
    *out = rlx_lir_build_load(k->b, memory, t->format, 2, dims, index, axes, NULL);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}
