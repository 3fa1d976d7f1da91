/* mir/lower/lower_delta.c: the gated delta rule by chunks.
 *
 * An instance is a head of a sequence. Of a step's tokens it takes those of its sequence. Steps that
 * follow one another in a chunk are a run, and go together: key and query of each are two rows.
 *
 *   for runs {
 *     rows -> team memory, keys -> the chunk's; products of decays
 *     row tiles { scores = rows * keys, by the decays }
 *     for columns {
 *       S -> panel
 *       row tiles { sums = rows * panel + scores * values before the tile; step by step the values
 *                   of its keys, what its queries read } }
 *     at the chunk's end, for columns { S = S * decay + keys * values } }
 *
 * What a chunk has so far lies in the session's pools, of sequences that are whole in temps. Every
 * sum is a chain of fmas from its first term to its last, so a run of one step has
 * the bits of a chunk's. */
#include <string.h>

#include "mir/lower/lower_delta.h"

/* ---- values and outputs -------------------------------------------------------------------------
 */

/* Columns e0.. of S to the panel. */
static rlx_status copy_state(delta *x, rlx_ir_value *e0)
{
    const int64_t n = x->s.n, step = step_of(x->d, TOGETHER);
    rlx_lir_scope has, loop;
    if (!x->s.panels)
        return RLX_OK;
    RLX_TRY(begin_loop(x, at(x, 0), x->has_state, 1, &has));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->d), step, &loop));
    store(x, x->panel, loop.index[0], at(x, 0), step, n,
          load(x, x->state, loop.index[0], e0, step, n));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &has, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* What S and the values before the tile's steps give its rows, to sums. */
