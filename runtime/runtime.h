/* runtime/runtime.h: loading and running compiled programs: weights, executables, sessions.
 *
 *   entry bytes --decode, relocate--> executable (code + flat tape, bound to one weight store)
 *   executable + session --rlx_session_step--> outputs
 *
 * Knows no IR and no LLVM.
 */
#ifndef RLX_RUNTIME_H
#define RLX_RUNTIME_H

#include "runtime/cpu.h"
#include "runtime/device.h"
#include "runtime/perf.h"
#include "runtime/program.h"

/* ---- thread team ---------------------------------------------------------------------------- */

typedef struct rlx_team rlx_team;
/* `threads` members, the caller being number 0; 0 means rlx_cpu_host()->cores. Workers spin about
 * 100 us between jobs, then sleep. One job at a time: callers queue. */
rlx_status rlx_team_create(int threads, rlx_team **out);
void rlx_team_destroy(rlx_team *t);
int rlx_team_size(const rlx_team *t);
/* One part of a phase: `part` of `parts`, run by `member` (whose scratch memory it may use). */
typedef void rlx_phase_fn(void *user, int phase, int part, int parts, int member);
/* Runs phases 0.. in order, each as rlx_team_size parts, every part once; a phase begins when all parts of the
 * one before are done. Members take their own part first and then any that nobody has begun, so
 * that a member which the operating system holds back delays only a part that it is inside of. */
void rlx_team_run(rlx_team *t, int phases, rlx_phase_fn *fn, void *user);
/* The same with so many parts for each member, by phase, at most RLX_TEAM_PIECES: a half of its share,
 * a quarter, .., the last two alike. It takes its own from the first on, and of another's that is behind those
 * that are last. */
enum { RLX_TEAM_PIECES = 12 };
void rlx_team_run_pieces(rlx_team *t, int phases, const uint8_t *pieces, rlx_phase_fn *fn,
                         void *user);
/* What a member reads before long: told by itself, within a part; while it waits it brings that nearer. */
enum { RLX_SOON = 4 };
typedef struct rlx_soon {
    struct {
        const char *from;
        int64_t bytes;
    } range[RLX_SOON];
    int n, first;   /* ranges; of those the first that is not told */
    int64_t told;   /* bytes of that */
    const void *of; /* the member's own: what it told of */
} rlx_soon;
rlx_soon *rlx_team_soon(rlx_team *t, int member);

/* ---- weights -------------------------------------------------------------------------------- */

#ifndef RLX_TENSOR_TYPES /* frontend/rlx.h declares the same for users */
#define RLX_TENSOR_TYPES
typedef struct rlx_tensor {
    const char *name;
    rlx_format format;
    int rank;
    int64_t dim[6];   /* RLX_PROGRAM_MAX_RANK */
    const void *data; /* row-major, aligned to the format's element at least */
    size_t bytes;
} rlx_tensor;
#endif
#ifndef RLX_ORIGIN_TYPES /* frontend/rlx.h, too */
#define RLX_ORIGIN_TYPES
typedef struct rlx_tensor_origin {
    const char *file; /* NULL: memory; lent */
    const char *type; /* of the elements, in the file's words; lent */
    int64_t offset;   /* of the first byte in the file; -1: no file */
    int source;       /* of which this is another name or a part; -1: none */
} rlx_tensor_origin;
#endif

/* An immutable set of named tensors: mapped files, or memory that the caller keeps alive. Shared
 * by any number of executables and threads. */
typedef struct rlx_weights rlx_weights;
rlx_status rlx_weights_create(rlx_weights **out); /* empty */
/* An empty set that is laid over another, borrowed one (or NULL): rlx_weights_find and _check_files
 * go on there. */
rlx_status rlx_weights_create_over(const rlx_weights *base, rlx_weights **out);
const rlx_weights *rlx_weights_base(const rlx_weights *w); /* what it lies over; or NULL */
void rlx_weights_destroy(rlx_weights *w);
/* Maps a .safetensors file or, given an .index.json, all shards that it names beside itself.
 * Everything in the headers is checked; errors name the file and the tensor or byte, and leave the
 * set as it was. Tensors of a dtype that rlx has no format for (C64, F8_E4M3, ..) have format
 * NONE: they are there, nothing can bind them. Data that a file does not align to its elements is
 * copied. */
