/* frontend/tokenizer.h: text to ids and back, as a model's own file says: a Hugging Face
 * tokenizer.json, sentencepiece's tokenizer.model, tiktoken's list, GGUF metadata, vocab.txt, or
 * vocab.json with merges.txt. frontend/text/ has the way of a text; docs/tokenizers.md what is
 * offered. What would change an id and is not offered is refused by its name (RLX_UNSUPPORTED).
 */
#ifndef RLX_FRONTEND_TOKENIZER_H
#define RLX_FRONTEND_TOKENIZER_H

#include "frontend/rlx.h"
#include "runtime/base/status.h"

struct rlx_gguf; /* runtime/gguf.h */

/* As rlx_tokenizer_load, but *out is NULL when what `path` names has no tokenizer. */
rlx_status rlx_tokenizer_try_load(const char *path, const rlx_tokenizer_options *options,
                                  rlx_tokenizer **out);
/* tokenizer.json from memory; `name` stands for the file in messages. */
rlx_status rlx_tokenizer_parse(const char *json, const char *name, rlx_tokenizer **out);
/* Reads the tokenizer.ggml.* metadata of a GGUF file, which need not outlive the tokenizer. *out is
 * NULL when the file has none. */
rlx_status rlx_tokenizer_read_gguf(const struct rlx_gguf *f, const char *name, rlx_tokenizer **out);
/* A sentencepiece model from memory. */
rlx_status rlx_tokenizer_parse_sentencepiece(const void *data, size_t bytes, const char *name,
                                             rlx_tokenizer **out);

#endif
