/* tests/frontend/test_compile_cache.c: compiled code out of the cache: what a key depends on and
 * what not, the same numbers, and what is said of a miss. */
#include <check.h>
#include <ftw.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/cache.h"
#include "frontend/compile.h"
#include "frontend/compile_key.h"

enum { HIDDEN = 32, OUT = 8, LAYERS = 3, CHARS = 256 };

static char dir[CHARS];

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "%s/rlx-code-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a flow whose every part can be another -----------------------------------------------------
 */

typedef struct recipe {
    const char *name, *device, *probe, *key, *output;
    int threads;
    int64_t layers, upper, hidden;
    double eps, scale;
    rlx_format format;
    rlx_precision precision;
    rlx_phase phase;
    bool swapped, two_kinds, log; /* layers in another order, the first one other than the rest */
    float weights;                /* what they are made of */
    rlx_tuning tuning;
} recipe;

static const recipe usual = {.name = "flow",
                             .device = "cpu:x86-64-v3",
                             .key = "head",
                             .output = "y",
                             .threads = 1,
                             .layers = LAYERS,
                             .upper = 4,
                             .hidden = HIDDEN,
                             .eps = 1e-5,
                             .scale = 2,
                             .format = RLX_F32,
                             .weights = 1};

static void layer(rlx_flow *f, int64_t index, void *user)
{
    const recipe *r = user;
    const bool first = r->two_kinds && (r->swapped ? index > 0 : index == 0);
    rlx_flow_residual_save(f);
    if (first)
        rlx_flow_scale(f, 3);
    rlx_flow_rms_norm(f, "norm.{}", r->eps);
    rlx_flow_residual_add(f);
}

typedef struct made {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *f;
    float *norm, *head;
} made;

static void add(rlx_weights *w, const char *name, rlx_format format, int rank, int64_t rows,
                int64_t columns, const void *data)
{
    rlx_tensor t = {
        .name = name, .format = format, .rank = rank, .dim = {rows, columns}, .data = data};
    if (rank == 1)
        t.dim[0] = columns;
    t.bytes = rlx_format_bytes(format, (rank == 1 ? 1 : rows) * columns);
    must(rlx_weights_add(w, &t));
}

static void ignore_log(void *user, rlx_log_level level, const char *message)
{
    (void)user, (void)level, (void)message;
}

static made make(const recipe *r, const rlx_context_options *options)
{
    made m;
    rlx_context_options o = options ? *options : (rlx_context_options){.no_cache = true};
    o.device = r->device;
    o.threads = r->threads;
    o.log = r->log ? ignore_log : o.log;
    must(rlx_context_create(&o, &m.cx));
    must(rlx_weights_create(&m.w));
    m.norm = malloc(sizeof *m.norm * (size_t)r->hidden);
    m.head = malloc(sizeof *m.head * (size_t)(r->hidden * OUT));
    for (int64_t i = 0; i < r->hidden; i++)
        m.norm[i] = r->weights * (float)(1 + i % 5) / 4;
    for (int64_t i = 0; i < r->hidden * OUT; i++)
        m.head[i] = r->weights * (float)(i * 37 % 19 - 9) / 8;
    for (int64_t l = 0; l < r->layers; l++) {
        char name[32];
        snprintf(name, sizeof name, "norm.%lld", (long long)l);
        add(m.w, name, RLX_F32, 1, 1, r->hidden, m.norm);
    }
    add(m.w, r->key, r->format, 2, OUT, r->hidden, m.head); /* of fewer bytes: the same memory */
    must(rlx_flow_create(r->name, &m.f));
    rlx_flow_input(m.f, "x", RLX_F32, 2,
                   (const int64_t[]){rlx_flow_symbol(m.f, "TOKENS"), r->hidden});
    rlx_flow_scale(m.f, r->scale);
    rlx_flow_repeat_layers(m.f, r->layers, layer, (void *)(uintptr_t)r);
    rlx_flow_probe_point(m.f, "top");
    rlx_flow_linear(m.f, r->key, NULL);
    rlx_flow_output(m.f, r->output);
    return m;
}

static void unmake(made *m)
{
    rlx_flow_destroy(m->f);
    rlx_weights_destroy(m->w);
    rlx_context_destroy(m->cx);
    free(m->norm);
    free(m->head);
}

