/* frontend/blocks/encoder_attention.c: self-attention of whole sequences, nothing of which is kept.
 */
#include <math.h>

#include "frontend/blocks/blocks.h"

enum { Q, K, V, Q_BIAS, K_BIAS, V_BIAS, MASK, BIAS, ROPE, CONTEXT };
enum { HEADS, KV_HEADS, HEAD_DIM, WINDOW, CAUSAL, INTERLEAVED, ROTARY_DIM, FUSED };
enum { SCALE, SOFTCAP };
enum { IN_Q, IN_K, IN_V, IN_KEYS, IN_VALUES };

static rlx_status check(const rlx_encoder_attention_spec *spec)
{
    const int64_t heads = spec->heads, kv_heads = spec->kv_heads ? spec->kv_heads : heads;
    const int64_t rotary = spec->rotary_dim ? spec->rotary_dim : spec->head_dim;
    if (heads <= 0 || kv_heads <= 0 || heads % kv_heads || spec->head_dim <= 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "encoder_attention: heads %lld must be a multiple of kv_heads %lld, and "
                        "head_dim %lld positive",
                        (long long)heads, (long long)kv_heads, (long long)spec->head_dim);
    if (!spec->qkv_key == !(spec->q_key && spec->k_key && spec->v_key) ||
        (spec->qkv_key && (spec->q_key || spec->context)))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "encoder_attention: either qkv_key or q_key, k_key and v_key");
    if (spec->rope && (rotary < 0 || rotary % 2 || rotary > spec->head_dim))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "encoder_attention: %lld elements of a head of %lld rotate",
                        (long long)rotary, (long long)spec->head_dim);
    if (spec->window < 0 || !(spec->softcap >= 0))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "encoder_attention: window %lld, softcap %g",
                        (long long)spec->window, spec->softcap);
    return RLX_OK;
}

static void copy_optional(rlx_flow *f, rlx_stage *s, int slot, const char *key)
{
    if (key)
        s->key[slot] = rlx_flow_copy_key(f, key, "encoder_attention's key");
}

void rlx_flow_encoder_attention(rlx_flow *f, const rlx_encoder_attention_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, "encoder_attention"))
        return;
    rlx_status st = f->error ? RLX_OK : check(spec);
    if (st) {
        rlx_flow_fail(f, st);
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_ENCODER_ATTENTION);
    if (!s)
        return;
    const bool fused = spec->qkv_key != NULL;
    copy_optional(f, s, Q, fused ? spec->qkv_key : spec->q_key);
    copy_optional(f, s, K, spec->k_key);
    copy_optional(f, s, V, spec->v_key);
    copy_optional(f, s, Q_BIAS, fused ? spec->qkv_bias_key : spec->q_bias_key);
    copy_optional(f, s, K_BIAS, spec->k_bias_key);
    copy_optional(f, s, V_BIAS, spec->v_bias_key);
    copy_optional(f, s, MASK, spec->mask);
    copy_optional(f, s, BIAS, spec->bias);
    copy_optional(f, s, ROPE, spec->rope);
    copy_optional(f, s, CONTEXT, spec->context);
    s->number[HEADS] = spec->heads;
    s->number[KV_HEADS] = spec->kv_heads ? spec->kv_heads : spec->heads;
    s->number[HEAD_DIM] = spec->head_dim;
    s->number[WINDOW] = spec->window;
    s->number[CAUSAL] = spec->causal;
    s->number[INTERLEAVED] = spec->rope_interleaved;
    s->number[ROTARY_DIM] = spec->rope ? spec->rotary_dim : 0;
    s->number[FUSED] = fused;
    s->real[SCALE] = spec->scale != 0 ? spec->scale : 1 / sqrt((double)spec->head_dim);
    s->real[SOFTCAP] = spec->softcap;
}

/* x[.., first .. first+width-1]. */
static rlx_ir_value *columns(rlx_flow_cx *cx, rlx_ir_value *x, int64_t first, int64_t width)
{
    return rlx_mir_slice(&cx->fn->b, x, x->type.rank - 1, first, width, 1);
}

/* Attention's operands have an axis more, and at most six. */
static rlx_status check_rank(const char *name, const rlx_ir_value *x)
{
    if (x->type.rank >= 2 && x->type.rank <= 5)
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "takes f32[B..,S,H] of rank 2 to 5; %s has rank %d", name,
                    x->type.rank);
}

