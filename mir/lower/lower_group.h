/* mir/lower/lower_group.h: a contraction region's groups, for those who lower them.
 *
 * Results that share contractions form a group, and each group becomes a grid of one kernel. */
#ifndef RLX_MIR_LOWER_GROUP_H
#define RLX_MIR_LOWER_GROUP_H

#include "mir/lower/lower.h"

enum { MAX_CONTRACTS = RLX_MIR_MOST_CONTRACTS, MAX_RESULTS = 8 };

/* ---- indices, loops */

static inline rlx_ir_value *plus(kernel_cx *k, rlx_ir_value *a, rlx_ir_value *b)
{
    return rlx_lir_build_map2(k->b, RLX_FN_ADD, a, b);
}

static inline rlx_ir_value *times(kernel_cx *k, rlx_ir_value *a, int64_t by)
{
    return by == 1 ? a : rlx_lir_build_map2(k->b, RLX_FN_MUL, a, k_const(k, by));
}

static inline rlx_ir_value *least(kernel_cx *k, rlx_ir_value *a, rlx_ir_value *b)
{
    return rlx_lir_build_map2(k->b, RLX_FN_MIN, a, b);
}

static inline rlx_status begin_loop(kernel_cx *k, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                                    rlx_lir_scope *s)
{
    rlx_lir_begin_for(k->b, lo, hi, step, 0, NULL, s);
    return k->b->status ? rlx_ir_builder_finish(k->b) : RLX_OK;
}

static inline rlx_status begin_count(kernel_cx *k, int64_t count, int64_t step, rlx_lir_scope *s)
{
    return begin_loop(k, k_const(k, 0), k_const(k, count), step, s);
}

static inline int64_t up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

typedef struct group {
    const rlx_ir_node *contract[MAX_CONTRACTS];
    int ncontracts;
    int result[MAX_RESULTS]; /* which results of the region */
    int nresults;
    int64_t unit; /* columns that the epilogue needs together; 0: none */
    rlx_dim n, k; /* rows of the second operand, contracted extent; constants unless lanes is 1 */
    rlx_dim m;    /* rows: the axis before the contracted one */
    int nlead;    /* axes before that: `lead` is where an instance of the grid stands in them */
    int nbatch;   /* the first so many of which the second operand has, too */
    coord lead[RLX_MAX_RANK];
    rlx_lir_schedule s;
    /* Of contractions whose rows choose their matrix (lower_chosen.c); the latter three are LIR. */
    const rlx_ir_value *ids;     /* NULL: there is one matrix */
    bool by_matrix;              /* rows of a matrix go together */
    rlx_ir_value *matrix;        /* the present one */
    rlx_ir_value *order, *first; /* i64[rows], i64[E+1]: rows by matrix, where each one's begin */
} group;

/* Where a register tile stands. */
typedef struct register_tile {
    rlx_ir_value *m0, *n0;           /* first token, first weight row */
    rlx_ir_value *m_limit, *n_limit; /* NULL: all live */
    rlx_ir_value *x0;                /* first row of activations; NULL: m0 */
} register_tile;

/* Whether the memory behind a contraction's second operand has columns side by side, not K. */
bool group_runs_by_columns(kernel_cx *k, const rlx_ir_node *contract);
/* Whether rows are a view of memory in which K lies side by side. */
bool group_reads_in_place(kernel_cx *k, const rlx_ir_value *a);

/* The end of the columns; NULL when tiles of `by` columns never reach beyond it. */
rlx_ir_value *group_columns_end(kernel_cx *k, const group *g, int64_t by);

/* The instances of a group: a grid over blocks of columns, blocks of rows and the indices of all
 * leading axes. Sets g->lead. */
typedef struct group_grid {
    rlx_ir_value *column, *row; /* the block's indices */
    rlx_lir_scope grid;
} group_grid;
rlx_status group_begin_grid(kernel_cx *k, group *g, rlx_ir_value *columns, rlx_ir_value *rows,
                            group_grid *s);
