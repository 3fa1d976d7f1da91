/* tests/flow/test_errors.c: what wrong flows are told, whole: tests/golden/errors/flow.txt has a
 * story for each. RLX_BLESS=1 rewrites the file; read what changed. */
#include "frontend/flow.h"
#include "tests/base/suite.h"
#include "tests/golden/diff.h"

#define GOLDEN RLX_SOURCE_DIR "/tests/golden/errors/flow.txt"

/* ---- flows: x f32[TOKENS,8] enters --------------------------------------------------------------
 */

static void start(rlx_flow *f)
{
    rlx_flow_input(f, "x", RLX_F32, 2, (const int64_t[]){rlx_flow_symbol(f, "TOKENS"), 8});
}

static void no_input(rlx_flow *f)
{
    rlx_flow_linear(f, "w88", NULL);
}

static void input_twice(rlx_flow *f)
{
    start(f);
    start(f);
}

static void output_like_input(rlx_flow *f)
{
    start(f);
    rlx_flow_output(f, "x");
}

static void unknown_symbol(rlx_flow *f)
{
    rlx_flow_input(f, "x", RLX_F32, 1, (const int64_t[]){-5});
}

static void missing_weight(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "w88", "b9");
    rlx_flow_rms_norm(f, "norm", 1e-5);
    rlx_flow_output(f, "y");
}

static void wrong_shape(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "w57", NULL);
    rlx_flow_output(f, "y");
}

static void wrong_bias(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "w88", "v5");
    rlx_flow_output(f, "y");
}

static void wrong_elements(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "i88", NULL);
    rlx_flow_output(f, "y");
}

static void wrong_tensor(rlx_flow *f)
{
    rlx_flow_input(f, "ids", RLX_I32, 1, (const int64_t[]){rlx_flow_symbol(f, "TOKENS")});
    rlx_flow_rms_norm(f, "v8", 1e-5);
    rlx_flow_output(f, "y");
}

static void embed_floats(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "w88");
    rlx_flow_output(f, "y");
}

static void residual_of_another_width(rlx_flow *f)
{
    start(f);
    rlx_flow_residual_save(f);
    rlx_flow_linear(f, "w58", NULL);
    rlx_flow_residual_add(f);
    rlx_flow_output(f, "y");
}

static void add_alone(rlx_flow *f)
{
    start(f);
    rlx_flow_residual_add(f);
}

static void record_save(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_residual_save(f);
}

static void layer_leaves_save(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 3, record_save, NULL);
}

static void record_add(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_residual_add(f);
}

static void layer_adds_outer_save(rlx_flow *f)
{
    start(f);
    rlx_flow_residual_save(f);
    rlx_flow_repeat_layers(f, 3, record_add, NULL);
}

static void unknown_stream(rlx_flow *f)
{
    start(f);
    rlx_flow_store_stream(f, "image");
    rlx_flow_load_stream(f, "imagine");
    rlx_flow_output(f, "y");
}

static void unknown_input(rlx_flow *f)
{
    start(f);
    rlx_flow_load_input(f, "mask");
    rlx_flow_output(f, "y");
}

static void unused_input(rlx_flow *f)
{
    start(f);
    rlx_flow_input(f, "mask", RLX_F32, 1, (const int64_t[]){8});
    rlx_flow_output(f, "y");
}

static void hole_outside(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "layers.{}.weight", NULL);
}

static void record_layers(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_repeat_layers(f, 2, record_save, NULL);
}

static void nested_layers(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 2, record_layers, NULL);
}

static void no_output(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "w88", NULL);
}

static void record_mlp(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_swiglu(f, "w58", "w58", "w88");
}

/* The second layer is not like the first: its tensor has another width. */
static void record_narrow(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_scope(f, "mlp", record_mlp, NULL);
}

static void layer_mismatch(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 2, record_narrow, NULL);
    rlx_flow_output(f, "y");
}

static rlx_value *build_mismatch(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_map2(b, RLX_MAP_ADD, x, rlx_build_weight(b, "v5"));
}

static void custom_mismatch(rlx_flow *f)
{
    start(f);
    rlx_flow_custom(f, "shift", build_mismatch, NULL);
    rlx_flow_output(f, "y");
}

static rlx_value *build_refusal(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_builder_fail(b, RLX_UNSUPPORTED, "only widths of 16 elements");
    return x;
}

static void custom_refusal(rlx_flow *f)
{
    start(f);
    rlx_flow_custom(f, "shift", build_refusal, NULL);
    rlx_flow_output(f, "y");
}

/* ---- recurrences --------------------------------------------------------------------------------
 */

static void step_linear(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    (void)user;
    results[0] = rlx_build_linear(b, args[0], args[1], NULL);
}

static void step_weight(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    (void)user;
    results[0] = rlx_build_matmul(b, rlx_build_weight(b, "w88"), args[0]);
}

static void step_add(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    (void)user;
    results[0] = rlx_build_map2(b, RLX_MAP_ADD, args[0], args[1]);
}

