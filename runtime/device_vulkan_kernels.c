/* runtime/device_vulkan_kernels.c: a program's kernels: checks, pipelines made by several threads, and what the driver made of
 * them kept beside the program's entry.
 *
 *   words --check--> module --driver, one thread for each of several kernels--> pipelines
 *                               ^ known code, from the compile cache             | what the driver made
 *                               '------------------ KEY-DRIVER.drv <-------------'
 */
#include <spirv/unified1/spirv.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cache.h"
#include "runtime/device_vulkan_impl.h"
#include "runtime/run_each.h"
#include "runtime/session.h"

/* Kernels that are being made. */
typedef struct maker {
    rlx_vulkan_device *device;
    rlx_cache *kept; /* where what the driver makes is kept; NULL: nowhere */
    int threads;     /* as rlx_run_each takes them */
    const rlx_program *program;
    VkPipelineCache cache; /* none: the driver makes everything anew */
    void *known;           /* the driver's code, as it was kept; NULL: none */
    size_t known_bytes;
    rlx_device_kernels *out;
} maker;

/* ---- checks ---------------------------------------------------------------------------------- */

/* Code that takes no addresses binds all that it reaches: an arena, large outputs together and each weight as one range. */
static rlx_status check_range(const rlx_vulkan_info *info, const rlx_program *p, const char *what,
                              const char *name, int64_t bytes)
{
    if (bytes <= info->max_buffer_bytes)
        return RLX_OK;
    return RLX_FAIL(RLX_UNSUPPORTED,
                    "program '%s' is compiled for %s, which takes no addresses: %s%s%s has %lld "
                    "bytes, and %s binds %lld at most",
                    p->name, p->target, what, *name ? " " : "", name, (long long)bytes, info->name,
                    (long long)info->max_buffer_bytes);
}

static rlx_status check_ranges(const rlx_vulkan_info *info, const rlx_program *p)
{
    if (p->features >> RLX_VULKAN_ADDRESS & 1)
        return RLX_OK;
    RLX_TRY(check_range(info, p, "the arena", "", (int64_t)rlx_session_frames_bytes(p)));
    for (uint32_t i = 0; i < p->nbound; i++) {
        const rlx_program_tensor *t = &p->bound[i];
        int64_t elems = 1;
        for (int d = 0; d < t->rank; d++) /* cannot overflow: P9 of program_check.c */
            elems *= rlx_dim_is_const(t->dim[d]) ? t->dim[d] : 1;
        if (t->kind == RLX_BIND_WEIGHT)
            RLX_TRY(check_range(info, p, "weight", t->name,
                                (int64_t)rlx_format_bytes(t->format, elems)));
    }
    return check_range(info, p, "what it puts out", "", (int64_t)rlx_session_sum_outputs(p, true));
}

static rlx_status check_program(const rlx_vulkan_info *info, const rlx_program *p)
{
    const uint64_t missing = p->features & ~info->features;
    rlx_text words = {0};
    if (p->code_kind != RLX_CODE_SPIRV)
        return RLX_FAIL(RLX_UNSUPPORTED, "program '%s' is code for %s, not for Vulkan", p->name,
                        p->target);
    if (!missing)
        return check_ranges(info, p);
    rlx_vulkan_list_features(missing, ", ", &words);
    rlx_status st = RLX_FAIL(RLX_UNSUPPORTED, "program '%s' is compiled for %s: %s lacks %s",
                             p->name, p->target, info->name, words.data ? words.data : "");
    rlx_text_deinit(&words);
    return st;
}

/* That a team of the module's is no larger than the device has them. */
static rlx_status check_team(const rlx_vulkan_info *info, const uint32_t *words, size_t n)
{
    enum { HEADER = 5, X = 3, Z = 5 };
    for (size_t i = HEADER; i + Z < n && words[i] >> SpvWordCountShift;
         i += words[i] >> SpvWordCountShift) {
        uint64_t team = 1;
        if ((words[i] & SpvOpCodeMask) != SpvOpExecutionMode ||
            words[i + 2] != SpvExecutionModeLocalSize)
            continue;
        for (size_t k = X; k <= Z && team <= (uint64_t)info->max_team; k++)
            team *= words[i + k];
        if (!team || team > (uint64_t)info->max_team)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "teams of %u by %u by %u; %s has at most %d "
                            "invocations in one",
                            words[i + X], words[i + X + 1], words[i + Z], info->name,
                            info->max_team);
    }
    return RLX_OK;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Bytes of workgroup memory that a module declares: numbers and arrays of them. `bytes` has room by id: what a type takes,
 * what a constant is; only what was declared before is looked up. */
