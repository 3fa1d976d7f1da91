/* frontend/family.h: what a model family tells the frontend. Families live in models/, above the frontend;
 * this header is all that the two know of each other.
 *
 *   config.json + weights --family->build--> flow + rlx_model_config     (models/<family>.c)
 *   model_type            --rlx_family_find--> family                    (models/registry.c, families.def)
 *
 * rlx_model_load reads the directory, asks for the family by config.json's "model_type", and compiles
 * and runs the flow that it builds; it knows no family by name.
 */
#ifndef RLX_FRONTEND_FAMILY_H
#define RLX_FRONTEND_FAMILY_H

#include <stdint.h>

#include "frontend/rlx.h"

struct cJSON;
struct rlx_gguf; /* runtime/gguf.h */
struct rlx_gguf_head; /* runtime/gguf_write.h */
struct rlx_text; /* runtime/base/text.h */
struct rlx_rope; /* frontend/rope.h */

enum { RLX_MAX_EOS = 8 };

/* What running a causal language model needs to know beyond its flow. */
typedef struct rlx_model_config {
    const char *family; /* "llama"; static */
    int64_t layers, hidden, vocab;
    int64_t heads, kv_heads, head_dim;
    int64_t max_positions; /* max_position_embeddings */
    int32_t bos;           /* -1: none */
    int32_t eos[RLX_MAX_EOS];
    int neos;
    struct rlx_rope *rope; /* heap; whoever holds the config frees it with rlx_rope_destroy. NULL: nothing rotates */
    const char *output;    /* the flow's output with one row of vocab per wanted token: "logits"; static */
} rlx_model_config;

typedef struct rlx_family {
    const char *model_type; /* of config.json: "llama" */
    /* Reads `config` (borrowed), records the flow and fills *out. May add aliases (tied embeddings) to `w`,
     * and looks there for what decides the flow (is there an lm_head?). Every key of the config that
     * changes the computation is honoured or refused by name (RLX_UNSUPPORTED). On success the
     * caller owns *flow and out->rope; on failure nothing is left. */
    rlx_status (*build)(const struct cJSON *config, rlx_weights *w, rlx_flow **flow,
                        rlx_model_config *out);
} rlx_family;

/* NULL when no family has that model_type. */
const rlx_family *rlx_family_find(const char *model_type);
/* GGUF files (models/gguf.c): the metadata of the first of `n` parts as a config that a family's build takes (the
 * caller's, to be deleted), and with that config a file's tensors under the names that families look for. The second takes the file
 * over, as rlx_weights_take_gguf does. RLX_UNSUPPORTED names an architecture or key that nobody reads. */
rlx_status rlx_family_read_gguf(struct rlx_gguf *const *parts, int n, struct cJSON **config);
rlx_status rlx_family_add_gguf(rlx_weights *w, const struct cJSON *config, struct rlx_gguf *f);
/* Weights under the names of other files (GGUF's, Meta's, with a prefix) get those that families look for, too
 * (models/resolve.c); the config, what such files mean beside. Once or more. */
rlx_status rlx_family_resolve_names(struct cJSON *config, rlx_weights *w);
/* The way back (models/gguf_write.c): a config as a GGUF file's metadata, and what its tensors become there.
 * RLX_UNSUPPORTED names what such files cannot say. */
typedef struct rlx_family_rope_factors {
    const char *name; /* of the tensor that holds them: "rope_freqs.weight"; static */
    float *values;    /* heap */
    int64_t n;
} rlx_family_rope_factors;
typedef struct rlx_family_gguf {
    const char *arch; /* "llama"; static */
    bool fused;       /* q, k and v are one matrix there, gate and up another */
    int64_t rotary;   /* so many first rows of each head of q and k are stored there for rotary pairs 2i, 2i + 1; 0: none */
    rlx_family_rope_factors factors[2];
    int nfactors;
} rlx_family_gguf;
rlx_status rlx_family_write_gguf(const struct cJSON *config, struct rlx_gguf_head *head, rlx_family_gguf *out);
void rlx_family_gguf_deinit(rlx_family_gguf *g);
/* The name of a tensor of families in files of an architecture. */
rlx_status rlx_family_gguf_name(const char *arch, const char *name, struct rlx_text *out);
/* All families, for messages: count, and the i-th. */
int rlx_family_count(void);
const rlx_family *rlx_family_at(int i);

#endif
