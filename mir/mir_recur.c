/* mir/mir_recur.c: building recurrences. The types of the results follow from the block, so the
 * node is made first and gets them at its end. */
#include "mir/mir.h"

static rlx_ir_type step_type(const rlx_ir_value *v, int lead, int behind)
{
    return rlx_ir_tensor(v->type.format, v->type.rank - lead - behind, v->type.dim + lead);
}

static int count_bits(int64_t bits)
{
    int n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

/* The type of the block's argument for operand i. */
static bool argument_type(const rlx_mir_recur_spec *s, int i, int64_t has, rlx_ir_type *out)
{
    const bool is_state = i >= s->sequences && i < s->sequences + s->states;
    const int behind = s->columns && has >> (s->parallel - 1) & 1 ? 1 : 0;
    const int lead = (i < s->sequences || (is_state && s->pos) ? 1 : 0) + count_bits(has) - behind;
    if (s->operand[i]->type.rank < lead + behind)
        return false;
    *out = step_type(s->operand[i], lead, behind);
    return true;
}

rlx_ir_node *rlx_mir_begin_recur(rlx_ir_builder *b, const rlx_mir_recur_spec *s,
                                 rlx_ir_builder *body, rlx_ir_value **args)
{
    const int operands = s->sequences + s->states + s->stay;
    rlx_ir_value *in[RLX_MIR_MAX_RECUR + 2];
    int64_t has[RLX_MIR_MAX_RECUR], counts[] = {s->sequences, s->states};
    rlx_ir_type types[RLX_MIR_MAX_RECUR];
    if (b->status)
        return NULL;
    if (operands > RLX_MIR_MAX_RECUR || s->outputs + s->states > RLX_MIR_MAX_RECUR) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_EXHAUSTED, "a recurrence of %d operands", operands));
        return NULL;
    }
    for (int i = 0; i < operands; i++) {
        const bool is_state = i >= s->sequences && i < s->sequences + s->states;
        in[i] = s->operand[i];
        has[i] = is_state ? ((int64_t)1 << s->parallel) - 1 : s->has[i];
    }
    in[operands] = s->pos;
    in[operands + 1] = s->seq;
    for (int i = 0; i < s->outputs + s->states; i++) /* until the end */
        types[i] = in[s->sequences]->type;
    rlx_attr attrs[7] = {rlx_attr_ints(RLX_ATTR_COUNTS, 2, counts),
                         rlx_attr_int(RLX_ATTR_PARALLEL, s->parallel),
                         rlx_attr_ints(RLX_ATTR_HAS, operands, has),
                         rlx_attr_text(RLX_ATTR_KIND, s->columns ? "columns" : "rows"),
                         rlx_attr_int(RLX_ATTR_EXTENT, s->steps)};
    int nattrs = s->pos ? 4 : 5;
    if (s->backwards && !s->pos)
        attrs[nattrs++] = rlx_attr_int(RLX_ATTR_STEP, -1);
    if (s->live)
        attrs[nattrs++] = rlx_attr_int(RLX_ATTR_LIVE, s->live);
    rlx_ir_node *n = rlx_ir_build_node(b, s->pos ? RLX_MIR_RECUR_TOKENS : RLX_MIR_RECUR,
                                       operands + (s->pos ? 2 : 0), in, nattrs, attrs,
                                       s->outputs + s->states, types);
    if (!n)
        return NULL;
    rlx_ir_builder_init(body, b->module);
    body->block = n->blocks[0];
    body->place = b->place;
    for (int i = 0; i < operands; i++) {
        rlx_ir_type t;
        if (!argument_type(s, i, has[i], &t)) {
            rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                            "operand %d of a recurrence has too few axes", i));
            return NULL;
        }
        args[i] = rlx_ir_build_block_arg(body, n->blocks[0], NULL, t);
    }
    return n;
}

/* What the block yields, with the axes around it. */
static rlx_ir_type result_type(const rlx_ir_node *n, const rlx_mir_recur *r, int i)
{
    rlx_mir_recur_axes a;
    const rlx_ir_type *t = &n->blocks[0]->last->in[i]->type;
    if (i >= r->outputs)
        return n->in[r->sequences + i - r->outputs]->type;
    rlx_mir_recur_result_axes(n, r, i, &a);
    rlx_ir_type y = rlx_ir_tensor(t->format, 0, NULL);
    y.rank = a.rank;
    if (a.rank > RLX_MAX_RANK)
        return y;
    y.dim[a.step] = r->steps;
    for (int k = 0; k < r->parallel; k++)
        y.dim[a.parallel[k]] = r->extent[k];
    for (int k = 0; k < a.ninner; k++)
        y.dim[a.inner + k] = t->dim[k];
    return y;
}

void rlx_mir_end_recur(rlx_ir_builder *b, rlx_ir_node *n, rlx_ir_builder *body,
                       rlx_ir_value *const *yields)
{
    if (!n || b->status)
        return;
    rlx_ir_build_yield(body, n->nout, yields);
    rlx_status st = rlx_ir_builder_finish(body);
    if (st) {
        rlx_ir_builder_fail(b, st);
        return;
    }
    rlx_mir_recur r;
    rlx_mir_recur_get(n, &r);
    for (int i = 0; i < n->nout; i++) {
        n->out[i]->type = result_type(n, &r, i);
        if (n->out[i]->type.rank > RLX_MAX_RANK) {
            rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                            "result %d of a recurrence has too many axes", i));
            return;
        }
    }
    st = rlx_ir_info(b->module, n)->verify(b->module, n);
    if (st)
        rlx_ir_builder_fail(b, st);
}

rlx_ir_value *rlx_mir_build_delta_chunks(rlx_ir_builder *b, const rlx_mir_delta_chunks *d,
                                         rlx_ir_value **state)
{
    rlx_ir_value *in[] = {d->q,    d->k,      d->v,      d->decay, d->beta, d->state,
                          d->keys, d->values, d->decays, d->pos,   d->seq};
    const rlx_attr attrs[] = {rlx_attr_text(RLX_ATTR_KIND, d->tile ? "tile" : "repeat"),
                              rlx_attr_int(RLX_ATTR_CHUNK, d->chunk)};
    rlx_ir_node *n =
        d->pos ? rlx_ir_build_node(b, RLX_MIR_DELTA_CHUNKS_TOKENS, 11, in, 2, attrs, 5, NULL)
               : rlx_ir_build_node(b, RLX_MIR_DELTA_CHUNKS, 6, in, 2, attrs, 2, NULL);
    *state = n ? n->out[1] : NULL;
    return n ? n->out[0] : NULL;
}
