/* runtime/device_gpu.h: GPUs through their makers' drivers: NVIDIA's (CUDA's driver interface) and AMD's (HIP).
 *
 *   driver, opened once per process and maker --> devices listed, opened (device.h)
 *
 * The two interfaces are one in all but names (gpu_calls.def), so that there is one implementation. Drivers are opened at run time; a build
 * needs nothing of them.
 */
#ifndef RLX_RUNTIME_DEVICE_GPU_H
#define RLX_RUNTIME_DEVICE_GPU_H

#include "runtime/device.h"

typedef enum rlx_gpu_kind { RLX_GPU_CUDA, RLX_GPU_HIP } rlx_gpu_kind;
enum { RLX_GPU_KINDS = 2 };

typedef struct rlx_gpu_options {
    rlx_gpu_kind kind;
    int index;      /* among the driver's devices */
    int64_t memory; /* bytes of memory that it is to have, as if it had no more; 0: its own */
    const rlx_device *
        lost; /* that it is opened in the place of: what this process has left on it ends first; NULL: none */
} rlx_gpu_options;

typedef struct rlx_gpu_info {
    char name[256];
    char arch[32];    /* what code is made for, of what is made: "sm_90a", "gfx942" */
    int major, minor; /* NVIDIA's compute capability */
    int driver; /* its version, as the driver counts: 12040 is CUDA 12.4, 60140091 is HIP 6.1 */
    int units;  /* multiprocessors */
    int64_t memory_bytes, team_bytes;
    char why_not[128]; /* it cannot be used; "": nothing speaks against it */
} rlx_gpu_info;

const char *rlx_gpu_kind_name(rlx_gpu_kind k); /* "cuda", "hip" */

/* All devices of a maker, in the driver's order, none of them opened, with what those lack that are of no use; *out is the caller's to
 * free. RLX_NOT_FOUND: no driver, one that is too old, or no device; the message says which. */
rlx_status rlx_gpu_list(rlx_gpu_kind k, rlx_gpu_info **out, int *n);

/* A device as executables and sessions take it (device.h). Errors: as rlx_gpu_list. RLX_UNSUPPORTED: it is of no use. */
rlx_status rlx_gpu_open(const rlx_gpu_options *options, rlx_device **out);
const rlx_gpu_info *rlx_gpu_get_info(const rlx_device *d); /* lent */
/* Whether code and weights of one are good for the other, where it is opened again. */
bool rlx_gpu_is_same(const rlx_device *a, const rlx_device *b);

#endif
