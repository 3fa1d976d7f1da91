/* tests/flow/custom_world.h: what tests of custom stages share: one flow on one device. */
#ifndef RLX_TESTS_FLOW_CUSTOM_WORLD_H
#define RLX_TESTS_FLOW_CUSTOM_WORLD_H

#include <math.h>

#include "frontend/context.h"
#include "frontend/flow.h"
#include "tests/flow/tensors.h"

enum { H = 20, I = 33, TOKENS = 5, LAYERS = 4, BUCKET = 6 };

/* ---- one flow on one device ------------------------------------------------------------------ */

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *exe;
    rlx_session *session;
    rlx_compile_stats stats;
    float x[TOKENS * H], mask[TOKENS * H];
    int32_t kind[TOKENS];
    float *memory[4 * LAYERS + 2]; /* of weights */
    int nmemory;
} world;

static inline float number(int which, int64_t i)
{
    return 0.7f * sinf(1.3f * (float)which + 0.37f * (float)i) + 0.2f;
}

static inline const float *add_weight(world *t, const char *name, int which, int64_t rows,
                                      int64_t cols)
{
    const int64_t n = (rows ? rows : 1) * cols;
    float *data = t->memory[t->nmemory++] = malloc((size_t)n * sizeof *data);
    for (int64_t i = 0; i < n; i++)
        data[i] = number(which, i);
    if (rows)
        ADD_F32(t->w, name, data, rows, cols);
    else
        ADD_F32(t->w, name, data, cols);
    return data;
}

static inline void open_world(world *t, const char *device)
{
    *t = (world){0};
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &t->cx));
    assert_ok(rlx_weights_create(&t->w));
    assert_ok(rlx_session_create(t->cx, NULL, &t->session));
    for (int l = 0; l < LAYERS; l++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%d.gate.weight", l);
        add_weight(t, name, 3 * l, I, H);
        snprintf(name, sizeof name, "layers.%d.up.weight", l);
        add_weight(t, name, 3 * l + 1, I, H);
        snprintf(name, sizeof name, "layers.%d.down.weight", l);
        add_weight(t, name, 3 * l + 2, H, I);
    }
    add_weight(t, "scale", 50, 0, H);
    add_weight(t, "kinds", 51, 3, H);
    for (int i = 0; i < TOKENS * H; i++) {
        t->x[i] = 0.1f + fabsf(number(60, i)); /* positive: square roots are taken of it */
        t->mask[i] = (float)(i % 3);
    }
    for (int i = 0; i < TOKENS; i++)
        t->kind[i] = (i * 2) % 3;
    assert_ok(rlx_flow_create("custom", &t->flow));
    rlx_flow_input(t->flow, "x", RLX_F32, 2,
                   (const int64_t[]){rlx_flow_symbol(t->flow, "TOKENS"), H});
}

static inline void close_world(world *t)
{
    rlx_session_destroy(t->session);
    rlx_executable_destroy(t->exe);
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
    for (int i = 0; i < t->nmemory; i++)
        free(t->memory[i]);
}

static inline rlx_status compile(world *t)
{
    const rlx_bucket bucket = {"TOKENS", BUCKET};
    const rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    rlx_flow_output(t->flow, "y");
    return rlx_flow_compile(t->cx, t->flow, t->w, &o, &t->stats, &t->exe);
}

/* y f32[TOKENS,H] of the flow; inputs beside x are given when the flow takes them. */
static inline void run(world *t, int ninputs, float y[TOKENS * H])
{
    const rlx_tensor in[] = {F32("x", t->x, TOKENS, H),
                             F32("mask", t->mask, TOKENS, H),
                             {"kind", RLX_I32, 1, {TOKENS}, t->kind, sizeof t->kind}};
    rlx_tensor out;
    assert_ok(rlx_executable_run(t->exe, t->session, in, ninputs));
    assert_ok(rlx_session_output(t->session, "y", &out));
    ck_assert_uint_eq(out.bytes, sizeof(float) * TOKENS * H);
    memcpy(y, out.data, out.bytes);
}

static inline void check(const float *y, const double *want, double tolerance, const char *what)
{
    for (int i = 0; i < TOKENS * H; i++)
        ck_assert_msg(fabs(y[i] - want[i]) <= tolerance * (1 + fabs(want[i])),
                      "%s: element %d is %.9g, not %.9g", what, i, y[i], want[i]);
}

#endif
