/* mir/lower/lower_order.c: the order of rows, by merging runs of indices.
 *
 *   grid chunks, rows { indices; for levels { for pairs of runs { merge } } }     in team memory
 *   grid rows         { for the levels above { for pairs of runs { merge } } }    when there are any
 *
 * Runs lie there twice, i32[2, N] (of rows that are longer than a chunk i32[rows.., 2, N]): a level
 * reads one and writes the other. Of a run only as many indices are kept as are asked for, so the
 * first k of N take N log k steps. */
#include "mir/lower/lower.h"
#include "mir/ops/ops.h"

typedef struct order {
    kernel_cx *k;
    const rlx_ir_node *node;
    const rlx_ir_value *x;
    rlx_ir_value *runs;
    bool team;               /* they lie in team memory: of one row */
    coord row[RLX_MAX_RANK]; /* in x's axes but the last */
    int nrow;
    int levels, chunk_levels; /* of a row; of a chunk: what team memory holds of it */
} order;

/* The runs that are merged into one: left ..left_end and right ..right_end, `to` on. */
typedef struct runs {
    rlx_ir_value *from, *left_end, *right, *right_end, *to_end;
    rlx_ir_value *half, *other; /* of the memory: read, written */
} runs;

/* A place in a run: its number, the index that is there, its element. */
typedef struct head {
    rlx_ir_value *place, *index, *key;
} head;

static rlx_ir_value *map2(order *o, rlx_map_fn fn, rlx_ir_value *a, rlx_ir_value *b)
{
    return rlx_lir_build_map2(o->k->b, fn, a, b);
}

static rlx_ir_value *pick(order *o, rlx_ir_value *which, rlx_ir_value *yes, rlx_ir_value *no)
{
    return rlx_lir_build_map3(o->k->b, RLX_FN_SELECT, which, yes, no);
}

static rlx_ir_value *add(order *o, rlx_ir_value *a, int64_t n)
{
    return map2(o, RLX_FN_ADD, a, k_const(o->k, n));
}

static rlx_status begin(order *o, rlx_ir_value *lo, rlx_ir_value *hi, rlx_lir_scope *s)
{
    rlx_lir_begin_for(o->k->b, lo, hi, 1, 0, NULL, s);
    return o->k->b->status ? rlx_ir_builder_finish(o->k->b) : RLX_OK;
}

/* ---- memory */

static void runs_place(const order *o, rlx_ir_value *half, rlx_ir_value *place, coord *c)
{
    const int n = o->team ? 0 : o->nrow;
    copy_coords(o->row, n, c);
    c[n] = coord_of(half, 0, -1);
    c[n + 1] = coord_of(place, 0, -1);
}

static rlx_status load_index(order *o, rlx_ir_value *half, rlx_ir_value *place, rlx_ir_value **out)
{
    tile_space none = {0};
    coord c[RLX_MAX_RANK];
    runs_place(o, half, place, c);
    return tile_load(o->k, o->runs, RLX_I32, c, &none, out);
}

static rlx_status store_index(order *o, rlx_ir_value *half, rlx_ir_value *place, rlx_ir_value *v)
{
    tile_space none = {0};
    coord c[RLX_MAX_RANK];
    runs_place(o, half, place, c);
    return tile_store(o->k, o->runs, v, c, &none);
}

/* What is at `place` of a run, with the element that it stands for. */
static rlx_status load_head(order *o, rlx_ir_value *half, rlx_ir_value *place, head *h)
{
    tile_space none = {0};
    coord c[RLX_MAX_RANK];
    rlx_ir_builder *b = o->k->b;
    RLX_TRY(load_index(o, half, place, &h->index));
    rlx_ir_value *index = rlx_lir_build_cast(b, h->index, RLX_I64);
    copy_coords(o->row, o->nrow, c);
    c[o->nrow] = coord_of(index, 0, -1);
    RLX_TRY(tile_at(o->k, o->x, c, &none, &h->key));
    if (o->x->type.format == RLX_F16 || o->x->type.format == RLX_BF16)
        h->key = rlx_lir_build_cast(b, h->key, RLX_F32);
    return rlx_ir_builder_finish(b);
}

/* ---- merging */

