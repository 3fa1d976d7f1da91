/* tests/random_graphs/generate.c: what a graph may hold. An op whose shapes do not fit is dropped.
 */
#include <stdio.h>

#include "tests/random_graphs/graphs.h"

enum { MOST_VALUES = 64, MOST_ELEMS = 6000 };

typedef struct maker {
    rlx_ir_builder b;
    random_graph *g;
    uint64_t state;
    bool products; /* the graph is mostly of contracts and views of them */
    rlx_ir_value *values[MOST_VALUES];
    int n;
} maker;

static int below(maker *k, int n)
{
    return (int)(graph_random(&k->state) % (uint64_t)n);
}

static rlx_ir_value *any(maker *k)
{
    const int last = k->n < 5 || below(k, 3) == 0 ? k->n : 5;
    return k->values[k->n - 1 - below(k, last)];
}

static rlx_ir_value *any_of(maker *k, bool (*is)(rlx_format))
{
    for (int i = 0; i < 20; i++) {
        rlx_ir_value *v = any(k);
        if (is(v->type.format))
            return v;
    }
    return NULL;
}

static bool is_float(rlx_format f)
{
    return rlx_format_is_float(f);
}

static bool is_f32(rlx_format f)
{
    return f == RLX_F32;
}

static bool is_bool(rlx_format f)
{
    return f == RLX_BOOL;
}

static bool is_number(rlx_format f)
{
    return f != RLX_BOOL;
}

static rlx_format any_format(maker *k)
{
    static const rlx_format formats[] = {RLX_F32, RLX_F32,  RLX_F32, RLX_F32, RLX_F32, RLX_F64,
                                         RLX_F16, RLX_BF16, RLX_I8,  RLX_I16, RLX_I32, RLX_I64,
                                         RLX_U8,  RLX_U16,  RLX_U32, RLX_U64, RLX_BOOL};
    return formats[below(k, sizeof formats / sizeof *formats)];
}

static rlx_dim any_extent(maker *k)
{
    static const int64_t extents[] = {1, 1, 2, 3, 4, 5, 7, 8, 16, 17, 33};
    static const char *const symbols[] = {"T", "S"};
    if (below(k, 24) == 0)
        return 0;
    if (below(k, 4))
        return extents[below(k, sizeof extents / sizeof *extents)];
    const rlx_dim d = rlx_dim_symbol(k->g->dims, symbols[below(k, 4) == 0]);
    return below(k, 4) ? d : rlx_dim_make(k->g->dims, RLX_DIM_ADD, d, 2);
}

static int64_t elems(const maker *k, const rlx_ir_type *t)
{
    int64_t upper[RLX_MAX_SYMBOLS], n = 1;
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        upper[i] = GRAPH_UPPER;
    for (int i = 0; i < t->rank; i++)
        n *= 1 + rlx_dim_upper(k->g->dims, t->dim[i], upper); /* as if none were empty */
    return n;
}

static int any_axis(maker *k, const rlx_ir_value *x)
{
    return x->type.rank ? below(k, x->type.rank) : 0;
}

/* ---- the ops -----------------------------------------------------------------------------------
 */

static rlx_ir_value *make_map1(maker *k)
{
    static const rlx_map_fn fns[] = {
        RLX_FN_NEG, RLX_FN_ABS, RLX_FN_SQRT, RLX_FN_RSQRT, RLX_FN_EXP,  RLX_FN_ROUND, RLX_FN_FLOOR,
        RLX_FN_LOG, RLX_FN_SIN, RLX_FN_COS,  RLX_FN_ATAN,  RLX_FN_TANH, RLX_FN_ERF};
    return rlx_mir_map1(&k->b, fns[below(k, sizeof fns / sizeof *fns)], any(k));
}

/* y in x's format. */
static rlx_ir_value *alike(maker *k, const rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_mir_saturate(&k->b, y, x->type.format);
}

