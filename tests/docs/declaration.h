/* tests/docs/declaration.h: what rlx.h says of a stage, for its page. */
#ifndef RLX_TESTS_DECLARATION_H
#define RLX_TESTS_DECLARATION_H

#include <stdbool.h>

#include "runtime/base/text.h"

/* The C comment that `at` begins, without its marks. */
void put_comment(const char *at, rlx_text *out);
/* The comment in front of rlx_flow_NAME and its neighbours, or in front of the spec that they take;
 * none: nothing. */
void declaration_comment(const char *header, const char *name, rlx_text *out);
/* Its declaration, behind the structs and enums that it takes, and those that these have. */
void declaration_code(const char *header, const char *name, rlx_text *out);
/* Whether an identifier of C code, outside of its comments, is `word` or ends in it. */
bool code_has(const char *code, const char *word);

#endif
