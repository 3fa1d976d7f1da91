/* test_tables [vulkan]: tensors that custom stages make from data: their numbers in every format,
 * layers that share them, code that the cache has, what is refused. On CPUs and evaluators, or on a Vulkan device. */
#include <ftw.h>
#include <unistd.h>

#include "runtime/device.h"
#include "tests/flow/custom_world.h"
#include "tests/vulkan/environment.h"

static const char *const devices[] = {"vulkan", "cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};
enum { CPUS = 1, NDEVICES = sizeof devices / sizeof *devices };

/* ---- numbers -----------------------------------------------------------------------------------
 */

/* y[t,h] = window[h] * x[t,order[h]] where keep[h], else f16 of half[h], plus x m^T / 8 of a matrix */
typedef struct numbers {
    float window[H], m[H][H];
    int32_t order[H];
    uint8_t keep[H];
    uint16_t half[H]; /* bits */
} numbers;

static void make_numbers(numbers *n)
{
    for (int h = 0; h < H; h++) {
        n->window[h] = 0.5f - 0.5f * cosf(6.2831853f * (float)h / H);
        n->order[h] = (h * 7 + 3) % H;
        n->keep[h] = h % 3 != 0;
        n->half[h] = (uint16_t)(0x3c00 + 16 * h); /* 1 + h / 64 */
        for (int k = 0; k < H; k++)
            n->m[h][k] = number(h, k);
    }
}

static rlx_value *build_numbers(rlx_builder *b, rlx_value *x, void *user)
{
    numbers n = *(const numbers *)user; /* a copy that ends here */
    const int64_t one[] = {H}, two[] = {H, H};
    rlx_value *y = rlx_build_take(b, x, rlx_build_table(b, RLX_I32, 1, one, n.order), 1);
    y = rlx_build_map2(b, RLX_MAP_MUL, y, rlx_build_table(b, RLX_F32, 1, one, n.window));
    rlx_value *half = rlx_build_cast(b, rlx_build_table(b, RLX_F16, 1, one, n.half), RLX_F32);
    y = rlx_build_map3(b, RLX_MAP_SELECT, rlx_build_table(b, RLX_BOOL, 1, one, n.keep), y, half);
    rlx_value *xm = rlx_build_linear(b, x, rlx_build_table(b, RLX_F32, 2, two, n.m), NULL);
    memset(&n, 0xff, sizeof n);
    return rlx_build_map3(b, RLX_MAP_FMA, xm, rlx_build_constant(b, 0.125), y);
}

static void expect_numbers(const numbers *n, const float *x, double *y)
{
    for (int e = 0; e < TOKENS * H; e++) {
        const int h = e % H;
        const float *row = x + e - h;
        double sum = 0;
        for (int k = 0; k < H; k++)
            sum += (double)n->m[h][k] * row[k];
        y[e] = sum / 8 + (n->keep[h] ? (double)n->window[h] * row[n->order[h]] : 1 + h / 64.0);
    }
}

START_TEST(every_format)
{
    world t;
    numbers n;
    float y[TOKENS * H];
    double want[TOKENS * H];
    make_numbers(&n);
    open_world(&t, devices[_i]);
    rlx_flow_custom(t.flow, "numbers", build_numbers, &n);
    assert_ok(compile(&t));
    run(&t, 1, y);
    expect_numbers(&n, t.x, want);
    check(y, want, 2e-6, "tables");
    close_world(&t);
}
END_TEST

/* A pool of 1 NaN 3 2 5 4 NaN NaN by twos: NaNs are largest. y[0..3]: places; [4..7]: whether it is no NaN */
static rlx_value *build_nans(rlx_builder *b, rlx_value *x, void *user)
{
    static const float v[] = {1, NAN, 3, 2, 5, 4, NAN, NAN};
    const int64_t two[] = {2};
    rlx_value *places, *row[2];
    (void)user;
    rlx_value *most = rlx_build_table(b, RLX_F32, 3, (const int64_t[]){1, 1, 8}, v);
    most = rlx_build_max_pool_places(b, most, two, NULL, &places);
    row[0] = rlx_build_cast(b, places, RLX_F32);
    row[1] = rlx_build_map3(b, RLX_MAP_SELECT, rlx_build_map2(b, RLX_MAP_EQ, most, most), most,
                            rlx_build_constant(b, -1));
    rlx_value *all = rlx_build_reshape(b, rlx_build_concat(b, 2, row, 2), 1, (const int64_t[]){8});
    rlx_value *zeros = rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_constant(b, 0));
    return rlx_build_map2(b, RLX_MAP_ADD, zeros, rlx_build_pad(b, all, 0, 0, H - 8, 0));
}