static rlx_compile_options options_of(const recipe *r, rlx_bucket *bucket)
{
    *bucket = (rlx_bucket){"TOKENS", r->upper};
    return (rlx_compile_options){.buckets = bucket,
                                 .nbuckets = 1,
                                 .probes = &r->probe,
                                 .nprobes = r->probe != NULL,
                                 .precision = r->precision,
                                 .phase = r->phase,
                                 .tuning = r->tuning};
}

/* The key's text; freed by the caller. */
static char *key_of(const recipe *r)
{
    made m = make(r, NULL);
    rlx_bucket bucket;
    rlx_compile_options o = options_of(r, &bucket);
    rlx_compilation c;
    rlx_text text = {0};
    must(rlx_compilation_run(&c, m.cx, m.f, m.w, &o, RLX_LEVEL_HIR));
    must(rlx_compile_key(&c, &c.target, &text));
    rlx_compilation_deinit(&c);
    unmake(&m);
    return rlx_text_take(&text);
}

/* ---- keys
 * ---------------------------------------------------------------------------------------- */

typedef struct change {
    const char *what, *field; /* the field of the key that tells; NULL: none may */
    void (*apply)(recipe *r);
} change;

#define CHANGE(name, statement) \
    static void name(recipe *r) \
    {                           \
        statement;              \
    }
CHANGE(more_layers, r->layers = LAYERS + 1)
CHANGE(wider, r->hidden = 2 * HIDDEN)
CHANGE(other_eps, r->eps = 1e-6)
CHANGE(other_scale, r->scale = 2.5)
CHANGE(larger_bucket, r->upper = 5)
CHANGE(half_weights, r->format = RLX_BF16)
CHANGE(block_weights, r->format = RLX_Q8_0)
CHANGE(with_probe, r->probe = "top")
CHANGE(fast_prefill, r->precision = RLX_FAST)
CHANGE(fast_decode, r->precision = RLX_FAST; r->phase = RLX_DECODE)
CHANGE(two_kinds, r->two_kinds = true)
CHANGE(other_order, r->two_kinds = r->swapped = true)
CHANGE(other_weight, r->key = "lm_head")
CHANGE(other_output, r->output = "z")
CHANGE(other_name, r->name = "another")
CHANGE(other_numbers, r->weights = -0.5f)
CHANGE(more_threads, r->threads = 2)
CHANGE(with_log, r->log = true)
CHANGE(exact_decode, r->phase = RLX_DECODE)
CHANGE(no_fusion, r->tuning.fusion = RLX_FUSION_NONE)
CHANGE(more_teams, r->tuning.teams = 64)
CHANGE(with_report, r->tuning.verbose = true)

static const change changes[] = {
    {"a layer more", "composition: ", more_layers},
    {"wider layers", "weight 0: ", wider},
    {"another eps", "function 0: ", other_eps},
    {"another scale", "function 1: ", other_scale},
    {"a larger bucket", "bucket: it has TOKENS 4, wanted TOKENS 5", larger_bucket},
    {"weights in bf16", "weight 1: it has head f32[8,32], wanted head bf16[8,32]", half_weights},
    {"weights in blocks", "wanted head q8_0[8,32]", block_weights},
    {"a probe", "output: wanted probe:top", with_probe},
    {"fast", "precision: it has exact, wanted fast, prefill", fast_prefill},
    {"fast decode", "wanted fast, decode", fast_decode},
    {"two kinds of layers", "composition: it has homogeneous", two_kinds},
    {"them in another order", "wanted pair", other_order},
    {"a weight's name", "wanted lm_head", other_weight},
    {"an output's name", "output: it has y, wanted z", other_output},
    {"another fusion", "tuning: wanted fusion 2, single maps 0", no_fusion},
    {"other schedules", "tuning: wanted fusion 0, single maps 0, clean 0, l1 0, l2 0, teams 64",
     more_teams},
    {"a report of fusion", NULL, with_report},
    {"the flow's name", NULL, other_name},
    {"what weights are", NULL, other_numbers},
    {"threads", NULL, more_threads},
    {"the log", NULL, with_log},
    {"the phase, where both are alike", NULL, exact_decode},
};
enum { NCHANGES = sizeof changes / sizeof *changes };

