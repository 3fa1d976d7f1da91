/* runtime/session.h: the inside of a session. Internal to runtime/.
 *
 *   session.c        steps, outputs
 *   session_pages.c  which page holds which positions: growing, sliding, sharing, going back
 *   session_file.c   a sequence as a file
 *   session_bind.c   memory: arena, states, the step block; the tape with addresses
 *   session_device.c the same where a device runs it
 */
#ifndef RLX_RUNTIME_SESSION_H
#define RLX_RUNTIME_SESSION_H

#include <stdatomic.h>
#include <string.h>

#include "runtime/base/arena.h"
#include "runtime/executable.h"
#include "runtime/runtime.h"

/* Symbols that the runtime sets. PAGES of each window are others beside them. */
typedef enum rlx_live {
    RLX_LIVE_TOKENS,
    RLX_LIVE_ROWS,
    RLX_LIVE_SEQS,
    RLX_LIVE_SLOTS,
    RLX_LIVE_COUNT
} rlx_live;

enum { RLX_MAX_WINDOWS = 8 }; /* of one session, all positions being one of them */

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
    int pages;       /* TABLE: which pages of the session's */
    void *data;      /* in the binding's step block */
    size_t capacity; /* bytes at the bucket's upper bounds */
} rlx_binding_input;

typedef struct rlx_binding_output {
    rlx_tensor tensor; /* live; on a device without data until it is asked for, where the host does not see it */
    int64_t offset;    /* in the arena */
    size_t at;         /* on a device: in the memory of those of its kind */
    bool is_taken;     /* there: it was asked for since the step */
} rlx_binding_output;

typedef struct rlx_binding_launch {
    rlx_kernel_fn *fn; /* NULL with an engine */
    void **buffers;
    uint32_t kernel;
    int parts; /* that a member's share goes in, if all are as small as the last */
} rlx_binding_launch;

/* Of a session that times its kernels; else nkernels is 0. */
typedef struct rlx_kernel_times {
    uint32_t nkernels;
    const char *program;
    int64_t upper[RLX_MAX_SYMBOLS];
    rlx_kernel_time *kernels; /* by kernel; their seconds are 0 */
    rlx_program_cost *costs;  /* by kernel */
    double *seconds;          /* [team, stride] */
    size_t stride;            /* nkernels, in whole pairs of cache lines */
} rlx_kernel_times;

/* What a state's first axis is. */
typedef enum rlx_pool_axis { RLX_POOL_FIXED, RLX_POOL_PAGES, RLX_POOL_SEQS } rlx_pool_axis;

/* A state's memory. */
typedef struct rlx_pool {
    char *name;
    rlx_format format;
    int rank;
    int64_t dim[RLX_PROGRAM_MAX_RANK]; /* dim[0] is what the session allows when it grows */
    rlx_pool_axis axis;
    int pages;                 /* axis PAGES: which pages of the session's */
    bool is_there;             /* on the session's device */
    char *data;                /* NULL there */
    rlx_device_memory *memory; /* there */
    size_t bytes;              /* reserved */
    size_t unit;               /* bytes of one page or row */
    int64_t *seen; /* axis SEQS: positions that each sequence's state has gone through */
} rlx_pool;

/* Weights of the next phase that has some, and what each member reads of them. */
typedef struct rlx_binding_soon {
    const char *from[RLX_SOON];
    int64_t share[RLX_SOON]; /* bytes */
    int n;
} rlx_binding_soon;

