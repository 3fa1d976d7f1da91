#include "jit/spirv_emit.h"

/* Products of tiles: every invocation has sums of its own, and for each step of K reads one element
 * of each row that they need, from the exchange or, where an operand is nothing but loaded, from
 * memory (caches hold it for the neighbours): then no invocation waits for another.
 *
 *   acc<M, N, L>: sum [m, n, l] is element (m*N + n)*L + l of the tile
 *
 * With L a divisor of the team and the team one of N*L, m and what is added to n are known for each
 * part: a weight is decoded once for all M rows, an activation read once for all of the invocation's
 * columns. */

/* ---- loads that are not made ---- */

static bool stores(const rlx_ir_node *n)
{
    if (n->op == RLX_LIR_STORE || n->op == RLX_LIR_BARRIER)
        return true;
    for (int i = 0; i < n->nblock; i++)
        for (const rlx_ir_node *in = n->blocks[i]->first; in; in = in->next)
            if (stores(in))
                return true;
    return false;
}

static int uses_in(const rlx_ir_node *n, const rlx_ir_value *v)
{
    int uses = 0;
    for (int i = 0; i < n->nin; i++)
        uses += n->in[i] == v;
    return uses;
}

/* Whether the node reads each element of v where it needs it. */
static bool reads_elements(const rlx_ir_node *n, const rlx_ir_value *v)
{
    if (n->op == RLX_LIR_PACK)
        return true;
    return (n->op == RLX_LIR_CONTRACT || n->op == RLX_LIR_OUTER || n->op == RLX_LIR_DOT ||
            n->op == RLX_LIR_DOT_ROWS) &&
           n->in[0] != v;
}

bool rlx_spirv_defers(const rlx_ir_node *load)
{
    if (!load || load->op != RLX_LIR_LOAD)
        return false;
    const rlx_ir_value *v = load->out[0];
    int left = rlx_ir_count_uses(load->parent, v);
    if (left == 0)
        return false;
    for (const rlx_ir_node *n = load->next; n && left > 0; n = n->next) {
        const int uses = uses_in(n, v);
        if (stores(n) || (uses > 0 && !reads_elements(n, v)))
            return false;
        left -= uses;
    }
    return left == 0;
}

/* ---- operands ---- */

void rlx_spirv_operand_init(rlx_spirv_emit *e, const rlx_ir_value *v, int64_t *words,
                            rlx_spirv_operand *o)
{
    *o = (rlx_spirv_operand){.deferred = rlx_spirv_defers(v->def),
                             .format = v->type.format,
                             .base = *words,
                             .k = v->type.dim[1]};
    if (o->deferred) {
        rlx_spirv_access_init(e, v->def, &v->type, &o->access);
        return;
    }
    rlx_spirv_put_tile(e, v, o->base);
    *words += rlx_spirv_tile_words(e, &v->type);
}

/* Element [row, column]. */
rlx_spirv_id rlx_spirv_operand_at(rlx_spirv_emit *e, const rlx_spirv_operand *o,
                                  rlx_decode_number row, rlx_decode_number column)
{
    if (o->deferred) {
        const rlx_spirv_place at = {.at = {row, column}};
        return rlx_spirv_load_place(e, &o->access, &at, 0);
    }
    rlx_spirv_id index = rlx_spirv_number(e, row);
    index = rlx_spirv_mul(e, index, rlx_spirv_u32(e, o->k));
    index = rlx_spirv_add(e, index, rlx_spirv_number(e, column));
    return rlx_spirv_get_element(e, o->base, o->format, index);
}

/* ---- products ---- */

typedef struct products {
    rlx_spirv_operand a, b;
    int64_t rows, columns, lanes, k; /* M, N, L, K */
    const rlx_spirv_tile *out;
} products;

