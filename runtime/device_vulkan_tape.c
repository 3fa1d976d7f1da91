/* runtime/device_vulkan_tape.c: a Vulkan device as device.h has it: memory, tapes.
 *
 * A tape is one command buffer: a descriptor set for each launch, a barrier between phases. How many teams a launch has it reads from
 * the step block when it runs: one recording serves all steps of a bucket, each of which is one submission.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/device_vulkan_impl.h"

enum {
    STAGING_BYTES = 8 << 20,
    TEAMS_OF_CPU = 16,   /* resident on a software device: each is a task of its threads */
    TEAMS_OF_GPU = 2048, /* more than any device runs at once */
};

typedef struct vulkan {
    rlx_device base;
    rlx_vulkan_device *device;
    pthread_mutex_t
        lock; /* of the queue, and of the device's batch of commands with what follows */
    rlx_vulkan_buffer *staging; /* made when it is needed */
} vulkan;

struct rlx_device_tape {
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkDescriptorPool sets;
    VkFence fence;
    VkQueryPool times; /* nlaunches + 1 stamps; NULL: not timed */
    uint32_t nlaunches;
    uint64_t *stamps;
};

static vulkan *of(rlx_device *d)
{
    return (vulkan *)d;
}

static rlx_vulkan_buffer *buffer_of(const rlx_device_memory *m)
{
    return (rlx_vulkan_buffer *)(uintptr_t)m;
}

rlx_vulkan_device *rlx_vulkan_device_of(rlx_device *d)
{
    return of(d)->device;
}

