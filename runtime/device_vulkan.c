#include "runtime/device_vulkan.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device_vulkan_impl.h"

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

/* ---- results ---- */

static const struct {
    VkResult result;
    const char *name;
    rlx_code code;
} results[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, "out of host memory", RLX_OUT_OF_MEMORY},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, "out of device memory", RLX_OUT_OF_MEMORY},
    {VK_ERROR_OUT_OF_POOL_MEMORY, "out of pool memory", RLX_OUT_OF_MEMORY},
    {VK_ERROR_INITIALIZATION_FAILED, "initialization failed", RLX_NOT_FOUND},
    {VK_ERROR_INCOMPATIBLE_DRIVER, "incompatible driver", RLX_NOT_FOUND},
    {VK_ERROR_LAYER_NOT_PRESENT, "layer not present", RLX_NOT_FOUND},
    {VK_ERROR_EXTENSION_NOT_PRESENT, "extension not present", RLX_UNSUPPORTED},
    {VK_ERROR_FEATURE_NOT_PRESENT, "feature not present", RLX_UNSUPPORTED},
    {VK_ERROR_TOO_MANY_OBJECTS, "too many objects", RLX_EXHAUSTED},
    {VK_ERROR_MEMORY_MAP_FAILED, "memory cannot be mapped", RLX_IO},
    {VK_ERROR_DEVICE_LOST, "device lost", RLX_IO},
};

rlx_status rlx_vulkan_status(VkResult r, const char *call, const char *file, int line)
{
    if (r == VK_SUCCESS)
        return RLX_OK;
    int n = (int)strcspn(call, "(");
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].result == r)
            return rlx_status_make(results[i].code, file, line, "%.*s: %s", n, call,
                                   results[i].name);
    return rlx_status_make(RLX_INTERNAL, file, line, "%.*s: Vulkan result %d", n, call, (int)r);
}

rlx_status rlx_vulkan_result(rlx_vulkan_device *d, VkResult r, const char *call, const char *file,
                             int line)
{
    if (r == VK_ERROR_DEVICE_LOST)
        d->lost = true;
    return rlx_vulkan_status(r, call, file, line);
}

rlx_status rlx_vulkan_check_lost(const rlx_vulkan_device *d)
{
    if (d->lost)
        return RLX_FAIL(RLX_IO, "%s was lost: nothing runs on it any more", d->info.name);
    return RLX_OK;
}

/* Of a list that may be longer than there was room for. */
static rlx_status check_list(VkResult r, const char *call)
{
    return r == VK_INCOMPLETE ? RLX_OK : rlx_vulkan_status(r, call, __FILE__, __LINE__);
}

/* ---- the loader ---- */

static rlx_status missing(const char *name)
{
    return RLX_FAIL(RLX_NOT_FOUND, "the Vulkan loader has no %s", name);
}

static rlx_status open_loader(rlx_vulkan_device *d)
{
    d->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!d->library)
        return RLX_FAIL(RLX_NOT_FOUND, "no Vulkan loader: %s", dlerror());
    *(void **)&d->vk.vkGetInstanceProcAddr = dlsym(d->library, "vkGetInstanceProcAddr");
    if (!d->vk.vkGetInstanceProcAddr)
        return missing("vkGetInstanceProcAddr");
