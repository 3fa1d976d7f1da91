/* tests/flow/test_custom.c: custom stages: the bits of a built-in block, plain loops in f64 for
 * every function, layers that share what they build. */
#include "tests/flow/custom_world.h"

static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};
enum { NDEVICES = sizeof devices / sizeof *devices };

/* ---- a block, once more -----------------------------------------------------------------------
 */

static rlx_value *silu(rlx_builder *b, rlx_value *x)
{
    rlx_value *e = rlx_build_map1(b, RLX_MAP_EXP, rlx_build_map1(b, RLX_MAP_NEG, x));
    rlx_value *below = rlx_build_map2(b, RLX_MAP_ADD, e, rlx_build_constant(b, 1));
    return rlx_build_map2(b, RLX_MAP_DIV, x, below);
}

static rlx_value *build_swiglu(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *gate = rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.gate.weight"), NULL);
    rlx_value *up = rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.up.weight"), NULL);
    rlx_value *y = rlx_build_map2(b, RLX_MAP_MUL, silu(b, gate), up);
    return rlx_build_linear(b, y, rlx_build_weight(b, "layers.{}.down.weight"), NULL);
}

static void custom_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_residual_save(f);
    if (user)
        rlx_flow_custom(f, "mlp", build_swiglu, NULL);
    else
        rlx_flow_swiglu(f, "layers.{}.gate.weight", "layers.{}.up.weight", "layers.{}.down.weight");
    rlx_flow_residual_add(f);
}

START_TEST(swiglu)
{
    float y[2][TOKENS * H];
    rlx_compile_stats stats[2];
    for (int i = 0; i < 2; i++) {
        world t;
        open_world(&t, devices[_i]);
        rlx_flow_repeat_layers(t.flow, LAYERS, custom_layer, i ? &t : NULL);
        assert_ok(compile(&t));
        run(&t, 1, y[i]);
        stats[i] = t.stats;
        close_world(&t);
    }
    ck_assert(!memcmp(y[0], y[1], sizeof y[0]));
    ck_assert_int_eq(stats[1].functions, 2); /* main and one layer */
    ck_assert_int_eq(stats[1].kernels, stats[0].kernels);
    ck_assert_int_eq(stats[1].token_operations, stats[0].token_operations);
}
END_TEST

/* ---- scales: what comes in, a residual branch, what goes out ----------------------------------
 */

enum { COME_IN, BRANCH, GO_OUT };

static void scaled_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_residual_save(f);
    rlx_flow_swiglu(f, "layers.{}.gate.weight", "layers.{}.up.weight", "layers.{}.down.weight");
    rlx_flow_scale(f, ((const double *)user)[BRANCH]);
    rlx_flow_residual_add(f);
}

/* f64: x = in * x; x += branch * mlp(x) for each layer; y = out * x */
static void scaled_in_f64(const world *t, const double scales[3], double y[TOKENS * H])
{
    for (int i = 0; i < TOKENS * H; i++)
        y[i] = scales[COME_IN] * (double)t->x[i];
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < TOKENS; r++) {
            double hidden[I], x[H];
            memcpy(x, y + r * H, sizeof x);
            for (int j = 0; j < I; j++) {
                double gate = 0, up = 0;
                for (int k = 0; k < H; k++) {
                    gate += (double)t->memory[3 * l][j * H + k] * x[k];
                    up += (double)t->memory[3 * l + 1][j * H + k] * x[k];
                }
                hidden[j] = gate / (1 + exp(-gate)) * up;
            }
            for (int k = 0; k < H; k++)
                for (int j = 0; j < I; j++)
                    y[r * H + k] +=
                        scales[BRANCH] * (double)t->memory[3 * l + 2][k * I + j] * hidden[j];
        }
    for (int i = 0; i < TOKENS * H; i++)
        y[i] *= scales[GO_OUT];
}

