/* runtime/device_vulkan_run.c: buffers, kernels, and running one on the other. */
#include <spirv/unified1/spirv.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device_vulkan_impl.h"

/* ---- buffers ---- */

#define HOST (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT

/* What each use wants, best first. Memory that the device has for itself and the host caches is one memory for both. */
static const VkMemoryPropertyFlags wishes[][3] = {
    [RLX_MEMORY_KEPT] = {LOCAL | HOST | CACHED, LOCAL, 0},
    [RLX_MEMORY_GIVEN] = {LOCAL | HOST, HOST, HOST},
    [RLX_MEMORY_TAKEN] = {HOST | CACHED, HOST, HOST},
};

static bool has_addresses(const rlx_vulkan_device *d)
{
    return d->info.features >> RLX_VULKAN_ADDRESS & 1;
}

/* Of the first type in the order of the wishes that is not full. */
static rlx_status allocate(rlx_vulkan_buffer *b, rlx_memory_use use, bool *visible)
{
    rlx_vulkan_device *d = b->device;
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryRequirements needs;
    VkPhysicalDeviceMemoryProperties p;
    VkResult full = VK_SUCCESS; /* of a type that would do */
    d->vk.vkGetBufferMemoryRequirements(d->device, b->buffer, &needs);
    d->vk.vkGetPhysicalDeviceMemoryProperties(d->physical, &p);
    for (size_t w = 0; w < sizeof wishes[use] / sizeof *wishes[use]; w++)
        for (uint32_t t = 0; t < p.memoryTypeCount; t++) {
            const VkMemoryPropertyFlags wish = wishes[use][w], has = p.memoryTypes[t].propertyFlags;
            if (!(needs.memoryTypeBits >> t & 1) || (has & wish) != wish)
                continue;
            const VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                                 .pNext = has_addresses(d) ? &flags : NULL,
                                                 .allocationSize = needs.size,
                                                 .memoryTypeIndex = t};
            needs.memoryTypeBits &= ~((uint32_t)1 << t); /* each is asked once */
            full = d->vk.vkAllocateMemory(d->device, &memory, NULL, &b->memory);
            *visible = (wish & HOST) && !(d->hides && use == RLX_MEMORY_KEPT);
            if (full != VK_ERROR_OUT_OF_DEVICE_MEMORY)
                return rlx_vulkan_status(full, "vkAllocateMemory", __FILE__, __LINE__);
        }
    if (full)
        return rlx_vulkan_status(full, "vkAllocateMemory", __FILE__, __LINE__);
    return RLX_FAIL(RLX_UNSUPPORTED, "%s has no memory that the host sees", d->info.name);
}

static rlx_status make_buffer(rlx_vulkan_buffer *b, rlx_memory_use use)
{
    rlx_vulkan_device *d = b->device;
    bool visible = false;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = b->bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 (has_addresses(d) ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0)};
    VK_TRY(d, vkCreateBuffer(d->device, &info, NULL, &b->buffer));
    RLX_TRY(allocate(b, use, &visible));
    VK_TRY(d, vkBindBufferMemory(d->device, b->buffer, b->memory, 0));
    const VkBufferDeviceAddressInfo where = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                             .buffer = b->buffer};
    if (has_addresses(d))
        b->address = d->vk.vkGetBufferDeviceAddress(d->device, &where);
    if (visible)
        VK_TRY(d, vkMapMemory(d->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->data));
    return RLX_OK;
}

rlx_status rlx_vulkan_buffer_create(rlx_vulkan_device *d, size_t bytes, rlx_vulkan_buffer **out)
{
    return rlx_vulkan_buffer_create_for(d, bytes, RLX_MEMORY_GIVEN, out);
}

rlx_status rlx_vulkan_buffer_create_for(rlx_vulkan_device *d, size_t bytes, rlx_memory_use use,
                                        rlx_vulkan_buffer **out)
{
    enum { LEAST = 16 }; /* there are no empty buffers in Vulkan */
    rlx_vulkan_buffer *b = calloc(1, sizeof *b);
    if (!b)
        return RLX_OOM();
    b->device = d;
    b->bytes = bytes > LEAST ? (bytes + 3) & ~(size_t)3 : LEAST;
    rlx_status st = make_buffer(b, use);
    if (st) {
        rlx_vulkan_buffer_destroy(b);
        return rlx_status_note(st, __FILE__, __LINE__, "a buffer of %zu bytes on %s", bytes,
                               d->info.name);
    }
    *out = b;
    return RLX_OK;
}

