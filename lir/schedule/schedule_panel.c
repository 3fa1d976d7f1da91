/* lir/schedule/schedule_panel.c: contractions by panels of weights (mir/lower/lower_panel.c).
 *
 * From the inside outwards, what each level of the machine holds while something goes by:
 *   registers, or tiles  m x n sums, while K goes by
 *   half of a first-level cache and a bit   a column tile's panel: depth x n, while rows go by
 *   a quarter of a second-level cache       `rows` rows' activations: rows x depth, while column
 *                                           tiles go by
 *   team memory          the block's panels and its sums, while chunks of K go by
 * A weight is decoded once per instance, so an instance takes all rows that team memory has sums
 * for; columns are as many as activations, which every instance reads from memory, are worth, and
 * so few that all threads have instances.
 *
 * With 512-bit registers a step of a register tile of floats takes longer than its part of a panel takes
 * to come from the second-level cache. There panels pass by from it while a register tile's rows stay:
 * activations, which come from behind it, are read once for all columns of an instance. Where the cache
 * holds panels of the whole of K, a register tile of rows is done before the next; else sums are read and
 * written a few times.
 *
 * Where, on others, more rows than stay multiply floats, panels of the whole of K wait instead of sums, in memory
 * that caches of all levels hold. A block of rows goes by all columns of its instance while it stays,
 * packed: activations of a register tile that lie in as many places as it has rows keep the
 * first-level cache from two reads at once, and come from behind it late. */
#include "lir/schedule/schedule.h"

#include "lir/schedule/sizes.h"

enum { BLOCK_COLUMNS = 64, STREAMED_COLUMNS = 128, QUANT = 32, BLOCK = 256, FLOATS = 8 };
enum { PER_THREAD = 3, WIDE_LANES = 16, STREAMED_ROWS = 96, WIDE_ROWS = 256, LEAST_STREAMED = 64 };

/* Panels of the whole of K: bytes, columns; columns and rows of an instance for a thread of its own.
 * Elements of a row that are packed side by side, for so many column tiles that copying them is
 * little work. */
enum { PANEL_BYTES = 2 << 20, WIDE_COLUMNS = 768, FEW_COLUMNS = 256, PART_ROWS = 384 };
enum { MANY_BLOCKS = 8, PACKED = 4, PACKED_TILES = 6, MANY_ROWS = 4 };

/* Of a tile register of f32 or i32; products of bf16 by tiles. */
enum { AMX_ROWS = 16, AMX_COLUMNS = 16, AMX_BF16 = 32 };

static bool takes_amx(const rlx_lir_target *t, const rlx_lir_contract_shape *shape)
{
    return shape->quantized ? t->byte_tiles : shape->width == AMX_BF16;
}

/* Eighths of a byte that an element takes, of weights as of activations: floats, of two bytes or
 * four; or codes with an f32 scale and an f32 minimum (or sum) for 32 of them. */
static int64_t element_eighths(const rlx_lir_contract_shape *shape)
{
    if (shape->quantized)
        return 8 + 2;
    return 8 * (int64_t)(shape->width ? sizeof(uint16_t) : sizeof(float));
}

/* AMX: four tiles of bf16 sums. Sums of bytes leave their tile group by group for vector registers:
 * one tile's. */
static void amx_tile(const rlx_lir_contract_shape *shape, rlx_lir_schedule *s)
{
    s->m = (int)at_most(shape->quantized ? AMX_ROWS : 2 * AMX_ROWS, shape->m);
    s->n = shape->quantized ? AMX_COLUMNS : 2 * AMX_COLUMNS;
}

/* Two vectors of columns. Sums of floats fill the registers beside the two weights and a
 * broadcast; integer products need as many temporaries as there are rows. */
static void register_tile(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                          rlx_lir_schedule *s)
{
    bool wide = t->vector_regs >= 32;
    if (takes_amx(t, shape)) {
        amx_tile(shape, s);
        return;
    }
    int rows = shape->quantized ? (wide ? 8 : 4) : (wide ? 12 : 6);
    s->m = (int)at_most(rows, shape->m);
    s->n = 2 * t->vector_f32;
}

/* Chunks of K: as few as `bytes` of panels of so many columns allow, or up to twice as many where those
 * are equal, which makes one text of them; of whole blocks of 256 when the cache holds any. */
