/* frontend/tokenizer.h: text to ids and back, as a Hugging Face tokenizer.json, a GGUF file's
 * metadata or sentencepiece's tokenizer.model says.
 *
 *   text --added tokens cut out--> parts --normalizer--> --pre-tokenizer--> pieces --BPE--> ids
 *        --post-processor--> ids with the special ones around them
 *   ids --decoder--> bytes, streamed as whole UTF-8 characters
 *
 * Understood: byte-level BPE (GPT-2, Llama 3, Qwen) and BPE with byte fallback (Llama 2, Phi 3).
 * Anything else that would change an id is refused by its name (RLX_UNSUPPORTED).
 */
#ifndef RLX_FRONTEND_TOKENIZER_H
#define RLX_FRONTEND_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

struct rlx_gguf; /* runtime/gguf.h */
typedef struct rlx_tokenizer rlx_tokenizer;

/* Reads tokenizer.json. A tokenizer is immutable: any number of threads may use it. */
rlx_status rlx_tokenizer_load(const char *path, rlx_tokenizer **out);
/* The same from memory; `name` stands for the file in messages. */
rlx_status rlx_tokenizer_parse(const char *json, const char *name, rlx_tokenizer **out);
/* Reads the tokenizer.ggml.* metadata of a GGUF file, which need not outlive the tokenizer. *out is
 * NULL when the file has none. */
rlx_status rlx_tokenizer_read_gguf(const struct rlx_gguf *f, const char *name, rlx_tokenizer **out);

/* The tokens around a text, where the file does not say whether there are any. */
typedef struct rlx_tokenizer_ends {
    bool bos, eos;
} rlx_tokenizer_ends;
/* Reads a sentencepiece model (BPE); from memory, `name` stands for the file in messages. */
rlx_status rlx_tokenizer_load_sentencepiece(const char *path, const rlx_tokenizer_ends *ends,
                                            rlx_tokenizer **out);
rlx_status rlx_tokenizer_parse_sentencepiece(const void *data, size_t bytes, const char *name,
                                             const rlx_tokenizer_ends *ends, rlx_tokenizer **out);
void rlx_tokenizer_destroy(rlx_tokenizer *t); /* accepts NULL */

/* *ids (malloc'ed, *n of them; NULL for none) of `bytes` bytes of UTF-8. `special`: with the tokens
 * that the post-processor puts around a text. RLX_INVALID_ARGUMENT when the text is not UTF-8. */
rlx_status rlx_tokenizer_encode(const rlx_tokenizer *t, const char *text, size_t bytes,
                                bool special, int32_t **ids, int64_t *n);

/* Ids are 0..count-1; some may be unused. */
int64_t rlx_tokenizer_count(const rlx_tokenizer *t);
/* The bytes that a token stands for inside a text (perhaps part of a character), lent; NULL when
 * there is no such token. */
const char *rlx_tokenizer_bytes(const rlx_tokenizer *t, int32_t id, size_t *len);
bool rlx_tokenizer_is_special(const rlx_tokenizer *t, int32_t id);
/* The id of a token by its text ("<s>"), or -1. */
int32_t rlx_tokenizer_find(const rlx_tokenizer *t, const char *text);

/* Ids to text, one at a time. Bytes wait until they make whole characters; what never can becomes
 * U+FFFD. Special tokens give nothing. */
typedef struct rlx_token_stream {
    const rlx_tokenizer *tokenizer; /* borrowed */
    bool started; /* false: the next token opens the text, and its leading space may belong to the
                     tokenizer */
    size_t held;  /* bytes that wait */
    char hold[4];
} rlx_token_stream;

typedef bool rlx_token_emit(void *user, const char *utf8, size_t bytes);
void rlx_token_stream_init(rlx_token_stream *s, const rlx_tokenizer *t, bool opens_text);
/* Calls `emit` at most a few times; false when `emit` returned false, which then gets nothing more
 * of this stream. */
bool rlx_token_stream_push(rlx_token_stream *s, int32_t id, rlx_token_emit *emit, void *user);
bool rlx_token_stream_end(rlx_token_stream *s, rlx_token_emit *emit, void *user);

#endif