static void step_again(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    const rlx_recur_spec inner = {
        .states = 1, .stay = 1, .operand = {args[0], args[1]}, .steps = 65, .step = step_add};
    (void)user;
    rlx_build_recur(b, &inner, results);
}

/* The state is the tensor's features; `user` is the step. */
static rlx_value *build_steps(rlx_builder *b, rlx_value *x, void *user)
{
    const rlx_recur_spec *spec = user;
    rlx_recur_spec s = *spec;
    s.operand[0] = rlx_build_slice(b, rlx_build_weight(b, "w88"), 0, 0, 1, 1);
    s.operand[0] = rlx_build_reshape(b, s.operand[0], 1, (const int64_t[]){8});
    s.operand[1] = rlx_build_weight(b, spec->step == step_linear ? "w88" : "v8");
    s.states = s.stay = 1;
    s.steps = 3;
    rlx_build_recur(b, &s, &s.operand[2]);
    return rlx_build_map2(b, RLX_MAP_ADD, x, s.operand[2]);
}

static void record_steps(rlx_flow *f, rlx_recur_spec *spec)
{
    start(f);
    rlx_flow_custom(f, "steps", build_steps, spec);
    rlx_flow_output(f, "y");
}

static void step_holds_linear(rlx_flow *f)
{
    static rlx_recur_spec spec = {.step = step_linear};
    record_steps(f, &spec);
}

static void step_takes_weight(rlx_flow *f)
{
    static rlx_recur_spec spec = {.step = step_weight};
    record_steps(f, &spec);
}

static void step_unrolls_too_much(rlx_flow *f)
{
    static rlx_recur_spec spec = {.step = step_again};
    record_steps(f, &spec);
}

static void ends_on_a_float(rlx_flow *f)
{
    static rlx_recur_spec spec = {.step = step_add, .live = 1};
    record_steps(f, &spec);
}

static void first_states(rlx_flow *f)
{
    const rlx_recurrent_spec spec = {.prefix = "cell", .layers = 2, .no_bias = true, .h = "h"};
    rlx_flow_input(f, "x", RLX_F32, 3, (const int64_t[]){2, 3, 8});
    rlx_flow_input(f, "first", RLX_F32, 3, (const int64_t[]){1, 2, 8});
    rlx_flow_bind_stream(f, "first", "h");
    rlx_flow_gru(f, &spec);
    rlx_flow_output(f, "y");
}

static void both_and_backwards(rlx_flow *f)
{
    const rlx_recurrent_spec spec = {.bidirectional = true, .backwards = true};
    start(f);
    rlx_flow_gru(f, &spec);
}

static void too_many_layers(rlx_flow *f)
{
    const rlx_recurrent_spec spec = {.layers = INT64_MAX};
    start(f);
    rlx_flow_gru(f, &spec);
}

static void unknown_plugin(rlx_flow *f)
{
    start(f);
    rlx_flow_plugin(f, "snake");
}

static void unknown_patch(rlx_flow *f)
{
    start(f);
    rlx_flow_linear(f, "w88", NULL);
    rlx_flow_patch(f, "liner", RLX_PATCH_REMOVE, NULL, NULL);
}

static void patch_of_a_negative_layer(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 2, record_narrow, NULL);
    rlx_flow_patch(f, "layers.-1/swiglu", RLX_PATCH_REMOVE, NULL, NULL);
}

static void heads_do_not_divide(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(
        f, &(rlx_attention_spec){
               .q_key = "q", .k_key = "k", .v_key = "v", .heads = 5, .kv_heads = 2, .head_dim = 8});
}

static void attention_of_six_axes(rlx_flow *f)
{
    rlx_flow_input(f, "x", RLX_F32, 6, (const int64_t[]){1, 2, 1, 2, 1, 8});
    rlx_flow_encoder_attention(
        f, &(rlx_encoder_attention_spec){
               .q_key = "w88", .k_key = "w88", .v_key = "w88", .heads = 2, .head_dim = 4});
    rlx_flow_output(f, "y");
}

#define CASE(name)  \
    {               \
#name, name \
    }
static const struct {
    const char *name;
    void (*record)(rlx_flow *f);
} cases[] = {CASE(no_input),
             CASE(input_twice),
             CASE(output_like_input),
             CASE(unknown_symbol),
             CASE(missing_weight),
             CASE(wrong_shape),
             CASE(wrong_bias),
             CASE(wrong_elements),
             CASE(wrong_tensor),
             CASE(embed_floats),
             CASE(residual_of_another_width),
             CASE(add_alone),
             CASE(layer_leaves_save),
             CASE(layer_adds_outer_save),
             CASE(unknown_stream),
             CASE(unknown_input),
             CASE(unused_input),
             CASE(hole_outside),
             CASE(nested_layers),
             CASE(no_output),
             CASE(layer_mismatch),
             CASE(custom_mismatch),
             CASE(custom_refusal),
             CASE(step_holds_linear),
             CASE(step_takes_weight),
             CASE(step_unrolls_too_much),
             CASE(ends_on_a_float),
             CASE(first_states),
             CASE(both_and_backwards),
             CASE(too_many_layers),
             CASE(unknown_plugin),
             CASE(unknown_patch),
             CASE(patch_of_a_negative_layer),
             CASE(heads_do_not_divide),
             CASE(attention_of_six_axes)};
