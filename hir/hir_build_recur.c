/* hir/hir_build_recur.c: named builders of recurrences. */
#include "hir/hir.h"

enum { MOST = 11 };

/* Operands while they are listed; what is optional is counted. */
typedef struct operands {
    rlx_ir_value *in[MOST];
    int n;
    int64_t counts[4];
} operands;

/* Adds what is there of `n` values as entry `kind` of counts. */
static void add_option(operands *o, int kind, int n, rlx_ir_value *const *values)
{
    if (!values[0])
        return;
    o->counts[kind] = n;
    for (int i = 0; i < n; i++)
        o->in[o->n++] = values[i];
}

/* The first result; *state (may be NULL) is the second. */
static rlx_ir_value *build(rlx_ir_builder *b, int op, const operands *o, int nattr,
                           const rlx_attr *attrs, int nout, rlx_ir_value **states)
{
    rlx_ir_node *n = rlx_ir_build_node(b, op, o->n, o->in, nattr, attrs, nout, NULL);
    for (int i = 1; i < nout; i++)
        states[i - 1] = n ? n->out[i] : NULL;
    return n ? n->out[0] : NULL;
}

static int add_activation(rlx_attr *attrs, int n, rlx_attr_key key, const char *name)
{
    if (name)
        attrs[n++] = rlx_attr_text(key, name);
    return n;
}

static rlx_ir_value *build_cell(rlx_ir_builder *b, int op, const rlx_hir_cell *c, int states,
                                rlx_ir_value **last)
{
    operands o = {.in = {c->x, c->w_ih, c->w_hh}, .n = 3};
    rlx_attr attrs[7];
    int n = 0;
    add_option(&o, 0, 2, (rlx_ir_value *[]){c->b_ih, c->b_hh});
    add_option(&o, 1, states, (rlx_ir_value *[]){c->h, c->c});
    add_option(&o, 2, 1, &c->lengths);
    if (op == RLX_HIR_LSTM)
        add_option(&o, 3, 1, &c->peephole);
    attrs[n++] = rlx_attr_ints(RLX_ATTR_COUNTS, op == RLX_HIR_LSTM ? 4 : 3, o.counts);
    if (op == RLX_HIR_GRU)
        attrs[n++] = rlx_attr_text(RLX_ATTR_KIND, c->reset_before ? "before" : "after");
    if (c->backwards)
        attrs[n++] = rlx_attr_int(RLX_ATTR_STEP, -1);
    n = add_activation(attrs, n, RLX_ATTR_GATE, c->gate);
    n = add_activation(attrs, n, RLX_ATTR_CELL, c->cell);
    n = add_activation(attrs, n, RLX_ATTR_OUT, c->out);
    if (c->clip != 0)
        attrs[n++] = rlx_attr_float(RLX_ATTR_CLIP, c->clip);
    return build(b, op, &o, n, attrs, 1 + states, last);
}

rlx_ir_value *rlx_hir_build_gru(rlx_ir_builder *b, const rlx_hir_cell *cell, rlx_ir_value **h)
{
    rlx_ir_value *last[1];
    rlx_ir_value *y = build_cell(b, RLX_HIR_GRU, cell, 1, last);
    if (h)
        *h = last[0];
    return y;
}

rlx_ir_value *rlx_hir_build_lstm(rlx_ir_builder *b, const rlx_hir_cell *cell, rlx_ir_value **h,
                                 rlx_ir_value **c)
{
    rlx_ir_value *last[2];
    rlx_ir_value *y = build_cell(b, RLX_HIR_LSTM, cell, 2, last);
    if (h)
        *h = last[0];
    if (c)
        *c = last[1];
    return y;
}

rlx_ir_value *rlx_hir_build_short_conv(rlx_ir_builder *b, const rlx_hir_short_conv *c,
                                       rlx_ir_value **state)
{
    operands o = {.in = {c->x, c->w}, .n = 2};
    rlx_ir_value *last;
    add_option(&o, 0, 1, &c->bias);
    add_option(&o, 1, 1, &c->state);
    add_option(&o, 2, 2, (rlx_ir_value *[]){c->pos, c->seq});
    const rlx_attr attr = rlx_attr_ints(RLX_ATTR_COUNTS, 3, o.counts);
    rlx_ir_value *y = build(b, RLX_HIR_SHORT_CONV, &o, 1, &attr, 2, &last);
    if (state)
        *state = last;
    return y;
}

rlx_ir_value *rlx_hir_build_delta_rule(rlx_ir_builder *b, const rlx_hir_delta_rule *d,
                                       rlx_ir_value **state)
{
    operands o = {.in = {d->q, d->k, d->v, d->g, d->beta}, .n = 5};
    rlx_ir_value *last;
    add_option(&o, 0, d->keys ? 4 : 1, (rlx_ir_value *[]){d->state, d->keys, d->values, d->decays});
    add_option(&o, 1, 2, (rlx_ir_value *[]){d->pos, d->seq});
    rlx_attr attrs[5] = {rlx_attr_ints(RLX_ATTR_COUNTS, 2, o.counts),
                         rlx_attr_float(RLX_ATTR_SCALE, d->scale),
                         rlx_attr_text(RLX_ATTR_KIND, d->tile ? "tile" : "repeat")};
    int n = 3;
    if (d->eps != 0)
        attrs[n++] = rlx_attr_float(RLX_ATTR_EPS, d->eps);
    if (d->chunk)
        attrs[n++] = rlx_attr_int(RLX_ATTR_CHUNK, d->chunk);
    rlx_ir_value *y = build(b, RLX_HIR_DELTA_RULE, &o, n, attrs, 2, &last);
    if (state)
        *state = last;
    return y;
}

rlx_ir_value *rlx_hir_build_selective_scan(rlx_ir_builder *b, const rlx_hir_selective_scan *s,
                                           rlx_ir_value **state)
{
    operands o = {.in = {s->x, s->dt, s->a, s->b, s->c}, .n = 5};
    rlx_ir_value *last;
    add_option(&o, 0, 1, &s->d);
    add_option(&o, 1, 1, &s->state);
    add_option(&o, 2, 2, (rlx_ir_value *[]){s->pos, s->seq});
    const rlx_attr attr = rlx_attr_ints(RLX_ATTR_COUNTS, 3, o.counts);
    rlx_ir_value *y = build(b, RLX_HIR_SELECTIVE_SCAN, &o, 1, &attr, 2, &last);
    if (state)
        *state = last;
    return y;
}
