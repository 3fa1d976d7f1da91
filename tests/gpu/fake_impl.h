/* tests/gpu/fake_impl.h: what the files of the fake drivers share. */
#ifndef RLX_TESTS_GPU_FAKE_IMPL_H
#define RLX_TESTS_GPU_FAKE_IMPL_H

#include <pthread.h>

#include "runtime/device_gpu_impl.h"
#include "tests/gpu/fake_driver.h"
#include "tests/jit/emulated_tensor.h"

#ifdef FAKE_HIP
enum { IS_CUDA = 0, ATTRIBUTE_UNITS = 63, ATTRIBUTE_TEAM_BYTES = 74 };
#else
enum { IS_CUDA = 1, ATTRIBUTE_UNITS = 16, ATTRIBUTE_TEAM_BYTES = 8 };
#endif
enum {
    INVALID = 1,
    NO_MEMORY = 2,
    NO_DEVICE = 101,
    BAD_IMAGE = 200,
    NOT_FOUND = 500,
    TOO_MANY = 720
};

/* Every call, under the name that the library exports. */
#define EXPORT(name, exported, parameters)                                                     \
    rlx_gpu_result fake_##name parameters __asm__(exported) __attribute__((visibility("defaul" \
                                                                                      "t")));
#ifdef FAKE_HIP
#define GPU_CALL(name, cuda, hip, parameters) EXPORT(name, #hip, parameters)
#define GPU_CUDA(name, cuda, parameters)
#define GPU_HIP(name, hip, parameters) EXPORT(name, #hip, parameters)
#else
#define GPU_CALL(name, cuda, hip, parameters) EXPORT(name, #cuda, parameters)
#define GPU_CUDA(name, cuda, parameters) EXPORT(name, #cuda, parameters)
#define GPU_HIP(name, hip, parameters)
#endif
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
extern fake_driver rlx_fake_driver;

/* ---- the plan, and what was counted */

extern struct fake_state {
    fake_plan plan;
    int64_t failed, counts[RLX_GPU_NCALLS], live, launches, beside;
    int last;
    int dead; /* the result of every call, once the device has ended */
    size_t used;
    char said[4096];
} fake_state;

/* Takes the lock of everything, which a thread may take again: the result of a call that goes no further; 0: it does. */
rlx_gpu_result fake_begin(rlx_gpu_call call);
/* The same, of what nobody plans to fail: giving back. */
void fake_lock(void);
rlx_gpu_result fake_end(rlx_gpu_result r);
#define BEGIN(name)                                     \
    rlx_gpu_result r = fake_begin(RLX_GPU_CALL_##name); \
    if (r)                                              \
    return fake_end(r)
void fake_say(const char *fmt, ...);
/* What a call that should not have been made gives. */
#define WRONG(...) (fake_say(__VA_ARGS__), INVALID)

/* ---- what there is */

enum {
    MAX_NODES = 1024,
    MAX_ARGUMENTS = 32,
    MAX_MAPS = 4,
    CANARY_BYTES = 64,
    CANARY = 0xA5,
    GARBAGE = 0xC3
};

typedef struct fake_set {
    uint64_t word[MAX_NODES / 64];
} fake_set;

typedef enum fake_op_kind {
    COPY_TO,
    COPY_FROM,
    COPY_WITHIN,
    FILL,
    LAUNCH,
    RECORD,
    RUN
} fake_op_kind;

typedef struct fake_object fake_object;
typedef struct fake_op {
    struct fake_op *next;
    fake_op_kind kind;
    char *at; /* on the device */
    char *other;
    size_t bytes;
    int byte;
    fake_object *with; /* the function, the event, the graph that runs */
    unsigned teams;
    bool together;
    int nbuffers, nmaps;
    void *addresses[MAX_ARGUMENTS];
    char maps[MAX_MAPS][sizeof(emulated_map)]; /* arguments behind them */
    fake_set after;                            /* in a graph: the nodes that come first */
} fake_op;

typedef enum fake_kind {
    MEMORY,
    MAPPED,
    STREAM,
    EVENT,
    MODULE,
    FUNCTION,
    GRAPH,
    EXEC,
    LINKER
} fake_kind;

struct fake_object {
    fake_object *next;
    fake_kind kind;
    int device;
    char *
        data; /* of memory, with canaries around; of a mapped one the host's; of a module its image */
    size_t bytes;
    unsigned flags;
    fake_op *first, **last;     /* of a stream: what waits; of a graph: its nodes */
    int nnodes, team, nbuffers; /* of a graph; of a function */
    fake_object *of;   /* the graph that a stream or event is captured to; a function's module */
    fake_set now;      /* the nodes that it stands behind */
    double time;       /* of an event */
    const char *image; /* of AMD's modules: what its driver reads while they are there */
    char name[128];
};

extern fake_object *fake_objects;
extern struct fake_context {
    int device, retained;
} fake_contexts[FAKE_DEVICES];

enum { MAX_DEPTH = 8 };
extern __thread struct fake_context *fake_stack[MAX_DEPTH];
extern __thread int fake_depth, fake_current; /* NVIDIA's, AMD's */

int fake_current_device(void); /* -1: none */
fake_object *fake_make(fake_kind kind, size_t bytes);
/* NULL, and it is said: it is none, or of another device than the current one. */
fake_object *fake_find(const void *handle, fake_kind kind);
fake_object *fake_find_at(const void *data, fake_kind kind);
/* The memory that `bytes` from an address lie in. */
fake_object *fake_find_memory(const char *at, size_t bytes);
void fake_destroy(fake_object *o);
rlx_gpu_result fake_destroy_of(void *handle, fake_kind kind);
/* Whether something that waits in a stream is of it: then it may not go. */
bool fake_is_pending(const fake_object *o);
void fake_free_ops(fake_object *o);

/* ---- work */

bool fake_has(const fake_set *s, int i);
void fake_add_all(fake_set *s, const fake_set *more);
void fake_run_op(const fake_op *p);
/* A graph's: of the nodes that may run the last one is next. */
void fake_run_nodes(const fake_object *graph);
/* Puts a copy into a stream or, where that is captured, its graph. */
rlx_gpu_result fake_put(void *stream, const fake_op *what);

#endif
