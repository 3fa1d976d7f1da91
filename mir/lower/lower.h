/* mir/lower/lower.h: inside of the lowering from fused MIR to LIR.
 *
 *   lower.c           module, tape functions, phases; one call per region
 *   lower_index.c     coordinates: linear forms of loop indices, through views
 *   lower_tile.c      the tile of a MIR value at given coordinates (prologues and epilogues)
 *   lower_sink.c      where a region's result goes: a buffer, or the KV pages
 *   lower_rows.c      row reductions and elementwise regions
 *   lower_loops.c     ... that no tiles walk, scans and scatters (elements: lower_scalar.c)
 *   lower_merge.c     contraction regions whose rows are in several axes, as if in one
 *   lower_contract.c  contraction regions (what all of them share: lower_group.c)
 *   lower_chosen.c    ... whose rows choose their matrix
 *   lower_columns.c   ... of some rows of floats, which share what is converted of a weight
 *   lower_dot.c       ... of quantized rows, lanes along K (several that are turned: lower_turned.c)
 *   lower_quantize.c  rows to 8-bit codes
 *   lower_panel.c     ... in the order of one partial sum, on CPUs (panels are filled by lower_panel_weights.c)
 *   lower_attention.c attention regions (prompts: lower_attention_block.c; tensors: lower_attention_dense.c,
 *                     on GPUs lower_attention_team.c)
 *   lower_apart.c     contraction and attention regions that end in what tiles cannot store
 *   lower_delta.c     the gated delta rule by chunks (rows and scores: lower_delta_rows.c)
 *   lower_order.c     orders of rows
 *   lower_recur.c     recurrences: the steps in one kernel (a step's folds: lower_recur_fold.c)
 *
 * A region's meaning is lowered by lower_tile and lower_sink alone; the other files make the loop
 * skeletons that schedules describe.
 */
#ifndef RLX_MIR_LOWER_H
#define RLX_MIR_LOWER_H

#include "lir/schedule/schedule.h"
#include "mir/mir.h"

/* ---- coordinates (lower_index.c) ------------------------------------------------------------- */

enum { MAX_TERMS = 6, MAX_TILE = 2 };

/* value * coef; the value lies in 0..range-1, its tile axis (if any) included. */
typedef struct term {
    rlx_ir_value *value; /* i64 scalar of the LIR kernel */
    int64_t coef;
    int64_t range; /* 0: not known */
    int axis;      /* tile axis that runs from it, or -1 */
} term;

/* One index: off + sum of terms. At most one term has a tile axis, with coefficient 1. */
typedef struct coord {
    int n;
    term term[MAX_TERMS];
    int64_t off;
} coord;
/* Of a term whose value is an index along an axis of that extent. */
static inline int64_t range_of(rlx_dim extent)
{
    return rlx_dim_is_const(extent) ? extent : 0;
}
static inline void copy_coords(const coord *c, int n, coord *out)
{
    for (int i = 0; i < n; i++)
        out[i] = c[i];
}

/* The tile that is being made: extents, and per axis the limit that its root index stays below. */
typedef struct tile_space {
    int rank;
    int64_t dim[MAX_TILE];
    rlx_ir_value *root[MAX_TILE];  /* the index that the axis starts from */
    rlx_ir_value *limit[MAX_TILE]; /* NULL: all elements are live */
} tile_space;

coord coord_const(int64_t off);
coord coord_of(rlx_ir_value *value, int64_t range, int axis);
coord coord_scaled(rlx_ir_value *value, int64_t coef, int64_t range);
coord coord_add(coord a, coord b);
coord coord_mul(coord c, int64_t by); /* n < 0: a tile axis would be strided */
coord coord_sub(coord a, coord b);    /* terms must cancel; what is left over is an error: n < 0 */
int coord_axis(const coord *c);       /* its tile axis, or -1 */
bool coord_equal(const coord *a, const coord *b);

/* From coordinates of a shape to those of the same elements in another row-major shape. `place`
 * names the view in the error when an index cannot be split or merged. */
rlx_status coord_reshape(rlx_dims *dims, const rlx_ir_type *from, const coord *c,
                         const rlx_ir_type *to, coord *out, const char *place);

/* ---- one kernel being made ------------------------------------------------------------------- */

typedef enum bind_kind {
    BIND_BUFFER, /* lives in memory: load it */
    BIND_TILE,   /* a tile at known coordinates */
    BIND_ROW,    /* a scalar that holds for the row being processed */
    BIND_PART    /* elements of something larger */
} bind_kind;

