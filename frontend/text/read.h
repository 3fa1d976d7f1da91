/* frontend/text/read.h: the readers: each fills a description, whose name they put in messages. */
#ifndef RLX_FRONTEND_TEXT_READ_H
#define RLX_FRONTEND_TEXT_READ_H

#include "frontend/text/description.h"

struct rlx_gguf;
struct cJSON;

rlx_status rlx_read_json(rlx_description *d, const char *json, size_t bytes);
/* `config`: tokenizer_config.json; may be NULL. */
rlx_status rlx_read_sentencepiece(rlx_description *d, const void *data, size_t bytes,
                                  const struct cJSON *config);
/* d->pre, when there is one, instead of the file's own; *there is false when the file has no
 * tokenizer. */
rlx_status rlx_read_gguf(rlx_description *d, const struct rlx_gguf *f, bool *there);

/* A list of ranks (tiktoken): "BASE64 RANK" lines. d->pre names the pattern (pre.def); NULL: that
 * of the known list of as many ranks, or RLX_UNSUPPORTED. Special tokens: those of `config`
 * (tokenizer_config.json; may be NULL), or the known list's own. */
rlx_status rlx_read_tiktoken(rlx_description *d, const char *data, size_t bytes,
                             const struct cJSON *config);
bool rlx_is_tiktoken(const char *data, size_t bytes);

/* Mistral's tekken.json: ranks with their pattern and special tokens. rlx_read_json hands it on. */
rlx_status rlx_read_tekken(rlx_description *d, const struct cJSON *root);

/* BERT's vocab.txt, a token a line. `config` may be NULL. */
rlx_status rlx_read_vocab_txt(rlx_description *d, const char *data, size_t bytes,
                              const struct cJSON *config);
/* GPT-2's vocab.json and merges.txt; the pattern by `config`'s tokenizer_class, GPT-2's without. */
rlx_status rlx_read_vocab_json(rlx_description *d, const char *vocab, size_t vocab_bytes,
                               const char *merges, size_t merges_bytes, const struct cJSON *config);

/* added_tokens_decoder of tokenizer_config.json (NULL: none). Those beyond the vocabulary need
 * room; `normalized`: may be matched in normalized text, when they say so. */
rlx_status rlx_config_max_id(const rlx_description *d, const struct cJSON *config, int32_t *max_id);
rlx_status rlx_config_add_tokens(rlx_description *d, const struct cJSON *config, bool normalized);
/* Tokens around a text, as its add_bos_token and add_eos_token say; the keys' defaults. */
rlx_status rlx_config_set_ends(rlx_description *d, const struct cJSON *config, bool bos, bool eos);

#endif
