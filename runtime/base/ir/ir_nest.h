/* runtime/base/ir/ir_nest.h: the text of one node and of what is in it, to tell nests apart. */
#ifndef RLX_BASE_IR_NEST_H
#define RLX_BASE_IR_NEST_H

#include "runtime/base/ir/ir.h"

/* Appends what operand i of a node in the nest, a value from around it, is called. */
typedef void rlx_ir_outer_fn(void *user, const rlx_ir_node *n, int i, rlx_text *out);

/* Appends the nest, without places; values that are made in it are numbered. So nests whose texts are
 * equal are the same, as far as `outer` tells the values around them apart. */
void rlx_ir_print_nest(const rlx_ir_node *n, rlx_ir_outer_fn *outer, void *user, rlx_text *out);

#endif
