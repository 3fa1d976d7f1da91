#include "jit/llvm_cpu.h"

#include <string.h>

/* Panels on the CPU: vector lanes are columns, activations are broadcast from memory.
 *
 * The columns are cut into registers. A loop runs over groups of K (or steps of it), its sums in
 * registers; for every register of columns come all steps of the group, and for every step all
 * rows. Operands are read where they are used (llvm_cpu_rows.c); order is kept, so that the
 * instruction scheduler gathers no more of them than there are registers. */

enum { TOGETHER = 4, MAX_PIECES = 64, MAX_WIDTH = 2, UNROLL = 4 };

/* The columns of a tile as registers. */
typedef struct columns {
    int n, at[MAX_PIECES], lanes[MAX_PIECES];
} columns;

static rlx_status cut_columns(rlx_emit *e, const rlx_ir_node *n, columns *c)
{
    int64_t total = n->out[0]->type.dim[1];
    int lanes = rlx_emit_register_lanes(e);
    c->n = 0;
    for (int at = 0; at < total; at += lanes) {
        while (at + lanes > total)
            lanes /= 2;
        if (c->n == MAX_PIECES)
            return rlx_emit_unsupported(e, n, "%lld columns", (long long)total);
        c->at[c->n] = at;
        c->lanes[c->n++] = lanes;
    }
    return RLX_OK;
}

/* ---- sums in registers, through a loop ---- */

typedef struct sums {
    int rows;
    columns columns;
    LLVMValueRef *now, *phi; /* [row * pieces + piece] */
    rlx_emit_loop loop;
} sums;

static rlx_status sums_init(rlx_emit *e, const rlx_ir_node *n, sums *s)
{
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]);
    RLX_TRY(cut_columns(e, n, &s->columns));
    s->rows = acc->n;
    int count = s->rows * s->columns.n;
    s->now = RLX_NEW_ARRAY(e->arena, LLVMValueRef, count);
    s->phi = RLX_NEW_ARRAY(e->arena, LLVMValueRef, count);
    if (!s->now || !s->phi)
        return RLX_OOM();
    for (int i = 0; i < count; i++) {
        int v = i % s->columns.n;
        LLVMValueRef row = rlx_emit_as_vector(e, acc->part[i / s->columns.n]);
        s->now[i] = row;
        if (s->columns.n > 1)
            RLX_TRY(rlx_emit_pick(e, row, s->columns.at[v], 1, s->columns.lanes[v], &s->now[i]));
    }
    return RLX_OK;
}

/* A loop of `count` rounds, also of one: its block is what instructions are scheduled in. Until
 * loop_end the sums of columns first..last are its own. Gives the index, i64. */
static LLVMValueRef loop_begin(rlx_emit *e, sums *s, int first, int last, int64_t count)
{
    rlx_emit_loop_begin(e, rlx_emit_int(e->i64, 0), rlx_emit_int(e->i64, count),
                        rlx_emit_int(e->i64, 1), &s->loop);
    for (int m = 0; m < s->rows; m++) {
        for (int v = first; v <= last; v++) {
            int i = m * s->columns.n + v;
            s->phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(s->now[i]), "");
            LLVMAddIncoming(s->phi[i], &s->now[i], &s->loop.before, 1);
            s->now[i] = s->phi[i];
        }
    }
    return s->loop.index;
}

static void loop_end(rlx_emit *e, sums *s, int first, int last)
{
    rlx_emit_loop_end(e, &s->loop);
    for (int m = 0; m < s->rows; m++) {
        for (int v = first; v <= last; v++) {
            int i = m * s->columns.n + v;
            LLVMAddIncoming(s->phi[i], &s->now[i], &s->loop.latch, 1);
        }
    }
}

