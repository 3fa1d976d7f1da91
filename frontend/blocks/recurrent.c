/* frontend/blocks/recurrent.c: GRU and LSTM, short convolutions, the gated delta rule. */
#include <stdlib.h>

#include "frontend/blocks/blocks.h"

enum { W_IH, W_HH, B_IH, B_HH, DIRECTION };

/* ---- GRU and LSTM
 * -------------------------------------------------------------------------------- */

static void record_layer(rlx_flow *f, rlx_stage_kind kind, const rlx_recurrent_spec *spec,
                         int64_t layer)
{
    static const char *const names[DIRECTION] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    rlx_stage *s = rlx_flow_record(f, kind);
    for (int i = 0; s && i < (spec->bidirectional ? 2 : 1) * DIRECTION; i++) {
        rlx_text key = {0};
        if (spec->no_bias && i % DIRECTION >= B_IH)
            continue;
        if (spec->prefix && *spec->prefix)
            rlx_text_putf(&key, "%s.", spec->prefix);
        rlx_text_putf(&key, "%s_l%lld%s", names[i % DIRECTION], (long long)layer,
                      i < DIRECTION ? "" : "_reverse");
        if (key.oom)
            rlx_flow_fail(f, RLX_OOM());
        else
            s->key[i] = rlx_flow_copy_key(f, key.data, "a recurrent layer's key");
        rlx_text_deinit(&key);
    }
}

static void record(rlx_flow *f, rlx_stage_kind kind, const rlx_recurrent_spec *spec)
{
    if (spec->layers < 0)
        rlx_flow_fail(
            f, RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld recurrent layers", (long long)spec->layers));
    const int64_t layers = spec->layers ? spec->layers : 1;
    for (int64_t i = 0; i < layers; i++)
        record_layer(f, kind, spec, i);
}

void rlx_flow_gru(rlx_flow *f, const rlx_recurrent_spec *spec)
{
    record(f, RLX_STAGE_GRU, spec);
}

void rlx_flow_lstm(rlx_flow *f, const rlx_recurrent_spec *spec)
{
    record(f, RLX_STAGE_LSTM, spec);
}

/* One direction, whose weights begin at slot `first`. */
static rlx_status build_direction(rlx_flow_cx *cx, const rlx_stage *s, int first, rlx_ir_value **y)
{
    rlx_hir_cell cell = {.x = cx->fn->x, .backwards = first > 0};
    const rlx_dim any[] = {RLX_DIM_INVALID, RLX_DIM_INVALID};
    RLX_TRY(rlx_flow_need_weight(cx, s, first + W_IH, 2, any, &cell.w_ih));
    RLX_TRY(rlx_flow_need_weight(cx, s, first + W_HH, 2, any, &cell.w_hh));
    RLX_TRY(rlx_flow_need_weight(cx, s, first + B_IH, 1, any, &cell.b_ih));
    RLX_TRY(rlx_flow_need_weight(cx, s, first + B_HH, 1, any, &cell.b_hh));
    rlx_flow_set_place(cx, s->key[first], 1);
    *y = s->kind == RLX_STAGE_GRU ? rlx_hir_build_gru(&cx->fn->b, &cell, NULL)
                                  : rlx_hir_build_lstm(&cx->fn->b, &cell, NULL, NULL);
    return *y ? RLX_OK : rlx_ir_builder_finish(&cx->fn->b);
}

rlx_status rlx_block_gru_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *y[2];
    RLX_TRY(build_direction(cx, s, 0, &y[0]));
    if (s->key[DIRECTION])
        RLX_TRY(build_direction(cx, s, DIRECTION, &y[1]));
    cx->fn->x = s->key[DIRECTION] ? rlx_mir_build_concat(&cx->fn->b, 2, y, 2) : y[0];
    return RLX_OK;
}

rlx_status rlx_block_lstm_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return rlx_block_gru_build(cx, s);
}

/* ---- short convolutions
 * -------------------------------------------------------------------------- */

enum { KEY, BIAS, STATE };

