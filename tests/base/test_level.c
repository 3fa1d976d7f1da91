#include "tests/base/test_level.h"

#include <string.h>

static rlx_status map_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

static rlx_status map_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_attr *fn = rlx_ir_attr(n, RLX_ATTR_FN);
    RLX_IR_REQUIRE(m, n, "M1", fn, "has no fn");
    int arity = rlx_map_fn_get((rlx_map_fn)fn->i)->arity;
    RLX_IR_REQUIRE(m, n, "M2", n->nin == arity, "has %d operands for %d", n->nin, arity);
    return RLX_OK;
}

static rlx_status contract_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *a = &n->in[0]->type, *b = &n->in[1]->type;
    RLX_IR_REQUIRE(m, n, "C1", a->rank == 2 && b->rank == 2, "operands have ranks %d and %d",
                   a->rank, b->rank);
    results[0] = rlx_ir_tensor(RLX_F32, 2, (rlx_dim[]){a->dim[0], b->dim[0]});
    return RLX_OK;
}

static rlx_status contract_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *a = &n->in[0]->type, *b = &n->in[1]->type;
    RLX_IR_REQUIRE(m, n, "C2", a->dim[1] == b->dim[1], "contracts %lld with %lld",
                   (long long)a->dim[1], (long long)b->dim[1]);
    return RLX_OK;
}

static rlx_status split_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = results[1] = n->in[0]->type;
    return RLX_OK;
}

static rlx_status region_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_block *b = n->blocks[0];
    RLX_IR_REQUIRE(m, n, "R1", b->nargs == n->nin, "has %d arguments for %d operands", b->nargs,
                   n->nin);
    RLX_IR_REQUIRE(m, n, "R2", b->last && b->last->nin == n->nout, "yields not its results");
    return RLX_OK;
}

static rlx_status call_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const char *callee = rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "");
    RLX_IR_REQUIRE(m, n, "K1", rlx_ir_func_find(m, callee), "there is no function @%s", callee);
    return RLX_OK;
}

static const rlx_ir_opinfo ops[TEST_OP_COUNT] = {
    [TEST_RETURN] = {"return", RLX_MANY(0), 0, 0, RLX_TERMINATOR, RLX_ATTR_KEYS(NONE), "", NULL,
                     NULL},
    [TEST_YIELD] = {"yield", RLX_MANY(0), 0, 0, RLX_TERMINATOR, RLX_ATTR_KEYS(NONE), "", NULL,
                    NULL},
    [TEST_CONST] = {"const", 0, 1, 0, RLX_PURE, RLX_ATTR_KEYS(VALUE), "", NULL, NULL},
    [TEST_MAP] = {"map", RLX_MANY(1), 1, 0, RLX_PURE, RLX_ATTR_KEYS(FN), "", map_infer, map_verify},
    [TEST_CONTRACT] = {"contract", 2, 1, 0, RLX_PURE, RLX_ATTR_KEYS(LANES), "", contract_infer,
                       contract_verify},
    [TEST_SPLIT] = {"split", 1, 2, 0, RLX_PURE, RLX_ATTR_KEYS(NONE), "", split_infer, NULL},
    [TEST_VIEW] = {"view", 1, 1, 0, RLX_PURE | RLX_VIEW, RLX_ATTR_KEYS(PERM, ROOT, EXTENT, LANES),
                   "", NULL, NULL},
    [TEST_REGION] = {"region", RLX_MANY(0), RLX_MANY(0), 1, RLX_ISOLATED, RLX_ATTR_KEYS(ROOT), "",
                     NULL, region_verify},
    [TEST_LOOP] = {"loop", RLX_MANY(2), RLX_MANY(0), 1, 0, RLX_ATTR_KEYS(STEP), "", NULL, NULL},
    [TEST_CHOOSE] = {"choose", 1, RLX_MANY(0), 2, 0, RLX_ATTR_KEYS(NONE), "", NULL, NULL},
    [TEST_CALL] = {"call", RLX_MANY(0), RLX_MANY(0), 0, 0, RLX_ATTR_KEYS(CALLEE), "", NULL,
                   call_verify},
    [TEST_SYNC] = {"sync", 0, 0, 0, RLX_EFFECT, RLX_ATTR_KEYS(NONE), "", NULL, NULL},
};

static rlx_status verify_func(rlx_ir_module *m, const rlx_ir_func *f)
{
    (void)m;
    if (strcmp(f->name, "forbidden") == 0)
        return RLX_FAIL(RLX_INVALID_IR, "F1: a function of this name is not allowed");
    return RLX_OK;
}

const rlx_ir_level test_level = {"test", ops, TEST_OP_COUNT, TEST_RETURN, TEST_YIELD, verify_func};
const rlx_ir_level test_lir_level = {"lir",       ops,        TEST_OP_COUNT,
                                     TEST_RETURN, TEST_YIELD, verify_func};
