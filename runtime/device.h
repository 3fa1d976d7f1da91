/* runtime/device.h: a device with memory and a queue of its own, as executables and sessions see it.
 *
 *   memory    weights, states, arenas, large outputs: kept there; inputs and small outputs: where the host sees them
 *   kernels   a program's code, loaded
 *   tape      its launches on ranges of memory, recorded once, run for every step
 *
 * The CPU is no device: what runs there is called, not recorded. Any number of threads may use a device; one tape and
 * one memory are used by one at a time. Everything is destroyed before its device.
 */
#ifndef RLX_RUNTIME_DEVICE_H
#define RLX_RUNTIME_DEVICE_H

#include <pthread.h>
#include <stdbool.h>

#include "runtime/base/status.h"
#include "runtime/program.h"

typedef struct rlx_device rlx_device;
typedef struct rlx_device_memory rlx_device_memory;
typedef struct rlx_device_kernels rlx_device_kernels;
typedef struct rlx_device_tape rlx_device_tape;
typedef struct rlx_device_weights rlx_device_weights; /* device_weights.h */

typedef enum rlx_memory_use {
    RLX_MEMORY_KEPT,  /* the device's own */
    RLX_MEMORY_GIVEN, /* the host writes it: mapped */
    RLX_MEMORY_TAKEN  /* the host reads it: mapped */
} rlx_memory_use;

typedef struct rlx_device_range {
    rlx_device_memory *memory;
    size_t offset, bytes; /* bytes 0: what is left of the memory */
} rlx_device_range;

typedef struct rlx_device_launch {
    uint32_t kernel;
    uint32_t phase; /* equal to the launch's before: they may run beside each other */
    const rlx_device_range
        *buffers; /* of the kernel's arguments; the symbols are one more, for all */
} rlx_device_launch;

/* How many teams a launch has, as devices want it. */
typedef struct rlx_device_teams {
    uint32_t x, y, z, unused;
} rlx_device_teams;

/* Bytes that something is going to take of a device's own memory. */
typedef struct rlx_device_needs {
    int64_t weights, states, arena; /* arena: with the outputs that are kept there */
    bool least;                     /* states: for a page of one sequence; sessions take more */
} rlx_device_needs;

typedef struct rlx_device_recording {
    const rlx_device_kernels *kernels;
    const rlx_device_launch *launches;
    uint32_t nlaunches;
    rlx_device_range symbols; /* i64 by symbol index */
    rlx_device_range
        teams; /* rlx_device_teams by kernel: GIVEN memory, read when the tape runs, by devices with max_teams */
    bool timed; /* every launch's time is taken */
} rlx_device_recording;

/* What a kind of devices does. Offsets of ranges are multiples of 64 (the device refuses to open where that is not
 * enough). Reading, writing and running wait until it is done. */
typedef struct rlx_device_functions {
    void (*destroy)(rlx_device *d);
    bool (*is_lost)(const rlx_device *d); /* nothing runs on it any more: it is to be opened anew */
    int64_t (*room)(
        rlx_device *d); /* bytes of its memory that nobody has taken, as far as is known */
    /* Undefined contents; 0 bytes are allowed. RLX_OUT_OF_MEMORY. */
    rlx_status (*create_memory)(rlx_device *d, size_t bytes, rlx_memory_use use,
                                rlx_device_memory **out);
    void (*destroy_memory)(rlx_device *d, rlx_device_memory *m); /* accepts NULL */
    void *(*map)(const rlx_device_memory *m);                    /* of GIVEN and TAKEN memory */
    rlx_status (*write)(rlx_device *d, rlx_device_memory *m, size_t at, const void *data,
                        size_t bytes);
    rlx_status (*read)(rlx_device *d, const rlx_device_memory *m, size_t at, void *data,
                       size_t bytes);
    rlx_status (*clear)(rlx_device *d, rlx_device_memory *m, size_t at, size_t bytes);
    rlx_status (*copy)(rlx_device *d, rlx_device_memory *m, size_t from, size_t to, size_t bytes);
    /* RLX_UNSUPPORTED: code for something else, or of features that the device has not got. */
    rlx_status (*create_kernels)(rlx_device *d, const rlx_program *p, rlx_device_kernels **out);
    void (*destroy_kernels)(rlx_device *d, rlx_device_kernels *k); /* accepts NULL */
    rlx_status (*record)(rlx_device *d, const rlx_device_recording *r, rlx_device_tape **out);
    void (*destroy_tape)(rlx_device *d, rlx_device_tape *t); /* accepts NULL */
    rlx_status (*run)(rlx_device *d, rlx_device_tape *t);
    /* Seconds that launch i of a timed tape took when it was last run. */
    double (*time)(rlx_device *d, const rlx_device_tape *t, uint32_t i);
} rlx_device_functions;

/* The head of every device. */
struct rlx_device {
    const rlx_device_functions *fn;
    const char *name;
    int64_t memory_bytes; /* that it has */
    size_t max_range;     /* bytes that a range may have */
    size_t max_units;     /* and elements, or bytes of blocks */
    int64_t max_teams;    /* that a launch should have: more would wait; 0: it knows better */
    struct rlx_cache
        *cache;  /* borrowed: what its driver makes of entries is kept there; NULL: nowhere */
    int threads; /* that make kernels; 0: as many as the process may use */
    _Atomic int64_t used_bytes;   /* of its memory, by us */
    _Atomic int64_t taken_bytes;  /* of outputs, that somebody asked for */
    pthread_mutex_t weights_lock; /* of what follows */
    rlx_device_weights *weights;
};

/* One for each of a kernel's instances at these symbols, so many as the device takes; the last of none has nothing to do. */
uint32_t rlx_device_count_teams(const rlx_program *p, uint32_t kernel, const int64_t *symbols,
                                int64_t most);

/* RLX_UNSUPPORTED: kernels do not reach all of a tensor, and what they do reach. */
rlx_status rlx_device_check_reach(const rlx_device *d, rlx_format f, size_t bytes);

/* RLX_OUT_OF_MEMORY: it has no room for them; how much is missing, and what takes it. */
rlx_status rlx_device_check_room(rlx_device *d, const rlx_device_needs *n);

static inline void rlx_device_destroy(rlx_device *d) /* accepts NULL */
{
    if (d)
        d->fn->destroy(d);
}

#endif
