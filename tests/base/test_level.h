/* tests/base/test_level.h: a small level of its own, so that the IR core is tested without the real
 * ones. Ops: return, yield, const, map, contract, split, view, region, loop, choose, call, sync. */
#ifndef RLX_TESTS_TEST_LEVEL_H
#define RLX_TESTS_TEST_LEVEL_H

#include "runtime/base/ir/ir.h"

typedef enum test_op {
    TEST_RETURN,
    TEST_YIELD,
    TEST_CONST,    /* {value} of the written type */
    TEST_MAP,      /* {fn}: operands' type */
    TEST_CONTRACT, /* a [M,K], b [N,K] -> [M,N]; C1 ranks are 2, C2 the K agree */
    TEST_SPLIT,    /* x -> x, x */
    TEST_VIEW,     /* {perm, extent, root, lanes}: any type */
    TEST_REGION,   /* isolated: operands become arguments; R1 counts agree */
    TEST_LOOP,     /* lo, hi, carried.. */
    TEST_CHOOSE,   /* condition; two blocks */
    TEST_CALL,     /* {callee}; K1 the callee is there */
    TEST_SYNC,     /* an effect */
    TEST_OP_COUNT
} test_op;

extern const rlx_ir_level test_level;     /* "test": scalars are tensors */
extern const rlx_ir_level test_lir_level; /* "lir": the same ops, scalars are tiles */

#endif
