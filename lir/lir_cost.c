/* lir/lir_cost.c: what a kernel or a tape moves and computes, counted from the text.
 *
 * Loop bounds and grid extents are worked out from constants, extents and integer maps; where they
 * hang on another loop's or the grid's index, as they are at its first; a loop whose bounds come
 * from memory (the pages of a sequence) runs as often as the caller says. Tiles are counted whole,
 * so edges count as if they were full. */
#include "lir/lir.h"
#include "lir/ops/ops.h"

typedef struct counter {
    const rlx_ir_func *kernel;
    const int64_t *symbols;
    int64_t unknown_trips;
    int64_t *read, *written; /* bytes by argument */
    int64_t flops;
} counter;

static bool scalar_value(const counter *c, const rlx_ir_value *v, int64_t *out);

/* The first value of an index of a grid or a loop. */
static bool first_index(const counter *c, const rlx_ir_value *v, int64_t *out)
{
    const rlx_ir_node *parent = v->block->parent;
    if (!parent || (parent->op == RLX_LIR_FOR && v->index > 0))
        return false;
    if (parent->op == RLX_LIR_FOR)
        return scalar_value(c, parent->in[0], out);
    *out = 0;
    return parent->op == RLX_LIR_GRID;
}

/* The value of an integer scalar, when it follows from constants and extents. */
static bool scalar_value(const counter *c, const rlx_ir_value *v, int64_t *out)
{
    const rlx_ir_node *n = v->def;
    if (v->type.rank != 0 || rlx_format_is_float(v->type.format))
        return false;
    if (!n)
        return first_index(c, v, out);
    if (n->op == RLX_LIR_CONST) {
        *out = rlx_ir_attr_int(n, RLX_ATTR_IVALUE, 0);
        return true;
    }
    if (n->op == RLX_LIR_EXTENT) {
        rlx_dim dim = rlx_ir_attr_int(n, RLX_ATTR_EXTENT, 0);
        *out = rlx_dim_eval(c->kernel->module->dims, dim, c->symbols);
        return true;
    }
    rlx_format f = n->op == RLX_LIR_MAP ? n->in[n->nin - 1]->type.format : RLX_F32;
    if (rlx_format_is_float(f))
        return false;
    rlx_scalar in[3] = {{0}};
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    for (int i = 0; i < n->nin; i++) {
        if (!scalar_value(c, n->in[i], &in[i].i))
            return false;
    }
    *out = rlx_map_fn_eval(fn, f, in).i;
    return true;
}

static int64_t trips(const counter *c, const rlx_ir_node *n)
{
    int64_t lo, hi, step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    if (!scalar_value(c, n->in[0], &lo) || !scalar_value(c, n->in[1], &hi))
        return c->unknown_trips;
    return hi > lo ? (hi - lo + step - 1) / step : 0;
}

static int64_t instances(const counter *c, const rlx_ir_node *n)
{
    int64_t count = 1, extent;
    for (int i = 0; i < n->nin; i++)
        count *= scalar_value(c, n->in[i], &extent) ? extent : c->unknown_trips;
    return count;
}

