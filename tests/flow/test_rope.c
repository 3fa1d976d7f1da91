/* tests/flow/test_rope.c: rotary tables against the formulas in f64. */
#include <math.h>

#include "frontend/rope.h"
#include "tests/base/suite.h"

enum { D = 32, N = 6 };
static const int32_t positions[N] = {0, 1, 7, 31, 100, 4000};

/* The inverse frequency of pair i, and the factor of cos and sin; written from the papers. */
typedef double frequency(const rlx_rope_spec *s, int i, double *attention);

static double plain(const rlx_rope_spec *s, int i, double *attention)
{
    *attention = 1;
    return pow(s->theta, -2.0 * i / D);
}

static double linear(const rlx_rope_spec *s, int i, double *attention)
{
    return plain(s, i, attention) / s->factor;
}

static double llama3(const rlx_rope_spec *s, int i, double *attention)
{
    const double inv = plain(s, i, attention), turns = s->original * inv / (2 * M_PI);
    if (turns < s->low)
        return inv / s->factor;
    if (turns > s->high)
        return inv;
    const double smooth = (turns - s->low) / (s->high - s->low);
    return (1 - smooth) * inv / s->factor + smooth * inv;
}

static double yarn(const rlx_rope_spec *s, int i, double *attention)
{
    const double fast = s->beta_fast ? s->beta_fast : 32, slow = s->beta_slow ? s->beta_slow : 1;
    double low = D * log(s->original / (fast * 2 * M_PI)) / (2 * log(s->theta));
    double high = D * log(s->original / (slow * 2 * M_PI)) / (2 * log(s->theta));
    low = fmax(s->no_truncate ? low : floor(low), 0);
    high = fmin(s->no_truncate ? high : ceil(high), D - 1);
    const double ramp = fmin(fmax((i - low) / (high - low), 0), 1), inv = plain(s, i, attention);
    *attention = s->attention_factor;
    if (*attention == 0)
        *attention = 0.1 * log(s->factor) + 1;
    if (s->attention_factor == 0 && s->mscale != 0)
        *attention =
            (0.1 * s->mscale * log(s->factor) + 1) / (0.1 * s->mscale_all_dim * log(s->factor) + 1);
    return inv / s->factor * ramp + inv * (1 - ramp);
}

static double dynamic(const rlx_rope_spec *s, int i, double *attention)
{
    const double length = positions[N - 1] + 1;
    rlx_rope_spec longer = *s;
    longer.theta *= pow(s->factor * length / s->max_positions - (s->factor - 1), D / (D - 2.0));
    return plain(&longer, i, attention);
}

static const float shorter[D / 2] = {1, 1, 1.5f, 1, 2, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1.25f, 1};
static const float longer[D / 2] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* positions[] go to 4000. */
static double longrope(const rlx_rope_spec *s, int i, double *attention)
{
    const double inv = plain(s, i, attention), factor = s->factor ? s->factor : 4096 / s->original;
    *attention = factor > 1 ? sqrt(1 + log(factor) / log(s->original)) : 1;
    if (s->attention_factor)
        *attention = s->attention_factor;
    return inv / (4001 > s->original ? longer : shorter)[i];
}

#define LONGROPE                                                                \
    .type = RLX_ROPE_LONGROPE, .dim = D, .theta = 10000, .max_positions = 4096, \
    .short_factor = shorter, .long_factor = longer
static const struct {
    rlx_rope_spec spec;
    frequency *want;
} cases[] = {
    {{LONGROPE, .original = 64}, longrope},
    {{LONGROPE, .original = 4000, .factor = 8}, longrope},
    {{LONGROPE, .original = 4001, .factor = 8}, longrope}, /* just short enough */
    {{LONGROPE, .original = 4096, .factor = 0.5}, longrope},
    {{LONGROPE, .original = 64, .attention_factor = 1.25}, longrope},
    {{.dim = D, .theta = 10000}, plain},
    {{.dim = D, .theta = 500000}, plain},
    {{.type = RLX_ROPE_LINEAR, .dim = D, .theta = 10000, .factor = 4}, linear},
    {{.type = RLX_ROPE_LLAMA3,
      .dim = D,
      .theta = 5000,
      .factor = 8,
      .original = 32,
      .low = 1,
      .high = 4},
     llama3},
    {{.type = RLX_ROPE_LLAMA3,
      .dim = D,
      .theta = 500000,
      .factor = 32,
      .original = 8192,
      .low = 1,
      .high = 4},
     llama3},
    {{.type = RLX_ROPE_YARN, .dim = D, .theta = 10000, .factor = 4, .original = 2048}, yarn},
    {{.type = RLX_ROPE_YARN,
      .dim = D,
      .theta = 10000,
      .factor = 4,
      .original = 2048,
      .no_truncate = true},
     yarn},
    {{.type = RLX_ROPE_YARN,
      .dim = D,
      .theta = 1000,
      .factor = 8,
      .original = 64,
      .beta_fast = 6,
      .beta_slow = 0.5,
      .attention_factor = 0.8},
     yarn},
    {{.type = RLX_ROPE_YARN,
      .dim = D,
      .theta = 5000,
      .factor = 16,
      .original = 40,
      .mscale = 1,
      .mscale_all_dim = 0.5},
     yarn},
    {{.type = RLX_ROPE_DYNAMIC, .dim = D, .theta = 10000, .factor = 2, .max_positions = 24},
     dynamic},
    {{.type = RLX_ROPE_DYNAMIC, .dim = D, .theta = 10000, .factor = 2, .max_positions = 4001},
     plain},
};
enum { NCASES = sizeof(cases) / sizeof(cases[0]) };

