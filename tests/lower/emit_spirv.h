/* tests/lower/emit_spirv.h: a lowered module's kernels as SPIR-V, which SPIRV-Tools validates: for devices of many
 * features and of few. */
#ifndef RLX_TEST_EMIT_SPIRV_H
#define RLX_TEST_EMIT_SPIRV_H

#include "runtime/base/ir/ir.h"

rlx_status emit_spirv(const rlx_ir_module *lir, int team, int64_t team_bytes);

#endif
