/* mir/lower/lower_recur_fold.c: the reduces and contracts of a recurrence's step. */
#include "mir/lower/lower_recur.h"

/* One element of a reduce by tiles along its last axis, each lane being a partial. */
static rlx_status reduce_tiles(recur_cx *x, const rlx_ir_node *n, const coord *row,
                               rlx_ir_value **out)
{
    kernel_cx *k = &x->k;
    const rlx_ir_value *v = n->in[0];
    const rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    const int last = v->type.rank - 1;
    const int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 1), extent = v->type.dim[last];
    rlx_ir_value *hi = k_extent(k, extent), *t;
    tile_space ts = {.rank = 1, .dim = {lanes}};
    x->l.tile = &ts;
    rlx_ir_value *acc = scalar_fold_start(&x->l, fn, v->type.format);
    rlx_lir_scope s;
    rlx_lir_begin_for(k->b, k_const(k, 0), hi, lanes, 1, &acc, &s);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord c[RLX_MAX_RANK];
    copy_coords(row, last, c);
    c[last] = nest_enter(&x->l, &s, s.index[0], extent);
    c[last].term[0].axis = 0;
    ts.root[0] = s.index[0];
    ts.limit[0] = extent % lanes == 0 ? NULL : hi;
    RLX_TRY(nest_overflow(&x->l));
    RLX_TRY(scalar_at(&x->l, v, c, &t));
    rlx_ir_value *next = rlx_lir_build_map2(k->b, fn, s.carried[0], t);
    if (ts.limit[0]) {
        rlx_ir_value *lane = rlx_lir_build_iota(k->b, RLX_I64, 1, &lanes);
        lane = rlx_lir_build_map2(k->b, RLX_FN_ADD, lane, s.index[0]);
        lane = rlx_lir_build_map2(k->b, RLX_FN_LT, lane, hi);
        next = rlx_lir_build_map3(k->b, RLX_FN_SELECT, lane, next, s.carried[0]);
    }
    nest_leave(&x->l);
    rlx_lir_end_for(k->b, &s, &next);
    x->l.tile = NULL;
    *out = rlx_lir_build_reduce(k->b, fn, s.result[0]);
    return rlx_ir_builder_finish(k->b);
}

static bool reduces_by_tiles(const recur_cx *x, const rlx_ir_node *n)
{
    const int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
    return x->rows && !recur_picks(n->in[0]) && rlx_format_is_float(n->in[0]->type.format) &&
           rlx_ir_attr_int(n, RLX_ATTR_LANES, 1) > 1 && (fn == RLX_FN_ADD || fn == RLX_FN_MAX);
}

/* One element of a contract, its partials being numbers (kind columns: tiles). */
static rlx_status contract_lanes(recur_cx *x, const rlx_ir_node *n, const coord *c,
                                 rlx_ir_value **out)
{
    kernel_cx *k = &x->k;
    const int last = n->in[0]->type.rank - 1, own = n->in[1]->type.rank - 2;
    const int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 1),
                  extent = n->in[1]->type.dim[own + 1];
    rlx_ir_value *p[RLX_LIR_MAX_CARRIED];
    coord at[RLX_MAX_RANK], of[RLX_MAX_RANK];
    rlx_lir_scope s;
    if (lanes > RLX_LIR_MAX_CARRIED)
        return k_fail(k, n, "more lanes than a loop carries");
    for (int64_t i = 0; i < lanes; i++)
        p[i] = scalar_fold_start(&x->l, RLX_FN_ADD, RLX_F32);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, extent), lanes, (int)lanes, p, &s);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord k0 = nest_enter(&x->l, &s, s.index[0], extent);
    RLX_TRY(nest_overflow(&x->l));
    for (int64_t i = 0; i < lanes; i++) {
        rlx_ir_value *index = rlx_lir_build_map2(k->b, RLX_FN_ADD, s.index[0], k_const(k, i)), *a,
                     *b;
        rlx_ir_value *live = NULL;
        coord j = coord_add(k0, coord_const(i));
        if (extent % lanes) { /* held inside; what lies behind is not added */
            rlx_ir_value *most = k_const(k, extent - 1);
            live = rlx_lir_build_map2(k->b, RLX_FN_LE, index, most);
            rlx_ir_value *held = rlx_lir_build_map2(k->b, RLX_FN_MIN, index, most);
            if (!held)
                return rlx_ir_builder_finish(k->b);
            j = nest_term(&x->l, held, extent);
        }
        copy_coords(c, last, at);
        copy_coords(c, own, of);
        of[own] = c[last];
        at[last] = of[own + 1] = j;
        RLX_TRY(scalar_at(&x->l, n->in[0], at, &a));
        RLX_TRY(scalar_at(&x->l, n->in[1], of, &b));
        p[i] = rlx_lir_build_map3(k->b, RLX_FN_FMA, a, b, s.carried[i]);
        if (live)
            p[i] = rlx_lir_build_map3(k->b, RLX_FN_SELECT, live, p[i], s.carried[i]);
    }
    nest_leave(&x->l);
    rlx_lir_end_for(k->b, &s, p);
    for (int64_t h = lanes / 2; h > 0; h /= 2)
        for (int64_t i = 0; i < h; i++)
            s.result[i] = rlx_lir_build_map2(k->b, RLX_FN_ADD, s.result[i], s.result[i + h]);
    *out = s.result[0];
    return rlx_ir_builder_finish(k->b);
}

