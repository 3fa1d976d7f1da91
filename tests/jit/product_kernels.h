/* tests/jit/product_kernels.h: kernels of dot, dot_panel and outer as text, by the shapes of their tiles: rows of the left side
 * that a limit cuts, codes and scales of every kind. Kernels of a module differ in their `number`. */
#ifndef RLX_TESTS_JIT_PRODUCT_KERNELS_H
#define RLX_TESTS_JIT_PRODUCT_KERNELS_H

#include "tests/jit/subject.h"

typedef struct shape {
    int m, n, k; /* of a tile */
    int group;   /* G */
    int bits;    /* of u8 codes, or of i8 ones; 8: i8 without */
    bool minima;
    bool odd;       /* scales of every kind, infinities and NaNs too */
    bool turned;    /* dot: its rows; of u8 */
    bool is_signed; /* codes are i8 */
    bool raised;    /* panels of i8 codes: the left side, u8 */
} shape;

void put_panel(rlx_text *t, int number, const shape *s);
void put_dot(rlx_text *t, int number, const shape *s);
/* a and b in formats that a load decodes; rows of a limited. */
void put_outer(rlx_text *t, int number, int m, int n, int k);
/* a in groups of `width` elements of each row, from memory or, with an odd number, computed. */
void put_outer_packed(rlx_text *t, int number, int m, int n, int groups, int width);
/* a and b as they are in memory; sums begin with what lies in y. Number 1: K ends 5 elements before
 * its last step does. */
void put_outer_bf16(rlx_text *t, int number, int m, int n, int k, int width);

#endif
