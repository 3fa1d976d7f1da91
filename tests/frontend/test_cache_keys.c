/* tests/frontend/test_cache_keys.c: what a model's compile keys depend on, by tables: each value of a
 * config, each key of a profile, formats, targets, the compiler. What decides about code gives
 * another key, a miss; whatever else gives the same, a hit. */
#include <unistd.h>

#include "frontend/compilation.h"
#include "frontend/compile_key.h"
#include "frontend/model.h"
#include "tests/base/suite.h"

/* ---- what is not the build's own (linked with --wrap) ----------------------------------------- */

static const char *build, *compiler;
const char *__real_rlx_jit_build(void);
const char *__wrap_rlx_jit_build(void);
const char *__real_rlx_jit_compiler(void);
const char *__wrap_rlx_jit_compiler(void);
const char *__wrap_rlx_jit_build(void)
{
    return build ? build : __real_rlx_jit_build();
}
const char *__wrap_rlx_jit_compiler(void)
{
    return compiler ? compiler : __real_rlx_jit_compiler();
}

/* ---- a model whose every value can be another ------------------------------------------------- */

enum { ELEMENTS = 4096 };
static const float zeros[ELEMENTS];
static float ones[ELEMENTS];

typedef struct subject {
    /* config.json */
    const char *family, *more; /* further keys: ", \"k\": 1" */
    int64_t vocab, hidden, inner, layers, heads, kv_heads, head_dim, positions;
    double eps, theta;
    bool biased, mlp_biased, tied;
    /* weights */
    rlx_format format; /* of matrices */
    const float *data;
    /* how it is loaded */
    const char *device, *profile, *build, *compiler, *path;
    int threads;
    bool log, decode; /* decode: the key of that bucket, else of the first for prompts */
} subject;

static const subject usual = {.family = "llama",
                              .more = "",
                              .vocab = 32,
                              .hidden = 32,
                              .inner = 64,
                              .layers = 2,
                              .heads = 4,
                              .kv_heads = 2,
                              .head_dim = 8,
                              .positions = 64,
                              .eps = 1e-5,
                              .theta = 10000,
                              .tied = true,
                              .format = RLX_F32,
                              .data = zeros,
                              .device = "cpu:x86-64-v3",
                              .path = "a",
                              .threads = 1};

static void put_config(const subject *s, rlx_text *out)
{
    rlx_text_putf(out,
                  "{\"model_type\": \"%s\", \"vocab_size\": %d, \"hidden_size\": %d,"
                  " \"intermediate_size\": %d, \"num_hidden_layers\": %d,"
                  " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,"
                  " \"max_position_embeddings\": %d, \"rms_norm_eps\": %.9g, \"rope_theta\": %.9g,"
                  " \"attention_bias\": %s, \"mlp_bias\": %s, \"tie_word_embeddings\": %s%s}",
                  s->family, (int)s->vocab, (int)s->hidden, (int)s->inner, (int)s->layers,
                  (int)s->heads, (int)s->kv_heads, (int)s->head_dim, (int)s->positions, s->eps,
                  s->theta, s->biased ? "true" : "false", s->mlp_biased ? "true" : "false",
                  s->tied ? "true" : "false", s->more);
}

/* rows 0: a vector */
static void add(const subject *s, rlx_weights *w, int64_t layer, const char *name, int64_t rows,
                int64_t columns)
{
    char full[128];
    rlx_tensor t = {.name = full, .format = rows ? s->format : RLX_F32, .rank = rows ? 2 : 1};
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "model.layers.%d.%s", (int)layer, name);
    t.dim[0] = rows ? rows : columns;
    t.dim[1] = rows ? columns : 0;
    const int64_t n = (rows ? rows : 1) * columns;
    ck_assert_int_le(n, ELEMENTS);
    t.bytes = rlx_format_bytes(t.format, n);
    t.data = s->data;
    assert_ok(rlx_weights_add(w, &t));
}

