/* tests/jit/subject.h: a kernel under test: read from text or built, run by the interpreter and as
 * machine code on equal memory, and compared bit for bit.
 *
 * Every buffer ends at a page that may not be touched, and begins behind a canary; so reading or
 * writing beyond its end is a fault, and writing before it is seen. */
#ifndef RLX_TESTS_JIT_SUBJECT_H
#define RLX_TESTS_JIT_SUBJECT_H

#include "jit/host_team.h"
#include "jit/jit.h"
#include "lir/lir.h"
#include "runtime/program.h"

enum { SUBJECT_MAX_BUFFERS = 24 };

typedef struct subject {
    rlx_dims *dims;
    rlx_ir_module *module;
    int64_t symbols[RLX_MAX_SYMBOLS];
} subject;

/* Parses a module, expands its mathematics and verifies it. */
rlx_status subject_parse(subject *s, const char *name, const char *text);
/* Takes over a module that was built. */
void subject_adopt(subject *s, rlx_dims *dims, rlx_ir_module *module);
void subject_destroy(subject *s);
/* Live values: "TOKENS=5 N=37"; what is not named is 0. False when a name is no symbol. */
bool subject_bind(subject *s, const char *bindings);

/* Live bytes of a kernel's buffers. */
typedef struct memory {
    int n;
    struct {
        uint8_t *map; /* whole mapping, the last page closed */
        size_t map_bytes;
        uint8_t *data;
        size_t bytes;
    } buffer[SUBJECT_MAX_BUFFERS];
} memory;

/* Made and filled from `seed`: floats in -4..4 (buffers named `odd...` also with NaNs, infinities,
 * zeros of both signs and denormals), blocks likewise (`odd...`: any bytes), integers in -100..100,
 * buffers named `id...` in 0..2. `code4...`: u8 of so many bits; `code8...`, `act...`: i8 in
 * -128..127, in -127..127: often at the ends. */
void memory_create(memory *m, const subject *s, const rlx_ir_func *kernel, uint64_t seed);
void memory_destroy(memory *m);
bool memory_canaries_hold(const memory *m);
/* Index of the first buffer that differs, and its byte; -1: equal. NaNs equal NaNs. */
int memory_compare(const memory *a, const memory *b, const rlx_ir_func *kernel, size_t *at);

/* Machine code of a kernel. */
typedef struct loaded {
    struct rlx_elf_image *image;
    rlx_kernel_fn *run;
    int64_t team_bytes;
    int invocations;     /* of a team; more than 1: see host_team.h */
    int subgroup;        /* of them */
    int parts;           /* functions that it calls (jit/llvm_parts.h) */
    int nbuffers, nmaps; /* its arguments; tensor maps, which are behind them and the symbols */
    rlx_program_map maps[RLX_PROGRAM_MAPS];
} loaded;
/* As programs have it, cut into parts where there are any. */
rlx_status loaded_create(const rlx_ir_func *kernel, const rlx_jit_target *t, loaded *out);
/* All in one object. */
rlx_status loaded_create_uncut(const rlx_ir_func *kernel, const rlx_jit_target *t, loaded *out);
void loaded_destroy(loaded *l);
/* Runs every team in turn, from the last to the first. The invocations of a host team take turns at
 * barriers, once upwards and once downwards; the test fails when not all reach one. */
void loaded_run(const loaded *l, const memory *m, const int64_t *symbols, int teams);
void loaded_run_on(const loaded *l, void *const *buffers, const int64_t *symbols, int teams);

/* Meetings of all teams in a step in one launch (jit/host_team.h). */
typedef struct loaded_meeting {
    void (*arrive)(rlx_host_invocation *self, uint32_t *counter);
    uint32_t (*look)(rlx_host_invocation *self, const uint32_t *counter);
} loaded_meeting;
/* One team of a step; the others are run beside it, by other threads, which assert nothing: false, with what is wrong. */
enum { LOADED_WRONG = 128 };
bool loaded_run_team(const loaded *l, void *const *buffers, const int64_t *symbols, int team,
                     int teams, const loaded_meeting *m, char wrong[LOADED_WRONG]);

/* together.c: all teams of a step, each by a thread of its own: as the threads come, or in turns: one runs at a time, until it waits for
 * others or ends, then the next one down, or up; so that what it reads too early is not there. False, with what is wrong: all wait, or invocations of one part. */
typedef enum loaded_order { LOADED_AS_THEY_COME, LOADED_DOWN, LOADED_UP } loaded_order;
bool loaded_try_together(const loaded *l, void *const *buffers, const int64_t *symbols, int teams,
                         loaded_order order, char wrong[LOADED_WRONG]);
/* The same; the test fails then. */
void loaded_run_together(const loaded *l, void *const *buffers, const int64_t *symbols, int teams,
                         loaded_order order);

/* The interpreter's result against the compiled code's, with 1 and 3 teams. Fails the running test
 * with kernel, seed and place. */
void subject_check(const subject *s, const rlx_ir_func *kernel, const rlx_jit_target *t,
                   uint64_t seed);

/* The same for every kernel of the module. */
void subject_check_all(const subject *s, const rlx_jit_target *t, uint64_t seed);

/* How often that stands in a text. */
int subject_count(const char *text, const char *what);

/* CPU targets that this machine can run: x86-64-v3, and x86-64-v4 if it can. How many. */
int cpu_targets(rlx_jit_target out[2]);
rlx_jit_target cpu_named(const char *name);
enum { SUBJECT_CPUS = 4 }; /* whose code is made and assembled here, whatever this machine runs */
/* Each kernel for one of these CPUs, in turn: assembled and loaded; and every other time round, as
 * emulating takes its time, run with its instructions emulated. */
void subject_check_elsewhere(const subject *s, const char *const *cpus, int n, uint64_t seed);
/* A module's text without its end, which it destroys: all of its kernels for the CPUs that this machine can
 * run, and elsewhere. */
void subject_check_text(rlx_text *t, const char *bindings, uint64_t seed);
/* Every kernel becomes an object for each AArch64 processor; none is run. */
void subject_assemble_aarch64(const subject *s);
/* The GPUs' emitter on the host, with teams of so many invocations. */
rlx_jit_target host_team_target(int invocations);
rlx_jit_target host_subgroup_target(int invocations,
                                    int lanes); /* which change elements in subgroups */
const char *target_name(const rlx_jit_target *t);

/* For instructions of a host team that are emulated: what the invocations of a subgroup come with at
 * the same time, `bytes` each, in their order. Returns which of them calls. */
int subject_gather(const void *own, size_t bytes, void *all);
int subject_invocation(void);  /* which of the team calls */
int subject_invocations(void); /* that a team has */
int subject_barriers(void);    /* that the caller has come to */
void subject_meet(void);       /* all of the team come, which is no barrier of the kernel's */
void *subject_team_memory(void);

#endif
