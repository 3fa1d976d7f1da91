/* frontend/blocks/recurrent.c: GRU and LSTM, short convolutions, the gated delta rule. */
#include <stdlib.h>

#include "frontend/blocks/blocks.h"

enum { W_IH, W_HH, B_IH, B_HH, DIRECTION };
enum { LENGTHS = 2 * DIRECTION, FIRST_H, FIRST_C, LAST_H, LAST_C };
enum { LAYER, LAYERS, BACKWARDS, RESET_BEFORE, GATE, CELL, OUT };
enum { CLIP };
enum { MAX_LAYERS = 1024 };

/* ---- GRU and LSTM
 * -------------------------------------------------------------------------------- */

static void record_weights(rlx_flow *f, rlx_stage *s, const rlx_recurrent_spec *spec, int64_t layer)
{
    static const char *const names[DIRECTION] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    for (int i = 0; i < (spec->bidirectional ? 2 : 1) * DIRECTION; i++) {
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

static void record_layer(rlx_flow *f, rlx_stage_kind kind, const rlx_recurrent_spec *spec,
                         int64_t layer, int64_t layers)
{
    const char *const streams[] = {spec->lengths, spec->h, spec->c, spec->h_last, spec->c_last};
    rlx_stage *s = rlx_flow_record(f, kind);
    if (!s)
        return;
    record_weights(f, s, spec, layer);
    for (int i = LENGTHS; i <= LAST_C; i++)
        if (streams[i - LENGTHS])
            s->key[i] = rlx_flow_copy_key(f, streams[i - LENGTHS], "a recurrent layer's stream");
    s->number[LAYER] = layer;
    s->number[LAYERS] = layers;
    s->number[BACKWARDS] = spec->backwards;
    s->number[RESET_BEFORE] = spec->reset_before;
    s->number[GATE] = spec->gate;
    s->number[CELL] = spec->cell;
    s->number[OUT] = spec->out;
    s->real[CLIP] = spec->clip;
}

static rlx_status check_activations(const rlx_recurrent_spec *spec)
{
    rlx_hir_activation known;
    RLX_TRY(rlx_flow_get_activation(spec->gate, &known));
    RLX_TRY(rlx_flow_get_activation(spec->cell, &known));
    return rlx_flow_get_activation(spec->out, &known);
}

static rlx_status check(rlx_stage_kind kind, const rlx_recurrent_spec *spec)
{
    const bool gru = kind == RLX_STAGE_GRU;
    if (spec->layers < 0 || spec->layers > MAX_LAYERS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld recurrent layers; there are 1 to %d",
                        (long long)spec->layers, MAX_LAYERS);
    if (spec->bidirectional && spec->backwards)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "a recurrent layer of both directions, and backwards");
    if (gru && (spec->c || spec->c_last || spec->out))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a gru has no c");
    RLX_TRY(check_activations(spec));
    if (!gru && !spec->h != !spec->c)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "an lstm's first states: %s without %s",
                        spec->h ? "h" : "c", spec->h ? "c" : "h");
    if (!gru && spec->reset_before)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "an lstm has no reset gate");
    return RLX_OK;
}

static void record(rlx_flow *f, rlx_stage_kind kind, const rlx_recurrent_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, rlx_block_get(kind)->name))
        return;
    rlx_status st = check(kind, spec);
    if (st) {
        rlx_flow_fail(f, st);
        return;
    }
    const int64_t layers = spec->layers ? spec->layers : 1;
    for (int64_t i = 0; i < layers && !f->error; i++)
        record_layer(f, kind, spec, i, layers);
}

void rlx_flow_gru(rlx_flow *f, const rlx_recurrent_spec *spec)
{
    record(f, RLX_STAGE_GRU, spec);
}

void rlx_flow_lstm(rlx_flow *f, const rlx_recurrent_spec *spec)
{
    record(f, RLX_STAGE_LSTM, spec);
}

static int64_t count_directions(const rlx_stage *s)
{
    return s->key[DIRECTION] ? 2 : 1;
}

/* The first state of a direction, out of a stream of all; NULL where the slot is empty. */
static rlx_status get_first(rlx_flow_cx *cx, const rlx_stage *s, int slot, int direction,
                            rlx_ir_value **out)
{
    const int64_t dirs = count_directions(s), all = s->number[LAYERS] * dirs;
    rlx_ir_builder *b = &cx->fn->b;
    rlx_ir_value *v;
    if (!s->key[slot])
        return RLX_OK;
    RLX_TRY(rlx_flow_get_stream(cx, s, s->key[slot], &v));
    if (v->type.format != RLX_F32 || v->type.rank != 3 || v->type.dim[0] != all)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "first states \"%s\" are not f32[%lld,B,H]: of %lld layers, %lld %s",
                        s->key[slot], (long long)all, (long long)s->number[LAYERS], (long long)dirs,
                        dirs == 1 ? "direction" : "directions");
    v = rlx_mir_slice(b, v, 0, s->number[LAYER] * dirs + direction, 1, 1);
    *out = v ? rlx_mir_reshape(b, v, 2, v->type.dim + 1) : NULL;
    return RLX_OK;
}

