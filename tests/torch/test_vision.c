/* tests/torch/test_vision.c: norms, activations, convolutions, pools, resizes and the stages of
 * encoders and vision models, as vision.py computed them. */
#include "tests/torch/harness.h"

static void record_linear(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static void record_linear_batch(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static void record_linear_axes(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,2,3,T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static void record_linear_vector(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

/* A norm in front of contractions, maps and a residual behind them, over rows in two axes. */
static void record_swiglu_batch(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,T,9");
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "norm.weight", 1e-5);
    rlx_flow_swiglu(f, "gate.weight", "up.weight", "down.weight");
    rlx_flow_residual_add(f);
    rlx_flow_output(f, "y");
}

static const torch_case cases[] = {
    {"linear", record_linear, 1e-6, NULL},
    {"linear_batch", record_linear_batch, 1e-6, NULL},
    {"linear_axes", record_linear_axes, 1e-6, NULL},
    {"linear_vector", record_linear_vector, 1e-6, NULL},
    {"swiglu_batch", record_swiglu_batch, 2e-6, NULL},
};

int main(void)
{
    return torch_main("vision", cases, sizeof cases / sizeof *cases);
}
