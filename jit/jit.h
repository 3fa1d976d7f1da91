/* jit/jit.h: LIR in, code out. Everything that touches LLVM is behind this header, in a module that
 * is opened when something is compiled; SPIR-V needs no LLVM and no device.
 */
#ifndef RLX_JIT_H
#define RLX_JIT_H

#include "lir/lir.h"
#include "runtime/program.h"
#include "runtime/vulkan_features.h"

/* CPU: of this machine's kind, x86-64. AARCH64: objects that no machine here loads. */
typedef enum rlx_jit_kind {
    RLX_JIT_CPU,
    RLX_JIT_AARCH64,
    RLX_JIT_NVPTX,
    RLX_JIT_SPIRV,
    RLX_JIT_AMDGPU
} rlx_jit_kind;

enum { RLX_JIT_DEFAULT_TEAM = 128 };

/* How a GPU runs the launches of a step. */
typedef enum rlx_jit_step {
    RLX_JIT_STEP_GRAPH,  /* one by one, in a graph */
    RLX_JIT_STEP_KERNEL, /* all in one launch, which goes through their list: NVPTX alone */
    RLX_JIT_STEP_AUTO    /* the one or the other, by what a launch moves (step.h) */
} rlx_jit_step;

typedef struct rlx_jit_target {
    rlx_jit_kind kind;
    uint64_t features;     /* CPU: feature bits of runtime/cpu.h; code uses those of x86-64-v4 when
                              all of them are there, else those of v3; and what multiplies beyond:
                              VNNI, AVX512-BF16, AMX. SPIRV: of runtime/vulkan_features.h */
    uint64_t slow_features; /* CPU: what it has beside those, and code that is compiled elsewhere may use */
    const char *processor; /* NVPTX: "sm_80"; AMDGPU: "gfx942"; AARCH64: "generic", "neoverse-v1" */
    const struct rlx_jit_machine *machine; /* CPU: one that need not be here; NULL: this one */
    /* Tests only: see emulation.h; or NULL. Of a GPU that LLVM knows: its code is made for teams on the host (host_team.h). */
    const struct rlx_jit_emulation *emulation;
    int team; /* GPUs: invocations per team; 0: RLX_JIT_DEFAULT_TEAM. CPU: 0, or more than 1 to test
                 what GPUs run (host_team.h) */
    int subgroup; /* SPIRV, and where teams are tested: invocations of a subgroup; 0: not known, or not to be used */
    rlx_vulkan_matrix matrix; /* SPIRV: of the feature of that name */
    int64_t team_bytes; /* SPIRV: of workgroup memory that a device has; 0: 16 KiB, the least */
    int64_t
        range_bytes; /* SPIRV: of an argument that is bound as a range; what may be larger goes by
                             its address. 0: 128 MiB, which every device binds */
    const int64_t *upper; /* SPIRV: the bucket, by symbol index; NULL: every argument is a range */
    rlx_jit_step step;    /* NVPTX */
} rlx_jit_target;

/* A machine by name ("znver4", "x86-64-v3"; "neoverse-v2", ...: AArch64) as a target; a kind of Vulkan devices, with features
 * masked, or with a matrix unit ("vulkan:nvidia", "vulkan:base,-int8", "vulkan:nvidia,matrix=16x16x32": vulkan_targets.def); a GPU ("cuda:sm_80", "cuda:sm_90a,step=kernel", "hip:gfx942": gpu_targets.def). RLX_INVALID_ARGUMENT names the nearest known one. */
rlx_status rlx_jit_target_named(const char *name, rlx_jit_target *out);
/* The i-th machine of cpu_targets.def, then of vulkan_targets.def, best first, if its code runs on `host`; false otherwise. */
bool rlx_jit_target_below(const rlx_jit_target *host, int i, rlx_jit_target *out);
int rlx_jit_target_count(void); /* of those */
/* For code that multiplies no matrices of bytes: on Vulkan a target without the unit, so that devices with one take code for those without. */
void rlx_jit_drop_matrix(rlx_jit_target *t);
/* Whether code for both is made of the same features. */
bool rlx_jit_same_features(const rlx_jit_target *a, const rlx_jit_target *b);

/* "LLVM 19.1.7", and a hash of all sources that decide about code: parts of every compile key. Open nothing. */
const char *rlx_jit_compiler(void);
const char *rlx_jit_build(void);

typedef enum rlx_jit_text {
    RLX_JIT_LLVM,
    RLX_JIT_ASM
} rlx_jit_text; /* ASM: x86, AArch64, PTX, AMD GPUs' or disassembled SPIR-V */

/* "x86-64-v4+avx512vnni", "aarch64:generic", "cuda:sm_80,step=kernel", "hip:gfx942", "vulkan:int8+int16+int64": part of every compile key.
 * rlx_jit_target_named reads those of AArch64's processors, behind the colon, and of GPUs. */
void rlx_jit_describe(const rlx_jit_target *t, rlx_text *out);
/* All that code depends on, as text: two targets of the same text share compiled code. */
rlx_status rlx_jit_describe_code(const rlx_jit_target *t, rlx_text *out);
/* The target as lowering reads it. */
rlx_status rlx_jit_lir_target(const rlx_jit_target *t, rlx_lir_target *out);

/* Emits one kernel to code bytes (*code is malloc'ed): an ELF object, PTX text, SPIR-V words, a code object for AMD.
 * Thread-safe. A kernel that the target cannot take is RLX_UNSUPPORTED and names both. */
rlx_status rlx_jit_emit_kernel(const rlx_ir_func *kernel, const rlx_jit_target *t, uint8_t **code,
                               size_t *bytes);
/* The same as text, for people. */
rlx_status rlx_jit_print_kernel(const rlx_ir_func *kernel, const rlx_jit_target *t,
                                rlx_jit_text what, rlx_text *out);
/* All kernels of a module as rlx_jit_compile makes them: what several have in common is a function of its own,
 * printed once, behind the first that calls it. With t->step KERNEL then the step that calls them. */
rlx_status rlx_jit_print_module(const rlx_ir_module *m, const rlx_jit_target *t, rlx_jit_text what,
                                rlx_text *out);

typedef struct rlx_jit_stats {
    int kernels;
    double seconds;     /* wall time, LLVM's opening included */
    double cpu_seconds; /* summed over threads */
    int64_t code_bytes;
    int copied; /* kernels that a program compiled at the same time had already */
    bool step;  /* there is code for all launches of a step in one */
} rlx_jit_stats;

typedef struct rlx_jit_options {
    int threads;                                /* 0: all that the process may use */
    bool no_code;                               /* tape, plan and bindings only: for evaluators */
    const char *entry;                          /* the tape's main function */
    const char *const *output_names;            /* of the entry's results */
    const int64_t *upper;                       /* the bucket, by symbol index */
    const char *provenance, *preimage, *source; /* as in rlx_program; NULL: "" */
    int64_t plan_least;                         /* as there */
    rlx_hash key;
} rlx_jit_options;

/* Compiles every kernel of a planned module, in parallel, one LLVM module each, longest first;
 * writes entry bytes (rlx_program_encode). */
rlx_status rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                           const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats);

#endif
