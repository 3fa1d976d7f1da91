/* runtime/device_gpu_impl.h: what the files of GPUs share: the drivers' types and calls, one set of names for both makers. */
#ifndef RLX_RUNTIME_DEVICE_GPU_IMPL_H
#define RLX_RUNTIME_DEVICE_GPU_IMPL_H

#include <stddef.h>

#include "runtime/device_gpu.h"

/* ---- as the drivers have them */

typedef int rlx_gpu_result, rlx_gpu_handle, rlx_gpu_attribute, rlx_gpu_function_attribute;
typedef int rlx_gpu_jit_option, rlx_gpu_input, rlx_gpu_capture;
typedef unsigned long long rlx_gpu_address; /* AMD's is a pointer: passed alike */
typedef void *rlx_gpu_context, *rlx_gpu_stream, *rlx_gpu_event, *rlx_gpu_module, *rlx_gpu_function;
typedef void *rlx_gpu_graph, *rlx_gpu_exec, *rlx_gpu_linker;

/* AMD's description of a device, of which one text is read. */
typedef union rlx_gpu_properties {
    char bytes[4096]; /* more than any version has */
    struct {
        char before[1160], arch[256]; /* "gfx942:sramecc+:xnack-" */
    } at;
    double align;
} rlx_gpu_properties;

typedef int rlx_gpu_map_type, rlx_gpu_map_form, rlx_gpu_map_swizzle, rlx_gpu_map_ahead;
typedef int rlx_gpu_map_beyond;
/* NVIDIA's tensor map, of which nothing is read. */
typedef struct rlx_gpu_tensor {
    _Alignas(128) char bytes[128];
} rlx_gpu_tensor;

typedef struct rlx_gpu_calls {
#define GPU_CALL(name, cuda, hip, parameters) rlx_gpu_result(*name) parameters;
#define GPU_CUDA(name, cuda, parameters) rlx_gpu_result(*name) parameters;
#define GPU_HIP(name, hip, parameters) rlx_gpu_result(*name) parameters;
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
} rlx_gpu_calls;

typedef enum rlx_gpu_call {
#define GPU_CALL(name, cuda, hip, parameters) RLX_GPU_CALL_##name,
#define GPU_CUDA(name, cuda, parameters) RLX_GPU_CALL_##name,
#define GPU_HIP(name, hip, parameters) RLX_GPU_CALL_##name,
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
    RLX_GPU_NCALLS
} rlx_gpu_call;

/* Numbers that mean the same to both. */
enum {
    RLX_GPU_MAP_DEVICE = 2,      /* registered memory of the host: kernels reach it */
    RLX_GPU_STREAM_ALONE = 1,    /* a stream waits for no other */
    RLX_GPU_EVENT_UNTIMED = 2,   /* an event orders, and takes no time */
    RLX_GPU_CAPTURE_RELAXED = 2, /* other calls, of any thread, go on meanwhile */
    RLX_GPU_FUNCTION_TEAM = 0    /* attribute: invocations of a team, at most */
};
/* NVIDIA's. */
enum {
    RLX_GPU_MAP_BYTES = 0, /* elements of 1 byte, and of 2 */
    RLX_GPU_MAP_HALVES = 1,
    RLX_GPU_MAP_PLAIN = 0,
    RLX_GPU_MAP_SWIZZLE_32 = 1, /* of 64 bytes it is 2, of 128 3 */
    RLX_GPU_MAP_AHEAD_128 = 2,  /* what is not there is read by so many bytes */
    RLX_GPU_MAP_ZEROS = 0       /* beyond the tensor */
};

/* ---- drivers */

enum { RLX_GPU_MAX_DEVICES = 64 };

/* Who uses a device. A reset ends what they use, so it has the device alone: it lets nobody in any more, and waits for those inside. Its
 * numbers are of resets of the device, from 0. */
typedef struct rlx_gpu_gate {
    pthread_mutex_t lock; /* of `inside` and `shut` */
    pthread_cond_t changed;
    int inside;
    bool shut;
    _Atomic int begun; /* what was opened before one is lost, whatever comes of it */
    _Atomic int
        done; /* the last that was made: what was made before it is gone; less than `begun` after one that failed */
} rlx_gpu_gate;
void rlx_gpu_gate_init(rlx_gpu_gate *w);
void rlx_gpu_gate_shut(rlx_gpu_gate *w); /* waits for who is inside, and for who shut it before */
void rlx_gpu_gate_open(rlx_gpu_gate *w);

