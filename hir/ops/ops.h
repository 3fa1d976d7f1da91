/* hir/ops/ops.h: what every file of hir/ops/ promises, and what the files share. Internal to hir/.
 */
#ifndef RLX_HIR_OPS_H
#define RLX_HIR_OPS_H

#include "hir/hir.h"

/* One running function of the evaluator. */
typedef struct rlx_hir_eval_cx {
    const rlx_ir_module *module;
    const rlx_eval_env *env;
    rlx_arena *arena;         /* the function's values; dies when it returns */
    int64_t layer;            /* what "{}" stands for in symbols; -1 in the entry */
    rlx_eval_tensor *results; /* where `return` leaves the function's results, in the arena */
} rlx_hir_eval_cx;

/* For each op:
 *   infer   result types; checks the constraints first, because types follow from nothing else
 *   verify  the constraints C1, C2, ...
 *   eval    plain loops: in[i] are the operands' tensors; out[i] has its type filled in and no
 * data: the op allocates it (rlx_hir_eval_alloc) or points it at an operand that it updates lower
 * the same in MIR: in[i] are MIR values, out[i] is set; errors stay in the builder */
#define HIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning)             \
    rlx_status rlx_hir_##mnemonic##_infer(rlx_ir_module *m, const rlx_ir_node *n,           \
                                          rlx_ir_type *results);                            \
    rlx_status rlx_hir_##mnemonic##_verify(rlx_ir_module *m, const rlx_ir_node *n);         \
    rlx_status rlx_hir_##mnemonic##_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,         \
                                         rlx_eval_tensor *const *in, rlx_eval_tensor *out); \
    void rlx_hir_##mnemonic##_lower(rlx_ir_builder *b, const rlx_ir_node *n,                \
                                    rlx_ir_value *const *in, rlx_ir_value **out);
#define TENSOR_OP(NAME, mnemonic, inputs, traits, attrs, infer, meaning)
#include "hir/hir_ops.def"
#undef HIR_OP

/* Activations at the numbers of their table, one element and MIR; x held in low..high, NaNs staying. */
double rlx_hir_eval_activation(rlx_hir_activation kind, double x);
rlx_ir_value *rlx_hir_lower_activation(rlx_ir_builder *b, rlx_hir_activation kind, rlx_ir_value *x);
rlx_ir_value *rlx_hir_lower_hold(rlx_ir_builder *b, rlx_ir_value *x, double low, double high);

/* The same for every tensor op. */
rlx_status rlx_hir_tensor_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out);
void rlx_hir_tensor_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out);

/* ---- shared by verifiers -------------------------------------------------------------------- */

enum { RLX_HIR_TYPE_CHARS = 128 };
/* A type as text in the caller's buffer; returns buf. */
const char *rlx_hir_type_text(const rlx_ir_module *m, const rlx_ir_type *t,
                              char buf[RLX_HIR_TYPE_CHARS]);
/* A tensor of that format and rank. */
bool rlx_hir_is(const rlx_ir_value *v, rlx_format f, int rank);
/* A tensor that weights can be, of that rank: any float format; matrices in block formats too. */
bool rlx_hir_is_weight(const rlx_ir_value *v, int rank);
rlx_dim rlx_hir_last_dim(const rlx_ir_value *v); /* rank >= 1 */

/* RLX_IR_REQUIRE with the type of operand `i` after the message. */
#define RLX_HIR_REQUIRE_TYPE(m, n, id, cond, i, what)                     \
    do {                                                                  \
        char type_[RLX_HIR_TYPE_CHARS];                                   \
        RLX_IR_REQUIRE((m), (n), (id), (cond), "%s, got %s", (what),      \
                       rlx_hir_type_text((m), &(n)->in[i]->type, type_)); \
    } while (0)

/* Forgets what hangs at the values of a module: `scratch` means nothing between passes. */
void rlx_hir_clear_scratch(const rlx_ir_module *m);

/* ---- shared by evaluators ------------------------------------------------------------------- */

/* Zeroed data for a tensor whose type is filled in. */
rlx_status rlx_hir_eval_alloc(rlx_hir_eval_cx *cx, rlx_eval_tensor *t);
int64_t rlx_hir_eval_elems(const rlx_eval_tensor *t);
/* Element `i` of a weight of any format. */
static inline double rlx_hir_load(const rlx_eval_tensor *t, int64_t i)
{
    return t->format == RLX_F32 ? (double)((const float *)t->data)[i]
                                : rlx_format_load(t->format, t->data, i);
}
/* Runs one function on values for its VALUE arguments; results go to `results`, allocated in
 * `arena`. */
rlx_status rlx_hir_eval_func(const rlx_hir_eval_cx *caller, const rlx_ir_func *f, int64_t layer,
                             const rlx_eval_tensor *values, rlx_arena *arena,
                             rlx_eval_tensor *results);

#endif
