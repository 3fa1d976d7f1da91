/* runtime/cpu.h: what this CPU has (CPUID and the operating system's register state), maskable. */
#ifndef RLX_RUNTIME_CPU_H
#define RLX_RUNTIME_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

/* Feature bits: CPU_FEATURE(NAME, LLVM's name) in cpu_features.def. A level is a set of bits. */
typedef enum rlx_cpu_feature {
#define CPU_FEATURE(NAME, llvm) RLX_CPU_##NAME,
#include "runtime/cpu_features.def"
#undef CPU_FEATURE
    RLX_CPU_FEATURE_COUNT
} rlx_cpu_feature;

typedef struct rlx_cpu {
    uint64_t features; /* 1 << rlx_cpu_feature */
    uint64_t native;   /* those that code for this CPU is made with: without what does not pay */
    int64_t l1_bytes, l2_bytes, l3_bytes; /* data, per core; l3 as seen */
    int cores; /* that the affinity mask and the cgroup's quota give, at least 1 */
    char vendor[16], brand[64];
} rlx_cpu;

/* Asks the machine, once; thread-safe. Uses CPUID and XGETBV, never /proc/cpuinfo's flags, and for
 * `native` a measurement. */
const rlx_cpu *rlx_cpu_host(void);
/* Whether products of bf16 by pairs (AVX512-BF16, which must be there) outrun f32 multiply-adds: some
 * do twice, some are half as fast, and no feature tells. Measures for some 20 microseconds, longer
 * where reading the counter is trapped. */
bool rlx_cpu_pairs_pay(void);
/* Makes a feature set usable by this process: RLX_UNSUPPORTED lists what the CPU lacks. The tile
 * registers of AMX are asked for here, once something is about to use them. */
rlx_status rlx_cpu_enable(uint64_t features);
/* Reads "x86-64-v3", "x86-64-v4", "native" (rlx_cpu.native), with "+name" or "-name" after it ("native,-avx512f",
 * "x86-64-v4+avx512bf16") into a feature set. A feature brings those it needs and takes along those
 * that need it. RLX_INVALID_ARGUMENT names the nearest known word; RLX_UNSUPPORTED when the host
 * lacks a feature asked for (only when `must_run`), or when the set lacks x86-64-v3, the least rlx
 * compiles for. */
rlx_status rlx_cpu_parse(const char *text, bool must_run, uint64_t *features);
/* LLVM's feature string: "+avx2,+fma,...,-avx512f,..." : every bit of the table, on or off. */
void rlx_cpu_llvm_features(uint64_t features, rlx_text *out);
/* "x86-64-v3" or "x86-64-v4", with the extras ("x86-64-v4+avx512vnni"); rlx_cpu_parse reads it. */
void rlx_cpu_describe(uint64_t features, rlx_text *out);
/* "sse3 ssse3 ...": every feature of the set. */
void rlx_cpu_list(uint64_t features, rlx_text *out);

#endif
