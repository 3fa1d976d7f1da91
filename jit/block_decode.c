#include "jit/block_decode.h"

#include <assert.h>
#include <stdio.h>

/* Which bytes an element needs, and what becomes of them, in the words of block_layouts.def and the
 * order of format_block.c. What of an index is known when the code is made is worked out then. */

typedef rlx_decode_number number;
typedef rlx_decode_value value;

/* ---- numbers ---- */

static value constant(const rlx_decoder *d, uint32_t v)
{
    return d->engine->constant(d->user, v);
}

static value op(const rlx_decoder *d, rlx_decode_op o, value a, value b)
{
    return d->engine->op(d->user, o, a, b);
}

static value op_const(const rlx_decoder *d, rlx_decode_op o, value a, uint32_t b)
{
    return op(d, o, a, constant(d, b));
}

static number known(uint32_t plus)
{
    return (number){.plus = plus};
}

static number unknown(value v, uint32_t below)
{
    return (number){.v = v, .multiple = 1, .below = below};
}

static value value_of(const rlx_decoder *d, number x)
{
    if (!x.v)
        return constant(d, x.plus);
    return x.plus ? op_const(d, RLX_DECODE_ADD, x.v, x.plus) : x.v;
}

static number plus(number x, int by)
{
    x.plus += (uint32_t)by;
    return x;
}

