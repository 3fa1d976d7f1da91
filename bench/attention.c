/* Attention alone: the kernel of one layer as models have it, over pages of keys and values.
 *
 *   attention [--cpu FEATURES] [-t THREADS] [-k FORMAT] [-d WIDTH,..] [-n KEYS,..] [-p TOKENS,..]
 *
 * FORMAT dense is no pool but attention over tensors, as encoders have it: 12 heads with keys of
 * their own, TOKENS queries that see all KEYS. FORMAT causal is the same with a mask: the last query
 * sees all keys, each one before it one less. What is hidden is not counted.
 *
 * 32 query heads on 8 kv heads. A row is a step of TOKENS tokens at the end of KEYS positions (1:
 * decoding): operations per second beside f32 multiply-adds out of registers, and bytes of keys and
 * values per second beside how fast the same pools are read (ceilings.h). Decoding goes from sequence to
 * sequence, so that caches hold none. Best of several trials; one thread by its own time, more by
 * the clock. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/tool/ceilings.h"
#include "jit/jit.h"
#include "jit/kernel_info.h"
#include "mir/mir.h"
#include "runtime/cpu.h"
#include "runtime/load_elf.h"

enum {
    HEADS = 32,
    KV_HEADS = 8,
    DENSE_HEADS = 12,
    PAGE = 256,
    MAX_LIST = 8,
    MAX_BUFFERS = 12,
    MAX_THREADS = 64
};
static const int64_t pool_bytes = 256 << 20; /* of keys and values that decoding goes through */
static const double trial_seconds = 0.02;

typedef struct list {
    int n;
    int64_t v[MAX_LIST];
} list;

typedef struct options {
    const char *cpu;
    rlx_format format;
    bool dense, causal; /* causal: dense, too */
    int threads;
    list widths, keys, tokens;
} options;

/* ---- a step ---- */

typedef struct tensor {
    char name[16];
    rlx_ir_type type;
    void *data;
    size_t bytes;
} tensor;

typedef struct step {
    const options *o;
    int64_t width, keys, tokens;
    int64_t seqs, symbols[RLX_MAX_SYMBOLS];
    tensor tensor[MAX_BUFFERS];
    int ntensors;
    rlx_elf_image *image;
    rlx_kernel_fn *run;
    void *buffers[MAX_BUFFERS];
    void *memory[MAX_THREADS]; /* team memory */
} step;

static int64_t slots_of(const step *s)
{
    return (s->keys + PAGE - 1) / PAGE;
}

/* Of one sequence. */
static int64_t kv_bytes(const step *s, int64_t positions)
{
    const int64_t elems = 2 * positions * KV_HEADS * s->width;
    int64_t bytes = (int64_t)rlx_format_bytes(s->o->format, elems);
    if (s->o->format == RLX_I8)
        bytes += (int64_t)rlx_format_bytes(RLX_F16, elems / RLX_KV_GROUP);
    return bytes;
}

/* bool[12,S,K]: key j is no later than the query at K - S + i. */
static void put_causal(rlx_text *t)
{
    rlx_text_putf(t,
                  "    %%i = iota : i32[S]\n    %%j = iota : i32[K]\n"
                  "    %%first = broadcast %%lead {axes=[]} : i32[S]\n"
                  "    %%at = map %%i, %%first {fn=add} : i32[S]\n"
                  "    %%rows = broadcast %%at {axes=[1]} : i32[%d,S,K]\n"
                  "    %%columns = broadcast %%j {axes=[2]} : i32[%d,S,K]\n"
                  "    %%seen = map %%columns, %%rows {fn=le} : bool[%d,S,K]\n",
                  DENSE_HEADS, DENSE_HEADS, DENSE_HEADS);
}

static void put_dense(const step *s, rlx_text *t)
{
    const long long n = DENSE_HEADS, d = s->width;
    const bool causal = s->o->causal;
    rlx_text_putf(t,
                  "mir module @m {\n  func @main(%%q: f32[S,%lld,%lld] input \"q\", "
                  "%%k: f32[K,%lld,%lld] input \"k\", %%v: f32[K,%lld,%lld] input \"v\"%s) -> "
                  "(f32[S,%lld,%lld]) {\n",
                  n, d, n, d, n, d, causal ? ", %lead: i32 input \"lead\"" : "", n, d);
    if (causal)
        put_causal(t);
    rlx_text_putf(t,
                  "    %%o = dense_attention %%q, %%k, %%v%s {scale=0.125, counts=[0,%d,0]} : "
                  "f32[S,%lld,%lld]\n    return %%o\n  }\n}\n",
                  causal ? ", %seen" : "", causal, n, d);
}

