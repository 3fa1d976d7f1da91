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

/* ---- tensor maps ---- */

/* Which argument of the kernel; -1: none. */
static int argument_of(const rlx_ir_func *kernel, const rlx_ir_value *v)
{
    for (int i = 0; i < kernel->body->nargs; i++)
        if (kernel->body->args[i] == v)
            return i;
    return -1;
}

static bool are_axes(const rlx_ir_node *access, int first)
{
    const rlx_attr *axes = rlx_ir_attr(access, RLX_ATTR_AXES);
    return axes->ints[0] == first && axes->ints[1] == first + 1;
}

/* A limit of any axis but that of the rows. */
static bool shortens_rows(const rlx_ir_node *load)
{
    const rlx_attr *limits = rlx_ir_attr(load, RLX_ATTR_LIMITS);
    return limits && (limits->n > 1 || limits->ints[0] != 0);
}

static bool describe_map(const rlx_ir_func *kernel, const rlx_ir_node *store, rlx_program_map *out)
{
    enum { ALIGN = 16, WIDEST = 128, LEAST = 32, SWIZZLED = 8, BOX = 256, RING_RANK = 3 };
    const rlx_ir_node *load = store->in[1]->def;
    if (store->op != RLX_LIR_STORE || !rlx_ir_attr(store, RLX_ATTR_ASYNC) || !load ||
        load->op != RLX_LIR_LOAD)
        return false;
    const rlx_ir_type *from = &load->in[0]->type, *tile = &load->out[0]->type,
                      *to = &store->in[0]->type;
    const int buffer = argument_of(kernel, load->in[0]);
    const int64_t bytes = rlx_format_get(from->format)->block_bytes;
    if (buffer < 0 || from->rank != 2 || tile->rank != 2 || to->rank != RING_RANK || bytes > 2 ||
        from->format != tile->format || !are_axes(load, 0) || !are_axes(store, 1) ||
        shortens_rows(load) || !rlx_dim_is_const(from->dim[1]) || tile->dim[0] != to->dim[1] ||
        tile->dim[1] != to->dim[2])
        return false;
    const int64_t row = tile->dim[1] * bytes,
                  rows = rlx_dim_is_const(from->dim[0]) ? from->dim[0] : 0;
    if (from->dim[1] * bytes % ALIGN != 0 || from->dim[1] > INT32_MAX || rows > INT32_MAX ||
        tile->dim[0] % SWIZZLED != 0 || tile->dim[0] > BOX || row < LEAST || row > WIDEST ||
        (row & (row - 1)) != 0)
        return false;
    *out = (rlx_program_map){.buffer = (uint32_t)buffer,
                             .bytes = (uint32_t)bytes,
                             .rows = rows,
                             .columns = from->dim[1],
                             .box_rows = (uint32_t)tile->dim[0],
                             .box_columns = (uint32_t)tile->dim[1]};
    return true;
}

int rlx_jit_map_of(const rlx_ir_func *kernel, const rlx_ir_node *store, const rlx_program_map *maps,
                   int n)
{
    rlx_program_map own;
    if (!describe_map(kernel, store, &own))
        return -1;
    for (int i = 0; i < n; i++)
        if (maps[i].buffer == own.buffer && maps[i].box_rows == own.box_rows &&
            maps[i].box_columns == own.box_columns)
            return i;
    return -1;
}

static void add_maps(const rlx_ir_func *kernel, const rlx_ir_block *block, rlx_program_map *out,
                     int *n)
{
    for (const rlx_ir_node *node = block->first; node; node = node->next) {
        for (int i = 0; i < node->nblock; i++)
            add_maps(kernel, node->blocks[i], out, n);
        if (node->op == RLX_LIR_STORE && *n < RLX_PROGRAM_MAPS &&
            rlx_jit_map_of(kernel, node, out, *n) < 0)
            *n += describe_map(kernel, node, &out[*n]);
    }
}

int rlx_jit_maps(const rlx_ir_func *kernel, rlx_program_map out[RLX_PROGRAM_MAPS])
{
    int n = 0;
    add_maps(kernel, kernel->body, out, &n);
    return n;
}

/* ---- grids ---- */

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

/* Of a panel's K, in a loop: steps that are written out. What a load counts at most: larger tiles are panels, which are
 * read where they are multiplied. */
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
