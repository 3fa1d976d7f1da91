/* lir/lir.c: the level: its table of ops, and the rules about kernels and tape functions.
 *
 *   K1  a kernel has global buffers as arguments and no results
 *   K2  its top level holds alloc, once, grid and what grids' extents need (const, extent, integer
 *       maps); alloc, once and grid stand nowhere else
 *   K3  a kernel holds no tape ops
 *   K4  what once leaves behind is in team buffers: it stores nowhere else
 *   K5  values are tiles; only alloc makes a buffer, and operands are buffers only where memory is
 * meant T1  a tape function has global buffers as arguments and no results T2  it holds temps,
 * launches and calls T3  the phases of its launches do not fall T4  what it launches or calls
 * stands before it in the module (so there is no recursion)
 */
#include "lir/lir.h"

#include "lir/ops/ops.h"

/* The ops whose result types are written rather than inferred, and those without results. */
#define rlx_lir_return_infer NULL
#define rlx_lir_yield_infer NULL
#define rlx_lir_once_infer NULL
#define rlx_lir_grid_infer NULL
#define rlx_lir_if_infer NULL
#define rlx_lir_barrier_infer NULL
#define rlx_lir_commit_infer NULL
#define rlx_lir_wait_infer NULL
#define rlx_lir_prefetch_infer NULL
#define rlx_lir_const_infer NULL
#define rlx_lir_iota_infer NULL
#define rlx_lir_cast_infer NULL
#define rlx_lir_bitcast_infer NULL
#define rlx_lir_broadcast_infer NULL
#define rlx_lir_alloc_infer NULL
#define rlx_lir_load_infer NULL
#define rlx_lir_store_infer NULL
#define rlx_lir_temp_infer NULL
#define rlx_lir_launch_infer NULL
#define rlx_lir_call_infer NULL

static const rlx_ir_opinfo ops[] = {
#define LIR_OP(NAME, mnemonic_, inputs_, outputs_, blocks_, traits_, attrs_, meaning_) \
    [RLX_LIR_##NAME] = {.mnemonic = #mnemonic_,                                        \
                        .inputs = inputs_,                                             \
                        .outputs = outputs_,                                           \
                        .nblocks = blocks_,                                            \
                        .traits = traits_,                                             \
                        .attrs = attrs_,                                               \
                        .meaning = meaning_,                                           \
                        .infer = rlx_lir_##mnemonic_##_infer,                          \
                        .verify = rlx_lir_##mnemonic_##_verify},
#include "lir/lir_ops.def"
#undef LIR_OP
};

static rlx_status verify_args(rlx_ir_module *m, const rlx_ir_func *f)
{
    const char *what = f->is_kernel ? "kernel" : "func", *id = f->is_kernel ? "K1" : "T1";
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        if (t->kind != RLX_TYPE_BUFFER || t->space != RLX_SPACE_GLOBAL)
            return RLX_FAIL(RLX_INVALID_IR, "%s %s: argument %d of @%s is %s, not a global buffer",
                            what, id, i, f->name, rlx_lir_type_text(m, t));
        if (f->is_kernel && f->arg_info[i].role != RLX_ROLE_VALUE)
            return RLX_FAIL(RLX_INVALID_IR,
                            "kernel K1: argument %d of @%s has a role; kernels' buffers are bound "
                            "by position",
                            i, f->name);
    }
    if (f->nresults)
        return RLX_FAIL(RLX_INVALID_IR, "%s %s: @%s has %d results; OUT buffers receive results",
                        what, id, f->name, f->nresults);
    return RLX_OK;
}

static bool is_integer_map(const rlx_ir_node *n)
{
    rlx_format f = n->out[0]->type.format;
    return n->op == RLX_LIR_MAP && (rlx_format_is_int(f) || f == RLX_BOOL);
}

/* What a walk through a kernel must know of where it is. */
typedef struct kernel_walk {
    rlx_ir_module *m;
    const rlx_ir_func *f;
} kernel_walk;

static bool is_inside_once(const rlx_ir_node *n)
{
    for (const rlx_ir_node *p = n->parent->parent; p; p = p->parent->parent) {
        if (p->op == RLX_LIR_ONCE)
            return true;
    }
    return false;
}

static rlx_status verify_values(rlx_ir_module *m, const rlx_ir_node *n)
{
    bool memory = n->op == RLX_LIR_LOAD || n->op == RLX_LIR_STORE || n->op == RLX_LIR_PREFETCH;
    for (int i = memory ? 1 : 0; i < n->nin; i++)
        RLX_IR_REQUIRE(m, n, "K5", n->in[i]->type.kind == RLX_TYPE_TILE,
                       "operand %d is %s, not a tile", i, rlx_lir_type_text(m, &n->in[i]->type));
    for (int i = 0; i < n->nout && n->op != RLX_LIR_ALLOC; i++)
        RLX_TRY(rlx_lir_require_tile(m, n, "K5", &n->out[i]->type));
    return RLX_OK;
}

