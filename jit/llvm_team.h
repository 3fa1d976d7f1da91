/* jit/llvm_team.h: the part of an engine that GPUs share: tiles spread over a team's invocations.
 */
#ifndef RLX_JIT_LLVM_TEAM_H
#define RLX_JIT_LLVM_TEAM_H

#include "jit/llvm_emit.h"

/* LLVM's address spaces, the same on NVPTX and AMDGPU. */
enum { RLX_EMIT_SPACE_GLOBAL = 1, RLX_EMIT_SPACE_TEAM = 3 };

int rlx_emit_team_parts(const rlx_emit *e, const rlx_ir_type *tile);
LLVMTypeRef rlx_emit_team_part_type(const rlx_emit *e, const rlx_ir_type *tile);
/* To be called by an engine's begin: makes the exchange. `thread`, `team_index` and `teams` are the
 * engine's to set. */
rlx_status rlx_emit_team_begin(rlx_emit *e);
rlx_status rlx_emit_team_node(rlx_emit *e, const rlx_ir_node *n);
/* Where this invocation's element of a part is: at[i] along axis i, i32; *valid: i1, NULL when it
 * always is one. */
void rlx_emit_team_place(rlx_emit *e, const rlx_ir_type *tile, int part, LLVMValueRef *at,
                         LLVMValueRef *valid);
/* Bytes that a tile takes in the exchange. */
int64_t rlx_emit_team_tile_bytes(const rlx_emit *e, const rlx_ir_type *tile);
/* Writes a tile of rank 2 to team memory, its rows `stride` elements apart. */
void rlx_emit_team_put(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef to, int64_t stride);
/* The same with element [i, j] as number index(i, j): i32. */
typedef LLVMValueRef rlx_emit_index_fn(rlx_emit *e, LLVMValueRef i, LLVMValueRef j, int64_t stride);
void rlx_emit_team_put_by(rlx_emit *e, const rlx_ir_value *v, LLVMValueRef to,
                          rlx_emit_index_fn *index, int64_t stride);

/* llvm_team_copy.c: pieces of rows that a team deals among its invocations, neighbours getting neighbours. */
typedef struct rlx_emit_deal {
    int64_t rows, per_row;
    LLVMValueRef room; /* so many rows are live, i64; NULL: all */
} rlx_emit_deal;
int rlx_emit_deal_count(const rlx_emit *e, const rlx_emit_deal *d); /* of an invocation */
/* Its i-th: which piece, i32, of which row, i32 and so many on; *live: i1, or NULL. Some may be dealt twice. */
void rlx_emit_deal_at(rlx_emit *e, const rlx_emit_deal *d, int i, LLVMValueRef *row, int64_t *on,
                      LLVMValueRef *piece, LLVMValueRef *live);
/* Where that row begins, of rows from p on, `stride` bytes apart, i64: many rows' addresses are one with offsets. */
LLVMValueRef rlx_emit_dealt(rlx_emit *e, LLVMValueRef p, LLVMValueRef row, int64_t on,
                            LLVMValueRef stride);

/* llvm_team_blocks.c: a load from blocks. */
rlx_status rlx_emit_team_load_blocks(rlx_emit *e, const rlx_ir_node *n);
/* The codes of a load from blocks, four at a time, to team memory: rows `stride` bytes apart. */
void rlx_emit_team_put_codes(rlx_emit *e, const rlx_ir_node *load, LLVMValueRef to, int64_t stride);

/* llvm_team_copy.c: rows in team memory, so many bytes apart; those of a ring are swizzled. */
typedef struct rlx_emit_rows {
    LLVMValueRef at;
    int64_t plus, stride; /* the first lies so many bytes behind */
    int64_t apart; /* bytes from a row's piece of 16 to the next one; 0: they lie side by side */
    int64_t
        panel; /* bytes from `stride` bytes of all rows to the next ones; 0: rows are no longer */
    bool swizzled;
} rlx_emit_rows;
/* Whether the target's copies run by themselves; whether an async store is such a copy, whether a load is of one and
 * has nothing to do; whether a load's rows lie so that they can be copied; whether a team buffer is a ring. */
