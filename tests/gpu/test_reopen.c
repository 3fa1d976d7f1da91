/* Devices that are opened anew while others use them, and by a driver that fails to: on drivers that stand for the real ones. */
#include <pthread.h>
#include <unistd.h>

#include "runtime/device_gpu_impl.h"
#include "tests/gpu/fake_driver.h"
#include "tests/gpu/world.h"
#include "tests/runtime/suite.h"

enum { KERNEL_FAILED = 719, BUSY = 46, INDEX = 1 };

static fake_driver *drivers[RLX_GPU_KINDS];
static const char *const resets[RLX_GPU_KINDS] = {"reset_context", "reset_current"};

static void expect_silence(const fake_driver *v)
{
    ck_assert_msg(!v->said()[0], "the driver says: %s", v->said());
    ck_assert_int_eq(v->live(), 0);
    ck_assert(!v->is_current());
}

static rlx_status open_device(rlx_gpu_kind k, const rlx_device *lost, rlx_device **out)
{
    return rlx_gpu_open(&(rlx_gpu_options){.kind = k, .index = INDEX, .lost = lost}, out);
}

static void lose(rlx_gpu_kind k, rlx_device *d)
{
    drivers[k]->plan(
        &(fake_plan){.call = "get_room", .fails = 1, .result = KERNEL_FAILED, .ends = true});
    d->fn->room(d);
    ck_assert(d->fn->is_lost(d));
    drivers[k]->plan(NULL);
}

static rlx_device_memory *make_read(rlx_device *d)
{
    rlx_device_memory *m;
    EXPECT_OK(d->fn->create_memory(d, 64, RLX_MEMORY_TAKEN, &m));
    return m;
}

/* What was not reset is of no use: the next try does it. Until then the driver has the host's pages, and they are not freed. */
START_TEST(a_reset_that_failed_is_made_again)
{
    const rlx_gpu_kind k = (rlx_gpu_kind)_i;
    fake_driver *v = drivers[k];
    rlx_device *lost, *other, *anew;
    EXPECT_OK(open_device(k, NULL, &lost));
    EXPECT_OK(open_device(k, NULL, &other));
    rlx_device_memory *of_lost = make_read(lost), *early = make_read(other),
                      *late = make_read(other);
    lose(k, lost);
    v->plan(&(fake_plan){.call = resets[k], .fails = 1, .result = BUSY});
    EXPECT_ERROR(open_device(k, lost, &anew), RLX_IO, "in use by another process");
    ck_assert_int_eq(v->count(resets[k]), 1);
    ck_assert(other->fn->is_lost(other));
    lost->fn->destroy_memory(lost, of_lost);
    other->fn->destroy_memory(other, early);
    ck_assert_int_eq(v->count("unmap_host"), 2); /* tried, in vain */
    EXPECT_OK(open_device(k, _i ? NULL : lost, &anew));
    ck_assert_int_eq(v->count(resets[k]), 2);
    ck_assert(!anew->fn->is_lost(anew));
    other->fn->destroy_memory(other, late);
    ck_assert_int_eq(v->count("unmap_host"), 2); /* it is gone */
    rlx_device_destroy(anew);
    EXPECT_OK(open_device(k, lost, &anew));
    ck_assert_int_eq(v->count(resets[k]), 2); /* once it is done */
    rlx_device_destroy(anew);
    rlx_device_destroy(other);
    rlx_device_destroy(lost);
    v->plan(NULL);
    expect_silence(v);
}
END_TEST

/* ---- beside others: what a thread finds, its test asserts when it is joined */

typedef struct opener {
    rlx_gpu_kind kind;
    const rlx_device *lost;
    rlx_device *anew;
    rlx_status st;
    pthread_t thread;
} opener;

static void *open_anew(void *user)
{
    opener *o = user;
    o->st = open_device(o->kind, o->lost, &o->anew);
    return NULL;
}

static rlx_gpu_gate *gate_of(const rlx_device *d)
{
    return &rlx_gpu_of(d)->driver->gates[rlx_gpu_of(d)->index];
}

/* Until the gate is shut: who shut it waits. */
static void start_opener(opener *o)
{
    rlx_gpu_gate *w = gate_of(o->lost);
    ck_assert_int_eq(pthread_create(&o->thread, NULL, open_anew, o), 0);
    for (bool shut = false; !shut; usleep(100)) {
        pthread_mutex_lock(&w->lock);
        shut = w->shut;
        pthread_mutex_unlock(&w->lock);
    }
}

static void join_opener(opener *o)
{
    ck_assert_int_eq(pthread_join(o->thread, NULL), 0);
    EXPECT_OK(o->st);
}

