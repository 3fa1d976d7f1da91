/* SPIR-V on a Vulkan device against the interpreter, under the validation layer, which must be
 * silent: the lowered regions, launch by launch, and the kernels of tests/jit/ and tests/vulkan/.
 *
 * Drivers may compute fma in two roundings (lavapipe does), divide and take roots within 2.5 ulp.
 * So a sum of K products in K/16 + 4 steps is off by about that many times 2^-24 of its largest
 * term; the tests allow (K + 16) * 2^-24 of the largest magnitude in the buffer, with K the
 * longest axis that the kernel can reduce. What is moved or is no float must be equal. */
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "jit/jit.h"
#include "jit/spirv_module.h"
#include "tests/jit/block_kernels.h"
#include "tests/jit/matrix_kernels.h"
#include "tests/runtime/suite.h"
#include "tests/vulkan/gpu.h"
#include "tests/vulkan/regions.h"

static rlx_vulkan_device *device;
static bool validated;

/* The longest last axis of a kernel's buffers, live. */
static double tolerance_of(const rlx_ir_func *kernel, const int64_t *symbols)
{
    int64_t k = 0;
    for (int i = 0; i < kernel->body->nargs; i++) {
        const rlx_ir_type *t = &kernel->body->args[i]->type;
        int64_t extent = rlx_dim_eval(kernel->module->dims, t->dim[t->rank - 1], symbols);
        k = extent > k ? extent : k;
    }
    return (double)(k + 16) * 0x1p-24;
}

static void expect_silence(void)
{
    const char *text;
    int n = rlx_vulkan_device_messages(device, &text);
    ck_assert_msg(n == 0, "%d messages:\n%s", n, text);
}

/* ---- regions ---- */

static rlx_status check_launch(void *user, const region *r, const rlx_ir_func *kernel,
                               const rlx_lir_buffer *buffers, int nbuffers)
{
    int *launches = user;
    char what[512];
    snprintf(what, sizeof what, "%s:%s", r->path, r->bindings);
    int64_t teams = 1 + 2 * (*launches % 4);
    gpu_check(device, kernel, REGION_TEAM, buffers, nbuffers, r->symbols, teams,
              r->exact ? 0 : tolerance_of(kernel, r->symbols), what);
    ++*launches;
    return RLX_OK;
}

static void run_region(void *user, const region *r)
{
    EXPECT_OK(region_run(r, check_launch, user));
}

START_TEST(regions)
{
    int launches = 0;
    ck_assert_int_ge(regions_each(run_region, &launches), 10);
    ck_assert_int_ge(launches, 50);
}
END_TEST

/* ---- the kernels of tests/jit ---- */

/* Drivers may take subnormals as zeros: the inputs have none. */
static void flush(const rlx_ir_func *kernel, const memory *m)
{
    for (int i = 0; i < m->n; i++) {
        rlx_format f = kernel->body->args[i]->type.format;
        if (!rlx_format_is_float(f))
            continue;
        int64_t elems = (int64_t)(m->buffer[i].bytes / rlx_format_bytes(f, 1));
        for (int64_t k = 0; k < elems; k++)
            if (fabs(rlx_format_load(f, m->buffer[i].data, k)) < (double)FLT_MIN &&
                (f == RLX_F32 || f == RLX_BF16))
                rlx_format_store(f, m->buffer[i].data, k, 0);
    }
}

static void run_kernel(const subject *s, const rlx_ir_func *kernel, int invocations, int64_t teams,
                       double tolerance, const char *path)
{
    rlx_lir_buffer buffers[SUBJECT_MAX_BUFFERS];
    memory m;
    memory_create(&m, s, kernel, (uint64_t)teams);
    flush(kernel, &m);
    for (int i = 0; i < m.n; i++)
        buffers[i] = (rlx_lir_buffer){m.buffer[i].data, m.buffer[i].bytes};
    gpu_check(device, kernel, invocations, buffers, m.n, s->symbols, teams, tolerance, path);
    memory_destroy(&m);
}

/* Whether a buffer has elements of 8 or 16 bits. */
static bool has_narrow(const rlx_ir_func *kernel)
{
    for (int i = 0; i < kernel->body->nargs; i++)
        if (rlx_format_get(kernel->body->args[i]->type.format)->block_bytes < 4)
            return true;
    return false;
}

