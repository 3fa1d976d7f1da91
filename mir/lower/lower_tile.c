/* mir/lower/lower_tile.c: the tile of a MIR value at given coordinates.
 *
 * Prologues and epilogues are nothing but this: views move coordinates, maps apply to the operands'
 * tiles, and what is bound (an argument in memory, an accumulator in registers, a row's sum) ends
 * the recursion. */
#include "mir/lower/lower.h"

binding *bound(const rlx_ir_value *v)
{
    return v->scratch;
}

binding *k_bind(kernel_cx *k, const rlx_ir_value *v, bind_kind kind, rlx_ir_value *lir)
{
    binding *b = RLX_NEW(k->arena, binding);
    if (!b) {
        rlx_ir_builder_fail(k->b, RLX_OOM());
        return NULL;
    }
    b->kind = kind;
    b->lir = lir;
    ((rlx_ir_value *)v)->scratch = b; /* scratch belongs to the running lowering */
    return b;
}

rlx_status k_fail(kernel_cx *k, const rlx_ir_node *n, const char *what)
{
    const char *op = n ? rlx_mir_level.ops[n->op].mnemonic : "argument";
    const char *place = n && n->place ? n->place : k->place ? k->place : "an unnamed place";
    return RLX_FAIL(RLX_UNSUPPORTED, "cannot lower %s at %s: %s", op, place, what);
}

rlx_ir_value *k_scalar(kernel_cx *k, const rlx_ir_node *n)
{
    rlx_format f = n->out[0]->type.format;
    double value = rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0);
    return rlx_format_is_float(f) ? rlx_lir_build_fill(k->b, f, 0, NULL, value)
                                  : rlx_lir_build_fill_int(k->b, f, 0, NULL, (int64_t)value);
}

/* Which tile axes occur in c: extents in axis order, and for each rank position its axis. */
static int present_axes(const coord *c, int rank, const tile_space *ts, int64_t *dims)
{
    int n = 0;
    for (int axis = 0; axis < ts->rank; axis++)
        for (int i = 0; i < rank; i++)
            if (coord_axis(&c[i]) == axis)
                dims[n++] = ts->dim[axis];
    return n;
}

/* index, axes and limits of a memory access; fails when tile axes run against the buffer's order.
 */
static rlx_status access_of(kernel_cx *k, const rlx_ir_value *buffer, const coord *c,
                            const tile_space *ts, rlx_ir_value **index, int64_t *axes,
                            rlx_ir_value **limits, int *rank)
{
    int last = -1;
    *rank = 0;
    for (int i = 0; i < buffer->type.rank; i++) {
        if (c[i].n < 0)
            return k_fail(k, NULL, "an index is not a sum of loop indices");
        index[i] = k_index(k, &c[i]);
        int axis = coord_axis(&c[i]);
        if (axis < 0)
            continue;
        if (axis <= last)
            return k_fail(k, NULL, "a tile would have to be transposed");
        last = axis;
        axes[*rank] = i;
        limits[(*rank)++] = k_limit(k, &c[i], ts);
    }
    return k->b->status ? rlx_ir_builder_finish(k->b) : RLX_OK;
}

rlx_status tile_load(kernel_cx *k, rlx_ir_value *buffer, rlx_format format, const coord *c,
                     const tile_space *ts, rlx_ir_value **out)
{
    rlx_ir_value *index[RLX_MAX_RANK], *limits[MAX_TILE] = {0};
    int64_t axes[MAX_TILE], dims[MAX_TILE] = {0};
    int rank;
    RLX_TRY(access_of(k, buffer, c, ts, index, axes, limits, &rank));
    present_axes(c, buffer->type.rank, ts, dims);
    *out = rlx_lir_build_load(k->b, buffer, format, rank, dims, index, axes, limits);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}