enum { CONTRACT_ROWS = 4 };

/* A vector against several rows of a matrix at once. */
static bool contracts_by_rows(const recur_cx *x, const rlx_ir_node *n)
{
    const int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 1);
    return n->op == RLX_MIR_CONTRACT && x->rows && n->in[0]->type.rank == 1 && lanes > 1 &&
           !recur_picks(n->in[0]) && !recur_picks(n->in[1]) && n->in[1]->type.dim[1] % lanes == 0 &&
           n->in[1]->type.dim[0] % CONTRACT_ROWS == 0;
}

static rlx_status contract_rows(recur_cx *x, const rlx_ir_node *n, const value_part *to)
{
    kernel_cx *k = &x->k;
    const int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 1), rows = n->in[1]->type.dim[0],
                  extent = n->in[1]->type.dim[1];
    const int64_t acc_dims[] = {1, CONTRACT_ROWS, lanes};
    rlx_lir_scope sn, sk;
    rlx_ir_value *a, *w;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, rows), CONTRACT_ROWS, 0, NULL, &sn);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord cn = nest_enter(&x->l, &sn, sn.index[0], rows);
    rlx_ir_value *acc = rlx_lir_build_fill(k->b, RLX_F32, 3, acc_dims, 0);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, extent), lanes, 1, &acc, &sk);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord ck = nest_enter(&x->l, &sk, sk.index[0], extent);
    tile_space ts = {.rank = 2, .dim = {CONTRACT_ROWS, lanes}, .root = {sn.index[0], sk.index[0]}};
    cn.term[0].axis = 0;
    ck.term[0].axis = 1;
    x->l.tile = &ts;
    RLX_TRY(nest_overflow(&x->l));
    RLX_TRY(scalar_at(&x->l, n->in[0], &ck, &a));
    RLX_TRY(scalar_at(&x->l, n->in[1], (coord[]){cn, ck}, &w));
    const int64_t a_dims[] = {1, lanes}, a_axes[] = {1};
    a = rlx_lir_build_broadcast(k->b, a, 2, a_dims, a->type.rank ? a_axes : NULL);
    if (w->type.rank != 2)
        return k_fail(k, n, "rows that are all the same");
    acc = rlx_lir_build_contract(k->b, sk.carried[0], a, w);
    nest_leave(&x->l);
    rlx_lir_end_for(k->b, &sk, &acc);
    acc = rlx_lir_build_reduce(k->b, RLX_FN_ADD, sk.result[0]);
    /* team memory has an axis of 1 in front */
    const int64_t axes[] = {0, 1};
    rlx_lir_build_store(k->b, to->buffer, acc, (rlx_ir_value *[]){k_const(k, 0), sn.index[0]}, axes,
                        NULL);
    nest_leave(&x->l);
    rlx_lir_end_for(k->b, &sn, NULL);
    x->l.tile = NULL;
    return rlx_ir_builder_finish(k->b);
}

rlx_status recur_fold_at(recur_cx *x, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    if (n->op == RLX_MIR_CONTRACT)
        return contract_lanes(x, n, c, out);
    if (reduces_by_tiles(x, n))
        return reduce_tiles(x, n, c, out);
    return scalar_at(&x->l, n->out[0], c, out);
}

/* A reduce or contract with axes, element by element. */
static rlx_status store_folds(recur_cx *x, const rlx_ir_node *n, const value_part *to)
{
    inner_loops a;
    rlx_ir_value *e;
    RLX_TRY(recur_axes_begin(x, &n->out[0]->type, false, &a));
    RLX_TRY(recur_fold_at(x, n, a.c, &e));
    RLX_TRY(scalar_store(&x->l, to, e, a.c));
    return recur_axes_end(x, &a);
}

rlx_status recur_store_fold(recur_cx *x, const rlx_ir_node *n, const value_part *to)
{
    return contracts_by_rows(x, n) ? contract_rows(x, n, to) : store_folds(x, n, to);
}
