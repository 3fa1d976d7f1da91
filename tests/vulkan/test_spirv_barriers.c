/* Barriers that nothing needs are dropped, and no other: bodies by hand with the barriers that must be left, and random ones, in which
 * walks never meet two accesses to one variable, of which one writes, without a barrier between. */
#include "jit/spirv_barriers.h"
#include "tests/runtime/suite.h"

enum { VARIABLES = 4 };

static rlx_spirv_module m;
static rlx_spirv_id variable[VARIABLES], element;

static void open_body(void)
{
    rlx_spirv_module_init(&m);
    const rlx_spirv_id u32 = rlx_spirv_type_int(&m, 32);
    const rlx_spirv_id array =
        rlx_spirv_intern(&m, SpvOpTypeArray, 0, RLX_SPIRV_WORDS(u32, rlx_spirv_const_u32(&m, 64)));
    element = rlx_spirv_type_pointer(&m, SpvStorageClassWorkgroup, u32);
    for (int i = 0; i < VARIABLES; i++)
        variable[i] = rlx_spirv_variable(&m, SpvStorageClassWorkgroup, array, NULL);
}

static rlx_spirv_id pointer_to(int which)
{
    return rlx_spirv_op(&m, SpvOpAccessChain, element, variable[which], rlx_spirv_const_u32(&m, 7));
}

static void load(int which)
{
    rlx_spirv_op(&m, SpvOpLoad, rlx_spirv_type_int(&m, 32), pointer_to(which));
}

static void store(int which)
{
    rlx_spirv_inst(&m, RLX_SPIRV_BODY, SpvOpStore, pointer_to(which), rlx_spirv_const_u32(&m, 1));
}

static void add(int which)
{
    const rlx_spirv_id one = rlx_spirv_const_u32(&m, 1);
    rlx_spirv_op(&m, SpvOpAtomicOr, rlx_spirv_type_int(&m, 32), pointer_to(which), one, one, one);
}

typedef struct loop {
    rlx_spirv_id head, next, end;
} loop;

static loop open_loop(void)
{
    const loop l = {rlx_spirv_new_id(&m), rlx_spirv_new_id(&m), rlx_spirv_new_id(&m)};
    const rlx_spirv_id in = rlx_spirv_new_id(&m);
    rlx_spirv_branch(&m, l.head);
    rlx_spirv_label(&m, l.head);
    rlx_spirv_inst(&m, RLX_SPIRV_BODY, SpvOpLoopMerge, l.end, l.next, SpvLoopControlMaskNone);
    rlx_spirv_inst(&m, RLX_SPIRV_BODY, SpvOpBranchConditional, rlx_spirv_const_bool(&m, true), in,
                   l.end);
    rlx_spirv_label(&m, in);
    return l;
}

static void close_loop(loop l)
{
    rlx_spirv_branch(&m, l.next);
    rlx_spirv_label(&m, l.next);
    rlx_spirv_branch(&m, l.head);
    rlx_spirv_label(&m, l.end);
}

static rlx_spirv_id open_if(void)
{
    const rlx_spirv_id in = rlx_spirv_new_id(&m), join = rlx_spirv_new_id(&m);
    rlx_spirv_select_branch(&m, rlx_spirv_const_bool(&m, true), in, join, join);
    rlx_spirv_label(&m, in);
    return join;
}

static void close_if(rlx_spirv_id join)
{
    rlx_spirv_branch(&m, join);
    rlx_spirv_label(&m, join);
}

static void barrier(void)
{
    m.met = false; /* one that stands behind another, too */
    rlx_spirv_barrier(&m);
}

static const uint32_t *words(size_t *n)
{
    *n = m.section[RLX_SPIRV_BODY].len / sizeof(uint32_t);
    return (const uint32_t *)(const void *)m.section[RLX_SPIRV_BODY].data;
}