static rlx_status verify_kernel_node(void *user, rlx_ir_node *n)
{
    const kernel_walk *w = user;
    rlx_ir_module *m = w->m;
    bool top = n->parent == w->f->body;
    switch ((rlx_lir_op)n->op) {
    case RLX_LIR_TEMP:
    case RLX_LIR_LAUNCH:
    case RLX_LIR_CALL:
        RLX_IR_REQUIRE(m, n, "K3", false, "belongs to a tape function");
        break;
    case RLX_LIR_ALLOC:
    case RLX_LIR_ONCE:
    case RLX_LIR_GRID:
        RLX_IR_REQUIRE(m, n, "K2", top,
                       "stands inside a block; only a kernel's top level holds it");
        break;
    case RLX_LIR_CONST:
    case RLX_LIR_EXTENT:
    case RLX_LIR_RETURN:
        break;
    case RLX_LIR_MAP:
        RLX_IR_REQUIRE(m, n, "K2", !top || is_integer_map(n),
                       "a %s map at the top level, which holds integer maps only",
                       rlx_format_get(n->out[0]->type.format)->name);
        break;
    default:
        RLX_IR_REQUIRE(m, n, "K2", !top, "stands at the kernel's top level, outside once and grid");
        break;
    }
    if (n->op == RLX_LIR_STORE)
        RLX_IR_REQUIRE(m, n, "K4", n->in[0]->type.space == RLX_SPACE_TEAM || !is_inside_once(n),
                       "stores to a global buffer in once, which every team runs");
    return verify_values(m, n);
}

static bool stands_before(const rlx_ir_func *a, const rlx_ir_func *b)
{
    for (const rlx_ir_func *f = a ? a->next : NULL; f; f = f->next) {
        if (f == b)
            return true;
    }
    return false;
}

static rlx_status verify_tape(rlx_ir_module *m, const rlx_ir_func *f)
{
    int64_t phase = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        RLX_IR_REQUIRE(m, n, "T2",
                       n->op == RLX_LIR_TEMP || n->op == RLX_LIR_LAUNCH || n->op == RLX_LIR_CALL ||
                           n->op == RLX_LIR_RETURN,
                       "belongs to a kernel; a tape function holds temp, launch and call");
        if (n->op == RLX_LIR_LAUNCH || n->op == RLX_LIR_CALL)
            RLX_IR_REQUIRE(m, n, "T4", stands_before(rlx_lir_callee(m, n), f),
                           "@%s stands behind @%s, which uses it",
                           rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "?"), f->name);
        if (n->op != RLX_LIR_LAUNCH)
            continue;
        int64_t p = rlx_ir_attr_int(n, RLX_ATTR_PHASE, 0);
        RLX_IR_REQUIRE(m, n, "T3", p >= phase, "phase %lld after phase %lld", (long long)p,
                       (long long)phase);
        phase = p;
    }
    return RLX_OK;
}

static rlx_status verify_func(rlx_ir_module *m, const rlx_ir_func *f)
{
    RLX_TRY(verify_args(m, f));
    if (!f->is_kernel)
        return verify_tape(m, f);
    kernel_walk w = {.m = m, .f = f};
    return rlx_ir_walk(f->body, verify_kernel_node, &w);
}

const rlx_ir_level rlx_lir_level = {
    .name = "lir",
    .ops = ops,
    .nops = RLX_LIR_OP_COUNT,
    .op_return = RLX_LIR_RETURN,
    .op_yield = RLX_LIR_YIELD,
    .verify_func = verify_func,
};

/* ---- shared by lir/ops ---------------------------------------------------------------------- */

bool rlx_lir_is_scalar(const rlx_ir_type *t, rlx_format f)
{
    return t->kind == RLX_TYPE_TILE && t->rank == 0 && t->format == f;
}

const char *rlx_lir_type_text(rlx_ir_module *m, const rlx_ir_type *t)
{
    rlx_text text = {0};
    rlx_ir_type_print(m->dims, t, &text);
    const char *copy = text.data ? rlx_arena_strdup(m->arena, text.data) : NULL;
    rlx_text_deinit(&text);
    return copy ? copy : "?";
}

rlx_status rlx_lir_require_tile(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                const rlx_ir_type *t)
{
    RLX_IR_REQUIRE(m, n, id, t->kind == RLX_TYPE_TILE, "%s is not a tile", rlx_lir_type_text(m, t));
    int64_t elems = 1;
    for (int i = 0; i < t->rank; i++) {
        RLX_IR_REQUIRE(m, n, id, t->dim[i] <= RLX_LIR_MAX_TILE_ELEMS / elems,
                       "%s has more than %d elements", rlx_lir_type_text(m, t),
                       RLX_LIR_MAX_TILE_ELEMS);
        elems *= t->dim[i];
    }
    return RLX_OK;
}

