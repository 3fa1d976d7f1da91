/* tests/flow/test_compose.c: flows of parts: scopes, conditions, stacks, recipes, executions; the
 * texts of flows, and numbers where parts compute. */
#include "tests/flow/compose_world.h"

/* ---- scopes, conditions, stacks
 * ------------------------------------------------------------------ */

START_TEST(stacks_are_what_they_recorded)
{
    world a, b;
    rlx_flow *stack;
    float y[2][TOKENS * H];
    open_world(&a);
    open_world(&b);
    record_once(a.flow);
    expect_text(a.flow, ONCE);
    assert_ok(rlx_stack_create("block", &stack));
    record_block(stack, NULL);
    rlx_flow_repeat_stack(b.flow, 4, stack);
    rlx_flow_destroy(stack); /* nothing of it is needed any more */
    rlx_flow_output(b.flow, "y");
    expect_text(b.flow, ONCE);
    ck_assert_str_eq(b.flow->stages[2].scope, "block/mlp");
    const rlx_compile_options o = options_for(&a);
    assert_ok(run(&a, &o, y[0]));
    assert_ok(run(&b, &o, y[1]));
    ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    close_world(&a);
    close_world(&b);
}
END_TEST

START_TEST(conditions_record_or_not)
{
    world t;
    int yes;
    open_world(&t);
    rlx_flow_repeat_layers(t.flow, 1, layer, &yes);
    rlx_flow_output(t.flow, "y");
    expect_text(t.flow, "flow @parts {\n  input \"x\" f32[TOKENS,6]\n  layers 0..0 {\n"
                        "    residual_save\n"
                        "    rms_norm key=\"layers.{}.norm.weight\" eps=1e-05\n"
                        "    linear key=\"layers.{}.proj.weight\"\n"
                        "    rms_norm key=\"layers.{}.norm.weight\" eps=1e-05\n"
                        "    linear key=\"layers.{}.proj.weight\"\n"
                        "    residual_add\n  }\n  output \"y\"\n}\n");
    close_world(&t);
}
END_TEST

/* ---- mistakes of parts
 * --------------------------------------------------------------------------- */

static void in_scope(rlx_flow *f)
{
    rlx_flow_scope(f, "a/b", record_mlp, NULL);
}

static void no_stack(rlx_flow *f)
{
    rlx_flow_stack(f, f);
}

static void with_stack(rlx_flow *f, void (*record)(rlx_flow *f, void *user))
{
    rlx_flow *stack;
    assert_ok(rlx_stack_create("block", &stack));
    record(stack, NULL);
    rlx_flow_stack(f, stack);
    rlx_flow_destroy(stack);
}

static void outside(rlx_flow *f)
{
    with_stack(f, record_mlp);
}

static void open_save(rlx_flow *f)
{
    with_stack(f, record_unbalanced);
}

static void wrong_add(rlx_flow *f)
{
    with_stack(f, record_add);
}

static void record_layers(rlx_flow *f, void *user)
{
    rlx_flow_repeat_layers(f, 2, layer, user);
}

static void layers_in_stack(rlx_flow *f)
{
    with_stack(f, record_layers);
}

static void record_input(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_input(f, "z", RLX_F32, 0, NULL);
}

static void input_in_stack(rlx_flow *f)
{
    with_stack(f, record_input);
}

static void no_plugin(rlx_flow *f)
{
    rlx_flow_plugin(f, "twise");
}

static const struct {
    void (*record)(rlx_flow *f);
    const char *error;
} mistakes[] = {
    {in_scope, "a scope needs a function that records and a name without / and #, not \"a/b\""},
    {no_stack, "no stack: rlx_stack_create makes one"},
    {outside, "stack block: its stage 0 (rms_norm) stands for a layer"},
    {open_save, "stack block leaves 1 residual_save open"},
    {wrong_add, "stack block, stage 1: F6: residual_add without a residual_save"},
    {layers_in_stack, "repeat_layers in a stack"},
    {input_in_stack, "input \"z\" inside a stack"},
    {no_plugin, "no plugin \"twise\"; did you mean \"twice\"?"},
};
enum { NMISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(parts_are_refused)
{
    world t;
    register_twice();
    open_world(&t);
    mistakes[_i].record(t.flow);
    ck_assert_ptr_nonnull(t.flow->error);
    assert_error(rlx_flow_check(t.flow), rlx_status_code(t.flow->error), mistakes[_i].error);
    close_world(&t);
}
END_TEST

START_TEST(stacks_are_no_flows)
{
    world t;
    rlx_executable *e;
    open_world(&t);
    rlx_flow_destroy(t.flow);
    assert_ok(rlx_stack_create("block", &t.flow));
    record_block(t.flow, NULL);
    const rlx_compile_options o = options_for(&t);
    assert_error(rlx_flow_compile(t.cx, t.flow, t.w, &o, NULL, &e), RLX_INVALID_ARGUMENT,
                 "block is a stack: rlx_flow_stack puts it into a flow");
    close_world(&t);
}
END_TEST

/* ---- recipes, executions, composition
 * --------------------------------------------------------------- */

static rlx_status assemble(rlx_flow *f, const rlx_recipe_input *in, void *user)
{
    (void)user;
    const int64_t layers = strtoll(in->config, NULL, 10);
    if (layers < 1)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%s layers", in->config);
    const int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), H};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(f, layers, layer, NULL);
    rlx_flow_output(f, "y");
    return RLX_OK;
}

