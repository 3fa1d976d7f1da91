/* A fused model computes the bits of the unfused one: a small Llama, from the golden file of its
 * fusion, with pages of 16 positions, over steps that cross pages and mix sequences. */
#include "tests/mir/world.h"

static const char golden[] = RLX_SOURCE_DIR "/tests/golden/mir/fuse_llama.rlx";

/* The golden file's module before fusion, its pages of 256 positions made pages of 16. */
static char *read_llama(void)
{
    char *text;
    size_t bytes;
    assert_ok(rlx_file_read(golden, &text, &bytes));
    char *end = strstr(text, "// ----");
    char *start = strstr(text, "mir module");
    ck_assert(start && end && start < end);
    *end = 0;
    rlx_text out = {0};
    for (char *s = start; *s;) {
        char *next = strstr(s, "256");
        rlx_text_put_bytes(&out, s, next ? (size_t)(next - s) : strlen(s));
        rlx_text_put(&out, next ? "16" : "");
        s = next ? next + 3 : s + strlen(s);
    }
    free(text);
    return rlx_text_take(&out);
}

enum { LAYERS = 3, PAGES = 7, SEQS = 2, SLOTS = 3, HIDDEN = 24, VOCAB = 50, KV = 2 * 6 * 16 };

/* Lent until the next call. */
static const char *layer_name(const char *pattern, int layer)
{
    static char name[80];
    snprintf(name, sizeof name, pattern, layer);
    return name;
}

static void open_llama(world *w)
{
    static const struct {
        const char *name;
        int64_t rows, columns; /* columns 0: a vector of f32 */
    } weights[] = {{"model.layers.%d.input_layernorm.weight", HIDDEN, 0},
                   {"model.layers.%d.self_attn.q_proj.weight", 24, 24},
                   {"model.layers.%d.self_attn.k_proj.weight", 12, 24},
                   {"model.layers.%d.self_attn.v_proj.weight", 12, 24},
                   {"model.layers.%d.self_attn.o_proj.weight", 24, 24},
                   {"model.layers.%d.post_attention_layernorm.weight", HIDDEN, 0},
                   {"model.layers.%d.mlp.gate_proj.weight", 37, 24},
                   {"model.layers.%d.mlp.up_proj.weight", 37, 24},
                   {"model.layers.%d.mlp.down_proj.weight", 24, 37}};
    char *text = read_llama();
    world_open(w, text);
    free(text);
    for (int l = 0; l < LAYERS; l++) {
        for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
            const char *name = layer_name(weights[i].name, l);
            if (weights[i].columns)
                world_random(w, name, RLX_BF16, SHAPE(weights[i].rows, weights[i].columns));
            else
                world_random(w, name, RLX_F32, SHAPE(weights[i].rows));
        }
        world_random(w, layer_name("kv.k.%d", l), RLX_F32, SHAPE(PAGES, 2, 6, 16));
        world_random(w, layer_name("kv.v.%d", l), RLX_F32, SHAPE(PAGES, 2, 16, 6));
    }
    world_random(w, "model.embed_tokens.weight", RLX_BF16, SHAPE(VOCAB, HIDDEN));
    world_random(w, "model.norm.weight", RLX_F32, SHAPE(HIDDEN));
    static const int32_t table[] = {5, 0, 3, 1, 6, 2};
    memcpy(world_tensor(w, "table", RLX_I32, SHAPE(SEQS, SLOTS))->data, table, sizeof table);
    world_symbol(w, "PAGES", PAGES);
    world_symbol(w, "SEQS", SEQS);
    world_symbol(w, "SLOTS", SLOTS);
}

static void fuse(world *w)
{
    setenv("RLX_CHECK", "text", 1);
    assert_ok(rlx_mir_optimize(w->module));
    for (const rlx_ir_func *f = w->module->first; f; f = f->next)
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            ck_assert(n->op == RLX_MIR_REGION || n->op == RLX_MIR_CALL || n->op == RLX_MIR_RETURN);
}

/* Token t of a step: sequence and position say everything else about it. */
static int32_t token_at(int seq, int pos)
{
    return (int32_t)((seq * 31 + pos * 7 + pos * pos) % VOCAB);
}

