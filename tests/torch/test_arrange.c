/* tests/torch/test_arrange.c: padding by what is there, rolls, repeats, folds of folds, as arrange.py
 * computed them. */
#include "tests/torch/cases.h"

CUSTOM(pad_reflect, "N,3,5", rlx_build_pad_with(b, x, -1, 4, 2, RLX_PAD_REFLECT))
CUSTOM(pad_edge, "N,3,5", rlx_build_pad_with(b, x, -1, 4, 2, RLX_PAD_EDGE))
CUSTOM(pad_wrap, "N,3,5", rlx_build_pad_with(b, x, -1, 4, 2, RLX_PAD_WRAP))
CUSTOM(pad_reflect_symbol, "N,3,L", rlx_build_pad_with(b, x, 2, 1, 2, RLX_PAD_REFLECT))
CUSTOM(pad_edge_symbol, "N,3,L", rlx_build_pad_with(b, x, 2, 1, 2, RLX_PAD_EDGE))
CUSTOM(pad_wrap_symbol, "N,3,L", rlx_build_pad_with(b, x, 2, 1, 2, RLX_PAD_WRAP))
CUSTOM(roll, "N,5,3", rlx_build_roll(b, x, 1, 3))
CUSTOM(roll_symbol, "N,L,3", rlx_build_roll(b, x, 1, -2))
CUSTOM(tile, "N,4,3", rlx_build_repeat(b, x, 1, 3, false))
CUSTOM(repeat_each, "N,L,3", rlx_build_repeat(b, x, 1, 3, true))
CUSTOM(variance, "N,4,5", rlx_build_variance(b, x, 2, (const int[]){1, 2}))
CUSTOM(log_sum_exp, "N,4,5", rlx_build_log_sum_exp(b, x, 1, (const int[]){-1}))
CUSTOM(log_sum_exp_nan, "N,4,5", rlx_build_log_sum_exp(b, x, 1, (const int[]){-1}))
CUSTOM(roll_far, "N,5,3", rlx_build_roll(b, x, 1, ((int64_t)1 << 53) + 1))

static const torch_case cases[] = {
    CASE(pad_reflect, 0),
    CASE(pad_edge, 0),
    CASE(pad_wrap, 0),
    CASE(pad_reflect_symbol, 0),
    CASE(pad_edge_symbol, 0),
    CASE(pad_wrap_symbol, 0),
    CASE(roll, 0),
    CASE(roll_symbol, 0),
    CASE(tile, 0),
    CASE(repeat_each, 0),
    CASE(variance, 2e-6),
    CASE(log_sum_exp, 2e-6),
    CASE(log_sum_exp_nan, 2e-6),
    CASE(roll_far, 0),
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "arrange", cases, sizeof cases / sizeof *cases);
}
