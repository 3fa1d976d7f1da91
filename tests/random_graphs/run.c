/* tests/random_graphs/run.c: one graph on every engine:
 *
 *   HIR evaluator = MIR evaluator = fused MIR by the evaluator = its LIR by the interpreter
 *     = its code on this processor = code with a function for each op, nothing fused
 *
 * On a Vulkan device only fused code runs, of the LIR that is scheduled for GPUs. A driver may round a multiply-add twice: code
 * has the bits of the interpreter, which rounds them once or, all of them, twice. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jit/jit.h"
#include "runtime/cpu.h"
#include "runtime/runtime.h"
#include "tests/lower/tape_runner.h"
#include "tests/random_graphs/device.h"
#include "tests/random_graphs/graphs.h"

enum { MOST_INPUTS = 64, MOST_RESULTS = 4 };

typedef struct runner {
    const random_graph *g;
    rlx_eval_tensor input[MOST_INPUTS];
    int ninputs;
    rlx_eval_env env;
    rlx_eval_tensor want[MOST_RESULTS];
    int nresults;
    rlx_jit_target target;
    rlx_lir_target lir_target;
    bool splits;        /* single ops, too: never on a device, whose driver compiles for long */
    const char *device; /* a Vulkan device's name; NULL: this processor */
    rlx_device *gpu;    /* it */
    int64_t upper[RLX_MAX_SYMBOLS];
} runner;

static void free_results(rlx_eval_tensor *t, int n)
{
    for (int i = 0; i < n; i++) {
        free(t[i].data);
        t[i].data = NULL;
    }
}

/* ---- inputs ------------------------------------------------------------------------------------
 */

static rlx_eval_tensor *find(void *user, rlx_role role, const char *symbol)
{
    runner *r = user;
    (void)role;
    for (int i = 0; i < r->ninputs; i++)
        if (strcmp(r->input[i].name, symbol) == 0)
            return &r->input[i];
    return NULL;
}

static void store_any(rlx_format f, void *data, int64_t i, uint64_t bits)
{
    if (f == RLX_BOOL)
        ((uint8_t *)data)[i] = bits >> 40 & 1;
    else if (rlx_format_is_float(f))
        rlx_format_store(f, data, i, (double)(int64_t)bits / 9.2e18 * ((bits & 7) == 0 ? 90 : 3));
    else /* small ones mostly, so that some are equal */
        memcpy((char *)data + (size_t)i * rlx_format_bytes(f, 1),
               &(uint64_t){(bits & 7) == 0 ? bits >> 8 : (bits >> 8) % 7}, rlx_format_bytes(f, 1));
}

static rlx_status make_inputs(runner *r)
{
    const rlx_ir_func *f = r->g->hir->first;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_value *arg = f->body->args[i];
        rlx_eval_tensor *t = &r->input[r->ninputs++];
        int64_t n = 1;
        *t = (rlx_eval_tensor){arg->name, arg->type.format, arg->type.rank, {0}, NULL};
        for (int d = 0; d < t->rank; d++)
            n *= t->dim[d] = rlx_dim_eval(r->g->dims, arg->type.dim[d], r->g->live);
        t->data = malloc(rlx_format_bytes(t->format, n) + 1);
        if (!t->data)
            return RLX_OOM();
        uint64_t state = r->g->seed * 31 + (uint64_t)arg->name[0] * 131 + (uint64_t)i;
        for (int64_t e = 0; e < n; e++)
            store_any(t->format, t->data, e, graph_random(&state));
    }
    return RLX_OK;
}

/* ---- comparing ---------------------------------------------------------------------------------
 */

static bool is_alike(rlx_format f, const void *a, const void *b, int64_t i)
{
    const size_t bytes = rlx_format_bytes(f, 1), at = (size_t)i * bytes;
    if (memcmp((const char *)a + at, (const char *)b + at, bytes) == 0)
        return true;
    return rlx_format_is_float(f) && isnan(rlx_format_load(f, a, i)) &&
           isnan(rlx_format_load(f, b, i));
}

