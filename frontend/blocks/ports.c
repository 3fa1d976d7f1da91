/* frontend/blocks/ports.c: where tensors enter and leave a flow: input, output, probe points. */
#include <string.h>

#include "frontend/blocks/blocks.h"

enum { ROTARY_DIM, SINE };

bool rlx_flow_is_named_before(const rlx_flow *f, const rlx_stage *s)
{
    rlx_text name = {0}, other = {0};
    bool found = false;
    rlx_flow_put_resolved(s, s->name, &name);
    for (const rlx_stage *t = f->stages; t < s && !found; t++) {
        if ((t->kind != RLX_STAGE_OUTPUT && t->kind != RLX_STAGE_INPUT) || !t->name)
            continue;
        rlx_text_clear(&other);
        rlx_flow_put_resolved(t, t->name, &other);
        found = !name.oom && !other.oom && !strcmp(name.data, other.data);
    }
    rlx_text_deinit(&name);
    rlx_text_deinit(&other);
    return found;
}

void rlx_flow_input(rlx_flow *f, const char *name, rlx_format format, int rank, const int64_t *dims)
{
    if (!name || rank < 0 || rank > RLX_PROGRAM_MAX_RANK || (unsigned)format >= RLX_FORMAT_COUNT ||
        format == RLX_FORMAT_NONE) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "input needs a name, a format, and rank 0 to %d",
                                  RLX_PROGRAM_MAX_RANK));
        return;
    }
    if (!f->error && f->layer >= 0) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "F9: input \"%s\" inside a %s", name,
                                  f->is_stack ? "stack" : "layer"));
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_INPUT);
    if (!s)
        return;
    s->name = rlx_flow_copy_key(f, name, "input's name");
    if (s->name && rlx_flow_is_named_before(f, s))
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "F2: input \"%s\": an input or output before it has that name",
                                  name));
    s->format = format;
    s->rank = rank;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0 && -1 - dims[i] >= f->nsymbols) {
            rlx_flow_fail(f,
                          RLX_FAIL(RLX_INVALID_ARGUMENT,
                                   "input \"%s\": dim %d is neither >= 0 nor a symbol of this flow",
                                   name, i));
            return;
        }
        s->dim[i] = dims[i];
    }
}

static void record_named(rlx_flow *f, rlx_stage_kind kind, const char *name, const char *what)
{
    rlx_stage *s = rlx_flow_record(f, kind);
    if (s)
        s->name = rlx_flow_copy_key(f, name, what);
}

void rlx_flow_probe_point(rlx_flow *f, const char *path)
{
    record_named(f, RLX_STAGE_PROBE_POINT, path, "probe_point's path");
}

/* The slot of a value inside the stage before, + 1; 0 after an error. */
static int find_inside(rlx_flow *f, const char *value, const char *what)
{
    if (f->error)
        return 0;
    const rlx_stage *owner = f->nstages ? rlx_flow_get_probed(f, &f->stages[f->nstages - 1]) : NULL;
    const rlx_block_info *block = owner ? rlx_block_get(owner->kind) : NULL;
    int slot = 0;
    while (block && block->inside[slot] && strcmp(block->inside[slot], value ? value : ""))
        slot++;
    if (!block || !block->inside[slot] || owner->layer != f->layer) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "%s: no value \"%s\" inside the stage before it (%s)", what,
                                  value ? value : "", block ? block->name : "there is none"));
        return 0;
    }
    return slot + 1;
}

void rlx_flow_probe_inside(rlx_flow *f, const char *value, const char *path)
{
    const int inside = find_inside(f, value, "probe_inside");
    rlx_stage *s = inside ? rlx_flow_record(f, RLX_STAGE_PROBE_POINT) : NULL;
    if (s) {
        s->name = rlx_flow_copy_key(f, path, "probe_inside's path");
        s->number[RLX_PROBE_INSIDE] = inside;
    }
}

void rlx_flow_name_value(rlx_flow *f, const char *value, const char *stream)
{
    const int inside = find_inside(f, value, "name_value");
    rlx_stage *s = inside ? rlx_flow_record(f, RLX_STAGE_NAME_VALUE) : NULL;
    if (s) {
        s->key[0] = rlx_flow_copy_key(f, stream, "name_value's stream");
        s->number[RLX_PROBE_INSIDE] = inside;
    }
}

