/* tests/flow/compose_world.h: what tests of flows that are made of parts share: one small flow. */
#ifndef RLX_TESTS_FLOW_COMPOSE_WORLD_H
#define RLX_TESTS_FLOW_COMPOSE_WORLD_H

#include <math.h>

#include "frontend/flow.h"
#include "tests/flow/tensors.h"

enum { H = 6, TOKENS = 3 };

/* ---- one small flow -----------------------------------------------------------------------------
 */

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    float matrix[4][H * H], scale[4][H];
} world;

static inline float number(int which, int64_t i)
{
    return 0.4f * sinf(1.1f * (float)which + 0.53f * (float)i) + 0.1f;
}

static inline void open_world(world *t)
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
        ADD_F32(t->w, name, t->matrix[l], H, H);
        snprintf(name, sizeof name, "layers.%d.norm.weight", l);
        ADD_F32(t->w, name, t->scale[l], H);
    }
    ADD_F32(t->w, "norm.weight", t->scale[3], H);
    assert_ok(rlx_flow_create("parts", &t->flow));
    const int64_t dims[] = {rlx_flow_symbol(t->flow, "TOKENS"), H};
    rlx_flow_input(t->flow, "x", RLX_F32, 2, dims);
}

static inline void close_world(world *t)
{
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
}

static inline void expect_text(const rlx_flow *f, const char *want)
{
    rlx_text text = {0};
    if (f->error)
        ck_abort_msg("%s", rlx_status_message(f->error));
    rlx_flow_print(f, &text);
    ck_assert_str_eq(text.data, want);
    rlx_text_deinit(&text);
}

static inline rlx_compile_options options_for(const world *t)
{
    static const rlx_bucket bucket = {"TOKENS", TOKENS};
    (void)t;
    return (rlx_compile_options){.buckets = &bucket, .nbuckets = 1};
}

/* y of the flow for x = number(9, i). */
static inline rlx_status run(world *t, const rlx_compile_options *o, float y[TOKENS * H])
{
    float x[TOKENS * H];
    rlx_executable *e;
    rlx_session *s;
    rlx_tensor out;
    for (int i = 0; i < TOKENS * H; i++)
        x[i] = number(9, i);
    RLX_TRY(rlx_flow_compile(t->cx, t->flow, t->w, o, NULL, &e));
    assert_ok(rlx_session_create(t->cx, NULL, &s));
    const rlx_tensor in = F32("x", x, TOKENS, H);
    assert_ok(rlx_executable_run(e, s, &in, 1));
    assert_ok(rlx_session_output(s, "y", &out));
    memcpy(y, out.data, sizeof(float) * TOKENS * H);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    return RLX_OK;
}

/* ---- parts -----
 */

static inline void record_mlp(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_rms_norm(f, "layers.{}.norm.weight", 1e-5);
    rlx_flow_linear(f, "layers.{}.proj.weight", NULL);
}

static inline void record_block(rlx_flow *f, void *user)
{
    rlx_flow_residual_save(f);
    rlx_flow_scope(f, "mlp", record_mlp, NULL);
    rlx_flow_when(f, user != NULL, record_mlp, NULL);
    rlx_flow_residual_add(f);
}

static inline void layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    record_block(f, user);
}

static inline void record_once(rlx_flow *f)
{
    rlx_flow_repeat_layers(f, 4, layer, NULL);
    rlx_flow_output(f, "y");
}

static inline void record_scale(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 0.5);
}

static inline void record_add(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 0.25);
    rlx_flow_residual_add(f);
}

static inline void record_unbalanced(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_residual_save(f);
}

static inline rlx_value *twice(rlx_builder *b, rlx_value *x, void *user)
{
    const double by = user ? *(const double *)user : 2;
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_constant(b, by));
}

static inline void register_twice(void)
{
    const rlx_plugin p = {.name = "twice", .meaning = "2 x", .build = twice};
    assert_ok(rlx_plugin_register(&p));
}

/* What record_once prints as. */
#define ONCE                                                        \
    "flow @parts {\n  input \"x\" f32[TOKENS,6]\n  layers 0..3 {\n" \
    "    residual_save\n"                                           \
    "    rms_norm key=\"layers.{}.norm.weight\" eps=1e-05\n"        \
    "    linear key=\"layers.{}.proj.weight\"\n"                    \
    "    residual_add\n  }\n  output \"y\"\n}\n"

#endif
