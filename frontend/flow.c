/* frontend/flow.c: recording a flow. Blocks record themselves, in frontend/blocks/. */
#include "frontend/flow.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/blocks/blocks.h"

#define LABELS(...) ((const char *const[]){__VA_ARGS__, NULL})
static const rlx_block_info blocks[RLX_STAGE_COUNT] = {
#define BLOCK(NAME, name, keys, numbers, reals, inside, meaning) \
    [RLX_STAGE_##NAME] = {#name, keys, numbers, reals, inside, meaning, rlx_block_##name##_build},
#include "frontend/blocks/blocks.def"
#undef BLOCK
};

const rlx_block_info *rlx_block_get(rlx_stage_kind kind)
{
    return &blocks[kind];
}

rlx_status rlx_flow_create(const char *name, rlx_flow **out)
{
    *out = NULL;
    rlx_flow *f = calloc(1, sizeof(*f));
    if (!f)
        return RLX_OOM();
    f->arena = rlx_arena_create();
    f->name = f->arena ? rlx_arena_strdup(f->arena, name && *name ? name : "flow") : NULL;
    f->repeat = -1;
    f->layer = -1;
    if (!f->name) {
        rlx_flow_destroy(f);
        return RLX_OOM();
    }
    *out = f;
    return RLX_OK;
}

void rlx_flow_destroy(rlx_flow *f)
{
    if (!f)
        return;
    rlx_status_free(f->error);
    free(f->stages);
    rlx_arena_destroy(f->arena);
    free(f);
}

void rlx_flow_fail(rlx_flow *f, rlx_status s)
{
    if (f->error)
        rlx_status_free(s);
    else
        f->error = s;
}

bool rlx_flow_has_spec(rlx_flow *f, const void *spec, const char *stage)
{
    if (!spec)
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s needs a spec", stage));
    return spec != NULL;
}

rlx_status rlx_flow_check(const rlx_flow *f)
{
    if (!f->error && f->is_stack)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%s is a stack: rlx_flow_stack puts it into a flow",
                        f->name);
    if (!f->error)
        return RLX_OK;
    return RLX_FAIL(rlx_status_code(f->error), "recording flow %s, stage %d: %s", f->name,
                    f->nstages, rlx_status_message(f->error));
}

rlx_stage *rlx_flow_record(rlx_flow *f, rlx_stage_kind kind)
{
    if (!f->error && f->nstages == 0 && kind != RLX_STAGE_INPUT && !f->is_stack)
        rlx_flow_fail(
            f, RLX_FAIL(RLX_INVALID_ARGUMENT, "F1: %s before the flow's input", blocks[kind].name));
    if (f->error)
        return NULL;
    if (f->nstages == f->cap) {
        const int cap = f->cap ? 2 * f->cap : 32;
        rlx_stage *stages = realloc(f->stages, sizeof(*stages) * (size_t)cap);
        if (!stages) {
            rlx_flow_fail(f, RLX_OOM());
            return NULL;
        }
        f->stages = stages;
        f->cap = cap;
    }
    rlx_stage *s = &f->stages[f->nstages++];
    *s = (rlx_stage){.kind = kind, .repeat = f->repeat, .layer = f->layer, .scope = f->scope};
    return s;
}

const char *rlx_flow_copy_key(rlx_flow *f, const char *key, const char *what)
{
    if (!key || !*key) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s is missing", what));
        return NULL;
    }
    if (f->layer < 0 && strstr(key, "{}")) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "F9: %s \"%s\" has {} outside of a layer",
                                  what, key));
        return NULL;
    }
    const char *copy = rlx_arena_strdup(f->arena, key);
    if (!copy)
        rlx_flow_fail(f, RLX_OOM());
    return copy;
}

