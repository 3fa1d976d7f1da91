/* runtime/program.h: a compiled flow for one bucket, as plain data: what jit/ makes, what the
 * loader takes, what an entry file holds. No pointer into any IR, no code address.
 *
 * The tape: functions hold ops; an op launches a kernel or calls a function. A function is called
 * with a frame base (an offset in the arena), a layer index and parameters; so a layer's launches
 * exist once, whatever the depth. The loader resolves the tape into a flat list of launches.
 */
#ifndef RLX_RUNTIME_PROGRAM_H
#define RLX_RUNTIME_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/dim.h"
#include "runtime/base/format.h"
#include "runtime/base/hash.h"
#include "runtime/base/status.h"
#include "runtime/base/text.h"

enum { RLX_PROGRAM_MAX_RANK = 6, RLX_PROGRAM_GRID = 3 };

typedef enum rlx_code_kind {
    RLX_CODE_X86_64_ELF = 1, /* relocatable objects, each a kernel (rlx_kernel_fn) or a part */
    RLX_CODE_PTX,
    RLX_CODE_SPIRV,
    RLX_CODE_AARCH64_ELF, /* as for x86-64; made here, loaded nowhere yet */
    RLX_CODE_HSACO        /* code objects of AMD GPUs, version 5, linked; each a kernel */
} rlx_code_kind;

/* What a CPU kernel is once loaded. Runs this team's part of every grid of the kernel.
 *   buffers   base addresses in the kernel's argument order
 *   symbols   live values by symbol index
 *   team, teams   which of how many resident teams (threads) this is
 *   memory    `team_bytes` of scratch of its own, aligned to 64 */
typedef void rlx_kernel_fn(void *const *buffers, const int64_t *symbols, int64_t team,
                           int64_t teams, void *memory);

/* What a launch moves and computes, for statistics: at a symbol's value 1 and at its upper bound,
 * the others being at theirs; between them it grows evenly. Bytes read and written; a multiply-add
 * is two operations; of loops over a sequence's pages one page counts. */
typedef struct rlx_program_cost {
    uint32_t symbol; /* RLX_NO_SYMBOL: always the same */
    int64_t bytes[2], operations[2];
} rlx_program_cost;
#define RLX_NO_SYMBOL UINT32_MAX

/* An argument whose boxes of rows copies of NVIDIA's bring by themselves (cp.async.bulk.tensor): two axes, rows side by side. What the
 * driver makes of it, with the buffer's address, is one more argument each, of 128 bytes, behind the symbols. */
enum { RLX_PROGRAM_MAPS = 4 };
typedef struct rlx_program_map {
    uint32_t buffer, bytes; /* which argument; of an element: 1 or 2 */
    int64_t rows, columns;  /* rows 0: as many as there is memory for */
    uint32_t box_rows,
        box_columns; /* the latter are 32, 64 or 128 bytes, which is the swizzle, too */
} rlx_program_map;

/* A kernel; or, behind all of them, a part: code that kernels' objects call by its name. Of a part only name and
 * code are set. */
typedef struct rlx_program_kernel {
    const char *name; /* also the symbol in the object */
    const uint8_t *code;
    size_t code_bytes;
    int64_t team_bytes;
    uint32_t nbuffers;
    rlx_program_cost cost;
    uint32_t nmaps;
    rlx_program_map maps[RLX_PROGRAM_MAPS];
    rlx_dim
        grid[RLX_PROGRAM_GRID]; /* the product is how many teams have something to do, at most */
} rlx_program_kernel;
#define RLX_GRID_UNKNOWN ((rlx_dim)INT32_MAX) /* memory decides */

/* A comment in PTX, behind which stands how many invocations a team has: no directive, since ptxas is not to know. */
#define RLX_PROGRAM_TEAM "// team of "

/* The one part that a program for a GPU may have: code that runs all launches of a step in one. It takes a buffer, and the
 * symbols: rlx_step_head, then its launches. All teams of the launch have to be resident at once. */
#define RLX_PROGRAM_STEP "rlx_step"
typedef struct rlx_step_head {
    uint32_t arrived; /* 0 before each step: how often a team came to a meeting of all */
    uint32_t unused[31];
    int64_t nlaunches, padding[15];
} rlx_step_head;
typedef struct rlx_step_launch {
    int64_t kernel;    /* number in the program */
    int64_t meeting;   /* that all teams hold before it: the n-th of the step; 0: none */
    int64_t turn;      /* added to a team's number, modulo how many there are: less than that */
    int64_t addresses; /* where the device finds those of the kernel's buffers */
} rlx_step_launch;

