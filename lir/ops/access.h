/* lir/ops/access.h: what load and store have in common. Internal to lir/. */
#ifndef RLX_LIR_ACCESS_H
#define RLX_LIR_ACCESS_H

#include "lir/ops/ops.h"

/* C1 to C5 of a load or store of `tile`, whose indices are operands first_index.. */
rlx_status rlx_lir_verify_access(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_type *tile,
                                 int first_index);

#endif
