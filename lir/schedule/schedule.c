#include "lir/schedule/schedule.h"

#include "lir/lir_team.h"
#include "lir/schedule/sizes.h"

/* Of a block that goes by chunks of K: columns, and rows. Of those the register tile; of others. */
enum {
    SHARED_COLUMNS = 64,
    FEW_COLUMNS = 16,
    SHARED_ROWS = 16,
    SHARED_TILE = 8,
    WIDE_TILE = 6,
    TILE = 3
};

/* Of rows of blocks: elements by the step (the largest block), and tokens. Turned: tokens. */
enum { DOT_STEP = 256, DOT_ROWS = 4, TURNED_ROWS = 16, DOT_LANES = 8 };

/* So few rows of floats that they are a register tile, and weights go by once as they are. */
static int few_rows(const rlx_lir_target *t)
{
    return t->vector_regs >= 32 ? 4 : TILE;
}

/* Words of a tile that passes through the exchange, each invocation's parts. */
static int64_t tile_bytes(const rlx_lir_target *t, int64_t elements)
{
    return round_up(elements, t->team) * (int64_t)sizeof(float);
}

/* A single row is weights that stream by: what a team reads between two barriers is all that is under way where a processor has one
 * team, and barriers, addresses and a step's words are so many less. Several teams fit all the same. Where nothing copies by itself it
 * stays as it is: AMD's processors would keep twice the registers alive, and have team memory for fewer teams. */
static void lengthen_step(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                          rlx_lir_schedule *s)
{
    enum { LONGEST = 4 * DOT_STEP, QUANT = 32, TEAMS = 6 };
    for (int k = 2 * s->k; k <= LONGEST && shape->k % k == 0; k *= 2) {
        const int64_t bytes = (1 + s->n) * (int64_t)k + tile_bytes(t, k / QUANT) +
                              tile_bytes(t, s->n * k / shape->group);
        if (bytes > t->team_bytes || TEAMS * bytes > t->l1_bytes)
            return;
        s->k = k;
    }
}

/* A sum to each invocation and row: the team is `lanes` neighbours for each of its columns, which
 * read a row of weights side by side. With many rows an invocation has two columns, so that what is
 * read of a row serves both; a weight is decoded once for all rows, but where K ends within a step: that one has more in
 * registers, and of contractions that go together leaves those for fewer rows. Few steps of K at a time: their
 * loads are on the way together. */
static void team_tile(const rlx_lir_target *t, const rlx_lir_contract_shape *shape, int together,
                      rlx_lir_schedule *s)
{
    enum { ROWS = 8, FEW = 4, STEPS = 4, LEAST = 8, MOST = 64 };
    int columns = t->team / shape->lanes;
    columns = columns < LEAST ? LEAST : columns > MOST ? MOST : columns;
    s->m = shape->m >= ROWS ? ROWS : (int)shape->m;
    if (shape->quantized && together > 1 && shape->k % DOT_STEP != 0 && s->m > FEW)
        s->m = FEW;
    s->n = s->m > FEW && together == 1 && !shape->quantized ? 2 * columns : columns;
    s->k = shape->quantized   ? DOT_STEP
           : shape->lanes > 1 ? STEPS * shape->lanes
                              : 1; /* K may be no constant */
    while (s->n > 1 && s->n / 2 >= shape->n)
        s->n /= 2;
    while (shape->unit && s->n > columns / 2 && shape->unit % s->n != 0)
        s->n /= 2;
    if (shape->quantized && s->m == 1 && t->copy_cycles)
        lengthen_step(t, shape, s);
}

/* Team memory of a step of sums that are stored: rows of codes, a bit longer than K and where a group is shorter than what is
 * multiplied at once that long; scales, minima and sums of groups; and the sums of so many rows as wait there at a time. */
static int64_t stored_bytes(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                            const rlx_lir_schedule *s)
{
    enum { PAD = 16, QUANT = 32 };
    const rlx_lir_fragment *u = &t->byte_matrix;
    const int64_t longer = u->k > shape->group ? u->k / shape->group : 1;
    const int64_t groups = s->k / shape->group;
    const int64_t rows =
        rlx_lir_stored_rows(u, t->team, t->team_bytes / RLX_LIR_STORED_SHARE, s->m, s->n);
    int64_t scales = tile_bytes(t, s->m * s->k / QUANT) + tile_bytes(t, s->n * groups);
    if (shape->minima)
        scales += tile_bytes(t, s->m * groups) + tile_bytes(t, s->n * groups);
    return s->m * (s->k + PAD) + s->n * (s->k * longer + PAD) + scales +
           rows * s->n * (int64_t)sizeof(int32_t);
}

