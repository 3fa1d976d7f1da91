/* Every op on every shape and format that matters, compiled for each CPU target and compared bit
 * for bit with the interpreter. Kernels are built here; those of kernels/ are read from text. */
#include <string.h>

#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

typedef struct maker {
    rlx_dims *dims;
    rlx_ir_builder b;
    int kernels;
    bool subgroups; /* on teams with subgroups of 8 to 64, too */
} maker;

static void maker_init(maker *m)
{
    rlx_ir_module *module;
    m->dims = rlx_dims_create();
    m->kernels = 0;
    m->subgroups = false;
    EXPECT_OK(rlx_ir_module_create(&rlx_lir_level, m->dims, "ops", &module));
    rlx_ir_builder_init(&m->b, module);
}

/* Checks every kernel made on every target, with TOKENS live tokens. */
static void maker_check(maker *m, int64_t tokens)
{
    subject s;
    rlx_jit_target targets[2];
    EXPECT_OK(rlx_ir_builder_finish(&m->b));
    EXPECT_OK(rlx_ir_verify(m->b.module));
    subject_adopt(&s, m->dims, m->b.module);
    int i = rlx_dim_symbol_index(s.dims, "TOKENS");
    if (i >= 0)
        s.symbols[i] = tokens;
    for (int t = cpu_targets(targets) - 1; t >= 0; t--)
        subject_check_all(&s, &targets[t], 7);
    rlx_jit_target gpu = host_team_target(32);
    subject_check_all(&s, &gpu, 7);
    for (int lanes = 8; lanes <= 64 && m->subgroups; lanes *= 2) {
        gpu = host_subgroup_target(64, lanes);
        subject_check_all(&s, &gpu, 7);
    }
    subject_destroy(&s);
}

static rlx_ir_func *new_kernel(maker *m, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%d", what, m->kernels++);
    return rlx_lir_build_kernel(&m->b, name, 0, NULL);
}

static rlx_ir_value *constant(maker *m, int64_t v)
{
    return rlx_lir_build_const_i64(&m->b, v);
}

static const int64_t axes_in_order[] = {0, 1, 2};

/* The whole of a buffer, or its first element for rank 0. */
static rlx_ir_value *load_all(maker *m, rlx_ir_value *buffer, int rank, const int64_t *dims)
{
    rlx_ir_value *zero = constant(m, 0), *index[3] = {zero, zero, zero};
    return rlx_lir_build_load(&m->b, buffer, buffer->type.format, rank, dims, index, axes_in_order,
                              NULL);
}

static void store_all(maker *m, rlx_ir_value *buffer, rlx_ir_value *tile)
{
    rlx_ir_value *zero = constant(m, 0), *index[3] = {zero, zero, zero};
    rlx_lir_build_store(&m->b, buffer, tile, index, axes_in_order, NULL);
}

static rlx_ir_value *new_buffer(maker *m, rlx_ir_func *k, const char *name, rlx_format f, int rank,
                                const int64_t *dims)
{
    static const int64_t one[] = {1};
    return rlx_lir_build_buffer(&m->b, k, name, f, rank ? rank : 1, rank ? dims : one);
}

static void begin_one(maker *m, rlx_lir_scope *grid)
{
    rlx_ir_value *one = constant(m, 1);
    rlx_lir_begin_grid(&m->b, 1, &one, grid);
}

static void end_one(maker *m, rlx_lir_scope *grid)
{
    rlx_lir_end_grid(&m->b, grid);
    rlx_ir_build_return(&m->b, 0, NULL);
}

/* ---- broadcast ---- */

static void make_broadcast(maker *m, rlx_format f, int rank, const int64_t *dims, unsigned axes)
{
    int64_t from[3], axis[3];
    int n = 0;
    for (int i = 0; i < rank; i++) {
        if (axes >> i & 1) {
            from[n] = dims[i];
            axis[n++] = i;
        }
    }
    rlx_lir_scope grid;
    rlx_ir_func *k = new_kernel(m, "broadcast");
    rlx_ir_value *x = new_buffer(m, k, "x", f, n, from), *y = new_buffer(m, k, "y", f, rank, dims);
    begin_one(m, &grid);
    rlx_ir_value *v = load_all(m, x, n, from);
    store_all(m, y, rlx_lir_build_broadcast(&m->b, v, rank, dims, axis));
    end_one(m, &grid);
}

