/* jit/matrix_units.h: how matrix units spread the fragments of a multiplication over invocations.
 *
 * A fragment of sums is m rows by n columns; `lanes` neighbouring invocations hold it, and of both
 * operands rows of K, byte by byte, in words of four. What a unit of another make needs is a row in
 * matrix_units.def, and the call that multiplies (rlx_emit_engine.multiply): a group of 32 elements of
 * K, or of 16, by one call, of however many instructions. One that multiplies f16 and bf16, too, has a
 * second row, of MATRIX_FLOATS, and a call for those (multiply_floats).
 */
#ifndef RLX_JIT_MATRIX_UNITS_H
#define RLX_JIT_MATRIX_UNITS_H

#include "jit/jit.h"

/* Along one axis invocation `lane` begins at lane / div % mod * by; the i-th that it holds is
 * i % inner * low + i / inner * high further on. */
typedef struct rlx_matrix_axis {
    int div, mod, by, inner, low, high;
} rlx_matrix_axis;

typedef enum rlx_matrix_kind {
#define MATRIX_UNIT(NAME, ...) RLX_MATRIX_##NAME,
#include "jit/matrix_units.def"
#undef MATRIX_UNIT
    RLX_MATRIX_KINDS
} rlx_matrix_kind;

/* Of f16 and bf16, sums in f32: where the unit wants words of two of them; its sums lie as those of
 * bytes do. */
typedef struct rlx_matrix_floats {
    int k;                      /* elements of K of one multiplication: numerics */
    int a_words, b_words;       /* that an invocation has of them; 0: the unit reads team memory */
    rlx_matrix_axis a_row, a_k; /* k counts elements */
    rlx_matrix_axis b_column, b_k;
    bool paired; /* two neighbours of its sums, rounded, are a word of a of who has them */
} rlx_matrix_floats;

typedef struct rlx_matrix_unit {
    const char *name;
    rlx_matrix_kind kind;
    int m, n, lanes;
    int k;    /* most elements of K of one multiplication: the emitter wants 32; 16 it takes too */
    int sums; /* of a fragment's that an invocation has */
    int a_words, b_words; /* that it has of 16 elements of K; no a_words: wgmma (llvm_wgmma.c) */
    int apart; /* columns of sums from those of 32 invocations to the next 32's; 0: `column` says all */
    rlx_matrix_axis row, column; /* of sums */
    rlx_matrix_axis a_row, a_k;  /* of words: k counts elements */
    rlx_matrix_axis b_column, b_k;
    const rlx_matrix_floats *floats; /* of no k: it multiplies bytes alone */
} rlx_matrix_unit;

/* The unit by which code for a target multiplies bytes; NULL: it has none, or none that an emitter
 * makes use of. */
const rlx_matrix_unit *rlx_jit_matrix_unit(const rlx_jit_target *t);
/* The one by which it multiplies f16 and bf16, which has `floats`. */
const rlx_matrix_unit *rlx_jit_float_unit(const rlx_jit_target *t);
/* The same of kernels that multiply columns (contract_rows {axis=0}), all of whose products go by it: a unit
 * of words, which are turned as they are loaded. */
const rlx_matrix_unit *rlx_jit_column_unit(const rlx_jit_target *t);
/* Whether code for a target copies to team memory by cp.async, and loads matrices by ldmatrix. */
bool rlx_jit_copies(const rlx_jit_target *t);
/* Whether it has boxes of tensors copied by tensor maps (cp.async.bulk.tensor). */
bool rlx_jit_copies_boxes(const rlx_jit_target *t);
/* Whether the target's team is whole subgroups of its unit, if it has one, a power of two. */
rlx_status rlx_jit_matrix_check_team(const rlx_jit_target *t);

/* Bytes that a copy, and a row of a matrix that subgroups load, are of. */
enum { RLX_MATRIX_CHUNK = 16 };

/* Rows of `chunks` of them, a power of two, side by side in team memory: chunk c of row r lies at
 * c ^ (r >> shift & mask), so that eight rows have a chunk in eight different places of 128 bytes. */
typedef struct rlx_matrix_swizzle {
    int shift, mask;
} rlx_matrix_swizzle;

static inline rlx_matrix_swizzle rlx_matrix_swizzle_of(int chunks)
{
    rlx_matrix_swizzle s = {0, (chunks < 8 ? chunks : 8) - 1};
    while (chunks << s.shift < 8)
        s.shift++;
    return s;
}

/* Whether the unit reads rows of an operand in team memory by itself, swizzled so, 32 to 128 bytes long: wgmma. */
static inline bool rlx_matrix_reads_memory(const rlx_matrix_unit *u)
{
    return !u->a_words;
}

/* What the i-th has more than the first. */
static inline int rlx_matrix_offset(const rlx_matrix_axis *x, int i)
{
    return i % x->inner * x->low + i / x->inner * x->high;
}

#endif