/* Where rows that wait leave so much: half of the team memory is for what lowering makes, the other one for the exchange. */
static int64_t most_stored(const rlx_lir_target *t)
{
    return t->team_bytes * 9 / 8;
}

enum { MATRIX_COLUMNS = 64, MATRIX_LEAST = 32 }; /* of a tile; of a step: elements */

/* So many that every subgroup has a fragment. */
static void matrix_columns(const rlx_lir_target *t, const rlx_lir_fragment *u, rlx_lir_schedule *s)
{
    s->n = MATRIX_COLUMNS;
    while (s->m / u->m * (s->n / u->n) < t->team / u->lanes)
        s->n *= 2;
}

bool rlx_lir_schedule_stores(const rlx_lir_target *t)
{
    enum { SHORTEST = 16 };
    const rlx_lir_contract_shape shape = {.group = SHORTEST, .minima = 1};
    rlx_lir_schedule s = {.m = t->byte_matrix.m, .k = MATRIX_LEAST};
    matrix_columns(t, &t->byte_matrix, &s);
    return stored_bytes(t, &shape, &s) <= most_stored(t);
}

/* A unit's sums that wait in team memory for its epilogue. */
static int64_t unit_row_bytes(const rlx_lir_contract_shape *shape, const rlx_lir_schedule *s)
{
    return shape->unit ? round_up(shape->unit, s->n) * shape->contracts * (int64_t)sizeof(float)
                       : 0;
}

/* As many rows as wait there, no more than there are; half of a tile where those of a whole one do not. */
static void matrix_rows(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                        const rlx_lir_fragment *u, rlx_lir_schedule *s)
{
    const int64_t wait = u->stored ? t->team_bytes / 2 : t->team_bytes * 3 / 4;
    for (;; s->m /= 2) {
        matrix_columns(t, u, s);
        s->block_m = s->m;
        const int64_t row = unit_row_bytes(shape, s);
        while (s->block_m > 1 && (s->block_m * row > wait || (row && s->block_m / 2 >= shape->m)))
            s->block_m /= 2;
        if (s->m <= s->block_m || s->m <= u->m)
            break;
    }
}

/* Rows of f16 and bf16 that do not begin where 16 bytes can be copied at once: a step's are in registers before they
 * are in team memory. */
static bool goes_by_registers(const rlx_lir_contract_shape *shape)
{
    enum { PIECE = 16 };
    return !shape->quantized && shape->k * (int64_t)sizeof(uint16_t) % PIECE != 0;
}

/* Tiles of fragments, for a team's subgroups together: a square that reads few operands for its
 * products; fewer rows where there are not so many, where a unit's columns wait in team memory for
 * all of them, or where contractions that go together have more sums than registers. Steps are so short that four
 * teams' operands lie in a first-level memory, and half as long where they go by registers, beside half as many sums, or where several
 * contractions have a K that is shorter than one, since they go so then, too. A block of fewer rows than a fragment has is
 * computed with the rest idle: units of thousands of columns leave one row of 16, and no other lowering has the order of these sums. */
static void matrix_tile(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                        rlx_lir_schedule *s)
{
    enum { ROWS = 64, STEP = 128, SUMS = 64, TEAMS = 4 }; /* step: bytes; sums: of an invocation */
    const rlx_lir_fragment *u = shape->quantized ? &t->byte_matrix : &t->float_matrix;
    const int bytes = shape->quantized ? 1 : (int)sizeof(uint16_t);
    const bool held = goes_by_registers(shape);
    const int sums = held ? SUMS / 2 : SUMS;
    s->m = u->m;
    s->k = STEP / bytes;
    const bool cut = !shape->quantized && shape->contracts > 1 && shape->k < s->k;
    while (s->m < ROWS && s->m < shape->m)
        s->m *= 2;
    while (s->m > u->m && s->m * MATRIX_COLUMNS * shape->contracts > sums * t->team)
        s->m /= 2;
    matrix_rows(t, shape, u, s);
    if (u->stored) {
        const int64_t room = 2 * t->team_bytes - s->block_m * unit_row_bytes(shape, s);
        const int64_t most = at_most(most_stored(t), room);
        while (s->k > MATRIX_LEAST && stored_bytes(t, shape, s) > most)
            s->k /= 2;
    } else if (held || cut || TEAMS * (s->m + s->n) * s->k * bytes >= t->l1_bytes) {
        s->k /= 2;
    }
    s->block_n = shape->unit ? (int)shape->unit : s->n;
}

