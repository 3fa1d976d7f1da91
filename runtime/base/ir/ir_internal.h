/* runtime/base/ir/ir_internal.h: what the files of the IR core share; not for levels. */
#ifndef RLX_BASE_IR_INTERNAL_H
#define RLX_BASE_IR_INTERNAL_H

#include "runtime/base/ir/ir.h"
#include "runtime/base/ir/ir_map.h"

/* ---- names, types and attributes ------------------------------------------------------------ */

bool rlx_ir_is_name_char(char c);
/* Letters, digits, `_`, `.`, `-` and `$`; a value's name does not begin with a digit. */
bool rlx_ir_is_func_name(const char *s);
bool rlx_ir_is_value_name(const char *s);

/* A kind, a format that values can have, a rank and extents that the kind allows. */
rlx_status rlx_ir_type_check(const rlx_ir_type *type);

rlx_attr_key rlx_attr_key_parse(const char *s, size_t len); /* RLX_ATTR_NONE when unknown */
void rlx_attr_print(const rlx_dims *t, const rlx_attr *attr, rlx_text *out); /* `axis=1` */
/* The attribute by key in a list; NULL when absent. */
const rlx_attr *rlx_attr_find(int n, const rlx_attr *attrs, rlx_attr_key key);
/* A value that its kind allows. */
rlx_status rlx_attr_check(const rlx_attr *attr);
/* Copies with lists and strings into an arena, sorts by key; false when out of memory. */
bool rlx_attr_copy_all(rlx_arena *a, int n, const rlx_attr *from, rlx_attr **to);

/* ---- nodes ---------------------------------------------------------------------------------- */

/* A node with copied operands and attributes, nested blocks and `nout` untyped results, in no
 * block. NULL when out of memory. */
rlx_ir_node *rlx_ir_node_make(rlx_ir_module *m, rlx_ir_block *parent, int op, int nin,
                              rlx_ir_value *const *in, int nattr, const rlx_attr *attrs, int nout,
                              int nblock);
void rlx_ir_node_link(rlx_ir_node *n, rlx_ir_block *block, rlx_ir_node *before);
rlx_ir_block *rlx_ir_block_make(rlx_ir_module *m, rlx_ir_func *func, rlx_ir_node *parent);
rlx_ir_value *rlx_ir_block_add_arg(rlx_ir_module *m, rlx_ir_block *block, const char *name,
                                   rlx_ir_type type); /* NULL when out of memory */
bool rlx_ir_func_add_arg(rlx_ir_func *f, rlx_role role, const char *symbol, const char *name,
                         rlx_ir_type type);
/* A function appended to the module, unchecked; NULL when out of memory. */
rlx_ir_func *rlx_ir_func_make(rlx_ir_module *m, const char *name, int nresults,
                              const rlx_ir_type *results);
/* A copy in the module's arena, on one line; `last` is shared when it says the same. */
const char *rlx_ir_place_copy(rlx_ir_module *m, const char *place, const char *last);

/* Arity, attributes, operands' presence: what holds of any node. */
rlx_status rlx_ir_check_shape(const rlx_ir_module *m, const rlx_ir_node *n);
/* Inference against the results' types; fills types that are NONE. */
rlx_status rlx_ir_check_types(rlx_ir_module *m, rlx_ir_node *n);
/* May a node in `block` name `v`? (The order of nodes inside one block is not looked at.) */
bool rlx_ir_in_scope(const rlx_ir_module *m, const rlx_ir_block *block, const rlx_ir_value *v);

/* ---- text ----------------------------------------------------------------------------------- */

/* In quotes; what would end the string or the line is escaped. */
void rlx_ir_put_quoted(const char *s, rlx_text *out);

enum { RLX_PRINT_CANONICAL = 1 << 8 }; /* every value numbered, callees by fingerprint, no name */
enum { RLX_IR_MAX_NESTING = 64 };

#endif