static void chunk(const rlx_lir_contract_shape *shape, int64_t bytes, int64_t columns,
                  rlx_lir_schedule *s)
{
    int64_t fit = bytes * 8 / (element_eighths(shape) * columns);
    int64_t least_unit = shape->quantized ? QUANT : at_least(FLOATS, shape->width);
    int64_t unit = shape->quantized && fit >= BLOCK ? BLOCK : least_unit;
    int64_t depth = at_least(fit / unit * unit, unit), fewest = (shape->k + depth - 1) / depth;
    int64_t chunks = fewest;
    while (chunks < 2 * fewest && shape->k % (chunks * unit) != 0)
        chunks++;
    if (shape->k % (chunks * unit) != 0)
        chunks = fewest;
    s->depth = (int)at_most(round_up((shape->k + chunks - 1) / chunks, unit),
                            round_up(shape->k, least_unit));
    s->k = s->depth; /* a register tile's sums stay where they are for all of it */
}

/* Columns of an instance: whole units, or column tiles. */
static void columns(const rlx_lir_target *t, const rlx_lir_contract_shape *shape, int64_t want,
                    rlx_lir_schedule *s)
{
    int64_t unit = shape->unit ? shape->unit : s->n, units = (shape->n + unit - 1) / unit;
    int64_t count = at_least(want / shape->contracts / unit, 1);
    while (count > 1 && (units / count * shape->batch < (int64_t)t->threads * PER_THREAD ||
                         (shape->unit && units % count != 0)))
        count--;
    s->block_n = (int)(count * unit);
}

/* Rows of an instance: all that the team memory besides the panels has sums for. */
static void rows(const rlx_lir_target *t, const rlx_lir_contract_shape *shape, rlx_lir_schedule *s)
{
    int64_t padded = round_up(s->block_n, s->n) * shape->contracts;
    int64_t panels = padded * s->depth * element_eighths(shape) / 8;
    int64_t sums = at_least(t->team_bytes - panels, 0) / (padded * (int64_t)sizeof(float));
    int64_t all = round_up(shape->m, s->m), fit = at_least(sums / s->m * s->m, s->m);
    int64_t blocks = (all + fit - 1) / fit;
    s->block_m = (int)round_up((all + blocks - 1) / blocks, s->m);
    int64_t stay = t->l2_bytes / 4 * 8 / (element_eighths(shape) * s->depth);
    if (s->block_m <= stay * 5 / 4) /* a few more, for which no column tile has to come back */
        stay = s->block_m;
    s->rows = (int)at_most(at_least(stay / s->m * s->m, s->m), s->block_m);
}

/* Parts of the rows, which decode all weights each, with which `others` instances are the same number
 * for every thread, or many; 0: so many would be too short. */
static int64_t parts_of_rows(const rlx_lir_target *t, int64_t m, int64_t others)
{
    for (int64_t n = 1; n == 1 || m / n >= PART_ROWS; n++)
        if (others * n % t->threads == 0 || others * n >= (int64_t)PER_THREAD * t->threads)
            return n;
    return 0;
}

/* Columns of an instance: so many that activations come from behind the second-level cache seldom. Of few rows
 * the wait for a kernel's first weights, which nobody asked for ahead, is longer than what that gains. */
static int64_t streamed_columns(const rlx_lir_contract_shape *shape, const rlx_lir_schedule *s)
{
    return shape->m < WIDE_ROWS ? s->n : STREAMED_COLUMNS;
}

/* Panels of the whole of K for register tiles of rows, which are done one after the other: half of the
 * second-level cache holds the panels, and no sums wait there. False: those are too many for so few columns as are
 * worth reading rows for, or parts of the rows would be too short. */
static bool stream_whole(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                         rlx_lir_schedule *s)
{
    const int64_t unit = shape->unit ? shape->unit : s->n, units = ceil_div(shape->n, unit);
    const int64_t column = shape->k * (int64_t)sizeof(float);
    int64_t want = streamed_columns(shape, s);
    while (want > LEAST_STREAMED && want * column > t->l2_bytes / 2)
        want /= 2;
    int64_t count = at_least(want / shape->contracts / unit, 1);
    while (count > 1 && shape->unit && units % count != 0)
        count--;
    const int64_t padded = round_up(count * unit, s->n) * shape->contracts;
    const int64_t parts = parts_of_rows(t, shape->m, shape->batch * ceil_div(units, count));
    if (!parts || padded * column > t->l2_bytes / 2)
        return false;
    s->block_n = (int)(count * unit);
    chunk(shape, t->l2_bytes / 4, padded, s);
    s->block_m = s->m;
    s->rows = s->m;
    s->blocks = (int)ceil_div(shape->m, parts * s->m);
    return true;
}

