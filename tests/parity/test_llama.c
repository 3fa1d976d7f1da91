/* tests/parity/test_llama.c: a trained Llama against an independent float64 forward pass, through
 * `rlx eval`: by prefill and step by step, on evaluators and machine code, on one thread and two.
 * Every way must also give the same bits. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/tool/process.h"

#define MODEL RLX_SHARED_DIR "/data/models/llama/stories260K/hf"

static const double bound = 2e-4;

static const struct {
    const char *device, *threads;
} places[] = {{"ref:mir", "1"},       {"ref:lir", "1"}, {"ref:lir", "2"}, {"cpu:x86-64-v3", "1"},
              {"cpu:x86-64-v3", "2"}, {"cpu", "1"},     {"cpu", "2"}};
enum { PLACES = sizeof places / sizeof *places, GOLDENS = 4 };

static bool have_model(void)
{
    if (access(MODEL "/config.json", R_OK) == 0)
        return true;
    printf("skipped: %s is not there\n", MODEL);
    return false;
}

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

static rlx_weights *open_file(const char *path)
{
    rlx_weights *w;
    must(rlx_weights_create(&w));
    must(rlx_weights_add_safetensors(w, path));
    return w;
}

static const rlx_tensor *need(const rlx_weights *w, const char *name)
{
    const rlx_tensor *t = rlx_weights_find(w, name);
    ck_assert_msg(t != NULL, "no tensor \"%s\"", name);
    return t;
}

static rlx_weights *eval(int place, const char *inputs, const char *decode_from,
                         const char *generate)
{
    char out[] = "/tmp/rlx-parity-XXXXXX";
    int fd = mkstemp(out);
    ck_assert_int_ge(fd, 0);
    close(fd);
    process p;
    RUN(&p, RLX_TOOL, "eval", MODEL, "--inputs", inputs, "--outputs", out, "--device",
        places[place].device, "-t", places[place].threads, "--generate", generate,
        decode_from ? "--decode-from" : "--threads",
        decode_from ? decode_from : places[place].threads);
    ck_assert_msg(p.code == 0, "on %s: %s", places[place].device, p.err);
    process_free(&p);
    rlx_weights *w = open_file(out); /* stays mapped */
    unlink(out);
    return w;
}

static void check_logits(const rlx_tensor *got, const rlx_tensor *want, const char *where)
{
    ck_assert_int_eq(want->rank, 2);
    ck_assert_int_eq(got->rank, 3);
    ck_assert_int_eq(got->format, RLX_F32);
    ck_assert_int_eq(got->dim[0], 1);
    ck_assert_int_eq(got->dim[1], want->dim[0]);
    ck_assert_int_eq(got->dim[2], want->dim[1]);
    for (int64_t s = 0; s < want->dim[0]; s++)
        for (int64_t v = 0; v < want->dim[1]; v++) {
            int64_t i = s * want->dim[1] + v;
            double g = ((const float *)got->data)[i], w = ((const double *)want->data)[i];
            ck_assert_msg(fabs(g - w) <= bound, "%s: position %lld, id %lld: %.7g, not %.7g", where,
                          (long long)s, (long long)v, g, w);
        }
}

static void check_same_bits(const rlx_tensor *a, const rlx_tensor *b, const char *where)
{
    ck_assert_uint_eq(a->bytes, b->bytes);
    ck_assert_msg(!memcmp(a->data, b->data, a->bytes), "%s: other bits than the first way", where);
}

static void check_ids(const rlx_tensor *got, const int64_t *want, int64_t n, const char *where)
{
    ck_assert_int_eq(got->dim[1], n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(((const int64_t *)got->data)[i] == want[i],
                      "%s: new id %lld is %lld, not %lld", where, (long long)i,
                      (long long)((const int64_t *)got->data)[i], (long long)want[i]);
}

/* Every way to compute one golden file. */
START_TEST(golden)
{
    if (!have_model())
        return;
    char path[512], where[128], count[32];
    snprintf(path, sizeof path, "%s/golden%d.safetensors", MODEL, _i);
    rlx_weights *g = open_file(path), *first = NULL;
    const rlx_tensor *logits = need(g, "logits_f64"), *greedy = need(g, "greedy_ids");
    int64_t S = need(g, "input_ids")->dim[0], N = greedy->dim[0] - S;
    ck_assert_int_ge(N, 40);
    snprintf(count, sizeof count, "%lld", (long long)N);
    int ways = 0;
    for (int place = 0; place < PLACES; place++)
        for (int decode = 0; decode < 2; decode++, ways++) {
            snprintf(where, sizeof where, "golden%d, %s, %s threads, %s", _i, places[place].device,
                     places[place].threads, decode ? "decode" : "prefill");
            rlx_weights *w = eval(place, path, decode ? "1" : NULL, count);
            check_logits(need(w, "logits"), logits, where);
            check_ids(need(w, "generated"), (const int64_t *)greedy->data + S, N, where);
            if (first) {
                check_same_bits(need(first, "logits"), need(w, "logits"), where);
                rlx_weights_destroy(w);
            } else {
                first = w;
            }
        }
    ck_assert_int_eq(ways, 2 * PLACES);
    rlx_weights_destroy(first);
    rlx_weights_destroy(g);
}
END_TEST

/* 256 steps from the beginning-of-text token alone. */
START_TEST(greedy256)
{
    if (!have_model())
        return;
    rlx_weights *g = open_file(MODEL "/golden_greedy256.safetensors");
    const rlx_tensor *ids = need(g, "greedy_ids");
    char in[] = "/tmp/rlx-parity-XXXXXX";
    int fd = mkstemp(in);
    ck_assert_int_ge(fd, 0);
    close(fd);
    rlx_tensor bos = {.name = "input_ids",
                      .format = RLX_I64,
                      .rank = 2,
                      .dim = {1, 1},
                      .data = ids->data,
                      .bytes = sizeof(int64_t)};
    must(rlx_safetensors_write(in, &bos, 1, NULL));
    rlx_weights *w = eval(_i, in, NULL, "256");
    check_ids(need(w, "generated"), (const int64_t *)ids->data + 1, 256, places[_i].device);
    rlx_weights_destroy(w);
    rlx_weights_destroy(g);
    unlink(in);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parity_llama");
    TCase *c = tcase_create("parity_llama");
    tcase_set_timeout(c, 200);
    tcase_add_loop_test(c, golden, 0, GOLDENS);
    tcase_add_loop_test(c, greedy256, 0, PLACES);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < GOLDENS + PLACES;
    srunner_free(r);
    return bad;
}
