/* lir/ops/broadcast.c: repeats a tile along new or unit axes
 *   in   x of rank r      out  the written tile: input axis i is result axis axes[i]
 *   C1  the result is a tile of x's format.      C2  axes ascend, one per input axis, below the
 * rank. C3  an input axis has the extent of its result axis. */
#include <string.h>

#include "lir/lir_eval.h"

rlx_status rlx_lir_broadcast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *t = &n->out[0]->type;
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", t));
    RLX_IR_REQUIRE(m, n, "C1", t->format == x->format, "from %s to %s",
                   rlx_format_get(x->format)->name, rlx_format_get(t->format)->name);
    RLX_TRY(rlx_lir_require_axes(m, n, "C2", x->rank, t->rank));
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    for (int i = 0; i < x->rank; i++)
        RLX_IR_REQUIRE(m, n, "C3", x->dim[i] == t->dim[axes->ints[i]],
                       "input axis %d has extent %lld, result axis %lld has %lld", i,
                       (long long)x->dim[i], (long long)axes->ints[i],
                       (long long)t->dim[axes->ints[i]]);
    return RLX_OK;
}

rlx_status rlx_lir_broadcast_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    (void)e;
    const rlx_lir_tile *x = i->in[0], *r = i->out[0];
    size_t bytes = rlx_format_bytes(r->format, 1);
    /* Both as three axes; an axis that repeats has stride 0. */
    int64_t dim[3] = {1, 1, 1}, stride[3] = {0, 0, 0}, step = 1;
    for (int a = 0; a < r->rank; a++)
        dim[3 - r->rank + a] = r->dim[a];
    for (int a = x->rank - 1; a >= 0; a--) {
        stride[3 - r->rank + i->axis[a]] = step;
        step *= x->dim[a];
    }
    uint8_t *to = r->data;
    for (int64_t a = 0; a < dim[0]; a++) {
        for (int64_t b = 0; b < dim[1]; b++) {
            const uint8_t *from =
                (const uint8_t *)x->data + (size_t)(a * stride[0] + b * stride[1]) * bytes;
            for (int64_t c = 0; c < dim[2]; c++, to += bytes)
                memcpy(to, from + (size_t)(c * stride[2]) * bytes, bytes);
        }
    }
    return RLX_OK;
}
