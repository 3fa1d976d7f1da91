#include "jit/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jit/hsaco_link.h"
#include "jit/kernel_info.h"
#include "jit/vulkan_target.h"
#include "lir/lir_team.h"
#include "runtime/cpu.h"
#include "runtime/vulkan_features.h"

/* ---- opening ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const rlx_llvm_module *opened; /* stays open: LLVM cannot be unloaded safely */

/* The directory that holds this code: of librlx, or of a program that it is linked into. */
static bool own_directory(char path[PATH_MAX])
{
    Dl_info info;
    char name[PATH_MAX];
    if (dladdr((const void *)(uintptr_t)rlx_jit_module_open, &info) && info.dli_fname &&
        strchr(info.dli_fname, '/') && realpath(info.dli_fname, path))
        ;
    else { /* a program found by PATH is known by its bare name */
        ssize_t n = readlink("/proc/self/exe", name, sizeof name - 1);
        if (n < 0)
            return false;
        memcpy(path, name, (size_t)n);
        path[n] = 0;
    }
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    *slash = 0;
    return true;
}

rlx_status rlx_jit_open_beside(const char *file, const char *what, const char *entry, void **out,
                               char **path_out)
{
    /* as installed; from the program to the library; from a test's program in the build tree */
    static const char *const places[] = {"", "/../lib", "/../../lib"};
    enum { NPLACES = sizeof places / sizeof *places };
    char own[PATH_MAX];
    char path[NPLACES][PATH_MAX + 32];
    if (!own_directory(own))
        return RLX_FAIL(RLX_NOT_FOUND, "cannot tell which directory this library lies in");
    for (int i = 0; i < NPLACES; i++) {
        snprintf(path[i], sizeof path[i], "%s%s/%s", own, places[i], file);
        if (access(path[i], R_OK) != 0)
            continue;
        void *handle = dlopen(path[i], RTLD_NOW | RTLD_LOCAL);
        if (!handle)
            return RLX_FAIL(RLX_IO, "cannot open the %s: %s", what, dlerror()); /* it is there */
        *out = dlsym(handle, entry);
        if (!*out)
            return RLX_FAIL(RLX_INVALID_FILE, "%s is not rlx's: %s", path[i], dlerror());
        *path_out = strdup(path[i]);
        return *path_out ? RLX_OK : RLX_OOM();
    }
    return RLX_FAIL(RLX_NOT_FOUND, "there is no %s: %s is neither %s nor %s nor %s", what, file,
                    path[0], path[1], path[2]);
}

static rlx_status check_module(const rlx_llvm_module *m, const char *path)
{
    if (m->version != RLX_LLVM_API_VERSION)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "%s belongs to another build of rlx (interface %d, not %d)", path,
                        m->version, RLX_LLVM_API_VERSION);
    if (strcmp(m->build, rlx_jit_build()) != 0)
        return RLX_FAIL(RLX_INVALID_FILE, "%s belongs to another build of rlx (%.12s, not %.12s)",
                        path, m->build, rlx_jit_build());
    return RLX_OK;
}

static rlx_status open_module(const rlx_llvm_module **out)
{
    void *entry;
    char *path;
    RLX_TRY(rlx_jit_open_beside("librlx-llvm.so", "compiler", RLX_LLVM_ENTRY, &entry, &path));
    rlx_llvm_module_get_fn *get;
    *(void **)&get = entry;
    const rlx_llvm_module *m = get();
    rlx_status st = check_module(m, path);
    free(path);
    if (!st)
        *out = m;
    return st;
}

rlx_status rlx_jit_module_open(const rlx_llvm_module **out)
{
    rlx_status st = RLX_OK;
    pthread_mutex_lock(&lock);
    if (!opened)
        st = open_module(&opened);
    *out = opened;
    pthread_mutex_unlock(&lock);
    return st;
}

rlx_status rlx_jit_adopt_status(rlx_status s)
{
    return rlx_status_code(s) == RLX_OUT_OF_MEMORY ? RLX_OOM() : s;
}

/* ---- targets ---- */

static const char *const levels[] = {"x86-64-v4", "x86-64-v3"};

/* Index into `levels` of the best one that the features include. */
static int level_of(uint64_t features)
{
    for (int i = 0; i < 2; i++) {
        uint64_t need = 0;
        rlx_status st = rlx_cpu_parse(levels[i], false, &need);
        rlx_status_free(st);
        if (!st && (features & need) == need)
            return i;
    }
    return 1;
}