/* One direction, whose weights begin at slot `first`; last: h and c, f32[B,H]. */
static rlx_status build_direction(rlx_flow_cx *cx, const rlx_stage *s, int first, rlx_ir_value **y,
                                  rlx_ir_value **last)
{
    rlx_hir_cell cell = {.x = cx->fn->x,
                         .backwards = first > 0 || s->number[BACKWARDS],
                         .reset_before = s->number[RESET_BEFORE],
                         .clip = s->real[CLIP]};
    RLX_TRY(rlx_flow_get_cell_activation(s->number[GATE], &cell.gate));
    RLX_TRY(rlx_flow_get_cell_activation(s->number[CELL], &cell.cell));
    RLX_TRY(rlx_flow_get_cell_activation(s->number[OUT], &cell.out));
    const rlx_dim any[] = {RLX_DIM_INVALID, RLX_DIM_INVALID};
    RLX_TRY(rlx_flow_need_weight(cx, s, first + W_IH, 2, any, &cell.w_ih));
    RLX_TRY(rlx_flow_need_weight(cx, s, first + W_HH, 2, any, &cell.w_hh));
    RLX_TRY(rlx_flow_need_weight(cx, s, first + B_IH, 1, any, &cell.b_ih));
    RLX_TRY(rlx_flow_need_weight(cx, s, first + B_HH, 1, any, &cell.b_hh));
    RLX_TRY(get_first(cx, s, FIRST_H, first / DIRECTION, &cell.h));
    RLX_TRY(get_first(cx, s, FIRST_C, first / DIRECTION, &cell.c));
    if (s->key[LENGTHS])
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[LENGTHS], &cell.lengths));
    rlx_flow_set_place(cx, s->key[first], 1);
    *y = s->kind == RLX_STAGE_GRU ? rlx_hir_build_gru(&cx->fn->b, &cell, &last[0])
                                  : rlx_hir_build_lstm(&cx->fn->b, &cell, &last[0], &last[1]);
    return *y ? RLX_OK : rlx_ir_builder_finish(&cx->fn->b);
}

/* The last states of this layer's directions, behind those of the layers before. */
static rlx_status keep_last(rlx_flow_cx *cx, const rlx_stage *s, int slot,
                            rlx_ir_value *const *last)
{
    rlx_ir_builder *b = &cx->fn->b;
    rlx_ir_value *part[3];
    int n = 0;
    if (!s->key[slot])
        return RLX_OK;
    if (s->number[LAYER] > 0)
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[slot], &part[n++]));
    for (int i = 0; i < count_directions(s); i++)
        part[n++] = rlx_mir_insert(b, last[i], 0);
    return rlx_flow_set_stream(cx, s->key[slot],
                               n == 1 ? part[0] : rlx_mir_build_concat(b, n, part, 0));
}

rlx_status rlx_block_gru_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const int dirs = (int)count_directions(s);
    rlx_ir_value *y[2], *h[2] = {0}, *c[2] = {0};
    for (int i = 0; i < dirs; i++) {
        rlx_ir_value *last[2] = {0};
        RLX_TRY(build_direction(cx, s, i * DIRECTION, &y[i], last));
        h[i] = last[0];
        c[i] = last[1];
    }
    RLX_TRY(keep_last(cx, s, LAST_H, h));
    RLX_TRY(keep_last(cx, s, LAST_C, c));
    cx->fn->x = dirs == 2 ? rlx_mir_build_concat(&cx->fn->b, 2, y, 2) : y[0];
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
enum { TILE, CHUNK };
enum { SCALE, NORM_EPS };

void rlx_flow_gdn_scan(rlx_flow *f, const rlx_gdn_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, "gdn_scan"))
        return;
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_GDN_SCAN);
    if (!s)
        return;
    if (spec->state)
        s->key[GDN_STATE] = rlx_flow_copy_key(f, spec->state, "gdn_scan's state");
    s->number[TILE] = spec->tile;
    s->number[CHUNK] = spec->chunk;
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
    rlx_hir_delta_rule d = {
        .tile = s->number[TILE], .chunk = s->number[CHUNK], .eps = s->real[NORM_EPS]};
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.q", &d.q));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.k", &d.k));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.v", &d.v));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.g", &d.g));
    RLX_TRY(rlx_flow_get_stream(cx, s, "gdn.beta", &d.beta));
    RLX_TRY(need_memory(cx, s, &d));
    RLX_TRY(rlx_flow_delta_chunk(cx, s, &d));
    d.scale = rlx_flow_delta_scale(d.q, s->real[SCALE]);
    cx->fn->x = rlx_hir_build_delta_rule(&cx->fn->b, &d, NULL);
    return RLX_OK;
}
