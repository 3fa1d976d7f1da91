/* tests/flow/tensors.h: f32 tensors of tests' flows: F32("w", data, 3, 4) is data[3][4], lent. */
#ifndef RLX_TESTS_FLOW_TENSORS_H
#define RLX_TESTS_FLOW_TENSORS_H

#include "frontend/rlx.h"
#include "tests/base/suite.h"

static inline rlx_tensor f32_tensor(const char *name, const float *data, int rank,
                                    const int64_t *dims)
{
    rlx_tensor t = {
        .name = name, .format = RLX_F32, .rank = rank, .data = data, .bytes = sizeof *data};
    for (int i = 0; i < rank; i++)
        t.bytes *= (size_t)(t.dim[i] = dims[i]);
    return t;
}
#define F32(name, data, ...)                                                        \
    f32_tensor(name, data, (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), \
               (const int64_t[]){__VA_ARGS__})
/* Such a tensor in a set. */
#define ADD_F32(w, ...) assert_ok(rlx_weights_add(w, (const rlx_tensor[]){F32(__VA_ARGS__)}))

#endif