/* Another device object of the same device is being used: what it has is ended behind it, and it hears of that when it comes again. */
START_TEST(a_reset_waits_for_who_is_inside)
{
    enum { LONG = 20000 }; /* microseconds in which another thread would have made it */
    const rlx_gpu_kind k = (rlx_gpu_kind)_i;
    fake_driver *v = drivers[k];
    rlx_device *lost, *other;
    rlx_device_memory *m;
    rlx_gpu_scope s, again;
    EXPECT_OK(open_device(k, NULL, &lost));
    EXPECT_OK(open_device(k, NULL, &other));
    EXPECT_OK(other->fn->create_memory(other, 64, RLX_MEMORY_GIVEN, &m));
    lose(k, lost);
    opener o = {.kind = k, .lost = lost};
    EXPECT_OK(rlx_gpu_enter(rlx_gpu_of(other), &s));
    start_opener(&o);
    usleep(LONG);
    ck_assert_int_eq(v->count(resets[k]), 0);
    rlx_gpu_leave(rlx_gpu_of(other), &s);
    join_opener(&o);
    ck_assert_int_eq(v->count(resets[k]), 1);
    EXPECT_ERROR(rlx_gpu_enter(rlx_gpu_of(other), &again), RLX_IO, "nothing runs on it any more");
    other->fn->destroy_memory(other, m);
    ck_assert_int_eq(v->count("release") + v->count("unmap_host"), 0);
    rlx_device_destroy(o.anew);
    rlx_device_destroy(other);
    rlx_device_destroy(lost);
    expect_silence(v);
}
END_TEST

static void *use_room(void *user)
{
    const rlx_device *d = user;
    rlx_gpu_scope s;
    rlx_status st = rlx_gpu_enter(rlx_gpu_of(d), &s);
    if (!st)
        rlx_gpu_leave(rlx_gpu_of(d), &s);
    return st;
}

/* Users who come one after another, so that there is always one inside, keep no reset waiting: who comes behind it finds the device lost. */
START_TEST(a_reset_comes_before_who_comes_later)
{
    const rlx_gpu_kind k = (rlx_gpu_kind)_i;
    rlx_device *lost, *other;
    rlx_gpu_scope s;
    pthread_t later;
    void *st;
    EXPECT_OK(open_device(k, NULL, &lost));
    EXPECT_OK(open_device(k, NULL, &other));
    lose(k, lost);
    opener o = {.kind = k, .lost = lost};
    EXPECT_OK(rlx_gpu_enter(rlx_gpu_of(other), &s));
    start_opener(&o);
    ck_assert_int_eq(pthread_create(&later, NULL, use_room, other), 0);
    usleep(1000); /* for it to come: it may not get in */
    rlx_gpu_leave(rlx_gpu_of(other), &s);
    join_opener(&o);
    ck_assert_int_eq(pthread_join(later, &st), 0);
    EXPECT_ERROR(st, RLX_IO, "nothing runs on it any more");
    rlx_device_destroy(o.anew);
    rlx_device_destroy(other);
    rlx_device_destroy(lost);
    expect_silence(drivers[k]);
}
END_TEST

/* Which wait for nobody of another. */
START_TEST(devices_are_reset_one_beside_another)
{
    const rlx_gpu_kind k = (rlx_gpu_kind)_i;
    rlx_device *lost, *other, *first, *anew;
    rlx_gpu_scope s;
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = k}, &first));
    EXPECT_OK(open_device(k, NULL, &lost));
    EXPECT_OK(open_device(k, NULL, &other));
    lose(k, lost);
    rlx_gpu_of(first)->lost = true;
    opener o = {.kind = k, .lost = lost};
    EXPECT_OK(rlx_gpu_enter(rlx_gpu_of(other), &s));
    start_opener(&o);
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = k, .lost = first}, &anew));
    rlx_gpu_leave(rlx_gpu_of(other), &s);
    join_opener(&o);
    rlx_device_destroy(o.anew);
    rlx_device_destroy(anew);
    rlx_device_destroy(other);
    rlx_device_destroy(lost);
    rlx_device_destroy(first);
    expect_silence(drivers[k]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu_reopen");
    TCase *both = tcase_create("for both");
    for (int k = 0; k < RLX_GPU_KINDS; k++)
        drivers[k] = world_open_driver((rlx_gpu_kind)k);
    tcase_add_loop_test(both, a_reset_that_failed_is_made_again, 0, RLX_GPU_KINDS);
    tcase_add_loop_test(both, a_reset_waits_for_who_is_inside, 0, RLX_GPU_KINDS);
    tcase_add_loop_test(both, a_reset_comes_before_who_comes_later, 0, RLX_GPU_KINDS);
    tcase_add_loop_test(both, devices_are_reset_one_beside_another, 0, RLX_GPU_KINDS);
    suite_add_tcase(s, both);
    return suite_run(s, 8);
}
