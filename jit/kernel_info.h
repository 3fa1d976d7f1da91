/* jit/kernel_info.h: what is known of a kernel without emitting it. */
#ifndef RLX_JIT_KERNEL_INFO_H
#define RLX_JIT_KERNEL_INFO_H

#include "lir/lir.h"
#include "runtime/program.h"

/* Bytes of team memory that an alloc takes, rounded up to 64. Allocs lie one after another. */
int64_t rlx_jit_alloc_bytes(const rlx_ir_node *alloc);
/* The same of a whole kernel. */
int64_t rlx_jit_team_bytes(const rlx_ir_func *kernel);
/* How many instances the grids of a kernel have, as extents whose product is enough for each; RLX_GRID_UNKNOWN where one is read
 * from memory. Makes extents in the module's table. */
rlx_status rlx_jit_grid_extents(const rlx_ir_func *kernel, rlx_dim out[RLX_PROGRAM_GRID]);
/* Arguments whose boxes tensor maps may bring to rings (llvm_team_tensors.c): what async stores put into a stage from its begin to its end. How
 * many; more than there is room for are not looked at. */
int rlx_jit_maps(const rlx_ir_func *kernel, rlx_program_map out[RLX_PROGRAM_MAPS]);
/* Which of them is of such a store; -1: none. */
int rlx_jit_map_of(const rlx_ir_func *kernel, const rlx_ir_node *store, const rlx_program_map *maps,
                   int n);
/* About how many vector instructions the kernel unrolls to: what compiling it costs. */
int64_t rlx_jit_kernel_cost(const rlx_ir_func *kernel);

/* The most that one kernel may unroll to: LLVM's time grows with it. A team, of whatever GPU, has a sum's elements in many
 * invocations. */
enum { RLX_JIT_MAX_COST = 1 << 13, RLX_JIT_MAX_TEAM_COST = 1 << 15 };

#endif
