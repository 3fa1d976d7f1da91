/* mir/lower/lower_attention_block.h: blocks of rows against keys and values, as products of
 * matrices: what lower_attention_block.c (pages) and lower_attention_dense.c (tensors) share. */
#ifndef RLX_MIR_LOWER_ATTENTION_BLOCK_H
#define RLX_MIR_LOWER_ATTENTION_BLOCK_H

#include "mir/lower/lower_attention.h"

enum { LANES = 16, TOGETHER = 8 }; /* of a sum of weights; positions of values in one product */

typedef struct block {
    attention *a;
    kernel_cx *k;
    rlx_ir_builder *b;
    int64_t m, n;                   /* register tile */
    int64_t heads;                  /* query heads of a token that are rows */
    int64_t copied, stored;         /* elements of a query and of a result that go together */
    bool team;                      /* a GPU's: one tile of rows, its sums of values in registers */
    int64_t rows, padded;           /* rows at most; elements of a head, whole columns */
    int64_t share;                  /* elements of a result that an instance makes */
    rlx_ir_value *d0, *d1;          /* the first of them, and one behind the last */
    rlx_ir_value *q, *scores, *acc; /* [rows, D], [part, P], [rows, padded] */
    rlx_ir_value *max, *sum;        /* [rows], over the pages so far */
    rlx_ir_value *page_max, *sums;  /* [rows]; [rows, LANES], of a page's weights */
    rlx_ir_value *old, *fresh;      /* [rows], what merging multiplies by */
    rlx_ir_value *from, *to, *bounds; /* i32[rows], seen positions; i32[row tiles, BOUNDS] */
    rlx_ir_value *keys, *values;      /* panels: [P / n, D, n], [padded / n, P, n] */
    rlx_ir_value *part, *part_end;    /* rows whose scores are there */
    rlx_ir_value *first, *count;      /* of the run: first token, rows */
    rlx_ir_value *begin, *end;        /* of the run: positions that some row sees */
    rlx_ir_value *page, *page_at;     /* index of the page; its first position */
} block;

/* ---- prompts: what blocks of rows on CPUs and a tile of rows on GPUs share ---- */

/* A position of the sequence as one of the page, 0 .. P. */
rlx_ir_value *attention_in_page(block *x, rlx_ir_value *position);
/* Scales of keys j.. of the page, kept as codes, which step elements from d on share: [step, n]. */
rlx_status attention_key_scales(block *x, rlx_ir_value *d, int64_t step, rlx_ir_value *j,
                                rlx_ir_value **out);
/* Keys j.. of the page, elements d.. of each, as they are multiplied: [step, n]. */
rlx_status attention_key_tile(block *x, rlx_ir_value *d, int64_t step, rlx_ir_value *j,
                              rlx_ir_value **out);
/* Of a row tile: maxima and sums with the page's, and what values so far and the page's are
 * multiplied by. */
typedef struct attention_merge {
    rlx_ir_value *old, *fresh, *max, *sum;
} attention_merge;
void attention_merge_sums(block *x, rlx_ir_value *r, rlx_ir_value *page_max, rlx_ir_value *page_sum,
                          attention_merge *out);
/* acc * old + sum * fresh in rows of the tile at r that see some of the page; else acc. */
rlx_ir_value *attention_merge_values(block *x, rlx_ir_value *r, const attention_merge *by,
                                     rlx_ir_value *acc, rlx_ir_value *sum);
/* Of the sums of values: rows from r on, elements from d0 on. */
typedef struct value_tile {
    rlx_ir_value *r, *d0;
} value_tile;
/* Sums of weights * values at the page's positions from .. to-1, of which every row sees its own. */
rlx_status attention_weigh(block *x, const value_tile *t, rlx_ir_value *from, rlx_ir_value *to,
                           rlx_ir_value **sum);

/* o = acc / sum, row by row, elements d0 .. d1-1; by a unit acc has these alone. */
rlx_status attention_store_rows(block *x, rlx_ir_value *stop, const leaf *l);

/* ---- lower_attention_team.c: scores of a GPU's tile of rows, in team memory ---- */

/* What fn makes of scores in columns from .. to-1 by lanes, ascending from `start`, then by halves:
 * f32[m]. */
