/* frontend/blocks/build_places.c: convolutions, pools and resizes of custom stages. */
#include <string.h>

#include "frontend/blocks/build.h"

/* ---- windows ----------------------------------------------------------------------------------
 */

/* How many axes of places x has; 0 after an error. */
static int places_of(rlx_builder *b, const char *op, rlx_value *x)
{
    const int n = rlx_value_rank(x) - 2;
    if (!rlx_builder_all(b, op, 1, &x))
        return 0;
    if (n >= 1 && n <= RLX_MIR_MAX_PLACES)
        return n;
    rlx_builder_note(b,
                     RLX_FAIL(RLX_INVALID_ARGUMENT,
                              "%s: takes [N,C,S..] with one to three axes of places, gets rank %d",
                              op, n + 2));
    return 0;
}

/* The spec with its defaults; `size` is that of a pool's windows, or NULL. False after an error. */
static bool read_spec(rlx_builder *b, const char *op, rlx_value *x, const rlx_window_spec *spec,
                      const int64_t *size, rlx_hir_windows *out)
{
    static const rlx_window_spec none;
    const rlx_window_spec *s = spec ? spec : &none;
    *out = (rlx_hir_windows){.groups = s->groups, .count_padding = s->count_padding};
    out->at.n = places_of(b, op, x);
    for (int i = 0; i < out->at.n; i++) {
        out->at.size[i] = size ? size[i] : 1;
        out->at.step[i] = s->stride[i] ? s->stride[i] : out->at.size[i];
        out->at.dilation[i] = s->dilation[i] ? s->dilation[i] : 1;
        out->at.low[i] = s->low[i];
        out->at.high[i] = s->high[i];
        out->more[i] = s->more[i];
    }
    return out->at.n > 0;
}

rlx_value *rlx_build_conv(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                          const rlx_window_spec *spec)
{
    rlx_hir_windows s;
    if (!read_spec(b, "conv", x, spec, NULL, &s))
        return NULL;
    return rlx_value_of(rlx_hir_build_conv(rlx_builder_at(b, w), rlx_value_ir(x), rlx_value_ir(w),
                                           rlx_value_ir(bias), &s));
}

rlx_value *rlx_build_conv_transpose(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                    const rlx_window_spec *spec)
{
    rlx_hir_windows s;
    if (!read_spec(b, "conv_transpose", x, spec, NULL, &s))
        return NULL;
    return rlx_value_of(rlx_hir_build_conv_transpose(rlx_builder_at(b, w), rlx_value_ir(x),
                                                     rlx_value_ir(w), rlx_value_ir(bias), &s));
}

rlx_value *rlx_build_patch_embed(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias)
{
    const int n = places_of(b, "patch_embed", x);
    rlx_window_spec spec = {0};
    if (!n || !rlx_builder_all(b, "patch_embed", 1, &w))
        return NULL;
    for (int i = 0; i < n; i++) {
        const int64_t extent = rlx_value_dim(x, 2 + i), size = rlx_value_dim(w, 2 + i);
        spec.stride[i] = size;
        if (extent < 0 || size <= 0 || extent % size) {
            rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                         "patch_embed: %lld places of axis %d, patches of %lld",
                                         (long long)extent, 2 + i, (long long)size));
            return NULL;
        }
    }
    rlx_value *y = rlx_build_conv(b, x, w, bias, &spec);
    return rlx_build_move(b, rlx_build_flatten(b, y, 2, 1 + n), 1, 2);
}

/* ---- pools ------------------------------------------------------------------------------------
 */

/* Windows whose extents can be reckoned with. */
static bool are_windows(rlx_builder *b, const char *op, const rlx_mir_windows *w)
{
    for (int i = 0; i < w->n; i++) {
        const int64_t above[] = {w->size[i], w->step[i], w->dilation[i]};
        const int64_t pads[] = {w->low[i], w->high[i]};
        bool fits = true;
        for (int j = 0; j < 3; j++)
            fits = fits && above[j] > 0 && above[j] <= INT32_MAX;
        for (int j = 0; j < 2; j++)
            fits = fits && pads[j] >= 0 && pads[j] <= INT32_MAX;
        if (!fits) {
            rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                         "%s: size %lld, stride %lld, dilation %lld, pads of %lld "
                                         "and %lld on axis %d",
                                         op, (long long)above[0], (long long)above[1],
                                         (long long)above[2], (long long)pads[0],
                                         (long long)pads[1], 2 + i));
            return false;
        }
    }
    return true;
}

/* As much padding more that the last window fits, unless it would begin behind all that is there.
 */
