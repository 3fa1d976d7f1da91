/* runtime/base/ir/exp_poly.h: the one e^x of f32, step by step.
 *
 * Every engine computes it by these operations in this order, each rounded to nearest even, so that
 * all give the same bits. rlx_exp_f32 is the meaning; lir/passes/expand_math.c emits the same:
 *
 *   c = min(x, HI)                             as a map function: a NaN becomes HI
 *   t = add(mul(c, LOG2E), WHOLE)              has no bits for fractions: ties to even
 *   n = sub(t, WHOLE)                          -126 <= n <= 128 from LO on
 *   r = fma(n, -LN2_HI, c)
 *   r = fma(n, -LN2_LO, r)                     c - n*ln 2, |r| <= 0.3466
 *   p = fma(C6, r, C5); p = fma(p, r, C4); ... p = fma(p, r, C0)
 *   b = add(bitcast_i32(p), shl(bitcast_i32(t), 23))   p * 2^n: p in [0.7, 1.42], the result is normal
 *   y = select(le(LO, x), bitcast_f32(b), max(0, x))   below LO 0; of a NaN max gives the NaN
 *
 * 1 + r + C2 r^2 + .. + C6 r^6 is the polynomial of least relative error (3e-9 before its
 * coefficients are rounded) among those that begin so, on |r| <= ln2/2, by Remez's exchange. Result
 * at most 1 ulp off. */
#ifndef RLX_BASE_EXP_POLY_H
#define RLX_BASE_EXP_POLY_H

#define RLX_EXP_LO (-0x1.5d589ep+6f) /* -87.33654; e^LO is just above 2^-126 */
#define RLX_EXP_HI 0x1.62e42ep+6f    /* 88.72283; e^HI is just below 2^128 */
#define RLX_EXP_LOG2E 0x1.715476p+0f
#define RLX_EXP_WHOLE 0x1.8p+23f    /* its last 23 bits are 0 but for one, which shl drops */
#define RLX_EXP_LN2_HI 0x1.62e4p-1f /* 15 bits: n * LN2_HI is exact */
#define RLX_EXP_LN2_LO 0x1.7f7d1cp-20f
#define RLX_EXP_DEGREE 6

/* C0, C1, .. C6 */
#define RLX_EXP_COEFFICIENTS \
    {1.0f, 1.0f, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558f2p-5f, 0x1.123a2p-7f, 0x1.6a23dp-10f}

/* e^x by the sequence above. 0 below LO (so e^-inf is 0), e^HI above HI (so e^inf is finite). A NaN
 * stays one. */
float rlx_exp_f32(float x);

#endif
