/* tests/flow/test_families.c: where Llama's relatives depart from it: distinct layers, windows,
 * layers that do not rotate, defaults and refusals. Their numbers are held against the reference's
 * in test_llama.c and by the conformance program. */
#include <math.h>

#include "tests/base/suite.h"
#include "tests/flow/model.h"

#define FAMILY(type, class) "\"model_type\": \"" type "\", \"architectures\": [\"" class "\"]"
#define MISTRAL FAMILY("mistral", "MistralForCausalLM")
#define PHI3 FAMILY("phi3", "Phi3ForCausalLM")
#define QWEN2 FAMILY("qwen2", "Qwen2ForCausalLM")
#define QWEN3 FAMILY("qwen3", "Qwen3ForCausalLM")
#define SMOLLM3 FAMILY("smollm3", "SmolLM3ForCausalLM") ", \"tie_word_embeddings\": false"
#define SIX ", \"num_hidden_layers\": 6"
#define WINDOW ", \"sliding_window\": 3, \"use_sliding_window\": true"
#define SLIDES "\"sliding_attention\""
#define FULL "\"full_attention\""

/* ---- distinct layers ------------------------------------------------------------------------ */

static const struct {
    const char *config;
    int functions; /* distinct layers; k_proj and up_proj make none */
    rlx_composition_kind kind;
} layered[] = {
    {MISTRAL SIX, 1, RLX_COMPOSITION_HOMOGENEOUS},
    {MISTRAL SIX ", \"sliding_window\": null", 1, RLX_COMPOSITION_HOMOGENEOUS},
    {PHI3 SIX ", \"sliding_window\": 3", 1, RLX_COMPOSITION_HOMOGENEOUS},
    {QWEN2 SIX WINDOW, 1, RLX_COMPOSITION_HOMOGENEOUS}, /* full up to layer 28 */
    {QWEN2 SIX WINDOW ", \"max_window_layers\": 2", 2, RLX_COMPOSITION_PAIR},
    {QWEN2 SIX ", \"sliding_window\": 3, \"max_window_layers\": 2", 1, RLX_COMPOSITION_HOMOGENEOUS},
    {QWEN3 SIX WINDOW ", \"layer_types\": [" SLIDES "," FULL "," SLIDES "," FULL "," SLIDES "," FULL
                      "]",
     2, RLX_COMPOSITION_SEQUENCE},
    {QWEN3 SIX, 1, RLX_COMPOSITION_HOMOGENEOUS},
    {SMOLLM3 SIX, 2, RLX_COMPOSITION_SEQUENCE}, /* the fourth does not rotate */
    {SMOLLM3 SIX WINDOW, 2, RLX_COMPOSITION_SEQUENCE},
    {SMOLLM3 SIX ", \"no_rope_layers\": [0, 0, 0, 0, 0, 0]", 1, RLX_COMPOSITION_HOMOGENEOUS},
    /* windows and rotations in every combination */
    {SMOLLM3 SIX WINDOW ", \"no_rope_layers\": [0, 0, 1, 1, 0, 1], \"layer_types\": [" FULL
                        "," SLIDES "," FULL "," SLIDES "," FULL "," FULL "]",
     4, RLX_COMPOSITION_SEQUENCE},
};
enum { NLAYERED = sizeof(layered) / sizeof(layered[0]) };

static void load(test_model *m, const char *config)
{
    model_init(m, model_config(config));
    assert_ok(model_make_flow(m));
    assert_ok(model_build(m, NULL, 0));
    model_bind(m);
}

START_TEST(layers_differ_where_they_do)
{
    test_model m;
    rlx_layer_composition c;
    load(&m, layered[_i].config);
    ck_assert_int_eq(model_count_layers(&m), layered[_i].functions);
    assert_ok(rlx_flow_get_composition(m.hir, &c));
    ck_assert_int_eq(c.kind, layered[_i].kind);
    rlx_layer_composition_deinit(&c);
    model_deinit(&m);
}
END_TEST

/* ---- the same by every way ------------------------------------------------------------------ */

static const int32_t ids[] = {5, 46, 0, 7, 7, 21, 33, 2, 9, 11, 30};
static const int32_t seqs[] = {0, 2, 0, 0, 2, 0, 2, 0, 2, 2, 0};
static const int32_t places[] = {0, 0, 1, 2, 1, 3, 2, 4, 3, 4, 5};

