#include "jit/llvm_cpu.h"

#include <string.h>

/* Panels by AMX's tiles: registers of up to 16 rows of 64 bytes, by explicit number.
 *
 *   0..3  sums: rows i, columns j in number 2i + j; of bytes, which leave them group by group for
 *         vector registers, 0 and 1 in turn
 *   4, 5  activations: rows of 64 bytes (of a group's elements) as they lie in memory
 *   6, 7  weights: packed rows, each of what 16 columns multiply with one i32 of activations
 *
 * A kernel configures them once, at its beginning, for its first product, and releases them at its
 * end; a product of other shapes brings its own configuration and puts the first one back. */

enum {
    TILE_ROWS = 16,
    TILE_BYTES = 64,
    ACTIVATIONS = 4,
    WEIGHTS = 6,
    TOGETHER = 4,
    BF16_STEP = 32 /* elements of K in a tile */
};

/* What ldtilecfg reads. */
typedef struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} config;
_Static_assert(sizeof(config) == TILE_BYTES, "as the instruction has it");

static void set_shape(config *c, int tile, int rows, int row_bytes)
{
    c->rows[tile] = (uint8_t)rows;
    c->row_bytes[tile] = (uint16_t)row_bytes;
}

/* ---- instructions ---- */

static LLVMValueRef number(const rlx_emit *e, int64_t v)
{
    return rlx_emit_int(e->i64, v);
}

static void product(rlx_emit *e, const char *name, int to, int a, int b)
{
    LLVMValueRef args[] = {rlx_emit_int(e->i8, to), rlx_emit_int(e->i8, a), rlx_emit_int(e->i8, b)};
    rlx_emit_intrinsic(e, name, NULL, args, 3);
}

static void clear(rlx_emit *e, int tile)
{
    LLVMValueRef arg = rlx_emit_int(e->i8, tile);
    rlx_emit_intrinsic(e, "llvm.x86.tilezero", NULL, &arg, 1);
}

static void move(rlx_emit *e, const char *name, int tile, LLVMValueRef at, LLVMValueRef stride)
{
    LLVMValueRef args[] = {rlx_emit_int(e->i8, tile), at, stride};
    rlx_emit_intrinsic(e, name, NULL, args, 3);
}

static void load(rlx_emit *e, int tile, LLVMValueRef at, LLVMValueRef stride)
{
    move(e, "llvm.x86.tileloadd64", tile, at, stride);
}

static void store(rlx_emit *e, int tile, LLVMValueRef at, LLVMValueRef stride)
{
    move(e, "llvm.x86.tilestored64", tile, at, stride);
}

/* ---- configuration ---- */

static LLVMValueRef config_constant(rlx_emit *e, const void *bytes)
{
    LLVMValueRef text = LLVMConstStringInContext(e->cx, bytes, sizeof(config), true);
    LLVMValueRef g = LLVMAddGlobal(e->module, LLVMTypeOf(text), "tiles");
    LLVMSetInitializer(g, text);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetAlignment(g, TILE_BYTES);
    return g;
}

static void configure(rlx_emit *e, const void *bytes)
{
    LLVMValueRef arg = config_constant(e, bytes);
    rlx_emit_intrinsic(e, "llvm.x86.ldtilecfg", NULL, &arg, 1);
}

/* Tiles have the shapes of `c` until end_product. */
static void begin_product(rlx_emit *e, const config *c)
{
    static const config none;
    if (memcmp(e->tile_config, &none, sizeof none) == 0) {
        LLVMBuilderRef here = e->b;
        memcpy(e->tile_config, c, sizeof *c);
        e->b = e->entry;
        configure(e, c);
        e->b = here;
    } else if (memcmp(e->tile_config, c, sizeof *c) != 0) {
        configure(e, c);
    }
}

static void end_product(rlx_emit *e, const config *c)
{
    if (memcmp(e->tile_config, c, sizeof *c) != 0)
        configure(e, e->tile_config);
}