START_TEST(recipes_assemble)
{
    world t;
    rlx_flow *f;
    float y[TOKENS * H];
    open_world(&t);
    const rlx_recipe r = {.name = "blocks", .assemble = assemble};
    assert_ok(rlx_recipe_register(&r));
    assert_error(rlx_recipe_register(&(rlx_recipe){.name = "llama", .assemble = assemble}),
                 RLX_INVALID_ARGUMENT, "has the name of a family");
    assert_error(rlx_flow_from_recipe("block", NULL, &f), RLX_NOT_FOUND,
                 "no recipe \"block\"; did you mean \"blocks\"?");
    ck_assert_ptr_null(f);
    assert_error(rlx_flow_from_recipe("blocks", &(rlx_recipe_input){.config = "no"}, &f),
                 RLX_INVALID_ARGUMENT, "no layers");
    assert_error(rlx_flow_from_recipe("llama", &(rlx_recipe_input){.config = "{}"}, &f),
                 RLX_INVALID_ARGUMENT, "none given");
    assert_error(
        rlx_flow_from_recipe("llama", &(rlx_recipe_input){.config = "{", .weights = t.w}, &f),
        RLX_INVALID_FILE, "not JSON");
    assert_ok(rlx_flow_from_recipe("blocks", &(rlx_recipe_input){.config = "4"}, &f));
    rlx_flow_destroy(t.flow);
    t.flow = f;
    const rlx_compile_options o = options_for(&t);
    assert_ok(run(&t, &o, y));
    close_world(&t);
}
END_TEST

START_TEST(executions_resolve)
{
    world t;
    rlx_execution_options o;
    char *text;
    open_world(&t);
    record_once(t.flow);
    const rlx_execution prefill = {.batch = 2, .seq = 64};
    assert_ok(rlx_execution_resolve(&prefill, t.flow, NULL, 0, &o));
    ck_assert_int_eq(o.options.nbuckets, 1);
    ck_assert_str_eq(o.options.buckets[0].symbol, "TOKENS");
    ck_assert_int_eq(o.options.buckets[0].upper, 128);
    ck_assert_int_eq(o.options.phase, RLX_PREFILL);
    const rlx_execution decode = {.phase = RLX_RUN_DECODE, .batch = 4, .past = 9};
    const rlx_bucket more = {"TOKENS", 16};
    assert_ok(rlx_execution_resolve(&decode, t.flow, &more, 1, &o));
    ck_assert_int_eq(o.options.buckets[0].upper, 16);
    ck_assert_int_eq(o.options.phase, RLX_DECODE);
    assert_ok(rlx_execution_describe(&decode, &text));
    ck_assert_str_eq(text, "decode batch=4 seq=1 past=9");
    free(text);
    rlx_flow_symbol(t.flow, "FRAMES");
    assert_error(rlx_execution_resolve(&decode, t.flow, NULL, 0, &o), RLX_INVALID_ARGUMENT,
                 "symbol FRAMES: nothing says how large it may be");
    const rlx_execution wide = {.batch = (int64_t)1 << 33, .seq = (int64_t)1 << 33};
    assert_error(rlx_execution_resolve(&wide, t.flow, NULL, 0, &o), RLX_INVALID_ARGUMENT,
                 "batch 8589934592, seq 8589934592");
    assert_error(rlx_execution_resolve(&(rlx_execution){.batch = -1}, t.flow, NULL, 0, &o),
                 RLX_INVALID_ARGUMENT, "batch -1");
    close_world(&t);
}
END_TEST

START_TEST(compositions_are_derived)
{
    world t;
    rlx_composition c, d;
    char *text;
    open_world(&t);
    record_once(t.flow);
    const rlx_compile_options o = options_for(&t);
    assert_ok(rlx_flow_compose(t.cx, t.flow, t.w, &o, &c));
    ck_assert_int_eq(c.kind, RLX_COMPOSITION_HOMOGENEOUS);
    ck_assert_int_eq(c.runs[0].count, 4);
    assert_ok(rlx_flow_inspect(t.cx, t.flow, t.w, &o, "composition", &text));
    ck_assert_ptr_nonnull(strstr(text, c.runs[0].fingerprint));
    ck_assert_ptr_nonnull(strstr(text, c.fingerprint));
    free(text);
    rlx_flow_patch(t.flow, "layers.3/linear", RLX_PATCH_AFTER, record_scale, NULL);
    assert_ok(rlx_flow_compose(t.cx, t.flow, t.w, &o, &d));
    ck_assert_int_eq(d.kind, RLX_COMPOSITION_PAIR);
    ck_assert_int_eq(d.runs[0].count, 3);
    ck_assert_str_eq(d.runs[0].fingerprint, c.runs[0].fingerprint);
    ck_assert_str_ne(d.runs[1].fingerprint, c.runs[0].fingerprint);
    ck_assert_str_ne(d.fingerprint, c.fingerprint);
    rlx_composition_deinit(&c);
    rlx_composition_deinit(&d);
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compose");
    TCase *c = tcase_create("compose");
    tcase_add_test(c, stacks_are_what_they_recorded);
    tcase_add_test(c, conditions_record_or_not);
    tcase_add_loop_test(c, parts_are_refused, 0, NMISTAKES);
    tcase_add_test(c, stacks_are_no_flows);
    tcase_add_test(c, recipes_assemble);
    tcase_add_test(c, executions_resolve);
    tcase_add_test(c, compositions_are_derived);
    suite_add_tcase(s, c);
    return run_suite(s, 6 + NMISTAKES);
}
