#include "hir/ops/places.h"

#include <stdio.h>
#include <string.h>

rlx_status rlx_hir_require_places_of(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                     rlx_format f)
{
    const rlx_ir_type *x = &n->in[0]->type;
    const bool fits = rlx_hir_is(n->in[0], f, x->rank) && x->rank >= 3 &&
                      x->rank <= 2 + RLX_MIR_MAX_PLACES && rlx_dim_is_const(x->dim[1]);
    char what[96];
    snprintf(what, sizeof what,
             "x is %s[N,C,S..] with a constant C and one to three axes of places",
             rlx_format_get(f)->name);
    RLX_HIR_REQUIRE_TYPE(m, n, id, fits, 0, what);
    return RLX_OK;
}

rlx_status rlx_hir_require_places(rlx_ir_module *m, const rlx_ir_node *n, const char *id)
{
    return rlx_hir_require_places_of(m, n, id, RLX_F32);
}

/* A list of `count` numbers, each `least` at least; absent: all `absent`. */
static rlx_status read_list(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                            rlx_attr_key key, const char *name, int count, int64_t least,
                            int64_t absent, int64_t *out)
{
    const rlx_attr *a = rlx_ir_attr(n, key);
    for (int i = 0; i < count; i++)
        out[i] = a && i < a->n ? a->ints[i] : absent;
    RLX_IR_REQUIRE(m, n, id, !a || a->n == count, "%d %s for %d", a ? a->n : 0, name, count);
    for (int i = 0; i < count; i++)
        RLX_IR_REQUIRE(m, n, id, out[i] >= least && out[i] <= INT32_MAX, "%s: %lld", name,
                       (long long)out[i]);
    return RLX_OK;
}

rlx_status rlx_hir_read_windows(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                rlx_mir_windows *w)
{
    int64_t pads[2 * RLX_MIR_MAX_PLACES];
    *w = (rlx_mir_windows){.n = n->in[0]->type.rank - 2};
    RLX_TRY(read_list(m, n, id, RLX_ATTR_STRIDES, "strides", w->n, 1, 1, w->step));
    RLX_TRY(read_list(m, n, id, RLX_ATTR_DILATIONS, "dilations", w->n, 1, 1, w->dilation));
    RLX_TRY(read_list(m, n, id, RLX_ATTR_PADS, "pads", 2 * w->n, 0, 0, pads));
    memcpy(w->low, pads, sizeof *pads * (size_t)w->n);
    memcpy(w->high, pads + w->n, sizeof *pads * (size_t)w->n);
    return RLX_OK;
}

rlx_mir_windows rlx_hir_get_windows(const rlx_ir_node *n, const int64_t *sizes)
{
    rlx_mir_windows w;
    rlx_status_free(rlx_hir_read_windows(NULL, n, "", &w)); /* it was verified */
    memcpy(w.size, sizes, sizeof *sizes * (size_t)w.n);
    return w;
}

rlx_status rlx_hir_count_windows(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                 const rlx_mir_windows *w, rlx_ir_type *y)
{
    *y = n->in[0]->type;
    for (int i = 0; i < w->n; i++) {
        y->dim[2 + i] = rlx_mir_count_windows(m->dims, w, i, y->dim[2 + i]);
        RLX_IR_REQUIRE(m, n, id, y->dim[2 + i] != RLX_DIM_INVALID,
                       "axis %d holds no window of %lld, %lld apart, with pads of %lld and %lld",
                       2 + i, (long long)w->size[i], (long long)w->dilation[i],
                       (long long)w->low[i], (long long)w->high[i]);
    }
    return RLX_OK;
}

rlx_hir_cube rlx_hir_cube_of(int n, const int64_t *d, int64_t absent)
{
    rlx_hir_cube c;
    for (int i = 0; i < RLX_MIR_MAX_PLACES; i++)
        c.d[i] = i < n ? d[i] : absent;
    return c;
}

rlx_hir_cube rlx_hir_cube_at(rlx_hir_cube extent, int64_t i)
{
    rlx_hir_cube at;
    for (int axis = RLX_MIR_MAX_PLACES - 1; axis >= 0; axis--) {
        at.d[axis] = i % extent.d[axis];
        i /= extent.d[axis];
    }
    return at;
}

int64_t rlx_hir_cube_index(rlx_hir_cube extent, rlx_hir_cube at)
{
    int64_t index = 0;
    for (int axis = 0; axis < RLX_MIR_MAX_PLACES; axis++) {
        if (at.d[axis] < 0 || at.d[axis] >= extent.d[axis])
            return -1;
        index = index * extent.d[axis] + at.d[axis];
    }
    return index;
}