static rlx_status sum_tile(delta *x, rlx_ir_value *row, rlx_ir_value *e0)
{
    const int64_t m = x->s.m, n = x->s.n;
    rlx_ir_value *sum = zeros(x, m, n);
    rlx_lir_scope has;
    const product state = {
        x->rows, x->s.panels ? x->panel : x->state, row, x->s.panels ? at(x, 0) : e0, m, n};
    RLX_TRY(begin_sum(x, at(x, 0), x->has_state, 1, &sum, &has));
    rlx_ir_value *next = has.carried[0];
    RLX_TRY(delta_add_whole_product(x, &state, &next));
    RLX_TRY(end_sum(x, &has, next, &sum));
    sum = times(x, sum, spread(x, load(x, x->scales, row, at(x, 0), m, 0), 0, m, n));
    const product values = {x->scores, x->values, row, e0, m, n};
    RLX_TRY(delta_add_product(x, &values, index_of(x, row), &sum));
    store(x, x->sums, at(x, 0), at(x, 0), m, n, sum);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* Row `of` of sums with the values of the tile's steps, `first` .. end-1 of the chunk. */
static rlx_status sum_steps(delta *x, rlx_ir_value *row, rlx_ir_value *of, rlx_ir_value *first,
                            rlx_ir_value *end, rlx_ir_value *e0, rlx_ir_value **sum)
{
    const int64_t n = x->s.n;
    rlx_lir_scope loop;
    *sum = load(x, x->sums, of, at(x, 0), 0, n);
    RLX_TRY(begin_sum(x, first, end, 1, sum, &loop));
    rlx_ir_value *score = load(x, x->scores, plus(x, row, of), loop.index[0], 0, 0);
    rlx_ir_value *value = load(x, x->values, loop.index[0], e0, 0, n);
    return end_sum(x, &loop, rlx_lir_build_map3(x->b, RLX_FN_FMA, score, value, loop.carried[0]),
                   sum);
}

/* Elements e0.. of a step's output. */
static rlx_status store_output(delta *x, rlx_ir_value *step, rlx_ir_value *e0, rlx_ir_value *v)
{
    coord c[4];
    const int rank = row_of(x, step, c);
    c[rank] = coord_of(x->head, 0, -1);
    c[rank + 1] = coord_of(e0, x->e, 0);
    const tile_space ts = {.rank = 1, .dim = {x->s.n}, .root = {e0}};
    return tile_store(x->k, x->output, v, c, &ts);
}

/* What the query reads in row `of` of sums: the values of steps first .. end-1 are there. */
static rlx_status read_values(delta *x, rlx_ir_value *row, rlx_ir_value *of, rlx_ir_value *first,
                              rlx_ir_value *end, rlx_ir_value *step, rlx_ir_value *e0)
{
    rlx_ir_value *sum;
    RLX_TRY(sum_steps(x, row, of, first, end, e0, &sum));
    return store_output(x, step, e0, sum);
}

/* The tile's steps in turn: the value of a key, what its query reads. */
static rlx_status step_tile(delta *x, rlx_ir_value *row, rlx_ir_value *e0)
{
    rlx_ir_value *first = index_of(x, row), *sum, *v, *beta;
    rlx_ir_value *left = minus(x, x->count, over(x, row, 2));
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), map2(x, RLX_FN_MIN, left, at(x, x->s.m / 2)), 1, &loop));
    rlx_ir_value *i = plus(x, first, loop.index[0]), *of = times(x, loop.index[0], at(x, 2));
    rlx_ir_value *step = plus(x, x->from, minus(x, i, x->index)), *next = plus(x, i, at(x, 1));
    RLX_TRY(delta_operand_at(x, V, step, x->head, e0, x->s.n, &v));
    RLX_TRY(delta_operand_at(x, BETA, step, x->head, NULL, 0, &beta));
    RLX_TRY(sum_steps(x, row, of, first, i, e0, &sum));
    store(x, x->values, i, e0, 0, x->s.n, times(x, minus(x, v, sum), beta));
    rlx_lir_build_barrier(x->b);
    if (x->output)
        RLX_TRY(read_values(x, row, plus(x, of, at(x, 1)), first, next, step, e0));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status run_values(delta *x)
{
    rlx_lir_scope columns, tile;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->e), x->s.n, &columns));
    RLX_TRY(copy_state(x, columns.index[0]));
    RLX_TRY(begin_loop(x, at(x, 0), times(x, x->count, at(x, 2)), x->s.m, &tile));
    RLX_TRY(sum_tile(x, tile.index[0], columns.index[0]));
    RLX_TRY(step_tile(x, tile.index[0], columns.index[0]));
    rlx_lir_end_for(x->b, &tile, NULL);
    rlx_lir_end_for(x->b, &columns, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- a chunk's end ------------------------------------------------------------------------------
 */

/* Columns e0.. of the chunk's values, by the decays up to its end, to the panel. */
static rlx_status copy_values(delta *x, rlx_ir_value *e0)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), x->end, 1, &loop));
    rlx_ir_value *decay = load(x, x->products, x->count, loop.index[0], 0, 0);
    rlx_ir_value *value = load(x, x->values, loop.index[0], e0, 0, x->s.n);
    store(x, x->panel, loop.index[0], at(x, 0), 0, x->s.n, times(x, value, decay));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status next_state(delta *x, rlx_ir_value *d0, rlx_ir_value *e0)
{
    const int64_t m = x->s.state_m, n = x->s.n;
    rlx_ir_value *sum = zeros(x, m, n);
    rlx_lir_scope has;
    RLX_TRY(begin_sum(x, at(x, 0), x->has_state, 1, &sum, &has));
    RLX_TRY(end_sum(x, &has, times(x, load(x, x->state, d0, e0, m, n), x->total), &sum));
    const product p = {x->keys, x->panel, d0, at(x, 0), m, n};
    RLX_TRY(delta_add_product(x, &p, x->end, &sum));
    store(x, x->state, d0, e0, m, n, sum);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status end_chunk(delta *x, rlx_ir_value *ends)
{
    rlx_lir_scope when, columns, rows;
    RLX_TRY(begin_loop(x, at(x, 0), as_turns(x, ends), 1, &when));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->e), x->s.n, &columns));
    RLX_TRY(copy_values(x, columns.index[0]));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->d), x->s.state_m, &rows));
    RLX_TRY(next_state(x, rows.index[0], columns.index[0]));
    rlx_lir_end_for(x->b, &rows, NULL);
    rlx_lir_build_barrier(x->b);
    rlx_lir_end_for(x->b, &columns, NULL);
    rlx_lir_end_for(x->b, &when, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* ---- runs ---------------------------------------------------------------------------------------
 */

/* Steps from .. from + count - 1, from index `index` of a chunk; `last`: whether they are the
 * sequence's (NULL: they may not be). */
static rlx_status lower_run(delta *x, rlx_ir_value *last)
{
    x->end = plus(x, x->index, x->count);
    RLX_TRY(delta_copy_rows(x));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(delta_run_decays(x));
    RLX_TRY(delta_run_scores(x));
    RLX_TRY(run_values(x));
    rlx_ir_value *ends = map2(x, RLX_FN_EQ, x->end, at(x, x->c));
    return end_chunk(x, last ? map2(x, RLX_FN_OR, ends, last) : ends);
}

/* A batch's sequence, all of it. */
static rlx_status lower_sequence(delta *x)
{
    rlx_ir_value *steps = k_extent(x->k, x->node->in[Q]->type.dim[1]);
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), steps, x->s.steps, &loop));
    x->from = loop.index[0];
    x->index = map2(x, RLX_FN_MOD, x->from, at(x, x->c));
    x->count = map2(x, RLX_FN_MIN, minus(x, steps, x->from), at(x, x->s.steps));
    x->has_state = at(x, 1);
    RLX_TRY(lower_run(x, map2(x, RLX_FN_EQ, plus(x, x->from, x->count), steps)));
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* i64 entry of pos or seq. */
static rlx_status place_at(delta *x, int i, rlx_ir_value *token, rlx_ir_value **out)
{
    const tile_space none = {0};
    const coord c = coord_of(token, 0, -1);
    RLX_TRY(tile_at(x->k, x->node->in[i], &c, &none, out));
    *out = rlx_lir_build_cast(x->b, *out, RLX_I64);
    return *out ? RLX_OK : rlx_ir_builder_finish(x->b);
}