/* Both operands' rows of a step of floats. */
static int64_t float_stage_bytes(const rlx_lir_contract_shape *shape, const rlx_lir_schedule *s)
{
    return (s->m + (int64_t)s->n * shape->contracts) * s->k * (int64_t)sizeof(uint16_t);
}

/* For stages of floats: what emitters exchange tiles through, too, since these rows need none, but for K's last ones and what epilogues want; and the
 * barriers of copies. */
static int64_t float_room(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                          const rlx_lir_schedule *s)
{
    enum { EPILOGUE = 4 << 10, BARRIERS = 64, LEAST = 32, ROW = 128, ALIGN = 1024 };
    int64_t row = round_up(shape->k % s->k * (int64_t)sizeof(uint16_t), LEAST); /* of last ones */
    if (row > 2 * LEAST)
        row = ROW;
    const int64_t last = round_up(s->m * row, ALIGN) + round_up(s->n * row, ALIGN);
    return 2 * t->team_bytes - BARRIERS - at_least(last, EPILOGUE);
}

/* Steps whose rows are in team memory at once: one is multiplied while copies of so many bring theirs as take,
 * at the least, as long as a copy. A unit's sums that wait there go before; rows that are made there once want none. */
static int matrix_stages(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                         const rlx_lir_schedule *s)
{
    enum {
        PRODUCTS = 3,
        MOST = 4,
        QUANT = 32,
        GROUP = 16
    }; /* products: of an invocation, a cycle */
    const int64_t word = sizeof(float), products = (int64_t)s->m * s->n * s->k * shape->contracts;
    const int64_t cycles = at_least(products / (PRODUCTS * (int64_t)t->team), 1);
    const int64_t factors = s->k / QUANT + (shape->minima ? s->k / GROUP : 0);
    const int64_t of_codes = s->m * (s->k + factors * word),
                  of_floats = float_stage_bytes(shape, s);
    const int64_t stage = shape->quantized ? of_codes : of_floats;
    const int64_t room = shape->quantized ? t->team_bytes : float_room(t, shape, s);
    const int64_t taken = s->block_m * unit_row_bytes(shape, s);
    const bool can =
        t->copy_cycles && (shape->quantized || t->float_stages) && !goes_by_registers(shape);
    int64_t stages = at_most(1 + ceil_div(t->copy_cycles, cycles), MOST);
    stages = at_most(at_most(stages, shape->k / s->k), (room - taken) / stage);
    return can && stages > 1 && !s->prologue_once ? (int)stages : 0;
}

/* Steps of half as many elements, where stages of whole ones have no room, or, where a unit reads them in place, K has but one: registers
 * do not suffice for what comes in no stages. */
static void shorter_stages(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                           rlx_lir_schedule *s)
{
    rlx_lir_schedule half = *s;
    half.k /= 2;
    half.stages = matrix_stages(t, shape, &half);
    if (half.stages)
        *s = half;
}

int64_t rlx_lir_schedule_turned_bytes(const rlx_lir_contract_shape *shape,
                                      const rlx_lir_schedule *s)
{
    const int64_t sums = shape->contracts * s->m * s->n * DOT_LANES, minima = s->n * shape->minima;
    const int64_t results = round_up(s->m * shape->unit * (int64_t)sizeof(float), RLX_LIR_ALIGN);
    const int64_t xs = round_up(shape->m * shape->sums * (int64_t)sizeof(float), RLX_LIR_ALIGN);
    return shape->widths * shape->m * shape->k + xs + (sums + minima) * (int64_t)sizeof(float) +
           shape->contracts * results;
}

/* Several rows of codes are turned, so that a step of a row of weights is decoded once for all of
 * them: as long as they all fit into team memory, beside what waits there. The codes of some steps
 * come to the first-level cache for a block of columns, of which a row meets some at once where
 * registers hold the sums of two. */
