/* tests/jit/emulated.h: instructions that few machines have, in plain C, for code that is emitted
 * with rlx_jit_target.emulation. Written from Intel's Software Developer's Manual, (emulated_gpu)
 * NVIDIA's PTX ISA and (emulated_amd_target) what AMD's matrix instruction calculator prints, and from
 * nothing of ours; an instruction that would fault fails the running test. */
#ifndef RLX_TESTS_JIT_EMULATED_H
#define RLX_TESTS_JIT_EMULATED_H

#include <stdbool.h>

#include "jit/emulation.h"
#include "jit/jit.h"

/* AVX-512's products of bytes and words, VNNI, AVX512-BF16, AMX (one set of tiles: in one thread).
 */
extern const rlx_jit_emulation emulated_cpu;
/* mma.sync of bytes, f16 and bf16, of the warps of a host team, and wgmma, of its warpgroups. */
extern const rlx_jit_emulation emulated_gpu;
/* How that, and AMD's units, add up 16 products of f16 or bf16 and a sum, which nobody specifies: in more than f64, rounded once; in f32, one after
 * another; aligned to the largest term, what lies below its 24 bits cut off. */
typedef enum emulated_rounding { EMULATED_ONCE, EMULATED_IN_ORDER, EMULATED_CUT } emulated_rounding;
extern emulated_rounding emulated_mma_rounds;
/* 16 products to a sum, so. */
float emulated_add_halves(float sum, const float *a, const float *b);
rlx_emulated_fn emulated_mma_f16, emulated_mma_bf16;
/* Whether the last use of tiles ended by releasing them. */
bool emulated_tiles_are_free(void);

/* A CPU of the runtime's feature words ("x86-64-v4+avx512bf16"), to be emulated. */
rlx_jit_target emulated_target(const char *features);
/* A host team of so many invocations, in warps, with mma.sync. */
rlx_jit_target emulated_gpu_target(int invocations);
/* Its like as sm_90a has it, with wgmma. */
rlx_jit_target emulated_hopper_target(int invocations);
/* The same as code for an AMD GPU has it ("gfx942"), with its MFMA or WMMA, in its waves. */
rlx_jit_target emulated_amd_target(const char *processor, int invocations);

#endif