static rlx_status compare_with(const runner *r, const rlx_eval_tensor *wants,
                               const rlx_eval_tensor *got, const char *engine)
{
    for (int k = 0; k < r->nresults; k++) {
        const rlx_eval_tensor *want = &wants[k];
        int64_t n = 1;
        for (int d = 0; d < want->rank; d++)
            n *= want->dim[d];
        for (int64_t i = 0; i < n; i++)
            if (!is_alike(want->format, want->data, got[k].data, i))
                return RLX_FAIL(RLX_INTERNAL, "%s: element %lld of result %d is %.9g, not %.9g",
                                engine, (long long)i, k,
                                rlx_format_load(want->format, got[k].data, i),
                                rlx_format_load(want->format, want->data, i));
    }
    return RLX_OK;
}

static rlx_status compare(const runner *r, const rlx_eval_tensor *got, const char *engine)
{
    return compare_with(r, r->want, got, engine);
}

/* ---- engines -----------------------------------------------------------------------------------
 */

static rlx_status by_evaluator(const runner *r, const rlx_ir_module *mir, const char *engine)
{
    rlx_eval_tensor got[MOST_RESULTS];
    RLX_TRY_NOTE(rlx_mir_eval(mir, "main", &r->env, got, r->nresults), "%s", engine);
    rlx_status st = compare(r, got, engine);
    free_results(got, r->nresults);
    return st;
}

/* The results are the caller's. */
static rlx_status interpret(const runner *r, const rlx_ir_module *lir, bool splits_fma,
                            rlx_eval_tensor *got)
{
    rlx_lir_plan_report report;
    RLX_TRY(rlx_lir_check_plan(lir, "main", r->upper, &report));
    for (int k = 0; k < r->nresults; k++) {
        int64_t n = 1;
        got[k] = r->want[k];
        for (int d = 0; d < got[k].rank; d++)
            n *= got[k].dim[d];
        got[k].data = malloc(rlx_format_bytes(got[k].format, n) + 1);
    }
    tape_run run = {.module = lir,
                    .env = &r->env,
                    .arena_bytes = (size_t)report.arena_bytes,
                    .options = {.splits_fma = splits_fma}};
    run.arena = aligned_alloc(64, (run.arena_bytes + 63) / 64 * 64 + 64);
    rlx_status st = tape_run_entry(&run, "main", got, r->nresults);
    free(run.arena);
    return st;
}

static rlx_status by_interpreter(const runner *r, const rlx_ir_module *lir)
{
    rlx_eval_tensor got[MOST_RESULTS] = {0};
    rlx_status st = interpret(r, lir, false, got);
    if (!st)
        st = compare(r, got, "ref:lir");
    free_results(got, r->nresults);
    return st;
}

static rlx_status step(const runner *r, rlx_session *s, rlx_executable *e)
{
    rlx_step_input inputs[MOST_INPUTS];
    rlx_step_symbol symbols[RLX_MAX_SYMBOLS];
    rlx_step step = {.tokens = 1, .inputs = inputs, .symbols = symbols};
    const rlx_program *p = rlx_executable_program(e);
    for (uint32_t i = 0; i < p->nbound; i++)
        for (int k = 0; k < r->ninputs; k++) {
            const rlx_eval_tensor *t = &r->input[k];
            if (p->bound[i].kind != RLX_BIND_INPUT || strcmp(p->bound[i].name, t->name))
                continue;
            int64_t n = 1;
            for (int d = 0; d < t->rank; d++)
                n *= t->dim[d];
            inputs[step.ninputs++] =
                (rlx_step_input){t->name, t->data, rlx_format_bytes(t->format, n)};
        }
    for (int i = 0; i < rlx_dim_symbol_count(p->dims); i++) {
        const char *name = rlx_dim_symbol_name(p->dims, i);
        symbols[step.nsymbols++] =
            (rlx_step_symbol){name, r->g->live[rlx_dim_symbol_index(r->g->dims, name)]};
    }
    return rlx_session_step(s, e, &step);
}

static rlx_status load(const runner *r, const rlx_text *entry, rlx_executable **out)
{
    rlx_program *p;
    if (!r->gpu)
        return rlx_executable_create(entry->data, entry->len, NULL, out);
    RLX_TRY(rlx_program_decode(entry->data, entry->len, &p));
    return rlx_executable_create_on(r->gpu, p, NULL, out);
}

/* What a device gives, to the bit, as one that rounds multiply-adds once or twice. */
static rlx_status compare_code(const runner *r, const rlx_ir_module *lir,
                               const rlx_eval_tensor *got, const char *engine)
{
    rlx_eval_tensor twice[MOST_RESULTS] = {0};
    rlx_status once = compare(r, got, engine);
    if (!once || !r->gpu)
        return once;
    rlx_status st = interpret(r, lir, true, twice);
    if (!st)
        st = compare_with(r, twice, got, engine);
    free_results(twice, r->nresults);
    rlx_status_free(once);
    return st;
}

