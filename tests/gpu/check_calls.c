/* tests/gpu/check_calls.c: gpu_calls.def against a maker's own header, where there is one: compiling it is the test. Parameters have the
 * maker's types under our names; what we take them to be in memory is checked beside. */
#ifdef CHECK_HIP
#define __HIP_PLATFORM_AMD__
#include <hip/hip_runtime_api.h>
#define MAKER(cuda, hip) hip
#else
#include <cuda.h>
#define MAKER(cuda, hip) cuda
#endif
#include <stddef.h>
#include <stdint.h>

typedef MAKER(CUresult, hipError_t) rlx_gpu_result;
typedef MAKER(CUdevice, hipDevice_t) rlx_gpu_handle;
typedef MAKER(CUdevice_attribute, hipDeviceAttribute_t) rlx_gpu_attribute;
typedef MAKER(CUfunction_attribute, hipFunction_attribute) rlx_gpu_function_attribute;
typedef MAKER(CUjit_option, hipJitOption) rlx_gpu_jit_option;
typedef MAKER(CUstreamCaptureMode, hipStreamCaptureMode) rlx_gpu_capture;
typedef MAKER(CUdeviceptr, hipDeviceptr_t) rlx_gpu_address;
typedef MAKER(CUstream, hipStream_t) rlx_gpu_stream;
typedef MAKER(CUevent, hipEvent_t) rlx_gpu_event;
typedef MAKER(CUmodule, hipModule_t) rlx_gpu_module;
typedef MAKER(CUfunction, hipFunction_t) rlx_gpu_function;
typedef MAKER(CUgraph, hipGraph_t) rlx_gpu_graph;
typedef MAKER(CUgraphExec, hipGraphExec_t) rlx_gpu_exec;
#ifdef CHECK_HIP
typedef hipDeviceProp_tR0600 rlx_gpu_properties;
#else
typedef CUcontext rlx_gpu_context;
typedef CUlinkState rlx_gpu_linker;
typedef CUjitInputType rlx_gpu_input;
typedef CUtensorMap rlx_gpu_tensor;
typedef CUtensorMapDataType rlx_gpu_map_type;
typedef CUtensorMapInterleave rlx_gpu_map_form;
typedef CUtensorMapSwizzle rlx_gpu_map_swizzle;
typedef CUtensorMapL2promotion rlx_gpu_map_ahead;
typedef CUtensorMapFloatOOBfill rlx_gpu_map_beyond;
#endif

/* Newer headers of AMD's promise not to write to what is copied from. */
#define IS_SAME(function, parameters)                                                    \
    __builtin_types_compatible_p(__typeof__(&function), rlx_gpu_result(*) parameters) || \
        __builtin_types_compatible_p(                                                    \
            __typeof__(&function),                                                       \
            rlx_gpu_result (*)(rlx_gpu_address, void *, size_t, rlx_gpu_stream))
#define CHECK_CALL(function, parameters) _Static_assert(IS_SAME(function, parameters), #function);
#ifdef CHECK_HIP
#define GPU_CALL(name, cuda, hip, parameters) CHECK_CALL(hip, parameters)
#define GPU_HIP(name, hip, parameters) CHECK_CALL(hip, parameters)
#else
#define GPU_CALL(name, cuda, hip, parameters) CHECK_CALL(cuda, parameters)
#define GPU_CUDA(name, cuda, parameters) CHECK_CALL(cuda, parameters)
#endif
#include "runtime/gpu_calls.def"

#define CHECK(is_so) _Static_assert(is_so, #is_so)
CHECK(sizeof(rlx_gpu_handle) == sizeof(int) && sizeof(rlx_gpu_attribute) == sizeof(int));
CHECK(sizeof(rlx_gpu_result) == sizeof(int) && sizeof(rlx_gpu_capture) == sizeof(int));
CHECK(sizeof(rlx_gpu_address) == sizeof(unsigned long long));
CHECK(sizeof(rlx_gpu_stream) == sizeof(void *) && sizeof(rlx_gpu_function) == sizeof(void *));
#ifdef CHECK_HIP
CHECK(sizeof(rlx_gpu_properties) <= 4096);
CHECK(offsetof(rlx_gpu_properties, gcnArchName) == 1160);
CHECK(hipDeviceAttributeMultiprocessorCount == 63);
CHECK(hipDeviceAttributeMaxSharedMemoryPerBlock == 74);
CHECK(HIP_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK == 0 && hipStreamNonBlocking == 1);
CHECK(hipStreamCaptureModeRelaxed == 2 && hipEventDisableTiming == 2);
CHECK(hipHostRegisterMapped == 2 && hipErrorOutOfMemory == 2 && hipErrorLaunchFailure == 719);
CHECK(hipErrorInvalidKernelFile == 218 && hipErrorSharedObjectInitFailed == 303);
CHECK(hipErrorNoBinaryForGpu == 209 && hipErrorNoDevice == 100 && hipErrorIllegalAddress == 700);
#else
CHECK(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT == 16);
CHECK(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK == 8);
CHECK(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR == 75);
CHECK(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR == 76);
CHECK(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK == 0 && CU_STREAM_NON_BLOCKING == 1);
CHECK(CU_STREAM_CAPTURE_MODE_RELAXED == 2 && CU_EVENT_DISABLE_TIMING == 2);
CHECK(CU_MEMHOSTREGISTER_DEVICEMAP == 2 && CU_JIT_INPUT_PTX == 1);
CHECK(CU_JIT_ERROR_LOG_BUFFER == 5 && CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES == 6);
CHECK(CUDA_ERROR_OUT_OF_MEMORY == 2 && CUDA_ERROR_STUB_LIBRARY == 34);
CHECK(CUDA_ERROR_NO_BINARY_FOR_GPU == 209 && CUDA_ERROR_INVALID_PTX == 218);
CHECK(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED == 303);
CHECK(sizeof(CUtensorMap) == 128 && _Alignof(CUtensorMap) <= 128 &&
      sizeof(CUtensorMapDataType) == sizeof(int));
CHECK(CU_TENSOR_MAP_DATA_TYPE_UINT8 == 0 && CU_TENSOR_MAP_DATA_TYPE_UINT16 == 1);
CHECK(CU_TENSOR_MAP_INTERLEAVE_NONE == 0 && CU_TENSOR_MAP_L2_PROMOTION_L2_128B == 2);
CHECK(CU_TENSOR_MAP_SWIZZLE_32B == 1 && CU_TENSOR_MAP_SWIZZLE_64B == 2 &&
      CU_TENSOR_MAP_SWIZZLE_128B == 3);
CHECK(CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE == 0);
CHECK(CUDA_ERROR_UNSUPPORTED_PTX_VERSION == 222 && CUDA_ERROR_ILLEGAL_ADDRESS == 700);
CHECK(CUDA_ERROR_LAUNCH_FAILED == 719 && CUDA_ERROR_CONTEXT_IS_DESTROYED == 709);
#endif
