/* tests/flow/test_llama.c: a Llama through flow and HIR: the lowered module against the HIR
 * evaluator, decoding against prefill, config.json's keys, and the reference implementation's
 * numbers where they are at hand. */
#include <dirent.h>
#include <math.h>

#include "tests/base/suite.h"
#include "tests/flow/model.h"
#include "tests/lower/cpu_target.h"

/* ---- the same by every way ------------------------------------------------------------------ */

enum { PROMPT = 9 };
/* two sequences, interleaved; then one more token of each */
static const int32_t ids[] = {5, 46, 0, 7, 7, 21, 33, 2, 9, 11, 30};
static const int32_t seqs[] = {0, 2, 0, 0, 2, 0, 2, 0, 2, 2, 0};
static const int32_t places[] = {0, 0, 1, 2, 1, 3, 2, 4, 3, 4, 5};

static void load(test_model *m, const char *config)
{
    model_init(m, model_config(config));
    assert_ok(model_make_flow(m));
    assert_ok(model_build(m, NULL, 0));
    model_bind(m);
}

START_TEST(lowered_equals_evaluated)
{
    static const char *const configs[] = {
        "", "\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true",
        "\"architectures\": [\"LlamaModel\"]"};
    test_model m;
    test_env other;
    rlx_ir_module *mir;
    rlx_eval_tensor by_hir, by_mir;
    load(&m, configs[_i]);
    assert_ok(rlx_hir_lower(m.hir, &mir));
    env_copy(&other, &m.env);
    for (int from = 0, n = PROMPT; from < 11; from += n, n = 2) {
        model_set_step(&m, &m.env, n, ids + from, seqs + from, places + from);
        model_set_step(&m, &other, n, ids + from, seqs + from, places + from);
        memcpy(other.symbols, m.env.symbols, sizeof(other.symbols)); /* m's table is the module's */
        model_run(&m, &by_hir);
        assert_ok(rlx_mir_eval(mir, "main", &other.eval, &by_mir, 1));
        const double d = env_distance(&by_hir, &by_mir);
        ck_assert_msg(d < 1e-5, "step from token %d differs by %g", from, d);
        free(by_hir.data);
        free(by_mir.data);
    }
    rlx_ir_module_destroy(mir);
    env_deinit(&other);
    model_deinit(&m);
}
END_TEST

/* Probes make results of values that are used further on, results twice, and calls with several
 * results: every level below must bear that. */
START_TEST(probes_pass_fusion_and_lowering)
{
    static const char *const probes[] = {"lm_head",
                                         "model.embed_tokens",
                                         "model.layers.0.self_attn",
                                         "model.layers.0.input_layernorm",
                                         "model.layers.0.self_attn.q_proj",
                                         "model.layers.0.self_attn.k_proj",
                                         "model.layers.0.self_attn.v_proj",
                                         "model.layers.1.mlp.gate_proj",
                                         "model.layers.1.mlp.up_proj",
                                         "model.layers.1.mlp.act_fn",
                                         "model.layers.1.mlp.down_proj",
                                         "model.layers.1.mlp",
                                         "model.layers.1",
                                         "model.rotary_emb.0",
                                         "model.rotary_emb.1",
                                         "model",
                                         "model.norm"};
    enum { NPROBES = sizeof(probes) / sizeof(probes[0]) };
    const rlx_lir_target target = cpu_target_of(1 << 20, 1 << 20);
    int64_t upper[RLX_MAX_SYMBOLS];
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        upper[i] = 16;
    const rlx_mir_lower_options options = {.target = &target, .upper = upper};
    test_model m;
    test_env other;
    rlx_ir_module *mir, *lir;
    rlx_eval_tensor by_hir[NPROBES + 1], by_mir[NPROBES + 1];
    model_init(&m, model_config(""));
    assert_ok(model_make_flow(&m));
    assert_ok(model_build(&m, probes, NPROBES));
    model_bind(&m);
    model_set_step(&m, &m.env, PROMPT, ids, seqs, places);
    env_copy(&other, &m.env);
    assert_ok(rlx_hir_lower(m.hir, &mir));
    assert_ok(rlx_mir_optimize(mir));
    model_run(&m, by_hir);
    assert_ok(rlx_mir_eval(mir, "main", &other.eval, by_mir, m.outputs.n));
    for (int i = 0; i < m.outputs.n; i++) {
        const double d = env_distance(&by_hir[i], &by_mir[i]);
        ck_assert_msg(d < 1e-5, "%s differs by %g", m.outputs.name[i], d);
        free(by_mir[i].data);
    }
    assert_ok(rlx_mir_lower(mir, &options, &lir));
    model_free_results(&m, by_hir);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    env_deinit(&other);
    model_deinit(&m);
}
END_TEST

