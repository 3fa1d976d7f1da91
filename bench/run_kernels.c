/* Runs the kernels of a LIR file on data that stays in the caches, and prints what they compute and
 * read per second, beside what the machine's units could do in the same run.
 *
 *   run_kernels [--cpu FEATURES] [--asm] FILE.rlx [SYMBOL=VALUE]...
 *
 * Buffers hold arbitrary values of their formats; those named code<bits>.. codes of so many bits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/tool/ceilings.h"
#include "jit/jit.h"
#include "jit/kernel_info.h"
#include "jit/objects.h"
#include "runtime/cpu.h"
#include "runtime/load_elf.h"

enum { MAX_BUFFERS = 24, TRIALS = 100 };
static const double trial_seconds = 0.003;

typedef struct options {
    const char *cpu, *path;
    bool print_asm;
} options;

/* Of this thread's own running: others take the processor away. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static rlx_status parse_module(const options *o, rlx_dims *dims, rlx_ir_module **out)
{
    char *text;
    size_t bytes;
    RLX_TRY(rlx_file_read(o->path, &text, &bytes));
    rlx_status st = rlx_ir_parse(&rlx_lir_level, dims, o->path, text, out);
    free(text);
    RLX_TRY(st);
    RLX_TRY(rlx_ir_run_passes(*out, &rlx_lir_pass_expand_math, 1, NULL));
    return rlx_ir_verify(*out);
}

/* ---- data ---- */

static uint64_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static double any_value(const rlx_ir_value *v)
{
    rlx_format f = v->type.format;
    const char *name = v->name ? v->name : "";
    if (rlx_format_is_float(f))
        return (double)next_random() / 0x1p30 - 1;
    if (f == RLX_U8 && strncmp(name, "code", 4) == 0)
        return next_random() % (1u << (name[4] - '0'));
    return f == RLX_U8 ? next_random() % 256 : (double)(next_random() % 255) - 127;
}

static void *make_buffer(const rlx_ir_value *v, const rlx_dims *dims, const int64_t *symbols)
{
    int64_t elems = 1;
    for (int i = 0; i < v->type.rank; i++)
        elems *= rlx_dim_eval(dims, v->type.dim[i], symbols);
    size_t bytes = (rlx_format_bytes(v->type.format, elems) + 64) & ~(size_t)63;
    void *data = aligned_alloc(64, bytes);
    if (!data)
        return NULL;
    if (rlx_format_get(v->type.format)->kind == RLX_KIND_BLOCK)
        rlx_format_make_blocks(v->type.format, data, elems, next_random());
    else
        for (int64_t i = 0; i < elems; i++)
            rlx_format_store(v->type.format, data, i, any_value(v));
    return data;
}

/* ---- ceilings ---- */

