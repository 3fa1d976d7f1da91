/* jit/llvm_emit.h: what the files that turn a LIR kernel into LLVM IR share.
 *
 *   llvm_emit.c    walks a kernel; structure (for, if), constants, extents, addresses
 *   llvm_parts.c   loops as functions of their own
 *   llvm_values.c  scalar functions, casts, constants: on one LLVM value, scalar or vector
 *   llvm_cpu*.c    engine: a part is one row (the last axis) of a tile, as a vector (llvm_cpu.h)
 *   llvm_team*.c   a part is one element per invocation of a team: what GPU engines share
 *   llvm_gpu.c     kernels, registers and team memory of real ones
 *   llvm_nvptx.c   engine: NVIDIA
 *   llvm_amdgpu.c  engine: AMD
 *   llvm_host_team.c  engine: a team's invocations as coroutines of the host, to test the above
 *   llvm_step.c    a step's launches in one: kernels as functions, and what goes through a list of them
 *
 * A tile is an array of LLVM values, its parts. Which elements a part holds is the engine's
 * business; ops that need to know (broadcast, reduce, contract, load, store ...) are the engine's.
 */
#ifndef RLX_JIT_LLVM_EMIT_H
#define RLX_JIT_LLVM_EMIT_H

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "jit/llvm_module.h"
#include "jit/llvm_parts.h"
#include "runtime/base/ir/ir_map.h"

typedef struct rlx_emit rlx_emit;

enum { RLX_MAX_TILE_RANK = 3, RLX_EMIT_MOST_AHEAD = 64 };

typedef struct rlx_emit_buffer {
    const rlx_ir_type *type;
    LLVMValueRef base;                 /* address of element 0 */
    LLVMValueRef stride[RLX_MAX_RANK]; /* elements, i64; known in the entry block */
} rlx_emit_buffer;

/* A LIR value as LLVM values. */
typedef struct rlx_emit_tile {
    const rlx_ir_value *value;
    rlx_emit_buffer *buffer;              /* buffers only */
    const struct rlx_emit_access *access; /* CPU: it is read where it is used, and has no parts */
    bool stored; /* CPU: it lies where its only user, a store, puts it, and has no parts */
    int n;
    LLVMValueRef *part;
    int npieces; /* CPU: what every part is joined from, `npieces` of one type; or NULL */
    LLVMValueRef *piece;
    bool paired; /* CPU: pieces are pairs of runs, in turn's order, and there are no parts */
    /* CPU: a piece of part 2i is one of part 2i + 1, too, behind it in the register; no parts */
    bool two;
    int raised; /* CPU: codes in pieces are so much more than they are, and have no sign */
} rlx_emit_tile;

