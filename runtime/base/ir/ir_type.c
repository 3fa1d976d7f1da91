#include <assert.h>
#include <string.h>

#include "runtime/base/ir/ir_internal.h"

enum { MAX_BYTES_LOG2 = 48 }; /* as of tensors of programs */
#define MAX_BYTES ((int64_t)1 << MAX_BYTES_LOG2)

static rlx_ir_type make(rlx_ir_type_kind kind, rlx_format f, int rank, const rlx_dim *dims)
{
    assert(rank >= 0 && rank <= RLX_MAX_RANK);
    rlx_ir_type t = {.kind = kind, .format = f, .rank = rank};
    for (int i = 0; i < rank; i++)
        t.dim[i] = dims[i];
    return t;
}

rlx_ir_type rlx_ir_tensor(rlx_format f, int rank, const rlx_dim *dims)
{
    return make(RLX_TYPE_TENSOR, f, rank, dims);
}

rlx_ir_type rlx_ir_tile(rlx_format f, int rank, const rlx_dim *dims)
{
    return make(RLX_TYPE_TILE, f, rank, dims);
}

rlx_ir_type rlx_ir_buffer(rlx_space s, rlx_format f, int rank, const rlx_dim *dims)
{
    rlx_ir_type t = make(RLX_TYPE_BUFFER, f, rank, dims);
    t.space = s;
    return t;
}

bool rlx_ir_shape_equal(const rlx_ir_type *a, const rlx_ir_type *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bool rlx_ir_type_equal(const rlx_ir_type *a, const rlx_ir_type *b)
{
    return a->kind == b->kind && a->format == b->format &&
           (a->kind != RLX_TYPE_BUFFER || a->space == b->space) && rlx_ir_shape_equal(a, b);
}

rlx_dim rlx_ir_type_elems(rlx_dims *t, const rlx_ir_type *type)
{
    rlx_dim n = 1;
    for (int i = 0; i < type->rank; i++)
        n = rlx_dim_make(t, RLX_DIM_MUL, n, type->dim[i]);
    return n;
}

static bool is_empty(const rlx_ir_type *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] == 0)
            return true;
    return false;
}

/* Products are compared without the common ends: two symbols in one product have no expression. */
bool rlx_ir_same_elems(rlx_dims *t, const rlx_ir_type *a, const rlx_ir_type *b)
{
    if (is_empty(a) || is_empty(b))
        return is_empty(a) && is_empty(b);
    int first = 0, ae = a->rank, be = b->rank;
    while (first < ae && first < be && a->dim[first] == b->dim[first])
        first++;
    while (ae > first && be > first && a->dim[ae - 1] == b->dim[be - 1])
        ae--, be--;
    rlx_ir_type am = rlx_ir_tensor(a->format, ae - first, a->dim + first);
    rlx_ir_type bm = rlx_ir_tensor(b->format, be - first, b->dim + first);
    rlx_dim x = rlx_ir_type_elems(t, &am), y = rlx_ir_type_elems(t, &bm);
    return x == y && x != RLX_DIM_INVALID;
}

void rlx_ir_type_print(const rlx_dims *t, const rlx_ir_type *type, rlx_text *out)
{
    if (type->kind == RLX_TYPE_NONE || type->format == RLX_FORMAT_NONE) {
        rlx_text_put(out, "none");
        return;
    }
    bool tile = type->kind == RLX_TYPE_TILE;
    if (type->kind == RLX_TYPE_BUFFER)
        rlx_text_put(out, type->space == RLX_SPACE_TEAM ? "team " : "global ");
    rlx_text_put(out, rlx_format_get(type->format)->name);
    if (type->rank == 0)
        return;
    rlx_text_put(out, tile ? "<" : "[");
    for (int i = 0; i < type->rank; i++) {
        if (i)
            rlx_text_put(out, tile ? "x" : ",");
        rlx_dim_print(t, type->dim[i], out);
    }
    rlx_text_put(out, tile ? ">" : "]");
}

/* Blocks lie along the innermost axis, whole, in tensors and global memory. */
static rlx_status check_blocks(const rlx_ir_type *t)
{
    const rlx_format_info *info = rlx_format_get(t->format);
    rlx_dim last = t->rank ? t->dim[t->rank - 1] : 1;
    if (t->kind == RLX_TYPE_BUFFER && t->space == RLX_SPACE_TEAM)
        return RLX_FAIL(RLX_INVALID_IR, "team buffers cannot hold the storage format %s",
                        info->name);
    if (!rlx_dim_is_const(last) || last % info->block_elems)
        return RLX_FAIL(RLX_INVALID_IR,
                        "the innermost extent of a %s type is no constant multiple of %d",
                        info->name, info->block_elems);
    return RLX_OK;
}

/* Bytes at constant extents, symbols as 1: so many that products of extents and strides fit 63 bits
 * with room. */
static rlx_status check_bytes(const rlx_ir_type *t)
{
    const rlx_format_info *info = rlx_format_get(t->format);
    int64_t bytes = info->block_bytes;
    bool over = false;
    if (is_empty(t))
        return RLX_OK;
    for (int i = 0; i < t->rank; i++) {
        const int64_t extent = !rlx_dim_is_const(t->dim[i]) ? 1
                               : i + 1 == t->rank           ? t->dim[i] / info->block_elems
                                                            : t->dim[i];
        over = over || __builtin_mul_overflow(bytes, extent, &bytes) || bytes > MAX_BYTES;
    }
    if (over)
        return RLX_FAIL(RLX_INVALID_IR, "a type of more than 2^%d bytes", MAX_BYTES_LOG2);
    return RLX_OK;
}

rlx_status rlx_ir_type_check(const rlx_ir_type *t)
{
    if (t->kind <= RLX_TYPE_NONE || t->kind > RLX_TYPE_BUFFER)
        return RLX_FAIL(RLX_INVALID_IR, "a type has no kind");
    if (t->format <= RLX_FORMAT_NONE || t->format >= RLX_FORMAT_COUNT)
        return RLX_FAIL(RLX_INVALID_IR, "a type has no format");
    int most = t->kind == RLX_TYPE_TILE ? 3 : RLX_MAX_RANK;
    if (t->rank < 0 || t->rank > most)
        return RLX_FAIL(RLX_INVALID_IR, "a %s has rank %d, of 0 to %d",
                        t->kind == RLX_TYPE_TILE ? "tile" : "type", t->rank, most);
    bool block = rlx_format_get(t->format)->kind == RLX_KIND_BLOCK;
    if (block && t->kind == RLX_TYPE_TILE)
        return RLX_FAIL(RLX_INVALID_IR, "tiles cannot hold the storage format %s",
                        rlx_format_get(t->format)->name);
    if (block)
        RLX_TRY(check_blocks(t));
    bool constant =
        t->kind == RLX_TYPE_TILE || (t->kind == RLX_TYPE_BUFFER && t->space == RLX_SPACE_TEAM);
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == RLX_DIM_INVALID)
            return RLX_FAIL(RLX_INVALID_IR, "extent %d of a type is invalid", i);
        if (constant && (!rlx_dim_is_const(t->dim[i]) || t->dim[i] == 0))
            return RLX_FAIL(RLX_INVALID_IR, "extent %d of a %s is no constant > 0", i,
                            t->kind == RLX_TYPE_TILE ? "tile" : "team buffer");
    }
    return check_bytes(t);
}
