/* mir/ops/recur.c: steps one after another, each made of the states that the one before left
 *   in   sequences T[S,P..,I..];  states T[P..,I..];  what stays T[P..,I..]
 *        recur_tokens: states T[SEQS,P..,I..], session state; behind all of them pos, seq i32[S]
 *   out  outputs T[S,P..,I..];  the states after the last step, of recur_tokens the pools
 *   live: once that state is false no step is taken: states stay as they are, outputs are zeros.
 *   I.. are extents of the operand's own, which its argument of the block has. P.. are the parallel
 *   axes, those of them that the operand has; with kind columns the last one is behind I...
 *   C1   1 to 16 operands; counts has two numbers, with at least one state, that they suffice for.
 *   C2   parallel is 0 to 3, for columns at least 1; kind is rows or columns; step is 1 or -1.
 *   C3   has is a number for each operand (but pos and seq), of bits below parallel; states have
 *        all.
 *   C4   every operand is what its argument has, with the axes that it has in front (or behind).
 *   C5   the block yields an output or more, or none, then the states' types.
 *   C6   results are the outputs with all parallel axes, then the states.
 *   C7   the extents that the block sees are constants, 1 or more.
 *   C8   the block holds maps, casts, constants, views, pads, concats, gathers, reduces and
 *        contracts, these of f32.
 *   C9   pos and seq are i32[S].
 *   C11  live is the number, from 1, of a state that is one bool to the block; kind is rows. (C10 is
 *        HIR's.) recur_tokens has none: a sequence that begins has no state to look at.
 *   C4 to C8 are checked once the block is filled. */
#include <string.h>

#include "mir/ops/ops.h"

/* ---- reading ------------------------------------------------------------------------------------
 */

static int ntail(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_RECUR_TOKENS ? 2 : 0;
}

void rlx_mir_recur_get(const rlx_ir_node *n, rlx_mir_recur *r)
{
    const rlx_attr *counts = rlx_ir_attr(n, RLX_ATTR_COUNTS), *has = rlx_ir_attr(n, RLX_ATTR_HAS);
    *r = (rlx_mir_recur){.tokens = n->op == RLX_MIR_RECUR_TOKENS,
                         .columns = strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "columns") == 0,
                         .backwards = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) < 0,
                         .sequences = (int)counts->ints[0],
                         .states = (int)counts->ints[1],
                         .parallel = (int)rlx_ir_attr_int(n, RLX_ATTR_PARALLEL, 0),
                         .live = (int)rlx_ir_attr_int(n, RLX_ATTR_LIVE, 0) - 1,
                         .has = has->ints};
    r->stay = n->nin - ntail(n) - r->sequences - r->states;
    r->outputs = n->nout - r->states;
    r->steps = r->tokens ? n->in[n->nin - 2]->type.dim[0] : rlx_ir_attr_int(n, RLX_ATTR_EXTENT, 0);
    const rlx_ir_type *state = &n->in[r->sequences]->type;
    const int leading = r->parallel - r->columns;
    for (int i = 0; i < leading; i++)
        r->extent[i] = state->dim[i + r->tokens];
    if (r->columns)
        r->extent[leading] = state->dim[state->rank - 1];
}

int rlx_mir_recur_state_of(const rlx_ir_node *n, int result)
{
    const rlx_attr *counts = rlx_ir_attr(n, RLX_ATTR_COUNTS);
    const int state = result - (n->nout - (int)counts->ints[1]);
    return state < 0 ? -1 : (int)counts->ints[0] + state;
}

static void find_axes(const rlx_mir_recur *r, bool steps, bool slots, int64_t has, int inner,
                      rlx_mir_recur_axes *a)
{
    int at = 0;
    *a = (rlx_mir_recur_axes){.step = steps ? at++ : -1, .slot = -1, .ninner = inner};
    if (slots)
        a->slot = at++;
    for (int i = 0; i < RLX_MIR_MAX_PARALLEL; i++) {
        const bool is_column = r->columns && i == r->parallel - 1;
        a->parallel[i] = i < r->parallel && !is_column && has >> i & 1 ? at++ : -1;
    }
    a->inner = at;
    at += inner;
    if (r->columns && has >> (r->parallel - 1) & 1)
        a->parallel[r->parallel - 1] = at++;
    a->rank = at;
}

void rlx_mir_recur_operand_axes(const rlx_ir_node *n, const rlx_mir_recur *r, int operand,
                                rlx_mir_recur_axes *out)
{
    const bool is_state = operand >= r->sequences && operand < r->sequences + r->states;
    find_axes(r, operand < r->sequences, is_state && r->tokens, r->has[operand],
              n->blocks[0]->args[operand]->type.rank, out);
}

