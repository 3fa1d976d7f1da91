/* tests/torch/test_recurrence.c: GRU, LSTM, short convolutions, the gated delta rule, state spaces,
 * over an axis and over the tokens of a session; recurrences of one's own. Numbers by
 * recurrence.py. */
#include "tests/torch/harness.h"

/* ---- cells -------------------------------------------------------------------------------------
 */

static void record_gru(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,5");
    rlx_flow_gru(f, &(rlx_recurrent_spec){.layers = 2, .bidirectional = true});
    rlx_flow_output(f, "y");
}

static void record_lstm(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,5");
    rlx_flow_lstm(f, &(rlx_recurrent_spec){.layers = 2, .bidirectional = true});
    rlx_flow_output(f, "y");
}

static void record_gru_wide(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,6");
    rlx_flow_gru(f, &(rlx_recurrent_spec){.prefix = "cell", .no_bias = true});
    rlx_flow_output(f, "y");
}

static void record_lstm_wide(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,6");
    rlx_flow_lstm(f, &(rlx_recurrent_spec){.prefix = "cell", .no_bias = true});
    rlx_flow_output(f, "y");
}

static rlx_cell_spec cell_of(rlx_builder *b, const char *h)
{
    return (rlx_cell_spec){.w_ih = rlx_build_weight(b, "weight_ih_l0"),
                           .w_hh = rlx_build_weight(b, "weight_hh_l0"),
                           .b_ih = rlx_build_weight(b, "bias_ih_l0"),
                           .b_hh = rlx_build_weight(b, "bias_hh_l0"),
                           .h = h ? rlx_build_declared(b, h) : NULL};
}

static rlx_value *build_gru(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_cell_spec spec = cell_of(b, "h");
    rlx_value *h;
    spec.backwards = spec.reset_before = user != NULL;
    x = rlx_build_gru(b, x, &spec, &h);
    rlx_build_store(b, "h_last", h);
    return x;
}

static rlx_value *build_lstm(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_cell_spec spec = cell_of(b, "h");
    rlx_value *h, *c;
    (void)user;
    spec.c = rlx_build_declared(b, "c");
    x = rlx_build_lstm(b, x, &spec, &h, &c);
    rlx_build_store(b, "h_last", h);
    rlx_build_store(b, "c_last", c);
    return x;
}