static bool round_up(rlx_builder *b, const char *op, rlx_value *x, rlx_mir_windows *w)
{
    if (!are_windows(b, op, w))
        return false;
    for (int i = 0; i < w->n; i++) {
        const int64_t extent = rlx_value_dim(x, 2 + i),
                      reach = (w->size[i] - 1) * w->dilation[i] + 1;
        const int64_t rest = (extent + w->low[i] + w->high[i] - reach) % w->step[i];
        const int64_t last = extent + w->low[i] + w->high[i] - reach - rest + w->step[i];
        if (extent < 0) {
            rlx_builder_note(b, RLX_FAIL(RLX_UNSUPPORTED, "a pool rounds a symbol's extent up"));
            return false;
        }
        if (rest > 0 && last < extent + w->low[i])
            w->high[i] += w->step[i] - rest;
    }
    return true;
}

/* x with the padding that counts, of windows that reach over its end: what they find there does not
 * count. */
static rlx_value *pad_places(rlx_builder *b, rlx_value *x, rlx_hir_windows *s,
                             const rlx_window_spec *spec)
{
    for (int i = 0; i < s->at.n; i++) {
        x = rlx_build_pad(b, x, 2 + i, spec->low[i], spec->high[i], 0);
        s->at.low[i] = 0;
        s->at.high[i] -= spec->high[i];
    }
    s->count_padding = false;
    return x;
}

static rlx_value *pool(rlx_builder *b, const char *op, rlx_value *x, bool largest,
                       const int64_t *size, const rlx_window_spec *spec)
{
    rlx_hir_windows s;
    if (!read_spec(b, op, x, spec, size, &s))
        return NULL;
    if (spec && spec->ceil && !round_up(b, op, x, &s.at))
        return NULL;
    if (spec && spec->ceil && !largest && spec->count_padding)
        x = pad_places(b, x, &s, spec);
    return rlx_value_of(rlx_hir_build_pool(rlx_builder_at(b, NULL), rlx_value_ir(x), largest, &s));
}

rlx_value *rlx_build_max_pool(rlx_builder *b, rlx_value *x, const int64_t *size,
                              const rlx_window_spec *spec)
{
    return pool(b, "max_pool", x, true, size, spec);
}

rlx_value *rlx_build_max_pool_places(rlx_builder *b, rlx_value *x, const int64_t *size,
                                     const rlx_window_spec *spec, rlx_value **places)
{
    rlx_hir_windows s;
    if (places)
        *places = NULL;
    if (!read_spec(b, "max_pool_places", x, spec, size, &s))
        return NULL;
    rlx_value *y = rlx_build_max_pool(b, x, size, spec);
    if (!y || (spec && spec->ceil && !round_up(b, "max_pool_places", x, &s.at)))
        return NULL;
    if (!places)
        return y;
    rlx_ir_value *most = rlx_value_ir(y);
    *places = rlx_value_of(
        rlx_mir_max_pool_places(rlx_builder_at(b, NULL), rlx_value_ir(x), &s.at, &most));
    return rlx_value_of(most);
}

rlx_value *rlx_build_mean_pool(rlx_builder *b, rlx_value *x, const int64_t *size,
                               const rlx_window_spec *spec)
{
    return pool(b, "mean_pool", x, false, size, spec);
}

static rlx_value *adaptive(rlx_builder *b, const char *op, rlx_value *x, bool largest,
                           const int64_t *parts)
{
    const int n = places_of(b, op, x);
    if (!n)
        return NULL;
    return rlx_value_of(
        rlx_hir_build_adaptive_pool(rlx_builder_at(b, NULL), rlx_value_ir(x), largest, n, parts));
}

rlx_value *rlx_build_adaptive_max_pool(rlx_builder *b, rlx_value *x, const int64_t *parts)
{
    return adaptive(b, "adaptive_max_pool", x, true, parts);
}

rlx_value *rlx_build_adaptive_mean_pool(rlx_builder *b, rlx_value *x, const int64_t *parts)
{
    return adaptive(b, "adaptive_mean_pool", x, false, parts);
}

/* ---- sizes ------------------------------------------------------------------------------------
 */