static void put_module(const step *s, rlx_text *t)
{
    if (s->o->dense) {
        put_dense(s, t);
        return;
    }
    const char *f = rlx_format_get(s->o->format)->name;
    const long long d = s->width;
    const bool coded = s->o->format == RLX_I8;
    rlx_text_putf(t,
                  "mir module @m {\n  func @main(%%q: f32[T,%d,%lld] input \"q\", "
                  "%%k: %s[PAGES,%d,%lld,%d] state \"k\", %%v: %s[PAGES,%d,%d,%lld] state \"v\", "
                  "%%pos: i32[T] input \"pos\", %%seq: i32[T] input \"seq\", "
                  "%%table: i32[SEQS,SLOTS] input \"table\"",
                  HEADS, d, f, KV_HEADS, d, PAGE, f, KV_HEADS, PAGE, d);
    if (coded)
        rlx_text_putf(t,
                      ", %%ks: f16[PAGES,%d,%lld,%d] state \"ks\", "
                      "%%vs: f16[PAGES,%d,%d,%lld] state \"vs\"",
                      KV_HEADS, d / RLX_KV_GROUP, PAGE, KV_HEADS, PAGE, d / RLX_KV_GROUP);
    rlx_text_putf(t,
                  ") -> (f32[T,%d,%lld]) {\n    %%o = attention %%q, %%k, %%v, %%pos, %%seq, "
                  "%%table%s {scale=0.125} : f32[T,%d,%lld]\n    return %%o\n  }\n}\n",
                  HEADS, d, coded ? ", %ks, %vs" : "", HEADS, d);
}

static void bind_symbol(step *s, const rlx_dims *dims, const char *name, int64_t value)
{
    s->symbols[rlx_dim_symbol_index(dims, name)] = value;
}

static void bind_symbols(step *s, const rlx_dims *dims)
{
    if (s->o->dense) {
        bind_symbol(s, dims, "S", s->tokens);
        bind_symbol(s, dims, "K", s->keys);
        return;
    }
    s->seqs = s->tokens > 1 ? 1 : (pool_bytes + kv_bytes(s, s->keys) - 1) / kv_bytes(s, s->keys);
    bind_symbol(s, dims, "T", s->tokens);
    bind_symbol(s, dims, "SEQS", s->seqs);
    bind_symbol(s, dims, "SLOTS", slots_of(s));
    bind_symbol(s, dims, "PAGES", s->seqs * slots_of(s));
}

/* Small floats, codes and scales; pages in order; tokens at the end of sequence 0. */
static void fill_tensor(const step *s, const tensor *t, int64_t elems)
{
    for (int64_t i = 0; i < elems; i++) {
        const bool codes = t->type.format == RLX_I8;
        double v = (double)(i * 2654435761 % 1021 - 510) / (codes ? 5 : 600);
        if (strcmp(t->name, "pos") == 0)
            v = (double)(s->keys - s->tokens + i);
        else if (strcmp(t->name, "lead") == 0)
            v = (double)(s->keys - s->tokens);
        else if (strcmp(t->name, "seq") == 0)
            v = 0;
        else if (strcmp(t->name, "table") == 0)
            v = (double)i;
        rlx_format_store(t->type.format, t->data, i, codes ? (double)(int)v : v);
    }
}

static rlx_status make_tensor(step *s, const rlx_dims *dims, const char *name,
                              const rlx_ir_type *type)
{
    tensor *t = &s->tensor[s->ntensors++];
    int64_t elems = 1;
    *t = (tensor){.type = *type};
    snprintf(t->name, sizeof t->name, "%s", name);
    for (int i = 0; i < type->rank; i++)
        elems *= rlx_dim_eval(dims, type->dim[i], s->symbols);
    t->bytes = rlx_format_bytes(type->format, elems);
    t->data = aligned_alloc(4096, (t->bytes + 4095) & ~(size_t)4095);
    if (!t->data)
        return RLX_OOM();
    fill_tensor(s, t, elems);
    return RLX_OK;
}

/* The kernel's buffers are what its launch in the tape names. */
static rlx_status make_buffers(step *s, const rlx_ir_module *lir, const rlx_ir_node *launch)
{
    const rlx_ir_func *tape = rlx_ir_func_find(lir, "main");
    for (int i = 0; i < launch->nin; i++)
        for (int j = 0; j < tape->body->nargs; j++)
            if (tape->body->args[j] == launch->in[i]) {
                const char *name = tape->arg_info[j].symbol;
                RLX_TRY(make_tensor(s, lir->dims, name ? name : "result", &launch->in[i]->type));
                s->buffers[i] = s->tensor[s->ntensors - 1].data;
            }
    return RLX_OK;
}