START_TEST(broadcast)
{
    static const struct {
        int rank;
        int64_t dims[3];
    } shapes[] = {{1, {5}},    {1, {1}},    {1, {16}},      {2, {3, 5}},     {2, {4, 16}},
                  {2, {2, 1}}, {2, {1, 7}}, {3, {2, 3, 4}}, {3, {3, 1, 16}}, {3, {2, 2, 1}}};
    maker m;
    maker_init(&m);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned axes = 0; axes < 1u << shapes[i].rank; axes++)
            make_broadcast(&m, i % 3 ? RLX_F32 : RLX_BOOL, shapes[i].rank, shapes[i].dims, axes);
    ck_assert_int_ge(m.kernels, 40);
    maker_check(&m, 0);
}
END_TEST

/* ---- reduce ---- */

static void make_reduce(maker *m, rlx_format f, rlx_map_fn fn, int rank, const int64_t *dims)
{
    rlx_lir_scope grid;
    rlx_ir_func *k = new_kernel(m, "reduce");
    const char *name = fn == RLX_FN_MAX ? "odd_x" : "x";
    rlx_ir_value *x = new_buffer(m, k, name, f, rank, dims);
    rlx_ir_value *y = new_buffer(m, k, "y", f, rank - 1, dims);
    begin_one(m, &grid);
    store_all(m, y, rlx_lir_build_reduce(&m->b, fn, load_all(m, x, rank, dims)));
    end_one(m, &grid);
}

START_TEST(reduce)
{
    static const struct {
        int rank;
        int64_t dims[3];
    } shapes[] = {{1, {16}},      {1, {1}},        {1, {2}},        {1, {64}},
                  {2, {4, 16}},   {2, {3, 8}},     {2, {40, 16}},   {2, {5, 1}},
                  {2, {16, 16}},  {2, {17, 4}},    {3, {4, 6, 16}}, {3, {3, 5, 8}},
                  {3, {2, 4, 4}}, {3, {1, 8, 16}}, {3, {2, 3, 2}},  {3, {1, 1, 32}}};
    static const rlx_format formats[] = {RLX_F32, RLX_F64, RLX_F16, RLX_BF16,
                                         RLX_I16, RLX_I32, RLX_I64};
    maker m;
    maker_init(&m);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            if (f > 0 && i % 3 != f % 3) /* all of f32, a third of the others */
                continue;
            make_reduce(&m, formats[f], RLX_FN_ADD, shapes[i].rank, shapes[i].dims);
            make_reduce(&m, formats[f], RLX_FN_MAX, shapes[i].rank, shapes[i].dims);
        }
    }
    ck_assert_int_ge(m.kernels, 90);
    m.subgroups = true;
    maker_check(&m, 0);
}
END_TEST

/* ---- contract ---- */

typedef struct contraction {
    int64_t m, n, lanes, k;
    rlx_format weights;
} contraction;