bool rlx_vulkan_is_same(rlx_device *a, rlx_device *b)
{
    const rlx_vulkan_device *x = of(a)->device, *y = of(b)->device;
    return !strcmp(x->info.name, y->info.name) && !strcmp(x->driver.name, y->driver.name) &&
           x->info.features == y->info.features &&
           x->info.max_buffer_bytes == y->info.max_buffer_bytes;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static rlx_status create_memory(rlx_device *base, size_t bytes, rlx_memory_use use,
                                rlx_device_memory **out)
{
    rlx_vulkan_buffer *b;
    RLX_TRY(rlx_vulkan_buffer_create_for(of(base)->device, bytes, use, &b));
    base->used_bytes += use == RLX_MEMORY_KEPT ? (int64_t)b->bytes : 0;
    b->kept = use == RLX_MEMORY_KEPT;
    *out = (rlx_device_memory *)b;
    return RLX_OK;
}

static void destroy_memory(rlx_device *base, rlx_device_memory *m)
{
    rlx_vulkan_buffer *b = buffer_of(m);
    if (b && b->kept)
        base->used_bytes -= (int64_t)b->bytes;
    rlx_vulkan_buffer_destroy(b);
}

static bool is_lost(const rlx_device *base)
{
    return ((const vulkan *)base)->device->lost;
}

/* What the driver says that others leave, where it does. */
static int64_t room(rlx_device *base)
{
    const int64_t ours = base->memory_bytes - base->used_bytes;
    const int64_t left = rlx_vulkan_budget(of(base)->device);
    return left >= 0 && left < ours ? left : ours;
}

static void *map(const rlx_device_memory *m)
{
    return buffer_of(m)->data;
}

/* What a failed wait left running uses memory that its owner is about to free. The lock is held. */
static rlx_status settle(vulkan *v, rlx_status st)
{
    if (st)
        (void)v->device->vk.vkDeviceWaitIdle(v->device->device); /* a lost device runs nothing */
    return st;
}

/* A copy between buffers or, without `from`, zeros. */
typedef struct transfer {
    VkBuffer from, to;
    VkBufferCopy part;
} transfer;

/* What came before is seen by what comes after, the host included. */
static void put_full_barrier(rlx_vulkan_device *d, VkCommandBuffer commands)
{
    VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                           .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                           .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    d->vk.vkCmdPipelineBarrier(commands, stages, stages, 0, 1, &all, 0, NULL, 0, NULL);
}

/* The lock is held. */
static rlx_status run_transfer(vulkan *v, const transfer *t)
{
    rlx_vulkan_device *d = v->device;
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VK_TRY(d, vkResetCommandPool(d->device, d->pool, 0));
    VK_TRY(d, vkBeginCommandBuffer(d->commands, &info));
    put_full_barrier(d, d->commands);
    if (t->from)
        d->vk.vkCmdCopyBuffer(d->commands, t->from, t->to, 1, &t->part);
    else
        d->vk.vkCmdFillBuffer(d->commands, t->to, t->part.dstOffset, t->part.size, 0);
    put_full_barrier(d, d->commands);
    VK_TRY(d, vkEndCommandBuffer(d->commands));
    RLX_TRY(rlx_vulkan_submit(d, d->commands, d->fence));
    return settle(v, rlx_vulkan_await(d, d->fence));
}

static rlx_status run_transfer_alone(vulkan *v, const transfer *t)
{
    pthread_mutex_lock(&v->lock);
    rlx_status st = run_transfer(v, t);
    pthread_mutex_unlock(&v->lock);
    return rlx_status_note(st, __FILE__, __LINE__, "copying on %s", v->base.name);
}

/* Between the host and memory that it does not see, piece by piece; one of `in` and `out` is NULL. The lock is held. */
static rlx_status stage(vulkan *v, rlx_vulkan_buffer *b, size_t at, const char *in, char *out,
                        size_t bytes)
{
    if (!v->staging)
        RLX_TRY(
            rlx_vulkan_buffer_create_for(v->device, STAGING_BYTES, RLX_MEMORY_TAKEN, &v->staging));
    for (size_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < STAGING_BYTES ? bytes - done : STAGING_BYTES;
        transfer t = {b->buffer, v->staging->buffer, {at + done, 0, n}};
        if (in) {
            memcpy(v->staging->data, in + done, n);
            t = (transfer){v->staging->buffer, b->buffer, {0, at + done, n}};
        }
        RLX_TRY(run_transfer(v, &t));
        if (out)
            memcpy(out + done, v->staging->data, n);
    }
    return RLX_OK;
}

static rlx_status stage_alone(vulkan *v, rlx_vulkan_buffer *b, size_t at, const char *in, char *out,
                              size_t bytes)
{
    pthread_mutex_lock(&v->lock);
    rlx_status st = stage(v, b, at, in, out, bytes);
    pthread_mutex_unlock(&v->lock);
    return rlx_status_note(st, __FILE__, __LINE__, "copying %s %s", in ? "to" : "from",
                           v->base.name);
}

static rlx_status write_memory(rlx_device *base, rlx_device_memory *m, size_t at, const void *data,
                               size_t bytes)
{
    rlx_vulkan_buffer *b = buffer_of(m);
    if (!b->data)
        return stage_alone(of(base), b, at, data, NULL, bytes);
    RLX_TRY(rlx_vulkan_check_lost(b->device));
    if (bytes)
        memcpy((char *)b->data + at, data, bytes);
    return RLX_OK;
}

static rlx_status read_memory(rlx_device *base, const rlx_device_memory *m, size_t at, void *data,
                              size_t bytes)
{
    rlx_vulkan_buffer *b = buffer_of(m);
    if (!b->data)
        return stage_alone(of(base), b, at, NULL, data, bytes);
    RLX_TRY(rlx_vulkan_check_lost(b->device));
    if (bytes)
        memcpy(data, (const char *)b->data + at, bytes);
    return RLX_OK;
}

/* By copying: buffers are filled by words only. */
static rlx_status clear_odd(vulkan *v, rlx_vulkan_buffer *b, size_t at, size_t bytes)
{
    char *zeros = calloc(1, bytes);
    if (!zeros)
        return RLX_OOM();
    rlx_status st = stage_alone(v, b, at, zeros, NULL, bytes);
    free(zeros);
    return st;
}

static rlx_status clear_memory(rlx_device *base, rlx_device_memory *m, size_t at, size_t bytes)
{
    rlx_vulkan_buffer *b = buffer_of(m);
    const size_t words = at % 4 ? 0 : bytes & ~(size_t)3;
    if (b->data) {
        RLX_TRY(rlx_vulkan_check_lost(b->device));
        memset((char *)b->data + at, 0, bytes);
        return RLX_OK;
    }
    transfer t = {.to = b->buffer, .part = {.dstOffset = at, .size = words}};
    if (words)
        RLX_TRY(run_transfer_alone(of(base), &t));
    return bytes > words ? clear_odd(of(base), b, at + words, bytes - words) : RLX_OK;
}

static rlx_status copy_memory(rlx_device *base, rlx_device_memory *m, size_t from, size_t to,
                              size_t bytes)
{
    rlx_vulkan_buffer *b = buffer_of(m);
    if (!bytes)
        return RLX_OK;
    if (b->data) {
        RLX_TRY(rlx_vulkan_check_lost(b->device));
        memcpy((char *)b->data + to, (const char *)b->data + from, bytes);
        return RLX_OK;
    }
    transfer t = {b->buffer, b->buffer, {from, to, bytes}};
    return run_transfer_alone(of(base), &t);
}

/* ---- tapes ----------------------------------------------------------------------------------- */

static void destroy_tape(rlx_device *base, rlx_device_tape *t)
{
    rlx_vulkan_device *d = of(base)->device;
    if (!t)
        return;
    d->vk.vkDestroyQueryPool(d->device, t->times, NULL);
    d->vk.vkDestroyFence(d->device, t->fence, NULL);
    d->vk.vkDestroyDescriptorPool(d->device, t->sets, NULL);
    d->vk.vkDestroyCommandPool(d->device, t->pool, NULL);
    free(t->stamps);
    free(t);
}

static rlx_status make_pools(rlx_vulkan_device *d, const rlx_device_recording *r,
                             rlx_device_tape *t)
{
    uint32_t descriptors = 0;
    for (uint32_t i = 0; i < r->nlaunches; i++)
        descriptors += (uint32_t)r->kernels->each[r->launches[i].kernel]->nbuffers;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = d->family};
    VK_TRY(d, vkCreateCommandPool(d->device, &pool, NULL, &t->pool));
    VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = t->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    VK_TRY(d, vkAllocateCommandBuffers(d->device, &commands, &t->commands));
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VK_TRY(d, vkCreateFence(d->device, &fence, NULL, &t->fence));
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                 .descriptorCount = descriptors ? descriptors : 1};
    VkDescriptorPoolCreateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = r->nlaunches ? r->nlaunches : 1,
                                       .poolSizeCount = 1,
                                       .pPoolSizes = &size};
    VK_TRY(d, vkCreateDescriptorPool(d->device, &sets, NULL, &t->sets));
    return RLX_OK;
}

