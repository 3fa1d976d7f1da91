/* tests/flow/test_extensions.c: plugins, and extensions that rewrite what stages built. */
#include "tests/flow/compose_world.h"

/* ---- plugins, extensions
 * -------------------------------------------------------------------------- */

START_TEST(plugins_build)
{
    world t;
    float y[TOKENS * H];
    double three = 3;
    open_world(&t);
    register_twice();
    assert_error(rlx_plugin_register(&(rlx_plugin){.name = "twice", .build = twice}),
                 RLX_INVALID_ARGUMENT, "two plugins \"twice\"");
    assert_error(rlx_plugin_register(&(rlx_plugin){.name = "none"}), RLX_INVALID_ARGUMENT,
                 "plugin \"none\" needs a name and a function");
    rlx_flow_plugin(t.flow, "twice");
    rlx_flow_plugin_named(t.flow, "twice", "thrice", &three);
    rlx_flow_output(t.flow, "y");
    expect_text(t.flow, "flow @parts {\n  input \"x\" f32[TOKENS,6]\n"
                        "  custom \"twice\" plugin=\"twice\"\n"
                        "  custom \"thrice\" plugin=\"twice\"\n  output \"y\"\n}\n");
    const rlx_compile_options o = options_for(&t);
    assert_ok(run(&t, &o, y));
    for (int i = 0; i < TOKENS * H; i++)
        ck_assert_float_eq(y[i], 3 * (2 * number(9, i)));
    close_world(&t);
}
END_TEST

/* linear(x) becomes 2 linear(x); norms with eps 1e-5 become others. */
static rlx_value *double_linear(rlx_builder *b, const rlx_node *n, void *user)
{
    ++*(int *)user;
    if (strcmp(rlx_node_op(n), "linear"))
        return NULL;
    ck_assert_int_eq(rlx_node_count(n), 2);
    ck_assert_ptr_null(rlx_node_operand(n, 2));
    ck_assert_str_eq(rlx_node_place(n), "layers.{}.proj");
    rlx_value *y = rlx_build_linear(b, rlx_node_operand(n, 0), rlx_node_operand(n, 1), NULL);
    return rlx_build_map2(b, RLX_MAP_MUL, y, rlx_build_constant(b, 2));
}

static rlx_value *wrong_type(rlx_builder *b, const rlx_node *n, void *user)
{
    double eps;
    (void)user;
    if (strcmp(rlx_node_op(n), "rms_norm"))
        return NULL;
    ck_assert(rlx_node_number(n, "eps", &eps) && eps == 1e-5);
    ck_assert(!rlx_node_number(n, "heads", &eps));
    return rlx_build_constant(b, eps);
}

START_TEST(extensions_rewrite)
{
    world t;
    int seen = 0;
    float y[3][TOKENS * H];
    open_world(&t);
    rlx_flow_repeat_layers(t.flow, 4, layer, NULL);
    rlx_flow_output(t.flow, "y");
    rlx_compile_options o = options_for(&t);
    assert_ok(run(&t, &o, y[0]));
    assert_ok(rlx_extension_register(
        &(rlx_extension){.name = "double", .rewrite = double_linear, .user = &seen}));
    assert_ok(rlx_extension_register(&(rlx_extension){.name = "wrong", .rewrite = wrong_type}));
    o.extensions = (const char *const[]){"double", NULL};
    assert_ok(run(&t, &o, y[1]));
    ck_assert_int_gt(seen, 0);
    ck_assert_float_ne(y[0][0], y[1][0]);
    o.extensions = (const char *const[]){NULL}; /* none */
    assert_ok(run(&t, &o, y[2]));
    ck_assert_mem_eq(y[0], y[2], sizeof y[0]);
    o.extensions = NULL; /* all */
    assert_error(run(&t, &o, y[2]), RLX_INVALID_ARGUMENT,
                 "what replaces rms_norm must be f32[TOKENS,6], not f32");
    o.extensions = (const char *const[]){"doubel", NULL};
    assert_error(run(&t, &o, y[2]), RLX_NOT_FOUND,
                 "no extension \"doubel\"; did you mean \"double\"?");
    /* the same by scaling every branch */
    rlx_flow_patch(t.flow, "layers/linear", RLX_PATCH_AFTER, record_scale, NULL);
    for (int i = 0; i < t.flow->nstages; i++)
        if (t.flow->stages[i].kind == RLX_STAGE_SCALE)
            t.flow->stages[i].real[0] = 2;
    o.extensions = (const char *const[]){NULL};
    assert_ok(run(&t, &o, y[2]));
    ck_assert_mem_eq(y[1], y[2], sizeof y[0]);
    close_world(&t);
}
END_TEST

