/* frontend/blocks/activation.c: functions of one element, and the feed-forward stages that consist
 * of one between two linear maps. */
#include "frontend/blocks/blocks.h"

enum { ALPHA, BETA };

rlx_status rlx_flow_get_activation(int64_t fn, rlx_hir_activation *out)
{
    static const rlx_hir_activation table[] = {
#define ACTIVATION(NAME, text, alpha, beta, meaning) [RLX_ACT_##NAME] = RLX_HIR_ACT_##NAME,
#include "hir/activations.def"
#undef ACTIVATION
    };
    *out = RLX_HIR_ACT_IDENTITY; /* as the table has it of RLX_ACT_CUSTOMARY */
    if (fn < 0 || fn >= (int64_t)(sizeof table / sizeof *table))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "there is no activation %lld", (long long)fn);
    *out = table[fn];
    return RLX_OK;
}

rlx_status rlx_flow_get_cell_activation(int64_t fn, const char **out)
{
    rlx_hir_activation known;
    RLX_TRY(rlx_flow_get_activation(fn, &known));
    *out = fn == RLX_ACT_CUSTOMARY ? NULL : rlx_hir_activation_name(known);
    return RLX_OK;
}

void rlx_flow_activation(rlx_flow *f, rlx_activation fn, double alpha, double beta)
{
    rlx_hir_activation known;
    rlx_status st = f->error ? RLX_OK : rlx_flow_get_activation(fn, &known);
    if (st) {
        rlx_flow_fail(f, st);
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_ACTIVATION);
    if (!s)
        return;
    s->number[0] = fn;
    s->real[ALPHA] = alpha;
    s->real[BETA] = beta;
}

void rlx_flow_logit_softcap(rlx_flow *f, double cap)
{
    if (!f->error && !(cap > 0)) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "logit_softcap of %g", cap));
        return;
    }
    rlx_flow_activation(f, RLX_ACT_SOFTCAP, cap, 0);
}

rlx_status rlx_block_activation_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_hir_activation fn;
    RLX_TRY(rlx_flow_get_activation(s->number[0], &fn));
    cx->fn->b.place = rlx_hir_activation_name(fn);
    cx->fn->x = rlx_hir_build_activation(&cx->fn->b, fn, s->real[ALPHA], s->real[BETA], cx->fn->x);
    return RLX_OK;
}

/* linear by "PREFIX.NAME.weight" and "PREFIX.NAME.bias". */
static void record_linear(rlx_flow *f, const char *prefix, const char *name)
{
    rlx_text key = {0}, bias = {0};
    rlx_text_putf(&key, "%s.%s.weight", prefix, name);
    rlx_text_putf(&bias, "%s.%s.bias", prefix, name);
    if (key.oom || bias.oom)
        rlx_flow_fail(f, RLX_OOM());
    else
        rlx_flow_linear(f, key.data, bias.data);
    rlx_text_deinit(&key);
    rlx_text_deinit(&bias);
}

void rlx_flow_gelu_ffn(rlx_flow *f, const char *prefix, rlx_ffn_keys keys)
{
    static const char *const names[][2] = {[RLX_FFN_BERT] = {"intermediate.dense", "output.dense"},
                                           [RLX_FFN_DINOV2] = {"mlp.fc1", "mlp.fc2"}};
    const bool known = (size_t)keys < sizeof names / sizeof *names;
    if (!f->error && (!prefix || !known)) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "gelu_ffn needs a prefix and known keys"));
        return;
    }
    if (f->error)
        return;
    record_linear(f, prefix, names[keys][0]);
    rlx_flow_activation(f, RLX_ACT_GELU, 0, 0);
    record_linear(f, prefix, names[keys][1]);
}