rlx_status rlx_emit_cpu_end(rlx_emit *e)
{
    static const config none;
    if (memcmp(e->tile_config, &none, sizeof none) == 0)
        return RLX_OK;
    rlx_emit_intrinsic(e, "llvm.x86.tilerelease", NULL, NULL, 0);
    return RLX_OK;
}

/* ---- operands ---- */

/* Bytes between rows of x. */
static LLVMValueRef row_bytes(rlx_emit *e, const rlx_emit_rows *x)
{
    return rlx_emit_mul(e->b, x->stride, number(e, rlx_format_get(x->from)->block_bytes));
}

static LLVMValueRef byte_at(rlx_emit *e, LLVMValueRef p, LLVMValueRef offset)
{
    return rlx_emit_offset(e, e->i8, p, offset);
}

/* Address of byte `column` of row `row` of x, whose rows lie `stride` bytes apart. */
static LLVMValueRef place(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef stride, int64_t row,
                          LLVMValueRef column)
{
    return byte_at(e, byte_at(e, x->base, rlx_emit_mul(e->b, number(e, row), stride)), column);
}

static LLVMValueRef stack(rlx_emit *e, int64_t bytes)
{
    LLVMValueRef p =
        LLVMBuildAlloca(e->entry, LLVMArrayType2(e->i8, (uint64_t)bytes), "rows of tiles");
    LLVMSetAlignment(p, TILE_BYTES);
    return p;
}

/* ---- outer_bf16 ---- */

/* The sums cut into tiles. */
typedef struct pieces {
    int rows[2], columns[2], n[2]; /* n: how many there are of either */
} pieces;

static int cut(int64_t total, int out[2])
{
    out[0] = total < TILE_ROWS ? (int)total : TILE_ROWS;
    out[1] = (int)total - out[0];
    return out[1] ? 2 : 1;
}

static config shapes_of_bf16(const pieces *p)
{
    config c = {.palette = 1};
    for (int i = 0; i < p->n[0]; i++)
        for (int j = 0; j < p->n[1]; j++)
            set_shape(&c, 2 * i + j, p->rows[i], 4 * p->columns[j]);
    for (int i = 0; i < p->n[0]; i++)
        set_shape(&c, ACTIVATIONS + i, p->rows[i], TILE_BYTES);
    for (int j = 0; j < p->n[1]; j++)
        set_shape(&c, WEIGHTS + j, TILE_ROWS, 4 * p->columns[j]);
    return c;
}

/* Every tile of sums from, or to, memory at `base`, whose rows lie `stride` bytes apart. */
static void move_sums(rlx_emit *e, const pieces *p, const char *how, LLVMValueRef base,
                      LLVMValueRef stride)
{
    for (int i = 0; i < p->n[0]; i++) {
        LLVMValueRef row = byte_at(e, base, rlx_emit_mul(e->b, number(e, TILE_ROWS * i), stride));
        for (int j = 0; j < p->n[1]; j++)
            move(e, how, 2 * i + j, byte_at(e, row, number(e, TILE_BYTES * j)), stride);
    }
}

/* All of K: a weight's tile meets every tile of rows. */
static void multiply_bf16(rlx_emit *e, const pieces *p, const rlx_emit_rows *a,
                          const rlx_emit_rows *b, int64_t depth)
{
    LLVMValueRef sa = row_bytes(e, a), sb = row_bytes(e, b);
    rlx_emit_loop loop;
    rlx_emit_loop_begin(e, number(e, 0), number(e, depth / BF16_STEP), number(e, 1), &loop);
    LLVMValueRef column = rlx_emit_mul(e->b, loop.index, number(e, TILE_BYTES));
    LLVMValueRef row = rlx_emit_mul(e->b, loop.index, number(e, TILE_ROWS));
    LLVMValueRef weights = byte_at(e, b->base, rlx_emit_mul(e->b, row, sb));
    for (int i = 0; i < p->n[0]; i++)
        load(e, ACTIVATIONS + i, place(e, a, sa, TILE_ROWS * i, column), sa);
    for (int j = 0; j < p->n[1]; j++) {
        load(e, WEIGHTS + j, byte_at(e, weights, number(e, TILE_BYTES * j)), sb);
        for (int i = 0; i < p->n[0]; i++)
            product(e, "llvm.x86.tdpbf16ps", 2 * i + j, ACTIVATIONS + i, WEIGHTS + j);
    }
    rlx_emit_loop_end(e, &loop);
}

