/* jit/emulation.h: code for a CPU that this machine is not, run on it; for tests.
 *
 * Registers and schedules are those of the target's features, but LLVM compiles for x86-64-v3,
 * which cuts wide vectors in two, and an instruction of the table becomes a call of its function.
 * So what an emitter does with AVX-512, AVX512-BF16 or AMX is executed, each instruction meaning
 * what its function computes. Such code is bound to the process that made it. */
#ifndef RLX_JIT_EMULATION_H
#define RLX_JIT_EMULATION_H

/* args[i] is the address of operand i, also of a constant; result that of a place for the result.
 */
typedef void rlx_emulated_fn(void *result, const void *const *args);

typedef struct rlx_emulated_instruction {
    const char *name; /* the LLVM intrinsic: "llvm.x86.avx512bf16.dpbf16ps.512" */
    rlx_emulated_fn *run;
} rlx_emulated_instruction;

typedef struct rlx_jit_emulation {
    const rlx_emulated_instruction *instruction;
    int n;
} rlx_jit_emulation;

#endif