/* Any layout: part by part. */
static void by_parts(rlx_spirv_emit *e, const products *x)
{
    const rlx_ir_type *type = &x->out->value->type;
    for (int p = 0; p < x->out->n; p++) {
        const rlx_spirv_place at = rlx_spirv_place_of(e, type, rlx_spirv_some_element(e, type, p));
        for (int64_t j = 0; j < x->k; j += x->lanes) {
            rlx_decode_number k = rlx_spirv_plus(at.at[2], j);
            rlx_spirv_id a = rlx_spirv_operand_at(e, &x->a, at.at[0], k);
            rlx_spirv_id b = rlx_spirv_operand_at(e, &x->b, at.at[1], k);
            x->out->part[p] = rlx_spirv_fma(e, e->f32, a, b, x->out->part[p]);
        }
    }
}

/* Whether parts are whole rows of an invocation's columns. */
static bool is_even(const rlx_spirv_emit *e, const products *x)
{
    return e->team % x->lanes == 0 && (e->team / x->lanes) > 0 &&
           x->columns * x->lanes % e->team == 0 && (x->lanes & (x->lanes - 1)) == 0;
}

static rlx_status by_rows(rlx_spirv_emit *e, const products *x)
{
    rlx_spirv_module *m = &e->m;
    const int64_t apart = e->team / x->lanes, own = x->columns / apart;
    rlx_spirv_id *b = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, own);
    if (!b)
        return RLX_OOM();
    rlx_decode_number column = {.multiple = 1, .below = (uint32_t)apart};
    rlx_decode_number lane = {.multiple = 1, .below = (uint32_t)x->lanes};
    column.v = e->thread;
    if (x->lanes > 1)
        column.v = rlx_spirv_op(m, SpvOpUDiv, e->u32, e->thread, rlx_spirv_u32(e, x->lanes));
    if (x->lanes > 1)
        lane.v =
            rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, e->thread, rlx_spirv_u32(e, x->lanes - 1));
    for (int64_t j = 0; j < x->k; j += x->lanes) {
        for (int64_t i = 0; i < own; i++)
            b[i] = rlx_spirv_operand_at(e, &x->b, rlx_spirv_plus(column, i * apart),
                                        rlx_spirv_plus(lane, j));
        for (int64_t r = 0; r < x->rows; r++) {
            rlx_spirv_id a = rlx_spirv_operand_at(
                e, &x->a, (rlx_decode_number){.plus = (uint32_t)r}, rlx_spirv_plus(lane, j));
            for (int64_t i = 0; i < own; i++) {
                rlx_spirv_id *sum = &x->out->part[r * own + i];
                *sum = rlx_spirv_fma(e, e->f32, a, b[i], *sum);
            }
        }
    }
    return RLX_OK;
}

rlx_status rlx_spirv_contract(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    const rlx_spirv_tile *acc = rlx_spirv_get(e, n->in[0]);
    rlx_spirv_tile *out;
    int64_t words = 0;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++)
        out->part[p] = acc->part[p];
    products x = {.rows = type->dim[0],
                  .columns = type->dim[1],
                  .lanes = type->dim[2],
                  .k = n->in[1]->type.dim[1],
                  .out = out};
    rlx_spirv_operand_init(e, n->in[1], &words, &x.a);
    rlx_spirv_operand_init(e, n->in[2], &words, &x.b);
    if (words)
        rlx_spirv_barrier(&e->m);
    if (is_even(e, &x))
        RLX_TRY(by_rows(e, &x));
    else
        by_parts(e, &x);
    if (words)
        rlx_spirv_barrier(&e->m);
    return RLX_OK;
}

/* ---- outer products, and rows turned into columns ---- */

typedef struct outer {
    rlx_spirv_operand a, b;
    const rlx_spirv_tile *out;
    rlx_spirv_place *at; /* of each part's element */
    rlx_spirv_id *y;
    int apart; /* parts after which columns come again */
} outer;

/* Where the element of a part is. As columns divide the team, or the team them, an invocation has one
 * column or a part one row: then that is a constant, whatever invocation asks. */
