/* runtime/executable.h: a loaded program as sessions see it. Internal to runtime/.
 *
 * The tape is resolved in two steps: an executable has it flat, with weights already found; a
 * session fills in what is its own: arena, inputs, states (session_bind.c, session_device.c).
 */
#ifndef RLX_RUNTIME_EXECUTABLE_H
#define RLX_RUNTIME_EXECUTABLE_H

#include "runtime/device_weights.h"
#include "runtime/runtime.h"

typedef enum rlx_place_kind {
    RLX_PLACE_ARENA,  /* offset */
    RLX_PLACE_INPUT,  /* index of the bound tensor */
    RLX_PLACE_STATE,  /* index of the executable's state */
    RLX_PLACE_WEIGHT, /* tensor */
    RLX_PLACE_ABSENT  /* a weight that was not found: never outlives creation */
} rlx_place_kind;

/* Where a buffer is. */
typedef struct rlx_place {
    rlx_place_kind kind;
    uint32_t index;
    int64_t offset;
    const rlx_tensor *weight; /* lent by the weights */
} rlx_place;

typedef struct rlx_flat_launch {
    uint32_t kernel;
    uint32_t first; /* of its buffers, in `places` */
    uint32_t phase; /* of the tape: launches of one phase run beside each other */
} rlx_flat_launch;

typedef struct rlx_state_use {
    const char *name;                 /* layer index filled in */
    const rlx_program_tensor *tensor; /* of the program */
} rlx_state_use;

struct rlx_executable {
    uint64_t id; /* never used twice in a process: sessions remember executables by it */
    rlx_program *program;
    const rlx_weights *weights;  /* borrowed; may be NULL */
    rlx_weights *own_weights;    /* the same set, to be destroyed with it; NULL: somebody else's */
    struct rlx_elf_image *image; /* NULL with an engine, and on a device */
    rlx_device *device;          /* borrowed; NULL: the CPU */
    rlx_device_kernels *kernels; /* of the device, as the weights on it */
    rlx_device_weights *uploaded;
    rlx_executable
        *front;        /* owned: runs before, elsewhere; its outputs are inputs here. NULL: none */
    rlx_engine engine; /* all zero without one */
    struct rlx_arena *arena; /* holds what follows */
    rlx_flat_launch *launches;
    rlx_place *places;
    rlx_state_use *states; /* two of one name are one state */
    uint32_t nlaunches, nphases, nplaces, nstates;
    int64_t team_bytes; /* the most that a kernel wants */
};

/* Whether no state before has the name of the i-th. */
bool rlx_executable_is_first_of_name(const rlx_executable *e, uint32_t i);

#endif
