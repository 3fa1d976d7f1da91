#include "tests/torch/harness.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"
#include "tests/base/suite.h"
#include "tests/jit/assembled_flow.h"
#include "tests/vulkan/chosen.h"

enum { MOST_TENSORS = 64, MOST_SYMBOLS = RLX_MAX_SYMBOLS, NAME_CHARS = 160 };

static const char *group_path;
static const torch_case *group_cases;
static int group_size;

int torch_dims(rlx_flow *f, const char *text, int64_t dims[6])
{
    int rank = 0;
    for (const char *s = text; *s; rank++) {
        const size_t len = strcspn(s, ",");
        char word[32];
        snprintf(word, sizeof word, "%.*s", (int)len, s);
        dims[rank] =
            isdigit((unsigned char)word[0]) ? strtoll(word, NULL, 10) : rlx_flow_symbol(f, word);
        s += len + (s[len] == ',');
    }
    return rank;
}

void torch_input(rlx_flow *f, const char *name, rlx_format format, const char *dims)
{
    int64_t d[6];
    const int rank = torch_dims(f, dims, d);
    rlx_flow_input(f, name, format, rank, d);
}

/* ---- a case and its numbers -------------------------------------------------------------------
 */

typedef struct tensors {
    int n;
    rlx_tensor t[MOST_TENSORS]; /* names without what stands in front of them */
} tensors;

typedef struct subject {
    const torch_case *c;
    rlx_weights *file, *weights;
    rlx_flow *flow;
    /* what the inputs of all runs say of symbols */
    rlx_dims *dims;
    rlx_ir_module *hir;
    rlx_flow_outputs outputs;
    int64_t upper[MOST_SYMBOLS];
    /* the results of the first engine, output by output of run after run: later ones have the same
     * bits */
    rlx_tensor first[MOST_TENSORS];
    int nfirst;
} subject;

/* The tensors of the case whose names go on with `part` ("w.", "in.", "2/out."). */
static void list(const subject *s, int run, const char *part, tensors *out)
{
    char head[NAME_CHARS];
    if (run > 1)
        snprintf(head, sizeof head, "%s/%d/%s", s->c->name, run, part);
    else
        snprintf(head, sizeof head, "%s/%s", s->c->name, part);
    out->n = 0;
    for (int i = 0; i < rlx_weights_count(s->file); i++) {
        const rlx_tensor *t = rlx_weights_at(s->file, i);
        if (strncmp(t->name, head, strlen(head)))
            continue;
        ck_assert_int_lt(out->n, MOST_TENSORS);
        out->t[out->n] = *t;
        out->t[out->n++].name = t->name + strlen(head);
    }
}

static int count_runs(const subject *s)
{
    tensors out;
    int n = 0;
    do
        list(s, n + 1, "out.", &out);
    while (out.n && ++n);
    ck_assert_msg(n > 0, "%s has no case %s", group_path, s->c->name);
    return n;
}

static const rlx_tensor *find(const tensors *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->t[i].name, name))
            return &l->t[i];
    return NULL;
}

/* The live extents of one run: from every input that @main takes. -1: none tells. */
static void read_symbols(const subject *s, const tensors *in, int64_t live[MOST_SYMBOLS])
{
    const rlx_ir_func *f = rlx_ir_func_find(s->hir, "main");
    for (int i = 0; i < MOST_SYMBOLS; i++)
        live[i] = -1;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *type = &f->body->args[i]->type;
        const rlx_tensor *t =
            find(in, f->arg_info[i].symbol ? f->arg_info[i].symbol : f->body->args[i]->name);
        for (int d = 0; t && d < type->rank && d < t->rank; d++) {
            if (rlx_dim_is_const(type->dim[d]))
                continue;
            const rlx_dim_node n = rlx_dim_get(s->dims, type->dim[d]);
            if (n.op == RLX_DIM_SYMBOL)
                live[n.a] = t->dim[d];
        }
    }
}

static void open_subject(subject *s, const torch_case *c)
{
    *s = (subject){.c = c, .dims = rlx_dims_create()};
    assert_ok(rlx_weights_create(&s->file));
    assert_ok(rlx_weights_add_safetensors(s->file, group_path));
    assert_ok(rlx_weights_create(&s->weights));
    tensors l;
    list(s, 1, "w.", &l);
    for (int i = 0; i < l.n; i++)
        assert_ok(rlx_weights_add(s->weights, &l.t[i]));
    assert_ok(rlx_flow_create(c->name, &s->flow));
    c->record(s->flow);
    assert_ok(rlx_flow_build(s->flow, s->weights, &(rlx_compile_options){0}, s->dims, &s->hir,
                             &s->outputs));
    for (int run = count_runs(s); run > 0; run--) {
        int64_t live[MOST_SYMBOLS];
        list(s, run, "in.", &l);
        read_symbols(s, &l, live);
        for (int i = 0; i < MOST_SYMBOLS; i++)
            s->upper[i] = live[i] > s->upper[i] ? live[i] : s->upper[i];
    }
}

