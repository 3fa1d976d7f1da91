/* jit/parts.h: code of kernels with the names of the parts that they call (llvm_parts.h), and the parts of one
 * program, each of which is compiled once. Internal to jit/. */
#ifndef RLX_JIT_PARTS_H
#define RLX_JIT_PARTS_H

#include <pthread.h>

#include "jit/llvm_module.h"

typedef struct rlx_jit_part {
    rlx_llvm_part_name name;
    const rlx_ir_func *kernel; /* one that calls it; it is number `index` of its parts */
    int index;
    bool elsewhere; /* another program's thread is compiling it */
    rlx_text code;
    struct rlx_jit_part *next;
} rlx_jit_part;

typedef struct rlx_jit_parts {
    pthread_mutex_t lock;
    rlx_jit_part *first, **end;
} rlx_jit_parts;

void rlx_jit_parts_init(rlx_jit_parts *p);
void rlx_jit_parts_deinit(rlx_jit_parts *p);
/* Thread-safe. *out: the part of that name, for the caller to compile; NULL: somebody did or does. */
rlx_status rlx_jit_parts_claim(rlx_jit_parts *p, const rlx_llvm_part_name *name,
                               const rlx_ir_func *kernel, int index, rlx_jit_part **out);
/* Appends number `index` of the kernel's parts. RLX_INTERNAL when it is not the one of that name: emitting the
 * kernel gave another. */
rlx_status rlx_jit_emit_part(const rlx_llvm_module *m, rlx_llvm *worker, const rlx_ir_func *kernel,
                             rlx_llvm_form form, int index, const rlx_llvm_part_name *name,
                             rlx_text *out);

/* What is shared of a kernel: its parts' names, then its code. */
rlx_status rlx_jit_put_kernel(rlx_text *out, const rlx_llvm_parts *parts, const rlx_text *code);
/* The code in it (inside `kernel`), and the names. */
const uint8_t *rlx_jit_get_kernel(const rlx_text *kernel, rlx_llvm_parts *parts, size_t *bytes);

#endif
