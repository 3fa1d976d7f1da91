#include "tests/vulkan/gpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jit/jit.h"
#include "tests/runtime/suite.h"

enum { CANARY_BYTES = 256, CANARY = 0xA5 };

/* ---- memory ---- */

void gpu_memory_create(gpu_memory *m, rlx_vulkan_device *d, const rlx_lir_buffer *buffers, int n)
{
    *m = (gpu_memory){.n = n,
                      .buffer = calloc((size_t)n, sizeof *m->buffer),
                      .bytes = calloc((size_t)n, sizeof *m->bytes)};
    for (int i = 0; i < n; i++) {
        m->bytes[i] = buffers[i].bytes;
        EXPECT_OK(rlx_vulkan_buffer_create(d, buffers[i].bytes + 2 * CANARY_BYTES, &m->buffer[i]));
        uint8_t *data = rlx_vulkan_buffer_get(m->buffer[i]);
        memset(data, CANARY, buffers[i].bytes + 2 * CANARY_BYTES);
        if (buffers[i].bytes)
            memcpy(data + CANARY_BYTES, buffers[i].data, buffers[i].bytes);
    }
}

void gpu_memory_destroy(gpu_memory *m)
{
    for (int i = 0; i < m->n; i++)
        rlx_vulkan_buffer_destroy(m->buffer[i]);
    free(m->buffer);
    free(m->bytes);
}

const void *gpu_memory_get(const gpu_memory *m, int i)
{
    return (const uint8_t *)rlx_vulkan_buffer_get(m->buffer[i]) + CANARY_BYTES;
}

bool gpu_memory_canaries_hold(const gpu_memory *m)
{
    for (int i = 0; i < m->n; i++) {
        const uint8_t *data = gpu_memory_get(m, i);
        for (int k = 0; k < CANARY_BYTES; k++)
            if (data[-1 - k] != CANARY || data[m->bytes[i] + (size_t)k] != CANARY)
                return false;
    }
    return true;
}

/* ---- kernels: each made once, by its words ---- */

enum { MAX_KERNELS = 512 };

static struct cached {
    rlx_vulkan_kernel *kernel;
    uint8_t *code;
    size_t bytes;
} cache[MAX_KERNELS];
static int ncached;

void gpu_forget_kernels(void)
{
    for (int i = 0; i < ncached; i++) {
        rlx_vulkan_kernel_destroy(cache[i].kernel);
        free(cache[i].code);
    }
    ncached = 0;
}

/* Takes the code over. */
static rlx_status kernel_of(rlx_vulkan_device *d, const char *name, uint8_t *code, size_t bytes,
                            int nbuffers, rlx_vulkan_kernel **out)
{
    for (int i = 0; i < ncached; i++)
        if (cache[i].bytes == bytes && memcmp(cache[i].code, code, bytes) == 0) {
            *out = cache[i].kernel;
            free(code);
            return RLX_OK;
        }
    ck_assert_int_lt(ncached, MAX_KERNELS);
    rlx_status st = rlx_vulkan_kernel_create(d, (const uint32_t *)(const void *)code, bytes / 4,
                                             name, nbuffers, out);
    if (st)
        free(code);
    else
        cache[ncached++] = (struct cached){*out, code, bytes};
    return st;
}

/* ---- running ---- */

uint64_t gpu_without;
bool gpu_far;

rlx_jit_target gpu_target(const rlx_vulkan_device *d, int invocations)
{
    const rlx_vulkan_info *info = rlx_vulkan_device_get_info(d);
    static int64_t upper[RLX_MAX_SYMBOLS];
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        upper[i] = 1 << 20;
    return (rlx_jit_target){.kind = RLX_JIT_SPIRV,
                            .features = info->features & ~gpu_without,
                            .team = invocations,
                            .subgroup = info->subgroup,
                            .matrix = info->matrix,
                            .team_bytes = info->team_bytes,
                            .range_bytes = gpu_far,
                            .upper = gpu_far ? upper : NULL};
}

