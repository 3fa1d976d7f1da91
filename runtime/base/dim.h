/* runtime/base/dim.h: extents as quasi-affine expressions of symbols.
 *
 * An rlx_dim is an int64_t: >= 0 is a constant; < 0 names an interned expression of an rlx_dims
 * table, so equal expressions are equal integers. A table serves one compilation: modules of all
 * levels borrow it. Simplification is canonical for sums and products with constants, so that
 * (TOKENS*4)/4 is TOKENS. Extents are never negative: rules rely on it. Text does not depend on the
 * order in which expressions were made. Any number of threads may read while none adds.
 *
 * Text: `TOKENS`, `(TOKENS+3)`, `(TOKENS*64)`, `floordiv(a,b)`, `ceildiv(a,b)`, `mod(a,b)`,
 * `min(a,b)`, `max(a,b)`.
 */
#ifndef RLX_BASE_DIM_H
#define RLX_BASE_DIM_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

typedef int64_t rlx_dim;
#define RLX_DIM_INVALID INT64_MIN
enum { RLX_MAX_SYMBOLS = 16 };

typedef enum rlx_dim_op {
    RLX_DIM_SYMBOL, /* a = index of the symbol */
    RLX_DIM_ADD,
    RLX_DIM_MUL,      /* b is a constant */
    RLX_DIM_FLOORDIV, /* b is a constant > 0, as for the next two */
    RLX_DIM_CEILDIV,
    RLX_DIM_MOD,
    RLX_DIM_MIN,
    RLX_DIM_MAX
} rlx_dim_op;

typedef struct rlx_dim_node {
    rlx_dim_op op;
    rlx_dim a, b;
} rlx_dim_node;

typedef struct rlx_dims rlx_dims;

rlx_dims *rlx_dims_create(void);
void rlx_dims_destroy(rlx_dims *t);

/* A symbol by name; made when new. RLX_DIM_INVALID when the table is full or out of memory. */
rlx_dim rlx_dim_symbol(rlx_dims *t, const char *name);
/* The index of a symbol, or -1. Symbols are numbered 0.. in order of making. */
int rlx_dim_symbol_index(const rlx_dims *t, const char *name);
/* Whether `d` is the symbol of that name and nothing else. */
bool rlx_dim_is_symbol(const rlx_dims *t, rlx_dim d, const char *name);
int rlx_dim_symbol_count(const rlx_dims *t);
const char *rlx_dim_symbol_name(const rlx_dims *t, int index); /* lent */

/* The simplified expression. RLX_DIM_INVALID when an operand is, when it is not quasi-affine (two
 * symbolic factors, a divisor that is no constant > 0), does not fit, or when memory is short. */
rlx_dim rlx_dim_make(rlx_dims *t, rlx_dim_op op, rlx_dim a, rlx_dim b);
static inline bool rlx_dim_is_const(rlx_dim d)
{
    return d >= 0;
}
/* The node of a non-constant dim. */
rlx_dim_node rlx_dim_get(const rlx_dims *t, rlx_dim d);

/* Value under a binding of every symbol (values[i] for symbol i). */
int64_t rlx_dim_eval(const rlx_dims *t, rlx_dim d, const int64_t *values);
/* Largest value when every symbol lies in 0..upper[i]; exact for monotone expressions, an upper
 * bound for mod. INT64_MAX as an upper[i] means unbounded; results saturate there. */
int64_t rlx_dim_upper(const rlx_dims *t, rlx_dim d, const int64_t *upper);

void rlx_dim_print(const rlx_dims *t, rlx_dim d, rlx_text *out);
/* Reads one dim at *s and advances it (on an error: to the error). Unknown symbols are made. */
rlx_status rlx_dim_parse(rlx_dims *t, const char **s, rlx_dim *out);

#endif