static rlx_status load_kernel(step *s, const rlx_ir_func *kernel, const rlx_jit_target *target)
{
    uint8_t *code;
    size_t bytes;
    RLX_TRY(rlx_jit_emit_kernel(kernel, target, &code, &bytes));
    rlx_elf_object object = {.name = kernel->name, .data = code, .bytes = bytes};
    rlx_status st = rlx_elf_image_create(&object, 1, &s->image);
    free(code);
    RLX_TRY(st);
    *(void **)&s->run = rlx_elf_image_get(s->image, 0);
    for (int i = 0; i < s->o->threads; i++) {
        s->memory[i] = aligned_alloc(64, ((size_t)rlx_jit_team_bytes(kernel) + 127) & ~(size_t)63);
        if (!s->memory[i])
            return RLX_OOM();
    }
    return RLX_OK;
}

static rlx_status lower_step(step *s, const rlx_jit_target *target, rlx_ir_module *mir,
                             rlx_ir_module **lir)
{
    rlx_lir_target lt;
    RLX_TRY(rlx_mir_optimize(mir));
    RLX_TRY(rlx_jit_lir_target(target, &lt));
    lt.threads = s->o->threads;
    return rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &lt, .upper = s->symbols}, lir);
}

static rlx_status make_step(step *s, const rlx_jit_target *target, rlx_dims *dims)
{
    rlx_text text = {0};
    rlx_ir_module *mir = NULL, *lir = NULL;
    put_module(s, &text);
    rlx_status st = rlx_ir_parse(&rlx_mir_level, dims, "attention", text.data, &mir);
    rlx_text_deinit(&text);
    RLX_TRY(st);
    bind_symbols(s, dims);
    st = lower_step(s, target, mir, &lir);
    for (const rlx_ir_node *n = st ? NULL : rlx_ir_func_find(lir, "main")->body->first; n;
         n = n->next) {
        if (n->op != RLX_LIR_LAUNCH)
            continue;
        st = make_buffers(s, lir, n);
        if (!st)
            st = load_kernel(s, rlx_ir_func_find(lir, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "")),
                             target);
        break;
    }
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    return st;
}

static tensor *find(step *s, const char *name)
{
    for (int i = 0; i < s->ntensors; i++)
        if (strcmp(s->tensor[i].name, name) == 0)
            return &s->tensor[i];
    return NULL;
}

static void destroy_step(step *s)
{
    for (int i = 0; i < s->ntensors; i++)
        free(s->tensor[i].data);
    for (int i = 0; i < s->o->threads; i++)
        free(s->memory[i]);
    rlx_elf_image_destroy(s->image);
}

/* ---- time ---- */

typedef struct team {
    step *s;
    int index;
    pthread_barrier_t *barrier;
    int trials;
    double best; /* seconds of a step */
} team;

