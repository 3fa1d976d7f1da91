/* lir/passes/expand_math.c: exp, rsqrt and the functions of runtime/base/ir/math_steps.c to
 * primitives, so that every engine computes the same bits.
 *
 *   %y = map %x {fn=rsqrt}      ->  %r = map %x {fn=sqrt} ; %y = map 1, %r {fn=div}
 *   %y = map %x {fn=exp}        ->  the steps of runtime/base/ir/exp_poly.h, in f32
 *
 * 16-bit formats take exp through f32 and back, as rlx_map_fn_eval does. */
#include "lir/lir.h"
#include "runtime/base/ir/exp_poly.h"
#include "runtime/base/ir/math_steps.h"

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
    rlx_ir_value *lo = scalar(b, RLX_EXP_LO), *whole = scalar(b, RLX_EXP_WHOLE);
    rlx_ir_value *c = rlx_lir_build_map2(b, RLX_FN_MIN, x, scalar(b, RLX_EXP_HI));
    rlx_ir_value *t = rlx_lir_build_map2(b, RLX_FN_MUL, c, scalar(b, RLX_EXP_LOG2E));
    t = rlx_lir_build_map2(b, RLX_FN_ADD, t, whole);
    rlx_ir_value *n = rlx_lir_build_map2(b, RLX_FN_SUB, t, whole);
    rlx_ir_value *r = rlx_lir_build_map3(b, RLX_FN_FMA, n, scalar(b, -RLX_EXP_LN2_HI), c);
    r = rlx_lir_build_map3(b, RLX_FN_FMA, n, scalar(b, -RLX_EXP_LN2_LO), r);
    rlx_ir_value *p = scalar(b, coefficient[RLX_EXP_DEGREE]);
    for (int i = RLX_EXP_DEGREE - 1; i >= 0; i--)
        p = rlx_lir_build_map3(b, RLX_FN_FMA, p, r, scalar(b, coefficient[i]));
    rlx_ir_value *bits = rlx_lir_build_bitcast(b, t, RLX_I32);
    bits = rlx_lir_build_map2(b, RLX_FN_SHL, bits, scalar_i32(b, 23));
    bits = rlx_lir_build_map2(b, RLX_FN_ADD, rlx_lir_build_bitcast(b, p, RLX_I32), bits);
    rlx_ir_value *within = rlx_lir_build_map2(b, RLX_FN_LE, lo, x);
    rlx_ir_value *other = rlx_lir_build_map2(b, RLX_FN_MAX, scalar(b, 0), x); /* 0, or a NaN */
    /* as integers: AVX-512 adds and selects in one */
    other = rlx_lir_build_bitcast(b, other, RLX_I32);
    bits = rlx_lir_build_map3(b, RLX_FN_SELECT, within, bits, other);
    return rlx_lir_build_bitcast(b, bits, RLX_F32);
}

static rlx_ir_value *expand_exp(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_format f = x->type.format;
    x = expand_exp_f32(b, rlx_lir_build_cast(b, x, RLX_F32));
    return x ? rlx_lir_build_cast(b, x, f) : NULL;
}

/* ---- by math_steps.c --------------------------------------------------------------------------
 */

typedef struct step_builder {
    rlx_math_engine engine; /* first: engines are cast back to builders */
    rlx_ir_builder *b;
} step_builder;

static rlx_ir_builder *builder_of(rlx_math_engine *e)
{
    return ((step_builder *)e)->b;
}

static rlx_math_value built(rlx_ir_value *v)
{
    return (rlx_math_value){.format = v ? v->type.format : RLX_F32, .node = v};
}

static rlx_math_value build_constant(rlx_math_engine *e, rlx_format f, double v)
{
    if (!rlx_format_is_float(f))
        return built(rlx_lir_build_fill_int(builder_of(e), f, 0, NULL, (int64_t)v));
    v = f == RLX_F32 ? (double)(float)v : v;
    return built(rlx_lir_build_fill(builder_of(e), f, 0, NULL, v));
}

static rlx_math_value build_map(rlx_math_engine *e, rlx_map_fn fn, int n, const rlx_math_value *in)
{
    rlx_ir_value *x[3];
    for (int i = 0; i < n; i++)
        x[i] = in[i].node;
    rlx_attr attr = rlx_attr_int(RLX_ATTR_FN, fn);
    return built(rlx_ir_build(builder_of(e), RLX_LIR_MAP, n, x, 1, &attr, NULL));
}

static rlx_math_value build_cast(rlx_math_engine *e, rlx_math_value x, rlx_format f)
{
    return built(rlx_lir_build_cast(builder_of(e), x.node, f));
}

static rlx_math_value build_bitcast(rlx_math_engine *e, rlx_math_value x, rlx_format f)
{
    return built(rlx_lir_build_bitcast(builder_of(e), x.node, f));
}

static rlx_ir_value *expand_steps(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    step_builder e = {{build_constant, build_map, build_cast, build_bitcast}, b};
    return rlx_math_steps(&e.engine, fn, built(x)).node;
}

static bool is_expanded(const rlx_ir_node *n)
{
    if (n->op != RLX_LIR_MAP)
        return false;
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    return fn == RLX_FN_EXP || fn == RLX_FN_RSQRT ||
           rlx_math_is_stepped((rlx_map_fn)fn, n->in[0]->type.format);
}

static rlx_ir_value *expand(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    if (rlx_math_is_stepped(fn, x->type.format))
        return expand_steps(b, fn, x);
    return fn == RLX_FN_EXP ? expand_exp(b, x) : expand_rsqrt(b, x);
}

typedef struct expand_walk {
    rlx_pass_cx *cx;
    rlx_ir_func *f;
    bool again;
} expand_walk;

static rlx_status visit(void *user, rlx_ir_node *n)
{
    expand_walk *w = user;
    if (!is_expanded(n))
        return RLX_OK;
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, w->cx->module);
    b.block = n->parent;
    b.before = n;
    b.place = n->place;
    rlx_ir_value *y = expand(&b, fn, n->in[0]);
    RLX_TRY_NOTE(rlx_ir_builder_finish(&b), "expanding %s in @%s", rlx_map_fn_get(fn)->name,
                 w->f->name);
    if (!y->name)
        y->name = n->out[0]->name;
    rlx_ir_replace_uses(w->f->body, n->out[0], y);
    rlx_ir_node_remove(n);
    w->cx->changed = w->again = true;
    return RLX_OK;
}

rlx_status rlx_lir_expand_math(rlx_pass_cx *cx)
{
    for (rlx_ir_func *f = cx->module->first; f; f = f->next) {
        expand_walk w = {.cx = cx, .f = f};
        do { /* steps may hold exp themselves */
            w.again = false;
            if (f->is_kernel)
                RLX_TRY(rlx_ir_walk(f->body, visit, &w));
        } while (w.again);
    }
    return RLX_OK;
}

const rlx_pass rlx_lir_pass_expand_math = {.name = "expand_math", .run = rlx_lir_expand_math};
