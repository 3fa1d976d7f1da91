/* frontend/blocks/custom.c: a stage that a function of the caller's builds: its builder, values,
 * weights and inputs. The ops are in build_<group>.c. */
#include <string.h>

#include "frontend/blocks/build.h"
#include "frontend/registry.h"

void rlx_flow_custom(rlx_flow *f, const char *name,
                     rlx_value *(*build)(rlx_builder *b, rlx_value *x, void *user), void *user)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_CUSTOM);
    if (!s)
        return;
    s->name = rlx_flow_copy_key(f, name, "custom's name");
    s->build = build;
    s->user = user;
    if (!build)
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "custom \"%s\" has nothing that builds it",
                                  name ? name : ""));
}

void rlx_flow_plugin_named(rlx_flow *f, const char *plugin, const char *name, void *user)
{
    const rlx_plugin *p = rlx_registry_find_plugin(plugin ? plugin : "");
    if (f->error)
        return;
    if (!p) {
        rlx_flow_fail(f, rlx_registry_unknown(RLX_REGISTRY_PLUGIN, plugin ? plugin : "", NULL, 0));
        return;
    }
    rlx_flow_custom(f, name, p->build, user ? user : p->user);
    if (!f->error)
        f->stages[f->nstages - 1].key[0] = p->name;
}

void rlx_flow_plugin(rlx_flow *f, const char *plugin)
{
    rlx_flow_plugin_named(f, plugin, plugin, NULL);
}

rlx_status rlx_block_custom_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_builder b = {.cx = cx, .stage = s, .place = s->name};
    cx->fn->b.place = s->name;
    rlx_value *y = s->build(&b, (rlx_value *)cx->fn->x, s->user);
    RLX_TRY(rlx_ir_builder_finish(&cx->fn->b));
    if (!y)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "the function that builds it returned no value");
    cx->fn->x = (rlx_ir_value *)y;
    return RLX_OK;
}

rlx_status rlx_block_dual_stream_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_builder b = {.cx = cx, .stage = s, .place = s->name};
    rlx_ir_value *in[2];
    for (int i = 0; i < 2; i++)
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[i], &in[i]));
    rlx_value *out[2] = {rlx_value_of(in[0]), rlx_value_of(in[1])};
    cx->fn->b.place = s->name;
    s->build_two(&b, &out[0], &out[1], s->user);
    RLX_TRY(rlx_ir_builder_finish(&cx->fn->b));
    for (int i = 0; i < 2; i++) {
        if (!out[i])
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "the function that builds it left no value for "
                            "stream \"%s\"",
                            s->key[i]);
        RLX_TRY(rlx_flow_set_stream(cx, s->key[i], (rlx_ir_value *)out[i]));
    }
    cx->fn->x = (rlx_ir_value *)out[0];
    return RLX_OK;
}

rlx_ir_value *rlx_builder_rewrite(rlx_flow_cx *cx, const rlx_stage *s, const rlx_extension *e,
                                  rlx_ir_node *n)
{
    rlx_builder b = {cx, s, n->place, e};
    cx->fn->b.place = n->place;
    return (rlx_ir_value *)e->rewrite(&b, (const rlx_node *)n, e->user);
}

/* ---- what build_<group>.c share ---------------------------------------------------------------
 */

rlx_ir_builder *rlx_builder_at(rlx_builder *b, const rlx_value *w)
{
    rlx_ir_builder *inside = &b->cx->fn->b;
    const rlx_ir_value *v = (const rlx_ir_value *)w;
    const rlx_ir_func *f = b->cx->fn->func;
    inside->place = b->place;
    if (!v || v->def || v->block != f->body || f->arg_info[v->index].role != RLX_ROLE_WEIGHT)
        return inside;
    const char *key = f->arg_info[v->index].symbol;
    if (strncmp(key, RLX_FLOW_TABLE, sizeof RLX_FLOW_TABLE - 1) != 0)
        rlx_flow_set_place(b->cx, key, 1);
    return inside;
}

void rlx_builder_note(rlx_builder *b, rlx_status st)
{
    if (st)
        rlx_ir_builder_fail(&b->cx->fn->b, st);
}

bool rlx_builder_all(rlx_builder *b, const char *op, int n, rlx_value *const *x)
{
    for (int i = 0; i < n; i++)
        if (!x[i]) {
            if (!b->cx->fn->b.status)
                rlx_builder_note(b,
                                 RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: operand %d is NULL", op, i));
            return false;
        }
    return true;
}

bool rlx_builder_has_spec(rlx_builder *b, const char *op, const void *spec)
{
    if (!spec)
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s needs a spec", op));
    return spec != NULL;
}

bool rlx_builder_indices(rlx_builder *b, const char *op, rlx_value *ids)
{
    const rlx_format f = rlx_value_format(ids);
    if (!rlx_builder_all(b, op, 1, &ids))
        return false;
    if (f == RLX_I32 || f == RLX_I64)
        return true;
    rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: indices are %s, not i32 or i64", op,
                                 rlx_format_get(f)->name));
    return false;
}