/* Cycles per second: a chain of multiplications, three cycles each on every CPU of level v3. */
static double clock_rate(void)
{
    enum { LINKS = 1 << 20, LATENCY = 3 };
    double best = 0;
    for (int i = 0; i < TRIALS; i++) {
        uint64_t x = (uint64_t)i | 1;
        double begin = now();
        for (int k = 0; k < LINKS; k++) {
            x *= 0x9E3779B97F4A7C15u;
            __asm__ volatile("" : "+r"(x));
        }
        double rate = (double)LINKS * LATENCY / (now() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static void print_ceilings(const char *device, double cycles)
{
    const ceiling_unit *units[CEILING_MAX_UNITS];
    size_t n = ceiling_units(device, units);
    printf("%.2f GHz\n", cycles / 1e9);
    for (size_t i = 0; i < n; i++) {
        double rate = ceiling_unit_rate(units[i], 1, 5);
        printf("%-28s %8.1f GOP/s %6.1f MAC/cycle\n", units[i]->name, rate / 1e9,
               rate / 2 / cycles);
    }
}

/* ---- kernels ---- */

static double seconds_of(rlx_kernel_fn *run, void *const *buffers, const int64_t *symbols,
                         void *memory)
{
    double best = 1e30;
    int count = 1;
    for (int t = 0; t < TRIALS; t++) {
        double begin = now();
        for (int i = 0; i < count; i++)
            run(buffers, symbols, 0, 1, memory);
        double each = (now() - begin) / count;
        best = each < best ? each : best;
        count = each > 0 && each * count < trial_seconds ? (int)(trial_seconds / each) + 1 : count;
    }
    return best;
}

static rlx_status run_code(const rlx_ir_func *k, rlx_kernel_fn *run, const int64_t *symbols,
                           double cycles)
{
    void *buffers[MAX_BUFFERS] = {NULL};
    void *memory = aligned_alloc(64, ((size_t)rlx_jit_team_bytes(k) + 127) & ~(size_t)63);
    for (int i = 0; i < k->body->nargs; i++)
        buffers[i] = make_buffer(k->body->args[i], k->module->dims, symbols);
    rlx_lir_cost cost;
    rlx_status st = rlx_lir_count_cost(k, symbols, 1, &cost);
    if (!st) {
        double s = seconds_of(run, buffers, symbols, memory);
        printf("%-28s %8.1f GOP/s %6.1f MAC/cycle %7.1f GB/s read %9.2f us\n", k->name,
               (double)cost.flops / s / 1e9, (double)cost.flops / 2 / s / cycles,
               (double)cost.bytes_read / s / 1e9, s * 1e6);
    }
    for (int i = 0; i < k->body->nargs; i++)
        free(buffers[i]);
    free(memory);
    return st;
}

static rlx_status run_kernel(const rlx_ir_func *k, const rlx_jit_target *t, const int64_t *symbols,
                             double cycles)
{
    rlx_jit_objects emitted;
    rlx_elf_object objects[RLX_JIT_MAX_OBJECTS];
    rlx_elf_image *image;
    if (k->body->nargs > MAX_BUFFERS)
        return RLX_FAIL(RLX_UNSUPPORTED, "kernel @%s has %d buffers", k->name, k->body->nargs);
    RLX_TRY(rlx_jit_emit_objects(k, t, &emitted));
    for (int i = 0; i < emitted.n; i++)
        objects[i] = (rlx_elf_object){.name = emitted.object[i].name,
                                      .data = (const uint8_t *)emitted.object[i].code.data,
                                      .bytes = emitted.object[i].code.len};
    rlx_status st = rlx_elf_image_create(objects, (size_t)emitted.n, &image);
    rlx_jit_objects_deinit(&emitted);
    RLX_TRY(st);
    rlx_kernel_fn *run;
    *(void **)&run = rlx_elf_image_get(image, 0);
    st = run_code(k, run, symbols, cycles);
    rlx_elf_image_destroy(image);
    return st;
}

static rlx_status print_asm(const rlx_ir_func *k, const rlx_jit_target *t)
{
    rlx_text text = {0};
    RLX_TRY(rlx_jit_print_objects(k, t, RLX_JIT_ASM, &text));
    puts(text.data);
    rlx_text_deinit(&text);
    return RLX_OK;
}

static rlx_status run_module(const options *o, const rlx_ir_module *m, const int64_t *symbols)
{
    rlx_jit_target t = {.kind = RLX_JIT_CPU};
    RLX_TRY(rlx_cpu_parse(o->cpu, !o->print_asm, &t.features));
    double cycles = 0;
    if (!o->print_asm) {
        rlx_text device = {0};
        rlx_text_put(&device, "cpu:");
        rlx_cpu_describe(t.features, &device);
        cycles = clock_rate();
        if (device.data)
            print_ceilings(device.data, cycles);
        rlx_text_deinit(&device);
    }
    for (const rlx_ir_func *k = m->first; k; k = k->next)
        RLX_TRY(o->print_asm ? print_asm(k, &t) : run_kernel(k, &t, symbols, cycles));
    return RLX_OK;
}

static rlx_status bind_symbols(const rlx_dims *dims, char **args, int n, int64_t *symbols)
{
    for (int i = 0; i < n; i++) {
        char name[64];
        long long value;
        int at = sscanf(args[i], "%63[A-Z_0-9]=%lld", name, &value) == 2
                     ? rlx_dim_symbol_index(dims, name)
                     : -1;
        if (at < 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "'%s' binds no symbol of the file", args[i]);
        symbols[at] = value;
    }
    return RLX_OK;
}

static rlx_status run(int argc, char **argv)
{
    options o = {.cpu = "native"};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--asm") == 0)
            o.print_asm = true;
        else if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc)
            o.cpu = argv[++i];
        else
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "unknown option %s", argv[i]);
    }
    if (i == argc)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "run_kernels [--cpu FEATURES] [--asm] FILE.rlx "
                                              "[SYMBOL=VALUE]...");
    o.path = argv[i++];
    int64_t symbols[RLX_MAX_SYMBOLS] = {0};
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    rlx_status st = dims ? parse_module(&o, dims, &m) : RLX_OOM();
    if (!st)
        st = bind_symbols(dims, argv + i, argc - i, symbols);
    if (!st)
        st = run_module(&o, m, symbols);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
    return st;
}

int main(int argc, char **argv)
{
    rlx_status st = run(argc, argv);
    if (!st)
        return 0;
    char *story = rlx_status_text(st);
    fprintf(stderr, "%s\n", story);
    free(story);
    rlx_status_free(st);
    return 1;
}
