/* mir/ops/fold.c: the functions that reduce and scan fold elements with. */
#include <math.h>

#include "mir/ops/ops.h"

bool rlx_mir_is_fold(rlx_map_fn fn, rlx_format f)
{
    if (f == RLX_BOOL)
        return fn == RLX_FN_AND || fn == RLX_FN_OR;
    bool numbers = rlx_format_is_float(f) || rlx_format_is_int(f);
    return numbers &&
           (fn == RLX_FN_ADD || fn == RLX_FN_MUL || fn == RLX_FN_MIN || fn == RLX_FN_MAX);
}

/* The least (greatest) value of an integer format. */
static int64_t bound_of(rlx_format f, bool greatest)
{
    int bits = 8 * (int)rlx_format_bytes(f, 1);
    if (rlx_format_get(f)->kind == RLX_KIND_UINT)
        return greatest ? (int64_t)(UINT64_MAX >> (64 - bits)) : 0;
    return greatest ? INT64_MAX >> (64 - bits) : INT64_MIN >> (64 - bits);
}

rlx_scalar rlx_mir_fold_start(rlx_map_fn fn, rlx_format f)
{
    bool is_float = rlx_format_is_float(f);
    switch (fn) {
    case RLX_FN_MUL:
        return is_float ? (rlx_scalar){.f = 1} : (rlx_scalar){.i = 1};
    case RLX_FN_MIN:
    case RLX_FN_MAX:
        if (is_float)
            return (rlx_scalar){.f = fn == RLX_FN_MIN ? INFINITY : -INFINITY};
        return (rlx_scalar){.i = bound_of(f, fn == RLX_FN_MIN)};
    case RLX_FN_AND:
        return (rlx_scalar){.i = 1};
    default:
        return is_float ? (rlx_scalar){.f = 0} : (rlx_scalar){.i = 0};
    }
}
