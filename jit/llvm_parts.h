/* jit/llvm_parts.h: loops of a kernel as functions of their own.
 *
 * The contractions of one format have nearly all of their code in common: how weights are laid into panels,
 * how panels are multiplied. Such a loop becomes a function (a part) in an LLVM module of its own, and is named
 * by a hash of its LIR and of all that its code is told of what is around it; the kernel calls it. Two
 * kernels that call the same name share its code. What differs between them (bases, offsets, distances
 * between rows, how often the loop runs) are arguments.
 */
#ifndef RLX_JIT_LLVM_PARTS_H
#define RLX_JIT_LLVM_PARTS_H

#include <llvm-c/Core.h>

#include "jit/llvm_module.h"

typedef struct rlx_emit rlx_emit;

typedef struct rlx_emit_parts {
    rlx_llvm_parts names;
    int wanted;           /* the part that is built, or RLX_LLVM_KERNEL: the others are named */
    LLVMModuleRef module; /* that part's, once it is there */
} rlx_emit_parts;

/* False for attention, which reduces between its products: nothing in a program is like it. */
bool rlx_emit_may_cut(const rlx_ir_func *kernel);
/* True for a loop that becomes a part here. */
bool rlx_emit_is_part(const rlx_emit *e, const rlx_ir_node *loop);
/* The call; the function, if it is the one that is wanted. */
rlx_status rlx_emit_part(rlx_emit *e, const rlx_ir_node *loop);
void rlx_emit_parts_deinit(rlx_emit_parts *p);

#endif