rlx_status attention_team_fold(block *x, rlx_map_fn fn, double start, rlx_ir_value *from,
                               rlx_ir_value *to, rlx_ir_value **out);
/* scores <- exp(scores - max) in tiles of columns from .. to-1. */
rlx_status attention_team_exp(block *x, rlx_ir_value *max, rlx_ir_value *from, rlx_ir_value *to);

/* ---- lower_attention_pages.c: a GPU's tile of rows ---- */

/* Elements of a result whose sums an instance keeps: all of them, or a share of many. */
int64_t attention_team_share(const attention *a);
/* Of instance i the share, to d0 and d1; what is left of its number. */
rlx_ir_value *attention_take_share(block *x, rlx_ir_value *i);
/* All pages of a run; the sums of values take the place of its queries. */
rlx_status attention_team_pages(block *x);

/* -inf in the place of scores with positions from j on that a row does not see. */
rlx_ir_value *attention_hide(block *x, rlx_ir_value *j, rlx_ir_value *s);

/* ---- lower_attention_unit.c: a tile of rows by a matrix unit ---- */

/* Numbers that are rounded to f16 within its range; others as they are. */
rlx_ir_value *attention_held(block *x, rlx_format f, rlx_ir_value *v);
/* What all instances have of team memory; a run whose rows are there, up to token `stop`. */
rlx_status attention_take_unit_memory(block *x);
rlx_status attention_by_unit(block *x, rlx_ir_value *stop, const leaf *l);

/* ---- exponentials on CPUs ---- */

/* Rows whose exponentials are made side by side, since one's steps wait for each other: four
 * registers of them, a share of a tile's rows. */
int64_t attention_exp_rows(const block *x);
/* Rows whose maxima are made side by side: three times as many registers, where a tile has them. One
 * step of a maximum waits for the one before, and there is no other. */
static inline int64_t attention_max_rows(const block *x)
{
    const int64_t rows = attention_exp_rows(x);
    return x->m % (3 * rows) == 0 ? 3 * rows : rows;
}
/* scores <- exp(scores - max) in so many rows from r on, in columns from .. to-1; their sums by
 * lanes to x->sums. They go through memory: registers are what exponentials have too few of. */
rlx_status attention_exp(block *x, rlx_ir_value *r, rlx_ir_value *max, rlx_ir_value *from,
                         rlx_ir_value *to);
/* The sums of the row tile at r, lanes by halves. */
rlx_ir_value *attention_page_sum(block *x, rlx_ir_value *r);

/* ---- small things ---- */

static inline rlx_ir_value *at(block *x, int64_t v)
{
    return k_const(x->k, v);
}

static inline rlx_ir_value *map2(block *x, rlx_map_fn fn, rlx_ir_value *p, rlx_ir_value *q)
{
    return rlx_lir_build_map2(x->b, fn, p, q);
}

static inline rlx_ir_value *plus(block *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_ADD, p, q);
}

static inline rlx_ir_value *times(block *x, rlx_ir_value *p, int64_t by)
{
    return by == 1 ? p : map2(x, RLX_FN_MUL, p, at(x, by));
}

static inline rlx_ir_value *choose(block *x, rlx_ir_value *c, rlx_ir_value *p, rlx_ir_value *q)
{
    return rlx_lir_build_map3(x->b, RLX_FN_SELECT, c, p, q);
}

/* v down to, or up to, a multiple. */
static inline rlx_ir_value *down(block *x, rlx_ir_value *v, int64_t to)
{
    return times(x, map2(x, RLX_FN_DIV, v, at(x, to)), to);
}

static inline rlx_ir_value *up(block *x, rlx_ir_value *v, int64_t to)
{
    return down(x, plus(x, v, at(x, to - 1)), to);
}

static inline rlx_status begin_loop(block *x, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                                    rlx_lir_scope *s)
{
    rlx_lir_begin_for(x->b, lo, hi, step, 0, NULL, s);
    return x->b->status ? rlx_ir_builder_finish(x->b) : RLX_OK;
}

/* The block that follows runs once if the condition holds, or not at all. */
static inline rlx_status begin_when(block *x, rlx_ir_value *condition, rlx_lir_scope *s)
{
    return begin_loop(x, at(x, 0), choose(x, condition, at(x, 1), at(x, 0)), 1, s);
}