START_TEST(lowered_equals_evaluated)
{
    test_model m;
    test_env other;
    rlx_ir_module *mir;
    rlx_eval_tensor by_hir, by_mir;
    load(&m, layered[_i].config);
    assert_ok(rlx_hir_lower(m.hir, &mir));
    assert_ok(rlx_mir_optimize(mir));
    env_copy(&other, &m.env);
    model_set_step(&m, &m.env, 11, ids, seqs, places);
    model_set_step(&m, &other, 11, ids, seqs, places);
    memcpy(other.symbols, m.env.symbols, sizeof(other.symbols));
    model_run(&m, &by_hir);
    assert_ok(rlx_mir_eval(mir, "main", &other.eval, &by_mir, 1));
    const double d = env_distance(&by_hir, &by_mir);
    ck_assert_msg(d < 1e-5, "differs by %g", d);
    free(by_hir.data);
    free(by_mir.data);
    rlx_ir_module_destroy(mir);
    env_deinit(&other);
    model_deinit(&m);
}
END_TEST

/* ---- config.json ---------------------------------------------------------------------------- */

START_TEST(classes_have_their_defaults)
{
    static const struct {
        const char *config;
        int64_t kv_heads, head_dim;
    } cases[] = {
        {MISTRAL ", \"num_attention_heads\": 8, \"num_key_value_heads\": 8, \"hidden_size\": 80", 8,
         10},
        {QWEN3 ", \"head_dim\": 128", 2, 128},
    };
    for (int i = 0; i < 2; i++) {
        test_model m;
        model_init(&m, model_config(cases[i].config));
        cJSON_DeleteItemFromObjectCaseSensitive(m.json, i ? "head_dim" : "num_key_value_heads");
        assert_ok(model_make_flow(&m));
        ck_assert_int_eq(m.config.kv_heads, cases[i].kv_heads);
        ck_assert_int_eq(m.config.head_dim, cases[i].head_dim);
        model_deinit(&m);
    }
}
END_TEST

/* The second pair's cosine at position 1 tells the base. */
START_TEST(smollm3_has_its_own_base)
{
    test_model m;
    const int32_t one = 1;
    float c[5], s[5];
    model_init(&m, model_config(SMOLLM3));
    assert_ok(model_make_flow(&m));
    rlx_rope_tables(m.config.rope, &one, 1, c, s);
    ck_assert_double_eq_tol(c[1], cos(pow(2e6, -0.2)), 1e-7);
    model_deinit(&m);
}
END_TEST

START_TEST(smollm3_is_tied_unless_it_says_no)
{
    test_model m;
    model_init(&m, model_config(SMOLLM3));
    cJSON_DeleteItemFromObjectCaseSensitive(m.json, "tie_word_embeddings");
    assert_ok(model_make_flow(&m)); /* with a head of its own in the file: that one is used */
    model_deinit(&m);
    model_init(&m, model_config(SMOLLM3 ", \"tie_word_embeddings\": true")); /* no such weight */
    cJSON_DeleteItemFromObjectCaseSensitive(m.json, "tie_word_embeddings");
    assert_ok(model_make_flow(&m));
    model_deinit(&m);
}
END_TEST

/* Parts of fused matrices lie where their rows lie. */
START_TEST(fused_matrices_are_parted)
{
    static const struct {
        const char *part, *fused;
        int64_t first, rows, columns;
        size_t bytes; /* of an element */
    } parts[] = {{"self_attn.q_proj", "self_attn.qkv_proj", 0, 60, 36, 4},
                 {"self_attn.k_proj", "self_attn.qkv_proj", 60, 20, 36, 4},
                 {"self_attn.v_proj", "self_attn.qkv_proj", 80, 20, 36, 4},
                 {"mlp.gate_proj", "mlp.gate_up_proj", 0, 53, 36, 2},
                 {"mlp.up_proj", "mlp.gate_up_proj", 53, 53, 36, 2}};
    test_model m;
    char name[96];
    model_init(&m, model_config(PHI3));
    const int64_t bytes = rlx_weights_bytes(m.w);
    assert_ok(model_make_flow(&m));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "model.layers.1.%s.weight", parts[i].fused);
        const rlx_tensor *fused = rlx_weights_find(m.w, name);
        snprintf(name, sizeof name, "model.layers.1.%s.weight", parts[i].part);
        const rlx_tensor *part = rlx_weights_find(m.w, name);
        const size_t row = parts[i].bytes * (size_t)parts[i].columns;
        ck_assert(fused && part);
        ck_assert_ptr_eq(part->data, (const char *)fused->data + row * (size_t)parts[i].first);
        ck_assert_int_eq(part->dim[0], parts[i].rows);
        ck_assert_int_eq(part->dim[1], parts[i].columns);
        ck_assert_uint_eq(part->bytes, row * (size_t)parts[i].rows);
    }
    ck_assert_int_eq(rlx_weights_bytes(m.w), bytes); /* nothing was copied */
    model_deinit(&m);
}
END_TEST