/* Ends the body and drops; what is left of it, a letter for each: Load, Store, Atomic, Barrier, ( a loop ). */
static const char *dropped(void)
{
    static char text[256];
    size_t n, at = 0;
    rlx_spirv_id end = 0;
    rlx_spirv_put(&m, RLX_SPIRV_BODY, SpvOpReturn, 0, NULL);
    rlx_spirv_put(&m, RLX_SPIRV_BODY, SpvOpFunctionEnd, 0, NULL);
    rlx_spirv_drop_barriers(&m);
    const uint32_t *w = words(&n);
    for (size_t i = 0; i < n; i += w[i] >> SpvWordCountShift) {
        const SpvOp op = (SpvOp)(w[i] & SpvOpCodeMask);
        const char c = op == SpvOpLoad                              ? 'L'
                       : op == SpvOpStore                           ? 'S'
                       : op == SpvOpAtomicOr                        ? 'A'
                       : op == SpvOpControlBarrier                  ? 'B'
                       : op == SpvOpLoopMerge                       ? '('
                       : op == SpvOpLabel && end && w[i + 1] == end ? ')'
                                                                    : 0;
        end = op == SpvOpLoopMerge ? w[i + 1] : end;
        if (c)
            text[at++] = c;
    }
    text[at] = '\0';
    rlx_spirv_module_deinit(&m);
    return text;
}

START_TEST(what_is_exchanged_keeps_one_between)
{
    open_body();
    store(0);
    barrier();
    load(0);
    barrier();
    barrier();
    ck_assert_str_eq(dropped(), "SBL");
    open_body(); /* two variables take turns */
    for (int i = 0; i < 4; i++) {
        store(i % 2);
        barrier();
        load(i % 2);
        barrier();
    }
    ck_assert_str_eq(dropped(), "SBLSBLSBLSBL");
    open_body(); /* one does not */
    for (int i = 0; i < 2; i++) {
        store(0);
        barrier();
        load(0);
        barrier();
    }
    ck_assert_str_eq(dropped(), "SBLBSBL");
}
END_TEST

START_TEST(what_nobody_writes_needs_none)
{
    open_body();
    load(0);
    barrier();
    load(0);
    barrier();
    store(1);
    barrier();
    load(0);
    ck_assert_str_eq(dropped(), "LLSL");
}
END_TEST

START_TEST(two_writes_are_parted)
{
    open_body();
    store(0);
    barrier();
    store(0);
    barrier();
    add(1);
    barrier();
    add(1);
    ck_assert_str_eq(dropped(), "SBSABA");
}
END_TEST

START_TEST(rounds_of_a_loop_are_parted)
{
    open_body();
    loop l = open_loop();
    store(0);
    barrier();
    load(0);
    barrier();
    close_loop(l);
    ck_assert_str_eq(dropped(), "(SBLB)");
    open_body(); /* each round writes */
    l = open_loop();
    barrier();
    store(0);
    barrier();
    close_loop(l);
    barrier();
    ck_assert_str_eq(dropped(), "(SB)");
    open_body(); /* the one outside does for both */
    store(0);
    barrier();
    l = open_loop();
    load(0);
    barrier();
    close_loop(l);
    barrier();
    store(0);
    ck_assert_str_eq(dropped(), "SB(L)BS");
}
END_TEST

START_TEST(what_may_happen_counts)
{
    open_body();
    rlx_spirv_id join = open_if();
    store(0);
    close_if(join);
    barrier();
    join = open_if();
    load(0);
    close_if(join);
    barrier();
    load(1);
    ck_assert_str_eq(dropped(), "SBLL");
}
END_TEST

/* What is not known here may touch anything. */
START_TEST(unknown_bodies_keep_all)
{
    open_body();
    load(0);
    barrier();
    rlx_spirv_inst(&m, RLX_SPIRV_BODY, SpvOpCopyMemory, pointer_to(0), pointer_to(1));
    barrier();
    load(0);
    ck_assert_str_eq(dropped(), "LBBL");
}
END_TEST

/* ---- random bodies ---- */

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

