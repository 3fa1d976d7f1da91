/* tests/hir/env.h: named tensors for evaluators, filled by a seeded generator. */
#ifndef RLX_TESTS_HIR_ENV_H
#define RLX_TESTS_HIR_ENV_H

#include "hir/hir.h"

enum { ENV_TENSORS = 512 };

typedef struct test_env {
    rlx_eval_tensor tensor[ENV_TENSORS];
    int n;
    rlx_dims *dims;
    int64_t symbols[RLX_MAX_SYMBOLS];
    uint64_t seed;
    rlx_eval_env eval;
} test_env;

void env_init(test_env *e, uint64_t seed);
void env_deinit(test_env *e);
/* The live value of a symbol, from now on. */
void env_set(test_env *e, const char *symbol, int64_t value);
/* A zeroed tensor, in place of any that has the name. */
rlx_eval_tensor *env_add(test_env *e, const char *name, rlx_format f, int rank,
                         const int64_t *dims);
/* Floats in -scale..scale, representable in the format. */
rlx_eval_tensor *env_add_random(test_env *e, const char *name, rlx_format f, int rank,
                                const int64_t *dims, double scale);
rlx_eval_tensor *env_add_ints(test_env *e, const char *name, int64_t n, const int32_t *values);
rlx_eval_tensor *env_get(test_env *e, const char *name); /* fails the test when there is none */
/* Element i as the tensor stores it. */
double env_at(const rlx_eval_tensor *t, int64_t i);
int64_t env_elems(const rlx_eval_tensor *t);
/* Every argument of `entry`, and of what it calls for each layer, gets a random tensor unless it
 * has one. */
void env_bind(test_env *e, const rlx_ir_module *m, const char *entry, double scale);
/* Another environment with copies of the same tensors (states are updated in place). */
void env_copy(test_env *to, const test_env *from);
double env_random(test_env *e); /* in -1..1 */

/* Largest |a - b| of two tensors of one shape; fails the test when the shapes differ. */
double env_distance(const rlx_eval_tensor *a, const rlx_eval_tensor *b);

#endif
