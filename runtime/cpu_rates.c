/* runtime/cpu_rates.c: features that are there and do not pay, by a measurement of microseconds. */
#include <immintrin.h>

#include "runtime/cpu.h"

/* Twelve independent chains of an instruction, enough for its latency on two ports; STEPS times.
 * Operands are zeros: denormals would take a detour. The time is in ticks of the CPU's counter. */
enum { STEPS = 40, ROUNDS = 32 };
#define FMA(SUM) "vfmadd231ps %13, %13, %" SUM "\n\t"
#define PAIRS(SUM) "vdpbf16ps %13, %13, %" SUM "\n\t"
#define TIME_LOOP(I)                                                                               \
    const __m512 zero = _mm512_setzero_ps();                                                       \
    __m512 a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero, \
           a8 = zero, a9 = zero, a10 = zero, a11 = zero;                                           \
    int left = STEPS;                                                                              \
    _mm_lfence();                                                                                  \
    const uint64_t start = __rdtsc();                                                              \
    __asm__ volatile("1:\n\t" I("0") I("1") I("2") I("3") I("4") I("5") I("6") I("7") I("8")       \
                         I("9") I("10") I("11") "dec %12\n\tjnz 1b"                                \
                     : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5), "+v"(a6),       \
                       "+v"(a7), "+v"(a8), "+v"(a9), "+v"(a10), "+v"(a11), "+r"(left)              \
                     : "v"(zero)                                                                   \
                     : "cc");                                                                      \
    _mm_lfence();                                                                                  \
    return __rdtsc() - start

__attribute__((target("avx512f"))) static uint64_t time_fma(void)
{
    TIME_LOOP(FMA);
}

__attribute__((target("avx512f"))) static uint64_t time_pairs(void)
{
    TIME_LOOP(PAIRS);
}

/* Interrupts and neighbours only make a round longer, and the first ones find half of the registers
 * asleep: in turns, the shortest of each. */
bool rlx_cpu_pairs_pay(void)
{
    uint64_t fma = UINT64_MAX, pairs = UINT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t f = time_fma(), p = time_pairs();
        fma = f < fma ? f : fma;
        pairs = p < pairs ? p : pairs;
    }
    /* Rates are half, one or two times each other's; alike is not worth another rounding. */
    return 2 * fma * 10 > 14 * pairs;
}
