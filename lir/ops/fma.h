/* lir/ops/fma.h: loops over fmaf that the processor's own instruction runs where it has one: the
 * same bits, faster. Internal to lir/.
 *
 *   RLX_LIR_FMA_LOOPS(name) { ... }    defines   void name(e, i), whose body is the loops over `i`
 */
#ifndef RLX_LIR_FMA_H
#define RLX_LIR_FMA_H

#include "lir/lir_eval.h"

#if defined(__x86_64__)
#define RLX_LIR_FMA_LOOPS(name)                                                             \
    static inline __attribute__((always_inline)) void name##_loops(const rlx_lir_instr *i); \
    __attribute__((target("avx2,fma"))) static void name##_fma(const rlx_lir_instr *i)      \
    {                                                                                       \
        name##_loops(i);                                                                    \
    }                                                                                       \
    static void name##_plain(const rlx_lir_instr *i)                                        \
    {                                                                                       \
        name##_loops(i);                                                                    \
    }                                                                                       \
    static void name(const rlx_lir_eval *e, const rlx_lir_instr *i)                         \
    {                                                                                       \
        (e->has_fma ? name##_fma : name##_plain)(i);                                        \
    }                                                                                       \
    static inline __attribute__((always_inline)) void name##_loops(const rlx_lir_instr *i)
#else
#define RLX_LIR_FMA_LOOPS(name)                                     \
    static void name##_loops(const rlx_lir_instr *i);               \
    static void name(const rlx_lir_eval *e, const rlx_lir_instr *i) \
    {                                                               \
        (void)e;                                                    \
        name##_loops(i);                                            \
    }                                                               \
    static void name##_loops(const rlx_lir_instr *i)
#endif

#endif