/* What an executable is in a session: everything resolved. */
typedef struct rlx_binding {
    uint64_t executable;               /* its id */
    rlx_arena *arena;                  /* holds this */
    bool has_past;                     /* the program reads positions, sequences or pages */
    bool may_stop;                     /* half a step is as good as none: see rlx_session_cancel */
    int live_symbol[RLX_LIVE_COUNT];   /* the program's symbol of each; -1: none */
    int pages_symbol[RLX_MAX_WINDOWS]; /* its PAGES of each of the session's pages; -1: none */
    uint32_t idle_symbols;             /* bits of PAGES that nothing of the program has: always 0 */
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_binding_input *inputs; /* by bound tensor: weights and states have no data */
    uint32_t ninputs;
    rlx_pool **states; /* by the executable's state */
    void **buffers;
    rlx_binding_launch *launches;
    uint32_t nlaunches;
    uint32_t *phases;       /* first launch of each phase; one more: nlaunches */
    uint8_t *pieces;        /* by phase: rlx_team_run_pieces */
    rlx_binding_soon *soon; /* by phase */
    uint32_t nphases;
    rlx_binding_output *outputs;
    uint32_t noutputs;
    uint64_t arena_generation; /* of the arena that the addresses are in */
    rlx_device_memory *step;   /* on a device: the symbols, then the inputs */
    rlx_device_tape *tape;     /* there */
    struct rlx_binding *front; /* of the step's first part, whose outputs are lent, too; or NULL */
    rlx_kernel_times times;
} rlx_binding;

/* The pages of all states that are read equally far back. In every pool of theirs a page has the
 * same number, and holds RLX_PAGE_POSITIONS positions of a sequence, or of several that have the
 * same past. A sequence that holds `past` positions has pages in slots first[seq] to
 * pages_of(past) - 1, and in those only. */
typedef struct rlx_pages {
    int64_t window; /* positions that a token reads, its own included; 0: all */
    int32_t *table; /* [max_sequences, max_slots]; 0 where there is none */
    int64_t *first; /* by sequence */
    int32_t *refs;  /* by page: slots that lead to it */
    int32_t *spare; /* pages that no slot leads to, of those below `count` */
    int64_t nspare;
    int64_t count;   /* pages in use are below it */
    int64_t touched; /* pages that were ever in use are below it: no longer zeros */
} rlx_pages;

struct rlx_session {
    rlx_team *team;     /* borrowed */
    rlx_device *device; /* borrowed; NULL: the CPU alone. What is loaded for the CPU runs there */
    int64_t max_positions, max_slots, max_pages;
    int max_sequences;
    bool time_kernels;

    int64_t *past; /* by sequence */
    int64_t *next; /* by sequence: past after the step that is being made */
    int reach;     /* sequences that this step may change are below it */
    rlx_pages pages[RLX_MAX_WINDOWS];
    int nwindows;

    char *arena;
    size_t arena_bytes;
    uint64_t arena_generation; /* grows when the arena moves */
    rlx_device_memory *frames; /* on a device: the arena without outputs; those; and the large ones of them */
    rlx_device_memory *outputs, *large;
    size_t frame_bytes, output_bytes, large_bytes;
    char *taken; /* as large: what the host asked for */
    bool *stale; /* by sequence, of those that hold nothing: its rows could not be zeroed yet */
    bool stale_fixed;      /* the same of states that are of no sequence */
    char *scratch;         /* every member's team memory */
    size_t scratch_stride; /* bytes of one member */
    size_t scratch_bytes;  /* of all */

    rlx_pool **pools;
    int npools;
    rlx_binding **bindings;
    int nbindings;
    rlx_binding *last; /* of the last step, whose outputs are lent; NULL: none */

    rlx_session_stats stats;

    int64_t first_ns;     /* when the first step's kernels began, of CLOCK_MONOTONIC; 0: none did */
    int32_t pending;      /* a token for sequence 0 that is not appended yet; -1: none */
    int64_t pending_past; /* what the sequence held when it was chosen */

    _Atomic bool cancel; /* the step that runs, or the next one, is to end */
};

/* For messages: the session's device, or the CPU. */
static inline const char *rlx_session_where(const rlx_session *s, bool is_there)
{
    return is_there && s->device ? s->device->name : "the CPU";
}

/* Pages and rows of a state: zeros in one, a copy of one in another, its bytes to the host and
 * back. A device may fail: the unit that was to be written holds anything then. */
rlx_status rlx_session_clear_unit(rlx_session *s, const rlx_pool *pool, int64_t unit);
rlx_status rlx_session_copy_unit(rlx_session *s, const rlx_pool *pool, int64_t from, int64_t to);
rlx_status rlx_session_write_unit(rlx_session *s, const rlx_pool *pool, int64_t unit,
                                  const void *data);