/* Team memory: one element or a row from [r]; a tile from [r, c]. */
static inline rlx_ir_value *load_1(block *x, rlx_ir_value *buffer, rlx_ir_value *r, int64_t n)
{
    static const int64_t axis = 0;
    return rlx_lir_build_load(x->b, buffer, buffer->type.format, n ? 1 : 0, n ? &n : NULL, &r,
                              n ? &axis : NULL, NULL);
}

static inline void store_1(block *x, rlx_ir_value *buffer, rlx_ir_value *r, rlx_ir_value *v)
{
    static const int64_t axis = 0;
    rlx_lir_build_store(x->b, buffer, v, &r, v->type.rank ? &axis : NULL, NULL);
}

static inline rlx_ir_value *load_2(block *x, rlx_ir_value *buffer, rlx_ir_value *r, rlx_ir_value *c,
                                   int64_t m, int64_t n)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *index[2] = {r, c};
    const int64_t dims[2] = {m, n};
    return rlx_lir_build_load(x->b, buffer, RLX_F32, 2, dims, index, axes, NULL);
}

static inline void store_2(block *x, rlx_ir_value *buffer, rlx_ir_value *r, rlx_ir_value *c,
                           rlx_ir_value *tile)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *index[2] = {r, c};
    rlx_lir_build_store(x->b, buffer, tile, index, axes, NULL);
}

/* Row r among the scores. */
static inline rlx_ir_value *in_part(block *x, rlx_ir_value *r)
{
    return map2(x, RLX_FN_SUB, r, x->part);
}

/* Rows of the panel that holds column c. */
static inline rlx_ir_value *load_panel(block *x, rlx_ir_value *panels, rlx_ir_value *c,
                                       rlx_ir_value *row, int64_t rows)
{
    static const int64_t axes[2] = {1, 2};
    rlx_ir_value *index[3] = {map2(x, RLX_FN_DIV, c, at(x, x->n)), row, at(x, 0)};
    const int64_t dims[2] = {rows, x->n};
    return rlx_lir_build_load(x->b, panels, RLX_F32, 2, dims, index, axes, NULL);
}

static inline void store_panel(block *x, rlx_ir_value *panels, rlx_ir_value *c, rlx_ir_value *row,
                               rlx_ir_value *column, rlx_ir_value *tile)
{
    static const int64_t axes[2] = {1, 2};
    rlx_ir_value *index[3] = {map2(x, RLX_FN_DIV, c, at(x, x->n)), row, column};
    rlx_lir_build_store(x->b, panels, tile, index, axes, NULL);
}

/* Elements of a row r from c. */
static inline rlx_ir_value *load_row(block *x, rlx_ir_value *buffer, rlx_ir_value *r,
                                     rlx_ir_value *c, int64_t n)
{
    static const int64_t axis = 1;
    rlx_ir_value *index[2] = {r, c};
    return rlx_lir_build_load(x->b, buffer, buffer->type.format, 1, &n, index, &axis, NULL);
}

static inline void store_row(block *x, rlx_ir_value *buffer, rlx_ir_value *r, rlx_ir_value *c,
                             rlx_ir_value *row)
{
    static const int64_t axis = 1;
    rlx_ir_value *index[2] = {r, c};
    rlx_lir_build_store(x->b, buffer, row, index, &axis, NULL);
}

/* f32 or bool [m] -> [m, n]. */
static inline rlx_ir_value *spread_rows(block *x, rlx_ir_value *v)
{
    static const int64_t axis = 0;
    const int64_t dims[2] = {x->m, x->n};
    return rlx_lir_build_broadcast(x->b, v, 2, dims, &axis);
}

static inline rlx_ir_value *spread_columns(block *x, rlx_ir_value *v)
{
    static const int64_t axis = 1;
    const int64_t dims[2] = {x->m, x->n};
    return rlx_lir_build_broadcast(x->b, v, 2, dims, &axis);
}

/* The largest power of two, 8 at most, that divides n. */
static inline int64_t step_of(int64_t n)
{
    int64_t step = 8;
    while (n % step != 0)
        step /= 2;
    return step;
}

#endif
