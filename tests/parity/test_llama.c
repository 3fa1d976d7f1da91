/* tests/parity/test_llama.c: trained Llamas against an independent float64 forward pass, through
 * `rlx eval`: by prefill and step by step, on evaluators and machine code, on one thread and two.
 * Every way must also give the same bits. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/parity/parity.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define STORIES RLX_SHARED_DIR "/data/models/llama/stories260K/hf"

#define STORIES_GGUF RLX_SHARED_DIR "/data/models/llama/stories260K/stories260Ktok512.gguf"
#define LLAMA2XS RLX_SHARED_DIR "/data/models/llama/llama2xs-gguf-dev/llama2xs-"

static const double bound = 2e-4;

static const struct {
    const char *model, *path;
} goldens[] = {
    {BUNDLED, BUNDLED "/golden.safetensors"},
    {STORIES, STORIES "/golden0.safetensors"},
    {STORIES, STORIES "/golden1.safetensors"},
    {STORIES, STORIES "/golden2.safetensors"},
    {STORIES, STORIES "/golden3.safetensors"},
    {STORIES_GGUF, STORIES "/golden0.safetensors"},
    {LLAMA2XS "q8_0.gguf", LLAMA2XS "q8_0.golden.safetensors"},
    {LLAMA2XS "q5_1.gguf", LLAMA2XS "q5_1.golden.safetensors"},
    {LLAMA2XS "q4_0.gguf", LLAMA2XS "q4_0.golden.safetensors"},
};

static const struct {
    const char *device, *threads;
} places[] = {{"ref:mir", "1"},       {"ref:lir", "1"}, {"ref:lir", "2"}, {"cpu:x86-64-v3", "1"},
              {"cpu:x86-64-v3", "2"}, {"cpu", "1"},     {"cpu", "2"}};
enum { PLACES = sizeof places / sizeof *places, GOLDENS = sizeof goldens / sizeof *goldens };

static bool is_there(const char *path)
{
    if (access(path, R_OK) == 0)
        return true;
    ck_assert_msg(strncmp(path, BUNDLED, strlen(BUNDLED)), "%s is not there", path);
    printf("skipped: %s is not there\n", path);
    return false;
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
    for (int64_t i = 0; i < n; i++) {
        int64_t id = ((const int64_t *)got->data)[i];
        ck_assert_msg(id == want[i], "%s: new id %lld is %lld, not %lld", where, (long long)i,
                      (long long)id, (long long)want[i]);
    }
}

/* Every way to compute one golden file. */
START_TEST(golden)
{
    const char *path = goldens[_i].path;
    char where[600], count[32];
    if (!is_there(path))
        return;
    rlx_weights *g = parity_open(path), *first = NULL;
    const rlx_tensor *logits = parity_need(g, "logits_f64"), *greedy = parity_need(g, "greedy_ids");
    int64_t S = parity_need(g, "input_ids")->dim[0], N = greedy->dim[0] - S;
    ck_assert_int_ge(N, 32);
    snprintf(count, sizeof count, "%lld", (long long)N);
    for (int way = 0; way < 2 * PLACES; way++) {
        parity_way w = {.model = goldens[_i].model,
                        .inputs = path,
                        .device = places[way / 2].device,
                        .threads = places[way / 2].threads,
                        .decode_from = way % 2 ? "1" : NULL,
                        .generate = count};
        snprintf(where, sizeof where, "%s, %s, %s threads, %s", w.model, w.device, w.threads,
                 way % 2 ? "decode" : "prefill");
        rlx_weights *out = parity_eval(&w);
        check_logits(parity_need(out, "logits"), logits, where);
        check_ids(parity_need(out, "generated"), (const int64_t *)greedy->data + S, N, where);
        if (first) {
            check_same_bits(parity_need(first, "logits"), parity_need(out, "logits"), where);
            rlx_weights_destroy(out);
        } else {
            first = out;
        }
    }
    rlx_weights_destroy(first);
    rlx_weights_destroy(g);
}
END_TEST

/* 256 steps from the beginning-of-text token alone. */
START_TEST(greedy256)
{
    if (!is_there(STORIES "/golden_greedy256.safetensors"))
        return;
    rlx_weights *g = parity_open(STORIES "/golden_greedy256.safetensors");
    const rlx_tensor *ids = parity_need(g, "greedy_ids");
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
    parity_must(rlx_safetensors_write(in, &bos, 1, NULL));
    rlx_weights *out = parity_eval(&(parity_way){.model = STORIES,
                                                 .inputs = in,
                                                 .device = places[_i].device,
                                                 .threads = places[_i].threads,
                                                 .generate = "256"});
    check_ids(parity_need(out, "generated"), (const int64_t *)ids->data + 1, 256,
              places[_i].device);
    rlx_weights_destroy(out);
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
