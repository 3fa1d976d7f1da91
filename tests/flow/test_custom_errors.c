/* tests/flow/test_custom_errors.c: what wrong custom stages are told, with the stage's name. */
#include "tests/flow/custom_world.h"

static rlx_value *build_no_axis(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_softmax(b, x, 2);
}

static rlx_value *build_no_broadcast(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *half = rlx_build_slice(b, x, 1, 0, H / 2, 1);
    return rlx_build_map2(b, RLX_MAP_ADD, x, half);
}

static rlx_value *build_no_product(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t tokens = rlx_value_extent(x, 0);
    rlx_build_size(b, RLX_F32, rlx_build_extent(b, RLX_EXTENT_MUL, tokens, tokens));
    return x;
}

static rlx_value *build_wide_extent(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_build_extent(b, RLX_EXTENT_MUL, (int64_t)1 << 40, (int64_t)1 << 40);
    return x;
}

static rlx_value *build_no_reshape(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_reshape(b, x, 2, (const int64_t[]){3, 5});
}

static rlx_value *build_blocks(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_build_cast(b, rlx_build_expand(b, rlx_build_constant(b, 1), 1, (const int64_t[]){256}),
                   RLX_Q4_K);
    return x;
}

static rlx_value *build_far_reflection(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_pad_with(b, x, 1, H, 0, RLX_PAD_REFLECT);
}

static rlx_value *build_no_pad(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_pad_with(b, x, 1, 1, 1, (rlx_pad)7);
}

static rlx_value *build_far_roll(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    x = rlx_build_roll(b, x, 1, INT64_MIN); /* of a constant's axis all are exact */
    return rlx_build_roll(b, x, 0, -((int64_t)1 << 53) - 1);
}

/* Behind a delta rule by chunks the state has another name. */
static rlx_value *build_taken_state(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t dims[] = {1, H, H};
    (void)user;
    rlx_value *qkv = rlx_build_insert(b, x, 1);
    rlx_value *g = rlx_build_reduce(b, RLX_MAP_MIN, qkv, 1, (const int[]){2}, false);
    rlx_delta_rule_spec spec = {.q = qkv, .k = qkv, .v = qkv, .g = g, .beta = g, .chunk = 16};
    spec.state = rlx_build_state(b, "memory.{}", 3, dims);
    rlx_build_delta_rule(b, &spec, NULL);
    rlx_build_state(b, "memory.{}", 3, dims);
    return x;
}

static rlx_value *build_cut(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_pad_with(b, x, 1, -1, 0, RLX_PAD_EDGE);
}

static rlx_value *build_no_repeat(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_repeat(b, x, 1, -2, true);
}

/* ---- errors ------------------------------------------------------------------------------------
 */

static rlx_value *build_nothing(rlx_builder *b, rlx_value *x, void *user)
{
    (void)b, (void)x, (void)user;
    return NULL;
}

static rlx_value *build_failure(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_builder_fail(b, RLX_UNSUPPORTED, "no such gate");
    rlx_value *y = rlx_build_linear(b, x, rlx_build_weight(b, "not there"), NULL);
    ck_assert_ptr_null(y); /* the first error stays */
    ck_assert_int_eq(rlx_value_dim(y, 0), -1);
    return y;
}

static rlx_value *build_missing(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.side.weight"), NULL);
}

static rlx_value *build_misfit(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.down.weight"), NULL);
}

static rlx_value *build_null_operand(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_map2(b, RLX_MAP_ADD, x, NULL);
}

static rlx_value *build_unknown(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_map1(b, (rlx_map)99, x);
}

static rlx_value *build_two_types(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t dims[] = {4, H};
    rlx_build_input(b, "x", RLX_F32, 2, dims);
    return x;
}

static rlx_value *build_wrong_dim(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t dims[] = {-7, H};
    rlx_build_input(b, "z", RLX_F32, 2, dims);
    return x;
}

/* A pool without places that is to be rounded up. */
static rlx_value *build_no_window(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *z = rlx_build_input(b, "z", RLX_F32, 3, (const int64_t[]){1, 2, H});
    rlx_build_max_pool(b, z, (const int64_t[]){0}, &(rlx_window_spec){.ceil = true});
    return x;
}

static rlx_value *build_wide_window(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *z = rlx_build_input(b, "z", RLX_F32, 3, (const int64_t[]){1, 2, H});
    rlx_build_mean_pool(b, z, (const int64_t[]){INT64_MAX},
                        &(rlx_window_spec){.dilation = {2}, .ceil = true});
    return x;
}

/* The square of 2^32 is 0 in 64 bits. */
static rlx_value *build_wide_shuffle(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *z = rlx_build_input(b, "z", RLX_F32, 4, (const int64_t[]){1, 4, 2, H});
    rlx_build_pixel_shuffle(b, z, (int64_t)1 << 32);
    return x;
}

static rlx_value *build_signal_of_none(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *im;
    (void)user;
    rlx_build_stft(b, &(rlx_stft_spec){.n_fft = 8, .hop = 2, .center = true},
                   rlx_build_number(b, RLX_F32, 1), NULL, &im);
    return x;
}