START_TEST(decoding_equals_prefill)
{
    test_model m, whole;
    rlx_eval_tensor step, all;
    load(&m, "");
    load(&whole, "");
    model_set_step(&whole, &whole.env, 11, ids, seqs, places);
    model_run(&whole, &all);
    const int64_t vocab = m.config.vocab;
    for (int from = 0, n = PROMPT; from < 11; from += n, n = 1) {
        model_set_step(&m, &m.env, n, ids + from, seqs + from, places + from);
        model_run(&m, &step);
        for (int64_t i = 0; i < n * vocab; i++) /* the same sums, in f64, rounded alike */
            ck_assert(env_at(&step, i) == env_at(&all, from * vocab + i));
        free(step.data);
    }
    free(all.data);
    model_deinit(&m);
    model_deinit(&whole);
}
END_TEST

/* ---- config.json ---------------------------------------------------------------------------- */

START_TEST(reads_the_config)
{
    test_model m;
    model_init(&m, model_config("\"bos_token_id\": 1, \"eos_token_id\": [2, 5]"));
    assert_ok(model_make_flow(&m));
    ck_assert_str_eq(m.config.family, "llama");
    ck_assert_str_eq(m.config.output, "logits");
    ck_assert_int_eq(m.config.layers, 2);
    ck_assert_int_eq(m.config.hidden, 36);
    ck_assert_int_eq(m.config.vocab, 47);
    ck_assert_int_eq(m.config.heads, 6);
    ck_assert_int_eq(m.config.kv_heads, 2);
    ck_assert_int_eq(m.config.head_dim, 10);
    ck_assert_int_eq(m.config.max_positions, 512);
    ck_assert_int_eq(m.config.bos, 1);
    ck_assert_int_eq(m.config.neos, 2);
    ck_assert_int_eq(m.config.eos[1], 5);
    ck_assert_int_eq(rlx_rope_dim(m.config.rope), 10);
    model_deinit(&m);
}
END_TEST

START_TEST(headless_models_give_hidden_states)
{
    test_model m;
    load(&m, "\"architectures\": [\"LlamaModel\"]");
    ck_assert_str_eq(m.config.output, "last_hidden_state");
    ck_assert_int_eq(m.config.bos, -1);
    ck_assert_int_eq(m.config.neos, 0);
    ck_assert_str_eq(m.outputs.name[0], "last_hidden_state");
    assert_error(model_build(&m, (const char *const[]){"model.norm"}, 1), RLX_NOT_FOUND, "norm");
    model_deinit(&m);
}
END_TEST