rlx_status tile_store(kernel_cx *k, rlx_ir_value *buffer, rlx_ir_value *tile, const coord *c,
                      const tile_space *ts)
{
    rlx_ir_value *index[RLX_MAX_RANK], *limits[MAX_TILE] = {0};
    int64_t axes[MAX_TILE], dims[MAX_TILE] = {0};
    int rank;
    RLX_TRY(access_of(k, buffer, c, ts, index, axes, limits, &rank));
    present_axes(c, buffer->type.rank, ts, dims);
    if (tile->type.rank > 0 && tile->type.rank != rank)
        return k_fail(k, NULL, "a tile loses an axis where it is stored");
    if (tile->type.rank == 0 && rank > 0)
        tile = rlx_lir_build_broadcast(k->b, tile, rank, dims, NULL);
    rlx_lir_build_store(k->b, buffer, tile, index, axes, limits);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status at_binding(kernel_cx *k, const rlx_ir_value *v, const coord *c,
                             const tile_space *ts, rlx_format format, rlx_ir_value **out)
{
    const binding *b = bound(v);
    int rank = v->type.rank;
    switch (b->kind) {
    case BIND_PART:
        return k_fail(k, v->def, "a part of something is computed by elements");
    case BIND_ROW:
    case BIND_TILE:
        for (int i = 0; i < rank; i++)
            if (!coord_equal(&c[i], &b->at[i]))
                return k_fail(k, v->def, "the epilogue needs other elements than the tile holds");
        *out = b->lir;
        return RLX_OK;
    case BIND_BUFFER: {
        coord local[RLX_MAX_RANK];
        for (int i = 0; i < rank; i++)
            local[i] = coord_sub(c[i], b->at[i]);
        if (format == RLX_I8 && b->lir->type.format == RLX_U8) /* raised codes stay so */
            format = RLX_U8;
        /* memory of a block has no axes that are one index for all of it */
        return tile_load(k, b->lir, format, local + rank - b->lir->type.rank, ts, out);
    }
    }
    return RLX_OK;
}

static rlx_status at_map(kernel_cx *k, const rlx_ir_node *n, const coord *c, const tile_space *ts,
                         rlx_ir_value **out)
{
    rlx_ir_value *in[3] = {0};
    int64_t dims[MAX_TILE];
    int rank = present_axes(c, n->out[0]->type.rank, ts, dims);
    for (int i = 0; i < n->nin; i++) {
        RLX_TRY(tile_at(k, n->in[i], c, ts, &in[i]));
        if (in[i]->type.rank != 0 && in[i]->type.rank != rank)
            return k_fail(k, n, "operand tiles of different rank");
    }
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, 0);
    *out = n->nin == 1   ? rlx_lir_build_map1(k->b, fn, in[0])
           : n->nin == 2 ? rlx_lir_build_map2(k->b, fn, in[0], in[1])
                         : rlx_lir_build_map3(k->b, fn, in[0], in[1], in[2]);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}

static rlx_status at_broadcast(kernel_cx *k, const rlx_ir_node *n, const coord *c,
                               const tile_space *ts, rlx_ir_value **out)
{
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    const rlx_ir_value *x = n->in[0];
    coord inner[RLX_MAX_RANK];
    for (int i = 0; i < x->type.rank; i++)
        inner[i] = c[axes->ints[i]];
    RLX_TRY(tile_at(k, x, inner, ts, out));
    int64_t dims[MAX_TILE], to[MAX_TILE];
    int rank = present_axes(c, n->out[0]->type.rank, ts, dims);
    if ((*out)->type.rank == rank || (*out)->type.rank == 0)
        return RLX_OK; /* scalars mix with tiles as they are */
    /* MAX_TILE is 2: one axis of the operand goes to one of the two of the result */
    int from = -1, at = 0, seen = 0;
    for (int i = 0; i < x->type.rank; i++)
        if (coord_axis(&inner[i]) >= 0)
            from = coord_axis(&inner[i]);
    for (int axis = 0; axis < ts->rank; axis++)
        for (int i = 0; i < n->out[0]->type.rank; i++)
            if (coord_axis(&c[i]) == axis) {
                if (axis == from)
                    at = seen;
                seen++;
            }
    to[0] = at;
    *out = rlx_lir_build_broadcast(k->b, *out, rank, dims, to);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}

