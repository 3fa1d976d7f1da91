/* lir/ops/cast.c: the same numbers in another format
 *   in   x of any format      out  the shape, in the written format
 *   A float that becomes an integer is cut off and must fit; an integer wraps.
 *   C1  the result is a tile of x's shape.      C2  not to bool (a comparison says what is true).
 */
#include <math.h>

#include "lir/lir_eval.h"

rlx_status rlx_lir_cast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_shape_equal(t, &n->in[0]->type), "casts %s to %s",
                   rlx_lir_type_text(m, &n->in[0]->type), rlx_lir_type_text(m, t));
    RLX_IR_REQUIRE(m, n, "C2", t->format != RLX_BOOL || n->in[0]->type.format == RLX_BOOL,
                   "casts %s to bool", rlx_format_get(n->in[0]->type.format)->name);
    return RLX_OK;
}

/* Integers that `f` holds; false for what it does not, NaN included. */
static bool fits_int(rlx_format f, double v)
{
    const rlx_format_info *info = rlx_format_get(f);
    bool is_unsigned = info->kind != RLX_KIND_INT;
    double span = ldexp(1, info->block_bytes * 8 - !is_unsigned);
    return v < span && v >= (is_unsigned ? 0 : -span);
}

/* v is held as signed bits; of u64 they are a number of their own. */
static double as_double(rlx_format f, int64_t v)
{
    return f == RLX_U64 ? (double)(uint64_t)v : (double)v;
}

static float as_float(rlx_format f, int64_t v)
{
    return f == RLX_U64 ? (float)(uint64_t)v : (float)v;
}

static bool cast_element(const rlx_lir_tile *from, const rlx_lir_tile *to, int32_t k)
{
    rlx_scalar v = rlx_lir_scalar_load(from->format, from->data, k);
    bool from_float = rlx_format_is_float(from->format);
    if (rlx_format_is_float(to->format)) {
        if (!from_float && to->format == RLX_F32)
            ((float *)to->data)[k] = as_float(from->format, v.i); /* one rounding, even from i64 */
        else
            rlx_lir_scalar_store(
                to->format, to->data, k,
                (rlx_scalar){.f = from_float ? v.f : as_double(from->format, v.i)});
        return true;
    }
    if (from_float) {
        v.f = trunc(v.f);
        if (!fits_int(to->format, v.f))
            return false;
        v.i = to->format == RLX_U64 ? (int64_t)(uint64_t)v.f : (int64_t)v.f;
    }
    rlx_lir_scalar_store(to->format, to->data, k, v);
    return true;
}

rlx_status rlx_lir_cast_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_tile *from = i->in[0], *to = i->out[0];
    if (rlx_format_is_float(from->format) && rlx_format_is_float(to->format)) {
        rlx_lir_convert(to->data, to->format, 1, from->data, from->format, 1, to->elems);
        return RLX_OK;
    }
    for (int32_t k = 0; k < to->elems; k++) {
        if (!cast_element(from, to, k))
            return RLX_LIR_EVAL_FAIL(e, i, "element %d, %s, does not fit %s", k,
                                     rlx_lir_element_text(e, from, k),
                                     rlx_format_get(to->format)->name);
    }
    return RLX_OK;
}