rlx_status rlx_session_clear_fixed(rlx_session *s); /* states that are of no sequence begin anew */
rlx_status rlx_session_read_unit(const rlx_session *s, const rlx_pool *pool, int64_t unit,
                                 void *data);

static inline int64_t rlx_session_slots(int64_t positions)
{
    return (positions + RLX_PAGE_POSITIONS - 1) / RLX_PAGE_POSITIONS;
}

/* The session's pages of a window, made when they are new. */
rlx_status rlx_session_find_pages(rlx_session *s, int64_t window, int *out);
/* What `count` will be once the sequences' pages reach from `past` to `next`. */
int64_t rlx_session_count_pages(const rlx_session *s, const rlx_pages *p);
/* Gives sequences the pages that `next` asks for, and one of its own to whoever is about to write
 * to a shared one; zeroes what is stale. A page for every slot is reserved: only a device can fail,
 * and every sequence holds then what it held. */
rlx_status rlx_session_allot_pages(rlx_session *s);
void rlx_session_retract_pages(rlx_session *s); /* takes back those beyond `past` */
void rlx_session_slide_pages(rlx_session *s);   /* and those behind every window, up to `past` */
void rlx_session_free_pages(rlx_session *s);    /* their bookkeeping, at the session's end */
void rlx_session_drop_sequence(rlx_session *s, int seq); /* it begins anew */
void rlx_session_drop_sequences(rlx_session *s);         /* all of them */
/* Those that the present step is about begin anew: it ended half way, and states have no past. */
void rlx_session_drop_stepped(rlx_session *s);
/* The first slot that is read when `past` positions are held and the next one comes. */
int64_t rlx_session_first_needed(const rlx_pages *p, int64_t past);
/* The sequence begins anew and holds `past` positions: pages of its own from slot first[i] on, of
 * every window i, for the caller to fill, as its rows. Where a device fails it holds nothing. */
rlx_status rlx_session_begin_at(rlx_session *s, int seq, int64_t past, const int64_t *first);

/* Bytes of the outputs that the host does not see when a step is done, or of the others. */
size_t rlx_session_sum_outputs(const rlx_program *p, bool large);
/* Of a device's memory for an arena without outputs. */
size_t rlx_session_frames_bytes(const rlx_program *p);
/* What a tensor takes at its bucket's upper bounds. */
size_t rlx_session_upper_bytes(const rlx_program *p, const rlx_program_tensor *t);
/* The binding of an executable, made when it is new, its addresses brought up to date. */
rlx_status rlx_session_bind(rlx_session *s, const rlx_executable *e, rlx_binding **out);
void rlx_session_unbind_all(rlx_session *s); /* frees what binding made */

/* On a device: a state's memory, zeroed; the step block for inputs whose capacity is known; the arena; the tape, recorded
 * when it is new or the arena has moved; a step. */
rlx_status rlx_session_make_device_pool(rlx_session *s, rlx_pool *pool);
/* Whether it has room for a program's arena, and for `states` bytes of states that are not there yet. */
rlx_status rlx_session_check_room(rlx_session *s, const rlx_program *p, int64_t states);
rlx_status rlx_session_make_step_block(rlx_session *s, const rlx_program *p, rlx_binding *b);
rlx_status rlx_session_grow_device_arena(rlx_session *s, const rlx_program *p);
rlx_status rlx_session_record(rlx_session *s, const rlx_executable *e, rlx_binding *b);
rlx_status rlx_session_run_device(rlx_session *s, const rlx_program *p, rlx_binding *b);
/* Of an output of the step that was run: its data, NULL where it is to be taken; taken. */
void rlx_session_place_output(const rlx_session *s, const rlx_program *p, rlx_binding_output *out);
rlx_status rlx_session_take_output(rlx_session *s, rlx_binding_output *out);
void rlx_session_free_binding(rlx_session *s, rlx_binding *b); /* what is on the device */
void rlx_session_free_device(rlx_session *s);

/* Times of kernels (session_times.c), where the session takes them. `part`, `member`: as a phase is
 * run. */
rlx_status rlx_session_make_times(const rlx_session *s, const rlx_executable *e, rlx_binding *b);
void rlx_session_add_time(rlx_binding *b, uint32_t kernel, int part, int member, double seconds);

#endif