static rlx_status make_times(rlx_vulkan_device *d, rlx_device_tape *t)
{
    if (!d->tick)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s takes no times of kernels", d->info.name);
    t->stamps = calloc(t->nlaunches + 1, sizeof *t->stamps);
    if (!t->stamps)
        return RLX_OOM();
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = t->nlaunches + 1};
    VK_TRY(d, vkCreateQueryPool(d->device, &info, NULL, &t->times));
    return RLX_OK;
}

static void put_stamp(rlx_vulkan_device *d, const rlx_device_tape *t, uint32_t i)
{
    if (t->times)
        d->vk.vkCmdWriteTimestamp(t->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, t->times, i);
}

/* The launch's descriptor set: its buffers, then the symbols. `a` has room for them. */
static rlx_status make_set(rlx_vulkan_device *d, const rlx_device_recording *r,
                           const rlx_device_launch *l, const rlx_device_tape *t,
                           rlx_vulkan_arguments *a, VkDescriptorSet *out)
{
    const rlx_vulkan_kernel *k = r->kernels->each[l->kernel];
    for (int i = 0; i < k->nbuffers; i++) {
        const rlx_device_range *range = i + 1 < k->nbuffers ? &l->buffers[i] : &r->symbols;
        const rlx_vulkan_binding b = {buffer_of(range->memory), range->offset, range->bytes};
        RLX_TRY(rlx_vulkan_bind(k, &b, i, a));
    }
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = t->sets,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &k->set};
    VK_TRY(d, vkAllocateDescriptorSets(d->device, &info, out));
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = *out,
                                  .descriptorCount = (uint32_t)k->nbuffers,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = a->infos};
    d->vk.vkUpdateDescriptorSets(d->device, 1, &write, 0, NULL);
    return RLX_OK;
}

static rlx_status put_launch(vulkan *v, const rlx_device_recording *r, uint32_t i,
                             const rlx_device_tape *t, rlx_vulkan_arguments *a)
{
    rlx_vulkan_device *d = v->device;
    const rlx_device_launch *l = &r->launches[i];
    const rlx_vulkan_kernel *k = r->kernels->each[l->kernel];
    VkDescriptorSet set;
    RLX_TRY(make_set(d, r, l, t, a, &set));
    if (i == 0 || l->phase != l[-1].phase || r->timed)
        put_full_barrier(d, t->commands);
    d->vk.vkCmdBindPipeline(t->commands, VK_PIPELINE_BIND_POINT_COMPUTE, k->pipeline);
    d->vk.vkCmdBindDescriptorSets(t->commands, VK_PIPELINE_BIND_POINT_COMPUTE, k->layout, 0, 1,
                                  &set, 0, NULL);
    rlx_vulkan_push_addresses(k, t->commands, a);
    d->vk.vkCmdDispatchIndirect(t->commands, buffer_of(r->teams.memory)->buffer,
                                r->teams.offset + sizeof(rlx_device_teams) * l->kernel);
    put_stamp(d, t, i + 1);
    return RLX_OK;
}

static rlx_status put_launches(vulkan *v, const rlx_device_recording *r, rlx_device_tape *t,
                               rlx_vulkan_arguments *a)
{
    rlx_vulkan_device *d = v->device;
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VK_TRY(d, vkBeginCommandBuffer(t->commands, &info));
    if (t->times)
        d->vk.vkCmdResetQueryPool(t->commands, t->times, 0, t->nlaunches + 1);
    put_stamp(d, t, 0);
    for (uint32_t i = 0; i < r->nlaunches; i++)
        RLX_TRY_NOTE(put_launch(v, r, i, t, a), "launch %u", i);
    put_full_barrier(d, t->commands);
    VK_TRY(d, vkEndCommandBuffer(t->commands));
    return RLX_OK;
}

