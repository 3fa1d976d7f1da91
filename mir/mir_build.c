/* mir/mir_build.c: named forms of rlx_ir_build. */
#include "mir/mir.h"

enum { LANES = 16 }; /* of every sum that is built here; the fixed order of exact mode */

rlx_ir_value *rlx_mir_build_const(rlx_ir_builder *b, rlx_format f, double value)
{
    rlx_ir_type t = rlx_ir_tensor(f, 0, NULL);
    return rlx_ir_build(b, RLX_MIR_CONST, 0, NULL, 1,
                        (rlx_attr[]){rlx_attr_float(RLX_ATTR_VALUE, value)}, &t);
}

static rlx_ir_value *build_map(rlx_ir_builder *b, rlx_map_fn fn, int n, rlx_ir_value *const *in)
{
    return rlx_ir_build(b, RLX_MIR_MAP, n, in, 1, (rlx_attr[]){rlx_attr_int(RLX_ATTR_FN, fn)},
                        NULL);
}

rlx_ir_value *rlx_mir_build_map1(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    return build_map(b, fn, 1, (rlx_ir_value *[]){x});
}

rlx_ir_value *rlx_mir_build_map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    return build_map(b, fn, 2, (rlx_ir_value *[]){x, y});
}

rlx_ir_value *rlx_mir_build_map3(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y,
                                 rlx_ir_value *z)
{
    return build_map(b, fn, 3, (rlx_ir_value *[]){x, y, z});
}

rlx_ir_value *rlx_mir_build_cast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f)
{
    if (!x || x->type.format == f)
        return x;
    rlx_ir_type t = x->type;
    t.format = f;
    return rlx_ir_build(b, RLX_MIR_CAST, 1, (rlx_ir_value *[]){x}, 0, NULL, &t);
}

rlx_ir_value *rlx_mir_build_reduce(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_FN, fn),
                        rlx_attr_int(RLX_ATTR_AXIS, x ? x->type.rank - 1 : 0),
                        rlx_attr_int(RLX_ATTR_LANES, LANES)};
    return rlx_ir_build(b, RLX_MIR_REDUCE, 1, (rlx_ir_value *[]){x}, 3, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_contract(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w)
{
    return rlx_ir_build(b, RLX_MIR_CONTRACT, 2, (rlx_ir_value *[]){a, w}, 1,
                        (rlx_attr[]){rlx_attr_int(RLX_ATTR_LANES, LANES)}, NULL);
}

rlx_ir_value *rlx_mir_build_contract_chosen(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w,
                                            rlx_ir_value *ids)
{
    return rlx_ir_build(b, RLX_MIR_CONTRACT, 3, (rlx_ir_value *[]){a, w, ids}, 1,
                        (rlx_attr[]){rlx_attr_int(RLX_ATTR_LANES, LANES)}, NULL);
}

rlx_ir_value *rlx_mir_build_contract_in_order(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w)
{
    return rlx_ir_build(b, RLX_MIR_CONTRACT, 2, (rlx_ir_value *[]){a, w}, 1,
                        (rlx_attr[]){rlx_attr_int(RLX_ATTR_LANES, 1)}, NULL);
}

rlx_ir_value *rlx_mir_build_contract_halves(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w,
                                            rlx_ir_value *ids, int64_t width)
{
    const rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_LANES, 1), rlx_attr_int(RLX_ATTR_WIDTH, width)};
    return rlx_ir_build(b, RLX_MIR_CONTRACT, ids ? 3 : 2, (rlx_ir_value *[]){a, w, ids}, 2, attrs,
                        NULL);
}

rlx_ir_node *rlx_mir_build_quantize(rlx_ir_builder *b, rlx_ir_value *x)
{
    return rlx_ir_build_node(b, RLX_MIR_QUANTIZE, 1, (rlx_ir_value *[]){x}, 0, NULL, 4, NULL);
}

rlx_ir_value *rlx_mir_build_contract_q(rlx_ir_builder *b, const rlx_ir_node *q, rlx_ir_value *w,
                                       rlx_ir_value *ids, int64_t lanes)
{
    if (!q || !w)
        return NULL; /* after an earlier error */
    rlx_ir_value *sums = q->out[rlx_format_group(w->type.format) == RLX_MIR_QUANT ? 2 : 3];
    return rlx_ir_build(b, RLX_MIR_CONTRACT_Q, ids ? 5 : 4,
                        (rlx_ir_value *[]){q->out[0], q->out[1], sums, w, ids}, 1,
                        (rlx_attr[]){rlx_attr_int(RLX_ATTR_LANES, lanes)}, NULL);
}