/* Whether token t goes on with the run that the token before it is in. */
static rlx_status continues(delta *x, rlx_ir_value *t, rlx_ir_value **out)
{
    rlx_ir_value *before = map2(x, RLX_FN_MAX, minus(x, t, at(x, 1)), at(x, 0));
    rlx_ir_value *pos, *last, *seq, *other;
    RLX_TRY(place_at(x, POS, t, &pos));
    RLX_TRY(place_at(x, POS, before, &last));
    RLX_TRY(place_at(x, SEQ, t, &seq));
    RLX_TRY(place_at(x, SEQ, before, &other));
    rlx_ir_value *same = map2(x, RLX_FN_AND, map2(x, RLX_FN_EQ, seq, other),
                              map2(x, RLX_FN_EQ, pos, plus(x, last, at(x, 1))));
    rlx_ir_value *within =
        map2(x, RLX_FN_LT, at(x, 0), map2(x, RLX_FN_MOD, pos, at(x, x->s.steps)));
    *out = map2(x, RLX_FN_AND, same, within);
    return *out ? RLX_OK : rlx_ir_builder_finish(x->b);
}

/* How many tokens the run has that begins at x->from. */
static rlx_status count_run(delta *x, rlx_ir_value *tokens)
{
    rlx_ir_value *end = map2(x, RLX_FN_MIN, plus(x, x->from, at(x, x->s.steps)), tokens), *goes;
    rlx_ir_value *stop = plus(x, x->from, at(x, 1));
    rlx_lir_scope loop;
    RLX_TRY(begin_sum(x, stop, end, 1, &stop, &loop));
    RLX_TRY(continues(x, loop.index[0], &goes));
    goes = map2(x, RLX_FN_AND, goes, map2(x, RLX_FN_EQ, loop.index[0], loop.carried[0]));
    rlx_ir_value *next = choose(x, goes, plus(x, loop.carried[0], at(x, 1)), loop.carried[0]);
    RLX_TRY(end_sum(x, &loop, next, &stop));
    x->count = minus(x, stop, x->from);
    return rlx_ir_builder_finish(x->b);
}

