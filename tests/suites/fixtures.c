/* tests/suites/fixtures.c: a folder with case.json, inputs.safetensors, expected.safetensors and a
 * checkpoint (a directory's or model.gguf). case.json gives each output's noise and scale, which
 * make its bound, and the greedy continuation of the first row. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites/suites.h"

enum { MAX_GREEDY = 256 };

typedef struct fixture {
    const char *dir;
    cJSON *json;
    rlx_weights *expected;
    const rlx_tensor *want[MAX_PROBES + 8]; /* in the order of the computation */
    int nwant;
    int64_t S; /* positions of the input; 0: it has no input_ids */
    int64_t greedy[MAX_GREEDY];
    int ngreedy;
} fixture;

static cJSON *read_json(const char *dir)
{
    char path[PATH_CHARS];
    static char text[1 << 20];
    snprintf(path, sizeof path, "%s/case.json", dir);
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return cJSON_Parse(text);
}

static double number(const fixture *x, const char *key, const char *name, double absent)
{
    const cJSON *v =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(x->json, key), name);
    return cJSON_IsNumber(v) ? v->valuedouble : absent;
}

/* The modules of a layer as they return; of others we know only that the layer is last. */
static const char *const in_layer[] = {
    ".input_layernorm", ".q_proj",    ".k_proj",
    ".v_proj",          ".q_norm",    ".k_norm",
    ".o_proj",          ".self_attn", ".post_attention_layernorm",
    ".gate_proj",       ".act_fn",    ".up_proj",
    ".down_proj",       ".mlp"};
enum { IN_LAYER = sizeof in_layer / sizeof *in_layer };

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && !strcmp(name + n - k, end);
}

/* Earlier parts of a model first, so that the first wrong one is named. */
static int64_t order_of(const char *name)
{
    const char *layer = strstr(name, "layers.");
    char *rest;
    if (strncmp(name, "probe:", 6))
        return INT64_MAX;
    if (!layer && (strstr(name, "embed") || strstr(name, "rotary")))
        return -1;
    if (!layer)
        return INT64_MAX - (ends_with(name, "lm_head") ? 1 : 2);
    const int64_t index = strtoll(layer + 7, &rest, 10) * (IN_LAYER + 2);
    int i = 0;
    while (*rest && i < IN_LAYER && !ends_with(rest, in_layer[i]))
        i++;
    return index + (*rest ? i : IN_LAYER + 1);
}

static int compare_order(const void *a, const void *b)
{
    const int64_t x = order_of((*(const rlx_tensor *const *)a)->name);
    const int64_t y = order_of((*(const rlx_tensor *const *)b)->name);
    return (x > y) - (x < y);
}

/* The reference's greedy ids, where its cached decoding agrees with recomputing. */
static void read_greedy(fixture *x)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(x->json, "greedy");
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(x->json, "greedy_cached_same")))
        return;
    for (const cJSON *v = list ? list->child : NULL; v && x->ngreedy < MAX_GREEDY; v = v->next)
        x->greedy[x->ngreedy++] = (int64_t)v->valuedouble;
}

static rlx_status read_length(fixture *x)
{
    char path[PATH_CHARS];
    rlx_weights *inputs;
    snprintf(path, sizeof path, "%s/inputs.safetensors", x->dir);
    rlx_status st = rlx_weights_create(&inputs);
    if (st)
        return st;
    st = rlx_weights_add_safetensors(inputs, path);
    const rlx_tensor *ids = st ? NULL : rlx_weights_find(inputs, "input_ids");
    x->S = ids && ids->rank ? ids->dim[ids->rank - 1] : 0;
    rlx_weights_destroy(inputs);
    return st;
}

