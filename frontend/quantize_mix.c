/* frontend/quantize_mix.c: which format a tensor gets: quantize_mixes.def. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "frontend/quantize.h"
#include "runtime/base/format.h"

typedef enum role {
    ROLE_OTHER,
    ROLE_ATTN_Q,
    ROLE_ATTN_K,
    ROLE_ATTN_V,
    ROLE_ATTN_QKV,
    ROLE_ATTN_OUTPUT,
    ROLE_FFN_GATE,
    ROLE_FFN_UP,
    ROLE_FFN_DOWN,
    ROLE_EMBEDDING,
    ROLE_OUTPUT
} role;

typedef enum when {
    WHEN_ALWAYS,
    WHEN_GQA4,
    WHEN_SOME,
    WHEN_EIGHTH,
    WHEN_SIXTEENTH,
    WHEN_FIRST2,
    WHEN_FIRST4,
    WHEN_MIDDLE,
    WHEN_PLAIN,
    WHEN_EIGHTH_PLAIN,
    WHEN_EIGHTH_WEIGHED
} when;

enum {
#define MIX(NAME, id, format, output, embedding, what) MIX_##NAME,
#include "frontend/quantize_mixes.def"
    MIXES
};

static const struct {
    const char *name, *what;
    int id;
    rlx_format format, output, embedding;
} mixes[MIXES] = {
#define MIX(NAME, id, format, output, embedding, what) \
    {#NAME, what, id, RLX_##format, RLX_##output, RLX_##embedding},
#include "frontend/quantize_mixes.def"
};

static const struct {
    int mix;
    role role;
    when when;
    rlx_format format;
} rules[] = {
#define RULE(NAME, role, when, format) {MIX_##NAME, ROLE_##role, WHEN_##when, RLX_##format},
#include "frontend/quantize_mixes.def"
};

static const rlx_format instead[RLX_FORMAT_COUNT] = {
#define INSTEAD(NAME, other) [RLX_##NAME] = RLX_##other,
#include "frontend/quantize_mixes.def"
};

int rlx_quantize_find_mix(const char *name)
{
    for (int i = 0; i < MIXES; i++)
        if (!strcasecmp(mixes[i].name, name))
            return i;
    return strcasecmp(name, "Q3_K") == 0   ? MIX_Q3_K_M
           : strcasecmp(name, "Q4_K") == 0 ? MIX_Q4_K_M
           : strcasecmp(name, "Q5_K") == 0 ? MIX_Q5_K_M
                                           : -1;
}

int rlx_quantize_mix_id(int mix)
{
    return mixes[mix].id;
}

int rlx_quantize_type_count(void)
{
    return MIXES;
}

const char *rlx_quantize_type_name(int i)
{
    return i >= 0 && i < MIXES ? mixes[i].name : NULL;
}

const char *rlx_quantize_type_about(int i)
{
    return i >= 0 && i < MIXES ? mixes[i].what : NULL;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* The layer in "blk.3.attn_q.weight"; -1: it is in none. *rest: behind its dot. */
static int layer_of(const char *name, const char **rest)
{
    int layer = -1, n = 0;
    *rest = name;
    if (sscanf(name, "blk.%d.%n", &layer, &n) < 1 || n == 0)
        return -1;
    *rest = name + n;
    return layer;
}

static role role_of(const char *name)
{
    static const struct {
        const char *name;
        role role;
    } names[] = {{"attn_q.weight", ROLE_ATTN_Q},
                 {"attn_k.weight", ROLE_ATTN_K},
                 {"attn_v.weight", ROLE_ATTN_V},
                 {"attn_qkv.weight", ROLE_ATTN_QKV},
                 {"attn_output.weight", ROLE_ATTN_OUTPUT},
                 {"ffn_gate.weight", ROLE_FFN_GATE},
                 {"ffn_up.weight", ROLE_FFN_UP},
                 {"ffn_down.weight", ROLE_FFN_DOWN},
                 {"ffn_gate_exps.weight", ROLE_FFN_GATE},
                 {"ffn_up_exps.weight", ROLE_FFN_UP},
                 {"ffn_down_exps.weight", ROLE_FFN_DOWN},
                 {"token_embd.weight", ROLE_EMBEDDING},
                 {"output.weight", ROLE_OUTPUT}};
    const char *rest;
    layer_of(name, &rest);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(rest, names[i].name))
            return names[i].role;
    return ROLE_OTHER;
}

/* Matrices, but for those that are small and decide much, and tables of positions. */
static bool is_quantized(const rlx_tensor *t)
{
    static const char *const kept[] = {"_norm.",      "ffn_gate_inp.", "position_embd",
                                       "token_types", "ssm_conv1d",    "shortconv.conv.",
                                       "attn_rel_b",  "rope_freqs"};
    static const char suffix[] = "weight";
    size_t n = strlen(t->name), k = sizeof suffix - 1;
    if (t->rank < 2 || n < k || strcmp(t->name + n - k, suffix))
        return false;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strstr(t->name, kept[i]))
            return false;
    return true;
}

static bool holds(when w, int layer, const rlx_quantize_model *m)
{
    const int n = m->layers;
    switch (w) {
    case WHEN_ALWAYS:
        return true;
    case WHEN_GQA4:
        return m->queries_per_key >= 4;
    case WHEN_SOME:
        return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case WHEN_EIGHTH:
        return layer < n / 8;
    case WHEN_SIXTEENTH:
        return layer < n / 16;
    case WHEN_FIRST2:
        return layer < 2;
    case WHEN_FIRST4:
        return layer < 4;
    case WHEN_MIDDLE:
        return layer >= n / 8 && layer < 7 * n / 8;
    case WHEN_PLAIN:
        return !m->weighed;
    case WHEN_EIGHTH_PLAIN:
        return layer < n / 8 && !m->weighed;
    case WHEN_EIGHTH_WEIGHED:
        return layer < n / 8 && m->weighed;
    }
    return false;
}

/* Whole blocks in every row. */
static rlx_format fit_row(rlx_format f, int64_t row)
{
    if (row % rlx_format_get(f)->block_elems && instead[f] != RLX_FORMAT_NONE)
        f = instead[f];
    return row % rlx_format_get(f)->block_elems ? RLX_F16 : f;
}

rlx_format rlx_quantize_choose(int mix, const rlx_quantize_model *m, const rlx_tensor *t,
                               rlx_format *wanted)
{
    const char *rest;
    if (rlx_format_is_int(t->format) || t->format == RLX_BOOL)
        return *wanted = t->format;
    if (!is_quantized(t))
        return *wanted = RLX_F32;
    const role is = role_of(t->name);
    int layer = layer_of(t->name, &rest);
    rlx_format f = mixes[mix].format;
    if (is == ROLE_OUTPUT || (is == ROLE_EMBEDDING && m->tied))
        f = mixes[mix].output;
    else if (is == ROLE_EMBEDDING && mixes[mix].embedding != RLX_FORMAT_NONE)
        f = mixes[mix].embedding;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].mix == mix && rules[i].role == is && holds(rules[i].when, layer, m)) {
            f = rules[i].format;
            break;
        }
    *wanted = f;
    return fit_row(f, t->dim[t->rank - 1]);
}