/* The store that takes all of n's result, and nothing else does, right behind it; or NULL. */
static const rlx_ir_node *store_of(const rlx_ir_node *n)
{
    const rlx_ir_node *s = n->next;
    while (s && s->op == RLX_LIR_BARRIER)
        s = s->next;
    bool takes = s && s->op == RLX_LIR_STORE && s->in[1] == n->out[0] &&
                 rlx_ir_count_uses(n->parent, n->out[0]) == 1;
    const rlx_attr *limits = takes ? rlx_ir_attr(s, RLX_ATTR_LIMITS) : NULL;
    bool whole = takes && (!limits || limits->n == 0) && s->in[0]->type.format == RLX_F32;
    return whole && rlx_ir_attr(s, RLX_ATTR_AXES)->ints[1] == s->in[0]->type.rank - 1 ? s : NULL;
}

/* Sums to where they are stored; or to the stack, and from there to the result's rows. */
static rlx_status finish_sums(rlx_emit *e, const rlx_ir_node *n, const pieces *p)
{
    const rlx_ir_node *into = store_of(n);
    int64_t width = n->out[0]->type.dim[1];
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    if (into) {
        rlx_emit_access to;
        rlx_emit_access_init(e, into, &n->out[0]->type, &to);
        LLVMValueRef stride = rlx_emit_mul(e->b, to.stride[0], number(e, sizeof(float)));
        move_sums(e, p, "llvm.x86.tilestored64", to.base, stride);
        out->stored = true;
        return RLX_OK;
    }
    LLVMValueRef memory = stack(e, out->n * width * (int64_t)sizeof(float));
    move_sums(e, p, "llvm.x86.tilestored64", memory, number(e, width * (int64_t)sizeof(float)));
    for (int m = 0; m < out->n; m++) {
        LLVMValueRef at = rlx_emit_offset(e, e->f32, memory, number(e, m * width));
        LLVMTypeRef type = e->engine->part_type(e, &n->out[0]->type);
        out->part[m] = LLVMBuildLoad2(e->b, type, at, "");
        LLVMSetAlignment(out->part[m], sizeof(float));
    }
    return RLX_OK;
}

rlx_status rlx_emit_cpu_outer_tiles(rlx_emit *e, const rlx_ir_node *n)
{
    rlx_emit_rows acc, a, b;
    const rlx_ir_type *sums = &n->out[0]->type;
    int64_t depth = n->in[1]->type.dim[1];
    pieces p;
    if (!e->target->tiles_bf16)
        return rlx_emit_unsupported(e, n, "products of %d need AMX's tiles", BF16_STEP);
    if (sums->dim[0] > 2 * TILE_ROWS || sums->dim[1] > 2 * TILE_ROWS)
        return rlx_emit_unsupported(e, n, "%lldx%lld sums are more than four tiles",
                                    (long long)sums->dim[0], (long long)sums->dim[1]);
    p.n[0] = cut(sums->dim[0], p.rows);
    p.n[1] = cut(sums->dim[1], p.columns);
    RLX_TRY(rlx_emit_rows_init(e, n, 0, &acc));
    RLX_TRY(rlx_emit_rows_init_even(e, n, 1, false, &a));
    RLX_TRY(rlx_emit_rows_init(e, n, 2, &b));
    config c = shapes_of_bf16(&p);
    begin_product(e, &c);
    move_sums(e, &p, "llvm.x86.tileloadd64", acc.base, row_bytes(e, &acc));
    multiply_bf16(e, &p, &a, &b, depth);
    RLX_TRY(finish_sums(e, n, &p));
    end_product(e, &c);
    return RLX_OK;
}