START_TEST(largest_of_nans)
{
    static const double first[] = {1, 2, 4, 6, -1, 3, 5, -1};
    world t;
    float y[TOKENS * H];
    double want[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_custom(t.flow, "nans", build_nans, NULL);
    assert_ok(compile(&t));
    run(&t, 1, y);
    for (int e = 0; e < TOKENS * H; e++)
        want[e] = e % H < 8 ? first[e % H] : 0;
    check(y, want, 0, "places of NaNs");
    close_world(&t);
}
END_TEST

/* ---- layers ------------------------------------------------------------------------------------
 */

/* Layer i multiplies by 2, or with `user` by 2 + i, with a table each way. */
static rlx_value *build_factor(rlx_builder *b, rlx_value *x, void *user)
{
    const float factor = 2 + (user ? (float)rlx_builder_layer(b) : 0);
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_table(b, RLX_F32, 0, NULL, &factor));
}

static void factor_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_custom(f, "factor", build_factor, user);
}

START_TEST(layers)
{
    for (int i = 0; i < 2; i++) {
        const rlx_bucket bucket = {"TOKENS", BUCKET};
        const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
        int apart;
        char *hir;
        world t;
        float y[TOKENS * H];
        double want[TOKENS * H];
        open_world(&t, "cpu");
        rlx_flow_repeat_layers(t.flow, LAYERS, factor_layer, i ? &apart : NULL);
        assert_ok(compile(&t));
        ck_assert_int_eq(t.stats.functions, i ? 1 + LAYERS : 2);
        run(&t, 1, y);
        for (int e = 0; e < TOKENS * H; e++)
            want[e] = t.x[e] * (i ? 2.0 * 3 * 4 * 5 : 16.0);
        check(y, want, 1e-6, "layers");
        assert_ok(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "hir", &hir));
        ck_assert_msg(strstr(hir, "%table: f32 weight \"table:") != NULL, "%s", hir);
        free(hir);
        close_world(&t);
    }
}
END_TEST

/* ---- the cache ---------------------------------------------------------------------------------
 */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

/* The same flow again has its code, and its table; with another number in it it has other code. */
START_TEST(cached)
{
    char folder[] = "/tmp/rlx-tables-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int i = 0; i < 3; i++) {
        const rlx_context_options options = {.threads = 1, .cache = {.folder = folder}};
        world t;
        numbers n;
        float y[TOKENS * H];
        double want[TOKENS * H];
        make_numbers(&n);
        n.window[3] += i == 2;
        open_world(&t, "cpu");
        rlx_session_destroy(t.session);
        rlx_context_destroy(t.cx);
        assert_ok(rlx_context_create(&options, &t.cx));
        assert_ok(rlx_session_create(t.cx, NULL, &t.session));
        rlx_flow_custom(t.flow, "numbers", build_numbers, &n);
        assert_ok(compile(&t));
        ck_assert(t.stats.cached == (i == 1));
        run(&t, 1, y);
        expect_numbers(&n, t.x, want);
        check(y, want, 2e-6, "cached tables");
        close_world(&t);
    }
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

static rlx_value *build_times(rlx_builder *b, rlx_value *x, void *user)
{
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_table(b, RLX_F32, 0, NULL, user));
}

/* y[t,h] = factor * sum_k x[t,k] square[h,k] */
static void check_times(world *t, rlx_executable *e, float factor, const float *square)
{
    float y[TOKENS * H];
    double want[TOKENS * H];
    assert_ok(rlx_session_create(t->cx, NULL, &t->session));
    t->exe = e;
    run(t, 1, y);
    t->exe = NULL;
    rlx_session_destroy(t->session);
    t->session = NULL;
    for (int i = 0; i < TOKENS * H; i++) {
        want[i] = 0;
        for (int k = 0; k < H; k++)
            want[i] += (double)factor * t->x[i - i % H + k] * square[i % H * H + k];
    }
    check(y, want, 2e-6, "tables and weights");
}

/* On a device executables share the set's weights; each has its tables there, and takes them along: the host's
 * memory of a table may then be another's. */
START_TEST(shared_on_a_device)
{
    enum { MANY = 6, KEPT = 3 };
    static const rlx_bucket bucket = {"TOKENS", BUCKET};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    rlx_executable *e[MANY] = {0};
    int64_t used[MANY];
    float factor;
    world t;
    open_world(&t, "vulkan");
    rlx_session_destroy(t.session);
    t.session = NULL;
    const float *square = add_weight(&t, "square", 40, H, H);
    rlx_flow_custom(t.flow, "times", build_times, &factor);
    rlx_flow_linear(t.flow, "square", NULL);
    rlx_flow_output(t.flow, "y");
    for (int i = 0; i < MANY; i++) {
        if (i >= KEPT)
            rlx_executable_destroy(e[i - KEPT]);
        factor = (float)(i + 2);
        assert_ok(rlx_flow_compile(t.cx, t.flow, t.w, &o, NULL, &e[i]));
        used[i] = t.cx->gpu->used_bytes;
        check_times(&t, e[i], factor, square);
    }
    ck_assert_int_lt(used[1] - used[0], H * H * (int)sizeof(float));
    ck_assert_int_eq(used[MANY - 1], used[KEPT - 1]);
    check_times(&t, e[KEPT], KEPT + 2, square);
    for (int i = MANY - KEPT; i < MANY; i++)
        rlx_executable_destroy(e[i]);
    ck_assert_int_eq(t.cx->gpu->used_bytes, 0);
    close_world(&t);
}
END_TEST