static rlx_status by_code(const runner *r, const rlx_ir_module *lir, const char *engine)
{
    static const char *const names[MOST_RESULTS] = {"r0", "r1", "r2", "r3"};
    rlx_jit_options o = {.threads = 1,
                         .entry = "main",
                         .output_names = names,
                         .upper = r->upper,
                         .provenance = "random"};
    rlx_text entry = {0};
    rlx_executable *e = NULL;
    rlx_team *team = NULL;
    rlx_session *s = NULL;
    rlx_eval_tensor got[MOST_RESULTS];
    rlx_status st = rlx_jit_compile(lir, &r->target, &o, &entry, NULL);
    if (!st)
        st = load(r, &entry, &e);
    if (!st)
        st = rlx_team_create(1, &team);
    if (!st)
        st = rlx_session_create_device(r->gpu, team, &(rlx_session_options){0}, &s);
    if (!st)
        st = step(r, s, e);
    for (int k = 0; k < r->nresults && !st; k++) {
        rlx_tensor t = {0};
        st = rlx_session_output(s, names[k], &t);
        got[k].data = (void *)t.data;
    }
    if (!st)
        st = compare_code(r, lir, got, engine);
    rlx_session_destroy(s);
    rlx_team_destroy(team);
    rlx_executable_destroy(e);
    rlx_text_deinit(&entry);
    return st ? rlx_status_note(st, __FILE__, __LINE__, "%s", engine) : RLX_OK;
}

/* ---- nothing fused ------------------------------------------------------------------------------
 */

/* The function of node n: its operands are arguments, but for constants, which it makes. `scratch`
 * of the old values is set while it is built. */
static rlx_status make_function(rlx_ir_module *to, rlx_ir_node *n, const char *name, int *nargs,
                                rlx_ir_value **args)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, to);
    rlx_ir_func *f = rlx_ir_build_func(&b, name, 1, &n->out[0]->type);
    *nargs = 0;
    for (int i = 0; i < n->nin; i++)
        n->in[i]->scratch = NULL;
    for (int i = 0; i < n->nin && f; i++) {
        rlx_ir_value *v = n->in[i];
        if (v->scratch)
            continue;
        if (v->def && v->def->op == RLX_MIR_CONST) {
            rlx_ir_clone_node(&b, v->def);
            continue;
        }
        v->scratch = rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, NULL, v->type);
        args[(*nargs)++] = v;
    }
    rlx_ir_node *copy = rlx_ir_clone_node(&b, n);
    rlx_ir_build_return(&b, 1, copy ? copy->out : NULL);
    return rlx_ir_builder_finish(&b);
}

/* Where the value of an old value is in the new @main. */
typedef struct place {
    const rlx_ir_value *old;
    rlx_ir_value *now;
} place;

static rlx_ir_value *look_up(const place *places, int n, const rlx_ir_value *old)
{
    for (int i = 0; i < n; i++)
        if (places[i].old == old)
            return places[i].now;
    return NULL;
}