static rlx_status sums_end(rlx_emit *e, const rlx_ir_node *n, sums *s)
{
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    LLVMTypeRef type = e->engine->part_type(e, &n->out[0]->type);
    for (int m = 0; m < out->n; m++) {
        LLVMValueRef row = rlx_emit_join(e, s->now + m * s->columns.n, s->columns.n);
        out->part[m] = LLVMBuildBitCast(e->b, row, type, "");
    }
    return RLX_OK;
}

/* ---- dot_panel ---- */

typedef struct panel {
    rlx_emit *e;
    const rlx_ir_node *node;
    rlx_emit_rows a, sa, b, sb, xs, mins;
    bool raised;                  /* a is */
    LLVMValueRef less;            /* then: what a group's sums begin with, i32 [groups, columns] */
    int group;                    /* elements */
    LLVMValueRef index;           /* of the group */
    LLVMValueRef code_row, first; /* of the group's first packed row and element */
    int at, lanes, width; /* the registers of columns: the first column; how many there are */
} panel;

static LLVMValueRef number(const panel *p, int64_t v)
{
    return rlx_emit_int(p->e->i64, v);
}

static LLVMValueRef plus(const panel *p, LLVMValueRef x, int64_t v)
{
    return rlx_emit_add(p->e->b, x, number(p, v));
}

static rlx_status load_codes(void *user, int s, int v, LLVMValueRef *out)
{
    const panel *p = user;
    int column = p->at + v * p->lanes;
    if (v == 0)
        rlx_emit_keep_order(p->e);
    return rlx_emit_rows_load(p->e, &p->b, plus(p, p->code_row, s), number(p, TOGETHER * column),
                              TOGETHER * p->lanes, out);
}

/* Four activations of row i in every lane. */
static rlx_status load_activation(void *user, int s, int i, LLVMValueRef *out)
{
    const panel *p = user;
    rlx_emit *e = p->e;
    LLVMValueRef at = rlx_emit_rows_at(e, &p->a, number(p, i), plus(p, p->first, s * TOGETHER));
    LLVMValueRef four = LLVMBuildLoad2(e->b, e->i32, at, "");
    LLVMSetAlignment(four, 1);
    LLVMValueRef all = rlx_emit_splat(e, four, rlx_emit_vector(e->i32, p->lanes));
    LLVMTypeRef type = rlx_emit_vector(e->i8, TOGETHER * p->lanes);
    *out = LLVMBuildBitCast(e->b, all, type, "");
    if (p->a.to == RLX_U8 && !p->raised)
        *out = LLVMBuildXor(e->b, *out, rlx_emit_splat(e, rlx_emit_int(e->i8, 0x80), type), "");
    return RLX_OK;
}

/* What a group's sums are scaled by: of the row, and of each register of columns. */
typedef struct scales {
    LLVMValueRef run, sa, xs, sb[MAX_WIDTH], mins[MAX_WIDTH];
} scales;

/* The group's sums of row m and register v, scaled, and its minima, into acc: row by row, so that
 * each scale is read once. */
static rlx_status scale_sums(const panel *p, int m, int v, scales *k, LLVMValueRef sum,
                             LLVMValueRef *acc)
{
    rlx_emit *e = p->e;
    LLVMValueRef row = number(p, m), column = number(p, p->at + v * p->lanes);
    if (m == 0 && v == 0)
        k->run = p->group == 32 ? p->index : LLVMBuildLShr(e->b, p->index, number(p, 1), "");
    if (v == 0)
        RLX_TRY(rlx_emit_rows_spread(e, &p->sa, row, k->run, p->lanes, &k->sa));
    if (m == 0)
        RLX_TRY(rlx_emit_rows_load(e, &p->sb, p->index, column, p->lanes, &k->sb[v]));
    sum = LLVMBuildSIToFP(e->b, sum, LLVMTypeOf(*acc), "");
    *acc = rlx_emit_fma(e, LLVMBuildFMul(e->b, k->sa, k->sb[v], ""), sum, *acc);
    if (p->node->nin == 5)
        return RLX_OK;
    if (v == 0) {
        RLX_TRY(rlx_emit_rows_spread(e, &p->xs, row, p->index, p->lanes, &k->xs));
        k->xs = LLVMBuildFNeg(e->b, k->xs, "");
    }
    if (m == 0)
        RLX_TRY(rlx_emit_rows_load(e, &p->mins, p->index, column, p->lanes, &k->mins[v]));
    *acc = rlx_emit_fma(e, k->xs, k->mins[v], *acc);
    return RLX_OK;
}

