/* tests/growth/test_decode.c: a decode loop over 8,192 positions: one compile, no byte of keys and
 * values copied, and what it says at 20 positions is what computing the text anew says, to the bit.
 * A tiny model with random weights; with "long" the bundled one (make check). */
#include "frontend/rlx.h"
#include "tests/base/suite.h"

enum { POSITIONS = 8192, PLACES = 20, VOCAB = 64, HIDDEN = 16, FFN = 24, LAYERS = 2 };

static bool is_long;

/* ---- a tiny model ---------------------------------------------------------------------------- */

static const char config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 64, \"hidden_size\": 16, \"intermediate_size\": "
    "24,"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
    " \"head_dim\": 8, \"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-5,"
    " \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true,"
    " \"torch_dtype\": \"float32\"}";

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform within +-1, so that what is attended to changes what is said; norms are 1. */
static void add(rlx_weights *w, const char *name, int64_t rows, int64_t columns, float *room,
                uint64_t *random)
{
    rlx_tensor t = {.name = name, .format = RLX_F32, .rank = rows ? 2 : 1, .data = room};
    const int64_t n = (rows ? rows : 1) * columns;
    t.dim[0] = rows ? rows : columns;
    t.dim[1] = rows ? columns : 0;
    t.bytes = sizeof(float) * (size_t)n;
    for (int64_t i = 0; i < n; i++)
        room[i] = rows ? (float)((double)(next_random(random) >> 11) / 0x1p52 - 1) : 1;
    assert_ok(rlx_weights_add(w, &t));
}

typedef struct tiny {
    rlx_weights *w;
    float room[32][VOCAB * HIDDEN];
} tiny;

static rlx_model *make_tiny(rlx_context *cx, tiny *t)
{
    static const struct {
        const char *name;
        int64_t rows, columns;
    } parts[] = {{"input_layernorm", 0, HIDDEN},   {"post_attention_layernorm", 0, HIDDEN},
                 {"self_attn.q_proj", 16, HIDDEN}, {"self_attn.k_proj", 8, HIDDEN},
                 {"self_attn.v_proj", 8, HIDDEN},  {"self_attn.o_proj", HIDDEN, 16},
                 {"mlp.gate_proj", FFN, HIDDEN},   {"mlp.up_proj", FFN, HIDDEN},
                 {"mlp.down_proj", HIDDEN, FFN}};
    uint64_t random = 1;
    rlx_model *m;
    int n = 0;
    assert_ok(rlx_weights_create(&t->w));
    add(t->w, "model.embed_tokens.weight", VOCAB, HIDDEN, t->room[n++], &random);
    add(t->w, "model.norm.weight", 0, HIDDEN, t->room[n++], &random);
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, parts[i].name);
            add(t->w, name, parts[i].rows, parts[i].columns, t->room[n++], &random);
        }
    const rlx_model_source source = {.config = config, .weights = t->w};
    assert_ok(rlx_model_load_from(cx, &source, NULL, &m));
    return m;
}

