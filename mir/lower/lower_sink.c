/* mir/lower/lower_sink.c: where a region's results go.
 *
 * A yielded value is taken apart into leaves: what stands behind reshapes, concats, casts of them
 * and a page_write. Each leaf is evaluated in its own shape; the steps lead its coordinates
 * outwards to memory. */
#include "mir/lower/lower.h"

/* Whether a value is taken apart: a concat is no tile, so what is made of its whole goes with the
 * parts. */
static bool has_parts(const rlx_ir_node *n)
{
    return n && (n->op == RLX_MIR_RESHAPE || n->op == RLX_MIR_CONCAT ||
                 (n->op == RLX_MIR_CAST && value_depends(n->out[0], RLX_MIR_CONCAT)));
}

static rlx_status add_leaves(kernel_cx *k, leaf base, const rlx_ir_value *v, leaf *leaves, int *n)
{
    const rlx_ir_node *d = bound(v) ? NULL : v->def;
    if (has_parts(d)) {
        if (base.nsteps == MAX_STEPS)
            return k_fail(k, d, "too many views behind one result");
        int64_t axis = rlx_ir_attr_int(d, RLX_ATTR_AXIS, 0);
        rlx_dim offset = 0;
        for (int i = 0; i < d->nin; i++) {
            leaf l = base;
            l.step[l.nsteps++] = (sink_step){d, offset};
            RLX_TRY(add_leaves(k, l, d->in[i], leaves, n));
            if (d->op == RLX_MIR_CONCAT)
                offset = rlx_dim_make(k->dims, RLX_DIM_ADD, offset, d->in[i]->type.dim[axis]);
        }
        return RLX_OK;
    }
    base.value = v;
    leaves[(*n)++] = base;
    return RLX_OK;
}

/* How many leaves stand behind a value, or some number above MAX_LEAVES. */
static int count_leaves(const rlx_ir_value *v)
{
    const rlx_ir_node *d = bound(v) ? NULL : v->def;
    int count = 0;
    if (!has_parts(d))
        return 1;
    for (int i = 0; i < d->nin && count <= MAX_LEAVES; i++)
        count += count_leaves(d->in[i]);
    return count;
}

rlx_status sink_leaves(kernel_cx *k, const rlx_ir_value *yielded, rlx_ir_value *buffer,
                       leaf *leaves, int *n)
{
    leaf base = {.result = yielded, .buffer = buffer};
    *n = 0;
    if (yielded->def && yielded->def->op == RLX_MIR_PAGE_WRITE && !bound(yielded)) {
        base.page = yielded->def;
        base.result = yielded->def->in[1];
    }
    if (count_leaves(base.result) >
        MAX_LEAVES) { /* elements tell their parts, where elements are taken */
        base.value = base.result;
        leaves[(*n)++] = base;
        return RLX_OK;
    }
    return add_leaves(k, base, base.result, leaves, n);
}

/* Position pos[t] of sequence seq[t]: pool page and slot. */
static rlx_status page_of(kernel_cx *k, const rlx_ir_node *page, const coord *t, int64_t positions,
                          rlx_ir_value **page_index, rlx_ir_value **slot)
{
    tile_space none = {0};
    rlx_ir_value *pos, *seq, *entry;
    RLX_TRY(tile_at(k, page->in[2], t, &none, &pos));
    RLX_TRY(tile_at(k, page->in[3], t, &none, &seq));
    pos = rlx_lir_build_cast(k->b, pos, RLX_I64);
    seq = rlx_lir_build_cast(k->b, seq, RLX_I64);
    rlx_ir_value *which = rlx_lir_build_map2(k->b, RLX_FN_DIV, pos, k_const(k, positions));
    *slot = rlx_lir_build_map2(k->b, RLX_FN_MOD, pos, k_const(k, positions));
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord at[2] = {coord_of(seq, 0, -1), coord_of(which, 0, -1)};
    RLX_TRY(tile_at(k, page->in[4], at, &none, &entry));
    *page_index = rlx_lir_build_cast(k->b, entry, RLX_I64);
    return *page_index ? RLX_OK : rlx_ir_builder_finish(k->b);
}