static rlx_value *build_short_signal(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *im;
    (void)user;
    rlx_build_stft(b, &(rlx_stft_spec){.n_fft = 2 * H, .hop = 2, .center = true}, x, NULL, &im);
    return x;
}

static rlx_value *build_attention_behind(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t heads[] = {rlx_value_extent(x, 0), 1, H};
    rlx_value *q = rlx_build_reshape(b, x, 3, heads);
    return rlx_build_dense_attention(b, q, q, q, &(rlx_dense_attention_spec){.window = -3});
}

static void step_pair(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    (void)user;
    results[0] = results[1] = rlx_build_map2(b, RLX_MAP_ADD, args[0], args[1]);
    results[2] = args[2];
}

/* Of its states only the second is the session's. */
static rlx_value *build_mixed_states(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *out[3];
    (void)user;
    const int64_t dims[] = {H};
    rlx_value *mine = rlx_build_expand(b, rlx_build_number(b, RLX_F32, 0), 1, dims);
    rlx_build_recur(b,
                    &(rlx_recur_spec){.sequences = 1,
                                      .states = 2,
                                      .operand = {x, mine, rlx_build_state(b, "s.{}", 1, dims)},
                                      .outputs = 1,
                                      .step = step_pair},
                    out);
    return out[0];
}

static rlx_value *build_wide_pad(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_pad(b, x, 1, INT64_MAX, INT64_MAX, 0);
}

static rlx_value *build_wide_pad_of_a_symbol(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_pad(b, x, 0, INT64_MAX, 1, 0);
}

static rlx_value *build_wide_cut(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_pad(b, x, 1, INT64_MIN, -3, 0);
}

static rlx_value *build_wide_split(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *part[3];
    (void)user;
    rlx_build_split(b, x, 1, 3, (const int64_t[]){H, INT64_MAX, INT64_MAX}, part);
    return x;
}

static rlx_value *build_wide_iota(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_build_iota(b, RLX_I32, ((int64_t)1 << 62) - 1);
    return x;
}

static rlx_value *build_wide_expand(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t dims[] = {(int64_t)1 << 33, (int64_t)1 << 33};
    rlx_build_expand(b, rlx_build_constant(b, 1), 2, dims);
    return x;
}

static rlx_value *build_wide_one_hot(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_build_one_hot(b, rlx_build_number(b, RLX_I32, 1), (int64_t)1 << 60, RLX_F32);
    return x;
}

static rlx_value *build_float_take(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_take(b, x, rlx_build_constant(b, 1), 0);
}

static rlx_value *build_float_take_along(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_take_along(b, x, x, 0);
}

static rlx_value *build_float_one_hot(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_build_one_hot(b, x, 4, RLX_F32);
    return x;
}

static rlx_value *build_no_spec(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *y = rlx_build_stft(b, NULL, x, NULL, NULL);
    ck_assert_ptr_null(y);
    ck_assert_ptr_null(rlx_build_route(b, NULL, x, NULL, NULL));
    ck_assert_ptr_null(rlx_build_gru(b, x, NULL, NULL));
    ck_assert_ptr_null(rlx_build_lstm(b, x, NULL, NULL, NULL));
    ck_assert_ptr_null(rlx_build_delta_rule(b, NULL, NULL));
    ck_assert_ptr_null(rlx_build_selective_scan(b, NULL, NULL));
    ck_assert_ptr_null(rlx_build_quantize(b, NULL, x, x, NULL));
    ck_assert_ptr_null(rlx_build_moe(b, x, NULL, NULL));
    rlx_build_recur(b, NULL, &y);
    rlx_build_rope_tables(b, NULL, &y, &y);
    return x;
}

static rlx_value *build_no_frames(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_stft(b, &(rlx_stft_spec){0}, x, NULL, NULL);
}