/* ---- dot_panel ---- */

/* Two groups go at once: one's sums are scaled while the other's are made. */
enum { MAX_ABREAST = 2 };

typedef struct dot {
    rlx_emit *e;
    const rlx_ir_node *node;
    rlx_emit_rows a, sa, b, sb, xs, mins;
    LLVMValueRef a_stride, b_stride; /* bytes */
    int rows, columns, group, abreast;
    bool is_signed;                 /* the codes */
    LLVMValueRef sums[MAX_ABREAST]; /* on the stack, rows of 64 bytes */
    LLVMValueRef *acc;              /* by row */
} dot;

/* Whether operand i is read as it lies in memory. */
static bool is_plain(rlx_emit *e, const rlx_ir_node *n, int i)
{
    const rlx_emit_tile *t = rlx_emit_get(e, n->in[i]);
    return !t->access || t->access->buffer->type->format == n->in[i]->type.format;
}

bool rlx_emit_dot_suits_tiles(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *sums = &n->out[0]->type;
    return e->target->tiles_bytes && n->in[1]->type.format == RLX_I8 && sums->dim[0] <= TILE_ROWS &&
           sums->dim[1] <= TILE_ROWS && is_plain(e, n, 1) && is_plain(e, n, 3);
}

/* Of two groups, also where one goes alone: one configuration for both. */
static config shapes_of_bytes(const dot *d)
{
    config c = {.palette = 1};
    for (int u = 0; u < MAX_ABREAST; u++) {
        set_shape(&c, u, d->rows, 4 * d->columns);
        set_shape(&c, ACTIVATIONS + u, d->rows, d->group);
        set_shape(&c, WEIGHTS + u, d->group / TOGETHER, 4 * d->columns);
    }
    return c;
}

/* The integer sums of group h, to the stack. */
static void sum_group(const dot *d, int u, LLVMValueRef h)
{
    rlx_emit *e = d->e;
    LLVMValueRef column = rlx_emit_mul(e->b, h, number(e, d->group));
    LLVMValueRef row = rlx_emit_mul(e->b, h, number(e, d->group / TOGETHER));
    clear(e, u);
    load(e, ACTIVATIONS + u, place(e, &d->a, d->a_stride, 0, column), d->a_stride);
    load(e, WEIGHTS + u, byte_at(e, d->b.base, rlx_emit_mul(e->b, row, d->b_stride)), d->b_stride);
    product(e, d->is_signed ? "llvm.x86.tdpbssd" : "llvm.x86.tdpbsud", u, ACTIVATIONS + u,
            WEIGHTS + u);
    store(e, u, d->sums[u], number(e, TILE_BYTES));
}

/* acc + the sums of group h, scaled, its minima off. */
static rlx_status scale_group(const dot *d, int u, LLVMValueRef h)
{
    rlx_emit *e = d->e;
    LLVMValueRef zero = number(e, 0), sb, mins = NULL, x;
    LLVMValueRef run = d->group == 32 ? h : LLVMBuildLShr(e->b, h, number(e, 1), "");
    LLVMTypeRef type = rlx_emit_vector(e->i32, d->columns);
    rlx_emit_keep_order(e); /* no more of it is at hand than there are registers for */
    RLX_TRY(rlx_emit_rows_load(e, &d->sb, h, zero, d->columns, &sb));
    if (d->node->nin > 5)
        RLX_TRY(rlx_emit_rows_load(e, &d->mins, h, zero, d->columns, &mins));
    for (int m = 0; m < d->rows; m++) {
        LLVMValueRef at = byte_at(e, d->sums[u], number(e, TILE_BYTES * m)), row = number(e, m);
        LLVMValueRef sum = LLVMBuildLoad2(e->b, type, at, "");
        LLVMSetAlignment(sum, TILE_BYTES);
        sum = LLVMBuildSIToFP(e->b, sum, LLVMTypeOf(d->acc[m]), "");
        RLX_TRY(rlx_emit_rows_spread(e, &d->sa, row, run, d->columns, &x));
        d->acc[m] = rlx_emit_fma(e, LLVMBuildFMul(e->b, x, sb, ""), sum, d->acc[m]);
        if (!mins)
            continue;
        RLX_TRY(rlx_emit_rows_spread(e, &d->xs, row, h, d->columns, &x));
        d->acc[m] = rlx_emit_fma(e, LLVMBuildFNeg(e->b, x, ""), mins, d->acc[m]);
    }
    return RLX_OK;
}

