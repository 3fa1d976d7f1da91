#include "tests/jit/emulated_wgmma.h"

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "runtime/base/format.h"
#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"

/* The PTX ISA's words on wgmma.mma_async m64nNk32 of s8, and m64nNk16 of f16 and bf16: register
 * fragments of A and D, the matrix descriptor, layouts that are major in K: without a swizzle, and
 * with those of 32, 64 and 128 bytes.
 *
 * Registers of D are not to be read before a wait: until then they hold which multiplication they are
 * of. It multiplies when it begins and again when it is waited for: what it reads of team memory has to
 * stay the same between. */

enum { WARP = 32, ROWS = 16, K = 32, MOST_N = 256, A_BYTES = 16, FLYING = 4, THREADS = 512 };
enum { NAME = 0x57A10000 };

typedef struct multiplication {
    int n;
    int8_t a[2][K]; /* rows groupID and groupID + 8 of this thread's warp */
    uint64_t descriptor;
    int32_t d[MOST_N / 2];
} multiplication;

static _Thread_local struct {
    const void *memory; /* whose team it was last */
    bool shown;         /* fence.proxy.async came since the last wait for all */
    int barriers;       /* before it */
    unsigned begun, done;
    multiplication of[FLYING];
} threads[THREADS];

static uint32_t word_of(const void *arg)
{
    uint32_t v;
    memcpy(&v, arg, sizeof v);
    return v;
}

/* Byte k of a row whose eight begin where the pattern does: bits 4 and up of its address change with bits 7 and up. */
static uint64_t swizzled(uint64_t start, uint64_t stride, unsigned mode, int k, int row)
{
    const uint64_t width = 256 >> mode; /* 1: 128 bytes, 2: 64, 3: 32 */
    const uint64_t at =
        start + (uint64_t)(row / 8) * stride + (uint64_t)(row % 8) * width + (uint64_t)k;
    ck_assert_msg(start % (8 * width) < width && start % width + (uint64_t)k < width,
                  "a swizzle of %d bytes does not begin there", (int)width);
    ck_assert_uint_eq(stride, 8 * width);
    return at ^ (at >> 7 & (width / 16 - 1)) << 4;
}

/* Byte k of a row of an operand: without a swizzle in core matrices of 8 rows of 16 bytes. */
static const uint8_t *element(const uint8_t *shared, uint64_t descriptor, int k, int row)
{
    const uint64_t start = (descriptor & 0x3FFF) << 4, leading = (descriptor >> 16 & 0x3FFF) << 4,
                   stride = (descriptor >> 32 & 0x3FFF) << 4;
    const unsigned mode = (unsigned)(descriptor >> 62);
    ck_assert_uint_eq(descriptor >> 49 & 7, 0); /* no base offset */
    if (mode)
        return shared + swizzled(start, stride, mode, k, row);
    return shared + start + (uint64_t)(k / 16) * leading + (uint64_t)(row / 8) * stride +
           (uint64_t)(row % 8 * 16 + k % 16);
}

static void multiply(const uint8_t *shared, int thread, multiplication *m)
{
    for (int i = 0; i < m->n / 2; i++) {
        const int column = i / 4 * 8 + thread % 4 * 2 + (i & 1);
        m->d[i] = 0;
        for (int k = 0; k < K; k++)
            m->d[i] += m->a[i / 2 % 2][k] * (int8_t)*element(shared, m->descriptor, k, column);
    }
}

/* Rows of A that a thread has sums of, out of its warp's registers. */
static void gather_rows(const void *const *args, multiplication *m)
{
    uint8_t own[A_BYTES], all[WARP][A_BYTES];
    for (int i = 0; i < A_BYTES / 4; i++)
        memcpy(&own[4 * i], args[1 + i], 4);
    const int lane = subject_gather(own, sizeof own, all), group = lane >> 2;
    for (int of = 0; of < 4; of++)
        for (int i = 0; i < A_BYTES; i++) {
            const bool upper = i < 4 || (i >= 8 && i < 12);
            const int column = of * 4 + (i & 3) + (i < 8 ? 0 : 16);
            m->a[upper ? 0 : 1][column] = (int8_t)all[4 * group + of][i];
        }
}

/* Every thread has shown what it wrote, before a barrier that this one has passed. */
static void check_shown(const void *shared)
{
    for (int i = 0; i < subject_invocations(); i++) {
        ck_assert_msg(threads[i].memory == shared && threads[i].shown,
                      "team memory is not shown to wgmma by fence.proxy.async");
        ck_assert_msg(threads[i].barriers < subject_barriers(),
                      "no barrier between a thread's fence.proxy.async and wgmma");
    }
}

