/* mir/lower/lower_recur.c: recurrences.
 *
 *   grid of the parallel axes { for each step { in program order: what the step cannot do without
 * in memory, and outputs as soon as they are there; then the states that were not updated in place
 * } }
 *
 * States are in memory all the time: in the session's pools, or where the result will be, which a
 * kernel before this one fills; or copied to team memory while one sequence's steps go on
 * (lower_recur_state.c). What lies between is computed where it is used, element by element,
 * but for folds, products, next states, and what is used again and again: that goes through team
 * memory. Kind rows takes the block's last axes by tiles, kind columns the last parallel axis;
 * where that does not work out, single elements are taken. The bits are the same. */
#include <string.h>

#include "mir/lower/lower_recur.h"

/* ---- what a step needs in memory ----------------------------------------------------------------
 */

static const rlx_ir_value *yielded(const recur_cx *x, int result)
{
    return recur_step_of(x)->last->in[result];
}

/* Used for each element of something larger. */
static bool is_repeated(const recur_cx *x, const rlx_ir_value *v)
{
    for (const rlx_ir_node *u = recur_step_of(x)->first; u; u = u->next)
        if ((u->op == RLX_MIR_BROADCAST || u->op == RLX_MIR_CONTRACT) && u->in[0] == v)
            return true;
    return false;
}

static bool is_yielded(const recur_cx *x, const rlx_ir_value *v, int from)
{
    for (int i = from; i < x->n->nout; i++)
        if (yielded(x, i) == v)
            return true;
    return false;
}

static bool goes_to_memory(const recur_cx *x, const rlx_ir_node *n)
{
    if (n->op == RLX_MIR_REDUCE || n->op == RLX_MIR_CONTRACT)
        return true;
    if (n->op == RLX_MIR_YIELD || n->op == RLX_MIR_CONST)
        return false;
    if (is_yielded(x, n->out[0], x->s.outputs))
        return true;
    const bool is_view = rlx_mir_level.ops[n->op].traits & RLX_VIEW;
    return !is_view && is_repeated(x, n->out[0]);
}

/* Whether computing `v` reads state `state`: up to what is in memory by then. */
static bool reads(const recur_cx *x, const rlx_ir_value *v, int state, bool root)
{
    const rlx_ir_node *n = v->def;
    if (!n)
        return recur_state_of_arg(x, v) == state;
    if (!root && goes_to_memory(x, n))
        return false;
    for (int i = 0; i < n->nin; i++)
        if (reads(x, n->in[i], state, false))
            return true;
    return false;
}

/* Whether an element of `v` reads of the state the same element only. */
static bool reads_in_place(const recur_cx *x, const rlx_ir_value *v, int state, bool root)
{
    const rlx_ir_node *n = v->def;
    if (!n || (!root && goes_to_memory(x, n)))
        return true;
    const bool same = n->op == RLX_MIR_MAP || n->op == RLX_MIR_CAST;
    for (int i = 0; i < n->nin; i++) {
        const bool alike = same && n->in[i]->type.rank == v->type.rank;
        if (alike ? !reads_in_place(x, n->in[i], state, false) : reads(x, n->in[i], state, false))
            return false;
    }
    return true;
}

static bool event_reads(const recur_cx *x, const event *e, int state)
{
    if (e->node)
        return reads(x, e->node->out[0], state, true);
    const rlx_ir_value *v = e->output < 0 ? e->arg : yielded(x, e->output);
    return !(v->def && goes_to_memory(x, v->def)) && reads(x, v, state, false);
}

/* The state that event `at` may write to its place: nothing behind it reads what was there. */
static int state_in_place(const recur_cx *x, int at)
{
    const rlx_ir_value *v = x->events[at].node->out[0];
    for (int i = 0; i < x->s.states; i++) {
        bool free =
            yielded(x, x->s.outputs + i) == v && v->type.rank > 0 && reads_in_place(x, v, i, true);
        for (int k = at + 1; free && k < x->nevents; k++)
            free = !event_reads(x, &x->events[k], i);
        if (free)
            return i;
    }
    return -1;
}

static void add_outputs(recur_cx *x, const rlx_ir_node *of)
{
    for (int i = 0; i < x->s.outputs; i++)
        if (yielded(x, i)->def == of)
            x->events[x->nevents++] = (event){.output = i, .state = -1};
}