typedef struct rlx_emit_engine {
    const char *name; /* in messages */
    int (*parts)(const rlx_emit *e, const rlx_ir_type *tile);
    LLVMTypeRef (*part_type)(const rlx_emit *e, const rlx_ir_type *tile);
    /* Makes the function; gives every buffer argument its base; sets `symbols`. */
    rlx_status (*begin)(rlx_emit *e);
    rlx_status (*node)(rlx_emit *e, const rlx_ir_node *n);
    /* After an fma of f32 by a scalar or plus one, as the steps of a polynomial are: `out` of `type`,
     * which it may order but not change; may be NULL. */
    rlx_status (*step)(rlx_emit *e, const rlx_ir_type *type, rlx_emit_tile *out);
    /* Of a select: whether it ended an exponential, which it has made by a way of its own; may be NULL. */
    rlx_status (*end_exp)(rlx_emit *e, const rlx_ir_node *n, bool *done);
    /* Before a loop of the kernel: what is the same in all of its rounds; may be NULL. */
    rlx_status (*before_loop)(rlx_emit *e, const rlx_ir_node *loop);
    /* The body of a loop of the kernel begins: `thread` may be another value for it, and with that what
     * is made of it; may be NULL. */
    void (*loop)(rlx_emit *e);
    /* x, computed where this stands and not put off to where it is used; may be NULL. */
    LLVMValueRef (*settle)(rlx_emit *e, LLVMValueRef x);
    /* LLVM sees that `thread` is below the team's size, and what follows of it. */
    bool knows_thread;
    void (*barrier)(rlx_emit *e);
    /* `bytes` (a multiple of 64) of team memory; the address is known in the entry block. */
    LLVMValueRef (*team_memory)(rlx_emit *e, int64_t bytes);
    /* The f32 or i32 x of invocation `from`, i32, which is of the same subgroup; NULL on CPUs. */
    LLVMValueRef (*shuffle)(rlx_emit *e, LLVMValueRef x, LLVMValueRef from);
    /* The same of the invocation whose number differs in the bit `apart` alone; NULL: `shuffle` does it. */
    LLVMValueRef (*swap)(rlx_emit *e, LLVMValueRef x, int apart);
    /* sum, i32, and the products of the four signed bytes of the words a and b; NULL on CPUs. */
    LLVMValueRef (*dot4)(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum);
    /* Where targets have a matrix unit. Of one fragment: sums += a * b, k elements (see matrix_units.h). */
    void (*multiply)(rlx_emit *e, int k, const LLVMValueRef *a, const LLVMValueRef *b,
                     LLVMValueRef *sums);
    /* The same of f16 or bf16, f: the unit's `floats`. */
    void (*multiply_floats)(rlx_emit *e, rlx_format f, const LLVMValueRef *a, const LLVMValueRef *b,
                            LLVMValueRef *sums);
    /* 16 bytes of global to team memory, there at copies_end, and for others behind a barrier; zeros
     * unless `live`, i1, which may be NULL. What is not live can be read, unless the target `copies`. */
    void (*copy)(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live);
    void (*copies_end)(rlx_emit *e);
    /* Where the target `copies`: ends a group of copies; until all groups but the `pending` latest are there. */
    void (*commit)(rlx_emit *e);
    void (*wait)(rlx_emit *e, int pending);
    /* `n` (1, 2 or 4) matrices of 8 rows of 16 bytes of team memory, 16-aligned: invocation i of a subgroup has
     * the address of row i % 8 of matrix i / 8, and gets of matrix j word i % 4 of row i / 4; `turned`: elements of two
     * bytes, of column i / 4 those of rows 2 * (i % 4) and the next. */
    void (*load_matrices)(rlx_emit *e, int n, bool turned, LLVMValueRef at, LLVMValueRef *words);
    rlx_status (*end)(rlx_emit *e); /* before the return: last checks, last code; may be NULL */
    /* Steps in one launch (llvm_step.c); all NULL: there are none. Of kernels as functions that a step calls: */
    const struct rlx_emit_engine *called;
    /* After them. Makes the step's function; sets what `begin` does, of buffers `table` alone, and `memory`, which is passed on. */
    rlx_status (*begin_step)(rlx_emit *e);
    /* For each launch: sets what says which invocation of which team of how many this is, anew, so that none of it is
     * kept in registers while a launch's function runs; may be NULL: `begin_step` has. */
    void (*place)(rlx_emit *e);
    /* counter, the address of an i32, is one more; before it, all that the team has written is there for who sees that. */
    void (*arrive)(rlx_emit *e, LLVMValueRef counter);
    /* What it is now, i32; behind it, all that was written before it became so is seen. */
    LLVMValueRef (*look)(rlx_emit *e, LLVMValueRef counter);
} rlx_emit_engine;

extern const rlx_emit_engine rlx_emit_engine_cpu;
extern const rlx_emit_engine rlx_emit_engine_nvptx;
extern const rlx_emit_engine rlx_emit_engine_amdgpu;
extern const rlx_emit_engine rlx_emit_engine_host_team;

struct rlx_emit {
    const rlx_emit_engine *engine;
    const rlx_llvm_target *target;
    const rlx_ir_func *kernel;
    rlx_arena *arena;
    rlx_emit_parts *parts; /* NULL: no loop becomes a part */
    int64_t *
        step_team_bytes; /* the most that a kernel of the step takes, one by one; NULL: a kernel by itself */
    LLVMContextRef cx;
    LLVMModuleRef module;
    LLVMBuilderRef b;     /* where code goes now */
    LLVMBuilderRef entry; /* the end of the entry block: what is computed once */
    LLVMValueRef fn;
    LLVMValueRef symbols;                 /* address of the live values, i64 each */
    LLVMValueRef table;                   /* of a step: address of its rlx_step_head */
    LLVMValueRef symbol[RLX_MAX_SYMBOLS]; /* those loaded so far */

    rlx_ir_map tiles; /* LIR value -> rlx_emit_tile */

    LLVMTypeRef i1, i8, i16, i32, i64, f16, f32, f64, ptr;

