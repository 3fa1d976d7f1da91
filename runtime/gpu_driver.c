/* runtime/gpu_driver.c: the drivers of GPUs: opening them, what their results mean, what their devices are. */
#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device_gpu_impl.h"

/* ---- makers ---------------------------------------------------------------------------------- */

enum { MAX_LIBRARIES = 3 };

/* What differs between the two beside names. Attributes are numbers of each maker's own. */
static const struct maker {
    const char *name, *company;
    const char *libraries[MAX_LIBRARIES + 1]; /* newest first, then NULL */
    int least;                                /* version */
    const char *least_text;
    rlx_gpu_attribute units, team_bytes, major, minor;
} makers[] = {
    [RLX_GPU_CUDA] = {"cuda", "NVIDIA", {"libcuda.so.1"}, 11040, "CUDA 11.4", 16, 8, 75, 76},
    [RLX_GPU_HIP] = {"hip",
                     "AMD",
                     {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so"},
                     60000000,
                     "HIP 6.0",
                     63,
                     74,
                     -1,
                     -1},
};

const char *rlx_gpu_kind_name(rlx_gpu_kind k)
{
    return makers[k].name;
}

const char *const *rlx_gpu_libraries(rlx_gpu_kind k)
{
    return makers[k].libraries;
}

static const char *const call_names[RLX_GPU_KINDS][RLX_GPU_NCALLS] = {
    {
#define GPU_CALL(name, cuda, hip, parameters) [RLX_GPU_CALL_##name] = #cuda,
#define GPU_CUDA(name, cuda, parameters) [RLX_GPU_CALL_##name] = #cuda,
#define GPU_HIP(name, hip, parameters)
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
    },
    {
#define GPU_CALL(name, cuda, hip, parameters) [RLX_GPU_CALL_##name] = #hip,
#define GPU_CUDA(name, cuda, parameters)
#define GPU_HIP(name, hip, parameters) [RLX_GPU_CALL_##name] = #hip,
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
    },
};

/* ---- results --------------------------------------------------------------------------------- */

static const struct {
    rlx_gpu_result result;
    const char *text;
    rlx_code code;
    bool loses;
} results[] = {
    {1, "invalid value", RLX_INTERNAL, false},
    {2, "out of memory", RLX_OUT_OF_MEMORY, false},
    {3, "not initialized", RLX_NOT_FOUND, false},
    {4, "the driver is shutting down", RLX_IO, true},
    {34, "a stub library for linking, and no driver", RLX_NOT_FOUND, false},
    {35, "the driver is older than what is asked of it", RLX_NOT_FOUND, false},
    {46, "the device is in use by another process, or unavailable", RLX_IO, false},
    {100, "no device", RLX_NOT_FOUND, false},
    {101, "no device of that number", RLX_NOT_FOUND, false},
    {200, "the code is none that the driver knows", RLX_UNSUPPORTED, false},
    {201, "the device's context is gone", RLX_IO, true},
    {209, "no code for this device", RLX_UNSUPPORTED, false},
    {214, "uncorrectable error of memory", RLX_IO, true},
    {218, "the driver does not compile the PTX, or read the code object", RLX_UNSUPPORTED, false},
    {220, "uncorrectable error of a link", RLX_IO, true},
    {221, "the driver's compiler of PTX is not there", RLX_NOT_FOUND, false},
    {222, "the PTX is of a newer version than the driver", RLX_UNSUPPORTED, false},
    {223, "compiling PTX is switched off", RLX_UNSUPPORTED, false},
    {226, "an error of the device that was contained", RLX_IO, true},
    {303, "the driver does not load the code", RLX_UNSUPPORTED, false},
    {304, "a call of the operating system failed", RLX_IO, false},
    {500, "not found", RLX_NOT_FOUND, false},
    {700, "a kernel reached outside of memory", RLX_IO, true},
    {701, "a team takes more than the device has", RLX_UNSUPPORTED, false},
    {702, "a kernel ran too long", RLX_IO, true},
    {709, "the device's context is gone", RLX_IO, true},
    {710, "a kernel's assertion failed", RLX_IO, true},
    {712, "memory of the host is registered already", RLX_INTERNAL, false},
    {714, "hardware error", RLX_IO, true},
    {715, "a kernel has an instruction that the device has not", RLX_IO, true},
    {716, "a kernel's address is not aligned", RLX_IO, true},
    {717, "a kernel's address is of another space", RLX_IO, true},
    {718, "a kernel lost its way", RLX_IO, true},
    {719, "a kernel failed", RLX_IO, true},
    {720, "more teams than the device holds at once", RLX_UNSUPPORTED, false},
    {801, "the device does not offer it", RLX_UNSUPPORTED, false},
    {802, "the system is not ready for CUDA", RLX_NOT_FOUND, false},
    {803, "driver and kernel module are of different versions", RLX_NOT_FOUND, false},
    {804, "the driver's compatibility package does not support this device", RLX_NOT_FOUND, false},
    {805, "no connection to the server that shares the device (MPS)", RLX_IO, false},
    {999, "unknown error", RLX_IO, true},
};
enum { NRESULTS = sizeof results / sizeof *results };

static int find_result(rlx_gpu_result r)
{
    int i = 0;
    while (i < NRESULTS && results[i].result != r)
        i++;
    return i;
}

bool rlx_gpu_loses(rlx_gpu_result r)
{
    const int i = find_result(r);
    return i < NRESULTS && results[i].loses;
}

rlx_status rlx_gpu_status(const rlx_gpu_driver *v, rlx_gpu_result r, rlx_gpu_call call,
                          const char *file, int line)
{
    const char *name = call_names[v->kind][call];
    const int i = find_result(r);
    if (!r)
        return RLX_OK;
    if (i == NRESULTS)
        return rlx_status_make(RLX_INTERNAL, file, line, "%s: result %d", name, r);
    return rlx_status_make(results[i].code, file, line, "%s: %s%s", name, results[i].text,
                           results[i].loses ? ": device lost" : "");
}

/* Whatever it is, there is no driver then, and nothing is lost. */
static rlx_status init(const rlx_gpu_driver *v)
{
    const rlx_gpu_result r = v->call.init(0);
    const char *name = call_names[v->kind][RLX_GPU_CALL_init];
    const int i = find_result(r);
    if (!r)
        return RLX_OK;
    if (i == NRESULTS)
        return RLX_FAIL(RLX_NOT_FOUND, "%s: result %d", name, r);
    return RLX_FAIL(RLX_NOT_FOUND, "%s: %s", name, results[i].text);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* "NAME: cannot open shared object file: No such file or directory", of the library itself. */
static bool says_absent(const char *error, const char *library)
{
    return !strncmp(error, library, strlen(library)) && strstr(error, "No such file");
}

/* When none opens: the first that is there says why not, else the last is missing. */
static void *open_library(const struct maker *m, rlx_status *st)
{
    char why[512] = "";
    bool absent = true;
    for (int i = 0; m->libraries[i]; i++) {
        void *library = dlopen(m->libraries[i], RTLD_NOW | RTLD_LOCAL);
        *st = RLX_OK;
        if (library)
            return library;
        const char *error = dlerror();
        if (absent)
            snprintf(why, sizeof why, "%s", error);
        absent = absent && says_absent(error, m->libraries[i]);
    }
    *st = RLX_FAIL(RLX_NOT_FOUND, "no %s driver: %s", m->company, why);
    return NULL;
}

static rlx_status load_call(const struct maker *m, void *library, const char *name, void *out)
{
    *(void **)out = dlsym(library, name);
    if (*(void **)out)
        return RLX_OK;
    return RLX_FAIL(RLX_NOT_FOUND, "the %s driver has no %s: one for %s or newer is needed",
                    m->company, name, m->least_text);
}

static rlx_status load_calls(const struct maker *m, void *library, rlx_gpu_driver *v)
{
    const bool cuda = v->kind == RLX_GPU_CUDA;
#define GPU_CALL(name, cuda_name, hip_name, parameters) \
    RLX_TRY(load_call(m, library, cuda ? #cuda_name : #hip_name, &v->call.name));
#define GPU_CUDA(name, cuda_name, parameters) \
    if (cuda)                                 \
        RLX_TRY(load_call(m, library, #cuda_name, &v->call.name));
#define GPU_LATER(name, cuda_name, parameters) \
    if (cuda)                                  \
        *(void **)&v->call.name = dlsym(library, #cuda_name);
#define GPU_HIP(name, hip_name, parameters) \
    if (!cuda)                              \
        RLX_TRY(load_call(m, library, #hip_name, &v->call.name));
#include "runtime/gpu_calls.def"
#undef GPU_CALL
#undef GPU_CUDA
#undef GPU_HIP
    return RLX_OK;
}

void rlx_gpu_read_build(const char *path, char *out, size_t n)
{
    char line[512] = "", *rest;
    FILE *f = fopen(path, "re");
    *out = 0;
    if (!f)
        return;
    if (fgets(line, sizeof line, f))
        for (const char *w = strtok_r(line, " \t\n", &rest); w && !*out;
             w = strtok_r(NULL, " \t\n", &rest))
            if (isdigit((unsigned char)*w) && strchr(w, '.'))
                snprintf(out, n, "%s", w);
    fclose(f);
}

static rlx_status start(const struct maker *m, rlx_gpu_driver *v)
{
    RLX_TRY(init(v));
    GPU_ASK(v, get_version, &v->version);
    if (v->kind == RLX_GPU_CUDA)
        rlx_gpu_read_build("/proc/driver/nvidia/version", v->build, sizeof v->build);
    if (v->version < m->least)
        return RLX_FAIL(RLX_NOT_FOUND,
                        "the %s driver is too old: its version is %d; %d (%s) is needed",
                        m->company, v->version, m->least, m->least_text);
    return RLX_OK;
}

static rlx_gpu_driver drivers[RLX_GPU_KINDS] = {{.kind = RLX_GPU_CUDA}, {.kind = RLX_GPU_HIP}};
static bool started[RLX_GPU_KINDS];
static rlx_status
    failures[RLX_GPU_KINDS]; /* of starting: a driver is started once, whatever comes of it */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all of them */

static rlx_status open_driver(rlx_gpu_kind k)
{
    rlx_status st;
    void *library = open_library(&makers[k], &st);
    RLX_TRY(st);
    st = load_calls(&makers[k], library, &drivers[k]);
    if (st) {
        dlclose(library); /* nothing of it has run */
        return st;
    }
    for (int i = 0; i < RLX_GPU_MAX_DEVICES; i++)
        rlx_gpu_gate_init(&drivers[k].gates[i]);
    failures[k] = start(&makers[k], &drivers[k]);
    started[k] = true;
    return RLX_OK;
}

rlx_status rlx_gpu_driver_open(rlx_gpu_kind k, rlx_gpu_driver **out)
{
    pthread_mutex_lock(&lock);
    rlx_status st = started[k] ? RLX_OK : open_driver(k);
    pthread_mutex_unlock(&lock);
    if (!st && failures[k])
        st = RLX_FAIL(rlx_status_code(failures[k]), "%s", rlx_status_message(failures[k]));
    *out = st ? NULL : &drivers[k];
    return st;
}

/* ---- devices --------------------------------------------------------------------------------- */

/* The newest code that a device takes and its driver knows. What only a 9.0 has is in code for it alone. */
static const struct {
    int from, to; /* compute capability, as 10 * major + minor */
    int driver;
    const char *arch;
} archs[] = {
    {90, 90, 12000, "sm_90a"},
    {90, 999, 11080, "sm_90"},
    {80, 999, 11040, "sm_80"},
    {75, 999, 11040, "sm_75"},
};

static void judge_cuda(rlx_gpu_info *i)
{
    const int has = 10 * i->major + i->minor;
    for (size_t k = 0; k < sizeof archs / sizeof *archs && !i->arch[0]; k++)
        if (has >= archs[k].from && has <= archs[k].to && i->driver >= archs[k].driver)
            snprintf(i->arch, sizeof i->arch, "%s", archs[k].arch);
    if (!i->arch[0])
        snprintf(i->why_not, sizeof i->why_not, "has compute capability %d.%d; 7.5 is needed",
                 i->major, i->minor);
}

static rlx_status read_cuda(const rlx_gpu_driver *v, rlx_gpu_handle d, rlx_gpu_info *out)
{
    const struct maker *m = &makers[v->kind];
    GPU_ASK(v, get_attribute, &out->major, m->major, d);
    GPU_ASK(v, get_attribute, &out->minor, m->minor, d);
    judge_cuda(out);
    return RLX_OK;
}

/* "gfx942:sramecc+:xnack-": code that says nothing of these features runs with either. */
static rlx_status read_hip(const rlx_gpu_driver *v, int index, rlx_gpu_info *out)
{
    rlx_gpu_properties *p = calloc(1, sizeof *p);
    if (!p)
        return RLX_OOM();
    rlx_status st = rlx_gpu_status(v, v->call.get_properties(p, index), RLX_GPU_CALL_get_properties,
                                   __FILE__, __LINE__);
    if (!st) {
        const size_t n = strcspn(p->at.arch, ":");
        snprintf(out->arch, sizeof out->arch, "%.*s", n < sizeof out->arch ? (int)n : 0,
                 p->at.arch);
    }
    if (!st && strncmp(out->arch, "gfx", 3) != 0)
        snprintf(out->why_not, sizeof out->why_not, "is of no processor that is known");
    free(p);
    return st;
}

static rlx_status describe(const rlx_gpu_driver *v, int index, rlx_gpu_info *out)
{
    const struct maker *m = &makers[v->kind];
    rlx_gpu_handle d;
    size_t memory;
    int team_bytes;
    GPU_ASK(v, get_device, &d, index);
    GPU_ASK(v, get_name, out->name, sizeof out->name, d);
    GPU_ASK(v, get_memory, &memory, d);
    GPU_ASK(v, get_attribute, &out->units, m->units, d);
    GPU_ASK(v, get_attribute, &team_bytes, m->team_bytes, d);
    out->memory_bytes = (int64_t)memory;
    out->team_bytes = team_bytes;
    out->name[sizeof out->name - 1] = '\0';
    return v->kind == RLX_GPU_CUDA ? read_cuda(v, d, out) : read_hip(v, index, out);
}

rlx_status rlx_gpu_describe(const rlx_gpu_driver *v, int index, rlx_gpu_info *out)
{
    *out = (rlx_gpu_info){.driver = v->version};
    RLX_TRY_NOTE(describe(v, index, out), "%s:%d", makers[v->kind].name, index);
    return RLX_OK;
}

static rlx_status list(const rlx_gpu_driver *v, rlx_gpu_info **out, int *n)
{
    int all;
    GPU_ASK(v, count_devices, &all);
    if (all < 1)
        return RLX_FAIL(RLX_NOT_FOUND, "the %s driver has no device", makers[v->kind].company);
    all = all < RLX_GPU_MAX_DEVICES ? all : RLX_GPU_MAX_DEVICES;
    *out = calloc((size_t)all, sizeof **out);
    if (!*out)
        return RLX_OOM();
    for (*n = 0; *n < all; ++*n) {
        rlx_gpu_info *i = &(*out)[*n];
        rlx_status st = rlx_gpu_describe(v, *n, i);
        if (st) /* it is there, and of no use: the others may be */
            snprintf(i->why_not, sizeof i->why_not, "%s", rlx_status_message(st));
        rlx_status_free(st);
    }
    return RLX_OK;
}

rlx_status rlx_gpu_list(rlx_gpu_kind k, rlx_gpu_info **out, int *n)
{
    rlx_gpu_driver *v;
    *out = NULL;
    *n = 0;
    RLX_TRY(rlx_gpu_driver_open(k, &v));
    return list(v, out, n);
}
