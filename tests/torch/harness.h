/* tests/torch/harness.h: flows against numbers that torch computed.
 *
 * A group is a table of cases and a file tests/torch/GROUP.safetensors, which GROUP.py makes. A
 * case has there CASE/w.KEY      its weights, by the keys that the flow records CASE/in.NAME    its
 * inputs, and CASE/out.NAME   what torch made of them, by the names of the flow's outputs;
 *   CASE/2/in.NAME, CASE/2/out.NAME, CASE/3/...  further runs of the same program, in the same
 * session: symbols take the extents that the inputs of a run have. Every case runs as code for this
 * processor and for x86-64-v3, on ref:mir and ref:lir, and by the evaluator of HIR. All must be as
 * near to torch as the case says; code and the two devices must agree in every bit. With "vulkan" on the command line: on such a device
 * alone, as near. With "sm_80", of NVIDIA's: ptxas alone, which spills none of the kernels. */
#ifndef RLX_TESTS_TORCH_HARNESS_H
#define RLX_TESTS_TORCH_HARNESS_H

#include "frontend/rlx.h"

typedef struct torch_case {
    const char *name;
    void (*record)(rlx_flow *f); /* the whole flow, inputs and outputs included */
    /* |got - want| is at most this times max(1, the largest |want| of the tensor); integers and
     * bools are equal. */
    double tolerance;
    const char *no_hir; /* why rlx_hir_eval cannot run the case (it has state that sessions keep);
                           NULL: it does */
} torch_case;

/* main() of a group: a test per case. Fails, too, when the file has a case that the table lacks. */
int torch_main(int argc, char **argv, const char *group, const torch_case *cases, int n);

/* The dims of "B,3,T" as rlx_flow_input takes them, a word being a symbol of the flow; returns the
 * rank. */
int torch_dims(rlx_flow *f, const char *text, int64_t dims[6]);
/* The tensor that enters the flow. */
void torch_input(rlx_flow *f, const char *name, rlx_format format, const char *dims);

#endif