/* y[TOKENS, 2n+1] over three steps of K, rows and columns limited. */
static void make_contract(maker *m, const contraction *c)
{
    rlx_ir_builder *b = &m->b;
    rlx_dim tokens = rlx_dim_symbol(m->dims, "TOKENS");
    rlx_dim columns = 2 * c->n + 1, depth = 3 * c->k;
    rlx_ir_func *k = new_kernel(m, "contract");
    rlx_ir_value *x = rlx_lir_build_buffer(b, k, "x", RLX_F32, 2, (rlx_dim[]){tokens, depth});
    rlx_ir_value *w = rlx_lir_build_buffer(b, k, "w", c->weights, 2, (rlx_dim[]){columns, depth});
    rlx_ir_value *y = rlx_lir_build_buffer(b, k, "y", RLX_F32, 2, (rlx_dim[]){tokens, columns});
    rlx_dim rows = rlx_dim_make(m->dims, RLX_DIM_CEILDIV, tokens, c->m);
    rlx_ir_value *extents[] = {rlx_lir_build_extent(b, rows), constant(m, 3)};
    rlx_lir_scope grid, loop;
    rlx_lir_begin_grid(b, 2, extents, &grid);
    rlx_ir_value *row = rlx_lir_build_map2(b, RLX_FN_MUL, grid.index[0], constant(m, c->m));
    rlx_ir_value *col = rlx_lir_build_map2(b, RLX_FN_MUL, grid.index[1], constant(m, c->n));
    rlx_ir_value *limits[] = {rlx_lir_build_extent(b, tokens), constant(m, columns)};
    rlx_ir_value *zero = rlx_lir_build_fill(b, RLX_F32, 3, (int64_t[]){c->m, c->n, c->lanes}, 0);
    rlx_lir_begin_for(b, constant(m, 0), constant(m, depth), c->k, 1, &zero, &loop);
    rlx_ir_value *at_x[] = {row, loop.index[0]}, *at_w[] = {col, loop.index[0]};
    rlx_ir_value *xv = rlx_lir_build_load(b, x, RLX_F32, 2, (int64_t[]){c->m, c->k}, at_x,
                                          axes_in_order, (rlx_ir_value *[]){limits[0], NULL});
    rlx_ir_value *wv = rlx_lir_build_load(b, w, RLX_F32, 2, (int64_t[]){c->n, c->k}, at_w,
                                          axes_in_order, (rlx_ir_value *[]){limits[1], NULL});
    rlx_ir_value *acc = rlx_lir_build_contract(b, loop.carried[0], xv, wv);
    rlx_lir_end_for(b, &loop, &acc);
    rlx_ir_value *sum = rlx_lir_build_reduce(b, RLX_FN_ADD, loop.result[0]);
    rlx_lir_build_store(b, y, sum, (rlx_ir_value *[]){row, col}, axes_in_order, limits);
    rlx_lir_end_grid(b, &grid);
    rlx_ir_build_return(b, 0, NULL);
}

START_TEST(contract)
{
    static const contraction cases[] = {{1, 1, 16, 16, RLX_F32},  {4, 3, 16, 48, RLX_BF16},
                                        {2, 2, 1, 5, RLX_F32},    {3, 2, 8, 24, RLX_F16},
                                        {1, 8, 16, 64, RLX_BF16}, {4, 4, 16, 16, RLX_F32},
                                        {2, 5, 4, 8, RLX_F32},    {1, 4, 2, 6, RLX_F32},
                                        {6, 1, 16, 32, RLX_F32},  {1, 16, 16, 16, RLX_BF16}};
    static const int64_t tokens[] = {0, 1, 6, 13};
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
        maker m;
        maker_init(&m);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            make_contract(&m, &cases[i]);
        maker_check(&m, tokens[t]);
    }
}
END_TEST

/* ---- elementwise ---- */

/* What elementwise kernels share: TOKENS elements in steps of 8, the last one limited; results are
 * rows of y. */
typedef struct elementwise {
    maker *m;
    rlx_lir_scope grid;
    rlx_ir_value *at, *limit, *y;
    int row;
} elementwise;

enum { STEP = 8 };

static rlx_ir_func *begin_elementwise(elementwise *e, maker *m, const char *name)
{
    *e = (elementwise){.m = m};
    return new_kernel(m, name);
}

static void begin_steps(elementwise *e)
{
    rlx_ir_builder *b = &e->m->b;
    rlx_dim tokens = rlx_dim_symbol(e->m->dims, "TOKENS");
    rlx_ir_value *steps =
        rlx_lir_build_extent(b, rlx_dim_make(e->m->dims, RLX_DIM_CEILDIV, tokens, STEP));
    e->limit = rlx_lir_build_extent(b, tokens);
    rlx_lir_begin_grid(b, 1, &steps, &e->grid);
    e->at = rlx_lir_build_map2(b, RLX_FN_MUL, e->grid.index[0], constant(e->m, STEP));
}

static rlx_ir_value *load_step(elementwise *e, rlx_ir_value *buffer, rlx_format f)
{
    static const int64_t dims[] = {STEP};
    return rlx_lir_build_load(&e->m->b, buffer, f, 1, dims, &e->at, axes_in_order, &e->limit);
}

static void store_step(elementwise *e, rlx_ir_value *tile)
{
    static const int64_t axes[] = {1};
    rlx_ir_value *index[] = {constant(e->m, e->row++), e->at};
    rlx_lir_build_store(&e->m->b, e->y, tile, index, axes, &e->limit);
}