#define ROPE(body) "\"rope_scaling\": {" body "}"
static const struct {
    const char *config;
    rlx_code code;
    const char *error;
} refused[] = {
    {"\"hidden_act\": \"gelu\"", RLX_UNSUPPORTED, "hidden_act \"gelu\""},
    {"\"quantization_config\": {\"bits\": 4}", RLX_UNSUPPORTED, "quantization_config"},
    {"\"architectures\": [\"LlamaForSequenceClassification\"]", RLX_UNSUPPORTED,
     "LlamaForSequenceClassification"},
    {ROPE("\"rope_type\": \"ntk\", \"factor\": 2"), RLX_UNSUPPORTED, "rope_type \"ntk\""},
    {ROPE("\"rope_type\": \"longrope\", \"factor\": 2"), RLX_INVALID_FILE,
     "short_factor is no list of 5 numbers"},
    {ROPE("\"type\": \"longrope\", \"short_factor\": [1,1,1,1,1], \"long_factor\": [1,1,1,1]"),
     RLX_INVALID_FILE, "long_factor is no list of 5 numbers"},
    {ROPE("\"type\": \"longrope\", \"short_factor\": [1,1,1,1,1], \"long_factor\": [1,1,true,1,1]"),
     RLX_INVALID_FILE, "long_factor is true, not a number"},
    {ROPE("\"type\": \"longrope\", \"short_factor\": [1,1,1,1,1], \"long_factor\": [1,1,0,1,1]"),
     RLX_INVALID_FILE, "config.json: long_factor is 0, not all above 0"},
    {ROPE("\"full_attention\": {\"rope_theta\": 1e4}"), RLX_UNSUPPORTED,
     "nested by layer type (\"full_attention\")"},
    {"\"partial_rotary_factor\": 0", RLX_INVALID_FILE,
     "partial_rotary_factor is 0, out of range: above 0, to 1"},
    {"\"partial_rotary_factor\": 0.5", RLX_INVALID_FILE, "5 rotating elements of heads of 10"},
    {"\"architectures\": \"LlamaForCausalLM\"", RLX_INVALID_FILE,
     "architectures is no list of names"},
    {"\"architectures\": [5]", RLX_INVALID_FILE, "architectures is no list of names"},
    {"\"rms_norm_eps\": -1e-5", RLX_INVALID_FILE, "rms_norm_eps is -1e-05, out of range: 0 to 1"},
    {"\"rms_norm_eps\": 1e300", RLX_INVALID_FILE, "rms_norm_eps is 1e+300"},
    {ROPE("\"type\": \"linear\", \"factor\": 1e300"), RLX_INVALID_FILE,
     "factor is 1e+300, not a positive number"},
    {"\"hidden_size\": null", RLX_INVALID_FILE, "hidden_size is missing"},
    {"\"hidden_size\": 36.5", RLX_INVALID_FILE, "hidden_size is 36.5, not a whole number"},
    {"\"num_hidden_layers\": 0", RLX_INVALID_FILE, "num_hidden_layers is 0, out of range: 1 to"},
    {"\"num_attention_heads\": \"6\"", RLX_INVALID_FILE,
     "num_attention_heads is \"6\", not a whole number"},
    {"\"num_key_value_heads\": 4", RLX_INVALID_FILE,
     "num_attention_heads 6 is no multiple of num_key_value_heads 4"},
    {"\"num_attention_heads\": 5, \"num_key_value_heads\": null, \"head_dim\": null",
     RLX_INVALID_FILE, "hidden_size 36 is no multiple of num_attention_heads 5"},
    {"\"head_dim\": 9", RLX_INVALID_FILE, "odd size 9"},
    {"\"attention_bias\": 1", RLX_INVALID_FILE, "attention_bias is 1, not true or false"},
    {"\"eos_token_id\": [\"</s>\"]", RLX_INVALID_FILE, "eos_token_id is \"</s>\", not a token id"},
    {ROPE("\"rope_type\": \"linear\""), RLX_INVALID_FILE,
     "config.json: factor is missing in the rotary parameters"},
    {ROPE("\"type\": \"llama3\", \"factor\": 2"), RLX_INVALID_FILE,
     "low_freq_factor is missing in the rotary"},
    {ROPE("\"type\": \"linear\", \"factor\": -1"), RLX_INVALID_FILE,
     "config.json: factor is -1, not a positive number"},
    {"\"vocab_size\": 48", RLX_INVALID_FILE,
     "vocab_size 48 and hidden_size 36 do not fit \"model.embed_tokens.weight\" of 47 rows, 36 "
     "columns"},
    {"\"intermediate_size\": 54", RLX_INVALID_FILE,
     "\"model.layers.0.mlp.gate_proj.weight\" of 53 rows"},
    {"\"num_hidden_layers\": 3", RLX_NOT_FOUND,
     "9 weights are missing: model.layers.2.input_layernorm"},
    {"\"num_hidden_layers\": 1", RLX_INVALID_FILE,
     "does not use 9 tensors: model.layers.1.input_layernorm.weight, "},
    {"\"architectures\": [\"LlamaModel\"]", RLX_INVALID_FILE,
     "does not use 1 tensor: lm_head.weight"},
};
enum { NREFUSED = sizeof(refused) / sizeof(refused[0]) };

