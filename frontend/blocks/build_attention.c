/* frontend/blocks/build_attention.c: attention and what stands around it, for custom stages. */
#include <math.h>

#include "frontend/blocks/build.h"
#include "hir/hir_attention.h"

rlx_value *rlx_build_dense_attention(rlx_builder *b, rlx_value *q, rlx_value *k, rlx_value *v,
                                     const rlx_dense_attention_spec *spec)
{
    const rlx_dense_attention_spec none = {0};
    const rlx_dense_attention_spec *s = spec ? spec : &none;
    if (!rlx_builder_all(b, "dense_attention", 3, (rlx_value *[]){q, k, v}))
        return NULL;
    const int64_t head_dim = rlx_value_dim(q, rlx_value_rank(q) - 1);
    const rlx_hir_dense_attention a = {
        .q = rlx_value_ir(q),
        .k = rlx_value_ir(k),
        .v = rlx_value_ir(v),
        .valid = rlx_value_ir(s->valid),
        .lengths = rlx_value_ir(s->lengths),
        .offset = rlx_value_ir(s->offset),
        .mask = rlx_value_ir(s->mask),
        .bias = rlx_value_ir(s->bias),
        .sinks = rlx_value_ir(s->sinks),
        .relative = rlx_value_ir(s->relative),
        .scale = s->scale != 0 ? s->scale : 1 / sqrt(head_dim > 0 ? (double)head_dim : 1),
        .softcap = s->softcap,
        .causal = s->causal,
        .aligned = s->aligned,
        .window = s->window,
        .at = s->at,
        .chunk = s->chunk,
        .block = s->block,
        .left = s->left};
    return rlx_value_of(rlx_hir_build_dense_attention(rlx_builder_at(b, NULL), &a));
}

rlx_value *rlx_build_rope(rlx_builder *b, rlx_value *x, rlx_value *cosine, rlx_value *sine,
                          int64_t heads, bool interleaved, bool each)
{
    if (!rlx_builder_all(b, "rope", 3, (rlx_value *[]){x, cosine, sine}))
        return NULL;
    const int64_t width = rlx_value_dim(x, rlx_value_rank(x) - 1);
    return rlx_value_of(rlx_hir_build_rope_with(rlx_builder_at(b, NULL), rlx_value_ir(x),
                                                rlx_value_ir(cosine), rlx_value_ir(sine), heads,
                                                heads > 0 ? width / heads : 0, interleaved, each));
}

void rlx_build_rope_tables(rlx_builder *b, const rlx_rope_tables_spec *spec, rlx_value **cosine,
                           rlx_value **sine)
{
    rlx_ir_value *tables[2] = {NULL, NULL};
    *cosine = *sine = NULL;
    if (!rlx_builder_has_spec(b, "rope_tables", spec))
        return;
    rlx_hir_rope_tables t = {.naxes = spec->naxes ? spec->naxes : 1,
                             .order = (rlx_hir_rope_order)spec->order,
                             .theta = spec->theta,
                             .factor = spec->factor,
                             .amplitude = spec->amplitude,
                             .freqs = rlx_value_ir(spec->freqs),
                             .each = spec->each,
                             .still = spec->still};
    bool given = t.naxes >= 1 && t.naxes <= RLX_ROPE_MAX_AXES;
    for (int a = 0; given && a < t.naxes; a++) {
        t.pos[a] = rlx_value_ir(spec->positions[a]);
        t.pairs[a] = spec->pairs[a];
        given = rlx_builder_all(b, "rope_tables", 1, (rlx_value *const *)&spec->positions[a]);
    }
    if (given || t.naxes < 1 || t.naxes > RLX_ROPE_MAX_AXES)
        rlx_hir_build_rope_tables(rlx_builder_at(b, NULL), &t, &tables[0], &tables[1]);
    *cosine = rlx_value_of(tables[0]);
    *sine = rlx_value_of(tables[1]);
}

rlx_value *rlx_build_bucket_bias(rlx_builder *b, rlx_value *table, int64_t queries, int64_t keys,
                                 int64_t max_distance, bool one_sided)
{
    rlx_dim d[2];
    if (!rlx_builder_all(b, "bucket_bias", 1, &table) ||
        !rlx_builder_dims(b, "bucket_bias", 2, (int64_t[]){queries, keys}, d))
        return NULL;
    return rlx_value_of(rlx_hir_build_bucket_bias(rlx_builder_at(b, table), rlx_value_ir(table),
                                                  d[0], d[1], max_distance, one_sided));
}

rlx_value *rlx_build_alibi(rlx_builder *b, int64_t heads, int64_t queries, int64_t keys)
{
    rlx_dim d[2];
    if (!rlx_builder_dims(b, "alibi", 2, (int64_t[]){queries, keys}, d))
        return NULL;
    return rlx_value_of(rlx_hir_build_alibi(rlx_builder_at(b, NULL), heads, d[0], d[1]));
}

rlx_value *rlx_build_grid_bias(rlx_builder *b, rlx_value *q, rlx_value *table_h, rlx_value *table_w,
                               int64_t height, int64_t width)
{
    if (!rlx_builder_all(b, "grid_bias", 3, (rlx_value *[]){q, table_h, table_w}))
        return NULL;
    return rlx_value_of(rlx_hir_build_grid_bias(rlx_builder_at(b, table_h), rlx_value_ir(q),
                                                rlx_value_ir(table_h), rlx_value_ir(table_w),
                                                height, width));
}

rlx_value *rlx_build_window_partition(rlx_builder *b, rlx_value *x, int64_t size)
{
    if (!rlx_builder_all(b, "window_partition", 1, &x))
        return NULL;
    return rlx_value_of(
        rlx_hir_build_window_partition(rlx_builder_at(b, NULL), rlx_value_ir(x), size));
}

rlx_value *rlx_build_window_join(rlx_builder *b, rlx_value *x, int64_t batch, int64_t height,
                                 int64_t width)
{
    rlx_dim d;
    if (!rlx_builder_all(b, "window_join", 1, &x) ||
        !rlx_builder_dims(b, "window_join", 1, &batch, &d))
        return NULL;
    return rlx_value_of(
        rlx_hir_build_window_join(rlx_builder_at(b, NULL), rlx_value_ir(x), d, height, width));
}