static uint64_t team_bytes_of(const uint32_t *words, size_t n, uint64_t *bytes)
{
    enum { HEADER = 5 };
    uint64_t sum = 0;
    const uint32_t bound = words[3];
    for (size_t i = HEADER, length; i < n && (length = words[i] >> SpvWordCountShift);
         i += length) {
        const uint32_t *w = words + i;
        if (length < 3 || length > n - i || w[1] >= bound || w[2] >= bound)
            continue;
        switch (*w & SpvOpCodeMask) {
        case SpvOpTypeInt:
        case SpvOpTypeFloat:
            bytes[w[1]] = w[2] / 8;
            break;
        case SpvOpConstant:
            bytes[w[2]] = length > 3 ? w[3] : 0;
            break;
        case SpvOpTypeArray:
            bytes[w[1]] = length > 3 && w[3] < bound ? times(bytes[w[2]], bytes[w[3]]) : 0;
            break;
        case SpvOpTypePointer:
            bytes[w[1]] = length > 3 && w[3] < bound ? bytes[w[3]] : 0;
            break;
        case SpvOpVariable:
            sum = plus(sum, length > 3 && w[3] == SpvStorageClassWorkgroup ? bytes[w[1]] : 0);
            break;
        }
    }
    return sum;
}

static rlx_status check_team_memory(const rlx_vulkan_info *info, const uint32_t *words, size_t n)
{
    enum { HEADER = 5 };
    if (n <= HEADER || words[3] > n) /* every id is the result of an instruction */
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%zu words that are no SPIR-V module", n);
    uint64_t *ids = calloc(words[3] + 1, sizeof *ids);
    if (!ids)
        return RLX_OOM();
    const uint64_t bytes = team_bytes_of(words, n, ids);
    free(ids);
    if (bytes <= (uint64_t)info->team_bytes)
        return RLX_OK;
    return RLX_FAIL(RLX_UNSUPPORTED, "%llu bytes of a team's memory; %s has %lld",
                    (unsigned long long)bytes, info->name, (long long)info->team_bytes);
}

/* ---- what the driver keeps ------------------------------------------------------------------- */

static uint32_t word_of(const uint8_t *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Code of a driver begins with whose it is, for all drivers alike; what is another's is not for this one to see. */
enum { HEAD_BYTES = 16 + VK_UUID_SIZE };

static bool is_of_device(const rlx_vulkan_device *d, const uint8_t *code, size_t n)
{
    enum { VERSION = 4, VENDOR = 8, DEVICE = 12, UUID = 16 };
    return n >= HEAD_BYTES && word_of(code) == HEAD_BYTES &&
           word_of(code + VERSION) == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           word_of(code + VENDOR) == d->driver.vendor &&
           word_of(code + DEVICE) == d->driver.device &&
           !memcmp(code + UUID, d->driver.uuid, VK_UUID_SIZE);
}

static rlx_status open_cache_with(maker *m, const void *code, size_t n)
{
    rlx_vulkan_device *d = m->device;
    const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                            .initialDataSize = n,
                                            .pInitialData = code};
    VK_TRY(d, vkCreatePipelineCache(d->device, &info, NULL, &m->cache));
    return RLX_OK;
}

/* What is known, or nothing: a driver that will not have what it once gave begins anew. */
static rlx_status try_open(maker *m)
{
    m->known = rlx_cache_get_driver_code(m->kept, &m->program->key, m->device->driver.name,
                                         &m->known_bytes);
    if (!m->known)
        return open_cache_with(m, NULL, 0);
    rlx_status st =
        is_of_device(m->device, m->known, m->known_bytes)
            ? open_cache_with(m, m->known, m->known_bytes)
            : RLX_FAIL(RLX_INVALID_FILE, "not what a driver of %s gives", m->device->info.name);
    if (!st)
        return RLX_OK;
    rlx_cache_tell_damage(m->kept, rlx_status_note(st, __FILE__, __LINE__, "code of the driver"));
    return open_cache_with(m, NULL, 0);
}

