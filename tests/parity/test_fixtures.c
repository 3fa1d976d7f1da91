/* tests/parity/test_fixtures.c: small checkpoints with the reference implementation's outputs and
 * probes, one folder per case, beside the project. A case's own noise and scale give its bounds. */
#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "tests/parity/parity.h"

enum { MAX_CASES = 64, MAX_PROBES = 16, MAX_GREEDY = 256 };

/* Families that rlx has, and the least number of their cases that must be found. */
static const struct {
    const char *family;
    int floor;
} families[] = {{"llama32", 18}, {"mistral", 4}, {"qwen2", 4}, {"qwen3", 8}, {"smollm3", 4}};

static const struct {
    const char *device, *decode_from;
} ways[] = {
    {"cpu", NULL}, {"cpu", "1"}, {"cpu:x86-64-v3", "5"}, {"ref:lir", NULL}, {"ref:mir", "3"}};
enum { WAYS = sizeof ways / sizeof *ways };

static bool has_file(const char *dir, const char *file)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return access(path, R_OK) == 0;
}

static cJSON *read_case(const char *dir)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/case.json", dir);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    static char text[1 << 16];
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    cJSON *c = cJSON_Parse(text);
    ck_assert_msg(c != NULL, "%s", path);
    return c;
}

static double number(const cJSON *c, const char *key, const char *name)
{
    const cJSON *o = cJSON_GetObjectItem(c, key);
    const cJSON *v = cJSON_IsObject(o) ? cJSON_GetObjectItem(o, name) : o;
    ck_assert_msg(cJSON_IsNumber(v), "case.json has no %s of %s", key, name);
    return v->valuedouble;
}

/* Every expected value at a valid position. */
static void compare(const rlx_tensor *got, const rlx_tensor *want, const rlx_tensor *valid,
                    const cJSON *c, const char *where)
{
    double bound =
        1e-4 * fmax(1, number(c, "scale", want->name)) + 10 * number(c, "noise", want->name);
    int64_t rows = want->dim[0] * want->dim[1], width = want->dim[2];
    ck_assert_int_eq(want->rank, 3);
    ck_assert_int_eq(got->rank, 3);
    for (int d = 0; d < 3; d++)
        ck_assert_msg(got->dim[d] == want->dim[d], "%s: %s has another shape", where, want->name);
    int64_t compared = 0;
    for (int64_t r = 0; r < rows; r++) {
        if (valid && !((const int64_t *)valid->data)[r])
            continue;
        compared++;
        for (int64_t i = r * width; i < (r + 1) * width; i++) {
            double g = ((const float *)got->data)[i], w = ((const float *)want->data)[i];
            ck_assert_msg(fabs(g - w) <= bound,
                          "%s: %s, position %lld, element %lld: %.7g, not %.7g (bound %.2g)", where,
                          want->name, (long long)r, (long long)(i - r * width), g, w, bound);
        }
    }
    ck_assert_int_gt(compared, 0);
}

/* The first row's greedy ids, where the reference's cached decoding gives the same as recomputing.
 */
static int greedy_ids(const cJSON *c, int64_t *ids)
{
    const cJSON *list = cJSON_GetObjectItem(c, "greedy"), *v;
    int n = 0;
    if (!cJSON_IsTrue(cJSON_GetObjectItem(c, "greedy_cached_same")))
        return 0;
    cJSON_ArrayForEach(v, list)
    {
        ck_assert_int_lt(n, MAX_GREEDY);
        ids[n++] = v->valueint;
    }
    return n;
}

static void run_case(const char *dir)
{
    char inputs[2048], path[2048], where[2048], count[16];
    const char *probes[MAX_PROBES];
    int64_t greedy[MAX_GREEDY];
    int nprobes = 0;
    snprintf(inputs, sizeof inputs, "%s/inputs.safetensors", dir);
    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    rlx_weights *expected = parity_open(path);
    cJSON *c = read_case(dir);
    int ngreedy = greedy_ids(c, greedy);
    snprintf(count, sizeof count, "%d", ngreedy);
    for (int i = 0; i < rlx_weights_count(expected); i++) {
        const char *name = rlx_weights_at(expected, i)->name;
        if (!strncmp(name, "probe:", 6)) {
            ck_assert_int_lt(nprobes, MAX_PROBES);
            probes[nprobes++] = name + 6;
        }
    }
    for (int way = 0; way < WAYS; way++) {
        parity_way w = {.model = dir,
                        .inputs = inputs,
                        .device = ways[way].device,
                        .decode_from = ways[way].decode_from,
                        .generate = ngreedy ? count : NULL,
                        .probes = probes,
                        .nprobes = nprobes};
        snprintf(where, sizeof where, "%s on %s, decode from %s", dir, w.device,
                 w.decode_from ? w.decode_from : "nowhere");
        rlx_weights *out = parity_eval(&w);
        for (int i = 0; i < rlx_weights_count(expected); i++) {
            const rlx_tensor *want = rlx_weights_at(expected, i);
            if (strcmp(want->name, "valid"))
                compare(parity_need(out, want->name), want, rlx_weights_find(expected, "valid"), c,
                        where);
        }
        for (int i = 0; i < ngreedy; i++) {
            int64_t id = ((const int64_t *)parity_need(out, "generated")->data)[i];
            ck_assert_msg(id == greedy[i], "%s: new id %d is %lld, not %lld", where, i,
                          (long long)id, (long long)greedy[i]);
        }
        rlx_weights_destroy(out);
    }
    cJSON_Delete(c);
    rlx_weights_destroy(expected);
}

START_TEST(family)
{
    char root[512], dir[1024];
    snprintf(root, sizeof root, RLX_SHARED_DIR "/fixtures/%s", families[_i].family);
    DIR *d = opendir(root);
    if (!d) {
        printf("skipped: %s is not there\n", root);
        return;
    }
    int cases = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        snprintf(dir, sizeof dir, "%s/%s", root, e->d_name);
        if (!has_file(dir, "case.json"))
            continue;
        if (!has_file(dir, "model.safetensors") && !has_file(dir, "model.safetensors.index.json"))
            continue; /* GGUF */
        run_case(dir);
        cases++;
    }
    closedir(d);
    ck_assert_int_ge(cases, families[_i].floor);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parity_fixtures");
    TCase *c = tcase_create("parity_fixtures");
    tcase_set_timeout(c, 200);
    tcase_add_loop_test(c, family, 0, sizeof families / sizeof *families);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 1;
    srunner_free(r);
    return bad;
}