static rlx_spirv_place outer_place(rlx_spirv_emit *e, const rlx_ir_type *type, int part)
{
    rlx_spirv_place at = rlx_spirv_place_of(e, type, rlx_spirv_some_element(e, type, part));
    if (type->dim[1] % e->team == 0) {
        const int64_t per = type->dim[1] / e->team;
        at.at[0] = (rlx_decode_number){.plus = (uint32_t)(part / per)};
        at.at[1] = (rlx_decode_number){.v = e->thread,
                                       .multiple = 1,
                                       .below = (uint32_t)e->team,
                                       .plus = (uint32_t)(part % per * e->team)};
    }
    return at;
}

/* Parts after which columns come again. */
static int columns_apart(const rlx_spirv_emit *e, const rlx_ir_type *type)
{
    int64_t a = type->dim[1], b = e->team;
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return (int)(type->dim[1] / a);
}

/* One step of K for every part; y[i]: the second operand's element for parts i, i + apart, .. */
static void outer_step(rlx_spirv_emit *e, const outer *o, int64_t k)
{
    const rlx_decode_number step = {.plus = (uint32_t)k};
    rlx_spirv_id x = 0;
    for (int p = 0; p < o->out->n; p++) {
        if (p < o->apart)
            o->y[p] = rlx_spirv_operand_at(e, &o->b, step, o->at[p].at[1]);
        const bool again = p > 0 && !o->at[p].at[0].v && !o->at[p - 1].at[0].v &&
                           o->at[p].at[0].plus == o->at[p - 1].at[0].plus;
        if (!again)
            x = rlx_spirv_operand_at(e, &o->a, o->at[p].at[0], step);
        o->out->part[p] = rlx_spirv_fma(e, e->f32, x, o->y[p % o->apart], o->out->part[p]);
    }
}

rlx_status rlx_spirv_outer(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    const rlx_spirv_tile *acc = rlx_spirv_get(e, n->in[0]);
    if (n->in[1]->type.rank != 2)
        return rlx_spirv_unsupported(e, n, "packed rows");
    rlx_spirv_tile *out;
    int64_t words = 0;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    outer o = {.out = out,
               .at = RLX_NEW_ARRAY(e->arena, rlx_spirv_place, out->n),
               .y = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, out->n),
               .apart = columns_apart(e, type)};
    if (!o.at || !o.y)
        return RLX_OOM();
    rlx_spirv_operand_init(e, n->in[1], &words, &o.a);
    rlx_spirv_operand_init(e, n->in[2], &words, &o.b);
    if (words)
        rlx_spirv_barrier(&e->m);
    for (int p = 0; p < out->n; p++) {
        o.at[p] = outer_place(e, type, p);
        out->part[p] = acc->part[p];
    }
    for (int64_t j = 0; j < n->in[1]->type.dim[1]; j++)
        outer_step(e, &o, j);
    if (words)
        rlx_spirv_barrier(&e->m);
    return RLX_OK;
}

rlx_status rlx_spirv_pack(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_spirv_module *m = &e->m;
    const rlx_ir_type *to = &n->out[0]->type;
    const int64_t run = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1);
    rlx_spirv_id width = rlx_spirv_u32(e, run);
    rlx_spirv_tile *out;
    int64_t words = 0;
    rlx_spirv_operand x;
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    rlx_spirv_operand_init(e, n->in[0], &words, &x);
    if (words)
        rlx_spirv_barrier(m);
    for (int p = 0; p < out->n; p++) {
        const rlx_spirv_place at = rlx_spirv_place_of(e, to, rlx_spirv_some_element(e, to, p));
        rlx_spirv_id column = rlx_spirv_number(e, at.at[1]);
        rlx_decode_number row = {.multiple = 1, .below = (uint32_t)(to->dim[1] / run)};
        rlx_decode_number in = {.multiple = 1, .below = (uint32_t)(to->dim[0] * run)};
        row.v = rlx_spirv_op(m, SpvOpUDiv, e->u32, column, width);
        column = rlx_spirv_op(m, SpvOpUMod, e->u32, column, width);
        in.v = rlx_spirv_add(e, column, rlx_spirv_mul(e, rlx_spirv_number(e, at.at[0]), width));
        out->part[p] = rlx_spirv_operand_at(e, &x, row, in);
    }
    if (words)
        rlx_spirv_barrier(m);
    return RLX_OK;
}