static void end_elementwise(elementwise *e)
{
    rlx_lir_end_grid(&e->m->b, &e->grid);
    rlx_ir_build_return(&e->m->b, 0, NULL);
}

static bool is_real(rlx_format f)
{
    return rlx_format_is_float(f);
}

/* Row 0: cast; then what memory converts: a load that decodes, a store that rounds. */
static void make_cast(maker *m, rlx_format from, rlx_format to)
{
    elementwise e;
    rlx_ir_func *k = begin_elementwise(&e, m, "cast");
    rlx_dim tokens = rlx_dim_symbol(m->dims, "TOKENS");
    const char *name = is_real(from) && is_real(to) ? "odd_x" : "x";
    rlx_ir_value *x = rlx_lir_build_buffer(&m->b, k, name, from, 1, &tokens);
    e.y = rlx_lir_build_buffer(&m->b, k, "y", to, 2, (rlx_dim[]){3, tokens});
    begin_steps(&e);
    rlx_ir_value *v = load_step(&e, x, from);
    store_step(&e, rlx_lir_build_cast(&m->b, v, to));
    if (is_real(from) && (to == RLX_F32 || to == RLX_F64))
        store_step(&e, load_step(&e, x, to));
    if (is_real(from) && is_real(to))
        store_step(&e, v);
    end_elementwise(&e);
}

START_TEST(cast)
{
    static const rlx_format pairs[][2] = {
        {RLX_F32, RLX_F64},  {RLX_F64, RLX_F32},  {RLX_F32, RLX_F16},  {RLX_F16, RLX_F32},
        {RLX_F32, RLX_BF16}, {RLX_BF16, RLX_F32}, {RLX_BF16, RLX_F16}, {RLX_F16, RLX_BF16},
        {RLX_F16, RLX_F64},  {RLX_BF16, RLX_F64}, {RLX_F32, RLX_I8},   {RLX_F32, RLX_I16},
        {RLX_F32, RLX_I32},  {RLX_F32, RLX_I64},  {RLX_F64, RLX_I32},  {RLX_F64, RLX_I64},
        {RLX_F16, RLX_I32},  {RLX_BF16, RLX_I16}, {RLX_I8, RLX_F32},   {RLX_I16, RLX_F32},
        {RLX_I32, RLX_F32},  {RLX_I64, RLX_F32},  {RLX_U8, RLX_F32},   {RLX_BOOL, RLX_F32},
        {RLX_I32, RLX_F64},  {RLX_I64, RLX_F64},  {RLX_I8, RLX_F16},   {RLX_I16, RLX_BF16},
        {RLX_I8, RLX_I16},   {RLX_I8, RLX_I32},   {RLX_I32, RLX_I64},  {RLX_I64, RLX_I32},
        {RLX_I32, RLX_I8},   {RLX_U8, RLX_I32},   {RLX_BOOL, RLX_I32}, {RLX_I64, RLX_I8}};
    maker m;
    maker_init(&m);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        make_cast(&m, pairs[i][0], pairs[i][1]);
    maker_check(&m, 43);
}
END_TEST

START_TEST(bitcast)
{
    static const rlx_format pairs[][2] = {
        {RLX_F32, RLX_I32},  {RLX_F64, RLX_I64}, {RLX_F16, RLX_I16},  {RLX_BF16, RLX_I16},
        {RLX_I32, RLX_F32},  {RLX_I64, RLX_F64}, {RLX_I16, RLX_BF16}, {RLX_I16, RLX_F16},
        {RLX_F16, RLX_BF16}, {RLX_I8, RLX_U8}};
    maker m;
    maker_init(&m);
    rlx_dim tokens = rlx_dim_symbol(m.dims, "TOKENS");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        elementwise e;
        rlx_ir_func *k = begin_elementwise(&e, &m, "bitcast");
        const char *name = is_real(pairs[i][0]) ? "odd_x" : "x";
        rlx_ir_value *x = rlx_lir_build_buffer(&m.b, k, name, pairs[i][0], 1, &tokens);
        e.y = rlx_lir_build_buffer(&m.b, k, "y", pairs[i][1], 2, (rlx_dim[]){1, tokens});
        begin_steps(&e);
        store_step(&e, rlx_lir_build_bitcast(&m.b, load_step(&e, x, pairs[i][0]), pairs[i][1]));
        end_elementwise(&e);
    }
    maker_check(&m, 21);
}
END_TEST