static bool turn_rows(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                      rlx_lir_schedule *s)
{
    enum { TIMES = 8 };
    const int together = t->vector_f32 >= 2 * DOT_LANES ? 2 : 1;
    if (!shape->quantized || shape->m <= 1 || shape->k % DOT_STEP != 0)
        return false;
    s->m = shape->m < TURNED_ROWS ? (int)shape->m : TURNED_ROWS;
    s->k = DOT_STEP;
    s->turned = true;
    for (s->n = TIMES * together; s->n > 0; s->n -= RLX_LIR_TURN_TOTALS)
        if ((!shape->unit || shape->unit % s->n == 0) &&
            rlx_lir_schedule_turned_bytes(shape, s) <= t->team_bytes)
            return true;
    s->turned = false;
    return false;
}

/* Registers hold m*n*contracts accumulators of `lanes` partial sums, each lanes/vector registers
 * wide, besides n weight and a few activation registers. Decode streams weights: few token rows,
 * and as many weight rows as there are registers for, so that many streams are in flight; for one
 * token four, which hide an fma's latency: nobody tells of a kernel's first ones. More rows are bound
 * by operations: as many of them as leave registers for two weight rows, or four. */
static void register_tile(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                          bool by_columns, rlx_lir_schedule *s)
{
    int together = shape->contracts;
    bool wide = t->vector_regs >= 32;
    int lanes = shape->lanes;
    if (t->unit == RLX_UNIT_GPU) {
        team_tile(t, shape, together, s);
    } else if (turn_rows(t, shape, s)) {
        return;
    } else if (shape->quantized) { /* one stream of weights, read once for a few tokens */
        s->m = shape->m < DOT_ROWS ? (int)shape->m : DOT_ROWS;
        s->n = 1;
        s->k = DOT_STEP;
    } else if (shape->m <= few_rows(t)) {
        s->m = (int)shape->m;
        s->n = (s->m == 1 ? 4 : wide ? (s->m == 2 ? 8 : 6) : 2) / together;
        s->k = wide ? 4 * lanes : 2 * lanes;
    } else if (by_columns) {
        s->m = wide ? SHARED_TILE : TILE;
        s->n = 2;
        s->k = 2 * lanes;
    } else {
        s->m = wide ? WIDE_TILE : TILE;
        s->n = (wide ? 4 : 2) / together;
        s->k = lanes;
    }
    if (s->n < 1)
        s->n = 1;
}

/* All rows, f32, in half of a second-level cache: a thread copies them once. */
static bool copies_once(const rlx_lir_target *t, const rlx_lir_contract_shape *shape)
{
    return shape->m <= SHARED_ROWS && shape->batch <= 1 &&
           shape->m * shape->k * (int64_t)sizeof(float) <= t->l2_bytes / 2;
}

/* As many as are worth a copy of the rows; or so few that their sums stay in the first-level cache. */
static int64_t columns_of_block(const rlx_lir_target *t, const rlx_lir_contract_shape *shape)
{
    enum { LEAST = 8 };
    const int64_t all = copies_once(t, shape) ? FEW_COLUMNS : SHARED_COLUMNS;
    const int64_t columns = all / shape->contracts / LEAST * LEAST;
    return shape->unit ? shape->unit : columns > LEAST ? columns : LEAST;
}

/* Rows of a block, whose sums are a quarter of what team memory there is. */
static int64_t rows_of_block(const rlx_lir_target *t, const rlx_lir_contract_shape *shape)
{
    const int64_t sums = columns_of_block(t, shape) * shape->lanes * shape->contracts;
    const int64_t fit = t->team_bytes / 4 / (sums * (int64_t)sizeof(float));
    const int64_t rows = shape->m < SHARED_ROWS ? shape->m : SHARED_ROWS;
    return rows < fit ? rows : fit;
}

/* Rows that are more than a register tile share what is converted of a weight, which takes as long
 * as one of them is multiplied. A chunk of K of theirs is copied to where it stays in the
 * first-level cache, for so many columns that copying it is little work. Short rows stay there as
 * they are; but one row more than a tile would go by as a second tile, whose others are dead. */