/* The elements of a value that some axes of something larger have, the others being fixed. */
typedef struct value_part {
    const rlx_ir_value *value; /* the larger MIR value; NULL: */
    rlx_ir_value *buffer;      /* it is memory */
    const tile_space *space;   /* of tiles of that memory; NULL: that of the place */
    int rank, inner, ninner;   /* axes inner .. inner + ninner - 1 are the value's */
    coord at[RLX_MAX_RANK];    /* along the others */
} value_part;

/* What a MIR value is, while a kernel is made (rlx_ir_value.scratch). */
typedef struct binding {
    bind_kind kind;
    rlx_ir_value *lir;      /* buffer, tile or scalar */
    const value_part *part; /* PART */
    coord at[RLX_MAX_RANK]; /* BUFFER: its origin in the value; TILE: where the tile is */
} binding;

typedef struct kernel_cx {
    const rlx_mir_lower_options *options;
    rlx_arena *arena; /* lives as long as the lowering */
    rlx_dims *dims;
    rlx_ir_builder *b; /* the LIR module's builder */
    rlx_ir_func *kernel;
    rlx_ir_builder top; /* inserts at the kernel's top, before its first structured node */
    const rlx_ir_node *region;
    rlx_ir_value **consts; /* pooled i64 constants and extents, at the top */
    int nconsts, cap_consts;
    const char *place;
    struct tape_buffer **args; /* the tape's buffers behind the kernel's arguments */
    bool *written;
    int nargs, cap_args;
    int first_result;
    int *result_arg; /* which argument holds result i */
    struct stage_memory *stages; /* of rings: later groups of the kernel have them, too */
    struct made_tile *made;      /* while a tile is made: what it is made of, the latest first */
    int making;                  /* how deep */
} kernel_cx;

rlx_ir_value *k_const(kernel_cx *k, int64_t v);   /* pooled i64 */
rlx_ir_value *k_extent(kernel_cx *k, rlx_dim d);  /* pooled */
coord coord_extent(kernel_cx *k, rlx_dim extent); /* as a coordinate; a symbol may decide it */
rlx_ir_value *k_scalar(kernel_cx *k, const rlx_ir_node *n);                /* of a const */
rlx_ir_value *k_index(kernel_cx *k, const coord *c);                       /* as an i64 value */
rlx_ir_value *k_limit(kernel_cx *k, const coord *c, const tile_space *ts); /* NULL: none */
int64_t k_upper(const kernel_cx *k, rlx_dim d); /* at the bucket's upper bounds */
/* v held inside 0..extent-1; 0 of an extent that is empty. */
rlx_ir_value *k_hold_index(kernel_cx *k, rlx_ir_value *v, rlx_dim extent);
/* Whether symbols may make the extent 0: but for remainders, expressions only grow with them. */
bool k_may_be_empty(const kernel_cx *k, rlx_dim extent);
rlx_status k_fail(kernel_cx *k, const rlx_ir_node *n,
                  const char *what); /* RLX_UNSUPPORTED, says where */
binding *k_bind(kernel_cx *k, const rlx_ir_value *v, bind_kind kind, rlx_ir_value *lir);
binding *bound(const rlx_ir_value *v); /* NULL: not bound */

/* The tile of `v` at `c` (one coord per axis of v), its axes being those of `ts` that occur in `c`;
 * rank 0 when v does not vary over the tile. */
rlx_status tile_at(kernel_cx *k, const rlx_ir_value *v, const coord *c, const tile_space *ts,
                   rlx_ir_value **out);
/* Loads or stores a bound buffer's elements at coordinates of the buffer. */
rlx_status tile_load(kernel_cx *k, rlx_ir_value *buffer, rlx_format format, const coord *c,
                     const tile_space *ts, rlx_ir_value **out);
rlx_status tile_store(kernel_cx *k, rlx_ir_value *buffer, rlx_ir_value *tile, const coord *c,
                      const tile_space *ts);

/* ---- sinks (lower_sink.c) ---------------------------------------------------------------------
 */

/* One part of a region's result that is computed as a whole: `value`, whose element at c goes where
 * the steps lead (views from the value outwards), into `buffer`. */
enum { MAX_STEPS = 8, MAX_LEAVES = 16 };
typedef struct sink_step {
    const rlx_ir_node *node; /* reshape, concat or cast */
    rlx_dim offset;          /* concat: where this operand starts along the axis */
} sink_step;
typedef struct leaf {
    const rlx_ir_value *value;
    const rlx_ir_value *result; /* what the steps end in: the yielded value or page_write's x */
    const rlx_ir_node *page;    /* page_write, or NULL */
    rlx_ir_value *buffer;
    int nsteps;
    sink_step step[MAX_STEPS]; /* innermost (next to the value) last */
} leaf;