static rlx_ir_value *scalar(maker *m, rlx_format f, int64_t v)
{
    return rlx_lir_build_fill_int(&m->b, f, 0, NULL, v);
}

/* Divisors of both signs, zero, minus one and constants; shifts beyond the last bit. */
static void make_int_maps(maker *m, rlx_format f)
{
    static const rlx_map_fn fns[] = {RLX_FN_ADD, RLX_FN_SUB, RLX_FN_MUL, RLX_FN_DIV, RLX_FN_MOD,
                                     RLX_FN_MIN, RLX_FN_MAX, RLX_FN_AND, RLX_FN_OR,  RLX_FN_SHL};
    enum { NFNS = sizeof fns / sizeof *fns, ROWS = NFNS + 9 };
    bool is_signed = rlx_format_get(f)->kind == RLX_KIND_INT;
    elementwise e;
    rlx_ir_builder *b = &m->b;
    rlx_ir_func *k = begin_elementwise(&e, m, rlx_format_get(f)->name);
    rlx_dim tokens = rlx_dim_symbol(m->dims, "TOKENS");
    rlx_ir_value *x = rlx_lir_build_buffer(b, k, "x", f, 1, &tokens);
    rlx_ir_value *y = rlx_lir_build_buffer(b, k, "y", f, 1, &tokens);
    rlx_ir_value *id = rlx_lir_build_buffer(b, k, "id", f, 1, &tokens);
    e.y = rlx_lir_build_buffer(b, k, "out", f, 2, (rlx_dim[]){ROWS, tokens});
    begin_steps(&e);
    rlx_ir_value *u = load_step(&e, x, f), *v = load_step(&e, y, f);
    rlx_ir_value *one = scalar(m, f, 1), *seven = scalar(m, f, 7), *eight = scalar(m, f, 8);
    rlx_ir_value *small = rlx_lir_build_map2(b, RLX_FN_SUB, load_step(&e, id, f), one);
    for (int i = 0; i < NFNS; i++)
        store_step(&e, rlx_lir_build_map2(b, fns[i], u, v));
    store_step(&e, rlx_lir_build_map2(b, RLX_FN_DIV, u, small)); /* by -1, 0 and 1 */
    store_step(&e, rlx_lir_build_map2(b, RLX_FN_MOD, u, small));
    store_step(&e, rlx_lir_build_map2(b, RLX_FN_DIV, u, seven));
    store_step(&e, rlx_lir_build_map2(b, RLX_FN_MOD, u, seven));
    store_step(&e, rlx_lir_build_map2(b, RLX_FN_DIV, u, eight));
    store_step(&e, rlx_lir_build_map2(b, RLX_FN_MOD, u, eight));
    rlx_ir_value *lt = rlx_lir_build_map2(b, RLX_FN_LT, u, v);
    rlx_ir_value *le = rlx_lir_build_map2(b, RLX_FN_LE, v, seven);
    rlx_ir_value *eq = rlx_lir_build_map2(b, RLX_FN_EQ, lt, le);
    rlx_ir_value *either = rlx_lir_build_map2(b, RLX_FN_OR, eq, lt);
    store_step(&e, rlx_lir_build_map3(b, RLX_FN_SELECT, either, u, seven));
    store_step(&e, is_signed ? rlx_lir_build_map1(b, RLX_FN_NEG, u) : u);
    store_step(&e, is_signed ? rlx_lir_build_map1(b, RLX_FN_ABS, u) : v);
    end_elementwise(&e);
}

START_TEST(int_maps)
{
    static const rlx_format formats[] = {RLX_I8, RLX_I16, RLX_I32, RLX_I64, RLX_U8};
    maker m;
    maker_init(&m);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        make_int_maps(&m, formats[i]);
    maker_check(&m, 61);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit ops");
    SUITE_TEST(s, "broadcast", broadcast);
    SUITE_TEST(s, "reduce", reduce);
    SUITE_TEST(s, "contract", contract);
    SUITE_TEST(s, "cast", cast);
    SUITE_TEST(s, "bitcast", bitcast);
    SUITE_TEST(s, "int_maps", int_maps);
    return suite_run(s, 6);
}
