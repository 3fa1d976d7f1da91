/* frontend/context.h: a context: where flows run, on how many threads, and who hears about it. */
#ifndef RLX_FRONTEND_CONTEXT_H
#define RLX_FRONTEND_CONTEXT_H

#include <stdatomic.h>

#include "frontend/rlx.h"
#include "jit/jit.h"
#include "runtime/cache.h"
#include "runtime/device_gpu.h"
#include "runtime/device_vulkan.h"
#include "runtime/runtime.h"

/* What runs a compiled flow. */
typedef enum rlx_runner {
    RLX_RUN_CODE,     /* machine code of this CPU, or of the context's device */
    RLX_RUN_EVAL_LIR, /* the LIR evaluator, kernel by kernel, on the tape and plan of the compiled
                         flow */
    RLX_RUN_EVAL_MIR  /* the MIR evaluator, a step at a time */
} rlx_runner;

/* A device by its name, not opened. */
typedef struct rlx_device_choice {
    rlx_runner runner;
    rlx_jit_target target; /* of a CPU, or for evaluators */
    bool is_vulkan, is_gpu;
    rlx_vulkan_options vulkan; /* then */
    rlx_gpu_options gpu;       /* then: of NVIDIA's driver, or AMD's */
    rlx_jit_step step;         /* then */
    bool chosen;               /* its number is ours, not the user's */
} rlx_device_choice;

struct rlx_context {
    rlx_runner runner;
    rlx_jit_target target; /* what is compiled for, by evaluators too: they see the same kernels */
    rlx_team *team;
    rlx_device *gpu;          /* that code runs on; NULL: the CPU */
    rlx_device_choice choice; /* that it was opened with */
    rlx_device **lost;        /* opened before it, until the context's end */
    int nlost;
    bool parted; /* only the last `layers` of a flow are on it, those before on the CPU */
    int64_t layers;
    char *device; /* "cpu:x86-64-v4", "vulkan:0" */
    void (*log)(void *user, rlx_log_level level, const char *message);
    void *log_user;
    rlx_cache *cache; /* of compiled code; NULL: none */
    rlx_perf *perf;   /* told of loaded kernels; NULL: nobody is */
    bool no_compile;
    char *cache_folder; /* of all that is kept: code, tokenizers' tables; NULL: nothing is */
    _Atomic int64_t compiled, loaded; /* executables; see rlx_context_stats */
    _Atomic int64_t compile_nanoseconds, load_nanoseconds;
};

/* "cpu", "cpu:FEATURES", "ref:lir", "ref:mir", "vulkan", "vulkan:1,-int8", "cuda:0", "cuda:0,step=kernel",
 * "hip:0,memory=4G". Opens none. */
rlx_status rlx_context_parse_device(const char *text, rlx_device_choice *out);
/* What "cpu" is: this machine's own. */
rlx_jit_target rlx_context_host_target(void);
/* Whether it is opened: the others are the CPU, in one way or another. */
bool rlx_device_has_memory(const rlx_device_choice *c);
/* Opens one, and what code for it is made for. */
rlx_status rlx_device_open(const rlx_device_choice *c, rlx_device **out, rlx_jit_target *target);
/* Whether code and weights of one are good for the other, where it is opened again. */
bool rlx_device_is_same(const rlx_device_choice *c, rlx_device *a, rlx_device *b);
/* "vulkan:0,-int8", "cuda:1", with its number, whoever chose it. */
void rlx_device_put_name(const rlx_device_choice *c, rlx_text *name);
/* The number that "vulkan" stands for: the first that is no software, else the first; of those that can be used. */
int rlx_vulkan_choose(const rlx_vulkan_info *all, int n);
/* What code for a device is made for. */
void rlx_vulkan_target(const rlx_vulkan_info *info, rlx_jit_target *out);
rlx_status rlx_gpu_device_target(rlx_gpu_kind k, const rlx_gpu_info *info, rlx_jit_target *out);
void rlx_context_log(const rlx_context *cx, rlx_log_level level, const char *fmt, ...)
    RLX_PRINTF(3, 4);
/* Logs the story of a status, if it is one, as a warning, and frees it. */
void rlx_context_warn(const rlx_context *cx, rlx_status st);

#endif