#define VK_LOADER(name)                                                          \
    d->vk.name = (PFN_##name)d->vk.vkGetInstanceProcAddr(VK_NULL_HANDLE, #name); \
    if (!d->vk.name)                                                             \
        return missing(#name);
#define VK_INSTANCE(name)
#define VK_DEVICE(name)
#define VK_DEBUG(name)
#include "runtime/vulkan_syms.def"
    return RLX_OK;
}

static rlx_status load_instance_syms(rlx_vulkan_device *d, bool debug)
{
#define VK_LOADER(name)
#define VK_INSTANCE(name)                                                     \
    d->vk.name = (PFN_##name)d->vk.vkGetInstanceProcAddr(d->instance, #name); \
    if (!d->vk.name)                                                          \
        return missing(#name);
#define VK_DEVICE(name)
#define VK_DEBUG(name)                                                            \
    if (debug) {                                                                  \
        d->vk.name = (PFN_##name)d->vk.vkGetInstanceProcAddr(d->instance, #name); \
        if (!d->vk.name)                                                          \
            return missing(#name);                                                \
    }
#include "runtime/vulkan_syms.def"
    return RLX_OK;
}

static rlx_status load_device_syms(rlx_vulkan_device *d)
{
#define VK_LOADER(name)
#define VK_INSTANCE(name)
#define VK_DEVICE(name)                                                   \
    d->vk.name = (PFN_##name)d->vk.vkGetDeviceProcAddr(d->device, #name); \
    if (!d->vk.name)                                                      \
        return missing(#name);
#define VK_DEBUG(name)
#include "runtime/vulkan_syms.def"
    return RLX_OK;
}

/* ---- the instance ---- */

static VkBool32 VKAPI_PTR on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                     VkDebugUtilsMessageTypeFlagsEXT types,
                                     const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    rlx_vulkan_device *d = user;
    (void)severity;
    (void)types;
    pthread_mutex_lock(&d->lock);
    const char *text = data->pMessage ? data->pMessage : "";
    rlx_text_putf(&d->log, "%s\n", text);
    if (d->said)
        rlx_text_putf(d->said, "%s\n", text);
    d->nmessages++;
    pthread_mutex_unlock(&d->lock);
    return VK_FALSE;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(rlx_vulkan_device *d)
{
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        /* The loader's general complaints about other drivers are none of ours. */
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = d};
}

static rlx_status require_validation(rlx_vulkan_device *d)
{
    uint32_t n = 0;
    VK_TRY(d, vkEnumerateInstanceLayerProperties(&n, NULL));
    VkLayerProperties *layers = calloc(n ? n : 1, sizeof *layers);
    if (!layers)
        return RLX_OOM();
    VkResult r = d->vk.vkEnumerateInstanceLayerProperties(&n, layers);
    bool found = false;
    for (uint32_t i = 0; r >= 0 && i < n; i++)
        found |= strcmp(layers[i].layerName, validation_layer) == 0;
    free(layers);
    RLX_TRY(check_list(r, "vkEnumerateInstanceLayerProperties"));
    return found
               ? RLX_OK
               : RLX_FAIL(RLX_NOT_FOUND, "the Vulkan layer %s is not installed", validation_layer);
}

static rlx_status create_instance(rlx_vulkan_device *d, bool validate)
{
    uint32_t version = 0;
    VK_TRY(d, vkEnumerateInstanceVersion(&version));
    if (version < VK_API_VERSION_1_2)
        return RLX_FAIL(RLX_UNSUPPORTED, "the Vulkan loader is of version %u.%u; 1.2 is needed",
                        VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    if (validate)
        RLX_TRY(require_validation(d));
    const char *layers[] = {validation_layer}, *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info(d);
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "rlx",
        .pEngineName = "rlx",
        .apiVersion = version < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pNext = validate ? &messenger : NULL,
                                 .pApplicationInfo = &application,
                                 .enabledLayerCount = validate,
                                 .ppEnabledLayerNames = layers,
                                 .enabledExtensionCount = validate,
                                 .ppEnabledExtensionNames = extensions};
    VK_TRY(d, vkCreateInstance(&info, NULL, &d->instance));
    RLX_TRY(load_instance_syms(d, validate));
    if (validate)
        VK_TRY(d, vkCreateDebugUtilsMessengerEXT(d->instance, &messenger, NULL, &d->messenger));
    return RLX_OK;
}

/* ---- the device ---- */

/* The first family with a compute queue. */
static bool compute_family(rlx_vulkan_device *d, VkPhysicalDevice p, uint32_t *family)
{
    VkQueueFamilyProperties families[16];
    uint32_t n = sizeof families / sizeof *families;
    d->vk.vkGetPhysicalDeviceQueueFamilyProperties(p, &n, families);
    for (*family = 0; *family < n; ++*family)
        if (families[*family].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            const uint32_t bits = families[*family].timestampValidBits;
            d->stamp_mask = bits < 64 ? ((uint64_t)1 << bits) - 1 : UINT64_MAX;
            return true;
        }
    return false;
}

static rlx_status pick_device(rlx_vulkan_device *d, int index)
{
    VkPhysicalDevice all[32];
    uint32_t n = sizeof all / sizeof *all;
    VkResult r = d->vk.vkEnumeratePhysicalDevices(d->instance, &n, all);
    RLX_TRY(check_list(r, "vkEnumeratePhysicalDevices"));
    int found = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!compute_family(d, all[i], &d->family))
            continue;
        if (found++ == index) {
            d->physical = all[i];
            return RLX_OK;
        }
    }
    return RLX_FAIL(RLX_NOT_FOUND, "no Vulkan device %d: %d with a compute queue", index, found);
}

static bool is_newer(const rlx_vulkan_device *d) /* has Vulkan 1.3 */
{
    return d->info.api_major > 1 || d->info.api_minor >= 3;
}

/* The largest heap of its own; -1: none. */
static int find_heap(const VkPhysicalDeviceMemoryProperties *p)
{
    int heap = -1;
    for (uint32_t i = 0; i < p->memoryHeapCount; i++)
        if ((p->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            (heap < 0 || p->memoryHeaps[i].size > p->memoryHeaps[heap].size))
            heap = (int)i;
    return heap;
}

int64_t rlx_vulkan_memory_bytes(const VkPhysicalDeviceMemoryProperties *p)
{
    const int heap = find_heap(p);
    return heap < 0 ? 0 : (int64_t)p->memoryHeaps[heap].size;
}

int64_t rlx_vulkan_budget(const rlx_vulkan_device *d)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 p = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    if (!d->has_budget)
        return -1;
    d->vk.vkGetPhysicalDeviceMemoryProperties2(d->physical, &p);
    const int heap = find_heap(&p.memoryProperties);
    if (heap < 0)
        return -1;
    return budget.heapBudget[heap] > budget.heapUsage[heap]
               ? (int64_t)(budget.heapBudget[heap] - budget.heapUsage[heap])
               : 0;
}

static rlx_status find_extensions(rlx_vulkan_device *d)
{
    d->has_budget = d->has_matrix = false;
    uint32_t n = 0;
    VK_TRY(d, vkEnumerateDeviceExtensionProperties(d->physical, NULL, &n, NULL));
    VkExtensionProperties *all = calloc(n + 1, sizeof *all);
    if (!all)
        return RLX_OOM();
    VkResult r = d->vk.vkEnumerateDeviceExtensionProperties(d->physical, NULL, &n, all);
    for (uint32_t i = 0; r >= 0 && i < n; i++) {
        d->has_budget |= !strcmp(all[i].extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
        d->has_matrix |= !strcmp(all[i].extensionName, RLX_VULKAN_MATRIX_EXTENSION);
    }
    free(all);
    return check_list(r, "vkEnumerateDeviceExtensionProperties");
}

static void read_memory(rlx_vulkan_device *d)
{
    VkPhysicalDeviceMemoryProperties p;
    d->vk.vkGetPhysicalDeviceMemoryProperties(d->physical, &p);
    d->info.memory_bytes = rlx_vulkan_memory_bytes(&p);
}

static void read_newer_properties(rlx_vulkan_device *d)
{
    const VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    VkPhysicalDeviceVulkan13Properties p13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES,
        .maxBufferSize = INT64_MAX};
    VkPhysicalDeviceVulkan12Properties p12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
        .pNext = is_newer(d) ? &p13 : NULL};
    VkPhysicalDeviceVulkan11Properties p11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, .pNext = &p12};
    VkPhysicalDeviceProperties2 p2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                      .pNext = &p11};
    d->vk.vkGetPhysicalDeviceProperties2(d->physical, &p2);
    if (p12.shaderSignedZeroInfNanPreserveFloat32)
        d->info.features |= RLX_VULKAN_BIT(INF);
    const uint64_t most = p11.maxMemoryAllocationSize < p13.maxBufferSize
                              ? p11.maxMemoryAllocationSize
                              : p13.maxBufferSize;
    d->info.max_memory_bytes = most < INT64_MAX ? (int64_t)most : INT64_MAX;
    d->info.subgroup = (int)p11.subgroupSize;
    if (!(p11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        (p11.subgroupSupportedOperations & needed) != needed)
        d->info.features &= ~RLX_VULKAN_BIT(SUBGROUP);
}

/* What kernels may ask for and the device has. */
static void read_features(rlx_vulkan_device *d)
{
    VkPhysicalDeviceVulkan13Features has13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
    VkPhysicalDeviceVulkan12Features has12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = is_newer(d) ? &has13 : NULL};
    VkPhysicalDeviceVulkan11Features has11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &has12};
    VkPhysicalDeviceFeatures2 has = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                     .pNext = &has11};
    d->vk.vkGetPhysicalDeviceFeatures2(d->physical, &has);
    d->info.features |= (has12.storageBuffer8BitAccess ? RLX_VULKAN_BIT(INT8) : 0) |
                        (has12.bufferDeviceAddress ? RLX_VULKAN_BIT(ADDRESS) : 0) |
                        (has11.storageBuffer16BitAccess ? RLX_VULKAN_BIT(INT16) : 0) |
                        (has.features.shaderInt64 ? RLX_VULKAN_BIT(INT64) : 0) |
                        (has.features.shaderFloat64 ? RLX_VULKAN_BIT(F64) : 0) |
                        (has12.shaderFloat16 ? RLX_VULKAN_BIT(F16) : 0) |
                        (has13.shaderIntegerDotProduct ? RLX_VULKAN_BIT(DOT) : 0) |
                        (has13.computeFullSubgroups ? RLX_VULKAN_BIT(SUBGROUP) : 0);
}