/* Streams of a rewrite: there are none. `user` says whether it stores. */
static rlx_value *use_stream(rlx_builder *b, const rlx_node *n, void *user)
{
    if (strcmp(rlx_node_op(n), "linear"))
        return NULL;
    if (!user)
        return rlx_build_load(b, "image");
    rlx_build_store(b, "image", rlx_node_operand(n, 0));
    return NULL;
}

START_TEST(extensions_have_no_streams)
{
    static const char *const names[] = {"loads", "stores"};
    static const char *const stories[] = {
        "load \"image\" by extension \"loads\", at layers.{}.proj: a rewrite has no streams",
        "store \"image\" by extension \"stores\", at layers.{}.proj: a rewrite has no streams"};
    for (int i = 0; i < 2; i++) {
        world t;
        float y[TOKENS * H];
        open_world(&t);
        rlx_flow_repeat_layers(t.flow, 4, layer, NULL);
        rlx_flow_output(t.flow, "y");
        assert_ok(rlx_extension_register(
            &(rlx_extension){.name = names[i], .rewrite = use_stream, .user = i ? &t : NULL}));
        rlx_compile_options o = options_for(&t);
        o.extensions = (const char *const[]){names[i], NULL};
        assert_error(run(&t, &o, y), RLX_UNSUPPORTED, stories[i]);
        close_world(&t);
    }
}
END_TEST

/* A norm becomes 2 x: its weight is not used then. */
static rlx_value *drop_norm(rlx_builder *b, const rlx_node *n, void *user)
{
    (void)user;
    if (strcmp(rlx_node_op(n), "rms_norm"))
        return NULL;
    return rlx_build_map2(b, RLX_MAP_MUL, rlx_node_operand(n, 0), rlx_build_constant(b, 2));
}

static rlx_value *add_shift(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t dims[] = {H};
    return rlx_build_rms_norm(b, x, rlx_build_input(b, "shift", RLX_F32, 1, dims), 1e-5);
}

/* What only replaced nodes used is unused: an input by F8, a weight when those are looked for. */
START_TEST(extensions_leave_nothing_behind)
{
    world t;
    float y[TOKENS * H];
    assert_ok(rlx_extension_register(&(rlx_extension){.name = "plain", .rewrite = drop_norm}));
    for (int i = 0; i < 2; i++) {
        open_world(&t);
        if (i) {
            rlx_flow_input(t.flow, "shift", RLX_F32, 1, (const int64_t[]){H});
            rlx_flow_load_input(t.flow, "x");
            rlx_flow_custom(t.flow, "norm", add_shift, NULL);
        } else {
            rlx_flow_rms_norm(t.flow, "norm.weight", 1e-5);
        }
        rlx_flow_output(t.flow, "y");
        rlx_compile_options o = options_for(&t);
        static const char *const may[] = {"proj.weight",   "0.norm.weight", "1.norm.weight",
                                          "2.norm.weight", "3.norm.weight", NULL};
        o.may_unused = may;
        o.unused = i ? RLX_UNUSED_IGNORE : RLX_UNUSED_REFUSE;
        o.extensions = (const char *const[]){"plain", NULL};
        assert_error(run(&t, &o, y), i ? RLX_INVALID_ARGUMENT : RLX_INVALID_FILE,
                     i ? "no stage uses \"shift\"" : "1 tensor: norm.weight");
        close_world(&t);
    }
}
END_TEST

static rlx_value *count_nodes(rlx_builder *b, const rlx_node *n, void *user)
{
    (void)b;
    (void)n;
    ++*(int *)user;
    return NULL;
}

