/* runtime/device_vulkan_matrix.c: the matrices that a device multiplies: VK_KHR_cooperative_matrix.
 *
 * Of what it lists code takes one shape: signed bytes, sums of 32 bits, by a subgroup. What there is of Vulkan's headers on a
 * stable system is older than the extension, so what it adds is declared here. */
#include "runtime/device_vulkan_impl.h"

/* As the extension numbers and lays them out. */
enum { FEATURES_TYPE = 1000506000, PROPERTIES_TYPE = 1000506001 };
enum { SINT8 = 3, SINT32 = 5, SCOPE_SUBGROUP = 3 };

typedef struct properties {
    VkStructureType type;
    void *next;
    uint32_t m, n, k;
    int32_t a, b, c, result; /* types of components */
    VkBool32 saturating;
    int32_t scope;
} properties;

typedef VkResult(VKAPI_PTR *get_properties)(VkPhysicalDevice, uint32_t *, properties *);

rlx_vulkan_matrix_features rlx_vulkan_matrix_enable(uint64_t features)
{
    return (rlx_vulkan_matrix_features){.type = (VkStructureType)FEATURES_TYPE,
                                        .matrices = features >> RLX_VULKAN_MATRIX & 1};
}

/* What code with matrices takes beside them: the memory model that SPIR-V asks for, of which a device that has it on lets the other kernels'
 * atomics reach all of it only by a feature of its own; bytes, and subgroups of a size that is known. */
static bool has_features(const rlx_vulkan_device *d)
{
    rlx_vulkan_matrix_features matrix = {.type = (VkStructureType)FEATURES_TYPE};
    VkPhysicalDeviceVulkan13Features has13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES, .pNext = &matrix};
    VkPhysicalDeviceVulkan12Features has12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .pNext = &has13};
    VkPhysicalDeviceFeatures2 has = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                     .pNext = &has12};
    d->vk.vkGetPhysicalDeviceFeatures2(d->physical, &has);
    return matrix.matrices && has12.vulkanMemoryModel && has12.vulkanMemoryModelDeviceScope &&
           has12.shaderInt8 && has13.subgroupSizeControl && has13.computeFullSubgroups;
}

static bool may_fix_subgroups(rlx_vulkan_device *d)
{
    VkPhysicalDeviceVulkan13Properties p13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES};
    VkPhysicalDeviceProperties2 p2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                      .pNext = &p13};
    const uint32_t size = (uint32_t)d->info.subgroup;
    d->vk.vkGetPhysicalDeviceProperties2(d->physical, &p2);
    d->info.max_subgroups = p13.maxComputeWorkgroupSubgroups < INT32_MAX
                                ? (int)p13.maxComputeWorkgroupSubgroups
                                : INT32_MAX;
    return (p13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
           p13.minSubgroupSize <= size && size <= p13.maxSubgroupSize;
}

static bool is_of_use(const properties *p)
{
    const bool bytes = p->a == SINT8 && p->b == SINT8 && p->c == SINT32 && p->result == SINT32;
    return bytes && p->scope == SCOPE_SUBGROUP && !p->saturating && rlx_vulkan_is_side(p->m) &&
           rlx_vulkan_is_side(p->n) && rlx_vulkan_is_side(p->k);
}

/* The one of most products. */
static void pick(const properties *all, uint32_t n, rlx_vulkan_matrix *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const properties *p = &all[i];
        if (is_of_use(p) && p->m * p->n * p->k > (uint32_t)(out->m * out->n * out->k))
            *out = (rlx_vulkan_matrix){(int)p->m, (int)p->n, (int)p->k};
    }
}

void rlx_vulkan_read_matrix(rlx_vulkan_device *d)
{
    enum { MOST = 64 };
    properties all[MOST];
    uint32_t n = MOST;
    const get_properties get = (get_properties)d->vk.vkGetInstanceProcAddr(
        d->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    d->info.matrix = (rlx_vulkan_matrix){0};
    d->info.features &= ~RLX_VULKAN_BIT(MATRIX);
    if (!get || !has_features(d) || !may_fix_subgroups(d))
        return;
    for (int i = 0; i < MOST; i++)
        all[i] = (properties){.type = (VkStructureType)PROPERTIES_TYPE};
    if (get(d->physical, &n, all) < 0) /* there may be more than there is room for */
        return;
    pick(all, n, &d->info.matrix);
    if (d->info.matrix.m)
        d->info.features |= RLX_VULKAN_BIT(MATRIX);
}
