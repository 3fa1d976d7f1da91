/* tests/flow/test_flow.c: recording, errors, distinct layers, probes, text. */

#include "tests/base/suite.h"
#include "tests/flow/model.h"

/* ---- recording mistakes --------------------------------------------------------------------- */

static void start(rlx_flow *f)
{
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
}

static void save_open(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_residual_save(f);
}

static void add_outer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_residual_add(f);
}

static void nest(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_repeat_layers(f, 1, add_outer, NULL);
}

static void output_inside(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_output(f, "y");
}

static void no_input(rlx_flow *f)
{
    rlx_flow_embed(f, "w");
}

static void two_inputs(rlx_flow *f)
{
    start(f);
    start(f);
}

static void bad_symbol(rlx_flow *f)
{
    const int64_t dims[] = {-3};
    rlx_flow_input(f, "ids", RLX_I32, 1, dims);
}

static void no_key(rlx_flow *f)
{
    start(f);
    rlx_flow_rms_norm(f, NULL, 1e-5);
}

static void hole_outside(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "model.layers.{}.weight");
}

static void add_without_save(rlx_flow *f)
{
    start(f);
    rlx_flow_residual_add(f);
}

static void add_of_outer_save(rlx_flow *f)
{
    start(f);
    rlx_flow_residual_save(f);
    rlx_flow_repeat_layers(f, 2, add_outer, NULL);
}

static void open_save(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 2, save_open, NULL);
}

static void nested_layers(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 2, nest, NULL);
}

static void output_in_layer(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 2, output_inside, NULL);
}

static void same_output(rlx_flow *f)
{
    start(f);
    rlx_flow_output(f, "y");
    rlx_flow_output(f, "y");
}

static void own_output(rlx_flow *f)
{
    start(f);
    rlx_flow_output(f, ":y");
}

static void attention_outside(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(f, &(rlx_attention_spec){.heads = 4, .kv_heads = 2, .head_dim = 8});
}

static void bad_heads(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(f, &(rlx_attention_spec){.heads = 4, .kv_heads = 3, .head_dim = 8});
}

static void bad_rotation(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(
        f, &(rlx_attention_spec){.heads = 4, .kv_heads = 2, .head_dim = 8, .rotary_dim = 3});
}

static void window_and_chunk(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(
        f,
        &(rlx_attention_spec){.heads = 4, .kv_heads = 2, .head_dim = 8, .window = 4, .chunk = 4});
}

static void block_of_seven(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(
        f, &(rlx_attention_spec){.heads = 4, .kv_heads = 2, .head_dim = 8, .block = 7});
}

static void shares_with_nobody(rlx_flow *f)
{
    start(f);
    rlx_flow_self_attention(
        f, &(rlx_attention_spec){
               .heads = 4, .kv_heads = 2, .head_dim = 8, .kv_shared = true, .kv_layer = 1});
}

static void two_ways_to_project(rlx_flow *f)
{
    start(f);
    rlx_flow_encoder_attention(
        f, &(rlx_encoder_attention_spec){.qkv_key = "a", .q_key = "b", .heads = 1, .head_dim = 4});
}

static void odd_tables(rlx_flow *f)
{
    start(f);
    rlx_flow_rope_tables(f, &(rlx_flow_rope_spec){.name = "t", .rotary_dim = 5, .theta = 1e4});
}

static void tables_without_theta(rlx_flow *f)
{
    start(f);
    rlx_flow_rope_tables(f, &(rlx_flow_rope_spec){.name = "t", .rotary_dim = 4});
}

static void layer_without_prefix(rlx_flow *f)
{
    start(f);
    rlx_flow_bert_encoder_layer(f, &(rlx_encoder_layer_spec){.heads = 1, .head_dim = 4});
}

static void scale_by_infinity(rlx_flow *f)
{
    start(f);
    rlx_flow_scale(f, 1e39);
}

static void probe_inside_nothing(rlx_flow *f)
{
    start(f);
    rlx_flow_swiglu(f, "gate", "up", "down");
    rlx_flow_probe_inside(f, "up", "mlp.up_proj");
    rlx_flow_probe_inside(f, "down", "mlp.down_proj");
}

static void probe_inside_of_outside(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_probe_inside(f, "up", "mlp.up_proj");
}

static void probe_inside_before_layer(rlx_flow *f)
{
    start(f);
    rlx_flow_swiglu(f, "gate", "up", "down");
    rlx_flow_repeat_layers(f, 1, probe_inside_of_outside, NULL);
}

