/* frontend/flow_print.c: flows and their composition as text.
 *
 *   flow @llama {
 *     input "ids" i32[TOKENS]
 *     embed key="model.embed_tokens.weight"
 *     layers 0..4 {
 *       residual_save
 *       rms_norm key="model.layers.{}.input_layernorm.weight" eps=1e-05
 *       ...
 *     }
 *     output "logits"
 *   }
 */
#include <stdlib.h>
#include <string.h>

#include "frontend/blocks/blocks.h"

static void put_type(const rlx_flow *f, const rlx_stage *s, rlx_text *out)
{
    rlx_text_putf(out, " %s[", rlx_format_get(s->format)->name);
    for (int i = 0; i < s->rank; i++) {
        rlx_text_put(out, i ? "," : "");
        if (s->dim[i] < 0)
            rlx_text_put(out, f->symbols[-1 - s->dim[i]]);
        else
            rlx_text_putf(out, "%lld", (long long)s->dim[i]);
    }
    rlx_text_put(out, "]");
}

static void put_line(const rlx_flow *f, const rlx_stage *s, const char *indent, rlx_text *out)
{
    const rlx_block_info *block = rlx_block_get(s->kind);
    rlx_text_putf(out, "%s%s", indent, block->name);
    if (s->name)
        rlx_text_putf(out, " \"%s\"", s->name);
    if (s->kind == RLX_STAGE_INPUT)
        put_type(f, s, out);
    if (rlx_flow_is_port(s) && s->number[RLX_PROBE_INSIDE])
        rlx_text_putf(out, " of %s",
                      rlx_block_get(rlx_flow_get_probed(f, s)->kind)
                          ->inside[s->number[RLX_PROBE_INSIDE] - 1]);
    for (int k = 0; block->keys[k]; k++)
        if (s->key[k])
            rlx_text_putf(out, " %s=\"%s\"", block->keys[k] + (block->keys[k][0] == '@'),
                          s->key[k]);
    for (int i = 0; block->numbers[i]; i++)
        if (s->number[i])
            rlx_text_putf(out, " %s=%lld", block->numbers[i], (long long)s->number[i]);
    for (int i = 0; block->reals[i]; i++)
        if (s->real[i] != 0) {
            rlx_text_putf(out, " %s=", block->reals[i]);
            rlx_text_put_double(out, s->real[i]);
        }
    rlx_text_put(out, "\n");
}

/* The stage behind the layer that stage `at` begins. */
static int layer_end(const rlx_flow *f, int at)
{
    int end = at + 1;
    while (end < f->nstages && f->stages[end].repeat == f->stages[at].repeat &&
           f->stages[end].layer == f->stages[at].layer)
        end++;
    return end;
}

static bool same_line(const rlx_stage *a, const rlx_stage *b)
{
    return rlx_flow_same_stage(a, b) && (a->name ? b->name && !strcmp(a->name, b->name) : !b->name);
}

static bool same_layer(const rlx_flow *f, int a, int b)
{
    const int n = layer_end(f, a) - a;
    if (layer_end(f, b) - b != n || f->stages[a].repeat != f->stages[b].repeat)
        return false;
    for (int i = 0; i < n; i++)
        if (!same_line(&f->stages[a + i], &f->stages[b + i]))
            return false;
    return true;
}

/* Prints the layers from `at` on that are recorded alike; returns the stage behind them. */
static int put_layers(const rlx_flow *f, int at, rlx_text *out)
{
    int last = at, end = layer_end(f, at);
    while (end < f->nstages && f->stages[end].repeat >= 0 && same_layer(f, at, end)) {
        last = end;
        end = layer_end(f, last);
    }
    rlx_text_putf(out, "  layers %lld..%lld {\n", (long long)f->stages[at].layer,
                  (long long)f->stages[last].layer);
    for (int i = at; i < layer_end(f, at); i++)
        put_line(f, &f->stages[i], "    ", out);
    rlx_text_put(out, "  }\n");
    return end;
}

void rlx_flow_print(const rlx_flow *f, rlx_text *out)
{
    rlx_text_putf(out, "flow @%s {\n", f->name);
    for (int i = 0; i < f->nstages;) {
        if (f->stages[i].repeat >= 0)
            i = put_layers(f, i, out);
        else
            put_line(f, &f->stages[i++], "  ", out);
    }
    rlx_text_put(out, "}\n");
}