/* What the group's sums in register v begin with, or end with: where they begin with it each row of
 * registers reads its `own`, which costs no unit that multiplies, as copies would. */
static LLVMValueRef first_sum(const panel *p, int v, bool own)
{
    rlx_emit *e = p->e;
    LLVMValueRef at = rlx_emit_mul(e->b, p->index, number(p, p->node->out[0]->type.dim[1]));
    at = rlx_emit_offset(e, e->i32, p->less, plus(p, at, p->at + v * p->lanes));
    LLVMValueRef x = LLVMBuildLoad2(e->b, rlx_emit_vector(e->i32, p->lanes), at, "");
    LLVMSetAlignment(x, 4);
    LLVMSetVolatile(x, own);
    return x;
}

/* The sums of a group: a loop over its steps, in blocks of a few, so that they come one after the
 * other. */
static rlx_status sum_group(panel *p, int rows, LLVMValueRef *sum, LLVMValueRef *phi)
{
    rlx_emit *e = p->e;
    int steps = p->group / TOGETHER, n = rows * p->width;
    rlx_emit_byte_sums bytes = {.codes = rlx_emit_codes_of(p->node),
                                .lanes = p->lanes,
                                .rows = rows,
                                .columns = p->width,
                                .raised = p->raised,
                                .code = load_codes,
                                .activation = load_activation,
                                .user = p};
    rlx_emit_byte_steps(e, steps, &bytes);
    LLVMValueRef first = rlx_emit_mul(e->b, p->index, number(p, p->group));
    LLVMValueRef code_row = rlx_emit_mul(e->b, p->index, number(p, steps));
    LLVMValueRef none = rlx_emit_no_sum(e, &bytes);
    rlx_emit_loop loop;
    for (int i = 0; i < n; i++)
        sum[i] = p->raised && !bytes.in_16 ? first_sum(p, i % p->width, true) : none;
    rlx_emit_loop_begin(e, number(p, 0), number(p, steps), number(p, bytes.steps), &loop);
    for (int i = 0; i < n; i++) {
        phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(none), "");
        LLVMAddIncoming(phi[i], &sum[i], &loop.before, 1);
        sum[i] = phi[i];
    }
    p->code_row = LLVMBuildAdd(e->b, code_row, loop.index, "");
    LLVMValueRef at = rlx_emit_mul(e->b, loop.index, number(p, TOGETHER));
    p->first = LLVMBuildAdd(e->b, first, at, "");
    RLX_TRY(rlx_emit_sum_bytes(e, &bytes, sum));
    rlx_emit_loop_end(e, &loop);
    for (int i = 0; i < n; i++) {
        LLVMAddIncoming(phi[i], &sum[i], &loop.latch, 1);
        if (bytes.in_16)
            sum[i] = rlx_emit_halves(e, sum[i], p->lanes);
        if (bytes.in_16 && p->raised)
            sum[i] = LLVMBuildAdd(e->b, sum[i], first_sum(p, i % p->width, false), "");
    }
    return RLX_OK;
}

/* Registers v.. of the columns: how many go together. */
static int width_at(const panel *p, const sums *s, int v)
{
    const columns *c = &s->columns;
    bool next = v + 1 < c->n && c->lanes[v] == c->lanes[v + 1];
    return next ? rlx_emit_byte_columns(p->e, rlx_emit_codes_of(p->node), p->raised, s->rows) : 1;
}

