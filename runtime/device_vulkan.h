/* runtime/device_vulkan.h: a Vulkan device that runs SPIR-V kernels on buffers.
 *
 *   device --create--> buffers, kernels;   dispatch, dispatch, .. wait
 *
 * The Vulkan loader is opened at run time; a build needs Vulkan's headers only. A device and what
 * is made from it are used by one thread at a time. Buffers and kernels are destroyed before their
 * device.
 */
#ifndef RLX_RUNTIME_DEVICE_VULKAN_H
#define RLX_RUNTIME_DEVICE_VULKAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"
#include "runtime/device.h"
#include "runtime/vulkan_features.h"

typedef struct rlx_vulkan_device rlx_vulkan_device;
typedef struct rlx_vulkan_buffer rlx_vulkan_buffer;
typedef struct rlx_vulkan_kernel rlx_vulkan_kernel;

typedef struct rlx_vulkan_options {
    int index;        /* among the devices with a compute queue, in the loader's order */
    bool validate;    /* under VK_LAYER_KHRONOS_validation: see rlx_vulkan_device_messages */
    uint64_t without; /* features that are not to be used, as if the device had them not */
    int64_t range;    /* bytes that a binding may span, as if the device had no more; 0: its own */
    int64_t memory;   /* bytes of memory that it is to have, likewise */
    bool hides;       /* for tests: memory of the device's own is filled by copies, as on a card */
    rlx_text *said;   /* for tests: what the layer says, to the device's very end; may be NULL */
} rlx_vulkan_options;

typedef struct rlx_vulkan_info {
    char name[256];
    int api_major, api_minor;
    bool is_cpu;              /* a software implementation */
    int64_t max_buffer_bytes; /* that one binding may span */
    int64_t max_memory_bytes; /* that one memory may have */
    int64_t binding_align;    /* bytes: offsets of bindings are multiples */
    int64_t team_bytes;       /* of workgroup memory */
    int max_team;             /* invocations of a workgroup */
    int max_buffers;          /* storage buffers that a kernel may bind */
    int64_t max_teams;        /* workgroups of a dispatch */
    int subgroup;             /* invocations of a subgroup */
    rlx_vulkan_matrix matrix; /* of the feature of that name */
    int max_subgroups;        /* of a workgroup that asks for their size; of that feature */
    int64_t memory_bytes;     /* of the heaps that kernels' buffers lie in */
    uint64_t features;        /* what kernels may ask for: bits of vulkan_features.h */
    char why_not[64];         /* it cannot be opened; "": nothing speaks against it */
} rlx_vulkan_info;

/* All devices with a compute queue, in the order of their numbers, none of them opened, with what those lack that are of no use; *out is the caller's to free. RLX_NOT_FOUND:
 * no loader, or no driver. */
rlx_status rlx_vulkan_list(rlx_vulkan_info **out, int *n);

/* Offsets in memories are multiples of it (device.h): a device that wants more is of no use. */
enum { RLX_VULKAN_RANGE_ALIGN = 64 };

/* A device as executables and sessions take it (device.h). Errors: as rlx_vulkan_device_create. */
rlx_status rlx_vulkan_open(const rlx_vulkan_options *options, rlx_device **out);
/* What is behind one; lent. */
rlx_vulkan_device *rlx_vulkan_device_of(rlx_device *d);

/* Opens the loader and a device with Vulkan 1.2. RLX_NOT_FOUND: no loader, no driver, no device of
 * that index, or no validation layer though it is asked for; the message says which.
 * RLX_UNSUPPORTED: an older Vulkan. */
rlx_status rlx_vulkan_device_create(const rlx_vulkan_options *options, rlx_vulkan_device **out);
void rlx_vulkan_device_destroy(rlx_vulkan_device *d);                          /* accepts NULL */
const rlx_vulkan_info *rlx_vulkan_device_get_info(const rlx_vulkan_device *d); /* lent */
/* How many warnings and errors validation has had so far, and all of them as text, one per line
 * (lent until the next call on the device; "" when there is none). */
int rlx_vulkan_device_messages(const rlx_vulkan_device *d, const char **text);

/* Memory of `bytes` that kernels and the host see; undefined contents. 0 bytes are allowed. */
rlx_status rlx_vulkan_buffer_create(rlx_vulkan_device *d, size_t bytes, rlx_vulkan_buffer **out);
void rlx_vulkan_buffer_destroy(rlx_vulkan_buffer *b); /* accepts NULL; no dispatch may be open */
/* Its memory, mapped and coherent: read and write it when no dispatch is open. */
void *rlx_vulkan_buffer_get(const rlx_vulkan_buffer *b);

/* A pipeline of the SPIR-V module's compute entry point; it binds `nbuffers` storage buffers,
 * bindings 0.. of set 0. RLX_UNSUPPORTED names the capability that the device has not got; what
 * the module takes of team memory and invocations is for its maker to keep within the info. */
rlx_status rlx_vulkan_kernel_create(rlx_vulkan_device *d, const uint32_t *words, size_t nwords,
                                    const char *entry, int nbuffers, rlx_vulkan_kernel **out);
void rlx_vulkan_kernel_destroy(rlx_vulkan_kernel *k); /* accepts NULL; no dispatch may be open */

/* Whether code and weights of one are good for the other, where it is opened again. */
bool rlx_vulkan_is_same(rlx_device *a, rlx_device *b);

typedef struct rlx_vulkan_binding {
    const rlx_vulkan_buffer *buffer;
    size_t offset, bytes; /* bytes 0: what is left of the buffer */
} rlx_vulkan_binding;

/* Records a run of `teams` workgroups, which begins when all recorded before are done and sees what
 * they wrote. It stays open until rlx_vulkan_wait. */
rlx_status rlx_vulkan_dispatch(rlx_vulkan_device *d, const rlx_vulkan_kernel *k,
                               const rlx_vulkan_binding *bindings, int nbindings, int64_t teams);
/* Submits what was recorded and waits for it; then none is open, whatever is returned. */
rlx_status rlx_vulkan_wait(rlx_vulkan_device *d);

#endif
