/* lir/ops/map.c: a scalar function on every element
 *   in   tiles of one shape, or scalars that stand for every element      out  the shape; the
 *        operands' format, or bool for comparisons
 *   C1  as many operands as the function takes.      C2  shapes are equal or rank 0.
 *   C3  operands have one format; select's first is bool.
 *   C4  the function is defined on the format. */
#include "lir/ops/ops.h"

static rlx_map_fn fn_of(const rlx_ir_node *n)
{
    return (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
}

/* The operand whose format is that of the arithmetic. */
static const rlx_ir_type *main_operand(const rlx_ir_node *n)
{
    return &n->in[fn_of(n) == RLX_FN_SELECT ? 1 : 0]->type;
}

static rlx_status check_arity(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_map_fn fn = fn_of(n);
    RLX_IR_REQUIRE(m, n, "C1", fn < RLX_FN_COUNT, "has no fn");
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    RLX_IR_REQUIRE(m, n, "C1", n->nin == info->arity, "%s takes %d operands, not %d", info->name,
                   info->arity, n->nin);
    return RLX_OK;
}

rlx_status rlx_lir_map_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(check_arity(m, n));
    const rlx_ir_type *shape = &n->in[0]->type;
    for (int i = 1; i < n->nin && shape->rank == 0; i++)
        shape = &n->in[i]->type;
    results[0] = *shape;
    results[0].format = rlx_map_fn_get(fn_of(n))->to_bool ? RLX_BOOL : main_operand(n)->format;
    return RLX_OK;
}

static bool is_defined(rlx_map_fn fn, rlx_format f)
{
    bool is_float = rlx_format_is_float(f), is_int = rlx_format_is_int(f);
    switch (fn) {
    case RLX_FN_ADD:
    case RLX_FN_SUB:
    case RLX_FN_MUL:
    case RLX_FN_DIV:
    case RLX_FN_MIN:
    case RLX_FN_MAX:
    case RLX_FN_LT:
    case RLX_FN_LE:
        return is_float || is_int;
    case RLX_FN_NEG:
    case RLX_FN_ABS:
        return is_float || rlx_format_get(f)->kind == RLX_KIND_INT;
    case RLX_FN_MOD:
    case RLX_FN_SHL:
        return is_int;
    case RLX_FN_FMA:
    case RLX_FN_SQRT:
    case RLX_FN_RSQRT:
    case RLX_FN_EXP:
    case RLX_FN_ROUND:
        return is_float;
    case RLX_FN_AND:
    case RLX_FN_OR:
        return !is_float;
    case RLX_FN_EQ:
    case RLX_FN_SELECT:
        return true;
    case RLX_FN_COUNT:
        break;
    }
    return false;
}

rlx_status rlx_lir_map_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(check_arity(m, n));
    rlx_map_fn fn = fn_of(n);
    const rlx_ir_type *r = &n->out[0]->type;
    for (int i = 0; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        RLX_IR_REQUIRE(
            m, n, "C2", t->kind == RLX_TYPE_TILE && (t->rank == 0 || rlx_ir_shape_equal(t, r)),
            "operand %d is %s, the result %s", i, rlx_lir_type_text(m, t), rlx_lir_type_text(m, r));
        rlx_format want = fn == RLX_FN_SELECT && i == 0 ? RLX_BOOL : main_operand(n)->format;
        RLX_IR_REQUIRE(m, n, "C3", t->format == want, "operand %d is %s, expected %s", i,
                       rlx_format_get(t->format)->name, rlx_format_get(want)->name);
    }
    RLX_IR_REQUIRE(m, n, "C4", is_defined(fn, main_operand(n)->format), "%s is not defined on %s",
                   rlx_map_fn_get(fn)->name, rlx_format_get(main_operand(n)->format)->name);
    return RLX_OK;
}