static void add_layer(const subject *s, rlx_weights *w, int64_t l)
{
    const int64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    add(s, w, l, "input_layernorm.weight", 0, s->hidden);
    add(s, w, l, "post_attention_layernorm.weight", 0, s->hidden);
    add(s, w, l, "self_attn.q_proj.weight", q, s->hidden);
    add(s, w, l, "self_attn.k_proj.weight", kv, s->hidden);
    add(s, w, l, "self_attn.v_proj.weight", kv, s->hidden);
    add(s, w, l, "self_attn.o_proj.weight", s->hidden, q);
    add(s, w, l, "mlp.gate_proj.weight", s->inner, s->hidden);
    add(s, w, l, "mlp.up_proj.weight", s->inner, s->hidden);
    add(s, w, l, "mlp.down_proj.weight", s->hidden, s->inner);
    if (s->biased) {
        add(s, w, l, "self_attn.q_proj.bias", 0, q);
        add(s, w, l, "self_attn.k_proj.bias", 0, kv);
        add(s, w, l, "self_attn.v_proj.bias", 0, kv);
        add(s, w, l, "self_attn.o_proj.bias", 0, s->hidden);
    }
    if (s->mlp_biased) {
        add(s, w, l, "mlp.gate_proj.bias", 0, s->inner);
        add(s, w, l, "mlp.up_proj.bias", 0, s->inner);
        add(s, w, l, "mlp.down_proj.bias", 0, s->hidden);
    }
}