START_TEST(every_field_that_matters)
{
    const change *c = &changes[_i];
    recipe r = usual;
    c->apply(&r);
    char *before = key_of(&usual), *after = key_of(&r);
    rlx_text why = {0};
    int differ = rlx_key_compare(before, after, &why);
    ck_assert_int_eq(differ > 0, c->field != NULL);
    ck_assert_msg(!differ == !strcmp(before, after), "%s: %d fields differ", c->what, differ);
    if (c->field)
        ck_assert_msg(strstr(why.data, c->field), "%s: no \"%s\" in\n%s", c->what, c->field,
                      why.data);
    rlx_text_deinit(&why);
    free(before);
    free(after);
}
END_TEST

/* What a key says of tuning is read back when an entry is made again. */
START_TEST(tuning_is_read_back)
{
    const rlx_tuning want = {.fusion = RLX_FUSION_BLOCKS,
                             .unfuse_maps = true,
                             .l1_bytes = 4096,
                             .l2_bytes = INT64_C(1) << 33,
                             .teams = 3};
    recipe r = usual;
    r.tuning = want;
    char *key = key_of(&r);
    rlx_tuning got;
    rlx_key_field f;
    bool found = false;
    for (const char *at = key; rlx_key_next(&at, &f);) {
        if (f.name_len != 6 || memcmp(f.name, "tuning", 6))
            continue;
        char *text = strndup(f.value, f.value_len);
        must(rlx_compile_read_tuning(text, &got));
        free(text);
        found = true;
    }
    ck_assert(found);
    ck_assert(got.fusion == want.fusion && got.unfuse_maps && !got.assert_clean);
    ck_assert(got.l1_bytes == want.l1_bytes && got.l2_bytes == want.l2_bytes && got.teams == 3);
    must(rlx_compile_read_tuning("", &got));
    ck_assert(!got.fusion && !got.teams);
    rlx_status st = rlx_compile_read_tuning("fast", &got);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_FILE);
    rlx_status_free(st);
    free(key);
}
END_TEST

/* Two kinds of layers in two orders are two keys. */
START_TEST(order_matters)
{
    recipe a = usual, b = usual;
    two_kinds(&a);
    other_order(&b);
    char *x = key_of(&a), *y = key_of(&b);
    ck_assert_str_ne(x, y);
    free(x);
    free(y);
}
END_TEST

static rlx_text describe(const rlx_jit_target *t)
{
    rlx_text text = {0};
    must(rlx_jit_describe_code(t, &text));
    return text;
}

/* Features that code is made of tell targets apart, others do not; every named machine is another
 * target. */
START_TEST(targets)
{
    rlx_jit_target a = {.kind = RLX_JIT_CPU}, b = a;
    must(rlx_cpu_parse("x86-64-v4", false, &a.features));
    must(rlx_cpu_parse("x86-64-v4+avx512vbmi", false, &b.features));
    rlx_text x = describe(&a), y = describe(&b);
    ck_assert_str_eq(x.data, y.data);
    rlx_text_deinit(&y);
    must(rlx_cpu_parse("x86-64-v4+avx512vnni", false, &b.features));
    y = describe(&b);
    ck_assert_str_ne(x.data, y.data);
    rlx_text_deinit(&x);
    rlx_text_deinit(&y);
    rlx_jit_target all = {.kind = RLX_JIT_CPU, .features = ~UINT64_C(0)}, below;
    int cpus = 0; /* Vulkan's kinds of devices come behind them */
    for (; rlx_jit_target_below(&all, cpus, &below); cpus++) {
        x = describe(&below);
        for (int k = 0; k < cpus; k++) {
            ck_assert(rlx_jit_target_below(&all, k, &b));
            y = describe(&b);
            ck_assert_str_ne(x.data, y.data);
            rlx_text_deinit(&y);
        }
        rlx_text_deinit(&x);
    }
    rlx_jit_target v3 = {.kind = RLX_JIT_CPU};
    must(rlx_cpu_parse("x86-64-v3", false, &v3.features));
    ck_assert(!rlx_jit_target_below(&v3, 0, &below)); /* the first has AMX */
    ck_assert(rlx_jit_target_below(&v3, cpus - 1, &below));
    must(rlx_jit_target_named("znver4", &below));
    must(rlx_jit_target_named("neoverse-v2", &below));
    rlx_status st = rlx_jit_target_named("znver44", &below);
    ck_assert_ptr_nonnull(strstr(rlx_status_message(st), "did you mean \"znver4\"?"));
    rlx_status_free(st);
}
END_TEST