/* The step's tokens of the instance's sequence, run by run. */
static rlx_status lower_tokens(delta *x)
{
    rlx_ir_value *tokens = k_extent(x->k, x->node->in[Q]->type.dim[0]), *goes, *pos, *seq;
    rlx_lir_scope loop, own, begins;
    RLX_TRY(begin_loop(x, at(x, 0), tokens, 1, &loop));
    x->from = loop.index[0];
    RLX_TRY(place_at(x, SEQ, x->from, &seq));
    RLX_TRY(begin_loop(x, at(x, 0), as_turns(x, map2(x, RLX_FN_EQ, seq, x->slot)), 1, &own));
    RLX_TRY(continues(x, x->from, &goes));
    rlx_ir_value *turns = choose(x, goes, at(x, 0), at(x, 1));
    RLX_TRY(begin_loop(x, at(x, 0), turns, 1, &begins));
    RLX_TRY(place_at(x, POS, x->from, &pos));
    x->index = map2(x, RLX_FN_MOD, pos, at(x, x->c));
    x->has_state = as_turns(x, map2(x, RLX_FN_LE, at(x, x->c), pos));
    RLX_TRY(count_run(x, tokens));
    RLX_TRY(lower_run(x, NULL));
    rlx_lir_end_for(x->b, &begins, NULL);
    rlx_lir_end_for(x->b, &own, NULL);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* ---- kernels ------------------------------------------------------------------------------------
 */

static place team(delta *x, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return (place){.buffer = rlx_lir_build_alloc(&x->k->top, RLX_F32, 2, dims)};
}

static rlx_status take_memory(delta *x)
{
    const int64_t rows = (2 * x->s.steps + x->s.m - 1) / x->s.m * x->s.m;
    x->rows = team(x, rows, x->d);
    x->scores = team(x, rows, x->c);
    x->scales = team(x, rows, 1);
    x->products = team(x, x->s.steps + 1, x->c);
    x->sums = team(x, x->s.m, x->s.n);
    x->panel = team(x, x->s.panels && x->d > x->c ? x->d : x->c, x->s.n);
    return x->k->top.status ? rlx_ir_builder_finish(&x->k->top) : RLX_OK;
}

/* The memory of result `i`; NULL: there is none, or nobody wants it. */
static rlx_ir_value *find_result(delta *x, const region_cx *r, int i)
{
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    for (int k = 0; i < x->node->nout && k < yield->nin; k++)
        if (yield->in[k] == x->node->out[i])
            return kernel_result(x->k, k);
    return NULL;
}

/* What the chunk and the state lie in: pools, or a result and temps. */
static rlx_status find_memory(delta *x, region_cx *r)
{
    place *all[4] = {&x->state, &x->keys, &x->values, &x->decays};
    x->output = find_result(x, r, 0);
    for (int i = 0; i < 4; i++) {
        rlx_ir_value *buffer = find_result(x, r, i + 1);
        if (!buffer && !x->temp[i]) {
            rlx_ir_type t = x->node->in[STATE]->type;
            const rlx_dim dims[4][4] = {
                {0, 0, x->d, x->e}, {0, 0, x->d, x->c}, {0, 0, x->c, x->e}, {0, 0, x->c + 1}};
            t.rank = i == 3 ? 3 : 4;
            for (int axis = 2; axis < t.rank; axis++)
                t.dim[axis] = dims[i][axis];
            x->temp[i] = tape_temp(r->tape, &t);
            if (!x->temp[i])
                return RLX_OOM();
        }
        if (!buffer)
            buffer = kernel_extra(x->k, "chunk", x->temp[i], true);
        *all[i] = (place){.buffer = buffer, .lead = i == 3 ? 1 : 2, .at = {x->slot, x->head}};
    }
    return rlx_ir_builder_finish(x->k->b);
}

/* An instance for each head of each sequence. */
static rlx_status begin_heads(delta *x, rlx_lir_scope *grid)
{
    const rlx_ir_type *q = &x->node->in[Q]->type, *v = &x->node->in[V]->type;
    const int lead = x->tokens ? 1 : 2;
    const int64_t ratio = v->dim[lead] / q->dim[lead];
    rlx_ir_value *extents[2] = {at(x, v->dim[lead]),
                                k_extent(x->k, x->node->in[STATE]->type.dim[0])};
    k_begin_grid(x->k, 2, extents, grid);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    x->head = grid->index[0];
    x->slot = grid->index[1];
    x->group =
        x->tile ? map2(x, RLX_FN_MOD, x->head, at(x, q->dim[lead])) : over(x, x->head, ratio);
    place *all[4] = {&x->state, &x->keys, &x->values, &x->decays};
    for (int i = 0; i < 4; i++) {
        all[i]->at[0] = x->slot;
        all[i]->at[1] = x->head;
    }
    return rlx_ir_builder_finish(x->b);
}

/* The state that a batch begins with, to where it is updated; a chunk of nothing. */
static rlx_status lower_first(delta *x, region_cx *r)
{
    kernel_cx k;
    rlx_lir_scope grid;
    RLX_TRY(kernel_begin(r, &k, "delta_first", "loops"));
    x->k = &k;
    x->b = k.b;
    RLX_TRY(find_memory(x, r));
    RLX_TRY(loops_store(&k, x->node->in[STATE], x->state.buffer));
    RLX_TRY(begin_heads(x, &grid));
    RLX_TRY(delta_clear_rows(x, x->keys, at(x, 0), at(x, x->d), x->c));
    RLX_TRY(delta_clear_rows(x, x->values, at(x, 0), at(x, x->c), x->e));
    RLX_TRY(delta_clear_rows(x, x->decays, x->head, plus(x, x->head, at(x, 1)), x->c + 1));
    rlx_lir_end_grid(x->b, &grid);
    return kernel_end(r, &k);
}

static rlx_status lower_kernel(delta *x, region_cx *r, const char *what, const char *schedule)
{
    kernel_cx k;
    rlx_lir_scope grid;
    RLX_TRY(kernel_begin(r, &k, what, schedule));
    x->k = &k;
    x->b = k.b;
    RLX_TRY(find_memory(x, r));
    RLX_TRY(take_memory(x));
    RLX_TRY(begin_heads(x, &grid));
    RLX_TRY(x->tokens ? lower_tokens(x) : lower_sequence(x));
    rlx_lir_end_grid(x->b, &grid);
    return kernel_end(r, &k);
}

static rlx_status choose_schedule(delta *x, const region_cx *r)
{
    const rlx_ir_node *n = x->node;
    const int64_t *upper = r->options->upper;
    const rlx_lir_delta_shape shape = {
        .d = x->d,
        .e = x->e,
        .chunk = x->c,
        .steps = rlx_dim_upper(r->out->dims, n->in[Q]->type.dim[x->tokens ? 0 : 1], upper),
        .sequences = x->tokens ? rlx_dim_upper(r->out->dims, n->in[STATE]->type.dim[0], upper) : 1};
    rlx_lir_schedule_delta(r->options->target, &shape, &x->s);
    if (rlx_lir_schedule_delta_bytes(&shape, &x->s) > r->options->target->team_bytes)
        return RLX_FAIL(
            RLX_UNSUPPORTED,
            "the delta rule of keys of %lld by chunks of %lld steps takes %lld bytes of a "
            "team's memory, which has %lld",
            (long long)x->d, (long long)x->c,
            (long long)rlx_lir_schedule_delta_bytes(&shape, &x->s),
            (long long)r->options->target->team_bytes);
    x->matrices = r->options->target->unit == RLX_UNIT_CPU;
    x->width = 16;
    return RLX_OK;
}

rlx_status lower_delta_chunks(region_cx *r)
{
    delta x = {0};
    const rlx_ir_node *n = r->node->blocks[0]->first;
    while (!rlx_mir_is_delta_chunks(n))
        n = n->next;
    x.node = n;
    x.tokens = n->op == RLX_MIR_DELTA_CHUNKS_TOKENS;
    x.tile = strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "tile") == 0;
    x.d = n->in[STATE]->type.dim[2];
    x.e = n->in[STATE]->type.dim[3];
    x.c = rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0);
    RLX_TRY(choose_schedule(&x, r));
    rlx_text what = {0}, schedule = {0};
    rlx_text_putf(&what, "delta_chunks_%lldx%lld_c%lld__t%d", (long long)x.d, (long long)x.e,
                  (long long)x.c, x.s.steps);
    rlx_lir_schedule_delta_print(&x.s, &schedule);
    rlx_status st = what.oom || schedule.oom ? RLX_OOM() : RLX_OK;
    if (!st && !x.tokens)
        st = lower_first(&x, r);
    if (!st)
        st = lower_kernel(&x, r, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    return st;
}