static int run_file(const char *path)
{
    static const char mark[] = "// run";
    char *text;
    size_t bytes;
    subject s;
    int runs = 0;
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(&s, path, text));
    for (const char *line = text; strncmp(line, mark, sizeof mark - 1) == 0;) {
        const char *end = strchr(line, '\n');
        char bindings[256] = "";
        memcpy(bindings, line + sizeof mark - 1, (size_t)(end - line) - (sizeof mark - 1));
        ck_assert_msg(subject_bind(&s, bindings), "%s: no such symbol in '%s'", path, bindings);
        for (const rlx_ir_func *k = s.module->first; k; k = k->next) {
            if (gpu_without && !has_narrow(k))
                continue;
            run_kernel(&s, k, runs % 2 ? 64 : 20, 1 + runs % 3, tolerance_of(k, s.symbols), path);
            runs++;
        }
        line = end + 1;
    }
    subject_destroy(&s);
    free(text);
    return runs;
}

static int run_directory(const char *dir)
{
    int runs = 0;
    DIR *d = opendir(dir);
    ck_assert_msg(d != NULL, "no directory %s", dir);
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (f->d_name[0] != '.')
            runs += run_file(path);
    }
    closedir(d);
    return runs;
}

START_TEST(kernels)
{
    ck_assert_int_ge(run_directory(RLX_SOURCE_DIR "/tests/jit/kernels"), 50);
    ck_assert_int_ge(run_directory(RLX_SOURCE_DIR "/tests/vulkan/kernels"), 4);
}
END_TEST

/* As a device that has 64-bit numbers alone: narrow elements lie in words. */
START_TEST(kernels_without_features)
{
    gpu_without = RLX_VULKAN_ALL & ~(RLX_VULKAN_BIT(INT64) | RLX_VULKAN_BIT(F64));
    ck_assert_int_ge(run_directory(RLX_SOURCE_DIR "/tests/jit/kernels"), 20);
    gpu_without = 0;
    expect_silence(); /* though the device has the memory model of matrices on */
}
END_TEST

/* ---- block formats ---- */

/* Decoding is products and sums, each rounded once: the same bits, but that scales of any bytes
 * make subnormals, which may be zeros. Of rare formats every fifth, all with RLX_SWEEP=1 (10
 * minutes: lavapipe compiles large grids for 8 seconds each). */
/* Formats from..to, and of rare ones every fifth. */
static void run_blocks(int from, int to, int least)
{
    enum { EVERY = 5 };
    const double odd = 1e-40;
    int runs = 0;
    for (int f = from; f < to; f++) {
        subject s;
        if (block_is_rare(block_formats[f]) && f % EVERY)
            continue;
        block_kernels_few(&s, block_formats[f]);
        ck_assert(subject_bind(&s, "N=4"));
        for (const rlx_ir_func *k = s.module->first; k; k = k->next) {
            if (!getenv("RLX_SWEEP") && (k == s.module->first) != (f % 2 == 0))
                continue; /* values of one, codes and scales of the next */
            runs++;
            bool any = strcmp(k->body->args[0]->name, "odd") == 0;
            run_kernel(&s, k, runs % 2 ? 64 : 20, 1 + runs % 3, any ? odd : 0, block_formats[f]);
        }
        subject_destroy(&s);
    }
    ck_assert_int_ge(runs, least);
}

START_TEST(blocks)
{
    run_blocks(0, BLOCK_FORMATS, 12);
    gpu_without = RLX_VULKAN_BIT(INT8) | RLX_VULKAN_BIT(INT16);
    run_blocks(5, 8, 3); /* Q4_K to Q6_K */
    gpu_without = 0;
}
END_TEST

/* Every format, rare ones too: one small kernel of each; for that of IQ1_S, whose grid is IQ1_M's,
 * lavapipe takes seven seconds: with RLX_SWEEP=1. */
START_TEST(blocks_one_by_one)
{
    for (int f = 0; f < BLOCK_FORMATS; f++) {
        subject s;
        if (strcmp(block_formats[f], "iq1_s") == 0 && !getenv("RLX_SWEEP"))
            continue;
        block_kernels_small(&s, block_formats[f]);
        ck_assert(subject_bind(&s, "N=2"));
        run_kernel(&s, s.module->first, 64, 1, 0, block_formats[f]);
        subject_destroy(&s);
    }
}
END_TEST

/* ---- cooperative matrices ---- */

