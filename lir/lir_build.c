/* lir/lir_build.c: named forms of rlx_ir_build for those who lower to LIR. */
#include <string.h>

#include "lir/lir.h"
#include "lir/ops/ops.h"

static rlx_ir_type tile_type(rlx_format f, int rank, const int64_t *dims)
{
    return rlx_ir_tile(f, rank, dims); /* a constant rlx_dim is the number itself */
}

static rlx_attr fn_attr(rlx_map_fn fn)
{
    return rlx_attr_int(RLX_ATTR_FN, fn);
}

/* ---- functions --------------------------------------------------------------------------------
 */

rlx_ir_func *rlx_lir_build_kernel(rlx_ir_builder *b, const char *name, int nattr,
                                  const rlx_attr *attrs)
{
    rlx_ir_func *f = rlx_ir_build_func(b, name, 0, NULL);
    if (!f)
        return NULL;
    f->is_kernel = true;
    for (int i = 0; i < nattr && !b->status; i++)
        b->status = rlx_ir_func_attr_set(b->module, f, attrs[i]);
    return f;
}

rlx_ir_value *rlx_lir_build_buffer(rlx_ir_builder *b, rlx_ir_func *kernel, const char *name,
                                   rlx_format f, int rank, const rlx_dim *dims)
{
    if (b->status || !kernel)
        return NULL;
    return rlx_ir_build_arg(b, kernel, RLX_ROLE_VALUE, NULL, name,
                            rlx_ir_buffer(RLX_SPACE_GLOBAL, f, rank, dims));
}

/* ---- values -----------------------------------------------------------------------------------
 */

rlx_ir_value *rlx_lir_build_const_f32(rlx_ir_builder *b, double value)
{
    return rlx_lir_build_fill(b, RLX_F32, 0, NULL, (double)(float)value);
}

rlx_ir_value *rlx_lir_build_const_i64(rlx_ir_builder *b, int64_t value)
{
    return rlx_lir_build_fill_int(b, RLX_I64, 0, NULL, value);
}

rlx_ir_value *rlx_lir_build_fill(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims,
                                 double value)
{
    rlx_ir_type type = tile_type(f, rank, dims);
    rlx_attr attr = rlx_attr_float(RLX_ATTR_VALUE, value);
    return rlx_ir_build(b, RLX_LIR_CONST, 0, NULL, 1, &attr, &type);
}

rlx_ir_value *rlx_lir_build_fill_int(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims,
                                     int64_t value)
{
    rlx_ir_type type = tile_type(f, rank, dims);
    rlx_attr attr = rlx_attr_int(RLX_ATTR_IVALUE, value);
    return rlx_ir_build(b, RLX_LIR_CONST, 0, NULL, 1, &attr, &type);
}

rlx_ir_value *rlx_lir_build_extent(rlx_ir_builder *b, rlx_dim dim)
{
    if (rlx_dim_is_const(dim))
        return rlx_lir_build_const_i64(b, dim);
    rlx_attr attr = rlx_attr_int(RLX_ATTR_EXTENT, dim);
    return rlx_ir_build(b, RLX_LIR_EXTENT, 0, NULL, 1, &attr, NULL);
}

rlx_ir_value *rlx_lir_build_iota(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims)
{
    rlx_ir_type type = tile_type(f, rank, dims);
    return rlx_ir_build(b, RLX_LIR_IOTA, 0, NULL, 0, NULL, &type);
}

static rlx_ir_value *build_map(rlx_ir_builder *b, rlx_map_fn fn, int n, rlx_ir_value *const *in)
{
    rlx_attr attr = fn_attr(fn);
    return rlx_ir_build(b, RLX_LIR_MAP, n, in, 1, &attr, NULL);
}

rlx_ir_value *rlx_lir_build_map1(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    return build_map(b, fn, 1, &x);
}

rlx_ir_value *rlx_lir_build_map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    rlx_ir_value *in[] = {x, y};
    return build_map(b, fn, 2, in);
}

rlx_ir_value *rlx_lir_build_map3(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y,
                                 rlx_ir_value *z)
{
    rlx_ir_value *in[] = {x, y, z};
    return build_map(b, fn, 3, in);
}

