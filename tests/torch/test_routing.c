/* tests/torch/test_routing.c: orders, routers and experts, adapters, numbers of few bits and
 * Fourier transforms, as routing.py computed them. */
#include "tests/torch/harness.h"

typedef rlx_value *build_fn(rlx_builder *b, rlx_value *x, void *user);

/* A flow of one custom stage, whose value is output y; what it stores as `second` is one too. */
static void record(rlx_flow *f, const char *dims, build_fn *build, const char *second)
{
    torch_input(f, "x", RLX_F32, dims);
    rlx_flow_custom(f, "stage", build, f);
    rlx_flow_output(f, "y");
    if (second)
        rlx_flow_output_stream(f, second, second);
}

static rlx_value *input(rlx_builder *b, void *flow, const char *name, rlx_format format,
                        const char *text)
{
    int64_t dims[6];
    const int rank = torch_dims(flow, text, dims);
    return rlx_build_input(b, name, format, rank, dims);
}

#define CASE(name, dims, second, expr)                                       \
    static rlx_value *build_##name(rlx_builder *b, rlx_value *x, void *user) \
    {                                                                        \
        rlx_value *at = NULL;                                                \
        (void)user;                                                          \
        rlx_value *y = expr;                                                 \
        if (at)                                                              \
            rlx_build_store(b, second ? second : "at", at);                  \
        return y;                                                            \
    }                                                                        \
    static void record_##name(rlx_flow *f)                                   \
    {                                                                        \
        record(f, dims, build_##name, second);                               \
    }

#define NONE ((const char *)NULL)
#define W(key) rlx_build_weight(b, key)

/* ---- orders ------------------------------------------------------------------------------------
 */

CASE(top_k, "T,9", "at", rlx_build_top_k(b, x, -1, 3, false, &at))
CASE(top_k_axis, "T,7,3", "at", rlx_build_top_k(b, x, 1, 2, true, &at))
CASE(sort, "2,N", "at", rlx_build_sort(b, x, -1, false, &at))
CASE(argmax, "T,17", NONE, rlx_build_arg_best(b, x, -1, false, false))
CASE(argmin, "T,5", NONE, rlx_build_arg_best(b, x, 0, true, false))
CASE(cumsum, "T,3", NONE, rlx_build_scan(b, RLX_MAP_ADD, x, 0, false, false))
CASE(take_along, "T,7", NONE, rlx_build_take_along(b, x, input(b, user, "ids", RLX_I32, "T,4"), 1))

static rlx_value *build_one_hot(rlx_builder *b, rlx_value *ids, void *user)
{
    (void)user;
    return rlx_build_one_hot(b, ids, 6, RLX_I32);
}

static void record_one_hot(rlx_flow *f)
{
    torch_input(f, "ids", RLX_I32, "T");
    rlx_flow_custom(f, "stage", build_one_hot, f);
    rlx_flow_output(f, "y");
}

/* ---- routing -----------------------------------------------------------------------------------
 */

static const rlx_route_spec plain = {.count = 2}, normalized = {.count = 3, .normalize = true},
                            pairs = {.count = 2, .normalize = true},
                            grouped = {.count = 3,
                                       .sigmoid = true,
                                       .normalize = true,
                                       .groups = 4,
                                       .groups_chosen = 2,
                                       .scale = 2.5};

CASE(route_softmax, "T,8", "at", rlx_build_route(b, &plain, x, NULL, &at))
CASE(route_normalize, "T,8", "at", rlx_build_route(b, &normalized, x, NULL, &at))
CASE(route_groups, "T,12", "at", rlx_build_route(b, &grouped, x, W("bias"), &at))
CASE(experts_bf16, "T,10", NONE,
     rlx_build_experts(b, x, W("w"), input(b, user, "ids", RLX_I32, "T")))
CASE(lora, "T,13", NONE, rlx_build_lora(b, x, W("w"), W("a"), W("b"), 0.5))

static rlx_value *build_moe(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const rlx_moe_weights w = {
        .router = W("router"), .gate = W("gate"), .up = W("up"), .down = W("down")};
    return rlx_build_moe(b, x, &w, &pairs);
}

static void record_moe(rlx_flow *f)
{
    record(f, "T,10", build_moe, NULL);
}

/* ---- few bits ----------------------------------------------------------------------------------
 */

static const rlx_quantize_spec channels = {.axis = 1}, bytes = {.format = RLX_U8},
                               nibbles = {.bits = 4, .axis = -1, .block = 4};

CASE(quantize, "T,5", NONE, rlx_build_quantize(b, &channels, x, W("scale"), W("zero")))
CASE(fake_quantize, "T,5", NONE,
     rlx_build_fake_quantize(b, &bytes, x, rlx_build_constant(b, 0.25), rlx_build_constant(b, 3)))

static rlx_value *build_int4_blocks(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t tokens = rlx_value_extent(x, 0);
    rlx_value *blocks = rlx_build_reshape(b, x, 3, (int64_t[]){tokens, 3, 4});
    rlx_value *most = rlx_build_reduce(b, RLX_MAP_MAX, rlx_build_map1(b, RLX_MAP_ABS, blocks), 1,
                                       (int[]){2}, false);
    rlx_value *scale = rlx_build_map2(b, RLX_MAP_DIV, most, rlx_build_constant(b, 7));
    rlx_value *codes = rlx_build_quantize(b, &nibbles, x, scale, NULL);
    rlx_build_store(b, "codes", codes);
    return rlx_build_dequantize(b, &nibbles, codes, scale, NULL);
}

static void record_int4_blocks(rlx_flow *f)
{
    record(f, "T,12", build_int4_blocks, "codes");
}

static rlx_value *through_f8(rlx_builder *b, rlx_value *x, rlx_f8 kind, rlx_value **codes)
{
    *codes = rlx_build_f8_encode(b, x, kind, false);
    return rlx_build_f8_decode(b, *codes, kind);
}

CASE(f8_e4m3, "N", "codes", through_f8(b, x, RLX_F8_E4M3, &at))
CASE(f8_e5m2, "N", "codes", through_f8(b, x, RLX_F8_E5M2, &at))

/* ---- transforms --------------------------------------------------------------------------------
 */

static const rlx_stft_spec centred = {.n_fft = 16, .hop = 5, .center = true},
                           from_start = {.n_fft = 8, .hop = 3},
                           quarters = {.n_fft = 16, .hop = 4, .center = true};

CASE(fft, "T,15", "yim", rlx_build_fft(b, x, input(b, user, "im", RLX_F32, "T,15"), false, &at))
CASE(ifft, "T,12", "yim", rlx_build_fft(b, x, input(b, user, "im", RLX_F32, "T,12"), true, &at))
CASE(rfft, "T,16", "yim", rlx_build_rfft(b, x, &at))
CASE(irfft_odd, "T,5", NONE, rlx_build_irfft(b, x, input(b, user, "im", RLX_F32, "T,5"), 9))
CASE(irfft_even, "T,5", NONE, rlx_build_irfft(b, x, input(b, user, "im", RLX_F32, "T,5"), 8))
CASE(stft, "2,L", "yim", rlx_build_stft(b, &centred, x, W("window"), &at))
CASE(stft_from_start, "1,30", "yim", rlx_build_stft(b, &from_start, x, NULL, &at))
CASE(istft_uneven, "1,9,6", NONE,
     rlx_build_istft(b, &centred, x, input(b, user, "im", RLX_F32, "1,9,6"), W("window"), 25))

/* There and back, with a filter between, for any length. */
static rlx_value *build_istft(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *im, *window = W("window");
    rlx_value *filter = rlx_build_insert(b, W("filter"), 1);
    rlx_value *re = rlx_build_stft(b, &quarters, x, window, &im);
    re = rlx_build_map2(b, RLX_MAP_MUL, re, filter);
    im = rlx_build_map2(b, RLX_MAP_MUL, im, filter);
    return rlx_build_istft(b, &quarters, re, im, window, rlx_value_extent(x, 1));
}

static void record_istft(rlx_flow *f)
{
    record(f, "2,L", build_istft, NULL);
}

#define ROW(name, tolerance)                  \
    {                                         \
#name, record_##name, tolerance, NULL \
    }
static const torch_case cases[] = {
    ROW(top_k, 0),
    ROW(top_k_axis, 0),
    ROW(sort, 0),
    ROW(argmax, 0),
    ROW(argmin, 0),
    ROW(one_hot, 0),
    ROW(cumsum, 1e-6),
    ROW(take_along, 0),
    ROW(route_softmax, 1e-6),
    ROW(route_normalize, 1e-6),
    ROW(route_groups, 1e-6),
    ROW(moe, 2e-6),
    ROW(experts_bf16, 1e-6),
    ROW(lora, 2e-6),
    ROW(quantize, 0),
    ROW(fake_quantize, 1e-6),
    ROW(int4_blocks, 1e-6),
    ROW(f8_e4m3, 0),
    ROW(f8_e5m2, 0),
    ROW(fft, 2e-6),
    ROW(ifft, 2e-6),
    ROW(rfft, 2e-6),
    ROW(irfft_odd, 2e-6),
    ROW(irfft_even, 2e-6),
    ROW(stft, 2e-6),
    ROW(stft_from_start, 2e-6),
    ROW(istft, 5e-6),
    ROW(istft_uneven, 5e-6),
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "routing", cases, sizeof cases / sizeof *cases);
}
