#include "tests/gpu/stand_in.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device_gpu_impl.h"
#include "tests/gpu/world.h"

rlx_status __real_rlx_context_create_for(int abi, const rlx_context_options *options,
                                         rlx_context **out);
int __real_rlx_device_count(void);

/* ---- whether there is a real one */

static const struct {
    const char *device, *init, *count;
} makers[RLX_GPU_KINDS] = {
    [RLX_GPU_CUDA] = {"cuda", "cuInit", "cuDeviceGetCount"},
    [RLX_GPU_HIP] = {"hip", "hipInit", "hipGetDeviceCount"},
};

/* Asked of the driver itself, by the first name that the program finds it by: what the library is told once it keeps. */
static bool has_devices(rlx_gpu_kind k)
{
    void *library = NULL;
    for (const char *const *name = rlx_gpu_libraries(k); *name && !library; name++)
        library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    int (*init)(unsigned), (*count)(int *), n = 0;
    if (!library)
        return false;
    *(void **)&init = dlsym(library, makers[k].init);
    *(void **)&count = dlsym(library, makers[k].count);
    const bool some = init && count && !init(0) && !count(&n) && n > 0;
    if (!some)
        dlclose(library);
    return some;
}

static bool stands_in[RLX_GPU_KINDS];

static void choose_drivers(void)
{
    for (int k = 0; k < RLX_GPU_KINDS; k++) {
        stands_in[k] = !has_devices((rlx_gpu_kind)k);
        if (stands_in[k])
            world_open_driver((rlx_gpu_kind)k);
    }
}

static void choose_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose_drivers);
}

/* Whether "cuda:0,memory=4G" is of such a driver. */
static bool is_stand_in(const char *device)
{
    for (int k = 0; device && k < RLX_GPU_KINDS; k++)
        if (!strncmp(device, makers[k].device, strlen(makers[k].device))) {
            choose_once();
            return stands_in[k];
        }
    return false;
}

/* ---- what programs call */

rlx_status __wrap_rlx_context_create_for(int abi, const rlx_context_options *options,
                                         rlx_context **out)
{
    if (!options || !is_stand_in(options->device))
        return __real_rlx_context_create_for(abi, options, out);
    rlx_context_options o = *options;
    o.no_cache = true;
    RLX_TRY(__real_rlx_context_create_for(abi, &o, out));
    world_emulate(*out);
    return RLX_OK;
}

int __wrap_rlx_device_count(void)
{
    choose_once();
    return __real_rlx_device_count();
}

/* ---- assertions of tests' code, which no test runs here */

void __wrap__mark_point(const char *file, int line)
{
    (void)file;
    (void)line;
}

void __wrap__ck_assert_failed(const char *file, int line, const char *expression, const char *fmt,
                              ...)
{
    fprintf(stderr, "%s:%d: %s: ", file, line, expression);
    if (fmt) {
        va_list args;
        va_start(args, fmt);
        vfprintf(stderr, fmt, args);
        va_end(args);
    }
    fprintf(stderr, "\n");
    abort();
}
