/* jit/code_object.h: what an AMD code object says of its kernel, read back: for tests and for tables of figures. */
#ifndef RLX_JIT_CODE_OBJECT_H
#define RLX_JIT_CODE_OBJECT_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

typedef struct rlx_code_object {
    char target[64];         /* "amdgcn-amd-amdhsa--gfx942" */
    char symbol[128];        /* of the kernel's descriptor: its name and ".kd" */
    int64_t version[2];      /* of the metadata: 1.2 */
    int64_t kernarg_bytes;   /* hidden arguments included */
    int64_t buffers, hidden; /* arguments: pointers to global memory; those that a launcher adds */
    int64_t arguments_end;   /* the last byte of them all */
    int64_t team_bytes;      /* LDS */
    int64_t scratch_bytes;   /* of an invocation's own memory */
    int64_t lanes, max_team; /* invocations of a wave; of a team, at most */
    int64_t vgprs, agprs,
        sgprs; /* registers; on GPUs whose accumulators are among the vector ones, of both */
    int64_t vgpr_spills, sgpr_spills;
    size_t code_at, code_bytes; /* the kernel's instructions, in the object */
    struct {                    /* the descriptor */
        int64_t team_bytes, scratch_bytes, kernarg_bytes, entry;
        int lanes;
    } descriptor;
    int64_t entry_address; /* of the kernel's symbol */
} rlx_code_object;

/* RLX_INVALID_FILE when it is none, or not of one kernel. */
rlx_status rlx_code_object_read(const void *data, size_t bytes, rlx_code_object *out);

#endif