static double now(const step *s)
{
    struct timespec t;
    clock_gettime(s->o->threads > 1 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *run_team(void *arg)
{
    team *m = arg;
    step *s = m->s;
    int32_t *seq = s->o->dense ? NULL : find(s, "seq")->data;
    m->best = 1e30;
    for (int i = 0; i < m->trials; i++) {
        pthread_barrier_wait(m->barrier);
        const double begin = now(s);
        s->run(s->buffers, s->symbols, m->index, s->o->threads, s->memory[m->index]);
        pthread_barrier_wait(m->barrier);
        const double seconds = now(s) - begin;
        m->best = seconds < m->best ? seconds : m->best;
        if (m->index == 0 && s->tokens == 1 && seq)
            seq[0] = (int32_t)((i + 1) % s->seqs);
    }
    return NULL;
}

static double seconds_of(step *s, int trials)
{
    pthread_barrier_t barrier;
    pthread_t thread[MAX_THREADS];
    team member[MAX_THREADS];
    const int n = s->o->threads;
    pthread_barrier_init(&barrier, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        member[i] = (team){.s = s, .index = i, .barrier = &barrier, .trials = trials};
        if (i > 0 && pthread_create(&thread[i], NULL, run_team, &member[i]))
            abort();
    }
    run_team(&member[0]);
    for (int i = 1; i < n; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&barrier);
    return member[0].best;
}

static double f32_peak(const char *device, int threads)
{
    const ceiling_unit *units[CEILING_MAX_UNITS];
    double best = 0;
    const size_t n = ceiling_units(device, units);
    for (size_t i = 0; i < n; i++) {
        const double rate = units[i]->f32 ? ceiling_unit_rate(units[i], threads, 9) : 0;
        best = rate > best ? rate : best;
    }
    return best;
}

static void print_step(step *s, const char *device)
{
    const double once = seconds_of(s, 2);
    const int trials = (int)(trial_seconds * 20 / once) + 5;
    const double seconds = seconds_of(s, trials < 400 ? trials : 400);
    const bool dense = s->o->dense, whole = dense && !s->o->causal;
    const double seen =
        (double)s->tokens * (whole ? (double)s->keys : (double)(2 * s->keys - s->tokens + 1) / 2);
    const double rate = 4 * seen * (dense ? DENSE_HEADS : HEADS) * (double)s->width / seconds;
    const char *name = whole ? "dense" : dense ? "causal" : rlx_format_get(s->o->format)->name;
    printf("%-6s %4lld %6lld %6lld %10.1f us", name, (long long)s->width, (long long)s->keys,
           (long long)s->tokens, seconds * 1e6);
    if (s->tokens > 1 || dense) {
        const double peak = f32_peak(device, s->o->threads);
        printf(" %8.1f GFLOP/s %4.0f%% of %.0f\n", rate / 1e9, 100 * rate / peak, peak / 1e9);
        return;
    }
    const double bytes = (double)kv_bytes(s, s->keys) / seconds;
    const tensor *k = find(s, "k"), *v = find(s, "v");
    const byte_span pools[] = {{k->data, k->bytes}, {v->data, v->bytes}};
    const double read = ceiling_read(pools, 2, s->o->threads, 1, 5);
    printf(" %8.1f GB/s    %4.0f%% of %.1f\n", bytes / 1e9, 100 * bytes / read, read / 1e9);
}

/* ---- the program ---- */

static bool parse_list(const char *text, list *l)
{
    l->n = 0;
    for (char *end; l->n < MAX_LIST; text = end + 1) {
        l->v[l->n++] = strtoll(text, &end, 10);
        if (end == text || l->v[l->n - 1] < 1)
            return false;
        if (!*end)
            return true;
    }
    return false;
}

static bool is_pool(const char *name, rlx_format *out)
{
    *out = strcmp(name, "q8_0") == 0 ? RLX_I8 : rlx_format_parse(name, strlen(name));
    return rlx_mir_is_pool(*out);
}

static bool parse_option(options *o, const char *name, const char *value)
{
    list one;
    if (strcmp(name, "--cpu") == 0) {
        o->cpu = value;
        return true;
    }
    if (strcmp(name, "-k") == 0 && (!strcmp(value, "dense") || !strcmp(value, "causal"))) {
        o->causal = *value == 'c';
        return o->dense = true;
    }
    if (strcmp(name, "-k") == 0)
        return is_pool(value, &o->format);
    if (strcmp(name, "-t") == 0 && parse_list(value, &one)) {
        o->threads = (int)one.v[0];
        return o->threads <= MAX_THREADS;
    }
    list *l = strcmp(name, "-d") == 0   ? &o->widths
              : strcmp(name, "-n") == 0 ? &o->keys
              : strcmp(name, "-p") == 0 ? &o->tokens
                                        : NULL;
    return l && parse_list(value, l);
}

static rlx_status run_all(const options *o)
{
    rlx_jit_target target = {.kind = RLX_JIT_CPU};
    rlx_text device = {0};
    rlx_status st = rlx_cpu_parse(o->cpu, true, &target.features);
    rlx_text_put(&device, "cpu:");
    rlx_cpu_describe(target.features, &device);
    for (int d = 0; d < o->widths.n; d++)
        for (int p = 0; p < o->tokens.n; p++)
            for (int n = 0; n < o->keys.n && !st; n++) {
                step s = {.o = o, .width = o->widths.v[d], .keys = o->keys.v[n]};
                s.tokens = o->tokens.v[p] < s.keys ? o->tokens.v[p] : s.keys;
                rlx_dims *dims = rlx_dims_create();
                st = dims ? make_step(&s, &target, dims) : RLX_OOM();
                if (!st)
                    print_step(&s, device.data);
                fflush(stdout);
                destroy_step(&s);
                rlx_dims_destroy(dims);
            }
    rlx_text_deinit(&device);
    return st;
}

int main(int argc, char **argv)
{
    options o = {.cpu = "native",
                 .format = RLX_F32,
                 .threads = 1,
                 .widths = {2, {64, 128}},
                 .keys = {5, {512, 1024, 2048, 4096, 8192}},
                 .tokens = {2, {1, 512}}};
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !parse_option(&o, argv[i], argv[i + 1])) {
            fprintf(stderr,
                    "attention [--cpu FEATURES] [-t THREADS] [-k f32|f16|bf16|q8_0|dense|causal] "
                    "[-d WIDTH,..] [-n KEYS,..] [-p TOKENS,..]\n");
            return 2;
        }
    rlx_status st = run_all(&o);
    if (!st)
        return 0;
    char *story = rlx_status_text(st);
    fprintf(stderr, "%s\n", story);
    free(story);
    rlx_status_free(st);
    return 1;
}
