/* frontend/compile_stats.c: what is told of a compilation: code, memory, the work of a token, counted in HIR. */
#include "frontend/compile.h"

/* Bytes of weights that one run of a function reads for one token: all of each, but one row of a
 * table that is only looked up in. */
static int64_t function_weight_bytes(const rlx_ir_func *f)
{
    int64_t bytes = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_value *w = f->body->args[i];
        if (f->arg_info[i].role != RLX_ROLE_WEIGHT)
            continue;
        int looked_up = 0;
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            looked_up += n->op == RLX_HIR_EMBED && n->in[1] == w;
        bool table = looked_up == rlx_ir_count_uses(f->body, w);
        int64_t elems = 1;
        for (int d = table ? 1 : 0; d < w->type.rank; d++)
            elems *= w->type.dim[d];
        bytes += (int64_t)rlx_format_bytes(w->type.format, elems);
    }
    return bytes;
}

static int64_t token_weight_bytes(const rlx_ir_module *hir)
{
    const rlx_ir_func *entry = rlx_ir_func_find(hir, RLX_ENTRY);
    int64_t bytes = function_weight_bytes(entry);
    for (const rlx_ir_node *n = entry->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(hir, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        bytes += function_weight_bytes(callee) * rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    }
    return bytes;
}

/* Operations of contracting with weights, in `times` runs of a function. */
static void function_operations(const rlx_ir_func *f, int64_t times, const rlx_dims *dims,
                                rlx_compile_stats *stats)
{
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_LINEAR)
            continue;
        const rlx_ir_type *w = &n->in[1]->type;
        int64_t operations = 2 * w->dim[0] * w->dim[1] * times;
        if (rlx_dim_is_symbol(dims, n->in[0]->type.dim[0], "ROWS")) /* of selected rows */
            stats->row_operations += operations;
        else
            stats->token_operations += operations;
    }
}

/* Bytes of keys and values that attending to one position reads: of states that are pages. */
static int64_t function_position_bytes(const rlx_ir_func *f, const rlx_dims *dims)
{
    int64_t bytes = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        if (f->arg_info[i].role != RLX_ROLE_STATE || !rlx_dim_is_symbol(dims, t->dim[0], "PAGES"))
            continue;
        int64_t elems = 1;
        for (int d = 1; d < t->rank; d++)
            elems *= t->dim[d];
        bytes += (int64_t)rlx_format_bytes(t->format, elems) / RLX_PAGE_POSITIONS;
    }
    return bytes;
}

/* `times` runs of a layer: by whether its attention has a window. */
static void layer_position_bytes(const rlx_ir_func *f, int64_t times, const rlx_dims *dims,
                                 rlx_compile_stats *stats)
{
    int64_t window = 0, bytes = function_position_bytes(f, dims) * times;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        if (n->op == RLX_HIR_ATTENTION)
            window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0));
    if (window)
        stats->window_position_bytes += bytes;
    else
        stats->position_bytes += bytes;
    stats->window = window > stats->window ? window : stats->window;
}

static void count_work(const rlx_ir_module *hir, rlx_compile_stats *stats)
{
    const rlx_ir_func *entry = rlx_ir_func_find(hir, RLX_ENTRY);
    function_operations(entry, 1, hir->dims, stats);
    layer_position_bytes(entry, 1, hir->dims, stats);
    for (const rlx_ir_node *n = entry->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(hir, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
        function_operations(callee, count, hir->dims, stats);
        layer_position_bytes(callee, count, hir->dims, stats);
    }
}

void rlx_compile_fill_stats(const rlx_compilation *c, const rlx_program *p,
                            rlx_compile_stats *stats)
{
    *stats = (rlx_compile_stats){
        .kernels = (int)p->nkernels,
        .arena_bytes = p->funcs[p->nfuncs - 1].frame_bytes,
        .arena_lower_bound = p->plan_least,
        .token_weight_bytes = token_weight_bytes(c->hir),
    };
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++)
        stats->code_bytes += (int64_t)p->kernels[i].code_bytes;
    for (const rlx_ir_func *f = c->hir->first; f; f = f->next)
        stats->functions++;
    count_work(c->hir, stats);
}

void rlx_compile_add_stats(rlx_compile_stats *s, const rlx_compile_stats *more)
{
    s->cached = s->cached && more->cached;
    s->kernels += more->kernels;
    s->functions += more->functions - 1;
    s->code_bytes += more->code_bytes;
    s->arena_bytes += more->arena_bytes;
    s->arena_lower_bound += more->arena_lower_bound;
    s->token_weight_bytes += more->token_weight_bytes;
    s->token_operations += more->token_operations;
    s->row_operations += more->row_operations;
    s->position_bytes += more->position_bytes;
    s->window_position_bytes += more->window_position_bytes;
    s->window = s->window > more->window ? s->window : more->window;
}
