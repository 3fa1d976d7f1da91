/* frontend/blocks/build_recurrence.c: recurrences of custom stages. */
#include <math.h>
#include <string.h>

#include "frontend/blocks/build.h"

/* A state that a delta rule by chunks has taken has another name by now (rename_state). */
static rlx_status check_new(const rlx_flow_cx *cx, const char *name)
{
    const rlx_ir_func *f = cx->fn->func;
    const size_t n = strlen(name);
    for (int i = 0; i < f->body->nargs; i++)
        if (f->arg_info[i].role == RLX_ROLE_STATE && !strncmp(f->arg_info[i].symbol, name, n) &&
            !strcmp(f->arg_info[i].symbol + n, ".chunk"))
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "state \"%s\" is updated by chunks, and used again behind that", name);
    return RLX_OK;
}

rlx_status rlx_flow_need_state(rlx_flow_cx *cx, const rlx_stage *s, const char *name, int rank,
                               const rlx_dim *dims, rlx_ir_value **out)
{
    rlx_dim all[RLX_MAX_RANK];
    if (!name || !*name || strncmp(name, "kv.", 3) == 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a state needs a name that is not \"kv...\"");
    if (s->layer < 0 && strstr(name, "{}"))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "state \"%s\" has {} outside of a layer", name);
    if (s->layer >= 0 && !strstr(name, "{}"))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "state \"%s\" of a layer has no {}", name);
    if (rank < 0 || rank >= RLX_PROGRAM_MAX_RANK)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "state \"%s\" has %d axes, at most %d", name, rank,
                        RLX_PROGRAM_MAX_RANK - 1);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 1)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "state \"%s\": dim %d is no constant above 0",
                            name, i);
        all[i + 1] = dims[i];
    }
    const char *copy = rlx_arena_strdup(cx->scratch, name);
    if (!copy)
        return RLX_OOM();
    RLX_TRY(check_new(cx, name));
    RLX_TRY(rlx_flow_get_symbol(cx, "SEQS", &all[0]));
    return rlx_flow_arg(cx, RLX_ROLE_STATE, copy, "state", rlx_ir_tensor(RLX_F32, rank + 1, all),
                        out);
}

bool rlx_flow_is_state(const rlx_flow_cx *cx, const rlx_ir_value *v)
{
    const rlx_ir_func *f = cx->fn->func;
    return v && !v->def && v->block == f->body && f->arg_info[v->index].role == RLX_ROLE_STATE;
}

rlx_status rlx_flow_need_places(rlx_flow_cx *cx, rlx_ir_value **pos, rlx_ir_value **seq)
{
    rlx_dim tokens;
    RLX_TRY(rlx_flow_get_symbol(cx, "TOKENS", &tokens));
    const rlx_ir_type type = rlx_ir_tensor(RLX_I32, 1, &tokens);
    RLX_TRY(rlx_flow_need_input(cx, "pos", type, pos));
    return rlx_flow_need_input(cx, "seq", type, seq);
}

/* Where the tokens stand, for a state of the session; else NULL. */
static void find_places(rlx_builder *b, const rlx_value *state, rlx_ir_value **pos,
                        rlx_ir_value **seq)
{
    *pos = *seq = NULL;
    if (!b->cx->fn->b.status && rlx_flow_is_state(b->cx, (const rlx_ir_value *)state))
        rlx_builder_note(b, rlx_flow_need_places(b->cx, pos, seq));
}

rlx_value *rlx_build_state(rlx_builder *b, const char *name, int rank, const int64_t *dims)
{
    rlx_dim d[RLX_MAX_RANK];
    rlx_ir_value *v = NULL;
    if (!rlx_builder_dims(b, "state", rank, dims, d) || b->cx->fn->b.status)
        return NULL;
    rlx_builder_note(b, rlx_flow_need_state(b->cx, b->stage, name, rank, d, &v));
    return rlx_value_of(v);
}

static void hand_out(rlx_value **to, rlx_ir_value *v)
{
    if (to)
        *to = rlx_value_of(v);
}