static rlx_status emit_group(panel *p, sums *s, int v)
{
    int n = s->rows * p->width;
    LLVMValueRef *sum = RLX_NEW_ARRAY(p->e->arena, LLVMValueRef, 2 * n);
    if (!sum)
        return RLX_OOM();
    p->at = s->columns.at[v];
    p->lanes = s->columns.lanes[v];
    scales by = {0};
    RLX_TRY(sum_group(p, s->rows, sum, sum + n));
    rlx_emit_keep_order(p->e);
    for (int i = 0; i < n; i++) {
        int m = i / p->width, w = i % p->width;
        RLX_TRY(scale_sums(p, m, w, &by, sum[i], &s->now[m * s->columns.n + v + w]));
    }
    return RLX_OK;
}

/* ---- codes with a sign, by activations that are raised ---- */

static panel begin_panel(rlx_emit *e, const rlx_ir_node *n)
{
    return (panel){
        .e = e, .node = n, .group = (int)(n->in[1]->type.dim[1] / n->in[4]->type.dim[0])};
}

static bool wants_raised(const rlx_emit *e, const rlx_ir_node *n, const columns *c)
{
    enum { MOST_SUMS = 8 << 10 }; /* on the stack */
    for (int v = 0; v < c->n; v++)
        if (!rlx_emit_wants_raised(e, rlx_emit_codes_of(n), c->lanes[v]))
            return false;
    return rlx_emit_elems(&n->in[4]->type) <= MOST_SUMS;
}

/* In every place of an activation, by how much those are raised. */
static rlx_status load_raise(void *user, int s, int i, LLVMValueRef *out)
{
    const panel *p = user;
    (void)s;
    (void)i;
    LLVMTypeRef type = rlx_emit_vector(p->e->i8, TOGETHER * p->lanes);
    *out = rlx_emit_splat(p->e, rlx_emit_int(p->e->i8, 0x80), type);
    return RLX_OK;
}

/* -128 times the sum of the codes of every group and column, to *out on the stack. */
static rlx_status sum_codes(panel *p, const columns *c, LLVMValueRef *out)
{
    rlx_emit *e = p->e;
    const rlx_ir_type *groups = &p->node->in[4]->type;
    int steps = p->group / TOGETHER;
    LLVMTypeRef array = LLVMArrayType2(e->i32, (uint64_t)rlx_emit_elems(groups));
    rlx_emit_loop loop;
    *out = LLVMBuildAlloca(e->entry, array, "less");
    LLVMSetAlignment(*out, 64);
    rlx_emit_loop_begin(e, number(p, 0), number(p, groups->dim[0]), number(p, 1), &loop);
    p->code_row = rlx_emit_mul(e->b, loop.index, number(p, steps));
    LLVMValueRef row = rlx_emit_mul(e->b, loop.index, number(p, groups->dim[1]));
    for (int v = 0; v < c->n; v++) {
        p->at = c->at[v];
        p->lanes = c->lanes[v];
        rlx_emit_byte_sums bytes = {.codes = rlx_emit_codes_of(p->node),
                                    .lanes = p->lanes,
                                    .steps = steps,
                                    .rows = 1,
                                    .columns = 1,
                                    .raised = true,
                                    .code = load_codes,
                                    .activation = load_raise,
                                    .user = p};
        LLVMValueRef none = rlx_emit_no_sum(e, &bytes), sum = none;
        RLX_TRY(rlx_emit_sum_bytes(e, &bytes, &sum));
        LLVMValueRef at = rlx_emit_offset(e, e->i32, *out, plus(p, row, p->at));
        LLVMSetAlignment(LLVMBuildStore(e->b, LLVMBuildSub(e->b, none, sum, ""), at), 4);
    }
    rlx_emit_loop_end(e, &loop);
    return RLX_OK;
}