static const matrix_kernel products[] = {
    {32, 32, 64, 128, 40, "i8", false, false, 0},
    {32, 64, 64, 160, 23, "q8_0", false, true, 0},
    {32, 32, 128, 512, 33, "q6_k", false, false, 0},
    {64, 64, 64, 256, 64, "q4_k", false, false, 0},
    {32, 32, 64, 256, 40, "q2_k", false, false, 0},
    {32, 32, 64, 160, 40, "iq4_nl", false, false, 0},
};
enum { PRODUCTS = sizeof products / sizeof *products };

static bool has_matrices(void)
{
    const rlx_vulkan_info *info = rlx_vulkan_device_get_info(device);
    if (info->features & RLX_VULKAN_BIT(MATRIX))
        return true;
    printf("skipped: %s multiplies no matrices (VK_KHR_cooperative_matrix)\n", info->name);
    return false;
}

/* Sums are integers, and what rounds is done as anywhere: where the driver's fma rounds once the bits are the interpreter's. Teams are
 * one subgroup or more. */
START_TEST(products_by_matrices)
{
    enum { LEAST_TEAM = 32 };
    const int subgroup = rlx_vulkan_device_get_info(device)->subgroup;
    const int team = subgroup > LEAST_TEAM ? subgroup : LEAST_TEAM;
    subject s;
    if (!has_matrices())
        return;
    matrix_kernels_parse(&s, products, PRODUCTS);
    int runs = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, runs++)
        run_kernel(&s, k, runs % 2 ? 2 * team : team, 1 + runs % 3, 0, products[runs].format);
    ck_assert_int_eq(runs, PRODUCTS);
    subject_destroy(&s);
    expect_silence();
}
END_TEST

/* Lowered as prompts are, with what is around products. */
START_TEST(regions_by_matrices)
{
    const rlx_vulkan_info *info = rlx_vulkan_device_get_info(device);
    const region_unit unit = {info->matrix.m, info->matrix.n, info->matrix.k, info->subgroup};
    int launches = 0;
    if (!has_matrices())
        return;
    ck_assert_int_ge(regions_each_by_unit(&unit, run_region, &launches), 2);
    ck_assert_int_ge(launches, 6);
    expect_silence();
}
END_TEST

/* What may be larger than a range goes by its address: here everything, of elements and in words. */
START_TEST(kernels_by_address)
{
    const rlx_vulkan_info *info = rlx_vulkan_device_get_info(device);
    if (!(info->features & RLX_VULKAN_BIT(ADDRESS))) {
        printf("skipped: %s has no addresses of buffers\n", info->name);
        return;
    }
    gpu_far = true;
    ck_assert_int_ge(run_directory(RLX_SOURCE_DIR "/tests/vulkan/kernels"), 2);
    ck_assert_int_ge(run_file(RLX_SOURCE_DIR "/tests/jit/kernels/memory.rlx"), 1);
    gpu_without = RLX_VULKAN_BIT(INT8) | RLX_VULKAN_BIT(INT16);
    ck_assert_int_ge(run_file(RLX_SOURCE_DIR "/tests/jit/kernels/memory.rlx"), 1);
    run_blocks(5, 6, 1);
    gpu_without = 0;
    gpu_far = false;
}
END_TEST

/* ---- the device ---- */

static const char count_text[] =
    "lir module @m {\n"
    " kernel @count(%x: global i32[N], %y: global i32[N]) {\n"
    "  %n = extent {extent=N} : i64\n  %c = const {ivalue=32} : i64\n"
    "  %steps = extent {extent=ceildiv(N,32)} : i64\n"
    "  grid %steps (%g: i64) {\n"
    "   %i = map %g, %c {fn=mul} : i64\n   %one = const {ivalue=1} : i32\n"
    "   %v = load %x, %i, %n {axes=[0], limits=[0]} : i32<32>\n"
    "   %w = map %v, %one {fn=add} : i32<32>\n"
    "   store %y, %w, %i, %n {axes=[0], limits=[0]}\n   yield\n"
    "  }\n  return\n }\n}\n";

typedef struct counter {
    rlx_dims *dims;
    rlx_ir_module *module;
    uint8_t *code;
    size_t bytes;
} counter;

static void counter_create(counter *c, int invocations)
{
    const rlx_jit_target t = gpu_target(device, invocations);
    c->dims = rlx_dims_create();
    EXPECT_OK(rlx_ir_parse(&rlx_lir_level, c->dims, "count", count_text, &c->module));
    EXPECT_OK(rlx_ir_verify(c->module));
    EXPECT_OK(rlx_jit_emit_kernel(c->module->first, &t, &c->code, &c->bytes));
}

