/* tests/lower/test_lower.c: fused MIR against its LIR, bit for bit, through every skeleton: registers and blocks,
 * once and kernel prologues, pages, row regions; both instruction widths and a GPU's; live extents below the
 * bucket's. HIR's plain evaluator stands behind both, within rounding. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hir/hir.h"
#include "tests/lower/tape_runner.h"

enum { MAX_TENSORS = 128, PAGES = 6, SLOTS = 3, SEQS = 2, LAYERS = 3 };

typedef struct shape {
    int64_t hidden, heads, kv_heads, head_dim, ffn, vocab;
    rlx_format format;
    int64_t window; /* 0: none */
    bool head_norm, no_rope, interleaved;
    rlx_format keys, values; /* of the pools; NONE: f32; i8 with scales */
    int64_t chunk, block;    /* 0: none */
    double softcap;          /* 0: none */
    bool sinks, shared;
} shape;

typedef struct world {
    shape s;
    int64_t tokens, rows;
    rlx_eval_tensor tensor[MAX_TENSORS];
    char name[MAX_TENSORS][64];
    int n;
    uint64_t seed;
    int64_t symbols[RLX_MAX_SYMBOLS];
} world;

static double uniform(world *w)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(w->seed >> 11) / 9007199254740992.0 * 2 - 1;
}

static rlx_eval_tensor *add(world *w, const char *name, rlx_format f, int rank, const int64_t *dims)
{
    ck_assert_int_lt(w->n, MAX_TENSORS);
    rlx_eval_tensor *t = &w->tensor[w->n];
    snprintf(w->name[w->n], sizeof w->name[0], "%s", name);
    *t = (rlx_eval_tensor){.name = w->name[w->n++], .format = f, .rank = rank};
    int64_t elems = 1;
    for (int i = 0; i < rank; i++)
        elems *= t->dim[i] = dims[i];
    t->data = malloc(rlx_format_bytes(f, elems) + 1);
    if (rlx_format_get(f)->kind == RLX_KIND_BLOCK)
        rlx_format_make_blocks(f, t->data, elems, w->seed += (uint64_t)w->n);
    for (int64_t i = 0; i < elems && (rlx_format_is_float(f) || f == RLX_I8); i++)
        rlx_format_store(f, t->data, i, uniform(w) * (f == RLX_I8 ? 127 : 0.4));
    return t;
}

static rlx_eval_tensor *find(void *user, rlx_role role, const char *symbol)
{
    world *w = user;
    (void)role;
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->name[i], symbol) == 0)
            return &w->tensor[i];
    return NULL;
}

/* A pool of keys or values: its format, its type with `width` elements per head and position. */
static rlx_format pool_format(const shape *s, bool keys)
{
    const rlx_format f = keys ? s->keys : s->values;
    return f ? f : RLX_F32;
}

static rlx_ir_type pool_type(const shape *s, bool keys, rlx_format f, rlx_dim pages, int64_t width)
{
    const rlx_dim dims[4] = {pages, s->kv_heads, keys ? width : RLX_KV_PAGE, keys ? RLX_KV_PAGE : width};
    return rlx_ir_tensor(f, 4, dims);
}

static void add_pool(world *w, const char *name, const rlx_ir_type *t)
{
    rlx_eval_tensor *pool = add(w, name, t->format, t->rank, t->dim);
    const int64_t elems = t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    for (int64_t i = 0; t->format == RLX_F16 && strstr(name, "scale") && i < elems; i++)
        rlx_format_store(t->format, pool->data, i, 0.4 / 127 * fabs(uniform(w)));
}

static void add_pools(world *w, int layer)
{
    char name[64];
    for (int keys = 0; keys < 2; keys++) {
        const rlx_format f = pool_format(&w->s, keys);
        rlx_ir_type t = pool_type(&w->s, keys, f, PAGES, w->s.head_dim);
        snprintf(name, sizeof name, "kv.%c.%d", keys ? 'k' : 'v', layer);
        add_pool(w, name, &t);
        if (f != RLX_I8)
            continue;
        t = pool_type(&w->s, keys, RLX_F16, PAGES, w->s.head_dim / RLX_KV_GROUP);
        snprintf(name, sizeof name, "kv.%c_scale.%d", keys ? 'k' : 'v', layer);
        add_pool(w, name, &t);
    }
}

