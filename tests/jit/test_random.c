/* Random small kernels: chains of elementwise ops, broadcasts, reductions and contractions on
 * random shapes, against the interpreter. A failure prints the kernel's seed and text. */
#include <string.h>

#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

enum { KERNELS = 60, MAX_TILES = 24 };

typedef struct generator {
    uint64_t state;
    rlx_dims *dims;
    rlx_ir_builder b;
    rlx_ir_func *kernel;
    rlx_ir_value *tile[MAX_TILES]; /* f32 tiles made so far */
    int ntiles;
    int64_t m, n, lanes; /* shapes: <m x n x lanes>, <m x n>, <n>, scalar */
} generator;

static uint64_t pick(generator *g, uint64_t n)
{
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return (g->state >> 11) % n;
}

static rlx_ir_value *any_tile(generator *g)
{
    return g->tile[pick(g, (uint64_t)g->ntiles)];
}

static void add_tile(generator *g, rlx_ir_value *v)
{
    if (v && g->ntiles < MAX_TILES)
        g->tile[g->ntiles++] = v;
}

/* A tile of x's shape, or a scalar. */
static rlx_ir_value *partner(generator *g, const rlx_ir_value *x)
{
    for (int tries = 0; tries < 8; tries++) {
        rlx_ir_value *y = any_tile(g);
        if (y->type.rank == 0 || rlx_ir_shape_equal(&x->type, &y->type))
            return y;
    }
    return rlx_lir_build_const_f32(&g->b, (double)pick(g, 17) / 4 - 2);
}

static rlx_ir_value *random_map(generator *g)
{
    static const rlx_map_fn two[] = {RLX_FN_ADD, RLX_FN_SUB, RLX_FN_MUL, RLX_FN_MIN, RLX_FN_MAX};
    static const rlx_map_fn one[] = {RLX_FN_NEG, RLX_FN_ABS, RLX_FN_ROUND};
    rlx_ir_value *x = any_tile(g), *y = partner(g, x);
    switch (pick(g, 5)) {
    case 0:
        return rlx_lir_build_map1(&g->b, one[pick(g, 3)], x);
    case 1:
        return rlx_lir_build_map3(&g->b, RLX_FN_FMA, x, y, partner(g, x));
    case 2: {
        rlx_ir_value *lt = rlx_lir_build_map2(&g->b, RLX_FN_LT, x, y);
        return rlx_lir_build_map3(&g->b, RLX_FN_SELECT, lt, x, y);
    }
    case 3: {
        rlx_format f = pick(g, 2) ? RLX_F16 : RLX_BF16;
        return rlx_lir_build_cast(&g->b, rlx_lir_build_cast(&g->b, x, f), RLX_F32);
    }
    default:
        return rlx_lir_build_map2(&g->b, two[pick(g, 5)], x, y);
    }
}

static bool is_power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static rlx_ir_value *random_reduce(generator *g)
{
    rlx_ir_value *x = any_tile(g);
    int rank = x->type.rank;
    if (rank == 0 || !is_power_of_two(x->type.dim[rank - 1]))
        return NULL;
    return rlx_lir_build_reduce(&g->b, pick(g, 2) ? RLX_FN_ADD : RLX_FN_MAX, x);
}

/* Into <m x n x lanes>, along whatever axes fit. */
static rlx_ir_value *random_broadcast(generator *g)
{
    const int64_t dims[] = {g->m, g->n, g->lanes};
    rlx_ir_value *x = any_tile(g);
    int64_t axes[3];
    int rank = 1 + (int)pick(g, 3), at = 0;
    if (rank < x->type.rank)
        rank = x->type.rank;
    const int64_t *to = dims + pick(g, (uint64_t)(4 - rank));
    for (int i = 0; i < rank && at < x->type.rank; i++)
        if (to[i] == x->type.dim[at])
            axes[at++] = i;
    return at == x->type.rank ? rlx_lir_build_broadcast(&g->b, x, rank, to, axes) : NULL;
}

static rlx_ir_value *random_contract(generator *g)
{
    const int64_t acc[] = {g->m, g->n, g->lanes}, all[] = {0, 1, 2};
    int64_t k = g->lanes * (int64_t)(1 + pick(g, 3));
    rlx_ir_value *in[2], *zero = rlx_lir_build_const_i64(&g->b, 0), *at[2] = {zero, zero};
    for (int i = 0; i < 2; i++) {
        rlx_dim dims[] = {i ? g->n : g->m, k};
        rlx_format f = pick(g, 2) ? RLX_F32 : RLX_BF16;
        if (g->kernel->body->nargs > 14)
            return NULL;
        rlx_ir_value *buffer = rlx_lir_build_buffer(&g->b, g->kernel, NULL, f, 2, dims);
        in[i] = rlx_lir_build_load(&g->b, buffer, RLX_F32, 2, dims, at, all, NULL);
    }
    rlx_ir_value *start = rlx_lir_build_fill(&g->b, RLX_F32, 3, acc, 0.25);
    return rlx_lir_build_contract(&g->b, start, in[0], in[1]);
}

