/* lir/passes/expand_math.c: exp and rsqrt to primitives, so that every engine computes the same
 * bits.
 *
 *   %y = map %x {fn=rsqrt}      ->  %r = map %x {fn=sqrt} ; %y = map 1, %r {fn=div}
 *   %y = map %x {fn=exp}        ->  the steps of runtime/base/ir/exp_poly.h, in f32
 *
 * 16-bit formats take exp through f32 and back, as rlx_map_fn_eval does; f64 has no polynomial. */
#include "lir/lir.h"
#include "runtime/base/ir/exp_poly.h"

static rlx_ir_value *scalar(rlx_ir_builder *b, double value)
{
    return rlx_lir_build_const_f32(b, value);
}

static rlx_ir_value *scalar_i32(rlx_ir_builder *b, int64_t value)
{
    return rlx_lir_build_fill_int(b, RLX_I32, 0, NULL, value);
}

static rlx_ir_value *expand_rsqrt(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_ir_value *one = rlx_lir_build_fill(b, x->type.format, 0, NULL, 1);
    return rlx_lir_build_map2(b, RLX_FN_DIV, one, rlx_lir_build_map1(b, RLX_FN_SQRT, x));
}

static rlx_ir_value *expand_exp_f32(rlx_ir_builder *b, rlx_ir_value *x)
{
    static const float coefficient[RLX_EXP_DEGREE + 1] = RLX_EXP_COEFFICIENTS;
    rlx_ir_value *lo = scalar(b, RLX_EXP_LO);
    rlx_ir_value *under = rlx_lir_build_map2(b, RLX_FN_LT, x, lo);
    rlx_ir_value *c = rlx_lir_build_map2(b, RLX_FN_MAX, x, lo);
    c = rlx_lir_build_map2(b, RLX_FN_MIN, c, scalar(b, RLX_EXP_HI));
    rlx_ir_value *n = rlx_lir_build_map2(b, RLX_FN_MUL, c, scalar(b, RLX_EXP_LOG2E));
    n = rlx_lir_build_map1(b, RLX_FN_ROUND, n);
    rlx_ir_value *r = rlx_lir_build_map3(b, RLX_FN_FMA, n, scalar(b, -RLX_EXP_LN2_HI), c);
    r = rlx_lir_build_map3(b, RLX_FN_FMA, n, scalar(b, -RLX_EXP_LN2_LO), r);
    rlx_ir_value *p = scalar(b, coefficient[RLX_EXP_DEGREE]);
    for (int i = RLX_EXP_DEGREE - 1; i >= 0; i--)
        p = rlx_lir_build_map3(b, RLX_FN_FMA, p, r, scalar(b, coefficient[i]));
    rlx_ir_value *bits = rlx_lir_build_cast(b, n, RLX_I32);
    bits = rlx_lir_build_map2(b, RLX_FN_SHL, bits, scalar_i32(b, 23));
    bits = rlx_lir_build_map2(b, RLX_FN_ADD, rlx_lir_build_bitcast(b, p, RLX_I32), bits);
    rlx_ir_value *y = rlx_lir_build_bitcast(b, bits, RLX_F32);
    return rlx_lir_build_map3(b, RLX_FN_SELECT, under, scalar(b, 0), y);
}

static rlx_ir_value *expand_exp(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_format f = x->type.format;
    if (f == RLX_F64) {
        rlx_ir_builder_fail(b,
                            RLX_FAIL(RLX_UNSUPPORTED, "exp of f64 tiles: there is no polynomial"));
        return NULL;
    }
    x = expand_exp_f32(b, rlx_lir_build_cast(b, x, RLX_F32));
    return x ? rlx_lir_build_cast(b, x, f) : NULL;
}

typedef struct expand_walk {
    rlx_pass_cx *cx;
    rlx_ir_func *f;
} expand_walk;

static rlx_status visit(void *user, rlx_ir_node *n)
{
    expand_walk *w = user;
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    if (n->op != RLX_LIR_MAP || (fn != RLX_FN_EXP && fn != RLX_FN_RSQRT))
        return RLX_OK;
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, w->cx->module);
    b.block = n->parent;
    b.before = n;
    b.place = n->place;
    rlx_ir_value *y = fn == RLX_FN_EXP ? expand_exp(&b, n->in[0]) : expand_rsqrt(&b, n->in[0]);
    RLX_TRY_NOTE(rlx_ir_builder_finish(&b), "expanding %s in @%s",
                 rlx_map_fn_get((rlx_map_fn)fn)->name, w->f->name);
    if (!y->name)
        y->name = n->out[0]->name;
    rlx_ir_replace_uses(w->f->body, n->out[0], y);
    rlx_ir_node_remove(n);
    w->cx->changed = true;
    return RLX_OK;
}

rlx_status rlx_lir_expand_math(rlx_pass_cx *cx)
{
    for (rlx_ir_func *f = cx->module->first; f; f = f->next) {
        expand_walk w = {.cx = cx, .f = f};
        if (f->is_kernel)
            RLX_TRY(rlx_ir_walk(f->body, visit, &w));
    }
    return RLX_OK;
}

const rlx_pass rlx_lir_pass_expand_math = {.name = "expand_math", .run = rlx_lir_expand_math};
