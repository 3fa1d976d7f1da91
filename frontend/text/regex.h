/* frontend/text/regex.h: regular expressions of tokenizer files, which are Oniguruma's (of Ruby's
 * syntax), by PCRE2. */
#ifndef RLX_FRONTEND_TEXT_REGEX_H
#define RLX_FRONTEND_TEXT_REGEX_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

/* regex_translate.c: a pattern as PCRE2 spells it. *out is the caller's, also when it fails. */
rlx_status rlx_regex_translate(const char *pattern, rlx_text *out);

/* RLX_UNSUPPORTED, with the pattern and the place, for what PCRE2 does not know or the two
 * understand differently. Freed with pcre2_code_free. */
rlx_status rlx_regex_compile(const char *pattern, pcre2_code **out);

/* What matching needs, kept from one match to the next. {0}: made when first used. */
typedef struct rlx_regex_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
} rlx_regex_scratch;
void rlx_regex_scratch_deinit(rlx_regex_scratch *s);

/* The matches of a text, one after the other, as Oniguruma finds them. {0} begins. */
typedef struct rlx_regex_walk {
    size_t from, to; /* of the last match; equal for an empty one */
    size_t at;       /* where the next may begin */
    bool any;
} rlx_regex_walk;
/* *found is false when there are no more. The text is UTF-8. RLX_EXHAUSTED when the pattern
 * backtracks without end. */
rlx_status rlx_regex_next(const pcre2_code *regex, rlx_regex_scratch *s, const char *text,
                          size_t bytes, rlx_regex_walk *walk, bool *found);

#endif