static const struct {
    rlx_value *(*build)(rlx_builder *b, rlx_value *x, void *user);
    rlx_code code;
    const char *part;
} wrong[] = {
    {build_nothing, RLX_INVALID_ARGUMENT, "returned no value"},
    {build_failure, RLX_UNSUPPORTED, "no such gate"},
    {build_missing, RLX_NOT_FOUND, "\"layers.0.side.weight\" is missing"},
    {build_misfit, RLX_INVALID_IR, "linear C2"},
    {build_null_operand, RLX_INVALID_ARGUMENT, "operand 1 is NULL"},
    {build_unknown, RLX_INVALID_ARGUMENT, "no function 99"},
    {build_two_types, RLX_UNSUPPORTED,
     "input \"x\" is taken as f32[4,20], elsewhere f32[TOKENS,20]"},
    {build_no_axis, RLX_INVALID_ARGUMENT, "softmax: axis 2 of a value of rank 2"},
    {build_no_broadcast, RLX_INVALID_ARGUMENT,
     "f32[TOKENS,10] does not broadcast to f32[TOKENS,20]"},
    {build_no_product, RLX_INVALID_ARGUMENT, "not linear in symbols"},
    {build_wide_extent, RLX_INVALID_ARGUMENT, "extent: its result does not fit 63 bits"},
    {build_no_reshape, RLX_INVALID_IR,
     "reshape C2: changes the number of elements: f32[TOKENS,20] to f32[3,5]"},
    {build_blocks, RLX_INVALID_IR, "from f32 to q4_k: casts do not make blocks"},
    {build_wrong_dim, RLX_INVALID_ARGUMENT, "-7 is neither >= 0, nor a symbol"},
    {build_no_window, RLX_INVALID_ARGUMENT, "max_pool: size 0, stride 0, dilation 1"},
    {build_wide_window, RLX_INVALID_ARGUMENT, "mean_pool: size 9223372036854775807"},
    {build_wide_shuffle, RLX_INVALID_ARGUMENT, "pixel_shuffle by 4294967296 of rank 4"},
    {build_signal_of_none, RLX_INVALID_ARGUMENT, "gets f32 of rank 0, n_fft 8"},
    {build_short_signal, RLX_INVALID_ARGUMENT, "gets f32 of rank 2, n_fft 40"},
    {build_attention_behind, RLX_INVALID_IR, "dense_attention C7: before=-1"},
    {build_wide_pad, RLX_INVALID_IR, "pad C2: low 9223372036854775807"},
    {build_wide_pad_of_a_symbol, RLX_INVALID_IR, "pad C2: low 9223372036854775807"},
    {build_wide_cut, RLX_INVALID_IR, "pad C2: low -9223372036854775808"},
    {build_wide_split, RLX_INVALID_IR, "slice C2"},
    {build_wide_iota, RLX_INVALID_IR, "more than 2^48 bytes"},
    {build_wide_expand, RLX_INVALID_IR, "more than 2^48 bytes"},
    {build_wide_one_hot, RLX_INVALID_IR, "more than 2^48 bytes"},
    {build_float_take, RLX_INVALID_ARGUMENT, "take: indices are f32, not i32 or i64"},
    {build_float_take_along, RLX_INVALID_ARGUMENT, "take_along: indices are f32"},
    {build_float_one_hot, RLX_INVALID_ARGUMENT, "one_hot: indices are f32"},
    {build_no_spec, RLX_INVALID_ARGUMENT, "stft needs a spec"},
    {build_no_frames, RLX_INVALID_ARGUMENT, "stft: n_fft 0, hop 0: both are 1 to 2^31 - 1"},
    {build_far_reflection, RLX_INVALID_ARGUMENT, "pad_with: low 20, high 0 of an extent of 20"},
    {build_no_pad, RLX_INVALID_ARGUMENT, "pad_with: there is no kind 7"},
    {build_far_roll, RLX_INVALID_ARGUMENT,
     "roll: by -9007199254740993, along a symbol's axis by 2^53 at most"},
    {build_taken_state, RLX_INVALID_ARGUMENT,
     "state \"memory.{}\" is updated by chunks, and used again behind that"},
    {build_cut, RLX_INVALID_ARGUMENT, "pad_with: low -1, high 0: 0 to 2^31 - 1"},
    {build_no_repeat, RLX_INVALID_ARGUMENT, "repeat: -2 times, of rank 2"},
    {build_mixed_states, RLX_INVALID_ARGUMENT, "recur: 1 of 2 states are the session's"},
};
enum { NWRONG = sizeof wrong / sizeof *wrong };

static void wrong_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_custom(f, "broken", wrong[*(const int *)user].build, NULL);
}

START_TEST(refuses)
{
    world t;
    rlx_status st;
    open_world(&t, "ref:mir");
    rlx_flow_repeat_layers(t.flow, LAYERS, wrong_layer, &_i);
    st = compile(&t);
    char *story = rlx_status_text(st);
    ck_assert_msg(story && strstr(story, "stage 0 (custom \"broken\") of layer 0"), "%s", story);
    free(story);
    assert_error(st, wrong[_i].code, wrong[_i].part);
    close_world(&t);
}
END_TEST

static rlx_value *build_hole(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.gate.weight"), NULL);
}

START_TEST(refuses_elsewhere)
{
    static const char *const none[] = {NULL};
    world t;
    open_world(&t, "ref:mir");
    rlx_flow_custom(t.flow, "hole", build_hole, NULL);
    assert_error(rlx_flow_check_weights(t.flow, t.w, none), RLX_UNSUPPORTED,
                 "custom stage \"hole\" uses of the weights");
    assert_error(compile(&t), RLX_INVALID_ARGUMENT, "has {} outside of a layer");
    close_world(&t);
    open_world(&t, "ref:mir");
    rlx_flow_custom(t.flow, "empty", NULL, NULL);
    assert_error(compile(&t), RLX_INVALID_ARGUMENT, "custom \"empty\" has nothing that builds it");
    close_world(&t);
    open_world(&t, "ref:mir");
    rlx_flow_custom(t.flow, NULL, build_hole, NULL);
    assert_error(compile(&t), RLX_INVALID_ARGUMENT, "custom's name is missing");
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("custom errors");
    TCase *c = tcase_create("custom errors");
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    tcase_add_test(c, refuses_elsewhere);
    suite_add_tcase(s, c);
    return run_suite(s, NWRONG + 1);
}