static bool goes_by_columns(const rlx_lir_target *t, const rlx_lir_contract_shape *shape)
{
    const int64_t rows = rows_of_block(t, shape);
    const bool one_more = shape->m == TILE + 1;
    return t->unit == RLX_UNIT_CPU && !shape->quantized && shape->m > few_rows(t) &&
           rows > few_rows(t) &&
           (one_more || rows * shape->k * (int64_t)sizeof(float) > t->l1_bytes / 2);
}

static void columns(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                    rlx_lir_schedule *s)
{
    s->block_m = (int)rows_of_block(t, shape);
    s->block_n = (int)columns_of_block(t, shape);
    s->rows_once = s->block_m >= shape->m && copies_once(t, shape);
    if (s->m > s->block_m)
        s->m = s->block_m;
    int64_t most = t->l1_bytes * 3 / 4 / ((int64_t)sizeof(float) * s->block_m);
    s->depth = s->k;
    while (2 * s->depth <= most && s->depth < shape->k)
        s->depth *= 2;
}

/* Normalised rows are cheap to make again on every team while they are few; a tile's sums want team
 * memory too. */
static bool makes_rows_once(const rlx_lir_target *t, const rlx_lir_contract_shape *shape)
{
    enum { FEW = 8 };
    return shape->prologue > 0 && shape->prologue <= FEW &&
           shape->prologue * shape->k * (int64_t)sizeof(float) <= t->team_bytes / 2;
}

void rlx_lir_schedule_contract(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                               rlx_lir_schedule *out)
{
    if (shape->lanes == 1 && t->unit == RLX_UNIT_CPU) {
        rlx_lir_schedule_panels(t, shape, out);
        return;
    }
    *out = (rlx_lir_schedule){.lanes = shape->lanes};
    if ((shape->quantized && shape->lanes == 1) || shape->width) {
        matrix_tile(t, shape, out);
        out->prologue_once = makes_rows_once(t, shape);
        out->stages = matrix_stages(t, shape, out);
        if (!out->stages && (shape->width || (t->float_stages && shape->k < 2 * (int64_t)out->k)))
            shorter_stages(t, shape, out);
        return;
    }
    bool by_columns = goes_by_columns(t, shape);
    register_tile(t, shape, by_columns, out);
    while (shape->unit && shape->unit % out->n != 0)
        out->n--;
    int64_t padded = round_up(shape->k, shape->lanes);
    if (!shape->quantized && out->k > padded)
        out->k = (int)padded;
    out->block_m = out->m;
    out->block_n = out->n;
    if (by_columns) {
        columns(t, shape, out);
    } else if (shape->unit) {
        bool few = shape->m <= 4 || out->turned || t->unit == RLX_UNIT_GPU;
        out->block_m = few ? out->m : 4 * out->m;
        out->block_n = (int)shape->unit;
    }
    out->prologue_once = makes_rows_once(t, shape);
}

void rlx_lir_schedule_print(const rlx_lir_schedule *s, rlx_text *out)
{
    rlx_text_putf(out, "m%d n%d k%d block %dx%d", s->m, s->n, s->k, s->block_m, s->block_n);
    if (s->depth)
        rlx_text_putf(out, " panel %d", s->depth);
    if (s->rows)
        rlx_text_putf(out, " of weights, rows %d", s->rows);
    if (s->streamed)
        rlx_text_put(out, " streamed");
    if (s->blocks)
        rlx_text_putf(out, " for %d blocks", s->blocks);
    if (s->packed)
        rlx_text_putf(out, " packed by %d", s->packed);
    if (s->stages)
        rlx_text_putf(out, " stages %d", s->stages);
    rlx_text_putf(out, "%s%s%s", s->turned ? " turned" : "", s->rows_once ? " rows once" : "",
                  s->prologue_once ? " prologue once" : "");
}

/* As many query heads as are in a group, four at most, share what is read of a kv head: keys and
 * values of a long sequence are more than caches hold. The sums of a tile are chains, and eight
 * registers of them hide an fma's latency. */
static void attention_tokens(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                             rlx_lir_attention_schedule *out)
{
    enum { ROWS = 4, CHAINS = 8 };
    out->rows = 1;
    for (int i = 2; i <= ROWS; i++)
        if (shape->heads % i == 0)
            out->rows = i;
    out->width = 64;
    while (t->vector_regs < 32 && out->width * out->rows > CHAINS * t->vector_f32)
        out->width /= 2;
    out->keys = out->width;
    while (shape->positions % out->keys != 0)
        out->keys /= 2;
    while (out->width / 2 >= shape->width && out->width > 1)
        out->width /= 2;
}