rlx_status group_end_grid(kernel_cx *k, group_grid *s);
/* An index below `count` times `by`; of one it is 0, whatever views make of it. */
static inline coord coord_below(rlx_ir_value *index, int64_t by, int64_t count)
{
    return count == 1 ? coord_const(0) : coord_scaled(index, by, count);
}
/* Coordinates of a value [lead.., row, column]. */
static inline void group_place(const group *g, coord row, coord column, coord *c)
{
    for (int i = 0; i < g->nlead; i++)
        c[i] = g->lead[i];
    c[g->nlead] = row;
    c[g->nlead + 1] = column;
}

/* Coordinates of the second operand's element: [matrix, row, column] where rows choose, else
 * [lead.., row, column] with the axes of lead that it has. Returns how many. */
static inline int group_weight_place(const group *g, coord row, coord column, coord *c)
{
    int n = 0;
    if (g->matrix)
        c[n++] = coord_of(g->matrix, 0, -1);
    for (int i = 0; i < g->nbatch; i++)
        c[n++] = g->lead[i];
    c[n++] = row;
    c[n++] = column;
    return n;
}
/* The same as an access by tiles <rows x columns>. */
static inline void group_weight_index(const group *g, rlx_ir_value *row, rlx_ir_value *column,
                                      rlx_ir_value **index, int64_t *axes)
{
    int n = 0;
    if (g->matrix)
        index[n++] = g->matrix;
    axes[0] = n;
    index[n++] = row;
    axes[1] = n;
    index[n++] = column;
}

/* m x n tiles of the group's contractions over the whole of K, in registers from beginning to end;
 * the epilogue on them, and its store (lower_contract.c). */
rlx_status group_contract_tiles(kernel_cx *k, const group *g, const register_tile *p,
                                rlx_ir_value **tiles);
rlx_status group_store_tiles(kernel_cx *k, const group *g, const register_tile *p,
                             const rlx_ir_node *yield, rlx_ir_value **tiles);

/* Operands that lie in team memory by steps of K: `load` makes the tile of the i-th's step (lower_ring.c). */
enum { RING_KINDS = 1 + MAX_CONTRACTS };
typedef struct ring {
    rlx_status (*load)(kernel_cx *k, const struct ring *r, int i, rlx_ir_value *step,
                       rlx_ir_value **out);
    const void *user; /* the load's */
    int n;
    struct {
        const rlx_ir_value *from;
        rlx_ir_value *memory;
        int64_t by; /* elements of K that have one value */
    } of[RING_KINDS];
} ring;
/* Rows of x in global memory, a value for every `by` elements of K, unless they are there. */
rlx_status ring_add(kernel_cx *k, const group *g, const rlx_ir_value *x, int64_t rows, int64_t by,
                    ring *r);
bool ring_has(const ring *r, const rlx_ir_value *x);
/* Rows on their way before a loop over the steps; what a step begins with; its rows of x. */
rlx_status ring_begin(kernel_cx *k, const group *g, const ring *r);
rlx_status ring_step(kernel_cx *k, const group *g, const ring *r, rlx_ir_value *step);
rlx_status ring_load(kernel_cx *k, const group *g, const ring *r, const rlx_ir_value *x,
                     rlx_ir_value *step, rlx_ir_value **out);

/* The memory of a contraction's second operand, f32 or as the checkpoint has it; NULL: a view. */
const rlx_ir_value *group_weight_memory(const rlx_ir_node *contract);

/* Rows by columns, K chunk by chunk, in schedules that have a depth (lower_columns.c). */
typedef struct column_block {
    const group *g;
    rlx_ir_value *m0, *rows;    /* the first row, how many are live: block_m at the most */
    rlx_ir_value *n0, *columns; /* the first column, how many: block_n at the most */
    rlx_ir_value *n_limit;      /* NULL: a column tile never ends beyond the weight */
    rlx_ir_value *shared;       /* all chunks of the rows; NULL: a block copies its own */
    /* What becomes of the totals <height x width>, whose rows are live; `row` and `column` are their
     * places in the block. */
    rlx_status (*finish)(kernel_cx *k, const struct column_block *c, rlx_ir_value *row,
                         rlx_ir_value *column, int height, int width, rlx_ir_value **tiles);
    rlx_ir_value **memory;    /* of a finish into team memory */
    const rlx_ir_node *yield; /* of one through the epilogue */
} column_block;
rlx_status group_columns(kernel_cx *k, const column_block *c);
/* At the kernel's top, before its grid: what blocks share of the rows, as the schedule has it; or NULL. */
rlx_status group_columns_begin(kernel_cx *k, const group *g, rlx_ir_value **shared);

