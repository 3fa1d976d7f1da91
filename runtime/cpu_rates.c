/* runtime/cpu_rates.c: features that are there and do not pay, by a measurement of microseconds. */
#include <immintrin.h>

#include "runtime/cpu.h"

/* Twelve independent chains of an instruction, enough for its latency on two ports. Operands are
 * zeros: denormals would take a detour. The time is in ticks of the CPU's counter. */
enum { STEPS = 40, ROUNDS = 32, WARM = 7, TRAPPED = 500 /* ticks */, MOST = 1 << 17 };
#define FMA(SUM) "vfmadd231ps %13, %13, %" SUM "\n\t"
#define PAIRS(SUM) "vdpbf16ps %13, %13, %" SUM "\n\t"
/* "&": all begin as the operand's zeros, and one that were the operand's register, too, would tie
 * the others to it. */
#define TIME_LOOP(I, N)                                                                            \
    const __m512 zero = _mm512_setzero_ps();                                                       \
    __m512 a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero, \
           a8 = zero, a9 = zero, a10 = zero, a11 = zero;                                           \
    int left = N;                                                                                  \
    _mm_lfence();                                                                                  \
    const uint64_t start = __rdtsc();                                                              \
    __asm__ volatile("1:\n\t" I("0") I("1") I("2") I("3") I("4") I("5") I("6") I("7") I("8")       \
                         I("9") I("10") I("11") "dec %12\n\tjnz 1b"                                \
                     : "+&v"(a0), "+&v"(a1), "+&v"(a2), "+&v"(a3), "+&v"(a4), "+&v"(a5),           \
                       "+&v"(a6), "+&v"(a7), "+&v"(a8), "+&v"(a9), "+&v"(a10), "+&v"(a11),         \
                       "+r"(left)                                                                  \
                     : "v"(zero)                                                                   \
                     : "cc");                                                                      \
    _mm_lfence();                                                                                  \
    return __rdtsc() - start

__attribute__((target("avx512f"))) static uint64_t time_fma(int steps)
{
    TIME_LOOP(FMA, steps);
}

__attribute__((target("avx512f"))) static uint64_t time_pairs(int steps)
{
    TIME_LOOP(PAIRS, steps);
}

/* Interrupts and neighbours only make a round longer, and the first ones find half of the registers
 * asleep: in turns, the shortest of each. What one step takes is taken off, which is mostly reading
 * the counter: where a hypervisor traps that, it takes longer than the rest, and steps are more. */
bool rlx_cpu_pairs_pay(void)
{
    enum { FMA_ONCE, FMA_ALL, PAIRS_ONCE, PAIRS_ALL, NTIMES };
    uint64_t best[NTIMES] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    int steps = STEPS;
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t now[NTIMES] = {time_fma(1), time_fma(steps), time_pairs(1),
                                      time_pairs(steps)};
        for (int k = 0; k < NTIMES; k++)
            best[k] = now[k] < best[k] ? now[k] : best[k];
        if (i == WARM && best[FMA_ONCE] > TRAPPED) {
            steps = best[FMA_ONCE] < MOST ? (int)best[FMA_ONCE] : MOST;
            best[FMA_ALL] = best[PAIRS_ALL] = UINT64_MAX;
        }
    }
    const int64_t fma = (int64_t)(best[FMA_ALL] - best[FMA_ONCE]),
                  pairs = (int64_t)(best[PAIRS_ALL] - best[PAIRS_ONCE]);
    /* Rates are half or two times each other's; alike would not be worth another rounding. */
    return 2 * fma * 10 > 14 * pairs;
}