typedef struct rlx_gpu_driver {
    rlx_gpu_kind kind;
    rlx_gpu_calls call; /* those of the other maker are NULL */
    int version;        /* of its interface */
    char build[64];     /* NVIDIA's: of its machine code's maker, "550.54.15"; "": unknown */
    rlx_gpu_gate gates[RLX_GPU_MAX_DEVICES];
} rlx_gpu_driver;

/* Opens a maker's driver, for good: a driver that is closed takes its threads' code along. Any thread may. */
rlx_status rlx_gpu_driver_open(rlx_gpu_kind k, rlx_gpu_driver **out);
/* What it may be called, in the order of trying; NULL behind the last. */
const char *const *rlx_gpu_libraries(rlx_gpu_kind k);
/* "550.54.15", of the first line of NVIDIA's /proc/driver/nvidia/version; "" where it is not there, or says nothing. */
void rlx_gpu_read_build(const char *path, char *out, size_t n);
/* Describes a device that is not opened; why_not says what speaks against it. */
rlx_status rlx_gpu_describe(const rlx_gpu_driver *v, int index, rlx_gpu_info *out);
/* RLX_OK for 0; else a status that names the call, as its maker does, and the result. */
rlx_status rlx_gpu_status(const rlx_gpu_driver *v, rlx_gpu_result r, rlx_gpu_call call,
                          const char *file, int line);