START_TEST(refuses_by_name)
{
    test_model m;
    model_init(&m, model_config(""));
    cJSON_Delete(m.json);
    m.json = model_config(refused[_i].config);
    assert_error(model_make_flow(&m), refused[_i].code, refused[_i].error);
    ck_assert_ptr_null(m.flow);
    model_deinit(&m);
}
END_TEST

/* A rotary table of inverse frequency 1 at position 1 is cos 1 in its first pair: the second tells
 * the base. */
static float second_cosine(const char *config)
{
    test_model m;
    const int32_t one = 1;
    float c[5], s[5];
    model_init(&m, model_config(config));
    assert_ok(model_make_flow(&m));
    rlx_rope_tables(m.config.rope, &one, 1, c, s);
    model_deinit(&m);
    return c[1];
}

START_TEST(finds_the_base_in_every_style)
{
    const double base = cos(pow(5000, -0.2)), plain = cos(pow(10000, -0.2));
    ck_assert_double_eq_tol(second_cosine(""), plain, 1e-7);
    ck_assert_double_eq_tol(second_cosine("\"rope_theta\": 5000"), base, 1e-7);
    ck_assert_double_eq_tol(second_cosine("\"rope_theta\": 5000, \"rope_scaling\": null"), base,
                            1e-7);
    ck_assert_double_eq_tol(
        second_cosine("\"rope_parameters\": {\"rope_theta\": 5000, \"rope_type\": \"default\"}"),
        base, 1e-7);
    ck_assert_double_eq_tol(second_cosine("\"rope_theta\": 7, " ROPE("\"rope_theta\": 5000")), base,
                            1e-7);
    ck_assert_double_eq_tol(second_cosine(ROPE("") ", \"rope_parameters\": {\"rope_theta\": 5000}"),
                            base, 1e-7);
    ck_assert_double_eq_tol(second_cosine("\"rope_theta\": 5000, \"partial_rotary_factor\": 0.4"),
                            cos(pow(5000, -0.5)), 1e-7);
}
END_TEST

/* ---- weights -------------------------------------------------------------------------------- */

static rlx_eval_tensor run_prompt(test_model *m)
{
    rlx_eval_tensor y;
    assert_ok(model_make_flow(m));
    assert_ok(model_build(m, NULL, 0));
    model_bind(m);
    model_set_step(m, &m->env, PROMPT, ids, seqs, places);
    model_run(m, &y);
    return y;
}

START_TEST(ignores_stored_frequencies)
{
    test_model m;
    model_init(&m, model_config(""));
    model_add_weight(&m, "model.layers.0.self_attn.rotary_emb.inv_freq", RLX_F32, 1,
                     (int64_t[]){5});
    assert_ok(model_make_flow(&m));
    model_deinit(&m);
}
END_TEST

/* Tied, and the file has the matrix under either name, or a second matrix: then that one is the
 * head. */
START_TEST(tied_embeddings)
{
    test_model tied, both, head_only;
    const char *config = "\"tie_word_embeddings\": true";
    model_init(&tied, model_config(config));
    model_init(&both, model_config(config));
    model_add_weight(&both, "lm_head.weight", RLX_F32, 2, (int64_t[]){47, 36});
    head_only = (test_model){.json = model_config(config)};
    env_init(&head_only.env, 0);
    assert_ok(rlx_weights_create(&head_only.w));
    for (int i = 0; i < rlx_weights_count(tied.w); i++) {
        rlx_tensor t = *rlx_weights_at(tied.w, i);
        if (!strcmp(t.name, "model.embed_tokens.weight"))
            t.name = "lm_head.weight";
        assert_ok(rlx_weights_add(head_only.w, &t));
    }
    rlx_eval_tensor a = run_prompt(&tied), b = run_prompt(&both), c = run_prompt(&head_only);
    ck_assert(env_distance(&a, &c) == 0);
    ck_assert(env_distance(&a, &b) > 0.1);
    free(a.data);
    free(b.data);
    free(c.data);
    model_deinit(&tied);
    model_deinit(&both);
    model_deinit(&head_only);
}
END_TEST