static bool get_cell(rlx_builder *b, rlx_value *x, const rlx_cell_spec *s, rlx_hir_cell *out)
{
    *out = (rlx_hir_cell){.x = rlx_value_ir(x),
                          .w_ih = rlx_value_ir(s->w_ih),
                          .w_hh = rlx_value_ir(s->w_hh),
                          .b_ih = rlx_value_ir(s->b_ih),
                          .b_hh = rlx_value_ir(s->b_hh),
                          .h = rlx_value_ir(s->h),
                          .c = rlx_value_ir(s->c),
                          .lengths = rlx_value_ir(s->lengths),
                          .peephole = rlx_value_ir(s->peephole),
                          .backwards = s->backwards,
                          .reset_before = s->reset_before,
                          .clip = s->clip};
    rlx_status st = rlx_flow_get_cell_activation(s->gate, &out->gate);
    if (!st)
        st = rlx_flow_get_cell_activation(s->cell, &out->cell);
    if (!st)
        st = rlx_flow_get_cell_activation(s->out, &out->out);
    rlx_builder_note(b, st);
    return !st;
}

rlx_value *rlx_build_gru(rlx_builder *b, rlx_value *x, const rlx_cell_spec *spec, rlx_value **h)
{
    hand_out(h, NULL);
    rlx_hir_cell cell;
    if (!rlx_builder_has_spec(b, "gru", spec) || !get_cell(b, x, spec, &cell))
        return NULL;
    rlx_ir_value *last = NULL;
    rlx_ir_value *y = rlx_hir_build_gru(rlx_builder_at(b, spec->w_hh), &cell, &last);
    hand_out(h, last);
    return rlx_value_of(y);
}

rlx_value *rlx_build_lstm(rlx_builder *b, rlx_value *x, const rlx_cell_spec *spec, rlx_value **h,
                          rlx_value **c)
{
    hand_out(h, NULL);
    hand_out(c, NULL);
    rlx_hir_cell cell;
    if (!rlx_builder_has_spec(b, "lstm", spec) || !get_cell(b, x, spec, &cell))
        return NULL;
    rlx_ir_value *last_h = NULL, *last_c = NULL;
    rlx_ir_value *y = rlx_hir_build_lstm(rlx_builder_at(b, spec->w_hh), &cell, &last_h, &last_c);
    hand_out(h, last_h);
    hand_out(c, last_c);
    return rlx_value_of(y);
}

rlx_value *rlx_build_short_conv(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                rlx_value *state, rlx_value **last)
{
    rlx_hir_short_conv c = {.x = rlx_value_ir(x),
                            .w = rlx_value_ir(w),
                            .bias = rlx_value_ir(bias),
                            .state = rlx_value_ir(state)};
    rlx_ir_value *out = NULL;
    find_places(b, state, &c.pos, &c.seq);
    rlx_ir_value *y = rlx_hir_build_short_conv(rlx_builder_at(b, w), &c, &out);
    hand_out(last, out);
    return rlx_value_of(y);
}

double rlx_flow_delta_scale(const rlx_ir_value *q, double scale)
{
    if (scale != 0 || !q || q->type.rank < 1)
        return scale != 0 ? scale : 1;
    const rlx_dim d = q->type.dim[q->type.rank - 1];
    return d > 0 ? 1 / sqrt((double)d) : 1;
}

/* States of the session beside `state`: "NAME.keys" of its name. */
static rlx_status need_beside(rlx_flow_cx *cx, const rlx_stage *s, const rlx_ir_value *state,
                              const char *what, int rank, const rlx_dim *dims, rlx_ir_value **out)
{
    const char *name = cx->fn->func->arg_info[state->index].symbol;
    const char *beside = rlx_arena_printf(cx->scratch, "%s.%s", name, what);
    return beside ? rlx_flow_need_state(cx, s, beside, rank, dims, out) : RLX_OOM();
}

/* By chunks a state is what it was where the chunk began. So it has another name: no program takes it
 * for the state after each step, which has the same type. */
static rlx_status rename_state(rlx_flow_cx *cx, const rlx_ir_value *state)
{
    const rlx_ir_func *f = cx->fn->func;
    const char **symbol = &f->arg_info[state->index].symbol;
    const char *name = rlx_arena_printf(f->module->arena, "%s.chunk", *symbol);
    if (!name)
        return RLX_OOM();
    *symbol = name;
    return RLX_OK;
}