static int64_t all_axes(const rlx_mir_recur *r)
{
    return ((int64_t)1 << r->parallel) - 1;
}

void rlx_mir_recur_result_axes(const rlx_ir_node *n, const rlx_mir_recur *r, int result,
                               rlx_mir_recur_axes *out)
{
    const bool is_state = result >= r->outputs;
    find_axes(r, !is_state, is_state && r->tokens, all_axes(r),
              n->blocks[0]->last->in[result]->type.rank, out);
}

/* ---- constraints --------------------------------------------------------------------------------
 */

/* What does not need the block: rlx_mir_recur_get may be called when this holds. */
static rlx_status check_attributes(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_attr *counts = rlx_ir_attr(n, RLX_ATTR_COUNTS), *has = rlx_ir_attr(n, RLX_ATTR_HAS);
    const int operands = n->nin - ntail(n);
    const int64_t parallel = rlx_ir_attr_int(n, RLX_ATTR_PARALLEL, 0);
    const int64_t step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    const bool columns = strcmp(kind, "columns") == 0;
    RLX_IR_REQUIRE(m, n, "C1",
                   operands <= RLX_MIR_MAX_RECUR && counts && counts->n == 2 &&
                       counts->ints[0] >= 0 && counts->ints[1] >= 1 &&
                       counts->ints[0] <= operands && counts->ints[1] <= operands - counts->ints[0],
                   "counts do not fit %d operands", operands);
    RLX_IR_REQUIRE(m, n, "C1", n->nout >= counts->ints[1], "%d results for %lld states", n->nout,
                   (long long)counts->ints[1]);
    RLX_IR_REQUIRE(m, n, "C2",
                   parallel >= 0 && parallel <= RLX_MIR_MAX_PARALLEL && (!columns || parallel >= 1),
                   "%lld parallel axes", (long long)parallel);
    RLX_IR_REQUIRE(m, n, "C2", columns || strcmp(kind, "rows") == 0, "kind \"%s\"", kind);
    RLX_IR_REQUIRE(m, n, "C2", step == 1 || step == -1, "step is %lld", (long long)step);
    RLX_IR_REQUIRE(m, n, "C3", has && has->n == operands, "%d numbers for %d operands",
                   has ? has->n : 0, operands);
    for (int i = 0; i < operands; i++) {
        const bool is_state = i >= counts->ints[0] && i < counts->ints[0] + counts->ints[1];
        const int64_t all = ((int64_t)1 << parallel) - 1;
        RLX_IR_REQUIRE(
            m, n, "C3",
            has->ints[i] >= 0 && has->ints[i] <= all && (!is_state || has->ints[i] == all),
            "operand %d has axes %lld of %lld", i, (long long)has->ints[i], (long long)parallel);
    }
    if (rlx_ir_attr(n, RLX_ATTR_LIVE)) {
        const int64_t live = rlx_ir_attr_int(n, RLX_ATTR_LIVE, 0);
        RLX_IR_REQUIRE(m, n, "C11", live >= 1 && live <= counts->ints[1] && !columns,
                       "live is %lld of %lld states, kind \"%s\"", (long long)live,
                       (long long)counts->ints[1], kind);
    }
    const rlx_ir_type *state = &n->in[counts->ints[0]]->type;
    RLX_IR_REQUIRE(m, n, "C4", state->rank >= parallel + (ntail(n) ? 1 : 0),
                   "a state of rank %d for %lld parallel axes", state->rank, (long long)parallel);
    for (int i = operands; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        RLX_IR_REQUIRE(m, n, "C9",
                       t->format == RLX_I32 && t->rank == 1 &&
                           t->dim[0] == n->in[operands]->type.dim[0],
                       "operand %d is not i32 of one axis, the tokens", i);
    }
    return RLX_OK;
}

/* `whole` is `inner` with the axes `a` around it. */
static bool has_axes(const rlx_mir_recur *r, const rlx_mir_recur_axes *a, const rlx_ir_type *whole,
                     const rlx_ir_type *inner, rlx_dim slots)
{
    if (whole->rank != a->rank || whole->format != inner->format)
        return false;
    if (a->step >= 0 && whole->dim[a->step] != r->steps)
        return false;
    if (a->slot >= 0 && whole->dim[a->slot] != slots)
        return false;
    for (int i = 0; i < r->parallel; i++)
        if (a->parallel[i] >= 0 && whole->dim[a->parallel[i]] != r->extent[i])
            return false;
    return memcmp(whole->dim + a->inner, inner->dim, sizeof(rlx_dim) * (size_t)a->ninner) == 0;
}

