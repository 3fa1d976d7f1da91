/* tests/vulkan/gpu.h: kernels on a Vulkan device, beside the interpreter. */
#ifndef RLX_TESTS_VULKAN_GPU_H
#define RLX_TESTS_VULKAN_GPU_H

#include "jit/jit.h"
#include "runtime/device_vulkan.h"
#include "tests/vulkan/environment.h"

/* A copy of a kernel's buffers on the device, each between canaries that its binding includes. */
typedef struct gpu_memory {
    int n;
    rlx_vulkan_buffer **buffer;
    size_t *bytes; /* without canaries */
} gpu_memory;
void gpu_memory_create(gpu_memory *m, rlx_vulkan_device *d, const rlx_lir_buffer *buffers, int n);
void gpu_memory_destroy(gpu_memory *m);
const void *gpu_memory_get(const gpu_memory *m, int i);
bool gpu_memory_canaries_hold(const gpu_memory *m);

/* What the device is to the compiler, without the features in gpu_without. */
extern uint64_t gpu_without;
extern bool gpu_far; /* every argument goes by its address, as if it were larger than a range */
rlx_jit_target gpu_target(const rlx_vulkan_device *d, int invocations);

/* Emits, loads and runs a kernel for teams of `invocations` on `teams` workgroups. The last buffer
 * of `m` is that of the symbols. */
rlx_status gpu_run(rlx_vulkan_device *d, const rlx_ir_func *kernel, int invocations,
                   const gpu_memory *m, int64_t teams);

/* Destroys the kernels that gpu_run made and kept: to be called before their device goes. */
void gpu_forget_kernels(void);

/* Runs `kernel` on copies of `buffers` on the device, then the interpreter on the buffers
 * themselves, and compares. A difference of floats may be up to `tolerance` times the largest
 * magnitude in its buffer; other formats, and everything when it is 0, must be equal. Fails the
 * running test with `what`. */
void gpu_check(rlx_vulkan_device *d, const rlx_ir_func *kernel, int invocations,
               const rlx_lir_buffer *buffers, int nbuffers, const int64_t *symbols, int64_t teams,
               double tolerance, const char *what);

#endif
