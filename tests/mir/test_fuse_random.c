/* Random graphs through the pipeline: whatever is fused verifies, reads back, and computes the same
 * bits (rlx_mir_optimize under RLX_CHECK=text,eval). Seeds are fixed; a failure names its own. */
#include "tests/mir/world.h"

enum { SEEDS = 300, NODES = 40, MOST = 3 * NODES + 16 };

/* Values at hand by shape: rows f32[T,8], scalars of rows f32[T], heads f32[T,2,4]. */
typedef enum shape { ROWS, SCALARS, HEADS, NSHAPES } shape;

typedef struct graph {
    rlx_ir_builder b;
    rlx_dim t;
    uint32_t seed;
    rlx_ir_func *inner;
    rlx_ir_value *weights[3], *gain, *ids, *pos, *seq, *table, *kpool, *vpool;
    rlx_ir_value *values[NSHAPES][MOST];
    int n[NSHAPES];
} graph;

static uint32_t pick(graph *g, uint32_t below)
{
    g->seed = g->seed * 1664525u + 1013904223u;
    return (g->seed >> 12) % below;
}

static void add(graph *g, shape s, rlx_ir_value *v)
{
    ck_assert_int_lt(g->n[s], MOST);
    g->values[s][g->n[s]++] = v;
}

/* Mostly one of the last few, so that chains get long. */
static rlx_ir_value *any(graph *g, shape s)
{
    int n = g->n[s];
    int last = n < 4 || pick(g, 4) == 0 ? n : 4;
    return g->values[s][n - 1 - (int)pick(g, (uint32_t)last)];
}

static rlx_ir_type type_of(const graph *g, shape s)
{
    const rlx_dim rows[] = {g->t, 8}, heads[] = {g->t, 2, 4};
    return s == HEADS ? rlx_ir_tensor(RLX_F32, 3, heads)
                      : rlx_ir_tensor(RLX_F32, s == ROWS ? 2 : 1, rows);
}

static void add_map(graph *g)
{
    static const rlx_map_fn one[] = {RLX_FN_NEG, RLX_FN_ABS, RLX_FN_EXP, RLX_FN_ROUND};
    static const rlx_map_fn two[] = {RLX_FN_ADD, RLX_FN_SUB, RLX_FN_MUL, RLX_FN_MIN, RLX_FN_MAX};
    shape s = (shape)pick(g, NSHAPES);
    rlx_ir_value *x = any(g, s);
    switch (pick(g, 4)) {
    case 0:
        add(g, s, rlx_mir_build_map1(&g->b, one[pick(g, 4)], x));
        break;
    case 1: {
        rlx_ir_value *c = rlx_mir_build_const(&g->b, RLX_F32, 0.125);
        add(g, s, rlx_mir_build_map2(&g->b, RLX_FN_MUL, x, c));
        break;
    }
    default:
        add(g, s, rlx_mir_build_map2(&g->b, two[pick(g, 5)], x, any(g, s)));
    }
}

static void add_norm(graph *g)
{
    rlx_ir_value *x = any(g, ROWS);
    rlx_ir_type t = type_of(g, ROWS);
    rlx_ir_value *sum =
        rlx_mir_build_reduce(&g->b, RLX_FN_ADD, rlx_mir_build_map2(&g->b, RLX_FN_MUL, x, x));
    rlx_ir_value *c = rlx_mir_build_const(&g->b, RLX_F32, 1);
    rlx_ir_value *r =
        rlx_mir_build_map1(&g->b, RLX_FN_RSQRT, rlx_mir_build_map2(&g->b, RLX_FN_ADD, sum, c));
    rlx_ir_value *y = rlx_mir_build_map2(
        &g->b, RLX_FN_MUL, x, rlx_mir_build_broadcast(&g->b, r, 2, t.dim, (int64_t[]){0}));
    rlx_ir_value *gain = rlx_mir_build_broadcast(&g->b, g->gain, 2, t.dim, (int64_t[]){1});
    add(g, ROWS, rlx_mir_build_map2(&g->b, RLX_FN_MUL, y, gain));
    if (pick(g, 2))
        add(g, SCALARS, r);
}

static void add_row_op(graph *g)
{
    rlx_ir_type rows = type_of(g, ROWS);
    if (pick(g, 2))
        add(g, SCALARS,
            rlx_mir_build_reduce(&g->b, pick(g, 2) ? RLX_FN_ADD : RLX_FN_MAX, any(g, ROWS)));
    else
        add(g, ROWS, rlx_mir_build_broadcast(&g->b, any(g, SCALARS), 2, rows.dim, (int64_t[]){0}));
}

