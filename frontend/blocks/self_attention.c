#include <math.h>
#include <string.h>

#include "frontend/blocks/blocks.h"

enum { Q, K, V, Q_BIAS, K_BIAS, V_BIAS, Q_NORM, K_NORM, SINKS, ROPE };
enum {
    HEADS,
    KV_HEADS,
    HEAD_DIM,
    WINDOW,
    NO_ROPE,
    INTERLEAVED,
    ROTARY_DIM,
    CHUNK,
    BLOCK_SIZE,
    GATED,
    V_NORM,
    NORM_PLUS_ONE,
    SHARED /* 1 + the layer whose keys and values are read; 0: its own */
};
enum { IN_Q, IN_K, IN_V, IN_Q_NORM, IN_K_NORM, IN_KEYS, IN_VALUES };
enum { SCALE, NORM_EPS, SOFTCAP };

static rlx_status check_mask(const rlx_attention_spec *spec)
{
    if (spec->window < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "self_attention: a window of %lld keys",
                        (long long)spec->window);
    if (spec->chunk < 0 || spec->block < 0 || (spec->block && RLX_KV_PAGE % spec->block))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention: chunks of %lld and blocks of %lld positions: a block "
                        "divides %d",
                        (long long)spec->chunk, (long long)spec->block, RLX_KV_PAGE);
    if ((spec->window != 0) + (spec->chunk != 0) + (spec->block != 0) > 1)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention: more than one of window, chunk and block");
    if (!(spec->softcap >= 0) || !isfinite((float)spec->softcap))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "self_attention: a softcap of %g", spec->softcap);
    return RLX_OK;
}

/* Which stage of an earlier layer made the pools that this one reads. */
static rlx_status check_sharing(const rlx_flow *f, const rlx_attention_spec *spec)
{
    if (!spec->kv_shared)
        return RLX_OK;
    if (spec->k_key || spec->v_key || spec->k_norm_key || spec->k_bias_key || spec->v_bias_key)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention: shared keys and values have no weights of their own");
    for (int i = 0; i < f->nstages; i++) {
        const rlx_stage *s = &f->stages[i];
        const bool same = s->kind == RLX_STAGE_SELF_ATTENTION && s->repeat == f->repeat &&
                          s->layer == spec->kv_layer && s->layer < f->layer && !s->number[SHARED];
        if (same && s->number[KV_HEADS] == spec->kv_heads &&
            s->number[HEAD_DIM] == spec->head_dim && s->number[WINDOW] == spec->window &&
            s->number[CHUNK] == spec->chunk)
            return RLX_OK;
    }
    return RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "self_attention: layer %lld is no earlier one with keys and values of %lld "
                    "heads of %lld, window %lld and chunk %lld",
                    (long long)spec->kv_layer, (long long)spec->kv_heads, (long long)spec->head_dim,
                    (long long)spec->window, (long long)spec->chunk);
}

static rlx_status check_spec(const rlx_flow *f, const rlx_attention_spec *spec)
{
    const int64_t heads = spec->heads, kv_heads = spec->kv_heads, head_dim = spec->head_dim;
    const int64_t rotary = spec->no_rope ? 0 : spec->rotary_dim ? spec->rotary_dim : spec->head_dim;
    if (heads <= 0 || kv_heads <= 0 || heads % kv_heads || head_dim <= 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention: heads %lld must be a multiple of kv_heads %lld, "
                        "and head_dim %lld positive",
                        (long long)heads, (long long)kv_heads, (long long)head_dim);
    if (rotary < 0 || rotary > head_dim || rotary % 2)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention: %lld elements of a head of %lld rotate: no even number of "
                        "them",
                        (long long)rotary, (long long)head_dim);
    RLX_TRY(check_mask(spec));
    RLX_TRY(check_sharing(f, spec));
    if (!spec->q_norm_key != !spec->k_norm_key && !spec->kv_shared)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention: q_norm_key and k_norm_key come together");
    if (f->layer < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "self_attention outside rlx_flow_repeat_layers: KV pages belong to "
                        "a layer");
    return RLX_OK;
}

