/* mir/lower/lower_index.c: indices as linear forms, so that views become arithmetic on indices.
 *
 * Merging axes multiplies and adds; splitting an index by an extent D separates the terms whose
 * coefficient D divides from those that provably stay below D. */
#include "mir/lower/lower.h"

coord coord_const(int64_t off)
{
    return (coord){.off = off};
}

coord coord_extent(kernel_cx *k, rlx_dim extent)
{
    return rlx_dim_is_const(extent) ? coord_const(extent) : coord_of(k_extent(k, extent), 0, -1);
}

coord coord_of(rlx_ir_value *value, int64_t range, int axis)
{
    return (coord){.n = 1, .term = {{.value = value, .coef = 1, .range = range, .axis = axis}}};
}

coord coord_scaled(rlx_ir_value *value, int64_t coef, int64_t range)
{
    return (coord){.n = 1, .term = {{.value = value, .coef = coef, .range = range, .axis = -1}}};
}

static void add_term(coord *c, term t)
{
    if (c->n < 0)
        return;
    for (int i = 0; i < c->n; i++) {
        if (c->term[i].value != t.value || c->term[i].axis != t.axis)
            continue;
        c->term[i].coef += t.coef;
        if (c->term[i].coef == 0)
            c->term[i] = c->term[--c->n];
        return;
    }
    if (c->n == MAX_TERMS)
        c->n = -1;
    else
        c->term[c->n++] = t;
}

coord coord_add(coord a, coord b)
{
    a.off += b.off;
    if (b.n < 0)
        a.n = -1;
    for (int i = 0; i < b.n; i++)
        add_term(&a, b.term[i]);
    return a;
}

coord coord_sub(coord a, coord b)
{
    a.off -= b.off;
    for (int i = 0; i < b.n && a.n >= 0; i++) {
        bool found = false;
        for (int j = 0; j < a.n && !found; j++) {
            if (a.term[j].value == b.term[i].value && a.term[j].coef == b.term[i].coef &&
                a.term[j].axis == b.term[i].axis) {
                a.term[j] = a.term[--a.n];
                found = true;
            }
        }
        if (!found)
            a.n = -1;
    }
    return a;
}

int coord_axis(const coord *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->term[i].axis >= 0)
            return c->term[i].axis;
    return -1;
}

bool coord_equal(const coord *a, const coord *b)
{
    coord d = coord_sub(*a, *b);
    return d.n == 0 && d.off == 0 && a->n == b->n;
}

coord coord_mul(coord c, int64_t by)
{
    if (by != 1 && coord_axis(&c) >= 0)
        c.n = -1; /* a strided tile axis */
    c.off *= by;
    for (int i = 0; i < c.n; i++)
        c.term[i].coef *= by;
    return c;
}

/* c -> quotient and remainder by d, when the terms allow to tell. */
static bool coord_split(const coord *c, int64_t d, coord *quotient, coord *remainder)
{
    *quotient = coord_const(c->off / d);
    *remainder = coord_const(c->off % d);
    int64_t most = c->off % d;
    if (c->n < 0 || c->off < 0)
        return false;
    for (int i = 0; i < c->n; i++) {
        term t = c->term[i];
        if (t.coef % d == 0 && t.axis < 0) {
            t.coef /= d;
            quotient->term[quotient->n++] = t;
        } else {
            if (t.range == 0)
                return false;
            most += (t.range - 1) * t.coef;
            remainder->term[remainder->n++] = t;
        }
    }
    return most < d;
}

static rlx_status cannot(const char *place, const rlx_dims *dims, const rlx_ir_type *from,
                         const rlx_ir_type *to)
{
    rlx_text t = {0};
    rlx_ir_type_print(dims, from, &t);
    rlx_text_put(&t, " as ");
    rlx_ir_type_print(dims, to, &t);
    rlx_status s = RLX_FAIL(RLX_UNSUPPORTED, "cannot lower the view of %s inside a kernel at %s",
                            t.data ? t.data : "?", place ? place : "an unnamed place");
    rlx_text_deinit(&t);
    return s;
}

/* One group of axes with equal products: from[i0..i1) and to[j0..j1). */
static bool reshape_group(const rlx_ir_type *from, const coord *c, int i0, int i1,
                          const rlx_ir_type *to, coord *out, int j0, int j1)
{
    coord lin = coord_const(0);
    for (int i = i0; i < i1; i++) {
        if (i > i0) {
            if (!rlx_dim_is_const(from->dim[i]))
                return false;
            lin = coord_mul(lin, from->dim[i]);
        }
        lin = coord_add(lin, c[i]);
    }
    for (int j = j1 - 1; j > j0; j--) {
        coord q, r;
        if (!rlx_dim_is_const(to->dim[j]) || !coord_split(&lin, to->dim[j], &q, &r))
            return false;
        out[j] = r;
        lin = q;
    }
    if (j1 > j0)
        out[j0] = lin;
    return lin.n >= 0;
}