bool rlx_builder_axis(rlx_builder *b, const char *op, rlx_value *x, int *axis)
{
    const int rank = rlx_value_rank(x), given = *axis;
    if (!rlx_builder_all(b, op, 1, &x))
        return false;
    *axis += *axis < 0 ? rank : 0;
    if (*axis >= 0 && *axis < rank)
        return true;
    rlx_builder_note(
        b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: axis %d of a value of rank %d", op, given, rank));
    return false;
}

bool rlx_builder_axes(rlx_builder *b, const char *op, rlx_value *x, int n, const int *axes,
                      unsigned *set)
{
    *set = 0;
    for (int i = 0; i < n; i++) {
        int axis = axes[i];
        if (!rlx_builder_axis(b, op, x, &axis))
            return false;
        *set |= 1u << axis;
    }
    return rlx_builder_all(b, op, 1, &x);
}

bool rlx_builder_dims(rlx_builder *b, const char *op, int rank, const int64_t *dims, rlx_dim *out)
{
    if (b->cx->fn->b.status)
        return false;
    rlx_status st = RLX_OK;
    if (rank < 0 || rank > RLX_MAX_RANK)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: rank %d; there are 0 to %d", op, rank,
                      RLX_MAX_RANK);
    for (int i = 0; i < rank && !st; i++)
        st = rlx_status_note(rlx_flow_get_extent(b->cx, dims[i], &out[i]), __FILE__, __LINE__,
                             "%s: extent %d", op, i);
    rlx_builder_note(b, st);
    return !st;
}

/* ---- what a build function sees -------------------------------------------------------------- */

int64_t rlx_builder_layer(const rlx_builder *b)
{
    return b->stage->layer;
}

void rlx_builder_fail(rlx_builder *b, rlx_code code, const char *message)
{
    rlx_builder_note(b, RLX_FAIL(code == RLX_CODE_OK ? RLX_INVALID_ARGUMENT : code, "%s",
                                 message ? message : "it failed"));
}

rlx_format rlx_value_format(const rlx_value *v)
{
    return v ? ((const rlx_ir_value *)v)->type.format : RLX_FORMAT_NONE;
}

int rlx_value_rank(const rlx_value *v)
{
    return v ? ((const rlx_ir_value *)v)->type.rank : 0;
}

int64_t rlx_value_dim(const rlx_value *v, int i)
{
    if (i < 0 || i >= rlx_value_rank(v))
        return -1;
    const rlx_dim d = ((const rlx_ir_value *)v)->type.dim[i];
    return rlx_dim_is_const(d) ? d : -1;
}

int64_t rlx_value_extent(const rlx_value *v, int i)
{
    if (i < 0 || i >= rlx_value_rank(v))
        return 0; /* after an earlier error; what is built of it builds nothing */
    const rlx_dim d = ((const rlx_ir_value *)v)->type.dim[i];
    return rlx_dim_is_const(d) ? d : d + RLX_EXTENT_EXPRESSIONS;
}

/* Why there is no such extent. */
static rlx_status no_extent(rlx_extent_op op, const rlx_dim d[2])
{
    const bool divides = op == RLX_EXTENT_DIV || op == RLX_EXTENT_CEIL_DIV || op == RLX_EXTENT_MOD;
    if (divides && d[1] == 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "extent: divided by 0");
    if ((divides && d[1] < 0) || (op == RLX_EXTENT_MUL && d[0] < 0 && d[1] < 0))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "extent: its result is not linear in symbols (two of them multiplied, or "
                        "a divisor that is no constant)");
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "extent: its result does not fit 63 bits");
}

int64_t rlx_build_extent(rlx_builder *b, rlx_extent_op op, int64_t x, int64_t y)
{
    static const rlx_dim_op ops[] = {
        [RLX_EXTENT_ADD] = RLX_DIM_ADD,      [RLX_EXTENT_MUL] = RLX_DIM_MUL,
        [RLX_EXTENT_DIV] = RLX_DIM_FLOORDIV, [RLX_EXTENT_CEIL_DIV] = RLX_DIM_CEILDIV,
        [RLX_EXTENT_MOD] = RLX_DIM_MOD,      [RLX_EXTENT_MIN] = RLX_DIM_MIN,
        [RLX_EXTENT_MAX] = RLX_DIM_MAX};
    const int64_t in[] = {x, y};
    rlx_dim d[2];
    if (!rlx_builder_dims(b, "extent", 2, in, d))
        return 0;
    if ((size_t)op >= sizeof ops / sizeof *ops) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "extent: no operation %d", (int)op));
        return 0;
    }
    const rlx_dim e = rlx_dim_make(b->cx->dims, ops[op], d[0], d[1]);
    if (e == RLX_DIM_INVALID) {
        rlx_builder_note(b, no_extent(op, d));
        return 0;
    }
    return rlx_dim_is_const(e) ? e : e + RLX_EXTENT_EXPRESSIONS;
}

