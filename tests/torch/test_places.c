/* tests/torch/test_places.c: convolutions, pools and resizes, as places.py computed them. */
#include "tests/torch/cases.h"

/* ---- convolutions -----------------------------------------------------------------------------
 */

#define CONV(name, dims, bias, ...) \
    CUSTOM(name, dims, rlx_build_conv(b, x, W("weight"), bias, &(rlx_window_spec){__VA_ARGS__}))
#define CONV_T(name, dims, bias, ...) \
    CUSTOM(name, dims,                \
           rlx_build_conv_transpose(b, x, W("weight"), bias, &(rlx_window_spec){__VA_ARGS__}))

CONV(conv1d, "N,3,13", W("bias"), .stride = {2}, .low = {2}, .high = {1})
CONV(conv1d_symbol, "N,3,T", W("bias"), .low = {1}, .high = {1})
CONV(conv2d, "N,5,7,9", W("bias"), .stride = {2, 1}, .dilation = {1, 2}, .low = {1, 0},
     .high = {0, 2})
CONV(conv2d_few, "N,5,6,7", NULL, .low = {1, 0}, .high = {1, 0})
CONV(conv2d_symbols, "N,3,H,W", W("bias"), .low = {1, 1}, .high = {1, 1})
CUSTOM(conv2d_1x1, "N,7,3,5", rlx_build_conv(b, x, W("weight"), W("bias"), NULL))
CONV(conv2d_groups, "N,6,4,5", W("bias"), .low = {1, 1}, .high = {1, 1}, .groups = 2)
CONV(conv2d_depthwise, "N,5,7,6", W("bias"), .stride = {2, 2}, .low = {1, 1}, .high = {1, 1},
     .groups = 5)
CONV(conv3d, "N,2,4,5,6", W("bias"), .stride = {1, 2, 2}, .low = {1, 1, 0}, .high = {0, 1, 1})
CONV(conv3d_few, "N,4,3,2,5", W("bias"), .low = {0, 0, 1}, .high = {0, 0, 1}, .groups = 2)
CUSTOM(conv2d_half, "N,3,4,5", rlx_build_conv(b, x, W("weight"), W("bias"), NULL))
CONV_T(conv_transpose1d, "N,3,6", W("bias"), .stride = {3}, .low = {1}, .high = {1}, .more = {2})
CONV_T(conv_transpose2d, "N,4,4,5", W("bias"), .stride = {2, 1}, .dilation = {1, 2}, .low = {1, 0},
       .high = {1, 0}, .more = {1, 0})
CONV_T(conv_transpose2d_groups, "N,4,3,2", NULL, .stride = {2, 2}, .groups = 2)
STAGE(patch_embed, "N,3,6,9", rlx_flow_patch_embed(f, "proj.weight", "proj.bias"))

/* ---- pools and sizes --------------------------------------------------------------------------
 */

#define SIZES(...) ((const int64_t[]){__VA_ARGS__})
#define SPEC(...)      \
    &(rlx_window_spec) \
    {                  \
        __VA_ARGS__    \
    }

CUSTOM(max_pool1d, "N,3,10",
       rlx_build_max_pool(b, x, SIZES(3), SPEC(.stride = {2}, .low = {1}, .high = {1})))
CUSTOM(max_pool2d, "N,3,7,6",
       rlx_build_max_pool(b, x, SIZES(3, 2),
                          SPEC(.stride = {2, 1}, .dilation = {1, 2}, .low = {1}, .high = {1})))
CUSTOM(max_pool2d_ceil, "N,3,8,7",
       rlx_build_max_pool(b, x, SIZES(3, 3), SPEC(.stride = {2, 2}, .ceil = true)))
CUSTOM(max_pool2d_asymmetric, "N,2,5,7",
       rlx_build_max_pool(b, x, SIZES(2, 2), SPEC(.high = {1, 1})))
CUSTOM(max_pool2d_symbols, "N,3,H,W",
       rlx_build_max_pool(b, x, SIZES(3, 3), SPEC(.stride = {2, 2}, .low = {1, 1}, .high = {1, 1})))
CUSTOM(mean_pool2d, "N,3,7,6",
       rlx_build_mean_pool(b, x, SIZES(3, 2),
                           SPEC(.stride = {2, 1}, .low = {1, 1}, .high = {1, 1},
                                .count_padding = true)))
CUSTOM(mean_pool2d_inside, "N,3,7,6",
       rlx_build_mean_pool(b, x, SIZES(3, 3),
                           SPEC(.stride = {2, 2}, .low = {1, 1}, .high = {1, 1})))
