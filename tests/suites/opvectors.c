/* tests/suites/opvectors.c: operators of the ONNX backend suite as compiled code. Each .safetensors
 * file of a folder is a case: it becomes a flow (onnx/), is compiled and run, and the results are
 * held against the expected ones, as that suite does: 1e-3 relative and 1e-7, whole numbers
 * exactly. ref:mir must give the same bits, and what the evaluator of HIR makes of the flow is held
 * against the expected, too. `--device cpu:x86-64-v3` masks features; with ref:lir the interpreter
 * runs the tape. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"
#include "tests/suites/onnx/onnx.h"
#include "tests/suites/suites.h"

#define RELATIVE 1e-3
#define ABSOLUTE 1e-7

/* The flow of a case on a device. */
typedef struct engine {
    rlx_executable *executable;
    rlx_session *session;
} engine;

typedef struct subject {
    onnx x;
    rlx_flow *flow;
    engine on[2]; /* the device, ref:mir */
} subject;

/* Contexts of a folder. */
static rlx_context *contexts[2];

static void subject_deinit(subject *s)
{
    for (int i = 0; i < 2; i++) {
        rlx_session_destroy(s->on[i].session);
        rlx_executable_destroy(s->on[i].executable);
    }
    rlx_flow_destroy(s->flow);
    onnx_free(&s->x);
}

/* ---- running ---------------------------------------------------------------------------------- */

static rlx_status run_on(subject *s, rlx_context *cx, engine *e)
{
    static const float entry;
    rlx_tensor in[ONNX_MAX_IO + 1];
    int n = 0;
    RLX_TRY(rlx_flow_compile(cx, s->flow, s->x.weights, NULL, NULL, &e->executable));
    RLX_TRY(rlx_session_create(cx, NULL, &e->session));
    for (int i = 0; i < s->x.nin; i++)
        if (s->x.given[i])
            in[n++] = onnx_as_tensor(&s->x.in[i]);
    if (s->x.makes)
        in[n++] =
            (rlx_tensor){.name = "entry", .format = RLX_F32, .data = &entry, .bytes = sizeof entry};
    return rlx_executable_run(e->executable, e->session, in, n);
}

/* ---- comparing -------------------------------------------------------------------------------- */

static bool is_close(double got, double want)
{
    if (isnan(want) || isinf(want))
        return isnan(want) ? isnan(got) : got == want;
    return fabs(got - want) <= ABSOLUTE + RELATIVE * fabs(want);
}

static const char *element_at(const rlx_tensor *t, int64_t i)
{
    return (const char *)t->data + (size_t)i * rlx_format_bytes(t->format, 1);
}

/* The same bits, any NaN being like any other. */
static bool is_bit_equal(const rlx_tensor *a, const rlx_tensor *b, int64_t i)
{
    if (!memcmp(element_at(a, i), element_at(b, i), rlx_format_bytes(a->format, 1)))
        return true;
    return rlx_format_is_float(a->format) && isnan(rlx_format_load(a->format, a->data, i)) &&
           isnan(rlx_format_load(b->format, b->data, i));
}

static bool check_close(conformance *c, const char *path, const char *by, const onnx_tensor *want,
                        const rlx_tensor *got)
{
    const rlx_tensor w = onnx_as_tensor(want);
    const rlx_format f = want->format;
    for (int64_t i = 0; i < want->elems; i++) {
        const double a = rlx_format_load(f, got->data, i), b = rlx_format_load(f, w.data, i);
        if (rlx_format_is_float(f) ? is_close(a, b) : is_bit_equal(got, &w, i))
            continue;
        case_failed(c, path, "%s[%lld] is %g%s, not %g", want->name, (long long)i, a, by, b);
        return false;
    }
    return true;
}

static bool compare_one(conformance *c, const char *path, subject *s, const onnx_tensor *want)
{
    rlx_tensor got[2];
    for (int i = 0; i < 2; i++)
        if (case_broke(c, path, rlx_session_output(s->on[i].session, want->name, &got[i])))
            return false;
    if (!check_close(c, path, "", want, &got[0]))
        return false;
    for (int64_t i = 0; i < want->elems; i++)
        if (!is_bit_equal(&got[0], &got[1], i)) {
            case_failed(c, path, "%s[%lld] is %.9g, %.9g by ref:mir", want->name, (long long)i,
                        rlx_format_load(want->format, got[0].data, i),
                        rlx_format_load(want->format, got[1].data, i));
            return false;
        }
    return true;
}