static void add_layer(world *w, int layer)
{
    const shape *s = &w->s;
    struct {
        const char *name;
        int64_t d[2];
    } list[] = {{"n1", {s->hidden, 0}},
                {"q", {s->heads * s->head_dim, s->hidden}},
                {"k", {s->kv_heads * s->head_dim, s->hidden}},
                {"v", {s->kv_heads * s->head_dim, s->hidden}},
                {"qn", {s->head_dim, 0}},
                {"kn", {s->head_dim, 0}},
                {"sinks", {s->heads, 0}},
                {"o", {s->hidden, s->heads * s->head_dim}},
                {"n2", {s->hidden, 0}},
                {"gate", {s->ffn, s->hidden}},
                {"up", {s->ffn, s->hidden}},
                {"down", {s->hidden, s->ffn}}};
    char name[64];
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        snprintf(name, sizeof name, "l%d.%s", layer, list[i].name);
        add(w, name, list[i].d[1] ? s->format : RLX_F32, list[i].d[1] ? 2 : 1, list[i].d);
    }
    add_pools(w, layer);
}

static void fill_ints(rlx_eval_tensor *t, const int32_t *v, int64_t n)
{
    memcpy(t->data, v, sizeof *v * (size_t)n);
}

/* Tokens of two sequences at rising positions, on both sides of a page's end. */
static void make_world(world *w, const shape *s, int64_t tokens, uint64_t seed)
{
    *w = (world){.s = *s, .tokens = tokens, .rows = tokens > 2 ? 2 : 1, .seed = seed};
    int32_t ids[64], pos[64], seq[64], rows[2], next[SEQS] = {250, 600};
    ck_assert_int_le(tokens, 64);
    for (int64_t t = 0; t < tokens; t++) {
        ids[t] = (int32_t)((uniform(w) + 1) / 2 * (double)(s->vocab - 1));
        seq[t] = t % 3 == 1;
        pos[t] = next[seq[t]]++;
    }
    rows[0] = (int32_t)tokens - 1;
    rows[1] = 0;
    int32_t table[SEQS * SLOTS] = {4, 1, 0, 2, 5, 3};
    int64_t d1[1] = {tokens}, d2[2] = {SEQS, SLOTS}, half[2] = {tokens, s->head_dim / 2};
    fill_ints(add(w, "ids", RLX_I32, 1, d1), ids, tokens);
    fill_ints(add(w, "pos", RLX_I32, 1, d1), pos, tokens);
    fill_ints(add(w, "seq", RLX_I32, 1, d1), seq, tokens);
    fill_ints(add(w, "rows", RLX_I32, 1, &w->rows), rows, w->rows);
    fill_ints(add(w, "table", RLX_I32, 2, d2), table, SEQS * SLOTS);
    add(w, "rope_cos", RLX_F32, 2, half);
    add(w, "rope_sin", RLX_F32, 2, half);
    int64_t embed[2] = {s->vocab, s->hidden};
    add(w, "embed", s->format, 2, embed);
    add(w, "norm", RLX_F32, 1, &s->hidden);
    for (int i = 0; i < LAYERS; i++)
        add_layer(w, i);
}

static void free_world(world *w)
{
    for (int i = 0; i < w->n; i++)
        free(w->tensor[i].data);
}

static rlx_ir_value *weight(rlx_ir_builder *b, rlx_ir_func *f, const world *w, const char *symbol)
{
    char concrete[64];
    const char *hole = strstr(symbol, "{}");
    if (hole)
        snprintf(concrete, sizeof concrete, "%.*s0%s", (int)(hole - symbol), symbol, hole + 2);
    else
        snprintf(concrete, sizeof concrete, "%s", symbol);
    const rlx_eval_tensor *t = find((void *)w, RLX_ROLE_WEIGHT, concrete);
    return rlx_ir_build_arg(b, f, RLX_ROLE_WEIGHT, symbol, NULL,
                            rlx_ir_tensor(t->format, t->rank, t->dim));
}