rlx_status rlx_flow_delta_chunk(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_delta_rule *d)
{
    if (d->chunk && !rlx_mir_is_delta_chunk(d->chunk))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "a delta rule by chunks of %lld steps; there are those of 16, 32 and 64",
                        (long long)d->chunk);
    if (!d->chunk || !rlx_flow_is_state(cx, d->state) || d->state->type.rank != 4)
        return RLX_OK;
    const rlx_dim *of = d->state->type.dim;
    const rlx_dim keys[] = {of[1], of[2], d->chunk}, values[] = {of[1], d->chunk, of[3]};
    const rlx_dim decays[] = {of[1], d->chunk + 1};
    RLX_TRY(need_beside(cx, s, d->state, "keys", 3, keys, &d->keys));
    RLX_TRY(need_beside(cx, s, d->state, "values", 3, values, &d->values));
    RLX_TRY(need_beside(cx, s, d->state, "decays", 2, decays, &d->decays));
    return rename_state(cx, d->state);
}

rlx_value *rlx_build_delta_rule(rlx_builder *b, const rlx_delta_rule_spec *s, rlx_value **last)
{
    hand_out(last, NULL);
    if (!rlx_builder_has_spec(b, "delta_rule", s))
        return NULL;
    rlx_hir_delta_rule d = {.q = rlx_value_ir(s->q),
                            .k = rlx_value_ir(s->k),
                            .v = rlx_value_ir(s->v),
                            .g = rlx_value_ir(s->g),
                            .beta = rlx_value_ir(s->beta),
                            .state = rlx_value_ir(s->state),
                            .scale = rlx_flow_delta_scale(rlx_value_ir(s->q), s->scale),
                            .eps = s->norm_eps,
                            .tile = s->tile,
                            .chunk = s->chunk};
    rlx_ir_value *out = NULL;
    find_places(b, s->state, &d.pos, &d.seq);
    if (!b->cx->fn->b.status)
        rlx_builder_note(b, rlx_flow_delta_chunk(b->cx, b->stage, &d));
    rlx_ir_value *y = rlx_hir_build_delta_rule(rlx_builder_at(b, NULL), &d, &out);
    hand_out(last, out);
    return rlx_value_of(y);
}

rlx_value *rlx_build_selective_scan(rlx_builder *b, const rlx_selective_scan_spec *s,
                                    rlx_value **last)
{
    hand_out(last, NULL);
    if (!rlx_builder_has_spec(b, "selective_scan", s))
        return NULL;
    rlx_hir_selective_scan d = {.x = rlx_value_ir(s->x),
                                .dt = rlx_value_ir(s->dt),
                                .a = rlx_value_ir(s->a),
                                .b = rlx_value_ir(s->b),
                                .c = rlx_value_ir(s->c),
                                .d = rlx_value_ir(s->d),
                                .state = rlx_value_ir(s->state)};
    rlx_ir_value *out = NULL;
    find_places(b, s->state, &d.pos, &d.seq);
    rlx_ir_value *y = rlx_hir_build_selective_scan(rlx_builder_at(b, s->a), &d, &out);
    hand_out(last, out);
    return rlx_value_of(y);
}

/* ---- any recurrence
 * ------------------------------------------------------------------------------ */