static rlx_weights *make_weights(const subject *s)
{
    rlx_weights *w;
    assert_ok(rlx_weights_create(&w));
    add(s, w, -1, "model.embed_tokens.weight", s->vocab, s->hidden);
    add(s, w, -1, "model.norm.weight", 0, s->hidden);
    if (!s->tied)
        add(s, w, -1, "lm_head.weight", s->vocab, s->hidden);
    for (int64_t l = 0; l < s->layers; l++)
        add_layer(s, w, l);
    return w;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static rlx_profile *load_profile(const char *text)
{
    char path[] = "/tmp/rlx-keys-XXXXXX";
    rlx_profile *p;
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    rlx_status st = rlx_profile_load(path, &p);
    unlink(path);
    assert_ok(st);
    return p;
}

static void ignore_log(void *user, rlx_log_level level, const char *message)
{
    (void)user, (void)level, (void)message;
}

/* Of a flow with compile options, as text; freed by the caller. */
static char *key_of_flow(const rlx_context *cx, const rlx_model *m, const rlx_compile_options *o)
{
    rlx_compilation c;
    rlx_text text = {0};
    assert_ok(rlx_compilation_run(&c, cx, m->flow, m->weights, o, RLX_LEVEL_HIR));
    assert_ok(rlx_compile_key(&c, &c.target, &text));
    rlx_compilation_deinit(&c);
    return rlx_text_take(&text);
}

typedef struct world {
    rlx_context *cx;
    rlx_profile *profile;
    rlx_model_options how;
    rlx_weights *w;
    rlx_text config;
    rlx_model m;
} world;

static void open_world(const subject *s, world *t)
{
    rlx_context_options o = {.device = s->device,
                             .threads = s->threads,
                             .no_cache = true,
                             .log = s->log ? ignore_log : NULL};
    *t = (world){.profile = s->profile ? load_profile(s->profile) : NULL};
    build = s->build;
    compiler = s->compiler;
    if (t->profile) {
        rlx_profile_apply_context(t->profile, &o);
        rlx_profile_apply_model(t->profile, &t->how);
    }
    assert_ok(rlx_context_create(&o, &t->cx));
    t->w = make_weights(s);
    put_config(s, &t->config);
    const rlx_model_source source = {.config = t->config.data, .weights = t->w};
    t->m = (rlx_model){.path = strdup(s->path), .source = &source};
    assert_ok(rlx_model_read_files(t->cx, &t->m));
    t->m.source = NULL;
}

static void close_world(world *t)
{
    rlx_model_deinit_files(&t->m);
    rlx_weights_destroy(t->w);
    rlx_text_deinit(&t->config);
    rlx_context_destroy(t->cx);
    rlx_profile_destroy(t->profile);
}

static char *key_of(const subject *s)
{
    world t;
    rlx_model_plan plan;
    rlx_model_bucket b;
    open_world(s, &t);
    assert_ok(rlx_model_make_plan(&t.how, &plan));
    rlx_model_get_bucket(&t.how, &plan, s->decode ? 0 : 1, &b);
    char *key = key_of_flow(t.cx, &t.m, &b.compile);
    close_world(&t);
    return key;
}

/* What differs between the usual subject and a change of it, as lines; fields, in *n. */
static rlx_text compare(const subject *changed, int *n)
{
    subject before = usual;
    before.decode = changed->decode;
    char *a = key_of(&before), *b = key_of(changed);
    rlx_text why = {0};
    *n = rlx_key_compare(a, b, &why);
    ck_assert(!*n == !strcmp(a, b));
    free(a);
    free(b);
    return why;
}

static void expect(const char *what, const subject *changed, const char *field)
{
    int n;
    rlx_text why = compare(changed, &n);
    ck_assert_msg((n > 0) == (field != NULL), "%s: %s\n%s", what, n ? "a miss" : "a hit",
                  why.data ? why.data : "");
    if (field)
        ck_assert_msg(strstr(why.data, field), "%s: no \"%s\" in\n%s", what, field, why.data);
    rlx_text_deinit(&why);
}

/* ---- the tables ------------------------------------------------------------------------------ */

typedef struct change {
    const char *what, *field; /* of the key that tells; NULL: a hit */
    void (*apply)(subject *s);
} change;

#define CHANGE(name, statement)  \
    static void name(subject *s) \
    {                            \
        statement;               \
    }
CHANGE(vocab, s->vocab = 48)
CHANGE(hidden, s->hidden = 64)
CHANGE(inner, s->inner = 32)
CHANGE(layers, s->layers = 3)
CHANGE(heads, s->heads = 2)
CHANGE(kv_heads, s->kv_heads = 4)
CHANGE(head_dim, s->head_dim = 16)
CHANGE(eps, s->eps = 1e-6)
CHANGE(biased, s->biased = true)
CHANGE(mlp_biased, s->mlp_biased = true)
CHANGE(untied, s->tied = false)
CHANGE(window, s->family = "mistral"; s->more = ", \"sliding_window\": 16")
CHANGE(partial, s->more = ", \"partial_rotary_factor\": 0.5")
CHANGE(theta, s->theta = 500000) /* rotary tables are data */
CHANGE(scaling, s->more = ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}")
CHANGE(positions, s->positions = 128)
CHANGE(no_window, s->family = "mistral"; s->more = ", \"sliding_window\": null")
CHANGE(remarks,
       s->more = ", \"torch_dtype\": \"bfloat16\", \"use_cache\": false, \"_name_or_path\": \"x\"")
CHANGE(ends, s->more = ", \"bos_token_id\": 3, \"eos_token_id\": [4, 5]")
CHANGE(bf16, s->format = RLX_BF16)
CHANGE(f16, s->format = RLX_F16)
CHANGE(q8_0, s->format = RLX_Q8_0)
CHANGE(values, s->data = ones)
CHANGE(path, s->path = "b/another name")
CHANGE(threads, s->threads = 2)
CHANGE(logged, s->log = true)
CHANGE(other_build, s->build = "0123456789abcdef")
CHANGE(other_llvm, s->compiler = "LLVM 19.1.8")
CHANGE(decoding, s->decode = true)

static const change changes[] = {
    {"vocab_size", "weight ", vocab},
    {"hidden_size", "weight ", hidden},
    {"intermediate_size", "weight ", inner},
    {"num_hidden_layers", "composition: it has homogeneous: 2 x", layers},
    {"num_attention_heads", "weight ", heads},
    {"num_key_value_heads", "state ", kv_heads},
    {"head_dim", "state ", head_dim},
    {"rms_norm_eps", "function ", eps},
    {"attention_bias", "weight ", biased},
    {"mlp_bias", "weight ", mlp_biased},
    {"tie_word_embeddings", "wanted lm_head.weight", untied},
    {"sliding_window", "function ", window},
    {"partial_rotary_factor", "input ", partial},
    {"rope_theta", NULL, theta},
    {"rope_scaling", NULL, scaling},
    {"max_position_embeddings", NULL, positions},
    {"model_type, of the same layers", NULL, no_window},
    {"remarks in a config", NULL, remarks},
    {"what begins and ends a text", NULL, ends},
    {"weights in bf16", "wanted model.embed_tokens.weight bf16[32,32]", bf16},
    {"weights in f16", "f16[32,32]", f16},
    {"weights in blocks", "q8_0[32,32]", q8_0},
    {"what weights are", NULL, values},
    {"where the model is", NULL, path},
    {"threads", NULL, threads},
    {"a log", NULL, logged},
    {"the build", "build: it has ", other_build},
    {"LLVM", "compiler: it has LLVM 19.1.7, wanted LLVM 19.1.8", other_llvm},
    {"nothing, of the bucket that decodes", NULL, decoding},
};
enum { NCHANGES = sizeof changes / sizeof *changes };

START_TEST(models)
{
    subject s = usual;
    changes[_i].apply(&s);
    expect(changes[_i].what, &s, changes[_i].field);
}
END_TEST

/* Every key of profile_keys.def must be here. */
static const struct {
    const char *key, *profile, *field;
} profiles[] = {
    {"", "# a comment\n", NULL},
    {"preset", "preset = 'qwen3_decode'", NULL}, /* its lengths are for flows of one's own */
    {"preset", "preset = 'qwen3_prefill'", "tuning: wanted fusion 1"},
    {"device.name", "device.name = 'cpu:x86-64-v3'", NULL}, /* others: see features */
    {"device.threads", "device.threads = 3", NULL},
    {"model.prefill", "model.prefill = 64", "bucket: it has TOKENS 128, wanted TOKENS 64"},
    {"model.max_positions", "model.max_positions = 32", NULL},
    {"model.kv_key_format", "model.kv_key_format = 'f16'", "state "},
    {"model.kv_value_format", "model.kv_value_format = 'bf16'", "state "},
    {"precision.mode", "precision.mode = 'fast'", "precision: it has exact, wanted fast, prefill"},
    {"precision.mode", "precision.mode = 'exact'", NULL},
    {"precision.compute", "precision.compute = 'f32'", NULL},
    {"precision.mixed", "precision.mixed = 'none'", NULL},
    {"fusion.policy", "fusion.policy = 'direct'", "tuning: wanted fusion 1"},
    {"fusion.policy", "fusion.policy = 'fusable'", NULL},
    {"fusion.skip", "fusion.skip = true", "tuning: wanted fusion 2"},
    {"fusion.target", "fusion.target = 'cpu'", NULL},
    {"fusion.assert_clean", "fusion.assert_clean = true", "clean 1"},
    {"passes.dce", "passes.dce = true", NULL},
    {"passes.constant_folding", "passes.constant_folding = true", NULL},
    {"passes.verbose", "passes.verbose = true", NULL},
    {"backend.cpu.unfuse_regions", "backend.cpu.unfuse_regions = true", "single maps 1"},
    {"backend.metal.skip_fusion", "backend.metal.skip_fusion = false", NULL},
    {"backend.metal.unfuse_regions", "backend.metal.unfuse_regions = false", NULL},
    {"schedule.l1_bytes", "schedule.l1_bytes = 4096", "l1 4096"},
    {"schedule.l2_bytes", "schedule.l2_bytes = 8192", "l2 8192"},
    {"schedule.teams", "schedule.teams = 7", "teams 7"},
    {"execution.phase", "execution.phase = 'decode'", NULL}, /* as a preset */
    {"execution.batch", "execution.batch = 2", NULL},
    {"execution.seq", "execution.seq = 3", NULL},
    {"execution.past", "execution.past = 4", NULL},
    {"buckets", "buckets.seq = [1, 16, 128]", "bucket: it has TOKENS 128, wanted TOKENS 16"},
    {"buckets", "buckets.seq = [128]", NULL},
    {"buckets", "buckets.seq = [1, 128, 512]", NULL}, /* further rungs are other entries */
    {"buckets", "buckets.batch = [4]", NULL},
};
enum { NPROFILES = sizeof profiles / sizeof *profiles };

START_TEST(profile_keys)
{
    subject s = usual;
    s.profile = profiles[_i].profile;
    expect(profiles[_i].profile, &s, profiles[_i].field);
}
END_TEST

START_TEST(every_profile_key_is_here)
{
    for (int i = 0; i < rlx_profile_count(NULL); i++) {
        rlx_profile_setting key;
        bool found = false;
        rlx_profile_at(NULL, i, &key);
        for (int k = 0; k < NPROFILES; k++)
            found |= !strcmp(profiles[k].key, key.key);
        ck_assert_msg(found, "no case of %s", key.key);
    }
}
END_TEST

/* Each feature that code is made of is another key. */
START_TEST(features)
{
    static const char *const cpus[] = {"x86-64-v3",
                                       "x86-64-v3+avxvnni",
                                       "x86-64-v4",
                                       "x86-64-v4+avx512vnni",
                                       "x86-64-v4+avx512bf16",
                                       "x86-64-v4+avx512vnni+avx512bf16",
                                       "x86-64-v4+avx512vnni+avx512bf16+amx-tile+amx-int8",
                                       "x86-64-v4+avx512vnni+avx512bf16+amx-tile+amx-bf16"};
    enum { N = sizeof cpus / sizeof *cpus };
    char *keys[N];
    const rlx_bucket buckets[] = {{"TOKENS", 8}, {"ROWS", 8}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = 2};
    rlx_compilation c;
    world t;
    open_world(&usual, &t);
    assert_ok(rlx_compilation_run(&c, t.cx, t.m.flow, t.m.weights, &o, RLX_LEVEL_HIR));
    for (int i = 0; i < N; i++) {
        rlx_jit_target target = {.kind = RLX_JIT_CPU};
        rlx_text text = {0};
        assert_ok(rlx_cpu_parse(cpus[i], false, &target.features));
        assert_ok(rlx_compile_key(&c, &target, &text));
        keys[i] = rlx_text_take(&text);
        for (int k = 0; k < i; k++)
            ck_assert_msg(strcmp(keys[i], keys[k]) != 0, "%s and %s", cpus[i], cpus[k]);
    }
    for (int i = 0; i < N; i++)
        free(keys[i]);
    rlx_compilation_deinit(&c);
    close_world(&t);
}
END_TEST

/* Of Vulkan's features those that code is made of, and the precision. */
START_TEST(vulkan_targets)
{
    static const struct {
        uint64_t without;
        rlx_precision precision;
        bool same;
    } others[] = {{RLX_VULKAN_BIT(F16), RLX_EXACT, true},
                  {RLX_VULKAN_BIT(DOT), RLX_EXACT, false},
                  {RLX_VULKAN_BIT(SUBGROUP), RLX_EXACT, false},
                  {0, RLX_FAST, false},
                  {RLX_VULKAN_BIT(INT8), RLX_EXACT, false}};
    const rlx_bucket buckets[] = {{"TOKENS", 8}, {"ROWS", 8}};
    rlx_compile_options o = {.buckets = buckets, .nbuckets = 2};
    rlx_jit_target target;
    rlx_text first = {0};
    rlx_compilation c;
    world t;
    open_world(&usual, &t);
    assert_ok(rlx_jit_target_named("vulkan:amd", &target));
    assert_ok(rlx_compilation_run(&c, t.cx, t.m.flow, t.m.weights, &o, RLX_LEVEL_HIR));
    assert_ok(rlx_compile_key(&c, &target, &first));
    rlx_compilation_deinit(&c);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        rlx_jit_target other = target;
        rlx_text key = {0};
        other.features &= ~others[i].without;
        o.precision = others[i].precision;
        assert_ok(rlx_compilation_run(&c, t.cx, t.m.flow, t.m.weights, &o, RLX_LEVEL_HIR));
        assert_ok(rlx_compile_key(&c, &other, &key));
        rlx_compilation_deinit(&c);
        ck_assert_msg(!strcmp(first.data, key.data) == others[i].same, "case %zu", i);
        rlx_text_deinit(&key);
    }
    rlx_text_deinit(&first);
    close_world(&t);
}
END_TEST