static rlx_ir_value *input(rlx_ir_builder *b, rlx_ir_func *f, const char *name, rlx_format format,
                           int rank, rlx_dim d0, rlx_dim d1)
{
    rlx_dim dims[2] = {d0, d1};
    return rlx_ir_build_arg(b, f, RLX_ROLE_INPUT, name, name, rlx_ir_tensor(format, rank, dims));
}

/* A pool as an argument, and its scales (NULL: none). */
static rlx_ir_value *pool_arg(rlx_ir_builder *b, rlx_ir_func *f, const shape *s, bool keys, rlx_ir_value **scale)
{
    const rlx_dim pages = rlx_dim_symbol(b->module->dims, "PAGES");
    const rlx_format format = pool_format(s, keys);
    *scale = NULL;
    if (format == RLX_I8)
        *scale = rlx_ir_build_arg(b, f, RLX_ROLE_STATE, keys ? "kv.k_scale.{}" : "kv.v_scale.{}", NULL,
                                  pool_type(s, keys, RLX_F16, pages, s->head_dim / RLX_KV_GROUP));
    return rlx_ir_build_arg(b, f, RLX_ROLE_STATE, keys ? "kv.k.{}" : "kv.v.{}", NULL,
                            pool_type(s, keys, format, pages, s->head_dim));
}

static rlx_ir_func *build_layer(rlx_ir_module *m, const world *w, rlx_dim tokens)
{
    const shape *s = &w->s;
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_dim xd[2] = {tokens, s->hidden};
    rlx_ir_type xt = rlx_ir_tensor(RLX_F32, 2, xd);
    rlx_ir_func *f = rlx_ir_build_func(&b, "layer", 1, &xt);
    rlx_ir_value *x = rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "x", xt);
    rlx_ir_value *cos = input(&b, f, "rope_cos", RLX_F32, 2, tokens, s->head_dim / 2);
    rlx_ir_value *sin = input(&b, f, "rope_sin", RLX_F32, 2, tokens, s->head_dim / 2);
    rlx_hir_attention a = {.heads = s->heads, .kv_heads = s->kv_heads, .head_dim = s->head_dim};
    a.scale = 1.0 / sqrt((double)s->head_dim);
    a.pos = input(&b, f, "pos", RLX_I32, 1, tokens, 0);
    a.seq = input(&b, f, "seq", RLX_I32, 1, tokens, 0);
    a.table = input(&b, f, "table", RLX_I32, 2, rlx_dim_symbol(m->dims, "SEQS"),
                    rlx_dim_symbol(m->dims, "SLOTS"));
    a.kpool = pool_arg(&b, f, s, true, &a.kscale);
    a.vpool = pool_arg(&b, f, s, false, &a.vscale);
    b.place = "self_attn";
    rlx_ir_value *n = rlx_hir_build_rms_norm(&b, x, weight(&b, f, w, "l{}.n1"), 1e-5);
    a.q = rlx_hir_build_linear(&b, n, weight(&b, f, w, "l{}.q"), NULL);
    a.k = rlx_hir_build_linear(&b, n, weight(&b, f, w, "l{}.k"), NULL);
    a.v = rlx_hir_build_linear(&b, n, weight(&b, f, w, "l{}.v"), NULL);
    a.window = s->window;
    a.chunk = s->chunk;
    a.block = s->block;
    a.softcap = s->softcap;
    a.sinks = s->sinks ? weight(&b, f, w, "l{}.sinks") : NULL;
    if (s->head_norm) {
        a.q = rlx_hir_build_rms_norm_heads(&b, a.q, weight(&b, f, w, "l{}.qn"), 1e-5, s->heads);
        a.k = rlx_hir_build_rms_norm_heads(&b, a.k, weight(&b, f, w, "l{}.kn"), 1e-5, s->kv_heads);
    }
    if (!s->no_rope) {
        rlx_ir_value *(*rotate)(rlx_ir_builder *, rlx_ir_value *, rlx_ir_value *, rlx_ir_value *, int64_t, int64_t) =
            s->interleaved ? rlx_hir_build_rope_interleaved : rlx_hir_build_rope;
        a.q = rotate(&b, a.q, cos, sin, s->heads, s->head_dim);
        a.k = rotate(&b, a.k, cos, sin, s->kv_heads, s->head_dim);
    }
    if (s->shared)
        a.k = a.v = NULL;
    rlx_ir_value *o = rlx_hir_build_attention(&b, &a, NULL, NULL);
    o = rlx_hir_build_linear(&b, o, weight(&b, f, w, "l{}.o"), NULL);
    x = rlx_mir_build_map2(&b, RLX_FN_ADD, x, o);
    b.place = "mlp";
    n = rlx_hir_build_rms_norm(&b, x, weight(&b, f, w, "l{}.n2"), 1e-5);
    rlx_ir_value *gate = rlx_hir_build_linear(&b, n, weight(&b, f, w, "l{}.gate"), NULL);
    rlx_ir_value *up = rlx_hir_build_linear(&b, n, weight(&b, f, w, "l{}.up"), NULL);
    rlx_ir_value *down = rlx_hir_build_swiglu(&b, gate, up);
    down = rlx_hir_build_linear(&b, down, weight(&b, f, w, "l{}.down"), NULL);
    x = rlx_mir_build_map2(&b, RLX_FN_ADD, x, down);
    rlx_ir_build_return(&b, 1, &x);
    ck_assert_ptr_null(rlx_ir_builder_finish(&b));
    return f;
}

