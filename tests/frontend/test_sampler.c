/* tests/frontend/test_sampler.c: distributions worked out by hand; text that ends at a string. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/sampler.h"
#include "frontend/stop_filter.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Logits of probabilities in sixteenths: 1, 8, 2, 4, 1. */
static const double shares[] = {1, 8, 2, 4, 1};
enum { V = COUNT(shares) };

static void put_logits(float *logits)
{
    for (int i = 0; i < V; i++)
        logits[i] = (float)(log(shares[i]) + 3);
}

typedef struct outcome {
    int32_t id;
    double p;
} outcome;

static void must(rlx_status st)
{
    ck_assert_msg(!st, "%s", st ? rlx_status_message(st) : "");
}

/* The distribution is `want`, the likeliest first. */
static void expect(const rlx_sampling *how, const int32_t *last, int64_t nlast, const outcome *want,
                   int64_t n)
{
    float logits[V];
    rlx_sampler s;
    put_logits(logits);
    must(rlx_sampler_init(&s, how, 1, V));
    int64_t left = rlx_sampler_cut(&s, logits, last, nlast);
    ck_assert_int_eq(left, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t id;
        double p = rlx_sampler_probability(&s, left, i, &id);
        ck_assert_int_eq(id, want[i].id);
        ck_assert_double_eq_tol(p, want[i].p, 1e-6);
    }
    rlx_sampler_deinit(&s);
}
#define EXPECT(how, ...)                                                \
    expect(&(rlx_sampling)how, NULL, 0, (const outcome[]){__VA_ARGS__}, \
           COUNT(((const outcome[]){__VA_ARGS__})))
#define HOW(...)    \
    {               \
        __VA_ARGS__ \
    }

START_TEST(cuts)
{
    EXPECT(HOW(.temperature = 1), {1, 8. / 16}, {3, 4. / 16}, {2, 2. / 16}, {0, 1. / 16},
           {4, 1. / 16}); /* of equals the smaller id first */
    EXPECT(HOW(.temperature = 1, .top_k = 2), {1, 8. / 12}, {3, 4. / 12});
    EXPECT(HOW(.temperature = 1, .top_k = 9), {1, 8. / 16}, {3, 4. / 16}, {2, 2. / 16},
           {0, 1. / 16}, {4, 1. / 16});
    EXPECT(HOW(.temperature = 1, .top_p = 0.5), {1, 1});
    EXPECT(HOW(.temperature = 1, .top_p = 0.51), {1, 8. / 12}, {3, 4. / 12});
    EXPECT(HOW(.temperature = 1, .top_p = 0.76), {1, 8. / 14}, {3, 4. / 14}, {2, 2. / 14});
    EXPECT(HOW(.temperature = 1, .min_p = 0.2), {1, 8. / 14}, {3, 4. / 14}, {2, 2. / 14});
    EXPECT(HOW(.temperature = 1, .min_p = 0.3), {1, 8. / 12}, {3, 4. / 12});
    EXPECT(HOW(.temperature = 1, .min_p = 1), {1, 1});
}
END_TEST

/* Of a large vocabulary few candidates are looked at: the same ones, equals by id, some of them
 * penalised or no numbers. */
START_TEST(few_of_many)
{
    enum { MANY = 20011, K = 40 };
    static float logits[MANY];
    static bool taken[MANY];
    static const int32_t last[] = {5};
    for (int kind = 0; kind < 4;
         kind++) { /* plain; the last token is penalised; NaNs; a penalty of 1 */
        const bool penalised = kind == 1, counts = kind == 1 || kind == 3;
        const rlx_sampling how = {
            .temperature = 1, .top_k = K, .repeat_penalty = kind == 3 ? 1 : 2, .repeat_last_n = 1};
        rlx_sampler s, g;
        uint64_t random = 17;
        for (int i = 0; i < MANY; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            logits[i] = (float)((random >> 40) % 97); /* many equals */
            taken[i] = kind == 2 && i % 7 == 3;
            if (taken[i])
                logits[i] = NAN;
        }
        logits[5] = 200;
        must(rlx_sampler_init(&s, &how, 1, MANY));
        must(rlx_sampler_init(&g, &(rlx_sampling){0}, 1, MANY));
        ck_assert_int_eq(rlx_sampler_choose(&g, logits, last, 1), 5);
        ck_assert_int_eq(rlx_sampler_cut(&s, logits, last, counts), K);
        ck_assert(penalised ? s.count == MANY : s.count < MANY / 4);
        for (int i = 0; i < K; i++) {
            int32_t id = 0, want = -1;
            rlx_sampler_probability(&s, K, i, &id);
            for (int v = 0; v < MANY; v++) {
                const bool more = want < 0 || logits[v] > logits[want];
                if (!taken[v] && more && !(penalised && v == 5 && want >= 0 && logits[want] >= 100))
                    want = v;
            }
            ck_assert_int_eq(id, want);
            taken[want] = true;
        }
        rlx_sampler_deinit(&s);
        rlx_sampler_deinit(&g);
    }
}
END_TEST