/* The leaves of a yielded value. */
rlx_status sink_leaves(kernel_cx *k, const rlx_ir_value *yielded, rlx_ir_value *buffer,
                       leaf *leaves, int *n);
/* Evaluates the leaf's tile at c and stores it. */
rlx_status sink_store(kernel_cx *k, const leaf *l, const coord *c, const tile_space *ts);
/* Evaluates and stores the leaf over its axes first..rank-1, c giving the axes before. Axis `first`
 * runs over `extent` elements from c[first]; the others over all of theirs. The last axis goes by
 * tiles, the rest are loops of scalars. */
rlx_status sink_loop(kernel_cx *k, const leaf *l, coord *c, int first, rlx_dim extent);
/* The same from index 0 over whole axes. */
rlx_status sink_loop_whole(kernel_cx *k, const leaf *l, coord *c, int first);

/* ---- the tape (lower.c) ------------------------------------------------------------------------
 */

/* A buffer of the tape function being made. */
typedef struct tape_buffer {
    rlx_ir_type type; /* BUFFER */
    rlx_role role;
    const char *symbol, *name;
    bool is_arg;
    bool apart; /* rows are longer than the tensor's, or codes are raised */
    int reads, writes; /* in the current phase */
    rlx_ir_value *lir; /* once the tape function exists */
} tape_buffer;

typedef struct tape_cx tape_cx;

/* A region as skeletons see it. */
typedef struct region_cx {
    const rlx_ir_node *node;
    const rlx_mir_lower_options *options;
    rlx_arena *arena;
    rlx_ir_module *mir, *out;
    tape_cx *tape;
    tape_buffer **operand; /* node->nin */
    tape_buffer **result;  /* node->nout; page_write's is its pool operand */
} region_cx;

/* Begins a kernel whose arguments are the region's operands and results, each bound to its value of
 * the region's block; results are returned by kernel_result. kernel_end drops unused arguments,
 * reuses an equal kernel made before, and appends the launch. */
rlx_status kernel_begin(region_cx *r, kernel_cx *k, const char *what, const char *schedule);
rlx_ir_value *kernel_result(const kernel_cx *k, int i);
/* One more argument: a buffer that is not the region's own. */
rlx_ir_value *kernel_extra(kernel_cx *k, const char *name, tape_buffer *buffer, bool written);
rlx_status kernel_end(region_cx *r, kernel_cx *k);
/* Takes a kernel back that cannot be made. */
void kernel_drop(region_cx *r, kernel_cx *k);
/* Forgets kernels, temps and launches made since the mark. */
typedef struct tape_mark {
    const rlx_ir_func *last;
    int kernels, nmade, nops, nbuffers;
} tape_mark;
tape_mark tape_get_mark(const tape_cx *t);
void tape_go_back(tape_cx *t, tape_mark mark);
/* A temp of the tape for a tensor. */
tape_buffer *tape_temp(tape_cx *t, const rlx_ir_type *tensor);
/* Begins a grid; pooled constants move to the kernel's top before it. */
void k_begin_grid(kernel_cx *k, int n, rlx_ir_value *const *extents, rlx_lir_scope *s);
void k_begin_once(kernel_cx *k, rlx_lir_scope *s);

/* ---- skeletons
 * ----------------------------------------------------------------------------------- */

rlx_status lower_contract(region_cx *r);
/* On a CPU: gives a contraction region's values one axis for all rows, where they allow it. */
rlx_status lower_merge_rows(region_cx *r);
rlx_status lower_quantize(region_cx *r);
rlx_status lower_attention(region_cx *r);
rlx_status lower_recur(region_cx *r);
rlx_status lower_delta_chunks(region_cx *r);
rlx_status lower_order(region_cx *r);
/* What tiles cannot end: the roots go to memory on their own, what follows is made of them. */
rlx_status lower_apart(region_cx *r);
bool lower_is_root(const rlx_ir_node *n); /* a contraction or attention */
rlx_status lower_region(tape_cx *t, const rlx_mir_lower_options *o, const rlx_ir_node *n);
rlx_status lower_rows(region_cx *r);  /* reduce and map regions, by tiles */
rlx_status lower_loops(region_cx *r); /* any of maps, views, folds and gathers, by elements */

/* Shared by reduce regions and contraction prologues: inside the loops over rows, binds every
 * reduce that `v` needs for the row at coordinates `row`; rows_unbind forgets them. */
rlx_status rows_bind(kernel_cx *k, const rlx_ir_value *v, const coord *row);
void rows_unbind(const rlx_ir_value *v);
/* Rank of the reduces under v, -1 when there is none or they differ. */
int rows_rank(const rlx_ir_value *v);
bool value_depends(const rlx_ir_value *v, int op); /* on a node of that op, inside the region */

#endif