/* What is added for a device: extensions see nothing of it, and it is of what they made. */
START_TEST(extensions_see_no_likeliest)
{
    int seen = 0, without = 0;
    world t;
    open_world(&t);
    rlx_flow_rms_norm(t.flow, "norm.weight", 1e-5);
    rlx_flow_output(t.flow, "y");
    assert_ok(rlx_extension_register(
        &(rlx_extension){.name = "count", .rewrite = count_nodes, .user = &seen}));
    assert_ok(rlx_extension_register(&(rlx_extension){.name = "no norm", .rewrite = drop_norm}));
    rlx_compile_options o = options_for(&t);
    o.extensions = (const char *const[]){"count", "no norm", NULL};
    for (int i = 0; i < 2; i++) {
        rlx_dims *dims = rlx_dims_create();
        rlx_ir_module *hir;
        rlx_flow_outputs outputs;
        rlx_text text = {0};
        without = seen;
        seen = 0;
        assert_ok(rlx_flow_build_likeliest(t.flow, t.w, &o, i ? "y" : NULL, dims, &hir, &outputs));
        ck_assert_int_eq(outputs.n, 1 + i);
        ck_assert_str_eq(outputs.name[i], i ? RLX_FLOW_LIKELIEST : "y");
        rlx_ir_print(hir, 0, &text);
        ck_assert_ptr_null(strstr(text.data, "rms_norm"));
        rlx_text_deinit(&text);
        rlx_flow_outputs_deinit(&outputs);
        rlx_ir_module_destroy(hir);
        rlx_dims_destroy(dims);
    }
    ck_assert_int_gt(seen, 0);
    ck_assert_int_eq(seen, without);
    close_world(&t);
}
END_TEST

/* The linear of layer 2 alone. */
static rlx_value *double_third(rlx_builder *b, const rlx_node *n, void *user)
{
    int *asked = user;
    const int64_t index = rlx_builder_layer(b);
    asked[index + 1]++; /* [0]: outside of layers */
    if (index != 2 || strcmp(rlx_node_op(n), "linear"))
        return NULL;
    rlx_value *y = rlx_build_linear(b, rlx_node_operand(n, 0), rlx_node_operand(n, 1), NULL);
    return rlx_build_map2(b, RLX_MAP_MUL, y, rlx_build_constant(b, 2));
}

START_TEST(extensions_see_the_layer)
{
    world t;
    int asked[5] = {0};
    float y[2][TOKENS * H];
    rlx_executable *e;
    rlx_compile_stats stats;
    open_world(&t);
    rlx_flow_repeat_layers(t.flow, 4, layer, NULL);
    rlx_flow_rms_norm(t.flow, "norm.weight", 1e-5);
    rlx_flow_output(t.flow, "y");
    assert_ok(rlx_extension_register(
        &(rlx_extension){.name = "third", .rewrite = double_third, .user = asked}));
    rlx_compile_options o = options_for(&t);
    o.extensions = (const char *const[]){"third", NULL};
    assert_ok(run(&t, &o, y[0]));
    for (int i = 0; i < 5; i++)
        ck_assert_msg(asked[i] > 0, "layer %d is not asked for", i - 1);
    assert_ok(rlx_flow_compile(t.cx, t.flow, t.w, &o, &stats, &e));
    rlx_executable_destroy(e);
    ck_assert_int_eq(stats.functions, 3); /* main, layer 2, and the one of all others */
    rlx_flow_patch(t.flow, "layers.2/linear", RLX_PATCH_AFTER, record_scale, NULL);
    for (int i = 0; i < t.flow->nstages; i++)
        if (t.flow->stages[i].kind == RLX_STAGE_SCALE)
            t.flow->stages[i].real[0] = 2;
    o.extensions = (const char *const[]){NULL};
    assert_ok(run(&t, &o, y[1]));
    ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("extensions");
    TCase *c = tcase_create("extensions");
    tcase_add_test(c, plugins_build);
    tcase_add_test(c, extensions_rewrite);
    tcase_add_test(c, extensions_have_no_streams);
    tcase_add_test(c, extensions_see_no_likeliest);
    tcase_add_test(c, extensions_leave_nothing_behind);
    tcase_add_test(c, extensions_see_the_layer);
    suite_add_tcase(s, c);
    return run_suite(s, 6);
}