void rlx_vulkan_judge(rlx_vulkan_info *i)
{
    i->why_not[0] = '\0';
    if (i->api_major == 1 && i->api_minor < 2)
        snprintf(i->why_not, sizeof i->why_not, "has Vulkan %d.%d; 1.2 is needed", i->api_major,
                 i->api_minor);
    else if (i->binding_align > RLX_VULKAN_RANGE_ALIGN)
        snprintf(i->why_not, sizeof i->why_not, "binds memory by %lld bytes; %d are supported",
                 (long long)i->binding_align, RLX_VULKAN_RANGE_ALIGN);
}

void rlx_vulkan_judge_features(rlx_vulkan_info *i)
{
    if (!(i->features & RLX_VULKAN_BIT(INT64)))
        snprintf(i->why_not, sizeof i->why_not, "has no 64-bit integers (int64)");
}

static void read_driver(rlx_vulkan_device *d, const VkPhysicalDeviceProperties *p)
{
    rlx_vulkan_driver *w = &d->driver;
    w->vendor = p->vendorID;
    w->device = p->deviceID;
    memcpy(w->uuid, p->pipelineCacheUUID, sizeof w->uuid);
    int n = snprintf(w->name, sizeof w->name, "vulkan vendor %08x device %08x driver %08x cache ",
                     p->vendorID, p->deviceID, p->driverVersion);
    for (size_t i = 0; i < sizeof w->uuid; i++)
        n += snprintf(w->name + n, sizeof w->name - (size_t)n, "%02x", w->uuid[i]);
}