/* No NaN is chosen before a number, wherever it stands. */
START_TEST(numbers_before_nans)
{
    enum { N = 9, NUMBERS = 4 };
    static const float logits[N] = {NAN, 1, NAN, 3, 2, NAN, NAN, -7, NAN}, none[] = {NAN, NAN};
    static const int32_t last[] = {2, 3}, order[NUMBERS] = {3, 4, 1, 7};
    rlx_sampling how = {.temperature = 1, .repeat_penalty = 1, .repeat_last_n = 64};
    rlx_sampler s;
    must(rlx_sampler_init(&s, &how, 1, N));
    ck_assert_int_eq(rlx_sampler_cut(&s, logits, last, 2), N);
    for (int i = 0; i < N; i++) {
        int32_t id;
        const double p = rlx_sampler_probability(&s, N, i, &id);
        ck_assert(i < NUMBERS ? id == order[i] && p > 0 : isnan(logits[id]) && p == 0);
    }
    rlx_sampler_deinit(&s);
    how.temperature = 0;
    must(rlx_sampler_init(&s, &how, 1, N));
    ck_assert(rlx_sampler_is_greedy(&s));
    ck_assert_int_eq(rlx_sampler_choose(&s, logits, last, 2), 3);
    s.how.repeat_penalty = 2; /* 3 becomes 1.5; the NaN stays none */
    ck_assert(!rlx_sampler_is_greedy(&s));
    ck_assert_int_eq(rlx_sampler_choose(&s, logits, last, 2), 4);
    s.vocab = 2;
    ck_assert_int_eq(rlx_sampler_choose(&s, none, NULL, 0), 0);
    rlx_sampler_deinit(&s);
}
END_TEST

/* top_p is a share of what top_k left: 8/12 alone reach 0.6; min_p of what both left. Temperature
 * comes last: it changes no cut. */
START_TEST(order)
{
    EXPECT(HOW(.temperature = 1, .top_k = 2, .top_p = 0.6), {1, 1});
    EXPECT(HOW(.temperature = 1, .top_k = 3, .top_p = 0.8), {1, 8. / 12}, {3, 4. / 12});
    EXPECT(HOW(.temperature = 1, .top_k = 3, .top_p = 0.9, .min_p = 0.3), {1, 8. / 12},
           {3, 4. / 12});
    /* At temperature 2 weights are roots: 2.828, 2, 1.414. */
    const double sum = sqrt(8) + 2 + sqrt(2);
    EXPECT(HOW(.temperature = 2, .min_p = 0.2), {1, sqrt(8) / sum}, {3, 2 / sum},
           {2, sqrt(2) / sum});
    EXPECT(HOW(.temperature = 0.5, .top_k = 2), {1, 64. / 80}, {3, 16. / 80});
}
END_TEST

/* A penalty of 2 halves positive logits, once however often a token was there. */
START_TEST(penalty)
{
    static const int32_t last[] = {1, 3, 3};
    float logits[V];
    put_logits(logits);
    const double a = exp(logits[1] / 2.), b = exp(logits[3] / 2.), c = exp(logits[2]),
                 d = exp(logits[0]), sum = a + b + c + 2 * d;
    rlx_sampling how = {.temperature = 1, .repeat_penalty = 2, .repeat_last_n = -1};
    const outcome all[] = {{2, c / sum}, {0, d / sum}, {4, d / sum}, {1, a / sum}, {3, b / sum}};
    expect(&how, last, 3, all, V);
    how.repeat_last_n = 2; /* the 1 is out of sight */
    const double one = exp(logits[1]), rest = one + b + c + 2 * d;
    const outcome some[] = {
        {1, one / rest}, {2, c / rest}, {0, d / rest}, {4, d / rest}, {3, b / rest}};
    expect(&how, last, 3, some, V);
    how.repeat_last_n = 0;
    const outcome none[] = {{1, 8. / 16}, {3, 4. / 16}, {2, 2. / 16}, {0, 1. / 16}, {4, 1. / 16}};
    expect(&how, last, 3, none, V);
}
END_TEST

START_TEST(negative_logits_are_multiplied)
{
    static const float logits[] = {-1, -1.5f};
    static const int32_t last[] = {0};
    rlx_sampler s;
    must(rlx_sampler_init(&s, &(rlx_sampling){.repeat_penalty = 2, .repeat_last_n = 1}, 0, 2));
    ck_assert_int_eq(rlx_sampler_choose(&s, logits, last, 0), 0);
    ck_assert_int_eq(rlx_sampler_choose(&s, logits, last, 1), 1); /* -2 < -1.5 */
    rlx_sampler_deinit(&s);
}
END_TEST

/* All-zero is the likeliest; of equals the first. */
START_TEST(greedy)
{
    static const float logits[] = {-3, 2, 2, -INFINITY};
    rlx_sampler s;
    must(rlx_sampler_init(&s, &(rlx_sampling){0}, 5, 4));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(rlx_sampler_choose(&s, logits, NULL, 0), 1);
    rlx_sampler_deinit(&s);
}
END_TEST

