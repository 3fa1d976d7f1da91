/* jit/gpu_target.h: GPUs that LLVM makes code for, by name. Internal to jit/ and to programs that judge its code. */
#ifndef RLX_JIT_GPU_TARGET_H
#define RLX_JIT_GPU_TARGET_H

#include "jit/jit.h"

typedef enum rlx_gpu_family {
    RLX_GPU_NVIDIA,
    RLX_GPU_CDNA2,
    RLX_GPU_CDNA3,
    RLX_GPU_RDNA3,
    RLX_GPU_RDNA4
} rlx_gpu_family;

/* A row of gpu_targets.def. */
typedef struct rlx_gpu_processor {
    rlx_jit_kind kind;
    const char *name, *features; /* LLVM's */
    rlx_gpu_family family;
    int lanes; /* invocations that change elements without team memory */
    int64_t team_bytes;
    /* What decides how many waves run side by side: vector registers of a SIMD, of a lane, in groups; waves of a SIMD; SIMDs and
     * bytes of team memory of a compute unit (a multiprocessor is one, of one SIMD); those of them that no team sees, for each */
    int registers, register_group, waves, simds;
    int64_t unit_bytes, taken_bytes;
} rlx_gpu_processor;

/* RLX_UNSUPPORTED names the nearest that is known. `name` may be NULL. */
rlx_status rlx_gpu_find(rlx_jit_kind kind, const char *name, const rlx_gpu_processor **out);
/* Whether the name of a target begins as those of these GPUs do: "cuda:", "hip:". */
bool rlx_gpu_is_name(const char *name);
/* "cuda:sm_80", "hip:gfx942". RLX_INVALID_ARGUMENT names the nearest. */
rlx_status rlx_gpu_target(const char *name, rlx_jit_target *out);

#endif
