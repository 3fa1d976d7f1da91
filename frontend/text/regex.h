/* frontend/text/regex.h: regular expressions of tokenizer files, which are Oniguruma's (of Ruby's
 * syntax), by PCRE2. */
#ifndef RLX_FRONTEND_TEXT_REGEX_H
#define RLX_FRONTEND_TEXT_REGEX_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/status.h"

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

/* The next match at or after `at`; *from is *to for an empty one. *found is false when there is
 * none. The text is UTF-8. RLX_EXHAUSTED when the pattern backtracks without end. */
rlx_status rlx_regex_find(const pcre2_code *regex, rlx_regex_scratch *s, const char *text,
                          size_t bytes, size_t at, size_t *from, size_t *to, bool *found);

#endif