void rlx_flow_short_conv(rlx_flow *f, const char *key, const char *bias_key, const char *state)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_SHORT_CONV);
    if (!s)
        return;
    s->key[KEY] = rlx_flow_copy_key(f, key, "short_conv's key");
    if (bias_key)
        s->key[BIAS] = rlx_flow_copy_key(f, bias_key, "short_conv's bias_key");
    if (state)
        s->key[STATE] = rlx_flow_copy_key(f, state, "short_conv's state");
}

/* [C,K], or as files have it [C,1,K]. */
static rlx_status need_taps(rlx_flow_cx *cx, const rlx_stage *s, rlx_dim channels,
                            rlx_ir_value **out)
{
    const rlx_dim flat[] = {channels, RLX_DIM_INVALID}, deep[] = {channels, 1, RLX_DIM_INVALID};
    const rlx_tensor *t = cx->weight[(s - cx->flow->stages) * RLX_STAGE_KEYS + KEY];
    const bool is_deep = t && t->rank == 3;
    return rlx_flow_need_weight(cx, s, KEY, is_deep ? 3 : 2, is_deep ? deep : flat, out);
}

rlx_status rlx_block_short_conv_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_hir_short_conv c = {.x = cx->fn->x};
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(need_taps(cx, s, width, &c.w));
    RLX_TRY(rlx_flow_need_weight(cx, s, BIAS, 1, &width, &c.bias));
    if (s->key[STATE]) {
        const rlx_dim dims[] = {c.w->type.dim[c.w->type.rank - 1] - 1, width};
        RLX_TRY(rlx_flow_need_state(cx, s, s->key[STATE], 2, dims, &c.state));
        RLX_TRY(rlx_flow_need_places(cx, &c.pos, &c.seq));
    }
    rlx_flow_set_place(cx, s->key[KEY], 1);
    cx->fn->x = rlx_hir_build_short_conv(&cx->fn->b, &c, NULL);
    return RLX_OK;
}

/* ---- the gated delta rule
 * ------------------------------------------------------------------------ */

enum { GDN_STATE };
enum { TILE };
enum { SCALE, NORM_EPS };

void rlx_flow_gdn_scan(rlx_flow *f, const rlx_gdn_spec *spec)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_GDN_SCAN);
    if (!s)
        return;
    if (spec->state)
        s->key[GDN_STATE] = rlx_flow_copy_key(f, spec->state, "gdn_scan's state");
    s->number[TILE] = spec->tile;
    s->real[SCALE] = spec->scale;
    s->real[NORM_EPS] = spec->norm_eps;
}

/* The pool f32[SEQS,H,D,E] that belongs to q f32[T,G,D] and v f32[T,H,E]. */
static rlx_status need_memory(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_delta_rule *d)
{
    const rlx_ir_type *q = &d->q->type, *v = &d->v->type;
    if (!s->key[GDN_STATE])
        return RLX_OK;
    if (q->rank != 3 || v->rank != 3)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "with a state of the session, gdn.q and gdn.v are f32[T,G,D] and "
                        "f32[T,H,E], of rank 3, not %d and %d",
                        q->rank, v->rank);
    const rlx_dim dims[] = {v->dim[1], q->dim[2], v->dim[2]};
    RLX_TRY(rlx_flow_need_state(cx, s, s->key[GDN_STATE], 3, dims, &d->state));
    return rlx_flow_need_places(cx, &d->pos, &d->seq);
}

rlx_status rlx_block_gdn_scan_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_hir_delta_rule d = {.tile = s->number[TILE], .eps = s->real[NORM_EPS]};
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.q", &d.q));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.k", &d.k));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.v", &d.v));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.g", &d.g));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.beta", &d.beta));
    RLX_TRY(need_memory(cx, s, &d));
    d.scale = rlx_flow_delta_scale(d.q, s->real[SCALE]);
    cx->fn->x = rlx_hir_build_delta_rule(&cx->fn->b, &d, NULL);
    return RLX_OK;
}
