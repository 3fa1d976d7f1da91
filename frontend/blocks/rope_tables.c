/* frontend/blocks/rope_tables.c: named rotary tables, as streams "NAME.cos" and "NAME.sin". */
#include <math.h>

#include "frontend/blocks/blocks.h"
#include "hir/hir_attention.h"

enum { COS, SIN, POSITIONS, NAME, FREQS };
enum { ROTARY_DIM, ORDER, SECTION };
enum { THETA, FACTOR, AMPLITUDE };

static rlx_status check(const rlx_flow *f, const rlx_flow_rope_spec *spec)
{
    int64_t pairs = 0;
    for (int i = 0; i < RLX_ROPE_MAX_AXES; i++)
        pairs += spec->sections[i];
    if (f->layer >= 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "rope_tables inside of a layer");
    if (spec->rotary_dim <= 0 || spec->rotary_dim % 2)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "rope_tables for %lld elements: no even number",
                        (long long)spec->rotary_dim);
    if (pairs && (2 * pairs != spec->rotary_dim || !spec->positions))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "rope_tables: sections of %lld pairs for %lld elements, with positions of "
                        "every axis",
                        (long long)pairs, (long long)spec->rotary_dim);
    if (!spec->cos_key != !spec->sin_key || (spec->cos_key && (pairs || spec->freqs_key)))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "rope_tables: cos_key and sin_key come together, without freqs_key and "
                        "sections");
    if (!spec->cos_key && !spec->freqs_key && !(spec->theta > 1 && isfinite((float)spec->theta)))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "rope_tables: theta is %g, not above 1", spec->theta);
    return RLX_OK;
}

void rlx_flow_rope_tables(rlx_flow *f, const rlx_flow_rope_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, "rope_tables"))
        return;
    rlx_status st = f->error ? RLX_OK : check(f, spec);
    if (st) {
        rlx_flow_fail(f, st);
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_ROPE_TABLES);
    if (!s)
        return;
    s->key[NAME] = rlx_flow_copy_key(f, spec->name, "rope_tables' name");
    if (spec->cos_key) {
        s->key[COS] = rlx_flow_copy_key(f, spec->cos_key, "rope_tables' cos_key");
        s->key[SIN] = rlx_flow_copy_key(f, spec->sin_key, "rope_tables' sin_key");
    }
    if (spec->freqs_key)
        s->key[FREQS] = rlx_flow_copy_key(f, spec->freqs_key, "rope_tables' freqs_key");
    if (spec->positions)
        s->key[POSITIONS] = rlx_flow_copy_key(f, spec->positions, "rope_tables' positions");
    s->number[ROTARY_DIM] = spec->rotary_dim;
    s->number[ORDER] = spec->order;
    for (int i = 0; i < RLX_ROPE_MAX_AXES; i++)
        s->number[SECTION + i] = spec->sections[i];
    s->real[THETA] = spec->theta;
    s->real[FACTOR] = spec->factor;
    s->real[AMPLITUDE] = spec->amplitude;
}

/* Positions of the tensor's tokens: an input's; of [TOKENS] or [TOKENS,H] the session's; of
 * [B,S] ids or [B,S,H] 0 .. S-1. */
static rlx_status need_positions(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value **out)
{
    const rlx_ir_type *x = &cx->fn->x->type;
    if (s->key[POSITIONS])
        return rlx_flow_need_declared(cx, s->key[POSITIONS], out);
    const bool batched = x->rank == 3 || (x->rank == 2 && !rlx_format_is_float(x->format));
    if (!batched && x->rank >= 1)
        return rlx_flow_need_input(cx, "pos", rlx_ir_tensor(RLX_I32, 1, x->dim), out);
    if (!batched)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a tensor of rank %d has no tokens", x->rank);
    *out = rlx_mir_build_iota(&cx->fn->b, RLX_I32, x->dim[1]);
    return rlx_ir_builder_finish(&cx->fn->b);
}

static rlx_status store(rlx_flow_cx *cx, const rlx_stage *s, const char *which, rlx_ir_value *v)
{
    const char *name = rlx_arena_printf(cx->scratch, "%s.%s", s->key[NAME], which);
    if (!v)
        return rlx_ir_builder_finish(&cx->fn->b);
    return name ? rlx_flow_set_stream(cx, name, v) : RLX_OOM();
}

/* Rows of stored tables [places, R/2]. */
static rlx_status gather_rows(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *pos)
{
    const rlx_dim dims[] = {RLX_DIM_INVALID, s->number[ROTARY_DIM] / 2};
    for (int k = COS; k <= SIN; k++) {
        rlx_ir_value *w;
        RLX_TRY(rlx_flow_need_weight(cx, s, k, 2, dims, &w));
        w = rlx_hir_build_embed(&cx->fn->b, pos, w);
        RLX_TRY(store(cx, s, k == COS ? "cos" : "sin", w));
    }
    return RLX_OK;
}

/* Positions [A,..] of several axes, one by one. */
static void split_positions(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *pos,
                            rlx_hir_rope_tables *t)
{
    for (t->naxes = 0; t->naxes < RLX_ROPE_MAX_AXES && s->number[SECTION + t->naxes]; t->naxes++) {
        rlx_ir_value *part = rlx_mir_slice(&cx->fn->b, pos, 0, t->naxes, 1, 1);
        t->pos[t->naxes] = rlx_mir_reshape(&cx->fn->b, part, pos->type.rank - 1, pos->type.dim + 1);
        t->pairs[t->naxes] = s->number[SECTION + t->naxes];
    }
}

rlx_status rlx_block_rope_tables_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *pos, *cosine, *sine;
    cx->fn->b.place = "rotary_emb";
    RLX_TRY(need_positions(cx, s, &pos));
    if (s->key[COS])
        return gather_rows(cx, s, pos);
    rlx_hir_rope_tables t = {.naxes = 1,
                             .pos = {pos},
                             .pairs = {s->number[ROTARY_DIM] / 2},
                             .order = (rlx_hir_rope_order)s->number[ORDER],
                             .theta = s->real[THETA],
                             .factor = s->real[FACTOR],
                             .amplitude = s->real[AMPLITUDE]};
    RLX_TRY(rlx_flow_need_weight(cx, s, FREQS, 1, &t.pairs[0], &t.freqs));
    if (s->number[SECTION])
        split_positions(cx, s, pos, &t);
    rlx_hir_build_rope_tables(&cx->fn->b, &t, &cosine, &sine);
    RLX_TRY(store(cx, s, "cos", cosine));
    return store(cx, s, "sin", sine);
}