rlx_value *rlx_build_resize(rlx_builder *b, rlx_value *x, rlx_resize mode, rlx_resize_align align,
                            bool antialias, const int64_t *sizes)
{
    static const char *const modes[] = {[RLX_RESIZE_NEAREST] = "nearest",
                                        [RLX_RESIZE_LINEAR] = "linear",
                                        [RLX_RESIZE_CUBIC] = "cubic"};
    static const char *const aligns[] = {[RLX_ALIGN_HALF_PIXEL] = "half_pixel",
                                         [RLX_ALIGN_CORNERS] = "align_corners",
                                         [RLX_ALIGN_ASYMMETRIC] = "asymmetric"};
    const int n = places_of(b, "resize", x);
    if (!n)
        return NULL;
    if ((size_t)mode > RLX_RESIZE_CUBIC || (size_t)align > RLX_ALIGN_ASYMMETRIC) {
        rlx_builder_note(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "resize: mode %d, align %d", (int)mode, (int)align));
        return NULL;
    }
    return rlx_value_of(rlx_hir_build_resize(rlx_builder_at(b, NULL), rlx_value_ir(x), modes[mode],
                                             aligns[align], antialias, n, sizes));
}

/* [N,C,H,W] with C in by*by parts, or H and W in parts of `by`; false after an error. */
static bool is_shuffled(rlx_builder *b, const char *op, rlx_value *x, int64_t by, bool whole)
{
    if (!rlx_builder_all(b, op, 1, &x))
        return false;
    bool fits = rlx_value_rank(x) == 4 && by > 0 && by <= INT32_MAX && rlx_value_dim(x, 1) >= 0;
    if (fits && whole)
        fits = rlx_value_dim(x, 1) % (by * by) == 0;
    for (int axis = 2; fits && !whole && axis < 4; axis++)
        fits = rlx_value_dim(x, axis) >= 0 && rlx_value_dim(x, axis) % by == 0;
    if (!fits)
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s by %lld of rank %d", op,
                                     (long long)by, rlx_value_rank(x)));
    return fits;
}

rlx_value *rlx_build_pixel_shuffle(rlx_builder *b, rlx_value *x, int64_t by)
{
    if (!is_shuffled(b, "pixel_shuffle", x, by, true))
        return NULL;
    rlx_ir_builder *at = rlx_builder_at(b, NULL);
    const rlx_dim *d = rlx_value_ir(x)->type.dim;
    const rlx_dim parts[] = {d[0], d[1] / (by * by), by, by, d[2], d[3]};
    static const int64_t perm[] = {0, 1, 4, 2, 5, 3};
    rlx_ir_value *y = rlx_mir_transpose(at, rlx_mir_reshape(at, rlx_value_ir(x), 6, parts), perm);
    return rlx_value_of(rlx_mir_flatten(at, rlx_mir_flatten(at, y, 4, 6), 2, 4));
}

rlx_value *rlx_build_pixel_unshuffle(rlx_builder *b, rlx_value *x, int64_t by)
{
    if (!is_shuffled(b, "pixel_unshuffle", x, by, false))
        return NULL;
    rlx_ir_builder *at = rlx_builder_at(b, NULL);
    const rlx_dim *d = rlx_value_ir(x)->type.dim;
    const rlx_dim parts[] = {d[0], d[1], d[2] / by, by, d[3] / by, by};
    static const int64_t perm[] = {0, 1, 3, 5, 2, 4};
    rlx_ir_value *y = rlx_mir_transpose(at, rlx_mir_reshape(at, rlx_value_ir(x), 6, parts), perm);
    return rlx_value_of(rlx_mir_flatten(at, y, 1, 4));
}

/* ---- the stage --------------------------------------------------------------------------------
 */

enum { KEY, BIAS };

void rlx_flow_patch_embed(rlx_flow *f, const char *key, const char *bias_key)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_PATCH_EMBED);
    if (!s)
        return;
    s->key[KEY] = rlx_flow_copy_key(f, key, "patch_embed's key");
    if (bias_key)
        s->key[BIAS] = rlx_flow_copy_key(f, bias_key, "patch_embed's bias_key");
}

rlx_status rlx_block_patch_embed_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const rlx_ir_type *x = &cx->fn->x->type;
    rlx_dim dims[RLX_MAX_RANK] = {RLX_DIM_INVALID, RLX_DIM_INVALID, RLX_DIM_INVALID,
                                  RLX_DIM_INVALID};
    rlx_ir_value *w, *bias;
    if (x->format != RLX_F32 || x->rank != 4)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "takes f32[N,C,H,W], gets %s of rank %d",
                        rlx_format_get(x->format)->name, x->rank);
    dims[1] = x->dim[1];
    RLX_TRY(rlx_flow_need_weight(cx, s, KEY, 4, dims, &w));
    RLX_TRY(rlx_flow_need_weight(cx, s, BIAS, 1, &w->type.dim[0], &bias));
    rlx_builder b = {.cx = cx, .stage = s};
    cx->fn->x = rlx_value_ir(
        rlx_build_patch_embed(&b, rlx_value_of(cx->fn->x), rlx_value_of(w), rlx_value_of(bias)));
    return rlx_ir_builder_finish(&cx->fn->b);
}