static void copy_optional_key(rlx_flow *f, rlx_stage *s, int slot, const char *key,
                              const char *what)
{
    if (key)
        s->key[slot] = rlx_flow_copy_key(f, key, what);
}

void rlx_flow_self_attention(rlx_flow *f, const rlx_attention_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, "self_attention"))
        return;
    rlx_status st = f->error ? RLX_OK : check_spec(f, spec);
    if (st) {
        rlx_flow_fail(f, st);
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_SELF_ATTENTION);
    if (!s)
        return;
    s->key[Q] = rlx_flow_copy_key(f, spec->q_key, "self_attention's q_key");
    if (!spec->kv_shared)
        s->key[K] = rlx_flow_copy_key(f, spec->k_key, "self_attention's k_key");
    copy_optional_key(f, s, V, spec->v_key, "self_attention's v_key");
    copy_optional_key(f, s, Q_BIAS, spec->q_bias_key, "self_attention's q_bias_key");
    copy_optional_key(f, s, K_BIAS, spec->k_bias_key, "self_attention's k_bias_key");
    copy_optional_key(f, s, V_BIAS, spec->v_bias_key, "self_attention's v_bias_key");
    copy_optional_key(f, s, Q_NORM, spec->q_norm_key, "self_attention's q_norm_key");
    copy_optional_key(f, s, K_NORM, spec->k_norm_key, "self_attention's k_norm_key");
    copy_optional_key(f, s, SINKS, spec->sinks_key, "self_attention's sinks_key");
    copy_optional_key(f, s, ROPE, spec->no_rope ? NULL : spec->rope, "self_attention's rope");
    s->number[HEADS] = spec->heads;
    s->number[KV_HEADS] = spec->kv_heads;
    s->number[HEAD_DIM] = spec->head_dim;
    s->number[WINDOW] = spec->window;
    s->number[NO_ROPE] = spec->no_rope;
    s->number[INTERLEAVED] = spec->rope_interleaved;
    s->number[CHUNK] = spec->chunk;
    s->number[BLOCK_SIZE] = spec->block;
    s->number[GATED] = spec->gated;
    s->number[V_NORM] = spec->v_norm;
    s->number[NORM_PLUS_ONE] = spec->norm_plus_one;
    s->number[SHARED] = spec->kv_shared ? 1 + spec->kv_layer : 0;
    const bool in_part = !spec->no_rope && spec->rotary_dim != spec->head_dim;
    s->number[ROTARY_DIM] = in_part ? spec->rotary_dim : 0;
    s->real[SCALE] = spec->scale != 0 ? spec->scale : 1 / sqrt((double)spec->head_dim);
    s->real[NORM_EPS] = spec->q_norm_key || spec->v_norm ? spec->norm_eps : 0;
    s->real[SOFTCAP] = spec->softcap;
}

/* "PAGES", "table"; of a layer with a window "PAGES_4096", "table_4096": what lies behind the
 * window is given back, so those pages are none of the layers' that see everything. A chunk lies in
 * a window of its size. */
static rlx_status name_pages(const rlx_flow_cx *cx, const rlx_stage *s, const char *word,
                             const char **name)
{
    const long long window = s->number[WINDOW] + s->number[CHUNK]; /* one of them at most */
    *name = window ? rlx_arena_printf(cx->scratch, "%s_%lld", word, window) : word;
    return *name ? RLX_OK : RLX_OOM();
}

/* A state of the layer, or of the one whose keys and values it shares. */
static rlx_status need_state(rlx_flow_cx *cx, const rlx_stage *s, const char *symbol,
                             const char *name, rlx_ir_type type, rlx_ir_value **out)
{
    if (s->number[SHARED])
        symbol = rlx_arena_printf(cx->scratch, "%.*s%lld", (int)strlen(symbol) - 2, symbol,
                                  (long long)s->number[SHARED] - 1);
    return symbol ? rlx_flow_arg(cx, RLX_ROLE_STATE, symbol, name, type, out) : RLX_OOM();
}

