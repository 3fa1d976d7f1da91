/* tests/torch/cases.h: cases of one stage. */
#ifndef RLX_TESTS_TORCH_CASES_H
#define RLX_TESTS_TORCH_CASES_H

#include "tests/torch/harness.h"

/* A flow of one stage, or of one custom stage, from x to y. */
#define STAGE(name, dims, stage)            \
    static void record_##name(rlx_flow *f)  \
    {                                       \
        torch_input(f, "x", RLX_F32, dims); \
        stage;                              \
        rlx_flow_output(f, "y");            \
    }
#define CUSTOM(name, dims, value)                                            \
    static rlx_value *build_##name(rlx_builder *b, rlx_value *x, void *user) \
    {                                                                        \
        (void)user;                                                          \
        return value;                                                        \
    }                                                                        \
    STAGE(name, dims, rlx_flow_custom(f, #name, build_##name, NULL))
#define W(key) rlx_build_weight(b, key)

#define CASE(name, tolerance)                 \
    {                                         \
#name, record_##name, tolerance, NULL \
    }

#endif