static void counter_destroy(counter *c)
{
    free(c->code);
    rlx_ir_module_destroy(c->module);
    rlx_dims_destroy(c->dims);
}

static const uint32_t *words_of(const counter *c)
{
    return (const uint32_t *)(const void *)c->code;
}

/* More dispatches than a batch has room for, each on what the one before wrote. */
START_TEST(dispatches_are_ordered)
{
    enum { N = 77, ROUNDS = 601 };
    counter c;
    rlx_vulkan_kernel *k;
    rlx_vulkan_buffer *x[2], *symbols;
    counter_create(&c, 64);
    EXPECT_OK(rlx_vulkan_kernel_create(device, words_of(&c), c.bytes / 4, "count", 3, &k));
    EXPECT_OK(rlx_vulkan_buffer_create(device, N * 4, &x[0]));
    EXPECT_OK(rlx_vulkan_buffer_create(device, N * 4, &x[1]));
    EXPECT_OK(rlx_vulkan_buffer_create(device, 8, &symbols));
    memset(rlx_vulkan_buffer_get(x[0]), 0, N * 4);
    *(int64_t *)rlx_vulkan_buffer_get(symbols) = N;
    for (int i = 0; i < ROUNDS; i++) {
        rlx_vulkan_binding b[3] = {
            {.buffer = x[i % 2]}, {.buffer = x[1 - i % 2]}, {.buffer = symbols}};
        EXPECT_OK(rlx_vulkan_dispatch(device, k, b, 3, 1 + i % 4));
    }
    EXPECT_OK(rlx_vulkan_wait(device));
    EXPECT_OK(rlx_vulkan_wait(device)); /* nothing is open: nothing happens */
    const int32_t *last = rlx_vulkan_buffer_get(x[ROUNDS % 2]);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(last[i], ROUNDS);
    for (int i = 0; i < 2; i++)
        rlx_vulkan_buffer_destroy(x[i]);
    rlx_vulkan_buffer_destroy(symbols);
    rlx_vulkan_kernel_destroy(k);
    counter_destroy(&c);
}
END_TEST

START_TEST(wrong_uses_are_refused)
{
    counter c;
    rlx_vulkan_kernel *k = NULL;
    rlx_vulkan_buffer *x;
    rlx_vulkan_device *other = NULL;
    counter_create(&c, 64);
    const uint32_t *w = words_of(&c);
    const rlx_vulkan_info *info = rlx_vulkan_device_get_info(device);
    EXPECT_ERROR(rlx_vulkan_kernel_create(device, w, 4, "count", 3, &k), RLX_INVALID_ARGUMENT,
                 "no SPIR-V module");
    EXPECT_ERROR(
        rlx_vulkan_kernel_create(device, w, c.bytes / 4 - 3, "count", 3, &k), /* in an OpLabel */
        RLX_INVALID_ARGUMENT, "breaks off");
    const uint32_t matrices[] = {SpvMagicNumber,     0x10300, 0, 1, 0, 2 << 16 | SpvOpCapability,
                                 SpvCapabilityMatrix};
    EXPECT_ERROR(rlx_vulkan_kernel_create(device, matrices, 7, "count", 3, &k), RLX_UNSUPPORTED,
                 "capability 0");
    EXPECT_ERROR(rlx_vulkan_kernel_create(device, w, c.bytes / 4, "count", INT32_MAX, &k),
                 RLX_UNSUPPORTED, "binds at most");
    EXPECT_OK(rlx_vulkan_kernel_create(device, w, c.bytes / 4, "count", 3, &k));
    EXPECT_OK(rlx_vulkan_buffer_create(device, 64, &x));
    rlx_vulkan_binding b[3] = {{.buffer = x}, {.buffer = x}, {.buffer = x}};
    EXPECT_ERROR(rlx_vulkan_dispatch(device, k, b, 2, 1), RLX_INVALID_ARGUMENT, "binds 3");
    EXPECT_ERROR(rlx_vulkan_dispatch(device, k, b, 3, 0), RLX_INVALID_ARGUMENT, "0 teams");
    EXPECT_ERROR(rlx_vulkan_dispatch(device, k, b, 3, info->max_teams + 1), RLX_INVALID_ARGUMENT,
                 "teams");
    b[1].bytes = 65;
    EXPECT_ERROR(rlx_vulkan_dispatch(device, k, b, 3, 1), RLX_INVALID_ARGUMENT, "binding 1");
    b[1] = (rlx_vulkan_binding){.buffer = x, .offset = 64};
    EXPECT_ERROR(rlx_vulkan_dispatch(device, k, b, 3, 1), RLX_INVALID_ARGUMENT, "binding 1");
    b[1] = (rlx_vulkan_binding){.buffer = x, .offset = 1};
    if (info->binding_align > 1)
        EXPECT_ERROR(rlx_vulkan_dispatch(device, k, b, 3, 1), RLX_INVALID_ARGUMENT, "multiple");
    EXPECT_OK(rlx_vulkan_wait(device));
    rlx_vulkan_buffer_destroy(x);
    rlx_vulkan_kernel_destroy(k);
    counter_destroy(&c);
    EXPECT_ERROR(rlx_vulkan_device_create(&(rlx_vulkan_options){.index = 1000}, &other),
                 RLX_NOT_FOUND, "no Vulkan device 1000");
    rlx_vulkan_device_destroy(NULL);
    rlx_vulkan_buffer_destroy(NULL);
    rlx_vulkan_kernel_destroy(NULL);
}
END_TEST