void rlx_flow_put_stage(const rlx_flow *f, const rlx_stage *s, rlx_text *out)
{
    int at = (int)(s - f->stages), first = at;
    while (first > 0 && f->stages[first - 1].repeat == s->repeat &&
           f->stages[first - 1].layer == s->layer && s->repeat >= 0)
        first--;
    rlx_text_putf(out, "stage %d (%s", s->repeat >= 0 ? at - first : at,
                  rlx_block_get(s->kind)->name);
    if (rlx_flow_is_built_by_caller(s))
        rlx_text_putf(out, " \"%s\"", s->name);
    rlx_text_put(out, ")");
    if (s->repeat >= 0)
        rlx_text_putf(out, " of layer %lld", (long long)s->layer);
    if (s->scope)
        rlx_text_putf(out, " in %s", s->scope);
}

/* ---- composition ---------------------------------------------------------------------------- */

static bool same_hash(const rlx_hash *a, const rlx_hash *b)
{
    return !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static rlx_status add_run(const rlx_ir_module *hir, const rlx_ir_node *call,
                          rlx_layer_composition *out)
{
    const rlx_ir_func *func = rlx_ir_func_find(hir, rlx_ir_attr_text(call, RLX_ATTR_CALLEE, ""));
    const rlx_layer_run run = {.func = func,
                               .fingerprint = rlx_ir_func_fingerprint(func),
                               .first = rlx_ir_attr_int(call, RLX_ATTR_FIRST, 0),
                               .count = rlx_ir_attr_int(call, RLX_ATTR_COUNT, 1)};
    rlx_layer_run *last = out->n ? &out->runs[out->n - 1] : NULL;
    if (last && same_hash(&last->fingerprint, &run.fingerprint) &&
        last->first + last->count == run.first) {
        last->count += run.count;
        return RLX_OK;
    }
    rlx_layer_run *runs = realloc(out->runs, sizeof(*runs) * (size_t)(out->n + 1));
    if (!runs)
        return RLX_OOM();
    out->runs = runs;
    out->runs[out->n++] = run;
    return RLX_OK;
}

rlx_status rlx_flow_get_composition(const rlx_ir_module *hir, rlx_layer_composition *out)
{
    *out = (rlx_layer_composition){0};
    const rlx_ir_func *main_func = rlx_ir_func_find(hir, "main");
    if (!main_func)
        return RLX_FAIL(RLX_NOT_FOUND, "%s has no @main", hir->name);
    for (const rlx_ir_node *n = main_func->body->first; n; n = n->next) {
        rlx_status st = n->op == RLX_HIR_CALL ? add_run(hir, n, out) : RLX_OK;
        if (st) {
            rlx_layer_composition_deinit(out);
            return st;
        }
    }
    out->kind = RLX_COMPOSITION_SEQUENCE;
    if (out->n == 0 || (out->n == 1 && out->runs[0].count == 1))
        out->kind = RLX_COMPOSITION_SINGLE;
    else if (out->n <= 2)
        out->kind = out->n == 1 ? RLX_COMPOSITION_HOMOGENEOUS : RLX_COMPOSITION_PAIR;
    return RLX_OK;
}

void rlx_layer_composition_deinit(rlx_layer_composition *c)
{
    free(c->runs);
    *c = (rlx_layer_composition){0};
}

rlx_status rlx_flow_print_composition(const rlx_ir_module *hir, rlx_text *out)
{
    static const char *const kinds[] = {"single", "homogeneous", "pair", "sequence"};
    rlx_layer_composition c;
    char hex[65];
    RLX_TRY(rlx_flow_get_composition(hir, &c));
    rlx_text_putf(out, "%s {\n", kinds[c.kind]);
    for (int i = 0; i < c.n; i++) {
        rlx_hash_hex(c.runs[i].fingerprint, hex);
        rlx_text_putf(out, "  layer @%s x%lld from %lld  %s\n", c.runs[i].func->name,
                      (long long)c.runs[i].count, (long long)c.runs[i].first, hex);
    }
    rlx_hash_hex(rlx_ir_func_fingerprint(rlx_ir_func_find(hir, "main")), hex);
    rlx_text_putf(out, "  @main  %s\n}\n", hex);
    rlx_layer_composition_deinit(&c);
    return out->oom ? RLX_OOM() : RLX_OK;
}