rlx_status gpu_run(rlx_vulkan_device *d, const rlx_ir_func *kernel, int invocations,
                   const gpu_memory *m, int64_t teams)
{
    rlx_jit_target t = gpu_target(d, invocations);
    rlx_vulkan_binding *bindings = calloc((size_t)m->n, sizeof *bindings);
    rlx_vulkan_kernel *k = NULL;
    uint8_t *code = NULL;
    size_t bytes = 0;
    for (int i = 0; i < m->n; i++)
        bindings[i] = (rlx_vulkan_binding){
            .buffer = m->buffer[i], .offset = CANARY_BYTES, .bytes = m->bytes[i] + CANARY_BYTES};
    rlx_status st = rlx_jit_emit_kernel(kernel, &t, &code, &bytes);
    if (!st)
        st = kernel_of(d, kernel->name, code, bytes, m->n, &k);
    if (!st)
        st = rlx_vulkan_dispatch(d, k, bindings, m->n, teams);
    if (!st)
        st = rlx_vulkan_wait(d);
    free(bindings);
    return st;
}

/* Number of the first element that differs too much; -1: none. */
static int64_t first_difference(rlx_format f, const void *want, const void *got, size_t bytes,
                                double tolerance)
{
    double most = 0;
    if (memcmp(want, got, bytes) == 0)
        return -1;
    if (rlx_format_get(f)->kind == RLX_KIND_BLOCK) /* kernels only read them */
        return 0;
    int64_t elems = (int64_t)(bytes / rlx_format_bytes(f, 1));
    for (int64_t i = 0; i < elems; i++) {
        double a = fabs(rlx_format_load(f, want, i));
        if (isfinite(a) && a > most)
            most = a;
    }
    for (int64_t i = 0; i < elems; i++) {
        double a = rlx_format_load(f, want, i), b = rlx_format_load(f, got, i);
        bool float_ok = rlx_format_is_float(f) && tolerance > 0 &&
                        ((isnan(a) && isnan(b)) || fabs(a - b) <= tolerance * most);
        if (a != b && !float_ok)
            return i;
    }
    return -1;
}

void gpu_check(rlx_vulkan_device *d, const rlx_ir_func *kernel, int invocations,
               const rlx_lir_buffer *buffers, int nbuffers, const int64_t *symbols, int64_t teams,
               double tolerance, const char *what)
{
    rlx_lir_buffer *all = calloc((size_t)nbuffers + 1, sizeof *all);
    gpu_memory m;
    memcpy(all, buffers, sizeof *all * (size_t)nbuffers);
    all[nbuffers] = (rlx_lir_buffer){(void *)symbols, sizeof *symbols * RLX_MAX_SYMBOLS};
    gpu_memory_create(&m, d, all, nbuffers + 1);
    EXPECT_OK(gpu_run(d, kernel, invocations, &m, teams));
    EXPECT_OK(rlx_lir_eval_kernel(kernel, buffers, nbuffers, symbols, NULL));
    ck_assert_msg(gpu_memory_canaries_hold(&m), "%s: @%s writes outside of its buffers", what,
                  kernel->name);
    for (int i = 0; i < nbuffers; i++) {
        rlx_format f = kernel->body->args[i]->type.format;
        const void *got = gpu_memory_get(&m, i);
        int64_t at = first_difference(f, buffers[i].data, got, buffers[i].bytes, tolerance);
        if (at >= 0)
            ck_abort_msg("%s: @%s with %lld teams of %d: buffer %d, element %lld: interpreter "
                         "%.9g, device %.9g (tolerance %.3g)",
                         what, kernel->name, (long long)teams, invocations, i, (long long)at,
                         rlx_format_load(f, buffers[i].data, at), rlx_format_load(f, got, at),
                         tolerance);
    }
    gpu_memory_destroy(&m);
    free(all);
}
