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

/* ---- what a schedule is ----------------------------------------------------------------------- */

typedef enum rlx_lir_unit { RLX_UNIT_CPU, RLX_UNIT_GPU } rlx_lir_unit;

/* What lowering reads of a target; part of every compile key. All-zero is not valid. */
typedef struct rlx_lir_target {
    rlx_lir_unit unit;
    int vector_f32;   /* f32 lanes of a vector register: 8 (AVX2), 16 (AVX-512); 1 on GPUs */
    int vector_regs;  /* architectural vector registers: 16, 32 */
    int team;         /* invocations per team on a GPU; 1 on a CPU */
    int threads;      /* teams that will be resident; only choices that keep the bits may read it */
    int64_t l1_bytes, l2_bytes; /* per core, by class */
    int64_t team_bytes; /* team memory that a kernel may take */
} rlx_lir_target;

/* How one region is cut. Every schedule of a region gives the same bits. */
typedef struct rlx_lir_schedule {
    int m, n;        /* register tile: rows of tokens, rows of weights (output columns) */
    int k;           /* elements of K per step: a multiple of lanes */
    int lanes;       /* partial sums per output: the region's numerics, repeated here */
    int block_m, block_n; /* what one instance computes; multiples of m and n */
    bool prologue_once; /* contract: normalise into team memory once per team; else a kernel of its own */
} rlx_lir_schedule;

void rlx_lir_schedule_print(const rlx_lir_schedule *s, rlx_text *out); /* "m1 n8 k64 ..." */

/* ---- passes and checks ------------------------------------------------------------------------- */

/* exp and rsqrt to primitives, so that every engine computes the same bits. */
rlx_status rlx_lir_expand_math(rlx_pass_cx *cx);
extern const rlx_pass rlx_lir_pass_expand_math;

typedef struct rlx_lir_plan_options {
    const int64_t *upper; /* symbol index -> the bucket's upper bound */
} rlx_lir_plan_options;
/* Gives every temp and call its offset, at the bucket's upper bounds, by best fit over lifetimes
 * (phases); options: rlx_lir_plan_options. Alignment 64 bytes. */
extern const rlx_pass rlx_lir_pass_plan_memory;

typedef struct rlx_lir_plan_report {
    int64_t arena_bytes; /* of the entry function, callees' frames included */
    int64_t lower_bound; /* most bytes live at once */
} rlx_lir_plan_report;
/* Re-simulates the tape: no two live buffers overlap, every frame holds its temps, everything read
 * was written. Independent of the planner's code. `entry` is the tape's main function. */
rlx_status rlx_lir_check_plan(const rlx_ir_module *m, const char *entry, const int64_t *upper,
                              rlx_lir_plan_report *report);
/* The arena map as text, one line per temp, with the lower bound. */
rlx_status rlx_lir_print_plan(const rlx_ir_module *m, const char *entry, const int64_t *upper,
                              rlx_text *out);

/* ---- the interpreter ----------------------------------------------------------------------------- */

/* One buffer of a kernel as the caller provides it. */
typedef struct rlx_lir_buffer {
    void *data;
    size_t bytes; /* accesses beyond are reported, not made */
} rlx_lir_buffer;

/* Runs one kernel over its whole grid, as `teams` resident teams one after another (contiguous parts
 * of each grid, instances shuffled when `seed` is not 0). `symbols`: live values by symbol index.
 * Reports accesses outside the live shape or `bytes`, writes of two instances to one element, and
 * team memory read before a barrier made it visible, with the node's text. */
typedef struct rlx_lir_eval_options {
    int teams;
    uint64_t seed;
} rlx_lir_eval_options;
rlx_status rlx_lir_eval_kernel(const rlx_ir_func *kernel, const rlx_lir_buffer *buffers, int nbuffers,
                               const int64_t *symbols, const rlx_lir_eval_options *options);

/* Counts of a kernel for one set of live extents: what it moves and computes. */
typedef struct rlx_lir_cost {
    int64_t bytes_read, bytes_written; /* global buffers, each element counted as often as it is accessed */
    int64_t flops; /* contract: 2 per fma; maps: 1 per element */
} rlx_lir_cost;

#endif