static bool fill_spec(rlx_builder *b, const rlx_recur_spec *s, rlx_mir_recur_spec *out)
{
    const int n = s->sequences + s->states + s->stay;
    int kept = 0;
    *out = (rlx_mir_recur_spec){.sequences = s->sequences,
                                .states = s->states,
                                .stay = s->stay,
                                .outputs = s->outputs,
                                .parallel = s->parallel,
                                .backwards = s->backwards,
                                .live = s->live};
    if (s->sequences < 0 || s->states < 1 || s->stay < 0 || n > RLX_MIR_MAX_RECUR || !s->step ||
        s->outputs < 0 || s->outputs + s->states > RLX_MIR_MAX_RECUR || s->parallel < 0 ||
        s->parallel > RLX_MIR_MAX_PARALLEL) {
        rlx_builder_note(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "recur: %d sequences, %d states and %d that stay, %d outputs, %d parallel "
                        "axes: at most %d operands and results, at least a state, %d axes",
                        s->sequences, s->states, s->stay, s->outputs, s->parallel,
                        RLX_MIR_MAX_RECUR, RLX_MIR_MAX_PARALLEL));
        return false;
    }
    if (!rlx_builder_all(b, "recur", n, s->operand))
        return false;
    for (int i = 0; i < n; i++) {
        out->operand[i] = rlx_value_ir(s->operand[i]);
        out->has[i] = i < s->sequences ? ((int64_t)1 << s->parallel) - 1 : 0;
    }
    for (int i = 0; i < s->states; i++)
        kept += rlx_flow_is_state(b->cx, out->operand[s->sequences + i]);
    if (kept && kept < s->states) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "recur: %d of %d states are the session's: all are, or none",
                                     kept, s->states));
        return false;
    }
    find_places(b, s->operand[s->sequences], &out->pos, &out->seq);
    if (s->sequences && out->operand[0]->type.rank)
        out->steps = out->operand[0]->type.dim[0];
    else if (!out->pos && !rlx_builder_dims(b, "recur", 1, &s->steps, &out->steps))
        return false;
    return !b->cx->fn->b.status;
}

/* What build functions append goes into the step while it is built. */
static bool build_step(rlx_builder *b, const rlx_recur_spec *s, const rlx_ir_builder *body,
                       rlx_value **args, rlx_value **results)
{
    rlx_ir_builder *inside = &b->cx->fn->b;
    rlx_ir_block *block = inside->block;
    rlx_ir_node *before = inside->before;
    inside->block = body->block;
    inside->before = NULL;
    s->step(b, args, results, s->user);
    inside->block = block;
    inside->before = before;
    return rlx_builder_all(b, "recur's step", s->outputs + s->states, results);
}

/* A step sees its arguments only. */
static bool check_operands(rlx_builder *b, const rlx_ir_block *step)
{
    for (const rlx_ir_node *n = step->first; n; n = n->next)
        for (int i = 0; i < n->nin; i++) {
            const rlx_ir_value *v = n->in[i];
            if ((v->def ? v->def->parent : v->block) == step)
                continue;
            rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                         "recur's step uses %s%s%s from outside: what "
                                         "stays is an operand, which the step gets in args",
                                         v->name ? "\"" : "", v->name ? v->name : "a value",
                                         v->name ? "\"" : ""));
            return false;
        }
    return true;
}

static bool is_in_step(const rlx_builder *b)
{
    const rlx_ir_block *block = b->cx->fn->b.block;
    return block && block->parent && rlx_mir_is_recur(block->parent);
}

void rlx_build_recur(rlx_builder *b, const rlx_recur_spec *s, rlx_value **results)
{
    rlx_mir_recur_spec spec;
    rlx_ir_builder body;
    rlx_ir_value *args[RLX_MIR_MAX_RECUR], *yields[RLX_MIR_MAX_RECUR];
    rlx_value *in[RLX_MIR_MAX_RECUR], *out[RLX_MIR_MAX_RECUR] = {0};
    if (!rlx_builder_has_spec(b, "recur", s))
        return;
    const int n = s->outputs + s->states;
    for (int i = 0; i < n && i < RLX_MIR_MAX_RECUR; i++)
        results[i] = NULL;
    if (!fill_spec(b, s, &spec))
        return;
    if (is_in_step(b)) {
        rlx_build_unrolled(b, s, spec.steps, results);
        return;
    }
    rlx_ir_builder *at = rlx_builder_at(b, NULL);
    rlx_ir_node *node = rlx_mir_begin_recur(at, &spec, &body, args);
    if (!node)
        return;
    for (int i = 0; i < s->sequences + s->states + s->stay; i++)
        in[i] = rlx_value_of(args[i]);
    if (!build_step(b, s, &body, in, out) || !check_operands(b, node->blocks[0]))
        return;
    for (int i = 0; i < n; i++)
        yields[i] = rlx_value_ir(out[i]);
    rlx_mir_end_recur(at, node, &body, yields);
    for (int i = 0; i < n && !at->status; i++)
        results[i] = rlx_value_of(node->out[i]);
}
