/* tests/torch/test_attention.c: dense attention, rotations, biases of positions and windows of
 * images, as attention.py computed them. */
#include "tests/torch/harness.h"

/* ---- attention ---------------------------------------------------------------------------------
 */

static void record_qkv(rlx_flow *f, const char *name,
                       rlx_value *(*build)(rlx_builder *b, rlx_value *q, void *user), void *user)
{
    torch_input(f, "q", RLX_F32, "B,S,6,5");
    torch_input(f, "k", RLX_F32, "B,K,2,5");
    torch_input(f, "v", RLX_F32, "B,K,2,3");
    rlx_flow_custom(f, name, build, user);
    rlx_flow_output(f, "y");
}

static rlx_value *attend(rlx_builder *b, rlx_value *q, void *user)
{
    return rlx_build_dense_attention(b, q, rlx_build_declared(b, "k"), rlx_build_declared(b, "v"),
                                     user);
}

#define ATTEND(name, ...)                                     \
    static void record_##name(rlx_flow *f)                    \
    {                                                         \
        static rlx_dense_attention_spec spec = {__VA_ARGS__}; \
        record_qkv(f, #name, attend, &spec);                  \
    }
ATTEND(plain, .scale = 0)
ATTEND(causal, .causal = true)
ATTEND(cached, .causal = true, .aligned = true)
ATTEND(window, .causal = true, .window = 3)
ATTEND(local, .window = 3)
ATTEND(chunk, .causal = true, .chunk = 3)
ATTEND(block, .block = 4)

static rlx_value *attend_padded(rlx_builder *b, rlx_value *q, void *user)
{
    (void)user;
    rlx_dense_attention_spec spec = {
        .causal = true, .softcap = 2, .valid = rlx_build_declared(b, "attention_mask")};
    return attend(b, q, &spec);
}

static void record_padded(rlx_flow *f)
{
    torch_input(f, "q", RLX_F32, "B,S,6,5");
    torch_input(f, "k", RLX_F32, "B,K,2,5");
    torch_input(f, "v", RLX_F32, "B,K,2,3");
    torch_input(f, "attention_mask", RLX_I32, "B,K");
    rlx_flow_custom(f, "padded", attend_padded, NULL);
    rlx_flow_output(f, "y");
}

static rlx_value *attend_biased(rlx_builder *b, rlx_value *q, void *user)
{
    (void)user;
    rlx_dense_attention_spec spec = {.scale = 0.7,
                                     .bias = rlx_build_declared(b, "bias"),
                                     .lengths = rlx_build_declared(b, "lengths"),
                                     .sinks = rlx_build_weight(b, "sinks")};
    return attend(b, q, &spec);
}

static void record_biased(rlx_flow *f)
{
    torch_input(f, "q", RLX_F32, "B,S,6,5");
    torch_input(f, "k", RLX_F32, "B,K,2,5");
    torch_input(f, "v", RLX_F32, "B,K,2,3");
    torch_input(f, "bias", RLX_F32, "B,6,S,K");
    torch_input(f, "lengths", RLX_I32, "B");
    rlx_flow_custom(f, "biased", attend_biased, NULL);
    rlx_flow_output(f, "y");
}

static rlx_value *attend_relative(rlx_builder *b, rlx_value *q, void *user)
{
    (void)user;
    rlx_dense_attention_spec spec = {.relative = rlx_build_weight(b, "distance"), .left = 4};
    return attend(b, q, &spec);
}

static void record_relative(rlx_flow *f)
{
    record_qkv(f, "relative", attend_relative, NULL);
}

/* ---- biases and windows ----------------------------------------------------------------------
 */

static rlx_value *bucket_bias(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t n = rlx_value_extent(x, 0);
    const bool one_sided = user != NULL;
    rlx_value *bias = rlx_build_bucket_bias(b, rlx_build_weight(b, "table"), n, n,
                                            one_sided ? 20 : 128, one_sided);
    return rlx_build_map2(b, RLX_MAP_ADD, bias, x);
}

static rlx_value *alibi(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t n = rlx_value_extent(x, 0);
    return rlx_build_map2(b, RLX_MAP_ADD, rlx_build_alibi(b, 6, n, n), x);
}

static void record_bias(rlx_flow *f, rlx_value *(*build)(rlx_builder *, rlx_value *, void *),
                        void *user)
{
    torch_input(f, "x", RLX_F32, "S");
    rlx_flow_custom(f, "bias", build, user);
    rlx_flow_output(f, "y");
}

static void record_buckets(rlx_flow *f)
{
    record_bias(f, bucket_bias, NULL);
}

static void record_one_sided(rlx_flow *f)
{
    record_bias(f, bucket_bias, f);
}

static void record_alibi(rlx_flow *f)
{
    record_bias(f, alibi, NULL);
}

static rlx_value *grid_bias(rlx_builder *b, rlx_value *q, void *user)
{
    (void)user;
    return rlx_build_grid_bias(b, q, rlx_build_weight(b, "rel_h"), rlx_build_weight(b, "rel_w"), 3,
                               4);
}

static void record_grid(rlx_flow *f)
{
    torch_input(f, "q", RLX_F32, "B,12,2,4");
    rlx_flow_custom(f, "grid", grid_bias, NULL);
    rlx_flow_output(f, "y");
}

static rlx_value *cut(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_window_partition(b, x, 3);
}

/* Rows of a window times 1, 2, 3, and joined. */
static rlx_value *join(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *row = rlx_build_iota(b, RLX_I32, 3);
    row = rlx_build_map2(b, RLX_MAP_ADD, row, rlx_build_number(b, RLX_I32, 1));
    row = rlx_build_insert(b, rlx_build_insert(b, rlx_build_cast(b, row, RLX_F32), 1), 2);
    x = rlx_build_map2(b, RLX_MAP_MUL, x, row);
    return rlx_build_window_join(b, x, rlx_value_extent(rlx_build_declared(b, "x"), 0), 4, 7);
}

static void record_windows(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,4,7,2");
    rlx_flow_custom(f, "cut", cut, NULL);
    rlx_flow_output(f, "windows");
    rlx_flow_custom(f, "join", join, NULL);
    rlx_flow_output(f, "joined");
}

/* ---- rotations --------------------------------------------------------------------------------
 */

static rlx_value *turn(rlx_builder *b, rlx_value *x, const rlx_rope_tables_spec *t, int64_t heads,
                       bool interleaved)
{
    rlx_value *cosine, *sine;
    rlx_build_rope_tables(b, t, &cosine, &sine);
    return rlx_build_rope(b, x, cosine, sine, heads, interleaved, t->each);
}

/* Index i along an axis of an input. */
static rlx_value *part(rlx_builder *b, const char *input, int axis, int64_t i)
{
    rlx_value *x = rlx_build_declared(b, input), *y = rlx_build_slice(b, x, axis, i, 1, 1);
    int64_t dims[6];
    int n = 0;
    for (int d = 0; d < rlx_value_rank(x); d++)
        if (d != axis)
            dims[n++] = rlx_value_extent(x, d);
    return rlx_build_reshape(b, y, n, dims);
}

static rlx_value *rope_half(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return turn(b, x,
                &(rlx_rope_tables_spec){.positions = {rlx_build_declared(b, "position_ids")},
                                        .pairs = {3},
                                        .theta = 10000},
                2, false);
}

static rlx_value *mrope(rlx_builder *b, rlx_value *x, void *user)
{
    const bool turns = user != NULL;
    rlx_rope_tables_spec t = {.naxes = 3,
                              .pairs = {turns ? 3 : 1, 2, turns ? 1 : 3},
                              .order = turns ? RLX_ROPE_TURNS : RLX_ROPE_SECTIONS,
                              .theta = 1e6};
    for (int a = 0; a < 3; a++)
        t.positions[a] = part(b, "position_ids", 0, a);
    return turn(b, x, &t, 2, false);
}

/* 2 times the places of an image of 3 rows and 2 columns. */
static rlx_value *axial(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *at = rlx_build_iota(b, RLX_I32, 12), *two = rlx_build_number(b, RLX_I32, 2);
    rlx_value *row = rlx_build_map2(b, RLX_MAP_DIV, at, two);
    row = rlx_build_map2(b, RLX_MAP_MOD, row, rlx_build_number(b, RLX_I32, 3));
    const rlx_rope_tables_spec t = {.naxes = 2,
                                    .positions = {rlx_build_map2(b, RLX_MAP_MOD, at, two), row},
                                    .pairs = {2, 2},
                                    .theta = 10000,
                                    .still = 2};
    return turn(b, x, &t, 1, true);
}

static rlx_value *flux(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_rope_tables_spec t = {.naxes = 4, .pairs = {2, 2, 1, 1}, .theta = 2000};
    for (int a = 0; a < 4; a++)
        t.positions[a] = part(b, "ids", 1, a);
    return turn(b, x, &t, 2, true);
}

static rlx_value *vjepa(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_rope_tables_spec t = {.naxes = 3, .pairs = {2, 2, 2}, .theta = 10000, .each = true};
    for (int a = 0; a < 3; a++)
        t.positions[a] = part(b, "ids", 1, a);
    return turn(b, x, &t, 2, true);
}

static void record_turn(rlx_flow *f, const char *x, const char *ids, const char *ids_dims,
                        rlx_value *(*build)(rlx_builder *, rlx_value *, void *), void *user)
{
    torch_input(f, "x", RLX_F32, x);
    if (ids)
        torch_input(f, ids, RLX_I32, ids_dims);
    rlx_flow_custom(f, "turn", build, user);
    rlx_flow_output(f, "y");
}

static void record_half(rlx_flow *f)
{
    record_turn(f, "B,S,20", "position_ids", "B,S", rope_half, NULL);
}

static void record_mrope(rlx_flow *f)
{
    record_turn(f, "B,S,24", "position_ids", "3,B,S", mrope, NULL);
}

static void record_turns(rlx_flow *f)
{
    record_turn(f, "B,S,24", "position_ids", "3,B,S", mrope, f);
}

static void record_axial(rlx_flow *f)
{
    record_turn(f, "B,14,8", NULL, NULL, axial, NULL);
}

static void record_flux(rlx_flow *f)
{
    record_turn(f, "B,S,24", "ids", "S,4", flux, NULL);
}

static void record_vjepa(rlx_flow *f)
{
    record_turn(f, "B,S,28", "ids", "S,3", vjepa, NULL);
}

static const torch_case cases[] = {
    {"plain", record_plain, 1e-6, NULL},      {"causal", record_causal, 1e-6, NULL},
    {"cached", record_cached, 1e-6, NULL},    {"window", record_window, 1e-6, NULL},
    {"local", record_local, 1e-6, NULL},      {"chunk", record_chunk, 1e-6, NULL},
    {"block", record_block, 1e-6, NULL},      {"padded", record_padded, 1e-6, NULL},
    {"biased", record_biased, 1e-6, NULL},    {"relative", record_relative, 2e-6, NULL},
    {"bucket_bias", record_buckets, 0, NULL}, {"bucket_bias_one_sided", record_one_sided, 0, NULL},
    {"alibi", record_alibi, 1e-6, NULL},      {"grid_bias", record_grid, 1e-6, NULL},
    {"windows", record_windows, 0, NULL},     {"rope_half", record_half, 1e-6, NULL},
    {"mrope", record_mrope, 1e-6, NULL},      {"mrope_turns", record_turns, 1e-6, NULL},
    {"rope_axial", record_axial, 1e-6, NULL}, {"rope_flux", record_flux, 1e-6, NULL},
    {"rope_vjepa", record_vjepa, 1e-6, NULL},
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "attention", cases, sizeof cases / sizeof *cases);
}
