/* runtime/session.h: the inside of a session. Internal to runtime/.
 *
 *   session.c       sequences, steps, outputs
 *   session_bind.c  memory: arena, states, the step block; the tape with addresses
 */
#ifndef RLX_RUNTIME_SESSION_H
#define RLX_RUNTIME_SESSION_H

#include <stdatomic.h>

#include "runtime/base/arena.h"
#include "runtime/executable.h"
#include "runtime/runtime.h"

/* Symbols that the runtime sets. */
typedef enum rlx_live {
    RLX_LIVE_TOKENS,
    RLX_LIVE_ROWS,
    RLX_LIVE_SEQS,
    RLX_LIVE_SLOTS,
    RLX_LIVE_PAGES,
    RLX_LIVE_COUNT
} rlx_live;

/* Who fills an input. */
typedef enum rlx_fill {
    RLX_FILL_GIVEN, /* the step's inputs */
    RLX_FILL_POS,
    RLX_FILL_SEQ,
    RLX_FILL_TABLE,
    RLX_FILL_ROWS
} rlx_fill;

typedef struct rlx_binding_input {
    const rlx_program_tensor *tensor; /* of the program: valid while its executable steps */
    rlx_fill fill;
    void *data;      /* in the binding's step block */
    size_t capacity; /* bytes at the bucket's upper bounds */
} rlx_binding_input;

typedef struct rlx_binding_output {
    rlx_tensor tensor; /* live */
    int64_t offset;    /* in the arena */
} rlx_binding_output;

typedef struct rlx_binding_launch {
    rlx_kernel_fn *fn; /* NULL with an engine */
    void **buffers;
    uint32_t kernel;
} rlx_binding_launch;

/* What an executable is in a session: everything resolved. */
typedef struct rlx_binding {
    uint64_t executable;             /* its id */
    rlx_arena *arena;                /* holds this */
    bool has_past;                   /* the program reads positions, sequences or pages */
    bool may_stop;                   /* half a step is as good as none: see rlx_session_cancel */
    int live_symbol[RLX_LIVE_COUNT]; /* the program's symbol of each; -1: none */
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_binding_input *inputs; /* by bound tensor: weights and states have no data */
    uint32_t ninputs;
    void **states; /* base addresses, by the executable's state */
    void **buffers;
    rlx_binding_launch *launches;
    uint32_t nlaunches;
    uint32_t *phases; /* first launch of each phase; one more: nlaunches */
    uint32_t nphases;
    rlx_binding_output *outputs;
    uint32_t noutputs;
    uint64_t arena_generation; /* of the arena that the addresses are in */
} rlx_binding;

/* A state's memory. */
typedef struct rlx_pool {
    char *name;
    rlx_format format;
    int rank;
    int64_t dim[RLX_PROGRAM_MAX_RANK]; /* dim[0] is -1 - rlx_live when it grows */
    void *data;
    size_t bytes; /* reserved */
} rlx_pool;

struct rlx_session {
    rlx_team *team; /* borrowed */
    int64_t max_positions, max_slots, max_pages;
    int max_sequences;

    int64_t *past;  /* by sequence */
    int64_t *next;  /* by sequence: past after the step that is being made */
    int32_t *table; /* [max_sequences, max_slots] */
    int64_t pages;  /* allotted */

    char *arena;
    size_t arena_bytes;
    uint64_t arena_generation; /* grows when the arena moves */
    char *scratch;             /* every member's team memory */
    size_t scratch_stride;     /* bytes of one member */

    rlx_pool **pools;
    int npools;
    rlx_binding **bindings;
    int nbindings;
    rlx_binding *last; /* of the last step, whose outputs are lent; NULL: none */

    _Atomic bool cancel; /* the step that runs, or the next one, is to end */
};

/* The binding of an executable, made when it is new, its addresses brought up to date. */
rlx_status rlx_session_bind(rlx_session *s, const rlx_executable *e, rlx_binding **out);
void rlx_session_unbind_all(rlx_session *s); /* frees what binding made */
void rlx_session_clear_states(rlx_session *s);

#endif
