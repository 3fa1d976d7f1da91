#include "hir/hir.h"

#include <string.h>

rlx_ir_value *rlx_hir_build_embed(rlx_ir_builder *b, rlx_ir_value *ids, rlx_ir_value *w)
{
    return rlx_ir_build(b, RLX_HIR_EMBED, 2, (rlx_ir_value *[]){ids, w}, 0, NULL, NULL);
}

rlx_ir_value *rlx_hir_build_select_rows(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *rows)
{
    return rlx_ir_build(b, RLX_HIR_SELECT_ROWS, 2, (rlx_ir_value *[]){x, rows}, 0, NULL, NULL);
}

rlx_ir_value *rlx_hir_build_rms_norm(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                     double eps)
{
    const rlx_attr attr = rlx_attr_float(RLX_ATTR_EPS, eps);
    return rlx_ir_build(b, RLX_HIR_RMS_NORM, 2, (rlx_ir_value *[]){x, w}, 1, &attr, NULL);
}

rlx_ir_value *rlx_hir_build_rms_norm_heads(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                           double eps, int64_t heads)
{
    const rlx_attr attrs[] = {rlx_attr_float(RLX_ATTR_EPS, eps),
                              rlx_attr_int(RLX_ATTR_HEADS, heads)};
    return rlx_ir_build(b, RLX_HIR_RMS_NORM, 2, (rlx_ir_value *[]){x, w}, 2, attrs, NULL);
}

rlx_ir_value *rlx_hir_build_linear(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                   rlx_ir_value *bias)
{
    rlx_ir_value *in[] = {x, w, bias};
    return rlx_ir_build(b, RLX_HIR_LINEAR, bias ? 3 : 2, in, 0, NULL, NULL);
}

rlx_ir_value *rlx_hir_build_swiglu(rlx_ir_builder *b, rlx_ir_value *gate, rlx_ir_value *up)
{
    return rlx_ir_build(b, RLX_HIR_SWIGLU, 2, (rlx_ir_value *[]){gate, up}, 0, NULL, NULL);
}

rlx_ir_value *rlx_hir_build_rope_with(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *cos,
                                      rlx_ir_value *sin, int64_t heads, int64_t head_dim,
                                      bool interleaved, bool each)
{
    rlx_attr attrs[4] = {rlx_attr_int(RLX_ATTR_HEADS, heads),
                         rlx_attr_int(RLX_ATTR_HEAD_DIM, head_dim)};
    int n = 2;
    if (interleaved)
        attrs[n++] = rlx_attr_int(RLX_ATTR_INTERLEAVED, 1);
    if (each)
        attrs[n++] = rlx_attr_int(RLX_ATTR_EACH, 1);
    return rlx_ir_build(b, RLX_HIR_ROPE, 3, (rlx_ir_value *[]){x, cos, sin}, n, attrs, NULL);
}

rlx_ir_value *rlx_hir_build_rope(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *cos,
                                 rlx_ir_value *sin, int64_t heads, int64_t head_dim)
{
    return rlx_hir_build_rope_with(b, x, cos, sin, heads, head_dim, false, false);
}

rlx_ir_value *rlx_hir_build_rope_interleaved(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *cos,
                                             rlx_ir_value *sin, int64_t heads, int64_t head_dim)
{
    return rlx_hir_build_rope_with(b, x, cos, sin, heads, head_dim, true, false);
}

rlx_ir_value *rlx_hir_build_attention(rlx_ir_builder *b, const rlx_hir_attention *a,
                                      rlx_ir_value **kpool, rlx_ir_value **vpool)
{
    rlx_attr attrs[10] = {
        rlx_attr_int(RLX_ATTR_HEADS, a->heads), rlx_attr_int(RLX_ATTR_KV_HEADS, a->kv_heads),
        rlx_attr_int(RLX_ATTR_HEAD_DIM, a->head_dim), rlx_attr_float(RLX_ATTR_SCALE, a->scale)};
    const struct {
        rlx_attr_key key;
        int64_t value;
    } optional[] = {{RLX_ATTR_WINDOW, a->window},
                    {RLX_ATTR_CHUNK, a->chunk},
                    {RLX_ATTR_BLOCK, a->block},
                    {RLX_ATTR_SINKS, a->sinks != NULL},
                    {RLX_ATTR_SHARED, a->k == NULL}};
    int nattrs = 4;
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (optional[i].value)
            attrs[nattrs++] = rlx_attr_int(optional[i].key, optional[i].value);
    if (a->softcap != 0)
        attrs[nattrs++] = rlx_attr_float(RLX_ATTR_SOFTCAP, a->softcap);
    rlx_ir_value *const operands[] = {a->q,   a->k,     a->v,      a->kpool,  a->vpool, a->pos,
                                      a->seq, a->table, a->kscale, a->vscale, a->sinks};
    rlx_ir_value *in[11];
    int nin = 0;
    for (int i = 0; i < 11; i++)
        if (operands[i] || (i < 8 && i != 1 && i != 2)) /* a missing one is the builder's error */
            in[nin++] = operands[i];
    const int nout = a->k ? 3 + (a->kscale != NULL) + (a->vscale != NULL) : 1;
    rlx_ir_node *n = rlx_ir_build_node(b, RLX_HIR_ATTENTION, nin, in, nattrs, attrs, nout, NULL);
    if (kpool)
        *kpool = n && a->k ? n->out[1] : NULL;
    if (vpool)
        *vpool = n && a->k ? n->out[2] : NULL;
    return n ? n->out[0] : NULL;
}