static rlx_ir_module *build_model(const world *w, rlx_dims *dims)
{
    rlx_ir_module *m;
    ck_assert_ptr_null(rlx_ir_module_create(&rlx_hir_level, dims, "model", &m));
    rlx_dim tokens = rlx_dim_symbol(dims, "TOKENS"), rows = rlx_dim_symbol(dims, "ROWS");
    rlx_ir_func *layer = build_layer(m, w, tokens);
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_dim yd[2] = {rows, w->s.vocab}, xd[2] = {tokens, w->s.hidden};
    rlx_ir_type types[2] = {rlx_ir_tensor(RLX_F32, 2, yd), rlx_ir_tensor(RLX_F32, 2, xd)};
    rlx_ir_func *f = rlx_ir_build_func(&b, "main", 2, types);
    rlx_ir_value *ids = input(&b, f, "ids", RLX_I32, 1, tokens, 0);
    rlx_ir_value *select = input(&b, f, "rows", RLX_I32, 1, rows, 0);
    rlx_ir_value *embed = weight(&b, f, w, "embed");
    rlx_ir_value *x = rlx_hir_build_embed(&b, ids, embed);
    rlx_ir_node *call = rlx_hir_build_call(&b, layer, 1, &x, 0, LAYERS);
    ck_assert_ptr_null(rlx_ir_builder_finish(&b));
    rlx_ir_value *y = rlx_hir_build_select_rows(&b, call->out[0], select);
    y = rlx_hir_build_rms_norm(&b, y, weight(&b, f, w, "norm"), 1e-5);
    y = rlx_hir_build_linear(&b, y, embed, NULL);
    rlx_ir_value *results[2] = {y, call->out[0]};
    rlx_ir_build_return(&b, 2, results);
    ck_assert_ptr_null(rlx_ir_builder_finish(&b));
    return m;
}

static void must(rlx_status s, const rlx_ir_module *m)
{
    if (!s)
        return;
    char *text = rlx_status_text(s);
    rlx_text ir = {0};
    if (m)
        rlx_ir_print(m, 0, &ir);
    fprintf(stderr, "%s\n", ir.data ? ir.data : "");
    ck_abort_msg("%s", text);
}

static void bind_symbols(world *w, rlx_dims *dims)
{
    const struct {
        const char *name;
        int64_t value;
    } list[] = {{"TOKENS", w->tokens}, {"ROWS", w->rows}, {"PAGES", PAGES}, {"SEQS", SEQS}, {"SLOTS", SLOTS}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        int index = rlx_dim_symbol_index(dims, list[i].name);
        ck_assert_int_ge(index, 0);
        w->symbols[index] = list[i].value;
    }
}

