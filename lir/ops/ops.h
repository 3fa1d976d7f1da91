/* lir/ops/ops.h: what the files of this folder promise to the op table, and what they share.
 * Internal to lir/. */
#ifndef RLX_LIR_OPS_H
#define RLX_LIR_OPS_H

#include "lir/lir.h"

/* Every op: its numbered constraints, which each file lists at its top. The core has checked
 * counts, attributes, written types and, of ops with blocks, the blocks. */
#define LIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    rlx_status rlx_lir_##mnemonic##_verify(rlx_ir_module *m, const rlx_ir_node *n);
#include "lir/lir_ops.def"
#undef LIR_OP

/* Ops whose result types follow from their operands; the others' are written. */
rlx_status rlx_lir_for_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_extent_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_map_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_reduce_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_contract_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_contract_rows_infer(rlx_ir_module *m, const rlx_ir_node *n,
                                       rlx_ir_type *results);
rlx_status rlx_lir_dot_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_pack_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_turn_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_dot_panel_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_dot_rows_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_outer_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
rlx_status rlx_lir_outer_bf16_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);

enum { RLX_LIR_MAX_TILE_RANK = 3, RLX_LIR_MAX_TILE_ELEMS = 1 << 20 };

bool rlx_lir_is_scalar(const rlx_ir_type *t, rlx_format f);
/* For messages: text in the module's arena. */
const char *rlx_lir_type_text(rlx_ir_module *m, const rlx_ir_type *t);
/* Constraint `id`: the type is a tile, of at most RLX_LIR_MAX_TILE_ELEMS elements. */
rlx_status rlx_lir_require_tile(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                const rlx_ir_type *t);
/* Constraint `id`: operand i is an i64 scalar. */
rlx_status rlx_lir_require_index(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int i);
/* Constraint `id`: operand i is a tile of that format and rank. */
rlx_status rlx_lir_require_operand(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int i,
                                   rlx_format f, int rank);
/* Constraint `id`: operand i is a tile of codes of rank 2; `bits_id`: attribute bits suits them. */
rlx_status rlx_lir_require_codes(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                 const char *bits_id, int i);
/* Constraints C1 to C5 of products of codes that are scaled group by group, with minima or without (dot_rows.c,
 * dot_panel.c): b's rows as they lie (together 1), or its columns, so many elements of K beside each other. */
rlx_status rlx_lir_require_scaled_codes(rlx_ir_module *m, const rlx_ir_node *n, int together);
/* Constraint `id`: values have the types, one for one; `what` names them in the message. */
rlx_status rlx_lir_require_types(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                 const char *what, int nvalues, rlx_ir_value *const *values,
                                 int ntypes, rlx_ir_value *const *types);
/* Constraint `id`: attribute axes has one ascending entry below `limit` for each of `rank` axes
 * (it may be absent when there are none). */
rlx_status rlx_lir_require_axes(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int rank,
                                int limit);
/* Constraint `id`: offset and bytes, as plan_memory sets them, are absent or both there and sound.
 */
rlx_status rlx_lir_require_place(rlx_ir_module *m, const rlx_ir_node *n, const char *id);
/* A launch's or call's callee; NULL when the module has none of that name. */
const rlx_ir_func *rlx_lir_callee(const rlx_ir_module *m, const rlx_ir_node *n);

#endif
