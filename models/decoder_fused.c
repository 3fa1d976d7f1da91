/* models/decoder_fused.c: checkpoints that keep several matrices in one. Their rows become tensors
 * of their own, where they lie:
 *
 *   self_attn.qkv_proj [(N+2G)*D,H]  ->  q_proj [N*D,H], k_proj [G*D,H], v_proj [G*D,H]
 *   mlp.gate_up_proj   [2I,H]        ->  gate_proj [I,H], up_proj [I,H]
 */
#include <stdio.h>

#include "models/decoder.h"

enum { NAME_CHARS = 160, PARTS = 3 };

/* The parts of "STEM.FUSED.KIND", as "STEM.PART.KIND", when there is such a tensor. */
static rlx_status split(rlx_weights *w, const char *stem, const char *kind, const char *fused,
                        int n, const char *const *parts, const int64_t *rows)
{
    char name[NAME_CHARS], part[NAME_CHARS];
    int64_t first = 0, all = 0;
    snprintf(name, sizeof name, "%s.%s.%s", stem, fused, kind);
    const rlx_tensor *t = rlx_weights_find(w, name);
    for (int i = 0; i < n; i++)
        all += rows[i];
    if (!t)
        return RLX_OK;
    if (t->rank < 1 || t->dim[0] != all)
        return RLX_FAIL(RLX_INVALID_FILE, "weight '%s' has %lld rows, and by the config %lld", name,
                        (long long)(t->rank ? t->dim[0] : 1), (long long)all);
    for (int i = 0; i < n; first += rows[i++]) {
        snprintf(part, sizeof part, "%s.%s.%s", stem, parts[i], kind);
        if (!rlx_weights_find(w, part))
            RLX_TRY(rlx_weights_add_rows(w, part, name, first, rows[i]));
    }
    return RLX_OK;
}

rlx_status rlx_decoder_split_fused(const rlx_decoder *d, const char *prefix, rlx_weights *w)
{
    static const char *const qkv[PARTS] = {"q_proj", "k_proj", "v_proj"};
    static const char *const mlp[] = {"gate_proj", "up_proj"};
    static const char *const kinds[] = {"weight", "bias"};
    const int64_t kv = d->kv_heads * d->head_dim;
    const int64_t heads[PARTS] = {d->heads * d->head_dim, kv, kv}, inner[] = {d->inner, d->inner};
    char stem[NAME_CHARS / 2];
    for (int64_t i = 0; i < d->layers; i++)
        for (int k = 0; k < 2; k++) {
            snprintf(stem, sizeof stem, "%slayers.%lld.self_attn", prefix, (long long)i);
            RLX_TRY(split(w, stem, kinds[k], "qkv_proj", PARTS, qkv, heads));
            snprintf(stem, sizeof stem, "%slayers.%lld.mlp", prefix, (long long)i);
            RLX_TRY(split(w, stem, kinds[k], "gate_up_proj", 2, mlp, inner));
        }
    return RLX_OK;
}