bool rlx_emit_copies_async(const rlx_emit *e);
bool rlx_emit_is_copy(const rlx_emit *e, const rlx_ir_node *store);
bool rlx_emit_is_copied(const rlx_emit *e, const rlx_ir_node *load);
bool rlx_emit_copies_rows(const rlx_ir_node *load);
bool rlx_emit_is_ring(const rlx_emit *e, const rlx_ir_value *buffer);
bool rlx_emit_has_limit(const rlx_ir_node *access, int axis);
/* Where byte `byte`, i32, of a swizzled row lies in it. */
LLVMValueRef rlx_emit_swizzle(rlx_emit *e, int64_t row_bytes, LLVMValueRef row, LLVMValueRef byte);
rlx_emit_rows rlx_emit_rows_of(rlx_emit *e, const rlx_ir_node *access, const rlx_ir_type *tile);
void rlx_emit_copy_rows(rlx_emit *e, const rlx_ir_node *load, const rlx_emit_rows *to);
void rlx_emit_store_async(rlx_emit *e, const rlx_ir_node *store);

/* llvm_team_tensors.c: how many arguments the kernel has for tensor maps, which an engine's begin makes, behind the symbols, and tells of
 * each where it is, an address, i64; -1: out of memory. Then which map's box an async store copies, -1: none; its copy. */
typedef struct rlx_emit_tensors rlx_emit_tensors;
int rlx_emit_tensors_count(rlx_emit *e);
void rlx_emit_tensors_param(rlx_emit *e, unsigned param); /* says of a GPU's that it is one */
void rlx_emit_tensors_add(rlx_emit *e, int i, LLVMValueRef at);
int rlx_emit_map_of(const rlx_emit *e, const rlx_ir_node *store);
void rlx_emit_copy_box(rlx_emit *e, const rlx_ir_node *load, const rlx_emit_rows *to, int which);

/* llvm_team_matrix.c: finds the kernel's products by a matrix unit, sets `fragments`; whether a tile lies as they leave it; then, which of its elements the
 * invocation has in a part, i32, or NULL. */
rlx_status rlx_emit_matrix_begin(rlx_emit *e);
bool rlx_emit_matrix_tile(const rlx_emit *e, const rlx_ir_type *tile);
LLVMValueRef rlx_emit_matrix_element(rlx_emit *e, const rlx_ir_type *tile, int part);
/* Whether a load's only user, a product by a matrix unit, reads memory in its place. */
bool rlx_emit_matrix_defers(const rlx_emit *e, const rlx_ir_node *load);
/* Whether a load's only users are such products, and nothing is stored before them: as rows of K, or as scales. */
bool rlx_emit_matrix_uses(const rlx_emit *e, const rlx_ir_node *load, bool rows);
/* The same of codes and `dot`, which no unit multiplies. */
bool rlx_emit_dot_uses(const rlx_emit *e, const rlx_ir_node *load);
int64_t rlx_emit_matrix_bytes(const rlx_emit *e, const rlx_ir_node *products); /* of the exchange */
rlx_status rlx_emit_matrix_dot_rows(rlx_emit *e, const rlx_ir_node *n);
/* Fragments of this invocation's neighbours, `down` by `across` side by side, the first of which begins at [row, column]. */
typedef struct rlx_emit_fragments {
    int64_t down, across;
    LLVMValueRef row, column;
} rlx_emit_fragments;
/* False: the tile is no fragments. */
bool rlx_emit_matrix_fragments(rlx_emit *e, const rlx_ir_type *tile, rlx_emit_fragments *out);
/* Index along an axis of the i-th that an invocation has of a fragment. */
LLVMValueRef rlx_emit_matrix_along(rlx_emit *e, const rlx_matrix_axis *x, int i);
/* Rows of K, operands of a product, to team memory, straight out of memory where their load waits for that; there at copies_end. Rows
 * `stride` bytes apart. */
void rlx_emit_matrix_put_rows(rlx_emit *e, const rlx_ir_value *rows, LLVMValueRef to,
                              int64_t stride);
/* The same of codes, pieces of 16 of all rows one behind the other, the next piece of a row `apart`: not out of blocks. */
rlx_status rlx_emit_matrix_put_pieces(rlx_emit *e, const rlx_ir_node *n, const rlx_ir_value *codes,
                                      LLVMValueRef to, int64_t apart);
/* Rows of f16 or bf16, swizzled, of so many bytes: those that are longer than a panel lie one panel of all rows behind the other. */
enum { RLX_EMIT_PANEL = 128 };
void rlx_emit_matrix_put_panels(rlx_emit *e, const rlx_ir_value *rows, LLVMValueRef to,
                                int64_t stride);