/* What code uses beyond its level. */
enum { NEEDS_V3, NEEDS_V4 };
static const struct {
    rlx_cpu_feature feature;
    int level;
} extras[] = {{RLX_CPU_AVXVNNI, NEEDS_V3},    {RLX_CPU_AVX512VNNI, NEEDS_V4},
              {RLX_CPU_AVX512BF16, NEEDS_V4}, {RLX_CPU_AMXTILE, NEEDS_V4},
              {RLX_CPU_AMXINT8, NEEDS_V4},    {RLX_CPU_AMXBF16, NEEDS_V4}};

/* What devices may have and no emitter makes use of: such a device takes the code of one without. Sums and products are of f32 whatever
 * lies in memory, so f16's arithmetic is nobody's. */
static const uint64_t unused_of_vulkan = RLX_VULKAN_BIT(F16);

uint64_t rlx_jit_code_features(const rlx_jit_target *t)
{
    uint64_t features = 0;
    if (t->kind == RLX_JIT_SPIRV)
        return t->features & ~unused_of_vulkan &
               ~(rlx_jit_vulkan_lanes(t) ? 0 : RLX_VULKAN_BIT(MATRIX));
    if (t->kind != RLX_JIT_CPU)
        return 0;
    int level = level_of(t->features);
    rlx_status_free(rlx_cpu_parse(levels[level], false, &features));
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++)
        if (extras[i].level == NEEDS_V3 || level == 0)
            features |= t->features & 1ull << extras[i].feature;
    if (features >> RLX_CPU_AMXBF16 & 1) /* tiles multiply bf16 */
        features &= ~(1ull << RLX_CPU_AVX512BF16);
    return features;
}

/* AVX-512's where there is AVX-512: its registers are the wider ones. */
bool rlx_jit_has_vnni(uint64_t features)
{
    rlx_cpu_feature f = features >> RLX_CPU_AVX512F & 1 ? RLX_CPU_AVX512VNNI : RLX_CPU_AVXVNNI;
    return features >> f & 1;
}

uint64_t rlx_jit_needed_features(const rlx_jit_target *t)
{
    const rlx_jit_target plain = {.kind = RLX_JIT_CPU};
    return rlx_jit_code_features(t->emulation ? &plain : t);
}

enum { HOST_TEAM_BYTES = 48 << 10 }; /* of a team on the host, as of NVIDIA's */

/* `team_bytes` and units as those of `of`: of host teams. */
static rlx_status create_cpu_worker(const rlx_llvm_module *m, const rlx_jit_target *t,
                                    int64_t team_bytes, const rlx_jit_target *of, rlx_llvm **out)
{
    rlx_text text = {0};
    uint64_t features = rlx_jit_code_features(t), needed = rlx_jit_needed_features(t);
    rlx_cpu_llvm_features(needed, &text);
    if (text.oom) {
        rlx_text_deinit(&text);
        return RLX_OOM();
    }
    rlx_llvm_target target = {.kind = RLX_JIT_CPU,
                              .cpu = levels[level_of(needed)],
                              .features = text.data,
                              .avx512 = level_of(features) == 0,
                              .vnni = rlx_jit_has_vnni(features),
                              .bf16 = features >> RLX_CPU_AVX512BF16 & 1,
                              .tiles_bf16 = features >> RLX_CPU_AMXBF16 & 1,
                              .tiles_bytes = features >> RLX_CPU_AMXINT8 & 1,
                              .emulation = t->emulation,
                              .team = t->team > 1 ? t->team : 1,
                              .subgroup = t->subgroup,
                              .team_bytes = team_bytes,
                              .matrix = rlx_jit_matrix_unit(of),
                              .float_matrix = rlx_jit_float_unit(of),
                              .column_matrix = rlx_jit_column_unit(of),
                              .copies = rlx_jit_copies(of),
                              .copies_boxes = rlx_jit_copies_boxes(of)};
    rlx_status st = rlx_jit_adopt_status(m->create(&target, out));
    rlx_text_deinit(&text);
    return st;
}

static const struct {
    const char *processor, *features;
    bool dotprod;
} aarch64[] = {
#define AARCH64_TARGET(processor, features, dotprod) {processor, features, dotprod},
#include "jit/cpu_targets.def"
#undef AARCH64_TARGET
};

