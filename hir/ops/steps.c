#include "hir/ops/steps.h"

#include <math.h>
#include <string.h>

/* ---- constraints --------------------------------------------------------------------------------
 */

int rlx_hir_count(const rlx_ir_node *n, int i)
{
    const rlx_attr *a = rlx_ir_attr(n, RLX_ATTR_COUNTS);
    return a && i < a->n ? (int)a->ints[i] : 0;
}

rlx_status rlx_hir_check_counts(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int fixed,
                                int kinds, const int *most)
{
    const rlx_attr *a = rlx_ir_attr(n, RLX_ATTR_COUNTS);
    int sum = fixed;
    RLX_IR_REQUIRE(m, n, id, a && a->n == kinds, "counts has %d entries, not %d", a ? a->n : 0,
                   kinds);
    for (int i = 0; i < kinds; i++) {
        RLX_IR_REQUIRE(m, n, id, a->ints[i] == 0 || a->ints[i] == most[i],
                       "entry %d of counts is %lld, neither 0 nor %d", i, (long long)a->ints[i],
                       most[i]);
        sum += (int)a->ints[i];
    }
    RLX_IR_REQUIRE(m, n, id, n->nin == sum, "%d operands, counted %d", n->nin, sum);
    return RLX_OK;
}

static bool fits(const rlx_ir_value *v, int lead, int n, const rlx_dim *dims)
{
    if (!rlx_hir_is(v, RLX_F32, lead + n))
        return false;
    for (int i = 0; i < n; i++)
        if (dims[i] != RLX_DIM_INVALID && v->type.dim[lead + i] != dims[i])
            return false;
    return true;
}

bool rlx_hir_is_steps(const rlx_ir_value *v, const rlx_ir_value *x, bool tokens, int n,
                      const rlx_dim *dims)
{
    const int lead = tokens ? 1 : 2;
    return fits(v, lead, n, dims) && x->type.rank >= lead &&
           memcmp(v->type.dim, x->type.dim, sizeof(rlx_dim) * (size_t)lead) == 0;
}

bool rlx_hir_is_step_state(const rlx_ir_value *v, const rlx_ir_value *x, bool tokens, int n,
                           const rlx_dim *dims)
{
    return fits(v, 1, n, dims) && (tokens || v->type.dim[0] == x->type.dim[0]);
}

rlx_status rlx_hir_check_state(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int operand)
{
    const rlx_ir_value *pool = n->in[operand];
    const rlx_ir_func *f = n->parent->func;
    RLX_IR_REQUIRE(m, n, id,
                   !pool->def && f->body == pool->block &&
                       f->arg_info[pool->index].role == RLX_ROLE_STATE,
                   "operand %d is updated, and is no state of the session", operand);
    return RLX_OK;
}

rlx_status rlx_hir_check_tokens(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int state)
{
    for (int i = n->nin - 2; i < n->nin; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, id,
                             rlx_hir_is(n->in[i], RLX_I32, 1) &&
                                 n->in[i]->type.dim[0] == n->in[0]->type.dim[0],
                             i, "pos and seq are i32[T]");
    return rlx_hir_check_state(m, n, id, state);
}

/* ---- evaluating ---------------------------------------------------------------------------------
 */

rlx_hir_walk rlx_hir_walk_of(const rlx_ir_node *n, rlx_eval_tensor *const *in, bool tokens,
                             const rlx_eval_tensor *state)
{
    rlx_hir_walk w = {.tokens = tokens,
                      .backwards = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) < 0,
                      .batch = tokens ? 1 : in[0]->dim[0],
                      .steps = in[0]->dim[tokens ? 0 : 1],
                      .slots = state->dim[0]};
    if (tokens) {
        w.pos = in[n->nin - 2]->data;
        w.seq = in[n->nin - 1]->data;
    }
    return w;
}

rlx_status rlx_hir_walk_step(const rlx_hir_walk *w, int64_t i, rlx_hir_step *out)
{
    const int64_t b = i / w->steps, s = i % w->steps;
    *out = (rlx_hir_step){.row = b * w->steps + (w->backwards ? w->steps - 1 - s : s), .slot = b};
    if (!w->tokens)
        return RLX_OK;
    out->slot = w->seq[i];
    out->fresh = w->pos[i] == 0;
    if (out->slot < 0 || out->slot >= w->slots)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "token %lld is of sequence %lld, of %lld",
                        (long long)i, (long long)out->slot, (long long)w->slots);
    return RLX_OK;
}

rlx_status rlx_hir_eval_state(rlx_hir_eval_cx *cx, bool tokens, rlx_eval_tensor *first,
                              rlx_eval_tensor *out)
{
    if (tokens) {
        *out = *first;
        return RLX_OK;
    }
    RLX_TRY(rlx_hir_eval_alloc(cx, out));
    if (first)
        memcpy(out->data, first->data, rlx_format_bytes(RLX_F32, rlx_hir_eval_elems(out)));
    return RLX_OK;
}

double rlx_hir_eval_affine(const rlx_eval_tensor *w, const rlx_eval_tensor *bias, int64_t row,
                           const float *v)
{
    double sum = bias ? rlx_hir_load(bias, row) : 0;
    for (int64_t k = 0; k < w->dim[1]; k++)
        sum += rlx_hir_load(w, row * w->dim[1] + k) * v[k];
    return sum;
}

/* ---- lowering -----------------------------------------------------------------------------------
 */

