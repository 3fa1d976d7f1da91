/* lir/ops/for.c: a loop with carried tiles
 *   in  lo, hi i64 scalars; initial values      out  the carried values after the last round
 *   C1  lo and hi are i64 scalars.      C2  step is there and at least 1.
 *   C3  block arguments: the i64 index, then values of the initial values' types.
 *   C4  the block yields the same types.     C5  carried values are tiles, at most 16 of them. */
#include <string.h>

#include "lir/lir_eval.h"

static rlx_status check_results(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_IR_REQUIRE(m, n, "C4", n->nout == n->nin - 2, "%d results for %d carried values", n->nout,
                   n->nin - 2);
    return RLX_OK;
}

rlx_status rlx_lir_for_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(check_results(m, n));
    for (int i = 2; i < n->nin; i++)
        results[i - 2] = n->in[i]->type;
    return RLX_OK;
}

rlx_status rlx_lir_for_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(check_results(m, n));
    for (int i = 0; i < 2; i++)
        RLX_TRY(rlx_lir_require_index(m, n, "C1", i));
    RLX_IR_REQUIRE(m, n, "C2", rlx_ir_attr_int(n, RLX_ATTR_STEP, 0) >= 1, "step is %lld",
                   (long long)rlx_ir_attr_int(n, RLX_ATTR_STEP, 0));
    RLX_IR_REQUIRE(m, n, "C5", n->nin - 2 <= RLX_LIR_MAX_CARRIED, "carries %d values", n->nin - 2);
    for (int i = 2; i < n->nin; i++)
        RLX_TRY(rlx_lir_require_tile(m, n, "C5", &n->in[i]->type));
    const rlx_ir_block *body = n->blocks[0];
    RLX_IR_REQUIRE(m, n, "C3", body->nargs >= 1 && rlx_lir_is_scalar(&body->args[0]->type, RLX_I64),
                   "the first block argument is not an i64 scalar");
    RLX_TRY(rlx_lir_require_types(m, n, "C3", "block arguments behind the index", body->nargs - 1,
                                  body->args + 1, n->nin - 2, n->in + 2));
    return rlx_lir_require_types(m, n, "C4", "yield", body->last->nin, body->last->in, n->nin - 2,
                                 n->in + 2);
}

/* The loop's results live where its carried arguments do (lir_eval_prepare.c). */
rlx_status rlx_lir_for_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_code *body = i->code[0];
    int64_t lo = rlx_lir_index(i->in[0]), hi = rlx_lir_index(i->in[1]);
    int64_t step = rlx_ir_attr_int(i->node, RLX_ATTR_STEP, 1);
    for (int k = 0; k < body->nyields; k++)
        memcpy(body->args[1 + k]->data, i->in[2 + k]->data, i->in[2 + k]->bytes);
    for (int64_t index = lo; index < hi; index += step) {
        *(int64_t *)body->args[0]->data = index;
        RLX_TRY(rlx_lir_eval_code(e, body));
        for (int k = 0; k < body->nyields; k++) {
            if (body->stage[k])
                memcpy(body->stage[k], body->yields[k]->data, body->yields[k]->bytes);
        }
        for (int k = 0; k < body->nyields; k++) {
            const void *from = body->stage[k] ? body->stage[k] : body->yields[k]->data;
            if (from != body->args[1 + k]->data)
                memcpy(body->args[1 + k]->data, from, body->yields[k]->bytes);
        }
    }
    return RLX_OK;
}