static rlx_status at_slice(kernel_cx *k, const rlx_ir_node *n, const coord *c, const tile_space *ts,
                           rlx_ir_value **out)
{
    coord inner[RLX_MAX_RANK];
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    if (rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) != 1)
        return k_fail(k, n, "elements lie apart");
    for (int i = 0; i < n->in[0]->type.rank; i++)
        inner[i] = c[i];
    inner[axis] = coord_add(inner[axis], coord_const(rlx_ir_attr_int(n, RLX_ATTR_START, 0)));
    return tile_at(k, n->in[0], inner, ts, out);
}

static rlx_status at_transpose(kernel_cx *k, const rlx_ir_node *n, const coord *c,
                               const tile_space *ts, rlx_ir_value **out)
{
    coord inner[RLX_MAX_RANK];
    const rlx_attr *perm = rlx_ir_attr(n, RLX_ATTR_PERM);
    for (int i = 0; i < n->in[0]->type.rank; i++)
        inner[perm->ints[i]] = c[i];
    return tile_at(k, n->in[0], inner, ts, out);
}

/* The tile as `format`, decoded by its load: of a value in memory, or rows gathered from one. */
static rlx_status at_memory(kernel_cx *k, const rlx_ir_value *v, const coord *c,
                            const tile_space *ts, rlx_format format, rlx_ir_value **out);

/* Row ids[t..] of the table, as `format`; t.. must be one row at a time. An id that is out of range
 * is held inside: nothing outside of the table is read. */
static rlx_status at_gather(kernel_cx *k, const rlx_ir_node *n, const coord *c,
                            const tile_space *ts, rlx_format format, rlx_ir_value **out)
{
    const int nids = n->in[1]->type.rank;
    const rlx_dim rows = n->in[0]->type.dim[0];
    if (k_may_be_empty(k, rows))
        return k_fail(k, n, "a table that may be empty, by tiles");
    for (int i = 0; i < nids; i++)
        if (coord_axis(&c[i]) >= 0)
            return k_fail(k, n, "gathers one row at a time");
    rlx_ir_value *id;
    RLX_TRY(tile_at(k, n->in[1], c, ts, &id));
    id = k_hold_index(k, rlx_lir_build_cast(k->b, id, RLX_I64), rows);
    if (!id)
        return rlx_ir_builder_finish(k->b);
    coord inner[RLX_MAX_RANK] = {coord_of(id, rlx_dim_is_const(rows) ? rows : 0, -1)};
    for (int i = 1; i < n->in[0]->type.rank; i++)
        inner[i] = c[nids - 1 + i];
    return at_memory(k, n->in[0], inner, ts, format, out);
}

static rlx_status at_memory(kernel_cx *k, const rlx_ir_value *v, const coord *c,
                            const tile_space *ts, rlx_format format, rlx_ir_value **out)
{
    if (v->type.format == format)
        return tile_at(k, v, c, ts, out);
    if (bound(v))
        return at_binding(k, v, c, ts, format, out);
    if (v->def && v->def->op == RLX_MIR_GATHER)
        return at_gather(k, v->def, c, ts, format, out);
    return k_fail(k, v->def, "its elements are not decoded where they are loaded");
}

static rlx_status at_cast(kernel_cx *k, const rlx_ir_node *n, const coord *c, const tile_space *ts,
                          rlx_ir_value **out)
{
    const rlx_ir_value *x = n->in[0];
    rlx_format to = n->out[0]->type.format;
    /* a load decodes: widening what lies in memory needs no narrow tile */
    bool blocks = rlx_format_get(x->type.format)->kind == RLX_KIND_BLOCK;
    if (blocks)
        return at_memory(k, x, c, ts, to, out);
    bool widens = rlx_format_is_float(x->type.format) && to == RLX_F32;
    if (widens && bound(x) && bound(x)->kind == BIND_BUFFER)
        return at_binding(k, x, c, ts, to, out);
    RLX_TRY(tile_at(k, x, c, ts, out));
    *out = rlx_lir_build_cast(k->b, *out, to);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}