static rlx_status call_all(rlx_ir_module *to, rlx_ir_func *main, place *places)
{
    rlx_ir_builder b;
    char name[32];
    int n = 0, index = 0;
    /* functions stand before their callers: all of them first */
    for (rlx_ir_node *node = main->body->first; node; node = node->next) {
        rlx_ir_value *args[16];
        int nargs;
        if (node->op == RLX_MIR_CONST || node->op == RLX_MIR_RETURN)
            continue;
        snprintf(name, sizeof name, "op%d", index++);
        RLX_TRY(make_function(to, node, name, &nargs, args));
    }
    rlx_ir_builder_init(&b, to);
    rlx_ir_func *f = rlx_ir_build_func(&b, "main", main->nresults, main->results);
    for (int i = 0; i < main->body->nargs; i++) {
        rlx_ir_value *arg = main->body->args[i];
        places[n++] = (place){arg, rlx_ir_build_arg(&b, f, RLX_ROLE_INPUT, main->arg_info[i].symbol,
                                                    arg->name, arg->type)};
    }
    index = 0;
    for (rlx_ir_node *node = main->body->first; node; node = node->next) {
        rlx_ir_value *in[16];
        if (node->op == RLX_MIR_RETURN) {
            for (int i = 0; i < node->nin; i++)
                in[i] = look_up(places, n, node->in[i]);
            rlx_ir_build_return(&b, node->nin, in);
            continue;
        }
        if (node->op == RLX_MIR_CONST) {
            rlx_ir_node *copy = rlx_ir_clone_node(&b, node);
            places[n++] = (place){node->out[0], copy ? copy->out[0] : NULL};
            continue;
        }
        int nin = 0;
        for (int i = 0; i < node->nin; i++) { /* as make_function numbers them */
            bool seen = node->in[i]->def && node->in[i]->def->op == RLX_MIR_CONST;
            for (int k = 0; k < i; k++)
                seen = seen || node->in[k] == node->in[i];
            if (!seen)
                in[nin++] = look_up(places, n, node->in[i]);
        }
        snprintf(name, sizeof name, "op%d", index++);
        const rlx_attr attrs[] = {rlx_attr_text(RLX_ATTR_CALLEE, name),
                                  rlx_attr_int(RLX_ATTR_FIRST, 0), rlx_attr_int(RLX_ATTR_COUNT, 1)};
        places[n++] = (place){
            node->out[0], rlx_ir_build(&b, RLX_MIR_CALL, nin, in, 3, attrs, &node->out[0]->type)};
    }
    return rlx_ir_builder_finish(&b);
}

/* Every op of @main as a function of its own, which fusion does not look into. */
static rlx_status split(const rlx_ir_module *mir, rlx_ir_module **out)
{
    int nodes = 0;
    rlx_ir_func *main = mir->first;
    for (const rlx_ir_node *n = main->body->first; n; n = n->next)
        nodes++;
    place *places = calloc((size_t)(nodes + main->body->nargs + 1), sizeof *places);
    if (!places)
        return RLX_OOM();
    rlx_status st = rlx_ir_module_create(&rlx_mir_level, mir->dims, "split", out);
    if (!st)
        st = call_all(*out, main, places);
    rlx_ir_clear_scratch(main->body);
    free(places);
    return st ? st : rlx_ir_verify(*out);
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

static rlx_status lower(const runner *r, rlx_ir_module *mir, rlx_ir_module **lir)
{
    const rlx_mir_lower_options o = {.target = &r->lir_target, .upper = r->upper};
    RLX_TRY(rlx_mir_choose_precision(mir, RLX_MIR_EXACT, NULL));
    RLX_TRY(rlx_mir_optimize(mir));
    return rlx_mir_lower(mir, &o, lir);
}

static rlx_status run_fused(const runner *r, rlx_ir_module *mir)
{
    rlx_ir_module *lir = NULL;
    rlx_status st = lower(r, mir, &lir);
    if (!st)
        st = by_evaluator(r, mir, "fused MIR by the evaluator");
    if (!st)
        st = by_interpreter(r, lir);
    if (!st)
        st = by_code(r, lir, "fused code");
    rlx_ir_module_destroy(lir);
    return st;
}

static rlx_status run_split(const runner *r, const rlx_ir_module *mir)
{
    rlx_ir_module *apart = NULL, *lir = NULL;
    rlx_status st = split(mir, &apart);
    if (!st)
        st = lower(r, apart, &lir);
    if (!st)
        st = by_code(r, lir, "code of single ops");
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(apart);
    return st;
}

/* Everything with code for a target. */
static rlx_status run_path(runner *r, const rlx_jit_target *target)
{
    rlx_ir_module *mir = NULL;
    r->target = *target;
    RLX_TRY(rlx_jit_lir_target(&r->target, &r->lir_target));
    rlx_status st = rlx_hir_lower(r->g->hir, &mir);
    if (!st)
        st = by_evaluator(r, mir, "MIR by the evaluator");
    if (!st && r->splits)
        st = run_split(r, mir);
    if (!st)
        st = run_fused(r, mir); /* changes mir */
    rlx_ir_module_destroy(mir);
    return st;
}

/* With all that this CPU has, and as for each level that it reaches when that is less. LLVM is nearly all of the time, and more
 * than half of it for single ops: those of a seed run on one path, of a file on all. */
static rlx_status run_cpu(runner *r)
{
    static const char *const levels[] = {"x86-64-v4", "x86-64-v3"};
    enum { MOST_PATHS = 1 + sizeof levels / sizeof *levels };
    const uint64_t host = rlx_cpu_host()->features;
    const char *name[MOST_PATHS] = {"this CPU"};
    uint64_t features[MOST_PATHS] = {host};
    uint64_t n = 1;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        uint64_t level;
        RLX_TRY(rlx_cpu_parse(levels[i], false, &level));
        if ((host & level) != level || host == level)
            continue;
        name[n] = levels[i];
        features[n++] = level;
    }
    for (uint64_t i = 0; i < n; i++) {
        const rlx_jit_target target = {.kind = RLX_JIT_CPU, .features = features[i]};
        r->splits = r->g->is_file || r->g->seed % n == i;
        RLX_TRY_NOTE(run_path(r, &target), "for %s", name[i]);
    }
    return RLX_OK;
}