static rlx_model *load(rlx_context *cx, tiny *t)
{
    rlx_model *m;
    if (!is_long)
        return make_tiny(cx, t);
    const rlx_model_options o = {.max_positions = POSITIONS, .any_length = true};
    assert_ok(rlx_model_load(cx, RLX_SOURCE_DIR "/models/bundled", &o, &m));
    return m;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Positions whose output is computed anew: of a tiny model mostly those about the borders of pages (256), as what
 * they cost grows with the square. */
static const int borders[PLACES] = {0,   1,   2,   16,  17,   127,  128,  255,  256,  257,
                                    258, 511, 512, 513, 1023, 1024, 2047, 3000, 4096, 8191};

static int place(int i)
{
    return is_long ? (i + 1) * (POSITIONS - 1) / PLACES : borders[i];
}

static int best_of(const float *logits, int64_t n)
{
    int best = 0;
    for (int v = 1; v < n; v++)
        best = logits[v] > logits[best] ? v : best;
    return best;
}

/* Which sampled text the loop goes on with: the likeliest token, every few of them another so that it does not repeat. */
static int32_t next_token(const float *logits, int64_t vocab, int i)
{
    const int best = best_of(logits, vocab);
    return (int32_t)(i % 3 ? best : (best + i * 7919) % vocab);
}

static void expect_anew(rlx_context *cx, rlx_model *m, const int32_t *ids, int n, const float *want,
                        float *room, size_t bytes)
{
    rlx_session *s;
    assert_ok(rlx_session_create(cx, &(rlx_session_options){.max_positions = POSITIONS}, &s));
    assert_ok(rlx_model_step(m, s, 0, ids, n, 1, room));
    rlx_session_destroy(s);
    ck_assert_msg(!memcmp(room, want, bytes), "position %d: other bits than anew", n - 1);
}

START_TEST(decodes_8192)
{
    rlx_context *cx;
    rlx_session *s;
    rlx_model_info info;
    rlx_session_stats did;
    rlx_context_stats made;
    tiny *t = malloc(sizeof *t);
    int32_t *ids = calloc(POSITIONS + 1, sizeof *ids);
    assert_ok(rlx_context_create(&(rlx_context_options){.threads = is_long ? 0 : 1}, &cx));
    rlx_model *m = load(cx, t);
    rlx_model_get_info(m, &info);
    const size_t bytes = sizeof(float) * (size_t)info.width;
    float *logits = malloc(bytes), *room = malloc(bytes), *kept = malloc(PLACES * bytes);
    assert_ok(rlx_session_create(cx, &(rlx_session_options){.max_positions = POSITIONS}, &s));
    for (int i = 0, k = 0; i < POSITIONS; i++) {
        assert_ok(rlx_model_step(m, s, 0, &ids[i], 1, 1, logits));
        ids[i + 1] = next_token(logits, info.width, i);
        if (k < PLACES && i == place(k))
            memcpy((char *)kept + (size_t)k++ * bytes, logits, bytes);
    }
    rlx_context_get_stats(cx, &made);
    rlx_session_get_stats(s, &did);
    ck_assert_int_eq(made.compiled, 1);
    ck_assert_int_eq(did.steps, POSITIONS);
    ck_assert_int_eq(did.tokens, POSITIONS);
    ck_assert_int_eq(did.copied_bytes, 0);
    for (int k = 0; k < PLACES; k++)
        expect_anew(cx, m, ids, place(k) + 1, (float *)((char *)kept + (size_t)k * bytes), room,
                    bytes);
    rlx_context_get_stats(cx, &made);
    ck_assert_int_eq(made.compiled, 2); /* and prompts */
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    if (!is_long)
        rlx_weights_destroy(t->w);
    rlx_context_destroy(cx);
    free(t);
    free(ids);
    free(logits);
    free(room);
    free(kept);
}
END_TEST

/* A copy would be counted: who forks and goes on writes to a page of his own. */
START_TEST(copies_are_counted)
{
    enum { TOKENS = 10 };
    rlx_context *cx;
    rlx_session *s;
    rlx_session_stats did;
    tiny *t = malloc(sizeof *t);
    const int32_t ids[TOKENS] = {1, 2, 3};
    assert_ok(rlx_context_create(&(rlx_context_options){.threads = 1}, &cx));
    rlx_model *m = make_tiny(cx, t);
    assert_ok(rlx_session_create(
        cx, &(rlx_session_options){.max_positions = 64, .max_sequences = 2}, &s));
    assert_ok(rlx_model_step(m, s, 0, ids, TOKENS, 0, NULL));
    assert_ok(rlx_session_fork(s, 0, 1));
    rlx_session_get_stats(s, &did);
    ck_assert_int_eq(did.copied_bytes, 0);
    assert_ok(rlx_model_step(m, s, 1, ids, 1, 0, NULL));
    rlx_session_get_stats(s, &did);
    ck_assert_int_eq(did.copied_bytes, 2 * LAYERS * 256 * 8 * (int)sizeof(float));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(cx);
    free(t);
}
END_TEST

int main(int argc, char **argv)
{
    is_long = argc > 1 && !strcmp(argv[1], "long");
    Suite *s = suite_create("decode");
    TCase *c = tcase_create("decode");
    tcase_set_timeout(c, is_long ? 600 : 60);
    tcase_add_test(c, decodes_8192);
    tcase_add_test(c, copies_are_counted);
    suite_add_tcase(s, c);
    return run_suite(s, 2);
}