/* args: N, four words of A, the descriptor. */
void emulated_wgmma(void *result, const void *const *args)
{
    void *shared = subject_team_memory();
    const int thread = subject_invocation();
    ck_assert_int_lt(thread, THREADS);
    check_shown(shared);
    const unsigned number = threads[thread].begun++;
    ck_assert_uint_lt(number - threads[thread].done, FLYING);
    multiplication *m = &threads[thread].of[number % FLYING];
    m->n = (int)word_of(args[0]);
    memcpy(&m->descriptor, args[5], sizeof m->descriptor);
    gather_rows(args, m);
    multiply(shared, thread, m);
    for (int i = 0; i < m->n / 2; i++)
        ((int32_t *)result)[i] = NAME + (int32_t)(number % FLYING * MOST_N) + i;
}

/* args: how many may go on; how many sums; the registers of one multiplication. */
void emulated_wgmma_wait(void *result, const void *const *args)
{
    void *shared = subject_team_memory();
    const int thread = subject_invocation();
    const unsigned flying = word_of(args[0]), sums = word_of(args[1]);
    const unsigned named = (word_of(args[2]) - NAME) / MOST_N;
    ck_assert_uint_lt(named, FLYING);
    multiplication *m = &threads[thread].of[named], again = *m;
    threads[thread].done = threads[thread].begun - flying;
    ck_assert_msg((threads[thread].done - 1 - named) % FLYING < FLYING - flying,
                  "a sum is read that is not waited for");
    ck_assert_uint_eq(sums, (unsigned)m->n / 2);
    multiply(shared, thread, &again);
    ck_assert_msg(memcmp(again.d, m->d, sizeof *m->d * sums) == 0,
                  "team memory changes under a multiplication");
    for (unsigned i = 0; i < sums; i++) {
        ck_assert_uint_eq(word_of(args[2 + i]), NAME + named * MOST_N + i);
        ((int32_t *)result)[i] = m->d[i];
    }
    if (!flying)
        threads[thread].shown = false;
}

/* ---- f16 and bf16: all multiplications of an op, and the wait for them ---- */

enum { HALVES_K = 16, HALF = 2 };

static uint64_t descriptor_of(const void *arg)
{
    uint64_t v;
    memcpy(&v, arg, sizeof v);
    return v;
}

static void load_row(const uint8_t *shared, rlx_format f, uint64_t descriptor, int row, float *out)
{
    for (int k = 0; k < HALVES_K; k++)
        out[k] = (float)rlx_format_load(f, element(shared, descriptor, k * HALF, row), 0);
}

/* Threads of a warp come with the same. */
static void check_same(uint64_t descriptor)
{
    uint64_t all[WARP];
    const int lane = subject_gather(&descriptor, sizeof descriptor, all);
    for (int i = 0; i < WARP; i++)
        ck_assert_uint_eq(all[i], all[lane]);
}

/* args: N, chunks of K, sides, the format; sums of all sides; of each side and chunk the descriptors of A and B. */
void emulated_wgmma_halves(void *result, const void *const *args)
{
    const uint8_t *shared = subject_team_memory();
    const int thread = subject_invocation(), lane = thread % WARP, warp = thread / WARP % 4;
    const int n = (int)word_of(args[0]), chunks = (int)word_of(args[1]),
              sides = (int)word_of(args[2]), of_side = n / 2;
    const rlx_format f = (rlx_format)word_of(args[3]);
    const void *const *descriptor = args + 4 + sides * of_side;
    ck_assert(n % 8 == 0 && n <= MOST_N && (f == RLX_F16 || f == RLX_BF16));
    check_shown(shared);
    for (int i = 0; i < sides * of_side; i++)
        memcpy((float *)result + i, args[4 + i], sizeof(float));
    for (int c = 0; c < sides * chunks; c++, descriptor += 2) {
        float *sum = (float *)result + c / chunks * of_side;
        const uint64_t a = descriptor_of(descriptor[0]), b = descriptor_of(descriptor[1]);
        check_same(a);
        check_same(b);
        float x[2][HALVES_K], y[HALVES_K];
        for (int r = 0; r < 2; r++)
            load_row(shared, f, a, 16 * warp + (lane >> 2) + r * 8, x[r]);
        for (int column = 0; column < n / 4; column++) { /* of two rows each: i, i + 2 */
            const int i = column / 2 * 4 + column % 2;
            load_row(shared, f, b, i / 4 * 8 + lane % 4 * 2 + (i & 1), y);
            for (int r = 0; r < 2; r++)
                sum[i + 2 * r] = emulated_add_halves(sum[i + 2 * r], x[r], y);
        }
    }
}

void emulated_wgmma_hide(void)
{
    threads[subject_invocation()].shown = false;
}

void emulated_fence_proxy(void *result, const void *const *args)
{
    void *shared = subject_team_memory();
    const int thread = subject_invocation();
    (void)result;
    (void)args;
    ck_assert_int_lt(thread, THREADS);
    if (threads[thread].memory != shared)
        threads[thread].begun = threads[thread].done = 0;
    threads[thread].memory = shared;
    threads[thread].shown = true;
    threads[thread].barriers = subject_barriers();
}