rlx_ir_value *rlx_mir_build_gather(rlx_ir_builder *b, rlx_ir_value *table, rlx_ir_value *ids)
{
    return rlx_ir_build(b, RLX_MIR_GATHER, 2, (rlx_ir_value *[]){table, ids}, 0, NULL, NULL);
}

/* The written type of a view of x. A NULL x comes from an earlier error and is passed on. */
static rlx_ir_type view_type(const rlx_ir_value *x, int rank, const rlx_dim *dims)
{
    return rlx_ir_tensor(x ? x->type.format : RLX_F32, rank, dims);
}

rlx_ir_value *rlx_mir_build_broadcast(rlx_ir_builder *b, rlx_ir_value *x, int rank,
                                      const rlx_dim *dims, const int64_t *axes)
{
    rlx_ir_type t = view_type(x, rank, dims);
    return rlx_ir_build(b, RLX_MIR_BROADCAST, 1, (rlx_ir_value *[]){x}, 1,
                        (rlx_attr[]){rlx_attr_ints(RLX_ATTR_AXES, x ? x->type.rank : 0, axes)}, &t);
}

rlx_ir_value *rlx_mir_build_reshape(rlx_ir_builder *b, rlx_ir_value *x, int rank,
                                    const rlx_dim *dims)
{
    rlx_ir_type t = view_type(x, rank, dims);
    return rlx_ir_build(b, RLX_MIR_RESHAPE, 1, (rlx_ir_value *[]){x}, 0, NULL, &t);
}

rlx_ir_value *rlx_mir_build_transpose(rlx_ir_builder *b, rlx_ir_value *x, const int64_t *perm)
{
    return rlx_ir_build(b, RLX_MIR_TRANSPOSE, 1, (rlx_ir_value *[]){x}, 1,
                        (rlx_attr[]){rlx_attr_ints(RLX_ATTR_PERM, x ? x->type.rank : 0, perm)},
                        NULL);
}

rlx_ir_value *rlx_mir_build_slice(rlx_ir_builder *b, rlx_ir_value *x, int64_t axis, int64_t start,
                                  int64_t size)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_AXIS, axis), rlx_attr_int(RLX_ATTR_START, start),
                        rlx_attr_int(RLX_ATTR_SIZE, size)};
    return rlx_ir_build(b, RLX_MIR_SLICE, 1, (rlx_ir_value *[]){x}, 3, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_slice_step(rlx_ir_builder *b, rlx_ir_value *x, int64_t axis,
                                       int64_t start, int64_t size, int64_t step)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_AXIS, axis), rlx_attr_int(RLX_ATTR_START, start),
                        rlx_attr_int(RLX_ATTR_SIZE, size), rlx_attr_int(RLX_ATTR_STEP, step)};
    return rlx_ir_build(b, RLX_MIR_SLICE, 1, (rlx_ir_value *[]){x}, 4, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_window(rlx_ir_builder *b, rlx_ir_value *x, int64_t axis, int64_t size,
                                   int64_t step, int64_t dilation)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_AXIS, axis), rlx_attr_int(RLX_ATTR_SIZE, size),
                        rlx_attr_int(RLX_ATTR_STEP, step),
                        rlx_attr_int(RLX_ATTR_DILATION, dilation)};
    return rlx_ir_build(b, RLX_MIR_WINDOW, 1, (rlx_ir_value *[]){x}, 4, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_pad(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *fill,
                                int64_t axis, int64_t low, int64_t high)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_AXIS, axis), rlx_attr_int(RLX_ATTR_LOW, low),
                        rlx_attr_int(RLX_ATTR_HIGH, high)};
    return rlx_ir_build(b, RLX_MIR_PAD, 2, (rlx_ir_value *[]){x, fill}, 3, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_iota(rlx_ir_builder *b, rlx_format f, rlx_dim extent)
{
    rlx_ir_type t = rlx_ir_tensor(f, 1, &extent);
    return rlx_ir_build(b, RLX_MIR_IOTA, 0, NULL, 0, NULL, &t);
}

rlx_ir_value *rlx_mir_build_bitcast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f)
{
    if (!x || x->type.format == f)
        return x;
    rlx_ir_type t = rlx_ir_tensor(f, x->type.rank, x->type.dim);
    return rlx_ir_build(b, RLX_MIR_BITCAST, 1, (rlx_ir_value *[]){x}, 0, NULL, &t);
}