static rlx_status plan_events(recur_cx *x)
{
    int most = x->n->nout + x->s.states;
    for (const rlx_ir_node *n = recur_step_of(x)->first; n; n = n->next)
        most++;
    x->events = RLX_NEW_ARRAY(x->k.arena, event, most);
    x->nevents = 0;
    if (!x->events)
        return RLX_OOM();
    for (int i = 0; i < x->s.states; i++) {
        const rlx_ir_value *v = yielded(x, x->s.outputs + i);
        const int from = recur_state_of_arg(x, v);
        if (from >= 0 && from != i && !is_yielded(x, v, x->s.outputs + i + 1))
            x->events[x->nevents++] = (event){.output = -1, .arg = v, .state = -1};
    }
    add_outputs(x, NULL);
    for (const rlx_ir_node *n = recur_step_of(x)->first; n; n = n->next) {
        if (goes_to_memory(x, n))
            x->events[x->nevents++] = (event){.node = n, .state = -1};
        add_outputs(x, n);
    }
    for (int i = 0; i < x->nevents; i++)
        if (x->events[i].node)
            x->events[i].state = state_in_place(x, i);
    return RLX_OK;
}

/* ---- loops over the block's axes ----------------------------------------------------------------
 */

rlx_status recur_axes_begin(recur_cx *x, const rlx_ir_type *t, bool tiles, inner_loops *a)
{
    kernel_cx *k = &x->k;
    a->n = t->rank;
    for (int i = 0; i < a->n; i++) {
        const bool tile = tiles && x->rows && i == a->n - 1;
        const int64_t w = tile ? rlx_lir_schedule_width(k->options->target, t->dim[i]) : 1;
        rlx_ir_value *hi = k_extent(k, t->dim[i]);
        rlx_lir_begin_for(k->b, k_const(k, 0), hi, w, 0, NULL, &a->s[i]);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        a->c[i] = nest_enter(&x->l, &a->s[i], a->s[i].index[0], t->dim[i]);
        if (!tile)
            continue;
        a->last = (tile_space){.rank = 1, .dim = {w}, .root = {a->s[i].index[0]}};
        a->last.limit[0] = t->dim[i] % w == 0 ? NULL : hi;
        a->c[i].term[0].axis = 0;
        x->l.tile = &a->last;
    }
    return nest_overflow(&x->l);
}

rlx_status recur_axes_end(recur_cx *x, inner_loops *a)
{
    for (int i = a->n - 1; i >= 0; i--) {
        nest_leave(&x->l);
        rlx_lir_end_for(x->k.b, &a->s[i], NULL);
    }
    x->l.tile = x->columns ? &x->lane : NULL;
    return rlx_ir_builder_finish(x->k.b);
}

bool recur_picks(const rlx_ir_value *v)
{
    const rlx_ir_node *n = bound(v) ? NULL : v->def;
    if (!n)
        return false;
    if (n->op == RLX_MIR_PAD || n->op == RLX_MIR_CONCAT || n->op == RLX_MIR_GATHER ||
        n->op == RLX_MIR_IOTA || rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) != 1)
        return true;
    for (int i = 0; i < n->nin; i++)
        if (recur_picks(n->in[i]))
            return true;
    return false;
}

rlx_status recur_store_value(recur_cx *x, const rlx_ir_value *v, const value_part *to)
{
    inner_loops a;
    rlx_ir_value *e;
    if (!to)
        return rlx_ir_builder_finish(x->k.b);
    RLX_TRY(recur_axes_begin(x, &v->type, !recur_picks(v), &a));
    RLX_TRY(scalar_at(&x->l, v, a.c, &e));
    if (x->held[0]) /* team memory: who reads an element to change it has read it */
        rlx_lir_build_barrier(x->k.b);
    RLX_TRY(scalar_store(&x->l, to, e, a.c));
    RLX_TRY(recur_axes_end(x, &a));
    rlx_lir_build_barrier(x->k.b);
    return rlx_ir_builder_finish(x->k.b);
}

rlx_status recur_store_zeros(recur_cx *x, const rlx_ir_value *like, const value_part *to)
{
    inner_loops a;
    if (!to)
        return rlx_ir_builder_finish(x->k.b);
    RLX_TRY(recur_axes_begin(x, &like->type, true, &a));
    rlx_format f = like->type.format;
    rlx_ir_value *zero = rlx_format_is_float(f) ? rlx_lir_build_fill(x->k.b, f, 0, NULL, 0)
                                                : rlx_lir_build_fill_int(x->k.b, f, 0, NULL, 0);
    if (!zero)
        return rlx_ir_builder_finish(x->k.b);
    RLX_TRY(scalar_store(&x->l, to, zero, a.c));
    return recur_axes_end(x, &a);
}