START_TEST(scaled)
{
    double scales[3] = {0.5, 0.02, 3.25}, want[TOKENS * H];
    float y[TOKENS * H];
    world t;
    open_world(&t, devices[_i]);
    rlx_flow_scale(t.flow, scales[COME_IN]);
    rlx_flow_repeat_layers(t.flow, LAYERS, scaled_layer, scales);
    rlx_flow_scale(t.flow, scales[GO_OUT]);
    assert_ok(compile(&t));
    run(&t, 1, y);
    scaled_in_f64(&t, scales, want);
    check(y, want, 1e-5, "scales");
    close_world(&t);
}
END_TEST

/* ---- every function ---------------------------------------------------------------------------
 */

typedef double scalar_fn(double x, double s);
/* clang-format off */
static double f_add(double x, double s) { return x + s; }
static double f_sub(double x, double s) { return x - s; }
static double f_mul(double x, double s) { return x * s; }
static double f_div(double x, double s) { return x / s; }
static double f_min(double x, double s) { return fmin(x, s); }
static double f_max(double x, double s) { return fmax(x, s); }
static double f_fma(double x, double s) { return x * s + 0.5; }
static double f_neg(double x, double s) { return (void)s, -x; }
static double f_abs(double x, double s) { return fabs(x - s); }
static double f_sqrt(double x, double s) { return (void)s, sqrt(x); }
static double f_rsqrt(double x, double s) { return (void)s, 1 / sqrt(x); }
static double f_exp(double x, double s) { return (void)s, exp(x); }
static double f_round(double x, double s) { return (void)s, nearbyint(4 * x); }
/* clang-format on */

/* With x and the vector `scale`. */
static const struct {
    rlx_map fn;
    scalar_fn *want;
} functions[] = {{RLX_MAP_ADD, f_add},    {RLX_MAP_SUB, f_sub},     {RLX_MAP_MUL, f_mul},
                 {RLX_MAP_DIV, f_div},    {RLX_MAP_MIN, f_min},     {RLX_MAP_MAX, f_max},
                 {RLX_MAP_FMA, f_fma},    {RLX_MAP_NEG, f_neg},     {RLX_MAP_ABS, f_abs},
                 {RLX_MAP_SQRT, f_sqrt},  {RLX_MAP_RSQRT, f_rsqrt}, {RLX_MAP_EXP, f_exp},
                 {RLX_MAP_ROUND, f_round}};
enum { NFUNCTIONS = sizeof functions / sizeof *functions };

static rlx_value *build_function(rlx_builder *b, rlx_value *x, void *user)
{
    const rlx_map fn = *(const rlx_map *)user;
    rlx_value *s = rlx_build_weight(b, "scale");
    if (fn == RLX_MAP_FMA)
        return rlx_build_map3(b, fn, x, s, rlx_build_constant(b, 0.5));
    if (fn == RLX_MAP_ABS)
        return rlx_build_map1(b, fn, rlx_build_map2(b, RLX_MAP_SUB, x, s));
    if (fn == RLX_MAP_ROUND)
        return rlx_build_map1(b, fn, rlx_build_map2(b, RLX_MAP_MUL, rlx_build_constant(b, 4), x));
    return fn < RLX_MAP_FMA ? rlx_build_map2(b, fn, x, s) : rlx_build_map1(b, fn, x);
}

START_TEST(every_function)
{
    for (int i = 0; i < NFUNCTIONS; i++) {
        world t;
        float y[TOKENS * H];
        double want[TOKENS * H];
        char what[32];
        rlx_map fn = functions[i].fn;
        open_world(&t, devices[_i]);
        for (int e = 0; e < TOKENS * H; e++)
            want[e] = functions[i].want(t.x[e], number(50, e % H));
        rlx_flow_custom(t.flow, "function", build_function, &fn);
        assert_ok(compile(&t));
        run(&t, 1, y);
        snprintf(what, sizeof what, "function %d", i);
        check(y, want, 1e-6, what);
        close_world(&t);
    }
}
END_TEST