typedef struct pools {
    void *saved[MAX_TENSORS]; /* by tensor; NULL: no pool */
} pools;

static size_t tensor_bytes(const rlx_eval_tensor *t)
{
    int64_t elems = 1;
    for (int i = 0; i < t->rank; i++)
        elems *= t->dim[i];
    return rlx_format_bytes(t->format, elems);
}

static void save_pools(const world *w, pools *p)
{
    *p = (pools){{NULL}};
    for (int i = 0; i < w->n; i++)
        if (strncmp(w->name[i], "kv.", 3) == 0)
            memcpy(p->saved[i] = malloc(tensor_bytes(&w->tensor[i])), w->tensor[i].data, tensor_bytes(&w->tensor[i]));
}

static void restore_pools(world *w, const pools *p)
{
    for (int i = 0; i < w->n; i++)
        if (p->saved[i])
            memcpy(w->tensor[i].data, p->saved[i], tensor_bytes(&w->tensor[i]));
}

static void compare_pools(const world *w, const pools *p)
{
    int compared = 0;
    for (int i = 0; i < w->n; i++) {
        if (!p->saved[i])
            continue;
        ck_assert_msg(memcmp(w->tensor[i].data, p->saved[i], tensor_bytes(&w->tensor[i])) == 0, "%s differs",
                      w->name[i]);
        compared++;
    }
    ck_assert_int_ge(compared, 2 * LAYERS);
}

static void free_pools(pools *p)
{
    for (int i = 0; i < MAX_TENSORS; i++)
        free(p->saved[i]);
}

static const rlx_lir_target targets[] = {
    {.unit = RLX_UNIT_CPU, .vector_f32 = 16, .vector_regs = 32, .team = 1, .threads = 2, .l1_bytes = 49152,
     .l2_bytes = 2 << 20, .team_bytes = 1 << 20},
    {.unit = RLX_UNIT_CPU, .vector_f32 = 8, .vector_regs = 16, .team = 1, .threads = 2, .l1_bytes = 32768,
     .l2_bytes = 1 << 20, .team_bytes = 1 << 20},
    /* so little first-level cache that K goes by many panels */
    {.unit = RLX_UNIT_CPU, .vector_f32 = 16, .vector_regs = 32, .team = 1, .threads = 2, .l1_bytes = 1536,
     .l2_bytes = 2 << 20, .team_bytes = 1 << 20},
    {.unit = RLX_UNIT_CPU, .vector_f32 = 8, .vector_regs = 16, .team = 1, .threads = 2, .l1_bytes = 512,
     .l2_bytes = 1 << 20, .team_bytes = 1 << 20},
    /* so much that steps are of 128 bytes */
    {.unit = RLX_UNIT_GPU, .vector_f32 = 1, .vector_regs = 1, .team = 64, .threads = 8, .l1_bytes = 160 << 10,
     .l2_bytes = 1 << 20, .team_bytes = 32768, .byte_matrix = {16, 8, 32, 32, false},
     .float_matrix = {16, 8, 16, 32, false}, .column_matrix = {16, 8, 16, 32, false}, .copy_cycles = 800},
    {.unit = RLX_UNIT_GPU, .vector_f32 = 1, .vector_regs = 1, .team = 256, .threads = 8, .l1_bytes = 32768,
     .l2_bytes = 1 << 20, .team_bytes = 32768, .byte_matrix = {8, 64, 32, 128, false},
     .copy_cycles = 800, .float_stages = true},
};

/* That which multiplies halves by its matrix unit. */
static const rlx_lir_target *const gpu = &targets[sizeof targets / sizeof *targets - 2];

/* The last is as wgmma's. Prefill of a GPU goes by its matrix unit: in a CPU's order, for weights in blocks. */
static bool prefills(const rlx_lir_target *t, const shape *s)
{
    return t->unit == RLX_UNIT_CPU || rlx_format_get(s->format)->kind == RLX_KIND_BLOCK;
}