enum { NCASES = sizeof cases / sizeof *cases };

/* ---- weights, stories
 * ----------------------------------------------------------------------------- */

static rlx_weights *make_weights(void)
{
    static const float zeros[24 * 8];
    static const struct {
        const char *name;
        rlx_format format;
        int64_t rows, cols;
    } all[] = {{"cell.weight_ih_l0", RLX_F32, 24, 8},
               {"cell.weight_hh_l0", RLX_F32, 24, 8},
               {"cell.weight_ih_l1", RLX_F32, 24, 8},
               {"cell.weight_hh_l1", RLX_F32, 24, 8},
               {"w88", RLX_F32, 8, 8},
               {"w57", RLX_F32, 5, 7},
               {"w58", RLX_F32, 5, 8},
               {"i88", RLX_I32, 8, 8},
               {"v8", RLX_F32, 8, 0},
               {"v5", RLX_F32, 5, 0}};
    rlx_weights *w;
    assert_ok(rlx_weights_create(&w));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const int64_t cols = all[i].cols;
        assert_ok(rlx_weights_add(
            w, &(rlx_tensor){.name = all[i].name,
                             .format = all[i].format,
                             .rank = cols ? 2 : 1,
                             .dim = {all[i].rows, cols},
                             .data = zeros,
                             .bytes = 4 * (size_t)(all[i].rows * (cols ? cols : 1))}));
    }
    return w;
}

/* A story without the places in the library's sources: " (frontend/flow.c:65)". */
static void put_story(rlx_status st, rlx_text *out)
{
    static const char *const folders[] = {" (frontend/", " (hir/", " (mir/", " (runtime/"};
    char *story = rlx_status_text(st);
    for (const char *at = story; at && *at;) {
        const char *place = NULL;
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
            const char *p = strstr(at, folders[i]);
            place = p && (!place || p < place) ? p : place;
        }
        rlx_text_put_bytes(out, at, place ? (size_t)(place - at) : strlen(at));
        at = place ? strchr(place, ')') + 1 : NULL;
    }
    rlx_text_put(out, "\n\n");
    free(story);
    rlx_status_free(st);
}

START_TEST(stories)
{
    rlx_text got = {0}, diff = {0};
    rlx_weights *w = make_weights();
    for (int i = 0; i < NCASES; i++) {
        rlx_flow *f;
        rlx_ir_module *hir;
        rlx_flow_outputs outputs;
        rlx_dims *dims = rlx_dims_create();
        assert_ok(rlx_flow_create("wrong", &f));
        cases[i].record(f);
        rlx_text_putf(&got, "== %s\n", cases[i].name);
        rlx_status st = rlx_flow_build(f, w, &(rlx_compile_options){0}, dims, &hir, &outputs);
        ck_assert_msg(st != NULL, "%s was not refused", cases[i].name);
        put_story(st, &got);
        rlx_flow_destroy(f);
        rlx_dims_destroy(dims);
    }
    rlx_weights_destroy(w);
    if (getenv("RLX_BLESS")) {
        FILE *file = fopen(GOLDEN, "w");
        ck_assert(file && fputs(got.data, file) >= 0 && fclose(file) == 0);
    }
    char *want;
    size_t bytes;
    assert_ok(rlx_file_read(GOLDEN, &want, &bytes));
    diff_lines(want, got.data, &diff);
    ck_assert_msg(!diff.len, "%s:\n%s(RLX_BLESS=1 accepts it)", GOLDEN, diff.data);
    free(want);
    rlx_text_deinit(&got);
    rlx_text_deinit(&diff);
}
END_TEST

/* No spec, of every stage that takes one. */
START_TEST(no_spec)
{
    rlx_flow *f;
    char part[64];
#define NONE(stage)                                              \
    assert_ok(rlx_flow_create("wrong", &f));                     \
    start(f);                                                    \
    rlx_flow_##stage(f, NULL);                                   \
    snprintf(part, sizeof part, "%s needs a spec", #stage);      \
    assert_error(rlx_flow_check(f), RLX_INVALID_ARGUMENT, part); \
    rlx_flow_destroy(f);
    NONE(gru)
    NONE(lstm)
    NONE(gdn_scan)
    NONE(rope_tables)
    NONE(self_attention)
    NONE(encoder_attention)
    NONE(gated_mlp)
#undef NONE
}
END_TEST

int main(void)
{
    Suite *s = suite_create("errors");
    TCase *c = tcase_create("errors");
    tcase_add_test(c, stories);
    tcase_add_test(c, no_spec);
    suite_add_tcase(s, c);
    return run_suite(s, 2);
}