/* The groups of a region whose rows choose their matrix. */
rlx_status lower_chosen(region_cx *r, group *groups, int n);
/* Takes the group to row `row` of its contractions' [R] or [R,S], counted as one: sets its place,
 * returns the row of activations and the coordinate of the result's row. */
rlx_ir_value *chosen_row(kernel_cx *k, group *g, rlx_ir_value *row, rlx_ir_value **last);
/* Where the rows of matrix `matrix` lie in g->order. */
void chosen_span(kernel_cx *k, const group *g, rlx_ir_value *matrix, rlx_ir_value **from,
                 rlx_ir_value **to);

/* m x n tiles of the group's contract_qs over the whole of K (lower_dot.c). */
rlx_status dot_tiles(kernel_cx *k, const group *g, const register_tile *at, rlx_ir_value **tiles);

/* Rows of codes that lie turned in team memory, and their sums there (lower_turned.c). */
typedef struct turned_rows {
    rlx_ir_value *codes[2]; /* i8[K / s.k, rows, s.k], by groups of 16 and of 32; NULL: none */
    rlx_ir_value *xs[2];    /* f32[K / s.k, rows, groups of s.k]: their sums; NULL: none */
    rlx_ir_value *sums[MAX_CONTRACTS]; /* f32[s.m, s.n, 8]: of products */
    rlx_ir_value *mins[MAX_CONTRACTS]; /* f32[s.n, groups of K]: of the columns; NULL: none */
    rlx_ir_value *columns; /* how many of them are there, at the weight's end; NULL: s.n */
} turned_rows;
/* At the kernel's top, before its grid. */
rlx_status turned_begin(kernel_cx *k, const group *g, turned_rows *out);
/* The sums of `rows` rows from m0, s.m at most, and of the columns from n0. */
rlx_status turned_sums(kernel_cx *k, const group *g, const turned_rows *t, rlx_ir_value *m0,
                       rlx_ir_value *rows, rlx_ir_value *n0);
/* Of row `row` of them, which is row m0 of the region, RLX_LIR_TURN_TOTALS from `column` on, as a
 * tile. */
rlx_status turned_totals(kernel_cx *k, const group *g, const turned_rows *t, rlx_ir_value *m0,
                         rlx_ir_value *row, rlx_ir_value *column, rlx_ir_value **tiles);

/* The groups of a region's results, with their schedules; MAX_RESULTS at most. `k` has options,
 * dims and place. */
rlx_status groups_make(kernel_cx *k, const rlx_ir_node *yield, group *groups, int *ngroups);
/* The kernel's name and how it is cut. */
void groups_describe(const group *groups, int count, rlx_text *what, rlx_text *schedule);

/* Rows of `a`, computed once: into team memory before any grid, or by a kernel of their own. */
rlx_status group_prologue_once(kernel_cx *k, const rlx_ir_value *a);
rlx_status group_prologue_kernel(region_cx *r, const rlx_ir_value *a, tape_buffer *temp);

/* The epilogue of row `row` of one unit: evaluates and stores the group's results. The contractions
 * are bound. */
rlx_status group_store_unit(kernel_cx *k, const group *g, const rlx_ir_node *yield, coord row,
                            coord unit);

/* Team memory that the groups of a kernel use one after the other (lower_panel.c). */
typedef struct panel_memory {
    rlx_ir_value *buffer[MAX_RESULTS * MAX_CONTRACTS * 4];
    int n, taken; /* the first `taken` are the present group's */
} panel_memory;

/* A grid for a group whose schedule has panels of weights. Activations are bound to memory. */
rlx_status group_lower_panels(kernel_cx *k, group *g, const rlx_ir_node *yield,
                              panel_memory *memory);

#endif