/* Lowered for one target and bucket: the same bits as `want`, the same pools as `after`. */
static void compare_lir(world *w, const rlx_ir_module *mir, const rlx_lir_target *target, int64_t upper_tokens,
                        const rlx_eval_tensor *want, const pools *before, const pools *after)
{
    int64_t upper[RLX_MAX_SYMBOLS];
    memcpy(upper, w->symbols, sizeof upper);
    upper[rlx_dim_symbol_index(mir->dims, "TOKENS")] = upper_tokens;
    upper[rlx_dim_symbol_index(mir->dims, "ROWS")] = upper_tokens;
    rlx_mir_lower_options o = {.target = target, .upper = upper};
    rlx_ir_module *lir;
    must(rlx_mir_lower(mir, &o, &lir), mir);
    rlx_lir_plan_report report;
    must(rlx_lir_check_plan(lir, "main", upper, &report), lir);
    rlx_eval_env env = {.find = find, .user = w, .symbols = w->symbols};
    restore_pools(w, before);
    rlx_eval_tensor got[2];
    for (int i = 0; i < 2; i++) {
        got[i] = want[i];
        got[i].data = malloc(sizeof(float) * (size_t)(want[i].dim[0] * want[i].dim[1]));
    }
    tape_run r = {.module = lir, .env = &env, .arena_bytes = (size_t)report.arena_bytes,
                  .options = {.teams = 3, .seed = w->seed}};
    r.arena = aligned_alloc(64, (r.arena_bytes + 63) / 64 * 64 + 64);
    must(tape_run_entry(&r, "main", got, 2), lir);
    ck_assert_int_ge(r.launches, 5 * LAYERS + 2);
    for (int i = 0; i < 2; i++) {
        const float *a = want[i].data, *b = got[i].data;
        for (int64_t e = 0; e < want[i].dim[0] * want[i].dim[1]; e++)
            ck_assert_msg(memcmp(&a[e], &b[e], 4) == 0,
                          "result %d element %lld: mir %.9g, lir %.9g (unit %d, %d registers, upper %lld)", i,
                          (long long)e, (double)a[e], (double)b[e], (int)target->unit, target->vector_regs,
                          (long long)upper_tokens);
        free(got[i].data);
    }
    compare_pools(w, after);
    free(r.arena);
    rlx_ir_module_destroy(lir);
}

/* How far apart the levels may be: HIR sums in f64, and stores round; a fast profile rounds activations, by a share
 * of all that a row adds up: what is small among large results is as far off as they are (docs/precision.md). */
static void expect_near(const rlx_eval_tensor *hir, const rlx_eval_tensor *mir, int result, float bound, float least)
{
    for (int64_t e = 0; e < mir->dim[0] * mir->dim[1]; e++) {
        float a = ((float *)hir->data)[e], b = ((float *)mir->data)[e];
        ck_assert_msg(fabsf(a - b) <= bound * fmaxf(least, fabsf(a)), "result %d element %lld: hir %g, mir %g", result,
                      (long long)e, (double)a, (double)b);
    }
}

static float rms(const rlx_eval_tensor *t)
{
    const int64_t elems = t->dim[0] * t->dim[1];
    double sum = 0;
    for (int64_t e = 0; e < elems; e++)
        sum += (double)((float *)t->data)[e] * (double)((float *)t->data)[e];
    return (float)sqrt(sum / (double)elems);
}

/* In exact mode: what is stored may round to the neighbour, of which a pool's format has few. */
static float hir_tolerance(const shape *s)
{
    float worst = 2e-5f;
    for (int keys = 0; keys < 2; keys++) {
        const rlx_format f = pool_format(s, keys);
        const float step = f == RLX_F16 ? 0x1p-10f : f == RLX_BF16 ? 0x1p-7f : f == RLX_I8 ? 1.0f / 127 : 0;
        worst = fmaxf(worst, step);
    }
    return worst;
}

static int count_chunks(const rlx_ir_module *mir)
{
    rlx_text text = {0};
    int n = 0;
    rlx_ir_print(mir, 0, &text);
    for (const char *p = text.data; (p = strstr(p, "width=16}")) != NULL; p++)
        n++;
    rlx_text_deinit(&text);
    return n;
}

