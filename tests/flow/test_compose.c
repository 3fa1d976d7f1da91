/* tests/flow/test_compose.c: flows of parts: scopes, conditions, stacks, patches, plugins,
 * extensions, recipes, executions; the texts of flows, and numbers where parts compute. */
#include <math.h>

#include "frontend/flow.h"
#include "tests/base/suite.h"

enum { H = 6, TOKENS = 3 };

/* ---- one small flow -----------------------------------------------------------------------------
 */

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    float matrix[4][H * H], scale[4][H];
} world;

static float number(int which, int64_t i)
{
    return 0.4f * sinf(1.1f * (float)which + 0.53f * (float)i) + 0.1f;
}

static void add_weight(world *t, const char *name, const float *data, int rank)
{
    assert_ok(
        rlx_weights_add(t->w, &(rlx_tensor){.name = name,
                                            .format = RLX_F32,
                                            .rank = rank,
                                            .dim = {H, rank > 1 ? H : 0},
                                            .data = data,
                                            .bytes = sizeof(float) * (rank > 1 ? H * H : H)}));
}

static void open_world(world *t)
{
    *t = (world){0};
    assert_ok(rlx_context_create(&(rlx_context_options){.threads = 1}, &t->cx));
    assert_ok(rlx_weights_create(&t->w));
    for (int l = 0; l < 4; l++) {
        char name[32];
        for (int i = 0; i < H * H; i++)
            t->matrix[l][i] = number(l, i);
        for (int i = 0; i < H; i++)
            t->scale[l][i] = 1 + number(l + 4, i);
        snprintf(name, sizeof name, "layers.%d.proj.weight", l);
        add_weight(t, name, t->matrix[l], 2);
        snprintf(name, sizeof name, "layers.%d.norm.weight", l);
        add_weight(t, name, t->scale[l], 1);
    }
    add_weight(t, "norm.weight", t->scale[3], 1);
    assert_ok(rlx_flow_create("parts", &t->flow));
    const int64_t dims[] = {rlx_flow_symbol(t->flow, "TOKENS"), H};
    rlx_flow_input(t->flow, "x", RLX_F32, 2, dims);
}

static void close_world(world *t)
{
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
}

static void expect_text(const rlx_flow *f, const char *want)
{
    rlx_text text = {0};
    if (f->error)
        ck_abort_msg("%s", rlx_status_message(f->error));
    rlx_flow_print(f, &text);
    ck_assert_str_eq(text.data, want);
    rlx_text_deinit(&text);
}

static rlx_compile_options options_for(const world *t)
{
    static const rlx_bucket bucket = {"TOKENS", TOKENS};
    (void)t;
    return (rlx_compile_options){.buckets = &bucket, .nbuckets = 1};
}

/* y of the flow for x = number(9, i). */
static rlx_status run(world *t, const rlx_compile_options *o, float y[TOKENS * H])
{
    float x[TOKENS * H];
    rlx_executable *e;
    rlx_session *s;
    rlx_tensor out;
    for (int i = 0; i < TOKENS * H; i++)
        x[i] = number(9, i);
    RLX_TRY(rlx_flow_compile(t->cx, t->flow, t->w, o, NULL, &e));
    assert_ok(rlx_session_create(t->cx, NULL, &s));
    const rlx_tensor in = {.name = "x",
                           .format = RLX_F32,
                           .rank = 2,
                           .dim = {TOKENS, H},
                           .data = x,
                           .bytes = sizeof x};
    assert_ok(rlx_executable_run(e, s, &in, 1));
    assert_ok(rlx_session_output(s, "y", &out));
    memcpy(y, out.data, sizeof(float) * TOKENS * H);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    return RLX_OK;
}

/* ---- scopes, conditions, stacks
 * ------------------------------------------------------------------ */

static void record_mlp(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_rms_norm(f, "layers.{}.norm.weight", 1e-5);
    rlx_flow_linear(f, "layers.{}.proj.weight", NULL);
}

static void record_block(rlx_flow *f, void *user)
{
    rlx_flow_residual_save(f);
    rlx_flow_scope(f, "mlp", record_mlp, NULL);
    rlx_flow_when(f, user != NULL, record_mlp, NULL);
    rlx_flow_residual_add(f);
}

