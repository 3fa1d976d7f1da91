/* jit/llvm_cpu.h: what the files of the CPU engine share.
 *
 *   llvm_cpu.c         the engine; what moves between lanes; reductions
 *   llvm_cpu_memory.c  loads and stores
 *   llvm_cpu_blocks.c  loads from block formats
 *   llvm_cpu_rows.c    operands that are read from memory where they are used
 *   llvm_cpu_bytes.c   products of bytes: what VNNI, AVX-512, AVX2 and NEON have for them
 *   llvm_cpu_dot.c     dot
 *   llvm_cpu_turn.c    turn
 *   llvm_cpu_pack.c    pack
 *   llvm_cpu_panel.c   dot_panel, outer, outer_bf16 by pairs
 *   llvm_cpu_tiles.c   dot_panel and outer_bf16 by AMX's tiles
 *   llvm_cpu_steps.c   polynomials
 */
#ifndef RLX_JIT_LLVM_CPU_H
#define RLX_JIT_LLVM_CPU_H

#include "jit/llvm_emit.h"

rlx_status rlx_emit_cpu_load(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_store(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_prefetch(rlx_emit *e, const rlx_ir_node *n);
LLVMValueRef rlx_emit_zeros(rlx_emit *e, int64_t bytes); /* the address of at least so many zeros */
/* From a buffer of a block format. */
rlx_status rlx_emit_cpu_load_blocks(rlx_emit *e, const rlx_ir_node *n);

/* ---- llvm_cpu_fields.c: 16 elements of a block, from its element `first` (i64) on ---- */

/* Whether a format's codes (scales) are made here. */
bool rlx_emit_has_field_codes(const rlx_block_layout *l);
bool rlx_emit_has_field_scales(const rlx_block_layout *l);
/* i8<16>, before a bias is taken off. */
LLVMValueRef rlx_emit_field_codes(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                  LLVMValueRef first);
/* Whether 32 codes can be made at once, too, of an index that is a multiple of `divisor`. */
bool rlx_emit_has_32_codes(const rlx_block_layout *l, int64_t divisor);
LLVMValueRef rlx_emit_32_codes(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                               LLVMValueRef first);
/* What they are multiplied by, f32; *add: what is added then, or NULL. */
LLVMValueRef rlx_emit_field_scale(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                  LLVMValueRef first, LLVMValueRef *add);
/* Whether scales of fields, and minima, are made by eight: of groups first..first+7 of a block, f32<8>. */
bool rlx_emit_has_eight_scales(const rlx_block_layout *l);
LLVMValueRef rlx_emit_eight_scales(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                   int first);
LLVMValueRef rlx_emit_eight_mins(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef block,
                                 int first);
/* Six-bit scales times 4, or minima times 16, of a block or of two: K4: i32<8>, or
 * <16>. */
LLVMValueRef rlx_emit_spread_sixes(rlx_emit *e, const rlx_block_layout *l,
                                   const LLVMValueRef *block, int blocks, bool min);
/* Tells the cache of `bytes` bytes from `from` on. Caches as LLVM numbers them. */
enum { RLX_CACHE_SECOND = 2, RLX_CACHE_FIRST = 3 };
void rlx_emit_tell_lines(rlx_emit *e, LLVMValueRef from, int64_t bytes, int cache);
/* What waits to be told while the next product goes by: lines of the longest; at step `step` of so many
 * of the product its part. */
int64_t rlx_emit_lines_ahead(const rlx_emit *e);
void rlx_emit_tell_ahead(rlx_emit *e, LLVMValueRef step, int64_t steps);
/* Half of 2^(x-127), of an i32 or of each of a vector. */
LLVMValueRef rlx_emit_from_e8m0(rlx_emit *e, LLVMValueRef x);
/* What 32 elements' bits stand for, i8<32>, or as many times that as there are. */
LLVMValueRef rlx_emit_values(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef bits);
/* The same of i8 vectors of any length: bits without their bias. */
LLVMValueRef rlx_emit_take_bias(rlx_emit *e, const rlx_block_layout *l, LLVMValueRef bits);
/* Codes with a sign, `by` more. */
LLVMValueRef rlx_emit_raise(rlx_emit *e, LLVMValueRef codes, int by);

/* Codes of elements first.. and second.., 16 of each, of blocks in a row: u8 or i8<32>; of `rows` (1
 * or 2) such rows one after the other. And whether the format has them (llvm_cpu_pairs.c). */
bool rlx_emit_has_code_pairs(const rlx_block_layout *l);
LLVMValueRef rlx_emit_code_pair(rlx_emit *e, const rlx_block_layout *l, const LLVMValueRef *block,
                                int rows, int first, int second);
/* Whether codes that are turned lie in registers with those of the next row: turn is their only use. */
bool rlx_emit_turns_two(const rlx_emit *e, const rlx_ir_node *turn);
/* By how much codes are raised for the dots that take them. */
int rlx_emit_turn_raises(const rlx_emit *e, const rlx_ir_node *turn);
rlx_status rlx_emit_cpu_dot(rlx_emit *e, const rlx_ir_node *n);
/* Whether a dot takes all of the codes that are loaded in pairs of runs. */
bool rlx_emit_multiplies_pairs(const rlx_emit *e, const rlx_ir_node *load);
/* Before a loop: sums of activations whose products with codes in it need them. */
rlx_status rlx_emit_cpu_sum_activations(rlx_emit *e, const rlx_ir_node *loop);
rlx_status rlx_emit_cpu_turn(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_step(rlx_emit *e, const rlx_ir_type *type, rlx_emit_tile *out);
rlx_status rlx_emit_cpu_end_exp(rlx_emit *e, const rlx_ir_node *n, bool *done);
rlx_status rlx_emit_cpu_pack(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_dot_panel(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_outer(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_before_loop(rlx_emit *e, const rlx_ir_node *loop);
rlx_status rlx_emit_cpu_outer_bf16(rlx_emit *e, const rlx_ir_node *n);

/* ---- llvm_cpu_tiles.c ---- */

bool rlx_emit_dot_suits_tiles(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_dot_tiles(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_outer_tiles(rlx_emit *e, const rlx_ir_node *n);
rlx_status rlx_emit_cpu_end(rlx_emit *e); /* of a kernel: releases tiles that it used */

/* ---- vectors ---- */

int rlx_emit_register_lanes(const rlx_emit *e); /* f32 in a register: 4, 8, 16 */
LLVMTypeRef rlx_emit_vector(LLVMTypeRef elem, int64_t n);
/* Elements first, first + step, .. of x, n of them. */
rlx_status rlx_emit_pick(rlx_emit *e, LLVMValueRef x, int64_t first, int64_t step, int64_t n,
                         LLVMValueRef *out);
/* A row as a vector, also when it has one element. */
LLVMValueRef rlx_emit_as_vector(rlx_emit *e, LLVMValueRef row);
/* One vector of vectors whose lengths divide the places that they get. */
LLVMValueRef rlx_emit_join(rlx_emit *e, LLVMValueRef *x, int n);
LLVMValueRef rlx_emit_fma(rlx_emit *e, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z);
/* `n` bytes of row `part` from element `at` on, out of what the row is joined from. */
rlx_status rlx_emit_bytes_at(rlx_emit *e, const rlx_emit_tile *t, int part, int at, int n,
                             LLVMValueRef *out);
/* Memory accesses stay on their side of it; no instruction. */
void rlx_emit_keep_order(rlx_emit *e);

/* ---- llvm_cpu_rows.c ---- */

/* True when everyone who takes the loaded tile reads it from the buffer itself (rlx_emit_rows), and
 * nothing is stored in between: such a load is not made. */
bool rlx_emit_defers(const rlx_ir_node *load);

/* A tile of rank 2 in memory; or of rank 3, groups of rows. */
typedef struct rlx_emit_rows {
    const rlx_ir_node *node; /* whose operand it is, for messages */
    rlx_format from, to;
    LLVMTypeRef elem;
    LLVMValueRef base, stride; /* elements from row to row */
    LLVMValueRef group;        /* from group to group; NULL: rank 2 */
    LLVMValueRef *row;         /* addresses; NULL: at base, by stride */
    LLVMValueRef room;         /* i64: rows inside the limit; NULL: all */
    int rows;
    int64_t bytes; /* of a row */
} rlx_emit_rows;
/* Operand i of n, from its deferred load or, when it is a value, from the stack. */
rlx_status rlx_emit_rows_init(rlx_emit *e, const rlx_ir_node *n, int i, rlx_emit_rows *out);
/* The same at base, by stride: all rows are copied to the stack where some are beyond a limit. Then
 * by another stride; or, `keep`, by the same, unless they are too far apart for the stack: such
 * rows have addresses. */
rlx_status rlx_emit_rows_init_even(rlx_emit *e, const rlx_ir_node *n, int i, bool keep,
                                   rlx_emit_rows *out);
/* Whether it is another in every round of the loop whose body this is: an argument, or made there. */
bool rlx_emit_made_in(const rlx_ir_block *block, const rlx_ir_value *v);
/* Where `loop` begins, in which n stands; false: it is not the same in all of its rounds. */
bool rlx_emit_rows_before(rlx_emit *e, const rlx_ir_node *loop, const rlx_ir_node *n, int i,
                          rlx_emit_rows *out);
/* Rows of bytes, all of which are copied, 128 added; false: that is too much for the stack. */
rlx_status rlx_emit_rows_raise(rlx_emit *e, rlx_emit_rows *x, bool *raised);
/* Address of element [r, c]; r is a constant when rows have addresses. */
LLVMValueRef rlx_emit_rows_at(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef r, LLVMValueRef c);
/* `lanes` elements from [r, c]. */
rlx_status rlx_emit_rows_load(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef r, LLVMValueRef c,
                              int lanes, LLVMValueRef *out);
/* Element [r, c] in so many lanes. */
rlx_status rlx_emit_rows_spread(rlx_emit *e, const rlx_emit_rows *x, LLVMValueRef r, LLVMValueRef c,
                                int lanes, LLVMValueRef *out);

/* ---- llvm_cpu_bytes.c ---- */

/* Codes by which activations are multiplied. */
typedef struct rlx_emit_codes {
    int bits; /* u8 below 2^bits; 0: i8 */
    int most; /* the largest there is, or its opposite */
} rlx_emit_codes;
rlx_emit_codes rlx_emit_codes_of(const rlx_ir_node *n);
/* By how much signed codes are raised where sums of activations tell what is too much: the largest
 * there is; 0: x86 multiplies them with their signs, or there are none. */
int rlx_emit_raised_by(const rlx_emit *e, const rlx_ir_node *n);
/* Of products by activations, perhaps raised ones: how many sums of two fit into 16 bits together. */
int rlx_emit_most_pairs(rlx_emit_codes c, bool raised);
/* Registers of columns that are best multiplied together by so many rows: 1 or 2. */
int rlx_emit_byte_columns(const rlx_emit *e, rlx_emit_codes c, bool raised, int rows);
/* sums[m * columns + v] (i32, `lanes` of them) + products of 4 bytes per lane: codes (s, v) with
 * activations (s, m), for s in 0..steps. */
typedef rlx_status rlx_emit_bytes_fn(void *user, int s, int i, LLVMValueRef *out);
typedef struct rlx_emit_byte_sums {
    rlx_emit_codes codes;
    int lanes, steps, rows, columns;
    bool once;   /* codes are multiplied by one row: their signs are left to activations */
    bool raised; /* activations are unsigned, by 128 more; codes with a sign stay as they are */
    bool in_16;  /* sums are of two products each, in 16 bits: rlx_emit_halves makes them whole */
    rlx_emit_bytes_fn *code;       /* of step s, column v */
    rlx_emit_bytes_fn *activation; /* of step s, row m */
    void *user;
} rlx_emit_byte_sums;
/* How to add up `steps` steps: so many in one block, a power of two, as often as it takes; in 16
 * bits when all of them fit. */
void rlx_emit_byte_steps(const rlx_emit *e, int steps, rlx_emit_byte_sums *b);
/* Whether products of so many lanes, of codes with a sign, are had sooner with activations that are
 * raised: 128 times the sum of the codes is in them then. */
bool rlx_emit_wants_raised(const rlx_emit *e, rlx_emit_codes c, int lanes);
LLVMValueRef rlx_emit_no_sum(const rlx_emit *e, const rlx_emit_byte_sums *b); /* zeros */
LLVMValueRef rlx_emit_halves(rlx_emit *e, LLVMValueRef sum, int lanes);
rlx_status rlx_emit_sum_bytes(rlx_emit *e, const rlx_emit_byte_sums *b, LLVMValueRef *sums);

#endif