/* With a barrier behind every access. */
static void put_random(int depth)
{
    for (uint32_t n = 1 + draw(5); n-- > 0;) {
        const uint32_t kind = draw(depth < 3 ? 6 : 4);
        if (kind < 4) {
            const int which = (int)draw(VARIABLES);
            (kind < 2 ? load : kind == 2 ? store : add)(which);
            barrier();
        } else if (kind == 4) {
            const loop l = open_loop();
            put_random(depth + 1);
            close_loop(l);
        } else {
            const rlx_spirv_id join = open_if();
            put_random(depth + 1);
            close_if(join);
        }
    }
}

static size_t find_label(const uint32_t *w, size_t n, uint32_t label)
{
    size_t i = 0;
    while (i < n && !((w[i] & SpvOpCodeMask) == SpvOpLabel && w[i + 1] == label))
        i += w[i] >> SpvWordCountShift;
    ck_assert_uint_lt(i, n);
    return i;
}

static int number_of(rlx_spirv_id pointer)
{
    size_t n;
    const uint32_t *w = words(&n);
    for (size_t i = 0; i < n; i += w[i] >> SpvWordCountShift)
        for (int v = 0; v < VARIABLES; v++)
            if ((w[i] & SpvOpCodeMask) == SpvOpAccessChain && w[i + 2] == pointer &&
                w[i + 3] == variable[v])
                return v;
    return -1;
}

/* One run of one invocation after another, wherever branches lead. */
static void walk(void)
{
    bool loaded[VARIABLES] = {0}, stored[VARIABLES] = {0};
    size_t n, i = 0;
    const uint32_t *w = words(&n);
    for (int steps = 0; steps < 400 && i < n; steps++) {
        const SpvOp op = (SpvOp)(w[i] & SpvOpCodeMask);
        const size_t next = i + (w[i] >> SpvWordCountShift);
        const bool loads = op == SpvOpLoad || op == SpvOpAtomicOr,
                   stores = op == SpvOpStore || op == SpvOpAtomicOr;
        if (loads || stores) {
            const int v = number_of(op == SpvOpStore ? w[i + 1] : w[i + 3]);
            ck_assert_int_ge(v, 0);
            ck_assert(!stored[v] && !(stores && loaded[v]));
            loaded[v] |= loads;
            stored[v] |= stores;
        }
        if (op == SpvOpControlBarrier) {
            memset(loaded, 0, sizeof loaded);
            memset(stored, 0, sizeof stored);
        }
        i = op == SpvOpBranch              ? find_label(w, n, w[i + 1])
            : op == SpvOpBranchConditional ? find_label(w, n, w[i + 2 + draw(2)])
            : op == SpvOpReturn            ? n
                                           : next;
    }
}

static int count_barriers(void)
{
    size_t n;
    int sum = 0;
    const uint32_t *w = words(&n);
    for (size_t i = 0; i < n; i += w[i] >> SpvWordCountShift)
        sum += (w[i] & SpvOpCodeMask) == SpvOpControlBarrier;
    return sum;
}

START_TEST(random_walks_meet_no_conflict)
{
    int before = 0, after = 0;
    for (uint32_t first = 0; first < 200; first++) {
        seed = first;
        open_body();
        put_random(0);
        rlx_spirv_put(&m, RLX_SPIRV_BODY, SpvOpReturn, 0, NULL);
        before += count_barriers();
        rlx_spirv_drop_barriers(&m);
        after += count_barriers();
        for (int i = 0; i < 20; i++)
            walk();
        rlx_spirv_module_deinit(&m);
    }
    ck_assert_int_gt(after, before / 10);    /* they are still there .. */
    ck_assert_int_lt(after, before * 2 / 3); /* .. where they are needed */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spirv_barriers");
    SUITE_TEST(s, "exchange", what_is_exchanged_keeps_one_between);
    SUITE_TEST(s, "read", what_nobody_writes_needs_none);
    SUITE_TEST(s, "writes", two_writes_are_parted);
    SUITE_TEST(s, "loops", rounds_of_a_loop_are_parted);
    SUITE_TEST(s, "branches", what_may_happen_counts);
    SUITE_TEST(s, "unknown", unknown_bodies_keep_all);
    SUITE_TEST(s, "random", random_walks_meet_no_conflict);
    return suite_run(s, 7);
}