    LLVMValueRef team_index, teams; /* i64: which of how many resident teams this is */
    int64_t team_bytes;             /* of team memory, given out so far */
    LLVMValueRef memory;            /* where it begins (not of GPUs' kernels by themselves) */
    /* CPU */
    LLVMValueRef sink;          /* stack memory that stores outside of limits go to */
    const rlx_ir_node *sums_of; /* whose sums of codes are made already, before its loop: where */
    LLVMValueRef code_sums;
    struct { /* what the next product tells ahead while it goes by: bytes from `from` on */
        LLVMValueRef from;
        int64_t bytes;
    } ahead[RLX_EMIT_MOST_AHEAD];
    int nahead;
    const rlx_ir_node *summed; /* a dot, of whose loop's row of activations sums are made: where */
    LLVMValueRef activation_sums, activation_pairs; /* the row itself in turn's pairs of runs */
    uint8_t tile_config[64]; /* shapes of AMX's tiles through most of the kernel; zeros: unused */
    /* GPU */
    LLVMValueRef thread;           /* i32, 0..team-1 */
    LLVMValueRef exchange;         /* team memory that tiles change hands through */
    const rlx_matrix_unit *matrix; /* by which the kernel's products go, if there are any */
    const rlx_ir_type **fragments; /* what they make */
    int nfragments;
    bool by_rows; /* subgroups have whole rows of those: see llvm_team_fragments.c */
    bool renews;  /* AMD: what depends on the invocation's number is made anew in loops */
    struct rlx_emit_tensors *tensors; /* NVIDIA: what has tensor maps; NULL: nothing */
    LLVMValueRef barrier;             /* host team: the functions to call */
    LLVMValueRef take;
};

/* Builds `kernel` into `module` (empty, of context `cx`), and its parts if `parts` is given: the caller deinits. */
rlx_status rlx_emit_kernel(const rlx_emit_engine *engine, const rlx_llvm_target *target,
                           const rlx_ir_func *kernel, LLVMContextRef cx, LLVMModuleRef module,
                           rlx_emit_parts *parts);

/* The same as a function for a step, which has *step_team_bytes at the least, of the CPU kernels' parameters (rlx_kernel_fn), the last of which may be missing; `engine` is some
 * engine's `called`. */
rlx_status rlx_emit_called(const rlx_emit_engine *engine, const rlx_llvm_target *target,
                           const rlx_ir_func *kernel, LLVMContextRef cx, LLVMModuleRef module,
                           int64_t *step_team_bytes);
/* Builds a step (RLX_PROGRAM_STEP) that calls any of `n` kernels, by their numbers here, into `module`. RLX_UNSUPPORTED: the engine has
 * none. */
rlx_status rlx_emit_step(const rlx_emit_engine *engine, const rlx_llvm_target *target,
                         const rlx_ir_func *const *kernels, int n, LLVMContextRef cx,
                         LLVMModuleRef module);

/* ---- values ---- */

const rlx_emit_tile *rlx_emit_get(const rlx_emit *e, const rlx_ir_value *v);
/* The same, or NULL if it is not defined yet. */
const rlx_emit_tile *rlx_emit_find(const rlx_emit *e, const rlx_ir_value *v);
LLVMValueRef rlx_emit_scalar(const rlx_emit *e, const rlx_ir_value *v); /* rank 0 */
/* A new tile for `v`, its parts unset. */
rlx_status rlx_emit_define(rlx_emit *e, const rlx_ir_value *v, rlx_emit_tile **out);
/* A new buffer for `v` at `base`, its strides computed in the entry block. */
rlx_status rlx_emit_define_buffer(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef base);
/* A new buffer for `v`, a copy of one in another function. */
rlx_status rlx_emit_define_view(rlx_emit *e, const rlx_ir_value *v, const rlx_emit_buffer *buffer,
                                rlx_emit_tile **out);
/* "x86-64-v3 cannot emit `map` in kernel @k at PLACE: WHY" */
rlx_status rlx_emit_unsupported(const rlx_emit *e, const rlx_ir_node *n, const char *fmt, ...)
    RLX_PRINTF(3, 4);