static rlx_ir_value *goes_before(order *o, rlx_ir_value *a, rlx_ir_value *b)
{
    if (rlx_mir_order_is_largest(o->node)) {
        rlx_ir_value *t = a;
        a = b;
        b = t;
    }
    if (!rlx_format_is_float(o->x->type.format))
        return map2(o, RLX_FN_LT, a, b);
    rlx_ir_value *no = rlx_lir_build_fill_int(o->k->b, RLX_BOOL, 0, NULL, 0);
    return pick(o, map2(o, RLX_FN_LE, b, a), no, map2(o, RLX_FN_EQ, a, a)); /* b may be NaN */
}

/* Takes the next of two runs; the one that it came from goes on, to its last place at most. */
static rlx_status merge_step(order *o, const runs *r, rlx_ir_value *to, head *left, head *right)
{
    head next;
    rlx_ir_value *is_left = map2(o, RLX_FN_LT, left->place, r->left_end);
    rlx_ir_value *is_right = map2(o, RLX_FN_LT, right->place, r->right_end);
    rlx_ir_value *before = goes_before(o, right->key, left->key);
    rlx_ir_value *which = map2(o, RLX_FN_AND, is_right, before);
    which = pick(o, is_left, which, is_right);
    RLX_TRY(store_index(o, r->other, to, pick(o, which, right->index, left->index)));
    rlx_ir_value *place = add(o, pick(o, which, right->place, left->place), 1);
    rlx_ir_value *last = add(o, pick(o, which, r->right_end, r->left_end), -1);
    RLX_TRY(load_head(o, r->half, map2(o, RLX_FN_MIN, place, last), &next));
    next.place = place;
    *left = (head){pick(o, which, left->place, next.place), pick(o, which, left->index, next.index),
                   pick(o, which, left->key, next.key)};
    *right = (head){pick(o, which, next.place, right->place),
                    pick(o, which, next.index, right->index), pick(o, which, next.key, right->key)};
    return rlx_ir_builder_finish(o->k->b);
}

static rlx_status merge_runs(order *o, const runs *r)
{
    head left = {.place = r->from}, right = {.place = r->right};
    rlx_ir_value *some = map2(o, RLX_FN_LT, r->right, r->right_end);
    RLX_TRY(load_head(o, r->half, left.place, &left));
    RLX_TRY(load_head(o, r->half, pick(o, some, right.place, left.place), &right));
    rlx_ir_value *carried[6] = {left.place,  left.index,  left.key,
                                right.place, right.index, right.key};
    rlx_lir_scope loop;
    rlx_lir_begin_for(o->k->b, r->from, r->to_end, 1, 6, carried, &loop);
    if (o->k->b->status)
        return rlx_ir_builder_finish(o->k->b);
    left = (head){loop.carried[0], loop.carried[1], loop.carried[2]};
    right = (head){loop.carried[3], loop.carried[4], loop.carried[5]};
    RLX_TRY(merge_step(o, r, loop.index[0], &left, &right));
    rlx_ir_value *next[6] = {left.place, left.index, left.key, right.place, right.index, right.key};
    rlx_lir_end_for(o->k->b, &loop, next);
    return rlx_ir_builder_finish(o->k->b);
}

/* The places of a run that hold anything: as many as are asked for. */
static rlx_ir_value *held(order *o, rlx_ir_value *from, rlx_ir_value *end)
{
    const rlx_attr *count = rlx_ir_attr(o->node, RLX_ATTR_COUNT);
    return count ? map2(o, RLX_FN_MIN, end, add(o, from, count->i)) : end;
}

/* Levels first.. < last of what lies between `from` and `to`. */
static rlx_status merge_levels(order *o, int first, int last, rlx_ir_value *from, rlx_ir_value *to)
{
    rlx_lir_scope level, pair;
    runs r;
    RLX_TRY(begin(o, k_const(o->k, first), k_const(o->k, last), &level));
    rlx_ir_value *one = k_const(o->k, 1), *width = map2(o, RLX_FN_SHL, one, level.index[0]);
    rlx_ir_value *both = map2(o, RLX_FN_ADD, width, width);
    rlx_ir_value *extent = add(o, map2(o, RLX_FN_ADD, map2(o, RLX_FN_SUB, to, from), both), -1);
    r.half = map2(o, RLX_FN_MOD, level.index[0], k_const(o->k, 2));
    r.other = map2(o, RLX_FN_SUB, one, r.half);
    RLX_TRY(begin(o, k_const(o->k, 0), map2(o, RLX_FN_DIV, extent, both), &pair));
    r.from = map2(o, RLX_FN_ADD, from, map2(o, RLX_FN_MUL, pair.index[0], both));
    r.right = map2(o, RLX_FN_MIN, map2(o, RLX_FN_ADD, r.from, width), to);
    rlx_ir_value *end = map2(o, RLX_FN_MIN, map2(o, RLX_FN_ADD, r.from, both), to);
    r.left_end = held(o, r.from, r.right);
    r.right_end = held(o, r.right, end);
    r.to_end = held(o, r.from, end);
    RLX_TRY(merge_runs(o, &r));
    rlx_lir_end_for(o->k->b, &pair, NULL);
    rlx_lir_build_barrier(o->k->b); /* all was written before it is read */
    rlx_lir_end_for(o->k->b, &level, NULL);
    return rlx_ir_builder_finish(o->k->b);
}

