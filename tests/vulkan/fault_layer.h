/* tests/vulkan/fault_layer.h: a Vulkan layer that fails calls, for tests.
 *
 *   program --loader--> fault layer --> validation layer --> driver
 *
 * A call that is to fail returns its result and goes no further. The layer is a shared object that the loader finds by its manifest among those of layers
 * that are always there (XDG_DATA_HOME), so that it is in front of all others and before there is an instance; what it is to do is set through functions that it exports. One plan
 * for the process; calls are counted over all devices and threads. */
#ifndef RLX_TESTS_VULKAN_FAULT_LAYER_H
#define RLX_TESTS_VULKAN_FAULT_LAYER_H

#include <stdint.h>
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

typedef struct fault_plan {
    const char *call; /* "vkAllocateMemory"; NULL: any that can fail. Kept by address */
    int64_t passes;   /* of these calls, from now on, before the first that fails */
    int64_t fails;    /* of those that follow; then all pass again */
    VkResult result;
    void (*meanwhile)(
        void *user); /* in place of failing: before the call is passed on; may be NULL */
    void *user;
} fault_plan;

enum { FAULT_FOREVER = 1 << 30 };

/* What the layer exports as rlx_fault_layer. */
typedef struct fault_layer {
    void (*plan)(const fault_plan *p); /* NULL: all pass */
    int64_t (*failed)(void);           /* calls, since the plan was made */
    const char *(*last)(void);         /* name of the last that failed; NULL: none */
    int64_t (*count)(
        const char *
            call); /* how often it was called, since the plan was made, failed ones too; -1: not known */
    int64_t (*live)(
        void); /* objects that were made and not given back, devices and instances too */
    /* The driver seems to make so many bytes of code in every pipeline cache, behind those that it does make; 0: it does not. And how many
     * caches began with such bytes since. */
    void (*keep_code)(int64_t bytes);
    int64_t (*taken)(void);
} fault_layer;

#endif