static rlx_ir_value *make_map2(maker *k)
{
    static const rlx_map_fn fns[] = {RLX_FN_ADD, RLX_FN_SUB, RLX_FN_MUL, RLX_FN_DIV, RLX_FN_MOD,
                                     RLX_FN_MIN, RLX_FN_MAX, RLX_FN_LT,  RLX_FN_LE,  RLX_FN_EQ,
                                     RLX_FN_AND, RLX_FN_OR,  RLX_FN_XOR, RLX_FN_SHL, RLX_FN_SHR};
    rlx_ir_value *x = any(k), *y = any(k);
    return rlx_mir_map2(&k->b, fns[below(k, sizeof fns / sizeof *fns)], x, alike(k, x, y));
}

static rlx_ir_value *make_map3(maker *k)
{
    rlx_ir_value *x = any(k), *y = alike(k, x, any(k));
    if (below(k, 3) == 0)
        return rlx_mir_map(&k->b, RLX_FN_FMA, 3, (rlx_ir_value *[]){x, y, x});
    rlx_ir_value *c = any_of(k, is_bool);
    return rlx_mir_pick(&k->b, c ? c : rlx_mir_map2(&k->b, RLX_FN_EQ, x, y), x, y);
}

static rlx_ir_value *make_number(maker *k)
{
    rlx_ir_value *x = any(k);
    const double number = x->type.format == RLX_BOOL ? below(k, 2) : below(k, 4);
    return rlx_mir_map_num(&k->b, below(k, 2) ? RLX_FN_ADD : RLX_FN_MUL, x, number);
}

static rlx_ir_value *make_cast(maker *k)
{
    rlx_ir_value *x = any(k);
    const rlx_format f = any_format(k);
    if (below(k, 6) == 0 && rlx_format_bytes(f, 1) == rlx_format_bytes(x->type.format, 1))
        return rlx_mir_build_bitcast(&k->b, x, f);
    return rlx_mir_saturate(&k->b, x, f);
}

static rlx_ir_value *make_reshape(maker *k)
{
    rlx_ir_value *x = any(k);
    const int axis = any_axis(k, x);
    rlx_ir_type y = x->type;
    if (below(k, 3) == 0)
        return rlx_mir_insert(&k->b, x, below(k, x->type.rank + 1));
    if (x->type.rank && below(k, 2) && rlx_dim_is_const(x->type.dim[axis]) &&
        x->type.dim[axis] % 2 == 0 && y.rank < RLX_MAX_RANK - 1) {
        for (int i = y.rank++; i > axis + 1; i--)
            y.dim[i] = y.dim[i - 1];
        y.dim[axis + 1] = 2;
        y.dim[axis] = x->type.dim[axis] / 2;
        return rlx_mir_reshape(&k->b, x, y.rank, y.dim);
    }
    return rlx_mir_flatten(&k->b, x, axis, x->type.rank);
}

static rlx_ir_value *make_transpose(maker *k)
{
    rlx_ir_value *x = any(k);
    return rlx_mir_move(&k->b, x, any_axis(k, x), any_axis(k, x));
}

static rlx_ir_value *make_expand(maker *k)
{
    rlx_ir_value *x = any(k);
    rlx_ir_type y = x->type;
    if (y.rank > 4)
        return NULL;
    for (int i = y.rank++; i > 0; i--)
        y.dim[i] = y.dim[i - 1];
    y.dim[0] = any_extent(k);
    for (int i = 1; i < y.rank; i++)
        if (y.dim[i] == 1 && below(k, 2))
            y.dim[i] = any_extent(k);
    return rlx_mir_expand(&k->b, x, y.rank, y.dim);
}

static rlx_ir_value *make_slice(maker *k)
{
    rlx_ir_value *x = any(k);
    const int axis = any_axis(k, x);
    if (!x->type.rank || !rlx_dim_is_const(x->type.dim[axis]) || !x->type.dim[axis])
        return NULL;
    const int64_t n = x->type.dim[axis], start = below(k, (int)n), step = below(k, 3) + 1;
    if (below(k, 3) == 0)
        return rlx_mir_slice(&k->b, x, axis, start, below(k, (int)(start / step) + 1) + 1, -step);
    return rlx_mir_slice(&k->b, x, axis, start, below(k, (int)((n - 1 - start) / step) + 1) + 1,
                         step);
}