void rlx_vulkan_buffer_destroy(rlx_vulkan_buffer *b)
{
    if (!b)
        return;
    rlx_vulkan_device *d = b->device;
    d->vk.vkDestroyBuffer(d->device, b->buffer, NULL);
    d->vk.vkFreeMemory(d->device, b->memory, NULL);
    free(b);
}

void *rlx_vulkan_buffer_get(const rlx_vulkan_buffer *b)
{
    return b->data;
}

/* ---- kernels ---- */

enum { HEADER = 5 }; /* words of a module */
/* CooperativeMatrixKHR, which the headers at hand may not know. */
#define MATRIX_CAPABILITY ((SpvCapability)6022)

/* What a module may declare and the device must have. */
static rlx_status check_capability(const rlx_vulkan_info *info, uint32_t capability)
{
    static const struct {
        SpvCapability capability;
        const char *name;
        uint64_t feature; /* 0: every device has it */
    } known[] = {
        {SpvCapabilityShader, "Shader", 0},
        {SpvCapabilityGroupNonUniform, "GroupNonUniform", RLX_VULKAN_BIT(SUBGROUP)},
        {SpvCapabilityGroupNonUniformShuffle, "GroupNonUniformShuffle", RLX_VULKAN_BIT(SUBGROUP)},
        {SpvCapabilityInt8, "Int8", RLX_VULKAN_BIT(MATRIX)},
        {SpvCapabilityVulkanMemoryModel, "VulkanMemoryModel", RLX_VULKAN_BIT(MATRIX)},
        {MATRIX_CAPABILITY, "CooperativeMatrixKHR", RLX_VULKAN_BIT(MATRIX)},
        {SpvCapabilityInt64, "Int64", RLX_VULKAN_BIT(INT64)},
        {SpvCapabilityFloat16, "Float16", RLX_VULKAN_BIT(F16)},
        {SpvCapabilityFloat64, "Float64", RLX_VULKAN_BIT(F64)},
        {SpvCapabilityStorageBuffer8BitAccess, "StorageBuffer8BitAccess", RLX_VULKAN_BIT(INT8)},
        {SpvCapabilityStorageBuffer16BitAccess, "StorageBuffer16BitAccess", RLX_VULKAN_BIT(INT16)},
        {SpvCapabilityDotProduct, "DotProduct", RLX_VULKAN_BIT(DOT)},
        {SpvCapabilityDotProductInput4x8BitPacked, "DotProductInput4x8BitPacked",
         RLX_VULKAN_BIT(DOT)},
        {SpvCapabilityPhysicalStorageBufferAddresses, "PhysicalStorageBufferAddresses",
         RLX_VULKAN_BIT(ADDRESS)},
        {SpvCapabilitySignedZeroInfNanPreserve, "SignedZeroInfNanPreserve", RLX_VULKAN_BIT(INF)},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((uint32_t)known[i].capability != capability)
            continue;
        if (known[i].feature & ~info->features)
            return RLX_FAIL(RLX_UNSUPPORTED, "%s has no SPIR-V capability %s", info->name,
                            known[i].name);
        return RLX_OK;
    }
    return RLX_FAIL(RLX_UNSUPPORTED, "SPIR-V capability %u is not known", capability);
}

static rlx_status check_capabilities(const rlx_vulkan_info *info, const uint32_t *words, size_t n)
{
    if (n < HEADER || words[0] != SpvMagicNumber)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%zu words that are no SPIR-V module", n);
    for (size_t i = HEADER; i < n;) {
        size_t length = words[i] >> SpvWordCountShift;
        if (length == 0 || length > n - i)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "SPIR-V breaks off at word %zu", i);
        if ((words[i] & SpvOpCodeMask) == SpvOpCapability && length == 2)
            RLX_TRY(check_capability(info, words[i + 1]));
        i += length;
    }
    return RLX_OK;
}

/* Of a module that has been checked. */
static bool declares(const uint32_t *words, size_t n, SpvCapability c)
{
    for (size_t i = HEADER; i + 1 < n; i += words[i] >> SpvWordCountShift)
        if ((words[i] & SpvOpCodeMask) == SpvOpCapability && words[i + 1] == (uint32_t)c)
            return true;
    return false;
}