static void layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    record_block(f, user);
}

static const char once[] = "flow @parts {\n  input \"x\" f32[TOKENS,6]\n  layers 0..3 {\n"
                           "    residual_save\n"
                           "    rms_norm key=\"layers.{}.norm.weight\" eps=1e-05\n"
                           "    linear key=\"layers.{}.proj.weight\"\n"
                           "    residual_add\n  }\n  output \"y\"\n}\n";

static void record_once(rlx_flow *f)
{
    rlx_flow_repeat_layers(f, 4, layer, NULL);
    rlx_flow_output(f, "y");
}

START_TEST(stacks_are_what_they_recorded)
{
    world a, b;
    rlx_flow *stack;
    float y[2][TOKENS * H];
    open_world(&a);
    open_world(&b);
    record_once(a.flow);
    expect_text(a.flow, once);
    assert_ok(rlx_stack_create("block", &stack));
    record_block(stack, NULL);
    rlx_flow_repeat_stack(b.flow, 4, stack);
    rlx_flow_destroy(stack); /* nothing of it is needed any more */
    rlx_flow_output(b.flow, "y");
    expect_text(b.flow, once);
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

/* ---- patches
 * ------------------------------------------------------------------------------------- */

static void record_scale(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 0.5);
}

static void record_final(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_rms_norm(f, "norm.weight", 1e-6);
}

static void record_add(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 0.25);
    rlx_flow_residual_add(f);
}

static void record_unbalanced(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_residual_save(f);
}

static const struct {
    const char *where;
    rlx_patch_edit edit;
    void (*record)(rlx_flow *f, void *user);
    const char *line[4]; /* of the first layer that was changed, in this order */
    int changed;         /* layers */
} patches[] = {
    {"layers/linear", RLX_PATCH_AFTER, record_scale, {"linear", "scale by=0.5", "residual_add"}, 4},
    {"layers.2/mlp/rms_norm",
     RLX_PATCH_BEFORE,
     record_scale,
     {"residual_save", "scale by=0.5", "rms_norm"},
     1},
    {"layers/rms_norm", RLX_PATCH_REMOVE, NULL, {"residual_save", "linear"}, 4},
    {"layers/mlp",
     RLX_PATCH_REPLACE,
     record_scale,
     {"residual_save", "scale by=0.5", "residual_add"},
     4},
    {"layers/residual_add",
     RLX_PATCH_REPLACE,
     record_add,
     {"linear", "scale by=0.25", "residual_add"},
     4},
    {"output", RLX_PATCH_BEFORE, record_final, {"}", "rms_norm key=\"norm.weight\"", "output"}, 0},
    {"y", RLX_PATCH_BEFORE, record_scale, {"}", "scale by=0.5", "output"}, 0},
    {"input", RLX_PATCH_AFTER, record_scale, {"input", "scale by=0.5", "layers"}, 0},
};
enum { NPATCHES = sizeof patches / sizeof *patches };

START_TEST(patches_change_what_they_name)
{
    world t;
    rlx_text text = {0};
    float y[TOKENS * H];
    open_world(&t);
    record_once(t.flow);
    rlx_flow_patch(t.flow, patches[_i].where, patches[_i].edit, patches[_i].record, NULL);
    if (t.flow->error)
        ck_abort_msg("%s", rlx_status_message(t.flow->error));
    rlx_flow_print(t.flow, &text);
    bool found = false;
    for (const char *at = text.data; (at = strstr(at, patches[_i].line[0])) && !found; at++) {
        const char *next = at;
        found = true;
        for (int l = 1; l < 4 && patches[_i].line[l] && found; l++) {
            next = strchr(next, '\n') + 1;
            next += strspn(next, " ");
            found = !strncmp(next, patches[_i].line[l], strlen(patches[_i].line[l]));
        }
    }
    ck_assert_msg(found, "not after the patch of %s:\n%s", patches[_i].where, text.data);
    ck_assert_int_eq(strstr(text.data, "layers 0..3") != NULL, patches[_i].changed != 1);
    const rlx_compile_options o = options_for(&t);
    assert_ok(run(&t, &o, y));
    rlx_text_deinit(&text);
    close_world(&t);
}
END_TEST

