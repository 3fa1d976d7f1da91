/* jit/block_decode.h: one element of a block format at a time, in an invocation's registers: what the
 * emitters for GPUs share. All of it follows from runtime/base/block_layouts.def; the instructions are
 * the emitter's.
 */
#ifndef RLX_JIT_BLOCK_DECODE_H
#define RLX_JIT_BLOCK_DECODE_H

#include "runtime/base/format.h"

typedef uintptr_t rlx_decode_value; /* a SPIR-V id, an LLVM value; 0: none */

typedef enum rlx_decode_op {
    RLX_DECODE_ADD, /* two u32 */
    RLX_DECODE_SUB,
    RLX_DECODE_MUL,
    RLX_DECODE_AND,
    RLX_DECODE_OR,
    RLX_DECODE_XOR,
    RLX_DECODE_SHL,
    RLX_DECODE_SHR,
    RLX_DECODE_BELOW, /* two u32 -> bool */
    RLX_DECODE_EQUAL,
    RLX_DECODE_SIGNED_BYTE, /* the low byte, its sign extended */
    RLX_DECODE_FMUL,        /* two f32 */
    RLX_DECODE_FADD,
    RLX_DECODE_FNEG,
    RLX_DECODE_TO_FLOAT, /* i32 -> f32 */
    RLX_DECODE_AS_FLOAT, /* bits -> f32 */
    RLX_DECODE_HALF      /* the low 16 bits, an f16 -> f32 */
} rlx_decode_op;

typedef struct rlx_decode_engine {
    rlx_decode_value (*constant)(void *user, uint32_t v);
    rlx_decode_value (*constant_f32)(void *user, float v);
    rlx_decode_value (*op)(void *user, rlx_decode_op op, rlx_decode_value a,
                           rlx_decode_value b); /* b: 0 where there is one operand */
    rlx_decode_value (*select)(void *user, bool floats, rlx_decode_value cond, rlx_decode_value a,
                               rlx_decode_value b);
    /* The little-endian word of 1, 2 or 4 bytes at byte `at` of the row, as u32; `at` and the rows are multiples of `align`. */
    rlx_decode_value (*load)(void *user, rlx_decode_value at, int bytes, int align);
    /* Word i of a table, which may not live longer; `name` tells tables apart. */
    rlx_decode_value (*table)(void *user, const char *name, const uint32_t *words, int n,
                              rlx_decode_value i);
} rlx_decode_engine;

typedef struct rlx_decoder {
    const rlx_decode_engine *engine;
    void *user;
    rlx_format format;
} rlx_decoder;

/* A u32 of which something is known: v + plus. */
typedef struct rlx_decode_number {
    rlx_decode_value v; /* 0: nothing is added to plus */
    uint32_t multiple;  /* v is a multiple of it, a power of two */
    uint32_t below;     /* v is less; 0: not known */
    uint32_t plus;
} rlx_decode_number;

/* Element `index` of a row of blocks: its f32, as rlx_format_decode has it; or its code. */
rlx_decode_value rlx_decode_element(const rlx_decoder *d, rlx_decode_number index);
rlx_decode_value rlx_decode_code(const rlx_decoder *d, rlx_decode_number index);
/* Codes index .. index + 3 of a row, the first of which is a multiple of 4, as the bytes of a word. */
rlx_decode_value rlx_decode_codes(const rlx_decoder *d, rlx_decode_number index);
/* Scale and minimum of group `index` of a row. */
rlx_decode_value rlx_decode_scale(const rlx_decoder *d, rlx_decode_number index);
rlx_decode_value rlx_decode_min(const rlx_decoder *d, rlx_decode_number index);

#endif