static bool has_binding(const uint32_t *words, size_t n, uint32_t binding)
{
    for (size_t i = HEADER; i + 3 < n; i += words[i] >> SpvWordCountShift)
        if ((words[i] & SpvOpCodeMask) == SpvOpDecorate && words[i + 2] == SpvDecorationBinding &&
            words[i + 3] == binding)
            return true;
    return false;
}

/* The arguments that a module takes by address have no binding. */
static rlx_status find_far(rlx_vulkan_kernel *k, const uint32_t *words, size_t n)
{
    const bool far = declares(words, n, SpvCapabilityPhysicalStorageBufferAddresses);
    for (int i = 0; far && i < k->nbuffers; i++) {
        if (has_binding(words, n, (uint32_t)i))
            continue;
        if (k->nfar == RLX_VULKAN_MAX_ADDRESSES)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "a module with more than %d addresses",
                            RLX_VULKAN_MAX_ADDRESSES);
        k->far[k->nfar++] = i;
    }
    return RLX_OK;
}

static uint32_t address_bytes(const rlx_vulkan_kernel *k)
{
    return (uint32_t)((size_t)k->nfar * sizeof(VkDeviceAddress));
}

static rlx_status make_layout(rlx_vulkan_kernel *k)
{
    rlx_vulkan_device *d = k->device;
    VkDescriptorSetLayoutBinding *bindings = calloc((size_t)k->nbuffers + 1, sizeof *bindings);
    if (!bindings)
        return RLX_OOM();
    for (int i = 0; i < k->nbuffers; i++)
        bindings[i] =
            (VkDescriptorSetLayoutBinding){.binding = (uint32_t)i,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .descriptorCount = 1,
                                           .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType =
                                               VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = (uint32_t)k->nbuffers,
                                           .pBindings = bindings};
    VkResult r = d->vk.vkCreateDescriptorSetLayout(d->device, &set, NULL, &k->set);
    free(bindings);
    RLX_TRY(rlx_vulkan_status(r, "vkCreateDescriptorSetLayout", __FILE__, __LINE__));
    const VkPushConstantRange addresses = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                           .size = address_bytes(k)};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &k->set,
                                         .pushConstantRangeCount = k->nfar > 0,
                                         .pPushConstantRanges = &addresses};
    VK_TRY(d, vkCreatePipelineLayout(d->device, &layout, NULL, &k->layout));
    return RLX_OK;
}

static rlx_status make_pipeline(rlx_vulkan_kernel *k, VkPipelineCache cache, const uint32_t *words,
                                size_t nwords, const char *entry)
{
    rlx_vulkan_device *d = k->device;
    if (k->nbuffers > d->info.max_buffers)
        return RLX_FAIL(RLX_UNSUPPORTED, "%d buffers; %s binds at most %d", k->nbuffers,
                        d->info.name, d->info.max_buffers);
    RLX_TRY(check_capabilities(&d->info, words, nwords));
    RLX_TRY(find_far(k, words, nwords));
    VkShaderModuleCreateInfo module = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                       .codeSize = nwords * sizeof *words,
                                       .pCode = words};
    VK_TRY(d, vkCreateShaderModule(d->device, &module, NULL, &k->module));
    RLX_TRY(make_layout(k));
    const bool full = declares(words, nwords, SpvCapabilityGroupNonUniform);
    const bool fixed = declares(words, nwords, MATRIX_CAPABILITY);
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = (uint32_t)d->info.subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = fixed ? (void *)&size : NULL,
                  .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = k->module,
                  .pName = entry},
        .layout = k->layout};
    VK_TRY(d, vkCreateComputePipelines(d->device, cache, 1, &info, NULL, &k->pipeline));
    return RLX_OK;
}

rlx_status rlx_vulkan_kernel_create(rlx_vulkan_device *d, const uint32_t *words, size_t nwords,
                                    const char *entry, int nbuffers, rlx_vulkan_kernel **out)
{
    return rlx_vulkan_kernel_create_with(d, VK_NULL_HANDLE, words, nwords, entry, nbuffers, out);
}

