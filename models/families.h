/* models/families.h: the families that are built in, and what their files share.
 * What a family is to the frontend: frontend/family.h. */
#ifndef RLX_MODELS_FAMILIES_H
#define RLX_MODELS_FAMILIES_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "frontend/family.h"
#include "frontend/rope.h"

/* rlx_<name>_build: see rlx_family in frontend/family.h. */
#define FAMILY(name, model_type)                                                        \
    rlx_status rlx_##name##_build(const cJSON *config, rlx_weights *w, rlx_flow **flow, \
                                  rlx_model_config *out);
#include "models/families.def"
#undef FAMILY

/* ---- config.json --------------------------------------------------------------------------------
 * Readers of one key. A key that is missing or null gives `absent`; RLX_CONFIG_REQUIRED makes that
 * an error. Errors (RLX_INVALID_FILE) name the key and what it holds. */

#define RLX_CONFIG_REQUIRED INT64_MIN

rlx_status rlx_config_get_int(const cJSON *config, const char *key, int64_t min, int64_t max,
                              int64_t absent, int64_t *out);
rlx_status rlx_config_get_real(const cJSON *config, const char *key, double absent, double *out);
rlx_status rlx_config_get_bool(const cJSON *config, const char *key, bool absent, bool *out);
/* Lent by `config`. */
rlx_status rlx_config_get_text(const cJSON *config, const char *key, const char *absent,
                               const char **out);
bool rlx_config_has(const cJSON *config, const char *key);     /* there, and not null */
bool rlx_config_is_null(const cJSON *config, const char *key); /* there, and null */
/* bos_token_id and eos_token_id (a number or a list). */
rlx_status rlx_config_get_ends(const cJSON *config, rlx_model_config *out);
/* How an error calls a key: "config.json: KEY", or of a config that models/gguf.c made "metadata ARCH.KEY". */
enum { RLX_CONFIG_NAME_CHARS = 96 };
const char *rlx_config_name(const cJSON *config, const char *key, bool whole,
                            char out[RLX_CONFIG_NAME_CHARS]);
#define CONFIG_NAME(config, key) \
    rlx_config_name(config, key, true, (char[RLX_CONFIG_NAME_CHARS]){0})
#define CONFIG_KEY(config, key) /* the same without what stands before the key */ \
    rlx_config_name(config, key, false, (char[RLX_CONFIG_NAME_CHARS]){0})
/* What GGUF files add to a config (models/gguf.c): their architecture, in nested objects, too; whether rotary pairs are elements 2i, 2i + 1 of a head; and
 * to the weights: divisors of the rotary frequencies, f32[D/2]. */
#define RLX_CONFIG_GGUF "gguf_architecture"
#define RLX_CONFIG_INTERLEAVED "rope_interleaved"
/* The suffix of the metadata that becomes a key; NULL: none does. */
const char *rlx_gguf_suffix_of(const char *key);
#define RLX_ROPE_FACTORS "rope_freqs.weight"
/* Divisors for sequences beyond the original length and for others: they become config keys. */
#define RLX_ROPE_FACTORS_LONG "rope_factors_long.weight"
#define RLX_ROPE_FACTORS_SHORT "rope_factors_short.weight"
/* By what readers of GGUF files multiply cosines and sines under yarn, whatever the file says beside it. */
double rlx_gguf_yarn_attention(double factor);
/* NULL when there are none; lent by the weights. */
rlx_status rlx_config_get_rope_factors(const rlx_weights *w, int64_t rotary_dim, const float **out);
/* The rotary positions in any of the circulating styles: `rope_theta` with `rope_scaling` (type or
 * rope_type), or `rope_parameters`; numbers that make sense (rlx_rope_check). RLX_UNSUPPORTED names
 * a type or key that we do not have. */
rlx_status rlx_config_get_rope(const cJSON *config, int64_t head_dim, int64_t max_positions,
                               double absent_theta, rlx_rope_spec *out);
/* What get_rope allocated, whether it succeeded or not. */
void rlx_config_free_rope(rlx_rope_spec *spec);

#endif
