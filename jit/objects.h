/* jit/objects.h: one kernel as rlx_jit_compile makes it: its object, of a CPU also behind it those of the loops that
 * are functions of their own (llvm_parts.h), which it calls by their names. For tests and benchmarks. */
#ifndef RLX_JIT_OBJECTS_H
#define RLX_JIT_OBJECTS_H

#include "jit/jit.h"

enum { RLX_JIT_MAX_OBJECTS = 9 };

typedef struct rlx_jit_object {
    char *name;
    rlx_text code;
} rlx_jit_object;
typedef struct rlx_jit_objects {
    int n;
    rlx_jit_object object[RLX_JIT_MAX_OBJECTS];
} rlx_jit_objects;

/* Errors as for rlx_jit_emit_kernel; nothing is left to be freed then. */
rlx_status rlx_jit_emit_objects(const rlx_ir_func *kernel, const rlx_jit_target *t,
                                rlx_jit_objects *out);
void rlx_jit_objects_deinit(rlx_jit_objects *o);
/* The same as text, for people: the kernel, then its parts. */
rlx_status rlx_jit_print_objects(const rlx_ir_func *kernel, const rlx_jit_target *t,
                                 rlx_jit_text what, rlx_text *out);

#endif