/* ---- inputs, norms, embeddings ----------------------------------------------------------------
 */

/* (rms_norm(x; 1 + scale) + kinds[kind]) * mask */
static rlx_value *build_mixed(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t *dims = user; /* TOKENS, H */
    ck_assert_int_eq(rlx_builder_layer(b), -1);
    ck_assert_int_eq(rlx_value_rank(x), 2);
    ck_assert_int_eq(rlx_value_dim(x, 0), -1);
    ck_assert_int_eq(rlx_value_dim(x, 1), H);
    ck_assert_int_eq(rlx_value_format(x), RLX_F32);
    rlx_value *kind = rlx_build_embed(b, rlx_build_input(b, "kind", RLX_I32, 1, dims),
                                      rlx_build_weight(b, "kinds"));
    rlx_value *mask = rlx_build_input(b, "mask", RLX_F32, 2, dims);
    rlx_value *w =
        rlx_build_map2(b, RLX_MAP_ADD, rlx_build_constant(b, 1), rlx_build_weight(b, "scale"));
    rlx_value *y = rlx_build_rms_norm(b, x, w, 1e-3);
    return rlx_build_map2(b, RLX_MAP_MUL, rlx_build_map2(b, RLX_MAP_ADD, y, kind), mask);
}

START_TEST(mixed)
{
    world t;
    float y[TOKENS * H];
    double want[TOKENS * H];
    open_world(&t, devices[_i]);
    int64_t dims[] = {rlx_flow_symbol(t.flow, "TOKENS"), H};
    rlx_flow_custom(t.flow, "mixed", build_mixed, dims);
    assert_ok(compile(&t));
    run(&t, 3, y);
    for (int e = 0; e < TOKENS * H; e++) {
        double squares = 0;
        for (int k = 0; k < H; k++)
            squares += t.x[e - e % H + k] * (double)t.x[e - e % H + k];
        const double norm = t.x[e] / sqrt(squares / H + 1e-3) * (1 + (double)number(50, e % H));
        want[e] = (norm + number(51, t.kind[e / H] * H + e % H)) * t.mask[e];
    }
    check(y, want, 2e-6, "mixed");
    close_world(&t);
}
END_TEST

/* Pools that reach over the end: v[i] = 7 i mod 11 in windows of 4, 3 apart, a place more at both
 * ends. What is behind that counts in no mean; the places are those of the largest. Then integers
 * that f32 would round. */
static rlx_value *build_pools(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const rlx_window_spec spec = {
        .stride = {3}, .low = {1}, .high = {1}, .ceil = true, .count_padding = true};
    const int64_t nine[] = {1, 1, 9}, rest[] = {1, 1, H - 8}, four[] = {4}, one[] = {1, 1, 1};
    rlx_value *i = rlx_build_iota(b, RLX_I32, H - 8), *places, *row[3];
    i = rlx_build_map2(b, RLX_MAP_MUL, i, rlx_build_number(b, RLX_I32, 7));
    i = rlx_build_map2(b, RLX_MAP_MOD, i, rlx_build_number(b, RLX_I32, 11));
    rlx_value *v = rlx_build_slice(b, rlx_build_cast(b, i, RLX_F32), 0, 0, 9, 1);
    v = rlx_build_reshape(b, v, 3, nine);
    row[0] = rlx_build_mean_pool(b, v, four, &spec);
    rlx_value *most = rlx_build_max_pool_places(b, v, four, &spec, &places);
    row[1] = rlx_build_map2(b, RLX_MAP_ADD, rlx_build_cast(b, places, RLX_F32), most);
    rlx_value *big = rlx_build_number(b, RLX_I32, 1 << 24),
              *w = rlx_build_reshape(b, rlx_build_number(b, RLX_I32, 1), 3, one);
    i = rlx_build_reshape(b, rlx_build_map2(b, RLX_MAP_ADD, i, big), 3, rest);
    i = rlx_build_map2(b, RLX_MAP_SUB, rlx_build_conv(b, i, w, NULL, NULL), big);
    row[2] = rlx_build_cast(b, i, RLX_F32);
    rlx_value *all = rlx_build_concat(b, 3, row, 2);
    rlx_value *zeros = rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_constant(b, 0));
    return rlx_build_map2(b, RLX_MAP_ADD, zeros, rlx_build_reshape(b, all, 1, (int64_t[]){H}));
}

