/* tests/suites/opvectors.c: operators of the ONNX backend suite as compiled code. Each .safetensors
 * file of a folder is a case: it becomes a MIR function (onnx/), is compiled and run, and the
 * results are held against the expected ones, as that suite does: 1e-3 relative and 1e-7, whole
 * numbers exactly. ref:mir must give the same bits. `--device cpu:x86-64-v3` masks features; with
 * ref:lir the interpreter runs the tape. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/jit.h"
#include "runtime/runtime.h"
#include "tests/lower/tape_runner.h"
#include "tests/suites/onnx/onnx.h"
#include "tests/suites/suites.h"

#define RELATIVE 1e-3
#define ABSOLUTE 1e-7

typedef struct subject {
    onnx x;
    rlx_dims *dims;
    rlx_ir_module *mir, *lir;
    rlx_executable *executable;
    rlx_team *team;
    rlx_session *session;
    rlx_eval_tensor input[ONNX_MAX_IO], evaluated[ONNX_MAX_IO]; /* of ref:mir */
    void *interpreted[ONNX_MAX_IO];                             /* by ref:lir */
    int nresults;
    const onnx_tensor *want[ONNX_MAX_IO];
} subject;

static void subject_deinit(subject *s)
{
    for (int i = 0; i < s->nresults; i++) {
        free(s->evaluated[i].data);
        free(s->interpreted[i]);
    }
    rlx_session_destroy(s->session);
    rlx_team_destroy(s->team);
    rlx_executable_destroy(s->executable);
    rlx_ir_module_destroy(s->lir);
    rlx_ir_module_destroy(s->mir);
    rlx_dims_destroy(s->dims);
    onnx_free(&s->x);
}

static bool is_reference(const char *device)
{
    return device && strcmp(device, "ref:lir") == 0;
}

/* ---- down the levels ------------------------------------------------------------------------- */

static rlx_status emit(subject *s, const rlx_jit_target *t)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    const char *names[ONNX_MAX_IO];
    for (int i = 0; i < s->nresults; i++)
        names[i] = s->want[i]->name;
    rlx_jit_options o = {
        .threads = 1, .entry = "main", .output_names = names, .upper = none, .provenance = s->x.op};
    rlx_text entry = {0};
    rlx_status st = rlx_jit_compile(s->lir, t, &o, &entry, NULL);
    if (!st)
        st = rlx_executable_create(entry.data, entry.len, NULL, &s->executable);
    rlx_text_deinit(&entry);
    return st;
}

/* "cpu" or none: all that this machine has. */
static rlx_status read_device(const char *device, rlx_jit_target *t)
{
    *t = (rlx_jit_target){.kind = RLX_JIT_CPU, .features = rlx_cpu_host()->features};
    if (!device || is_reference(device) || strcmp(device, "cpu") == 0)
        return RLX_OK;
    if (strncmp(device, "cpu:", 4) != 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "operators run on cpu and ref:lir, not on %s",
                        device);
    return rlx_cpu_parse(device + 4, true, &t->features);
}

static rlx_status compile(const conformance *c, subject *s)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    rlx_jit_target t;
    rlx_lir_target lir_target;
    RLX_TRY(read_device(c->device, &t));
    for (int i = 0; i < s->x.nout; i++)
        if (s->x.out[i].format != RLX_FORMAT_NONE)
            s->want[s->nresults++] = &s->x.out[i];
    s->dims = rlx_dims_create();
    RLX_TRY(rlx_ir_module_create(&rlx_mir_level, s->dims, "case", &s->mir));
    RLX_TRY(onnx_build(&s->x, s->mir));
    RLX_TRY(rlx_ir_verify(s->mir));
    RLX_TRY(rlx_mir_choose_precision(s->mir, RLX_MIR_EXACT, NULL));
    RLX_TRY(rlx_mir_optimize(s->mir));
    RLX_TRY(rlx_jit_lir_target(&t, &lir_target));
    rlx_mir_lower_options lo = {.target = &lir_target, .upper = none};
    RLX_TRY(rlx_mir_lower(s->mir, &lo, &s->lir));
    return is_reference(c->device) ? RLX_OK : emit(s, &t);
}

/* Inputs that decide nothing are no part of the program. */
static bool is_wanted(const subject *s, const char *name)
{
    const rlx_program *p = rlx_executable_program(s->executable);
    for (uint32_t i = 0; i < p->nbound; i++)
        if (p->bound[i].kind == RLX_BIND_INPUT && strcmp(p->bound[i].name, name) == 0)
            return true;
    return false;
}

static rlx_status run(subject *s)
{
    rlx_step_input inputs[ONNX_MAX_IO];
    rlx_step step = {.tokens = 1, .inputs = inputs};
    for (int i = 0; i < s->x.nin; i++) {
        const onnx_tensor *t = &s->x.in[i];
        if (s->x.arg[i] && is_wanted(s, t->name))
            inputs[step.ninputs++] =
                (rlx_step_input){t->name, t->data, rlx_format_bytes(t->format, t->elems)};
    }
    RLX_TRY(rlx_team_create(1, &s->team));
    RLX_TRY(rlx_session_create_on(s->team, &(rlx_session_options){0}, &s->session));
    return rlx_session_step(s->session, s->executable, &step);
}