static void rotary_in_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_probe_rotary(f, 4, "cos", "sin");
}

static void probe_rotary_in_layer(rlx_flow *f)
{
    start(f);
    rlx_flow_repeat_layers(f, 1, rotary_in_layer, NULL);
}

static const struct {
    void (*record)(rlx_flow *f);
    const char *error;
} mistakes[] = {
    {no_input, "embed before the flow's input"},
    {two_inputs, "input \"ids\": an input or output before it has that name"},
    {bad_symbol, "input \"ids\": dim 0 is neither >= 0 nor a symbol"},
    {no_key, "rms_norm's key is missing"},
    {hole_outside, "embed's key \"model.layers.{}.weight\" has {} outside of a layer"},
    {add_without_save, "residual_add without a residual_save"},
    {add_of_outer_save, "residual_add without a residual_save in its layer"},
    {open_save, "layer 0 leaves 1 residual_save open"},
    {nested_layers, "repeat_layers inside layer 0"},
    {output_in_layer, "output \"y\": an input or output before it has that name"},
    {same_output, "output \"y\": an input or output before it has that name"},
    {own_output, "output \":y\": names with a colon in front are rlx's own"},
    {attention_outside, "self_attention outside rlx_flow_repeat_layers"},
    {bad_heads, "heads 4 must be a multiple of kv_heads 3"},
    {bad_rotation, "3 elements of a head of 8 rotate"},
    {window_and_chunk, "self_attention: more than one of window, chunk and block"},
    {block_of_seven, "blocks of 7 positions: a block divides 256"},
    {shares_with_nobody, "layer 1 is no earlier one with keys and values of 2 heads of 8"},
    {two_ways_to_project, "encoder_attention: either qkv_key or q_key, k_key and v_key"},
    {odd_tables, "rope_tables for 5 elements: no even number"},
    {tables_without_theta, "rope_tables: theta is 0, not above 1"},
    {layer_without_prefix, "bert_encoder_layer without a prefix of keys"},
    {scale_by_infinity, "scale by 1e+39"},
    {probe_inside_nothing, "no value \"down\" inside the stage before it (swiglu)"},
    {probe_inside_before_layer, "no value \"up\" inside the stage before it (swiglu)"},
    {probe_rotary_in_layer, "probe_rotary of 4 elements in a layer"},
};
enum { NMISTAKES = sizeof(mistakes) / sizeof(mistakes[0]) };

static rlx_status build_with(const rlx_flow *f, const rlx_weights *w)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *hir;
    rlx_flow_outputs outputs;
    rlx_status st = rlx_flow_build(f, w, &(rlx_compile_options){0}, dims, &hir, &outputs);
    rlx_flow_outputs_deinit(&outputs);
    rlx_ir_module_destroy(hir);
    rlx_dims_destroy(dims);
    return st;
}

START_TEST(keeps_the_first_mistake)
{
    rlx_flow *f;
    rlx_weights *w;
    assert_ok(rlx_flow_create("wrong", &f));
    assert_ok(rlx_weights_create(&w));
    mistakes[_i].record(f);
    rlx_flow_output(f, NULL); /* another one, which is not told */
    assert_error(build_with(f, w), RLX_INVALID_ARGUMENT, mistakes[_i].error);
    assert_error(build_with(f, w), RLX_INVALID_ARGUMENT, mistakes[_i].error); /* and stays */
    rlx_weights_destroy(w);
    rlx_flow_destroy(f);
}
END_TEST

/* ---- mistakes that weights show ------------------------------------------------------------- */

static void record_attention(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_self_attention(f, &(rlx_attention_spec){.q_key = "{}.q",
                                                     .k_key = "{}.k",
                                                     .v_key = "{}.v",
                                                     .heads = 2,
                                                     .kv_heads = 1,
                                                     .head_dim = 4});
}

static void record_two_attentions(rlx_flow *f, int64_t index, void *user)
{
    record_attention(f, index, user);
    record_attention(f, index, user);
}

static void embed_all(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "w57");
}

static void missing_weights(rlx_flow *f)
{
    embed_all(f);
    rlx_flow_repeat_layers(f, 2, record_attention, NULL);
    rlx_flow_linear(f, "w88", "gone");
    rlx_flow_output(f, "y");
}

static void wrong_norm(rlx_flow *f)
{
    embed_all(f);
    rlx_flow_rms_norm(f, "v8", 1e-5);
    rlx_flow_output(f, "y");
}