/* Panels of all columns of an instance in the second-level cache, of the whole of K or of as much as a quarter of
 * it holds; false: registers are too narrow, it is not f32 that is multiplied, or rows are few. */
static bool stream_panels(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                          rlx_lir_schedule *s)
{
    if (t->vector_f32 < WIDE_LANES || shape->m < STREAMED_ROWS || !shape->whole ||
        shape->quantized || shape->width)
        return false;
    s->streamed = true;
    if (stream_whole(t, shape, s))
        return true;
    columns(t, shape, streamed_columns(shape, s), s);
    chunk(shape, t->l2_bytes / 4, round_up(s->block_n, s->n) * shape->contracts, s);
    rows(t, shape, s);
    s->rows = s->block_m;
    return true;
}

/* Columns of an instance: as many as are worth a copy of the rows, with panels that are not too many;
 * alike, and for all threads unless that leaves few. */
static int64_t wide_columns(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                            int64_t unit)
{
    int64_t units = ceil_div(shape->n, unit), column = shape->contracts * unit;
    int64_t fit =
        at_most(WIDE_COLUMNS / column, PANEL_BYTES / (shape->k * column * (int64_t)sizeof(float)));
    int64_t blocks = ceil_div(units, at_least(fit, 1)), even = round_up(blocks, t->threads);
    int64_t count = ceil_div(units, units / even * column >= FEW_COLUMNS ? even : blocks);
    while (count > 1 && shape->unit && units % count != 0)
        count--;
    return count * unit;
}

/* Panels of the whole of K for blocks of packed rows, which stay in half of a second-level cache with
 * their sums; false: there are too few blocks for panels that leave it before they are read, or too
 * few columns. */
static bool share_panels(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                         rlx_lir_schedule *s)
{
    if (!shape->whole || shape->quantized || shape->width)
        return false;
    int64_t wide = wide_columns(t, shape, shape->unit ? shape->unit : s->n);
    int64_t parts = parts_of_rows(t, shape->m, shape->batch * ceil_div(shape->n, wide));
    int64_t row = (int64_t)sizeof(float) * (s->depth + shape->contracts * wide);
    int64_t stay = at_least(t->l2_bytes / 2 / row / s->m * s->m, s->m);
    int64_t panels =
        (int64_t)sizeof(float) * shape->k * shape->contracts * wide; /* of a unit at least */
    if (shape->contracts * wide < PACKED_TILES * s->n || panels > PANEL_BYTES || !parts ||
        shape->m / parts < MANY_BLOCKS * stay)
        return false;
    s->block_n = (int)wide;
    s->blocks = (int)ceil_div(shape->m, parts * stay);
    s->block_m = (int)round_up(ceil_div(shape->m, parts * s->blocks), s->m);
    s->rows = s->block_m;
    s->packed = PACKED;
    return true;
}

/* Codes go by twice as many columns where sums of as many rows have room, or of so many more than there are
 * columns that laying weights into panels for fewer is little: what is not in registers of the products, rows
 * that come from behind a cache, is shared by more of them. */
static void widen_codes(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                        rlx_lir_schedule *s)
{
    if (!shape->quantized || takes_amx(t, shape))
        return;
    rlx_lir_schedule wide = *s;
    columns(t, shape, 2 * BLOCK_COLUMNS, &wide);
    rows(t, shape, &wide);
    const int64_t many = MANY_ROWS * (int64_t)wide.block_n * shape->contracts;
    if (wide.block_m >= at_most(s->block_m, many))
        *s = wide;
}

void rlx_lir_schedule_panels(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                             rlx_lir_schedule *out)
{
    *out = (rlx_lir_schedule){.lanes = shape->lanes};
    register_tile(t, shape, out);
    if (stream_panels(t, shape, out))
        return;
    chunk(shape, t->l1_bytes * 5 / 8, out->n, out);
    if (share_panels(t, shape, out))
        return;
    columns(t, shape, BLOCK_COLUMNS, out);
    rows(t, shape, out);
    widen_codes(t, shape, out);
}
