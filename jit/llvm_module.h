/* jit/llvm_module.h: what the module librlx-llvm.so offers: one table, behind one exported
 * function.
 *
 * librlx opens the module when something is compiled; nothing else of it, and nothing of LLVM, is
 * visible. The module has its own copy of the IR library, so only data crosses: kernels in,
 * text and statuses (malloc'ed) out.
 */
#ifndef RLX_JIT_LLVM_MODULE_H
#define RLX_JIT_LLVM_MODULE_H

#include "jit/gpu_target.h"
#include "jit/matrix_units.h"

enum { RLX_LLVM_API_VERSION = 10 }; /* raised when the table changes */
#define RLX_LLVM_ENTRY "rlx_llvm_module_get"

/* What a worker compiles for. Texts are copied. */
typedef struct rlx_llvm_target {
    rlx_jit_kind kind;    /* all but SPIRV */
    const char *cpu;      /* LLVM's processor name: "x86-64-v4", "neoverse-v1", "sm_80", "gfx942" */
    const char *features; /* LLVM's feature string */
    bool avx512;          /* CPU: vectors of 512 bits, and masked accesses of every element size */
    bool vnni;            /* CPU: products of bytes; of 256 bits unless avx512 */
    bool bf16;            /* CPU: products of pairs of bf16 */
    bool tiles_bf16;      /* CPU: products of bf16 by AMX's tiles */
    bool tiles_bytes;     /* CPU: products of bytes by AMX's tiles */
    bool dotprod;         /* AARCH64: products of bytes */
    const struct rlx_jit_emulation
        *emulation; /* see emulation.h; or NULL; lives as long as the worker */
    int team;       /* invocations per team; on a CPU 1, or more for host_team.h */
    int subgroup;   /* of them that change elements without team memory, a power of two; 0: none */
    int64_t team_bytes;    /* teams: the most memory that a kernel may take, exchange included */
    rlx_gpu_family family; /* NVPTX, AMDGPU */
    const rlx_matrix_unit *matrix;       /* GPUs: products of bytes; NULL: no unit. Lives as long */
    const rlx_matrix_unit *float_matrix; /* of f16 and bf16 */
    const rlx_matrix_unit *column_matrix; /* the same, in kernels that multiply columns */
    /* Copies to team memory run by themselves (cp.async), subgroups load matrices (ldmatrix). */
    bool copies;
    bool copies_boxes; /* by tensor maps, too (rlx_jit_maps), in kernels by themselves */
} rlx_llvm_target;

/* Loops of a kernel that are functions of their own (llvm_parts.h), in their order: objects that the kernel's
 * object calls by these names. The same name is the same code. */
enum { RLX_LLVM_MAX_PARTS = 8, RLX_LLVM_KERNEL = -1 };
typedef struct rlx_llvm_part_name {
    char text[40];
} rlx_llvm_part_name;
typedef struct rlx_llvm_parts {
    int n;
    rlx_llvm_part_name name[RLX_LLVM_MAX_PARTS];
} rlx_llvm_parts;

typedef enum rlx_llvm_form { RLX_LLVM_CODE, RLX_LLVM_IR, RLX_LLVM_ASM } rlx_llvm_form;

/* A worker: an LLVM context and a target machine, used again for every kernel. One thread at a
 * time. */
typedef struct rlx_llvm rlx_llvm;

typedef struct rlx_llvm_module {
    int version;
    const char *build; /* rlx_jit_build() of librlx, or the two do not understand each other's IR */
    const char *llvm;  /* "LLVM 19.1.7" */
    rlx_status (*create)(const rlx_llvm_target *target, rlx_llvm **out);
    void (*destroy)(rlx_llvm *w); /* accepts NULL */
    /* Appends a kernel's code or text. LLVM's own failures are RLX_UNSUPPORTED with its words. parts NULL: all
     * in one. Else they are named there, and what is appended is number `part` of them, or what calls
     * them (RLX_LLVM_KERNEL). */
    rlx_status (*emit)(rlx_llvm *w, const rlx_ir_func *kernel, rlx_llvm_form form,
                       rlx_llvm_parts *parts, int part, rlx_text *out);
    /* The same of a step (RLX_PROGRAM_STEP) that calls any of `n` kernels, by their numbers here. RLX_UNSUPPORTED: there is none for
     * this target. */
    rlx_status (*emit_step)(rlx_llvm *w, const rlx_ir_func *const *kernels, int n,
                            rlx_llvm_form form, rlx_text *out);
} rlx_llvm_module;

typedef const rlx_llvm_module *rlx_llvm_module_get_fn(void);

#endif