void rlx_hir_steps_init(rlx_hir_steps *s, rlx_ir_builder *b, const rlx_ir_type *x,
                        rlx_ir_value *const *tokens, int axes, bool columns)
{
    *s = (rlx_hir_steps){.b = b, .batch = x->dim[0]};
    s->spec.pos = tokens ? tokens[0] : NULL;
    s->spec.seq = tokens ? tokens[1] : NULL;
    s->spec.parallel = axes + (tokens ? 0 : 1);
    s->spec.columns = columns;
    s->spec.steps = x->dim[tokens ? 0 : 1];
}

static bool of_tokens(const rlx_hir_steps *s)
{
    return s->spec.pos != NULL;
}

/* [B,S,..] to [S,B,..], and back. */
static rlx_ir_value *swap_axes(rlx_ir_builder *b, rlx_ir_value *x)
{
    static const int64_t perm[RLX_MAX_RANK] = {1, 0, 2, 3, 4, 5, 6, 7};
    return x ? rlx_mir_build_transpose(b, x, perm) : NULL;
}

static int add_operand(rlx_hir_steps *s, rlx_ir_value *v, int64_t has)
{
    rlx_mir_recur_spec *p = &s->spec;
    const int at = p->sequences + p->states + p->stay;
    if (at < RLX_MIR_MAX_RECUR) {
        p->operand[at] = v;
        p->has[at] = has;
    } else {
        rlx_ir_builder_fail(s->b, RLX_FAIL(RLX_INTERNAL, "too many operands of a recurrence"));
    }
    if (!v && !s->b->status)
        rlx_ir_builder_fail(s->b, RLX_FAIL(RLX_INTERNAL, "an operand of a recurrence is missing"));
    return at;
}

void rlx_hir_steps_sequence(rlx_hir_steps *s, rlx_ir_value *x, int64_t has)
{
    if (of_tokens(s))
        add_operand(s, x, has);
    else
        add_operand(s, swap_axes(s->b, x), has << 1 | 1);
    s->spec.sequences++;
}

void rlx_hir_steps_state(rlx_hir_steps *s, rlx_ir_value *first, int n, const rlx_dim *dims)
{
    if (!first) {
        rlx_dim all[RLX_MAX_RANK] = {s->batch};
        memcpy(all + 1, dims, sizeof *all * (size_t)n);
        first =
            rlx_mir_build_broadcast(s->b, rlx_mir_build_const(s->b, RLX_F32, 0), n + 1, all, NULL);
    }
    add_operand(s, first, 0);
    s->spec.states++;
}

void rlx_hir_steps_stay(rlx_hir_steps *s, rlx_ir_value *w, int64_t has)
{
    add_operand(s, rlx_mir_build_cast(s->b, w, RLX_F32), of_tokens(s) ? has : has << 1);
    s->spec.stay++;
}

rlx_ir_builder *rlx_hir_steps_begin(rlx_hir_steps *s, int outputs)
{
    s->spec.outputs = outputs;
    s->node = rlx_mir_begin_recur(s->b, &s->spec, &s->body, s->arg);
    if (!s->node) { /* what is built next goes nowhere */
        rlx_ir_builder_init(&s->body, s->b->module);
        rlx_ir_builder_fail(&s->body, RLX_FAIL(RLX_INTERNAL, "no recurrence"));
    }
    return &s->body;
}

void rlx_hir_steps_end(rlx_hir_steps *s, rlx_ir_value *const *yields)
{
    if (s->node)
        rlx_mir_end_recur(s->b, s->node, &s->body, yields);
    else
        rlx_status_free(rlx_ir_builder_finish(&s->body));
}

rlx_ir_value *rlx_hir_steps_output(rlx_hir_steps *s, int i)
{
    if (!s->node || s->b->status)
        return NULL;
    return of_tokens(s) ? s->node->out[i] : swap_axes(s->b, s->node->out[i]);
}

rlx_ir_value *rlx_hir_steps_last(rlx_hir_steps *s, int i)
{
    return s->node && !s->b->status ? s->node->out[s->spec.outputs + i] : NULL;
}

rlx_ir_value *rlx_hir_lower_heads(rlx_ir_builder *b, rlx_ir_value *x, rlx_dim heads, bool tile)
{
    if (!x || b->status)
        return NULL;
    const int rank = x->type.rank, at = rank - 2;
    const rlx_dim groups = x->type.dim[at];
    if (groups == heads)
        return x;
    rlx_dim wide[RLX_MAX_RANK], dims[RLX_MAX_RANK];
    int64_t axes[RLX_MAX_RANK];
    memcpy(dims, x->type.dim, sizeof dims);
    dims[at] = heads;
    for (int i = 0; i < rank; i++) {
        const int to = i < at || (i == at && !tile) ? i : i + 1;
        wide[to] = x->type.dim[i];
        axes[i] = to;
    }
    wide[tile ? at : at + 1] = heads / groups;
    x = rlx_mir_build_broadcast(b, x, rank + 1, wide, axes);
    return rlx_mir_build_reshape(b, x, rank, dims);
}

rlx_ir_value *rlx_hir_lower_gates(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                  rlx_ir_value *bias)
{
    rlx_ir_value *g = rlx_mir_build_contract(b, x, rlx_mir_build_cast(b, w, RLX_F32));
    if (!bias || !g)
        return g;
    return rlx_mir_map2(b, RLX_FN_ADD, g, rlx_mir_build_cast(b, bias, RLX_F32));
}

rlx_ir_value *rlx_hir_lower_part(rlx_ir_builder *b, rlx_ir_value *x, int64_t from, int64_t size)
{
    return rlx_mir_build_slice(b, x, 0, from, size);
}
