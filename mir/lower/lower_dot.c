/* mir/lower/lower_dot.c: register tiles of quantized rows against rows of blocks: lanes along K, or one
 * sum, for matrix units.
 *
 *   for k by 256 { codes, scales -> dot; sums, minima -> contract over groups }
 *   for k by 128 { codes, scales, sums, minima -> dot_rows }   rows perhaps through a ring (lower_ring.c)
 *
 * A row of weights is one stream of bytes: its codes, scales and minima are loaded by the step. */
#include "mir/lower/lower_dot.h"

enum { LANES = DOT_LANES };

/* One contraction's sums: of terms, and by lanes of minima when its blocks have any. */
typedef struct sums {
    rlx_ir_value *acc, *less;
} sums;

static bool by_lanes(const dots *d)
{
    return d->g->s.lanes == LANES;
}

/* Products of the step's number, that addresses grow by so much from step to step. */
static rlx_ir_value *first_of(kernel_cx *k, const dots *d, const span *s)
{
    return rlx_lir_build_map2(k->b, RLX_FN_MUL, s->step, k_const(k, d->g->s.k / s->by));
}

rlx_status dot_load_rows(kernel_cx *k, const dots *d, const rlx_ir_value *x, span s,
                         rlx_ir_value **out)
{
    rlx_ir_value *from = first_of(k, d, &s), *m0 = d->at->x0 ? d->at->x0 : d->at->m0;
    coord c[2] = {coord_of(m0, 0, 0), coord_of(from, d->g->k / s.by, 1)};
    tile_space ts = {.rank = 2,
                     .dim = {d->g->s.m, s.width},
                     .root = {m0, from},
                     .limit = {d->at->m_limit, s.padded ? k_const(k, d->g->k / s.by) : NULL}};
    return tile_at(k, x, c, &ts, out);
}

/* The same, from the ring if they are there. */
static rlx_status load_step_rows(kernel_cx *k, const dots *d, const rlx_ir_value *x, span s,
                                 rlx_ir_value **out)
{
    if (d->ring && ring_has(d->ring, x))
        return ring_load(k, d->g, d->ring, x, s.step, out);
    return dot_load_rows(k, d, x, s, out);
}

rlx_status dot_load_weights(kernel_cx *k, const dots *d, const rlx_ir_value *w, const char *what,
                            span s, rlx_ir_value **out)
{
    int64_t dims[2] = {d->g->s.n, s.width}, axes[2];
    rlx_ir_value *index[3];
    group_weight_index(d->g, d->at->n0, first_of(k, d, &s), index, axes);
    rlx_ir_value *limits[2] = {d->at->n_limit, s.padded ? k_const(k, d->g->k / s.by) : NULL};
    if (!bound(w) || bound(w)->kind != BIND_BUFFER)
        return k_fail(k, w->def, "blocks that are not in memory");
    *out = rlx_lir_build_load_part(k->b, bound(w)->lir, what, 2, dims, index, axes, limits);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}

/* The minima of `groups` groups and the sums that they go with; K's last when `ends`. */
static rlx_status load_minima(kernel_cx *k, const dots *d, const rlx_ir_node *n, rlx_ir_value *step,
                              int64_t groups, bool ends, rlx_ir_value **xs, rlx_ir_value **mins)
{
    int64_t by = rlx_format_group(n->in[3]->type.format), lanes = by_lanes(d) ? LANES : 1;
    int64_t width = (groups + lanes - 1) / lanes * lanes;
    span s = {.step = step, .by = by, .width = width, .padded = ends && width != groups};
    RLX_TRY(load_step_rows(k, d, n->in[2], s, xs));
    return dot_load_weights(k, d, n->in[3], "min", s, mins);
}

/* Adds the products of the step's `width` elements; by one sum per output minima, too. */
static rlx_status add_products(kernel_cx *k, const dots *d, const rlx_ir_node *n,
                               rlx_ir_value *step, int64_t width, rlx_ir_value **acc)
{
    rlx_format f = n->in[3]->type.format;
    int64_t by = rlx_format_group(f);
    span elements = {.step = step, .by = 1, .width = width};
    span scales = {.step = step, .by = RLX_MIR_QUANT, .width = width / RLX_MIR_QUANT};
    span groups = {.step = step, .by = by, .width = width / by};
    rlx_ir_value *codes, *scale, *u, *us, *xs = NULL, *mins = NULL;
    RLX_TRY(load_step_rows(k, d, n->in[0], elements, &codes));
    RLX_TRY(load_step_rows(k, d, n->in[1], scales, &scale));
    RLX_TRY(dot_load_weights(k, d, n->in[3], "codes", elements, &u));
    RLX_TRY(dot_load_weights(k, d, n->in[3], "scale", groups, &us));
    if (!by_lanes(d) && rlx_format_has_min(f))
        RLX_TRY(load_minima(k, d, n, step, width / by, false, &xs, &mins));
    const int bits = rlx_format_code_bits(f) % 8;
    *acc = by_lanes(d) ? rlx_lir_build_dot(k->b, bits, *acc, codes, scale, u, us)
                       : rlx_lir_build_dot_rows(k->b, bits, *acc, codes, scale, u, us, xs, mins);
    return rlx_ir_builder_finish(k->b);
}