/* Frequencies of many draws: within four standard deviations; the same seed draws the same. */
START_TEST(draws)
{
    enum { N = 40000 };
    float logits[V];
    int count[V] = {0};
    rlx_sampler a, b, c;
    bool differs = false;
    put_logits(logits);
    const rlx_sampling how = {.temperature = 1, .top_k = 3};
    must(rlx_sampler_init(&a, &how, 7, V));
    must(rlx_sampler_init(&b, &how, 7, V));
    must(rlx_sampler_init(&c, &how, 8, V));
    for (int i = 0; i < N; i++) {
        int32_t id = rlx_sampler_choose(&a, logits, NULL, 0);
        ck_assert_int_eq(id, rlx_sampler_choose(&b, logits, NULL, 0));
        differs |= id != rlx_sampler_choose(&c, logits, NULL, 0);
        count[id]++;
    }
    ck_assert(differs);
    for (int i = 0; i < V; i++) {
        double p = shares[i] > 1 ? shares[i] / 14 : 0, off = fabs(count[i] - N * p);
        ck_assert_msg(off <= 4 * sqrt(N * p * (1 - p)), "token %d: %d of %d", i, count[i], N);
    }
    rlx_sampler_deinit(&a);
    rlx_sampler_deinit(&b);
    rlx_sampler_deinit(&c);
}
END_TEST

START_TEST(refusals)
{
    static const rlx_sampling bad[] = {{.temperature = -1},    {.temperature = INFINITY},
                                       {.temperature = NAN},   {.top_k = -1},
                                       {.top_p = 1.5},         {.top_p = NAN},
                                       {.min_p = -0.1},        {.repeat_penalty = -2},
                                       {.repeat_penalty = NAN}};
    static const char *const names[] = {"temperature", "temperature",    "temperature",
                                        "top_k",       "top_p",          "top_p",
                                        "min_p",       "repeat_penalty", "repeat_penalty"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        rlx_status st = rlx_sampling_check(&bad[i]);
        ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(rlx_status_message(st), names[i]));
        rlx_status_free(st);
    }
}
END_TEST

/* ---- stop strings */

static bool append(void *user, const char *utf8, size_t n)
{
    rlx_text_put_bytes(user, utf8, n);
    rlx_text_put(user, "|");
    return true;
}

static const char *const stops[] = {"END", "\n\n", "ENDE", "x\xc3\xa9"};

/* The pieces come out as `want`, with a bar behind each. */
static void expect_pieces(const char *const *pieces, bool stopped, const char *want)
{
    rlx_text got = {0};
    rlx_stop_filter f = {stops, COUNT(stops), append, &got, {0}, false, false};
    bool on = true;
    for (; *pieces && on; pieces++)
        on = rlx_stop_filter_put(&f, *pieces, strlen(*pieces));
    ck_assert(on == !stopped && f.closed == stopped);
    ck_assert(rlx_stop_filter_end(&f));
    ck_assert_str_eq(got.data ? got.data : "", want);
    rlx_stop_filter_deinit(&f);
    rlx_text_deinit(&got);
}
#define PIECES(stopped, want, ...) \
    expect_pieces((const char *const[]){__VA_ARGS__, NULL}, stopped, want)

START_TEST(stop_strings)
{
    PIECES(false, "a|b|", "a", "b");
    PIECES(true, "a|", "aENDb", "c");
    PIECES(true, "a|", "aE", "N", "D", "c"); /* over pieces: what may begin it waits */
    PIECES(true, "", "END");
    PIECES(false, "a|EN|", "aEN");      /* the text ended before it did */
    PIECES(false, "EENz|", "E", "ENz"); /* it did not come: all is there */
    PIECES(true, "E|", "EE", "ND");
    PIECES(true, "a|", "a\n", "\n");
    PIECES(false, "a|\nb|", "a\n", "b");
    PIECES(true, "ax|", "axx\xc3\xa9");
    PIECES(false, "a|x|", "ax");
}
END_TEST

static bool refuse(void *user, const char *utf8, size_t n)
{
    (void)utf8, (void)n;
    ++*(int *)user;
    return false;
}

START_TEST(who_says_stop_gets_no_more)
{
    int calls = 0;
    rlx_stop_filter f = {stops, COUNT(stops), refuse, &calls, {0}, false, false};
    ck_assert(!rlx_stop_filter_put(&f, "aEN", 3));
    ck_assert(rlx_stop_filter_end(&f));
    ck_assert_int_eq(calls, 1);
    rlx_stop_filter_deinit(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sampler");
    TCase *c = tcase_create("sampler");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, cuts);
    tcase_add_test(c, few_of_many);
    tcase_add_test(c, numbers_before_nans);
    tcase_add_test(c, order);
    tcase_add_test(c, penalty);
    tcase_add_test(c, negative_logits_are_multiplied);
    tcase_add_test(c, greedy);
    tcase_add_test(c, draws);
    tcase_add_test(c, refusals);
    tcase_add_test(c, stop_strings);
    tcase_add_test(c, who_says_stop_gets_no_more);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 11;
    srunner_free(r);
    return bad;
}