/* ---- a step -------------------------------------------------------------------------------------
 */

/* A number (kind columns: one for each column of the tile). */
static rlx_status make_number(recur_cx *x, const rlx_ir_node *n)
{
    const bool folds = n->op == RLX_MIR_REDUCE || n->op == RLX_MIR_CONTRACT;
    rlx_ir_value *e;
    RLX_TRY(folds ? recur_fold_at(x, n, NULL, &e) : scalar_at(&x->l, n->out[0], NULL, &e));
    k_bind(&x->k, n->out[0], BIND_ROW, e);
    return rlx_ir_builder_finish(x->k.b);
}

static rlx_status make_node(recur_cx *x, const event *e)
{
    const rlx_ir_node *n = e->node;
    const rlx_ir_value *v = n->out[0];
    if (v->type.rank == 0)
        return make_number(x, n);
    const bool folds = n->op == RLX_MIR_REDUCE || n->op == RLX_MIR_CONTRACT;
    value_part *to =
        e->state >= 0 && !folds ? recur_state_part(x, e->state) : recur_team_part(x, v);
    if (x->k.b->status || x->k.top.status)
        return RLX_OK; /* the caller looks at them */
    if (!folds)
        RLX_TRY(recur_store_value(x, v, to));
    else
        RLX_TRY(recur_store_fold(x, n, to));
    rlx_lir_build_barrier(x->k.b);
    recur_bind_part(x, v, to);
    return rlx_ir_builder_finish(x->k.b);
}

static int region_result(const recur_cx *x, int result)
{
    const rlx_ir_node *yield = x->r->node->blocks[0]->last;
    for (int i = 0; i < yield->nin; i++)
        if (yield->in[i] == x->n->out[result])
            return i;
    return -1;
}

/* Where an output goes; NULL: nobody wants it. */
static value_part *output_part(recur_cx *x, int output)
{
    const int result = region_result(x, output);
    rlx_mir_recur_axes a;
    if (result < 0)
        return NULL;
    rlx_mir_recur_result_axes(x->n, &x->s, output, &a);
    value_part *to = recur_new_part(x, &a);
    if (to)
        to->buffer = kernel_result(&x->k, result);
    return to;
}

static rlx_status store_output(recur_cx *x, int output)
{
    return recur_store_value(x, yielded(x, output), output_part(x, output));
}

/* The argument of a state that another state becomes: its memory will not wait. */
static rlx_status save_argument(recur_cx *x, const rlx_ir_value *v)
{
    value_part *to = recur_team_part(x, v);
    RLX_TRY(recur_store_value(x, v, to));
    recur_bind_part(x, v, to);
    return rlx_ir_builder_finish(x->k.b);
}

/* States that are not in their place yet. */
static rlx_status store_states(recur_cx *x)
{
    for (int i = 0; i < x->s.states; i++) {
        const rlx_ir_value *v = yielded(x, x->s.outputs + i);
        bool there = recur_state_of_arg(x, v) == i;
        for (int k = 0; k < x->nevents; k++) {
            const event *e = &x->events[k];
            const bool folds =
                e->node && (e->node->op == RLX_MIR_REDUCE || e->node->op == RLX_MIR_CONTRACT);
            there |= e->state == i && !folds;
        }
        if (!there)
            RLX_TRY(recur_store_value(x, v, recur_state_part(x, i)));
    }
    return RLX_OK;
}

static rlx_status lower_step(recur_cx *x)
{
    RLX_TRY(recur_begin_sequence(x));
    recur_bind_arguments(x);
    for (int i = 0; i < x->nevents; i++) {
        const event *e = &x->events[i];
        if (e->node)
            RLX_TRY(make_node(x, e));
        else
            RLX_TRY(e->output < 0 ? save_argument(x, e->arg) : store_output(x, e->output));
        if (x->k.b->status || x->k.top.status)
            break;
    }
    RLX_TRY(rlx_ir_builder_finish(x->k.b));
    RLX_TRY(rlx_ir_builder_finish(&x->k.top));
    return store_states(x);
}

