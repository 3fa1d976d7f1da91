/* hir/hir_rope.c: rotary tables of any axes from positions (hir_attention.h). Frequencies are taken
 * in f64 and rounded where the references round to f32, as frontend/rope.c does on the host. */
#include "hir/hir_attention.h"

#include <math.h>

/* theta^(-2i/dim) / factor for i = first .. first+n-1, f32 [n]. */
static rlx_ir_value *series(rlx_ir_builder *b, const rlx_hir_rope_tables *t, int64_t n, int64_t dim)
{
    rlx_ir_value *i = rlx_mir_iota(b, RLX_F32, 1, &n, 0);
    i = rlx_mir_map_num(b, RLX_FN_DIV, rlx_mir_map_num(b, RLX_FN_MUL, i, 2), (double)dim);
    rlx_ir_value *power =
        rlx_mir_map_num(b, RLX_FN_MUL, rlx_mir_cast(b, i, RLX_F64), log((float)t->theta));
    power = rlx_mir_cast(b, rlx_mir_map1(b, RLX_FN_EXP, power), RLX_F32);
    rlx_ir_value *f = rlx_mir_map2(b, RLX_FN_DIV, power ? rlx_mir_like(b, power, 1) : NULL, power);
    return t->factor != 0 ? rlx_mir_map_num(b, RLX_FN_DIV, f, t->factor) : f;
}

/* Positions as f32 [..,1]. */
static rlx_ir_value *column(rlx_ir_builder *b, rlx_ir_value *pos)
{
    return pos ? rlx_mir_insert(b, rlx_mir_cast(b, pos, RLX_F32), pos->type.rank) : NULL;
}

/* The position that pair i of [R/2] turns by: axes take turns. */
static rlx_ir_value *position_in_turn(rlx_ir_builder *b, const rlx_hir_rope_tables *t,
                                      int64_t pairs)
{
    rlx_ir_value *i = rlx_mir_iota(b, RLX_I32, 1, &pairs, 0);
    rlx_ir_value *turn = rlx_mir_map_num(b, RLX_FN_MOD, i, t->naxes), *pos = column(b, t->pos[0]);
    for (int a = 1; turn && a < t->naxes; a++) {
        rlx_ir_value *is_turn = rlx_mir_map2(b, RLX_FN_EQ, turn, rlx_mir_like(b, turn, a));
        rlx_ir_value *is_below =
            rlx_mir_map2(b, RLX_FN_LT, i, rlx_mir_like(b, i, (double)(t->naxes * t->pairs[a])));
        rlx_ir_value *is_axis = rlx_mir_map2(b, RLX_FN_AND, is_turn, is_below);
        pos = rlx_mir_pick(b, is_axis, column(b, t->pos[a]), pos);
    }
    return pos;
}

/* Angles of axis a, f32 [..,pairs]; `freqs` are those of all pairs, or NULL: its own. */
static rlx_ir_value *axis_angles(rlx_ir_builder *b, const rlx_hir_rope_tables *t, int a,
                                 rlx_ir_value *freqs, int64_t first)
{
    freqs = freqs ? rlx_mir_slice(b, freqs, 0, first, t->pairs[a], 1)
                  : series(b, t, t->pairs[a], 2 * t->pairs[a]);
    return rlx_mir_map2(b, RLX_FN_MUL, column(b, t->pos[a]), freqs);
}

static rlx_ir_value *angles(rlx_ir_builder *b, const rlx_hir_rope_tables *t, int64_t pairs)
{
    rlx_ir_value *freqs = rlx_mir_cast(b, t->freqs, RLX_F32), *parts[2 * RLX_ROPE_MAX_AXES];
    if (!freqs && t->order != RLX_HIR_ROPE_AXES)
        freqs = series(b, t, pairs, 2 * pairs);
    if (t->order == RLX_HIR_ROPE_TURNS)
        return rlx_mir_map2(b, RLX_FN_MUL, position_in_turn(b, t, pairs), freqs);
    int n = 0;
    int64_t first = 0;
    for (int a = 0; a < t->naxes; a++) {
        parts[n++] = axis_angles(b, t, a, freqs, first);
        if (t->each) {
            parts[n] = parts[n - 1];
            n++;
        }
        first += t->pairs[a];
    }
    return n == 1 || !parts[0] ? parts[0]
                               : rlx_mir_build_concat(b, n, parts, parts[0]->type.rank - 1);
}

static bool is_positions(const rlx_hir_rope_tables *t, int a)
{
    const rlx_ir_type *p = &t->pos[a]->type;
    return (p->format == RLX_I32 || p->format == RLX_F32) && p->rank >= 1 && t->pairs[a] > 0 &&
           p->rank < RLX_MAX_RANK - 1;
}

static rlx_status check(const rlx_hir_rope_tables *t)
{
    if (t->naxes < 1 || t->naxes > RLX_ROPE_MAX_AXES)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "rope tables of %d axes", t->naxes);
    for (int a = 0; a < t->naxes; a++)
        if (t->pos[a] && !is_positions(t, a))
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "rope tables: axis %d has %lld pairs, and positions that are no i32 or "
                            "f32 [..]",
                            a, (long long)t->pairs[a]);
    if (!t->freqs && !(t->theta > 1 && isfinite((float)t->theta)))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "rope tables: theta is %g, not above 1", t->theta);
    if (t->each && t->order == RLX_HIR_ROPE_TURNS)
        return RLX_FAIL(RLX_UNSUPPORTED, "rope tables: an entry for every element of axes in turn");
    if (t->factor < 0 || t->amplitude < 0 || t->still < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "rope tables: factor %g, amplitude %g, still %lld",
                        t->factor, t->amplitude, (long long)t->still);
    return RLX_OK;
}

/* cos or sin of the angles; tokens that stay as they are have 1 or 0. */
static rlx_ir_value *table(rlx_ir_builder *b, const rlx_hir_rope_tables *t, rlx_map_fn fn,
                           rlx_ir_value *angle)
{
    rlx_ir_value *y = rlx_mir_map1(b, fn, angle);
    if (t->amplitude != 0)
        y = rlx_mir_map_num(b, RLX_FN_MUL, y, t->amplitude);
    if (!t->still || !y)
        return y;
    return rlx_mir_pad(b, y, y->type.rank - 2, 0, t->still,
                       rlx_mir_like(b, y, fn == RLX_FN_COS ? 1 : 0));
}

void rlx_hir_build_rope_tables(rlx_ir_builder *b, const rlx_hir_rope_tables *t,
                               rlx_ir_value **cosine, rlx_ir_value **sine)
{
    rlx_status st = check(t);
    int64_t pairs = 0;
    *cosine = *sine = NULL;
    for (int a = 0; !st && a < t->naxes; a++)
        pairs += t->pairs[a];
    if (st) {
        rlx_ir_builder_fail(b, st);
        return;
    }
    rlx_ir_value *angle = angles(b, t, pairs);
    *cosine = table(b, t, RLX_FN_COS, angle);
    *sine = table(b, t, RLX_FN_SIN, angle);
}
