/* tests/golden/diff.h: what changed between two texts, line by line. */
#ifndef RLX_TESTS_GOLDEN_DIFF_H
#define RLX_TESTS_GOLDEN_DIFF_H

#include "runtime/base/text.h"

/* Appends "-" lines of `want` and "+" lines of `got` with a few equal lines around them; nothing
 * when the texts are equal. */
void diff_lines(const char *want, const char *got, rlx_text *out);

#endif