START_TEST(pools)
{
    /* v: 0 7 3 10 6 2 9 5 1 */
    const double first[] = {10 / 4.0, 21 / 4.0, 17 / 4.0, 1 / 2.0, 1 + 7, 3 + 10, 6 + 9, 8 + 1};
    float y[TOKENS * H];
    double want[TOKENS * H];
    world t;
    open_world(&t, devices[_i]);
    rlx_flow_custom(t.flow, "pools", build_pools, NULL);
    assert_ok(compile(&t));
    run(&t, 1, y);
    for (int e = 0; e < TOKENS * H; e++)
        want[e] = e % H < 8 ? first[e % H] : (e % H - 8) * 7 % 11;
    check(y, want, 0, "pools");
    close_world(&t);
}
END_TEST

/* ---- tensor expressions ------------------------------------------------------------------------
 */

/* y[t,h] = cumulative sum over t of softmax(x)[t, :] in pairs swapped: shapes by x's own extents.
 */
static rlx_value *build_shapes(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t tokens = rlx_value_extent(x, 0), half = H / 2;
    rlx_value *p = rlx_build_softmax(b, x, -1);
    rlx_value *pairs = rlx_build_reshape(b, p, 3, (int64_t[]){tokens, half, 2});
    rlx_value *swapped = rlx_build_flatten(b, rlx_build_flip(b, pairs, 2), 1, 2);
    rlx_value *sums = rlx_build_scan(b, RLX_MAP_ADD, swapped, 0, false, false);
    rlx_value *column = rlx_build_reduce(b, RLX_MAP_MAX, x, 1, (int[]){1}, true);
    const int64_t twice = rlx_build_extent(b, RLX_EXTENT_MUL, tokens, 2);
    rlx_value *n = rlx_build_size(b, RLX_F32, rlx_build_extent(b, RLX_EXTENT_DIV, twice, 2));
    rlx_value *is_big = rlx_build_map2(b, RLX_MAP_LT, rlx_build_constant(b, 0.5), column);
    rlx_value *mean = rlx_build_map2(b, RLX_MAP_DIV, sums, n);
    return rlx_build_map3(b, RLX_MAP_SELECT, is_big, mean, rlx_build_constant(b, -1));
}

START_TEST(shapes)
{
    world t;
    float y[TOKENS * H];
    double want[TOKENS * H], sums[H] = {0};
    open_world(&t, devices[_i]);
    rlx_flow_custom(t.flow, "shapes", build_shapes, NULL);
    assert_ok(compile(&t));
    run(&t, 1, y);
    for (int r = 0; r < TOKENS; r++) {
        double most = 0, sum = 0;
        for (int h = 0; h < H; h++) {
            most = fmax(most, t.x[r * H + h]);
            sum += exp(t.x[r * H + h]);
        }
        for (int h = 0; h < H; h++) {
            sums[h] += exp(t.x[r * H + (h ^ 1)]) / sum;
            want[r * H + h] = most > 0.5 ? sums[h] / TOKENS : -1;
        }
    }
    check(y, want, 2e-6, "shapes");
    close_world(&t);
}
END_TEST

/* Of an input nothing is read: it is given all the same. */
static rlx_value *build_unread(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *mask = rlx_build_input(b, "mask", RLX_F32, 2, user);
    rlx_value *none = rlx_build_slice(b, mask, 1, 0, 0, 1);
    return rlx_build_map2(b, RLX_MAP_ADD, x,
                          rlx_build_reduce(b, RLX_MAP_ADD, none, 1, (int[]){1}, true));
}