static rlx_ir_value *make_pad(maker *k)
{
    rlx_ir_value *x = any(k);
    if (!x->type.rank)
        return NULL;
    rlx_ir_value *fill = rlx_mir_like(&k->b, x, below(k, 2));
    const int64_t low = below(k, 4), high = below(k, 4);
    return rlx_mir_pad(&k->b, x, any_axis(k, x), low, high, fill);
}

static rlx_ir_value *make_window(maker *k)
{
    rlx_ir_value *x = any(k);
    if (!x->type.rank || x->type.rank > 4)
        return NULL;
    const int64_t size = below(k, 3) + 1, step = below(k, 2) + 1;
    return rlx_mir_build_window(&k->b, x, any_axis(k, x), size, step, below(k, 2) + 1);
}

static rlx_ir_value *make_concat(maker *k)
{
    rlx_ir_value *x = any(k), *y = any(k);
    if (!x->type.rank)
        return NULL;
    if (x->type.rank != y->type.rank)
        y = x;
    return rlx_mir_build_concat(&k->b, 2, (rlx_ir_value *[]){x, alike(k, x, y)}, any_axis(k, x));
}

static rlx_map_fn any_fold(maker *k, const rlx_ir_value *x)
{
    static const rlx_map_fn numbers[] = {RLX_FN_ADD, RLX_FN_ADD, RLX_FN_MUL, RLX_FN_MIN,
                                         RLX_FN_MAX};
    if (x->type.format == RLX_BOOL)
        return below(k, 2) ? RLX_FN_AND : RLX_FN_OR;
    return numbers[below(k, 5)];
}

static rlx_ir_value *make_reduce(maker *k)
{
    rlx_ir_value *x = any(k);
    if (!x->type.rank)
        return NULL;
    if (below(k, 3) == 0)
        return rlx_mir_build_reduce(&k->b, any_fold(k, x), x);
    return rlx_mir_fold(&k->b, any_fold(k, x), x, (unsigned)below(k, (1 << x->type.rank) - 1) + 1,
                        below(k, 2));
}

static rlx_ir_value *make_scan(maker *k)
{
    rlx_ir_value *x = any_of(k, is_number);
    if (!x || !x->type.rank)
        return NULL;
    const rlx_map_fn fn = any_fold(k, x);
    const bool sums = fn == RLX_FN_ADD || fn == RLX_FN_MUL;
    return rlx_mir_scan(&k->b, fn, x, any_axis(k, x), sums && below(k, 4) == 0, below(k, 4) == 0);
}

/* Any numbers as indices of 0..extent-1, by remainders. */
static rlx_ir_value *make_ids(maker *k, rlx_dim extent)
{
    const rlx_format f = below(k, 2) ? RLX_I32 : RLX_I64;
    rlx_ir_value *ids = rlx_mir_saturate(&k->b, any(k), f);
    rlx_ir_value *n = rlx_mir_extent(&k->b, extent, f);
    return rlx_mir_map2(&k->b, RLX_FN_MOD, ids, n);
}

static rlx_ir_value *make_take(maker *k)
{
    rlx_ir_value *x = any(k);
    if (!x->type.rank)
        return NULL;
    const int axis = any_axis(k, x);
    if (x->type.dim[axis] < 1) /* a symbol may be 0: there would be nothing to take */
        return NULL;
    return rlx_mir_take(&k->b, x, make_ids(k, x->type.dim[axis]), axis);
}

static rlx_ir_value *make_scatter(maker *k)
{
    rlx_ir_value *x = any_of(k, is_number);
    if (!x || !x->type.rank)
        return NULL;
    const rlx_dim rows = any_extent(k);
    rlx_ir_type u = x->type;
    u.dim[0] = rows;
    rlx_ir_value *ids = rlx_mir_iota(&k->b, RLX_I32, 1, &rows, 0);
    ids = rlx_mir_map_num(&k->b, RLX_FN_SUB, rlx_mir_map_num(&k->b, RLX_FN_MUL, ids, 2), 1);
    rlx_ir_value *put = rlx_mir_fold(&k->b, RLX_FN_MAX, x, 1, true);
    put = rlx_mir_expand(&k->b, put, u.rank, u.dim);
    return rlx_mir_build_scatter(&k->b, below(k, 2) ? RLX_FN_COUNT : any_fold(k, x), x, ids, put);
}

