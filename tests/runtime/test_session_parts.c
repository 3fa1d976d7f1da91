/* tests/runtime/test_session_parts.c: the parts that members' shares of launches go in, and what members are told
 * to bring nearer. */
#include "tests/runtime/memory.h"

enum { MIX, COPY, KERNELS, MOST_THREADS = 4, SHARE = 1 << (RLX_TEAM_PIECES - 1) };

/* Counts how often each part of a kernel's grid has run. */
typedef struct grids {
    _Atomic int ran[KERNELS][MOST_THREADS * SHARE], calls[KERNELS];
    int units;
} grids;

static rlx_status count_units(void *user, uint32_t kernel, void *const *buffers,
                              const int64_t *symbols, int64_t team, int64_t teams)
{
    (void)buffers, (void)symbols;
    grids *g = user;
    g->calls[kernel]++;
    for (int64_t i = g->units * team / teams; i < g->units * (team + 1) / teams; i++)
        g->ran[kernel][i]++;
    return RLX_OK;
}

static float weight[1 << 20];

/* mix and copy in one phase, then copy by itself. */
static void build(builder *b, const int64_t bytes[KERNELS])
{
    builder_init(b, "parts", uppers);
    const uint32_t mix = add_kernel(b, "mix", RLX_OBJECT_MIX, 4, 0);
    const uint32_t copy = add_kernel(b, "copy", RLX_OBJECT_COPY, 2, 0);
    const rlx_dim tokens = dim_of(b, "TOKENS");
    const rlx_program_arg x = add_bound(b, RLX_BIND_INPUT, "x", RLX_I32, 1, tokens, 0);
    const rlx_program_arg w =
        add_bound(b, RLX_BIND_WEIGHT, "w", RLX_F32, 1, sizeof(weight) / sizeof(*weight), 0);
    for (int i = 0; i < KERNELS; i++)
        b->kernels[i].cost.bytes[0] = b->kernels[i].cost.bytes[1] = bytes[i];
    add_func(b, "main", 1, 1, 1 << 14);
    LAUNCH(b, copy, 0, x, at_frame(0));
    LAUNCH(b, mix, 1, x, x, w, at_frame(4096));
    LAUNCH(b, copy, 1, x, at_param(0));
    b->p.arena_bytes = 1 << 14;
    add_output(b, "y", RLX_I32, 1, tokens);
    for (uint32_t i = 0; i < b->p.nkernels; i++)
        b->kernels[i].code_bytes = 0; /* an engine's */
}

static void step(rlx_team *t, const int64_t bytes[KERNELS], grids *g)
{
    builder b;
    rlx_text entry = {0};
    rlx_weights *w;
    rlx_executable *e;
    rlx_session *s = make_session(t, 0, 0);
    const int32_t x[4] = {0};
    const rlx_engine engine = {.launch = count_units, .user = g};
    const rlx_tensor tensor = {"w",    RLX_F32,       1, {sizeof(weight) / sizeof(*weight)},
                               weight, sizeof(weight)};
    memset(g, 0, sizeof(*g));
    g->units = rlx_team_size(t) * SHARE;
    build(&b, bytes);
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_OK(rlx_weights_add(w, &tensor));
    EXPECT_OK(rlx_program_encode(&b.p, &entry));
    EXPECT_OK(rlx_executable_create_engine(entry.data, entry.len, w, &engine, &e));
    rlx_step_input in = {"x", x, sizeof(x)};
    EXPECT_OK(rlx_session_step(s, e, &(rlx_step){.tokens = 4, .inputs = &in, .ninputs = 1}));
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
    rlx_text_deinit(&entry);
    builder_deinit(&b);
}

/* Launches of many parts and of few in one phase: every unit once a launch, whoever has it. */
START_TEST(every_unit_runs_once)
{
    enum { MIB = 1 << 20, CASES = 4 };
    static const struct {
        int64_t bytes[KERNELS];
        int parts[KERNELS][MOST_THREADS]; /* of a share, by threads */
    } cases[CASES] = {{{1, 1}, {{1, 1, 1, 1}, {1, 1, 1, 1}}},
                      {{8 * MIB, 600 << 10}, {{8, 7, 6, 6}, {4, 3, 2, 2}}},
                      {{1, 8 * MIB}, {{1, 1, 1, 1}, {8, 7, 6, 6}}},
                      {{1024 * MIB, 128 << 10}, {{12, 12, 12, 12}, {2, 1, 1, 1}}}};
    grids *g = malloc(sizeof(*g));
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        rlx_team *t = make_team(threads);
        for (int c = 0; c < CASES; c++) {
            step(t, cases[c].bytes, g);
            for (int k = 0; k < KERNELS; k++) {
                const int launches = k == COPY ? 2 : 1;
                ck_assert_int_eq(g->calls[k], launches * threads * cases[c].parts[k][threads - 1]);
                for (int i = 0; i < g->units; i++)
                    ck_assert_int_eq(g->ran[k][i], launches);
            }
        }
        rlx_team_destroy(t);
    }
    free(g);
}
END_TEST

/* A member is told of a weight that the next phase reads, but not of one that it reads some of. */
START_TEST(weights_are_told)
{
    grids *g = malloc(sizeof(*g));
    rlx_team *t = make_team(1);
    rlx_soon *soon = rlx_team_soon(t, 0);
    step(t, (int64_t[]){sizeof(weight) - 1, 1}, g);
    ck_assert_int_eq(soon->n, 0);
    step(t, (int64_t[]){sizeof(weight), 1}, g);
    ck_assert_int_eq(soon->n, 1);
    ck_assert_ptr_eq(soon->range[0].from, weight);
    ck_assert(soon->range[0].bytes > 0 && soon->range[0].bytes < (int64_t)sizeof(weight));
    rlx_team_destroy(t);
    free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session parts");
    SUITE_TEST(s, "every unit runs once", every_unit_runs_once);
    SUITE_TEST(s, "weights are told", weights_are_told);
    return suite_run(s, 2);
}