static rlx_status create_aarch64_worker(const rlx_llvm_module *m, const rlx_jit_target *t,
                                        rlx_llvm **out)
{
    for (size_t i = 0; i < sizeof aarch64 / sizeof *aarch64; i++) {
        if (!t->processor || strcmp(aarch64[i].processor, t->processor) != 0)
            continue;
        rlx_llvm_target target = {.kind = RLX_JIT_AARCH64,
                                  .cpu = aarch64[i].processor,
                                  .features = aarch64[i].features,
                                  .dotprod = aarch64[i].dotprod,
                                  .team = 1};
        return rlx_jit_adopt_status(m->create(&target, out));
    }
    return RLX_FAIL(RLX_UNSUPPORTED,
                    "no AArch64 processor is named %s; known are generic, neoverse-v1, neoverse-v2",
                    t->processor ? t->processor : "(none)");
}

static rlx_status create_gpu_worker(const rlx_llvm_module *m, const rlx_jit_target *t,
                                    rlx_llvm **out)
{
    const rlx_gpu_processor *p;
    RLX_TRY(rlx_gpu_find(t->kind, t->processor, &p));
    RLX_TRY(rlx_jit_matrix_check_team(t));
    rlx_llvm_target target = {.kind = t->kind,
                              .cpu = p->name,
                              .features = p->features,
                              .team = t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM,
                              .team_bytes = p->team_bytes,
                              .family = p->family};
    target.subgroup = rlx_lir_lanes(target.team, p->lanes);
    target.matrix = rlx_jit_matrix_unit(t);
    target.float_matrix = rlx_jit_float_unit(t);
    target.column_matrix = rlx_jit_column_unit(t);
    target.copies = rlx_jit_copies(t);
    target.copies_boxes = rlx_jit_copies_boxes(t);
    return rlx_jit_adopt_status(m->create(&target, out));
}

/* For tests: what a GPU's lowering makes, as teams on the host run it, with its matrix unit and as
 * much team memory. */
static rlx_status create_host_team_worker(const rlx_llvm_module *m, const rlx_jit_target *t,
                                          rlx_llvm **out)
{
    const rlx_gpu_processor *p;
    RLX_TRY(rlx_gpu_find(t->kind, t->processor, &p));
    RLX_TRY(rlx_jit_matrix_check_team(t));
    const rlx_jit_target host = {.kind = RLX_JIT_CPU,
                                 .features = rlx_cpu_host()->features,
                                 .team = t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM,
                                 .subgroup = p->lanes,
                                 .emulation = t->emulation};
    return create_cpu_worker(m, &host, p->team_bytes, t, out);
}

rlx_status rlx_jit_worker_create(const rlx_llvm_module *m, const rlx_jit_target *t, rlx_llvm **out)
{
    if (t->emulation && t->kind != RLX_JIT_CPU)
        return create_host_team_worker(m, t, out);
    if (t->kind == RLX_JIT_AARCH64)
        return create_aarch64_worker(m, t, out);
    if (t->kind != RLX_JIT_CPU)
        return create_gpu_worker(m, t, out);
    return create_cpu_worker(m, t, HOST_TEAM_BYTES, t, out);
}

rlx_status rlx_jit_worker_emit(const rlx_llvm_module *m, rlx_llvm *worker, const rlx_jit_target *t,
                               const rlx_ir_func *kernel, rlx_llvm_form form, rlx_llvm_parts *parts,
                               rlx_text *out)
{
    if (t->kind != RLX_JIT_AMDGPU || t->emulation || form != RLX_LLVM_CODE)
        return rlx_jit_adopt_status(m->emit(worker, kernel, form, parts, RLX_LLVM_KERNEL, out));
    rlx_text object = {0};
    rlx_status st =
        rlx_jit_adopt_status(m->emit(worker, kernel, form, parts, RLX_LLVM_KERNEL, &object));
    if (!st)
        st = rlx_hsaco_link(kernel->name, object.data, object.len, out);
    rlx_text_deinit(&object);
    return st;
}

rlx_status rlx_jit_check_budget(const rlx_ir_func *kernel, rlx_jit_kind kind)
{
    const int64_t cost = rlx_jit_kernel_cost(kernel);
    const bool team = kind != RLX_JIT_CPU && kind != RLX_JIT_AARCH64;
    const int most = team ? RLX_JIT_MAX_TEAM_COST : RLX_JIT_MAX_COST;
    if (cost > most)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "kernel @%s unrolls to about %lld vector operations; at most "
                        "%d are compiled",
                        kernel->name, (long long)cost, most);
    return RLX_OK;
}