/* Adds the step's `width` elements, K's last ones when `ends`. */
static rlx_status add_step(kernel_cx *k, const dots *d, const rlx_ir_node *n, rlx_ir_value *step,
                           int64_t width, bool ends, sums *s)
{
    RLX_TRY(add_products(k, d, n, step, width, &s->acc));
    if (!s->less)
        return RLX_OK;
    int64_t groups = width / rlx_format_group(n->in[3]->type.format);
    rlx_ir_value *xs, *mins;
    RLX_TRY(load_minima(k, d, n, step, groups, ends, &xs, &mins));
    s->less = rlx_lir_build_contract(k->b, s->less, xs, mins);
    return rlx_ir_builder_finish(k->b);
}

/* All contractions of the group over the same elements. */
static rlx_status add_steps(kernel_cx *k, const dots *d, rlx_ir_value *step, int64_t width,
                            bool ends, sums *s)
{
    for (int i = 0; i < d->g->ncontracts; i++)
        RLX_TRY(add_step(k, d, d->g->contract[i], step, width, ends, &s[i]));
    return RLX_OK;
}

/* The sums in the order in which a loop carries them; from `set` first, unless it is NULL. */
static int list_sums(const dots *d, sums *s, rlx_ir_value *const *set, rlx_ir_value **list)
{
    int n = 0;
    for (int i = 0; i < d->g->ncontracts; i++) {
        rlx_ir_value **of[2] = {&s[i].acc, &s[i].less};
        for (int j = 0; j < 2; j++) {
            if (!*of[j])
                continue;
            if (set)
                *of[j] = set[n];
            list[n++] = *of[j];
        }
    }
    return n;
}

static void clear_sums(kernel_cx *k, const dots *d, sums *s)
{
    int64_t dims[3] = {d->g->s.m, d->g->s.n, LANES};
    const int rank = by_lanes(d) ? 3 : 2;
    for (int i = 0; i < d->g->ncontracts; i++) {
        bool has_min = by_lanes(d) && rlx_format_has_min(d->g->contract[i]->in[3]->type.format);
        s[i].acc = rlx_lir_build_fill(k->b, RLX_F32, rank, dims, 0.0);
        s[i].less = has_min ? rlx_lir_build_fill(k->b, RLX_F32, 3, dims, 0.0) : NULL;
    }
}

/* ---- a ring of rows: codes, their scales, and perhaps sums ---- */

static rlx_status load_for_ring(kernel_cx *k, const ring *r, int i, rlx_ir_value *step,
                                rlx_ir_value **out)
{
    const dots *d = r->user;
    const span s = {.step = step, .by = r->of[i].by, .width = d->g->s.k / r->of[i].by};
    return dot_load_rows(k, d, r->of[i].from, s, out);
}

static rlx_status begin_ring(kernel_cx *k, const dots *d, ring *r)
{
    *r = (ring){.load = load_for_ring, .user = d};
    for (int i = 0; i < d->g->ncontracts && d->g->s.stages; i++) {
        const rlx_ir_node *n = d->g->contract[i];
        const rlx_format f = n->in[3]->type.format;
        RLX_TRY(ring_add(k, d->g, n->in[0], d->g->s.m, 1, r));
        RLX_TRY(ring_add(k, d->g, n->in[1], d->g->s.m, RLX_MIR_QUANT, r));
        if (rlx_format_has_min(f))
            RLX_TRY(ring_add(k, d->g, n->in[2], d->g->s.m, rlx_format_group(f), r));
    }
    return ring_begin(k, d->g, r);
}

/* Terms less minima, their lanes combined. */
static rlx_ir_value *total(kernel_cx *k, const dots *d, const sums *s)
{
    rlx_ir_value *sum = s->acc;
    if (!by_lanes(d))
        return sum;
    if (s->less)
        sum = rlx_lir_build_map2(k->b, RLX_FN_SUB, sum, s->less);
    return rlx_lir_build_reduce(k->b, RLX_FN_ADD, sum);
}

rlx_status dot_tiles(kernel_cx *k, const group *g, const register_tile *at, rlx_ir_value **tiles)
{
    dots d = {.g = g, .at = at};
    ring rows;
    sums s[MAX_CONTRACTS];
    rlx_ir_value *list[2 * MAX_CONTRACTS];
    int64_t whole = g->k / g->s.k, rest = g->k % g->s.k;
    if (!by_lanes(&d) && !k->options->target->byte_matrix.m)
        return k_fail(k, g->contract[0], "one sum per output goes by panels");
    clear_sums(k, &d, s);
    if (whole > 0) {
        RLX_TRY(begin_ring(k, &d, &rows));
        int n = list_sums(&d, s, NULL, list);
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, whole), 1, n, list, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        list_sums(&d, s, loop.carried, list);
        RLX_TRY(ring_step(k, g, &rows, loop.index[0]));
        d.ring = &rows;
        RLX_TRY(add_steps(k, &d, loop.index[0], g->s.k, false, s));
        list_sums(&d, s, NULL, list);
        rlx_lir_end_for(k->b, &loop, list);
        list_sums(&d, s, loop.result, list);
        d.ring = NULL;
    }
    if (rest > 0)
        RLX_TRY(add_steps(k, &d, k_const(k, whole), rest, true, s));
    for (int i = 0; i < g->ncontracts; i++)
        tiles[i] = total(k, &d, &s[i]);
    return rlx_ir_builder_finish(k->b);
}