static uint32_t lesser(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static number sum(const rlx_decoder *d, number a, number b)
{
    if (!a.v || !b.v) {
        number x = a.v ? a : b;
        x.plus = a.plus + b.plus;
        return x;
    }
    return (number){.v = op(d, RLX_DECODE_ADD, a.v, b.v),
                    .multiple = lesser(a.multiple, b.multiple),
                    .below = a.below && b.below ? a.below + b.below - 1 : 0,
                    .plus = a.plus + b.plus};
}

static uint32_t power_below(uint32_t v)
{
    return v & -v;
}

static number times(const rlx_decoder *d, number x, int by)
{
    uint32_t factor = (uint32_t)by;
    if (factor == 0)
        return known(0);
    x.plus *= factor;
    if (!x.v || factor == 1)
        return x;
    x.v = op_const(d, RLX_DECODE_MUL, x.v, factor);
    x.multiple *= power_below(factor);
    x.below = x.below ? (x.below - 1) * factor + 1 : 0;
    return x;
}

static uint32_t log_of(uint32_t power)
{
    return (uint32_t)__builtin_ctz(power);
}

/* Whether v does not reach the next multiple of `by`. */
static bool stays(number x, uint32_t by)
{
    return !x.v || (x.below && x.plus % by + x.below <= by);
}

/* Quotient and rest by a power of two. */
static number over(const rlx_decoder *d, number x, int power)
{
    uint32_t by = (uint32_t)power;
    if (stays(x, by))
        return known(x.plus / by);
    if (by == 1)
        return x;
    value shift = constant(d, log_of(by));
    if (x.multiple % by == 0)
        return (number){.v = op(d, RLX_DECODE_SHR, x.v, shift),
                        .multiple = x.multiple / by,
                        .below = x.below ? (x.below - 1) / by + 1 : 0,
                        .plus = x.plus / by};
    uint32_t most = x.below ? x.below - 1 + x.plus : 0;
    return unknown(op(d, RLX_DECODE_SHR, value_of(d, x), shift), most ? most / by + 1 : 0);
}

static number rest(const rlx_decoder *d, number x, int power)
{
    uint32_t by = (uint32_t)power;
    if (stays(x, by)) {
        x.plus %= by;
        return x;
    }
    if (x.multiple % by == 0)
        return known(x.plus % by);
    number left = unknown(op_const(d, RLX_DECODE_AND, value_of(d, x), by - 1), by);
    left.multiple = power_below(x.multiple | x.plus | by);
    return left;
}

static value shifted(const rlx_decoder *d, value v, number by)
{
    return by.v || by.plus ? op(d, RLX_DECODE_SHR, v, value_of(d, by)) : v;
}

static value low_bits(const rlx_decoder *d, value v, int bits)
{
    return op_const(d, RLX_DECODE_AND, v, (1u << bits) - 1);
}

/* The power of two, 4 at most, that divides x and where rows begin. */
static int alignment(const rlx_decoder *d, number x)
{
    uint32_t of = 4 | x.plus | (uint32_t)rlx_format_get(d->format)->block_bytes;
    return (int)power_below(x.v ? of | x.multiple : of);
}

static value load(const rlx_decoder *d, number at, int bytes)
{
    return d->engine->load(d->user, value_of(d, at), bytes, alignment(d, at));
}

/* `high` above the `bits` bits of `low`. */
static value with_high(const rlx_decoder *d, value low, value high, int bits)
{
    return op(d, RLX_DECODE_OR, low, op_const(d, RLX_DECODE_SHL, high, (uint32_t)bits));
}

static const rlx_block_layout *layout_of(const rlx_decoder *d)
{
    return rlx_format_block(d->format);
}

static value choose(const rlx_decoder *d, value cond, value a, value b)
{
    return d->engine->select(d->user, false, cond, a, b);
}

/* Byte q of the bytes lo .. hi - 1, its sign extended: out of words that are constants. */
static value pick(const rlx_decoder *d, const int8_t *bytes, int lo, int hi, value q)
{
    if (hi - lo > 4) {
        int middle = lo + (hi - lo) / 2;
        value low = pick(d, bytes, lo, middle, q), high = pick(d, bytes, middle, hi, q);
        return choose(d, op_const(d, RLX_DECODE_BELOW, q, (uint32_t)middle), low, high);
    }
    uint32_t word = 0;
    for (int i = lo; i < hi; i++)
        word |= (uint32_t)(uint8_t)bytes[i] << 8 * (i - lo);
    value shift = op_const(d, RLX_DECODE_SHL, op_const(d, RLX_DECODE_AND, q, 3), 3);
    return op(d, RLX_DECODE_SIGNED_BYTE, op(d, RLX_DECODE_SHR, constant(d, word), shift), 0);
}

/* ---- fields ---- */

/* `bits` bits from bit `from` of a word of `bytes` at `at`; no more of it is read than that takes. */
static value load_bits_at(const rlx_decoder *d, number at, int bytes, number from, int bits)
{
    if (bytes == 8) { /* no field crosses its middle */
        at = sum(d, at, times(d, over(d, from, 32), 4));
        from = rest(d, from, 32);
        bytes = 4;
    }
    if (!from.v) {
        int first = (int)from.plus / 8, in = (int)from.plus % 8;
        int need = in + bits <= 8 ? 1 : in + bits <= 16 ? 2 : bytes;
        if (first + need <= bytes) {
            at = plus(at, first);
            from.plus = (uint32_t)in;
            bytes = need;
        }
    }
    value word = shifted(d, load(d, at, bytes), from);
    bool all = !from.v && (int)from.plus + bits == 8 * bytes;
    return all ? word : low_bits(d, word, bits);
}

static const rlx_block_field *field_of(const rlx_decoder *d, rlx_block_role role)
{
    return rlx_format_field(d->format, role);
}

/* Number `i` of a role. */
static value load_field(const rlx_decoder *d, rlx_block_role role, number block, number i)
{
    const rlx_block_field *l = field_of(d, role);
    number q = over(d, i, l->per), r = rest(d, i, l->per);
    number from = sum(d, times(d, r, l->step), times(d, q, l->lift));
    number at = sum(d, block, times(d, q, l->next));
    return load_bits_at(d, plus(at, l->at), l->word, plus(from, l->shift), l->bits);
}

/* The same with the bits above it that another role has. */
static value load_high_field(const rlx_decoder *d, rlx_block_role role, rlx_block_role high,
                             number block, number i)
{
    value low = load_field(d, role, block, i);
    if (!field_of(d, high)->bits)
        return low;
    return with_high(d, low, load_field(d, high, block, i), field_of(d, role)->bits);
}

/* ---- scales ---- */

static value load_half(const rlx_decoder *d, number at)
{
    return op(d, RLX_DECODE_HALF, load(d, at, 2), 0);
}

/* Half of 2^(x-127): below 2 it has no exponent. */
static value from_e8m0(const rlx_decoder *d, value x)
{
    enum { LEAST = 0x00200000 };
    value small = op_const(d, RLX_DECODE_BELOW, x, 2);
    value low = op(d, RLX_DECODE_SHL, constant(d, LEAST), op_const(d, RLX_DECODE_AND, x, 1));
    value high = op_const(d, RLX_DECODE_SHL, op_const(d, RLX_DECODE_SUB, x, 1), 23);
    return op(d, RLX_DECODE_AS_FLOAT, choose(d, small, low, high), 0);
}

/* Half of a float of 4 and 3 bits; 0 for the one whose bits are all set. */
static value from_e4m3(const rlx_decoder *d, value x)
{
    enum { ALL = 0x7f, BIAS = 127 - 8 };
    value mantissa = low_bits(d, x, 3);
    value exponent = low_bits(d, op_const(d, RLX_DECODE_SHR, x, 3), 4);
    value normal = op_const(d, RLX_DECODE_ADD, exponent, BIAS);
    normal = op_const(d, RLX_DECODE_SHL, normal, 23);
    normal = op(d, RLX_DECODE_OR, normal, op_const(d, RLX_DECODE_SHL, mantissa, 20));
    normal = op(d, RLX_DECODE_AS_FLOAT, normal, 0);
    value least = op(d, RLX_DECODE_TO_FLOAT, mantissa, 0);
    least = op(d, RLX_DECODE_FMUL, least, d->engine->constant_f32(d->user, 0x1p-10f));
    value tiny = op_const(d, RLX_DECODE_EQUAL, exponent, 0);
    value none = op_const(d, RLX_DECODE_EQUAL, x, ALL);
    value v = d->engine->select(d->user, true, tiny, least, normal);
    return d->engine->select(d->user, true, none, d->engine->constant_f32(d->user, 0), v);
}

/* An f16 of which four words have four bits each, at their top, the first the lowest. */
static value load_top4(const rlx_decoder *d, number at)
{
    value half = 0;
    for (int i = 0; i < 4; i++) {
        value four = op_const(d, RLX_DECODE_SHR, load(d, plus(at, 2 * i + 1), 1), 4);
        half = half ? with_high(d, half, four, 4 * i) : four;
    }
    return op(d, RLX_DECODE_HALF, half, 0);
}

static value load_factor(const rlx_decoder *d, number block, number e)
{
    number at = plus(block, layout_of(d)->d);
    switch (layout_of(d)->factor) {
    case RLX_BLOCK_FACTOR_F32:
        return op(d, RLX_DECODE_AS_FLOAT, load(d, at, 4), 0);
    case RLX_BLOCK_FACTOR_E8M0:
        return from_e8m0(d, load(d, at, 1));
    case RLX_BLOCK_FACTOR_E4M3:
        return from_e4m3(d, load(d, sum(d, at, over(d, e, RLX_BLOCK_GROUP)), 1));
    case RLX_BLOCK_FACTOR_TOP4:
        return load_top4(d, at);
    case RLX_BLOCK_FACTOR_F16:
        break;
    }
    return load_half(d, at);
}

/* Six bits: the low ones of `own`, or four of `both` and above them the upper two of `own`. */
static value six_bits(const rlx_decoder *d, value upper, value own, value four)
{
    value high = with_high(d, four, op_const(d, RLX_DECODE_SHR, own, 6), 4);
    return choose(d, upper, high, low_bits(d, own, 6));
}

/* The six-bit scale and minimum of a group: K4. */
static void load_k4(const rlx_decoder *d, number block, number e, value *scale, value *min)
{
    number pair = over(d, e, 32);
    number at = sum(d, plus(block, layout_of(d)->scales), rest(d, pair, 4));
    value own = load(d, at, 1), least = load(d, plus(at, 4), 1), both = load(d, plus(at, 8), 1);
    value four = op_const(d, RLX_DECODE_SHR, both, 4);
    value upper = op(d, RLX_DECODE_BELOW, constant(d, 3), value_of(d, pair));
    *scale = six_bits(d, upper, own, low_bits(d, both, 4));
    *min = six_bits(d, upper, least, four);
}

static value scaled(const rlx_decoder *d, value factor, value whole)
{
    return op(d, RLX_DECODE_FMUL, factor, op(d, RLX_DECODE_TO_FLOAT, whole, 0));
}

static value field_scale(const rlx_decoder *d, number block, number i, value factor)
{
    const rlx_block_affine *by = rlx_format_affine(d->format);
    value s = load_high_field(d, RLX_BLOCK_SCALE, RLX_BLOCK_SCALE_HIGH, block, i);
    if (by->a != 1)
        s = op_const(d, RLX_DECODE_MUL, s, (uint32_t)by->a);
    if (by->b)
        s = op_const(d, RLX_DECODE_ADD, s, (uint32_t)by->b);
    s = scaled(d, factor, s);
    if (by->c == 1)
        return s;
    return op(d, RLX_DECODE_FMUL, s, d->engine->constant_f32(d->user, by->c));
}

/* Of element e of a block: x = q * scale + add; *add: 0 when nothing is. */
static value load_scale(const rlx_decoder *d, number block, number e, value *add)
{
    const rlx_block_layout *l = layout_of(d);
    value factor = load_factor(d, block, e), s = 0, t = 0;
    value m = l->m >= 0 ? load_half(d, plus(block, l->m)) : 0;
    *add = m;
    switch (l->scale) {
    case RLX_BLOCK_SCALE_PLAIN:
        return factor;
    case RLX_BLOCK_SCALE_S8:
        s = load(d, sum(d, plus(block, l->scales), over(d, e, RLX_BLOCK_GROUP)), 1);
        return scaled(d, factor, op(d, RLX_DECODE_SIGNED_BYTE, s, 0));
    case RLX_BLOCK_SCALE_K4:
        load_k4(d, block, e, &s, &t);
        s = scaled(d, factor, s);
        break;
    case RLX_BLOCK_SCALE_BY16:
    case RLX_BLOCK_SCALE_BY32:
        e = over(d, e, rlx_format_group(d->format));
        s = field_scale(d, block, e, factor);
        t = m ? load_field(d, RLX_BLOCK_MIN, block, e) : 0;
        break;
    }
    if (m)
        *add = op(d, RLX_DECODE_FNEG, scaled(d, m, t), 0);
    return s;
}

/* ---- codes ---- */

static value load_planes(const rlx_decoder *d, number block, number e, int low, int span, int bits)
{
    number at = rest(d, e, span * 8 / bits);
    number byte = sum(d, times(d, over(d, e, span * 8 / bits), span), rest(d, at, span));
    number shift = times(d, over(d, at, span), bits);
    return load_bits_at(d, plus(sum(d, block, byte), low), 1, shift, bits);
}

static value load_bits(const rlx_decoder *d, number block, number e)
{
    enum { HIGH_SPAN = 32 };
    const rlx_block_layout *l = layout_of(d);
    if (l->low_bits == 8)
        return op(d, RLX_DECODE_SIGNED_BYTE, load(d, plus(sum(d, block, e), l->low), 1), 0);
    value q = load_planes(d, block, e, l->low, l->span, l->low_bits);
    if (l->high < 0)
        return q;
    value high = l->high_bits == 32 ? load_planes(d, block, e, l->high, 1, 1)
                                    : load_planes(d, block, e, l->high, HIGH_SPAN, l->high_bits);
    return with_high(d, q, high, l->low_bits);
}

/* The digit to the base 3: a byte is a fraction of 256, whose digit n stands before the point once it
 * is multiplied by 3^n. 160 elements are in 32 bytes, 80 in 16, 16 in 4. */
static value load_trit(const rlx_decoder *d, number block, number e)
{
    enum { MANY = 160, MORE = 240 };
    static const int8_t power[] = {1, 3, 9, 27, 81, 0, 0, 0};
    value at = value_of(d, e);
    value many = op_const(d, RLX_DECODE_BELOW, at, MANY);
    value more = op_const(d, RLX_DECODE_BELOW, at, MORE);
    value byte = choose(d, more, op_const(d, RLX_DECODE_ADD, low_bits(d, at, 4), 32),
                        op_const(d, RLX_DECODE_ADD, low_bits(d, at, 2), 48));
    byte = choose(d, many, low_bits(d, at, 5), byte);
    value digit = op_const(d, RLX_DECODE_SHR, op_const(d, RLX_DECODE_SUB, at, MANY), 4);
    value last = op_const(d, RLX_DECODE_SHR, op_const(d, RLX_DECODE_SUB, at, MORE), 2);
    digit = choose(d, more, digit, last);
    digit = choose(d, many, op_const(d, RLX_DECODE_SHR, at, 5), digit);
    value x = load(d, plus(sum(d, block, unknown(byte, 0)), layout_of(d)->low), 1);
    x = op(d, RLX_DECODE_MUL, x, pick(d, power, 0, 8, digit));
    x = op_const(d, RLX_DECODE_MUL, low_bits(d, x, 8), 3);
    return op_const(d, RLX_DECODE_SHR, x, 8);
}

/* Whether the element is negated, as 0 or 1. */
static value load_sign(const rlx_decoder *d, number block, number e)
{
    value s = load_field(d, RLX_BLOCK_SIGNS, block, over(d, e, 8));
    if (field_of(d, RLX_BLOCK_SIGNS)->bits == 7) { /* the eighth makes their number even */
        value odd = s;
        for (uint32_t by = 4; by; by /= 2)
            odd = op(d, RLX_DECODE_XOR, odd, op_const(d, RLX_DECODE_SHR, odd, by));
        s = with_high(d, s, low_bits(d, odd, 1), 7);
    }
    return low_bits(d, shifted(d, s, rest(d, e, 8)), 1);
}

/* A grid as numbers of `bits` bits, which value of `level` an element has. */
enum { MAX_LEVELS = 8, MAX_GRID_WORDS = 1024 };
typedef struct packed_grid {
    int bits, levels, words;
    int8_t level[MAX_LEVELS];
    uint32_t word[MAX_GRID_WORDS];
} packed_grid;

static int level_of(packed_grid *p, int8_t v)
{
    int i = 0;
    while (i < p->levels && p->level[i] != v)
        i++;
    assert(i < MAX_LEVELS);
    p->level[i] = v;
    p->levels = i == p->levels ? i + 1 : p->levels;
    return i;
}

static void pack_grid(const rlx_block_grid *g, packed_grid *p)
{
    *p = (packed_grid){0};
    int n = g->entries * g->run;
    for (int i = 0; i < n; i++)
        level_of(p, g->values[i]);
    p->bits = p->levels <= 4 ? 2 : 4;
    p->words = n * p->bits / 32;
    assert(p->words <= MAX_GRID_WORDS);
    for (int i = 0; i < n; i++)
        p->word[i * p->bits / 32] |= (uint32_t)level_of(p, g->values[i]) << i * p->bits % 32;
}

/* Value `at` of the grid. */
static value load_grid_value(const rlx_decoder *d, const rlx_block_grid *g, number at)
{
    packed_grid p;
    char name[32];
    pack_grid(g, &p);
    snprintf(name, sizeof name, "grid_%s", rlx_format_get(d->format)->name);
    number bit = times(d, at, p.bits);
    value word = d->engine->table(d->user, name, p.word, p.words, value_of(d, over(d, bit, 32)));
    value level = low_bits(d, shifted(d, word, rest(d, bit, 32)), p.bits);
    return pick(d, p.level, 0, p.bits == 2 ? 4 : MAX_LEVELS, level);
}

static value load_grid(const rlx_decoder *d, number block, number e)
{
    rlx_block_grid g = rlx_format_grid(d->format);
    number run = over(d, e, g.run);
    value entry = load_high_field(d, RLX_BLOCK_INDEX, RLX_BLOCK_INDEX_HIGH, block, run);
    number at = sum(d, times(d, unknown(entry, (uint32_t)g.entries), g.run), rest(d, e, g.run));
    value q = load_grid_value(d, &g, at);
    if (field_of(d, RLX_BLOCK_SIGNS)->bits) { /* (q ^ -s) + s */
        value s = load_sign(d, block, e), all = op(d, RLX_DECODE_SUB, constant(d, 0), s);
        return op(d, RLX_DECODE_ADD, op(d, RLX_DECODE_XOR, q, all), s);
    }
    value off = load_field(d, RLX_BLOCK_SHIFT, block, run);
    off = op_const(d, RLX_DECODE_SHL, off, 1);
    return op(d, RLX_DECODE_SUB, op_const(d, RLX_DECODE_ADD, q, 1), off);
}

static value take_bias(const rlx_decoder *d, value q)
{
    const int bias = layout_of(d)->bias;
    return bias ? op_const(d, RLX_DECODE_SUB, q, (uint32_t)bias) : q;
}

static value load_code(const rlx_decoder *d, number block, number e)
{
    const rlx_block_layout *l = layout_of(d);
    const int8_t *stand = rlx_block_values(l->codes);
    if (l->codes == RLX_BLOCK_CODES_GRID)
        return load_grid(d, block, e);
    if (l->codes == RLX_BLOCK_CODES_TRITS)
        return take_bias(d, load_trit(d, block, e));
    value q = load_bits(d, block, e);
    return stand ? pick(d, stand, 0, 1 << l->low_bits, q) : take_bias(d, q);
}

/* ---- four codes ---- */

enum { TOGETHER = 4 };

/* A byte in all four of a word. */
static uint32_t in_bytes(uint32_t x)
{
    return x * 0x01010101u;
}

/* Of planes that have the four in as many bytes. */
static value load_plane_words(const rlx_decoder *d, number block, number e, int low, int span,
                              int bits)
{
    number at = rest(d, e, span * 8 / bits);
    number byte = sum(d, times(d, over(d, e, span * 8 / bits), span), rest(d, at, span));
    number shift = times(d, over(d, at, span), bits);
    value word = load(d, plus(sum(d, block, byte), low), TOGETHER);
    return op_const(d, RLX_DECODE_AND, shifted(d, word, shift), in_bytes((1u << bits) - 1));
}

/* Bits e .. e + 3, one to a byte. */
static value load_spread_bits(const rlx_decoder *d, number block, number e, int at)
{
    enum { APART = 1 | 1 << 7 | 1 << 14 | 1 << 21 }; /* bit i to bit 8 i, and others elsewhere */
    value four = load_bits_at(d, plus(block, at), TOGETHER, e, TOGETHER);
    return op_const(d, RLX_DECODE_AND, op_const(d, RLX_DECODE_MUL, four, APART), in_bytes(1));
}

static value load_words(const rlx_decoder *d, number block, number e)
{
    enum { HIGH_SPAN = 32 };
    const rlx_block_layout *l = layout_of(d);
    if (l->low_bits == 8)
        return load(d, plus(sum(d, block, e), l->low), TOGETHER);
    value q = load_plane_words(d, block, e, l->low, l->span, l->low_bits);
    if (l->high < 0)
        return q;
    value high = l->high_bits == 32
                     ? load_spread_bits(d, block, e, l->high)
                     : load_plane_words(d, block, e, l->high, HIGH_SPAN, l->high_bits);
    return with_high(d, q, high, l->low_bits);
}

/* Without their bias: added are 128 less it, which no byte carries, and taken off again those. */
static value take_bias_of_four(const rlx_decoder *d, value four)
{
    enum { TOP = 0x80 };
    const int bias = layout_of(d)->bias;
    if (!bias)
        return four;
    four = op_const(d, RLX_DECODE_ADD, four, in_bytes((uint32_t)(TOP - bias)));
    return op_const(d, RLX_DECODE_XOR, four, in_bytes(TOP));
}

/* ---- where in the row ---- */

/* The byte of its block; *e: the element in the block. */
static number block_of(const rlx_decoder *d, number index, number *e)
{
    const rlx_format_info *info = rlx_format_get(d->format);
    *e = rest(d, index, info->block_elems);
    return times(d, over(d, index, info->block_elems), info->block_bytes);
}

rlx_decode_value rlx_decode_element(const rlx_decoder *d, rlx_decode_number index)
{
    number e, block = block_of(d, index, &e);
    value add, scale = load_scale(d, block, e, &add), q = load_code(d, block, e);
    value x = op(d, RLX_DECODE_FMUL, op(d, RLX_DECODE_TO_FLOAT, q, 0), scale);
    return add ? op(d, RLX_DECODE_FADD, x, add) : x;
}

rlx_decode_value rlx_decode_code(const rlx_decoder *d, rlx_decode_number index)
{
    number e, block = block_of(d, index, &e);
    return load_code(d, block, e);
}

rlx_decode_value rlx_decode_codes(const rlx_decoder *d, rlx_decode_number index)
{
    const rlx_block_layout *l = layout_of(d);
    number e, block = block_of(d, index, &e);
    if (l->codes == RLX_BLOCK_CODES_INT && (l->low_bits == 8 || l->span >= TOGETHER))
        return take_bias_of_four(d, load_words(d, block, e));
    value word = 0;
    for (int i = 0; i < TOGETHER; i++) {
        value code = low_bits(d, load_code(d, block, plus(e, i)), 8);
        word = word ? with_high(d, word, code, 8 * i) : code;
    }
    return word;
}

rlx_decode_value rlx_decode_scale(const rlx_decoder *d, rlx_decode_number index)
{
    value add;
    number e, block = block_of(d, times(d, index, rlx_format_group(d->format)), &e);
    return load_scale(d, block, e, &add);
}

rlx_decode_value rlx_decode_min(const rlx_decoder *d, rlx_decode_number index)
{
    value add;
    number e, block = block_of(d, times(d, index, rlx_format_group(d->format)), &e);
    load_scale(d, block, e, &add);
    return op(d, RLX_DECODE_FNEG, add, 0);
}
