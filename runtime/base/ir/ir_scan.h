/* runtime/base/ir/ir_scan.h: reading IR text piece by piece; what the parser stands on.
 *
 * A scan always stands at the start of a piece (or the end of the text): blanks, new lines and
 * comments were skipped, and what was skipped is remembered, because a comment that ends a node's
 * line is its place, and operands do not continue on the next line. */
#ifndef RLX_BASE_IR_SCAN_H
#define RLX_BASE_IR_SCAN_H

#include "runtime/base/ir/ir_internal.h"

typedef struct rlx_ir_scan {
    const char *name; /* for messages */
    const char *text; /* lent, NUL-terminated */
    const char *s;
    bool newline;        /* a line ended in what was skipped last */
    const char *comment; /* the comment that ended the line of the last piece, or NULL */
    size_t comment_len;  /* without blanks around */
} rlx_ir_scan;

void rlx_ir_scan_init(rlx_ir_scan *sc, const char *name, const char *text);
/* Moves on to `s`, past what is skipped after it. */
void rlx_ir_scan_to(rlx_ir_scan *sc, const char *s);

/* "NAME:line:column: message"; `at` points into the text. */
rlx_status rlx_ir_scan_fail(const rlx_ir_scan *sc, const char *at, const char *fmt, ...)
    RLX_PRINTF(3, 4);
/* The same as a note above `cause` (NULL stays NULL). */
rlx_status rlx_ir_scan_note(const rlx_ir_scan *sc, const char *at, rlx_status cause);

bool rlx_ir_scan_is(const rlx_ir_scan *sc, char c);
bool rlx_ir_scan_accept(rlx_ir_scan *sc, char c);
rlx_status rlx_ir_scan_expect(rlx_ir_scan *sc, char c, const char *where);
/* A word of letters, digits and `_`; its length, 0 when there is none. Does not move. */
size_t rlx_ir_scan_word(const rlx_ir_scan *sc);
bool rlx_ir_scan_word_is(const rlx_ir_scan *sc, const char *word);
bool rlx_ir_scan_accept_word(rlx_ir_scan *sc, const char *word);
/* A name after `sigil` (`%` or `@`), into the arena. */
rlx_status rlx_ir_scan_name(rlx_ir_scan *sc, char sigil, rlx_arena *arena, const char **out);
rlx_status rlx_ir_scan_int(rlx_ir_scan *sc, int64_t *out);
rlx_status rlx_ir_scan_float(rlx_ir_scan *sc, double *out);
rlx_status rlx_ir_scan_dim(rlx_ir_scan *sc, rlx_dims *dims, rlx_dim *out);
rlx_status rlx_ir_scan_string(rlx_ir_scan *sc, rlx_arena *arena, const char **out);
/* `{` that opens attributes (`{key=`), not a block. */
bool rlx_ir_scan_at_attrs(const rlx_ir_scan *sc);
/* From a `{` to behind the `}` that closes it. */
rlx_status rlx_ir_scan_skip_braces(rlx_ir_scan *sc);

/* A type; a scalar is a tile when `scalar_tiles`. */
rlx_status rlx_ir_scan_type(rlx_ir_scan *sc, rlx_dims *dims, bool scalar_tiles, rlx_ir_type *out);
/* `{key=value, ..}` if it is there: *n attributes in *out, made in the arena. */
rlx_status rlx_ir_scan_attrs(rlx_ir_scan *sc, rlx_dims *dims, rlx_arena *arena, int *n,
                             rlx_attr **out);

#endif