static int64_t elements(const rlx_ir_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

/* `bytes` is NULL when only flops are wanted; team memory moves nothing. */
static void count_access(const rlx_ir_node *n, int64_t *bytes, const rlx_ir_type *tile,
                         int64_t times)
{
    const rlx_ir_value *buffer = n->in[0];
    if (!bytes || buffer->def)
        return;
    const rlx_format_info *info = rlx_format_get(buffer->type.format);
    rlx_lir_part part = rlx_lir_part_of(n);
    if (part == RLX_LIR_SCALE || part == RLX_LIR_MIN) /* of the blocks that the codes came with */
        return;
    bytes[buffer->index] += times * elements(tile) * info->block_bytes / info->block_elems;
}

static void count_block(counter *c, const rlx_ir_block *block, int64_t times);

/* Of an if the side that computes more counts. */
static void count_if(counter *c, const rlx_ir_node *n, int64_t times)
{
    counter probe = *c;
    int64_t flops[2];
    for (int i = 0; i < 2; i++) {
        probe.flops = 0;
        probe.read = probe.written = NULL;
        count_block(&probe, n->blocks[i], 1);
        flops[i] = probe.flops;
    }
    count_block(c, n->blocks[flops[1] > flops[0]], times);
}

static void count_node(counter *c, const rlx_ir_node *n, int64_t times)
{
    switch ((rlx_lir_op)n->op) {
    case RLX_LIR_GRID:
        count_block(c, n->blocks[0], instances(c, n));
        break;
    case RLX_LIR_ONCE:
        count_block(c, n->blocks[0], times);
        break;
    case RLX_LIR_FOR:
        count_block(c, n->blocks[0], times * trips(c, n));
        break;
    case RLX_LIR_IF:
        count_if(c, n, times);
        break;
    case RLX_LIR_LOAD:
        count_access(n, c->read, &n->out[0]->type, times);
        break;
    case RLX_LIR_STORE:
        count_access(n, c->written, &n->in[1]->type, times);
        break;
    case RLX_LIR_CONTRACT:
    case RLX_LIR_CONTRACT_ROWS:
        c->flops += times * 2 * elements(&n->in[1]->type) * n->in[0]->type.dim[1];
        break;
    case RLX_LIR_DOT:
    case RLX_LIR_DOT_ROWS:
        c->flops += times * 2 * elements(&n->in[1]->type) * n->in[3]->type.dim[0];
        break;
    case RLX_LIR_DOT_PANEL:
    case RLX_LIR_OUTER_BF16:
        c->flops += times * 2 * elements(&n->in[1]->type) * n->in[0]->type.dim[1];
        break;
    case RLX_LIR_OUTER:
        c->flops += times * 2 * elements(&n->in[1]->type) * n->in[2]->type.dim[1];
        break;
    case RLX_LIR_REDUCE:
        c->flops += times * (elements(&n->in[0]->type) - elements(&n->out[0]->type));
        break;
    case RLX_LIR_MAP:
        if (rlx_format_is_float(n->out[0]->type.format))
            c->flops += times * elements(&n->out[0]->type);
        break;
    default:
        break;
    }
}

static void count_block(counter *c, const rlx_ir_block *block, int64_t times)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next)
        count_node(c, n, times);
}

/* Accesses beyond a buffer's live size come from caches. */
static int64_t sum_bytes(const counter *c, const int64_t *bytes)
{
    int64_t sum = 0;
    for (int i = 0; i < c->kernel->body->nargs; i++) {
        const rlx_ir_type *t = &c->kernel->body->args[i]->type;
        const rlx_format_info *info = rlx_format_get(t->format);
        int64_t live = info->block_bytes;
        for (int a = 0; a < t->rank; a++)
            live *= rlx_dim_eval(c->kernel->module->dims, t->dim[a], c->symbols);
        live /= info->block_elems;
        sum += bytes[i] < live ? bytes[i] : live;
    }
    return sum;
}

static rlx_status count_kernel(const rlx_ir_func *kernel, const int64_t *symbols,
                               int64_t unknown_trips, int64_t times, rlx_lir_cost *cost)
{
    int nargs = kernel->body->nargs;
    enum { MAX_ARGS = 64 };
    int64_t bytes[2 * MAX_ARGS] = {0};
    if (nargs > MAX_ARGS)
        return RLX_FAIL(RLX_UNSUPPORTED, "counting kernel @%s, which has %d buffers", kernel->name,
                        nargs);
    counter c = {.kernel = kernel,
                 .symbols = symbols,
                 .unknown_trips = unknown_trips,
                 .read = bytes,
                 .written = bytes + nargs};
    count_block(&c, kernel->body, 1);
    cost->bytes_read += times * sum_bytes(&c, c.read);
    cost->bytes_written += times * sum_bytes(&c, c.written);
    cost->flops += times * c.flops;
    return RLX_OK;
}

static rlx_status count_func(const rlx_ir_func *f, const int64_t *symbols, int64_t unknown_trips,
                             int64_t times, rlx_lir_cost *cost)
{
    if (f->is_kernel)
        return count_kernel(f, symbols, unknown_trips, times, cost);
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        const rlx_ir_func *callee = rlx_lir_callee(f->module, n);
        int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
        if (callee)
            RLX_TRY(count_func(callee, symbols, unknown_trips, times * count, cost));
    }
    return RLX_OK;
}

rlx_status rlx_lir_count_cost(const rlx_ir_func *f, const int64_t *symbols, int64_t unknown_trips,
                              rlx_lir_cost *cost)
{
    *cost = (rlx_lir_cost){0};
    return count_func(f, symbols, unknown_trips, 1, cost);
}