static void add_view(graph *g)
{
    rlx_ir_type rows = type_of(g, ROWS), heads = type_of(g, HEADS);
    rlx_ir_value *x;
    switch (pick(g, 5)) {
    case 0:
        add(g, HEADS, rlx_mir_build_reshape(&g->b, any(g, ROWS), 3, heads.dim));
        break;
    case 1:
        add(g, ROWS, rlx_mir_build_reshape(&g->b, any(g, HEADS), 2, rows.dim));
        break;
    case 2: {
        x = any(g, ROWS);
        rlx_ir_value *half[2] = {rlx_mir_build_slice(&g->b, x, 1, 4, 4),
                                 rlx_mir_build_slice(&g->b, any(g, ROWS), 1, 0, 4)};
        add(g, ROWS, rlx_mir_build_concat(&g->b, 2, half, 1));
        break;
    }
    case 3:
        x = rlx_mir_build_transpose(&g->b, any(g, HEADS), (int64_t[]){0, 2, 1});
        add(g, ROWS, rlx_mir_build_reshape(&g->b, x, 2, rows.dim));
        break;
    default:
        x = rlx_mir_build_cast(&g->b, any(g, ROWS), RLX_BF16);
        add(g, ROWS, rlx_mir_build_cast(&g->b, x, RLX_F32));
    }
}

/* Several contracts of one value, most often. */
static void add_contracts(graph *g)
{
    rlx_ir_value *x = any(g, ROWS);
    for (uint32_t i = 0, n = 1 + pick(g, 3); i < n; i++) {
        rlx_ir_value *w = rlx_mir_build_cast(&g->b, g->weights[pick(g, 3)], RLX_F32);
        add(g, ROWS, rlx_mir_build_contract(&g->b, x, w));
    }
}

/* One layer's attention at most: its pools are written once. */
static void add_attention(graph *g)
{
    if (!g->kpool)
        return;
    rlx_ir_value *k =
        rlx_mir_build_page_write(&g->b, "k", g->kpool, any(g, HEADS), g->pos, g->seq, g->table);
    rlx_ir_value *v =
        rlx_mir_build_page_write(&g->b, "v", g->vpool, any(g, HEADS), g->pos, g->seq, g->table);
    if (pick(g, 4)) {
        const rlx_mir_attention a = {.q = any(g, HEADS),
                                     .kpool = k,
                                     .vpool = v,
                                     .pos = g->pos,
                                     .seq = g->seq,
                                     .table = g->table,
                                     .scale = 0.5};
        add(g, HEADS, rlx_mir_build_attention(&g->b, &a));
    }
    g->kpool = NULL;
}

static void add_call(graph *g)
{
    rlx_ir_type t = type_of(g, ROWS);
    rlx_ir_value *x = any(g, ROWS);
    rlx_attr attrs[] = {{.key = RLX_ATTR_CALLEE, .text = g->inner->name},
                        rlx_attr_int(RLX_ATTR_FIRST, 0),
                        rlx_attr_int(RLX_ATTR_COUNT, 2)};
    add(g, ROWS, rlx_ir_build(&g->b, RLX_MIR_CALL, 1, &x, 3, attrs, &t));
}

static void add_any(graph *g)
{
    switch (pick(g, 12)) {
    case 0:
    case 1:
        add_contracts(g);
        break;
    case 2:
        add_norm(g);
        break;
    case 3:
        add_row_op(g);
        break;
    case 4:
        add_attention(g);
        break;
    case 5:
    case 6:
        add_view(g);
        break;
    case 7:
        if (pick(g, 3) == 0)
            add_call(g);
        else if (pick(g, 2))
            add(g, ROWS, rlx_mir_build_gather(&g->b, any(g, ROWS), g->ids));
        break;
    default:
        add_map(g);
    }
}

static rlx_ir_value *arg(graph *g, rlx_ir_func *f, rlx_role role, const char *name, rlx_format fmt,
                         int rank, const rlx_dim *dims)
{
    return rlx_ir_build_arg(&g->b, f, role, name, name, rlx_ir_tensor(fmt, rank, dims));
}

static void build_inner(graph *g)
{
    rlx_ir_type t = type_of(g, ROWS);
    g->inner = rlx_ir_build_func(&g->b, "inner", 1, &t);
    rlx_ir_value *x = rlx_ir_build_arg(&g->b, g->inner, RLX_ROLE_VALUE, NULL, "x", t);
    rlx_ir_value *w = rlx_ir_build_arg(&g->b, g->inner, RLX_ROLE_WEIGHT, "layers.{}.w", "w",
                                       rlx_ir_tensor(RLX_F32, 2, (rlx_dim[]){8, 8}));
    x = rlx_mir_build_map2(&g->b, RLX_FN_ADD, x, rlx_mir_build_contract(&g->b, x, w));
    rlx_ir_build_return(&g->b, 1, &x);
}