/* Panels of keys and values are made once for all rows of a block: with 768 of them that is a
 * hundredth of the work. Its queries and sums pass by, part by part, while the panels and a part's
 * rows are what a second-level cache holds. A live step may be far shorter than its bucket, and has
 * blocks for all threads only where they are short: FEW_ROWS, where there are fewer kv heads. */
enum { BLOCK_ROWS = 768, FEW_ROWS = 192, PART_ROWS = 48, BLOCK_BYTES = 2 << 20 };

/* Of a page, or a chunk. */
static int64_t panel_bytes(const rlx_lir_attention_shape *shape, int n)
{
    return (int64_t)sizeof(float) * shape->positions * (shape->width + round_up(shape->width, n));
}

/* Rows of a block that team memory holds; as many as are a part, or of two tokens, if panels alone
 * are more. */
static int64_t most_rows(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                         const rlx_lir_attention_schedule *s)
{
    enum { REST = 24, FEW_TOKENS = 4 }; /* sums by lanes, maxima, bounds */
    const int64_t few = at_least(FEW_ROWS, FEW_TOKENS * shape->heads);
    const int64_t bytes = at_least(t->team_bytes, BLOCK_BYTES);
    const int64_t row = shape->width + round_up(shape->width, s->n) + REST;
    const int64_t scores = PART_ROWS * shape->positions * (int64_t)sizeof(float);
    const int64_t left = bytes - panel_bytes(shape, s->n) - scores;
    const int64_t fit = left / ((int64_t)sizeof(float) * row) - s->m;
    const int64_t rows = at_least(fit, at_least(PART_ROWS, 2 * shape->heads));
    return at_most(rows, shape->kv_heads < t->threads ? at_most(few, BLOCK_ROWS) : BLOCK_ROWS);
}

/* A block of tokens, of `most` at the most: so few that all threads have instances, but two register
 * tiles of rows, which widen keys and values together. */
static int64_t block_of_tokens(const rlx_lir_target *t, const rlx_lir_attention_shape *shape, int m,
                               int64_t most)
{
    enum { PER_THREAD = 3, TILES = 2 };
    int64_t blocks = (PER_THREAD * t->threads + shape->kv_heads - 1) / shape->kv_heads;
    int64_t tokens = (shape->tokens + blocks - 1) / blocks;
    int64_t least = (TILES * m + shape->heads - 1) / shape->heads;
    return at_most(at_most(at_least(tokens, least), shape->tokens), most);
}

/* Rows whose scores are kept, of a block's: whole register tiles, which three quarters of the
 * second-level cache hold beside the panels. Where those leave no room for half as many as there
 * might be, they stream by once for each part, and the cache is for its rows. */
static int part_of(const rlx_lir_target *t, const rlx_lir_attention_shape *shape, int64_t rows,
                   const rlx_lir_attention_schedule *s)
{
    const int64_t row =
        (int64_t)sizeof(float) * (shape->width + round_up(shape->width, s->n) + shape->positions);
    const int64_t cache = t->l2_bytes * 3 / 4, left = cache - panel_bytes(shape, s->n);
    int64_t part = left >= PART_ROWS / 2 * row ? left / row : cache / row;
    part = at_least(at_most(part, PART_ROWS) / s->m * s->m, s->m);
    return (int)at_most(part, round_up(rows, s->m));
}

static void attention_blocks(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                             rlx_lir_attention_schedule *out)
{
    rlx_lir_attention_schedule s = {.m = t->vector_regs >= 32 ? 12 : 6, .n = 2 * t->vector_f32};
    while (shape->positions % s.n != 0)
        s.n /= 2;
    const int64_t most = most_rows(t, shape, &s) / shape->heads;
    const int64_t tokens = block_of_tokens(t, shape, s.m, most);
    if (tokens <= 1)
        return;
    s.tokens = (int)tokens;
    s.part = part_of(t, shape, tokens * shape->heads, &s);
    *out = s;
}

/* The largest power of two, `most` at most, that divides v. */
static int power_in(int64_t v, int64_t most)
{
    while (v % most != 0)
        most /= 2;
    return (int)most;
}