/* One step over tokens (seq[t], pos[t]), with logits for all of them. */
static rlx_eval_tensor step(world *w, int n, const int32_t *seq, const int32_t *pos)
{
    world_symbol(w, "TOKENS", n);
    world_symbol(w, "ROWS", n);
    int32_t *ids = world_tensor(w, "ids", RLX_I32, SHAPE(n))->data;
    int32_t *rows = world_tensor(w, "rows", RLX_I32, SHAPE(n))->data;
    float *cosine = world_tensor(w, "rope_cos", RLX_F32, SHAPE(n, 3))->data;
    float *sine = world_tensor(w, "rope_sin", RLX_F32, SHAPE(n, 3))->data;
    for (int t = 0; t < n; t++) {
        ids[t] = token_at(seq[t], pos[t]);
        rows[t] = t;
        for (int d = 0; d < 3; d++) { /* points on the unit circle, without a library's cosine */
            float u = (float)(pos[t] % 11 - 5) / (float)(d + 3);
            cosine[t * 3 + d] = (1 - u * u) / (1 + u * u);
            sine[t * 3 + d] = 2 * u / (1 + u * u);
        }
    }
    world_ints(w, "pos", n, pos);
    world_ints(w, "seq", n, seq);
    return world_run(w);
}

static void expect_same_states(world *a, world *b)
{
    for (int l = 0; l < LAYERS; l++) {
        for (int kv = 0; kv < 2; kv++) {
            const char *name = layer_name(kv ? "kv.v.%d" : "kv.k.%d", l);
            ck_assert_mem_eq(world_find(a, RLX_ROLE_STATE, name)->data,
                             world_find(b, RLX_ROLE_STATE, name)->data, sizeof(float) * PAGES * KV);
        }
    }
}

/* Steps of one run: how many tokens of each sequence a step adds. */
typedef struct plan {
    int steps;
    int add[6][SEQS];
} plan;
static const plan plans[] = {{1, {{1, 0}}},
                             {1, {{5, 2}}},
                             {3, {{15, 3}, {1, 1}, {1, 0}}},
                             {4, {{17, 0}, {0, 33}, {1, 1}, {2, 7}}},
                             {6, {{1, 0}, {30, 0}, {1, 0}, {1, 0}, {3, 40}, {1, 1}}}};
enum { NPLANS = sizeof plans / sizeof *plans, MOST = 64 };

/* The tokens of a step, the two sequences taking turns; `from` is where each stands. */
static int make_step(const int *add, const int *from, int32_t *seq, int32_t *pos)
{
    int n = 0;
    for (int i = 0; i < MOST; i++)
        for (int s = 0; s < SEQS; s++)
            if (i < add[s]) {
                seq[n] = s;
                pos[n++] = from[s] + i;
            }
    return n;
}

START_TEST(test_same_bits)
{
    world before, after;
    open_llama(&before);
    open_llama(&after);
    fuse(&after);
    int from[SEQS] = {0};
    for (int i = 0; i < plans[_i].steps; i++) {
        int32_t seq[SEQS * MOST], pos[SEQS * MOST];
        int n = make_step(plans[_i].add[i], from, seq, pos);
        rlx_eval_tensor a = step(&before, n, seq, pos), b = step(&after, n, seq, pos);
        ck_assert_int_eq(world_elems(&a), n * VOCAB);
        ck_assert_int_eq(world_elems(&b), n * VOCAB);
        for (int e = 0; e < n * VOCAB; e++)
            ck_assert(f32_at(&a, e) - f32_at(&a, e) == 0); /* finite */
        ck_assert_mem_eq(a.data, b.data, sizeof(float) * (size_t)n * VOCAB);
        expect_same_states(&before, &after);
        free(a.data);
        free(b.data);
        for (int s = 0; s < SEQS; s++)
            from[s] += plans[_i].add[i][s];
    }
    world_close(&before);
    world_close(&after);
}
END_TEST

/* One prefill of both sequences, against decoding one token at a time. */
START_TEST(test_prefill_is_decode)
{
    world prefill, decode;
    open_llama(&prefill);
    open_llama(&decode);
    fuse(&prefill);
    fuse(&decode);
    int32_t seq[SEQS * MOST], pos[SEQS * MOST];
    int n = make_step((int[]){35, 20}, (int[]){0, 0}, seq, pos);
    rlx_eval_tensor all = step(&prefill, n, seq, pos);
    for (int t = 0; t < n; t++) {
        rlx_eval_tensor one = step(&decode, 1, seq + t, pos + t);
        ck_assert_mem_eq(one.data, (float *)all.data + t * VOCAB, sizeof(float) * VOCAB);
        free(one.data);
    }
    expect_same_states(&prefill, &decode);
    free(all.data);
    world_close(&prefill);
    world_close(&decode);
}
END_TEST