typedef enum rlx_arg_kind {
    RLX_ARG_FRAME, /* offset: bytes from the function's frame base in the arena */
    RLX_ARG_PARAM, /* index: which parameter of the function */
    RLX_ARG_SYMBOL /* index: entry of `symbols_bound`; "{}" in its name becomes the layer index */
} rlx_arg_kind;

typedef struct rlx_program_arg {
    rlx_arg_kind kind;
    uint32_t index;
    int64_t offset;
} rlx_program_arg;

typedef enum rlx_op_kind { RLX_OP_LAUNCH, RLX_OP_CALL } rlx_op_kind;

typedef struct rlx_program_op {
    rlx_op_kind kind;
    uint32_t target; /* kernel or function */
    uint32_t phase;  /* equal to the previous op's: no barrier between. A call is one of its own */
    /* Launch: buffers. Call: VALUE params, OUT params, then one spare per OUT when count > 1 (see
     * lir_ops.def, call). */
    uint32_t first_arg, nargs;
    uint32_t nout;        /* calls: how many OUT params */
    int64_t first, count; /* calls: layer index and repetitions; inner calls set their own index */
    int64_t frame;        /* calls: the callee's frame base, from this function's; by 64 */
} rlx_program_op;

typedef struct rlx_program_func {
    const char *name;
    uint32_t first_op, nops;
    uint32_t nparams, nout; /* OUT parameters are the last nout of nparams */
    int64_t frame_bytes;
} rlx_program_func;

typedef enum rlx_bind_kind { RLX_BIND_WEIGHT, RLX_BIND_INPUT, RLX_BIND_STATE } rlx_bind_kind;

/* A tensor that the program expects from outside, or gives. Dims refer to `dims`. */
typedef struct rlx_program_tensor {
    const char *name;
    rlx_bind_kind kind;
    rlx_format format;
    int rank;
    rlx_dim dim[RLX_PROGRAM_MAX_RANK];
    int64_t offset; /* outputs: in the arena */
} rlx_program_tensor;

typedef struct rlx_program {
    const char *name;
    const char *target; /* descriptor text: what the code needs, for example "x86-64-v4" */
    uint64_t features;  /* CPU feature bits that the code needs (runtime/cpu.h) */
    rlx_code_kind code_kind;
    rlx_hash key;
    const char *provenance; /* free text: flow, bucket, compiler versions */
    const char *preimage;   /* the text that `key` is the hash of (docs/cache.md), or "" */
    const char *source;     /* what it was compiled from, as text: a HIR module, or "" */

    uint32_t nkernels, nparts, nops, nargs, nfuncs, nbound, noutputs;
    rlx_program_kernel *kernels; /* nkernels + nparts */
    rlx_program_op *ops;
    rlx_program_arg *args;
    rlx_program_func *funcs;   /* the last one is the entry; its params are all OUT: the outputs */
    rlx_program_tensor *bound; /* what RLX_ARG_SYMBOL indexes */
    rlx_program_tensor *outputs;

    rlx_dims *dims;                 /* owned by the program when decoded; borrowed when built */
    int64_t upper[RLX_MAX_SYMBOLS]; /* the bucket: symbol index -> largest live value */
    int64_t arena_bytes;            /* entry frame, callees' frames and outputs */
    int64_t plan_least; /* for statistics: bytes that any plan of the entry's frame would take */
} rlx_program;

/* Appends entry bytes: header, sections, checksum over everything. Deterministic. Decodes what it
 * wrote, so that a program which could not be loaded is refused here. */
rlx_status rlx_program_encode(const rlx_program *p, rlx_text *out);
/* Checks the checksum, every index and extent, and re-simulates the tape's bounds (rules P1 to P9
 * of program_check.c); then makes a program that rlx_program_destroy frees. Copies what it needs:
 * `bytes` may go away. RLX_INVALID_FILE with the offset when something is wrong. */
rlx_status rlx_program_decode(const void *bytes, size_t n, rlx_program **out);
void rlx_program_destroy(rlx_program *p); /* decoded ones; accepts NULL */

#endif