/* A pool of keys or of values; q8_0 is a pool of codes and one of their scales. */
static rlx_status need_pool(rlx_flow_cx *cx, const rlx_stage *s, const rlx_hir_attention *a,
                            rlx_dim pages, bool keys, rlx_ir_value **pool, rlx_ir_value **scales)
{
    const rlx_format format = keys ? cx->kv_key_format : cx->kv_value_format;
    const bool coded = format == RLX_Q8_0;
    rlx_dim dims[4] = {pages, a->kv_heads, RLX_KV_PAGE, RLX_KV_PAGE}, *width = &dims[keys ? 2 : 3];
    if (coded && a->head_dim % RLX_KV_GROUP)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "%s of %lld elements per head cannot be kept as q8_0: no multiple of %d",
                        keys ? "keys" : "values", (long long)a->head_dim, RLX_KV_GROUP);
    *width = a->head_dim;
    RLX_TRY(need_state(cx, s, keys ? "kv.k.{}" : "kv.v.{}", keys ? "kpool" : "vpool",
                       rlx_ir_tensor(coded ? RLX_I8 : format, 4, dims), pool));
    if (!coded)
        return RLX_OK;
    *width = a->head_dim / RLX_KV_GROUP;
    return need_state(cx, s, keys ? "kv.k_scale.{}" : "kv.v_scale.{}", keys ? "kscale" : "vscale",
                      rlx_ir_tensor(RLX_F16, 4, dims), scales);
}

/* The layer's KV pools, one pair per layer index of one repeat_layers. */
static rlx_status need_pools(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_attention *a)
{
    if (cx->kv_repeat >= 0 && cx->kv_repeat != s->repeat)
        return RLX_FAIL(
            RLX_UNSUPPORTED,
            "self_attention in a second rlx_flow_repeat_layers: its layer indices would "
            "share the first one's KV pages");
    cx->kv_repeat = s->repeat;
    for (int i = 0; i < cx->fn->func->body->nargs; i++)
        if (cx->fn->func->arg_info[i].role == RLX_ROLE_STATE &&
            !strncmp(cx->fn->func->arg_info[i].symbol, "kv.", 3))
            return RLX_FAIL(RLX_UNSUPPORTED, "a second self_attention in a layer: a layer owns one "
                                             "pair of KV pools");
    rlx_dim pages;
    const char *name;
    RLX_TRY(name_pages(cx, s, "PAGES", &name));
    RLX_TRY(rlx_flow_get_symbol(cx, name, &pages));
    RLX_TRY(need_pool(cx, s, a, pages, true, &a->kpool, &a->kscale));
    return need_pool(cx, s, a, pages, false, &a->vpool, &a->vscale);
}

/* Where the tokens stand: position, sequence, and the sequences' pages. */
static rlx_status need_places(rlx_flow_cx *cx, const rlx_stage *s, rlx_dim tokens,
                              rlx_hir_attention *a)
{
    rlx_dim table[2];
    const char *name;
    RLX_TRY(name_pages(cx, s, "table", &name));
    RLX_TRY(rlx_flow_get_symbol(cx, "SEQS", &table[0]));
    RLX_TRY(rlx_flow_get_symbol(cx, "SLOTS", &table[1]));
    const rlx_ir_type of_token = rlx_ir_tensor(RLX_I32, 1, &tokens);
    RLX_TRY(rlx_flow_need_input(cx, "pos", of_token, &a->pos));
    RLX_TRY(rlx_flow_need_input(cx, "seq", of_token, &a->seq));
    return rlx_flow_need_input(cx, name, rlx_ir_tensor(RLX_I32, 2, table), &a->table);
}

/* x f32[..,N*D] as f32[..,N,D]. */
static rlx_ir_value *split_heads(rlx_ir_builder *b, rlx_ir_value *x, int64_t heads)
{
    if (!x)
        return NULL;
    rlx_ir_type y = x->type;
    y.dim[y.rank] = y.dim[y.rank - 1] / heads;
    y.dim[y.rank++ - 1] = heads;
    return rlx_mir_reshape(b, x, y.rank, y.dim);
}

