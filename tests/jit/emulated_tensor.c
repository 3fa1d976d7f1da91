#include "tests/jit/emulated_tensor.h"

#include <check.h>
#include <stdbool.h>
#include <string.h>

#include "tests/jit/subject.h"

/* The PTX ISA's words on mbarrier objects and cp.async.bulk.tensor, tiled, of two dimensions: "Phase of the mbarrier object",
 * "Tracking asynchronous operations by the mbarrier object", "Swizzling modes".
 *
 * What is copied is there when its phase was waited for, and not before; a phase ends when all have arrived and all bytes have come. A team is
 * one at a time in a thread. Who waits lets all others come to the same place first: a phase that has not ended then never will. */

enum { BARRIERS = 16, COPIES = 64, GARBAGE = 0x5a };

typedef struct copy {
    const emulated_map *map;
    uint32_t to;
    int32_t column, row;
} copy;

typedef struct barrier {
    uint32_t at; /* its address; 0: none */
    int expected, pending;
    int64_t bytes; /* that are still to come */
    unsigned phase;
    int ncopies;
    copy copies[COPIES];
} barrier;

static _Thread_local struct {
    int n;
    barrier of[BARRIERS];
} team;

static uint32_t word_of(const void *arg)
{
    uint32_t v;
    memcpy(&v, arg, sizeof v);
    return v;
}

static barrier *find(const void *arg)
{
    const uint32_t at = word_of(arg);
    for (int i = 0; i < team.n; i++)
        if (team.of[i].at == at)
            return &team.of[i];
    ck_abort_msg("no mbarrier at %u", at);
}

static uint8_t *place(uint32_t at)
{
    return (uint8_t *)subject_team_memory() + at;
}

void emulated_tensor_begin(void)
{
    team.n = 0;
}

/* args: address. Of one arrival. */
void emulated_mbarrier_init(void *result, const void *const *args)
{
    const uint32_t at = word_of(args[0]);
    (void)result;
    ck_assert_uint_eq(at % sizeof(uint64_t), 0);
    ck_assert_int_lt(team.n, BARRIERS);
    for (int i = 0; i < team.n; i++)
        ck_assert_msg(team.of[i].at != at, "the mbarrier at %u begins twice", at);
    team.of[team.n++] = (barrier){.at = at, .expected = 1, .pending = 1};
}

/* args: address, bytes. */
void emulated_mbarrier_expect(void *result, const void *const *args)
{
    (void)result;
    find(args[0])->bytes += word_of(args[1]);
}

void emulated_mbarrier_arrive(void *result, const void *const *args)
{
    barrier *b = find(args[0]);
    (void)result;
    ck_assert_int_gt(b->pending, 0);
    b->pending--;
}

/* Bits 4 to 6 of an address change with bits 7 to 9: of 128 bytes all three, of 64 and 32 two and one. */
static uint32_t swizzled(uint32_t at, uint32_t mode)
{
    const uint32_t mask = (1u << mode) - 1; /* CU_TENSOR_MAP_SWIZZLE_32B is 1, _128B is 3 */
    return at ^ (at >> 7 & mask) << 4;
}

static void run_copy(const copy *c)
{
    const emulated_map *m = c->map;
    for (uint32_t r = 0; r < m->box_rows; r++)
        for (uint32_t k = 0; k < m->box_columns * m->bytes; k++) {
            const int64_t row = c->row + (int64_t)r, column = c->column + k / m->bytes;
            const bool inside = row >= 0 && row < m->rows && column >= 0 && column < m->columns;
            *place(swizzled(c->to + r * m->box_columns * m->bytes + k, m->swizzle)) =
                inside ? m->at[row * m->stride + column * m->bytes + k % m->bytes] : 0;
        }
}

/* args: where to, the map's address, column, row, the mbarrier's address. */
void emulated_copy_box(void *result, const void *const *args)
{
    barrier *b = find(args[4]);
    uint64_t map;
    (void)result;
    memcpy(&map, args[1], sizeof map);
    copy c = {(const emulated_map *)(uintptr_t)map, word_of(args[0]), (int32_t)word_of(args[2]),
              (int32_t)word_of(args[3])};
    const int64_t bytes = (int64_t)c.map->box_rows * c.map->box_columns * c.map->bytes;
    ck_assert_msg(map % 128 == 0 && c.map->magic == EMULATED_MAP, "no tensor map");
    ck_assert_msg(c.to % (8 * c.map->box_columns * c.map->bytes) == 0,
                  "a box does not begin where its swizzle does");
    ck_assert_int_lt(b->ncopies, COPIES);
    memset(place(c.to), GARBAGE, (size_t)bytes);
    b->copies[b->ncopies++] = c;
}

/* args: address, parity of a phase. */
void emulated_mbarrier_wait(void *result, const void *const *args)
{
    barrier *b = find(args[0]);
    const unsigned parity = word_of(args[1]);
    (void)result;
    subject_meet();
    if ((b->phase & 1) != parity)
        return;
    ck_assert_msg(b->pending == 0, "nobody arrives at an mbarrier that is waited for");
    for (int i = 0; i < b->ncopies; i++) {
        const emulated_map *m = b->copies[i].map;
        b->bytes -= (int64_t)m->box_rows * m->box_columns * m->bytes;
        run_copy(&b->copies[i]);
    }
    ck_assert_msg(b->bytes == 0, "%d bytes are expected that nobody copies", (int)b->bytes);
    b->ncopies = 0;
    b->pending = b->expected;
    b->phase++;
}