/* Nothing needs it: without one kernels are made all the same. */
static void open_cache(maker *m)
{
    rlx_status st = try_open(m);
    if (!st)
        return;
    m->cache = VK_NULL_HANDLE;
    rlx_cache_warn(m->kept, rlx_status_note(st, __FILE__, __LINE__, "without code of the driver"));
}

/* Keeps what the driver made, where it is something else than what was known. */
static rlx_status try_keep(const maker *m)
{
    rlx_vulkan_device *d = m->device;
    size_t n = 0;
    VK_TRY(d, vkGetPipelineCacheData(d->device, m->cache, &n, NULL));
    void *code = malloc(n + 1);
    if (!code)
        return RLX_OOM();
    const VkResult r = d->vk.vkGetPipelineCacheData(d->device, m->cache, &n, code);
    const bool known = m->known && n == m->known_bytes && !memcmp(code, m->known, n);
    if (!r && !known && n > HEAD_BYTES) /* some drivers make nothing */
        rlx_cache_put_driver_code(m->kept, &m->program->key, d->driver.name, code, n);
    free(code);
    return rlx_vulkan_status(r, "vkGetPipelineCacheData", __FILE__, __LINE__);
}

static void keep_cache(const maker *m)
{
    rlx_status st = m->cache ? try_keep(m) : RLX_OK;
    if (st)
        rlx_cache_warn(m->kept,
                       rlx_status_note(st, __FILE__, __LINE__, "keeping code of the driver"));
}

/* ---- making them ----------------------------------------------------------------------------- */

static rlx_status create_kernel(const maker *m, const rlx_program_kernel *k,
                                rlx_vulkan_kernel **out)
{
    const size_t n = k->code_bytes / sizeof(uint32_t);
    uint32_t *words = malloc(n * sizeof *words + 1); /* an entry aligns nothing */
    if (!words)
        return RLX_OOM();
    memcpy(words, k->code, n * sizeof *words);
    rlx_status st = check_team(&m->device->info, words, n);
    if (!st)
        st = check_team_memory(&m->device->info, words, n);
    if (st)
        st = rlx_status_note(st, __FILE__, __LINE__, "kernel @%s", k->name);
    else
        st = rlx_vulkan_kernel_create_with(m->device, m->cache, words, n, k->name,
                                           (int)k->nbuffers + 1, out);
    if (!st)
        (*out)->whole = m->program->features >> RLX_VULKAN_ADDRESS & 1;
    free(words);
    return st;
}

static rlx_status make_kernel(void *user, uint32_t i)
{
    maker *m = user;
    return create_kernel(m, &m->program->kernels[i], &m->out->each[i]);
}

static rlx_status make_all(maker *m)
{
    return rlx_run_each(m->program->nkernels, m->threads, make_kernel, m);
}

static rlx_status make_with_cache(maker *m)
{
    rlx_vulkan_device *d = m->device;
    if (!m->kept)
        return make_all(m);
    open_cache(m);
    rlx_status st = make_all(m);
    if (!st)
        keep_cache(m);
    d->vk.vkDestroyPipelineCache(d->device, m->cache, NULL);
    free(m->known);
    return st;
}

rlx_status rlx_vulkan_kernels_create(rlx_device *base, const rlx_program *p,
                                     rlx_device_kernels **out)
{
    maker m = {.device = rlx_vulkan_device_of(base),
               .kept = base->cache,
               .threads = base->threads,
               .program = p};
    RLX_TRY(check_program(&m.device->info, p));
    m.out = calloc(1, sizeof *m.out + sizeof *m.out->each * p->nkernels);
    if (!m.out)
        return RLX_OOM();
    m.out->n = p->nkernels;
    rlx_status st = make_with_cache(&m);
    if (st)
        rlx_vulkan_kernels_destroy(base, m.out);
    else
        *out = m.out;
    return st;
}

void rlx_vulkan_kernels_destroy(rlx_device *base, rlx_device_kernels *k)
{
    (void)base;
    for (uint32_t i = 0; k && i < k->n; i++)
        rlx_vulkan_kernel_destroy(k->each[i]);
    free(k);
}
