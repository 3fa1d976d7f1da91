/* jit/spirv_module.h: a SPIR-V module being written: sections of words, interned types and
 * constants, instructions with results. It knows SPIR-V and nothing of LIR.
 *
 * Code goes to one of two sections of one function: `entry`, whose values every place of the body
 * may use, and `body`, which follows it.
 */
#ifndef RLX_JIT_SPIRV_MODULE_H
#define RLX_JIT_SPIRV_MODULE_H

#include <spirv/unified1/GLSL.std.450.h>
#include <spirv/unified1/spirv.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/text.h"

typedef uint32_t rlx_spirv_id; /* 0: none */

enum { RLX_SPIRV_MAX_ADDRESSES = 16 }; /* of 8 bytes: what every device has of push constants */

/* SPV_KHR_cooperative_matrix, as it numbers them: headers at hand may not know it. */
enum {
    RLX_SPIRV_TYPE_MATRIX = 4456,
    RLX_SPIRV_MATRIX_LOAD = 4457,
    RLX_SPIRV_MATRIX_STORE = 4458,
    RLX_SPIRV_MATRIX_MULADD = 4459,
    RLX_SPIRV_CAPABILITY_MATRIX = 6022
};
/* Uses of a matrix; how it lies in memory; components that have signs. */
enum { RLX_SPIRV_MATRIX_A, RLX_SPIRV_MATRIX_B, RLX_SPIRV_MATRIX_SUMS };
enum { RLX_SPIRV_ROWS, RLX_SPIRV_COLUMNS };
enum { RLX_SPIRV_ALL_SIGNED = 15 };

typedef enum rlx_spirv_section { /* in the order that a module has them */
                                 RLX_SPIRV_CAPABILITIES,
                                 RLX_SPIRV_EXTENSIONS,
                                 RLX_SPIRV_HEAD, /* imports, memory model, entry point and its modes
                                                  */
                                 RLX_SPIRV_STRINGS,
                                 RLX_SPIRV_NAMES,
                                 RLX_SPIRV_DECORATIONS,
                                 RLX_SPIRV_GLOBALS, /* types, constants, variables */
                                 RLX_SPIRV_ENTRY,
                                 RLX_SPIRV_BODY,
                                 RLX_SPIRV_SECTIONS
} rlx_spirv_section;

typedef struct rlx_spirv_interned {
    size_t at; /* byte of GLOBALS at which the instruction stands; of no meaning when id is 0 */
    rlx_spirv_id id;
} rlx_spirv_interned;

typedef struct rlx_spirv_module {
    rlx_text section[RLX_SPIRV_SECTIONS]; /* bytes of words; lack of memory shows in them */
    rlx_spirv_section into;               /* where instructions with results go */
    rlx_spirv_id last;
    rlx_spirv_id block;           /* label of the block that the body is in */
    rlx_spirv_id glsl;            /* the import of GLSL.std.450 */
    rlx_spirv_interned *interned; /* open addressing */
    size_t nslots, ninterned;
    bool oom;
    bool vulkan_memory; /* the memory model that cooperative matrices ask for */
    bool met;           /* the body has touched no memory since a barrier in the same block */
    uint32_t capabilities[16];
    int ncapabilities;
} rlx_spirv_module;

void rlx_spirv_module_init(rlx_spirv_module *m);
/* How memory is addressed: before the entry point. `far`: by 64-bit addresses, too; `matrices`: cooperative ones touch it. Then
 * nothing is coherent: barriers make seen what accesses that are not private have written. */
void rlx_spirv_memory_model(rlx_spirv_module *m, bool far, bool matrices);
void rlx_spirv_module_deinit(rlx_spirv_module *m);
/* The whole module, appended to `out`, words in the machine's order. */
rlx_status rlx_spirv_module_write(const rlx_spirv_module *m, uint32_t version, rlx_text *out);

static inline rlx_spirv_id rlx_spirv_new_id(rlx_spirv_module *m)
{
    return ++m->last;
}

/* An instruction of `n` operand words. */
void rlx_spirv_put(rlx_spirv_module *m, rlx_spirv_section s, SpvOp op, int n,
                   const uint32_t *words);
/* The same with text between words and more words: OpName, OpEntryPoint, OpExtInstImport .. */
void rlx_spirv_put_text(rlx_spirv_module *m, rlx_spirv_section s, SpvOp op, int nbefore,
                        const uint32_t *before, const char *text, int nafter,
                        const uint32_t *after);
/* An instruction with a result; `id` 0: a new one. Returns the result. */
rlx_spirv_id rlx_spirv_put_result(rlx_spirv_module *m, SpvOp op, rlx_spirv_id type, rlx_spirv_id id,
                                  int n, const uint32_t *words);