/* All groups, in a loop that carries the sums. */
static rlx_status sum_groups(dot *d, int64_t groups)
{
    rlx_emit *e = d->e;
    LLVMValueRef *phi = RLX_NEW_ARRAY(e->arena, LLVMValueRef, d->rows);
    rlx_emit_loop loop;
    if (!phi)
        return RLX_OOM();
    rlx_emit_loop_begin(e, number(e, 0), number(e, groups), number(e, d->abreast), &loop);
    for (int m = 0; m < d->rows; m++) {
        phi[m] = LLVMBuildPhi(e->b, LLVMTypeOf(d->acc[m]), "");
        LLVMAddIncoming(phi[m], &d->acc[m], &loop.before, 1);
        d->acc[m] = phi[m];
    }
    for (int u = 0; u < d->abreast; u++)
        sum_group(d, u, rlx_emit_add(e->b, loop.index, number(e, u)));
    for (int u = 0; u < d->abreast; u++)
        RLX_TRY(scale_group(d, u, rlx_emit_add(e->b, loop.index, number(e, u))));
    rlx_emit_loop_end(e, &loop);
    for (int m = 0; m < d->rows; m++)
        LLVMAddIncoming(phi[m], &d->acc[m], &loop.latch, 1);
    return RLX_OK;
}

static rlx_status read_operands(dot *d)
{
    rlx_emit *e = d->e;
    const rlx_ir_node *n = d->node;
    RLX_TRY(rlx_emit_rows_init_even(e, n, 1, false, &d->a));
    RLX_TRY(rlx_emit_rows_init_even(e, n, 2, true, &d->sa));
    RLX_TRY(rlx_emit_rows_init(e, n, 3, &d->b));
    RLX_TRY(rlx_emit_rows_init(e, n, 4, &d->sb));
    if (n->nin > 5) {
        RLX_TRY(rlx_emit_rows_init_even(e, n, 5, true, &d->xs));
        RLX_TRY(rlx_emit_rows_init(e, n, 6, &d->mins));
    }
    d->a_stride = row_bytes(e, &d->a);
    d->b_stride = row_bytes(e, &d->b);
    for (int u = 0; u < d->abreast; u++)
        d->sums[u] = stack(e, TILE_ROWS * TILE_BYTES);
    return RLX_OK;
}

rlx_status rlx_emit_cpu_dot_tiles(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *acc = rlx_emit_get(e, n->in[0]);
    const rlx_ir_type *sums = &n->out[0]->type;
    int64_t groups = n->in[4]->type.dim[0];
    dot d = {.e = e,
             .node = n,
             .rows = (int)sums->dim[0],
             .columns = (int)sums->dim[1],
             .group = (int)(n->in[1]->type.dim[1] / groups),
             .abreast = groups % MAX_ABREAST == 0 ? MAX_ABREAST : 1,
             .is_signed = n->in[3]->type.format == RLX_I8};
    rlx_emit_tile *out;
    RLX_TRY(read_operands(&d));
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    d.acc = out->part;
    for (int m = 0; m < d.rows; m++)
        d.acc[m] = rlx_emit_as_vector(e, acc->part[m]);
    config c = shapes_of_bytes(&d);
    begin_product(e, &c);
    RLX_TRY(sum_groups(&d, groups));
    end_product(e, &c);
    LLVMTypeRef type = e->engine->part_type(e, sums);
    for (int m = 0; m < d.rows; m++)
        out->part[m] = LLVMBuildBitCast(e->b, out->part[m], type, "");
    return RLX_OK;
}
