/* lir/ops/reduce.c: sums or largest elements along the last axis, by halves
 *   in   x T<..xN>, N a power of two      out  T<..>
 *   C1  x has an axis.      C2  its last extent is a power of two.      C3  fn is add or max.
 *   C4  not of bool. */
#include <string.h>

#include "lir/lir_eval.h"

rlx_status rlx_lir_reduce_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_IR_REQUIRE(m, n, "C1", n->in[0]->type.rank >= 1, "reduces a scalar");
    results[0] = n->in[0]->type;
    results[0].dim[--results[0].rank] = 0;
    return RLX_OK;
}

rlx_status rlx_lir_reduce_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->kind == RLX_TYPE_TILE && x->rank >= 1, "reduces %s",
                   rlx_lir_type_text(m, x));
    int64_t extent = x->dim[x->rank - 1];
    RLX_IR_REQUIRE(m, n, "C2", extent > 0 && (extent & (extent - 1)) == 0,
                   "the last extent %lld is not a power of two", (long long)extent);
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    RLX_IR_REQUIRE(m, n, "C3", fn == RLX_FN_ADD || fn == RLX_FN_MAX, "fn is neither add nor max");
    RLX_IR_REQUIRE(m, n, "C4", x->format != RLX_BOOL, "reduces bools");
    return RLX_OK;
}

/* One step of halving: row[k] with row[k + half]. */
static void halve_f32(float *row, int32_t half, bool add)
{
    for (int32_t k = 0; k < half; k++)
        row[k] = add ? row[k] + row[k + half] : row[k] > row[k + half] ? row[k] : row[k + half];
}

static void halve(rlx_format f, void *row, int32_t half, rlx_map_fn fn)
{
    for (int32_t k = 0; k < half; k++) {
        rlx_scalar in[] = {rlx_lir_scalar_load(f, row, k), rlx_lir_scalar_load(f, row, k + half)};
        rlx_lir_scalar_store(f, row, k, rlx_map_fn_eval(fn, f, in));
    }
}

/* Halves each row in place on a copy, then takes its first element. */
rlx_status rlx_lir_reduce_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_tile *x = i->in[0], *r = i->out[0];
    rlx_map_fn fn = (rlx_map_fn)i->fn;
    int32_t n = x->dim[x->rank - 1];
    size_t bytes = rlx_format_bytes(x->format, 1);
    memcpy(i->work[0], x->data, x->bytes);
    for (int32_t row = 0; row < r->elems; row++) {
        uint8_t *at = (uint8_t *)i->work[0] + (size_t)row * (size_t)n * bytes;
        for (int32_t half = n / 2; half >= 1; half /= 2) {
            if (x->format == RLX_F32)
                halve_f32((float *)(void *)at, half, fn == RLX_FN_ADD);
            else
                halve(x->format, at, half, fn);
        }
        memcpy((uint8_t *)r->data + (size_t)row * bytes, at, bytes);
    }
    return e->registers ? rlx_lir_check_reduce(e, i) : RLX_OK;
}
