/* runtime/base/format_grid.c: the grids of block_grids.def as bytes, spread out once. */
#include <assert.h>
#include <pthread.h>

#include "runtime/base/format.h"

/* All of them behind one another. */
struct grids {
#define BLOCK_GRID(NAME, entries, run, levels, values, gaps) int8_t NAME[(entries) * (run)];
#include "runtime/base/block_grids.def"
#undef BLOCK_GRID
};

typedef struct grid {
    int entries, run, levels;
    int8_t value[8]; /* of each level */
    const char *gaps;
    size_t first; /* its place in struct grids */
} grid;

enum {
#define BLOCK_GRID(NAME, entries, run, levels, values, gaps) GRID_##NAME,
#include "runtime/base/block_grids.def"
#undef BLOCK_GRID
    GRID_COUNT
};

static const grid grids[GRID_COUNT] = {
#define VALUES(...) \
    {               \
        __VA_ARGS__ \
    }
#define BLOCK_GRID(NAME, entries, run, levels, values, gaps) \
    [GRID_##NAME] = {entries, run, levels, values, gaps, offsetof(struct grids, NAME)},
#include "runtime/base/block_grids.def"
#undef BLOCK_GRID
#undef VALUES
};

static const int8_t grid_of[RLX_FORMAT_COUNT] = {
#define GRID(NAME, grid) [RLX_##NAME] = GRID_##grid + 1,
#include "runtime/base/block_layouts.def"
};

static struct grids spread;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 36 : 62;
}

static void spread_grid(const grid *g)
{
    enum { MORE = 63 }; /* what a '-' adds */
    int8_t *to = (int8_t *)&spread + g->first;
    int number = -1;
    for (const char *gap = g->gaps; *gap; gap++) {
        if (*gap == '-') {
            number += MORE;
            continue;
        }
        number += digit(*gap) + 1;
        int rest = number;
        for (int i = 0; i < g->run; i++, rest /= g->levels)
            *to++ = g->value[rest % g->levels];
    }
    assert(to == (int8_t *)&spread + g->first + g->entries * g->run);
}

static void spread_all(void)
{
    for (int g = 0; g < GRID_COUNT; g++)
        spread_grid(&grids[g]);
}

rlx_block_grid rlx_format_grid(rlx_format f)
{
    assert(grid_of[f] > 0);
    const grid *g = &grids[grid_of[f] - 1];
    pthread_once(&once, spread_all);
    return (rlx_block_grid){g->entries, g->run, (const int8_t *)&spread + g->first};
}