static void wrong_bias(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "w58");
    rlx_flow_linear(f, "w88", "w88");
    rlx_flow_output(f, "y");
}

static void integer_weight(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "i55");
    rlx_flow_output(f, "y");
}

static void norm_of_ids(rlx_flow *f)
{
    start(f);
    rlx_flow_rms_norm(f, "v8", 1e-5);
    rlx_flow_output(f, "y");
}

static void no_output(rlx_flow *f)
{
    embed_all(f);
}

static void two_repeats(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "w58");
    rlx_flow_repeat_layers(f, 1, record_attention, NULL);
    rlx_flow_repeat_layers(f, 1, record_attention, NULL);
    rlx_flow_output(f, "y");
}

static void two_attentions(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "w58");
    rlx_flow_repeat_layers(f, 1, record_two_attentions, NULL);
    rlx_flow_output(f, "y");
}

static void rows_of_rows(rlx_flow *f)
{
    start(f);
    rlx_flow_embed(f, "w58");
    rlx_flow_select_rows(f);
    rlx_flow_select_rows(f);
    rlx_flow_output(f, "y");
}

static const struct {
    void (*record)(rlx_flow *f);
    rlx_code code;
    const char *error;
} misfits[] = {
    {missing_weights, RLX_NOT_FOUND, "4 weights are missing: 1.q, 1.k, 1.v, gone"},
    {wrong_norm, RLX_INVALID_ARGUMENT, "weight \"v8\" should be a float [7], got f32[8]"},
    {wrong_norm, RLX_INVALID_ARGUMENT, "stage 2 (rms_norm)"},
    {wrong_bias, RLX_INVALID_ARGUMENT, "weight \"w88\" should be a float [8], got f32[8,8]"},
    {integer_weight, RLX_INVALID_ARGUMENT, "weight \"i55\" should be a float [*,*], got i32[5,5]"},
    {norm_of_ids, RLX_INVALID_ARGUMENT, "takes f32[..,H] with a constant H, gets i32[TOKENS]"},
    {no_output, RLX_INVALID_ARGUMENT, "it has no output"},
    {two_repeats, RLX_UNSUPPORTED, "self_attention in a second rlx_flow_repeat_layers"},
    {two_attentions, RLX_UNSUPPORTED, "stage 1 (self_attention) of layer 0"},
    {rows_of_rows, RLX_INVALID_ARGUMENT, "takes f32[TOKENS,H], gets f32[ROWS,8]"},
};
enum { NMISFITS = sizeof(misfits) / sizeof(misfits[0]) };

START_TEST(names_what_does_not_fit)
{
    test_model m = {0};
    env_init(&m.env, 1);
    assert_ok(rlx_weights_create(&m.w));
    model_add_weight(&m, "w57", RLX_F32, 2, (int64_t[]){5, 7});
    model_add_weight(&m, "w58", RLX_F32, 2, (int64_t[]){5, 8});
    model_add_weight(&m, "w88", RLX_F32, 2, (int64_t[]){8, 8});
    model_add_weight(&m, "i55", RLX_I32, 2, (int64_t[]){5, 5});
    model_add_weight(&m, "v8", RLX_F32, 1, (int64_t[]){8});
    model_add_weight(&m, "0.q", RLX_F32, 2, (int64_t[]){8, 8});
    model_add_weight(&m, "0.k", RLX_F32, 2, (int64_t[]){4, 8});
    model_add_weight(&m, "0.v", RLX_F32, 2, (int64_t[]){4, 8});
    assert_ok(rlx_flow_create("misfit", &m.flow));
    misfits[_i].record(m.flow);
    assert_error(build_with(m.flow, m.w), misfits[_i].code, misfits[_i].error);
    model_deinit(&m);
}
END_TEST

/* ---- distinct layers ------------------------------------------------------------------------ */

static void load(test_model *m, const char *config)
{
    model_init(m, model_config(config));
    assert_ok(model_make_flow(m));
}

static int count_calls(const test_model *m)
{
    int n = 0;
    for (const rlx_ir_node *i = rlx_ir_func_find(m->hir, "main")->body->first; i; i = i->next)
        n += i->op == RLX_HIR_CALL;
    return n;
}

