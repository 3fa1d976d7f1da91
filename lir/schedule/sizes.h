/* lir/schedule/sizes.h: sums with extents, for those that cut regions. */
#ifndef RLX_LIR_SCHEDULE_SIZES_H
#define RLX_LIR_SCHEDULE_SIZES_H

#include <stdint.h>

static inline int64_t ceil_div(int64_t v, int64_t by)
{
    return (v + by - 1) / by;
}

static inline int64_t round_up(int64_t v, int64_t to)
{
    return ceil_div(v, to) * to;
}

static inline int64_t at_least(int64_t v, int64_t least)
{
    return v > least ? v : least;
}

static inline int64_t at_most(int64_t v, int64_t most)
{
    return v < most ? v : most;
}

#endif