static rlx_jit_target cpu_of(const char *features)
{
    rlx_jit_target t = {.kind = RLX_JIT_CPU};
    must(rlx_cpu_parse(features, false, &t.features));
    return t;
}

static bool fits_below(const rlx_jit_target *host, const char *name)
{
    rlx_jit_target named, below;
    must(rlx_jit_target_named(name, &named));
    for (int i = 0; i < rlx_jit_target_count(); i++)
        if (rlx_jit_target_below(host, i, &below) && below.machine == named.machine)
            return true;
    return false;
}

/* A CPU whose products of bf16 do not pay is made other code for, and runs what was made for one
 * whose do. */
START_TEST(targets_with_slow_features)
{
    rlx_jit_target t = cpu_of("x86-64-v4+avx512vnni+avx512vbmi"), named;
    ck_assert(!fits_below(&t, "znver4")); /* masked */
    t.slow_features = cpu_of("x86-64-v4+avx512bf16").features & ~t.features;
    ck_assert(fits_below(&t, "znver4"));
    ck_assert(!fits_below(&t, "sapphirerapids"));
    must(rlx_jit_target_named("znver4", &named));
    ck_assert(!rlx_jit_same_features(&t, &named));
    must(rlx_jit_target_named("icelake-server", &named));
    ck_assert(rlx_jit_same_features(&t, &named));
    /* Where tiles multiply bf16, pairs are nobody's. */
    t = cpu_of("x86-64-v4+avx512vnni+avxvnni+amx-int8+amx-bf16");
    must(rlx_jit_target_named("sapphirerapids", &named));
    ck_assert(rlx_jit_same_features(&t, &named));
    ck_assert(fits_below(&t, "sapphirerapids"));
}
END_TEST

/* ---- compiling
 * ----------------------------------------------------------------------------------- */

static rlx_status compile(const made *m, const recipe *r, rlx_compile_stats *stats,
                          rlx_executable **exe)
{
    rlx_bucket bucket;
    rlx_compile_options o = options_of(r, &bucket);
    return rlx_flow_compile(m->cx, m->f, m->w, &o, stats, exe);
}

static void run(const made *m, rlx_executable *exe, float y[4 * OUT])
{
    float x[4 * HIDDEN];
    rlx_session *s;
    rlx_tensor out, in = {.name = "x",
                          .format = RLX_F32,
                          .rank = 2,
                          .dim = {4, HIDDEN},
                          .data = x,
                          .bytes = sizeof x};
    for (int i = 0; i < 4 * HIDDEN; i++)
        x[i] = (float)(i * 7 % 13 - 6) / 4;
    must(rlx_session_create(m->cx, NULL, &s));
    must(rlx_executable_run(exe, s, &in, 1));
    must(rlx_session_output(s, "y", &out));
    ck_assert_uint_eq(out.bytes, sizeof(float) * 4 * OUT);
    memcpy(y, out.data, out.bytes);
    rlx_session_destroy(s);
}

/* The second time the code comes from the folder: the same statistics, and the same bits. */
START_TEST(the_second_time)
{
    const rlx_context_options o = {.cache.folder = dir};
    rlx_compile_stats first, second;
    rlx_executable *exe;
    float a[4 * OUT], b[4 * OUT];
    made m = make(&usual, &o);
    must(compile(&m, &usual, &first, &exe));
    run(&m, exe, a);
    rlx_executable_destroy(exe);
    unmake(&m);
    m = make(&usual, &o);
    must(compile(&m, &usual, &second, &exe));
    run(&m, exe, b);
    rlx_executable_destroy(exe);
    ck_assert(!first.cached);
    ck_assert(second.cached);
    ck_assert_int_eq(first.kernels, second.kernels);
    ck_assert_int_eq(first.functions, second.functions);
    ck_assert_int_eq(first.code_bytes, second.code_bytes);
    ck_assert_int_eq(first.arena_bytes, second.arena_bytes);
    ck_assert_int_eq(first.arena_lower_bound, second.arena_lower_bound);
    ck_assert_int_eq(first.token_weight_bytes, second.token_weight_bytes);
    ck_assert_mem_eq(a, b, sizeof a);
    unmake(&m);
    recipe other = usual;
    other.weights = 0.5f; /* the same code on other weights */
    m = make(&other, &o);
    must(compile(&m, &other, &second, &exe));
    run(&m, exe, b);
    ck_assert(second.cached);
    ck_assert_int_ne(memcmp(a, b, sizeof a), 0);
    rlx_executable_destroy(exe);
    unmake(&m);
}
END_TEST