/* Whether an operand goes to team memory by copies, for which copies_end waits: with all others that are under way. */
bool rlx_emit_matrix_is_copied(const rlx_emit *e, const rlx_ir_value *operand);
/* The load of an operand that stays where it lies, in team memory; NULL: none. */
const rlx_ir_node *rlx_emit_matrix_kept(const rlx_emit *e, const rlx_ir_value *operand);
/* for h below count: `step` adds to sums, of which `out` has as many as acc, and acc's values before; `rolled`: not even
 * assemblers may unroll it. */
typedef void rlx_emit_step_fn(rlx_emit *e, void *user, LLVMValueRef h, LLVMValueRef *sums);
rlx_status rlx_emit_matrix_steps(rlx_emit *e, const rlx_emit_tile *acc, int64_t count,
                                 rlx_emit_step_fn *step, void *user, bool rolled,
                                 rlx_emit_tile *out);
/* llvm_team_floats.c: contract_rows; its bytes of the exchange. */
rlx_status rlx_emit_matrix_contract_rows(rlx_emit *e, const rlx_ir_node *n);
int64_t rlx_emit_matrix_float_bytes(const rlx_emit *e, const rlx_ir_node *contract_rows);
/* llvm_wgmma_halves.c: the same by wgmma, where the target's unit has no words of a. */
rlx_status rlx_emit_wgmma_contract_rows(rlx_emit *e, const rlx_ir_node *n);
int64_t rlx_emit_wgmma_halves_bytes(const rlx_emit *e, const rlx_ir_node *contract_rows);
/* llvm_team_fragments.c: whether a tile has an element for every row of the sums, and lies as they do; its parts; which element an
 * invocation has in one, i32; such a tile spread over columns, and made of such sums. */
bool rlx_emit_is_rows(const rlx_emit *e, const rlx_ir_type *tile);
int rlx_emit_rows_parts(const rlx_emit *e);
LLVMValueRef rlx_emit_rows_element(rlx_emit *e, int part);
bool rlx_emit_spreads_rows(const rlx_emit *e, const rlx_ir_node *broadcast);
void rlx_emit_spread_rows(rlx_emit *e, const rlx_ir_node *broadcast, rlx_emit_tile *out);
bool rlx_emit_reduces_rows(const rlx_emit *e, const rlx_ir_node *reduce);
rlx_status rlx_emit_reduce_rows(rlx_emit *e, const rlx_ir_node *reduce, rlx_emit_tile *out);
/* x of the invocation whose number differs in the bit `apart` alone. */
LLVMValueRef rlx_emit_swap(rlx_emit *e, LLVMValueRef x, int apart);
/* llvm_wgmma.c: dot_rows by wgmma, where the target's unit has no words of a; bytes of the exchange. */
rlx_status rlx_emit_wgmma_dot_rows(rlx_emit *e, const rlx_ir_node *n);
int64_t rlx_emit_wgmma_bytes(const rlx_emit *e, const rlx_ir_node *dot_rows);
/* llvm_nvptx.c: says of a call that all invocations must come to it together. */
void rlx_emit_converge(rlx_emit *e, LLVMValueRef call);
/* llvm_nvptx.c: an engine's multiply and multiply_floats by mma.sync, load_matrices by ldmatrix, copy, commit and wait by
 * cp.async; llvm_amdgpu_matrix.c: multiply and multiply_floats by MFMA and WMMA. */
void rlx_emit_mma(rlx_emit *e, int k, const LLVMValueRef *a, const LLVMValueRef *b,
                  LLVMValueRef *sums);
void rlx_emit_mma_floats(rlx_emit *e, rlx_format f, const LLVMValueRef *a, const LLVMValueRef *b,
                         LLVMValueRef *sums);
void rlx_emit_ldmatrix(rlx_emit *e, int n, bool turned, LLVMValueRef at, LLVMValueRef *words);
void rlx_emit_cp_async(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live);
void rlx_emit_cp_commit(rlx_emit *e);
void rlx_emit_cp_wait(rlx_emit *e, int pending);
void rlx_emit_amd_multiply(rlx_emit *e, int k, const LLVMValueRef *a, const LLVMValueRef *b,
                           LLVMValueRef *sums);
void rlx_emit_amd_multiply_floats(rlx_emit *e, rlx_format f, const LLVMValueRef *a,
                                  const LLVMValueRef *b, LLVMValueRef *sums);
/* engine->copy and copies_end where nothing copies but loads and stores. */
void rlx_emit_team_copy(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live);
void rlx_emit_team_copies_end(rlx_emit *e);
/* Checks what team memory was given out. */
rlx_status rlx_emit_team_end(rlx_emit *e);

#endif
