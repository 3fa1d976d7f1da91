/* lir/schedule/schedule_unit.c: attention over KV pages by a matrix unit of a GPU. */
#include "lir/schedule/schedule.h"

/* Columns: a multiple of those of all units' fragments, and of their chunks. Elements behind a row in team
 * memory. Elements that share a scale, which is a tile's. */
enum { FRAGMENT = 16, PAD = 8, CODES = 32 };

/* Elements of a key in one product; of values in one tile, and in those whose sums stay in registers, beside what is
 * made of codes half as many. */
enum { MOST_PIECE = 128, MOST_TILE = 96, MOST_SHARE = 128 };

static int64_t half_bytes(int64_t n)
{
    return n * (int64_t)sizeof(uint16_t);
}

/* Multiples of FRAGMENT that divide d, `most` at the most; d is one. */
static int part_of(int64_t d, int64_t most)
{
    int64_t n = most / FRAGMENT * FRAGMENT;
    while (d % n != 0)
        n -= FRAGMENT;
    return (int)n;
}

/* What an instance takes of team memory: queries, a result's tile, bounds, maxima and sums of rows; and what
 * goes through the exchange, keys, or weights and values. */
static int64_t unit_bytes(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                          const rlx_lir_attention_schedule *s)
{
    enum { ROW = 16, REST = 256 };
    const int64_t word = sizeof(float), block = s->block + PAD;
    const int64_t keys = half_bytes(s->keys * block);
    const int64_t weights = t->column_matrix.paired ? 0 : half_bytes(s->m * block);
    const int64_t values = weights + half_bytes(s->block * (s->n + PAD));
    return half_bytes(s->m * (shape->width + PAD)) + s->m * (s->n * word + ROW) + REST +
           (keys > values ? keys : values);
}

/* Less team memory; false: it takes the least. */
static bool shrink(const rlx_lir_attention_shape *shape, rlx_lir_attention_schedule *s)
{
    const rlx_lir_attention_schedule before = *s;
    const bool keys = !shape->key_codes && s->keys > FRAGMENT;
    if (keys && s->keys > s->n)
        s->keys = part_of(shape->width, s->keys - FRAGMENT);
    else if (!shape->value_codes && s->n > FRAGMENT)
        s->n = part_of(shape->width, s->n - FRAGMENT);
    else if (keys)
        s->keys = part_of(shape->width, s->keys - FRAGMENT);
    return s->keys != before.keys || s->n != before.n;
}

/* Tiles of values to an instance: those of a head, or a share of them. */
static int share_of(int64_t width, int n, int most)
{
    int64_t tiles = width / n;
    for (int64_t all = tiles; tiles * n > most || all % tiles != 0;)
        tiles--;
    return (int)tiles * n;
}

bool rlx_lir_schedule_attention_unit(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                     rlx_lir_attention_schedule *out)
{
    const rlx_lir_fragment *u = &t->column_matrix;
    if (t->unit != RLX_UNIT_GPU || !u->k || u->stored || t->team % u->lanes != 0 ||
        shape->width % FRAGMENT != 0 || shape->width <= 0)
        return false;
    /* weights are in registers, too, and beside a whole share of sums few more */
    const bool full = u->paired && shape->width > MOST_SHARE;
    rlx_lir_attention_schedule s = {
        .m = u->m * (t->team / u->lanes),
        .block = shape->block,
        .keys = shape->key_codes ? CODES : part_of(shape->width, MOST_PIECE),
        .n = shape->value_codes ? CODES : part_of(shape->width, full ? FRAGMENT : MOST_TILE)};
    while (unit_bytes(t, shape, &s) > 2 * t->team_bytes)
        if (!shrink(shape, &s))
            return false;
    s.share = share_of(shape->width, s.n,
                       shape->key_codes || shape->value_codes ? MOST_SHARE / 2 : MOST_SHARE);
    for (s.rows = s.m; shape->heads % s.rows != 0;)
        s.rows--;
    s.tokens = s.m / s.rows;
    if (s.tokens > shape->tokens)
        s.tokens = shape->tokens > 0 ? (int)shape->tokens : 1;
    for (s.width = 64; s.n % s.width != 0;)
        s.width /= 2;
    *out = s;
    return true;
}