rlx_status rlx_vulkan_kernel_create_with(rlx_vulkan_device *d, VkPipelineCache cache,
                                         const uint32_t *words, size_t nwords, const char *entry,
                                         int nbuffers, rlx_vulkan_kernel **out)
{
    rlx_vulkan_kernel *k = calloc(1, sizeof *k);
    if (!k)
        return RLX_OOM();
    k->device = d;
    k->nbuffers = nbuffers;
    rlx_status st = make_pipeline(k, cache, words, nwords, entry);
    if (st) {
        rlx_vulkan_kernel_destroy(k);
        return rlx_status_note(st, __FILE__, __LINE__, "kernel @%s on %s", entry, d->info.name);
    }
    *out = k;
    return RLX_OK;
}

void rlx_vulkan_kernel_destroy(rlx_vulkan_kernel *k)
{
    if (!k)
        return;
    rlx_vulkan_device *d = k->device;
    d->vk.vkDestroyPipeline(d->device, k->pipeline, NULL);
    d->vk.vkDestroyPipelineLayout(d->device, k->layout, NULL);
    d->vk.vkDestroyDescriptorSetLayout(d->device, k->set, NULL);
    d->vk.vkDestroyShaderModule(d->device, k->module, NULL);
    free(k);
}

/* ---- running ---- */

static rlx_status begin_batch(rlx_vulkan_device *d)
{
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VK_TRY(d, vkBeginCommandBuffer(d->commands, &info));
    d->recording = true;
    return RLX_OK;
}

/* What kernels wrote before is seen by `to` after. */
static void put_barrier(rlx_vulkan_device *d, VkPipelineStageFlags stage, VkAccessFlags to)
{
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask = to};
    d->vk.vkCmdPipelineBarrier(d->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, stage, 0, 1,
                               &barrier, 0, NULL, 0, NULL);
}

static rlx_status check_place(const rlx_vulkan_binding *b, int i)
{
    if (b->offset < b->buffer->bytes && b->bytes <= b->buffer->bytes - b->offset)
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "binding %d: %zu bytes from %zu of a buffer that has %zu",
                    i, b->bytes, b->offset, b->buffer->bytes);
}

/* The rest of a buffer may be more than is reached: arguments end before. What is given is rounded up by ROUNDING at most. */
static rlx_status bind_range(const rlx_vulkan_kernel *k, const rlx_vulkan_binding *b, int i,
                             VkDescriptorBufferInfo *out)
{
    enum { ROUNDING = 64 };
    const rlx_vulkan_info *info = &k->device->info;
    const size_t most = (size_t)info->max_buffer_bytes, rest = b->buffer->bytes - b->offset;
    if (b->offset % (size_t)info->binding_align != 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "binding %d: offset %zu is no multiple of %lld", i,
                        b->offset, (long long)info->binding_align);
    size_t bytes = b->bytes ? b->bytes : rest;
    if (bytes > most && k->whole && (!b->bytes || bytes - most <= ROUNDING))
        bytes = most;
    if (bytes > most)
        return RLX_FAIL(RLX_UNSUPPORTED, "binding %d: %zu bytes; %s binds at most %lld", i, bytes,
                        info->name, (long long)info->max_buffer_bytes);
    *out = (VkDescriptorBufferInfo){b->buffer->buffer, b->offset, bytes};
    return RLX_OK;
}

rlx_status rlx_vulkan_bind(const rlx_vulkan_kernel *k, const rlx_vulkan_binding *b, int i,
                           rlx_vulkan_arguments *out)
{
    enum { LEAST = 4 };
    int slot = 0;
    RLX_TRY(check_place(b, i));
    while (slot < k->nfar && k->far[slot] != i)
        slot++;
    if (slot == k->nfar)
        return bind_range(k, b, i, &out->infos[i]);
    out->addresses[slot] = b->buffer->address + b->offset;
    out->infos[i] = (VkDescriptorBufferInfo){b->buffer->buffer, 0, LEAST}; /* nobody looks there */
    return RLX_OK;
}

void rlx_vulkan_push_addresses(const rlx_vulkan_kernel *k, VkCommandBuffer commands,
                               const rlx_vulkan_arguments *a)
{
    if (k->nfar)
        k->device->vk.vkCmdPushConstants(commands, k->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                         address_bytes(k), a->addresses);
}