rlx_status rlx_weights_add_safetensors(rlx_weights *w, const char *path);
/* Maps a .gguf file, of a model in parts all of them, under the files' names. As above. */
rlx_status rlx_weights_add_gguf(rlx_weights *w, const char *path);
/* Borrows the tensor's data; copies the name. A name twice is an error. */
rlx_status rlx_weights_add(rlx_weights *w, const rlx_tensor *t);
rlx_status rlx_weights_add_copy(rlx_weights *w, const rlx_tensor *t); /* copies the data, too */
rlx_status rlx_weights_alias(rlx_weights *w, const char *name, const char *existing); /* tied */
/* A part of a tensor as one of its own, where it lies: `rows` along its first axis. */
rlx_status rlx_weights_add_rows(rlx_weights *w, const char *name, const char *existing,
                                int64_t first, int64_t rows);
const rlx_tensor *rlx_weights_find(const rlx_weights *w, const char *name); /* NULL: none */
int rlx_weights_count(const rlx_weights *w);
const rlx_tensor *rlx_weights_at(const rlx_weights *w, int i);
int64_t rlx_weights_bytes(const rlx_weights *w); /* aliases counted once */
void rlx_weights_get_origin(const rlx_weights *w, int i, rlx_tensor_origin *out);
/* Reads of mapped files that were made shorter give zeros from now on, in place of SIGBUS. */
rlx_status rlx_guard_files(void);
/* RLX_IO, naming the file, when such a read happened in a file of the set. */
rlx_status rlx_weights_check_files(const rlx_weights *w);

/* Tensors to a .safetensors file, atomically (to a pipe or a device in place; links are followed);
 * `metadata` may be NULL (pairs of key, value, ended by NULL). */
rlx_status rlx_safetensors_write(const char *path, const rlx_tensor *tensors, int n,
                                 const char *const *metadata);

/* ---- executables ---------------------------------------------------------------------------- */

typedef struct rlx_executable rlx_executable;
/* Decodes, checks that this CPU has the features, loads the code, binds every weight (name,
 * format, shape checked; all missing ones are listed in one error). The weights are borrowed; NULL
 * is none. Immutable: any number of sessions and threads may run it at once. */
rlx_status rlx_executable_create(const void *entry, size_t bytes, const rlx_weights *w,
                                 rlx_executable **out);
void rlx_executable_destroy(rlx_executable *e);

/* Something that stands in for machine code: the evaluators (devices ref:lir and ref:mir). With an
 * engine the program's code bytes are not loaded. */
typedef struct rlx_engine {
    /* Runs one team's part of a kernel, in place of its code; NULL when `step` is given. All teams
     * call it at the same time; after one fails, the rest of the step is not run. */
    rlx_status (*launch)(void *user, uint32_t kernel, void *const *buffers, const int64_t *symbols,
                         int64_t team, int64_t teams);
    /* Runs a whole step in place of the tape. `bind` finds the address of an input, weight, state
     * or output by its final name (layer index filled in), NULL when the program has none of it;
     * the engine writes the outputs. */
    rlx_status (*step)(void *user, void *(*bind)(void *cx, const char *name), void *cx,
                       const int64_t *symbols);
    void *user;
    void (*destroy)(void *user); /* called with the executable's end; may be NULL */
} rlx_engine;
/* The engine is copied. After an error the caller still owns what `user` is. */
rlx_status rlx_executable_create_engine(const void *entry, size_t bytes, const rlx_weights *w,
                                        const rlx_engine *engine, rlx_executable **out);

/* The same of a decoded program, which it takes over, also on failure; `engine` may be NULL. */
rlx_status rlx_executable_create_program(rlx_program *p, const rlx_weights *w,
                                         const rlx_engine *engine, rlx_executable **out);

/* `front`, which the executable destroys at its end, runs before it in each step, on the CPU: what it puts out are inputs of
 * the executable by the same names; those of a step may be either's. */
void rlx_executable_put_front(rlx_executable *e, rlx_executable *front);
const rlx_executable *rlx_executable_front(const rlx_executable *e); /* NULL: none; lent */
/* The executable destroys `w`, the weights that it was created with, at its end. */
void rlx_executable_own_weights(rlx_executable *e, rlx_weights *w);