/* ---- kernels */

/* An instance for every row and, in the grid's first axis, chunk. */
typedef struct rows {
    rlx_lir_scope grid, inner[RLX_MAX_RANK];
    int ngrid;
} rows;

static rlx_status begin_rows(order *o, rlx_ir_value *chunks, rows *s)
{
    rlx_ir_value *extents[RLX_LIR_MAX_GRID] = {chunks};
    s->ngrid = o->nrow < RLX_LIR_MAX_GRID - 1 ? o->nrow : RLX_LIR_MAX_GRID - 1;
    for (int i = 0; i < s->ngrid; i++)
        extents[1 + i] = k_extent(o->k, o->x->type.dim[i]);
    k_begin_grid(o->k, 1 + s->ngrid, extents, &s->grid);
    for (int i = 0; i < o->nrow && !o->k->b->status; i++) {
        const rlx_dim d = o->x->type.dim[i];
        if (i >= s->ngrid)
            RLX_TRY(begin(o, k_const(o->k, 0), k_extent(o->k, d), &s->inner[i]));
        o->row[i] = coord_of(i < s->ngrid ? s->grid.index[1 + i] : s->inner[i].index[0],
                             rlx_dim_is_const(d) ? d : 0, -1);
    }
    return o->k->b->status ? rlx_ir_builder_finish(o->k->b) : RLX_OK;
}

static rlx_status end_rows(order *o, rows *s)
{
    for (int i = o->nrow - 1; i >= s->ngrid; i--) {
        if (o->team && i == o->nrow - 1)
            rlx_lir_build_barrier(o->k->b); /* the next row writes what this one read */
        rlx_lir_end_for(o->k->b, &s->inner[i], NULL);
    }
    rlx_lir_end_grid(o->k->b, &s->grid);
    return rlx_ir_builder_finish(o->k->b);
}

/* The indices of the last level that are asked for, to the result. */
static rlx_status store_result(order *o)
{
    const rlx_ir_type *y = &o->node->out[0]->type;
    tile_space none = {0};
    rlx_lir_scope loop;
    rlx_ir_value *v;
    coord c[RLX_MAX_RANK];
    RLX_TRY(begin(o, k_const(o->k, 0), k_extent(o->k, y->dim[o->nrow]), &loop));
    RLX_TRY(load_index(o, k_const(o->k, o->levels % 2), loop.index[0], &v));
    copy_coords(o->row, o->nrow, c);
    c[o->nrow] = coord_of(loop.index[0], 0, -1);
    RLX_TRY(tile_store(o->k, kernel_result(o->k, 0), v, c, &none));
    rlx_lir_end_for(o->k->b, &loop, NULL);
    return rlx_ir_builder_finish(o->k->b);
}

/* A chunk's run to the other chunks', `first` on. */
static rlx_status store_run(order *o, rlx_ir_value *memory, rlx_ir_value *first, rlx_ir_value *n)
{
    rlx_lir_scope loop;
    rlx_ir_value *v;
    order all = *o;
    all.team = false;
    all.runs = memory;
    rlx_ir_value *half = k_const(o->k, o->chunk_levels % 2);
    RLX_TRY(begin(o, k_const(o->k, 0), held(o, k_const(o->k, 0), n), &loop));
    RLX_TRY(load_index(o, half, loop.index[0], &v));
    RLX_TRY(store_index(&all, half, map2(o, RLX_FN_ADD, first, loop.index[0]), v));
    rlx_lir_end_for(o->k->b, &loop, NULL);
    return rlx_ir_builder_finish(o->k->b);
}