/* ---- the evaluator -----------------------------------------------------------------------------
 */

static rlx_eval_tensor *find_input(void *user, rlx_role role, const char *symbol)
{
    subject *s = user;
    (void)role;
    for (int i = 0; i < s->x.nin; i++) {
        const onnx_tensor *t = &s->x.in[i];
        if (strcmp(t->name, symbol) != 0)
            continue;
        s->input[i] = (rlx_eval_tensor){t->name, t->format, 1, {t->elems}, t->data};
        return &s->input[i];
    }
    return NULL;
}

static rlx_status evaluate(subject *s)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    rlx_eval_env env = {find_input, s, none};
    return rlx_mir_eval(s->mir, "main", &env, s->evaluated, s->nresults);
}

/* The tape by the interpreter. */
static rlx_status interpret(subject *s)
{
    static const int64_t none[RLX_MAX_SYMBOLS];
    rlx_eval_env env = {find_input, s, none};
    rlx_eval_tensor out[ONNX_MAX_IO];
    rlx_lir_plan_report report;
    RLX_TRY(rlx_lir_check_plan(s->lir, "main", none, &report));
    for (int i = 0; i < s->nresults; i++) {
        const onnx_tensor *t = s->want[i];
        s->interpreted[i] = malloc(rlx_format_bytes(t->format, t->elems) + 1);
        out[i] = (rlx_eval_tensor){t->name, t->format, 1, {t->elems}, s->interpreted[i]};
    }
    tape_run r = {.module = s->lir, .env = &env, .arena_bytes = (size_t)report.arena_bytes};
    r.arena = aligned_alloc(64, (r.arena_bytes + 63) / 64 * 64 + 64);
    rlx_status st = r.arena ? tape_run_entry(&r, "main", out, s->nresults) : RLX_OOM();
    free(r.arena);
    return st;
}

/* ---- comparing ----------------------------------------------------------------------------------
 */

static bool is_close(double got, double want)
{
    if (isnan(want) || isinf(want))
        return isnan(want) ? isnan(got) : got == want;
    return fabs(got - want) <= ABSOLUTE + RELATIVE * fabs(want);
}

static bool is_same(rlx_format f, const void *got, const void *want, int64_t i)
{
    if (rlx_format_is_float(f))
        return is_close(rlx_format_load(f, got, i), rlx_format_load(f, want, i));
    size_t bytes = rlx_format_bytes(f, 1);
    return memcmp((const char *)got + (size_t)i * bytes, (const char *)want + (size_t)i * bytes,
                  bytes) == 0;
}

/* The same bits, any NaN being like any other. */
static bool is_bit_equal(rlx_format f, const void *a, const void *b, int64_t i)
{
    size_t bytes = rlx_format_bytes(f, 1);
    if (memcmp((const char *)a + (size_t)i * bytes, (const char *)b + (size_t)i * bytes, bytes) ==
        0)
        return true;
    return rlx_format_is_float(f) && isnan(rlx_format_load(f, a, i)) &&
           isnan(rlx_format_load(f, b, i));
}

static bool compare_one(conformance *c, const char *path, subject *s, int k)
{
    const onnx_tensor *want = s->want[k];
    rlx_tensor got = {.data = s->interpreted[k]};
    if (!got.data && case_broke(c, path, rlx_session_output(s->session, want->name, &got)))
        return false;
    rlx_format f = want->format;
    for (int64_t i = 0; i < want->elems; i++) {
        if (!is_same(f, got.data, want->data, i)) {
            case_failed(c, path, "%s[%lld] is %g, not %g", want->name, (long long)i,
                        rlx_format_load(f, got.data, i), rlx_format_load(f, want->data, i));
            return false;
        }
        if (!is_bit_equal(f, got.data, s->evaluated[k].data, i)) {
            case_failed(c, path, "%s[%lld] is %.9g, %.9g by ref:mir", want->name, (long long)i,
                        rlx_format_load(f, got.data, i),
                        rlx_format_load(f, s->evaluated[k].data, i));
            return false;
        }
    }
    return true;
}

static void run_case(conformance *c, const char *path)
{
    subject s = {0};
    rlx_status st = onnx_read(path, &s.x);
    if (!st)
        st = compile(c, &s);
    if (rlx_status_code(st) == RLX_UNSUPPORTED) {
        case_skipped(c, path, "%s", rlx_status_message(st));
        rlx_status_free(st);
    } else if (!case_broke(c, path, st) &&
               !case_broke(c, path, is_reference(c->device) ? interpret(&s) : run(&s)) &&
               !case_broke(c, path, evaluate(&s))) {
        bool same = true;
        for (int k = 0; k < s.nresults && same; k++)
            same = compare_one(c, path, &s, k);
        if (same)
            case_passed(c);
    }
    subject_deinit(&s);
}

static int is_case(const struct dirent *d)
{
    size_t n = strlen(d->d_name), end = strlen(".safetensors");
    return n > end && strcmp(d->d_name + n - end, ".safetensors") == 0;
}

void opvectors_run(conformance *c, const char *dir)
{
    struct dirent **list;
    char path[PATH_CHARS];
    int n = scandir(dir, &list, is_case, alphasort);
    for (int i = 0; i < n; i++) {
        if (snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name) < PATH_CHARS)
            run_case(c, path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}