/* x's type in another format, through `op`. */
static rlx_ir_value *convert(rlx_ir_builder *b, int op, rlx_ir_value *x, rlx_format f)
{
    if (!x)
        return rlx_ir_build(b, op, 1, &x, 0, NULL, NULL); /* says what is wrong */
    if (x->type.format == f)
        return x;
    rlx_ir_type type = x->type;
    type.format = f;
    return rlx_ir_build(b, op, 1, &x, 0, NULL, &type);
}

rlx_ir_value *rlx_lir_build_cast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f)
{
    return convert(b, RLX_LIR_CAST, x, f);
}

rlx_ir_value *rlx_lir_build_bitcast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f)
{
    return convert(b, RLX_LIR_BITCAST, x, f);
}

rlx_ir_value *rlx_lir_build_broadcast(rlx_ir_builder *b, rlx_ir_value *x, int rank,
                                      const int64_t *dims, const int64_t *axes)
{
    rlx_format f = x ? x->type.format : RLX_F32;
    rlx_ir_type type = tile_type(f, rank, dims);
    rlx_attr attr = rlx_attr_ints(RLX_ATTR_AXES, x ? x->type.rank : 0, axes);
    return rlx_ir_build(b, RLX_LIR_BROADCAST, 1, &x, attr.n > 0, &attr, &type);
}

rlx_ir_value *rlx_lir_build_reduce(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x)
{
    rlx_attr attr = fn_attr(fn);
    return rlx_ir_build(b, RLX_LIR_REDUCE, 1, &x, 1, &attr, NULL);
}

rlx_ir_value *rlx_lir_build_contract(rlx_ir_builder *b, rlx_ir_value *acc, rlx_ir_value *a,
                                     rlx_ir_value *w)
{
    rlx_ir_value *in[] = {acc, a, w};
    return rlx_ir_build(b, RLX_LIR_CONTRACT, 3, in, 0, NULL, NULL);
}

static int bits_attr(int bits, rlx_attr *out)
{
    if (bits)
        *out = rlx_attr_int(RLX_ATTR_BITS, bits);
    return bits ? 1 : 0;
}

rlx_ir_value *rlx_lir_build_dot(rlx_ir_builder *b, int bits, rlx_ir_value *acc, rlx_ir_value *a,
                                rlx_ir_value *sa, rlx_ir_value *w, rlx_ir_value *sw)
{
    rlx_ir_value *in[] = {acc, a, sa, w, sw};
    rlx_attr attr;
    return rlx_ir_build(b, RLX_LIR_DOT, 5, in, bits_attr(bits, &attr), &attr, NULL);
}

rlx_ir_value *rlx_lir_build_dot_turned(rlx_ir_builder *b, int bits, rlx_ir_value *acc,
                                       rlx_ir_value *a, rlx_ir_value *sa, rlx_ir_value *w,
                                       rlx_ir_value *sw, rlx_ir_value *xs)
{
    rlx_ir_value *in[] = {acc, a, sa, w, sw, xs};
    rlx_attr attr[2];
    int n = bits_attr(bits, attr);
    attr[n++] = rlx_attr_int(RLX_ATTR_TURNED, 1);
    return rlx_ir_build(b, RLX_LIR_DOT, xs ? 6 : 5, in, n, attr, NULL);
}

rlx_ir_value *rlx_lir_build_turn(rlx_ir_builder *b, int64_t width, rlx_ir_value *x)
{
    rlx_attr attr = rlx_attr_int(RLX_ATTR_WIDTH, width);
    return rlx_ir_build(b, RLX_LIR_TURN, 1, &x, 1, &attr, NULL);
}

rlx_ir_value *rlx_lir_build_pack(rlx_ir_builder *b, int64_t width, rlx_ir_value *x)
{
    rlx_attr attr = rlx_attr_int(RLX_ATTR_WIDTH, width);
    return rlx_ir_build(b, RLX_LIR_PACK, 1, &x, 1, &attr, NULL);
}

rlx_ir_value *rlx_lir_build_dot_panel(rlx_ir_builder *b, int bits, rlx_ir_value *acc,
                                      rlx_ir_value *a, rlx_ir_value *sa, rlx_ir_value *w,
                                      rlx_ir_value *sw, rlx_ir_value *xs, rlx_ir_value *mins)
{
    rlx_ir_value *in[] = {acc, a, sa, w, sw, xs, mins};
    rlx_attr attr;
    return rlx_ir_build(b, RLX_LIR_DOT_PANEL, xs ? 7 : 5, in, bits_attr(bits, &attr), &attr, NULL);
}