START_TEST(equal_layers_share_a_function)
{
    test_model m;
    rlx_layer_composition c;
    load(&m, "\"num_hidden_layers\": 5");
    assert_ok(model_build(&m, NULL, 0));
    ck_assert_int_eq(model_count_layers(&m), 1);
    ck_assert_int_eq(count_calls(&m), 1);
    assert_ok(rlx_flow_get_composition(m.hir, &c));
    ck_assert_int_eq(c.kind, RLX_COMPOSITION_HOMOGENEOUS);
    ck_assert_int_eq(c.runs[0].first, 0);
    ck_assert_int_eq(c.runs[0].count, 5);
    rlx_layer_composition_deinit(&c);
    model_deinit(&m);
}
END_TEST

/* Layers whose weights come in different formats, as a mixed file has them. */
static void load_mixed(test_model *m, const rlx_format *formats, int n)
{
    char config[64], name[64];
    *m = (test_model){0};
    snprintf(config, sizeof(config), "\"num_hidden_layers\": %d", n);
    model_init(m, model_config(config));
    test_model mixed = {.json = m->json};
    env_init(&mixed.env, 3);
    assert_ok(rlx_weights_create(&mixed.w));
    for (int i = 0; i < rlx_weights_count(m->w); i++) {
        const rlx_tensor *t = rlx_weights_at(m->w, i);
        rlx_format f = t->format;
        for (int layer = 0; layer < n; layer++) {
            snprintf(name, sizeof(name), "model.layers.%d.mlp.down_proj.weight", layer);
            f = strcmp(name, t->name) ? f : formats[layer];
        }
        model_add_weight(&mixed, t->name, f, t->rank, t->dim);
    }
    m->json = NULL;
    model_deinit(m);
    *m = mixed;
    m->env.eval.user = &m->env; /* it moved */
    m->env.eval.symbols = m->env.symbols;
    assert_ok(model_make_flow(m));
    assert_ok(model_build(m, NULL, 0));
}

START_TEST(formats_make_layers_distinct)
{
    test_model m;
    rlx_layer_composition c;
    rlx_text text = {0};
    load_mixed(&m, (rlx_format[]){RLX_F32, RLX_BF16, RLX_BF16, RLX_F32, RLX_BF16}, 5);
    ck_assert_int_eq(model_count_layers(&m), 2);
    ck_assert_int_eq(count_calls(&m), 4);
    assert_ok(rlx_flow_get_composition(m.hir, &c));
    ck_assert_int_eq(c.kind, RLX_COMPOSITION_SEQUENCE);
    ck_assert_int_eq(c.n, 4);
    ck_assert_int_eq(c.runs[1].count, 2);
    ck_assert_mem_eq(&c.runs[0].fingerprint, &c.runs[2].fingerprint, sizeof(rlx_hash));
    ck_assert_mem_ne(&c.runs[0].fingerprint, &c.runs[1].fingerprint, sizeof(rlx_hash));
    assert_ok(rlx_flow_print_composition(m.hir, &text));
    ck_assert_ptr_nonnull(strstr(text.data, "sequence {\n  layer @layer_0 x1 from 0  "));
    ck_assert_ptr_nonnull(strstr(text.data, "  layer @layer_1 x2 from 1  "));
    rlx_text_deinit(&text);
    rlx_layer_composition_deinit(&c);
    model_deinit(&m);
}
END_TEST

START_TEST(two_runs_are_a_pair)
{
    test_model m;
    rlx_layer_composition c;
    load_mixed(&m, (rlx_format[]){RLX_F16, RLX_F16, RLX_F32}, 3);
    assert_ok(rlx_flow_get_composition(m.hir, &c));
    ck_assert_int_eq(c.kind, RLX_COMPOSITION_PAIR);
    ck_assert_int_eq(c.runs[0].count, 2);
    rlx_layer_composition_deinit(&c);
    model_deinit(&m);
    load_mixed(&m, (rlx_format[]){RLX_F16}, 1);
    assert_ok(rlx_flow_get_composition(m.hir, &c));
    ck_assert_int_eq(c.kind, RLX_COMPOSITION_SINGLE);
    rlx_layer_composition_deinit(&c);
    model_deinit(&m);
}
END_TEST

/* ---- probes --------------------------------------------------------------------------------- */

static rlx_eval_tensor *result(const test_model *m, rlx_eval_tensor *results, const char *name)
{
    for (int i = 0; i < m->outputs.n; i++)
        if (!strcmp(m->outputs.name[i], name))
            return &results[i];
    ck_abort_msg("no result %s", name);
}

static void set_prompt(test_model *m)
{
    model_bind(m);
    model_set_step(m, &m->env, 4, (int32_t[]){3, 1, 4, 1}, (int32_t[]){0, 0, 0, 0},
                   (int32_t[]){0, 1, 2, 3});
}