START_TEST(unread)
{
    world t;
    float y[TOKENS * H];
    open_world(&t, devices[_i]);
    int64_t dims[] = {rlx_flow_symbol(t.flow, "TOKENS"), H};
    rlx_flow_custom(t.flow, "unread", build_unread, dims);
    assert_ok(compile(&t));
    run(&t, 2, y);
    ck_assert_mem_eq(y, t.x, sizeof y);
    close_world(&t);
}
END_TEST

/* Of sequences without places, [2,0,4], both pools give zeros. */
static void record_mean(rlx_flow *f)
{
    rlx_flow_mean_pool(f, NULL);
}

START_TEST(pools_of_nothing)
{
    static void (*const pool[])(rlx_flow *) = {rlx_flow_cls_token_pool, record_mean};
    static const float zeros[2 * 4];
    for (int i = 0; i < 2; i++) {
        world t;
        rlx_tensor out;
        open_world(&t, devices[_i]);
        rlx_flow_destroy(t.flow);
        assert_ok(rlx_flow_create("nothing", &t.flow));
        rlx_flow_input(t.flow, "x", RLX_F32, 3,
                       (const int64_t[]){2, rlx_flow_symbol(t.flow, "TOKENS"), 4});
        pool[i](t.flow);
        assert_ok(compile(&t));
        const rlx_tensor in = {
            .name = "x", .format = RLX_F32, .rank = 3, .dim = {2, 0, 4}, .data = t.x};
        assert_ok(rlx_executable_run(t.exe, t.session, &in, 1));
        assert_ok(rlx_session_output(t.session, "y", &out));
        ck_assert_uint_eq(out.bytes, sizeof zeros);
        ck_assert_mem_eq(out.data, zeros, sizeof zeros);
        close_world(&t);
    }
}
END_TEST

/* Results that nobody asks for have nowhere to go. */
static rlx_value *build_halves(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const rlx_route_spec one = {.count = 1};
    const int64_t plane[] = {rlx_value_extent(x, 0), 1, H}, rows[] = {plane[0], H}, size[] = {1};
    rlx_value *y[5];
    y[0] = rlx_build_fft(b, x, NULL, false, NULL);
    y[1] = rlx_build_rfft(b, x, NULL);
    y[2] = rlx_build_stft(b, &(rlx_stft_spec){.n_fft = 8, .hop = 4}, x, NULL, NULL);
    y[3] = rlx_build_route(b, &one, x, NULL, NULL);
    y[4] = rlx_build_max_pool_places(b, rlx_build_reshape(b, x, 3, plane), size, NULL, NULL);
    for (int i = 0; i < 5; i++)
        ck_assert_msg(y[i] != NULL, "value %d", i);
    return rlx_build_reshape(b, y[4], 2, rows);
}

START_TEST(halves)
{
    world t;
    float y[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_custom(t.flow, "halves", build_halves, NULL);
    assert_ok(compile(&t));
    run(&t, 1, y);
    ck_assert_mem_eq(y, t.x, sizeof y);
    close_world(&t);
}
END_TEST

/* What steps of 16-bit sums would lose: 1,000 ones and a count of as many are 1,000 in bf16, whose
 * next number above 256 is 258; the bound of i32 is one of f64. y[t,h] is one of them by h. */
static rlx_value *build_wide(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t thousand[] = {1000}, tokens = rlx_value_extent(x, 0);
    rlx_value *ones = rlx_build_expand(b, rlx_build_number(b, RLX_BF16, 1), 1, thousand);
    rlx_value *number[4];
    number[0] = rlx_build_reduce(b, RLX_MAP_ADD, ones, 1, (int[]){0}, true);
    number[1] = rlx_build_mean(b, ones, 1, (int[]){0});
    number[2] = rlx_build_size(b, RLX_BF16, rlx_build_extent(b, RLX_EXTENT_MUL, tokens, 200));
    number[3] = rlx_build_saturate(b, rlx_build_number(b, RLX_F64, 3e9), RLX_I32);
    /* f32 rounds the largest i32 up */
    number[3] = rlx_build_map2(b, RLX_MAP_SUB, number[3], rlx_build_number(b, RLX_I32, 2147483000));
    const int64_t column[] = {H / 4};
    for (int i = 0; i < 4; i++)
        number[i] = rlx_build_expand(b, rlx_build_cast(b, number[i], RLX_F32), 1, column);
    rlx_value *row = rlx_build_concat(b, 4, number, 0);
    return rlx_build_map2(b, RLX_MAP_ADD,
                          rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_constant(b, 0)), row);
}