/* `own`: the one target that has this numerics; NULL: there are several. */
static void run_model(const shape *s, int64_t tokens, rlx_mir_precision precision, const rlx_lir_target *own,
                      uint64_t seed)
{
    world w;
    make_world(&w, s, tokens, seed);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *hir = build_model(&w, dims), *mir;
    must(rlx_ir_verify(hir), hir);
    must(rlx_hir_lower(hir, &mir), hir);
    bind_symbols(&w, dims);
    must(rlx_mir_choose_precision(mir, precision, own), mir);
    must(rlx_mir_optimize(mir), mir);
    ck_assert_int_ge(count_chunks(mir), own ? 4 : 0);
    rlx_eval_env env = {.find = find, .user = &w, .symbols = w.symbols};
    pools before, after;
    save_pools(&w, &before);
    rlx_eval_tensor plain[2], want[2];
    must(rlx_hir_eval(hir, "main", &env, plain, 2), hir);
    restore_pools(&w, &before);
    must(rlx_mir_eval(mir, "main", &env, want, 2), mir);
    save_pools(&w, &after);
    for (int i = 0; i < 2; i++)
        if (precision == RLX_MIR_EXACT)
            expect_near(&plain[i], &want[i], i, hir_tolerance(s), 1);
        else
            expect_near(&plain[i], &want[i], i, 0.25f, rms(&plain[i]));
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        const bool fragments = targets[t].byte_matrix.lanes > 32; /* is there for those of prefill */
        if (own ? &targets[t] != own : precision == RLX_MIR_PREFILL ? !prefills(&targets[t], s) : fragments)
            continue;
        const bool wide = (t + seed) % 2; /* every target has either bucket, with other lengths */
        if (precision == RLX_MIR_PREFILL || !wide)
            compare_lir(&w, mir, &targets[t], tokens, want, &before, &after);
        if (precision == RLX_MIR_PREFILL || wide)
            compare_lir(&w, mir, &targets[t], 128, want, &before, &after);
    }
    for (int i = 0; i < 2; i++) {
        free(plain[i].data);
        free(want[i].data);
    }
    free_pools(&before);
    free_pools(&after);
    rlx_ir_module_destroy(hir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    free_world(&w);
}