/* A table is no weight of the set: neither missing nor left over. */
START_TEST(unused)
{
    const rlx_bucket bucket = {"TOKENS", BUCKET};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1, .unused = RLX_UNUSED_REFUSE};
    world t;
    rlx_weights *none;
    open_world(&t, "cpu");
    assert_ok(rlx_weights_create(&none));
    rlx_flow_custom(t.flow, "factor", build_factor, NULL);
    rlx_flow_output(t.flow, "y");
    assert_ok(rlx_flow_compile(t.cx, t.flow, none, &o, NULL, &t.exe));
    rlx_executable_destroy(t.exe);
    assert_ok(rlx_flow_compile(t.cx, t.flow, NULL, &o, NULL, &t.exe));
    close_world(&t);
    rlx_weights_destroy(none);
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------------
 */

static const uint8_t bytes[64] = {1, 2};
static const int64_t ones[] = {1, 1, 1, 1, 1, 1, 1}, wide[] = {65536, 65536}, negative[] = {-9};
static const struct {
    rlx_format format;
    int rank;
    const int64_t *dims;
    const void *data;
    const char *part;
} wrong[] = {
    {RLX_FORMAT_NONE, 1, ones, bytes, "table: there is no format 0"},
    {(rlx_format)999, 1, ones, bytes, "table: there is no format 999"},
    {RLX_Q8_0, 1, ones, bytes, "table: q8_0 is blocks; elements are numbers or bools"},
    {RLX_F32, 7, ones, bytes, "table: rank 7; there are 0 to 6"},
    {RLX_F32, 2, wide, bytes, "table: more than 2147483647 elements"},
    {RLX_F32, 1, negative, bytes, "-9 is neither >= 0, nor a symbol"},
    {RLX_F32, 1, NULL, bytes, "table: extent 0 is no constant"},
    {RLX_F32, 1, ones, NULL, "table: no data for 1 elements"},
    {RLX_BOOL, 1, (const int64_t[]){2}, bytes, "table: element 1 is 2, not a bool"},
};
enum { NWRONG = sizeof wrong / sizeof *wrong };

static rlx_value *build_wrong(rlx_builder *b, rlx_value *x, void *user)
{
    const int i = *(const int *)user;
    const int64_t symbol = rlx_value_extent(x, 0);
    return rlx_build_table(b, wrong[i].format, wrong[i].rank,
                           wrong[i].dims ? wrong[i].dims : &symbol, wrong[i].data);
}

START_TEST(refuses)
{
    world t;
    open_world(&t, "ref:mir");
    rlx_flow_custom(t.flow, "broken", build_wrong, &_i);
    assert_error(compile(&t), RLX_INVALID_ARGUMENT, wrong[_i].part);
    close_world(&t);
}
END_TEST

static int on_cpus(Suite *s, TCase *c)
{
    tcase_add_loop_test(c, every_format, CPUS, NDEVICES);
    tcase_add_loop_test(c, largest_of_nans, CPUS, NDEVICES);
    tcase_add_test(c, layers);
    tcase_add_test(c, cached);
    tcase_add_test(c, unused);
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    return run_suite(s, 2 * (NDEVICES - CPUS) + 3 + NWRONG);
}

static int on_vulkan(Suite *s, TCase *c)
{
    enum { SKIPPED = 77 };
    rlx_context *cx;
    environment_prepare();
    rlx_status st = rlx_context_create(&(rlx_context_options){.device = "vulkan"}, &cx);
    if (rlx_status_code(st) == RLX_NOT_FOUND) {
        printf("skipped: no Vulkan device: %s\n", rlx_status_message(st));
        rlx_status_free(st);
        srunner_free(srunner_create(s));
        return SKIPPED;
    }
    assert_ok(st);
    rlx_context_destroy(cx);
    tcase_add_loop_test(c, every_format, 0, CPUS);
    tcase_add_loop_test(c, largest_of_nans, 0, CPUS);
    tcase_add_test(c, shared_on_a_device);
    return run_suite(s, 2 * CPUS + 1);
}

int main(int argc, char **argv)
{
    Suite *s = suite_create("tables");
    TCase *c = tcase_create("tables");
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    return argc > 1 && strcmp(argv[1], "vulkan") == 0 ? on_vulkan(s, c) : on_cpus(s, c);
}