/* The same on a device: uploads those of its weights that no other executable has there. Runs in sessions of that device
 * only. Beside the errors of rlx_executable_create: RLX_OUT_OF_MEMORY says how much of the device's memory is missing. */
rlx_status rlx_executable_create_on(rlx_device *d, rlx_program *p, const rlx_weights *w,
                                    rlx_executable **out);

const rlx_program *rlx_executable_program(const rlx_executable *e); /* lent */
/* Names its kernels to Linux's profiler; an engine has none. RLX_IO. */
rlx_status rlx_executable_tell_perf(const rlx_executable *e, rlx_perf *perf);

/* ---- sessions: state, arena, steps ---------------------------------------------------------- */

/* Sequences and what belongs to them: positions, page tables, states. A state ("kv.k.3") is made
 * when the first program that has it runs, and shared by all programs that name it; they must
 * agree on its shape. Its first axis may be PAGES: then address space for every page that the
 * options allow is reserved at once and touched as pages are used, so growth copies nothing.
 * PAGES_4096 are pages of states that are read 4096 positions far at most, the token's own
 * included: what lies behind is given back and used again, so that a sequence holds at most
 * ceil(4096 / 256) + 2 pages between steps. The first axis may be SEQS: one row for each sequence.
 * States begin as zeros, for sequences that begin anew, too. One thread at a time. */
typedef struct rlx_session rlx_session;
enum { RLX_PAGE_POSITIONS = 256 };
#ifndef RLX_SESSION_TYPES /* frontend/rlx.h declares the same for users */
#define RLX_SESSION_TYPES
typedef struct rlx_session_options {
    int64_t max_positions; /* of one sequence; 0: 4096 */
    int max_sequences;     /* 0: one */
    bool time_kernels;     /* every kernel's time is taken: rlx_session_kernel_at */
} rlx_session_options;
typedef struct rlx_session_stats {
    int64_t steps, tokens;
    int64_t copied_bytes; /* of states: a shared page that is written to, rows of a fork */
} rlx_session_stats;
/* A kernel that has run in a session with `time_kernels`. */
typedef struct rlx_kernel_time {
    const char *program, *kernel; /* lent by the session */
    int64_t launches;
    double seconds;           /* in it, the mean over the team */
    double bytes, operations; /* of all launches, as the program's costs have them */
} rlx_kernel_time;
#endif
/* `team` is borrowed. (rlx_session_create of the public header takes a context and calls this.) */
rlx_status rlx_session_create_on(rlx_team *team, const rlx_session_options *o, rlx_session **out);
/* A session whose states and arena are on a device, reserved in full; the device is borrowed. A
 * cancel ends a step before it begins or not at all. */
rlx_status rlx_session_create_device(rlx_device *d, rlx_team *team, const rlx_session_options *o,
                                     rlx_session **out);
void rlx_session_destroy(rlx_session *s);
/* What it did since it was created. */
void rlx_session_get_stats(const rlx_session *s, rlx_session_stats *out);
/* Kernels of every executable that has stepped here, 0 <= i < count; none without time_kernels. */
int rlx_session_kernel_count(const rlx_session *s);
void rlx_session_kernel_at(const rlx_session *s, int i, rlx_kernel_time *out);
void rlx_session_clear_times(rlx_session *s);
/* Positions that sequence `seq` holds. */
int64_t rlx_session_past(const rlx_session *s, int seq);
rlx_status rlx_session_check_sequence(const rlx_session *s, int seq); /* that there is one */
/* Positions that one sequence can hold. */
int64_t rlx_session_max_positions(const rlx_session *s);
void rlx_session_reset(rlx_session *s); /* forgets every sequence; keeps the memory */
/* Sequence `to` becomes a copy of `from`; what it held is forgotten. Pages are shared: who writes
 * to one that is not full gets one of its own first. States with neither pages nor rows belong to
 * all sequences alike. */
rlx_status rlx_session_fork(rlx_session *s, int from, int to);
/* Sequence `seq` forgets all but its first `positions`; with 0 it begins anew, and its pages are
 * free. RLX_EXHAUSTED when the window of some state would reach back to what is gone (never within
 * 256 positions of the most that the sequence has held); RLX_UNSUPPORTED when a state is of rows,
 * which have no past. */
