#include "jit/kernel_info.h"

static int64_t elems(const rlx_ir_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

int64_t rlx_jit_alloc_bytes(const rlx_ir_node *alloc)
{
    const rlx_ir_type *t = &alloc->out[0]->type;
    return ((int64_t)rlx_format_bytes(t->format, elems(t)) + 63) & ~(int64_t)63;
}

int64_t rlx_jit_team_bytes(const rlx_ir_func *kernel)
{
    int64_t bytes = 0;
    for (const rlx_ir_node *n = kernel->body->first; n; n = n->next)
        if (n->op == RLX_LIR_ALLOC)
            bytes += rlx_jit_alloc_bytes(n);
    return bytes;
}

static rlx_dim extent_of(const rlx_ir_value *v)
{
    if (v->def && v->def->op == RLX_LIR_EXTENT)
        return rlx_ir_attr_int(v->def, RLX_ATTR_EXTENT, RLX_GRID_UNKNOWN);
    if (v->def && v->def->op == RLX_LIR_CONST)
        return rlx_ir_attr_int(v->def, RLX_ATTR_IVALUE, RLX_GRID_UNKNOWN);
    return RLX_GRID_UNKNOWN;
}

rlx_status rlx_jit_grid_extents(const rlx_ir_func *kernel, rlx_dim out[RLX_PROGRAM_GRID])
{
    for (int a = 0; a < RLX_PROGRAM_GRID; a++)
        out[a] = 1;
    for (const rlx_ir_node *n = kernel->body->first; n; n = n->next)
        for (int a = 0; n->op == RLX_LIR_GRID && a < n->nin; a++) {
            out[a] = rlx_dim_make(kernel->module->dims, RLX_DIM_MAX, out[a], extent_of(n->in[a]));
            if (out[a] == RLX_DIM_INVALID)
                return RLX_FAIL(RLX_INVALID_IR, "@%s: a grid's extent is none", kernel->name);
        }
    return RLX_OK;
}

/* Of a panel's K, in a loop: steps that are written out. What loads at most: panels are read where they are multiplied. */
enum { PANEL_STEPS = 8, MOST_OF_LOAD = 64 };

static int64_t vectors(const rlx_ir_type *t)
{
    return t->kind == RLX_TYPE_TILE ? (elems(t) + 15) / 16 : 1;
}

static int64_t block_cost(const rlx_ir_block *block)
{
    int64_t cost = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        const rlx_ir_type *t = n->nout ? &n->out[0]->type : NULL;
        if (n->op == RLX_LIR_STORE)
            t = &n->in[1]->type;
        int64_t c = t ? vectors(t) : 1;
        if (n->op == RLX_LIR_LOAD && c > MOST_OF_LOAD)
            c = MOST_OF_LOAD;
        if (n->op == RLX_LIR_CONTRACT)
            c *= n->in[1]->type.dim[1] / t->dim[2];
        if (n->op == RLX_LIR_DOT)
            c = c * n->in[1]->type.dim[1] / 64 * 2 + elems(&n->in[3]->type) / 16;
        if (n->op == RLX_LIR_DOT_ROWS) /* a loop over groups: one is written out */
            c += elems(&n->in[3]->type) / 64;
        if (n->op == RLX_LIR_CONTRACT_ROWS) /* of chunks, as many as go together */
            c += elems(&n->in[2]->type) / 64;
        if (n->op == RLX_LIR_DOT_PANEL || n->op == RLX_LIR_OUTER || n->op == RLX_LIR_OUTER_BF16)
            c *= PANEL_STEPS;
        if (n->op == RLX_LIR_REDUCE)
            c = 3 * vectors(&n->in[0]->type);
        cost += c;
        for (int i = 0; i < n->nblock; i++)
            cost += block_cost(n->blocks[i]);
    }
    return cost;
}

int64_t rlx_jit_kernel_cost(const rlx_ir_func *kernel)
{
    return block_cost(kernel->body);
}
