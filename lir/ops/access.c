/* lir/ops/access.c: what load and store have in common
 *   C1  the first operand is a buffer, the tile is a tile.
 *   C2  one i64 index per buffer axis, then one i64 limit per entry of limits.
 *   C3  axes ascend, one per tile axis, below the buffer's rank.
 *   C4  limits name tile axes, ascending.
 *   C5  a tile axis without limit is no longer than the constant extent it runs along. */
#include "lir/ops/access.h"

#include <inttypes.h>

rlx_status rlx_lir_verify_access(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_type *tile,
                                 int first_index)
{
    const rlx_ir_type *buffer = &n->in[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", buffer->kind == RLX_TYPE_BUFFER, "operand 0 is %s, not a buffer",
                   rlx_lir_type_text(m, buffer));
    RLX_TRY(rlx_lir_require_tile(m, n, "C1", tile));
    const rlx_attr *limits = rlx_ir_attr(n, RLX_ATTR_LIMITS);
    int nlimits = limits ? limits->n : 0;
    RLX_IR_REQUIRE(m, n, "C2", n->nin == first_index + buffer->rank + nlimits,
                   "%d operands behind the buffer's, expected %d indices and %d limits",
                   n->nin - first_index, buffer->rank, nlimits);
    for (int i = first_index; i < n->nin; i++)
        RLX_TRY(rlx_lir_require_index(m, n, "C2", i));
    RLX_TRY(rlx_lir_require_axes(m, n, "C3", tile->rank, buffer->rank));
    bool limited[RLX_MAX_RANK] = {false};
    for (int i = 0; i < nlimits; i++) {
        int64_t axis = limits->ints[i];
        RLX_IR_REQUIRE(m, n, "C4", axis >= (i ? limits->ints[i - 1] + 1 : 0) && axis < tile->rank,
                       "limits must ascend and lie below the tile's rank %d", tile->rank);
        limited[axis] = true;
    }
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    for (int i = 0; i < tile->rank; i++) {
        rlx_dim extent = buffer->dim[axes->ints[i]];
        RLX_IR_REQUIRE(m, n, "C5",
                       limited[i] || !rlx_dim_is_const(extent) || tile->dim[i] <= extent,
                       "tile axis %d has %lld elements, the buffer %lld along it", i,
                       (long long)tile->dim[i], (long long)extent);
    }
    return RLX_OK;
}

static rlx_status check_bytes(rlx_lir_eval *e, const rlx_lir_instr *i, const rlx_lir_span *s)
{
    const rlx_lir_memory *b = i->memory;
    int64_t last = s->first;
    for (int a = 0; a < 3; a++)
        last += (s->count[a] - 1) * s->stride[a];
    size_t end = (size_t)(last / b->block_elems + 1) * b->elem_bytes;
    if (end > b->bytes)
        return RLX_LIR_EVAL_FAIL(e, i, "touches byte %zu of a buffer that has %zu", end, b->bytes);
    return RLX_OK;
}

rlx_status rlx_lir_access_span(rlx_lir_eval *e, const rlx_lir_instr *i, const rlx_lir_tile *tile,
                               rlx_lir_span *s)
{
    const rlx_lir_memory *b = i->memory;
    *s = (rlx_lir_span){.count = {1, 1, 1}, .dim = {1, 1, 1}, .whole = true};
    int64_t length[RLX_MAX_RANK]; /* touched along each buffer axis */
    for (int x = 0; x < b->rank; x++)
        length[x] = 1;
    for (int a = 0; a < tile->rank; a++) {
        int at = 3 - tile->rank + a, x = i->axis[a];
        s->dim[at] = s->count[at] = tile->dim[a];
        s->stride[at] = b->stride[x];
        if (i->limit[a] >= 0) {
            int64_t left =
                rlx_lir_index(i->in[i->limit[a]]) - rlx_lir_index(i->in[i->first_index + x]);
            if (left < s->count[at]) {
                s->count[at] = left > 0 ? left : 0;
                s->whole = false;
            }
        }
        length[x] = s->count[at];
    }
    if (s->count[0] == 0 || s->count[1] == 0 || s->count[2] == 0)
        return RLX_OK;
    for (int x = 0; x < b->rank; x++) {
        int64_t index = rlx_lir_index(i->in[i->first_index + x]);
        if (index < 0 || index + length[x] > b->extent[x])
            return RLX_LIR_EVAL_FAIL(e, i,
                                     "touches %" PRId64 "..%" PRId64
                                     " of axis %d, which has %" PRId64 " live elements",
                                     index, index + length[x] - 1, x, b->extent[x]);
        s->first += index * b->stride[x];
    }
    return check_bytes(e, i, s);
}