/* Two axes or more. */
static bool is_matrix(const rlx_ir_value *v)
{
    return v && v->type.format == RLX_F32 && v->type.rank >= 2;
}

static rlx_ir_value *make_weight(maker *k, rlx_dim columns)
{
    const rlx_dim dims[] = {below(k, 12) ? below(k, 9) + 1 : 0, columns};
    return rlx_mir_iota(&k->b, RLX_F32, 2, dims, below(k, 2));
}

/* x against itself: a matrix for each index of its first axes, its rows side by side or its
 * columns. */
static rlx_ir_value *contract_itself(maker *k, rlx_ir_value *x)
{
    const int last = x->type.rank - 1, own = x->type.rank > 2 ? 1 + below(k, last - 1) : 0;
    rlx_ir_value *y = rlx_mir_flatten(&k->b, x, own, last);
    if (y && below(k, 2)) { /* memory [P..,K,N], seen as [P..,N,K] */
        y = rlx_mir_map1(&k->b, RLX_FN_NEG, rlx_mir_move(&k->b, y, own, own + 1));
        y = rlx_mir_move(&k->b, y, own, own + 1);
    }
    return rlx_mir_build_contract_in_order(&k->b, x, y);
}

static rlx_ir_value *make_contract(maker *k)
{
    rlx_ir_value *x = any_of(k, is_f32), *y = any_of(k, is_f32);
    if (!is_matrix(x) || !is_matrix(y))
        return NULL;
    if (below(k, 2))
        return contract_itself(k, x);
    if (below(k, 2))
        return rlx_mir_build_contract(&k->b, x, rlx_mir_flatten(&k->b, y, 0, y->type.rank - 1));
    return rlx_mir_build_contract(&k->b, x, make_weight(k, x->type.dim[x->type.rank - 1]));
}

/* The same rows, with other matrices: as many, or more. */
static rlx_ir_value *choose_again(maker *k, const rlx_ir_node *n)
{
    const rlx_ir_type *w = &n->in[1]->type;
    const rlx_dim dims[] = {w->dim[0] + below(k, 3), below(k, 9) + 1, w->dim[2]};
    rlx_ir_value *b = rlx_mir_iota(&k->b, RLX_F32, 3, dims, below(k, 3));
    return rlx_mir_build_contract_chosen(&k->b, n->in[0], b, rlx_mir_contract_ids(n));
}

/* One more contract of a value that has one already: they share a kernel. */
static rlx_ir_value *make_sibling(maker *k)
{
    for (int i = 0; i < 20; i++) {
        const rlx_ir_node *n = any(k)->def;
        if (n && n->op == RLX_MIR_CONTRACT) {
            if (rlx_mir_contract_ids(n))
                return choose_again(k, n);
            const rlx_ir_type *w = &n->in[1]->type;
            return below(k, 3)
                       ? rlx_mir_build_contract(
                             &k->b, n->in[0], rlx_mir_iota(&k->b, RLX_F32, 2, w->dim, below(k, 2)))
                       : rlx_mir_build_contract(&k->b, n->in[0], make_weight(k, w->dim[1]));
        }
    }
    return NULL;
}

/* A value beside itself or beside another of its shape, some of them more than twice. */
static rlx_ir_value *make_repeated(maker *k)
{
    rlx_ir_value *x = any(k), *part[12];
    const int n = below(k, 8) ? 2 + below(k, 2) : 12;
    if (!x->type.rank)
        return NULL;
    for (int i = 0; i < n; i++) {
        rlx_ir_value *y = any(k);
        part[i] = rlx_ir_type_equal(&x->type, &y->type) ? y : x;
    }
    return rlx_mir_build_concat(&k->b, n, part, x->type.rank - 1 - (below(k, 3) == 0));
}