rlx_value *rlx_build_weight(rlx_builder *b, const char *key)
{
    rlx_ir_value *v = NULL;
    if (!b->cx->fn->b.status)
        rlx_builder_note(b, rlx_flow_find_weight(b->cx, b->stage, key, &v));
    return rlx_value_of(v);
}

/* Elements that each have an address, constant extents, data. */
static rlx_status check_table(rlx_format format, int rank, const rlx_dim *dims, const void *data)
{
    int64_t n = 1;
    if ((unsigned)format >= RLX_FORMAT_COUNT || format == RLX_FORMAT_NONE)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: there is no format %d", (int)format);
    if (rlx_format_get(format)->kind == RLX_KIND_BLOCK)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: %s is blocks; elements are numbers or bools",
                        rlx_format_get(format)->name);
    if (rank > RLX_PROGRAM_MAX_RANK)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: rank %d; there are 0 to %d", rank,
                        RLX_PROGRAM_MAX_RANK);
    for (int i = 0; i < rank; i++) {
        if (!rlx_dim_is_const(dims[i]))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: extent %d is no constant", i);
        if (__builtin_mul_overflow(n, dims[i], &n) || n > INT32_MAX)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: more than %d elements", INT32_MAX);
    }
    if (n && !data)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: no data for %lld elements", (long long)n);
    for (int64_t i = 0; format == RLX_BOOL && i < n; i++)
        if (((const uint8_t *)data)[i] > 1)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "table: element %lld is %d, not a bool",
                            (long long)i, ((const uint8_t *)data)[i]);
    return RLX_OK;
}

rlx_value *rlx_build_table(rlx_builder *b, rlx_format format, int rank, const int64_t *dims,
                           const void *data)
{
    rlx_tensor t = {.format = format, .rank = rank, .data = data};
    rlx_dim d[RLX_MAX_RANK];
    rlx_ir_value *v = NULL;
    if (!rlx_builder_dims(b, "table", rank, dims, d))
        return NULL;
    rlx_status st = check_table(format, rank, d, data);
    int64_t n = 1;
    for (int i = 0; i < rank && !st; i++)
        n *= t.dim[i] = d[i];
    if (!st) {
        t.bytes = rlx_format_bytes(format, n);
        st = rlx_flow_make_table(b->cx, &t, &v);
    }
    rlx_builder_note(b, st);
    return rlx_value_of(v);
}

rlx_value *rlx_build_input(rlx_builder *b, const char *name, rlx_format format, int rank,
                           const int64_t *dims)
{
    rlx_ir_value *v = NULL;
    if (!b->cx->fn->b.status)
        rlx_builder_note(b, rlx_flow_find_input(b->cx, name, format, rank, dims, &v));
    return rlx_value_of(v);
}

rlx_value *rlx_build_declared(rlx_builder *b, const char *input)
{
    rlx_ir_value *v = NULL;
    if (!b->cx->fn->b.status)
        rlx_builder_note(b, rlx_flow_need_declared(b->cx, input ? input : "", &v));
    return rlx_value_of(v);
}

/* Streams are those of stages: when nodes are rewritten, all stages have been built. */
static bool has_streams(rlx_builder *b, const char *op, const char *stream)
{
    if (b->extension)
        rlx_builder_note(b, RLX_FAIL(RLX_UNSUPPORTED,
                                     "%s \"%s\" by extension \"%s\", at %s: a rewrite has no "
                                     "streams",
                                     op, stream ? stream : "", b->extension->name,
                                     b->place ? b->place : "a node without a place"));
    return !b->cx->fn->b.status;
}

rlx_value *rlx_build_load(rlx_builder *b, const char *stream)
{
    rlx_ir_value *v = NULL;
    if (has_streams(b, "load", stream))
        rlx_builder_note(b, rlx_flow_get_stream(b->cx, b->stage, stream ? stream : "", &v));
    return rlx_value_of(v);
}

void rlx_build_store(rlx_builder *b, const char *stream, rlx_value *v)
{
    if (!has_streams(b, "store", stream))
        return;
    if (!v || !stream || !*stream)
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "store \"%s\": %s", stream ? stream : "",
                                     v ? "it has no name" : "there is no value"));
    else
        rlx_builder_note(b, rlx_flow_set_stream(b->cx, stream, rlx_value_ir(v)));
}

rlx_value *rlx_build_linear(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias)
{
    return rlx_value_of(rlx_hir_build_linear(rlx_builder_at(b, w), rlx_value_ir(x), rlx_value_ir(w),
                                             rlx_value_ir(bias)));
}

rlx_value *rlx_build_rms_norm(rlx_builder *b, rlx_value *x, rlx_value *w, double eps)
{
    return rlx_value_of(
        rlx_hir_build_rms_norm(rlx_builder_at(b, w), rlx_value_ir(x), rlx_value_ir(w), eps));
}

rlx_value *rlx_build_embed(rlx_builder *b, rlx_value *ids, rlx_value *w)
{
    return rlx_value_of(
        rlx_hir_build_embed(rlx_builder_at(b, w), rlx_value_ir(ids), rlx_value_ir(w)));
}