/* Sums of codes that stay while a loop goes by, of the first product in it. */
static rlx_status sum_codes_before(rlx_emit *e, const rlx_ir_node *loop)
{
    const rlx_ir_node *n = loop->blocks[0]->first;
    columns c;
    while (n && n->op != RLX_LIR_DOT_PANEL)
        n = n->next;
    if (!n || e->target->tiles_bytes)
        return RLX_OK;
    panel p = begin_panel(e, n);
    RLX_TRY(cut_columns(e, n, &c));
    if (!wants_raised(e, n, &c) || !rlx_emit_rows_before(e, loop, n, 3, &p.b))
        return RLX_OK;
    e->sums_of = n;
    return sum_codes(&p, &c, &e->code_sums);
}

rlx_status rlx_emit_cpu_before_loop(rlx_emit *e, const rlx_ir_node *loop)
{
    RLX_TRY(sum_codes_before(e, loop));
    return rlx_emit_cpu_sum_activations(e, loop);
}

/* Raises activations, if that is worth it. */
static rlx_status raise(panel *p, const columns *c)
{
    if (!wants_raised(p->e, p->node, c))
        return RLX_OK;
    p->raised = p->a.to == RLX_U8;
    if (!p->raised)
        RLX_TRY(rlx_emit_rows_raise(p->e, &p->a, &p->raised));
    p->less = p->e->sums_of == p->node ? p->e->code_sums : NULL;
    return p->less || !p->raised ? RLX_OK : sum_codes(p, c, &p->less);
}

rlx_status rlx_emit_cpu_dot_panel(rlx_emit *e, const rlx_ir_node *n)
{
    if (rlx_emit_dot_suits_tiles(e, n))
        return rlx_emit_cpu_dot_tiles(e, n);
    panel p = begin_panel(e, n);
    sums s;
    int64_t groups = n->in[4]->type.dim[0];
    rlx_emit_rows *rows[] = {&p.a, &p.sa, &p.b, &p.sb, &p.xs, &p.mins};
    for (int i = 1; i < n->nin; i++)
        RLX_TRY(rlx_emit_rows_init(e, n, i, rows[i - 1]));
    RLX_TRY(sums_init(e, n, &s));
    RLX_TRY(raise(&p, &s.columns));
    for (int v = 0; v < s.columns.n; v += p.width) {
        p.width = width_at(&p, &s, v);
        p.index = loop_begin(e, &s, v, v + p.width - 1, groups);
        rlx_emit_tell_ahead(e, p.index, groups);
        RLX_TRY(emit_group(&p, &s, v));
        loop_end(e, &s, v, v + p.width - 1);
    }
    return sums_end(e, n, &s);
}

/* ---- outer ---- */

/* Row k of b with element x of every row of a. */
typedef rlx_status step_fn(rlx_emit *e, const rlx_emit_rows *a, LLVMValueRef x,
                           const rlx_emit_rows *b, LLVMValueRef k, sums *s);

static rlx_status multiply_f32(rlx_emit *e, const rlx_emit_rows *a, LLVMValueRef at,
                               const rlx_emit_rows *b, LLVMValueRef k, sums *s)
{
    LLVMValueRef w[MAX_PIECES], x = NULL;
    const columns *c = &s->columns;
    rlx_emit_keep_order(e);
    for (int v = 0; v < c->n; v++)
        RLX_TRY(rlx_emit_rows_load(e, b, k, rlx_emit_int(e->i64, c->at[v]), c->lanes[v], &w[v]));
    for (int m = 0; m < s->rows; m++) {
        for (int v = 0; v < c->n; v++) {
            LLVMValueRef *acc = &s->now[m * c->n + v];
            if (v == 0 || c->lanes[v] != c->lanes[v - 1])
                RLX_TRY(rlx_emit_rows_spread(e, a, rlx_emit_int(e->i64, m), at, c->lanes[v], &x));
            *acc = rlx_emit_fma(e, x, w[v], *acc);
        }
    }
    return RLX_OK;
}