/* The last axes as others: one dropped, one more, one cut elsewhere. */
static rlx_ir_value *make_columns(maker *k)
{
    rlx_ir_value *x = any(k);
    rlx_ir_type y = x->type;
    const int last = y.rank - 1;
    if (last < 0 || !rlx_dim_is_const(y.dim[last]))
        return NULL;
    const int64_t n = y.dim[last];
    if (n == 1 && below(k, 2))
        return rlx_mir_reshape(&k->b, x, last, y.dim);
    for (int64_t d = 2 + below(k, 3); d <= n; d++)
        if (n % d == 0 && y.rank < 6) {
            y.dim[y.rank++] = below(k, 2) ? d : n / d;
            y.dim[last] = n / y.dim[y.rank - 1];
            return rlx_mir_reshape(&k->b, x, y.rank, y.dim);
        }
    return below(k, 2) ? rlx_mir_insert(&k->b, x, y.rank)
                       : rlx_mir_flatten(&k->b, x, last - 1, y.rank);
}

/* Rows with the matrices that they choose: rows mod how many there are, one of them never. */
static rlx_ir_value *make_chosen(maker *k)
{
    rlx_ir_value *x = any_of(k, is_f32);
    if (!x || x->type.rank != 2)
        return NULL;
    const int64_t matrices = 2 + below(k, 6), each = below(k, 3);
    const rlx_dim w[] = {matrices, below(k, 9) + 1, x->type.dim[1]};
    const rlx_dim rows[] = {x->type.dim[0], each};
    rlx_ir_value *ids = rlx_mir_iota(&k->b, RLX_I32, each ? 2 : 1, rows, each ? below(k, 2) : 0);
    rlx_ir_value *count = rlx_mir_like(&k->b, ids, (double)matrices - 1);
    ids = rlx_mir_map2(&k->b, RLX_FN_MOD, ids, count);
    rlx_ir_value *b = rlx_mir_iota(&k->b, RLX_F32, 3, w, below(k, 3));
    return rlx_mir_build_contract_chosen(&k->b, x, b, ids);
}

static rlx_ir_value *make_order(maker *k)
{
    rlx_ir_value *x = any_of(k, is_number);
    if (!x || !x->type.rank)
        return NULL;
    const rlx_dim n = x->type.dim[x->type.rank - 1];
    const int64_t count = below(k, 2) && rlx_dim_is_const(n) && n > 0 ? 1 + below(k, (int)n) : 0;
    return below(k, 3) ? rlx_mir_build_order(&k->b, x, count, below(k, 2))
                       : rlx_mir_ranks(&k->b, x, below(k, 2));
}

static rlx_ir_value *make_rows(maker *k)
{
    rlx_ir_value *x = any_of(k, is_float);
    if (!x || !x->type.rank)
        return NULL;
    switch (below(k, 3)) {
    case 0:
        return rlx_mir_softmax(&k->b, x, any_axis(k, x));
    case 1:
        return rlx_mir_mean(&k->b, x, 1u << any_axis(k, x));
    default:
        return rlx_mir_matmul(&k->b, x, rlx_mir_move(&k->b, x, 0, x->type.rank - 1));
    }
}

static rlx_ir_value *make_iota(maker *k)
{
    rlx_dim d = any_extent(k);
    const rlx_format f = any_format(k);
    return f == RLX_BOOL ? NULL : rlx_mir_iota(&k->b, f, 1, &d, 0);
}

/* ---- a graph -----------------------------------------------------------------------------------
 */

static rlx_ir_value *(*const makers[])(maker *) = {
    make_map1,   make_map1,    make_map2,      make_map2,   make_map2,  make_map3,    make_number,
    make_cast,   make_reshape, make_transpose, make_expand, make_slice, make_pad,     make_window,
    make_concat, make_reduce,  make_reduce,    make_scan,   make_take,  make_scatter, make_contract,
    make_rows,   make_iota,    make_chosen,    make_order};