rlx_ir_value *rlx_lir_build_dot_rows(rlx_ir_builder *b, int bits, rlx_ir_value *acc,
                                     rlx_ir_value *a, rlx_ir_value *sa, rlx_ir_value *w,
                                     rlx_ir_value *sw, rlx_ir_value *xs, rlx_ir_value *mins)
{
    rlx_ir_value *in[] = {acc, a, sa, w, sw, xs, mins};
    rlx_attr attr;
    return rlx_ir_build(b, RLX_LIR_DOT_ROWS, xs ? 7 : 5, in, bits_attr(bits, &attr), &attr, NULL);
}

rlx_ir_value *rlx_lir_build_outer(rlx_ir_builder *b, rlx_ir_value *acc, rlx_ir_value *a,
                                  rlx_ir_value *w)
{
    rlx_ir_value *in[] = {acc, a, w};
    return rlx_ir_build(b, RLX_LIR_OUTER, 3, in, 0, NULL, NULL);
}

rlx_ir_value *rlx_lir_build_outer_bf16(rlx_ir_builder *b, int64_t width, rlx_ir_value *acc,
                                       rlx_ir_value *a, rlx_ir_value *w)
{
    rlx_ir_value *in[] = {acc, a, w};
    rlx_attr attr = rlx_attr_int(RLX_ATTR_WIDTH, width);
    return rlx_ir_build(b, RLX_LIR_OUTER_BF16, 3, in, 1, &attr, NULL);
}

rlx_ir_value *rlx_lir_build_contract_columns(rlx_ir_builder *b, int64_t width, rlx_ir_value *acc,
                                             rlx_ir_value *a, rlx_ir_value *w)
{
    rlx_ir_value *in[] = {acc, a, w};
    const rlx_attr attrs[2] = {rlx_attr_int(RLX_ATTR_WIDTH, width), rlx_attr_int(RLX_ATTR_AXIS, 0)};
    return rlx_ir_build(b, RLX_LIR_CONTRACT_ROWS, 3, in, 2, attrs, NULL);
}