rlx_ir_value *rlx_hir_build_dense_attention(rlx_ir_builder *b, const rlx_hir_dense_attention *a)
{
    const struct {
        const char *word;
        rlx_ir_value *value;
    } options[] = {{"valid", a->valid},      {"lengths", a->lengths}, {"offset", a->offset},
                   {"mask", a->mask},        {"bias", a->bias},       {"sinks", a->sinks},
                   {"relative", a->relative}};
    const bool bounded = a->window != 0;
    const int64_t reach = a->window > 0 ? a->window - 1 : -1; /* -1 is refused */
    const struct {
        rlx_attr_key key;
        bool given;
        int64_t value;
    } ints[] = {{RLX_ATTR_BEFORE, bounded, reach},
                {RLX_ATTR_AFTER, a->causal || bounded, a->causal ? 0 : reach},
                {RLX_ATTR_AT, a->at != 0, a->at},
                {RLX_ATTR_ALIGNED, a->aligned, 1},
                {RLX_ATTR_LEFT, a->left != 0, a->left},
                {RLX_ATTR_CHUNK, a->chunk != 0, a->chunk},
                {RLX_ATTR_BLOCK, a->block != 0, a->block}};
    rlx_attr attrs[10] = {rlx_attr_float(RLX_ATTR_SCALE, a->scale)};
    rlx_ir_value *in[10] = {a->q, a->k, a->v};
    char with[64] = "";
    int nin = 3, nattrs = 1;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!options[i].value)
            continue;
        in[nin++] = options[i].value;
        strcat(strcat(with, *with ? " " : ""), options[i].word);
    }
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (ints[i].given)
            attrs[nattrs++] = rlx_attr_int(ints[i].key, ints[i].value);
    if (a->softcap != 0)
        attrs[nattrs++] = rlx_attr_float(RLX_ATTR_SOFTCAP, a->softcap);
    if (*with)
        attrs[nattrs++] = rlx_attr_text(RLX_ATTR_WITH, with);
    return rlx_ir_build(b, RLX_HIR_DENSE_ATTENTION, nin, in, nattrs, attrs, NULL);
}

rlx_ir_node *rlx_hir_build_call(rlx_ir_builder *b, const rlx_ir_func *callee, int nin,
                                rlx_ir_value *const *in, int64_t first, int64_t count)
{
    const rlx_attr attrs[] = {rlx_attr_text(RLX_ATTR_CALLEE, callee->name),
                              rlx_attr_int(RLX_ATTR_FIRST, first),
                              rlx_attr_int(RLX_ATTR_COUNT, count)};
    return rlx_ir_build_node(b, RLX_HIR_CALL, nin, in, 3, attrs, callee->nresults, callee->results);
}

/* ---- routing ----------------------------------------------------------------------------------
 */

/* The first result of a node of two, the second to *second. */
static rlx_ir_value *both(const rlx_ir_node *n, rlx_ir_value **second)
{
    if (second)
        *second = n ? n->out[1] : NULL;
    return n ? n->out[0] : NULL;
}

rlx_ir_value *rlx_hir_build_top_k(rlx_ir_builder *b, rlx_ir_value *x, int64_t count, bool smallest,
                                  rlx_ir_value **indices)
{
    rlx_attr attrs[2];
    int n = 0;
    if (count)
        attrs[n++] = rlx_attr_int(RLX_ATTR_COUNT, count);
    if (smallest)
        attrs[n++] = rlx_attr_text(RLX_ATTR_KIND, "smallest");
    return both(rlx_ir_build_node(b, RLX_HIR_TOP_K, 1, &x, n, attrs, 2, NULL), indices);
}

rlx_ir_value *rlx_hir_build_route(rlx_ir_builder *b, const rlx_hir_route *r, rlx_ir_value **experts)
{
    rlx_attr attrs[6] = {rlx_attr_text(RLX_ATTR_KIND, r->sigmoid ? "sigmoid" : "softmax"),
                         rlx_attr_int(RLX_ATTR_COUNT, r->count)};
    int n = 2;
    if (r->groups) {
        attrs[n++] = rlx_attr_int(RLX_ATTR_GROUPS, r->groups);
        attrs[n++] = rlx_attr_int(RLX_ATTR_CHOSEN, r->chosen);
    }
    if (r->normalize)
        attrs[n++] = rlx_attr_int(RLX_ATTR_NORMALIZE, 1);
    if (r->scale != 1)
        attrs[n++] = rlx_attr_float(RLX_ATTR_SCALE, r->scale);
    rlx_ir_value *in[] = {r->logits, r->bias};
    return both(rlx_ir_build_node(b, RLX_HIR_ROUTE, r->bias ? 2 : 1, in, n, attrs, 2, NULL),
                experts);
}

rlx_ir_value *rlx_hir_build_experts(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                    rlx_ir_value *ids)
{
    return rlx_ir_build(b, RLX_HIR_EXPERTS, 3, (rlx_ir_value *[]){x, w, ids}, 0, NULL, NULL);
}