static rlx_status read_expected(fixture *x)
{
    char path[PATH_CHARS];
    snprintf(path, sizeof path, "%s/expected.safetensors", x->dir);
    rlx_status st = rlx_weights_create(&x->expected);
    if (!st)
        st = rlx_weights_add_safetensors(x->expected, path);
    for (int i = 0; !st && i < rlx_weights_count(x->expected) && x->nwant < MAX_PROBES; i++)
        if (strcmp(rlx_weights_at(x->expected, i)->name, "valid"))
            x->want[x->nwant++] = rlx_weights_at(x->expected, i);
    qsort(x->want, (size_t)x->nwant, sizeof *x->want, compare_order);
    return st;
}

/* Whether every output of a run is as expected; the first that is not goes into the line. */
static bool check_run(conformance *c, const fixture *x, const char *where, const eval_run *r)
{
    const rlx_tensor *valid = rlx_weights_find(x->expected, "valid");
    mismatch m;
    for (int i = 0; i < x->nwant; i++) {
        const rlx_tensor *want = x->want[i], *got = rlx_weights_find(r->out, want->name);
        const double bound = 1e-4 * fmax(1, number(x, "scale", want->name, 1)) +
                             10 * number(x, "noise", want->name, 0);
        if (!got)
            snprintf(m.text, sizeof m.text, "is no output");
        if (got && is_within(got, want, valid, bound, &m))
            continue;
        case_failed(c, where, "%s %s", want->name, m.text);
        return false;
    }
    const rlx_tensor *ids = x->ngreedy ? rlx_weights_find(r->out, "generated") : NULL;
    for (int i = 0; i < x->ngreedy; i++)
        if (!ids || element(ids, i) != (double)x->greedy[i]) {
            case_failed(c, where, "greedy id %d is %lld, not %lld", i,
                        ids ? (long long)element(ids, i) : -1, (long long)x->greedy[i]);
            return false;
        }
    return true;
}

/* One way: false ends the case, which then has its outcome. */
static bool run_way(conformance *c, const fixture *x, way w)
{
    char inputs[PATH_CHARS], where[PATH_CHARS], model[PATH_CHARS];
    snprintf(model, sizeof model, has_file(x->dir, "config.json") ? "%s" : "%s/model.gguf", x->dir);
    snprintf(inputs, sizeof inputs, "%s/inputs.safetensors", x->dir);
    put_way(x->dir, &w, where);
    eval_run r = {.model = model, .inputs = inputs, .way = w, .generate = x->ngreedy};
    for (int i = 0; i < x->nwant; i++)
        if (!strncmp(x->want[i]->name, "probe:", 6))
            r.probe[r.nprobes++] = x->want[i]->name + 6;
    if (case_broke(c, where, eval_run_start(c, &r)))
        return false;
    bool ok = r.out && check_run(c, x, where, &r);
    if (!r.out) {
        const char *family = r.error ? strstr(r.error, "no family \"") : NULL;
        if (!family && r.error) /* of a GGUF file */
            family = strstr(r.error, "general.architecture: \"");
        if (family)
            case_skipped(c, x->dir, "%.*s", (int)strcspn(family, ";\n"), family);
        else
            case_failed(c, where, "%s", r.error ? r.error : "it said nothing");
    }
    eval_run_deinit(&r);
    return ok;
}

void fixtures_run(conformance *c, const char *dir)
{
    fixture x = {.dir = dir};
    if (!has_file(dir, "case.json"))
        return;
    if (!has_file(dir, "config.json") && !has_file(dir, "model.gguf")) {
        case_skipped(c, dir, "no config.json or model.gguf");
        return;
    }
    x.json = read_json(dir);
    if (!x.json) {
        case_failed(c, dir, "case.json is no JSON");
        return;
    }
    read_greedy(&x);
    bool ok = !case_broke(c, dir, read_expected(&x)) && !case_broke(c, dir, read_length(&x));
    if (ok && x.nwant == MAX_PROBES) {
        case_failed(c, dir, "%d or more outputs are too many", MAX_PROBES);
        ok = false;
    }
    for (int i = 0; ok && i < c->nways; i++)
        ok = run_way(c, &x, way_of(c, i, x.S));
    if (ok)
        case_passed(c);
    cJSON_Delete(x.json);
    rlx_weights_destroy(x.expected);
}