/* `steps` products, of which the first is number `first`: in a loop, `unroll` at a time. */
static rlx_status emit_rounds(rlx_emit *e, const rlx_emit_rows *packed, const rlx_emit_rows *b,
                              LLVMValueRef first, int64_t steps, int64_t unroll, step_fn *step,
                              sums *s)
{
    rlx_emit_rows a = *packed;
    LLVMValueRef by = rlx_emit_int(e->i64, unroll);
    LLVMValueRef round = loop_begin(e, s, 0, s->columns.n - 1, steps / unroll);
    first = rlx_emit_add(e->b, first, rlx_emit_mul(e->b, round, by));
    LLVMValueRef x = first;
    if (a.group) {
        x = rlx_emit_int(e->i64, 0);
        round = LLVMBuildUDiv(e->b, first, by, "");
        a.base = rlx_emit_offset(e, a.elem, a.base, rlx_emit_mul(e->b, round, a.group));
    }
    for (int64_t k = 0; k < unroll; k++) {
        LLVMValueRef at = rlx_emit_int(e->i64, k);
        RLX_TRY(step(e, &a, rlx_emit_add(e->b, x, at), b, rlx_emit_add(e->b, first, at), s));
    }
    loop_end(e, s, 0, s->columns.n - 1);
    return RLX_OK;
}

/* The largest divisor of n that is at most `most`; 1 at least. */
static int64_t divisor(int64_t n, int64_t most)
{
    int64_t d = most < n ? most : n;
    while (d > 1 && n % d != 0)
        d--;
    return d > 1 ? d : 1;
}

/* The products of `depth` rows of b: in a loop, a few at a time; of packed rows, as many as stand
 * side by side. A loop around it tells caches of lines that are wanted later. */
static rlx_status emit_steps(rlx_emit *e, const rlx_ir_node *n, int64_t depth, step_fn *step)
{
    rlx_emit_rows a, b;
    sums s, inner;
    RLX_TRY(rlx_emit_rows_init(e, n, 1, &a));
    RLX_TRY(rlx_emit_rows_init(e, n, 2, &b));
    RLX_TRY(sums_init(e, n, &s));
    const int64_t unroll = a.group ? n->in[1]->type.dim[2] : divisor(depth, UNROLL);
    const int64_t parts = divisor(depth / unroll, rlx_emit_lines_ahead(e)), steps = depth / parts;
    LLVMValueRef first = rlx_emit_int(e->i64, 0);
    if (parts == 1) {
        rlx_emit_tell_ahead(e, first, parts);
        RLX_TRY(emit_rounds(e, &a, &b, first, steps, unroll, step, &s));
        return sums_end(e, n, &s);
    }
    inner = s;
    inner.phi = RLX_NEW_ARRAY(e->arena, LLVMValueRef, s.rows * s.columns.n);
    if (!inner.phi)
        return RLX_OOM();
    LLVMValueRef part = loop_begin(e, &s, 0, s.columns.n - 1, parts);
    rlx_emit_tell_ahead(e, part, parts);
    first = rlx_emit_mul(e->b, part, rlx_emit_int(e->i64, steps));
    RLX_TRY(emit_rounds(e, &a, &b, first, steps, unroll, step, &inner));
    loop_end(e, &s, 0, s.columns.n - 1);
    return sums_end(e, n, &s);
}

rlx_status rlx_emit_cpu_outer(rlx_emit *e, const rlx_ir_node *n)
{
    return emit_steps(e, n, n->in[2]->type.dim[0], multiply_f32);
}

/* ---- outer_bf16 by pairs ---- */

enum { PAIR = 2, LEAST_LANES = 4 /* of a register */ };