/* The index itself, along the tile axis that it runs with, if any. */
static rlx_status at_iota(kernel_cx *k, const rlx_ir_node *n, const coord *c, const tile_space *ts,
                          rlx_ir_value **out)
{
    const rlx_format f = n->out[0]->type.format;
    const int axis = coord_axis(c);
    if (f != RLX_I32 && f != RLX_I64)
        return k_fail(k, n, "indices of that format, by tiles");
    *out = rlx_lir_build_cast(k->b, k_index(k, c), f);
    if (axis >= 0)
        *out = rlx_lir_build_map2(k->b, RLX_FN_ADD, rlx_lir_build_iota(k->b, f, 1, &ts->dim[axis]),
                                  *out);
    return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
}

static rlx_status make(kernel_cx *k, const rlx_ir_value *v, const coord *c, const tile_space *ts,
                       rlx_ir_value **out)
{
    if (bound(v))
        return at_binding(k, v, c, ts, v->type.format, out);
    const rlx_ir_node *n = v->def;
    if (!n)
        return k_fail(k, NULL, "a region argument without a buffer");
    switch ((rlx_mir_op)n->op) {
    case RLX_MIR_CONST:
        *out = k_scalar(k, n);
        return *out ? RLX_OK : rlx_ir_builder_finish(k->b);
    case RLX_MIR_MAP:
        return at_map(k, n, c, ts, out);
    case RLX_MIR_CAST:
        return at_cast(k, n, c, ts, out);
    case RLX_MIR_BROADCAST:
        return at_broadcast(k, n, c, ts, out);
    case RLX_MIR_SLICE:
        return at_slice(k, n, c, ts, out);
    case RLX_MIR_TRANSPOSE:
        return at_transpose(k, n, c, ts, out);
    case RLX_MIR_GATHER:
        return at_gather(k, n, c, ts, v->type.format, out);
    case RLX_MIR_IOTA:
        return at_iota(k, n, c, ts, out);
    case RLX_MIR_RESHAPE: {
        coord inner[RLX_MAX_RANK];
        RLX_TRY(coord_reshape(k->dims, &v->type, c, &n->in[0]->type, inner, n->place));
        return tile_at(k, n->in[0], inner, ts, out);
    }
    default:
        return k_fail(k, n, "not where a tile is computed");
    }
}

/* A tile that is there, as what is made in one go has one place in the program. */
typedef struct made_tile {
    struct made_tile *next;
    const rlx_ir_value *value;
    rlx_ir_value *tile;
    coord at[RLX_MAX_RANK];
} made_tile;

static rlx_ir_value *find_made(const kernel_cx *k, const rlx_ir_value *v, const coord *c)
{
    for (const made_tile *m = k->made; m; m = m->next) {
        bool same = m->value == v;
        for (int i = 0; same && i < v->type.rank; i++)
            same = coord_equal(&c[i], &m->at[i]);
        if (same)
            return m->tile;
    }
    return NULL;
}

static rlx_status keep_made(kernel_cx *k, const rlx_ir_value *v, const coord *c, rlx_ir_value *tile)
{
    made_tile *m = RLX_NEW(k->arena, made_tile);
    if (!m)
        return RLX_OOM();
    *m = (made_tile){.next = k->made, .value = v, .tile = tile};
    for (int i = 0; i < v->type.rank; i++)
        m->at[i] = c[i];
    k->made = m;
    return RLX_OK;
}

rlx_status tile_at(kernel_cx *k, const rlx_ir_value *v, const coord *c, const tile_space *ts,
                   rlx_ir_value **out)
{
    if (!k->making)
        k->made = NULL;
    *out = find_made(k, v, c);
    if (*out)
        return RLX_OK;
    k->making++;
    rlx_status st = make(k, v, c, ts, out);
    k->making--;
    return st ? st : keep_made(k, v, c, *out);
}

bool value_depends(const rlx_ir_value *v, int op)
{
    const rlx_ir_node *n = v->def;
    if (!n || bound(v))
        return false;
    if (n->op == op)
        return true;
    for (int i = 0; i < n->nin; i++)
        if (value_depends(n->in[i], op))
            return true;
    return false;
}