rlx_status rlx_lir_require_index(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int i)
{
    RLX_IR_REQUIRE(m, n, id, rlx_lir_is_scalar(&n->in[i]->type, RLX_I64),
                   "operand %d is %s, not an i64 scalar", i, rlx_lir_type_text(m, &n->in[i]->type));
    return RLX_OK;
}

rlx_status rlx_lir_require_operand(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int i,
                                   rlx_format f, int rank)
{
    const rlx_ir_type *t = &n->in[i]->type;
    RLX_IR_REQUIRE(m, n, id, t->kind == RLX_TYPE_TILE && t->format == f && t->rank == rank,
                   "operand %d is %s, not %s of rank %d", i, rlx_lir_type_text(m, t),
                   rlx_format_get(f)->name, rank);
    return RLX_OK;
}

rlx_status rlx_lir_require_codes(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                 const char *bits_id, int i)
{
    bool is_signed = n->in[i]->type.format == RLX_I8;
    int64_t bits = rlx_ir_attr_int(n, RLX_ATTR_BITS, 0);
    RLX_TRY(rlx_lir_require_operand(m, n, id, i, is_signed ? RLX_I8 : RLX_U8, 2));
    RLX_IR_REQUIRE(m, n, bits_id, bits >= !is_signed && bits <= 7, "%lld bits for codes in %s",
                   (long long)bits, is_signed ? "i8" : "u8");
    return RLX_OK;
}

static rlx_status require_minima(rlx_ir_module *m, const rlx_ir_node *n, int columns, int groups)
{
    const rlx_ir_type *acc = &n->in[0]->type, *sb = &n->in[4]->type;
    const rlx_ir_type *xs = &n->in[5]->type, *mins = &n->in[6]->type;
    RLX_IR_REQUIRE(m, n, "C2", xs->dim[0] == acc->dim[0] && mins->dim[columns] == acc->dim[1],
                   "%s with minima %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, xs),
                   rlx_lir_type_text(m, mins));
    RLX_IR_REQUIRE(m, n, "C4",
                   xs->dim[1] == sb->dim[groups] && mins->dim[groups] == sb->dim[groups],
                   "%lld groups with minima of %lld and %lld", (long long)sb->dim[groups],
                   (long long)xs->dim[1], (long long)mins->dim[groups]);
    return RLX_OK;
}

rlx_status rlx_lir_require_scaled_codes(rlx_ir_module *m, const rlx_ir_node *n, int together)
{
    RLX_IR_REQUIRE(m, n, "C1", n->nin == 5 || n->nin == 7, "%d operands", n->nin);
    const bool raised = together > 1 && n->in[1]->type.format == RLX_U8; /* of panels */
    for (int i = 0; i < n->nin; i++) {
        if (i == 3)
            RLX_TRY(rlx_lir_require_codes(m, n, "C1", "C5", i));
        else
            RLX_TRY(rlx_lir_require_operand(m, n, "C1", i,
                                            i != 1   ? RLX_F32
                                            : raised ? RLX_U8
                                                     : RLX_I8,
                                            2));
    }
    RLX_IR_REQUIRE(m, n, "C6", !raised || n->in[3]->type.format == RLX_I8,
                   "raised codes by those of %s", rlx_format_get(n->in[3]->type.format)->name);
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *sa = &n->in[2]->type;
    const rlx_ir_type *b = &n->in[3]->type, *sb = &n->in[4]->type;
    const int columns = together > 1, groups = !columns; /* the axes of b, sb and mins */
    const int64_t K = a->dim[1];
    RLX_IR_REQUIRE(m, n, "C2",
                   acc->dim[0] == a->dim[0] && acc->dim[0] == sa->dim[0] &&
                       together * acc->dim[1] == b->dim[columns] && acc->dim[1] == sb->dim[columns],
                   "%s from %s, %s, %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a),
                   rlx_lir_type_text(m, sa), rlx_lir_type_text(m, b), rlx_lir_type_text(m, sb));
    RLX_IR_REQUIRE(m, n, "C3", K == together * b->dim[groups] && K % 32 == 0,
                   "contracts %lld with %lld", (long long)K,
                   (long long)(together * b->dim[groups]));
    RLX_IR_REQUIRE(m, n, "C4",
                   sa->dim[1] == K / 32 && (sb->dim[groups] == K / 32 || sb->dim[groups] == K / 16),
                   "%lld and %lld scales for %lld elements", (long long)sa->dim[1],
                   (long long)sb->dim[groups], (long long)K);
    return n->nin == 7 ? require_minima(m, n, columns, groups) : RLX_OK;
}