static rlx_status project(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *qkv[3])
{
    const int64_t q = s->number[HEADS] * s->number[HEAD_DIM];
    const int64_t kv = s->number[KV_HEADS] * s->number[HEAD_DIM];
    rlx_ir_value *x = cx->fn->x, *from = x, *all;
    if (s->number[FUSED]) {
        RLX_TRY(rlx_flow_apply_linear(cx, s, x, Q, Q_BIAS, q + 2 * kv, &all));
        qkv[0] = columns(cx, all, 0, q);
        qkv[1] = columns(cx, all, q, kv);
        qkv[2] = columns(cx, all, q + kv, kv);
        return rlx_ir_builder_finish(&cx->fn->b);
    }
    if (s->key[CONTEXT])
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[CONTEXT], &from));
    RLX_TRY(check_rank("the context", from));
    RLX_TRY(rlx_flow_apply_linear(cx, s, x, Q, Q_BIAS, q, &qkv[0]));
    RLX_TRY(rlx_flow_apply_linear(cx, s, from, K, K_BIAS, kv, &qkv[1]));
    return rlx_flow_apply_linear(cx, s, from, V, V_BIAS, kv, &qkv[2]);
}

static rlx_status rotate(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *qkv[3])
{
    rlx_ir_value *table[2];
    for (int i = 0; i < 2; i++) {
        const char *name = rlx_arena_printf(cx->scratch, i ? "%s.sin" : "%s.cos", s->key[ROPE]);
        if (!name)
            return RLX_OOM();
        RLX_TRY(rlx_flow_get_stream(cx, s, name, &table[i]));
    }
    const int64_t rotary = s->number[ROTARY_DIM] ? s->number[ROTARY_DIM] : s->number[HEAD_DIM];
    const rlx_ir_type *t = &table[0]->type;
    if (t->rank == 0 || t->dim[t->rank - 1] != rotary / 2)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "the rotary tables \"%s\" are not for the %lld elements of a head that "
                        "rotate",
                        s->key[ROPE], (long long)rotary);
    for (int i = 0; i < 2; i++)
        qkv[i] = rlx_hir_build_rope_with(&cx->fn->b, qkv[i], table[0], table[1],
                                         s->number[i ? KV_HEADS : HEADS], s->number[HEAD_DIM],
                                         s->number[INTERLEAVED], false);
    return rlx_ir_builder_finish(&cx->fn->b);
}

/* x f32[..,N*D] as f32[..,N,D]. */
static rlx_ir_value *split(rlx_flow_cx *cx, rlx_ir_value *x, int64_t heads)
{
    rlx_ir_type t = x->type;
    t.dim[t.rank] = t.dim[t.rank - 1] / heads;
    t.dim[t.rank++ - 1] = heads;
    return rlx_mir_reshape(&cx->fn->b, x, t.rank, t.dim);
}

/* The input i32[B,K] of keys that are there, and the stream that is added to the scores. */
static rlx_status need_masks(rlx_flow_cx *cx, const rlx_stage *s, const rlx_ir_value *keys,
                             rlx_hir_dense_attention *a)
{
    if (s->key[MASK])
        RLX_TRY(rlx_flow_need_input(cx, s->key[MASK],
                                    rlx_ir_tensor(RLX_I32, keys->type.rank - 1, keys->type.dim),
                                    &a->valid));
    if (s->key[BIAS])
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[BIAS], &a->bias));
    return RLX_OK;
}

rlx_status rlx_block_encoder_attention_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *qkv[3];
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(check_rank("x", cx->fn->x));
    RLX_TRY(project(cx, s, qkv));
    cx->fn->inside[IN_Q] = qkv[0];
    cx->fn->inside[IN_K] = qkv[1];
    cx->fn->inside[IN_V] = qkv[2];
    rlx_flow_set_place(cx, s->key[Q], 2);
    if (s->key[ROPE])
        RLX_TRY(rotate(cx, s, qkv));
    cx->fn->inside[IN_KEYS] = qkv[1];
    cx->fn->inside[IN_VALUES] = qkv[2];
    rlx_hir_dense_attention a = {.scale = s->real[SCALE],
                                 .softcap = s->real[SOFTCAP],
                                 .causal = s->number[CAUSAL],
                                 .window = s->number[WINDOW]};
    RLX_TRY(need_masks(cx, s, qkv[1], &a));
    rlx_ir_type y = qkv[0]->type;
    a.q = split(cx, qkv[0], s->number[HEADS]);
    a.k = split(cx, qkv[1], s->number[KV_HEADS]);
    a.v = split(cx, qkv[2], s->number[KV_HEADS]);
    cx->fn->x =
        rlx_mir_reshape(&cx->fn->b, rlx_hir_build_dense_attention(&cx->fn->b, &a), y.rank, y.dim);
    return RLX_OK;
}
