/* runtime/device_vulkan_impl.h: what the files of the Vulkan device share. */
#ifndef RLX_RUNTIME_DEVICE_VULKAN_IMPL_H
#define RLX_RUNTIME_DEVICE_VULKAN_IMPL_H

#define VK_NO_PROTOTYPES
#include <pthread.h>
#include <vulkan/vulkan.h>

#include "runtime/base/text.h"
#include "runtime/device.h"
#include "runtime/device_vulkan.h"

typedef struct rlx_vulkan_syms {
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define VK_LOADER(name) PFN_##name name;
#define VK_INSTANCE(name) PFN_##name name;
#define VK_DEVICE(name) PFN_##name name;
#define VK_DEBUG(name) PFN_##name name;
#include "runtime/vulkan_syms.def"
} rlx_vulkan_syms;

/* Who makes machine code of SPIR-V: its code is good for nobody else. */
typedef struct rlx_vulkan_driver {
    uint32_t vendor, device;
    uint8_t uuid[VK_UUID_SIZE]; /* of the form of its code */
    char name[128];             /* all of that and its version, as text */
} rlx_vulkan_driver;

/* Of one batch; a dispatch that does not fit waits for the batch before it. */
enum { RLX_VULKAN_MAX_SETS = 256, RLX_VULKAN_MAX_DESCRIPTORS = 4096 };

struct rlx_vulkan_device {
    void *library;
    rlx_vulkan_syms vk;
    rlx_vulkan_info info;
    rlx_vulkan_driver driver;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice physical;
    uint32_t family; /* of queues */
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkDescriptorPool sets;
    double tick;         /* nanoseconds of a timestamp; 0: the queue takes none */
    uint64_t stamp_mask; /* the bits of one that count */
    _Atomic bool lost;   /* says the driver, or a wait failed: nobody knows what has run */
    bool has_budget;     /* VK_EXT_memory_budget */
    bool has_matrix;     /* VK_KHR_cooperative_matrix */
    bool hides;          /* for tests: memory of the device's own is not mapped */
    bool recording;
    int nsets, ndescriptors; /* of this batch */

    pthread_mutex_t lock; /* of the next two: layers may speak from any thread */
    rlx_text log, *said;
    int nmessages;
};

struct rlx_vulkan_buffer {
    rlx_vulkan_device *device; /* borrowed */
    VkBuffer buffer;
    VkDeviceMemory memory;
    void *data;              /* NULL: the host does not see it */
    VkDeviceAddress address; /* 0: the device has none */
    size_t bytes;
    bool kept; /* counted as used */
};

enum { RLX_VULKAN_MAX_ADDRESSES = 16 }; /* of 8 bytes: what every device has of push constants */

struct rlx_vulkan_kernel {
    rlx_vulkan_device *device; /* borrowed */
    int nbuffers;
    int far[RLX_VULKAN_MAX_ADDRESSES], nfar; /* those that it takes by address, ascending */
    bool whole;                              /* every other one is no larger than a range may be */
    VkShaderModule module;
    VkDescriptorSetLayout set;
    VkPipelineLayout layout;
    VkPipeline pipeline;
};

/* A program's. */
struct rlx_device_kernels {
    uint32_t n;
    rlx_vulkan_kernel *each[]; /* NULL: it failed */
};

/* As rlx_vulkan_kernel_create; the driver looks in its cache and adds to it. */
rlx_status rlx_vulkan_kernel_create_with(rlx_vulkan_device *d, VkPipelineCache cache,
                                         const uint32_t *words, size_t nwords, const char *entry,
                                         int nbuffers, rlx_vulkan_kernel **out);
/* As device.h has them. */
rlx_status rlx_vulkan_kernels_create(rlx_device *base, const rlx_program *p,
                                     rlx_device_kernels **out);
void rlx_vulkan_kernels_destroy(rlx_device *base, rlx_device_kernels *k);

/* Submits with a fence of an earlier run, or a new one; waits until it is done. After a wait that failed the device is lost. Submissions exclude
 * one another. */
rlx_status rlx_vulkan_submit(rlx_vulkan_device *d, VkCommandBuffer commands, VkFence fence);
rlx_status rlx_vulkan_await(rlx_vulkan_device *d, VkFence fence);
/* Fills why_not: by the version and limits; then by the features, for what no code does without. */
void rlx_vulkan_judge(rlx_vulkan_info *i);
void rlx_vulkan_judge_features(rlx_vulkan_info *i);
/* Fills the info's matrix and the feature: of a device that has the extension, whose subgroups are known. */
void rlx_vulkan_read_matrix(rlx_vulkan_device *d);
#define RLX_VULKAN_MATRIX_EXTENSION "VK_KHR_cooperative_matrix"
/* What is asked of a device that is made, as the extension lays it out. */
typedef struct rlx_vulkan_matrix_features {
    VkStructureType type;
    void *next;
    VkBool32 matrices, robust;
} rlx_vulkan_matrix_features;
rlx_vulkan_matrix_features rlx_vulkan_matrix_enable(uint64_t features);
/* Of the device's own memory: the largest heap of it. A smaller one beside it is a window on it. */
int64_t rlx_vulkan_memory_bytes(const VkPhysicalDeviceMemoryProperties *p);
/* Bytes of it that this process may still take; -1: the driver does not say. */
int64_t rlx_vulkan_budget(const rlx_vulkan_device *d);
/* From one timestamp to a later one; they may have wrapped around in between. */
static inline uint64_t rlx_vulkan_ticks(const rlx_vulkan_device *d, uint64_t from, uint64_t to)
{
    return (to - from) & d->stamp_mask;
}

/* As rlx_vulkan_buffer_create, for a use; of RLX_MEMORY_KEPT the host sees what is no slower for that. */
rlx_status rlx_vulkan_buffer_create_for(rlx_vulkan_device *d, size_t bytes, rlx_memory_use use,
                                        rlx_vulkan_buffer **out);
/* What a launch of a kernel gets. */
typedef struct rlx_vulkan_arguments {
    VkDescriptorBufferInfo *infos; /* nbuffers */
    VkDeviceAddress addresses[RLX_VULKAN_MAX_ADDRESSES];
} rlx_vulkan_arguments;
/* Why a buffer cannot be argument i, or how. Arguments are given in order. */
rlx_status rlx_vulkan_bind(const rlx_vulkan_kernel *k, const rlx_vulkan_binding *b, int i,
                           rlx_vulkan_arguments *out);
/* Of a kernel that is bound. */
void rlx_vulkan_push_addresses(const rlx_vulkan_kernel *k, VkCommandBuffer commands,
                               const rlx_vulkan_arguments *a);

/* RLX_OK for VK_SUCCESS; else a status that names the call and the result. */
rlx_status rlx_vulkan_status(VkResult r, const char *call, const char *file, int line);
/* The same; VK_ERROR_DEVICE_LOST loses the device. */
rlx_status rlx_vulkan_result(rlx_vulkan_device *d, VkResult r, const char *call, const char *file,
                             int line);
/* RLX_IO on a lost device, which takes nothing more: what would not ask the driver asks here. */
rlx_status rlx_vulkan_check_lost(const rlx_vulkan_device *d);
/* VK_TRY(d, vkCreateFence(d->device, ...)): `d` is in scope as the device. */
#define VK_TRY(d, call) RLX_TRY(rlx_vulkan_result(d, (d)->vk.call, #call, __FILE__, __LINE__))

#endif