static int largest_divisor(int64_t v, int most)
{
    while (v % most != 0)
        most--;
    return most;
}

/* An invocation has positions of its own, and all rows' scores with them: what is read of a key
 * serves so many heads of a few tokens. Queries and scores of a page are in team memory. */
static void attention_team(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                           bool prompt, rlx_lir_attention_schedule *out)
{
    enum { ROWS = 8, KEYS = 8, COPIED = 64, LANES = 16 };
    enum { REST = 8 };   /* of a row: bounds, maximum, sum */
    int columns = LANES; /* sums of weights go over whole LANES of what a tile wrote */
    while (2 * columns <= t->team)
        columns *= 2;
    const int64_t row = (int64_t)sizeof(float) * (shape->positions + shape->width + REST);
    const int most = (int)at_least(at_most(t->team_bytes / row, ROWS), 1);
    *out = (rlx_lir_attention_schedule){.rows = largest_divisor(shape->heads, most),
                                        .keys = power_in(shape->width, KEYS),
                                        .width = power_in(shape->width, COPIED),
                                        .n = power_in(shape->positions, columns)};
    out->tokens = prompt ? (int)at_least(at_most(most / out->rows, shape->tokens), 1) : 1;
    out->m = out->tokens * out->rows;
}

void rlx_lir_schedule_attention(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                rlx_lir_attention_schedule *out)
{
    enum { PROMPT = 32 }; /* tokens: fewer do not pay for a block's panels */
    *out = (rlx_lir_attention_schedule){0};
    /* sequences that decode together have one token each: nothing for a block's rows to share */
    const bool prompt = shape->tokens >= PROMPT && shape->tokens >= 2 * shape->sequences;
    if (t->unit == RLX_UNIT_GPU)
        attention_team(t, shape, prompt, out);
    else if (prompt)
        attention_blocks(t, shape, out);
    if (!out->tokens)
        attention_tokens(t, shape, out);
}

/* Scores of a chunk, and a piece of queries and keys whose rows are one element apart. */
static int64_t team_tile_bytes(const rlx_lir_attention_shape *shape,
                               const rlx_lir_attention_schedule *s)
{
    return (int64_t)sizeof(float) * (s->m * shape->positions + (s->m + s->n) * (s->width + 1));
}

/* Less team memory; false: it takes the least. */
static bool shrink_team_tile(const rlx_lir_attention_shape *shape, rlx_lir_attention_schedule *s)
{
    enum { PIECE = 4, ROWS = 4 };
    if (s->width > PIECE)
        s->width /= 2;
    else if (s->m > ROWS)
        s->m = ROWS;
    else if (s->n / 2 >= shape->lanes)
        s->n /= 2;
    else if (s->m > 1)
        s->m /= 2;
    else
        return false;
    return true;
}

/* An invocation has some keys, and the scores of all of a tile's queries with them: what is read of
 * a key serves every query. So many queries that the sums of lanes are as many as invocations. */
static void dense_attention_team(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                 rlx_lir_attention_schedule *out)
{
    enum { ROWS = 8, KEYS = 2, PIECE = 8, TOGETHER = 8, SHARE = 256 };
    rlx_lir_attention_schedule s = {.keys = TOGETHER, .n = (int)shape->positions};
    s.m = (int)at_least(at_most(shape->tokens, ROWS), 1);
    while (s.n > KEYS * t->team && s.n / 2 >= shape->lanes)
        s.n /= 2;
    s.width = power_in(shape->d, PIECE);
    const int64_t shares = (shape->e + SHARE - 1) / SHARE;
    s.share = (int)((shape->e + shares - 1) / shares);
    while (team_tile_bytes(shape, &s) > t->team_bytes && shrink_team_tile(shape, &s))
        continue;
    s.tokens = s.m;
    *out = s;
}

void rlx_lir_schedule_dense_attention(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                      rlx_lir_attention_schedule *out)
{
    *out = (rlx_lir_attention_schedule){0};
    if (t->unit == RLX_UNIT_GPU) {
        dense_attention_team(t, shape, out);
        return;
    }
    out->m = t->vector_regs >= 32 ? 12 : 6;
    out->n = 2 * t->vector_f32;
    while (out->n < shape->lanes) { /* as many registers, in rows of more */
        out->n *= 2;
        out->m = (out->m + 1) / 2;
    }
    if (shape->tokens < out->m)
        out->m = shape->tokens > 0 ? (int)shape->tokens : 1;
    int64_t tokens = block_of_tokens(t, shape, out->m, most_rows(t, shape, out));
    if (tokens < out->m)
        tokens = out->m;
    const int64_t blocks = (shape->tokens + tokens - 1) / tokens;
    if (blocks > 1) /* alike */
        tokens = round_up((shape->tokens + blocks - 1) / blocks, out->m);
    out->tokens = (int)tokens;
    out->part = part_of(t, shape, tokens, out);
}

