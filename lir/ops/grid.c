/* lir/ops/grid.c: independent instances, one per index vector
 *   C1  1 to 3 extents.                 C2  extents are i64 scalars.
 *   C3  the block's arguments are one i64 scalar per extent, and it yields nothing. */
#include <stdlib.h>

#include "lir/lir_eval.h"

rlx_status rlx_lir_grid_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", n->nin <= RLX_LIR_MAX_GRID, "%d extents, more than %d", n->nin,
                   RLX_LIR_MAX_GRID);
    for (int i = 0; i < n->nin; i++)
        RLX_TRY(rlx_lir_require_index(m, n, "C2", i));
    const rlx_ir_block *body = n->blocks[0];
    RLX_TRY(rlx_lir_require_types(m, n, "C3", "block arguments", body->nargs, body->args, n->nin,
                                  n->in));
    RLX_IR_REQUIRE(m, n, "C3", body->last->nin == 0, "the block yields %d values", body->last->nin);
    return RLX_OK;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The order in which a team runs its `n` instances: a permutation on the heap. */
static uint32_t *shuffle(rlx_lir_eval *e, int64_t n)
{
    uint32_t *order = malloc(sizeof *order * (size_t)(n ? n : 1));
    for (int64_t k = 0; order && k < n; k++) {
        int64_t j = (int64_t)(next_random(&e->random) % (uint64_t)(k + 1));
        order[k] = order[j];
        order[j] = (uint32_t)k;
    }
    return order;
}

static rlx_status run_instance(rlx_lir_eval *e, const rlx_lir_grid_range *r, int64_t number)
{
    e->instance = r->first + (uint32_t)number;
    rlx_lir_pass_barrier(e);
    for (int a = r->grid->nin - 1; a >= 0; a--) {
        *(int64_t *)r->grid->code[0]->args[a]->data = number % r->extent[a];
        number /= r->extent[a];
    }
    RLX_TRY(rlx_lir_eval_code(e, r->grid->code[0]));
    return rlx_lir_check_arrived(e, r->grid);
}

rlx_status rlx_lir_grid_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_grid_range *r = e->grids;
    while (r->grid != i)
        r++;
    int64_t teams = e->options->teams ? e->options->teams : 1;
    int64_t lo = r->count * e->team / teams, hi = r->count * (e->team + 1) / teams;
    uint32_t *order = NULL;
    if (e->options->seed && !(order = shuffle(e, hi - lo)))
        return RLX_OOM();
    rlx_status st = RLX_OK;
    for (int64_t k = lo; k < hi && !st; k++)
        st = run_instance(e, r, order ? lo + order[k - lo] : k);
    free(order);
    return st;
}