/* The step; where the state that says so is false, zeros in its place. */
static rlx_status lower_live_step(recur_cx *x)
{
    rlx_ir_value *live;
    rlx_lir_scope s;
    const int floor = x->l.floor;
    if (x->s.live < 0)
        return lower_step(x);
    recur_bind_arguments(x);
    RLX_TRY(scalar_at(&x->l, recur_step_of(x)->args[x->s.sequences + x->s.live], NULL, &live));
    rlx_lir_build_barrier(x->k.b); /* all have read it before one changes it */
    RLX_TRY(recur_begin_if(x, live, false, &s));
    x->l.floor = x->l.depth;
    RLX_TRY(lower_step(x));
    x->l.floor = floor;
    recur_end_if(x, &s);
    RLX_TRY(recur_begin_if(x, live, true, &s));
    for (int i = 0; i < x->s.outputs; i++) {
        value_part *to = output_part(x, i);
        if (to)
            RLX_TRY(recur_store_zeros(x, yielded(x, i), to));
    }
    recur_end_if(x, &s);
    return rlx_ir_builder_finish(x->k.b);
}

/* ---- the kernel ---------------------------------------------------------------------------------
 */

static rlx_status lower_steps(recur_cx *x)
{
    kernel_cx *k = &x->k;
    rlx_lir_scope s;
    rlx_ir_value *steps = k_extent(k, x->s.steps), *of = k_const(k, -1);
    const int carried = x->held[0] && x->s.tokens;
    x->l.step = recur_step_of(x);
    x->l.floor = x->l.depth;
    if (x->held[0] && !x->s.tokens)
        RLX_TRY(recur_load_states(x));
    rlx_lir_begin_for(k->b, k_const(k, 0), steps, 1, carried, &of, &s);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    x->step = nest_enter(&x->l, &s, s.index[0], x->s.steps);
    x->l.floor = x->l.depth;
    if (x->s.backwards) {
        rlx_ir_value *last = rlx_lir_build_map2(k->b, RLX_FN_SUB, steps, k_const(k, 1));
        last = rlx_lir_build_map2(k->b, RLX_FN_SUB, last, s.index[0]);
        if (!last)
            return rlx_ir_builder_finish(k->b);
        x->step = nest_term(&x->l, last, x->s.steps);
    }
    RLX_TRY(recur_find_slot(x, carried ? s.carried[0] : NULL, &of));
    RLX_TRY(lower_live_step(x));
    nest_leave(&x->l);
    rlx_lir_end_for(k->b, &s, &of);
    x->l.floor = x->l.depth;
    if (k->b->status || !x->held[0])
        return rlx_ir_builder_finish(k->b);
    return x->s.tokens ? recur_save_states_of(x, s.result[0]) : recur_save_states(x);
}