/* Whether nothing runs on the device after it. */
bool rlx_gpu_loses(rlx_gpu_result r);
/* GPU_ASK(v, get_device, &handle, 0) */
#define GPU_ASK(v, name, ...) \
    RLX_TRY(                  \
        rlx_gpu_status((v), (v)->call.name(__VA_ARGS__), RLX_GPU_CALL_##name, __FILE__, __LINE__))

/* ---- devices */

typedef struct rlx_gpu {
    rlx_device base;
    rlx_gpu_driver *driver; /* lives as long as the process */
    rlx_gpu_info info;
    char code_name[512]; /* who makes machine code of PTX: device, driver and their versions */
    int index;
    rlx_gpu_handle handle;
    rlx_gpu_context context; /* NVIDIA's; NULL: not there yet */
    rlx_gpu_stream copies;
    pthread_mutex_t lock; /* of what goes through `copies` */
    _Atomic bool lost;    /* says the driver, or a wait failed: nobody knows what has run */
    int resets;           /* the gate's `done`, when it was opened */
    rlx_device_memory *
        kept; /* pages of the host that the driver does not let go of, until the end; under `lock` */
} rlx_gpu;

static inline rlx_gpu *rlx_gpu_of(const rlx_device *d)
{
    return (rlx_gpu *)(uintptr_t)d;
}

/* The device is the calling thread's current one from entering to leaving; then what was is again. RLX_IO on a lost device, which
 * takes nothing more. Entering waits for a reset, which waits for those inside: who is inside enters no second time (all functions of
 * device.h enter, and so do steps' creating and destroying), and waits for nobody who may be about to. */
typedef struct rlx_gpu_scope {
    int before; /* AMD's */
} rlx_gpu_scope;
rlx_status rlx_gpu_enter(rlx_gpu *g, rlx_gpu_scope *s);
/* The same, of a lost one, too. */
rlx_status rlx_gpu_make_current(rlx_gpu *g, rlx_gpu_scope *s);
void rlx_gpu_leave(rlx_gpu *g, const rlx_gpu_scope *s);
bool rlx_gpu_is_lost(const rlx_device *d);
rlx_status rlx_gpu_check_lost(const rlx_gpu *g);

/* As rlx_gpu_status; a result that loses the device does so. */
rlx_status rlx_gpu_result_of(rlx_gpu *g, rlx_gpu_result r, rlx_gpu_call call, const char *file,
                             int line);
/* GPU_TRY(g, wait, stream) */
#define GPU_TRY(g, name, ...)                                                                \
    RLX_TRY(rlx_gpu_result_of((g), (g)->driver->call.name(__VA_ARGS__), RLX_GPU_CALL_##name, \
                              __FILE__, __LINE__))
/* Where nothing is to be done about a failure: giving back, on a device that is not lost. */
#define GPU_DROP(g, name, ...) ((void)(g)->driver->call.name(__VA_ARGS__))
/* Waits for a stream; after a wait that failed the device is lost. */
rlx_status rlx_gpu_wait(rlx_gpu *g, rlx_gpu_stream s);

/* ---- memory */

/* What the host writes is the host's, and copied to the device at a tape's begin, so that no kernel waits for the bus; what it reads is
 * the host's, and written by kernels. */
struct rlx_device_memory {
    rlx_memory_use use;
    size_t bytes;
    rlx_gpu_address at; /* for kernels */
    void *data;         /* the host's; NULL: it has none */
    rlx_device_memory *next;
};

rlx_status rlx_gpu_create_memory(rlx_device *d, size_t bytes, rlx_memory_use use,
                                 rlx_device_memory **out);
void rlx_gpu_destroy_memory(rlx_device *d, rlx_device_memory *m);
void rlx_gpu_free_kept(rlx_gpu *g); /* at the device's end */
void *rlx_gpu_map(const rlx_device_memory *m);
rlx_status rlx_gpu_write(rlx_device *d, rlx_device_memory *m, size_t at, const void *data,
                         size_t bytes);
rlx_status rlx_gpu_read(rlx_device *d, const rlx_device_memory *m, size_t at, void *data,
                        size_t bytes);
rlx_status rlx_gpu_clear(rlx_device *d, rlx_device_memory *m, size_t at, size_t bytes);
rlx_status rlx_gpu_copy(rlx_device *d, rlx_device_memory *m, size_t from, size_t to, size_t bytes);

/* ---- kernels */

typedef struct rlx_gpu_kernel {
    rlx_gpu_module module; /* NULL: not loaded */
    rlx_gpu_function function;
    uint32_t nbuffers, nmaps;
    const rlx_program_map *maps; /* the program's */
    unsigned teams, team;        /* of a launch; invocations of one */
    void *code; /* what AMD's driver reads while the module is loaded; NULL: nothing */
} rlx_gpu_kernel;

struct rlx_device_kernels {
    uint32_t n; /* with the step */
    const rlx_gpu_kernel
        *step; /* all launches of a step in one (RLX_PROGRAM_STEP), the last; NULL: none */
    rlx_gpu_kernel each[];
};

rlx_status rlx_gpu_create_kernels(rlx_device *d, const rlx_program *p, rlx_device_kernels **out);
void rlx_gpu_destroy_kernels(rlx_device *d, rlx_device_kernels *k);

/* ---- tensor maps */

/* Of a buffer at `at` with `bytes` of memory. Enters. */
rlx_status rlx_gpu_encode_map(rlx_gpu *g, const rlx_program_map *m, rlx_gpu_address at,
                              size_t bytes, rlx_gpu_tensor *out);

/* ---- tapes */

rlx_status rlx_gpu_record(rlx_device *d, const rlx_device_recording *r, rlx_device_tape **out);
void rlx_gpu_destroy_tape(rlx_device *d, rlx_device_tape *t);
rlx_status rlx_gpu_run(rlx_device *d, rlx_device_tape *t);
double rlx_gpu_time(rlx_device *d, const rlx_device_tape *t, uint32_t i);

/* ---- steps in one launch: r->kernels->step */

typedef struct rlx_gpu_step rlx_gpu_step;
/* Enters. `addresses`: `n` of them, of every launch's buffers, then of the symbols, one launch after another. */
rlx_status rlx_gpu_step_create(rlx_gpu *g, const rlx_device_recording *r,
                               const rlx_gpu_address *addresses, size_t n, rlx_gpu_step **out);
rlx_status rlx_gpu_step_start(rlx_gpu *g, rlx_gpu_step *s, rlx_gpu_stream stream); /* inside */
/* Enters; accepts NULL; of a lost device, too. */
void rlx_gpu_step_destroy(rlx_gpu *g, rlx_gpu_step *s);

#endif