static const struct {
    const char *where;
    rlx_patch_edit edit;
    void (*record)(rlx_flow *f, void *user);
    rlx_code code;
    const char *error;
} bad_patches[] = {
    {"layers/liner", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND,
     "patch: no stage at \"layers/liner\"; did you mean linear?"},
    {"linear", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND, "patch: no stage at \"linear\""},
    {"layers.7/linear", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND,
     "patch: no stage at \"layers.7/linear\""},
    {"layers/linear#1", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND, "layers/linear#1"},
    {"layers/mlp/residual_add", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND, "layers/mlp/residual_add"},
    {"", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "\"\" is no place"},
    {"layers.x/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers.-1/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers.+3/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers. 3/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers.99999999999999999999/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "is no place"},
    {"layers/linear#+0", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers/linear#x", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"input", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "\"input\" is the flow's input, which stays first"},
    {"layers/linear", RLX_PATCH_AFTER, NULL, RLX_INVALID_ARGUMENT, "no function that records"},
    {"layers/residual_save", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "stage 2 (residual_add) of layer 0: F6: a residual_add without a residual_save"},
    {"layers.1/residual_add", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "of layer 1 in mlp: F6: the layer ends with a residual_save open"},
    {"layers.1/linear", RLX_PATCH_AFTER, record_unbalanced, RLX_INVALID_ARGUMENT,
     "the layer ends with a residual_save open"},
};
enum { NBAD_PATCHES = sizeof bad_patches / sizeof *bad_patches };

START_TEST(patches_are_refused)
{
    world t;
    open_world(&t);
    record_once(t.flow);
    rlx_flow_patch(t.flow, bad_patches[_i].where, bad_patches[_i].edit, bad_patches[_i].record,
                   NULL);
    assert_error(rlx_flow_check(t.flow), bad_patches[_i].code, bad_patches[_i].error);
    close_world(&t);
}
END_TEST

static void record_two(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 2);
    rlx_flow_scale(f, 3);
    rlx_flow_scale(f, 4);
}

START_TEST(patches_count_what_is_alike)
{
    world t;
    open_world(&t);
    record_two(t.flow, NULL);
    rlx_flow_patch(t.flow, "scale#1", RLX_PATCH_REMOVE, NULL, NULL);
    expect_text(t.flow,
                "flow @parts {\n  input \"x\" f32[TOKENS,6]\n  scale by=2\n  scale by=4\n}\n");
    rlx_flow_patch(t.flow, "scale", RLX_PATCH_REMOVE, NULL, NULL);
    assert_error(rlx_flow_check(t.flow), RLX_INVALID_ARGUMENT,
                 "\"scale\" is more than one stage: say which, \"scale#0\"");
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

static rlx_value *twice(rlx_builder *b, rlx_value *x, void *user)
{
    const double by = user ? *(const double *)user : 2;
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_constant(b, by));
}

static void register_twice(void)
{
    const rlx_plugin p = {.name = "twice", .meaning = "2 x", .build = twice};
    assert_ok(rlx_plugin_register(&p));
}

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
    tcase_add_loop_test(c, patches_change_what_they_name, 0, NPATCHES);
    tcase_add_loop_test(c, patches_are_refused, 0, NBAD_PATCHES);
    tcase_add_test(c, patches_count_what_is_alike);
    tcase_add_loop_test(c, parts_are_refused, 0, NMISTAKES);
    tcase_add_test(c, stacks_are_no_flows);
    tcase_add_test(c, plugins_build);
    tcase_add_test(c, extensions_rewrite);
    tcase_add_test(c, extensions_have_no_streams);
    tcase_add_test(c, extensions_leave_nothing_behind);
    tcase_add_test(c, extensions_see_the_layer);
    tcase_add_test(c, recipes_assemble);
    tcase_add_test(c, executions_resolve);
    tcase_add_test(c, compositions_are_derived);
    suite_add_tcase(s, c);
    return run_suite(s, 12 + NPATCHES + NBAD_PATCHES + NMISTAKES);
}
