/* tests/jit/block_kernels.h: kernels that load from block formats: tiles of several widths, indices of which
 * more and less is known, limits on both axes, rows that are gathered; codes, scales, minima; bytes that are
 * scales of every kind, infinities and NaNs too. One symbol: N. */
#ifndef RLX_TESTS_JIT_BLOCK_KERNELS_H
#define RLX_TESTS_JIT_BLOCK_KERNELS_H

#include "tests/jit/subject.h"

enum {
    BLOCK_FORMATS = 0
#define FORMAT(NAME, text, elems, bytes, kind) +(RLX_KIND_##kind == RLX_KIND_BLOCK)
#include "runtime/base/formats.def"
#undef FORMAT
};
extern const char *const block_formats[];

/* Whether block_kernels_all makes only a few: 4-bit formats and whole bytes share most of their code. */
bool block_is_rare(const char *format);
void block_kernels_all(subject *s, const char *format);
void block_kernels_few(subject *s, const char *format); /* all with RLX_SWEEP=1 */
/* One: values, codes, scales, minima, each element an invocation's own. */
void block_kernels_small(subject *s, const char *format);
/* Adds a kernel of turned rows of blocks to a module's text, as they are lowered: of so many columns at once,
 * whose minima are stored. Its symbol: TOKENS. */
void block_put_turned(rlx_text *t, const char *format, int columns);
/* Of such a kernel: %xs, the sums of groups of %act's row %i, through team memory %sums. */
void block_put_sums(rlx_text *t, int group);

#endif