static int count_regions(const rlx_ir_module *m, const char *func, const char *root)
{
    int n = 0;
    for (const rlx_ir_node *k = rlx_ir_func_find(m, func)->body->first; k; k = k->next)
        n += k->op == RLX_MIR_REGION && strcmp(rlx_ir_attr_text(k, RLX_ATTR_ROOT, ""), root) == 0;
    return n;
}

START_TEST(test_regions_of_a_layer)
{
    world w;
    open_llama(&w);
    fuse(&w);
    ck_assert_int_eq(count_regions(w.module, "layer", "contract"), 4);
    ck_assert_int_eq(count_regions(w.module, "layer", "attention"), 1);
    ck_assert_int_eq(count_regions(w.module, "layer", "reduce"), 0);
    ck_assert_int_eq(count_regions(w.module, "layer", "map"), 0);
    ck_assert_int_eq(rlx_ir_func_find(w.module, "layer")->body->first->nout, 3);
    ck_assert_int_eq(count_regions(w.module, "main", "map"), 2);
    ck_assert_int_eq(count_regions(w.module, "main", "contract"), 1);
    rlx_text once = {0}, twice = {0};
    rlx_ir_print(w.module, 0, &once);
    assert_ok(rlx_mir_optimize(w.module)); /* what is fused stays */
    rlx_ir_print(w.module, 0, &twice);
    ck_assert_str_eq(once.data, twice.data);
    rlx_text_deinit(&once);
    rlx_text_deinit(&twice);
    world_close(&w);
}
END_TEST

START_TEST(test_report_wants_fused)
{
    world w;
    open_llama(&w);
    rlx_text out = {0};
    assert_error(rlx_mir_fusion_report(w.module, &out), RLX_INVALID_ARGUMENT,
                 "@layer is not fused: it holds map");
    rlx_text_deinit(&out);
    world_close(&w);
}
END_TEST

/* rlx_mir_compare, which RLX_CHECK=eval relies on, sees a wrong constant and a write left out. */
START_TEST(test_compare_sees_differences)
{
    world a, b;
    open_llama(&a);
    open_llama(&b);
    assert_ok(rlx_mir_compare(NULL, a.module, b.module));
    rlx_ir_node *eps = NULL, *write = NULL;
    for (rlx_ir_node *n = rlx_ir_func_find(b.module, "layer")->body->first; n; n = n->next) {
        if (n->op == RLX_MIR_CONST && rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0) == 1e-5)
            eps = n;
        if (n->op == RLX_MIR_PAGE_WRITE && !write)
            write = n;
    }
    ck_assert(eps && write);
    assert_ok(rlx_ir_attr_set(b.module, eps, rlx_attr_float(RLX_ATTR_VALUE, 1e-4)));
    assert_error(rlx_mir_compare(NULL, a.module, b.module), RLX_INTERNAL,
                 "result 0 of @main differs");
    assert_ok(rlx_ir_attr_set(b.module, eps, rlx_attr_float(RLX_ATTR_VALUE, 1e-5)));
    assert_ok(rlx_mir_compare(NULL, a.module, b.module));
    rlx_ir_replace_uses(write->parent, write->out[0], write->in[0]);
    rlx_ir_node_remove(write);
    rlx_status st = rlx_mir_compare(NULL, a.module, b.module);
    ck_assert(st != NULL);
    rlx_status_free(st);
    world_close(&a);
    world_close(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mir_fuse");
    TCase *t = tcase_create("llama");
    tcase_add_loop_test(t, test_same_bits, 0, NPLANS);
    tcase_add_test(t, test_prefill_is_decode);
    tcase_add_test(t, test_regions_of_a_layer);
    tcase_add_test(t, test_report_wants_fused);
    tcase_add_test(t, test_compare_sees_differences);
    suite_add_tcase(s, t);
    return run_suite(s, 9);
}