int64_t rlx_emit_elems(const rlx_ir_type *t); /* of a tile or a buffer with constant dims */
LLVMTypeRef rlx_emit_value_type(const rlx_emit *e, rlx_format f);  /* of a scalar; bf16 is i16 */
LLVMTypeRef rlx_emit_memory_type(const rlx_emit *e, rlx_format f); /* bool is a byte */
LLVMValueRef rlx_emit_int(LLVMTypeRef t, int64_t v);
/* Products and sums of integers without the trivial ones. */
LLVMValueRef rlx_emit_mul(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef rlx_emit_add(LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y);
/* The same scalar in every lane of `type` (itself when that is no vector). */
LLVMValueRef rlx_emit_splat(const rlx_emit *e, LLVMValueRef scalar, LLVMTypeRef type);
LLVMValueRef rlx_emit_intrinsic(rlx_emit *e, const char *name, LLVMTypeRef type, LLVMValueRef *args,
                                int n); /* overloaded on `type` alone */
LLVMValueRef rlx_emit_intrinsic_of(rlx_emit *e, const char *name, LLVMTypeRef *overload,
                                   int noverload, LLVMValueRef *args, int n);
/* llvm_emulate.c: true when tests give the intrinsic a function, which is called instead. */
bool rlx_emit_emulated(rlx_emit *e, const char *name, LLVMTypeRef result, LLVMValueRef *args, int n,
                       LLVMValueRef *out);
LLVMValueRef rlx_emit_dim(rlx_emit *e, rlx_dim d); /* i64, in the entry block */

/* ---- llvm_values.c ---- */

/* One part of a map. `f` is the operands' format (of the last operand of a select). */
rlx_status rlx_emit_map(rlx_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                        const LLVMValueRef *in, LLVMValueRef *out);
/* One part of a cast; both types have the same lanes. `n` is named in errors. */
rlx_status rlx_emit_cast(rlx_emit *e, const rlx_ir_node *n, rlx_format from, rlx_format to,
                         LLVMValueRef x, LLVMValueRef *out);
/* Between a value's type and the memory type of the same format (they differ for bool). */
LLVMValueRef rlx_emit_from_memory(const rlx_emit *e, rlx_format f, LLVMValueRef x);
LLVMValueRef rlx_emit_to_memory(const rlx_emit *e, rlx_format f, LLVMValueRef x);
/* A constant op's value in every lane of `type`. */
LLVMValueRef rlx_emit_constant(const rlx_emit *e, const rlx_ir_node *n, LLVMTypeRef type);

/* ---- structure ---- */

typedef struct rlx_emit_loop {
    LLVMBasicBlockRef before, body, latch, exit;
    LLVMValueRef index, hi, step;
    bool guarded; /* the body may not run at all */
} rlx_emit_loop;
/* for (index = lo; index < hi; index += step): code goes to the body between begin and end. */
void rlx_emit_loop_begin(rlx_emit *e, LLVMValueRef lo, LLVMValueRef hi, LLVMValueRef step,
                         rlx_emit_loop *loop);
void rlx_emit_loop_end(rlx_emit *e, rlx_emit_loop *loop);
/* Not even assemblers unroll it: of sums by a matrix unit, and what is decoded beside them, no registers are left. */
void rlx_emit_keep_rolled(rlx_emit *e, const rlx_emit_loop *loop);
LLVMBasicBlockRef rlx_emit_new_block(const rlx_emit *e, const char *name);
rlx_status rlx_emit_block(rlx_emit *e, const rlx_ir_block *block); /* up to its terminator */
/* A loop, to `hi` in place of its own bound. */
rlx_status rlx_emit_for(rlx_emit *e, const rlx_ir_node *loop, LLVMValueRef hi);
/* Gives a grid's block its arguments for instance `index` (i64) of all. */
rlx_status rlx_emit_grid_indices(rlx_emit *e, const rlx_ir_node *grid, LLVMValueRef index);

/* ---- memory ---- */

/* Where the elements of a load or store lie. */
typedef struct rlx_emit_access {
    const rlx_emit_buffer *buffer;
    const rlx_ir_type *tile;
    LLVMTypeRef elem;                       /* in memory */
    LLVMValueRef base;                      /* address of the element at the indices */
    LLVMValueRef stride[RLX_MAX_TILE_RANK]; /* elements, along each tile axis */
    LLVMValueRef room[RLX_MAX_TILE_RANK];   /* limit - index; NULL for an axis without limit */
    bool contiguous; /* the last tile axis runs along the innermost buffer axis */
} rlx_emit_access;
void rlx_emit_access_init(rlx_emit *e, const rlx_ir_node *n, const rlx_ir_type *tile,
                          rlx_emit_access *out);
/* Address `offset` elements (i64) after `p`. */
LLVMValueRef rlx_emit_offset(const rlx_emit *e, LLVMTypeRef elem, LLVMValueRef p,
                             LLVMValueRef offset);

/* Of so many bytes of team memory: where swizzles of what the kernel's unit reads there begin anew (of eight rows, 1024 bytes at most), or 64. */
int64_t rlx_emit_team_align(const rlx_emit *e, int64_t bytes);
/* The next `bytes` of `memory`: an engine's team_memory where the caller provides it. */
LLVMValueRef rlx_emit_next_team_memory(rlx_emit *e, int64_t bytes);

/* llvm_team_tensors.c: at a kernel's begin, behind its team memory; with commit and wait of other copies. */
void rlx_emit_tensors_begin(rlx_emit *e);
void rlx_emit_tensors_commit(rlx_emit *e);
void rlx_emit_tensors_wait(rlx_emit *e, int pending);

/* llvm_cpu.c: the function of a CPU kernel (rlx_kernel_fn), its buffers and parameters; what every function
 * for a CPU says of itself. */
rlx_status rlx_emit_begin_host(rlx_emit *e);
/* llvm_emit.c: an emitter's builders and types; the caller deinits. */
rlx_status rlx_emit_init(rlx_emit *e);
void rlx_emit_deinit(rlx_emit *e);
void rlx_emit_cpu_attributes(const rlx_emit *e);

#endif