START_TEST(probes_split_calls_and_change_nothing)
{
    static const char *const probes[] = {"model.layers.2",
                                         "lm_head",
                                         "model.layers.1.self_attn",
                                         "model.layers.1.mlp",
                                         "model.embed_tokens",
                                         "model.layers.2",
                                         "model.norm",
                                         "model.layers.0"};
    test_model plain, m;
    rlx_eval_tensor want[1], got[8];
    load(&plain, "\"num_hidden_layers\": 5");
    load(&m, "\"num_hidden_layers\": 5");
    assert_ok(model_build(&plain, NULL, 0));
    assert_ok(model_build(&m, probes, 8));
    ck_assert_int_eq(m.outputs.n, 8); /* one path was asked for twice */
    ck_assert_str_eq(m.outputs.name[0], "logits");
    ck_assert_str_eq(m.outputs.name[1], "probe:model.layers.2");
    ck_assert_int_eq(model_count_layers(&m), 2); /* layer 1 returns more */
    ck_assert_int_eq(count_calls(&m), 4);        /* 0 | 1 | 2 | 3..4 */
    set_prompt(&plain);
    set_prompt(&m);
    model_run(&plain, want);
    model_run(&m, got);
    ck_assert(env_distance(&want[0], &got[0]) == 0);
    ck_assert(env_distance(&got[0], result(&m, got, "probe:lm_head")) == 0);
    /* layer 1 = layer 0 + self_attn + mlp of layer 1 */
    const rlx_eval_tensor *x0 = result(&m, got, "probe:model.layers.0");
    const rlx_eval_tensor *attn = result(&m, got, "probe:model.layers.1.self_attn");
    const rlx_eval_tensor *mlp = result(&m, got, "probe:model.layers.1.mlp");
    ck_assert(env_distance(attn, mlp) > 0.01);
    test_model after; /* the sum, as a probe of its own */
    rlx_eval_tensor x1[2];
    load(&after, "\"num_hidden_layers\": 5");
    assert_ok(model_build(&after, (const char *const[]){"model.layers.1"}, 1));
    set_prompt(&after);
    model_run(&after, x1);
    for (int64_t i = 0; i < env_elems(x0); i++)
        ck_assert_double_eq_tol(env_at(&x1[1], i), env_at(x0, i) + env_at(attn, i) + env_at(mlp, i),
                                2e-6);
    model_free_results(&after, x1);
    model_free_results(&plain, want);
    model_free_results(&m, got);
    model_deinit(&after);
    model_deinit(&plain);
    model_deinit(&m);
}
END_TEST

static int count_nodes(const test_model *m)
{
    int n = 0;
    for (const rlx_ir_func *f = m->hir->first; f; f = f->next)
        for (const rlx_ir_node *node = f->body->first; node; node = node->next)
            n++;
    return n;
}

/* Values that only probes need are built for them alone. */
START_TEST(probes_inside_cost_nothing_unless_asked)
{
    static const char *const probes[] = {"model.layers.1.mlp.act_fn", "model.rotary_emb.0",
                                         "model.layers.1.self_attn.q_norm",
                                         "model.layers.1.self_attn.k_proj"};
    test_model m;
    load(&m, "\"num_hidden_layers\": 3, \"model_type\": \"qwen3\", \"rope_interleaved\": true, "
             "\"architectures\": [\"Qwen3ForCausalLM\"]");
    for (int i = 0; i < 4; i++) {
        assert_ok(model_build(&m, NULL, 0));
        const int without = count_nodes(&m);
        ck_assert_int_eq(model_count_layers(&m), 1);
        assert_ok(model_build(&m, probes + i, 1));
        ck_assert_int_gt(count_nodes(&m), without);
    }
    model_deinit(&m);
}
END_TEST

/* Files whose rotary pairs are neighbours: the same rows in another order, and probes see them in
 * one. */
START_TEST(probed_heads_have_one_order)
{
    static const char *const probes[] = {"model.layers.0.self_attn.q_proj",
                                         "model.layers.0.self_attn.k_proj"};
    test_model m[2];
    rlx_eval_tensor got[2][3];
    for (int i = 0; i < 2; i++) {
        load(&m[i], i ? "\"rope_interleaved\": true" : "");
        assert_ok(model_build(&m[i], probes, 2));
        set_prompt(&m[i]);
        model_run(&m[i], got[i]);
    }
    for (int k = 1; k < 3; k++)
        for (int64_t i = 0; i < env_elems(&got[0][k]); i++) {
            const int64_t head = i - i % 10, d = i % 10; /* D is 10 */
            ck_assert_double_eq(env_at(&got[1][k], head + d / 2 + d % 2 * 5),
                                env_at(&got[0][k], i));
        }
    for (int i = 0; i < 2; i++) {
        model_free_results(&m[i], got[i]);
        model_deinit(&m[i]);
    }
}
END_TEST