static void close_subject(subject *s)
{
    for (int i = 0; i < s->nfirst; i++)
        free((void *)s->first[i].data);
    rlx_flow_outputs_deinit(&s->outputs);
    rlx_ir_module_destroy(s->hir);
    rlx_dims_destroy(s->dims);
    rlx_flow_destroy(s->flow);
    rlx_weights_destroy(s->weights);
    rlx_weights_destroy(s->file);
}

/* ---- comparing ----------------------------------------------------------------------------------
 */

static int64_t elems_of(const rlx_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++)
        n *= t->dim[d];
    return n;
}

static void check_shape(const subject *s, const char *device, int run, const rlx_tensor *want,
                        const rlx_tensor *got)
{
    bool same = want->format == got->format && want->rank == got->rank;
    for (int d = 0; same && d < want->rank; d++)
        same = want->dim[d] == got->dim[d];
    if (same)
        return;
    rlx_text text = {0};
    const rlx_tensor *both[] = {got, want};
    for (int k = 0; k < 2; k++) {
        rlx_text_putf(&text, "%s%s[", k ? ", torch " : "", rlx_format_get(both[k]->format)->name);
        for (int d = 0; d < both[k]->rank; d++)
            rlx_text_putf(&text, "%s%lld", d ? "," : "", (long long)both[k]->dim[d]);
        rlx_text_put(&text, "]");
    }
    ck_abort_msg("%s, run %d on %s: %s is %s", s->c->name, run, device, want->name, text.data);
}

/* A NaN is near a NaN, an infinity near itself. */
static bool is_near(double got, double want, double most)
{
    if (isnan(want) || isinf(want))
        return isnan(want) ? isnan(got) : got == want;
    return fabs(got - want) <= most;
}

static void check_numbers(const subject *s, const char *device, int run, const rlx_tensor *want,
                          const rlx_tensor *got)
{
    check_shape(s, device, run, want, got);
    const bool floats = rlx_format_is_float(want->format);
    double largest = 1;
    for (int64_t i = 0; i < elems_of(want); i++) {
        const double v = fabs(rlx_format_load(want->format, want->data, i));
        if (isfinite(v) && v > largest)
            largest = v;
    }
    for (int64_t i = 0; i < elems_of(want); i++) {
        const double a = rlx_format_load(got->format, got->data, i);
        const double b = rlx_format_load(want->format, want->data, i);
        ck_assert_msg(is_near(a, b, floats ? s->c->tolerance * largest : 0),
                      "%s, run %d on %s: %s[%lld] is %.9g, torch %.9g", s->c->name, run, device,
                      want->name, (long long)i, a, b);
    }
}

/* The first engine's bits are kept; those of the others must be them. */
static void check_bits(subject *s, const char *device, int run, int k, const rlx_tensor *got)
{
    if (k == s->nfirst) {
        ck_assert_int_lt(k, MOST_TENSORS);
        s->first[k] = *got;
        s->first[k].data = malloc(got->bytes + 1);
        memcpy((void *)s->first[k].data, got->data, got->bytes);
        s->nfirst++;
    }
    ck_assert_msg(!memcmp(got->data, s->first[k].data, got->bytes),
                  "%s, run %d on %s: output %d has other bits than on the first device", s->c->name,
                  run, device, k);
}

/* ---- engines --------------------------------------------------------------------------------- */

static rlx_compile_options options_of(const subject *s, rlx_bucket buckets[MOST_SYMBOLS])
{
    rlx_compile_options o = {.buckets = buckets, .unused = RLX_UNUSED_REFUSE};
    for (int i = 0; i < MOST_SYMBOLS; i++)
        if (s->upper[i] > 0)
            buckets[o.nbuckets++] = (rlx_bucket){rlx_dim_symbol_name(s->dims, i), s->upper[i]};
    return o;
}

static rlx_executable *compile(const subject *s, rlx_context *cx)
{
    rlx_bucket buckets[MOST_SYMBOLS];
    const rlx_compile_options o = options_of(s, buckets);
    rlx_executable *e;
    assert_ok(rlx_flow_compile(cx, s->flow, s->weights, &o, NULL, &e));
    return e;
}

static void run_on(subject *s, const char *device)
{
    rlx_context *cx;
    rlx_session *session;
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &cx));
    assert_ok(rlx_session_create(cx, NULL, &session));
    rlx_executable *e = compile(s, cx);
    int k = 0;
    for (int run = 1; run <= count_runs(s); run++) {
        tensors in, out;
        list(s, run, "in.", &in);
        list(s, run, "out.", &out);
        assert_ok(rlx_executable_run(e, session, in.t, in.n));
        for (int i = 0; i < out.n; i++) {
            rlx_tensor got;
            assert_ok(rlx_session_output(session, out.t[i].name, &got));
            check_numbers(s, device, run, &out.t[i], &got);
            check_bits(s, device, run, k++, &got);
        }
    }
    rlx_executable_destroy(e);
    rlx_session_destroy(session);
    rlx_context_destroy(cx);
}

