/* lir/lir.h: tile programs, schedules, the tape and the memory plan.
 *
 *   rlx_lir_schedule (data)  +  fused MIR region  --mir/lower-->  kernel(s)
 *   kernels + tape functions  --expand_math, plan_memory-->  checked module  --jit-->  code
 */
#ifndef RLX_LIR_H
#define RLX_LIR_H

#include "runtime/base/ir/ir.h"

typedef enum rlx_lir_op {
#define LIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) RLX_LIR_##NAME,
#include "lir/lir_ops.def"
#undef LIR_OP
    RLX_LIR_OP_COUNT
} rlx_lir_op;

extern const rlx_ir_level rlx_lir_level;

/* ---- building: thin, named forms of rlx_ir_build
 * ------------------------------------------------- All append at the builder's place, return NULL
 * after an error and infer what can be inferred. Dims of tiles are constants, so they are passed as
 * int64_t. Scalars are tiles of rank 0. */

/* A kernel; the builder's block becomes its top level. Attributes: SCHEDULE, NUMERICS, TEAM. Its
 * buffers follow with rlx_lir_build_buffer. */
rlx_ir_func *rlx_lir_build_kernel(rlx_ir_builder *b, const char *name, int nattr,
                                  const rlx_attr *attrs);
rlx_ir_value *rlx_lir_build_buffer(rlx_ir_builder *b, rlx_ir_func *kernel, const char *name,
                                   rlx_format f, int rank, const rlx_dim *dims);

rlx_ir_value *rlx_lir_build_const_f32(rlx_ir_builder *b, double value); /* scalar, rounded to f32 */
rlx_ir_value *rlx_lir_build_const_i64(rlx_ir_builder *b, int64_t value); /* scalar */
/* `value` in every element of a tile: float formats; integers and bool. */
rlx_ir_value *rlx_lir_build_fill(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims,
                                 double value);
rlx_ir_value *rlx_lir_build_fill_int(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims,
                                     int64_t value);
rlx_ir_value *rlx_lir_build_extent(rlx_ir_builder *b, rlx_dim dim); /* constant dims: a const */
/* The index along the last axis. */
rlx_ir_value *rlx_lir_build_iota(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims);
/* Elementwise; operands of one shape, or scalars, in any mixture. */
rlx_ir_value *rlx_lir_build_map1(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
rlx_ir_value *rlx_lir_build_map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x,
                                 rlx_ir_value *y);
rlx_ir_value *rlx_lir_build_map3(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y,
                                 rlx_ir_value *z);
rlx_ir_value *rlx_lir_build_cast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f); /* x if equal */
rlx_ir_value *rlx_lir_build_bitcast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f);
/* Input axis i becomes axis axes[i]; axes may be NULL for a scalar. */
rlx_ir_value *rlx_lir_build_broadcast(rlx_ir_builder *b, rlx_ir_value *x, int rank,
                                      const int64_t *dims, const int64_t *axes);