static rlx_status write_set(rlx_vulkan_device *d, const rlx_vulkan_kernel *k,
                            const VkDescriptorBufferInfo *buffers, VkDescriptorSet *out)
{
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = d->sets,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &k->set};
    VK_TRY(d, vkAllocateDescriptorSets(d->device, &info, out));
    d->nsets++;
    d->ndescriptors += k->nbuffers;
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = *out,
                                  .descriptorCount = (uint32_t)k->nbuffers,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffers};
    if (k->nbuffers)
        d->vk.vkUpdateDescriptorSets(d->device, 1, &write, 0, NULL);
    return RLX_OK;
}

static rlx_status record(rlx_vulkan_device *d, const rlx_vulkan_kernel *k,
                         const rlx_vulkan_arguments *a, int64_t teams)
{
    if (d->nsets == RLX_VULKAN_MAX_SETS ||
        d->ndescriptors + k->nbuffers > RLX_VULKAN_MAX_DESCRIPTORS)
        RLX_TRY(rlx_vulkan_wait(d));
    if (d->recording)
        put_barrier(d, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                    VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    else
        RLX_TRY(begin_batch(d));
    VkDescriptorSet set;
    RLX_TRY(write_set(d, k, a->infos, &set));
    d->vk.vkCmdBindPipeline(d->commands, VK_PIPELINE_BIND_POINT_COMPUTE, k->pipeline);
    d->vk.vkCmdBindDescriptorSets(d->commands, VK_PIPELINE_BIND_POINT_COMPUTE, k->layout, 0, 1,
                                  &set, 0, NULL);
    rlx_vulkan_push_addresses(k, d->commands, a);
    d->vk.vkCmdDispatch(d->commands, (uint32_t)teams, 1, 1);
    return RLX_OK;
}

rlx_status rlx_vulkan_dispatch(rlx_vulkan_device *d, const rlx_vulkan_kernel *k,
                               const rlx_vulkan_binding *bindings, int nbindings, int64_t teams)
{
    if (nbindings != k->nbuffers)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%d buffers for a kernel that binds %d", nbindings,
                        k->nbuffers);
    if (teams < 1 || teams > d->info.max_teams)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%lld teams; %s runs 1 to %lld", (long long)teams,
                        d->info.name, (long long)d->info.max_teams);
    rlx_vulkan_arguments a = {.infos = calloc((size_t)nbindings + 1, sizeof *a.infos)};
    if (!a.infos)
        return RLX_OOM();
    rlx_status st = RLX_OK;
    for (int i = 0; i < nbindings && !st; i++)
        st = rlx_vulkan_bind(k, &bindings[i], i, &a);
    if (!st)
        st = record(d, k, &a, teams);
    free(a.infos);
    return st;
}

rlx_status rlx_vulkan_submit(rlx_vulkan_device *d, VkCommandBuffer commands, VkFence fence)
{
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &commands};
    RLX_TRY(rlx_vulkan_check_lost(d));
    VK_TRY(d, vkResetFences(d->device, 1, &fence)); /* where it fails nothing has run yet */
    VK_TRY(d, vkQueueSubmit(d->queue, 1, &info, fence));
    return RLX_OK;
}

rlx_status rlx_vulkan_await(rlx_vulkan_device *d, VkFence fence)
{
    VkResult r = d->vk.vkWaitForFences(d->device, 1, &fence, VK_TRUE, UINT64_MAX);
    if (r != VK_SUCCESS)
        d->lost = true;
    return rlx_vulkan_status(r, "vkWaitForFences", __FILE__, __LINE__);
}

static rlx_status submit(rlx_vulkan_device *d)
{
    put_barrier(d, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    VK_TRY(d, vkEndCommandBuffer(d->commands));
    RLX_TRY(rlx_vulkan_submit(d, d->commands, d->fence));
    return rlx_vulkan_await(d, d->fence);
}

rlx_status rlx_vulkan_wait(rlx_vulkan_device *d)
{
    if (!d->recording)
        return RLX_OK;
    rlx_status st = submit(d);
    d->recording = false;
    d->nsets = d->ndescriptors = 0;
    if (st)
        return rlx_status_note(st, __FILE__, __LINE__, "running kernels on %s", d->info.name);
    VK_TRY(d, vkResetCommandPool(d->device, d->pool, 0));
    VK_TRY(d, vkResetDescriptorPool(d->device, d->sets, 0));
    return RLX_OK;
}