static bool is_in_step(const rlx_ir_node *n)
{
    switch ((rlx_mir_op)n->op) {
    case RLX_MIR_YIELD:
    case RLX_MIR_CONST:
    case RLX_MIR_MAP:
    case RLX_MIR_CAST:
    case RLX_MIR_BITCAST:
    case RLX_MIR_IOTA:
    case RLX_MIR_REDUCE:
    case RLX_MIR_CONTRACT:
    case RLX_MIR_GATHER:
    case RLX_MIR_BROADCAST:
    case RLX_MIR_RESHAPE:
    case RLX_MIR_TRANSPOSE:
    case RLX_MIR_SLICE:
    case RLX_MIR_WINDOW:
    case RLX_MIR_PAD:
    case RLX_MIR_CONCAT:
        return true;
    default:
        return false;
    }
}

static bool is_fixed(const rlx_ir_type *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] < 1)
            return false;
    return true;
}

static rlx_status check_block(rlx_ir_module *m, const rlx_ir_node *n, const rlx_mir_recur *r)
{
    const rlx_ir_block *b = n->blocks[0];
    const rlx_dim slots = n->in[r->sequences]->type.dim[0];
    rlx_mir_recur_axes a;
    RLX_IR_REQUIRE(m, n, "C4", b->nargs == n->nin - ntail(n), "%d arguments for %d operands",
                   b->nargs, n->nin - ntail(n));
    for (int i = 0; i < b->nargs; i++) {
        RLX_IR_REQUIRE(m, n, "C7", is_fixed(&b->args[i]->type), "an extent of argument %d", i);
        rlx_mir_recur_operand_axes(n, r, i, &a);
        RLX_IR_REQUIRE(m, n, "C4", has_axes(r, &a, &n->in[i]->type, &b->args[i]->type, slots),
                       "operand %d is not its argument with the axes that it has", i);
    }
    if (r->live >= 0) {
        const rlx_ir_type *t = &b->args[r->sequences + r->live]->type;
        RLX_IR_REQUIRE(m, n, "C11", t->format == RLX_BOOL && t->rank == 0,
                       "state %d, which says whether steps are taken, is not one bool", r->live);
    }
    for (const rlx_ir_node *s = b->first; s; s = s->next) {
        RLX_IR_REQUIRE(m, n, "C8", is_in_step(s), "a step holds %s", rlx_ir_info(m, s)->mnemonic);
        RLX_IR_REQUIRE(m, n, "C8", !rlx_ir_attr(s, RLX_ATTR_WIDTH) || s->op != RLX_MIR_CONTRACT,
                       "a step holds a contract of bf16 or f16; one of f32 casts its operands");
        for (int i = 0; i < s->nout; i++)
            RLX_IR_REQUIRE(m, n, "C7", is_fixed(&s->out[i]->type), "an extent of %s",
                           rlx_ir_info(m, s)->mnemonic);
    }
    return RLX_OK;
}

static rlx_status check_results(rlx_ir_module *m, const rlx_ir_node *n, const rlx_mir_recur *r)
{
    const rlx_ir_block *b = n->blocks[0];
    const rlx_dim slots = n->in[r->sequences]->type.dim[0];
    RLX_IR_REQUIRE(m, n, "C5", b->last->nin == n->nout, "yields %d values for %d results",
                   b->last->nin, n->nout);
    for (int i = 0; i < n->nout; i++) {
        const rlx_ir_type *t = &b->last->in[i]->type;
        rlx_mir_recur_axes a;
        rlx_mir_recur_result_axes(n, r, i, &a);
        if (i >= r->outputs)
            RLX_IR_REQUIRE(m, n, "C5",
                           rlx_ir_type_equal(t, &b->args[r->sequences + i - r->outputs]->type),
                           "yields another type than state %d", i - r->outputs);
        RLX_IR_REQUIRE(m, n, "C6", has_axes(r, &a, &n->out[i]->type, t, slots),
                       "result %d is not what the block yields, with all axes", i);
    }
    return RLX_OK;
}

rlx_status rlx_mir_recur_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(check_attributes(m, n));
    const rlx_ir_block *b = n->blocks[0];
    if (!b->last || b->last->op != RLX_MIR_YIELD)
        return RLX_OK; /* still being built; a block that stays so lacks its terminator */
    rlx_mir_recur r;
    rlx_mir_recur_get(n, &r);
    RLX_TRY(check_block(m, n, &r));
    return check_results(m, n, &r);
}