static rlx_status run_vulkan(runner *r)
{
    graph_device d;
    RLX_TRY(graph_device_open(r->device, r->g->seed, &d));
    r->gpu = d.device;
    rlx_status st = run_path(r, &d.target);
    rlx_status closed = graph_device_close(&d);
    if (st)
        rlx_status_free(closed);
    else
        st = closed;
    if (!st)
        return RLX_OK;
    rlx_text without = {0};
    rlx_vulkan_list_features(d.masked, ",-", &without);
    st = rlx_status_note(st, __FILE__, __LINE__, "on %s%s%s", r->device, without.len ? ",-" : "",
                         without.data ? without.data : "");
    rlx_text_deinit(&without);
    return st;
}

static rlx_status run_all(runner *r)
{
    RLX_TRY(make_inputs(r));
    RLX_TRY(rlx_hir_eval(r->g->hir, "main", &r->env, r->want, r->nresults));
    return r->device ? run_vulkan(r) : run_cpu(r);
}

static const char *device; /* of graph_check_on */

static rlx_status check_here(const random_graph *g)
{
    runner r = {.g = g, .nresults = g->hir->first->nresults, .device = device};
    if (r.nresults > MOST_RESULTS || g->hir->first->body->nargs > MOST_INPUTS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%d results of %d inputs", r.nresults,
                        g->hir->first->body->nargs);
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        r.upper[i] = GRAPH_UPPER;
    r.env = (rlx_eval_env){find, &r, g->live};
    rlx_status st = run_all(&r);
    free_results(r.want, r.nresults);
    for (int i = 0; i < r.ninputs; i++)
        free(r.input[i].data);
    return st;
}

/* ---- in a process of its own: code may crash ----------------------------------------------------
 */

/* What the child found, as text to the parent. */
static void tell(int out, rlx_status st)
{
    char *story = st ? rlx_status_text(st) : NULL;
    for (size_t n = story ? strlen(story) : 0, at = 0; at < n;) {
        const ssize_t written = write(out, story + at, n - at);
        if (written <= 0)
            _exit(3);
        at += (size_t)written;
    }
    _exit(st ? 1 : 0);
}

static rlx_status listen(int in, pid_t child)
{
    rlx_text story = {0};
    char part[512];
    int how = 0;
    for (ssize_t n; (n = read(in, part, sizeof part)) > 0;)
        rlx_text_put_bytes(&story, part, (size_t)n);
    waitpid(child, &how, 0);
    rlx_status st = RLX_OK;
    if (WIFSIGNALED(how))
        st = RLX_FAIL(RLX_INTERNAL, "it died of signal %d", WTERMSIG(how));
    else if (WEXITSTATUS(how))
        st = RLX_FAIL(RLX_INTERNAL, "%.*s", (int)story.len, story.data ? story.data : "");
    rlx_text_deinit(&story);
    return st;
}

void graph_check_on(const char *name)
{
    device = name;
}

rlx_status graph_check(const random_graph *g)
{
    static bool warm; /* LLVM is opened once, here */
    int ends[2];
    if (!warm && !device) { /* a device's threads would be lost in a child */
        random_graph first;
        warm = true;
        rlx_status_free(graph_generate(0, &first));
        rlx_status_free(check_here(&first));
        graph_deinit(&first);
    }
    if (pipe(ends))
        return RLX_FAIL(RLX_EXHAUSTED, "no pipe");
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        tell(ends[1], check_here(g));
    }
    close(ends[1]);
    rlx_status st = child < 0 ? RLX_FAIL(RLX_EXHAUSTED, "no process") : listen(ends[0], child);
    close(ends[0]);
    return st;
}
