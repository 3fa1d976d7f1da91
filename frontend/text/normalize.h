/* frontend/text/normalize.h: the normalizer: what lies between added tokens, as the rest sees it.
 */
#ifndef RLX_FRONTEND_TEXT_NORMALIZE_H
#define RLX_FRONTEND_TEXT_NORMALIZE_H

#include "frontend/text/table.h"
#include "runtime/base/text.h"

/* Compiles the steps' patterns (of t->settings and t->strings). */
rlx_status rlx_normalizer_init(rlx_tokenizer *t);
void rlx_normalizer_deinit(rlx_tokenizer *t);
/* *out is replaced. The text is UTF-8, and so is the result. */
rlx_status rlx_tokenizer_normalize(const rlx_tokenizer *t, const char *text, size_t bytes,
                                   rlx_text *out);

/* ---- charsmap.c: sentencepiece's compiled rules */

/* RLX_INVALID_FILE when the bytes are no rules. */
rlx_status rlx_charsmap_check(const char *data, size_t bytes);
/* Hugging Face's way: grapheme by grapheme, the shortest rule first. */
void rlx_charsmap_put(const char *rules, size_t nrules, const char *text, size_t bytes,
                      rlx_text *out);
/* All of sentencepiece's normalizer. */
void rlx_sentencepiece_put(const rlx_tokenizer *t, uint32_t flags, const char *text, size_t bytes,
                           rlx_text *out);

#endif
