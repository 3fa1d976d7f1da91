/* tests/suites/opvectors.c: operators of the ONNX backend suite as compiled code. Each .safetensors
 * file of a folder is a case: it becomes a flow (onnx/), is compiled and run, and the results are
 * held against the expected ones, as that suite does where a case says nothing else (and none of
 * these files does): 1e-3 relative and 1e-7, whole numbers exactly. The evaluator of MIR, of what is lowered from the flow and not fused, must give the same bits,
 * and what the evaluator of HIR makes of the flow is held against the expected, too. `--device cpu:x86-64-v3` masks features; with ref:lir the interpreter
 * runs the tape. A Vulkan device may round otherwise (an fma twice): there the expected alone counts for floats. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/context.h"
#include "frontend/flow.h"
#include "tests/jit/assembled_flow.h"
#include "tests/suites/onnx/onnx.h"
#include "tests/suites/suites.h"
#include "tests/vulkan/validation.h"

#define RELATIVE 1e-3
#define ABSOLUTE 1e-7

typedef struct subject {
    onnx x;
    rlx_flow *flow;
    rlx_executable *executable;
    rlx_session *session;
    bool rounds; /* the device, otherwise than the evaluators do */
    /* down to MIR once more, and what the evaluators make of it there */
    rlx_dims *dims;
    rlx_ir_module *hir, *mir;
    rlx_flow_outputs outputs;
    rlx_eval_tensor by_hir[ONNX_MAX_IO + 1], by_mir[ONNX_MAX_IO + 1];
} subject;

static void subject_deinit(subject *s)
{
    for (int i = 0; i < s->outputs.n; i++) {
        free(s->by_hir[i].data);
        free(s->by_mir[i].data);
    }
    rlx_flow_outputs_deinit(&s->outputs);
    rlx_ir_module_destroy(s->mir);
    rlx_ir_module_destroy(s->hir);
    rlx_dims_destroy(s->dims);
    rlx_session_destroy(s->session);
    rlx_executable_destroy(s->executable);
    rlx_flow_destroy(s->flow);
    onnx_free(&s->x);
}

/* ---- running ---------------------------------------------------------------------------------- */

static rlx_status run(subject *s, rlx_context *cx)
{
    static const float entry;
    rlx_tensor in[ONNX_MAX_IO + 1];
    int n = 0;
    RLX_TRY(rlx_flow_compile(cx, s->flow, s->x.weights, NULL, NULL, &s->executable));
    RLX_TRY(rlx_session_create(cx, NULL, &s->session));
    for (int i = 0; i < s->x.nin; i++)
        if (s->x.given[i])
            in[n++] = onnx_as_tensor(&s->x.in[i]);
    if (s->x.makes)
        in[n++] =
            (rlx_tensor){.name = "entry", .format = RLX_F32, .data = &entry, .bytes = sizeof entry};
    return rlx_executable_run(s->executable, s->session, in, n);
}

/* What evaluators ask for, by name. */
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

/* HIR, and MIR as it is lowered: before anything is fused. */
static rlx_status evaluate(subject *s)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    bound b = {.x = &s->x};
    const rlx_eval_env env = {find_bound, &b, none};
    s->dims = rlx_dims_create();
    RLX_TRY(rlx_flow_build(s->flow, s->x.weights, &(rlx_compile_options){0}, s->dims, &s->hir,
                           &s->outputs));
    RLX_TRY(rlx_hir_eval(s->hir, "main", &env, s->by_hir, s->outputs.n));
    RLX_TRY(rlx_hir_lower(s->hir, &s->mir));
    RLX_TRY(rlx_mir_choose_precision(s->mir, RLX_MIR_EXACT, NULL));
    b.n = 0;
    return rlx_mir_eval(s->mir, "main", &env, s->by_mir, s->outputs.n);
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

/* What the flow names `name`; -1: nothing. */
static int find_output(const subject *s, const char *name)
{
    for (int k = 0; k < s->outputs.n; k++)
        if (!strcmp(s->outputs.name[k], name))
            return k;
    return -1;
}

static bool has_type(const rlx_tensor *got, const onnx_tensor *want)
{
    const rlx_tensor w = onnx_as_tensor(want);
    bool same = got->format == w.format && got->rank == w.rank && got->bytes == w.bytes;
    for (int d = 0; d < w.rank; d++)
        same = same && got->dim[d] == w.dim[d];
    return same;
}