CUSTOM(mean_pool2d_ceil, "N,2,8,6",
       rlx_build_mean_pool(b, x, SIZES(3, 3), SPEC(.stride = {2, 2}, .ceil = true)))
CUSTOM(mean_pool3d, "N,3,2,4,6", rlx_build_mean_pool(b, x, SIZES(1, 2, 2), NULL))
CUSTOM(adaptive_mean, "N,3,7,6", rlx_build_adaptive_mean_pool(b, x, SIZES(3, 4)))
CUSTOM(adaptive_max, "N,3,7,6", rlx_build_adaptive_max_pool(b, x, SIZES(2, 5)))
CUSTOM(global_mean, "N,3,7,6", rlx_build_adaptive_mean_pool(b, x, SIZES(1, 1)))

#define RESIZE(name, dims, mode, align, antialias, ...)                            \
    CUSTOM(name, dims,                                                             \
           rlx_build_resize(b, x, RLX_RESIZE_##mode, RLX_ALIGN_##align, antialias, \
                            SIZES(__VA_ARGS__)))
RESIZE(nearest, "N,3,5,6", NEAREST, ASYMMETRIC, false, 7, 4)
RESIZE(nearest_exact, "N,3,5,6", NEAREST, HALF_PIXEL, false, 8, 3)
RESIZE(nearest3d, "N,2,2,3,4", NEAREST, ASYMMETRIC, false, 4, 5, 3)
RESIZE(linear1d, "N,3,7", LINEAR, HALF_PIXEL, false, 11)
RESIZE(bilinear, "N,3,5,6", LINEAR, HALF_PIXEL, false, 8, 4)
RESIZE(linear_corners, "N,3,5,6", LINEAR, CORNERS, false, 8, 1)
RESIZE(linear_antialias, "N,3,9,6", LINEAR, HALF_PIXEL, true, 4, 8)
RESIZE(cubic, "N,3,5,6", CUBIC, HALF_PIXEL, false, 8, 4)
RESIZE(cubic_corners, "N,3,5,6", CUBIC, CORNERS, false, 3, 9)
RESIZE(cubic_antialias, "N,3,9,8", CUBIC, HALF_PIXEL, true, 4, 11)
CUSTOM(pixel_shuffle, "N,18,2,W", rlx_build_pixel_shuffle(b, x, 3))
CUSTOM(pixel_unshuffle, "N,3,4,6", rlx_build_pixel_unshuffle(b, x, 2))

static const torch_case cases[] = {
    CASE(conv1d, 2e-6),
    CASE(conv1d_symbol, 2e-6),
    CASE(conv2d, 2e-6),
    CASE(conv2d_few, 2e-6),
    CASE(conv2d_symbols, 2e-6),
    CASE(conv2d_1x1, 2e-6),
    CASE(conv2d_groups, 2e-6),
    CASE(conv2d_depthwise, 2e-6),
    CASE(conv3d, 2e-6),
    CASE(conv3d_few, 2e-6),
    CASE(conv2d_half, 2e-6),
    CASE(conv_transpose1d, 2e-6),
    CASE(conv_transpose2d, 2e-6),
    CASE(conv_transpose2d_groups, 2e-6),
    CASE(patch_embed, 2e-6),
    CASE(max_pool1d, 0),
    CASE(max_pool2d, 0),
    CASE(max_pool2d_ceil, 0),
    CASE(max_pool2d_asymmetric, 0),
    CASE(max_pool2d_symbols, 0),
    CASE(mean_pool2d, 2e-6),
    CASE(mean_pool2d_inside, 2e-6),
    CASE(mean_pool2d_ceil, 2e-6),
    CASE(mean_pool3d, 2e-6),
    CASE(adaptive_mean, 2e-6),
    CASE(adaptive_max, 0),
    CASE(global_mean, 2e-6),
    CASE(nearest, 0),
    CASE(nearest_exact, 0),
    CASE(nearest3d, 0),
    CASE(linear1d, 2e-6),
    CASE(bilinear, 2e-6),
    CASE(linear_corners, 2e-6),
    CASE(linear_antialias, 2e-6),
    CASE(cubic, 2e-6),
    CASE(cubic_corners, 2e-6),
    CASE(cubic_antialias, 2e-6),
    CASE(pixel_shuffle, 0),
    CASE(pixel_unshuffle, 0),
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "places", cases, sizeof cases / sizeof *cases);
}
