/* frontend/blocks/streams.c: values by name: streams, inputs beside the first, and the function of
 * two streams. What a build function reads and stores by name is in custom.c. */
#include "frontend/blocks/blocks.h"

enum { A, B };
enum { INPUT, STREAM };

static void record(rlx_flow *f, rlx_stage_kind kind, const char *name, const char *what)
{
    rlx_stage *s = rlx_flow_record(f, kind);
    if (s)
        s->key[0] = rlx_flow_copy_key(f, name, what);
}

void rlx_flow_store_stream(rlx_flow *f, const char *stream)
{
    record(f, RLX_STAGE_STORE_STREAM, stream, "store_stream's name");
}

void rlx_flow_load_stream(rlx_flow *f, const char *stream)
{
    record(f, RLX_STAGE_LOAD_STREAM, stream, "load_stream's name");
}

void rlx_flow_load_input(rlx_flow *f, const char *input)
{
    record(f, RLX_STAGE_LOAD_INPUT, input, "load_input's name");
}

void rlx_flow_bind_stream(rlx_flow *f, const char *input, const char *stream)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_BIND_STREAM);
    if (!s)
        return;
    s->key[INPUT] = rlx_flow_copy_key(f, input, "bind_stream's input");
    s->key[STREAM] = rlx_flow_copy_key(f, stream, "bind_stream's name");
}

void rlx_flow_dual_stream(rlx_flow *f, const char *name, const char *a, const char *b,
                          void (*build)(rlx_builder *b, rlx_value **x, rlx_value **y, void *user),
                          void *user)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_DUAL_STREAM);
    if (!s)
        return;
    s->name = rlx_flow_copy_key(f, name, "dual_stream's name");
    s->key[A] = rlx_flow_copy_key(f, a, "dual_stream's first stream");
    s->key[B] = rlx_flow_copy_key(f, b, "dual_stream's second stream");
    s->build_two = build;
    s->user = user;
    if (!build)
        rlx_flow_fail(f,
                      RLX_FAIL(RLX_INVALID_ARGUMENT,
                               "dual_stream \"%s\" has nothing that builds it", name ? name : ""));
}

rlx_status rlx_block_store_stream_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return rlx_flow_set_stream(cx, s->key[0], cx->fn->x);
}

rlx_status rlx_block_load_stream_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return rlx_flow_get_stream(cx, s, s->key[0], &cx->fn->x);
}

rlx_status rlx_block_load_input_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return rlx_flow_need_declared(cx, s->key[0], &cx->fn->x);
}

rlx_status rlx_block_bind_stream_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *x;
    RLX_TRY(rlx_flow_need_declared(cx, s->key[INPUT], &x));
    return rlx_flow_set_stream(cx, s->key[STREAM], x);
}