/* What the evaluator of HIR asks for, by name. */
typedef struct bound {
    const subject *s;
    tensors in;
    rlx_eval_tensor made[2 * MOST_TENSORS];
    int nmade;
} bound;

static rlx_eval_tensor *find_bound(void *user, rlx_role role, const char *symbol)
{
    bound *b = user;
    const rlx_tensor *t =
        role == RLX_ROLE_WEIGHT ? rlx_weights_find(b->s->weights, symbol) : find(&b->in, symbol);
    if (!t || b->nmade == 2 * MOST_TENSORS)
        return NULL;
    rlx_eval_tensor *e = &b->made[b->nmade++];
    *e = (rlx_eval_tensor){
        .name = t->name, .format = t->format, .rank = t->rank, .data = (void *)t->data};
    memcpy(e->dim, t->dim, sizeof t->dim);
    return e;
}

static void evaluate(subject *s)
{
    for (int run = 1; run <= count_runs(s); run++) {
        bound b = {.s = s};
        tensors out;
        rlx_eval_tensor y[MOST_TENSORS];
        int64_t live[MOST_SYMBOLS];
        list(s, run, "in.", &b.in);
        list(s, run, "out.", &out);
        read_symbols(s, &b.in, live);
        const rlx_eval_env env = {.find = find_bound, .user = &b, .symbols = live};
        assert_ok(rlx_hir_eval(s->hir, "main", &env, y, s->outputs.n));
        for (int i = 0; i < s->outputs.n; i++) {
            const rlx_tensor *want = find(&out, s->outputs.name[i]);
            ck_assert_msg(want != NULL, "%s: torch made no %s", s->c->name, s->outputs.name[i]);
            rlx_tensor got = {.format = y[i].format, .rank = y[i].rank, .data = y[i].data};
            memcpy(got.dim, y[i].dim, sizeof got.dim);
            check_numbers(s, "the evaluator of hir", run, want, &got);
            free(y[i].data);
        }
    }
}

START_TEST(agrees_with_torch)
{
    static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:mir", "ref:lir"};
    subject s;
    open_subject(&s, &group_cases[_i]);
    if (!s.c->no_hir && !chosen_device)
        evaluate(&s);
    rlx_device_info info;
    rlx_device_get_info(0, &info);
    if (chosen_device)
        run_on(&s, chosen_device);
    for (size_t i = 0; !chosen_device && i < sizeof devices / sizeof *devices; i++)
        if (i != 1 || strcmp(info.target, "x86-64-v3") != 0)
            run_on(&s, devices[i]);
    close_subject(&s);
}
END_TEST

static const char *processor; /* of NVIDIA's; NULL: cases are run */

START_TEST(spills_nothing)
{
    subject s;
    rlx_bucket buckets[MOST_SYMBOLS];
    int kernels = 0, spilling = 0;
    open_subject(&s, &group_cases[_i]);
    const rlx_compile_options o = options_of(&s, buckets);
    assert_ok(assemble_flow(s.flow, s.weights, &o, processor, &kernels, &spilling));
    ck_assert_int_gt(kernels, 0);
    ck_assert_int_eq(spilling, 0);
    close_subject(&s);
}
END_TEST

START_TEST(has_no_other_case)
{
    rlx_weights *file;
    assert_ok(rlx_weights_create(&file));
    assert_ok(rlx_weights_add_safetensors(file, group_path));
    for (int i = 0; i < rlx_weights_count(file); i++) {
        const char *name = rlx_weights_at(file, i)->name;
        const size_t len = strcspn(name, "/");
        int k = 0;
        while (k < group_size &&
               (strncmp(group_cases[k].name, name, len) != 0 || strlen(group_cases[k].name) != len))
            k++;
        ck_assert_msg(k < group_size, "no case for %s of %s", name, group_path);
    }
    rlx_weights_destroy(file);
}
END_TEST

int torch_main(int argc, char **argv, const char *group, const torch_case *cases, int n)
{
    static char path[512];
    processor = argc > 1 && !strncmp(argv[1], "sm_", strlen("sm_")) ? argv[1] : NULL;
    if (!processor && !chosen_begin(argc, argv))
        return CHOSEN_SKIPPED;
    snprintf(path, sizeof path, "%s/tests/torch/%s.safetensors", RLX_SOURCE_DIR, group);
    group_path = path;
    group_cases = cases;
    group_size = n;
    Suite *s = suite_create(group);
    TCase *c = tcase_create(group);
    tcase_set_timeout(c, chosen_device ? 0 : 60); /* a software device compiles for long */
    tcase_add_loop_test(c, processor ? spills_nothing : agrees_with_torch, 0, n);
    tcase_add_test(c, has_no_other_case);
    suite_add_tcase(s, c);
    return run_suite(s, n + 1);
}