static rlx_status make_tape(vulkan *v, const rlx_device_recording *r, rlx_device_tape *t)
{
    int most = 1;
    for (uint32_t i = 0; i < r->kernels->n; i++)
        if (r->kernels->each[i]->nbuffers > most)
            most = r->kernels->each[i]->nbuffers;
    t->nlaunches = r->nlaunches;
    RLX_TRY(make_pools(v->device, r, t));
    if (r->timed)
        RLX_TRY(make_times(v->device, t));
    rlx_vulkan_arguments a = {.infos = calloc((size_t)most, sizeof *a.infos)};
    if (!a.infos)
        return RLX_OOM();
    rlx_status st = put_launches(v, r, t, &a);
    free(a.infos);
    return st;
}

static rlx_status record(rlx_device *base, const rlx_device_recording *r, rlx_device_tape **out)
{
    rlx_device_tape *t = calloc(1, sizeof *t);
    if (!t)
        return RLX_OOM();
    rlx_status st = make_tape(of(base), r, t);
    if (st) {
        destroy_tape(base, t);
        return rlx_status_note(st, __FILE__, __LINE__, "recording for %s", base->name);
    }
    *out = t;
    return RLX_OK;
}

static rlx_status run_tape(vulkan *v, rlx_device_tape *t)
{
    rlx_vulkan_device *d = v->device;
    pthread_mutex_lock(&v->lock);
    rlx_status st = rlx_vulkan_submit(d, t->commands, t->fence);
    pthread_mutex_unlock(&v->lock);
    RLX_TRY(st);
    st = rlx_vulkan_await(d, t->fence);
    if (st) {
        pthread_mutex_lock(&v->lock);
        st = settle(v, st);
        pthread_mutex_unlock(&v->lock);
        return st;
    }
    if (t->times)
        VK_TRY(d, vkGetQueryPoolResults(d->device, t->times, 0, t->nlaunches + 1,
                                        sizeof *t->stamps * (t->nlaunches + 1), t->stamps,
                                        sizeof *t->stamps, VK_QUERY_RESULT_64_BIT));
    return RLX_OK;
}

static rlx_status run(rlx_device *base, rlx_device_tape *t)
{
    RLX_TRY_NOTE(run_tape(of(base), t), "running kernels on %s", base->name);
    return RLX_OK;
}

static double time_of(rlx_device *base, const rlx_device_tape *t, uint32_t i)
{
    const rlx_vulkan_device *d = of(base)->device;
    return 1e-9 * d->tick * (double)rlx_vulkan_ticks(d, t->stamps[i], t->stamps[i + 1]);
}

/* ---- devices --------------------------------------------------------------------------------- */

static void destroy(rlx_device *base)
{
    vulkan *v = of(base);
    rlx_vulkan_buffer_destroy(v->staging);
    rlx_vulkan_device_destroy(v->device);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&base->weights_lock);
    free(v);
}

static const rlx_device_functions functions = {
    .destroy = destroy,
    .is_lost = is_lost,
    .room = room,
    .create_memory = create_memory,
    .destroy_memory = destroy_memory,
    .map = map,
    .write = write_memory,
    .read = read_memory,
    .clear = clear_memory,
    .copy = copy_memory,
    .create_kernels = rlx_vulkan_kernels_create,
    .destroy_kernels = rlx_vulkan_kernels_destroy,
    .record = record,
    .destroy_tape = destroy_tape,
    .run = run,
    .time = time_of,
};

static rlx_status open_device(vulkan *v, const rlx_vulkan_options *options)
{
    RLX_TRY(rlx_vulkan_device_create(options, &v->device));
    const rlx_vulkan_info *info = &v->device->info;
    v->base.name = info->name;
    v->base.memory_bytes = info->memory_bytes;
    v->base.max_range = (size_t)(info->features >> RLX_VULKAN_ADDRESS & 1 ? info->max_memory_bytes
                                                                          : info->max_buffer_bytes);
    v->base.max_units = UINT32_MAX;
    v->base.max_teams = info->is_cpu ? TEAMS_OF_CPU : TEAMS_OF_GPU;
    if (v->base.max_teams > info->max_teams)
        v->base.max_teams = info->max_teams;
    return RLX_OK;
}

rlx_status rlx_vulkan_open(const rlx_vulkan_options *options, rlx_device **out)
{
    vulkan *v = calloc(1, sizeof *v);
    if (!v)
        return RLX_OOM();
    v->base.fn = &functions;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->base.weights_lock, NULL);
    rlx_status st = open_device(v, options);
    if (st) {
        destroy(&v->base);
        return st;
    }
    *out = &v->base;
    return RLX_OK;
}