rlx_ir_value *rlx_lir_build_reduce(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
rlx_ir_value *rlx_lir_build_contract(rlx_ir_builder *b, rlx_ir_value *acc, rlx_ir_value *a,
                                     rlx_ir_value *w);
/* Products of codes; bits: those that bound codes, or 0 of i8. */
rlx_ir_value *rlx_lir_build_dot(rlx_ir_builder *b, int bits, rlx_ir_value *acc, rlx_ir_value *a,
                                rlx_ir_value *sa, rlx_ir_value *w, rlx_ir_value *sw);
/* The same of rows that lie as turn leaves them; xs: the sums of a's groups, or NULL. */
rlx_ir_value *rlx_lir_build_dot_turned(rlx_ir_builder *b, int bits, rlx_ir_value *acc,
                                       rlx_ir_value *a, rlx_ir_value *sa, rlx_ir_value *w,
                                       rlx_ir_value *sw, rlx_ir_value *xs);
rlx_ir_value *rlx_lir_build_turn(rlx_ir_builder *b, int64_t width, rlx_ir_value *x);
rlx_ir_value *rlx_lir_build_pack(rlx_ir_builder *b, int64_t width, rlx_ir_value *x);
/* xs and mins may both be NULL. */
rlx_ir_value *rlx_lir_build_dot_panel(rlx_ir_builder *b, int bits, rlx_ir_value *acc,
                                      rlx_ir_value *a, rlx_ir_value *sa, rlx_ir_value *w,
                                      rlx_ir_value *sw, rlx_ir_value *xs, rlx_ir_value *mins);
rlx_ir_value *rlx_lir_build_dot_rows(rlx_ir_builder *b, int bits, rlx_ir_value *acc,
                                     rlx_ir_value *a, rlx_ir_value *sa, rlx_ir_value *w,
                                     rlx_ir_value *sw, rlx_ir_value *xs, rlx_ir_value *mins);
rlx_ir_value *rlx_lir_build_outer(rlx_ir_builder *b, rlx_ir_value *acc, rlx_ir_value *a,
                                  rlx_ir_value *w);
rlx_ir_value *rlx_lir_build_outer_bf16(rlx_ir_builder *b, int64_t width, rlx_ir_value *acc,
                                       rlx_ir_value *a, rlx_ir_value *w);
rlx_ir_value *rlx_lir_build_contract_rows(rlx_ir_builder *b, int64_t width, rlx_ir_value *acc,
                                          rlx_ir_value *a, rlx_ir_value *w);
/* The same of w <KxN>: contract_rows with axis=0. */
rlx_ir_value *rlx_lir_build_contract_columns(rlx_ir_builder *b, int64_t width, rlx_ir_value *acc,
                                             rlx_ir_value *a, rlx_ir_value *w);

/* A team buffer, at a kernel's top level. */
rlx_ir_value *rlx_lir_build_alloc(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims);
/* A tile <dims> of format f from buffer[index..]: tile axis i runs along buffer axis axes[i].
 * index: one per buffer axis. limits: NULL, or one entry per tile axis, NULL where there is none.
 */
rlx_ir_value *rlx_lir_build_load(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_format f, int rank,
                                 const int64_t *dims, rlx_ir_value *const *index,
                                 const int64_t *axes, rlx_ir_value *const *limits);
/* The same of a buffer of blocks: "codes", "scale" or "min", whose formats follow from the
 * buffer's.
 */
rlx_ir_value *rlx_lir_build_load_part(rlx_ir_builder *b, rlx_ir_value *buffer, const char *part,
                                      int rank, const int64_t *dims, rlx_ir_value *const *index,
                                      const int64_t *axes, rlx_ir_value *const *limits);
void rlx_lir_build_store(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_ir_value *tile,
                         rlx_ir_value *const *index, const int64_t *axes,
                         rlx_ir_value *const *limits);
/* The same, async, of a tile that a load of global memory gave for it. */
void rlx_lir_build_store_async(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_ir_value *tile,
                               rlx_ir_value *const *index, const int64_t *axes);
void rlx_lir_build_commit(rlx_ir_builder *b);
void rlx_lir_build_wait(rlx_ir_builder *b, int64_t pending);
/* The element at index, one per buffer axis, and those behind it along the last one will be read soon. */
void rlx_lir_build_prefetch(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_ir_value *const *index,
                            int64_t width);
void rlx_lir_build_barrier(rlx_ir_builder *b);

/* Nested blocks: begin_* makes the node and moves the builder into its block; the matching end
 * moves it back behind the node. A scope is the caller's own, on the stack. */
enum { RLX_LIR_MAX_CARRIED = 16, RLX_LIR_MAX_GRID = 3 };
typedef struct rlx_lir_scope {
    rlx_ir_node *node;
    rlx_ir_value *index[RLX_LIR_MAX_GRID];      /* for: index[0]; grid: one per extent */
    rlx_ir_value *carried[RLX_LIR_MAX_CARRIED]; /* for: this round's values */
    rlx_ir_value *result[RLX_LIR_MAX_CARRIED];  /* after the end of a for or if */
    rlx_ir_block *outer;
    rlx_ir_node *outer_before;
} rlx_lir_scope;

/* Does what is built between if `cond`, bool, is true. */
void rlx_lir_begin_if(rlx_ir_builder *b, rlx_ir_value *cond, rlx_lir_scope *s);
void rlx_lir_end_if(rlx_ir_builder *b, rlx_lir_scope *s);
void rlx_lir_begin_once(rlx_ir_builder *b, rlx_lir_scope *s);
void rlx_lir_end_once(rlx_ir_builder *b, rlx_lir_scope *s);
void rlx_lir_begin_grid(rlx_ir_builder *b, int n, rlx_ir_value *const *extents, rlx_lir_scope *s);
void rlx_lir_end_grid(rlx_ir_builder *b, rlx_lir_scope *s);
void rlx_lir_begin_for(rlx_ir_builder *b, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                       int ncarried, rlx_ir_value *const *init, rlx_lir_scope *s);
void rlx_lir_end_for(rlx_ir_builder *b, rlx_lir_scope *s, rlx_ir_value *const *next);

/* Tape functions: made with rlx_ir_build_func without results; OUT arguments receive them. */
rlx_ir_value *rlx_lir_build_temp(rlx_ir_builder *b, rlx_format f, int rank, const rlx_dim *dims);
/* The kernel (or function) must stand before the caller in the module. */
void rlx_lir_build_launch(rlx_ir_builder *b, const rlx_ir_func *kernel, int64_t phase, int n,
                          rlx_ir_value *const *buffers);
/* buffers: VALUEs, OUTs, and when count > 1 one spare per OUT. */
void rlx_lir_build_call(rlx_ir_builder *b, const rlx_ir_func *callee, int64_t first, int64_t count,
                        int n, rlx_ir_value *const *buffers);

/* A number that divides an i64 scalar whatever its value, by how it is made (constants, integer
 * maps, what a for counts); 0 for zero itself, 1 when nothing is known. */
int64_t rlx_lir_divisor(const rlx_ir_value *v);

/* What a load takes of blocks, by its attribute part. */
typedef enum rlx_lir_part {
    RLX_LIR_DECODED, /* no part: values in f32 */
    RLX_LIR_CODES,
    RLX_LIR_SCALE,
    RLX_LIR_MIN,
    RLX_LIR_NO_PART /* the text names none */
} rlx_lir_part;
rlx_lir_part rlx_lir_part_of(const rlx_ir_node *load);
/* The tile format of such a load from a buffer of format f; f32 where that makes no sense. */
rlx_format rlx_lir_part_format(rlx_format f, const char *part);

/* Where turn takes element k of a row of groups of `width`. */
enum { RLX_LIR_TURN_GROUPS = 8, RLX_LIR_TURN_QUAD = 4 };
static inline int64_t rlx_lir_turned(int64_t k, int64_t width)
{
    const int64_t run = k / (RLX_LIR_TURN_GROUPS * width) * RLX_LIR_TURN_GROUPS * width;
    const int64_t group = (k - run) / width, quad = k % width / RLX_LIR_TURN_QUAD;
    return run + (quad * RLX_LIR_TURN_GROUPS + group) * RLX_LIR_TURN_QUAD + k % RLX_LIR_TURN_QUAD;
}

/* ---- what a schedule is -----------------------------------------------------------------------
 */

typedef enum rlx_lir_unit { RLX_UNIT_CPU, RLX_UNIT_GPU } rlx_lir_unit;

/* Of a matrix unit: m rows by n columns, k elements at a time, and how many invocations hold it;
 * zeros: there is no such unit. */
typedef struct rlx_lir_fragment {
    int m, n, k, lanes;
    bool stored; /* who has which sum is not known: they go by team memory, group by group */
    bool paired; /* who has sums of a row has them as the first operand of a product wants them */
} rlx_lir_fragment;

/* What lowering reads of a target; part of every compile key. All-zero is not valid. */
typedef struct rlx_lir_target {
    rlx_lir_unit unit;
    int vector_f32;  /* f32 lanes of a vector register: 8 (AVX2), 16 (AVX-512); 1 on GPUs */
    int vector_regs; /* architectural vector registers: 16, 32 */
    int team;        /* invocations per team on a GPU; 1 on a CPU */
    int threads;     /* teams that will be resident; only choices that keep the bits may read it */
    int64_t l1_bytes, l2_bytes; /* per core, by class */
    /* Team memory that a kernel may take. On a CPU attention by blocks takes up to 2 MiB where this
     * is less, or what the panels of a page and a few rows need. */
    int64_t team_bytes;
    int bf16_width; /* products of bf16 that one instruction sums: 2 (vdpbf16ps), 32 (AMX); 0: none;
                       part of the numerics */
    bool byte_tiles; /* products of bytes by AMX's tiles */
    bool raised_bytes; /* dot_panel wants a's codes raised where b's have a sign */
    /* By which a GPU's matrix unit multiplies bytes; and f16 and bf16, sums in f32: its k is how many
     * products are added to a sum at once. That there is one is part of the numerics, as is that k. */
    rlx_lir_fragment byte_matrix, float_matrix;
    /* The same of f16 and bf16 in kernels that multiply columns (contract_rows {axis=0}): attention's. */
    rlx_lir_fragment column_matrix;
    int copy_cycles; /* of a processor, until a copy of global to team memory that runs by itself has arrived; 0:
                        there are none, or nothing is gained by them */
    /* Rows of f16 and bf16 may lie in stages that such copies fill; else those of codes alone. */
    bool float_stages;
} rlx_lir_target;

/* Of sums that are stored so many wait in team memory at a time: this part of the target's team_bytes, if that is whole fragments
 * for every subgroup. */
enum { RLX_LIR_STORED_SHARE = 2 };

/* How one region is cut. Every schedule of a region gives the same bits. */
typedef struct rlx_lir_schedule {
    int m, n;             /* register tile: rows of tokens, rows of weights (output columns) */
    int k;                /* elements of K per step: a multiple of lanes */
    int lanes;            /* partial sums per output: the region's numerics, repeated here */
    int block_m, block_n; /* of one instance: multiples of m and n, or fewer rows than m */
    int depth;   /* contract: elements of K that go by a panel in team memory, a multiple of k: of
                  activations and what is converted of weights; with `rows`, of weights. 0: none */
    int rows;    /* contract by panels of weights (lanes 1): rows of tokens whose activations of
                  `depth` stay in the second-level cache, a multiple of m; 0: other lowerings */
    bool turned; /* contract of codes: rows lie turned in team memory, weights are decoded once for
                    m of them */
    int packed;  /* by panels of weights: those activations are copied to team memory, so many
                   elements of each row of a register tile side by side; 0: read where they lie */
    bool streamed; /* by panels of weights: those pass by from the second-level cache while a register
                      tile's activations stay; else a panel stays in the first while rows pass by */
    int blocks; /* by panels of weights: those of the whole of K are in memory together, for so many
                   blocks of rows one after the other; 0: those of a chunk, for one block */
    int stages; /* contract by a matrix unit: rows (of codes, those of tokens; of floats, those of weights, too) of so many steps are in team memory, where copies bring those of
                   later steps while one is multiplied; 0: each step's are copied when it begins */
    bool rows_once; /* contract by chunks of K: blocks of columns share a team's copy of all rows */
    bool prologue_once; /* contract: normalise into team memory once per team; else a kernel of its
                           own */
} rlx_lir_schedule;

void rlx_lir_schedule_print(const rlx_lir_schedule *s, rlx_text *out); /* "m1 n8 k64 ..." */

/* ---- passes and checks -------------------------------------------------------------------------
 */

/* exp and rsqrt to primitives, so that every engine computes the same bits. */
rlx_status rlx_lir_expand_math(rlx_pass_cx *cx);
extern const rlx_pass rlx_lir_pass_expand_math;

enum { RLX_LIR_ALIGN = 64 }; /* bytes: every offset in an arena is a multiple */

typedef struct rlx_lir_plan_options {
    const int64_t *upper; /* symbol index -> the bucket's upper bound */
} rlx_lir_plan_options;
/* Gives every temp and call its offset and bytes (in whole units of the alignment), at the bucket's
 * upper bounds, by best fit over lifetimes (phases); options: rlx_lir_plan_options. */
extern const rlx_pass rlx_lir_pass_plan_memory;
/* Bytes of a planned function's frame, its callees' frames included. */
int64_t rlx_lir_frame_bytes(const rlx_ir_func *f);
/* Bytes of a buffer at the bucket's upper bounds; false: more than tensors of programs may have. */
bool rlx_lir_upper_bytes(const rlx_dims *dims, const rlx_ir_type *t, const int64_t *upper,
                         int64_t *out);

typedef struct rlx_lir_plan_report {
    int64_t arena_bytes; /* the entry function's frame: callees' are in it, OUT buffers are not */
    int64_t lower_bound; /* most bytes live at once */
} rlx_lir_plan_report;
/* Re-simulates the tape: no two live buffers overlap, every frame holds its temps, everything read
 * was written, launches of one phase are independent. Independent of the planner's code. `entry` is
 * the tape's main function. */
rlx_status rlx_lir_check_plan(const rlx_ir_module *m, const char *entry, const int64_t *upper,
                              rlx_lir_plan_report *report);
/* The arena map as text: per function one line per temp, lowest first, with its offset, bytes and
 * the steps in which it lives; the lower bound. Checks the plan first. */
rlx_status rlx_lir_print_plan(const rlx_ir_module *m, const char *entry, const int64_t *upper,
                              rlx_text *out);

/* ---- the interpreter
 * ----------------------------------------------------------------------------- */

/* One buffer of a kernel as the caller provides it. */
typedef struct rlx_lir_buffer {
    void *data;
    size_t bytes; /* accesses beyond are reported, not made; SIZE_MAX: the live shape's */
} rlx_lir_buffer;

/* All-zero means default. */
typedef struct rlx_lir_eval_options {
    int teams;       /* resident teams, run one after another; 0: one */
    int part;        /* 1..teams: only that team's part of every grid; 0: all of them */
    uint64_t seed;   /* not 0: shuffles the instances of each team's part */
    bool splits_fma; /* a multiply-add is rounded twice, as drivers of GPUs may do it */
    int team,
        subgroup; /* as a team of so many invocations, whole subgroups of so many, combines rows
                           (lir_team.h); 0: rows are looked at alone */
} rlx_lir_eval_options;
/* Runs one kernel of a verified module over its whole grid: each of `teams` resident teams takes a
 * contiguous part. `symbols`: live values by symbol index. Reports accesses outside the live shape
 * or `bytes`, elements that one instance stores and another touches, and team memory that is
 * touched without the barrier it needs or read before it was stored, and rows that subgroups would
 * combine to other bits than the op says (lir_eval_team.c), with the node's text. Reads
 * the kernel only: any number of threads may evaluate one. */
rlx_status rlx_lir_eval_kernel(const rlx_ir_func *kernel, const rlx_lir_buffer *buffers,
                               int nbuffers, const int64_t *symbols,
                               const rlx_lir_eval_options *options);

/* For rlx_pass_options.compare: runs every kernel of both modules on the same small inputs and
 * wants the same bits. `user`: const int64_t *, the bucket's upper bounds by symbol index, or NULL.
 */
rlx_status rlx_lir_compare(void *user, rlx_ir_module *before, rlx_ir_module *after);

/* ---- counting ---------------------------------------------------------------------------------
 */

/* What runs move and compute at given live extents. */
typedef struct rlx_lir_cost {
    int64_t bytes_read, bytes_written; /* global buffers: what is accessed, at most the live bytes
                                          per launch (the rest comes from caches) */
    int64_t flops; /* contract, dot..: 2 per product; float maps and reductions: 1 per element */
} rlx_lir_cost;
/* Counts a kernel, or a tape function with all that it launches and calls. `unknown_trips`: how
 * often a loop runs whose bounds come from memory (pages of a sequence). Tiles count as full. */
rlx_status rlx_lir_count_cost(const rlx_ir_func *f, const int64_t *symbols, int64_t unknown_trips,
                              rlx_lir_cost *cost);

#endif
