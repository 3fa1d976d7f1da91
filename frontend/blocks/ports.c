/* frontend/blocks/ports.c: where tensors enter and leave a flow: input, output, probe_point. */
#include <string.h>

#include "frontend/blocks/blocks.h"

void rlx_flow_input(rlx_flow *f, const char *name, rlx_format format, int rank, const int64_t *dims)
{
    if (!name || rank < 0 || rank > RLX_MAX_RANK || (unsigned)format >= RLX_FORMAT_COUNT ||
        format == RLX_FORMAT_NONE) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "input needs a name, a format, and rank 0 to %d", RLX_MAX_RANK));
        return;
    }
    if (!f->error && f->nstages) {
        rlx_flow_fail(
            f, RLX_FAIL(RLX_INVALID_ARGUMENT, "input \"%s\" is not the flow's first stage", name));
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_INPUT);
    if (!s)
        return;
    s->name = rlx_flow_copy_key(f, name, "input's name");
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

void rlx_flow_output(rlx_flow *f, const char *name)
{
    if (!f->error && f->layer >= 0) {
        rlx_flow_fail(
            f, RLX_FAIL(RLX_INVALID_ARGUMENT, "output \"%s\" inside a layer", name ? name : ""));
        return;
    }
    for (int i = 0; name && i < f->nstages; i++)
        if (f->stages[i].kind == RLX_STAGE_OUTPUT && !strcmp(f->stages[i].name, name)) {
            rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "two outputs \"%s\"", name));
            return;
        }
    record_named(f, RLX_STAGE_OUTPUT, name, "output's name");
}

rlx_status rlx_block_input_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return rlx_flow_find_input(cx, s->name, s->format, s->rank, s->dim, &cx->fn->x);
}

rlx_status rlx_block_probe_point_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const int request = cx->request[s - cx->flow->stages];
    if (request < 0)
        return RLX_OK;
    if (cx->fn->is_layer) /* at the end, the probe is what the call returns anyway */
        return rlx_flow_ends_layer(cx->flow, s) ? RLX_OK : rlx_flow_add_result(cx, s->name);
    cx->probe[request] = cx->fn->x;
    return RLX_OK;
}

rlx_status rlx_block_output_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return rlx_flow_add_result(cx, s->name);
}