static rlx_status read_properties(rlx_vulkan_device *d)
{
    VkPhysicalDeviceProperties p;
    d->vk.vkGetPhysicalDeviceProperties(d->physical, &p);
    const VkPhysicalDeviceLimits *l = &p.limits;
    d->tick = d->stamp_mask ? (double)l->timestampPeriod : 0;
    d->info = (rlx_vulkan_info){
        .api_major = (int)VK_API_VERSION_MAJOR(p.apiVersion),
        .api_minor = (int)VK_API_VERSION_MINOR(p.apiVersion),
        .is_cpu = p.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
        .max_buffer_bytes = l->maxStorageBufferRange,
        .binding_align = (int64_t)l->minStorageBufferOffsetAlignment,
        .team_bytes = l->maxComputeSharedMemorySize,
        .max_team = (int)(l->maxComputeWorkGroupInvocations < l->maxComputeWorkGroupSize[0]
                              ? l->maxComputeWorkGroupInvocations
                              : l->maxComputeWorkGroupSize[0]),
        .max_buffers = (int)(l->maxPerStageDescriptorStorageBuffers < INT32_MAX
                                 ? l->maxPerStageDescriptorStorageBuffers
                                 : INT32_MAX),
        .max_teams = l->maxComputeWorkGroupCount[0]};
    memcpy(d->info.name, p.deviceName, sizeof d->info.name);
    d->info.name[sizeof d->info.name - 1] = '\0';
    read_memory(d);
    read_driver(d, &p);
    rlx_vulkan_judge(&d->info);
    if (!d->info.why_not[0]) {
        RLX_TRY(find_extensions(d));
        read_features(d);
        read_newer_properties(d);
        if (d->has_matrix && is_newer(d))
            rlx_vulkan_read_matrix(d);
        rlx_vulkan_judge_features(&d->info);
    }
    if (d->info.why_not[0])
        return RLX_FAIL(RLX_UNSUPPORTED, "%s %s", d->info.name, d->info.why_not);
    return RLX_OK;
}

