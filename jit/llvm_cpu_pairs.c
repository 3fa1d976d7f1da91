#include "jit/llvm_cpu.h"

/* Codes of blocks as turn takes them up: 32 at a time, 16 of one group and 16 of another, perhaps of
 * two rows. Where both groups lie in the same bytes one load repeats those; and what is shifted and
 * masked is whole registers. */

enum { RUN = 16, PAIR = 2 * RUN, WORDS = PAIR / 4, MOST_ROWS = 2 };

/* Where bits of 16 elements are: the first of their bytes, and how far up in each. */
typedef struct bits {
    int at, shift;
} bits;

/* Planes of `run` elements: `count` bits each. */
static bits find_plane(int in_block, int from, int run, int count)
{
    const int chunk = run * 8 / count;
    return (bits){from + in_block / chunk * run + in_block % run, in_block % chunk / run * count};
}

static bits find_low(const rlx_block_layout *l, int in_block)
{
    if (l->low_bits == 8)
        return (bits){l->low + in_block, 0};
    return find_plane(in_block, l->low, l->span, l->low_bits);
}

static bits find_high(const rlx_block_layout *l, int in_block)
{
    enum { PLANE = 32 };
    return find_plane(in_block, l->high, PLANE, l->high_bits);
}

/* Of element `at` of blocks in a row. */
static bits find(const rlx_block_layout *l, bits (*where)(const rlx_block_layout *, int), int at)
{
    const rlx_format_info *info = rlx_format_get(l->format);
    bits b = where(l, at % info->block_elems);
    b.at += at / info->block_elems * info->block_bytes;
    return b;
}

static LLVMValueRef load_run(rlx_emit *e, LLVMValueRef block, int at)
{
    LLVMValueRef p = rlx_emit_offset(e, e->i8, block, rlx_emit_int(e->i64, at));
    LLVMValueRef x = LLVMBuildLoad2(e->b, rlx_emit_vector(e->i8, RUN), p, "");
    LLVMSetAlignment(x, 1);
    return x;
}

static LLVMValueRef load_pair(rlx_emit *e, const LLVMValueRef *block, int rows, const bits *two)
{
    const bool once = two[0].at == two[1].at;
    LLVMValueRef run[2 * MOST_ROWS], mask[PAIR * MOST_ROWS], x;
    int n = 0;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < (once ? 1 : 2); i++)
            run[n++] = load_run(e, block[r], two[i].at);
    x = rlx_emit_join(e, run, n);
    for (int i = 0; i < PAIR * rows; i++)
        mask[i] = rlx_emit_int(e->i32, i / PAIR * RUN + i % RUN);
    return once ? LLVMBuildShuffleVector(e->b, x, LLVMGetPoison(LLVMTypeOf(x)),
                                         LLVMConstVector(mask, (unsigned)(PAIR * rows)), "")
                : x;
}

/* Shift counts of words, by halves. */
static LLVMValueRef by_halves(rlx_emit *e, int rows, int first, int second)
{
    LLVMValueRef by[WORDS * MOST_ROWS];
    for (int i = 0; i < WORDS * rows; i++)
        by[i] = rlx_emit_int(e->i32, i % WORDS < WORDS / 2 ? first : second);
    return LLVMConstVector(by, (unsigned)(WORDS * rows));
}

/* `count` bits of every byte, moved to bit `to`. Words are shifted, as there is no shift of bytes:
 * what comes from a neighbour is masked. Halves that go opposite ways go up first, by as much as
 * another pair of the same bytes does. */
static LLVMValueRef move_bits(rlx_emit *e, LLVMValueRef x, const bits *two, int count, int to)
{
    const int up[2] = {to - two[0].shift, to - two[1].shift};
    const int least = up[0] < up[1] ? up[0] : up[1], most = up[0] < up[1] ? up[1] : up[0];
    const int down = least < 0 && most > 0 ? -least : 0;
    LLVMTypeRef type = LLVMTypeOf(x);
    const int rows = (int)LLVMGetVectorSize(type) / PAIR;
    x = LLVMBuildBitCast(e->b, x, rlx_emit_vector(e->i32, (int64_t)WORDS * rows), "");
    if (most > 0)
        x = LLVMBuildShl(e->b, x, by_halves(e, rows, up[0] + down, up[1] + down), "");
    else if (least < 0)
        x = LLVMBuildLShr(e->b, x, by_halves(e, rows, -up[0], -up[1]), "");
    if (down)
        x = LLVMBuildLShr(e->b, x, by_halves(e, rows, down, down), "");
    x = LLVMBuildBitCast(e->b, x, type, "");
    LLVMValueRef mask = rlx_emit_int(e->i8, ((1 << count) - 1) << to);
    return LLVMBuildAnd(e->b, x, rlx_emit_splat(e, mask, type), "");
}

bool rlx_emit_has_code_pairs(const rlx_block_layout *l)
{
    const bool codes = l->codes == RLX_BLOCK_CODES_INT || l->codes == RLX_BLOCK_CODES_FP4 ||
                       l->codes == RLX_BLOCK_CODES_NL4;
    return codes && (l->low_bits == 8 || l->span >= RUN) && (l->high < 0 || l->high_bits <= 2);
}

LLVMValueRef rlx_emit_code_pair(rlx_emit *e, const rlx_block_layout *l, const LLVMValueRef *block,
                                int rows, int first, int second)
{
    bits two[2] = {find(l, find_low, first), find(l, find_low, second)};
    LLVMValueRef x = load_pair(e, block, rows, two);
    if (l->low_bits < 8)
        x = move_bits(e, x, two, l->low_bits, 0);
    if (l->high < 0)
        return rlx_emit_take_bias(e, l, rlx_emit_values(e, l, x));
    two[0] = find(l, find_high, first);
    two[1] = find(l, find_high, second);
    LLVMValueRef high = load_pair(e, block, rows, two);
    x = LLVMBuildOr(e->b, x, move_bits(e, high, two, l->high_bits, l->low_bits), "");
    return rlx_emit_take_bias(e, l, x);
}