rlx_ir_value *rlx_lir_build_contract_rows(rlx_ir_builder *b, int64_t width, rlx_ir_value *acc,
                                          rlx_ir_value *a, rlx_ir_value *w)
{
    rlx_ir_value *in[] = {acc, a, w};
    rlx_attr attr = rlx_attr_int(RLX_ATTR_WIDTH, width);
    return rlx_ir_build(b, RLX_LIR_CONTRACT_ROWS, 3, in, 1, &attr, NULL);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

rlx_ir_value *rlx_lir_build_alloc(rlx_ir_builder *b, rlx_format f, int rank, const int64_t *dims)
{
    rlx_ir_type type = rlx_ir_buffer(RLX_SPACE_TEAM, f, rank, dims);
    return rlx_ir_build(b, RLX_LIR_ALLOC, 0, NULL, 0, NULL, &type);
}

/* The operands and attributes that load and store share. */
typedef struct access_operands {
    rlx_ir_value *in[2 + RLX_MAX_RANK + RLX_LIR_MAX_TILE_RANK];
    int nin, nattr;
    rlx_attr attr[3];
    int64_t limited[RLX_LIR_MAX_TILE_RANK];
} access_operands;

/* Appends indices and limits behind in[0..nin). A rank beyond what tiles have is cut here and
 * refused by the verifier. */
static void add_access(access_operands *o, const rlx_ir_value *buffer, int rank,
                       rlx_ir_value *const *index, const int64_t *axes, rlx_ir_value *const *limits)
{
    for (int i = 0; buffer && i < buffer->type.rank; i++)
        o->in[o->nin++] = index[i];
    int nlimits = 0;
    for (int i = 0; limits && i < rank && i < RLX_LIR_MAX_TILE_RANK; i++) {
        if (!limits[i])
            continue;
        o->in[o->nin++] = limits[i];
        o->limited[nlimits++] = i;
    }
    if (rank > 0)
        o->attr[o->nattr++] = rlx_attr_ints(RLX_ATTR_AXES, rank, axes);
    if (nlimits > 0)
        o->attr[o->nattr++] = rlx_attr_ints(RLX_ATTR_LIMITS, nlimits, o->limited);
}

rlx_ir_value *rlx_lir_build_load(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_format f, int rank,
                                 const int64_t *dims, rlx_ir_value *const *index,
                                 const int64_t *axes, rlx_ir_value *const *limits)
{
    access_operands o = {.in = {buffer}, .nin = 1};
    add_access(&o, buffer, rank, index, axes, limits);
    rlx_ir_type type = tile_type(f, rank, dims);
    return rlx_ir_build(b, RLX_LIR_LOAD, o.nin, o.in, o.nattr, o.attr, &type);
}

rlx_ir_value *rlx_lir_build_load_part(rlx_ir_builder *b, rlx_ir_value *buffer, const char *part,
                                      int rank, const int64_t *dims, rlx_ir_value *const *index,
                                      const int64_t *axes, rlx_ir_value *const *limits)
{
    access_operands o = {.in = {buffer}, .nin = 1};
    add_access(&o, buffer, rank, index, axes, limits);
    o.attr[o.nattr++] = rlx_attr_text(RLX_ATTR_PART, part);
    rlx_format f = rlx_lir_part_format(buffer ? buffer->type.format : RLX_F32, part);
    rlx_ir_type type = tile_type(f, rank, dims);
    return rlx_ir_build(b, RLX_LIR_LOAD, o.nin, o.in, o.nattr, o.attr, &type);
}

void rlx_lir_build_store(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_ir_value *tile,
                         rlx_ir_value *const *index, const int64_t *axes,
                         rlx_ir_value *const *limits)
{
    access_operands o = {.in = {buffer, tile}, .nin = 2};
    add_access(&o, buffer, tile ? tile->type.rank : 0, index, axes, limits);
    rlx_ir_build_node(b, RLX_LIR_STORE, o.nin, o.in, o.nattr, o.attr, 0, NULL);
}

void rlx_lir_build_store_async(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_ir_value *tile,
                               rlx_ir_value *const *index, const int64_t *axes)
{
    access_operands o = {.in = {buffer, tile}, .nin = 2};
    add_access(&o, buffer, tile ? tile->type.rank : 0, index, axes, NULL);
    o.attr[o.nattr++] = rlx_attr_int(RLX_ATTR_ASYNC, 1);
    rlx_ir_build_node(b, RLX_LIR_STORE, o.nin, o.in, o.nattr, o.attr, 0, NULL);
}

void rlx_lir_build_commit(rlx_ir_builder *b)
{
    rlx_ir_build_node(b, RLX_LIR_COMMIT, 0, NULL, 0, NULL, 0, NULL);
}

void rlx_lir_build_wait(rlx_ir_builder *b, int64_t pending)
{
    rlx_attr attr = rlx_attr_int(RLX_ATTR_PENDING, pending);
    rlx_ir_build_node(b, RLX_LIR_WAIT, 0, NULL, 1, &attr, 0, NULL);
}

void rlx_lir_build_prefetch(rlx_ir_builder *b, rlx_ir_value *buffer, rlx_ir_value *const *index,
                            int64_t width)
{
    access_operands o = {.in = {buffer}, .nin = 1};
    const rlx_attr attr = rlx_attr_int(RLX_ATTR_WIDTH, width);
    add_access(&o, buffer, 0, index, NULL, NULL);
    rlx_ir_build_node(b, RLX_LIR_PREFETCH, o.nin, o.in, width > 1, &attr, 0, NULL);
}

void rlx_lir_build_barrier(rlx_ir_builder *b)
{
    rlx_ir_build_node(b, RLX_LIR_BARRIER, 0, NULL, 0, NULL, 0, NULL);
}

/* ---- nested blocks ------------------------------------------------------------------------------
 */

/* Builds the node of a scope and moves into its first block. False after an error. */
static bool enter(rlx_ir_builder *b, rlx_lir_scope *s, int op, int nin, rlx_ir_value *const *in,
                  const rlx_attr *step, int nout)
{
    *s = (rlx_lir_scope){.outer = b->block, .outer_before = b->before};
    s->node = rlx_ir_build_node(b, op, nin, in, step ? 1 : 0, step, nout, NULL);
    if (!s->node)
        return false;
    b->block = s->node->blocks[0];
    b->before = NULL;
    return true;
}

/* Ends the present block and, when it is the scope's last, leaves it. */
static void leave(rlx_ir_builder *b, rlx_lir_scope *s, int n, rlx_ir_value *const *values)
{
    if (!s->node)
        return;
    rlx_ir_build_yield(b, n, values);
    b->block = s->outer;
    b->before = s->outer_before;
    for (int i = 0; i < s->node->nout; i++)
        s->result[i] = s->node->out[i];
}

void rlx_lir_begin_if(rlx_ir_builder *b, rlx_ir_value *cond, rlx_lir_scope *s)
{
    enter(b, s, RLX_LIR_IF, 1, &cond, NULL, 0);
}

void rlx_lir_end_if(rlx_ir_builder *b, rlx_lir_scope *s)
{
    if (!s->node)
        return;
    rlx_ir_build_yield(b, 0, NULL);
    b->block = s->node->blocks[1];
    b->before = NULL;
    leave(b, s, 0, NULL);
}

void rlx_lir_begin_once(rlx_ir_builder *b, rlx_lir_scope *s)
{
    enter(b, s, RLX_LIR_ONCE, 0, NULL, NULL, 0);
}

void rlx_lir_end_once(rlx_ir_builder *b, rlx_lir_scope *s)
{
    leave(b, s, 0, NULL);
}

void rlx_lir_begin_grid(rlx_ir_builder *b, int n, rlx_ir_value *const *extents, rlx_lir_scope *s)
{
    if (!enter(b, s, RLX_LIR_GRID, n, extents, NULL, 0))
        return;
    for (int i = 0; i < n; i++)
        s->index[i] = rlx_ir_build_block_arg(b, b->block, NULL, rlx_ir_tile(RLX_I64, 0, NULL));
}

void rlx_lir_end_grid(rlx_ir_builder *b, rlx_lir_scope *s)
{
    leave(b, s, 0, NULL);
}

void rlx_lir_begin_for(rlx_ir_builder *b, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                       int ncarried, rlx_ir_value *const *init, rlx_lir_scope *s)
{
    rlx_ir_value *in[2 + RLX_LIR_MAX_CARRIED] = {lo, hi};
    if (ncarried > RLX_LIR_MAX_CARRIED) {
        *s = (rlx_lir_scope){0};
        rlx_ir_builder_fail(b,
                            RLX_FAIL(RLX_INVALID_ARGUMENT, "a loop carries %d values, more than %d",
                                     ncarried, RLX_LIR_MAX_CARRIED));
        return;
    }
    for (int i = 0; i < ncarried; i++)
        in[2 + i] = init[i];
    rlx_attr attr = rlx_attr_int(RLX_ATTR_STEP, step);
    if (!enter(b, s, RLX_LIR_FOR, 2 + ncarried, in, &attr, ncarried))
        return;
    s->index[0] = rlx_ir_build_block_arg(b, b->block, NULL, rlx_ir_tile(RLX_I64, 0, NULL));
    for (int i = 0; i < ncarried; i++)
        s->carried[i] = rlx_ir_build_block_arg(b, b->block, NULL, init[i]->type);
}

void rlx_lir_end_for(rlx_ir_builder *b, rlx_lir_scope *s, rlx_ir_value *const *next)
{
    leave(b, s, s->node ? s->node->nout : 0, next);
}

/* ---- the tape ---------------------------------------------------------------------------------
 */

rlx_ir_value *rlx_lir_build_temp(rlx_ir_builder *b, rlx_format f, int rank, const rlx_dim *dims)
{
    rlx_ir_type type = rlx_ir_buffer(RLX_SPACE_GLOBAL, f, rank, dims);
    return rlx_ir_build(b, RLX_LIR_TEMP, 0, NULL, 0, NULL, &type);
}

void rlx_lir_build_launch(rlx_ir_builder *b, const rlx_ir_func *kernel, int64_t phase, int n,
                          rlx_ir_value *const *buffers)
{
    rlx_attr attr[] = {rlx_attr_text(RLX_ATTR_CALLEE, kernel ? kernel->name : ""),
                       rlx_attr_int(RLX_ATTR_PHASE, phase)};
    rlx_ir_build_node(b, RLX_LIR_LAUNCH, n, buffers, 2, attr, 0, NULL);
}

void rlx_lir_build_call(rlx_ir_builder *b, const rlx_ir_func *callee, int64_t first, int64_t count,
                        int n, rlx_ir_value *const *buffers)
{
    rlx_attr attr[] = {rlx_attr_text(RLX_ATTR_CALLEE, callee ? callee->name : ""),
                       rlx_attr_int(RLX_ATTR_FIRST, first), rlx_attr_int(RLX_ATTR_COUNT, count)};
    rlx_ir_build_node(b, RLX_LIR_CALL, n, buffers, 3, attr, 0, NULL);
}