static rlx_status normalise_heads(rlx_flow_cx *cx, const rlx_stage *s, int slot, int64_t heads,
                                  rlx_ir_value **x)
{
    rlx_ir_value *w;
    RLX_TRY(rlx_flow_need_weight(cx, s, slot, 1, &s->number[HEAD_DIM], &w));
    if (!w)
        return RLX_OK;
    rlx_ir_builder *b = &cx->fn->b;
    rlx_flow_set_place(cx, s->key[slot], 1);
    if (s->number[NORM_PLUS_ONE])
        w = rlx_mir_map_num(b, RLX_FN_ADD, rlx_mir_cast(b, w, RLX_F32), 1);
    *x = rlx_hir_build_rms_norm_heads(b, *x, w, s->real[NORM_EPS], heads);
    const int inside = slot == Q_NORM ? IN_Q_NORM : IN_K_NORM;
    if (rlx_flow_is_asked(cx, s, inside))
        cx->fn->inside[inside] = split_heads(b, *x, heads);
    return RLX_OK;
}

/* Values are normalised by ones. */
static void normalise_values(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_attention *a)
{
    rlx_ir_builder *b = &cx->fn->b;
    rlx_ir_value *one = rlx_mir_build_const(b, RLX_F32, 1);
    rlx_ir_value *w = rlx_mir_build_broadcast(b, one, 1, &s->number[HEAD_DIM], NULL);
    a->v = rlx_hir_build_rms_norm_heads(b, a->v, w, s->real[NORM_EPS], a->kv_heads);
}

rlx_status rlx_flow_need_rotary(rlx_flow_cx *cx, int64_t rotary_dim, bool sine, rlx_ir_value **out)
{
    rlx_dim dims[2] = {0, rotary_dim / 2};
    RLX_TRY(rlx_flow_get_symbol(cx, "TOKENS", &dims[0]));
    return rlx_flow_need_input(cx, sine ? "rope_sin" : "rope_cos", rlx_ir_tensor(RLX_F32, 2, dims),
                               out);
}

/* A table of the stage: the input, or a stream that rlx_flow_rope_tables stored. */
static rlx_status need_table(rlx_flow_cx *cx, const rlx_stage *s, bool sine, rlx_ir_value **out)
{
    const int64_t rotary = s->number[ROTARY_DIM] ? s->number[ROTARY_DIM] : s->number[HEAD_DIM];
    if (!s->key[ROPE])
        return rlx_flow_need_rotary(cx, rotary, sine, out);
    const char *name = rlx_arena_printf(cx->scratch, sine ? "%s.sin" : "%s.cos", s->key[ROPE]);
    if (!name)
        return RLX_OOM();
    RLX_TRY(rlx_flow_get_stream(cx, s, name, out));
    const rlx_ir_type *t = &(*out)->type;
    if (t->rank != 2 || t->dim[1] != rotary / 2)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "the rotary tables \"%s\" turn %lld elements, and %lld of a head rotate",
                        s->key[ROPE], t->rank == 2 ? 2 * (long long)t->dim[1] : -1,
                        (long long)rotary);
    return RLX_OK;
}

static rlx_status rotate(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_attention *a)
{
    rlx_ir_value *cosine, *sine;
    RLX_TRY(need_table(cx, s, false, &cosine));
    RLX_TRY(need_table(cx, s, true, &sine));
    rlx_ir_value *(*turn)(rlx_ir_builder *, rlx_ir_value *, rlx_ir_value *, rlx_ir_value *, int64_t,
                          int64_t) =
        s->number[INTERLEAVED] ? rlx_hir_build_rope_interleaved : rlx_hir_build_rope;
    a->q = turn(&cx->fn->b, a->q, cosine, sine, a->heads, a->head_dim);
    if (a->k)
        a->k = turn(&cx->fn->b, a->k, cosine, sine, a->kv_heads, a->head_dim);
    return RLX_OK;
}

/* Probes see heads in one order, whichever of their elements rotate together: element 2i of a head
 * goes to i, element 2i + 1 to i + D/2. */
static rlx_ir_value *halve_asked(rlx_flow_cx *cx, const rlx_stage *s, int inside, int64_t heads,
                                 rlx_ir_value *x)
{
    const bool paired = s->number[INTERLEAVED] && !s->number[ROTARY_DIM];
    if (!x || !paired || !rlx_flow_is_asked(cx, s, inside))
        return x;
    rlx_ir_builder *b = &cx->fn->b;
    const rlx_dim dims[] = {x->type.dim[0], heads, x->type.dim[1] / heads / 2, 2};
    rlx_ir_value *pairs = rlx_mir_move(b, rlx_mir_reshape(b, x, 4, dims), 3, 2);
    return rlx_mir_reshape(b, pairs, 2, x->type.dim);
}