static const shape shapes[] = {
    {.hidden = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .ffn = 44, .vocab = 50, .format = RLX_F32},
    {.hidden = 48, .heads = 3, .kv_heads = 1, .head_dim = 24, .ffn = 37, .vocab = 33, .format = RLX_BF16},
    {.hidden = 64, .heads = 4, .kv_heads = 4, .head_dim = 64, .ffn = 96, .vocab = 64, .format = RLX_F16},
    {.hidden = 20, .heads = 8, .kv_heads = 1, .head_dim = 2, .ffn = 5, .vocab = 7, .format = RLX_F32},
    {.hidden = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .ffn = 44, .vocab = 50, .format = RLX_F32,
     .window = 7},
    {.hidden = 32, .heads = 4, .kv_heads = 1, .head_dim = 12, .ffn = 20, .vocab = 30, .format = RLX_BF16,
     .window = 300, .head_norm = true}, /* the second page begins masked, the first is not visited */
    {.hidden = 32, .heads = 2, .kv_heads = 2, .head_dim = 16, .ffn = 20, .vocab = 30, .format = RLX_F32,
     .window = 1, .no_rope = true},
    {.hidden = 40, .heads = 6, .kv_heads = 2, .head_dim = 10, .ffn = 30, .vocab = 30, .format = RLX_F32,
     .head_norm = true},
    {.hidden = 40, .heads = 6, .kv_heads = 2, .head_dim = 64, .ffn = 30, .vocab = 30, .format = RLX_F32,
     .window = 90, .head_norm = true, .no_rope = true},
    {.hidden = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .ffn = 44, .vocab = 50, .format = RLX_F32,
     .keys = RLX_F16, .values = RLX_BF16},
    {.hidden = 32, .heads = 4, .kv_heads = 1, .head_dim = 12, .ffn = 20, .vocab = 30, .format = RLX_BF16,
     .window = 300, .head_norm = true, .keys = RLX_BF16, .values = RLX_F16},
    {.hidden = 32, .heads = 2, .kv_heads = 1, .head_dim = 64, .ffn = 44, .vocab = 50, .format = RLX_F32,
     .keys = RLX_I8, .values = RLX_I8},
    {.hidden = 32, .heads = 2, .kv_heads = 2, .head_dim = 32, .ffn = 20, .vocab = 30, .format = RLX_F32,
     .window = 90, .head_norm = true, .keys = RLX_I8, .values = RLX_F32},
    {.hidden = 32, .heads = 1, .kv_heads = 1, .head_dim = 96, .ffn = 20, .vocab = 30, .format = RLX_F32,
     .no_rope = true, .keys = RLX_F16, .values = RLX_I8},
    {.hidden = 12, .heads = 3, .kv_heads = 1, .head_dim = 6, .ffn = 5, .vocab = 7, .format = RLX_F32,
     .chunk = 252, .sinks = true, .softcap = 0.5}, /* chunks begin and end within pages */
    {.hidden = 12, .heads = 2, .kv_heads = 1, .head_dim = 32, .ffn = 5, .vocab = 7, .format = RLX_F32,
     .block = 32, .shared = true, .softcap = 30, .keys = RLX_I8, .values = RLX_F16},
    {.hidden = 96, .heads = 3, .kv_heads = 1, .head_dim = 32, .ffn = 160, .vocab = 37, .format = RLX_Q8_0,
     .interleaved = true},
    {.hidden = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 32, .vocab = 50, .format = RLX_Q5_1},
    {.hidden = 256, .heads = 4, .kv_heads = 2, .head_dim = 64, .ffn = 256, .vocab = 21, .format = RLX_Q4_K},
};
static const int64_t lengths[] = {1, 2, 5, 13};
/* Every shape and length in exact mode; those with weights in blocks as decode has them, too. */
enum { SHAPES = sizeof shapes / sizeof *shapes, LENGTHS = 4, BLOCKS = 3, CASES = LENGTHS * (SHAPES + BLOCKS), HALVES = 8 };

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* Checking every pass takes long, as do sanitizers, and one case in three has them all. */
static bool is_left_out(int i)
{
    return (SANITIZED || getenv("RLX_CHECK")) && i % 3 != 0;
}

START_TEST(model_is_the_same_on_mir_and_lir)
{
    if (is_left_out(_i))
        return;
    int which = _i / LENGTHS;
    bool exact = which < SHAPES;
    const shape *s = &shapes[exact ? which : which - BLOCKS];
    run_model(s, lengths[_i % LENGTHS], exact ? RLX_MIR_EXACT : RLX_MIR_DECODE, NULL, 1000 + (uint64_t)_i);
}
END_TEST

/* Panels of weights, on CPUs; of one and of many rows. */
START_TEST(prefill_is_the_same_on_mir_and_lir)
{
    if (is_left_out(_i))
        return;
    run_model(&shapes[_i / 2], lengths[_i % 2 ? LENGTHS - 1 : 0], RLX_MIR_PREFILL, NULL, 2000 + (uint64_t)_i);
}
END_TEST

/* f16 and bf16 by chunks, on a GPU: so few rows that each team normalises them, and one more. */
START_TEST(prefill_of_halves_is_the_same_on_mir_and_lir)
{
    static const int64_t few[] = {1, 3, 8, 9};
    if (is_left_out(_i))
        return;
    run_model(&shapes[1 + _i / 4], few[_i % 4], RLX_MIR_PREFILL, gpu, 3000 + (uint64_t)_i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower");
    TCase *c = tcase_create("models");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, model_is_the_same_on_mir_and_lir, 0, CASES);
    tcase_add_loop_test(c, prefill_is_the_same_on_mir_and_lir, 0, 2 * SHAPES);
    tcase_add_loop_test(c, prefill_of_halves_is_the_same_on_mir_and_lir, 0, HALVES);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int ran = srunner_ntests_run(r), failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0 || ran < CASES + 2 * SHAPES + HALVES;
}