static bool compare_one(conformance *c, const char *path, subject *s, const onnx_tensor *want)
{
    const rlx_format f = want->format;
    const int k = find_output(s, want->name);
    rlx_tensor got;
    if (k < 0 || f == RLX_FORMAT_NONE) {
        case_failed(c, path, "output %s %s", want->name,
                    k < 0 ? "is not made" : "has elements of no type that is known");
        return false;
    }
    const rlx_tensor hir = {.format = f, .data = s->by_hir[k].data};
    const rlx_tensor mir = {.format = f, .data = s->by_mir[k].data};
    if (case_broke(c, path, rlx_session_output(s->session, want->name, &got)))
        return false;
    if (!has_type(&got, want) || s->by_hir[k].format != f || s->by_mir[k].format != f) {
        case_failed(c, path, "output %s has another type than expected", want->name);
        return false;
    }
    if (!check_close(c, path, "", want, &got) || !check_close(c, path, " by ref:hir", want, &hir))
        return false;
    for (int64_t i = 0; i < want->elems && !(s->rounds && rlx_format_is_float(f)); i++)
        if (!is_bit_equal(&got, &mir, i)) {
            case_failed(c, path, "%s[%lld] is %.9g, %.9g by ref:mir", want->name, (long long)i,
                        rlx_format_load(f, got.data, i), rlx_format_load(f, mir.data, i));
            return false;
        }
    return true;
}

/* Every output that the case has. */
static bool compare(conformance *c, const char *path, subject *s)
{
    int compared = 0;
    for (int i = 0; i < s->x.nout; i++) {
        if (!s->x.out[i].name[0])
            continue;
        if (!compare_one(c, path, s, &s->x.out[i]))
            return false;
        compared++;
    }
    if (!compared)
        case_failed(c, path, "it has no output");
    return compared > 0;
}

/* ---- assembling -------------------------------------------------------------------------------- */

static bool spills_nothing(conformance *c, const char *path, int spilling)
{
    if (spilling)
        case_failed(c, path, "%d kernels spill", spilling);
    return !spilling;
}

/* ---- cases ------------------------------------------------------------------------------------ */

static void run_case(conformance *c, rlx_context *cx, const char *path)
{
    subject s = {.rounds = c->is_vulkan};
    int kernels = 0, spilling = 0;
    rlx_status st = onnx_read(path, &s.x);
    if (!st)
        st = onnx_record(&s.x, &s.flow);
    if (!st)
        st = c->processor
                 ? assemble_flow(s.flow, s.x.weights, NULL, c->processor, &kernels, &spilling)
                 : run(&s, cx);
    if (!st && !c->processor)
        st = evaluate(&s);
    if (rlx_status_code(st) == RLX_UNSUPPORTED) {
        case_skipped(c, path, "%s", rlx_status_message(st));
        rlx_status_free(st);
    } else if (!case_broke(c, path, st) &&
               (c->processor ? spills_nothing(c, path, spilling) : compare(c, path, &s))) {
        case_passed(c);
    }
    subject_deinit(&s);
}

static int is_case(const struct dirent *d)
{
    size_t n = strlen(d->d_name), end = strlen(".safetensors");
    return n > end && strcmp(d->d_name + n - end, ".safetensors") == 0;
}

/* The context's device once more, under the validation layer. */
static rlx_status open_again(rlx_context *cx, const char *name, rlx_text *said)
{
    rlx_device_choice choice;
    bool validated;
    RLX_TRY(rlx_context_parse_device(name, &choice));
    choice.vulkan.said = said;
    rlx_device_destroy(cx->gpu);
    cx->gpu = NULL;
    return validation_open(choice.vulkan, &cx->gpu, &validated);
}

void opvectors_run(conformance *c, const char *dir)
{
    const rlx_context_options o = {.device = c->device, .threads = 1, .no_cache = true};
    rlx_context *cx = NULL;
    struct dirent **list;
    char path[PATH_CHARS];
    int n = scandir(dir, &list, is_case, alphasort);
    rlx_text said = {0};
    const bool open = n > 0 && !case_broke(c, dir, rlx_context_create(&o, &cx)) &&
                      !(c->is_vulkan && case_broke(c, dir, open_again(cx, c->device, &said)));
    for (int i = 0; i < n; i++) {
        if (open && snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name) < PATH_CHARS)
            run_case(c, cx, path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    rlx_context_destroy(cx);
    if (said.len)
        case_failed(c, dir, "the validation layer: %.*s", (int)said.len, said.data);
    rlx_text_deinit(&said);
}
