/* tests/jit/matrix_kernels.h: kernels of dot_rows as text, for every engine with matrix units: operands out of memory in every way
 * that there is, groups of both sizes, minima, limits. */
#ifndef RLX_TESTS_JIT_MATRIX_KERNELS_H
#define RLX_TESTS_JIT_MATRIX_KERNELS_H

#include "tests/jit/subject.h"

typedef struct matrix_kernel {
    int m, n, k;        /* of a tile; k: elements of a step */
    int depth, columns; /* of the operands */
    const char *format; /* of weights: "i8" are codes as they are, scales beside them */
    bool stored;        /* something is stored between loads and products, so that nothing waits */
    bool deep;          /* the residual comes as rows of one element, whose sums are as they are */
    int stages;         /* of a ring that rows come through; 0: they are read from memory */
} matrix_kernel;
int matrix_kernel_group(const matrix_kernel *k); /* elements that have one scale */

/* Kernels @rows0, @rows1, ..: y = x w^T + bias + column number + residual, of 37 tokens. */
void matrix_kernels_parse(subject *s, const matrix_kernel *which, int n);

#endif