rlx_status coord_reshape(rlx_dims *dims, const rlx_ir_type *from, const coord *c,
                         const rlx_ir_type *to, coord *out, const char *place)
{
    int i = 0, j = 0;
    while (i < from->rank || j < to->rank) {
        int i0 = i, j0 = j;
        if (i < from->rank && j < to->rank && from->dim[i] == to->dim[j]) {
            out[j++] = c[i++];
            continue;
        }
        /* grow the smaller side until both products agree; symbolic axes only pair up as they are
         */
        int64_t p = 1, q = 1;
        do {
            bool left = (p < q || j >= to->rank) && i < from->rank;
            if (!left && j >= to->rank)
                return cannot(place, dims, from, to);
            rlx_dim d = left ? from->dim[i++] : to->dim[j++];
            if (!rlx_dim_is_const(d))
                return cannot(place, dims, from, to);
            *(left ? &p : &q) *= d;
        } while (p != q);
        /* trailing axes of 1 may carry the tile: nothing else would take their coordinate */
        while (j == to->rank && i < from->rank && from->dim[i] == 1)
            i++;
        if (!reshape_group(from, c, i0, i, to, out, j0, j))
            return cannot(place, dims, from, to);
    }
    return RLX_OK;
}

rlx_ir_value *k_const(kernel_cx *k, int64_t v)
{
    return v >= 0 ? k_extent(k, v) : rlx_lir_build_const_i64(k->b, v);
}

rlx_ir_value *k_extent(kernel_cx *k, rlx_dim d)
{
    for (int i = 0; i < k->nconsts; i++) {
        const rlx_ir_node *n = k->consts[i]->def;
        bool same = rlx_dim_is_const(d)
                        ? n->op == RLX_LIR_CONST && rlx_ir_attr_int(n, RLX_ATTR_IVALUE, 0) == d
                        : n->op == RLX_LIR_EXTENT && rlx_ir_attr_int(n, RLX_ATTR_EXTENT, 0) == d;
        if (same)
            return k->consts[i];
    }
    rlx_ir_value *v = rlx_lir_build_extent(&k->top, d);
    if (!v) {
        rlx_ir_builder_fail(k->b, rlx_ir_builder_finish(&k->top));
        return NULL;
    }
    if (k->nconsts == k->cap_consts) {
        int cap = k->cap_consts ? 2 * k->cap_consts : 16;
        rlx_ir_value **more = RLX_NEW_ARRAY(k->arena, rlx_ir_value *, cap);
        if (!more) {
            rlx_ir_builder_fail(k->b, RLX_OOM());
            return NULL;
        }
        for (int i = 0; i < k->nconsts; i++)
            more[i] = k->consts[i];
        k->consts = more;
        k->cap_consts = cap;
    }
    k->consts[k->nconsts++] = v;
    return v;
}

rlx_ir_value *k_index(kernel_cx *k, const coord *c)
{
    rlx_ir_value *sum = NULL;
    for (int i = 0; i < c->n; i++) {
        rlx_ir_value *v = c->term[i].value;
        if (c->term[i].coef != 1)
            v = rlx_lir_build_map2(k->b, RLX_FN_MUL, v, k_const(k, c->term[i].coef));
        sum = sum ? rlx_lir_build_map2(k->b, RLX_FN_ADD, sum, v) : v;
    }
    if (!sum)
        return k_const(k, c->off);
    return c->off ? rlx_lir_build_map2(k->b, RLX_FN_ADD, sum, k_const(k, c->off)) : sum;
}

rlx_ir_value *k_limit(kernel_cx *k, const coord *c, const tile_space *ts)
{
    int axis = coord_axis(c);
    if (axis < 0 || !ts->limit[axis])
        return NULL;
    /* root < limit, so index < index - root + limit; the root's own term cancels */
    coord rest = coord_sub(*c, coord_of(ts->root[axis], 0, axis));
    if (rest.n < 0) {
        rlx_ir_builder_fail(k->b, RLX_FAIL(RLX_INTERNAL, "a tile axis without its root index"));
        return NULL;
    }
    if (rest.n == 0 && rest.off == 0)
        return ts->limit[axis];
    rlx_ir_value *base = k_index(k, &rest);
    return rlx_lir_build_map2(k->b, RLX_FN_ADD, base, ts->limit[axis]);
}

int64_t k_upper(const kernel_cx *k, rlx_dim d)
{
    return rlx_dim_upper(k->dims, d, k->options->upper);
}

rlx_ir_value *k_hold_index(kernel_cx *k, rlx_ir_value *v, rlx_dim extent)
{
    rlx_ir_value *last = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_extent(k, extent), k_const(k, 1));
    v = rlx_lir_build_map2(k->b, RLX_FN_MIN, v, last);
    return rlx_lir_build_map2(k->b, RLX_FN_MAX, v, k_const(k, 0));
}

static bool has_remainder(const kernel_cx *k, rlx_dim d)
{
    if (rlx_dim_is_const(d))
        return false;
    const rlx_dim_node n = rlx_dim_get(k->dims, d);
    if (n.op == RLX_DIM_SYMBOL)
        return false;
    return n.op == RLX_DIM_MOD || has_remainder(k, n.a) || has_remainder(k, n.b);
}

bool k_may_be_empty(const kernel_cx *k, rlx_dim extent)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    return !rlx_dim_is_const(extent) &&
           (has_remainder(k, extent) || rlx_dim_eval(k->dims, extent, none) == 0);
}