rlx_status rlx_session_rewind(rlx_session *s, int seq, int64_t positions);
/* Makes what an executable needs in the session, its states above all, without running it. */
rlx_status rlx_session_prepare(rlx_session *s, const rlx_executable *e);
/* Sequence `seq` to a file, atomically, and back. The file holds the pages and rows of the
 * session's states, their types, the caller's line of text `model`, and a checksum over all
 * (session_file.c). Reading needs the same `model` and states (of the same names, formats, shapes
 * and windows, made by executables that ran or were prepared) or is RLX_INVALID_ARGUMENT that names
 * both; a damaged file is RLX_INVALID_FILE, one of more positions than the session takes
 * RLX_EXHAUSTED. Errors leave session and file as they were, but where a device fails to restore, the sequence holds
 * nothing. */
rlx_status rlx_session_write(const rlx_session *s, int seq, const char *model, const char *path);
rlx_status rlx_session_read(rlx_session *s, int seq, const char *model, const char *path);
/* A token that was chosen to follow sequence 0 and is not appended yet; -1: none. Forgotten when the
 * sequence changes. */
void rlx_session_set_pending(rlx_session *s, int32_t token);
int32_t rlx_session_pending(const rlx_session *s);
/* When the kernels of the session's first step began: nanoseconds of CLOCK_MONOTONIC; 0: none did. */
int64_t rlx_session_first_ns(const rlx_session *s);
/* Ends the step that runs, at its next phase, with RLX_CANCELLED; when none runs, the next one
 * before it begins. Each cancel ends at most one step; two before it are one. The session is as it
 * was before that step. A step of a program that has states other than pages, which half a step
 * would leave half new, ends before it begins or not at all. Any thread may call this, a signal
 * handler too, while the session exists. rlx_session_reset drops a cancel that nothing has
 * answered. */
void rlx_session_cancel(rlx_session *s);

/* One value for a program's input, by name; `data` row-major in the program's format. */
typedef struct rlx_step_input {
    const char *name;
    const void *data;
    size_t bytes;
} rlx_step_input;

/* A live value for a symbol that the session does not set itself. */
typedef struct rlx_step_symbol {
    const char *name;
    int64_t value;
} rlx_step_symbol;

/* One step: which tokens, of which sequence. The runtime allots pages, sets the live symbols and
 * fills those of the following inputs that the program has:
 *   pos   i32[TOKENS]      positions: each sequence's go on where its past ends
 *   seq   i32[TOKENS]      the sequence of each token
 *   table i32[SEQS,SLOTS]  page of each 256 positions of each sequence; 0 where it has none;
 * table_4096: for PAGES_4096 rows  i32[ROWS]        row_index Symbols: TOKENS and ROWS are the
 * step's; SEQS is the highest sequence of the step + 1, SLOTS the most pages that one of them has
 * had, PAGES one more than the highest page in use. A program with none of pos, seq, table and no
 * state that grows keeps no past: `seq` is ignored and nothing is counted. tokens    live TOKENS;
 * seq[t] (NULL: all 0) rows      row_index[r] < tokens: tokens whose outputs are wanted (NULL: 0,
 * 1, ..) inputs    all further inputs ("ids", "rope_cos", ...), live shape; others are errors
 *   symbols   all further symbols
 * Errors: RLX_EXHAUSTED when a sequence would outgrow max_positions, or SLOTS or PAGES the
 * program's bucket; RLX_INVALID_ARGUMENT when TOKENS, ROWS, SEQS or a given symbol does, and for
 * wrong inputs. They leave the session as it was. A step allocates nothing once the executable has
 * run in the session. */
typedef struct rlx_step {
    int64_t tokens, rows;
    const int32_t *seq;
    const int32_t *row_index;
    const rlx_step_input *inputs;
    int ninputs;
    const rlx_step_symbol *symbols;
    int nsymbols;
} rlx_step;
rlx_status rlx_session_step(rlx_session *s, rlx_executable *e, const rlx_step *step);
/* An output of the last step: lent until the next step, prepare or the session's end. Live shape in *out.
 * RLX_NOT_FOUND when there is none of that name. */
rlx_status rlx_session_output(rlx_session *s, const char *name, rlx_tensor *out);

#endif