/* Under whatever keys a program is looked for, that is one hit or one miss. */
START_TEST(hits_and_misses_are_counted_once)
{
    const rlx_context_options o = {.cache.folder = dir};
    rlx_cache_stats stats;
    rlx_executable *exe;
    made m = make(&usual, &o);
    for (int i = 0; i < 2; i++) {
        must(compile(&m, &usual, NULL, &exe));
        rlx_executable_destroy(exe);
        rlx_cache_get_stats(rlx_context_cache(m.cx), &stats);
        ck_assert_int_eq(stats.misses, 1);
        ck_assert_int_eq(stats.hits, i);
        ck_assert_int_eq(stats.written, 1);
    }
    unmake(&m);
}
END_TEST

#define ELSEWHERE \
    "RLX_TEST_ELSEWHERE" /* in the environment: the process is the other one; its folder */

/* ---- code generation is deterministic ------------------------------------------------------- */

/* A locale that writes 1,5, made here; false: it cannot be. */
static bool use_commas(void)
{
    static const char source[] = "escape_char /\nLC_NUMERIC\ndecimal_point \"<U002C>\"\n"
                                 "thousands_sep \"<U002E>\"\ngrouping 3;3\nEND LC_NUMERIC\n";
    char command[3 * CHARS], text[16];
    snprintf(command, sizeof command, "%s/commas.src", dir);
    FILE *f = fopen(command, "w");
    ck_assert_ptr_nonnull(f);
    fputs(source, f);
    fclose(f);
    snprintf(command, sizeof command,
             "cd %s && localedef -c -i commas.src -f ANSI_X3.4-1968 ./commas > /dev/null 2>&1",
             dir);
    if (system(command) == -1)
        return false;
    setenv("LOCPATH", dir, 1);
    if (!setlocale(LC_NUMERIC, "commas"))
        return false;
    snprintf(text, sizeof text, "%.1f", 1.5);
    return !strcmp(text, "1,5");
}

typedef struct bytes {
    void *data;
    size_t n;
} bytes;

static bool take_bytes(void *user, const rlx_cache_entry *e)
{
    (void)e;
    bytes *b = user;
    ck_assert_ptr_null(b->data);
    b->n = (size_t)e->bytes;
    b->data = malloc(b->n);
    char path[2 * CHARS];
    snprintf(path, sizeof path, "code/%s.rlx", e->key); /* of the current folder */
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(b->data, 1, b->n, f), b->n);
    fclose(f);
    return true;
}

/* The one entry that compiling into a folder of that name leaves; it becomes the current folder. */
static bytes compile_into(const char *name)
{
    char folder[2 * CHARS];
    rlx_executable *exe;
    bytes b = {0};
    snprintf(folder, sizeof folder, "%s/%s", dir, name);
    made m = make(&usual, &(rlx_context_options){.cache.folder = folder});
    must(compile(&m, &usual, NULL, &exe));
    rlx_executable_destroy(exe);
    ck_assert_int_eq(chdir(folder), 0);
    must(rlx_cache_each(rlx_context_cache(m.cx), take_bytes, &b));
    unmake(&m);
    return b;
}

/* For GPUs that are not here: as rlx warm makes them. */
static void warm_gpus(const char *name)
{
    static const char *const gpus[] = {"cuda:sm_90a", "cuda:sm_90a,step=kernel",
                                       "cuda:sm_80,step=auto", "hip:gfx942"};
    char folder[2 * CHARS];
    rlx_bucket bucket;
    snprintf(folder, sizeof folder, "%s/%s", dir, name);
    made m = make(&usual, &(rlx_context_options){.cache.folder = folder});
    rlx_compile_options o = options_of(&usual, &bucket);
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        rlx_jit_target t;
        bool there;
        must(rlx_jit_target_named(gpus[i], &t));
        must(rlx_flow_warm(m.cx, &t, m.f, m.w, &o, false, &there, NULL));
        ck_assert(!there);
    }
    unmake(&m);
}