/* A matrix unit multiplies fast prompts alone: all else is under the key of a device without. */
START_TEST(matrix_units_of_vulkan)
{
    static const struct {
        rlx_precision precision;
        rlx_phase phase;
        bool same;
    } ways[] = {{RLX_EXACT, RLX_PREFILL, true},
                {RLX_EXACT, RLX_DECODE, true},
                {RLX_FAST, RLX_DECODE, true},
                {RLX_FAST, RLX_PREFILL, false}};
    const rlx_bucket buckets[] = {{"TOKENS", 8}, {"ROWS", 8}};
    rlx_jit_target units[2];
    world t;
    open_world(&usual, &t);
    assert_ok(rlx_jit_target_named("vulkan:nvidia", &units[0]));
    assert_ok(rlx_jit_target_named("vulkan:nvidia,matrix=16x16x32", &units[1]));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const rlx_compile_options o = {.buckets = buckets,
                                       .nbuckets = 2,
                                       .precision = ways[i].precision,
                                       .phase = ways[i].phase};
        rlx_text key[2] = {{0}, {0}};
        for (int k = 0; k < 2; k++) {
            rlx_compilation c;
            assert_ok(rlx_compilation_run_for(&c, t.cx, &units[k], t.m.flow, t.m.weights, &o,
                                              RLX_LEVEL_HIR));
            assert_ok(rlx_compile_key(&c, &c.target, &key[k]));
            rlx_compilation_deinit(&c);
        }
        ck_assert_msg(!strcmp(key[0].data, key[1].data) == ways[i].same, "way %zu: %s", i,
                      key[1].data);
        rlx_text_deinit(&key[0]);
        rlx_text_deinit(&key[1]);
    }
    close_world(&t);
}
END_TEST