rlx_status rlx_mir_recur_tokens_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    return rlx_mir_recur_verify(m, n);
}

/* ---- meaning ------------------------------------------------------------------------------------
 */

/* One index of the parallel axes, one step, one sequence. */
typedef struct instance {
    int64_t parallel[RLX_MIR_MAX_PARALLEL], step, slot;
} instance;

/* The part of `whole` that an instance sees, and a tensor of that shape. */
static void part_of(const rlx_eval_tensor *whole, const rlx_mir_recur_axes *a, const instance *at,
                    rlx_mir_copy *copy, int64_t *offset)
{
    int64_t stride[RLX_MAX_RANK];
    rlx_mir_strides(whole, stride);
    *copy = (rlx_mir_copy){.rank = a->ninner, .bytes = rlx_format_bytes(whole->format, 1)};
    *offset = 0;
    if (a->step >= 0)
        *offset += at->step * stride[a->step];
    if (a->slot >= 0)
        *offset += at->slot * stride[a->slot];
    for (int i = 0; i < RLX_MIR_MAX_PARALLEL; i++)
        if (a->parallel[i] >= 0)
            *offset += at->parallel[i] * stride[a->parallel[i]];
    int64_t s = 1;
    for (int i = a->ninner - 1; i >= 0; i--) {
        copy->extent[i] = whole->dim[a->inner + i];
        copy->from_stride[i] = stride[a->inner + i];
        copy->to_stride[i] = s;
        s *= copy->extent[i];
    }
}

static void put_part(const rlx_eval_tensor *whole, const rlx_mir_recur_axes *a, const instance *at,
                     const void *part)
{
    rlx_mir_copy c;
    int64_t offset;
    part_of(whole, a, at, &c, &offset);
    for (int i = 0; i < c.rank; i++) {
        int64_t t = c.to_stride[i];
        c.to_stride[i] = c.from_stride[i];
        c.from_stride[i] = t;
    }
    rlx_mir_copy_run(&c, (char *)whole->data + (size_t)offset * c.bytes, part);
}

typedef struct running {
    rlx_mir_frame *frame; /* of the step, whose arena is its own */
    const rlx_ir_node *n;
    rlx_mir_recur r;
    rlx_eval_tensor *const *state; /* updated: of the results */
    const int32_t *pos, *seq;
} running;

static rlx_status get_argument(const running *x, const instance *at, int i)
{
    const bool is_state = i >= x->r.sequences && i < x->r.sequences + x->r.states;
    const rlx_eval_tensor *whole =
        is_state ? x->state[i - x->r.sequences] : rlx_mir_tensor(x->n->in[i]);
    rlx_mir_recur_axes a;
    rlx_mir_copy c;
    rlx_eval_tensor *t;
    int64_t offset;
    rlx_mir_recur_operand_axes(x->n, &x->r, i, &a);
    part_of(whole, &a, at, &c, &offset);
    char *from = (char *)whole->data + (size_t)offset * c.bytes;
    if (!is_state && a.inner + a.ninner == a.rank) /* it lies there as the block sees it */
        return rlx_mir_frame_alias(x->frame, x->n->blocks[0]->args[i],
                                   &(rlx_eval_tensor){.data = from});
    RLX_TRY(rlx_mir_frame_make(x->frame, x->n->blocks[0]->args[i], &t));
    if (!is_state || !x->pos || x->pos[at->step] != 0) /* else zeros */
        rlx_mir_copy_run(&c, t->data, from);
    return RLX_OK;
}

/* Whether the instance has come to its end: then outputs are zeros. */
static rlx_status run_rest(const running *x, const instance *at, bool *ended)
{
    rlx_mir_recur_axes a;
    rlx_mir_copy c;
    int64_t offset;
    *ended = false;
    if (x->r.live < 0)
        return RLX_OK;
    rlx_mir_recur_operand_axes(x->n, &x->r, x->r.sequences + x->r.live, &a);
    part_of(x->state[x->r.live], &a, at, &c, &offset);
    *ended = !((const char *)x->state[x->r.live]->data)[(size_t)offset * c.bytes];
    for (int i = 0; *ended && i < x->r.outputs; i++) {
        rlx_eval_tensor *zeros;
        RLX_TRY(rlx_mir_frame_make(x->frame, x->n->blocks[0]->last->in[i], &zeros));
        memset(zeros->data, 0, rlx_format_bytes(zeros->format, rlx_mir_elems(zeros)));
        rlx_mir_recur_result_axes(x->n, &x->r, i, &a);
        put_part(rlx_mir_tensor(x->n->out[i]), &a, at, zeros->data);
    }
    return RLX_OK;
}