void rlx_flow_probe_rotary(rlx_flow *f, int64_t rotary_dim, const char *cos_path,
                           const char *sin_path)
{
    if (!f->error && (f->layer >= 0 || rotary_dim <= 0 || rotary_dim % 2)) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "probe_rotary of %lld elements%s: stands outside of layers, and "
                                  "takes an even number",
                                  (long long)rotary_dim, f->layer >= 0 ? " in a layer" : ""));
        return;
    }
    for (int sine = 0; sine < 2; sine++) {
        rlx_stage *s = rlx_flow_record(f, RLX_STAGE_PROBE_ROTARY);
        if (!s)
            return;
        s->name = rlx_flow_copy_key(f, sine ? sin_path : cos_path, "probe_rotary's path");
        s->number[ROTARY_DIM] = rotary_dim;
        s->number[SINE] = sine;
    }
}

static void record_output(rlx_flow *f, const char *name, const char *stream)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_OUTPUT);
    if (!s)
        return;
    s->name = rlx_flow_copy_key(f, name, "output's name");
    s->key[0] = stream;
    if (s->name && *s->name == ':')
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "F2: output \"%s\": names with a colon in front are rlx's own",
                                  name));
    else if (s->name && rlx_flow_is_named_before(f, s))
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "F2: output \"%s\": an input or output before it has that name",
                                  name));
}

void rlx_flow_output(rlx_flow *f, const char *name)
{
    record_output(f, name, NULL);
}

void rlx_flow_output_stream(rlx_flow *f, const char *name, const char *stream)
{
    if (!f->error)
        record_output(f, name, rlx_flow_copy_key(f, stream, "output_stream's stream"));
}

rlx_status rlx_block_input_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *x;
    RLX_TRY(rlx_flow_find_input(cx, s->name, s->format, s->rank, s->dim, &x));
    if (s == cx->flow->stages) /* others wait until a stage asks for them */
        cx->fn->x = x;
    return RLX_OK;
}

rlx_status rlx_block_probe_point_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const int request = cx->request[s - cx->flow->stages];
    const int64_t inside = s->number[RLX_PROBE_INSIDE];
    if (request < 0)
        return RLX_OK;
    rlx_ir_value *x = inside ? cx->fn->inside[inside - 1] : cx->fn->x;
    if (!x)
        return RLX_FAIL(RLX_NOT_FOUND, "\"%s\": this stage computes no such value", s->name);
    if (cx->fn->is_layer) /* at the end, the probe is what the call returns anyway */
        return rlx_flow_ends_layer(cx->flow, s) ? RLX_OK : rlx_flow_add_result(cx, x, s->name);
    cx->probe[request] = x;
    return RLX_OK;
}

/* Both halves of a table are alike: what pairs of a head's elements turn by. */
rlx_status rlx_block_probe_rotary_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const int request = cx->request[s - cx->flow->stages];
    if (request < 0)
        return RLX_OK;
    rlx_ir_value *table;
    RLX_TRY(rlx_flow_need_rotary(cx, s->number[ROTARY_DIM], s->number[SINE], &table));
    cx->fn->b.place = "rotary_emb";
    cx->probe[request] = rlx_mir_build_concat(&cx->fn->b, 2, (rlx_ir_value *[]){table, table}, 1);
    return RLX_OK;
}

rlx_status rlx_flow_add_output(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *x)
{
    const char *name = rlx_flow_resolve(cx, s, s->name);
    return name ? rlx_flow_add_result(cx, x, name) : RLX_OOM();
}

rlx_status rlx_block_output_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *x = cx->fn->x;
    if (cx->fn->is_layer && rlx_flow_ends_layer(cx->flow, s))
        return RLX_OK; /* @main knows it by then */
    if (s->key[0])
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[0], &x));
    return cx->fn->is_layer ? rlx_flow_add_result(cx, x, s->name) : rlx_flow_add_output(cx, s, x);
}

rlx_status rlx_block_name_value_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *x = cx->fn->inside[s->number[RLX_PROBE_INSIDE] - 1];
    if (!x)
        return RLX_FAIL(RLX_NOT_FOUND, "\"%s\": this stage computes no such value", s->key[0]);
    return rlx_flow_set_stream(cx, s->key[0], x);
}