static void record_gru_states(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    torch_input(f, "h", RLX_F32, "B,6");
    rlx_flow_custom(f, "gru", build_gru, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
}

static void record_gru_before(rlx_flow *f)
{
    static int before;
    torch_input(f, "x", RLX_F32, "B,S,4");
    torch_input(f, "h", RLX_F32, "B,6");
    rlx_flow_custom(f, "gru", build_gru, &before);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
}

static void record_lstm_states(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    torch_input(f, "h", RLX_F32, "B,6");
    torch_input(f, "c", RLX_F32, "B,6");
    rlx_flow_custom(f, "lstm", build_lstm, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
    rlx_flow_output_stream(f, "c_last", "c_last");
}

static rlx_recurrent_spec whole = {
    .layers = 2, .bidirectional = true, .lengths = "lengths", .h = "h", .h_last = "h_last"};

static void record_ragged(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,5");
    torch_input(f, "lengths", RLX_I32, "B");
    torch_input(f, "h", RLX_F32, "4,B,6");
    rlx_flow_bind_stream(f, "lengths", "lengths");
    rlx_flow_bind_stream(f, "h", "h");
}

static void record_gru_flow(rlx_flow *f)
{
    record_ragged(f);
    rlx_flow_gru(f, &whole);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
}

static void record_lstm_flow(rlx_flow *f)
{
    rlx_recurrent_spec spec = whole;
    record_ragged(f);
    torch_input(f, "c", RLX_F32, "4,B,6");
    rlx_flow_bind_stream(f, "c", "c");
    spec.c = "c";
    spec.c_last = "c_last";
    rlx_flow_lstm(f, &spec);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
    rlx_flow_output_stream(f, "c_last", "c_last");
}

static void record_gru_backwards(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    rlx_flow_gru(
        f, &(rlx_recurrent_spec){.backwards = true, .reset_before = true, .h_last = "h_last"});
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
}

/* Other activations, and a clip. */
static rlx_value *build_other_gru(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_cell_spec spec = cell_of(b, "h");
    rlx_value *h;
    (void)user;
    spec.gate = RLX_ACT_HARD_SIGMOID;
    spec.cell = RLX_ACT_LEAKY_RELU;
    spec.clip = 1.5;
    x = rlx_build_gru(b, x, &spec, &h);
    rlx_build_store(b, "h_last", h);
    return x;
}

/* An LSTM with what `user` says, a rlx_cell_spec's cell, out and clip. */
static rlx_value *build_other_lstm(rlx_builder *b, rlx_value *x, void *user)
{
    const rlx_cell_spec *other = user;
    rlx_cell_spec spec = cell_of(b, "h");
    rlx_value *h, *c;
    spec.c = rlx_build_declared(b, "c");
    spec.cell = other->cell;
    spec.out = other->out;
    spec.clip = other->clip;
    x = rlx_build_lstm(b, x, &spec, &h, &c);
    rlx_build_store(b, "h_last", h);
    rlx_build_store(b, "c_last", c);
    return x;
}

static void record_gru_other(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    torch_input(f, "h", RLX_F32, "B,6");
    rlx_flow_custom(f, "gru", build_other_gru, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
}

static void record_lstm_of(rlx_flow *f, rlx_cell_spec *other)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    torch_input(f, "h", RLX_F32, "B,6");
    torch_input(f, "c", RLX_F32, "B,6");
    rlx_flow_custom(f, "lstm", build_other_lstm, other);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
    rlx_flow_output_stream(f, "c_last", "c_last");
}

static void record_lstm_other(rlx_flow *f)
{
    static rlx_cell_spec other = {.cell = RLX_ACT_SOFTSIGN, .out = RLX_ACT_RELU, .clip = 0.75};
    record_lstm_of(f, &other);
}

static void record_lstm_identity(rlx_flow *f)
{
    static rlx_cell_spec none = {.cell = RLX_ACT_IDENTITY, .out = RLX_ACT_IDENTITY};
    record_lstm_of(f, &none);
}

static void record_lstm_stage_other(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    rlx_flow_lstm(
        f, &(rlx_recurrent_spec){.cell = RLX_ACT_SOFTSIGN, .out = RLX_ACT_RELU, .clip = 0.75});
    rlx_flow_output(f, "y");
}

static void record_lstm_stage_identity(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    rlx_flow_lstm(f, &(rlx_recurrent_spec){.cell = RLX_ACT_IDENTITY, .out = RLX_ACT_IDENTITY});
    rlx_flow_output(f, "y");
}

static rlx_value *build_peephole(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_cell_spec spec = cell_of(b, NULL);
    rlx_value *h, *c;
    (void)user;
    spec.backwards = true;
    spec.lengths = rlx_build_declared(b, "lengths");
    spec.peephole = rlx_build_weight(b, "p");
    x = rlx_build_lstm(b, x, &spec, &h, &c);
    rlx_build_store(b, "h_last", h);
    rlx_build_store(b, "c_last", c);
    return x;
}

static void record_lstm_peephole(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4");
    torch_input(f, "lengths", RLX_I32, "B");
    rlx_flow_custom(f, "lstm", build_peephole, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "h_last", "h_last");
    rlx_flow_output_stream(f, "c_last", "c_last");
}

/* ---- short convolutions ------------------------------------------------------------------------
 */

static rlx_value *build_conv(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *last;
    (void)user;
    x = rlx_build_short_conv(b, x, rlx_build_weight(b, "weight"), rlx_build_weight(b, "bias"),
                             rlx_build_declared(b, "s"), &last);
    rlx_build_store(b, "last", last);
    return x;
}

static void record_short_conv(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,19");
    torch_input(f, "s", RLX_F32, "B,3,19");
    rlx_flow_custom(f, "conv", build_conv, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static void record_short_conv_tokens(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "TOKENS,19");
    rlx_flow_short_conv(f, "weight", "bias", "conv");
    rlx_flow_output(f, "y");
}

/* ---- the gated delta rule ----------------------------------------------------------------------
 */

/* `user`: steps of a chunk; NULL: step by step. */
static rlx_value *build_delta(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t *chunk = user;
    rlx_value *last;
    const rlx_delta_rule_spec spec = {.q = x,
                                      .k = rlx_build_declared(b, "k"),
                                      .v = rlx_build_declared(b, "v"),
                                      .g = rlx_build_declared(b, "g"),
                                      .beta = rlx_build_declared(b, "beta"),
                                      .state = rlx_build_declared(b, "s"),
                                      .norm_eps = 1e-6,
                                      .chunk = chunk ? *chunk : 0};
    x = rlx_build_delta_rule(b, &spec, &last);
    rlx_build_store(b, "last", last);
    return x;
}

static void record_delta_inputs(rlx_flow *f, const char *qk, const char *v, const char *h)
{
    torch_input(f, "q", RLX_F32, qk);
    torch_input(f, "k", RLX_F32, qk);
    torch_input(f, "v", RLX_F32, v);
    torch_input(f, "g", RLX_F32, h);
    torch_input(f, "beta", RLX_F32, h);
}

static void record_delta_rule(rlx_flow *f)
{
    record_delta_inputs(f, "B,S,2,6", "B,S,4,18", "B,S,4");
    torch_input(f, "s", RLX_F32, "B,4,6,18");
    rlx_flow_custom(f, "delta", build_delta, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static void record_gdn_streams(rlx_flow *f)
{
    rlx_flow_store_stream(f, "gdn.q");
    rlx_flow_bind_stream(f, "k", "gdn.k");
    rlx_flow_bind_stream(f, "v", "gdn.v");
    rlx_flow_bind_stream(f, "g", "gdn.g");
    rlx_flow_bind_stream(f, "beta", "gdn.beta");
}

static void record_gdn_scan(rlx_flow *f)
{
    record_delta_inputs(f, "B,S,2,6", "B,S,4,18", "B,S,4");
    record_gdn_streams(f);
    rlx_flow_gdn_scan(f, &(rlx_gdn_spec){.norm_eps = 1e-6, .tile = true});
    rlx_flow_output(f, "y");
}

static void record_gdn_tokens(rlx_flow *f)
{
    record_delta_inputs(f, "TOKENS,2,6", "TOKENS,4,18", "TOKENS,4");
    record_gdn_streams(f);
    rlx_flow_gdn_scan(f, &(rlx_gdn_spec){.norm_eps = 1e-6, .state = "gdn"});
    rlx_flow_output(f, "y");
}

static void record_delta_chunks(rlx_flow *f)
{
    static int64_t chunk = 32;
    record_delta_inputs(f, "B,S,1,8", "B,S,2,12", "B,S,2");
    torch_input(f, "s", RLX_F32, "B,2,8,12");
    rlx_flow_custom(f, "delta", build_delta, &chunk);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static void record_gdn_chunks(rlx_flow *f)
{
    record_delta_inputs(f, "B,S,1,8", "B,S,2,12", "B,S,2");
    record_gdn_streams(f);
    rlx_flow_gdn_scan(f, &(rlx_gdn_spec){.norm_eps = 1e-6, .chunk = 16});
    rlx_flow_output(f, "y");
}

static void record_gdn_chunks_tokens(rlx_flow *f)
{
    record_delta_inputs(f, "TOKENS,1,8", "TOKENS,2,12", "TOKENS,2");
    record_gdn_streams(f);
    rlx_flow_gdn_scan(f, &(rlx_gdn_spec){.norm_eps = 1e-6, .state = "gdn", .chunk = 16});
    rlx_flow_output(f, "y");
}

/* ---- state spaces ------------------------------------------------------------------------------
 */

/* `user`: how many dims the state of the session has; NULL: the state is input h. */
static rlx_value *build_scan(rlx_builder *b, rlx_value *x, void *user)
{
    static const int64_t dims[2][3] = {{11, 16}, {4, 5, 20}};
    const int *rank = user;
    rlx_value *last;
    const rlx_selective_scan_spec spec = {
        .x = x,
        .dt = rlx_build_declared(b, "dt"),
        .a = rlx_build_weight(b, "A"),
        .b = rlx_build_declared(b, "b"),
        .c = rlx_build_declared(b, "c"),
        .d = rlx_build_weight(b, "D"),
        .state =
            rank ? rlx_build_state(b, "ssm", *rank, dims[*rank - 2]) : rlx_build_declared(b, "h")};
    x = rlx_build_selective_scan(b, &spec, &last);
    if (!rank)
        rlx_build_store(b, "last", last);
    return x;
}

static void record_mamba(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,11");
    torch_input(f, "dt", RLX_F32, "B,S,11");
    torch_input(f, "b", RLX_F32, "B,S,16");
    torch_input(f, "c", RLX_F32, "B,S,16");
    torch_input(f, "h", RLX_F32, "B,11,16");
    rlx_flow_custom(f, "mamba", build_scan, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static void record_mamba_tokens(rlx_flow *f)
{
    static int rank = 2;
    torch_input(f, "x", RLX_F32, "TOKENS,11");
    torch_input(f, "dt", RLX_F32, "TOKENS,11");
    torch_input(f, "b", RLX_F32, "TOKENS,16");
    torch_input(f, "c", RLX_F32, "TOKENS,16");
    rlx_flow_custom(f, "mamba", build_scan, &rank);
    rlx_flow_output(f, "y");
}

static void record_mamba2(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,4,5");
    torch_input(f, "dt", RLX_F32, "B,S,4");
    torch_input(f, "b", RLX_F32, "B,S,2,20");
    torch_input(f, "c", RLX_F32, "B,S,2,20");
    torch_input(f, "h", RLX_F32, "B,4,5,20");
    rlx_flow_custom(f, "mamba2", build_scan, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static void record_mamba2_tokens(rlx_flow *f)
{
    static int rank = 3;
    torch_input(f, "x", RLX_F32, "TOKENS,4,5");
    torch_input(f, "dt", RLX_F32, "TOKENS,4");
    torch_input(f, "b", RLX_F32, "TOKENS,2,20");
    torch_input(f, "c", RLX_F32, "TOKENS,2,20");
    rlx_flow_custom(f, "mamba2", build_scan, &rank);
    rlx_flow_output(f, "y");
}

/* ---- recurrences of one's own ------------------------------------------------------------------
 */

static void step_cell(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    rlx_value *w = rlx_build_transpose(b, args[2], (const int64_t[]){1, 0});
    rlx_value *y = rlx_build_map2(b, RLX_MAP_ADD, rlx_build_matmul(b, args[1], w), args[0]);
    (void)user;
    results[1] = rlx_build_map1(b, RLX_MAP_TANH, y);
    results[0] = rlx_build_reduce(b, RLX_MAP_MAX, results[1], 1, (const int[]){0}, false);
}

static rlx_value *build_recur(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *out[2];
    const rlx_recur_spec spec = {
        .sequences = 1,
        .states = 1,
        .stay = 1,
        .operand = {x, rlx_build_declared(b, "s"), rlx_build_weight(b, "w")},
        .parallel = 1,
        .outputs = 1,
        .step = step_cell};
    (void)user;
    rlx_build_recur(b, &spec, out);
    rlx_build_store(b, "last", out[1]);
    return out[0];
}

static void record_recur(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "S,B,9");
    torch_input(f, "s", RLX_F32, "B,9");
    rlx_flow_custom(f, "recur", build_recur, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

/* x, whether it still changes, the number of steps, a. */
static void step_newton(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    rlx_value *x = args[0], *live = args[1], *a = args[3];
    rlx_value *y = rlx_build_map2(b, RLX_MAP_ADD, x, rlx_build_map2(b, RLX_MAP_DIV, a, x));
    (void)user;
    y = rlx_build_map2(b, RLX_MAP_MUL, y, rlx_build_constant(b, 0.5));
    rlx_value *change = rlx_build_map1(b, RLX_MAP_ABS, rlx_build_map2(b, RLX_MAP_SUB, y, x));
    rlx_value *more = rlx_build_map2(b, RLX_MAP_LT, rlx_build_constant(b, 1e-3), change);
    results[0] = rlx_build_map3(b, RLX_MAP_SELECT, live, y, x);
    results[1] = rlx_build_map2(b, RLX_MAP_AND, live, more);
    results[2] = rlx_build_map2(b, RLX_MAP_ADD, args[2], rlx_build_cast(b, live, RLX_I32));
    results[3] = a;
}

static rlx_value *build_until(rlx_builder *b, rlx_value *a, void *user)
{
    const int64_t dims[] = {rlx_value_extent(a, 0)};
    rlx_value *zero = rlx_build_expand(b, rlx_build_number(b, RLX_I32, 0), 1, dims), *out[4];
    const rlx_recur_spec spec = {
        .states = 4,
        .operand = {a, rlx_build_cast(b, rlx_build_not(b, zero), RLX_BOOL), zero, a},
        .parallel = 1,
        .steps = 30,
        .step = step_newton};
    (void)user;
    rlx_build_recur(b, &spec, out);
    rlx_build_store(b, "n", out[2]);
    return out[0];
}

static void record_until(rlx_flow *f)
{
    torch_input(f, "a", RLX_F32, "N");
    rlx_flow_custom(f, "until", build_until, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "n", "n");
}

/* x of the row, how many rounds are left, whether any are, the round. */
static void step_countdown(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    rlx_value *left = rlx_build_map2(b, RLX_MAP_SUB, args[1], rlx_build_number(b, RLX_I32, 1));
    (void)user;
    results[0] = rlx_build_map2(b, RLX_MAP_ADD, args[0], args[3]);
    results[1] = rlx_build_map2(b, RLX_MAP_MUL, args[0], rlx_build_constant(b, 0.5));
    results[2] = left;
    results[3] = rlx_build_map2(b, RLX_MAP_LT, rlx_build_number(b, RLX_I32, 0), left);
    results[4] = rlx_build_map2(b, RLX_MAP_ADD, args[3], rlx_build_constant(b, 1));
}

static rlx_value *build_live(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t dims[] = {rlx_value_extent(x, 0)};
    rlx_value *n = rlx_build_declared(b, "n"), *out[5];
    const rlx_recur_spec spec = {
        .states = 4,
        .operand = {x, n, rlx_build_map2(b, RLX_MAP_LT, rlx_build_number(b, RLX_I32, 0), n),
                    rlx_build_expand(b, rlx_build_constant(b, 0), 1, dims)},
        .parallel = 1,
        .outputs = 1,
        .steps = 6,
        .live = 3,
        .step = step_countdown};
    (void)user;
    rlx_build_recur(b, &spec, out);
    rlx_build_store(b, "last", out[1]);
    return out[0];
}

static void record_live(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,5");
    torch_input(f, "n", RLX_I32, "B");
    rlx_flow_custom(f, "live", build_live, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static void step_inner(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    rlx_value *s = rlx_build_matmul(b, args[2], args[1]); /* w s */
    (void)user;
    results[0] = results[1] =
        rlx_build_map1(b, RLX_MAP_TANH, rlx_build_map2(b, RLX_MAP_ADD, s, args[0]));
}

static void step_outer(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    rlx_value *out[2];
    const rlx_recur_spec spec = {.sequences = 1,
                                 .states = 1,
                                 .stay = 1,
                                 .operand = {args[0], args[1], args[2]},
                                 .outputs = 1,
                                 .backwards = true,
                                 .step = step_inner};
    rlx_build_recur(b, &spec, out);
    results[0] = rlx_build_map2(b, RLX_MAP_MUL, out[0], args[3]);
    results[1] = out[1];
    (void)user;
}

static rlx_value *build_nested(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *out[2], *row = rlx_build_iota(b, RLX_F32, 3);
    const int64_t dims[] = {3, 1};
    (void)user;
    row = rlx_build_map2(b, RLX_MAP_ADD, row, rlx_build_constant(b, 1));
    const rlx_recur_spec spec = {.sequences = 1,
                                 .states = 1,
                                 .stay = 2,
                                 .operand = {x, rlx_build_declared(b, "s"),
                                             rlx_build_weight(b, "w"),
                                             rlx_build_reshape(b, row, 2, dims)},
                                 .outputs = 1,
                                 .step = step_outer};
    rlx_build_recur(b, &spec, out);
    rlx_build_store(b, "last", out[1]);
    return out[0];
}

static void record_nested(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "S,3,6");
    torch_input(f, "s", RLX_F32, "6");
    rlx_flow_custom(f, "nested", build_nested, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_output_stream(f, "last", "last");
}

static const char sessions[] = "its states are a session's";
static const torch_case cases[] = {
    {"gru", record_gru, 2e-6, NULL},
    {"lstm", record_lstm, 2e-6, NULL},
    {"gru_wide", record_gru_wide, 2e-6, NULL},
    {"lstm_wide", record_lstm_wide, 2e-6, NULL},
    {"gru_states", record_gru_states, 2e-6, NULL},
    {"gru_before", record_gru_before, 2e-6, NULL},
    {"lstm_states", record_lstm_states, 2e-6, NULL},
    {"gru_flow", record_gru_flow, 2e-6, NULL},
    {"lstm_flow", record_lstm_flow, 2e-6, NULL},
    {"gru_backwards", record_gru_backwards, 2e-6, NULL},
    {"lstm_peephole", record_lstm_peephole, 2e-6, NULL},
    {"gru_other", record_gru_other, 2e-6, NULL},
    {"lstm_other", record_lstm_other, 2e-6, NULL},
    {"lstm_stage_other", record_lstm_stage_other, 2e-6, NULL},
    {"lstm_identity", record_lstm_identity, 2e-6, NULL},
    {"lstm_stage_identity", record_lstm_stage_identity, 2e-6, NULL},
    {"short_conv", record_short_conv, 2e-6, NULL},
    {"short_conv_tokens", record_short_conv_tokens, 2e-6, sessions},
    {"delta_rule", record_delta_rule, 5e-6, NULL},
    {"gdn_scan", record_gdn_scan, 5e-6, NULL},
    {"gdn_tokens", record_gdn_tokens, 5e-6, sessions},
    {"delta_chunks", record_delta_chunks, 5e-6, NULL},
    {"gdn_chunks", record_gdn_chunks, 5e-6, NULL},
    {"gdn_chunks_tokens", record_gdn_chunks_tokens, 5e-6, sessions},
    {"mamba", record_mamba, 3e-6, NULL},
    {"mamba_tokens", record_mamba_tokens, 3e-6, sessions},
    {"mamba2", record_mamba2, 3e-6, NULL},
    {"mamba2_tokens", record_mamba2_tokens, 3e-6, sessions},
    {"recur", record_recur, 3e-6, NULL},
    {"until", record_until, 1e-6, NULL},
    {"live", record_live, 1e-6, NULL},
    {"nested", record_nested, 3e-6, NULL},
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "recurrence", cases, sizeof cases / sizeof *cases);
}