/* ---- the evaluator of HIR --------------------------------------------------------------------- */

typedef struct bound {
    const onnx *x;
    float entry;
    rlx_eval_tensor made[2 * ONNX_MAX_IO];
    int n;
} bound;

static rlx_eval_tensor *find_bound(void *user, rlx_role role, const char *symbol)
{
    bound *b = user;
    (void)role;
    rlx_eval_tensor *e = &b->made[b->n < 2 * ONNX_MAX_IO ? b->n++ : 0];
    *e = (rlx_eval_tensor){.name = "entry", .format = RLX_F32, .data = &b->entry};
    for (int i = 0; i < b->x->nin; i++) {
        const rlx_tensor t = onnx_as_tensor(&b->x->in[i]);
        if (strcmp(t.name, symbol))
            continue;
        *e = (rlx_eval_tensor){
            .name = t.name, .format = t.format, .rank = t.rank, .data = (void *)t.data};
        memcpy(e->dim, t.dim, sizeof t.dim);
    }
    return e;
}

static bool compare_evaluated(conformance *c, const char *path, const onnx *x,
                              const rlx_flow_outputs *outputs, const rlx_eval_tensor *y)
{
    for (int k = 0; k < outputs->n; k++)
        for (int i = 0; i < x->nout; i++) {
            const rlx_tensor got = {.format = y[k].format, .data = y[k].data};
            if (!strcmp(x->out[i].name, outputs->name[k]) &&
                !check_close(c, path, " by ref:hir", &x->out[i], &got))
                return false;
        }
    return true;
}

static bool evaluate(conformance *c, const char *path, const subject *s)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    bound b = {.x = &s->x};
    const rlx_eval_env env = {find_bound, &b, none};
    rlx_eval_tensor y[ONNX_MAX_IO + 1] = {0};
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *hir = NULL;
    rlx_flow_outputs outputs = {0};
    rlx_status st =
        rlx_flow_build(s->flow, s->x.weights, &(rlx_compile_options){0}, dims, &hir, &outputs);
    if (!st)
        st = rlx_hir_eval(hir, "main", &env, y, outputs.n);
    const bool same = !case_broke(c, path, st) && compare_evaluated(c, path, &s->x, &outputs, y);
    for (int i = 0; i < outputs.n; i++)
        free(y[i].data);
    rlx_flow_outputs_deinit(&outputs);
    rlx_ir_module_destroy(hir);
    rlx_dims_destroy(dims);
    return same;
}

/* ---- cases ------------------------------------------------------------------------------------ */

static bool compare(conformance *c, const char *path, subject *s)
{
    for (int i = 0; i < s->x.nout; i++)
        if (s->x.out[i].format != RLX_FORMAT_NONE && !compare_one(c, path, s, &s->x.out[i]))
            return false;
    return evaluate(c, path, s);
}

static void run_case(conformance *c, const char *path)
{
    subject s = {0};
    rlx_status st = onnx_read(path, &s.x);
    if (!st)
        st = onnx_record(&s.x, &s.flow);
    for (int i = 0; i < 2 && !st; i++)
        st = run_on(&s, contexts[i], &s.on[i]);
    if (rlx_status_code(st) == RLX_UNSUPPORTED) {
        case_skipped(c, path, "%s", rlx_status_message(st));
        rlx_status_free(st);
    } else if (!case_broke(c, path, st) && compare(c, path, &s)) {
        case_passed(c);
    }
    subject_deinit(&s);
}

static int is_case(const struct dirent *d)
{
    size_t n = strlen(d->d_name), end = strlen(".safetensors");
    return n > end && strcmp(d->d_name + n - end, ".safetensors") == 0;
}

static bool open_contexts(conformance *c, const char *dir)
{
    const char *const devices[] = {c->device, "ref:mir"};
    for (int i = 0; i < 2; i++) {
        const rlx_context_options o = {.device = devices[i], .threads = 1, .no_cache = true};
        if (case_broke(c, dir, rlx_context_create(&o, &contexts[i])))
            return false;
    }
    return true;
}

void opvectors_run(conformance *c, const char *dir)
{
    struct dirent **list;
    char path[PATH_CHARS];
    int n = scandir(dir, &list, is_case, alphasort);
    const bool open = n > 0 && open_contexts(c, dir);
    for (int i = 0; i < n; i++) {
        if (open && snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name) < PATH_CHARS)
            run_case(c, path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    for (int i = 0; i < 2; i++) {
        rlx_context_destroy(contexts[i]);
        contexts[i] = NULL;
    }
}