/* ---- presets --------------------------------------------------------------------------------- */

static char *key_of_preset(const world *t, const char *name)
{
    rlx_profile *p;
    rlx_execution e = {.phase = RLX_RUN_PREFILL};
    rlx_execution_options o;
    assert_ok(rlx_profile_preset(name, &p));
    rlx_profile_apply_execution(p, &e);
    assert_ok(rlx_execution_resolve(&e, t->m.flow, NULL, 0, &o));
    o.options.precision = RLX_FAST;
    rlx_profile_apply_compile(p, &o.options);
    rlx_profile_destroy(p);
    return key_of_flow(t->cx, &t->m, &o.options);
}

/* Presets of equal content share entries, others do not. */
START_TEST(presets)
{
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {{"llama32_prefill", "qwen3_prefill", true},
                 {"llama32_decode", "gemma_decode", true},
                 {"sam_encoder", "sam3", true},
                 {"sam2", "sam2_memory_attention", false},
                 {"llama32_prefill", "llama32_decode", false},
                 {"encoder", "sam2", false}};
    world t;
    open_world(&usual, &t);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *a = key_of_preset(&t, pairs[i].a), *b = key_of_preset(&t, pairs[i].b);
        ck_assert_msg(!strcmp(a, b) == pairs[i].same, "%s and %s", pairs[i].a, pairs[i].b);
        free(a);
        free(b);
    }
    close_world(&t);
}
END_TEST

int main(void)
{
    for (int i = 0; i < ELEMENTS; i++)
        ones[i] = 1;
    Suite *s = suite_create("cache keys");
    TCase *t = tcase_create("keys");
    tcase_add_loop_test(t, models, 0, NCHANGES);
    tcase_add_loop_test(t, profile_keys, 0, NPROFILES);
    tcase_add_test(t, every_profile_key_is_here);
    tcase_add_test(t, features);
    tcase_add_test(t, vulkan_targets);
    tcase_add_test(t, matrix_units_of_vulkan);
    tcase_add_test(t, presets);
    suite_add_tcase(s, t);
    return run_suite(s, NCHANGES + NPROFILES + 5);
}