rlx_status rlx_lir_require_types(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                 const char *what, int nvalues, rlx_ir_value *const *values,
                                 int ntypes, rlx_ir_value *const *types)
{
    RLX_IR_REQUIRE(m, n, id, nvalues == ntypes, "%s: %d values where %d are expected", what,
                   nvalues, ntypes);
    for (int i = 0; i < nvalues; i++)
        RLX_IR_REQUIRE(m, n, id, rlx_ir_type_equal(&values[i]->type, &types[i]->type),
                       "%s: value %d is %s, expected %s", what, i,
                       rlx_lir_type_text(m, &values[i]->type),
                       rlx_lir_type_text(m, &types[i]->type));
    return RLX_OK;
}

rlx_status rlx_lir_require_axes(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int rank,
                                int limit)
{
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    int count = axes ? axes->n : 0;
    RLX_IR_REQUIRE(m, n, id, count == rank, "%d axes for a tile of rank %d", count, rank);
    for (int i = 0; i < rank; i++)
        RLX_IR_REQUIRE(m, n, id,
                       axes->ints[i] >= (i ? axes->ints[i - 1] + 1 : 0) && axes->ints[i] < limit,
                       "axes must ascend and lie below %d", limit);
    return RLX_OK;
}

rlx_status rlx_lir_require_place(rlx_ir_module *m, const rlx_ir_node *n, const char *id)
{
    const rlx_attr *offset = rlx_ir_attr(n, RLX_ATTR_OFFSET);
    const rlx_attr *bytes = rlx_ir_attr(n, RLX_ATTR_BYTES);
    RLX_IR_REQUIRE(m, n, id, !offset == !bytes, "has %s only", offset ? "offset" : "bytes");
    RLX_IR_REQUIRE(m, n, id,
                   !offset || (offset->i >= 0 && offset->i % RLX_LIR_ALIGN == 0 && bytes->i >= 0),
                   "%lld bytes at offset %lld: offsets are multiples of %d", (long long)bytes->i,
                   (long long)offset->i, RLX_LIR_ALIGN);
    return RLX_OK;
}

const rlx_ir_func *rlx_lir_callee(const rlx_ir_module *m, const rlx_ir_node *n)
{
    const char *name = rlx_ir_attr_text(n, RLX_ATTR_CALLEE, NULL);
    return name ? rlx_ir_func_find(m, name) : NULL;
}

/* ---- divisors of indices -------------------------------------------------------------------- */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

static int64_t divisor_within(const rlx_ir_value *v, int depth);

/* Of a number that is divided by a constant without rest. */
static int64_t divisor_of_quotient(const rlx_ir_node *n, int depth)
{
    const rlx_ir_node *by = n->in[1]->def;
    int64_t a = divisor_within(n->in[0], depth - 1);
    int64_t d = by && by->op == RLX_LIR_CONST ? rlx_ir_attr_int(by, RLX_ATTR_IVALUE, 0) : 0;
    return d > 0 && a % d == 0 && n->in[0]->type.rank == 0 ? a / d : 1;
}

static int64_t divisor_within(const rlx_ir_value *v, int depth)
{
    const rlx_ir_node *n = v->def;
    if (depth == 0)
        return 1;
    if (!n) {
        const rlx_ir_node *loop = v->block->parent;
        if (!loop || loop->op != RLX_LIR_FOR || v->index != 0)
            return 1;
        return common_divisor(rlx_ir_attr_int(loop, RLX_ATTR_STEP, 1),
                              divisor_within(loop->in[0], depth - 1));
    }
    if (n->op == RLX_LIR_CONST && rlx_ir_attr(n, RLX_ATTR_IVALUE))
        return common_divisor(rlx_ir_attr_int(n, RLX_ATTR_IVALUE, 1), 0);
    if (n->op != RLX_LIR_MAP || n->nin != 2)
        return 1;
    int64_t fn = rlx_ir_attr_int(n, RLX_ATTR_FN, 0), product;
    if (fn == RLX_FN_DIV)
        return divisor_of_quotient(n, depth);
    if (fn != RLX_FN_ADD && fn != RLX_FN_SUB && fn != RLX_FN_MUL)
        return 1;
    int64_t a = divisor_within(n->in[0], depth - 1), b = divisor_within(n->in[1], depth - 1);
    if (fn != RLX_FN_MUL)
        return common_divisor(a, b);
    return __builtin_mul_overflow(a, b, &product) ? 1 : product;
}

int64_t rlx_lir_divisor(const rlx_ir_value *v)
{
    enum { DEPTH = 12 }; /* an index is a few sums of products; more is not looked at */
    return divisor_within(v, DEPTH);
}