/* Inputs: one buffer per shape, rows TOKENS live, read at the instance's row with a limit. */
static void load_inputs(generator *g, rlx_ir_value *row, rlx_ir_value *limit)
{
    const int64_t axes[] = {0, 1, 2}, dims[] = {g->m, g->n, g->lanes};
    rlx_ir_value *zero = rlx_lir_build_const_i64(&g->b, 0);
    rlx_ir_value *at[] = {row, zero, zero}, *limits[] = {limit, NULL, NULL};
    for (int rank = 0; rank <= 3; rank++) {
        rlx_dim shape[] = {rlx_dim_symbol(g->dims, "TOKENS"), g->n, g->lanes};
        rlx_format f = pick(g, 3) == 0 ? RLX_F16 : RLX_F32;
        int buffer_rank = rank ? rank : 1;
        rlx_ir_value *b = rlx_lir_build_buffer(&g->b, g->kernel, NULL, f, buffer_rank, shape);
        if (rank == 0)
            at[0] = zero;
        add_tile(g,
                 rlx_lir_build_load(&g->b, b, RLX_F32, rank, dims, at, axes, rank ? limits : NULL));
        at[0] = row;
    }
}

/* The last tile of every shape goes to memory. */
static void store_outputs(generator *g, rlx_ir_value *index)
{
    const int64_t axes[] = {1, 2, 3};
    rlx_dim instances =
        rlx_dim_make(g->dims, RLX_DIM_CEILDIV, rlx_dim_symbol(g->dims, "TOKENS"), g->m);
    rlx_ir_value *zero = rlx_lir_build_const_i64(&g->b, 0);
    for (int rank = 0, stored = 0; rank <= 3; rank++) {
        for (int i = g->ntiles - 1; i >= 0 && stored == rank; i--) {
            rlx_ir_value *v = g->tile[i];
            if (v->type.rank != rank)
                continue;
            rlx_dim dims[4] = {instances, v->type.dim[0], v->type.dim[1], v->type.dim[2]};
            rlx_ir_value *at[] = {index, zero, zero, zero};
            rlx_ir_value *y = rlx_lir_build_buffer(&g->b, g->kernel, NULL, RLX_F32, rank + 1, dims);
            rlx_lir_build_store(&g->b, y, v, at, axes, NULL);
            stored++;
        }
        if (stored == rank)
            stored++;
    }
}

static void generate(generator *g, uint64_t seed)
{
    static const int64_t lanes[] = {1, 2, 4, 8, 16, 16};
    *g = (generator){.state = seed * 0x9E3779B97F4A7C15u + 1, .dims = rlx_dims_create()};
    rlx_ir_module *m;
    EXPECT_OK(rlx_ir_module_create(&rlx_lir_level, g->dims, "random", &m));
    rlx_ir_builder_init(&g->b, m);
    g->kernel = rlx_lir_build_kernel(&g->b, "random", 0, NULL);
    g->m = 1 + (int64_t)pick(g, 5);
    g->n = 1 + (int64_t)pick(g, 9);
    g->lanes = lanes[pick(g, 6)];
    rlx_dim tokens = rlx_dim_symbol(g->dims, "TOKENS");
    rlx_lir_scope grid;
    rlx_ir_value *steps =
        rlx_lir_build_extent(&g->b, rlx_dim_make(g->dims, RLX_DIM_CEILDIV, tokens, g->m));
    rlx_ir_value *limit = rlx_lir_build_extent(&g->b, tokens);
    rlx_lir_begin_grid(&g->b, 1, &steps, &grid);
    rlx_ir_value *row =
        rlx_lir_build_map2(&g->b, RLX_FN_MUL, grid.index[0], rlx_lir_build_const_i64(&g->b, g->m));
    load_inputs(g, row, limit);
    for (int i = 0; i < 14; i++) {
        uint64_t what = pick(g, 8);
        add_tile(g, what == 0   ? random_contract(g)
                    : what <= 2 ? random_reduce(g)
                    : what == 3 ? random_broadcast(g)
                                : random_map(g));
    }
    store_outputs(g, grid.index[0]);
    rlx_lir_end_grid(&g->b, &grid);
    rlx_ir_build_return(&g->b, 0, NULL);
    EXPECT_OK(rlx_ir_builder_finish(&g->b));
    EXPECT_OK(rlx_ir_verify(m));
}

START_TEST(kernels)
{
    rlx_jit_target targets[3];
    int ntargets = cpu_targets(targets);
    targets[ntargets++] = host_team_target(16);
    for (uint64_t seed = 1; seed <= KERNELS; seed++) {
        generator g;
        subject s;
        generate(&g, seed);
        subject_adopt(&s, g.dims, g.b.module);
        s.symbols[rlx_dim_symbol_index(g.dims, "TOKENS")] = (int64_t)(seed % 11);
        for (int t = 0; t < ntargets; t++)
            subject_check_all(&s, &targets[t], seed);
        subject_destroy(&s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit random");
    SUITE_TEST(s, "kernels", kernels);
    return suite_run(s, 1);
}