/* Everything that kernels may ask for and the device has is enabled, but what is masked. */
static rlx_status create_device(rlx_vulkan_device *d, uint64_t without)
{
    d->info.features &= ~without;
    const uint64_t want = d->info.features;
    const bool matrices = want >> RLX_VULKAN_MATRIX & 1;
    const char *const extensions[] = {RLX_VULKAN_MATRIX_EXTENSION};
    rlx_vulkan_matrix_features matrix = rlx_vulkan_matrix_enable(want);
    VkPhysicalDeviceVulkan13Features want13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
        .pNext = matrices ? &matrix : NULL,
        .subgroupSizeControl = matrices,
        .computeFullSubgroups = want >> RLX_VULKAN_SUBGROUP & 1,
        .shaderIntegerDotProduct = want >> RLX_VULKAN_DOT & 1};
    VkPhysicalDeviceVulkan12Features want12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = is_newer(d) ? &want13 : NULL,
        .storageBuffer8BitAccess = want >> RLX_VULKAN_INT8 & 1,
        .shaderFloat16 = want >> RLX_VULKAN_F16 & 1,
        .shaderInt8 = matrices,
        .vulkanMemoryModel = matrices,
        .vulkanMemoryModelDeviceScope = matrices,
        .bufferDeviceAddress = want >> RLX_VULKAN_ADDRESS & 1};
    VkPhysicalDeviceVulkan11Features want11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .pNext = &want12,
        .storageBuffer16BitAccess = want >> RLX_VULKAN_INT16 & 1};
    VkPhysicalDeviceFeatures2 enable = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                        .pNext = &want11,
                                        .features = {.shaderInt64 = want >> RLX_VULKAN_INT64 & 1,
                                                     .shaderFloat64 = want >> RLX_VULKAN_F64 & 1}};
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = d->family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &enable,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = matrices,
                               .ppEnabledExtensionNames = extensions};
    VK_TRY(d, vkCreateDevice(d->physical, &info, NULL, &d->device));
    RLX_TRY(load_device_syms(d));
    d->vk.vkGetDeviceQueue(d->device, d->family, 0, &d->queue);
    return RLX_OK;
}

static rlx_status create_batch(rlx_vulkan_device *d)
{
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = d->family};
    VK_TRY(d, vkCreateCommandPool(d->device, &pool, NULL, &d->pool));
    VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = d->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    VK_TRY(d, vkAllocateCommandBuffers(d->device, &commands, &d->commands));
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VK_TRY(d, vkCreateFence(d->device, &fence, NULL, &d->fence));
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                 .descriptorCount = RLX_VULKAN_MAX_DESCRIPTORS};
    VkDescriptorPoolCreateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = RLX_VULKAN_MAX_SETS,
                                       .poolSizeCount = 1,
                                       .pPoolSizes = &size};
    VK_TRY(d, vkCreateDescriptorPool(d->device, &sets, NULL, &d->sets));
    return RLX_OK;
}

static void lower(int64_t most, int64_t *bytes)
{
    *bytes = most && most < *bytes ? most : *bytes;
}