/* The instances: an index of each parallel axis, a tile of the last one for columns. */
static rlx_status lower_instances(recur_cx *x)
{
    kernel_cx *k = &x->k;
    const int n = x->s.parallel, last = n - 1;
    rlx_ir_value *extents[RLX_LIR_MAX_GRID] = {k_const(k, 1)}, *width = NULL;
    rlx_lir_scope grid;
    for (int i = 0; i < n; i++)
        extents[i] = k_extent(k, x->s.extent[i]);
    rlx_ir_value *limit = n ? extents[last] : NULL;
    if (x->columns) {
        width = k_const(k, x->lane.dim[0]);
        extents[last] =
            k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, x->s.extent[last], x->lane.dim[0]));
    }
    k_begin_grid(k, n ? n : 1, extents, &grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    for (int i = 0; i < n; i++) {
        x->l.depth = 0; /* all of them are of the one body */
        x->parallel[i] = nest_enter(&x->l, &grid, grid.index[i], x->s.extent[i]);
    }
    x->l.depth = 1;
    x->l.loop[1] = grid.node;
    if (x->columns) {
        rlx_ir_value *first = rlx_lir_build_map2(k->b, RLX_FN_MUL, grid.index[last], width);
        if (!first)
            return rlx_ir_builder_finish(k->b);
        x->parallel[last] = nest_term(&x->l, first, x->s.extent[last]);
        x->parallel[last].term[0].axis = 0;
        x->lane.root[0] = first;
        const rlx_dim extent = x->s.extent[last];
        const bool whole = rlx_dim_is_const(extent) && extent % x->lane.dim[0] == 0;
        x->lane.limit[0] = whole ? NULL : limit;
        x->l.tile = &x->lane;
    }
    RLX_TRY(lower_steps(x));
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

/* The states' memory in a kernel, which writes to it. */
static rlx_status find_memory(recur_cx *x)
{
    for (int i = 0; i < x->s.states; i++) {
        const rlx_ir_value *first = x->n->in[x->s.sequences + i];
        const int result = region_result(x, x->s.outputs + i);
        if (result >= 0) {
            x->memory[i] = kernel_result(&x->k, result);
            continue;
        }
        if (!x->temp[i])
            x->temp[i] = tape_temp(x->r->tape, &first->type);
        if (!x->temp[i])
            return RLX_OOM();
        x->memory[i] = kernel_extra(&x->k, "state", x->temp[i], true);
    }
    return rlx_ir_builder_finish(x->k.b);
}

/* States of a recur begin as its operands are. */
static rlx_status lower_first_states(recur_cx *x)
{
    RLX_TRY(kernel_begin(x->r, &x->k, "recur_first", "loops"));
    RLX_TRY(find_memory(x));
    for (int i = 0; i < x->s.states; i++)
        RLX_TRY(loops_store(&x->k, x->n->in[x->s.sequences + i], x->memory[i]));
    return kernel_end(x->r, &x->k);
}

static rlx_status lower_kernel(recur_cx *x)
{
    rlx_ir_clear_scratch(x->n->blocks[0]);
    RLX_TRY(kernel_begin(x->r, &x->k, "recur", x->schedule));
    x->l = (nest){.k = &x->k};
    x->team_bytes = 0;
    rlx_status st = find_memory(x);
    if (!st)
        st = plan_events(x);
    if (!st)
        st = recur_hold_states(x);
    if (!st)
        st = lower_instances(x);
    if (st) {
        kernel_drop(x->r, &x->k);
        return st;
    }
    return kernel_end(x->r, &x->k);
}

/* Columns that an instance takes: several registers of them, so that the sums of some go on while
 * those of others wait; fewer when the threads would not all have work. */
static int64_t choose_columns(const recur_cx *x)
{
    const rlx_lir_target *t = x->r->options->target;
    const rlx_mir_recur *s = &x->s;
    int64_t others = 1, upper[RLX_MIR_MAX_PARALLEL];
    for (int i = 0; i < s->parallel; i++)
        upper[i] = rlx_dim_upper(x->r->out->dims, s->extent[i], x->r->options->upper);
    for (int i = 0; i < s->parallel - 1; i++)
        others = others > t->threads ? others : others * upper[i];
    const int64_t extent = upper[s->parallel - 1];
    int64_t width = rlx_lir_schedule_width(t, extent);
    int64_t most = t->unit == RLX_UNIT_GPU ? width : 8 * (int64_t)t->vector_f32;
    if (x->holds && most > recur_column_room(x))
        most = recur_column_room(x);
    if (x->holds && width > most)
        width = most;
    while (width < most && width < extent && others * (extent / width) >= 4 * t->threads)
        width *= 2;
    return width;
}

static void choose_tiles(recur_cx *x, bool holds)
{
    x->holds = holds;
    const int64_t width = x->s.columns ? choose_columns(x) : 0;
    x->columns = width > 1;
    x->rows = !x->s.columns;
    x->schedule = x->columns ? "columns" : x->rows ? "rows" : "elements";
    x->lane = x->team_lane = (tile_space){.rank = 1, .dim = {width}};
}

rlx_status lower_recur(region_cx *r)
{
    recur_cx x = {.r = r};
    const rlx_ir_node *n = r->node->blocks[0]->first;
    while (!rlx_mir_is_recur(n))
        n = n->next;
    x.n = n;
    rlx_mir_recur_get(n, &x.s);
    if (!x.s.tokens)
        RLX_TRY(lower_first_states(&x));
    choose_tiles(&x, recur_chooses_to_hold(&x));
    rlx_status st = lower_kernel(&x);
    if (rlx_status_code(st) == RLX_UNSUPPORTED && x.holds) {
        rlx_status_free(st); /* a step's own values and the states are more than a team's memory */
        choose_tiles(&x, false);
        st = lower_kernel(&x);
    }
    if (rlx_status_code(st) != RLX_UNSUPPORTED || (!x.rows && !x.columns))
        return st;
    rlx_status_free(st); /* no tiles walk it */
    x.rows = x.columns = x.holds = false;
    x.schedule = "elements";
    return lower_kernel(&x);
}