/* ---- the reference's numbers ---------------------------------------------------------------- */

static bool skip(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f)
        fclose(f);
    else
        printf("skipped: no %s\n", path);
    return !f;
}

typedef struct batch {
    int n; /* tokens that are no padding, row by row */
    int32_t ids[512], seq[512], pos[512];
    int64_t at[512]; /* b * S + s in the reference's tensors */
} batch;

/* Rows of input_ids without their padding, each a sequence of its own. */
static void read_batch(const rlx_weights *inputs, batch *b)
{
    const rlx_tensor *all = rlx_weights_find(inputs, "input_ids");
    const rlx_tensor *mask = rlx_weights_find(inputs, "attention_mask");
    ck_assert_ptr_nonnull(all);
    const int64_t width = all->dim[all->rank - 1], rows = all->rank > 1 ? all->dim[0] : 1;
    ck_assert_int_le(rows, MODEL_SEQS);
    b->n = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t s = 0, pos = 0; s < width; s++) {
            if (mask && !((const int64_t *)mask->data)[r * width + s])
                continue;
            ck_assert_int_lt(b->n, 512);
            b->ids[b->n] = (int32_t)((const int64_t *)all->data)[r * width + s];
            b->seq[b->n] = (int32_t)r;
            b->pos[b->n] = (int32_t)pos++;
            b->at[b->n++] = r * width + s;
        }
}

/* Largest difference of result rows from the reference's rows of the same tokens. */
static double distance(const rlx_eval_tensor *got, const rlx_tensor *want, const batch *b)
{
    const int64_t width = got->dim[1];
    double largest = 0;
    ck_assert_int_eq(width, want->dim[want->rank - 1]);
    for (int t = 0; t < b->n; t++)
        for (int64_t i = 0; i < width; i++) {
            const double w = rlx_format_load(want->format, want->data, b->at[t] * width + i);
            const double d = fabs(env_at(got, t * width + i) - w);
            if (!(d <= largest))
                largest = d;
        }
    return largest;
}

static rlx_weights *read_tensors(const char *directory, const char *file)
{
    char path[1024];
    rlx_weights *w;
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    assert_ok(rlx_weights_create(&w));
    assert_ok(rlx_weights_add_safetensors(w, path));
    return w;
}

static double number_at(const cJSON *json, const char *map, const char *name)
{
    const cJSON *v =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, map), name);
    return v ? v->valuedouble : 0;
}

/* Every expected tensor of a fixture, probes included. */
static void check_fixture(const char *directory)
{
    test_model m;
    batch b;
    char path[1024], *text;
    size_t bytes;
    const char *probes[16];
    int nprobes = 0;
    rlx_eval_tensor results[17];
    snprintf(path, sizeof(path), "%s/case.json", directory);
    assert_ok(rlx_file_read(path, &text, &bytes));
    cJSON *json = cJSON_Parse(text);
    rlx_weights *inputs = read_tensors(directory, "inputs.safetensors");
    rlx_weights *expected = read_tensors(directory, "expected.safetensors");
    for (int i = 0; i < rlx_weights_count(expected); i++)
        if (!strncmp(rlx_weights_at(expected, i)->name, "probe:", 6))
            probes[nprobes++] = rlx_weights_at(expected, i)->name + 6;
    read_batch(inputs, &b);
    model_init_directory(&m, directory, NULL);
    assert_ok(model_make_flow(&m));
    assert_ok(model_build(&m, probes, nprobes));
    model_bind(&m);
    model_set_step(&m, &m.env, b.n, b.ids, b.seq, b.pos);
    model_run(&m, results);
    for (int i = 0; i < m.outputs.n; i++) {
        const char *name = m.outputs.name[i];
        const double d = distance(&results[i], rlx_weights_find(expected, name), &b);
        const double bound =
            1e-4 * fmax(1, number_at(json, "scale", name)) + 10 * number_at(json, "noise", name);
        ck_assert_msg(d <= bound, "%s: %s differs by %g, bound %g", directory, name, d, bound);
    }
    model_free_results(&m, results);
    model_deinit(&m);
    rlx_weights_destroy(inputs);
    rlx_weights_destroy(expected);
    cJSON_Delete(json);
    free(text);
}