/* Code is made for the range that was asked for: the device binds no more than its own. */
static rlx_status lower_range(rlx_vulkan_device *d, int64_t most)
{
    if (most > d->info.max_buffer_bytes)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "range=%lld: %s binds %lld bytes at most",
                        (long long)most, d->info.name, (long long)d->info.max_buffer_bytes);
    lower(most, &d->info.max_buffer_bytes);
    return RLX_OK;
}

static rlx_status open_device(rlx_vulkan_device *d, const rlx_vulkan_options *options)
{
    d->hides = options->hides;
    d->said = options->said;
    RLX_TRY(open_loader(d));
    RLX_TRY_NOTE(create_instance(d, options->validate), "creating a Vulkan instance");
    RLX_TRY(pick_device(d, options->index));
    RLX_TRY(read_properties(d));
    RLX_TRY(lower_range(d, options->range));
    lower(options->memory, &d->info.memory_bytes);
    RLX_TRY_NOTE(create_device(d, options->without), "opening %s", d->info.name);
    RLX_TRY_NOTE(create_batch(d), "opening %s", d->info.name);
    return RLX_OK;
}

rlx_status rlx_vulkan_device_create(const rlx_vulkan_options *options, rlx_vulkan_device **out)
{
    rlx_vulkan_device *d = calloc(1, sizeof *d);
    if (!d)
        return RLX_OOM();
    pthread_mutex_init(&d->lock, NULL);
    rlx_status st = open_device(d, options);
    if (st) {
        rlx_vulkan_device_destroy(d);
        return st;
    }
    *out = d;
    return RLX_OK;
}

/* What is there was made by functions that were loaded; after a failure others may be missing. */
void rlx_vulkan_device_destroy(rlx_vulkan_device *d)
{
    if (!d)
        return;
    if (d->device && d->vk.vkDestroyDevice) {
        if (d->recording)
            rlx_status_free(rlx_vulkan_wait(d));
        if (d->sets)
            d->vk.vkDestroyDescriptorPool(d->device, d->sets, NULL);
        if (d->fence)
            d->vk.vkDestroyFence(d->device, d->fence, NULL);
        if (d->pool)
            d->vk.vkDestroyCommandPool(d->device, d->pool, NULL);
        d->vk.vkDestroyDevice(d->device, NULL);
    }
    if (d->messenger)
        d->vk.vkDestroyDebugUtilsMessengerEXT(d->instance, d->messenger, NULL);
    if (d->instance && d->vk.vkDestroyInstance)
        d->vk.vkDestroyInstance(d->instance, NULL);
    if (d->library)
        dlclose(d->library);
    rlx_text_deinit(&d->log);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static rlx_status list_devices(rlx_vulkan_device *d, rlx_vulkan_info **out, int *n)
{
    RLX_TRY(open_loader(d));
    RLX_TRY_NOTE(create_instance(d, false), "creating a Vulkan instance");
    for (*n = 0;; ++*n) {
        rlx_status st = pick_device(d, *n);
        if (rlx_status_code(st) == RLX_NOT_FOUND) { /* they end here */
            rlx_status_free(st);
            return RLX_OK;
        }
        RLX_TRY(st);
        rlx_vulkan_info *all = realloc(*out, sizeof *all * (size_t)(*n + 1));
        if (!all)
            return RLX_OOM();
        *out = all;
        st = read_properties(d); /* what is of no use is listed with the reason */
        if (st && !d->info.why_not[0])
            snprintf(d->info.why_not, sizeof d->info.why_not, "%s", rlx_status_message(st));
        rlx_status_free(st);
        all[*n] = d->info;
    }
}

rlx_status rlx_vulkan_list(rlx_vulkan_info **out, int *n)
{
    *out = NULL;
    *n = 0;
    rlx_vulkan_device *d = calloc(1, sizeof *d);
    if (!d)
        return RLX_OOM();
    pthread_mutex_init(&d->lock, NULL);
    rlx_status st = list_devices(d, out, n);
    rlx_vulkan_device_destroy(d);
    if (st) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return st;
}

const rlx_vulkan_info *rlx_vulkan_device_get_info(const rlx_vulkan_device *d)
{
    return &d->info;
}

int rlx_vulkan_device_messages(const rlx_vulkan_device *d, const char **text)
{
    *text = d->log.data ? d->log.data : "";
    return d->nmessages;
}