rlx_spirv_id rlx_spirv_put_glsl(rlx_spirv_module *m, enum GLSLstd450 op, rlx_spirv_id type, int n,
                                const rlx_spirv_id *args);

#define RLX_SPIRV_WORDS(...)                                                  \
    (int)(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)), (uint32_t[]) \
    {                                                                         \
        __VA_ARGS__                                                           \
    }
/* rlx_spirv_op(m, SpvOpIAdd, type, a, b) */
#define rlx_spirv_op(m, op, type, ...) \
    rlx_spirv_put_result((m), (op), (type), 0, RLX_SPIRV_WORDS(__VA_ARGS__))
#define rlx_spirv_inst(m, section, op, ...) \
    rlx_spirv_put((m), (section), (op), RLX_SPIRV_WORDS(__VA_ARGS__))

void rlx_spirv_capability(rlx_spirv_module *m, SpvCapability c); /* once each */
bool rlx_spirv_needs(const rlx_spirv_module *m, SpvCapability c);
/* A variable outside of functions, named when `name` is not NULL; `to` is what it holds. */
rlx_spirv_id rlx_spirv_variable(rlx_spirv_module *m, SpvStorageClass c, rlx_spirv_id to,
                                const char *name);
/* The same with initial values. */
rlx_spirv_id rlx_spirv_variable_with(rlx_spirv_module *m, SpvStorageClass c, rlx_spirv_id to,
                                     rlx_spirv_id values, const char *name);
void rlx_spirv_name(rlx_spirv_module *m, rlx_spirv_id id, const char *name); /* NULL: none */

/* ---- interned ---- */

/* A type or constant, made once: `type` is 0 for types. */
rlx_spirv_id rlx_spirv_intern(rlx_spirv_module *m, SpvOp op, rlx_spirv_id type, int n,
                              const uint32_t *words);
rlx_spirv_id rlx_spirv_type_void(rlx_spirv_module *m);
rlx_spirv_id rlx_spirv_type_bool(rlx_spirv_module *m);
/* Integers carry no sign: instructions say how they are meant. 8 and 16 bits are for memory. */
rlx_spirv_id rlx_spirv_type_int(rlx_spirv_module *m, int bits);
rlx_spirv_id rlx_spirv_type_float(rlx_spirv_module *m, int bits); /* 32 or 64 */
rlx_spirv_id rlx_spirv_type_vector(rlx_spirv_module *m, rlx_spirv_id elem, int n);
/* Of bytes as operands, of 32 bits as sums; held by a subgroup. */
rlx_spirv_id rlx_spirv_type_matrix(rlx_spirv_module *m, int use, int rows, int columns);
rlx_spirv_id rlx_spirv_type_pointer(rlx_spirv_module *m, SpvStorageClass c, rlx_spirv_id to);
/* struct { elem[]; } with its layout, for a storage buffer whose elements take `bytes`. */
rlx_spirv_id rlx_spirv_type_buffer(rlx_spirv_module *m, rlx_spirv_id elem, int bytes);
/* The same as a type apart: what one invocation writes, others see. */
rlx_spirv_id rlx_spirv_type_coherent_buffer(rlx_spirv_module *m, rlx_spirv_id elem, int bytes);
/* struct { u64; .. } of `n`, for push constants. */
rlx_spirv_id rlx_spirv_type_addresses(rlx_spirv_module *m, int n);
rlx_spirv_id rlx_spirv_const_u32(rlx_spirv_module *m, uint32_t v);
rlx_spirv_id rlx_spirv_const_i64(rlx_spirv_module *m, int64_t v);
rlx_spirv_id rlx_spirv_const_f32(rlx_spirv_module *m, float v);
rlx_spirv_id rlx_spirv_const_f64(rlx_spirv_module *m, double v);
rlx_spirv_id rlx_spirv_const_bool(rlx_spirv_module *m, bool v);

/* ---- blocks of the body ---- */

void rlx_spirv_label(rlx_spirv_module *m, rlx_spirv_id label); /* begins a block */
void rlx_spirv_branch(rlx_spirv_module *m, rlx_spirv_id to);
/* if (cond) then; else other; both meet in `join`. */
void rlx_spirv_select_branch(rlx_spirv_module *m, rlx_spirv_id cond, rlx_spirv_id then,
                             rlx_spirv_id other, rlx_spirv_id join);
/* Of the team: execution and memory. Nothing where the team has just met. */
void rlx_spirv_barrier(rlx_spirv_module *m);

#endif