static const struct {
    const char *config;
    rlx_code code;
    const char *error;
} refused[] = {
    {PHI3 ", \"intermediate_size\": 54", RLX_INVALID_FILE,
     "weight 'model.layers.0.mlp.gate_up_proj.weight' has 106 rows, and by the config 108"},
    {MISTRAL ", \"sliding_window\": 0", RLX_INVALID_FILE, "sliding_window is 0, out of range"},
    {MISTRAL ", \"architectures\": [\"LlamaForCausalLM\"]", RLX_UNSUPPORTED,
     "architecture LlamaForCausalLM (MistralForCausalLM and MistralModel are supported)"},
    {QWEN2 WINDOW ", \"layer_types\": [" FULL "]", RLX_INVALID_FILE,
     "layer_types is no list of num_hidden_layers 2"},
    {QWEN2 WINDOW ", \"layer_types\": [" FULL ", \"chunked_attention\"]", RLX_UNSUPPORTED,
     "layer_types[1] \"chunked_attention\""},
    {QWEN3 ", \"layer_types\": [" FULL ", " SLIDES "]", RLX_INVALID_FILE,
     "layer_types[1] slides, and there is no sliding_window"},
    {QWEN3 ", \"use_sliding_window\": 1", RLX_INVALID_FILE, "use_sliding_window is 1"},
    {QWEN3 ", \"attention_bias\": true", RLX_NOT_FOUND,
     "8 weights are missing: model.layers.0.self"},
    {MISTRAL ", \"rope_theta\": -1", RLX_INVALID_FILE,
     "config.json: rope_theta is -1, not above 1"},
    {MISTRAL ", \"rope_parameters\": \"x\"", RLX_INVALID_FILE,
     "config.json: rope_parameters is \"x\", not an object"},
    {MISTRAL ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0}", RLX_INVALID_FILE,
     "config.json: factor is 0, not a positive number"},
    {MISTRAL ", \"eos_token_id\": 1000000", RLX_INVALID_FILE,
     "config.json: eos_token_id is 1000000, out of range: 0 to"},
    {SMOLLM3 ", \"no_rope_layers\": [1]", RLX_INVALID_FILE,
     "no_rope_layers is no list of num_hidden_layers 2"},
    {SMOLLM3 ", \"no_rope_layers\": [1, 2]", RLX_INVALID_FILE, "no_rope_layers[1] is not 0 or 1"},
    {SMOLLM3 ", \"no_rope_layer_interval\": 0", RLX_INVALID_FILE,
     "no_rope_layer_interval is 0, out of range"},
};
enum { NREFUSED = sizeof(refused) / sizeof(refused[0]) };

START_TEST(refuses_by_name)
{
    test_model m;
    char family[256];
    /* the weights of the family, without what is wrong */
    const char *comma = strchr(refused[_i].config, ']');
    snprintf(family, sizeof(family), "%.*s", (int)(comma - refused[_i].config) + 1,
             refused[_i].config);
    model_init(&m, model_config(family));
    cJSON_Delete(m.json);
    m.json = model_config(refused[_i].config);
    assert_error(model_make_flow(&m), refused[_i].code, refused[_i].error);
    ck_assert_ptr_null(m.flow);
    model_deinit(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("families");
    TCase *c = tcase_create("families");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, layers_differ_where_they_do, 0, NLAYERED);
    tcase_add_loop_test(c, lowered_equals_evaluated, 0, NLAYERED);
    tcase_add_test(c, classes_have_their_defaults);
    tcase_add_test(c, fused_matrices_are_parted);
    tcase_add_test(c, smollm3_has_its_own_base);
    tcase_add_test(c, smollm3_is_tied_unless_it_says_no);
    tcase_add_loop_test(c, refuses_by_name, 0, NREFUSED);
    suite_add_tcase(s, c);
    return run_suite(s, 2 * NLAYERED + 4 + NREFUSED);
}
