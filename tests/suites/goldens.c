/* tests/suites/goldens.c: trained or published checkpoints with numbers of an independent
 * implementation: golden*.safetensors in a model's folder, NAME.golden.safetensors beside
 * NAME.gguf. They hold input_ids [S], logits_f64 [S,V] or hidden_state [S,H], and greedy_ids, which
 * begin with the input (one without input_ids begins with the first of them alone). */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/suites/suites.h"

static const double bound = 2e-4; /* of f32 arithmetic against f64 */

typedef struct golden {
    const char *model, *path; /* what runs, and its golden file */
    rlx_weights *file;
    char inputs[32]; /* a file made for the run, or "" */
} golden;

static bool check_run(conformance *c, const golden *g, const char *where, const eval_run *r)
{
    static const char *const names[][2] = {{"logits_f64", "logits"},
                                           {"hidden_state", "last_hidden_state"}};
    mismatch m;
    for (int i = 0; i < 2; i++) {
        const rlx_tensor *want = rlx_weights_find(g->file, names[i][0]);
        const rlx_tensor *got = rlx_weights_find(r->out, names[i][1]);
        if (!want)
            continue;
        if (!got)
            snprintf(m.text, sizeof m.text, "is no output");
        if (got && is_within(got, want, NULL, bound, &m))
            continue;
        case_failed(c, where, "%s %s", names[i][1], m.text);
        return false;
    }
    const rlx_tensor *ids = rlx_weights_find(g->file, "greedy_ids");
    const rlx_tensor *new_ids = rlx_weights_find(r->out, "generated");
    for (int64_t i = 0; i < r->generate; i++) {
        const double want = element(ids, ids->dim[0] - r->generate + i);
        if (!new_ids || element(new_ids, i) != want) {
            case_failed(c, where, "greedy id %lld is %g, not %g", (long long)i,
                        new_ids ? element(new_ids, i) : -1, want);
            return false;
        }
    }
    return true;
}

/* The run's input: the golden itself, or a file with the first greedy id. */
static rlx_status make_inputs(golden *g, int64_t *given)
{
    const rlx_tensor *ids = rlx_weights_find(g->file, "input_ids");
    const rlx_tensor *greedy = rlx_weights_find(g->file, "greedy_ids");
    *given = ids ? ids->dim[ids->rank - 1] : 1;
    if (ids || !greedy)
        return NULL;
    rlx_tensor first = {"input_ids", greedy->format, 2, {1, 1}, greedy->data, sizeof(int64_t)};
    snprintf(g->inputs, sizeof g->inputs, "/tmp/rlx-golden-XXXXXX");
    int fd = mkstemp(g->inputs);
    if (fd >= 0)
        close(fd);
    return rlx_safetensors_write(g->inputs, &first, 1, NULL);
}

static bool run_ways(conformance *c, golden *g)
{
    int64_t given;
    const rlx_tensor *greedy = rlx_weights_find(g->file, "greedy_ids");
    if (case_broke(c, g->path, make_inputs(g, &given)))
        return false;
    bool ok = true;
    for (int i = 0; ok && i < c->nways; i++) {
        eval_run r = {.model = g->model,
                      .inputs = *g->inputs ? g->inputs : g->path,
                      .way = way_of(c, i, given),
                      .generate = greedy ? greedy->dim[0] - given : 0};
        char where[PATH_CHARS];
        put_way(g->path, &r.way, where);
        if (case_broke(c, where, eval_run_start(c, &r)))
            return false;
        if (!r.out)
            case_failed(c, where, "%s", r.error ? r.error : "it said nothing");
        ok = r.out && check_run(c, g, where, &r);
        eval_run_deinit(&r);
    }
    return ok;
}

static void run_file(conformance *c, const char *dir, const char *name)
{
    char path[PATH_CHARS];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    golden g = {.model = dir, .path = path};
    char model[PATH_CHARS];
    const char *suffix = strstr(name, ".golden.safetensors");
    if (suffix) { /* of NAME.gguf */
        snprintf(model, sizeof model, "%s/%.*s.gguf", dir, (int)(suffix - name), name);
        g.model = model;
    } else if (!has_file(dir, "config.json") || (!has_file(dir, "model.safetensors") &&
                                                 !has_file(dir, "model.safetensors.index.json"))) {
        case_skipped(c, path, "no config.json with model.safetensors beside it");
        return;
    }
    bool ok = !case_broke(c, path, rlx_weights_create(&g.file)) &&
              !case_broke(c, path, rlx_weights_add_safetensors(g.file, path)) && run_ways(c, &g);
    if (ok)
        case_passed(c);
    if (*g.inputs)
        unlink(g.inputs);
    rlx_weights_destroy(g.file);
}

static int is_golden(const struct dirent *d)
{
    const char *end = strstr(d->d_name, ".safetensors");
    return end && !end[12] &&
           (!strncmp(d->d_name, "golden", 6) || strstr(d->d_name, ".golden.safetensors"));
}

void goldens_run(conformance *c, const char *dir)
{
    struct dirent **list;
    int n = scandir(dir, &list, is_golden, alphasort);
    for (int i = 0; i < n; i++) {
        run_file(c, dir, list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}