/* x, a register of fewer lanes than there are, with lanes of zeros behind. */
static LLVMValueRef widen(rlx_emit *e, LLVMValueRef x)
{
    LLVMValueRef mask[LEAST_LANES], zeros = LLVMConstNull(LLVMTypeOf(x));
    int lanes = (int)LLVMGetVectorSize(LLVMTypeOf(x));
    if (lanes >= LEAST_LANES)
        return x;
    for (int i = 0; i < LEAST_LANES; i++)
        mask[i] = rlx_emit_int(e->i32, i < lanes ? i : lanes);
    return LLVMBuildShuffleVector(e->b, x, zeros, LLVMConstVector(mask, LEAST_LANES), "");
}

/* acc + the products of pairs of x and w (i32 each). */
static rlx_status multiply_pairs(rlx_emit *e, LLVMValueRef x, LLVMValueRef w, LLVMValueRef *acc)
{
    int lanes = (int)LLVMGetVectorSize(LLVMTypeOf(*acc));
    LLVMValueRef args[3] = {widen(e, *acc), widen(e, w), widen(e, x)};
    int wide = (int)LLVMGetVectorSize(LLVMTypeOf(args[0]));
    LLVMTypeRef bf16 = rlx_emit_vector(LLVMBFloatTypeInContext(e->cx), PAIR * wide);
    for (int i = 1; i < 3; i++)
        args[i] = LLVMBuildBitCast(e->b, args[i], bf16, "");
    const char *name = wide == 4   ? "llvm.x86.avx512bf16.dpbf16ps.128"
                       : wide == 8 ? "llvm.x86.avx512bf16.dpbf16ps.256"
                                   : "llvm.x86.avx512bf16.dpbf16ps.512";
    *acc = rlx_emit_intrinsic(e, name, NULL, args, 3);
    return lanes == wide ? RLX_OK : rlx_emit_pick(e, *acc, 0, 1, lanes, acc);
}

/* Pair [m, k] of bf16 in so many lanes, as i32. */
static LLVMValueRef spread_pair(rlx_emit *e, const rlx_emit_rows *a, int m, LLVMValueRef k,
                                int lanes)
{
    LLVMValueRef at = rlx_emit_mul(e->b, k, rlx_emit_int(e->i64, PAIR));
    at = rlx_emit_rows_at(e, a, rlx_emit_int(e->i64, m), at);
    LLVMValueRef two = LLVMBuildLoad2(e->b, e->i32, at, "");
    LLVMSetAlignment(two, 2);
    return rlx_emit_splat(e, two, rlx_emit_vector(e->i32, lanes));
}

static rlx_status multiply_bf16(rlx_emit *e, const rlx_emit_rows *a, LLVMValueRef at,
                                const rlx_emit_rows *b, LLVMValueRef k, sums *s)
{
    LLVMValueRef w[MAX_PIECES], x = NULL;
    const columns *c = &s->columns;
    rlx_emit_keep_order(e);
    for (int v = 0; v < c->n; v++) {
        LLVMValueRef column = rlx_emit_int(e->i64, PAIR * c->at[v]);
        RLX_TRY(rlx_emit_rows_load(e, b, k, column, PAIR * c->lanes[v], &w[v]));
        w[v] = LLVMBuildBitCast(e->b, w[v], rlx_emit_vector(e->i32, c->lanes[v]), "");
    }
    for (int m = 0; m < s->rows; m++) {
        for (int v = 0; v < c->n; v++) {
            if (v == 0 || c->lanes[v] != c->lanes[v - 1])
                x = spread_pair(e, a, m, at, c->lanes[v]);
            RLX_TRY(multiply_pairs(e, x, w[v], &s->now[m * c->n + v]));
        }
    }
    return RLX_OK;
}

rlx_status rlx_emit_cpu_outer_bf16(rlx_emit *e, const rlx_ir_node *n)
{
    if (rlx_ir_attr_int(n, RLX_ATTR_WIDTH, PAIR) != PAIR)
        return rlx_emit_cpu_outer_tiles(e, n);
    if (!e->target->bf16)
        return rlx_emit_unsupported(e, n, "products of pairs need AVX512-BF16");
    return emit_steps(e, n, n->in[2]->type.dim[0], multiply_bf16);
}
