/* bench/gpu_facts.h: instructions of a GPU's listing by class, and how many waves of a kernel run side by side. */
#ifndef RLX_BENCH_GPU_FACTS_H
#define RLX_BENCH_GPU_FACTS_H

#include "jit/gpu_target.h"

typedef enum rlx_gpu_class {
    RLX_GPU_LOADS, /* from global memory, copies of it to team memory among them */
    RLX_GPU_STORES,
    RLX_GPU_TEAM,
    RLX_GPU_FLOATS,
    RLX_GPU_MATRIX,
    RLX_GPU_DOTS,
    RLX_GPU_BARRIERS,
    RLX_GPU_OTHERS,
    RLX_GPU_CLASSES
} rlx_gpu_class;

typedef struct rlx_gpu_counts {
    int of[RLX_GPU_CLASSES], all;
} rlx_gpu_counts;

/* A line of a listing: "\tMNEMONIC operands"; of PTX also "\t@%p1 bra", and none that begins with a point. What is no
 * instruction is not counted. */
void rlx_gpu_count_line(const char *line, bool amd, rlx_gpu_counts *c);

/* Waves of a compute unit, or of a multiprocessor, in whole teams of RLX_JIT_DEFAULT_TEAM: as registers and team memory of
 * a kernel let them. *most: of a kernel that takes none. */
int rlx_gpu_waves(const rlx_gpu_processor *p, int64_t registers, int64_t team_bytes, int *most);

#endif