static bool verify_anew(void *user, const rlx_cache_entry *e)
{
    must(rlx_cache_verify(user, e, true));
    return true;
}

/* In another process, whose addresses are others, in another folder, locale and cache: the same bytes; and there the first
 * one's entries hold against compiling anew. */
START_TEST(the_same_bytes_elsewhere)
{
    const bytes here = compile_into("here");
    warm_gpus("here");
    const pid_t pid = fork();
    if (pid == 0) {
        const char *own[] = {"/proc/self/exe", NULL};
        setenv(ELSEWHERE, dir, 1);
        execv(own[0], (char **)(uintptr_t)own); /* a new image: its libraries lie elsewhere */
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    ck_assert_int_eq(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    ck_assert_int_eq(chdir(dir), 0);
    const bytes there = compile_into("there"); /* a hit: what the other process left */
    ck_assert_uint_eq(here.n, there.n);
    ck_assert_mem_eq(here.data, there.data, here.n);
    free(here.data);
    free(there.data);
}
END_TEST

/* What the other process does. */
START_TEST(elsewhere)
{
    char path[2 * CHARS];
    rlx_cache *c;
    snprintf(dir, sizeof dir, "%s", getenv(ELSEWHERE));
    if (!use_commas())
        fprintf(stderr, "no locale with decimal commas: localedef makes none here\n");
    free(compile_into("there").data);
    snprintf(path, sizeof path, "%s/here", dir);
    must(rlx_cache_open(&(rlx_cache_options){.folder = path}, &c));
    must(rlx_cache_each(c, verify_anew, c));
    rlx_cache_close(c);
}
END_TEST

static void expect_refusal(rlx_status st, const char *const *parts, int n)
{
    ck_assert_int_eq(rlx_status_code(st), RLX_NOT_FOUND);
    for (int i = 0; i < n; i++)
        ck_assert_msg(strstr(rlx_status_message(st), parts[i]), "\"%s\" does not say %s",
                      rlx_status_message(st), parts[i]);
    rlx_status_free(st);
}

/* Where nothing may be compiled the bucket is named, and the fields in which the nearest entry
 * differs. */
START_TEST(misses_are_explained)
{
    rlx_context_options o = {.cache.folder = dir, .no_compile = true};
    rlx_executable *exe;
    made m = make(&usual, &o);
    expect_refusal(
        compile(&m, &usual, NULL, &exe),
        (const char *[]){"TOKENS 4, exact", "nothing may be compiled", "there are no entries"}, 3);
    unmake(&m);
    o.no_compile = false;
    m = make(&usual, &o);
    must(compile(&m, &usual, NULL, &exe));
    rlx_executable_destroy(exe);
    must(rlx_cache_seal(rlx_context_cache(m.cx), true));
    must(compile(&m, &usual, NULL, &exe));
    rlx_executable_destroy(exe);
    unmake(&m);
    recipe r = usual;
    r.upper = 7;
    m = make(&r, &o);
    expect_refusal(compile(&m, &r, NULL, &exe),
                   (const char *[]){"TOKENS 7, exact", "the cache is sealed", "differs in 1 field",
                                    "bucket: it has TOKENS 4, wanted TOKENS 7"},
                   4);
    unmake(&m);
    rlx_context *cx;
    rlx_status st =
        rlx_context_create(&(rlx_context_options){.no_cache = true, .no_compile = true}, &cx);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    rlx_status_free(st);
}
END_TEST

static TCase *all_tests(void)
{
    TCase *t = tcase_create("cache");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, every_field_that_matters, 0, NCHANGES);
    tcase_add_test(t, tuning_is_read_back);
    tcase_add_test(t, order_matters);
    tcase_add_test(t, targets);
    tcase_add_test(t, targets_with_slow_features);
    tcase_add_test(t, the_second_time);
    tcase_add_test(t, hits_and_misses_are_counted_once);
    tcase_add_test(t, the_same_bytes_elsewhere);
    tcase_add_test(t, misses_are_explained);
    return t;
}

/* In the folder of the process that began this one, which removes it. */
static TCase *tests_elsewhere(void)
{
    TCase *t = tcase_create("elsewhere");
    tcase_add_test(t, elsewhere);
    return t;
}

int main(void)
{
    Suite *s = suite_create("compile cache");
    suite_add_tcase(s, getenv(ELSEWHERE) ? tests_elsewhere() : all_tests());
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