START_TEST(unknown_probes_name_the_nearest)
{
    test_model m;
    load(&m, "\"num_hidden_layers\": 5");
    assert_error(
        model_build(&m, (const char *const[]){"model.layer.3"}, 1), RLX_NOT_FOUND,
        "no probe point \"model.layer.3\"; did you mean \"model.layers.3\", \"model.layers.");
    assert_error(model_build(&m, (const char *const[]){"model.layers.5"}, 1), RLX_NOT_FOUND,
                 "no probe point \"model.layers.5\"; did you mean \"model.layers.0\", "
                 "\"model.layers.1\", \"model.layers.2\", \"model.layers.3\"?");
    assert_error(model_build(&m, (const char *const[]){"model.layers.0.self_attn.q_prj"}, 1),
                 RLX_NOT_FOUND, "did you mean \"model.layers.0.self_attn.q_proj\"");
    assert_error(model_build(&m, (const char *const[]){"blocks.0"}, 1), RLX_NOT_FOUND,
                 "no probe point \"blocks.0\"; there are \"model.embed_tokens\", ");
    model_deinit(&m);
}
END_TEST

/* ---- text ----------------------------------------------------------------------------------- */

START_TEST(prints_stages_and_folds_equal_layers)
{
    test_model m;
    rlx_text text = {0};
    load(&m, "\"num_hidden_layers\": 3");
    rlx_flow_print(m.flow, &text);
    static const char *const lines[] = {
        "flow @llama {\n  input \"ids\" i32[TOKENS]\n  embed key=\"model.embed_tokens.weight\"\n",
        "\n  layers 0..2 {\n    residual_save\n    rms_norm "
        "key=\"model.layers.{}.input_layernorm.weight\" "
        "eps=1e-05\n",
        " heads=6 kv_heads=2 head_dim=10 scale=0.316",
        "\n    probe_point \"model.layers.{}.self_attn.k_proj\" of k\n",
        "\n    probe_point \"model.layers.{}\"\n  }\n  select_rows\n",
        "\n  lm_head key=\"lm_head.weight\"\n  probe_point \"lm_head\"\n  output \"logits\"\n}\n"};
    const char *at = text.data;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        at = strstr(at, lines[i]);
        ck_assert_msg(at != NULL, "no \"%s\" in its place in:\n%s", lines[i], text.data);
    }
    rlx_text_deinit(&text);
    model_deinit(&m);
}
END_TEST

START_TEST(module_round_trips)
{
    test_model m;
    rlx_ir_module *again;
    rlx_text a = {0}, b = {0};
    load(&m, "\"num_hidden_layers\": 3, \"attention_bias\": true");
    assert_ok(model_build(&m, (const char *const[]){"model.layers.1.mlp"}, 1));
    rlx_ir_print(m.hir, 0, &a);
    assert_ok(rlx_ir_parse(&rlx_hir_level, m.env.dims, "again", a.data, &again));
    assert_ok(rlx_ir_verify(again));
    rlx_ir_print(again, 0, &b);
    ck_assert_str_eq(a.data, b.data);
    rlx_ir_module_destroy(again);
    rlx_text_deinit(&a);
    rlx_text_deinit(&b);
    model_deinit(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("flow");
    TCase *c = tcase_create("flow");
    tcase_add_loop_test(c, keeps_the_first_mistake, 0, NMISTAKES);
    tcase_add_loop_test(c, names_what_does_not_fit, 0, NMISFITS);
    tcase_add_test(c, equal_layers_share_a_function);
    tcase_add_test(c, formats_make_layers_distinct);
    tcase_add_test(c, two_runs_are_a_pair);
    tcase_add_test(c, probes_split_calls_and_change_nothing);
    tcase_add_test(c, probes_inside_cost_nothing_unless_asked);
    tcase_add_test(c, probed_heads_have_one_order);
    tcase_add_test(c, unknown_probes_name_the_nearest);
    tcase_add_test(c, prints_stages_and_folds_equal_layers);
    tcase_add_test(c, module_round_trips);
    suite_add_tcase(s, c);
    return run_suite(s, NMISTAKES + NMISFITS + 9);
}