static const struct {
    const char *family;
    int cases; /* at least */
} fixtures[] = {{"llama32", 15}, {"mistral", 4}, {"qwen2", 4}, {"qwen3", 8}, {"smollm3", 4}};
enum { NFIXTURES = sizeof(fixtures) / sizeof(fixtures[0]) };

START_TEST(agrees_with_fixtures)
{
    char root[256], path[600];
    snprintf(root, sizeof(root), "%s/fixtures/%s", RLX_SHARED_DIR, fixtures[_i].family);
    DIR *dir = opendir(root);
    int n = 0;
    if (!dir) {
        printf("skipped: no %s\n", root);
        return;
    }
    for (struct dirent *d; (d = readdir(dir));) {
        snprintf(path, sizeof(path), "%s/%s/config.json", root, d->d_name);
        FILE *config = d->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!config) /* a GGUF case */
            continue;
        fclose(config);
        snprintf(path, sizeof(path), "%s/%s", root, d->d_name);
        check_fixture(path);
        n++;
    }
    closedir(dir);
    ck_assert_int_ge(n, fixtures[_i].cases);
}
END_TEST

/* Goldens of published checkpoints: one sequence, f64. */
static void check_golden(const char *directory, const char *weights, const char *golden,
                         const char *name, double bound)
{
    test_model m;
    batch b;
    rlx_eval_tensor y;
    rlx_weights *want = read_tensors(directory, golden);
    read_batch(want, &b);
    model_init_directory(&m, directory, weights);
    assert_ok(model_make_flow(&m));
    assert_ok(model_build(&m, NULL, 0));
    model_bind(&m);
    model_set_step(&m, &m.env, b.n, b.ids, b.seq, b.pos);
    model_run(&m, &y);
    const double d = distance(&y, rlx_weights_find(want, name), &b);
    ck_assert_msg(d <= bound, "%s/%s differs by %g", directory, golden, d);
    free(y.data);
    model_deinit(&m);
    rlx_weights_destroy(want);
}

START_TEST(agrees_with_goldens)
{
    const char *stories = RLX_SHARED_DIR "/data/models/llama/stories260K/hf";
    const char *random = RLX_SHARED_DIR "/data/models/llama/tiny-random-hf";
    char file[32];
    if (skip(RLX_SHARED_DIR "/data/models/llama/stories260K/hf/config.json"))
        return;
    for (int i = 0; i < 4; i++) {
        snprintf(file, sizeof(file), "golden%d.safetensors", i);
        check_golden(stories, NULL, file, "logits_f64", 2e-4);
    }
    check_golden(random, "pytorch_model.converted.safetensors", "golden.safetensors",
                 "hidden_state", 1e-4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llama");
    TCase *c = tcase_create("llama");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, lowered_equals_evaluated, 0, 3);
    tcase_add_test(c, probes_pass_fusion_and_lowering);
    tcase_add_test(c, decoding_equals_prefill);
    tcase_add_test(c, reads_the_config);
    tcase_add_test(c, headless_models_give_hidden_states);
    tcase_add_loop_test(c, refuses_by_name, 0, NREFUSED);
    tcase_add_test(c, finds_the_base_in_every_style);
    tcase_add_test(c, ignores_stored_frequencies);
    tcase_add_test(c, tied_embeddings);
    tcase_add_loop_test(c, agrees_with_fixtures, 0, NFIXTURES);
    tcase_add_test(c, agrees_with_goldens);
    suite_add_tcase(s, c);
    return run_suite(s, 3 + NREFUSED + 8 + NFIXTURES);
}
