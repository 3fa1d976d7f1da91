/* lir/ops/if.c: one of two blocks
 *   C1  the condition is a bool scalar.      C2  the blocks have no arguments.
 *   C3  both yield the results' types.       C4  results are tiles, at most 16 of them. */
#include <string.h>

#include "lir/lir_eval.h"

rlx_status rlx_lir_if_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C1", rlx_lir_is_scalar(&n->in[0]->type, RLX_BOOL),
                   "the condition is %s, not a bool scalar", rlx_lir_type_text(m, &n->in[0]->type));
    RLX_IR_REQUIRE(m, n, "C4", n->nout <= RLX_LIR_MAX_CARRIED, "%d results", n->nout);
    for (int i = 0; i < n->nout; i++)
        RLX_TRY(rlx_lir_require_tile(m, n, "C4", &n->out[i]->type));
    for (int i = 0; i < 2; i++) {
        const rlx_ir_block *block = n->blocks[i];
        RLX_IR_REQUIRE(m, n, "C2", block->nargs == 0, "block %d has %d arguments", i, block->nargs);
        RLX_TRY(rlx_lir_require_types(m, n, "C3", i ? "else yields" : "then yields",
                                      block->last->nin, block->last->in, n->nout, n->out));
    }
    return RLX_OK;
}

rlx_status rlx_lir_if_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_code *block = i->code[*(const uint8_t *)i->in[0]->data ? 0 : 1];
    RLX_TRY(rlx_lir_eval_code(e, block));
    for (int k = 0; k < i->nout; k++)
        memcpy(i->out[k]->data, block->yields[k]->data, i->out[k]->bytes);
    return RLX_OK;
}