static rlx_status run_step(const running *x, const instance *at)
{
    const rlx_ir_block *b = x->n->blocks[0];
    bool ended;
    RLX_TRY(run_rest(x, at, &ended));
    if (ended)
        return RLX_OK;
    for (int i = 0; i < b->nargs; i++)
        RLX_TRY(get_argument(x, at, i));
    RLX_TRY(rlx_mir_eval_block(x->frame, b));
    for (int i = 0; i < x->n->nout; i++) {
        rlx_mir_recur_axes a;
        rlx_mir_recur_result_axes(x->n, &x->r, i, &a);
        put_part(rlx_mir_tensor(x->n->out[i]), &a, at, rlx_mir_tensor(b->last->in[i])->data);
    }
    return RLX_OK;
}

/* All steps of one index of the parallel axes. */
static rlx_status run_instance(running *x, instance *at, int64_t steps, int64_t slots)
{
    rlx_mir_frame *outer = x->frame;
    for (int64_t k = 0; k < steps; k++) {
        at->step = x->r.backwards ? steps - 1 - k : k;
        at->slot = x->seq ? x->seq[at->step] : 0;
        if (x->seq && (at->slot < 0 || at->slot >= slots))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "token %lld is of sequence %lld, of %lld",
                            (long long)at->step, (long long)at->slot, (long long)slots);
        rlx_mir_frame inner = *outer;
        inner.arena = rlx_arena_create();
        if (!inner.arena)
            return RLX_OOM();
        x->frame = &inner;
        rlx_status st = run_step(x, at);
        x->frame = outer;
        rlx_arena_destroy(inner.arena);
        if (st)
            return rlx_status_note(st, __FILE__, __LINE__, "step %lld", (long long)at->step);
    }
    return RLX_OK;
}

/* States begin as their operands are; of tokens they are the operands. */
static rlx_status make_results(rlx_mir_frame *f, const rlx_ir_node *n, const rlx_mir_recur *r,
                               rlx_eval_tensor **state)
{
    rlx_eval_tensor *t;
    for (int i = 0; i < r->outputs; i++)
        RLX_TRY(rlx_mir_frame_make(f, n->out[i], &t));
    for (int i = 0; i < r->states; i++) {
        rlx_ir_value *v = n->out[r->outputs + i];
        const rlx_eval_tensor *first = rlx_mir_tensor(n->in[r->sequences + i]);
        if (r->tokens) {
            RLX_TRY(rlx_mir_frame_alias(f, v, first));
        } else {
            RLX_TRY(rlx_mir_frame_make(f, v, &t));
            memcpy(t->data, first->data, rlx_format_bytes(t->format, rlx_mir_elems(t)));
        }
        state[i] = rlx_mir_tensor(v);
    }
    return RLX_OK;
}

rlx_status rlx_mir_recur_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *state[RLX_MIR_MAX_RECUR];
    running x = {.frame = f, .n = n, .state = state};
    int64_t extent[RLX_MIR_MAX_PARALLEL] = {1, 1, 1}, slots = 0;
    rlx_mir_recur_get(n, &x.r);
    RLX_TRY(make_results(f, n, &x.r, state));
    if (x.r.tokens) {
        x.pos = rlx_mir_tensor(n->in[n->nin - 2])->data;
        x.seq = rlx_mir_tensor(n->in[n->nin - 1])->data;
        slots = state[0]->dim[0];
    }
    const int64_t steps = rlx_dim_eval(f->module->dims, x.r.steps, f->env->symbols);
    for (int i = 0; i < x.r.parallel; i++)
        extent[i] = rlx_dim_eval(f->module->dims, x.r.extent[i], f->env->symbols);
    instance at = {0};
    for (at.parallel[0] = 0; at.parallel[0] < extent[0]; at.parallel[0]++)
        for (at.parallel[1] = 0; at.parallel[1] < extent[1]; at.parallel[1]++)
            for (at.parallel[2] = 0; at.parallel[2] < extent[2]; at.parallel[2]++)
                RLX_TRY(run_instance(&x, &at, steps, slots));
    return RLX_OK;
}

rlx_status rlx_mir_recur_tokens_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    return rlx_mir_recur_eval(f, n);
}