/* The layer is heard: a workgroup larger than the device has. */
START_TEST(validation_bites)
{
    counter c;
    rlx_vulkan_kernel *k = NULL;
    rlx_vulkan_device *d;
    const char *text;
    if (!validated)
        return;
    EXPECT_OK(rlx_vulkan_device_create(&(rlx_vulkan_options){.validate = true}, &d));
    ck_assert_int_eq(rlx_vulkan_device_messages(d, &text), 0);
    ck_assert_str_eq(text, "");
    counter_create(&c, rlx_vulkan_device_get_info(d)->max_team * 2);
    rlx_status_free(rlx_vulkan_kernel_create(d, words_of(&c), c.bytes / 4, "count", 3, &k));
    ck_assert_int_ge(rlx_vulkan_device_messages(d, &text), 1);
    ck_assert_msg(strstr(text, "VUID") != NULL, "%s", text);
    rlx_vulkan_kernel_destroy(k);
    rlx_vulkan_device_destroy(d);
    counter_destroy(&c);
}
END_TEST

/* The last case: everything before it was right in validation's eyes too. */
START_TEST(validation_was_silent)
{
    expect_silence();
}
END_TEST

enum { SKIPPED = 77 };

int main(void)
{
    environment_prepare();
    rlx_status st = rlx_vulkan_device_create(&(rlx_vulkan_options){.validate = true}, &device);
    validated = !st;
    if (rlx_status_code(st) == RLX_NOT_FOUND) {
        rlx_status_free(st);
        st = rlx_vulkan_device_create(&(rlx_vulkan_options){0}, &device);
    }
    if (st) {
        char *text = rlx_status_text(st);
        printf("skipped: no Vulkan device: %s\n", text);
        free(text);
        int code = rlx_status_code(st) == RLX_NOT_FOUND ? SKIPPED : EXIT_FAILURE;
        rlx_status_free(st);
        return code;
    }
    printf("on %s, %s the validation layer\n", rlx_vulkan_device_get_info(device)->name,
           validated ? "under" : "without");
    Suite *s = suite_create("vulkan");
    SUITE_TEST(s, "dispatches_are_ordered", dispatches_are_ordered);
    SUITE_TEST(s, "wrong_uses_are_refused", wrong_uses_are_refused);
    SUITE_TEST(s, "validation_bites", validation_bites);
    SUITE_TEST(s, "regions", regions);
    SUITE_TEST(s, "kernels", kernels);
    SUITE_TEST(s, "kernels_without_features", kernels_without_features);
    SUITE_TEST(s, "blocks", blocks);
    SUITE_TEST(s, "blocks_one_by_one", blocks_one_by_one);
    SUITE_TEST(s, "products_by_matrices", products_by_matrices);
    SUITE_TEST(s, "regions_by_matrices", regions_by_matrices);
    SUITE_TEST(s, "kernels_by_address", kernels_by_address);
    SUITE_TEST(s, "validation_was_silent", validation_was_silent);
    int code = suite_run(s, 9);
    gpu_forget_kernels();
    rlx_vulkan_device_destroy(device);
    return code;
}