rlx_ir_value *rlx_mir_build_fold(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_FN, fn),
                        rlx_attr_int(RLX_ATTR_AXIS, x ? x->type.rank - 1 : 0),
                        rlx_attr_int(RLX_ATTR_LANES, 1)};
    return rlx_ir_build(b, RLX_MIR_REDUCE, 1, (rlx_ir_value *[]){x}, 3, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_order(rlx_ir_builder *b, rlx_ir_value *x, int64_t count, bool largest)
{
    rlx_attr attrs[2];
    int n = 0;
    if (count)
        attrs[n++] = rlx_attr_int(RLX_ATTR_COUNT, count);
    if (largest)
        attrs[n++] = rlx_attr_text(RLX_ATTR_KIND, "largest");
    return rlx_ir_build(b, RLX_MIR_ORDER, 1, &x, n, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_scan(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    rlx_attr attrs[] = {rlx_attr_int(RLX_ATTR_FN, fn),
                        rlx_attr_int(RLX_ATTR_AXIS, x ? x->type.rank - 1 : 0)};
    return rlx_ir_build(b, RLX_MIR_SCAN, 1, (rlx_ir_value *[]){x}, 2, attrs, NULL);
}

rlx_ir_value *rlx_mir_build_scatter(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x,
                                    rlx_ir_value *ids, rlx_ir_value *u)
{
    rlx_attr attr = rlx_attr_int(RLX_ATTR_FN, fn);
    return rlx_ir_build(b, RLX_MIR_SCATTER, 3, (rlx_ir_value *[]){x, ids, u}, fn != RLX_FN_COUNT,
                        &attr, NULL);
}

rlx_ir_value *rlx_mir_build_concat(rlx_ir_builder *b, int n, rlx_ir_value *const *x, int64_t axis)
{
    return rlx_ir_build(b, RLX_MIR_CONCAT, n, x, 1, (rlx_attr[]){rlx_attr_int(RLX_ATTR_AXIS, axis)},
                        NULL);
}

rlx_ir_value *rlx_mir_build_page_write(rlx_ir_builder *b, const char *kind, rlx_ir_value *pool,
                                       rlx_ir_value *x, rlx_ir_value *pos, rlx_ir_value *seq,
                                       rlx_ir_value *table)
{
    return rlx_ir_build(b, RLX_MIR_PAGE_WRITE, 5, (rlx_ir_value *[]){pool, x, pos, seq, table}, 1,
                        (rlx_attr[]){rlx_attr_text(RLX_ATTR_KIND, kind)}, NULL);
}

rlx_ir_value *rlx_mir_build_attention(rlx_ir_builder *b, const rlx_mir_attention *a)
{
    rlx_attr attrs[6] = {rlx_attr_float(RLX_ATTR_SCALE, a->scale)};
    rlx_ir_value *in[9] = {a->q, a->kpool, a->vpool, a->pos, a->seq, a->table};
    int nin = 6, nattrs = 1;
    if (a->window)
        attrs[nattrs++] = rlx_attr_int(RLX_ATTR_WINDOW, a->window);
    if (a->chunk)
        attrs[nattrs++] = rlx_attr_int(RLX_ATTR_CHUNK, a->chunk);
    if (a->block)
        attrs[nattrs++] = rlx_attr_int(RLX_ATTR_BLOCK, a->block);
    if (a->softcap != 0)
        attrs[nattrs++] = rlx_attr_float(RLX_ATTR_SOFTCAP, a->softcap);
    if (a->sinks)
        attrs[nattrs++] = rlx_attr_int(RLX_ATTR_SINKS, 1);
    if (a->kscale)
        in[nin++] = a->kscale;
    if (a->vscale)
        in[nin++] = a->vscale;
    if (a->sinks)
        in[nin++] = a->sinks;
    return rlx_ir_build(b, RLX_MIR_ATTENTION, nin, in, nattrs, attrs, NULL);
}
