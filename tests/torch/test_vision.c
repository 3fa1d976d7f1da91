/* tests/torch/test_vision.c: norms, activations, convolutions, pools, resizes and the stages of
 * encoders and vision models, as vision.py computed them. */
#include "tests/torch/harness.h"

static void record_linear(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static const torch_case cases[] = {
    {"linear", record_linear, 1e-6, NULL},
};

int main(void)
{
    return torch_main("vision", cases, sizeof cases / sizeof *cases);
}