static void add_argument(maker *k, rlx_ir_func *f)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    rlx_dim dims[4];
    const int rank = k->products ? 2 + below(k, 2) : below(k, 4);
    for (int i = 0; i < rank; i++)
        dims[i] = any_extent(k);
    const rlx_ir_type t =
        rlx_ir_tensor(k->products && below(k, 4) ? RLX_F32 : any_format(k), rank, dims);
    if (elems(k, &t) > MOST_ELEMS)
        return;
    k->values[k->n] = rlx_ir_build_arg(&k->b, f, RLX_ROLE_INPUT, names[k->n], names[k->n], t);
    k->n++;
}

/* Contracts and what may go into their kernels, or may not. */
static rlx_ir_value *(*const products[])(maker *) = {
    make_contract, make_contract, make_sibling, make_sibling, make_repeated,  make_repeated,
    make_columns,  make_columns,  make_slice,   make_expand,  make_transpose, make_concat,
    make_map1,     make_map2,     make_map2,    make_number,  make_cast,      make_reduce,
    make_rows,     make_reshape,  make_take};

static void add_op(maker *k)
{
    rlx_ir_value *v = k->products ? products[below(k, sizeof products / sizeof *products)](k)
                                  : makers[below(k, sizeof makers / sizeof *makers)](k);
    rlx_status_free(rlx_ir_builder_finish(&k->b)); /* what does not fit is left out */
    if (v && v->def && v->type.rank <= 6 && elems(k, &v->type) <= MOST_ELEMS)
        k->values[k->n++] = v;
}

static rlx_status finish(maker *k, rlx_ir_func *f, int narguments)
{
    rlx_ir_value *results[3];
    rlx_ir_type types[3];
    int n = 0;
    for (int i = k->n - 1; i >= narguments && n < 3; i -= 1 + below(k, 3)) {
        results[n] = k->values[i];
        types[n++] = k->values[i]->type;
    }
    rlx_ir_func_set_results(&k->b, f, n, types);
    rlx_ir_build_return(&k->b, n, results);
    return rlx_ir_builder_finish(&k->b);
}

rlx_status graph_generate(uint64_t seed, random_graph *g)
{
    maker k = {.g = g, .state = seed};
    *g = (random_graph){.seed = seed, .dims = rlx_dims_create()};
    if (!g->dims)
        return RLX_OOM();
    RLX_TRY(rlx_ir_module_create(&rlx_hir_level, g->dims, "random", &g->hir));
    static const int64_t extents[] = {0, 1, 1, 2, 3, 5, 7, 8};
    (void)rlx_dim_symbol(g->dims, "T");
    (void)rlx_dim_symbol(g->dims, "S");
    for (int i = 0; i < 2; i++)
        g->live[i] = extents[below(&k, 8)];
    k.products = below(&k, 3) == 0;
    rlx_ir_builder_init(&k.b, g->hir);
    rlx_ir_func *f = rlx_ir_build_func(&k.b, "main", 0, NULL);
    while (k.n < 2 || (k.n < 4 && below(&k, 2)))
        add_argument(&k, f);
    const int narguments = k.n, most = narguments + 2 + below(&k, k.products ? 20 : 9);
    for (int i = 0; i < 200 && k.n < most; i++)
        add_op(&k);
    RLX_TRY(finish(&k, f, narguments));
    rlx_ir_remove_dead(g->hir);
    return rlx_ir_verify(g->hir);
}

rlx_status graph_parse(const char *path, const char *text, random_graph *g)
{
    *g = (random_graph){.dims = rlx_dims_create()};
    if (!g->dims)
        return RLX_OOM();
    (void)rlx_dim_symbol(g->dims, "T");
    (void)rlx_dim_symbol(g->dims, "S");
    /* the first line, as graph_reduce writes it */
    long long live[2] = {3, 3}, seed = 0;
    sscanf(text, "// T=%lld S=%lld seed=%lld", &live[0], &live[1], &seed);
    for (int i = 0; i < 2; i++)
        g->live[i] = live[i];
    g->seed = (uint64_t)seed;
    g->is_file = true;
    RLX_TRY(rlx_ir_parse(&rlx_hir_level, g->dims, path, text, &g->hir));
    return rlx_ir_verify(g->hir);
}

void graph_deinit(random_graph *g)
{
    rlx_ir_module_destroy(g->hir);
    rlx_dims_destroy(g->dims);
}