/* `n` runs of one: the indices from `first` on. */
static rlx_status store_indices(order *o, rlx_ir_value *first, rlx_ir_value *n)
{
    rlx_lir_scope loop;
    RLX_TRY(begin(o, k_const(o->k, 0), n, &loop));
    rlx_ir_value *index = map2(o, RLX_FN_ADD, first, loop.index[0]);
    index = rlx_lir_build_cast(o->k->b, index, RLX_I32);
    RLX_TRY(store_index(o, k_const(o->k, 0), loop.index[0], index));
    rlx_lir_end_for(o->k->b, &loop, NULL);
    rlx_lir_build_barrier(o->k->b);
    return rlx_ir_builder_finish(o->k->b);
}

static rlx_status begin_order(region_cx *r, kernel_cx *k, order *o)
{
    o->k = k;
    return kernel_begin(r, k, "order", "by merging");
}

/* memory NULL: there is one chunk. */
static rlx_status sort_chunks(region_cx *r, tape_buffer *memory, order *o)
{
    kernel_cx k;
    rows s;
    const int levels = memory ? o->chunk_levels : o->levels;
    const rlx_dim n = o->x->type.dim[o->nrow];
    const int64_t chunk = (int64_t)1 << levels, dims[2] = {2, chunk};
    RLX_TRY(begin_order(r, &k, o));
    o->team = true;
    o->runs = rlx_lir_build_alloc(&k.top, RLX_I32, 2, dims);
    RLX_TRY(begin_rows(o, k_extent(&k, rlx_dim_make(k.dims, RLX_DIM_CEILDIV, n, chunk)), &s));
    rlx_ir_value *first = map2(o, RLX_FN_MUL, s.grid.index[0], k_const(&k, chunk));
    rlx_ir_value *count = map2(o, RLX_FN_SUB, k_extent(&k, n), first);
    count = map2(o, RLX_FN_MIN, count, k_const(&k, chunk));
    RLX_TRY(store_indices(o, first, count));
    RLX_TRY(merge_levels(o, 0, levels, k_const(&k, 0), count));
    if (memory)
        RLX_TRY(store_run(o, kernel_extra(&k, "runs", memory, true), first, count));
    else
        RLX_TRY(store_result(o));
    RLX_TRY(end_rows(o, &s));
    return kernel_end(r, &k);
}

static rlx_status merge_chunks(region_cx *r, tape_buffer *memory, order *o)
{
    kernel_cx k;
    rows s;
    RLX_TRY(begin_order(r, &k, o));
    o->team = false;
    o->runs = kernel_extra(&k, "runs", memory, true);
    rlx_ir_value *to = k_extent(&k, o->x->type.dim[o->nrow]);
    RLX_TRY(begin_rows(o, k_const(&k, 1), &s));
    RLX_TRY(merge_levels(o, o->chunk_levels, o->levels, k_const(&k, 0), to));
    RLX_TRY(store_result(o));
    RLX_TRY(end_rows(o, &s));
    return kernel_end(r, &k);
}

/* What runs of several chunks lie in. */
static tape_buffer *make_memory(region_cx *r, const order *o)
{
    rlx_ir_type t = o->x->type;
    t.format = RLX_I32;
    t.dim[o->nrow] = 2;
    t.dim[o->nrow + 1] = o->x->type.dim[o->nrow];
    t.rank++;
    return tape_temp(r->tape, &t);
}

/* Both halves of a chunk's indices lie in team memory; chunks of more than 4096 elements are too few
 * for all threads. */
static int levels_of_chunk(const rlx_lir_target *t)
{
    enum { MOST_LEVELS = 12 };
    int levels = 0;
    while (levels < MOST_LEVELS && 2 * (int64_t)sizeof(int32_t) << (levels + 1) <= t->team_bytes)
        levels++;
    return levels;
}

rlx_status lower_order(region_cx *r)
{
    const rlx_ir_node *n = r->node->blocks[0]->first;
    while (n->op != RLX_MIR_ORDER)
        n = n->next;
    order o = {.node = n, .x = n->in[0], .nrow = n->in[0]->type.rank - 1};
    kernel_cx probe = {.options = r->options, .dims = r->out->dims, .place = r->node->place};
    const int64_t most = k_upper(&probe, o.x->type.dim[o.nrow]);
    while (most > (int64_t)1 << o.levels)
        o.levels++;
    o.chunk_levels = levels_of_chunk(r->options->target);
    if (o.levels <= o.chunk_levels)
        return sort_chunks(r, NULL, &o);
    tape_buffer *memory = make_memory(r, &o);
    if (!memory)
        return RLX_OOM();
    RLX_TRY(sort_chunks(r, memory, &o));
    return merge_chunks(r, memory, &o);
}
