#include "tests/vulkan/fault_layer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <vulkan/vk_layer.h>

/* ---- the plan, and what was counted ---- */

enum {
    CALL_vkCreateInstance,
    CALL_vkCreateDevice,
#define FAULT_FIRST(name, parameters, arguments) CALL_##name,
#define FAULT_INSTANCE(of, name, parameters, arguments, made) CALL_##name,
#define FAULT_CALL(of, name, parameters, arguments, made) CALL_##name,
#include "tests/vulkan/fault_calls.def"
    NCALLS
};

static const char *const names[NCALLS] = {
    "vkCreateInstance",
    "vkCreateDevice",
#define FAULT_FIRST(name, parameters, arguments) #name,
#define FAULT_INSTANCE(of, name, parameters, arguments, made) #name,
#define FAULT_CALL(of, name, parameters, arguments, made) #name,
#include "tests/vulkan/fault_calls.def"
};

static struct {
    pthread_mutex_t lock; /* of all that follows */
    fault_plan plan;
    int64_t failed, live, counts[NCALLS];
    int last; /* that failed */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void add_live(int64_t n)
{
    pthread_mutex_lock(&state.lock);
    state.live += n;
    pthread_mutex_unlock(&state.lock);
}

/* Whether the plan has this call fail. */
static bool fails(int call, VkResult *result)
{
    pthread_mutex_lock(&state.lock);
    fault_plan *p = &state.plan;
    bool hit = (!p->call || !strcmp(p->call, names[call])) && p->passes-- <= 0 && p->fails-- > 0;
    void (*meanwhile)(void *) = hit ? p->meanwhile : NULL;
    void *user = p->user;
    hit = hit && !meanwhile;
    state.counts[call]++;
    state.failed += hit;
    state.last = hit ? call : state.last;
    *result = p->result;
    pthread_mutex_unlock(&state.lock);
    if (meanwhile)
        meanwhile(user);
    return hit;
}

static void set_plan(const fault_plan *p)
{
    pthread_mutex_lock(&state.lock);
    state.plan = p ? *p : (fault_plan){0};
    state.failed = 0;
    memset(state.counts, 0, sizeof state.counts);
    pthread_mutex_unlock(&state.lock);
}

static int64_t get_failed(void)
{
    return state.failed;
}

static const char *get_last(void)
{
    return state.failed ? names[state.last] : NULL;
}

static int64_t get_count(const char *call)
{
    for (int i = 0; i < NCALLS; i++)
        if (!strcmp(names[i], call))
            return state.counts[i];
    return -1;
}

static int64_t get_live(void)
{
    return state.live;
}

/* ---- what lies below, by the first word of its handles: the loader has the same in all of an instance, or of a device ---- */

typedef struct below {
    void *key; /* NULL: an empty slot */
    PFN_vkGetInstanceProcAddr get_of_instance;
    PFN_vkGetDeviceProcAddr get_of_device;
    PFN_vkDestroyInstance destroy_instance;
    PFN_vkDestroyDevice destroy_device;
#define FAULT_INSTANCE(of, name, parameters, arguments, made) PFN_##name name;
#define FAULT_INSTANCE_FREE(name, handle) PFN_##name name;
#define FAULT_CALL(of, name, parameters, arguments, made) PFN_##name name;
#define FAULT_FREE(name, handle) PFN_##name name;
#include "tests/vulkan/fault_calls.def"
} below;

enum { MAX_BELOW = 16 };

static struct {
    pthread_mutex_t lock;
    below all[MAX_BELOW];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *key_of(const void *handle)
{
    return *(void *const *)handle;
}

/* With `key` NULL: an empty one. NULL: there is none. */
static below *find_below(void *key)
{
    below *found = NULL;
    pthread_mutex_lock(&table.lock);
    for (int i = 0; i < MAX_BELOW && !found; i++)
        if (table.all[i].key == key)
            found = &table.all[i];
    pthread_mutex_unlock(&table.lock);
    return found;
}

static below *of(const void *handle)
{
    return find_below(key_of(handle));
}

static void set_below(const below *b, void *key)
{
    below *slot = find_below(NULL);
    pthread_mutex_lock(&table.lock);
    if (slot) {
        *slot = *b;
        slot->key = key;
    }
    pthread_mutex_unlock(&table.lock);
}

/* Gives a slot back: what was in it. */
static below forget_below(void *key)
{
    below *slot = find_below(key), was = {0};
    pthread_mutex_lock(&table.lock);
    if (slot) {
        was = *slot;
        *slot = (below){0};
    }
    pthread_mutex_unlock(&table.lock);
    return was;
}

/* ---- calls ---- */

#define FAULT_FIRST(name, parameters, arguments)                       \
    VK_LAYER_EXPORT VkResult VKAPI_CALL rlx_fault_##name parameters;   \
    VkResult VKAPI_CALL rlx_fault_##name parameters                    \
    {                                                                  \
        VkResult r;                                                    \
        return fails(CALL_##name, &r) ? r : c->pfnNextLayer arguments; \
    }
#define FAULT_CALL(handle, name, parameters, arguments, made) \
    static VkResult VKAPI_CALL fault_##name parameters        \
    {                                                         \
        VkResult r;                                           \
        if (fails(CALL_##name, &r))                           \
            return r;                                         \
        r = of(handle)->name arguments;                       \
        if (r == VK_SUCCESS)                                  \
            add_live(made);                                   \
        return r;                                             \
    }
#define FAULT_INSTANCE FAULT_CALL
#define FAULT_INSTANCE_FREE(name, handle)                                                       \
    static void VKAPI_CALL fault_##name(VkInstance i, handle h, const VkAllocationCallbacks *a) \
    {                                                                                           \
        add_live(h ? -1 : 0);                                                                   \
        of(i)->name(i, h, a);                                                                   \
    }
#define FAULT_FREE(name, handle)                                                              \
    static void VKAPI_CALL fault_##name(VkDevice d, handle h, const VkAllocationCallbacks *a) \
    {                                                                                         \
        add_live(h ? -1 : 0);                                                                 \
        of(d)->name(d, h, a);                                                                 \
    }
#include "tests/vulkan/fault_calls.def"

/* ---- a driver that keeps code, where the one below keeps none ---- */

static int64_t kept_bytes; /* that it seems to have made */
static int64_t taken;      /* caches that were made of them */

static VkResult VKAPI_CALL create_cache(VkDevice d, const VkPipelineCacheCreateInfo *info,
                                        const VkAllocationCallbacks *a, VkPipelineCache *out)
{
    VkPipelineCacheCreateInfo own = *info;
    if (kept_bytes && info->initialDataSize > (size_t)kept_bytes) {
        own.initialDataSize -= (size_t)kept_bytes;
        taken++;
    }
    return fault_vkCreatePipelineCache(d, &own, a, out);
}

static VkResult VKAPI_CALL get_cache_data(VkDevice d, VkPipelineCache c, size_t *n, void *out)
{
    size_t own = out ? *n - (size_t)kept_bytes : 0;
    VkResult r = fault_vkGetPipelineCacheData(d, c, &own, out);
    if (r == VK_SUCCESS && out)
        memset((char *)out + own, 0x5a, (size_t)kept_bytes);
    *n = own + (size_t)kept_bytes;
    return r;
}

static void keep_code(int64_t bytes)
{
    kept_bytes = bytes;
    taken = 0;
}

static int64_t get_taken(void)
{
    return taken;
}

/* ---- instances and devices ---- */

/* The loader's own record of a chain: a structure of `type` whose function is a link. */
static void *find_link(const void *next, VkStructureType type)
{
    const VkLayerInstanceCreateInfo *i = next; /* those of devices begin as it does */
    while (i && (i->sType != type || i->function != VK_LAYER_LINK_INFO))
        i = i->pNext;
    return (void *)(uintptr_t)i;
}

static VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                           const VkAllocationCallbacks *a, VkInstance *out)
{
    VkLayerInstanceCreateInfo *link =
        find_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    VkResult r;
    if (fails(CALL_vkCreateInstance, &r))
        return r;
    below b = {.get_of_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr};
    PFN_vkCreateInstance create =
        (PFN_vkCreateInstance)b.get_of_instance(VK_NULL_HANDLE, "vkCreateInstance");
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    if ((r = create(info, a, out)) != VK_SUCCESS)
        return r;
    b.destroy_instance = (PFN_vkDestroyInstance)b.get_of_instance(*out, "vkDestroyInstance");
#define FAULT_INSTANCE(of, name, parameters, arguments, made) \
    b.name = (PFN_##name)b.get_of_instance(*out, #name);
#define FAULT_INSTANCE_FREE(name, handle) b.name = (PFN_##name)b.get_of_instance(*out, #name);
#include "tests/vulkan/fault_calls.def"
    set_below(&b, key_of(*out));
    add_live(1);
    return VK_SUCCESS;
}

static void VKAPI_CALL destroy_instance(VkInstance i, const VkAllocationCallbacks *a)
{
    if (!i)
        return;
    add_live(-1);
    forget_below(key_of(i)).destroy_instance(i, a);
}

static VkResult VKAPI_CALL create_device(VkPhysicalDevice p, const VkDeviceCreateInfo *info,
                                         const VkAllocationCallbacks *a, VkDevice *out)
{
    VkLayerDeviceCreateInfo *link =
        find_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    VkResult r;
    if (fails(CALL_vkCreateDevice, &r))
        return r;
    below b = {.get_of_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr};
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)link->u.pLayerInfo->pfnNextGetInstanceProcAddr(
        VK_NULL_HANDLE, "vkCreateDevice");
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    if ((r = create(p, info, a, out)) != VK_SUCCESS)
        return r;
    b.destroy_device = (PFN_vkDestroyDevice)b.get_of_device(*out, "vkDestroyDevice");
#define FAULT_CALL(of, name, parameters, arguments, made) \
    b.name = (PFN_##name)b.get_of_device(*out, #name);
#define FAULT_FREE(name, handle) b.name = (PFN_##name)b.get_of_device(*out, #name);
#include "tests/vulkan/fault_calls.def"
    set_below(&b, key_of(*out));
    add_live(1);
    return VK_SUCCESS;
}

static void VKAPI_CALL destroy_device(VkDevice d, const VkAllocationCallbacks *a)
{
    if (!d)
        return;
    add_live(-1);
    forget_below(key_of(d)).destroy_device(d, a);
}

/* ---- what the loader asks ---- */

static PFN_vkVoidFunction VKAPI_CALL get_of_instance(VkInstance i, const char *name);
static PFN_vkVoidFunction VKAPI_CALL get_of_device(VkDevice d, const char *name);

static PFN_vkVoidFunction find_of_device(const char *name)
{
    static const struct {
        const char *name;
        PFN_vkVoidFunction fn;
    } all[] = {
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_of_device},
        {"vkDestroyDevice", (PFN_vkVoidFunction)destroy_device},
        {"vkCreatePipelineCache", (PFN_vkVoidFunction)create_cache},
        {"vkGetPipelineCacheData", (PFN_vkVoidFunction)get_cache_data},
#define FAULT_CALL(of, name, parameters, arguments, made) {#name, (PFN_vkVoidFunction)fault_##name},
#define FAULT_FREE(name, handle) {#name, (PFN_vkVoidFunction)fault_##name},
#include "tests/vulkan/fault_calls.def"
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name))
            return all[i].fn;
    return NULL;
}

static PFN_vkVoidFunction VKAPI_CALL get_of_device(VkDevice d, const char *name)
{
    PFN_vkVoidFunction ours = find_of_device(name);
    return ours ? ours : of(d)->get_of_device(d, name);
}

static PFN_vkVoidFunction VKAPI_CALL get_of_instance(VkInstance i, const char *name)
{
    static const struct {
        const char *name;
        PFN_vkVoidFunction fn;
    } all[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_of_instance},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkDestroyInstance", (PFN_vkVoidFunction)destroy_instance},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
#define FAULT_INSTANCE(of, name, parameters, arguments, made) \
    {#name, (PFN_vkVoidFunction)fault_##name},
#define FAULT_INSTANCE_FREE(name, handle) {#name, (PFN_vkVoidFunction)fault_##name},
#include "tests/vulkan/fault_calls.def"
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (!strcmp(all[k].name, name))
            return all[k].fn;
    PFN_vkVoidFunction ours = find_of_device(name);
    return ours || !i ? ours : of(i)->get_of_instance(i, name);
}

VK_LAYER_EXPORT VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *v)
{
    v->loaderLayerInterfaceVersion = CURRENT_LOADER_LAYER_INTERFACE_VERSION;
    v->pfnGetInstanceProcAddr = get_of_instance;
    v->pfnGetDeviceProcAddr = get_of_device;
    v->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}

VK_LAYER_EXPORT const fault_layer rlx_fault_layer = {.plan = set_plan,
                                                     .failed = get_failed,
                                                     .last = get_last,
                                                     .count = get_count,
                                                     .live = get_live,
                                                     .keep_code = keep_code,
                                                     .taken = get_taken};