void rlx_lir_schedule_attention_print(const rlx_lir_attention_schedule *s, rlx_text *out)
{
    if (s->tokens)
        rlx_text_putf(out, "tokens %d tile %dx%d", s->tokens, s->m, s->n);
    else
        rlx_text_putf(out, "heads %d keys %d width %d", s->rows, s->keys, s->width);
    if (s->part)
        rlx_text_putf(out, " parts of %d", s->part);
    if (s->tokens && s->rows)
        rlx_text_putf(out, " heads %d keys by %d width %d", s->rows, s->keys, s->width);
    if (s->block)
        rlx_text_putf(out, " blocks of %d values %d", s->block, s->share);
    else if (s->share)
        rlx_text_putf(out, " width %d values %dx%d", s->width, s->keys, s->share);
}

/* Less team memory; false: it takes the least. */
static bool shrink_delta(rlx_lir_delta_schedule *s)
{
    const rlx_lir_delta_schedule before = *s;
    if (s->steps > 1)
        s->steps /= 2;
    else if (s->panels)
        *s = (rlx_lir_delta_schedule){.steps = 1, .m = 2, .n = s->n, .state_m = s->state_m};
    else
        s->n = s->n > 1 ? s->n / 2 : 1;
    return s->steps != before.steps || s->panels != before.panels || s->n != before.n;
}

/* Of a prompt a whole chunk goes together, and its rows share what is copied of the state. Steps of
 * different sequences share nothing: key and query of each read the state where it is, by as many
 * columns as hide an fma's latency. */
void rlx_lir_schedule_delta(const rlx_lir_target *t, const rlx_lir_delta_shape *shape,
                            rlx_lir_delta_schedule *out)
{
    enum { FEW = 4, CHAINS = 4, GPU_PANEL = 1024, STATE_ROWS = 4 };
    const bool cpu = t->unit == RLX_UNIT_CPU;
    const bool prompt = cpu && shape->steps >= FEW && shape->steps >= 2 * shape->sequences;
    *out = (rlx_lir_delta_schedule){.steps = 1, .m = 2, .panels = prompt};
    if (prompt)
        out->m = t->vector_regs >= 32 ? 12 : 6;
    const int64_t columns = (prompt ? 2 : CHAINS) * (int64_t)t->vector_f32;
    out->n = power_in(shape->e, cpu ? columns : GPU_PANEL / shape->chunk);
    out->state_m = power_in(shape->d, STATE_ROWS);
    while (prompt && out->steps < shape->chunk && out->steps < shape->steps)
        out->steps *= 2;
    while (rlx_lir_schedule_delta_bytes(shape, out) > t->team_bytes && shrink_delta(out))
        continue;
}

int64_t rlx_lir_schedule_delta_bytes(const rlx_lir_delta_shape *shape,
                                     const rlx_lir_delta_schedule *s)
{
    const int64_t rows = round_up(2 * (int64_t)s->steps, s->m);
    const int64_t deep = s->panels && shape->d > shape->chunk ? shape->d : shape->chunk;
    return (int64_t)sizeof(float) * (rows * (shape->d + shape->chunk + 1) +
                                     (s->steps + 1) * shape->chunk + (s->m + deep) * s->n);
}

void rlx_lir_schedule_delta_print(const rlx_lir_delta_schedule *s, rlx_text *out)
{
    rlx_text_putf(out, "steps %d tile %dx%d state %dx%d%s", s->steps, s->m, s->n, s->state_m, s->n,
                  s->panels ? " panels" : "");
}

int rlx_lir_schedule_width(const rlx_lir_target *t, int64_t extent)
{
    int w = t->unit == RLX_UNIT_GPU ? 32 : 16;
    while (w > 1 && w / 2 >= extent)
        w /= 2;
    return w;
}