int64_t rlx_flow_symbol(rlx_flow *f, const char *name)
{
    for (int i = 0; name && i < f->nsymbols; i++)
        if (!strcmp(f->symbols[i], name))
            return -1 - i;
    if (!name || !*name || f->nsymbols == RLX_MAX_SYMBOLS) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  name && *name ? "symbol %s: a flow has at most %d"
                                                : "a symbol without a name%s",
                                  name && *name ? name : "", RLX_MAX_SYMBOLS));
        return 0;
    }
    f->symbols[f->nsymbols] = rlx_arena_strdup(f->arena, name);
    if (!f->symbols[f->nsymbols]) {
        rlx_flow_fail(f, RLX_OOM());
        return 0;
    }
    return -1 - f->nsymbols++;
}

void rlx_flow_repeat_layers(rlx_flow *f, int64_t count,
                            void (*layer)(rlx_flow *f, int64_t index, void *user), void *user)
{
    if (f->layer >= 0) {
        rlx_flow_fail(f, f->is_stack
                             ? RLX_FAIL(RLX_INVALID_ARGUMENT, "F9: repeat_layers in a stack")
                             : RLX_FAIL(RLX_INVALID_ARGUMENT, "F9: repeat_layers inside layer %lld",
                                        (long long)f->layer));
        return;
    }
    if (count < 0 || !layer) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "repeat_layers: %s",
                                  layer ? "a negative count" : "no layer to record"));
        return;
    }
    const int outside = f->saves_outside;
    f->saves_outside = f->saves;
    f->repeat = f->repeats++;
    for (int64_t i = 0; i < count && !f->error; i++) {
        f->layer = i;
        layer(f, i, user);
        if (f->saves != f->saves_outside)
            rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                      "F6: layer %lld leaves %d residual_save open", (long long)i,
                                      f->saves - f->saves_outside));
    }
    f->repeat = -1;
    f->layer = -1;
    f->saves_outside = outside;
}

void rlx_flow_put_resolved(const rlx_stage *s, const char *key, rlx_text *out)
{
    for (;;) {
        const char *hole = s->layer >= 0 ? strstr(key, "{}") : NULL;
        rlx_text_put_bytes(out, key, hole ? (size_t)(hole - key) : strlen(key));
        if (!hole)
            return;
        rlx_text_putf(out, "%lld", (long long)s->layer);
        key = hole + 2;
    }
}

bool rlx_flow_is_probe(const rlx_stage *s)
{
    return s->kind == RLX_STAGE_PROBE_POINT || s->kind == RLX_STAGE_PROBE_ROTARY;
}

bool rlx_flow_is_port(const rlx_stage *s)
{
    return s->kind == RLX_STAGE_PROBE_POINT || s->kind == RLX_STAGE_NAME_VALUE ||
           s->kind == RLX_STAGE_OUTPUT;
}

bool rlx_flow_is_built_by_caller(const rlx_stage *s)
{
    return s->kind == RLX_STAGE_CUSTOM || s->kind == RLX_STAGE_DUAL_STREAM;
}

bool rlx_flow_is_weight(const rlx_stage *s, int slot)
{
    const char *const *labels = blocks[s->kind].keys;
    for (int k = 0; k < slot; k++)
        if (!labels[k])
            return true;
    return !labels[slot] || labels[slot][0] != '@';
}

const rlx_stage *rlx_flow_get_probed(const rlx_flow *f, const rlx_stage *port)
{
    const rlx_stage *s = port;
    while (s > f->stages && rlx_flow_is_port(s))
        s--;
    return s;
}

bool rlx_flow_same_stage(const rlx_stage *a, const rlx_stage *b)
{
    bool same = a->kind == b->kind && a->build == b->build && a->build_two == b->build_two &&
                a->user == b->user && !memcmp(a->real, b->real, sizeof(a->real)) &&
                !memcmp(a->number, b->number, sizeof(a->number));
    for (int k = 0; same && k < RLX_STAGE_KEYS; k++)
        same = a->key[k] && b->key[k] ? !strcmp(a->key[k], b->key[k]) : a->key[k] == b->key[k];
    return same;
}