static void build_args(graph *g, rlx_ir_func *f)
{
    static const char *const names[] = {"a", "b", "c"};
    rlx_dims *d = g->b.module->dims;
    rlx_dim pages = rlx_dim_symbol(d, "PAGES"), seqs = rlx_dim_symbol(d, "SEQS");
    rlx_dim slots = rlx_dim_symbol(d, "SLOTS");
    rlx_ir_type rows = type_of(g, ROWS);
    add(g, ROWS, rlx_ir_build_arg(&g->b, f, RLX_ROLE_INPUT, "x", "x", rows));
    for (int i = 0; i < 3; i++)
        g->weights[i] =
            arg(g, f, RLX_ROLE_WEIGHT, names[i], i == 1 ? RLX_BF16 : RLX_F32, 2, (rlx_dim[]){8, 8});
    g->gain = arg(g, f, RLX_ROLE_WEIGHT, "gain", RLX_F32, 1, (rlx_dim[]){8});
    g->ids = arg(g, f, RLX_ROLE_INPUT, "ids", RLX_I32, 1, &g->t);
    g->pos = arg(g, f, RLX_ROLE_INPUT, "pos", RLX_I32, 1, &g->t);
    g->seq = arg(g, f, RLX_ROLE_INPUT, "seq", RLX_I32, 1, &g->t);
    g->table = arg(g, f, RLX_ROLE_INPUT, "table", RLX_I32, 2, (rlx_dim[]){seqs, slots});
    g->kpool = arg(g, f, RLX_ROLE_STATE, "k", RLX_F32, 4, (rlx_dim[]){pages, 2, 4, 16});
    g->vpool = arg(g, f, RLX_ROLE_STATE, "v", RLX_F32, 4, (rlx_dim[]){pages, 2, 16, 4});
    add(g, SCALARS, rlx_mir_build_reduce(&g->b, RLX_FN_ADD, g->values[ROWS][0]));
    add(g, HEADS, rlx_mir_build_reshape(&g->b, g->values[ROWS][0], 3, type_of(g, HEADS).dim));
}

static rlx_ir_module *build(uint32_t seed, rlx_dims *dims)
{
    graph g = {.seed = seed * 2654435761u, .t = rlx_dim_symbol(dims, "T")};
    rlx_ir_module *m;
    assert_ok(rlx_ir_module_create(&rlx_mir_level, dims, "random", &m));
    rlx_ir_builder_init(&g.b, m);
    build_inner(&g);
    rlx_ir_func *f = rlx_ir_build_func(&g.b, "main", 0, NULL);
    build_args(&g, f);
    for (int i = 0; i < NODES; i++) {
        add_any(&g);
        assert_ok(rlx_ir_builder_finish(&g.b));
    }
    rlx_ir_value *results[4];
    rlx_ir_type types[4];
    int n = 1 + (int)pick(&g, 4);
    for (int i = 0; i < n; i++) {
        results[i] = any(&g, (shape)pick(&g, NSHAPES));
        types[i] = results[i]->type;
    }
    rlx_ir_func_set_results(&g.b, f, n, types);
    rlx_ir_build_return(&g.b, n, results);
    assert_ok(rlx_ir_builder_finish(&g.b));
    assert_ok(rlx_ir_verify(m));
    return m;
}

START_TEST(test_random)
{
    setenv("RLX_CHECK", "text,eval", 1);
    for (uint32_t seed = (uint32_t)_i * SEEDS; seed < (uint32_t)(_i + 1) * SEEDS; seed++) {
        rlx_dims *dims = rlx_dims_create();
        rlx_ir_module *m = build(seed, dims);
        rlx_status st = rlx_mir_optimize(m);
        assert_ok(rlx_status_note(st, __FILE__, __LINE__, "seed %u", seed));
        rlx_text report = {0};
        assert_ok(rlx_mir_fusion_report(m, &report));
        ck_assert(report.len > 0);
        rlx_text_deinit(&report);
        rlx_ir_module_destroy(m);
        rlx_dims_destroy(dims);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mir_fuse_random");
    TCase *t = tcase_create("graphs");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_random, 0, 4);
    suite_add_tcase(s, t);
    return run_suite(s, 4);
}