/* An angle is a product of two f32 numbers: its error grows with it, by a few units in the last
 * place. */
START_TEST(follows_the_formula)
{
    rlx_rope *r;
    float c[N * D / 2], s[N * D / 2];
    assert_ok(rlx_rope_create(&cases[_i].spec, &r));
    ck_assert_int_eq(rlx_rope_dim(r), D);
    rlx_rope_tables(r, positions, N, c, s);
    for (int t = 0; t < N; t++)
        for (int i = 0; i < D / 2; i++) {
            double attention;
            const double angle = positions[t] * cases[_i].want(&cases[_i].spec, i, &attention);
            const double tolerance = 2e-7 + 6e-7 * fabs(angle);
            ck_assert_double_eq_tol(c[t * D / 2 + i], cos(angle) * attention, tolerance);
            ck_assert_double_eq_tol(s[t * D / 2 + i], sin(angle) * attention, tolerance);
        }
    rlx_rope_destroy(r);
}
END_TEST

/* Frequencies for tables of one's own are those of the tables. */
START_TEST(frequencies_are_those_of_the_tables)
{
    rlx_rope *r;
    float c[N * D / 2], s[N * D / 2], freqs[D / 2];
    double amplitude;
    assert_ok(rlx_rope_create(&cases[_i].spec, &r));
    rlx_rope_tables(r, positions, N, c, s);
    assert_ok(rlx_rope_frequencies(&cases[_i].spec, positions[N - 1] + 1, freqs, &amplitude));
    for (int i = 0; i < N * D / 2; i++) {
        const float angle = freqs[i % (D / 2)] * (float)positions[i / (D / 2)];
        ck_assert_float_eq(c[i], (float)cos(angle) * (float)amplitude);
        ck_assert_float_eq(s[i], (float)sin(angle) * (float)amplitude);
    }
    rlx_rope_destroy(r);
}
END_TEST

START_TEST(length_can_be_given)
{
    const rlx_rope_spec spec = {
        .type = RLX_ROPE_DYNAMIC, .dim = 4, .theta = 10000, .factor = 2, .max_positions = 24};
    const int32_t pos[] = {0, 3, 29};
    rlx_rope *r;
    float whole_c[6], whole_s[6], part_c[4], part_s[4];
    assert_ok(rlx_rope_create(&spec, &r));
    rlx_rope_tables(r, pos, 3, whole_c, whole_s);
    rlx_rope_tables_for_length(r, 30, pos, 2, part_c, part_s);
    ck_assert_mem_eq(whole_c, part_c, sizeof(part_c));
    ck_assert_mem_eq(whole_s, part_s, sizeof(part_s));
    rlx_rope_tables(r, pos, 2, part_c, part_s); /* short enough: plain */
    ck_assert_mem_ne(whole_s, part_s, sizeof(part_s));
    rlx_rope_destroy(r);
}
END_TEST

static const struct {
    rlx_rope_spec spec;
    const char *error;
} wrong[] = {
    {{.dim = 7, .theta = 10000}, "rope: head_dim"},
    {{.dim = 8, .theta = 1}, "is 1, not above 1"},
    {{.type = RLX_ROPE_LINEAR, .dim = 8, .theta = 10000}, "rope: factor"},
    {{.type = RLX_ROPE_LLAMA3,
      .dim = 8,
      .theta = 10000,
      .factor = 2,
      .original = 8,
      .low = 4,
      .high = 1},
     "is 1, not above low_freq_factor"},
    {{.type = RLX_ROPE_YARN, .dim = 8, .theta = 10000, .factor = 2},
     "original_max_position_embeddings"},
    {{.type = RLX_ROPE_DYNAMIC, .dim = 8, .theta = 10000, .factor = 2}, "max_position_embeddings"},
    {{LONGROPE, .original = 1}, "rope: original_max_position_embeddings"},
    {{LONGROPE, .original = 64, .factor = -2}, "is -2, not a positive number"},
};
enum { NWRONG = sizeof(wrong) / sizeof(wrong[0]) };

START_TEST(refuses)
{
    rlx_rope *r;
    assert_error(rlx_rope_create(&wrong[_i].spec, &r), RLX_INVALID_ARGUMENT, wrong[_i].error);
    ck_assert_ptr_null(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rope");
    TCase *c = tcase_create("rope");
    tcase_add_loop_test(c, follows_the_formula, 0, NCASES);
    tcase_add_loop_test(c, frequencies_are_those_of_the_tables, 0, NCASES);
    tcase_add_test(c, length_can_be_given);
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    suite_add_tcase(s, c);
    return run_suite(s, 2 * NCASES + NWRONG + 1);
}