static rlx_status store_page(kernel_cx *k, const leaf *l, rlx_ir_value *tile, const coord *c,
                             const tile_space *ts)
{
    if (coord_axis(&c[0]) >= 0)
        return k_fail(k, l->page, "writes one token at a time");
    const char *kind = rlx_ir_attr_text(l->page, RLX_ATTR_KIND, "");
    bool keys = kind[0] == 'k';
    int64_t positions = l->page->in[0]->type.dim[keys ? 3 : 2];
    rlx_ir_value *page, *slot;
    RLX_TRY(page_of(k, l->page, &c[0], positions, &page, &slot));
    coord at[4] = {coord_of(page, 0, -1), c[1]};
    at[keys ? 2 : 3] = c[2];
    at[keys ? 3 : 2] = coord_of(slot, positions, -1);
    return tile_store(k, l->buffer, tile, at, ts);
}

rlx_status sink_store(kernel_cx *k, const leaf *l, const coord *c, const tile_space *ts)
{
    rlx_ir_value *tile;
    RLX_TRY(tile_at(k, l->value, c, ts, &tile));
    coord at[RLX_MAX_RANK], next[RLX_MAX_RANK];
    const rlx_ir_value *v = l->value;
    for (int i = 0; i < v->type.rank; i++)
        at[i] = c[i];
    for (int s = l->nsteps - 1; s >= 0; s--) {
        const rlx_ir_node *n = l->step[s].node;
        const rlx_ir_value *outer = n->out[0];
        if (n->op == RLX_MIR_RESHAPE) {
            RLX_TRY(coord_reshape(k->dims, &v->type, at, &outer->type, next, n->place));
            for (int i = 0; i < outer->type.rank; i++)
                at[i] = next[i];
        } else if (n->op == RLX_MIR_CAST) {
            tile = rlx_lir_build_cast(k->b, tile, outer->type.format);
            if (!tile)
                return rlx_ir_builder_finish(k->b);
        } else {
            int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
            at[axis] = coord_add(at[axis], coord_extent(k, l->step[s].offset));
        }
        v = outer;
    }
    return l->page ? store_page(k, l, tile, at, ts) : tile_store(k, l->buffer, tile, at, ts);
}

static rlx_status loop_last(kernel_cx *k, const leaf *l, coord *c, int axis, rlx_dim extent)
{
    coord base = c[axis];
    bool fixed = rlx_dim_is_const(extent);
    int64_t w = rlx_lir_schedule_width(k->options->target, k_upper(k, extent));
    rlx_lir_scope s;
    rlx_ir_value *hi = k_extent(k, extent);
    rlx_lir_begin_for(k->b, k_const(k, 0), hi, w, 0, NULL, &s);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    tile_space ts = {.rank = 1, .dim = {w}, .root = {s.index[0]}};
    ts.limit[0] = fixed && extent % w == 0 ? NULL : hi;
    c[axis] = coord_add(base, coord_of(s.index[0], fixed ? extent : 0, 0));
    RLX_TRY(sink_store(k, l, c, &ts));
    rlx_lir_end_for(k->b, &s, NULL);
    return rlx_ir_builder_finish(k->b);
}

rlx_status sink_loop(kernel_cx *k, const leaf *l, coord *c, int first, rlx_dim extent)
{
    int rank = l->value->type.rank;
    if (first >= rank) {
        tile_space none = {0};
        return sink_store(k, l, c, &none);
    }
    if (first == rank - 1)
        return loop_last(k, l, c, first, extent);
    coord base = c[first];
    rlx_lir_scope s;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, extent), 1, 0, NULL, &s);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    int64_t range = rlx_dim_is_const(extent) ? extent : 0;
    c[first] = coord_add(base, coord_of(s.index[0], range, -1));
    RLX_TRY(sink_loop_whole(k, l, c, first + 1));
    rlx_lir_end_for(k->b, &s, NULL);
    return rlx_ir_builder_finish(k->b);
}

rlx_status sink_loop_whole(kernel_cx *k, const leaf *l, coord *c, int first)
{
    if (first < l->value->type.rank)
        c[first] = coord_const(0);
    return sink_loop(k, l, c, first, first < l->value->type.rank ? l->value->type.dim[first] : 1);
}