/* Queries, and with gates [T,N*2*D] those [T,N*D]. */
static rlx_status project_queries(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_attention *a,
                                  rlx_ir_value **gate)
{
    rlx_ir_builder *b = &cx->fn->b;
    const int64_t parts = s->number[GATED] ? 2 : 1, rows = a->heads * a->head_dim;
    *gate = NULL;
    RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, Q, Q_BIAS, parts * rows, &a->q));
    cx->fn->inside[IN_Q] = halve_asked(cx, s, IN_Q, a->heads, a->q);
    if (parts == 1)
        return RLX_OK;
    const rlx_dim tokens = a->q->type.dim[0], flat[] = {tokens, rows};
    const rlx_dim heads[] = {tokens, a->heads, 2 * a->head_dim};
    rlx_ir_value *both = rlx_mir_reshape(b, a->q, 3, heads);
    a->q = rlx_mir_slice(b, both, 2, 0, a->head_dim, 1);
    a->q = rlx_mir_reshape(b, a->q, 2, flat);
    *gate = rlx_mir_slice(b, both, 2, a->head_dim, a->head_dim, 1);
    *gate = rlx_mir_reshape(b, *gate, 2, flat);
    return rlx_ir_builder_finish(b);
}

static rlx_status project_keys_values(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_attention *a)
{
    const int64_t rows = a->kv_heads * a->head_dim;
    RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, K, K_BIAS, rows, &a->k));
    a->v = a->k;
    if (s->key[V])
        RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, V, V_BIAS, rows, &a->v));
    cx->fn->inside[IN_K] = halve_asked(cx, s, IN_K, a->kv_heads, a->k);
    cx->fn->inside[IN_V] = a->v;
    RLX_TRY(normalise_heads(cx, s, K_NORM, a->kv_heads, &a->k));
    if (s->number[V_NORM])
        normalise_values(cx, s, a);
    return rlx_ir_builder_finish(&cx->fn->b);
}

static void describe(const rlx_stage *s, rlx_hir_attention *a)
{
    *a = (rlx_hir_attention){.heads = s->number[HEADS],
                             .kv_heads = s->number[KV_HEADS],
                             .head_dim = s->number[HEAD_DIM],
                             .scale = s->real[SCALE],
                             .softcap = s->real[SOFTCAP],
                             .window = s->number[WINDOW],
                             .chunk = s->number[CHUNK],
                             .block = s->number[BLOCK_SIZE]};
}

rlx_status rlx_block_self_attention_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_hir_attention a;
    rlx_ir_builder *b = &cx->fn->b;
    rlx_ir_value *gate;
    int64_t width;
    rlx_dim tokens;
    describe(s, &a);
    RLX_TRY(rlx_flow_need_tokens(cx, &tokens, &width));
    RLX_TRY(project_queries(cx, s, &a, &gate));
    if (!s->number[SHARED])
        RLX_TRY(project_keys_values(cx, s, &a));
    RLX_TRY(normalise_heads(cx, s, Q_NORM, a.heads, &a.q));
    rlx_flow_set_place(cx, s->key[Q], 2);
    if (!s->number[NO_ROPE])
        RLX_TRY(rotate(cx, s, &a));
    cx->fn->inside[IN_KEYS] = a.k;
    cx->fn->inside[IN_VALUES] = a.v;
    RLX_TRY(rlx_flow_need_weight(cx, s, SINKS, 1, &a.heads, &a.sinks));
    RLX_TRY(need_pools(cx, s, &a));
    RLX_TRY(need_places(cx, s, tokens, &a));
    cx->fn->x = rlx_hir_build_attention(b, &a, NULL, NULL);
    if (gate)
        cx->fn->x = rlx_mir_map2(b, RLX_FN_MUL, cx->fn->x, rlx_mir_sigmoid(b, gate));
    return RLX_OK;
}