START_TEST(wide)
{
    static const double each[] = {1000, 1, 1000, 647};
    world t;
    float y[TOKENS * H];
    double want[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_custom(t.flow, "wide", build_wide, NULL);
    assert_ok(compile(&t));
    run(&t, 1, y);
    for (int e = 0; e < TOKENS * H; e++)
        want[e] = each[e % H / (H / 4)];
    check(y, want, 0, "wide");
    close_world(&t);
}
END_TEST

/* ---- layers ------------------------------------------------------------------------------------
 */

/* Every other layer multiplies by 2, the others by what `user` says. */
static rlx_value *build_alternating(rlx_builder *b, rlx_value *x, void *user)
{
    const double odd = *(const double *)user;
    return rlx_build_map2(b, RLX_MAP_MUL, x,
                          rlx_build_constant(b, rlx_builder_layer(b) % 2 ? odd : 2));
}

static void alternating_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_custom(f, "twice", build_alternating, user);
}

START_TEST(layers)
{
    for (int i = 0; i < 2; i++) {
        double odd = i ? 3 : 2, want[TOKENS * H];
        world t;
        float y[TOKENS * H];
        open_world(&t, "cpu");
        rlx_flow_repeat_layers(t.flow, LAYERS, alternating_layer, &odd);
        assert_ok(compile(&t));
        ck_assert_int_eq(t.stats.functions, i ? 3 : 2); /* main, and layers that differ */
        run(&t, 1, y);
        for (int e = 0; e < TOKENS * H; e++)
            want[e] = t.x[e] * (i ? 36.0 : 16.0);
        check(y, want, 1e-6, "layers");
        close_world(&t);
    }
}
END_TEST

START_TEST(prints)
{
    world t;
    rlx_text text = {0};
    open_world(&t, "ref:mir");
    rlx_flow_repeat_layers(t.flow, LAYERS, custom_layer, &t);
    rlx_flow_print(t.flow, &text);
    ck_assert_msg(strstr(text.data, "  layers 0..3 {\n    residual_save\n    custom \"mlp\"\n"),
                  "%s", text.data);
    rlx_text_deinit(&text);
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("custom");
    TCase *c = tcase_create("custom");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, swiglu, 0, NDEVICES);
    tcase_add_loop_test(c, scaled, 0, NDEVICES);
    tcase_add_loop_test(c, every_function, 0, NDEVICES);
    tcase_add_loop_test(c, mixed, 0, NDEVICES);
    tcase_add_loop_test(c, shapes, 0, NDEVICES);
    tcase_add_loop_test(c, unread, 0, NDEVICES);
    tcase_add_loop_test(c, pools, 0, NDEVICES);
    tcase_add_loop_test(c, pools_of_nothing, 0, NDEVICES);
    tcase_add_loop_test(c, halves, 0, NDEVICES);
    tcase_add_loop_test(c, wide, 0, NDEVICES);
    tcase_add_test(c, layers);
    tcase_add_test(c, prints);
    suite_add_tcase(s, c);
    return run_suite(s, 9 * NDEVICES + 2);
}
