/* mir/lower/lower_panel.h: contractions by panels, for the files that lower them: lower_panel.c, and
 * lower_panel_weights.c, which fills the panels. */
#ifndef RLX_MIR_LOWER_PANEL_H
#define RLX_MIR_LOWER_PANEL_H

#include "mir/lower/lower_group.h"

/* Elements of K under one scale of quantized activations, and codes that are multiplied together.
 */
enum { QUANT = 32, TOGETHER = 4 };

/* Elements of bf16 that are multiplied together. */
enum { PAIR = 2 };

/* A contraction's weights, chunk by chunk and column tile by column tile, and its sums. */
typedef struct panel {
    bool quantized;
    int64_t bf16_width; /* products of bf16 that are summed together; 0: of f32, or of codes */
    bool by_columns;    /* columns lie side by side in memory: nothing is transposed */
    int bits;           /* quantized: of unsigned codes; 0: codes are signed bytes */
    int64_t group;      /* quantized: elements that share a scale */
    /* f32[chunks * tiles, depth, n], bf16[tiles, depth/2, 2n], codes[tiles, depth/4, 4n] */
    rlx_ir_value *w;
    rlx_ir_value *scale; /* f32[tiles, depth/group, n]; quantized only, as mins */
    rlx_ir_value *mins;  /* NULL: the format has none */
    rlx_ir_value *sums;  /* f32[block_m, tiles * n] */
} panel;

/* An instance: one block of columns for one block of rows. */
typedef struct instance {
    group *g;
    const group_grid *grid;
    panel of[MAX_CONTRACTS];
    int64_t tiles;         /* column tiles, the last one perhaps beyond the block */
    rlx_ir_value *n0, *t0; /* first column, first row */
    rlx_ir_value *n_limit; /* NULL: all columns of all tiles are the weight's */
    rlx_ir_value *t_limit; /* NULL: all rows of all row tiles are live */
    rlx_ir_value *rows;    /* live rows of the block */
    rlx_ir_value *x;       /* f32[row tiles, depth/4, m, 4]: rows that stay; NULL: not packed */
    int64_t chunks;        /* of K whose panels are in memory together */
    const rlx_ir_node *yield;
    bool direct; /* register tiles are stored as they are made */
} instance;

/* A chunk of K: `length` elements from `from`, which is element 0 of group `group`. The panels that
 * are made after its own begin with element next_from of the weight's row next_row (NULL: not known). */
typedef struct chunk {
    rlx_ir_value *from, *group;
    int64_t length;
    rlx_ir_value *panel; /* where its panels are; NULL: panels are of one chunk */
    rlx_ir_value *next_row, *next_from;
} chunk;

/* Elements of K of a panel of floats that is filled for `length`: whole vectors, whole products. */
static inline int64_t padded_floats(const kernel_cx *k, const panel *p, int64_t length)
{
    int64_t vector = k->options->target->vector_f32;
    return up(length, p->bf16_width > vector ? p->bf16_width : vector);
}

/* Rows of an instance. */
static inline int64_t panel_rows(const rlx_lir_schedule *s)
{
    return (int64_t)s->block_m * (s->blocks ? s->blocks : 1);
}

/* The panel of a column tile. */
static inline rlx_ir_value *panel_of(kernel_cx *k, const chunk *c, rlx_ir_value *tile)
{
    return c->panel ? plus(k, c->panel, tile) : tile;
}

/* A chunk of every contraction's weights to its panels. */
rlx_status panel_expand_weights(kernel_cx *k, const instance *in, const chunk *c);

/* Rows of few products are done before the next weights have come from memory: those are told to the
 * second-level cache, a few lines with each register tile. What is not there yet when its panel is
 * made would be waited for. */
void panel_set_next(kernel_cx *k, const instance *in, chunk *c);
/* With the register tile of rows from `row` on: its part of the column tile's next weights. */
rlx_status panel_read_ahead(kernel_cx *k, const instance *in, int i, const chunk *c,
                            rlx_ir_value *tile, rlx_ir_value *row);

#endif
