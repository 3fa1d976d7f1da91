/* Barriers that nothing needs are dropped, and no other: bodies by hand with the barriers that must be left, and random ones, in which
 * walks never meet two accesses to one variable, of which one writes, without a barrier between. */
#include "jit/spirv_barriers.h"
#include "tests/runtime/suite.h"

enum { VARIABLES = 4, BUFFERS = 2, MANY = 65 }; /* one variable more than the pass numbers */

static rlx_spirv_module m;
static rlx_spirv_id variable[VARIABLES + BUFFERS], element, in_buffer;

/* Variables of team memory, and behind them two buffers. */
static void open_body(void)
{
    rlx_spirv_module_init(&m);
    const rlx_spirv_id u32 = rlx_spirv_type_int(&m, 32);
    in_buffer = rlx_spirv_type_pointer(&m, SpvStorageClassStorageBuffer, u32);
    for (int i = 0; i < BUFFERS; i++)
        variable[VARIABLES + i] = rlx_spirv_variable(&m, SpvStorageClassStorageBuffer,
                                                     rlx_spirv_type_buffer(&m, u32, 4), NULL);
    const rlx_spirv_id array =
        rlx_spirv_intern(&m, SpvOpTypeArray, 0, RLX_SPIRV_WORDS(u32, rlx_spirv_const_u32(&m, 64)));
    element = rlx_spirv_type_pointer(&m, SpvStorageClassWorkgroup, u32);
    for (int i = 0; i < VARIABLES; i++)
        variable[i] = rlx_spirv_variable(&m, SpvStorageClassWorkgroup, array, NULL);
}

static rlx_spirv_id pointer_to(int which)
{
    const rlx_spirv_id seven = rlx_spirv_const_u32(&m, 7);
    if (which >= VARIABLES)
        return rlx_spirv_op(&m, SpvOpAccessChain, in_buffer, variable[which],
                            rlx_spirv_const_u32(&m, 0), seven);
    return rlx_spirv_op(&m, SpvOpAccessChain, element, variable[which], seven);
}

static void load_from(rlx_spirv_id pointer)
{
    rlx_spirv_op(&m, SpvOpLoad, rlx_spirv_type_int(&m, 32), pointer);
}

static void store_to(rlx_spirv_id pointer)
{
    rlx_spirv_inst(&m, RLX_SPIRV_BODY, SpvOpStore, pointer, rlx_spirv_const_u32(&m, 1));
}

static void load(int which)
{
    load_from(pointer_to(which));
}

static void store(int which)
{
    store_to(pointer_to(which));
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

/* Arguments may share memory; none of it is the team's. */
START_TEST(buffers_are_one)
{
    const int first = VARIABLES, second = VARIABLES + 1;
    open_body();
    store(first);
    barrier();
    load(second);
    barrier();
    load(first);
    ck_assert_str_eq(dropped(), "SBLL");
    open_body();
    load(second);
    barrier();
    store(first);
    barrier();
    load(0);
    barrier();
    store(0);
    ck_assert_str_eq(dropped(), "LBSLBS");
    open_body(); /* nothing is stored */
    load(first);
    barrier();
    load(second);
    ck_assert_str_eq(dropped(), "LL");
}
END_TEST

/* An address of 64 bits, made a pointer before the body. */
static rlx_spirv_id far_pointer(rlx_spirv_section into)
{
    const rlx_spirv_id to = rlx_spirv_type_pointer(&m, SpvStorageClassPhysicalStorageBuffer,
                                                   rlx_spirv_type_int(&m, 32));
    m.into = into;
    const rlx_spirv_id p = rlx_spirv_op(&m, SpvOpConvertUToPtr, to, rlx_spirv_const_i64(&m, 64));
    m.into = RLX_SPIRV_BODY;
    return p;
}

START_TEST(addresses_are_buffers)
{
    open_body();
    const rlx_spirv_id p = far_pointer(RLX_SPIRV_ENTRY), q = far_pointer(RLX_SPIRV_ENTRY);
    store_to(p);
    barrier();
    load(0);
    barrier();
    load_from(q);
    ck_assert_str_eq(dropped(), "SLBL");
    open_body();
    store(VARIABLES);
    barrier();
    load_from(far_pointer(RLX_SPIRV_ENTRY));
    ck_assert_str_eq(dropped(), "SBL");
}
END_TEST

/* Pointers that no chain makes lead anywhere. */
START_TEST(other_pointers_keep_all)
{
    static const SpvOp ops[] = {SpvOpCopyObject, SpvOpSelect, SpvOpPhi, SpvOpBitcast,
                                SpvOpConvertUToPtr};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        open_body();
        store(0);
        barrier();
        load(0);
        barrier();
        load(1);
        barrier();
        const rlx_spirv_id p = pointer_to(0);
        load_from(ops[i] == SpvOpConvertUToPtr ? far_pointer(RLX_SPIRV_BODY)
                                               : rlx_spirv_op(&m, ops[i], element, p, p, p));
        ck_assert_str_eq(dropped(), "SBLBLBL");
    }
}
END_TEST

/* A pointer made before the body leads to its variable. */
START_TEST(pointers_of_the_entry)
{
    open_body();
    m.into = RLX_SPIRV_ENTRY;
    const rlx_spirv_id p = pointer_to(0);
    m.into = RLX_SPIRV_BODY;
    store_to(p);
    barrier();
    load(0);
    ck_assert_str_eq(dropped(), "SBL");
}
END_TEST

START_TEST(too_many_variables_keep_all)
{
    for (int n = MANY - 1; n <= MANY; n++) {
        open_body();
        const rlx_spirv_id u32 = rlx_spirv_type_int(&m, 32);
        for (int i = 0; i < n; i++)
            store_to(rlx_spirv_variable(&m, SpvStorageClassWorkgroup, u32, NULL));
        barrier();
        load(0);
        ck_assert_int_eq(strchr(dropped(), 'B') != NULL, n == MANY);
    }
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
    SUITE_TEST(s, "buffers", buffers_are_one);
    SUITE_TEST(s, "addresses", addresses_are_buffers);
    SUITE_TEST(s, "pointers", other_pointers_keep_all);
    SUITE_TEST(s, "entry", pointers_of_the_entry);
    SUITE_TEST(s, "many", too_many_variables_keep_all);
    SUITE_TEST(s, "random", random_walks_meet_no_conflict);
    return suite_run(s, 12);
}
